/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Recovery: reads every record once, decides what a crash left over, and refuses what no crash can
 * explain.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "wal_internal.h"

#define WAL_BODY_MAX      (64u << 20)
#define WAL_FILE_MAX      (2ull << 30)
#define WAL_SEGMENT_BYTES (8ull << 20)
#define WAL_BUFFER_BYTES  (1ull << 20)
#define WAL_ENTRY_BYTES   (16u << 20)
#define WAL_SEGMENTS_MAX  65536u

struct found {
    uint64_t *numbers;
    size_t n, cap;
};

/* One file in memory while it is looked through. */
struct scan {
    struct wal *w;
    struct errtext *e;
    uint64_t number;
    uint8_t *data;
    size_t len;
    bool last; /* only the last file can have a torn tail */
};

static int found_add(void *arg, const char *name)
{
    struct found *f = arg;
    char again[WAL_NAME_MAX];
    uint64_t number;
    char *end;

    if (strncmp(name, "wal-", 4) != 0)
        return 0;
    number = strtoull(name + 4, &end, 16);
    wal_segment_name(number, again);
    if (*end || strcmp(name, again) != 0)
        return 0;
    if (f->n == WAL_SEGMENTS_MAX)
        return -EOVERFLOW;
    if (f->n == f->cap) {
        f->cap = f->cap ? f->cap * 2 : 16;
        f->numbers = xrealloc(f->numbers, f->cap * sizeof(*f->numbers));
    }
    f->numbers[f->n++] = number;
    return 0;
}

static int number_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int scan_damaged(struct scan *sc, size_t off, const char *what)
{
    char name[WAL_NAME_MAX];

    wal_segment_name(sc->number, name);
    return err_set(sc->e, -EBADMSG, "write-ahead log: %s: offset %zu: %s", name, off, what);
}

/* Is there a whole BATCH behind `off` that was written when `off` was durable already? */
static bool scan_was_durable(struct scan *sc, size_t off)
{
    uint8_t magic[8];
    const uint8_t *p = sc->data + off, *end = sc->data + sc->len;

    le64_write(magic, WAL_BATCH_MAGIC);
    while ((p = memmem(p, (size_t)(end - p), magic, sizeof(magic)))) {
        const uint8_t *start = p - WAL_REC_HEADER;
        struct wal_record rec;
        size_t need;

        if (p - sc->data >= WAL_REC_HEADER &&
            wal_record_parse(start, (size_t)(end - start), WAL_BODY_MAX, &rec, &need) > 0 &&
            rec.type == WAL_REC_BATCH && le64_read(rec.body + 8) > off)
            return true;
        p++;
    }
    return false;
}

/* What a segment's base means for what was read so far (wal_format.h). */
static void scan_base(struct wal *w, struct wal_segment *s, size_t *first_live)
{
    size_t i = w->segments_n - 1;
    uint64_t last, term;
    struct wal_segment *of;

    if (i == 0)
        return;
    last = w->segments[i - 1].base_index + w->segments[i - 1].n;
    if (s->base_index == last) {
        struct wal_segment *before = &w->segments[i - 1];

        term = before->n > 0 ? before->pos[before->n - 1].term : before->base_term;
        if (term == s->base_term)
            return;
    }
    of = wal_segment_of(w, s->base_index);
    if (of)
        term = of->pos[s->base_index - 1 - of->base_index].term;
    else
        term = s->base_index == w->segments[*first_live].base_index
                   ? w->segments[*first_live].base_term
                   : 0;
    if (s->base_index < last && term == s->base_term) {
        wal_segments_cut(w, s->base_index);
    } else {
        wal_segments_cut(w, 0);
        *first_live = i;
    }
}

