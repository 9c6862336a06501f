/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What allocations mean to their jobs: the counts in the summary, how many live, and which spec
 * must be kept for them. A command gathers its changes per job and writes each job once.
 */
#include "state/fsm_internal.h"

#include <errno.h>
#include <string.h>

#include "job.pb.h"

/* One job that the command under way changes. */
struct fsm_work {
    struct row_key nsid;
    steppe_JobSummary summary;
    bool has_summary, summary_changed;
    struct fsm_tally tally, tally_was;
};

/* Allocations more or fewer of a version of a job. */
struct fsm_spec_use {
    struct row_key key;
    int64_t delta;
};

/* What became of allocations of one group of a deployment. */
struct fsm_deploy_use {
    char id[37];
    char group[STATE_GROUP_LEN_MAX];
    size_t group_len;
    struct fsm_deployed sum;
};

struct fsm_works {
    struct fsm_work *v;
    size_t n, cap, last;
    struct fsm_spec_use *uses;
    size_t uses_n, uses_cap, uses_last;
    struct fsm_deploy_use *deploys;
    size_t deploys_n, deploys_cap;
};

void fsm_works_reset(struct fsm *f)
{
    struct fsm_works *ws = f->works;

    if (!ws)
        return;
    for (size_t i = 0; i < ws->n; i++) {
        if (ws->v[i].has_summary)
            row_release(steppe_JobSummary_fields, &ws->v[i].summary);
    }
    ws->n = ws->last = ws->uses_n = ws->uses_last = ws->deploys_n = 0;
}

void fsm_works_free(struct fsm *f)
{
    fsm_works_reset(f);
    if (f->works) {
        free(f->works->v);
        free(f->works->uses);
        free(f->works->deploys);
    }
    free(f->works);
}

/* ---- tallies ---- */

int fsm_tally_read(struct fsm_ctx *c, struct bytes nsid, struct fsm_tally *ret)
{
    struct bytes v;
    int r = store_get(c->t, STATE_JOB_TALLIES, nsid, &v);

    *ret = (struct fsm_tally){0};
    if (r == STORE_E_NOT_FOUND)
        return 0;
    if (r || v.len != sizeof(*ret))
        return err_trace(r ? r : -EBADMSG);
    ret->live = be64_read(v.data);
    ret->all = be64_read(v.data + 8);
    ret->evals = be64_read(v.data + 16);
    ret->open = be64_read(v.data + 24);
    ret->blocked = be64_read(v.data + 32);
    return 0;
}

int fsm_tally_write(struct fsm_ctx *c, struct bytes nsid, const struct fsm_tally *tally)
{
    uint8_t be[sizeof(*tally)];
    int r;

    be64_write(be, tally->live);
    be64_write(be + 8, tally->all);
    be64_write(be + 16, tally->evals);
    be64_write(be + 24, tally->open);
    be64_write(be + 32, tally->blocked);
    if (tally->all || tally->evals)
        return store_put(c->t, STATE_JOB_TALLIES, nsid, bytes_of(be, sizeof(be)));
    r = store_del(c->t, STATE_JOB_TALLIES, nsid);
    return r < 0 ? r : 0;
}

/* ---- jobs ---- */

static struct fsm_works *fsm_works_of(struct fsm *f)
{
    if (!f->works)
        f->works = xcalloc(1, sizeof(*f->works));
    return f->works;
}

static int fsm_work_find(struct fsm_ctx *c, struct bytes nsid, struct fsm_work **ret)
{
    struct fsm_works *ws = fsm_works_of(c->f);
    struct fsm_work *w;
    struct bytes v;
    int r;

    for (size_t i = 0; i < ws->n; i++) {
        size_t at = (ws->last + i) % ws->n; /* mostly the one before */

        if (bytes_eq(row_key_bytes(&ws->v[at].nsid), nsid)) {
            ws->last = at;
            *ret = &ws->v[at];
            return 0;
        }
    }
    if (ws->n == ws->cap) {
        ws->cap = ws->cap ? ws->cap * 2 : 4;
        ws->v = xrealloc(ws->v, ws->cap * sizeof(*ws->v));
    }
    w = &ws->v[ws->n];
    w->nsid.len = 0;
    w->nsid.failed = false;
    row_key_add(&w->nsid, nsid.data, nsid.len);
    w->has_summary = w->summary_changed = false;
    r = fsm_tally_read(c, nsid, &w->tally);
    w->tally_was = w->tally;
    if (r == 0)
        r = store_get(c->t, STATE_JOB_SUMMARIES, nsid, &v);
    if (r == 0)
        r = row_decode(steppe_JobSummary_fields, v, &w->summary, sizeof(w->summary));
    if (r < 0)
        return err_trace(r);
    w->has_summary = r == 0;
    ws->last = ws->n++;
    *ret = w;
    return 0;
}

