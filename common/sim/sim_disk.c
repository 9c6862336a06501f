/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/sim_disk.h"

#define DISK_NAME_MAX 64
#define DISK_SECTOR   64 /* small, so that small writes tear too */

struct disk_bytes {
    uint8_t *data;
    size_t len, cap;
};

/* A write that is not durable; len_after is what truncation sets. */
struct disk_write {
    bool truncate;
    uint64_t off;
    size_t len;
    uint8_t *data;
};

struct disk_inode {
    unsigned refs;
    struct disk_bytes now, durable;
    struct disk_write *pending;
    size_t pending_n, pending_cap;
};

struct disk_name {
    char name[DISK_NAME_MAX];
    struct disk_inode *inode;
};

struct disk_names {
    struct disk_name *at;
    size_t n, cap;
};

enum disk_op_type { DISK_LINK, DISK_UNLINK, DISK_RENAME };

struct disk_op {
    enum disk_op_type type;
    char name[DISK_NAME_MAX], to[DISK_NAME_MAX];
    struct disk_inode *inode;
};

struct sim_file {
    struct disk_inode *inode;
};

struct sim_disk {
    struct prng *prng;
    struct disk_names now, durable;
    struct disk_op *ops; /* on names, not durable */
    size_t ops_n, ops_cap;
    uint64_t fail_after;
    int fail_err;
    uint64_t syncs;
};

/* ---- bytes ---- */

static void bytes_write(struct disk_bytes *b, const void *data, size_t n, uint64_t off)
{
    if (off + n > b->cap) {
        b->cap = MAX(off + n, 2 * b->cap);
        b->data = xrealloc(b->data, b->cap);
    }
    if (off > b->len)
        memset(b->data + b->len, 0, off - b->len);
    if (n > 0)
        memcpy(b->data + off, data, n);
    b->len = MAX(b->len, off + n);
}

static void bytes_truncate(struct disk_bytes *b, uint64_t size)
{
    if (size > b->len)
        bytes_write(b, NULL, 0, size);
    b->len = size;
}

static void bytes_copy(struct disk_bytes *to, const struct disk_bytes *from)
{
    to->len = 0;
    if (from->len > 0)
        bytes_write(to, from->data, from->len, 0);
}

/* ---- inodes ---- */

static struct disk_inode *inode_ref(struct disk_inode *i)
{
    i->refs++;
    return i;
}

static void inode_forget(struct disk_inode *i)
{
    for (size_t k = 0; k < i->pending_n; k++)
        free(i->pending[k].data);
    i->pending_n = 0;
}

static void inode_unref(struct disk_inode *i)
{
    if (--i->refs > 0)
        return;
    inode_forget(i);
    free(i->pending);
    free(i->now.data);
    free(i->durable.data);
    free(i);
}

static void inode_pend(struct disk_inode *i, struct disk_write w)
{
    if (i->pending_n == i->pending_cap) {
        i->pending_cap = i->pending_cap ? i->pending_cap * 2 : 8;
        i->pending = xrealloc(i->pending, i->pending_cap * sizeof(*i->pending));
    }
    i->pending[i->pending_n++] = w;
}

static void write_apply(struct disk_bytes *b, const struct disk_write *w)
{
    if (w->truncate)
        bytes_truncate(b, w->off);
    else
        bytes_write(b, w->data, w->len, w->off);
}

static void inode_sync(struct disk_inode *i)
{
    for (size_t k = 0; k < i->pending_n; k++)
        write_apply(&i->durable, &i->pending[k]);
    inode_forget(i);
}

/* Of one write: all, nothing, its beginning, or all but some sectors. */
static void inode_tear(struct prng *prng, struct disk_bytes *b, const struct disk_write *w)
{
    switch (prng_below(prng, 4)) {
    case 0:
        write_apply(b, w);
        return;
    case 1:
        return;
    case 2:
        if (!w->truncate)
            bytes_write(b, w->data, prng_below(prng, w->len + 1), w->off);
        return;
    default:
        if (w->truncate)
            return;
        for (size_t at = 0; at < w->len; at += DISK_SECTOR)
            if (prng_below(prng, 2))
                bytes_write(b, w->data + at, MIN(DISK_SECTOR, w->len - at), w->off + at);
        return;
    }
}

