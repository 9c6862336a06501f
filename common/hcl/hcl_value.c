/* SPDX-License-Identifier: MPL-2.0 */
#include "hcl/hcl_value.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

PRINTF_LIKE(2, 0)
static const char *ctx_vprintf(struct hcl_ctx *c, const char *fmt, va_list ap)
{
    char buf[HCL_ERROR_MAX];

    (void)vsnprintf(buf, sizeof(buf), fmt, ap);
    return hcl_dup(&c->arena, buf, strlen(buf));
}

static void ctx_add(struct hcl_ctx *c, unsigned line, unsigned column, const char *text)
{
    if (c->n_errs == 0) {
        c->line = line;
        c->column = column;
    }
    if (c->n_errs == c->cap_errs) {
        c->cap_errs = c->cap_errs ? 2 * c->cap_errs : 4;
        c->errs = hcl_grow(&c->arena, c->errs, c->n_errs * sizeof(*c->errs),
                           c->cap_errs * sizeof(*c->errs));
    }
    c->errs[c->n_errs++] = text;
}

int hcl_ctx_fail(struct hcl_ctx *c, unsigned line, unsigned column, const char *fmt, ...)
{
    va_list ap;

    assert(c->n_errs == 0);
    va_start(ap, fmt);
    ctx_add(c, line, column, ctx_vprintf(c, fmt, ap));
    va_end(ap);
    c->many = false;
    return -EINVAL;
}

int hcl_ctx_fail_at(struct hcl_ctx *c, const struct hcl_node *n, const char *fmt, ...)
{
    const char *text;
    va_list ap;

    va_start(ap, fmt);
    text = ctx_vprintf(c, fmt, ap);
    va_end(ap);
    return hcl_ctx_fail(c, n->line, n->column, "At %u:%u: %s", n->line, n->column, text);
}

void hcl_ctx_append(struct hcl_ctx *c, unsigned line, unsigned column, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ctx_add(c, line, column, ctx_vprintf(c, fmt, ap));
    va_end(ap);
    c->many = true;
}

int hcl_ctx_prefix(struct hcl_ctx *c, const char *prefix)
{
    assert(c->n_errs > 0);
    for (size_t i = 0; i < c->n_errs; i++)
        c->errs[i] = hcl_printf(&c->arena, "%s %s", prefix, c->errs[i]);
    return -EINVAL;
}

const char *hcl_ctx_text(struct hcl_ctx *c)
{
    struct strbuf b = STRBUF_BOUND(HCL_ERROR_MAX);
    const char *out;

    assert(c->n_errs > 0);
    if (!c->many)
        return c->errs[0];
    strbuf_addf(&b, "%zu error%s occurred:\n\t", c->n_errs, c->n_errs > 1 ? "s" : "");
    for (size_t i = 0; i < c->n_errs; i++)
        strbuf_addf(&b, "%s* %s", i ? "\n\t" : "", c->errs[i]);
    strbuf_adds(&b, "\n\n");
    out = hcl_dup(&c->arena, b.data, b.len);
    strbuf_fini(&b);
    return out;
}

struct hcl_value *hcl_value_new(struct hcl_ctx *c, enum hcl_kind kind)
{
    struct hcl_value *v = hcl_alloc(&c->arena, sizeof(*v));

    v->kind = kind;
    return v;
}

struct hcl_value *hcl_value_string(struct hcl_ctx *c, const char *s)
{
    struct hcl_value *v = hcl_value_new(c, HCL_V_STRING);

    v->str.s = s;
    v->str.len = strlen(s);
    return v;
}

struct hcl_value *hcl_value_bool(struct hcl_ctx *c, bool b)
{
    struct hcl_value *v = hcl_value_new(c, HCL_V_BOOL);

    v->b = b;
    return v;
}

struct hcl_value *hcl_value_int(struct hcl_ctx *c, int64_t i)
{
    struct hcl_value *v = hcl_value_new(c, HCL_V_INT);

    v->i = i;
    return v;
}

void hcl_value_append(struct hcl_ctx *c, struct hcl_value *list, struct hcl_value *v)
{
    assert(list->kind == HCL_V_LIST || list->kind == HCL_V_MAPS);
    if (list->list.n == list->list.cap) {
        list->list.cap = list->list.cap ? 2 * list->list.cap : 4;
        list->list.v =
            hcl_grow(&c->arena, list->list.v, list->list.n * sizeof(v), list->list.cap * sizeof(v));
    }
    list->list.v[list->list.n++] = v;
}

