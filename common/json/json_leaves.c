/* SPDX-License-Identifier: MPL-2.0 */
/* JSON whose shape we do not know, as a list of paths and texts. */
#include "json/json_leaves.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "json/json_impl.h"

struct leaves {
    struct json_reader r;
    struct strbuf path;
    json_leaf_fn *fn;
    void *ctx;
};

static int leaves_value(struct leaves *l);

static void path_cut(struct leaves *l, size_t len)
{
    l->path.len = len;
    if (l->path.data)
        l->path.data[len] = '\0';
}

static void leaf(struct leaves *l, const char *text)
{
    l->fn(l->ctx, l->path.len ? l->path.data : "", text);
}

/* A float as Go's %v prints it: the fewest digits, an exponent below -4 and from 6 on. */
static void leaf_number(struct leaves *l, const char *p, size_t len)
{
    char in[64], out[64];
    int digits, exponent;
    double v;

    (void)snprintf(in, sizeof(in), "%.*s", (int)len, p);
    v = strtod(in, NULL);
    for (digits = 0; digits < 17; digits++) {
        (void)snprintf(out, sizeof(out), "%.*e", digits, v);
        if (strtod(out, NULL) == v)
            break;
    }
    exponent = (int)strtol(strchr(out, 'e') + 1, NULL, 10);
    if (exponent >= -4 && exponent < 6)
        (void)snprintf(out, sizeof(out), "%.*f", MAX(digits - exponent, 0), v);
    leaf(l, out);
}

static int leaves_list(struct leaves *l)
{
    size_t len = l->path.len, i = 0;
    int r;

    for (; (r = json_next(&l->r, i == 0, ']')) > 0; i++) {
        strbuf_addf(&l->path, "[%zu]", i);
        r = leaves_value(l);
        if (r < 0)
            return r;
        path_cut(l, len);
    }
    return r;
}

static int leaves_member(struct leaves *l)
{
    _cleanup_(freep) char *key = NULL;
    int r = json_read_text(&l->r, &key);

    if (r < 0)
        return r;
    strbuf_addf(&l->path, l->path.len ? "[%s]" : "%s", key);
    json_skip_space(&l->r);
    if (l->r.p >= l->r.end || *l->r.p != ':')
        return json_syntax_error(&l->r, "after object key");
    l->r.p++;
    return leaves_value(l);
}

static int leaves_object(struct leaves *l)
{
    size_t len = l->path.len;
    bool first = true;
    int r;

    for (; (r = json_next(&l->r, first, '}')) > 0; first = false) {
        r = leaves_member(l);
        if (r < 0)
            return r;
        path_cut(l, len);
    }
    return r;
}

static int leaves_string(struct leaves *l)
{
    _cleanup_(freep) char *s = NULL;
    int err = json_read_text(&l->r, &s);

    if (err == 0)
        leaf(l, s);
    return err;
}

static int leaves_word(struct leaves *l, const char *word, const char *text)
{
    int err = json_read_literal(&l->r, word);

    if (err == 0)
        leaf(l, text);
    return err;
}

static int leaves_value(struct leaves *l)
{
    struct json_reader *r = &l->r;
    const char *number;
    size_t len;
    int err;

    if (strbuf_failed(&l->path))
        return -EMSGSIZE;
    json_skip_space(r);
    switch (r->p < r->end ? *r->p : '\0') {
    case '{':
        return leaves_object(l);
    case '[':
        return leaves_list(l);
    case '"':
        return leaves_string(l);
    case 't':
        return leaves_word(l, "true", "true");
    case 'f':
        return leaves_word(l, "false", "false");
    case 'n':
        return leaves_word(l, "null", "nil");
    default:
        err = json_read_number(r, &number, &len);
        if (err == 0)
            leaf_number(l, number, len);
        return err;
    }
}

int json_leaves(const char *text, json_leaf_fn *fn, void *ctx)
{
    size_t len = strlen(text);
    struct errtext e;
    struct leaves l = {
        .r = {.text = text, .p = text, .end = text + len, .e = &e, .budget = SIZE_MAX},
        .path = STRBUF_BOUND(JSON_TEXT_MAX),
        .fn = fn,
        .ctx = ctx,
    };
    int err = leaves_value(&l);

    strbuf_fini(&l.path);
    return err;
}
