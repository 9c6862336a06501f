/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Elections: pre-vote (T 9.6), votes (R 5.2, 5.4.1), becoming leader, and handing leadership over
 * (T 3.10).
 */
#include "raft_internal.h"

void raft_election_arm(struct raft *r)
{
    int64_t t = r->opt.election_timeout_ns;

    r->timeout_ns = t + (int64_t)prng_below(&r->prng, (uint64_t)(t / 3) + 1);
    r->election_due_ns = r->now.ns + r->timeout_ns;
}

static void election_ask(struct raft *r, const struct raft_peer *p)
{
    bool pre = r->role == RAFT_PRE_CANDIDATE;
    struct raft_msg *m = raft_emit(r, RAFT_MSG_VOTE, p->id);

    m->vote.pre = pre;
    m->vote.vote_term = pre ? r->term + 1 : r->term;
    m->vote.last_index = r->log.last;
    m->vote.last_term = raft_last_term(r);
    m->vote.transfer = r->campaign_transfer;
}

static void election_ask_all(struct raft *r)
{
    for (unsigned i = 0; i < r->peers_n; i++) {
        if (r->peers[i].voter && !r->peers[i].voted)
            election_ask(r, &r->peers[i]);
    }
    r->resend_due_ns = r->now.ns + r->opt.heartbeat_ns;
}

/*
 * T 4.2.2: a server that an uncommitted change takes out may still be needed to get that change (or
 * another leader's log) committed: it campaigns, though its own vote does not count.
 */
static bool election_may_campaign(const struct raft *r)
{
    if (r->inst.installing)
        return false;
    if (r->self_voter)
        return true;
    return r->configs_n > 1 && raft_config_last(r)->index > r->commit &&
           raft_config_is_voter(&r->configs[r->configs_n - 2].config, r->opt.id);
}

static bool election_won(const struct raft *r)
{
    unsigned votes = r->self_voter;

    for (unsigned i = 0; i < r->peers_n; i++)
        votes += r->peers[i].voter && r->peers[i].granted;
    return votes >= r->quorum;
}

static void election_lead(struct raft *r)
{
    raft_set_role(r, RAFT_LEADER);
    raft_set_leader(r, r->opt.id);
    r->led_since_ns = r->now.ns;
    r->lease_broken = r->campaign_transfer = false;
    r->transfer_to = 0;
    r->uncommitted_bytes = 0;
    for (uint64_t i = r->commit + 1; i <= r->log.last; i++)
        r->uncommitted_bytes += raft_log_entry(&r->log, i) ? raft_log_entry(&r->log, i)->len : 0;
    r->confirmed_round = r->round;
    for (unsigned i = 0; i < r->peers_n; i++) {
        struct raft_peer *p = &r->peers[i];

        p->match = 0;
        p->fetching = p->chunk_reading = false;
        p->acked_round = p->append_round = 0;
        p->contact_ns = p->acked_ns = 0;
        raft_peer_probe(p, r->log.last + 1);
    }
    r->term_start = r->log.last + 1;
    raft_append_own(r, RAFT_ENTRY_NOOP, NULL);
    raft_peers_send(r);
    raft_round_send(r);
    raft_leader_commit(r);
}

static void election_votes_reset(struct raft *r)
{
    for (unsigned i = 0; i < r->peers_n; i++)
        r->peers[i].voted = r->peers[i].granted = false;
}

void raft_campaign(struct raft *r, bool transfer)
{
    raft_set_role(r, RAFT_CANDIDATE);
    raft_set_leader(r, 0);
    raft_set_term(r, r->term + 1);
    raft_set_vote(r, r->opt.id);
    r->campaign_transfer = transfer;
    r->campaign_seq = raft_write_seq(r);
    election_votes_reset(r);
    raft_election_arm(r);
    election_ask_all(r);
}

/* The only voter's own vote is enough, and like every vote it counts when it is durable. (Where
 * others vote, too, they are asked only after that.) */
void raft_election_persisted(struct raft *r, uint64_t seq)
{
    if (r->role == RAFT_CANDIDATE && seq >= r->campaign_seq && election_won(r))
        election_lead(r);
}

static void election_pre_campaign(struct raft *r)
{
    raft_set_role(r, RAFT_PRE_CANDIDATE);
    raft_set_leader(r, 0);
    r->campaign_transfer = false;
    election_votes_reset(r);
    raft_election_arm(r);
    if (election_won(r))
        raft_campaign(r, false);
    else
        election_ask_all(r);
}

