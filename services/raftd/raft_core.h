/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The Raft core: raft_step(event) -> effects. Pure: no clock, no I/O, no threads, no random but the
 * seed it is given. Rules cite "In Search of an Understandable Consensus Algorithm" (R) and
 * Ongaro's thesis (T).
 *
 *                     timeout            majority pre-votes       majority votes
 *     +----------+  -----------> +---------------+ ----> +-----------+ ----> +--------+
 *     | FOLLOWER |               | PRE_CANDIDATE |       | CANDIDATE |       | LEADER |
 *     +----------+ <-----------  +---------------+       +-----------+       +--------+
 *          ^         a leader, or a higher term               |                  |
 *          +--------------------------------------------------+------------------+
 *                                    ... or no contact with a majority (check-quorum)
 *
 * A learner is a FOLLOWER that its configuration does not list as a voter: it never campaigns.
 * The only voter leads as soon as its vote for itself, always in a new term, is durable.
 *
 * The contract with the shell, per raft_step():
 *   1. Write, in this order: out->hard, then remove entries from out->truncate_from on, then
 *      out->append. All of it is write number out->seq. Writes of all steps go to disk in the order
 *      of steps. When they are durable: event PERSISTED with that number (the highest is enough).
 *   2. Send out->msgs. If out->sync_before_send they, and all messages of later steps, leave only
 *      after write out->seq is durable (term and vote, R 5.2). Otherwise they need not wait: the
 *      leader sends entries while its own disk still writes them (T 10.2.1), and nobody is told
 *      of an entry on a disk before PERSISTED.
 *   3. Apply entries out->apply_first..apply_last, in order (contents: raft_entry_at(), or the
 *      write-ahead log when that says NULL). Only entries that are committed AND durable here are
 *      handed out, so that a state machine is never ahead of the log of its own disk.
 *   4. Answer out->reads: a read waits until the state machine has applied `index`.
 *   5. Do the fetches and snapshot work asked for; each ends in an event.
 *   6. Look at out->notice (role, leader, configuration). Call again with TICK at out->deadline.
 * A write that fails is the end: the shell stops the process without PERSISTED.
 *
 * Ids, indexes and terms are plain uint64_t, as in the papers: wrapping each of them in a struct
 * made the arithmetic unreadable. 0 is "none" for all three.
 */
#pragma once

#include "base/base.h"
#include "base/clock.h"
#include "raft_config.h"
#include "raft_msg.h"

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };
const char *raft_role_name(enum raft_role role);

/* What a step refuses; nothing has changed then unless said. */
enum raft_error {
    RAFT_E_NOT_LEADER = 1, /* ask raft_leader() */
    RAFT_E_BUSY,           /* too much uncommitted, or too many reads pending: retry later */
    RAFT_E_TRANSFERRING,   /* leadership is being handed over: retry soon */
    RAFT_E_CHANGE_PENDING, /* a configuration change is not committed yet, or no commit this term */
    RAFT_E_NOT_CAUGHT_UP,  /* the learner's log is too far behind to vote */
    RAFT_E_NO_SUCH_SERVER,
    RAFT_E_BAD_CHANGE,  /* would leave no voter, id exists already, table full, ... */
    RAFT_E_BAD_MESSAGE, /* a message that no correct peer sends: dropped */
    RAFT_E_TOO_LARGE,   /* entry larger than entry_bytes_max */
};
const char *raft_error_text(int err);

struct raft_options {
    uint64_t id;                    /* this server, > 0 */
    int64_t election_timeout_ns;    /* T; real timeouts are drawn from [T, T*4/3]. 0: 150 ms */
    int64_t heartbeat_ns;           /* 0: 30 ms */
    unsigned lease_drift_permille;  /* how much clocks may run apart within T; 0: 100 (10 %) */
    bool lease_off;                 /* each ReadIndex asks a majority */
    uint64_t seed;                  /* for the election timeouts */
    uint32_t entry_bytes_max;       /* one entry; 0: 16 MiB */
    uint32_t msg_entries_max;       /* per APPEND; 0: 1024 */
    uint32_t msg_bytes_max;         /* per APPEND, though one entry always fits; 0: 1 MiB */
    uint32_t inflight_max;          /* APPENDs not yet acknowledged, per peer; 0: 64 */
    uint32_t chunk_bytes;           /* of a streamed snapshot; 0: 512 KiB */
    uint32_t uncommitted_bytes_max; /* proposals beyond it get RAFT_E_BUSY; 0: 64 MiB */
    uint32_t tail_bytes_max;        /* durable entries kept in memory; 0: 4 MiB */
    uint32_t reads_max;             /* ReadIndex requests waiting; 0: 4096 */
    uint64_t promote_lag_max;       /* entries a learner may be behind when promoted; 0: 1024 */
};

