/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Gossip's members and the group's configuration: the leader adds servers that gossip shows alive
 * (as learners, voters after they have caught up and have been alive for server_stabilization_time)
 * and removes those that left or that gossip forgot after they had failed; with
 * cleanup_dead_servers also failed ones, as long as they are fewer than half of the voters.
 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "raftd.h"
#include "rpc.pb.h"
#include "wire/member.h"
#include "wire/wire.h"

#define RECONCILE_MS     1000
#define BLANK_MS         100 /* the same for a server without a group */
#define FETCH_TIMEOUT_MS 2000
#define DEAD_GRACE_NS    (10 * NS_PER_SEC) /* a failed server's, before it is cleaned up */

/* Since when gossip shows a server as it does now. */
struct seen {
    char id[RAFT_UUID_MAX];
    bool alive;
    bool here; /* in the newest list */
    int64_t since_ns;
};

struct raftd_members {
    struct raftd *rd;
    struct bus_client *serfd;
    struct bus_sub *events;
    steppe_MemberList list;
    bool fetching;
    uv_timer_t timer;
    struct seen *seen;
    size_t seen_n;
};

const steppe_MemberList *raftd_members_list(const struct raftd *rd)
{
    return &rd->members->list;
}

const char *raftd_members_name(const struct raftd *rd, const char *server_uuid)
{
    const steppe_MemberList *list = &rd->members->list;

    for (pb_size_t i = 0; i < list->members_count; i++) {
        if (strcmp(member_tag(&list->members[i], "id"), server_uuid) == 0)
            return list->members[i].name ? list->members[i].name : "(unknown)";
    }
    return "(unknown)";
}

bool raftd_member_is(const steppe_Member *m, const char *status)
{
    return m->status && strcmp(m->status, status) == 0;
}

static bool of_own_region(const struct raftd *rd, const steppe_Member *m)
{
    return strcmp(member_tag(m, "role"), "nomad") == 0 &&
           strcmp(member_tag(m, "region"), rd->ctx->conf->region) == 0 &&
           uuid_valid(member_tag(m, "id"));
}

/* Its data are another group's, though it uses our region's name: never one of our servers. */
static bool of_other_group(const struct raftd *rd, const steppe_Member *m)
{
    char own[2 * RAFTD_GROUP_ID_LEN + 1];
    const char *theirs = member_tag(m, "raft_group");

    if (!*theirs || !raftd_has_group(rd))
        return false;
    raftd_group_text(rd->group, own);
    return strcmp(own, theirs) != 0;
}

bool raftd_member_server(const struct raftd *rd, const steppe_Member *m, struct raft_server *ret)
{
    const char *ip = member_tag(m, "rpc_addr"), *port = member_tag(m, "port");
    int n;

    if (!of_own_region(rd, m) || of_other_group(rd, m))
        return false;
    if (!*ip)
        ip = m->addr ? m->addr : "";
    *ret = (struct raft_server){.voter = !*member_tag(m, "nonvoter")};
    n = snprintf(ret->address, sizeof(ret->address), strchr(ip, ':') ? "[%s]:%s" : "%s:%s", ip,
                 port);
    (void)snprintf(ret->uuid, sizeof(ret->uuid), "%s", member_tag(m, "id"));
    ret->id = raft_id_from_uuid(ret->uuid);
    return *ip && *port && n > 0 && n < (int)sizeof(ret->address);
}

bool raftd_members_address(const struct raftd *rd, uint64_t id,
                           char address[static RAFT_ADDRESS_MAX])
{
    const steppe_MemberList *list = &rd->members->list;
    struct raft_server s;

    for (pb_size_t i = 0; i < list->members_count; i++) {
        if (id != rd->id && raftd_member_server(rd, &list->members[i], &s) && s.id == id) {
            memcpy(address, s.address, sizeof(s.address));
            return true;
        }
    }
    return false;
}

/* ---- following gossip ---- */

static struct seen *seen_find(struct raftd_members *m, const char *id)
{
    for (size_t i = 0; i < m->seen_n; i++) {
        if (strcmp(m->seen[i].id, id) == 0)
            return &m->seen[i];
    }
    return NULL;
}

/* How long gossip has shown the server as it does now, ns. */
static int64_t shown_for(struct raftd_members *m, const char *id, bool alive, int64_t now)
{
    struct seen *s = seen_find(m, id);

    if (!s) {
        m->seen = xrealloc(m->seen, (m->seen_n + 1) * sizeof(*m->seen));
        s = &m->seen[m->seen_n++];
        *s = (struct seen){.alive = alive, .since_ns = now};
        (void)snprintf(s->id, sizeof(s->id), "%s", id);
    } else if (s->alive != alive) {
        s->alive = alive;
        s->since_ns = now;
    }
    s->here = true;
    return now - s->since_ns;
}

/* One change of the configuration at a time; the next pass makes the next one. False when it was
 * refused for itself: another one may be tried at once (a learner that never catches up must not
 * keep one that left in the group). */
