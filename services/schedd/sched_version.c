/* SPDX-License-Identifier: MPL-2.0 */
#include "sched_version.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define SEGMENTS_MAX 16
#define TEXT_MAX     256

/* What is written in a version; pre and meta are parts of text. */
struct version {
    char text[TEXT_MAX]; /* without the leading v */
    int64_t segments[SEGMENTS_MAX];
    unsigned n;     /* at least 3: filled up with zeros */
    unsigned given; /* as many as were written */
    const char *pre, *meta;
    size_t pre_len, meta_len;
};

struct span {
    const char *p;
    size_t len;
};

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '~';
}

/* Dot-separated words, none empty; returns their end, NULL when there is none. */
static const char *words(const char *p)
{
    for (;;) {
        if (!is_word(*p))
            return NULL;
        while (is_word(*p))
            p++;
        if (*p != '.')
            return p;
        p++;
    }
}

static const char *parse_segments(struct version *v, const char *p)
{
    for (;;) {
        char *end;

        if (!isdigit((unsigned char)*p) || v->n == SEGMENTS_MAX)
            return NULL;
        errno = 0;
        v->segments[v->n++] = strtoll(p, &end, 10);
        if (errno)
            return NULL;
        p = end;
        if (*p != '.')
            break;
        p++;
    }
    v->given = v->n;
    while (v->n < 3)
        v->segments[v->n++] = 0;
    return p;
}

/* "-1.beta", "-beta", and, unless strict, "beta" and "-" alone. */
static const char *parse_pre(struct version *v, const char *p, bool strict)
{
    const char *start = p;

    if (*p == '-' && (isalnum((unsigned char)p[1]) || p[1] == '-' || p[1] == '~'))
        start = p + 1;
    else if (strict || !(isalpha((unsigned char)*p) || *p == '~' || *p == '-'))
        return p;
    p = words(start);
    if (p) {
        v->pre = start;
        v->pre_len = (size_t)(p - start);
    }
    return p;
}

static bool version_parse(struct version *v, struct span text, bool strict)
{
    const char *p;

    *v = (struct version){.pre = "", .meta = ""};
    if (text.len > 0 && *text.p == 'v') {
        text.p++;
        text.len--;
    }
    if (text.len >= sizeof(v->text) || memchr(text.p, 0, text.len))
        return false;
    memcpy(v->text, text.p, text.len);
    p = parse_segments(v, v->text);
    if (p)
        p = parse_pre(v, p, strict);
    if (p && *p == '+') {
        v->meta = p + 1;
        p = words(v->meta);
        if (p)
            v->meta_len = (size_t)(p - v->meta);
    }
    return p && *p == 0;
}

/* ---- order ---- */

