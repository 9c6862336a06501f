/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Events in, effects out; terms and roles change here only.
 */
#include <errno.h>
#include <string.h>

#include "raft_internal.h"

static const char *const role_names[] = {
    [RAFT_FOLLOWER] = "follower",
    [RAFT_PRE_CANDIDATE] = "pre-candidate",
    [RAFT_CANDIDATE] = "candidate",
    [RAFT_LEADER] = "leader",
};

/* Rows: from; columns: to. A leader is never deposed to candidate, nobody leads without votes. */
static const bool role_allowed[4][4] = {
    [RAFT_FOLLOWER] =
        {[RAFT_FOLLOWER] = true, [RAFT_PRE_CANDIDATE] = true, [RAFT_CANDIDATE] = true},
    [RAFT_PRE_CANDIDATE] =
        {[RAFT_FOLLOWER] = true, [RAFT_PRE_CANDIDATE] = true, [RAFT_CANDIDATE] = true},
    [RAFT_CANDIDATE] = {[RAFT_FOLLOWER] = true,
                        [RAFT_PRE_CANDIDATE] = true,
                        [RAFT_CANDIDATE] = true,
                        [RAFT_LEADER] = true},
    [RAFT_LEADER] = {[RAFT_FOLLOWER] = true},
};

static const char *const error_texts[] = {
    [RAFT_E_NOT_LEADER] = "not the leader",
    [RAFT_E_BUSY] = "too much is uncommitted",
    [RAFT_E_TRANSFERRING] = "leadership is being transferred",
    [RAFT_E_CHANGE_PENDING] = "a configuration change is under way",
    [RAFT_E_NOT_CAUGHT_UP] = "the server's log is too far behind",
    [RAFT_E_NO_SUCH_SERVER] = "no such server",
    [RAFT_E_BAD_CHANGE] = "the change makes no valid configuration",
    [RAFT_E_BAD_MESSAGE] = "invalid message",
    [RAFT_E_TOO_LARGE] = "entry too large",
};

const char *raft_role_name(enum raft_role role)
{
    return role_names[role];
}

const char *raft_error_text(int err)
{
    if (err <= 0 || (size_t)err >= ARRAY_LEN(error_texts))
        return "unknown";
    return error_texts[err];
}

/* ---- effects ---- */

struct raft_msg *raft_emit(struct raft *r, enum raft_msg_type type, uint64_t to)
{
    struct raft_msg *m;

    assert(r->out.msgs_n < RAFT_MSGS_MAX);
    assert(to != r->opt.id);
    r->msg_first[r->out.msgs_n] = 0;
    m = &r->msgs[r->out.msgs_n++];
    m->type = (uint8_t)type;
    m->from = r->opt.id;
    m->to = to;
    m->term = r->term;
    return m;
}

uint64_t raft_write_seq(struct raft *r)
{
    r->writing = true;
    return r->seq + 1;
}

static void core_hard_changed(struct raft *r)
{
    raft_write_seq(r);
    r->out.hard_changed = true;
    r->out.sync_before_send = true;
}

void raft_set_term(struct raft *r, uint64_t term)
{
    assert(term > r->term);
    r->term = term;
    r->vote = 0;
    r->matched = r->acked = 0;
    r->ack_owed = false;
    r->out.notice |= RAFT_NOTICE_ROLE;
    core_hard_changed(r);
}

void raft_set_vote(struct raft *r, uint64_t vote)
{
    assert(vote != 0 && (r->vote == 0 || r->vote == vote));
    if (r->vote == vote)
        return;
    r->vote = vote;
    core_hard_changed(r);
}

void raft_set_leader(struct raft *r, uint64_t leader)
{
    if (r->leader == leader)
        return;
    r->leader = leader;
    r->out.notice |= RAFT_NOTICE_LEADER;
}

void raft_set_role(struct raft *r, enum raft_role role)
{
    assert(role_allowed[r->role][role]);
    if (r->role != role)
        r->out.notice |= RAFT_NOTICE_ROLE;
    r->role = role;
}

/* Becomes (or stays) a follower; term may be the current one. */
void raft_step_down(struct raft *r, uint64_t term, uint64_t leader)
{
    bool was = r->role != RAFT_FOLLOWER;

    assert(term >= r->term);
    if (r->role == RAFT_LEADER) {
        raft_reads_fail(r);
        r->transfer_to = 0;
        r->uncommitted_bytes = 0;
    }
    if (term > r->term)
        raft_set_term(r, term);
    raft_set_role(r, RAFT_FOLLOWER);
    raft_set_leader(r, leader);
    r->campaign_transfer = false;
    if (was)
        raft_election_arm(r);
}

