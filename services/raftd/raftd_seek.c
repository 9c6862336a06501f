/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Calls to node clients: which node, and which server holds its connection. One that is not held
 * here is asked for among the other servers of the group, at once and all together; whoever holds
 * it gets the call, and its answer passes through here.
 *
 *     call -> held here -> raftd_clients_relay()
 *          -> SEEKING -- a server holds it --> PASSING -> end of the answer
 *                     -- nobody does --------> again while the node is ready, for SEEK_MS at most
 *                                              -> No path to node
 */
#include <errno.h>
#include <pb_decode.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "client.pb.h"
#include "raftd.h"
#include "state/state_alloc.h"
#include "wire/wire.h"

#define FIND_MS       1000
#define SEEK_MS       2000 /* a node that lost its server is back within that */
#define SEEK_AGAIN_MS 100
#define SEEKS_MAX     4096
#define HOPS_MAX      6

struct seek {
    struct raftd *rd;
    struct bus_req *req;
    steppe_ClientCall call;
    char node_id[37];
    int64_t until_ns;
    unsigned asked;   /* servers that have not answered yet */
    bool passing;     /* held by a server that answers now */
    uint64_t holder;  /* its id */
    uint64_t bus_id;  /* of the call to it */
    uint64_t stream;  /* its number there, 0: not heard yet */
    char server[256]; /* whose number that is: of the server that holds the connection */
    bool dead;        /* answered; freed when nobody refers to it */
    uv_timer_t *again;
    struct seek *prev, *next;
};

static const char *or_empty(const char *s)
{
    return s ? s : "";
}

static void free_handle(uv_handle_t *h)
{
    free(h);
}

static void seek_unlink(struct seek *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        s->rd->seeks = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->rd->seeks_n--;
    s->req = NULL;
    s->dead = true;
}

/* Frees what is answered and that no server's answer will name any more. */
static void seek_sweep(struct seek *s)
{
    if (!s->dead || s->asked > 0 || s->passing)
        return;
    if (s->again)
        uv_close((uv_handle_t *)s->again, free_handle);
    pb_release(steppe_ClientCall_fields, &s->call);
    free(s);
}

