/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What the files of the Raft core share: its state, and the functions that one concept offers the
 * others. Nobody else includes this.
 *
 *   raft_core.c         events in, effects out, terms and roles
 *   raft_election.c     pre-vote, votes, leadership and its transfer
 *   raft_replication.c  the leader's side of APPEND, and commit
 *   raft_follower.c     the follower's side of APPEND and HEARTBEAT
 *   raft_snapshot.c     both sides of SNAPSHOT
 *   raft_read.c         heartbeat rounds, lease, ReadIndex
 *   raft_change.c       configuration changes
 *   raft_log.c          the log's tail in memory
 */
#pragma once

#include "base/prng.h"
#include "raft_core.h"

#define RAFT_ROUNDS      64 /* heartbeat rounds whose send time is remembered */
#define RAFT_CONFIGS_MAX 4  /* newest configurations kept: only the last can be uncommitted */
#define RAFT_SENDS_MAX   4  /* APPENDs to one peer in one step */
#define RAFT_MSGS_MAX    (RAFT_SERVERS_MAX * (RAFT_SENDS_MAX + 3) + 4)

/* Entries (base, last] are on disk or on the way there; [mem_first, last] are in memory. */
struct raft_log {
    struct raft_entry *entries; /* [head, head + n) are used, in order and without a gap */
    uint64_t *seqs;             /* the write that made each of them */
    size_t cap, head, n;
    uint64_t mem_bytes;
    uint64_t pending_bytes; /* of entries that are not durable */
    uint64_t base, last;
    uint64_t durable;           /* (base, durable] are on disk, and ours */
    struct raft_position *runs; /* first position of each term, from `base` on: runs_n >= 1 */
    size_t runs_n, runs_cap;
};

enum raft_peer_state {
    PEER_PROBE,     /* one APPEND at a time, looking for where the logs agree */
    PEER_REPLICATE, /* pipelined: next runs ahead of what is acknowledged (T 10.2.1) */
    PEER_SNAPSHOT,  /* the log does not reach back far enough */
};

struct raft_peer {
    uint64_t id;
    bool voter;
    enum raft_peer_state state;
    uint64_t match; /* on its disk and equal to ours */
    uint64_t next;
    uint64_t append_round; /* heartbeat round when something was sent last */
    bool probe_sent;
    bool fetching;      /* out->fetches asked for [next, ...) */
    uint64_t *inflight; /* last index of each APPEND under way: a ring of inflight_max */
    unsigned inflight_head, inflight_n;
    uint64_t snap_index, snap_offset; /* index 0: the shell takes its newest */
    bool chunk_reading;
    int64_t chunk_ns;     /* when a chunk was asked for or sent last */
    int64_t contact_ns;   /* heard last in this term */
    uint64_t acked_round; /* newest heartbeat round answered */
    int64_t acked_ns;     /* when we sent that one */
    bool voted, granted;  /* in this round of votes or pre-votes */
};

struct raft_config_entry {
    uint64_t index;
    struct raft_config config;
};

struct raft_read_pending {
    uint64_t id;
    uint64_t index; /* 0: no commit in this term yet when it came */
    uint64_t round; /* confirms it */
};

struct raft {
    struct raft_options opt;
    struct prng prng;
    struct mono_ns now;
    bool started;

    uint64_t term, vote; /* R figure 2: persistent */
    enum raft_role role;
    uint64_t leader;
    uint64_t commit;
    uint64_t handed; /* given out to apply */
    uint64_t seq;    /* of the last write */
    struct raft_log log;
    struct raft_position snap; /* newest snapshot of the shell */

    struct raft_config_entry configs[RAFT_CONFIGS_MAX]; /* oldest first; the last one counts */
    unsigned configs_n;
    bool self_voter;

    struct raft_peer peers[RAFT_SERVERS_MAX]; /* all others of the latest configuration */
    unsigned peers_n;
    unsigned quorum; /* voters that make a majority */

    /* follower */
    int64_t heard_ns;   /* newest word from a leader: no vote for others within T of it */
    int64_t timeout_ns; /* drawn from [T, T*4/3] for each election */
    int64_t election_due_ns;
    int64_t resend_due_ns; /* candidates repeat what may have been lost */
    uint64_t matched;      /* known equal to this term's leader's log */
    uint64_t acked;        /* last match told to it */
    bool ack_owed;
    uint64_t campaign_seq;  /* write that makes this candidate's own vote durable */
    bool campaign_transfer; /* this candidature was ordered by the leader */

    /* follower, receiving a snapshot */
    struct {
        bool active, installing;
        uint64_t from, term;
        uint64_t offset;
        struct raft_snapshot_meta meta;
    } inst;

    /* leader */
    uint64_t term_start; /* index of our no-op: committed means reads and changes may go */
    int64_t heartbeat_due_ns;
    int64_t led_since_ns;
    uint64_t round, confirmed_round;
    int64_t round_sent_ns[RAFT_ROUNDS];
    uint64_t uncommitted_bytes;
    bool lease_broken; /* TIMEOUT_NOW was sent: others may vote in spite of us (T 6.4.1) */
    uint64_t transfer_to;
    int64_t transfer_due_ns;
    struct raft_read_pending *reads; /* ring of opt.reads_max, allocated when first needed */
    unsigned reads_head, reads_n;

    /* effects of this step */
    bool writing;
    struct raft_out out;
    struct raft_msg msgs[RAFT_MSGS_MAX];
    uint64_t msg_first[RAFT_MSGS_MAX]; /* > 0: entries of the log from there on */
    uint64_t append_first, append_last;
    struct raft_read_answer *answers; /* opt.reads_max of them, like `reads` */
    struct raft_fetch fetches[RAFT_SERVERS_MAX];
    struct raft_chunk_read chunk_reads[RAFT_SERVERS_MAX];
    struct raft_install install;
};

