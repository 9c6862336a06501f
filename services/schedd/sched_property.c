/* SPDX-License-Identifier: MPL-2.0 */
/* How often values of an attribute are used by a job: distinct_property, and spreads with their
 * scores (reference: http-api 7.4). */
#include <errno.h>
#include <string.h>

#include "sched_internal.h"

/* ---- values ---- */

static uint32_t hash(const char *text)
{
    uint32_t h = 2166136261u;

    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 16777619u;
    return h;
}

static void table_put(struct sched_property *p, uint32_t number)
{
    uint32_t at = hash(p->values[number].text) & (p->table_cap - 1);

    while (p->table[at])
        at = (at + 1) & (p->table_cap - 1);
    p->table[at] = number + 1;
}

static void grow(struct sched_ctx *c, struct sched_property *p)
{
    struct sched_value *old = p->values;

    p->values_cap = p->values_cap ? p->values_cap * 2 : 16;
    p->values = SCHED_NEW_N(c->arena, struct sched_value, p->values_cap);
    if (p->values_n > 0)
        memcpy(p->values, old, p->values_n * sizeof(*old));
    p->table_cap = p->values_cap * 2;
    p->table = SCHED_NEW_N(c->arena, uint32_t, p->table_cap);
    for (uint32_t i = 0; i < p->values_n; i++)
        table_put(p, i);
}

static uint32_t value_number(struct sched_ctx *c, struct sched_property *p, const char *text)
{
    if (p->table_cap > 0) {
        uint32_t at = hash(text) & (p->table_cap - 1);

        for (; p->table[at]; at = (at + 1) & (p->table_cap - 1))
            if (strcmp(p->values[p->table[at] - 1].text, text) == 0)
                return p->table[at] - 1;
    }
    if (p->values_n == p->values_cap)
        grow(c, p);
    p->values[p->values_n].text = text;
    table_put(p, p->values_n);
    return p->values_n++;
}

int32_t sched_property_on(struct sched_ctx *c, struct sched_property *p, uint32_t node)
{
    const struct image_node *n = image_node_at(c->im, node);
    const char *text;

    if (node >= c->slots || !n)
        return -1;
    if (p->of_node[node] == 0) {
        text = n->node && *p->target ? sched_target(p->target, n->node) : NULL;
        p->of_node[node] = text ? (int32_t)value_number(c, p, text) + 1 : -1;
    }
    return p->of_node[node] < 0 ? -1 : p->of_node[node] - 1;
}

void sched_property_init(struct sched_ctx *c, struct sched_property *p)
{
    p->target = sched_text(p->target);
    p->of_node = SCHED_NEW_N(c->arena, int32_t, c->slots);
    for (size_t i = 0; i < c->in->allocs_n; i++) {
        const struct sched_alloc *a = &c->in->allocs[i];
        const struct image_node *n;
        int32_t v;

        if (sched_alloc_terminal(a) || (p->group && strcmp(p->group, a->group) != 0) ||
            (c->in->job && a->job_create_index != c->in->job->create_index))
            continue;
        n = image_node_find(c->im, a->node_id);
        v = n ? sched_property_on(c, p, n->slot) : -1;
        if (v >= 0)
            p->values[v].existing++;
    }
}

/* A value that is cleared once and taken again counts as used, as in Nomad. */
uint32_t sched_value_used(const struct sched_value *v)
{
    uint32_t cleared = v->cleared, all = v->existing + v->proposed;

    if (v->proposed > 0 && cleared > 1)
        cleared--;
    return all > cleared ? all - cleared : 0;
}

const char *sched_property_refuses(struct sched_ctx *c, struct sched_property *p, uint32_t node)
{
    int32_t v;
    uint32_t used;

    if (p->broken)
        return p->broken;
    v = sched_property_on(c, p, node);
    if (v < 0)
        return sched_arena_printf(c->arena, "missing property \"%s\"", p->target);
    used = sched_value_used(&p->values[v]);
    if (used < p->allowed)
        return NULL;
    return sched_arena_printf(c->arena, "distinct_property: %s=%s used by %u allocs", p->target,
                              p->values[v].text, used);
}

