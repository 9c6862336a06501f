/* SPDX-License-Identifier: MPL-2.0 */
/* The asking side: a DEALER, its connection's state, and the requests that wait for an answer. */
#include "bus/bus_int.h"

#include <errno.h>
#include <string.h>

#include "base/idmap.h"
#include "base/log.h"
#include "wire/wire.h"

#define TICK_MS          10 /* granularity of deadlines */
#define RECONNECT_MS     10
#define RECONNECT_MAX_MS 200
#define SEND_QUEUE       100000

struct pending {
    uint64_t id;
    bus_reply_fn *fn;
    void *user;
    int64_t deadline_ns;
    struct pending *next; /* in the waiting queue */
    /* Only while it waits for a connection: */
    uint8_t *env, *body;
    size_t env_len, body_len;
    int64_t connect_deadline_ns;
    bool sent;
};

struct bus_client {
    struct bus *bus;
    struct bus_sock *sock, *monitor;
    char *endpoint;
    struct idmap pending;
    struct pending *waiting, **waiting_end;
    uint64_t last_id;
    bool connected;
    uv_timer_t *timer;
    bool timer_on;
    int64_t timer_at_ns;
};

static void pending_free(struct pending *p)
{
    free(p->env);
    free(p->body);
    free(p);
}

static void finish(struct bus_client *c, struct pending *p, int err)
{
    idmap_remove(&c->pending, p->id);
    p->fn(p->user, err, NULL, NULL, 0);
    pending_free(p);
}

static void unlink_waiting(struct bus_client *c, struct pending *p)
{
    struct pending **at = &c->waiting;

    while (*at && *at != p)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = p->next;
    if (c->waiting_end == &p->next)
        c->waiting_end = at;
}