void raft_set_commit(struct raft *r, uint64_t commit)
{
    assert(commit <= r->log.last);
    if (commit <= r->commit)
        return;
    if (r->role == RAFT_LEADER) {
        for (uint64_t i = r->commit + 1; i <= commit; i++) {
            const struct raft_entry *e = raft_log_entry(&r->log, i);

            if (e)
                r->uncommitted_bytes -= MIN(r->uncommitted_bytes, e->len);
        }
    }
    if (raft_config_last(r)->index > r->commit && raft_config_last(r)->index <= commit)
        r->out.notice |= RAFT_NOTICE_CONFIG_COMMITTED;
    r->commit = commit;
    r->out.notice |= RAFT_NOTICE_COMMIT;
}

void raft_append_own(struct raft *r, uint8_t type, const struct raft_payload *p)
{
    struct raft_entry e = {.index = r->log.last + 1, .term = r->term, .type = type};

    assert(r->role == RAFT_LEADER);
    if (p) {
        e.buf = p->buf;
        e.data = p->data;
        e.len = p->len;
    }
    raft_log_append(&r->log, &e, raft_write_seq(r));
    r->uncommitted_bytes += e.len;
    if (r->append_first == 0)
        r->append_first = e.index;
    r->append_last = e.index;
}

struct raft_peer *raft_peer_find(struct raft *r, uint64_t id)
{
    for (unsigned i = 0; i < r->peers_n; i++)
        if (r->peers[i].id == id)
            return &r->peers[i];
    return NULL;
}

uint64_t raft_quorum_u64(const struct raft *r, uint64_t own, size_t peer_offset)
{
    uint64_t v[RAFT_SERVERS_MAX];
    unsigned n = 0;

    if (r->self_voter)
        v[n++] = own;
    for (unsigned i = 0; i < r->peers_n; i++) {
        uint64_t x;
        unsigned at;

        if (!r->peers[i].voter)
            continue;
        memcpy(&x, (const char *)&r->peers[i] + peer_offset, sizeof(x));
        for (at = n++; at > 0 && v[at - 1] < x; at--)
            v[at] = v[at - 1];
        v[at] = x;
    }
    return n < r->quorum || n == 0 ? 0 : v[r->quorum - 1];
}

/* ---- messages ---- */

/* A peer that talks from an older term learns ours; a leader among them steps down (R 5.1). */
static void core_answer_old_term(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg *reply;

    switch ((enum raft_msg_type)m->type) {
    case RAFT_MSG_VOTE:
        reply = raft_emit(r, RAFT_MSG_VOTE_REPLY, m->from);
        reply->vote_reply.vote_term = m->vote.vote_term;
        reply->vote_reply.pre = m->vote.pre;
        reply->vote_reply.granted = false;
        break;
    case RAFT_MSG_APPEND:
    case RAFT_MSG_HEARTBEAT:
    case RAFT_MSG_SNAPSHOT:
        reply = raft_emit(r, RAFT_MSG_HEARTBEAT_REPLY, m->from);
        reply->heartbeat_reply.round = 0;
        reply->heartbeat_reply.matched = 0;
        reply->heartbeat_reply.match = 0;
        break;
    case RAFT_MSG_VOTE_REPLY:
    case RAFT_MSG_APPEND_REPLY:
    case RAFT_MSG_HEARTBEAT_REPLY:
    case RAFT_MSG_SNAPSHOT_REPLY:
    case RAFT_MSG_TIMEOUT_NOW:
        break;
    }
}

/* APPEND, HEARTBEAT and SNAPSHOT of a current leader. */
static int core_from_leader(struct raft *r, const struct raft_msg *m)
{
    if (r->role == RAFT_LEADER && m->term == r->term)
        return RAFT_E_BAD_MESSAGE; /* two leaders in a term: one of them is not a correct server */
    raft_step_down(r, m->term, m->from);
    r->heard_ns = r->now.ns;
    r->election_due_ns = r->now.ns + r->timeout_ns;
    switch ((enum raft_msg_type)m->type) {
    case RAFT_MSG_APPEND:
        return raft_on_append(r, m);
    case RAFT_MSG_HEARTBEAT:
        return raft_on_heartbeat(r, m);
    default: /* rule zero: the caller has sorted out the rest */
        return raft_on_snapshot(r, m);
    }
}

