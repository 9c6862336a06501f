/* SPDX-License-Identifier: MPL-2.0 */
/* How long things take in a pool of nine, over many seeds. */
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

/* Three regions of three servers, joined by one join to each other region (federation.md F2). */
static int64_t measure_join(uint64_t seed)
{
    struct sim sim;
    int64_t t0;

    sim_init(&sim, seed, 9);
    for (unsigned i = 0; i < 9; i++) {
        sim_start(&sim, i);
        if (i % 3)
            sim_join(&sim, i, i / 3 * 3);
    }
    sim_run(&sim, 20 * NS_PER_SEC);
    t0 = sim.now;
    sim_join(&sim, 0, 3);
    sim_join(&sim, 0, 6);
    while (!sim_converged(&sim) && sim.now - t0 < 120 * NS_PER_SEC)
        sim_run(&sim, 10 * NS_PER_MS);
    t0 = sim.now - t0;
    sim_fini(&sim);
    return t0;
}

/*
 * kill -9 of one of nine, or of its whole host (silent: nothing refuses connections): until all
 * others say failed (F3).
 */
static int64_t measure_crash(uint64_t seed, bool silent)
{
    struct sim sim;
    int64_t t0;

    sim_init(&sim, seed, 9);
    for (unsigned i = 0; i < 9; i++) {
        sim_start(&sim, i);
        if (i)
            sim_join(&sim, i, 0);
    }
    sim_run(&sim, 20 * NS_PER_SEC + (int64_t)prng_below(&sim.prng, 5000) * NS_PER_MS);
    assert(sim_converged(&sim));
    sim_crash(&sim, 4);
    sim.side[4] = silent;
    t0 = sim.now;
    while (!sim_converged(&sim) && sim.now - t0 < 120 * NS_PER_SEC)
        sim_run(&sim, 10 * NS_PER_MS);
    t0 = sim.now - t0;
    sim_fini(&sim);
    return t0;
}

/* Ten minutes in which one of nine stands still for 0.5 to 3 s again and again (F9). */
static unsigned measure_false_alarms(uint64_t seed)
{
    struct sim sim;
    unsigned n;

    sim_init(&sim, seed, 9);
    for (unsigned i = 0; i < 9; i++) {
        sim_start(&sim, i);
        if (i)
            sim_join(&sim, i, 0);
    }
    for (int i = 0; i < 150; i++) {
        sim_stall(&sim, 3, (500 + (int64_t)prng_below(&sim.prng, 2500)) * NS_PER_MS);
        sim_run(&sim, 4 * NS_PER_SEC);
    }
    n = (unsigned)sim.failed_notes;
    sim_fini(&sim);
    return n;
}

void sim_figures(void)
{
    enum { RUNS = 100 };
    int64_t join[RUNS], crash[RUNS], silent[RUNS];
    unsigned alarms = 0;

    for (uint64_t i = 0; i < RUNS; i++) {
        join[i] = measure_join(i + 1);
        crash[i] = measure_crash(i + 1, false);
        silent[i] = measure_crash(i + 1, true);
        alarms += i < 20 ? measure_false_alarms(i + 1) : 0;
    }
    print_times("join of three pools of three, seen by all", join, RUNS);
    print_times("one of nine crashes, known to all", crash, RUNS);
    print_times("one of nine loses its host, known to all", silent, RUNS);
    printf("false alarms while one of nine stands still now and then: %u\n", alarms);
    if (alarms > 0 || join[RUNS - 1] > 2 * NS_PER_SEC || crash[RUNS - 1] > 5 * NS_PER_SEC ||
        silent[RUNS - 1] > 5 * NS_PER_SEC) {
        printf("slower than promised\n");
        exit(1);
    }
}
