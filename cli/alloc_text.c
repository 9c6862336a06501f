/* SPDX-License-Identifier: MPL-2.0 */
/* Tables of allocations, evaluations and deployments. */
#include <string.h>

#include "base/strbuf.h"
#include "commands.h"
#include "text.h"

bool alloc_newer(const json_t *a, const json_t *b)
{
    return js_int(a, "CreateIndex") > js_int(b, "CreateIndex");
}

static char *alloc_time(const json_t *alloc, const char *key, bool verbose)
{
    struct wall_ns t = {js_int(alloc, key)};

    return verbose ? text_time(t) : text_ago(t, clock_wall());
}

char *alloc_list_text(const json_t *allocs, bool verbose, size_t id_len, bool stubs)
{
    _cleanup_(table_fini) struct table t = {0};
    int len = (int)id_len;
    size_t i;
    json_t *a;

    if (json_array_size(allocs) == 0)
        return xstrdup("No allocations placed");
    table_row(&t, "ID|%sNode ID|%sTask Group|Version|Desired|Status|Created|Modified",
              verbose ? "Eval ID|" : "", verbose && stubs ? "Node Name|" : "");
    json_array_foreach(allocs, i, a)
    {
        _cleanup_(freep) char *created = alloc_time(a, "CreateTime", verbose);
        _cleanup_(freep) char *modified = alloc_time(a, "ModifyTime", verbose);
        json_int_t version = stubs ? js_int(a, "JobVersion") : js_int(js_get(a, "Job"), "Version");

        table_row(&t, "%.*s%s%.*s|%.*s%s%s|%s|%lld|%s|%s|%s|%s", len, js_str(a, "ID"),
                  verbose ? "|" : "", verbose ? len : 0, js_str(a, "EvalID"), len,
                  js_str(a, "NodeID"), verbose && stubs ? "|" : "",
                  verbose && stubs ? js_str(a, "NodeName") : "", js_str(a, "TaskGroup"),
                  (long long)version, js_str(a, "DesiredStatus"), js_str(a, "ClientStatus"),
                  created, modified);
    }
    return table_text(&t, TABLE_LIST);
}

const char *eval_failures(const json_t *eval)
{
    if (strcmp(js_str(eval, "Status"), "blocked") == 0)
        return "N/A - In Progress";
    return json_object_size(js_get(eval, "FailedTGAllocs")) > 0 ? "true" : "false";
}

/* A line for each member of a map from name to a number of nodes. */
static void metrics_add_filtered(struct strbuf *b, const json_t *map, const char *prefix,
                                 const char *what)
{
    _cleanup_(freep) const char **keys = js_keys(map);

    for (size_t i = 0; keys[i]; i++) {
        _cleanup_(freep) char *name = text_quote(keys[i]);

        strbuf_addf(b, "%s* %s %s: %lld nodes excluded by filter\n", prefix, what, name,
                    (long long)js_int(map, keys[i]));
    }
}

static void metrics_add_exhausted(struct strbuf *b, const json_t *map, const char *prefix,
                                  const char *what)
{
    _cleanup_(freep) const char **keys = js_keys(map);

    for (size_t i = 0; keys[i]; i++) {
        _cleanup_(freep) char *name = text_quote(keys[i]);

        strbuf_addf(b, "%s* %s %s exhausted on %lld nodes\n", prefix, what, name,
                    (long long)js_int(map, keys[i]));
    }
}

