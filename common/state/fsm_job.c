/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Jobs: register, stop, purge, and what a job's evaluations make of its status and summary. A
 * registration copies the spec's bytes and never decodes them.
 */
#include "state/fsm_internal.h"

#include <errno.h>
#include <string.h>

#include "base/prng.h"
#include "job.pb.h"
#include "rpc.pb.h"

#define FSM_DEREGISTER_PRIORITY 50 /* Nomad's JobDefaultPriority, whatever the job's own is */

bool fsm_uuid_valid(const char *id)
{
    uint8_t buf[STATE_KEY_MAX];

    return id && *id && bytes_eq(state_key_uuid(id, buf), bytes_text(id));
}

/* ---- status ---- */

static bool fsm_job_always_on(const steppe_JobRow *row)
{
    return row->periodic || row->parameterized || strcmp(row->type, "system") == 0;
}

/*
 * Nomad's rules. One difference: a stopped job without live allocations is dead at once and not
 * only when a scheduler has looked at it, for it has nothing left to stop.
 */
static int fsm_job_status(struct fsm_ctx *c, struct bytes nsid, const steppe_JobRow *row,
                          bool has_open_eval, enum state_job_status *ret)
{
    struct fsm_tally tally;
    int r = 0;

    if (fsm_job_always_on(row)) {
        *ret = row->stop ? STATE_JOB_DEAD : STATE_JOB_RUNNING;
        return 0;
    }
    r = fsm_tally_read(c, nsid, &tally);
    if (r)
        return r;
    if (tally.live > 0 || row->stop) {
        *ret = tally.live > 0 ? STATE_JOB_RUNNING : STATE_JOB_DEAD;
        return 0;
    }
    if (has_open_eval) {
        *ret = STATE_JOB_PENDING;
        return 0;
    }
    if (tally.evals == 0 && tally.all == 0) /* all was collected: it does not come to life again */
        *ret = row->status == STATE_JOB_PENDING ? STATE_JOB_PENDING : STATE_JOB_DEAD;
    else
        *ret = tally.open ? STATE_JOB_PENDING : STATE_JOB_DEAD;
    return 0;
}

static void fsm_job_note(struct fsm_ctx *c, struct bytes nsid, bool created, bool stopped,
                         bool deleted)
{
    fsm_note(c, &(struct fsm_change){
                    .kind = FSM_CHANGE_JOB,
                    .created = created,
                    .deleted = deleted,
                    .namespace = fsm_nsid_ns(nsid),
                    .job_id = fsm_nsid_id(nsid),
                    .stopped = stopped,
                });
}

/* ---- rows ---- */

/* STORE_E_NOT_FOUND when there is no such job. */
int fsm_job_read(struct fsm_ctx *c, struct bytes nsid, steppe_JobRow *ret)
{
    struct bytes v;
    int r = store_get(c->t, STATE_JOBS, nsid, &v);

    return r ? r : row_decode(steppe_JobRow_fields, v, ret, sizeof(*ret));
}

static int fsm_job_write(struct fsm_ctx *c, struct bytes nsid, const steppe_JobRow *row)
{
    int r;

    strbuf_reset(&c->f->row);
    r = row_encode(steppe_JobRow_fields, row, &c->f->row);
    if (r == 0)
        r = store_put(c->t, STATE_JOBS, nsid, strbuf_bytes(&c->f->row));
    fsm_touch(c, STATE_JOBS, nsid);
    return r ? err_trace(r) : 0;
}

/* fixed: from the command; may not lie in the store. */
static int fsm_job_write_stub(struct fsm_ctx *c, struct bytes nsid, const steppe_JobRow *row,
                              struct bytes fixed, struct bytes summary)
{
    uint8_t le[4];

    le32_write(le, (uint32_t)fixed.len);
    strbuf_reset(&c->f->a);
    row_job_stub(&c->f->a, row, summary);
    row_list_write(&c->f->row, bytes_of(le, 4), fixed, strbuf_bytes(&c->f->a));
    return store_put(c->t, STATE_JOB_STUBS, nsid, strbuf_bytes(&c->f->row));
}

/* The stub again, after the job's row or summary changed. */
static int fsm_job_redo_stub(struct fsm_ctx *c, struct bytes nsid, const steppe_JobRow *row)
{
    struct bytes stub, fixed, summary;
    int r = store_get(c->t, STATE_JOB_STUBS, nsid, &stub);

    if (r == 0)
        r = row_stub_fixed(stub, &fixed);
    if (r == 0)
        r = store_get(c->t, STATE_JOB_SUMMARIES, nsid, &summary);
    if (r == 0)
        r = fsm_job_write_stub(c, nsid, row, fixed, summary);
    return r > 0 ? err_trace(-EBADMSG) : r;
}

