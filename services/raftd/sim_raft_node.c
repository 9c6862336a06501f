/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One server: does with the core's effects what raftd's shell does, in the order that raft_core.h
 * asks for, over a disk that takes time and a network that does what it likes.
 */
#include <errno.h>
#include <string.h>

#include "sim_raft.h"
#include "sim_raft_disk.h"
#include "wal_internal.h"

#define NODE_BATCH_MAX 16

/* ---- time ---- */

/* Clocks of servers differ and drift: the core never sees virtual time itself. */
struct mono_ns node_now(const struct node *n)
{
    int64_t t = n->w->sim.now_ns;

    return (struct mono_ns){n->clock_offset_ns + t + t / 1000000 * n->clock_ppm};
}

static int64_t node_delay(const struct node *n, struct mono_ns until)
{
    int64_t d = until.ns - node_now(n).ns;

    return d <= 0 ? 0 : d + d / 1000000 * -n->clock_ppm + 1000;
}

static bool node_alive(const struct node *n, uint64_t life)
{
    return n->up && n->life == life && !world_failed(n->w);
}

static void node_disk_error(struct node *n, int err)
{
    world_log(n->w, n, "disk error %d", err);
    node_crash(n, sim_chance(&n->w->sim, 500));
}

static void node_tick(void *arg, uint64_t life, uint64_t no)
{
    struct node *n = arg;
    struct raft_event ev = {.type = RAFT_EV_TICK};

    if (node_alive(n, life) && no == n->tick_no)
        node_step(n, &ev);
}

/* ---- messages ---- */

static void node_send_now(struct node *n, unsigned to, struct sim_packet *p)
{
    sim_net_send(&n->w->net, n->no, to, p);
}

static void node_send(struct node *n, const struct raft_msg *m, uint64_t gate)
{
    struct world *w = n->w;
    unsigned to = (unsigned)m->to - 1;
    struct sim_packet *p;

    assert(to < w->nodes_n);
    w->frame.len = 0;
    if (raft_wire_encode(m, &w->group, &w->frame) != 0)
        world_fail(w, "a message cannot be encoded");
    p = sim_packet_new(w->frame.data, (uint32_t)w->frame.len);
    if (gate <= n->seq_synced) {
        check_sent(n, m);
        node_send_now(n, to, p);
        return;
    }
    if (n->gated_n == n->gated_cap) {
        n->gated_cap = n->gated_cap ? n->gated_cap * 2 : 16;
        n->gated = xrealloc(n->gated, n->gated_cap * sizeof(*n->gated));
    }
    n->gated[n->gated_n++] = (struct node_gated){gate, to, p};
}

static const struct raft_msg *node_decode(struct node *n, const struct sim_packet *p,
                                          struct raft_buf **ret_buf)
{
    *ret_buf = raft_buf_copy(p->data, p->len);
    if (raft_wire_decode(*ret_buf, &n->w->group, &n->w->wire) != 0)
        world_fail(n->w, "a message cannot be decoded");
    return &n->w->wire.msg;
}

static void node_release_gated(struct node *n)
{
    size_t k = 0;

    while (k < n->gated_n && n->gated[k].seq <= n->seq_synced) {
        struct raft_buf *buf;

        check_sent(n, node_decode(n, n->gated[k].packet, &buf));
        raft_buf_unref(buf);
        node_send_now(n, n->gated[k].to, n->gated[k].packet);
        k++;
    }
    if (k > 0)
        memmove(n->gated, n->gated + k, (n->gated_n - k) * sizeof(*n->gated));
    n->gated_n -= k;
}

void node_receive(void *user, unsigned from UNUSED, unsigned to, const struct sim_packet *p)
{
    struct world *w = user;
    struct node *n = &w->nodes[to];
    struct raft_event ev = {.type = RAFT_EV_MESSAGE};
    struct raft_buf *buf;
    int err;

    if (!n->up || world_failed(w))
        return;
    ev.msg = node_decode(n, p, &buf);
    err = node_step(n, &ev);
    if (err != 0 && !world_failed(w))
        world_fail(w, "server %u refused a message: %s", to + 1, raft_error_text(err));
    raft_buf_unref(buf);
}

/* ---- writing ---- */

static void node_sync_done(void *arg, uint64_t life, uint64_t seq);

static void node_sync_start(struct node *n)
{
    struct sim *s = &n->w->sim;
    int err;

    if (n->syncing || n->seq_written == n->seq_synced)
        return;
    err = wal_flush(n->wal);
    if (err) {
        node_disk_error(n, err);
        return;
    }
    n->syncing = true;
    n->seq_syncing = n->seq_written;
    sim_after(s, sim_range(s, NS_PER_US, n->w->calm ? NS_PER_MS : n->w->opt.sync_max_ns),
              node_sync_done, n, n->life, n->seq_syncing);
}

