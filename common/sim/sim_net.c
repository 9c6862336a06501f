/* SPDX-License-Identifier: MPL-2.0 */
#include <string.h>

#include "sim/sim_net.h"

struct sim_transit {
    struct sim_packet *packet; /* NULL: a free place */
    unsigned from, to;
};

void sim_net_init(struct sim_net *net, struct sim *sim, sim_deliver_fn *deliver, void *user)
{
    memset(net, 0, sizeof(*net));
    net->sim = sim;
    net->deliver = deliver;
    net->user = user;
}

static void packet_unref(struct sim_packet *p)
{
    if (--p->refs == 0)
        free(p);
}

void sim_net_fini(struct sim_net *net)
{
    for (size_t i = 0; i < net->transit_n; i++)
        if (net->transit[i].packet)
            packet_unref(net->transit[i].packet);
    free(net->transit);
    free(net->free_places);
    net->transit = NULL;
    net->free_places = NULL;
    net->free_n = 0;
    net->transit_n = net->transit_cap = 0;
}

struct sim_packet *sim_packet_new(const void *data, uint32_t len)
{
    struct sim_packet *p = xmalloc(sizeof(*p) + len);

    p->refs = 1;
    p->len = len;
    memcpy(p->data, data, len);
    return p;
}

static void net_arrive(void *arg, uint64_t place, uint64_t b UNUSED)
{
    struct sim_net *net = arg;
    struct sim_transit t = net->transit[place];

    net->transit[place].packet = NULL;
    net->free_places[net->free_n++] = place;
    if (!net->cut[t.from][t.to])
        net->deliver(net->user, t.from, t.to, t.packet);
    packet_unref(t.packet);
}

static size_t net_place(struct sim_net *net)
{
    if (net->free_n > 0)
        return net->free_places[--net->free_n];
    if (net->transit_n == net->transit_cap) {
        net->transit_cap = net->transit_cap ? net->transit_cap * 2 : 64;
        net->transit = xrealloc(net->transit, net->transit_cap * sizeof(*net->transit));
        net->free_places = xrealloc(net->free_places, net->transit_cap * sizeof(*net->free_places));
    }
    return net->transit_n++;
}

static void net_launch(struct sim_net *net, unsigned from, unsigned to, struct sim_packet *p)
{
    int64_t delay = sim_range(net->sim, net->delay_min_ns, net->delay_max_ns);
    size_t place = net_place(net);

    if (net->fifo) {
        int64_t at = MAX(net->sim->now_ns + delay, net->busy_ns[from][to] + 1);

        net->busy_ns[from][to] = at;
        delay = at - net->sim->now_ns;
    }
    p->refs++;
    net->transit[place] = (struct sim_transit){p, from, to};
    sim_after(net->sim, delay, net_arrive, net, place, 0);
}

void sim_net_send(struct sim_net *net, unsigned from, unsigned to, struct sim_packet *p)
{
    assert(from < SIM_NET_MAX && to < SIM_NET_MAX);
    net->sent++;
    if (net->cut[from][to] || sim_chance(net->sim, net->loss_permille)) {
        net->lost++;
    } else {
        net_launch(net, from, to, p);
        if (sim_chance(net->sim, net->double_permille))
            net_launch(net, from, to, p);
    }
    packet_unref(p);
}

void sim_net_heal(struct sim_net *net)
{
    memset(net->cut, 0, sizeof(net->cut));
    net->loss_permille = net->double_permille = 0;
}
