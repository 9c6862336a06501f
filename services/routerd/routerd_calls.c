/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One request from arrival to answer: the targets to try, in order, each at most once (the local
 * raftd twice: at once, and last of all with all the time that is left).
 *
 *     start -> try target -> answered ------------------------------> reply
 *                  |-> nothing was sent ---------> next target | error
 *                  '-> sent, then lost: a read or keyed write --> next target | error
 *                                       another write ------------> error (it may have happened)
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "routerd_shell.h"
#include "wire/wire.h"

#define HOPS_MAX        3    /* client node to server, region to region, follower to leader */
#define LOCAL_WAIT_MS   1000 /* for a local raftd that restarts, when others could answer */
#define RESTART_WAIT_MS 8000 /* for it when nobody else can */
#define DIAL_WAIT_MS    1000
#define READ_TRY_MS     1000 /* one server's time for a read while others are left to ask */

struct target {
    struct bus_client *local; /* raftd or serfd of this node, or NULL: then server */
    struct route_server *server;
    unsigned connect_wait_ms;
};

struct call {
    struct routerd *rd;
    struct bus_req *req;
    bool repeatable; /* may be sent again though it was sent already */
    struct target targets[ROUTERD_TARGETS_MAX];
    size_t n, at;
};

static void try_target(struct call *c);

