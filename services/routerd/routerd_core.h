/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Which server answers a request for a region. Pure: membership and results of calls go in, an
 * order of servers to try comes out.
 */
#pragma once

#include "base/base.h"
#include "base/clock.h"
#include "base/prng.h"
#include "member.pb.h"

#define ROUTE_TRIES_MAX    8 /* servers tried for one request */
#define ROUTE_SERVERS_MAX  10000
#define ROUTE_ENDPOINT_MAX 80
#define ROUTE_NAME_MAX     256
#define ROUTE_MISSING_NS   (10 * NS_PER_SEC)

struct route_server {
    char name[ROUTE_NAME_MAX]; /* NODE.REGION, or the configured address before it is known */
    char region[129];
    char endpoint[ROUTE_ENDPOINT_MAX]; /* tcp://IP:PORT of its RPC */
    bool alive;                        /* as gossip says */
    bool self;
    struct mono_ns missing;     /* since when gossip does not name it at all; 0: it does */
    double rtt_ms;              /* by the gossip's coordinates, 0 = not known */
    unsigned failures;          /* in a row */
    struct mono_ns avoid_until; /* after a failure: others go first */
};

struct route_table;

/* own_region is borrowed for the life of the table. */
struct route_table *route_table_new(const char *own_region, uint64_t seed);
struct route_table *route_table_free(struct route_table *t);

/*
 * Takes over what gossip says; what was learned of servers that stay is kept. One that was alive
 * and is not named at all stays for ROUTE_MISSING_NS: a serfd that starts again knows nobody at
 * first, and the dead are named as failed or left before they are forgotten.
 */
void route_table_update(struct route_table *t, const steppe_MemberList *list, struct mono_ns now);

/* A server that only the configuration knows ("IP:PORT"), of the own region. */
void route_table_add_static(struct route_table *t, const char *addr);

/*
 * Servers of `region` in the order to try: alive ones that did not just fail, nearest first (equal
 * ones in a new random order each time); then those that failed. Never self. Returns how many;
 * 0 = no path to region.
 */
size_t route_table_order(struct route_table *t, const char *region, struct mono_ns now,
                         struct route_server *ret[static ROUTE_TRIES_MAX]);

/* The server at an endpoint, or NULL. */
struct route_server *route_table_find(struct route_table *t, const char *endpoint);
/* The server of that gossip name (NODE.REGION) if it is alive, or NULL; it may be self. */
struct route_server *route_table_named(struct route_table *t, const char *name);

/* What came of a call. A failed server is avoided for 200 ms, doubling up to 10 s. */
void route_server_result(struct route_server *s, bool ok, struct mono_ns now);

/* Names of the own region and of those with at least one alive server, sorted; an array of borrowed
 * strings, malloc'ed. */
const char **route_table_regions(struct route_table *t, struct mono_ns now, size_t *ret_n);