static void node_synced(struct node *n, uint64_t seq)
{
    struct raft_event ev = {.type = RAFT_EV_PERSISTED, .persisted = {seq}};

    n->seq_synced = MAX(n->seq_synced, seq);
    check_synced(n, seq);
    node_release_gated(n);
    node_step(n, &ev);
}

static void node_sync_done(void *arg, uint64_t life, uint64_t seq)
{
    struct node *n = arg;
    int err;

    if (!node_alive(n, life))
        return;
    n->syncing = false;
    err = wal_sync(n->wal);
    if (err) {
        node_disk_error(n, err);
        return;
    }
    node_synced(n, seq);
    if (node_alive(n, life))
        node_sync_start(n);
}

static int node_write(struct node *n, const struct raft_out *out)
{
    int err = 0;

    if (out->hard_changed)
        err = wal_append_hard(n->wal, out->hard.term, out->hard.vote);
    if (err == 0 && out->truncate_from)
        err = wal_truncate(n->wal, out->truncate_from);
    if (err == 0 && out->append_n > 0)
        err = wal_append(n->wal, out->append, out->append_n);
    n->seq_written = out->seq;
    return err;
}

/* ---- applying, snapshots of our own ---- */

static void node_ack(struct node *n, uint64_t index, uint64_t term)
{
    unsigned k = 0;

    for (unsigned i = 0; i < n->proposals_n; i++) {
        const struct node_proposal *p = &n->proposals[i];

        if (p->index > index) {
            n->proposals[k++] = *p;
        } else if (p->index == index && p->term == term) {
            n->w->acked = MAX(n->w->acked, index);
            n->w->count.acks++;
        }
    }
    n->proposals_n = k;
}

static int node_take_snapshot(struct node *n)
{
    struct raft_snapshot_meta meta = {.index = n->machine.applied,
                                      .term = raft_term_at(n->raft, n->machine.applied)};
    struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_TAKEN, .taken = {.meta = &meta}};
    const struct raft_config *c = raft_config_at(n->raft, meta.index, &meta.config_index);
    struct strbuf state = STRBUF_INIT;
    struct snap_writer *sw;
    struct wal_state st;
    int err;

    assert(c && meta.term > 0);
    meta.config = *c;
    machine_snapshot(&n->machine, &state);
    check_state(n);
    err = snap_create(&n->fs, &meta, &sw);
    if (err == 0) {
        snap_write(sw, state.data, state.len);
        err = snap_commit(sw, &meta);
    }
    strbuf_fini(&state);
    if (err == 0)
        err = snap_prune(&n->fs, 2);
    if (err == 0)
        err = wal_compact(n->wal, meta.index, n->w->opt.trailing);
    if (err)
        return err;
    wal_state(n->wal, &st);
    ev.taken.log_base = (struct raft_position){st.base_index, st.base_term};
    n->snap_index = meta.index;
    if (node_step(n, &ev) != 0)
        world_fail(n->w, "the core refused a snapshot");
    return 0;
}

static void node_snapshot_due(void *arg, uint64_t life, uint64_t b UNUSED)
{
    struct node *n = arg;
    int err;

    if (!node_alive(n, life) || n->in ||
        n->machine.applied < n->snap_index + n->w->opt.snapshot_every ||
        raft_term_at(n->raft, n->machine.applied) == 0)
        return;
    if (!raft_config_at(n->raft, n->machine.applied, NULL))
        return; /* several changes ahead of what is applied: a later snapshot will do */
    err = node_take_snapshot(n);
    if (err)
        node_disk_error(n, err);
}

/* The next entries to apply, from memory or from the log on disk. Returns how many. */
static unsigned node_gather(struct node *n, uint64_t first, uint64_t last,
                            struct raft_entry entries[static NODE_BATCH_MAX],
                            struct raft_buf **ret_buf)
{
    unsigned max = (unsigned)MIN(last - first + 1, NODE_BATCH_MAX), k = 0;
    int r;

    for (; k < max; k++) {
        const struct raft_entry *e = raft_entry_at(n->raft, first + k);

        if (!e)
            break;
        entries[k] = *e;
    }
    if (k > 0)
        return k;
    r = wal_read(n->wal, first, max, 1000, entries, ret_buf);
    if (r <= 0)
        world_fail(n->w, "server %u cannot read entry %lu to apply it: %d", n->no + 1,
                   (unsigned long)first, r);
    return r > 0 ? (unsigned)r : 0;
}

