/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The command line: a table of commands, each with its words, help, flags and handler. Handlers ask
 * the HTTP client and print; they hold no logic of the cluster. Texts, columns and exit codes are
 * those of Nomad 1.1.0's CLI. Results go to stdout, complaints to stderr.
 */
#pragma once

#include <stdio.h>

#include "base/base.h"
#include "client.h"
#include "flags.h"
#include "jsontext.h"
#include "table.h"

struct cli {
    FILE *in, *out, *err;
    bool color; /* stdout is a terminal and nobody asked for plain text */
    const struct cli_command *command;
    struct flags flags;
    int argc; /* arguments behind the flags */
    char **argv;
    int raw_argc; /* everything behind the command's name */
    char **raw_argv;
    struct client client; /* after cli_client() */
    bool has_client;
};

enum {
    CLI_CLIENT = 1 << 0,       /* takes the flags of the HTTP client */
    CLI_NO_NAMESPACE = 1 << 1, /* its help leaves -namespace out */
    CLI_HIDDEN = 1 << 2,       /* not in any list */
    CLI_COMMON = 1 << 3,       /* in the first list of the general help */
    CLI_ALIAS = 1 << 4,        /* completed, but in no list */
    CLI_RAW = 1 << 5,          /* the handler reads its arguments itself */
    CLI_GROUP = 1 << 6,        /* only holds subcommands */
    CLI_QUOTES = 1 << 7,       /* puts errors of its flags and its client in quotes */
};

struct cli_command {
    const char *name;        /* "server members" */
    const char *help_name;   /* what "For additional help" calls it, when not name */
    const char *usage;       /* behind "Usage: steppe " */
    const char *synopsis;    /* one line */
    const char *help;        /* paragraphs, two spaces before each line */
    const char *examples;    /* lines "steppe ..." separated by \n; may be NULL */
    const char *flags_title; /* "Run Options" */
    const struct flag_def *flags;
    size_t n_flags;
    const char *flag_error; /* said before a flag error a second time, as some commands do */
    const char *data_error; /* said before an error of -json and -t; may be NULL */
    unsigned options;       /* CLI_* */
    int (*run)(struct cli *cli);
};

extern const struct cli_command cli_commands[];
extern const size_t cli_commands_len;

#define CLI_FLAGS(table) .flags = (table), .n_flags = ARRAY_LEN(table)

/* Runs `steppe argv[1..]`. Returns the exit code. */
int cli_main(struct cli *cli, int argc, char **argv);
/* Runs another command with these arguments, as if it had been called. */
int cli_run(struct cli *cli, const char *name, int argc, char **argv);
const struct cli_command *cli_find(const char *name);
/* The command whose name is the longest run of words at the start of argv; NULL when none is. */
const struct cli_command *cli_match(int argc, char **argv, int *ret_words);

/* help.c */
char *cli_help_command(const struct cli_command *cmd); /* with its subcommands */
char *cli_help_general(void);
/* "Unknown command ... Did you mean ...?\n\n" for a word that is no command of the group ("": top).
 */
char *cli_help_suggest(const char *group, const char *word);
extern const struct flag_def cli_client_flags[];
extern const size_t cli_client_flags_len;

/* ui.c: one line (or several) and a newline. */
void ui_out(struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);
void ui_error(struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);
void ui_warn(struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same with [bold] [reset] [red] ... turned into colours, or taken out. */
void ui_markup(struct cli *cli, const char *text);
void ui_heading(struct cli *cli, const char *title); /* an empty line and the title in bold */
void ui_table(struct cli *cli, const struct table *t, enum table_style style);
/* Asks on stdout, reads a line from stdin (without its end). malloc'ed; NULL at the end of input.
 */
char *ui_ask(struct cli *cli, const char *question);
/* Says that the arguments are wrong: the text, then where to find help. Returns 1. */
int ui_usage(struct cli *cli, const char *text);

/* Opens the client from environment and flags; false (and the error is said) when it cannot. */
bool cli_client(struct cli *cli);
/* The text of the last failed call. */
const char *cli_error(const struct cli *cli);
/* "*": the command looks at all namespaces. */
bool cli_all_namespaces(const struct cli *cli);

/* One of -json and -t was given. */
bool cli_wants_data(const struct cli *cli);
/* Prints data as JSON or with the template. Returns the exit code. */
int cli_print_data(struct cli *cli, const json_t *data);

/* commands.c refers to the tables of the cmd_*.c files by these rows. */
int cmd_group(struct cli *cli);
