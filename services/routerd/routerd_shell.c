/* SPDX-License-Identifier: MPL-2.0 */
#include "routerd_shell.h"

#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "wire/wire.h"

#define FIRST_WAIT_MS    2000 /* servers: for the first list, before a region is unknown */
#define REFRESH_MS       5000 /* client nodes: how often a server is asked for the members */
#define REFRESH_FIRST_MS 200  /* ... until one has answered */
#define FETCH_TIMEOUT_MS 2000

struct bus_client *routerd_conn_get(struct routerd *rd, const char *endpoint)
{
    struct errtext e = {{0}};
    struct routerd_conn *c;

    for (c = rd->conns; c; c = c->next) {
        if (strcmp(c->endpoint, endpoint) == 0)
            return c->client;
    }
    c = xcalloc(1, sizeof(*c));
    (void)snprintf(c->endpoint, sizeof(c->endpoint), "%s", endpoint);
    if (bus_client_new(rd->ctx->bus, endpoint, &c->client, &e) < 0) {
        log_warn("no connection to a server endpoint=%s error=\"%s\"", endpoint, e.text);
        free(c);
        return NULL;
    }
    c->next = rd->conns;
    rd->conns = c;
    return c->client;
}

/* Closes the connections to servers that gossip no longer shows alive: their calls go on elsewhere.
 */
static void drop_dead(struct routerd *rd)
{
    struct routerd_conn **at = &rd->conns, *dead = NULL, *c;

    while ((c = *at)) {
        struct route_server *s = route_table_find(rd->table, c->endpoint);

        if (s && s->alive) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        c->next = dead;
        dead = c;
    }
    while ((c = dead)) {
        dead = c->next;
        log_debug("connection closed: server is not alive endpoint=%s", c->endpoint);
        bus_client_free(c->client);
        free(c);
    }
}

void routerd_add_configured(struct routerd *rd)
{
    const struct conf_client *client = &rd->ctx->conf->client;

    if (rd->raftd)
        return;
    for (size_t i = 0; i < client->servers.n; i++)
        route_table_add_static(rd->table, client->servers.items[i]);
    for (size_t i = 0; i < client->server_join.start_join.n; i++)
        route_table_add_static(rd->table, client->server_join.start_join.items[i]);
    for (size_t i = 0; i < client->server_join.retry_join.n; i++)
        route_table_add_static(rd->table, client->server_join.retry_join.items[i]);
}

static void take_members(struct routerd *rd, const uint8_t *body, size_t len)
{
    struct route_server *order[ROUTE_TRIES_MAX];
    steppe_MemberList list;
    struct errtext e = {{0}};

    if (wire_decode(steppe_MemberList_fields, body, len, &list, sizeof(list), &e) < 0) {
        log_warn("member list dropped error=\"%s\"", e.text);
        return;
    }
    if (!rd->raftd) {
        free(list.self); /* the asked server's own name: to us it is a server like others */
        list.self = NULL;
    }
    route_table_update(rd->table, &list, clock_mono());
    rd->members_version = list.version;
    pb_release(steppe_MemberList_fields, &list);
    if (route_table_order(rd->table, rd->ctx->conf->region, clock_mono(), order) == 0)
        routerd_add_configured(rd);
    drop_dead(rd);
    if (!rd->waited)
        routerd_release_held(rd);
}

static void on_members(void *user, int err, const steppe_Reply *rep, const uint8_t *body,
                       size_t len)
{
    struct routerd *rd = user;
    bool ok = err == 0 && rep->code == 0;

    rd->fetching = false;
    if (ok) {
        take_members(rd, body, len);
    } else if (!rd->raftd && !rd->stopping) {
        /* It may have been the only one known: asked while it started, it knew of no other. */
        struct route_server *s = route_table_find(rd->table, rd->asked);

        if (s)
            route_server_result(s, false, clock_mono());
        routerd_add_configured(rd);
    }
    if (!rd->raftd && !rd->stopping)
        uv_timer_start(&rd->refresh, rd->refresh.timer_cb, ok ? REFRESH_MS : REFRESH_FIRST_MS, 0);
}

