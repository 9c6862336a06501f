/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Disk work. Appends go into the log's buffer from the loop; the disk thread syncs them, one sync
 * for whatever has gathered, and the loop hears of it. Snapshots are written by a worker from an
 * MVCC read transaction while the loop goes on. Restarting or cutting the log needs the disk thread
 * idle: the loop waits for the sync under way (some milliseconds) and does it itself.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "raftd.h"

#define SNAPSHOTS_KEPT    2
#define SNAPSHOT_SMALL    (4u << 20)  /* writing this much is nothing: entries decide */
#define SNAPSHOT_LOG_MAX  (64u << 20) /* bytes of log that call for one, however few entries */
#define SNAPSHOT_RETRY_NS (30 * NS_PER_SEC) /* after a failed one */
#define CHUNKS_MAX        (RAFT_SERVERS_MAX * 2)
#define FETCHED_MAX       1024

/* A snapshot on its way to disk; filled by the loop, worked on by one libuv worker. */
struct raftd_snapshot {
    uv_work_t work;
    struct raftd *rd;
    struct raft_snapshot_meta meta;
    struct state_snapshot *state;
    uint64_t bytes;
    uint64_t log_bytes; /* of the log until then */
    int err;
};

static void *disk_main(void *arg)
{
    struct raftd_disk *d = &((struct raftd *)arg)->disk;

    pthread_mutex_lock(&d->lock);
    while (!d->quit && d->err == 0) {
        uint64_t want = d->wanted;
        int r;

        if (want == d->done) {
            pthread_cond_broadcast(&d->idle);
            pthread_cond_wait(&d->wake, &d->lock);
            continue;
        }
        pthread_mutex_unlock(&d->lock);
        r = wal_sync(d->wal);
        pthread_mutex_lock(&d->lock);
        if (r < 0)
            d->err = r;
        else
            d->done = want;
        uv_async_send(d->async);
    }
    pthread_cond_broadcast(&d->idle);
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static void on_synced(uv_async_t *h)
{
    struct raftd *rd = h->data;
    struct raftd_disk *d = &rd->disk;
    struct raft_event ev = {.type = RAFT_EV_PERSISTED};
    int err;

    if (rd->stopping)
        return;
    pthread_mutex_lock(&d->lock);
    ev.persisted.seq = d->done;
    err = d->err;
    pthread_mutex_unlock(&d->lock);
    if (err < 0) {
        svc_fatal(rd->ctx, "cannot write the raft log: %s", strerror(-err));
        return;
    }
    raftd_peers_release(rd, ev.persisted.seq);
    raftd_step(rd, &ev);
}

void raftd_disk_quiesce(struct raftd *rd)
{
    struct raftd_disk *d = &rd->disk;

    pthread_mutex_lock(&d->lock);
    while (d->wanted != d->done && d->err == 0)
        pthread_cond_wait(&d->idle, &d->lock);
    pthread_mutex_unlock(&d->lock);
}

int raftd_disk_open(struct raftd *rd, struct errtext *e)
{
    struct raftd_disk *d = &rd->disk;
    int r;

    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->wake, NULL);
    pthread_cond_init(&d->idle, NULL);
    d->async = xcalloc(1, sizeof(*d->async));
    uv_async_init(rd->ctx->loop, d->async, on_synced);
    d->async->data = rd;
    r = pthread_create(&d->thread, NULL, disk_main, rd);
    if (r != 0)
        return err_set(e, -r, "cannot start the disk thread: %s", strerror(r));
    d->started = true;
    return 0;
}

static void free_handle(uv_handle_t *h)
{
    free(h);
}

void raftd_disk_close(struct raftd *rd)
{
    struct raftd_disk *d = &rd->disk;

    if (d->started) {
        pthread_mutex_lock(&d->lock);
        d->quit = true;
        pthread_cond_signal(&d->wake);
        pthread_mutex_unlock(&d->lock);
        pthread_join(d->thread, NULL);
        d->started = false;
    }
    while (d->taking) /* its worker finishes; the loop still runs after-work callbacks */
        uv_run(rd->ctx->loop, UV_RUN_ONCE);
    if (d->async)
        uv_close((uv_handle_t *)d->async, free_handle);
    d->async = NULL;
    d->receiving = snap_abort(d->receiving);
    if (d->sending)
        d->sending = snap_close(d->sending);
    if (d->wal)
        d->wal = wal_close(d->wal);
    if (d->fs.ops)
        wal_fs_posix_close(&d->fs);
}

