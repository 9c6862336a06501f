/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Registers the node with its region and keeps it alive there:
 *
 *     UNKNOWN -- registered --> BEATING -- the servers do not know us --> UNKNOWN
 *
 * An error of either is tried again after a pause that doubles up to RETRY_MAX_MS.
 */
#include "clientd_shell.h"

#include <errno.h>
#include <inttypes.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/prng.h"
#include "allocs.h"
#include "bus/bus.h"
#include "clientd_conn.h"
#include "fingerprint.h"
#include "rpc.pb.h"
#include "rpc/rpc_methods.h"
#include "wire/wire.h"

#define CALL_MS      15000
#define DIAL_MS      5000
#define RETRY_MIN_MS 250
#define RETRY_MAX_MS 10000
#define DISK_STEP_MB 16 /* and a quarter: so much more room is told to the servers */
#define TTL_MIN_NS   (NS_PER_SEC / 10)

struct clientd {
    struct svc_ctx *ctx;
    struct bus_client *routerd;
    char id[37];
    char secret[37];
    steppe_Node node;
    struct cgroup_host cgroups;
    struct allocs *allocs;
    uv_timer_t timer;
    struct conn *conn; /* requests from servers and the gateway */
    bool registered, stopping;
    unsigned failures;
};

static void register_node(struct clientd *c);
static void beat(struct clientd *c);
static void describe(struct clientd *c, const struct conf *conf);

/*
 * What is free when a node starts is its disk, as in Nomad: a node that started with a full one
 * would never get work again. Less than then is what its allocations were promised.
 */
static bool disk_grew(struct clientd *c)
{
    int64_t was = c->node.node_resources.disk.disk_mb;
    int64_t now = fingerprint_disk_free(c->ctx->conf);

    return now - was >= DISK_STEP_MB && now > was + was / 4;
}

static void on_timer(uv_timer_t *t)
{
    struct clientd *c = t->data;

    if (c->registered && !disk_grew(c)) {
        beat(c);
        return;
    }
    if (c->registered) {
        describe(c, c->ctx->conf);
        log_info("there is more room on the disk: registering again disk_mb=%" PRId64,
                 c->node.node_resources.disk.disk_mb);
    }
    register_node(c);
}

static void later(struct clientd *c, int64_t ms)
{
    uv_update_time(c->ctx->loop);
    uv_timer_start(&c->timer, on_timer, (uint64_t)MAX(ms, (int64_t)1), 0);
}

static void retry(struct clientd *c, const char *what, const char *why)
{
    int64_t ms = MIN((int64_t)RETRY_MIN_MS << MIN(c->failures, 10u), (int64_t)RETRY_MAX_MS);

    c->failures++;
    if (c->failures == 1)
        log_warn("%s failed, will try again: %s", what, why);
    later(c, ms / 2 + (int64_t)(random_u64() % (uint64_t)ms));
}

/* Takes the TTL out of an answer and sets the next heartbeat. */
static void accepted(struct clientd *c, const uint8_t *body, size_t len)
{
    steppe_NodeUpdateResponse rep;
    struct errtext e = {{0}};
    int64_t ttl;

    if (wire_decode(steppe_NodeUpdateResponse_fields, body, len, &rep, sizeof(rep), &e) < 0) {
        retry(c, "heartbeat", e.text);
        return;
    }
    allocs_heard(c->allocs);
    ttl = MAX(rep.heartbeat_ttl, (int64_t)TTL_MIN_NS);
    pb_release(steppe_NodeUpdateResponse_fields, &rep);
    if (c->failures > 0 && c->registered)
        log_info("servers answer again");
    c->failures = 0;
    log_debug("the servers heard this node ttl_ms=%" PRId64, ttl / NS_PER_MS);
    later(c, ttl / NS_PER_MS);
}

static void on_beat(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct clientd *c = user;

    if (c->stopping)
        return;
    if (err == 0 && rep->code == 404) {
        log_warn("the servers do not know this node: registering again");
        c->registered = false;
        register_node(c);
    } else if (err == 0 && rep->code == 0) {
        accepted(c, body, len);
    } else {
        retry(c, "heartbeat", err ? strerror(-err) : rep->error);
    }
}

static void on_registered(void *user, int err, const steppe_Reply *rep, const uint8_t *body,
                          size_t len)
{
    struct clientd *c = user;

    if (c->stopping)
        return;
    if (err != 0 || rep->code != 0) {
        retry(c, "registration", err ? strerror(-err) : rep->error);
        return;
    }
    c->registered = true;
    log_info("node registered node=%s", c->id);
    allocs_begin(c->allocs);
    clientd_conn_registered(c->conn);
    accepted(c, body, len);
}

