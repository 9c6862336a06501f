/* SPDX-License-Identifier: MPL-2.0 */
/*
 * How fast is the core alone? Three servers on one core of the machine, entries of 256 bytes, no
 * disk (a write is durable at once) and no copy for the wire. Prints entries committed a second of
 * processor time, and steps, for several sizes of a proposal.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "raft_core.h"

#define SERVERS    3
#define ENTRY_LEN  256
#define RUN_NS     (1 * NS_PER_SEC)
#define COMPACT_AT 8192
#define BATCH_MAX  128

struct bench {
    struct raft *raft[SERVERS];
    struct mono_ns now;
    uint64_t steps;
};

static const struct raft_out *bench_step(struct bench *b, unsigned i, struct raft_event *ev)
{
    const struct raft_out *out;
    int err;

    ev->now = b->now;
    err = raft_step(b->raft[i], ev, &out);
    assert(err == 0);
    b->steps++;
    return out;
}

static void bench_handle(struct bench *b, unsigned i, const struct raft_out *out);

/* Field by field: to zero the whole union costs more than the step. */
static const struct raft_out *bench_message(struct bench *b, const struct raft_msg *m)
{
    struct raft_event ev;

    ev.type = RAFT_EV_MESSAGE;
    ev.msg = m;
    return bench_step(b, (unsigned)m->to - 1, &ev);
}

static void bench_persisted(struct bench *b, unsigned i, uint64_t seq)
{
    struct raft_event ev;

    ev.type = RAFT_EV_PERSISTED;
    ev.persisted.seq = seq;
    bench_handle(b, i, bench_step(b, i, &ev));
}

/* Messages first, each handled to the end; out is copied because steps of `i` overwrite it. */
static void bench_handle(struct bench *b, unsigned i, const struct raft_out *out)
{
    struct raft_msg msgs[16];
    unsigned n = out->msgs_n;
    uint64_t seq = out->seq;

    assert(n <= 16);
    memcpy(msgs, out->msgs, n * sizeof(msgs[0]));
    if (n == 2 && msgs[0].type == RAFT_MSG_APPEND) {
        /* To both followers before anything comes back: the entries lie in the leader's log. */
        const struct raft_out *o0 = bench_message(b, &msgs[0]);
        const struct raft_out *o1 = bench_message(b, &msgs[1]);

        bench_handle(b, (unsigned)msgs[0].to - 1, o0);
        bench_handle(b, (unsigned)msgs[1].to - 1, o1);
    } else {
        for (unsigned k = 0; k < n; k++)
            bench_handle(b, (unsigned)msgs[k].to - 1, bench_message(b, &msgs[k]));
    }
    if (seq)
        bench_persisted(b, i, seq);
}

static void bench_start(struct bench *b)
{
    struct raft_config c = {0};
    uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
    struct raft_entry e = {.index = 1, .term = 1, .type = RAFT_ENTRY_CONFIG};
    struct raft_event tick = {.type = RAFT_EV_TICK};

    for (unsigned i = 0; i < SERVERS; i++) {
        struct raft_server s = {.id = i + 1, .voter = true};

        raft_config_add(&c, &s);
    }
    e.buf = raft_buf_copy(bytes, (uint32_t)raft_config_encode(&c, bytes));
    e.data = e.buf->data;
    e.len = e.buf->len;
    b->now.ns = NS_PER_SEC;
    for (unsigned i = 0; i < SERVERS; i++) {
        struct raft_options opt = {.id = i + 1, .seed = i, .tail_bytes_max = 128 << 10};
        struct raft_event start = {.type = RAFT_EV_START};

        b->raft[i] = raft_new(&opt);
        raft_load_hard(b->raft[i], 1, 0);
        raft_load_entry(b->raft[i], &e);
        bench_handle(b, i, bench_step(b, i, &start));
    }
    raft_buf_unref(e.buf);
    b->now.ns += NS_PER_SEC;
    bench_handle(b, 0, bench_step(b, 0, &tick));
    assert(raft_role(b->raft[0]) == RAFT_LEADER);
}

static void bench_propose(struct bench *b, unsigned batch)
{
    struct raft_payload p[BATCH_MAX];
    struct raft_event ev;
    const struct raft_out *out;

    for (unsigned i = 0; i < batch; i++) {
        struct raft_buf *buf = raft_buf_new(ENTRY_LEN);

        memset(buf->data, 'x', ENTRY_LEN);
        p[i] = (struct raft_payload){buf, buf->data, ENTRY_LEN};
    }
    ev.type = RAFT_EV_PROPOSE;
    ev.propose.payloads = p;
    ev.propose.n = batch;
    out = bench_step(b, 0, &ev);
    for (unsigned i = 0; i < batch; i++)
        raft_buf_unref(p[i].buf);
    bench_handle(b, 0, out);
}

static void bench_compact(struct bench *b)
{
    for (unsigned i = 0; i < SERVERS; i++) {
        struct raft_snapshot_meta meta = {.index = raft_applied_index(b->raft[i])};
        struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_TAKEN, .taken = {.meta = &meta}};

        meta.term = raft_term_at(b->raft[i], meta.index);
        meta.config = *raft_config_at(b->raft[i], meta.index, &meta.config_index);
        ev.taken.log_base = (struct raft_position){meta.index, meta.term};
        bench_handle(b, i, bench_step(b, i, &ev));
    }
}

/* Of this process: what others do on the machine shall not count. */
static int64_t bench_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static void bench_run(unsigned batch)
{
    struct bench b = {0};
    int64_t begin, end;
    uint64_t first, compacted;
    double s;

    bench_start(&b);
    b.steps = 0;
    first = compacted = raft_commit_index(b.raft[0]);
    begin = bench_cpu_ns();
    do {
        for (unsigned k = 0; k < 64; k++) {
            bench_propose(&b, batch);
            b.now.ns += NS_PER_US;
        }
        if (raft_commit_index(b.raft[0]) - compacted > COMPACT_AT) {
            struct raft_event tick = {.type = RAFT_EV_TICK};

            b.now.ns += 31 * NS_PER_MS;
            bench_handle(&b, 0, bench_step(&b, 0, &tick));
            bench_compact(&b);
            compacted = raft_commit_index(b.raft[0]);
        }
        end = bench_cpu_ns();
    } while (end - begin < RUN_NS);
    s = (double)(end - begin) / 1e9;
    printf(
        "raft core, 3 servers on one core, 256 B, batch %3u: %6.2f M entries/s, %6.2f M steps/s\n",
        batch, (double)(raft_commit_index(b.raft[0]) - first) / s / 1e6, (double)b.steps / s / 1e6);
    for (unsigned i = 0; i < SERVERS; i++)
        raft_free(b.raft[i]);
}

int main(void)
{
    bench_run(1);
    bench_run(16);
    bench_run(BATCH_MAX);
    return 0;
}
