/* SPDX-License-Identifier: MPL-2.0 */
/* How long things take in a pool of nine, and who is called failed, on good and on bad days. */
#include <stdio.h>
#include <stdlib.h>

#include "sim_serfd.h"

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void print_times(const char *what, int64_t *ns, size_t n)
{
    qsort(ns, n, sizeof(*ns), by_value);
    printf("%s: p50 %.2f s, p99 %.2f s, max %.2f s (%zu runs)\n", what, (double)ns[n / 2] / 1e9,
           (double)ns[n * 99 / 100] / 1e9, (double)ns[n - 1] / 1e9, n);
}

struct day {
    const char *what;
    double loss;  /* of datagrams */
    int64_t stop; /* of one after the other */
    int64_t lag;  /* all stand still now and then for up to so long; 0: nobody */
};

static const struct day days[] = {
    {"stops of 3.0 s", 0, 3000 * NS_PER_MS, 0},
    {"stops of 3.2 s", 0, 3200 * NS_PER_MS, 0},
    {"stops of 3.0 s, 1 % lost", 0.01, 3000 * NS_PER_MS, 0},
    {"stops of 3.0 s, 5 % lost", 0.05, 3000 * NS_PER_MS, 0},
    {"stops of 3.0 s, all slow", 0, 3000 * NS_PER_MS, 200 * NS_PER_MS},
    {"stops of 3.2 s, 1 % lost, all slow", 0.01, 3200 * NS_PER_MS, 200 * NS_PER_MS},
};

/* Each 50 ms somebody else stands still for a while, as on a machine with too few cores. */
static void day_run(struct sim *sim, const struct day *day, int64_t ns)
{
    for (int64_t end = sim->now + ns; sim->now < end;) {
        unsigned who = (unsigned)prng_below(&sim->prng, sim->n_nodes);

        if (day->lag && sim->nodes[who].stalled_until <= sim->now)
            sim_stall(sim, who, (int64_t)prng_below(&sim->prng, (uint64_t)day->lag));
        sim_run(sim, MIN(50 * NS_PER_MS, end - sim->now));
    }
}

static void day_begin(struct sim *sim, uint64_t seed, const struct day *day)
{
    sim_init(sim, seed, 9);
    for (unsigned i = 0; i < 9; i++) {
        sim_start(sim, i);
        if (i)
            sim_join(sim, i, 0);
    }
    sim_run(sim, 10 * NS_PER_SEC);
    sim->loss = day->loss;
    day_run(sim, day, 10 * NS_PER_SEC + (int64_t)prng_below(&sim->prng, 1000) * NS_PER_MS);
}

enum { STOPS = 8 }; /* in each run */

/* One after the other is stopped, each second one for a shorter time. */
static unsigned measure_alarms(uint64_t seed, const struct day *day)
{
    struct sim sim;
    unsigned n;

    day_begin(&sim, seed, day);
    for (unsigned i = 0; i < STOPS; i++) {
        sim_stall(&sim, i, i % 2 ? (int64_t)prng_below(&sim.prng, (uint64_t)day->stop) : day->stop);
        day_run(&sim, day, day->stop + 4 * NS_PER_SEC);
    }
    n = (unsigned)sim.failed_notes;
    sim_fini(&sim);
    return n;
}

static int64_t until_converged(struct sim *sim, const struct day *day)
{
    int64_t t0 = sim->now;

    while (!sim_converged(sim) && sim->now - t0 < 120 * NS_PER_SEC)
        day_run(sim, day, 10 * NS_PER_MS);
    return sim->now - t0;
}

/* kill -9 of one, or of its whole host (silent: nothing refuses): until all others say failed (F3).
 */
static int64_t measure_crash(uint64_t seed, const struct day *day, bool silent)
{
    struct sim sim;
    int64_t t;

    day_begin(&sim, seed, day);
    sim_crash(&sim, 4);
    sim.side[4] = silent;
    t = until_converged(&sim, day);
    sim_fini(&sim);
    return t;
}

/* Three regions of three servers, joined by one join to each other region (federation.md F2). */
static int64_t measure_join(uint64_t seed, const struct day *day)
{
    struct sim sim;
    int64_t t;

    sim_init(&sim, seed, 9);
    for (unsigned i = 0; i < 9; i++) {
        sim_start(&sim, i);
        if (i % 3)
            sim_join(&sim, i, i / 3 * 3);
    }
    sim_run(&sim, 20 * NS_PER_SEC);
    sim.loss = day->loss;
    sim_join(&sim, 0, 3);
    sim_join(&sim, 0, 6);
    t = until_converged(&sim, day);
    sim_fini(&sim);
    return t;
}

static bool measure_day(const struct day *day, size_t runs)
{
    size_t n = runs * sizeof(int64_t);
    int64_t *join = xmalloc(n), *crash = xmalloc(n), *silent = xmalloc(n);
    unsigned alarms = 0;
    bool ok;

    for (uint64_t i = 0; i < runs; i++) {
        alarms += measure_alarms(i + 1, day);
        join[i] = measure_join(i + 1, day);
        crash[i] = measure_crash(i + 1, day, false);
        silent[i] = measure_crash(i + 1, day, true);
    }
    printf("%s: %u false alarms in %zu stops\n", day->what, alarms, runs * STOPS);
    print_times("  join of three pools of three, seen by all", join, runs);
    print_times("  one crashes, known to all", crash, runs);
    print_times("  one loses its host, known to all", silent, runs);
    (void)fflush(stdout);
    ok = alarms == 0 && join[runs - 1] < 2 * NS_PER_SEC && crash[runs - 1] < 5 * NS_PER_SEC &&
         (day->lag > 0 || silent[runs - 1] < 5 * NS_PER_SEC);
    free(join);
    free(crash);
    free(silent);
    return ok;
}

void sim_figures(size_t runs)
{
    bool ok = true;

    for (size_t i = 0; i < ARRAY_LEN(days); i++)
        ok = measure_day(&days[i], runs) && ok;
    if (!ok) {
        printf("worse than promised\n");
        exit(1);
    }
}
