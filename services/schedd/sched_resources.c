/* SPDX-License-Identifier: MPL-2.0 */
/* What an allocation gets: AllocatedResources of a group, with the ports and cores of an option. */
#include <string.h>

#include "sched_internal.h"
#include "wire/wire.h"

/* The ports of one network ask (task -1: the group's), copied with their values. */
static void network_ports(struct sched_ctx *c, const struct sched_group *g,
                          const struct sched_option *o, int32_t task, steppe_NetworkResource *net)
{
    net->reserved_ports = SCHED_NEW_N(c->arena, steppe_Port, g->ports_n);
    net->dynamic_ports = SCHED_NEW_N(c->arena, steppe_Port, g->ports_n);
    net->reserved_ports_count = net->dynamic_ports_count = 0;
    for (size_t i = 0; i < g->ports_n; i++) {
        const struct sched_port_ask *ask = o->offers[i].ask;
        steppe_Port p = {.label = (char *)ask->label,
                         .value = o->offers[i].value,
                         .to = ask->to == -1 ? o->offers[i].value : ask->to,
                         .host_network = (char *)ask->host_network};

        if (ask->task != task)
            continue;
        net->ip = (char *)(net->ip && *net->ip ? net->ip : o->offers[i].address);
        if (ask->fixed)
            net->reserved_ports[net->reserved_ports_count++] = p;
        else
            net->dynamic_ports[net->dynamic_ports_count++] = p;
    }
}

static steppe_NetworkResource *network(struct sched_ctx *c, const struct sched_group *g,
                                       const struct sched_option *o, int32_t task,
                                       const steppe_NetworkResource *ask)
{
    steppe_NetworkResource *net = SCHED_NEW(c->arena, steppe_NetworkResource);
    const struct image_node *n = image_node_at(c->im, o->node);

    *net = *ask;
    net->ip = (char *)sched_text(sched_net_address(n->node, ""));
    network_ports(c, g, o, task, net);
    for (pb_size_t i = 0; i < n->node->node_resources.networks_count; i++)
        if (task >= 0 && !sched_text(net->device)[0])
            net->device = n->node->node_resources.networks[i].device;
    return net;
}

static void shared(struct sched_ctx *c, const struct sched_group *g, const struct sched_option *o,
                   steppe_AllocatedSharedResources *s)
{
    s->disk_mb = g->tg->ephemeral_disk.size_mb;
    if (!o || !g->network_mode)
        return;
    s->networks = network(c, g, o, -1, &g->tg->networks[0]);
    s->networks_count = 1;
    s->ports = SCHED_NEW_N(c->arena, steppe_AllocatedPortMapping, g->ports_n);
    for (size_t i = 0; i < g->ports_n; i++) {
        const struct sched_port_ask *ask = o->offers[i].ask;

        if (ask->task >= 0)
            continue;
        s->ports[s->ports_count++] = (steppe_AllocatedPortMapping){
            .label = (char *)ask->label,
            .value = o->offers[i].value,
            .to = ask->to == -1 ? o->offers[i].value : ask->to,
            .host_ip = (char *)o->offers[i].address,
        };
    }
}

static void task(struct sched_ctx *c, const struct sched_group *g, const struct sched_option *o,
                 int32_t number, steppe_AllocatedTaskResources *t)
{
    const steppe_Resources *r = &g->tg->tasks[number].resources;

    t->has_cpu = t->has_memory = true;
    t->cpu.cpu_shares = r->cpu;
    t->memory.memory_mb = r->memory_mb;
    if (c->in->config.memory_oversubscription)
        t->memory.memory_max_mb = r->memory_max_mb;
    if (o && r->networks_count) {
        t->networks = network(c, g, o, number, &r->networks[0]);
        t->networks_count = 1;
    }
}

/* Cores are dealt out in the order of the tasks; a task with cores has their share of MHz. */
static void deal_cores(struct sched_ctx *c, const struct sched_group *g,
                       const struct sched_option *o, steppe_AllocatedResources *r)
{
    int32_t at = 0;

    for (pb_size_t i = 0; i < g->tg->tasks_count; i++) {
        int32_t n = MAX(g->tg->tasks[i].resources.cores, 0);
        steppe_AllocatedCpuResources *cpu = &r->tasks[i].value.cpu;

        if (n == 0)
            continue;
        assert(at + n <= o->cores_n);
        cpu->reserved_cores = SCHED_NEW_N(c->arena, uint32_t, (size_t)n);
        for (int32_t k = 0; k < n; k++)
            cpu->reserved_cores[cpu->reserved_cores_count++] = o->cores[at++];
        cpu->cpu_shares = o->core_mhz * n;
    }
}

steppe_AllocatedResources *sched_resources(struct sched_ctx *c, const struct sched_group *g,
                                           const struct sched_option *o)
{
    steppe_AllocatedResources *r = SCHED_NEW(c->arena, steppe_AllocatedResources);
    pb_size_t n = g->tg->tasks_count;

    r->tasks = SCHED_NEW_N(c->arena, steppe_AllocatedResources_TasksEntry, n);
    r->task_lifecycles = SCHED_NEW_N(c->arena, steppe_AllocatedResources_TaskLifecyclesEntry, n);
    r->tasks_count = r->task_lifecycles_count = n;
    for (pb_size_t i = 0; i < n; i++) {
        const steppe_Task *t = &g->tg->tasks[i];

        r->tasks[i].key = r->task_lifecycles[i].key = t->name;
        r->tasks[i].has_value = true;
        r->task_lifecycles[i].has_value = t->has_lifecycle;
        r->task_lifecycles[i].value = t->lifecycle;
        task(c, g, o, i, &r->tasks[i].value);
    }
    if (o && o->cores_n)
        deal_cores(c, g, o, r);
    r->has_shared = true;
    shared(c, g, o, &r->shared);
    return r;
}

struct bytes sched_resources_encode(struct sched_ctx *c, const steppe_AllocatedResources *r)
{
    struct bytes out;

    strbuf_reset(&c->scratch);
    (void)wire_encode(steppe_AllocatedResources_fields, r, &c->scratch);
    out = bytes_of(sched_arena_text(c->arena, c->scratch.data, c->scratch.len), c->scratch.len);
    return out;
}
