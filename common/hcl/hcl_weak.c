/* SPDX-License-Identifier: MPL-2.0 */
/*
 * From decoded values to typed fields, with the conversions of Go's mapstructure ("weak" typing):
 * numbers and strings pass for one another, true is "1", one value is a list of one.
 */
#include "hcl/hcl_job.h"

#include "base/clock.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* What is wrong with the fields of one block; all of it is reported together, sorted. */
struct complaints {
    const char **v;
    size_t n, cap;
    unsigned line, column;
};

static void complain(struct hcl_ctx *c, struct complaints *e, const struct hcl_value *v,
                     const char *text)
{
    if (e->n == 0) {
        e->line = v->line;
        e->column = v->column;
    }
    if (e->n == e->cap) {
        e->cap = e->cap ? 2 * e->cap : 4;
        e->v = hcl_grow(&c->arena, e->v, e->n * sizeof(*e->v), e->cap * sizeof(*e->v));
    }
    e->v[e->n++] = text;
}

static int text_cmp(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int complaints_fail(struct hcl_ctx *c, struct complaints *e)
{
    struct strbuf b = STRBUF_BOUND(HCL_ERROR_MAX - 1);
    int r;

    if (e->n == 0)
        return 0;
    qsort(e->v, e->n, sizeof(*e->v), text_cmp);
    strbuf_addf(&b, "%zu error(s) decoding:\n", e->n);
    for (size_t i = 0; i < e->n; i++)
        strbuf_addf(&b, "\n* %s", e->v[i]);
    r = hcl_ctx_fail(c, e->line, e->column, "%s", b.data);
    strbuf_fini(&b);
    return r;
}

static const char *unconvertible(struct hcl_ctx *c, const char *name, const char *type,
                                 const struct hcl_value *v)
{
    return hcl_printf(&c->arena, "'%s' expected type '%s', got unconvertible type '%s'", name, type,
                      hcl_kind_name(v->kind));
}

/* The field decoders return NULL, or what is wrong. */
static const char *to_string(struct hcl_ctx *c, const char *name, const struct hcl_value *v,
                             bool strict, struct hcl_value **ret)
{
    struct hcl_value *out;

    if (v->kind == HCL_V_STRING) {
        out = hcl_value_new(c, HCL_V_STRING);
        out->str = v->str;
    } else if (strict) {
        return unconvertible(c, name, "string", v);
    } else if (v->kind == HCL_V_BOOL) {
        out = hcl_value_string(c, c->hcl2 ? (v->b ? "true" : "false") : v->b ? "1" : "0");
    } else if (v->kind == HCL_V_INT) {
        out = hcl_value_string(c, hcl_printf(&c->arena, "%lld", (long long)v->i));
    } else if (v->kind == HCL_V_FLOAT) {
        out = hcl_value_string(c, hcl_float_text(c, v->f));
    } else {
        return unconvertible(c, name, "string", v);
    }
    *ret = out;
    return NULL;
}

/* clang-format off */
static const struct {
    const char *type, *parse, *what;
    unsigned bits;
    int64_t min, max;
} ints[] = {
    [HCL_F_INT]      = {"int", "ParseInt", "int", 64, INT64_MIN, INT64_MAX},
    [HCL_F_INT8]     = {"int8", "ParseInt", "int", 8, INT8_MIN, INT8_MAX},
    [HCL_F_INT64]    = {"int64", "ParseInt", "int", 64, INT64_MIN, INT64_MAX},
    [HCL_F_UINT8]    = {"uint8", "ParseUint", "uint", 9, 0, UINT8_MAX},
    [HCL_F_UINT64]   = {"uint64", "ParseUint", "uint", 64, 0, INT64_MAX},
    [HCL_F_DURATION] = {"time.Duration", "ParseInt", "int", 64, INT64_MIN, INT64_MAX},
};
/* clang-format on */

static const char *int_failed(struct hcl_ctx *c, const char *name, enum hcl_field_kind k,
                              const char *text, int r)
{
    return hcl_printf(&c->arena, "cannot parse '%s' as %s: strconv.%s: parsing %s: %s", name,
                      ints[k].what, ints[k].parse, hcl_quote(c, text, strlen(text)),
                      r == -ERANGE ? "value out of range" : "invalid syntax");
}

static const char *to_int(struct hcl_ctx *c, const char *name, const struct hcl_value *v,
                          enum hcl_field_kind k, bool strict, struct hcl_value **ret)
{
    int64_t i;
    int r = 0;

    if (v->kind == HCL_V_INT) {
        i = v->i;
    } else if (v->kind == HCL_V_FLOAT) {
        if (fabs(v->f) >= 0x1p63)
            return int_failed(c, name, k, hcl_float_text(c, v->f), -ERANGE);
        i = (int64_t)v->f;
    } else if (v->kind == HCL_V_BOOL && !strict) {
        i = v->b;
    } else if (v->kind == HCL_V_STRING && !strict) {
        r = hcl_int_parse(v->str.s, v->str.len, ints[k].bits, &i);
        if (r == 0 && ints[k].min == 0 && (v->str.s[0] == '-' || v->str.s[0] == '+'))
            r = -EINVAL;
    } else {
        return unconvertible(c, name, ints[k].type, v);
    }
    /* A number in the file that does not fit would be cut off by Nomad; it is an error here. */
    if (r == 0 && (i < ints[k].min || i > ints[k].max))
        r = -ERANGE;
    if (r < 0)
        return int_failed(
            c, name, k,
            v->kind == HCL_V_STRING ? v->str.s : hcl_printf(&c->arena, "%lld", (long long)i), r);
    *ret = hcl_value_int(c, i);
    return NULL;
}

/* Which of Go's three complaints about a duration's text fits. */
static const char *duration_complaint(struct hcl_ctx *c, const char *text, size_t len)
{
    const char *s = text, *unit, *whole = hcl_quote(c, text, len);
    static const char *const units[] = {"ns", "us", "\xc2\xb5s", "\xce\xbcs", "ms", "s", "m", "h"};

    if (*s == '-' || *s == '+')
        s++;
    while (*s) {
        size_t n = strspn(s, "0123456789"), frac = 0, u;
        bool known = false;

        if (s[n] == '.')
            frac = 1 + strspn(s + n + 1, "0123456789");
        if (n == 0 && frac < 2)
            break;
        unit = s + n + frac;
        u = strcspn(unit, ".0123456789");
        if (u == 0)
            return hcl_printf(&c->arena, "time: missing unit in duration %s", whole);
        for (size_t i = 0; i < ARRAY_LEN(units); i++)
            known |= strlen(units[i]) == u && memcmp(units[i], unit, u) == 0;
        if (!known)
            return hcl_printf(&c->arena, "time: unknown unit %s in duration %s",
                              hcl_quote(c, unit, u), whole);
        s = unit + u;
    }
    return hcl_printf(&c->arena, "time: invalid duration %s", whole);
}

static const char *to_duration(struct hcl_ctx *c, const char *name, const struct hcl_value *v,
                               bool strict, struct hcl_value **ret)
{
    int64_t ns;

    if (v->kind != HCL_V_STRING)
        return to_int(c, name, v, HCL_F_DURATION, strict, ret);
    if (strlen(v->str.s) != v->str.len || duration_parse(v->str.s, &ns) < 0)
        return hcl_printf(&c->arena, "error decoding '%s': %s", name,
                          duration_complaint(c, v->str.s, v->str.len));
    *ret = hcl_value_int(c, ns);
    return NULL;
}

/* As strconv.ParseBool. */
static bool bool_text(const char *s, bool *ret)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};

    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        *ret = strcmp(s, yes[i]) == 0;
        if (*ret || strcmp(s, no[i]) == 0)
            return true;
    }
    return false;
}

