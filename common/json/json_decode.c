/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Text to structs, driven by the tables: objects, lists and maps. What has been allocated hangs in
 * the struct at all times. Single values: json_value.c.
 */
#include "json/json_impl.h"

#include <errno.h>
#include <string.h>

/*
 * "{}" in a list of big messages makes three bytes of text a kilobyte of memory: what one text may
 * allocate is bounded by its length.
 */
#define BUDGET_MIN      (1u << 20)
#define BUDGET_PER_BYTE 16u
#define BUDGET_MAX      (64u << 20)

static int read_message(struct json_reader *r, const struct json_type *t, void *msg);

static int read_single(struct json_reader *r, const struct json_field *f, void *slot)
{
    return f->kind == JSON_MESSAGE ? read_message(r, f->sub, slot) : json_read_scalar(r, f, slot);
}

static void list_clear(const struct json_field *f, void *msg)
{
    char **array = (char **)(void *)((char *)msg + f->offset);
    pb_size_t *count = (pb_size_t *)(void *)((char *)msg + f->state);
    size_t i;

    for (i = 0; i < *count; i++) {
        if (f->kind == JSON_MESSAGE)
            json_release(f->sub, *array + i * f->sub->size);
        else if (json_is_pointer(f))
            free(((char **)(void *)*array)[i]);
    }
    free(*array);
    *array = NULL;
    *count = 0;
}

void json_release(const struct json_type *t, void *msg)
{
    const struct json_field *f, *end = t->fields + t->fields_len;

    for (f = t->fields; f < end; f++) {
        char *slot = (char *)msg + f->offset;

        if (f->flags & (JSON_F_REPEATED | JSON_F_MAP)) {
            if (*(char **)(void *)slot)
                list_clear(f, msg);
        } else if (json_is_pointer(f)) {
            free(*(char **)(void *)slot);
        } else if (f->kind == JSON_MESSAGE && *((bool *)msg + f->state)) {
            json_release(f->sub, slot);
        }
    }
    memset(msg, 0, t->size);
}

/* Makes room for and counts one more zeroed element; NULL (and an error) when there is none. */
static int list_grow(struct json_reader *r, const struct json_field *f, void *msg, size_t *cap,
                     void **ret)
{
    char **array = (char **)(void *)((char *)msg + f->offset);
    pb_size_t *count = (pb_size_t *)(void *)((char *)msg + f->state);
    size_t size = json_element_size(f), more;
    int err;

    if (*count == JSON_LIST_MAX)
        return err_set(r->e, -EMSGSIZE, "more than %u elements in one list (offset %zu)",
                       JSON_LIST_MAX, (size_t)(r->p - r->text));
    if (*count == *cap) {
        more = *cap ? *cap : size > 128 ? 1 : 4;
        err = json_charge(r, more * size);
        if (err)
            return err;
        *array = xrealloc(*array, (*cap + more) * size);
        *cap += more;
    }
    *ret = *array + *count * size;
    memset(*ret, 0, size);
    ++*count;
    return 0;
}

static bool at_null(const struct json_reader *r)
{
    return r->p < r->end && *r->p == 'n';
}

static int read_list(struct json_reader *r, const struct json_field *f, void *msg)
{
    size_t cap = 0;
    void *slot = NULL;
    int err;

    if (r->p >= r->end || *r->p != '[')
        return json_wrong_value(r, false);
    list_clear(f, msg);
    while ((err = json_next(r, cap == 0, ']')) > 0) {
        err = list_grow(r, f, msg, &cap, &slot);
        if (err)
            return err;
        if (!at_null(r))
            err = read_single(r, f, slot);
        else
            err = json_read_literal(r, "null");
        if (err)
            return err;
        if (f->kind == JSON_STRING && !*(char **)slot)
            *(char **)slot = xstrdup("");
    }
    return err;
}

static int read_field(struct json_reader *r, const struct json_field *f, void *msg);

