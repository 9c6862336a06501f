/* SPDX-License-Identifier: MPL-2.0 */
/* job status: the list of jobs, or all about one. */
#include <string.h>

#include "base/strbuf.h"
#include "commands.h"
#include "text.h"

#define STATUS_FAILED_GROUPS_MAX 5 /* task groups whose placement failures are shown */

struct job_status {
    struct cli *cli;
    const json_t *job;
    const char *id, *namespace; /* namespace: NULL when the server names none */
    bool verbose, evals, all_allocs;
    size_t id_len;
};

static int status_list(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *stubs = NULL;

    if (client_call(&cli->client, "GET", "/v1/jobs", NULL, &stubs, NULL) < 0) {
        ui_error(cli, "Error querying jobs: %s", cli_error(cli));
        return 1;
    }
    if (cli_wants_data(cli))
        return cli_print_data(cli, stubs);
    if (json_array_size(stubs) == 0)
        ui_out(cli, "No running jobs");
    else {
        _cleanup_(freep) char *list = NULL;

        job_stubs_sort(stubs);
        list = job_list_text(stubs, cli_all_namespaces(cli));
        ui_out(cli, "%s", list);
    }
    return 0;
}

/* GETs a part of the job; a failure is said. */
static int status_get(const struct job_status *s, const char *suffix, const char *what,
                      json_t **ret)
{
    _cleanup_(freep) char *path = job_path(s->id, suffix);
    const char *all = strcmp(suffix, "/allocations") != 0 ? NULL : s->all_allocs ? "true" : "false";

    if (client_call(&s->cli->client, "GET", path, NULL, ret, "namespace", s->namespace, "all", all,
                    NULL) < 0) {
        ui_error(s->cli, "Error querying %s: %s", what, cli_error(s->cli));
        return -1;
    }
    return 0;
}

static char *status_datacenters(const json_t *job)
{
    struct strbuf b = STRBUF_INIT;
    size_t i;
    json_t *dc;

    json_array_foreach(js_get(job, "Datacenters"), i, dc)
        strbuf_addf(&b, "%s%s", i ? "," : "", json_is_string(dc) ? json_string_value(dc) : "");
    return strbuf_take(&b);
}

static void status_header(struct cli *cli, const json_t *job)
{
    _cleanup_(table_fini) struct table t = {0};
    _cleanup_(freep) char *submitted = text_time((struct wall_ns){js_int(job, "SubmitTime")});
    _cleanup_(freep) char *dcs = status_datacenters(job);
    _cleanup_(freep) char *status = job_status_text(job);

    table_row(&t, "ID|%s", js_str(job, "ID"));
    table_row(&t, "Name|%s", js_str(job, "Name"));
    table_row(&t, "Submit Date|%s", submitted);
    table_row(&t, "Type|%s", js_str(job, "Type"));
    table_row(&t, "Priority|%lld", (long long)js_int(job, "Priority"));
    table_row(&t, "Datacenters|%s", dcs);
    table_row(&t, "Namespace|%s", js_str(job, "Namespace"));
    table_row(&t, "Status|%s", status);
    table_row(&t, "Periodic|%s", jobdoc_is_periodic(job) ? "true" : "false");
    table_row(&t, "Parameterized|%s", jobdoc_is_parameterized(job) ? "true" : "false");
    if (jobdoc_is_periodic(job) && !jobdoc_is_parameterized(job) && js_bool(job, "Stop"))
        table_row(&t, "Next Periodic Launch|none (job stopped)");
    ui_table(cli, &t, TABLE_KV);
}

