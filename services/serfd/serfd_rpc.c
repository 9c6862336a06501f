/* SPDX-License-Identifier: MPL-2.0 */
/* The Serf.* methods for the other services of this node. */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "member.pb.h"
#include "rpc/rpc_methods.h"
#include "serfd_shell.h"
#include "tags.h"
#include "wire/wire.h"

#define JOIN_ADDRS_MAX  256
#define JOIN_TIMEOUT_MS 9000 /* at most; less when the caller's patience is shorter */
#define JOIN_MARGIN_MS  100
#define STATS_MAX       24

void serfd_reply(struct bus_req *req, const pb_msgdesc_t *fields, const void *msg)
{
    bus_req_answer(req, &(steppe_Reply){0}, fields, msg);
}

/* ---- Serf.Members ---- */

static char *text_of(struct span v)
{
    return xstrndup(v.len ? (const char *)v.p : "", v.len);
}

static void fill_tags(steppe_Member *m, struct span meta)
{
    struct tags_iter it;
    struct span k, v;
    pb_size_t n = 0;

    for (tags_begin(&it, meta); tags_next(&it, &k, &v);)
        n++;
    m->tags = xcalloc((size_t)n + 1, sizeof(*m->tags));
    for (tags_begin(&it, meta); m->tags_count < n && tags_next(&it, &k, &v);)
        m->tags[m->tags_count++] = (steppe_Member_TagsEntry){text_of(k), text_of(v)};
}

static void fill_member(steppe_Member *m, const struct serf_member_info *info)
{
    char addr[GOSSIP_ADDR_TEXT_MAX], *ip = addr;

    (void)gossip_addr_text(&info->addr, addr);
    *strrchr(addr, ':') = 0;
    if (addr[0] == '[') {
        ip++;
        addr[strlen(addr) - 1] = 0;
    }
    m->name = xstrdup(info->name);
    m->addr = xstrdup(ip);
    m->port = info->addr.port;
    m->status = xstrdup(serf_status_name(info->status));
    m->protocol_min = info->vsn[0];
    m->protocol_max = info->vsn[1];
    m->protocol_cur = info->vsn[2];
    m->delegate_min = info->vsn[3];
    m->delegate_max = info->vsn[4];
    m->delegate_cur = info->vsn[5];
    m->rtt_ms = info->rtt_ms;
    fill_tags(m, info->meta);
}

static void on_members(struct serfd *sd, struct bus_req *req)
{
    steppe_MemberList list = {.version = serfd_version(sd)};
    struct serf_member_info info;
    struct serf_stats st;

    serf_stats_get(sd->serf, &st);
    list.members = xcalloc(st.members + 1, sizeof(*list.members));
    for (size_t i = 0; serf_member_at(sd->serf, i, &info); i++) {
        fill_member(&list.members[list.members_count++], &info);
        if (info.self)
            list.self = xstrdup(info.name);
    }
    serfd_reply(req, steppe_MemberList_fields, &list);
    pb_release(steppe_MemberList_fields, &list);
}

/* ---- Serf.Join ---- */

static void on_joined(void *user, unsigned num_joined, const char *error)
{
    char text[ERRTEXT_MAX * 4];
    steppe_SerfJoinResponse resp = {.num_joined = num_joined, .error = text};

    (void)snprintf(text, sizeof(text), "%s", error);
    serfd_reply(user, steppe_SerfJoinResponse_fields, &resp);
}

static void on_join(struct serfd *sd, struct bus_req *req)
{
    int64_t left_ms = (req->deadline.ns - clock_mono().ns) / NS_PER_MS - JOIN_MARGIN_MS;
    steppe_SerfJoinRequest msg;

    if (!bus_req_decode(req, steppe_SerfJoinRequest_fields, &msg, sizeof(msg)))
        return;
    if (msg.addresses_count == 0 || msg.addresses_count > JOIN_ADDRS_MAX)
        bus_req_error(req, 400, false, "missing address to join");
    else
        serfd_join(
            sd,
            &(struct serfd_join_order){
                .addrs = msg.addresses,
                .n = msg.addresses_count,
                .timeout_ms = (unsigned)MAX((int64_t)1, MIN(left_ms, (int64_t)JOIN_TIMEOUT_MS))},
            on_joined, req);
    pb_release(steppe_SerfJoinRequest_fields, &msg);
}

/* ---- Serf.ForceLeave, Serf.Leave ---- */

static void reply_generic(struct bus_req *req)
{
    steppe_GenericResponse resp = {0};

    serfd_reply(req, steppe_GenericResponse_fields, &resp);
}

static void on_force_leave(struct serfd *sd, struct bus_req *req)
{
    struct serf_event ev = {.type = SERF_EV_FORCE_LEAVE};
    steppe_SerfForceLeaveRequest msg;

    if (!bus_req_decode(req, steppe_SerfForceLeaveRequest_fields, &msg, sizeof(msg)))
        return;
    ev.name = msg.node ? msg.node : "";
    ev.prune = msg.prune;
    /* Unknown names are accepted in silence, as Nomad does: they may just have been reaped. */
    if (serfd_step(sd, &ev) == -ENOENT)
        log_info("force-leave of an unknown member member=%s", ev.name);
    serfd_settle(sd);
    pb_release(steppe_SerfForceLeaveRequest_fields, &msg);
    reply_generic(req);
}

