/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The follower's side of replication (R 5.3).
 */
#include "raft_internal.h"

/* Tells the leader what is on our disk and equal to its log. */
static void follower_reply(struct raft *r, uint64_t to)
{
    struct raft_msg *m = raft_emit(r, RAFT_MSG_APPEND_REPLY, to);

    m->append_reply.rejected = false;
    m->append_reply.reject_prev = m->append_reply.hint_index = m->append_reply.hint_term = 0;
    m->append_reply.match = r->acked = MIN(r->matched, r->log.durable);
    r->ack_owed = r->log.durable < r->matched;
}

void raft_follower_ack(struct raft *r)
{
    if (r->ack_owed && r->leader && MIN(r->matched, r->log.durable) > r->acked)
        follower_reply(r, r->leader);
}

static void follower_reject(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg *reply = raft_emit(r, RAFT_MSG_APPEND_REPLY, m->from);
    struct raft_position hint =
        raft_log_agree(&r->log, MIN(m->append.prev_index, r->log.last), m->append.prev_term);

    reply->append_reply.rejected = true;
    reply->append_reply.match = 0;
    reply->append_reply.reject_prev = m->append.prev_index;
    reply->append_reply.hint_index = hint.index;
    reply->append_reply.hint_term = hint.term;
}

/* What the rest relies on, whoever sent it. */
static bool append_valid(const struct raft *r, const struct raft_msg *m)
{
    uint64_t term = m->append.prev_term;

    if (term > m->term || (m->append.n > 0 && !m->append.entries))
        return false;
    for (unsigned i = 0; i < m->append.n; i++) {
        const struct raft_entry *e = &m->append.entries[i];

        if (e->index != m->append.prev_index + 1 + i || e->term < term || e->term > m->term ||
            e->type > RAFT_ENTRY_CONFIG || e->term == 0)
            return false;
        if (e->type == RAFT_ENTRY_CONFIG) {
            struct raft_config c;

            if (raft_config_decode(e->data, e->len, &c) != 0)
                return false;
        }
        term = e->term;
    }
    return true;
}

static void follower_add(struct raft *r, const struct raft_entry *e)
{
    raft_log_append(&r->log, e, raft_write_seq(r));
    if (r->append_first == 0)
        r->append_first = e->index;
    r->append_last = e->index;
    if (e->type == RAFT_ENTRY_CONFIG) {
        struct raft_config c;
        int err = raft_config_decode(e->data, e->len, &c);

        assert(err == 0); /* append_valid() has seen it */
        raft_config_push(r, e->index, &c);
    }
}

static int follower_truncate(struct raft *r, uint64_t from)
{
    if (from <= r->commit)
        return RAFT_E_BAD_MESSAGE;
    /* Only the newest configuration can be uncommitted, so the one before it is still known. */
    if (raft_config_last(r)->index >= from &&
        (r->configs_n < 2 || r->configs[r->configs_n - 2].index >= from))
        return RAFT_E_BAD_MESSAGE;
    raft_log_truncate(&r->log, from);
    raft_write_seq(r);
    r->out.truncate_from = from;
    raft_config_pop(r, from);
    return 0;
}

/* Adds what is new of the message's entries, after removing what differs. */
static int follower_store(struct raft *r, const struct raft_msg *m)
{
    uint64_t last = m->append.prev_index + m->append.n;
    uint64_t i = MAX(m->append.prev_index, r->commit) + 1;

    while (i <= last && i <= r->log.last &&
           raft_log_term(&r->log, i) == m->append.entries[i - m->append.prev_index - 1].term)
        i++;
    if (i > last)
        return 0;
    if (i <= r->log.last) {
        int err = follower_truncate(r, i);

        if (err)
            return err;
    }
    for (; i <= last; i++)
        follower_add(r, &m->append.entries[i - m->append.prev_index - 1]);
    return 0;
}

/*
 * Memory has a bound: entries that would only pile up behind a slow disk are dropped, as if the
 * network had lost them, and the leader sends them again. What is durable does not count: to refuse
 * for its sake would keep the new leader from committing it.
 */
static bool follower_full(const struct raft *r, const struct raft_msg *m)
{
    return m->append.prev_index >= r->log.last &&
           r->log.pending_bytes > r->opt.uncommitted_bytes_max;
}

/* From the leader of our term. */
int raft_on_append(struct raft *r, const struct raft_msg *m)
{
    uint64_t last = m->append.prev_index + m->append.n;
    int err;

    if (!append_valid(r, m))
        return RAFT_E_BAD_MESSAGE;
    if (r->inst.installing || follower_full(r, m))
        return 0;
    if (m->append.prev_index > r->commit &&
        (m->append.prev_index > r->log.last ||
         raft_log_term(&r->log, m->append.prev_index) != m->append.prev_term)) {
        follower_reject(r, m);
        return 0;
    }
    err = follower_store(r, m);
    if (err)
        return err;
    /* Committed entries are the leader's too (R 5.4.3). */
    r->matched = MAX(r->matched, MAX(last, r->commit));
    assert(r->matched <= r->log.last);
    raft_set_commit(r, MIN(m->append.commit, r->matched));
    if (r->append_first)
        r->ack_owed = true; /* on PERSISTED */
    else
        follower_reply(r, m->from);
    return 0;
}

int raft_on_heartbeat(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg *reply;

    raft_set_commit(r, MIN(m->heartbeat.commit, r->matched));
    reply = raft_emit(r, RAFT_MSG_HEARTBEAT_REPLY, m->from);
    reply->heartbeat_reply.round = m->heartbeat.round;
    reply->heartbeat_reply.matched = r->matched;
    reply->heartbeat_reply.match = MIN(r->matched, r->log.durable);
    return 0;
}
