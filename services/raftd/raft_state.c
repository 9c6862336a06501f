/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Making a core, loading it from disk, and looking at it.
 */
#include <errno.h>

#include "raft_internal.h"

#define OPTION_DEFAULT(field, value)                                                               \
    do {                                                                                           \
        if ((field) == 0)                                                                          \
            (field) = (value);                                                                     \
    } while (0)

struct raft *raft_new(const struct raft_options *opt)
{
    struct raft *r = xcalloc(1, sizeof(*r));
    struct raft_options *o = &r->opt;

    assert(opt->id != 0);
    *o = *opt;
    OPTION_DEFAULT(o->election_timeout_ns, 150 * NS_PER_MS);
    OPTION_DEFAULT(o->heartbeat_ns, 30 * NS_PER_MS);
    OPTION_DEFAULT(o->lease_drift_permille, 100);
    OPTION_DEFAULT(o->entry_bytes_max, 16u << 20);
    OPTION_DEFAULT(o->msg_entries_max, 1024);
    OPTION_DEFAULT(o->msg_bytes_max, 1u << 20);
    OPTION_DEFAULT(o->inflight_max, 64);
    OPTION_DEFAULT(o->chunk_bytes, 512u << 10);
    OPTION_DEFAULT(o->uncommitted_bytes_max, 64u << 20);
    OPTION_DEFAULT(o->tail_bytes_max, 4u << 20);
    OPTION_DEFAULT(o->reads_max, 4096);
    OPTION_DEFAULT(o->promote_lag_max, 1024);
    prng_seed(&r->prng, o->seed);
    raft_log_init(&r->log);
    r->configs_n = 1;
    r->heard_ns = INT64_MIN / 2;
    return r;
}

struct raft *raft_free(struct raft *r)
{
    if (!r)
        return NULL;
    for (unsigned i = 0; i < ARRAY_LEN(r->peers); i++)
        free(r->peers[i].inflight);
    raft_log_fini(&r->log);
    free(r->reads);
    free(r->answers);
    free(r);
    return NULL;
}

void raft_load_hard(struct raft *r, uint64_t term, uint64_t vote)
{
    assert(!r->started);
    r->term = term;
    r->vote = vote;
}

void raft_load_snapshot(struct raft *r, const struct raft_snapshot_meta *meta)
{
    assert(!r->started && r->log.last == 0);
    r->snap = (struct raft_position){meta->index, meta->term};
    raft_log_reset(&r->log, r->snap);
    raft_config_reset(r, meta->config_index, &meta->config);
}

void raft_load_log_base(struct raft *r, struct raft_position base)
{
    assert(!r->started && r->log.last == r->log.base && base.index <= r->snap.index);
    raft_log_reset(&r->log, base);
}

int raft_load_entry(struct raft *r, const struct raft_entry *e)
{
    assert(!r->started);
    if (e->index != r->log.last + 1 || e->term < raft_last_term(r) || e->term > r->term)
        return -EINVAL;
    if (e->type == RAFT_ENTRY_CONFIG && e->index > raft_config_last(r)->index) {
        struct raft_config c;
        int err = raft_config_decode(e->data, e->len, &c);

        if (err)
            return -EINVAL;
        raft_config_push(r, e->index, &c);
    }
    raft_log_append(&r->log, e, 0);
    raft_log_persisted(&r->log, 0);
    raft_log_trim(&r->log, r->log.last, r->opt.tail_bytes_max);
    return 0;
}

enum raft_role raft_role(const struct raft *r)
{
    return r->role;
}

uint64_t raft_term(const struct raft *r)
{
    return r->term;
}

uint64_t raft_vote(const struct raft *r)
{
    return r->vote;
}

uint64_t raft_leader(const struct raft *r)
{
    return r->leader;
}

uint64_t raft_last_index(const struct raft *r)
{
    return r->log.last;
}

uint64_t raft_last_term(const struct raft *r)
{
    return r->log.runs[r->log.runs_n - 1].term;
}

uint64_t raft_durable_index(const struct raft *r)
{
    return r->log.durable;
}

uint64_t raft_commit_index(const struct raft *r)
{
    return r->commit;
}

uint64_t raft_applied_index(const struct raft *r)
{
    return r->handed;
}

struct mono_ns raft_last_contact(const struct raft *r)
{
    if (r->role != RAFT_LEADER)
        return (struct mono_ns){MAX(r->heard_ns, 0)};
    return (struct mono_ns){
        (int64_t)raft_quorum_u64(r, (uint64_t)r->now.ns, offsetof(struct raft_peer, contact_ns))};
}

const struct raft_config *raft_config_latest(const struct raft *r, uint64_t *ret_index)
{
    if (ret_index)
        *ret_index = raft_config_last(r)->index;
    return &raft_config_last(r)->config;
}

const struct raft_config *raft_config_at(const struct raft *r, uint64_t index, uint64_t *ret_index)
{
    for (unsigned i = r->configs_n; i-- > 0;) {
        if (r->configs[i].index > index)
            continue;
        if (ret_index)
            *ret_index = r->configs[i].index;
        return &r->configs[i].config;
    }
    return NULL;
}

const struct raft_entry *raft_entry_at(const struct raft *r, uint64_t index)
{
    return raft_log_entry(&r->log, index);
}

uint64_t raft_term_at(const struct raft *r, uint64_t index)
{
    return raft_log_term(&r->log, index);
}

bool raft_peer_info(const struct raft *r, uint64_t peer, struct raft_peer_info *ret)
{
    for (unsigned i = 0; i < r->peers_n; i++) {
        const struct raft_peer *p = &r->peers[i];

        if (p->id != peer)
            continue;
        *ret = (struct raft_peer_info){
            .match = p->match,
            .next = p->next,
            .last_contact = {MAX(p->contact_ns, 0)},
            .voter = p->voter,
            .replicating = p->state == PEER_REPLICATE,
            .snapshotting = p->state == PEER_SNAPSHOT,
        };
        return r->role == RAFT_LEADER;
    }
    return false;
}
