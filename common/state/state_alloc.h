/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Queries on allocations, in the manner of state.h, and what changed since an index, for those who
 * keep an image of nodes and allocations.
 */
#pragma once

#include "state/alloc_view.h"
#include "state/state.h"

/* An allocation as it lies in the store: two pieces, of which the second is merged over the first.
 */
struct state_alloc {
    char id[37];
    struct bytes placed, changed; /* borrowed from the transaction; changed may be empty */
    struct alloc_view view;       /* of both */
};

/* id: canonical text, or its 16 bytes. STORE_E_NOT_FOUND. */
int state_alloc_read(struct store_txn *t, const char *id, struct state_alloc *ret);
int state_alloc_read16(struct store_txn *t, const uint8_t id[static 16], struct state_alloc *ret);

/* Watch STATE_ALLOCS, state_key_alloc(). Body: Allocation with job and legacy resources. */
int state_alloc_get(struct store_txn *t, const char *id, struct strbuf *body, struct state_meta *m,
                    struct errtext *e);
/* The node that an allocation is on, without reading more of it. m and e as state_alloc_get(). */
int state_alloc_node(struct store_txn *t, const char *id, char ret_node_id[static 37],
                     struct state_meta *m, struct errtext *e);
/*
 * With job, for clients: without legacy resources and without a watch; those that are not there are
 * left out. Body: AllocsResponse.
 */
int state_allocs_get(struct store_txn *t, char *const *ids, size_t n, struct strbuf *body,
                     struct state_meta *m);
/* Watch table STATE_ALLOCS. Namespace may be "*". Body: AllocListResponse. */
int state_alloc_list(struct store_txn *t, const char *ns, const char *prefix, bool resources,
                     struct state_page *page, struct strbuf *body, struct state_meta *m,
                     struct errtext *e);
/* By id; all: also of purged jobs that had this id. Watch STATE_JOB_ALLOCS, NSID. */
int state_job_allocations(struct store_txn *t, const char *ns, const char *id, bool all,
                          struct state_page *page, struct strbuf *body, struct state_meta *m);
/* Watch STATE_EVAL_ALLOCS, state_key_alloc() of the evaluation. */
int state_eval_allocations(struct store_txn *t, const char *id, struct state_page *page,
                           struct strbuf *body, struct state_meta *m, struct errtext *e);
/* Whole. Watch STATE_NODE_ALLOCS, state_key_node_allocs(any). Body: AllocsResponse. */
int state_node_allocations(struct store_txn *t, const char *id, struct strbuf *body,
                           struct state_meta *m);
/*
 * What a client has to run. Watch STATE_NODE_ALLOCS, state_key_alloc() of the node: that fires only
 * when a server changed something. STATE_E_INVALID when the secret is not the node's; m->found is
 * false when there is no such node. Body: ClientAllocsResponse.
 */
int state_node_client_allocs(struct store_txn *t, const char *id, const char *secret,
                             struct strbuf *body, struct state_meta *m, struct errtext *e);

/* ---- deployments ---- */

/* Watch STATE_DEPLOYMENTS, state_key_alloc(). Body: Deployment. */
int state_deployment_get(struct store_txn *t, const char *id, struct strbuf *body,
                         struct state_meta *m, struct errtext *e);
/* Watch table STATE_DEPLOYMENTS. Namespace may be "*". Body: DeploymentListResponse. */
int state_deployment_list(struct store_txn *t, const char *ns, const char *prefix,
                          struct state_page *page, struct strbuf *body, struct state_meta *m,
                          struct errtext *e);
/* The oldest first; all: also of purged jobs that had this id. Watch STATE_JOB_DEPLOYMENTS, NSID.
 */
int state_job_deployments(struct store_txn *t, const char *ns, const char *id, bool all,
                          struct strbuf *body, struct state_meta *m);
/* The newest, or an empty body (found all the same). Watch the same. Body: Deployment. */
int state_job_latest_deployment(struct store_txn *t, const char *ns, const char *id,
                                struct strbuf *body, struct state_meta *m);
/* Stubs; none of an unknown one. Watch table STATE_ALLOCS. Body: AllocListResponse. */
int state_deployment_allocations(struct store_txn *t, const char *id, struct strbuf *body,
                                 struct state_meta *m, struct errtext *e);

/* ---- keys, for watches ---- */

/* The 16 bytes of a UUID; none (data NULL) when it is none. */
struct bytes state_key_alloc(const char *id, uint8_t buf[static STATE_KEY_MAX]);
/* Any change of an allocation on this node, by its client, too. */
#define STATE_NODE_ALLOCS_ANY     '*'
#define STATE_NODE_ALLOCS_ANY_LEN 17
struct bytes state_key_node_allocs(const char *id, uint8_t buf[static STATE_KEY_MAX]);

/* ---- what changed ---- */

/*
 * Calls fn for each allocation, node, that changed after the entry `after`, by index; until fn
 * returns non-zero, which is passed up. Deleted allocations do not show (they were not live
 * before), nor do deleted nodes: see state_deleted_index().
 */
int state_allocs_changed(struct store_txn *t, uint64_t after,
                         int (*fn)(void *user, const struct state_alloc *a), void *user);
/* What the log itself knows of a change: enough for most readers, and no row is read for it. */
struct state_alloc_change {
    uint8_t id[16];
    uint64_t modify_index, alloc_modify_index;
    bool live;
};
/* The same with these; fn reads the allocation if it must (state_alloc_read16()). */
int state_alloc_changes(struct store_txn *t, uint64_t after,
                        int (*fn)(void *user, const struct state_alloc_change *c), void *user);
/* spec: the Node as it registered, encoded (borrowed). */
int state_nodes_changed(struct store_txn *t, uint64_t after,
                        int (*fn)(void *user, const struct state_node *n, struct bytes spec),
                        void *user);
/* Index of the last deletion from STATE_ALLOCS or STATE_NODES, 0 = never. When it is after a
 * reader's last look at the nodes, the reader compares its nodes with state_nodes_each(). */
int state_deleted_index(struct store_txn *t, enum state_table table, uint64_t *ret);
/* Live allocations of the node, by id: fn as above. */
int state_node_allocs_each(struct store_txn *t, const char *node_id,
                           int (*fn)(void *user, const struct state_alloc *a), void *user);
/* All allocations of the job (whatever job had its id), by id: fn as above. */
int state_job_allocs_each(struct store_txn *t, const char *ns, const char *id,
                          int (*fn)(void *user, const struct state_alloc *a), void *user);

/*
 * The job as it was in that version of that incarnation, for an allocation: spec, then the fields
 * that the state sets (protobuf merges the two). STORE_E_NOT_FOUND. Borrowed from t.
 */
int state_job_version(struct store_txn *t, const char *ns, const char *id, uint64_t create_index,
                      uint64_t version, struct bytes *ret_spec, struct bytes *ret_server);
