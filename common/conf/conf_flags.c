/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The agent's flags. Each is another way to write an option row; "-x v", "-x=v" and "--x" are the
 * same, as in Go's flag package.
 */
#include "conf/conf_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum flag_kind { FLAG_VALUE, FLAG_BOOL, FLAG_ADD, FLAG_COMMA, FLAG_PAIR };

struct flag {
    const char *name;
    const char *path; /* of the row; NULL: looked at by conf_flags_scan() only */
    enum flag_kind kind;
};

/* clang-format off */
static const struct flag flags[] = {
    {"config", NULL, FLAG_VALUE},
    {"dev", NULL, FLAG_BOOL},
    {"dev-connect", NULL, FLAG_BOOL},
    {"check", NULL, FLAG_BOOL},
    {"server", "server.enabled", FLAG_BOOL},
    {"client", "client.enabled", FLAG_BOOL},
    {"region", "region", FLAG_VALUE},
    {"dc", "datacenter", FLAG_VALUE},
    {"node", "name", FLAG_VALUE},
    {"bind", "bind_addr", FLAG_VALUE},
    {"data-dir", "data_dir", FLAG_VALUE},
    {"run-dir", "run_dir", FLAG_VALUE},
    {"plugin-dir", "plugin_dir", FLAG_VALUE},
    {"log-level", "log_level", FLAG_VALUE},
    {"log-json", "log_json", FLAG_BOOL},
    {"bootstrap-expect", "server.bootstrap_expect", FLAG_VALUE},
    {"join", "server.server_join.start_join", FLAG_ADD},
    {"retry-join", "server.server_join.retry_join", FLAG_ADD},
    {"retry-interval", "server.server_join.retry_interval", FLAG_VALUE},
    {"retry-max", "server.server_join.retry_max", FLAG_VALUE},
    {"rejoin", "server.rejoin_after_leave", FLAG_BOOL},
    {"encrypt", "server.encrypt", FLAG_VALUE},
    {"raft-protocol", "server.raft_protocol", FLAG_VALUE},
    {"state-dir", "client.state_dir", FLAG_VALUE},
    {"alloc-dir", "client.alloc_dir", FLAG_VALUE},
    {"servers", "client.servers", FLAG_COMMA},
    {"node-class", "client.node_class", FLAG_VALUE},
    {"meta", "client.meta", FLAG_PAIR},
    {"network-interface", "client.network_interface", FLAG_VALUE},
    {"network-speed", "client.network_speed", FLAG_VALUE},
    {"acl-enabled", "acl.enabled", FLAG_BOOL},
    {"acl-replication-token", "acl.replication_token", FLAG_VALUE},
    {"consul-address", "consul.address", FLAG_VALUE},
    {"consul-auth", "consul.auth", FLAG_VALUE},
    {"consul-auto-advertise", "consul.auto_advertise", FLAG_BOOL},
    {"consul-ca-file", "consul.ca_file", FLAG_VALUE},
    {"consul-cert-file", "consul.cert_file", FLAG_VALUE},
    {"consul-key-file", "consul.key_file", FLAG_VALUE},
    {"consul-checks-use-advertise", "consul.checks_use_advertise", FLAG_BOOL},
    {"consul-client-auto-join", "consul.client_auto_join", FLAG_BOOL},
    {"consul-client-service-name", "consul.client_service_name", FLAG_VALUE},
    {"consul-client-http-check-name", "consul.client_http_check_name", FLAG_VALUE},
    {"consul-server-service-name", "consul.server_service_name", FLAG_VALUE},
    {"consul-server-http-check-name", "consul.server_http_check_name", FLAG_VALUE},
    {"consul-server-serf-check-name", "consul.server_serf_check_name", FLAG_VALUE},
    {"consul-server-rpc-check-name", "consul.server_rpc_check_name", FLAG_VALUE},
    {"consul-server-auto-join", "consul.server_auto_join", FLAG_BOOL},
    {"consul-ssl", "consul.ssl", FLAG_BOOL},
    {"consul-verify-ssl", "consul.verify_ssl", FLAG_BOOL},
    {"consul-token", "consul.token", FLAG_VALUE},
    {"consul-allow-unauthenticated", "consul.allow_unauthenticated", FLAG_BOOL},
    {"vault-enabled", "vault.enabled", FLAG_BOOL},
    {"vault-address", "vault.address", FLAG_VALUE},
    {"vault-token", "vault.token", FLAG_VALUE},
    {"vault-namespace", "vault.namespace", FLAG_VALUE},
    {"vault-create-from-role", "vault.create_from_role", FLAG_VALUE},
    {"vault-allow-unauthenticated", "vault.allow_unauthenticated", FLAG_BOOL},
    {"vault-ca-file", "vault.ca_file", FLAG_VALUE},
    {"vault-ca-path", "vault.ca_path", FLAG_VALUE},
    {"vault-cert-file", "vault.cert_file", FLAG_VALUE},
    {"vault-key-file", "vault.key_file", FLAG_VALUE},
    {"vault-tls-skip-verify", "vault.tls_skip_verify", FLAG_BOOL},
    {"vault-tls-server-name", "vault.tls_server_name", FLAG_VALUE},
};
/* clang-format on */

