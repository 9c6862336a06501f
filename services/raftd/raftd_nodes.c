/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Heartbeats of client nodes, on the leader: each node that is not down has a deadline; one that
 * passes it is proposed to be down. The TTL that a node is told keeps the rate of heartbeats below
 * max_heartbeats_per_second, with a random part so that nodes spread out; the deadline is the TTL
 * plus heartbeat_grace (reference: heartbeats). A new leader gives all nodes
 * failover_heartbeat_ttl: it cannot know when they were last heard.
 */
#include <string.h>

#include "base/log.h"
#include "raftd.h"

#define SCAN_MS 500

struct beat {
    char node_id[37];
    int64_t deadline_ns;
};

struct raftd_nodes {
    struct raftd *rd;
    struct beat *beats; /* sorted by node id */
    size_t n, cap;
    uv_timer_t scan;
};

/* Index of the node, or where it would be. */
static size_t find(const struct raftd_nodes *nodes, const char *id, bool *ret_found)
{
    size_t lo = 0, hi = nodes->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int cmp = strcmp(nodes->beats[mid].node_id, id);

        if (cmp == 0) {
            *ret_found = true;
            return mid;
        }
        if (cmp < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_found = false;
    return lo;
}

static void set(struct raftd_nodes *nodes, const char *id, int64_t deadline_ns)
{
    bool found;
    size_t i = find(nodes, id, &found);

    if (!found) {
        if (nodes->n == nodes->cap) {
            nodes->cap = nodes->cap ? nodes->cap * 2 : 16;
            nodes->beats = xrealloc(nodes->beats, nodes->cap * sizeof(*nodes->beats));
        }
        memmove(&nodes->beats[i + 1], &nodes->beats[i], (nodes->n - i) * sizeof(*nodes->beats));
        nodes->n++;
        memcpy(nodes->beats[i].node_id, id, strlen(id) + 1);
    }
    nodes->beats[i].deadline_ns = deadline_ns;
}

static void remove_at(struct raftd_nodes *nodes, size_t i)
{
    nodes->n--;
    memmove(&nodes->beats[i], &nodes->beats[i + 1], (nodes->n - i) * sizeof(*nodes->beats));
}

static void on_scan(uv_timer_t *t)
{
    struct raftd_nodes *nodes = t->data;
    int64_t now = clock_mono().ns;

    for (size_t i = nodes->n; i-- > 0;) {
        if (nodes->beats[i].deadline_ns > now)
            continue;
        log_warn("node missed its heartbeat node=%s", nodes->beats[i].node_id);
        raftd_write_node_down(nodes->rd, nodes->beats[i].node_id);
        remove_at(nodes, i);
    }
}

struct raftd_nodes *raftd_nodes_new(struct raftd *rd)
{
    struct raftd_nodes *nodes = xcalloc(1, sizeof(*nodes));

    nodes->rd = rd;
    uv_timer_init(rd->ctx->loop, &nodes->scan);
    nodes->scan.data = nodes;
    return nodes;
}

static void free_nodes(uv_handle_t *h)
{
    struct raftd_nodes *nodes = h->data;

    free(nodes->beats);
    free(nodes);
}

struct raftd_nodes *raftd_nodes_free(struct raftd_nodes *nodes)
{
    if (nodes)
        uv_close((uv_handle_t *)&nodes->scan, free_nodes);
    return NULL;
}

static int watch_node(void *user, const struct state_node *node)
{
    struct raftd_nodes *nodes = user;
    const struct conf_server *conf = &nodes->rd->ctx->conf->server;

    if (strcmp(node->status, "down") != 0)
        set(nodes, node->id,
            clock_mono().ns + conf->failover_heartbeat_ttl + conf->heartbeat_grace);
    return 0;
}

void raftd_nodes_lead(struct raftd *rd)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;

    rd->nodes->n = 0;
    if (store_begin(rd->store, false, &t) < 0 || state_nodes_each(t, watch_node, rd->nodes) < 0)
        log_error("cannot read the nodes: their heartbeats are not watched until they come");
    uv_timer_start(&rd->nodes->scan, on_scan, SCAN_MS, SCAN_MS);
}

void raftd_nodes_unlead(struct raftd *rd)
{
    uv_timer_stop(&rd->nodes->scan);
    rd->nodes->n = 0;
}

int64_t raftd_nodes_beat(struct raftd *rd, const char *node_id)
{
    const struct conf_server *conf = &rd->ctx->conf->server;
    int64_t ttl = conf->min_heartbeat_ttl;

    if (conf->max_heartbeats_per_second > 0)
        ttl = MAX(ttl, (int64_t)((double)rd->nodes->n / conf->max_heartbeats_per_second *
                                 (double)NS_PER_SEC));
    ttl += (int64_t)prng_below(&rd->prng, (uint64_t)ttl + 1);
    if (raftd_is_leader(rd) && rd->ready)
        set(rd->nodes, node_id, clock_mono().ns + ttl + conf->heartbeat_grace);
    return ttl;
}

void raftd_nodes_forget(struct raftd *rd, const char *node_id)
{
    bool found;
    size_t i = find(rd->nodes, node_id, &found);

    if (found)
        remove_at(rd->nodes, i);
}

size_t raftd_nodes_count(const struct raftd *rd)
{
    return rd->nodes->n;
}
