/* SPDX-License-Identifier: MPL-2.0 */
/* operator raft, keygen, metrics, api; system; agent-info; version; what is not there yet. */
#include <openssl/evp.h>
#include <string.h>

#include "base/prng.h"
#include "base/strbuf.h"
#include "commands.h"
#include "text.h"

#define KEYGEN_BYTES 32
#define PLAN_ERROR   255 /* 1 says that a plan changes something */

int cmd_version(struct cli *cli)
{
    ui_out(cli, "Steppe v%s", STEPPE_VERSION);
    return 0;
}

/* A command of Nomad's: the help says what there is instead. */
int cmd_not_yet(struct cli *cli)
{
    const char *name = cli->command->name, *help = cli->command->help;
    bool plan = strcmp(name, "plan") == 0 || strcmp(name, "job plan") == 0;

    ui_error(cli, "steppe %s: %s", name, help + strspn(help, " "));
    return plan ? PLAN_ERROR : 1;
}

int cmd_raft_list_peers(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *reply = NULL;
    _cleanup_(table_fini) struct table t = {0};
    size_t i;
    json_t *s;

    if (!cli_client(cli))
        return 1;
    if (client_call(&cli->client, "GET", "/v1/operator/raft/configuration", NULL, &reply, "stale",
                    flags_bool(&cli->flags, "stale") ? "" : NULL, NULL) < 0) {
        ui_error(cli, "Failed to retrieve raft configuration: %s", cli_error(cli));
        return 1;
    }
    if (cli_wants_data(cli))
        return cli_print_data(cli, reply);
    table_row(&t, "Node|ID|Address|State|Voter|RaftProtocol");
    json_array_foreach(js_get(reply, "Servers"), i, s)
        table_row(&t, "%s|%s|%s|%s|%s|%s", js_str(s, "Node"), js_str(s, "ID"), js_str(s, "Address"),
                  js_bool(s, "Leader") ? "leader" : "follower",
                  js_bool(s, "Voter") ? "true" : "false", js_str(s, "RaftProtocol"));
    ui_table(cli, &t, TABLE_PLAIN);
    return 0;
}

int cmd_raft_remove_peer(struct cli *cli)
{
    const char *address = flags_str(&cli->flags, "peer-address");
    const char *id = flags_str(&cli->flags, "peer-id");
    _cleanup_(freep) char *quoted = text_quote(*address ? address : id);

    if (!cli_client(cli))
        return 1;
    if (!*address == !*id) {
        ui_error(cli, "Error removing peer: %s",
                 *id ? "cannot give both an address and id"
                     : "an address or id is required for the peer to remove");
        return 1;
    }
    if (client_call(&cli->client, "DELETE", "/v1/operator/raft/peer", NULL, NULL,
                    *address ? "address" : "id", *address ? address : id, NULL) < 0) {
        ui_error(cli, "Error removing peer: %s", cli_error(cli));
        return 1;
    }
    ui_out(cli, "Removed peer with %s %s", *address ? "address" : "id", quoted);
    return 0;
}

int cmd_operator_keygen(struct cli *cli)
{
    unsigned char key[KEYGEN_BYTES], text[KEYGEN_BYTES * 2];

    random_bytes(key, sizeof(key));
    EVP_EncodeBlock(text, key, sizeof(key));
    ui_out(cli, "%s", (const char *)text);
    return 0;
}

int cmd_operator_metrics(struct cli *cli)
{
    const char *format = flags_str(&cli->flags, "format");
    _cleanup_(client_params_fini) struct client_params params = {0};
    _cleanup_(json_decrefp) json_t *reply = NULL;
    _cleanup_(freep) char *text = NULL;

    if (cli->argc > 0)
        return ui_usage(cli, "This command takes no arguments");
    if (!cli_client(cli))
        return 1;
    client_default_params(&cli->client, &params);
    if (flags_bool(&cli->flags, "pretty"))
        client_params_set(&params, "pretty", "1");
    if (*format)
        client_params_set(&params, "format", format);
    if (cli_wants_data(cli)) {
        if (client_call_params(&cli->client, "GET", "/v1/metrics", NULL, &params, &reply) < 0) {
            ui_error(cli, "Error querying metrics: %s", cli_error(cli));
            return 1;
        }
        return cli_print_data(cli, reply);
    }
    if (client_call_text(&cli->client, "GET", "/v1/metrics", NULL, &params, &text) < 0) {
        ui_error(cli, "Error getting metrics: %s", cli_error(cli));
        return 1;
    }
    ui_out(cli, "%s", text);
    return 0;
}

