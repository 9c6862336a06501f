/* SPDX-License-Identifier: MPL-2.0 */
/* Objects as sorted names and texts, their order, and lists of them in pairs. */
#include "job_diff_flat.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "job.pb.h"
#include "json/json_leaves.h"

static const char *text(const char *s)
{
    return s ? s : "";
}

static size_t count_of(const struct json_field *f, const void *msg)
{
    return *(const pb_size_t *)((const char *)msg + f->state);
}

static const void *slot_of(const struct json_field *f, const void *msg)
{
    return (const char *)msg + f->offset;
}

static const char *string_of(const struct json_field *f, const void *msg)
{
    return text(*(const char *const *)slot_of(f, msg));
}

static bool is_list(const struct json_field *f)
{
    return f->flags & (JSON_F_REPEATED | JSON_F_MAP);
}

/* Whether a scalar that may be absent is. */
static bool is_absent(const struct json_field *f, const void *msg)
{
    return f->state != JSON_NO_STATE && !*(const bool *)((const char *)msg + f->state);
}

const struct json_field *flat_field(const struct json_type *t, const char *name)
{
    size_t i, len = strlen(name);

    for (i = 0; i < t->fields_len; i++) {
        const struct json_field *f = &t->fields[i];

        if (f->server_key_len == len + 3 && memcmp(f->server_key + 1, name, len) == 0)
            return f;
    }
    assert(!"a table names a field that there is not");
    return NULL;
}

const void *flat_message(const struct json_field *f, const void *msg)
{
    return !msg || is_absent(f, msg) ? NULL : slot_of(f, msg);
}

const char *flat_string(const void *item)
{
    return item ? text(*(const char *const *)item) : "";
}

/* ---- Names and texts ---- */

void flat_fini(struct flat *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->v[i].name);
        free(f->v[i].text);
    }
    free(f->v);
    *f = (struct flat){0};
}

/* Takes over both. */
static void flat_add(struct flat *f, char *name, char *value)
{
    if (f->n == f->cap) {
        f->cap = MAX(f->cap * 2, (size_t)16);
        f->v = xrealloc(f->v, f->cap * sizeof(*f->v));
    }
    f->v[f->n++] = (struct flat_item){name, value};
}

static int item_cmp(const void *a, const void *b)
{
    const struct flat_item *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static void flat_sort(struct flat *f)
{
    if (f->n)
        qsort(f->v, f->n, sizeof(*f->v), item_cmp);
}

bool flat_same(const struct flat *a, const struct flat *b)
{
    bool same = a->n == b->n;

    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->v[i].name, b->v[i].name) == 0 && strcmp(a->v[i].text, b->v[i].text) == 0;
    return same;
}

static int64_t number_of(const struct json_field *f, const void *slot)
{
    return f->bits == 32 ? *(const int32_t *)slot : *(const int64_t *)slot;
}

static uint64_t unsigned_of(const struct json_field *f, const void *slot)
{
    return f->bits == 32 ? *(const uint32_t *)slot : *(const uint64_t *)slot;
}

/* A scalar's text; NULL for what is no plain field. */
static char *scalar_text(const struct json_field *f, const void *slot)
{
    switch ((enum json_kind)f->kind) {
    case JSON_BOOL:
        return xstrdup(*(const bool *)slot ? "true" : "false");
    case JSON_INT:
        return xasprintf("%" PRId64, number_of(f, slot));
    case JSON_UINT:
        return xasprintf("%" PRIu64, unsigned_of(f, slot));
    case JSON_STRING:
        return xstrdup(flat_string(slot));
    case JSON_DOUBLE: /* there are none in jobs */
    case JSON_BYTES:
    case JSON_MESSAGE:
    case JSON_RAW:
    case JSON_DURATION:
    case JSON_TIME:
        break;
    }
    return NULL;
}

static char *nullable_text(const struct json_field *f, enum diff_nullable how, const void *msg)
{
    char buf[DURATION_TEXT_MAX];

    if (is_absent(f, msg))
        return xstrdup("");
    if (how == DIFF_NULLABLE_NUMBER)
        return scalar_text(f, slot_of(f, msg));
    return xstrdup(duration_format(number_of(f, slot_of(f, msg)), buf));
}

static void add_map(struct flat *ret, const char *name, int name_len, const struct json_field *f,
                    const void *msg)
{
    const struct json_field *key = &f->sub->fields[0], *value = &f->sub->fields[1];
    const char *entry = *(const char *const *)slot_of(f, msg);

    if (value->kind != JSON_STRING)
        return;
    for (size_t i = 0; i < count_of(f, msg); i++, entry += f->sub->size)
        flat_add(ret, xasprintf("%.*s[%s]", name_len, name, string_of(key, entry)),
                 xstrdup(string_of(value, entry)));
}