static struct hcl_member *map_find(const struct hcl_value *map, const char *key, uint32_t hash)
{
    assert(map->kind == HCL_V_MAP);
    for (size_t i = 0; i < map->map.n; i++)
        if (map->map.v[i].hash == hash && strcmp(map->map.v[i].key, key) == 0)
            return &map->map.v[i];
    return NULL;
}

struct hcl_value *hcl_value_get(const struct hcl_value *map, const char *key)
{
    struct hcl_member *m = map_find(map, key, hcl_hash(key));

    return m ? m->val : NULL;
}

void hcl_value_set(struct hcl_ctx *c, struct hcl_value *map, const char *key, struct hcl_value *v)
{
    uint32_t hash = hcl_hash(key);
    struct hcl_member *m = map_find(map, key, hash);

    assert(v);
    if (m) {
        m->val = v;
        return;
    }
    if (map->map.n == map->map.cap) {
        map->map.cap = map->map.cap ? 2 * map->map.cap : 8;
        map->map.v =
            hcl_grow(&c->arena, map->map.v, map->map.n * sizeof(*m), map->map.cap * sizeof(*m));
    }
    map->map.v[map->map.n++] = (struct hcl_member){key, hash, v};
}

const char *hcl_kind_name(enum hcl_kind k)
{
    static const char *const names[] = {
        [HCL_V_BOOL] = "bool",
        [HCL_V_INT] = "int",
        [HCL_V_FLOAT] = "float64",
        [HCL_V_STRING] = "string",
        [HCL_V_LIST] = "[]interface {}",
        [HCL_V_MAPS] = "[]map[string]interface {}",
        [HCL_V_MAP] = "map[string]interface {}",
    };

    return names[k];
}

const char *hcl_node_name(enum hcl_type t)
{
    return t == HCL_OBJECT ? "*ast.ObjectType"
           : t == HCL_LIST ? "*ast.ListType"
                           : "*ast.LiteralType";
}

/* The way from the root to a value, for messages: "root.config[0].args". */
struct where {
    const struct where *up; /* NULL: the root */
    const char *key;        /* NULL: element i of a list */
    size_t i;
};

static int decode_map(struct hcl_ctx *c, const struct hcl_items *items, const struct where *w,
                      struct hcl_value **ret);
static int decode(struct hcl_ctx *c, const struct hcl_node *n, const struct where *w, bool in_list,
                  struct hcl_value **v);

static const char *where_text(struct hcl_ctx *c, const struct where *w)
{
    if (!w->up)
        return w->key;
    if (w->key)
        return hcl_printf(&c->arena, "%s.%s", where_text(c, w->up), w->key);
    return hcl_printf(&c->arena, "%s[%zu]", where_text(c, w->up), w->i);
}

static int fail_unknown(struct hcl_ctx *c, const struct hcl_node *n, const struct where *w)
{
    return hcl_ctx_fail_at(c, n, "%s: unknown type %s", where_text(c, w), hcl_node_name(n->type));
}

static int decode_int(struct hcl_ctx *c, const struct hcl_node *n, const struct where *w,
                      int64_t *ret)
{
    size_t zeros = 0;
    int r;

    if (n->type != HCL_NUMBER && n->type != HCL_STRING)
        return fail_unknown(c, n, w);
    while (c->hcl2 && n->type == HCL_NUMBER && n->lit.text[zeros] == '0' &&
           isdigit((unsigned char)n->lit.text[zeros + 1]))
        zeros++; /* no octal numbers there */
    r = hcl_int_parse(n->lit.text + zeros, n->lit.len - zeros, 64, ret);
    if (r < 0)
        return hcl_ctx_fail(c, n->line, n->column, "strconv.ParseInt: parsing %s: %s",
                            hcl_quote(c, n->lit.text, n->lit.len),
                            r == -ERANGE ? "value out of range" : "invalid syntax");
    return 0;
}

static int decode_float(struct hcl_ctx *c, const struct hcl_node *n, const struct where *w,
                        double *ret)
{
    int r;

    if (n->type != HCL_FLOAT && n->type != HCL_NUMBER)
        return fail_unknown(c, n, w);
    r = hcl_float_parse(n->lit.text, n->lit.len, ret);
    if (r < 0)
        return hcl_ctx_fail(c, n->line, n->column, "strconv.ParseFloat: parsing %s: %s",
                            hcl_quote(c, n->lit.text, n->lit.len),
                            r == -ERANGE ? "value out of range" : "invalid syntax");
    return 0;
}