static int core_message(struct raft *r, const struct raft_msg *m)
{
    struct raft_peer *p;

    if (m->to != r->opt.id || m->from == 0 || m->from == r->opt.id || m->term == 0)
        return RAFT_E_BAD_MESSAGE;
    /* Votes have their own rules for higher terms: a pre-vote changes nothing (T 9.6), and while
     * a leader is alive candidates are not heard (T 4.2.3). */
    if (m->type == RAFT_MSG_VOTE && m->term >= r->term)
        return raft_on_vote(r, m);
    /* A pre-vote leaves the voter in its older term: vote_term says what it is about. */
    if (m->type == RAFT_MSG_VOTE_REPLY && m->vote_reply.pre && m->term < r->term)
        return raft_on_vote_reply(r, m);
    if (m->term < r->term) {
        core_answer_old_term(r, m);
        return 0;
    }
    if (m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_HEARTBEAT || m->type == RAFT_MSG_SNAPSHOT)
        return core_from_leader(r, m);
    if (m->term > r->term)
        raft_step_down(r, m->term, 0);
    p = raft_peer_find(r, m->from);
    if (p)
        p->contact_ns = r->now.ns;
    switch ((enum raft_msg_type)m->type) {
    case RAFT_MSG_VOTE_REPLY:
        return raft_on_vote_reply(r, m);
    case RAFT_MSG_APPEND_REPLY:
        return raft_on_append_reply(r, m);
    case RAFT_MSG_HEARTBEAT_REPLY:
        return raft_on_heartbeat_reply(r, m);
    case RAFT_MSG_SNAPSHOT_REPLY:
        return raft_on_snapshot_reply(r, m);
    case RAFT_MSG_TIMEOUT_NOW:
        return raft_on_timeout_now(r, m);
    case RAFT_MSG_VOTE:
    case RAFT_MSG_APPEND:
    case RAFT_MSG_HEARTBEAT:
    case RAFT_MSG_SNAPSHOT:
        break;
    }
    return RAFT_E_BAD_MESSAGE;
}

/* ---- the other events ---- */

/*
 * The only voter, and as far as the log goes back there was no other: nobody can hold a lease that
 * this server has granted. Else it waits like everybody: the change that made it the only voter may
 * be uncommitted, and the old leader still reading by its lease.
 */
static bool core_always_alone(const struct raft *r)
{
    for (unsigned i = 0; i < r->configs_n; i++) {
        const struct raft_config *c = &r->configs[i].config;

        if (c->n > 0 && (raft_config_voters(c) != 1 || !raft_config_is_voter(c, r->opt.id)))
            return false;
    }
    return r->self_voter;
}

static int core_start(struct raft *r, uint64_t applied)
{
    if (r->started)
        return -EINVAL;
    r->started = true;
    assert(r->log.durable == r->log.last);
    /* Applied means committed. A state machine ahead of the log (its page cache survived, the
     * log's tail did not) is not handed those entries again when they come back. */
    r->handed = MAX(applied, r->snap.index);
    r->commit = MAX(MIN(applied, r->log.last), r->snap.index);
    /* We may have promised a leader's lease just before the restart (T 6.4.1). */
    r->heard_ns = r->now.ns;
    raft_config_use(r);
    raft_election_arm(r);
    if (core_always_alone(r))
        raft_campaign(r, false);
    return 0;
}

static int core_persisted(struct raft *r, uint64_t seq)
{
    uint64_t before = r->log.durable;

    if (seq > r->seq)
        return -EINVAL;
    raft_log_persisted(&r->log, seq);
    raft_election_persisted(r, seq);
    if (r->log.durable == before || r->inst.installing)
        return 0;
    if (r->role == RAFT_LEADER)
        raft_leader_commit(r);
    else
        raft_follower_ack(r);
    return 0;
}

static int core_propose(struct raft *r, const struct raft_payload *payloads, unsigned n)
{
    uint64_t bytes = 0;

    if (r->role != RAFT_LEADER)
        return RAFT_E_NOT_LEADER;
    if (r->transfer_to)
        return RAFT_E_TRANSFERRING;
    for (unsigned i = 0; i < n; i++) {
        if (payloads[i].len > r->opt.entry_bytes_max)
            return RAFT_E_TOO_LARGE;
        bytes += payloads[i].len;
    }
    if (r->uncommitted_bytes > 0 && r->uncommitted_bytes + bytes > r->opt.uncommitted_bytes_max)
        return RAFT_E_BUSY;
    r->out.proposed_first = r->log.last + 1;
    r->out.proposed_term = r->term;
    for (unsigned i = 0; i < n; i++)
        raft_append_own(r, RAFT_ENTRY_COMMAND, &payloads[i]);
    raft_peers_send(r);
    return 0;
}

