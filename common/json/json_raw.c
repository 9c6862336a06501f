/* SPDX-License-Identifier: MPL-2.0 */
/*
 * JSON whose shape we do not know (a task's config): checked and brought into one canonical form,
 * so that equal values are equal bytes.
 */
#include "json/json_impl.h"

#include <errno.h>
#include <string.h>

/* Offsets in the output buffer. */
struct member {
    size_t start;
    size_t key_end;
    size_t end;
};

struct members {
    struct member *m;
    size_t len;
    size_t cap;
    bool sorted; /* strictly: no duplicates */
};

static void members_fini(struct members *ms)
{
    free(ms->m);
}

static size_t writer_pos(const struct json_writer *w)
{
    return (size_t)(w->p - w->out->data);
}

/* By key, then by place, so that of equal keys the last one stands last. */
static int member_cmp(const void *a, const void *b, void *text)
{
    const struct member *x = a, *y = b;
    const char *s = text;
    size_t xn = x->key_end - x->start - 1, yn = y->key_end - y->start - 1; /* no closing quote */
    int c = memcmp(s + x->start, s + y->start, MIN(xn, yn));

    if (c)
        return c;
    if (xn != yn)
        return xn < yn ? -1 : 1;
    return x->start < y->start ? -1 : x->start > y->start;
}

static bool same_key(const struct member *x, const struct member *y, const char *text)
{
    size_t n = x->key_end - x->start;

    return n == y->key_end - y->start && memcmp(text + x->start, text + y->start, n) == 0;
}

static void members_add(struct members *ms, struct member m, char *text)
{
    if (ms->len == ms->cap) {
        ms->cap = MAX(ms->cap * 2, (size_t)8);
        ms->m = xrealloc(ms->m, ms->cap * sizeof(*ms->m));
    }
    if (ms->len &&
        (member_cmp(&ms->m[ms->len - 1], &m, text) >= 0 || same_key(&ms->m[ms->len - 1], &m, text)))
        ms->sorted = false;
    ms->m[ms->len++] = m;
}

/* Writes the members that stand from `start` to the writer's end again, in order. */
static void members_sort(struct members *ms, struct json_writer *w, size_t start)
{
    _cleanup_(freep) char *copy = NULL;
    size_t i, n = writer_pos(w) - start;
    bool first = true;

    copy = xmalloc(n);
    memcpy(copy, w->out->data + start, n);
    for (i = 0; i < ms->len; i++) {
        ms->m[i].start -= start;
        ms->m[i].key_end -= start;
        ms->m[i].end -= start;
    }
    qsort_r(ms->m, ms->len, sizeof(*ms->m), member_cmp, copy);
    w->p = w->out->data + start;
    for (i = 0; i < ms->len; i++) {
        if (i + 1 < ms->len && same_key(&ms->m[i], &ms->m[i + 1], copy))
            continue;
        if (!first)
            json_write_char(w, ',');
        json_write(w, copy + ms->m[i].start, ms->m[i].end - ms->m[i].start);
        first = false;
    }
}

static int raw_value(struct json_reader *r, struct json_writer *w);

static int raw_string(struct json_reader *r, struct json_writer *w)
{
    _cleanup_(freep) char *buf = NULL;
    struct json_span s;
    int err = json_read_string(r, &s);

    if (err || !w)
        return err;
    if (s.plain) {
        json_write_string(w, s.p, s.len);
        return 0;
    }
    buf = xmalloc(s.decoded_len + 1);
    json_span_decode(&s, buf);
    json_write_string(w, buf, s.decoded_len);
    return 0;
}

static int raw_array(struct json_reader *r, struct json_writer *w)
{
    int err;

    for (bool first = true; (err = json_next(r, first, ']')) > 0; first = false) {
        if (w && !first)
            json_write_char(w, ',');
        err = raw_value(r, w);
        if (err)
            return err;
    }
    return err;
}

