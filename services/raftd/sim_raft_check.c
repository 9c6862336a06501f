/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What must be true, checked after each step from outside the core: against what all servers did
 * so far, and against what really is on the disks.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim_raft.h"
#include "wal_internal.h"

#define TERMS_MAX 100000

/* (index, term) -> content and the term before: Log Matching (R 5.3) by induction. */
struct entry_slot {
    uint64_t index, term, prev_term, hash;
};
struct entry_map {
    struct entry_slot *slots;
    size_t cap, n;
};

static uint64_t bytes_hash(const uint8_t *p, uint32_t len, uint64_t h)
{
    for (uint32_t i = 0; i < len; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

static struct entry_slot *map_find(struct entry_map *m, uint64_t index, uint64_t term)
{
    size_t i = (index * UINT64_C(0x9e3779b97f4a7c15) ^ term * UINT64_C(0xff51afd7ed558ccd)) >> 20;

    for (;; i++) {
        struct entry_slot *s = &m->slots[i & (m->cap - 1)];

        if (s->index == 0 || (s->index == index && s->term == term))
            return s;
    }
}

static struct entry_slot *map_slot(struct entry_map *m, uint64_t index, uint64_t term)
{
    if (m->n * 2 >= m->cap) {
        struct entry_map old = *m;

        m->cap = old.cap * 2;
        m->slots = xcalloc(m->cap, sizeof(*m->slots));
        for (size_t i = 0; i < old.cap; i++)
            if (old.slots[i].index)
                *map_find(m, old.slots[i].index, old.slots[i].term) = old.slots[i];
        free(old.slots);
    }
    return map_find(m, index, term);
}

static uint64_t *u64_at(uint64_t **v, size_t *cap, size_t i)
{
    if (i >= *cap) {
        size_t n = MAX(i + 1, *cap * 2);

        *v = xrealloc(*v, n * sizeof(**v));
        memset(*v + *cap, 0, (n - *cap) * sizeof(**v));
        *cap = n;
    }
    return &(*v)[i];
}

void check_init(struct world *w)
{
    w->map = xcalloc(1, sizeof(*w->map));
    w->map->cap = 1024;
    w->map->slots = xcalloc(w->map->cap, sizeof(*w->map->slots));
    w->committed_n = 1;
    w->committed_cap = 256;
    w->committed = xcalloc(w->committed_cap, sizeof(*w->committed));
}

void check_fini(struct world *w)
{
    free(w->map->slots);
    free(w->map);
    free(w->committed);
    free(w->state_hash);
    free(w->digest);
    free(w->leader_of);
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        struct shadow *s = &w->nodes[i].shadow;

        free(w->votes[i]);
        for (size_t k = 0; k < s->ops_n; k++)
            free(s->ops[k].terms);
        free(s->ops);
        free(s->terms);
    }
}

/* ---- disks ---- */

static void shadow_write(struct node *n, const struct raft_out *out)
{
    struct shadow *s = &n->shadow;
    struct shadow_op op = {.seq = out->seq, .truncate_from = out->truncate_from};

    if (out->append_n > 0) {
        op.first = out->append[0].index;
        op.n = out->append_n;
        op.terms = xmalloc(op.n * sizeof(*op.terms));
        for (unsigned i = 0; i < op.n; i++)
            op.terms[i] = out->append[i].term;
    }
    if (s->ops_n == s->ops_cap) {
        s->ops_cap = s->ops_cap ? s->ops_cap * 2 : 16;
        s->ops = xrealloc(s->ops, s->ops_cap * sizeof(*s->ops));
    }
    s->ops[s->ops_n++] = op;
}

static void shadow_apply(struct world *w, struct shadow *s, const struct shadow_op *op)
{
    if (op->truncate_from && op->truncate_from <= s->base + s->n)
        s->n = op->truncate_from > s->base ? op->truncate_from - s->base - 1 : 0;
    for (unsigned i = 0; i < op->n; i++) {
        if (op->first + i != s->base + s->n + 1) {
            world_fail(w, "entry %lu was written behind %lu", (unsigned long)(op->first + i),
                       (unsigned long)(s->base + s->n));
            return;
        }
        *u64_at(&s->terms, &s->cap, s->n) = op->terms[i];
        s->n++;
    }
}

void check_synced(struct node *n, uint64_t seq)
{
    struct shadow *s = &n->shadow;
    size_t k = 0;

    while (k < s->ops_n && s->ops[k].seq <= seq) {
        shadow_apply(n->w, s, &s->ops[k]);
        free(s->ops[k].terms);
        k++;
    }
    memmove(s->ops, s->ops + k, (s->ops_n - k) * sizeof(*s->ops));
    s->ops_n -= k;
}

static void shadow_drop_ops(struct shadow *s)
{
    for (size_t k = 0; k < s->ops_n; k++)
        free(s->ops[k].terms);
    s->ops_n = 0;
}

void check_installed(struct node *n, uint64_t index)
{
    shadow_drop_ops(&n->shadow);
    n->shadow.base = index;
    n->shadow.n = 0;
}

static bool shadow_has(const struct shadow *s, uint64_t index, uint64_t term)
{
    if (index <= s->base)
        return true; /* in a snapshot, and only what is committed gets there */
    return index <= s->base + s->n && s->terms[index - s->base - 1] == term;
}

/* What was durable before the crash must be there, and not more than was ever written. */
void check_recovered(struct node *n)
{
    struct shadow *s = &n->shadow;
    struct wal_state st;

    wal_state(n->wal, &st);
    if (st.term < s->term || (st.term == s->term && s->vote && st.vote != s->vote))
        world_fail(n->w, "server %u: term %lu vote %lu were durable, back are %lu and %lu",
                   n->no + 1, (unsigned long)s->term, (unsigned long)s->vote,
                   (unsigned long)st.term, (unsigned long)st.vote);
    /* A snapshot whose installation the crash cut short replaces a log that does not fit it. */
    if (n->snap_index > s->base && n->snap_index <= s->base + s->n &&
        s->terms[n->snap_index - s->base - 1] != raft_term_at(n->raft, n->snap_index))
        s->n = n->snap_index - s->base;
    for (uint64_t i = MAX(MAX(s->base, st.base_index), n->snap_index) + 1; i <= s->base + s->n;
         i++) {
        uint64_t term = raft_term_at(n->raft, i);

        /* A truncation that was written and not yet durable may have happened. */
        if (term == s->terms[i - s->base - 1] || s->ops_n > 0)
            continue;
        world_fail(n->w, "server %u: entry %lu term %lu was durable, back is term %lu", n->no + 1,
                   (unsigned long)i, (unsigned long)s->terms[i - s->base - 1], (unsigned long)term);
        return;
    }
    shadow_drop_ops(s);
    s->base = st.base_index;
    s->n = 0;
    for (uint64_t i = st.base_index + 1; i <= st.last_index; i++)
        *u64_at(&s->terms, &s->cap, s->n++) = raft_term_at(n->raft, i);
    s->term = st.term;
    s->vote = st.vote;
    n->commit_seen = 0;
    n->role_seen = RAFT_FOLLOWER;
}

/* ---- messages ---- */

static void check_vote(struct node *n, uint64_t term, uint64_t candidate)
{
    struct world *w = n->w;
    uint64_t *vote;

    if (term >= TERMS_MAX) {
        world_fail(w, "term %lu", (unsigned long)term);
        return;
    }
    vote = u64_at(&w->votes[n->no], &w->votes_n[n->no], term);
    if (*vote && *vote != candidate)
        world_fail(w, "server %u voted for %lu and %lu in term %lu", n->no + 1,
                   (unsigned long)*vote, (unsigned long)candidate, (unsigned long)term);
    *vote = candidate;
}

/* For the story of one seed. */
static void log_sent(struct node *n, const struct raft_msg *m)
{
    char t[160] = "";

    if (m->type == RAFT_MSG_APPEND)
        snprintf(t, sizeof(t), "prev %lu/%lu n %u commit %lu", (unsigned long)m->append.prev_index,
                 (unsigned long)m->append.prev_term, m->append.n, (unsigned long)m->append.commit);
    if (m->type == RAFT_MSG_APPEND_REPLY)
        snprintf(t, sizeof(t), "rejected %d match %lu reject_prev %lu hint %lu/%lu",
                 m->append_reply.rejected, (unsigned long)m->append_reply.match,
                 (unsigned long)m->append_reply.reject_prev,
                 (unsigned long)m->append_reply.hint_index,
                 (unsigned long)m->append_reply.hint_term);
    if (m->type == RAFT_MSG_HEARTBEAT)
        snprintf(t, sizeof(t), "round %lu commit %lu", (unsigned long)m->heartbeat.round,
                 (unsigned long)m->heartbeat.commit);
    if (m->type == RAFT_MSG_HEARTBEAT_REPLY)
        snprintf(t, sizeof(t), "round %lu matched %lu match %lu",
                 (unsigned long)m->heartbeat_reply.round, (unsigned long)m->heartbeat_reply.matched,
                 (unsigned long)m->heartbeat_reply.match);
    if (m->type == RAFT_MSG_VOTE)
        snprintf(t, sizeof(t), "pre %d transfer %d for %lu last %lu/%lu", m->vote.pre,
                 m->vote.transfer, (unsigned long)m->vote.vote_term,
                 (unsigned long)m->vote.last_index, (unsigned long)m->vote.last_term);
    if (m->type == RAFT_MSG_VOTE_REPLY)
        snprintf(t, sizeof(t), "pre %d granted %d for %lu", m->vote_reply.pre,
                 m->vote_reply.granted, (unsigned long)m->vote_reply.vote_term);
    if (m->type == RAFT_MSG_SNAPSHOT)
        snprintf(t, sizeof(t), "index %lu offset %lu len %u done %d",
                 (unsigned long)m->snapshot.meta->index, (unsigned long)m->snapshot.offset,
                 m->snapshot.len, m->snapshot.done);
    if (m->type == RAFT_MSG_SNAPSHOT_REPLY)
        snprintf(t, sizeof(t), "index %lu offset %lu done %d",
                 (unsigned long)m->snapshot_reply.index, (unsigned long)m->snapshot_reply.offset,
                 m->snapshot_reply.done);
    world_log(n->w, n, "-> %lu: term %lu %s %s", (unsigned long)m->to, (unsigned long)m->term,
              raft_msg_type_name(m->type), t);
}

void check_sent(struct node *n, const struct raft_msg *m)
{
    if (n->w->verbose)
        log_sent(n, m);
    if (m->term < n->term_sent)
        world_fail(n->w, "server %u went back from term %lu to %lu", n->no + 1,
                   (unsigned long)n->term_sent, (unsigned long)m->term);
    n->term_sent = m->term;
    if (m->type == RAFT_MSG_VOTE && !m->vote.pre)
        check_vote(n, m->vote.vote_term, node_id(n));
    if (m->type == RAFT_MSG_VOTE_REPLY && !m->vote_reply.pre && m->vote_reply.granted)
        check_vote(n, m->vote_reply.vote_term, m->to);
    if (m->type == RAFT_MSG_APPEND_REPLY && !m->append_reply.rejected) {
        /* Acknowledged is what is on the disk. */
        uint64_t durable = n->shadow.base + n->shadow.n;

        if (m->append_reply.match > durable)
            world_fail(n->w, "server %u acknowledged %lu, on its disk are %lu", n->no + 1,
                       (unsigned long)m->append_reply.match, (unsigned long)durable);
    }
}

/* ---- steps ---- */

static void check_appended(struct node *n, const struct raft_out *out)
{
    struct world *w = n->w;

    for (unsigned i = 0; i < out->append_n; i++) {
        const struct raft_entry *e = &out->append[i];
        uint64_t prev = raft_term_at(n->raft, e->index - 1);
        uint64_t hash = bytes_hash(e->data, e->len, e->type + 1);
        struct entry_slot *s = map_slot(w->map, e->index, e->term);

        if (s->index == 0) {
            *s = (struct entry_slot){e->index, e->term, prev, hash};
            w->map->n++;
        } else if (s->hash != hash || s->prev_term != prev) {
            world_fail(w, "server %u: two entries with index %lu and term %lu", n->no + 1,
                       (unsigned long)e->index, (unsigned long)e->term);
        }
        if (e->index < w->committed_n && w->committed[e->index].term != e->term)
            world_log(w, n, "appends %lu that is committed with another term",
                      (unsigned long)e->index);
    }
    if (out->truncate_from && out->truncate_from <= n->commit_seen)
        world_fail(w, "server %u removes %lu, committed is %lu", n->no + 1,
                   (unsigned long)out->truncate_from, (unsigned long)n->commit_seen);
}

static void check_leader(struct node *n)
{
    struct world *w = n->w;
    uint64_t term = raft_term(n->raft);
    uint64_t *leader = u64_at(&w->leader_of, &w->leader_cap, term);

    w->count.elections++;
    if (*leader && *leader != node_id(n))
        world_fail(w, "two leaders in term %lu: %lu and %u", (unsigned long)term,
                   (unsigned long)*leader, n->no + 1);
    if (term <= n->last_leader_term)
        world_fail(w, "server %u leads term %lu again", n->no + 1, (unsigned long)term);
    *leader = node_id(n);
    n->last_leader_term = term;
    world_log(w, n, "leads term %lu, last %lu", (unsigned long)term,
              (unsigned long)raft_last_index(n->raft));
    /* Leader Completeness (R 5.4.3): what an older term has committed. */
    for (uint64_t i = w->committed_n - 1; i > 0; i--) {
        uint64_t have = raft_term_at(n->raft, i);

        if (have == 0 && i <= raft_last_index(n->raft))
            break; /* below the log: in its snapshot, whose state is checked */
        if (have != w->committed[i].term && w->committed[i].in_term < term) {
            world_fail(w, "leader %u of term %lu lacks entry %lu of term %lu", n->no + 1,
                       (unsigned long)term, (unsigned long)i, (unsigned long)w->committed[i].term);
            return;
        }
    }
}

static void check_majority(struct node *n, uint64_t index, uint64_t term)
{
    struct world *w = n->w;
    const struct raft_config *c = raft_config_latest(n->raft, NULL);
    unsigned have = 0;

    if (raft_role(n->raft) != RAFT_LEADER && !raft_config_is_voter(c, node_id(n)) &&
        raft_config_voters(c) == 0)
        return;
    for (unsigned i = 0; i < c->n; i++) {
        const struct raft_server *s = &c->servers[i];

        have += s->voter && shadow_has(&w->nodes[s->id - 1].shadow, index, term);
    }
    if (have <= raft_config_voters(c) / 2)
        world_fail(w, "server %u committed %lu of term %lu, on %u of %u disks", n->no + 1,
                   (unsigned long)index, (unsigned long)term, have, raft_config_voters(c));
}

static void check_commit(struct node *n)
{
    struct world *w = n->w;
    uint64_t commit = raft_commit_index(n->raft);

    if (commit < n->commit_seen)
        world_fail(w, "server %u: commit went back from %lu to %lu", n->no + 1,
                   (unsigned long)n->commit_seen, (unsigned long)commit);
    for (uint64_t i = n->commit_seen + 1; i <= commit && !world_failed(w); i++) {
        uint64_t term = raft_term_at(n->raft, i);

        if (term == 0)
            continue; /* below the log's base */
        if (i < w->committed_n) {
            if (w->committed[i].term != term)
                world_fail(w, "server %u committed %lu with term %lu, it is %lu", n->no + 1,
                           (unsigned long)i, (unsigned long)term,
                           (unsigned long)w->committed[i].term);
            continue;
        }
        if (i != w->committed_n) {
            world_fail(w, "server %u committed %lu before %lu", n->no + 1, (unsigned long)i,
                       (unsigned long)w->committed_n);
            return;
        }
        if (w->committed_n == w->committed_cap) {
            w->committed_cap *= 2;
            w->committed = xrealloc(w->committed, w->committed_cap * sizeof(*w->committed));
        }
        /* The first to know is the leader, be it that it steps down in this very step. */
        if (raft_role(n->raft) != RAFT_LEADER && n->role_seen != RAFT_LEADER) {
            world_fail(w, "server %u commits %lu that no leader has committed", n->no + 1,
                       (unsigned long)i);
            return;
        }
        w->committed[w->committed_n++] = (struct world_entry){term, raft_term(n->raft)};
        w->count.commits++;
        check_majority(n, i, term);
    }
    /* R 5.4.2: a leader counts disks for entries of its own term only. */
    if (commit > n->commit_seen && raft_role(n->raft) == RAFT_LEADER &&
        n->role_seen == RAFT_LEADER && raft_term_at(n->raft, commit) != raft_term(n->raft))
        world_fail(w, "leader %u of term %lu counted entry %lu of another term", n->no + 1,
                   (unsigned long)raft_term(n->raft), (unsigned long)commit);
    n->commit_seen = MAX(n->commit_seen, commit);
}

void check_step(struct node *n, const struct raft_out *out)
{
    if (out->seq)
        shadow_write(n, out);
    check_appended(n, out);
    check_commit(n);
    if (raft_role(n->raft) == RAFT_LEADER &&
        (n->role_seen != RAFT_LEADER || raft_term(n->raft) != n->last_leader_term))
        check_leader(n);
    n->role_seen = raft_role(n->raft);
    if (out->apply_last > raft_commit_index(n->raft) ||
        out->apply_last > raft_durable_index(n->raft))
        world_fail(n->w, "server %u applies %lu beyond commit or disk", n->no + 1,
                   (unsigned long)out->apply_last);
}

/* The same index, the same state. */
void check_applied(struct node *n, uint64_t index, uint64_t hash)
{
    struct world *w = n->w;
    uint64_t *h = u64_at(&w->state_hash, &w->state_cap, index);

    if (*h && *h != hash)
        world_fail(w, "server %u has another history at entry %lu", n->no + 1,
                   (unsigned long)index);
    *h = hash;
}

void check_state(struct node *n)
{
    struct world *w = n->w;
    uint64_t digest = machine_digest(&n->machine);
    uint64_t *d = u64_at(&w->digest, &w->digest_cap, n->machine.applied);

    if (*d && *d != digest)
        world_fail(w, "server %u has another state after entry %lu", n->no + 1,
                   (unsigned long)n->machine.applied);
    *d = digest;
}

/* Linearizable: it sees everything that was acknowledged before it was asked. */
void check_read(struct node *n, const struct node_read *r, uint64_t index)
{
    n->w->count.reads++;
    if (index < r->acked_before)
        world_fail(n->w, "server %u answered a read with %lu, %lu was acknowledged before",
                   n->no + 1, (unsigned long)index, (unsigned long)r->acked_before);
}

/* Liveness: one leader, and all servers of its configuration have applied what is committed. */
void check_converged(struct world *w, bool *ret_done)
{
    struct node *leader = NULL;

    *ret_done = false;
    for (unsigned i = 0; i < w->nodes_n; i++) {
        struct node *n = &w->nodes[i];

        if (n->up && raft_role(n->raft) == RAFT_LEADER &&
            (!leader || raft_term(n->raft) > raft_term(leader->raft)))
            leader = n;
    }
    if (!leader || raft_commit_index(leader->raft) + 1 < w->committed_n ||
        raft_commit_index(leader->raft) != raft_last_index(leader->raft))
        return;
    for (unsigned i = 0; i < raft_config_latest(leader->raft, NULL)->n; i++) {
        const struct raft_server *s = &raft_config_latest(leader->raft, NULL)->servers[i];
        struct node *n = &w->nodes[s->id - 1];

        if (!n->up || n->machine.applied != raft_commit_index(leader->raft))
            return;
    }
    for (unsigned i = 0; i < w->nodes_n; i++)
        if (w->nodes[i].up && w->nodes[i].machine.applied > 0)
            check_state(&w->nodes[i]);
    *ret_done = leader->machine.applied >= w->acked;
}
