/* SPDX-License-Identifier: MPL-2.0 */
/* The answering side: a ROUTER and the requests under way. */
#include "bus/bus_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/log.h"
#include "wire/wire.h"

#define IDENTITY_MAX  255
#define SEND_QUEUE    100000 /* messages to one slow peer before its answers are dropped */
#define PEER_FD_MAX   4096
#define FILES_MAX     16384 /* descriptors of the process beyond which no connection is taken */
#define FILES_KEPT    512   /* of those it may have: for its own files, at most a quarter */
#define REFUSED_LOG   (5000 * NS_PER_MS) /* between two log lines about it */
#define PEER_TEXT_MAX 64

struct bus_server {
    struct bus *bus;
    struct bus_sock *sock, *monitor;
    bus_request_fn *fn;
    void *user;
    struct request *requests;   /* under way */
    size_t n_requests, n_bytes; /* of bodies */
    uint32_t fd_max;            /* an accepted descriptor from here on is one too many */
    unsigned refused;           /* since it was logged last */
    struct mono_ns refused_logged;
    bool last_failed;             /* a handshake failed; the next DISCONNECTED tells whose */
    char (*peers)[PEER_TEXT_MAX]; /* by fd, for log lines; NULL until the first tcp peer */
};

/* bus_req with what is needed to answer it. */
struct request {
    struct bus_req req; /* first: handed out */
    struct request *prev, *next;
    zmq_msg_t body;
    uint8_t hop_id[BUS_HOP_ID_LEN];
    uint8_t identity_len;
    uint8_t identity[IDENTITY_MAX];
};

static struct request *request_of(struct bus_req *req)
{
    return CONTAINER_OF(req, struct request, req);
}

static void request_free(struct request *r)
{
    struct bus_server *s = r->req.server;

    if (s) {
        if (r->prev)
            r->prev->next = r->next;
        else
            s->requests = r->next;
        if (r->next)
            r->next->prev = r->prev;
        s->n_requests--;
        s->n_bytes -= r->req.body_len;
    }
    zmq_msg_close(&r->body);
    free(r);
}

/* Receives the rest of a multipart message that is not ours to keep. */
static void skip_parts(void *zmq)
{
    int more = 1;
    size_t n = sizeof(more);

    while (zmq_getsockopt(zmq, ZMQ_RCVMORE, &more, &n) == 0 && more) {
        zmq_msg_t part;

        zmq_msg_init(&part);
        if (zmq_msg_recv(&part, zmq, ZMQ_DONTWAIT) < 0)
            more = 0;
        zmq_msg_close(&part);
        if (!more)
            break;
    }
}

/* The frames behind the identity; false when they are not a request. */
static bool read_frames(struct bus_server *s, struct request *r, struct errtext *e)
{
    const char *peer;
    zmq_msg_t env;
    bool ok;

    if (zmq_recv(s->sock->zmq, r->hop_id, sizeof(r->hop_id), ZMQ_DONTWAIT) != BUS_HOP_ID_LEN) {
        err_set(e, -EBADMSG, "first frame is not a hop id of %d bytes", BUS_HOP_ID_LEN);
        return false;
    }
    zmq_msg_init(&env);
    ok = zmq_msg_recv(&env, s->sock->zmq, ZMQ_DONTWAIT) >= 0 &&
         wire_request_decode(zmq_msg_data(&env), zmq_msg_size(&env), &r->req.env, e) == 0;
    if (!ok) {
        peer = zmq_msg_gets(&env, "Peer-Address");
        (void)err_prefix(e, 0, "peer=%s", peer && *peer ? peer : "local");
    } else if (zmq_msg_more(&env) && zmq_msg_recv(&r->body, s->sock->zmq, ZMQ_DONTWAIT) < 0) {
        ok = false;
    }
    zmq_msg_close(&env);
    return ok;
}

