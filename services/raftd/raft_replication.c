/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The leader's side of replication (R 5.3, T 10.2.1), and commit (R 5.4.2).
 */
#include <errno.h>

#include "raft_internal.h"

void raft_peer_probe(struct raft_peer *p, uint64_t next)
{
    assert(next > p->match);
    p->state = PEER_PROBE;
    p->next = next;
    p->probe_sent = false;
    p->fetching = false;
    p->chunk_reading = false;
    p->inflight_head = p->inflight_n = 0;
}

static void peer_replicate(struct raft_peer *p)
{
    p->state = PEER_REPLICATE;
    p->next = p->match + 1;
    p->fetching = false;
    p->chunk_reading = false;
    p->inflight_head = p->inflight_n = 0;
}

static void inflight_push(struct raft *r, struct raft_peer *p, uint64_t last)
{
    unsigned at = p->inflight_head + p->inflight_n;

    assert(p->inflight_n < r->opt.inflight_max);
    if (!p->inflight)
        p->inflight = xmalloc(r->opt.inflight_max * sizeof(*p->inflight));
    p->inflight[at >= r->opt.inflight_max ? at - r->opt.inflight_max : at] = last;
    p->inflight_n++;
}

static void inflight_free(struct raft *r, struct raft_peer *p, uint64_t match)
{
    while (p->inflight_n > 0 && p->inflight[p->inflight_head] <= match) {
        if (++p->inflight_head == r->opt.inflight_max)
            p->inflight_head = 0;
        p->inflight_n--;
    }
}

/* How many entries from `first` on go into one message. At least one. */
static unsigned entries_fit(const struct raft *r, uint64_t first)
{
    const struct raft_entry *e = raft_log_entry(&r->log, first);
    uint64_t n_max = MIN(r->log.last - first + 1, r->opt.msg_entries_max);
    uint64_t bytes = e[0].len;
    unsigned n = 1;

    while (n < n_max && bytes + e[n].len <= r->opt.msg_bytes_max)
        bytes += e[n++].len;
    return n;
}

static struct raft_msg *peer_append(struct raft *r, struct raft_peer *p, unsigned n)
{
    struct raft_msg *m = raft_emit(r, RAFT_MSG_APPEND, p->id);

    m->append.prev_index = p->next - 1;
    m->append.prev_term = raft_log_term(&r->log, p->next - 1);
    m->append.commit = r->commit;
    m->append.entries = NULL;
    m->append.n = n;
    p->append_round = r->round;
    if (p->state == PEER_PROBE) {
        p->probe_sent = true;
    } else if (n > 0) {
        p->next += n;
        inflight_push(r, p, p->next - 1);
    }
    return m;
}

static void peer_fetch(struct raft *r, struct raft_peer *p)
{
    uint64_t n = MIN(raft_log_mem_first(&r->log) - p->next, r->opt.msg_entries_max);

    assert(r->out.fetches_n < RAFT_SERVERS_MAX);
    r->fetches[r->out.fetches_n++] = (struct raft_fetch){
        .peer = p->id, .first = p->next, .n = (unsigned)n, .bytes_max = r->opt.msg_bytes_max};
    p->fetching = true;
}

static bool peer_may_send(const struct raft *r, const struct raft_peer *p)
{
    switch (p->state) {
    case PEER_PROBE:
        return !p->probe_sent && !p->fetching;
    case PEER_REPLICATE:
        return p->inflight_n < r->opt.inflight_max && !p->fetching;
    case PEER_SNAPSHOT:
        return false;
    }
    return false;
}

/* Sends what the peer's state allows, at most RAFT_SENDS_MAX messages; the rest follows on its
 * acknowledgements. `even_empty`: one message also when there is no entry, to learn where it is. */
void raft_peer_send(struct raft *r, struct raft_peer *p, bool even_empty)
{
    for (unsigned sent = 0; sent < RAFT_SENDS_MAX && peer_may_send(r, p); sent++) {
        unsigned n;

        if (p->next <= r->log.base) {
            raft_peer_snapshot(r, p);
            return;
        }
        if (p->next > r->log.last) {
            if (even_empty && sent == 0)
                peer_append(r, p, 0);
            return;
        }
        if (p->next < raft_log_mem_first(&r->log)) {
            peer_fetch(r, p);
            return;
        }
        n = entries_fit(r, p->next);
        peer_append(r, p, n);
        r->msg_first[r->out.msgs_n - 1] = r->msgs[r->out.msgs_n - 1].append.prev_index + 1;
    }
}

void raft_peers_send(struct raft *r)
{
    for (unsigned i = 0; i < r->peers_n; i++)
        raft_peer_send(r, &r->peers[i], false);
}

