/* SPDX-License-Identifier: MPL-2.0 */
/* job stop, inspect, history. */
#include <errno.h>
#include <string.h>

#include "base/strbuf.h"
#include "commands.h"
#include "monitor.h"
#include "text.h"

/* Whether to go on; if not, *ret_code is the exit code. */
static bool stop_confirmed(struct cli *cli, const char *question, int *ret_code)
{
    _cleanup_(freep) char *answer = ui_ask(cli, question);

    *ret_code = 0;
    if (!answer) {
        ui_error(cli, "Failed to parse answer: EOF");
        *ret_code = 1;
    } else if (!*answer || *answer == 'n' || *answer == 'N') {
        ui_out(cli, "Cancelling job stop");
    } else if (strcmp(answer, "y") == 0) {
        return true;
    } else if ((*answer == 'y' || *answer == 'Y') && answer[1]) {
        ui_out(cli, "For confirmation, an exact ‘y’ is required.");
    } else {
        ui_out(cli, "No confirmation detected. For confirmation, an exact 'y' is required.");
        *ret_code = 1;
    }
    return false;
}

/* Asks when the job was named by a prefix, and when it runs in other regions, too. */
static bool stop_questions(struct cli *cli, const json_t *job, int *ret_code)
{
    _cleanup_(freep) char *id = text_quote(js_str(job, "ID"));
    _cleanup_(freep) char *by_prefix = xasprintf("Are you sure you want to stop job %s? [y/N]", id);
    _cleanup_(freep) char *one_region = xasprintf(
        "Are you sure you want to stop multi-region job %s in a single region? [y/N]", id);

    if (strcmp(cli->argv[0], js_str(job, "ID")) != 0 && !flags_bool(&cli->flags, "yes") &&
        !stop_confirmed(cli, by_prefix, ret_code))
        return false;
    return !jobdoc_is_multiregion(job) || flags_bool(&cli->flags, "global") ||
           stop_confirmed(cli, one_region, ret_code);
}

int cmd_job_stop(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *stub = NULL, *job = NULL, *reply = NULL;
    _cleanup_(freep) char *path = NULL;
    const char *ns;
    int code;

    if (cli->argc != 1)
        return ui_usage(cli, "This command takes one argument: <job>");
    if (!cli_client(cli))
        return 1;
    stub = job_lookup(cli, cli->argv[0], "Error deregistering job");
    if (!stub)
        return 1;
    ns = job_stub_namespace(stub);
    path = job_path(js_str(stub, "ID"), "");
    if (client_call(&cli->client, "GET", path, NULL, &job, "namespace", ns, NULL) < 0) {
        ui_error(cli, "Error deregistering job: %s", cli_error(cli));
        return 1;
    }
    if (!stop_questions(cli, job, &code))
        return code;
    if (client_call(&cli->client, "DELETE", path, NULL, &reply, "namespace", ns, "purge",
                    flags_bool(&cli->flags, "purge") ? "true" : "false", "global",
                    flags_bool(&cli->flags, "global") ? "true" : "false", NULL) < 0) {
        ui_error(cli, "Error deregistering job: %s", cli_error(cli));
        return 1;
    }
    if (!*js_str(reply, "EvalID"))
        return 0; /* periodic and parameterized jobs have none */
    if (!flags_bool(&cli->flags, "detach"))
        return monitor_eval(cli, js_str(reply, "EvalID"),
                            flags_bool(&cli->flags, "verbose") ? TEXT_ID_FULL : TEXT_ID_SHORT);
    ui_out(cli, "%s", js_str(reply, "EvalID"));
    return 0;
}