static int decode_bool(struct hcl_ctx *c, const struct hcl_node *n, const struct where *w,
                       bool *ret)
{
    if (n->type == HCL_OBJECT || n->type == HCL_LIST || n->type == HCL_FLOAT)
        return fail_unknown(c, n, w);
    *ret = strcasecmp(n->lit.text, "true") == 0 || strcmp(n->lit.text, "1") == 0;
    if (!*ret && strcasecmp(n->lit.text, "false") != 0 && strcmp(n->lit.text, "0") != 0)
        return hcl_ctx_fail(c, n->line, n->column, "decodeBool: Unknown value for boolean: %s",
                            n->type == HCL_STRING ? hcl_quote(c, n->lit.text, n->lit.len)
                                                  : n->lit.text);
    return 0;
}

/* The kind that a node has where nothing was before. */
static enum hcl_kind kind_of(const struct hcl_node *n, bool in_list)
{
    switch (n->type) {
    case HCL_OBJECT:
        return in_list ? HCL_V_MAP : HCL_V_MAPS;
    case HCL_LIST:
        return HCL_V_LIST;
    case HCL_STRING:
        return HCL_V_STRING;
    case HCL_NUMBER:
        return HCL_V_INT;
    case HCL_FLOAT:
        return HCL_V_FLOAT;
    case HCL_BOOL:
        break;
    }
    return HCL_V_BOOL;
}

/* The elements of a list, or an object as the only one, behind those that are there. */
static int decode_slice(struct hcl_ctx *c, const struct hcl_node *n, const struct where *w,
                        struct hcl_value *list)
{
    size_t count = n->type == HCL_LIST ? n->list.n : 1;

    if (n->type != HCL_LIST && n->type != HCL_OBJECT)
        return hcl_ctx_fail_at(c, n, "unknown slice type: %s", hcl_node_name(n->type));
    for (size_t i = 0; i < count; i++) {
        const struct hcl_node *elem = n->type == HCL_LIST ? n->list.v[i] : n;
        struct where elem_w = {.up = w, .i = i};
        struct hcl_value *v = NULL;
        int r;

        if (list->kind == HCL_V_MAPS && elem->type != HCL_OBJECT)
            return hcl_ctx_fail_at(c, elem, "%s: not an object type for map (%s)",
                                   where_text(c, &elem_w), hcl_node_name(elem->type));
        r = decode(c, elem, &elem_w, true, &v);
        if (r < 0)
            return r;
        hcl_value_append(c, list, v);
    }
    return 0;
}

/* *v is what the same name held before, or NULL; its kind then decides. */
/* Where "${" at s ends, with all that is nested in it. */
static const char *template_end(const char *s, const char *end)
{
    unsigned depth = 0;

    for (; s < end; s++) {
        depth += *s == '{';
        if (*s == '}' && --depth == 0)
            return s + 1;
    }
    return end;
}

/*
 * A string of HCL 2: "$${" and "%%{" stand for "${" and "%{". What stands in "${}" is for the
 * client that runs the task (what it could not know was refused when the file was read); "%{" is
 * refused.
 */
static int decode_string(struct hcl_ctx *c, const struct hcl_node *n, struct hcl_value *out)
{
    const char *s = n->lit.text, *end = s + n->lit.len, *next;
    char *p;

    out->str.s = s;
    out->str.len = n->lit.len;
    if (!c->hcl2 || (!memmem(s, n->lit.len, "$${", 3) && !memmem(s, n->lit.len, "%{", 2)))
        return 0;
    p = hcl_alloc(&c->arena, n->lit.len + 1);
    out->str.s = p;
    while (s < end) {
        bool opens = end - s > 1 && s[1] == '{';

        if (*s == '%' && opens)
            return hcl_ctx_fail_at(c, n, "HCL2 expressions are not supported: %.*s",
                                   (int)MIN(end - s, 64), s);
        next = *s == '$' && opens ? template_end(s, end) : s + 1;
        if (end - s > 2 && (*s == '$' || *s == '%') && s[1] == *s && s[2] == '{') {
            s++;
            next = s + 2;
        }
        memcpy(p, s, (size_t)(next - s));
        p += next - s;
        s = next;
    }
    *p = '\0';
    out->str.len = (size_t)(p - out->str.s);
    return 0;
}

static int decode(struct hcl_ctx *c, const struct hcl_node *n, const struct where *w, bool in_list,
                  struct hcl_value **v)
{
    struct hcl_value *out = *v;

