/* SPDX-License-Identifier: MPL-2.0 */
/*
 *   sim_raft --seeds A..B     runs these seeds; SIM_SEED=n sim_raft runs one and tells its story
 *
 * Exit status 1 when a seed failed; its number and options are printed.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sim_raft.h"

#define CALM_MAX_NS       (20 * NS_PER_SEC)
#define SEEDS_DEFAULT_END 200

void world_fail(struct world *w, const char *fmt, ...)
{
    va_list ap;

    if (world_failed(w))
        return; /* the first one counts */
    va_start(ap, fmt);
    vsnprintf(w->failure, sizeof(w->failure), fmt, ap);
    va_end(ap);
}

void world_log(struct world *w, const struct node *n, const char *fmt, ...)
{
    va_list ap;

    if (!w->verbose)
        return;
    printf("%9.3f ms server %u: ", (double)w->sim.now_ns / 1e6, n ? n->no + 1 : 0);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
}

/* ---- options ---- */

static uint32_t pick(struct sim *s, const uint32_t *v, size_t n)
{
    return v[prng_below(&s->prng, n)];
}
#define PICK(s, ...)                                                                               \
    pick((s), (const uint32_t[]){__VA_ARGS__},                                                     \
         sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void options_draw(struct sim *s, struct sim_options *o)
{
    /* Statements, not an initializer: their order is the same for every compiler. */
    o->voters = PICK(s, 1, 2, 3, 3, 3, 3, 4, 5, 5, 5);
    o->spares = PICK(s, 0, 0, 1, 2, 3);
    o->faults_ns = sim_range(s, 500, 3000) * NS_PER_MS;
    o->loss_permille = PICK(s, 0, 0, 10, 50, 140);
    o->double_permille = PICK(s, 0, 0, 10, 50, 140);
    o->delay_max_ns = PICK(s, 200, 1000, 5000, 20000, 100000) * NS_PER_US;
    o->fifo = sim_chance(s, 650);
    o->sync_max_ns = PICK(s, 50, 1000, 5000, 40000) * NS_PER_US;
    o->crash_permille = PICK(s, 0, 5, 20, 50);
    o->crash_all_permille = PICK(s, 0, 0, 3, 10);
    o->aim_permille = PICK(s, 0, 500, 900);
    o->restart_permille = PICK(s, 20, 100, 300);
    o->election_ns = PICK(s, 50, 150, 150, 300) * NS_PER_MS;
    o->partition_permille = PICK(s, 0, 5, 20, 50);
    o->heal_permille = PICK(s, 20, 50);
    o->disk_error_permille = PICK(s, 0, 0, 5, 20);
    o->transfer_permille = PICK(s, 0, 0, 10, 30);
    o->change_permille = PICK(s, 0, 0, 20, 100);
    o->propose_permille = PICK(s, 10, 50, 200);
    o->read_permille = PICK(s, 20, 100);
    o->drift_ppm = PICK(s, 0, 1000, 30000);
    o->msg_entries_max = PICK(s, 1, 3, 16, 1024);
    o->msg_bytes_max = PICK(s, 1, 100, 1000, 1000000);
    o->inflight_max = PICK(s, 1, 2, 8, 64);
    o->chunk_bytes = PICK(s, 64, 300, 1000, 10000);
    o->tail_bytes_max = PICK(s, 1, 200, 2000, 1000000);
    o->uncommitted_bytes_max = PICK(s, 200, 5000, 1000000);
    o->segment_bytes = PICK(s, 300, 2000, 20000, 1000000);
    o->snapshot_every = PICK(s, 5, 30, 100, 1000000);
    o->trailing = PICK(s, 0, 3, 50);
    o->lease_off = sim_chance(s, 300);
    o->entry_len_max = PICK(s, 0, 8, 60, 300);
    o->real_machine = sim_chance(s, 250);
    if (o->voters + o->spares > SIM_NODES_MAX)
        o->spares = SIM_NODES_MAX - o->voters;
}

static void options_print(const struct sim_options *o)
{
    printf("voters=%u spares=%u faults_ms=%ld loss=%u double=%u delay_max_us=%ld fifo=%d "
           "sync_max_us=%ld crash=%u crash_all=%u aim=%u restart=%u election_ms=%ld partition=%u "
           "heal=%u disk_error=%u transfer=%u "
           "change=%u propose=%u read=%u drift_ppm=%u msg_entries=%u msg_bytes=%u inflight=%u "
           "chunk=%u tail=%u uncommitted=%u segment=%u snapshot_every=%u trailing=%u lease_off=%d "
           "entry_len=%u real_machine=%d\n",
           o->voters, o->spares, (long)(o->faults_ns / NS_PER_MS), o->loss_permille,
           o->double_permille, (long)(o->delay_max_ns / NS_PER_US), o->fifo,
           (long)(o->sync_max_ns / NS_PER_US), o->crash_permille, o->crash_all_permille,
           o->aim_permille, o->restart_permille, (long)(o->election_ns / NS_PER_MS),
           o->partition_permille, o->heal_permille, o->disk_error_permille, o->transfer_permille,
           o->change_permille, o->propose_permille, o->read_permille, o->drift_ppm,
           o->msg_entries_max, o->msg_bytes_max, o->inflight_max, o->chunk_bytes, o->tail_bytes_max,
           o->uncommitted_bytes_max, o->segment_bytes, o->snapshot_every, o->trailing, o->lease_off,
           o->entry_len_max, o->real_machine);
}

/* ---- one run ---- */

static void world_begin(struct world *w)
{
    struct raft_config c = {0};

    sim_init(&w->sim, w->seed);
    options_draw(&w->sim, &w->opt);
    sim_net_init(&w->net, &w->sim, node_receive, w);
    w->net.delay_min_ns = 20 * NS_PER_US;
    w->net.delay_max_ns = w->opt.delay_max_ns;
    w->net.loss_permille = w->opt.loss_permille;
    w->net.double_permille = w->opt.double_permille;
    w->net.fifo = w->opt.fifo;
    memcpy(w->group.bytes, "sim_raft group 1", 16);
    w->nodes_n = w->opt.voters + w->opt.spares;
    check_init(w);
    for (unsigned i = 0; i < w->nodes_n; i++)
        node_init(w, i);
    for (unsigned i = 0; i < w->opt.voters; i++) {
        struct raft_server s = {.id = i + 1, .voter = true};

        raft_config_add(&c, &s);
    }
    for (unsigned i = 0; i < w->opt.voters; i++)
        node_bootstrap(&w->nodes[i], &c);
    for (unsigned i = 0; i < w->nodes_n && !world_failed(w); i++)
        node_start(&w->nodes[i]);
    faults_begin(w);
}

/* No more faults, everybody up: within a bounded time the group must agree, and go on. */
static void world_calm(struct world *w)
{
    int64_t end = w->sim.now_ns + CALM_MAX_NS;
    bool done = false, proposed = false;
    uint64_t acks = 0;

    w->calm = true;
    sim_net_heal(&w->net);
    w->net.delay_max_ns = MIN(w->net.delay_max_ns, 5 * NS_PER_MS);
    for (unsigned i = 0; i < w->nodes_n && !world_failed(w); i++) {
        sim_disk_fail_after(w->nodes[i].disk, 0, 0);
        if (!w->nodes[i].up)
            node_start(&w->nodes[i]);
    }
    while (!world_failed(w) && w->sim.now_ns < end) {
        sim_run_until(&w->sim, w->sim.now_ns + 50 * NS_PER_MS);
        check_converged(w, &done);
        if (done && proposed && w->count.acks > acks)
            return;
        if (!done)
            continue;
        acks = w->count.acks;
        for (unsigned i = 0; i < w->nodes_n; i++) {
            struct node *n = &w->nodes[i];

            if (n->up && raft_role(n->raft) == RAFT_LEADER) {
                client_propose(n);
                proposed = true;
            }
        }
    }
    if (!world_failed(w))
        world_fail(w, "no convergence after %ld s of calm", (long)(CALM_MAX_NS / NS_PER_SEC));
}

int world_run(struct world *w)
{
    world_begin(w);
    if (!world_failed(w))
        sim_run_until(&w->sim, w->sim.now_ns + w->opt.faults_ns);
    if (!world_failed(w))
        world_calm(w);
    for (unsigned i = 0; i < w->nodes_n; i++)
        node_fini(&w->nodes[i]);
    w->calm = true;
    while (sim_run_one(&w->sim))
        ; /* frees what is under way; nobody is up to hear of it */
    sim_net_fini(&w->net);
    sim_fini(&w->sim);
    raft_wire_in_fini(&w->wire);
    strbuf_fini(&w->frame);
    check_fini(w);
    return world_failed(w) ? 1 : 0;
}

/* ---- many ---- */

struct totals {
    uint64_t seeds, failed, steps, elections, commits, acks, reads, crashes, installs, changes;
};

static bool seed_run(uint64_t seed, bool verbose, struct totals *t)
{
    struct world *w = xcalloc(1, sizeof(*w));
    bool ok;

    w->seed = seed;
    w->verbose = verbose;
    ok = world_run(w) == 0;
    if (!ok) {
        printf("SIM_SEED=%lu: %s\n  ", (unsigned long)seed, w->failure);
        options_print(&w->opt);
        fflush(stdout);
    }
    t->seeds++;
    t->failed += !ok;
    t->steps += w->count.steps;
    t->elections += w->count.elections;
    t->commits += w->count.commits;
    t->acks += w->count.acks;
    t->reads += w->count.reads;
    t->crashes += w->count.crashes;
    t->installs += w->count.installs;
    t->changes += w->count.changes;
    free(w);
    return ok;
}

static void totals_print(const struct totals *t)
{
    printf("sim_raft: %lu seeds, %lu failed; %lu steps, %lu elections, %lu commits, "
           "%lu acknowledged, %lu reads, %lu crashes, %lu snapshots installed, "
           "%lu configuration changes\n",
           (unsigned long)t->seeds, (unsigned long)t->failed, (unsigned long)t->steps,
           (unsigned long)t->elections, (unsigned long)t->commits, (unsigned long)t->acks,
           (unsigned long)t->reads, (unsigned long)t->crashes, (unsigned long)t->installs,
           (unsigned long)t->changes);
    fflush(stdout);
}

static bool seeds_parse(int argc, char **argv, uint64_t *ret_from, uint64_t *ret_to)
{
    char *end;

    *ret_from = 1;
    *ret_to = SEEDS_DEFAULT_END;
    if (argc == 1)
        return true;
    if (argc != 3 || strcmp(argv[1], "--seeds") != 0)
        return false;
    *ret_from = strtoull(argv[2], &end, 10);
    if (strncmp(end, "..", 2) != 0)
        return false;
    *ret_to = strtoull(end + 2, &end, 10);
    return *end == '\0' && *ret_from <= *ret_to;
}

int main(int argc, char **argv)
{
    const char *one = getenv("SIM_SEED");
    struct totals t = {0};
    uint64_t from, to;

    if (one && *one) {
        seed_run(strtoull(one, NULL, 10), true, &t);
        totals_print(&t);
        return t.failed ? 1 : 0;
    }
    if (!seeds_parse(argc, argv, &from, &to)) {
        fprintf(stderr, "usage: sim_raft [--seeds A..B], or SIM_SEED=n sim_raft\n");
        return 2;
    }
    for (uint64_t seed = from; seed <= to && t.failed < 20; seed++) {
        seed_run(seed, false, &t);
        if (t.seeds % 10000 == 0)
            totals_print(&t);
    }
    totals_print(&t);
    return t.failed ? 1 : 0;
}
