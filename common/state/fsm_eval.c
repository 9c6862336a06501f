/* SPDX-License-Identifier: MPL-2.0 */
/* Evaluations: created with a job's change, updated by schedulers, a bounded number per job. */
#include "state/fsm_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "job.pb.h"
#include "member.pb.h"
#include "rpc.pb.h"

static bool fsm_eval_terminal(unsigned status)
{
    return status >= STATE_EVAL_COMPLETE;
}

/* ---- the index by job ---- */

/* A position in JOB_EVALS of one job. */
struct fsm_eval_ref {
    struct row_key key;
    char id[UUID_TEXT_LEN + 1];
    unsigned status;
};

static void fsm_eval_ref_set(struct fsm_eval_ref *ref, struct bytes key, size_t id_at,
                             unsigned status)
{
    ref->key = (struct row_key){0};
    row_key_add(&ref->key, key.data, key.len);
    snprintf(ref->id, sizeof(ref->id), "%.*s", (int)(key.len - id_at), key.data + id_at);
    ref->status = status;
}

/* The oldest one, or the oldest that is done. STORE_E_NOT_FOUND. */
static int fsm_eval_oldest(struct fsm_ctx *c, struct bytes nsid, bool terminal,
                           struct fsm_eval_ref *ret)
{
    struct bytes key, value;
    struct store_cursor cur;
    struct row_key prefix;
    bool found = false;
    int r;

    row_key_of_job(&prefix, nsid);
    r = store_scan(c->t, STATE_JOB_EVALS, row_key_bytes(&prefix), &cur);
    while (r == 0 && !found && (r = store_next(&cur, &key, &value)) == 0) {
        size_t id_at = prefix.len + ROW_JOB_EVAL_TAIL;

        if (key.len <= id_at || value.len != 1) {
            r = -EBADMSG;
            break;
        }
        found = !terminal || fsm_eval_terminal(value.data[0]);
        if (found)
            fsm_eval_ref_set(ret, key, id_at, value.data[0]);
    }
    store_scan_end(&cur);
    return r;
}

/* One more (1) or fewer (-1) of a status. */
static void fsm_eval_count(struct fsm_tally *tally, unsigned status, int delta)
{
    tally->evals += (uint64_t)delta;
    if (!fsm_eval_terminal(status))
        tally->open += (uint64_t)delta;
    if (status == STATE_EVAL_BLOCKED)
        tally->blocked += (uint64_t)delta;
}

static int fsm_eval_drop(struct fsm_ctx *c, struct bytes nsid, const struct fsm_eval_ref *ref)
{
    struct fsm_change ch = {
        .kind = FSM_CHANGE_EVAL,
        .deleted = true,
        .namespace = fsm_nsid_ns(nsid),
        .job_id = fsm_nsid_id(nsid),
        .eval_was = ref->status,
        .eval_is = ref->status,
    };
    struct fsm_tally tally;
    int r = store_del(c->t, STATE_JOB_EVALS, row_key_bytes(&ref->key));

    if (r == 0)
        r = store_del(c->t, STATE_EVALS, bytes_text(ref->id));
    if (r == 0)
        r = fsm_tally_read(c, nsid, &tally);
    if (r == 0) {
        fsm_eval_count(&tally, ref->status, -1);
        r = fsm_tally_write(c, nsid, &tally);
    }
    fsm_touch(c, STATE_EVALS, bytes_text(ref->id));
    memcpy(ch.id, ref->id, sizeof(ch.id));
    fsm_note(c, &ch);
    return r < 0 ? err_trace(r) : 0;
}

int fsm_eval_purge(struct fsm_ctx *c, struct bytes nsid)
{
    for (;;) {
        struct fsm_eval_ref ref;
        int r = fsm_eval_oldest(c, nsid, false, &ref);

        if (r == 0)
            r = fsm_eval_drop(c, nsid, &ref);
        if (r)
            return r == STORE_E_NOT_FOUND ? 0 : err_trace(r);
    }
}

/*
 * Room for one more: the oldest that is done goes. One that is not done may be all that remembers
 * a delayed retry, so the oldest of those goes only when there are absurdly many.
 */