static void call_error(struct call *c, unsigned code, bool retryable, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static void call_error(struct call *c, unsigned code, bool retryable, const char *fmt, ...)
{
    char text[ERRTEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    bus_req_error(c->req, code, retryable, "%s", text);
    free(c);
}

static int64_t left_ms(const struct call *c)
{
    return (c->req->deadline.ns - clock_mono().ns) / NS_PER_MS;
}

static void add_local(struct call *c, struct bus_client *client, unsigned connect_wait_ms)
{
    c->targets[c->n++] = (struct target){.local = client, .connect_wait_ms = connect_wait_ms};
}

static size_t add_servers(struct call *c, const char *region)
{
    struct route_server *order[ROUTE_TRIES_MAX];
    size_t n = route_table_order(c->rd->table, region, clock_mono(), order);

    for (size_t i = 0; i < n; i++)
        c->targets[c->n++] = (struct target){.server = order[i], .connect_wait_ms = DIAL_WAIT_MS};
    return n;
}

/*
 * A request for one server and no other (who holds a client node's connection). A pure client may
 * have no way to another region's servers: there its own region's pass it on.
 */
static unsigned plan_named(struct call *c, struct errtext *e)
{
    struct route_server *s = route_table_named(c->rd->table, c->req->env.server);
    const char *own = c->rd->ctx->conf->region;

    if (s && s->self && c->rd->raftd)
        add_local(c, c->rd->raftd, LOCAL_WAIT_MS);
    else if (s && !c->rd->raftd && strcmp(s->region, own) != 0)
        (void)add_servers(c, own);
    else if (s && !s->self)
        c->targets[c->n++] = (struct target){.server = s, .connect_wait_ms = DIAL_WAIT_MS};
    if (c->n > 0)
        return 0;
    (void)err_set(e, 0, "No path to server %s", c->req->env.server);
    return 500;
}

/* Fills the targets. 0, or the code of an error that was put into e. */
static unsigned plan(struct call *c, const struct rpc_method_info *info, struct errtext *e)
{
    const steppe_Request *env = &c->req->env;
    const char *own = c->rd->ctx->conf->region;
    bool home = !env->region[0] || strcmp(env->region, own) == 0 || (info->flags & RPC_LOCAL);
    size_t others;

    if (env->hops >= HOPS_MAX) {
        (void)err_set(e, 0, "request was forwarded %u times: routing loop", env->hops);
        return 508;
    }
    if (env->server[0])
        return plan_named(c, e);
    if (info->service == RPC_TO_SERFD && c->rd->serfd) {
        add_local(c, c->rd->serfd, RESTART_WAIT_MS);
        return 0;
    }
    if (info->service == RPC_TO_SERFD && !(info->flags & RPC_READ)) {
        (void)err_set(e, 0, "Invalid method");
        return 501; /* gossip is the servers' business */
    }
    if (home && c->rd->raftd) {
        add_local(c, c->rd->raftd, LOCAL_WAIT_MS);
        others = info->flags & RPC_LOCAL ? 0 : add_servers(c, own);
        if (others == 0)
            c->targets[0].connect_wait_ms = RESTART_WAIT_MS;
        else
            add_local(c, c->rd->raftd, RESTART_WAIT_MS);
        return 0;
    }
    /* A pure client asks its own region's servers for everything: it may have no way to others. */
    others = add_servers(c, c->rd->raftd ? env->region : own);
    if (others > 0)
        return 0;
    (void)err_set(e, 0, "%s", c->rd->raftd ? "No path to region" : "No known servers");
    return 500;
}

static void answer(struct call *c, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    const struct target *t = &c->targets[c->at];
    steppe_Reply out = *rep;

    /* Nomad's mark of an error that another server found, one for each hop; not of a node's. */
    if (t->server && rep->code == 500 && c->req->env.method != RPC_CLIENT_CALL)
        (void)snprintf(out.error, sizeof(out.error), "rpc error: %.*s", (int)sizeof(out.error) - 16,
                       rep->error);
    if (t->server)
        route_server_result(t->server, true, clock_mono());
    bus_req_reply(c->req, &out, body, len);
    if (!out.more)
        free(c);
}

/* The text of the last failure when there is nobody left to ask. */
static void give_up(struct call *c, int err)
{
    const struct target *t = &c->targets[c->at];
    const char *peer = t->server ? t->server->endpoint + strlen("tcp://") : "the local server";
    bool again = c->repeatable || (rpc_method_info(c->req->env.method)->flags & RPC_STREAM);

    routerd_add_configured(c->rd);
    switch (err) {
    case -ECONNREFUSED:
        call_error(c, 500, true,
                   "rpc error: failed to get conn: dial tcp %s: connect: connection refused", peer);
        break;
    case -ETIMEDOUT:
        call_error(c, 500, again, "rpc error: no answer from %s in time", peer);
        break;
    default:
        call_error(c, 500, again, "rpc error: connection to %s was lost%s", peer,
                   again ? "" : "; the write may have been applied");
    }
}

static void on_reply(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct call *c = user;
    const struct target *t = &c->targets[c->at];
    bool untouched = err == -ECONNREFUSED;

    if (err == 0) {
        answer(c, rep, body, len);
        return;
    }
    if (t->server)
        route_server_result(t->server, false, clock_mono());
    if (c->rd->stopping) {
        call_error(c, 500,
                   untouched || c->repeatable ||
                       (rpc_method_info(c->req->env.method)->flags & RPC_STREAM),
                   "rpc error: routerd is stopping");
        return;
    }
    if ((untouched || c->repeatable) && left_ms(c) > 0) {
        /* A lone local raftd that died is tried once more: it may be back. */
        if (c->at + 1 == c->n && t->local && !untouched && c->n < ROUTERD_TARGETS_MAX)
            add_local(c, t->local, RESTART_WAIT_MS);
        if (c->at + 1 < c->n) {
            c->at++;
            try_target(c);
            return;
        }
    }
    give_up(c, err);
}

static void try_target(struct call *c)
{
    const struct target *t = &c->targets[c->at];
    steppe_Request env = c->req->env;
    struct bus_client *client = t->local;
    int64_t left = left_ms(c);
    bool more_left = c->at + 1 < c->n;

    if (!client)
        client = routerd_conn_get(c->rd, t->server->endpoint);
    if (!client) {
        give_up(c, -ECONNREFUSED);
        return;
    }
    if (t->server)
        env.hops++;
    /* The local raftd waits for a leader itself, and answers; when it hangs, its connection ends.
     */
    if (more_left && c->repeatable && env.min_index == 0 && t->server)
        left = MIN(left, (int64_t)READ_TRY_MS);
    env.timeout_ms = (uint32_t)MAX(left, (int64_t)1);
    bus_client_call(client, &env, c->req->body, c->req->body_len,
                    (unsigned)MIN((int64_t)t->connect_wait_ms, MAX(left, (int64_t)1)), on_reply, c);
}

/* To the first target only: whoever sends such may lose it. */
static void send_one_way(struct call *c)
{
    const struct target *t = &c->targets[0];
    steppe_Request env = c->req->env;
    struct bus_client *client = NULL;

    if (c->n > 0)
        client = t->local ? t->local : routerd_conn_get(c->rd, t->server->endpoint);
    if (c->n > 0 && t->server)
        env.hops++;
    if (!client || bus_client_send(client, &env, c->req->body, c->req->body_len) < 0)
        log_debug("one-way message dropped: no connection method=%u", env.method);
    bus_req_drop(c->req);
    free(c);
}

static void reply_regions(struct routerd *rd, struct bus_req *req)
{
    size_t n;
    _cleanup_(freep) const char **names = route_table_regions(rd->table, clock_mono(), &n);
    steppe_RegionListResponse list = {.regions_count = (pb_size_t)n, .regions = (char **)names};
    steppe_Reply rep = {.known_leader = true};

    bus_req_answer(req, &rep, steppe_RegionListResponse_fields, &list);
}

struct routerd_held {
    struct bus_req *req;
    struct routerd_held *next;
};

/* A router that has just started has not heard from serfd yet who is there. */
static void hold(struct routerd *rd, struct bus_req *req)
{
    struct routerd_held *h = xcalloc(1, sizeof(*h));

    h->req = req;
    h->next = rd->held;
    rd->held = h;
}

void routerd_release_held(struct routerd *rd)
{
    struct routerd_held *h = rd->held, *next;

    rd->waited = true;
    rd->held = NULL;
    for (; h; h = next) {
        next = h->next;
        if (!rd->stopping)
            routerd_call_start(rd, h->req);
        free(h);
    }
}

void routerd_call_start(struct routerd *rd, struct bus_req *req)
{
    const struct rpc_method_info *info = rpc_method_info(req->env.method);
    struct errtext e = {{0}};
    struct call *c;
    unsigned code;

    if (!info) {
        bus_req_error(req, 400, false, "rpc: can't find method %u", req->env.method);
        return;
    }
    if (info->method == RPC_REGION_LIST && rd->raftd) {
        reply_regions(rd, req);
        return;
    }
    c = xcalloc(1, sizeof(*c));
    c->rd = rd;
    c->req = req;
    c->repeatable = (info->flags & RPC_READ) || req->env.idempotency_key[0];
    code = plan(c, info, &e);
    if (code == 500 && rd->raftd && !rd->waited && !(info->flags & RPC_ONE_WAY)) {
        hold(rd, req);
        free(c);
        return;
    }
    if (info->flags & RPC_ONE_WAY)
        send_one_way(c);
    else if (code)
        call_error(c, code, true, "%s", e.text);
    else
        try_target(c);
}
