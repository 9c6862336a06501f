/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The scheduler: an evaluation, the job, its allocations and an image of the nodes in, a plan out.
 * Pure: no I/O, no clock, no random numbers but those of the generator given. Semantics are those
 * of Nomad 1.1 (reference: http-api section 7).
 *
 * One call is one attempt. The caller submits the plan; when the leader took only a part of it, it
 * refreshes image and allocations and calls again, as sched_retry_next() says.
 */
#pragma once

#include "alloc.pb.h"
#include "base/base.h"
#include "base/prng.h"
#include "base/strbuf.h"
#include "image/image.h"
#include "job.pb.h"
#include "sched_alloc.h"
#include "sched_arena.h"
#include "sched_metric.h"
#include "sched_reconcile.h"
#include "sched_regexp.h"

/* What the region's scheduler configuration says. */
struct sched_config {
    bool preempt_system, preempt_batch, preempt_service;
    bool spread;                  /* algorithm: spread instead of binpack */
    bool memory_oversubscription; /* allocations carry memory_max */
};
/* Nomad's: binpack, only system jobs preempt. */
#define SCHED_CONFIG_DEFAULT ((struct sched_config){.preempt_system = true})

struct sched_in {
    const steppe_Evaluation *eval;
    const steppe_Job *job;      /* NULL: purged */
    struct sched_alloc *allocs; /* all of the job, also ended ones; are sorted */
    size_t allocs_n;
    struct image *image; /* with IMAGE_NODES; no tentative changes in it */
    struct sched_config config;
    struct sched_regexps *regexps;
    struct prng *prng;
    int64_t now;                /* ns since 1970 */
    uint64_t snapshot_index;    /* the state's that image and allocations show */
    const char *token, *region; /* of the delivery, for the plan */
    /* migrate.max_parallel of a group of another job that may be preempted; NULL: 1 for all. */
    int (*max_parallel)(void *user, const struct image_alloc *a);
    /* How long a placement took is measured with it, ns; NULL: zero. */
    int64_t (*clock)(void);
    void *user;
};

struct sched_queued {
    const char *group;
    int32_t queued;      /* still unplaced */
    bool failed;         /* no place was found; metric says why */
    struct bytes metric; /* AllocMetric, encoded, in the arena */
};

struct sched_placed {
    uint32_t group; /* number in sched_out.groups */
    bool fresh;     /* new, not updated in place */
    char node_id[37];
};

struct sched_out {
    bool noop; /* nothing to submit */
    bool more; /* there was more to place than goes into one plan: call again when it was taken */
    struct sched_queued *groups; /* of the job */
    size_t groups_n;
    struct sched_placed *placed;
    size_t placed_n, stops_n;
    bool delayed;          /* follow-up evaluations take care of the rest: no blocked one */
    const char *next_eval; /* rolling update of a system job, goes with the plan; NULL = none */
    bool escaped;
    struct sched_class_eligible {
        const char *class;
        bool eligible;
    } * classes;
    size_t classes_n;
    struct sched_desired_counts *desired; /* per group: what was to be done */
    size_t desired_n;
};

/*
 * One attempt. Appends an encoded Plan to *plan unless out->noop. What *out points to is in the
 * arena or in the job. The image has the plan as tentative changes afterwards: undo or keep them.
 */
void sched_run(const struct sched_in *in, struct sched_arena *arena, struct strbuf *plan,
               struct sched_out *out);

/* Takes from the queued counts what the leader took. True when all of the plan was taken. */
bool sched_taken(struct sched_out *out, const steppe_PlanResult *result);

/* ---- how often ---- */

struct sched_retry {
    unsigned attempts;
};
#define SCHED_ATTEMPTS       5u
#define SCHED_ATTEMPTS_BATCH 2u
/* After an attempt that was not taken whole: try again? progress: some of it was taken. */
bool sched_retry_next(struct sched_retry *r, const char *job_type, bool progress);

/* ---- how it ends ---- */

/*
 * Appends an EvalEnd: the evaluation as it is left, and the blocked one that it leaves behind, if
 * any. out: of the last attempt, may be NULL; given_up: too many of them.
 */
void sched_finish(const struct sched_in *in, struct sched_arena *arena, const struct sched_out *out,
                  bool given_up, struct strbuf *body);
