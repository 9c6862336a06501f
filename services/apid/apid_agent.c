/* SPDX-License-Identifier: MPL-2.0 */
/* /v1/agent/..., /v1/regions, /v1/status/..., /v1/operator/raft/...: this node and its region. */
#include <dirent.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "apid.h"
#include "base/prng.h"
#include "member.json.h"
#include "rpc.json.h"
#include "rpc.pb.h"
#include "wire/member.h"
#include "wire/wire.h"

#define HEALTH_GOSSIP_MS 500 /* that a check of the node's health waits for gossip */

static bool is_server(const struct apid_req *r)
{
    return r->a->ctx->conf->server.enabled;
}

/* Calls a method without a request body; the answer's bytes are the caller's. */
static bool call_empty(struct apid_req *r, unsigned method, uint8_t **ret_body, size_t *ret_len)
{
    steppe_Request env;

    return apid_env(r, method, &env) && apid_call(r, &env, NULL, 0, ret_body, ret_len);
}

static void render_call(struct apid_req *r, unsigned method, const struct json_type *type)
{
    _cleanup_(freep) uint8_t *body = NULL;
    size_t len;

    if (call_empty(r, method, &body, &len))
        apid_render(r, type, false, body, len);
}

void apid_regions(struct apid_req *r)
{
    render_call(r, RPC_REGION_LIST, &steppe_RegionListResponse_json);
}

void apid_status(struct apid_req *r)
{
    if (strcmp(r->path, "/v1/status/leader") == 0)
        render_call(r, RPC_STATUS_LEADER, &steppe_StatusLeaderResponse_json);
    else
        render_call(r, RPC_STATUS_PEERS, &steppe_StatusPeersResponse_json);
}

void apid_raft_configuration(struct apid_req *r)
{
    render_call(r, RPC_OPERATOR_RAFT_CONFIGURATION, &steppe_RaftConfiguration_json);
}

void apid_raft_peer(struct apid_req *r)
{
    const char *id = apid_param(r, "id"), *address = apid_param(r, "address");
    steppe_RaftRemovePeerRequest msg = {.id = (char *)id, .address = (char *)address};
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;

    if (!id && !address)
        apid_error(r, 400,
                   "Must specify either ?id with the server's ID or ?address with IP:port "
                   "of peer to remove");
    else if (id && address)
        apid_error(r, 400, "Must specify only one of ?id or ?address");
    else if (apid_env(r, RPC_OPERATOR_RAFT_REMOVE_PEER, &env))
        (void)apid_call_msg(r, &env, steppe_RaftRemovePeerRequest_fields, &msg, &body, &len);
}

/* ---- members ---- */

static bool get_members(struct apid_req *r, steppe_MemberList *ret)
{
    _cleanup_(freep) uint8_t *body = NULL;
    struct errtext e;
    size_t len;

    if (!call_empty(r, RPC_SERF_MEMBERS, &body, &len))
        return false;
    if (wire_decode(steppe_MemberList_fields, body, len, ret, sizeof(*ret), &e) < 0)
        return apid_error(r, 500, "%s", e.text);
    return true;
}

static void add_string(struct strbuf *out, const char *key, const char *value)
{
    strbuf_addf(out, "\"%s\":", key);
    json_string_encode(value ? value : "", value ? strlen(value) : 0, 0, out);
}

static const steppe_Member *find_self(const steppe_MemberList *list)
{
    for (pb_size_t i = 0; i < list->members_count; i++) {
        const char *name = list->members[i].name;

        if (name && list->self && strcmp(name, list->self) == 0)
            return &list->members[i];
    }
    return NULL;
}

void apid_agent_members(struct apid_req *r)
{
    steppe_MemberList list;
    const steppe_Member *self;
    char name[256];

    if (!get_members(r, &list))
        return;
    self = find_self(&list);
    (void)snprintf(name, sizeof(name), "%s", self && self->name ? self->name : "");
    if (strrchr(name, '.'))
        *strrchr(name, '.') = 0;
    strbuf_addc(&r->out, '{');
    add_string(&r->out, "ServerName", name);
    strbuf_addc(&r->out, ',');
    add_string(&r->out, "ServerRegion", self ? member_tag(self, "region") : "");
    strbuf_addc(&r->out, ',');
    add_string(&r->out, "ServerDC", self ? member_tag(self, "dc") : "");
    strbuf_adds(&r->out, ",\"Members\":[");
    for (pb_size_t i = 0; i < list.members_count; i++) {
        if (i > 0)
            strbuf_addc(&r->out, ',');
        (void)json_encode(&steppe_Member_json, &list.members[i], 0, &r->out);
    }
    strbuf_adds(&r->out, "]}");
    pb_release(steppe_MemberList_fields, &list);
}

