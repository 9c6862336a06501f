/* SPDX-License-Identifier: MPL-2.0 */
/* This node's state, read as it lies on disk: nodes and allocations into the image, the job and its
 * allocations for one attempt. */
#include "schedd.h"

#include <errno.h>
#include <pb_decode.h>
#include <string.h>

#include "base/log.h"
#include "sched_match.h"
#include "state/state.h"
#include "state/state_alloc.h"
#include "state/state_config.h"
#include "wire/wire.h"

#define ALLOCS_MAX   (1u << 20) /* of one job, ended ones with it */
#define VERSIONS_MAX 64 /* of a job that still have allocations; older ones count as changed */

/* ---- the store ---- */

static bool open_store(struct schedd *d)
{
    _cleanup_(freep) char *dir = NULL;
    struct store_lmdb_options o = {.read_only = true};
    struct state_status st;
    struct errtext e = {{0}};

    if (state_status_read(d->status, clock_mono(), &st) != 0)
        return false;
    if (d->store && d->generation == st.generation)
        return true;
    d->store = store_free(d->store);
    image_reset(d->image);
    dir = xasprintf("%s/state", d->ctx->conf->server.data_dir);
    o.path = dir;
    if (store_lmdb_open(&o, &d->store, NULL, &e) != 0) {
        log_warn("this node's state cannot be read yet error=\"%s\"", e.text);
        return false;
    }
    (void)store_generation(d->store, &d->generation);
    return d->generation == st.generation;
}

/* ---- jobs ---- */

static int decode_job(struct bytes spec, struct bytes server, steppe_Job *ret)
{
    _cleanup_(strbuf_fini) struct strbuf b = STRBUF_INIT;
    struct errtext e;

    strbuf_add(&b, spec.data, spec.len);
    strbuf_add(&b, server.data, server.len);
    return wire_decode(steppe_Job_fields, b.data, b.len, ret, sizeof(*ret), &e);
}

/* A version of the job that allocations refer to. */
struct version {
    uint64_t create_index, version;
    bool known;
    steppe_Job job;
};

/* What was found for a group that may be preempted. */
struct asked {
    bool known;
    uint32_t job, group;
    uint64_t version;
    int max_parallel;
};

struct loading {
    struct schedd_item *it;
    struct store_txn *t;
    struct sched_alloc *allocs;
    size_t n, cap;
    struct version *versions;
    size_t versions_n;
    struct asked asked;
};

static const steppe_Job *version_of(struct loading *l, const struct sched_alloc *a)
{
    const steppe_Evaluation *e = &l->it->eval;
    struct bytes spec, server;
    struct version *v;

    for (size_t i = 0; i < l->versions_n; i++)
        if (l->versions[i].create_index == a->job_create_index &&
            l->versions[i].version == a->job_version)
            return l->versions[i].known ? &l->versions[i].job : NULL;
    if (l->versions_n == VERSIONS_MAX)
        return NULL;
    v = &l->versions[l->versions_n++];
    v->create_index = a->job_create_index;
    v->version = a->job_version;
    v->known = state_job_version(l->t, sched_text(e->namespace), sched_text(e->job_id),
                                 a->job_create_index, a->job_version, &spec, &server) == 0 &&
               decode_job(spec, server, &v->job) == 0;
    return v->known ? &v->job : NULL;
}

static int load_alloc(void *user, const struct state_alloc *a)
{
    struct loading *l = user;
    struct sched_alloc *out;

    if (l->n == ALLOCS_MAX)
        return -E2BIG;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->allocs = xrealloc(l->allocs, l->cap * sizeof(*l->allocs));
    }
    out = &l->allocs[l->n];
    if (sched_alloc_read(&l->it->arena, a->placed, a->changed, out) != 0)
        return -EBADMSG;
    l->n++;
    out->job = version_of(l, out);
    out->tg = sched_job_group(out->job, out->group);
    return 0;
}

