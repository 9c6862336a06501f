/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The evaluation broker: which evaluation goes to which scheduler next. The leader's, in memory
 * only: a new leader fills it from the state. Pure: no I/O, no clock, no random; time comes in.
 *
 *                 Wait, WaitUntil, nacked        another one of its job is out
 *     enqueue --> DELAYED -------> READY <------ PENDING
 *                                  | ^ nack, lease over, given back (3 times, then:)
 *                          dequeue v |
 *                                  OUT ----------> FAILED (broker_failed(): written as such)
 *                              ack |
 *                                  v gone; the best PENDING one of the job becomes READY
 *
 * One evaluation of a job at a time is READY, OUT or DELAYED by a nack. Order: highest priority,
 * then oldest. A delivery is proved by its token and good for the lease.
 */
#pragma once

#include "base/base.h"

#define BROKER_LEASE_NS       (INT64_C(60) * 1000000000)
#define BROKER_DELIVERIES_MAX 3  /* failed ones, then the evaluation has failed */
#define BROKER_RETURNS_MAX    16 /* given back by a dequeuer that went away; then each counts */
#define BROKER_NACK_FIRST_NS  (INT64_C(1) * 1000000000)
#define BROKER_NACK_LATER_NS  (INT64_C(20) * 1000000000)
#define BROKER_EVALS_MAX      (1u << 22)
#define BROKER_TOKEN_LEN      36
#define BROKER_WORKER_MAX     64

enum broker_type { BROKER_SERVICE, BROKER_BATCH, BROKER_SYSTEM, BROKER_TYPES };
/* False when the word is none of them. */
bool broker_type_parse(const char *word, enum broker_type *ret);

/* What the broker wants of an evaluation. Texts are copied. */
struct broker_eval {
    char id[37];
    const char *namespace, *job_id;
    enum broker_type type;
    int priority;
    uint64_t create_index, modify_index;
    int64_t delay_ns; /* from now on; of Wait or WaitUntil */
};

struct broker_delivery {
    char id[37];
    char token[BROKER_TOKEN_LEN + 1];
    uint64_t wait_index; /* the scheduler's state must show at least this */
};

struct broker_stats {
    size_t ready[BROKER_TYPES], ready_all;
    size_t out, delayed, pending, failed;
};

struct broker;

/*
 * How long an evaluation waits (ns): `wait` from its creation, or until `wait_until`, whichever is
 * set (0 = not). Times are of wall clocks, the writer's (create) and ours (now), and those may have
 * been set since or differ: no evaluation waits longer than it was meant to when it was written.
 */
int64_t broker_delay(int64_t wait, int64_t wait_until, int64_t create, int64_t now);

struct broker *broker_new(void);
struct broker *broker_free(struct broker *b);
DEFINE_CLEANUP(struct broker, broker_free)
/* Forgets everything: leadership is lost. */
void broker_flush(struct broker *b);

/*
 * Takes an evaluation in; one that is there already is left as it is, but with `again` one that is
 * out comes once more when it was acknowledged (it blocked, and room came before the
 * acknowledgement). -ENOBUFS over BROKER_EVALS_MAX: it stays in the state and comes with the next
 * leader.
 */
int broker_enqueue(struct broker *b, const struct broker_eval *e, bool again, int64_t now_ns);
/* It has ended, or was deleted, by other means: not given to anybody any more. One that is out
 * stays so until it is acknowledged. */
void broker_forget(struct broker *b, const char *id);

/* The best one of the types in the mask (1 << type); token is the caller's, fresh and unique.
 * False: none is ready. */
bool broker_dequeue(struct broker *b, unsigned types, const char *worker,
                    const char token[static BROKER_TOKEN_LEN + 1], int64_t now_ns,
                    struct broker_delivery *ret);
bool broker_any_ready(const struct broker *b, unsigned types);

/* Is this delivery the one that is out? */
bool broker_holds(const struct broker *b, const char *id, const char *token);
/* The work of a delivery goes on (its plan waits here): its lease starts anew. */
void broker_renew(struct broker *b, const char *id, int64_t now_ns);
/* Done. `index`: what the state shows by now, which the next one of the job must see. -ENOENT when
 * the delivery is not out (any more). */
int broker_ack(struct broker *b, const char *id, const char *token, uint64_t index, int64_t now_ns);
/* Not done: again later, or failed. -ENOENT. */
int broker_nack(struct broker *b, const char *id, const char *token, int64_t now_ns);
/*
 * A worker has come (back) for more: what is out to it but is none of `holding` was lost on the
 * way, or with the worker's former life, and is ready again at once. Returns how many.
 */
size_t broker_give_back(struct broker *b, const char *worker, const char *const *holding, size_t n,
                        int64_t now_ns);
/* Same for all workers whose name starts with prefix: their server has failed. */
size_t broker_give_back_all(struct broker *b, const char *prefix, int64_t now_ns);

/* Delays that are over, leases that ended. */
void broker_tick(struct broker *b, int64_t now_ns);

/* One that was delivered too often, NULL when there is none: the caller writes it as failed,
 * whereupon broker_forget() ends it here. Each is returned once. */
const char *broker_failed(struct broker *b);

void broker_stats(const struct broker *b, struct broker_stats *ret);
