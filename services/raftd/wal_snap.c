/* SPDX-License-Identifier: MPL-2.0 */
/*
 * File: magic (8), header length (4), index (8), term (8), config_index (8), configuration, crc32
 * of all that (4); the state; then its length (8) and crc32 (4), and crc32 of these 12 bytes (4).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "wal_format.h"
#include "wal_snap.h"

#define SNAP_MAGIC      UINT64_C(0x3130504e53505453) /* "STPSNP01" */
#define SNAP_FIXED      36                           /* before the configuration */
#define SNAP_HEADER_MAX (SNAP_FIXED + RAFT_CONFIG_BYTES_MAX + 4)
#define SNAP_TRAILER    16
#define SNAP_PIECE      (64u << 10)
#define SNAP_FILES_MAX  256
#define SNAP_TMP        "snap.tmp"

struct snap_writer {
    struct wal_fs fs;
    struct wal_file *file;
    char tmp[WAL_NAME_MAX];
    uint64_t written;   /* to the file */
    uint64_t state_len; /* own snapshots */
    uint32_t crc;
    bool own;
    int failed;
    uint8_t *buf;
    size_t buf_len;
};

struct snap_reader {
    struct wal_fs fs;
    struct wal_file *file;
    struct raft_snapshot_meta meta;
    uint64_t size, state_off, state_len;
};

struct snap_name {
    uint64_t term, index;
};

struct snap_names {
    struct snap_name found[SNAP_FILES_MAX];
    unsigned n;
};

static void snap_file_name(struct snap_name n, char name[static WAL_NAME_MAX])
{
    snprintf(name, WAL_NAME_MAX, "snap-%016" PRIx64 "-%016" PRIx64, n.term, n.index);
}

static int names_add(void *arg, const char *name)
{
    struct snap_names *names = arg;
    char again[WAL_NAME_MAX];
    struct snap_name n;

    if (sscanf(name, "snap-%16" SCNx64 "-%16" SCNx64, &n.term, &n.index) != 2)
        return 0;
    snap_file_name(n, again);
    if (strcmp(name, again) == 0 && names->n < SNAP_FILES_MAX)
        names->found[names->n++] = n;
    return 0;
}

static int name_newest_first(const void *a, const void *b)
{
    const struct snap_name *x = a, *y = b;

    if (x->index != y->index)
        return x->index > y->index ? -1 : 1;
    return x->term > y->term ? -1 : x->term < y->term;
}

static int names_list(const struct wal_fs *fs, struct snap_names *names)
{
    int err;

    names->n = 0;
    err = fs->ops->list(fs->user, names_add, names);
    if (err)
        return err_trace(err);
    qsort(names->found, names->n, sizeof(names->found[0]), name_newest_first);
    return 0;
}

/* ---- writing ---- */

static int writer_flush(struct snap_writer *w)
{
    int err;

    if (w->failed || w->buf_len == 0)
        return w->failed;
    err = w->fs.ops->pwrite(w->fs.user, w->file, w->buf, w->buf_len, w->written);
    if (err)
        return w->failed = err_trace(err);
    w->written += w->buf_len;
    w->buf_len = 0;
    return 0;
}

static int writer_put(struct snap_writer *w, const void *data, size_t n)
{
    const uint8_t *p = data;

    while (n > 0) {
        size_t k = MIN(n, SNAP_PIECE - w->buf_len);

        memcpy(w->buf + w->buf_len, p, k);
        w->buf_len += k;
        p += k;
        n -= k;
        if (w->buf_len == SNAP_PIECE && writer_flush(w) != 0)
            return w->failed;
    }
    return w->failed;
}

static int writer_new(const struct wal_fs *fs, const char *tmp, struct snap_writer **ret)
{
    struct snap_writer *w = xcalloc(1, sizeof(*w));
    int err;

    w->fs = *fs;
    snprintf(w->tmp, sizeof(w->tmp), "%s", tmp);
    err = fs->ops->open(fs->user, w->tmp, true, &w->file);
    if (err) {
        free(w);
        return err_trace(err);
    }
    w->buf = xmalloc(SNAP_PIECE);
    *ret = w;
    return 0;
}