static int load_job(struct schedd_item *it, struct store_txn *t)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    struct state_meta m;
    steppe_Job *job;
    struct errtext e;
    int r =
        state_job_get(t, sched_text(it->eval.namespace), sched_text(it->eval.job_id), &body, &m);

    schedd_job_release(it);
    if (r < 0 || !m.found)
        return MIN(r, 0);
    job = xcalloc(1, sizeof(*job));
    r = wire_decode(steppe_Job_fields, body.data, body.len, job, sizeof(*job), &e);
    if (r < 0) {
        free(job);
        return r;
    }
    it->in.job = job;
    return 0;
}

void schedd_job_release(struct schedd_item *it)
{
    if (it->in.job) {
        pb_release(steppe_Job_fields, (void *)it->in.job);
        free((void *)it->in.job);
    }
    it->in.job = NULL;
}

static void free_loading(struct loading *l)
{
    for (size_t i = 0; i < l->versions_n; i++)
        if (l->versions[i].known)
            pb_release(steppe_Job_fields, &l->versions[i].job);
    free(l->versions);
    free(l->allocs);
}

/* ---- an attempt ---- */

static int64_t mono_now(void)
{
    return clock_mono().ns;
}

static int refresh(struct schedd *d, struct store_txn *t)
{
    int r;

    if (d->image_doubtful) {
        image_reset(d->image);
        d->image_doubtful = false;
    }
    do {
        r = image_refresh(d->image, t, 0);
    } while (r > 0);
    return r;
}

static int read_config(struct store_txn *t, struct sched_config *ret)
{
    steppe_SchedulerConfiguration c;
    struct state_meta m;
    int r = state_scheduler_config(t, &c, &m);

    if (r < 0)
        return r;
    *ret = (struct sched_config){
        .preempt_system = c.preemption_config.system_scheduler_enabled,
        .preempt_batch = c.preemption_config.batch_scheduler_enabled,
        .preempt_service = c.preemption_config.service_scheduler_enabled,
        .spread = strcmp(sched_text(c.scheduler_algorithm), "spread") == 0,
        .memory_oversubscription = c.memory_oversubscription_enabled,
    };
    pb_release(steppe_SchedulerConfiguration_fields, &c);
    return 0;
}

/* migrate.max_parallel of the group that an allocation of another job belongs to; the last one
 * asked for is remembered, for all of a group are asked for in a row. */
static int max_parallel(void *user, const struct image_alloc *a)
{
    struct loading *l = user;
    const struct image *im = l->it->d->image;
    const struct image_job *j = image_job_at(im, a->job);
    struct bytes spec, server;
    const steppe_TaskGroup *tg;
    steppe_Job job;

    if (l->asked.known && l->asked.job == a->job && l->asked.group == a->group &&
        l->asked.version == a->job_version)
        return l->asked.max_parallel;
    l->asked = (struct asked){true, a->job, a->group, a->job_version, 0};
    if (!j ||
        state_job_version(l->t, j->namespace, j->id, a->job_create_index, a->job_version, &spec,
                          &server) != 0 ||
        decode_job(spec, server, &job) != 0)
        return 0;
    tg = sched_job_group(&job, image_text_of(im, a->group));
    if (tg && tg->has_migrate)
        l->asked.max_parallel = tg->migrate.max_parallel;
    pb_release(steppe_Job_fields, &job);
    return l->asked.max_parallel;
}

