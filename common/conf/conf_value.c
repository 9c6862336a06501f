/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One value: text -> checked -> its field in struct conf. Types are weak in Nomad's way: the text
 * decides, not whether it stood in quotes.
 */
#include "conf/conf_internal.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <resolv.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define NAME_LEN_MAX 128
#define ID_LEN_MAX   64

union value {
    bool b;
    int64_t i;
    double d;
};

static void *field(struct conf *c, const struct conf_row *row)
{
    assert(row->offset != CONF_NO_EFFECT);
    return (char *)c + row->offset;
}

/* ---- lists and maps ---- */

void conf_list_add(struct conf_list *l, const char *item)
{
    l->items = xrealloc(l->items, (l->n + 1) * sizeof(*l->items));
    l->items[l->n++] = xstrdup(item);
}

void conf_list_fini(struct conf_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
    *l = (struct conf_list){0};
}

bool conf_list_has(const struct conf_list *l, const char *item)
{
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->items[i], item) == 0)
            return true;
    }
    return false;
}

void conf_map_fini(struct conf_map *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free(m->keys[i]);
        free(m->values[i]);
    }
    free(m->keys);
    free(m->values);
    *m = (struct conf_map){0};
}

static int map_put(struct conf_map *m, const char *key, const char *value)
{
    size_t at = 0;

    while (at < m->n && strcmp(m->keys[at], key) < 0)
        at++;
    if (at < m->n && strcmp(m->keys[at], key) == 0) {
        free(m->values[at]);
        m->values[at] = xstrdup(value);
        return 0;
    }
    if (m->n >= CONF_LIST_MAX)
        return -E2BIG;
    m->keys = xrealloc(m->keys, (m->n + 1) * sizeof(*m->keys));
    m->values = xrealloc(m->values, (m->n + 1) * sizeof(*m->values));
    memmove(m->keys + at + 1, m->keys + at, (m->n - at) * sizeof(*m->keys));
    memmove(m->values + at + 1, m->values + at, (m->n - at) * sizeof(*m->values));
    m->keys[at] = xstrdup(key);
    m->values[at] = xstrdup(value);
    m->n++;
    return 0;
}

/* ---- checks ---- */

static int parse_bool(const char *text, union value *ret, struct errtext *e)
{
    if (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0) {
        ret->b = true;
    } else if (strcasecmp(text, "false") == 0 || strcmp(text, "0") == 0) {
        ret->b = false;
    } else {
        return err_set(e, -EINVAL, "\"%s\" is neither true nor false", text);
    }
    return 0;
}

static int parse_int(const struct conf_row *row, const char *text, union value *ret,
                     struct errtext *e)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(text, &end, 10);
    if (end == text || *end || isspace((unsigned char)text[0]))
        return err_set(e, -EINVAL, "\"%s\" is not a whole number", text);
    if (errno == ERANGE || v < row->min || v > row->max)
        return err_set(e, -EINVAL, "%s is out of range %lld..%lld", text, (long long)row->min,
                       (long long)row->max);
    ret->i = v;
    return 0;
}

static int parse_float(const struct conf_row *row, const char *text, union value *ret,
                       struct errtext *e)
{
    char *end;
    double v = strtod(text, &end);

    if (end == text || *end || !isfinite(v) || isspace((unsigned char)text[0]))
        return err_set(e, -EINVAL, "\"%s\" is not a number", text);
    if (v < (double)row->min || v > (double)row->max)
        return err_set(e, -EINVAL, "%s is out of range %lld..%lld", text, (long long)row->min,
                       (long long)row->max);
    ret->d = v;
    return 0;
}

static int parse_duration(const struct conf_row *row, const char *text, union value *ret,
                          struct errtext *e)
{
    char lo[DURATION_TEXT_MAX], hi[DURATION_TEXT_MAX];
    int64_t ns, max = row->max, min = row->min * NS_PER_MS;

    max = max > INT64_MAX / NS_PER_MS ? INT64_MAX : max * NS_PER_MS;
    if (duration_parse(text, &ns) != 0)
        return err_set(e, -EINVAL, "\"%s\" is not a duration such as \"30s\" or \"1h30m\"", text);
    if (ns < min || ns > max)
        return err_set(e, -EINVAL, "%s is out of range %s..%s", text, duration_format(min, lo),
                       duration_format(max, hi));
    ret->i = ns;
    return 0;
}

static int check_key(const char *text, struct errtext *e)
{
    unsigned char bytes[64];
    int n;

    if (!*text)
        return 0;
    n = strlen(text) <= 64 ? b64_pton(text, bytes, sizeof(bytes)) : -1;
    explicit_bzero(bytes, sizeof(bytes));
    if (n < 0)
        return err_set(e, -EINVAL, "Invalid encryption key: illegal base64 data");
    if (n != 16 && n != 24 && n != 32)
        return err_set(e, -EINVAL, "Invalid encryption key: it has %d bytes, not 16, 24 or 32", n);
    return 0;
}

/* Names become parts of node names, URLs and file names. */
static int check_name(const struct conf_row *row, const char *text, struct errtext *e)
{
    const char *name = conf_row_name(row);
    bool id = row->type == CONF_ID;
    bool ok = (id || *text) && strlen(text) <= (id ? ID_LEN_MAX : NAME_LEN_MAX);

    for (const unsigned char *p = (const unsigned char *)text; ok && *p; p++) {
        if (*p <= ' ' || *p == 0x7f || strchr("/\\?#&%\"'", *p))
            ok = false;
    }
    if (ok)
        return 0;
    return err_set(e, -EINVAL, "%c%s contains invalid characters", toupper((unsigned char)name[0]),
                   name + 1);
}

