/* SPDX-License-Identifier: MPL-2.0 */
/* The process around the core: its sockets, what it knows of members, and the calls under way. */
#pragma once

#include "base/idmap.h"
#include "bus/bus.h"
#include "routerd_core.h"
#include "rpc/rpc_methods.h"
#include "svc/svc.h"

#define ROUTERD_TARGETS_MAX (ROUTE_TRIES_MAX + 2)

/* A connection to another server. */
struct routerd_conn {
    char endpoint[ROUTE_ENDPOINT_MAX];
    struct bus_client *client;
    struct routerd_conn *next;
};

struct routerd {
    struct svc_ctx *ctx;
    struct bus_server *server;
    struct bus_client *raftd, *serfd; /* NULL on a pure client node */
    struct bus_sub *events;           /* serfd's announcements; NULL on a pure client node */
    struct route_table *table;
    struct routerd_conn *conns;
    uint64_t members_version;
    bool fetching;
    uv_timer_t refresh;             /* client nodes ask a server for the members */
    struct routerd_held *held;      /* without a path before the members are known; newest first */
    bool waited;                    /* long enough for the first member list */
    char asked[ROUTE_ENDPOINT_MAX]; /* ... this one */
    bool stopping;
};

int routerd_init(struct svc_ctx *ctx, struct errtext *e);
void routerd_fini(struct svc_ctx *ctx);

/* The connection to a server, made when there is none. NULL when that failed. */
struct bus_client *routerd_conn_get(struct routerd *rd, const char *endpoint);

/* On a client node, when all known servers fail: those of the configuration are worth a try,
 * whatever a server said of them that may not have known the others yet. */
void routerd_add_configured(struct routerd *rd);

/* Members are known now, or will not be soon: what was held goes on. */
void routerd_release_held(struct routerd *rd);

/* A request that came in: takes it over and answers it in the end. */
void routerd_call_start(struct routerd *rd, struct bus_req *req);