static void call(struct clientd *c, unsigned method, const pb_msgdesc_t *fields, const void *msg,
                 bus_reply_fn *fn)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_Request env = {.method = method, .timeout_ms = CALL_MS};

    (void)snprintf(env.region, sizeof(env.region), "%s", c->ctx->conf->region);
    uuid_make(env.idempotency_key);
    (void)wire_encode(fields, msg, &body);
    bus_client_call(c->routerd, &env, body.data, body.len, DIAL_MS, fn, c);
}

static void register_node(struct clientd *c)
{
    steppe_NodeRegisterRequest msg = {.has_node = true, .node = c->node};

    call(c, RPC_NODE_REGISTER, steppe_NodeRegisterRequest_fields, &msg, on_registered);
}

static void beat(struct clientd *c)
{
    steppe_NodeUpdateStatusRequest msg = {
        .node_id = c->id, .secret_id = c->secret, .status = (char *)"ready"};

    call(c, RPC_NODE_UPDATE_STATUS, steppe_NodeUpdateStatusRequest_fields, &msg, on_beat);
}

static void add_drivers(struct clientd *c, const struct conf *conf)
{
    struct driver_ctx drivers = {.conf = conf, .cgroups = &c->cgroups, .node_id = c->id};

    cgroup_detect(&c->cgroups);
    fingerprint_cgroups(&c->cgroups, &c->node);
    driver_fingerprint(&drivers, &c->node);
    fingerprint_sort(&c->node);
}

static void describe(struct clientd *c, const struct conf *conf)
{
    pb_release(steppe_Node_fields, &c->node);
    c->node = (steppe_Node){
        .id = xstrdup(c->id), .secret_id = xstrdup(c->secret), .status = xstrdup("ready")};
    fingerprint_node(conf, &c->node);
    add_drivers(c, conf);
    c->node.computed_class = fingerprint_class(&c->node);
}

int clientd_init(struct svc_ctx *ctx, struct errtext *e)
{
    const struct conf *conf = ctx->conf;
    _cleanup_(freep) char *endpoint = conf_run_ipc(conf, "routerd.sock");
    _cleanup_(freep) char *id = xasprintf("%s/client-id", conf->client.state_dir);
    _cleanup_(freep) char *secret = xasprintf("%s/secret-id", conf->client.state_dir);
    struct clientd *c = xcalloc(1, sizeof(*c));
    int r;

    ctx->user = c;
    c->ctx = ctx;
    uv_timer_init(ctx->loop, &c->timer);
    c->timer.data = c;
    r = conf_node_id(id, c->id, e);
    if (r == 0)
        r = conf_node_id(secret, c->secret, e);
    if (r == 0)
        r = bus_client_new(ctx->bus, endpoint, &c->routerd, e);
    if (r == 0)
        r = allocs_new(ctx, c->routerd, c->id, c->secret, &c->allocs, e);
    if (r == 0)
        r = clientd_conn_new(ctx, c->id, c->secret, c->allocs, &c->conn, e);
    if (r < 0)
        return r;
    describe(c, conf);
    allocs_set_node(c->allocs, &c->node);
    register_node(c);
    svc_ready(ctx);
    return 0;
}

/* The node's class or meta may have changed. */
void clientd_reload(struct svc_ctx *ctx, const struct conf *conf)
{
    struct clientd *c = ctx->user;

    describe(c, conf);
    c->registered = false;
    later(c, 0);
}

static void on_quiet(void *user)
{
    svc_stopped(user);
}

/* The tasks of a node stay, those of a throw-away one have nowhere to stay. */
void clientd_stop(struct svc_ctx *ctx)
{
    struct clientd *c = ctx->user;

    if (ctx->conf->dev && c)
        allocs_end_all(c->allocs, on_quiet, ctx);
    else
        svc_stopped(ctx);
}

static void free_clientd(uv_handle_t *timer)
{
    struct clientd *c = timer->data;

    pb_release(steppe_Node_fields, &c->node);
    free(c);
}

void clientd_fini(struct svc_ctx *ctx)
{
    struct clientd *c = ctx->user;

    if (!c)
        return;
    ctx->user = NULL;
    c->stopping = true;
    clientd_conn_free(c->conn);
    c->allocs = allocs_free(c->allocs);
    bus_client_free(c->routerd);
    uv_close((uv_handle_t *)&c->timer, free_clientd);
}