static int status_summary(const struct job_status *s)
{
    bool periodic = jobdoc_is_periodic(s->job), param = jobdoc_is_parameterized(s->job);
    _cleanup_(json_decrefp) json_t *summary = NULL;
    const json_t *children;

    if (status_get(s, "/summary", "job summary", &summary) < 0)
        return -1;
    if (json_is_null(summary))
        return 0;
    if (!periodic && !param) {
        const json_t *groups = js_get(summary, "Summary");
        _cleanup_(freep) const char **names = js_keys(groups);
        _cleanup_(table_fini) struct table t = {0};

        ui_heading(s->cli, "Summary");
        table_row(&t, "Task Group|Queued|Starting|Running|Failed|Complete|Lost");
        for (size_t i = 0; names[i]; i++) {
            const json_t *g = js_get(groups, names[i]);

            table_row(&t, "%s|%lld|%lld|%lld|%lld|%lld|%lld", names[i],
                      (long long)js_int(g, "Queued"), (long long)js_int(g, "Starting"),
                      (long long)js_int(g, "Running"), (long long)js_int(g, "Failed"),
                      (long long)js_int(g, "Complete"), (long long)js_int(g, "Lost"));
        }
        ui_table(s->cli, &t, TABLE_LIST);
    }
    children = js_some(summary, "Children");
    if (children &&
        (periodic || param ||
         js_int(children, "Pending") + js_int(children, "Running") + js_int(children, "Dead") >
             0)) {
        _cleanup_(table_fini) struct table t = {0};

        ui_heading(s->cli, param ? "Parameterized Job Summary" : "Children Job Summary");
        table_row(&t, "Pending|Running|Dead");
        table_row(&t, "%lld|%lld|%lld", (long long)js_int(children, "Pending"),
                  (long long)js_int(children, "Running"), (long long)js_int(children, "Dead"));
        ui_table(s->cli, &t, TABLE_LIST);
    }
    return 0;
}

/* Jobs that were launched from this one. */
static int status_children(const struct job_status *s, bool param)
{
    _cleanup_(freep) char *prefix = xasprintf("%s/%s-", s->id, param ? "dispatch" : "periodic");
    _cleanup_(json_decrefp) json_t *stubs = NULL;
    _cleanup_(table_fini) struct table t = {0};
    size_t i;
    json_t *stub;

    if (client_call(&s->cli->client, "GET", "/v1/jobs", NULL, &stubs, "prefix", prefix, NULL) < 0) {
        ui_error(s->cli, "Error querying job: %s", cli_error(s->cli));
        return -1;
    }
    if (json_array_size(stubs) == 0) {
        ui_out(s->cli, param ? "\nNo dispatched instances of parameterized job found"
                             : "\nNo instances of periodic job found");
        return 0;
    }
    job_stubs_sort(stubs);
    table_row(&t, "ID|Status");
    json_array_foreach(stubs, i, stub)
    {
        if (strcmp(js_str(stub, "ParentID"), s->id) == 0)
            table_row(&t, "%s|%s", js_str(stub, "ID"), js_str(stub, "Status"));
    }
    ui_heading(s->cli, param ? "Dispatched Jobs" : "Previously Launched Jobs");
    ui_table(s->cli, &t, TABLE_LIST);
    return 0;
}

static char *status_join(const json_t *strings)
{
    struct strbuf b = STRBUF_INIT;
    size_t i;
    json_t *v;

    json_array_foreach(strings, i, v)
        strbuf_addf(&b, "%s%s", i ? ", " : "", json_is_string(v) ? json_string_value(v) : "");
    return strbuf_take(&b);
}

static int status_parameterized(const struct job_status *s)
{
    const json_t *param = js_get(s->job, "ParameterizedJob");
    _cleanup_(freep) char *required = status_join(js_get(param, "MetaRequired"));
    _cleanup_(freep) char *optional = status_join(js_get(param, "MetaOptional"));
    _cleanup_(table_fini) struct table t = {0};

    ui_heading(s->cli, "Parameterized Job");
    table_row(&t, "Payload|%s", js_str(param, "Payload"));
    table_row(&t, "Required Metadata|%s", required);
    table_row(&t, "Optional Metadata|%s", optional);
    ui_table(s->cli, &t, TABLE_KV);
    return status_summary(s) < 0 ? -1 : status_children(s, true);
}

