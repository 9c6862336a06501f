/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The life of one task as rules: what is done at which event. No I/O, no clock.
 *
 *     STARTING -- it runs --> RUNNING -- first process ended --> ENDING -- all gone --> DONE
 *        |                       | kill: signal now, everything SIGKILLed at kill_at
 *        +-- could not start ----+------------------------------> ENDING
 *
 * In ENDING what the task left behind is killed again and again until nothing of it is there; after
 * GIVE_UP the end is told even so (a process in the kernel's hands cannot be killed).
 */
#pragma once

#include "base/base.h"
#include "base/clock.h"

#define TASKD_TICK_NS    (20 * NS_PER_MS)
#define TASKD_GIVE_UP_NS (30 * NS_PER_SEC)

enum taskd_state { TASKD_STARTING, TASKD_RUNNING, TASKD_ENDING, TASKD_DONE };

enum taskd_event_type {
    TASKD_EV_STARTED, /* exec succeeded */
    TASKD_EV_FAILED,  /* it did not */
    TASKD_EV_EXITED,  /* the first process ended */
    TASKD_EV_GONE,    /* nothing of the task is there any more */
    TASKD_EV_SIGNAL,  /* asked to send `signal` */
    TASKD_EV_KILL,    /* asked to end it: `signal` now, SIGKILL after timeout_ns */
    TASKD_EV_BYE,     /* whoever asked knows the end */
    TASKD_EV_TICK,    /* time passed */
};

struct taskd_event {
    enum taskd_event_type type;
    struct mono_ns now;
    int signal;
    int64_t timeout_ns;
};

struct taskd_core {
    enum taskd_state state;
    int64_t kill_at;    /* monotonic; 0 = no kill is under way */
    int64_t give_up_at; /* in ENDING */
};

/* What is to be done, in this order. */
struct taskd_out {
    int signal;    /* to the first process; 0 = none */
    bool kill_all; /* SIGKILL to everything of the task */
    bool report;   /* the state changed */
    bool quit;     /* end taskd */
};

void taskd_step(struct taskd_core *c, const struct taskd_event *ev, struct taskd_out *out);
/* When to come back with TICK; -1 = not by itself. */
int64_t taskd_wait_ns(const struct taskd_core *c, struct mono_ns now);