static int sign(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_segments(const struct version *a, const struct version *b)
{
    for (unsigned i = 0; i < MAX(a->n, b->n); i++) {
        int r = sign(i < a->n ? a->segments[i] : 0, i < b->n ? b->segments[i] : 0);

        if (r)
            return r;
    }
    return 0;
}

static bool number_of(struct span s, int64_t *ret)
{
    char buf[24], *end;

    if (s.len == 0 || s.len >= sizeof(buf))
        return false;
    memcpy(buf, s.p, s.len);
    buf[s.len] = 0;
    errno = 0;
    *ret = strtoll(buf, &end, 10);
    return *end == 0 && errno == 0 && (isdigit((unsigned char)buf[0]) || buf[0] == '-');
}

static int compare_bytes(struct span a, struct span b)
{
    int r = memcmp(a.p, b.p, MIN(a.len, b.len));

    return r ? sign(r, 0) : sign((int64_t)a.len, (int64_t)b.len);
}

/* Of one part of a pre-release. Numbers stand before words; a missing part before words only. */
static int compare_part(struct span a, struct span b)
{
    int64_t x = 0, y = 0;
    bool a_number = number_of(a, &x), b_number = number_of(b, &y);

    if (compare_bytes(a, b) == 0)
        return 0;
    if (a.len == 0)
        return b_number ? -1 : 1;
    if (b.len == 0)
        return a_number ? 1 : -1;
    if (a_number != b_number)
        return a_number ? -1 : 1;
    return a_number ? (x > y ? 1 : -1) : (compare_bytes(a, b) > 0 ? 1 : -1);
}

static struct span next_part(struct span *s)
{
    const char *dot = memchr(s->p, '.', s->len);
    struct span part = {s->p, dot ? (size_t)(dot - s->p) : s->len};

    s->p += part.len + (dot ? 1 : 0);
    s->len -= part.len + (dot ? 1 : 0);
    return part;
}

static int compare_pre(const struct version *a, const struct version *b)
{
    struct span x = {a->pre, a->pre_len}, y = {b->pre, b->pre_len};

    if (x.len == 0 || y.len == 0)
        return x.len == y.len ? 0 : x.len == 0 ? 1 : -1;
    while (x.len > 0 || y.len > 0) {
        int r = compare_part(next_part(&x), next_part(&y));

        if (r)
            return r;
    }
    return 0;
}

static int compare(const struct version *a, const struct version *b)
{
    int r = compare_segments(a, b);

    return r ? r : compare_pre(a, b);
}

/* Equal text but for the number of segments; otherwise what comes after + does not count. */
static bool equal(const struct version *a, const struct version *b)
{
    return compare(a, b) == 0;
}

/* ---- constraints ---- */

enum op { OP_EQ, OP_NE, OP_GE, OP_LE, OP_GT, OP_LT, OP_PESSIMISTIC };

static const struct {
    const char *text;
    enum op op;
} ops[] = {{">=", OP_GE}, {"<=", OP_LE}, {"!=", OP_NE}, {"~>", OP_PESSIMISTIC},
           {">", OP_GT},  {"<", OP_LT},  {"=", OP_EQ},  {"", OP_EQ}};

/* A pre-release only answers for a constraint that names one of the very same version. */
static bool pre_allowed(const struct version *v, const struct version *c)
{
    if (v->pre_len == 0)
        return true;
    return c->pre_len > 0 && v->n == c->n && compare_segments(v, c) == 0;
}

static bool pessimistic(const struct version *v, const struct version *c)
{
    if (!pre_allowed(v, c) || (c->pre_len > 0 && v->pre_len == 0))
        return false;
    if (compare(v, c) < 0 || c->n > v->n)
        return false;
    for (unsigned i = 0; i + 1 < c->given; i++)
        if (v->segments[i] != c->segments[i])
            return false;
    return c->segments[c->n - 1] <= v->segments[c->n - 1];
}

static bool check_op(enum op op, const struct version *v, const struct version *c)
{
    switch (op) {
    case OP_EQ:
        return equal(v, c);
    case OP_NE:
        return !equal(v, c);
    case OP_GE:
        return compare(v, c) >= 0;
    case OP_LE:
        return compare(v, c) <= 0;
    case OP_GT:
        return compare(v, c) > 0;
    case OP_LT:
        return compare(v, c) < 0;
    case OP_PESSIMISTIC:
        return pessimistic(v, c);
    }
    return false;
}

static bool check_one(enum sched_version_kind kind, const struct version *v, struct span text,
                      bool *ret_ok)
{
    bool strict = kind == SCHED_VERSION_SEMVER;
    struct version c;
    size_t i = 0;

    while (text.len > 0 && isspace((unsigned char)*text.p))
        text.p++, text.len--;
    while (text.len > 0 && isspace((unsigned char)text.p[text.len - 1]))
        text.len--;
    while (text.len < strlen(ops[i].text) || memcmp(text.p, ops[i].text, strlen(ops[i].text)) != 0)
        i++;
    text.p += strlen(ops[i].text);
    text.len -= strlen(ops[i].text);
    while (text.len > 0 && isspace((unsigned char)*text.p))
        text.p++, text.len--;
    if ((strict && ops[i].op == OP_PESSIMISTIC) || !version_parse(&c, text, strict))
        return false;
    *ret_ok = check_op(ops[i].op, v, &c);
    if (!strict && ops[i].op >= OP_GE && !pre_allowed(v, &c))
        *ret_ok = false;
    return true;
}

bool sched_version_matches(enum sched_version_kind kind, const char *version,
                           const char *constraints)
{
    struct version v;
    bool all = true;

    if (!version_parse(&v, (struct span){version, strlen(version)}, false))
        return false;
    for (const char *p = constraints;; p++) {
        size_t n = strcspn(p, ",");
        bool ok = false;

        if (!check_one(kind, &v, (struct span){p, n}, &ok))
            return false;
        all &= ok;
        p += n;
        if (!*p)
            return all;
    }
}
