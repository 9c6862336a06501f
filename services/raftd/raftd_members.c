/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Gossip's members and the group's configuration.
 *
 * Founding: with bootstrap_expect = 1 a blank server founds a group of itself. With n > 1 it waits
 * until gossip shows n alive servers of its region that expect n as well; the one with the lowest
 * id asks all others whether they are part of a group, and founds one of all n when none is. The
 * others get it from its messages. Only one server can be that one, so there is no second group.
 *
 * Later the leader adds servers that gossip shows alive (as learners, voters after they have caught
 * up and have been alive for server_stabilization_time) and removes those that left; with
 * cleanup_dead_servers also failed ones, as long as they are fewer than half of the voters.
 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "raftd.h"
#include "rpc.pb.h"
#include "wire/wire.h"

#define RECONCILE_MS      1000
#define FETCH_TIMEOUT_MS  2000
#define ASK_TIMEOUT_MS    1000
#define DEAD_GRACE_NS     (10 * NS_PER_SEC) /* a failed server's, before it is cleaned up */

/* Since when gossip shows a server as it does now. */
struct seen {
    char id[RAFT_UUID_MAX];
    bool alive;
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
    struct founding *founding;
};

/* A blank server asking the others before it founds a group. */
struct founding {
    struct raftd_members *m;
    struct raft_config config;
    struct bus_client *clients[RAFT_SERVERS_MAX];
    unsigned open;    /* answers still missing */
    bool refused;     /* one is part of a group, or did not answer */
};

const char *raftd_member_tag(const steppe_Member *m, const char *key)
{
    for (pb_size_t i = 0; i < m->tags_count; i++) {
        if (m->tags[i].key && strcmp(m->tags[i].key, key) == 0)
            return m->tags[i].value ? m->tags[i].value : "";
    }
    return "";
}

const steppe_MemberList *raftd_members_list(const struct raftd *rd)
{
    return &rd->members->list;
}

const char *raftd_members_name(const struct raftd *rd, const char *server_uuid)
{
    const steppe_MemberList *list = &rd->members->list;

    for (pb_size_t i = 0; i < list->members_count; i++) {
        if (strcmp(raftd_member_tag(&list->members[i], "id"), server_uuid) == 0)
            return list->members[i].name ? list->members[i].name : "(unknown)";
    }
    return "(unknown)";
}

static bool has_status(const steppe_Member *m, const char *status)
{
    return m->status && strcmp(m->status, status) == 0;
}

static bool of_own_region(const struct raftd *rd, const steppe_Member *m)
{
    return strcmp(raftd_member_tag(m, "role"), "nomad") == 0 &&
           strcmp(raftd_member_tag(m, "region"), rd->ctx->conf->region) == 0 &&
           uuid_valid(raftd_member_tag(m, "id"));
}

/* The member as a server of the group. False when its tags do not fit. */
static bool server_of(const steppe_Member *m, struct raft_server *ret)
{
    const char *ip = raftd_member_tag(m, "rpc_addr"), *port = raftd_member_tag(m, "port");
    int n;

    if (!*ip)
        ip = m->addr ? m->addr : "";
    *ret = (struct raft_server){.voter = !*raftd_member_tag(m, "nonvoter")};
    n = snprintf(ret->address, sizeof(ret->address), strchr(ip, ':') ? "[%s]:%s" : "%s:%s", ip,
                 port);
    (void)snprintf(ret->uuid, sizeof(ret->uuid), "%s", raftd_member_tag(m, "id"));
    ret->id = raft_id_from_uuid(ret->uuid);
    return *ip && *port && n > 0 && n < (int)sizeof(ret->address);
}

bool raftd_members_address(const struct raftd *rd, uint64_t id, char address[static RAFT_ADDRESS_MAX])
{
    const steppe_MemberList *list = &rd->members->list;
    struct raft_server s;

    for (pb_size_t i = 0; i < list->members_count; i++) {
        if (of_own_region(rd, &list->members[i]) && server_of(&list->members[i], &s) &&
            s.id == id && id != rd->id) {
            memcpy(address, s.address, sizeof(s.address));
            return true;
        }
    }
    return false;
}

/* ---- founding ---- */