static void disk_failed(struct raftd *rd, int err)
{
    svc_fatal(rd->ctx, "cannot write the raft log: %s", strerror(-err));
}

void raftd_disk_write(struct raftd *rd, const struct raft_out *out)
{
    struct raftd_disk *d = &rd->disk;
    int r = 0;

    if (out->hard_changed)
        r = wal_append_hard(d->wal, out->hard.term, out->hard.vote);
    if (r == 0 && out->truncate_from)
        r = wal_truncate(d->wal, out->truncate_from);
    if (r == 0 && out->append_n)
        r = wal_append(d->wal, out->append, out->append_n);
    if (r < 0) {
        disk_failed(rd, r);
        return;
    }
    for (unsigned i = 0; i < out->append_n; i++)
        d->log_bytes += out->append[i].len + 32;
    pthread_mutex_lock(&d->lock);
    d->wanted = out->seq;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
}

/* ---- taking a snapshot ---- */

static void snapshot_work(uv_work_t *w)
{
    struct raftd_snapshot *s = w->data;
    struct snap_writer *out = NULL;
    struct bytes block;

    s->err = snap_create(&s->rd->disk.fs, &s->meta, &out);
    while (s->err == 0) {
        s->err = state_snapshot_next(s->state, &block);
        if (s->err != 0 || block.len == 0)
            break;
        s->bytes += block.len;
        s->err = snap_write(out, block.data, block.len);
    }
    s->state = state_snapshot_end(s->state);
    if (s->err == 0)
        s->err = snap_commit(out, &s->meta);
    else
        snap_abort(out);
}

static struct raft_position log_base(struct raftd *rd)
{
    struct wal_state st;

    wal_state(rd->disk.wal, &st);
    return (struct raft_position){st.base_index, st.base_term};
}

static void snapshot_done(uv_work_t *w, int status)
{
    struct raftd_snapshot *s = w->data;
    struct raftd *rd = s->rd;
    struct raftd_disk *d = &rd->disk;
    struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_TAKEN, .taken = {.meta = &s->meta}};

    (void)status;
    d->taking = NULL;
    if (s->err != 0) {
        log_error("cannot write a snapshot of the state: %s; will try again index=%llu", strerror(abs(s->err)),
                  (unsigned long long)s->meta.index);
        d->snapshot_retry_ns = clock_mono().ns + SNAPSHOT_RETRY_NS;
        free(s);
        return;
    }
    if (s->meta.index <= d->snapshot_index) { /* the leader has sent a newer one meanwhile */
        free(s);
        return;
    }
    d->snapshot_index = s->meta.index;
    d->snapshot_term = s->meta.term;
    d->snapshot_bytes = s->bytes;
    d->log_bytes -= MIN(d->log_bytes, s->log_bytes);
    log_info("snapshot taken index=%llu bytes=%llu", (unsigned long long)s->meta.index,
             (unsigned long long)s->bytes);
    if (!rd->stopping) {
        int r;

        raftd_disk_quiesce(rd);
        r = wal_compact(d->wal, s->meta.index, rd->ctx->conf->server.raft_trailing_logs);
        if (r < 0)
            log_warn("the log was not shortened: %s", strerror(-r));
        ev.taken.log_base = log_base(rd);
        raftd_step(rd, &ev);
        (void)snap_prune(&d->fs, SNAPSHOTS_KEPT);
    }
    free(s);
}

/*
 * raft_snapshot_threshold entries since the last one call for a snapshot; so does a long log of few
 * large entries. A large state waits until the log has grown by as much again: each byte of log
 * costs at most two bytes of snapshots then.
 */
