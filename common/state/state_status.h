/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The status page: a small file in the run directory (raftd.status) that raftd maps and writes and
 * that apid and routerd map and read, so that a stale read on this node costs no message. A
 * sequence lock over C11 atomics: a reader gets a whole page or tries again, never a torn one.
 */
#pragma once

#include "base/base.h"
#include "base/clock.h"
#include "base/err.h"

#define STATE_STATUS_BEAT_MS  100 /* raftd writes at least this often while it lives */
#define STATE_STATUS_DEAD_MS  500 /* older than this: taken for dead */
#define STATE_STATUS_ADDR_MAX 64

enum state_status_role { STATE_STATUS_FOLLOWER, STATE_STATUS_CANDIDATE, STATE_STATUS_LEADER };

/* What the leader has to do with evaluations and nodes, by Nomad's names of its gauges, in their
 * order. Zeros elsewhere. */
#define STATE_STATUS_COUNTS(X)                                                                     \
    X(BLOCKED, "nomad.blocked_evals.total_blocked")                                                \
    X(ESCAPED, "nomad.blocked_evals.total_escaped")                                                \
    X(BATCH_READY, "nomad.broker.batch.ready")                                                     \
    X(SERVICE_READY, "nomad.broker.service.ready")                                                 \
    X(SYSTEM_READY, "nomad.broker.system.ready")                                                   \
    X(BEHIND, "nomad.broker.total_blocked")                                                        \
    X(READY, "nomad.broker.total_ready")                                                           \
    X(UNACKED, "nomad.broker.total_unacked")                                                       \
    X(WAITING, "nomad.broker.total_waiting")                                                       \
    X(HEARTBEATS, "nomad.heartbeat.active")                                                        \
    X(PLANS, "nomad.plan.queue_depth")
enum state_status_count {
#define X(id, text) STATE_STATUS_N_##id,
    STATE_STATUS_COUNTS(X)
#undef X
        STATE_STATUS_COUNTS_N
};

struct state_status {
    uint64_t generation; /* of the store file (store_generation()) */
    enum state_status_role role;
    uint64_t term;
    bool leader_known;
    char leader_addr[STATE_STATUS_ADDR_MAX]; /* ip:port of its RPC, "" = not known */
    struct mono_ns last_contact; /* with the leader, 0 = never; on the leader: ignored, it is now */
    uint64_t applied, commit;    /* log indexes */
    uint64_t counts[STATE_STATUS_COUNTS_N];
    struct mono_ns beat; /* when this was written */
};

enum {
    STATE_STATUS_E_ABSENT = 1, /* no page: raftd has not run yet */
    STATE_STATUS_E_DEAD = 2,   /* the writer ended or stands still */
};

/* ---- raftd; one thread ---- */

struct state_status_writer;
/* Makes a new file at path (replacing one that is there). -errno with a text. */
int state_status_writer_new(const char *path, struct state_status_writer **ret, struct errtext *e);
/* Publishes; *st is borrowed. st->beat must be now. */
void state_status_put(struct state_status_writer *w, const struct state_status *st);
/* Only says that the writer lives. */
void state_status_beat(struct state_status_writer *w, struct mono_ns now);
/* Marks the page as left, removes the file. NULL is fine; returns NULL. */
struct state_status_writer *state_status_writer_free(struct state_status_writer *w);

/* ---- apid, routerd; any number of threads ---- */

struct state_status_reader;
/* Opens nothing yet: state_status_read() does, and again whenever the file was replaced. */
struct state_status_reader *state_status_reader_new(const char *path);
struct state_status_reader *state_status_reader_free(struct state_status_reader *r);
/* 0, STATE_STATUS_E_ABSENT or _DEAD (*ret untouched), -errno. Some 30 ns when all is well. */
int state_status_read(struct state_status_reader *r, struct mono_ns now, struct state_status *ret);
/* X-Nomad-LastContact: milliseconds, 0 on the leader, 9223372036854 when never. */
uint64_t state_status_last_contact_ms(const struct state_status *st, struct mono_ns now);
