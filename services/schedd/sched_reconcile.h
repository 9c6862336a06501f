/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What has to happen to a service or batch job: its allocations as they are against the job as it
 * should be (reference: http-api 7.9, 7.10). Pure; whether a node is lost and whether a change can
 * be made in place is asked of the caller.
 *
 * Deployments come later: their place is marked in sched_reconcile.c (canaries before the names are
 * chosen, the limit of updates at a time before updates are made).
 */
#pragma once

#include "base/base.h"
#include "base/prng.h"
#include "job.pb.h"
#include "sched_alloc.h"
#include "sched_arena.h"

/* Texts of desired_description. */
#define SCHED_NOT_NEEDED   "alloc not needed due to job update"
#define SCHED_MIGRATING    "alloc is being migrated"
#define SCHED_UPDATING     "alloc is being updated due to job update"
#define SCHED_IS_LOST      "alloc is lost since its node is down"
#define SCHED_NODE_TAINTED "alloc not needed as node is tainted"
#define SCHED_RESCHEDULED  "alloc was rescheduled because it failed"

#define SCHED_RESCHEDULE_WINDOW_NS INT64_C(1000000000) /* that soon is now */
#define SCHED_FOLLOWUP_BATCH_NS    INT64_C(5000000000) /* failures that share an evaluation */

/* At most so many new placements of a group come out at once; the rest is only counted. */
#define SCHED_PLACE_MAX 4096

struct sched_stop {
    const struct sched_alloc *alloc;
    const char *description; /* NULL: its desired status stays as it is */
    bool lost;               /* client status becomes lost */
    const char *followup;    /* evaluation id, NULL = none */
};

struct sched_want {
    const steppe_TaskGroup *tg;
    int32_t index;                  /* of the name */
    const char *name;               /* NULL: JOB.GROUP[index]; else it keeps this one */
    const struct sched_alloc *prev; /* NULL: none */
    /* What stops prev, in the plan that this is looked at in, place or no place; in none before, or
     * nothing would know any more that the two belong together. */
    const struct sched_stop *stop;
    bool reschedule;  /* gets a tracker */
    bool destructive; /* prev is stopped when (and only when) a place was found */
};

struct sched_update {
    const struct sched_alloc *alloc;
    const steppe_TaskGroup *tg;
};

/* Per group, for plan annotations and queued counts; also groups that the job has no more. */
struct sched_desired_counts {
    const char *group;
    const steppe_TaskGroup *tg; /* NULL: not in the job */
    int64_t ignore, place, migrate, stop, in_place, destructive;
    int64_t place_cut; /* placements beyond SCHED_PLACE_MAX: not among wants, counted in place */
};

struct sched_reconcile_in {
    struct sched_arena *arena;
    struct prng *prng;     /* for ids of evaluations */
    const steppe_Job *job; /* NULL: purged */
    const steppe_Evaluation *eval;
    bool batch;
    int64_t now;                /* ns since 1970 */
    struct sched_alloc *allocs; /* all of the job; are sorted */
    size_t allocs_n;
    void *user;
    bool (*node_lost)(void *user, const struct sched_alloc *a); /* down or gone */
    /* The group fits in place of the allocation on its node. Only asked when nothing that matters
     * changed. */
    bool (*in_place)(void *user, const struct sched_alloc *a, const steppe_TaskGroup *tg);
};

struct sched_reconcile_out {
    struct sched_stop *stops; /* without those of wants */
    struct sched_want *wants; /* destructive ones first */
    struct sched_update *updates;
    struct sched_stop *notes; /* only a follow-up evaluation is written at these */
    steppe_Evaluation *followups;
    struct sched_desired_counts *groups;
    size_t stops_n, wants_n, updates_n, notes_n, followups_n, groups_n;
};

void sched_reconcile(const struct sched_reconcile_in *in, struct sched_reconcile_out *out);

/* Is the job stopped or gone? */
static inline bool sched_job_stopped(const steppe_Job *job)
{
    return !job || job->stop;
}

/* Would a change from one spec of a group to the other need other tasks? (job.c) */
bool sched_group_changed(const steppe_Job *a, const steppe_Job *b, const char *group);
