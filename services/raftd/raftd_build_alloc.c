/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What clients say about their allocations, and what people wish of allocations, jobs and nodes.
 * Evaluations are made here, because only here the policies of a job are looked at.
 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "raftd_build.h"
#include "state/state_alloc.h"
#include "wire/wire.h"

#define T(field) steppe_Allocation_##field##_tag

/* ---- evaluations to create ---- */

/* Owns its texts but for the constant ones. */
struct eval_list {
    steppe_EvalListResponse list;
    size_t cap;
};

static void eval_list_fini(struct eval_list *l)
{
    for (pb_size_t i = 0; i < l->list.evaluations_count; i++) {
        free(l->list.evaluations[i].id);
        free(l->list.evaluations[i].job_id);
        free(l->list.evaluations[i].type);
    }
    free(l->list.evaluations);
}

static void eval_list_add(struct eval_list *l, const char *ns, const char *job_id, const char *type,
                          int priority, uint64_t job_modify_index, const char *triggered_by)
{
    int64_t now = clock_wall().ns;
    steppe_Evaluation *e;
    char id[37];

    if (l->list.evaluations_count == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 4;
        l->list.evaluations = xrealloc(l->list.evaluations, l->cap * sizeof(*l->list.evaluations));
    }
    e = &l->list.evaluations[l->list.evaluations_count++];
    uuid_make(id);
    *e = (steppe_Evaluation){
        .id = xstrdup(id),
        .namespace = (char *)ns,
        .priority = priority,
        .type = xstrdup(type),
        .triggered_by = (char *)triggered_by,
        .job_id = xstrdup(job_id),
        .job_modify_index = job_modify_index,
        .status = (char *)"pending",
        .create_time = now,
        .modify_time = now,
    };
}

static bool eval_list_has(const struct eval_list *l, const char *job_id)
{
    for (pb_size_t i = 0; i < l->list.evaluations_count; i++) {
        if (strcmp(l->list.evaluations[i].job_id, job_id) == 0)
            return true;
    }
    return false;
}

static void copy_bytes(char *to, size_t cap, struct bytes from)
{
    (void)snprintf(to, cap, "%.*s", (int)from.len, from.data ? (const char *)from.data : "");
}

static enum built state_failed(struct building *b, int r)
{
    return raftd_build_error(b, 500, "cannot read the state: %s", strerror(-r));
}

/* ---- failed allocations ---- */

/* The jobs of failed allocations, the last one decoded. */
struct failed {
    struct store_txn *t;
    struct eval_list evals;
    char job_id[STATE_JOB_ID_LEN_MAX + 1], ns[STATE_NAMESPACE_LEN_MAX + 1];
    bool has_job;
    steppe_Job job;
};

static void failed_forget_job(struct failed *f)
{
    if (f->has_job)
        pb_release(steppe_Job_fields, &f->job);
    f->has_job = false;
    f->job_id[0] = 0;
}

/* The job as it is now; false: it is gone. */
static bool failed_job(struct failed *f, const struct state_alloc *a)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    char job_id[sizeof(f->job_id)], ns[sizeof(f->ns)];
    struct state_meta m = {0};

    copy_bytes(job_id, sizeof(job_id), a->view.text[T(job_id)]);
    copy_bytes(ns, sizeof(ns), a->view.text[T(namespace)]);
    if (strcmp(job_id, f->job_id) == 0 && strcmp(ns, f->ns) == 0)
        return f->has_job;
    failed_forget_job(f);
    memcpy(f->job_id, job_id, sizeof(job_id));
    memcpy(f->ns, ns, sizeof(ns));
    f->has_job =
        state_job_get(f->t, ns, job_id, &body, &m) == 0 && m.found &&
        wire_decode(steppe_Job_fields, body.data, body.len, &f->job, sizeof(f->job), NULL) == 0;
    return f->has_job;
}

static const steppe_TaskGroup *group_of(const steppe_Job *job, struct bytes name)
{
    for (pb_size_t i = 0; i < job->task_groups_count; i++) {
        const char *g = job->task_groups[i].name;

        if (g && bytes_eq(bytes_text(g), name))
            return &job->task_groups[i];
    }
    return NULL;
}

/* Nomad's RescheduleEligible: is an attempt left? */
static bool may_reschedule(const steppe_ReschedulePolicy *p, struct bytes tracker)
{
    int64_t now = clock_wall().ns;
    steppe_RescheduleTracker t;
    int attempted = 0;

    if (p->unlimited)
        return true;
    if (p->attempts <= 0 || wire_decode(steppe_RescheduleTracker_fields, tracker.data, tracker.len,
                                        &t, sizeof(t), NULL) != 0)
        return false;
    for (pb_size_t i = 0; i < t.events_count; i++)
        attempted += now - t.events[i].reschedule_time < p->interval;
    pb_release(steppe_RescheduleTracker_fields, &t);
    return attempted < p->attempts;
}

