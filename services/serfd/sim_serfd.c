/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Many pools in virtual time: faults first, then calm. Safety is checked at every step
 * (sim_pool.c), what must come to pass at the end. `SIM_SEED=n` replays one seed with its log,
 * `SIM_SEEDS=n` sets how many, `SIM_MEMBERS=n` runs one large pool instead, `SIM_FIGURES=n` pools
 * of nine on good and bad days.
 */
#include "sim_serfd.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS_DEFAULT   1000
#define FIGURES_DEFAULT 40
#define FAULTS_MAX      40
#define EVENTS_MAX      64 /* bits of seen[] */
#define CALM_MAX        (600 * NS_PER_SEC)
/* After calm has come nobody may be called failed any more, once old suspicions are over. */
#define SETTLE (90 * NS_PER_SEC)

/* What is drawn from the seed. */
struct plan {
    unsigned nodes, faults;
    double loss, dup, stream_loss;
    unsigned delay_ms, far_ms, far_group;
    unsigned probe_ms, timeout_ms, gossip_ms, push_pull_s, reconnect_s;
    unsigned suspicion_mult, indirect, gossip_nodes, retransmit;
    bool sync, mixed; /* mixed: every second member has memberlist's LAN timers */
};

static struct plan plan; /* for set_options(), which gets no other */

/* Who has heard which user event, in this life or those whose clocks it remembers. */
struct ear {
    uint64_t seen[SIM_VIEWS_MAX];
    unsigned sent;
};

static unsigned draw(struct sim *sim, unsigned n)
{
    return (unsigned)prng_below(&sim->prng, n);
}

#define PICK(sim, array) ((array)[draw(sim, ARRAY_LEN(array))])

static void draw_plan(struct sim *sim)
{
    static const double losses[] = {0, 0, 0.01, 0.05, 0.2}, stream_losses[] = {0, 0, 0.05, 0.3};
    static const unsigned delays[] = {1, 1, 5, 40, 120}, fars[] = {0, 0, 20, 80, 200};
    static const unsigned probes[] = {850, 850, 850, 500, 1000, 2000},
                          timeouts[] = {500, 500, 300, 200};
    static const unsigned gossips[] = {200, 200, 100, 500}, push_pulls[] = {30, 30, 10, 60};
    static const unsigned reconnects[] = {30, 30, 5, 10};

    plan = (struct plan){
        .nodes = 3 + draw(sim, draw(sim, 50) == 0 ? 48 : 11),
        .faults = draw(sim, FAULTS_MAX),
        .loss = PICK(sim, losses),
        .dup = draw(sim, 3) == 0 ? 0.05 : 0,
        .stream_loss = PICK(sim, stream_losses),
        .delay_ms = PICK(sim, delays),
        .far_ms = PICK(sim, fars),
        .far_group = 1 + draw(sim, 5),
        .probe_ms = PICK(sim, probes),
        .timeout_ms = PICK(sim, timeouts),
        .gossip_ms = PICK(sim, gossips),
        .push_pull_s = PICK(sim, push_pulls),
        .reconnect_s = PICK(sim, reconnects),
        .suspicion_mult = 4 + draw(sim, 3),
        .indirect = 1 + draw(sim, 3),
        .gossip_nodes = 2 + draw(sim, 3),
        .retransmit = 3 + draw(sim, 3),
        .sync = draw(sim, 4) > 0,
        .mixed = draw(sim, 4) == 0,
    };
}

static void print_plan(uint64_t seed)
{
    printf("SIM_SEED=%llu nodes=%u faults=%u loss=%g dup=%g stream_loss=%g delay=%ums far=%ums/%u "
           "probe=%u/%ums gossip=%ums push_pull=%us reconnect=%us suspicion_mult=%u indirect=%u "
           "gossip_nodes=%u retransmit=%u sync=%d mixed=%d\n",
           (unsigned long long)seed, plan.nodes, plan.faults, plan.loss, plan.dup, plan.stream_loss,
           plan.delay_ms, plan.far_ms, plan.far_group, plan.probe_ms, plan.timeout_ms,
           plan.gossip_ms, plan.push_pull_s, plan.reconnect_s, plan.suspicion_mult, plan.indirect,
           plan.gossip_nodes, plan.retransmit, plan.sync, plan.mixed);
}

static void set_options(struct serf_options *o)
{
    if (plan.mixed && o->addr.ip[2] % 2) {
        o->probe_interval = o->probe_pace = NS_PER_SEC;
        o->sync_on_join = false;
        return;
    }
    o->probe_interval = plan.probe_ms * NS_PER_MS;
    o->probe_pace = o->probe_interval / 2;
    o->probe_timeout = plan.timeout_ms * NS_PER_MS;
    o->gossip_interval = plan.gossip_ms * NS_PER_MS;
    o->push_pull_interval = plan.push_pull_s * NS_PER_SEC;
    o->reconnect_interval = plan.reconnect_s * NS_PER_SEC;
    o->suspicion_mult = plan.suspicion_mult;
    o->indirect_checks = plan.indirect;
    o->gossip_nodes = plan.gossip_nodes;
    o->retransmit_mult = plan.retransmit;
    o->sync_on_join = plan.sync;
}

