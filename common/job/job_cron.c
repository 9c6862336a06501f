/* SPDX-License-Identifier: MPL-2.0 */
#include "job_cron.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/strbuf.h"

#define CRON_SPACE      " \t\n\f\r"
#define CRON_FIELDS_MIN 5
#define CRON_FIELDS_MAX 7

struct text {
    const char *p;
    size_t len;
};

/* What else a field takes, beside values, ranges and intervals. */
enum cron_extra { CRON_PLAIN, CRON_DAY, CRON_WEEKDAY };

struct cron_field {
    const char *name;
    int min, max;             /* of values */
    int step_max;             /* of intervals */
    size_t digits;            /* exactly so many; 0: one or two */
    const char *const *names; /* of values, short and long; NULL: none */
    enum cron_extra extra;
};

static const char *const months[] = {
    "jan",  "feb",  "mar",    "apr",       "may",     "jun",      "jul",      "aug",
    "sep",  "oct",  "nov",    "dec",       "january", "february", "march",    "april",
    "june", "july", "august", "september", "october", "november", "december", NULL,
};
static const char *const weekdays[] = {
    "sun",    "mon",     "tue",       "wed",      "thu",    "fri",      "sat", "sunday",
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", NULL,
};

static const struct cron_field cron_fields[CRON_FIELDS_MAX] = {
    {"second", 0, 59, 59, 0, NULL, CRON_PLAIN},
    {"minute", 0, 59, 59, 0, NULL, CRON_PLAIN},
    {"hour", 0, 23, 23, 0, NULL, CRON_PLAIN},
    {"day-of-month", 1, 31, 31, 0, NULL, CRON_DAY},
    {"month", 1, 12, 12, 0, months, CRON_PLAIN},
    {"day-of-week", 0, 7, 6, 0, weekdays, CRON_WEEKDAY},
    {"year", 1970, 2099, 2099, 4, NULL, CRON_PLAIN},
};

static bool is_number(struct text t)
{
    for (size_t i = 0; i < t.len; i++)
        if (!isdigit((unsigned char)t.p[i]))
            return false;
    return t.len > 0;
}

/* Of up to four digits. */
static int number(struct text t)
{
    int n = 0;

    for (size_t i = 0; i < t.len; i++)
        n = n * 10 + (t.p[i] - '0');
    return n;
}

static bool text_is(struct text t, const char *s)
{
    return strlen(s) == t.len && strncasecmp(t.p, s, t.len) == 0;
}

static bool is_value(const struct cron_field *f, struct text t)
{
    const char *const *name;

    if (is_number(t) && (f->digits ? t.len == f->digits : t.len <= 2))
        return number(t) >= f->min && number(t) <= f->max;
    for (name = f->names; name && *name; name++)
        if (text_is(t, *name))
            return true;
    return false;
}

/* Splits t at the first c; false when there is none. */
static bool split(struct text t, char c, struct text *left, struct text *right)
{
    const char *p = memchr(t.p, c, t.len);

    if (!p)
        return false;
    *left = (struct text){t.p, (size_t)(p - t.p)};
    *right = (struct text){p + 1, t.len - left->len - 1};
    return true;
}

static bool is_star(struct text t)
{
    return t.len == 1 && (*t.p == '*' || *t.p == '?');
}

static bool is_value_or_range(const struct cron_field *f, struct text t)
{
    struct text a, b;

    return is_value(f, t) || (split(t, '-', &a, &b) && is_value(f, a) && is_value(f, b));
}

/* The library knows the numbers of seconds and of years only. */
static bool is_step(const struct cron_field *f, struct text t)
{
    int n;

    if (t.len != 1 && t.len != 2 && t.len != 4)
        return false;
    n = number(t);
    return t.len == 4 ? n >= 1970 && n <= f->step_max : n >= 1 && n <= MIN(f->step_max, 59);
}