static int scan_header(struct scan *sc, const struct wal_record *rec, size_t *first_live)
{
    struct wal_segment *s = wal_tail(sc->w);

    if (rec->type != WAL_REC_SEGMENT || le64_read(rec->body) != WAL_SEGMENT_MAGIC)
        return scan_damaged(sc, 0, "this is not a segment of a write-ahead log");
    if (le64_read(rec->body + 8) != sc->number)
        return scan_damaged(sc, 0, "the segment has another number than its name");
    s->base_index = le64_read(rec->body + 16);
    s->base_term = le64_read(rec->body + 24);
    sc->w->term = le64_read(rec->body + 32);
    sc->w->vote = le64_read(rec->body + 40);
    scan_base(sc->w, s, first_live);
    return 0;
}

static int scan_record(struct scan *sc, const struct wal_record *rec, size_t off)
{
    struct wal *w = sc->w;
    struct wal_segment *s = wal_tail(w);
    uint64_t index, term;

    switch (rec->type) {
    case WAL_REC_SEGMENT:
        return scan_damaged(sc, off, "a segment begins inside a segment");
    case WAL_REC_BATCH:
        return 0;
    case WAL_REC_HARD:
        w->term = le64_read(rec->body);
        w->vote = le64_read(rec->body + 8);
        return 0;
    case WAL_REC_ENTRY:
        break;
    }
    index = le64_read(rec->body);
    term = le64_read(rec->body + 8);
    if (index != s->base_index + s->n + 1 || term < wal_last_term(w))
        return scan_damaged(sc, off, "the entry does not follow the one before it");
    wal_segment_add(s, term, off, WAL_REC_HEADER + rec->len);
    return 0;
}

/* Sets *ret_end to where the good records end. */
static int scan_records(struct scan *sc, size_t *ret_end, size_t *first_live)
{
    size_t off = 0;

    while (off < sc->len) {
        struct wal_record rec;
        size_t need;
        ssize_t n = wal_record_parse(sc->data + off, sc->len - off, WAL_BODY_MAX, &rec, &need);
        int err;

        if (n <= 0)
            break;
        err = off == 0 ? scan_header(sc, &rec, first_live) : scan_record(sc, &rec, off);
        if (err)
            return err;
        off += (size_t)n;
    }
    *ret_end = off;
    if (off == sc->len && off > 0)
        return 0;
    if (!sc->last || scan_was_durable(sc, off))
        return scan_damaged(sc, off,
                            "the record is damaged, and it is not the torn end of the log");
    return 0;
}

static int scan_load(struct scan *sc, struct wal_file *f)
{
    const struct wal_fs *fs = &sc->w->fs;
    char name[WAL_NAME_MAX];
    uint64_t size;
    ssize_t n;
    int err = fs->ops->size(fs->user, f, &size);

    wal_segment_name(sc->number, name);
    if (err)
        return err_set(sc->e, err, "write-ahead log: %s: %s", name, strerror(-err));
    if (size > WAL_FILE_MAX)
        return err_set(sc->e, -EFBIG, "write-ahead log: %s: too large", name);
    sc->data = xmalloc(size + 1);
    n = fs->ops->pread(fs->user, f, sc->data, size, 0);
    if (n < 0 || (uint64_t)n != size)
        return err_set(sc->e, n < 0 ? (int)n : -EIO, "write-ahead log: %s: cannot be read: %s",
                       name, strerror(n < 0 ? -(int)n : EIO));
    sc->len = size;
    return 0;
}

/* The last file, good up to `end`: cut there, and what is left made durable. A file without even a
 * header was being made when the crash came: it goes. */
static int recover_tail(struct scan *sc, size_t end)
{
    struct wal *w = sc->w;
    const struct wal_fs *fs = &w->fs;
    struct wal_segment *s = wal_tail(w);
    char name[WAL_NAME_MAX];
    int err = 0;

    wal_segment_name(sc->number, name);
    w->cut_bytes = sc->len - end;
    if (end == 0) {
        fs->ops->close(fs->user, s->file);
        free(s->pos);
        w->segments_n--;
        err = fs->ops->unlink(fs->user, name);
    } else {
        if (end < sc->len)
            err = fs->ops->truncate(fs->user, s->file, end);
        if (err == 0)
            err = fs->ops->sync(fs->user, s->file);
        w->synced = end;
    }
    if (err == 0)
        err = fs->ops->sync_dir(fs->user);
    if (err)
        return err_set(sc->e, err, "write-ahead log: %s: %s", name, strerror(-err));
    return 0;
}

