/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Queries over one read transaction: what the RPC handlers of raftd and, on the same node, apid
 * answer reads from. Each appends an encoded reply body (the type named in rpc_methods.h) to
 * *body and fills *m. Rows are copied, not decoded, so a list costs little more than its bytes.
 *
 * m->index is X-Nomad-Index (reference: blocking queries): a list's is the highest index of the
 * tables that it shows; an object's its modify index, or its table's when there is none. A blocking
 * query watches what the comment says (watch.h) and runs again when that fires.
 *
 * Errors: 0 (also when not found: m->found is false and nothing is appended); STATE_E_INVALID when
 * an id or prefix is no UUID or part of one, with Nomad's text in *e (status 500); -errno.
 * A namespace of "*" means all where said; an empty namespace or prefix is "default" and none.
 */
#pragma once

#include "base/base.h"
#include "base/err.h"
#include "base/strbuf.h"
#include "state/store.h"

enum { STATE_E_INVALID = 1 };

struct state_meta {
    uint64_t index;
    bool found;
};

/*
 * For lists in parts: at most about bytes_max bytes (one row at least), beginning at the key that
 * the part before left here. Start with {.bytes_max = n}; NULL in a query = all in one.
 */
struct state_page {
    size_t bytes_max;
    uint8_t next[STATE_KEY_MAX];
    size_t next_len;
    bool more; /* set by the query: another part follows */
};

/* Watch STATE_JOBS, NSID. Body: Job. */
int state_job_get(struct store_txn *t, const char *ns, const char *id, struct strbuf *body,
                  struct state_meta *m);
/* Watch tables STATE_JOBS and STATE_JOB_SUMMARIES. Namespace may be "*". Body: JobListResponse. */
int state_job_list(struct store_txn *t, const char *ns, const char *prefix, struct state_page *page,
                   struct strbuf *body, struct state_meta *m);
/* Newest first; found is false when there is none. Watch STATE_JOB_VERSIONS, NSID. */
int state_job_versions(struct store_txn *t, const char *ns, const char *id, struct strbuf *body,
                       struct state_meta *m);
/* Watch STATE_JOB_SUMMARIES, NSID. */
int state_job_summary(struct store_txn *t, const char *ns, const char *id, struct strbuf *body,
                      struct state_meta *m);
/* By evaluation id; always found. Watch STATE_JOB_EVALS, NSID. Body: EvalListResponse. */
int state_job_evaluations(struct store_txn *t, const char *ns, const char *id, struct strbuf *body,
                          struct state_meta *m);

/* Watch STATE_EVALS, id. */
int state_eval_get(struct store_txn *t, const char *id, struct strbuf *body, struct state_meta *m,
                   struct errtext *e);
/* Watch table STATE_EVALS. Namespace may be "*". */
int state_eval_list(struct store_txn *t, const char *ns, const char *prefix,
                    struct state_page *page, struct strbuf *body, struct state_meta *m,
                    struct errtext *e);

/* Watch STATE_NODES, id. The secret is left out. */
int state_node_get(struct store_txn *t, const char *id, struct strbuf *body, struct state_meta *m,
                   struct errtext *e);
/* Watch table STATE_NODES. */
int state_node_list(struct store_txn *t, const char *prefix, bool resources,
                    struct state_page *page, struct strbuf *body, struct state_meta *m,
                    struct errtext *e);
/* Body: SearchResponse without last_contact and known_leader. Contexts "jobs" "evals" "nodes", ""
 * and "all" for each of them; another one that Nomad knows gives no matches, an unknown one
 * STATE_E_INVALID. At most 20 ids each. */
int state_search(struct store_txn *t, const char *ns, const char *prefix, const char *context,
                 struct strbuf *body, struct state_meta *m, struct errtext *e);

/* ---- for the servers themselves ---- */

/* Last applied entry; zeros in an empty store. */
int state_applied(struct store_txn *t, uint64_t *ret_index, uint64_t *ret_term);
/* The last applied configuration entry: its index (0 = none) and bytes (borrowed from t). */
int state_configuration(struct store_txn *t, uint64_t *ret_index, struct bytes *ret);
/* Index of the last change to a table, 0 = never. */
int state_table_index(struct store_txn *t, enum state_table table, uint64_t *ret);

/* What heartbeat timers and handlers want of a node without its 8 KiB of attributes. */
struct state_node {
    char id[37];
    char secret_id[65];
    char status[17];
    char eligibility[17];
    uint64_t create_index, modify_index;
};
/* Calls fn for each node by id, until it returns non-zero, which is passed up. */
int state_nodes_each(struct store_txn *t, int (*fn)(void *user, const struct state_node *node),
                     void *user);
/* m->index as state_node_get(). */
int state_node_row(struct store_txn *t, const char *id, struct state_node *ret,
                   struct state_meta *m, struct errtext *e);

/* What handlers want of a job without its spec. */
struct state_job {
    uint64_t version, create_index, modify_index, job_modify_index;
    char type[17];
    int priority;
    bool stop, stable, periodic, parameterized, dispatched;
    bool dead; /* its status */
    int64_t submit_time;
};
int state_job_row(struct store_txn *t, const char *ns, const char *id, struct state_job *ret,
                  struct state_meta *m);

/* ---- keys, for watches ---- */

/* "NAMESPACE NUL ID" into buf; returns its bytes, or none (data NULL) when it is over the bounds.
 */
struct bytes state_key_job(const char *ns, const char *id, uint8_t buf[static STATE_KEY_MAX]);
/* A UUID's canonical text (lower case) into buf; none when it is no UUID. */
struct bytes state_key_uuid(const char *id, uint8_t buf[static STATE_KEY_MAX]);
