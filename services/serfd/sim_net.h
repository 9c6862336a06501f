/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A virtual network for unchanged cores: virtual time, loss, delay, duplication, cuts, crashes,
 * stalls. Linked by tests only.
 */
#pragma once

#include "serfd_core.h"

#define SIM_NODES_MAX 128

struct sim_event {
    int64_t at;
    uint64_t order; /* equal times: first in, first out */
    enum { SIM_TICK, SIM_PACKET, SIM_STREAM, SIM_DIALED, SIM_SAVED } type;
    unsigned to, from;
    unsigned life; /* of `to`; what was meant for an earlier life is dropped */
    uint64_t id;   /* dial id at the dialling node */
    int err;
    uint8_t *data;
    size_t len;
};

struct sim_node {
    char name[32];
    struct gossip_addr addr;
    struct serf *serf; /* NULL: not running */
    unsigned life;
    int64_t tick_at;
    int64_t stalled_until;
    uint32_t inc;
    bool left;
    unsigned joins_ok, joins_failed;
    unsigned answers; /* dials that came back, for the books */
    uint64_t dials;
    unsigned events;         /* user events that it heard of */
    unsigned replies, asked; /* to queries of its own: acks and answers, ends */
};

struct sim {
    struct prng prng;
    int64_t now;
    uint64_t order;
    struct sim_event *heap;
    size_t n, cap;
    struct sim_node nodes[SIM_NODES_MAX];
    unsigned n_nodes;
    double loss, dup;
    int64_t delay_min, delay_max;
    unsigned side[SIM_NODES_MAX]; /* nodes of different sides do not hear each other */
    bool verbose;
    uint64_t packets, streams, bytes;
    uint64_t failed_notes; /* "member failed" lines */
    void (*options)(struct serf_options *o);
};

void sim_init(struct sim *sim, uint64_t seed, unsigned n_nodes);
void sim_fini(struct sim *sim);
void sim_start(struct sim *sim, unsigned node); /* a new life */
void sim_crash(struct sim *sim, unsigned node);
void sim_stall(struct sim *sim, unsigned node, int64_t ns);
void sim_join(struct sim *sim, unsigned node, unsigned to);
int sim_order(struct sim *sim, unsigned node, struct serf_event *ev);
void sim_run(struct sim *sim, int64_t ns);
/* What `node` says of `other`. */
enum serf_status sim_status(const struct sim *sim, unsigned node, unsigned other);
/* Do all running nodes show exactly the running ones as alive? */
bool sim_converged(const struct sim *sim);
