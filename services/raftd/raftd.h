/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The process around the Raft core: one loop thread that steps the core and applies its effects,
 * and one thread that waits for the disk (raftd_disk). What happens in which file:
 *
 *     raftd_shell.c     start, stop, the status page, reload
 *     raftd_boot.c      the disk's state into the core and the state machine; bootstrap
 *     raftd_step.c      events into the core, its effects out; batching
 *     raftd_disk.c      write-ahead log, snapshots taken, sent and installed
 *     raftd_peers.c     messages between servers
 *     raftd_rpc.c       requests: who answers, leader forward, reads, blocking queries
 *     raftd_write.c     requests that become commands, and their answers
 *     raftd_sched.c     the leader's part in scheduling; raftd_sched.h says what else belongs to it
 *     raftd_nodes.c     heartbeats of client nodes
 *     raftd_members.c   gossip's members -> the group's configuration
 *     raftd_found.c     the first configuration of a new group
 *     raftd_operator.c  methods about this server and its group
 *     raftd_clients.c   node clients' connections that this server holds, and calls over them
 *     raftd_seek.c      calls to node clients: which server holds the connection
 */
#pragma once

#include <pthread.h>

#include "base/idmap.h"
#include "base/prng.h"
#include "bus/bus.h"
#include "client.pb.h"
#include "member.pb.h"
#include "raft_core.h"
#include "raft_wire.h"
#include "rpc/rpc_methods.h"
#include "state/fsm.h"
#include "state/snapshot.h"
#include "state/state.h"
#include "state/state_status.h"
#include "svc/svc.h"
#include "wal.h"
#include "wal_snap.h"

#define RAFTD_HOLD_MS         5000 /* a request's wait for a leader, as Nomad's RPCHoldTimeout */
#define RAFTD_WATCHES_MAX     65536
#define RAFTD_PROPOSE_MAX     1024 /* commands that go into the log in one step */
#define RAFTD_GROUP_ID_LEN    16
#define RAFTD_CODE_NOT_LEADER 421 /* between servers: the asked one does not lead (any more) */

struct raftd;

/* ---- raftd_disk.c ---- */

/* The disk thread: waits for a sequence number to be asked for, syncs, tells the loop. */
struct raftd_disk {
    struct wal_fs fs;
    struct wal *wal;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    uint64_t wanted, done;         /* under lock: write numbers asked for, and durable */
    int err;                       /* under lock: of a failed sync */
    bool quit;                     /* under lock */
    uv_async_t *async;             /* done or err changed */
    struct snap_writer *receiving; /* a snapshot that the leader sends */
    struct snap_reader *sending;   /* the one that followers get */
    struct raftd_snapshot *taking; /* one being written by a worker */
    uint64_t snapshot_index, snapshot_term, snapshot_bytes;
    uint64_t log_bytes;        /* appended since the last snapshot, or since the start */
    int64_t snapshot_retry_ns; /* none before, after one that failed */
};

int raftd_disk_open(struct raftd *rd, struct errtext *e);
void raftd_disk_close(struct raftd *rd);
/* Queues the writes of one step. */
void raftd_disk_write(struct raftd *rd, const struct raft_out *out);
/* Serves the step's fetches, chunk reads and snapshot install. */
void raftd_disk_serve(struct raftd *rd, const struct raft_out *out);
/* Starts a snapshot when enough was applied since the last. */
void raftd_disk_consider_snapshot(struct raftd *rd);
/* The state machine's contents from the newest snapshot file. */
int raftd_disk_load_snapshot(struct raftd *rd, struct errtext *e);
/* Waits until the disk thread has nothing to do. */
void raftd_disk_quiesce(struct raftd *rd);

/* ---- raftd_peers.c ---- */

struct raftd_peer {
    uint64_t id;
    char address[RAFT_ADDRESS_MAX];
    struct bus_client *client;
    struct raftd_peer *next;
};

/* Follows the core's configuration. */
void raftd_peers_update(struct raftd *rd);
void raftd_peers_free(struct raftd *rd);
/* Frees the peers that raftd_peers_update() took out. */
void raftd_peers_sweep(struct raftd *rd);
struct raftd_peer *raftd_peer_find(struct raftd *rd, uint64_t id);
/* Sends the messages of one step, or holds them until write `seq` is durable. */
void raftd_peers_send(struct raftd *rd, const struct raft_out *out);
void raftd_peers_release(struct raftd *rd, uint64_t durable_seq);
/* A Raft.Message that came in. Takes req. */
void raftd_peers_receive(struct raftd *rd, struct bus_req *req);

