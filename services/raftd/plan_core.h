/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The check of a plan against the newest image: does each node still take what the plan wants
 * there? Nodes that do not are left out (all that the plan wants there); a plan that is all-at-once
 * is taken whole or not at all. Pure: no I/O, no clock. Linear in the size of the plan, whose bytes
 * are looked at, not decoded.
 *
 * The image shows also what was accepted before and is still being written (image_keep()), so that
 * the next plan is checked while the last one is on its way to the disks.
 */
#pragma once

#include "base/strbuf.h"
#include "image/image.h"

/* Other jobs whose allocations one plan evicts, an evaluation each; a node that would be beyond
 * that is left out, for the scheduler to try again. */
#define PLAN_PREEMPTED_MAX 61

struct plan_verdict {
    bool nothing;                 /* nothing is left to write */
    unsigned placed, stopped;     /* of what is left */
    unsigned rejected;            /* nodes */
    struct strbuf rejected_nodes; /* field 2 of PlanResult, once for each */
    /* Jobs whose allocations are preempted, once each: they want an evaluation. Owned. */
    struct plan_job {
        char *namespace, *id;
    } * preempted;
    size_t preempted_n;
};

/*
 * Checks and takes into the image what is left (not yet kept: image_keep() or image_undo() to the
 * mark before are the caller's). plan: an encoded Plan; borrowed. -EBADMSG with a text when it is
 * broken; the image is as before then. *ret is to be released in any case.
 */
int plan_verify(struct image *im, struct bytes plan, struct plan_verdict *ret, struct errtext *e);
void plan_verdict_fini(struct plan_verdict *v);

/* Calls fn for each allocation id that the plan names: to read them anew when it was refused. */
void plan_each_id(struct bytes plan, void (*fn)(void *user, const char *id), void *user);

/*
 * Cuts a plan into pieces of at most items_max stops and placements, plans all of them: stops
 * first, a deployment with the first, evaluations with the last. fn gets them in order; the bytes
 * live for the call. A small plan, one that is all-at-once and one that preempts come whole. The
 * plan was checked before.
 */
void plan_split(struct bytes plan, size_t items_max, void (*fn)(void *user, struct bytes piece),
                void *user);

/*
 * How much waits: plans that are not checked yet, are being written, or whose answer waits for
 * others. Beyond it, a scheduler has to come again.
 */
#define PLAN_LOAD_MAX       256
#define PLAN_LOAD_BYTES_MAX (UINT64_C(128) << 20)
struct plan_load {
    size_t plans;
    uint64_t bytes;
};
/* One more of so many bytes. False: there is no room; a plan alone always has. */
bool plan_load_take(struct plan_load *l, size_t bytes);
void plan_load_give(struct plan_load *l, size_t bytes);

/* What is asked of a plan before its check. Texts are cut at their bounds. False: broken. */
struct plan_head {
    char eval_id[37], token[40];
    bool all_at_once;
    int priority;
};
bool plan_head_read(struct bytes plan, struct plan_head *ret);
