/* SPDX-License-Identifier: MPL-2.0 */
/* /v1/node/:id and what is below it. */
#include <pb_decode.h>
#include <string.h>

#include "apid.h"
#include "node.json.h"
#include "rpc.json.h"
#include "rpc.pb.h"

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
