/* SPDX-License-Identifier: MPL-2.0 */
/* What allocations ask for, what nodes have, and whether the one fits into the other. */
#include <stdio.h>
#include <string.h>

#include "image/image_internal.h"

#define KEPT_RANGES_MAX 1024

/* ---- what an allocation asks for ---- */

struct sum {
    int64_t cpu, memory;
};

/* Bounded, so that no sum of them overflows. */
static int64_t amount(int64_t v)
{
    return v < 0 ? 0 : MIN(v, (int64_t)INT32_MAX);
}

static void sum_add(struct sum *to, const struct sum *s)
{
    to->cpu += s->cpu;
    to->memory += s->memory;
}

static void sum_max(struct sum *to, const struct sum *s)
{
    to->cpu = MAX(to->cpu, s->cpu);
    to->memory = MAX(to->memory, s->memory);
}

static const steppe_TaskLifecycle *lifecycle_of(const steppe_AllocatedResources *r,
                                                const char *task)
{
    for (pb_size_t i = 0; task && i < r->task_lifecycles_count; i++) {
        if (r->task_lifecycles[i].key && strcmp(r->task_lifecycles[i].key, task) == 0)
            return r->task_lifecycles[i].has_value ? &r->task_lifecycles[i].value : NULL;
    }
    return NULL;
}

static void add_port(struct image_use_buf *buf, struct image_use *use, const char *address,
                     const char *label, int32_t port)
{
    if (port <= 0 || port > 65535 || use->ports_n == IMAGE_USE_PORTS_MAX)
        return;
    buf->ports[use->ports_n++] = (struct image_port){address, label, port};
}

static void add_network(struct image_use_buf *buf, struct image_use *use,
                        const steppe_NetworkResource *net)
{
    for (pb_size_t i = 0; i < net->reserved_ports_count; i++)
        add_port(buf, use, net->ip, net->reserved_ports[i].label, net->reserved_ports[i].value);
    for (pb_size_t i = 0; i < net->dynamic_ports_count; i++)
        add_port(buf, use, net->ip, net->dynamic_ports[i].label, net->dynamic_ports[i].value);
}

static void add_shared(struct image_use_buf *buf, struct image_use *use,
                       const steppe_AllocatedSharedResources *shared)
{
    use->disk = amount(shared->disk_mb);
    for (pb_size_t i = 0; i < shared->ports_count; i++)
        add_port(buf, use, shared->ports[i].host_ip, shared->ports[i].label,
                 shared->ports[i].value);
    for (pb_size_t i = 0; shared->ports_count == 0 && i < shared->networks_count; i++)
        add_network(buf, use, &shared->networks[i]);
}

static struct sum task_sum(const steppe_AllocatedTaskResources *t, struct image_use_buf *buf,
                           struct image_use *use)
{
    struct sum s = {0};

    if (t->has_cpu) {
        s.cpu = amount(t->cpu.cpu_shares);
        for (pb_size_t i = 0; i < t->cpu.reserved_cores_count && use->cores_n < IMAGE_USE_CORES_MAX;
             i++)
            buf->cores[use->cores_n++] = (uint16_t)t->cpu.reserved_cores[i];
    }
    if (t->has_memory)
        s.memory = amount(t->memory.memory_mb);
    if (t->networks_count) /* Nomad looks at a task's first one only */
        add_network(buf, use, &t->networks[0]);
    return s;
}

/*
 * Tasks that never run at the same time share: prestart tasks that end, the main tasks and poststop
 * tasks need the most that one of these groups needs; prestart sidecars run beside all. Poststart
 * tasks are not counted (Nomad 1.1.0 does not).
 */
void image_use_of(const steppe_AllocatedResources *r, struct image_use_buf *buf,
                  struct image_use *ret)
{
    struct sum sidecars = {0}, before = {0}, main = {0}, after = {0};

    *ret = (struct image_use){.ports = buf->ports, .cores = buf->cores};
    if (!r)
        return;
    if (r->has_shared)
        add_shared(buf, ret, &r->shared);
    for (pb_size_t i = 0; i < r->tasks_count; i++) {
        const steppe_TaskLifecycle *lc = lifecycle_of(r, r->tasks[i].key);
        const char *hook = lc && lc->hook ? lc->hook : "";
        struct sum s;

        if (!r->tasks[i].has_value)
            continue;
        s = task_sum(&r->tasks[i].value, buf, ret);
        if (!lc || !hook[0])
            sum_add(&main, &s);
        else if (strcmp(hook, "prestart") == 0)
            sum_add(lc->sidecar ? &sidecars : &before, &s);
        else if (strcmp(hook, "poststop") == 0)
            sum_add(&after, &s);
    }
    sum_max(&before, &main);
    sum_max(&before, &after);
    sum_add(&sidecars, &before);
    ret->cpu = sidecars.cpu;
    ret->memory = sidecars.memory;
}

/* ---- what a node has ---- */

/* "22,80,8500-8600" */
static void keep_ports(struct image_node *n, uint32_t address, const char *text)
{
    const char *p = text;

    while (p && *p && n->ports_kept.n < KEPT_RANGES_MAX) {
        char *end;
        long first = strtol(p, &end, 10), last = first;

        if (end == p)
            return;
        if (*end == '-')
            last = strtol(end + 1, &end, 10);
        if (first > 0 && last >= first && last <= 65535)
            image_set_add(&n->ports_kept,
                          (uint64_t)address << 32 | (uint64_t)first << 16 | (uint64_t)last);
        p = end + strspn(end, ", ");
        if (p == end && *p)
            return;
    }
}

