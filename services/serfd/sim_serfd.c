/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Many pools in virtual time: faults first, then calm. Safety is checked at every step (sim_net.c),
 * convergence at the end. `SIM_SEED=n` replays one seed with its log, `SIM_SEEDS=n` sets how many.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim_net.h"

#define SEEDS_DEFAULT 120
#define FAULTS_MAX    40
#define CALM_MAX      (600 * NS_PER_SEC)
/* After calm has come nobody may be called failed any more, once old suspicions are over. */
#define SETTLE (90 * NS_PER_SEC)

static unsigned draw(struct sim *sim, unsigned n)
{
    return (unsigned)prng_below(&sim->prng, n);
}

static void draw_options(struct sim *sim)
{
    static const double losses[] = {0, 0, 0.01, 0.05, 0.2};
    static const int64_t delays_ms[] = {1, 1, 5, 40, 120};

    sim->loss = losses[draw(sim, ARRAY_LEN(losses))];
    sim->dup = draw(sim, 3) == 0 ? 0.05 : 0;
    sim->delay_max = delays_ms[draw(sim, ARRAY_LEN(delays_ms))] * NS_PER_MS;
    sim->delay_min = sim->delay_max / 10;
}

static unsigned other_running(struct sim *sim, unsigned node)
{
    for (unsigned tries = 0; tries < 100; tries++) {
        unsigned k = draw(sim, sim->n_nodes);

        if (k != node && sim->nodes[k].serf && !sim->nodes[k].left)
            return k;
    }
    return node;
}

static void one_fault(struct sim *sim)
{
    unsigned node = draw(sim, sim->n_nodes);
    struct sim_node *nd = &sim->nodes[node];
    struct serf_event ev = {.type = SERF_EV_LEAVE};

    switch (draw(sim, 7)) {
    case 0: /* crash, or back again */
    case 1:
        if (nd->serf && other_running(sim, node) != node) {
            sim_crash(sim, node);
        } else if (!nd->serf) {
            sim_start(sim, node);
            if (other_running(sim, node) != node)
                sim_join(sim, node, other_running(sim, node));
        }
        break;
    case 2: /* a partition, or its end */
        for (unsigned i = 0; i < sim->n_nodes; i++)
            sim->side[i] = draw(sim, 2);
        break;
    case 3:
        memset(sim->side, 0, sizeof(sim->side));
        break;
    case 4:
        sim_stall(sim, node, (int64_t)draw(sim, 8000) * NS_PER_MS);
        break;
    case 5:
        if (nd->serf && !nd->left && draw(sim, 2) && other_running(sim, node) != node)
            (void)sim_order(sim, node, &ev);
        break;
    case 6:
        ev.type = draw(sim, 2) ? SERF_EV_FORCE_LEAVE : SERF_EV_USER_EVENT;
        ev.name = sim->nodes[draw(sim, sim->n_nodes)].name;
        ev.data = (struct span){(const uint8_t *)"payload", 7};
        if (nd->serf)
            (void)sim_order(sim, node, &ev);
        break;
    }
}

/* All faults end; who is down comes back and joins somebody. */
static void calm(struct sim *sim)
{
    memset(sim->side, 0, sizeof(sim->side));
    sim->loss = sim->dup = 0;
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        struct sim_node *nd = &sim->nodes[i];

        nd->stalled_until = 0;
        if (nd->left)
            sim_crash(sim, i);
    }
    sim_run(sim, 15 * NS_PER_SEC); /* who was leaving has left */
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        struct sim_node *nd = &sim->nodes[i];

        if (nd->left)
            sim_crash(sim, i);
        if (!nd->serf)
            sim_start(sim, i);
        sim_join(sim, i, other_running(sim, i));
    }
}

/* Who sees whom otherwise than it is. */
static void print_views(const struct sim *sim)
{
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        for (unsigned k = 0; sim->nodes[i].serf && k < sim->n_nodes; k++) {
            if (sim_status(sim, i, k) != SERF_ALIVE)
                printf("  %s shows %s as %s\n", sim->nodes[i].name, sim->nodes[k].name,
                       serf_status_name(sim_status(sim, i, k)));
        }
    }
}

static void run_seed(uint64_t seed, bool verbose)
{
    struct sim sim;
    unsigned n, faults;
    int64_t calm_at;
    uint64_t failed;

    sim_init(&sim, seed, 1);
    n = 3 + draw(&sim, draw(&sim, 20) == 0 ? 98 : 14);
    faults = draw(&sim, FAULTS_MAX);
    sim_init(&sim, seed, n);
    draw_options(&sim);
    sim.verbose = verbose;
    if (verbose)
        printf("seed %llu nodes=%u faults=%u loss=%g dup=%g delay_max_ms=%lld\n",
               (unsigned long long)seed, n, faults, sim.loss, sim.dup,
               (long long)(sim.delay_max / NS_PER_MS));
    for (unsigned i = 0; i < n; i++) {
        sim_start(&sim, i);
        if (i > 0)
            sim_join(&sim, i, draw(&sim, i));
        sim_run(&sim, (int64_t)draw(&sim, 200) * NS_PER_MS);
    }
    for (unsigned i = 0; i < faults; i++) {
        one_fault(&sim);
        sim_run(&sim, (int64_t)draw(&sim, 6000) * NS_PER_MS);
    }
    calm(&sim);
    calm_at = sim.now;
    while (!sim_converged(&sim)) {
        sim_run(&sim, NS_PER_SEC);
        if (sim.now - calm_at > CALM_MAX) {
            printf("SIM_SEED=%llu: the pool did not converge after calm\n",
                   (unsigned long long)seed);
            print_views(&sim);
            exit(1);
        }
    }
    sim_run(&sim, SETTLE);
    failed = sim.failed_notes;
    sim_run(&sim, 60 * NS_PER_SEC);
    if (sim.failed_notes != failed || !sim_converged(&sim)) {
        printf("SIM_SEED=%llu: a live member was called failed in calm\n",
               (unsigned long long)seed);
        exit(1);
    }
    if (verbose)
        printf("converged: packets=%llu streams=%llu bytes=%llu\n", (unsigned long long)sim.packets,
               (unsigned long long)sim.streams, (unsigned long long)sim.bytes);
    sim_fini(&sim);
}

/* ---- figures: how long things take in a pool of nine ---- */

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
    sim_run(&sim, 20 * NS_PER_SEC + (int64_t)draw(&sim, 5000) * NS_PER_MS);
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
        sim_stall(&sim, 3, (500 + (int64_t)draw(&sim, 2500)) * NS_PER_MS);
        sim_run(&sim, 4 * NS_PER_SEC);
    }
    n = (unsigned)sim.failed_notes;
    sim_fini(&sim);
    return n;
}

static void figures(void)
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

int main(void)
{
    const char *one = getenv("SIM_SEED"), *many = getenv("SIM_SEEDS");
    uint64_t seeds = many ? strtoull(many, NULL, 10) : SEEDS_DEFAULT;

    if (one) {
        run_seed(strtoull(one, NULL, 10), true);
        return 0;
    }
    for (uint64_t seed = 1; seed <= seeds; seed++)
        run_seed(seed, false);
    printf("%llu seeds converged\n", (unsigned long long)seeds);
    figures();
    return 0;
}
