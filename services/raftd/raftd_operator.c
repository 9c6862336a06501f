/* SPDX-License-Identifier: MPL-2.0 */
/* Methods about this server and its group: answered from the core, without the log. */
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "raftd.h"
#include "rpc.pb.h"
#include "wire/wire.h"

static const char *leader_address(struct raftd *rd)
{
    const struct raftd_peer *p;

    if (raftd_is_leader(rd))
        return rd->address;
    p = rd->leader ? raftd_peer_find(rd, rd->leader) : NULL;
    return p ? p->address : "";
}

static const struct raft_config *group_config(struct raftd *rd, uint64_t *ret_index)
{
    return raft_config_latest(rd->raft, ret_index);
}

static void status_ping(struct raftd *rd, struct bus_req *req)
{
    steppe_Empty empty = {0};

    raftd_rpc_answer(rd, req, 0, steppe_Empty_fields, &empty);
}

static void status_leader(struct raftd *rd, struct bus_req *req)
{
    steppe_StatusLeaderResponse r = {.leader = (char *)leader_address(rd)};

    raftd_rpc_answer(rd, req, 0, steppe_StatusLeaderResponse_fields, &r);
}

static void status_peers(struct raftd *rd, struct bus_req *req)
{
    const struct raft_config *config = group_config(rd, NULL);
    char *peers[RAFT_SERVERS_MAX];
    steppe_StatusPeersResponse r = {.peers = peers, .peers_count = (pb_size_t)config->n};

    for (unsigned i = 0; i < config->n; i++)
        peers[i] = (char *)config->servers[i].address;
    raftd_rpc_answer(rd, req, 0, steppe_StatusPeersResponse_fields, &r);
}

static void fill_peer(struct raftd *rd, const struct raft_server *s, steppe_ServerPeer *ret)
{
    struct raft_peer_info info;

    *ret = (steppe_ServerPeer){
        .id = (char *)s->uuid,
        .address = (char *)s->address,
        .voter = s->voter,
        .leader = s->id == rd->leader,
        .name = (char *)raftd_members_name(rd, s->uuid),
    };
    if (s->id != rd->id && raftd_is_leader(rd) && raft_peer_info(rd->raft, s->id, &info)) {
        ret->match_index = info.match;
        ret->last_contact_ms =
            info.last_contact.ns ? (uint64_t)((clock_mono().ns - info.last_contact.ns) / NS_PER_MS)
                                 : UINT64_MAX;
    } else if (s->id == rd->id) {
        ret->match_index = raft_durable_index(rd->raft);
    }
}

/* A founder of a group asks with its id: whether this server is free for it. */
static bool is_taken(struct raftd *rd, const struct bus_req *req)
{
    steppe_NodeSpecificRequest who;
    struct errtext e;
    bool taken = rd->started;

    if (taken || req->body_len == 0 ||
        wire_decode(steppe_NodeSpecificRequest_fields, req->body, req->body_len, &who, sizeof(who),
                    &e) < 0)
        return taken;
    if (who.node_id)
        taken = !raftd_found_promise(rd, who.node_id);
    pb_release(steppe_NodeSpecificRequest_fields, &who);
    return taken;
}

static void status_server(struct raftd *rd, struct bus_req *req)
{
    const struct conf *conf = rd->ctx->conf;
    steppe_ServerPeer peers[RAFT_SERVERS_MAX];
    const struct raft_config *config;
    steppe_ServerStatus st = {
        .id = (char *)rd->ctx->node_id,
        .name = conf->name,
        .region = conf->region,
        .datacenter = conf->datacenter,
        .role = (char *)(raftd_is_leader(rd) ? "Leader" : "Follower"),
        .term = raft_term(rd->raft),
        .last_log_index = raft_last_index(rd->raft),
        .last_log_term = raft_last_term(rd->raft),
        .commit_index = raft_commit_index(rd->raft),
        .applied_index = fsm_applied_index(rd->fsm),
        .snapshot_index = rd->disk.snapshot_index,
        .snapshot_term = rd->disk.snapshot_term,
        .leader_address = (char *)leader_address(rd),
        .bootstrapped = is_taken(rd, req),
        .ready = rd->ready,
        .peers = peers,
    };
    steppe_Reply meta = {0};

    if (rd->started &&
        (raft_role(rd->raft) == RAFT_CANDIDATE || raft_role(rd->raft) == RAFT_PRE_CANDIDATE))
        st.role = (char *)"Candidate";
    raftd_rpc_meta(rd, &meta);
    st.last_contact_ms = meta.last_contact_ms;
    config = group_config(rd, &st.configuration_index);
    for (unsigned i = 0; i < config->n; i++) {
        const struct raft_server *s = &config->servers[i];

        fill_peer(rd, s, &peers[st.peers_count++]);
        if (s->id == rd->leader)
            st.leader_id = (char *)s->uuid;
        if (s->id == rd->id)
            st.voter = s->voter;
        else
            st.num_peers += s->voter;
    }
    st.fsm_pending = rd->apply_next ? rd->apply_last - rd->apply_next + 1 : 0;
    raftd_rpc_answer(rd, req, 0, steppe_ServerStatus_fields, &st);
}