struct raft;

/* Copies the options. The core is stopped until START. */
struct raft *raft_new(const struct raft_options *opt);
struct raft *raft_free(struct raft *r); /* drops its references to entries */

/*
 * Before START: what the disk holds. First the snapshot if there is one (its configuration is
 * copied), with the position before the log's first entry; then each entry of the log in order
 * (the core takes a reference, and keeps only the newest ones in memory).
 */
struct raft_snapshot_meta {
    uint64_t index, term;  /* of the last entry it contains */
    uint64_t config_index; /* index of the entry that made the configuration */
    struct raft_config config;
};
struct raft_position {
    uint64_t index, term;
};
void raft_load_hard(struct raft *r, uint64_t term, uint64_t vote);
void raft_load_snapshot(struct raft *r, const struct raft_snapshot_meta *meta);
/* Where the log begins: the entry before its first one, kept below a snapshot's index for slow
 * followers. Not called: at the snapshot's index, or 0. */
void raft_load_log_base(struct raft *r, struct raft_position base);
/* -EINVAL for an entry out of order or a configuration that cannot be decoded. */
int raft_load_entry(struct raft *r, const struct raft_entry *entry);

enum raft_event_type {
    RAFT_EV_START,              /* .start: once, after raft_load_*() */
    RAFT_EV_TICK,               /* time has passed */
    RAFT_EV_MESSAGE,            /* .msg: entries are borrowed; the core references what it keeps */
    RAFT_EV_PERSISTED,          /* .persisted */
    RAFT_EV_PROPOSE,            /* .propose */
    RAFT_EV_CHANGE,             /* .change */
    RAFT_EV_READ,               /* .read */
    RAFT_EV_TRANSFER,           /* .transfer */
    RAFT_EV_FETCHED,            /* .fetched: answer to out->fetches */
    RAFT_EV_SNAPSHOT_TAKEN,     /* .taken: the shell has made a snapshot and maybe cut the log */
    RAFT_EV_SNAPSHOT_CHUNK,     /* .chunk: answer to out->chunk_reads */
    RAFT_EV_SNAPSHOT_INSTALLED, /* .installed: answer to out->install with done */
};

enum raft_change {
    RAFT_ADD_LEARNER, /* a new server, or a new address for one that exists */
    RAFT_PROMOTE,     /* learner to voter; it must be caught up */
    RAFT_DEMOTE,      /* voter to learner */
    RAFT_REMOVE,
};

struct raft_event {
    enum raft_event_type type;
    struct mono_ns now; /* never less than in the event before */
    union {
        struct {
            uint64_t applied; /* what the state machine has: nothing up to it is handed out again */
        } start;
        const struct raft_msg *msg;
        struct {
            uint64_t seq; /* writes up to this number are durable */
        } persisted;
        struct {
            const struct raft_payload *payloads; /* the core references their buffers */
            unsigned n;
        } propose; /* on success: out->proposed_first, out->proposed_term */
        struct {
            enum raft_change change;
            struct raft_server server; /* .id decides; the rest for ADD_LEARNER */
        } change;                      /* on success: out->proposed_first */
        struct {
            uint64_t id; /* the shell's, comes back in out->reads */
        } read;
        struct {
            uint64_t to; /* 0: the voter that is furthest */
        } transfer;
        struct {
            uint64_t peer, first;
            const struct raft_entry
                *entries; /* n entries from `first` on; fewer than asked is fine */
            unsigned n;
            int err; /* < 0: cannot be read (the peer gets a snapshot) */
        } fetched;
        struct {
            const struct raft_snapshot_meta *meta;
            struct raft_position log_base; /* before the first entry the log on disk still has */
        } taken;
        struct {
            uint64_t peer;
            const struct raft_snapshot_meta
                *meta; /* of the file read: the newest one when offset 0 */
            uint64_t offset;
            const uint8_t *data; /* borrowed until the messages of this step are sent */
            uint32_t len;
            bool done;
            int err; /* < 0: cannot be read; tried again later */
        } chunk;
        struct {
            uint64_t index;
            int err; /* < 0: not installed, nothing changed on disk */
        } installed;
    };
};

/* Entries [first, first + n) are not in memory: read them for `peer`, answer with FETCHED. */
struct raft_fetch {
    uint64_t peer, first;
    unsigned n;
    uint32_t bytes_max; /* stop after the entry that reaches it */
};

