/* SPDX-License-Identifier: MPL-2.0 */
/* deployment list, deployment status, job deployments. */
#include <string.h>

#include "base/strbuf.h"
#include "commands.h"
#include "text.h"

static size_t id_len(const struct cli *cli)
{
    return flags_bool(&cli->flags, "verbose") ? TEXT_ID_FULL : TEXT_ID_SHORT;
}

static char *list_text(const struct cli *cli, const json_t *deployments)
{
    _cleanup_(table_fini) struct table t = {0};
    size_t i;
    json_t *d;

    if (json_array_size(deployments) == 0)
        return xstrdup("No deployments found");
    table_row(&t, "ID|Job ID|Job Version|Status|Description");
    json_array_foreach(deployments, i, d) table_row(
        &t, "%.*s|%s|%lld|%s|%s", (int)id_len(cli), js_str(d, "ID"), js_str(d, "JobID"),
        (long long)js_int(d, "JobVersion"), js_str(d, "Status"), js_str(d, "StatusDescription"));
    return table_text(&t, TABLE_LIST);
}

static int print_list(struct cli *cli, const json_t *deployments)
{
    _cleanup_(freep) char *text = NULL;

    if (cli_wants_data(cli))
        return cli_print_data(cli, deployments);
    text = list_text(cli, deployments);
    ui_out(cli, "%s", text);
    return 0;
}

static int print_one(struct cli *cli, const json_t *d)
{
    _cleanup_(table_fini) struct table t = {0};

    if (cli_wants_data(cli))
        return cli_print_data(cli, d);
    table_row(&t, "ID|%.*s", (int)id_len(cli), js_str(d, "ID"));
    table_row(&t, "Job ID|%s", js_str(d, "JobID"));
    table_row(&t, "Job Version|%lld", (long long)js_int(d, "JobVersion"));
    table_row(&t, "Status|%s", js_str(d, "Status"));
    table_row(&t, "Description|%s", js_str(d, "StatusDescription"));
    ui_table(cli, &t, TABLE_KV);
    if (json_object_size(js_get(d, "TaskGroups")) > 0) {
        _cleanup_(freep) char *groups = deployment_groups_text(d);

        ui_heading(cli, "Deployed");
        ui_out(cli, "%s", groups);
    }
    return 0;
}

static int list_all(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *deployments = NULL;

    if (client_call(&cli->client, "GET", "/v1/deployments", NULL, &deployments, NULL) < 0) {
        ui_error(cli, "Error retrieving deployments: %s", cli_error(cli));
        return 1;
    }
    return print_list(cli, deployments);
}

int cmd_deployment_list(struct cli *cli)
{
    if (cli->argc > 0)
        return ui_usage(cli, "This command takes no arguments");
    return cli_client(cli) ? list_all(cli) : 1;
}

/* The hex digits of an id without dashes, an even number of them. malloc'ed. */
static char *id_prefix(const char *id)
{
    struct strbuf b = STRBUF_INIT;

    strbuf_adds(&b, "");
    for (; *id; id++) {
        if (*id != '-')
            strbuf_addc(&b, *id);
    }
    if (b.len % 2 == 1)
        b.data[--b.len] = '\0';
    return strbuf_take(&b);
}

/* The one deployment that a whole id or its beginning means (new reference). NULL: said. */
static json_t *deployment_lookup(struct cli *cli, const char *id)
{
    bool whole = strlen(id) == TEXT_ID_FULL;
    _cleanup_(freep) char *prefix = id_prefix(id), *path = NULL, *quoted = text_quote(prefix);
    _cleanup_(json_decrefp) json_t *found = NULL;

    path = whole ? xasprintf("/v1/deployment/%s", id) : xstrdup("/v1/deployments");
    if (strlen(id) == 1) {
        ui_error(cli,
                 "Error retrieving deployment: Identifier must contain at least two characters.");
        return NULL;
    }
    if (client_call(&cli->client, "GET", path, NULL, &found, "prefix", whole ? NULL : prefix,
                    NULL) < 0) {
        ui_error(cli, "Error retrieving deployment: %s", cli_error(cli));
        return NULL;
    }
    if (whole)
        return TAKE_PTR(found);
    if (json_array_size(found) == 0) {
        ui_error(cli, "Error retrieving deployment: Deployment ID %s matched no deployments",
                 quoted);
        return NULL;
    }
    if (json_array_size(found) > 1) {
        _cleanup_(freep) char *list = list_text(cli, found);

        ui_error(cli, "Prefix matched multiple deployments\n\n%s", list);
        return NULL;
    }
    return json_incref(json_array_get(found, 0));
}

int cmd_deployment_status(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *deployment = NULL;

    if (cli->argc > 1)
        return ui_usage(cli, "This command takes one argument: <deployment id>");
    if (!cli_client(cli))
        return 1;
    if (cli->argc == 0)
        return list_all(cli);
    deployment = deployment_lookup(cli, cli->argv[0]);
    return deployment ? print_one(cli, deployment) : 1;
}

int cmd_job_deployments(struct cli *cli)
{
    bool latest = flags_bool(&cli->flags, "latest");
    _cleanup_(json_decrefp) json_t *stub = NULL, *reply = NULL;
    _cleanup_(freep) char *path = NULL;

    if (cli->argc != 1)
        return ui_usage(cli, "This command takes one argument: <job>");
    if (!cli_client(cli))
        return 1;
    stub = job_lookup(cli, cli->argv[0], "Error listing jobs");
    if (!stub)
        return 1;
    path = job_path(js_str(stub, "ID"), latest ? "/deployment" : "/deployments");
    if (client_call(&cli->client, "GET", path, NULL, &reply, "namespace", job_stub_namespace(stub),
                    "all",
                    latest                           ? NULL
                    : flags_bool(&cli->flags, "all") ? "true"
                                                     : "false",
                    NULL) < 0) {
        ui_error(cli, "Error retrieving deployments: %s", cli_error(cli));
        return 1;
    }
    if (!latest)
        return print_list(cli, reply);
    if (json_is_object(reply) || cli_wants_data(cli))
        return print_one(cli, reply);
    ui_out(cli, "No deployment found");
    return 0;
}