static int raw_member(struct json_reader *r, struct json_writer *w, struct members *ms)
{
    struct member m = {0};
    int err;

    if (r->p >= r->end || *r->p != '"')
        return json_syntax_error(r, "looking for beginning of object key string");
    if (w)
        m.start = writer_pos(w);
    err = raw_string(r, w);
    if (err)
        return err;
    if (w)
        m.key_end = writer_pos(w);
    json_skip_space(r);
    if (r->p >= r->end || *r->p != ':')
        return json_syntax_error(r, "after object key");
    r->p++;
    if (w)
        json_write_char(w, ':');
    json_skip_space(r);
    err = raw_value(r, w);
    if (err || !w || w->failed)
        return err;
    m.end = writer_pos(w);
    members_add(ms, m, w->out->data);
    return 0;
}

static int raw_object(struct json_reader *r, struct json_writer *w)
{
    _cleanup_(members_fini) struct members ms = {.sorted = true};
    size_t start = w && !w->failed ? writer_pos(w) : 0;
    int err;

    for (bool first = true; (err = json_next(r, first, '}')) > 0; first = false) {
        if (w && !first)
            json_write_char(w, ',');
        err = raw_member(r, w, &ms);
        if (err)
            return err;
    }
    if (!err && w && !w->failed && !ms.sorted)
        members_sort(&ms, w, start);
    return err;
}

static int raw_scalar(struct json_reader *r, struct json_writer *w)
{
    const char *start = r->p;
    size_t n;
    int err;

    switch (*start) {
    case '-':
    case '0' ... '9':
        err = json_read_number(r, &start, &n);
        break;
    case 't':
        err = json_read_literal(r, "true");
        break;
    case 'f':
        err = json_read_literal(r, "false");
        break;
    case 'n':
        err = json_read_literal(r, "null");
        break;
    default:
        return json_syntax_error(r, "looking for beginning of value");
    }
    if (!err && w)
        json_write(w, start, (size_t)(r->p - start));
    return err;
}

static int raw_value(struct json_reader *r, struct json_writer *w)
{
    bool object;
    int err;

    if (r->p >= r->end)
        return json_syntax_error(r, "");
    if (*r->p == '"')
        return raw_string(r, w);
    if (*r->p != '{' && *r->p != '[')
        return raw_scalar(r, w);
    object = *r->p == '{';
    if (w)
        json_write_char(w, object ? '{' : '[');
    err = object ? raw_object(r, w) : raw_array(r, w);
    if (w)
        json_write_char(w, object ? '}' : ']');
    return err;
}

int json_read_raw(struct json_reader *r, struct strbuf *out)
{
    struct json_writer w;
    int err;

    if (!out)
        return raw_value(r, NULL);
    json_writer_init(&w, 0, out);
    err = raw_value(r, &w);
    if (json_writer_fini(&w) && !err)
        err = err_set(r->e, -EMSGSIZE, "value too large");
    return err;
}

int json_raw_compact(const char *text, size_t len, unsigned flags, struct strbuf *out,
                     struct errtext *e)
{
    struct json_reader r = {.text = text, .p = text, .end = text + len, .e = e};
    _cleanup_(strbuf_fini) struct strbuf tmp = STRBUF_INIT;
    bool layout = out && (flags & (JSON_PRETTY | JSON_ESCAPE_HTML));
    struct json_writer w;
    int err;

    if (len > JSON_TEXT_MAX)
        return err_set(e, -EMSGSIZE, "JSON text exceeds %u bytes", JSON_TEXT_MAX);
    json_skip_space(&r);
    err = json_read_raw(&r, layout ? &tmp : out);
    if (err)
        return err;
    json_skip_space(&r);
    if (r.p < r.end)
        return json_syntax_error(&r, "after top-level value");
    if (!layout)
        return 0;
    json_writer_init(&w, flags, out);
    json_write_raw(&w, tmp.data);
    return json_writer_fini(&w);
}