/* Of a key "NSID, NUL, be64 ~version". */
static uint64_t fsm_key_version(const struct row_key *key)
{
    return ~be64_read(key->data + key->len - 8);
}

/* The newest six stay; when the last stable one would go, the one before it goes instead. */
static int fsm_job_trim_versions(struct fsm_ctx *c, struct bytes nsid, uint64_t create_index)
{
    struct row_key keys[STATE_JOB_VERSIONS_MAX + 1], prefix;
    struct bytes key, value;
    struct store_cursor cur;
    bool stable_before = false, keep_last = false;
    size_t n = 0;
    int r;

    row_key_of_job(&prefix, nsid);
    r = store_scan(c->t, STATE_JOB_VERSIONS, row_key_bytes(&prefix), &cur);
    while (r == 0 && n < ARRAY_LEN(keys) && (r = store_next(&cur, &key, &value)) == 0) {
        struct row_version v;

        r = row_version_read(value, &v);
        keep_last = r == 0 && (v.flags & ROW_VERSION_STABLE) && !stable_before;
        stable_before |= keep_last;
        keys[n] = (struct row_key){0};
        row_key_add(&keys[n++], key.data, key.len);
    }
    store_scan_end(&cur);
    if (r && r != STORE_E_NOT_FOUND)
        return err_trace(r);
    if (n <= STATE_JOB_VERSIONS_MAX)
        return 0;
    n = keep_last ? STATE_JOB_VERSIONS_MAX - 1 : STATE_JOB_VERSIONS_MAX;
    r = store_get(c->t, STATE_JOB_VERSIONS, row_key_bytes(&keys[n]), &value);
    if (r == 0)
        r = fsm_spec_keep(c, nsid, create_index, fsm_key_version(&keys[n]), value);
    if (r == 0)
        r = store_del(c->t, STATE_JOB_VERSIONS, row_key_bytes(&keys[n]));
    return r;
}

static int fsm_job_write_version(struct fsm_ctx *c, struct bytes nsid, const steppe_JobRow *row,
                                 struct bytes spec)
{
    struct strbuf *b = &c->f->row;
    uint8_t head[ROW_VERSION_HEAD];
    struct row_key key;
    int r;

    le32_write(head, (uint32_t)spec.len);
    head[4] = row->stable ? ROW_VERSION_STABLE : 0;
    strbuf_reset(b);
    strbuf_add(b, head, sizeof(head));
    strbuf_add(b, spec.data, spec.len);
    row_job_server(b, row);
    row_key_version(&key, nsid, row->version);
    assert(!key.failed);
    r = store_put(c->t, STATE_JOB_VERSIONS, row_key_bytes(&key), strbuf_bytes(b));
    fsm_touch(c, STATE_JOB_VERSIONS, nsid);
    if (r == 0 && row->version >= STATE_JOB_VERSIONS_MAX)
        r = fsm_job_trim_versions(c, nsid, row->create_index);
    return r > 0 ? err_trace(-EBADMSG) : r;
}

/* ---- summary ---- */

int fsm_summary_put(struct fsm_ctx *c, struct bytes nsid, const steppe_JobSummary *s)
{
    int r;

    strbuf_reset(&c->f->b);
    r = row_encode(steppe_JobSummary_fields, s, &c->f->b);
    if (r == 0)
        r = store_put(c->t, STATE_JOB_SUMMARIES, nsid, strbuf_bytes(&c->f->b));
    fsm_touch(c, STATE_JOB_SUMMARIES, nsid);
    return r ? err_trace(r) : 0;
}

static struct _steppe_JobSummary_SummaryEntry *fsm_summary_find(const steppe_JobSummary *s,
                                                                const char *group)
{
    for (size_t i = 0; i < s->summary_count; i++) {
        if (s->summary[i].key && strcmp(s->summary[i].key, group) == 0)
            return &s->summary[i];
    }
    return NULL;
}

/* Adds the groups of `more` that `s` lacks; says whether there were any. */
static bool fsm_summary_merge(steppe_JobSummary *s, steppe_JobSummary *more)
{
    bool grown = false;

    for (size_t i = 0; i < more->summary_count; i++) {
        struct _steppe_JobSummary_SummaryEntry *entry = &more->summary[i];

        if (!entry->key || fsm_summary_find(s, entry->key) || s->summary_count == PB_SIZE_MAX)
            continue;
        s->summary = xrealloc(s->summary, (s->summary_count + 1u) * sizeof(*s->summary));
        s->summary[s->summary_count++] = *entry;
        entry->key = NULL; /* moved */
        grown = true;
    }
    return grown;
}