static int fsm_eval_make_room(struct fsm_ctx *c, struct bytes nsid)
{
    struct fsm_eval_ref ref;
    struct fsm_tally tally;
    bool terminal;
    int r = fsm_tally_read(c, nsid, &tally);

    if (r || tally.evals < STATE_JOB_EVALS_MAX)
        return r;
    terminal = tally.evals > tally.open;
    if (!terminal && tally.evals < STATE_JOB_EVALS_OPEN_MAX)
        return 0;
    r = fsm_eval_oldest(c, nsid, terminal, &ref);
    if (r)
        return err_trace(r > 0 ? -EBADMSG : r);
    return fsm_eval_drop(c, nsid, &ref);
}

/* ---- rows ---- */

static const char *fsm_eval_wrong(const steppe_Evaluation *e, struct row_key *nsid,
                                  enum state_eval_status *status);

/* What it counts for its job. */
static int fsm_eval_tally(struct fsm_ctx *c, struct bytes nsid, bool fresh,
                          enum state_eval_status was, enum state_eval_status status)
{
    struct fsm_tally tally;
    int r;

    if (!fresh && was == status)
        return 0;
    r = fsm_tally_read(c, nsid, &tally);
    if (r)
        return r;
    if (!fresh)
        fsm_eval_count(&tally, was, -1);
    fsm_eval_count(&tally, status, 1);
    return fsm_tally_write(c, nsid, &tally);
}

/* The row of a new (fresh) or changed evaluation, and its place in the index by job. */
static int fsm_eval_write(struct fsm_ctx *c, struct bytes nsid, const steppe_Evaluation *e,
                          bool fresh, enum state_eval_status was, enum state_eval_status status)
{
    struct fsm_change ch = {
        .kind = FSM_CHANGE_EVAL,
        .created = fresh,
        .namespace = bytes_text(e->namespace),
        .job_id = bytes_text(e->job_id),
        .eval_was = was,
        .eval_is = status,
    };
    uint8_t state = (uint8_t)status, head[1 + STATE_NAMESPACE_LEN_MAX];
    size_t ns_len = strlen(e->namespace);
    struct row_key by_job;
    int r;

    assert(ns_len <= STATE_NAMESPACE_LEN_MAX);
    head[0] = (uint8_t)ns_len;
    memcpy(head + 1, e->namespace, ns_len);
    strbuf_reset(&c->f->a);
    r = row_encode(steppe_Evaluation_fields, e, &c->f->a);
    if (r)
        return r;
    row_list_write(&c->f->row, bytes_of(head, 1 + ns_len), strbuf_bytes(&c->f->a),
                   (struct bytes){0});
    row_key_job_eval(&by_job, nsid, e->create_index, e->id);
    assert(!by_job.failed);
    r = store_put(c->t, STATE_EVALS, bytes_text(e->id), strbuf_bytes(&c->f->row));
    if (r == 0)
        r = store_put(c->t, STATE_JOB_EVALS, row_key_bytes(&by_job), bytes_of(&state, 1));
    if (r == 0)
        r = fsm_eval_tally(c, nsid, fresh, was, status);
    fsm_touch(c, STATE_EVALS, bytes_text(e->id));
    fsm_touch(c, STATE_JOB_EVALS, nsid);
    ch.text = strbuf_bytes(&c->f->a);
    memcpy(ch.id, e->id, sizeof(ch.id));
    fsm_note(c, &ch);
    return r ? err_trace(r) : 0;
}

/* Reads one; on 0 the caller releases it. STORE_E_NOT_FOUND. */
static int fsm_eval_read(struct fsm_ctx *c, const char *id, steppe_Evaluation *ret)
{
    struct bytes row, ns, content;
    size_t head;
    int r = store_get(c->t, STATE_EVALS, bytes_text(id), &row);

    if (r == 0)
        r = row_eval_head(row, &ns, &head);
    if (r == 0)
        r = row_list_content(row, head, &content);
    if (r == 0)
        r = row_decode(steppe_Evaluation_fields, content, ret, sizeof(*ret));
    return r;
}

