/* SPDX-License-Identifier: MPL-2.0 */
/* What wal.c (writing), wal_open.c (recovery) and wal_read.c share. */
#pragma once

#include <pthread.h>

#include "wal.h"
#include "wal_format.h"

struct wal_pos {
    uint64_t term;
    uint32_t off; /* of the record */
    uint32_t len; /* of the record */
};

/* One file. Its live entries are base_index + 1 ... base_index + n. */
struct wal_segment {
    uint64_t number;
    uint64_t base_index, base_term;
    struct wal_file *file; /* open as long as the segment is there */
    struct wal_pos *pos;
    size_t n, cap;
    uint64_t size; /* written */
};

struct wal {
    struct wal_fs fs;
    struct wal_options opt;
    pthread_mutex_t lock;
    int failed; /* -errno of the write that failed */
    uint64_t term, vote;
    struct wal_segment *segments; /* oldest first; the last one is written to */
    size_t segments_n, segments_cap;
    uint64_t synced; /* bytes of the last segment */
    uint8_t *buf;    /* appended, not written: follows at `size` of the last segment */
    size_t buf_len, buf_cap;
    uint64_t cut_bytes;
};

static inline struct wal_segment *wal_tail(struct wal *w)
{
    return &w->segments[w->segments_n - 1];
}
static inline uint64_t wal_last(struct wal *w)
{
    return wal_tail(w)->base_index + wal_tail(w)->n;
}
uint64_t wal_last_term(struct wal *w);

void wal_segment_name(uint64_t number, char name[static WAL_NAME_MAX]);
struct wal_segment *wal_segment_push(struct wal *w, uint64_t number);
void wal_segment_add(struct wal_segment *s, uint64_t term, uint64_t off, uint32_t len);
/* Forgets entries > index in all segments: what a new base below the end means. */
void wal_segments_cut(struct wal *w, uint64_t index);
/* The one that holds `index`, or NULL. */
struct wal_segment *wal_segment_of(struct wal *w, uint64_t index);
/* Closes, and removes from memory, the `n` oldest. */
void wal_segments_drop(struct wal *w, size_t n);
/* Makes a new file with that base durable, and the one to write to. */
int wal_segment_begin(struct wal *w, uint64_t number, uint64_t base_index, uint64_t base_term);
int wal_flush(struct wal *w);
int wal_fail(struct wal *w, int err);
