/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The life of one allocation on its node, as rules over its tasks' (task_core.h): who starts when
 * (lifecycle), who is ended because of whom (failed siblings, dead leader, a stop), what its client
 * status is and whether a deployment may call it healthy. No I/O, no clock, no random.
 */
#pragma once

#include "base/base.h"
#include "task_core.h"

#define ALLOC_TASKS_MAX 256 /* a group with more is refused */

struct alloc_health {
    bool watch;  /* there is something to find out */
    bool deploy; /* a deployment waits for it: why it is not healthy becomes an event */
    int64_t min_healthy_ns;
    int64_t deadline; /* monotonic; 0 = not begun */
    int64_t healthy_deadline_ns;
    bool known, healthy; /* found */
    int64_t at_ns;       /* wall clock of that */
};

struct alloc_core {
    struct task_core *tasks; /* n of them, owned */
    size_t n;
    bool hold;    /* nothing starts: the one before it still runs, or the servers were not heard */
    bool stopped; /* the servers want it ended */
    int64_t shutdown_delay_ns; /* of the group: between that and the kills */
    int64_t stop_at;           /* monotonic: end of the delay; 0 = not begun */
    bool killing; /* all but poststop tasks are being ended, leader first, sidecars last */
    struct alloc_health health;
};

struct alloc_effect {
    size_t task;
    enum task_do action;
    int signal;
};

struct alloc_out {
    struct alloc_effect *effects; /* n of them, to be done in this order; owned: alloc_out_fini() */
    size_t n;
    bool changed; /* something to write down and tell */
};

/* n rules, 1..ALLOC_TASKS_MAX; each task gets its Received event. */
void alloc_core_init(struct alloc_core *a, const struct task_rules *rules, size_t n,
                     struct mono_ns now, struct wall_ns wall);
void alloc_core_fini(struct alloc_core *a);

/* ev->now, wall and random are used by whatever follows from it. */
void alloc_step_task(struct alloc_core *a, size_t task, const struct task_ev *ev,
                     struct alloc_out *out);
/* Looks at everything: for a change of `hold` or `stopped`, and when alloc_core_next() says so. */
void alloc_step(struct alloc_core *a, const struct task_ev *tick, struct alloc_out *out);
/* Monotonic time of the next alloc_step(); 0 = none. */
int64_t alloc_core_next(const struct alloc_core *a);
void alloc_out_fini(struct alloc_out *out);

bool alloc_core_terminal(const struct alloc_core *a);
/* Nomad's client status and description of the tasks' states. */
const char *alloc_core_status(const struct alloc_core *a, const char **ret_description);
