/* SPDX-License-Identifier: MPL-2.0 */
/* Calls from threads without a loop: posted to the loop's thread, answered through a semaphore. */
#include "bus/bus_int.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>

/* Lives on the caller's stack until `done` is posted. */
struct gate_call {
    struct gate_call *next;
    struct bus_gate *gate;
    const steppe_Request *env;
    const void *body;
    size_t len;
    unsigned connect_wait_ms;
    enum bus_share share;
    struct gate_call *joined;      /* calls that wait for this one's answer */
    struct gate_call *flight_next; /* of the gate's flights */
    struct mono_ns sent;
    steppe_Reply *ret_rep;
    uint8_t *ret_body;
    size_t ret_len;
    int err;
    sem_t done;
};

struct bus_gate {
    struct bus *bus;
    struct bus_client *client;
    int64_t share_max_ns;
    uv_async_t *async;
    pthread_mutex_t lock;
    struct gate_call *flights;              /* loop's thread: calls sent that others may join */
    struct gate_call *posted, **posted_end; /* under lock */
    bool closed;                            /* under lock */
    unsigned callers;                       /* under lock: inside bus_gate_call() */
    pthread_cond_t idle;                    /* callers became 0 */
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
        return; /* streams are not for gates: only the last part counts */
    for (struct gate_call **p = &call->gate->flights; *p; p = &(*p)->flight_next) {
        if (*p == call) {
            *p = call->flight_next;
            break;
        }
    }
    finish(call, err, rep, body, len);
    for (call = joined; call; call = next) {
        next = call->next;
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
        call->next = f->joined;
        f->joined = call;
        return true;
    }
    return false;
}

static void on_posted(uv_async_t *h)
{
    struct bus_gate *g = h->data;
    struct gate_call *list, *call;
    struct mono_ns turn;

    pthread_mutex_lock(&g->lock);
    list = g->posted;
    g->posted = NULL;
    g->posted_end = &g->posted;
    pthread_mutex_unlock(&g->lock);
    turn = clock_mono();
    while ((call = list)) {
        list = call->next;
        if (call->share != BUS_SHARE_NOT) {
            if (join(g, call, turn))
                continue;
            call->sent = turn;
            call->flight_next = g->flights;
            g->flights = call;
        }
        bus_client_call(g->client, call->env, call->body, call->len, call->connect_wait_ms,
                        on_reply, call);
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
    struct gate_call *list, *call;

    pthread_mutex_lock(&g->lock);
    g->closed = true;
    list = g->posted;
    g->posted = NULL;
    g->posted_end = &g->posted;
    pthread_mutex_unlock(&g->lock);
    while ((call = list)) {
        list = call->next;
        on_reply(call, -ECANCELED, NULL, NULL, 0);
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
    struct gate_call call = {.gate = g,
                             .env = env,
                             .body = body,
                             .len = len,
                             .ret_rep = ret_rep,
                             .connect_wait_ms = connect_wait_ms,
                             .share = share};
    bool wake;

    *ret_body = NULL;
    *ret_len = 0;
    pthread_mutex_lock(&g->lock);
    if (g->closed) {
        pthread_mutex_unlock(&g->lock);
        return -ECANCELED;
    }
    sem_init(&call.done, 0, 0);
    g->callers++;
    wake = g->posted == NULL;
    *g->posted_end = &call;
    g->posted_end = &call.next;
    pthread_mutex_unlock(&g->lock);
    if (wake)
        uv_async_send(g->async);
    while (sem_wait(&call.done) < 0 && errno == EINTR)
        ;
    sem_destroy(&call.done);
    pthread_mutex_lock(&g->lock);
    if (--g->callers == 0 && g->closed)
        pthread_cond_signal(&g->idle);
    pthread_mutex_unlock(&g->lock);
    *ret_body = call.ret_body;
    *ret_len = call.ret_len;
    return call.err;
}
