/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What the files of serfd's shell share. serfd_shell.c: the core's events and effects, UDP, life.
 * serfd_streams.c: TCP. serfd_join.c: joins, rejoin. serfd_lookup.c: names. serfd_exec.c: commands
 * that print addresses. serfd_disk.c: files. serfd_keyring.c: the keyring's start and its changes.
 * serfd_rpc.c: the Serf.* methods; serfd_ask.c: those that ask the whole pool. serfd_conf.c:
 * configuration to options and tags. serfd_stamps.c: what data_dir says about federation and raft
 * group.
 */
#pragma once

#include <pb.h>
#include <uv.h>

#include "base/strbuf.h"
#include "bus/bus.h"
#include "serfd_core.h"
#include "serfd_guard.h"
#include "serfd_snapshot.h"
#include "svc/svc.h"

#define STREAMS_MAX       128         /* incoming ones at a time */
#define STREAM_TIMEOUT_MS 10000       /* of an incoming one, all of it */
#define STREAM_MEMORY_MAX (64u << 20) /* bytes that all streams hold together */

struct serfd_stream;
struct serfd_joiner;
struct serfd_ask;
struct serfd_keys_save;
struct serfd_report;

struct serfd {
    struct svc_ctx *ctx;
    struct serf *serf;
    struct serf_out out;
    bool stepping;
    struct seal_keyring keyring;
    struct guard_rules guard;
    char raft_group[GUARD_GROUP_LEN + 1]; /* "": not part of one yet */
    struct gossip_addr listen_addr, advertise_addr;

    int udp_fd;
    uv_poll_t udp_poll;
    uv_tcp_t tcp;
    uv_timer_t tick;
    bool tcp_open;

    struct serfd_stream *streams; /* incoming and dialled */
    size_t n_incoming, stream_bytes;
    uint64_t next_stream;

    struct serfd_joiner *joiner;
    struct serfd_report *reports; /* "could we join?" asked and not yet answered */
    uint64_t next_check;

    char *keyring_path;
    struct serfd_keys_save *keys_save; /* under way */

    uint32_t epoch;             /* of our region, as the file says */
    struct bus_req *region_req; /* who asked the region to leave, waiting */

    char *snapshot_path;
    uv_timer_t snapshot_timer;
    bool snapshot_dirty;
    bool snapshot_failing;
    uint64_t snapshot_clocks[3]; /* when it was written */
    bool has_left;

    struct bus_server *server;
    struct bus_pub *pub;
    uint64_t version_base; /* wall clock of the start: versions rise over restarts */
    uint64_t version_told;
    struct bus_req *leave_req; /* who asked us to leave, waiting */
    struct serfd_ask *asks;    /* questions to the pool under way */
    uint64_t next_ask;
    bool stopping;

    int64_t log_allowance, log_filled_at; /* limits warnings that peers can provoke */
    uint64_t log_suppressed;
};

/* serfd_shell.c */
int serfd_init(struct svc_ctx *ctx, struct errtext *e);
void serfd_stop(struct svc_ctx *ctx);
void serfd_fini(struct svc_ctx *ctx);
/* One step of the core and all its effects. `now` is filled in. */
int serfd_step(struct serfd *sd, struct serf_event *ev);
/* The same for many events: steps, then one serfd_settle(). */
void serfd_settle(struct serfd *sd);
void serfd_log_peer(struct serfd *sd, enum log_level level, const char *text);
uint64_t serfd_version(const struct serfd *sd);
socklen_t serfd_sockaddr(const struct gossip_addr *a, struct sockaddr_storage *ss);
bool serfd_from_sockaddr(const struct sockaddr *sa, struct gossip_addr *ret);

/* serfd_streams.c */
int serfd_streams_listen(struct serfd *sd, struct errtext *e);
void serfd_streams_dial(struct serfd *sd, const struct serf_effect *fx, struct span data);
void serfd_streams_answer(struct serfd *sd, uint64_t id, struct span data);
void serfd_streams_fini(struct serfd *sd);

/* serfd_join.c */
typedef void serfd_join_fn(void *user, unsigned num_joined, const char *error);
void serfd_joiner_init(struct serfd *sd);
void serfd_joiner_fini(struct serfd *sd);
struct serfd_join_order {
    char *const *addrs; /* "host[:port]", read at once; all are joined at the same time */
    size_t n;
    unsigned timeout_ms; /* until fn is called, once */
    bool own;            /* of our own configuration: "exec=COMMAND" is run */
};
void serfd_join(struct serfd *sd, const struct serfd_join_order *order, serfd_join_fn *fn,
                void *user);
void serfd_joined(struct serfd *sd, const struct serf_effect *fx, const char *text);
/* start_join, retry_join and what the snapshot knows; then the bus and svc_ready(). */
void serfd_joiner_start(struct serfd *sd);

