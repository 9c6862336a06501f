/* SPDX-License-Identifier: MPL-2.0 */
/* status: whatever an identifier means; and eval status. */
#include <ctype.h>
#include <string.h>

#include "base/strbuf.h"
#include "commands.h"
#include "monitor.h"
#include "text.h"

/* Names of the search's contexts and the commands that show them. */
static const struct {
    const char *context, *command;
} status_routes[] = {
    {"allocs", "alloc status"}, {"deployment", "deployment status"},
    {"evals", "eval status"},   {"nodes", "node status"},
    {"jobs", "job status"},
};

static void status_ambiguous(struct cli *cli, const char *id, const json_t *matches)
{
    _cleanup_(freep) const char **contexts = js_keys(matches);
    _cleanup_(freep) char *quoted = text_quote(id);

    ui_error(cli, "Multiple matches found for id %s", quoted);
    for (size_t i = 0; contexts[i]; i++) {
        const json_t *ids = js_get(matches, contexts[i]);
        struct strbuf b = STRBUF_INIT;
        size_t k;
        json_t *v;

        if (json_array_size(ids) == 0)
            continue;
        json_array_foreach(ids, k, v)
            strbuf_addf(&b, "%s%s", k ? ", " : "", json_is_string(v) ? json_string_value(v) : "");
        ui_error(cli, "\n%c%s:\n%s", toupper((unsigned char)contexts[i][0]), contexts[i] + 1,
                 b.data);
        strbuf_fini(&b);
    }
}

/*
 * The context that id is meant in: the one with an exact match, else the only one with a match.
 * "" when there is none; NULL when it is ambiguous.
 */
static const char *status_context(const json_t *matches, const char *id)
{
    const char *context, *exact = "", *single = "";
    size_t n_exact = 0, n_single = 0;
    bool several = false;
    json_t *ids;

    json_object_foreach((json_t *)matches, context, ids)
    {
        const char *first = json_string_value(json_array_get(ids, 0));
        size_t n = json_array_size(ids);

        if (first && strcmp(first, id) == 0) {
            exact = context;
            n_exact++;
        }
        if (n == 1) {
            single = context;
            n_single++;
        }
        several = several || n > 1;
    }
    if (n_exact > 0)
        return n_exact == 1 ? exact : NULL;
    return n_single > 1 || several ? NULL : single;
}

/* The body of a search as Nomad's client sends it. */
static json_t *status_search_body(const char *id)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:i, s:i, s:n, s:s, s:i, s:s}", "Prefix", id,
                     "Context", "all", "Region", "", "Namespace", "", "AllowStale", 0, "WaitIndex",
                     0, "WaitTime", 0, "Params", "AuthToken", "", "PerPage", 0, "NextToken", "");
}

int cmd_status(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *body = NULL, *reply = NULL;
    _cleanup_(freep) char *quoted = NULL;
    const char *id, *context;

    if (!cli_client(cli))
        return 1;
    if (cli->argc == 0)
        return cli_run(cli, "job status", cli->raw_argc, cli->raw_argv);
    id = cli->argv[cli->argc - 1];
    quoted = text_quote(id);
    body = status_search_body(id);
    if (!body) {
        ui_error(cli, "Unable to resolve ID: %s", quoted);
        return 1;
    }
    if (client_call(&cli->client, "PUT", "/v1/search", body, &reply, NULL) < 0) {
        _cleanup_(freep) char *error = text_quote(cli_error(cli));

        ui_error(cli, "Error querying search with id: %s", error);
        return 1;
    }
    if (!js_some(reply, "Matches")) {
        ui_error(cli, "No matches returned for query: %s", quoted);
        return 1;
    }
    context = status_context(js_get(reply, "Matches"), id);
    if (!context) {
        status_ambiguous(cli, id, js_get(reply, "Matches"));
        return 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(status_routes); i++) {
        if (strcmp(context, status_routes[i].context) == 0)
            return cli_run(cli, status_routes[i].command, cli->raw_argc, cli->raw_argv);
    }
    ui_error(cli, "Unable to resolve ID: %s", quoted);
    return 1;
}

static void eval_print(struct cli *cli, const json_t *e, bool verbose)
{
    static const struct {
        const char *trigger, *noun, *field;
    } triggers[] = {
        {"job-register", "Job ID", "JobID"},
        {"job-deregister", "Job ID", "JobID"},
        {"periodic-job", "Job ID", "JobID"},
        {"rolling-update", "Job ID", "JobID"},
        {"deployment-watcher", "Job ID", "JobID"},
        {"node-update", "Node ID", "NodeID"},
        {"max-plan-attempts", "Previous Eval", "PreviousEval"},
    };
    struct wall_ns now = clock_wall(), made = {js_int(e, "CreateTime")},
                   changed = {js_int(e, "ModifyTime")};
    _cleanup_(freep) char *made_text = verbose ? text_time(made) : text_ago(made, now);
    _cleanup_(freep) char *changed_text = verbose ? text_time(changed) : text_ago(changed, now);
    _cleanup_(freep) char *until = text_time_rfc3339(js_str(e, "WaitUntil"));
    const char *status = js_str(e, "Status"), *desc = js_str(e, "StatusDescription");
    _cleanup_(table_fini) struct table t = {0};

    table_row(&t, "ID|%.*s", verbose ? TEXT_ID_FULL : TEXT_ID_SHORT, js_str(e, "ID"));
    table_row(&t, "Create Time|%s", made_text);
    table_row(&t, "Modify Time|%s", changed_text);
    table_row(&t, "Status|%s", status);
    table_row(&t, "Status Description|%s", *desc ? desc : status);
    table_row(&t, "Type|%s", js_str(e, "Type"));
    table_row(&t, "TriggeredBy|%s", js_str(e, "TriggeredBy"));
    for (size_t i = 0; i < ARRAY_LEN(triggers); i++) {
        if (strcmp(js_str(e, "TriggeredBy"), triggers[i].trigger) == 0 &&
            *js_str(e, triggers[i].field))
            table_row(&t, "%s|%s", triggers[i].noun, js_str(e, triggers[i].field));
    }
    table_row(&t, "Priority|%lld", (long long)js_int(e, "Priority"));
    table_row(&t, "Placement Failures|%s", eval_failures(e));
    if (*until)
        table_row(&t, "Wait Until|%s", until);
    if (verbose) {
        table_row(&t, "Previous Eval|%s", js_str(e, "PreviousEval"));
        table_row(&t, "Next Eval|%s", js_str(e, "NextEval"));
        table_row(&t, "Blocked Eval|%s", js_str(e, "BlockedEval"));
    }
    ui_table(cli, &t, TABLE_KV);
}