/* A job that is there got a new spec: groups may have come. */
static int fsm_summary_update(struct fsm_ctx *c, struct bytes nsid, struct bytes old,
                              struct bytes blob)
{
    steppe_JobSummary s, more;
    int r = row_decode(steppe_JobSummary_fields, old, &s, sizeof(s));

    if (r)
        return r;
    r = row_decode(steppe_JobSummary_fields, blob, &more, sizeof(more));
    if (r == 0) {
        if (fsm_summary_merge(&s, &more)) {
            s.modify_index = c->index;
            r = fsm_summary_put(c, nsid, &s);
        }
        row_release(steppe_JobSummary_fields, &more);
    }
    row_release(steppe_JobSummary_fields, &s);
    return r;
}

/* New job: the blob's bytes as they are, with the indexes behind them. */
static int fsm_summary_write(struct fsm_ctx *c, struct bytes nsid, struct bytes blob)
{
    struct strbuf *b = &c->f->b;
    struct bytes old;
    int r = store_get(c->t, STATE_JOB_SUMMARIES, nsid, &old);

    if (r == 0)
        return fsm_summary_update(c, nsid, old, blob);
    if (r < 0)
        return err_trace(r);
    strbuf_reset(b);
    strbuf_add(b, blob.data, blob.len);
    row_u64(b, steppe_JobSummary_create_index_tag, c->index);
    row_u64(b, steppe_JobSummary_modify_index_tag, c->index);
    r = store_put(c->t, STATE_JOB_SUMMARIES, nsid, strbuf_bytes(b));
    fsm_touch(c, STATE_JOB_SUMMARIES, nsid);
    return r ? err_trace(r) : 0;
}

static int fsm_summary_queue(struct fsm_ctx *c, struct bytes nsid, const struct fsm_queued *queued,
                             size_t queued_n, bool *ret_changed)
{
    steppe_JobSummary s;
    struct bytes old;
    bool changed = false;
    int r = store_get(c->t, STATE_JOB_SUMMARIES, nsid, &old);

    if (r == 0)
        r = row_decode(steppe_JobSummary_fields, old, &s, sizeof(s));
    if (r)
        return r < 0 ? r : 0;
    for (size_t i = 0; i < queued_n; i++) {
        struct _steppe_JobSummary_SummaryEntry *entry =
            queued[i].group ? fsm_summary_find(&s, queued[i].group) : NULL;

        if (!entry || entry->value.queued == queued[i].queued)
            continue;
        entry->has_value = true;
        entry->value.queued = queued[i].queued;
        changed = true;
    }
    if (changed) {
        s.modify_index = c->index;
        r = fsm_summary_put(c, nsid, &s);
    }
    row_release(steppe_JobSummary_fields, &s);
    *ret_changed = changed;
    return r;
}

static int fsm_job_set_status(struct fsm_ctx *c, struct bytes nsid, steppe_JobRow *row,
                              enum state_job_status status)
{
    row->status = status;
    row->modify_index = c->index;
    return fsm_job_write(c, nsid, row);
}

int fsm_job_refresh(struct fsm_ctx *c, struct bytes nsid, const struct fsm_queued *queued,
                    size_t queued_n, bool summary_changed)
{
    enum state_job_status status;
    bool changed = false;
    steppe_JobRow row;
    int r = fsm_job_read(c, nsid, &row);

    if (r)
        return r < 0 ? r : 0;
    if (queued_n)
        r = fsm_summary_queue(c, nsid, queued, queued_n, &changed);
    if (r == 0)
        r = fsm_job_status(c, nsid, &row, false, &status);
    if (r == 0 && status != row.status) {
        r = fsm_job_set_status(c, nsid, &row, status);
        changed = true;
    }
    return r == 0 && (changed || summary_changed) ? fsm_job_redo_stub(c, nsid, &row) : r;
}

/* ---- register ---- */

struct fsm_register {
    steppe_JobRegisterCommand m;
    struct row_key key;
    steppe_JobRow row;
    bool exists;
    bool wants_eval;
};

