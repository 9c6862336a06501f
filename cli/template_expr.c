/* SPDX-License-Identifier: MPL-2.0 */
/* Templates: pipelines, operands, variables. */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "template_int.h"

struct tmpl_cursor {
    const char *s, *end;
    json_t *dot;
    int depth; /* of parentheses */
};

static int expr_pipeline(struct tmpl *t, struct tmpl_cursor *c, json_t **ret, bool *declared);

static void expr_skip(struct tmpl_cursor *c)
{
    while (c->s < c->end && isspace((unsigned char)*c->s))
        c->s++;
}

static bool expr_at(const struct tmpl_cursor *c, char ch)
{
    return c->s < c->end && *c->s == ch;
}

static bool expr_is_word(char ch)
{
    return isalnum((unsigned char)ch) || ch == '_';
}

static size_t expr_word_len(const struct tmpl_cursor *c)
{
    size_t n = 0;

    while (c->s + n < c->end && expr_is_word(c->s[n]))
        n++;
    return n;
}

int tmpl_set_var(struct tmpl *t, const char *name, size_t len, json_t *value, bool is_new)
{
    struct tmpl_var *v = NULL;

    if (len >= sizeof(v->name))
        return tmpl_fail(t, "variable name too long");
    for (size_t i = t->n_vars; !is_new && i > 0 && !v; i--) {
        if (strncmp(t->vars[i - 1].name, name, len) == 0 && t->vars[i - 1].name[len] == '\0')
            v = &t->vars[i - 1];
    }
    if (!v && !is_new)
        return tmpl_fail(t, "undefined variable \"%.*s\"", (int)len, name);
    if (!v) {
        if (t->n_vars == TEMPLATE_VARS_MAX)
            return tmpl_fail(t, "more than %d variables", TEMPLATE_VARS_MAX);
        v = &t->vars[t->n_vars++];
        *v = (struct tmpl_var){0};
        memcpy(v->name, name, len);
    }
    json_decref(v->value);
    v->value = json_incref(value);
    return 0;
}

static int expr_get_var(struct tmpl *t, const char *name, size_t len, json_t **ret)
{
    if (len == 1) {
        *ret = json_incref((json_t *)t->root);
        return 0;
    }
    for (size_t i = t->n_vars; i > 0; i--) {
        if (strncmp(t->vars[i - 1].name, name, len) == 0 && t->vars[i - 1].name[len] == '\0') {
            *ret = json_incref(t->vars[i - 1].value);
            return 0;
        }
    }
    return tmpl_fail(t, "undefined variable \"%.*s\"", (int)len, name);
}

/* The member of that name; else one that differs in case only: Go's names begin in upper case. */
static json_t *expr_member(json_t *v, const char *name)
{
    json_t *member = json_object_get(v, name), *other;
    const char *key;

    if (member)
        return member;
    json_object_foreach(v, key, other)
    {
        if (strcasecmp(key, name) == 0)
            return other;
    }
    return NULL;
}

/* .A.B behind a value: *v is replaced. */
static int expr_fields(struct tmpl *t, struct tmpl_cursor *c, json_t **v)
{
    while (expr_at(c, '.')) {
        char name[256];
        json_t *member;
        size_t len;

        c->s++;
        len = expr_word_len(c);
        if (len == 0 || len >= sizeof(name))
            return tmpl_fail(t, "bad field name");
        memcpy(name, c->s, len);
        name[len] = '\0';
        c->s += len;
        if (*v && !json_is_object(*v) && !json_is_null(*v))
            return tmpl_fail(t, "can't evaluate field %s in a value that is no object", name);
        member = json_incref(expr_member(*v, name));
        json_decref(*v);
        *v = member;
    }
    return 0;
}