int cmd_job_eval(struct cli *cli)
{
    bool force = flags_bool(&cli->flags, "force-reschedule");
    size_t len = flags_bool(&cli->flags, "verbose") ? TEXT_ID_FULL : TEXT_ID_SHORT;
    _cleanup_(json_decrefp) json_t *reply = NULL, *body = NULL;
    _cleanup_(freep) char *path = NULL, *id = NULL, *quoted = NULL;

    if (cli->argc != 1)
        return ui_usage(cli, "This command takes one argument: <job>");
    if (!cli_client(cli))
        return 1;
    path = job_path(cli->argv[0], "/evaluate");
    body = json_pack("{s:s, s:{s:b}, s:s, s:s, s:s}", "JobID", cli->argv[0], "EvalOptions",
                     "ForceReschedule", force, "Region", "", "Namespace", "", "SecretID", "");
    if (client_call(&cli->client, "PUT", path, body, &reply, NULL) < 0) {
        ui_error(cli, "Error evaluating job: %s", cli_error(cli));
        return 1;
    }
    if (!flags_bool(&cli->flags, "detach"))
        return monitor_eval(cli, js_str(reply, "EvalID"), len);
    id = text_limit(js_str(reply, "EvalID"), len);
    quoted = text_quote(id);
    ui_out(cli, "Created eval ID: %s ", quoted);
    return 0;
}

/* -version: 0 (and *ret_given) or -EINVAL after saying why. */
static int job_parse_version(struct cli *cli, bool *ret_given, json_int_t *ret)
{
    const char *text = flags_str(&cli->flags, "version");
    char *end;

    *ret_given = *text != '\0';
    if (!*text)
        return 0;
    errno = 0;
    *ret = strtoll(text, &end, 10);
    if (strspn(text, "0123456789") != strlen(text) || errno) {
        _cleanup_(freep) char *quoted = text_quote(text);

        ui_error(cli, "Error parsing version value %s: strconv.ParseUint: parsing %s: %s", quoted,
                 quoted, errno == ERANGE ? "value out of range" : "invalid syntax");
        return -EINVAL;
    }
    return 0;
}

/* The index of a version in a list of jobs, or the size of the list. */
static size_t job_find_version(const json_t *versions, json_int_t version)
{
    size_t i;
    json_t *v;

    json_array_foreach(versions, i, v)
    {
        if (js_int(v, "Version") == version)
            return i;
    }
    return json_array_size(versions);
}

/* The job as it is, or as it was at a version; a new reference, NULL after saying why not. */
static json_t *inspect_get(struct cli *cli, const json_t *stub, bool given, json_int_t version)
{
    const char *id = js_str(stub, "ID"), *ns = job_stub_namespace(stub);
    _cleanup_(freep) char *path = job_path(id, given ? "/versions" : "");
    _cleanup_(json_decrefp) json_t *reply = NULL;
    _cleanup_(freep) char *quoted = text_quote(id);
    json_t *versions, *job;

    if (client_call(&cli->client, "GET", path, NULL, &reply, "namespace", ns, "diffs",
                    given ? "false" : NULL, NULL) < 0) {
        ui_error(cli, "Error inspecting job: %s", cli_error(cli));
        return NULL;
    }
    if (!given)
        return TAKE_PTR(reply);
    versions = js_get(reply, "Versions");
    job = json_array_get(versions, job_find_version(versions, version));
    if (!job)
        ui_error(cli, "Error inspecting job: job %s with version %lld couldn't be found", quoted,
                 (long long)version);
    return json_incref(job);
}

static int inspect_list(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *stubs = NULL;

    if (client_call(&cli->client, "GET", "/v1/jobs", NULL, &stubs, NULL) < 0) {
        ui_error(cli, "Error querying jobs: %s", cli_error(cli));
        return 1;
    }
    return cli_print_data(cli, stubs);
}

int cmd_job_inspect(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *stub = NULL, *job = NULL, *wrapped = NULL;
    _cleanup_(freep) char *text = NULL;
    json_int_t version = 0;
    bool given;

    if (!cli_client(cli))
        return 1;
    if (cli->argc == 0 && cli_wants_data(cli))
        return inspect_list(cli);
    if (cli->argc != 1)
        return ui_usage(cli, "This command takes one argument: <job>");
    stub = job_lookup(cli, cli->argv[0], "Error inspecting job");
    if (!stub || job_parse_version(cli, &given, &version) < 0)
        return 1;
    job = inspect_get(cli, stub, given, version);
    if (!job)
        return 1;
    api_view(&job, API_JOB);
    if (cli_wants_data(cli))
        return cli_print_data(cli, job);
    wrapped = json_object();
    json_object_set(wrapped, "Job", job);
    text = js_text_sorted(wrapped, JS_INDENT);
    ui_out(cli, "%s", text);
    return 0;
}

