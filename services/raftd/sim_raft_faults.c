/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Clients that write and read, an operator who changes the group, and faults. All of it draws from
 * the seed.
 */
#include <errno.h>
#include <string.h>

#include "sim_raft.h"

#define FAULT_PERIOD_NS (10 * NS_PER_MS)

static struct node *random_node(struct world *w)
{
    return &w->nodes[prng_below(&w->sim.prng, w->nodes_n)];
}

/* Some server that believes it leads: there may be an older one, too. */
static struct node *random_leader(struct world *w)
{
    unsigned from = (unsigned)prng_below(&w->sim.prng, w->nodes_n);

    for (unsigned i = 0; i < w->nodes_n; i++) {
        struct node *n = &w->nodes[(from + i) % w->nodes_n];

        if (n->up && raft_role(n->raft) == RAFT_LEADER)
            return n;
    }
    return NULL;
}

/* Whom a fault hits: often the leader, for that is where the rules are tight. */
static struct node *random_victim(struct world *w)
{
    struct node *n = sim_chance(&w->sim, w->opt.aim_permille) ? random_leader(w) : NULL;

    return n ? n : random_node(w);
}

/* ---- clients ---- */

static struct raft_payload client_payload(struct world *w)
{
    struct raft_buf *b;

    w->cmd++;
    if (w->opt.real_machine && !sim_chance(&w->sim, 100)) {
        w->frame.len = 0;
        machine_command(&w->sim, w->cmd, &w->frame);
        b = raft_buf_copy(w->frame.data, (uint32_t)w->frame.len);
    } else {
        b = raft_buf_new((uint32_t)prng_below(&w->sim.prng, w->opt.entry_len_max + 1));
        for (uint32_t k = 0; k < b->len; k++)
            b->data[k] = (uint8_t)(w->cmd >> (8 * (k % 8)));
    }
    return (struct raft_payload){b, b->data, b->len};
}

void client_propose(struct node *n)
{
    struct world *w = n->w;
    struct raft_payload p[3];
    unsigned count = 1 + (unsigned)prng_below(&w->sim.prng, ARRAY_LEN(p));
    struct raft_event ev = {.type = RAFT_EV_PROPOSE, .propose = {p, count}};
    uint64_t first = raft_last_index(n->raft) + 1, term = raft_term(n->raft), life = n->life;
    int err;

    for (unsigned i = 0; i < count; i++)
        p[i] = client_payload(w);
    /* Noted before the step: a single server may apply it within. */
    if (n->proposals_n + count <= NODE_PROPOSALS_MAX) {
        for (unsigned i = 0; i < count; i++)
            n->proposals[n->proposals_n++] = (struct node_proposal){first + i, term};
        err = node_step(n, &ev);
        if (err != 0 && n->life == life)
            n->proposals_n -= count;
    }
    for (unsigned i = 0; i < count; i++)
        raft_buf_unref(p[i].buf);
}

static void client_read(struct node *n)
{
    struct world *w = n->w;
    struct raft_event ev = {.type = RAFT_EV_READ, .read = {++w->read_id}};
    uint64_t life = n->life;

    if (n->asked_n == NODE_READS_MAX)
        return;
    n->asked[n->asked_n++] = (struct node_read){w->read_id, 0, w->acked};
    if (node_step(n, &ev) != 0 && n->life == life)
        n->asked_n--;
}

static void clients_run(void *arg, uint64_t a UNUSED, uint64_t b UNUSED)
{
    struct world *w = arg;
    struct node *n;

    if (w->calm || world_failed(w))
        return;
    if (sim_chance(&w->sim, w->opt.propose_permille) && (n = random_leader(w)))
        client_propose(n);
    if (sim_chance(&w->sim, w->opt.read_permille) && (n = random_leader(w)))
        client_read(n);
    sim_after(&w->sim, NS_PER_MS, clients_run, w, 0, 0);
}

/* ---- the operator ---- */

