/* SPDX-License-Identifier: MPL-2.0 */
/* Validation of task groups: their blocks, volumes, networks, scaling. */
#include <string.h>

#include "job.h"
#include "job_validate.h"

static void policies_validate(const steppe_TaskGroup *g, const steppe_Job *job,
                              struct job_errors *e)
{
    bool system = job_text_is(job->type, "system"), service = job_text_is(job->type, "service");
    _cleanup_(job_errors_fini) struct job_errors restart = JOB_ERRORS_INIT;
    _cleanup_(job_errors_fini) struct job_errors reschedule = JOB_ERRORS_INIT;
    _cleanup_(job_errors_fini) struct job_errors update = JOB_ERRORS_INIT;
    _cleanup_(job_errors_fini) struct job_errors migrate = JOB_ERRORS_INIT;

    job_restart_validate(&g->restart_policy, &restart);
    job_errors_nest(e, &restart, "%s", "");
    job_spreads_validate(g->spreads, g->spreads_count, system, e);
    if (system) {
        if (g->has_reschedule_policy)
            job_errors_add(e, "System jobs should not have a reschedule policy");
    } else {
        job_reschedule_validate(&g->reschedule_policy, &reschedule);
        job_errors_nest(e, &reschedule, "%s", "");
    }
    if (g->ephemeral_disk.size_mb < 10)
        job_errors_add(e, "minimum DiskMB value is 10; got %d", g->ephemeral_disk.size_mb);
    if (g->has_update) {
        if (!service && !system)
            job_errors_add(e, "Job type %s does not allow update block", JOB_QUOTE(job->type));
        job_update_validate(&g->update, &update);
        job_errors_nest(e, &update, "%s", "");
    }
    if (g->has_migrate && !service) {
        job_errors_add(e, "Job type %s does not allow migrate block", JOB_QUOTE(job->type));
    } else if (g->has_migrate) {
        job_migrate_validate(&g->migrate, &migrate);
        job_errors_nest(e, &migrate, "%s", "");
    }
}

static void task_names_validate(const steppe_TaskGroup *g, struct job_errors *e)
{
    size_t i, j, leaders = 0;

    for (i = 0; i < g->tasks_count; i++) {
        const steppe_Task *t = &g->tasks[i];

        if (job_text_empty(t->name)) {
            job_errors_add(e, "Task %zu missing name", i + 1);
        } else {
            for (j = 0; j < i && !job_text_is(g->tasks[j].name, t->name); j++)
                ;
            if (j < i)
                job_errors_add(e, "Task %zu redefines '%s' from task %zu", i + 1, t->name, j + 1);
        }
        leaders += t->leader;
    }
    if (leaders > 1)
        job_errors_add(e, "Only one task may be marked as leader");
}

static void volumes_validate(const steppe_TaskGroup *g, struct job_errors *e)
{
    int canaries = g->has_update ? g->update.canary : 0;
    size_t i;

    for (i = 0; i < g->volumes_count; i++) {
        _cleanup_(job_errors_fini) struct job_errors one = JOB_ERRORS_INIT;

        job_volume_validate(&g->volumes[i].value, canaries, &one);
        job_errors_nest(
            e, &one, "Task group volume validation for %s failed: ", job_text(g->volumes[i].key));
    }
}

/* ---- Networks: labels are unique in the group, static ports in their host network ---- */

struct port_ref {
    const steppe_Port *port;
    const char *owner; /* the task's name; NULL for the group's own */
};

struct ports {
    struct port_ref *refs;
    size_t len;
};

/* More than this is not a job; the comparison of each with each is bounded by it. */
#define PORTS_MAX 4096

static const char *host_network(const steppe_Port *p)
{
    return job_text_empty(p->host_network) ? "default" : p->host_network;
}

static const struct port_ref *static_port_find(const struct ports *ps, const steppe_Port *p)
{
    size_t i;

    for (i = 0; i < ps->len; i++)
        if (ps->refs[i].port->value == p->value && p->value <= UINT16_MAX &&
            job_text_is(host_network(ps->refs[i].port), host_network(p)))
            return &ps->refs[i];
    return NULL;
}

static bool label_taken(const struct ports *ps, const char *label)
{
    size_t i;

    for (i = 0; i < ps->len; i++) /* only the group's own labels are known to everybody */
        if (!ps->refs[i].owner && job_text_is(ps->refs[i].port->label, label))
            return true;
    return false;
}

static void port_validate(struct ports *ps, const steppe_Port *p, const char *task,
                          struct job_errors *e)
{
    const struct port_ref *other;

    if (label_taken(ps, p->label))
        job_errors_add(e, "Port label %s already in use by taskgroup network", job_text(p->label));
    if (p->value != 0) {
        other = static_port_find(ps, p);
        if (other)
            job_errors_add(e, "Static port %d already reserved by %s:%s", p->value,
                           other->owner ? other->owner : "taskgroup network",
                           job_text(other->port->label));
        else if (p->value > UINT16_MAX)
            job_errors_add(e, "Port %s (%d) cannot be greater than 65535", job_text(p->label),
                           p->value);
    }
    if (!task && p->to < -1)
        job_errors_add(e, "Port %s cannot be mapped to negative value %d", JOB_QUOTE(p->label),
                       p->to);
    else if (!task && p->to > UINT16_MAX)
        job_errors_add(e, "Port %s cannot be mapped to a port (%d) greater than 65535",
                       JOB_QUOTE(p->label), p->to);
    if (ps->len < PORTS_MAX)
        ps->refs[ps->len++] = (struct port_ref){p, task};
}

