/* SPDX-License-Identifier: MPL-2.0 */
/* Help texts, put together from the tables of commands and flags. */
#include <string.h>

#include "base/strbuf.h"
#include "cli.h"

#define HELP_DISTANCE_MAX 2 /* letters wrong in a word that we still recognize */

const struct flag_def cli_client_flags[] = {
    {"address", FLAG_STRING, "addr",
     "The address of a Steppe (or Nomad) agent. Overrides the STEPPE_ADDR and\n"
     "NOMAD_ADDR environment variables. Default = http://127.0.0.1:4646"},
    {"region", FLAG_STRING, "region",
     "The region to forward the command to. Overrides STEPPE_REGION and\n"
     "NOMAD_REGION. Defaults to the agent's own region."},
    {"namespace", FLAG_STRING, "namespace",
     "The namespace of queries and actions. Overrides STEPPE_NAMESPACE and\n"
     "NOMAD_NAMESPACE. '*' queries all namespaces. Default = \"default\""},
    {"no-color", FLAG_BOOL, NULL,
     "Plain text even on a terminal. STEPPE_CLI_NO_COLOR does the same."},
    {"ca-cert", FLAG_STRING, "path",
     "PEM file of the authority that signed the server's certificate.\n"
     "Overrides STEPPE_CACERT and NOMAD_CACERT."},
    {"ca-path", FLAG_STRING, "path",
     "Directory of such files; -ca-cert wins when both are given. Overrides\n"
     "STEPPE_CAPATH and NOMAD_CAPATH."},
    {"client-cert", FLAG_STRING, "path",
     "PEM file of the client's certificate, together with -client-key.\n"
     "Overrides STEPPE_CLIENT_CERT and NOMAD_CLIENT_CERT."},
    {"client-key", FLAG_STRING, "path",
     "PEM file of the client's private key, not encrypted. Overrides\n"
     "STEPPE_CLIENT_KEY and NOMAD_CLIENT_KEY."},
    {"tls-server-name", FLAG_STRING, "name",
     "The name that the server's certificate must have. Overrides\n"
     "STEPPE_TLS_SERVER_NAME and NOMAD_TLS_SERVER_NAME."},
    {"tls-skip-verify", FLAG_BOOL, NULL,
     "Do not verify the server's certificate: not recommended.\n"
     "STEPPE_SKIP_VERIFY and NOMAD_SKIP_VERIFY do the same."},
    {"insecure", FLAG_BOOL, NULL, "The same as -tls-skip-verify."},
    {"token", FLAG_STRING, "secret",
     "The SecretID of the ACL token for the requests. Overrides STEPPE_TOKEN\n"
     "and NOMAD_TOKEN."},
};
const size_t cli_client_flags_len = ARRAY_LEN(cli_client_flags);

static void help_add_flags(struct strbuf *b, const char *title, const struct flag_def *defs,
                           size_t n, bool no_namespace)
{
    strbuf_addf(b, "\n%s:\n", title);
    for (size_t i = 0; i < n; i++) {
        const char *line = defs[i].help;

        if (no_namespace && strcmp(defs[i].name, "namespace") == 0)
            continue;
        strbuf_addf(b, defs[i].arg ? "\n  -%s=<%s>\n" : "\n  -%s\n", defs[i].name, defs[i].arg);
        while (*line) {
            size_t len = strcspn(line, "\n");

            strbuf_addf(b, "    %.*s\n", (int)len, line);
            line += len + (line[len] ? 1 : 0);
        }
    }
}

/* The last word of `name` when it is a direct subcommand of group ("": a top level command). */
static const char *help_child(const char *group, const char *name)
{
    size_t n = strlen(group);

    if (n > 0 && (strncmp(name, group, n) != 0 || name[n] != ' '))
        return NULL;
    name += n > 0 ? n + 1 : 0;
    return strchr(name, ' ') ? NULL : name;
}