static int check_path(const struct conf_row *row, const char *text, struct errtext *e)
{
    char name[64];

    if (!*text || *text == '/')
        return 0;
    (void)snprintf(name, sizeof(name), "%s", conf_row_name(row));
    for (char *p = name; *p; p++) {
        if (*p == '_')
            *p = '-';
    }
    return err_set(e, -EINVAL, "%s must be given as an absolute path: got %s", name, text);
}

static int check_text(const struct conf_row *row, const char *text, struct errtext *e)
{
    const char *problem = NULL;
    enum log_level level;

    if (strlen(text) > CONF_STRING_MAX)
        return err_set(e, -EINVAL, "longer than %d bytes", CONF_STRING_MAX);
    switch (row->type) {
    case CONF_NAME:
    case CONF_ID:
        return check_name(row, text, e);
    case CONF_PATH:
        return check_path(row, text, e);
    case CONF_KEY:
        return check_key(text, e);
    case CONF_LEVEL:
        if (log_level_parse(text, &level))
            return 0;
        return err_set(e, -EINVAL,
                       "Invalid log level: %s. Valid log levels are: "
                       "[TRACE DEBUG INFO WARN ERROR]",
                       text);
    case CONF_IP:
        problem = *text ? conf_addr_problem(text, false) : NULL;
        break;
    case CONF_ADVERTISE:
        problem = *text ? conf_addr_problem(text, true) : NULL;
        break;
    case CONF_HOSTS:
        problem = conf_host_problem(text);
        break;
    case CONF_SOURCES:
        problem = conf_source_problem(text);
        break;
    case CONF_CIDRS:
        problem = conf_cidr_problem(text);
        break;
    default: /* free text; the other types never come here */
        break;
    }
    if (problem)
        return err_set(e, -EINVAL, "\"%s\" %s", text, problem);
    return 0;
}

/* ---- storing ---- */

static int parse_number(const struct conf_row *row, const char *text, union value *ret,
                        struct errtext *e)
{
    switch (row->type) {
    case CONF_BOOL:
        return parse_bool(text, ret, e);
    case CONF_FLOAT:
        return parse_float(row, text, ret, e);
    case CONF_DUR:
        return parse_duration(row, text, ret, e);
    default:
        return parse_int(row, text, ret, e);
    }
}

static bool is_number(const struct conf_row *row)
{
    return row->type == CONF_BOOL || row->type == CONF_INT || row->type == CONF_U64 ||
           row->type == CONF_I64 || row->type == CONF_FLOAT || row->type == CONF_DUR;
}

static void store_number(struct conf *c, const struct conf_row *row, union value v)
{
    void *at = field(c, row);

    if (row->type == CONF_BOOL)
        *(bool *)at = v.b || ((row->flags & CONF_F_STICKY) && *(bool *)at);
    else if (row->type == CONF_INT)
        *(int *)at = (int)v.i;
    else if (row->type == CONF_FLOAT)
        *(double *)at = v.d;
    else
        *(int64_t *)at = v.i; /* U64: the row's range keeps it in the common half */
}

int conf_value_set(struct conf *c, const struct conf_row *row, const char *text, struct errtext *e)
{
    union value v = {0};
    char **at;
    int r;

    assert(!conf_row_is_block(row) && row->type != CONF_MAP);
    if (conf_row_is_list(row))
        return conf_value_set_list(c, row, &text, 1, e);
    r = is_number(row) ? parse_number(row, text, &v, e) : check_text(row, text, e);
    if (r || row->offset == CONF_NO_EFFECT)
        return r;
    if (is_number(row)) {
        store_number(c, row, v);
        return 0;
    }
    at = field(c, row);
    free(*at);
    *at = xstrdup(text);
    return 0;
}

int conf_value_set_list(struct conf *c, const struct conf_row *row, const char *const *items,
                        size_t n, struct errtext *e)
{
    struct conf_list *l;

    assert(conf_row_is_list(row));
    if (n > CONF_LIST_MAX)
        return err_set(e, -EINVAL, "more than %d entries", CONF_LIST_MAX);
    for (size_t i = 0; i < n; i++) {
        int r = check_text(row, items[i], e);

        if (r)
            return r;
    }
    if (row->offset == CONF_NO_EFFECT)
        return 0;
    l = field(c, row);
    conf_list_fini(l);
    for (size_t i = 0; i < n; i++)
        conf_list_add(l, items[i]);
    return 0;
}

int conf_value_map_put(struct conf *c, const struct conf_row *row, const char *key,
                       const char *value, struct errtext *e)
{
    assert(row->type == CONF_MAP || row->type == CONF_PLUGINS);
    if (!*key)
        return err_set(e, -EINVAL, "an empty key");
    if (strlen(key) + strlen(value) > CONF_STRING_MAX)
        return err_set(e, -EINVAL, "longer than %d bytes", CONF_STRING_MAX);
    if (row->offset == CONF_NO_EFFECT)
        return 0;
    if (map_put(field(c, row), key, value) != 0)
        return err_set(e, -EINVAL, "more than %d entries", CONF_LIST_MAX);
    return 0;
}

/* Every field that a row owns gets its default, "" for strings. c is zeroed. */
void conf_set_defaults(struct conf *c)
{
    for (size_t i = 0; i < conf_rows_n; i++) {
        const struct conf_row *row = &conf_rows[i];
        struct errtext e;
        int r = 0;

        if (row->offset == CONF_NO_EFFECT || (row->flags & CONF_F_ALIAS) || row->type >= CONF_LIST)
            continue;
        if (row->def)
            r = conf_value_set(c, row, row->def, &e);
        else if (!is_number(row))
            *(char **)field(c, row) = xstrdup("");
        assert(r == 0);
    }
}
