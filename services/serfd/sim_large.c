/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One large pool: every member is an unchanged core that knows all others. Prints how long a crash
 * takes to be noticed, told and believed, and what that costs, beside the formulas of
 * gossip-wire.md (sections 7 and 8). 10,000 members take about 15 GiB and some minutes.
 */
#include "sim_serfd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serfd_core_int.h"

#define WARM_UP  (10 * NS_PER_SEC)
#define BREATHER (20 * NS_PER_SEC)
#define END      (180 * NS_PER_SEC)
#define SLICE    (50 * NS_PER_MS)

/* What the notes say. */
struct tally {
    int64_t first_miss, first_failed;
    unsigned victim, failed, wrong, heard;
};

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static void on_note(struct sim *sim, unsigned node, const char *text)
{
    struct tally *t = sim->user;
    bool about = strstr(text, sim->nodes[t->victim].name) != NULL;

    if (starts(text, "user event "))
        t->heard++;
    if (about && !t->first_miss && starts(text, "no answer to probe member="))
        t->first_miss = sim->now;
    if (!starts(text, "member failed member="))
        return;
    if (!about) {
        t->wrong++;
        return;
    }
    if (!t->first_failed)
        t->first_failed = sim->now;
    t->failed++;
}

static void plain_options(struct serf_options *o)
{
    o->nomad_filter = false;
    o->meta = (struct span){NULL, 0};
}

/*
 * Nobody waits for n * n joins: each core starts with all others in its table, as after them. Names
 * and records are shared or in one block, and never freed: this process ends with the run.
 */
static void know_all(struct sim *sim, unsigned node)
{
    static uint8_t no_meta[1];
    struct serf *s = sim->nodes[node].serf;
    struct member *block = xcalloc(sim->n_nodes, sizeof(*block));
    struct member *self = s->self;

    free(s->tab);
    s->cap = s->cap_probe = sim->n_nodes;
    s->tab = xcalloc(s->cap, sizeof(struct member *));
    s->probe_list = xcalloc(s->cap, sizeof(struct member *));
    s->n = s->n_list = sim->n_nodes;
    for (unsigned k = 0; k < sim->n_nodes; k++) {
        struct member *m = k == node ? self : &block[k];

        s->tab[k] = m;
        if (m == self)
            continue;
        *m = (struct member){.name = sim->nodes[k].name,
                             .meta = no_meta,
                             .addr = sim->nodes[k].addr,
                             .inc = 1,
                             .state = NODE_ALIVE,
                             .status = SERF_ALIVE,
                             .in_list = true,
                             .in_serf = true};
        memcpy(m->vsn, self->vsn, sizeof(m->vsn));
        s->probe_list[s->n_probe++] = m;
    }
    s->probe_next = s->n_probe; /* the first probe shuffles */
}

static double secs(int64_t ns)
{
    return (double)ns / 1e9;
}

/* One user event: how long until all have it, and how many datagrams that took beside the calm. */
static void tell_all(struct sim *sim, struct tally *t, double calm_rate)
{
    struct serf_event ev = {.type = SERF_EV_USER_EVENT, .name = "x"};
    int64_t at = sim->now, all;
    uint64_t before = sim->packets;

    (void)sim_order(sim, 0, &ev);
    while (t->heard < sim->n_nodes && sim->now - at < END)
        sim_run(sim, SLICE);
    all = sim->now - at;
    sim_run(sim, BREATHER - all % BREATHER);
    printf(
        "user event: heard by %u of %u within %.2f s; %.1f datagrams a member, at most %u by the "
        "formula retransmit_mult * ceil(log10(n + 1))\n",
        t->heard, sim->n_nodes, secs(all),
        ((double)(sim->packets - before) - calm_rate * secs(sim->now - at)) / sim->n_nodes,
        4 * (unsigned)ceil(log10((double)sim->n_nodes + 1)));
}

static void crash_one(struct sim *sim, struct tally *t, const struct serf_options *o)
{
    double n = sim->n_nodes, scale = floor(fmax(1, log10(n)) * 1000) / 1000;
    double suspicion = o->suspicion_mult * scale * secs(o->probe_interval);
    uint64_t packets = sim->packets, bytes = sim->bytes;
    int64_t at = sim->now;

    sim->nodes[t->victim].serf = NULL; /* as sim_crash(), but its records are in a block */
    sim->side[t->victim] = 1;          /* its host is gone, too: nothing refuses */
    while (t->failed < sim->n_nodes - 1 && sim->now - at < END)
        sim_run(sim, SLICE);
    printf(
        "crash: first failed probe after %.2f s (every second probe goes to the neighbour: within "
        "%.2f s and the probe)\n",
        secs(t->first_miss - at), 2 * secs(o->probe_pace));
    printf(
        "crash: first to call it failed after %.2f s, all %u after %.2f s; the suspicion alone is "
        "%.2f s with two confirmations, %.2f s with none, by suspicion_mult * log10(n) * "
        "interval\n",
        secs(t->first_failed - at), t->failed, secs(sim->now - at), suspicion,
        suspicion * o->suspicion_max_mult);
    printf(
        "crash: %.1f datagrams and %.0f bytes a member until all knew; others called failed: %u\n",
        (double)(sim->packets - packets) / n, (double)(sim->bytes - bytes) / n, t->wrong);
    if (t->failed < sim->n_nodes - 1 || t->wrong > 0)
        exit(1);
}

void sim_large(unsigned members)
{
    static struct sim sim;
    struct serf_options o;
    struct tally tally = {.victim = members / 2};
    double rate;

    if (members < 10 || members > SIM_NODES_MAX) {
        printf("SIM_MEMBERS: 10 to %u\n", SIM_NODES_MAX);
        exit(1);
    }
    serf_options_default(&o);
    sim_init(&sim, members, members);
    for (unsigned i = 0; i < members; i++) /* names in the order of numbers */
        (void)snprintf(sim.nodes[i].name, sizeof(sim.nodes[i].name), "n%05u.west", i);
    free(sim.views);
    sim.views = NULL;
    sim.options = plain_options;
    sim.on_note = on_note;
    sim.user = &tally;
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* it takes minutes: say what is known */
    printf("%u members: %.1f GiB for their records\n", members,
           (double)members * members * (sizeof(struct member) + 16) / (1u << 30));
    for (unsigned i = 0; i < members; i++) {
        sim_start(&sim, i);
        know_all(&sim, i);
    }
    sim_run(&sim, WARM_UP);
    sim.packets = sim.bytes = 0;
    sim_run(&sim, WARM_UP);
    rate = (double)sim.packets / secs(WARM_UP);
    printf("calm: %.2f datagrams and %.0f bytes a second and member; a ping and an ack for each "
           "probe are %.2f\n",
           rate / members, (double)sim.bytes / secs(WARM_UP) / members, 2 / secs(o.probe_pace));
    tell_all(&sim, &tally, rate);
    crash_one(&sim, &tally, &o);
}