static void seek_fail(struct seek *s, unsigned code, bool retryable, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static void seek_fail(struct seek *s, unsigned code, bool retryable, const char *fmt, ...)
{
    struct bus_req *req = s->req;
    char text[ERRTEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    seek_unlink(s);
    bus_req_error(req, code, retryable, "%s", text);
}

/* ---- PASSING ---- */

/* The reader is gone: the holder is told. */
static void abandon(struct seek *s)
{
    struct raftd_peer *p = raftd_peer_find(s->rd, s->holder);
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_ClientControl m = {.stream = s->stream, .cancel = true};
    steppe_Request env = {.method = RPC_CLIENT_CONTROL};

    if (!p || !p->client || !s->stream)
        return;
    (void)snprintf(env.server, sizeof(env.server), "%s", s->server);
    (void)wire_encode(steppe_ClientControl_fields, &m, &body);
    (void)bus_client_send(p->client, &env, body.data, body.len);
}

static void note_stream(struct seek *s, const uint8_t *body, size_t len)
{
    steppe_ClientPart part;
    struct errtext e;

    if (wire_decode(steppe_ClientPart_fields, body, len, &part, sizeof(part), &e) < 0)
        return;
    s->stream = part.stream;
    (void)snprintf(s->server, sizeof(s->server), "%s", or_empty(part.server));
    pb_release(steppe_ClientPart_fields, &part);
}

static void ask_all(struct seek *s);
static void nobody(struct seek *s);

static void on_passed(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct seek *s = user;
    struct bus_req *req = s->req;

    if (err == 0 && rep->more) {
        if (s->dead)
            return;
        if (!s->stream)
            note_stream(s, body, len);
        if (bus_req_reply(req, rep, body, len) == -EHOSTUNREACH) {
            abandon(s);
            seek_unlink(s);
            bus_req_drop(req);
        }
        return;
    }
    s->passing = false;
    if (s->dead) {
        seek_sweep(s);
        return;
    }
    if (!s->stream && s->node_id[0] && (err != 0 || rep->code == RAFTD_CODE_NOT_LEADER)) {
        nobody(s); /* it was there a moment ago */
    } else if (err != 0) {
        seek_fail(s, 500, true, "the connection to the node's server was lost");
    } else {
        seek_unlink(s);
        (void)bus_req_reply(req, rep, body, len);
    }
    seek_sweep(s);
}

/* final: it answers or refuses, and does not seek further. */
static void pass(struct seek *s, struct raftd_peer *p, bool final)
{
    steppe_Request env = s->req->env;

    env.leader_only = final;
    env.timeout_ms = (uint32_t)MAX((s->req->deadline.ns - clock_mono().ns) / NS_PER_MS, (int64_t)1);
    env.hops++;
    env.server[0] = 0;
    s->passing = true;
    s->holder = p->id;
    s->bus_id = bus_client_call(p->client, &env, s->req->body, s->req->body_len, 0, on_passed, s);
}

/* ---- SEEKING ---- */

struct question {
    struct seek *seek;
    uint64_t peer;
};

static void on_found(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct question *q = user;
    struct seek *s = q->seek;
    struct raftd_peer *p = raftd_peer_find(s->rd, q->peer);
    steppe_ClientFindResponse m = {0};
    struct errtext e;

    free(q);
    s->asked--;
    if (!s->dead && !s->passing) {
        if (err == 0 && rep->code == 0)
            (void)wire_decode(steppe_ClientFindResponse_fields, body, len, &m, sizeof(m), &e);
        if (m.held && p && p->client)
            pass(s, p, true);
        else if (s->asked == 0)
            nobody(s);
    }
    seek_sweep(s);
}

static void ask(struct seek *s, struct raftd_peer *p, const struct strbuf *body)
{
    steppe_Request env = {.method = RPC_CLIENT_FIND, .timeout_ms = FIND_MS};
    struct question *q = xcalloc(1, sizeof(*q));

    q->seek = s;
    q->peer = p->id;
    s->asked++;
    bus_client_call(p->client, &env, body->data, body->len, 0, on_found, q);
}

static void ask_all(struct seek *s)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_ClientFindRequest m = {.node_id = s->node_id};

    (void)wire_encode(steppe_ClientFindRequest_fields, &m, &body);
    for (struct raftd_peer *p = s->rd->peers; p; p = p->next) {
        if (p->client)
            ask(s, p, &body);
    }
    if (s->asked == 0)
        nobody(s);
}

/* Held here by now, or asked for again. */
static void on_again(uv_timer_t *t)
{
    struct seek *s = t->data;
    struct bus_req *req = s->req;

    if (s->dead)
        return;
    if (raftd_clients_relay(s->rd, req, &s->call, s->node_id)) {
        seek_unlink(s);
        seek_sweep(s);
        return;
    }
    ask_all(s);
}

static bool node_is_ready(struct raftd *rd, const char *node_id)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    struct state_meta meta = {0};
    struct state_node node;
    struct errtext e;

    return store_begin(rd->store, false, &t) == 0 &&
           state_node_row(t, node_id, &node, &meta, &e) == 0 && meta.found &&
           strcmp(node.status, "ready") == 0;
}

/* No server of the group holds it. Callers sweep. */
static void nobody(struct seek *s)
{
    int64_t now = clock_mono().ns;

    if (now >= MIN(s->until_ns, s->req->deadline.ns) || !node_is_ready(s->rd, s->node_id)) {
        seek_fail(s, 404, true, "No path to node");
        return;
    }
    if (!s->again) {
        s->again = xcalloc(1, sizeof(*s->again));
        uv_timer_init(s->rd->ctx->loop, s->again);
        s->again->data = s;
    }
    uv_update_time(s->rd->ctx->loop);
    uv_timer_start(s->again, on_again, SEEK_AGAIN_MS, 0);
}