static bool snapshot_due(struct raftd *rd)
{
    const struct raftd_disk *d = &rd->disk;
    uint64_t applied = fsm_applied_index(rd->fsm);
    bool many = applied >= d->snapshot_index + rd->ctx->conf->server.raft_snapshot_threshold;

    if (d->taking || rd->stopping || rd->installing || applied <= d->snapshot_index ||
        clock_mono().ns < d->snapshot_retry_ns)
        return false;
    return (many || d->log_bytes >= SNAPSHOT_LOG_MAX) &&
           (d->snapshot_bytes <= SNAPSHOT_SMALL || d->log_bytes >= d->snapshot_bytes);
}

void raftd_disk_consider_snapshot(struct raftd *rd)
{
    struct raftd_disk *d = &rd->disk;
    const struct raft_config *config;
    struct raftd_snapshot *s;
    struct snapshot_info info;
    uint64_t config_index;

    if (!snapshot_due(rd))
        return;
    config = raft_config_at(rd->raft, fsm_applied_index(rd->fsm), &config_index);
    if (!config)
        return; /* a change is under way: after it */
    s = xcalloc(1, sizeof(*s));
    s->rd = rd;
    s->work.data = s;
    if (state_snapshot_begin(rd->store, &s->state, &info) < 0) {
        free(s);
        return;
    }
    s->meta = (struct raft_snapshot_meta){
        .index = info.index, .term = info.term, .config_index = config_index, .config = *config};
    s->log_bytes = d->log_bytes;
    d->taking = s;
    uv_queue_work(rd->ctx->loop, &s->work, snapshot_work, snapshot_done);
}

/* ---- what the core asks for ---- */

static void serve_fetch(struct raftd *rd, const struct raft_fetch *f)
{
    _cleanup_(freep) struct raft_entry *entries =
        xcalloc(MIN(f->n, (unsigned)FETCHED_MAX), sizeof(*entries));
    struct raft_buf *buf = NULL;
    struct raft_event ev = {.type = RAFT_EV_FETCHED};
    int r = wal_read(rd->disk.wal, f->first, MIN(f->n, (unsigned)FETCHED_MAX), f->bytes_max,
                     entries, &buf);

    ev.fetched.peer = f->peer;
    ev.fetched.first = f->first;
    ev.fetched.entries = entries;
    ev.fetched.n = r > 0 ? (unsigned)r : 0;
    ev.fetched.err = r < 0 ? r : 0;
    raftd_step(rd, &ev);
    raft_buf_unref(buf);
}

static void serve_chunk(struct raftd *rd, const struct raft_chunk_read *c)
{
    struct raftd_disk *d = &rd->disk;
    struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_CHUNK};
    _cleanup_(freep) uint8_t *data = xmalloc(c->len_max);
    struct errtext e = {{0}};
    ssize_t n = -ENOENT;

    if (d->sending && (c->index == 0 || snap_meta(d->sending)->index != c->index))
        d->sending = snap_close(d->sending);
    if (!d->sending && snap_open_newest(&d->fs, &d->sending, &e) < 0)
        d->sending = NULL;
    if (d->sending && (c->index == 0 || snap_meta(d->sending)->index == c->index))
        n = snap_read_file(d->sending, c->offset, data, c->len_max);
    ev.chunk.peer = c->peer;
    ev.chunk.meta = d->sending ? snap_meta(d->sending) : NULL;
    ev.chunk.offset = c->offset;
    ev.chunk.data = data;
    ev.chunk.len = n > 0 ? (uint32_t)n : 0;
    ev.chunk.err = n < 0 ? (int)n : 0;
    ev.chunk.done = n >= 0 && c->offset + (uint64_t)n >= snap_file_bytes(d->sending);
    raftd_step(rd, &ev);
    if (ev.chunk.done &&
        d->sending) /* an open file that was replaced would keep its room on disk */
        d->sending = snap_close(d->sending);
}

