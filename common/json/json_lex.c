/* SPDX-License-Identifier: MPL-2.0 */
/* The reader's tokens: strings, numbers, literals, and the texts for what is wrong with them. */
#include "json/json_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What ends a run of characters that stand for themselves. */
static const bool string_stop[256] = {
    [0 ... 0x1f] = true, ['"'] = true, ['\\'] = true, [0x80 ... 0xff] = true};

int json_syntax_error(struct json_reader *r, const char *context)
{
    unsigned char c;

    if (r->p >= r->end)
        return err_set(r->e, -EBADMSG, "unexpected EOF");
    c = (unsigned char)*r->p;
    if (c == '\'')
        return err_set(r->e, -EBADMSG, "invalid character '\\'' %s (offset %zu)", context,
                       (size_t)(r->p - r->text));
    if (c < 0x20 || c >= 0x7f)
        return err_set(r->e, -EBADMSG, "invalid character '\\x%02x' %s (offset %zu)", c, context,
                       (size_t)(r->p - r->text));
    return err_set(r->e, -EBADMSG, "invalid character '%c' %s (offset %zu)", c, context,
                   (size_t)(r->p - r->text));
}

int json_next(struct json_reader *r, bool first, char close)
{
    if (first && ++r->depth > JSON_DEPTH_MAX)
        return err_set(r->e, -EMSGSIZE, "exceeded max depth of %u (offset %zu)", JSON_DEPTH_MAX,
                       (size_t)(r->p - r->text));
    if (first)
        r->p++;
    json_skip_space(r);
    if (r->p < r->end && *r->p == close) {
        r->p++;
        r->depth--;
        return 0;
    }
    if (first)
        return 1;
    if (r->p >= r->end || *r->p != ',')
        return json_syntax_error(r, close == ']' ? "after array element"
                                                 : "after object key:value pair");
    r->p++;
    json_skip_space(r);
    return 1;
}

size_t json_utf8_len(const char *p, const char *end)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t left = (size_t)(end - p);
    unsigned char lo = 0x80, hi = 0xbf;
    size_t i, n;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (left < n)
        return 0;
    if (s[0] == 0xe0)
        lo = 0xa0; /* overlong */
    else if (s[0] == 0xed)
        hi = 0x9f; /* surrogates */
    else if (s[0] == 0xf0)
        lo = 0x90;
    else if (s[0] == 0xf4)
        hi = 0x8f; /* above U+10FFFF */
    if (s[1] < lo || s[1] > hi)
        return 0;
    for (i = 2; i < n; i++)
        if (s[i] < 0x80 || s[i] > 0xbf)
            return 0;
    return n;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hex digits at p, which the caller knows to be there. */
static uint32_t hex4(const char *p)
{
    uint32_t u = 0;
    int i;

    for (i = 0; i < 4; i++)
        u = u << 4 | (uint32_t)hex_value(p[i]);
    return u;
}

/*
 * The code point of a checked \u escape whose 'u' stands at p; *ret_len is what it takes from
 * there. A surrogate without its partner is U+FFFD.
 */