static void node_apply(struct node *n, uint64_t first, uint64_t last)
{
    uint64_t before = n->machine.applied;

    if (first != before + 1)
        world_fail(n->w, "server %u was told to apply %lu after %lu", n->no + 1,
                   (unsigned long)first, (unsigned long)before);
    while (first <= last && !world_failed(n->w)) {
        struct raft_entry entries[NODE_BATCH_MAX];
        struct raft_buf *buf = NULL;
        unsigned k = node_gather(n, first, last, entries, &buf);
        int err = machine_apply(&n->machine, entries, k);

        if (err)
            world_fail(n->w, "server %u cannot apply %lu: %d", n->no + 1, (unsigned long)first,
                       err);
        check_applied(n, n->machine.applied, n->machine.hash);
        for (unsigned i = 0; i < k; i++)
            node_ack(n, entries[i].index, entries[i].term);
        first += k;
        raft_buf_unref(buf);
    }
    if (n->machine.applied / n->w->opt.snapshot_every != before / n->w->opt.snapshot_every)
        sim_after(&n->w->sim, 0, node_snapshot_due, n, n->life, 0);
}

/* ---- what the core asks to be read ---- */

struct job {
    uint64_t peer, index, offset;
    unsigned n;
    uint32_t bytes_max;
};

static void node_fetch(void *arg, uint64_t life, uint64_t job)
{
    struct node *n = arg;
    _cleanup_(freep) struct job *j = (struct job *)(uintptr_t)job;
    _cleanup_(freep) struct raft_entry *entries = xmalloc((j->n + 1) * sizeof(*entries));
    struct raft_event ev = {.type = RAFT_EV_FETCHED, .fetched = {.peer = j->peer}};
    struct raft_buf *buf = NULL;
    int r;

    if (!node_alive(n, life))
        return;
    r = wal_read(n->wal, j->index, j->n, j->bytes_max, entries, &buf);
    ev.fetched.first = j->index;
    ev.fetched.entries = entries;
    ev.fetched.n = r > 0 ? (unsigned)r : 0;
    ev.fetched.err = r > 0 ? 0 : r;
    node_step(n, &ev);
    raft_buf_unref(buf);
}

static void node_chunk(void *arg, uint64_t life, uint64_t job)
{
    struct node *n = arg;
    _cleanup_(freep) struct job *j = (struct job *)(uintptr_t)job;
    _cleanup_(freep) uint8_t *data = xmalloc(j->bytes_max);
    struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_CHUNK, .chunk = {.peer = j->peer}};
    struct snap_reader **r = &n->sending[j->peer - 1];
    ssize_t len = 0;

    if (!node_alive(n, life))
        return;
    if (j->index == 0 || !*r || snap_meta(*r)->index != j->index) {
        *r = snap_close(*r);
        if (j->index == 0)
            ev.chunk.err = snap_open_newest(&n->fs, r, NULL);
        else
            ev.chunk.err = -ENOENT;
    }
    if (ev.chunk.err == 0) {
        len = snap_read_file(*r, j->offset, data, j->bytes_max);
        if (len <= 0)
            ev.chunk.err = len < 0 ? (int)len : -EINVAL;
    }
    if (ev.chunk.err == 0) {
        ev.chunk.meta = snap_meta(*r);
        ev.chunk.offset = j->offset;
        ev.chunk.data = data;
        ev.chunk.len = (uint32_t)len;
        ev.chunk.done = j->offset + (uint64_t)len == snap_file_bytes(*r);
    }
    node_step(n, &ev);
}

static void node_jobs(struct node *n, const struct raft_out *out)
{
    struct sim *s = &n->w->sim;

    for (unsigned i = 0; i < out->fetches_n; i++) {
        const struct raft_fetch *f = &out->fetches[i];
        struct job *j = xcalloc(1, sizeof(*j));

        *j = (struct job){f->peer, f->first, 0, f->n, f->bytes_max};
        sim_after(s, sim_range(s, 0, NS_PER_MS), node_fetch, n, n->life, (uintptr_t)j);
    }
    for (unsigned i = 0; i < out->chunk_reads_n; i++) {
        const struct raft_chunk_read *c = &out->chunk_reads[i];
        struct job *j = xcalloc(1, sizeof(*j));

        *j = (struct job){c->peer, c->index, c->offset, 0, c->len_max};
        sim_after(s, sim_range(s, 0, NS_PER_MS), node_chunk, n, n->life, (uintptr_t)j);
    }
}

