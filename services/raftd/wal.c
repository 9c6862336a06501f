/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Writing the log. See wal_format.h for what comes out.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "wal_internal.h"

/* ---- segments ---- */

void wal_segment_name(uint64_t number, char name[static WAL_NAME_MAX])
{
    snprintf(name, WAL_NAME_MAX, "wal-%016" PRIx64, number);
}

struct wal_segment *wal_segment_push(struct wal *w, uint64_t number)
{
    struct wal_segment *s;

    if (w->segments_n == w->segments_cap) {
        w->segments_cap = w->segments_cap ? w->segments_cap * 2 : 8;
        w->segments = xrealloc(w->segments, w->segments_cap * sizeof(*w->segments));
    }
    s = &w->segments[w->segments_n++];
    *s = (struct wal_segment){.number = number};
    return s;
}

void wal_segment_add(struct wal_segment *s, uint64_t term, uint64_t off, uint32_t len)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->pos = xrealloc(s->pos, s->cap * sizeof(*s->pos));
    }
    assert(off <= UINT32_MAX);
    s->pos[s->n++] = (struct wal_pos){term, (uint32_t)off, len};
}

void wal_segments_cut(struct wal *w, uint64_t index)
{
    for (size_t i = 0; i < w->segments_n; i++) {
        struct wal_segment *s = &w->segments[i];

        if (s->base_index + s->n > index)
            s->n = index > s->base_index ? index - s->base_index : 0;
    }
}

struct wal_segment *wal_segment_of(struct wal *w, uint64_t index)
{
    for (size_t i = w->segments_n; i-- > 0;) {
        struct wal_segment *s = &w->segments[i];

        if (index > s->base_index && index <= s->base_index + s->n)
            return s;
    }
    return NULL;
}

void wal_segments_drop(struct wal *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (w->segments[i].file)
            w->fs.ops->close(w->fs.user, w->segments[i].file);
        free(w->segments[i].pos);
    }
    memmove(w->segments, w->segments + n, (w->segments_n - n) * sizeof(*w->segments));
    w->segments_n -= n;
}

uint64_t wal_last_term(struct wal *w)
{
    struct wal_segment *s = wal_tail(w);

    return s->n > 0 ? s->pos[s->n - 1].term : s->base_term;
}

int wal_fail(struct wal *w, int err)
{
    assert(err < 0);
    if (!w->failed)
        w->failed = err;
    return err_trace(err);
}

/* Removes the files of the oldest n segments, in order, each for good before the next: a crash
 * leaves numbers without a gap. */
static int segments_remove(struct wal *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char name[WAL_NAME_MAX];
        int err;

        wal_segment_name(w->segments[0].number, name);
        err = w->fs.ops->unlink(w->fs.user, name);
        if (err == 0 || err == -ENOENT)
            err = w->fs.ops->sync_dir(w->fs.user);
        if (err)
            return wal_fail(w, err);
        wal_segments_drop(w, 1);
    }
    return 0;
}

int wal_segment_begin(struct wal *w, uint64_t number, uint64_t base_index, uint64_t base_term)
{
    const struct wal_fs_ops *ops = w->fs.ops;
    uint8_t rec[WAL_REC_HEADER + WAL_SEGMENT_BODY];
    uint8_t *body = rec + WAL_REC_HEADER;
    char name[WAL_NAME_MAX];
    struct wal_segment *s;
    struct wal_file *f;
    int err;

    le64_write(body, WAL_SEGMENT_MAGIC);
    le64_write(body + 8, number);
    le64_write(body + 16, base_index);
    le64_write(body + 24, base_term);
    le64_write(body + 32, w->term);
    le64_write(body + 40, w->vote);
    wal_record_seal(rec, WAL_REC_SEGMENT, WAL_SEGMENT_BODY);
    wal_segment_name(number, name);
    err = ops->open(w->fs.user, name, true, &f);
    if (err)
        return wal_fail(w, err);
    err = ops->pwrite(w->fs.user, f, rec, sizeof(rec), 0);
    if (err == 0)
        err = ops->sync(w->fs.user, f);
    if (err == 0)
        err = ops->sync_dir(w->fs.user);
    if (err) {
        ops->close(w->fs.user, f);
        return wal_fail(w, err);
    }
    s = wal_segment_push(w, number);
    s->file = f;
    s->base_index = base_index;
    s->base_term = base_term;
    s->size = w->synced = sizeof(rec);
    return 0;
}

