/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Requests: who answers, and what they wait for. One that is not answered within its handler is a
 * struct raftd_call in one of these states:
 *
 *     HELD      no leader to do it (yet): tried again when that changes, for RAFTD_HOLD_MS at most
 *     ABROAD    sent on: to the leader, or to routerd for another region
 *     READING   the core confirms that we lead (ReadIndex); then the state machine must get there
 *     RUNNABLE  a read that can run at the end of this turn of the loop
 *     BLOCKED   a blocking query whose result has not changed yet
 *     CROWDED   a node client's, which has changed, with so many others' that it waits a little
 *
 *     request -> HELD <-> ABROAD -> answer
 *             -> READING -> RUNNABLE <-> BLOCKED;  RUNNABLE -> answer
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "query/query.h"
#include "raftd.h"

#define HOLD_RETRY_MS    25
#define WAIT_DEFAULT_MS  300000u /* of a blocking query, also the longest (reference: 300 s) */
#define WAIT_JITTER      16      /* plus up to wait/16, so that waiters do not come back together */
#define ANSWER_MARGIN_MS 20      /* before the caller's own deadline */
#define DIAL_WAIT_MS     200
#define CROWD_MAX        64 /* node clients that wait for new allocations and are served at once */
#define CROWD_NS         (500 * NS_PER_MS)
#define PART_BYTES       (256u << 10) /* of a list in one turn of the loop: about a millisecond */

enum call_state { CALL_HELD, CALL_ABROAD, CALL_READING, CALL_RUNNABLE, CALL_BLOCKED, CALL_CROWDED };

/* A long list under way: a part of it in each turn of the loop, all of one transaction. */
struct raftd_list {
    struct store_txn *txn;
    struct state_page page;
    struct strbuf body;
};

struct raftd_call {
    struct raftd *rd;
    struct bus_req *req;
    enum call_state state;
    struct raftd_call *prev, *next;   /* rd->calls */
    struct raftd_call *next_runnable; /* or the next one of the crowd */
    int64_t crowd_ns;                 /* when it was asked, for the crowd; 0: not of that kind */
    int64_t hold_until_ns;
    struct bus_client *abroad; /* where it was sent */
    uint64_t abroad_id;
    bool abroad_region; /* to routerd, not to the leader */
    uint64_t read_id, read_index;
    struct watch watch;
    struct query_watch keys;
    uv_timer_t *timer; /* of the blocking query */
    bool expired;
    struct raftd_list *list;
};

static void dispatch(struct raftd_call *c);

static struct raftd_call *call_new(struct raftd *rd, struct bus_req *req)
{
    struct raftd_call *c = xcalloc(1, sizeof(*c));

    c->rd = rd;
    c->req = req;
    c->next = rd->calls;
    if (c->next)
        c->next->prev = c;
    rd->calls = c;
    return c;
}

static void free_handle(uv_handle_t *h)
{
    free(h);
}

static void list_free(struct raftd_list *l)
{
    if (!l)
        return;
    store_abort(l->txn);
    strbuf_fini(&l->body);
    free(l);
}

static void call_free(struct raftd_call *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->rd->calls = c->next;
    if (c->next)
        c->next->prev = c->prev;
    watch_disarm(&c->watch);
    if (c->read_id)
        idmap_remove(&c->rd->reads, c->read_id);
    if (c->timer)
        uv_close((uv_handle_t *)c->timer, free_handle);
    list_free(c->list);
    free(c);
}

static void call_fail(struct raftd_call *c, unsigned code, bool retryable, const char *text)
{
    struct bus_req *req = c->req;

    call_free(c);
    bus_req_error(req, code, retryable, "%s", text);
}

static int64_t left_ms(const struct raftd_call *c)
{
    return (c->req->deadline.ns - clock_mono().ns) / NS_PER_MS;
}

static const struct rpc_method_info *info_of(const struct raftd_call *c)
{
    return rpc_method_info(c->req->env.method);
}

/* May be sent a second time though the first may have been carried out. */
static bool repeatable(const struct raftd_call *c)
{
    return (info_of(c)->flags & (RPC_READ | RPC_AGAIN)) || c->req->env.idempotency_key[0];
}

void raftd_rpc_meta(struct raftd *rd, steppe_Reply *rep)
{
    struct mono_ns last = rd->started ? raft_last_contact(rd->raft) : (struct mono_ns){0};

    rep->known_leader = rd->leader != 0;
    if (raftd_is_leader(rd))
        rep->last_contact_ms = 0;
    else if (last.ns == 0)
        rep->last_contact_ms = INT64_MAX / NS_PER_MS / 1000 * 1000;
    else
        rep->last_contact_ms = (uint64_t)((clock_mono().ns - last.ns) / NS_PER_MS);
}

