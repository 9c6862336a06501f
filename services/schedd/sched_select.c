/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The search for a node: candidates in random order, each scored, a few of them enough (reference:
 * http-api 7.2, 7.3). Which nodes come next goes on where the last search of the plan stopped.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "sched_internal.h"

#define FIT_MAX  18.0 /* a full node */
#define SKIP_MAX 3    /* options with a score of 0 or less that are put aside */

struct search {
    struct sched_ctx *c;
    struct sched_group *g;
    const struct sched_ask *ask;
    uint32_t seen; /* nodes taken from the list */
    struct sched_option *skipped[SKIP_MAX];
    unsigned skipped_n, skipped_at;
};

/* ---- options ---- */

static struct sched_option *option_take(struct sched_ctx *c)
{
    for (unsigned i = 0; i < SCHED_OPTIONS; i++) {
        struct sched_option *o = &c->options[i];

        if (c->options_busy[i])
            continue;
        c->options_busy[i] = true;
        o->scores = (struct sched_scores){0};
        o->victims_n = 0;
        o->cores_n = 0;
        return o;
    }
    abort(); /* more than a search can hold at once */
}

static void option_give(struct sched_ctx *c, const struct sched_option *o)
{
    if (o)
        c->options_busy[o - c->options] = false;
}

/* Room for ports and cores, once for an evaluation. */
static void options_init(struct sched_ctx *c)
{
    size_t ports = 0, cores = 0;

    memset(c->options_busy, 0, sizeof(c->options_busy));
    if (c->options[0].offers)
        return;
    for (size_t i = 0; i < c->groups_n; i++) {
        ports = MAX(ports, c->groups[i].ports_n);
        cores = MAX(cores, (size_t)c->groups[i].cores);
    }
    cores = MIN(cores, (size_t)IMAGE_USE_CORES_MAX);
    for (unsigned i = 0; i < SCHED_OPTIONS; i++) {
        c->options[i].offers = SCHED_NEW_N(c->arena, struct sched_offer, ports + 1);
        c->options[i].cores = SCHED_NEW_N(c->arena, uint16_t, cores + 1);
    }
}

/* ---- does it fit ---- */

/* The dimension as a text that stays: the usual ones are not copied. */
static const char *kept_text(struct sched_ctx *c, const char *text)
{
    static const char *const known[] = {"cpu", "memory", "disk", "cores"};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i], text) == 0)
            return known[i];
    return sched_arena_printf(c->arena, "%s", text);
}

static bool pick_cores(const struct sched_group *g, const struct image_node *n,
                       struct sched_option *o)
{
    uint32_t total = n->node->node_resources.cpu.total_cpu_cores;

    if (g->cores > IMAGE_USE_CORES_MAX)
        return false;
    for (uint32_t i = 0; i < n->cores.n && o->cores_n < g->cores; i++)
        if (!image_set_has(&n->cores_used, n->cores.v[i]))
            o->cores[o->cores_n++] = (uint16_t)n->cores.v[i];
    o->core_mhz = total ? n->node->node_resources.cpu.cpu_shares / total : 0;
    return o->cores_n == g->cores;
}

/* What it would use there, ports and cores with it. ports has room for all of them. */
static struct image_use use_of(struct sched_ctx *c, struct sched_group *g,
                               const struct sched_option *o, struct image_port *ports)
{
    struct image_use use = g->use;

    if (g->cores) {
        struct image_use_buf *buf = SCHED_NEW(c->arena, struct image_use_buf);

        image_use_of(sched_resources(c, g, o), buf, &use);
        use.cores = o->cores;
        use.cores_n = (uint32_t)o->cores_n;
    }
    for (size_t i = 0; i < g->ports_n; i++)
        ports[i] =
            (struct image_port){o->offers[i].address, o->offers[i].ask->label, o->offers[i].value};
    use.ports = ports;
    use.ports_n = (uint32_t)g->ports_n;
    return use;
}

static double free_part(int64_t used, int64_t total)
{
    return total > 0 ? 1 - (double)used / (double)total : 0;
}

