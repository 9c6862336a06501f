/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Node clients' connections that this server holds, and the calls that go over them. A client opens
 * one by Client.Connect, a request that is never finished: its parts are orders to the client. The
 * client's answers come as Client.Data messages, each passed on as a part of the call's answer.
 *
 *     reader --Client.Call--> here --order--> client
 *     reader <---- part ----- here <--Client.Data-- client      at most a window without credit
 *     reader -Client.Control-> here --order--> client           credit, cancel
 *
 * Nothing is kept here but who waits for what. Who looks for a node that is connected elsewhere:
 * raftd_seek.c.
 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "client.pb.h"
#include "raftd.h"
#include "wire/wire.h"

#define SCAN_MS          1000
#define CONN_SILENT_NS   (15 * NS_PER_SEC) /* the client's beats come each 5 s */
#define READER_SILENT_NS (30 * NS_PER_SEC) /* the readers' credit, too */
#define CONN_CALLS_MAX   1024
#define CALLS_MAX        16384

struct relay;

struct conn {
    struct raftd *rd;
    struct bus_req *req; /* Client.Connect */
    uint64_t number;
    char node_id[37];
    int64_t heard_ns;
    struct relay *relays;
    size_t relays_n;
    struct conn *prev, *next;
};

/* A call under way. */
struct relay {
    struct conn *conn;
    struct bus_req *req;
    uint64_t stream, next_seq;
    int64_t heard_ns; /* of its reader */
    struct relay *prev, *next;
};

struct raftd_clients {
    struct raftd *rd;
    struct conn *conns;
    struct idmap by_number, by_node, by_stream;
    uint64_t last_number, last_stream;
    char name[256]; /* of this server in gossip */
    uv_timer_t scan;
};

/* The first half of the UUID: random enough to be a hash; the whole id is compared. */
static uint64_t node_key(const char *node_id)
{
    uint64_t key = 0;

    for (const char *p = node_id; *p && p < node_id + 18; p++) {
        if (*p != '-')
            key = key << 4 | (uint64_t)(*p >= 'a' ? *p - 'a' + 10 : *p - '0');
    }
    return key ? key : 1;
}

static struct conn *conn_find(struct raftd_clients *cs, const char *node_id)
{
    struct conn *c = idmap_get(&cs->by_node, node_key(node_id));

    return c && strcmp(c->node_id, node_id) == 0 ? c : NULL;
}

/* ---- relays ---- */

static void relay_free(struct relay *r)
{
    struct conn *c = r->conn;

    if (r->prev)
        r->prev->next = r->next;
    else
        c->relays = r->next;
    if (r->next)
        r->next->prev = r->prev;
    c->relays_n--;
    idmap_remove(&c->rd->clients->by_stream, r->stream);
    free(r);
}

static void relay_fail(struct relay *r, unsigned code, const char *text)
{
    struct bus_req *req = r->req;

    relay_free(r);
    bus_req_error(req, code, true, "%s", text);
}

static int send_order(struct conn *c, const steppe_ClientOrder *order)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_BOUND(BUS_BODY_MAX);
    steppe_Reply rep = {.more = true, .known_leader = true};
    int err = wire_encode(steppe_ClientOrder_fields, order, &body);

    return err ? err : bus_req_reply(c->req, &rep, body.data, body.len);
}

/* The client is told that nobody wants the rest. */
static void relay_cancel(struct relay *r)
{
    steppe_ClientOrder order = {.stream = r->stream, .cancel = true};

    (void)send_order(r->conn, &order);
}

/* ---- connections ---- */

static void conn_free(struct conn *c)
{
    struct raftd_clients *cs = c->rd->clients;

    while (c->relays)
        relay_fail(c->relays, 500, "the connection to the node was lost");
    if (c->prev)
        c->prev->next = c->next;
    else
        cs->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    idmap_remove(&cs->by_number, c->number);
    if (idmap_get(&cs->by_node, node_key(c->node_id)) == c)
        idmap_remove(&cs->by_node, node_key(c->node_id));
    free(c);
}

/* Ends a connection; why is told to the client, if it still hears. */
static void conn_close(struct conn *c, const char *why)
{
    struct bus_req *req = c->req;

    log_debug("client connection closed node=%s why=\"%s\"", c->node_id, why);
    conn_free(c);
    bus_req_error(req, 500, true, "%s", why);
}

static void on_scan(uv_timer_t *t)
{
    struct raftd_clients *cs = t->data;
    int64_t now = clock_mono().ns;
    struct conn *c, *next;

    for (c = cs->conns; c; c = next) {
        struct relay *r, *next_relay;

        next = c->next;
        if (now - c->heard_ns > CONN_SILENT_NS) {
            conn_close(c, "nothing was heard of the client");
            continue;
        }
        for (r = c->relays; r; r = next_relay) {
            next_relay = r->next;
            if (now - r->heard_ns <= READER_SILENT_NS)
                continue;
            relay_cancel(r);
            relay_fail(r, 500, "nothing was heard of the reader");
        }
    }
    if (!cs->conns)
        uv_timer_stop(t);
}