int hcl_bool_parse(struct hcl_ctx *c, const struct hcl_value *v, bool *ret, const char **why)
{
    if (v->kind == HCL_V_BOOL) {
        *ret = v->b;
        return 0;
    }
    if (v->kind == HCL_V_STRING) {
        if (bool_text(v->str.s, ret))
            return 0;
        *why = hcl_printf(&c->arena, "strconv.ParseBool: parsing %s: invalid syntax",
                          hcl_quote(c, v->str.s, v->str.len));
        return -EINVAL;
    }
    *why = hcl_printf(&c->arena, "%s couldn't be converted to boolean value",
                      v->kind == HCL_V_INT     ? hcl_printf(&c->arena, "%lld", (long long)v->i)
                      : v->kind == HCL_V_FLOAT ? hcl_float_text(c, v->f)
                                               : "list");
    return -EINVAL;
}

static const char *to_bool(struct hcl_ctx *c, const char *name, const struct hcl_value *v,
                           bool strict, struct hcl_value **ret)
{
    bool b = false;

    if (v->kind == HCL_V_BOOL) {
        b = v->b;
    } else if (strict || v->kind > HCL_V_STRING) {
        return unconvertible(c, name, "bool", v);
    } else if (v->kind == HCL_V_INT) {
        b = v->i != 0;
    } else if (v->kind == HCL_V_FLOAT) {
        b = v->f != 0;
    } else if (v->str.len && !bool_text(v->str.s, &b)) {
        return hcl_printf(&c->arena,
                          "cannot parse '%s' as bool: strconv.ParseBool: parsing %s: "
                          "invalid syntax",
                          name, hcl_quote(c, v->str.s, v->str.len));
    }
    *ret = hcl_value_bool(c, b);
    return NULL;
}