static void history_print(struct cli *cli, const json_t *job, const json_t *diff)
{
    _cleanup_(table_fini) struct table t = {0};
    _cleanup_(freep) char *submitted = text_time((struct wall_ns){js_int(job, "SubmitTime")});
    _cleanup_(freep) char *text = NULL;

    table_row(&t, "Version|%lld", (long long)js_int(job, "Version"));
    table_row(&t, "Stable|%s", js_bool(job, "Stable") ? "true" : "false");
    table_row(&t, "Submit Date|%s", submitted);
    if (diff) {
        _cleanup_(freep) char *lines = job_diff_text(diff, false);

        table_row(&t, "Diff|\n%s", lines);
    }
    if (flags_bool(&cli->flags, "full")) {
        _cleanup_(freep) char *json = js_text_sorted(job, JS_INDENT);

        table_row(&t, "Full|JSON Job:\n%s", json);
    }
    text = table_text(&t, TABLE_KV_RAW);
    ui_markup(cli, text);
}

static int history_one(struct cli *cli, json_t *versions, json_t *diffs, json_int_t version)
{
    size_t i = job_find_version(versions, version);
    json_t *job = json_array_get(versions, i);

    if (cli_wants_data(cli))
        return cli_print_data(cli, job ? job : json_null());
    if (!job) {
        ui_error(cli, "Error printing job history for non-existing job or job version");
        return 1;
    }
    history_print(cli, job, json_array_get(diffs, i));
    return 0;
}

static int history_all(struct cli *cli, json_t *versions, json_t *diffs)
{
    size_t n = json_array_size(versions), n_diffs = json_array_size(diffs);

    if (cli_wants_data(cli))
        return cli_print_data(cli, versions);
    if (n_diffs != 0 && n != n_diffs + 1) {
        ui_error(cli, "Number of job versions %zu doesn't match number of diffs %zu", n, n_diffs);
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        history_print(cli, json_array_get(versions, i), json_array_get(diffs, i));
        if (i + 1 < n)
            ui_out(cli, "%s", "");
    }
    return 0;
}

int cmd_job_history(struct cli *cli)
{
    bool diff = flags_bool(&cli->flags, "p"), given;
    _cleanup_(json_decrefp) json_t *stub = NULL, *reply = NULL;
    _cleanup_(freep) char *path = NULL;
    json_int_t version = 0;

    if (cli->argc < 1 || cli->argc > 2)
        return ui_usage(cli, "This command takes one argument: <job>");
    if (cli_wants_data(cli) && (diff || flags_bool(&cli->flags, "full"))) {
        ui_error(cli, "-json and -t are exclusive with -p and -full");
        return 1;
    }
    if (!cli_client(cli))
        return 1;
    stub = job_lookup(cli, cli->argv[0], "Error listing jobs");
    if (!stub)
        return 1;
    path = job_path(js_str(stub, "ID"), "/versions");
    if (client_call(&cli->client, "GET", path, NULL, &reply, "namespace", job_stub_namespace(stub),
                    "diffs", diff ? "true" : "false", NULL) < 0) {
        ui_error(cli, "Error retrieving job versions: %s", cli_error(cli));
        return 1;
    }
    if (job_parse_version(cli, &given, &version) < 0)
        return 1;
    api_views(js_get(reply, "Versions"), API_JOB);
    return given ? history_one(cli, js_get(reply, "Versions"), js_get(reply, "Diffs"), version)
                 : history_all(cli, js_get(reply, "Versions"), js_get(reply, "Diffs"));
}
