/* SPDX-License-Identifier: MPL-2.0 */
/* Allocations and deployments, by themselves and of jobs, evaluations, nodes. */
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "alloc.json.h"
#include "apid.h"
#include "rpc.json.h"
#include "rpc.pb.h"
#include "wire/field.h"
#include "wire/wire.h"

/* Nomad takes a bad value for false here. */
static bool param_all(struct apid_req *r)
{
    bool bad, all = apid_param_bool(r, "all", &bad);

    if (bad) {
        strbuf_reset(&r->out);
        r->status = 0;
        r->content_type = NULL;
    }
    return all && !bad;
}

/* A read whose request is a message of its own; the list's items are rendered. */
static void read_list(struct apid_req *r, unsigned method, const pb_msgdesc_t *fields,
                      const void *msg, const struct json_type *type)
{
    _cleanup_(strbuf_fini) struct strbuf req = STRBUF_INIT;
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;

    (void)wire_encode(fields, msg, &req);
    if (!apid_env(r, method, &env) || !apid_read(r, &env, req.data, req.len, &body, &len))
        return;
    r->meta = true;
    apid_render(r, type, true, body, len);
}

/* ---- without task states ---- */

/* The list without field `tag` of its items. */
static bool list_without(const void *body, size_t len, uint32_t tag, struct strbuf *out)
{
    struct wire_items it = {body, len, false};
    const uint8_t *item;
    size_t n;

    while (wire_items_next(&it, &item, &n)) {
        _cleanup_(strbuf_fini) struct strbuf kept = STRBUF_INIT;
        struct bytes rest = bytes_of(item, n);
        struct wire_field f;

        while (wire_field_next(&rest, &f))
            if (f.tag != tag)
                strbuf_add(&kept, f.raw.data, f.raw.len);
        if (rest.len)
            return false;
        strbuf_addc(out, 0x0a); /* field 1, length-delimited */
        for (size_t v = kept.len; v; v >>= 7)
            strbuf_addc(out, (char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0)));
        if (kept.len == 0)
            strbuf_addc(out, 0);
        strbuf_add(out, kept.data ? kept.data : "", kept.len);
    }
    return !it.bad;
}

/* ---- routes ---- */

void apid_allocations(struct apid_req *r)
{
    _cleanup_(strbuf_fini) struct strbuf req = STRBUF_INIT, bare = STRBUF_INIT;
    _cleanup_(freep) uint8_t *body = NULL;
    const char *states = apid_param(r, "task_states");
    steppe_AllocListRequest msg = {0};
    steppe_Request env;
    bool bad, with_states = true;
    size_t len;

    msg.resources = apid_param_bool(r, "resources", &bad);
    if (bad)
        return;
    if (states && *states) {
        with_states = apid_param_bool(r, "task_states", &bad);
        if (bad)
            return;
    }
    (void)wire_encode(steppe_AllocListRequest_fields, &msg, &req);
    if (!apid_env(r, RPC_ALLOC_LIST, &env) || !apid_read(r, &env, req.data, req.len, &body, &len))
        return;
    r->meta = true;
    if (with_states)
        apid_render(r, &steppe_AllocListStub_json, true, body, len);
    else if (list_without(body, len, steppe_AllocListStub_task_states_tag, &bare))
        apid_render(r, &steppe_AllocListStub_json, true, bare.data, bare.len);
    else
        apid_error(r, 500, "the server's answer cannot be read");
}

static void alloc_stop(struct apid_req *r, const char *id)
{
    steppe_AllocSpecificRequest msg = {.alloc_id = (char *)id};
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;

    if (!apid_env(r, RPC_ALLOC_STOP, &env))
        return;
    if (!apid_call_msg(r, &env, steppe_AllocSpecificRequest_fields, &msg, &body, &len)) {
        if (r->status == 404) /* here Nomad words it otherwise */
            apid_error(r, 404, "allocation not found");
        return;
    }
    r->index_only = true;
    apid_render(r, &steppe_AllocStopResponse_json, false, body, len);
}

void apid_allocation(struct apid_req *r)
{
    const char *rest = apid_path_rest(r, "/v1/allocation/"), *slash = strchr(rest, '/');
    _cleanup_(freep) char *id = xstrndup(rest, slash ? (size_t)(slash - rest) : strlen(rest));
    bool put = r->method == APID_PUT || r->method == APID_POST;

    if (slash && strcmp(slash, "/stop") != 0)
        apid_error(r, 404, "resource not found");
    else if (slash ? !put : r->method != APID_GET)
        apid_error(r, 405, "Invalid method");
    else if (slash)
        alloc_stop(r, id);
    else
        apid_read_object(r, RPC_ALLOC_GET, id, &steppe_Allocation_json, false);
}

