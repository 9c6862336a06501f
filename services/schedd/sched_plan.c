/* SPDX-License-Identifier: MPL-2.0 */
/* The plan's bytes, and what the plan changes in the image. */
#include <stdio.h>
#include <string.h>

#include "sched_internal.h"
#include "sched_pb.h"
#include "wire/wire.h"

#define BRIM 4 /* so many full plans are the end */

void sched_plan_begin(struct sched_ctx *c)
{
    const struct sched_in *in = c->in;

    sched_pb_text(c->plan, steppe_Plan_eval_id_tag, in->eval->id);
    sched_pb_text(c->plan, steppe_Plan_eval_token_tag, in->token);
    sched_pb_u64(c->plan, steppe_Plan_priority_tag,
                 (uint64_t)(in->job ? in->job->priority : in->eval->priority));
    sched_pb_u64(c->plan, steppe_Plan_all_at_once_tag, in->job ? in->job->all_at_once : 0);
    sched_pb_u64(c->plan, steppe_Plan_snapshot_index_tag, in->snapshot_index);
    sched_pb_text(c->plan, steppe_Plan_namespace_tag, c->ns);
    sched_pb_text(c->plan, steppe_Plan_job_id_tag, c->job_id);
    sched_pb_text(c->plan, steppe_Plan_region_tag, in->region);
}

bool sched_plan_full(const struct sched_ctx *c)
{
    return c->out->placed_n >= SCHED_PLACE_MAX || c->plan->len >= SCHED_PLAN_BYTES;
}

bool sched_plan_brimful(const struct sched_ctx *c)
{
    return c->out->placed_n >= (size_t)BRIM * SCHED_PLACE_MAX ||
           c->plan->len >= (size_t)BRIM * SCHED_PLAN_BYTES;
}

/* ---- stops ---- */

void sched_plan_stop(struct sched_ctx *c, const struct sched_stop *s)
{
    if (c->stops_n == c->stops_cap) {
        struct sched_stop *old = c->stops;

        c->stops_cap = c->stops_cap ? c->stops_cap * 2 : 64;
        c->stops = SCHED_NEW_N(c->arena, struct sched_stop, c->stops_cap);
        if (c->stops_n > 0)
            memcpy(c->stops, old, c->stops_n * sizeof(*old));
    }
    c->stops[c->stops_n++] = *s;
}

/* The state itself tells a predecessor who follows it. */
static void encode_stop(struct sched_ctx *c, const struct sched_stop *stop)
{
    size_t at = sched_pb_begin(c->plan, steppe_Plan_stop_tag);

    sched_pb_text(c->plan, steppe_PlanStop_alloc_id_tag, stop->alloc->id);
    sched_pb_text(c->plan, steppe_PlanStop_node_id_tag, stop->alloc->node_id);
    if (stop->description) {
        sched_pb_text(c->plan, steppe_PlanStop_desired_status_tag, "stop");
        sched_pb_text(c->plan, steppe_PlanStop_desired_description_tag, stop->description);
    }
    if (stop->lost)
        sched_pb_text(c->plan, steppe_PlanStop_client_status_tag, "lost");
    sched_pb_text(c->plan, steppe_PlanStop_followup_eval_id_tag, stop->followup);
    sched_pb_end(c->plan, at);
}

/* ---- placements ---- */

/* What all placements of a group have in common. */
static struct bytes common_fields(struct sched_ctx *c, struct sched_group *g)
{
    struct strbuf *b = &c->scratch;
    const struct sched_in *in = c->in;

    if (g->common.data)
        return g->common;
    strbuf_reset(b);
    sched_pb_text(b, steppe_Allocation_namespace_tag, c->ns);
    sched_pb_text(b, steppe_Allocation_eval_id_tag, in->eval->id);
    sched_pb_text(b, steppe_Allocation_job_id_tag, c->job_id);
    sched_pb_text(b, steppe_Allocation_task_group_tag, g->tg->name);
    sched_pb_text(b, steppe_Allocation_desired_status_tag, "run");
    sched_pb_text(b, steppe_Allocation_client_status_tag, "pending");
    sched_pb_u64(b, steppe_Allocation_create_time_tag, (uint64_t)in->now);
    sched_pb_u64(b, steppe_Allocation_modify_time_tag, (uint64_t)in->now);
    sched_pb_u64(b, steppe_Allocation_job_version_tag, in->job->version);
    sched_pb_u64(b, steppe_Allocation_job_create_index_tag, in->job->create_index);
    if (g->resources.data)
        sched_pb_bytes(b, steppe_Allocation_allocated_resources_tag, g->resources);
    g->common = bytes_of(sched_arena_text(c->arena, b->data, b->len), b->len);
    return g->common;
}