/* {key, value} with neither of them NULL. */
static int read_entry(struct json_reader *r, const struct json_type *t, void *entry)
{
    const struct json_field *key = &t->fields[0], *value = &t->fields[1];
    char **slot = (char **)(void *)((char *)entry + key->offset);
    int err;

    if (r->p >= r->end || *r->p != '"')
        return json_syntax_error(r, "looking for beginning of object key string");
    err = json_read_text(r, slot);
    if (err)
        return err;
    json_skip_space(r);
    if (r->p >= r->end || *r->p != ':')
        return json_syntax_error(r, "after object key");
    r->p++;
    json_skip_space(r);
    err = read_field(r, value, entry);
    slot = (char **)(void *)((char *)entry + value->offset);
    if (!err && value->kind == JSON_STRING && !*slot)
        *slot = xstrdup("");
    return err;
}

struct entry_ref {
    const char *key;
    size_t index;
};

static int entry_ref_cmp(const void *a, const void *b)
{
    const struct entry_ref *x = a, *y = b;
    int c = strcmp(x->key, y->key);

    return c ? c : x->index < y->index ? -1 : x->index > y->index;
}

/* Sorts a map by key, as Go writes it; of equal keys the last one stays. */
static void map_sort(const struct json_field *f, void *msg)
{
    char **array = (char **)(void *)((char *)msg + f->offset);
    pb_size_t *count = (pb_size_t *)(void *)((char *)msg + f->state);
    size_t size = f->sub->size, key = f->sub->fields[0].offset, i, n = *count, kept = 0;
    struct entry_ref *refs;
    bool sorted = true;
    char *out;

    for (i = 1; i < n && sorted; i++)
        sorted = strcmp(*(char **)(void *)(*array + (i - 1) * size + key),
                        *(char **)(void *)(*array + i * size + key)) < 0;
    if (sorted)
        return;
    refs = xcalloc(n, sizeof(*refs));
    for (i = 0; i < n; i++)
        refs[i] = (struct entry_ref){*(char **)(void *)(*array + i * size + key), i};
    qsort(refs, n, sizeof(*refs), entry_ref_cmp);
    out = xcalloc(n, size);
    for (i = 0; i < n; i++) {
        char *entry = *array + refs[i].index * size;

        if (i + 1 < n && strcmp(refs[i].key, refs[i + 1].key) == 0)
            json_release(f->sub, entry);
        else
            memcpy(out + kept++ * size, entry, size);
    }
    free(refs);
    free(*array);
    *array = out;
    *count = (pb_size_t)kept;
}

static int read_map(struct json_reader *r, const struct json_field *f, void *msg)
{
    size_t cap = 0;
    void *slot = NULL;
    int err;

    if (r->p >= r->end || *r->p != '{')
        return json_wrong_value(r, false);
    list_clear(f, msg);
    while ((err = json_next(r, cap == 0, '}')) > 0) {
        err = list_grow(r, f, msg, &cap, &slot);
        if (!err)
            err = read_entry(r, f->sub, slot);
        if (err)
            return err;
    }
    if (!err)
        map_sort(f, msg);
    return err;
}

/* null: what may be absent becomes so, the rest keeps its value, as in Go. */
static int read_null(struct json_reader *r, const struct json_field *f, void *msg)
{
    char *slot = (char *)msg + f->offset;

    if (f->flags & (JSON_F_REPEATED | JSON_F_MAP)) {
        list_clear(f, msg);
    } else if (json_is_pointer(f)) {
        if (f->kind != JSON_STRING || (f->flags & JSON_F_OPTIONAL)) {
            free(*(char **)(void *)slot);
            *(char **)(void *)slot = NULL;
        }
    } else if (f->state != JSON_NO_STATE) {
        if (f->kind == JSON_MESSAGE)
            json_release(f->sub, slot);
        *((bool *)msg + f->state) = false;
    }
    return json_read_literal(r, "null");
}

static int read_field(struct json_reader *r, const struct json_field *f, void *msg)
{
    char *slot = (char *)msg + f->offset;

    if (at_null(r))
        return read_null(r, f, msg);
    if (f->flags & JSON_F_MAP)
        return read_map(r, f, msg);
    if (f->flags & JSON_F_REPEATED)
        return read_list(r, f, msg);
    if (f->state != JSON_NO_STATE) {
        if (f->kind == JSON_MESSAGE && *((bool *)msg + f->state)) /* named twice */
            json_release(f->sub, slot);
        *((bool *)msg + f->state) = true;
    }
    return read_single(r, f, slot);
}