/* ---- a snapshot that comes in ---- */

static int node_restore(struct node *n, uint64_t index)
{
    struct snap_reader *r;
    uint8_t *buf;
    ssize_t len;
    int err = snap_open_newest(&n->fs, &r, NULL);

    if (err)
        return err;
    buf = xmalloc(snap_state_bytes(r) + 1);
    len = snap_read_state(r, 0, buf, snap_state_bytes(r));
    if (len < 0 || machine_restore(&n->machine, buf, (size_t)len) != 0)
        world_fail(n->w, "server %u cannot restore its snapshot", n->no + 1);
    else if (snap_meta(r)->index != index || n->machine.applied != index)
        world_fail(n->w, "server %u restored %lu instead of %lu", n->no + 1,
                   (unsigned long)n->machine.applied, (unsigned long)index);
    else
        check_state(n);
    free(buf);
    snap_close(r);
    return 0;
}

static void node_installed(void *arg, uint64_t life, uint64_t index)
{
    struct node *n = arg;
    struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_INSTALLED, .installed = {.index = index}};

    if (!node_alive(n, life))
        return;
    n->w->count.installs++;
    node_step(n, &ev);
}

static int node_install(struct node *n, const struct raft_install *in)
{
    struct sim *s = &n->w->sim;
    uint64_t index = in->meta->index, term = in->meta->term, seq = n->seq_written;
    int err = 0;

    if (in->offset == 0) {
        n->in = snap_abort(n->in);
        err = snap_receive(&n->fs, &n->in);
    }
    if (err == 0)
        err = snap_receive_piece(n->in, in->offset, in->data, in->len);
    if (err || !in->done)
        return err;
    err = snap_commit(TAKE_PTR(n->in), in->meta);
    if (err == 0)
        err = wal_reset(n->wal, index, term);
    if (err)
        return err;
    n->snap_index = index;
    check_installed(n, index);
    err = node_restore(n, index);
    if (err)
        return err;
    n->seq_synced = MAX(n->seq_synced, seq); /* the reset made it durable */
    node_release_gated(n);
    sim_after(s, sim_range(s, 0, 20 * NS_PER_MS), node_installed, n, n->life, index);
    return 0;
}

/* ---- reads ---- */

static void node_reads(struct node *n, const struct raft_out *out)
{
    for (unsigned i = 0; i < out->reads_n; i++) {
        for (unsigned k = 0; k < n->asked_n; k++) {
            if (n->asked[k].id != out->reads[i].id)
                continue;
            if (out->reads[i].err == 0)
                check_read(n, &n->asked[k], out->reads[i].index);
            n->asked[k] = n->asked[--n->asked_n];
            break;
        }
    }
}

/* ---- the step ---- */

int node_step(struct node *n, struct raft_event *ev)
{
    struct world *w = n->w;
    const struct raft_out *out;
    uint64_t life = n->life;
    int err, r;

    ev->now = node_now(n);
    r = raft_step(n->raft, ev, &out);
    w->count.steps++;
    check_step(n, out);
    if (world_failed(w))
        return r;
    if (out->seq) {
        err = node_write(n, out);
        if (err) {
            node_disk_error(n, err);
            return 0;
        }
    }
    if (out->sync_before_send)
        n->gate_seq = out->seq;
    for (unsigned i = 0; i < out->msgs_n; i++)
        node_send(n, &out->msgs[i], n->gate_seq);
    node_reads(n, out);
    node_jobs(n, out);
    sim_after(&w->sim, node_delay(n, out->deadline), node_tick, n, life, ++n->tick_no);
    if (out->notice & RAFT_NOTICE_INSTALL_ABORTED)
        n->in = snap_abort(n->in);
    if (out->apply_first)
        node_apply(n, out->apply_first, out->apply_last);
    if (out->install) {
        err = node_install(n, out->install);
        if (err) {
            node_disk_error(n, err);
            return 0;
        }
    }
    node_sync_start(n);
    return r;
}

/* ---- life and death ---- */

void node_init(struct world *w, unsigned no)
{
    struct node *n = &w->nodes[no];

    *n = (struct node){.w = w, .no = no};
    n->disk = sim_disk_new(&w->sim.prng);
    n->fs = sim_wal_fs(n->disk);
    machine_init(&n->machine, w->opt.real_machine);
    n->clock_offset_ns = sim_range(&w->sim, 0, 1000 * NS_PER_SEC);
    n->clock_ppm = sim_range(&w->sim, -(int64_t)w->opt.drift_ppm, w->opt.drift_ppm);
}