static void encode_tracker(struct sched_ctx *c, const struct sched_alloc *prev)
{
    size_t n, at = sched_pb_begin(c->plan, steppe_Allocation_reschedule_tracker_tag);
    const struct sched_event *e = sched_alloc_tracker(c->arena, prev, c->in->now, &n);

    for (size_t i = 0; i < n; i++) {
        size_t event = sched_pb_begin(c->plan, steppe_RescheduleTracker_events_tag);

        sched_pb_u64(c->plan, steppe_RescheduleEvent_reschedule_time_tag, (uint64_t)e[i].time);
        sched_pb_text(c->plan, steppe_RescheduleEvent_prev_alloc_id_tag, e[i].prev_alloc_id);
        sched_pb_text(c->plan, steppe_RescheduleEvent_prev_node_id_tag, e[i].prev_node_id);
        sched_pb_u64(c->plan, steppe_RescheduleEvent_delay_tag, (uint64_t)e[i].delay);
        sched_pb_end(c->plan, event);
    }
    sched_pb_end(c->plan, at);
}

struct placing {
    const char *id, *name;
    const struct sched_want *want;
    const struct sched_option *option;
};

static void encode_place(struct sched_ctx *c, struct sched_group *g, const struct placing *p)
{
    const struct image_node *n = image_node_at(c->im, p->option->node);
    struct bytes common = common_fields(c, g);
    const struct sched_alloc *prev = p->want->prev;
    size_t at = sched_pb_begin(c->plan, steppe_Plan_place_tag), metric;

    sched_pb_text(c->plan, steppe_Allocation_id_tag, p->id);
    sched_pb_text(c->plan, steppe_Allocation_name_tag, p->name);
    sched_pb_text(c->plan, steppe_Allocation_node_id_tag, n->id);
    sched_pb_text(c->plan, steppe_Allocation_node_name_tag, n->name);
    strbuf_add(c->plan, common.data, common.len);
    if (!g->resources.data)
        sched_pb_bytes(c->plan, steppe_Allocation_allocated_resources_tag,
                       sched_resources_encode(c, sched_resources(c, g, p->option)));
    metric = sched_pb_begin(c->plan, steppe_Allocation_metrics_tag);
    sched_metric_encode(&c->metric, c->im, c->available, NULL, c->plan);
    sched_pb_end(c->plan, metric);
    if (prev)
        sched_pb_text(c->plan, steppe_Allocation_previous_allocation_tag, prev->id);
    if (prev && p->want->reschedule)
        encode_tracker(c, prev);
    for (size_t i = 0; i < p->option->victims_n; i++) {
        char id[37];

        image_id_text(&p->option->victims[i], id);
        sched_pb_text(c->plan, steppe_Allocation_preempted_allocations_tag, id);
    }
    sched_pb_end(c->plan, at);
}

static void preempt(struct sched_ctx *c, const struct image_id *victim, const char *by)
{
    struct image_alloc *a = image_alloc_find(c->im, victim);
    size_t at = sched_pb_begin(c->plan, steppe_Plan_preempt_tag);
    char id[37];

    assert(a);
    image_id_text(victim, id);
    sched_pb_text(c->plan, steppe_PlanStop_alloc_id_tag, id);
    sched_pb_text(c->plan, steppe_PlanStop_node_id_tag, image_node_at(c->im, a->node)->id);
    sched_pb_text(c->plan, steppe_PlanStop_desired_status_tag, "evict");
    sched_pb_text(c->plan, steppe_PlanStop_desired_description_tag,
                  sched_arena_printf(c->arena, "Preempted by alloc ID %s", by));
    sched_pb_text(c->plan, steppe_PlanStop_preempted_by_tag, by);
    sched_pb_end(c->plan, at);
    sched_preempt_note(c, a);
    image_stop(c->im, a);
}

static void note_placed(struct sched_ctx *c, const struct sched_group *g, uint32_t node, bool fresh)
{
    struct sched_out *out = c->out;

    if (out->placed_n == c->placed_cap) {
        struct sched_placed *old = out->placed;

        c->placed_cap = c->placed_cap ? c->placed_cap * 2 : 64;
        out->placed = SCHED_NEW_N(c->arena, struct sched_placed, c->placed_cap);
        if (out->placed_n > 0)
            memcpy(out->placed, old, out->placed_n * sizeof(*old));
    }
    out->placed[out->placed_n] = (struct sched_placed){.group = g->number, .fresh = fresh};
    memcpy(out->placed[out->placed_n++].node_id, image_node_at(c->im, node)->id, UUID_TEXT_LEN + 1);
}