static void status_evals(const struct job_status *s, const json_t *evals)
{
    _cleanup_(table_fini) struct table t = {0};
    size_t i;
    json_t *e;

    table_row(&t, "ID|Priority|Triggered By|Status|Placement Failures");
    json_array_foreach(evals, i, e) table_row(
        &t, "%.*s|%lld|%s|%s|%s", (int)s->id_len, js_str(e, "ID"), (long long)js_int(e, "Priority"),
        js_str(e, "TriggeredBy"), js_str(e, "Status"), eval_failures(e));
    ui_heading(s->cli, "Evaluations");
    ui_table(s->cli, &t, TABLE_LIST);
}

/* Why the newest evaluation with failures could not place all, while one is blocked. */
static void status_failed_placements(const struct job_status *s, const json_t *evals)
{
    const json_t *failed = NULL, *groups;
    _cleanup_(freep) const char **names = NULL;
    bool blocked = false;
    size_t i, n;
    json_t *e;

    json_array_foreach(evals, i, e)
    {
        blocked = blocked || strcmp(js_str(e, "Status"), "blocked") == 0;
        if (json_object_size(js_get(e, "FailedTGAllocs")) > 0 &&
            (!failed || js_int(failed, "CreateIndex") < js_int(e, "CreateIndex")))
            failed = e;
    }
    if (!blocked || !failed)
        return;
    groups = js_get(failed, "FailedTGAllocs");
    names = js_keys(groups);
    n = json_object_size(groups);
    ui_heading(s->cli, "Placement Failure");
    for (i = 0; i < MIN(n, (size_t)STATUS_FAILED_GROUPS_MAX); i++) {
        _cleanup_(freep) char *group = text_quote(names[i]);
        _cleanup_(freep) char *why = alloc_metrics_text(js_get(groups, names[i]), "  ");

        ui_out(s->cli, "Task Group %s:\n%s%s", group, why, i + 1 < n ? "\n" : "");
    }
    if (n > STATUS_FAILED_GROUPS_MAX)
        ui_out(s->cli,
               "\nPlacement failures truncated. To see remainder run:\nsteppe eval-status %s",
               js_str(failed, "ID"));
}

/* The newest allocation of each task group -> the evaluation that will reschedule it. */
static json_t *status_followups(const json_t *allocs)
{
    _cleanup_(json_decrefp) json_t *newest = json_object();
    json_t *followups = json_object(), *a;
    const char *group;
    size_t i;

    json_array_foreach(allocs, i, a)
    {
        const json_t *other = js_get(newest, js_str(a, "TaskGroup"));

        if (!other || js_int(a, "ModifyTime") > js_int(other, "ModifyTime"))
            json_object_set(newest, js_str(a, "TaskGroup"), a);
    }
    json_object_foreach(newest, group, a)
    {
        if (*js_str(a, "FollowupEvalID"))
            json_object_set(followups, group, js_get(a, "FollowupEvalID"));
    }
    return followups;
}

static void status_rescheduling(const struct job_status *s, const json_t *allocs)
{
    _cleanup_(json_decrefp) json_t *followups = status_followups(allocs);
    _cleanup_(freep) const char **groups = js_keys(followups);
    _cleanup_(table_fini) struct table t = {0};
    struct wall_ns now = clock_wall();

    table_row(&t, "Task Group|Eval ID|Eval Time");
    for (size_t i = 0; groups[i]; i++) {
        const char *id = js_str(followups, groups[i]);
        _cleanup_(freep) char *path = xasprintf("/v1/evaluation/%s", id);
        _cleanup_(json_decrefp) json_t *eval = NULL;
        _cleanup_(freep) char *when = NULL;
        struct wall_ns until;

        /* When it will be tried again is extra: a failure to find out is not said. */
        if (client_call(&s->cli->client, "GET", path, NULL, &eval, NULL) < 0 ||
            !text_time_parse(js_str(eval, "WaitUntil"), &until) || now.ns > until.ns)
            continue;
        when = text_ago(until, now);
        table_row(&t, "%s|%.*s|%s", groups[i], (int)s->id_len, id, when);
    }
    if (t.n < 2)
        return;
    ui_heading(s->cli, "Future Rescheduling Attempts");
    ui_table(s->cli, &t, TABLE_LIST);
}