/* ---- the buffer ---- */

int wal_flush(struct wal *w)
{
    struct wal_segment *s = wal_tail(w);
    int err;

    if (w->failed)
        return -EIO;
    if (w->buf_len == 0)
        return 0;
    err = w->fs.ops->pwrite(w->fs.user, s->file, w->buf, w->buf_len, s->size);
    if (err)
        return wal_fail(w, err);
    s->size += w->buf_len;
    w->buf_len = 0;
    return 0;
}

/* Room for a record of `len` body bytes at the end of the buffer; a write begins with BATCH. */
static uint8_t *buffer_record(struct wal *w, size_t len)
{
    size_t need = w->buf_len + 2 * WAL_REC_HEADER + WAL_BATCH_BODY + len;
    uint8_t *rec;

    if (need > w->buf_cap) {
        w->buf_cap = MAX(need, MIN(w->buf_cap * 2, w->opt.buffer_bytes));
        w->buf = xrealloc(w->buf, w->buf_cap);
    }
    if (w->buf_len == 0) {
        le64_write(w->buf + WAL_REC_HEADER, WAL_BATCH_MAGIC);
        le64_write(w->buf + WAL_REC_HEADER + 8, w->synced);
        wal_record_seal(w->buf, WAL_REC_BATCH, WAL_BATCH_BODY);
        w->buf_len = WAL_REC_HEADER + WAL_BATCH_BODY;
    }
    rec = w->buf + w->buf_len;
    w->buf_len += WAL_REC_HEADER + len;
    return rec;
}

/* The last segment is full: all of it is made durable, then the next one begins. */
static int segment_roll(struct wal *w, uint64_t base_index, uint64_t base_term)
{
    struct wal_segment *s = wal_tail(w);
    int err = wal_flush(w);

    if (err)
        return err;
    if (s->size > w->synced) {
        err = w->fs.ops->sync(w->fs.user, s->file);
        if (err)
            return wal_fail(w, err);
        w->synced = s->size;
    }
    return wal_segment_begin(w, s->number + 1, base_index, base_term);
}

static int append_room(struct wal *w)
{
    if (w->failed)
        return -EIO;
    if (wal_tail(w)->size + w->buf_len >= w->opt.segment_bytes)
        return segment_roll(w, wal_last(w), wal_last_term(w));
    if (w->buf_len >= w->opt.buffer_bytes)
        return wal_flush(w);
    return 0;
}

static int append_entry(struct wal *w, const struct raft_entry *e)
{
    uint32_t len = WAL_ENTRY_HEADER + e->len;
    struct wal_segment *s;
    uint8_t *rec;
    uint64_t off;
    int err;

    if (e->len > w->opt.entry_bytes_max)
        return -EMSGSIZE;
    if (e->index != wal_last(w) + 1)
        return -EINVAL;
    err = append_room(w);
    if (err)
        return err;
    rec = buffer_record(w, len);
    s = wal_tail(w);
    off = s->size + (uint64_t)(rec - w->buf);
    le64_write(rec + WAL_REC_HEADER, e->index);
    le64_write(rec + WAL_REC_HEADER + 8, e->term);
    rec[WAL_REC_HEADER + 16] = e->type;
    if (e->len > 0)
        memcpy(rec + WAL_REC_HEADER + WAL_ENTRY_HEADER, e->data, e->len);
    wal_record_seal(rec, WAL_REC_ENTRY, len);
    wal_segment_add(s, e->term, off, WAL_REC_HEADER + len);
    return 0;
}

/* ---- public ---- */

int wal_append(struct wal *w, const struct raft_entry *entries, unsigned n)
{
    int err = 0;

    pthread_mutex_lock(&w->lock);
    for (unsigned i = 0; i < n && err == 0; i++)
        err = append_entry(w, &entries[i]);
    pthread_mutex_unlock(&w->lock);
    return err;
}

