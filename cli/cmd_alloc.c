/* SPDX-License-Identifier: MPL-2.0 */
/* How an allocation is found; alloc stop, restart and signal. */
#include <string.h>

#include "alloc.h"
#include "base/strbuf.h"
#include "commands.h"
#include "monitor.h"
#include "text.h"

json_t *alloc_lookup(struct cli *cli, const char *id, const char *short_text, bool *ret_many)
{
    bool verbose = flags_bool(&cli->flags, "verbose");
    _cleanup_(freep) char *prefix = text_uuid_prefix(id), *path = NULL;
    _cleanup_(json_decrefp) json_t *stubs = NULL;
    const json_t *stub;
    json_t *alloc;

    if (strlen(id) == 1) {
        ui_error(cli, "%s must contain at least two characters.", short_text);
        return NULL;
    }
    if (client_call(&cli->client, "GET", "/v1/allocations", NULL, &stubs, "prefix",
                    *prefix ? prefix : NULL, NULL) < 0) {
        ui_error(cli, "Error querying allocation: %s", cli_error(cli));
        return NULL;
    }
    if (json_array_size(stubs) == 0) {
        _cleanup_(freep) char *quoted = text_quote(prefix);

        ui_error(cli, "No allocation(s) with prefix or id %s found", quoted);
        return NULL;
    }
    if (json_array_size(stubs) > 1) {
        _cleanup_(freep) char *list = NULL;

        js_sort(stubs, alloc_newer);
        list = alloc_list_text(stubs, verbose, verbose ? TEXT_ID_FULL : TEXT_ID_SHORT, true);
        if (ret_many)
            *ret_many = true;
        (ret_many ? ui_out : ui_error)(cli, "Prefix matched multiple allocations\n\n%s", list);
        return NULL;
    }
    stub = json_array_get(stubs, 0);
    path = xasprintf("/v1/allocation/%s", js_str(stub, "ID"));
    if (client_call(&cli->client, "GET", path, NULL, &alloc, "namespace",
                    *js_str(stub, "Namespace") ? js_str(stub, "Namespace") : NULL, NULL) < 0) {
        ui_error(cli, "Error querying allocation: %s", cli_error(cli));
        return NULL;
    }
    return alloc;
}

const json_t *alloc_group(const json_t *alloc)
{
    const json_t *g;
    size_t i;

    json_array_foreach(js_get(js_get(alloc, "Job"), "TaskGroups"), i, g)
    {
        if (strcmp(js_str(g, "Name"), js_str(alloc, "TaskGroup")) == 0)
            return g;
    }
    return NULL;
}

/* "  * NAME\n" for each task of the group. */
static void alloc_add_tasks(struct strbuf *b, const json_t *group)
{
    const json_t *t;
    size_t i;

    json_array_foreach(js_get(group, "Tasks"), i, t) strbuf_addf(b, "  * %s\n", js_str(t, "Name"));
}

char *alloc_task_missing(const json_t *alloc, const char *task)
{
    const json_t *group = alloc_group(alloc), *t;
    struct strbuf b = STRBUF_INIT;
    size_t i;

    if (!group)
        return xasprintf("Could not find allocation task group: %s", js_str(alloc, "TaskGroup"));
    json_array_foreach(js_get(group, "Tasks"), i, t)
    {
        if (strcmp(js_str(t, "Name"), task) == 0)
            return NULL;
    }
    strbuf_addf(&b, "Could not find task named: %s, found:", task);
    json_array_foreach(js_get(group, "Tasks"), i, t) strbuf_addf(&b, "\n%s", js_str(t, "Name"));
    return strbuf_take(&b);
}