static void node_ports(struct image *im, struct image_node *n, const steppe_Node *node)
{
    n->ports_kept.n = 0;
    if (node->has_reserved_resources && node->reserved_resources.has_networks)
        keep_ports(n, 0, node->reserved_resources.networks.reserved_host_ports);
    if (!node->has_node_resources)
        return;
    for (pb_size_t i = 0; i < node->node_resources.node_networks_count; i++) {
        const steppe_NodeNetworkResource *net = &node->node_resources.node_networks[i];

        for (pb_size_t j = 0; j < net->addresses_count; j++) {
            if (net->addresses[j].reserved_ports && net->addresses[j].address)
                keep_ports(n, image_text(im, net->addresses[j].address),
                           net->addresses[j].reserved_ports);
        }
    }
}

static void node_cores(struct image_node *n, const steppe_NodeCpuResources *cpu,
                       const steppe_NodeReservedCpuResources *kept)
{
    n->cores.n = 0;
    for (pb_size_t i = 0; i < cpu->reservable_cpu_cores_count; i++) {
        bool free = true;

        for (pb_size_t j = 0; j < kept->reserved_cpu_cores_count; j++)
            free = free && kept->reserved_cpu_cores[j] != cpu->reservable_cpu_cores[i];
        if (free)
            image_set_add(&n->cores, cpu->reservable_cpu_cores[i]);
    }
}

static int64_t less(int64_t all, uint64_t kept)
{
    return all < 0 || kept > (uint64_t)all ? 0 : all - (int64_t)kept;
}

void image_node_totals(struct image *im, struct image_node *n, const steppe_Node *node)
{
    static const steppe_NodeResources none;
    static const steppe_NodeReservedResources none_kept;
    const steppe_NodeResources *r = node->has_node_resources ? &node->node_resources : &none;
    const steppe_NodeReservedResources *kept =
        node->has_reserved_resources ? &node->reserved_resources : &none_kept;

    /* What is not there is zero in the struct. */
    n->cpu = less(r->cpu.cpu_shares, kept->cpu.cpu_shares);
    n->memory = less(r->memory.memory_mb, kept->memory.memory_mb);
    n->disk = less(r->disk.disk_mb, kept->disk.disk_mb);
    node_cores(n, &r->cpu, &kept->cpu);
    node_ports(im, n, node);
}

/* ---- fit ---- */

static bool port_kept(const struct image_node *n, uint32_t address, unsigned port)
{
    for (uint32_t i = 0; i < n->ports_kept.n; i++) {
        uint64_t v = n->ports_kept.v[i];
        uint32_t of = (uint32_t)(v >> 32);

        if ((of == 0 || of == address) && port >= (v >> 16 & 0xffff) && port <= (v & 0xffff))
            return true;
    }
    return false;
}

bool image_port_free(const struct image *im, const struct image_node *n, const char *address,
                     int port)
{
    uint32_t number = image_text_find(im, address);

    if (port <= 0 || port > 65535 || port_kept(n, number, (unsigned)port))
        return false;
    return number == IMAGE_NONE ||
           !image_set_has(&n->ports_used, (uint64_t)number << 16 | (unsigned)port);
}

static bool same_address(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool ports_fit(const struct image *im, const struct image_node *n,
                      const struct image_use *use, struct errtext *e)
{
    for (uint32_t i = 0; i < use->ports_n; i++) {
        const struct image_port *p = &use->ports[i];
        bool taken = !image_port_free(im, n, p->address, p->port);

        for (uint32_t j = 0; j < i && !taken; j++)
            taken =
                use->ports[j].port == p->port && same_address(use->ports[j].address, p->address);
        if (taken) {
            err_set(e, 0, "network: reserved port collision %s=%d", p->label ? p->label : "",
                    p->port);
            return false;
        }
    }
    return true;
}

static bool cores_fit(const struct image_node *n, const struct image_use *use)
{
    for (uint32_t i = 0; i < use->cores_n; i++) {
        if (!image_set_has(&n->cores, use->cores[i]) ||
            image_set_has(&n->cores_used, use->cores[i]))
            return false;
        for (uint32_t j = 0; j < i; j++) {
            if (use->cores[j] == use->cores[i])
                return false;
        }
    }
    return true;
}

bool image_fits(const struct image *im, const struct image_node *n, const struct image_use *use,
                struct errtext *e)
{
    const char *dimension = NULL;

    /* One that asks for nothing more of something passes there even where too much is used. */
    if (use->cpu > 0 && use->cpu > n->cpu - n->cpu_used)
        dimension = "cpu";
    else if (!cores_fit(n, use))
        dimension = "cores";
    else if (use->memory > 0 && use->memory > n->memory - n->memory_used)
        dimension = "memory";
    else if (use->disk > 0 && use->disk > n->disk - n->disk_used)
        dimension = "disk";
    if (dimension) {
        err_set(e, 0, "%s", dimension);
        return false;
    }
    return ports_fit(im, n, use, e);
}

static bool has_extra(const struct image_alloc *a, unsigned from, unsigned n, uint64_t value)
{
    for (unsigned i = from; i < from + n; i++) {
        if (a->extra[i] == value)
            return true;
    }
    return false;
}

bool image_use_within(const struct image *im, const struct image_alloc *a,
                      const struct image_use *use)
{
    if (use->cpu > a->cpu || use->memory > a->memory || use->disk > a->disk)
        return false;
    for (uint32_t i = 0; i < use->ports_n; i++) {
        uint32_t address = image_text_find(im, use->ports[i].address);

        if (address == IMAGE_NONE ||
            !has_extra(a, 0, a->ports_n,
                       (uint64_t)address << 16 | ((uint32_t)use->ports[i].port & 0xffff)))
            return false;
    }
    for (uint32_t i = 0; i < use->cores_n; i++) {
        if (!has_extra(a, a->ports_n, a->cores_n, use->cores[i]))
            return false;
    }
    return true;
}