static int core_tick(struct raft *r)
{
    if (r->role == RAFT_LEADER)
        raft_leader_timer(r);
    else
        raft_election_timer(r);
    return 0;
}

static int core_event(struct raft *r, const struct raft_event *ev)
{
    if (!r->started && ev->type != RAFT_EV_START)
        return -EINVAL;
    switch (ev->type) {
    case RAFT_EV_START:
        return core_start(r, ev->start.applied);
    case RAFT_EV_TICK:
        return core_tick(r);
    case RAFT_EV_MESSAGE:
        return core_message(r, ev->msg);
    case RAFT_EV_PERSISTED:
        return core_persisted(r, ev->persisted.seq);
    case RAFT_EV_PROPOSE:
        return core_propose(r, ev->propose.payloads, ev->propose.n);
    case RAFT_EV_CHANGE:
        return raft_change_propose(r, ev);
    case RAFT_EV_READ:
        return raft_read(r, ev->read.id);
    case RAFT_EV_TRANSFER:
        return raft_transfer(r, ev->transfer.to);
    case RAFT_EV_FETCHED:
        return raft_fetched(r, ev);
    case RAFT_EV_SNAPSHOT_TAKEN:
        return raft_snapshot_taken(r, ev);
    case RAFT_EV_SNAPSHOT_CHUNK:
        return raft_snapshot_chunk(r, ev);
    case RAFT_EV_SNAPSHOT_INSTALLED:
        return raft_snapshot_installed(r, ev);
    }
    return -EINVAL;
}

/* ---- the step ---- */

static void core_begin(struct raft *r)
{
    struct raft_out *o = &r->out;

    o->seq = o->truncate_from = o->apply_first = o->apply_last = 0;
    o->sync_before_send = o->hard_changed = false;
    o->append_n = o->msgs_n = o->reads_n = o->fetches_n = o->chunk_reads_n = 0;
    o->append = NULL;
    o->install = NULL;
    o->notice = 0;
    o->proposed_first = o->proposed_term = 0;
    r->writing = false;
    r->append_first = r->append_last = 0;
    raft_log_trim(&r->log, r->commit, r->opt.tail_bytes_max);
}

static struct mono_ns core_deadline(const struct raft *r)
{
    int64_t ns = r->election_due_ns;

    if (r->role == RAFT_LEADER) {
        ns = r->heartbeat_due_ns;
        if (r->transfer_to)
            ns = MIN(ns, r->transfer_due_ns);
    } else if (r->role != RAFT_FOLLOWER) {
        ns = MIN(ns, r->resend_due_ns);
    }
    return (struct mono_ns){ns};
}

/* The log does not move any more in this step: indexes become pointers into it. */
static void core_finish(struct raft *r)
{
    struct raft_out *o = &r->out;
    uint64_t ready = MIN(r->commit, r->log.durable);

    if (r->writing) {
        o->seq = ++r->seq;
        o->hard.term = r->term;
        o->hard.vote = r->vote;
    }
    if (r->append_first) {
        o->append = raft_log_entry(&r->log, r->append_first);
        o->append_n = (unsigned)(r->append_last - r->append_first + 1);
        assert(o->append && r->append_last == r->log.last);
    }
    for (unsigned i = 0; i < o->msgs_n; i++) {
        if (r->msg_first[i])
            r->msgs[i].append.entries = raft_log_entry(&r->log, r->msg_first[i]);
    }
    if (ready > r->handed && !r->inst.installing) {
        o->apply_first = r->handed + 1;
        o->apply_last = r->handed = ready;
    }
    o->msgs = r->msgs;
    o->reads = r->answers;
    o->fetches = r->fetches;
    o->chunk_reads = r->chunk_reads;
    o->deadline = core_deadline(r);
}

int raft_step(struct raft *r, const struct raft_event *ev, const struct raft_out **ret_out)
{
    int err;

    core_begin(r);
    if (ev->now.ns > r->now.ns)
        r->now = ev->now;
    err = core_event(r, ev);
    core_finish(r);
    *ret_out = &r->out;
    return err;
}
