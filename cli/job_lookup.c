/* SPDX-License-Identifier: MPL-2.0 */
/* Jobs by prefix, and the few words that several commands say about a job. */
#include <ctype.h>
#include <string.h>

#include "commands.h"
#include "text.h"

char *job_path(const char *id, const char *suffix)
{
    _cleanup_(freep) char *escaped = client_escape_path(id);

    return xasprintf("/v1/job/%s%s", escaped, suffix);
}

bool jobdoc_is_periodic(const json_t *job)
{
    return js_some(job, "Periodic") != NULL;
}

bool jobdoc_is_parameterized(const json_t *job)
{
    return js_some(job, "ParameterizedJob") != NULL && !js_bool(job, "Dispatched");
}

bool jobdoc_is_multiregion(const json_t *job)
{
    return json_array_size(js_get(js_get(job, "Multiregion"), "Regions")) > 0;
}

const char *job_stub_namespace(const json_t *stub)
{
    const char *ns = js_str(js_get(stub, "JobSummary"), "Namespace");

    return *ns ? ns : NULL;
}

char *job_status_text(const json_t *job)
{
    return xasprintf("%s%s", js_str(job, "Status"), js_bool(job, "Stop") ? " (stopped)" : "");
}

char *job_list_text(const json_t *stubs, bool with_namespace)
{
    _cleanup_(table_fini) struct table t = {0};
    size_t i;
    json_t *stub;

    table_row(&t, "ID|%sType|Priority|Status|Submit Date", with_namespace ? "Namespace|" : "");
    json_array_foreach(stubs, i, stub)
    {
        _cleanup_(freep) char *status = job_status_text(stub);
        _cleanup_(freep) char *submitted = text_time((struct wall_ns){js_int(stub, "SubmitTime")});
        const char *ns = js_str(js_get(stub, "JobSummary"), "Namespace");

        table_row(&t, "%s|%s%s%s%s%s|%lld|%s|%s", js_str(stub, "ID"), with_namespace ? ns : "",
                  with_namespace ? "|" : "", js_str(stub, "Type"),
                  js_bool(stub, "Periodic") ? "/periodic" : "",
                  js_bool(stub, "ParameterizedJob") ? "/parameterized" : "",
                  (long long)js_int(stub, "Priority"), status, submitted);
    }
    return table_text(&t, TABLE_LIST);
}

static bool job_id_less(const json_t *a, const json_t *b)
{
    return strcmp(js_str(a, "ID"), js_str(b, "ID")) < 0;
}

void job_stubs_sort(json_t *stubs)
{
    js_sort(stubs, job_id_less);
}

/* As Go's strings.TrimSpace(id) == other. */
static bool job_id_equal(const char *id, const char *other)
{
    size_t len;

    while (isspace((unsigned char)*id))
        id++;
    len = strlen(id);
    while (len > 0 && isspace((unsigned char)id[len - 1]))
        len--;
    return strlen(other) == len && memcmp(id, other, len) == 0;
}

json_t *job_lookup(struct cli *cli, const char *id, const char *what)
{
    _cleanup_(json_decrefp) json_t *stubs = NULL;
    bool all = cli_all_namespaces(cli);
    size_t n;

    if (client_call(&cli->client, "GET", "/v1/jobs", NULL, &stubs, "prefix", *id ? id : NULL,
                    NULL) < 0) {
        ui_error(cli, "%s: %s", what, cli_error(cli));
        return NULL;
    }
    n = json_array_size(stubs);
    if (n == 0) {
        _cleanup_(freep) char *quoted = text_quote(id);

        ui_error(cli, "No job(s) with prefix or id %s found", quoted);
        return NULL;
    }
    job_stubs_sort(stubs);
    if (n > 1 && (all || !job_id_equal(id, js_str(json_array_get(stubs, 0), "ID")))) {
        _cleanup_(freep) char *list = job_list_text(stubs, all);

        ui_error(cli, "Prefix matched multiple jobs\n\n%s", list);
        return NULL;
    }
    return json_incref(json_array_get(stubs, 0));
}