static bool server_readable(void *owner)
{
    struct bus_server *s = owner;
    struct errtext e = {{0}};
    struct request *r;
    uint8_t identity[IDENTITY_MAX];
    int n = zmq_recv(s->sock->zmq, identity, sizeof(identity), ZMQ_DONTWAIT);
    uint32_t timeout_ms;

    if (n < 0)
        return false;
    r = xcalloc(1, sizeof(*r));
    memcpy(r->identity, identity, (size_t)n);
    r->identity_len = (uint8_t)n;
    zmq_msg_init(&r->body);
    if (!read_frames(s, r, &e)) {
        log_warn("message dropped error=\"%s\"", e.text);
        skip_parts(s->sock->zmq);
        request_free(r);
        return true;
    }
    skip_parts(s->sock->zmq);
    timeout_ms = r->req.env.timeout_ms ? r->req.env.timeout_ms : BUS_TIMEOUT_DEFAULT_MS;
    r->req.deadline.ns = clock_mono().ns + timeout_ms * NS_PER_MS;
    r->req.body = zmq_msg_data(&r->body);
    r->req.body_len = zmq_msg_size(&r->body);
    r->req.server = s;
    r->next = s->requests;
    if (r->next)
        r->next->prev = r;
    s->requests = r;
    s->n_bytes += r->req.body_len;
    if (++s->n_requests > BUS_PENDING_MAX ||
        (s->n_bytes > BUS_PENDING_BYTES_MAX && s->n_bytes > r->req.body_len))
        bus_req_error(&r->req, 429, true, "too many requests under way");
    else
        s->fn(s->user, &r->req);
    return true;
}

/* Remembers who is behind an accepted fd, for the log line when its handshake fails. */
static void remember_peer(struct bus_server *s, uint32_t fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    char ip[INET6_ADDRSTRLEN] = "";
    int port = 0;

    if (fd >= PEER_FD_MAX || getpeername((int)fd, (struct sockaddr *)&ss, &len) < 0)
        return;
    if (ss.ss_family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)&ss;

        inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
        port = ntohs(in->sin_port);
    } else if (ss.ss_family == AF_INET6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;

        inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
        port = ntohs(in6->sin6_port);
    } else {
        return;
    }
    if (!s->peers)
        s->peers = xcalloc(PEER_FD_MAX, sizeof(*s->peers));
    (void)snprintf(s->peers[fd], sizeof(s->peers[fd]), "%s:%d", ip, port);
}

/*
 * The lowest free descriptor is what a new connection gets, so its number tells how many there
 * are: those that are left are the process's, which would end when it cannot open its own files.
 * libzmq cannot refuse a connection; it closes one that was shut down.
 */
static bool too_many(struct bus_server *s, uint32_t fd)
{
    struct mono_ns now;

    if (fd < s->fd_max)
        return false;
    (void)shutdown((int)fd, SHUT_RDWR);
    s->refused++;
    now = clock_mono();
    if (s->refused_logged.ns == 0 || now.ns - s->refused_logged.ns > REFUSED_LOG) {
        log_warn("connections refused: too many are open refused=%u limit=%u", s->refused,
                 s->fd_max);
        s->refused_logged = now;
        s->refused = 0;
    }
    return true;
}

static uint32_t files_for_connections(void)
{
    struct rlimit rl;
    rlim_t n = FILES_MAX;

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < n)
        n = rl.rlim_cur;
    return (uint32_t)(n - MIN(n / 4, FILES_KEPT));
}

static bool server_monitor(void *owner)
{
    struct bus_server *s = owner;
    char addr[256];
    uint32_t value;
    int event;

    if (!bus_monitor_read(s->monitor->zmq, &event, &value, addr, sizeof(addr)))
        return false;
    if (event == ZMQ_EVENT_ACCEPTED) {
        if (!too_many(s, value))
            remember_peer(s, value);
    } else if (event == ZMQ_EVENT_DISCONNECTED && s->last_failed) {
        bool known = s->peers && value < PEER_FD_MAX && s->peers[value][0];

        /* On an ipc endpoint it is one of our own processes that ended meanwhile. */
        log_at(known ? LOG_WARN : LOG_DEBUG,
               "connection dropped: it does not speak ZMTP peer=%s listener=%s",
               known ? s->peers[value] : "local", addr);
        s->last_failed = false;
    } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL ||
               event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL ||
               event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
        s->last_failed = true;
    }
    return true;
}

int bus_server_bind(struct bus_server *s, const char *endpoint, struct errtext *e)
{
    bus_socket_family(s->sock->zmq, endpoint);
    if (zmq_bind(s->sock->zmq, endpoint) < 0)
        return err_set(e, -errno, "cannot listen on %s: %s", endpoint, zmq_strerror(errno));
    bus_sock_used(s->sock);
    return 0;
}

int bus_server_new(struct bus *bus, const char *endpoint, bus_request_fn *fn, void *user,
                   struct bus_server **ret, struct errtext *e)
{
    const int events = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED |
                       ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                       ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    struct bus_server *s = xcalloc(1, sizeof(*s));
    int one = 1, hwm = SEND_QUEUE, heartbeat_ms = 500, dead_ms = 2500, r;
    void *zmq = bus_socket_open(bus, ZMQ_ROUTER, e), *pair = NULL;

