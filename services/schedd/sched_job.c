/* SPDX-License-Identifier: MPL-2.0 */
/* When a changed job needs new tasks. Messages are compared as their bytes: canonical specs are
 * equal when those are. */
#include <string.h>

#include "base/strbuf.h"
#include "sched_match.h"
#include "sched_reconcile.h"
#include "wire/wire.h"

static bool texts_differ(const char *a, const char *b)
{
    return strcmp(sched_text(a), sched_text(b)) != 0;
}

static bool messages_differ(const pb_msgdesc_t *fields, const void *a, const void *b)
{
    _cleanup_(strbuf_fini) struct strbuf x = STRBUF_INIT, y = STRBUF_INIT;

    if (wire_encode(fields, a, &x) != 0 || wire_encode(fields, b, &y) != 0)
        return true;
    return x.len != y.len || (x.len > 0 && memcmp(x.data, y.data, x.len) != 0);
}

/* Two lists of messages of one type. */
struct list {
    const void *items;
    size_t n, size;
};
#define LIST(p, count) ((struct list){(p), (count), sizeof(*(p))})

static bool lists_differ(const pb_msgdesc_t *fields, struct list a, struct list b)
{
    if (a.n != b.n)
        return true;
    for (size_t i = 0; i < a.n; i++)
        if (messages_differ(fields, (const char *)a.items + i * a.size,
                            (const char *)b.items + i * b.size))
            return true;
    return false;
}