static int expr_string(struct tmpl *t, struct tmpl_cursor *c, json_t **ret)
{
    static const char escapes[] = "abfnrtv\\\"'", values[] = "\a\b\f\n\r\t\v\\\"'";
    struct strbuf b = STRBUF_INIT;
    char quote = *c->s++;

    while (c->s < c->end && *c->s != quote) {
        const char *known;

        if (quote == '`' || *c->s != '\\') {
            strbuf_addc(&b, *c->s++);
            continue;
        }
        known = c->s + 1 < c->end ? strchr(escapes, c->s[1]) : NULL;
        if (!known) {
            strbuf_fini(&b);
            return tmpl_fail(t, "bad escape in a string");
        }
        strbuf_addc(&b, values[known - escapes]);
        c->s += 2;
    }
    if (c->s == c->end) {
        strbuf_fini(&b);
        return tmpl_fail(t, "unterminated quoted string");
    }
    c->s++;
    *ret = json_stringn(b.data ? b.data : "", b.len);
    strbuf_fini(&b);
    return *ret ? 0 : tmpl_fail(t, "a string that is not UTF-8");
}

static int expr_number(struct tmpl *t, struct tmpl_cursor *c, json_t **ret)
{
    _cleanup_(freep) char *text = NULL;
    size_t n = 1;
    char *end;
    long long whole;

    while (c->s + n < c->end && (expr_is_word(c->s[n]) || c->s[n] == '.'))
        n++;
    text = xstrndup(c->s, n);
    errno = 0;
    whole = strtoll(text, &end, 0);
    if (*end || errno) {
        double v = strtod(text, &end);

        if (*end)
            return tmpl_fail(t, "bad number syntax: \"%s\"", text);
        *ret = json_real(v);
    } else
        *ret = json_integer(whole);
    c->s += n;
    return *ret ? 0 : tmpl_fail(t, "bad number: \"%s\"", text);
}

/* A word that is no field: a constant, or a function without arguments. */
static int expr_word(struct tmpl *t, struct tmpl_cursor *c, json_t **ret)
{
    size_t len = expr_word_len(c);
    const char *s = c->s;

    if (len == 0)
        return tmpl_fail(t, "unexpected \"%c\" in operand", *c->s);
    c->s += len;
    if (len == 4 && memcmp(s, "true", 4) == 0)
        *ret = json_true();
    else if (len == 5 && memcmp(s, "false", 5) == 0)
        *ret = json_false();
    else if (len == 3 && memcmp(s, "nil", 3) == 0)
        *ret = json_null();
    else if (!tmpl_is_function(s, len))
        return tmpl_fail(t, "function \"%.*s\" not defined", (int)len, s);
    else
        return tmpl_call(t, s, len, NULL, 0, ret);
    return 0;
}

static int expr_parens(struct tmpl *t, struct tmpl_cursor *c, json_t **ret)
{
    bool declared = false;
    int r;

    if (++c->depth > TEMPLATE_DEPTH_MAX)
        return tmpl_fail(t, "more than %d parentheses within each other", TEMPLATE_DEPTH_MAX);
    c->s++;
    r = expr_pipeline(t, c, ret, &declared);
    if (r < 0)
        return r;
    if (!expr_at(c, ')'))
        return tmpl_fail(t, "unclosed left paren");
    c->s++;
    c->depth--;
    return 0;
}

static int expr_operand(struct tmpl *t, struct tmpl_cursor *c, json_t **ret)
{
    int r = 0;

    *ret = NULL;
    if (expr_at(c, '.')) {
        *ret = json_incref(c->dot);
        if (c->s + 1 == c->end || !expr_is_word(c->s[1])) {
            c->s++;
            return 0;
        }
    } else if (expr_at(c, '$')) {
        size_t len = 1;

        while (c->s + len < c->end && expr_is_word(c->s[len]))
            len++;
        r = expr_get_var(t, c->s, len, ret);
        c->s += len;
    } else if (expr_at(c, '(')) {
        r = expr_parens(t, c, ret);
    } else if (expr_at(c, '"') || expr_at(c, '`')) {
        return expr_string(t, c, ret);
    } else if (isdigit((unsigned char)*c->s) || *c->s == '-' || *c->s == '+') {
        return expr_number(t, c, ret);
    } else {
        r = expr_word(t, c, ret);
    }
    if (r == 0)
        r = expr_fields(t, c, ret);
    if (r < 0) {
        json_decref(*ret);
        *ret = NULL;
    }
    return r;
}