static struct seek *seek_new(struct raftd *rd, struct bus_req *req, steppe_ClientCall *call,
                             const char *node_id)
{
    struct seek *s = xcalloc(1, sizeof(*s));

    s->rd = rd;
    s->req = req;
    s->call = *call;
    *call = (steppe_ClientCall){0};
    (void)snprintf(s->node_id, sizeof(s->node_id), "%s", node_id);
    s->until_ns = clock_mono().ns + SEEK_MS * NS_PER_MS;
    s->next = rd->seeks;
    if (s->next)
        s->next->prev = s;
    rd->seeks = s;
    rd->seeks_n++;
    return s;
}

static void seek_start(struct raftd *rd, struct bus_req *req, steppe_ClientCall *call,
                       const char *node_id)
{
    struct seek *s = seek_new(rd, req, call, node_id);

    ask_all(s);
    seek_sweep(s);
}

/* ---- which node ---- */

/* The node of the call, or the status of an error. */
static unsigned find_node(struct raftd *rd, const steppe_ClientCall *call, char node_id[static 37],
                          struct errtext *e)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    struct state_meta meta = {0};
    struct state_node node;
    const char *id = or_empty(call->node_id), *alloc = or_empty(call->alloc_id);
    char of_alloc[37];
    int r = store_begin(rd->store, false, &t);

    if (r == 0 && *alloc) {
        r = state_alloc_node(t, alloc, of_alloc, &meta, e);
        if (r == 0 && !meta.found) {
            (void)err_set(e, 0, "Unknown allocation \"%s\"", alloc);
            return 404;
        }
        id = of_alloc;
    }
    if (r == 0)
        r = state_node_row(t, id, &node, &meta, e);
    if (r < 0)
        (void)err_set(e, 0, "%s", strerror(-r));
    if (r != 0)
        return 500;
    if (!meta.found) {
        (void)err_set(e, 0, "Unknown node %s", id);
        return 404;
    }
    (void)snprintf(node_id, 37, "%s", node.id);
    return 0;
}

/* What this server does not know yet the leader may know, who then seeks. */
static bool ask_leader(struct raftd *rd, struct bus_req *req, steppe_ClientCall *call)
{
    struct raftd_peer *p = rd->leader ? raftd_peer_find(rd, rd->leader) : NULL;

    if (raftd_is_leader(rd) || !p || !p->client || req->env.leader_only ||
        req->env.hops >= HOPS_MAX || rd->seeks_n >= SEEKS_MAX)
        return false;
    pass(seek_new(rd, req, call, ""), p, false);
    return true;
}

void raftd_seek_call(struct raftd *rd, struct bus_req *req)
{
    struct errtext e = {{0}};
    steppe_ClientCall call;
    char node_id[37];
    unsigned code;

    if (!bus_req_decode(req, steppe_ClientCall_fields, &call, sizeof(call)))
        return;
    code = find_node(rd, &call, node_id, &e);
    if (code == 404 && ask_leader(rd, req, &call)) {
        /* answered there */
    } else if (code) {
        bus_req_error(req, code, false, "%s", e.text);
    } else if (raftd_clients_relay(rd, req, &call, node_id)) {
        /* answered by the client */
    } else if (req->env.leader_only) {
        bus_req_error(req, RAFTD_CODE_NOT_LEADER, true, "No path to node");
    } else if (rd->seeks_n >= SEEKS_MAX) {
        bus_req_error(req, 429, true, "too many calls to node clients are under way");
    } else {
        seek_start(rd, req, &call, node_id);
    }
    pb_release(steppe_ClientCall_fields, &call);
}

void raftd_seek_moved(struct raftd *rd, const char *node_id)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_ClientMoved m = {.node_id = (char *)node_id};
    steppe_Request env = {.method = RPC_CLIENT_MOVED};

    (void)wire_encode(steppe_ClientMoved_fields, &m, &body);
    for (struct raftd_peer *p = rd->peers; p; p = p->next) {
        if (p->client)
            (void)bus_client_send(p->client, &env, body.data, body.len);
    }
}

void raftd_seek_fini(struct raftd *rd)
{
    while (rd->seeks) {
        struct seek *s = rd->seeks;

        /* Those that were asked still name it: their answers come with the end of the peers. */
        seek_fail(s, 500, true, "server is stopping");
        seek_sweep(s);
    }
}
