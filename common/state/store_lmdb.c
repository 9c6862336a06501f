/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The store in LMDB: one environment, one named database a table, no sync (the Raft log is the
 * durability) and no WRITEMAP (a stray pointer must not be able to write into the file).
 *
 * Beside data.mdb stands the file `boot`: the boot id of the system that last opened it for
 * writing, or "clean" after an orderly close. It is looked at before LMDB touches a file that a
 * crash of the system may have left half written.
 */
#include "state/store.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/prng.h"

#define LMDB_FORMAT      "5"
#define LMDB_READERS_MAX 1022  /* slots: all threads of all processes on the node */
#define LMDB_LOCK_SIZE   65536 /* what LMDB takes for as many, here */
#define LMDB_POOL_MAX    64    /* ended read transactions kept for the next reader */
#define LMDB_CLEAN       "clean"
#define LMDB_SETS        2
#define LMDB_PIECE_BYTES (1u << 20) /* of a transaction that replaces everything */

struct lmdb_store;

struct lmdb_txn {
    struct store_txn txn;
    MDB_txn *mdb;
    unsigned set;          /* of tables */
    bool replace;          /* `set` is the one not in use yet */
    size_t written;        /* bytes, since the last piece */
    struct lmdb_txn *next; /* in the pool */
};

struct lmdb_store {
    struct store store;
    MDB_env *env;
    MDB_dbi dbi[LMDB_SETS][STATE_TABLE_COUNT];
    unsigned set; /* the writer's: the one in use */
    bool read_only;
    char *boot_path;
    struct lmdb_txn writer; /* LMDB has one at a time anyway */
    pthread_mutex_t lock;   /* of the pool */
    struct lmdb_txn *pool;
    unsigned pool_n;
};

/* LMDB's codes are errno or its own, below -30000. */
static int lmdb_err(int rc)
{
    switch (rc) {
    case 0:
        return 0;
    case MDB_NOTFOUND:
        return STORE_E_NOT_FOUND;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
        return err_trace(-ENOSPC);
    case MDB_READERS_FULL:
        return err_trace(-EAGAIN);
    case MDB_VERSION_MISMATCH:
    case MDB_INVALID:
        return err_trace(-ESTALE);
    case MDB_BAD_VALSIZE:
        return err_trace(-EMSGSIZE);
    default:
        return err_trace(rc > 0 ? -rc : -EIO);
    }
}

static MDB_val lmdb_val(struct bytes b)
{
    return (MDB_val){.mv_size = b.len, .mv_data = (void *)b.data};
}

static struct bytes lmdb_bytes(MDB_val v)
{
    return bytes_of(v.mv_data, v.mv_size);
}

static struct lmdb_store *lmdb_of(struct store *s)
{
    return CONTAINER_OF(s, struct lmdb_store, store);
}

static struct lmdb_txn *lmdb_txn_of(struct store_txn *t)
{
    return CONTAINER_OF(t, struct lmdb_txn, txn);
}

/* LOCAL is there once: it says which set is in use. */
static MDB_dbi lmdb_dbi(const struct store_txn *txn, enum state_table table)
{
    const struct lmdb_store *s = CONTAINER_OF(txn->store, struct lmdb_store, store);
    const struct lmdb_txn *t = CONTAINER_OF(txn, struct lmdb_txn, txn);

    return s->dbi[state_table_replicated(table) ? t->set : 0][table];
}

static int lmdb_set_read(struct lmdb_store *s, MDB_txn *mdb, unsigned *ret)
{
    MDB_val k = lmdb_val(bytes_text("set")), v;
    int rc = mdb_get(mdb, s->dbi[0][STATE_LOCAL], &k, &v);

    *ret = rc == 0 && v.mv_size == 1 && *(const uint8_t *)v.mv_data == 1;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- transactions ---- */

static int lmdb_begin_read(struct lmdb_store *s, struct store_txn **ret)
{
    struct lmdb_txn *t;
    int rc;

    pthread_mutex_lock(&s->lock);
    t = s->pool;
    if (t) {
        s->pool = t->next;
        s->pool_n--;
    }
    pthread_mutex_unlock(&s->lock);
    if (t) {
        rc = mdb_txn_renew(t->mdb);
    } else {
        t = xcalloc(1, sizeof(*t));
        t->txn = (struct store_txn){.store = &s->store};
        rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &t->mdb);
    }
    if (rc == 0)
        rc = lmdb_set_read(s, t->mdb, &t->set);
    if (rc) {
        if (t->mdb)
            mdb_txn_abort(t->mdb);
        free(t);
        return lmdb_err(rc);
    }
    *ret = &t->txn;
    return 0;
}