/* ---- raftd_rpc.c ---- */

/* A request on its way: held for a leader, forwarded, waiting for a read index or for a change. */
struct raftd_call;
void raftd_rpc_request(void *user, struct bus_req *req); /* bus_request_fn */
/* The leader, or this server's readiness, changed: held requests try again. */
void raftd_rpc_leader_changed(struct raftd *rd);
void raftd_rpc_read_answered(struct raftd *rd, const struct raft_read_answer *answer);
/* Runs the reads that were answered and whose index the state machine has reached. */
void raftd_rpc_reads_run(struct raftd *rd);
void raftd_rpc_fini(struct raftd *rd);
/* Finishes a request that this server will not get done any more. */
void raftd_rpc_stopping(struct bus_req *req);
/* Known leader and age of its last word. */
void raftd_rpc_meta(struct raftd *rd, steppe_Reply *rep);
/* Answers with a message and `index` (X-Nomad-Index). */
void raftd_rpc_answer(struct raftd *rd, struct bus_req *req, uint64_t index,
                      const pb_msgdesc_t *fields, const void *msg);
/* Puts a request (back) on the list of those that wait for a leader to do its work. */
void raftd_rpc_hold(struct raftd *rd, struct bus_req *req);

/* ---- raftd_write.c ---- */

/* What becomes of a proposal. result is NULL when it is not known whether it will be applied. */
struct raftd_proposal;
typedef void raftd_applied_fn(struct raftd *rd, struct raftd_proposal *p,
                              const struct fsm_result *result);
struct raftd_proposal {
    struct bus_req *req; /* to be answered; NULL for the server's own commands */
    raftd_applied_fn *fn;
    struct strbuf command; /* until it is proposed */
    uint64_t index, term;  /* after */
    char node_id[37];      /* node methods: whose heartbeat timer this is about */
    char *warnings;        /* job registration: for the reply; owned */
    void *user;            /* fn's */
    /* The command is lost, or given back to its request: the leader's memory must follow. */
    void (*dropped)(struct raftd *rd, struct raftd_proposal *p);
    struct raftd_proposal *next;
};

/* Turns a write request into a command; called on a leader that is ready. Takes req. */
void raftd_write_request(struct raftd *rd, struct bus_req *req);
/* Proposes that a node whose heartbeat is missing is down. */
void raftd_write_node_down(struct raftd *rd, const char *node_id);
/* A proposal without its command; fn is called when it was applied. */
struct raftd_proposal *raftd_proposal_new(struct bus_req *req, raftd_applied_fn *fn);
/* Answers the request with an error, frees. */
void raftd_proposal_fail(struct raftd *rd, struct raftd_proposal *p, unsigned code, bool retryable,
                         const char *text);
/* Answers with what was applied, `more` behind it. */
void raftd_proposal_reply(struct raftd *rd, struct raftd_proposal *p,
                          const struct fsm_result *result, const struct strbuf *more);
/* Proposes a command of this server's own; a copy is made. */
void raftd_write_own(struct raftd *rd, enum command_type type, const void *body,
                     const struct bytes *blobs, size_t n);
/* Queues a proposal for the next step; takes it over. */
void raftd_propose(struct raftd *rd, struct raftd_proposal *p);
/* Proposes what is queued. */
void raftd_write_flush(struct raftd *rd);
/* An entry of the log was applied. */
void raftd_write_applied(struct raftd *rd, uint64_t index, uint64_t term,
                         const struct fsm_result *result);
/* A change of the group was proposed: the request is answered when it is committed. Takes req. */
void raftd_write_await_change(struct raftd *rd, struct bus_req *req, uint64_t index, uint64_t term);
/* Leadership is gone: nobody knows what becomes of those that are not committed. */
void raftd_write_leadership_lost(struct raftd *rd);
void raftd_write_fini(struct raftd *rd);

/* ---- raftd_sched.c ---- */

