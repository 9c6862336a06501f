/* SPDX-License-Identifier: MPL-2.0 */
/* /v1/node/:id and what is below it. */
#include <pb_decode.h>
#include <string.h>

#include "apid.h"
#include "node.json.h"
#include "rpc.json.h"
#include "rpc.pb.h"
#include "wire/wire.h"

#define UUID_LEN 36

/* Errors of these have no code in Nomad: all are 500. */
static bool call_uncoded(struct apid_req *r, const steppe_Request *env, const pb_msgdesc_t *fields,
                         const void *msg, uint8_t **ret_body, size_t *ret_len)
{
    bool ok = apid_call_msg(r, env, fields, msg, ret_body, ret_len);

    if (!ok)
        apid_uncoded(r, env);
    return ok;
}

static void eligibility(struct apid_req *r, const char *id)
{
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_NodeEligibilityRequest msg = {0};
    struct errtext e;
    steppe_Request env;
    size_t len;
    bool ok;

    if (!apid_read_body(r, true) || !apid_env(r, RPC_NODE_ELIGIBILITY, &env))
        return;
    if (json_decode(&steppe_NodeEligibilityRequest_json, r->body.data, r->body.len, &msg, &e) < 0) {
        apid_error(r, 400, "%s", e.text);
        return;
    }
    if (!msg.node_id || !msg.node_id[0]) {
        free(msg.node_id);
        msg.node_id = xstrdup(id);
    }
    ok = call_uncoded(r, &env, steppe_NodeEligibilityRequest_fields, &msg, &body, &len);
    pb_release(steppe_NodeEligibilityRequest_fields, &msg);
    if (!ok)
        return;
    r->index_only = true;
    apid_render(r, &steppe_NodeEligibilityResponse_json, false, body, len);
}

static void purge(struct apid_req *r, const char *id)
{
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_NodeSpecificRequest msg = {.node_id = (char *)id};
    steppe_Request env;
    size_t len;

    if (!apid_env(r, RPC_NODE_DEREGISTER, &env) ||
        !call_uncoded(r, &env, steppe_NodeSpecificRequest_fields, &msg, &body, &len))
        return;
    r->index_only = true;
    apid_render(r, &steppe_NodeUpdateResponse_json, false, NULL, 0);
}

/* Nomad answers as to a heartbeat. */
static void evaluate(struct apid_req *r, const char *id)
{
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_NodeSpecificRequest msg = {.node_id = (char *)id};
    steppe_NodeEvaluateResponse rep;
    struct errtext e;
    steppe_Request env;
    size_t len;

    if (strlen(id) != UUID_LEN) {
        apid_error(r, 500, "node lookup failed: index error: UUID must be %d characters", UUID_LEN);
        return;
    }
    if (!apid_env(r, RPC_NODE_EVALUATE, &env) ||
        !call_uncoded(r, &env, steppe_NodeSpecificRequest_fields, &msg, &body, &len))
        return;
    if (wire_decode(steppe_NodeEvaluateResponse_fields, body, len, &rep, sizeof(rep), &e) < 0) {
        apid_error(r, 500, "%s", e.text);
        return;
    }
    r->index_only = true;
    strbuf_adds(&r->out, "{\"HeartbeatTTL\":0,\"EvalIDs\":");
    for (pb_size_t i = 0; i < rep.eval_ids_count; i++)
        strbuf_addf(&r->out, "%s\"%s\"", i ? "," : "[", rep.eval_ids[i]);
    strbuf_adds(&r->out, rep.eval_ids_count ? "]" : "null");
    strbuf_addf(&r->out,
                ",\"EvalCreateIndex\":%llu,\"NodeModifyIndex\":%llu,\"LeaderRPCAddr\":\"\","
                "\"NumNodes\":0,\"Servers\":[],\"Features\":0,\"Index\":%llu,\"LastContact\":0,"
                "\"KnownLeader\":false}",
                (unsigned long long)rep.eval_create_index,
                (unsigned long long)rep.node_modify_index, (unsigned long long)rep.index);
    pb_release(steppe_NodeEvaluateResponse_fields, &rep);
}

void apid_nodes(struct apid_req *r)
{
    _cleanup_(strbuf_fini) struct strbuf req = STRBUF_INIT;
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_NodeListRequest msg = {0};
    steppe_Request env;
    size_t len;
    bool bad;

    msg.resources = apid_param_bool(r, "resources", &bad);
    if (bad)
        return;
    (void)wire_encode(steppe_NodeListRequest_fields, &msg, &req);
    if (!apid_env(r, RPC_NODE_LIST, &env) || !apid_read(r, &env, req.data, req.len, &body, &len))
        return;
    r->meta = true;
    apid_render(r, &steppe_NodeListStub_json, true, body, len);
}

static void drain(struct apid_req *r, const char *id)
{
    (void)id;
    apid_error(r, 501, "drain is not part of this release");
}

/* What stands behind /v1/node/ID, read by GET or written by PUT and POST. */
static const struct {
    const char *suffix;
    bool write;
    void (*handle)(struct apid_req *r, const char *id);
} node_parts[] = {
    {"/allocations", false, apid_node_allocations},
    {"/eligibility", true, eligibility},
    {"/evaluate", true, evaluate},
    {"/drain", true, drain},
    {"/purge", true, purge},
};

void apid_node(struct apid_req *r)
{
    const char *rest = apid_path_rest(r, "/v1/node/");
    _cleanup_(freep) char *id = NULL;
    bool get = r->method == APID_GET, put = r->method == APID_PUT || r->method == APID_POST;

    for (size_t i = 0; i < ARRAY_LEN(node_parts); i++) {
        if (!apid_cut_suffix(rest, node_parts[i].suffix, &id))
            continue;
        if (node_parts[i].write ? put : get)
            node_parts[i].handle(r, id);
        else
            apid_error(r, 405, "Invalid method");
        return;
    }
    if (!get)
        apid_error(r, 405, "Invalid method");
    else if (!*rest)
        apid_error(r, 500, "missing node ID");
    else
        apid_read_object(r, RPC_NODE_GET, rest, &steppe_Node_json, false);
}
