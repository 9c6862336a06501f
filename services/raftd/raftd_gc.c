/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The leader's collector: every job_gc_interval, or when somebody asks (then without thresholds),
 * it walks through jobs, allocations, evaluations, deployments and nodes, some rows every 100 ms,
 * and proposes what can go, one command at a time. The state leaves alone what is in use again by
 * then.
 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "command.pb.h"
#include "gc_core.h"
#include "raftd_build.h"
#include "raftd_sched.h"
#include "state/state_alloc.h"
#include "wire/wire.h"

#define ROWS_MAX 1000 /* looked at in one go */
#define IDS_MAX  512  /* of one command */
#define JOB_ALLOCS_MAX                                                                             \
    20000 /* looked at before a job goes; further ones are taken to be like them */
#define T(field) steppe_Allocation_##field##_tag

enum gc_phase { GC_IDLE, GC_JOBS, GC_ALLOCS, GC_EVALS, GC_DEPLOYMENTS, GC_NODES, GC_PHASES };

struct sched_gc {
    struct raftd *rd;
    enum gc_phase phase;
    bool force;         /* this pass knows no thresholds */
    bool wanted;        /* somebody asked for a pass like that */
    bool writing;       /* a command is under way */
    int64_t due_ns;     /* of the next pass; monotonic */
    struct gc_time now; /* of this pass */
    uint8_t at[STATE_KEY_MAX];
    size_t at_len; /* where the phase goes on */
    uint64_t alloc_index;
    steppe_ReapList list;
    size_t ids, found; /* in the list; in this pass */
    struct gc_times times;
};

/* ---- what goes ---- */

static void list_add(char ***list, pb_size_t *n, const char *id)
{
    if (!*list)
        *list = xcalloc(IDS_MAX, sizeof(char *));
    (*list)[(*n)++] = xstrdup(id);
}

static bool full(const struct sched_gc *g)
{
    return g->ids >= IDS_MAX;
}

