/* SPDX-License-Identifier: MPL-2.0 */
/* /v1/node/:id and what is below it. */
#include <pb_decode.h>
#include <string.h>

#include "apid.h"
#include "node.json.h"
#include "rpc.json.h"
#include "rpc.pb.h"
#include "wire/wire.h"

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
    free(msg.node_id);
    msg.node_id = xstrdup(id);
    ok = apid_call_msg(r, &env, steppe_NodeEligibilityRequest_fields, &msg, &body, &len);
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
        !apid_call_msg(r, &env, steppe_NodeSpecificRequest_fields, &msg, &body, &len))
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
    steppe_NodeUpdateResponse out = {0};
    struct errtext e;
    steppe_Request env;
    size_t len;

    if (!apid_env(r, RPC_NODE_EVALUATE, &env) ||
        !apid_call_msg(r, &env, steppe_NodeSpecificRequest_fields, &msg, &body, &len))
        return;
    if (wire_decode(steppe_NodeEvaluateResponse_fields, body, len, &rep, sizeof(rep), &e) < 0) {
        apid_error(r, 500, "%s", e.text);
        return;
    }
    out.index = rep.index;
    out.node_modify_index = rep.node_modify_index;
    out.eval_create_index = rep.eval_create_index;
    out.eval_ids = rep.eval_ids;
    out.eval_ids_count = rep.eval_ids_count;
    r->index_only = true;
    if (json_encode(&steppe_NodeUpdateResponse_json, &out, apid_pretty(r) ? JSON_PRETTY : 0,
                    &r->out) < 0)
        apid_error(r, 500, "the answer cannot be written as JSON");
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

void apid_node(struct apid_req *r)
{
    const char *rest = apid_path_rest(r, "/v1/node/");
    _cleanup_(freep) char *id = NULL;
    bool get = r->method == APID_GET, put = r->method == APID_PUT || r->method == APID_POST;

    if (apid_cut_suffix(rest, "/allocations", &id)) {
        if (get)
            apid_node_allocations(r, id);
        else
            apid_error(r, 405, "Invalid method");
    } else if (apid_cut_suffix(rest, "/eligibility", &id)) {
        if (put)
            eligibility(r, id);
        else
            apid_error(r, 405, "Invalid method");
    } else if (apid_cut_suffix(rest, "/evaluate", &id)) {
        if (put)
            evaluate(r, id);
        else
            apid_error(r, 405, "Invalid method");
    } else if (apid_cut_suffix(rest, "/purge", &id)) {
        if (put)
            purge(r, id);
        else
            apid_error(r, 405, "Invalid method");
    } else if (get) {
        apid_read_object(r, RPC_NODE_GET, rest, &steppe_Node_json, false);
    } else {
        apid_error(r, 405, "Invalid method");
    }
}
