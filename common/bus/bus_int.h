/* SPDX-License-Identifier: MPL-2.0 */
/* Inside of common/bus: a ZeroMQ socket on the loop. */
#pragma once

#include <pthread.h>
#include <uv.h>
#include <zmq.h>

#include "base/base.h"
#include "bus/bus.h"

#define BUS_HOP_ID_LEN 8
#define BUS_DRAIN_MAX  256 /* messages of one socket before the others have their turn */

struct bus_sock;

/* Reads one message; false when the socket has none (EAGAIN). */
typedef bool bus_readable_fn(void *owner);

/*
 * ZMQ_FD is edge-triggered and both sending and receiving may eat its edge: a socket that was used
 * goes on the bus's dirty list and is drained before the loop sleeps.
 */
struct bus_sock {
    struct bus *bus;
    void *zmq;
    uv_poll_t poll;
    bus_readable_fn *readable;
    void *owner;
    bool dirty;
    struct bus_sock *next_dirty;
    bool closed;
};

struct bus {
    uv_loop_t *loop;
    void *zmq;
    uv_prepare_t prepare;
    uv_idle_t idle; /* runs while a socket was left undrained, so that the loop does not sleep */
    bool idle_on;
    struct bus_sock *dirty;
    unsigned monitors; /* numbers the inproc names */
};

/* Takes zmq (an open socket) over; returns NULL with zmq closed when its fd cannot be polled. */
struct bus_sock *bus_sock_new(struct bus *bus, void *zmq, bus_readable_fn *fn, void *owner);
struct bus_sock *bus_sock_free(struct bus_sock *s);

/* What another thread wants done on the loop's thread. */
struct bus_gate;
struct gate_item {
    struct gate_item *next;
    /* closed: the gate closes, nothing can be sent any more. */
    void (*run)(struct bus_gate *g, struct gate_item *item, bool closed);
};

struct bus_gate {
    struct bus *bus;
    struct bus_client *client;
    int64_t share_max_ns;
    struct mono_ns turn;       /* loop's thread: when it began to take up what was posted */
    struct gate_call *flights; /* loop's thread: calls sent that others may join */
    uv_async_t *async;
    pthread_mutex_t lock;
    struct gate_item *posted, **posted_end; /* under lock */
    bool closed;                            /* under lock */
    unsigned callers;                       /* under lock: calls and streams of other threads */
    pthread_cond_t idle;                    /* callers became 0 */
};

/* Counts a caller in; false when the gate is closed. */
bool gate_enter(struct bus_gate *g);
void gate_leave(struct bus_gate *g);
/* Queues an item and wakes the loop; false when the gate is closed: it will not be run. */
bool gate_post(struct bus_gate *g, struct gate_item *item);

void bus_sock_used(struct bus_sock *s);
void *bus_socket_open(struct bus *bus, int type, struct errtext *e);
/* Before a bind or connect: tcp://[IPv6]:PORT needs IPv6, all else stays with IPv4 alone. */
void bus_socket_family(void *s, const char *endpoint);
/* A PAIR that hears the events of s. */
void *bus_monitor_open(struct bus *bus, void *s, int events, struct errtext *e);
/* Reads one monitor event; false on EAGAIN. addr gets at most cap bytes. */
bool bus_monitor_read(void *pair, int *ret_event, uint32_t *ret_value, char *addr, size_t cap);

/* For tests: n callers are inside, and the loop has taken up what they ask. */
bool bus_gate_settled(struct bus_gate *g, unsigned n);