#define GC_ADD(g, kind, id)                                                                        \
    do {                                                                                           \
        list_add(&(g)->list.kind, &(g)->list.kind##_count, (id));                                  \
        (g)->ids++;                                                                                \
    } while (0)

static void add_job(struct sched_gc *g, const char *ns, const char *id)
{
    if (!g->list.jobs)
        g->list.jobs = xcalloc(IDS_MAX, sizeof(*g->list.jobs));
    g->list.jobs[g->list.jobs_count++] = (steppe_ReapJob){xstrdup(ns), xstrdup(id)};
    g->ids++;
}

static void list_free(struct sched_gc *g)
{
    pb_release(steppe_ReapList_fields, &g->list);
    g->list = (steppe_ReapList)steppe_ReapList_init_zero;
    g->ids = 0;
}

static void reaped(struct raftd *rd, struct raftd_proposal *p, const struct fsm_result *result)
{
    struct raftd_sched *s = rd->sched;

    (void)p;
    if (result->code != 0)
        log_error("cannot delete what the collector found, it is found again: %s", result->error);
    if (s)
        s->gc->writing = false;
}

static void not_reaped(struct raftd *rd, struct raftd_proposal *p)
{
    (void)p;
    if (rd->sched)
        rd->sched->gc->writing = false;
}

static void propose(struct sched_gc *g)
{
    struct raftd_proposal *p = raftd_proposal_new(NULL, reaped);
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_BOUND(COMMAND_LEN_MAX);
    steppe_ReapCommand cmd = {0};
    struct bytes blob;
    int r;

    COPY_TEXT(cmd.reason, g->force ? "asked for" : "threshold");
    r = wire_encode(steppe_ReapList_fields, &g->list, &body);
    blob = bytes_of(body.data, body.len);
    if (r == 0)
        r = command_encode(&p->command, COMMAND_REAP, clock_wall(), NULL, &cmd, &blob, 1);
    g->found += g->ids;
    list_free(g);
    if (r < 0) {
        log_error("cannot delete what the collector found, it is found again: %s", strerror(-r));
        raftd_proposal_fail(g->rd, p, 500, false, "");
        return;
    }
    p->dropped = not_reaped;
    g->writing = true;
    raftd_propose(g->rd, p);
}

static int64_t cutoff(const struct sched_gc *g, int64_t threshold)
{
    return g->force ? INT64_MAX : gc_times_cutoff(&g->times, &g->now, threshold);
}

/* ---- jobs ---- */

/* "NS NUL ID" of a key, and where it ends. */
struct job_name {
    char ns[STATE_NAMESPACE_LEN_MAX + 1], id[STATE_JOB_ID_LEN_MAX + 1];
};

static bool name_of(const uint8_t *key, size_t len, struct job_name *ret)
{
    const uint8_t *nul = memchr(key, 0, len);
    size_t ns = nul ? (size_t)(nul - key) : 0, id = nul ? len - ns - 1 : 0;

    if (!nul || ns >= sizeof(ret->ns) || id >= sizeof(ret->id))
        return false;
    memcpy(ret->ns, key, ns);
    ret->ns[ns] = 0;
    memcpy(ret->id, nul + 1, id);
    ret->id[id] = 0;
    return true;
}

/* The job with this name, if it is the one created at `create_index` (0: whichever). */
static struct gc_job find_job(struct store_txn *t, const char *ns, const char *id,
                              uint64_t create_index)
{
    struct state_meta m = {0};
    struct state_job row;

    if (state_job_row(t, ns, id, &row, &m) != 0 || !m.found ||
        (create_index && row.create_index != create_index))
        return (struct gc_job){0};
    return (struct gc_job){
        .there = true,
        .dead = row.dead,
        .stop = row.stop,
        .batch = strcmp(row.type, "batch") == 0,
        .periodic = row.periodic,
        .parameterized = row.parameterized && !row.dispatched,
        .submit_time = row.submit_time,
    };
}

struct job_check {
    int64_t cutoff;
    unsigned n;
    bool busy;
};

static int check_alloc(void *user, const struct state_alloc *a)
{
    struct job_check *c = user;

    c->busy = alloc_view_live(&a->view) || alloc_view_client(&a->view) == ALLOC_CLIENT_RUNNING ||
              (int64_t)a->view.num[T(modify_time)] > c->cutoff;
    return c->busy || ++c->n == JOB_ALLOCS_MAX;
}

static int jobs_row(struct sched_gc *g, struct store_txn *t, struct bytes key, struct bytes value)
{
    struct job_check c = {.cutoff = cutoff(g, g->rd->ctx->conf->server.job_gc_threshold)};
    struct job_name name;
    struct gc_job job;

    (void)value;
    if (!name_of(key.data, key.len, &name))
        return 0;
    job = find_job(t, name.ns, name.id, 0);
    if (!gc_job_eligible(&job, c.cutoff))
        return 0;
    (void)state_job_allocs_each(t, name.ns, name.id, check_alloc, &c);
    if (!c.busy)
        add_job(g, name.ns, name.id);
    return 0;
}

/* ---- allocations ---- */

static char *copy_text(struct bytes b)
{
    return xstrndup(b.data ? (const char *)b.data : "", b.len);
}

/* The reschedule policy of a failed one's group, as it was when it was placed. */
static struct gc_policy policy_of(struct store_txn *t, const struct state_alloc *a, const char *ns,
                                  const char *id)
{
    struct bytes group = a->view.text[T(task_group)], spec, server;
    struct gc_policy p = {0};
    steppe_Job job = steppe_Job_init_zero;
    pb_istream_t in;

    if (state_job_version(t, ns, id, a->view.num[T(job_create_index)], a->view.num[T(job_version)],
                          &spec, &server) != 0)
        return p;
    in = pb_istream_from_buffer(spec.data, spec.len);
    if (!pb_decode(&in, steppe_Job_fields, &job))
        return p;
    for (pb_size_t i = 0; i < job.task_groups_count; i++) {
        const steppe_TaskGroup *tg = &job.task_groups[i];

        if (tg->name && bytes_eq(bytes_text(tg->name), group) && tg->has_reschedule_policy)
            p = (struct gc_policy){true, tg->reschedule_policy.unlimited,
                                   tg->reschedule_policy.attempts, tg->reschedule_policy.interval};
    }
    pb_release(steppe_Job_fields, &job);
    return p;
}

static int64_t last_reschedule(struct bytes tracker)
{
    steppe_RescheduleTracker msg = steppe_RescheduleTracker_init_zero;
    pb_istream_t in = pb_istream_from_buffer(tracker.data, tracker.len);
    int64_t at = 0;

    if (tracker.len && pb_decode(&in, steppe_RescheduleTracker_fields, &msg)) {
        if (msg.events_count)
            at = msg.events[msg.events_count - 1].reschedule_time;
        pb_release(steppe_RescheduleTracker_fields, &msg);
    }
    return at;
}

struct walk {
    struct sched_gc *g;
    struct store_txn *t;
    unsigned rows;
    uint64_t last;
    bool done;
};

/* The interval is over for what is older than this less the interval. */
static int64_t now_for(const struct sched_gc *g, const struct gc_policy *policy)
{
    return gc_times_cutoff(&g->times, &g->now, policy->interval) + policy->interval;
}

/* By modify index, the oldest first. */
static int allocs_row(void *user, const struct state_alloc *a)
{
    struct walk *w = user;
    const struct alloc_view *v = &a->view;
    int64_t limit = cutoff(w->g, w->g->rd->ctx->conf->server.eval_gc_threshold);
    struct gc_alloc alloc = {
        .terminal = !alloc_view_live(v),
        .client_running = alloc_view_client(v) == ALLOC_CLIENT_RUNNING,
        .client_failed = alloc_view_client(v) == ALLOC_CLIENT_FAILED,
        .desired_stop = bytes_eq(v->text[T(desired_status)], bytes_text("stop")),
        .replaced = v->text[T(next_allocation)].len > 0,
        .modify_time = (int64_t)v->num[T(modify_time)],
    };

    if (v->num[T(modify_index)] != w->last && (w->rows >= ROWS_MAX || full(w->g)))
        return 1;
    w->rows++;
    w->last = v->num[T(modify_index)];
    if (alloc.modify_time > limit) {
        w->done = true;
        return 1;
    }
    if (alloc.terminal && !alloc.client_running && !full(w->g)) {
        _cleanup_(freep) char *ns = copy_text(v->text[T(namespace)]);
        _cleanup_(freep) char *id = copy_text(v->text[T(job_id)]);
        struct gc_job job = find_job(w->t, ns, id, v->num[T(job_create_index)]);
        struct gc_policy policy = {0};

        if (alloc.client_failed && job.there && !job.dead && !job.stop) {
            policy = policy_of(w->t, a, ns, id);
            alloc.last_reschedule = last_reschedule(v->text[T(reschedule_tracker)]);
        }
        if (gc_alloc_eligible(&alloc, &job, &policy, now_for(w->g, &policy), limit))
            GC_ADD(w->g, alloc_ids, a->id);
    } else if (full(w->g)) {
        w->last--; /* this index once more, when those of it that are in the list are gone */
        return 1;
    }
    return 0;
}

/* True: the phase is through. */
static bool allocs_some(struct sched_gc *g, struct store_txn *t)
{
    struct walk w = {.g = g, .t = t, .last = g->alloc_index};
    int r = state_allocs_changed(t, g->alloc_index, allocs_row, &w);

    g->alloc_index = w.last;
    return r <= 0 || w.done;
}

/* ---- evaluations ---- */

static bool has_allocs(struct store_txn *t, const char *eval_id)
{
    struct store_cursor c = {0};
    uint8_t buf[STATE_KEY_MAX];
    struct bytes key, value, prefix = state_key_alloc(eval_id, buf);
    int r = prefix.data ? store_scan(t, STATE_EVAL_ALLOCS, prefix, &c) : -EINVAL;

    if (r == 0)
        r = store_next(&c, &key, &value);
    store_scan_end(&c);
    return r == 0;
}

static int evals_row(struct sched_gc *g, struct store_txn *t, struct bytes key, struct bytes value)
{
    int64_t limit = cutoff(g, g->rd->ctx->conf->server.eval_gc_threshold), time;
    char id[UUID_TEXT_LEN + 1];
    steppe_Evaluation ev;
    struct gc_job job;
    bool batch;

    if (value.len != 1 || value.data[0] < STATE_EVAL_COMPLETE || key.len <= UUID_TEXT_LEN)
        return 0;
    memcpy(id, key.data + key.len - UUID_TEXT_LEN, UUID_TEXT_LEN);
    id[UUID_TEXT_LEN] = 0;
    if (has_allocs(t, id) || !sched_eval_read(g->rd, id, &ev))
        return 0;
    batch = ev.type && strcmp(ev.type, "batch") == 0;
    time = ev.modify_time ? ev.modify_time : ev.create_time;
    job = find_job(t, ev.namespace ? ev.namespace : "", ev.job_id ? ev.job_id : "", 0);
    pb_release(steppe_Evaluation_fields, &ev);
    if (gc_eval_eligible(batch, time, &job, limit))
        GC_ADD(g, eval_ids, id);
    return 0;
}

/* ---- deployments and nodes ---- */

/* They have no times: the index that the state had at the cutoff decides. */
static uint64_t index_at(const struct sched_gc *g, int64_t threshold)
{
    return g->force ? UINT64_MAX : gc_times_index(&g->times, &g->now, threshold);
}

static int find_live(void *user, const struct state_alloc *a)
{
    const char *deployment = user;

    return alloc_view_live(&a->view) &&
           bytes_eq(a->view.text[T(deployment_id)], bytes_text(deployment));
}

static int deployments_row(struct sched_gc *g, struct store_txn *t, struct bytes key,
                           struct bytes value)
{
    uint64_t old = index_at(g, g->rd->ctx->conf->server.deployment_gc_threshold);
    steppe_Deployment d = steppe_Deployment_init_zero;
    pb_istream_t in = pb_istream_from_buffer(value.data, value.len);

    (void)key;
    if (!pb_decode(&in, steppe_Deployment_fields, &d))
        return 0;
    if (d.id && d.status && strcmp(d.status, "running") != 0 && strcmp(d.status, "paused") != 0 &&
        d.modify_index <= old &&
        state_job_allocs_each(t, d.namespace ? d.namespace : "", d.job_id ? d.job_id : "",
                              find_live, d.id) == 0)
        GC_ADD(g, deployment_ids, d.id);
    pb_release(steppe_Deployment_fields, &d);
    return 0;
}

static int any_alloc(void *user, const struct state_alloc *a)
{
    (void)user;
    (void)a;
    return 1;
}

static int nodes_row(struct sched_gc *g, struct store_txn *t, struct bytes key, struct bytes value)
{
    int64_t limit = cutoff(g, g->rd->ctx->conf->server.node_gc_threshold);
    steppe_NodeRow row = steppe_NodeRow_init_zero;
    pb_istream_t in = pb_istream_from_buffer(value.data, value.len);
    char id[UUID_TEXT_LEN + 1];

    if (key.len != UUID_TEXT_LEN || !pb_decode(&in, steppe_NodeRow_fields, &row) ||
        strcmp(row.status, "down") != 0 || row.status_updated_at > limit / NS_PER_SEC)
        return 0;
    memcpy(id, key.data, UUID_TEXT_LEN);
    id[UUID_TEXT_LEN] = 0;
    if (state_node_allocs_each(t, id, any_alloc, NULL) == 0)
        GC_ADD(g, node_ids, id);
    return 0;
}

/* ---- phases ---- */

static const struct {
    enum state_table table;
    int (*row)(struct sched_gc *g, struct store_txn *t, struct bytes key, struct bytes value);
} phases[GC_PHASES] = {
    [GC_JOBS] = {STATE_JOBS, jobs_row},
    [GC_EVALS] = {STATE_JOB_EVALS, evals_row},
    [GC_DEPLOYMENTS] = {STATE_DEPLOYMENTS, deployments_row},
    [GC_NODES] = {STATE_NODES, nodes_row},
};

/* The next rows of a phase that walks through a table. True: it is through. */
static bool rows_some(struct sched_gc *g, struct store_txn *t)
{
    struct store_cursor c = {0};
    struct bytes key, value;
    int r = store_scan(t, phases[g->phase].table, bytes_of(NULL, 0), &c);

    if (r == 0)
        r = store_seek(&c, bytes_of(g->at, g->at_len), &key, &value);
    for (unsigned n = 0; r == 0; n++) {
        if (n == ROWS_MAX || full(g)) {
            memcpy(g->at, key.data, key.len);
            g->at_len = key.len;
            break;
        }
        r = phases[g->phase].row(g, t, key, value);
        if (r == 0)
            r = store_next(&c, &key, &value);
    }
    store_scan_end(&c);
    return r != 0;
}

static void some(struct sched_gc *g)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    bool through;

    if (store_begin(g->rd->store, false, &t) < 0)
        return;
    through = g->phase == GC_ALLOCS ? allocs_some(g, t) : rows_some(g, t);
    if (g->ids)
        propose(g);
    if (!through)
        return;
    g->at_len = 0;
    g->alloc_index = 0;
    if (++g->phase < GC_PHASES)
        return;
    g->phase = GC_IDLE;
    if (g->found)
        log_info("deleted what is of no use any more n=%zu%s", g->found, g->force ? " asked" : "");
    else
        log_debug("nothing is of no use");
}