/* serfd_lookup.c */
#define LOOKUP_ADDRS_MAX 64 /* further ones of a name are left out */
/* error NULL: what `host` stands for, at least one address. */
typedef void serfd_lookup_fn(void *user, const char *host, const char *error,
                             const struct gossip_addr *addrs, size_t n);
/*
 * Calls fn once: from within for an address and for what is none, later for a name. It cannot be
 * taken back: fn may be called after serfd_stop().
 */
void serfd_lookup(struct serfd *sd, const char *text, serfd_lookup_fn *fn, void *user);

/* serfd_report.c: Serf.JoinCheck */
void serfd_report_request(struct serfd *sd, struct bus_req *req);
void serfd_checked(struct serfd *sd, const struct serf_effect *fx, const char *report);
void serfd_report_fini(struct serfd *sd);

/* serfd_regions.c: the region's place in the federation on disk; Serf.RegionLeave, RegionRemove */
int serfd_regions_load(struct serfd *sd, struct errtext *e);
void serfd_regions_settle(struct serfd *sd);
void serfd_regions_leave(struct serfd *sd, struct bus_req *req);
void serfd_regions_remove(struct serfd *sd, struct bus_req *req);
bool serfd_regions_out(const struct serfd *sd);

/* serfd_exec.c */
struct serfd_exec;
/* error NULL: `out` is what the command printed. Called once, from the loop. */
typedef void serfd_exec_fn(void *user, const char *error, const char *out, size_t len);
/* NULL with a text when it cannot be started. It frees itself after fn. */
struct serfd_exec *serfd_exec_start(struct serfd *sd, const char *command, serfd_exec_fn *fn,
                                    void *user, struct errtext *e);
/* Ends it; fn is not called. Only before fn was called. */
void serfd_exec_cancel(struct serfd_exec *x);

/* serfd_rpc.c */
int serfd_rpc_init(struct serfd *sd, struct errtext *e);
void serfd_rpc_fini(struct serfd *sd);
void serfd_rpc_left(struct serfd *sd);

/* A reply with an encoded message. */
void serfd_reply(struct bus_req *req, const pb_msgdesc_t *fields, const void *msg);

/* serfd_ask.c */
/* True when the request was one of its methods. */
bool serfd_ask_request(struct serfd *sd, struct bus_req *req);
/* What the core says of a question: a reply or its end. */
void serfd_ask_heard(struct serfd *sd, const struct serf_effect *fx, struct span data);
void serfd_ask_fini(struct serfd *sd);

/* serfd_keyring.c */
/* The keys of the file, or of the configuration, which are then written to the file. */
int serfd_keyring_load(struct serfd *sd, struct errtext *e);
/* Writes the file on another thread, then tells the core. */
void serfd_keyring_save(struct serfd *sd, struct span text);
/* Waits for a write under way. */
void serfd_keyring_fini(struct serfd *sd);

/* serfd_disk.c; the snapshot's part is in serfd_snapshot.h */
/*
 * By a new file with mode 0600 and a rename, so that there is a whole one at any time; with `sync`
 * it is safe on disk, its name too, when it returns 0. -errno, with the file's name in *e.
 */
int serfd_file_replace(const char *path, const char *data, size_t len, bool sync,
                       struct errtext *e);
/* -ENOENT: there is none. */
int keyring_read(const char *path, struct seal_keyring *ring, struct errtext *e);
/* With mode 0600; safe on disk when it returns 0. */
int keyring_write(const char *path, const char *text, size_t len, struct errtext *e);

/* serfd_conf.c */
/* Fills options from the configuration; `name` and `meta` keep the memory. */
int serfd_conf_options(struct serfd *sd, struct serf_options *o, struct strbuf *name,
                       struct strbuf *meta, struct errtext *e);
/* Our tags as they are now. -E2BIG. */
int serfd_conf_tags(const struct serfd *sd, struct strbuf *out, struct errtext *e);
/* "host", "host:port", "1.2.3.4", "[::1]:5" to host (owned by the caller) and port. */
int serfd_conf_split(const char *text, int default_port, char **ret_host, uint16_t *ret_port);
bool serfd_conf_ip(const char *host, uint16_t port, struct gossip_addr *ret);

/* serfd_stamps.c */
/* Checks the federation's stamp, writes it when there is none; reads the raft group's. */
int serfd_stamps_load(struct serfd *sd, struct errtext *e);
/* A file of one short line into buf, without its newline; "" when there is none. */
int serfd_stamp_read(const char *path, char *buf, size_t size, struct errtext *e);
/* The same back: whole or not at all, and synced. */
int serfd_stamp_write(const char *path, const char *text, struct errtext *e);
/* raftd says which group it is part of: tells the pool. -EINVAL when it is no group's id. */
int serfd_set_group(struct serfd *sd, const char *group);
