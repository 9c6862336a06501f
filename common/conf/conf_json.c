/* SPDX-License-Identifier: MPL-2.0 */
/*
 * JSON files in HCL's model: a block is an object or a list of objects, a titled block an object of
 * objects. jansson keeps no lines, so errors past the syntax name file and key only.
 */
#include "conf/conf_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static int load_block(struct conf_loader *l, const char *block, const json_t *obj, unsigned depth);

/* A scalar as it would stand in an HCL file. NULL: it is none. */
static char *scalar_text(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING:
        return xstrdup(json_string_value(v));
    case JSON_INTEGER:
        return xasprintf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
    case JSON_REAL:
        return xasprintf("%.17g", json_real_value(v));
    case JSON_TRUE:
        return xstrdup("true");
    case JSON_FALSE:
        return xstrdup("false");
    default:
        return NULL;
    }
}

static int load_map(struct conf_loader *l, const struct conf_row *row, json_t *obj)
{
    const char *key;
    json_t *v;

    json_object_foreach(obj, key, v)
    {
        char *text = scalar_text(v);
        int r = text ? conf_value_map_put(l->conf, row, key, text, l->e)
                     : err_set(l->e, -EINVAL, "the value of \"%s\" is not a string", key);

        free(text);
        if (r)
            return conf_loader_error(l, row, r);
    }
    return 0;
}

/* The scalars of an object and of all in it, as "TITLE.NAME". */
static int load_plugin(struct conf_loader *l, const struct conf_row *row, const char *title,
                       json_t *v, unsigned depth)
{
    const char *name;
    json_t *value;
    size_t i;
    int r = 0;

    if (json_is_array(v)) {
        json_array_foreach(v, i, value) if (r == 0 && depth < CONF_DEPTH_MAX) r =
            load_plugin(l, row, title, value, depth + 1);
        return r;
    }
    json_object_foreach(v, name, value)
    {
        char *text = scalar_text(value);
        char *key = xasprintf("%s.%s", title, name);

        if (text)
            r = conf_value_map_put(l->conf, row, key, text, l->e);
        else if (depth < CONF_DEPTH_MAX)
            r = load_plugin(l, row, title, value, depth + 1);
        free(text);
        free(key);
        if (r)
            return r;
    }
    return 0;
}

static int load_plugins(struct conf_loader *l, const struct conf_row *row, json_t *obj)
{
    const char *title;
    json_t *v;
    int r = 0;

    json_object_foreach(obj, title, v) if (r == 0) r = load_plugin(l, row, title, v, 0);
    return r ? conf_loader_error(l, row, r) : 0;
}

static int load_titled(struct conf_loader *l, const struct conf_row *row, json_t *obj,
                       unsigned depth)
{
    const char *title;
    json_t *v;

    json_object_foreach(obj, title, v)
    {
        int r =
            json_is_object(v)
                ? load_block(l, row->path, v, depth)
                : conf_loader_error(l, row, err_set(l->e, -EINVAL, "\"%s\" is not a block", title));

        if (r)
            return r;
    }
    return 0;
}

/* An object, or each object of a list. */
static int load_objects(struct conf_loader *l, const struct conf_row *row, json_t *v,
                        unsigned depth)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;

    for (size_t i = 0; i < n; i++) {
        json_t *obj = json_is_array(v) ? json_array_get(v, i) : v;
        int r;

        if (!json_is_object(obj))
            return conf_loader_error(l, row, err_set(l->e, -EINVAL, "is not a block"));
        if (row->type == CONF_MAP)
            r = load_map(l, row, obj);
        else if (row->type == CONF_PLUGINS)
            r = load_plugins(l, row, obj);
        else if (row->type == CONF_TITLED)
            r = load_titled(l, row, obj, depth);
        else
            r = row->type >= CONF_OPAQUE ? 0 : load_block(l, row->path, obj, depth);
        if (r)
            return r;
    }
    conf_loader_seen(l, row);
    return 0;
}

static int load_list(struct conf_loader *l, const struct conf_row *row, json_t *v)
{
    size_t n = json_array_size(v);
    char **items = xcalloc(n, sizeof(*items));
    int r = 0;

    for (size_t i = 0; i < n && !r; i++) {
        items[i] = scalar_text(json_array_get(v, i));
        if (!items[i])
            r = err_set(l->e, -EINVAL, "only strings and numbers may stand in a list here");
    }
    if (!r)
        r = conf_value_set_list(l->conf, row, (const char *const *)items, n, l->e);
    for (size_t i = 0; i < n; i++)
        free(items[i]);
    free(items);
    return r;
}

static int load_value(struct conf_loader *l, const struct conf_row *row, json_t *v)
{
    char *text;
    int r;

    if (conf_row_is_list(row) && json_is_array(v)) {
        r = load_list(l, row, v);
    } else {
        text = scalar_text(v);
        if (!text)
            return err_set(l->e, -EINVAL, "%s: %s: needs a plain value%s", l->file, row->path,
                           conf_row_is_list(row) ? " or a list of them" : "");
        r = conf_value_set(l->conf, row, text, l->e);
        free(text);
    }
    if (r)
        return conf_loader_error(l, row, r);
    conf_loader_seen(l, row);
    return 0;
}

static int load_block(struct conf_loader *l, const char *block, const json_t *obj, unsigned depth)
{
    const char *key;
    json_t *v;

    if (depth > CONF_DEPTH_MAX)
        return err_set(l->e, -EINVAL, "%s: nested too deeply", l->file);
    json_object_foreach((json_t *)obj, key, v)
    {
        const char *name = strrchr(block, '.');
        char path[256];
        const struct conf_row *row;
        int r;

        (void)snprintf(path, sizeof(path), "%s%s%s", block, *block ? "." : "", key);
        row = strchr(key, '.') ? NULL : conf_row_find(path);
        if (!row && !*block)
            return err_set(l->e, -EINVAL, "%s: unknown key \"%s\"", l->file, key);
        if (!row)
            return err_set(l->e, -EINVAL, "%s: unknown key \"%s\" in block \"%s\"", l->file, key,
                           name ? name + 1 : block);
        if (json_is_null(v))
            continue;
        if (row->type == CONF_MAP || conf_row_is_block(row))
            r = load_objects(l, row, v, depth + 1);
        else
            r = load_value(l, row, v);
        if (r)
            return r;
    }
    return 0;
}

int conf_parse_json(struct conf_loader *l, const char *file, const char *text, size_t len)
{
    json_error_t je;
    json_t *root;
    int r;

    if (len > CONF_FILE_MAX)
        return err_set(l->e, -EFBIG, "%s: larger than %u bytes", file, CONF_FILE_MAX);
    root = json_loadb(text ? text : "", len, 0, &je);
    if (!root)
        return err_set(l->e, -EINVAL, "%s:%d: %s", file, je.line, je.text);
    l->file = file;
    l->line = 0;
    if (json_is_object(root))
        r = load_block(l, "", root, 0);
    else
        r = err_set(l->e, -EINVAL, "%s: not a JSON object", file);
    l->file = NULL;
    json_decref(root);
    return r;
}