int fsm_eval_reap(struct fsm_ctx *c, const char *id)
{
    enum state_eval_status status = STATE_EVAL_PENDING;
    struct fsm_eval_ref ref = {0};
    steppe_Evaluation e;
    struct row_key nsid;
    int r = fsm_eval_read(c, id, &e);

    if (r)
        return r < 0 ? err_trace(r) : 0;
    if (!fsm_eval_wrong(&e, &nsid, &status) && fsm_eval_terminal(status)) {
        row_key_job_eval(&ref.key, row_key_bytes(&nsid), e.create_index, e.id);
        snprintf(ref.id, sizeof(ref.id), "%s", e.id);
        ref.status = status;
        r = fsm_eval_drop(c, row_key_bytes(&nsid), &ref);
        fsm_touch(c, STATE_JOB_EVALS, row_key_bytes(&nsid));
    }
    row_release(steppe_Evaluation_fields, &e);
    return r;
}

/* Two rows of one id would make the index by job lie. */
int fsm_eval_check_new(struct fsm_ctx *c, const char *id)
{
    struct bytes row;
    int r;

    if (!fsm_uuid_valid(id))
        return fsm_refuse(c, 400, "evaluation without a valid ID");
    r = store_get(c->t, STATE_EVALS, bytes_text(id), &row);
    if (r == 0)
        return fsm_refuse(c, 400, "evaluation %s exists", id);
    return r < 0 ? err_trace(r) : 0;
}

int fsm_eval_create(struct fsm_ctx *c, struct bytes nsid, const struct fsm_eval_new *n)
{
    steppe_Evaluation e = steppe_Evaluation_init_zero;
    int r = fsm_eval_make_room(c, nsid);

    if (r)
        return r;
    e.id = (char *)n->id;
    e.namespace = (char *)n->ns;
    e.priority = n->priority;
    e.type = (char *)n->type;
    e.triggered_by = (char *)n->triggered_by;
    e.job_id = (char *)n->job_id;
    e.job_modify_index = n->job_modify_index;
    e.node_id = (char *)n->node_id;
    e.node_modify_index = n->node_modify_index;
    e.status = (char *)state_eval_status_name(STATE_EVAL_PENDING);
    e.create_index = e.modify_index = c->index;
    e.create_time = e.modify_time = c->cmd->now.ns;
    return fsm_eval_write(c, nsid, &e, true, STATE_EVAL_PENDING, STATE_EVAL_PENDING);
}

/* ---- the command ---- */

/* What a valid update must have; the rest is the scheduler's business. */
static const char *fsm_eval_wrong(const steppe_Evaluation *e, struct row_key *nsid,
                                  enum state_eval_status *status)
{
    if (!fsm_uuid_valid(e->id))
        return "evaluation without a valid ID";
    row_key_job(nsid, e->namespace ? e->namespace : "", e->job_id ? e->job_id : "");
    if (nsid->failed)
        return "evaluation without a namespace and job";
    if (!e->status || !state_eval_status_parse(e->status, status))
        return "invalid evaluation status";
    return NULL;
}

/* A scheduler placed all (for the evaluation `but`): what was blocked is of no use any more. */
static int fsm_eval_cancel_blocked(struct fsm_ctx *c, struct bytes nsid, const char *but)
{
    char ids[STATE_JOB_EVALS_MAX][UUID_TEXT_LEN + 1];
    struct row_key prefix;
    struct store_cursor cur;
    struct bytes key, value;
    struct fsm_tally tally;
    size_t n = 0;
    int r = fsm_tally_read(c, nsid, &tally);

    if (r || tally.blocked == 0)
        return r;
    row_key_of_job(&prefix, nsid);
    r = store_scan(c->t, STATE_JOB_EVALS, row_key_bytes(&prefix), &cur);
    while (r == 0 && n < MIN(tally.blocked, STATE_JOB_EVALS_MAX) &&
           (r = store_next(&cur, &key, &value)) == 0) {
        struct fsm_eval_ref ref;

        fsm_eval_ref_set(&ref, key, prefix.len + ROW_JOB_EVAL_TAIL, value.data[0]);
        if (ref.status == STATE_EVAL_BLOCKED && strcmp(ref.id, but) != 0)
            memcpy(ids[n++], ref.id, sizeof(ids[0]));
    }
    store_scan_end(&cur);
    if (r == STORE_E_NOT_FOUND)
        r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        steppe_Evaluation e;

        r = fsm_eval_read(c, ids[i], &e);
        if (r)
            break;
        free(e.status);
        free(e.status_description);
        e.status = xstrdup(state_eval_status_name(STATE_EVAL_CANCELED));
        e.status_description = xasprintf("evaluation \"%s\" successful", e.id);
        e.modify_index = c->index;
        r = fsm_eval_write(c, nsid, &e, false, STATE_EVAL_BLOCKED, STATE_EVAL_CANCELED);
        row_release(steppe_Evaluation_fields, &e);
    }
    return r > 0 ? err_trace(-EBADMSG) : r;
}

