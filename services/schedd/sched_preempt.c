/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Preemption: which allocations of lower priority make room (reference: http-api 7.3, 7.13). The
 * closest in size go first, lowest priority before higher; then those that are not needed after all
 * are spared.
 */
#include <math.h>
#include <string.h>

#include "sched_internal.h"

#define PRIORITY_DELTA       10
#define MAX_PARALLEL_PENALTY 50.0

struct need {
    int64_t cpu, memory, disk;
};

struct candidate {
    struct image_alloc *a;
    double distance;
    bool taken;
};

static bool may_go(const struct sched_ctx *c, const struct image_alloc *a)
{
    const struct image_job *job = image_job_at(c->im, a->job);

    if (job && strcmp(job->namespace, c->ns) == 0 && strcmp(job->id, c->job_id) == 0)
        return false;
    return sched_text(c->in->job->type)[0] && c->in->job->priority - a->priority >= PRIORITY_DELTA;
}

static void take(struct sched_ctx *c, struct sched_option *o, struct image_alloc *a)
{
    struct image_id *ids = SCHED_NEW_N(c->arena, struct image_id, o->victims_n + 1);
    int32_t *priorities = SCHED_NEW_N(c->arena, int32_t, o->victims_n + 1);

    if (o->victims_n > 0) {
        memcpy(ids, o->victims, o->victims_n * sizeof(*ids));
        memcpy(priorities, o->victim_priorities, o->victims_n * sizeof(*priorities));
    }
    ids[o->victims_n] = a->id;
    priorities[o->victims_n++] = a->priority;
    o->victims = ids;
    o->victim_priorities = priorities;
    image_stop(c->im, a);
}

/* ---- ports ---- */

static bool holds_port(const struct image_alloc *a, uint64_t port)
{
    for (unsigned i = 0; i < a->ports_n; i++)
        if (a->extra[i] == port)
            return true;
    return false;
}

bool sched_preempt_ports(struct sched_ctx *c, const struct sched_group *g,
                         const struct image_node *n, struct sched_option *o)
{
    for (size_t i = 0; i < g->ports_n; i++) {
        const char *address = sched_net_address(n->node, g->ports[i].host_network);
        uint32_t number = address ? image_text_find(c->im, address) : IMAGE_NONE;
        uint64_t port = (uint64_t)number << 16 | (uint32_t)g->ports[i].value;
        struct image_alloc *a;

        if (!g->ports[i].fixed || number == IMAGE_NONE ||
            image_port_free(c->im, n, address, g->ports[i].value))
            continue;
        for (a = image_first_on_node(c->im, n); a && !holds_port(a, port);)
            a = image_next_on_node(c->im, a);
        if (!a || !may_go(c, a))
            return false;
        take(c, o, a);
    }
    return o->victims_n > 0;
}

/* ---- cpu, memory, disk ---- */

static double part(int64_t need, int64_t have)
{
    return need > 0 ? ((double)need - (double)have) / (double)need : 0;
}

static double distance(const struct need *need, const struct image_alloc *a)
{
    double memory = part(need->memory, a->memory), cpu = part(need->cpu, a->cpu),
           disk = part(need->disk, a->disk);

    return sqrt(memory * memory + cpu * cpu + disk * disk);
}

static int32_t preempted_already(const struct sched_ctx *c, const struct image_alloc *a)
{
    for (size_t i = 0; i < c->preempted_n; i++)
        if (c->preempted[i].job == a->job && c->preempted[i].group == a->group)
            return c->preempted[i].n;
    return 0;
}

/* Too many of one group at a time are spared if others will do. */
static double penalty(const struct sched_ctx *c, const struct image_alloc *a)
{
    int32_t max = c->in->max_parallel ? c->in->max_parallel(c->in->user, a) : 1;
    int32_t already = preempted_already(c, a);

    return max > 0 && already >= max ? (already + 1 - max) * MAX_PARALLEL_PENALTY : 0;
}