static void inode_crash(struct prng *prng, struct disk_inode *i)
{
    for (size_t k = 0; k < i->pending_n; k++)
        inode_tear(prng, &i->durable, &i->pending[k]);
    inode_forget(i);
    bytes_copy(&i->now, &i->durable);
}

/* ---- names ---- */

static struct disk_name *names_find(struct disk_names *n, const char *name)
{
    for (size_t i = 0; i < n->n; i++)
        if (strcmp(n->at[i].name, name) == 0)
            return &n->at[i];
    return NULL;
}

static void names_set(struct disk_names *n, const char *name, struct disk_inode *inode)
{
    struct disk_name *d = names_find(n, name);

    inode_ref(inode);
    if (d) {
        inode_unref(d->inode);
    } else {
        if (n->n == n->cap) {
            n->cap = n->cap ? n->cap * 2 : 16;
            n->at = xrealloc(n->at, n->cap * sizeof(*n->at));
        }
        d = &n->at[n->n++];
        snprintf(d->name, sizeof(d->name), "%s", name);
    }
    d->inode = inode;
}

static void names_remove(struct disk_names *n, const char *name)
{
    struct disk_name *d = names_find(n, name);

    if (!d)
        return;
    inode_unref(d->inode);
    *d = n->at[--n->n];
}

static void names_op(struct disk_names *n, const struct disk_op *op)
{
    switch (op->type) {
    case DISK_LINK:
        names_set(n, op->name, op->inode);
        return;
    case DISK_UNLINK:
        names_remove(n, op->name);
        return;
    case DISK_RENAME:
        names_set(n, op->to, op->inode);
        names_remove(n, op->name);
        return;
    }
}

static void names_clear(struct disk_names *n)
{
    while (n->n > 0)
        names_remove(n, n->at[0].name);
}

static void disk_op(struct sim_disk *d, enum disk_op_type type, const char *name, const char *to,
                    struct disk_inode *inode)
{
    struct disk_op op = {.type = type, .inode = inode_ref(inode)};

    snprintf(op.name, sizeof(op.name), "%s", name);
    snprintf(op.to, sizeof(op.to), "%s", to);
    if (d->ops_n == d->ops_cap) {
        d->ops_cap = d->ops_cap ? d->ops_cap * 2 : 8;
        d->ops = xrealloc(d->ops, d->ops_cap * sizeof(*d->ops));
    }
    d->ops[d->ops_n++] = op;
    names_op(&d->now, &op);
}

static void disk_ops_settle(struct sim_disk *d, size_t n)
{
    for (size_t i = 0; i < d->ops_n; i++) {
        if (i < n)
            names_op(&d->durable, &d->ops[i]);
        inode_unref(d->ops[i].inode);
    }
    d->ops_n = 0;
}

/* ---- public ---- */

struct sim_disk *sim_disk_new(struct prng *prng)
{
    struct sim_disk *d = xcalloc(1, sizeof(*d));

    d->prng = prng;
    return d;
}

struct sim_disk *sim_disk_free(struct sim_disk *d)
{
    if (!d)
        return NULL;
    disk_ops_settle(d, 0);
    names_clear(&d->now);
    names_clear(&d->durable);
    free(d->now.at);
    free(d->durable.at);
    free(d->ops);
    free(d);
    return NULL;
}

void sim_disk_crash(struct sim_disk *d)
{
    disk_ops_settle(d, prng_below(d->prng, d->ops_n + 1));
    for (size_t i = 0; i < d->durable.n; i++)
        inode_crash(d->prng, d->durable.at[i].inode);
    names_clear(&d->now);
    for (size_t i = 0; i < d->durable.n; i++)
        names_set(&d->now, d->durable.at[i].name, d->durable.at[i].inode);
    d->fail_err = 0;
}

void sim_disk_fail_after(struct sim_disk *d, uint64_t ops, int err)
{
    d->fail_after = ops;
    d->fail_err = err;
}

uint64_t sim_disk_syncs(const struct sim_disk *d)
{
    return d->syncs;
}

