/* SPDX-License-Identifier: MPL-2.0 */
/* Single values of a text into their places, and the texts for values of the wrong type. */
#include "json/json_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

int json_charge(struct json_reader *r, size_t n)
{
    if (n > r->budget)
        return err_set(r->e, -EMSGSIZE, "JSON text describes too large an object (offset %zu)",
                       (size_t)(r->p - r->text));
    r->budget -= n;
    return 0;
}

static size_t offset_of(const struct json_reader *r, const char *p)
{
    return (size_t)(p - r->text);
}

/* "Job.TaskGroups.Count": the names from the outermost object to the field. */
static void path_text(const struct json_path *path, char *buf, size_t size)
{
    size_t n;

    if (path->up)
        path_text(path->up, buf, size);
    n = strlen(buf);
    if (n + path->field->key_len < size)
        (void)snprintf(buf + n, size - n, "%s%.*s", n ? "." : "", path->field->key_len - 3,
                       path->field->key + 1);
}

static const char *go_type(const struct json_field *f, bool element, char *buf, size_t size)
{
    const struct json_field *value = f->flags & JSON_F_MAP ? &f->sub->fields[1] : f;
    const char *prefix = element                         ? ""
                         : f->flags & JSON_F_MAP         ? "map[string]"
                         : !(f->flags & JSON_F_REPEATED) ? ""
                         : f->kind == JSON_MESSAGE       ? "[]*"
                                                         : "[]";

    (void)snprintf(buf, size, "%s%s%s", prefix, value->kind == JSON_MESSAGE ? "api." : "",
                   value->kind == JSON_RAW ? "map[string]interface {}" : value->go);
    return buf;
}

/* The value at `at` is of another type than the field: Go's text, and where. */
static int mismatch(struct json_reader *r, const char *what, const char *at, bool element)
{
    char path[256] = "", type[96];

    if (!r->path)
        return err_set(r->e, -EBADMSG,
                       "json: cannot unmarshal %s into Go value of type api.%s (offset %zu)", what,
                       r->root->name, offset_of(r, at));
    path_text(r->path, path, sizeof(path));
    go_type(r->path->field, element, type, sizeof(type));
    return err_set(r->e, -EBADMSG,
                   "json: cannot unmarshal %s into Go struct field %s.%s of type %s (offset %zu)",
                   what, r->path->owner->name, path, type, offset_of(r, at));
}

static bool wants_number(const struct json_reader *r)
{
    const struct json_field *f = r->path ? r->path->field : NULL;

    return f && !(f->flags & JSON_F_MAP) &&
           (f->kind == JSON_INT || f->kind == JSON_UINT || f->kind == JSON_DOUBLE);
}

/* The same for whatever stands at r->p. */
int json_wrong_value(struct json_reader *r, bool element)
{
    const char *at = r->p, *num;
    char what[64];
    size_t n;
    int err;

    if (r->p >= r->end)
        return json_syntax_error(r, "");
    switch (*r->p) {
    case '"':
        return mismatch(r, "string", at, element);
    case '{':
        return mismatch(r, "object", at, element);
    case '[':
        return mismatch(r, "array", at, element);
    case 't':
    case 'f':
        err = json_read_literal(r, *r->p == 't' ? "true" : "false");
        return err ? err : mismatch(r, "bool", at, element);
    case '-':
    case '0' ... '9':
        err = json_read_number(r, &num, &n);
        if (err)
            return err;
        if (wants_number(r)) /* which does not fit */
            (void)snprintf(what, sizeof(what), "number %.*s", (int)MIN(n, (size_t)40), num);
        else
            (void)snprintf(what, sizeof(what), "number");
        return mismatch(r, what, at, element);
    default:
        return json_syntax_error(r, "looking for beginning of value");
    }
}

static int bad_text(struct json_reader *r, const char *at, const char *why)
{
    char path[256] = "";

    if (r->path)
        path_text(r->path, path, sizeof(path));
    return err_set(r->e, -EBADMSG, "%s: %s (offset %zu)", path, why, offset_of(r, at));
}

/* A malloc'ed copy of the string at r->p. */
int json_read_text(struct json_reader *r, char **ret)
{
    const char *at = r->p;
    struct json_span s;
    char *p;
    int err;

    if (r->p >= r->end || *r->p != '"')
        return json_wrong_value(r, true);
    err = json_read_string(r, &s);
    if (err)
        return err;
    if (s.nul)
        return bad_text(r, at, "a string must not contain the null character");
    err = json_charge(r, s.decoded_len + 1);
    if (err)
        return err;
    p = xmalloc(s.decoded_len + 1);
    json_span_decode(&s, p);
    p[s.decoded_len] = 0;
    *ret = p;
    return 0;
}

static int read_string(struct json_reader *r, const struct json_field *f, char **slot)
{
    char *s;
    int err = json_read_text(r, &s);

    if (err)
        return err;
    free(*slot);
    *slot = NULL;
    if (!*s && !(f->flags & (JSON_F_OPTIONAL | JSON_F_REPEATED | JSON_F_MAP)))
        free(s); /* as protobuf has it: an empty string is no string */
    else
        *slot = s;
    return 0;
}