const char *alloc_only_task(const json_t *alloc, char **ret_error)
{
    const json_t *group = alloc_group(alloc), *tasks = js_get(group, "Tasks");
    struct strbuf b = STRBUF_INIT;

    if (!group) {
        *ret_error =
            xasprintf("Could not find allocation task group: %s", js_str(alloc, "TaskGroup"));
        return NULL;
    }
    if (json_array_size(tasks) == 1)
        return js_str(json_array_get(tasks, 0), "Name");
    strbuf_addf(&b, "Allocation \"%.*s\" is running the following tasks:\n", TEXT_ID_SHORT,
                js_str(alloc, "ID"));
    alloc_add_tasks(&b, group);
    strbuf_add(&b, "\nPlease specify the task.", 25);
    *ret_error = strbuf_take(&b);
    return NULL;
}

/* ---- stop ---- */

int cmd_alloc_stop(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *alloc = NULL, *reply = NULL;
    _cleanup_(freep) char *path = NULL;
    bool verbose = flags_bool(&cli->flags, "verbose");

    if (cli->argc != 1)
        return ui_usage(cli, "This command takes one argument: <alloc-id>");
    if (!cli_client(cli))
        return 1;
    alloc = alloc_lookup(cli, cli->argv[0], "Alloc ID", NULL);
    if (!alloc)
        return 1;
    path = xasprintf("/v1/allocation/%s/stop", js_str(alloc, "ID"));
    if (client_call(&cli->client, "PUT", path, NULL, &reply, NULL) < 0) {
        ui_error(cli, "Error stopping allocation: %s", cli_error(cli));
        return 1;
    }
    if (flags_bool(&cli->flags, "detach")) {
        ui_out(cli, "%s", js_str(reply, "EvalID"));
        return 0;
    }
    return monitor_eval(cli, js_str(reply, "EvalID"), verbose ? TEXT_ID_FULL : TEXT_ID_SHORT);
}

/* ---- restart, signal ---- */

/* The allocation and the task ("" = all) that the arguments name; NULL after saying why not. */
static json_t *alloc_and_task(struct cli *cli, const char **ret_task)
{
    json_t *alloc = alloc_lookup(cli, cli->argv[0], "Alloc ID", NULL);
    _cleanup_(freep) char *missing = NULL;

    *ret_task = cli->argc == 2 ? cli->argv[1] : "";
    if (!alloc || cli->argc < 2)
        return alloc;
    missing = alloc_task_missing(alloc, *ret_task);
    if (!missing)
        return alloc;
    ui_error(cli, "%s", missing);
    json_decref(alloc);
    return NULL;
}

/* PUT /v1/client/allocation/ID/ACTION; the answer is of no interest. */
static int alloc_action(struct cli *cli, const json_t *alloc, const char *action, json_t *body)
{
    _cleanup_(freep) char *path =
        xasprintf("/v1/client/allocation/%s/%s", js_str(alloc, "ID"), action);
    int r = client_call(&cli->client, "PUT", path, body, NULL, NULL);

    json_decref(body);
    return r;
}

int cmd_alloc_restart(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *alloc = NULL;
    const char *task;

    if (cli->argc < 1 || cli->argc > 2)
        return ui_usage(cli, "This command takes one or two arguments: <alloc-id> <task-name>");
    if (!cli_client(cli))
        return 1;
    alloc = alloc_and_task(cli, &task);
    if (!alloc)
        return 1;
    if (alloc_action(cli, alloc, "restart", json_pack("{s:s}", "TaskName", task)) < 0) {
        ui_error(cli, "Failed to restart allocation:\n\n%s", cli_error(cli));
        return 1;
    }
    return 0;
}

int cmd_alloc_signal(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *alloc = NULL;
    const char *task, *sig;

    if (cli->argc < 1 || cli->argc > 2)
        return ui_usage(cli, "This command takes up to two arguments: <alloc-id> <task>");
    if (!cli_client(cli))
        return 1;
    alloc = alloc_and_task(cli, &task);
    if (!alloc)
        return 1;
    sig = flags_str(&cli->flags, "s");
    if (alloc_action(cli, alloc, "signal",
                     json_pack("{s:s, s:s}", "Signal", *sig ? sig : "SIGKILL", "Task", task)) < 0) {
        ui_error(cli, "Error signalling allocation: %s", cli_error(cli));
        return 1;
    }
    return 0;
}