int snap_create(const struct wal_fs *fs, const struct raft_snapshot_meta *meta,
                struct snap_writer **ret)
{
    uint8_t header[SNAP_HEADER_MAX];
    struct snap_writer *w = NULL;
    size_t len;
    int err = writer_new(fs, SNAP_TMP ".own", &w);

    if (err)
        return err;
    w->own = true;
    len = SNAP_FIXED + raft_config_encode(&meta->config, header + SNAP_FIXED);
    le64_write(header, SNAP_MAGIC);
    le32_write(header + 8, (uint32_t)(len + 4));
    le64_write(header + 12, meta->index);
    le64_write(header + 20, meta->term);
    le64_write(header + 28, meta->config_index);
    le32_write(header + len, (uint32_t)crc32(0, header, (uInt)len));
    err = writer_put(w, header, len + 4);
    if (err) {
        snap_abort(w);
        return err;
    }
    *ret = w;
    return 0;
}

int snap_write(struct snap_writer *w, const void *data, size_t n)
{
    assert(w->own);
    w->crc = (uint32_t)crc32_z(w->crc, data, n);
    w->state_len += n;
    return writer_put(w, data, n);
}

int snap_receive(const struct wal_fs *fs, struct snap_writer **ret)
{
    return writer_new(fs, SNAP_TMP ".in", ret);
}

int snap_receive_piece(struct snap_writer *w, uint64_t offset, const void *data, size_t n)
{
    assert(!w->own);
    if (offset != w->written + w->buf_len)
        return w->failed = -EINVAL;
    return writer_put(w, data, n);
}

struct snap_writer *snap_abort(struct snap_writer *w)
{
    if (!w)
        return NULL;
    w->fs.ops->close(w->fs.user, w->file);
    w->fs.ops->unlink(w->fs.user, w->tmp);
    free(w->buf);
    free(w);
    return NULL;
}

/* ---- checking and reading ---- */

static int reader_header(struct snap_reader *r, struct errtext *e)
{
    uint8_t h[SNAP_HEADER_MAX];
    ssize_t n = r->fs.ops->pread(r->fs.user, r->file, h, MIN(sizeof(h), r->size), 0);
    uint32_t len;

    if (n < 0)
        return err_set(e, (int)n, "%s", strerror(-(int)n));
    if (n < SNAP_FIXED + 4 || le64_read(h) != SNAP_MAGIC)
        return err_set(e, -EBADMSG, "not a snapshot");
    len = le32_read(h + 8);
    if (len < SNAP_FIXED + 4 || len > (size_t)n ||
        le32_read(h + len - 4) != (uint32_t)crc32(0, h, len - 4))
        return err_set(e, -EBADMSG, "the header is damaged");
    r->meta.index = le64_read(h + 12);
    r->meta.term = le64_read(h + 20);
    r->meta.config_index = le64_read(h + 28);
    if (raft_config_decode(h + SNAP_FIXED, len - SNAP_FIXED - 4, &r->meta.config) != 0)
        return err_set(e, -EBADMSG, "the configuration is damaged");
    r->state_off = len;
    return 0;
}

static int reader_state(struct snap_reader *r, struct errtext *e)
{
    _cleanup_(freep) uint8_t *buf = xmalloc(SNAP_PIECE);
    uint64_t at = r->state_off, end = r->size - SNAP_TRAILER;
    uint32_t crc = 0;
    ssize_t n;

    if (r->size < r->state_off + SNAP_TRAILER)
        return err_set(e, -EBADMSG, "it ends too early");
    while (at < end) {
        n = r->fs.ops->pread(r->fs.user, r->file, buf, MIN(SNAP_PIECE, end - at), at);
        if (n <= 0)
            return err_set(e, n < 0 ? (int)n : -EIO, "%s", strerror(n < 0 ? -(int)n : EIO));
        crc = (uint32_t)crc32_z(crc, buf, (size_t)n);
        at += (uint64_t)n;
    }
    n = r->fs.ops->pread(r->fs.user, r->file, buf, SNAP_TRAILER, end);
    if (n != SNAP_TRAILER)
        return err_set(e, n < 0 ? (int)n : -EIO, "%s", strerror(n < 0 ? -(int)n : EIO));
    if (le32_read(buf + 12) != (uint32_t)crc32(0, buf, 12) ||
        le64_read(buf) != end - r->state_off || le32_read(buf + 8) != crc)
        return err_set(e, -EBADMSG, "the content is damaged");
    r->state_len = end - r->state_off;
    return 0;
}

