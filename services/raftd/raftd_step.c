/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Events into the core, its effects out, in the core's order (raft_core.h): queue the writes, send
 * (or hold) the messages, note what to apply, answer reads, serve the disk. Proposals and entries
 * to apply are collected during one turn of the loop and handled together at its end: one step and
 * one LMDB transaction for all of them. Only the disk's answers step again from within
 * raftd_effects(), as its last act; what else would (requests that go on because the leader
 * changed, reads that were answered) waits for that end.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "raftd.h"

#define APPLY_BATCH_MAX 256
#define APPLY_NS        (8 * NS_PER_MS) /* then the loop listens again: a heartbeat is due every 30 ms */
#define READ_BYTES_MAX  (4u << 20)
#define LATE_NS         (10 * NS_PER_MS) /* this loop, or the whole process, stood still */
#define LATE_WAIT_MS    5

bool raftd_is_leader(const struct raftd *rd)
{
    return rd->started && raft_role(rd->raft) == RAFT_LEADER;
}

static void on_idle(uv_idle_t *h)
{
    (void)h; /* its being active keeps the loop from sleeping: on_check comes next */
}

void raftd_wake(struct raftd *rd)
{
    if (rd->idle_on)
        return;
    rd->idle_on = true;
    uv_idle_start(&rd->idle, on_idle);
}

static void on_tick(uv_timer_t *t)
{
    struct raftd *rd = t->data;
    struct raft_event ev = {.type = RAFT_EV_TICK};

    /* Late means that messages wait, too: the leader's word may lie in the socket. It is heard
     * first, or a busy machine would hold elections because nobody had time to listen. */
    if (!rd->tick_late && clock_mono().ns - rd->tick_at_ns > LATE_NS && !raftd_is_leader(rd)) {
        rd->tick_late = true;
        uv_timer_start(t, on_tick, LATE_WAIT_MS, 0);
        return;
    }
    rd->tick_at_ns = 0;
    rd->tick_late = false;
    raftd_step(rd, &ev);
}

static void arm_tick(struct raftd *rd, struct mono_ns at)
{
    int64_t now = clock_mono().ns, ms;

    if (at.ns == rd->tick_at_ns)
        return;
    rd->tick_at_ns = at.ns;
    rd->tick_late = false;
    ms = at.ns <= now ? 0 : (at.ns - now + NS_PER_MS - 1) / NS_PER_MS;
    uv_update_time(rd->ctx->loop);
    uv_timer_start(&rd->tick, on_tick, (uint64_t)ms, 0);
}

/* Role and leader as they are now, against what was last seen. */
static void note_changes(struct raftd *rd, unsigned notice)
{
    enum raft_role role = raft_role(rd->raft);
    uint64_t leader = raft_leader(rd->raft);
    bool was_leader = rd->role == RAFT_LEADER;

    if (notice & (RAFT_NOTICE_CONFIG | RAFT_NOTICE_CONFIG_COMMITTED))
        raftd_peers_update(rd);
    if (notice & RAFT_NOTICE_ROLE) {
        log_info("role=%s term=%llu last_index=%llu", raft_role_name(role),
                 (unsigned long long)raft_term(rd->raft),
                 (unsigned long long)raft_last_index(rd->raft));
        rd->role = role;
        if (was_leader) {
            rd->ready = false;
            raftd_nodes_unlead(rd);
            raftd_sched_unlead(rd);
            raftd_write_leadership_lost(rd);
        }
    }
    if (leader != rd->leader || (notice & RAFT_NOTICE_ROLE)) {
        rd->leader = leader;
        rd->leader_changed = true;
        raftd_status_put(rd);
        raftd_wake(rd);
    }
}

void raftd_effects(struct raftd *rd, const struct raft_out *out)
{
    if (out->seq)
        raftd_disk_write(rd, out);
    raftd_peers_send(rd, out);
    if (out->apply_last) {
        if (!rd->apply_next)
            rd->apply_next = out->apply_first;
        rd->apply_last = out->apply_last;
        raftd_wake(rd);
    }
    arm_tick(rd, out->deadline);
    for (unsigned i = 0; i < out->reads_n; i++)
        raftd_rpc_read_answered(rd, &out->reads[i]);
    if (out->notice)
        note_changes(rd, out->notice);
    raftd_disk_serve(rd, out); /* last: it steps again, which overwrites *out */
}

int raftd_step_result(struct raftd *rd, struct raft_event *ev, const struct raft_out **ret_out)
{
    ev->now = clock_mono();
    return raft_step(rd->raft, ev, ret_out);
}

void raftd_step(struct raftd *rd, struct raft_event *ev)
{
    const struct raft_out *out = NULL;
    int r = raftd_step_result(rd, ev, &out);

    if (r != 0)
        log_debug("the core refused an event type=%d error=%s", (int)ev->type,
                  r > 0 ? raft_error_text(r) : strerror(-r));
    raftd_effects(rd, out);
}

/* ---- applying ---- */

