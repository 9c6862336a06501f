/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The simulation of a Raft group: our core, our log and snapshot files, and a small deterministic
 * state machine, over virtual time, network and disks.
 *
 *   sim_raft.c         seeds, options, the phases of a run
 *   sim_raft_node.c    one server: what raftd's shell does, in virtual time
 *   sim_raft_fsm.c     the state machine
 *   sim_raft_faults.c  clients, operators and everything that goes wrong
 *   sim_raft_check.c   what must be true after each step
 */
#pragma once

#include "raft_core.h"
#include "raft_wire.h"
#include "sim/sim.h"
#include "sim/sim_disk.h"
#include "sim/sim_net.h"
#include "wal.h"
#include "wal_snap.h"

#define SIM_NODES_MAX 8

/* ---- options: drawn from the seed ---- */

struct sim_options {
    unsigned voters; /* at the beginning */
    unsigned spares; /* servers that may join */
    int64_t faults_ns;
    unsigned loss_permille, double_permille;
    int64_t delay_max_ns;
    bool fifo;
    int64_t sync_max_ns;
    unsigned crash_permille; /* per 10 ms, each kind of fault */
    unsigned crash_all_permille;
    unsigned aim_permille;     /* faults that hit the leader */
    unsigned restart_permille; /* per 10 ms and server that is down */
    int64_t election_ns;
    unsigned partition_permille;
    unsigned heal_permille;
    unsigned disk_error_permille;
    unsigned transfer_permille;
    unsigned change_permille;
    unsigned propose_permille; /* per ms */
    unsigned read_permille;
    unsigned drift_ppm;
    uint32_t msg_entries_max, msg_bytes_max, inflight_max, chunk_bytes, tail_bytes_max;
    uint32_t uncommitted_bytes_max, segment_bytes, snapshot_every, trailing;
    bool lease_off;
    unsigned entry_len_max;
    bool real_machine;
};

/* ---- the state machine ---- */

/*
 * A chain of hashes over all that was applied, and in some runs raftd's real state machine
 * (common/state) over a store in memory besides.
 */
struct machine {
    uint64_t applied;
    uint64_t hash;       /* of everything applied, in order */
    struct store *store; /* NULL: only the chain */
    struct fsm *fsm;
};
void machine_init(struct machine *m, bool real);
void machine_fini(struct machine *m);
void machine_reset(struct machine *m); /* empty again */
/* Entries of rising index, in one transaction. Returns 0, or what the state machine returned. */
int machine_apply(struct machine *m, const struct raft_entry *entries, unsigned n);
void machine_snapshot(struct machine *m, struct strbuf *out);
/* -EBADMSG. */
int machine_restore(struct machine *m, const uint8_t *buf, size_t len);
/* Of the whole state, not its history; never 0. */
uint64_t machine_digest(struct machine *m);
/* A command for the real one: well formed, refused, or no command at all. */
void machine_command(struct sim *s, uint64_t no, struct strbuf *out);

/* ---- one server ---- */

/* What the checker knows about a disk: independent of the core's word for it. */
struct shadow_op {
    uint64_t seq, truncate_from, first;
    uint64_t *terms;
    unsigned n;
};

struct shadow {
    struct shadow_op *ops; /* written, not durable */
    size_t ops_n, ops_cap;
    uint64_t base;   /* covered by a snapshot */
    uint64_t *terms; /* of entries base + 1 ... base + n that are durable */
    size_t n, cap;
    uint64_t term, vote; /* durable */
};

struct node_gated {
    uint64_t seq;
    unsigned to;
    struct sim_packet *packet;
};

struct node_proposal {
    uint64_t index, term;
};

struct node_read {
    uint64_t id, index, acked_before;
};

#define NODE_PROPOSALS_MAX 512
#define NODE_READS_MAX     256