/* "ip:port" of each alive server of the own region, sorted as the member list is. */
static void add_server_list(const struct apid_req *r, const steppe_MemberList *list,
                            struct strbuf *out)
{
    bool first = true;

    strbuf_addc(out, '[');
    for (pb_size_t i = 0; i < list->members_count; i++) {
        const steppe_Member *m = &list->members[i];

        if (!member_has_status(m, "alive") ||
            strcmp(member_tag(m, "region"), r->a->ctx->conf->region) != 0)
            continue;
        strbuf_addf(out, "%s\"%s:%s\"", first ? "" : ",", member_tag(m, "rpc_addr"),
                    member_tag(m, "port"));
        first = false;
    }
    strbuf_addc(out, ']');
}

/* Clients find their servers by themselves: they take no list. */
void apid_agent_servers_set(struct apid_req *r)
{
    bool client = r->a->ctx->conf->client.enabled;

    apid_error(r, client ? 405 : 501, "Invalid method");
}

void apid_agent_servers(struct apid_req *r)
{
    steppe_MemberList list;

    if (!r->a->ctx->conf->client.enabled) {
        apid_error(r, 501, "Invalid method");
        return;
    }
    if (!get_members(r, &list))
        return;
    add_server_list(r, &list, &r->out);
    pb_release(steppe_MemberList_fields, &list);
}

/* ---- gossip commands ---- */

/* Reads ?address=...; false: the answer is set. */
static bool join_addresses(struct apid_req *r, char **addresses, steppe_SerfJoinRequest *msg)
{
    msg->addresses = addresses;
    if (!is_server(r))
        return apid_error(r, 501, "Invalid method");
    for (size_t i = 0; i < r->params_n; i++) {
        if (strcmp(r->params[i].key, "address") == 0)
            addresses[msg->addresses_count++] = r->params[i].value;
    }
    if (msg->addresses_count == 0)
        return apid_error(r, 400, "missing address to join");
    return true;
}

/* Ours: the same without joining, {"OK":true,"Findings":[...]}. */
void apid_agent_join_check(struct apid_req *r)
{
    char *addresses[APID_PARAMS_MAX];
    steppe_SerfJoinRequest msg = {0};
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;

    if (join_addresses(r, addresses, &msg) && apid_env(r, RPC_SERF_JOIN_CHECK, &env) &&
        apid_call_msg(r, &env, steppe_SerfJoinRequest_fields, &msg, &body, &len))
        apid_render(r, &steppe_SerfJoinCheckResponse_json, false, body, len);
}

void apid_agent_join(struct apid_req *r)
{
    char *addresses[APID_PARAMS_MAX];
    steppe_SerfJoinRequest msg = {0};
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_SerfJoinResponse rep;
    steppe_Request env;
    struct errtext e;
    size_t len;

    if (!join_addresses(r, addresses, &msg) || !apid_env(r, RPC_SERF_JOIN, &env) ||
        !apid_call_msg(r, &env, steppe_SerfJoinRequest_fields, &msg, &body, &len))
        return;
    if (wire_decode(steppe_SerfJoinResponse_fields, body, len, &rep, sizeof(rep), &e) < 0) {
        apid_error(r, 500, "%s", e.text);
        return;
    }
    strbuf_addf(&r->out, "{\"num_joined\":%u,", rep.num_joined);
    add_string(&r->out, "error", rep.error);
    strbuf_addc(&r->out, '}');
    pb_release(steppe_SerfJoinResponse_fields, &rep);
}

void apid_agent_force_leave(struct apid_req *r)
{
    const char *node = apid_param(r, "node");
    steppe_SerfForceLeaveRequest msg = {.node = (char *)node};
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;

    if (!is_server(r)) {
        apid_error(r, 501, "Invalid method");
        return;
    }
    if (!node || !*node) {
        apid_error(r, 400, "missing node to force leave");
        return;
    }
    msg.prune = apid_param(r, "prune") != NULL;
    if (apid_env(r, RPC_SERF_FORCE_LEAVE, &env))
        (void)apid_call_msg(r, &env, steppe_SerfForceLeaveRequest_fields, &msg, &body, &len);
}

