/* SPDX-License-Identifier: MPL-2.0 */
#include "lzw.h"

#include <errno.h>
#include <string.h>

enum { LZW_CLEAR = 256, LZW_END = 257, LZW_WIDTH_MAX = 12, LZW_CODES = 1 << LZW_WIDTH_MAX };
#define LZW_NONE UINT16_MAX

struct lzw {
    const uint8_t *in, *end;
    uint32_t bits;
    unsigned n_bits, width, hi;
    uint16_t last; /* code before this one, or LZW_NONE */
    bool full;     /* entry hi (4095) is defined too */
    uint16_t prefix[LZW_CODES];
    uint8_t suffix[LZW_CODES];
    uint8_t text[LZW_CODES]; /* the string being put out, filled from its end */
};

static void lzw_clear(struct lzw *z)
{
    z->width = 9;
    z->hi = LZW_END;
    z->last = LZW_NONE;
    z->full = false;
}

static int lzw_code(struct lzw *z)
{
    unsigned code;

    while (z->n_bits < z->width) {
        if (z->in == z->end)
            return -EBADMSG;
        z->bits |= (uint32_t)*z->in++ << z->n_bits;
        z->n_bits += 8;
    }
    code = z->bits & ((1u << z->width) - 1);
    z->bits >>= z->width;
    z->n_bits -= z->width;
    return (int)code;
}

/* Spells the code's string at the end of text; returns its start. */
static size_t lzw_spell(struct lzw *z, unsigned code)
{
    size_t at = sizeof(z->text);

    while (code >= LZW_CLEAR) {
        assert(at > 1);
        z->text[--at] = z->suffix[code];
        code = z->prefix[code];
    }
    z->text[--at] = (uint8_t)code;
    return at;
}

static int lzw_put(struct lzw *z, unsigned code, struct strbuf *out)
{
    size_t at;

    if (code > LZW_END && code == z->hi && z->last != LZW_NONE) {
        at = lzw_spell(z, z->last);
        z->suffix[z->hi] = z->text[at];
        z->prefix[z->hi] = z->last;
        strbuf_add(out, z->text + at, sizeof(z->text) - at);
        strbuf_add(out, z->text + at, 1);
        return 0;
    }
    if (code > LZW_END && code >= z->hi + z->full)
        return -EBADMSG;
    /* The first code behind a clear raises hi without an entry: codes 258 up to hi - 1 are defined.
     */
    at = lzw_spell(z, code);
    strbuf_add(out, z->text + at, sizeof(z->text) - at);
    if (z->last != LZW_NONE) {
        z->suffix[z->hi] = z->text[at];
        z->prefix[z->hi] = z->last;
    }
    return 0;
}

static int lzw_run(struct lzw *z, size_t out_max, struct strbuf *out)
{
    size_t start = out->len;
    int code, r;

    for (;;) {
        code = lzw_code(z);
        if (code < 0)
            return code;
        if (code == LZW_END)
            return 0;
        if (code == LZW_CLEAR) {
            lzw_clear(z);
            continue;
        }
        r = lzw_put(z, (unsigned)code, out);
        if (r)
            return r;
        if (out->len - start > out_max)
            return -E2BIG;
        z->last = (uint16_t)code;
        z->hi++;
        if (z->hi < 1u << z->width)
            continue;
        if (z->width == LZW_WIDTH_MAX) {
            z->last = LZW_NONE;
            z->full = true;
            z->hi--;
        } else {
            z->width++;
        }
    }
}

int lzw_decode(const uint8_t *in, size_t len, size_t out_max, struct strbuf *out)
{
    _cleanup_(freep) struct lzw *z = NULL;

    if (len == 0)
        return -EBADMSG;
    z = xmalloc(sizeof(*z));
    z->in = in;
    z->end = in + len;
    z->bits = 0;
    z->n_bits = 0;
    lzw_clear(z);
    return lzw_run(z, out_max, out);
}

/* ---- encoding ---- */

enum { LZW_SLOT_BITS = 13, LZW_SLOTS = 1 << LZW_SLOT_BITS }; /* twice the codes: short chains */

struct lzw_writer {
    struct strbuf *out;
    uint32_t bits;
    unsigned n_bits, width, hi;
    uint32_t slots[LZW_SLOTS]; /* (code << 8 | byte) << 12 | code of both; 0: empty */
};

static void lzw_emit(struct lzw_writer *w, unsigned code)
{
    w->bits |= (uint32_t)code << w->n_bits;
    w->n_bits += w->width;
    while (w->n_bits >= 8) {
        strbuf_addc(w->out, (char)w->bits);
        w->bits >>= 8;
        w->n_bits -= 8;
    }
}

static void lzw_start(struct lzw_writer *w)
{
    w->width = 9;
    w->hi = LZW_END;
    memset(w->slots, 0, sizeof(w->slots));
}

/* The slot of the pair, or the empty one where it belongs. */
static uint32_t *lzw_slot(struct lzw_writer *w, uint32_t pair)
{
    uint32_t at = pair * 2654435761u >> (32 - LZW_SLOT_BITS);

    while (w->slots[at] && w->slots[at] >> LZW_WIDTH_MAX != pair)
        at = (at + 1) % LZW_SLOTS;
    return &w->slots[at];
}

/* A code was put out, the decoder has one entry more. False: the table was full and is empty now.
 */
static bool lzw_grow(struct lzw_writer *w)
{
    w->hi++;
    if (w->hi == 1u << w->width)
        w->width++;
    if (w->hi < LZW_CODES - 1)
        return true;
    lzw_emit(w, LZW_CLEAR);
    lzw_start(w);
    return false;
}

static void lzw_put_all(struct lzw_writer *w, const uint8_t *in, size_t len)
{
    unsigned code = in[0];

    for (size_t i = 1; i < len; i++) {
        uint32_t pair = (uint32_t)code << 8 | in[i], *slot = lzw_slot(w, pair);

        if (*slot) {
            code = *slot & (LZW_CODES - 1);
            continue;
        }
        lzw_emit(w, code);
        if (lzw_grow(w))
            *slot = pair << LZW_WIDTH_MAX | w->hi;
        code = in[i];
    }
    lzw_emit(w, code);
    (void)lzw_grow(w);
}

void lzw_encode(const uint8_t *in, size_t len, struct strbuf *out)
{
    _cleanup_(freep) struct lzw_writer *w = xmalloc(sizeof(*w));

    w->out = out;
    w->bits = 0;
    w->n_bits = 0;
    lzw_start(w);
    lzw_emit(w, LZW_CLEAR);
    if (len > 0)
        lzw_put_all(w, in, len);
    lzw_emit(w, LZW_END);
    if (w->n_bits > 0)
        strbuf_addc(out, (char)w->bits);
}