struct raftd_sched;
void raftd_sched_new(struct raftd *rd);
void raftd_sched_free(struct raftd *rd);
void raftd_sched_lead(struct raftd *rd);   /* leader and ready */
void raftd_sched_unlead(struct raftd *rd); /* also when it did not lead */
/* What has piled up during this turn of the loop. */
void raftd_sched_run(struct raftd *rd);
/* Methods that the leader answers from memory. False: it is none of them. Takes req if true. */
bool raftd_sched_request(struct raftd *rd, struct bus_req *req);
/* Fills in st->counts, on the leader. */
void raftd_sched_counts(const struct raftd *rd, struct state_status *st);
/* A server has failed: what its schedulers held goes to others. */
void raftd_sched_member_failed(struct raftd *rd, const char *node_id);

/* ---- raftd_nodes.c ---- */

struct raftd_nodes;
struct raftd_nodes *raftd_nodes_new(struct raftd *rd);
struct raftd_nodes *raftd_nodes_free(struct raftd_nodes *n);
void raftd_nodes_lead(struct raftd *rd); /* leader and ready: every node gets a timer */
void raftd_nodes_unlead(struct raftd *rd);
/* (Re)starts a node's timer. Returns the TTL that the node is told, ns. */
int64_t raftd_nodes_beat(struct raftd *rd, const char *node_id);
void raftd_nodes_forget(struct raftd *rd, const char *node_id);
size_t raftd_nodes_count(const struct raftd *rd);

/* ---- raftd_members.c ---- */

struct raftd_members;
int raftd_members_new(struct raftd *rd, struct errtext *e);
void raftd_members_free(struct raftd *rd);
/* On the leader: makes the group's configuration follow gossip. */
void raftd_members_reconcile(struct raftd *rd);
const steppe_MemberList *raftd_members_list(const struct raftd *rd);
bool raftd_member_is(const steppe_Member *m, const char *status);
/* The member as a server of the group. False: it is not of this region, or its tags do not fit. */
bool raftd_member_server(const struct raftd *rd, const steppe_Member *m, struct raft_server *ret);
/* "NODE.REGION" of a server id, or "(unknown)". */
const char *raftd_members_name(const struct raftd *rd, const char *server_uuid);
/* The RPC address that gossip shows for a server of this region. False: it shows none. */
bool raftd_members_address(const struct raftd *rd, uint64_t id,
                           char address[static RAFT_ADDRESS_MAX]);

/* ---- raftd_found.c ---- */

/* A server without a group: is it time to found one? */
void raftd_found_consider(struct raftd *rd);
/* A founder asks this server. True: it has no group and will found none but this one, for a while.
 */
bool raftd_found_promise(struct raftd *rd, const char *founder_uuid);
void raftd_found_sweep(struct raftd *rd); /* frees what was asked and answered */
void raftd_found_fini(struct raftd *rd);

/* ---- raftd_operator.c ---- */

/* Answers methods about this server and its group. Takes req. */
void raftd_operator_request(struct raftd *rd, struct bus_req *req);

/* ---- raftd_clients.c ---- */

struct raftd_clients;
struct raftd_clients *raftd_clients_new(struct raftd *rd);
struct raftd_clients *raftd_clients_free(struct raftd_clients *cs);
/* Takes req and says true when it is one of the Client.* methods. */
bool raftd_clients_request(struct raftd *rd, struct bus_req *req);
/* Passes a call to the node over its connection, and the answer back; takes req. False: this server
 * does not hold its connection. */
bool raftd_clients_relay(struct raftd *rd, struct bus_req *req, const steppe_ClientCall *call,
                         const char *node_id);
/* This server's gossip name. */
const char *raftd_clients_name(const struct raftd *rd);

/* ---- raftd_seek.c ---- */

/* A call to a node client that came in. Takes req. */
void raftd_seek_call(struct raftd *rd, struct bus_req *req);
/* The node is connected here now: others forget theirs. */
void raftd_seek_moved(struct raftd *rd, const char *node_id);
void raftd_seek_fini(struct raftd *rd);

/* ---- raftd_boot.c ---- */

