/* SPDX-License-Identifier: MPL-2.0 */
#include "sched_pb.h"

#include <string.h>

#define LEN_BYTES 4u

static size_t put_varint(uint8_t *p, uint64_t v)
{
    size_t n = 0;

    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    return n;
}

void sched_pb_u64_always(struct strbuf *b, uint32_t tag, uint64_t v)
{
    uint8_t buf[20];
    size_t n = put_varint(buf, (uint64_t)tag << 3);

    n += put_varint(buf + n, v);
    strbuf_add(b, buf, n);
}

void sched_pb_u64(struct strbuf *b, uint32_t tag, uint64_t v)
{
    if (v)
        sched_pb_u64_always(b, tag, v);
}

void sched_pb_double(struct strbuf *b, uint32_t tag, double v)
{
    uint8_t buf[16];
    uint64_t bits;
    size_t n;

    memcpy(&bits, &v, sizeof(bits));
    if (!bits)
        return;
    n = put_varint(buf, (uint64_t)tag << 3 | 1);
    for (unsigned i = 0; i < 8; i++)
        buf[n++] = (uint8_t)(bits >> (8 * i));
    strbuf_add(b, buf, n);
}

void sched_pb_head(struct strbuf *b, uint32_t tag, size_t len)
{
    uint8_t buf[20];
    size_t n = put_varint(buf, (uint64_t)tag << 3 | 2);

    n += put_varint(buf + n, len);
    strbuf_add(b, buf, n);
}

void sched_pb_bytes(struct strbuf *b, uint32_t tag, struct bytes v)
{
    sched_pb_head(b, tag, v.len);
    strbuf_add(b, v.data, v.len);
}

void sched_pb_text(struct strbuf *b, uint32_t tag, const char *text)
{
    if (text && *text)
        sched_pb_bytes(b, tag, bytes_of(text, strlen(text)));
}

size_t sched_pb_begin(struct strbuf *b, uint32_t tag)
{
    uint8_t buf[16];
    size_t n = put_varint(buf, (uint64_t)tag << 3 | 2);

    memset(buf + n, 0, LEN_BYTES);
    strbuf_add(b, buf, n + LEN_BYTES);
    return b->len;
}

void sched_pb_end(struct strbuf *b, size_t begun)
{
    size_t len = b->len - begun;

    unsigned bytes = len < 0x80 ? 1 : len < 0x4000 ? 2 : LEN_BYTES;
    char *at;

    if (strbuf_failed(b))
        return;
    assert(begun >= LEN_BYTES && len < (size_t)1 << 28);
    at = b->data + begun - LEN_BYTES;
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (char)((len >> (7 * i) & 0x7f) | (i + 1 < bytes ? 0x80 : 0));
    if (bytes < LEN_BYTES) { /* short ones move up, so that they take no more than they need */
        memmove(at + bytes, b->data + begun, len);
        b->len -= LEN_BYTES - bytes;
        b->data[b->len] = 0;
    }
}

/* ---- reading ---- */

bool sched_pb_next(struct bytes *in, struct wire_field *ret, bool *bad)
{
    if (wire_field_next(in, ret))
        return true;
    *bad |= in->len > 0;
    return false;
}