static int fsm_register_check_index(struct fsm_ctx *c, const struct fsm_register *g)
{
#define ENFORCING "Enforcing job modify index"
    unsigned long long want = g->m.job_modify_index, is = g->row.job_modify_index;

    if (!g->m.enforce_index)
        return 0;
    if (!g->exists && want != 0)
        return fsm_refuse(c, 500, ENFORCING " %llu: job does not exist", want);
    if (g->exists && want == 0)
        return fsm_refuse(c, 500, ENFORCING " 0: job already exists");
    if (g->exists && want != is)
        return fsm_refuse(c, 500,
                          ENFORCING " %llu: job exists with conflicting job modify index: %llu",
                          want, is);
    return 0;
#undef ENFORCING
}

/* What a job cannot become. */
static int fsm_register_check_change(struct fsm_ctx *c, const struct fsm_register *g)
{
    if (!g->exists)
        return 0;
    if (strcmp(g->row.type, g->m.type) != 0)
        return fsm_refuse(c, 500, "cannot update job from type \"%s\" to \"%s\"", g->row.type,
                          g->m.type);
    if (g->row.periodic != g->m.periodic)
        return fsm_refuse(c, 500, "cannot update %s",
                          g->m.periodic ? "non-periodic job to being periodic"
                                        : "periodic job to being non-periodic");
    if (g->row.parameterized != g->m.parameterized)
        return fsm_refuse(c, 500, "cannot update %s",
                          g->m.parameterized ? "non-parameterized job to being parameterized"
                                             : "parameterized job to being non-parameterized");
    if (g->row.dispatched != g->m.dispatched)
        return fsm_refuse(c, 500, "field 'Dispatched' is read-only");
    return 0;
}

/* Damage here would show in every list, or stop the next change: the summary is decoded again. */
static bool fsm_register_blobs_fit(const struct command *cmd)
{
    steppe_JobSummary s;

    if (cmd->blobs[0].len == 0 || !row_is_fields(cmd->blobs[0]) || !row_is_fields(cmd->blobs[1]) ||
        row_decode(steppe_JobSummary_fields, cmd->blobs[2], &s, sizeof(s)))
        return false;
    row_release(steppe_JobSummary_fields, &s);
    return true;
}

/* Reads and checks everything; no write. */
static int fsm_register_prepare(struct fsm_ctx *c, struct fsm_register *g)
{
    int r = fsm_body(c, steppe_JobRegisterCommand_fields, &g->m, sizeof(g->m));

    if (r)
        return r;
    row_key_job(&g->key, g->m.namespace, g->m.job_id);
    if (g->key.failed || !fsm_register_blobs_fit(c->cmd))
        return fsm_refuse(c, 400, "job without a namespace, an ID or a specification");
    g->wants_eval = !g->m.periodic && !g->m.parameterized && g->m.eval_id[0];
    g->row = (steppe_JobRow)steppe_JobRow_init_zero;
    r = fsm_job_read(c, row_key_bytes(&g->key), &g->row);
    if (r < 0)
        return err_trace(r);
    g->exists = r == 0;
    r = fsm_register_check_index(c, g);
    if (r == 0)
        r = fsm_register_check_change(c, g);
    return r == 0 && g->wants_eval ? fsm_eval_check_new(c, g->m.eval_id) : r;
}

/* Is the same spec there already? 1 yes, 0 no, -errno. */
static int fsm_register_same(struct fsm_ctx *c, const struct fsm_register *g)
{
    struct row_version v;
    struct row_key key;
    struct bytes row;
    int r;

    if (!g->exists || g->row.stop != g->m.stop)
        return 0;
    row_key_version(&key, row_key_bytes(&g->key), g->row.version);
    r = store_get(c->t, STATE_JOB_VERSIONS, row_key_bytes(&key), &row);
    if (r == 0)
        r = row_version_read(row, &v);
    if (r)
        return err_trace(r > 0 ? -EBADMSG : r);
    return bytes_eq(v.spec, c->cmd->blobs[0]);
}

static void fsm_register_row(struct fsm_ctx *c, struct fsm_register *g)
{
    steppe_JobRow *row = &g->row;

    row->version = g->exists ? row->version + 1 : 0;
    row->create_index = g->exists ? row->create_index : c->index;
    row->modify_index = row->job_modify_index = c->index;
    row->submit_time = c->cmd->now.ns;
    row->stop = g->m.stop;
    row->stable = false;
    memcpy(row->type, g->m.type, sizeof(row->type));
    row->priority = g->m.priority;
    row->periodic = g->m.periodic;
    row->parameterized = g->m.parameterized;
    row->dispatched = g->m.dispatched;
}

