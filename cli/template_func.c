/* SPDX-License-Identifier: MPL-2.0 */
/* Templates: functions, truth, and how values are printed. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "jsontext.h"
#include "template_int.h"
#include "text.h"

#define TMPL_WIDTH_MAX 1000 /* of a field of printf */

bool tmpl_truth(const json_t *v)
{
    if (!v)
        return false;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return json_object_size(v) > 0;
    case JSON_ARRAY:
        return json_array_size(v) > 0;
    case JSON_STRING:
        return json_string_length(v) > 0;
    case JSON_INTEGER:
    case JSON_REAL:
        return json_number_value(v) != 0;
    case JSON_TRUE:
        return true;
    case JSON_FALSE:
    case JSON_NULL:
        return false;
    }
    return false;
}

/* Recursion is bounded by the parser's limit on the depth of documents. */
void tmpl_print(struct strbuf *b, const json_t *v)
{
    size_t i;
    json_t *item;

    if (!v)
        strbuf_adds(b, "<no value>");
    else if (json_is_null(v))
        strbuf_adds(b, "<nil>");
    else if (json_is_string(v))
        strbuf_add(b, json_string_value(v), json_string_length(v));
    else if (json_is_array(v)) {
        strbuf_addc(b, '[');
        json_array_foreach(v, i, item)
        {
            strbuf_adds(b, i ? " " : "");
            tmpl_print(b, item);
        }
        strbuf_addc(b, ']');
    } else if (json_is_object(v)) {
        _cleanup_(freep) const char **keys = js_keys(v);

        strbuf_adds(b, "map[");
        for (i = 0; keys[i]; i++) {
            strbuf_addf(b, "%s%s:", i ? " " : "", keys[i]);
            tmpl_print(b, json_object_get(v, keys[i]));
        }
        strbuf_addc(b, ']');
    } else {
        _cleanup_(freep) char *text = js_text(v, JS_COMPACT);

        strbuf_adds(b, text);
    }
}

static json_t *func_take_string(struct strbuf *b)
{
    json_t *s = json_stringn(b->data ? b->data : "", b->len);

    strbuf_fini(b);
    return s ? s : json_string("");
}

static int func_len(struct tmpl *t, json_t **args, size_t n, json_t **ret)
{
    if (n != 1)
        return tmpl_fail(t, "wrong number of args for len: want 1 got %zu", n);
    if (json_is_string(args[0]))
        *ret = json_integer((json_int_t)json_string_length(args[0]));
    else if (json_is_array(args[0]) || json_is_object(args[0]) || json_is_null(args[0]))
        *ret = json_integer((json_int_t)(json_array_size(args[0]) + json_object_size(args[0])));
    else
        return tmpl_fail(t, "error calling len: the value has no length");
    return 0;
}

static int func_index(struct tmpl *t, json_t **args, size_t n, json_t **ret)
{
    json_t *v = n > 0 ? args[0] : NULL;

    if (n == 0)
        return tmpl_fail(t, "wrong number of args for index: want at least 1 got 0");
    for (size_t i = 1; i < n; i++) {
        if (json_is_array(v) && json_is_integer(args[i])) {
            json_int_t k = json_integer_value(args[i]);

            if (k < 0 || (size_t)k >= json_array_size(v))
                return tmpl_fail(t, "error calling index: index out of range: %lld", (long long)k);
            v = json_array_get(v, (size_t)k);
        } else if ((json_is_object(v) || json_is_null(v)) && json_is_string(args[i]))
            v = json_object_get(v, json_string_value(args[i]));
        else
            return tmpl_fail(t, "error calling index: can't index the value with this key");
    }
    *ret = json_incref(v);
    return 0;
}