/* ---- spreads ---- */

static void spread_targets(struct sched_ctx *c, struct sched_group *g, struct sched_spread *s,
                           const steppe_Spread *spec)
{
    double sum = 0, count = g->tg->count;

    s->weight = spec->weight;
    s->targets = SCHED_NEW_N(c->arena, struct sched_target_count, spec->spread_target_count + 1u);
    for (pb_size_t i = 0; i < spec->spread_target_count; i++) {
        double desired = spec->spread_target[i].percent / 100.0 * count;

        s->targets[s->targets_n++] =
            (struct sched_target_count){sched_text(spec->spread_target[i].value), desired};
        sum += desired;
    }
    if (sum > 0 && sum < count)
        s->targets[s->targets_n++] = (struct sched_target_count){"*", count - sum};
}

static void add_spread(struct sched_ctx *c, struct sched_group *g, const steppe_Spread *spec)
{
    struct sched_spread *s = &g->spreads[g->spreads_n++];

    s->property =
        (struct sched_property){.target = spec->attribute, .group = sched_text(g->tg->name)};
    sched_property_init(c, &s->property);
    spread_targets(c, g, s, spec);
    g->spread_weights += spec->weight;
}

void sched_spreads_init(struct sched_ctx *c, struct sched_group *g)
{
    const steppe_Job *j = c->in->job;

    g->spreads =
        SCHED_NEW_N(c->arena, struct sched_spread, (size_t)j->spreads_count + g->tg->spreads_count);
    for (pb_size_t i = 0; i < j->spreads_count; i++)
        add_spread(c, g, &j->spreads[i]);
    for (pb_size_t i = 0; i < g->tg->spreads_count; i++)
        add_spread(c, g, &g->tg->spreads[i]);
}

/* The fewest and the most that any value has; good until a count changes. */
static void find_bounds(struct sched_property *p)
{
    p->min = p->max = 0;
    p->any = false;
    p->bounds_known = true;
    for (uint32_t i = 0; i < p->values_n; i++) {
        const struct sched_value *v = &p->values[i];
        uint32_t used = sched_value_used(v);

        if (v->existing + v->proposed == 0)
            continue;
        p->any = true;
        if (p->min == 0 || used < p->min)
            p->min = used;
        p->max = MAX(p->max, used);
    }
}

/* Without targets: the value with the fewest allocations is the best. Values that nobody met yet do
 * not count for the fewest. */
static double even_score(struct sched_property *p, int32_t on)
{
    uint32_t min, max, mine;

    if (!p->bounds_known)
        find_bounds(p);
    min = p->min;
    max = p->max;
    if (!p->any)
        return 0;
    mine = sched_value_used(&p->values[on]);
    if (mine != min)
        return min == 0 ? -1 : ((double)min - mine) / min;
    if (min == max)
        return -1;
    if (min == 0)
        return 1;
    return ((double)max - min) / min;
}

static double desired_of(const struct sched_spread *s, const char *value, bool *ret_found)
{
    *ret_found = true;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < s->targets_n; i++)
            if (strcmp(s->targets[i].value, pass == 0 ? value : "*") == 0)
                return s->targets[i].desired;
    *ret_found = false;
    return 0;
}

static double target_score(const struct sched_group *g, const struct sched_spread *s, int32_t on)
{
    double used = sched_value_used(&s->property.values[on]) + 1.0;
    bool found;
    double desired = desired_of(s, s->property.values[on].text, &found);

    if (!found)
        return -1;
    if (desired == 0) /* 0 percent: Nomad divides by zero here, and so never places there */
        return -1;
    return (desired - used) / desired * (s->weight / g->spread_weights);
}

double sched_spread_score(struct sched_ctx *c, struct sched_group *g, uint32_t node)
{
    double sum = 0;

    for (size_t i = 0; i < g->spreads_n; i++) {
        struct sched_spread *s = &g->spreads[i];
        int32_t on = sched_property_on(c, &s->property, node);

        if (on < 0)
            sum -= 1;
        else
            sum += s->targets_n ? target_score(g, s, on) : even_score(&s->property, on);
    }
    return sum;
}
