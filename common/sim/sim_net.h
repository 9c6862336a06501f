/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A network between `n` places that delays, loses, doubles, reorders and cuts. Each direction of
 * each link can be cut alone.
 */
#pragma once

#include "sim/sim.h"

#define SIM_NET_MAX 16

/* A packet has a count of references so that a doubled one is stored once. */
struct sim_packet {
    unsigned refs;
    uint32_t len;
    uint8_t data[];
};

typedef void sim_deliver_fn(void *user, unsigned from, unsigned to, const struct sim_packet *p);

struct sim_net {
    struct sim *sim;
    sim_deliver_fn *deliver;
    void *user;
    int64_t delay_min_ns, delay_max_ns;
    unsigned loss_permille, double_permille;
    bool fifo;                          /* packets of one direction never overtake each other */
    bool cut[SIM_NET_MAX][SIM_NET_MAX]; /* [from][to] */
    int64_t busy_ns[SIM_NET_MAX][SIM_NET_MAX];
    struct sim_transit *transit; /* under way, kept to be freed */
    size_t transit_n, transit_cap;
    size_t *free_places; /* in transit, as many as it has room for */
    size_t free_n;
    uint64_t sent, lost;
};

void sim_net_init(struct sim_net *net, struct sim *sim, sim_deliver_fn *deliver, void *user);
void sim_net_fini(struct sim_net *net);
struct sim_packet *sim_packet_new(const void *data, uint32_t len);
/* Takes the reference. */
void sim_net_send(struct sim_net *net, unsigned from, unsigned to, struct sim_packet *p);
void sim_net_heal(struct sim_net *net); /* no cut, no loss, no doubling */
