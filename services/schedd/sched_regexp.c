/* SPDX-License-Identifier: MPL-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "sched_regexp.h"

#include <pcre2.h>
#include <string.h>

#define CACHE_MAX 32

struct entry {
    char *pattern;
    pcre2_code *code; /* NULL: it is no expression */
};

struct sched_regexps {
    struct entry entries[CACHE_MAX];
    size_t n, next; /* next: to be replaced */
    pcre2_match_data *data;
    pcre2_match_context *limits;
};

/* ---- what RE2 has ---- */

/* Behind a backslash: returns the length of it all, 0 when RE2 does not know it. */
static size_t escape_len(const char *p, bool in_class)
{
    if (!*p)
        return 0;
    if (strchr("afnrtv", *p) || strchr("dDsSwW", *p))
        return 1;
    if (*p == 'x' || *p == 'p' || *p == 'P')
        return 1;               /* PCRE2 looks at the rest, and has the same */
    if (*p >= '1' && *p <= '7') /* octal only: \1 alone would be a reference back */
        return p[1] >= '0' && p[1] <= '7' ? 1 : 0;
    if (*p == '0')
        return 1;
    if (!in_class && strchr("AbBz", *p))
        return 1;
    return ((unsigned char)*p < 0x80 && !((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z') &&
            !(*p >= '0' && *p <= '9'))
               ? 1
               : 0;
}

/* Behind "(?": flags with : or ), or a name P<...>. Returns the length, 0 for anything else. */
static size_t group_len(const char *p)
{
    size_t n = strspn(p, "imsU-");

    if (p[n] == ':' || (n > 0 && p[n] == ')'))
        return n + 1;
    if (p[0] == 'P' && p[1] == '<') {
        n = 2 + strspn(p + 2, "0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
        return n > 2 && p[n] == '>' ? n + 1 : 0;
    }
    return 0;
}

static const char *skip_class(const char *p)
{
    p++;
    if (*p == '^')
        p++;
    if (*p == ']')
        p++;
    while (*p && *p != ']') {
        if (*p == '[' && p[1] == ':') {
            const char *end = strstr(p + 2, ":]");

            p = end ? end + 2 : p + 1;
        } else if (*p == '\\') {
            size_t n = escape_len(p + 1, true);

            if (n == 0)
                return NULL;
            p += 1 + n;
        } else {
            p++;
        }
    }
    return *p ? p + 1 : NULL;
}

/* {n}, {n,} or {n,m} with at most 1000, as RE2 has it; its length, 0 when it is only text. */
static size_t count_len(const char *p, bool *ret_bad)
{
    char *end;
    unsigned long lo, hi;

    if (*p != '{' || p[1] < '0' || p[1] > '9')
        return 0;
    lo = hi = strtoul(p + 1, &end, 10);
    if (*end == ',')
        hi = end[1] == '}' ? lo : strtoul(end + 1, &end, 10);
    if (*end == ',')
        end++;
    if (*end != '}')
        return 0;
    *ret_bad = lo > 1000 || hi > 1000 || hi < lo;
    return (size_t)(end - p) + 1;
}

/* A repetition and its "?"; a further one behind it would be possessive or nested. */
static const char *skip_repetition(const char *p)
{
    bool bad = false, more_bad = false;
    size_t n = *p == '{' ? count_len(p, &bad) : 1;

    if (n == 0)
        return p + 1;
    p += n;
    if (*p == '?')
        p++;
    if (bad || *p == '+' || *p == '*' || *p == '?' || count_len(p, &more_bad) > 0)
        return NULL;
    return p;
}

static const char *skip_one(const char *p)
{
    size_t n;

    switch (*p) {
    case '\\':
        if (p[1] == 'Q') {
            const char *end = strstr(p + 2, "\\E");

            return end ? end + 2 : p + strlen(p);
        }
        n = escape_len(p + 1, false);
        return n ? p + 1 + n : NULL;
    case '[':
        return skip_class(p);
    case '(':
        if (p[1] == '*')
            return NULL; /* a PCRE2 verb */
        if (p[1] != '?')
            return p + 1;
        n = group_len(p + 2);
        return n ? p + 2 + n : NULL;
    case '*':
    case '+':
    case '?':
    case '{':
        return skip_repetition(p);
    default:
        return p + 1;
    }
}

static bool is_re2(const char *p)
{
    while (p && *p)
        p = skip_one(p);
    return p;
}

/* ---- compiled ---- */

static pcre2_code *compile(const char *pattern)
{
    PCRE2_SIZE at;
    int err;

    if (strlen(pattern) > SCHED_REGEXP_LEN_MAX || !is_re2(pattern))
        return NULL;
    return pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                         PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_DOLLAR_ENDONLY |
                             PCRE2_NEVER_BACKSLASH_C,
                         &err, &at, NULL);
}

bool sched_regexp_valid(const char *pattern)
{
    pcre2_code *code = compile(pattern);

    pcre2_code_free(code);
    return code;
}

struct sched_regexps *sched_regexps_new(void)
{
    struct sched_regexps *c = xcalloc(1, sizeof(*c));

    c->data = pcre2_match_data_create(1, NULL);
    c->limits = pcre2_match_context_create(NULL);
    if (!c->data || !c->limits)
        abort();
    pcre2_set_match_limit(c->limits, SCHED_REGEXP_STEPS_MAX);
    pcre2_set_heap_limit(c->limits, 4096); /* KiB */
    return c;
}

struct sched_regexps *sched_regexps_free(struct sched_regexps *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; i < c->n; i++) {
        free(c->entries[i].pattern);
        pcre2_code_free(c->entries[i].code);
    }
    pcre2_match_data_free(c->data);
    pcre2_match_context_free(c->limits);
    free(c);
    return NULL;
}

static const pcre2_code *code_of(struct sched_regexps *c, const char *pattern)
{
    struct entry *e;

    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->entries[i].pattern, pattern) == 0)
            return c->entries[i].code;
    if (c->n < CACHE_MAX) {
        e = &c->entries[c->n++];
    } else {
        e = &c->entries[c->next++ % CACHE_MAX];
        free(e->pattern);
        pcre2_code_free(e->code);
    }
    *e = (struct entry){xstrdup(pattern), compile(pattern)};
    return e->code;
}

bool sched_regexp_matches(struct sched_regexps *c, const char *pattern, const char *text)
{
    const pcre2_code *code = code_of(c, pattern);

    return code && pcre2_match(code, (PCRE2_SPTR)text, strlen(text), 0, 0, c->data, c->limits) >= 0;
}
