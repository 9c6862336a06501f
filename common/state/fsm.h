/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The state machine over a store: applies the entries of the Raft log, in order, in one write
 * transaction a batch. The same entries give the same bytes in every replicated table, on every
 * server and in both stores: no clock, no random, no unordered iteration; times and ids come in the
 * command. Nothing in a command can fail the machine: a broken, unknown or refused one has an error
 * as its result and no effect but the applied index.
 *
 * One thread. Blocking: an LMDB commit without sync, some microseconds an entry.
 */
#pragma once

#include "base/base.h"
#include "state/command.h"
#include "state/store.h"
#include "state/watch.h"

enum fsm_entry_kind {
    FSM_ENTRY_NOOP,          /* the leader's first of a term, barriers */
    FSM_ENTRY_COMMAND,       /* command.h */
    FSM_ENTRY_CONFIGURATION, /* the servers of the group; opaque here, kept with the data */
};

struct fsm_entry {
    uint64_t index, term;
    enum fsm_entry_kind kind;
    struct bytes data;
};

/* What became of an entry; body and error live until the next call of fsm_apply_batch(). */
struct fsm_result {
    unsigned code;     /* 0, or the HTTP status that fits the refusal (400, 404, 500) */
    const char *error; /* text for people, "" when code is 0 */
    struct bytes body; /* code 0: the encoded reply below; more fields may be appended to it */
    uint64_t index;    /* the entry's, or with a repeated idempotency key the first one's */
};

/*
 * Replies: JOB_REGISTER JobRegisterResponse (eval_id eval_create_index job_modify_index index),
 * JOB_DEREGISTER JobDeregisterResponse, NODE_REGISTER and NODE_STATUS NodeUpdateResponse (index
 * node_modify_index eval_ids eval_create_index), NODE_ELIGIBILITY NodeEligibilityResponse,
 * NODE_EVALUATE NodeEvaluateResponse, NODE_DEREGISTER, EVAL_UPDATE and ALLOC_CLIENT_UPDATE
 * GenericResponse, ALLOC_TRANSITION AllocStopResponse or JobRegisterResponse, PLAN_APPLY PlanResult
 * (index placed stopped), CONFIG_PUT ConfigPutResponse, NOOP and the other kinds an empty body.
 */

struct fsm;

/* Borrows both; watches may be NULL. Reads what the store has. -errno. */
int fsm_new(struct store *store, struct watch_set *watches, struct fsm **ret);
struct fsm *fsm_free(struct fsm *f);
DEFINE_CLEANUP(struct fsm, fsm_free)

/*
 * Applies n entries of rising index in one transaction. Entries at or below the applied index are
 * passed over (result code 0, empty). results has room for n, or is NULL (followers). Watches fire
 * after the commit, within this call. On -errno (disk full, file broken) nothing is applied and the
 * caller cannot go on.
 */
int fsm_apply_batch(struct fsm *f, const struct fsm_entry *entries, size_t n,
                    struct fsm_result *results);

/*
 * The same, but asks after each entry whether it was enough for now: the rest is left to the next
 * call. *ret_n entries (one at least) were applied. How entries are cut into transactions changes
 * nothing in the state.
 */
int fsm_apply_until(struct fsm *f, const struct fsm_entry *entries, size_t n,
                    struct fsm_result *results, bool (*enough)(void *user), void *user,
                    size_t *ret_n);

/* Last applied entry; 0, 0 in an empty store. */
uint64_t fsm_applied_index(const struct fsm *f);
uint64_t fsm_applied_term(const struct fsm *f);

/*
 * What a batch changed, for those who act on it (the leader's broker, blocked evaluations). Texts
 * and bytes are borrowed: they live for the call.
 */
enum fsm_change_kind {
    FSM_CHANGE_EVAL,
    FSM_CHANGE_ALLOC,
    FSM_CHANGE_NODE,
    FSM_CHANGE_JOB,    /* registered, stopped, purged (deleted), evaluated; no id */
    FSM_CHANGE_CONFIG, /* `id` is too short for its name: see `text` */
};

struct fsm_change {
    enum fsm_change_kind kind;
    uint64_t index; /* of the entry that changed it */
    bool created, deleted;
    char id[37];            /* EVAL, ALLOC, NODE */
    struct bytes namespace; /* EVAL, ALLOC, JOB */
    struct bytes job_id;    /* EVAL, ALLOC, JOB */
    struct bytes text;      /* EVAL: the Evaluation, encoded (none when deleted); CONFIG: name */

    /* EVAL. Before: of a created one PENDING. */
    enum state_eval_status eval_was, eval_is;

    /* ALLOC. Live: neither stopped by a server nor finished on its client. */
    char node_id[37];
    bool was_live, is_live;

    /* NODE. Ready: status ready, eligible, not draining. */
    bool was_ready, is_ready;
    bool registered; /* its attributes may have changed */

    /* JOB. */
    bool stopped; /* or purged: what waits for it waits in vain */
};
typedef void fsm_observer_fn(void *user, const struct fsm_change *change);

/*
 * From now on fn is called after the commit of each batch, once for each changed object and entry,
 * in the order of the log, before fsm_apply_batch() returns and after the watches fired. It may
 * read the store in a transaction of its own, and apply nothing. fn NULL: nobody listens, and
 * noting costs nothing (followers).
 */
void fsm_observe(struct fsm *f, fsm_observer_fn *fn, void *user);

/* After a restore replaced the store's contents: reads them anew and wakes every watch. */
int fsm_reload(struct fsm *f);