static void use_plan(struct sim *sim)
{
    sim->loss = plan.loss;
    sim->dup = plan.dup;
    sim->stream_loss = plan.stream_loss;
    sim->delay_max = plan.delay_ms * NS_PER_MS;
    sim->delay_min = sim->delay_max / 10;
    sim->far_group = plan.far_group;
    sim->far_delay = plan.far_ms * NS_PER_MS;
    sim->options = set_options;
}

static void fail(const struct sim *sim, uint64_t seed, const char *what)
{
    print_plan(seed);
    printf("SIM_SEED=%llu: %s\n", (unsigned long long)seed, what);
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        for (unsigned k = 0; sim->nodes[i].serf && k < sim->n_nodes; k++) {
            if (sim_status(sim, i, k) != SERF_ALIVE)
                printf("  %s shows %s as %s\n", sim->nodes[i].name, sim->nodes[k].name,
                       serf_status_name(sim_status(sim, i, k)));
        }
    }
    exit(1);
}

/* ---- user events ---- */

static void on_note(struct sim *sim, unsigned node, const char *text)
{
    struct ear *ear = sim->user;
    unsigned no;

    if (sscanf(text, "user event name=e%u ", &no) != 1)
        return;
    assert(no < ear->sent);
    assert(!(ear->seen[node] >> no & 1)); /* delivered once */
    ear->seen[node] |= 1ull << no;
}

static void send_event(struct sim *sim, unsigned node)
{
    struct serf_event ev = {.type = SERF_EV_USER_EVENT, .data = {(const uint8_t *)"payload", 7}};
    struct ear *ear = sim->user;
    char name[16];
    int r;

    if (ear->sent == EVENTS_MAX)
        return;
    (void)snprintf(name, sizeof(name), "e%u", ear->sent++);
    ev.name = name;
    r = sim_order(sim, node, &ev);
    assert(r == 0);
}

/* Have all that run heard the events from `first` on? */
static bool all_heard(const struct sim *sim, unsigned first)
{
    const struct ear *ear = sim->user;

    for (unsigned i = 0; i < sim->n_nodes; i++) {
        for (unsigned no = first; sim->nodes[i].serf && no < ear->sent; no++) {
            if (!(ear->seen[i] >> no & 1))
                return false;
        }
    }
    return true;
}

/* ---- faults ---- */

static unsigned other_running(struct sim *sim, unsigned node)
{
    for (unsigned tries = 0; tries < 100; tries++) {
        unsigned k = draw(sim, sim->n_nodes);

        if (k != node && sim->nodes[k].serf && !sim->nodes[k].left)
            return k;
    }
    return node;
}

/* A new life: with the clocks of the old one, as the snapshot file keeps them, or as a new disk. */
static void start_fresh(struct sim *sim, unsigned node)
{
    struct ear *ear = sim->user;

    ear->seen[node] = 0;
    sim_start(sim, node);
}

static void crash_or_back(struct sim *sim, unsigned node)
{
    if (sim->nodes[node].serf) {
        if (other_running(sim, node) != node)
            sim_crash(sim, node);
        return;
    }
    if (draw(sim, 2))
        sim_start_again(sim, node);
    else
        start_fresh(sim, node);
    sim_join(sim, node, other_running(sim, node));
}

static void cut_ways(struct sim *sim, unsigned node)
{
    unsigned what = draw(sim, 3);

    for (unsigned k = 0; k < sim->n_nodes; k++) {
        if (k == node || (what == 2 && draw(sim, 2)))
            continue;
        if (what != 1)
            sim_cut(sim, k, node); /* deaf, or deaf to some */
        else
            sim_cut(sim, node, k); /* dumb */
    }
}

static void running_fault(struct sim *sim, unsigned node)
{
    struct serf_event ev = {.type = SERF_EV_LEAVE};

    switch (draw(sim, 5)) {
    case 0:
        if (!sim->nodes[node].left && draw(sim, 2) && other_running(sim, node) != node)
            (void)sim_order(sim, node, &ev);
        break;
    case 1:
        ev.type = SERF_EV_FORCE_LEAVE;
        ev.name = sim->nodes[draw(sim, sim->n_nodes)].name;
        ev.prune = draw(sim, 2);
        (void)sim_order(sim, node, &ev);
        break;
    case 2:
    case 3:
        send_event(sim, node);
        break;
    case 4:
        sim_retag(sim, node);
        break;
    }
}

static void one_fault(struct sim *sim)
{
    unsigned node = draw(sim, sim->n_nodes), sides = 2 + draw(sim, 2);

    switch (draw(sim, 10)) {
    case 0:
    case 1:
        crash_or_back(sim, node);
        break;
    case 2:
        for (unsigned i = 0; i < sim->n_nodes; i++)
            sim->side[i] = draw(sim, sides);
        break;
    case 3:
        sim_heal(sim);
        break;
    case 4:
        sim_stall(sim, node, (int64_t)draw(sim, 8000) * NS_PER_MS);
        break;
    case 5:
        cut_ways(sim, node);
        break;
    case 6:
        sim_step_clock(sim, node, (int64_t)draw(sim, 20000) * NS_PER_MS);
        break;
    default:
        if (sim->nodes[node].serf)
            running_fault(sim, node);
        break;
    }
}

