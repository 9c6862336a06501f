/* SPDX-License-Identifier: MPL-2.0 */
/* Service and batch jobs: what the reconciler wants, placed. */
#include <string.h>

#include "sched_internal.h"

#define REPLACED_AT_ONCE 256

bool sched_node_lost(const struct image *im, const char *node_id)
{
    const struct image_node *n = image_node_find(im, node_id);

    return !n || n->status == IMAGE_NODE_DOWN;
}

static bool node_lost(void *user, const struct sched_alloc *a)
{
    const struct sched_ctx *c = user;

    return sched_node_lost(c->im, a->node_id);
}

/* ---- stops ---- */

/* Out of the image and the counts, if it is there. */
static bool take_out(struct sched_ctx *c, const struct sched_alloc *a)
{
    struct image_alloc *there;
    struct image_id id;
    uint32_t node;

    if (!image_id_parse(a->id, &id))
        return false;
    there = image_alloc_find(c->im, &id);
    if (!there)
        return false;
    node = there->node;
    image_stop(c->im, there);
    sched_ctx_count(c, sched_ctx_group(c, a->group), node, -1);
    return true;
}

void sched_stop_alloc(struct sched_ctx *c, const struct sched_stop *s)
{
    sched_plan_stop(c, s);
    (void)take_out(c, s->alloc);
}

bool sched_fits_in_place(struct sched_ctx *c, struct sched_group *g, const struct sched_alloc *a)
{
    const struct image_node *n = image_node_find(c->im, a->node_id);
    struct sched_ask ask = {.only = n ? n->slot : IMAGE_NONE};
    size_t mark = image_mark(c->im);
    bool ok, out;

    if (!n || n->slot >= c->slots)
        return false;
    out = take_out(c, a);
    ok = sched_select(c, g, &ask) != NULL;
    image_undo(c->im, mark);
    if (out)
        sched_ctx_uncount_stop(c, sched_ctx_group(c, a->group), ask.only);
    return ok;
}

static bool in_place(void *user, const struct sched_alloc *a, const steppe_TaskGroup *tg)
{
    struct sched_ctx *c = user;

    return sched_fits_in_place(c, sched_ctx_group(c, sched_text(tg->name)), a);
}

/* ---- placements ---- */

void sched_failed(struct sched_ctx *c, struct sched_group *g)
{
    if (g->failed) {
        g->failed->coalesced++;
        return;
    }
    g->failed = SCHED_NEW(c->arena, struct sched_metric);
    *g->failed = c->metric;
    /* The next search fills its own lists. */
    c->metric = (struct sched_metric){.arena = c->arena};
}

static bool may_preempt(const struct sched_ctx *c)
{
    return c->batch ? c->in->config.preempt_batch : c->in->config.preempt_service;
}

/* A sticky disk stays where it is, if it can. */
static const struct image_node *preferred(const struct sched_ctx *c, const struct sched_group *g,
                                          const struct sched_want *w)
{
    const struct image_node *n = w->prev ? image_node_find(c->im, w->prev->node_id) : NULL;

    return n && g->tg->ephemeral_disk.sticky && image_node_ready(n) && n->slot < c->slots ? n
                                                                                          : NULL;
}

static struct sched_option *find(struct sched_ctx *c, struct sched_group *g,
                                 const struct sched_want *w)
{
    struct sched_ask ask = {.prev = w->prev, .only = IMAGE_NONE};
    const struct image_node *there = preferred(c, g, w);
    struct sched_option *o = NULL;

    for (int pass = 0; pass < 2 && !o; pass++) {
        ask.preempt = pass == 1;
        if (ask.preempt && !may_preempt(c))
            break;
        if (there) {
            ask.only = there->slot;
            o = sched_select(c, g, &ask);
            ask.only = IMAGE_NONE;
        }
        if (!o)
            o = sched_select(c, g, &ask);
    }
    return o;
}

