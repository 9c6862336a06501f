/* SPDX-License-Identifier: MPL-2.0 */
/* Validation of a whole job, and its warnings. */
#include "job_validate.h"

#include <string.h>

#include "job.h"

static void names_validate(const steppe_Job *job, struct job_errors *e)
{
    if (job_text_empty(job->region) && !job->has_multiregion)
        job_errors_add(e, "Missing job region");
    if (job_text_empty(job->id))
        job_errors_add(e, "Missing job ID");
    else if (strchr(job->id, ' '))
        job_errors_add(e, "Job ID contains a space");
    if (job_text_empty(job->name))
        job_errors_add(e, "Missing job name");
    if (job_text_empty(job->namespace))
        job_errors_add(e, "Job must be in a namespace");
    if (job_text_empty(job->type))
        job_errors_add(e, "Missing job type");
    else if (!job_text_is(job->type, "service") && !job_text_is(job->type, "batch") &&
             !job_text_is(job->type, "system"))
        job_errors_add(e, "Invalid job type: %s", JOB_QUOTE(job->type));
    if (job->priority < 1 || job->priority > 100)
        job_errors_add(e, "Job priority must be between [1, 100]");
}

static void datacenters_validate(const steppe_Job *job, struct job_errors *e)
{
    size_t i;

    if (job->datacenters_count == 0 && !job_is_multiregion(job))
        job_errors_add(e, "Missing job datacenters");
    for (i = 0; i < job->datacenters_count; i++)
        if (job_text_empty(job->datacenters[i]))
            job_errors_add(e, "Job datacenter must be non-empty string");
}

/* What of a group depends on the others and on the job's type. */
static void group_in_job_validate(const steppe_Job *job, size_t i, struct job_errors *e)
{
    const steppe_TaskGroup *g = &job->task_groups[i];
    bool system = job_text_is(job->type, "system");
    size_t j = 0;

    if (job_text_empty(g->name)) {
        job_errors_add(e, "Job task group %zu missing name", i + 1);
    } else {
        while (j < i && !job_text_is(job->task_groups[j].name, g->name))
            j++;
        if (j < i)
            job_errors_add(e, "Job task group %zu redefines '%s' from group %zu", i + 1, g->name,
                           j + 1);
    }
    if (g->has_shutdown_delay && g->shutdown_delay < 0)
        job_errors_add(e, "ShutdownDelay must be a positive value");
    if (g->has_stop_after_client_disconnect) {
        if (g->stop_after_client_disconnect > 0 && !job_text_is(job->type, "batch") &&
            !job_text_is(job->type, "service"))
            job_errors_add(
                e, "stop_after_client_disconnect can only be set in batch and service jobs");
        else if (g->stop_after_client_disconnect < 0)
            job_errors_add(e, "stop_after_client_disconnect must be a positive value");
    }
    if (system && g->count > 1)
        job_errors_add(
            e, "Job task group %s has count %d. Count cannot exceed 1 with system scheduler",
            job_text(g->name), g->count);
}

static void batch_only_validate(const steppe_Job *job, job_zone_fn *zone, struct job_errors *e)
{
    bool batch = job_text_is(job->type, "batch");
    _cleanup_(job_errors_fini) struct job_errors periodic = JOB_ERRORS_INIT;
    _cleanup_(job_errors_fini) struct job_errors payload = JOB_ERRORS_INIT;
    const steppe_ParameterizedJobConfig *p = &job->parameterized_job;

    if (job_is_periodic(job) && job->periodic.enabled) {
        if (!batch)
            job_errors_add(e, "Periodic can only be used with \"batch\" scheduler");
        job_periodic_validate(&job->periodic, zone, &periodic);
        job_errors_nest(e, &periodic, "%s", "");
    }
    if (job_is_parameterized(job)) {
        _cleanup_(strbuf_fini) struct strbuf both = STRBUF_BOUND(1024);
        size_t i, j;

        if (!batch)
            job_errors_add(e, "Parameterized job can only be used with \"batch\" scheduler");
        if (!job_text_is(p->payload, "optional") && !job_text_is(p->payload, "required") &&
            !job_text_is(p->payload, "forbidden"))
            job_errors_add(&payload, "Unknown payload requirement: %s", JOB_QUOTE(p->payload));
        for (i = 0; i < p->meta_required_count; i++)
            for (j = 0; j < p->meta_optional_count; j++)
                if (job_text_is(p->meta_required[i], p->meta_optional[j]))
                    strbuf_addf(&both, "%s%s", both.len ? " " : "", p->meta_required[i]);
        if (both.len)
            job_errors_add(
                &payload,
                "Required and optional meta keys should be disjoint. Following keys exist "
                "in both: [%s]",
                both.data);
        job_errors_nest(e, &payload, "%s", "");
    }
}

