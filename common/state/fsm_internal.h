/* SPDX-License-Identifier: MPL-2.0 */
/* The inside of the state machine: the frame that every command's function gets. */
#pragma once

#include "state/fsm.h"
#include "state/rows.h"

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

/* ---- evaluations, for jobs ---- */

/* A new evaluation of a job in state pending. */
struct fsm_eval_new {
    const char *id, *ns, *job_id, *type, *triggered_by;
    int priority;
    uint64_t job_modify_index;
};
/* Refuses an id that is no UUID or taken. */
int fsm_eval_check_new(struct fsm_ctx *c, const char *id);
/* Writes it (checked before), at this entry's index; drops an old one when the job has too many. */
int fsm_eval_create(struct fsm_ctx *c, struct bytes nsid, const struct fsm_eval_new *e);
/* Deletes all evaluations of a job. */
int fsm_eval_purge(struct fsm_ctx *c, struct bytes nsid);
/* Has it any, and one that is not terminal? */
struct fsm_eval_census {
    unsigned n;
    bool open;
};
int fsm_eval_census(struct fsm_ctx *c, struct bytes nsid, struct fsm_eval_census *ret);

/* ---- jobs, for evaluations ---- */

/*
 * After its evaluations changed: queued counts of groups into the summary, status of the job anew,
 * stub. No effect when there is no such job.
 */
struct fsm_queued {
    const char *group;
    int32_t queued;
};
int fsm_job_refresh(struct fsm_ctx *c, struct bytes nsid, const struct fsm_queued *queued,
                    size_t queued_n);
