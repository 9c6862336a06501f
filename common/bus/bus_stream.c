/* SPDX-License-Identifier: MPL-2.0 */
/* Answers in parts for threads without a loop: queued by the loop's thread, read by the other. */
#include "bus/bus_int.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct stream_part {
    struct stream_part *next;
    steppe_Reply rep;
    size_t len;
    uint8_t *body;
};

/*
 * Two own it: the thread until bus_stream_free(), the loop until the last part came (over) or the
 * request is cancelled. Who is second frees it.
 */
struct bus_stream {
    struct gate_item open, close;
    struct bus_gate *gate;
    steppe_Request env;
    uint8_t *body;
    size_t body_len;
    unsigned connect_wait_ms;
    uint64_t id; /* of the request; the loop's */
    bool sent;   /* the loop's */
    int fd;
    pthread_mutex_t lock;
    struct stream_part *parts, **parts_end; /* under lock, as the rest */
    size_t queued; /* bytes of memory: a part without data takes some, too */
    int err;       /* told when all parts are read */
    bool over;     /* nothing will come any more */
    bool released; /* by the thread */
};

static void stream_destroy(struct bus_stream *s)
{
    struct stream_part *p;

    while ((p = s->parts)) {
        s->parts = p->next;
        free(p->body);
        free(p);
    }
    if (s->fd >= 0)
        close(s->fd);
    pthread_mutex_destroy(&s->lock);
    free(s->body);
    free(s);
}

/* Under lock. */
static void wake(const struct bus_stream *s)
{
    const uint64_t one = 1;

    if (s->fd >= 0 && write(s->fd, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN);
}

/* Under lock. */
static void queue_part(struct bus_stream *s, const steppe_Reply *rep, const uint8_t *body,
                       size_t len)
{
    struct stream_part *p = xcalloc(1, sizeof(*p));

    p->rep = *rep;
    p->len = len;
    if (len) {
        p->body = xmalloc(len);
        memcpy(p->body, body, len);
    }
    *s->parts_end = p;
    s->parts_end = &p->next;
    s->queued += len + sizeof(*p);
}

static void on_part(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct bus_stream *s = user;
    bool last = !rep || !rep->more, destroy;

    pthread_mutex_lock(&s->lock);
    if (!s->released && s->err == 0) {
        if (err != 0)
            s->err = err;
        else if (s->queued > BUS_STREAM_QUEUE_MAX)
            s->err = -ENOBUFS;
        else
            queue_part(s, rep, body, len);
        wake(s);
    }
    s->over = last;
    /* Released without a close on its way: the gate is closed. */
    destroy = last && s->released && !s->close.run;
    pthread_mutex_unlock(&s->lock);
    if (destroy)
        stream_destroy(s);
}

static void run_open(struct bus_gate *g, struct gate_item *item, bool closed)
{
    struct bus_stream *s = CONTAINER_OF(item, struct bus_stream, open);

    if (closed) {
        on_part(s, -ECANCELED, NULL, NULL, 0);
        return;
    }
    s->sent = true;
    s->id =
        bus_client_call(g->client, &s->env, s->body, s->body_len, s->connect_wait_ms, on_part, s);
    free(s->body);
    s->body = NULL;
}

static void run_close(struct bus_gate *g, struct gate_item *item, bool closed)
{
    struct bus_stream *s = CONTAINER_OF(item, struct bus_stream, close);
    bool over;

    pthread_mutex_lock(&s->lock);
    over = s->over;
    s->close.run = NULL;
    pthread_mutex_unlock(&s->lock);
    if (!over && closed)
        return; /* bus_client_free() is next and ends it: on_part() frees */
    if (!over && s->sent)
        bus_client_cancel(g->client, s->id);
    stream_destroy(s);
}

struct bus_stream *bus_stream_open(struct bus_gate *g, const steppe_Request *env, const void *body,
                                   size_t len, unsigned connect_wait_ms)
{
    struct bus_stream *s = xcalloc(1, sizeof(*s));

    s->gate = g;
    s->open.run = run_open;
    s->env = *env;
    s->connect_wait_ms = connect_wait_ms;
    s->parts_end = &s->parts;
    s->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&s->lock, NULL);
    if (len) {
        s->body = xmalloc(len);
        memcpy(s->body, body, len);
        s->body_len = len;
    }
    if (s->fd < 0) {
        s->err = -errno;
        s->over = true;
        s->gate = NULL;
    } else if (!gate_enter(g)) {
        s->gate = NULL;
        on_part(s, -ECANCELED, NULL, NULL, 0);
    } else if (!gate_post(g, &s->open)) {
        on_part(s, -ECANCELED, NULL, NULL, 0);
    }
    return s;
}

int bus_stream_fd(const struct bus_stream *s)
{
    return s->fd;
}

int bus_stream_next(struct bus_stream *s, steppe_Reply *ret_rep, uint8_t **ret_body,
                    size_t *ret_len)
{
    struct stream_part *p;
    uint64_t n;
    int r = 0;

    *ret_body = NULL;
    *ret_len = 0;
    pthread_mutex_lock(&s->lock);
    p = s->parts;
    if (p) {
        s->parts = p->next;
        if (!s->parts)
            s->parts_end = &s->parts;
        s->queued -= p->len + sizeof(*p);
        *ret_rep = p->rep;
        *ret_body = p->body;
        *ret_len = p->len;
        free(p);
        r = 1;
    } else if (s->err) {
        r = s->err;
    } else if (read(s->fd, &n, sizeof(n)) < 0) {
        assert(errno == EAGAIN);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

struct bus_stream *bus_stream_free(struct bus_stream *s)
{
    struct bus_gate *g;
    bool destroy;

    if (!s)
        return NULL;
    g = s->gate;
    pthread_mutex_lock(&s->lock);
    s->released = true;
    destroy = s->over; /* the loop is done with it */
    if (!destroy)
        s->close.run = run_close;
    pthread_mutex_unlock(&s->lock);
    if (destroy) {
        stream_destroy(s);
    } else if (!gate_post(g, &s->close)) {
        pthread_mutex_lock(&s->lock);
        s->close.run = NULL;
        destroy = s->over; /* it came meanwhile, and left the freeing to us */
        pthread_mutex_unlock(&s->lock);
        if (destroy)
            stream_destroy(s);
    }
    if (g)
        gate_leave(g);
    return NULL;
}

/* ---- one-way ---- */

struct gate_send {
    struct gate_item item;
    steppe_Request env;
    size_t len;
    uint8_t body[];
};

static void run_send(struct bus_gate *g, struct gate_item *item, bool closed)
{
    struct gate_send *m = CONTAINER_OF(item, struct gate_send, item);

    if (!closed)
        (void)bus_client_send(g->client, &m->env, m->body, m->len);
    free(m);
}

void bus_gate_send(struct bus_gate *g, const steppe_Request *env, const void *body, size_t len)
{
    struct gate_send *m = xcalloc(1, sizeof(*m) + len);

    m->item.run = run_send;
    m->env = *env;
    m->len = len;
    if (len)
        memcpy(m->body, body, len);
    if (!gate_post(g, &m->item))
        free(m);
}
