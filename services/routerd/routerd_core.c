/* SPDX-License-Identifier: MPL-2.0 */
#include "routerd_core.h"

#include <stdio.h>
#include <string.h>

#include "wire/member.h"

#define AVOID_MIN_NS (200 * NS_PER_MS)
#define AVOID_MAX_NS (10 * NS_PER_SEC)
#define RTT_EQUAL_MS 1.0 /* distances closer than this are the same distance */

struct route_table {
    const char *own_region;
    struct prng prng;
    struct route_server **servers;
    size_t n;
};

struct route_table *route_table_new(const char *own_region, uint64_t seed)
{
    struct route_table *t = xcalloc(1, sizeof(*t));

    t->own_region = own_region;
    prng_seed(&t->prng, seed);
    return t;
}

struct route_table *route_table_free(struct route_table *t)
{
    if (!t)
        return NULL;
    for (size_t i = 0; i < t->n; i++)
        free(t->servers[i]);
    free(t->servers);
    free(t);
    return NULL;
}

struct route_server *route_table_find(struct route_table *t, const char *endpoint)
{
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->servers[i]->endpoint, endpoint) == 0)
            return t->servers[i];
    }
    return NULL;
}

struct route_server *route_table_named(struct route_table *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++) {
        if (t->servers[i]->alive && strcmp(t->servers[i]->name, name) == 0)
            return t->servers[i];
    }
    return NULL;
}

static struct route_server *find_or_add(struct route_table *t, const char *endpoint)
{
    struct route_server *s = route_table_find(t, endpoint);

    if (s || t->n >= ROUTE_SERVERS_MAX)
        return s;
    t->servers = xrealloc(t->servers, (t->n + 1) * sizeof(*t->servers));
    s = t->servers[t->n++] = xcalloc(1, sizeof(*s));
    (void)snprintf(s->endpoint, sizeof(s->endpoint), "%s", endpoint);
    return s;
}

/*
 * tcp://IP:PORT; false for what is no server's. Other regions may have an address of their own for
 * it (rpc_wan); failing that they take the gossip address with the port tag, as Nomad does.
 */
static bool endpoint_of(const char *own_region, const steppe_Member *m,
                        char out[static ROUTE_ENDPOINT_MAX])
{
    const char *port = member_tag(m, "port"), *ip = m->addr ? m->addr : "";
    bool near = strcmp(member_tag(m, "region"), own_region) == 0;
    int n;

    if (near && *member_tag(m, "rpc_addr"))
        ip = member_tag(m, "rpc_addr");
    if (!near && *member_tag(m, "rpc_wan")) {
        n = snprintf(out, ROUTE_ENDPOINT_MAX, "tcp://%s", member_tag(m, "rpc_wan"));
        return n > 0 && n < ROUTE_ENDPOINT_MAX;
    }
    if (!*ip || !*port || strspn(port, "0123456789") != strlen(port))
        return false;
    n = snprintf(out, ROUTE_ENDPOINT_MAX, strchr(ip, ':') ? "tcp://[%s]:%s" : "tcp://%s:%s", ip,
                 port);
    return n > 0 && n < ROUTE_ENDPOINT_MAX;
}

/* Who has been missing for long is gone. */
static void forget_missing(struct route_table *t, struct mono_ns now)
{
    for (size_t i = 0; i < t->n; i++) {
        struct route_server *s = t->servers[i];

        if (s->missing.ns && now.ns - s->missing.ns >= ROUTE_MISSING_NS) {
            s->alive = false;
            s->missing.ns = 0;
        }
    }
}

/* A missing one whose name is there has another address now. */
static void drop_moved(struct route_table *t, const steppe_MemberList *list)
{
    for (size_t i = 0; i < t->n; i++) {
        struct route_server *s = t->servers[i];

        for (pb_size_t k = 0; s->missing.ns && k < list->members_count; k++) {
            const char *name = list->members[k].name;

            if (name && strcmp(name, s->name) == 0) {
                s->alive = false;
                s->missing.ns = 0;
            }
        }
    }
}

