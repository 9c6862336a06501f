/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The connection to a server, by way of routerd:
 *
 *     DOWN -- Client.Connect --> DIALING -- hello --> UP -- error, missed beat --> DOWN
 *
 * A lost connection is made again at once, then after pauses that double up to RETRY_MAX_MS; its
 * streams are canceled. Beats are requests to the very server that holds it, so that a connection
 * that only seems to be open is noticed on both sides.
 */
#include "clientd_conn.h"

#include <errno.h>
#include <pb_decode.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/idmap.h"
#include "base/log.h"
#include "base/prng.h"
#include "bus/bus.h"
#include "rpc/rpc_methods.h"
#include "wire/wire.h"

#define CONNECT_MS       UINT32_C(2000000000) /* 23 days: then it is simply made again */
#define HELLO_MS         5000
#define BEAT_MS          5000
#define BEAT_ANSWER_MS   5000
#define DIAL_MS          5000
#define RETRY_MIN_MS     50
#define RETRY_MAX_MS     5000
#define READER_SILENT_NS (30 * NS_PER_SEC) /* of this node's own gateway */

enum conn_state { CONN_DOWN, CONN_DIALING, CONN_UP };

struct conn {
    struct svc_ctx *ctx;
    const char *node_id, *secret;
    struct allocs *allocs;
    struct bus_client *routerd;
    struct bus_server *local;
    enum conn_state state;
    uint64_t request; /* of Client.Connect */
    uint64_t beating; /* of a beat under way, 0: none */
    uint64_t number;  /* as the server counts connections */
    char server[256]; /* its gossip name */
    unsigned failures;
    uv_timer_t timer; /* next try, missing hello, next beat */
    uv_timer_t scan;  /* for silent readers */
    struct cstream *streams;
    size_t streams_n;
    struct idmap remote, own; /* by number: of the server, of the gateway */
    uint64_t last_own;
    bool stopping;
};

static void dial(struct conn *c);
static void beat(struct conn *c);

/* ---- streams ---- */

bool cstream_room(const struct cstream *s)
{
    return s->canceled || s->sent - s->consumed + CPART_MAX + CPART_COST <= CWINDOW;
}

struct allocs *cstream_allocs(const struct cstream *s)
{
    return s->conn->allocs;
}

struct svc_ctx *cstream_ctx(const struct cstream *s)
{
    return s->conn->ctx;
}

static void stream_free(struct cstream *s)
{
    struct conn *c = s->conn;

    if (s->prev)
        s->prev->next = s->next;
    else
        c->streams = s->next;
    if (s->next)
        s->next->prev = s->prev;
    c->streams_n--;
    (void)idmap_remove(s->local ? &c->own : &c->remote, s->number);
    pb_release(steppe_ClientCall_fields, &s->call);
    free(s);
}

static void stream_cancel(struct cstream *s)
{
    if (s->canceled)
        return;
    s->canceled = true;
    if (s->req) {
        bus_req_drop(s->req);
        s->req = NULL;
    }
    assert(s->wake); /* who does not end it at once sets it */
    s->wake(s);      /* frees s */
}

/* An answer's part to the server that holds the connection. */
static void send_data(struct cstream *s, const struct strbuf *part, bool last, unsigned code,
                      const char *text)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_BOUND(BUS_BODY_MAX);
    _cleanup_(freep) pb_bytes_array_t *bytes = NULL;
    struct conn *c = s->conn;
    steppe_ClientData m = {.conn = c->number,
                           .stream = s->number,
                           .seq = s->seq++,
                           .last = last,
                           .code = code,
                           .error = (char *)text};
    steppe_Request env = {.method = RPC_CLIENT_DATA};

    if (part && part->len) {
        bytes = xmalloc(PB_BYTES_ARRAY_T_ALLOCSIZE(part->len));
        bytes->size = (pb_size_t)part->len;
        memcpy(bytes->bytes, part->data, part->len);
        m.part = bytes;
    }
    (void)snprintf(env.server, sizeof(env.server), "%s", c->server);
    (void)wire_encode(steppe_ClientData_fields, &m, &body);
    /* What gets lost leaves a gap, which the server answers with a cancel. */
    (void)bus_client_send(c->routerd, &env, body.data, body.len);
}

