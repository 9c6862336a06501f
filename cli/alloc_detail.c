/* SPDX-License-Identifier: MPL-2.0 */
/* alloc status: one allocation with its tasks, their events and what they use. */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "base/strbuf.h"
#include "commands.h"
#include "text.h"

#define MIB (UINT64_C(1) << 20)

static char *alloc_time_text(const json_t *alloc, const char *key, bool verbose)
{
    struct wall_ns t = {js_int(alloc, key)};

    return verbose ? text_time(t) : text_ago(t, clock_wall());
}

/* ---- the head ---- */

static void alloc_add_deployment(struct table *t, const json_t *a, int id_len)
{
    const json_t *status = js_some(a, "DeploymentStatus"), *healthy = js_some(status, "Healthy");

    if (!*js_str(a, "DeploymentID"))
        return;
    table_row(t, "Deployment ID|%.*s", id_len, js_str(a, "DeploymentID"));
    table_row(t, "Deployment Health|%s",
              !healthy                ? "unset"
              : json_is_true(healthy) ? "healthy"
                                      : "unhealthy");
    if (js_bool(status, "Canary"))
        table_row(t, "Canary|true");
}

/* How many of the attempts that the policy allows were used within its interval. */
static void alloc_add_attempts(struct table *t, const json_t *a)
{
    const json_t *policy = js_some(alloc_group(a), "ReschedulePolicy"), *ev;
    const json_t *events = js_get(js_some(a, "RescheduleTracker"), "Events");
    json_int_t attempts = js_int(policy, "Attempts"), used = 0;
    size_t i;

    if (json_array_size(events) == 0 || attempts <= 0)
        return;
    json_array_foreach(events, i, ev) used +=
        js_int(a, "ModifyTime") - js_int(ev, "RescheduleTime") < js_int(policy, "Interval");
    table_row(t, "Reschedule Attempts|%lld/%lld", (long long)used, (long long)attempts);
}

/* When a follow-up evaluation will look at it again. */
static void alloc_add_followup(struct cli *cli, struct table *t, const json_t *a)
{
    _cleanup_(freep) char *path = xasprintf("/v1/evaluation/%s", js_str(a, "FollowupEvalID"));
    _cleanup_(json_decrefp) json_t *eval = NULL;
    struct wall_ns until, now = clock_wall();

    if (!*js_str(a, "FollowupEvalID") ||
        client_call(&cli->client, "GET", path, NULL, &eval, NULL) < 0 ||
        !text_time_parse(js_str(eval, "WaitUntil"), &until) || until.ns <= now.ns)
        return;
    {
        _cleanup_(freep) char *when = text_ago(until, now);

        table_row(t, "Reschedule Eligibility|%s", when);
    }
}

static void alloc_add_metrics(struct table *t, const json_t *m)
{
    char took[DURATION_TEXT_MAX];

    table_row(t, "Evaluated Nodes|%lld", (long long)js_int(m, "NodesEvaluated"));
    table_row(t, "Filtered Nodes|%lld", (long long)js_int(m, "NodesFiltered"));
    table_row(t, "Exhausted Nodes|%lld", (long long)js_int(m, "NodesExhausted"));
    table_row(t, "Allocation Time|%s", duration_format(js_int(m, "AllocationTime"), took));
    table_row(t, "Failures|%lld", (long long)js_int(m, "CoalescedFailures"));
}

static void alloc_print_head(struct cli *cli, const json_t *a, bool verbose)
{
    int len = verbose ? TEXT_ID_FULL : TEXT_ID_SHORT;
    _cleanup_(freep) char *created = alloc_time_text(a, "CreateTime", verbose);
    _cleanup_(freep) char *modified = alloc_time_text(a, "ModifyTime", verbose);
    _cleanup_(table_fini) struct table t = {0};

    table_row(&t, "ID|%s", js_str(a, "ID"));
    table_row(&t, "Eval ID|%.*s", len, js_str(a, "EvalID"));
    table_row(&t, "Name|%s", js_str(a, "Name"));
    table_row(&t, "Node ID|%.*s", len, js_str(a, "NodeID"));
    table_row(&t, "Node Name|%s", js_str(a, "NodeName"));
    table_row(&t, "Job ID|%s", js_str(a, "JobID"));
    table_row(&t, "Job Version|%lld", (long long)js_int(js_get(a, "Job"), "Version"));
    table_row(&t, "Client Status|%s", js_str(a, "ClientStatus"));
    table_row(&t, "Client Description|%s", js_str(a, "ClientDescription"));
    table_row(&t, "Desired Status|%s", js_str(a, "DesiredStatus"));
    table_row(&t, "Desired Description|%s", js_str(a, "DesiredDescription"));
    table_row(&t, "Created|%s", created);
    table_row(&t, "Modified|%s", modified);
    alloc_add_deployment(&t, a, len);
    alloc_add_attempts(&t, a);
    if (*js_str(a, "NextAllocation"))
        table_row(&t, "Replacement Alloc ID|%.*s", len, js_str(a, "NextAllocation"));
    alloc_add_followup(cli, &t, a);
    if (verbose)
        alloc_add_metrics(&t, js_get(a, "Metrics"));
    ui_table(cli, &t, TABLE_KV);
}