void apid_job_allocations(struct apid_req *r, const char *id)
{
    steppe_JobAllocationsRequest msg = {.job_id = (char *)id};

    msg.all = param_all(r);
    read_list(r, RPC_JOB_ALLOCATIONS, steppe_JobAllocationsRequest_fields, &msg,
              &steppe_AllocListStub_json);
}

void apid_eval_allocations(struct apid_req *r, const char *id)
{
    apid_read_object(r, RPC_EVAL_ALLOCATIONS, id, &steppe_AllocListStub_json, true);
}

void apid_node_allocations(struct apid_req *r, const char *id)
{
    apid_read_object(r, RPC_NODE_ALLOCS, id, &steppe_Allocation_json, true);
}

/* ---- deployments ---- */

void apid_job_deployments(struct apid_req *r, const char *id)
{
    steppe_JobAllocationsRequest msg = {.job_id = (char *)id};

    msg.all = param_all(r);
    read_list(r, RPC_JOB_DEPLOYMENTS, steppe_JobAllocationsRequest_fields, &msg,
              &steppe_Deployment_json);
}

void apid_job_deployment(struct apid_req *r, const char *id)
{
    _cleanup_(strbuf_fini) struct strbuf req = STRBUF_INIT;
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;

    apid_id_body(id, &req);
    if (!apid_env(r, RPC_JOB_LATEST_DEPLOYMENT, &env) ||
        !apid_read(r, &env, req.data, req.len, &body, &len))
        return;
    r->meta = true;
    if (len == 0)
        strbuf_adds(&r->out, "null");
    else
        apid_render(r, &steppe_Deployment_json, false, body, len);
}

/* Verbs that stand before the id. Without this list they would be taken for ids. */
static const char *const later_verbs[] = {"fail/", "pause/", "promote/", "unblock/",
                                          "allocation-health/"};

/* The body names the deployment once more. */
static bool names_deployment(struct apid_req *r, const char *id)
{
    steppe_DeploymentSpecificRequest msg = {0};
    struct errtext e = {{0}};
    bool same;

    if (!apid_read_body(r, true))
        return false;
    if (json_decode(&steppe_DeploymentSpecificRequest_json, r->body.data, r->body.len, &msg, &e) <
        0)
        return apid_error(r, 400, "%s", e.text);
    same = msg.deployment_id && strcmp(msg.deployment_id, id) == 0;
    if (!same)
        apid_error(r, 400,
                   msg.deployment_id && msg.deployment_id[0] ? "Deployment ID does not match"
                                                             : "DeploymentID must be specified");
    pb_release(steppe_DeploymentSpecificRequest_fields, &msg);
    return same;
}

static void later_verb(struct apid_req *r, const char *verb, const char *id)
{
    _cleanup_(strbuf_fini) struct strbuf req = STRBUF_INIT;
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;
    bool found;

    if (strcmp(verb, "fail/") != 0 && !names_deployment(r, id))
        return;
    apid_id_body(id, &req);
    if (!apid_env(r, RPC_DEPLOYMENT_GET, &env))
        return;
    found = apid_call(r, &env, req.data, req.len, &body, &len);
    if (found)
        apid_error(r, 501, "%.*s of a deployment is not part of this release",
                   (int)strlen(verb) - 1, verb);
    else
        apid_uncoded(r, &env);
}

void apid_deployment(struct apid_req *r)
{
    const char *rest = apid_path_rest(r, "/v1/deployment/");
    bool allocations = strncmp(rest, "allocations/", strlen("allocations/")) == 0;

    for (size_t i = 0; i < ARRAY_LEN(later_verbs); i++) {
        size_t n = strlen(later_verbs[i]);

        if (strncmp(rest, later_verbs[i], n) != 0)
            continue;
        if (r->method & (APID_PUT | APID_POST))
            later_verb(r, later_verbs[i], rest + n);
        else
            apid_error(r, 405, "Invalid method");
        return;
    }
    if (r->method != APID_GET)
        apid_error(r, 405, "Invalid method");
    else if (allocations)
        apid_read_object(r, RPC_DEPLOYMENT_ALLOCATIONS, rest + strlen("allocations/"),
                         &steppe_AllocListStub_json, true);
    else if (!*rest)
        apid_error(r, 500, "missing deployment ID");
    else
        apid_read_object(r, RPC_DEPLOYMENT_GET, rest, &steppe_Deployment_json, false);
}

/* Summaries follow each command that is applied: there is nothing to reconcile. */
void apid_system_reconcile(struct apid_req *r)
{
    r->status = 200;
}
