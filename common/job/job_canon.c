/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Defaults of jobs, groups and tasks, as Nomad's client library sets them. Services and Connect:
 * job_canon_service.c. What a server does beyond: job_canon_stored.c.
 */
#include "job_canon.h"

#include <ctype.h>
#include <pb_decode.h>
#include <string.h>

#include "base/clock.h"
#include "job.h"

#define SEC    NS_PER_SEC
#define MIN_NS (60 * NS_PER_SEC)
#define HOUR   (3600 * NS_PER_SEC)

static bool is(const char *a, const char *b)
{
    return strcmp(a ? a : "", b) == 0;
}

/* ---- Job level policies, merged into the groups ---- */

static void update_merge(steppe_UpdateStrategy *u, const steppe_UpdateStrategy *o)
{
    JOB_DEFAULT_FROM(u, o, stagger);
    JOB_DEFAULT_FROM(u, o, max_parallel);
    JOB_DEFAULT_FROM(u, o, min_healthy_time);
    JOB_DEFAULT_FROM(u, o, healthy_deadline);
    JOB_DEFAULT_FROM(u, o, progress_deadline);
    JOB_DEFAULT_FROM(u, o, canary);
    JOB_DEFAULT_FROM(u, o, auto_revert);
    JOB_DEFAULT_FROM(u, o, auto_promote);
    if (!u->health_check && o->health_check)
        u->health_check = xstrdup(o->health_check);
}

static void update_defaults(steppe_UpdateStrategy *u)
{
    JOB_DEFAULT(u, stagger, 30 * SEC);
    JOB_DEFAULT(u, max_parallel, 1);
    JOB_DEFAULT(u, min_healthy_time, 10 * SEC);
    JOB_DEFAULT(u, healthy_deadline, 5 * MIN_NS);
    JOB_DEFAULT(u, progress_deadline, 10 * MIN_NS);
    JOB_DEFAULT(u, canary, 0);
    JOB_DEFAULT(u, auto_revert, false);
    JOB_DEFAULT(u, auto_promote, false);
    job_string_default(&u->health_check, "checks");
}

static bool update_is_empty(const steppe_UpdateStrategy *u)
{
    return u->stagger == 0 && u->max_parallel == 0 && is(u->health_check, "") &&
           u->min_healthy_time == 0 && u->healthy_deadline == 0 && u->progress_deadline == 0 &&
           !u->auto_revert && !u->auto_promote && u->canary == 0;
}

static void reschedule_merge(steppe_ReschedulePolicy *r, const steppe_ReschedulePolicy *o)
{
    JOB_DEFAULT_FROM(r, o, attempts);
    JOB_DEFAULT_FROM(r, o, interval);
    JOB_DEFAULT_FROM(r, o, delay);
    JOB_DEFAULT_FROM(r, o, max_delay);
    JOB_DEFAULT_FROM(r, o, unlimited);
    if (!r->delay_function && o->delay_function)
        r->delay_function = xstrdup(o->delay_function);
}

static void reschedule_defaults(steppe_ReschedulePolicy *r, const char *type)
{
    bool service = is(type, "service"), batch = is(type, "batch");

    JOB_DEFAULT(r, attempts, batch ? 1 : 0);
    JOB_DEFAULT(r, interval, batch ? 24 * HOUR : 0);
    JOB_DEFAULT(r, delay, service ? 30 * SEC : batch ? 5 * SEC : 0);
    JOB_DEFAULT(r, max_delay, service ? HOUR : 0);
    JOB_DEFAULT(r, unlimited, service);
    job_string_default(&r->delay_function, service ? "exponential" : batch ? "constant" : "");
}

static void migrate_merge(steppe_MigrateStrategy *m, const steppe_MigrateStrategy *o)
{
    JOB_DEFAULT_FROM(m, o, max_parallel);
    JOB_DEFAULT_FROM(m, o, min_healthy_time);
    JOB_DEFAULT_FROM(m, o, healthy_deadline);
    if (!m->health_check && o->health_check)
        m->health_check = xstrdup(o->health_check);
}

