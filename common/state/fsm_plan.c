/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A verified plan into the state: what it stops, what it places or updates in place, evaluations
 * and a deployment. A placement's bytes are stored as they came; nothing in them is decoded.
 */
#include "state/fsm_alloc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc.pb.h"

#define T(field) steppe_Allocation_##field##_tag

/* ---- nodes that are left out ---- */

/* One command's plan. */
struct fsm_plan {
    struct bytes plan;
    struct strbuf rejected; /* ID16 after ID16, sorted */
    uint64_t placed, stopped;
};

static int fsm_id_cmp(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

static bool fsm_plan_rejects(const struct fsm_plan *p, const uint8_t node[static 16])
{
    return p->rejected.len && bsearch(node, p->rejected.data, p->rejected.len / 16, 16, fsm_id_cmp);
}

static int fsm_plan_rejected(struct fsm_ctx *c, struct fsm_plan *p)
{
    struct bytes result = c->cmd->blobs_n > 1 ? c->cmd->blobs[1] : (struct bytes){0};
    struct wire_field f;
    uint8_t id[16];

    while (wire_field_next(&result, &f)) {
        if (f.tag != steppe_PlanResult_rejected_nodes_tag)
            continue;
        if (f.wire != WIRE_BYTES || !row_uuid_read(f.data, id))
            return fsm_refuse(c, 400, "broken result of a plan");
        strbuf_add(&p->rejected, id, sizeof(id));
    }
    if (result.len)
        return fsm_refuse(c, 400, "broken result of a plan");
    if (p->rejected.len)
        qsort(p->rejected.data, p->rejected.len / 16, 16, fsm_id_cmp);
    return 0;
}

/* ---- checks ---- */

/* The key of a job from a placement's texts. */
static bool fsm_place_nsid(const struct alloc_view *v, struct row_key *ret)
{
    struct bytes ns = v->text[T(namespace)], job = v->text[T(job_id)];

    ret->len = 0;
    ret->failed = ns.len == 0 || ns.len > STATE_NAMESPACE_LEN_MAX || job.len == 0 ||
                  job.len > STATE_JOB_ID_LEN_MAX || memchr(ns.data, 0, ns.len);
    row_key_add(ret, ns.data, ns.len);
    row_key_add(ret, "", 1);
    row_key_add(ret, job.data, job.len);
    return !ret->failed;
}

/* The ids of a placement. */
static bool fsm_place_ids(const struct alloc_view *v, struct fsm_alloc *a)
{
    return row_uuid_read(v->text[T(id)], a->id) && row_uuid_read(v->text[T(node_id)], a->node) &&
           row_uuid_read(v->text[T(eval_id)], a->eval) && fsm_place_nsid(v, &a->nsid);
}

/* Who placed it may not have said of which job of this name it is: of the one that is there. */
static int fsm_place_job(struct fsm_ctx *c, const struct fsm_alloc *a, struct alloc_view *v)
{
    steppe_JobRow job;
    int r = 0;

    if (v->num[T(job_create_index)])
        return 0;
    r = fsm_job_read(c, row_key_bytes(&a->nsid), &job);
    if (r == 0)
        v->num[T(job_create_index)] = job.create_index;
    return r < 0 ? r : 0;
}

/* The allocation of this id, if it is there, is of the same node and job. 1: it is another one. */
static int fsm_place_moves(struct fsm_ctx *c, const struct fsm_alloc *a, struct fsm_alloc *old,
                           bool *ret_exists)
{
    int r = fsm_alloc_read(c, a->id, old);

    *ret_exists = r == 0;
    if (r)
        return r < 0 ? r : 0;
    return memcmp(old->node, a->node, 16) != 0 ||
           !bytes_eq(row_key_bytes(&old->nsid), row_key_bytes(&a->nsid));
}

static int fsm_place_check(struct fsm_ctx *c, struct bytes item)
{
    enum alloc_client_status status;
    struct alloc_view v = {0};
    struct fsm_alloc a, old;
    bool exists;
    int r;

    if (!alloc_view_add(&v, item) || !fsm_place_ids(&v, &a))
        return fsm_refuse(c, 400, "broken placement in a plan");
    if (v.text[T(task_group)].len == 0 || v.text[T(task_group)].len > STATE_GROUP_LEN_MAX)
        return fsm_refuse(c, 400, "placement without a task group");
    if (!alloc_client_parse(v.text[T(client_status)], &status))
        return fsm_refuse(c, 400, "invalid client status in a plan");
    r = fsm_place_moves(c, &a, &old, &exists);
    return r > 0 ? fsm_refuse(c, 400, "allocation %.36s is of another node or job",
                              v.text[T(id)].data)
                 : r;
}

/* A stop's texts by the numbers of PlanStop. */
struct fsm_stop {
    struct bytes text[steppe_PlanStop_next_allocation_tag + 1];
    uint8_t id[16];
};

static bool fsm_stop_read(struct bytes item, struct fsm_stop *ret)
{
    struct wire_field f;

    memset(ret->text, 0, sizeof(ret->text));
    while (wire_field_next(&item, &f)) {
        if (f.tag >= ARRAY_LEN(ret->text))
            continue;
        if (f.wire != WIRE_BYTES)
            return false;
        ret->text[f.tag] = f.data;
    }
    return item.len == 0 && row_uuid_read(ret->text[steppe_PlanStop_alloc_id_tag], ret->id);
}

static int fsm_stop_check(struct fsm_ctx *c, struct bytes item)
{
    enum alloc_client_status status;
    struct fsm_stop s;

    if (!fsm_stop_read(item, &s) ||
        !alloc_client_parse(s.text[steppe_PlanStop_client_status_tag], &status))
        return fsm_refuse(c, 400, "broken stop in a plan");
    return 0;
}

/* ---- stops ---- */

static struct bytes fsm_unless_empty(struct bytes v)
{
    return v.len ? v : (struct bytes){0};
}

static int fsm_stop_apply(struct fsm_ctx *c, struct fsm_plan *plan, struct bytes item)
{
    struct fsm_alloc_patch p = {0};
    struct fsm_alloc a;
    struct fsm_stop s;
    int r;

    (void)fsm_stop_read(item, &s);
    r = fsm_alloc_read(c, s.id, &a);
    if (r)
        return r > 0 ? 0 : r; /* collected meanwhile */
    if (fsm_plan_rejects(plan, a.node))
        return 0;
    p.text[T(desired_status)] = fsm_unless_empty(s.text[steppe_PlanStop_desired_status_tag]);
    p.text[T(desired_description)] =
        fsm_unless_empty(s.text[steppe_PlanStop_desired_description_tag]);
    p.text[T(client_status)] = fsm_unless_empty(s.text[steppe_PlanStop_client_status_tag]);
    p.text[T(followup_eval_id)] = fsm_unless_empty(s.text[steppe_PlanStop_followup_eval_id_tag]);
    p.text[T(preempted_by_allocation)] = fsm_unless_empty(s.text[steppe_PlanStop_preempted_by_tag]);
    p.text[T(next_allocation)] = fsm_unless_empty(s.text[steppe_PlanStop_next_allocation_tag]);
    p.quiet = !p.text[T(desired_status)].data && !p.text[T(client_status)].data;
    plan->stopped++;
    return fsm_alloc_change(c, &a, &p);
}

/* ---- placements ---- */

/* The first row: what the plan says, and what the state adds. */
static void fsm_place_row(struct fsm_ctx *c, struct bytes item, const struct alloc_view *v,
                          const struct fsm_alloc *old, struct strbuf *row)
{
    uint64_t create = old ? old->v.num[T(create_index)] : c->index;
    uint64_t create_time = old ? old->v.num[T(create_time)] : (uint64_t)c->cmd->now.ns;
    enum alloc_client_status status = ALLOC_CLIENT_PENDING;

    strbuf_reset(row);
    row_copy_fields(row, item, FSM_ALLOC_PLACED);
    if (v->text[T(desired_status)].len == 0)
        row_text(row, T(desired_status), "run");
    (void)alloc_client_parse(v->text[T(client_status)], &status);
    row_text(row, T(client_status), status == ALLOC_CLIENT_LOST ? "lost" : "pending");
    row_u64(row, T(job_create_index), v->num[T(job_create_index)]);
    row_u64(row, T(create_index), create);
    row_u64(row, T(modify_index), c->index);
    row_u64(row, T(alloc_modify_index), c->index);
    row_u64(row, T(create_time), create_time);
    row_u64(row, T(modify_time), (uint64_t)c->cmd->now.ns);
}

/* By evaluation: also an update in place has a new one. */
static int fsm_place_eval_key(struct fsm_ctx *c, const struct fsm_alloc *a)
{
    struct row_key key;

    row_key_pair(&key, a->eval, a->id);
    return store_put(c->t, STATE_EVAL_ALLOCS, row_key_bytes(&key), (struct bytes){0});
}

/* The rows of indexes of a new one. */
static int fsm_place_keys(struct fsm_ctx *c, const struct fsm_alloc *a)
{
    uint8_t be[ROW_NODE_ALLOC_HEAD];
    struct row_key key;
    int r;

    be64_write(be, c->index);
    row_key_pair(&key, a->node, a->id);
    r = store_put(c->t, STATE_NODE_ALLOCS, row_key_bytes(&key), bytes_of(be, sizeof(be)));
    if (r == 0) {
        row_key_job_alloc(&key, row_key_bytes(&a->nsid), a->id);
        r = store_put(c->t, STATE_JOB_ALLOCS, row_key_bytes(&key), (struct bytes){0});
    }
    return r ? r : fsm_place_eval_key(c, a);
}

/* A placement counts for its deployment, a canary by name. */
static int fsm_place_deployed(struct fsm_ctx *c, const struct alloc_view *v)
{
    struct bytes id = v->text[T(deployment_id)], group = v->text[T(task_group)];
    steppe_AllocDeploymentStatus status;
    char alloc_id[37];

    if (!id.len)
        return 0;
    if (row_decode(steppe_AllocDeploymentStatus_fields, v->text[T(deployment_status)], &status,
                   sizeof(status)) ||
        !status.canary) {
        fsm_works_deployed(c, id, group, &(struct fsm_deployed){.placed = 1});
        return 0;
    }
    snprintf(alloc_id, sizeof(alloc_id), "%.*s", (int)v->text[T(id)].len,
             (const char *)v->text[T(id)].data);
    return fsm_deployment_count(c, id, group,
                                &(struct fsm_deployed){.placed = 1, .canary = alloc_id});
}

/* An allocation that took another's place is its next one. */
static int fsm_place_previous(struct fsm_ctx *c, const struct alloc_view *v)
{
    struct fsm_alloc_patch p = {.quiet = true};
    struct fsm_alloc a;
    uint8_t id[16];
    int r;

    if (!row_uuid_read(v->text[T(previous_allocation)], id))
        return 0;
    r = fsm_alloc_read(c, id, &a);
    if (r || bytes_eq(a.v.text[T(next_allocation)], v->text[T(id)]))
        return r > 0 ? 0 : r;
    p.text[T(next_allocation)] = v->text[T(id)];
    return fsm_alloc_change(c, &a, &p);
}

static int fsm_place_new(struct fsm_ctx *c, struct bytes item, const struct alloc_view *v,
                         struct fsm_alloc *a)
{
    struct strbuf *row = &c->f->row;
    struct fsm_alloc_move m = {
        .created = true,
        .group = v->text[T(task_group)],
        .job_create_index = v->num[T(job_create_index)],
        .is = alloc_view_client(v),
    };
    int r;

    if (m.is != ALLOC_CLIENT_LOST)
        m.is = ALLOC_CLIENT_PENDING;
    m.is_live = m.is == ALLOC_CLIENT_PENDING && !alloc_view_stopped(v);
    r = fsm_alloc_tell(c, a, &m);
    fsm_spec_use(c, row_key_bytes(&a->nsid), m.job_create_index, v->num[T(job_version)], 1);
    fsm_place_row(c, item, v, NULL, row);
    if (r == 0)
        r = store_put(c->t, STATE_ALLOCS, bytes_of(a->id, 16), strbuf_bytes(row));
    if (r == 0)
        r = fsm_place_keys(c, a);
    if (r == 0)
        r = fsm_alloc_log(c, 0, a->id, m.is_live, c->index);
    return r;
}

/* What its client said stays, what servers wanted of it is as the plan says now. */
static int fsm_place_again(struct fsm_ctx *c, struct bytes item, const struct alloc_view *v,
                           struct fsm_alloc *old)
{
    struct fsm_alloc_patch p = {0};
    struct strbuf row = STRBUF_INIT;
    struct row_key key;
    uint8_t eval[16];
    bool moved_eval;
    int r;

    memcpy(eval, old->eval, sizeof(eval));
    (void)row_uuid_read(v->text[T(eval_id)], old->eval);
    moved_eval = memcmp(eval, old->eval, sizeof(eval)) != 0;
    fsm_place_row(c, item, v, old, &row);
    p.text[T(desired_status)] =
        v->text[T(desired_status)].len ? v->text[T(desired_status)] : bytes_text("run");
    p.text[T(desired_description)] =
        v->text[T(desired_description)].data ? v->text[T(desired_description)] : bytes_text("");
    if (v->text[T(followup_eval_id)].data)
        p.text[T(followup_eval_id)] = v->text[T(followup_eval_id)];
    if (bytes_eq(v->text[T(client_status)], bytes_text("lost")))
        p.text[T(client_status)] = v->text[T(client_status)];
    p.fresh_deployment_status = !bytes_eq(v->text[T(deployment_id)], old->v.text[T(deployment_id)]);
    fsm_spec_use(c, row_key_bytes(&old->nsid), old->v.num[T(job_create_index)],
                 old->v.num[T(job_version)], -1);
    fsm_spec_use(c, row_key_bytes(&old->nsid), v->num[T(job_create_index)], v->num[T(job_version)],
                 1);
    r = fsm_alloc_change(c, old, &p); /* the last look at the old rows */
    if (r == 0)
        r = store_put(c->t, STATE_ALLOCS, bytes_of(old->id, 16), strbuf_bytes(&row));
    if (r == 0 && moved_eval) {
        row_key_pair(&key, eval, old->id);
        r = store_del(c->t, STATE_EVAL_ALLOCS, row_key_bytes(&key));
        r = r < 0 ? r : 0;
    }
    if (r == 0)
        r = fsm_place_eval_key(c, old);
    strbuf_fini(&row);
    return r;
}

static int fsm_place_apply(struct fsm_ctx *c, struct fsm_plan *plan, struct bytes item)
{
    struct alloc_view v = {0};
    struct fsm_alloc a, old;
    bool exists, deployed;
    int r;

    (void)alloc_view_add(&v, item);
    (void)fsm_place_ids(&v, &a);
    if (fsm_plan_rejects(plan, a.node))
        return 0;
    r = fsm_place_moves(c, &a, &old, &exists);
    if (r)
        return r > 0 ? 0 : r; /* another one of this very command */
    r = fsm_place_job(c, exists ? &old : &a, &v);
    if (r)
        return err_trace(r);
    deployed = !exists || !bytes_eq(old.v.text[T(deployment_id)], v.text[T(deployment_id)]);
    r = exists ? fsm_place_again(c, item, &v, &old) : fsm_place_new(c, item, &v, &a);
    if (r == 0 && !exists)
        r = fsm_place_previous(c, &v);
    if (r == 0 && deployed)
        r = fsm_place_deployed(c, &v);
    plan->placed++;
    fsm_alloc_touch(c, a.id, a.node, a.eval, row_key_bytes(&a.nsid), true);
    return r ? err_trace(r) : 0;
}

/* ---- the command ---- */

static int fsm_plan_check(struct fsm_ctx *c, struct bytes plan)
{
    struct wire_field f;
    int r = 0;

    while (r == 0 && wire_field_next(&plan, &f)) {
        if (f.tag < steppe_Plan_place_tag || f.tag > steppe_Plan_deployment_tag)
            continue;
        if (f.wire != WIRE_BYTES)
            return fsm_refuse(c, 400, "broken plan");
        if (f.tag == steppe_Plan_place_tag)
            r = fsm_place_check(c, f.data);
        else if (f.tag == steppe_Plan_stop_tag || f.tag == steppe_Plan_preempt_tag)
            r = fsm_stop_check(c, f.data);
        else if (f.tag == steppe_Plan_evals_tag)
            r = fsm_eval_check(c, f.data);
        else if (f.tag == steppe_Plan_deployment_tag)
            r = fsm_deployment_check(c, f.data);
    }
    return r == 0 && plan.len ? fsm_refuse(c, 400, "broken plan") : r;
}

enum fsm_plan_part { PLAN_STOPS, PLAN_DEPLOYMENT, PLAN_PLACES, PLAN_EVALS };

static int fsm_plan_part(struct fsm_ctx *c, struct fsm_plan *p, enum fsm_plan_part part)
{
    struct bytes plan = p->plan;
    struct wire_field f;
    int r = 0;

    while (r == 0 && wire_field_next(&plan, &f)) {
        if (part == PLAN_STOPS &&
            (f.tag == steppe_Plan_stop_tag || f.tag == steppe_Plan_preempt_tag))
            r = fsm_stop_apply(c, p, f.data);
        else if (part == PLAN_DEPLOYMENT && f.tag == steppe_Plan_deployment_tag)
            r = fsm_deployment_put(c, f.data);
        else if (part == PLAN_PLACES && f.tag == steppe_Plan_place_tag)
            r = fsm_place_apply(c, p, f.data);
        else if (part == PLAN_EVALS && f.tag == steppe_Plan_evals_tag)
            r = fsm_eval_put(c, f.data);
    }
    return r;
}

int fsm_plan_apply(struct fsm_ctx *c)
{
    struct fsm_plan p = {.plan = c->cmd->blobs[0]};
    steppe_PlanApplyCommand m;
    int r = fsm_body(c, steppe_PlanApplyCommand_fields, &m, sizeof(m));

    if (r == 0)
        r = fsm_plan_rejected(c, &p);
    if (r == 0)
        r = fsm_plan_check(c, p.plan);
    for (size_t i = 2; r == 0 && i < c->cmd->blobs_n; i++)
        r = fsm_eval_check(c, c->cmd->blobs[i]);
    if (r == 0)
        r = fsm_plan_part(c, &p, PLAN_STOPS);
    if (r == 0)
        r = fsm_plan_part(c, &p, PLAN_DEPLOYMENT);
    if (r == 0)
        r = fsm_plan_part(c, &p, PLAN_PLACES);
    if (r == 0)
        r = fsm_works_flush(c);
    if (r == 0)
        r = fsm_plan_part(c, &p, PLAN_EVALS);
    for (size_t i = 2; r == 0 && i < c->cmd->blobs_n; i++)
        r = fsm_eval_put(c, c->cmd->blobs[i]);
    if (r == 0) {
        row_u64(c->body, steppe_PlanResult_index_tag, c->index);
        row_u64(c->body, steppe_PlanResult_placed_tag, p.placed);
        row_u64(c->body, steppe_PlanResult_stopped_tag, p.stopped);
    }
    strbuf_fini(&p.rejected);
    return r;
}