void route_table_update(struct route_table *t, const steppe_MemberList *list, struct mono_ns now)
{
    for (size_t i = 0; i < t->n; i++) {
        struct route_server *s = t->servers[i];

        if (s->alive && !s->missing.ns)
            s->missing = now;
    }
    for (pb_size_t i = 0; i < list->members_count; i++) {
        const steppe_Member *m = &list->members[i];
        char endpoint[ROUTE_ENDPOINT_MAX];
        struct route_server *s;

        if (strcmp(member_tag(m, "role"), "nomad") != 0 || !endpoint_of(t->own_region, m, endpoint))
            continue;
        s = find_or_add(t, endpoint);
        if (!s)
            return;
        (void)snprintf(s->name, sizeof(s->name), "%s", m->name ? m->name : "");
        (void)snprintf(s->region, sizeof(s->region), "%s", member_tag(m, "region"));
        s->alive = member_has_status(m, "alive");
        s->missing.ns = 0;
        s->self = list->self && m->name && strcmp(list->self, m->name) == 0;
        s->rtt_ms = m->rtt_ms;
    }
    drop_moved(t, list);
}

void route_table_add_static(struct route_table *t, const char *addr)
{
    char endpoint[ROUTE_ENDPOINT_MAX];
    struct route_server *s;

    (void)snprintf(endpoint, sizeof(endpoint), "tcp://%s", addr);
    s = find_or_add(t, endpoint);
    if (!s)
        return;
    if (!s->region[0]) {
        (void)snprintf(s->name, sizeof(s->name), "%s", addr);
        (void)snprintf(s->region, sizeof(s->region), "%s", t->own_region);
    }
    s->alive = true;
}

/* The ladder: 1. not just failed, 2. nearer, 3. as drawn. True when a goes before b. */
static bool goes_before(const struct route_server *a, const struct route_server *b,
                        struct mono_ns now)
{
    bool avoid_a = a->avoid_until.ns > now.ns, avoid_b = b->avoid_until.ns > now.ns;

    if (avoid_a != avoid_b)
        return avoid_b;
    if (avoid_a)
        return a->avoid_until.ns < b->avoid_until.ns;
    if (a->rtt_ms > 0 && b->rtt_ms > 0)
        return a->rtt_ms + RTT_EQUAL_MS < b->rtt_ms;
    return false;
}

size_t route_table_order(struct route_table *t, const char *region, struct mono_ns now,
                         struct route_server *ret[static ROUTE_TRIES_MAX])
{
    size_t n = 0, start;

    forget_missing(t, now);
    if (t->n == 0)
        return 0;
    start = prng_below(&t->prng, t->n);
    for (size_t k = 0; k < t->n; k++) {
        struct route_server *s = t->servers[(start + k) % t->n];
        size_t at;

        if (!s->alive || s->self || strcmp(s->region, region) != 0)
            continue;
        for (at = n; at > 0 && goes_before(s, ret[at - 1], now); at--)
            ;
        if (at >= ROUTE_TRIES_MAX)
            continue;
        n = MIN(n + 1, (size_t)ROUTE_TRIES_MAX);
        memmove(&ret[at + 1], &ret[at], (n - at - 1) * sizeof(*ret));
        ret[at] = s;
    }
    return n;
}

void route_server_result(struct route_server *s, bool ok, struct mono_ns now)
{
    int64_t wait = AVOID_MIN_NS;

    if (ok) {
        s->failures = 0;
        s->avoid_until.ns = 0;
        return;
    }
    for (unsigned i = 0; i < s->failures && wait < AVOID_MAX_NS; i++)
        wait *= 2;
    s->failures++;
    s->avoid_until.ns = now.ns + MIN(wait, AVOID_MAX_NS);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **route_table_regions(struct route_table *t, struct mono_ns now, size_t *ret_n)
{
    const char **names = xcalloc(t->n + 1, sizeof(*names));
    size_t n = 0, unique = 0;

    forget_missing(t, now);
    names[n++] = t->own_region; /* it answers: that it asks proves it */
    for (size_t i = 0; i < t->n; i++) {
        if (t->servers[i]->alive)
            names[n++] = t->servers[i]->region;
    }
    qsort(names, n, sizeof(*names), by_name);
    for (size_t i = 0; i < n; i++) {
        if (unique == 0 || strcmp(names[unique - 1], names[i]) != 0)
            names[unique++] = names[i];
    }
    *ret_n = unique;
    return names;
}