void raftd_rpc_answer(struct raftd *rd, struct bus_req *req, uint64_t index,
                      const pb_msgdesc_t *fields, const void *msg)
{
    steppe_Reply rep = {.index = index};

    raftd_rpc_meta(rd, &rep);
    bus_req_answer(req, &rep, fields, msg);
}

/* Not answering is the better answer to what may be asked again: the caller sees the connection go
 * and asks the next server, or this one when it is back, within its deadline. */
void raftd_rpc_stopping(struct bus_req *req)
{
    if ((rpc_method_info(req->env.method)->flags & (RPC_READ | RPC_AGAIN | RPC_STREAM)) ||
        req->env.idempotency_key[0])
        bus_req_drop(req);
    else
        bus_req_error(req, 500, false, "server is stopping; the write may have been applied");
}

/* ---- HELD ---- */

static void on_hold_timer(uv_timer_t *t);

static void hold(struct raftd_call *c)
{
    struct raftd *rd = c->rd;

    if (c->req->env.leader_only) { /* the sender waits for the leader itself */
        call_fail(c, RAFTD_CODE_NOT_LEADER, true, "not the leader");
        return;
    }
    c->state = CALL_HELD;
    if (!c->hold_until_ns)
        c->hold_until_ns = clock_mono().ns + RAFTD_HOLD_MS * NS_PER_MS;
    if (!uv_is_active((uv_handle_t *)&rd->hold_timer))
        uv_timer_start(&rd->hold_timer, on_hold_timer, HOLD_RETRY_MS, 0);
}

static void retry_held(struct raftd *rd)
{
    int64_t now = clock_mono().ns;
    struct raftd_call *c, *next;
    bool any = false;

    /* dispatch() may free c or hold it again, but touches no other call. */
    for (c = rd->calls; c; c = next) {
        next = c->next;
        if (c->state != CALL_HELD)
            continue;
        if (now >= MIN(c->hold_until_ns, c->req->deadline.ns)) {
            call_fail(c, 500, true,
                      raftd_is_leader(rd) ? "Not ready to serve consistent reads"
                                          : "No cluster leader");
            continue;
        }
        any = true;
        if (rd->leader)
            dispatch(c);
    }
    if (any && !uv_is_active((uv_handle_t *)&rd->hold_timer))
        uv_timer_start(&rd->hold_timer, on_hold_timer, HOLD_RETRY_MS, 0);
}

static void on_hold_timer(uv_timer_t *t)
{
    retry_held(t->data);
}

void raftd_rpc_hold(struct raftd *rd, struct bus_req *req)
{
    hold(call_new(rd, req));
}

/* ---- ABROAD ---- */

static void on_abroad(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct raftd_call *c = user;
    struct bus_req *req = c->req;
    bool again = repeatable(c) || (info_of(c)->flags & RPC_STREAM);
    steppe_Reply out;

    if (err == 0 && rep->code != RAFTD_CODE_NOT_LEADER) {
        out = *rep;
        if (rep->code == 500 && !c->abroad_region) /* Nomad's mark of another server's error */
            (void)snprintf(out.error, sizeof(out.error), "rpc error: %.*s",
                           (int)sizeof(out.error) - 16, rep->error);
        if (!rep->more)
            call_free(c);
        bus_req_reply(req, &out, body, len);
        return;
    }
    c->abroad = NULL;
    if (!c->rd->stopping && !c->abroad_region &&
        (err == 0 || err == -ECONNREFUSED || repeatable(c)) && left_ms(c) > 0) {
        if (err == -ECONNRESET) /* a blocking query may have been away for minutes */
            c->hold_until_ns = 0;
        hold(c);
        return;
    }
    call_fail(c, 500, err == -ECONNREFUSED || again,
              err == -ECONNREFUSED ? "rpc error: failed to get conn: connection refused"
              : again              ? "rpc error: connection lost"
                                   : "rpc error: connection lost; the write may have been applied");
}

static void send_abroad(struct raftd_call *c, struct bus_client *to, bool region)
{
    steppe_Request env = c->req->env;
    int64_t left = MAX(left_ms(c), (int64_t)1);

    env.timeout_ms = (uint32_t)left;
    env.leader_only = !region;
    env.hops++;
    c->state = CALL_ABROAD;
    c->abroad = to;
    c->abroad_region = region;
    c->abroad_id = bus_client_call(to, &env, c->req->body, c->req->body_len,
                                   (unsigned)MIN(left, (int64_t)DIAL_WAIT_MS), on_abroad, c);
}