static void render_keyring(struct apid_req *r, const uint8_t *body, size_t len)
{
    steppe_SerfKeyringResponse rep;
    struct errtext e;

    if (wire_decode(steppe_SerfKeyringResponse_fields, body, len, &rep, sizeof(rep), &e) < 0) {
        apid_error(r, 500, "%s", e.text);
        return;
    }
    strbuf_adds(&r->out, "{\"Messages\":{");
    for (pb_size_t i = 0; i < rep.messages_count; i++) {
        strbuf_adds(&r->out, i ? "," : "");
        add_string(&r->out, rep.messages[i].key, rep.messages[i].value);
    }
    strbuf_adds(&r->out, "},\"Keys\":{");
    for (pb_size_t i = 0; i < rep.keys_count; i++)
        strbuf_addf(&r->out, "%s\"%s\":%u", i ? "," : "", rep.keys[i].key, rep.keys[i].value);
    strbuf_addf(&r->out, "},\"NumNodes\":%u}", rep.num_nodes);
    pb_release(steppe_SerfKeyringResponse_fields, &rep);
}

/* The body's {"Key": ...}; false: the error answer is set. Nomad's code for a bad one is 500. */
static bool read_key(struct apid_req *r, steppe_SerfKeyringRequest *msg)
{
    struct errtext e = {{0}};

    if (!apid_read_body(r, false))
        return false;
    if (r->body.len == 0)
        return apid_error(r, 500, "Request body is empty");
    if (json_decode(&steppe_SerfKeyringRequest_json, r->body.data, r->body.len, msg, &e) < 0)
        return apid_error(r, 500, "%s", e.text);
    return true;
}

void apid_agent_keyring(struct apid_req *r)
{
    static const struct {
        const char *name;
        unsigned method;
    } ops[] = {{"list", RPC_SERF_KEYRING_LIST},
               {"install", RPC_SERF_KEYRING_INSTALL},
               {"use", RPC_SERF_KEYRING_USE},
               {"remove", RPC_SERF_KEYRING_REMOVE}};
    const char *name = apid_path_rest(r, "/v1/agent/keyring/");
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_SerfKeyringRequest msg = {0};
    steppe_Request env;
    size_t i = 0, len;

    while (i < ARRAY_LEN(ops) && strcmp(ops[i].name, name) != 0)
        i++;
    if (!is_server(r)) {
        apid_error(r, 501, "Invalid method");
    } else if (i == ARRAY_LEN(ops)) {
        apid_error(r, 404, "resource not found");
    } else if (i == 0 || read_key(r, &msg)) {
        if (apid_env(r, ops[i].method, &env) &&
            apid_call_msg(r, &env, steppe_SerfKeyringRequest_fields, &msg, &body, &len))
            render_keyring(r, body, len);
        pb_release(steppe_SerfKeyringRequest_fields, &msg);
    }
}

/* Ours: this server's region leaves the federation, a dead one is removed from it. */
void apid_agent_region(struct apid_req *r)
{
    bool remove = strcmp(apid_path_rest(r, "/v1/agent/region/"), "remove") == 0;
    const char *name = apid_param(r, "name");
    steppe_SerfRegionRequest msg = {.region = (char *)name};
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;

    if (!is_server(r)) {
        apid_error(r, 501, "Invalid method");
        return;
    }
    if (remove && (!name || !*name)) {
        apid_error(r, 400, "missing name of the region to remove");
        return;
    }
    if (apid_env(r, remove ? RPC_SERF_REGION_REMOVE : RPC_SERF_REGION_LEAVE, &env) &&
        apid_call_msg(r, &env, steppe_SerfRegionRequest_fields, &msg, &body, &len))
        apid_render(r, &steppe_SerfRegionResponse_json, false, body, len);
}

/* ---- health ---- */