static int32_t *fsm_count_of(steppe_TaskGroupSummary *s, enum alloc_client_status status)
{
    switch (status) {
    case ALLOC_CLIENT_PENDING:
        return &s->starting;
    case ALLOC_CLIENT_RUNNING:
        return &s->running;
    case ALLOC_CLIENT_COMPLETE:
        return &s->complete;
    case ALLOC_CLIENT_FAILED:
        return &s->failed;
    case ALLOC_CLIENT_LOST:
    case ALLOC_CLIENT_STATUS_COUNT:
        break;
    }
    return &s->lost;
}

/* Nomad's rules: complete and failed only grow, nothing goes below zero. */
static void fsm_summary_count(steppe_TaskGroupSummary *s, const struct fsm_alloc_move *m)
{
    int32_t *was = fsm_count_of(s, m->was), *is = fsm_count_of(s, m->is);

    if (m->created && s->queued > 0)
        s->queued--;
    if (!m->created && *was > 0 && m->was != ALLOC_CLIENT_COMPLETE && m->was != ALLOC_CLIENT_FAILED)
        --*was;
    if (*is < INT32_MAX)
        ++*is;
}

static bool fsm_group_is(const char *name, struct bytes group)
{
    return name && strlen(name) == group.len && memcmp(name, group.data, group.len) == 0;
}

static void fsm_work_count(struct fsm_work *w, const struct fsm_alloc_move *m)
{
    if (!w->has_summary || w->summary.create_index != m->job_create_index || m->deleted)
        return;
    for (size_t i = 0; i < w->summary.summary_count; i++) {
        struct _steppe_JobSummary_SummaryEntry *entry = &w->summary.summary[i];

        if (!fsm_group_is(entry->key, m->group))
            continue;
        if (m->created || m->was != m->is) {
            entry->has_value = true;
            fsm_summary_count(&entry->value, m);
            w->summary_changed = true;
        }
        return;
    }
}

int fsm_works_move(struct fsm_ctx *c, struct bytes nsid, const struct fsm_alloc_move *m)
{
    struct fsm_work *w = NULL;
    int r = fsm_work_find(c, nsid, &w);

    if (r)
        return r;
    fsm_work_count(w, m);
    if (m->created)
        w->tally.all++;
    if (m->deleted && w->tally.all > 0)
        w->tally.all--;
    if (m->is_live && !m->was_live)
        w->tally.live++;
    if (!m->is_live && m->was_live && w->tally.live > 0)
        w->tally.live--;
    return 0;
}

/* ---- specs that allocations need ---- */

void fsm_spec_use(struct fsm_ctx *c, struct bytes nsid, uint64_t create_index, uint64_t version,
                  int delta)
{
    struct fsm_works *ws = fsm_works_of(c->f);
    struct row_key key;

    row_key_spec(&key, nsid, create_index, version);
    for (size_t i = 0; i < ws->uses_n; i++) {
        struct fsm_spec_use *u = &ws->uses[(ws->uses_last + i) % ws->uses_n];

        if (bytes_eq(row_key_bytes(&u->key), row_key_bytes(&key))) {
            ws->uses_last = (size_t)(u - ws->uses);
            u->delta += delta;
            return;
        }
    }
    if (ws->uses_n == ws->uses_cap) {
        ws->uses_cap = ws->uses_cap ? ws->uses_cap * 2 : 4;
        ws->uses = xrealloc(ws->uses, ws->uses_cap * sizeof(*ws->uses));
    }
    ws->uses_last = ws->uses_n;
    ws->uses[ws->uses_n++] = (struct fsm_spec_use){key, delta};
}