static void to_leader(struct raftd_call *c)
{
    struct raftd_peer *leader = c->rd->leader ? raftd_peer_find(c->rd, c->rd->leader) : NULL;

    if (leader && leader->client && !c->req->env.leader_only)
        send_abroad(c, leader->client, false);
    else
        hold(c);
}

/* ---- reads ---- */

static void make_runnable(struct raftd_call *c)
{
    if (c->state == CALL_RUNNABLE)
        return;
    c->state = CALL_RUNNABLE;
    c->next_runnable = c->rd->runnable;
    c->rd->runnable = c;
    raftd_wake(c->rd);
}

/*
 * A large plan has news for a thousand node clients, and the next one a moment later again. Each is
 * told of all of them at once, half a second after it asked, which saves most of its queries,
 * fetches and updates. A few are told at once, so that a single job does not wait.
 */
static void join_crowd(struct raftd_call *c)
{
    struct raftd *rd = c->rd;

    c->state = CALL_CROWDED;
    c->next_runnable = rd->crowd;
    rd->crowd = c;
    rd->crowd_n++;
    rd->crowd_at_ns = MIN(rd->crowd_at_ns, c->crowd_ns + CROWD_NS);
    raftd_wake(rd);
}

static void on_crowd(uv_timer_t *t)
{
    raftd_wake(t->data);
}

static void crowd_later(struct raftd *rd, int64_t now)
{
    if (!uv_is_active((uv_handle_t *)&rd->crowd_timer))
        uv_timer_start(&rd->crowd_timer, on_crowd,
                       (uint64_t)((rd->crowd_at_ns - now) / NS_PER_MS) + 1, 0);
}

/* Those whose time has come, or all while they are few. */
static void serve_crowd(struct raftd *rd)
{
    int64_t now = clock_mono().ns, at = INT64_MAX;
    bool few = rd->crowd_n <= CROWD_MAX;
    struct raftd_call *list = rd->crowd, *c;

    if (!list)
        return;
    if (!few && now < rd->crowd_at_ns) {
        crowd_later(rd, now);
        return;
    }
    rd->crowd = NULL;
    rd->crowd_n = 0;
    while ((c = list)) {
        list = c->next_runnable;
        if (few || c->expired || now >= c->crowd_ns + CROWD_NS) {
            make_runnable(c);
            continue;
        }
        c->next_runnable = rd->crowd;
        rd->crowd = c;
        rd->crowd_n++;
        at = MIN(at, c->crowd_ns + CROWD_NS);
    }
    rd->crowd_at_ns = at;
    if (rd->crowd_n > 0)
        crowd_later(rd, now);
}

static void on_changed(struct watch *w)
{
    struct raftd_call *c = CONTAINER_OF(w, struct raftd_call, watch);

    if (c->crowd_ns)
        join_crowd(c);
    else
        make_runnable(c);
}

static void on_wait_over(uv_timer_t *t)
{
    struct raftd_call *c = t->data;

    c->expired = true;
    if (c->state == CALL_BLOCKED) {
        watch_disarm(&c->watch);
        make_runnable(c);
    } else if (c->state == CALL_CROWDED) {
        c->rd->crowd_at_ns = 0;
        raftd_wake(c->rd);
    }
}

static void start_wait(struct raftd_call *c)
{
    uint32_t wait =
        c->req->env.wait_ms ? MIN(c->req->env.wait_ms, WAIT_DEFAULT_MS) : WAIT_DEFAULT_MS;
    int64_t ms = wait + (int64_t)prng_below(&c->rd->prng, wait / WAIT_JITTER + 1);

    if (c->timer)
        return;
    ms = MAX(MIN(ms, left_ms(c) - ANSWER_MARGIN_MS), (int64_t)1);
    c->timer = xcalloc(1, sizeof(*c->timer));
    uv_timer_init(c->rd->ctx->loop, c->timer);
    c->timer->data = c;
    uv_update_time(c->rd->ctx->loop);
    uv_timer_start(c->timer, on_wait_over, (uint64_t)ms, 0);
}