/* One flag taken from the arguments. */
struct taken {
    const struct flag *flag;
    const char *value; /* NULL: a bool without one */
};

static const struct flag *find_flag(const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (strlen(flags[i].name) == len && strncmp(flags[i].name, name, len) == 0)
            return &flags[i];
    }
    return NULL;
}

static bool is_help(const char *name, size_t len)
{
    return (len == 1 && *name == 'h') || (len == 4 && memcmp(name, "help", 4) == 0);
}

/* Takes the flag at argv[*at] and moves *at behind it. t->flag NULL: help is asked for. */
static int take_flag(int argc, char **argv, int *at, struct taken *t, struct errtext *e)
{
    const char *arg = argv[(*at)++], *name, *eq;
    size_t len;

    *t = (struct taken){0};
    if (arg[0] != '-' || !arg[1])
        return err_set(e, -EINVAL, "unexpected argument: \"%s\"", arg);
    name = arg + 1 + (arg[1] == '-');
    eq = strchr(name, '=');
    len = eq ? (size_t)(eq - name) : strlen(name);
    if (!len || *name == '-')
        return err_set(e, -EINVAL, "bad flag syntax: %s", arg);
    if (is_help(name, len))
        return 0;
    t->flag = find_flag(name, len);
    if (!t->flag)
        return err_set(e, -EINVAL, "flag provided but not defined: -%.*s", (int)len, name);
    if (eq) {
        t->value = eq + 1;
    } else if (t->flag->kind != FLAG_BOOL) {
        if (*at >= argc)
            return err_set(e, -EINVAL, "flag needs an argument: -%s", t->flag->name);
        t->value = argv[(*at)++];
    }
    return 0;
}

/* "true", "1", ... of a bool flag; no value means true. */
static int bool_value(const struct taken *t, bool *ret, struct errtext *e)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};

    *ret = true;
    if (!t->value)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcmp(t->value, yes[i]) == 0)
            return 0;
        if (strcmp(t->value, no[i]) == 0) {
            *ret = false;
            return 0;
        }
    }
    return err_set(e, -EINVAL, "invalid boolean value \"%s\" for -%s: parse error", t->value,
                   t->flag->name);
}

int conf_flags_scan(int argc, char **argv, struct conf_args *ret, struct errtext *e)
{
    *ret = (struct conf_args){0};
    for (int i = 1; i < argc;) {
        struct taken t;
        bool on = true;
        int r = take_flag(argc, argv, &i, &t, e);

        if (!r && t.flag && t.flag->kind == FLAG_BOOL)
            r = bool_value(&t, &on, e);
        if (r) {
            conf_list_fini(&ret->configs);
            return r;
        }
        if (!t.flag) {
            ret->help = true;
        } else if (strcmp(t.flag->name, "config") == 0) {
            conf_list_add(&ret->configs, t.value);
        } else if (strcmp(t.flag->name, "dev") == 0 || strcmp(t.flag->name, "dev-connect") == 0) {
            ret->dev |= on;
        } else if (strcmp(t.flag->name, "check") == 0) {
            ret->check |= on;
        }
    }
    return 0;
}

int conf_flags_check(int argc, char **argv, struct errtext *e)
{
    struct conf_args args;
    int r = conf_flags_scan(argc, argv, &args, e);

    if (!r)
        conf_list_fini(&args.configs);
    return r;
}

/* ---- values ---- */

static struct conf_list *list_field(struct conf *c, const struct conf_row *row)
{
    return (struct conf_list *)(void *)((char *)c + row->offset);
}

/* Adds one entry; the first one of a run replaces what files said (lists are replaced). */
static int add_item(struct conf_loader *l, const struct conf_row *row, const char *item, bool first)
{
    struct conf_list *now = list_field(l->conf, row);
    size_t n = first ? 0 : now->n;
    const char **items = xcalloc(n + 1, sizeof(*items));
    char **copy = xcalloc(n + 1, sizeof(*copy));
    int r;

    for (size_t i = 0; i < n; i++)
        items[i] = copy[i] = xstrdup(now->items[i]);
    items[n] = item;
    r = conf_value_set_list(l->conf, row, items, n + 1, l->e);
    for (size_t i = 0; i < n; i++)
        free(copy[i]);
    free(copy);
    free(items);
    return r;
}

static int apply_comma(struct conf_loader *l, const struct conf_row *row, const char *value)
{
    bool first = true;
    int r = 0;

    while (*value && !r) {
        size_t n = strcspn(value, ",");
        char *item = xstrndup(value, n);

        if (n) {
            r = add_item(l, row, item, first);
            first = false;
        }
        free(item);
        value += n + (value[n] == ',');
    }
    return r;
}