/* All faults end; who is down comes back and joins somebody. */
static void calm(struct sim *sim)
{
    sim_heal(sim);
    sim->loss = sim->dup = sim->stream_loss = 0;
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
            start_fresh(sim, i);
    }
    for (unsigned i = 0; i < sim->n_nodes; i++)
        sim_join(sim, i, (i + 1) % sim->n_nodes); /* else there may be two pools for good */
}

/* ---- one seed ---- */

static uint64_t current_seed;

/* An assertion has failed somewhere: say which seed it was, and go on dying. */
static void on_abort(int sig)
{
    (void)sig;
    print_plan(current_seed);
    (void)fflush(stdout);
}

/*
 * Who joins suppresses what is older than the event clock that it finds (10.4), so a member that
 * has missed events and lags behind is not heard there until an exchange has brought its clock up.
 */
static bool event_clocks_agree(const struct sim *sim)
{
    struct serf_stats first, st;

    serf_stats_get(sim->nodes[0].serf, &first);
    for (unsigned i = 1; i < sim->n_nodes; i++) {
        serf_stats_get(sim->nodes[i].serf, &st);
        if (st.event_time != first.event_time)
            return false;
    }
    return true;
}

static void until_converged(struct sim *sim, uint64_t seed)
{
    int64_t calm_at = sim->now;

    while (!sim_converged(sim)) {
        sim_run(sim, NS_PER_SEC);
        if (sim->now - calm_at > CALM_MAX)
            fail(sim, seed, "the pool did not converge after calm");
    }
}

static void until_heard(struct sim *sim, uint64_t seed)
{
    unsigned first = ((struct ear *)sim->user)->sent;
    int64_t at = sim->now;

    while (!event_clocks_agree(sim)) {
        sim_run(sim, NS_PER_SEC);
        if (sim->now - at > CALM_MAX)
            fail(sim, seed, "the event clocks did not come together");
    }
    at = sim->now;
    for (unsigned i = 0; i < 3; i++)
        send_event(sim, draw(sim, sim->n_nodes));
    while (!all_heard(sim, first)) {
        sim_run(sim, NS_PER_SEC);
        if (sim->now - at > CALM_MAX)
            fail(sim, seed, "a user event did not reach all");
    }
}

static void run_seed(uint64_t seed, bool verbose)
{
    struct ear ear = {.sent = 0};
    static struct sim sim;
    uint64_t failed;

    current_seed = seed;
    sim_init(&sim, seed, 1);
    draw_plan(&sim);
    sim_fini(&sim);
    sim_init(&sim, seed, plan.nodes);
    sim.verbose = verbose;
    sim.on_note = on_note;
    sim.user = &ear;
    use_plan(&sim);
    if (verbose)
        print_plan(seed);
    for (unsigned i = 0; i < plan.nodes; i++) {
        sim_start(&sim, i);
        if (i > 0)
            sim_join(&sim, i, draw(&sim, i));
        sim_run(&sim, (int64_t)draw(&sim, 200) * NS_PER_MS);
    }
    for (unsigned i = 0; i < plan.faults; i++) {
        one_fault(&sim);
        sim_run(&sim, (int64_t)draw(&sim, 6000) * NS_PER_MS);
    }
    calm(&sim);
    sim_run(&sim, 10 * NS_PER_SEC); /* the joins end */
    until_converged(&sim, seed);
    until_heard(&sim, seed);
    sim_run(&sim, SETTLE);
    failed = sim.failed_notes;
    sim_run(&sim, 60 * NS_PER_SEC);
    if (sim.failed_notes != failed || !sim_converged(&sim))
        fail(&sim, seed, "a live member was called failed in calm");
    if (verbose)
        printf("converged: steps=%llu packets=%llu streams=%llu bytes=%llu\n",
               (unsigned long long)sim.steps, (unsigned long long)sim.packets,
               (unsigned long long)sim.streams, (unsigned long long)sim.bytes);
    sim_fini(&sim);
}

int main(void)
{
    const char *one = getenv("SIM_SEED"), *many = getenv("SIM_SEEDS");
    const char *members = getenv("SIM_MEMBERS"), *figures = getenv("SIM_FIGURES");
    uint64_t seeds = many ? strtoull(many, NULL, 10) : SEEDS_DEFAULT;

    (void)signal(SIGABRT, on_abort);
    if (members) {
        sim_large((unsigned)strtoul(members, NULL, 10));
        return 0;
    }
    if (figures) {
        sim_figures(strtoull(figures, NULL, 10));
        return 0;
    }
    if (one) {
        run_seed(strtoull(one, NULL, 10), true);
        return 0;
    }
    for (uint64_t seed = 1; seed <= seeds; seed++)
        run_seed(seed, false);
    printf("%llu seeds converged\n", (unsigned long long)seeds);
    sim_figures(FIGURES_DEFAULT);
    return 0;
}