    if (!out) {
        out = hcl_value_new(c, kind_of(n, in_list));
        out->line = n->line;
        out->column = n->column;
        *v = out;
    }
    switch (out->kind) {
    case HCL_V_BOOL:
        return decode_bool(c, n, w, &out->b);
    case HCL_V_INT:
        return decode_int(c, n, w, &out->i);
    case HCL_V_FLOAT:
        return decode_float(c, n, w, &out->f);
    case HCL_V_STRING:
        if (n->type == HCL_OBJECT || n->type == HCL_LIST)
            return hcl_ctx_fail_at(c, n, "%s: unknown type for string %s", where_text(c, w),
                                   hcl_node_name(n->type));
        return decode_string(c, n, out);
    case HCL_V_LIST:
    case HCL_V_MAPS:
        return decode_slice(c, n, w, out);
    case HCL_V_MAP:
        break;
    }
    return decode_map(c, &n->items, w, v);
}

/* `key "label" { }`: all items with this first key, as maps from the label on. */
static int decode_labelled(struct hcl_ctx *c, const struct hcl_items *items, const struct where *w,
                           struct hcl_value **v)
{
    struct hcl_items same = hcl_filter(&c->arena, items, w->key);
    const struct hcl_item *it;

    if (!*v) {
        *v = hcl_value_new(c, HCL_V_MAPS);
        (*v)->line = same.v[0].line;
        (*v)->column = same.v[0].column;
    }
    for (size_t i = 0; i < same.n; i++) {
        struct hcl_items one = {&same.v[i], 1};
        struct where elem_w = {.up = w, .i = i};
        struct hcl_value *m = NULL;
        int r;

        it = &same.v[i];
        if ((*v)->kind != HCL_V_MAPS && (*v)->kind != HCL_V_LIST)
            return hcl_ctx_fail_at(c, it->val, "%s: unknown type *ast.ObjectList",
                                   where_text(c, w));
        r = decode_map(c, &one, &elem_w, &m);
        if (r < 0)
            return r;
        hcl_value_append(c, *v, m);
    }
    return 0;
}

static bool labelled_before(const struct hcl_items *items, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (items->v[k].hash == items->v[i].hash && items->v[k].n_keys > 1 &&
            strcmp(items->v[k].keys[0].text, items->v[i].keys[0].text) == 0)
            return true;
    return false;
}

static int decode_map(struct hcl_ctx *c, const struct hcl_items *items, const struct where *w,
                      struct hcl_value **ret)
{
    struct hcl_value *map = *ret ? *ret : hcl_value_new(c, HCL_V_MAP);

    for (size_t i = 0; i < items->n; i++) {
        const struct hcl_item *it = &items->v[i];
        struct where field = {.up = w};
        struct hcl_value *v;
        int r;

        if (it->n_keys == 0)
            return hcl_ctx_fail_at(c, it->val, "%s: map must have string keys", where_text(c, w));
        field.key = it->keys[0].text;
        if (labelled_before(items, i))
            continue;
        v = hcl_value_get(map, field.key);
        r = it->n_keys > 1 ? decode_labelled(c, items, &field, &v)
                           : decode(c, it->val, &field, false, &v);
        if (r < 0)
            return r;
        hcl_value_set(c, map, field.key, v);
    }
    *ret = map;
    return 0;
}

int hcl_value_decode(struct hcl_ctx *c, const struct hcl_items *items, struct hcl_value **ret)
{
    *ret = NULL;
    return decode_map(c, items, &(struct where){.key = "root"}, ret);
}

int hcl_value_decode_node(struct hcl_ctx *c, const struct hcl_node *n, struct hcl_value **ret)
{
    if (n->type != HCL_OBJECT)
        return hcl_ctx_fail_at(c, n, "root: not an object type for map (%s)",
                               hcl_node_name(n->type));
    return hcl_value_decode(c, &n->items, ret);
}

static void flatten_into(struct hcl_ctx *c, struct hcl_value *out, const struct hcl_value *map)
{
    for (size_t i = 0; i < map->map.n; i++) {
        struct hcl_value *v = map->map.v[i].val;

        if (v->kind == HCL_V_MAPS) {
            struct hcl_value *merged = hcl_value_new(c, HCL_V_MAP);

            for (size_t k = 0; k < v->list.n; k++)
                flatten_into(c, merged, v->list.v[k]);
            v = merged;
        }
        hcl_value_set(c, out, map->map.v[i].key, v);
    }
}

struct hcl_value *hcl_value_flatten(struct hcl_ctx *c, const struct hcl_value *map)
{
    struct hcl_value *out = hcl_value_new(c, HCL_V_MAP);

    flatten_into(c, out, map);
    return out;
}
