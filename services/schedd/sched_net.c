/* SPDX-License-Identifier: MPL-2.0 */
/* Networks of nodes and ports of placements (reference: http-api 7.6). */
#include <string.h>

#include "sched_internal.h"

#define DYNAMIC_MIN   20000
#define DYNAMIC_MAX   32000 /* not itself */
#define DYNAMIC_TRIES 20
#define DEFAULT_NAME  "default"

static bool is_default(const char *name)
{
    return !*name || strcmp(name, DEFAULT_NAME) == 0;
}

/* A node that told no addresses by name has one all the same: the one that it is reached at. */
static const char *main_address(const steppe_Node *n)
{
    const steppe_NodeResources *r = &n->node_resources;

    for (pb_size_t i = 0; i < r->networks_count; i++)
        if (r->networks[i].ip && *r->networks[i].ip)
            return r->networks[i].ip;
    return sched_text(sched_target("${attr.unique.network.ip-address}", n));
}

const char *sched_net_address(const steppe_Node *n, const char *host_network)
{
    const steppe_NodeResources *r = &n->node_resources;
    const char *name = sched_target(host_network, n);

    if (!name)
        return NULL;
    for (pb_size_t i = 0; i < r->node_networks_count; i++) {
        const steppe_NodeNetworkResource *net = &r->node_networks[i];

        for (pb_size_t k = 0; k < net->addresses_count; k++)
            if (strcmp(sched_text(net->addresses[k].alias), *name ? name : DEFAULT_NAME) == 0)
                return sched_text(net->addresses[k].address);
    }
    return is_default(name) ? main_address(n) : NULL;
}

bool sched_net_mode_there(const steppe_Node *n, const char *mode)
{
    const steppe_NodeResources *r = &n->node_resources;

    if (strcmp(mode, "none") == 0)
        return true;
    if (r->networks_count == 0 && r->node_networks_count == 0)
        return strcmp(mode, "host") == 0;
    for (pb_size_t i = 0; i < r->networks_count; i++) {
        const char *has = sched_text(r->networks[i].mode);

        if (strcmp(*has ? has : "host", mode) == 0)
            return true;
    }
    return false;
}

/* ---- ports ---- */

struct pick {
    struct sched_ctx *c;
    const struct image_node *n;
    const struct sched_offer *offers;
    size_t offers_n;
    const char *address;
};

static bool is_free(const struct pick *p, int32_t port)
{
    for (size_t i = 0; i < p->offers_n; i++)
        if (p->offers[i].value == port && strcmp(p->offers[i].address, p->address) == 0)
            return false;
    return image_port_free(p->c->im, p->n, p->address, port);
}

/* A random one: a few tries, then all are looked at. 0: none is free. */
static int32_t dynamic_port(const struct pick *p)
{
    const uint32_t span = DYNAMIC_MAX - DYNAMIC_MIN;
    uint32_t start;

    for (unsigned i = 0; i < DYNAMIC_TRIES; i++) {
        int32_t port = DYNAMIC_MIN + (int32_t)prng_below(p->c->in->prng, span);

        if (is_free(p, port))
            return port;
    }
    start = (uint32_t)prng_below(p->c->in->prng, span);
    for (uint32_t i = 0; i < span; i++) {
        int32_t port = DYNAMIC_MIN + (int32_t)((start + i) % span);

        if (is_free(p, port))
            return port;
    }
    return 0;
}

static bool offer_one(const struct pick *p, const struct sched_port_ask *ask,
                      struct sched_offer *offer, struct errtext *e)
{
    *offer = (struct sched_offer){ask, ask->value, p->address};
    if (!p->address) {
        (void)err_set(e, 0, "network: no addresses available for \"%s\" network",
                      ask->host_network);
        return false;
    }
    if (ask->fixed) {
        if (is_free(p, ask->value))
            return true;
        (void)err_set(e, 0, "network: reserved port collision %s=%d", ask->label, ask->value);
        return false;
    }
    offer->value = dynamic_port(p);
    if (offer->value == 0)
        (void)err_set(e, 0, "network: dynamic port selection failed");
    return offer->value != 0;
}

/* Fixed ports first, so that no random one takes theirs. */
bool sched_net_offer(struct sched_ctx *c, const struct sched_group *g, const struct image_node *n,
                     struct sched_offer *offers, struct errtext *e)
{
    struct pick p = {.c = c, .n = n, .offers = offers};

    if (g->too_many_ports) {
        (void)err_set(e, 0, "network: more than %d ports", IMAGE_USE_PORTS_MAX);
        return false;
    }
    for (int fixed = 1; fixed >= 0; fixed--) {
        for (size_t i = 0; i < g->ports_n; i++) {
            if (g->ports[i].fixed != (fixed == 1))
                continue;
            p.address = sched_net_address(n->node, g->ports[i].host_network);
            if (!offer_one(&p, &g->ports[i], &offers[p.offers_n], e))
                return false;
            p.offers_n++;
        }
    }
    return true;
}