static void migrate_defaults(steppe_MigrateStrategy *m)
{
    JOB_DEFAULT(m, max_parallel, 1);
    JOB_DEFAULT(m, min_healthy_time, 10 * SEC);
    JOB_DEFAULT(m, healthy_deadline, 5 * MIN_NS);
    job_string_default(&m->health_check, "checks");
}

static void restart_merge(steppe_RestartPolicy *r, const steppe_RestartPolicy *o)
{
    JOB_DEFAULT_FROM(r, o, interval);
    JOB_DEFAULT_FROM(r, o, attempts);
    JOB_DEFAULT_FROM(r, o, delay);
    if (!r->mode && o->mode)
        r->mode = xstrdup(o->mode);
}

static void restart_defaults(steppe_RestartPolicy *r, const char *type)
{
    bool lasting = is(type, "service") || is(type, "system");

    JOB_DEFAULT(r, attempts, lasting ? 2 : 3);
    JOB_DEFAULT(r, interval, lasting ? 30 * MIN_NS : 24 * HOUR);
    JOB_DEFAULT(r, delay, 15 * SEC);
    job_string_default(&r->mode, "fail");
}

/* ---- Small objects ---- */

static void affinities_defaults(steppe_Affinity *a, size_t n)
{
    for (; n > 0; n--, a++)
        JOB_DEFAULT(a, weight, 50);
}

static void spreads_defaults(steppe_Spread *s, size_t n)
{
    for (; n > 0; n--, s++)
        JOB_DEFAULT(s, weight, 50);
}

void job_resources_defaults(steppe_Resources *r)
{
    size_t i;

    if (!r->has_cores) {
        JOB_DEFAULT(r, cores, 0);
        JOB_DEFAULT(r, cpu, 100);
    }
    JOB_DEFAULT(r, cpu, 0);
    JOB_DEFAULT(r, memory_mb, 300);
    for (i = 0; i < r->devices_count; i++) {
        JOB_DEFAULT(&r->devices[i], count, 1);
        affinities_defaults(r->devices[i].affinities, r->devices[i].affinities_count);
    }
}

void job_log_defaults(steppe_LogConfig *l)
{
    JOB_DEFAULT(l, max_files, 10);
    JOB_DEFAULT(l, max_file_size_mb, 10);
}

void job_scaling_defaults(steppe_ScalingPolicy *p, int64_t count)
{
    JOB_DEFAULT(p, enabled, true);
    JOB_DEFAULT(p, min, count);
    job_string_default(&p->type, "horizontal");
}

/* ---- Tasks ---- */

static void artifact_defaults(steppe_TaskArtifact *a)
{
    const char *source, *end, *base;

    job_string_default(&a->getter_mode, "any");
    job_string_default(&a->getter_source, "");
    JOB_SORT_MAP(a->getter_options, a->getter_options_count);
    JOB_SORT_MAP(a->getter_headers, a->getter_headers_count);
    if (a->relative_dest)
        return;
    if (!is(a->getter_mode, "file")) {
        a->relative_dest = xstrdup("local/");
        return;
    }
    source = a->getter_source ? a->getter_source : "";
    end = source + strlen(source);
    while (end > source && end[-1] == '/')
        end--;
    for (base = end; base > source && base[-1] != '/'; base--)
        ;
    if (base == end)
        a->relative_dest = xstrdup("local");
    else
        a->relative_dest = xasprintf("local/%.*s", (int)(end - base), base);
}

void job_upper(char *s)
{
    for (; s && *s; s++)
        *s = (char)toupper((unsigned char)*s);
}