static void conn_accept(struct raftd_clients *cs, struct bus_req *req, const char *node_id)
{
    struct conn *c, *old = idmap_get(&cs->by_node, node_key(node_id));
    steppe_ClientOrder hello = {.server = cs->name};

    if (old)
        conn_close(old, "the node has connected again");
    c = xcalloc(1, sizeof(*c));
    c->rd = cs->rd;
    c->req = req;
    c->number = hello.conn = ++cs->last_number;
    (void)snprintf(c->node_id, sizeof(c->node_id), "%s", node_id);
    c->heard_ns = clock_mono().ns;
    c->next = cs->conns;
    if (c->next)
        c->next->prev = c;
    cs->conns = c;
    idmap_put(&cs->by_number, c->number, c);
    idmap_put(&cs->by_node, node_key(node_id), c);
    if (!uv_is_active((uv_handle_t *)&cs->scan))
        uv_timer_start(&cs->scan, on_scan, SCAN_MS, SCAN_MS);
    log_debug("client connected node=%s", node_id);
    (void)send_order(c, &hello);
    raftd_seek_moved(cs->rd, node_id);
}

/* 0, or an HTTP status with its text. A node that this server does not know yet tries again. */
static unsigned check_node(struct raftd *rd, const steppe_ClientConnectRequest *m,
                           struct state_node *ret, struct errtext *e)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    struct state_meta meta = {0};

    if (!m->node_id || !m->secret_id || store_begin(rd->store, false, &t) < 0 ||
        state_node_row(t, m->node_id, ret, &meta, e) != 0 || !meta.found) {
        (void)err_set(e, 0, "node not found");
        return 404;
    }
    if (strcmp(ret->secret_id, m->secret_id) != 0) {
        (void)err_set(e, 0, "node secret ID does not match");
        return 403;
    }
    return 0;
}

static void on_connect(struct raftd *rd, struct bus_req *req)
{
    steppe_ClientConnectRequest m;
    struct state_node node;
    struct errtext e = {{0}};
    unsigned code;

    if (!bus_req_decode(req, steppe_ClientConnectRequest_fields, &m, sizeof(m)))
        return;
    code = check_node(rd, &m, &node, &e);
    pb_release(steppe_ClientConnectRequest_fields, &m);
    if (code)
        bus_req_error(req, code, code == 404, "%s", e.text);
    else
        conn_accept(rd->clients, req, node.id);
}

static void on_beat(struct raftd *rd, struct bus_req *req)
{
    steppe_ClientBeat m;
    struct conn *c = NULL;
    struct errtext e;

    if (wire_decode(steppe_ClientBeat_fields, req->body, req->body_len, &m, sizeof(m), &e) == 0)
        c = idmap_get(&rd->clients->by_number, m.conn);
    if (!c) {
        bus_req_error(req, 404, false, "this server holds no such connection of the node: connect again");
        return;
    }
    c->heard_ns = clock_mono().ns;
    (void)bus_req_reply(req, &(steppe_Reply){.known_leader = true}, NULL, 0);
}

static void on_moved(struct raftd *rd, struct bus_req *req)
{
    steppe_ClientMoved m;
    struct conn *c = NULL;
    struct errtext e;

    if (wire_decode(steppe_ClientMoved_fields, req->body, req->body_len, &m, sizeof(m), &e) == 0) {
        if (m.node_id)
            c = conn_find(rd->clients, m.node_id);
        pb_release(steppe_ClientMoved_fields, &m);
    }
    if (c)
        conn_close(c, "the node has connected to another server");
    bus_req_drop(req);
}

/* ---- what goes over them ---- */

static void pass_on(struct relay *r, const steppe_ClientData *m)
{
    steppe_Reply rep = {.more = !m->last, .code = m->code, .known_leader = true};
    struct bus_req *req = r->req;
    const void *part = m->part ? m->part->bytes : NULL;
    size_t len = m->part ? m->part->size : 0;

    if (m->seq != r->next_seq++) {
        relay_cancel(r);
        relay_fail(r, 500, "a part of the node's answer was lost");
        return;
    }
    (void)snprintf(rep.error, sizeof(rep.error), "%s", m->error ? m->error : "");
    if (m->last)
        relay_free(r);
    if (bus_req_reply(req, &rep, part, len) == -EHOSTUNREACH && !m->last) {
        relay_cancel(r);
        relay_free(r);
        bus_req_drop(req);
    }
}

static void on_data(struct raftd *rd, struct bus_req *req)
{
    struct raftd_clients *cs = rd->clients;
    steppe_ClientData m;
    struct errtext e;
    struct relay *r;
    struct conn *c;

    if (wire_decode(steppe_ClientData_fields, req->body, req->body_len, &m, sizeof(m), &e) == 0) {
        c = idmap_get(&cs->by_number, m.conn);
        r = c ? idmap_get(&cs->by_stream, m.stream) : NULL;
        if (c)
            c->heard_ns = clock_mono().ns;
        if (r && r->conn == c)
            pass_on(r, &m);
        pb_release(steppe_ClientData_fields, &m);
    }
    bus_req_drop(req);
}

