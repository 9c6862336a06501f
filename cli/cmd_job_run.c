/* SPDX-License-Identifier: MPL-2.0 */
/* job run, job validate: what begins with a job file. */
#include <errno.h>
#include <string.h>

#include "commands.h"
#include "monitor.h"
#include "text.h"

#define ENFORCE_PREFIX "Enforcing job modify index"

/* The body that Nomad's client sends with a job. Takes a reference to job. */
static json_t *run_body(json_t *job)
{
    json_t *body = json_object();

    json_object_set(body, "Job", job);
    return body;
}

static void run_body_finish(json_t *body)
{
    static const char *const empty[] = {"Region", "Namespace", "SecretID"};

    for (size_t i = 0; i < ARRAY_LEN(empty); i++)
        json_object_set_new(body, empty[i], json_string(""));
}

/* -check-index: 0 and *ret_enforce says whether it was given; -EINVAL after saying why. */
static int run_check_index(struct cli *cli, json_t *body)
{
    const char *text = flags_str(&cli->flags, "check-index");
    unsigned long long index;
    char *end;

    if (!*text)
        return 0;
    errno = 0;
    index = strtoull(text, &end, 10);
    if (strspn(text, "0123456789") != strlen(text) || errno) {
        _cleanup_(freep) char *quoted = text_quote(text);

        ui_error(cli, "Error parsing check-index value %s: strconv.ParseUint: parsing %s: %s",
                 quoted, quoted, errno == ERANGE ? "value out of range" : "invalid syntax");
        return -EINVAL;
    }
    json_object_set_new(body, "EnforceIndex", json_true());
    if (index > 0)
        json_object_set_new(body, "JobModifyIndex", json_integer((json_int_t)index));
    return 0;
}

/* Tokens and namespaces of other systems go into the job from flags and environment. */
static void run_set_tokens(struct cli *cli, json_t *job)
{
    static const struct {
        const char *flag, *env, *field;
    } rows[] = {
        {"consul-token", "CONSUL_HTTP_TOKEN", "ConsulToken"},
        {"consul-namespace", NULL, "ConsulNamespace"},
        {"vault-token", "VAULT_TOKEN", "VaultToken"},
        {"vault-namespace", NULL, "VaultNamespace"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *value = flags_str(&cli->flags, rows[i].flag);

        if (!*value && rows[i].env)
            value = getenv(rows[i].env);
        if (value && *value)
            json_object_set_new(job, rows[i].field, json_string(value));
    }
}

/* The job's own region and namespace win over flags and environment. */
static void run_follow_job(struct cli *cli, const json_t *job)
{
    if (js_some(job, "Region"))
        cli->client.conf.region = js_str(job, "Region");
    if (js_some(job, "Namespace"))
        cli->client.conf.namespace = js_str(job, "Namespace");
}

/* A refused -check-index is said in the server's words alone. */
static int run_submit_error(struct cli *cli)
{
    const char *error = cli_error(cli), *start = strstr(error, "(" ENFORCE_PREFIX);
    const char *end = strrchr(error, ')');

    if (start && end && end > start) {
        ui_error(cli, "%.*s", (int)(end - start - 1), start + 1);
        ui_error(cli, "Job not updated");
    } else
        ui_error(cli, "Error submitting job: %s", error);
    return 1;
}

static int run_submit(struct cli *cli, json_t *job)
{
    _cleanup_(json_decrefp) json_t *body = run_body(job), *reply = NULL;

    if (run_check_index(cli, body) < 0)
        return 1;
    if (flags_bool(&cli->flags, "policy-override"))
        json_object_set_new(body, "PolicyOverride", json_true());
    if (flags_bool(&cli->flags, "preserve-counts"))
        json_object_set_new(body, "PreserveCounts", json_true());
    run_body_finish(body);
    if (client_call(&cli->client, "PUT", "/v1/jobs", body, &reply, NULL) < 0)
        return run_submit_error(cli);
    if (*js_str(reply, "Warnings")) {
        _cleanup_(freep) char *text =
            xasprintf("[bold][yellow]Job Warnings:\n%s[reset]\n", js_str(reply, "Warnings"));

        ui_markup(cli, text);
    }
    if (flags_bool(&cli->flags, "detach") || !*js_str(reply, "EvalID") ||
        jobdoc_is_multiregion(job)) {
        ui_out(cli, "Job registration successful");
        if (!jobdoc_is_parameterized(job) && !jobdoc_is_periodic(job))
            ui_out(cli, "Evaluation ID: %s", js_str(reply, "EvalID"));
        return 0;
    }
    return monitor_eval(cli, js_str(reply, "EvalID"),
                        flags_bool(&cli->flags, "verbose") ? TEXT_ID_FULL : TEXT_ID_SHORT);
}

int cmd_job_run(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *job = NULL;

    if (cli->argc != 1)
        return ui_usage(cli, "This command takes one argument: <path>");
    job = job_file_load(cli, cli->argv[0]);
    if (!job || !cli_client(cli))
        return 1;
    run_follow_job(cli, job);
    run_set_tokens(cli, job);
    if (flags_bool(&cli->flags, "output")) {
        _cleanup_(json_decrefp) json_t *body = run_body(job);
        _cleanup_(freep) char *text = js_text_html(body, JS_INDENT);

        ui_out(cli, "%s", text);
        return 0;
    }
    return run_submit(cli, job);
}

int cmd_job_validate(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *job = NULL, *body = NULL, *reply = NULL;

    if (cli->argc != 1)
        return ui_usage(cli, "This command takes one argument: <path>");
    job = job_file_load(cli, cli->argv[0]);
    if (!job || !cli_client(cli))
        return 1;
    if (js_some(job, "Region"))
        cli->client.conf.region = js_str(job, "Region");
    body = run_body(job);
    run_body_finish(body);
    /* Without an agent what can be said is said. */
    if (client_call(&cli->client, "PUT", "/v1/validate/job", body, &reply, NULL) < 0)
        reply = job_check_local(job);
    if (!reply) {
        ui_error(cli, "Error validating job: the result is no UTF-8");
        return 1;
    }
    if (!js_bool(reply, "DriverConfigValidated"))
        ui_markup(cli, "[bold][yellow]Driver configuration not validated since connection to Nomad "
                       "agent couldn't be established.[reset]\n");
    if (*js_str(reply, "Error")) {
        ui_error(cli, "Job validation errors:\n%s", js_str(reply, "Error"));
        return 1;
    }
    if (*js_str(reply, "Warnings")) {
        _cleanup_(freep) char *text =
            xasprintf("[bold][yellow]Job Warnings:\n%s[reset]\n", js_str(reply, "Warnings"));

        ui_markup(cli, text);
    }
    ui_markup(cli, "[bold][green]Job validation successful[reset]");
    return 0;
}