static void eval_print_failures(struct cli *cli, const json_t *e, bool verbose)
{
    const json_t *groups = js_get(e, "FailedTGAllocs");
    _cleanup_(freep) const char **names = js_keys(groups);

    if (!names[0])
        return;
    ui_heading(cli, "Failed Placements");
    for (size_t i = 0; names[i]; i++) {
        const json_t *metrics = js_get(groups, names[i]);
        _cleanup_(freep) char *name = text_quote(names[i]);
        _cleanup_(freep) char *why = alloc_metrics_text(metrics, "  ");
        long long more = (long long)js_int(metrics, "CoalescedFailures");

        ui_out(cli, "Task Group %s (failed to place %lld allocation%s):\n%s\n", name, more + 1,
               more > 0 ? "s" : "", why);
    }
    if (*js_str(e, "BlockedEval")) {
        _cleanup_(freep) char *id =
            text_limit(js_str(e, "BlockedEval"), verbose ? TEXT_ID_FULL : TEXT_ID_SHORT);
        _cleanup_(freep) char *quoted = text_quote(id);

        ui_out(cli, "Evaluation %s waiting for additional capacity to place remainder", quoted);
    }
}

static char *eval_list_text(const json_t *evals, bool verbose)
{
    _cleanup_(table_fini) struct table t = {0};
    size_t i;
    json_t *e;

    table_row(&t, "ID|Priority|Triggered By|Status|Placement Failures");
    json_array_foreach(evals, i, e)
        table_row(&t, "%.*s|%lld|%s|%s|%s", verbose ? TEXT_ID_FULL : TEXT_ID_SHORT, js_str(e, "ID"),
                  (long long)js_int(e, "Priority"), js_str(e, "TriggeredBy"), js_str(e, "Status"),
                  eval_failures(e));
    return table_text(&t, TABLE_LIST);
}

/* The id of the evaluation that the prefix means (new string), or NULL after saying why not. */
static char *eval_lookup(struct cli *cli, const char *id, bool verbose)
{
    _cleanup_(freep) char *prefix = text_uuid_prefix(id);
    _cleanup_(json_decrefp) json_t *evals = NULL;

    if (client_call(&cli->client, "GET", "/v1/evaluations", NULL, &evals, "prefix", prefix, NULL) <
        0) {
        ui_error(cli, "Error querying evaluation: %s", cli_error(cli));
        return NULL;
    }
    if (json_array_size(evals) == 0) {
        _cleanup_(freep) char *quoted = text_quote(prefix);

        ui_error(cli, "No evaluation(s) with prefix or id %s found", quoted);
        return NULL;
    }
    if (json_array_size(evals) > 1) {
        _cleanup_(freep) char *list = NULL;

        js_sort(evals, alloc_newer);
        list = eval_list_text(evals, verbose);
        ui_error(cli, "Prefix matched multiple evaluations\n\n%s", list);
        return NULL;
    }
    return xstrdup(js_str(json_array_get(evals, 0), "ID"));
}

int cmd_eval_status(struct cli *cli)
{
    bool verbose = flags_bool(&cli->flags, "verbose");
    _cleanup_(json_decrefp) json_t *eval = NULL;
    _cleanup_(freep) char *id = NULL, *path = NULL;

    if (!cli_client(cli))
        return 1;
    if (cli->argc == 0 && cli_wants_data(cli)) {
        if (client_call(&cli->client, "GET", "/v1/evaluations", NULL, &eval, NULL) < 0) {
            ui_error(cli, "Error querying evaluations: %s", cli_error(cli));
            return 1;
        }
        js_sort(eval, alloc_newer);
        api_views(eval, API_EVAL);
        return cli_print_data(cli, eval);
    }
    if (cli->argc != 1)
        return ui_usage(cli, "This command takes one argument");
    if (strlen(cli->argv[0]) == 1) {
        ui_error(cli, "Identifier must contain at least two characters.");
        return 1;
    }
    id = eval_lookup(cli, cli->argv[0], verbose);
    if (!id)
        return 1;
    if (flags_bool(&cli->flags, "monitor"))
        return monitor_eval(cli, id, verbose ? TEXT_ID_FULL : TEXT_ID_SHORT);
    path = xasprintf("/v1/evaluation/%s", id);
    if (client_call(&cli->client, "GET", path, NULL, &eval, NULL) < 0) {
        ui_error(cli, "Error querying evaluation: %s", cli_error(cli));
        return 1;
    }
    if (cli_wants_data(cli)) {
        api_view(&eval, API_EVAL);
        return cli_print_data(cli, eval);
    }
    eval_print(cli, eval, verbose);
    eval_print_failures(cli, eval, verbose);
    return 0;
}