/* The entries that were not in memory. */
int raft_fetched(struct raft *r, const struct raft_event *ev)
{
    struct raft_peer *p = raft_peer_find(r, ev->fetched.peer);
    struct raft_msg *m;
    unsigned n = ev->fetched.n;

    if (!p || r->role != RAFT_LEADER || !p->fetching)
        return 0;
    if (ev->fetched.first != p->next) {
        /* Asked for before its progress changed. */
        p->fetching = false;
        raft_peer_send(r, p, false);
        return 0;
    }
    p->fetching = false;
    if (ev->fetched.err || n == 0 || p->next <= r->log.base) {
        raft_peer_snapshot(r, p);
        return 0;
    }
    for (unsigned i = 0; i < n; i++) {
        const struct raft_entry *e = &ev->fetched.entries[i];

        if (e->index != p->next + i || e->term != raft_log_term(&r->log, e->index))
            return -EINVAL;
    }
    if (!peer_may_send(r, p))
        return 0;
    m = peer_append(r, p, n);
    m->append.entries = ev->fetched.entries;
    if (p->state == PEER_REPLICATE)
        raft_peer_send(r, p, false);
    return 0;
}

/* `match` is on the peer's disk and equal to our log. */
void raft_peer_acked(struct raft *r, struct raft_peer *p, uint64_t match)
{
    if (match > p->match)
        p->match = match;
    switch (p->state) {
    case PEER_PROBE:
        if (p->match + 1 >= p->next)
            peer_replicate(p);
        break; /* or it is an old answer, or what the probe brought is not durable there yet */
    case PEER_REPLICATE:
        inflight_free(r, p, p->match);
        p->next = MAX(p->next, p->match + 1);
        break;
    case PEER_SNAPSHOT:
        if (p->match >= r->log.base)
            peer_replicate(p);
        break;
    }
    raft_leader_commit(r);
    if (r->role != RAFT_LEADER)
        return;
    if (r->transfer_to)
        raft_transfer_check(r, p);
    raft_peer_send(r, p, false);
}

/*
 * R 5.4.2: what a majority of disks holds is committed if it is of this term; what is older comes
 * with it. Our own disk counts like the others.
 */
void raft_leader_commit(struct raft *r)
{
    uint64_t q = raft_quorum_u64(r, r->log.durable, offsetof(struct raft_peer, match));

    if (q <= r->commit || raft_log_term(&r->log, q) != r->term)
        return;
    raft_set_commit(r, q);
    raft_reads_answer(r);
    if (!r->self_voter && r->commit >= raft_config_last(r)->index) {
        /* T 4.2.2: the change that takes us out is committed. */
        raft_transfer_best(r);
        raft_step_down(r, r->term, 0);
    }
}

static void peer_rejected(struct raft *r, struct raft_peer *p, const struct raft_msg *m)
{
    uint64_t prev = m->append_reply.reject_prev;
    uint64_t next;

    /* Stale: since then it has acknowledged more, or it is not the probe under way (trap B). */
    if (prev <= p->match || p->state == PEER_SNAPSHOT)
        return;
    if (p->state == PEER_PROBE && prev != p->next - 1)
        return;
    /* T 5.3: skip the whole run of terms in which the logs differ. */
    next = MIN(
        prev,
        raft_log_agree(&r->log, m->append_reply.hint_index, m->append_reply.hint_term).index + 1);
    raft_peer_probe(p, MAX(next, p->match + 1));
    raft_peer_send(r, p, true);
}

int raft_on_append_reply(struct raft *r, const struct raft_msg *m)
{
    struct raft_peer *p = raft_peer_find(r, m->from);

    if (r->role != RAFT_LEADER || !p)
        return 0;
    if (m->append_reply.rejected) {
        peer_rejected(r, p, m);
        return 0;
    }
    if (m->append_reply.match > r->log.last)
        return RAFT_E_BAD_MESSAGE;
    raft_peer_acked(r, p, m->append_reply.match);
    return 0;
}

int raft_on_heartbeat_reply(struct raft *r, const struct raft_msg *m)
{
    struct raft_peer *p = raft_peer_find(r, m->from);
    uint64_t round = m->heartbeat_reply.round, matched = m->heartbeat_reply.matched;

    if (r->role != RAFT_LEADER || !p)
        return 0;
    if (round > r->round || matched > r->log.last || m->heartbeat_reply.match > matched)
        return RAFT_E_BAD_MESSAGE;
    raft_round_acked(r, p, round);
    if (m->heartbeat_reply.match > p->match)
        raft_peer_acked(r, p, m->heartbeat_reply.match);
    if (r->role != RAFT_LEADER)
        return 0;
    if (p->state == PEER_SNAPSHOT) {
        /* Installing takes a while, and a chunk is large: no hurry to repeat it. */
        if (r->now.ns - p->chunk_ns > 2 * r->opt.election_timeout_ns)
            raft_peer_chunk(r, p);
        return 0;
    }
    if (round <= p->append_round || p->fetching)
        return 0;
    /* It answered a heartbeat sent after our last APPEND and has not got that: it was lost, or the
     * peer has restarted and does not know any more where it agrees with us. */
    if (p->state == PEER_PROBE)
        p->probe_sent = false;
    else if (matched + 1 < p->next)
        raft_peer_probe(p, MAX(matched, p->match) + 1);
    raft_peer_send(r, p, p->state == PEER_PROBE);
    return 0;
}
