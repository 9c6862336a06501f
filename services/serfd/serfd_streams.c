/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Gossip over TCP: one request, at most one answer, close; one deadline for all of it. Incoming and
 * dialled streams share the reading.
 *
 *     incoming:  reading -> (core answers) -> writing -> closed
 *     dialled:   connecting -> writing -> reading -> (core hears of it) -> closed
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "messages.h"
#include "packet.h"
#include "serfd_shell.h"

#define LISTEN_BACKLOG 128
#define READ_CHUNK_MIN 4096

struct serfd_stream {
    struct serfd *sd;
    struct serfd_stream *prev, *next;
    uint64_t id; /* the core's id of a dial; our own for an incoming one */
    bool dialled, closing;
    int err; /* a dial that failed before it began */
    struct gossip_addr peer;
    uv_tcp_t tcp;
    uv_timer_t timer;
    unsigned open_handles;
    uv_connect_t connect;
    uv_write_t write;
    struct strbuf in, out;
    size_t counted; /* of `in`, in sd->stream_bytes */
    struct stream_scanner scanner;
};

/* ---- life of a stream ---- */

static void on_closed(uv_handle_t *h)
{
    struct serfd_stream *st = h->data;

    if (--st->open_handles > 0)
        return;
    strbuf_fini(&st->in);
    strbuf_fini(&st->out);
    free(st);
}

static void stream_close(struct serfd_stream *st)
{
    struct serfd *sd = st->sd;

    if (st->closing)
        return;
    st->closing = true;
    if (st->prev)
        st->prev->next = st->next;
    else
        sd->streams = st->next;
    if (st->next)
        st->next->prev = st->prev;
    sd->n_incoming -= !st->dialled;
    sd->stream_bytes -= st->counted;
    uv_close((uv_handle_t *)&st->tcp, on_closed);
    uv_close((uv_handle_t *)&st->timer, on_closed);
}

static struct serfd_stream *stream_new(struct serfd *sd, bool dialled)
{
    struct serfd_stream *st = xcalloc(1, sizeof(*st));

    st->sd = sd;
    st->dialled = dialled;
    st->in.len_max = STREAM_MAX + 16;
    st->next = sd->streams;
    if (st->next)
        st->next->prev = st;
    sd->streams = st;
    sd->n_incoming += !dialled;
    uv_tcp_init(sd->ctx->loop, &st->tcp);
    uv_timer_init(sd->ctx->loop, &st->timer);
    st->open_handles = 2;
    st->tcp.data = st;
    st->timer.data = st;
    return st;
}

static void log_stream(struct serfd_stream *st, const char *what)
{
    char line[256], addr[GOSSIP_ADDR_TEXT_MAX];

    (void)snprintf(line, sizeof(line), "stream dropped: %s peer=%s", what,
                   gossip_addr_text(&st->peer, addr));
    serfd_log_peer(st->sd, LOG_WARN, line);
}

/* Worded for both sides: each one's log names the other and says that it is about keys. */
static void log_keys(struct serfd_stream *st, const char *why)
{
    char line[200];

    (void)snprintf(line, sizeof(line), "gossip keys do not match: %s", why);
    log_stream(st, line);
}

/* A dial has ended: tells the core, closes. Not from within a step of the core. */
static void dial_end(struct serfd_stream *st, int err, struct span data)
{
    struct serf_event ev = {.type = SERF_EV_DIALED, .id = st->id, .err = err, .data = data};
    struct serfd *sd = st->sd;

    if (st->closing)
        return;
    (void)serfd_step(sd, &ev);
    stream_close(st);
    serfd_settle(sd);
}

/* ---- reading ---- */

static struct serfd_stream *stream_find(struct serfd *sd, uint64_t id)
{
    struct serfd_stream *st = sd->streams;

    while (st && (st->dialled || st->id != id))
        st = st->next;
    return st;
}

static void on_written(uv_write_t *w, int status)
{
    struct serfd_stream *st = w->data;

    (void)status;
    stream_close(st);
}

static void write_and_close(struct serfd_stream *st, struct span plain)
{
    uv_buf_t buf;

    if (st->sd->keyring.n > 0)
        seal_close_frame(&st->sd->keyring, 1, NULL, plain, &st->out);
    else
        strbuf_add(&st->out, plain.p, plain.len);
    buf = uv_buf_init(st->out.data, (unsigned)st->out.len);
    st->write.data = st;
    if (uv_write(&st->write, (uv_stream_t *)&st->tcp, &buf, 1, on_written))
        stream_close(st);
}