/* The leader's address; false with the error's text left in out. */
static bool ask_leader(struct apid_req *r, struct strbuf *out)
{
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_StatusLeaderResponse rep;
    struct errtext e;
    size_t len;

    if (!call_empty(r, RPC_STATUS_LEADER, &body, &len)) {
        strbuf_add(out, r->out.data, r->out.len);
        strbuf_reset(&r->out);
        r->status = 0;
        r->content_type = NULL;
        return false;
    }
    if (wire_decode(steppe_StatusLeaderResponse_fields, body, len, &rep, sizeof(rep), &e) < 0) {
        strbuf_adds(out, e.text);
        return false;
    }
    if (!rep.leader || !rep.leader[0])
        strbuf_adds(out, "no leader");
    pb_release(steppe_StatusLeaderResponse_fields, &rep);
    return out->len == 0;
}

static bool wants_type(const struct apid_req *r, const char *type)
{
    bool any = false;

    for (size_t i = 0; i < r->params_n; i++) {
        if (strcmp(r->params[i].key, "type") != 0)
            continue;
        any = true;
        if (strcmp(r->params[i].value, type) == 0)
            return true;
    }
    return !any;
}

/* One part of the answer. Returns ok. */
static bool add_health(struct strbuf *out, const char *name, bool enabled, bool ok,
                       const char *text)
{
    char disabled[64];

    (void)snprintf(disabled, sizeof(disabled), "%s not enabled", name);
    strbuf_addf(out, "%s\"%s\":{\"ok\":%s,", out->len > 1 ? "," : "", name,
                enabled && ok ? "true" : "false");
    add_string(out, "message", !enabled ? disabled : ok ? "ok" : text);
    strbuf_addc(out, '}');
    return enabled && ok;
}

/* Appends why this server may not work with its region: its data are another group's. */
static void ask_conflict(struct apid_req *r, struct strbuf *out)
{
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_StatsResponse stats;
    steppe_Request env;
    size_t len;

    if (!apid_env(r, RPC_SERF_STATS, &env))
        return;
    env.timeout_ms = HEALTH_GOSSIP_MS;
    if (!apid_call(r, &env, NULL, 0, &body, &len)) { /* a serfd that restarts is no conflict */
        strbuf_reset(&r->out);
        r->status = 0;
        r->content_type = NULL;
        return;
    }
    if (wire_decode(steppe_StatsResponse_fields, body, len, &stats, sizeof(stats), NULL) < 0)
        return;
    for (pb_size_t i = 0; i < stats.stats_count; i++) {
        if (strcmp(stats.stats[i].key, "raft_group_conflict") == 0)
            strbuf_adds(out, stats.stats[i].value);
    }
    pb_release(steppe_StatsResponse_fields, &stats);
}

void apid_agent_health(struct apid_req *r)
{
    const struct conf *conf = r->a->ctx->conf;
    _cleanup_(strbuf_fini) struct strbuf out = STRBUF_INIT, text = STRBUF_INIT;
    bool typed = apid_param(r, "type") != NULL, ok = true;
    bool leader = ask_leader(r, &text);

    if (leader && conf->server.enabled) {
        ask_conflict(r, &text);
        leader = text.len == 0;
    }

    strbuf_addc(&out, '{');
    if (wants_type(r, "client") && (conf->client.enabled || typed))
        ok &= add_health(&out, "client", conf->client.enabled, leader || conf->server.enabled,
                         "no known servers");
    if (wants_type(r, "server") && (conf->server.enabled || typed))
        ok &= add_health(&out, "server", conf->server.enabled, leader, text.data ? text.data : "");
    strbuf_addc(&out, '}');
    strbuf_add(&r->out, out.data, out.len);
    if (!ok) {
        r->status = 500;
        r->content_type = "text/plain; charset=utf-8";
    }
}

/* ---- self ---- */

/* One key of the configuration as JSON; `value` is what conf has. */
static void add_text_list(struct strbuf *out, const char *key, const struct conf_list *list)
{
    strbuf_addf(out, "\"%s\":[", key);
    for (size_t i = 0; i < list->n; i++) {
        if (i > 0)
            strbuf_addc(out, ',');
        json_string_encode(list->items[i], strlen(list->items[i]), 0, out);
    }
    strbuf_addc(out, ']');
}

static void add_text_map(struct strbuf *out, const char *key, const struct conf_map *map)
{
    strbuf_addf(out, "\"%s\":{", key);
    for (size_t i = 0; i < map->n; i++) {
        if (i > 0)
            strbuf_addc(out, ',');
        add_string(out, map->keys[i], map->values[i]);
    }
    strbuf_addc(out, '}');
}

