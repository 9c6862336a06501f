/* SPDX-License-Identifier: MPL-2.0 */
/* operator gossip keyring; operator keyring, the same with flags. */
#include "commands.h"
#include "text.h"

/* ui_error() with the client's error. Returns the exit code. */
static int failed(struct cli *cli)
{
    ui_error(cli, "error: %s", cli_error(cli));
    return 1;
}

static int list_keys(struct cli *cli)
{
    _cleanup_(json_decrefp) json_t *reply = NULL;
    _cleanup_(freep) const char **keys = NULL;
    _cleanup_(table_fini) struct table t = {0};

    if (!cli_client(cli))
        return 1;
    ui_out(cli, "Gathering installed encryption keys...");
    if (client_call(&cli->client, "GET", "/v1/agent/keyring/list", NULL, &reply, NULL) < 0)
        return failed(cli);
    table_row(&t, "Key");
    keys = js_keys(js_get(reply, "Keys"));
    for (size_t i = 0; keys[i]; i++)
        table_row(&t, "%s", keys[i]);
    ui_table(cli, &t, TABLE_PLAIN);
    return 0;
}

static int change_keys(struct cli *cli, const char *path, const char *key, const char *what)
{
    _cleanup_(json_decrefp) json_t *body = json_pack("{ss}", "Key", key), *reply = NULL;

    if (!cli_client(cli))
        return 1;
    ui_out(cli, "%s", what);
    if (client_call(&cli->client, "PUT", path, body, &reply, NULL) < 0)
        return failed(cli);
    return 0;
}

static int install_key(struct cli *cli, const char *key)
{
    return change_keys(cli, "/v1/agent/keyring/install", key,
                       "Installing new gossip encryption key...");
}

static int use_key(struct cli *cli, const char *key)
{
    return change_keys(cli, "/v1/agent/keyring/use", key,
                       "Changing primary gossip encryption key...");
}

static int remove_key(struct cli *cli, const char *key)
{
    return change_keys(cli, "/v1/agent/keyring/remove", key, "Removing gossip encryption key...");
}

int cmd_keyring_list(struct cli *cli)
{
    return cli->argc ? ui_usage(cli, "This command takes no arguments") : list_keys(cli);
}

static int with_key(struct cli *cli, int (*fn)(struct cli *, const char *))
{
    return cli->argc == 1 ? fn(cli, cli->argv[0])
                          : ui_usage(cli, "This command requires one argument: <key>");
}

int cmd_keyring_install(struct cli *cli)
{
    return with_key(cli, install_key);
}

int cmd_keyring_use(struct cli *cli)
{
    return with_key(cli, use_key);
}

int cmd_keyring_remove(struct cli *cli)
{
    return with_key(cli, remove_key);
}

/* One action, chosen by a flag, as Nomad before 1.4 has it. */
int cmd_operator_keyring(struct cli *cli)
{
    static const struct {
        const char *flag;
        int (*fn)(struct cli *, const char *);
    } actions[] = {{"install", install_key}, {"use", use_key}, {"remove", remove_key}};
    size_t n = flags_bool(&cli->flags, "list"), at = ARRAY_LEN(actions);

    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        if (!*flags_str(&cli->flags, actions[i].flag))
            continue;
        n++;
        at = i;
    }
    if (n > 1)
        return ui_usage(cli, "Only a single action is allowed");
    if (n == 0) {
        ui_error(cli, "No actionable argument was passed");
        return ui_usage(cli,
                        "Either the '-install', '-use', '-remove' or '-list' flag must be set");
    }
    return at == ARRAY_LEN(actions) ? list_keys(cli)
                                    : actions[at].fn(cli, flags_str(&cli->flags, actions[at].flag));
}