void serfd_streams_answer(struct serfd *sd, uint64_t id, struct span data)
{
    struct serfd_stream *st = stream_find(sd, id);

    if (!st || st->closing)
        return;
    if (data.len == 0)
        stream_close(st);
    else
        write_and_close(st, data);
}

/* Says why to a peer whose stream cannot be opened, as memberlist does. */
static void refuse(struct serfd_stream *st, const char *text)
{
    struct msg_err err = {SPAN_STR(text)};
    struct strbuf b = STRBUF_INIT;

    msg_put(&b, ML_ERR, &msg_err_schema, &err);
    write_and_close(st, span_of(&b));
    strbuf_fini(&b);
}

/* Takes encryption off. NULL on success, else the reason. */
static const char *unseal(struct serfd_stream *st, struct strbuf *room, struct span *ret)
{
    struct span in = {(const uint8_t *)st->in.data, st->scanner.offset};

    if (st->sd->keyring.n == 0 && in.p[0] == ML_ENCRYPT)
        return "Remote state is encrypted and encryption is not configured";
    if (st->sd->keyring.n > 0 && in.p[0] != ML_ENCRYPT)
        return "Encryption is configured but remote state is not encrypted";
    *ret = in;
    if (in.p[0] != ML_ENCRYPT)
        return NULL;
    if (seal_open_frame(&st->sd->keyring, in, room))
        return "No installed keys could decrypt the message";
    *ret = span_of(room);
    return NULL;
}

static void stream_complete(struct serfd_stream *st)
{
    struct serf_event ev = {.type = SERF_EV_STREAM, .id = st->id, .addr = st->peer};
    struct strbuf room = STRBUF_INIT;
    struct serfd *sd = st->sd;
    const char *why;

    uv_read_stop((uv_stream_t *)&st->tcp);
    why = unseal(st, &room, &ev.data);
    if (why)
        log_keys(st, why);
    if (st->dialled) {
        dial_end(st, why ? -EKEYREJECTED : 0, why ? SPAN_STR(why) : ev.data);
    } else if (why) {
        refuse(st, why);
    } else {
        (void)serfd_step(sd, &ev);
        serfd_settle(sd);
    }
    strbuf_fini(&room);
}

static void stream_fail(struct serfd_stream *st, int err, const char *why)
{
    if (st->dialled) {
        dial_end(st, err, (struct span){NULL, 0});
        return;
    }
    if (why)
        log_stream(st, why);
    stream_close(st);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct serfd_stream *st = h->data;
    char *p = strbuf_reserve(&st->in, READ_CHUNK_MIN);

    (void)suggested;
    *buf = p ? uv_buf_init(p, (unsigned)(st->in.cap - st->in.len - 1)) : uv_buf_init(NULL, 0);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct serfd_stream *st = s->data;

    (void)buf;
    if (st->closing || n == 0)
        return;
    if (n < 0) {
        bool quiet = n == UV_EOF && st->in.len == 0; /* a port check */

        stream_fail(st, n == UV_EOF ? -ECONNRESET : (int)n,
                    quiet             ? NULL
                    : n == UV_EOF     ? "it ended early"
                    : n == UV_ENOBUFS ? "it is too long"
                                      : "it broke");
        return;
    }
    st->in.len += (size_t)n;
    st->counted += (size_t)n;
    st->sd->stream_bytes += (size_t)n;
    if (st->sd->stream_bytes > STREAM_MEMORY_MAX) {
        stream_fail(st, -ENOBUFS, "all streams together are too large");
        return;
    }
    switch (stream_scan(&st->scanner, (const uint8_t *)st->in.data, st->in.len)) {
    case STREAM_NEED_MORE:
        break;
    case STREAM_BROKEN:
        stream_fail(st, -EBADMSG, "it is no gossip message");
        break;
    case STREAM_COMPLETE:
        stream_complete(st);
        break;
    }
}

/* ---- incoming ---- */

