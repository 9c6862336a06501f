/* SPDX-License-Identifier: MPL-2.0 */
/* Templates: text and actions, blocks and loops. */
#include "template.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "jsontext.h"
#include "template_int.h"

#define TMPL_SEGMENTS_MAX 4096

enum tmpl_kind { TMPL_TEXT, TMPL_OUTPUT, TMPL_IF, TMPL_RANGE, TMPL_WITH, TMPL_ELSE, TMPL_END };

struct tmpl_segment {
    enum tmpl_kind kind;
    const char *s; /* the text, or the expression of an action */
    size_t len;
    unsigned line;
    size_t next; /* of a block: its next else or end */
};

struct tmpl_program {
    struct tmpl_segment *v;
    size_t n;
};

int tmpl_fail(struct tmpl *t, const char *fmt, ...)
{
    char text[ERRTEXT_MAX - 64];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return err_set(t->e, -EINVAL, "template: format:%u: %s", t->line, text);
}

static void tmpl_trim(struct tmpl_segment *g)
{
    for (; g->len > 0 && isspace((unsigned char)*g->s); g->len--)
        g->s++;
    while (g->len > 0 && isspace((unsigned char)g->s[g->len - 1]))
        g->len--;
}

/* Takes the word off the front of an action. */
static bool tmpl_keyword(struct tmpl_segment *g, const char *word)
{
    size_t n = strlen(word);

    if (g->len < n || memcmp(g->s, word, n) != 0 ||
        (g->len > n && (isalnum((unsigned char)g->s[n]) || g->s[n] == '_')))
        return false;
    g->s += n;
    g->len -= n;
    tmpl_trim(g);
    return true;
}

static int tmpl_classify(struct tmpl *t, struct tmpl_segment *g)
{
    static const char *const refused[] = {"define", "template", "block", "break", "continue"};

    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        if (tmpl_keyword(g, refused[i]))
            return tmpl_fail(t, "{{%s}} is not supported", refused[i]);
    }
    if (tmpl_keyword(g, "if"))
        g->kind = TMPL_IF;
    else if (tmpl_keyword(g, "range"))
        g->kind = TMPL_RANGE;
    else if (tmpl_keyword(g, "with"))
        g->kind = TMPL_WITH;
    else if (tmpl_keyword(g, "end"))
        g->kind = TMPL_END;
    else if (tmpl_keyword(g, "else")) {
        g->kind = TMPL_ELSE;
        if (g->len > 0 && !tmpl_keyword(g, "if"))
            return tmpl_fail(t, "unexpected text after {{else");
    } else
        g->kind = TMPL_OUTPUT;
    if (g->len == 0 && g->kind != TMPL_END && g->kind != TMPL_ELSE)
        return tmpl_fail(t, "missing value for %s",
                         g->kind == TMPL_OUTPUT ? "command"
                         : g->kind == TMPL_IF   ? "if"
                         : g->kind == TMPL_WITH ? "with"
                                                : "range");
    return 0;
}

static int tmpl_push(struct tmpl *t, struct tmpl_program *p, struct tmpl_segment g)
{
    if (p->n == TMPL_SEGMENTS_MAX)
        return tmpl_fail(t, "more than %d actions", TMPL_SEGMENTS_MAX);
    p->v[p->n++] = g;
    return 0;
}

/* The end of an action that begins at s: its "}}" outside of quotes; NULL when there is none. */
static const char *tmpl_action_end(const char *s)
{
    for (char quote = 0; *s; s++) {
        if (quote == '"' && *s == '\\' && s[1])
            s++;
        else if (quote)
            quote = *s == quote ? 0 : quote;
        else if (*s == '"' || *s == '`' || *s == '\'')
            quote = *s;
        else if (s[0] == '}' && s[1] == '}')
            return s;
    }
    return NULL;
}

static unsigned tmpl_lines(const char *from, const char *to)
{
    unsigned lines = 0;

    for (; from < to; from++)
        lines += *from == '\n' ? 1 : 0;
    return lines;
}

/* One action at s (behind the braces); *ret_next is behind its end. */
static int tmpl_lex_action(struct tmpl *t, struct tmpl_program *p, const char *s,
                           const char **ret_next, bool *ret_trim)
{
    bool comment = s[0] == '/' && s[1] == '*';
    const char *end = comment ? strstr(s, "*/") : tmpl_action_end(s);
    struct tmpl_segment g = {.kind = TMPL_OUTPUT, .s = s, .line = t->line};
    int r;

    if (comment && end)
        end = tmpl_action_end(end + 2);
    if (!end)
        return tmpl_fail(t, comment ? "unclosed comment" : "unclosed action");
    *ret_next = end + 2;
    *ret_trim = end - s >= 2 && end[-1] == '-' && isspace((unsigned char)end[-2]);
    t->line += tmpl_lines(s, end);
    if (comment)
        return 0;
    g.len = (size_t)(end - s) - (*ret_trim ? 1 : 0);
    tmpl_trim(&g);
    r = tmpl_classify(t, &g);
    return r < 0 ? r : tmpl_push(t, p, g);
}