static int apply_pair(struct conf_loader *l, const struct conf_row *row, const char *value)
{
    const char *eq = strchr(value, '=');
    char *key;
    int r;

    if (!eq)
        return err_set(l->e, -EINVAL, "\"%s\" is not KEY=VALUE", value);
    key = xstrndup(value, (size_t)(eq - value));
    r = conf_value_map_put(l->conf, row, key, eq + 1, l->e);
    free(key);
    return r;
}

static int apply_one(struct conf_loader *l, const struct taken *t, bool *seen)
{
    const struct conf_row *row = conf_row_find(t->flag->path);
    bool first, on = true;
    int r;

    assert(row);
    first = !seen[row - conf_rows];
    seen[row - conf_rows] = true;
    switch (t->flag->kind) {
    case FLAG_BOOL:
        r = bool_value(t, &on, l->e);
        if (!r)
            r = conf_value_set(l->conf, row, on ? "true" : "false", l->e);
        break;
    case FLAG_ADD:
        r = add_item(l, row, t->value, first);
        break;
    case FLAG_COMMA:
        r = apply_comma(l, row, t->value);
        break;
    case FLAG_PAIR:
        r = apply_pair(l, row, t->value);
        break;
    case FLAG_VALUE:
    default:
        r = conf_value_set(l->conf, row, t->value, l->e);
        break;
    }
    if (!r) {
        conf_loader_seen(l, row);
        return 0;
    }
    if (row->type == CONF_NAME || row->type == CONF_PATH || row->type == CONF_KEY ||
        row->type == CONF_LEVEL)
        return r;
    return err_prefix(l->e, r, "invalid value for flag -%s", t->flag->name);
}

int conf_flags_apply(struct conf_loader *l, int argc, char **argv)
{
    bool seen[CONF_ROWS_MAX] = {false};

    assert(!l->file);
    for (int i = 1; i < argc;) {
        struct taken t;
        int r = take_flag(argc, argv, &i, &t, l->e);

        if (!r && t.flag && t.flag->path)
            r = apply_one(l, &t, seen);
        if (r)
            return r;
    }
    return 0;
}

/* ---- help ---- */

const char *conf_flags_help(void)
{
    return "General Options (clients and servers):\n"
           "\n"
           "  -config=<path>\n"
           "    A configuration file, or a directory of *.hcl and *.json files. May be given\n"
           "    several times: values of later files win over those of earlier ones.\n"
           "  -check\n"
           "    Checks the configuration, prints what is in effect, and ends.\n"
           "  -dev\n"
           "    A throw-away server and client in one, on 127.0.0.1.\n"
           "  -bind=<addr>\n"
           "    The address to listen on, for all network services. Default 0.0.0.0.\n"
           "  -data-dir=<path>\n"
           "    Where state is kept. Absolute.\n"
           "  -run-dir=<path>\n"
           "    Where sockets and pid files are. Default DATA_DIR/run.\n"
           "  -plugin-dir=<path>\n"
           "    Accepted, without effect yet.\n"
           "  -region=<region>\n"
           "    The region of this node. Default \"global\".\n"
           "  -dc=<datacenter>\n"
           "    The datacenter of this node. Default \"dc1\".\n"
           "  -node=<name>\n"
           "    The name of this node, unique in its region. Default: the host name.\n"
           "  -log-level=<level>\n"
           "    TRACE, DEBUG, INFO, WARN or ERROR. Default INFO.\n"
           "  -log-json\n"
           "    Accepted, without effect yet.\n"
           "\n"
           "Server Options:\n"
           "\n"
           "  -server\n"
           "    Makes this node a server.\n"
           "  -bootstrap-expect=<num>\n"
           "    How many servers have to meet before the region bootstraps.\n"
           "  -join=<address>\n"
           "    A server to join at the start. May be given several times.\n"
           "  -retry-join=<address>\n"
           "    The same, tried until it works. May be given several times.\n"
           "  -retry-interval=<dur>\n"
           "    Time between such attempts. Default 30s.\n"
           "  -retry-max=<num>\n"
           "    How many attempts; 0, the default, for ever.\n"
           "  -rejoin\n"
           "    Rejoin the cluster even after having left it.\n"
           "  -encrypt=<key>\n"
           "    Gossip encryption key, base64.\n"
           "  -raft-protocol=<num>\n"
           "    Accepted, without effect: 3 is always spoken.\n"
           "\n"
           "Client Options:\n"
           "\n"
           "  -client\n"
           "    Makes this node a client, which runs tasks.\n"
           "  -servers=<addr,addr>\n"
           "    Servers of the region, host[:port], separated by commas.\n"
           "  -node-class=<class>\n"
           "    A class for nodes that are alike.\n"
           "  -meta=<key>=<value>\n"
           "    Metadata of the node. May be given several times.\n"
           "  -state-dir=<path>, -alloc-dir=<path>\n"
           "    Where the client keeps its state and the tasks' folders.\n"
           "  -network-interface=<name>, -network-speed=<mbits>\n"
           "    The interface of the tasks' network.\n"
           "\n"
           "ACL, Consul and Vault Options:\n"
           "\n"
           "  -acl-*, -consul-*, -vault-*\n"
           "    As in Nomad; accepted, without effect yet.\n";
}
