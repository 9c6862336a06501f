/* SPDX-License-Identifier: MPL-2.0 */
/*
 * For the tests and the benchmark of common/state: a store of either kind in a folder of its own,
 * a state machine over it, and commands made from a few words.
 */
#pragma once

#include <stdlib.h>

#include "base/log.h"
#include "state/fsm.h"
#include "state/snapshot.h"
#include "state/state.h"

/* What a test takes for granted, outside of Check's own functions too. */
#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            log_error("%s:%d: %s", __FILE__, __LINE__, #cond);                                     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum test_kind { TEST_MEM, TEST_LMDB, TEST_KINDS };

struct test_state {
    enum test_kind kind;
    char *path; /* of the LMDB folder */
    struct store *store;
    struct watch_set *watches;
    struct fsm *fsm;
    uint64_t index;           /* of the last entry applied */
    int64_t now;              /* ns, goes up by a second an entry */
    struct prng *ids;         /* if set, where UUIDs come from */
    const char *key;          /* idempotency key of the next commands, or NULL */
    struct strbuf *record;    /* if set: le32 length and bytes of each command */
    struct fsm_result result; /* of the last entry */
    struct strbuf body;       /* copy of its body, NUL terminated error otherwise */
};

#define TEST_BOOT  "0b6f3a52-0000-4000-8000-000000000001"
#define TEST_NOW_S INT64_C(1790000000)

void test_state_init(struct test_state *ts, enum test_kind kind);
void test_state_fini(struct test_state *ts); /* removes the folder */

/* Applies one command at the next index; returns the result's code. */
unsigned test_apply(struct test_state *ts, enum command_type type, const void *body,
                    const struct bytes *blobs, size_t blobs_n);

/* Processor time of this thread, in seconds since an earlier moment: what benchmarks count. */
struct mono_ns test_cpu_now(void);
double test_cpu_since(struct mono_ns from);

/* "00000000-0000-4000-8000-0000000000NN" in a static ring of buffers. */
const char *test_uuid(unsigned n);

/* What a job registration is made of; zero = the defaults of an ordinary service job. */
struct test_job {
    const char *id, *ns, *type, *eval_id;
    const char *groups; /* names, one character each; "g" */
    const char *extra;  /* goes into the spec: another text, another spec */
    size_t spec_len;    /* pads the spec to this many bytes */
    bool periodic, parameterized, enforce_index, stop;
    uint64_t job_modify_index;
    int reschedule; /* attempts a group has in an hour, -1: without bound, 0: no groups in the spec
                     */
};
unsigned test_job_register(struct test_state *ts, const struct test_job *j);
unsigned test_job_deregister(struct test_state *ts, const char *ns, const char *id, bool purge,
                             const char *eval_id);
/* Only the command's bytes. */
void test_job_command(struct strbuf *out, const struct test_job *j, int64_t now);

struct test_node {
    const char *id, *secret, *status, *name;
    uint64_t eval_seed;
};
unsigned test_node_register(struct test_state *ts, const struct test_node *n);
unsigned test_node_status(struct test_state *ts, const char *id, const char *status,
                          const char *event);
unsigned test_eval_status(struct test_state *ts, const char *id, const char *job_id,
                          const char *status, const char *group, int queued);

/* ---- allocations ---- */

/* What a placement is made of; NULL: "g" as group, "pending", nothing. */
struct test_placement {
    const char *id, *node, *eval, *job, *group, *client, *desired, *previous, *deployment;
    const char *metrics; /* name of a datacenter: with metrics */
    uint64_t create_index, version;
    int cpu; /* > 0: with resources */
    bool canary;
};
struct test_stop {
    const char *id, *node, *desired, *description, *client, *followup;
};
struct test_plan {
    const char *deployment, *deployment_job; /* with group "g", a progress deadline of 600 s */
    const char *deployment_status;           /* "running" */
    struct test_placement place[4];
    struct test_stop stop[4];
    const char *rejected[4];
    const char *eval_id, *eval_job; /* a follow-up evaluation */
};
unsigned test_plan(struct test_state *ts, const struct test_plan *p);
/* The bytes of one placement. */
void test_place_encode(const struct test_placement *p, struct strbuf *out);
/* A node command with a seed for evaluations. */
unsigned test_node_turn(struct test_state *ts, const char *id, const char *status, uint64_t seed);
/* One allocation's status with one task state; description "" is none. */
unsigned test_client_update(struct test_state *ts, const char *node, const char *id,
                            const char *status, const char *description);
/* It failed, with an evaluation of its job. */
unsigned test_client_failed(struct test_state *ts, const char *node, const char *id,
                            const char *job, const char *eval_id);
/* Its verdict on health. */
unsigned test_client_health(struct test_state *ts, const char *node, const char *id, bool healthy);
/* One of each, NULL: none. */
struct test_reap {
    const char *eval, *alloc, *job, *node, *deployment;
};
unsigned test_reap(struct test_state *ts, const struct test_reap *what);
/* Wishes that it migrates; eval_id NULL: no evaluation. */
unsigned test_transition(struct test_state *ts, const char *id, const char *job,
                         const char *eval_id);
/*
 * Recounts all indexes, logs, tallies and kept specs from the allocations themselves; ends the
 * program when one of them lies.
 */
void test_allocs_check(struct test_state *ts);

/* The whole stream of a snapshot of the store. */
void test_dump(struct store *store, struct strbuf *out);