static void found(struct raftd *rd, const struct raft_config *config)
{
    struct errtext e = {{0}};

    log_info("founding the raft group of region %s servers=%u", rd->ctx->conf->region, config->n);
    if (raftd_bootstrap(rd, config, &e) < 0) {
        svc_fatal(rd->ctx, "%s", e.text);
        return;
    }
    raftd_start(rd);
}

static void on_asked(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct founding *f = user;
    struct raftd *rd = f->m->rd;
    steppe_ServerStatus st;
    struct errtext e;

    if (err != 0 || rep->code != 0 ||
        wire_decode(steppe_ServerStatus_fields, body, len, &st, sizeof(st), &e) < 0) {
        f->refused = true;
    } else {
        f->refused |= st.bootstrapped;
        pb_release(steppe_ServerStatus_fields, &st);
    }
    if (--f->open > 0 || rd->stopping)
        return; /* the timer frees it: not from within a client's own callback */
    if (!f->refused && !rd->started && raftd_is_blank(rd))
        found(rd, &f->config);
}

static void founding_free(struct raftd_members *m)
{
    struct founding *f = TAKE_PTR(m->founding);

    if (!f)
        return;
    for (unsigned i = 0; i < ARRAY_LEN(f->clients); i++)
        bus_client_free(f->clients[i]);
    free(f);
}

static void ask_others(struct raftd_members *m, const struct raft_config *config)
{
    steppe_Request env = {.method = RPC_STATUS_SERVER, .timeout_ms = ASK_TIMEOUT_MS, .hops = 1};
    struct founding *f = xcalloc(1, sizeof(*f));
    struct errtext e = {{0}};

    f->m = m;
    f->config = *config;
    m->founding = f;
    for (unsigned i = 0; i < config->n; i++) {
        _cleanup_(freep) char *endpoint = xasprintf("tcp://%s", config->servers[i].address);

        if (config->servers[i].id == m->rd->id)
            continue;
        if (bus_client_new(m->rd->ctx->bus, endpoint, &f->clients[i], &e) < 0) {
            log_warn("cannot ask a server error=\"%s\"", e.text);
            f->refused = true;
            continue;
        }
        f->open++;
        bus_client_call(f->clients[i], &env, NULL, 0, ASK_TIMEOUT_MS, on_asked, f);
    }
}

/* The servers that wait to found a group with us; config->n is how many. */
static void collect_waiting(struct raftd *rd, struct raft_config *config)
{
    const steppe_MemberList *list = raftd_members_list(rd);
    char expect[16];

    (void)snprintf(expect, sizeof(expect), "%d", rd->ctx->conf->server.bootstrap_expect);
    for (pb_size_t i = 0; i < list->members_count; i++) {
        const steppe_Member *m = &list->members[i];
        struct raft_server s;

        if (has_status(m, "alive") && of_own_region(rd, m) && server_of(m, &s) && s.voter &&
            strcmp(raftd_member_tag(m, "expect"), expect) == 0)
            (void)raft_config_add(config, &s);
    }
}

/* A server without a group: is it time to found one? */
static void consider_founding(struct raftd *rd)
{
    int expect = rd->ctx->conf->server.bootstrap_expect;
    struct raft_config config = {0};

    if (expect == 1) {
        struct raft_server self = {.id = rd->id, .voter = true};

        (void)snprintf(self.uuid, sizeof(self.uuid), "%s", rd->ctx->node_id);
        (void)snprintf(self.address, sizeof(self.address), "%s", rd->address);
        (void)raft_config_add(&config, &self);
        found(rd, &config);
        return;
    }
    if (expect == 0 || rd->members->founding)
        return;
    collect_waiting(rd, &config);
    while (config.n > (unsigned)expect) /* ids are in order: the lowest found it */
        (void)raft_config_remove(&config, config.servers[config.n - 1].id);
    if (config.n == (unsigned)expect && config.servers[0].id == rd->id)
        ask_others(rd->members, &config);
}

/* ---- following gossip ---- */

/* How long gossip has shown the server as it does now, ns. */
static int64_t shown_for(struct raftd_members *m, const char *id, bool alive, int64_t now)
{
    for (size_t i = 0; i < m->seen_n; i++) {
        struct seen *s = &m->seen[i];

        if (strcmp(s->id, id) != 0)
            continue;
        if (s->alive != alive) {
            s->alive = alive;
            s->since_ns = now;
        }
        return now - s->since_ns;
    }
    m->seen = xrealloc(m->seen, (m->seen_n + 1) * sizeof(*m->seen));
    m->seen[m->seen_n] = (struct seen){.alive = alive, .since_ns = now};
    (void)snprintf(m->seen[m->seen_n].id, sizeof(m->seen[0].id), "%s", id);
    m->seen_n++;
    return 0;
}