/* A sidecar lives in its group's own network. False: what is wrong has been said. */
static bool connect_network_validate(const steppe_TaskGroup *g, struct job_errors *e)
{
    for (size_t i = 0; i < g->services_count; i++) {
        if (!g->services[i].has_connect || !g->services[i].connect.has_sidecar_service)
            continue;
        if (g->networks_count != 1)
            job_errors_add(
                e, "Consul Connect sidecars require exactly 1 network, found %u in group %s",
                (unsigned)g->networks_count, JOB_QUOTE(g->name));
        else if (!job_text_is(g->networks[0].mode, "bridge"))
            job_errors_add(e,
                           "Consul Connect sidecar requires bridge network, found %s in group %s",
                           JOB_QUOTE(g->networks[0].mode), JOB_QUOTE(g->name));
        else
            continue;
        return false;
    }
    return true;
}

static bool is_exposed(const steppe_Service *s)
{
    for (size_t i = 0; i < s->checks_count; i++)
        if (s->checks[i].expose)
            return true;
    return false;
}

/* A check is exposed through its service's sidecar. */
static bool expose_validate(const steppe_TaskGroup *g, struct job_errors *e)
{
    bool exposed = false;
    size_t i, k;

    for (i = 0; i < g->services_count; i++)
        exposed |= is_exposed(&g->services[i]);
    if (exposed && g->networks_count != 1) {
        job_errors_add(e, "group %s must specify one bridge network for exposing service check(s)",
                       JOB_QUOTE(g->name));
        return false;
    }
    if (exposed && !job_text_is(g->networks[0].mode, "bridge")) {
        job_errors_add(e, "group %s must use bridge network for exposing service check(s)",
                       JOB_QUOTE(g->name));
        return false;
    }
    for (i = 0; i < g->services_count; i++)
        for (k = 0; k < g->services[i].checks_count; k++) {
            const steppe_Service *s = &g->services[i];

            if (!s->checks[k].expose || (s->has_connect && s->connect.has_sidecar_service))
                continue;
            job_errors_add(e, "exposed service check %s->%s->%s requires use of sidecar_proxy",
                           job_text(g->name), job_text(s->name), job_text(s->checks[k].name));
            return false;
        }
    return true;
}

/* What Nomad's admission hooks look at before all else; each says one thing only. */
static void hooks_validate(const steppe_Job *job, struct job_errors *e)
{
    size_t i;

    for (i = 0; i < job->task_groups_count; i++)
        if (!connect_network_validate(&job->task_groups[i], e))
            break;
    for (i = 0; i < job->task_groups_count; i++)
        if (!expose_validate(&job->task_groups[i], e))
            break;
}

bool job_validate(const steppe_Job *job, job_zone_fn *zone, struct strbuf *error)
{
    return job_validate_items(job, zone, error, NULL);
}

bool job_validate_items(const steppe_Job *job, job_zone_fn *zone, struct strbuf *error,
                        struct strbuf *items)
{
    _cleanup_(job_errors_fini) struct job_errors e = JOB_ERRORS_INIT;
    bool system = job_text_is(job->type, "system");
    size_t i;

