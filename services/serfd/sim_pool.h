/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A pool of unchanged cores on a virtual network: virtual time, loss, delay, duplication, cuts,
 * crashes, stalls. Linked by tests only. Not on common/sim: its events are plain structs here, as
 * pools of 10,000 members have millions of them.
 */
#pragma once

#include "serfd_core.h"

#define SIM_NODES_MAX 10000 /* one-way cuts and checks of views: up to SIM_VIEWS_MAX */
#define SIM_VIEWS_MAX 128

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
    int64_t clock_ahead;   /* of the virtual time: its clock was stepped */
    uint64_t clocks[3];    /* Lamport, as last seen */
    uint32_t inc, inc_max; /* of this life, of all lives */
    bool left;
    unsigned tags; /* version of its tags: what all others shall show in the end */
    uint64_t checks;
    unsigned turns; /* ticks after which the next one was due at once, in a row */
    unsigned joins_ok, joins_failed;
    unsigned answers; /* dials that came back, for the books */
    uint64_t dials;
    unsigned events;         /* user events that it heard of */
    unsigned replies, asked; /* to queries of its own: acks and answers, ends */
};

struct sim_view { /* of one member by another */
    uint32_t inc;
    enum serf_status status;
    uint64_t check; /* number of the check that saw it; not the last one: it was erased meanwhile */
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
    uint8_t *cut;                 /* [from * n_nodes + to]: nothing gets there; made by sim_cut() */
    struct sim_view *views;       /* [who * n_nodes + whom]: what was seen last; small pools only */
    double stream_loss;           /* of answers to dials */
    unsigned far_group;           /* nodes of different groups of so many are far_delay apart */
    int64_t far_delay;
    uint64_t steps;
    bool verbose;
    uint64_t packets, streams, bytes;
    uint64_t failed_notes; /* "member failed" lines */
    void (*options)(struct serf_options *o);
    void (*on_note)(struct sim *sim, unsigned node, const char *text);
    void *user; /* of on_note */
};

void sim_init(struct sim *sim, uint64_t seed, unsigned n_nodes);
void sim_fini(struct sim *sim);
void sim_start(struct sim *sim, unsigned node); /* a new life */
/* The same with the Lamport clocks of its former life, as after a crash with a snapshot file. */
void sim_start_again(struct sim *sim, unsigned node);
void sim_crash(struct sim *sim, unsigned node);
/* Nothing from `from` reaches `to` any more; the way back may work. */
void sim_cut(struct sim *sim, unsigned from, unsigned to);
void sim_heal(struct sim *sim);                 /* ends cuts and partitions */
void sim_retag(struct sim *sim, unsigned node); /* it changes its tags while it runs */
/* Its monotonic clock jumps ahead, as that of a virtual machine that was suspended. */
void sim_step_clock(struct sim *sim, unsigned node, int64_t ns);
void sim_stall(struct sim *sim, unsigned node, int64_t ns);
void sim_join(struct sim *sim, unsigned node, unsigned to);
int sim_order(struct sim *sim, unsigned node, struct serf_event *ev);
void sim_run(struct sim *sim, int64_t ns);
/* What `node` says of `other`. */
enum serf_status sim_status(const struct sim *sim, unsigned node, unsigned other);
/* Do all running nodes show exactly the running ones as alive, with their present tags? */
bool sim_converged(const struct sim *sim);