static void fetch_members(struct routerd *rd, struct bus_client *from)
{
    steppe_Request env = {.method = RPC_SERF_MEMBERS, .timeout_ms = FETCH_TIMEOUT_MS, .hops = 1};

    if (rd->fetching)
        return;
    rd->fetching = true;
    bus_client_call(from, &env, NULL, 0, FETCH_TIMEOUT_MS / 2, on_members, rd);
}

static void on_version(void *user, uint64_t version)
{
    struct routerd *rd = user;

    if (version != rd->members_version)
        fetch_members(rd, rd->serfd);
}

static void on_refresh(uv_timer_t *t)
{
    struct routerd *rd = t->data;
    struct route_server *order[ROUTE_TRIES_MAX];
    struct bus_client *c = NULL;

    if (route_table_order(rd->table, rd->ctx->conf->region, clock_mono(), order) > 0)
        c = routerd_conn_get(rd, order[0]->endpoint);
    if (c) {
        (void)snprintf(rd->asked, sizeof(rd->asked), "%s", order[0]->endpoint);
        fetch_members(rd, c);
        return;
    }
    uv_timer_start(t, on_refresh, REFRESH_MS, 0);
}

static void on_waited(uv_timer_t *t)
{
    struct routerd *rd = t->data;

    if (!rd->waited)
        routerd_release_held(rd);
}

static void on_request(void *user, struct bus_req *req)
{
    routerd_call_start(user, req);
}

/* A server node talks to its own raftd and serfd. */
static int connect_local(struct routerd *rd, struct errtext *e)
{
    const struct conf *conf = rd->ctx->conf;
    _cleanup_(freep) char *raftd = conf_run_ipc(conf, "raftd.sock");
    _cleanup_(freep) char *serfd = conf_run_ipc(conf, "serfd.sock");
    _cleanup_(freep) char *events = conf_run_ipc(conf, "serfd.events");
    int r = bus_client_new(rd->ctx->bus, raftd, &rd->raftd, e);

    if (r == 0)
        r = bus_client_new(rd->ctx->bus, serfd, &rd->serfd, e);
    if (r == 0)
        r = bus_sub_new(rd->ctx->bus, events, on_version, rd, &rd->events, e);
    return r;
}

int routerd_init(struct svc_ctx *ctx, struct errtext *e)
{
    _cleanup_(freep) char *endpoint = conf_run_ipc(ctx->conf, "routerd.sock");
    struct routerd *rd = xcalloc(1, sizeof(*rd));
    int r;

    ctx->user = rd;
    rd->ctx = ctx;
    rd->table = route_table_new(ctx->conf->region, random_u64());
    uv_timer_init(ctx->loop, &rd->refresh);
    rd->refresh.data = rd;
    if (ctx->conf->server.enabled) {
        r = connect_local(rd, e);
        if (r < 0)
            return r;
        uv_timer_start(&rd->refresh, on_waited, FIRST_WAIT_MS, 0);
    } else {
        routerd_add_configured(rd);
        uv_timer_start(&rd->refresh, on_refresh, 0, 0);
    }
    r = bus_server_new(ctx->bus, endpoint, on_request, rd, &rd->server, e);
    if (r < 0)
        return r;
    svc_ready(ctx);
    return 0;
}

static void free_routerd(uv_handle_t *refresh)
{
    free(refresh->data);
}

void routerd_fini(struct svc_ctx *ctx)
{
    struct routerd *rd = ctx->user;
    struct routerd_conn *c;

    if (!rd)
        return;
    rd->stopping = true;
    routerd_release_held(rd);
    /* Clients first: their callbacks answer the requests that are still open. */
    while ((c = rd->conns)) {
        rd->conns = c->next;
        bus_client_free(c->client);
        free(c);
    }
    bus_client_free(rd->raftd);
    bus_client_free(rd->serfd);
    bus_sub_free(rd->events);
    bus_server_free(rd->server);
    route_table_free(rd->table);
    ctx->user = NULL;
    uv_close((uv_handle_t *)&rd->refresh, free_routerd);
}