static bool change(struct raftd *rd, enum raft_change what, const struct raft_server *server)
{
    static const char *const names[] = {"add learner", "promote", "demote", "remove"};
    struct raft_event ev = {.type = RAFT_EV_CHANGE, .change = {.change = what, .server = *server}};
    const struct raft_out *out = NULL;
    int r = raftd_step_result(rd, &ev, &out);

    if (r == 0)
        log_info("raft group changes change=\"%s\" server=%s address=%s", names[what], server->uuid,
                 server->address);
    else if (r != RAFT_E_CHANGE_PENDING && r != RAFT_E_NOT_CAUGHT_UP)
        log_warn("raft group not changed change=\"%s\" server=%s error=\"%s\"", names[what],
                 server->uuid, r > 0 ? raft_error_text(r) : strerror(-r));
    raftd_effects(rd, out);
    return r == 0 || r == RAFT_E_CHANGE_PENDING || r == RAFT_E_TRANSFERRING;
}

/* Adds, moves or promotes one alive server. True when a change was tried. */
static bool follow_alive(struct raftd *rd, const struct raft_server *want, int64_t alive_ns)
{
    const struct raft_server *has = raft_config_find(raft_config_latest(rd->raft, NULL), want->id);

    if (!has || strcmp(has->address, want->address) != 0)
        return change(rd, RAFT_ADD_LEARNER, want);
    if (has->voter || !want->voter || alive_ns < rd->ctx->conf->autopilot.server_stabilization_time)
        return false;
    return change(rd, RAFT_PROMOTE, want);
}

static unsigned failed_voters(struct raftd *rd)
{
    const steppe_MemberList *list = raftd_members_list(rd);
    unsigned n = 0;

    for (pb_size_t i = 0; i < list->members_count; i++) {
        struct raft_server s;

        n += raftd_member_is(&list->members[i], "failed") &&
             raftd_member_server(rd, &list->members[i], &s) &&
             raft_config_is_voter(raft_config_latest(rd->raft, NULL), s.id);
    }
    return n;
}

static bool follow_gone(struct raftd *rd, const steppe_Member *m, const struct raft_server *s,
                        int64_t gone_ns)
{
    const struct raft_config *config = raft_config_latest(rd->raft, NULL);
    bool dead = raftd_member_is(m, "failed") && rd->ctx->conf->autopilot.cleanup_dead_servers &&
                gone_ns >= DEAD_GRACE_NS && failed_voters(rd) < raft_config_voters(config) / 2;

    if (!raft_config_find(config, s->id) || s->id == rd->id)
        return false;
    if (!raftd_member_is(m, "left") && !dead)
        return false;
    return change(rd, RAFT_REMOVE, s);
}

/* Another server is alive at its address: its disk was replaced, it has a new id. */
static bool was_replaced(struct raftd *rd, const struct raft_server *old)
{
    const steppe_MemberList *list = raftd_members_list(rd);

    for (pb_size_t i = 0; i < list->members_count; i++) {
        struct raft_server s;

        if (raftd_member_is(&list->members[i], "alive") &&
            raftd_member_server(rd, &list->members[i], &s) && s.id != old->id &&
            strcmp(s.address, old->address) == 0)
            return true;
    }
    return false;
}

/*
 * Servers that gossip forgot (force-leave -prune, reaped, replaced). One that was alive when it was
 * seen last is not meant: a serfd that has just started again does not know everybody yet.
 */
static bool follow_forgotten(struct raftd *rd)
{
    const struct raft_config *config = raft_config_latest(rd->raft, NULL);
    struct raftd_members *m = rd->members;

    for (unsigned i = 0; i < config->n; i++) {
        const struct raft_server *server = &config->servers[i];
        const struct seen *s = seen_find(m, server->uuid);

        if (server->id == rd->id || (s && s->here))
            continue;
        if ((s && !s->alive) || was_replaced(rd, server)) {
            struct raft_server gone = *server; /* the change takes it out of the configuration */

            return change(rd, RAFT_REMOVE, &gone);
        }
    }
    return false;
}

/* Drops those that are neither in gossip nor in the group. */
static void seen_sweep(struct raftd *rd)
{
    const struct raft_config *config = raft_config_latest(rd->raft, NULL);
    struct raftd_members *m = rd->members;

    for (size_t i = m->seen_n; i-- > 0;) {
        if (!m->seen[i].here && !raft_config_find(config, raft_id_from_uuid(m->seen[i].id)))
            m->seen[i] = m->seen[--m->seen_n];
    }
}

void raftd_members_reconcile(struct raftd *rd)
{
    struct raftd_members *m = rd->members;
    int64_t now = clock_mono().ns;
    bool changed = false;

    if (!rd->started) {
        raftd_found_consider(rd);
        return;
    }
    for (size_t i = 0; i < m->seen_n; i++)
        m->seen[i].here = false;
    for (pb_size_t i = 0; i < m->list.members_count; i++) {
        const steppe_Member *mem = &m->list.members[i];
        bool alive = raftd_member_is(mem, "alive");
        struct raft_server s;
        int64_t since;

        if (!raftd_member_server(rd, mem, &s))
            continue;
        since = shown_for(m, s.uuid, alive, now);
        if (!alive)
            raftd_sched_member_failed(rd, s.uuid);
        if (!rd->ready || changed)
            continue;
        changed = alive ? follow_alive(rd, &s, since) : follow_gone(rd, mem, &s, since);
    }
    if (rd->ready && !changed)
        (void)follow_forgotten(rd);
    seen_sweep(rd);
}

