/* SPDX-License-Identifier: MPL-2.0 */
/* JSON documents as text, and forgiving lookups. */
#include "jsontext.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"

struct js_style {
    int indent;
    bool html, sorted;
};

static int js_key_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

json_t *js_get(const json_t *obj, const char *key)
{
    return json_object_get(obj, key);
}

json_t *js_some(const json_t *obj, const char *key)
{
    json_t *v = json_object_get(obj, key);

    return json_is_null(v) ? NULL : v;
}

const char *js_str(const json_t *obj, const char *key)
{
    const char *s = json_string_value(json_object_get(obj, key));

    return s ? s : "";
}

json_int_t js_int(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);

    if (json_is_real(v) && fabs(json_real_value(v)) < 9e18)
        return (json_int_t)json_real_value(v);
    return json_integer_value(v);
}

uint64_t js_uint(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    double real = json_real_value(v);

    if (json_is_real(v))
        return real <= 0 ? 0 : real >= 0x1p64 ? UINT64_MAX : (uint64_t)real;
    return json_integer_value(v) < 0 ? 0 : (uint64_t)json_integer_value(v);
}

double js_num(const json_t *obj, const char *key)
{
    return json_number_value(json_object_get(obj, key));
}

bool js_bool(const json_t *obj, const char *key)
{
    return json_is_true(json_object_get(obj, key));
}

char *js_float(double v)
{
    char digits[64], *e;
    int precision;

    for (precision = 1; precision < 17; precision++) {
        snprintf(digits, sizeof(digits), "%.*e", precision - 1, v);
        if (strtod(digits, NULL) == v)
            break;
    }
    snprintf(digits, sizeof(digits), "%.*e", precision - 1, v);
    e = strchr(digits, 'e');
    if (v == 0 || (fabs(v) >= 1e-6 && fabs(v) < 1e21)) {
        int decimals = precision - 1 - (e ? (int)strtol(e + 1, NULL, 10) : 0);

        return xasprintf("%.*f", MAX(decimals, 0), v);
    }
    /* Go's exponent has two digits only when it needs them below e-09. */
    if (e && e[2] == '0' && e[1] == '-')
        memmove(e + 2, e + 3, strlen(e + 3) + 1);
    return xstrdup(digits);
}

static void js_add_string(struct strbuf *b, const char *s, size_t n, bool html)
{
    strbuf_addc(b, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '"' || c == '\\')
            strbuf_addf(b, "\\%c", c);
        else if (c == '\n' || c == '\r' || c == '\t')
            strbuf_addf(b, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (c < 0x20 || (html && (c == '<' || c == '>' || c == '&')))
            strbuf_addf(b, "\\u%04x", c);
        else if (c == 0xe2 && i + 2 < n && (unsigned char)s[i + 1] == 0x80 &&
                 ((unsigned char)s[i + 2] & 0xfe) == 0xa8) {
            strbuf_addf(b, "\\u202%x", (unsigned char)s[i + 2] & 0xf);
            i += 2;
        } else
            strbuf_addc(b, (char)c);
    }
    strbuf_addc(b, '"');
}

static void js_newline(struct strbuf *b, struct js_style style, int depth)
{
    if (style.indent > 0)
        strbuf_addf(b, "\n%*s", style.indent * depth, "");
}

static void js_add(struct strbuf *b, const json_t *json, struct js_style style, int depth);

static void js_add_object(struct strbuf *b, const json_t *json, struct js_style style, int depth)
{
    _cleanup_(freep) const char **keys = xcalloc(json_object_size(json) + 1, sizeof(*keys));
    const char *key;
    size_t n = 0;
    json_t *v;

    json_object_foreach((json_t *)json, key, v) keys[n++] = key;
    if (style.sorted)
        qsort(keys, n, sizeof(*keys), js_key_compare);
    strbuf_addc(b, '{');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            strbuf_addc(b, ',');
        js_newline(b, style, depth + 1);
        js_add_string(b, keys[i], strlen(keys[i]), style.html);
        strbuf_adds(b, style.indent > 0 ? ": " : ":");
        js_add(b, json_object_get(json, keys[i]), style, depth + 1);
    }
    if (n > 0)
        js_newline(b, style, depth);
    strbuf_addc(b, '}');
}

