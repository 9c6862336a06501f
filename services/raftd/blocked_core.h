/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Blocked evaluations: those that found no room, until something happens that may give them some.
 * The leader's, in memory only. Pure: no I/O, no clock; time comes in.
 *
 * An evaluation wakes when a node of a class comes (or gets room) that it has not found unfit, or
 * of any class when it could not judge by classes ("escaped"). Since what happens goes on while a
 * scheduler thinks, the last index at which each class was woken is remembered: an evaluation made
 * from an older state than that is not kept, it goes again at once.
 *
 * One per job (Nomad has one for each node of a system job, which then misses room on others). Of
 * two the newer one stays; the other is a duplicate, to be written as canceled.
 */
#pragma once

#include "base/base.h"
#include "job.pb.h"

#define BLOCKED_MAX (1u << 20)
#define BLOCKED_CLASSES_MAX                                                                        \
    65536 /* remembered; over it the oldest go, and what they mean to all                          \
           */
#define BLOCKED_FORGET_NS (INT64_C(900) * 1000000000) /* as Nomad: 15 minutes */

struct blocked;

/* Called for each evaluation that wakes, which is out of the set already; it may not call back. */
typedef void blocked_wake_fn(void *user, const char *eval_id);

struct blocked *blocked_new(blocked_wake_fn *wake, void *user);
struct blocked *blocked_free(struct blocked *b);
DEFINE_CLEANUP(struct blocked, blocked_free)
/* Forgets everything: leadership is lost. */
void blocked_flush(struct blocked *b);

/* A new leader cannot know what was woken before its time: what was made from an older state than
 * the last change of nodes and allocations, at `index`, goes again. */
void blocked_start(struct blocked *b, uint64_t index);

enum blocked_result {
    BLOCKED_KEPT,  /* or it was there already */
    BLOCKED_WOKEN, /* an unblock was missed, or there is no room: goes at once, wake was called */
    BLOCKED_DUPLICATE, /* not kept: a newer one of the job is there */
};
/* ev->status is not looked at. *ret_dup: the other evaluation (older, of the same job) that is a
 * duplicate now, "" when there is none. */
enum blocked_result blocked_add(struct blocked *b, const steppe_Evaluation *ev, char ret_dup[37]);
/* It ended or was deleted. */
void blocked_remove(struct blocked *b, const char *eval_id);
/* The job's evaluation has nothing to wait for: the job is stopped or purged. */
void blocked_untrack(struct blocked *b, const char *ns, const char *job_id);

/* A class has (more) room, as of index: a node came, or an allocation on one ended. */
void blocked_unblock(struct blocked *b, const char *computed_class, uint64_t index, int64_t now_ns);
/* Those that blocked because their plans were refused too often: every 60 s. */
void blocked_unblock_failed(struct blocked *b);
/* Forgets what happened longer ago than any scheduler thinks. */
void blocked_prune(struct blocked *b, int64_t now_ns);

size_t blocked_count(const struct blocked *b);
size_t blocked_escaped_count(const struct blocked *b);
