/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The life of one task on its node, as rules: no I/O, no clock, no random. Restarts follow
 * reference 7.13.
 *
 *     WAITING --go--> STARTING --started--> RUNNING --exited--+--> BACKOFF --delay--> STARTING
 *        |               |                     |              |
 *        +----- kill ----+---- failed ---------+--------------+--> DEAD
 *
 * A kill of a running task is an effect; DEAD comes when its end is heard. Monotonic times are of
 * this boot of the machine: who restores a core after another boot says so (task_core_reboot).
 */
#pragma once

#include "alloc.pb.h"
#include "base/base.h"
#include "base/clock.h"
#include "task_events.h"

enum task_run { TASK_WAITING, TASK_STARTING_UP, TASK_UP, TASK_BACKOFF, TASK_DEAD };
enum task_hook { TASK_HOOK_MAIN, TASK_HOOK_PRESTART, TASK_HOOK_POSTSTART, TASK_HOOK_POSTSTOP };

/* From the job; borrowed texts. */
struct task_rules {
    const char *name;
    enum task_hook hook;
    bool sidecar, leader;
    bool batch;   /* the job's type */
    int attempts; /* of the restart policy */
    int64_t interval_ns, delay_ns;
    bool mode_delay; /* when attempts are used up: wait instead of failing */
    int kill_signal; /* a number */
    int64_t kill_timeout_ns, shutdown_delay_ns;
};

struct task_core {
    struct task_rules rules;
    steppe_TaskState state; /* owned: what the servers are told */

    /* What is kept on disk besides `state`. */
    enum task_run run;
    uint32_t runs;          /* starts so far: names the run */
    uint32_t count;         /* restarts in this interval */
    int64_t interval_start; /* monotonic; 0 = not begun */
    int64_t timer;          /* monotonic: end of BACKOFF or of the shutdown delay; 0 = none */
    int64_t up_since;       /* monotonic; 0 = not running */
    bool killed;            /* for good */
    bool restarting;        /* being ended in order to start again */
    bool kill_sent;         /* TASK_DO_KILL is out */
    int64_t force_at;       /* monotonic: not gone by then, its holder is broken; 0 = none */
};

enum task_do {
    TASK_DO_NOTHING,
    TASK_DO_START,  /* run it; answer STARTED, EXITED, UNBEGUN or one of the failures */
    TASK_DO_KILL,   /* kill_signal now, all of it after kill_timeout */
    TASK_DO_SIGNAL, /* `signal` */
    TASK_DO_FORCE,  /* the kill does not come to an end: kill its holder; answer EXITED */
};

enum task_ev_type {
    TASK_EV_RECEIVE,      /* first of all */
    TASK_EV_GO,           /* it may start (lifecycle) */
    TASK_EV_STARTED,      /* at_ns */
    TASK_EV_START_FAILED, /* text, retry: by the driver */
    TASK_EV_SETUP_FAILED, /* text: folders, artifacts, ... */
    TASK_EV_INVALID,      /* text: this node does not run such a task */
    TASK_EV_UNBEGUN,      /* clientd died over START: nothing has happened yet */
    TASK_EV_EXITED,       /* code, signal, oom, text; ran: it was started (at_ns), heard or not */
    TASK_EV_KILL,         /* end it for good; the caller adds the event that says why */
    TASK_EV_RESTART,      /* a person's wish; text */
    TASK_EV_SIGNAL,       /* signal, text: its name */
    TASK_EV_TICK,
};

struct task_ev {
    enum task_ev_type type;
    struct mono_ns now;
    struct wall_ns wall;
    uint64_t random; /* for the delay's jitter */
    const char *text;
    int code, signal;
    bool oom, retry, ran;
    int64_t at_ns; /* wall clock of the start; 0 = now */
};

struct task_out {
    enum task_do action;
    int signal;
    bool changed; /* `state` or what is kept on disk */
};

/* rules are copied (texts stay borrowed); the state is pending. */
void task_core_init(struct task_core *t, const struct task_rules *rules);
void task_core_fini(struct task_core *t);
void task_step(struct task_core *t, const struct task_ev *ev, struct task_out *out);
/* Monotonic time of the next TICK, 0 = none. */
int64_t task_core_next(const struct task_core *t);
/* After restoring: the machine was booted again, nothing of it runs. It starts again, if it did. */
void task_core_reboot(struct task_core *t);
void task_core_event(struct task_core *t, enum task_event_type type,
                     const struct task_event_facts *f, struct wall_ns now);
static inline bool task_core_dead(const struct task_core *t)
{
    return t->run == TASK_DEAD;
}
