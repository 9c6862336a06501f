/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Entries, their shared buffers, and the messages between servers as plain structs. How they look
 * on the wire: raft_wire.h.
 */
#pragma once

#include "base/base.h"
#include "raft_config.h"

/* Bytes that several owners keep: the log, queued writes, messages. One thread. */
struct raft_buf {
    uint32_t refs;
    uint32_t len;
    uint8_t data[];
};

struct raft_buf *raft_buf_new(uint32_t len); /* one reference, contents not set */
struct raft_buf *raft_buf_copy(const void *data, uint32_t len);
static inline struct raft_buf *raft_buf_ref(struct raft_buf *b)
{
    if (b)
        b->refs++;
    return b;
}
struct raft_buf *raft_buf_unref(struct raft_buf *b); /* takes NULL, returns NULL */
DEFINE_CLEANUP(struct raft_buf, raft_buf_unref)

enum raft_entry_type {
    RAFT_ENTRY_COMMAND, /* for the state machine */
    RAFT_ENTRY_NOOP,    /* a leader's first (R 8); the state machine sees only its index */
    RAFT_ENTRY_CONFIG,  /* data: raft_config_encode() */
};

/* A slice of a buffer: entries of one message share the message's. */
struct raft_payload {
    struct raft_buf *buf; /* may be NULL when len is 0 */
    const uint8_t *data;  /* inside buf */
    uint32_t len;
};

struct raft_entry {
    uint64_t index, term;
    struct raft_buf *buf;
    const uint8_t *data;
    uint32_t len;
    uint8_t type; /* enum raft_entry_type */
};

enum raft_msg_type {
    RAFT_MSG_VOTE = 1, /* RequestVote (R 5.2), and pre-vote (T 9.6) */
    RAFT_MSG_VOTE_REPLY,
    RAFT_MSG_APPEND, /* AppendEntries (R 5.3) */
    RAFT_MSG_APPEND_REPLY,
    RAFT_MSG_HEARTBEAT, /* says "still leader", carries what the peer may commit */
    RAFT_MSG_HEARTBEAT_REPLY,
    RAFT_MSG_SNAPSHOT, /* InstallSnapshot (R 7), one chunk */
    RAFT_MSG_SNAPSHOT_REPLY,
    RAFT_MSG_TIMEOUT_NOW, /* leadership transfer (T 3.10) */
};
const char *raft_msg_type_name(enum raft_msg_type type);

struct raft_snapshot_meta;

struct raft_msg {
    uint8_t type; /* enum raft_msg_type */
    uint64_t from, to;
    uint64_t term; /* the sender's current term, in each message, pre-votes included */
    union {
        struct {
            uint64_t vote_term; /* the term voted for: term, or term + 1 in a pre-vote */
            uint64_t last_index, last_term;
            bool pre;
            bool transfer; /* the leader asked for it: vote though the leader is alive */
        } vote;
        struct {
            uint64_t vote_term;
            bool pre;
            bool granted;
        } vote_reply;
        struct {
            uint64_t prev_index, prev_term, commit;
            const struct raft_entry *entries; /* indexes prev_index + 1 ... */
            unsigned n;
        } append;
        struct {
            uint64_t match;       /* accepted: on this disk and equal to the leader's, up to here */
            uint64_t reject_prev; /* rejected: the prev_index that did not fit */
            uint64_t hint_index;  /* rejected: try at or below (T 5.3, faster back-off) */
            uint64_t hint_term;   /* rejected: term at hint_index */
            bool rejected;
        } append_reply;
        struct {
            uint64_t round;  /* grows with each round of this leader */
            uint64_t commit; /* at most what the peer acknowledged */
        } heartbeat;
        struct {
            uint64_t round;   /* echoed */
            uint64_t matched; /* known equal to this leader's log up to here */
            uint64_t match;   /* ... and on this disk: heals a lost APPEND_REPLY */
        } heartbeat_reply;
        struct {
            const struct raft_snapshot_meta *meta; /* configuration only when offset is 0 */
            uint64_t offset;
            const uint8_t *data;
            uint32_t len;
            bool done;
        } snapshot;
        struct {
            uint64_t index;  /* of the snapshot spoken of */
            uint64_t offset; /* bytes taken so far: send from here */
            bool done; /* installed, or not needed: the log is durable and equal up to index */
        } snapshot_reply;
    };
};