static bool covers(const struct need *have, const struct need *want)
{
    return have->cpu >= want->cpu && have->memory >= want->memory && have->disk >= want->disk;
}

static void need_change(struct need *n, const struct image_alloc *a, int sign)
{
    n->cpu += sign * (int64_t)a->cpu;
    n->memory += sign * (int64_t)a->memory;
    n->disk += sign * (int64_t)a->disk;
}

static struct candidate *closest(const struct sched_ctx *c, struct candidate *list, size_t n,
                                 const struct need *left)
{
    struct candidate *best = NULL;
    int lowest = INT16_MAX;
    double best_distance = 0;

    for (size_t i = 0; i < n; i++)
        if (!list[i].taken)
            lowest = MIN(lowest, list[i].a->priority);
    for (size_t i = 0; i < n; i++) {
        double d;

        if (list[i].taken || list[i].a->priority != lowest)
            continue;
        d = distance(left, list[i].a) + penalty(c, list[i].a);
        if (!best || d < best_distance) {
            best = &list[i];
            best_distance = d;
        }
    }
    return best;
}

static int farthest_first(const void *x, const void *y)
{
    const struct candidate *a = *(struct candidate *const *)x, *b = *(struct candidate *const *)y;

    return a->distance > b->distance ? -1 : a->distance < b->distance;
}

bool sched_preempt_room(struct sched_ctx *c, const struct image_node *n,
                        const struct image_use *use, struct sched_option *o)
{
    struct candidate *list = SCHED_NEW_N(c->arena, struct candidate, n->allocs), *best;
    struct candidate **chosen = SCHED_NEW_N(c->arena, struct candidate *, n->allocs);
    const struct need ask = {use->cpu, use->memory, use->disk};
    const struct need free = {n->cpu - n->cpu_used, n->memory - n->memory_used,
                              n->disk - n->disk_used};
    struct need have = free, left = ask;
    size_t all = 0, taken = 0;

    for (struct image_alloc *a = image_first_on_node(c->im, n); a; a = image_next_on_node(c->im, a))
        if (may_go(c, a))
            list[all++].a = a;
    while (!covers(&have, &ask) && (best = closest(c, list, all, &left))) {
        best->taken = true;
        chosen[taken++] = best;
        need_change(&have, best->a, 1);
        need_change(&left, best->a, -1);
    }
    if (!covers(&have, &ask) || taken == 0)
        return false;
    for (size_t i = 0; i < taken; i++)
        chosen[i]->distance = distance(&ask, chosen[i]->a);
    qsort(chosen, taken, sizeof(*chosen), farthest_first);
    have = free;
    for (size_t i = 0; i < taken && !covers(&have, &ask); i++) {
        need_change(&have, chosen[i]->a, 1);
        take(c, o, chosen[i]->a);
    }
    return true;
}

double sched_preempt_score(const struct sched_option *o)
{
    double max = 0, sum = 0, net;

    for (size_t i = 0; i < o->victims_n; i++) {
        max = MAX(max, (double)o->victim_priorities[i]);
        sum += o->victim_priorities[i];
    }
    net = max + (max > 0 ? sum / max : 0);
    return 1.0 / (1.0 + exp(0.0048 * (net - 2048.0)));
}

void sched_preempt_note(struct sched_ctx *c, const struct image_alloc *a)
{
    for (size_t i = 0; i < c->preempted_n; i++)
        if (c->preempted[i].job == a->job && c->preempted[i].group == a->group) {
            c->preempted[i].n++;
            return;
        }
    if (c->preempted_n == c->preempted_cap) {
        struct sched_preempted *old = c->preempted;

        c->preempted_cap = c->preempted_cap ? c->preempted_cap * 2 : 16;
        c->preempted = SCHED_NEW_N(c->arena, struct sched_preempted, c->preempted_cap);
        if (c->preempted_n > 0)
            memcpy(c->preempted, old, c->preempted_n * sizeof(*old));
    }
    c->preempted[c->preempted_n++] = (struct sched_preempted){a->job, a->group, 1};
}