static double fit_score(const struct sched_ctx *c, const struct image_node *n,
                        const struct image_use *use)
{
    double total = pow(10, free_part(n->cpu_used + use->cpu, n->cpu)) +
                   pow(10, free_part(n->memory_used + use->memory, n->memory));
    double fit = c->in->config.spread ? total - 2 : 20 - total;

    return MIN(MAX(fit, 0.0), FIT_MAX) / FIT_MAX;
}

/* Ports, cores, cpu, memory, disk; with preemption if need be. *ret_binpack is the score. */
static bool fits(struct search *s, const struct image_node *n, struct sched_option *o,
                 double *ret_binpack)
{
    struct sched_ctx *c = s->c;
    struct sched_group *g = s->g;
    struct image_port ports[IMAGE_USE_PORTS_MAX];
    struct errtext e = {{0}};
    struct image_use use;
    int64_t cpu = n->cpu_used, memory = n->memory_used;
    size_t mark = image_mark(c->im);
    bool ok = true;

    if (g->ports_n && !sched_net_offer(c, g, n, o->offers, &e))
        ok = s->ask->preempt && sched_preempt_ports(c, g, n, o) &&
             sched_net_offer(c, g, n, o->offers, &e);
    if (ok && g->cores && !pick_cores(g, n, o)) {
        (void)err_set(&e, 0, "cores");
        ok = false;
    }
    if (ok) {
        use = use_of(c, g, o, ports);
        ok = image_fits(c->im, n, &use, &e) ||
             (s->ask->preempt && sched_preempt_room(c, n, &use, o));
    }
    image_undo(c->im, mark);
    assert(n->cpu_used == cpu && n->memory_used == memory);
    if (ok)
        *ret_binpack = fit_score(c, n, &use);
    else
        sched_metric_exhaust(&c->metric, n->node_class, kept_text(c, e.text));
    return ok;
}

/* ---- scores ---- */

static bool failed_there(const struct sched_alloc *prev, const struct image_node *n)
{
    if (!prev)
        return false;
    if (prev->client == SCHED_FAILED && strcmp(prev->node_id, n->id) == 0)
        return true;
    for (size_t i = 0; i < prev->events_n; i++)
        if (strcmp(prev->events[i].prev_node_id, n->id) == 0)
            return true;
    return false;
}

/* Kept for each node: it does not change while the evaluation lasts. */
static double affinity_score(struct sched_ctx *c, struct sched_group *g, const struct image_node *n)
{
    double sum = 0, *known = &g->affinity_of[n->slot];

    if (*known != 0)
        return *known - 2;
    for (size_t i = 0; i < g->affinities_n; i++)
        if (sched_affinity_met(c->in->regexps, g->affinities[i], n->node))
            sum += g->affinities[i]->weight;
    sum = g->affinity_sum > 0 ? sum / g->affinity_sum : 0;
    *known = sum + 2;
    return sum;
}

static void score_generic(struct search *s, const struct image_node *n, struct sched_option *o)
{
    struct sched_group *g = s->g;
    uint32_t collisions = g->here[n->slot];
    bool penalty = failed_there(s->ask->prev, n);
    double v;

    v = collisions ? -1.0 * (collisions + 1) / MAX(g->tg->count, 1) : 0;
    sched_score_set(&o->scores, SCHED_SCORE_ANTI_AFFINITY, v, collisions > 0);
    sched_score_set(&o->scores, SCHED_SCORE_PENALTY, penalty ? -1 : 0, penalty);
    if (g->affinities_n == 0) {
        sched_score_set(&o->scores, SCHED_SCORE_AFFINITY, 0, false);
    } else {
        v = affinity_score(s->c, g, n);
        if (v != 0)
            sched_score_set(&o->scores, SCHED_SCORE_AFFINITY, v, true);
    }
    if (g->spreads_n) {
        v = sched_spread_score(s->c, g, n->slot);
        if (v != 0)
            sched_score_set(&o->scores, SCHED_SCORE_SPREAD, v, true);
    }
    if (o->victims_n)
        sched_score_set(&o->scores, SCHED_SCORE_PREEMPTION, sched_preempt_score(o), true);
}