char *alloc_metrics_text(const json_t *metrics, const char *prefix)
{
    const json_t *available = js_get(metrics, "NodesAvailable");
    _cleanup_(freep) const char **dcs = js_keys(available);
    struct strbuf b = STRBUF_INIT;
    size_t i;
    json_t *dim;

    if (js_int(metrics, "NodesEvaluated") == 0)
        strbuf_addf(&b, "%s* No nodes were eligible for evaluation\n", prefix);
    for (i = 0; dcs[i]; i++) {
        _cleanup_(freep) char *dc = text_quote(dcs[i]);

        if (js_int(available, dcs[i]) == 0)
            strbuf_addf(&b, "%s* No nodes are available in datacenter %s\n", prefix, dc);
    }
    metrics_add_filtered(&b, js_get(metrics, "ClassFiltered"), prefix, "Class");
    metrics_add_filtered(&b, js_get(metrics, "ConstraintFiltered"), prefix, "Constraint");
    if (js_int(metrics, "NodesExhausted") > 0)
        strbuf_addf(&b, "%s* Resources exhausted on %lld nodes\n", prefix,
                    (long long)js_int(metrics, "NodesExhausted"));
    metrics_add_exhausted(&b, js_get(metrics, "ClassExhausted"), prefix, "Class");
    metrics_add_exhausted(&b, js_get(metrics, "DimensionExhausted"), prefix, "Dimension");
    json_array_foreach(js_get(metrics, "QuotaExhausted"), i, dim)
    {
        _cleanup_(freep) char *name =
            text_quote(json_string_value(dim) ? json_string_value(dim) : "");

        strbuf_addf(&b, "%s* Quota limit hit %s\n", prefix, name);
    }
    if (b.len > 0)
        b.data[--b.len] = '\0';
    return strbuf_take(&b);
}

/* Which of the columns that not every deployment has are needed. */
struct deployment_columns {
    bool auto_revert, canaries, deadline;
};

static struct deployment_columns deployment_columns(const json_t *groups)
{
    struct deployment_columns c = {0};
    const char *name;
    json_t *g;

    json_object_foreach((json_t *)groups, name, g)
    {
        c.auto_revert = c.auto_revert || js_bool(g, "AutoRevert");
        c.canaries = c.canaries || js_int(g, "DesiredCanaries") > 0;
        c.deadline = c.deadline || js_int(g, "ProgressDeadline") != 0;
    }
    return c;
}

static void deployment_add_row(struct table *t, const char *name, const json_t *g,
                               struct deployment_columns c)
{
    struct strbuf b = STRBUF_INIT;

    strbuf_addf(&b, "%s|", name);
    if (c.auto_revert)
        strbuf_addf(&b, "%s|", js_bool(g, "AutoRevert") ? "true" : "false");
    if (c.canaries)
        strbuf_addf(&b, "%s|",
                    js_int(g, "DesiredCanaries") == 0 ? "N/A"
                    : js_bool(g, "Promoted")          ? "true"
                                                      : "false");
    strbuf_addf(&b, "%lld|", (long long)js_int(g, "DesiredTotal"));
    if (c.canaries)
        strbuf_addf(&b, "%lld|", (long long)js_int(g, "DesiredCanaries"));
    strbuf_addf(&b, "%lld|%lld|%lld", (long long)js_int(g, "PlacedAllocs"),
                (long long)js_int(g, "HealthyAllocs"), (long long)js_int(g, "UnhealthyAllocs"));
    if (c.deadline) {
        const char *by = js_str(g, "RequireProgressBy");
        _cleanup_(freep) char *text = text_time_rfc3339(by);

        strbuf_addf(&b, "|%s", *by ? text : "N/A");
    }
    table_row(t, "%s", b.data);
    strbuf_fini(&b);
}

char *deployment_groups_text(const json_t *deployment)
{
    const json_t *groups = js_get(deployment, "TaskGroups");
    struct deployment_columns c = deployment_columns(groups);
    _cleanup_(freep) const char **names = js_keys(groups);
    _cleanup_(table_fini) struct table t = {0};

    table_row(&t, "Task Group|%s%sDesired|%sPlaced|Healthy|Unhealthy%s",
              c.auto_revert ? "Auto Revert|" : "", c.canaries ? "Promoted|" : "",
              c.canaries ? "Canaries|" : "", c.deadline ? "|Progress Deadline" : "");
    for (size_t i = 0; names[i]; i++)
        deployment_add_row(&t, names[i], js_get(groups, names[i]), c);
    return table_text(&t, TABLE_LIST);
}