static void network_ports(struct ports *ps, const steppe_NetworkResource *n, const char *task,
                          struct job_errors *e)
{
    size_t i;

    for (i = 0; i < n->reserved_ports_count; i++)
        port_validate(ps, &n->reserved_ports[i], task, e);
    for (i = 0; i < n->dynamic_ports_count; i++)
        port_validate(ps, &n->dynamic_ports[i], task, e);
}

static void networks_validate(const steppe_TaskGroup *g, struct job_errors *e)
{
    _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;
    _cleanup_(freep) struct port_ref *refs = NULL;
    struct ports ps;
    size_t i, j;

    refs = xcalloc(PORTS_MAX, sizeof(*refs));
    ps = (struct ports){.refs = refs};
    for (i = 0; i < g->networks_count; i++)
        network_ports(&ps, &g->networks[i], NULL, &own);
    for (i = 0; i < g->tasks_count; i++)
        for (j = 0; j < g->tasks[i].resources.networks_count; j++)
            network_ports(&ps, &g->tasks[i].resources.networks[j], job_text(g->tasks[i].name),
                          &own);
    if (ps.len == PORTS_MAX)
        job_errors_add(&own, "more than %d ports", PORTS_MAX - 1);
    job_errors_nest(e, &own, "Task group network validation failed: ");
}

static void scaling_validate(const steppe_TaskGroup *g, const steppe_Job *job, struct job_errors *e)
{
    _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;
    const steppe_ScalingPolicy *p = &g->scaling;
    static const char prefix[] = "Scaling policy invalid: ";

    if (!g->has_scaling)
        return;
    if (job_text_empty(p->type))
        job_errors_add(&own, "%smissing scaling policy type", prefix);
    else if (!job_text_is(p->type, "horizontal"))
        job_errors_add(&own, "%sscaling policy type \"%s\" is not valid", prefix, p->type);
    if (p->max < 0)
        job_errors_add(&own, "%smaximum count must be specified and non-negative", prefix);
    else if (p->max < p->min)
        job_errors_add(&own, "%smaximum count must not be less than minimum count", prefix);
    if (p->min < 0)
        job_errors_add(&own, "%sminimum count must be specified and non-negative", prefix);
    if (p->max < g->count)
        job_errors_add(
            &own, "%stask group count must not be greater than maximum count in scaling policy",
            prefix);
    if (g->count < p->min &&
        !(job_is_multiregion(job) && g->count == 0 && job_text_is(job->region, "global")))
        job_errors_add(&own,
                       "%stask group count must not be less than minimum count in scaling policy",
                       prefix);
    job_errors_nest(e, &own, "Task group scaling policy validation failed: ");
}

static bool volume_known(const steppe_TaskGroup *g, const char *name)
{
    size_t i;

    for (i = 0; i < g->volumes_count; i++)
        if (job_text_is(g->volumes[i].key, name))
            return true;
    return false;
}

static void task_in_group_validate(const steppe_TaskGroup *g, const steppe_Task *t, bool system,
                                   struct job_errors *e)
{
    _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;
    size_t i;

    for (i = 0; i < t->volume_mounts_count; i++) {
        const char *volume = job_text(t->volume_mounts[i].volume);

        if (!*volume)
            job_errors_add(e, "Task %s has a volume mount (%zu) referencing an empty volume",
                           job_text(t->name), i);
        else if (!volume_known(g, volume))
            job_errors_add(e, "Task %s has a volume mount (%zu) referencing undefined volume %s",
                           job_text(t->name), i, volume);
    }
    job_task_validate(t, g, system, &own);
    job_errors_nest(e, &own, "Task %s validation failed: ", job_text(t->name));
}

void job_group_validate(const steppe_TaskGroup *g, const steppe_Job *job, struct job_errors *e)
{
    _cleanup_(job_errors_fini) struct job_errors services = JOB_ERRORS_INIT;
    _cleanup_(job_errors_fini) struct job_errors scripts = JOB_ERRORS_INIT;
    bool system = job_text_is(job->type, "system");
    size_t i;

    if (job_text_empty(g->name))
        job_errors_add(e, "Missing task group name");
    if (g->count < 0)
        job_errors_add(e, "Task group count can't be negative");
    if (g->tasks_count == 0)
        job_errors_add(e, "Missing tasks for task group");
    job_constraints_validate(g->constraints, g->constraints_count, e);
    job_affinities_validate(g->affinities, g->affinities_count, system, e);
    policies_validate(g, job, e);
    task_names_validate(g, e);
    volumes_validate(g, e);
    networks_validate(g, e);
    job_group_services_validate(g, &services);
    job_errors_nest(e, &services, "Task group service validation failed: ");
    job_script_checks_validate(g, &scripts);
    job_errors_nest(e, &scripts, "Task group service check validation failed: ");
    scaling_validate(g, job, e);
    for (i = 0; i < g->tasks_count; i++)
        task_in_group_validate(g, &g->tasks[i], system, e);
}