static void on_incoming_timeout(uv_timer_t *t)
{
    struct serfd_stream *st = t->data;

    if (st->closing)
        return;
    log_stream(st, "it took too long");
    stream_close(st);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct serfd *sd = listener->data;
    struct serfd_stream *st;
    struct sockaddr_storage ss;
    int len = sizeof(ss);

    if (status < 0)
        return;
    st = stream_new(sd, false);
    st->id = ++sd->next_stream;
    if (uv_accept(listener, (uv_stream_t *)&st->tcp)) {
        stream_close(st);
        return;
    }
    if (uv_tcp_getpeername(&st->tcp, (struct sockaddr *)&ss, &len) == 0)
        (void)serfd_from_sockaddr((struct sockaddr *)&ss, &st->peer);
    if (sd->n_incoming > STREAMS_MAX) {
        log_stream(st, "too many at a time");
        stream_close(st);
        return;
    }
    uv_timer_start(&st->timer, on_incoming_timeout, STREAM_TIMEOUT_MS, 0);
    uv_read_start((uv_stream_t *)&st->tcp, on_alloc, on_read);
}

int serfd_streams_listen(struct serfd *sd, struct errtext *e)
{
    char text[GOSSIP_ADDR_TEXT_MAX];
    struct sockaddr_storage ss;
    int r;

    (void)serfd_sockaddr(&sd->listen_addr, &ss);
    uv_tcp_init(sd->ctx->loop, &sd->tcp);
    sd->tcp.data = sd;
    sd->tcp_open = true;
    r = uv_tcp_bind(&sd->tcp, (struct sockaddr *)&ss, 0);
    if (r == 0)
        r = uv_listen((uv_stream_t *)&sd->tcp, LISTEN_BACKLOG, on_connection);
    if (r)
        return err_set(e, r, "cannot listen on TCP %s: %s",
                       gossip_addr_text(&sd->listen_addr, text), strerror(-r));
    return 0;
}

/* ---- dialling ---- */

static void on_dial_timer(uv_timer_t *t)
{
    struct serfd_stream *st = t->data;

    dial_end(st, st->err ? st->err : -ETIMEDOUT, (struct span){NULL, 0});
}

static void on_request_written(uv_write_t *w, int status)
{
    struct serfd_stream *st = w->data;

    if (st->closing)
        return;
    if (status < 0)
        dial_end(st, status, (struct span){NULL, 0});
    else
        uv_read_start((uv_stream_t *)&st->tcp, on_alloc, on_read);
}

static void on_connected(uv_connect_t *c, int status)
{
    struct serfd_stream *st = c->data;
    uv_buf_t buf = uv_buf_init(st->out.data, (unsigned)st->out.len);

    if (st->closing)
        return;
    st->write.data = st;
    if (status == 0)
        status = uv_write(&st->write, (uv_stream_t *)&st->tcp, &buf, 1, on_request_written);
    if (status < 0)
        dial_end(st, status, (struct span){NULL, 0});
}

/*
 * A stream comes from the address that datagrams come from, where that is one address: peers look
 * at it (join_allow). Failing that it goes out as the kernel likes.
 */
static void bind_source(struct serfd_stream *st, const struct gossip_addr *to)
{
    static const uint8_t any[16];
    struct gossip_addr from = st->sd->listen_addr;
    struct sockaddr_storage ss;

    if (from.ip_len != to->ip_len || memcmp(from.ip, any, from.ip_len) == 0)
        return;
    from.port = 0;
    (void)serfd_sockaddr(&from, &ss);
    (void)uv_tcp_bind(&st->tcp, (struct sockaddr *)&ss, 0);
}

void serfd_streams_dial(struct serfd *sd, const struct serf_effect *fx, struct span data)
{
    struct serfd_stream *st = stream_new(sd, true);
    uint64_t ms = (uint64_t)MAX(fx->timeout_ns / NS_PER_MS, (int64_t)1);
    struct sockaddr_storage ss;

    st->id = fx->id;
    st->peer = fx->addr;
    if (sd->keyring.n > 0)
        seal_close_frame(&sd->keyring, 1, NULL, data, &st->out);
    else
        strbuf_add(&st->out, data.p, data.len);
    (void)serfd_sockaddr(&fx->addr, &ss);
    bind_source(st, &fx->addr);
    st->connect.data = st;
    st->err = uv_tcp_connect(&st->connect, &st->tcp, (struct sockaddr *)&ss, on_connected);
    /* A failure is told by the timer: this runs within a step of the core. */
    uv_timer_start(&st->timer, on_dial_timer, st->err ? 0 : ms, 0);
}

void serfd_streams_fini(struct serfd *sd)
{
    while (sd->streams)
        stream_close(sd->streams);
    if (sd->tcp_open)
        uv_close((uv_handle_t *)&sd->tcp, NULL);
}
