/* SPDX-License-Identifier: MPL-2.0 */
/* The ZeroMQ context and its sockets on a libuv loop. */
#include "bus/bus_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAX_SOCKETS 8192

static void drain(struct bus *bus)
{
    struct bus_sock *list = bus->dirty, *again = NULL, *s;

    bus->dirty = NULL;
    while ((s = list)) {
        int n = 0;

        list = s->next_dirty;
        s->dirty = false;
        while (!s->closed && n < BUS_DRAIN_MAX && s->readable(s->owner))
            n++;
        if (s->closed) {
            bus_sock_free(s);
            continue;
        }
        if (n == BUS_DRAIN_MAX && !s->dirty) {
            s->dirty = true;
            s->next_dirty = again;
            again = s;
        }
    }
    /* What was used while we drained is on bus->dirty already; put the unfinished ones behind it.
     */
    while ((s = again)) {
        again = s->next_dirty;
        s->next_dirty = bus->dirty;
        bus->dirty = s;
    }
}

static void on_idle(uv_idle_t *h)
{
    (void)h;
}

static void on_prepare(uv_prepare_t *h)
{
    struct bus *bus = h->data;
    bool more;

    for (int round = 0; bus->dirty && round < 4; round++)
        drain(bus);
    more = bus->dirty != NULL;
    if (more && !bus->idle_on)
        uv_idle_start(&bus->idle, on_idle);
    if (!more && bus->idle_on)
        uv_idle_stop(&bus->idle);
    bus->idle_on = more;
}

int bus_new(uv_loop_t *loop, struct bus **ret_bus)
{
    struct bus *bus = xcalloc(1, sizeof(*bus));

    bus->loop = loop;
    bus->zmq = zmq_ctx_new();
    if (!bus->zmq) {
        int r = -errno;

        free(bus);
        return r;
    }
    zmq_ctx_set(bus->zmq, ZMQ_MAX_SOCKETS, MAX_SOCKETS);
    uv_prepare_init(loop, &bus->prepare);
    bus->prepare.data = bus;
    uv_prepare_start(&bus->prepare, on_prepare);
    uv_unref((uv_handle_t *)&bus->prepare);
    uv_idle_init(loop, &bus->idle);
    uv_unref((uv_handle_t *)&bus->idle);
    *ret_bus = bus;
    return 0;
}

static void free_bus(uv_handle_t *h)
{
    free(h->data);
}

struct bus *bus_free(struct bus *bus)
{
    struct bus_sock *s;

    if (!bus)
        return NULL;
    while ((s = bus->dirty)) {
        bus->dirty = s->next_dirty;
        s->dirty = false;
        if (s->closed)
            bus_sock_free(s);
    }
    uv_close((uv_handle_t *)&bus->prepare, NULL);
    bus->idle.data = bus;
    zmq_ctx_term(bus->zmq);
    uv_close((uv_handle_t *)&bus->idle, free_bus);
    return NULL;
}

void bus_sock_used(struct bus_sock *s)
{
    if (s->dirty)
        return;
    s->dirty = true;
    s->next_dirty = s->bus->dirty;
    s->bus->dirty = s;
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    (void)status;
    (void)events;
    bus_sock_used(h->data); /* drained in on_prepare, before the loop sleeps again */
}

struct bus_sock *bus_sock_new(struct bus *bus, void *zmq, bus_readable_fn *fn, void *owner)
{
    struct bus_sock *s;
    int fd;
    size_t n = sizeof(fd);

    if (zmq_getsockopt(zmq, ZMQ_FD, &fd, &n) < 0) {
        zmq_close(zmq);
        return NULL;
    }
    s = xcalloc(1, sizeof(*s));
    s->bus = bus;
    s->zmq = zmq;
    s->readable = fn;
    s->owner = owner;
    if (uv_poll_init(bus->loop, &s->poll, fd) < 0) {
        zmq_close(zmq);
        free(s);
        return NULL;
    }
    s->poll.data = s;
    uv_poll_start(&s->poll, UV_READABLE, on_poll);
    bus_sock_used(s);
    return s;
}

static void free_sock(uv_handle_t *h)
{
    free(h->data);
}

struct bus_sock *bus_sock_free(struct bus_sock *s)
{
    if (!s)
        return NULL;
    if (!s->closed) {
        uv_poll_stop(&s->poll);
        zmq_close(s->zmq);
        s->closed = true;
    }
    if (!s->dirty) /* else drain() comes back here */
        uv_close((uv_handle_t *)&s->poll, free_sock);
    return NULL;
}

void *bus_socket_open(struct bus *bus, int type, struct errtext *e)
{
    void *s = zmq_socket(bus->zmq, type);
    int zero = 0, backlog = 1024, handshake_ms = 5000;
    int64_t body_max = BUS_BODY_MAX;

    if (!s) {
        err_set(e, -errno, "cannot make a ZeroMQ socket: %s", zmq_strerror(errno));
        return NULL;
    }
    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof(zero));
    zmq_setsockopt(s, ZMQ_BACKLOG, &backlog, sizeof(backlog));
    zmq_setsockopt(s, ZMQ_HANDSHAKE_IVL, &handshake_ms, sizeof(handshake_ms));
    zmq_setsockopt(s, ZMQ_MAXMSGSIZE, &body_max, sizeof(body_max));
    return s;
}

void bus_socket_family(void *s, const char *endpoint)
{
    int v6 = strncmp(endpoint, "tcp://[", 7) == 0;

    zmq_setsockopt(s, ZMQ_IPV6, &v6, sizeof(v6));
}

void *bus_monitor_open(struct bus *bus, void *s, int events, struct errtext *e)
{
    char name[64];
    void *pair;

    (void)snprintf(name, sizeof(name), "inproc://monitor-%u", ++bus->monitors);
    if (zmq_socket_monitor(s, name, events) < 0) {
        err_set(e, -errno, "cannot watch a ZeroMQ socket: %s", zmq_strerror(errno));
        return NULL;
    }
    pair = bus_socket_open(bus, ZMQ_PAIR, e);
    if (pair && zmq_connect(pair, name) < 0) {
        err_set(e, -errno, "cannot watch a ZeroMQ socket: %s", zmq_strerror(errno));
        zmq_close(pair);
        return NULL;
    }
    return pair;
}

bool bus_monitor_read(void *pair, int *ret_event, uint32_t *ret_value, char *addr, size_t cap)
{
    uint8_t head[6];
    int n = zmq_recv(pair, head, sizeof(head), ZMQ_DONTWAIT);
    uint16_t event;

    if (n < 0)
        return false;
    *ret_event = 0;
    *ret_value = 0;
    if (n == (int)sizeof(head)) {
        memcpy(&event, head, sizeof(event));
        memcpy(ret_value, head + 2, sizeof(*ret_value));
        *ret_event = event;
    }
    n = zmq_recv(pair, addr, cap - 1, ZMQ_DONTWAIT);
    addr[n < 0 ? 0 : MIN((size_t)n, cap - 1)] = 0;
    return true;
}