static bool is_skipped(const char *const *skip, const char *name, size_t len)
{
    for (; skip && *skip; skip++)
        if (strlen(*skip) == len && memcmp(*skip, name, len) == 0)
            return true;
    return false;
}

void flat_object(struct flat *ret, const struct diff_rule *rule, enum diff_nullable nullable,
                 const void *msg)
{
    const struct json_field *f, *end = rule->type->fields + rule->type->fields_len;

    for (f = rule->type->fields; msg && f < end; f++) {
        const char *name = f->server_key + 1;
        size_t len = f->server_key_len - 3u;
        char *value = NULL;

        if ((f->flags & JSON_F_API_ONLY) || is_skipped(rule->skip, name, len))
            continue;
        if (f->flags & JSON_F_MAP)
            add_map(ret, name, (int)len, f, msg);
        else if (f->flags & JSON_F_NULLABLE)
            value = nullable ? nullable_text(f, nullable, msg) : NULL;
        else if (!is_list(f))
            value = scalar_text(f, slot_of(f, msg));
        if (value)
            flat_add(ret, xstrndup(name, len), value);
    }
    flat_sort(ret);
}

static void leaf_add(void *ctx, const char *path, const char *value)
{
    flat_add(ctx, xstrdup(path), xstrdup(value));
}

bool flat_raw(struct flat *ret, const struct json_field *f, const void *msg)
{
    const char *raw = string_of(f, msg);

    if (*raw)
        (void)json_leaves(raw, leaf_add, ret); /* canonical: it was checked when it came in */
    flat_sort(ret);
    return *raw;
}

/* Every list of strings of a message as one text. */
bool flat_joined(struct flat *ret, const struct json_field *f, const void *msg)
{
    const void *m = flat_message(f, msg);

    for (size_t i = 0; m && i < f->sub->fields_len; i++) {
        const struct json_field *list = &f->sub->fields[i];
        const char *const *items = *(const char *const *const *)slot_of(list, m);
        struct strbuf b = STRBUF_INIT;

        for (size_t k = 0; k < count_of(list, m); k++)
            strbuf_addf(&b, "%s%s", k ? "," : "", text(items[k]));
        if (count_of(list, m))
            flat_add(ret, xstrndup(list->server_key + 1, list->server_key_len - 3u),
                     strbuf_take(&b));
    }
    flat_sort(ret);
    return m;
}

bool flat_headers(struct flat *ret, const struct json_field *f, const void *msg)
{
    const steppe_ServiceCheck_HeaderEntry *e =
        *(const steppe_ServiceCheck_HeaderEntry *const *)slot_of(f, msg);
    size_t n = count_of(f, msg);

    for (size_t i = 0; i < n; i++) {
        if (e[i].value.values_count == 0)
            flat_add(ret, xstrdup(text(e[i].key)), xstrdup("nil"));
        for (size_t k = 0; k < e[i].value.values_count; k++)
            flat_add(ret, xasprintf("%s[%zu]", text(e[i].key), k),
                     xstrdup(text(e[i].value.values[k])));
    }
    flat_sort(ret);
    return n > 0;
}

/* As net.JoinHostPort does. */
bool flat_bindings(struct flat *ret, const struct json_field *f, const void *msg)
{
    const steppe_ConsulGatewayProxy_EnvoyGatewayBindAddressesEntry *e =
        *(const steppe_ConsulGatewayProxy_EnvoyGatewayBindAddressesEntry *const *)slot_of(f, msg);
    size_t n = count_of(f, msg);

    for (size_t i = 0; i < n; i++) {
        const char *a = text(e[i].value.address);

        flat_add(ret, xstrdup(text(e[i].key)),
                 xasprintf(strchr(a, ':') ? "[%s]:%d" : "%s:%d", a, (int)e[i].value.port));
    }
    flat_sort(ret);
    return n > 0;
}

/* ---- Order ---- */

static int cmp_bool(bool a, bool b)
{
    return (int)a - (int)b;
}

static int cmp_bytes(const pb_bytes_array_t *a, const pb_bytes_array_t *b)
{
    size_t n = a ? a->size : 0, m = b ? b->size : 0;
    int r = n && m ? memcmp(a->bytes, b->bytes, MIN(n, m)) : 0;

    return r ? r : (n > m) - (n < m);
}

