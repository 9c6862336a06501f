/* SPDX-License-Identifier: MPL-2.0 */
/* The inside of the state machine: the frame that every command's function gets. */
#pragma once

#include "state/alloc_view.h"
#include "state/fsm.h"
#include "state/rows.h"
#include "job.pb.h"

enum { FSM_E_REFUSED = 1 }; /* the result says why; nothing was written */

struct fsm {
    struct store *store;
    struct watch_set *watches; /* may be NULL */
    uint64_t applied_index, applied_term;
    uint64_t table_index[STATE_TABLE_COUNT];
    bool table_dirty[STATE_TABLE_COUNT];
    struct strbuf replies;   /* bodies and error texts of the batch under way */
    struct strbuf row, a, b; /* scratch */
    struct fsm_reply *reply; /* of the entry under way */
    struct fsm_reply *replies_v;
    size_t replies_cap;

    fsm_observer_fn *observer; /* NULL: nothing is noted */
    void *observer_user;
    struct fsm_noted *noted;
    size_t noted_n, noted_cap;
    struct strbuf noted_text;

    struct fsm_works *works; /* fsm_tally.c; NULL until one is needed */
};

/* A change whose borrowed bytes still are offsets into `noted_text`, which may move. */
struct fsm_noted {
    struct fsm_change change;
    size_t at; /* namespace, job id, text, one behind the other */
};

/* A result whose texts still are offsets into `replies`, which may move. */
struct fsm_reply {
    unsigned code;
    size_t at, len;
    uint64_t index;
};

/* One entry being applied. */
struct fsm_ctx {
    struct fsm *f;
    struct store_txn *t;
    uint64_t index;
    const struct command *cmd;
    struct strbuf *body; /* append the reply here */
};

