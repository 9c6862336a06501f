/* SPDX-License-Identifier: MPL-2.0 */
/* What a job implies, is, and looks like in lists. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "job.h"
#include "job_canon.h"

static bool is(const char *a, const char *b)
{
    return strcmp(a ? a : "", b) == 0;
}

bool job_is_periodic(const steppe_Job *job)
{
    return job->has_periodic;
}

bool job_is_parameterized(const steppe_Job *job)
{
    return job->has_parameterized_job && !job->dispatched;
}

bool job_is_multiregion(const steppe_Job *job)
{
    return job->has_multiregion && job->multiregion.regions_count > 0;
}

/* ---- Implicit constraints ---- */

struct signals {
    const char **names;
    size_t len;
};

static void signals_add(struct signals *s, const char *name)
{
    size_t i;

    if (!name || !*name)
        return;
    for (i = 0; i < s->len; i++)
        if (strcmp(s->names[i], name) == 0)
            return;
    s->names = xrealloc(s->names, (s->len + 1) * sizeof(*s->names));
    s->names[s->len++] = name;
}

static int name_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void task_signals(const steppe_Task *t, struct signals *s)
{
    size_t i;

    if (t->has_vault && is(t->vault.change_mode, "signal"))
        signals_add(s, t->vault.change_signal);
    signals_add(s, t->kill_signal);
    for (i = 0; i < t->templates_count; i++)
        if (is(t->templates[i].change_mode, "signal"))
            signals_add(s, t->templates[i].change_signal);
}

static void constraint_add(steppe_TaskGroup *g, const char *l, const char *r, const char *operand)
{
    steppe_Constraint *c;
    size_t i;

    for (i = 0; i < g->constraints_count; i++) {
        c = &g->constraints[i];
        if (is(c->l_target, l) && is(c->r_target, r) && is(c->operand, operand))
            return;
    }
    if (g->constraints_count == UINT16_MAX)
        return;
    g->constraints = xrealloc(g->constraints, (g->constraints_count + 1u) * sizeof(*c));
    c = &g->constraints[g->constraints_count++];
    *c = (steppe_Constraint){xstrdup(l), xstrdup(r), xstrdup(operand)};
}

static void group_vault_constraint(steppe_TaskGroup *g)
{
    bool vault = false;
    size_t i;

    for (i = 0; i < g->tasks_count; i++)
        vault = vault || g->tasks[i].has_vault;
    for (i = 0; i < g->constraints_count; i++)
        if (is(g->constraints[i].l_target, "${attr.vault.version}"))
            return;
    if (vault)
        constraint_add(g, "${attr.vault.version}", ">= 0.6.1", "semver");
}

void job_implied_constraints(steppe_Job *job)
{
    size_t i, j;

    for (i = 0; i < job->task_groups_count; i++) {
        _cleanup_(strbuf_fini) struct strbuf list = STRBUF_INIT;
        steppe_TaskGroup *g = &job->task_groups[i];
        struct signals s = {NULL, 0};

        group_vault_constraint(g);
        for (j = 0; j < g->tasks_count; j++)
            task_signals(&g->tasks[j], &s);
        if (s.len) {
            qsort(s.names, s.len, sizeof(*s.names), name_cmp);
            for (j = 0; j < s.len; j++)
                strbuf_addf(&list, "%s%s", j ? "," : "", s.names[j]);
            constraint_add(g, "${attr.os.signals}", list.data, "set_contains");
        }
        free(s.names);
    }
}

/* ---- Registration ---- */

static int transition_check(const steppe_Job *old, const steppe_Job *job, struct errtext *e)
{
    if (!is(old->type, job->type ? job->type : ""))
        return err_set(e, -EINVAL, "cannot update job from type \"%s\" to \"%s\"",
                       old->type ? old->type : "", job->type ? job->type : "");
    if (job_is_periodic(old) && !job_is_periodic(job))
        return err_set(e, -EINVAL, "cannot update periodic job to being non-periodic");
    if (job_is_periodic(job) && !job_is_periodic(old))
        return err_set(e, -EINVAL, "cannot update non-periodic job to being periodic");
    if (job_is_parameterized(old) && !job_is_parameterized(job))
        return err_set(e, -EINVAL, "cannot update parameterized job to being non-parameterized");
    if (job_is_parameterized(job) && !job_is_parameterized(old))
        return err_set(e, -EINVAL, "cannot update non-parameterized job to being parameterized");
    if (old->dispatched != job->dispatched)
        return err_set(e, -EINVAL, "field 'Dispatched' is read-only");
    return 0;
}