static int tmpl_lex(struct tmpl *t, struct tmpl_program *p, const char *text)
{
    bool trim_left = false;

    while (*text) {
        const char *open = strstr(text, "{{"), *s;
        struct tmpl_segment g = {.kind = TMPL_TEXT, .s = text, .line = t->line};
        int r;

        g.len = open ? (size_t)(open - text) : strlen(text);
        t->line += tmpl_lines(text, text + g.len);
        for (; trim_left && g.len > 0 && isspace((unsigned char)*g.s); g.len--)
            g.s++;
        s = open ? open + 2 : NULL;
        if (s && s[0] == '-' && isspace((unsigned char)s[1])) {
            for (s += 2; isspace((unsigned char)*s);)
                s++;
            while (g.len > 0 && isspace((unsigned char)g.s[g.len - 1]))
                g.len--;
        }
        if (g.len > 0) {
            r = tmpl_push(t, p, g);
            if (r < 0)
                return r;
        }
        if (!s)
            return 0;
        r = tmpl_lex_action(t, p, s, &text, &trim_left);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Finds each block's else and end. */
static int tmpl_link(struct tmpl *t, struct tmpl_program *p)
{
    size_t open[TEMPLATE_DEPTH_MAX], depth = 0;

    for (size_t i = 0; i < p->n; i++) {
        struct tmpl_segment *g = &p->v[i];

        t->line = g->line;
        if (g->kind == TMPL_IF || g->kind == TMPL_RANGE || g->kind == TMPL_WITH) {
            if (depth == TEMPLATE_DEPTH_MAX)
                return tmpl_fail(t, "more than %d blocks within each other", TEMPLATE_DEPTH_MAX);
            open[depth++] = i;
        } else if (g->kind == TMPL_ELSE || g->kind == TMPL_END) {
            if (depth == 0)
                return tmpl_fail(t, "unexpected {{%s}}", g->kind == TMPL_END ? "end" : "else");
            if (p->v[open[depth - 1]].kind == TMPL_ELSE && p->v[open[depth - 1]].len == 0 &&
                g->kind == TMPL_ELSE)
                return tmpl_fail(t, "expected end; found {{else}}");
            p->v[open[depth - 1]].next = i;
            if (g->kind == TMPL_END)
                depth--;
            else
                open[depth - 1] = i;
        }
    }
    return depth > 0 ? tmpl_fail(t, "unexpected EOF") : 0;
}

static int tmpl_run(struct tmpl *t, const struct tmpl_program *p, size_t from, size_t to,
                    json_t *dot);

/* The end of the block whose else or end stands at i. */
static size_t tmpl_block_end(const struct tmpl_program *p, size_t i)
{
    while (p->v[i].kind != TMPL_END)
        i = p->v[i].next;
    return i;
}

static void tmpl_drop_vars(struct tmpl *t, size_t n)
{
    while (t->n_vars > n)
        json_decref(t->vars[--t->n_vars].value);
}

/* if, with, and the else branches of every block. i is the block or an else of it. */
static int tmpl_branch(struct tmpl *t, const struct tmpl_program *p, size_t i, json_t *dot)
{
    while (p->v[i].kind != TMPL_END) {
        const struct tmpl_segment *g = &p->v[i];
        bool plain_else = g->kind == TMPL_ELSE && g->len == 0, declared;
        json_t *value = NULL;
        int r = 0;

        t->line = g->line;
        if (!plain_else)
            r = tmpl_eval(t, g->s, g->len, dot, &value, &declared);
        if (r < 0)
            return r;
        if (plain_else || tmpl_truth(value)) {
            r = tmpl_run(t, p, i + 1, g->next, g->kind == TMPL_WITH ? value : dot);
            json_decref(value);
            return r;
        }
        json_decref(value);
        i = g->next;
    }
    return 0;
}

/* "$i, $v := X" or "$v := X" or "X": the names (may be empty) and what is left. */
struct tmpl_range {
    const char *names[2];
    size_t name_len[2];
    const char *s;
    size_t len;
};

static size_t tmpl_name_len(const char *s, size_t len)
{
    size_t n = 1;

    while (n < len && (isalnum((unsigned char)s[n]) || s[n] == '_'))
        n++;
    return n;
}

static struct tmpl_range tmpl_range_parse(const struct tmpl_segment *g)
{
    struct tmpl_range r = {.s = g->s, .len = g->len};
    struct tmpl_segment rest = *g;

    for (size_t i = 0; i < 2 && rest.len > 0 && *rest.s == '$'; i++) {
        r.names[i] = rest.s;
        r.name_len[i] = tmpl_name_len(rest.s, rest.len);
        rest.s += r.name_len[i];
        rest.len -= r.name_len[i];
        tmpl_trim(&rest);
        if (rest.len > 0 && *rest.s == ',') {
            rest.s++;
            rest.len--;
            tmpl_trim(&rest);
        }
    }
    if (rest.len >= 2 && rest.s[0] == ':' && rest.s[1] == '=')
        return (struct tmpl_range){
            {r.names[0], r.names[1]}, {r.name_len[0], r.name_len[1]}, rest.s + 2, rest.len - 2};
    return (struct tmpl_range){.s = g->s, .len = g->len};
}

/* One turn of a loop: its variables and its body. */
static int tmpl_turn(struct tmpl *t, const struct tmpl_program *p, size_t i,
                     const struct tmpl_range *range, json_t *key, json_t *value)
{
    size_t n_vars = t->n_vars;
    int r = 0;

    if (range->names[1])
        r = tmpl_set_var(t, range->names[0], range->name_len[0], key, true);
    if (r == 0 && range->names[0])
        r = tmpl_set_var(t, range->names[range->names[1] ? 1 : 0],
                         range->name_len[range->names[1] ? 1 : 0], value, true);
    if (r == 0)
        r = tmpl_run(t, p, i + 1, p->v[i].next, value);
    tmpl_drop_vars(t, n_vars);
    return r;
}

static int tmpl_loop(struct tmpl *t, const struct tmpl_program *p, size_t i, json_t *dot)
{
    struct tmpl_range range = tmpl_range_parse(&p->v[i]);
    _cleanup_(json_decrefp) json_t *over = NULL;
    bool declared;
    int r;

    t->line = p->v[i].line;
    r = tmpl_eval(t, range.s, range.len, dot, &over, &declared);
    if (r < 0)
        return r;
    if (over && !json_is_array(over) && !json_is_object(over) && !json_is_null(over))
        return tmpl_fail(t, "range can't iterate over a single value");
    if (!tmpl_truth(over))
        return tmpl_branch(t, p, p->v[i].next, dot);
    for (size_t k = 0; r == 0 && json_is_array(over) && k < json_array_size(over); k++) {
        _cleanup_(json_decrefp) json_t *key = json_integer((json_int_t)k);

        r = tmpl_turn(t, p, i, &range, key, json_array_get(over, k));
    }
    if (json_is_object(over)) {
        _cleanup_(freep) const char **keys = js_keys(over);

        for (size_t k = 0; r == 0 && keys[k]; k++) {
            _cleanup_(json_decrefp) json_t *key = json_string(keys[k]);

            r = tmpl_turn(t, p, i, &range, key, json_object_get(over, keys[k]));
        }
    }
    return r;
}

static int tmpl_output(struct tmpl *t, const struct tmpl_segment *g, json_t *dot)
{
    _cleanup_(json_decrefp) json_t *value = NULL;
    bool declared = false;
    int r;

    t->line = g->line;
    r = tmpl_eval(t, g->s, g->len, dot, &value, &declared);
    if (r == 0 && !declared)
        tmpl_print(&t->out, value);
    return r;
}

static int tmpl_run(struct tmpl *t, const struct tmpl_program *p, size_t from, size_t to,
                    json_t *dot)
{
    size_t n_vars = t->n_vars;
    int r = 0;

    for (size_t i = from; r == 0 && i < to; i++) {
        const struct tmpl_segment *g = &p->v[i];

        switch (g->kind) {
        case TMPL_TEXT:
            strbuf_add(&t->out, g->s, g->len);
            break;
        case TMPL_OUTPUT:
            r = tmpl_output(t, g, dot);
            break;
        case TMPL_IF:
        case TMPL_WITH:
            r = tmpl_branch(t, p, i, dot);
            i = tmpl_block_end(p, i);
            break;
        case TMPL_RANGE:
            r = tmpl_loop(t, p, i, dot);
            i = tmpl_block_end(p, i);
            break;
        case TMPL_ELSE:
        case TMPL_END:
            break;
        }
    }
    tmpl_drop_vars(t, n_vars);
    return r;
}

int template_render(const char *text, const json_t *data, char **ret, struct errtext *e)
{
    struct tmpl t = {.root = data, .out = STRBUF_BOUND(TEMPLATE_OUTPUT_MAX), .line = 1, .e = e};
    _cleanup_(freep) struct tmpl_segment *segments = NULL;
    struct tmpl_program p = {0};
    int r;

    if (strlen(text) > TEMPLATE_TEXT_MAX)
        return tmpl_fail(&t, "longer than %zu bytes", TEMPLATE_TEXT_MAX);
    segments = p.v = xcalloc(TMPL_SEGMENTS_MAX, sizeof(*p.v));
    r = tmpl_lex(&t, &p, text);
    if (r == 0)
        r = tmpl_link(&t, &p);
    if (r == 0)
        r = tmpl_run(&t, &p, 0, p.n, (json_t *)data);
    if (r == 0 && strbuf_failed(&t.out))
        r = tmpl_fail(&t, "the output is larger than %zu MiB", TEMPLATE_OUTPUT_MAX >> 20);
    if (r == 0)
        *ret = strbuf_take(&t.out);
    strbuf_fini(&t.out);
    return r;
}