static int lmdb_begin(struct store *store, bool write, struct store_txn **ret)
{
    struct lmdb_store *s = lmdb_of(store);
    int rc;

    if (!write)
        return lmdb_begin_read(s, ret);
    if (s->read_only)
        return err_trace(-EROFS);
    rc = mdb_txn_begin(s->env, NULL, 0, &s->writer.mdb);
    if (rc)
        return lmdb_err(rc);
    s->writer.txn = (struct store_txn){.store = store, .write = true};
    s->writer.set = s->set;
    s->writer.replace = false;
    *ret = &s->writer.txn;
    return 0;
}

static int lmdb_empty_set(struct lmdb_store *s, MDB_txn *mdb, unsigned set)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < STATE_TABLE_COUNT; i++) {
        MDB_stat st;

        if (!state_table_replicated((enum state_table)i))
            continue;
        rc = mdb_stat(mdb, s->dbi[set][i], &st);
        if (rc == 0 && st.ms_entries)
            rc = mdb_drop(mdb, s->dbi[set][i], 0);
    }
    return rc;
}

static int lmdb_begin_replace(struct store *store, struct store_txn **ret)
{
    struct lmdb_store *s = lmdb_of(store);
    int r = lmdb_begin(store, true, ret);
    int rc;

    if (r)
        return r;
    s->writer.set = !s->set;
    s->writer.replace = true;
    s->writer.written = 0;
    rc = lmdb_empty_set(s, s->writer.mdb, s->writer.set);
    if (rc) {
        mdb_txn_abort(TAKE_PTR(s->writer.mdb));
        return lmdb_err(rc);
    }
    return 0;
}

/* Nobody looks at the set being filled, so it may be committed in pieces. */
static int lmdb_piece(struct lmdb_store *s)
{
    int rc = mdb_txn_commit(TAKE_PTR(s->writer.mdb));

    s->writer.written = 0;
    if (rc == 0)
        rc = mdb_txn_begin(s->env, NULL, 0, &s->writer.mdb);
    return lmdb_err(rc);
}

static int lmdb_swap_sets(struct lmdb_store *s)
{
    uint8_t set = (uint8_t)s->writer.set;
    MDB_val k = lmdb_val(bytes_text("set")), v = lmdb_val(bytes_of(&set, 1));
    int rc = mdb_put(s->writer.mdb, s->dbi[0][STATE_LOCAL], &k, &v, 0);

    if (rc == 0)
        rc = lmdb_empty_set(s, s->writer.mdb, s->set);
    return rc;
}

static int lmdb_commit(struct store_txn *txn)
{
    struct lmdb_store *s = lmdb_of(txn->store);
    int rc = s->writer.mdb ? 0 : MDB_BAD_TXN;

    if (rc == 0 && s->writer.replace)
        rc = lmdb_swap_sets(s);
    if (rc == 0) {
        rc = mdb_txn_commit(TAKE_PTR(s->writer.mdb));
        if (rc == 0)
            s->set = s->writer.set;
    } else {
        mdb_txn_abort(TAKE_PTR(s->writer.mdb));
    }
    return lmdb_err(rc);
}