static bool expr_command_ends(const struct tmpl_cursor *c)
{
    return c->s == c->end || *c->s == '|' || *c->s == ')';
}

/* A function and its arguments, or one operand. piped (may be NULL) is the last argument. */
static int expr_command(struct tmpl *t, struct tmpl_cursor *c, json_t *piped, bool has_piped,
                        json_t **ret)
{
    const char *name = c->s;
    size_t len = expr_word_len(c), n = 0;
    json_t *args[TMPL_ARGS_MAX];
    int r = 0;

    if (len == 0 || isdigit((unsigned char)*name) || !tmpl_is_function(name, len)) {
        r = expr_operand(t, c, ret);
        expr_skip(c);
        if (r == 0 && (has_piped || !expr_command_ends(c))) {
            json_decref(*ret);
            *ret = NULL;
            return tmpl_fail(t, "can't give argument to non-function");
        }
        return r;
    }
    c->s += len;
    for (expr_skip(c); r == 0 && !expr_command_ends(c); expr_skip(c)) {
        if (n == TMPL_ARGS_MAX - 1)
            r = tmpl_fail(t, "more than %d arguments", TMPL_ARGS_MAX - 1);
        else {
            r = expr_operand(t, c, &args[n]);
            n += r == 0 ? 1 : 0;
        }
    }
    if (has_piped)
        args[n++] = json_incref(piped);
    if (r == 0)
        r = tmpl_call(t, name, len, args, n, ret);
    while (n > 0)
        json_decref(args[--n]);
    return r;
}

/* "$x :=" or "$x =" at the front: its name, and the cursor behind it. */
static size_t expr_declaration(struct tmpl_cursor *c, const char **ret_name, bool *ret_new)
{
    const char *start = c->s;
    size_t len = 1;

    if (!expr_at(c, '$'))
        return 0;
    while (c->s + len < c->end && expr_is_word(c->s[len]))
        len++;
    c->s += len;
    expr_skip(c);
    *ret_name = start;
    *ret_new = expr_at(c, ':');
    if (c->end - c->s >= 2 && c->s[0] == ':' && c->s[1] == '=')
        c->s += 2;
    else if (expr_at(c, '=') && c->end - c->s >= 2 && c->s[1] != '=')
        c->s++;
    else {
        c->s = start;
        return 0;
    }
    return len;
}

static int expr_pipeline(struct tmpl *t, struct tmpl_cursor *c, json_t **ret, bool *declared)
{
    json_t *value = NULL, *next;
    const char *name = NULL;
    bool is_new = false, has_value = false;
    size_t name_len;
    int r = 0;

    expr_skip(c);
    name_len = expr_declaration(c, &name, &is_new);
    do {
        expr_skip(c);
        next = NULL;
        if (expr_command_ends(c))
            r = tmpl_fail(t, "missing value for command");
        else
            r = expr_command(t, c, value, has_value, &next);
        json_decref(value);
        value = r == 0 ? next : NULL;
        has_value = true;
        expr_skip(c);
    } while (r == 0 && expr_at(c, '|') && c->s++);
    if (r == 0 && name_len > 0) {
        r = tmpl_set_var(t, name, name_len, value, is_new);
        *declared = true;
    }
    if (r < 0) {
        json_decref(value);
        return r;
    }
    *ret = value;
    return 0;
}

int tmpl_eval(struct tmpl *t, const char *s, size_t len, json_t *dot, json_t **ret, bool *declared)
{
    struct tmpl_cursor c = {.s = s, .end = s + len, .dot = dot};
    int r;

    *declared = false;
    *ret = NULL;
    r = expr_pipeline(t, &c, ret, declared);
    if (r == 0 && c.s < c.end) {
        json_decref(*ret);
        *ret = NULL;
        return tmpl_fail(t, "unexpected \"%c\" in command", *c.s);
    }
    return r;
}
