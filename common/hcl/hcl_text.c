/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Numbers and strings as text: Go's syntax on the way in, JSON on the way out.
 */
#include "hcl/hcl_lex.h"
#include "hcl/hcl_value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Go allows '_' between digits, and behind a prefix. */
static bool underscores_ok(const char *s, size_t len, bool prefix)
{
    bool before = prefix;

    for (size_t i = 0; i < len; i++) {
        if (s[i] == '_' && (!before || i + 1 == len))
            return false;
        before = s[i] != '_';
    }
    return true;
}

int hcl_int_parse(const char *s, size_t len, unsigned bits, int64_t *ret)
{
    uint64_t v = 0, max = (UINT64_C(1) << (bits - 1)) - 1;
    bool neg = len && s[0] == '-', prefix = false, over = false;
    unsigned base = 10;

    assert(bits > 0 && bits <= 64);
    if (len && (s[0] == '-' || s[0] == '+')) {
        s++;
        len--;
    }
    if (len > 1 && s[0] == '0') {
        char x = s[1] | 0x20;

        base = x == 'x' ? 16 : x == 'b' ? 2 : 8;
        prefix = true;
        if (x == 'x' || x == 'b' || x == 'o') {
            s += 2;
            len -= 2;
        } else {
            s++;
            len--;
        }
    }
    if (len == 0 || !underscores_ok(s, len, prefix))
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        unsigned char ch = (unsigned char)s[i];
        unsigned d = ch >= '0' && ch <= '9' ? ch - '0' + 0u : (ch | 0x20u) - 'a' + 10u;

        if (ch == '_')
            continue;
        if (d >= base) /* also what is below 'a', which has wrapped around */
            return -EINVAL;
        over |= v > (max + 1 - (neg ? 0 : 1)) / base;
        if (!over)
            v = v * base + d;
        over |= v > max + (neg ? 1 : 0);
    }
    if (over)
        return -ERANGE;
    *ret = neg ? (int64_t)(0 - v) : (int64_t)v;
    return 0;
}

int hcl_float_parse(const char *s, size_t len, double *ret)
{
    char *end;
    double f;

    if (len == 0 || strlen(s) != len || strspn(s, "+-.0123456789eE") != len)
        return -EINVAL;
    f = strtod(s, &end);
    if (*end || end == s)
        return -EINVAL;
    if (isinf(f))
        return -ERANGE;
    *ret = f;
    return 0;
}

/* How many digits, at least, read back as the same number. */
static int digits_needed(double f)
{
    char buf[40];
    int digits = 1;

    while (digits < 17) {
        (void)snprintf(buf, sizeof(buf), "%.*g", digits, f);
        if (strtod(buf, NULL) == f)
            break;
        digits++;
    }
    return digits;
}

const char *hcl_float_text(struct hcl_ctx *c, double f)
{
    char buf[40], digits[24];
    struct strbuf b = STRBUF_INIT;
    const char *out, *p = buf;
    int n = 0, point;

    (void)snprintf(buf, sizeof(buf), "%.*e", digits_needed(f) - 1, f);
    if (*p == '-')
        strbuf_addc(&b, *p++);
    for (; *p && *p != 'e'; p++)
        if (*p != '.')
            digits[n++] = *p;
    point = 1 + (int)strtol(p + 1, NULL, 10);
    while (n > 1 && digits[n - 1] == '0')
        n--;
    if (point <= 0)
        strbuf_adds(&b, "0.");
    for (int i = point; i < 0; i++)
        strbuf_addc(&b, '0');
    for (int i = 0; i < MAX(n, point); i++) {
        if (i == point && i > 0)
            strbuf_addc(&b, '.');
        strbuf_addc(&b, i < n ? digits[i] : '0');
    }
    out = hcl_dup(&c->arena, b.data, b.len);
    strbuf_fini(&b);
    return out;
}

static void quoted(struct strbuf *b, const char *s, size_t len, bool json)
{
    strbuf_addc(b, '"');
    for (size_t i = 0; i < len;) {
        unsigned n;
        uint32_t ch = hcl_utf8_get(s + i, len - i, &n);
        const char *esc = ch && ch < 0x80 ? strchr("\"\\\n\r\t", (int)ch) : NULL;

        if (esc)
            strbuf_addf(b, "\\%c", "\"\\nrt"[strchr("\"\\\n\r\t", (int)ch) - "\"\\\n\r\t"]);
        else if (ch < 0x20 || ch == 0x7F)
            strbuf_addf(b, json ? "\\u%04x" : "\\x%02x", (unsigned)ch);
        else
            hcl_utf8_put(b, ch);
        i += n;
    }
    strbuf_addc(b, '"');
}

const char *hcl_quote(struct hcl_ctx *c, const char *s, size_t len)
{
    struct strbuf b = STRBUF_INIT;
    const char *out;

    quoted(&b, s, len, false);
    out = hcl_dup(&c->arena, b.data, b.len);
    strbuf_fini(&b);
    return out;
}

static int member_cmp(const void *a, const void *b)
{
    return strcmp(((const struct hcl_member *)a)->key, ((const struct hcl_member *)b)->key);
}

static void json_map(struct strbuf *b, const struct hcl_value *v)
{
    if (v->map.n > 1)
        qsort(v->map.v, v->map.n, sizeof(*v->map.v), member_cmp);
    strbuf_addc(b, '{');
    for (size_t i = 0; i < v->map.n; i++) {
        if (i)
            strbuf_addc(b, ',');
        quoted(b, v->map.v[i].key, strlen(v->map.v[i].key), true);
        strbuf_addc(b, ':');
        hcl_value_json(b, v->map.v[i].val);
    }
    strbuf_addc(b, '}');
}

void hcl_value_json(struct strbuf *b, const struct hcl_value *v)
{
    switch (v->kind) {
    case HCL_V_BOOL:
        strbuf_adds(b, v->b ? "true" : "false");
        break;
    case HCL_V_INT:
        strbuf_addf(b, "%lld", (long long)v->i);
        break;
    case HCL_V_FLOAT:
        strbuf_addf(b, "%.*g", digits_needed(v->f), v->f);
        break;
    case HCL_V_STRING:
        quoted(b, v->str.s, v->str.len, true);
        break;
    case HCL_V_LIST:
    case HCL_V_MAPS:
        strbuf_addc(b, '[');
        for (size_t i = 0; i < v->list.n; i++) {
            if (i)
                strbuf_addc(b, ',');
            hcl_value_json(b, v->list.v[i]);
        }
        strbuf_addc(b, ']');
        break;
    case HCL_V_MAP:
        json_map(b, v);
        break;
    }
}
