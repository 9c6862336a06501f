/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The write-ahead log: entries, truncations and hard state (term, vote) in one sequence of
 * checksummed records over segment files. Appends are buffered; wal_sync() writes them and makes
 * all durable with one fdatasync (group commit).
 *
 * A crash may lose or tear what was not synced: opening cuts the last segment at the first record
 * that is not whole. A damaged record in front of good ones is no torn tail: opening fails and
 * names file and offset, nothing is dropped silently.
 *
 * Threads: wal_append*(), wal_truncate(), wal_read() and wal_state() may be called from one thread
 * while wal_sync() waits for the disk in another; wal_sync() covers what was appended before it was
 * called. Everything else: one thread at a time, and no sync under way.
 *
 * Errors: -errno. After a failed write or sync the log is failed for good (what is on disk is not
 * known: the process must restart and recover): each later write gives -EIO at once.
 */
#pragma once

#include "base/base.h"
#include "base/err.h"
#include "raft_msg.h"
#include "wal_fs.h"

struct wal_options {
    uint64_t segment_bytes;   /* a new segment is begun beyond it; 0: 16 MiB */
    uint64_t buffer_bytes;    /* buffered appends are written out beyond it; 0: 1 MiB */
    uint32_t entry_bytes_max; /* larger ones are refused (-EMSGSIZE); 0: 16 MiB */
};

struct wal;

/* Recovers what is there; an empty directory is an empty log. Borrows fs. */
int wal_open(const struct wal_fs *fs, const struct wal_options *opt, struct wal **ret,
             struct errtext *e);
/* Writes and syncs nothing. */
struct wal *wal_close(struct wal *w);

struct wal_state {
    uint64_t term, vote;            /* newest hard state */
    uint64_t base_index, base_term; /* the position before the first entry */
    uint64_t last_index, last_term; /* == base when there is no entry */
    uint64_t cut_bytes;             /* of a torn tail, at wal_open() */
};
void wal_state(struct wal *w, struct wal_state *ret);

/*
 * After opening: makes the log fit a snapshot that ends at (index, term). Keeps it when it has that
 * very entry (or its base is there); otherwise the log is restarted behind the snapshot: a crash
 * came between an installed snapshot and wal_reset().
 */
int wal_align(struct wal *w, uint64_t index, uint64_t term);

/* Appends, buffered. Entry indexes follow each other; a truncation never goes below the base. */
int wal_append_hard(struct wal *w, uint64_t term, uint64_t vote);
int wal_append(struct wal *w, const struct raft_entry *entries, unsigned n);
int wal_truncate(struct wal *w, uint64_t from_index); /* removes entries >= from_index */

/* Everything appended so far is durable when it returns 0. */
int wal_sync(struct wal *w);

/* Durably restarts the log behind a snapshot: no entries, base (index, term), same hard state. */
int wal_reset(struct wal *w, uint64_t index, uint64_t term);

/*
 * The entries up to and including `index` are in a durable snapshot: drops whole segments of them,
 * but keeps at least the newest `trailing` entries. wal_state() tells the new base.
 */
int wal_compact(struct wal *w, uint64_t index, uint64_t trailing);

/*
 * Reads entries first, first + 1, ... until n are read, bytes_max is reached (by at least one
 * entry) or the log ends. The entries share one buffer, *ret_buf, that the caller gets one
 * reference to (each entry's .buf is that pointer, without a reference of its own). Returns how
 * many; -ENOENT when `first` is not in the log, -EBADMSG when the disk returned something else.
 */
int wal_read(struct wal *w, uint64_t first, unsigned n, uint32_t bytes_max,
             struct raft_entry *entries, struct raft_buf **ret_buf);

/* Calls fn for each entry in order, reading ahead in large pieces; stops when it returns
 * non-zero and returns that. */
typedef int wal_entry_fn(void *user, const struct raft_entry *entry);
int wal_replay(struct wal *w, uint64_t first, wal_entry_fn *fn, void *user);
