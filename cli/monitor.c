/* SPDX-License-Identifier: MPL-2.0 */
/* The monitor of evaluations. */
#include "monitor.h"

#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "commands.h"
#include "text.h"

#define MONITOR_INTERVAL_MS 1000
#define MONITOR_CHAIN_MAX   1000 /* evaluations that follow each other */
#define MONITOR_WAIT_MAX_MS (24 * 3600 * 1000)

struct monitor {
    struct cli *cli;
    size_t id_len;
    json_t *eval;   /* owned: as it was seen last, NULL at first */
    json_t *allocs; /* owned: allocation id -> client status */
    bool unplaced;
};

/* An identifier, cut and quoted. malloc'ed. */
static char *monitor_id(const struct monitor *m, const char *id)
{
    _cleanup_(freep) char *cut = text_limit(id, m->id_len);

    return text_quote(cut);
}

static void monitor_pause(int64_t ms)
{
    fflush(NULL);
    (void)poll(NULL, 0, (int)MIN(MAX(ms, 0), MONITOR_WAIT_MAX_MS));
}

static const char *monitor_status(const struct monitor *m)
{
    return m->eval ? js_str(m->eval, "Status") : "pending";
}

/* What triggered it; said once, when it first becomes known. */
static void monitor_show_trigger(const struct monitor *m, const json_t *eval)
{
    _cleanup_(freep) char *node = monitor_id(m, js_str(eval, "NodeID"));
    _cleanup_(freep) char *job = text_quote(js_str(eval, "JobID"));
    _cleanup_(freep) char *deployment = monitor_id(m, js_str(eval, "DeploymentID"));

    if (!*js_str(m->eval, "NodeID") && *js_str(eval, "NodeID"))
        ui_out(m->cli, "    Evaluation triggered by node %s", node);
    if (!*js_str(m->eval, "JobID") && *js_str(eval, "JobID"))
        ui_out(m->cli, "    Evaluation triggered by job %s", job);
    if (!*js_str(m->eval, "DeploymentID") && *js_str(eval, "DeploymentID"))
        ui_out(m->cli, "    Evaluation within deployment: %s", deployment);
}

static void monitor_show_alloc(struct monitor *m, const json_t *eval, const json_t *a)
{
    _cleanup_(freep) char *id = monitor_id(m, js_str(a, "ID"));
    _cleanup_(freep) char *node = monitor_id(m, js_str(a, "NodeID"));
    _cleanup_(freep) char *now = text_quote(js_str(a, "ClientStatus"));
    _cleanup_(freep) char *before = text_quote(js_str(m->allocs, js_str(a, "ID")));
    const char *group = js_str(a, "TaskGroup"), *why = js_str(a, "ClientDescription");
    bool known = js_get(m->allocs, js_str(a, "ID")) != NULL;

    if (known && strcmp(before, now) != 0)
        ui_out(m->cli, "    Allocation %s status changed: %s -> %s%s%s%s", id, before, now,
               *why ? " (" : "", why, *why ? ")" : "");
    else if (!known && js_int(a, "CreateIndex") < js_int(eval, "CreateIndex"))
        ui_out(m->cli, "    Allocation %s modified: node %s, group \"%s\"", id, node, group);
    else if (!known && strcmp(js_str(a, "DesiredStatus"), "run") == 0)
        ui_out(m->cli, "    Allocation %s created: node %s, group \"%s\"", id, node, group);
}

/* Says what changed since the last look, and remembers this one. */
static void monitor_update(struct monitor *m, json_t *eval, const json_t *allocs)
{
    const char *status = js_str(eval, "Status");
    json_t *seen = json_object(), *a;
    size_t i;

    monitor_show_trigger(m, eval);
    json_array_foreach(allocs, i, a)
    {
        monitor_show_alloc(m, eval, a);
        json_object_set(seen, js_str(a, "ID"), js_get(a, "ClientStatus"));
    }
    if (strcmp(status, "pending") != 0 && strcmp(status, monitor_status(m)) != 0)
        ui_out(m->cli, "    Evaluation status changed: \"%s\" -> \"%s\"", monitor_status(m),
               status);
    json_decref(m->allocs);
    m->allocs = seen;
    json_decref(m->eval);
    m->eval = json_incref(eval);
}

