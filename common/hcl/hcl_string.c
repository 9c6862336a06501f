/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The values of string tokens: escapes, interpolation kept as written, heredocs.
 */
#include "hcl/hcl_lex.h"

#include <string.h>

#define RUNE_ERROR 0xFFFDu
#define RUNE_MAX   0x10FFFFu

uint32_t hcl_utf8_get(const char *s, size_t n, unsigned *ret_len)
{
    const unsigned char *p = (const unsigned char *)s;
    static const uint32_t min[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned len = p[0] < 0x80 ? 1 : p[0] < 0xC0 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    uint32_t c;

    assert(n > 0);
    *ret_len = 1;
    if (len == 1)
        return p[0];
    if (len == 0 || len > n || p[0] > 0xF4)
        return RUNE_ERROR;
    c = p[0] & (0x7Fu >> len);
    for (unsigned i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return RUNE_ERROR;
        c = c << 6 | (p[i] & 0x3F);
    }
    if (c < min[len] || c > RUNE_MAX || (c >= 0xD800 && c < 0xE000))
        return RUNE_ERROR;
    *ret_len = len;
    return c;
}

void hcl_utf8_put(struct strbuf *b, uint32_t c)
{
    if (c > RUNE_MAX || (c >= 0xD800 && c < 0xE000))
        c = RUNE_ERROR;
    if (c < 0x80) {
        strbuf_addc(b, (char)c);
    } else if (c < 0x800) {
        strbuf_addc(b, (char)(0xC0 | c >> 6));
        strbuf_addc(b, (char)(0x80 | (c & 0x3F)));
    } else if (c < 0x10000) {
        strbuf_addc(b, (char)(0xE0 | c >> 12));
        strbuf_addc(b, (char)(0x80 | (c >> 6 & 0x3F)));
        strbuf_addc(b, (char)(0x80 | (c & 0x3F)));
    } else {
        strbuf_addc(b, (char)(0xF0 | c >> 18));
        strbuf_addc(b, (char)(0x80 | (c >> 12 & 0x3F)));
        strbuf_addc(b, (char)(0x80 | (c >> 6 & 0x3F)));
        strbuf_addc(b, (char)(0x80 | (c & 0x3F)));
    }
}

/* n digits of this base at s; false when one of them is none. */
static bool digits(const char *s, const char *end, unsigned n, unsigned base, uint32_t *ret)
{
    uint32_t v = 0;

    if ((size_t)(end - s) < n)
        return false;
    for (unsigned i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        unsigned d = c >= '0' && c <= '9'   ? c - '0' + 0u
                     : c >= 'a' && c <= 'f' ? c - 'a' + 10u
                     : c >= 'A' && c <= 'F' ? c - 'A' + 10u
                                            : 16u;

        if (d >= base)
            return false;
        v = v * base + d;
    }
    *ret = v;
    return true;
}

static const char simple_from[] = "abfnrtv\\\"/", simple_to[] = "\a\b\f\n\r\t\v\\\"/";

/* JSON writes characters beyond 16 bits as a pair of surrogates. */
static uint32_t surrogate_pair(const char **s, const char *end, uint32_t high)
{
    uint32_t low;

    if (high < 0xD800 || high >= 0xDC00 || end - *s < 6 || (*s)[0] != '\\' || (*s)[1] != 'u' ||
        !digits(*s + 2, end, 4, 16, &low) || low < 0xDC00 || low >= 0xE000)
        return high;
    *s += 6;
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
}

/* *s is behind the backslash. */
static bool unescape(struct strbuf *b, const char **s, const char *end, bool json)
{
    const char *hit;
    unsigned n;
    uint32_t v;

    if (*s == end)
        return false;
    if (**s >= '0' && **s <= '7') {
        if (!digits(*s, end, 3, 8, &v) || v > 255)
            return false;
        *s += 3;
        strbuf_addc(b, (char)v);
        return true;
    }
    n = **s == 'x' ? 2 : **s == 'u' ? 4 : **s == 'U' ? 8 : 0;
    if (n) {
        if (!digits(*s + 1, end, n, 16, &v))
            return false;
        *s += 1 + n;
        if (n == 2) {
            strbuf_addc(b, (char)v);
            return true;
        }
        if (v > RUNE_MAX)
            return false;
        hcl_utf8_put(b, json ? surrogate_pair(s, end, v) : v);
        return true;
    }
    hit = **s ? strchr(simple_from, **s) : NULL;
    if (!hit || (*hit == '/' && !json))
        return false;
    strbuf_addc(b, simple_to[hit - simple_from]);
    (*s)++;
    return true;
}

char *hcl_unquote(struct hcl_arena *a, const struct hcl_token *t, bool json, size_t *ret_len)
{
    const char *s = t->text + 1, *end = t->text + t->len - 1;
    struct strbuf b = STRBUF_INIT;
    char *out = NULL;

    if (t->len < 2 || t->text[0] != '"' || *end != '"')
        return NULL;
    while (s < end) {
        if (!json && *s == '$' && s + 1 < end && s[1] == '{') {
            const char *start = s;
            unsigned braces = 1;

            for (s += 2; s < end && braces > 0; s++)
                braces += *s == '{' ? 1u : *s == '}' ? -1u : 0u;
            if (braces)
                goto out;
            strbuf_add(&b, start, (size_t)(s - start));
        } else if (*s == '\\') {
            s++;
            if (!unescape(&b, &s, end, json))
                goto out;
        } else {
            strbuf_addc(&b, *s++);
        }
    }
    *ret_len = b.len;
    out = hcl_dup(a, b.data, b.len);
out:
    strbuf_fini(&b);
    return out;
}

/* True when each of the lines begins with these blanks. */
static bool all_indented(const char *s, const char *end, const char *blank, size_t n)
{
    while (s < end) {
        const char *nl = memchr(s, '\n', (size_t)(end - s));

        if ((size_t)(nl - s) < n || memcmp(s, blank, n) != 0)
            return false;
        s = nl + 1;
    }
    return true;
}

char *hcl_heredoc_text(struct hcl_arena *a, const struct hcl_token *t, size_t *ret_len)
{
    const char *start = memchr(t->text, '\n', t->len), *end = t->text + t->len;
    const char *anchor, *s;
    size_t blank = 0, n = 0;
    char *out;

    assert(start && t->len > 2);
    start++;
    anchor = end - 1; /* the newline that ends the terminator's line */
    while (anchor > start && anchor[-1] != '\n')
        anchor--;
    while (anchor + blank < end && strchr(" \t\v\f", anchor[blank]))
        blank++;
    if (t->text[2] != '-') {
        /* The terminator's own blanks belong to the value, as in HashiCorp's parser. */
        *ret_len = (size_t)(anchor - start) + blank;
        return hcl_dup(a, start, *ret_len);
    }
    if (!all_indented(start, anchor, anchor, blank))
        blank = 0;
    out = hcl_alloc(a, (size_t)(anchor - start) + 1);
    for (s = start; s < anchor;) {
        const char *nl = memchr(s, '\n', (size_t)(anchor - s));
        size_t len = (size_t)(nl + 1 - s) - blank;

        memcpy(out + n, s + blank, len);
        n += len;
        s = nl + 1;
    }
    *ret_len = n;
    return out;
}
