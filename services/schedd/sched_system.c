/* SPDX-License-Identifier: MPL-2.0 */
/* System jobs: one allocation of each group on each ready node (reference: http-api 7.1). */
#include <stdio.h>
#include <string.h>

#include "sched_internal.h"

/* An allocation that must be there on each node. */
struct required {
    struct sched_group *g;
    int32_t index;
    const char *name;
};

struct system {
    struct sched_ctx *c;
    struct required *required;
    size_t required_n;
    struct sched_want *wants;
    uint32_t *want_nodes; /* slots, one per want */
    size_t wants_n;
    struct sched_update *updates; /* changed specs: in place or not is not known yet */
    size_t updates_n;
    bool *candidate; /* by slot */
};

static int by_node_and_name(const void *x, const void *y)
{
    const struct sched_alloc *a = x, *b = y;
    int r = strcmp(a->node_id, b->node_id);

    if (r == 0)
        r = strcmp(a->name, b->name);
    if (r == 0)
        r = a->create_index < b->create_index ? -1 : a->create_index > b->create_index;
    return r ? r : strcmp(a->id, b->id);
}

static void require_all(struct system *s)
{
    struct sched_ctx *c = s->c;
    size_t n = 0;

    /* Validation lets only counts of 0 and 1 through. */
    for (size_t i = 0; i < c->groups_n; i++)
        n += c->groups[i].tg->count > 0;
    s->required = SCHED_NEW_N(c->arena, struct required, n);
    for (size_t i = 0; i < c->groups_n; i++)
        if (c->groups[i].tg->count > 0)
            s->required[s->required_n++] = (struct required){
                .g = &c->groups[i],
                .name = sched_arena_printf(c->arena, "%s.%s[0]", sched_text(c->in->job->name),
                                           sched_text(c->groups[i].tg->name))};
}

static const struct required *required_by_name(const struct system *s, const char *name)
{
    for (size_t i = 0; i < s->required_n; i++)
        if (strcmp(s->required[i].name, name) == 0)
            return &s->required[i];
    return NULL;
}

static void stop(struct system *s, const struct sched_alloc *a, const char *why, bool lost)
{
    if (s->c->stops_n >= SCHED_STOPS_MAX)
        s->c->out->more = true;
    else
        sched_stop_alloc(s->c, &(struct sched_stop){.alloc = a, .description = why, .lost = lost});
}

/* ---- what is there ---- */

static void look_at(struct system *s, const struct sched_alloc *a)
{
    struct sched_ctx *c = s->c;
    const struct required *r = required_by_name(s, a->name);
    const struct image_node *n = image_node_find(c->im, a->node_id);

    if (sched_alloc_terminal(a)) {
        /* Stopped, and its client will not say so any more. */
        if (a->desired != SCHED_RUN && a->client <= SCHED_RUNNING &&
            sched_node_lost(c->im, a->node_id))
            stop(s, a, SCHED_IS_LOST, true);
        return;
    }
    if (!r)
        stop(s, a, SCHED_NOT_NEEDED, false);
    else if (a->migrate)
        stop(s, a, SCHED_NODE_TAINTED, false);
    else if (sched_node_lost(c->im, a->node_id))
        stop(s, a, SCHED_IS_LOST, true);
    else if (n && n->slot < c->slots && s->candidate[n->slot] &&
             (a->job_version != c->in->job->version ||
              a->job_create_index != c->in->job->create_index))
        s->updates[s->updates_n++] = (struct sched_update){a, r->g->tg};
}

/* ---- changed specs ---- */

static void want_on(struct system *s, const struct sched_want *w, uint32_t node)
{
    s->want_nodes[s->wants_n] = node;
    s->wants[s->wants_n++] = *w;
}

static bool changed(const struct system *s, const struct sched_update *u)
{
    return !u->alloc->job ||
           sched_group_changed(s->c->in->job, u->alloc->job, sched_text(u->tg->name));
}

static steppe_Evaluation *rolling_eval(struct system *s)
{
    struct sched_ctx *c = s->c;
    steppe_Evaluation *e = SCHED_NEW(c->arena, steppe_Evaluation);
    struct prng prng;
    uint64_t seed = 1469598103934665603u;

    *e = sched_eval_like(c->in, c->arena, "rolling-update", "pending");
    /* The same in each attempt of this evaluation: its id comes from the evaluation's. */
    for (const char *p = sched_text(c->in->eval->id); *p; p++)
        seed = (seed ^ (uint8_t)*p) * 1099511628211u;
    prng_seed(&prng, seed);
    uuid_from_prng(&prng, e->id);
    e->wait = c->in->job->update.stagger;
    return e;
}