/* Recursion is bounded: the parser refuses documents deeper than its own limit. */
static void js_add(struct strbuf *b, const json_t *json, struct js_style style, int depth)
{
    size_t i, n = 0;
    json_t *v;

    switch (json_typeof(json)) {
    case JSON_OBJECT:
        js_add_object(b, json, style, depth);
        return;
    case JSON_ARRAY:
        strbuf_addc(b, '[');
        json_array_foreach(json, i, v)
        {
            if (n++ > 0)
                strbuf_addc(b, ',');
            js_newline(b, style, depth + 1);
            js_add(b, v, style, depth + 1);
        }
        if (n > 0)
            js_newline(b, style, depth);
        strbuf_addc(b, ']');
        return;
    case JSON_STRING:
        js_add_string(b, json_string_value(json), json_string_length(json), style.html);
        return;
    case JSON_INTEGER:
        strbuf_addf(b, "%lld", (long long)json_integer_value(json));
        return;
    case JSON_REAL: {
        _cleanup_(freep) char *text = js_float(json_real_value(json));

        strbuf_adds(b, text);
        return;
    }
    case JSON_TRUE:
        strbuf_adds(b, "true");
        return;
    case JSON_FALSE:
        strbuf_adds(b, "false");
        return;
    case JSON_NULL:
        strbuf_adds(b, "null");
        return;
    }
}

char *js_text(const json_t *json, int indent)
{
    struct strbuf b = STRBUF_INIT;

    js_add(&b, json, (struct js_style){.indent = indent}, 0);
    return strbuf_take(&b);
}

char *js_text_html(const json_t *json, int indent)
{
    struct strbuf b = STRBUF_INIT;

    js_add(&b, json, (struct js_style){.indent = indent, .html = true}, 0);
    return strbuf_take(&b);
}

char *js_text_sorted(const json_t *json, int indent)
{
    struct strbuf b = STRBUF_INIT;

    js_add(&b, json, (struct js_style){.indent = indent, .sorted = true}, 0);
    return strbuf_take(&b);
}

const char **js_keys(const json_t *obj)
{
    const char **keys = xcalloc(json_object_size(obj) + 1, sizeof(*keys));
    const char *key;
    size_t n = 0;
    json_t *v;

    json_object_foreach((json_t *)obj, key, v) keys[n++] = key;
    qsort(keys, n, sizeof(*keys), js_key_compare);
    return keys;
}

/* Merges the sorted halves [lo, mid) and [mid, hi) of v through tmp. */
static void js_merge(json_t **v, json_t **tmp, size_t lo, size_t hi,
                     bool (*less)(const json_t *a, const json_t *b))
{
    size_t mid = lo + (hi - lo) / 2, a = lo, b = mid;

    if (hi - lo < 2)
        return;
    js_merge(v, tmp, lo, mid, less);
    js_merge(v, tmp, mid, hi, less);
    for (size_t i = lo; i < hi; i++)
        tmp[i] = b >= hi || (a < mid && !less(v[b], v[a])) ? v[a++] : v[b++];
    memcpy(v + lo, tmp + lo, (hi - lo) * sizeof(*v));
}

void js_sort(json_t *array, bool (*less)(const json_t *a, const json_t *b))
{
    size_t n = json_array_size(array);
    _cleanup_(freep) json_t **v = xcalloc(n + 1, sizeof(*v));
    _cleanup_(freep) json_t **tmp = xcalloc(n + 1, sizeof(*tmp));

    for (size_t i = 0; i < n; i++)
        v[i] = json_incref(json_array_get(array, i));
    js_merge(v, tmp, 0, n, less);
    json_array_clear(array);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, v[i]);
}
