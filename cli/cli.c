/* SPDX-License-Identifier: MPL-2.0 */
/* From words to a command and its flags. */
#include "cli.h"

#include <string.h>

#include "base/strbuf.h"
#include "text.h"

#define CLI_EXIT_UNKNOWN 127 /* no such command */

const struct cli_command *cli_find(const char *name)
{
    for (size_t i = 0; i < cli_commands_len; i++) {
        if (strcmp(cli_commands[i].name, name) == 0)
            return &cli_commands[i];
    }
    return NULL;
}

/* The number of words of `name` when argv begins with all of them, else 0. */
static int cli_match_words(const char *name, int argc, char **argv)
{
    int words = 0;

    while (*name) {
        size_t len = strcspn(name, " ");

        if (words == argc || strlen(argv[words]) != len || memcmp(argv[words], name, len) != 0)
            return 0;
        words++;
        name += len + (name[len] == ' ' ? 1 : 0);
    }
    return words;
}

const struct cli_command *cli_match(int argc, char **argv, int *ret_words)
{
    const struct cli_command *best = NULL;

    *ret_words = 0;
    for (size_t i = 0; i < cli_commands_len; i++) {
        int words = cli_match_words(cli_commands[i].name, argc, argv);

        if (words > *ret_words) {
            best = &cli_commands[i];
            *ret_words = words;
        }
    }
    return best;
}

static bool cli_is_help(const char *arg)
{
    return strcmp(arg, "-h") == 0 || strcmp(arg, "-help") == 0 || strcmp(arg, "--help") == 0;
}

static bool cli_is_version(const char *arg)
{
    return strcmp(arg, "-v") == 0 || strcmp(arg, "-version") == 0 || strcmp(arg, "--version") == 0;
}

/* The flags are wrong: what Go says, then the help, on its usual channel. */
static int cli_flag_error(struct cli *cli, const struct errtext *e)
{
    const struct cli_command *cmd = cli->command;
    _cleanup_(freep) char *help = cli_help_command(cmd);

    ui_error(cli, "%s", e->text);
    fputs(help, cli->out);
    if (cmd->flag_error) {
        _cleanup_(freep) char *quoted = text_quote(e->text);

        ui_error(cli, "%s%s", cmd->flag_error, cmd->options & CLI_QUOTES ? quoted : e->text);
    }
    return 1;
}

static int cli_run_command(struct cli *cli, const struct cli_command *cmd, int argc, char **argv)
{
    struct errtext e;
    int used = 0;

    cli->command = cmd;
    cli->flags = (struct flags){0};
    cli->raw_argc = argc;
    cli->raw_argv = argv;
    if (cmd->options & CLI_CLIENT)
        flags_add_table(&cli->flags, cli_client_flags, cli_client_flags_len);
    if (cmd->flags)
        flags_add_table(&cli->flags, cmd->flags, cmd->n_flags);
    if (!(cmd->options & CLI_RAW) && flags_parse(&cli->flags, argc, argv, &used, &e) < 0)
        return cli_flag_error(cli, &e);
    if ((cmd->options & CLI_CLIENT) && flags_bool(&cli->flags, "no-color"))
        cli->color = false;
    cli->argc = argc - used;
    cli->argv = argv + used;
    return cmd->run(cli);
}

int cli_run(struct cli *cli, const char *name, int argc, char **argv)
{
    const struct cli_command *cmd = cli_find(name);

    assert(cmd);
    return cli_run_command(cli, cmd, argc, argv);
}

int cmd_group(struct cli *cli)
{
    _cleanup_(freep) char *help = cli_help_command(cli->command);

    if (cli->argc > 0) {
        _cleanup_(freep) char *hint = cli_help_suggest(cli->command->name, cli->argv[0]);

        fputs(hint, cli->err);
    }
    fputs(help, cli->err);
    return 1;
}

/* Where the command begins in argv[1..]; what stands before it are flags for all commands. */
static int cli_skip_globals(int argc, char **argv, bool *ret_version)
{
    int i = 1;

    for (; i < argc && (argv[i][0] == '-' || !argv[i][0]); i++) {
        if (strcmp(argv[i], "--") == 0)
            break;
        if (cli_is_version(argv[i]))
            *ret_version = true;
    }
    return i;
}

static bool cli_asks_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (cli_is_help(argv[i]))
            return true;
    }
    return false;
}

int cli_main(struct cli *cli, int argc, char **argv)
{
    _cleanup_(freep) char *help = NULL;
    const struct cli_command *cmd;
    bool version = false;
    int first = cli_skip_globals(argc, argv, &version), words;

    if (version) {
        ui_out(cli, "Steppe v%s", STEPPE_VERSION);
        return 0;
    }
    cmd = cli_match(argc - first, argv + first, &words);
    if (!cmd) {
        _cleanup_(freep) char *hint = NULL;

        help = cli_help_general();
        if (first >= argc && cli_asks_help(argc, argv)) {
            fputs(help, cli->out);
            return 0;
        }
        hint = first < argc ? cli_help_suggest("", argv[first]) : xstrdup("");
        fprintf(cli->err, "%s%s", hint, help);
        return CLI_EXIT_UNKNOWN;
    }
    if (cli_asks_help(argc, argv)) {
        help = cli_help_command(cmd);
        fputs(help, cli->out);
        return 0;
    }
    if (first > 1) {
        help = cli_help_command(cmd);
        fprintf(cli->err,
                "Invalid flags before the subcommand. If these flags are for\n"
                "the subcommand, please put them after the subcommand.\n\n%s",
                help);
        return 1;
    }
    return cli_run_command(cli, cmd, argc - first - words, argv + first + words);
}
