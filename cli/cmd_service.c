/* SPDX-License-Identifier: MPL-2.0 */
/* service list, logs, restart, start, stop: over the control socket of this node's supervisor. */
#include <string.h>

#include "base/clock.h"
#include "commands.h"
#include "control.h"

/* Where the supervisor listens; NULL after saying that nobody told. malloc'ed. */
static char *service_socket(struct cli *cli)
{
    const char *run_dir = flags_str(&cli->flags, "run-dir");
    const char *data_dir = flags_str(&cli->flags, "data-dir");

    if (!*run_dir && !*data_dir)
        run_dir = client_env("RUN_DIR");
    if (!*run_dir && !*data_dir)
        data_dir = client_env("DATA_DIR");
    if (*run_dir)
        return xasprintf("%s/supervisor.sock", run_dir);
    if (*data_dir)
        return xasprintf("%s/run/supervisor.sock", data_dir);
    ui_error(cli, "Which node? Name its folder with -data-dir or -run-dir, or set STEPPE_RUN_DIR");
    return NULL;
}

static int service_print_json(struct cli *cli, const char *socket)
{
    _cleanup_(json_decrefp) json_t *answer = NULL;
    _cleanup_(freep) char *text = NULL;
    struct errtext e;

    if (sup_control_json(socket, "list", &text, &e) < 0) {
        ui_error(cli, "Error querying services: %s", e.text);
        return 1;
    }
    answer = json_loads(text, 0, NULL);
    return cli_print_data(cli, js_get(answer, "services") ? js_get(answer, "services") : answer);
}

int cmd_service_list(struct cli *cli)
{
    _cleanup_(freep) struct sup_control_service *list =
        xcalloc(SUP_CONTROL_SERVICES_MAX, sizeof(*list));
    _cleanup_(freep) char *socket = NULL;
    _cleanup_(table_fini) struct table t = {0};
    struct errtext e;
    size_t n = 0;

    if (cli->argc > 0)
        return ui_usage(cli, "This command takes no arguments");
    socket = service_socket(cli);
    if (!socket)
        return 1;
    if (cli_wants_data(cli))
        return service_print_json(cli, socket);
    if (sup_control_list(socket, list, SUP_CONTROL_SERVICES_MAX, &n, &e) < 0) {
        ui_error(cli, "Error querying services: %s", e.text);
        return 1;
    }
    table_row(&t, "Name|PID|State|Uptime|Restarts|Failures|Last Exit");
    for (size_t i = 0; i < n; i++) {
        char uptime[DURATION_TEXT_MAX];

        duration_format(list[i].uptime_ms / 1000 * NS_PER_SEC, uptime);
        table_row(&t, "%s|%d|%s|%s|%d|%d|%s", list[i].name, list[i].pid, list[i].state, uptime,
                  list[i].restarts, list[i].failures, list[i].last_exit);
    }
    ui_table(cli, &t, TABLE_LIST);
    return 0;
}

static bool service_on_line(void *user, const char *line, size_t len)
{
    struct cli *cli = user;

    return fwrite(line, 1, len, cli->out) == len && fflush(cli->out) == 0;
}

int cmd_service_logs(struct cli *cli)
{
    _cleanup_(freep) char *socket = NULL;
    struct errtext e;

    if (cli->argc != 1)
        return ui_usage(cli, "This command takes one argument: <name>");
    socket = service_socket(cli);
    if (!socket)
        return 1;
    if (sup_control_logs(socket, cli->argv[0], flags_bool(&cli->flags, "f"), service_on_line, cli,
                         &e) < 0) {
        ui_error(cli, "Error reading the log of %s: %s", cli->argv[0], e.text);
        return 1;
    }
    return 0;
}

/* The last word of the command's name is what the supervisor is asked to do. */
int cmd_service_action(struct cli *cli)
{
    const char *verb = strrchr(cli->command->name, ' ') + 1;
    _cleanup_(freep) char *socket = NULL;
    struct errtext e;

    if (cli->argc != 1)
        return ui_usage(cli, "This command takes one argument: <name>");
    socket = service_socket(cli);
    if (!socket)
        return 1;
    if (sup_control_change(socket, verb, cli->argv[0], &e) < 0) {
        ui_error(cli, "Error trying to %s %s: %s", verb, cli->argv[0], e.text);
        return 1;
    }
    ui_out(cli, "Service \"%s\": %s done", cli->argv[0], verb);
    return 0;
}