int job_update_check(const steppe_Job *old, const steppe_Job *job, struct errtext *e)
{
    size_t i, j;
    int err;

    if (!old && job->dispatched)
        return err_set(e, -EINVAL, "job can't be submitted with 'Dispatched' set");
    err = old ? transition_check(old, job, e) : 0;
    for (i = 0; !err && i < job->task_groups_count; i++)
        for (j = 0; !err && j < job->task_groups[i].tasks_count; j++)
            if (job->task_groups[i].tasks[j].has_vault)
                err = err_set(e, -EINVAL, "Vault not enabled and Vault policies requested");
    return err;
}

static bool named(const char *s)
{
    return s && *s;
}

struct job_region job_region_select(const steppe_Job *job, const struct job_region_source *src)
{
    struct job_region r = {NULL, NULL};
    size_t i;

    if (named(src->body))
        r.request = src->body;
    else if (named(src->query))
        r.request = src->query;
    else if (named(job->region))
        r.request = job->region;
    if (!r.request || strcmp(r.request, "global") == 0)
        r.request = src->agent;
    r.job = r.request;
    if (!job->has_multiregion)
        return r;
    r.job = "global";
    for (i = 0; i < job->multiregion.regions_count; i++)
        if (is(job->multiregion.regions[i].name, r.request))
            return r;
    if (job->multiregion.regions_count)
        r.request = job->multiregion.regions[0].name ? job->multiregion.regions[0].name : "";
    return r;
}

static const steppe_TaskGroup *group_find(const steppe_Job *job, const char *name)
{
    size_t i;

    for (i = 0; job && i < job->task_groups_count; i++)
        if (is(job->task_groups[i].name, name ? name : ""))
            return &job->task_groups[i];
    return NULL;
}

void job_scaling_ids_set(const steppe_Job *old, steppe_Job *job, job_id_make_fn *make, void *ctx)
{
    size_t i;

    for (i = 0; i < job->task_groups_count; i++) {
        steppe_TaskGroup *g = &job->task_groups[i];
        const steppe_TaskGroup *o = group_find(old, g->name);
        char id[37] = "";

        if (!g->has_scaling)
            continue;
        if (o && o->has_scaling && named(o->scaling.id) && is(o->scaling.type, g->scaling.type))
            (void)snprintf(id, sizeof(id), "%s", o->scaling.id);
        else
            make(ctx, id);
        free(g->scaling.id);
        g->scaling.id = xstrdup(id);
    }
}

void job_spec_clear(steppe_Job *job)
{
    job->has_stop = job->stop = false;
    job_string_clear(&job->status);
    job_string_clear(&job->status_description);
    job->has_stable = job->stable = false;
    job->has_version = job->has_submit_time = false;
    job->has_create_index = job->has_modify_index = job->has_job_modify_index = false;
    job->version = job->create_index = job->modify_index = job->job_modify_index = 0;
    job->submit_time = 0;
}

/* ---- Lists and summaries ---- */

void job_stub_make(const steppe_Job *job, const steppe_JobSummary *summary, steppe_JobListStub *ret)
{
    *ret = (steppe_JobListStub){
        .id = job->id,
        .parent_id = job->parent_id,
        .name = job->name,
        .namespace = job->namespace,
        .datacenters_count = job->datacenters_count,
        .datacenters = job->datacenters,
        .has_multiregion = job->has_multiregion,
        .multiregion = job->multiregion,
        .type = job->type,
        .priority = job->priority,
        .periodic = job_is_periodic(job),
        .parameterized_job = job_is_parameterized(job),
        .stop = job->stop,
        .status = job->status,
        .status_description = job->status_description,
        .create_index = job->create_index,
        .modify_index = job->modify_index,
        .job_modify_index = job->job_modify_index,
        .submit_time = job->submit_time,
        .has_job_summary = summary != NULL,
    };
    if (summary)
        ret->job_summary = *summary;
}

void job_summary_init(const steppe_Job *job, steppe_JobSummary *ret)
{
    size_t i;

    *ret = (steppe_JobSummary){.has_children = true};
    ret->job_id = xstrdup(job->id ? job->id : "");
    ret->namespace = xstrdup(job->namespace ? job->namespace : "");
    if (job->task_groups_count == 0)
        return;
    ret->summary = xcalloc(job->task_groups_count, sizeof(*ret->summary));
    ret->summary_count = job->task_groups_count;
    for (i = 0; i < job->task_groups_count; i++) {
        const char *name = job->task_groups[i].name;

        ret->summary[i].key = xstrdup(name ? name : "");
        ret->summary[i].has_value = true;
    }
    JOB_SORT_MAP(ret->summary, ret->summary_count);
}