/* ---- raft_core.c ---- */

struct raft_msg *raft_emit(struct raft *r, enum raft_msg_type type, uint64_t to);
void raft_set_role(struct raft *r, enum raft_role role);
void raft_set_leader(struct raft *r, uint64_t leader);
void raft_set_term(struct raft *r, uint64_t term); /* higher than now: forgets the vote */
void raft_set_vote(struct raft *r, uint64_t vote);
void raft_step_down(struct raft *r, uint64_t term, uint64_t leader);
void raft_set_commit(struct raft *r, uint64_t commit); /* never goes back */
uint64_t raft_write_seq(struct raft *r);               /* marks this step as writing; its number */
void raft_append_own(struct raft *r, uint8_t type, const struct raft_payload *p);
struct raft_peer *raft_peer_find(struct raft *r, uint64_t id);
/* The quorum-th largest of the voters' values, `own` being this server's. */
uint64_t raft_quorum_u64(const struct raft *r, uint64_t own, size_t peer_offset);
static inline bool raft_term_committed(const struct raft *r)
{
    return r->role == RAFT_LEADER && r->commit >= r->term_start;
}

/* ---- raft_election.c ---- */

void raft_election_arm(struct raft *r);
void raft_election_timer(struct raft *r);
void raft_campaign(struct raft *r, bool transfer); /* real votes, in a new term */
void raft_election_persisted(struct raft *r, uint64_t seq);
int raft_on_vote(struct raft *r, const struct raft_msg *m);
int raft_on_vote_reply(struct raft *r, const struct raft_msg *m);
int raft_on_timeout_now(struct raft *r, const struct raft_msg *m);
int raft_transfer(struct raft *r, uint64_t to);
void raft_transfer_check(struct raft *r, struct raft_peer *p); /* is the target caught up? */
void raft_transfer_best(struct raft *r); /* a leader that leaves names its heir */

/* ---- raft_replication.c ---- */

void raft_peer_probe(struct raft_peer *p, uint64_t next);
void raft_peer_send(struct raft *r, struct raft_peer *p, bool even_empty);
void raft_peers_send(struct raft *r);
void raft_peer_acked(struct raft *r, struct raft_peer *p, uint64_t match);
void raft_leader_commit(struct raft *r);
int raft_on_append_reply(struct raft *r, const struct raft_msg *m);
int raft_on_heartbeat_reply(struct raft *r, const struct raft_msg *m);
int raft_fetched(struct raft *r, const struct raft_event *ev);

/* ---- raft_follower.c ---- */

int raft_on_append(struct raft *r, const struct raft_msg *m);
int raft_on_heartbeat(struct raft *r, const struct raft_msg *m);
void raft_follower_ack(struct raft *r);

/* ---- raft_snapshot.c ---- */

void raft_peer_snapshot(struct raft *r, struct raft_peer *p);
void raft_peer_chunk(struct raft *r, struct raft_peer *p);
int raft_on_snapshot(struct raft *r, const struct raft_msg *m);
int raft_on_snapshot_reply(struct raft *r, const struct raft_msg *m);
int raft_snapshot_taken(struct raft *r, const struct raft_event *ev);
int raft_snapshot_chunk(struct raft *r, const struct raft_event *ev);
int raft_snapshot_installed(struct raft *r, const struct raft_event *ev);
void raft_install_abort(struct raft *r);

/* ---- raft_read.c ---- */

void raft_round_send(struct raft *r);
void raft_round_acked(struct raft *r, struct raft_peer *p, uint64_t round);
void raft_leader_timer(struct raft *r);
int raft_read(struct raft *r, uint64_t id);
void raft_reads_answer(struct raft *r);
void raft_reads_fail(struct raft *r);

/* ---- raft_change.c ---- */

int raft_change_propose(struct raft *r, const struct raft_event *ev);
void raft_config_push(struct raft *r, uint64_t index, const struct raft_config *c);
/* Drops configurations of entries >= from. */
void raft_config_pop(struct raft *r, uint64_t from);
void raft_config_reset(struct raft *r, uint64_t index, const struct raft_config *c);
void raft_config_use(struct raft *r); /* the latest one decides who the peers are */
static inline const struct raft_config_entry *raft_config_last(const struct raft *r)
{
    return &r->configs[r->configs_n - 1];
}

/* ---- raft_log.c ---- */

void raft_log_init(struct raft_log *l);
void raft_log_fini(struct raft_log *l);
void raft_log_reset(struct raft_log *l, struct raft_position base);
void raft_log_append(struct raft_log *l, const struct raft_entry *e, uint64_t seq); /* references */
void raft_log_truncate(struct raft_log *l, uint64_t from);
void raft_log_compact(struct raft_log *l, struct raft_position base);
void raft_log_persisted(struct raft_log *l, uint64_t seq);
/* Forgets the oldest entries up to `index` while more than bytes_max are in memory. */
void raft_log_trim(struct raft_log *l, uint64_t index, uint64_t bytes_max);
uint64_t raft_log_term(const struct raft_log *l, uint64_t index); /* 0: not known */
/* The last position at or below `index` whose term is not above `term`. */
struct raft_position raft_log_agree(const struct raft_log *l, uint64_t index, uint64_t term);
static inline uint64_t raft_log_mem_first(const struct raft_log *l)
{
    return l->last + 1 - l->n;
}
static inline const struct raft_entry *raft_log_entry(const struct raft_log *l, uint64_t index)
{
    uint64_t first = raft_log_mem_first(l);

    return index < first || index > l->last ? NULL : &l->entries[l->head + (index - first)];
}