static void raft_configuration(struct raftd *rd, struct bus_req *req)
{
    steppe_RaftServer servers[RAFT_SERVERS_MAX];
    steppe_RaftConfiguration r = {.servers = servers};
    const struct raft_config *config = group_config(rd, &r.index);

    for (unsigned i = 0; i < config->n; i++) {
        const struct raft_server *s = &config->servers[i];

        servers[r.servers_count++] = (steppe_RaftServer){
            .id = (char *)s->uuid,
            .node = (char *)raftd_members_name(rd, s->uuid),
            .address = (char *)s->address,
            .leader = s->id == rd->leader,
            .voter = s->voter,
            .raft_protocol = (char *)"3",
        };
    }
    raftd_rpc_answer(rd, req, 0, steppe_RaftConfiguration_fields, &r);
}

static const struct raft_server *find_server(const struct raft_config *config, const char *id,
                                             const char *address)
{
    for (unsigned i = 0; i < config->n; i++) {
        const struct raft_server *s = &config->servers[i];

        if ((id && strcmp(s->uuid, id) == 0) || (address && strcmp(s->address, address) == 0))
            return s;
    }
    return NULL;
}

static void remove_server(struct raftd *rd, struct bus_req *req, const struct raft_server *server)
{
    struct raft_event ev = {.type = RAFT_EV_CHANGE, .change = {.change = RAFT_REMOVE}};
    const struct raft_out *out = NULL;
    int r;

    ev.change.server = *server;
    r = raftd_step_result(rd, &ev, &out);
    if (r == 0)
        raftd_write_await_change(rd, req, out->proposed_first, out->proposed_term);
    else if (r == RAFT_E_CHANGE_PENDING || r == RAFT_E_TRANSFERRING || r == RAFT_E_NOT_LEADER)
        raftd_rpc_hold(rd, req); /* in a moment, or by the next leader */
    else
        bus_req_error(req, 500, false, "cannot remove the peer: %s",
                      r > 0 ? raft_error_text(r) : strerror(-r));
    raftd_effects(rd, out);
}

static void raft_remove_peer(struct raftd *rd, struct bus_req *req)
{
    const struct raft_server *server;
    steppe_RaftRemovePeerRequest msg;

    if (!bus_req_decode(req, steppe_RaftRemovePeerRequest_fields, &msg, sizeof(msg)))
        return;
    server = find_server(group_config(rd, NULL), msg.id, msg.address);
    if (server)
        remove_server(rd, req, server);
    else
        bus_req_error(req, 500, false, "%s \"%s\" was not found in the Raft configuration",
                      msg.id ? "id" : "address",
                      msg.id        ? msg.id
                      : msg.address ? msg.address
                                    : "");
    pb_release(steppe_RaftRemovePeerRequest_fields, &msg);
}

static const struct {
    enum rpc_method method;
    void (*answer)(struct raftd *rd, struct bus_req *req);
} operator_methods[] = {
    {RPC_STATUS_PING, status_ping},
    {RPC_STATUS_LEADER, status_leader},
    {RPC_STATUS_PEERS, status_peers},
    {RPC_STATUS_SERVER, status_server},
    {RPC_OPERATOR_RAFT_CONFIGURATION, raft_configuration},
    {RPC_OPERATOR_RAFT_REMOVE_PEER, raft_remove_peer},
};

void raftd_operator_request(struct raftd *rd, struct bus_req *req)
{
    for (size_t i = 0; i < ARRAY_LEN(operator_methods); i++) {
        if (operator_methods[i].method == req->env.method) {
            operator_methods[i].answer(rd, req);
            return;
        }
    }
    bus_req_error(req, 501, false, "method %u is not for this service", req->env.method);
}
