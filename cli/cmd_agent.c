/* SPDX-License-Identifier: MPL-2.0 */
/* agent: becomes the supervisor of the node. completion: a script for the shell. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "commands.h"

/* The folder of this program's file; "" when the kernel does not say. malloc'ed. */
static char *agent_program_dir(void)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    char *slash;

    if (n <= 0)
        return xstrdup("");
    path[n] = '\0';
    slash = strrchr(path, '/');
    return slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup("");
}

/* The supervisor's file: where it was told to be, installed, or in a build tree. malloc'ed. */
static char *agent_find_supervisor(void)
{
    static const char *const places[] = {"../libexec/steppe", "../lib/steppe", ".", ".."};
    _cleanup_(freep) char *dir = agent_program_dir();
    const char *told = getenv("STEPPE_LIBEXEC");

    if (told && *told)
        return xasprintf("%s/supervisor", told);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        char *path = xasprintf("%s/%s/supervisor", dir, places[i]);

        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    return xasprintf("%s/../libexec/steppe/supervisor", dir);
}

int cmd_agent(struct cli *cli)
{
    _cleanup_(freep) char **argv = xcalloc((size_t)cli->raw_argc + 2, sizeof(*argv));
    _cleanup_(freep) char *path = agent_find_supervisor();

    argv[0] = path;
    for (int i = 0; i < cli->raw_argc; i++)
        argv[i + 1] = cli->raw_argv[i];
    fflush(NULL);
    execv(path, argv);
    ui_error(cli, "Error starting the agent: %s: %s", path, strerror(errno));
    return 1;
}

/* All flags of a command as words. */
static void completion_add_flags(struct strbuf *b, const struct flag_def *defs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        strbuf_addf(b, " -%s%s", defs[i].name, defs[i].type == FLAG_BOOL ? "" : "=");
}

static char *completion_bash(void)
{
    struct strbuf b = STRBUF_INIT;

    strbuf_adds(&b, "# bash completion for steppe\n"
                    "_steppe() {\n"
                    "    local cur=${COMP_WORDS[COMP_CWORD]} words='' word flags=''\n"
                    "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
                    "        case $word in -*) ;; *) words=\"${words:+$words }$word\" ;; esac\n"
                    "    done\n"
                    "    COMPREPLY=()\n"
                    "    case $words in\n");
    for (size_t i = 0; i < cli_commands_len; i++) {
        const struct cli_command *cmd = &cli_commands[i];

        /* Behind a group comes a subcommand, behind a command an argument. */
        strbuf_addf(&b, "    '%s'", cmd->name);
        if (!(cmd->options & CLI_GROUP))
            strbuf_addf(&b, "|'%s '*", cmd->name);
        strbuf_adds(&b, ") flags='");
        for (size_t k = 0; (cmd->options & CLI_GROUP) && k < cli_commands_len; k++) {
            size_t n = strlen(cmd->name);
            const char *name = cli_commands[k].name;

            if (!(cli_commands[k].options & CLI_HIDDEN) && strncmp(name, cmd->name, n) == 0 &&
                name[n] == ' ' && !strchr(name + n + 1, ' '))
                strbuf_addf(&b, "%s ", name + n + 1);
        }
        if (cmd->options & CLI_CLIENT)
            completion_add_flags(&b, cli_client_flags, cli_client_flags_len);
        completion_add_flags(&b, cmd->flags, cmd->n_flags);
        strbuf_adds(&b, " -help' ;;\n");
    }
    strbuf_adds(&b, "    '') flags='");
    for (size_t i = 0; i < cli_commands_len; i++) {
        if (!strchr(cli_commands[i].name, ' ') && !(cli_commands[i].options & CLI_HIDDEN))
            strbuf_addf(&b, "%s ", cli_commands[i].name);
    }
    strbuf_adds(&b, "-help -version' ;;\n"
                    "    esac\n"
                    "    mapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$cur\")\n"
                    "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n"
                    "}\n"
                    "complete -o default -F _steppe steppe");
    return strbuf_take(&b);
}

int cmd_completion(struct cli *cli)
{
    _cleanup_(freep) char *script = NULL;

    if (cli->argc != 1 || strcmp(cli->argv[0], "bash") != 0)
        return ui_usage(cli, "This command takes one argument: bash");
    script = completion_bash();
    ui_out(cli, "%s", script);
    return 0;
}
