/* SPDX-License-Identifier: MPL-2.0 */
/* A job made ready for placing: its groups, the nodes in question, who is where already. */
#include <string.h>

#include "sched_internal.h"

/* ---- ports ---- */

static void add_port(struct sched_group *g, const steppe_Port *p, bool fixed, int32_t task)
{
    if (g->ports_n == IMAGE_USE_PORTS_MAX) {
        g->too_many_ports = true;
        return;
    }
    g->ports[g->ports_n++] = (struct sched_port_ask){.label = sched_text(p->label),
                                                     .host_network = sched_text(p->host_network),
                                                     .value = fixed ? p->value : 0,
                                                     .to = p->to,
                                                     .fixed = fixed,
                                                     .task = task};
}

static void add_network(struct sched_group *g, const steppe_NetworkResource *net, int32_t task)
{
    for (pb_size_t i = 0; i < net->reserved_ports_count; i++)
        add_port(g, &net->reserved_ports[i], true, task);
    for (pb_size_t i = 0; i < net->dynamic_ports_count; i++)
        add_port(g, &net->dynamic_ports[i], false, task);
}

/* Nomad looks at the first network only, of a group as of a task. */
static void add_networks(struct sched_ctx *c, struct sched_group *g)
{
    const steppe_TaskGroup *tg = g->tg;

    g->ports = SCHED_NEW_N(c->arena, struct sched_port_ask, IMAGE_USE_PORTS_MAX);
    if (tg->networks_count) {
        const char *mode = sched_text(tg->networks[0].mode);

        g->network_mode = *mode ? mode : "host";
        add_network(g, &tg->networks[0], -1);
    }
    for (pb_size_t i = 0; i < tg->tasks_count; i++)
        if (tg->tasks[i].resources.networks_count)
            add_network(g, &tg->tasks[i].resources.networks[0], (int32_t)i);
}

/* ---- constraints, affinities ---- */

static void add_constraints(struct sched_ctx *c, struct sched_group *g)
{
    const steppe_TaskGroup *tg = g->tg;
    size_t n = tg->constraints_count;

    for (pb_size_t i = 0; i < tg->tasks_count; i++)
        n += tg->tasks[i].constraints_count;
    g->constraints = SCHED_NEW_N(c->arena, const steppe_Constraint *, n);
    for (pb_size_t i = 0; i < tg->constraints_count; i++)
        g->constraints[g->constraints_n++] = &tg->constraints[i];
    for (pb_size_t t = 0; t < tg->tasks_count; t++)
        for (pb_size_t i = 0; i < tg->tasks[t].constraints_count; i++)
            g->constraints[g->constraints_n++] = &tg->tasks[t].constraints[i];
    for (size_t i = 0; i < g->constraints_n; i++)
        g->escaped |= sched_constraint_escapes(g->constraints[i]);
}

static void add_drivers(struct sched_ctx *c, struct sched_group *g)
{
    g->drivers = SCHED_NEW_N(c->arena, const char *, g->tg->tasks_count);
    for (pb_size_t i = 0; i < g->tg->tasks_count; i++) {
        const char *driver = sched_text(g->tg->tasks[i].driver);
        bool known = false;

        for (size_t k = 0; k < g->drivers_n; k++)
            known |= strcmp(g->drivers[k], driver) == 0;
        if (!known)
            g->drivers[g->drivers_n++] = driver;
    }
}

static void add_affinity_list(struct sched_group *g, const steppe_Affinity *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g->affinities[g->affinities_n++] = &list[i];
        g->affinity_sum += list[i].weight < 0 ? -list[i].weight : list[i].weight;
    }
}

static void add_affinities(struct sched_ctx *c, struct sched_group *g)
{
    const steppe_Job *j = c->in->job;
    const steppe_TaskGroup *tg = g->tg;
    size_t n = (size_t)j->affinities_count + tg->affinities_count;

    for (pb_size_t i = 0; i < tg->tasks_count; i++)
        n += tg->tasks[i].affinities_count;
    g->affinities = SCHED_NEW_N(c->arena, const steppe_Affinity *, n);
    add_affinity_list(g, j->affinities, j->affinities_count);
    add_affinity_list(g, tg->affinities, tg->affinities_count);
    for (pb_size_t i = 0; i < tg->tasks_count; i++)
        add_affinity_list(g, tg->tasks[i].affinities, tg->tasks[i].affinities_count);
    if (g->affinities_n)
        g->affinity_of = SCHED_NEW_N(c->arena, double, c->slots);
}

