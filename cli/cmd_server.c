/* SPDX-License-Identifier: MPL-2.0 */
/* server members, join, force-leave. */
#include <string.h>

#include "base/strbuf.h"
#include "commands.h"
#include "text.h"

static int member_compare(const json_t *a, const json_t *b)
{
    const json_t *x = js_get(a, "Tags"), *y = js_get(b, "Tags");
    int r = strcmp(js_str(x, "region"), js_str(y, "region"));

    if (r == 0)
        r = strcmp(js_str(x, "dc"), js_str(y, "dc"));
    return r ? r : strcmp(js_str(a, "Name"), js_str(b, "Name"));
}

static bool member_less(const json_t *a, const json_t *b)
{
    return member_compare(a, b) < 0;
}

/* Regions with a member that has not left, each once; members are sorted. *ret_n of them. */
static const char **member_regions(const json_t *members, size_t *ret_n)
{
    const char **regions = xcalloc(json_array_size(members) + 1, sizeof(*regions));
    size_t i, n = 0;
    json_t *m;

    json_array_foreach(members, i, m)
    {
        const char *region = js_str(js_get(m, "Tags"), "region");

        if (strcmp(js_str(m, "Status"), "left") == 0)
            continue;
        if (n == 0 || strcmp(regions[n - 1], region) != 0)
            regions[n++] = region;
    }
    *ret_n = n;
    return regions;
}

/* Is `address` that of the member's RPC port, at this IP? */
static bool is_rpc_address(const char *address, const char *ip, const char *port)
{
    _cleanup_(freep) char *rpc = xasprintf(strchr(ip, ':') ? "[%s]:%s" : "%s:%s", ip, port);

    return strcmp(address, rpc) == 0;
}

/* The member's RPC address is the one that its region's leader was said to have. */
static bool member_is_leader(const json_t *m, const char **regions, char **leaders, size_t n)
{
    const json_t *tags = js_get(m, "Tags");
    const char *port = js_str(tags, "port");

    for (size_t i = 0; i < n; i++) {
        if (leaders[i] && strcmp(regions[i], js_str(tags, "region")) == 0)
            return is_rpc_address(leaders[i], js_str(m, "Addr"), port) ||
                   is_rpc_address(leaders[i], js_str(tags, "rpc_addr"), port);
    }
    return false;
}

static char *member_tags(const json_t *m)
{
    const json_t *tags = js_get(m, "Tags");
    _cleanup_(freep) const char **keys = js_keys(tags);
    struct strbuf b = STRBUF_INIT;

    for (size_t i = 0; keys[i]; i++)
        strbuf_addf(&b, "%s%s=%s", i ? "," : "", keys[i], js_str(tags, keys[i]));
    return strbuf_take(&b);
}

static void members_detailed(struct cli *cli, const json_t *members)
{
    _cleanup_(table_fini) struct table t = {0};
    size_t i;
    json_t *m;

    table_row(&t, "Name|Address|Port|Tags");
    json_array_foreach(members, i, m)
    {
        _cleanup_(freep) char *tags = member_tags(m);

        table_row(&t, "%s|%s|%lld|%s", js_str(m, "Name"), js_str(m, "Addr"),
                  (long long)js_int(m, "Port"), tags);
    }
    ui_table(cli, &t, TABLE_PLAIN);
}

static void members_standard(struct cli *cli, const json_t *members, const char **regions,
                             char **leaders, size_t n)
{
    _cleanup_(table_fini) struct table t = {0};
    size_t i;
    json_t *m;

    table_row(&t, "Name|Address|Port|Status|Leader|Protocol|Build|Datacenter|Region");
    json_array_foreach(members, i, m)
    {
        const json_t *tags = js_get(m, "Tags");

        table_row(&t, "%s|%s|%lld|%s|%s|%lld|%s|%s|%s", js_str(m, "Name"), js_str(m, "Addr"),
                  (long long)js_int(m, "Port"), js_str(m, "Status"),
                  member_is_leader(m, regions, leaders, n) ? "true" : "false",
                  (long long)js_int(m, "ProtocolCur"), js_str(tags, "build"), js_str(tags, "dc"),
                  js_str(tags, "region"));
    }
    ui_table(cli, &t, TABLE_PLAIN);
}

/* 1 and a text on stderr when a region's leader could not be asked for. */
static int members_leader_errors(struct cli *cli, const char **regions, char **errors, size_t n)
{
    struct strbuf b = STRBUF_INIT;
    size_t failed = 0;

    for (size_t i = 0; i < n; i++) {
        _cleanup_(freep) char *region = NULL;

        if (!errors[i])
            continue;
        region = text_quote(regions[i]);
        strbuf_addf(&b, "\t* Region %s: %s\n", region, errors[i]);
        failed++;
    }
    if (failed > 0) {
        ui_out(cli, "%s", "");
        ui_warn(cli, "Error determining leaders: %zu error%s occurred:\n%s\n", failed,
                failed == 1 ? "" : "s", b.data);
    }
    strbuf_fini(&b);
    return failed > 0 ? 1 : 0;
}