static int read_bytes(struct json_reader *r, pb_bytes_array_t **slot)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    _cleanup_(freep) char *text = NULL;
    const char *at = r->p;
    size_t len, pad = 0;
    pb_bytes_array_t *b;
    uint32_t bits = 0;
    int err = json_read_text(r, &text);

    if (err)
        return err;
    len = strlen(text);
    while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
        pad++;
    if (len % 4 || strspn(text, alphabet) != len - pad)
        return bad_text(r, at, "illegal base64 data");
    if (len / 4 * 3 - pad > UINT16_MAX)
        return bad_text(r, at, "too many bytes");
    b = xmalloc(PB_BYTES_ARRAY_T_ALLOCSIZE(len / 4 * 3));
    b->size = (pb_size_t)(len / 4 * 3 - pad);
    for (size_t i = 0; i < len; i++) {
        const char *digit = strchr(alphabet, text[i]); /* NULL: padding */

        bits = bits << 6 | (digit ? (uint32_t)(digit - alphabet) : 0);
        if (i % 4 != 3)
            continue;
        b->bytes[i / 4 * 3] = (uint8_t)(bits >> 16);
        b->bytes[i / 4 * 3 + 1] = (uint8_t)(bits >> 8);
        b->bytes[i / 4 * 3 + 2] = (uint8_t)bits;
    }
    free(*slot);
    *slot = b;
    return 0;
}

static int read_raw(struct json_reader *r, char **slot)
{
    struct strbuf out = STRBUF_BOUND(r->budget);
    const char *at = r->p;
    int err;

    if (r->p < r->end && *r->p != '{')
        return json_wrong_value(r, true);
    err = json_read_raw(r, &out);
    if (err) {
        strbuf_fini(&out);
        return err;
    }
    free(*slot);
    *slot = strbuf_take(&out);
    return json_charge(r, (size_t)(r->p - at));
}

/* Decimal digits behind an optional sign; false when there is anything else or no room. */
static bool parse_magnitude(const char *p, size_t n, uint64_t *ret)
{
    uint64_t v = 0;
    size_t i;

    for (i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9' || __builtin_mul_overflow(v, UINT64_C(10), &v) ||
            __builtin_add_overflow(v, (uint64_t)(p[i] - '0'), &v))
            return false;
    *ret = v;
    return true;
}

static int read_integer(struct json_reader *r, const struct json_field *f, void *slot)
{
    const char *at = r->p, *p;
    char what[64];
    uint64_t v = 0, max;
    bool negative, ok;
    size_t n;
    int err;

    if (r->p >= r->end || (*r->p != '-' && (*r->p < '0' || *r->p > '9')))
        return json_wrong_value(r, true);
    err = json_read_number(r, &p, &n);
    if (err)
        return err;
    negative = *p == '-';
    ok = parse_magnitude(p + negative, n - negative, &v);
    max = UINT64_MAX >> (64 - f->limit);
    if (f->kind == JSON_INT)
        max = (max >> 1) + negative;
    else if (negative)
        max = 0;
    if (!ok || v > max) {
        (void)snprintf(what, sizeof(what), "number %.*s", (int)MIN(n, (size_t)40), p);
        return mismatch(r, what, at, true);
    }
    if (negative)
        v = 0 - v;
    if (f->bits == 32)
        *(uint32_t *)slot = (uint32_t)v;
    else
        *(uint64_t *)slot = v;
    return 0;
}

static int read_double(struct json_reader *r, double *slot)
{
    char buf[64];
    const char *p;
    size_t n;
    int err;

    if (r->p >= r->end || (*r->p != '-' && (*r->p < '0' || *r->p > '9')))
        return json_wrong_value(r, true);
    err = json_read_number(r, &p, &n);
    if (err)
        return err;
    if (n >= sizeof(buf))
        return bad_text(r, p, "number too long");
    memcpy(buf, p, n);
    buf[n] = 0;
    *slot = strtod(buf, NULL);
    return 0;
}

static int read_bool(struct json_reader *r, bool *slot)
{
    int err;

    if (r->p >= r->end || (*r->p != 't' && *r->p != 'f'))
        return json_wrong_value(r, true);
    err = json_read_literal(r, *r->p == 't' ? "true" : "false");
    if (!err)
        *slot = r->p[-2] == 'u'; /* tr-u-e */
    return err;
}

static int read_clock(struct json_reader *r, const struct json_field *f, int64_t *slot)
{
    _cleanup_(freep) char *text = NULL;
    const char *at = r->p;
    int err = json_read_text(r, &text);

    if (err)
        return err;
    if (f->kind == JSON_DURATION)
        err = duration_parse(text, slot);
    else
        err = json_time_parse(text, strlen(text), slot);
    if (err)
        return bad_text(r, at, f->kind == JSON_TIME ? "not a time" : "invalid duration");
    return 0;
}

int json_read_scalar(struct json_reader *r, const struct json_field *f, void *slot)
{
    switch ((enum json_kind)f->kind) {
    case JSON_BOOL:
        return read_bool(r, slot);
    case JSON_INT:
    case JSON_UINT:
        return read_integer(r, f, slot);
    case JSON_DOUBLE:
        return read_double(r, slot);
    case JSON_STRING:
        return read_string(r, f, slot);
    case JSON_RAW:
        return read_raw(r, slot);
    case JSON_BYTES:
        return read_bytes(r, slot);
    case JSON_MESSAGE:
        break;
    case JSON_DURATION:
    case JSON_TIME:
        return read_clock(r, f, slot);
    }
    assert(!"a message is no scalar");
    return 0;
}