static void place(struct sched_ctx *c, const struct sched_want *w)
{
    struct sched_group *g = sched_ctx_group(c, sched_text(w->tg->name));
    size_t mark = image_mark(c->im), stops = c->stops_n;
    const struct image_node *n = w->prev ? image_node_find(c->im, w->prev->node_id) : NULL;
    struct sched_option *o;
    bool out = false;

    if (g->failed) {
        sched_failed(c, g);
        return;
    }
    if (!w->stop && sched_plan_full(c)) {
        c->out->more = true;
        return;
    }
    /* Its predecessor's room is free for it; without a place for it the predecessor stays. */
    if (w->destructive) {
        sched_plan_stop(c, &(struct sched_stop){.alloc = w->prev, .description = SCHED_UPDATING});
        out = take_out(c, w->prev);
    }
    o = find(c, g, w);
    if (o) {
        sched_plan_place(c, g, o, w);
        return;
    }
    sched_failed(c, g);
    if (w->destructive) {
        c->stops_n = stops;
        image_undo(c->im, mark);
        if (out && n)
            sched_ctx_uncount_stop(c, g, n->slot);
    }
}

/*
 * Replacements: first the stops of some, so that one may take the room of another, then places for
 * them. What does not go into the plan any more is not stopped by it either.
 */
static void place_instead(struct sched_ctx *c, const struct sched_want *wants, size_t n)
{
    if (sched_plan_full(c) || c->stops_n >= SCHED_STOPS_MAX) {
        c->out->more = true;
        return;
    }
    for (size_t i = 0; i < n; i++)
        sched_stop_alloc(c, wants[i].stop);
    for (size_t i = 0; i < n; i++)
        place(c, &wants[i]);
}

static void place_all(struct sched_ctx *c, const struct sched_want *wants, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t k = i;

        while (k < n && k - i < REPLACED_AT_ONCE && wants[k].stop)
            k++;
        if (k > i)
            place_instead(c, &wants[i], k - i);
        else
            place(c, &wants[k++]);
        i = k;
    }
}

/* ---- an attempt ---- */

static void apply(struct sched_ctx *c, struct sched_reconcile_out *r)
{
    for (size_t i = 0; i < r->stops_n && i < SCHED_STOPS_MAX; i++)
        sched_stop_alloc(c, &r->stops[i]);
    for (size_t i = 0; i < r->updates_n && !sched_plan_brimful(c); i++)
        sched_plan_update(c, sched_ctx_group(c, sched_text(r->updates[i].tg->name)),
                          r->updates[i].alloc);
    c->out->more |= c->out->placed_n < r->updates_n;
    for (size_t i = 0; i < r->notes_n && i < SCHED_STOPS_MAX; i++)
        sched_plan_stop(c, &r->notes[i]);
    c->out->more |= MAX(r->stops_n, r->notes_n) > SCHED_STOPS_MAX;
    for (size_t i = 0; i < r->groups_n; i++) {
        struct sched_group *g = sched_ctx_group(c, r->groups[i].group);

        if (g)
            g->queued = r->groups[i].place + r->groups[i].destructive + r->groups[i].migrate;
    }
}

/* What does not fit into this plan: another one follows, unless the group has failed anyway. */
static void cut(struct sched_ctx *c, const struct sched_reconcile_out *r)
{
    for (size_t i = 0; i < r->groups_n; i++) {
        struct sched_group *g = sched_ctx_group(c, r->groups[i].group);
        int64_t n = r->groups[i].place_cut;

        if (!g || n == 0)
            continue;
        if (g->failed)
            g->failed->coalesced += (int32_t)MIN(n, (int64_t)INT32_MAX / 2);
        else
            c->out->more = true;
    }
}

void sched_run_generic(struct sched_ctx *c)
{
    struct sched_reconcile_in in = {.arena = c->arena,
                                    .prng = c->in->prng,
                                    .job = c->in->job,
                                    .eval = c->in->eval,
                                    .batch = c->batch,
                                    .now = c->in->now,
                                    .allocs = c->in->allocs,
                                    .allocs_n = c->in->allocs_n,
                                    .user = c,
                                    .node_lost = node_lost,
                                    .in_place = in_place};
    struct sched_reconcile_out r;

    sched_reconcile(&in, &r);
    c->out->desired = r.groups;
    c->out->desired_n = r.groups_n;
    apply(c, &r);
    place_all(c, r.wants, r.wants_n);
    cut(c, &r);
    c->evals = r.followups;
    c->evals_n = r.followups_n;
    /* One that has waited already leaves a blocked evaluation all the same. */
    c->out->delayed = c->evals_n > 0 && c->in->eval->wait_until == 0;
}