static bool is_extra(const struct cron_field *f, struct text t)
{
    struct text last = {t.p + t.len - 1, 1}, rest = {t.p, t.len - 1}, a, b;

    switch (f->extra) {
    case CRON_DAY: /* the last, the last working day, the working day next to one */
        return text_is(t, "l") || text_is(t, "lw") || (text_is(last, "w") && is_value(f, rest));
    case CRON_WEEKDAY: /* the last of a month, the nth */
        return (text_is(last, "l") && is_value(f, rest)) ||
               (split(t, '#', &a, &b) && is_value(f, a) && b.len == 1 && *b.p >= '1' &&
                *b.p <= '5');
    case CRON_PLAIN:
        break;
    }
    return false;
}

static bool has_interval(const struct cron_field *f, struct text t, struct text *step)
{
    struct text what;

    return split(t, '/', &what, step) && is_number(*step) &&
           ((what.len == 1 && *what.p == '*') || is_value_or_range(f, what));
}

static struct text next_item(struct text *left)
{
    struct text item;

    while (left->len && *left->p == ',') {
        left->p++;
        left->len--;
    }
    item = (struct text){left->p, 0};
    while (item.len < left->len && left->p[item.len] != ',')
        item.len++;
    left->p += item.len;
    left->len -= item.len;
    return item;
}

static int interval_error(struct text t, struct errtext *e)
{
    char text[ERRTEXT_MAX];
    size_t i, n = MIN(t.len, sizeof(text) - 1);

    for (i = 0; i < n; i++)
        text[i] = (char)tolower((unsigned char)t.p[i]);
    return err_set(e, -EINVAL, "invalid interval %.*s", (int)n, text);
}

/* Intervals of all items are looked at before anything else of them. */
static int field_check(const struct cron_field *f, struct text t, struct errtext *e)
{
    struct text left = t, item, step;

    item = next_item(&left);
    if (item.len == 0)
        return err_set(e, -EINVAL, "%s field: missing directive", f->name);
    for (; item.len; item = next_item(&left))
        if (has_interval(f, item, &step) && !is_step(f, step))
            return interval_error(item, e);
    for (item = next_item(&t); item.len; item = next_item(&t)) {
        if (is_star(item) && f->extra == CRON_PLAIN)
            return 0; /* whatever follows */
        if (!is_star(item) && !is_value_or_range(f, item) && !has_interval(f, item, &step) &&
            !is_extra(f, item))
            return err_set(e, -EINVAL, "syntax error in %s field: '%.*s'", f->name, (int)item.len,
                           item.p);
    }
    return 0;
}

/* Replaces the names of common lines, wherever they stand. */
static char *expand(const char *spec)
{
    static const struct {
        const char *name, *line;
    } lines[] = {
        {"@yearly", "0 0 0 1 1 * *"}, {"@annually", "0 0 0 1 1 * *"}, {"@monthly", "0 0 0 1 * * *"},
        {"@weekly", "0 0 0 * * 0 *"}, {"@daily", "0 0 0 * * * *"},    {"@hourly", "0 0 * * * * *"},
    };
    struct strbuf b = STRBUF_INIT;
    size_t i, n = 0;

    for (; *spec; spec += n) {
        for (i = 0; i < ARRAY_LEN(lines); i++) {
            n = strlen(lines[i].name);
            if (strncmp(spec, lines[i].name, n) == 0)
                break;
        }
        if (i < ARRAY_LEN(lines)) {
            strbuf_adds(&b, lines[i].line);
        } else {
            strbuf_addc(&b, *spec);
            n = 1;
        }
    }
    return strbuf_take(&b);
}

int job_cron_check(const char *spec, struct errtext *e)
{
    _cleanup_(freep) char *line = expand(spec);
    struct text fields[CRON_FIELDS_MAX];
    const char *p = line + strspn(line, CRON_SPACE);
    size_t i, n;
    int r = 0;

    for (n = 0; *p && n < CRON_FIELDS_MAX; n++) {
        fields[n] = (struct text){p, strcspn(p, CRON_SPACE)};
        p += fields[n].len;
        p += strspn(p, CRON_SPACE);
    }
    if (n < CRON_FIELDS_MIN)
        return err_set(e, -EINVAL, "missing field(s)");
    for (i = 0; r == 0 && i < n; i++)
        r = field_check(&cron_fields[n == CRON_FIELDS_MAX ? i : i + 1], fields[i], e);
    return r;
}
