/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Configuration changes, one server at a time (T 4.1): two majorities that differ by one server
 * always meet. A change begins only when the one before is committed and this leader has committed
 * an entry of its own term (the fix of T 4.1 that Ongaro published in 2015).
 */
#include <errno.h>
#include <string.h>

#include "raft_internal.h"

/* The latest configuration in the log counts, committed or not (T 4.1). */
void raft_config_use(struct raft *r)
{
    const struct raft_config *c = &raft_config_last(r)->config;
    struct raft_peer old[RAFT_SERVERS_MAX];
    unsigned old_n = r->peers_n;

    memcpy(old, r->peers, sizeof(old));
    memset(r->peers, 0, sizeof(r->peers));
    r->peers_n = 0;
    for (unsigned i = 0; i < c->n; i++) {
        struct raft_peer *p = &r->peers[r->peers_n];

        if (c->servers[i].id == r->opt.id)
            continue;
        for (unsigned k = 0; k < old_n; k++) {
            if (old[k].id == c->servers[i].id) {
                *p = old[k];
                old[k].inflight = NULL;
            }
        }
        if (p->id == 0) {
            p->id = c->servers[i].id;
            raft_peer_probe(p, MAX(r->log.last, 1));
        }
        p->voter = c->servers[i].voter;
        r->peers_n++;
    }
    for (unsigned k = 0; k < ARRAY_LEN(old); k++)
        free(old[k].inflight);
    r->self_voter = raft_config_is_voter(c, r->opt.id);
    r->quorum = raft_config_voters(c) / 2 + 1;
    r->out.notice |= RAFT_NOTICE_CONFIG;
}

void raft_config_push(struct raft *r, uint64_t index, const struct raft_config *c)
{
    assert(index > raft_config_last(r)->index);
    if (r->configs_n == RAFT_CONFIGS_MAX) {
        memmove(&r->configs[0], &r->configs[1], (RAFT_CONFIGS_MAX - 1) * sizeof(r->configs[0]));
        r->configs_n--;
    }
    r->configs[r->configs_n++] = (struct raft_config_entry){index, *c};
    if (r->started)
        raft_config_use(r);
}

void raft_config_pop(struct raft *r, uint64_t from)
{
    unsigned before = r->configs_n;

    while (r->configs_n > 1 && raft_config_last(r)->index >= from)
        r->configs_n--;
    if (r->configs_n != before)
        raft_config_use(r);
}

void raft_config_reset(struct raft *r, uint64_t index, const struct raft_config *c)
{
    r->configs[0] = (struct raft_config_entry){index, *c};
    r->configs_n = 1;
}

/* Is its log near enough that the group does not wait for it once it votes (T 4.2.1)? */
static bool change_caught_up(struct raft *r, uint64_t id)
{
    const struct raft_peer *p = raft_peer_find(r, id);

    return p && p->state == PEER_REPLICATE && p->match + r->opt.promote_lag_max >= r->log.last;
}

static int change_add(struct raft_config *c, const struct raft_server *s)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].id == s->id) {
            struct raft_server moved = *s; /* a new address; its vote stays */

            moved.voter = c->servers[i].voter;
            c->servers[i] = moved;
            return 0;
        }
    }
    return raft_config_add(c, s) == 0 ? 0 : RAFT_E_BAD_CHANGE;
}

static int change_vote(struct raft *r, struct raft_config *c, uint64_t id, bool voter)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].id != id)
            continue;
        if (c->servers[i].voter == voter)
            return RAFT_E_BAD_CHANGE;
        if (voter && !change_caught_up(r, id))
            return RAFT_E_NOT_CAUGHT_UP;
        c->servers[i].voter = voter;
        return 0;
    }
    return RAFT_E_NO_SUCH_SERVER;
}

static int change_make(struct raft *r, const struct raft_event *ev, struct raft_config *c)
{
    struct raft_server s = ev->change.server;

    switch (ev->change.change) {
    case RAFT_ADD_LEARNER:
        s.voter = false;
        return change_add(c, &s);
    case RAFT_PROMOTE:
        return change_vote(r, c, s.id, true);
    case RAFT_DEMOTE:
        return change_vote(r, c, s.id, false);
    case RAFT_REMOVE:
        return raft_config_remove(c, s.id) == 0 ? 0 : RAFT_E_NO_SUCH_SERVER;
    }
    return RAFT_E_BAD_CHANGE;
}

int raft_change_propose(struct raft *r, const struct raft_event *ev)
{
    struct raft_config c = raft_config_last(r)->config;
    uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
    _cleanup_(raft_buf_unrefp) struct raft_buf *buf = NULL;
    struct raft_payload p;
    int err;

    if (r->role != RAFT_LEADER)
        return RAFT_E_NOT_LEADER;
    if (r->transfer_to)
        return RAFT_E_TRANSFERRING;
    if (!raft_term_committed(r) || raft_config_last(r)->index > r->commit)
        return RAFT_E_CHANGE_PENDING;
    err = change_make(r, ev, &c);
    if (err)
        return err;
    if (raft_config_voters(&c) == 0)
        return RAFT_E_BAD_CHANGE;
    buf = raft_buf_copy(bytes, (uint32_t)raft_config_encode(&c, bytes));
    p = (struct raft_payload){buf, buf->data, buf->len};
    r->out.proposed_first = r->log.last + 1;
    r->out.proposed_term = r->term;
    raft_append_own(r, RAFT_ENTRY_CONFIG, &p);
    raft_config_push(r, r->log.last, &c);
    raft_peers_send(r);
    return 0;
}