static int cmp_slot(const struct json_field *f, const void *a, const void *b)
{
    switch ((enum json_kind)f->kind) {
    case JSON_BOOL:
        return cmp_bool(*(const bool *)a, *(const bool *)b);
    case JSON_INT:
    case JSON_DURATION:
    case JSON_TIME:
        return (number_of(f, a) > number_of(f, b)) - (number_of(f, a) < number_of(f, b));
    case JSON_UINT:
        return (unsigned_of(f, a) > unsigned_of(f, b)) - (unsigned_of(f, a) < unsigned_of(f, b));
    case JSON_DOUBLE:
        return (*(const double *)a > *(const double *)b) -
               (*(const double *)a < *(const double *)b);
    case JSON_STRING:
    case JSON_RAW:
        return strcmp(flat_string(a), flat_string(b));
    case JSON_BYTES:
        return cmp_bytes(*(const pb_bytes_array_t *const *)a, *(const pb_bytes_array_t *const *)b);
    case JSON_MESSAGE:
        return flat_cmp(f->sub, a, b);
    }
    return 0;
}

/* Bytes of one item of a list. */
static size_t item_size(const struct json_field *f)
{
    return f->kind == JSON_MESSAGE ? f->sub->size : f->bits ? f->bits / 8u : sizeof(void *);
}

static int cmp_list(const struct json_field *f, const void *a, const void *b)
{
    const char *x = *(const char *const *)slot_of(f, a), *y = *(const char *const *)slot_of(f, b);
    size_t n = count_of(f, a), m = count_of(f, b), size = item_size(f);
    int r = 0;

    for (size_t i = 0; r == 0 && i < MIN(n, m); i++)
        r = cmp_slot(f, x + i * size, y + i * size);
    return r ? r : (n > m) - (n < m);
}

int flat_cmp(const struct json_type *t, const void *a, const void *b)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < t->fields_len; i++) {
        const struct json_field *f = &t->fields[i];

        if (f->flags & JSON_F_API_ONLY)
            continue;
        if (is_list(f)) {
            r = cmp_list(f, a, b);
        } else {
            r = cmp_bool(is_absent(f, a), is_absent(f, b));
            if (r == 0 && !is_absent(f, a))
                r = cmp_slot(f, slot_of(f, a), slot_of(f, b));
        }
    }
    return r;
}

/* ---- Pairs ---- */

static int entry_cmp(const struct flat_pairs *p, const struct flat_entry *a,
                     const struct flat_entry *b)
{
    int r = 0;

    if (a->key)
        return strcmp(a->key, b->key);
    if (!p->key)
        return cmp_slot(p->field, a->item, b->item);
    for (size_t i = 0; r == 0 && i < 2 && p->key[i]; i++) {
        const struct json_field *f = flat_field(p->field->sub, p->key[i]);

        r = cmp_slot(f, slot_of(f, a->item), slot_of(f, b->item));
    }
    return r;
}

/* Of equal ones in their order: an item's address is its place. */
static int entry_sort_cmp(const void *a, const void *b, void *p)
{
    const struct flat_entry *x = a, *y = b;
    int r = entry_cmp(p, x, y);

    return r ? r : (x->item > y->item) - (x->item < y->item);
}

static void list_init(const struct flat_pairs *p, struct flat_list *l, const void *msg)
{
    const struct json_field *f = p->field;
    size_t i, n = msg ? count_of(f, msg) : 0, size = item_size(f);
    const char *items = n ? *(const char *const *)slot_of(f, msg) : NULL;

    if (n == 0)
        return;
    l->v = xcalloc(n, sizeof(*l->v));
    for (i = 0; i < n; i++, items += size) {
        l->v[i].item = items;
        if (f->flags & JSON_F_MAP) {
            l->v[i].key = string_of(&f->sub->fields[0], items);
            l->v[i].item = slot_of(&f->sub->fields[1], items);
        }
    }
    qsort_r(l->v, n, sizeof(*l->v), entry_sort_cmp, (void *)p);
    for (i = 0; i < n; i++)
        if (i + 1 == n || entry_cmp(p, &l->v[i], &l->v[i + 1]) != 0)
            l->v[l->n++] = l->v[i];
}

void flat_pairs_init(struct flat_pairs *p, const struct diff_pair *of, const char *field,
                     const char *const *key)
{
    *p = (struct flat_pairs){.field = flat_field(of->type, field), .key = key};
    list_init(p, &p->old, of->old);
    list_init(p, &p->new, of->new);
}

void flat_pairs_fini(struct flat_pairs *p)
{
    free(p->old.v);
    free(p->new.v);
}

bool flat_pairs_next(struct flat_pairs *p, const void **old, const void **new)
{
    struct flat_list *a = &p->old, *b = &p->new;
    bool more_old = a->next < a->n, more_new = b->next < b->n;
    int r;

    if (!more_old && !more_new)
        return false;
    r = !more_old ? 1 : !more_new ? -1 : entry_cmp(p, &a->v[a->next], &b->v[b->next]);
    *old = r <= 0 ? a->v[a->next++].item : NULL;
    *new = r >= 0 ? b->v[b->next++].item : NULL;
    return true;
}
