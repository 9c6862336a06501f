/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Reading entries back.
 */
#include <errno.h>

#include "wal_internal.h"

#define WAL_REPLAY_ENTRIES 1024u
#define WAL_REPLAY_BYTES   (512u << 10)

/* Of segment s from its entry k on: how many entries are read at once, and their bytes. */
static unsigned read_span(const struct wal_segment *s, size_t k, unsigned n, uint32_t bytes_max,
                          uint32_t *ret_bytes)
{
    uint32_t begin = s->pos[k].off;
    unsigned got = 0;

    while (got < n && k + got < s->n) {
        const struct wal_pos *p = &s->pos[k + got];

        if (got > 0 && p->off + p->len - begin > bytes_max)
            break;
        *ret_bytes = p->off + p->len - begin;
        got++;
    }
    return got;
}

/* Checks each entry again: the disk may return other bytes than at wal_open(). */
static int read_entries(const struct wal_segment *s, size_t k, unsigned n, struct raft_buf *buf,
                        uint64_t first, struct raft_entry *entries)
{
    uint32_t begin = s->pos[k].off;

    for (unsigned i = 0; i < n; i++) {
        const struct wal_pos *p = &s->pos[k + i];
        struct wal_record rec;
        size_t need;
        ssize_t len =
            wal_record_parse(buf->data + (p->off - begin), p->len, UINT32_MAX, &rec, &need);

        if (len != (ssize_t)p->len || rec.type != WAL_REC_ENTRY ||
            le64_read(rec.body) != first + i || le64_read(rec.body + 8) != p->term)
            return -EBADMSG;
        entries[i] = (struct raft_entry){
            .index = first + i,
            .term = p->term,
            .buf = buf,
            .data = rec.body + WAL_ENTRY_HEADER,
            .len = rec.len - WAL_ENTRY_HEADER,
            .type = rec.body[16],
        };
    }
    return 0;
}

static int read_locked(struct wal *w, uint64_t first, unsigned n, uint32_t bytes_max,
                       struct raft_entry *entries, struct raft_buf **ret_buf)
{
    _cleanup_(raft_buf_unrefp) struct raft_buf *buf = NULL;
    struct wal_segment *s = wal_segment_of(w, first);
    uint32_t bytes = 0;
    unsigned got;
    ssize_t len;
    size_t k;
    int err;

    if (!s || n == 0)
        return -ENOENT;
    k = first - s->base_index - 1;
    got = read_span(s, k, n, bytes_max, &bytes);
    if ((uint64_t)s->pos[k].off + bytes > s->size) {
        err = wal_flush(w); /* they are still in the buffer */
        if (err)
            return err;
    }
    buf = raft_buf_new(bytes);
    len = w->fs.ops->pread(w->fs.user, s->file, buf->data, bytes, s->pos[k].off);
    if (len < 0)
        return err_trace((int)len);
    if ((size_t)len != bytes)
        return -EBADMSG;
    err = read_entries(s, k, got, buf, first, entries);
    if (err)
        return err;
    *ret_buf = TAKE_PTR(buf);
    return (int)got;
}

int wal_read(struct wal *w, uint64_t first, unsigned n, uint32_t bytes_max,
             struct raft_entry *entries, struct raft_buf **ret_buf)
{
    int r;

    pthread_mutex_lock(&w->lock);
    r = read_locked(w, first, n, bytes_max, entries, ret_buf);
    pthread_mutex_unlock(&w->lock);
    return r;
}

int wal_replay(struct wal *w, uint64_t first, wal_entry_fn *fn, void *user)
{
    _cleanup_(freep) struct raft_entry *entries = xmalloc(WAL_REPLAY_ENTRIES * sizeof(*entries));
    struct wal_state st;

    wal_state(w, &st);
    while (first <= st.last_index) {
        struct raft_buf *buf;
        int n = wal_read(w, first, WAL_REPLAY_ENTRIES, WAL_REPLAY_BYTES, entries, &buf);
        int err = 0;

        if (n < 0)
            return n;
        for (int i = 0; i < n && err == 0; i++)
            err = fn(user, &entries[i]);
        raft_buf_unref(buf);
        if (err)
            return err;
        first += (unsigned)n;
    }
    return 0;
}