    s->bus = bus;
    s->fn = fn;
    s->user = user;
    s->fd_max = files_for_connections();
    if (!zmq) {
        free(s);
        return -EMFILE;
    }
    zmq_setsockopt(zmq, ZMQ_ROUTER_MANDATORY, &one, sizeof(one));
    zmq_setsockopt(zmq, ZMQ_SNDHWM, &hwm, sizeof(hwm));
    zmq_setsockopt(zmq, ZMQ_RCVHWM, &hwm, sizeof(hwm));
    zmq_setsockopt(zmq, ZMQ_HEARTBEAT_IVL, &heartbeat_ms, sizeof(heartbeat_ms));
    zmq_setsockopt(zmq, ZMQ_HEARTBEAT_TIMEOUT, &dead_ms, sizeof(dead_ms));
    pair = bus_monitor_open(bus, zmq, events, e);
    if (pair)
        s->monitor = bus_sock_new(bus, pair, server_monitor, s);
    s->sock = bus_sock_new(bus, zmq, server_readable, s);
    r = s->monitor && s->sock ? bus_server_bind(s, endpoint, e) : -EMFILE;
    if (r < 0) {
        bus_server_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

struct bus_server *bus_server_free(struct bus_server *s)
{
    if (!s)
        return NULL;
    while (s->requests) {
        struct request *r = s->requests;

        s->requests = r->next;
        if (r->next)
            r->next->prev = NULL;
        s->n_requests--;
        r->req.server = NULL;
        r->prev = r->next = NULL;
        if (r->req.on_abort)
            r->req.on_abort(&r->req);
        request_free(r);
    }
    if (s->sock)
        zmq_socket_monitor(s->sock->zmq, NULL, 0);
    bus_sock_free(s->monitor);
    bus_sock_free(s->sock);
    free(s->peers);
    free(s);
    return NULL;
}

static int send_reply(struct request *r, const steppe_Reply *rep, const void *body, size_t len)
{
    uint8_t env[WIRE_ENVELOPE_MAX];
    void *zmq = r->req.server->sock->zmq;
    size_t n = wire_reply_encode(rep, env);
    int err;

    bus_sock_used(r->req.server->sock);
    /* The first part decides: EHOSTUNREACH = the peer is gone, EAGAIN = it does not read. */
    if (zmq_send(zmq, r->identity, r->identity_len, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
        err = -errno;
        if (err == -EAGAIN)
            log_warn("answer dropped: its asker does not read method=%u", r->req.env.method);
        return err;
    }
    zmq_send(zmq, r->hop_id, sizeof(r->hop_id), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(zmq, env, n, len ? ZMQ_SNDMORE | ZMQ_DONTWAIT : ZMQ_DONTWAIT);
    if (len)
        zmq_send(zmq, body, len, ZMQ_DONTWAIT);
    return 0;
}

int bus_req_reply(struct bus_req *req, const steppe_Reply *rep, const void *body, size_t len)
{
    struct request *r = request_of(req);
    steppe_Reply out = *rep;
    int err;

    assert(req->server);
    out.version = WIRE_VERSION;
    if (len > BUS_BODY_MAX) {
        out = (steppe_Reply){.version = WIRE_VERSION, .code = 500};
        (void)snprintf(out.error, sizeof(out.error), "answer of %zu bytes is over the limit of %u",
                       len, BUS_BODY_MAX);
        len = 0;
    }
    err = send_reply(r, &out, body, len);
    if (!out.more)
        request_free(r);
    return err;
}

void bus_req_answer(struct bus_req *req, const steppe_Reply *rep, const pb_msgdesc_t *fields,
                    const void *msg)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_BOUND(BUS_BODY_MAX);

    if (wire_encode(fields, msg, &body) < 0)
        bus_req_error(req, 500, false, "the answer does not fit a message");
    else
        (void)bus_req_reply(req, rep, body.data, body.len);
}

void bus_req_error(struct bus_req *req, unsigned code, bool retryable, const char *fmt, ...)
{
    steppe_Reply rep = {.code = code, .retryable = retryable};
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(rep.error, sizeof(rep.error), fmt, ap);
    va_end(ap);
    (void)bus_req_reply(req, &rep, NULL, 0);
}

bool bus_req_decode(struct bus_req *req, const pb_msgdesc_t *fields, void *msg, size_t msg_size)
{
    struct errtext e;

    if (wire_decode(fields, req->body, req->body_len, msg, msg_size, &e) == 0)
        return true;
    bus_req_error(req, 400, false, "%s", e.text);
    return false;
}

void bus_req_drop(struct bus_req *req)
{
    request_free(request_of(req));
}
