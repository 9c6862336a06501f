/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Ordered key-value tables with one write transaction at a time and any number of read snapshots.
 * Two implementations: LMDB (store_lmdb_open) and memory (store_mem_new: simulator, unit tests).
 *
 * Threads: with LMDB a write transaction belongs to the thread that began it; a read transaction
 * may wander between threads but not be used by two at once. The memory store is for one thread.
 * A read transaction sees the store as it was at begin, and keeps old pages alive: never keep one
 * across a long wait.
 *
 * Errors: 0, STORE_E_NOT_FOUND where said, or -errno (corrupt file, disk or map full, no memory).
 * After a failed write the transaction can only be aborted.
 */
#pragma once

#include "base/base.h"
#include "base/bytes.h"
#include "base/err.h"
#include "state/state_schema.h"

enum { STORE_E_NOT_FOUND = 1 };

struct store;
struct store_txn;

/* A position in one table, over the keys that start with a prefix. Embedded by the caller. */
struct store_cursor {
    struct store_txn *txn;
    enum state_table table;
    struct bytes prefix;
    void *impl;
    bool started;
};

struct store_ops {
    int (*begin)(struct store *s, bool write, struct store_txn **ret);
    int (*begin_replace)(struct store *s, struct store_txn **ret);
    int (*commit)(struct store_txn *t);
    void (*abort)(struct store_txn *t);
    int (*get)(struct store_txn *t, enum state_table table, struct bytes key, struct bytes *ret);
    int (*put)(struct store_txn *t, enum state_table table, struct bytes key, struct bytes value);
    int (*del)(struct store_txn *t, enum state_table table, struct bytes key);
    int (*cursor_open)(struct store_cursor *c);
    int (*cursor_seek)(struct store_cursor *c, struct bytes at, struct bytes *key,
                       struct bytes *val);
    int (*cursor_next)(struct store_cursor *c, struct bytes *key, struct bytes *value);
    void (*cursor_close)(struct store_cursor *c);
    int (*maintain)(struct store *s);
    struct store *(*free)(struct store *s);
};

struct store {
    const struct store_ops *ops;
};
struct store_txn {
    struct store *store;
    bool write;
};

/* What store_lmdb_open() needs to know. */
struct store_lmdb_options {
    const char *path;  /* a folder; made if it is missing (writer only) */
    uint64_t map_size; /* bytes of address space, 0 = STORE_LMDB_MAP_DEFAULT; the file is sparse */
    bool read_only;    /* another process writes */
    const char *group; /* id of the Raft group, "" = any; writer only */
    const char *boot_id; /* of the running kernel, see store_boot_id(); writer only */
};
#define STORE_LMDB_MAP_DEFAULT (UINT64_C(64) << 30)

/*
 * The writer (one process, raftd) keeps the file when it was made for `group`, has our format and
 * either the system has not rebooted since or it was closed in order: LMDB runs without sync, so
 * after a crash of the system its contents mean nothing. Otherwise it starts an empty one: the Raft
 * snapshot and log are the truth, *ret_fresh tells that they must be replayed from the start.
 * A reader (apid, schedd) gets -ENOENT until the writer has made the file, and -ESTALE when its
 * format is not ours. ret_fresh may be NULL.
 */
int store_lmdb_open(const struct store_lmdb_options *o, struct store **ret, bool *ret_fresh,
                    struct errtext *e);
/* Text of /proc/sys/kernel/random/boot_id, or of `path` when given (tests). -errno. */
int store_boot_id(const char *path, char buf[static 40]);
/* A new, empty store in memory. */
struct store *store_mem_new(void);

/* Closes; no transaction may be open. The LMDB writer syncs first, so that the file outlives a
 * reboot. NULL is fine; returns NULL. */
struct store *store_free(struct store *s);
DEFINE_CLEANUP(struct store, store_free)

/* Housekeeping to call every few seconds: frees the reader slots of killed processes. */
int store_maintain(struct store *s);
/* A number that differs between two files (LMDB) at the same path; 0 in memory. Readers that see
 * another generation in the status page than theirs reopen. */
int store_generation(struct store *s, uint64_t *ret);

/* ---- transactions ---- */

/* A snapshot to read, or the only write transaction. -errno; end it by commit or abort. */
int store_begin(struct store *s, bool write, struct store_txn **ret);
/*
 * A write transaction in which every replicated table is empty at first. However much is put into
 * it, it takes little memory (LMDB: it fills a second set of tables in pieces, and the commit swaps
 * the sets); all of it becomes visible at once at the commit, or never.
 */
int store_begin_replace(struct store *s, struct store_txn **ret);
/* Makes a write transaction visible. Frees t in any case. */
int store_commit(struct store_txn *t);
/* Ends a read transaction, or undoes a write transaction. NULL is fine. */
void store_abort(struct store_txn *t);
static inline void store_abortp(struct store_txn **t)
{
    store_abort(*t);
}

/* The value is borrowed: until the next write to the store in a write transaction, until the end of
 * a read transaction. STORE_E_NOT_FOUND leaves *ret empty. */
int store_get(struct store_txn *t, enum state_table table, struct bytes key, struct bytes *ret);
/* Inserts or replaces. The value may not lie in the store's own memory. */
int store_put(struct store_txn *t, enum state_table table, struct bytes key, struct bytes value);
/* STORE_E_NOT_FOUND when there was none. */
int store_del(struct store_txn *t, enum state_table table, struct bytes key);
/* Deletes every key that starts with prefix. */
int store_del_prefix(struct store_txn *t, enum state_table table, struct bytes prefix);

/*
 * Walks the keys that start with prefix (borrowed, as long as the cursor) in byte order:
 *     struct store_cursor c;
 *     r = store_scan(t, table, prefix, &c);
 *     while (r == 0 && (r = store_next(&c, &key, &value)) == 0) ...
 *     store_scan_end(&c);       -- also after an error
 * store_next() gives STORE_E_NOT_FOUND at the end. The table must not be written meanwhile.
 */
int store_scan(struct store_txn *t, enum state_table table, struct bytes prefix,
               struct store_cursor *ret);
/* Moves to the first key >= at (within the prefix): for paging and for reading the newest first. */
int store_seek(struct store_cursor *c, struct bytes at, struct bytes *key, struct bytes *value);
int store_next(struct store_cursor *c, struct bytes *key, struct bytes *value);
void store_scan_end(struct store_cursor *c);