static void monitor_show_unplaced(struct monitor *m, const json_t *groups)
{
    _cleanup_(freep) const char **names = js_keys(groups);

    for (size_t i = 0; names[i]; i++) {
        const json_t *metrics = js_get(groups, names[i]);
        _cleanup_(freep) char *why = alloc_metrics_text(metrics, "  ");
        _cleanup_(freep) char *name = text_quote(names[i]);
        long long more = (long long)js_int(metrics, "CoalescedFailures");

        ui_out(m->cli, "    Task Group %s (failed to place %lld allocation%s):", name, more + 1,
               more > 0 ? "s" : "");
        for (char *line = why, *end; line; line = end) {
            end = strchr(line, '\n');
            if (end)
                *end++ = '\0';
            ui_out(m->cli, "    %s", line);
        }
    }
}

static void monitor_show_end(struct monitor *m)
{
    const json_t *groups = js_get(m->eval, "FailedTGAllocs");
    _cleanup_(freep) char *id = monitor_id(m, js_str(m->eval, "ID"));
    _cleanup_(freep) char *blocked = monitor_id(m, js_str(m->eval, "BlockedEval"));
    bool unplaced = json_object_size(groups) > 0;

    ui_out(m->cli, "==> Evaluation %s finished with status \"%s\"%s", id, monitor_status(m),
           unplaced ? " but failed to place all allocations:" : "");
    if (!unplaced)
        return;
    m->unplaced = true;
    monitor_show_unplaced(m, groups);
    if (*js_str(m->eval, "BlockedEval"))
        ui_out(m->cli, "    Evaluation %s waiting for additional capacity to place remainder",
               blocked);
}

/* One look; negative after saying what failed. */
static int monitor_look(struct monitor *m, const char *eval_id)
{
    _cleanup_(freep) char *path = xasprintf("/v1/evaluation/%s", eval_id);
    _cleanup_(json_decrefp) json_t *eval = NULL, *allocs = NULL;
    _cleanup_(freep) char *quoted = text_quote(eval_id), *id = NULL, *allocs_path = NULL;

    if (client_call(&m->cli->client, "GET", path, NULL, &eval, NULL) < 0) {
        ui_error(m->cli, "==> No evaluation with id %s found", quoted);
        return -1;
    }
    id = monitor_id(m, js_str(eval, "ID"));
    allocs_path = xasprintf("/v1/evaluation/%s/allocations", js_str(eval, "ID"));
    ui_out(m->cli, "==> Monitoring evaluation %s", id);
    if (client_call(&m->cli->client, "GET", allocs_path, NULL, &allocs, NULL) < 0) {
        ui_error(m->cli, "==> Error reading allocations: %s", cli_error(m->cli));
        return -1;
    }
    js_sort(allocs, alloc_newer);
    monitor_update(m, eval, allocs);
    return 0;
}

static bool monitor_ended(const struct monitor *m)
{
    static const char *const ends[] = {"complete", "failed", "canceled"};

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        if (strcmp(monitor_status(m), ends[i]) == 0)
            return true;
    }
    return false;
}

static void monitor_reset(struct monitor *m)
{
    json_decref(m->eval);
    json_decref(m->allocs);
    m->eval = NULL;
    m->allocs = json_object();
}

/* The evaluation after this one, after waiting for its time. NULL: none. malloc'ed. */
static char *monitor_next(struct monitor *m)
{
    _cleanup_(freep) char *id = monitor_id(m, js_str(m->eval, "NextEval"));
    int64_t wait = js_int(m->eval, "Wait");

    if (!*js_str(m->eval, "NextEval"))
        return NULL;
    if (wait != 0) {
        char text[DURATION_TEXT_MAX];

        ui_out(m->cli, "==> Monitoring next evaluation %s in %s", id, duration_format(wait, text));
        monitor_pause(wait / NS_PER_MS);
    }
    return xstrdup(js_str(m->eval, "NextEval"));
}

int monitor_eval(struct cli *cli, const char *eval_id, size_t id_len)
{
    struct monitor m = {.cli = cli, .id_len = id_len};
    char *id = xstrdup(eval_id);
    int r = 0;

    for (size_t n = 0; id && r == 0 && n < MONITOR_CHAIN_MAX; n++) {
        char *next = NULL;

        monitor_reset(&m);
        for (r = monitor_look(&m, id); r == 0 && !monitor_ended(&m); r = monitor_look(&m, id))
            monitor_pause(MONITOR_INTERVAL_MS);
        if (r == 0) {
            monitor_show_end(&m);
            next = monitor_next(&m);
        }
        free(id);
        id = next;
    }
    free(id);
    json_decref(m.eval);
    json_decref(m.allocs);
    return r < 0 ? MONITOR_ERROR : m.unplaced ? MONITOR_UNPLACED : MONITOR_DONE;
}