/* Is this id another job's? 1 yes, 0 no: an update that would move it is refused. */
static int fsm_eval_moves(struct fsm_ctx *c, const steppe_Evaluation *e)
{
    steppe_Evaluation old;
    int r = fsm_eval_read(c, e->id, &old);
    bool same;

    if (r)
        return r < 0 ? r : 0;
    same = old.namespace && old.job_id && strcmp(old.namespace, e->namespace) == 0 &&
           strcmp(old.job_id, e->job_id) == 0;
    row_release(steppe_Evaluation_fields, &old);
    return !same;
}

/* One evaluation of an update. */
static int fsm_eval_upsert(struct fsm_ctx *c, steppe_Evaluation *e, struct bytes nsid,
                           enum state_eval_status status)
{
    enum state_eval_status was = STATE_EVAL_PENDING;
    struct fsm_queued queued[64];
    steppe_Evaluation old;
    bool fresh;
    size_t n = 0;
    int r = fsm_eval_moves(c, e); /* within this very command */

    if (r)
        return r > 0 ? 0 : r;
    r = fsm_eval_read(c, e->id, &old);

    if (r < 0)
        return r;
    fresh = r != 0;
    e->create_index = r == 0 ? old.create_index : c->index;
    e->modify_index = c->index;
    if (r == 0) {
        (void)state_eval_status_parse(old.status ? old.status : "", &was);
        row_release(steppe_Evaluation_fields, &old);
    } else {
        r = fsm_eval_make_room(c, nsid);
    }
    if (r >= 0 && status == STATE_EVAL_COMPLETE && (!e->blocked_eval || !*e->blocked_eval) &&
        e->failed_tg_allocs_count == 0)
        r = fsm_eval_cancel_blocked(c, nsid, e->id);
    if (r)
        return r;
    r = fsm_eval_write(c, nsid, e, fresh, was, status);
    for (; n < e->queued_allocations_count && n < ARRAY_LEN(queued); n++)
        queued[n] =
            (struct fsm_queued){e->queued_allocations[n].key, e->queued_allocations[n].value};
    return r ? r : fsm_job_refresh(c, nsid, queued, n, false);
}

/* Checked already (write), or to be checked. */
static int fsm_eval_take(struct fsm_ctx *c, struct bytes evaluation, bool write)
{
    enum state_eval_status status = STATE_EVAL_PENDING;
    const char *wrong;
    struct row_key nsid;
    steppe_Evaluation e;
    int r = 0;

    if (row_decode(steppe_Evaluation_fields, evaluation, &e, sizeof(e)))
        return fsm_refuse(c, 400, "broken evaluation");
    wrong = fsm_eval_wrong(&e, &nsid, &status);
    if (wrong) {
        r = fsm_refuse(c, 400, "%s", wrong);
    } else if (!write) {
        r = fsm_eval_moves(c, &e);
        if (r > 0)
            r = fsm_refuse(c, 400, "evaluation %s is of another job", e.id);
    } else {
        r = fsm_eval_upsert(c, &e, row_key_bytes(&nsid), status);
    }
    row_release(steppe_Evaluation_fields, &e);
    return r;
}

int fsm_eval_check(struct fsm_ctx *c, struct bytes evaluation)
{
    return fsm_eval_take(c, evaluation, false);
}

int fsm_eval_put(struct fsm_ctx *c, struct bytes evaluation)
{
    return fsm_eval_take(c, evaluation, true);
}

/* In two passes, because a refusal must come before the first write. */
int fsm_eval_update(struct fsm_ctx *c)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->cmd->blobs_n; i++)
        r = fsm_eval_check(c, c->cmd->blobs[i]);
    for (size_t i = 0; r == 0 && i < c->cmd->blobs_n; i++)
        r = fsm_eval_put(c, c->cmd->blobs[i]);
    if (r == 0)
        row_u64(c->body, steppe_GenericResponse_index_tag, c->index);
    return r;
}