static int fsm_register_eval(struct fsm_ctx *c, const struct fsm_register *g)
{
    const struct fsm_eval_new e = {
        .id = g->m.eval_id,
        .ns = g->m.namespace,
        .job_id = g->m.job_id,
        .type = g->m.type,
        .triggered_by = g->m.triggered_by[0] ? g->m.triggered_by : "job-register",
        .priority = g->m.priority,
        .job_modify_index = g->row.job_modify_index,
    };

    return fsm_eval_create(c, row_key_bytes(&g->key), &e);
}

static int fsm_register_write(struct fsm_ctx *c, struct fsm_register *g, bool same)
{
    struct bytes nsid = row_key_bytes(&g->key), summary;
    enum state_job_status status;
    int r = 0;

    if (!same)
        fsm_register_row(c, g);
    if (g->wants_eval)
        r = fsm_register_eval(c, g);
    if (r == 0)
        r = fsm_job_status(c, nsid, &g->row, g->wants_eval, &status);
    if (r)
        return r;
    if (same) {
        if (status == g->row.status)
            return 0;
        r = fsm_job_set_status(c, nsid, &g->row, status);
        return r ? r : fsm_job_redo_stub(c, nsid, &g->row);
    }
    g->row.status = status;
    r = fsm_job_write_version(c, nsid, &g->row, c->cmd->blobs[0]);
    if (r == 0 && !g->exists && strcmp(g->row.type, "system") == 0)
        r = store_put(c->t, STATE_SYSTEM_JOBS, nsid, (struct bytes){0});
    if (r == 0)
        r = fsm_summary_write(c, nsid, c->cmd->blobs[2]);
    if (r == 0)
        r = fsm_job_write(c, nsid, &g->row);
    if (r == 0)
        r = store_get(c->t, STATE_JOB_SUMMARIES, nsid, &summary);
    if (r == 0)
        r = fsm_job_write_stub(c, nsid, &g->row, c->cmd->blobs[1], summary);
    return r > 0 ? err_trace(-EBADMSG) : r;
}

int fsm_job_register(struct fsm_ctx *c)
{
    struct fsm_register g;
    int r = fsm_register_prepare(c, &g);
    int same;

    if (r)
        return r;
    same = fsm_register_same(c, &g);
    if (same < 0)
        return same;
    r = fsm_register_write(c, &g, same);
    if (r)
        return r;
    fsm_job_note(c, row_key_bytes(&g.key), !g.exists, g.row.stop, false);
    if (g.wants_eval) {
        row_text(c->body, steppe_JobRegisterResponse_eval_id_tag, g.m.eval_id);
        row_u64(c->body, steppe_JobRegisterResponse_eval_create_index_tag, c->index);
    }
    row_u64(c->body, steppe_JobRegisterResponse_job_modify_index_tag, g.row.job_modify_index);
    row_u64(c->body, steppe_JobRegisterResponse_index_tag, c->index);
    return 0;
}

/* ---- deregister ---- */

/* What allocations need of the versions that are about to go. */
static int fsm_job_keep_specs(struct fsm_ctx *c, struct bytes nsid, const steppe_JobRow *row)
{
    uint64_t versions[STATE_JOB_VERSIONS_MAX + 1];
    struct row_key prefix, key;
    struct store_cursor cur;
    struct bytes k, v;
    size_t n = 0;
    int r;

    row_key_of_job(&prefix, nsid);
    r = store_scan(c->t, STATE_JOB_VERSIONS, row_key_bytes(&prefix), &cur);
    while (r == 0 && n < ARRAY_LEN(versions) && (r = store_next(&cur, &k, &v)) == 0) {
        if (k.len != prefix.len + 8)
            continue;
        versions[n++] = ~be64_read(k.data + prefix.len);
    }
    store_scan_end(&cur);
    if (r == STORE_E_NOT_FOUND)
        r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        row_key_version(&key, nsid, versions[i]);
        r = store_get(c->t, STATE_JOB_VERSIONS, row_key_bytes(&key), &v);
        if (r == 0)
            r = fsm_spec_keep(c, nsid, row->create_index, versions[i], v);
    }
    return r;
}