static void to_strings(struct hcl_ctx *c, const char *name, struct hcl_value *v, bool strict,
                       struct complaints *e, struct hcl_value **ret)
{
    bool list = v->kind == HCL_V_LIST || v->kind == HCL_V_MAPS;

    if (strict && !list) {
        complain(c, e, v,
                 hcl_printf(&c->arena, "'%s': source data must be an array or slice, got %s", name,
                            hcl_kind_name(v->kind)));
        return;
    }
    *ret = hcl_value_new(c, HCL_V_LIST);
    for (size_t i = 0; i < (list ? v->list.n : 1); i++) {
        const struct hcl_value *elem = list ? v->list.v[i] : v;
        struct hcl_value *s = NULL;
        const char *why = to_string(c, hcl_printf(&c->arena, "%s[%zu]", name, i), elem, strict, &s);

        if (why)
            complain(c, e, elem, why);
        else
            hcl_value_append(c, *ret, s);
    }
}

static void to_string_map(struct hcl_ctx *c, const char *name, const struct hcl_value *v,
                          struct complaints *e, struct hcl_value *out)
{
    if (v->kind == HCL_V_LIST || v->kind == HCL_V_MAPS) {
        for (size_t i = 0; i < v->list.n; i++)
            to_string_map(c, hcl_printf(&c->arena, "%s[%zu]", name, i), v->list.v[i], e, out);
        return;
    }
    if (v->kind != HCL_V_MAP) {
        complain(
            c, e, v,
            hcl_printf(&c->arena, "'%s' expected a map, got '%s'", name, hcl_kind_name(v->kind)));
        return;
    }
    for (size_t i = 0; i < v->map.n; i++) {
        const struct hcl_member *m = &v->map.v[i];
        struct hcl_value *s = NULL;
        const char *why =
            to_string(c, hcl_printf(&c->arena, "%s[%s]", name, m->key), m->val, false, &s);

        if (why)
            complain(c, e, m->val, why);
        else
            hcl_value_set(c, out, m->key, s);
    }
}

int hcl_strings_merge(struct hcl_ctx *c, const struct hcl_value *map, struct hcl_value *out)
{
    struct complaints e = {0};

    to_string_map(c, "", map, &e, out);
    return complaints_fail(c, &e);
}

static void field_decode(struct hcl_ctx *c, const struct hcl_field *fd, struct hcl_value *v,
                         bool strict, struct complaints *e, struct hcl_value *out)
{
    const char *name = fd->tagged ? fd->key : fd->json, *why = NULL;
    struct hcl_value *res = NULL;

    switch (fd->kind) {
    case HCL_F_STRING:
        why = to_string(c, name, v, strict, &res);
        break;
    case HCL_F_INT:
    case HCL_F_INT8:
    case HCL_F_INT64:
    case HCL_F_UINT8:
    case HCL_F_UINT64:
        why = to_int(c, name, v, fd->kind, strict, &res);
        break;
    case HCL_F_BOOL:
        why = to_bool(c, name, v, strict, &res);
        break;
    case HCL_F_DURATION:
        why = to_duration(c, name, v, strict, &res);
        break;
    case HCL_F_STRINGS:
        to_strings(c, name, v, strict, e, &res);
        break;
    case HCL_F_STRING_MAP:
        res = hcl_value_new(c, HCL_V_MAP);
        to_string_map(c, name, v, e, res);
        break;
    case HCL_F_CHECKED:
        break;
    }
    if (why)
        complain(c, e, v, why);
    else if (res)
        hcl_value_set(c, out, fd->json, res);
}

int hcl_fields_decode(struct hcl_ctx *c, const struct hcl_block *b, struct hcl_frame *f)
{
    struct complaints e = {0};

    for (const struct hcl_field *fd = b->fields; fd && fd->key; fd++) {
        struct hcl_value *v = hcl_value_get(f->map, fd->key);

        if (v)
            field_decode(c, fd, v, b->strict, &e, f->out);
    }
    return complaints_fail(c, &e);
}