struct node {
    struct world *w;
    unsigned no; /* place in world.nodes; id is no + 1 */
    bool up, running;
    uint64_t life; /* events of an older life are dropped */
    struct raft *raft;
    struct wal *wal;
    struct sim_disk *disk;
    struct wal_fs fs;
    struct machine machine;
    int64_t clock_offset_ns, clock_ppm;
    uint64_t tick_no;
    uint64_t seq_written, seq_syncing, seq_synced;
    bool syncing;
    uint64_t gate_seq;
    struct node_gated *gated;
    size_t gated_n, gated_cap;
    struct snap_writer *in;
    struct snap_reader *sending[SIM_NODES_MAX];
    uint64_t snap_index;
    struct node_proposal proposals[NODE_PROPOSALS_MAX]; /* to be acknowledged when applied */
    unsigned proposals_n;
    struct node_read asked[NODE_READS_MAX];
    unsigned asked_n;
    /* checker */
    struct shadow shadow;
    uint64_t commit_seen, term_sent, last_leader_term;
    enum raft_role role_seen;
};

/* ---- all of it ---- */

struct world_entry {
    uint64_t term;
    uint64_t in_term; /* of the leader that committed it */
};

struct world {
    uint64_t seed;
    struct sim_options opt;
    struct sim sim;
    struct sim_net net;
    struct raft_group group;
    struct node nodes[SIM_NODES_MAX];
    unsigned nodes_n;
    bool calm; /* phase 2: no more faults */
    bool verbose;
    struct raft_wire_in wire;
    struct strbuf frame;
    /* checker: what is committed, by index (0 unused) */
    struct world_entry *committed;
    size_t committed_n, committed_cap;
    uint64_t *state_hash; /* after applying index i; 0: nobody has yet */
    size_t state_cap;
    uint64_t *digest; /* of the whole state at an index, as far as somebody looked */
    size_t digest_cap;
    uint64_t *leader_of; /* term -> id */
    size_t leader_cap;
    uint64_t *votes[SIM_NODES_MAX]; /* voter, term -> candidate */
    size_t votes_n[SIM_NODES_MAX];
    struct entry_map *map; /* (index, term) -> content */
    uint64_t acked;        /* highest index told to a client */
    uint64_t cmd, read_id;
    struct {
        uint64_t steps, elections, commits, acks, reads, crashes, installs, changes, transfers;
    } count;
    char failure[512];
};

int world_run(struct world *w);
void world_fail(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
void world_log(struct world *w, const struct node *n, const char *fmt, ...) PRINTF_LIKE(3, 4);
static inline bool world_failed(const struct world *w)
{
    return w->failure[0] != '\0';
}

/* ---- sim_raft_node.c ---- */

void node_init(struct world *w, unsigned no);
void node_fini(struct node *n);
/* Writes what bootstrap writes: the first configuration. */
void node_bootstrap(struct node *n, const struct raft_config *c);
void node_start(struct node *n);
void node_crash(struct node *n, bool power);
int node_step(struct node *n, struct raft_event *ev);
void node_receive(void *user, unsigned from, unsigned to, const struct sim_packet *p);
struct mono_ns node_now(const struct node *n);
static inline uint64_t node_id(const struct node *n)
{
    return n->no + 1;
}

/* ---- sim_raft_faults.c ---- */

void faults_begin(struct world *w);
void client_propose(struct node *n);

/* ---- sim_raft_check.c ---- */

void check_init(struct world *w);
void check_fini(struct world *w);
void check_step(struct node *n, const struct raft_out *out);
void check_sent(struct node *n, const struct raft_msg *m); /* when it leaves the server */
void check_applied(struct node *n, uint64_t index, uint64_t hash);
void check_state(struct node *n); /* the whole state: now and then, for it is slow */
void check_synced(struct node *n, uint64_t seq);
void check_installed(struct node *n, uint64_t index);
void check_recovered(struct node *n);
void check_read(struct node *n, const struct node_read *r, uint64_t index);
void check_converged(struct world *w, bool *ret_done);
