/* SPDX-License-Identifier: MPL-2.0 */
#include "raftd_shell.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "raftd.h"

#define LEAVE_MAX_MS   3000 /* for a successor, when leaving the cluster */
#define STOP_MAX_MS    600  /* when just stopping */
#define LEAVE_STEP_MS  20
#define MAINTAIN_BEATS 50 /* status beats between two looks at dead readers */

static enum state_status_role status_role(const struct raftd *rd)
{
    if (!rd->started)
        return STATE_STATUS_FOLLOWER;
    switch (raft_role(rd->raft)) {
    case RAFT_LEADER:
        return STATE_STATUS_LEADER;
    case RAFT_CANDIDATE:
    case RAFT_PRE_CANDIDATE:
        return STATE_STATUS_CANDIDATE;
    case RAFT_FOLLOWER:
        return STATE_STATUS_FOLLOWER;
    }
    return STATE_STATUS_FOLLOWER;
}

void raftd_status_put(struct raftd *rd)
{
    const struct raftd_peer *leader = raftd_peer_find(rd, rd->leader);
    struct state_status st = {
        .role = status_role(rd),
        .term = raft_term(rd->raft),
        .leader_known = rd->leader != 0,
        .applied = fsm_applied_index(rd->fsm),
        .commit = raft_commit_index(rd->raft),
        .beat = clock_mono(),
    };

    if (!rd->status)
        return;
    if (rd->started)
        st.last_contact = raft_last_contact(rd->raft);
    (void)store_generation(rd->store, &st.generation);
    (void)snprintf(st.leader_addr, sizeof(st.leader_addr), "%.*s", STATE_STATUS_ADDR_MAX - 1,
                   raftd_is_leader(rd) ? rd->address
                   : leader            ? leader->address
                                       : "");
    raftd_sched_counts(rd, &st);
    state_status_put(rd->status, &st);
}

static void on_beat(uv_timer_t *t)
{
    struct raftd *rd = t->data;

    raftd_status_put(rd);
    if (++rd->beats % MAINTAIN_BEATS == 0)
        (void)store_maintain(rd->store);
}

void raftd_start(struct raftd *rd)
{
    struct raft_event ev = {.type = RAFT_EV_START};

    assert(!rd->started);
    rd->started = true;
    /* A group begins in term 1 (raftd_bootstrap()); nobody speaks from term 0. */
    if (raft_term(rd->raft) == 0)
        raft_load_hard(rd->raft, 1, 0);
    ev.start.applied = fsm_applied_index(rd->fsm);
    raftd_peers_update(rd);
    raftd_step(rd, &ev);
    raftd_status_put(rd);
}

static int listen_all(struct raftd *rd, struct errtext *e)
{
    const struct conf *conf = rd->ctx->conf;
    _cleanup_(freep) char *ipc = conf_run_ipc(conf, "raftd.sock");
    _cleanup_(freep) char *tcp =
        xasprintf(strchr(conf->addresses.rpc, ':') ? "tcp://[%s]:%d" : "tcp://%s:%d",
                  conf->addresses.rpc, conf->ports.rpc);
    _cleanup_(freep) char *routerd = conf_run_ipc(conf, "routerd.sock");
    int r = bus_server_new(rd->ctx->bus, ipc, raftd_rpc_request, rd, &rd->server, e);

    if (r == 0)
        r = bus_server_bind(rd->server, tcp, e);
    if (r == 0)
        r = bus_client_new(rd->ctx->bus, routerd, &rd->routerd, e);
    return r;
}

int raftd_init(struct svc_ctx *ctx, struct errtext *e)
{
    _cleanup_(freep) char *page = conf_run_path(ctx->conf, "raftd.status");
    struct raftd *rd = xcalloc(1, sizeof(*rd));
    int r;

    ctx->user = rd;
    rd->ctx = ctx;
    rd->id = raft_id_from_uuid(ctx->node_id);
    rd->held_end = &rd->held;
    rd->queued_end = &rd->queued;
    prng_seed(&rd->prng, random_u64());
    (void)snprintf(rd->address, sizeof(rd->address), "%s", ctx->conf->advertise.rpc);
    raftd_step_init(rd);
    rd->nodes = raftd_nodes_new(rd);
    raftd_sched_new(rd);
    rd->clients = raftd_clients_new(rd);
    r = raftd_boot(rd, e);
    if (r == 0)
        r = state_status_writer_new(page, &rd->status, e);
    if (r == 0)
        r = raftd_members_new(rd, e);
    if (r == 0)
        r = listen_all(rd, e);
    if (r < 0)
        return r;
    if (raftd_has_group(rd))
        raftd_start(rd);
    else
        raftd_members_reconcile(rd);
    uv_timer_start(&rd->beat, on_beat, STATE_STATUS_BEAT_MS, STATE_STATUS_BEAT_MS);
    raftd_status_put(rd);
    svc_ready(ctx);
    return 0;
}

/* A leader that stops hands leadership over first, so that the group goes on without an election.
 */
static void on_leave(uv_timer_t *t)
{
    struct raftd *rd = t->data;
    struct raft_event ev = {.type = RAFT_EV_TRANSFER};

    rd->left_ms += LEAVE_STEP_MS;
    if (!raftd_is_leader(rd) || rd->left_ms >= (rd->ctx->leaving ? LEAVE_MAX_MS : STOP_MAX_MS)) {
        uv_timer_stop(&rd->beat);
        svc_stopped(rd->ctx);
        return;
    }
    raftd_step(rd, &ev); /* again when the first heir did not answer */
}

void raftd_stop(struct svc_ctx *ctx)
{
    struct raftd *rd = ctx->user;

    if (raftd_is_leader(rd) && raft_config_voters(raft_config_latest(rd->raft, NULL)) > 1)
        uv_timer_start(&rd->beat, on_leave, 0, LEAVE_STEP_MS);
    else
        svc_stopped(ctx);
}

static void free_raftd(uv_handle_t *last)
{
    free(last->data);
}

/* Ends what the loop could still call. First of all: what follows may turn the loop (a snapshot
 * under way is waited for). */
static void close_handles(struct raftd *rd)
{
    uv_close((uv_handle_t *)&rd->tick, NULL);
    uv_close((uv_handle_t *)&rd->hold_timer, NULL);
    uv_close((uv_handle_t *)&rd->crowd_timer, NULL);
    uv_close((uv_handle_t *)&rd->idle, NULL);
    uv_close((uv_handle_t *)&rd->check, NULL);
    uv_timer_stop(&rd->beat);
}

void raftd_fini(struct svc_ctx *ctx)
{
    struct raftd *rd = ctx->user;

    if (!rd)
        return;
    ctx->user = NULL;
    rd->stopping = true;
    close_handles(rd);
    raftd_write_fini(rd);
    raftd_seek_fini(rd);
    rd->clients = raftd_clients_free(rd->clients);
    raftd_rpc_fini(rd);
    raftd_sched_free(rd);
    bus_client_free(rd->routerd);
    bus_server_free(rd->server);
    raftd_members_free(rd);
    raftd_peers_free(rd);
    raftd_disk_close(rd);
    rd->nodes = raftd_nodes_free(rd->nodes);
    state_status_writer_free(rd->status);
    raft_free(rd->raft);
    fsm_free(rd->fsm);
    watch_set_free(rd->watches);
    store_free(rd->store);
    strbuf_fini(&rd->frame);
    raft_wire_in_fini(&rd->wire_in);
    uv_close((uv_handle_t *)&rd->beat, free_raftd);
}