/* ---- telling gossip of the group ---- */

/* serfd reads the group's file at its start; a group that came later it hears of here. */
static void tell_group(struct raftd_members *m)
{
    char own[2 * RAFTD_GROUP_ID_LEN + 1];
    steppe_SerfSetGroupRequest msg = {.raft_group = own};
    steppe_Request env = {.method = RPC_SERF_SET_GROUP, .timeout_ms = FETCH_TIMEOUT_MS};
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;

    if (!raftd_has_group(m->rd))
        return;
    raftd_group_text(m->rd->group, own);
    for (pb_size_t i = 0; i < m->list.members_count; i++) {
        const steppe_Member *mem = &m->list.members[i];

        if (m->list.self && mem->name && strcmp(m->list.self, mem->name) == 0 &&
            strcmp(member_tag(mem, "raft_group"), own) != 0 &&
            wire_encode(steppe_SerfSetGroupRequest_fields, &msg, &body) == 0)
            (void)bus_client_send(m->serfd, &env, body.data, body.len);
    }
}

/* Two groups under one name: their servers are not taken for ours. Said once for each list. */
static void warn_of_others(struct raftd_members *m)
{
    char own[2 * RAFTD_GROUP_ID_LEN + 1];

    raftd_group_text(m->rd->group, own);
    for (pb_size_t i = 0; i < m->list.members_count; i++) {
        const steppe_Member *mem = &m->list.members[i];

        if (of_own_region(m->rd, mem) && of_other_group(m->rd, mem))
            log_warn("a server of another raft group uses the name of this region and is left "
                     "alone server=%s group=%s own=%s",
                     mem->name ? mem->name : "", member_tag(mem, "raft_group"), own);
    }
}

/* ---- hearing of gossip ---- */

static void on_members(void *user, int err, const steppe_Reply *rep, const uint8_t *body,
                       size_t len)
{
    struct raftd_members *m = user;
    steppe_MemberList list;
    struct errtext e = {{0}};

    m->fetching = false;
    if (err != 0 || rep->code != 0)
        return;
    if (wire_decode(steppe_MemberList_fields, body, len, &list, sizeof(list), &e) < 0) {
        log_warn("member list dropped error=\"%s\"", e.text);
        return;
    }
    pb_release(steppe_MemberList_fields, &m->list);
    m->list = list;
    warn_of_others(m);
    if (!m->rd->stopping)
        raftd_members_reconcile(m->rd);
}

static void on_version(void *user, uint64_t version)
{
    struct raftd_members *m = user;
    steppe_Request env = {.method = RPC_SERF_MEMBERS, .timeout_ms = FETCH_TIMEOUT_MS};

    if (m->fetching || version == m->list.version)
        return;
    m->fetching = true;
    bus_client_call(m->serfd, &env, NULL, 0, FETCH_TIMEOUT_MS / 2, on_members, m);
}

static void on_timer(uv_timer_t *t)
{
    struct raftd_members *m = t->data;

    uv_timer_set_repeat(t, m->rd->started ? RECONCILE_MS : BLANK_MS);
    raftd_found_sweep(m->rd);
    raftd_members_reconcile(m->rd);
    tell_group(m);
}

int raftd_members_new(struct raftd *rd, struct errtext *e)
{
    _cleanup_(freep) char *serfd = conf_run_ipc(rd->ctx->conf, "serfd.sock");
    _cleanup_(freep) char *events = conf_run_ipc(rd->ctx->conf, "serfd.events");
    struct raftd_members *m = xcalloc(1, sizeof(*m));
    int r;

    rd->members = m;
    m->rd = rd;
    uv_timer_init(rd->ctx->loop, &m->timer);
    m->timer.data = m;
    r = bus_client_new(rd->ctx->bus, serfd, &m->serfd, e);
    if (r == 0)
        r = bus_sub_new(rd->ctx->bus, events, on_version, m, &m->events, e);
    if (r == 0)
        uv_timer_start(&m->timer, on_timer, BLANK_MS, BLANK_MS);
    return r;
}

static void free_members(uv_handle_t *h)
{
    free(h->data);
}

void raftd_members_free(struct raftd *rd)
{
    struct raftd_members *m = TAKE_PTR(rd->members);

    if (!m)
        return;
    raftd_found_fini(rd);
    bus_client_free(m->serfd);
    bus_sub_free(m->events);
    pb_release(steppe_MemberList_fields, &m->list);
    free(m->seen);
    uv_close((uv_handle_t *)&m->timer, free_members);
}
