/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Snapshots (R 7): the leader streams its newest one to a peer whose next entry the log has no
 * more, a chunk at a time; the follower collects the chunks and lets its shell install them.
 */
#include <errno.h>

#include "raft_internal.h"

/* ---- the leader ---- */

void raft_peer_snapshot(struct raft *r, struct raft_peer *p)
{
    if (r->snap.index == 0)
        return;
    p->state = PEER_SNAPSHOT;
    p->inflight_head = p->inflight_n = 0;
    p->probe_sent = p->fetching = p->chunk_reading = false;
    p->snap_index = p->snap_offset = 0;
    raft_peer_chunk(r, p);
}

/* Asks for the chunk that the peer needs; also to repeat one that was lost. */
void raft_peer_chunk(struct raft *r, struct raft_peer *p)
{
    if (p->chunk_reading)
        return;
    assert(r->out.chunk_reads_n < RAFT_SERVERS_MAX);
    r->chunk_reads[r->out.chunk_reads_n++] =
        (struct raft_chunk_read){p->id, p->snap_index, p->snap_offset, r->opt.chunk_bytes};
    p->chunk_reading = true;
    p->chunk_ns = r->now.ns;
}

int raft_snapshot_chunk(struct raft *r, const struct raft_event *ev)
{
    struct raft_peer *p = raft_peer_find(r, ev->chunk.peer);
    struct raft_msg *m;

    if (!p || r->role != RAFT_LEADER || p->state != PEER_SNAPSHOT || !p->chunk_reading)
        return 0;
    if (ev->chunk.err) {
        /* That file is gone or damaged: from the start with the newest one, a little later. */
        p->chunk_reading = false;
        p->snap_index = p->snap_offset = 0;
        return 0;
    }
    if (ev->chunk.offset != p->snap_offset ||
        (p->snap_index != 0 && ev->chunk.meta->index != p->snap_index))
        return 0; /* the answer to an older question: ours is still coming */
    p->chunk_reading = false;
    if (ev->chunk.meta->index > r->commit)
        return -EINVAL;
    p->snap_index = ev->chunk.meta->index;
    p->chunk_ns = r->now.ns;
    m = raft_emit(r, RAFT_MSG_SNAPSHOT, p->id);
    m->snapshot.meta = ev->chunk.meta;
    m->snapshot.offset = ev->chunk.offset;
    m->snapshot.data = ev->chunk.data;
    m->snapshot.len = ev->chunk.len;
    m->snapshot.done = ev->chunk.done;
    return 0;
}

int raft_on_snapshot_reply(struct raft *r, const struct raft_msg *m)
{
    struct raft_peer *p = raft_peer_find(r, m->from);

    if (r->role != RAFT_LEADER || !p)
        return 0;
    if (m->snapshot_reply.done) {
        /* Maybe installed for the leader before us, beyond what we know to be committed. */
        if (m->snapshot_reply.index > r->log.last)
            return RAFT_E_BAD_MESSAGE;
        raft_peer_acked(r, p, m->snapshot_reply.index);
        /* Meanwhile the log may have been cut behind a newer one. */
        if (r->role == RAFT_LEADER && p->state == PEER_SNAPSHOT && r->snap.index > p->match)
            raft_peer_snapshot(r, p);
        return 0;
    }
    if (p->state != PEER_SNAPSHOT || p->snap_index != m->snapshot_reply.index)
        return 0;
    if (m->snapshot_reply.offset == p->snap_offset)
        return 0; /* what was asked for already, or a copy of an old answer */
    p->snap_offset = m->snapshot_reply.offset;
    p->chunk_reading = false;
    raft_peer_chunk(r, p);
    return 0;
}

/* The shell has a new snapshot, and may have cut the log on disk behind log_base. */
int raft_snapshot_taken(struct raft *r, const struct raft_event *ev)
{
    const struct raft_snapshot_meta *meta = ev->taken.meta;
    struct raft_position base = ev->taken.log_base;

    if (r->inst.installing || meta->index < r->snap.index)
        return 0; /* overtaken by one that was installed */
    if (meta->index > r->handed || base.index > meta->index || base.index > r->log.durable)
        return -EINVAL;
    r->snap = (struct raft_position){meta->index, meta->term};
    if (base.index <= r->log.base)
        return 0;
    if (raft_log_term(&r->log, base.index) != base.term)
        return -EINVAL;
    raft_log_compact(&r->log, base);
    return 0;
}