static void lmdb_abort(struct store_txn *txn)
{
    struct lmdb_store *s = lmdb_of(txn->store);
    struct lmdb_txn *t = lmdb_txn_of(txn);

    if (txn->write) {
        mdb_txn_abort(TAKE_PTR(t->mdb));
        return;
    }
    mdb_txn_reset(t->mdb);
    pthread_mutex_lock(&s->lock);
    if (s->pool_n < LMDB_POOL_MAX) {
        t->next = s->pool;
        s->pool = t;
        s->pool_n++;
        t = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    if (t) {
        mdb_txn_abort(t->mdb);
        free(t);
    }
}

/* ---- rows ---- */

static int lmdb_get(struct store_txn *txn, enum state_table table, struct bytes key,
                    struct bytes *ret)
{
    MDB_val k = lmdb_val(key), v;
    int rc = mdb_get(lmdb_txn_of(txn)->mdb, lmdb_dbi(txn, table), &k, &v);

    if (rc)
        return lmdb_err(rc);
    *ret = lmdb_bytes(v);
    return 0;
}

static int lmdb_put(struct store_txn *txn, enum state_table table, struct bytes key,
                    struct bytes value)
{
    MDB_val k = lmdb_val(key), v = lmdb_val(value);
    struct lmdb_txn *t = lmdb_txn_of(txn);
    int rc;

    if (!t->mdb)
        return err_trace(-EIO); /* a piece failed before */
    rc = mdb_put(t->mdb, lmdb_dbi(txn, table), &k, &v, 0);
    t->written += key.len + value.len;
    if (rc == 0 && t->replace && t->written > LMDB_PIECE_BYTES)
        return lmdb_piece(lmdb_of(txn->store));
    return lmdb_err(rc);
}

static int lmdb_del(struct store_txn *txn, enum state_table table, struct bytes key)
{
    MDB_val k = lmdb_val(key);

    return lmdb_err(mdb_del(lmdb_txn_of(txn)->mdb, lmdb_dbi(txn, table), &k, NULL));
}

static int lmdb_cursor_open(struct store_cursor *c)
{
    MDB_cursor *cur = NULL;
    int rc = mdb_cursor_open(lmdb_txn_of(c->txn)->mdb, lmdb_dbi(c->txn, c->table), &cur);

    c->impl = cur;
    return lmdb_err(rc);
}

static void lmdb_cursor_close(struct store_cursor *c)
{
    mdb_cursor_close(c->impl);
}

static int lmdb_cursor_at(struct store_cursor *c, MDB_cursor_op op, MDB_val k, struct bytes *key,
                          struct bytes *value)
{
    MDB_val v = {0};
    int rc = mdb_cursor_get(c->impl, &k, &v, op);

    *key = *value = (struct bytes){0};
    if (rc)
        return lmdb_err(rc);
    *key = lmdb_bytes(k);
    *value = lmdb_bytes(v);
    return 0;
}

static int lmdb_cursor_seek(struct store_cursor *c, struct bytes at, struct bytes *key,
                            struct bytes *value)
{
    MDB_cursor_op op = at.len ? MDB_SET_RANGE : MDB_FIRST;

    return lmdb_cursor_at(c, op, lmdb_val(at), key, value);
}

static int lmdb_cursor_next(struct store_cursor *c, struct bytes *key, struct bytes *value)
{
    return lmdb_cursor_at(c, MDB_NEXT, (MDB_val){0}, key, value);
}

static int lmdb_maintain(struct store *store)
{
    int dead = 0;

    return lmdb_err(mdb_reader_check(lmdb_of(store)->env, &dead));
}

/* ---- the boot file ---- */

int store_boot_id(const char *path, char buf[static 40])
{
    int fd = open(path ? path : "/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return err_trace(-errno);
    n = read(fd, buf, 39);
    if (n < 0) {
        int r = -errno;

        close(fd);
        return err_trace(r);
    }
    close(fd);
    buf[n] = 0;
    buf[strcspn(buf, "\n")] = 0;
    return 0;
}

static int lmdb_boot_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t len = strlen(text);
    int r = 0;

    if (fd < 0)
        return err_trace(-errno);
    if (write(fd, text, len) != (ssize_t)len || fsync(fd) < 0)
        r = errno ? -errno : -EIO;
    close(fd);
    return r ? err_trace(r) : 0;
}

/* ---- open and close ---- */

static void lmdb_pool_drain(struct lmdb_store *s)
{
    while (s->pool) {
        struct lmdb_txn *t = s->pool;

        s->pool = t->next;
        mdb_txn_abort(t->mdb);
        free(t);
    }
    s->pool_n = 0;
}

static struct store *lmdb_free(struct store *store)
{
    struct lmdb_store *s = lmdb_of(store);

    lmdb_pool_drain(s);
    if (s->env) {
        bool synced = !s->read_only && s->boot_path && mdb_env_sync(s->env, 1) == 0;

        mdb_env_close(s->env);
        /* Failing to say so costs a replay of the log at the next start, nothing else. */
        if (synced)
            (void)lmdb_boot_write(s->boot_path, LMDB_CLEAN);
    }
    pthread_mutex_destroy(&s->lock);
    free(s->boot_path);
    free(s);
    return NULL;
}

static const struct store_ops lmdb_ops = {
    .begin = lmdb_begin,
    .begin_replace = lmdb_begin_replace,
    .commit = lmdb_commit,
    .abort = lmdb_abort,
    .get = lmdb_get,
    .put = lmdb_put,
    .del = lmdb_del,
    .cursor_open = lmdb_cursor_open,
    .cursor_seek = lmdb_cursor_seek,
    .cursor_next = lmdb_cursor_next,
    .cursor_close = lmdb_cursor_close,
    .maintain = lmdb_maintain,
    .free = lmdb_free,
};

static int lmdb_open_table(struct lmdb_store *s, MDB_txn *t, unsigned set, enum state_table table)
{
    char name[64];

    snprintf(name, sizeof(name), "%s%s", state_table_name(table), set ? ".b" : "");
    return mdb_dbi_open(t, name, s->read_only ? 0 : MDB_CREATE, &s->dbi[set][table]);
}

/*
 * A dbi opened in a transaction that is not committed dies with it, read-only ones included. The
 * writer empties the set not in use: a restore may have been cut off.
 */
static int lmdb_open_tables(struct lmdb_store *s)
{
    MDB_txn *t = NULL;
    int rc = mdb_txn_begin(s->env, NULL, s->read_only ? MDB_RDONLY : 0, &t);

    for (unsigned i = 0; rc == 0 && i < STATE_TABLE_COUNT; i++) {
        rc = lmdb_open_table(s, t, 0, (enum state_table)i);
        if (rc == 0)
            rc = lmdb_open_table(s, t, 1, (enum state_table)i);
    }
    if (rc == 0)
        rc = lmdb_set_read(s, t, &s->set);
    if (rc == 0 && !s->read_only)
        rc = lmdb_empty_set(s, t, !s->set);
    if (rc == 0)
        rc = mdb_txn_commit(TAKE_PTR(t));
    if (t)
        mdb_txn_abort(t);
    return rc == MDB_NOTFOUND ? -ENOENT : lmdb_err(rc);
}

/*
 * Room on the disk for the table of readers. LMDB maps it and makes the file as long as it needs,
 * with holes: on a full disk the first word written there would be a SIGBUS. What a file system
 * without fallocate() does stays as it is.
 */
static int lmdb_reserve_lock(const char *folder)
{
    char *path = xasprintf("%s/lock.mdb", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat st;
    int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;

    free(path);
    if (r == 0) {
        off_t size = st.st_size ? st.st_size : (off_t)LMDB_LOCK_SIZE;

        if (fallocate(fd, 0, 0, size) < 0 && errno != EOPNOTSUPP && errno != ENOSYS)
            r = -errno;
    }
    if (fd >= 0)
        close(fd);
    return r;
}

static int lmdb_open_env(struct lmdb_store *s, const struct store_lmdb_options *o)
{
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (o->read_only ? MDB_RDONLY : MDB_NOSYNC);
    int rc = mdb_env_create(&s->env);

    if (rc == 0)
        rc = mdb_env_set_maxdbs(s->env, LMDB_SETS * STATE_TABLE_COUNT);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(s->env, LMDB_READERS_MAX);
    if (rc == 0)
        rc = mdb_env_set_mapsize(s->env, o->map_size ? o->map_size : STORE_LMDB_MAP_DEFAULT);
    if (rc == 0)
        rc = mdb_env_open(s->env, o->path, flags, 0600);
    if (rc) {
        mdb_env_close(TAKE_PTR(s->env));
        return lmdb_err(rc);
    }
    return lmdb_open_tables(s);
}

/* Is what stands in the file ours? STORE_E_NOT_FOUND: no. */
static int lmdb_check(struct lmdb_store *s, const char *group)
{
    struct store_txn *t = NULL;
    struct bytes v;
    int r = lmdb_begin_read(s, &t);

    if (r)
        return r;
    r = store_get(t, STATE_LOCAL, bytes_text("format"), &v);
    if (r == 0 && !bytes_eq(v, bytes_text(LMDB_FORMAT)))
        r = STORE_E_NOT_FOUND;
    if (r == 0 && group && *group) {
        r = store_get(t, STATE_LOCAL, bytes_text("group"), &v);
        if (r == 0 && !bytes_eq(v, bytes_text(group)))
            r = STORE_E_NOT_FOUND;
    }
    lmdb_abort(t);
    return r;
}

static int lmdb_stamp(struct lmdb_store *s, const char *group)
{
    uint64_t generation = random_u64();
    struct store_txn *t = NULL;
    int r = lmdb_begin(&s->store, true, &t);

    if (r)
        return r;
    r = store_put(t, STATE_LOCAL, bytes_text("generation"),
                  bytes_of(&generation, sizeof(generation)));
    if (r == 0)
        r = store_put(t, STATE_LOCAL, bytes_text("group"), bytes_text(group ? group : ""));
    if (r == 0)
        r = store_put(t, STATE_LOCAL, bytes_text("format"), bytes_text(LMDB_FORMAT));
    if (r) {
        lmdb_abort(t);
        return r;
    }
    return lmdb_commit(t);
}

static struct lmdb_store *lmdb_new(bool read_only)
{
    struct lmdb_store *s = xcalloc(1, sizeof(*s));

    s->store.ops = &lmdb_ops;
    s->read_only = read_only;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

static int lmdb_open_reader(const struct store_lmdb_options *o, struct store **ret)
{
    struct lmdb_store *s = lmdb_new(true);
    int r = lmdb_open_env(s, o);

    if (r == 0) {
        r = lmdb_check(s, NULL);
        if (r > 0)
            r = -ESTALE;
    }
    if (r) {
        lmdb_free(&s->store);
        return r;
    }
    *ret = &s->store;
    return 0;
}

static int lmdb_unlink(const char *folder, const char *name)
{
    char *path = xasprintf("%s/%s", folder, name);
    int r = unlink(path) < 0 && errno != ENOENT ? -errno : 0;

    free(path);
    return r;
}

/*
 * Opens what is there (keep) or a new file. STORE_E_NOT_FOUND: what is there is not for us. A new
 * file gets a new lock file as well, so that readers of the old one stay with the old one.
 */
static int lmdb_open_writer(const struct store_lmdb_options *o, bool keep, struct lmdb_store **ret)
{
    struct lmdb_store *s;
    int r = 0;

    if (!keep) {
        r = lmdb_unlink(o->path, "data.mdb");
        if (r == 0)
            r = lmdb_unlink(o->path, "lock.mdb");
        if (r)
            return r;
    }
    s = lmdb_new(false);
    r = lmdb_reserve_lock(o->path);
    if (r == 0)
        r = lmdb_open_env(s, o);
    if (r == 0)
        r = keep ? lmdb_check(s, o->group) : lmdb_stamp(s, o->group);
    if (r == 0)
        r = lmdb_maintain(&s->store);
    if (r) {
        lmdb_free(&s->store);
        return r;
    }
    *ret = s;
    return 0;
}

static int lmdb_open_or_renew(const struct store_lmdb_options *o, const char *boot_path,
                              struct lmdb_store **ret, bool *ret_fresh)
{
    char boot[40] = "";
    bool keep = store_boot_id(boot_path, boot) == 0 &&
                (strcmp(boot, LMDB_CLEAN) == 0 || strcmp(boot, o->boot_id) == 0);
    int r = 0;

    /* Before the first write: from now on only this boot's word counts. */
    if (keep && strcmp(boot, o->boot_id) != 0)
        r = lmdb_boot_write(boot_path, o->boot_id);
    if (r == 0)
        r = keep ? lmdb_open_writer(o, true, ret) : STORE_E_NOT_FOUND;
    *ret_fresh = r != 0;
    /* No space, no rights, no memory: a new file would not help, and the old one may be good. */
    if (r == 0 || (r < 0 && r != -ESTALE && r != -EIO))
        return r;
    r = lmdb_open_writer(o, false, ret);
    if (r > 0)
        r = -EIO;
    return r ? r : lmdb_boot_write(boot_path, o->boot_id);
}

int store_lmdb_open(const struct store_lmdb_options *o, struct store **ret, bool *ret_fresh,
                    struct errtext *e)
{
    struct lmdb_store *s = NULL;
    bool fresh = false;
    char *boot_path;
    int r;

    if (o->read_only) {
        r = lmdb_open_reader(o, ret);
        if (r)
            return err_set(e, r, "state %s: %s", o->path, strerror(-r));
        if (ret_fresh)
            *ret_fresh = false;
        return 0;
    }
    assert(o->boot_id);
    if (mkdir(o->path, 0700) < 0 && errno != EEXIST)
        return err_set(e, -errno, "state %s: %s", o->path, strerror(errno));
    boot_path = xasprintf("%s/boot", o->path);
    r = lmdb_open_or_renew(o, boot_path, &s, &fresh);
    if (r) {
        if (s)
            lmdb_free(&s->store);
        free(boot_path);
        return err_set(e, r, "state %s: %s", o->path, strerror(-r));
    }
    s->boot_path = boot_path;
    *ret = &s->store;
    if (ret_fresh)
        *ret_fresh = fresh;
    return 0;
}