static uint32_t escape_point(const char *p, const char *end, size_t *ret_len)
{
    uint32_t u = hex4(p + 1), low;

    *ret_len = 5;
    if (u < 0xd800 || u > 0xdfff)
        return u;
    if (u < 0xdc00 && end - p >= 11 && p[5] == '\\' && p[6] == 'u') {
        int i;

        for (i = 7; i < 11 && hex_value(p[i]) >= 0; i++)
            ;
        low = i == 11 ? hex4(p + 7) : 0;
        if (low >= 0xdc00 && low <= 0xdfff) {
            *ret_len = 11;
            return 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return 0xfffd;
}

static size_t utf8_put(uint32_t u, char *out)
{
    if (u < 0x80) {
        out[0] = (char)u;
        return 1;
    }
    if (u < 0x800) {
        out[0] = (char)(0xc0 | u >> 6);
        out[1] = (char)(0x80 | (u & 0x3f));
        return 2;
    }
    if (u < 0x10000) {
        out[0] = (char)(0xe0 | u >> 12);
        out[1] = (char)(0x80 | (u >> 6 & 0x3f));
        out[2] = (char)(0x80 | (u & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | u >> 18);
    out[1] = (char)(0x80 | (u >> 12 & 0x3f));
    out[2] = (char)(0x80 | (u >> 6 & 0x3f));
    out[3] = (char)(0x80 | (u & 0x3f));
    return 4;
}

/* At the backslash. */
static int read_escape(struct json_reader *r, struct json_span *s)
{
    size_t n;
    uint32_t u;
    char buf[4];
    int i;

    s->plain = false;
    r->p++;
    if (r->p >= r->end || !memchr("\"\\/bfnrtu", *r->p, 9))
        return json_syntax_error(r, "in string escape code");
    if (*r->p != 'u') {
        r->p++;
        s->decoded_len++;
        return 0;
    }
    for (i = 1; i <= 4; i++)
        if (r->p + i >= r->end || hex_value(r->p[i]) < 0) {
            r->p = MIN(r->p + i, r->end);
            return json_syntax_error(r, "in \\u hexadecimal character escape");
        }
    u = escape_point(r->p, r->end, &n);
    s->nul = s->nul || u == 0;
    s->decoded_len += utf8_put(u, buf);
    r->p += n;
    return 0;
}

int json_read_string(struct json_reader *r, struct json_span *ret)
{
    struct json_span s = {.p = r->p + 1, .plain = true};
    size_t n;
    int err;

    assert(*r->p == '"');
    r->p++;
    for (;;) {
        const char *run = r->p;
        unsigned char c;

        while (r->p < r->end && !string_stop[(unsigned char)*r->p])
            r->p++;
        s.decoded_len += (size_t)(r->p - run);
        if (r->p >= r->end || *r->p == '"')
            break;
        c = (unsigned char)*r->p;
        if (c == '\\') {
            err = read_escape(r, &s);
            if (err)
                return err;
        } else if (c < 0x20) {
            return json_syntax_error(r, "in string literal");
        } else {
            n = json_utf8_len(r->p, r->end);
            s.plain = s.plain && n;
            s.decoded_len += n ? n : 3;
            r->p += n ? n : 1;
        }
    }
    if (r->p >= r->end)
        return json_syntax_error(r, "");
    s.len = (size_t)(r->p - s.p);
    r->p++;
    *ret = s;
    return 0;
}

void json_span_decode(const struct json_span *s, char *out)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *p = s->p, *end = s->p + s->len, *start = out, *q;
    size_t n;

    if (s->plain) {
        if (s->len)
            memcpy(out, s->p, s->len);
        return;
    }
    while (p < end) {
        if (*p != '\\') {
            n = json_utf8_len(p, end);
            memcpy(out, n ? p : "\xef\xbf\xbd", n ? n : 3);
            out += n ? n : 3;
            p += n ? n : 1;
            continue;
        }
        p++;
        if (*p == 'u') {
            out += utf8_put(escape_point(p, end, &n), out);
            p += n;
            continue;
        }
        q = strchr(from, *p);
        *out++ = q ? to[q - from] : *p;
        p++;
    }
    assert((size_t)(out - start) == s->decoded_len);
}

static bool read_digits(struct json_reader *r)
{
    const char *start = r->p;

    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return r->p > start;
}

int json_read_number(struct json_reader *r, const char **ret, size_t *ret_len)
{
    const char *start = r->p;

    if (*r->p == '-')
        r->p++;
    if (r->p < r->end && *r->p == '0')
        r->p++;
    else if (!read_digits(r))
        return json_syntax_error(r, "in numeric literal");
    if (r->p < r->end && *r->p == '.') {
        r->p++;
        if (!read_digits(r))
            return json_syntax_error(r, "after decimal point in numeric literal");
    }
    if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        r->p++;
        if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
            r->p++;
        if (!read_digits(r))
            return json_syntax_error(r, "in exponent of numeric literal");
    }
    *ret = start;
    *ret_len = (size_t)(r->p - start);
    return 0;
}

int json_read_literal(struct json_reader *r, const char *word)
{
    const char *w;
    char context[48];

    for (w = word; *w; w++, r->p++) {
        if (r->p < r->end && *r->p == *w)
            continue;
        (void)snprintf(context, sizeof(context), "in literal %s (expecting '%c')", word, *w);
        return json_syntax_error(r, context);
    }
    return 0;
}
