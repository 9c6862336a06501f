/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The whole replicated state at one point, as a stream of bytes, and back. The stream is cut into
 * blocks of at most SNAPSHOT_BLOCK_MAX bytes, each with its length and CRC-32; it begins with a
 * versioned header (applied index and term, configuration) and ends with a trailer (number of
 * records), so that a truncated or damaged one is found before anything is replaced. Both stores
 * write the same bytes for the same state, on every server.
 */
#pragma once

#include "base/base.h"
#include "base/err.h"
#include "base/strbuf.h"
#include "state/store.h"

#define SNAPSHOT_BLOCK_MAX (256u << 10)

enum { SNAPSHOT_E_BAD = 1 }; /* the stream is damaged, truncated or of a later version */

struct snapshot_info {
    uint64_t index, term;         /* last applied entry */
    uint64_t configuration_index; /* 0 = none */
    struct bytes configuration;   /* lives as long as the object that gave it */
    uint64_t records;             /* rows; reading: so far, final after the trailer */
};

struct state_snapshot;

/*
 * Opens a read transaction of its own; with LMDB every call may come from another thread than the
 * writer's (one at a time). The writer goes on meanwhile, but old pages stay: be quick, or the file
 * grows. *ret_info may be NULL.
 */
int state_snapshot_begin(struct store *s, struct state_snapshot **ret,
                         struct snapshot_info *ret_info);
/* The next block of the stream (borrowed until the next call); an empty one at the end. */
int state_snapshot_next(struct state_snapshot *sn, struct bytes *ret);
/* Any time. NULL is fine; returns NULL. */
struct state_snapshot *state_snapshot_end(struct state_snapshot *sn);
DEFINE_CLEANUP(struct state_snapshot, state_snapshot_end)

struct state_restore;

/*
 * Takes a stream in and replaces the contents of the store in one write transaction: readers see
 * the old state until the commit and the new one from then on. With s NULL the stream is only
 * checked (inspect, verify). Begin, chunks and commit belong to one thread; nothing else may write
 * meanwhile. After the commit the owner of a state machine calls fsm_reload().
 */
int state_restore_begin(struct store *s, struct state_restore **ret);
/* The next bytes, cut anywhere. SNAPSHOT_E_BAD with a text; then only abort is left. */
int state_restore_chunk(struct state_restore *r, const void *data, size_t len, struct errtext *e);
/* The header's facts, once enough was read (false before); configuration lives as long as r. */
bool state_restore_info(const struct state_restore *r, struct snapshot_info *ret);
/* SNAPSHOT_E_BAD when the stream is not complete. Frees r in any case. */
int state_restore_commit(struct state_restore *r, struct errtext *e);
/* Nothing was changed. NULL is fine; returns NULL. */
struct state_restore *state_restore_abort(struct state_restore *r);
DEFINE_CLEANUP(struct state_restore, state_restore_abort)
