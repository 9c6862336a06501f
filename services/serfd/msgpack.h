/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The msgpack dialect of the gossip wire (reference: gossip-wire.md section 2): one "raw" family
 * for text and bytes, maps with sorted keys, unsigned integers. The reader accepts what all known
 * generations of peers emit. Pure; spans point into the input.
 */
#pragma once

#include "base/base.h"
#include "base/strbuf.h"

/* Borrowed bytes; p NULL is msgpack's nil. */
struct span {
    const uint8_t *p;
    size_t len;
};

#define SPAN_STR(s) ((struct span){(const uint8_t *)(s), strlen(s)})
static inline struct span span_of(const struct strbuf *b)
{
    return (struct span){(const uint8_t *)b->data, b->len};
}
bool span_eq(struct span a, struct span b);
bool span_is(struct span a, const char *text);
int span_cmp(struct span a, struct span b); /* bytewise; the shorter of two alike is less */

/* ---- writer ---- */

void mp_put_nil(struct strbuf *out);
void mp_put_bool(struct strbuf *out, bool v);
void mp_put_uint(struct strbuf *out, uint64_t v);
void mp_put_f64(struct strbuf *out, double v);
void mp_put_raw(struct strbuf *out, struct span v); /* nil when v.p is NULL */
void mp_put_str(struct strbuf *out, const char *s);
void mp_put_map(struct strbuf *out, size_t n);
void mp_put_list(struct strbuf *out, size_t n);

/* ---- reader ---- */

enum {
    MP_E_MORE = 1, /* the input ends inside the value: read more and try again */
    MP_E_BAD = 2,  /* not what was asked for, out of range, nested too deeply */
};

#define MP_DEPTH_MAX 8

struct mp_reader {
    const uint8_t *p, *end;
};

static inline struct mp_reader mp_reader_of(struct span s)
{
    return (struct mp_reader){s.p, s.p ? s.p + s.len : NULL};
}

/* Each returns 0, MP_E_MORE or MP_E_BAD. nil reads as zero, false, empty or a NULL span. */
int mp_get_uint(struct mp_reader *r, uint64_t max, uint64_t *ret);
int mp_get_int(struct mp_reader *r, int64_t *ret);
int mp_get_bool(struct mp_reader *r, bool *ret);
int mp_get_f64(struct mp_reader *r, double *ret);
int mp_get_raw(struct mp_reader *r, struct span *ret);
int mp_get_map(struct mp_reader *r, uint32_t *ret_n);
int mp_get_list(struct mp_reader *r, uint32_t *ret_n);
bool mp_next_is_list(const struct mp_reader *r);
int mp_skip(struct mp_reader *r);
/* Skips one value and yields its encoded bytes. */
int mp_get_value(struct mp_reader *r, struct span *ret);

/* ---- structs by table ---- */

enum mp_type { MP_U8, MP_U16, MP_U32, MP_U64, MP_INT, MP_BOOL, MP_F64, MP_STR, MP_BYTES, MP_VALUE };

struct mp_field {
    const char *key;
    enum mp_type type;
    uint16_t offset;
    uint8_t place; /* position when the peer sends the struct as a list */
    bool omit_empty;
};

/* Fields in the order of their keys (bytewise), as they are written. */
struct mp_schema {
    const struct mp_field *fields;
    size_t n;
    size_t size; /* of the struct */
};

/* Bytes that a peer sent as a list of integers are collected here. */
struct mp_scratch {
    uint8_t buf[1024];
    size_t used;
};

void mp_put_struct(struct strbuf *out, const struct mp_schema *schema, const void *obj);
/* Zeroes obj first. Unknown keys are skipped; a field too large for its type is MP_E_BAD. */
int mp_get_struct(struct mp_reader *r, const struct mp_schema *schema, void *obj,
                  struct mp_scratch *scratch);