/* True: the query is blocked now. False: answer it. */
static bool block(struct raftd_call *c, struct store_txn *t, const steppe_Reply *rep)
{
    uint64_t index, term;
    int r;

    if (c->req->env.min_index == 0 || rep->index > c->req->env.min_index || c->expired)
        return false;
    if (c->keys.n == 0 || state_applied(t, &index, &term) < 0)
        return false;
    start_wait(c);
    r = watch_arm(c->rd->watches, &c->watch, c->keys.keys, c->keys.n, index, on_changed);
    if (r == WATCH_E_STALE) {
        make_runnable(c);
        return true;
    }
    c->state = CALL_BLOCKED;
    return r == 0;
}

/* The first part, or the next one. More of it, or a watch, may keep the call. */
static int read_part(struct raftd_call *c, struct raftd_list *l, steppe_Reply *rep)
{
    struct bus_req *req = c->req;
    bool first = !l->txn;
    int r = first ? store_begin(c->rd->store, false, &l->txn) : 0;

    if (r == 0)
        r = query_run_part(l->txn, &req->env, req->body, req->body_len, &l->body, rep,
                           first ? &c->keys : NULL, &l->page);
    if (r == 0 && strbuf_failed(&l->body))
        r = -EMSGSIZE;
    return r;
}

/* A node client that comes again while there is a crowd stands in line without a look. */
static bool crowded(struct raftd_call *c)
{
    if (c->crowd_ns || c->req->env.method != RPC_NODE_CLIENT_ALLOCS || !c->req->env.min_index)
        return false;
    c->crowd_ns = clock_mono().ns;
    if (c->rd->crowd_n <= CROWD_MAX)
        return false;
    start_wait(c);
    join_crowd(c);
    return true;
}

static void run_read(struct raftd_call *c)
{
    struct raftd_list l = {.page = {.bytes_max = PART_BYTES}, .body = STRBUF_BOUND(BUS_BODY_MAX)};
    bool first = !c->list;
    steppe_Reply rep = {0};
    struct bus_req *req = c->req;
    int r;

    if (crowded(c))
        return;
    c->state = CALL_READING; /* not on the list any more */
    r = read_part(c, first ? &l : c->list, &rep);
    if (r < 0) {
        call_fail(c, 500, false, r == -EMSGSIZE ? "the result is too large" : strerror(-r));
    } else if (first && block(c, l.txn, &rep)) {
        /* what was read of it is of no use */
    } else if ((first ? &l : c->list)->page.more) {
        if (first) {
            c->list = xmalloc(sizeof(*c->list));
            *c->list = l;
        }
        make_runnable(c);
        return;
    } else {
        struct raftd_list *whole = first ? &l : TAKE_PTR(c->list);

        raftd_rpc_meta(c->rd, &rep);
        call_free(c);
        bus_req_reply(req, &rep, whole->body.data, whole->body.len);
        if (!first)
            list_free(whole);
    }
    if (first) {
        store_abort(l.txn);
        strbuf_fini(&l.body);
    }
}

void raftd_rpc_reads_run(struct raftd *rd)
{
    uint64_t applied = fsm_applied_index(rd->fsm);
    struct raftd_call *list, *c;

    serve_crowd(rd);
    list = rd->runnable;
    rd->runnable = NULL;
    while ((c = list)) {
        list = c->next_runnable;
        c->next_runnable = NULL;
        if (c->read_index <= applied) {
            run_read(c);
            continue;
        }
        if (left_ms(c) <= 0) {
            call_fail(c, 500, true, "rpc error: the state is not there in time");
            continue;
        }
        c->next_runnable = rd->runnable; /* the state machine is not there yet */
        rd->runnable = c;
    }
}

void raftd_rpc_read_answered(struct raftd *rd, const struct raft_read_answer *answer)
{
    struct raftd_call *c = idmap_remove(&rd->reads, answer->id);

    if (!c)
        return;
    c->read_id = 0;
    if (answer->err != 0) {
        hold(c);
        return;
    }
    c->read_index = answer->index;
    make_runnable(c);
}

static void start_read(struct raftd_call *c)
{
    struct raftd *rd = c->rd;
    struct raft_event ev = {.type = RAFT_EV_READ};
    const struct raft_out *out = NULL;
    int r;

    if (c->req->env.stale) {
        c->read_index = 0;
        make_runnable(c);
        return;
    }
    if (!raftd_is_leader(rd)) {
        to_leader(c);
        return;
    }
    c->state = CALL_READING;
    c->read_id = ++rd->last_read_id;
    idmap_put(&rd->reads, c->read_id, c);
    ev.read.id = c->read_id;
    r = raftd_step_result(rd, &ev, &out);
    if (r != 0) {
        idmap_remove(&rd->reads, c->read_id);
        c->read_id = 0;
    }
    raftd_effects(rd, out);
    if (r == RAFT_E_NOT_LEADER)
        hold(c);
    else if (r != 0)
        call_fail(c, 429, true, r > 0 ? raft_error_text(r) : strerror(-r));
}