static void stream_put(struct cstream *s, const struct strbuf *part, bool last, unsigned code,
                       const char *text)
{
    steppe_Reply rep = {.more = !last, .code = code};

    if (s->canceled)
        return;
    if (!s->local) {
        send_data(s, part, last, code, text);
        return;
    }
    (void)snprintf(rep.error, sizeof(rep.error), "%s", text ? text : "");
    if (bus_req_reply(s->req, &rep, part ? part->data : NULL, part ? part->len : 0) ==
        -EHOSTUNREACH)
        s->heard_ns = 0; /* the reader is gone: canceled at the next scan, not from within here */
    if (last)
        s->req = NULL;
}

void cstream_send(struct cstream *s, const void *data, size_t len, const char *file, int64_t offset,
                  const char *file_event)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_BOUND(BUS_BODY_MAX);
    _cleanup_(freep) pb_bytes_array_t *bytes = NULL;
    steppe_ClientPart part = {
        .file = (char *)file, .offset = offset, .file_event = (char *)file_event};

    if (s->canceled)
        return;
    assert(len <= CPART_MAX);
    if (len) {
        bytes = xmalloc(PB_BYTES_ARRAY_T_ALLOCSIZE(len));
        bytes->size = (pb_size_t)len;
        memcpy(bytes->bytes, data, len);
        part.data = bytes;
    }
    if (wire_encode(steppe_ClientPart_fields, &part, &body) < 0)
        return; /* cannot be: parts are small; the gap would show */
    s->sent += len + CPART_COST;
    stream_put(s, &body, false, 0, NULL);
}

void cstream_end(struct cstream *s, unsigned code, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    stream_put(s, NULL, true, code, text);
    stream_free(s);
}

void cstream_end_msg(struct cstream *s, const pb_msgdesc_t *fields, const void *msg)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_BOUND(CMESSAGE_MAX);

    if (wire_encode(fields, msg, &body) < 0) {
        cstream_end(s, 500, "the answer is too large");
        return;
    }
    /* Bounded, so it does not wait for credit. */
    for (size_t at = 0; at < body.len; at += CPART_MAX)
        cstream_send(s, body.data + at, MIN(body.len - at, (size_t)CPART_MAX), NULL, 0, NULL);
    cstream_end(s, 0, "%s", "");
}

struct alloc *cstream_alloc(struct cstream *s)
{
    const char *id = s->call.alloc_id ? s->call.alloc_id : "";
    struct alloc *al = allocs_find(s->conn->allocs, id);

    if (!al)
        cstream_end(s, 404, "Unknown allocation \"%s\"", id);
    return al;
}

static cstream_handler *const handlers[] = {
    [steppe_ClientCall_Op_HOST_STATS] = clientd_host_stats,
    [steppe_ClientCall_Op_GC_ALL] = clientd_gc_all,
    [steppe_ClientCall_Op_FS_LIST] = clientd_fs_list,
    [steppe_ClientCall_Op_FS_STAT] = clientd_fs_stat,
    [steppe_ClientCall_Op_FS_READ] = clientd_fs_read,
    [steppe_ClientCall_Op_FS_STREAM] = clientd_fs_stream,
    [steppe_ClientCall_Op_FS_LOGS] = clientd_fs_logs,
    [steppe_ClientCall_Op_ALLOC_STATS] = clientd_alloc_stats,
    [steppe_ClientCall_Op_ALLOC_RESTART] = clientd_alloc_restart,
    [steppe_ClientCall_Op_ALLOC_SIGNAL] = clientd_alloc_signal,
    [steppe_ClientCall_Op_ALLOC_GC] = clientd_alloc_gc,
};

static void on_scan(uv_timer_t *t)
{
    struct conn *c = t->data;
    int64_t now = clock_mono().ns;
    struct cstream *s = c->streams;

    while (s) {
        struct cstream *next = s->next;

        if (s->local && now - s->heard_ns > READER_SILENT_NS)
            stream_cancel(s);
        s = next;
    }
    if (!c->streams)
        uv_timer_stop(t);
}

/* Takes call over. number 0: of the gateway, a number is made. */
static void stream_start(struct conn *c, steppe_ClientCall *call, uint64_t number,
                         struct bus_req *req)
{
    struct cstream *s = xcalloc(1, sizeof(*s));

