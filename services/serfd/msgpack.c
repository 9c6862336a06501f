/* SPDX-License-Identifier: MPL-2.0 */
#include "msgpack.h"

#include <string.h>

bool span_eq(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

bool span_is(struct span a, const char *text)
{
    return span_eq(a, SPAN_STR(text));
}

int span_cmp(struct span a, struct span b)
{
    size_t len = MIN(a.len, b.len);
    int c = len ? memcmp(a.p, b.p, len) : 0;

    return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* ---- writer ---- */

/* The tag byte, then the low `width` bytes of v, big-endian. */
static void put_tagged(struct strbuf *out, uint8_t tag, uint64_t v, size_t width)
{
    uint8_t b[9] = {tag};

    for (size_t i = 0; i < width; i++)
        b[1 + i] = (uint8_t)(v >> (8 * (width - 1 - i)));
    strbuf_add(out, b, 1 + width);
}

void mp_put_nil(struct strbuf *out)
{
    put_tagged(out, 0xc0, 0, 0);
}

void mp_put_bool(struct strbuf *out, bool v)
{
    put_tagged(out, v ? 0xc3 : 0xc2, 0, 0);
}

void mp_put_uint(struct strbuf *out, uint64_t v)
{
    if (v < 0x80)
        put_tagged(out, (uint8_t)v, 0, 0);
    else if (v <= UINT8_MAX)
        put_tagged(out, 0xcc, v, 1);
    else if (v <= UINT16_MAX)
        put_tagged(out, 0xcd, v, 2);
    else if (v <= UINT32_MAX)
        put_tagged(out, 0xce, v, 4);
    else
        put_tagged(out, 0xcf, v, 8);
}

void mp_put_f64(struct strbuf *out, double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof(bits));
    put_tagged(out, 0xcb, bits, 8);
}

void mp_put_raw(struct strbuf *out, struct span v)
{
    if (!v.p) {
        mp_put_nil(out);
        return;
    }
    if (v.len < 32)
        put_tagged(out, (uint8_t)(0xa0 | v.len), 0, 0);
    else if (v.len <= UINT16_MAX)
        put_tagged(out, 0xda, v.len, 2);
    else
        put_tagged(out, 0xdb, v.len, 4);
    if (v.len)
        strbuf_add(out, v.p, v.len);
}

void mp_put_str(struct strbuf *out, const char *s)
{
    mp_put_raw(out, SPAN_STR(s));
}

void mp_put_map(struct strbuf *out, size_t n)
{
    if (n < 16)
        put_tagged(out, (uint8_t)(0x80 | n), 0, 0);
    else if (n <= UINT16_MAX)
        put_tagged(out, 0xde, n, 2);
    else
        put_tagged(out, 0xdf, n, 4);
}

void mp_put_list(struct strbuf *out, size_t n)
{
    if (n < 16)
        put_tagged(out, (uint8_t)(0x90 | n), 0, 0);
    else if (n <= UINT16_MAX)
        put_tagged(out, 0xdc, n, 2);
    else
        put_tagged(out, 0xdd, n, 4);
}

/* ---- reader ---- */

static int peek(const struct mp_reader *r, uint8_t *ret_tag)
{
    if (r->p >= r->end)
        return MP_E_MORE;
    *ret_tag = *r->p;
    return 0;
}

/* Big-endian integer of `width` bytes behind the tag; moves past it. */
static int get_tail(struct mp_reader *r, size_t width, uint64_t *ret)
{
    uint64_t v = 0;

    if ((size_t)(r->end - r->p) < 1 + width)
        return MP_E_MORE;
    for (size_t i = 0; i < width; i++)
        v = v << 8 | r->p[1 + i];
    r->p += 1 + width;
    *ret = v;
    return 0;
}

/* Any integer form: the value and whether it is negative (two's complement in *ret). */
static int get_number(struct mp_reader *r, uint64_t *ret, bool *ret_negative)
{
    uint8_t tag = 0;
    uint64_t v;
    int e = peek(r, &tag);

    *ret_negative = false;
    if (e)
        return e;
    if (tag < 0x80 || tag >= 0xe0 || tag == 0xc0) {
        r->p++;
        *ret_negative = tag >= 0xe0;
        *ret = tag == 0xc0 ? 0 : (uint64_t)(int64_t)(int8_t)tag;
        return 0;
    }
    if (tag >= 0xcc && tag <= 0xcf)
        return get_tail(r, (size_t)1 << (tag - 0xcc), ret);
    if (tag < 0xd0 || tag > 0xd3)
        return MP_E_BAD;
    e = get_tail(r, (size_t)1 << (tag - 0xd0), &v);
    if (e)
        return e;
    if (tag == 0xd0)
        v = (uint64_t)(int64_t)(int8_t)v;
    else if (tag == 0xd1)
        v = (uint64_t)(int64_t)(int16_t)v;
    else if (tag == 0xd2)
        v = (uint64_t)(int64_t)(int32_t)v;
    *ret_negative = (int64_t)v < 0;
    *ret = v;
    return 0;
}

int mp_get_uint(struct mp_reader *r, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;
    bool negative;
    int e = get_number(r, &v, &negative);

    if (e)
        return e;
    if (negative || v > max)
        return MP_E_BAD;
    *ret = v;
    return 0;
}

int mp_get_int(struct mp_reader *r, int64_t *ret)
{
    uint64_t v = 0;
    bool negative;
    int e = get_number(r, &v, &negative);

    if (e)
        return e;
    if (!negative && v > INT64_MAX)
        return MP_E_BAD;
    *ret = (int64_t)v;
    return 0;
}

int mp_get_bool(struct mp_reader *r, bool *ret)
{
    uint8_t tag = 0;
    int e = peek(r, &tag);

    if (e)
        return e;
    if (tag != 0xc0 && tag != 0xc2 && tag != 0xc3 && tag > 1)
        return MP_E_BAD;
    *ret = tag == 0xc3 || tag == 1;
    r->p++;
    return 0;
}

int mp_get_f64(struct mp_reader *r, double *ret)
{
    uint8_t tag = 0;
    uint64_t bits = 0;
    uint32_t low;
    float f;
    int64_t n;
    int e = peek(r, &tag);

    if (e)
        return e;
    if (tag == 0xcb) {
        e = get_tail(r, 8, &bits);
        memcpy(ret, &bits, sizeof(bits));
        return e;
    }
    if (tag == 0xca) {
        e = get_tail(r, 4, &bits);
        low = (uint32_t)bits;
        memcpy(&f, &low, sizeof(f));
        *ret = (double)f;
        return e;
    }
    e = mp_get_int(r, &n);
    if (!e)
        *ret = (double)n;
    return e;
}

/* Length of a raw, str8 or bin value; moves past the head. */
static int get_raw_len(struct mp_reader *r, uint8_t tag, uint64_t *ret)
{
    switch (tag) {
    case 0xc4:
    case 0xd9:
        return get_tail(r, 1, ret);
    case 0xc5:
    case 0xda:
        return get_tail(r, 2, ret);
    case 0xc6:
    case 0xdb:
        return get_tail(r, 4, ret);
    default:
        if ((tag & 0xe0) != 0xa0)
            return MP_E_BAD;
        r->p++;
        *ret = tag & 0x1f;
        return 0;
    }
}

int mp_get_raw(struct mp_reader *r, struct span *ret)
{
    struct mp_reader at = *r;
    uint8_t tag = 0;
    uint64_t len = 0;
    int e = peek(&at, &tag);

    if (e)
        return e;
    if (tag == 0xc0) {
        r->p++;
        *ret = (struct span){NULL, 0};
        return 0;
    }
    e = get_raw_len(&at, tag, &len);
    if (e)
        return e;
    if (len > (size_t)(at.end - at.p))
        return MP_E_MORE;
    *ret = (struct span){at.p, (size_t)len};
    r->p = at.p + len;
    return 0;
}

/* Head of a map (fix 0x80, wide 0xde) or a list (fix 0x90, wide 0xdc). */
static int get_head(struct mp_reader *r, uint8_t fix, uint8_t wide, uint32_t *ret_n)
{
    uint8_t tag = 0;
    uint64_t n = 0;
    int e = peek(r, &tag);

    if (e)
        return e;
    if (tag == 0xc0 || (tag & 0xf0) == fix) {
        r->p++;
        n = tag == 0xc0 ? 0 : tag & 0x0f;
    } else if (tag == wide || tag == wide + 1) {
        e = get_tail(r, tag == wide ? 2 : 4, &n);
    } else {
        return MP_E_BAD;
    }
    *ret_n = (uint32_t)n;
    return e;
}

int mp_get_map(struct mp_reader *r, uint32_t *ret_n)
{
    return get_head(r, 0x80, 0xde, ret_n);
}

int mp_get_list(struct mp_reader *r, uint32_t *ret_n)
{
    return get_head(r, 0x90, 0xdc, ret_n);
}

bool mp_next_is_list(const struct mp_reader *r)
{
    return r->p < r->end && ((*r->p & 0xf0) == 0x90 || *r->p == 0xdc || *r->p == 0xdd);
}

static int skip_fixed(struct mp_reader *r, size_t n)
{
    if ((size_t)(r->end - r->p) < n)
        return MP_E_MORE;
    r->p += n;
    return 0;
}

static int skip_at(struct mp_reader *r, unsigned depth)
{
    uint8_t tag = 0;
    uint32_t n = 0;
    struct span raw;
    int e = peek(r, &tag);

    if (e)
        return e;
    if (depth > MP_DEPTH_MAX)
        return MP_E_BAD;
    if (tag < 0x80 || tag >= 0xe0 || tag == 0xc0 || tag == 0xc2 || tag == 0xc3)
        return skip_fixed(r, 1);
    if (tag >= 0xca && tag <= 0xcb)
        return skip_fixed(r, tag == 0xca ? 5 : 9);
    if (tag >= 0xcc && tag <= 0xd3)
        return skip_fixed(r, 1 + ((size_t)1 << (tag & 3)));
    if (tag >= 0xd4 && tag <= 0xd8) /* fixext */
        return skip_fixed(r, 2 + ((size_t)1 << (tag - 0xd4)));
    if (tag == 0xc1 || (tag >= 0xc7 && tag <= 0xc9))
        return MP_E_BAD;
    if ((tag & 0xf0) == 0x80 || tag == 0xde || tag == 0xdf) {
        e = mp_get_map(r, &n);
        for (uint64_t i = 0; !e && i < 2 * (uint64_t)n; i++)
            e = skip_at(r, depth + 1);
        return e;
    }
    if (mp_next_is_list(r)) {
        e = mp_get_list(r, &n);
        for (uint32_t i = 0; !e && i < n; i++)
            e = skip_at(r, depth + 1);
        return e;
    }
    return mp_get_raw(r, &raw);
}

int mp_skip(struct mp_reader *r)
{
    return skip_at(r, 0);
}

int mp_get_value(struct mp_reader *r, struct span *ret)
{
    const uint8_t *start = r->p;
    int e = mp_skip(r);

    if (!e)
        *ret = (struct span){start, (size_t)(r->p - start)};
    return e;
}

/* ---- structs by table ---- */

static uint64_t load_uint(const void *at, enum mp_type type)
{
    switch (type) {
    case MP_U8:
        return *(const uint8_t *)at;
    case MP_U16:
        return *(const uint16_t *)at;
    case MP_U32:
        return *(const uint32_t *)at;
    case MP_U64:
    case MP_INT:
        return *(const uint64_t *)at;
    case MP_BOOL:
        return *(const bool *)at;
    case MP_F64:
    case MP_STR:
    case MP_BYTES:
    case MP_VALUE:
        break;
    }
    assert(!"not an integer field");
    return 0;
}

static bool field_is_span(enum mp_type type)
{
    return type == MP_STR || type == MP_BYTES || type == MP_VALUE;
}

static bool field_is_empty(const struct mp_field *f, const void *at)
{
    if (field_is_span(f->type))
        return ((const struct span *)at)->len == 0;
    return load_uint(at, f->type) == 0;
}

static void put_field(struct strbuf *out, const struct mp_field *f, const void *at)
{
    const struct span *s = at;

    switch (f->type) {
    case MP_BOOL:
        mp_put_bool(out, *(const bool *)at);
        break;
    case MP_F64:
        mp_put_f64(out, *(const double *)at);
        break;
    case MP_STR:
        mp_put_raw(out, s->p ? *s : (struct span){(const uint8_t *)"", 0});
        break;
    case MP_BYTES:
        mp_put_raw(out, *s);
        break;
    case MP_VALUE:
        if (s->p)
            strbuf_add(out, s->p, s->len);
        else
            mp_put_nil(out);
        break;
    case MP_U8:
    case MP_U16:
    case MP_U32:
    case MP_U64:
    case MP_INT:
        mp_put_uint(out, load_uint(at, f->type));
        break;
    }
}

void mp_put_struct(struct strbuf *out, const struct mp_schema *schema, const void *obj)
{
    size_t n = 0;

    for (size_t i = 0; i < schema->n; i++) {
        const struct mp_field *f = &schema->fields[i];

        n += !f->omit_empty || !field_is_empty(f, (const char *)obj + f->offset);
    }
    mp_put_map(out, n);
    for (size_t i = 0; i < schema->n; i++) {
        const struct mp_field *f = &schema->fields[i];
        const void *at = (const char *)obj + f->offset;

        if (f->omit_empty && field_is_empty(f, at))
            continue;
        mp_put_str(out, f->key);
        put_field(out, f, at);
    }
}

/* A byte array sent as a list of integers. */
static int get_byte_list(struct mp_reader *r, struct span *ret, struct mp_scratch *scratch)
{
    uint32_t n = 0;
    uint64_t v = 0;
    uint8_t *to = scratch->buf + scratch->used;
    int e = mp_get_list(r, &n);

    if (e)
        return e;
    if (n > sizeof(scratch->buf) - scratch->used)
        return MP_E_BAD;
    for (uint32_t i = 0; i < n; i++) {
        e = mp_get_uint(r, UINT8_MAX, &v);
        if (e)
            return e;
        to[i] = (uint8_t)v;
    }
    scratch->used += n;
    *ret = (struct span){to, n};
    return 0;
}

static int get_uint_field(struct mp_reader *r, enum mp_type type, void *at)
{
    static const uint64_t max[] = {
        [MP_U8] = UINT8_MAX, [MP_U16] = UINT16_MAX, [MP_U32] = UINT32_MAX, [MP_U64] = UINT64_MAX};
    uint64_t v = 0;
    int e = mp_get_uint(r, max[type], &v);

    if (e)
        return e;
    if (type == MP_U8)
        *(uint8_t *)at = (uint8_t)v;
    else if (type == MP_U16)
        *(uint16_t *)at = (uint16_t)v;
    else if (type == MP_U32)
        *(uint32_t *)at = (uint32_t)v;
    else
        *(uint64_t *)at = v;
    return 0;
}

static int get_field(struct mp_reader *r, const struct mp_field *f, void *obj,
                     struct mp_scratch *scratch)
{
    void *at = (char *)obj + f->offset;

    switch (f->type) {
    case MP_U8:
    case MP_U16:
    case MP_U32:
    case MP_U64:
        return get_uint_field(r, f->type, at);
    case MP_INT:
        return mp_get_int(r, at);
    case MP_BOOL:
        return mp_get_bool(r, at);
    case MP_F64:
        return mp_get_f64(r, at);
    case MP_BYTES:
        if (mp_next_is_list(r))
            return get_byte_list(r, at, scratch);
        return mp_get_raw(r, at);
    case MP_STR:
        return mp_get_raw(r, at);
    case MP_VALUE:
        return mp_get_value(r, at);
    }
    return MP_E_BAD;
}

static const struct mp_field *field_by_key(const struct mp_schema *schema, struct span key)
{
    for (size_t i = 0; i < schema->n; i++) {
        if (span_is(key, schema->fields[i].key))
            return &schema->fields[i];
    }
    return NULL;
}

static const struct mp_field *field_by_place(const struct mp_schema *schema, uint32_t place)
{
    for (size_t i = 0; i < schema->n; i++) {
        if (schema->fields[i].place == place)
            return &schema->fields[i];
    }
    return NULL;
}

int mp_get_struct(struct mp_reader *r, const struct mp_schema *schema, void *obj,
                  struct mp_scratch *scratch)
{
    bool list = mp_next_is_list(r);
    uint32_t n = 0;
    int e = list ? mp_get_list(r, &n) : mp_get_map(r, &n);

    memset(obj, 0, schema->size);
    for (uint32_t i = 0; !e && i < n; i++) {
        const struct mp_field *f = NULL;
        struct span key;

        if (list) {
            f = field_by_place(schema, i);
        } else {
            e = mp_get_raw(r, &key);
            if (e)
                return e;
            f = field_by_key(schema, key);
        }
        e = f ? get_field(r, f, obj, scratch) : mp_skip(r);
    }
    return e;
}