static void leave_req_abort(struct bus_req *req)
{
    struct serfd *sd = req->user;

    sd->leave_req = NULL;
}

static void on_leave(struct serfd *sd, struct bus_req *req)
{
    struct serf_event ev = {.type = SERF_EV_LEAVE};

    if (sd->has_left) {
        reply_generic(req);
        return;
    }
    if (sd->leave_req) {
        bus_req_error(req, 409, true, "this node is leaving already");
        return;
    }
    req->user = sd;
    req->on_abort = leave_req_abort;
    sd->leave_req = req;
    (void)serfd_step(sd, &ev);
    serfd_settle(sd);
}

void serfd_rpc_left(struct serfd *sd)
{
    struct bus_req *req = sd->leave_req;

    sd->leave_req = NULL;
    if (req)
        reply_generic(req);
}

/* ---- Serf.SetGroup ---- */

static void on_set_group(struct serfd *sd, struct bus_req *req)
{
    steppe_SerfSetGroupRequest msg;

    if (!bus_req_decode(req, steppe_SerfSetGroupRequest_fields, &msg, sizeof(msg)))
        return;
    if (serfd_set_group(sd, msg.raft_group ? msg.raft_group : ""))
        bus_req_error(req, 400, false, "that is no id of a raft group");
    else
        reply_generic(req);
    pb_release(steppe_SerfSetGroupRequest_fields, &msg);
}

/* ---- Serf.Stats ---- */

static struct serf_stats stats_of(const struct serfd *sd)
{
    struct serf_stats st;

    serf_stats_get(sd->serf, &st);
    return st;
}

static void add_text(steppe_StatsResponse *resp, const char *key, const char *value)
{
    if (value && *value)
        resp->stats[resp->stats_count++] =
            (steppe_StatsResponse_StatsEntry){(char *)key, (char *)value};
}

static void on_stats(struct serfd *sd, struct bus_req *req)
{
    struct serf_stats st = stats_of(sd);
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"coordinate_resets", st.coordinate_resets},
        {"event_queue", st.event_queue},
        {"event_time", st.event_time},
        {"exchanges", st.exchanges},
        {"failed", st.failed},
        {"health_score", st.health_score},
        {"intent_queue", st.intent_queue},
        {"left", st.left},
        {"member_queue", st.member_queue},
        {"member_time", st.member_time},
        {"members", st.members},
        {"query_queue", st.query_queue},
        {"query_time", st.query_time},
        {"suspects", st.suspects},
    };
    steppe_StatsResponse_StatsEntry entries[STATS_MAX];
    steppe_StatsResponse resp = {.stats = entries};
    char texts[ARRAY_LEN(numbers)][24];

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        (void)snprintf(texts[i], sizeof(texts[i]), "%llu", (unsigned long long)numbers[i].value);
        entries[resp.stats_count++] =
            (steppe_StatsResponse_StatsEntry){(char *)numbers[i].key, texts[i]};
    }
    entries[resp.stats_count++] = (steppe_StatsResponse_StatsEntry){
        (char *)"encrypted", (char *)(st.encrypted ? "true" : "false")};
    add_text(&resp, "region_left", st.epoch % 2 ? "true" : NULL);
    add_text(&resp, "federation", sd->guard.federation);
    add_text(&resp, "raft_group", sd->raft_group);
    add_text(&resp, "raft_group_conflict", st.group_conflict);
    serfd_reply(req, steppe_StatsResponse_fields, &resp);
}

/* ---- dispatch ---- */

static void on_request(void *user, struct bus_req *req)
{
    struct serfd *sd = user;

    switch (req->env.method) {
    case RPC_SERF_MEMBERS:
        on_members(sd, req);
        break;
    case RPC_SERF_JOIN:
        on_join(sd, req);
        break;
    case RPC_SERF_FORCE_LEAVE:
        on_force_leave(sd, req);
        break;
    case RPC_SERF_LEAVE:
        on_leave(sd, req);
        break;
    case RPC_SERF_REGION_LEAVE:
        serfd_regions_leave(sd, req);
        break;
    case RPC_SERF_REGION_REMOVE:
        serfd_regions_remove(sd, req);
        break;
    case RPC_SERF_JOIN_CHECK:
        serfd_report_request(sd, req);
        break;
    case RPC_SERF_SET_GROUP:
        on_set_group(sd, req);
        break;
    case RPC_SERF_STATS:
        on_stats(sd, req);
        break;
    default:
        if (!serfd_ask_request(sd, req))
            bus_req_error(req, 404, false, "serfd has no method %u", (unsigned)req->env.method);
    }
}

int serfd_rpc_init(struct serfd *sd, struct errtext *e)
{
    _cleanup_(freep) char *sock = conf_run_ipc(sd->ctx->conf, "serfd.sock");
    _cleanup_(freep) char *events = conf_run_ipc(sd->ctx->conf, "serfd.events");
    int r = bus_server_new(sd->ctx->bus, sock, on_request, sd, &sd->server, e);

    if (r == 0)
        r = bus_pub_new(sd->ctx->bus, events, &sd->pub, e);
    if (r == 0)
        bus_pub_version(sd->pub, serfd_version(sd));
    return r;
}

void serfd_rpc_fini(struct serfd *sd)
{
    sd->server = bus_server_free(sd->server);
    sd->pub = bus_pub_free(sd->pub);
}