    s->conn = c;
    s->call = *call;
    *call = (steppe_ClientCall){0};
    s->local = req != NULL;
    s->req = req;
    s->number = req ? ++c->last_own : number;
    s->heard_ns = clock_mono().ns;
    s->next = c->streams;
    if (s->next)
        s->next->prev = s;
    c->streams = s;
    c->streams_n++;
    idmap_put(s->local ? &c->own : &c->remote, s->number, s);
    if (s->local) {
        _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
        steppe_ClientPart part = {.stream = s->number};

        (void)wire_encode(steppe_ClientPart_fields, &part, &body);
        stream_put(s, &body, false, 0, NULL);
        if (!uv_is_active((uv_handle_t *)&c->scan))
            uv_timer_start(&c->scan, on_scan, 1000, 1000);
    }
    if (c->streams_n > CSTREAMS_MAX)
        cstream_end(s, 429, "too many requests to this node are under way");
    else if (s->call.op >= ARRAY_LEN(handlers) || !handlers[s->call.op])
        cstream_end(s, 400, "this node does not know request %u", s->call.op);
    else
        handlers[s->call.op](s);
}

static void stream_credit(struct cstream *s, uint64_t consumed, bool cancel)
{
    s->heard_ns = clock_mono().ns;
    if (cancel) {
        stream_cancel(s);
        return;
    }
    /* Counts only go up, and never beyond what was sent. */
    if (consumed > s->consumed && consumed <= s->sent) {
        s->consumed = consumed;
        if (s->wake)
            s->wake(s);
    }
}

/* ---- the connection ---- */

static void on_timer(uv_timer_t *t);

static void later(struct conn *c, int64_t ms)
{
    uv_update_time(c->ctx->loop);
    uv_timer_start(&c->timer, on_timer, (uint64_t)MAX(ms, (int64_t)1), 0);
}

static void down(struct conn *c, const char *why)
{
    int64_t ms = MIN((int64_t)RETRY_MIN_MS << MIN(c->failures, 10u), (int64_t)RETRY_MAX_MS);
    struct cstream *s;

    if (c->state == CONN_UP)
        log_debug("connection to the servers lost server=%s why=\"%s\"", c->server, why);
    else if (c->failures == 4)
        log_debug("no connection to the servers yet, trying again: %s", why);
    bus_client_cancel(c->routerd, c->request);
    bus_client_cancel(c->routerd, c->beating);
    c->request = c->beating = 0;
    c->state = CONN_DOWN;
    c->failures++;
    for (s = c->streams; s;) {
        struct cstream *next = s->next;

        if (!s->local) /* those of the gateway stay */
            stream_cancel(s);
        s = next;
    }
    later(c, ms / 2 + (int64_t)(random_u64() % (uint64_t)ms));
}

static void on_timer(uv_timer_t *t)
{
    struct conn *c = t->data;

    switch (c->state) {
    case CONN_DOWN:
        dial(c);
        break;
    case CONN_DIALING:
        down(c, "the server says nothing");
        break;
    case CONN_UP:
        beat(c);
        break;
    }
}

static void on_beaten(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct conn *c = user;

    c->beating = 0;
    if (c->stopping)
        return;
    if (err != 0 || rep->code != 0)
        down(c, err ? strerror(-err) : rep->error);
    else
        c->failures = 0;
}

static void beat(struct conn *c)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_ClientBeat m = {.conn = c->number};
    steppe_Request env = {.method = RPC_CLIENT_BEAT, .timeout_ms = BEAT_ANSWER_MS};

    (void)snprintf(env.server, sizeof(env.server), "%s", c->server);
    (void)wire_encode(steppe_ClientBeat_fields, &m, &body);
    if (!c->beating)
        c->beating = bus_client_call(c->routerd, &env, body.data, body.len, 0, on_beaten, c);
    later(c, BEAT_MS);
}

static void on_hello(struct conn *c, const steppe_ClientOrder *order)
{
    c->state = CONN_UP;
    c->number = order->conn;
    (void)snprintf(c->server, sizeof(c->server), "%s", order->server ? order->server : "");
    log_info("connected to the servers server=%s", c->server);
    beat(c); /* at once: is there a way for what we send, too? */
}

static void on_order(struct conn *c, steppe_ClientOrder *order)
{
    struct cstream *s = order->stream ? idmap_get(&c->remote, order->stream) : NULL;

    if (c->state == CONN_DIALING)
        on_hello(c, order);
    else if (order->has_call && !s && order->stream)
        stream_start(c, &order->call, order->stream, NULL);
    else if (s)
        stream_credit(s, order->consumed, order->cancel);
}