/* Sets the result; returns FSM_E_REFUSED. Before the first write of a command only. */
int fsm_refuse(struct fsm_ctx *c, unsigned code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The table has changed at this key: index, watches. */
void fsm_touch(struct fsm_ctx *c, enum state_table table, struct bytes key);

/*
 * Notes a change for the observer: index is set here, namespace, job_id and text are copied. No
 * effect when nobody listens.
 */
void fsm_note(struct fsm_ctx *c, const struct fsm_change *change);
/* The two halves of "NS NUL ID". */
struct bytes fsm_nsid_ns(struct bytes nsid);
struct bytes fsm_nsid_id(struct bytes nsid);

/* Decodes the command's body; a broken one is refused. */
int fsm_body(struct fsm_ctx *c, const pb_msgdesc_t *fields, void *msg, size_t msg_size);

/* A UUID in canonical text: lower case, as it is stored. NULL is none. */
bool fsm_uuid_valid(const char *id);

/* One per command: 0, FSM_E_REFUSED or -errno. */
int fsm_job_register(struct fsm_ctx *c);
int fsm_job_deregister(struct fsm_ctx *c);
int fsm_node_register(struct fsm_ctx *c);
int fsm_node_status(struct fsm_ctx *c);
int fsm_node_eligibility(struct fsm_ctx *c);
int fsm_node_deregister(struct fsm_ctx *c);
int fsm_eval_update(struct fsm_ctx *c);
int fsm_config_put(struct fsm_ctx *c);
int fsm_plan_apply(struct fsm_ctx *c);
int fsm_alloc_client_update(struct fsm_ctx *c);
int fsm_alloc_transition(struct fsm_ctx *c);
int fsm_node_evaluate(struct fsm_ctx *c);
int fsm_reap(struct fsm_ctx *c);

/* ---- what is of no use any more: no effect on what is in use again, or gone ---- */

int fsm_eval_reap(struct fsm_ctx *c, const char *id);
int fsm_node_reap(struct fsm_ctx *c, const char *id);
int fsm_deployment_reap(struct fsm_ctx *c, const char *id);
/* Deletes a job and its evaluations, keeps what allocations need of it. */
int fsm_job_forget(struct fsm_ctx *c, struct bytes nsid, const steppe_JobRow *row);

/* ---- evaluations, for jobs ---- */

/* A new evaluation of a job in state pending. */
struct fsm_eval_new {
    const char *id, *ns, *job_id, *type, *triggered_by;
    int priority;
    uint64_t job_modify_index;
    const char *node_id; /* or NULL: of which node this is about, and */
    uint64_t node_modify_index;
};
/* Refuses an id that is no UUID or taken. */
int fsm_eval_check_new(struct fsm_ctx *c, const char *id);
/* Writes it (checked before), at this entry's index; drops an old one when the job has too many. */
int fsm_eval_create(struct fsm_ctx *c, struct bytes nsid, const struct fsm_eval_new *e);
/* Deletes all evaluations of a job. */
int fsm_eval_purge(struct fsm_ctx *c, struct bytes nsid);
/* An encoded Evaluation within a command: refuses what cannot be written. */
int fsm_eval_check(struct fsm_ctx *c, struct bytes evaluation);
/* Writes one that was checked: new, or over what is there. */
int fsm_eval_put(struct fsm_ctx *c, struct bytes evaluation);

/* ---- deployments ---- */

/* An encoded Deployment within a command: refuses what cannot be written. */
int fsm_deployment_check(struct fsm_ctx *c, struct bytes deployment);
/* Writes one that was checked: new, or over what is there. */
int fsm_deployment_put(struct fsm_ctx *c, struct bytes deployment);
/* What became of one of its allocations. */
struct fsm_deployed {
    int placed, healthy, unhealthy; /* more or fewer */
    int64_t timestamp;              /* when it became healthy */
    const char *canary;             /* id of a canary that was placed, or NULL */
};
/* Counts it; no effect when there is no such deployment or group. Nothing may lie in the store. */
int fsm_deployment_count(struct fsm_ctx *c, struct bytes deployment_id, struct bytes group,
                         const struct fsm_deployed *what);

/* ---- jobs, for evaluations and allocations ---- */

/*
 * After its evaluations changed: queued counts of groups into the summary, status of the job anew,
 * stub. No effect when there is no such job.
 */
struct fsm_queued {
    const char *group;
    int32_t queued;
};
int fsm_job_refresh(struct fsm_ctx *c, struct bytes nsid, const struct fsm_queued *queued,
                    size_t queued_n, bool summary_changed);
int fsm_summary_put(struct fsm_ctx *c, struct bytes nsid, const steppe_JobSummary *s);
/* STORE_E_NOT_FOUND when there is no such job. */
int fsm_job_read(struct fsm_ctx *c, struct bytes nsid, steppe_JobRow *ret);

/* ---- allocations and their jobs: fsm_tally.c ---- */

/* How many allocations and evaluations a job has, of all jobs that had its id. */
struct fsm_tally {
    uint64_t live, all; /* allocations */
    uint64_t evals, open,
        blocked; /* evaluations; open: not terminal, the blocked ones among them */
};
int fsm_tally_read(struct fsm_ctx *c, struct bytes nsid, struct fsm_tally *ret);
/* Not between fsm_works_move() and fsm_works_flush(), which writes the same row. */
int fsm_tally_write(struct fsm_ctx *c, struct bytes nsid, const struct fsm_tally *tally);

/* A change of one allocation, as its job sees it. */
struct fsm_alloc_move {
    struct bytes group;
    uint64_t job_create_index;
    bool created, deleted;
    enum alloc_client_status was, is;
    bool was_live, is_live;
};
/* Counts it; what comes of it is written by fsm_works_flush(). */
int fsm_works_move(struct fsm_ctx *c, struct bytes nsid, const struct fsm_alloc_move *m);
/* One allocation more (1) or fewer (-1) that needs this version. */
void fsm_spec_use(struct fsm_ctx *c, struct bytes nsid, uint64_t create_index, uint64_t version,
                  int delta);
/* Gathers what became of an allocation of a deployment, for fsm_deployment_count(). */
void fsm_works_deployed(struct fsm_ctx *c, struct bytes id, struct bytes group,
                        const struct fsm_deployed *what);
/* A version's row is about to go: keeps it if allocations need it. The row may lie in the store. */
int fsm_spec_keep(struct fsm_ctx *c, struct bytes nsid, uint64_t create_index, uint64_t version,
                  struct bytes version_row);
/* At the end of a command: summaries, tallies, states and stubs of the jobs that it changed. */
int fsm_works_flush(struct fsm_ctx *c);
/* Forgets what was counted. */
void fsm_works_reset(struct fsm *f);
void fsm_works_free(struct fsm *f);
