/* SPDX-License-Identifier: MPL-2.0 */
/* One attempt from end to end, and what is left of an evaluation. */
#include <stdio.h>
#include <string.h>

#include "sched_internal.h"
#include "sched_pb.h"
#include "rpc.pb.h"
#include "wire/wire.h"

#define BLOCKED_FAILED  "created to place remaining allocations"
#define BLOCKED_GAVE_UP "created due to placement conflicts"

static bool type_is(const struct sched_in *in, const char *type)
{
    const char *t = in->job ? in->job->type : in->eval->type;

    return strcmp(sched_text(t), type) == 0;
}

/* ---- an attempt ---- */

static void report_groups(struct sched_ctx *c)
{
    const steppe_Job *stopped = c->groups_n == 0 ? c->in->job : NULL;
    struct sched_out *out = c->out;

    if (stopped) { /* it has groups, and none of them waits for a place */
        out->groups = SCHED_NEW_N(c->arena, struct sched_queued, stopped->task_groups_count);
        out->groups_n = stopped->task_groups_count;
        for (size_t i = 0; i < out->groups_n; i++)
            out->groups[i].group = sched_text(stopped->task_groups[i].name);
        return;
    }
    out->groups = SCHED_NEW_N(c->arena, struct sched_queued, c->groups_n);
    out->groups_n = c->groups_n;
    for (size_t i = 0; i < c->groups_n; i++) {
        struct sched_group *g = &c->groups[i];
        struct sched_queued *q = &out->groups[i];

        q->group = sched_text(g->tg->name);
        q->queued = (int32_t)MIN(MAX(g->queued, (int64_t)0), (int64_t)INT32_MAX);
        q->failed = g->failed;
        if (!g->failed)
            continue;
        strbuf_reset(&c->scratch);
        sched_metric_encode(g->failed, c->im, c->available, g->tg, &c->scratch);
        q->metric =
            bytes_of(sched_arena_text(c->arena, c->scratch.data, c->scratch.len), c->scratch.len);
    }
}

/* Eligible for any group: eligible; refused by the job, or by all groups that met it: not. */
static void report_classes(struct sched_ctx *c)
{
    struct sched_out *out = c->out;

    out->escaped = c->job_escaped;
    for (size_t i = 0; i < c->groups_n; i++)
        out->escaped |= c->groups[i].escaped;
    out->classes = sched_arena_take(c->arena, c->classes_n * sizeof(*out->classes));
    for (uint32_t k = 0; k < c->classes_n; k++) {
        bool yes = false, no = false;

        for (size_t i = 0; i < c->groups_n; i++) {
            yes |= c->groups[i].classes[k] == SCHED_CLASS_YES;
            no |= c->groups[i].classes[k] == SCHED_CLASS_NO;
        }
        if (!yes && !no)
            yes = c->job_classes[k] == SCHED_CLASS_YES;
        if (c->job_classes[k] == SCHED_CLASS_NO)
            yes = false;
        if (!*c->class_names[k])
            continue; /* a node that did not tell its class: nothing is known about others */
        out->classes[out->classes_n].class = sched_arena_printf(c->arena, "%s", c->class_names[k]);
        out->classes[out->classes_n++].eligible = yes;
    }
}

void sched_run(const struct sched_in *in, struct sched_arena *arena, struct strbuf *plan,
               struct sched_out *out)
{
    struct sched_ctx *c = SCHED_NEW(arena, struct sched_ctx);
    size_t begun = plan->len;

    *out = (struct sched_out){0};
    c->in = in;
    c->arena = arena;
    c->out = out;
    c->im = in->image;
    c->plan = plan;
    c->ns = sched_text(in->eval->namespace);
    c->job_id = sched_text(in->eval->job_id);
    c->batch = type_is(in, "batch");
    c->system = type_is(in, "system");
    sched_ctx_init(c);
    sched_plan_begin(c);
    if (c->system)
        sched_run_system(c);
    else
        sched_run_generic(c);
    sched_plan_end(c);
    report_groups(c);
    report_classes(c);
    if (out->noop)
        plan->len = begun;
    strbuf_fini(&c->scratch);
}

bool sched_taken(struct sched_out *out, const steppe_PlanResult *result)
{
    for (size_t i = 0; i < out->placed_n && result->placed > 0; i++) {
        const struct sched_placed *p = &out->placed[i];
        struct sched_queued *q = &out->groups[p->group];
        bool rejected = false;

        for (pb_size_t k = 0; k < result->rejected_nodes_count && !rejected; k++)
            rejected = strcmp(result->rejected_nodes[k], p->node_id) == 0;
        if (p->fresh && !rejected && q->queued > 0)
            q->queued--;
    }
    return result->refresh_index == 0;
}

bool sched_retry_next(struct sched_retry *r, const char *job_type, bool progress)
{
    unsigned max =
        strcmp(sched_text(job_type), "batch") == 0 ? SCHED_ATTEMPTS_BATCH : SCHED_ATTEMPTS;

    r->attempts = progress ? 0 : r->attempts + 1;
    return r->attempts < max;
}

/* ---- the end ---- */

