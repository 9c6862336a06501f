/* SPDX-License-Identifier: MPL-2.0 */
/* Service and batch jobs: what the reconciler wants, placed. */
#include <string.h>

#include "sched_internal.h"

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

/* About how many bytes of a plan the placement takes. */
static size_t size_of(const struct sched_group *g, const struct sched_want *w)
{
    return 1024 + (size_t)g->tg->tasks_count * 256 + g->ports_n * 512 + w->prev->events_n * 160;
}

/*
 * What is replaced is stopped before anything is placed, so that one may take the room of another.
 * Returns how many of the wants with a stop go into this plan: what has no room in it is not
 * stopped by it either.
 */
static size_t stop_replaced(struct sched_ctx *c, const struct sched_want *wants, size_t n)
{
    size_t taken = 0, bytes = 0;

    for (size_t i = 0; i < n; i++) {
        const struct sched_want *w = &wants[i];

        if (!w->stop)
            continue;
        bytes += size_of(sched_ctx_group(c, sched_text(w->tg->name)), w);
        if (taken == SCHED_PLACE_MAX || bytes > SCHED_PLAN_BYTES) {
            c->out->more = true;
            break;
        }
        sched_stop_alloc(c, w->stop);
        taken++;
    }
    return taken;
}

static void place_all(struct sched_ctx *c, const struct sched_want *wants, size_t n)
{
    size_t replaced = stop_replaced(c, wants, n);

    for (size_t i = 0; i < n; i++) {
        if (!wants[i].stop) {
            place(c, &wants[i]);
        } else if (replaced > 0) {
            replaced--;
            place(c, &wants[i]);
        }
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