static void on_control(struct raftd *rd, struct bus_req *req)
{
    steppe_ClientControl m;
    struct relay *r = NULL;
    struct errtext e;

    if (wire_decode(steppe_ClientControl_fields, req->body, req->body_len, &m, sizeof(m), &e) == 0)
        r = idmap_get(&rd->clients->by_stream, m.stream);
    bus_req_drop(req);
    if (!r)
        return;
    r->heard_ns = clock_mono().ns;
    if (m.cancel) {
        relay_cancel(r);
        relay_fail(r, 499, "canceled");
    } else {
        steppe_ClientOrder order = {.stream = r->stream, .consumed = m.consumed};

        (void)send_order(r->conn, &order);
    }
}

static void on_find(struct raftd *rd, struct bus_req *req)
{
    steppe_ClientFindResponse rep = {0};
    steppe_ClientFindRequest m;

    if (!bus_req_decode(req, steppe_ClientFindRequest_fields, &m, sizeof(m)))
        return;
    rep.held = m.node_id && conn_find(rd->clients, m.node_id);
    pb_release(steppe_ClientFindRequest_fields, &m);
    raftd_rpc_answer(rd, req, 0, steppe_ClientFindResponse_fields, &rep);
}

/* The reader learns where credit and cancel go. False: it is gone already. */
static bool greet_reader(struct raftd_clients *cs, struct bus_req *req, uint64_t stream)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_ClientPart part = {.stream = stream, .server = cs->name};
    steppe_Reply rep = {.more = true, .known_leader = true};

    (void)wire_encode(steppe_ClientPart_fields, &part, &body);
    return bus_req_reply(req, &rep, body.data, body.len) == 0;
}

bool raftd_clients_relay(struct raftd *rd, struct bus_req *req, const steppe_ClientCall *call,
                         const char *node_id)
{
    struct raftd_clients *cs = rd->clients;
    struct conn *c = conn_find(cs, node_id);
    steppe_ClientOrder order = {.stream = cs->last_stream + 1, .has_call = true, .call = *call};
    struct relay *r;

    if (!c)
        return false;
    if (c->relays_n >= CONN_CALLS_MAX || cs->by_stream.n >= CALLS_MAX) {
        bus_req_error(req, 429, true, "too many calls to node %s are under way", node_id);
        return true;
    }
    if (send_order(c, &order) != 0) {
        conn_close(c, "the client cannot be reached"); /* it may be connected elsewhere by now */
        return false;
    }
    r = xcalloc(1, sizeof(*r));
    r->conn = c;
    r->req = req;
    r->stream = ++cs->last_stream;
    r->heard_ns = clock_mono().ns;
    r->next = c->relays;
    if (r->next)
        r->next->prev = r;
    c->relays = r;
    c->relays_n++;
    idmap_put(&cs->by_stream, r->stream, r);
    if (!greet_reader(cs, req, r->stream)) {
        relay_cancel(r);
        relay_free(r);
        bus_req_drop(req);
    }
    return true;
}

bool raftd_clients_request(struct raftd *rd, struct bus_req *req)
{
    switch (req->env.method) {
    case RPC_CLIENT_CONNECT:
        on_connect(rd, req);
        return true;
    case RPC_CLIENT_BEAT:
        on_beat(rd, req);
        return true;
    case RPC_CLIENT_DATA:
        on_data(rd, req);
        return true;
    case RPC_CLIENT_CALL:
        raftd_seek_call(rd, req);
        return true;
    case RPC_CLIENT_CONTROL:
        on_control(rd, req);
        return true;
    case RPC_CLIENT_FIND:
        on_find(rd, req);
        return true;
    case RPC_CLIENT_MOVED:
        on_moved(rd, req);
        return true;
    default:
        return false;
    }
}

const char *raftd_clients_name(const struct raftd *rd)
{
    return rd->clients->name;
}

struct raftd_clients *raftd_clients_new(struct raftd *rd)
{
    struct raftd_clients *cs = xcalloc(1, sizeof(*cs));

    cs->rd = rd;
    /* Numbers of another life of this process are not taken for ours. */
    cs->last_number = random_u64() >> 1;
    cs->last_stream = random_u64() >> 1;
    (void)snprintf(cs->name, sizeof(cs->name), "%s.%s", rd->ctx->conf->name, rd->ctx->conf->region);
    uv_timer_init(rd->ctx->loop, &cs->scan);
    cs->scan.data = cs;
    return cs;
}

static void free_clients(uv_handle_t *h)
{
    free(h->data);
}

struct raftd_clients *raftd_clients_free(struct raftd_clients *cs)
{
    if (!cs)
        return NULL;
    while (cs->conns)
        conn_close(cs->conns, "server is stopping");
    idmap_fini(&cs->by_number);
    idmap_fini(&cs->by_node);
    idmap_fini(&cs->by_stream);
    uv_close((uv_handle_t *)&cs->scan, free_clients);
    return NULL;
}