/* -1, 0, 1 in *ret; a failure when the two cannot be ordered. */
static int func_compare(struct tmpl *t, const json_t *a, const json_t *b, int *ret)
{
    if (json_is_string(a) && json_is_string(b))
        *ret = strcmp(json_string_value(a), json_string_value(b));
    else if (json_is_integer(a) && json_is_integer(b))
        *ret = (json_integer_value(a) > json_integer_value(b)) -
               (json_integer_value(a) < json_integer_value(b));
    else if (json_is_number(a) && json_is_number(b))
        *ret = (json_number_value(a) > json_number_value(b)) -
               (json_number_value(a) < json_number_value(b));
    else
        return tmpl_fail(t, "error calling comparison: incompatible types for comparison");
    return 0;
}

static int func_equal(struct tmpl *t, const json_t *a, const json_t *b, bool *ret)
{
    int order = 1, r = 0;

    if (!a || !b || json_is_null(a) || json_is_null(b))
        *ret = (!a || json_is_null(a)) && (!b || json_is_null(b));
    else if (json_is_boolean(a) && json_is_boolean(b))
        *ret = json_is_true(a) == json_is_true(b);
    else {
        r = func_compare(t, a, b, &order);
        *ret = order == 0;
    }
    return r;
}

static int func_order(struct tmpl *t, const char *name, json_t **args, size_t n, json_t **ret)
{
    bool equal = false;
    int order = 0, r;

    if (n < 2 || (n > 2 && strcmp(name, "eq") != 0))
        return tmpl_fail(t, "wrong number of args for %s: want 2 got %zu", name, n);
    if (strcmp(name, "eq") == 0 || strcmp(name, "ne") == 0) {
        for (size_t i = 1; i < n && !equal; i++) {
            r = func_equal(t, args[0], args[i], &equal);
            if (r < 0)
                return r;
        }
        *ret = json_boolean(equal == (name[0] == 'e'));
        return 0;
    }
    r = func_compare(t, args[0], args[1], &order);
    if (r < 0)
        return r;
    *ret = json_boolean((name[0] == 'l' ? order < 0 : order > 0) || (name[1] == 'e' && order == 0));
    return 0;
}

/* and: the first false argument, else the last; or: the first true one, else the last. */
static int func_logic(struct tmpl *t, const char *name, json_t **args, size_t n, json_t **ret)
{
    size_t i = 0;

    if (n == 0)
        return tmpl_fail(t, "wrong number of args for %s: want at least 1 got 0", name);
    while (i + 1 < n && tmpl_truth(args[i]) == (name[0] == 'a'))
        i++;
    *ret = json_incref(args[i]);
    return 0;
}

/* One verb of printf over one value. spec is "%-5" and so on, without the verb. */
static void func_verb(struct strbuf *b, const char *spec, char verb, const json_t *v)
{
    struct strbuf text = STRBUF_INIT;
    int width = 0, precision = -1;
    bool left = strchr(spec, '-') != NULL, zero = spec[1] == '0';
    const char *dot = strchr(spec, '.');
    size_t digits = strspn(spec + 1, "-+ #0") + 1;

    width = (int)MIN(strtol(spec + digits, NULL, 10), TMPL_WIDTH_MAX);
    if (dot)
        precision = (int)MIN(strtol(dot + 1, NULL, 10), TMPL_WIDTH_MAX);
    if (verb == 'q' && json_is_string(v)) {
        _cleanup_(freep) char *quoted = text_quote(json_string_value(v));

        strbuf_adds(&text, quoted);
    } else if (strchr("feg", verb) && json_is_real(v)) {
        char format[] = {'%', '.', '*', verb, '\0'};
        char number[512];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(number, sizeof(number), format, precision < 0 ? 6 : precision, json_real_value(v));
#pragma GCC diagnostic pop
        strbuf_adds(&text, number);
    } else if ((verb == 'x' || verb == 'X') && json_is_integer(v))
        strbuf_addf(&text, verb == 'x' ? "%llx" : "%llX", (long long)json_integer_value(v));
    else if (verb == 'v' || (verb == 's' && !json_is_number(v)) ||
             (verb == 'd' && json_is_integer(v)) || (verb == 't' && json_is_boolean(v)))
        tmpl_print(&text, v);
    else {
        strbuf_addf(&text, "%%!%c(", verb);
        tmpl_print(&text, v);
        strbuf_addc(&text, ')');
    }
    if (verb == 's' && precision >= 0 && text.len > (size_t)precision)
        text.data[text.len = (size_t)precision] = '\0';
    if (zero && !left && json_is_number(v))
        strbuf_addf(b, "%.*s%s", MAX(width - (int)text.len, 0), "00000000000000000000000000000000",
                    text.data);
    else
        strbuf_addf(b, "%*s", left ? -width : width, text.data ? text.data : "");
    strbuf_fini(&text);
}

