/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The rules of supervision, pure: events and the time in, process actions out. Per service one
 * state machine with its whole table in sup_core.c:
 *
 *     IDLE -> WAIT -> STARTING -> UP        a start: what it needs is up, it ran, it said ready
 *               ^        |        |
 *               BACKOFF <+--------+         an exit; the delay doubles while it keeps failing
 *     any with a process -> STOPPING -> KILLING -> IDLE or WAIT
 *
 * A service that was up for SUP_STEADY or longer is started again at once, any other exit waits
 * SUP_BACKOFF_MIN doubling up to SUP_BACKOFF_MAX.
 */
#pragma once

#include "base/base.h"
#include "base/clock.h"
#include "sup_services.h"

#define SUP_BACKOFF_MIN  (100 * NS_PER_MS)
#define SUP_BACKOFF_MAX  (30 * NS_PER_SEC)
#define SUP_STEADY       (10 * NS_PER_SEC)
#define SUP_WAIT_MAX     (5 * NS_PER_SEC) /* then a service starts without what it needs */
#define SUP_STOP_MAX     (5 * NS_PER_SEC) /* then SIGKILL */
#define SUP_START_TRIES  3                /* of a service, before the node was ever up */
#define SUP_FAILURES_BAD 5                /* in a row: a human should look */

#define SUP_STATES(X)                                                                              \
    X(IDLE, "stopped")                                                                             \
    X(WAIT, "waiting")                                                                             \
    X(STARTING, "starting")                                                                        \
    X(UP, "running") X(BACKOFF, "backoff") X(STOPPING, "stopping") X(KILLING, "killing")
#define SUP_EVENTS(X)                                                                              \
    X(START, "start")                                                                              \
    X(STOP, "stop")                                                                                \
    X(RESTART, "restart")                                                                          \
    X(NEEDS_UP, "needs-up") X(READY, "ready") X(EXIT, "exit") X(TIMEOUT, "timeout")

enum sup_state {
#define X(id, name) SUP_##id,
    SUP_STATES(X)
#undef X
        SUP_STATES_N
};
enum sup_event {
#define X(id, name) SUP_EV_##id,
    SUP_EVENTS(X)
#undef X
        SUP_EVENTS_N
};
const char *sup_state_name(enum sup_state s);

/* What the shell has to do, in this order. */
enum sup_effect_kind {
    SUP_DO_SPAWN,  /* start the process; when that fails: SUP_EV_EXIT */
    SUP_DO_TERM,   /* ask it to stop (or leave) */
    SUP_DO_KILL,   /* SIGKILL */
    SUP_DO_REPORT, /* it failed: failures, delay */
};
struct sup_effect {
    enum sup_effect_kind kind;
    enum sup_service_id id;
};
#define SUP_EFFECTS_MAX (4 * SUP_SERVICES_N)
struct sup_out {
    struct sup_effect effects[SUP_EFFECTS_MAX];
    size_t n;
};

struct sup_unit {
    bool present; /* the node's roles ask for it */
    enum sup_state state;
    bool again;           /* after the exit under way: start again */
    bool asked;           /* the exit under way was asked for: no failure */
    bool warm;            /* ready since its last start */
    bool died_up;         /* the last death that nobody asked for: it had been ready */
    unsigned failures;    /* in a row */
    unsigned restarts;    /* since the supervisor started */
    struct mono_ns since; /* of the state */
    int64_t deadline;     /* CLOCK_MONOTONIC, 0: none: then SUP_EV_TIMEOUT */
    int64_t delay;        /* of the current BACKOFF, ns */
};

struct sup_core {
    struct sup_unit units[SUP_SERVICES_N];
    bool stopping; /* the whole node goes down, from the last service to the first */
};

void sup_core_init(struct sup_core *c, unsigned roles);
void sup_core_start(struct sup_core *c, struct mono_ns now, struct sup_out *out);
/* One event of one service; the needs of others are followed up within. out is appended to. */
void sup_core_step(struct sup_core *c, enum sup_service_id id, enum sup_event ev,
                   struct mono_ns now, struct sup_out *out);
/* Turns deadlines that have passed into events. */
void sup_core_tick(struct sup_core *c, struct mono_ns now, struct sup_out *out);
/* The whole node stops. sup_core_done() says when all is gone. */
void sup_core_stop(struct sup_core *c, struct mono_ns now, struct sup_out *out);
bool sup_core_done(const struct sup_core *c);
bool sup_core_all_up(const struct sup_core *c);
/* The next deadline, or -1. */
int64_t sup_core_deadline(const struct sup_core *c);
/* Does a process of it exist? */
bool sup_unit_has_process(const struct sup_unit *u);