steppe_Evaluation sched_eval_like(const struct sched_in *in, struct sched_arena *arena,
                                  const char *trigger, const char *status)
{
    steppe_Evaluation e = {.namespace = in->eval->namespace,
                           .priority = in->eval->priority,
                           .type = in->eval->type,
                           .triggered_by = (char *)trigger,
                           .job_id = in->eval->job_id,
                           .job_modify_index = in->eval->job_modify_index,
                           .status = (char *)status,
                           .previous_eval = in->eval->id,
                           .snapshot_index = in->snapshot_index,
                           .create_time = in->now,
                           .modify_time = in->now};

    e.id = sched_arena_take(arena, UUID_TEXT_LEN + 1);
    uuid_from_prng(in->prng, e.id);
    return e;
}

static void put_classes(struct sched_arena *arena, const struct sched_out *out,
                        steppe_Evaluation *e)
{
    e->escaped_computed_class = out && out->escaped;
    e->class_eligibility_count = 0;
    if (!out || out->escaped)
        return;
    e->class_eligibility =
        SCHED_NEW_N(arena, steppe_Evaluation_ClassEligibilityEntry, out->classes_n);
    for (size_t i = 0; i < MIN(out->classes_n, (size_t)UINT16_MAX); i++)
        e->class_eligibility[e->class_eligibility_count++] =
            (steppe_Evaluation_ClassEligibilityEntry){(char *)out->classes[i].class,
                                                      out->classes[i].eligible};
}

static void put_queued(struct sched_arena *arena, const struct sched_out *out, steppe_Evaluation *e)
{
    e->queued_allocations_count = 0;
    if (!out)
        return;
    e->queued_allocations =
        SCHED_NEW_N(arena, steppe_Evaluation_QueuedAllocationsEntry, out->groups_n);
    for (size_t i = 0; i < out->groups_n; i++)
        e->queued_allocations[e->queued_allocations_count++] =
            (steppe_Evaluation_QueuedAllocationsEntry){(char *)out->groups[i].group,
                                                       out->groups[i].queued};
}

static bool any_failed(const struct sched_out *out)
{
    for (size_t i = 0; out && i < out->groups_n; i++)
        if (out->groups[i].failed)
            return true;
    return false;
}

/* An evaluation into the request; its failures are bytes already. */
static void put_eval(struct strbuf *body, const steppe_Evaluation *e, const struct sched_out *out)
{
    size_t at = sched_pb_begin(body, steppe_EvalEnd_evals_tag);
    steppe_Evaluation plain = *e;

    plain.failed_tg_allocs_count = 0;
    plain.failed_tg_allocs = NULL;
    (void)wire_encode(steppe_Evaluation_fields, &plain, body);
    for (size_t i = 0; out && i < out->groups_n; i++) {
        size_t entry;

        if (!out->groups[i].failed)
            continue;
        entry = sched_pb_begin(body, steppe_Evaluation_failed_tg_allocs_tag);
        sched_pb_text(body, 1, out->groups[i].group);
        sched_pb_bytes(body, 2, out->groups[i].metric);
        sched_pb_end(body, entry);
    }
    sched_pb_end(body, at);
}

static void put_blocked(const struct sched_in *in, struct sched_arena *arena,
                        const struct sched_out *out, bool given_up, steppe_Evaluation *of,
                        struct strbuf *body)
{
    steppe_Evaluation b =
        sched_eval_like(in, arena, given_up ? "max-plan-attempts" : "queued-allocs", "blocked");

    b.status_description = (char *)(given_up ? BLOCKED_GAVE_UP : BLOCKED_FAILED);
    put_classes(arena, out, &b);
    if (!type_is(in, "system")) /* Nomad does not name it there */
        of->blocked_eval = b.id;
    put_eval(body, &b, out);
}

void sched_finish(const struct sched_in *in, struct sched_arena *arena, const struct sched_out *out,
                  bool given_up, struct strbuf *body)
{
    steppe_Evaluation e = *in->eval;
    bool was_blocked = strcmp(sched_text(e.status), "blocked") == 0, failed = any_failed(out);

    sched_pb_text(body, steppe_EvalEnd_eval_id_tag, in->eval->id);
    sched_pb_text(body, steppe_EvalEnd_token_tag, in->token);
    e.modify_time = in->now;
    e.snapshot_index = in->snapshot_index;
    put_queued(arena, out, &e);
    if (was_blocked && failed && !given_up) {
        put_classes(arena, out, &e);
        put_eval(body, &e, out);
        return;
    }
    e.status = (char *)"complete";
    e.status_description = (char *)"";
    if (out && out->next_eval)
        e.next_eval = (char *)out->next_eval;
    if (given_up) {
        e.status = (char *)"failed";
        e.status_description =
            sched_arena_printf(arena, "maximum attempts reached (%u)",
                               type_is(in, "batch") ? SCHED_ATTEMPTS_BATCH : SCHED_ATTEMPTS);
    }
    if (given_up || (failed && !out->delayed))
        put_blocked(in, arena, out, given_up, &e, body);
    put_eval(body, &e, out);
}