static void template_defaults(steppe_Template *t)
{
    job_string_default(&t->source_path, "");
    job_string_default(&t->dest_path, "");
    job_string_default(&t->embedded_tmpl, "");
    job_string_default(&t->change_mode, "restart");
    job_string_default(&t->change_signal, is(t->change_mode, "signal") ? "SIGHUP" : "");
    job_upper(t->change_signal);
    JOB_DEFAULT(t, splay, 5 * SEC);
    job_string_default(&t->perms, "0644");
    job_string_default(&t->left_delim, "{{");
    job_string_default(&t->right_delim, "}}");
    JOB_DEFAULT(t, envvars, false);
    JOB_DEFAULT(t, vault_grace, 0);
}

static void vault_defaults(steppe_Vault *v, const char *job_namespace)
{
    JOB_DEFAULT(v, env, true);
    if (is(v->namespace, "") && job_namespace && *job_namespace) {
        free(v->namespace);
        v->namespace = xstrdup(job_namespace);
    }
    job_string_default(&v->namespace, "");
    job_string_default(&v->change_mode, "restart");
    job_string_default(&v->change_signal, "SIGHUP");
}

static void volume_mount_defaults(steppe_VolumeMount *m)
{
    job_string_default(&m->volume, "");
    job_string_default(&m->destination, "");
    job_string_default(&m->propagation_mode, "private");
    JOB_DEFAULT(m, read_only, false);
}

static void task_maps(steppe_Task *t)
{
    JOB_SORT_MAP(t->env, t->env_count);
    JOB_SORT_MAP(t->meta, t->meta_count);
}

static void task_defaults(steppe_Task *t, const steppe_TaskGroup *g, const steppe_Job *job)
{
    const struct job_service_owner owner = {job, g, t};
    size_t i;

    task_maps(t);
    t->has_resources = true;
    job_resources_defaults(&t->resources);
    JOB_DEFAULT(t, kill_timeout, JOB_KILL_TIMEOUT);
    t->has_log_config = true;
    job_log_defaults(&t->log_config);
    for (i = 0; i < t->artifacts_count; i++)
        artifact_defaults(&t->artifacts[i]);
    if (t->has_vault)
        vault_defaults(&t->vault, job->vault_namespace);
    for (i = 0; i < t->templates_count; i++)
        template_defaults(&t->templates[i]);
    for (i = 0; i < t->services_count; i++)
        job_service_defaults(&t->services[i], &owner);
    affinities_defaults(t->affinities, t->affinities_count);
    for (i = 0; i < t->volume_mounts_count; i++)
        volume_mount_defaults(&t->volume_mounts[i]);
    if (t->has_lifecycle && is(t->lifecycle.hook, "")) {
        job_string_clear(&t->lifecycle.hook);
        t->has_lifecycle = t->lifecycle.sidecar = false;
    }
    if (t->has_csi_plugin_config)
        job_string_default(&t->csi_plugin_config.mount_dir, "/csi");
    restart_merge(&t->restart_policy, &g->restart_policy);
    t->has_restart_policy = true;
}

/* ---- Groups ---- */

static void group_policies(steppe_TaskGroup *g, const steppe_Job *job)
{
    if (job->has_update && (g->has_update || !update_is_empty(&job->update))) {
        update_merge(&g->update, &job->update);
        g->has_update = true;
    }
    if (g->has_update)
        update_defaults(&g->update);
    if (job->has_reschedule) {
        reschedule_merge(&g->reschedule_policy, &job->reschedule);
        g->has_reschedule_policy = true;
    }
    if (!is(job->type, "system"))
        g->has_reschedule_policy = true;
    if (g->has_reschedule_policy)
        reschedule_defaults(&g->reschedule_policy, job->type);
    if (job->has_migrate) {
        migrate_merge(&g->migrate, &job->migrate);
        g->has_migrate = true;
    }
    if (is(job->type, "service"))
        g->has_migrate = true;
    if (g->has_migrate)
        migrate_defaults(&g->migrate);
    g->has_restart_policy = true;
    restart_defaults(&g->restart_policy, job->type);
}