/* ---- the follower ---- */

static void install_reply(struct raft *r, const struct raft_msg *m, uint64_t offset, bool done)
{
    struct raft_msg *reply = raft_emit(r, RAFT_MSG_SNAPSHOT_REPLY, m->from);

    reply->snapshot_reply.index = m->snapshot.meta->index;
    reply->snapshot_reply.offset = offset;
    reply->snapshot_reply.done = done;
}

void raft_install_abort(struct raft *r)
{
    assert(!r->inst.installing);
    if (r->inst.active)
        r->out.notice |= RAFT_NOTICE_INSTALL_ABORTED;
    r->inst.active = false;
}

/* The log has the snapshot's last entry: everything up to there is equal and committed. */
static bool install_not_needed(struct raft *r, const struct raft_msg *m)
{
    uint64_t index = m->snapshot.meta->index;

    if (index > r->commit && raft_log_term(&r->log, index) != m->snapshot.meta->term)
        return false;
    if (r->inst.active && r->inst.meta.index <= index)
        raft_install_abort(r);
    r->matched = MAX(r->matched, MAX(index, r->commit));
    raft_set_commit(r, index);
    if (r->log.durable >= index)
        install_reply(r, m, 0, true);
    return true;
}

/* A new stream begins, or this is the one that is under way. */
static bool install_accept(struct raft *r, const struct raft_msg *m)
{
    bool same = r->inst.active && r->inst.from == m->from && r->inst.term == m->term &&
                r->inst.meta.index == m->snapshot.meta->index;

    if (same && m->snapshot.offset == r->inst.offset)
        return true;
    if (same || m->snapshot.offset != 0) {
        install_reply(r, m, same ? r->inst.offset : 0, false);
        return false;
    }
    r->inst.active = true;
    r->inst.from = m->from;
    r->inst.term = m->term;
    r->inst.offset = 0;
    r->inst.meta = *m->snapshot.meta;
    return true;
}

/* From the leader of our term. */
int raft_on_snapshot(struct raft *r, const struct raft_msg *m)
{
    const struct raft_snapshot_meta *meta = m->snapshot.meta;

    if (!meta || meta->index == 0 || meta->term == 0 || meta->term > m->term ||
        (m->snapshot.offset == 0 && (meta->config.n == 0 || meta->config_index > meta->index)) ||
        (m->snapshot.len == 0 && !m->snapshot.done))
        return RAFT_E_BAD_MESSAGE;
    if (r->inst.installing || install_not_needed(r, m) || !install_accept(r, m))
        return 0;
    r->install = (struct raft_install){
        .meta = &r->inst.meta,
        .offset = m->snapshot.offset,
        .data = m->snapshot.data,
        .len = m->snapshot.len,
        .done = m->snapshot.done,
    };
    r->out.install = &r->install;
    r->inst.offset += m->snapshot.len;
    r->inst.installing = m->snapshot.done;
    if (!m->snapshot.done)
        install_reply(r, m, r->inst.offset, false);
    return 0;
}

int raft_snapshot_installed(struct raft *r, const struct raft_event *ev)
{
    const struct raft_snapshot_meta *meta = &r->inst.meta;

    if (!r->inst.installing || ev->installed.index != meta->index)
        return -EINVAL;
    r->inst.installing = r->inst.active = false;
    raft_election_arm(r);
    if (ev->installed.err)
        return 0;
    assert(meta->index > r->commit);
    r->snap = (struct raft_position){meta->index, meta->term};
    raft_log_reset(&r->log, r->snap);
    r->matched = meta->index;
    raft_set_commit(r, meta->index);
    r->handed = meta->index;
    raft_config_reset(r, meta->config_index, &meta->config);
    raft_config_use(r);
    if (r->leader) {
        struct raft_msg *reply = raft_emit(r, RAFT_MSG_SNAPSHOT_REPLY, r->leader);

        reply->snapshot_reply.index = meta->index;
        reply->snapshot_reply.offset = 0;
        reply->snapshot_reply.done = true;
    }
    return 0;
}