static int fsm_spec_flush(struct fsm_ctx *c, const struct fsm_spec_use *u)
{
    struct strbuf *row = &c->f->row;
    struct bytes v;
    uint64_t count = 0;
    uint8_t be[8];
    int r = store_get(c->t, STATE_JOB_SPECS, row_key_bytes(&u->key), &v);

    if (r < 0 || (r == 0 && v.len < sizeof(be)))
        return err_trace(r ? r : -EBADMSG);
    strbuf_reset(row);
    if (r == 0)
        count = be64_read(v.data);
    if (u->delta == 0)
        return 0;
    if (u->delta < 0 && (uint64_t)-u->delta >= count) {
        r = store_del(c->t, STATE_JOB_SPECS, row_key_bytes(&u->key));
        return r < 0 ? err_trace(r) : 0;
    }
    be64_write(be, count + (uint64_t)u->delta);
    strbuf_add(row, be, sizeof(be));
    if (r == 0)
        strbuf_add(row, v.data + sizeof(be), v.len - sizeof(be));
    return store_put(c->t, STATE_JOB_SPECS, row_key_bytes(&u->key), strbuf_bytes(row));
}

int fsm_spec_keep(struct fsm_ctx *c, struct bytes nsid, uint64_t create_index, uint64_t version,
                  struct bytes version_row)
{
    struct strbuf *row = &c->f->b;
    struct row_key key;
    struct bytes v;
    int r;

    row_key_spec(&key, nsid, create_index, version);
    r = store_get(c->t, STATE_JOB_SPECS, row_key_bytes(&key), &v);
    if (r == STORE_E_NOT_FOUND)
        return 0;
    if (r || v.len < 8)
        return err_trace(r ? r : -EBADMSG);
    strbuf_reset(row);
    strbuf_add(row, v.data, 8);
    strbuf_add(row, version_row.data, version_row.len);
    return store_put(c->t, STATE_JOB_SPECS, row_key_bytes(&key), strbuf_bytes(row));
}

/* ---- deployments ---- */

static struct fsm_deploy_use *fsm_deploy_use(struct fsm_works *ws, struct bytes id,
                                             struct bytes group)
{
    struct fsm_deploy_use *u;

    for (size_t i = ws->deploys_n; i-- > 0;) {
        u = &ws->deploys[i];
        if (bytes_eq(bytes_of(u->id, 36), id) && bytes_eq(bytes_of(u->group, u->group_len), group))
            return u;
    }
    if (ws->deploys_n == ws->deploys_cap) {
        ws->deploys_cap = ws->deploys_cap ? ws->deploys_cap * 2 : 2;
        ws->deploys = xrealloc(ws->deploys, ws->deploys_cap * sizeof(*ws->deploys));
    }
    u = &ws->deploys[ws->deploys_n++];
    *u = (struct fsm_deploy_use){.group_len = group.len};
    memcpy(u->id, id.data, 36);
    memcpy(u->group, group.data, group.len);
    return u;
}

void fsm_works_deployed(struct fsm_ctx *c, struct bytes id, struct bytes group,
                        const struct fsm_deployed *what)
{
    struct fsm_deploy_use *u;

    if (id.len != 36 || group.len > STATE_GROUP_LEN_MAX)
        return;
    u = fsm_deploy_use(fsm_works_of(c->f), id, group);
    u->sum.placed += what->placed;
    u->sum.healthy += what->healthy;
    u->sum.unhealthy += what->unhealthy;
    u->sum.timestamp = MAX(u->sum.timestamp, what->timestamp);
}

/* ---- the end of the command ---- */

static int fsm_work_flush(struct fsm_ctx *c, struct fsm_work *w)
{
    struct bytes nsid = row_key_bytes(&w->nsid);
    bool tally_changed = memcmp(&w->tally, &w->tally_was, sizeof(w->tally)) != 0;
    int r = 0;

    if (tally_changed)
        r = fsm_tally_write(c, nsid, &w->tally);
    if (r == 0 && w->summary_changed) {
        w->summary.modify_index = c->index;
        r = fsm_summary_put(c, nsid, &w->summary);
    }
    if (r == 0 && (tally_changed || w->summary_changed))
        r = fsm_job_refresh(c, nsid, NULL, 0, w->summary_changed);
    return r;
}

int fsm_works_flush(struct fsm_ctx *c)
{
    struct fsm_works *ws = c->f->works;
    int r = 0;

    for (size_t i = 0; r == 0 && ws && i < ws->uses_n; i++)
        r = fsm_spec_flush(c, &ws->uses[i]);
    for (size_t i = 0; r == 0 && ws && i < ws->n; i++)
        r = fsm_work_flush(c, &ws->v[i]);
    for (size_t i = 0; r == 0 && ws && i < ws->deploys_n; i++)
        r = fsm_deployment_count(c, bytes_of(ws->deploys[i].id, 36),
                                 bytes_of(ws->deploys[i].group, ws->deploys[i].group_len),
                                 &ws->deploys[i].sum);
    fsm_works_reset(c->f);
    return r;
}
