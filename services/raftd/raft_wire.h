/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Messages as bytes: the body of RPC Raft.Message. Little endian.
 *
 *   header, 44 bytes: magic 'R' 'f' (2), version 1 (1), type (1), group (16), from (8), to (8),
 *                     term (8)
 *   then per type its numbers as u64, flags as one byte, in the order of struct raft_msg
 *   APPEND: ... number of entries (4), then per entry term (8), type (1), length (4), bytes
 *   SNAPSHOT: index, term, config_index, offset (8 each), flags (1, 1 = done), length of the
 *             configuration (4) and its bytes (offset 0 only), length of data (4) and its bytes
 */
#pragma once

#include "base/base.h"
#include "base/strbuf.h"
#include "raft_core.h"

#define RAFT_WIRE_VERSION     1
#define RAFT_WIRE_ENTRIES_MAX 65536u

/* Which region's consensus group: the messages of another one are refused. */
struct raft_group {
    uint8_t bytes[16];
};

/* Appends m to out (whose bound must allow it). -ENOBUFS when it does not. */
int raft_wire_encode(const struct raft_msg *m, const struct raft_group *group, struct strbuf *out);

/* A decoded message with what it points to. Starts as zeroes, can be used again and again. */
struct raft_wire_in {
    struct raft_msg msg;
    struct raft_snapshot_meta meta;
    struct raft_entry *entries;
    size_t entries_cap;
};
void raft_wire_in_fini(struct raft_wire_in *in);

/*
 * Decodes a frame that holds exactly one message. Entries and data point into it and entries share
 * `frame` (without references of their own): keep it until the core's step is over.
 * -EBADMSG: not a message; -EPROTONOSUPPORT: another version; -EPERM: another group.
 */
int raft_wire_decode(struct raft_buf *frame, const struct raft_group *group,
                     struct raft_wire_in *in);

/* The group that a frame's header names, whatever it is; -EBADMSG when it is no message of ours.
 * For a server that is not part of a group yet. */
int raft_wire_group(const struct raft_buf *frame, struct raft_group *ret);
