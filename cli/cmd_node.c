/* SPDX-License-Identifier: MPL-2.0 */
/* node status (the list), node eligibility, node config, and how a node is found. */
#include <string.h>

#include "commands.h"
#include "node_detail.h"
#include "text.h"

/* The id of the agent's own node (new string); says why not and gives NULL. */
static char *node_self_id(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *self = NULL;
    const json_t *stats;

    if (client_call(&cli->client, "GET", "/v1/agent/self", NULL, &self, NULL) < 0) {
        ui_error(cli, "Error querying agent info: failed querying self endpoint: %s",
                 cli_error(cli));
        return NULL;
    }
    stats = js_some(js_get(self, "stats"), "client");
    if (!stats) {
        ui_error(cli, "Nomad not running in client mode");
        return NULL;
    }
    if (!js_some(stats, "node_id")) {
        ui_error(cli, "Failed to determine node ID");
        return NULL;
    }
    return xstrdup(js_str(stats, "node_id"));
}

/* Nodes that begin with the prefix, as `Prefix matched multiple nodes` shows them. */
static char *node_stubs_text(const json_t *nodes, bool verbose)
{
    _cleanup_(table_fini) struct table t = {0};
    size_t i;
    json_t *n;

    table_row(&t, "ID|DC|Name|Class|Drain|Eligibility|Status");
    json_array_foreach(nodes, i, n)
        table_row(&t, "%.*s|%s|%s|%s|%s|%s|%s", verbose ? TEXT_ID_FULL : TEXT_ID_SHORT,
                  js_str(n, "ID"), js_str(n, "Datacenter"), js_str(n, "Name"),
                  js_str(n, "NodeClass"), js_bool(n, "Drain") ? "true" : "false",
                  js_str(n, "SchedulingEligibility"), js_str(n, "Status"));
    return table_text(&t, TABLE_LIST);
}

/* What the texts of a failed look-up say. */
struct node_words {
    const char *failed, *with;
};

/* The node that the prefix means (new reference), or NULL after saying why not. */
static json_t *node_lookup(struct cli *cli, const char *id, struct node_words words, bool verbose)
{
    _cleanup_(freep) char *prefix = text_uuid_prefix(id), *path = NULL;
    _cleanup_(json_decrefp) json_t *nodes = NULL;
    json_t *node;

    if (strlen(id) == 1) {
        ui_error(cli, "Identifier must contain at least two characters.");
        return NULL;
    }
    if (client_call(&cli->client, "GET", "/v1/nodes", NULL, &nodes, "prefix",
                    *prefix ? prefix : NULL, NULL) < 0) {
        ui_error(cli, "%s: %s", words.failed, cli_error(cli));
        return NULL;
    }
    if (json_array_size(nodes) == 0) {
        _cleanup_(freep) char *quoted = text_quote(prefix);

        ui_error(cli, "No node(s) with %s %s found", words.with, quoted);
        return NULL;
    }
    if (json_array_size(nodes) > 1) {
        _cleanup_(freep) char *list = NULL;

        js_sort(nodes, alloc_newer);
        list = node_stubs_text(nodes, verbose);
        ui_error(cli, "Prefix matched multiple nodes\n\n%s", list);
        return NULL;
    }
    path = xasprintf("/v1/node/%s", js_str(json_array_get(nodes, 0), "ID"));
    if (client_call(&cli->client, "GET", path, NULL, &node, NULL) < 0) {
        ui_error(cli, "%s: %s", words.failed, cli_error(cli));
        return NULL;
    }
    return node;
}

static int config_update(struct cli *cli)
{
    _cleanup_(client_params_fini) struct client_params params = {0};

    if (cli->argc > CLIENT_ADDRESSES_MAX) {
        ui_error(cli, "At most %d addresses can be given at a time", CLIENT_ADDRESSES_MAX);
        return 1;
    }
    client_default_params(&cli->client, &params);
    for (int i = 0; i < cli->argc; i++)
        client_params_add(&params, "address", cli->argv[i]);
    if (client_call_params(&cli->client, "PUT", "/v1/agent/servers", NULL, &params, NULL) < 0) {
        ui_error(cli, "Error updating server list: %s", cli_error(cli));
        return 1;
    }
    ui_out(cli, "Updated server list");
    return 0;
}

static int config_list(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *servers = NULL;
    size_t i;
    json_t *v;

    if (client_call(&cli->client, "GET", "/v1/agent/servers", NULL, &servers, NULL) < 0) {
        ui_error(cli, "Error querying server list: %s", cli_error(cli));
        return 1;
    }
    if (cli_wants_data(cli))
        return cli_print_data(cli, servers);
    json_array_foreach(servers, i, v)
        ui_out(cli, "%s", json_is_string(v) ? json_string_value(v) : "");
    return 0;
}

int cmd_node_config(struct cli *cli)
{
    bool update = flags_bool(&cli->flags, "update-servers");

    if (!update && !flags_bool(&cli->flags, "servers"))
        return ui_usage(cli, "The '-servers' or '-update-servers' flag(s) must be set");
    if (update && cli->argc < 1)
        return ui_usage(cli, "If the '-update-servers' flag is set, at least one server argument "
                             "must be provided");
    if (!cli_client(cli))
        return 1;
    return update ? config_update(cli) : config_list(cli);
}