static void status_deployment(const struct job_status *s, const json_t *d)
{
    _cleanup_(table_fini) struct table t = {0};

    ui_heading(s->cli, "Latest Deployment");
    table_row(&t, "ID|%.*s", (int)s->id_len, js_str(d, "ID"));
    table_row(&t, "Status|%s", js_str(d, "Status"));
    table_row(&t, "Description|%s", js_str(d, "StatusDescription"));
    ui_table(s->cli, &t, TABLE_KV);
    if (json_object_size(js_get(d, "TaskGroups")) > 0) {
        _cleanup_(freep) char *groups = deployment_groups_text(d);

        ui_heading(s->cli, "Deployed");
        ui_out(s->cli, "%s", groups);
    }
}

static int status_plain_job(const struct job_status *s)
{
    _cleanup_(json_decrefp) json_t *allocs = NULL, *evals = NULL, *deployment = NULL;
    _cleanup_(freep) char *list = NULL;

    if (status_get(s, "/allocations", "job allocations", &allocs) < 0 ||
        status_get(s, "/evaluations", "job evaluations", &evals) < 0 ||
        status_get(s, "/deployment", "latest job deployment", &deployment) < 0 ||
        status_summary(s) < 0)
        return -1;
    js_sort(allocs, alloc_newer);
    js_sort(evals, alloc_newer);
    if (s->verbose || s->evals)
        status_evals(s, evals);
    status_failed_placements(s, evals);
    status_rescheduling(s, allocs);
    if (json_is_object(deployment))
        status_deployment(s, deployment);
    ui_heading(s->cli, "Allocations");
    list = alloc_list_text(allocs, s->verbose, s->id_len, true);
    ui_out(s->cli, "%s", list);
    return 0;
}

static int status_parts(const struct job_status *s)
{
    if (jobdoc_is_parameterized(s->job))
        return status_parameterized(s);
    if (!jobdoc_is_periodic(s->job))
        return status_plain_job(s);
    return status_summary(s) < 0 ? -1 : status_children(s, false);
}

int cmd_job_status(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *stub = NULL, *job = NULL;
    _cleanup_(freep) char *path = NULL;
    struct job_status s = {.cli = cli};

    if (cli->argc > 1)
        return ui_usage(cli, "This command takes either no arguments or one: <job>");
    if (!cli_client(cli))
        return 1;
    if (cli->argc == 0)
        return status_list(cli);
    stub = job_lookup(cli, cli->argv[0], "Error querying job");
    if (!stub)
        return 1;
    path = job_path(js_str(stub, "ID"), "");
    if (client_call(&cli->client, "GET", path, NULL, &job, "namespace", job_stub_namespace(stub),
                    NULL) < 0) {
        ui_error(cli, "Error querying job: %s", cli_error(cli));
        return 1;
    }
    if (cli_wants_data(cli))
        return cli_print_data(cli, job);
    status_header(cli, job);
    if (flags_bool(&cli->flags, "short"))
        return 0;
    s.job = job;
    s.id = js_str(job, "ID");
    s.namespace = *js_str(job, "Namespace") ? js_str(job, "Namespace") : NULL;
    s.verbose = flags_bool(&cli->flags, "verbose");
    s.evals = flags_bool(&cli->flags, "evals");
    s.all_allocs = flags_bool(&cli->flags, "all-allocs");
    s.id_len = s.verbose ? TEXT_ID_FULL : TEXT_ID_SHORT;
    return status_parts(&s) < 0 ? 1 : 0;
}