static struct gc_time now_of(const struct sched_gc *g)
{
    return (struct gc_time){clock_mono().ns, clock_wall().ns, fsm_applied_index(g->rd->fsm)};
}

static void start(struct sched_gc *g, bool force, int64_t now_ns)
{
    g->phase = GC_JOBS;
    g->force = force;
    g->now = now_of(g);
    g->found = 0;
    g->at_len = 0;
    g->alloc_index = 0;
    g->wanted = false;
    g->due_ns = now_ns + g->rd->ctx->conf->server.job_gc_interval;
}

void sched_gc_tick(struct raftd *rd, int64_t now_ns)
{
    struct sched_gc *g = rd->sched->gc;
    struct gc_time now = now_of(g);

    gc_times_note(&g->times, &now);
    if (g->writing)
        return;
    if (g->phase == GC_IDLE && (g->wanted || now_ns >= g->due_ns))
        start(g, g->wanted, now_ns);
    if (g->phase != GC_IDLE)
        some(g);
}

void sched_gc_request(struct raftd *rd, struct bus_req *req)
{
    steppe_GenericResponse ok = {.index = fsm_applied_index(rd->fsm)};

    rd->sched->gc->wanted = true;
    raftd_rpc_answer(rd, req, ok.index, steppe_GenericResponse_fields, &ok);
}

void sched_gc_new(struct raftd *rd)
{
    rd->sched->gc = xcalloc(1, sizeof(*rd->sched->gc));
    rd->sched->gc->rd = rd;
}

void sched_gc_lead(struct raftd *rd)
{
    struct sched_gc *g = rd->sched->gc;

    list_free(g);
    *g = (struct sched_gc){.rd = rd, .due_ns = sched_now() + rd->ctx->conf->server.job_gc_interval};
}

void sched_gc_free(struct raftd *rd)
{
    list_free(rd->sched->gc);
    free(rd->sched->gc);
}