static int disk_failing(struct sim_disk *d)
{
    if (d->fail_err == 0)
        return 0;
    if (d->fail_after > 0) {
        d->fail_after--;
        return 0;
    }
    return d->fail_err;
}

int sim_disk_damage(struct sim_disk *d, const char *name, uint64_t offset)
{
    struct disk_name *n = names_find(&d->now, name);

    if (!n || offset >= n->inode->now.len)
        return -ENOENT;
    n->inode->now.data[offset] ^= 0x10;
    if (offset < n->inode->durable.len)
        n->inode->durable.data[offset] ^= 0x10;
    return 0;
}

int sim_disk_open(struct sim_disk *d, const char *name, bool create, struct sim_file **ret)
{
    struct disk_name *n = names_find(&d->now, name);
    int err = create ? disk_failing(d) : 0;

    if (err)
        return err;
    if (!n && !create)
        return -ENOENT;
    if (n && create)
        sim_disk_truncate(d, &(struct sim_file){n->inode}, 0);
    if (!n) {
        struct disk_inode *inode = xcalloc(1, sizeof(*inode));

        inode_ref(inode);
        disk_op(d, DISK_LINK, name, "", inode);
        inode_unref(inode);
        n = names_find(&d->now, name);
    }
    *ret = xmalloc(sizeof(**ret));
    (*ret)->inode = inode_ref(n->inode);
    return 0;
}

void sim_disk_close(struct sim_disk *d UNUSED, struct sim_file *f)
{
    inode_unref(f->inode);
    free(f);
}

ssize_t sim_disk_pread(struct sim_disk *d UNUSED, struct sim_file *f, void *buf, size_t n,
                       uint64_t off)
{
    struct disk_bytes *b = &f->inode->now;

    if (off >= b->len || n == 0)
        return 0;
    n = MIN(n, b->len - off);
    memcpy(buf, b->data + off, n);
    return (ssize_t)n;
}

int sim_disk_pwrite(struct sim_disk *d, struct sim_file *f, const void *buf, size_t n, uint64_t off)
{
    struct disk_write w = {.off = off, .len = n};
    int err = disk_failing(d);

    if (err)
        return err;
    w.data = xmalloc(n + 1);
    memcpy(w.data, buf, n);
    inode_pend(f->inode, w);
    bytes_write(&f->inode->now, buf, n, off);
    return 0;
}

int sim_disk_size(struct sim_disk *d UNUSED, struct sim_file *f, uint64_t *ret)
{
    *ret = f->inode->now.len;
    return 0;
}

int sim_disk_truncate(struct sim_disk *d, struct sim_file *f, uint64_t size)
{
    int err = disk_failing(d);

    if (err)
        return err;
    inode_pend(f->inode, (struct disk_write){.truncate = true, .off = size});
    bytes_truncate(&f->inode->now, size);
    return 0;
}

int sim_disk_sync(struct sim_disk *d, struct sim_file *f)
{
    int err = disk_failing(d);

    if (err)
        return err;
    d->syncs++;
    inode_sync(f->inode);
    return 0;
}

int sim_disk_sync_dir(struct sim_disk *d)
{
    int err = disk_failing(d);

    if (err)
        return err;
    d->syncs++;
    disk_ops_settle(d, d->ops_n);
    return 0;
}

int sim_disk_unlink(struct sim_disk *d, const char *name)
{
    struct disk_name *n = names_find(&d->now, name);
    int err = disk_failing(d);

    if (err)
        return err;
    if (!n)
        return -ENOENT;
    disk_op(d, DISK_UNLINK, name, "", n->inode);
    return 0;
}

int sim_disk_rename(struct sim_disk *d, const char *from, const char *to)
{
    struct disk_name *n = names_find(&d->now, from);
    int err = disk_failing(d);

    if (err)
        return err;
    if (!n)
        return -ENOENT;
    disk_op(d, DISK_RENAME, from, to, n->inode);
    return 0;
}

int sim_disk_list(struct sim_disk *d, int (*fn)(void *arg, const char *name), void *arg)
{
    for (size_t i = 0; i < d->now.n; i++) {
        int r = fn(arg, d->now.at[i].name);

        if (r)
            return r;
    }
    return 0;
}