int wal_append_hard(struct wal *w, uint64_t term, uint64_t vote)
{
    uint8_t *rec;
    int err;

    pthread_mutex_lock(&w->lock);
    err = append_room(w);
    if (err == 0) {
        rec = buffer_record(w, WAL_HARD_BODY);
        le64_write(rec + WAL_REC_HEADER, term);
        le64_write(rec + WAL_REC_HEADER + 8, vote);
        wal_record_seal(rec, WAL_REC_HARD, WAL_HARD_BODY);
        w->term = term;
        w->vote = vote;
    }
    pthread_mutex_unlock(&w->lock);
    return err;
}

/* Conflicts are rare: a new segment whose base says it is simpler than a record that reading,
 * recovery and compaction would all have to know. */
int wal_truncate(struct wal *w, uint64_t from_index)
{
    struct wal_segment *s;
    uint64_t base_term;
    int err = 0;

    pthread_mutex_lock(&w->lock);
    if (from_index > wal_last(w))
        goto out;
    if (from_index <= w->segments[0].base_index) {
        err = -EINVAL;
        goto out;
    }
    s = wal_segment_of(w, from_index - 1);
    base_term = s ? s->pos[from_index - 2 - s->base_index].term : w->segments[0].base_term;
    err = segment_roll(w, from_index - 1, base_term);
    if (err == 0)
        wal_segments_cut(w, from_index - 1);
out:
    pthread_mutex_unlock(&w->lock);
    return err;
}

int wal_sync(struct wal *w)
{
    uint64_t number, size;
    struct wal_file *f;
    int err;

    pthread_mutex_lock(&w->lock);
    err = wal_flush(w);
    number = wal_tail(w)->number;
    size = wal_tail(w)->size;
    f = wal_tail(w)->file;
    if (err || size == w->synced) {
        pthread_mutex_unlock(&w->lock);
        return err;
    }
    pthread_mutex_unlock(&w->lock);
    err = w->fs.ops->sync(w->fs.user, f);
    pthread_mutex_lock(&w->lock);
    if (err)
        wal_fail(w, err);
    else if (wal_tail(w)->number == number)
        w->synced = MAX(w->synced, size);
    pthread_mutex_unlock(&w->lock);
    return err;
}

int wal_reset(struct wal *w, uint64_t index, uint64_t term)
{
    int err;

    pthread_mutex_lock(&w->lock);
    err = segment_roll(w, index, term);
    if (err == 0)
        err = segments_remove(w, w->segments_n - 1);
    pthread_mutex_unlock(&w->lock);
    return err;
}

int wal_align(struct wal *w, uint64_t index, uint64_t term)
{
    struct wal_segment *s;
    bool fits;

    pthread_mutex_lock(&w->lock);
    s = wal_segment_of(w, index);
    if (s)
        fits = s->pos[index - 1 - s->base_index].term == term;
    else
        fits = index == w->segments[0].base_index && term == w->segments[0].base_term;
    pthread_mutex_unlock(&w->lock);
    return fits ? 0 : wal_reset(w, index, term);
}

int wal_compact(struct wal *w, uint64_t index, uint64_t trailing)
{
    uint64_t last, limit;
    size_t drop = 0;
    int err;

    pthread_mutex_lock(&w->lock);
    last = wal_last(w);
    limit = MIN(index, last > trailing ? last - trailing : 0);
    for (size_t i = 1; i < w->segments_n; i++) {
        if (w->segments[i].base_index <= limit)
            drop = i;
    }
    err = w->failed ? -EIO : segments_remove(w, drop);
    pthread_mutex_unlock(&w->lock);
    return err;
}

void wal_state(struct wal *w, struct wal_state *ret)
{
    pthread_mutex_lock(&w->lock);
    *ret = (struct wal_state){
        .term = w->term,
        .vote = w->vote,
        .base_index = w->segments[0].base_index,
        .base_term = w->segments[0].base_term,
        .last_index = wal_last(w),
        .last_term = wal_last_term(w),
        .cut_bytes = w->cut_bytes,
    };
    pthread_mutex_unlock(&w->lock);
}

struct wal *wal_close(struct wal *w)
{
    if (!w)
        return NULL;
    wal_segments_drop(w, w->segments_n);
    pthread_mutex_destroy(&w->lock);
    free(w->segments);
    free(w->buf);
    free(w);
    return NULL;
}