static struct sched_option *rank(struct search *s, const struct image_node *n)
{
    struct sched_option *o = option_take(s->c);
    double binpack;

    o->node = n->slot;
    if (!fits(s, n, o, &binpack)) {
        option_give(s->c, o);
        return NULL;
    }
    sched_score_set(&o->scores, SCHED_SCORE_BINPACK, binpack, true);
    if (!s->c->system)
        score_generic(s, n, o);
    sched_scores_final(&o->scores);
    sched_metric_score(&s->c->metric, n->slot, &o->scores);
    return o;
}

/* ---- the search ---- */

static const struct image_node *next_node(struct search *s)
{
    struct sched_ctx *c = s->c;
    uint32_t at;

    if (s->ask->only != IMAGE_NONE) {
        if (s->seen++ > 0)
            return NULL;
        c->metric.evaluated++;
        return image_node_at(c->im, s->ask->only);
    }
    if (s->seen == c->nodes_n)
        return NULL;
    s->seen++;
    if (c->nodes_offset == c->nodes_n)
        c->nodes_offset = 0;
    at = c->nodes_offset++;
    if (at >= c->nodes_mixed) { /* Fisher and Yates, as far as it is needed */
        uint32_t other = at + (uint32_t)prng_below(c->in->prng, c->nodes_n - at);
        uint32_t node = c->nodes[at];

        c->nodes[at] = c->nodes[other];
        c->nodes[other] = node;
        c->nodes_mixed = at + 1;
    }
    c->metric.evaluated++;
    return image_node_at(c->im, c->nodes[at]);
}

static struct sched_option *from_nodes(struct search *s)
{
    const struct image_node *n;

    while ((n = next_node(s))) {
        struct sched_option *o = sched_feasible(s->c, s->g, n) ? rank(s, n) : NULL;

        if (o)
            return o;
    }
    return NULL;
}

/* When the nodes are used up, those that were put aside come. */
static struct sched_option *next_option(struct search *s)
{
    struct sched_option *o = from_nodes(s);

    if (!o && s->skipped_at < s->skipped_n)
        o = s->skipped[s->skipped_at++];
    return o;
}

static bool was_skipped(const struct search *s, const struct sched_option *o)
{
    for (unsigned i = 0; i < s->skipped_n; i++)
        if (s->skipped[i] == o)
            return true;
    return false;
}

static struct sched_option *next_good(struct search *s)
{
    struct sched_option *o = next_option(s);

    while (o && s->skipped_n < SKIP_MAX && o->scores.final <= 0 && !was_skipped(s, o)) {
        s->skipped[s->skipped_n++] = o;
        o = from_nodes(s);
    }
    return o ? o : next_option(s);
}

static uint32_t limit_of(const struct search *s)
{
    const struct sched_ctx *c = s->c;
    uint32_t limit = 2, log = 0;

    if (s->g->affinities_n || s->g->spreads_n)
        return UINT32_MAX;
    while (!c->batch && (UINT64_C(1) << log) < c->nodes_n)
        log++;
    return MAX(limit, log);
}

static struct sched_option *best_option(struct search *s)
{
    struct sched_option *best = NULL;
    uint32_t limit = limit_of(s);

    for (uint32_t i = 0; i < limit; i++) {
        struct sched_option *o = next_good(s), *worse = o;

        if (!o)
            break;
        if (!best || o->scores.final > best->scores.final) {
            worse = best;
            best = o;
        }
        if (worse && worse != best && !was_skipped(s, worse))
            option_give(s->c, worse);
    }
    return best;
}

struct sched_option *sched_select(struct sched_ctx *c, struct sched_group *g,
                                  const struct sched_ask *ask)
{
    struct search s = {.c = c, .g = g, .ask = ask};
    int64_t begun = c->in->clock ? c->in->clock() : 0;
    struct sched_option *best;

    options_init(c);
    sched_metric_reset(&c->metric);
    best = best_option(&s);
    c->metric.time_ns = c->in->clock ? c->in->clock() - begun : 0;
    return best;
}