static int fsm_job_purge(struct fsm_ctx *c, struct bytes nsid, const steppe_JobRow *row)
{
    struct row_key prefix;
    int r = fsm_job_keep_specs(c, nsid, row);

    row_key_of_job(&prefix, nsid);
    if (r == 0)
        r = store_del(c->t, STATE_JOBS, nsid);
    if (r == 0 && strcmp(row->type, "system") == 0)
        r = store_del(c->t, STATE_SYSTEM_JOBS, nsid);
    if (r == 0)
        r = store_del(c->t, STATE_JOB_STUBS, nsid);
    if (r == 0)
        r = store_del(c->t, STATE_JOB_SUMMARIES, nsid);
    if (r == 0)
        r = store_del_prefix(c->t, STATE_JOB_VERSIONS, row_key_bytes(&prefix));
    if (r == 0)
        r = fsm_eval_purge(c, nsid);
    fsm_touch(c, STATE_JOBS, nsid);
    fsm_touch(c, STATE_JOB_SUMMARIES, nsid);
    fsm_touch(c, STATE_JOB_VERSIONS, nsid);
    fsm_touch(c, STATE_JOB_EVALS, nsid);
    return r > 0 ? err_trace(-EBADMSG) : r;
}

int fsm_job_forget(struct fsm_ctx *c, struct bytes nsid, const steppe_JobRow *row)
{
    int r = fsm_job_purge(c, nsid, row);

    if (r == 0)
        fsm_job_note(c, nsid, false, true, true);
    return r;
}

/* A stop is a new version of the same spec, as in Nomad. */
static int fsm_job_stop(struct fsm_ctx *c, struct bytes nsid, steppe_JobRow *row)
{
    enum state_job_status status = STATE_JOB_DEAD;
    struct strbuf spec = STRBUF_INIT;
    struct row_version v;
    struct row_key key;
    struct bytes old;
    int r;

    row_key_version(&key, nsid, row->version);
    r = store_get(c->t, STATE_JOB_VERSIONS, row_key_bytes(&key), &old);
    if (r == 0)
        r = row_version_read(old, &v);
    if (r)
        return err_trace(r > 0 ? -EBADMSG : r);
    strbuf_add(&spec, v.spec.data, v.spec.len);
    row->version++;
    row->stop = true;
    row->stable = false;
    row->modify_index = row->job_modify_index = c->index;
    r = fsm_job_status(c, nsid, row, false, &status);
    row->status = status;
    if (r == 0)
        r = fsm_job_write_version(c, nsid, row, strbuf_bytes(&spec));
    strbuf_fini(&spec);
    if (r == 0)
        r = fsm_job_write(c, nsid, row);
    return r ? r : fsm_job_redo_stub(c, nsid, row);
}

static int fsm_deregister_eval(struct fsm_ctx *c, struct bytes nsid,
                               const steppe_JobDeregisterCommand *m)
{
    const struct fsm_eval_new e = {
        .id = m->eval_id,
        .ns = m->namespace,
        .job_id = m->job_id,
        .type = "service",
        .triggered_by = "job-deregister",
        .priority = FSM_DEREGISTER_PRIORITY,
        .job_modify_index = c->index,
    };

    row_text(c->body, steppe_JobDeregisterResponse_eval_id_tag, m->eval_id);
    return fsm_eval_create(c, nsid, &e);
}

/* An unknown job is no error: there is nothing to stop, and the evaluation will find that. */
int fsm_job_deregister(struct fsm_ctx *c)
{
    steppe_JobDeregisterCommand m;
    steppe_JobRow row = steppe_JobRow_init_zero;
    struct row_key key;
    struct bytes nsid;
    int r = fsm_body(c, steppe_JobDeregisterCommand_fields, &m, sizeof(m));

    if (r)
        return r;
    row_key_job(&key, m.namespace, m.job_id);
    if (key.failed)
        return fsm_refuse(c, 400, "missing job ID for deregistering");
    r = fsm_eval_check_new(c, m.eval_id);
    if (r)
        return r;
    nsid = row_key_bytes(&key);
    r = fsm_job_read(c, nsid, &row);
    if (r < 0)
        return err_trace(r);
    if (r == 0) {
        r = m.purge ? fsm_job_purge(c, nsid, &row) : fsm_job_stop(c, nsid, &row);
        fsm_job_note(c, nsid, false, true, m.purge);
    } else {
        r = 0;
    }
    if (r == 0 && !row.periodic && !row.parameterized)
        r = fsm_deregister_eval(c, nsid, &m);
    if (r)
        return r;
    row_u64(c->body, steppe_JobDeregisterResponse_eval_create_index_tag, c->index);
    row_u64(c->body, steppe_JobDeregisterResponse_job_modify_index_tag, c->index);
    row_u64(c->body, steppe_JobDeregisterResponse_index_tag, c->index);
    return 0;
}