/* One change of the configuration at a time; the next pass makes the next one. */
static void change(struct raftd *rd, enum raft_change what, const struct raft_server *server)
{
    static const char *const names[] = {"add learner", "promote", "demote", "remove"};
    struct raft_event ev = {.type = RAFT_EV_CHANGE, .change = {.change = what, .server = *server}};
    const struct raft_out *out = NULL;
    int r = raftd_step_result(rd, &ev, &out);

    if (r == 0)
        log_info("raft group changes change=\"%s\" server=%s address=%s", names[what],
                 server->uuid, server->address);
    else if (r != RAFT_E_CHANGE_PENDING && r != RAFT_E_NOT_CAUGHT_UP)
        log_warn("raft group not changed change=\"%s\" server=%s error=\"%s\"", names[what],
                 server->uuid, r > 0 ? raft_error_text(r) : strerror(-r));
    raftd_effects(rd, out);
}

/* Adds, moves or promotes one alive server. True when a change was tried. */
static bool follow_alive(struct raftd *rd, const struct raft_server *want, int64_t alive_ns)
{
    const struct raft_server *has = raft_config_find(raft_config_latest(rd->raft, NULL), want->id);

    if (!has || strcmp(has->address, want->address) != 0) {
        change(rd, RAFT_ADD_LEARNER, want);
        return true;
    }
    if (has->voter || !want->voter ||
        alive_ns < rd->ctx->conf->autopilot.server_stabilization_time)
        return false;
    change(rd, RAFT_PROMOTE, want);
    return true;
}

static unsigned failed_voters(struct raftd *rd)
{
    const steppe_MemberList *list = raftd_members_list(rd);
    unsigned n = 0;

    for (pb_size_t i = 0; i < list->members_count; i++) {
        struct raft_server s;

        n += has_status(&list->members[i], "failed") && of_own_region(rd, &list->members[i]) &&
             server_of(&list->members[i], &s) &&
             raft_config_is_voter(raft_config_latest(rd->raft, NULL), s.id);
    }
    return n;
}

static bool follow_gone(struct raftd *rd, const steppe_Member *m, const struct raft_server *s,
                        int64_t gone_ns)
{
    const struct raft_config *config = raft_config_latest(rd->raft, NULL);
    bool dead = has_status(m, "failed") && rd->ctx->conf->autopilot.cleanup_dead_servers &&
                gone_ns >= DEAD_GRACE_NS && failed_voters(rd) < raft_config_voters(config) / 2;

    if (!raft_config_find(config, s->id) || s->id == rd->id)
        return false;
    if (!has_status(m, "left") && !dead)
        return false;
    change(rd, RAFT_REMOVE, s);
    return true;
}

void raftd_members_reconcile(struct raftd *rd)
{
    struct raftd_members *m = rd->members;
    int64_t now = clock_mono().ns;
    bool changed = false;

    if (!rd->started) {
        consider_founding(rd);
        return;
    }
    for (pb_size_t i = 0; i < m->list.members_count; i++) {
        const steppe_Member *mem = &m->list.members[i];
        bool alive = has_status(mem, "alive");
        struct raft_server s;
        int64_t since;

        if (!of_own_region(rd, mem) || !server_of(mem, &s))
            continue;
        since = shown_for(m, s.uuid, alive, now);
        if (!rd->ready || changed)
            continue;
        changed = alive ? follow_alive(rd, &s, since) : follow_gone(rd, mem, &s, since);
    }
}

/* ---- hearing of gossip ---- */

static void on_members(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
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

    if (m->founding && m->founding->open == 0)
        founding_free(m);
    raftd_members_reconcile(m->rd);
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
        uv_timer_start(&m->timer, on_timer, RECONCILE_MS, RECONCILE_MS);
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
    founding_free(m);
    bus_client_free(m->serfd);
    bus_sub_free(m->events);
    pb_release(steppe_MemberList_fields, &m->list);
    free(m->seen);
    uv_close((uv_handle_t *)&m->timer, free_members);
}