static int send_frames(struct bus_client *c, uint64_t id, const void *env, size_t env_len,
                       const void *body, size_t len)
{
    void *zmq = c->sock->zmq;

    int events, r;
    size_t n = sizeof(events);

    bus_sock_used(c->sock);
    r = zmq_send(zmq, &id, sizeof(id), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    if (r < 0 && errno == EAGAIN) {
        /* Sending looks at the socket's commands only now and then: a connection that was just
         * made may not be known to it. Asking for its events makes it look. */
        (void)zmq_getsockopt(zmq, ZMQ_EVENTS, &events, &n);
        r = zmq_send(zmq, &id, sizeof(id), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    }
    if (r < 0)
        return errno == EAGAIN ? -ECONNREFUSED : -errno;
    zmq_send(zmq, env, env_len, len ? ZMQ_SNDMORE | ZMQ_DONTWAIT : ZMQ_DONTWAIT);
    if (len)
        zmq_send(zmq, body, len, ZMQ_DONTWAIT);
    return 0;
}

static void on_timer(uv_timer_t *t);

static void arm(struct bus_client *c, int64_t at_ns)
{
    int64_t now = clock_mono().ns, ms;

    if (c->timer_on && c->timer_at_ns <= at_ns)
        return;
    ms = MAX((at_ns - now) / NS_PER_MS + 1, (int64_t)TICK_MS);
    c->timer_on = true;
    c->timer_at_ns = now + ms * NS_PER_MS;
    uv_update_time(c->bus->loop);
    uv_timer_start(c->timer, on_timer, (uint64_t)ms, 0);
}

static int64_t due_ns(const struct pending *p)
{
    return p->sent ? p->deadline_ns : MIN(p->deadline_ns, p->connect_deadline_ns);
}

/*
 * Ends all requests for which due() says so. Their callbacks may call or cancel others of this
 * client, so the ids are collected first and each is looked up again.
 */
static void finish_all(struct bus_client *c, bool (*due)(const struct pending *p, int64_t now),
                       int64_t now, int err)
{
    _cleanup_(freep) uint64_t *ids = NULL;
    struct pending *p;
    size_t n = 0;

    if (!c->pending.n)
        return;
    ids = xmalloc(c->pending.n * sizeof(*ids));
    for (size_t i = 0; (p = idmap_next(&c->pending, &i));) {
        if (due(p, now))
            ids[n++] = p->id;
    }
    for (size_t i = 0; i < n; i++) {
        p = idmap_get(&c->pending, ids[i]);
        if (!p)
            continue;
        if (!p->sent)
            unlink_waiting(c, p);
        finish(c, p, p->sent ? err : -ECONNREFUSED);
    }
}

static bool is_late(const struct pending *p, int64_t now)
{
    return due_ns(p) <= now;
}

static bool is_sent(const struct pending *p, int64_t now)
{
    (void)now;
    return p->sent;
}

static void on_timer(uv_timer_t *t)
{
    struct bus_client *c = t->data;
    int64_t now = clock_mono().ns, next = INT64_MAX;
    struct pending *p;

    c->timer_on = false;
    finish_all(c, is_late, now, -ETIMEDOUT);
    for (size_t i = 0; (p = idmap_next(&c->pending, &i));)
        next = MIN(next, due_ns(p));
    if (next != INT64_MAX)
        arm(c, next);
}

static void flush_waiting(struct bus_client *c)
{
    struct pending *p;

    while ((p = c->waiting) && c->connected) {
        if (send_frames(c, p->id, p->env, p->env_len, p->body, p->body_len) < 0)
            return; /* the connection is gone again; its event will come */
        c->waiting = p->next;
        if (!c->waiting)
            c->waiting_end = &c->waiting;
        p->sent = true;
        free(p->env);
        free(p->body);
        p->env = p->body = NULL;
        arm(c, p->deadline_ns);
    }
}

static void on_disconnect(struct bus_client *c)
{
    c->connected = false;
    finish_all(c, is_sent, 0, -ECONNRESET);
}

static bool client_monitor(void *owner)
{
    struct bus_client *c = owner;
    char addr[256];
    uint32_t value;
    int event;

    if (!bus_monitor_read(c->monitor->zmq, &event, &value, addr, sizeof(addr)))
        return false;
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        c->connected = true;
        flush_waiting(c);
    } else if (event == ZMQ_EVENT_DISCONNECTED) {
        on_disconnect(c);
    }
    return true;
}

/* Reads one answer. Frames that are none are dropped: the caller's deadline ends the request. */
static bool client_readable(void *owner)
{
    struct bus_client *c = owner;
    struct errtext e = {{0}};
    steppe_Reply rep;
    struct pending *p;
    zmq_msg_t env, body;
    uint64_t id = 0;
    int n = zmq_recv(c->sock->zmq, &id, sizeof(id), ZMQ_DONTWAIT);
    bool ok;

    if (n < 0)
        return false;
    zmq_msg_init(&env);
    zmq_msg_init(&body);
    ok = n == BUS_HOP_ID_LEN && zmq_msg_recv(&env, c->sock->zmq, ZMQ_DONTWAIT) >= 0;
    if (ok && zmq_msg_more(&env))
        ok = zmq_msg_recv(&body, c->sock->zmq, ZMQ_DONTWAIT) >= 0;
    if (ok && wire_reply_decode(zmq_msg_data(&env), zmq_msg_size(&env), &rep, &e) < 0) {
        log_warn("answer dropped peer=%s error=\"%s\"", c->endpoint, e.text);
        ok = false;
    }
    p = ok ? idmap_get(&c->pending, id) : NULL;
    if (p && rep.more) {
        p->fn(p->user, 0, &rep, zmq_msg_data(&body), zmq_msg_size(&body));
    } else if (p) {
        idmap_remove(&c->pending, id);
        p->fn(p->user, 0, &rep, zmq_msg_data(&body), zmq_msg_size(&body));
        pending_free(p);
    }
    zmq_msg_close(&env);
    zmq_msg_close(&body);
    return true;
}

int bus_client_new(struct bus *bus, const char *endpoint, struct bus_client **ret,
                   struct errtext *e)
{
    struct bus_client *c = xcalloc(1, sizeof(*c));
    int one = 1, hwm = SEND_QUEUE, ivl = RECONNECT_MS, ivl_max = RECONNECT_MAX_MS;
    int heartbeat_ms = 500, dead_ms = 2500;
    /* The kernel doubles the time between its tries: after a long cut it would notice late. */
    int connect_ms = 1500;
    void *zmq = bus_socket_open(bus, ZMQ_DEALER, e), *pair;

    c->bus = bus;
    c->endpoint = xstrdup(endpoint);
    c->waiting_end = &c->waiting;
    c->timer = xcalloc(1, sizeof(*c->timer));
    uv_timer_init(bus->loop, c->timer);
    c->timer->data = c;
    if (!zmq)
        goto fail;
    zmq_setsockopt(zmq, ZMQ_IMMEDIATE, &one, sizeof(one));
    zmq_setsockopt(zmq, ZMQ_SNDHWM, &hwm, sizeof(hwm));
    zmq_setsockopt(zmq, ZMQ_RCVHWM, &hwm, sizeof(hwm));
    zmq_setsockopt(zmq, ZMQ_RECONNECT_IVL, &ivl, sizeof(ivl));
    zmq_setsockopt(zmq, ZMQ_RECONNECT_IVL_MAX, &ivl_max, sizeof(ivl_max));
    zmq_setsockopt(zmq, ZMQ_CONNECT_TIMEOUT, &connect_ms, sizeof(connect_ms));
    zmq_setsockopt(zmq, ZMQ_HEARTBEAT_IVL, &heartbeat_ms, sizeof(heartbeat_ms));
    zmq_setsockopt(zmq, ZMQ_HEARTBEAT_TIMEOUT, &dead_ms, sizeof(dead_ms));
    pair = bus_monitor_open(bus, zmq, ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED, e);
    if (pair)
        c->monitor = bus_sock_new(bus, pair, client_monitor, c);
    c->sock = bus_sock_new(bus, zmq, client_readable, c);
    if (!c->sock || !c->monitor)
        goto fail;
    bus_socket_family(zmq, endpoint);
    if (zmq_connect(zmq, endpoint) < 0) {
        err_set(e, -errno, "cannot connect to %s: %s", endpoint, zmq_strerror(errno));
        goto fail;
    }
    bus_sock_used(c->sock);
    *ret = c;
    return 0;
fail:
    bus_client_free(c);
    return -EINVAL;
}

static void free_timer(uv_handle_t *h)
{
    free(h);
}

struct bus_client *bus_client_free(struct bus_client *c)
{
    struct pending *p;

    if (!c)
        return NULL;
    for (size_t i = 0; (p = idmap_next(&c->pending, &i));) {
        p->fn(p->user, -ECANCELED, NULL, NULL, 0);
        pending_free(p);
    }
    idmap_fini(&c->pending);
    if (c->sock)
        zmq_socket_monitor(c->sock->zmq, NULL, 0);
    bus_sock_free(c->monitor);
    bus_sock_free(c->sock);
    uv_close((uv_handle_t *)c->timer, free_timer);
    free(c->endpoint);
    free(c);
    return NULL;
}

static void *copy_bytes(const void *data, size_t len)
{
    void *p = xmalloc(len);

    if (len)
        memcpy(p, data, len);
    return p;
}

/* Not sent: waits for a connection, or is refused from the loop's next turn. */
static void postpone(struct bus_client *c, struct pending *p, const uint8_t *env, size_t env_len,
                     const void *body, size_t len, unsigned connect_wait_ms, int64_t now)
{
    p->connect_deadline_ns = now + connect_wait_ms * NS_PER_MS;
    if (connect_wait_ms == 0) { /* told from the loop, never from within bus_client_call() */
        arm(c, now);
        return;
    }
    p->env = copy_bytes(env, env_len);
    p->env_len = env_len;
    p->body = copy_bytes(body, len);
    p->body_len = len;
    *c->waiting_end = p;
    c->waiting_end = &p->next;
    arm(c, due_ns(p));
}

uint64_t bus_client_call(struct bus_client *c, const steppe_Request *env, const void *body,
                         size_t len, unsigned connect_wait_ms, bus_reply_fn *fn, void *user)
{
    struct pending *p = xcalloc(1, sizeof(*p));
    uint8_t buf[WIRE_ENVELOPE_MAX];
    steppe_Request out = *env;
    int64_t now = clock_mono().ns;
    size_t n;

    out.version = WIRE_VERSION;
    if (out.timeout_ms == 0)
        out.timeout_ms = BUS_TIMEOUT_DEFAULT_MS;
    n = wire_request_encode(&out, buf);
    p->id = ++c->last_id;
    p->fn = fn;
    p->user = user;
    p->deadline_ns = now + out.timeout_ms * NS_PER_MS;
    if (c->pending.n >= BUS_PENDING_MAX)
        connect_wait_ms = 0; /* refused: the queue is full */
    idmap_put(&c->pending, p->id, p);
    if (c->connected && c->pending.n <= BUS_PENDING_MAX &&
        send_frames(c, p->id, buf, n, body, len) == 0) {
        p->sent = true;
        arm(c, p->deadline_ns);
    } else {
        postpone(c, p, buf, n, body, len, connect_wait_ms, now);
    }
    return p->id;
}

void bus_client_cancel(struct bus_client *c, uint64_t id)
{
    struct pending *p = idmap_get(&c->pending, id);

    if (!p)
        return;
    if (!p->sent)
        unlink_waiting(c, p);
    idmap_remove(&c->pending, id);
    pending_free(p);
}

int bus_client_send(struct bus_client *c, const steppe_Request *env, const void *body, size_t len)
{
    uint8_t buf[WIRE_ENVELOPE_MAX];
    steppe_Request out = *env;

    if (!c->connected)
        return -ECONNREFUSED;
    out.version = WIRE_VERSION;
    return send_frames(c, ++c->last_id, buf, wire_request_encode(&out, buf), body, len);
}