/* ---- all ---- */

static void start_write(struct raftd_call *c)
{
    struct raftd *rd = c->rd;
    struct bus_req *req = c->req;

    if (!raftd_is_leader(rd)) {
        to_leader(c);
    } else if (!rd->ready) {
        hold(c);
    } else {
        call_free(c);
        raftd_write_request(rd, req);
    }
}

/* Finds what to do with a call that waits for nothing (any more). */
static void dispatch(struct raftd_call *c)
{
    const struct rpc_method_info *info = info_of(c);

    if (query_known(info->method)) {
        start_read(c);
    } else if (info->flags & RPC_WRITE) {
        start_write(c);
    } else {
        struct raftd *rd = c->rd;
        struct bus_req *req = c->req;

        /* About the group: any server that knows the leader answers. */
        if (!rd->leader && !req->env.stale && !(info->flags & RPC_LOCAL)) {
            hold(c);
            return;
        }
        call_free(c);
        raftd_operator_request(rd, req);
    }
}

static void pass_one_way(struct raftd *rd, struct bus_req *req)
{
    steppe_Request env = req->env;

    env.hops++;
    (void)bus_client_send(rd->routerd, &env, req->body, req->body_len);
    bus_req_drop(req);
}

void raftd_rpc_request(void *user, struct bus_req *req)
{
    struct raftd *rd = user;
    const struct rpc_method_info *info = rpc_method_info(req->env.method);
    const char *own = rd->ctx->conf->region;
    bool elsewhere;

    if (!info) {
        bus_req_error(req, 400, false, "rpc: can't find method %u", req->env.method);
        return;
    }
    if (info->method == RPC_RAFT_MESSAGE) {
        raftd_peers_receive(rd, req);
        return;
    }
    elsewhere = req->env.region[0] && strcmp(req->env.region, own) != 0;
    if (req->env.server[0])
        elsewhere = strcmp(req->env.server, raftd_clients_name(rd)) != 0;
    if (elsewhere && (info->flags & RPC_LOCAL))
        elsewhere = false;
    if (elsewhere && (info->flags & RPC_ONE_WAY)) {
        pass_one_way(rd, req);
        return;
    }
    if (!elsewhere && raftd_clients_request(rd, req))
        return;
    if (elsewhere || info->service == RPC_TO_SERFD || info->method == RPC_REGION_LIST) {
        if (info->service == RPC_TO_SERFD && !(info->flags & RPC_READ)) {
            bus_req_error(req, 501, false, "Invalid method");
            return;
        }
        send_abroad(call_new(rd, req), rd->routerd, true);
        return;
    }
    dispatch(call_new(rd, req));
}

/* Sent to a server that leads no more: it may be frozen or cut off, there is no need to wait for
 * it. */
static void call_back(struct raftd_call *c)
{
    struct raftd_peer *leader = c->rd->leader ? raftd_peer_find(c->rd, c->rd->leader) : NULL;

    if (!c->rd->leader || (leader && c->abroad == leader->client) || !repeatable(c))
        return;
    bus_client_cancel(c->abroad, c->abroad_id);
    c->abroad = NULL;
    c->hold_until_ns = 0;
    hold(c);
}

void raftd_rpc_leader_changed(struct raftd *rd)
{
    struct raftd_call *c, *next;

    /* Blocking queries that promised the newest state go to whoever leads now. */
    for (c = rd->calls; c; c = next) {
        next = c->next;
        if (c->state == CALL_ABROAD && !c->abroad_region && c->abroad)
            call_back(c);
        else if (c->state == CALL_BLOCKED && !c->req->env.stale && !raftd_is_leader(rd)) {
            watch_disarm(&c->watch);
            c->hold_until_ns = 0;
            hold(c);
        }
    }
    retry_held(rd);
}

void raftd_rpc_fini(struct raftd *rd)
{
    while (rd->calls) {
        struct raftd_call *c = rd->calls;

        if (c->abroad)
            bus_client_cancel(c->abroad, c->abroad_id);
        raftd_rpc_stopping(c->req);
        call_free(c);
    }
    rd->runnable = rd->crowd = NULL;
    idmap_fini(&rd->reads);
}
