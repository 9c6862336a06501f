/* SPDX-License-Identifier: MPL-2.0 */
/* Structs to text, driven by the tables. */
#include "json/json_impl.h"

#include <errno.h>
#include <math.h>
#include <resolv.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "wire/wire.h"

static void write_message(struct json_writer *w, const struct json_type *t, const void *msg);

static void write_uint(struct json_writer *w, uint64_t v)
{
    char buf[20];
    char *p = buf + sizeof(buf);

    do {
        *--p = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    json_write(w, p, (size_t)(buf + sizeof(buf) - p));
}

static void write_int(struct json_writer *w, int64_t v)
{
    if (v < 0)
        json_write_char(w, '-');
    write_uint(w, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

/* The shortest text that reads back as v; JSON has no infinity and no NaN. */
static void write_double(struct json_writer *w, double v)
{
    char buf[32];
    int digits, n;

    if (!isfinite(v)) {
        json_write_lit(w, "null");
        return;
    }
    for (digits = 1;; digits++) {
        n = snprintf(buf, sizeof(buf), "%.*g", digits, v);
        if (digits == 17 || strtod(buf, NULL) == v)
            break;
    }
    json_write(w, buf, (size_t)n);
}

static void write_bytes(struct json_writer *w, const pb_bytes_array_t *bytes)
{
    int n;

    if (!bytes) {
        json_write_lit(w, "null");
        return;
    }
    if (!json_writer_room(w, 3 + ((size_t)bytes->size + 2) / 3 * 4)) /* b64_ntop() adds a NUL */
        return;
    *w->p++ = '"';
    n = b64_ntop(bytes->bytes, bytes->size, w->p, ((size_t)bytes->size + 2) / 3 * 4 + 1);
    assert(n >= 0);
    w->p += n;
    *w->p++ = '"';
}

static void write_quoted(struct json_writer *w, const char *text)
{
    json_write_char(w, '"');
    json_write(w, text, strlen(text));
    json_write_char(w, '"');
}

static void write_time(struct json_writer *w, int64_t ns)
{
    char buf[JSON_TIME_MAX];

    if (ns)
        write_quoted(w, json_time_format(ns, buf));
    else
        json_write_lit(w, "null");
}

static void write_text(struct json_writer *w, const struct json_field *f, const char *s)
{
    if (f->kind == JSON_RAW && !s)
        json_write_lit(w, "null");
    else if (f->kind == JSON_RAW)
        json_write_raw(w, s);
    else if (!s || (f->flags & JSON_F_SECRET))
        json_write_lit(w, "\"\"");
    else
        json_write_string(w, s, strlen(s));
}

/* One value; slot points at it (at the pointer for strings and bytes). */
static void write_single(struct json_writer *w, const struct json_field *f, const void *slot)
{
    char buf[DURATION_TEXT_MAX];

    switch ((enum json_kind)f->kind) {
    case JSON_BOOL:
        if (*(const bool *)slot)
            json_write_lit(w, "true");
        else
            json_write_lit(w, "false");
        break;
    case JSON_INT:
        write_int(w, f->bits == 32 ? *(const int32_t *)slot : *(const int64_t *)slot);
        break;
    case JSON_UINT:
        write_uint(w, f->bits == 32 ? *(const uint32_t *)slot : *(const uint64_t *)slot);
        break;
    case JSON_DOUBLE:
        write_double(w, *(const double *)slot);
        break;
    case JSON_STRING:
    case JSON_RAW:
        write_text(w, f, *(const char *const *)slot);
        break;
    case JSON_BYTES:
        write_bytes(w, *(const pb_bytes_array_t *const *)slot);
        break;
    case JSON_MESSAGE:
        write_message(w, f->sub, slot);
        break;
    case JSON_DURATION:
        write_quoted(w, duration_format(*(const int64_t *)slot, buf));
        break;
    case JSON_TIME:
        write_time(w, *(const int64_t *)slot);
        break;
    }
}

static size_t count_of(const struct json_field *f, const void *msg)
{
    return *(const pb_size_t *)((const char *)msg + f->state);
}

/* A field that may be absent is. */
static bool is_unset(const struct json_field *f, const void *msg)
{
    if (f->state != JSON_NO_STATE)
        return !*(const bool *)((const char *)msg + f->state);
    return json_is_pointer(f) && !*(void *const *)((const char *)msg + f->offset);
}

static void write_list(struct json_writer *w, const struct json_field *f, const void *msg, size_t n)
{
    const char *item = *(const char *const *)((const char *)msg + f->offset);
    size_t i, size = json_element_size(f);

    json_write_char(w, '[');
    w->depth++;
    for (i = 0; i < n && !w->failed; i++, item += size) {
        if (i)
            json_write_char(w, ',');
        json_write_newline(w);
        write_single(w, f, item);
    }
    w->depth--;
    json_write_newline(w);
    json_write_char(w, ']');
}

static void write_field(struct json_writer *w, const struct json_field *f, const void *msg);

static void write_map(struct json_writer *w, const struct json_field *f, const void *msg, size_t n)
{
    const struct json_field *key = &f->sub->fields[0], *value = &f->sub->fields[1];
    const char *item = *(const char *const *)((const char *)msg + f->offset);
    size_t i;

    json_write_char(w, '{');
    w->depth++;
    for (i = 0; i < n && !w->failed; i++, item += f->sub->size) {
        if (i)
            json_write_char(w, ',');
        json_write_newline(w);
        write_text(w, key, *(const char *const *)(item + key->offset));
        json_write_char(w, ':');
        if (w->flags & JSON_PRETTY)
            json_write_char(w, ' ');
        write_field(w, value, item);
    }
    w->depth--;
    json_write_newline(w);
    json_write_char(w, '}');
}

static void write_empty(struct json_writer *w, const struct json_field *f)
{
    bool brackets =
        (f->flags & JSON_F_EMPTY) || ((f->flags & JSON_F_SERVER_EMPTY) &&
                                      (!(w->flags & JSON_VIEW_API) || (w->flags & JSON_DEFAULTS)));

    if (!brackets)
        json_write_lit(w, "null");
    else if (f->flags & JSON_F_MAP)
        json_write_lit(w, "{}");
    else
        json_write_lit(w, "[]");
}

static void write_field(struct json_writer *w, const struct json_field *f, const void *msg)
{
    static const struct {
        int64_t zero;
        const char *none;
    } absent;
    size_t n;

    if (f->flags & (JSON_F_REPEATED | JSON_F_MAP)) {
        n = count_of(f, msg);
        if (n == 0)
            write_empty(w, f);
        else if (f->flags & JSON_F_MAP)
            write_map(w, f, msg, n);
        else
            write_list(w, f, msg, n);
    } else if (!(f->flags & JSON_F_OPTIONAL) || !is_unset(f, msg)) {
        write_single(w, f, (const char *)msg + f->offset);
    } else if (f->kind == JSON_MESSAGE && (f->flags & JSON_F_EMPTY)) {
        write_single(w, f, (const char *)msg + f->offset); /* zeros: nothing was set */
    } else if (f->kind == JSON_MESSAGE || (f->flags & JSON_F_NULLABLE) ||
               (w->flags & JSON_VIEW_API)) {
        json_write_lit(w, "null");
    } else {
        write_single(w, f,
                     json_is_pointer(f) ? (const void *)&absent.none : (const void *)&absent.zero);
    }
}

static bool is_zero(const struct json_field *f, const void *msg)
{
    const char *slot = (const char *)msg + f->offset;
    const char *s;

    if (f->flags & (JSON_F_REPEATED | JSON_F_MAP))
        return count_of(f, msg) == 0;
    if (f->state != JSON_NO_STATE)
        return is_unset(f, msg);
    switch ((enum json_kind)f->kind) {
    case JSON_STRING:
    case JSON_RAW:
        s = *(const char *const *)slot;
        return !s || !*s;
    case JSON_BYTES:
        return is_unset(f, msg);
    case JSON_BOOL:
        return !*(const bool *)slot;
    case JSON_INT:
    case JSON_UINT:
        return f->bits == 32 ? *(const uint32_t *)slot == 0 : *(const uint64_t *)slot == 0;
    case JSON_DOUBLE:
        return *(const double *)slot == 0;
    case JSON_DURATION:
    case JSON_TIME:
        return *(const int64_t *)slot == 0;
    case JSON_MESSAGE:
        return false;
    }
    return false;
}

static bool is_left_out(const struct json_writer *w, const struct json_type *t,
                        const struct json_field *f, const void *msg)
{
    bool api = w->flags & JSON_VIEW_API;

    if (f->flags & (api ? JSON_F_SERVER_ONLY : JSON_F_API_ONLY))
        return true;
    if (w->flags & JSON_KEEP_EMPTY)
        return false;
    if ((t->flags & JSON_T_OMIT_EMPTY) || (f->flags & JSON_F_OMIT_EMPTY) ||
        (api && (f->flags & JSON_F_OMIT_EMPTY_API)))
        return is_zero(f, msg);
    return false;
}

static void write_message(struct json_writer *w, const struct json_type *t, const void *msg)
{
    const struct json_field *f, *end = t->fields + t->fields_len;
    bool api = w->flags & JSON_VIEW_API, first = true;

    if (t->flags & JSON_T_INLINE) {
        write_field(w, t->fields, msg);
        return;
    }
    json_write_char(w, '{');
    w->depth++;
    for (f = t->fields; f < end && !w->failed; f++) {
        if (is_left_out(w, t, f, msg))
            continue;
        if (!first)
            json_write_char(w, ',');
        first = false;
        json_write_newline(w);
        json_write(w, api ? f->key : f->server_key, api ? f->key_len : f->server_key_len);
        if (w->flags & JSON_PRETTY)
            json_write_char(w, ' ');
        write_field(w, f, msg);
    }
    w->depth--;
    if (!first)
        json_write_newline(w);
    json_write_char(w, '}');
}

int json_encode(const struct json_type *t, const void *msg, unsigned flags, struct strbuf *out)
{
    struct json_writer w;

    json_writer_init(&w, flags, out);
    write_message(&w, t, msg);
    return json_writer_fini(&w);
}

/* Decodes one item and writes it; the depth of the writer is kept. */
static int write_pb(struct json_writer *w, const struct json_type *t, const void *pb, size_t len)
{
    _cleanup_(freep) void *msg = xcalloc(1, t->size);
    int err = wire_decode(t->desc, pb, len, msg, t->size, NULL);

    if (err)
        return err;
    write_message(w, t, msg);
    json_release(t, msg);
    return 0;
}

int json_encode_pb(const struct json_type *t, const void *pb, size_t len, unsigned flags,
                   struct strbuf *out)
{
    struct json_writer w;
    int err, r;

    json_writer_init(&w, flags, out);
    err = write_pb(&w, t, pb, len);
    r = json_writer_fini(&w);
    return err ? err : r;
}

int json_encode_list(const struct json_type *item, const void *body, size_t len, unsigned flags,
                     struct strbuf *out)
{
    struct wire_items it = {body, len, false};
    struct json_writer w;
    const uint8_t *p;
    bool first = true;
    int err = 0, r;
    size_t n;

    json_writer_init(&w, flags, out);
    json_write_char(&w, '[');
    w.depth++;
    while (!err && !w.failed && wire_items_next(&it, &p, &n)) {
        if (!first)
            json_write_char(&w, ',');
        first = false;
        json_write_newline(&w);
        err = write_pb(&w, item, p, n);
    }
    w.depth--;
    if (!first)
        json_write_newline(&w);
    json_write_char(&w, ']');
    r = json_writer_fini(&w);
    return it.bad ? -EBADMSG : err ? err : r;
}
