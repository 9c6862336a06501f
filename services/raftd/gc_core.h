/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What the leader's collector may delete: Nomad's rules. Pure: no I/O, no clock. Times are ns since
 * 1970; `cutoff` is now less the threshold: what is newer stays.
 *
 * Nomad deletes a dead job together with its evaluations and allocations in one transaction. Here
 * the job goes first (a dead batch job whose allocations are gone would run again if something
 * evaluated it), and what belonged to it, now to nobody, follows in small pieces.
 */
#pragma once

#include "base/base.h"
#include "base/clock.h"

/*
 * Ages by a clock that nobody sets. The rows' times are of the wall clock, which may jump: a day
 * forward must not make young rows old. So the leader notes what the wall clock said, and how far
 * the state was, every GC_TIMES_STEP_NS and whenever the two clocks part.
 */
#define GC_TIMES_MAX     320
#define GC_TIMES_STEP_NS (5 * 60 * NS_PER_SEC)
#define GC_JUMP_NS       (10 * NS_PER_SEC) /* more than slewing does between two notes */

struct gc_time {
    int64_t mono, wall; /* ns */
    uint64_t index;     /* applied by then */
};

struct gc_times {
    struct gc_time v[GC_TIMES_MAX]; /* by mono, the oldest first */
    unsigned n;
};

/* Call it often: a jump counts from the first note after it. */
void gc_times_note(struct gc_times *t, const struct gc_time *now);

/* A row with this or an older wall time was written at least `threshold` ns ago by a clock like
 * ours: the lowest that ours has shown since then. */
int64_t gc_times_cutoff(const struct gc_times *t, const struct gc_time *now, int64_t threshold);

/* The index that the state had by the time `threshold` ns ago; 0 = unknown. */
uint64_t gc_times_index(const struct gc_times *t, const struct gc_time *now, int64_t threshold);

struct gc_job {
    bool there; /* and the same incarnation that the question is about */
    bool dead, stop, batch, periodic, parameterized;
    int64_t submit_time;
};

/* Does the job itself go? Of its allocations none may be live, running on its client or newer; its
 * evaluations must have ended (the caller looks). */
bool gc_job_eligible(const struct gc_job *job, int64_t cutoff);

struct gc_policy {
    bool there, unlimited;
    int attempts;
    int64_t interval;
};

struct gc_alloc {
    bool terminal; /* stopped by a server, or ended on its client */
    bool client_running, client_failed, desired_stop;
    bool replaced; /* it has a next allocation */
    int64_t modify_time;
    int64_t last_reschedule; /* of its tracker, 0 = none */
};

/* policy: of its group, asked only of failed ones of a living job. */
bool gc_alloc_eligible(const struct gc_alloc *a, const struct gc_job *job,
                       const struct gc_policy *policy, int64_t now, int64_t cutoff);

/* An evaluation that ended at `time` and has no allocations (any more). */
bool gc_eval_eligible(bool batch, int64_t time, const struct gc_job *job, int64_t cutoff);