void raft_election_timer(struct raft *r)
{
    if (r->now.ns >= r->election_due_ns) {
        if (r->role == RAFT_CANDIDATE && election_won(r)) {
            raft_election_arm(r); /* its disk is slow: another term would not make it faster */
        } else if (election_may_campaign(r)) {
            election_pre_campaign(r);
        } else {
            raft_step_down(r, r->term, 0);
            raft_election_arm(r);
        }
    } else if (r->role != RAFT_FOLLOWER && r->now.ns >= r->resend_due_ns) {
        election_ask_all(r); /* asking twice is harmless: the answer is the same */
    }
}

/* R 5.4.1: at least as new as ours, entries that are not durable yet included. */
static bool election_log_ok(const struct raft *r, const struct raft_msg *m)
{
    uint64_t term = raft_last_term(r);

    return m->vote.last_term > term ||
           (m->vote.last_term == term && m->vote.last_index >= r->log.last);
}

/*
 * m->term is at least ours. Not asked: whether we are a voter. Our configuration may be older than
 * the candidate's, and then nobody could be elected (rule E of the traps).
 */
int raft_on_vote(struct raft *r, const struct raft_msg *m)
{
    bool leased = r->now.ns - r->heard_ns < r->opt.election_timeout_ns;
    struct raft_msg *reply;
    bool granted;

    if (m->vote.vote_term != m->term + (m->vote.pre ? 1 : 0))
        return RAFT_E_BAD_MESSAGE;
    if (!m->vote.transfer && (leased || r->role == RAFT_LEADER))
        return 0;
    if (m->vote.pre) {
        granted = m->vote.vote_term > r->term && election_log_ok(r, m);
    } else {
        if (m->term > r->term)
            raft_step_down(r, m->term, 0);
        granted = (r->vote == 0 || r->vote == m->from) && r->role == RAFT_FOLLOWER &&
                  r->leader == 0 && election_log_ok(r, m);
        if (granted) {
            raft_set_vote(r, m->from);
            raft_election_arm(r);
        }
    }
    reply = raft_emit(r, RAFT_MSG_VOTE_REPLY, m->from);
    reply->vote_reply.vote_term = m->vote.vote_term;
    reply->vote_reply.pre = m->vote.pre;
    reply->vote_reply.granted = granted;
    return 0;
}

/* m->term is ours, or was and we have just adopted it as a follower. */
int raft_on_vote_reply(struct raft *r, const struct raft_msg *m)
{
    struct raft_peer *p = raft_peer_find(r, m->from);
    bool pre = r->role == RAFT_PRE_CANDIDATE;

    if (!p || (r->role != RAFT_PRE_CANDIDATE && r->role != RAFT_CANDIDATE))
        return 0;
    if (m->vote_reply.pre != pre || m->vote_reply.vote_term != r->term + (pre ? 1 : 0))
        return 0;
    if (!m->vote_reply.granted) {
        /* A refused pre-vote may be granted when the voter's lease of the old leader ends. */
        p->voted = !pre;
        return 0;
    }
    p->voted = p->granted = true;
    if (!election_won(r))
        return 0;
    if (pre)
        raft_campaign(r, false);
    else
        election_lead(r);
    return 0;
}

/* ---- transfer ---- */

int raft_on_timeout_now(struct raft *r, const struct raft_msg *m)
{
    if (m->term != r->term || r->role == RAFT_LEADER || !election_may_campaign(r))
        return 0;
    raft_campaign(r, true);
    return 0;
}

static struct raft_peer *election_heir(struct raft *r)
{
    struct raft_peer *best = NULL;

    for (unsigned i = 0; i < r->peers_n; i++) {
        struct raft_peer *p = &r->peers[i];

        if (p->voter && (!best || p->match > best->match))
            best = p;
    }
    return best;
}

static void election_timeout_now(struct raft *r, struct raft_peer *p)
{
    raft_emit(r, RAFT_MSG_TIMEOUT_NOW, p->id);
    r->lease_broken = true;
}

int raft_transfer(struct raft *r, uint64_t to)
{
    struct raft_peer *p;

    if (r->role != RAFT_LEADER)
        return RAFT_E_NOT_LEADER;
    if (r->transfer_to)
        return RAFT_E_TRANSFERRING;
    p = to ? raft_peer_find(r, to) : election_heir(r);
    if (!p || !p->voter)
        return RAFT_E_NO_SUCH_SERVER;
    r->transfer_to = p->id;
    r->transfer_due_ns = r->now.ns + r->opt.election_timeout_ns;
    raft_transfer_check(r, p);
    return 0;
}

void raft_transfer_check(struct raft *r, struct raft_peer *p)
{
    if (r->transfer_to == p->id && p->match == r->log.last)
        election_timeout_now(r, p);
}

void raft_transfer_best(struct raft *r)
{
    struct raft_peer *p = election_heir(r);

    if (p && p->match == r->log.last)
        election_timeout_now(r, p);
}
