/* SPDX-License-Identifier: MPL-2.0 */
/* Calls from threads without a loop: posted to the loop's thread, answered through a semaphore. */
#include "bus/bus_int.h"

#include <errno.h>
#include <semaphore.h>
#include <string.h>

/* Lives on the caller's stack until `done` is posted. */
struct gate_call {
    struct gate_item item;
    struct bus_gate *gate;
    const steppe_Request *env;
    const void *body;
    size_t len;
    unsigned connect_wait_ms;
    enum bus_share share;
    struct gate_call *joined, *join_next; /* calls that wait for this one's answer */
    struct gate_call *flight_next;        /* of the gate's flights */
    struct mono_ns sent;
    steppe_Reply *ret_rep;
    uint8_t *ret_body;
    size_t ret_len;
    int err;
    sem_t done;
};

/* The caller goes on at once: `call` is gone when this returns. */
static void finish(struct gate_call *call, int err, const steppe_Reply *rep, const uint8_t *body,
                   size_t len)
{
    call->err = err;
    if (err == 0) {
        *call->ret_rep = *rep;
        if (len) {
            call->ret_body = xmalloc(len);
            memcpy(call->ret_body, body, len);
            call->ret_len = len;
        }
    }
    sem_post(&call->done);
}

static void on_reply(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct gate_call *call = user, *joined = call->joined, *next;

    if (rep && rep->more)
        return; /* only the last part counts here, see bus_stream_open() */
    for (struct gate_call **p = &call->gate->flights; *p; p = &(*p)->flight_next) {
        if (*p == call) {
            *p = call->flight_next;
            break;
        }
    }
    finish(call, err, rep, body, len);
    for (call = joined; call; call = next) {
        next = call->join_next;
        finish(call, err, rep, body, len);
    }
}

/* Is there an equal call whose answer serves this one, too? */
static bool join(struct bus_gate *g, struct gate_call *call, struct mono_ns turn)
{
    int64_t oldest = call->share == BUS_SHARE_ANY ? turn.ns - g->share_max_ns : turn.ns;

    for (struct gate_call *f = g->flights; f; f = f->flight_next) {
        if (f->sent.ns < oldest || f->len != call->len ||
            memcmp(f->env, call->env, sizeof(*f->env)) != 0 ||
            (call->len && memcmp(f->body, call->body, call->len) != 0))
            continue;
        call->join_next = f->joined;
        f->joined = call;
        return true;
    }
    return false;
}

static struct gate_item *take_posted(struct bus_gate *g)
{
    struct gate_item *list = g->posted;

    g->posted = NULL;
    g->posted_end = &g->posted;
    return list;
}

static void on_posted(uv_async_t *h)
{
    struct bus_gate *g = h->data;
    struct gate_item *list, *item;

    pthread_mutex_lock(&g->lock);
    list = take_posted(g);
    pthread_mutex_unlock(&g->lock);
    g->turn = clock_mono();
    while ((item = list)) {
        list = item->next;
        item->run(g, item, false);
    }
}

struct bus_gate *bus_gate_new(struct bus *bus, struct bus_client *client, unsigned share_max_ms)
{
    struct bus_gate *g = xcalloc(1, sizeof(*g));

    g->bus = bus;
    g->client = client;
    g->share_max_ns = share_max_ms * NS_PER_MS;
    g->posted_end = &g->posted;
    g->async = xcalloc(1, sizeof(*g->async));
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->idle, NULL);
    uv_async_init(bus->loop, g->async, on_posted);
    g->async->data = g;
    uv_unref((uv_handle_t *)g->async);
    return g;
}

static void free_handle(uv_handle_t *h)
{
    free(h);
}

void bus_gate_close(struct bus_gate *g)
{
    struct gate_item *list, *item;

    pthread_mutex_lock(&g->lock);
    g->closed = true;
    list = take_posted(g);
    pthread_mutex_unlock(&g->lock);
    while ((item = list)) {
        list = item->next;
        item->run(g, item, true);
    }
    g->client = bus_client_free(g->client); /* those that were sent already end with it */
    pthread_mutex_lock(&g->lock);
    while (g->callers > 0)
        pthread_cond_wait(&g->idle, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

struct bus_gate *bus_gate_free(struct bus_gate *g)
{
    if (!g)
        return NULL;
    bus_gate_close(g);
    uv_close((uv_handle_t *)g->async, free_handle);
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->idle);
    free(g);
    return NULL;
}

bool gate_enter(struct bus_gate *g)
{
    bool open;

    pthread_mutex_lock(&g->lock);
    open = !g->closed;
    g->callers += open;
    pthread_mutex_unlock(&g->lock);
    return open;
}

void gate_leave(struct bus_gate *g)
{
    pthread_mutex_lock(&g->lock);
    if (--g->callers == 0 && g->closed)
        pthread_cond_signal(&g->idle);
    pthread_mutex_unlock(&g->lock);
}

bool gate_post(struct bus_gate *g, struct gate_item *item)
{
    bool wake = false, open;

    pthread_mutex_lock(&g->lock);
    open = !g->closed;
    if (open) {
        wake = g->posted == NULL;
        item->next = NULL;
        *g->posted_end = item;
        g->posted_end = &item->next;
    }
    pthread_mutex_unlock(&g->lock);
    if (wake)
        uv_async_send(g->async);
    return open;
}

static void run_call(struct bus_gate *g, struct gate_item *item, bool closed)
{
    struct gate_call *call = CONTAINER_OF(item, struct gate_call, item);

    if (closed) {
        finish(call, -ECANCELED, NULL, NULL, 0);
        return;
    }
    if (call->share != BUS_SHARE_NOT) {
        if (join(g, call, g->turn))
            return;
        call->sent = g->turn;
        call->flight_next = g->flights;
        g->flights = call;
    }
    bus_client_call(g->client, call->env, call->body, call->len, call->connect_wait_ms, on_reply,
                    call);
}

bool bus_gate_settled(struct bus_gate *g, unsigned n)
{
    bool ret;

    pthread_mutex_lock(&g->lock);
    ret = g->callers == n && !g->posted;
    pthread_mutex_unlock(&g->lock);
    return ret;
}

int bus_gate_call(struct bus_gate *g, const steppe_Request *env, const void *body, size_t len,
                  unsigned connect_wait_ms, enum bus_share share, steppe_Reply *ret_rep,
                  uint8_t **ret_body, size_t *ret_len)
{
    struct gate_call call = {.item = {.run = run_call},
                             .gate = g,
                             .env = env,
                             .body = body,
                             .len = len,
                             .ret_rep = ret_rep,
                             .connect_wait_ms = connect_wait_ms,
                             .share = share};

    *ret_body = NULL;
    *ret_len = 0;
    if (!gate_enter(g))
        return -ECANCELED;
    sem_init(&call.done, 0, 0);
    if (!gate_post(g, &call.item)) {
        call.err = -ECANCELED;
        sem_post(&call.done);
    }
    while (sem_wait(&call.done) < 0 && errno == EINTR)
        ;
    sem_destroy(&call.done);
    gate_leave(g);
    *ret_body = call.ret_body;
    *ret_len = call.ret_len;
    return call.err;
}