/* Read a piece of snapshot `index` (0: the newest one) at `offset`, answer with SNAPSHOT_CHUNK. */
struct raft_chunk_read {
    uint64_t peer, index, offset;
    uint32_t len_max;
};

/*
 * A piece of a snapshot from the leader. offset 0 starts a new file (an older unfinished one is
 * dropped). With `done`: complete and check the file, make it durable under its name, restart the
 * log on disk after meta->index (wal_reset(), in the order of writes), load the state machine, then
 * SNAPSHOT_INSTALLED. Until then the core hands out nothing to apply and takes no entries.
 */
struct raft_install {
    const struct raft_snapshot_meta *meta;
    uint64_t offset;
    const uint8_t *data; /* of the message that came in */
    uint32_t len;
    bool done;
};

struct raft_read_answer {
    uint64_t id, index;
    int err; /* 0, or RAFT_E_NOT_LEADER: leadership was lost before a majority confirmed it */
};

enum raft_notice {
    RAFT_NOTICE_ROLE = 1,             /* role or term changed */
    RAFT_NOTICE_LEADER = 2,           /* raft_leader() changed */
    RAFT_NOTICE_CONFIG = 4,           /* raft_config_latest() changed */
    RAFT_NOTICE_CONFIG_COMMITTED = 8, /* ... and is committed */
    RAFT_NOTICE_COMMIT = 16,          /* raft_commit_index() grew */
    RAFT_NOTICE_INSTALL_ABORTED = 32, /* drop the unfinished snapshot file: not needed any more */
    RAFT_NOTICE_TRANSFER_FAILED = 64, /* gave up in time: still leader */
};

/* Owned by the core, valid until the next step. Arrays are bounded by the options. */
struct raft_out {
    uint64_t seq; /* 0: nothing to write */
    bool sync_before_send;
    bool hard_changed;
    struct {
        uint64_t term, vote;
    } hard;
    uint64_t truncate_from; /* 0: none */
    const struct raft_entry *append;
    unsigned append_n;
    const struct raft_msg *msgs;
    unsigned msgs_n;
    uint64_t apply_first, apply_last; /* 0: none */
    const struct raft_read_answer *reads;
    unsigned reads_n;
    const struct raft_fetch *fetches;
    unsigned fetches_n;
    const struct raft_chunk_read *chunk_reads;
    unsigned chunk_reads_n;
    const struct raft_install *install; /* NULL: none */
    unsigned notice;                    /* RAFT_NOTICE_* */
    uint64_t proposed_first, proposed_term;
    struct mono_ns deadline; /* TICK then at the latest */
};

/* 0, RAFT_E_*, or -EINVAL. *ret_out is set in each case (an error may still have effects: a refused
 * message can bring a higher term). */
int raft_step(struct raft *r, const struct raft_event *ev, const struct raft_out **ret_out);

/* ---- looking at it ---- */

enum raft_role raft_role(const struct raft *r);
uint64_t raft_term(const struct raft *r);
uint64_t raft_vote(const struct raft *r);
uint64_t raft_leader(const struct raft *r); /* 0: not known */
uint64_t raft_last_index(const struct raft *r);
uint64_t raft_last_term(const struct raft *r);
uint64_t raft_durable_index(const struct raft *r);
uint64_t raft_commit_index(const struct raft *r);
uint64_t raft_applied_index(const struct raft *r); /* handed out so far */
/* When the leader was heard last (a leader: when a majority answered last); 0 ns: never. */
struct mono_ns raft_last_contact(const struct raft *r);
const struct raft_config *raft_config_latest(const struct raft *r, uint64_t *ret_index);
/* The configuration as of a committed index >= the last but one change: for snapshots' headers.
 * NULL when that is not known any more. */
const struct raft_config *raft_config_at(const struct raft *r, uint64_t index, uint64_t *ret_index);
/* Borrowed; NULL when it is not in memory. */
const struct raft_entry *raft_entry_at(const struct raft *r, uint64_t index);
/* Its term; 0 when the log does not reach there. */
uint64_t raft_term_at(const struct raft *r, uint64_t index);
/* Leader only: what `peer` has on disk, and when it answered last. False: no such peer. */
struct raft_peer_info {
    uint64_t match, next;
    struct mono_ns last_contact;
    bool voter, replicating, snapshotting;
};
bool raft_peer_info(const struct raft *r, uint64_t peer, struct raft_peer_info *ret);