static void group_defaults(steppe_TaskGroup *g, const steppe_Job *job)
{
    const struct job_service_owner owner = {job, g, NULL};
    size_t i;

    job_string_default(&g->name, "");
    JOB_SORT_MAP(g->meta, g->meta_count);
    if (!g->has_count) {
        g->has_count = true;
        g->count = 1;
        if (g->has_scaling && g->scaling.has_min)
            g->count = (int32_t)MIN(MAX(g->scaling.min, INT32_MIN), INT32_MAX);
    }
    if (g->has_scaling)
        job_scaling_defaults(&g->scaling, g->count);
    g->has_ephemeral_disk = true;
    JOB_DEFAULT(&g->ephemeral_disk, sticky, false);
    JOB_DEFAULT(&g->ephemeral_disk, migrate, false);
    JOB_DEFAULT(&g->ephemeral_disk, size_mb, 300);
    g->has_consul = true;
    if (is(g->consul.namespace, "") && job->consul_namespace && *job->consul_namespace) {
        free(g->consul.namespace);
        g->consul.namespace = xstrdup(job->consul_namespace);
    }
    group_policies(g, job);
    spreads_defaults(g->spreads, g->spreads_count);
    affinities_defaults(g->affinities, g->affinities_count);
    for (i = 0; i < g->services_count; i++)
        job_service_defaults(&g->services[i], &owner);
    for (i = 0; i < g->tasks_count; i++)
        task_defaults(&g->tasks[i], g, job);
}

/* ---- The job ---- */

static void periodic_defaults(steppe_PeriodicConfig *p)
{
    JOB_DEFAULT(p, enabled, true);
    job_string_default(&p->spec, "");
    job_string_default(&p->spec_type, "cron");
    JOB_DEFAULT(p, prohibit_overlap, false);
    if (is(p->time_zone, ""))
        job_string_clear(&p->time_zone);
    job_string_default(&p->time_zone, "UTC");
}

static void multiregion_defaults(steppe_Multiregion *m)
{
    size_t i;

    m->has_strategy = true;
    JOB_DEFAULT(&m->strategy, max_parallel, 0);
    job_string_default(&m->strategy.on_failure, "");
    for (i = 0; i < m->regions_count; i++) {
        JOB_DEFAULT(&m->regions[i], count, 1);
        JOB_SORT_MAP(m->regions[i].meta, m->regions[i].meta_count);
    }
}

void job_defaults(steppe_Job *job)
{
    size_t i;

    job_string_default(&job->id, "");
    job_string_default(&job->name, job->id);
    job_string_default(&job->namespace, "default");
    job_string_default(&job->region, "global");
    job_string_default(&job->type, "service");
    job_string_default(&job->vault_namespace, "");
    JOB_DEFAULT(job, priority, 50);
    JOB_DEFAULT(job, all_at_once, false);
    JOB_SORT_MAP(job->meta, job->meta_count);
    if (job->has_periodic)
        periodic_defaults(&job->periodic);
    if (job->has_multiregion)
        multiregion_defaults(&job->multiregion);
    if (!job->has_update && is(job->type, "service"))
        job->has_update = true;
    if (job->has_update)
        update_defaults(&job->update);
    spreads_defaults(job->spreads, job->spreads_count);
    affinities_defaults(job->affinities, job->affinities_count);
    for (i = 0; i < job->task_groups_count; i++)
        group_defaults(&job->task_groups[i], job);
}

void job_api_canonicalize(steppe_Job *job)
{
    job_defaults(job);
    JOB_DEFAULT(job, stop, false);
    JOB_DEFAULT(job, stable, false);
    JOB_DEFAULT(job, version, 0);
    JOB_DEFAULT(job, create_index, 0);
    JOB_DEFAULT(job, modify_index, 0);
    JOB_DEFAULT(job, job_modify_index, 0);
    job_string_default(&job->parent_id, "");
    job_string_default(&job->consul_token, "");
    job_string_default(&job->consul_namespace, "");
    job_string_default(&job->vault_token, "");
    job_string_default(&job->nomad_token_id, "");
    job_string_default(&job->status, "");
    job_string_default(&job->status_description, "");
}
