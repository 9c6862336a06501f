/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Rounds of heartbeats and what a majority's answers to them mean: check-quorum (T 6.2), ReadIndex
 * (T 6.4) and the leader's lease (T 6.4.1).
 */
#include "raft_internal.h"

/* One heartbeat to everyone; answers confirm that this term's leader was still us at that time. */
void raft_round_send(struct raft *r)
{
    r->round++;
    r->round_sent_ns[r->round % RAFT_ROUNDS] = r->now.ns;
    r->heartbeat_due_ns = r->now.ns + r->opt.heartbeat_ns;
    for (unsigned i = 0; i < r->peers_n; i++) {
        struct raft_msg *m = raft_emit(r, RAFT_MSG_HEARTBEAT, r->peers[i].id);

        m->heartbeat.round = r->round;
        m->heartbeat.commit = MIN(r->commit, r->peers[i].match);
    }
}

static bool read_alone(const struct raft *r)
{
    return r->quorum == 1 && r->self_voter;
}

/* Does a read wait for a round that was not sent yet? (It may wait for a commit instead, and the
 * only voter needs no round.) */
static bool read_wants_round(const struct raft *r)
{
    unsigned last = (r->reads_head + r->reads_n - 1) % r->opt.reads_max;

    return r->reads_n > 0 && r->reads[last].round > r->round && !read_alone(r);
}

void raft_round_acked(struct raft *r, struct raft_peer *p, uint64_t round)
{
    uint64_t confirmed;

    if (round > r->round || round <= p->acked_round)
        return;
    p->acked_round = round;
    if (r->round - round < RAFT_ROUNDS)
        p->acked_ns = r->round_sent_ns[round % RAFT_ROUNDS];
    confirmed = raft_quorum_u64(r, r->round, offsetof(struct raft_peer, acked_round));
    if (confirmed <= r->confirmed_round)
        return;
    r->confirmed_round = confirmed;
    raft_reads_answer(r);
    if (read_wants_round(r) && r->confirmed_round == r->round)
        raft_round_send(r); /* for those that came while this round was under way */
}

static bool read_leased(const struct raft *r)
{
    int64_t t = r->opt.election_timeout_ns;
    uint64_t sent;

    if (read_alone(r))
        return true;
    if (r->opt.lease_off || r->lease_broken)
        return false;
    sent = raft_quorum_u64(r, (uint64_t)r->now.ns, offsetof(struct raft_peer, acked_ns));
    return sent > 0 && r->now.ns < (int64_t)sent + t - t / 1000 * r->opt.lease_drift_permille;
}

static void read_answer(struct raft *r, uint64_t id, uint64_t index, int err)
{
    if (!r->answers)
        r->answers = xmalloc((r->opt.reads_max + 1) * sizeof(*r->answers));
    assert(r->out.reads_n <= r->opt.reads_max);
    r->answers[r->out.reads_n++] = (struct raft_read_answer){id, index, err};
}

int raft_read(struct raft *r, uint64_t id)
{
    struct raft_read_pending *p;
    bool committed = raft_term_committed(r);

    if (r->role != RAFT_LEADER)
        return RAFT_E_NOT_LEADER;
    if (committed && r->reads_n == 0 && read_leased(r)) {
        read_answer(r, id, r->commit, 0);
        return 0;
    }
    if (r->reads_n == r->opt.reads_max)
        return RAFT_E_BUSY;
    if (!r->reads)
        r->reads = xmalloc(r->opt.reads_max * sizeof(*r->reads));
    p = &r->reads[(r->reads_head + r->reads_n++) % r->opt.reads_max];
    *p = (struct raft_read_pending){id, committed ? r->commit : 0, r->round + 1};
    if (read_wants_round(r) && r->confirmed_round == r->round)
        raft_round_send(r);
    raft_reads_answer(r);
    return 0;
}

/* Reads whose round is confirmed, once an entry of this term is committed (R 8). */
void raft_reads_answer(struct raft *r)
{
    if (!raft_term_committed(r))
        return;
    while (r->reads_n > 0) {
        const struct raft_read_pending *p = &r->reads[r->reads_head];

        if (!read_alone(r) && p->round > r->confirmed_round)
            return;
        read_answer(r, p->id, p->index ? p->index : r->commit, 0);
        r->reads_head = (r->reads_head + 1) % r->opt.reads_max;
        r->reads_n--;
    }
}

void raft_reads_fail(struct raft *r)
{
    for (; r->reads_n > 0; r->reads_n--) {
        read_answer(r, r->reads[r->reads_head].id, 0, RAFT_E_NOT_LEADER);
        r->reads_head = (r->reads_head + 1) % r->opt.reads_max;
    }
}

/* T 6.2: a leader that no majority has answered for an election timeout is none any more. */
static bool leader_cut_off(const struct raft *r)
{
    int64_t t = r->opt.election_timeout_ns + r->opt.election_timeout_ns / 3;
    int64_t heard =
        (int64_t)raft_quorum_u64(r, (uint64_t)r->now.ns, offsetof(struct raft_peer, contact_ns));

    return r->now.ns - MAX(heard, r->led_since_ns) > t;
}

void raft_leader_timer(struct raft *r)
{
    if (leader_cut_off(r)) {
        raft_step_down(r, r->term, 0);
        return;
    }
    if (r->transfer_to && r->now.ns >= r->transfer_due_ns) {
        r->transfer_to = 0;
        r->out.notice |= RAFT_NOTICE_TRANSFER_FAILED;
    }
    if (r->now.ns >= r->heartbeat_due_ns)
        raft_round_send(r);
}