int raftd_disk_load_snapshot(struct raftd *rd, struct errtext *e)
{
    struct raftd_disk *d = &rd->disk;
    struct state_restore *restore = NULL;
    struct snap_reader *in = NULL;
    uint8_t buf[65536];
    uint64_t offset = 0;
    ssize_t n = 0;
    int r = snap_open_newest(&d->fs, &in, e);

    if (r == 0)
        r = state_restore_begin(rd->store, &restore);
    while (r == 0 && (n = snap_read_state(in, offset, buf, sizeof(buf))) > 0) {
        r = state_restore_chunk(restore, buf, (size_t)n, e);
        offset += (uint64_t)n;
    }
    if (r == 0 && n < 0)
        r = (int)n;
    if (r == 0) {
        r = state_restore_commit(TAKE_PTR(restore), e);
    } else {
        state_restore_abort(restore);
    }
    if (r == 0) {
        d->snapshot_index = snap_meta(in)->index;
        d->snapshot_term = snap_meta(in)->term;
        d->snapshot_bytes = offset;
        r = fsm_reload(rd->fsm);
    }
    if (in)
        snap_close(in);
    return r > 0 ? -EBADMSG : r;
}

static void finish_install(struct raftd *rd, const struct raft_snapshot_meta *meta)
{
    struct raftd_disk *d = &rd->disk;
    struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_INSTALLED};
    struct errtext e = {{0}};
    int r = snap_commit(TAKE_PTR(d->receiving), meta);

    if (r == 0) {
        raftd_disk_quiesce(rd);
        r = wal_reset(d->wal, meta->index, meta->term);
        if (r == 0)
            r = raftd_disk_load_snapshot(rd, &e);
        if (r < 0) { /* the log is restarted already: only a restart of the process can tell */
            svc_fatal(rd->ctx, "cannot install snapshot %llu: %s", (unsigned long long)meta->index,
                      e.text[0] ? e.text : strerror(-r));
            return;
        }
        rd->apply_next = 0;
        d->log_bytes = 0;
        log_info("snapshot installed index=%llu", (unsigned long long)meta->index);
    } else {
        log_warn("snapshot from the leader refused: %s", strerror(-r));
    }
    rd->installing = false;
    ev.installed.index = meta->index;
    ev.installed.err = r;
    raftd_step(rd, &ev);
    (void)snap_prune(&d->fs, SNAPSHOTS_KEPT);
}

static void serve_install(struct raftd *rd, const struct raft_install *in)
{
    struct raftd_disk *d = &rd->disk;
    struct raft_snapshot_meta meta = *in->meta;
    int r = 0;

    if (in->offset == 0) {
        d->receiving = snap_abort(d->receiving);
        r = snap_receive(&d->fs, &d->receiving);
    }
    if (r == 0 && d->receiving)
        r = snap_receive_piece(d->receiving, in->offset, in->data, in->len);
    if (r < 0 || !d->receiving) {
        struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_INSTALLED,
                                .installed = {.index = meta.index, .err = r < 0 ? r : -EIO}};

        log_error("cannot keep the leader's snapshot: %s", strerror(-ev.installed.err));
        d->receiving = snap_abort(d->receiving);
        raftd_step(rd, &ev);
        return;
    }
    if (in->done) {
        rd->installing = true;
        finish_install(rd, &meta);
    }
}

void raftd_disk_serve(struct raftd *rd, const struct raft_out *out)
{
    struct raft_fetch fetches[CHUNKS_MAX];
    struct raft_chunk_read chunks[CHUNKS_MAX];
    unsigned fetches_n = MIN(out->fetches_n, (unsigned)CHUNKS_MAX);
    unsigned chunks_n = MIN(out->chunk_reads_n, (unsigned)CHUNKS_MAX);
    const struct raft_install *install = out->install;

    if (out->notice & RAFT_NOTICE_INSTALL_ABORTED)
        rd->disk.receiving = snap_abort(rd->disk.receiving);
    if (!fetches_n && !chunks_n && !install)
        return;
    /* Each answer is a step of its own, which overwrites *out. */
    if (fetches_n)
        memcpy(fetches, out->fetches, fetches_n * sizeof(*fetches));
    if (chunks_n)
        memcpy(chunks, out->chunk_reads, chunks_n * sizeof(*chunks));
    if (install)
        serve_install(rd, install);
    for (unsigned i = 0; i < fetches_n; i++)
        serve_fetch(rd, &fetches[i]);
    for (unsigned i = 0; i < chunks_n; i++)
        serve_chunk(rd, &chunks[i]);
}
