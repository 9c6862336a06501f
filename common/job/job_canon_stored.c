/* SPDX-License-Identifier: MPL-2.0 */
/* From a job with all defaults to the form that a server stores: one for all jobs that mean the
 * same. */
#include <pb_decode.h>
#include <string.h>

#include "job.h"
#include "job_canon.h"

static bool is(const char *a, const char *b)
{
    return strcmp(a ? a : "", b) == 0;
}

/* ---- Small objects ---- */

void job_config_store(char **config)
{
    if (is(*config, "{}"))
        job_string_clear(config);
}

static void ports_store(steppe_Port *p, size_t n)
{
    for (; n > 0; n--, p++)
        job_string_default(&p->host_network, "default");
}

static void networks_store(steppe_NetworkResource *net, size_t n)
{
    for (; n > 0; n--, net++) {
        job_string_clear(&net->device); /* filled in when a node is chosen */
        JOB_DEFAULT(net, mbits, 0);
        ports_store(net->reserved_ports, net->reserved_ports_count);
        ports_store(net->dynamic_ports, net->dynamic_ports_count);
    }
}

void job_resources_store(steppe_Resources *r)
{
    JOB_DEFAULT(r, memory_max_mb, 0);
    JOB_DEFAULT(r, iops, 0);
    r->has_disk_mb = true; /* a group's business; never kept here */
    r->disk_mb = 0;
    networks_store(r->networks, r->networks_count);
}

static void scaling_target_add(steppe_ScalingPolicy *p, const char *key, const char *value)
{
    p->target = xrealloc(p->target, (p->target_count + 1u) * sizeof(*p->target));
    p->target[p->target_count].key = xstrdup(key);
    p->target[p->target_count].value = xstrdup(value ? value : "");
    p->target_count++;
}

static void scaling_store(steppe_ScalingPolicy *p, const steppe_Job *job, const char *group)
{
    size_t i;

    JOB_DEFAULT(p, max, -1); /* refused by validation */
    job_string_clear(&p->namespace);
    for (i = 0; i < p->target_count; i++) {
        free(p->target[i].key);
        free(p->target[i].value);
    }
    p->target_count = 0;
    scaling_target_add(p, "Group", group);
    scaling_target_add(p, "Job", job->id);
    scaling_target_add(p, "Namespace", job->namespace);
}

/* ---- Tasks ---- */

static void template_store(steppe_Template *t)
{
    job_string_plain(&t->source_path);
    job_string_plain(&t->dest_path);
    job_string_plain(&t->embedded_tmpl);
    if (!is(t->change_mode, "signal"))
        job_string_plain(&t->change_signal);
}

static void task_store(steppe_Task *t, const steppe_TaskGroup *g, const steppe_Job *job)
{
    const struct job_service_owner owner = {job, g, t};
    size_t i;

    job_config_store(&t->config);
    job_resources_store(&t->resources);
    if (t->kill_timeout == 0)
        t->kill_timeout = JOB_KILL_TIMEOUT;
    for (i = 0; i < t->artifacts_count; i++)
        job_string_plain(&t->artifacts[i].getter_source);
    if (t->has_vault) {
        job_string_plain(&t->vault.namespace);
        job_upper(t->vault.change_signal);
    }
    for (i = 0; i < t->templates_count; i++)
        template_store(&t->templates[i]);
    for (i = 0; i < t->services_count; i++)
        job_service_store(&t->services[i], &owner);
    for (i = 0; i < t->volume_mounts_count; i++) {
        job_string_plain(&t->volume_mounts[i].volume);
        job_string_plain(&t->volume_mounts[i].destination);
    }
    for (i = 0; i < t->scaling_policies_count; i++) {
        job_scaling_defaults(&t->scaling_policies[i], 0);
        scaling_store(&t->scaling_policies[i], job, g->name);
    }
}

/* ---- Groups ---- */

/* Volumes of a type that we do not know are ignored, not refused. */
static void volumes_filter(steppe_TaskGroup *g)
{
    pb_size_t i, kept = 0;

    for (i = 0; i < g->volumes_count; i++) {
        steppe_TaskGroup_VolumesEntry *v = &g->volumes[i];

        if (v->has_value && (is(v->value.type, "host") || is(v->value.type, "csi")))
            g->volumes[kept++] = *v;
        else
            pb_release(steppe_TaskGroup_VolumesEntry_fields, v);
    }
    g->volumes_count = kept;
    if (kept == 0) {
        free(g->volumes);
        g->volumes = NULL;
    }
    JOB_SORT_MAP(g->volumes, g->volumes_count);
}

static void group_store(steppe_TaskGroup *g, const steppe_Job *job)
{
    const struct job_service_owner owner = {job, g, NULL};
    size_t i;

    job_string_plain(&g->name);
    if (!is(job->type, "service") && !is(job->type, "batch"))
        job_string_plain(&g->reschedule_policy.delay_function);
    volumes_filter(g);
    if (g->has_scaling)
        scaling_store(&g->scaling, job, g->name);
    networks_store(g->networks, g->networks_count);
    for (i = 0; i < g->services_count; i++)
        job_service_store(&g->services[i], &owner);
    for (i = 0; i < g->tasks_count; i++)
        task_store(&g->tasks[i], g, job);
}

/* ---- The job ---- */

/*
 * Of the job's own block only stagger and max_parallel stay; a zero object otherwise. All members
 * are set, so that a second pass finds nothing to fill in.
 */
static void update_strip(steppe_Job *job)
{
    steppe_UpdateStrategy *u = &job->update;
    int64_t stagger = 0;
    int32_t max_parallel = 0;

    if (job->has_update && u->max_parallel > 0) {
        stagger = u->stagger;
        max_parallel = u->max_parallel;
    }
    free(u->health_check);
    *u = (steppe_UpdateStrategy){
        .has_stagger = true,
        .stagger = stagger,
        .has_max_parallel = true,
        .max_parallel = max_parallel,
        .has_min_healthy_time = true,
        .has_healthy_deadline = true,
        .has_progress_deadline = true,
        .has_canary = true,
        .has_auto_revert = true,
        .has_auto_promote = true,
        .health_check = xstrdup(""),
    };
    job->has_update = true;
}

/* Merged into the groups, or never stored. */
static void job_drop(steppe_Job *job)
{
    job_string_clear(&job->reschedule.delay_function);
    job->reschedule = (steppe_ReschedulePolicy){0};
    job_string_clear(&job->migrate.health_check);
    job->migrate = (steppe_MigrateStrategy){0};
    job->has_reschedule = job->has_migrate = false;
    job_string_clear(&job->consul_token);
    job_string_clear(&job->vault_token);
    job_string_clear(&job->consul_namespace);
    /* a registration cannot claim to be another job's child */
    job_string_clear(&job->nomad_token_id);
    job_string_clear(&job->parent_id);
    job->dispatched = false;
}

void job_canonicalize(steppe_Job *job)
{
    size_t i;

    if (is(job->namespace, ""))
        job_string_clear(&job->namespace);
    job_defaults(job);
    job_string_plain(&job->id);
    if (!job->id) /* else unset becomes the id, and "" is an error */
        job_string_plain(&job->name);
    job_string_plain(&job->vault_namespace);
    if (job->has_periodic)
        job_string_plain(&job->periodic.spec);
    if (job->has_parameterized_job)
        job_string_default(&job->parameterized_job.payload, "optional");
    if (job->has_multiregion)
        job_string_plain(&job->multiregion.strategy.on_failure);
    for (i = 0; i < job->task_groups_count; i++)
        group_store(&job->task_groups[i], job);
    update_strip(job);
    job_drop(job);
}