static int func_printf(struct tmpl *t, json_t **args, size_t n, json_t **ret)
{
    struct strbuf b = STRBUF_BOUND(TEMPLATE_OUTPUT_MAX);
    const char *f;
    size_t next = 1;

    if (n == 0 || !json_is_string(args[0]))
        return tmpl_fail(t, "error calling printf: the format must be a string");
    for (f = json_string_value(args[0]); *f; f++) {
        char spec[32];
        size_t len = strspn(f + 1, "-+ #0123456789.") + 1;

        if (*f != '%') {
            strbuf_addc(&b, *f);
        } else if (f[1] == '%') {
            strbuf_addc(&b, *f++);
        } else if (len >= sizeof(spec) || !f[len]) {
            strbuf_adds(&b, "%!(NOVERB)");
            break;
        } else {
            memcpy(spec, f, len);
            spec[len] = '\0';
            f += len;
            if (next < n)
                func_verb(&b, spec, *f, args[next++]);
            else
                strbuf_addf(&b, "%%!%c(MISSING)", *f);
        }
    }
    *ret = func_take_string(&b);
    return 0;
}

static int func_print(json_t **args, size_t n, bool line, json_t **ret)
{
    struct strbuf b = STRBUF_BOUND(TEMPLATE_OUTPUT_MAX);

    for (size_t i = 0; i < n; i++) {
        if (i > 0 && (line || (!json_is_string(args[i - 1]) && !json_is_string(args[i]))))
            strbuf_addc(&b, ' ');
        tmpl_print(&b, args[i]);
    }
    if (line)
        strbuf_addc(&b, '\n');
    *ret = func_take_string(&b);
    return 0;
}

static const char *const func_names[] = {"and", "eq", "ge",  "gt", "index", "le",     "len",
                                         "lt",  "ne", "not", "or", "print", "printf", "println"};

bool tmpl_is_function(const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(func_names); i++) {
        if (strlen(func_names[i]) == len && memcmp(func_names[i], name, len) == 0)
            return true;
    }
    return false;
}

int tmpl_call(struct tmpl *t, const char *name, size_t len, json_t **args, size_t n, json_t **ret)
{
    char word[16];

    assert(tmpl_is_function(name, len) && len < sizeof(word));
    memcpy(word, name, len);
    word[len] = '\0';
    if (strcmp(word, "len") == 0)
        return func_len(t, args, n, ret);
    if (strcmp(word, "index") == 0)
        return func_index(t, args, n, ret);
    if (strcmp(word, "printf") == 0)
        return func_printf(t, args, n, ret);
    if (strcmp(word, "print") == 0 || strcmp(word, "println") == 0)
        return func_print(args, n, len > 5, ret);
    if (strcmp(word, "and") == 0 || strcmp(word, "or") == 0)
        return func_logic(t, word, args, n, ret);
    if (strcmp(word, "not") == 0) {
        if (n != 1)
            return tmpl_fail(t, "wrong number of args for not: want 1 got %zu", n);
        *ret = json_boolean(!tmpl_truth(args[0]));
        return 0;
    }
    return func_order(t, word, args, n, ret);
}