int cmd_node_eligibility(struct cli *cli)
{
    bool enable = flags_bool(&cli->flags, "enable"), self = flags_bool(&cli->flags, "self");
    const struct node_words words = {"Error updating scheduling eligibility", "prefix or id"};
    _cleanup_(json_decrefp) json_t *node = NULL, *body = NULL, *reply = NULL;
    _cleanup_(freep) char *id = NULL, *path = NULL;
    const char *word = enable ? "eligible" : "ineligible";

    if (enable == flags_bool(&cli->flags, "disable"))
        return ui_usage(cli, "Either the '-enable' or '-disable' flag must be set");
    if (cli->argc != (self ? 0 : 1))
        return ui_usage(cli, "Node ID must be specified if -self isn't being used");
    if (!cli_client(cli))
        return 1;
    id = self ? node_self_id(cli) : xstrdup(cli->argv[0]);
    if (!id)
        return 1;
    node = node_lookup(cli, id, words, true);
    if (!node)
        return 1;
    path = xasprintf("/v1/node/%s/eligibility", js_str(node, "ID"));
    body = json_pack("{s:s, s:s}", "NodeID", js_str(node, "ID"), "Eligibility", word);
    if (client_call(&cli->client, "PUT", path, body, &reply, NULL) < 0) {
        ui_error(cli, "%s: %s", words.failed, cli_error(cli));
        return 1;
    }
    ui_out(cli, "Node \"%s\" scheduling eligibility set: %s for scheduling", js_str(node, "ID"),
           word);
    return 0;
}

/* The number of running allocations of a node; negative after saying why not. */
static long long node_count_running(struct cli *cli, const char *id)
{
    _cleanup_(freep) char *path = xasprintf("/v1/node/%s/allocations", id);
    _cleanup_(json_decrefp) json_t *allocs = NULL;
    long long running = 0;
    size_t i;
    json_t *a;

    if (client_call(&cli->client, "GET", path, NULL, &allocs, NULL) < 0) {
        ui_error(cli, "Error querying node allocations: %s", cli_error(cli));
        return -1;
    }
    json_array_foreach(allocs, i, a) running +=
        strcmp(js_str(a, "ClientStatus"), "running") == 0 ? 1 : 0;
    return running;
}

static int node_list(struct cli *cli)
{
    bool verbose = flags_bool(&cli->flags, "verbose"), allocs = flags_bool(&cli->flags, "allocs");
    _cleanup_(json_decrefp) json_t *nodes = NULL;
    _cleanup_(table_fini) struct table t = {0};
    size_t i;
    json_t *n;

    if (client_call(&cli->client, "GET", "/v1/nodes", NULL, &nodes, NULL) < 0) {
        ui_error(cli, "Error querying node status: %s", cli_error(cli));
        return 1;
    }
    js_sort(nodes, alloc_newer);
    if (cli_wants_data(cli))
        return cli_print_data(cli, nodes);
    if (json_array_size(nodes) == 0)
        return 0;
    table_row(&t, "ID|DC|Name|Class|%sDrain|Eligibility|Status%s",
              verbose ? "Address|Version|" : "", allocs ? "|Running Allocs" : "");
    json_array_foreach(nodes, i, n)
    {
        _cleanup_(freep) char *where =
            verbose ? xasprintf("%s|%s|", js_str(n, "Address"), js_str(n, "Version")) : xstrdup("");
        _cleanup_(freep) char *running = xstrdup("");

        if (allocs) {
            long long count = node_count_running(cli, js_str(n, "ID"));

            if (count < 0)
                return 1;
            free(running);
            running = xasprintf("|%lld", count);
        }
        table_row(&t, "%.*s|%s|%s|%s|%s%s|%s|%s%s", verbose ? TEXT_ID_FULL : TEXT_ID_SHORT,
                  js_str(n, "ID"), js_str(n, "Datacenter"), js_str(n, "Name"),
                  js_str(n, "NodeClass"), where, js_bool(n, "Drain") ? "true" : "false",
                  js_str(n, "SchedulingEligibility"), js_str(n, "Status"), running);
    }
    ui_table(cli, &t, TABLE_LIST);
    return 0;
}

int cmd_node_status(struct cli *cli)
{
    const struct node_words words = {"Error querying node info", "prefix"};
    bool self = flags_bool(&cli->flags, "self");
    _cleanup_(json_decrefp) json_t *node = NULL;
    _cleanup_(freep) char *id = NULL;

    if (cli->argc > 1)
        return ui_usage(cli, "This command takes either one or no arguments");
    if (!cli_client(cli))
        return 1;
    if (cli->argc == 0 && !self)
        return node_list(cli);
    id = self ? node_self_id(cli) : xstrdup(cli->argv[0]);
    if (!id)
        return 1;
    node = node_lookup(cli, id, words, flags_bool(&cli->flags, "verbose"));
    if (!node)
        return 1;
    return cli_wants_data(cli) ? cli_print_data(cli, node) : node_detail_print(cli, node);
}