static int reader_open(const struct wal_fs *fs, const char *name, struct snap_reader **ret,
                       struct errtext *e)
{
    struct snap_reader *r = xcalloc(1, sizeof(*r));
    int err;

    r->fs = *fs;
    err = fs->ops->open(fs->user, name, false, &r->file);
    if (err) {
        free(r);
        return err_set(e, err, "%s: %s", name, strerror(-err));
    }
    err = fs->ops->size(fs->user, r->file, &r->size);
    if (err)
        err_set(e, err, "%s", strerror(-err));
    else
        err = reader_header(r, e);
    if (err == 0)
        err = reader_state(r, e);
    if (err) {
        snap_close(r);
        return err_prefix(e, err, "%s", name);
    }
    *ret = r;
    return 0;
}

int snap_commit(struct snap_writer *w, const struct raft_snapshot_meta *meta)
{
    const struct wal_fs *fs = &w->fs;
    char name[WAL_NAME_MAX];
    int err;

    if (w->own) {
        uint8_t t[SNAP_TRAILER];

        le64_write(t, w->state_len);
        le32_write(t + 8, w->crc);
        le32_write(t + 12, (uint32_t)crc32(0, t, 12));
        writer_put(w, t, sizeof(t));
    }
    err = writer_flush(w);
    if (err == 0)
        err = fs->ops->sync(fs->user, w->file);
    if (err == 0 && !w->own) {
        struct snap_reader *r;

        err = reader_open(fs, w->tmp, &r, NULL);
        if (err == 0) {
            if (r->meta.index != meta->index || r->meta.term != meta->term)
                err = -EBADMSG;
            snap_close(r);
        }
    }
    snap_file_name((struct snap_name){meta->term, meta->index}, name);
    if (err == 0)
        err = fs->ops->rename(fs->user, w->tmp, name);
    if (err) {
        snap_abort(w);
        return err_trace(err);
    }
    err = fs->ops->sync_dir(fs->user);
    fs->ops->close(fs->user, w->file);
    free(w->buf);
    free(w);
    return err ? err_trace(err) : 0;
}

int snap_open_newest(const struct wal_fs *fs, struct snap_reader **ret, struct errtext *e)
{
    struct snap_names names;
    int err = names_list(fs, &names);

    if (err)
        return err_set(e, err, "snapshots: the directory cannot be listed: %s", strerror(-err));
    if (e)
        e->text[0] = '\0';
    for (unsigned i = 0; i < names.n; i++) {
        char name[WAL_NAME_MAX];

        snap_file_name(names.found[i], name);
        err = reader_open(fs, name, ret, e);
        if (err == 0)
            return 0;
    }
    return -ENOENT;
}

struct snap_reader *snap_close(struct snap_reader *r)
{
    if (r) {
        r->fs.ops->close(r->fs.user, r->file);
        free(r);
    }
    return NULL;
}

const struct raft_snapshot_meta *snap_meta(const struct snap_reader *r)
{
    return &r->meta;
}

uint64_t snap_file_bytes(const struct snap_reader *r)
{
    return r->size;
}

uint64_t snap_state_bytes(const struct snap_reader *r)
{
    return r->state_len;
}

ssize_t snap_read_file(struct snap_reader *r, uint64_t offset, void *buf, size_t n)
{
    if (offset >= r->size)
        return 0;
    return r->fs.ops->pread(r->fs.user, r->file, buf, MIN(n, r->size - offset), offset);
}

ssize_t snap_read_state(struct snap_reader *r, uint64_t offset, void *buf, size_t n)
{
    if (offset >= r->state_len)
        return 0;
    return r->fs.ops->pread(r->fs.user, r->file, buf, MIN(n, r->state_len - offset),
                            r->state_off + offset);
}

int snap_prune(const struct wal_fs *fs, unsigned keep)
{
    struct snap_names names;
    int err = names_list(fs, &names);

    for (unsigned i = keep; i < names.n && err == 0; i++) {
        char name[WAL_NAME_MAX];

        snap_file_name(names.found[i], name);
        err = fs->ops->unlink(fs->user, name);
    }
    return err ? err_trace(err) : 0;
}
