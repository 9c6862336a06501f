/* SPDX-License-Identifier: MPL-2.0 */
/*
 * An allocation of a job as the state holds it, read in part: what decides about its fate. Its
 * bytes stay borrowed, for an update in place writes most of them again.
 */
#pragma once

#include "alloc.pb.h"
#include "base/base.h"
#include "job.pb.h"
#include "sched_arena.h"
#include "state/store.h"

enum sched_desired { SCHED_RUN, SCHED_STOP, SCHED_EVICT };
enum sched_client { SCHED_PENDING, SCHED_RUNNING, SCHED_COMPLETE, SCHED_FAILED, SCHED_LOST };

struct sched_event {
    int64_t time, delay; /* ns */
    const char *prev_alloc_id, *prev_node_id;
};

struct sched_alloc {
    const char *id, *name, *node_id, *group; /* never NULL */
    const char *deployment_id, *next_allocation, *followup_eval_id;
    int32_t index; /* of JOB.GROUP[INDEX]; 0 when its name has none, as Nomad */
    enum sched_desired desired;
    enum sched_client client;
    bool migrate, reschedule, force_reschedule; /* desired transition */
    bool succeeded;                             /* has task states, none failed, all ended */
    int64_t finished;                           /* ns, of the last task; 0 = none ended */
    int64_t modify_time, create_time;           /* ns */
    uint64_t create_index, modify_index;
    uint64_t job_version, job_create_index;
    struct sched_event *events;
    size_t events_n;
    struct bytes resources;       /* AllocatedResources, encoded; data NULL = none */
    struct bytes placed, changed; /* Allocation, encoded; the second is merged over the first */
    /* Set by the caller: the job as this allocation was placed, NULL when it is not known any more,
     * and its group there. */
    const steppe_Job *job;
    const steppe_TaskGroup *tg;
};

/*
 * From the two pieces in which the state keeps an allocation (the second may be empty). Texts go
 * into the arena, the bytes are borrowed. -EBADMSG when it is no Allocation.
 */
int sched_alloc_read(struct sched_arena *arena, struct bytes placed, struct bytes changed,
                     struct sched_alloc *ret);

/*
 * The end of its tasks is by the client's clock, which may differ from ours or have been set: an
 * end that cannot be (before it was placed, after `now`) is replaced by the servers' last change,
 * and that is never later than now. Its replacement then comes no later than the policy says.
 */
void sched_alloc_mend_times(struct sched_alloc *a, int64_t now);

/* Stopped by the servers or ended on the client. */
static inline bool sched_alloc_terminal(const struct sched_alloc *a)
{
    return a->desired != SCHED_RUN || a->client >= SCHED_COMPLETE;
}

const steppe_TaskGroup *sched_job_group(const steppe_Job *job, const char *name); /* or NULL */

/* ns; the far future when there is no such number. Durations of jobs may be anything. */
static inline int64_t sched_time_add(int64_t a, int64_t b)
{
    int64_t r;

    return __builtin_add_overflow(a, b, &r) ? INT64_MAX : r;
}

/* ---- rescheduling (reference: http-api 7.10) ---- */

struct sched_reschedule {
    bool eligible;
    int64_t at;    /* ns: when it may be replaced */
    int64_t delay; /* ns, of this time */
};
/* By the policy of the job that it was placed for. */
struct sched_reschedule sched_alloc_reschedule(const struct sched_alloc *a);

#define SCHED_EVENTS_PAST 5
/*
 * The tracker of a replacement: what is kept of the predecessor's events and one for this time.
 * Into the arena.
 */
struct sched_event *sched_alloc_tracker(struct sched_arena *arena, const struct sched_alloc *prev,
                                        int64_t now, size_t *ret_n);