    e.items = items;
    hooks_validate(job, &e);
    names_validate(job, &e);
    datacenters_validate(job, &e);
    if (job->task_groups_count == 0)
        job_errors_add(&e, "Missing job task groups");
    job_constraints_validate(job->constraints, job->constraints_count, &e);
    job_affinities_validate(job->affinities, job->affinities_count, system, &e);
    job_spreads_validate(job->spreads, job->spreads_count, system, &e);
    for (i = 0; i < job->task_groups_count; i++)
        group_in_job_validate(job, i, &e);
    for (i = 0; i < job->task_groups_count; i++) {
        _cleanup_(job_errors_fini) struct job_errors one = JOB_ERRORS_INIT;

        job_group_validate(&job->task_groups[i], job, &one);
        job_errors_nest(&e, &one,
                        "Task group %s validation failed: ", job_text(job->task_groups[i].name));
    }
    batch_only_validate(job, zone, &e);
    if (job_is_multiregion(job))
        job_errors_add(&e, "Multiregion jobs are unlicensed.");
    if (job->payload && job->payload->size)
        job_errors_add(&e, "job can't be submitted with a payload, only dispatched");
    if (e.n == 0)
        return true;
    job_errors_text(&e, error);
    return false;
}

/* ---- Warnings ---- */

static void task_warnings(const steppe_Task *t, struct job_errors *e)
{
    _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;
    size_t i;

    if (t->resources.iops != 0)
        job_errors_add(&own,
                       "Task %s: IOPS has been deprecated as of Nomad 0.9.0. Please remove IOPS "
                       "from resource stanza.",
                       JOB_QUOTE(t->name));
    if (t->resources.networks_count)
        job_errors_add(&own,
                       "Task %s: task network resources have been deprecated as of Nomad 0.12.0. "
                       "Please configure networking via group network block.",
                       JOB_QUOTE(t->name));
    for (i = 0; i < t->templates_count; i++) {
        _cleanup_(job_errors_fini) struct job_errors tmpl = JOB_ERRORS_INIT;

        if (t->templates[i].vault_grace == 0)
            continue;
        job_errors_add(
            &tmpl,
            "Template[%zu] VaultGrace has been deprecated as of Nomad 0.11 and ignored "
            "since Vault 0.5. Please remove VaultGrace / vault_grace from template stanza.",
            i);
        job_errors_nest(&own, &tmpl, "Task %s: ", JOB_QUOTE(t->name));
    }
    job_errors_nest(e, &own, "%s", "");
}

static void group_warnings(const steppe_TaskGroup *g, const steppe_Job *job, struct job_errors *e)
{
    size_t i;

    if (g->has_update && g->update.max_parallel > g->count &&
        !(job_is_multiregion(job) && g->count == 0))
        job_errors_add(e,
                       "Update max parallel count is greater than task group count (%d > %d). A "
                       "destructive change would result in the simultaneous replacement of all "
                       "allocations.",
                       g->update.max_parallel, g->count);
    if (g->networks_count && g->networks[0].mbits > 0)
        job_errors_add(e,
                       "mbits has been deprecated as of Nomad 0.12.0. Please remove mbits from the "
                       "network block");
    for (i = 0; i < g->tasks_count; i++)
        task_warnings(&g->tasks[i], e);
}

static void memory_warnings(const steppe_Job *job, struct job_errors *e)
{
    size_t i, j;

    for (i = 0; i < job->task_groups_count; i++)
        for (j = 0; j < job->task_groups[i].tasks_count; j++)
            if (job->task_groups[i].tasks[j].resources.memory_max_mb != 0)
                job_errors_add(e,
                               "Memory oversubscription is not enabled; Task \"%s.%s\" memory_max "
                               "value will be ignored. Update the Scheduler Configuration to allow "
                               "oversubscription.",
                               job_text(job->task_groups[i].name),
                               job_text(job->task_groups[i].tasks[j].name));
}

void job_warnings(const steppe_Job *job, bool memory_oversubscription, struct strbuf *out)
{
    _cleanup_(job_errors_fini) struct job_errors e = JOB_WARNINGS_INIT;
    size_t i, promoting = 0;

    for (i = 0; i < job->task_groups_count; i++) {
        const steppe_TaskGroup *g = &job->task_groups[i];
        _cleanup_(job_errors_fini) struct job_errors one = JOB_ERRORS_INIT;

        group_warnings(g, job, &one);
        job_errors_nest(&e, &one, "Group %s has warnings: ", JOB_QUOTE(g->name));
        promoting += g->has_update && g->update.auto_promote;
    }
    if (promoting > 0 && promoting < job->task_groups_count)
        job_errors_add(&e,
                       "auto_promote must be true for all groups to enable automatic promotion");
    if (!memory_oversubscription)
        memory_warnings(job, &e);
    if (e.n)
        job_errors_warnings(&e, out);
}
