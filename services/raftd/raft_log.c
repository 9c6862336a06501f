/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The log's tail in memory, and of the whole log the positions where a term begins: those say the
 * term of any entry that the disk holds, in a few bytes.
 */
#include <string.h>

#include "raft_internal.h"

#define LOG_CAP_MIN 64

static void log_runs_push(struct raft_log *l, uint64_t index, uint64_t term)
{
    if (l->runs_n == l->runs_cap) {
        /* At most one per entry of the log, which compaction bounds. */
        l->runs_cap = l->runs_cap ? l->runs_cap * 2 : 8;
        l->runs = xrealloc(l->runs, l->runs_cap * sizeof(*l->runs));
    }
    l->runs[l->runs_n++] = (struct raft_position){index, term};
}

static void log_forget(struct raft_log *l, size_t i)
{
    l->mem_bytes -= l->entries[i].len;
    raft_buf_unref(l->entries[i].buf);
}

static void log_forget_all(struct raft_log *l)
{
    for (size_t i = 0; i < l->n; i++)
        log_forget(l, l->head + i);
    l->head = l->n = 0;
}

void raft_log_init(struct raft_log *l)
{
    *l = (struct raft_log){0};
    log_runs_push(l, 0, 0);
}

void raft_log_fini(struct raft_log *l)
{
    log_forget_all(l);
    free(l->entries);
    free(l->seqs);
    free(l->runs);
}

void raft_log_reset(struct raft_log *l, struct raft_position base)
{
    log_forget_all(l);
    l->pending_bytes = 0;
    l->base = l->last = l->durable = base.index;
    l->runs_n = 0;
    log_runs_push(l, base.index, base.term);
}

static void log_room(struct raft_log *l)
{
    if (l->head + l->n < l->cap)
        return;
    if (l->head < l->cap / 2 || l->cap == 0) {
        l->cap = l->cap ? l->cap * 2 : LOG_CAP_MIN;
        l->entries = xrealloc(l->entries, l->cap * sizeof(*l->entries));
        l->seqs = xrealloc(l->seqs, l->cap * sizeof(*l->seqs));
        return;
    }
    memmove(l->entries, l->entries + l->head, l->n * sizeof(*l->entries));
    memmove(l->seqs, l->seqs + l->head, l->n * sizeof(*l->seqs));
    l->head = 0;
}

void raft_log_append(struct raft_log *l, const struct raft_entry *e, uint64_t seq)
{
    uint64_t last_term = l->runs[l->runs_n - 1].term;

    assert(e->index == l->last + 1);
    assert(e->term >= last_term);
    log_room(l);
    l->entries[l->head + l->n] = *e;
    l->seqs[l->head + l->n] = seq;
    raft_buf_ref(e->buf);
    l->n++;
    l->last = e->index;
    l->mem_bytes += e->len;
    l->pending_bytes += e->len;
    if (e->term != last_term)
        log_runs_push(l, e->index, e->term);
}

void raft_log_truncate(struct raft_log *l, uint64_t from)
{
    assert(from > l->base && from <= l->last);
    while (l->last >= from) {
        if (l->n > 0) {
            l->n--;
            if (l->last > l->durable)
                l->pending_bytes -= l->entries[l->head + l->n].len;
            log_forget(l, l->head + l->n);
            l->last--;
        } else {
            l->last = from - 1;
        }
    }
    while (l->runs_n > 1 && l->runs[l->runs_n - 1].index >= from)
        l->runs_n--;
    l->durable = MIN(l->durable, l->last);
}

void raft_log_compact(struct raft_log *l, struct raft_position base)
{
    size_t keep = 0;

    assert(base.index >= l->base && base.index <= l->durable);
    assert(raft_log_term(l, base.index) == base.term);
    while (l->n > 0 && raft_log_mem_first(l) <= base.index) {
        log_forget(l, l->head++);
        l->n--;
    }
    while (keep + 1 < l->runs_n && l->runs[keep + 1].index <= base.index)
        keep++;
    memmove(l->runs, l->runs + keep, (l->runs_n - keep) * sizeof(*l->runs));
    l->runs_n -= keep;
    l->runs[0] = base;
    l->base = base.index;
}

/* An entry counts as durable by the write that made it: a write of the same index that was
 * replaced since says nothing about the entry that is ours now (ABA). */
void raft_log_persisted(struct raft_log *l, uint64_t seq)
{
    uint64_t first = raft_log_mem_first(l);

    while (l->durable < l->last && l->seqs[l->head + (l->durable + 1 - first)] <= seq) {
        l->pending_bytes -= l->entries[l->head + (l->durable + 1 - first)].len;
        l->durable++;
    }
}

void raft_log_trim(struct raft_log *l, uint64_t index, uint64_t bytes_max)
{
    uint64_t limit = MIN(index, l->durable);

    while (l->n > 0 && l->mem_bytes > bytes_max && raft_log_mem_first(l) <= limit) {
        log_forget(l, l->head++);
        l->n--;
    }
}

static size_t log_run_of(const struct raft_log *l, uint64_t index)
{
    size_t lo = 0, hi = l->runs_n - 1;

    if (l->runs[hi].index <= index)
        return hi;
    while (lo < hi) {
        size_t mid = (lo + hi + 1) / 2;

        if (l->runs[mid].index <= index)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

uint64_t raft_log_term(const struct raft_log *l, uint64_t index)
{
    if (index < l->base || index > l->last)
        return 0;
    return l->runs[log_run_of(l, index)].term;
}

struct raft_position raft_log_agree(const struct raft_log *l, uint64_t index, uint64_t term)
{
    size_t run;

    if (index < l->base)
        return (struct raft_position){index, 0};
    index = MIN(index, l->last);
    run = log_run_of(l, index);
    while (run > 0 && l->runs[run].term > term) {
        index = l->runs[run].index - 1;
        run--;
    }
    if (l->runs[run].term > term) /* newer from the base on: they agree somewhere below it */
        return (struct raft_position){l->base > 0 ? l->base - 1 : 0, 0};
    return (struct raft_position){index, l->runs[run].term};
}