/* ---- distinct_hosts, distinct_property ---- */

static void distinct_property(struct sched_ctx *c, struct sched_property *p,
                              const steppe_Constraint *con, const char *group)
{
    const char *text = sched_text(con->r_target);
    char *end = NULL;

    *p = (struct sched_property){.target = con->l_target, .group = group, .allowed = 1};
    if (*text) {
        p->allowed = strtoull(text, &end, 10);
        if (*end || *text == '-' || *text == '+')
            p->broken = sched_arena_printf(
                c->arena, "failed to convert RTarget \"%s\" to uint64: invalid syntax", text);
    }
    sched_property_init(c, p);
}

static struct sched_property *distinct_list(struct sched_ctx *c, const steppe_Constraint *list,
                                            size_t n, const char *group, size_t *ret_n)
{
    struct sched_property *out = SCHED_NEW_N(c->arena, struct sched_property, n);

    for (size_t i = 0; i < n; i++)
        if (strcmp(sched_text(list[i].operand), "distinct_property") == 0)
            distinct_property(c, &out[(*ret_n)++], &list[i], group);
    return out;
}

static bool has_distinct_hosts(const steppe_Constraint *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(sched_text(list[i].operand), "distinct_hosts") == 0)
            return true;
    return false;
}

/* ---- a group ---- */

static void group_use(struct sched_ctx *c, struct sched_group *g)
{
    struct image_use_buf *buf = SCHED_NEW(c->arena, struct image_use_buf);
    steppe_AllocatedResources *r = sched_resources(c, g, NULL);

    for (pb_size_t i = 0; i < g->tg->tasks_count; i++) {
        /* More than any node is looked at for: fits nowhere. */
        g->cores = (int32_t)MIN((int64_t)g->cores + MAX(g->tg->tasks[i].resources.cores, 0),
                                (int64_t)IMAGE_USE_CORES_MAX + 1);
        g->devices |= g->tg->tasks[i].resources.devices_count > 0;
    }
    image_use_of(r, buf, &g->use);
    g->use.ports_n = g->use.cores_n = 0;
    if (g->ports_n == 0 && g->cores == 0 && g->tg->networks_count == 0)
        g->resources = sched_resources_encode(c, r);
}

static void group_init(struct sched_ctx *c, struct sched_group *g, uint32_t number)
{
    const char *name;

    g->tg = &c->in->job->task_groups[number];
    g->number = number;
    name = sched_text(g->tg->name);
    add_networks(c, g);
    add_constraints(c, g);
    add_drivers(c, g);
    add_affinities(c, g);
    sched_spreads_init(c, g);
    g->distinct =
        distinct_list(c, g->tg->constraints, g->tg->constraints_count, name, &g->distinct_n);
    g->distinct_hosts = has_distinct_hosts(g->tg->constraints, g->tg->constraints_count);
    g->here = SCHED_NEW_N(c->arena, uint32_t, c->slots);
    group_use(c, g);
}

/* ---- nodes ---- */

static bool in_datacenters(const steppe_Job *j, const char *dc, size_t *ret_at)
{
    for (pb_size_t i = 0; i < j->datacenters_count; i++)
        if (strcmp(sched_text(j->datacenters[i]), dc) == 0) {
            *ret_at = i;
            return true;
        }
    return false;
}

static void candidates(struct sched_ctx *c)
{
    const steppe_Job *j = c->in->job;
    int32_t *ready = SCHED_NEW_N(c->arena, int32_t, j->datacenters_count);
    struct strbuf text = STRBUF_INIT;
    size_t at;

    c->nodes = SCHED_NEW_N(c->arena, uint32_t, c->slots);
    for (uint32_t i = 0; i < c->slots; i++) {
        const struct image_node *n = image_node_at(c->im, i);

        if (!image_node_ready(n) || !in_datacenters(j, n->datacenter, &at))
            continue;
        ready[at]++;
        c->nodes[c->nodes_n++] = i;
    }
    for (pb_size_t i = 0; i < j->datacenters_count; i++)
        sched_metric_available(&text, j->datacenters[i], ready[i]);
    c->available = bytes_of(sched_arena_text(c->arena, text.data, text.len), text.len);
    strbuf_fini(&text);
}

