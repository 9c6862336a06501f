/* SPDX-License-Identifier: MPL-2.0 */
/* Announcing a version number, and hearing of it. */
#include "bus/bus_int.h"

#include <errno.h>

#define REPEAT_MS 1000

struct bus_pub {
    struct bus_sock *sock;
    uv_timer_t *timer;
    uint64_t version;
};

struct bus_sub {
    struct bus_sock *sock;
    bus_sub_fn *fn;
    void *user;
};

/* Asking for the events is what takes new subscribers in: until then the descriptor stays readable,
 * and the loop would spin. */
static bool pub_readable(void *owner)
{
    struct bus_pub *p = owner;
    int events;
    size_t n = sizeof(events);

    (void)zmq_getsockopt(p->sock->zmq, ZMQ_EVENTS, &events, &n);
    return false;
}

static void announce(struct bus_pub *p)
{
    zmq_send(p->sock->zmq, &p->version, sizeof(p->version), ZMQ_DONTWAIT);
    bus_sock_used(p->sock);
}

static void on_repeat(uv_timer_t *t)
{
    announce(t->data);
}

int bus_pub_new(struct bus *bus, const char *endpoint, struct bus_pub **ret, struct errtext *e)
{
    void *zmq = bus_socket_open(bus, ZMQ_PUB, e);
    struct bus_pub *p;

    if (!zmq)
        return -EMFILE;
    if (zmq_bind(zmq, endpoint) < 0) {
        int r = err_set(e, -errno, "cannot publish on %s: %s", endpoint, zmq_strerror(errno));

        zmq_close(zmq);
        return r;
    }
    p = xcalloc(1, sizeof(*p));
    p->sock = bus_sock_new(bus, zmq, pub_readable, p);
    p->timer = xcalloc(1, sizeof(*p->timer));
    uv_timer_init(bus->loop, p->timer);
    p->timer->data = p;
    uv_timer_start(p->timer, on_repeat, REPEAT_MS, REPEAT_MS);
    *ret = p;
    return 0;
}

void bus_pub_version(struct bus_pub *p, uint64_t version)
{
    p->version = version;
    announce(p);
}

static void free_handle(uv_handle_t *h)
{
    free(h);
}

struct bus_pub *bus_pub_free(struct bus_pub *p)
{
    if (!p)
        return NULL;
    bus_sock_free(p->sock);
    uv_close((uv_handle_t *)p->timer, free_handle);
    free(p);
    return NULL;
}

static bool sub_readable(void *owner)
{
    struct bus_sub *s = owner;
    uint64_t version;
    int n = zmq_recv(s->sock->zmq, &version, sizeof(version), ZMQ_DONTWAIT);

    if (n < 0)
        return false;
    if (n == (int)sizeof(version))
        s->fn(s->user, version);
    return true;
}

int bus_sub_new(struct bus *bus, const char *endpoint, bus_sub_fn *fn, void *user,
                struct bus_sub **ret, struct errtext *e)
{
    void *zmq = bus_socket_open(bus, ZMQ_SUB, e);
    int ivl = 10, ivl_max = 200;
    struct bus_sub *s;

    if (!zmq)
        return -EMFILE;
    zmq_setsockopt(zmq, ZMQ_SUBSCRIBE, "", 0);
    zmq_setsockopt(zmq, ZMQ_RECONNECT_IVL, &ivl, sizeof(ivl));
    zmq_setsockopt(zmq, ZMQ_RECONNECT_IVL_MAX, &ivl_max, sizeof(ivl_max));
    if (zmq_connect(zmq, endpoint) < 0) {
        int r = err_set(e, -errno, "cannot subscribe to %s: %s", endpoint, zmq_strerror(errno));

        zmq_close(zmq);
        return r;
    }
    s = xcalloc(1, sizeof(*s));
    s->fn = fn;
    s->user = user;
    s->sock = bus_sock_new(bus, zmq, sub_readable, s);
    *ret = s;
    return 0;
}

struct bus_sub *bus_sub_free(struct bus_sub *s)
{
    if (!s)
        return NULL;
    bus_sock_free(s->sock);
    free(s);
    return NULL;
}