/* Ports of the group's network. */
static void alloc_print_addresses(struct cli *cli, const json_t *a)
{
    const json_t *shared = js_get(js_some(a, "AllocatedResources"), "Shared");
    const json_t *net = json_array_get(js_get(shared, "Networks"), 0), *p;
    const json_t *ports = js_get(shared, "Ports");
    bool mapped = json_array_size(ports) > 0;
    const json_t *lists[] = {mapped ? ports : js_get(net, "DynamicPorts"),
                             mapped ? NULL : js_get(net, "ReservedPorts")};
    _cleanup_(table_fini) struct table t = {0};
    _cleanup_(freep) char *mode = text_quote(js_str(net, "Mode")), *text = NULL;
    size_t i;

    if (json_array_size(js_get(net, "DynamicPorts")) +
            json_array_size(js_get(net, "ReservedPorts")) ==
        0)
        return;
    table_row(&t, "Label|Dynamic|Address");
    for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
        json_array_foreach(lists[k], i, p)
        {
            char to[32] = "";

            if (js_int(p, "To") > 0)
                (void)snprintf(to, sizeof(to), " -> %lld", (long long)js_int(p, "To"));
            table_row(&t, "%s%s|yes|%s:%lld%s", mapped ? "*" : "", js_str(p, "Label"),
                      mapped ? js_str(p, "HostIP") : js_str(net, "IP"),
                      (long long)js_int(p, "Value"), to);
        }
    }
    text = table_text(&t, TABLE_LIST);
    ui_out(cli, "\nAllocation Addresses%s%s%s\n%s", *js_str(net, "Mode") ? " (mode = " : "",
           *js_str(net, "Mode") ? mode : "", *js_str(net, "Mode") ? ")" : "", text);
}

/* ---- its tasks ---- */

static const json_t *alloc_task(const json_t *alloc, const char *name)
{
    const json_t *t;
    size_t i;

    json_array_foreach(js_get(alloc_group(alloc), "Tasks"), i, t)
    {
        if (strcmp(js_str(t, "Name"), name) == 0)
            return t;
    }
    return NULL;
}

/* "main", "prestart", "prestart sidecar". malloc'ed. */
static char *task_lifecycle_text(const json_t *task)
{
    const json_t *l = js_some(task, "Lifecycle");

    if (!l || !*js_str(l, "Hook"))
        return xstrdup("main");
    return xasprintf("%s%s", js_str(l, "Hook"), js_bool(l, "Sidecar") ? " sidecar" : "");
}

/* What runs before comes first: 0 = a hook, 1 = a hook's sidecar, 2 = main. */
static int task_rank(const json_t *alloc, const char *name)
{
    const json_t *l = js_some(alloc_task(alloc, name), "Lifecycle");

    return !l ? 2 : js_bool(l, "Sidecar");
}

/* Names of the tasks with a state, in the order in which they are shown. */
static const char **alloc_task_names(const json_t *alloc)
{
    const char **names = js_keys(js_get(alloc, "TaskStates"));

    for (size_t i = 1; names[0] && names[i]; i++) { /* by insertion: stable */
        const char *name = names[i];
        size_t k = i;

        for (; k > 0 && task_rank(alloc, names[k - 1]) > task_rank(alloc, name); k--)
            names[k] = names[k - 1];
        names[k] = name;
    }
    return names;
}

static char *task_when(const json_t *state, const char *key)
{
    struct wall_ns t;
    char *text = text_time_parse(js_str(state, key), &t) ? text_time(t) : xstrdup("");

    if (*text)
        return text;
    free(text);
    return xstrdup("N/A");
}