static void operator_change(struct world *w)
{
    struct node *n = random_leader(w), *other = random_node(w);
    struct raft_event ev = {.type = RAFT_EV_CHANGE};
    const struct raft_config *c;

    if (!n)
        return;
    c = raft_config_latest(n->raft, NULL);
    ev.change.server.id = node_id(other);
    if (!raft_config_find(c, node_id(other)))
        ev.change.change = RAFT_ADD_LEARNER;
    else if (!raft_config_is_voter(c, node_id(other)))
        ev.change.change = sim_chance(&w->sim, 850) ? RAFT_PROMOTE : RAFT_REMOVE;
    else if (raft_config_voters(c) > 1)
        ev.change.change = sim_chance(&w->sim, 500) ? RAFT_DEMOTE : RAFT_REMOVE;
    else
        return;
    if (node_step(n, &ev) == 0) {
        w->count.changes++;
        world_log(w, n, "change %d of server %u", ev.change.change, other->no + 1);
    }
}

static void operator_transfer(struct world *w)
{
    struct node *n = random_leader(w);
    struct raft_event ev = {.type = RAFT_EV_TRANSFER};

    if (!n)
        return;
    if (sim_chance(&w->sim, 500))
        ev.transfer.to = node_id(random_node(w));
    if (node_step(n, &ev) == 0)
        w->count.transfers++;
}

/* ---- faults ---- */

static void node_restart(void *arg, uint64_t life, uint64_t b UNUSED)
{
    struct node *n = arg;

    if (n->up || n->life != life || world_failed(n->w))
        return;
    if (!n->w->calm && sim_chance(&n->w->sim, 50))
        sim_disk_fail_after(n->disk, prng_below(&n->w->sim.prng, 8), -EIO);
    node_start(n);
}

static void fault_crash(struct node *n)
{
    struct world *w = n->w;

    if (!n->up)
        return;
    node_crash(n, sim_chance(&w->sim, 600));
}

static void fault_partition(struct world *w)
{
    unsigned side = (unsigned)prng_below(&w->sim.prng, 1u << w->nodes_n);
    unsigned a = random_victim(w)->no;
    unsigned b = (unsigned)prng_below(&w->sim.prng, w->nodes_n);

    switch (prng_below(&w->sim.prng, 3)) {
    case 0: /* one direction of one link */
        w->net.cut[a][b] = true;
        return;
    case 1: /* one server hears nothing, or is not heard */
        for (unsigned i = 0; i < w->nodes_n; i++) {
            if (b & 1)
                w->net.cut[a][i] = true;
            else
                w->net.cut[i][a] = true;
        }
        return;
    default: /* two sides */
        for (unsigned i = 0; i < w->nodes_n; i++)
            for (unsigned k = 0; k < w->nodes_n; k++)
                if (((side >> i) & 1) != ((side >> k) & 1))
                    w->net.cut[i][k] = true;
        return;
    }
}

static void faults_run(void *arg, uint64_t a UNUSED, uint64_t b UNUSED)
{
    struct world *w = arg;
    const struct sim_options *o = &w->opt;
    struct sim *s = &w->sim;

    if (w->calm || world_failed(w))
        return;
    if (sim_chance(s, o->crash_permille))
        fault_crash(random_victim(w));
    if (sim_chance(s, o->crash_all_permille))
        for (unsigned i = 0; i < w->nodes_n; i++)
            fault_crash(&w->nodes[i]);
    if (sim_chance(s, o->partition_permille))
        fault_partition(w);
    if (sim_chance(s, o->heal_permille))
        memset(w->net.cut, 0, sizeof(w->net.cut));
    if (sim_chance(s, o->disk_error_permille))
        sim_disk_fail_after(random_node(w)->disk, prng_below(&s->prng, 20),
                            sim_chance(s, 500) ? -EIO : -ENOSPC);
    if (sim_chance(s, o->transfer_permille))
        operator_transfer(w);
    if (sim_chance(s, o->change_permille))
        operator_change(w);
    for (unsigned i = 0; i < w->nodes_n; i++) {
        struct node *n = &w->nodes[i];

        if (!n->up && sim_chance(s, o->restart_permille))
            node_restart(n, n->life, 0);
    }
    sim_after(s, FAULT_PERIOD_NS, faults_run, w, 0, 0);
}

void faults_begin(struct world *w)
{
    sim_after(&w->sim, 0, clients_run, w, 0, 0);
    sim_after(&w->sim, FAULT_PERIOD_NS, faults_run, w, 0, 0);
}