/* An optional message: (present, value) of each. */
#define OPTIONAL_DIFFERS(type, a, b, name)                                                         \
    ((a)->has_##name != (b)->has_##name ||                                                         \
     ((a)->has_##name && messages_differ(steppe_##type##_fields, &(a)->name, &(b)->name)))

/* ---- networks: the numbers of dynamic ports do not count ---- */

static bool ports_differ(const steppe_Port *a, size_t a_n, const steppe_Port *b, size_t b_n,
                         bool values)
{
    if (a_n != b_n)
        return true;
    for (size_t i = 0; i < a_n; i++)
        if (texts_differ(a[i].label, b[i].label) || a[i].to != b[i].to ||
            texts_differ(a[i].host_network, b[i].host_network) ||
            (values && a[i].value != b[i].value))
            return true;
    return false;
}

static bool network_differs(const steppe_NetworkResource *a, const steppe_NetworkResource *b)
{
    return texts_differ(a->mode, b->mode) || a->mbits != b->mbits ||
           OPTIONAL_DIFFERS(DNSConfig, a, b, dns) ||
           ports_differ(a->reserved_ports, a->reserved_ports_count, b->reserved_ports,
                        b->reserved_ports_count, true) ||
           ports_differ(a->dynamic_ports, a->dynamic_ports_count, b->dynamic_ports,
                        b->dynamic_ports_count, false);
}

static bool networks_differ(const steppe_NetworkResource *a, size_t a_n,
                            const steppe_NetworkResource *b, size_t b_n)
{
    if (a_n != b_n)
        return true;
    for (size_t i = 0; i < a_n; i++)
        if (network_differs(&a[i], &b[i]))
            return true;
    return false;
}

/* ---- tasks ---- */

static bool resources_differ(const steppe_Resources *a, const steppe_Resources *b)
{
    return a->cpu != b->cpu || a->cores != b->cores || a->memory_mb != b->memory_mb ||
           a->memory_max_mb != b->memory_max_mb ||
           networks_differ(a->networks, a->networks_count, b->networks, b->networks_count) ||
           lists_differ(steppe_RequestedDevice_fields, LIST(a->devices, a->devices_count),
                        LIST(b->devices, b->devices_count));
}

/* The value that a task sees for a key: its own, its group's, its job's; NULL when none has it. */
static const char *meta_of(const steppe_Job *j, const steppe_TaskGroup *g, const steppe_Task *t,
                           const char *key)
{
    for (pb_size_t i = 0; i < t->meta_count; i++)
        if (!texts_differ(t->meta[i].key, key))
            return sched_text(t->meta[i].value);
    for (pb_size_t i = 0; i < g->meta_count; i++)
        if (!texts_differ(g->meta[i].key, key))
            return sched_text(g->meta[i].value);
    for (pb_size_t i = 0; i < j->meta_count; i++)
        if (!texts_differ(j->meta[i].key, key))
            return sched_text(j->meta[i].value);
    return NULL;
}

struct spec {
    const steppe_Job *job;
    const steppe_TaskGroup *group;
    const steppe_Task *task;
};

static bool meta_lacks(struct spec b, const char *key, struct spec a)
{
    const char *x = meta_of(a.job, a.group, a.task, key), *y = meta_of(b.job, b.group, b.task, key);

    return !x || !y || strcmp(x, y) != 0;
}

/* Has b all that a has? */
static bool meta_differs(struct spec a, struct spec b)
{
    for (pb_size_t i = 0; i < a.job->meta_count; i++)
        if (meta_lacks(b, a.job->meta[i].key, a))
            return true;
    for (pb_size_t i = 0; i < a.group->meta_count; i++)
        if (meta_lacks(b, a.group->meta[i].key, a))
            return true;
    for (pb_size_t i = 0; i < a.task->meta_count; i++)
        if (meta_lacks(b, a.task->meta[i].key, a))
            return true;
    return false;
}

static bool task_differs(struct spec x, struct spec y)
{
    const steppe_Task *a = x.task, *b = y.task;

    return texts_differ(a->driver, b->driver) || texts_differ(a->user, b->user) ||
           texts_differ(a->config, b->config) ||
           lists_differ(steppe_Task_EnvEntry_fields, LIST(a->env, a->env_count),
                        LIST(b->env, b->env_count)) ||
           lists_differ(steppe_TaskArtifact_fields, LIST(a->artifacts, a->artifacts_count),
                        LIST(b->artifacts, b->artifacts_count)) ||
           lists_differ(steppe_Template_fields, LIST(a->templates, a->templates_count),
                        LIST(b->templates, b->templates_count)) ||
           OPTIONAL_DIFFERS(Vault, a, b, vault) || meta_differs(x, y) || meta_differs(y, x) ||
           resources_differ(&a->resources, &b->resources);
}

static const steppe_Task *task_of(const steppe_TaskGroup *g, const char *name)
{
    for (pb_size_t i = 0; i < g->tasks_count; i++)
        if (!texts_differ(g->tasks[i].name, name))
            return &g->tasks[i];
    return NULL;
}

/* ---- affinities and spreads: of the job, the group and its tasks in this order ---- */

static size_t affinities_of(const steppe_Job *j, const steppe_TaskGroup *g,
                            const steppe_Affinity **out, size_t max)
{
    size_t n = 0;

    for (pb_size_t i = 0; i < j->affinities_count && n < max; i++)
        out[n++] = &j->affinities[i];
    for (pb_size_t i = 0; i < g->affinities_count && n < max; i++)
        out[n++] = &g->affinities[i];
    for (pb_size_t t = 0; t < g->tasks_count; t++)
        for (pb_size_t i = 0; i < g->tasks[t].affinities_count && n < max; i++)
            out[n++] = &g->tasks[t].affinities[i];
    return n;
}

#define COMPARED_MAX 256u /* affinities; more than that: changed */

static bool affinities_differ(struct spec a, struct spec b)
{
    const steppe_Affinity *x[COMPARED_MAX], *y[COMPARED_MAX];
    size_t x_n = affinities_of(a.job, a.group, x, COMPARED_MAX),
           y_n = affinities_of(b.job, b.group, y, COMPARED_MAX);

    if (x_n != y_n || x_n == COMPARED_MAX)
        return true;
    for (size_t i = 0; i < x_n; i++)
        if (messages_differ(steppe_Affinity_fields, x[i], y[i]))
            return true;
    return false;
}

static const steppe_Spread *spread_at(struct spec s, size_t i)
{
    return i < s.job->spreads_count ? &s.job->spreads[i]
                                    : &s.group->spreads[i - s.job->spreads_count];
}

static bool spreads_differ(struct spec a, struct spec b)
{
    size_t n = (size_t)a.job->spreads_count + a.group->spreads_count;

    if (n != (size_t)b.job->spreads_count + b.group->spreads_count)
        return true;
    for (size_t i = 0; i < n; i++)
        if (messages_differ(steppe_Spread_fields, spread_at(a, i), spread_at(b, i)))
            return true;
    return false;
}

/* ---- Consul Connect ---- */

static bool connect_differs(const steppe_Service *a, const steppe_Service *b)
{
    const steppe_ConsulConnect *x = &a->connect, *y = &b->connect;

    if (a->has_connect != b->has_connect || texts_differ(a->port_label, b->port_label))
        return true;
    return x->native != y->native || OPTIONAL_DIFFERS(ConsulGateway, x, y, gateway) ||
           OPTIONAL_DIFFERS(SidecarTask, x, y, sidecar_task) ||
           x->has_sidecar_service != y->has_sidecar_service ||
           texts_differ(x->sidecar_service.port, y->sidecar_service.port);
}

static bool services_differ(const steppe_TaskGroup *a, const steppe_TaskGroup *b)
{
    for (pb_size_t i = 0; i < a->services_count; i++) {
        if (!a->services[i].has_connect)
            continue;
        for (pb_size_t k = 0; k < b->services_count; k++) {
            if (texts_differ(a->services[i].name, b->services[k].name))
                continue;
            if (connect_differs(&a->services[i], &b->services[k]))
                return true;
            break;
        }
    }
    return false;
}

bool sched_group_changed(const steppe_Job *job_a, const steppe_Job *job_b, const char *group)
{
    struct spec a = {job_a, sched_job_group(job_a, group), NULL};
    struct spec b = {job_b, sched_job_group(job_b, group), NULL};

    if (!a.group || !b.group || a.group->tasks_count != b.group->tasks_count)
        return true;
    if (OPTIONAL_DIFFERS(EphemeralDisk, a.group, b.group, ephemeral_disk) ||
        networks_differ(a.group->networks, a.group->networks_count, b.group->networks,
                        b.group->networks_count) ||
        affinities_differ(a, b) || spreads_differ(a, b) ||
        texts_differ(a.group->consul.namespace, b.group->consul.namespace) ||
        services_differ(a.group, b.group))
        return true;
    for (pb_size_t i = 0; i < a.group->tasks_count; i++) {
        a.task = &a.group->tasks[i];
        b.task = task_of(b.group, sched_text(a.task->name));
        if (!b.task || task_differs(a, b))
            return true;
    }
    return false;
}