static void task_print_events(struct cli *cli, const json_t *state)
{
    _cleanup_(freep) char *started = task_when(state, "StartedAt");
    _cleanup_(freep) char *finished = task_when(state, "FinishedAt");
    _cleanup_(freep) char *last = task_when(state, "LastRestart");
    _cleanup_(table_fini) struct table head = {0}, list = {0};
    const json_t *events = js_get(state, "Events");

    table_row(&head, "Started At|%s", started);
    table_row(&head, "Finished At|%s", finished);
    table_row(&head, "Total Restarts|%lld", (long long)js_int(state, "Restarts"));
    table_row(&head, "Last Restart|%s", last);
    ui_out(cli, "Task Events:");
    ui_table(cli, &head, TABLE_KV);
    ui_out(cli, "\nRecent Events:");
    table_row(&list, "Time|Type|Description");
    for (size_t i = json_array_size(events); i-- > 0;) {
        const json_t *e = json_array_get(events, i);
        _cleanup_(freep) char *time = text_time((struct wall_ns){js_int(e, "Time")});

        table_row(&list, "%s|%s|%s", time, js_str(e, "Type"),
                  *js_str(e, "DisplayMessage") ? js_str(e, "DisplayMessage")
                                               : js_str(e, "Message"));
    }
    ui_table(cli, &list, TABLE_LIST);
}

static bool measured_has(const json_t *stats, const char *what)
{
    const json_t *m;
    size_t i;

    json_array_foreach(js_get(stats, "Measured"), i, m)
    {
        if (json_string_value(m) && strcmp(json_string_value(m), what) == 0)
            return true;
    }
    return false;
}

/* "LABEL: IP:PORT" of the n-th port of the task's own networks; "" when there are fewer. */
static char *task_address(const json_t *resources, size_t n)
{
    static const char *const lists[] = {"DynamicPorts", "ReservedPorts"};
    const json_t *net, *p;
    size_t i, k;

    json_array_foreach(js_get(resources, "Networks"), i, net)
    {
        for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
            json_array_foreach(js_get(net, lists[l]), k, p)
            {
                if (n-- == 0)
                    return xasprintf("%s: %s:%lld", js_str(p, "Label"), js_str(net, "IP"),
                                     (long long)js_int(p, "Value"));
            }
        }
    }
    return xstrdup("");
}

static void task_print_resources(struct cli *cli, const json_t *a, const char *task,
                                 const json_t *usage)
{
    const json_t *r = js_some(js_get(a, "TaskResources"), task);
    const json_t *cpu = js_some(usage, "CpuStats"), *mem = js_some(usage, "MemoryStats");
    json_int_t max = js_int(r, "MemoryMaxMB");
    uint64_t used = js_uint(mem, "RSS");
    _cleanup_(freep) char *want = text_bytes(js_uint(r, "MemoryMB") * MIB), *have = NULL;
    _cleanup_(freep) char *disk = text_bytes(js_uint(js_get(a, "Resources"), "DiskMB") * MIB);
    _cleanup_(freep) char *most = text_bytes((uint64_t)MAX(max, 0) * MIB);
    _cleanup_(freep) char *addr = task_address(r, 0), *ticks = NULL;
    _cleanup_(table_fini) struct table t = {0};

    if (!r)
        return;
    if (used == 0 && !measured_has(mem, "RSS"))
        used = js_uint(mem, "Usage");
    have = text_bytes(used);
    ticks = js_float(floor(js_num(cpu, "TotalTicks")));
    ui_out(cli, "Task Resources");
    if (js_int(r, "Cores") > 0)
        table_row(&t, "CPU (%lld cores)|Memory|Disk|Addresses", (long long)js_int(r, "Cores"));
    else
        table_row(&t, "CPU|Memory|Disk|Addresses");
    table_row(&t, "%s%s%lld MHz|%s%s%s|%s|%s", cpu ? ticks : "", cpu ? "/" : "",
              (long long)js_int(r, "CPU"), mem ? have : "", mem ? "/" : "", want, disk, addr);
    max = max != js_int(r, "MemoryMB") ? max : 0;
    for (size_t i = 1;; i++) {
        _cleanup_(freep) char *more = task_address(r, i);

        if (!*more && !(i == 1 && max > 0))
            break;
        table_row(&t, "|%s%s||%s", i == 1 && max > 0 ? "Max: " : "", i == 1 && max > 0 ? most : "",
                  more);
    }
    ui_table(cli, &t, TABLE_PLAIN);
}