static void add_addrs(struct strbuf *out, const char *key, const struct conf_addrs *a)
{
    strbuf_addf(out, "\"%s\":{", key);
    add_string(out, "HTTP", a->http);
    strbuf_addc(out, ',');
    add_string(out, "RPC", a->rpc);
    strbuf_addc(out, ',');
    add_string(out, "Serf", a->serf);
    strbuf_adds(out, "},");
}

static const char *yes_no(bool b)
{
    return b ? "true" : "false";
}

static void add_join(struct strbuf *out, const char *key, const struct conf_join *j)
{
    strbuf_addf(out, "\"%s\":{\"RetryInterval\":%lld,\"RetryMaxAttempts\":%d,", key,
                (long long)j->retry_interval, j->retry_max);
    add_text_list(out, "RetryJoin", &j->retry_join);
    strbuf_addc(out, ',');
    add_text_list(out, "StartJoin", &j->start_join);
    strbuf_addc(out, '}');
}

static void add_server_config(struct strbuf *out, const struct conf_server *s)
{
    strbuf_addf(out,
                "\"Server\":{\"Enabled\":%s,\"BootstrapExpect\":%d,\"NonVotingServer\":%s,"
                "\"RejoinAfterLeave\":%s,\"RaftMultiplier\":%d,\"HeartbeatGrace\":%lld,"
                "\"MinHeartbeatTTL\":%lld,\"MaxHeartbeatsPerSecond\":%g,",
                yes_no(s->enabled), s->bootstrap_expect, yes_no(s->non_voting_server),
                yes_no(s->rejoin_after_leave), s->raft_multiplier, (long long)s->heartbeat_grace,
                (long long)s->min_heartbeat_ttl, s->max_heartbeats_per_second);
    add_string(out, "DataDir", s->data_dir);
    strbuf_addc(out, ',');
    add_string(out, "EncryptKey", s->encrypt[0] ? "<redacted>" : "");
    strbuf_addc(out, ',');
    add_join(out, "ServerJoin", &s->join);
    strbuf_adds(out, "},");
}

static void add_client_config(struct strbuf *out, const struct conf_client *c)
{
    strbuf_addf(out, "\"Client\":{\"Enabled\":%s,\"CpuCompute\":%d,\"MemoryMB\":%d,",
                yes_no(c->enabled), c->cpu_total_compute, c->memory_total_mb);
    add_string(out, "AllocDir", c->alloc_dir);
    strbuf_addc(out, ',');
    add_string(out, "StateDir", c->state_dir);
    strbuf_addc(out, ',');
    add_string(out, "NodeClass", c->node_class);
    strbuf_addc(out, ',');
    add_string(out, "NetworkInterface", c->network_interface);
    strbuf_addc(out, ',');
    add_text_map(out, "Meta", &c->meta);
    strbuf_addc(out, ',');
    add_text_map(out, "Options", &c->options);
    strbuf_addc(out, ',');
    add_text_list(out, "Servers", &c->servers);
    strbuf_addc(out, ',');
    add_join(out, "ServerJoin", &c->server_join);
    strbuf_adds(out, "},");
}