/* "a=b&c" behind the path's '?' into params. */
static bool api_add_query(struct client_params *params, const char *query)
{
    while (*query) {
        size_t len = strcspn(query, "&"), name_len = MIN(strcspn(query, "="), len);
        _cleanup_(freep) char *name = client_unescape(query, name_len);
        _cleanup_(freep) char *value =
            name_len < len ? client_unescape(query + name_len + 1, len - name_len - 1)
                           : xstrdup("");

        if (params->n == CLIENT_PARAMS_MAX)
            return false;
        if (*name)
            client_params_set(params, name, value);
        query += len + (query[len] ? 1 : 0);
    }
    return true;
}

int cmd_operator_api(struct cli *cli)
{
    _cleanup_(client_params_fini) struct client_params params = {0};
    _cleanup_(freep) char *path = NULL, *text = NULL;
    size_t len;

    if (cli->argc != 1)
        return ui_usage(cli, "This command takes one argument: <path>");
    if (!cli_client(cli))
        return 1;
    client_default_params(&cli->client, &params);
    len = strcspn(cli->argv[0], "?");
    path = xasprintf("%s%.*s", cli->argv[0][0] == '/' ? "" : "/v1/", (int)len, cli->argv[0]);
    if (cli->argv[0][len] && !api_add_query(&params, cli->argv[0] + len + 1)) {
        ui_error(cli, "More than %d query parameters", CLIENT_PARAMS_MAX);
        return 1;
    }
    if (client_call_text(&cli->client, "GET", path, NULL, &params, &text) < 0) {
        ui_error(cli, "Error querying %s: %s", path, cli_error(cli));
        return 1;
    }
    ui_out(cli, "%s", text);
    return 0;
}

int cmd_agent_info(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *self = NULL;
    _cleanup_(freep) const char **sections = NULL;
    const json_t *stats;

    if (cli->argc > 0)
        return ui_usage(cli, "This command takes no arguments");
    if (!cli_client(cli))
        return 1;
    if (client_call(&cli->client, "GET", "/v1/agent/self", NULL, &self, NULL) < 0) {
        ui_error(cli, "Error querying agent info: failed querying self endpoint: %s",
                 cli_error(cli));
        return 1;
    }
    if (cli_wants_data(cli))
        return cli_print_data(cli, self);
    stats = js_get(self, "stats");
    sections = js_keys(stats);
    for (size_t i = 0; sections[i]; i++) {
        const json_t *section = js_get(stats, sections[i]);
        _cleanup_(freep) const char **keys = js_keys(section);

        ui_out(cli, "%s", sections[i]);
        for (size_t k = 0; keys[k]; k++)
            ui_out(cli, "  %s = %s", keys[k], js_str(section, keys[k]));
    }
    return 0;
}

/* Work that the servers of a region are told to do. */
static int system_put(struct cli *cli, const char *path, const char *what)
{
    _cleanup_(json_decrefp) json_t *body = json_object();

    if (cli->argc != 0)
        return ui_usage(cli, "This command takes no arguments");
    if (!cli_client(cli))
        return 1;
    if (client_call(&cli->client, "PUT", path, body, NULL, NULL) < 0) {
        ui_error(cli, "Error running system %s: %s", what, cli_error(cli));
        return 1;
    }
    return 0;
}

int cmd_system_gc(struct cli *cli)
{
    return system_put(cli, "/v1/system/gc", "garbage-collection");
}

int cmd_system_reconcile(struct cli *cli)
{
    return system_put(cli, "/v1/system/reconcile/summaries", "summary reconciliation");
}
