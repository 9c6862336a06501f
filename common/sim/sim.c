/* SPDX-License-Identifier: MPL-2.0 */
#include "sim/sim.h"

void sim_init(struct sim *s, uint64_t seed)
{
    *s = (struct sim){.now_ns = NS_PER_SEC};
    prng_seed(&s->prng, seed);
}

void sim_fini(struct sim *s)
{
    free(s->heap);
    s->heap = NULL;
    s->heap_n = s->heap_cap = 0;
}

static bool event_before(const struct sim_event *x, const struct sim_event *y)
{
    return x->at_ns < y->at_ns || (x->at_ns == y->at_ns && x->order < y->order);
}

void sim_after(struct sim *s, int64_t delay_ns, sim_fn *fn, void *arg, uint64_t a, uint64_t b)
{
    struct sim_event e = {s->now_ns + delay_ns, s->order++, fn, arg, a, b};
    size_t i = s->heap_n++;

    assert(delay_ns >= 0);
    if (i == s->heap_cap) {
        s->heap_cap = s->heap_cap ? s->heap_cap * 2 : 256;
        s->heap = xrealloc(s->heap, s->heap_cap * sizeof(*s->heap));
    }
    for (; i > 0 && event_before(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
}

static struct sim_event sim_pop(struct sim *s)
{
    struct sim_event first = s->heap[0], e = s->heap[--s->heap_n];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= s->heap_n)
            break;
        if (child + 1 < s->heap_n && event_before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!event_before(&s->heap[child], &e))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = e;
    return first;
}

bool sim_run_one(struct sim *s)
{
    struct sim_event e;

    if (s->heap_n == 0)
        return false;
    e = sim_pop(s);
    assert(e.at_ns >= s->now_ns);
    s->now_ns = e.at_ns;
    s->events++;
    e.fn(e.arg, e.a, e.b);
    return true;
}

bool sim_run_until(struct sim *s, int64_t t_ns)
{
    while (s->heap_n > 0 && s->heap[0].at_ns <= t_ns)
        sim_run_one(s);
    if (s->heap_n == 0)
        return false;
    s->now_ns = MAX(s->now_ns, t_ns);
    return true;
}

int64_t sim_range(struct sim *s, int64_t lo, int64_t hi)
{
    assert(lo <= hi);
    return lo + (int64_t)prng_below(&s->prng, (uint64_t)(hi - lo) + 1);
}

bool sim_chance(struct sim *s, unsigned permille)
{
    return prng_below(&s->prng, 1000) < permille;
}