static void add_config(struct strbuf *out, const struct conf *conf)
{
    const struct conf_autopilot *ap = &conf->autopilot;

    strbuf_adds(out, "\"config\":{");
    add_addrs(out, "Addresses", &conf->addresses);
    add_addrs(out, "AdvertiseAddrs", &conf->advertise);
    strbuf_addf(out,
                "\"Autopilot\":{\"CleanupDeadServers\":%s,\"LastContactThreshold\":%lld,"
                "\"MaxTrailingLogs\":%llu,\"MinQuorum\":%d,\"ServerStabilizationTime\":%lld},",
                yes_no(ap->cleanup_dead_servers), (long long)ap->last_contact_threshold,
                (unsigned long long)ap->max_trailing_logs, ap->min_quorum,
                (long long)ap->server_stabilization_time);
    add_string(out, "BindAddr", conf->bind_addr);
    strbuf_addc(out, ',');
    add_client_config(out, &conf->client);
    add_server_config(out, &conf->server);
    add_string(out, "DataDir", conf->data_dir);
    strbuf_addc(out, ',');
    add_string(out, "Datacenter", conf->datacenter);
    strbuf_addf(out, ",\"DevMode\":%s,\"EnableDebug\":%s,\"LeaveOnInt\":%s,\"LeaveOnTerm\":%s,",
                yes_no(conf->dev), yes_no(conf->enable_debug), yes_no(conf->leave_on_interrupt),
                yes_no(conf->leave_on_terminate));
    add_text_list(out, "Files", &conf->files);
    strbuf_addc(out, ',');
    add_text_map(out, "HTTPAPIResponseHeaders", &conf->http_api_response_headers);
    strbuf_addf(out, ",\"Limits\":{\"HTTPMaxConnsPerClient\":%d},",
                conf->limits.http_max_conns_per_client);
    add_string(out, "LogLevel", conf->log_level);
    strbuf_addc(out, ',');
    add_string(out, "NodeName", conf->name);
    strbuf_addf(out, ",\"Ports\":{\"HTTP\":%d,\"RPC\":%d,\"Serf\":%d},", conf->ports.http,
                conf->ports.rpc, conf->ports.serf);
    add_string(out, "Region", conf->region);
    strbuf_adds(out, ",\"Version\":{\"Revision\":\"\",\"Version\":\"" STEPPE_VERSION
                     "\",\"VersionMetadata\":\"\",\"VersionPrerelease\":\"\"}}");
}

static void add_stats_map(struct strbuf *out, const char *key, const steppe_StatsResponse *stats)
{
    strbuf_addf(out, ",\"%s\":{", key);
    for (pb_size_t i = 0; i < stats->stats_count; i++) {
        if (i > 0)
            strbuf_addc(out, ',');
        add_string(out, stats->stats[i].key, stats->stats[i].value);
    }
    strbuf_addc(out, '}');
}

static void add_raft_stats(struct strbuf *out, const steppe_ServerStatus *st, size_t regions)
{
    strbuf_addf(out,
                "\"nomad\":{\"server\":\"true\",\"leader\":\"%s\",\"bootstrap\":\"%s\","
                "\"known_regions\":\"%zu\",",
                yes_no(st->role && strcmp(st->role, "Leader") == 0), yes_no(st->num_peers == 0),
                regions);
    add_string(out, "leader_addr", st->leader_address);
    strbuf_adds(out, "},\"raft\":{");
    add_string(out, "state", st->role);
    strbuf_addf(out,
                ",\"term\":\"%llu\",\"last_log_index\":\"%llu\",\"last_log_term\":\"%llu\","
                "\"commit_index\":\"%llu\",\"applied_index\":\"%llu\",\"fsm_pending\":\"%llu\","
                "\"last_snapshot_index\":\"%llu\",\"last_snapshot_term\":\"%llu\","
                "\"num_peers\":\"%u\",\"protocol_version\":\"3\","
                "\"latest_configuration_index\":\"%llu\",",
                (unsigned long long)st->term, (unsigned long long)st->last_log_index,
                (unsigned long long)st->last_log_term, (unsigned long long)st->commit_index,
                (unsigned long long)st->applied_index, (unsigned long long)st->fsm_pending,
                (unsigned long long)st->snapshot_index, (unsigned long long)st->snapshot_term,
                st->num_peers, (unsigned long long)st->configuration_index);
    if (st->last_contact_ms >= APID_NEVER_MS)
        strbuf_adds(out, "\"last_contact\":\"never\",");
    else if (st->last_contact_ms == 0)
        strbuf_adds(out, "\"last_contact\":\"0\",");
    else
        strbuf_addf(out, "\"last_contact\":\"%llums\",", (unsigned long long)st->last_contact_ms);
    strbuf_adds(out, "\"latest_configuration\":\"[");
    for (pb_size_t i = 0; i < st->peers_count; i++)
        strbuf_addf(out, "%s{Suffrage:%s ID:%s Address:%s}", i ? " " : "",
                    st->peers[i].voter ? "Voter" : "Nonvoter", st->peers[i].id,
                    st->peers[i].address);
    strbuf_adds(out, "]\"}");
}

static void add_runtime_stats(struct strbuf *out)
{
    struct utsname u = {0};
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    (void)uname(&u);
    strbuf_addf(out,
                ",\"runtime\":{\"kernel.name\":\"linux\",\"cpu_count\":\"%ld\","
                "\"max_procs\":\"%ld\",\"version\":\"C11\",",
                cpus, cpus);
    add_string(out, "arch",
               strcmp(u.machine, "x86_64") == 0    ? "amd64"
               : strcmp(u.machine, "aarch64") == 0 ? "arm64"
                                                   : u.machine);
    strbuf_addc(out, '}');
}