static int recover_segment(struct wal *w, uint64_t number, bool last, size_t *first_live,
                           struct errtext *e)
{
    struct scan sc = {.w = w, .e = e, .number = number, .last = last};
    struct wal_segment *s = wal_segment_push(w, number);
    char name[WAL_NAME_MAX];
    size_t end = 0;
    int err;

    wal_segment_name(number, name);
    err = w->fs.ops->open(w->fs.user, name, false, &s->file);
    if (err) {
        s->file = NULL;
        return err_set(e, err, "write-ahead log: %s: %s", name, strerror(-err));
    }
    err = scan_load(&sc, s->file);
    if (err == 0)
        err = scan_records(&sc, &end, first_live);
    if (err == 0) {
        s->size = end;
        if (last)
            err = recover_tail(&sc, end);
    }
    free(sc.data);
    return err;
}

static int recover(struct wal *w, const struct found *f, struct errtext *e)
{
    size_t first_live = 0;
    int err;

    for (size_t i = 0; i < f->n; i++) {
        if (i > 0 && f->numbers[i] != f->numbers[i - 1] + 1) {
            char name[WAL_NAME_MAX];

            wal_segment_name(f->numbers[i - 1] + 1, name);
            return err_set(e, -EBADMSG, "write-ahead log: %s is missing", name);
        }
        err = recover_segment(w, f->numbers[i], i + 1 == f->n, &first_live, e);
        if (err)
            return err;
    }
    for (; first_live > 0 && w->segments_n > 1; first_live--) {
        /* A crash came in wal_reset(), before the old files were gone. */
        char name[WAL_NAME_MAX];

        wal_segment_name(w->segments[0].number, name);
        err = w->fs.ops->unlink(w->fs.user, name);
        if (err == 0)
            err = w->fs.ops->sync_dir(w->fs.user);
        if (err)
            return err_set(e, err, "write-ahead log: %s: %s", name, strerror(-err));
        wal_segments_drop(w, 1);
    }
    return 0;
}

static struct wal *wal_new(const struct wal_fs *fs, const struct wal_options *opt)
{
    struct wal *w = xcalloc(1, sizeof(*w));

    w->fs = *fs;
    if (opt)
        w->opt = *opt;
    if (w->opt.segment_bytes == 0)
        w->opt.segment_bytes = WAL_SEGMENT_BYTES;
    if (w->opt.buffer_bytes == 0)
        w->opt.buffer_bytes = WAL_BUFFER_BYTES;
    if (w->opt.entry_bytes_max == 0)
        w->opt.entry_bytes_max = WAL_ENTRY_BYTES;
    assert(w->opt.segment_bytes <= WAL_FILE_MAX / 2);
    assert(w->opt.entry_bytes_max <= WAL_BODY_MAX - WAL_ENTRY_HEADER);
    pthread_mutex_init(&w->lock, NULL);
    return w;
}

int wal_open(const struct wal_fs *fs, const struct wal_options *opt, struct wal **ret,
             struct errtext *e)
{
    struct wal *w = wal_new(fs, opt);
    struct found f = {0};
    int err = fs->ops->list(fs->user, found_add, &f);

    if (err) {
        err_set(e, err, "write-ahead log: the directory cannot be listed: %s", strerror(-err));
        goto out;
    }
    if (f.n > 0)
        qsort(f.numbers, f.n, sizeof(*f.numbers), number_compare);
    err = recover(w, &f, e);
    if (err)
        goto out;
    if (w->segments_n == 0) {
        err = wal_segment_begin(w, f.n ? f.numbers[f.n - 1] : 1, 0, 0);
        if (err)
            err_set(e, err, "write-ahead log: cannot be begun: %s", strerror(-err));
    }
out:
    free(f.numbers);
    if (err)
        wal_close(w);
    else
        *ret = w;
    return err;
}