/* In place where that can be; the others at most max_parallel at a time. */
static void update(struct system *s)
{
    struct sched_ctx *c = s->c;
    const steppe_Job *job = c->in->job; /* NULL: purged, and there is nothing to update */
    bool rolling =
        job && job->has_update && job->update.stagger > 0 && job->update.max_parallel > 0;
    size_t limit = rolling ? (size_t)job->update.max_parallel : SIZE_MAX, n = 0;

    for (size_t i = 0; i < s->updates_n; i++) {
        const struct sched_update *up = &s->updates[i];
        struct sched_group *g = sched_ctx_group(c, sched_text(up->tg->name));
        const struct image_node *node = image_node_find(c->im, up->alloc->node_id);

        if (sched_plan_full(c)) {
            c->out->more = true;
            break;
        }
        if (!changed(s, up) && sched_fits_in_place(c, g, up->alloc)) {
            sched_plan_update(c, g, up->alloc);
            continue;
        }
        if (n++ >= limit)
            continue;
        stop(s, up->alloc, SCHED_UPDATING, false);
        want_on(s, &(struct sched_want){.tg = up->tg, .name = up->alloc->name, .prev = up->alloc},
                node->slot);
    }
    if (n > limit) {
        c->evals = rolling_eval(s);
        c->evals_n = 1;
        c->out->next_eval = c->evals->id;
    }
}

/* ---- what is missing ---- */

/* The first of the sorted allocations with this node and name; allocs_n when there is none. */
static size_t find_first(const struct sched_in *in, const char *node_id, const char *name)
{
    size_t lo = 0, hi = in->allocs_n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int r = strcmp(in->allocs[mid].node_id, node_id);

        if (r == 0)
            r = strcmp(in->allocs[mid].name, name);
        if (r < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void complete_node(struct system *s, const struct image_node *n)
{
    const struct sched_in *in = s->c->in;

    for (size_t i = 0; i < s->required_n; i++) {
        const struct required *r = &s->required[i];
        const struct sched_alloc *last = NULL;
        bool there = false;

        for (size_t k = find_first(in, n->id, r->name);
             k < in->allocs_n && strcmp(in->allocs[k].node_id, n->id) == 0 &&
             strcmp(in->allocs[k].name, r->name) == 0;
             k++) {
            there |= !sched_alloc_terminal(&in->allocs[k]);
            last = &in->allocs[k];
        }
        if (!there)
            want_on(s, &(struct sched_want){.tg = r->g->tg, .name = r->name, .prev = last},
                    n->slot);
    }
}

/* ---- placing ---- */

static void place(struct system *s, const struct sched_want *w, uint32_t node)
{
    struct sched_ctx *c = s->c;
    struct sched_group *g = sched_ctx_group(c, sched_text(w->tg->name));
    struct sched_ask ask = {.only = node, .preempt = c->in->config.preempt_system};
    struct sched_option *o;

    if (sched_plan_brimful(c)) {
        c->out->more = true;
        return;
    }
    o = sched_select(c, g, &ask);
    if (o)
        sched_plan_place(c, g, o, w);
    else if (c->metric.filtered > 0)
        g->queued--; /* a node that it does not want */
    else
        sched_failed(c, g);
}

static void mark_candidates(struct system *s)
{
    for (uint32_t i = 0; i < s->c->nodes_n; i++)
        s->candidate[s->c->nodes[i]] = true;
}

void sched_run_system(struct sched_ctx *c)
{
    const struct sched_in *in = c->in;
    struct system s = {.c = c};
    size_t places;

    require_all(&s);
    places = in->allocs_n + s.required_n * c->nodes_n;
    s.wants = SCHED_NEW_N(c->arena, struct sched_want, places);
    s.want_nodes = SCHED_NEW_N(c->arena, uint32_t, places);
    s.updates = SCHED_NEW_N(c->arena, struct sched_update, in->allocs_n);
    s.candidate = SCHED_NEW_N(c->arena, bool, c->slots);
    mark_candidates(&s);
    if (in->allocs_n)
        qsort(in->allocs, in->allocs_n, sizeof(*in->allocs), by_node_and_name);
    for (size_t i = 0; i < in->allocs_n; i++)
        look_at(&s, &in->allocs[i]);
    update(&s);
    for (uint32_t i = 0; i < c->nodes_n; i++)
        complete_node(&s, image_node_at(c->im, c->nodes[i]));
    for (size_t i = 0; i < s.wants_n; i++)
        sched_ctx_group(c, sched_text(s.wants[i].tg->name))->queued++;
    for (size_t i = 0; i < s.wants_n; i++)
        place(&s, &s.wants[i], s.want_nodes[i]);
}
