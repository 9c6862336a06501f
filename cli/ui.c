/* SPDX-License-Identifier: MPL-2.0 */
/* Lines for people on stdout and stderr. */
#include <stdarg.h>
#include <string.h>

#include "base/strbuf.h"
#include "cli.h"
#include "template.h"
#include "text.h"

static const struct {
    const char *name, *code;
} ui_colors[] = {
    {"reset", "0"}, {"bold", "1"},  {"red", "31"},     {"green", "32"},        {"yellow", "33"},
    {"blue", "34"}, {"cyan", "36"}, {"magenta", "35"}, {"light_yellow", "93"},
};

static void ui_line(struct cli *cli, FILE *f, const char *color, const char *text)
{
    if (f == cli->err)
        fflush(cli->out);
    if (color && cli->color)
        fprintf(f, "\033[0;%sm%s\033[0m\n", color, text);
    else
        fprintf(f, "%s\n", text);
}

static char *ui_format(const char *fmt, va_list ap) PRINTF_LIKE(1, 0);
static char *ui_format(const char *fmt, va_list ap)
{
    char *text;

    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    return text;
}

void ui_out(struct cli *cli, const char *fmt, ...)
{
    _cleanup_(freep) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = ui_format(fmt, ap);
    va_end(ap);
    ui_line(cli, cli->out, NULL, text);
}

void ui_error(struct cli *cli, const char *fmt, ...)
{
    _cleanup_(freep) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = ui_format(fmt, ap);
    va_end(ap);
    ui_line(cli, cli->err, "31", text);
}

void ui_warn(struct cli *cli, const char *fmt, ...)
{
    _cleanup_(freep) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = ui_format(fmt, ap);
    va_end(ap);
    ui_line(cli, cli->err, "33", text);
}

/* The colour that `[name]` at p stands for; NULL when it is none. */
static const char *ui_markup_code(const char *p, size_t *ret_len)
{
    for (size_t i = 0; i < ARRAY_LEN(ui_colors); i++) {
        size_t n = strlen(ui_colors[i].name);

        if (p[0] == '[' && strncmp(p + 1, ui_colors[i].name, n) == 0 && p[n + 1] == ']') {
            *ret_len = n + 2;
            return ui_colors[i].code;
        }
    }
    return NULL;
}

void ui_markup(struct cli *cli, const char *text)
{
    struct strbuf b = STRBUF_INIT;

    while (*text) {
        size_t len = 1;
        const char *code = ui_markup_code(text, &len);

        if (!code)
            strbuf_addc(&b, *text);
        else if (cli->color)
            strbuf_addf(&b, "\033[%sm", code);
        text += len;
    }
    if (cli->color)
        strbuf_adds(&b, "\033[0m");
    fprintf(cli->out, "%s\n", b.data ? b.data : "");
    strbuf_fini(&b);
}

void ui_heading(struct cli *cli, const char *title)
{
    _cleanup_(freep) char *text = xasprintf("\n[bold]%s[reset]", title);

    ui_markup(cli, text);
}

void ui_table(struct cli *cli, const struct table *t, enum table_style style)
{
    _cleanup_(freep) char *text = table_text(t, style);

    fprintf(cli->out, "%s\n", text);
}

char *ui_ask(struct cli *cli, const char *question)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    fprintf(cli->out, "%s ", question);
    fflush(cli->out);
    n = getline(&line, &cap, cli->in);
    if (n < 0) {
        free(line);
        return NULL;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

int ui_usage(struct cli *cli, const char *text)
{
    const struct cli_command *cmd = cli->command;

    ui_error(cli, "%s", text);
    ui_error(cli, "For additional help try 'steppe %s -help'",
             cmd->help_name ? cmd->help_name : cmd->name);
    return 1;
}

bool cli_client(struct cli *cli)
{
    struct client_conf conf;
    struct errtext e;

    if (cli->has_client)
        return true;
    client_conf_load(&conf, cli->command->options & CLI_CLIENT ? &cli->flags : NULL);
    if (client_init(&cli->client, &conf, &e) < 0) {
        _cleanup_(freep) char *quoted = text_quote(e.text);

        ui_error(cli, "Error initializing client: %s",
                 cli->command->options & CLI_QUOTES ? quoted : e.text);
        return false;
    }
    cli->has_client = true;
    return true;
}

const char *cli_error(const struct cli *cli)
{
    assert(cli->client.error);
    return cli->client.error;
}

bool cli_all_namespaces(const struct cli *cli)
{
    return strcmp(cli->client.conf.namespace, "*") == 0;
}

int cli_print_data(struct cli *cli, const json_t *data)
{
    const char *prefix = cli->command->data_error ? cli->command->data_error : "";
    const char *tmpl = flags_str(&cli->flags, "t");
    _cleanup_(freep) char *text = NULL;
    struct errtext e;

    if (flags_bool(&cli->flags, "json") && *tmpl) {
        ui_error(cli, "%sBoth json and template formatting are not allowed", prefix);
        return 1;
    }
    if (!*tmpl)
        text = js_text_sorted(data, JS_INDENT);
    else if (template_render(tmpl, data, &text, &e) < 0) {
        ui_error(cli, "%sError formatting the data: %s", prefix, e.text);
        return 1;
    }
    ui_out(cli, "%s", text);
    return 0;
}

bool cli_wants_data(const struct cli *cli)
{
    return flags_bool(&cli->flags, "json") || *flags_str(&cli->flags, "t");
}