/* A table of two rows: what was measured, and the figures. */
static void task_print_measured(struct cli *cli, const json_t *stats, const char *title,
                                char *(*figure)(const json_t *stats, const char *what))
{
    _cleanup_(json_decrefp) json_t *by_name = json_object();
    _cleanup_(freep) const char **names = NULL;
    struct strbuf head = STRBUF_INIT, row = STRBUF_INIT;
    _cleanup_(table_fini) struct table t = {0};
    const json_t *m;
    size_t i;

    json_array_foreach(js_get(stats, "Measured"), i, m)
        json_object_set_new(by_name, json_string_value(m) ? json_string_value(m) : "", json_null());
    names = js_keys(by_name);
    for (i = 0; names[i]; i++) {
        _cleanup_(freep) char *text = figure(stats, names[i]);

        strbuf_addf(&head, "%s%s", i ? "|" : "", names[i]);
        strbuf_addf(&row, "%s%s", i ? "|" : "", text);
    }
    if (i > 0) {
        ui_out(cli, "%s", title);
        table_row(&t, "%s", head.data);
        table_row(&t, "%s", row.data);
        ui_table(cli, &t, TABLE_LIST);
    }
    strbuf_fini(&head);
    strbuf_fini(&row);
}

static char *memory_figure(const json_t *stats, const char *what)
{
    char key[32];
    size_t n = 0;

    for (const char *p = what; *p && n < sizeof(key) - 1; p++) { /* "Max Usage" -> MaxUsage */
        if (*p != ' ')
            key[n++] = *p;
    }
    key[n] = 0;
    return text_bytes(js_uint(stats, key));
}

static char *cpu_figure(const json_t *stats, const char *what)
{
    static const struct {
        const char *name, *key;
        bool percent;
    } rows[] = {{"Percent", "Percent", true},
                {"Throttled Periods", "ThrottledPeriods", false},
                {"Throttled Time", "ThrottledTime", false},
                {"User Mode", "UserMode", true},
                {"System Mode", "SystemMode", true}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(what, rows[i].name) == 0)
            return rows[i].percent
                       ? xasprintf("%.2f%%", js_num(stats, rows[i].key))
                       : xasprintf("%llu", (unsigned long long)js_uint(stats, rows[i].key));
    }
    return xstrdup("");
}

static void alloc_print_task(struct cli *cli, const json_t *a, const char *name,
                             const json_t *stats)
{
    const json_t *state = js_get(js_get(a, "TaskStates"), name);
    const json_t *usage = js_some(js_some(js_get(stats, "Tasks"), name), "ResourceUsage");
    _cleanup_(freep) char *cycle = task_lifecycle_text(alloc_task(a, name));
    _cleanup_(freep) char *quoted = text_quote(name), *head = NULL;
    bool main = strcmp(cycle, "main") == 0;

    head = xasprintf("\n[bold]Task %s%s%s%s is \"%s\"[reset]", quoted, main ? "" : " (",
                     main ? "" : cycle, main ? "" : ")", js_str(state, "State"));
    ui_markup(cli, head);
    task_print_resources(cli, a, name, usage);
    if (usage && flags_bool(&cli->flags, "stats")) {
        ui_out(cli, "%s", "");
        task_print_measured(cli, js_some(usage, "MemoryStats"), "Memory Stats", memory_figure);
        ui_out(cli, "%s", "");
        task_print_measured(cli, js_some(usage, "CpuStats"), "CPU Stats", cpu_figure);
    }
    ui_out(cli, "%s", "");
    task_print_events(cli, state);
}

/* ---- -short ---- */