static bool same_name(const char *key, const char *name, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        unsigned char a = (unsigned char)key[i + 1], b = (unsigned char)name[i];

        if (a != b && ((a ^ b) != 0x20 || (a | 0x20) < 'a' || (a | 0x20) > 'z'))
            return false;
    }
    return true;
}

/* Texts mostly name the fields in our order, so the search begins behind the last one found. */
static const struct json_field *find_field(const struct json_type *t, const char *name, size_t len,
                                           size_t *hint)
{
    const struct json_field *f;
    size_t i, at = *hint;

    for (i = 0; i < t->fields_len; i++, at++) {
        if (at >= t->fields_len)
            at = 0;
        f = &t->fields[at];
        if ((f->key_len == len + 3 && same_name(f->key, name, len)) ||
            (f->server_key != f->key && f->server_key_len == len + 3 &&
             same_name(f->server_key, name, len))) {
            *hint = at + 1;
            return f;
        }
    }
    return NULL;
}

/* "Name":, in any spelling; *ret is NULL when no field is called so. */
static int read_name(struct json_reader *r, const struct json_type *t, size_t *hint,
                     const struct json_field **ret)
{
    const struct json_field *f = &t->fields[*hint];
    struct json_span name;
    char buf[64];
    int err;

    if (*hint < t->fields_len && (size_t)(r->end - r->p) > f->key_len &&
        memcmp(r->p, f->key, f->key_len) == 0) { /* the usual case in one comparison */
        r->p += f->key_len;
        ++*hint;
        *ret = f;
        return 0;
    }
    if (r->p >= r->end || *r->p != '"')
        return json_syntax_error(r, "looking for beginning of object key string");
    err = json_read_string(r, &name);
    if (err)
        return err;
    json_skip_space(r);
    if (r->p >= r->end || *r->p != ':')
        return json_syntax_error(r, "after object key");
    r->p++;
    *ret = NULL;
    if (name.plain) {
        *ret = find_field(t, name.p, name.len, hint);
    } else if (name.decoded_len < sizeof(buf)) {
        json_span_decode(&name, buf);
        *ret = find_field(t, buf, name.decoded_len, hint);
    }
    return 0;
}

/* One "name": value. */
static int read_member(struct json_reader *r, const struct json_type *t, void *msg, size_t *hint)
{
    struct json_path path = {.up = r->path, .owner = t};
    int err;

    err = read_name(r, t, hint, &path.field);
    if (err)
        return err;
    json_skip_space(r);
    if (!path.field)
        return json_read_raw(r, NULL);
    r->path = &path;
    err = read_field(r, path.field, msg);
    r->path = path.up;
    return err;
}

static int read_message(struct json_reader *r, const struct json_type *t, void *msg)
{
    size_t hint = 0;
    int err;

    if (t->flags & JSON_T_INLINE)
        return read_field(r, t->fields, msg);
    if (r->p >= r->end || *r->p != '{')
        return json_wrong_value(r, true);
    for (bool first = true; (err = json_next(r, first, '}')) > 0; first = false) {
        err = read_member(r, t, msg, &hint);
        if (err)
            return err;
    }
    return err;
}

int json_decode(const struct json_type *t, const char *text, size_t len, void *msg,
                struct errtext *e)
{
    struct json_reader r = {.text = text, .p = text, .end = text + len, .root = t, .e = e};
    int err;

    if (len > JSON_TEXT_MAX)
        return err_set(e, -EMSGSIZE, "JSON text exceeds %u bytes", JSON_TEXT_MAX);
    r.budget = MIN(BUDGET_MIN + len * BUDGET_PER_BYTE, (size_t)BUDGET_MAX);
    json_skip_space(&r);
    if (at_null(&r))
        err = json_read_literal(&r, "null");
    else
        err = read_message(&r, t, msg);
    if (!err) {
        json_skip_space(&r);
        if (r.p < r.end)
            err = json_syntax_error(&r, "after top-level value");
    }
    if (err)
        json_release(t, msg);
    return err;
}
