/* SPDX-License-Identifier: MPL-2.0 */
/* Settings of the region and its housekeeping. */
#include <errno.h>
#include <pb_decode.h>
#include <string.h>

#include "apid.h"
#include "rpc.json.h"
#include "rpc.pb.h"
#include "wire/wire.h"

static void config_get(struct apid_req *r)
{
    steppe_SchedulerConfigurationResponse more = {0};
    _cleanup_(strbuf_fini) struct strbuf all = STRBUF_INIT;
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;

    if (!apid_env(r, RPC_SCHEDULER_GET_CONFIG, &env) || !apid_read(r, &env, NULL, 0, &body, &len))
        return;
    more.index = r->reply.index;
    more.last_contact = (int64_t)(r->reply.last_contact_ms * NS_PER_MS);
    more.known_leader = r->reply.known_leader;
    strbuf_add(&all, body, len);
    (void)wire_encode(steppe_SchedulerConfigurationResponse_fields, &more, &all);
    r->meta = true;
    apid_render(r, &steppe_SchedulerConfigurationResponse_json, false, all.data, all.len);
}

/* ?cas=N */
static bool parse_cas(struct apid_req *r, steppe_SchedulerSetConfigRequest *msg)
{
    const char *cas = apid_param(r, "cas"), *wrong = NULL;
    char *end;

    if (!cas)
        return true;
    msg->cas = true;
    errno = 0;
    msg->modify_index = strtoull(cas, &end, 10);
    if (!*cas || *end || *cas < '0' || *cas > '9')
        wrong = "invalid syntax";
    else if (errno)
        wrong = "value out of range";
    return !wrong ||
           apid_error(r, 400, "Error parsing cas value: strconv.ParseUint: parsing \"%s\": %s", cas,
                      wrong);
}

static void config_put(struct apid_req *r)
{
    steppe_SchedulerSetConfigRequest msg = {.has_config = true};
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    struct errtext e;
    size_t len;
    bool ok;

    if (!apid_read_body(r, false) || !apid_env(r, RPC_SCHEDULER_SET_CONFIG, &env))
        return;
    if (r->body.len == 0) {
        apid_error(r, 400, "Error parsing scheduler config: Request body is empty");
        return;
    }
    if (json_decode(&steppe_SchedulerConfiguration_json, r->body.data, r->body.len, &msg.config,
                    &e) < 0) {
        apid_error(r, 400, "Error parsing scheduler config: %s", e.text);
        return;
    }
    ok = parse_cas(r, &msg) &&
         apid_call_msg(r, &env, steppe_SchedulerSetConfigRequest_fields, &msg, &body, &len);
    pb_release(steppe_SchedulerSetConfigRequest_fields, &msg);
    if (!ok)
        return;
    r->index_only = true;
    apid_render(r, &steppe_SchedulerSetConfigResponse_json, false, body, len);
}

void apid_scheduler_config(struct apid_req *r)
{
    if (r->method == APID_GET)
        config_get(r);
    else
        config_put(r);
}

void apid_system_gc(struct apid_req *r)
{
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;

    if (apid_env(r, RPC_SYSTEM_GC, &env))
        (void)apid_call(r, &env, NULL, 0, &body, &len);
}
