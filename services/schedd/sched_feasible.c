/* SPDX-License-Identifier: MPL-2.0 */
/*
 * May a group run on a node at all? What depends on a node's computed class only is asked once for
 * each class (reference: http-api 7.2, 7.5).
 */
#include <string.h>

#include "sched_internal.h"

/* ---- classes ---- */

static uint32_t add_class(struct sched_ctx *c, const char *name)
{
    if (c->classes_n == c->classes_cap) {
        uint32_t cap = c->classes_cap ? c->classes_cap * 2 : 8;
        const char **names = SCHED_NEW_N(c->arena, const char *, cap);
        uint8_t *job = SCHED_NEW_N(c->arena, uint8_t, cap);

        if (c->classes_n > 0) {
            memcpy(names, c->class_names, c->classes_n * sizeof(*names));
            memcpy(job, c->job_classes, c->classes_n);
        }
        for (size_t i = 0; i < c->groups_n; i++) {
            uint8_t *of = SCHED_NEW_N(c->arena, uint8_t, cap);

            if (c->classes_n > 0)
                memcpy(of, c->groups[i].classes, c->classes_n);
            c->groups[i].classes = of;
        }
        c->class_names = names;
        c->job_classes = job;
        c->classes_cap = cap;
    }
    c->class_names[c->classes_n] = name;
    return c->classes_n++;
}

static uint32_t class_of(struct sched_ctx *c, const struct image_node *n)
{
    uint32_t i = 0;

    if (c->class_of[n->slot])
        return (uint32_t)c->class_of[n->slot] - 1;
    /* The image keeps one text for equal classes: same pointer, same class. */
    while (i < c->classes_n && c->class_names[i] != n->computed_class)
        i++;
    if (i == c->classes_n)
        i = add_class(c, n->computed_class);
    c->class_of[n->slot] = (int32_t)i + 1;
    return i;
}

/* ---- checks; each says why not ---- */

static bool refuse(struct sched_ctx *c, const struct image_node *n, const char *why)
{
    sched_metric_filter(&c->metric, n->node_class, why);
    return false;
}

static bool meets(struct sched_ctx *c, const struct image_node *n, const steppe_Constraint *con)
{
    if (sched_constraint_met(c->in->regexps, con, n->node))
        return true;
    return refuse(c, n,
                  sched_arena_printf(c->arena, "%s %s %s", sched_text(con->l_target),
                                     sched_text(con->operand), sched_text(con->r_target)));
}

static bool job_fits(struct sched_ctx *c, const struct image_node *n)
{
    for (pb_size_t i = 0; i < c->in->job->constraints_count; i++)
        if (!meets(c, n, &c->in->job->constraints[i]))
            return false;
    return true;
}

static const steppe_HostVolumeInfo *host_volume(const steppe_Node *n, const char *name)
{
    for (pb_size_t i = 0; i < n->host_volumes_count; i++)
        if (strcmp(sched_text(n->host_volumes[i].key), name) == 0)
            return &n->host_volumes[i].value;
    return NULL;
}

static bool has_volumes(const steppe_TaskGroup *tg, const steppe_Node *n)
{
    for (pb_size_t i = 0; i < tg->volumes_count; i++) {
        const steppe_VolumeRequest *v = &tg->volumes[i].value;
        const steppe_HostVolumeInfo *there;

        if (!tg->volumes[i].has_value || strcmp(sched_text(v->type), "host") != 0)
            continue;
        there = host_volume(n, sched_text(v->source));
        if (!there || (there->read_only && !v->read_only))
            return false;
    }
    return true;
}

/* Is there a network of that kind, with the addresses that ports ask for? */
static bool has_network(struct sched_ctx *c, const struct sched_group *g,
                        const struct image_node *n)
{
    if (!g->network_mode)
        return true;
    if (!sched_net_mode_there(n->node, g->network_mode))
        return refuse(c, n, "missing network");
    for (size_t i = 0; i < g->ports_n; i++) {
        const struct sched_port_ask *p = &g->ports[i];
        const char *name = sched_target(p->host_network, n->node);

        if (p->task >= 0)
            continue;
        if (!name)
            return refuse(c, n,
                          sched_arena_printf(c->arena,
                                             "invalid host network \"%s\" template for port \"%s\"",
                                             p->host_network, p->label));
        if (!sched_net_address(n->node, p->host_network))
            return refuse(c, n,
                          sched_arena_printf(c->arena,
                                             "missing host network \"%s\" for port \"%s\"", name,
                                             p->label));
    }
    return true;
}

static bool group_fits(struct sched_ctx *c, const struct sched_group *g, const struct image_node *n)
{
    for (size_t i = 0; i < g->drivers_n; i++)
        if (!sched_driver_there(n->node, g->drivers[i]))
            return refuse(c, n, "missing drivers");
    for (size_t i = 0; i < g->constraints_n; i++)
        if (!meets(c, n, g->constraints[i]))
            return false;
    if (!has_volumes(g->tg, n->node))
        return refuse(c, n, "missing compatible host volumes");
    if (g->devices) /* no client tells of devices yet */
        return refuse(c, n, "missing devices");
    return has_network(c, g, n);
}

/* By class, unless the constraints look at what differs within one. */
static bool class_fits(struct sched_ctx *c, struct sched_group *g, const struct image_node *n)
{
    uint32_t class = class_of(c, n);
    bool job_known = !c->job_escaped && c->job_classes[class] == SCHED_CLASS_YES, ok;

    if (!c->job_escaped && c->job_classes[class] == SCHED_CLASS_NO)
        return refuse(c, n, "computed class ineligible");
    if (!job_known) {
        ok = job_fits(c, n);
        if (!c->job_escaped)
            c->job_classes[class] = ok ? SCHED_CLASS_YES : SCHED_CLASS_NO;
        if (!ok)
            return false;
    }
    if (g->escaped)
        return group_fits(c, g, n);
    if (g->classes[class] == SCHED_CLASS_YES)
        return true;
    if (g->classes[class] == SCHED_CLASS_NO)
        return refuse(c, n, "computed class ineligible");
    ok = group_fits(c, g, n);
    g->classes[class] = ok ? SCHED_CLASS_YES : SCHED_CLASS_NO;
    return ok;
}

static bool distinct(struct sched_ctx *c, struct sched_property *set, size_t n,
                     const struct image_node *node)
{
    for (size_t i = 0; i < n; i++) {
        const char *why = sched_property_refuses(c, &set[i], node->slot);

        if (why)
            return refuse(c, node, why);
    }
    return true;
}

bool sched_feasible(struct sched_ctx *c, struct sched_group *g, const struct image_node *n)
{
    if (!n->node || !class_fits(c, g, n))
        return false;
    /* A system job has one on each node anyway. */
    if (!c->system && ((c->distinct_hosts && c->job_here[n->slot] > 0) ||
                       (g->distinct_hosts && g->here[n->slot] > 0)))
        return refuse(c, n, "distinct_hosts");
    return distinct(c, c->distinct, c->distinct_n, n) && distinct(c, g->distinct, g->distinct_n, n);
}