static enum fsm_entry_kind kind_of(uint8_t type)
{
    switch ((enum raft_entry_type)type) {
    case RAFT_ENTRY_COMMAND:
        return FSM_ENTRY_COMMAND;
    case RAFT_ENTRY_NOOP:
        return FSM_ENTRY_NOOP;
    case RAFT_ENTRY_CONFIG:
        return FSM_ENTRY_CONFIGURATION;
    }
    return FSM_ENTRY_NOOP;
}

/* Up to max entries from `first`: from memory, or else from the log. */
static int collect(struct raftd *rd, uint64_t first, unsigned max, struct raft_entry *from_disk,
                   struct raft_buf **ret_buf, struct fsm_entry *ret)
{
    const struct raft_entry *e = raft_entry_at(rd->raft, first);
    unsigned n = 0;

    if (!e) {
        int r = wal_read(rd->disk.wal, first, max, READ_BYTES_MAX, from_disk, ret_buf);

        for (int i = 0; i < r; i++)
            ret[i] = (struct fsm_entry){from_disk[i].index,
                                        from_disk[i].term,
                                        kind_of(from_disk[i].type),
                                        {from_disk[i].data, from_disk[i].len}};
        return r;
    }
    for (; e && n < max; e = raft_entry_at(rd->raft, first + n)) {
        ret[n++] = (struct fsm_entry){e->index, e->term, kind_of(e->type), {e->data, e->len}};
    }
    return (int)n;
}

static bool enough_applied(void *user)
{
    const int64_t *until_ns = user;

    return clock_mono().ns >= *until_ns;
}

static void apply_some(struct raftd *rd)
{
    struct raft_entry from_disk[APPLY_BATCH_MAX];
    struct fsm_entry entries[APPLY_BATCH_MAX];
    struct fsm_result results[APPLY_BATCH_MAX];
    struct raft_buf *buf = NULL;
    uint64_t left = rd->apply_last - rd->apply_next + 1;
    unsigned want = (unsigned)MIN(left, (uint64_t)APPLY_BATCH_MAX);
    int n = collect(rd, rd->apply_next, want, from_disk, &buf, entries);
    int64_t until_ns = clock_mono().ns + APPLY_NS;
    size_t done = 0;
    int r = n > 0 ? fsm_apply_until(rd->fsm, entries, (size_t)n, results, enough_applied, &until_ns,
                                    &done)
                  : n;

    if (r < 0 || n == 0) {
        svc_fatal(rd->ctx, "cannot apply entry %llu: %s", (unsigned long long)rd->apply_next,
                  n == 0 ? "the log does not have it" : strerror(-r));
        rd->apply_next = 0;
        raft_buf_unref(buf);
        return;
    }
    rd->apply_next += done;
    if (rd->apply_next > rd->apply_last)
        rd->apply_next = 0;
    for (size_t i = 0; i < done; i++)
        raftd_write_applied(rd, entries[i].index, entries[i].term, &results[i]);
    raft_buf_unref(buf);
}

static void become_ready(struct raftd *rd)
{
    if (rd->ready || !raftd_is_leader(rd) || fsm_applied_term(rd->fsm) != raft_term(rd->raft))
        return;
    rd->ready = true;
    log_info("leading term=%llu applied=%llu", (unsigned long long)raft_term(rd->raft),
             (unsigned long long)fsm_applied_index(rd->fsm));
    raftd_nodes_lead(rd);
    raftd_sched_lead(rd);
    raftd_members_reconcile(rd);
    rd->leader_changed = true;
}

static void on_check(uv_check_t *h)
{
    struct raftd *rd = h->data;

    if (!rd->idle_on)
        return;
    rd->idle_on = false;
    uv_idle_stop(&rd->idle);
    raftd_write_flush(rd);
    if (rd->apply_next && !rd->installing) {
        apply_some(rd);
        become_ready(rd);
        raftd_disk_consider_snapshot(rd);
    }
    raftd_sched_run(rd);
    raftd_peers_sweep(rd);
    raftd_rpc_reads_run(rd);
    if (rd->leader_changed) {
        rd->leader_changed = false;
        raftd_rpc_leader_changed(rd);
    }
    if (rd->apply_next || rd->queued || rd->leader_changed)
        raftd_wake(rd);
}

int raftd_step_init(struct raftd *rd)
{
    uv_timer_init(rd->ctx->loop, &rd->tick);
    rd->tick.data = rd;
    uv_idle_init(rd->ctx->loop, &rd->idle);
    uv_check_init(rd->ctx->loop, &rd->check);
    rd->check.data = rd;
    uv_timer_init(rd->ctx->loop, &rd->hold_timer);
    rd->hold_timer.data = rd;
    uv_timer_init(rd->ctx->loop, &rd->crowd_timer);
    rd->crowd_timer.data = rd;
    uv_timer_init(rd->ctx->loop, &rd->beat);
    rd->beat.data = rd;
    return uv_check_start(&rd->check, on_check);
}