static int help_compare(const void *a, const void *b)
{
    const struct cli_command *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* Commands of the group that pass the filter, by name, NULL terminated. malloc'ed. */
static const struct cli_command **help_list(const char *group, unsigned with, unsigned without)
{
    const struct cli_command **list = xcalloc(cli_commands_len + 1, sizeof(struct cli_command *));
    size_t n = 0;

    for (size_t i = 0; i < cli_commands_len; i++) {
        const struct cli_command *cmd = &cli_commands[i];

        if (help_child(group, cmd->name) && (cmd->options & with) == with &&
            !(cmd->options & without))
            list[n++] = cmd;
    }
    qsort(list, n, sizeof(struct cli_command *), help_compare);
    return list;
}

static void help_add_list(struct strbuf *b, const char *group, const struct cli_command **list,
                          int gap)
{
    size_t width = 0;

    for (size_t i = 0; list[i]; i++)
        width = MAX(width, strlen(help_child(group, list[i]->name)));
    for (size_t i = 0; list[i]; i++) {
        const char *name = help_child(group, list[i]->name);

        assert(name); /* help_list() takes only the group's own */
        strbuf_addf(b, "    %-*s%s\n", (int)width + gap, name, list[i]->synopsis);
    }
}

static void help_add_examples(struct strbuf *b, const char *lines)
{
    strbuf_adds(b, "\nExamples:\n");
    while (*lines) {
        size_t len = strcspn(lines, "\n");

        strbuf_addf(b, "\n      $ %.*s\n", (int)len, lines);
        lines += len + (lines[len] ? 1 : 0);
    }
}

char *cli_help_command(const struct cli_command *cmd)
{
    struct strbuf b = STRBUF_INIT;

    strbuf_addf(&b, "Usage: steppe %s\n\n%s\n", cmd->usage, cmd->help);
    if (cmd->examples)
        help_add_examples(&b, cmd->examples);
    if (cmd->options & CLI_CLIENT)
        help_add_flags(&b, "General Options", cli_client_flags, cli_client_flags_len,
                       cmd->options & CLI_NO_NAMESPACE);
    if (cmd->n_flags > 0)
        help_add_flags(&b, cmd->flags_title, cmd->flags, cmd->n_flags, false);
    if (cmd->options & CLI_GROUP) {
        _cleanup_(freep) const struct cli_command **list = help_list(cmd->name, 0, CLI_HIDDEN);

        strbuf_adds(&b, "\nSubcommands:\n");
        help_add_list(&b, cmd->name, list, 4);
    }
    return strbuf_take(&b);
}

char *cli_help_general(void)
{
    _cleanup_(freep) const struct cli_command **common = help_list("", CLI_COMMON, CLI_HIDDEN);
    _cleanup_(freep) const struct cli_command **other =
        help_list("", 0, CLI_COMMON | CLI_HIDDEN | CLI_ALIAS);
    struct strbuf b = STRBUF_INIT;

    strbuf_adds(&b, "Usage: steppe [-version] [-help] <command> [args]\n\nCommon commands:\n");
    help_add_list(&b, "", common, 6);
    strbuf_adds(&b, "\nOther commands:\n");
    help_add_list(&b, "", other, 6);
    return strbuf_take(&b);
}

/* Levenshtein's distance of two short words. */
static size_t help_distance(const char *a, const char *b)
{
    size_t row[64], n = MIN(strlen(b), ARRAY_LEN(row) - 1);

    for (size_t k = 0; k <= n; k++)
        row[k] = k;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];

        row[0] = i + 1;
        for (size_t k = 0; k < n; k++) {
            size_t change = diagonal + (a[i] == b[k] ? 0 : 1);

            diagonal = row[k + 1];
            row[k + 1] = MIN(change, MIN(row[k], row[k + 1]) + 1);
        }
    }
    return row[n];
}

char *cli_help_suggest(const char *group, const char *word)
{
    struct strbuf b = STRBUF_INIT;
    size_t shown = 0;

    strbuf_addf(&b, "Unknown command \"steppe %s%s%s\".", group, *group ? " " : "", word);
    for (size_t i = 0; i < cli_commands_len; i++) {
        const char *child = help_child(group, cli_commands[i].name);

        if (!child || (cli_commands[i].options & CLI_HIDDEN) ||
            (help_distance(word, child) > HELP_DISTANCE_MAX &&
             (strlen(word) < 3 || strncmp(child, word, strlen(word)) != 0)))
            continue;
        strbuf_addf(&b, "%s\n      steppe %s", shown++ ? "" : " Did you mean this?\n",
                    cli_commands[i].name);
    }
    strbuf_adds(&b, "\n\n");
    return strbuf_take(&b);
}