static void alloc_print_short(struct cli *cli, const json_t *a)
{
    _cleanup_(freep) char *created = alloc_time_text(a, "CreateTime", false);
    _cleanup_(freep) char *modified = alloc_time_text(a, "ModifyTime", false);
    _cleanup_(freep) const char **names = alloc_task_names(a);
    _cleanup_(table_fini) struct table head = {0}, tasks = {0};

    table_row(&head, "ID|%s", js_str(a, "ID"));
    table_row(&head, "Name|%s", js_str(a, "Name"));
    table_row(&head, "Created|%s", created);
    table_row(&head, "Modified|%s", modified);
    ui_table(cli, &head, TABLE_KV);
    ui_heading(cli, "Tasks");
    table_row(&tasks, "Name|State|Last Event|Time|Lifecycle");
    for (size_t i = 0; names[i]; i++) {
        const json_t *state = js_get(js_get(a, "TaskStates"), names[i]);
        const json_t *events = js_get(state, "Events");
        const json_t *last = json_array_get(events, MAX(json_array_size(events), 1u) - 1);
        _cleanup_(freep) char *when = text_time((struct wall_ns){js_int(last, "Time")});
        _cleanup_(freep) char *cycle = task_lifecycle_text(alloc_task(a, names[i]));

        table_row(&tasks, "%s|%s|%s|%s|%s", names[i], js_str(state, "State"), js_str(last, "Type"),
                  when, cycle);
    }
    ui_table(cli, &tasks, TABLE_LIST);
}

/* ---- the command ---- */

/* The best nodes and their scores. */
static void alloc_print_placement(struct cli *cli, const json_t *metrics)
{
    _cleanup_(freep) char *why = alloc_metrics_text(metrics, "  ");
    const json_t *rows = js_get(metrics, "ScoreMetaData"), *row;
    _cleanup_(freep) const char **names = js_keys(js_get(json_array_get(rows, 0), "Scores"));
    _cleanup_(table_fini) struct table t = {0};
    struct strbuf b = STRBUF_INIT;
    size_t i;

    ui_heading(cli, "Placement Metrics");
    if (*why)
        ui_out(cli, "%s", why);
    strbuf_add(&b, "Node|", 5);
    for (size_t k = 0; names[k]; k++)
        strbuf_addf(&b, "%s|", names[k]);
    table_row(&t, "%sfinal score", b.data);
    json_array_foreach(rows, i, row)
    {
        strbuf_reset(&b);
        strbuf_addf(&b, "%s|", js_str(row, "NodeID"));
        for (size_t k = 0; names[k]; k++)
            strbuf_addf(&b, "%.3g|", js_num(js_get(row, "Scores"), names[k]));
        table_row(&t, "%s%.3g", b.data, js_num(row, "NormScore"));
    }
    if (json_array_size(rows) > 0)
        ui_table(cli, &t, TABLE_LIST);
    else
        ui_out(cli, "%s", "");
    strbuf_fini(&b);
}

static void alloc_print(struct cli *cli, const json_t *a)
{
    bool verbose = flags_bool(&cli->flags, "verbose");
    _cleanup_(freep) char *path = xasprintf("/v1/client/allocation/%s/stats", js_str(a, "ID"));
    _cleanup_(freep) const char **names = alloc_task_names(a);
    _cleanup_(json_decrefp) json_t *stats = NULL;

    alloc_print_head(cli, a, verbose);
    alloc_print_addresses(cli, a);
    if (client_call(&cli->client, "GET", path, NULL, &stats, NULL) < 0) {
        ui_out(cli, "%s", "");
        ui_error(cli, "Couldn't retrieve stats: %s", cli_error(cli));
    }
    for (size_t i = 0; names[i]; i++)
        alloc_print_task(cli, a, names[i], stats);
    if (verbose)
        alloc_print_placement(cli, js_get(a, "Metrics"));
}

int cmd_alloc_status(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *data = NULL;
    bool many = false;

    if (!cli_client(cli))
        return 1;
    if (cli->argc == 0 && cli_wants_data(cli)) {
        if (client_call(&cli->client, "GET", "/v1/allocations", NULL, &data, NULL) < 0) {
            ui_error(cli, "Error querying allocations: %s", cli_error(cli));
            return 1;
        }
        js_sort(data, alloc_newer);
        return cli_print_data(cli, data);
    }
    if (cli->argc != 1) {
        ui_error(cli, "This command takes one of the following argument conditions:");
        ui_error(cli, " * A single <allocation>");
        return ui_usage(cli, " * No arguments, with output format specified");
    }
    data = alloc_lookup(cli, cli->argv[0], "Identifier", &many);
    if (!data)
        return !many; /* Nomad's list of several is no error */
    if (cli_wants_data(cli)) {
        api_view(&data, API_ALLOC);
        return cli_print_data(cli, data);
    }
    if (flags_bool(&cli->flags, "short"))
        alloc_print_short(cli, data);
    else
        alloc_print(cli, data);
    return 0;
}
