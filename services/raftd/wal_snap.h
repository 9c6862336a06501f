/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Snapshot files, "snap-TERM-INDEX": a header (position, configuration), the state machine's bytes,
 * and at the end their length and checksum. Written under a temporary name, synced, renamed, and
 * the directory synced: a file under its name is complete unless the disk failed. What travels to a
 * follower is the whole file, so that the receiver checks the same sums.
 */
#pragma once

#include "base/base.h"
#include "base/err.h"
#include "raft_core.h"
#include "wal_fs.h"

/* ---- writing ---- */

struct snap_writer;
/* A snapshot of one's own: the state's bytes follow with snap_write(). */
int snap_create(const struct wal_fs *fs, const struct raft_snapshot_meta *meta,
                struct snap_writer **ret);
int snap_write(struct snap_writer *w, const void *data, size_t n);
/* A snapshot that is received: pieces of the whole file, header included, in order. */
int snap_receive(const struct wal_fs *fs, struct snap_writer **ret);
int snap_receive_piece(struct snap_writer *w, uint64_t offset, const void *data, size_t n);
/*
 * Completes, (a received one: checks that it is a sound file with position `meta`), makes it
 * durable under its name and frees w, also on error. -EBADMSG when a received file is damaged.
 */
int snap_commit(struct snap_writer *w, const struct raft_snapshot_meta *meta);
struct snap_writer *snap_abort(struct snap_writer *w); /* removes the temporary file; takes NULL */

/* ---- reading ---- */

struct snap_reader;
/* The newest sound file; -ENOENT when there is none. Unsound ones are skipped and the last of them
 * is named in *e (which may be NULL, else empty when all were sound). Checks the whole file. */
int snap_open_newest(const struct wal_fs *fs, struct snap_reader **ret, struct errtext *e);
struct snap_reader *snap_close(struct snap_reader *r);
const struct raft_snapshot_meta *snap_meta(const struct snap_reader *r);
uint64_t snap_file_bytes(const struct snap_reader *r);  /* the whole file, for sending */
uint64_t snap_state_bytes(const struct snap_reader *r); /* the state machine's part */
/* Up to n bytes at an offset of the whole file, or of the state; 0 at the end. */
ssize_t snap_read_file(struct snap_reader *r, uint64_t offset, void *buf, size_t n);
ssize_t snap_read_state(struct snap_reader *r, uint64_t offset, void *buf, size_t n);

/* Removes all but the newest `keep` files. */
int snap_prune(const struct wal_fs *fs, unsigned keep);