static void on_connection(void *user, int err, const steppe_Reply *rep, const uint8_t *body,
                          size_t len)
{
    struct conn *c = user;
    steppe_ClientOrder order;
    struct errtext e = {{0}};

    if (c->stopping)
        return;
    if (err != 0 || !rep->more) {
        c->request = 0;
        down(c, err ? strerror(-err) : rep->error);
        return;
    }
    if (wire_decode(steppe_ClientOrder_fields, body, len, &order, sizeof(order), &e) < 0) {
        down(c, e.text);
        return;
    }
    on_order(c, &order);
    pb_release(steppe_ClientOrder_fields, &order);
}

void clientd_conn_registered(struct conn *c)
{
    c->failures = 0;
    if (c->state == CONN_DOWN)
        later(c, 0);
}

static void dial(struct conn *c)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_ClientConnectRequest m = {.node_id = (char *)c->node_id, .secret_id = (char *)c->secret};
    steppe_Request env = {.method = RPC_CLIENT_CONNECT, .timeout_ms = CONNECT_MS};

    (void)snprintf(env.region, sizeof(env.region), "%s", c->ctx->conf->region);
    (void)wire_encode(steppe_ClientConnectRequest_fields, &m, &body);
    c->state = CONN_DIALING;
    later(c, HELLO_MS + DIAL_MS);
    c->request = bus_client_call(c->routerd, &env, body.data, body.len, DIAL_MS, on_connection, c);
}

/* ---- the node's own gateway ---- */

/* True when the call is about this node. */
static bool is_ours(const struct conn *c, const steppe_ClientCall *call)
{
    if (call->alloc_id && call->alloc_id[0])
        return allocs_find(c->allocs, call->alloc_id) != NULL;
    return !call->node_id || !call->node_id[0] || strcmp(call->node_id, c->node_id) == 0;
}

static void on_local(void *user, struct bus_req *req)
{
    struct conn *c = user;
    struct errtext e = {{0}};
    steppe_ClientControl control;
    steppe_ClientCall call;
    struct cstream *s;

    if (req->env.method == RPC_CLIENT_CONTROL) {
        if (wire_decode(steppe_ClientControl_fields, req->body, req->body_len, &control,
                        sizeof(control), &e) == 0 &&
            (s = idmap_get(&c->own, control.stream)))
            stream_credit(s, control.consumed, control.cancel);
        bus_req_drop(req);
    } else if (req->env.method != RPC_CLIENT_CALL) {
        bus_req_error(req, 400, false, "rpc: can't find method %u", req->env.method);
    } else if (bus_req_decode(req, steppe_ClientCall_fields, &call, sizeof(call))) {
        if (is_ours(c, &call))
            stream_start(c, &call, 0, req);
        else
            bus_req_error(req, 421, true, "not of this node");
        pb_release(steppe_ClientCall_fields, &call);
    }
}

int clientd_conn_new(struct svc_ctx *ctx, const char *node_id, const char *secret,
                     struct allocs *allocs, struct conn **ret, struct errtext *e)
{
    _cleanup_(freep) char *routerd = conf_run_ipc(ctx->conf, "routerd.sock");
    _cleanup_(freep) char *own = conf_run_ipc(ctx->conf, "clientd.sock");
    struct conn *c = xcalloc(1, sizeof(*c));
    int r;

    *ret = c;
    c->ctx = ctx;
    c->node_id = node_id;
    c->secret = secret;
    c->allocs = allocs;
    uv_timer_init(ctx->loop, &c->timer);
    uv_timer_init(ctx->loop, &c->scan);
    c->timer.data = c->scan.data = c;
    r = bus_client_new(ctx->bus, routerd, &c->routerd, e);
    if (r == 0)
        r = bus_server_new(ctx->bus, own, on_local, c, &c->local, e);
    if (r == 0)
        later(c, 0);
    return r;
}

static void free_conn(uv_handle_t *h)
{
    free(h->data);
}

/* Handlers end a canceled stream at once, also while a worker of theirs still runs. */
struct conn *clientd_conn_free(struct conn *c)
{
    struct cstream *s;

    if (!c)
        return NULL;
    c->stopping = true;
    while ((s = c->streams)) {
        stream_cancel(s);
        assert(c->streams != s);
    }
    bus_server_free(c->local);
    bus_client_free(c->routerd);
    idmap_fini(&c->remote);
    idmap_fini(&c->own);
    uv_close((uv_handle_t *)&c->timer, NULL);
    uv_close((uv_handle_t *)&c->scan, free_conn);
    return NULL;
}