static void place_in_image(struct sched_ctx *c, struct sched_group *g, const struct placing *p)
{
    struct image_port ports[IMAGE_USE_PORTS_MAX];
    struct image_use use = g->use;
    struct image_who who = {.namespace = c->ns,
                            .job_id = c->job_id,
                            .group = g->tg->name,
                            .name = p->name,
                            .priority = c->in->job->priority,
                            .job_version = c->in->job->version,
                            .job_create_index = c->in->job->create_index};

    if (g->cores) {
        struct image_use_buf *buf = SCHED_NEW(c->arena, struct image_use_buf);

        image_use_of(sched_resources(c, g, p->option), buf, &use);
    }
    use.cores = p->option->cores;
    use.cores_n = (uint32_t)p->option->cores_n;
    for (size_t i = 0; i < g->ports_n; i++)
        ports[i] =
            (struct image_port){p->option->offers[i].address, NULL, p->option->offers[i].value};
    use.ports = ports;
    use.ports_n = (uint32_t)g->ports_n;
    (void)image_id_parse(p->id, &who.id);
    (void)image_place(c->im, p->option->node, &who, &use);
}

static const char *name_of(struct sched_ctx *c, const struct sched_group *g,
                           const struct sched_want *w, char *buf, size_t size)
{
    if (w->name)
        return w->name;
    (void)snprintf(buf, size, "%s.%s[%d]", c->system ? sched_text(c->in->job->name) : c->job_id,
                   g->tg->name, w->index);
    return buf;
}

void sched_plan_place(struct sched_ctx *c, struct sched_group *g, const struct sched_option *o,
                      const struct sched_want *w)
{
    char id[UUID_TEXT_LEN + 1], name[1024];
    struct placing p = {.id = id, .want = w, .option = o};

    uuid_from_prng(c->in->prng, id);
    p.name = name_of(c, g, w, name, sizeof(name));
    for (size_t i = 0; i < o->victims_n; i++)
        preempt(c, &o->victims[i], id);
    encode_place(c, g, &p);
    place_in_image(c, g, &p);
    sched_ctx_count(c, g, o->node, 1);
    note_placed(c, g, o->node, true);
}

/* ---- in place ---- */

/* Fields that the new version sets anew. */
static bool is_replaced(uint32_t tag)
{
    switch (tag) {
    case steppe_Allocation_eval_id_tag:
    case steppe_Allocation_job_tag:
    case steppe_Allocation_resources_tag:
    case steppe_Allocation_job_version_tag:
    case steppe_Allocation_job_create_index_tag:
    case steppe_Allocation_modify_time_tag:
    case steppe_Allocation_client_status_tag: /* the client's word stays with the state */
    case steppe_Allocation_client_description_tag:
    case steppe_Allocation_task_states_tag:
        return true;
    default:
        return false;
    }
}

static void copy_fields(struct sched_ctx *c, struct bytes in)
{
    struct wire_field f;
    bool bad = false;

    while (sched_pb_next(&in, &f, &bad))
        if (!is_replaced(f.tag))
            strbuf_add(c->plan, f.raw.data, f.raw.len);
}

/*
 * Written from the bytes that are there: resources stay what they are, for a change of them is no
 * update in place, and metrics are those of the placement.
 */
void sched_plan_update(struct sched_ctx *c, struct sched_group *g, const struct sched_alloc *a)
{
    size_t at = sched_pb_begin(c->plan, steppe_Plan_place_tag);
    const struct image_node *n = image_node_find(c->im, a->node_id);

    copy_fields(c, a->placed);
    copy_fields(c, a->changed);
    sched_pb_text(c->plan, steppe_Allocation_eval_id_tag, c->in->eval->id);
    sched_pb_u64(c->plan, steppe_Allocation_modify_time_tag, (uint64_t)c->in->now);
    sched_pb_u64(c->plan, steppe_Allocation_job_version_tag, c->in->job->version);
    sched_pb_u64(c->plan, steppe_Allocation_job_create_index_tag, c->in->job->create_index);
    sched_pb_end(c->plan, at);
    if (n)
        note_placed(c, g, n->slot, false);
}

/* ---- the end ---- */

void sched_plan_end(struct sched_ctx *c)
{
    c->out->stops_n = c->stops_n;
    c->out->noop = c->out->placed_n == 0 && c->stops_n == 0 && c->evals_n == 0;
    for (size_t i = 0; i < c->stops_n; i++)
        encode_stop(c, &c->stops[i]);
    for (size_t i = 0; i < c->evals_n; i++) {
        strbuf_reset(&c->scratch);
        (void)wire_encode(steppe_Evaluation_fields, &c->evals[i], &c->scratch);
        sched_pb_bytes(c->plan, steppe_Plan_evals_tag, bytes_of(c->scratch.data, c->scratch.len));
    }
}