static size_t count_regions(struct apid_req *r)
{
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_RegionListResponse list;
    size_t len, n;

    if (!call_empty(r, RPC_REGION_LIST, &body, &len) ||
        wire_decode(steppe_RegionListResponse_fields, body, len, &list, sizeof(list), NULL) < 0)
        return 0;
    n = list.regions_count;
    pb_release(steppe_RegionListResponse_fields, &list);
    return n;
}

/* member and stats of a server; false: the error answer is set. */
static bool add_server_self(struct apid_req *r, struct strbuf *out, struct strbuf *stats)
{
    steppe_StatsResponse serf;
    steppe_ServerStatus st;
    steppe_MemberList list;
    uint8_t *body = NULL;
    struct errtext e;
    size_t len;

    if (!get_members(r, &list))
        return false;
    if (find_self(&list)) {
        strbuf_adds(out, ",\"member\":");
        (void)json_encode(&steppe_Member_json, find_self(&list), 0, out);
    }
    pb_release(steppe_MemberList_fields, &list);
    if (!call_empty(r, RPC_STATUS_SERVER, &body, &len))
        return false;
    if (wire_decode(steppe_ServerStatus_fields, body, len, &st, sizeof(st), &e) == 0) {
        add_raft_stats(stats, &st, count_regions(r));
        pb_release(steppe_ServerStatus_fields, &st);
    }
    free(body);
    if (!call_empty(r, RPC_SERF_STATS, &body, &len))
        return false;
    if (wire_decode(steppe_StatsResponse_fields, body, len, &serf, sizeof(serf), &e) == 0) {
        add_stats_map(stats, "serf", &serf);
        pb_release(steppe_StatsResponse_fields, &serf);
    }
    free(body);
    return true;
}

/* Allocations that the node has not collected yet: each has its folder. */
static unsigned count_alloc_dirs(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *ent;
    unsigned n = 0;

    while (d && (ent = readdir(d)))
        n += strlen(ent->d_name) == UUID_TEXT_LEN;
    if (d)
        (void)closedir(d);
    return n;
}

static void add_client_stats(const struct apid_req *r, struct strbuf *stats)
{
    const struct conf *conf = r->a->ctx->conf;
    _cleanup_(freep) char *file = xasprintf("%s/client-id", conf->client.state_dir);
    char id[37] = "";

    (void)conf_node_id(file, id, NULL);
    strbuf_addf(stats, "%s\"client\":{", stats->len ? "," : "");
    add_string(stats, "node_id", id);
    strbuf_addf(stats, ",\"num_allocations\":\"%u\"}", count_alloc_dirs(conf->client.alloc_dir));
}

void apid_agent_self(struct apid_req *r)
{
    const struct conf *conf = r->a->ctx->conf;
    _cleanup_(strbuf_fini) struct strbuf out = STRBUF_INIT, stats = STRBUF_INIT;

    strbuf_addc(&out, '{');
    add_config(&out, conf);
    if (conf->server.enabled && !add_server_self(r, &out, &stats))
        return;
    if (!conf->server.enabled)
        strbuf_adds(&out, ",\"member\":{\"Name\":\"\",\"Addr\":null,\"Port\":0,\"Tags\":null,"
                          "\"Status\":\"\"}");
    if (conf->client.enabled)
        add_client_stats(r, &stats);
    add_runtime_stats(&stats);
    strbuf_adds(&out, ",\"stats\":{");
    strbuf_add(&out, stats.data + (stats.data[0] == ','), stats.len - (stats.data[0] == ','));
    strbuf_adds(&out, "}}");
    strbuf_add(&r->out, out.data, out.len);
}

/* ---- the page ---- */

void apid_ui(struct apid_req *r)
{
    r->content_type = "text/html; charset=utf-8";
    strbuf_addf(&r->out,
                "<!doctype html><title>Steppe</title><h1>Steppe</h1><p>Region %s. This release has "
                "no web page yet; the API is below <a href=\"/v1/agent/self?pretty\">/v1/</a>.\n",
                r->a->ctx->conf->region);
}