int cmd_server_members(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *reply = NULL;
    _cleanup_(freep) const char **regions = NULL;
    _cleanup_(freep) char **leaders = NULL, **errors = NULL;
    json_t *members;
    size_t n;
    int code;

    if (cli->argc > 0)
        return ui_usage(cli, "This command takes no arguments");
    if (!cli_client(cli))
        return 1;
    if (client_call(&cli->client, "GET", "/v1/agent/members", NULL, &reply, NULL) < 0) {
        ui_error(cli, "Error querying servers: %s", cli_error(cli));
        return 1;
    }
    if (json_is_null(reply)) {
        ui_error(cli, "Agent doesn't know about server members");
        return 0;
    }
    members = js_get(reply, "Members");
    if (json_is_array(members))
        js_sort(members, member_less);
    if (cli_wants_data(cli))
        return cli_print_data(cli, reply);

    regions = member_regions(members, &n);
    leaders = xcalloc(n + 1, sizeof(*leaders));
    errors = xcalloc(n + 1, sizeof(*errors));
    client_leaders(&cli->client, regions, n, leaders, errors);
    if (flags_bool(&cli->flags, "detailed"))
        members_detailed(cli, members);
    else
        members_standard(cli, members, regions, leaders, n);
    code = members_leader_errors(cli, regions, errors, n);
    for (size_t i = 0; i < n; i++) {
        free(leaders[i]);
        free(errors[i]);
    }
    return code;
}

/* A table of the findings; 1 when one of them stands in the way. */
static int print_findings(struct cli *cli, const json_t *reply)
{
    _cleanup_(table_fini) struct table t = {0};
    const json_t *findings = js_get(reply, "Findings");
    bool ok = json_is_true(js_get(reply, "OK"));
    size_t i;
    json_t *f;

    if (cli_wants_data(cli)) {
        int code = cli_print_data(cli, reply);

        return code ? code : !ok;
    }
    table_row(&t, "Address|Check|Result|Detail");
    json_array_foreach(findings, i, f)
    {
        table_row(&t, "%s|%s|%s|%s", js_str(f, "Address"), js_str(f, "Check"), js_str(f, "Status"),
                  js_str(f, "Text"));
    }
    ui_table(cli, &t, TABLE_PLAIN);
    return !ok;
}

int cmd_server_join(struct cli *cli)
{
    bool check = flags_bool(&cli->flags, "check");
    _cleanup_(client_params_fini) struct client_params params = {0};
    _cleanup_(json_decrefp) json_t *reply = NULL;

    if (cli->argc < 1)
        return ui_usage(cli, "One or more node addresses must be given as arguments");
    if (cli->argc > CLIENT_ADDRESSES_MAX) {
        ui_error(cli, "At most %d addresses can be given at a time", CLIENT_ADDRESSES_MAX);
        return 1;
    }
    if (!cli_client(cli))
        return 1;
    client_default_params(&cli->client, &params);
    for (int i = 0; i < cli->argc; i++)
        client_params_add(&params, "address", cli->argv[i]);
    if (check) {
        if (client_call_params(&cli->client, "GET", "/v1/agent/join/check", NULL, &params, &reply) <
            0) {
            ui_error(cli, "Error checking: %s", cli_error(cli));
            return 1;
        }
        return print_findings(cli, reply);
    }
    if (client_call_params(&cli->client, "PUT", "/v1/agent/join", NULL, &params, &reply) < 0) {
        ui_error(cli, "Error joining: failed joining: %s", cli_error(cli));
        return 1;
    }
    if (*js_str(reply, "error")) {
        ui_error(cli, "Error joining: failed joining: %s", js_str(reply, "error"));
        return 1;
    }
    ui_out(cli, "Joined %lld servers successfully", (long long)js_int(reply, "num_joined"));
    return 0;
}

int cmd_server_force_leave(struct cli *cli)
{
    if (cli->argc != 1)
        return ui_usage(cli, "This command takes one argument: <node>");
    if (!cli_client(cli))
        return 1;
    if (client_call(&cli->client, "PUT", "/v1/agent/force-leave", NULL, NULL, "node", cli->argv[0],
                    "prune", flags_bool(&cli->flags, "prune") ? "1" : NULL, NULL) < 0) {
        ui_error(cli, "Error force-leaving server %s: %s", cli->argv[0], cli_error(cli));
        return 1;
    }
    return 0;
}

static void print_region(struct cli *cli, const json_t *reply, const char *what)
{
    const json_t *servers = js_get(reply, "Servers");
    struct strbuf names = STRBUF_INIT;
    size_t i;
    json_t *v;

    json_array_foreach(servers, i, v)
    {
        strbuf_addf(&names, "%s%s", i ? ", " : "", json_string_value(v));
    }
    ui_out(cli, "Region %s %s: %s", js_str(reply, "Region"), what, names.data ? names.data : "");
    strbuf_fini(&names);
    json_array_foreach(js_get(reply, "Missing"), i, v)
    {
        ui_warn(cli, "%s did not answer in time; it follows when it hears of it",
                json_string_value(v));
    }
}

int cmd_server_region_leave(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *reply = NULL;

    if (cli->argc != 0)
        return ui_usage(cli, "This command takes no arguments");
    if (!cli_client(cli))
        return 1;
    if (client_call(&cli->client, "PUT", "/v1/agent/region/leave", NULL, &reply, NULL) < 0) {
        ui_error(cli, "Error leaving the federation: %s", cli_error(cli));
        return 1;
    }
    print_region(cli, reply, "has left the federation");
    return 0;
}

int cmd_server_region_remove(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *reply = NULL;

    if (cli->argc != 1)
        return ui_usage(cli, "This command takes one argument: <region>");
    if (!cli_client(cli))
        return 1;
    if (client_call(&cli->client, "PUT", "/v1/agent/region/remove", NULL, &reply, "name",
                    cli->argv[0], NULL) < 0) {
        ui_error(cli, "Error removing region %s: %s", cli->argv[0], cli_error(cli));
        return 1;
    }
    print_region(cli, reply, "is removed");
    return 0;
}