int raftd_boot(struct raftd *rd, struct errtext *e);
/* Makes a new group of these servers; only on an empty log. */
int raftd_bootstrap(struct raftd *rd, const struct raft_config *config, struct errtext *e);
/* It knows its group: the core can run. */
bool raftd_has_group(const struct raftd *rd);
/* Nothing in the log: this server has never been part of a group. */
bool raftd_is_blank(const struct raftd *rd);
/* 32 hex digits. */
void raftd_group_text(const uint8_t group[static RAFTD_GROUP_ID_LEN],
                      char out[static 2 * RAFTD_GROUP_ID_LEN + 1]);
/* Takes the group's id over (a blank server that hears of its group), durably. */
int raftd_group_adopt(struct raftd *rd, const uint8_t group[static RAFTD_GROUP_ID_LEN],
                      struct errtext *e);

/* ---- raftd_shell.c ---- */

/* Starts the core: the group is known. */
void raftd_start(struct raftd *rd);
void raftd_status_put(struct raftd *rd);

/* ---- raftd_step.c ---- */

void raftd_step(struct raftd *rd, struct raft_event *ev); /* sets ev->now */
int raftd_step_result(struct raftd *rd, struct raft_event *ev, const struct raft_out **ret_out);
/* Carries out the effects of a step; *out is not valid afterwards. */
void raftd_effects(struct raftd *rd, const struct raft_out *out);
/* Makes the loop come back for batched work (proposals, entries to apply) before it sleeps. */
void raftd_wake(struct raftd *rd);
bool raftd_is_leader(const struct raftd *rd);
int raftd_step_init(struct raftd *rd);

/* ---- all together ---- */

struct raftd {
    struct svc_ctx *ctx;
    struct bus_server *server;  /* ipc and tcp :4647 */
    struct bus_client *routerd; /* requests for other regions that came in on :4647 */
    struct raft *raft;
    bool started;                      /* the core runs: a blank server waits for its group */
    uint64_t id;                       /* raft_id_from_uuid(node id) */
    uint8_t group[RAFTD_GROUP_ID_LEN]; /* zeros: blank */
    char address[RAFT_ADDRESS_MAX];    /* advertised RPC address */

    struct store *store;
    struct watch_set *watches;
    struct fsm *fsm;
    uint64_t apply_next, apply_last; /* handed out by the core, not applied yet; 0: none */
    bool installing;                 /* a snapshot is being loaded */

    struct raftd_disk disk;
    struct raftd_peer *peers;
    struct raftd_peer *stale_peers;        /* to be freed at the end of this turn of the loop */
    struct held_message *held, **held_end; /* messages that wait for write held_seq */
    size_t held_n;
    uint64_t held_seq;
    struct strbuf frame;         /* scratch */
    struct raft_wire_in wire_in; /* scratch */
    int64_t refused_log_ns;

    struct raftd_proposal *queued, **queued_end;
    size_t queued_n;
    struct idmap proposed; /* log index -> struct raftd_proposal */

    struct raftd_call *crowd; /* node clients with news, when there are many: see raftd_rpc.c */
    size_t crowd_n;
    int64_t crowd_at_ns;         /* when the first of them is served */
    struct raftd_call *runnable; /* reads to run at the end of this turn of the loop */
    struct raftd_call *calls;    /* every request that is not answered within its handler */
    uint64_t last_read_id;
    struct idmap reads; /* read id -> struct raftd_call */

    bool leader_changed; /* held requests are to be looked at again */
    bool ready;          /* leader, and its first entry is applied: state is complete */
    enum raft_role role; /* as last seen */
    uint64_t leader;

    struct raftd_nodes *nodes;
    struct raftd_sched *sched;
    struct raftd_clients *clients;
    struct seek *seeks; /* calls to node clients that are connected elsewhere */
    size_t seeks_n;
    struct raftd_members *members;
    struct raftd_founding *founding;
    char promised[RAFT_UUID_MAX]; /* the founder that this blank server waits for */
    int64_t promised_until_ns, found_after_ns;
    struct state_status_writer *status;

    struct prng prng; /* jitter only */
    uv_timer_t tick, beat, hold_timer, crowd_timer;
    uv_idle_t idle;
    uv_check_t check;
    int64_t tick_at_ns;
    bool tick_late; /* it was put off once, for messages that came meanwhile */
    unsigned beats, left_ms;
    bool idle_on, stopping;
};