/* One evaluation a job for all its allocations that failed and may be placed again. */
static int failed_add(struct failed *f, const steppe_Allocation *said)
{
    const steppe_TaskGroup *group;
    struct state_alloc a;
    int r;

    if (!said->id || !said->client_status || strcmp(said->client_status, "failed") != 0)
        return 0;
    r = state_alloc_read(f->t, said->id, &a);
    if (r || alloc_view_stopped(&a.view) || a.view.text[T(followup_eval_id)].len ||
        !failed_job(f, &a))
        return r < 0 ? r : 0;
    group = group_of(&f->job, a.view.text[T(task_group)]);
    if (!group || !group->has_reschedule_policy || eval_list_has(&f->evals, f->job_id) ||
        !may_reschedule(&group->reschedule_policy, a.view.text[T(reschedule_tracker)]))
        return 0;
    eval_list_add(&f->evals, "default", f->job_id, f->job.type ? f->job.type : "service",
                  f->job.priority, 0, "alloc-failure");
    return 0;
}

/* ---- what clients say ---- */

/* 0, or BUILT_ERROR with code and text. */
static enum built check_secret(struct building *b, const char *node_id, const char *secret)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    struct state_meta m = {0};
    struct state_node row;
    int r;

    if (!node_id || !uuid_valid(node_id))
        return raftd_build_error(b, 400, "missing node ID for client status update");
    r = store_begin(b->rd->store, false, &t);
    if (r == 0)
        r = state_node_row(t, node_id, &row, &m, &b->e);
    if (r < 0)
        return state_failed(b, r);
    if (r > 0 || !m.found)
        return raftd_build_error(b, 404, "node not found");
    if (!secret || strcmp(secret, row.secret_id) != 0)
        return raftd_build_error(b, 403, "node secret ID does not match");
    return BUILT_COMMAND;
}

static enum built encode_update(struct building *b, const steppe_AllocClientUpdateCommand *cmd,
                                const struct eval_list *evals)
{
    _cleanup_(strbuf_fini) struct strbuf list = STRBUF_BOUND(COMMAND_LEN_MAX);
    struct bytes blobs[2];

    if (evals->list.evaluations_count &&
        wire_encode(steppe_EvalListResponse_fields, &evals->list, &list) < 0)
        return raftd_build_error(b, 413, "too many evaluations at once");
    blobs[0] = b->raw;
    blobs[1] = bytes_of(list.data, list.len);
    return raftd_build_command(b, COMMAND_ALLOC_CLIENT_UPDATE, cmd, blobs, list.len ? 2 : 1);
}

enum built raftd_build_node_update_alloc(struct building *b, void *msg)
{
    steppe_NodeUpdateAllocRequest *req = msg;
    steppe_AllocClientUpdateCommand cmd = {0};
    struct failed f = {0};
    enum built built = check_secret(b, req->node_id, req->secret_id);
    int r;

    if (built != BUILT_COMMAND)
        return built;
    if (req->allocs_count == 0)
        return raftd_build_error(b, 400, "must update at least one allocation");
    COPY_TEXT(cmd.node_id, req->node_id);
    r = store_begin(b->rd->store, false, &f.t);
    for (pb_size_t i = 0; r == 0 && i < req->allocs_count; i++)
        r = failed_add(&f, &req->allocs[i]);
    built = r < 0 ? state_failed(b, r) : encode_update(b, &cmd, &f.evals);
    failed_forget_job(&f);
    eval_list_fini(&f.evals);
    store_abort(f.t);
    return built;
}

/* ---- wishes ---- */

/* allocs may be empty; evals has one evaluation at least. */
static enum built encode_transition(struct building *b, const steppe_AllocTransitionCommand *cmd,
                                    steppe_AllocsResponse *allocs, const struct eval_list *evals)
{
    _cleanup_(strbuf_fini) struct strbuf what = STRBUF_BOUND(COMMAND_LEN_MAX);
    _cleanup_(strbuf_fini) struct strbuf list = STRBUF_BOUND(COMMAND_LEN_MAX);
    struct bytes blobs[2];

    if (wire_encode(steppe_AllocsResponse_fields, allocs, &what) < 0 ||
        wire_encode(steppe_EvalListResponse_fields, &evals->list, &list) < 0)
        return raftd_build_error(b, 413, "too many allocations at once");
    blobs[0] = bytes_of(what.data, what.len);
    blobs[1] = bytes_of(list.data, list.len);
    return raftd_build_command(b, COMMAND_ALLOC_TRANSITION, cmd, blobs, ARRAY_LEN(blobs));
}