static void run(struct schedd *d, struct schedd_item *it, struct loading *l, uint64_t index)
{
    it->in.eval = &it->eval;
    it->in.allocs = l->allocs;
    it->in.allocs_n = l->n;
    it->in.image = d->image;
    it->in.max_parallel = max_parallel;
    it->in.user = l;
    it->in.regexps = d->regexps;
    it->in.prng = &d->prng;
    it->in.now = clock_wall().ns;
    for (size_t i = 0; i < l->n; i++)
        sched_alloc_mend_times(&l->allocs[i], it->in.now);
    it->in.snapshot_index = index;
    it->in.token = it->token;
    it->in.region = d->ctx->conf->region;
    it->in.clock = mono_now;
    strbuf_reset(&it->plan);
    sched_run(&it->in, &it->arena, &it->plan, &it->out);
    it->has_out = true;
    it->in.allocs = NULL;
    it->in.allocs_n = 0;
    it->in.user = NULL;
    /* The next evaluation sees it as done already; what the leader refuses is taken back then. */
    if (it->out.noop)
        image_undo(d->image, 0);
    else
        image_keep(d->image, index);
}

static enum schedd_load attempt_in(struct schedd *d, struct schedd_item *it, struct store_txn *t)
{
    struct loading l = {.it = it, .t = t};
    uint64_t index, term;
    int r = state_applied(t, &index, &term);

    if (r == 0 && index < it->min_index)
        return SCHEDD_LATER;
    sched_arena_reset(&it->arena);
    it->has_out = false;
    l.versions = xcalloc(VERSIONS_MAX, sizeof(*l.versions));
    if (r == 0)
        r = refresh(d, t);
    if (r == 0)
        r = read_config(t, &it->in.config);
    if (r == 0)
        r = load_job(it, t);
    if (r == 0)
        r = state_job_allocs_each(t, sched_text(it->eval.namespace), sched_text(it->eval.job_id),
                                  load_alloc, &l);
    if (r == 0)
        run(d, it, &l, index);
    else
        log_error("an evaluation's state cannot be read eval=%s job=%s error=\"%s\"",
                  sched_text(it->eval.id), sched_text(it->eval.job_id), strerror(-r));
    free_loading(&l);
    return r == 0 ? SCHEDD_LOADED : SCHEDD_BROKEN;
}

enum schedd_load schedd_attempt(struct schedd *d, struct schedd_item *it)
{
    struct store_txn *t = NULL;
    enum schedd_load r;

    if (!open_store(d) || store_begin(d->store, false, &t) != 0)
        return SCHEDD_LATER;
    r = attempt_in(d, it, t);
    store_abort(t);
    return r;
}

/* ---- what the leader did not take ---- */

static void resync(struct schedd *d, struct store_txn *t, const char *id)
{
    if (image_reread(d->image, t, sched_text(id)) < 0)
        d->image_doubtful = true;
}

static bool is_rejected(const steppe_PlanResult *res, const char *node)
{
    if (res->placed + res->stopped == 0)
        return true;
    for (pb_size_t i = 0; i < res->rejected_nodes_count; i++)
        if (strcmp(sched_text(res->rejected_nodes[i]), sched_text(node)) == 0)
            return true;
    return false;
}

void schedd_correct_image(struct schedd *d, const struct schedd_item *it,
                          const steppe_PlanResult *res)
{
    struct store_txn *t = NULL;
    steppe_Plan plan;
    struct errtext e;

    if (!d->store || store_begin(d->store, false, &t) != 0 ||
        wire_decode(steppe_Plan_fields, it->plan.data, it->plan.len, &plan, sizeof(plan), &e) !=
            0) {
        store_abort(t);
        d->image_doubtful = true;
        return;
    }
    for (pb_size_t i = 0; i < plan.place_count; i++)
        if (is_rejected(res, plan.place[i].node_id))
            resync(d, t, plan.place[i].id);
    for (pb_size_t i = 0; i < plan.stop_count; i++)
        if (is_rejected(res, plan.stop[i].node_id))
            resync(d, t, plan.stop[i].alloc_id);
    for (pb_size_t i = 0; i < plan.preempt_count; i++)
        if (is_rejected(res, plan.preempt[i].node_id))
            resync(d, t, plan.preempt[i].alloc_id);
    pb_release(steppe_Plan_fields, &plan);
    store_abort(t);
}