/* Where the job's allocations are. */
static void count_allocs(struct sched_ctx *c)
{
    const struct image_job *job = image_job_find(c->im, c->ns, c->job_id);

    for (const struct image_alloc *a = image_first_of_job(c->im, job); a;
         a = image_next_of_job(c->im, a)) {
        struct sched_group *g;

        if (a->node >= c->slots)
            continue;
        c->job_here[a->node]++;
        g = sched_ctx_group(c, image_text_of(c->im, a->group));
        if (g)
            g->here[a->node]++;
    }
}

struct sched_group *sched_ctx_group(struct sched_ctx *c, const char *name)
{
    for (size_t i = 0; i < c->groups_n; i++)
        if (strcmp(sched_text(c->groups[i].tg->name), name) == 0)
            return &c->groups[i];
    return NULL;
}

static void change_property(struct sched_ctx *c, struct sched_property *p, uint32_t node,
                            int change)
{
    int32_t v = sched_property_on(c, p, node);

    if (v < 0)
        return;
    p->bounds_known = false;
    if (change > 0)
        p->values[v].proposed++;
    else
        p->values[v].cleared++;
}

/* Takes back what a stop did. */
static void unclear(struct sched_ctx *c, struct sched_property *p, uint32_t node, int change)
{
    int32_t v = sched_property_on(c, p, node);

    p->bounds_known = false;
    if (v >= 0 && p->values[v].cleared > 0)
        p->values[v].cleared--;
}

static void each_property(struct sched_ctx *c, struct sched_group *g, uint32_t node, int change,
                          void (*fn)(struct sched_ctx *, struct sched_property *, uint32_t, int))
{
    for (size_t i = 0; i < c->distinct_n; i++)
        fn(c, &c->distinct[i], node, change);
    for (size_t i = 0; g && i < g->distinct_n; i++)
        fn(c, &g->distinct[i], node, change);
    for (size_t i = 0; g && i < g->spreads_n; i++)
        fn(c, &g->spreads[i].property, node, change);
}

void sched_ctx_count(struct sched_ctx *c, struct sched_group *g, uint32_t node, int change)
{
    if (node >= c->slots || !c->job_here)
        return;
    if (change > 0 || c->job_here[node] > 0)
        c->job_here[node] += (uint32_t)change;
    if (g && (change > 0 || g->here[node] > 0))
        g->here[node] += (uint32_t)change;
    each_property(c, g, node, change, change_property);
}

void sched_ctx_uncount_stop(struct sched_ctx *c, struct sched_group *g, uint32_t node)
{
    if (node >= c->slots || !c->job_here)
        return;
    c->job_here[node]++;
    if (g)
        g->here[node]++;
    each_property(c, g, node, 0, unclear);
}

void sched_ctx_init(struct sched_ctx *c)
{
    const steppe_Job *j = c->in->job;

    c->slots = image_node_slots(c->im);
    c->metric.arena = c->arena;
    if (sched_job_stopped(j))
        return;
    c->job_here = SCHED_NEW_N(c->arena, uint32_t, c->slots);
    c->class_of = SCHED_NEW_N(c->arena, int32_t, c->slots);
    for (pb_size_t i = 0; i < j->constraints_count; i++)
        c->job_escaped |= sched_constraint_escapes(&j->constraints[i]);
    c->distinct_hosts = has_distinct_hosts(j->constraints, j->constraints_count);
    c->distinct = distinct_list(c, j->constraints, j->constraints_count, NULL, &c->distinct_n);
    c->groups = SCHED_NEW_N(c->arena, struct sched_group, j->task_groups_count);
    c->groups_n = j->task_groups_count;
    for (pb_size_t i = 0; i < j->task_groups_count; i++)
        group_init(c, &c->groups[i], i);
    candidates(c);
    count_allocs(c);
}