enum built raftd_build_alloc_stop(struct building *b, void *msg)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    _cleanup_(eval_list_fini) struct eval_list evals = {0};
    steppe_AllocSpecificRequest *req = msg;
    steppe_AllocTransitionCommand cmd = {.reason = "stop"};
    char job_id[STATE_JOB_ID_LEN_MAX + 1], id[STATE_KEY_MAX];
    struct state_job job = {.type = "service", .priority = 50};
    steppe_Allocation one = steppe_Allocation_init_zero;
    steppe_AllocsResponse allocs = {.allocs = &one, .allocs_count = 1};
    struct state_meta m = {0};
    struct state_alloc a;
    int r;

    if (!req->alloc_id || !req->alloc_id[0])
        return raftd_build_error(b, 400, "must provide an alloc id");
    if (!state_key_uuid(req->alloc_id, (uint8_t *)id).data)
        return raftd_build_error(b, 500,
                                 "alloc lookup failed: index error: UUID must be 36 characters");
    id[36] = 0;
    r = store_begin(b->rd->store, false, &t);
    if (r == 0)
        r = state_alloc_read(t, id, &a);
    if (r == STORE_E_NOT_FOUND)
        return raftd_build_error(b, 404, "alloc not found");
    if (r == 0) {
        copy_bytes(job_id, sizeof(job_id), a.view.text[T(job_id)]);
        r = state_job_row(t, "default", job_id, &job, &m);
    }
    if (r < 0)
        return state_failed(b, r);
    eval_list_add(&evals, "default", job_id, job.type, job.priority, job.modify_index,
                  "alloc-stop");
    one.id = id;
    one.has_desired_transition = true;
    one.desired_transition.has_migrate = one.desired_transition.migrate = true;
    return encode_transition(b, &cmd, &allocs, &evals);
}

/* Failed allocations of a job that a forced evaluation may place again. */
struct forced {
    const steppe_Job *job;
    steppe_AllocsResponse allocs; /* ids are owned */
    size_t cap;
};

static int force_one(void *user, const struct state_alloc *a)
{
    struct forced *f = user;
    const steppe_TaskGroup *group = group_of(f->job, a->view.text[T(task_group)]);
    const steppe_ReschedulePolicy *p = group ? &group->reschedule_policy : NULL;
    steppe_Allocation *one;

    if (alloc_view_client(&a->view) != ALLOC_CLIENT_FAILED || alloc_view_stopped(&a->view) ||
        a->view.text[T(next_allocation)].len || !group || !group->has_reschedule_policy ||
        (p->attempts <= 0 && !p->unlimited))
        return 0;
    if (f->allocs.allocs_count == f->cap) {
        f->cap = f->cap ? f->cap * 2 : 16;
        f->allocs.allocs = xrealloc(f->allocs.allocs, f->cap * sizeof(*f->allocs.allocs));
    }
    one = &f->allocs.allocs[f->allocs.allocs_count++];
    *one = (steppe_Allocation)steppe_Allocation_init_zero;
    one->id = xstrdup(a->id);
    one->has_desired_transition = true;
    one->desired_transition.has_force_reschedule = one->desired_transition.force_reschedule = true;
    return 0;
}

static void forced_fini(struct forced *f)
{
    for (pb_size_t i = 0; i < f->allocs.allocs_count; i++)
        free(f->allocs.allocs[i].id);
    free(f->allocs.allocs);
}

static int force_all(struct store_txn *t, struct building *b, const char *job_id, struct forced *f)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    struct state_meta m = {0};
    steppe_Job job;
    int r = state_job_get(t, b->namespace, job_id, &body, &m);

    if (r || !m.found ||
        wire_decode(steppe_Job_fields, body.data, body.len, &job, sizeof(job), NULL))
        return r < 0 ? r : 0;
    f->job = &job;
    r = state_job_allocs_each(t, b->namespace, job_id, force_one, f);
    pb_release(steppe_Job_fields, &job);
    return r;
}

enum built raftd_build_job_evaluate(struct building *b, void *msg)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    _cleanup_(eval_list_fini) struct eval_list evals = {0};
    _cleanup_(forced_fini) struct forced forced = {0};
    steppe_JobEvaluateRequest *req = msg;
    steppe_AllocTransitionCommand cmd = {.reason = "evaluate", .job_reply = true};
    struct state_meta m = {0};
    struct state_job job;
    int r;

    if (!req->job_id || !req->job_id[0])
        return raftd_build_error(b, 400, "missing job ID for evaluation");
    r = store_begin(b->rd->store, false, &t);
    if (r == 0)
        r = state_job_row(t, b->namespace, req->job_id, &job, &m);
    if (r < 0)
        return state_failed(b, r);
    if (!m.found)
        return raftd_build_error(b, 404, "job not found");
    if (job.periodic || job.parameterized)
        return raftd_build_error(b, 500, "can't evaluate %s job",
                                 job.periodic ? "periodic" : "parameterized");
    if (req->has_eval_options && req->eval_options.force_reschedule)
        r = force_all(t, b, req->job_id, &forced);
    if (r < 0)
        return state_failed(b, r);
    cmd.job_modify_index = job.job_modify_index;
    eval_list_add(&evals, "default", req->job_id, job.type, job.priority, job.modify_index,
                  "job-register");
    return encode_transition(b, &cmd, &forced.allocs, &evals);
}

enum built raftd_build_node_evaluate(struct building *b, void *msg)
{
    steppe_NodeSpecificRequest *req = msg;
    steppe_NodeEvaluateCommand cmd = {.eval_seed = random_u64() | 1};

    if (!req->node_id || !uuid_valid(req->node_id))
        return raftd_build_error(b, 400, "missing node ID for evaluation");
    COPY_TEXT(cmd.node_id, req->node_id);
    return raftd_build_command(b, COMMAND_NODE_EVALUATE, &cmd, NULL, 0);
}