static void node_close(struct node *n)
{
    n->up = false;
    n->life++;
    n->raft = raft_free(n->raft);
    n->wal = wal_close(n->wal);
    n->in = snap_abort(n->in);
    for (unsigned i = 0; i < SIM_NODES_MAX; i++)
        n->sending[i] = snap_close(n->sending[i]);
    for (size_t i = 0; i < n->gated_n; i++)
        free(n->gated[i].packet);
    n->gated_n = 0;
    n->proposals_n = n->asked_n = 0;
    n->syncing = false;
    n->seq_written = n->seq_syncing = n->seq_synced = n->gate_seq = 0;
}

void node_fini(struct node *n)
{
    node_close(n);
    n->disk = sim_disk_free(n->disk);
    machine_fini(&n->machine);
    free(n->gated);
    n->gated = NULL;
}

void node_bootstrap(struct node *n, const struct raft_config *c)
{
    uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
    struct raft_entry e = {.index = 1, .term = 1, .type = RAFT_ENTRY_CONFIG, .data = bytes};
    struct errtext text;
    struct wal *wal;
    int err;

    e.len = (uint32_t)raft_config_encode(c, bytes);
    err = wal_open(&n->fs, NULL, &wal, &text);
    assert(err == 0);
    err = wal_append_hard(wal, 1, 0);
    assert(err == 0);
    err = wal_append(wal, &e, 1);
    assert(err == 0);
    err = wal_sync(wal);
    assert(err == 0);
    wal_close(wal);
}

static int node_load_entry(void *user, const struct raft_entry *e)
{
    struct node *n = user;

    return raft_load_entry(n->raft, e);
}

static int node_load(struct node *n, struct errtext *e)
{
    struct wal_options wo = {.segment_bytes = n->w->opt.segment_bytes, .buffer_bytes = 4096};
    struct snap_reader *r = NULL;
    struct wal_state st;
    int err = snap_open_newest(&n->fs, &r, e);

    if (err && err != -ENOENT)
        return err;
    err = wal_open(&n->fs, &wo, &n->wal, e);
    n->snap_index = 0;
    if (err == 0 && r) {
        n->snap_index = snap_meta(r)->index;
        err = wal_align(n->wal, n->snap_index, snap_meta(r)->term);
        raft_load_snapshot(n->raft, snap_meta(r));
    }
    snap_close(r);
    if (err)
        return err;
    wal_state(n->wal, &st);
    raft_load_hard(n->raft, st.term, st.vote);
    if (n->snap_index)
        raft_load_log_base(n->raft, (struct raft_position){st.base_index, st.base_term});
    err = wal_replay(n->wal, st.base_index + 1, node_load_entry, n);
    if (err == 0 && n->machine.applied < n->snap_index)
        err = node_restore(n, n->snap_index);
    return err;
}

void node_start(struct node *n)
{
    const struct sim_options *o = &n->w->opt;
    struct raft_options ro = {
        .id = node_id(n),
        .seed = prng_u64(&n->w->sim.prng),
        .election_timeout_ns = o->election_ns,
        .heartbeat_ns = o->election_ns / 5,
        .lease_off = o->lease_off,
        .msg_entries_max = o->msg_entries_max,
        .msg_bytes_max = o->msg_bytes_max,
        .inflight_max = o->inflight_max,
        .chunk_bytes = o->chunk_bytes,
        .tail_bytes_max = o->tail_bytes_max,
        .uncommitted_bytes_max = o->uncommitted_bytes_max,
        .reads_max = 64,
        .promote_lag_max = 20,
    };
    struct raft_event ev = {.type = RAFT_EV_START};
    struct errtext text = {{0}};
    int err;

    assert(!n->up);
    n->raft = raft_new(&ro);
    err = node_load(n, &text);
    if (err) {
        /* Without an injected disk error recovery must succeed. */
        if (err == -EIO || err == -ENOSPC) {
            node_crash(n, true);
            return;
        }
        world_fail(n->w, "server %u cannot recover: %d %s", n->no + 1, err, text.text);
        return;
    }
    n->up = n->running = true;
    check_recovered(n);
    ev.start.applied = n->machine.applied;
    node_step(n, &ev);
}

/* `power`: what was not synced may be lost or torn, and the state machine's memory is gone. Else
 * only the process died: files and state machine are as it left them. */
void node_crash(struct node *n, bool power)
{
    world_log(n->w, n, "crash, power %d", power);
    n->w->count.crashes++;
    if (power) {
        sim_disk_crash(n->disk);
        machine_reset(&n->machine);
    } else {
        sim_disk_fail_after(n->disk, 0, 0);
    }
    node_close(n);
}
