/* SPDX-License-Identifier: MPL-2.0 */
/* RFC 3339 times, as Go's time.Time writes and reads them in JSON. */
#include "json/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

const char *json_time_format(int64_t ns, char buf[static JSON_TIME_MAX])
{
    int64_t frac = ns % NS_PER_SEC;
    time_t sec = (time_t)(ns / NS_PER_SEC);
    struct tm tm;
    size_t n;

    if (frac < 0) {
        frac += NS_PER_SEC;
        sec--;
    }
    gmtime_r(&sec, &tm); /* int64 nanoseconds reach from 1677 to 2262 only */
    n = strftime(buf, JSON_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    if (frac) {
        n += (size_t)snprintf(buf + n, JSON_TIME_MAX - n, ".%09lld", (long long)frac);
        while (buf[n - 1] == '0')
            n--;
    }
    buf[n] = 'Z';
    buf[n + 1] = 0;
    return buf;
}

/* Exactly n digits; -1 when there are not that many. */
static int digits(const char **p, const char *end, int n)
{
    int v = 0;

    for (; n > 0; n--, (*p)++) {
        if (*p >= end || **p < '0' || **p > '9')
            return -1;
        v = v * 10 + (**p - '0');
    }
    return v;
}

static bool expect(const char **p, const char *end, char c)
{
    if (*p >= end || **p != c)
        return false;
    (*p)++;
    return true;
}

/* ".123" to nanoseconds; digits beyond the ninth are dropped. -1 when no digit follows the dot. */
static int64_t fraction(const char **p, const char *end)
{
    int64_t ns = 0, unit = NS_PER_SEC / 10;
    const char *start = ++*p;

    for (; *p < end && **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
        ns += (**p - '0') * unit;
    return *p == start ? -1 : ns;
}

/* "Z" or "+hh:mm" in seconds, INT_MIN when it is neither. */
static int zone(const char **p, const char *end)
{
    int sign, h, m;

    if (expect(p, end, 'Z'))
        return 0;
    if (*p >= end || (**p != '+' && **p != '-'))
        return INT32_MIN;
    sign = **p == '-' ? -1 : 1;
    (*p)++;
    h = digits(p, end, 2);
    if (h < 0 || h > 23 || !expect(p, end, ':'))
        return INT32_MIN;
    m = digits(p, end, 2);
    return m < 0 || m > 59 ? INT32_MIN : sign * (h * 3600 + m * 60);
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

int json_time_parse(const char *text, size_t len, int64_t *ret_ns)
{
    const char *p = text, *end = text + len;
    struct tm tm = {0};
    int64_t sec, frac = 0, ns;
    int year, month, offset;

    year = digits(&p, end, 4);
    if (year < 0 || !expect(&p, end, '-'))
        return -EINVAL;
    month = digits(&p, end, 2);
    if (month < 1 || month > 12 || !expect(&p, end, '-'))
        return -EINVAL;
    tm.tm_mday = digits(&p, end, 2);
    if (tm.tm_mday < 1 || tm.tm_mday > days_in_month(year, month) || !expect(&p, end, 'T'))
        return -EINVAL;
    tm.tm_hour = digits(&p, end, 2);
    if (tm.tm_hour < 0 || tm.tm_hour > 23 || !expect(&p, end, ':'))
        return -EINVAL;
    tm.tm_min = digits(&p, end, 2);
    if (tm.tm_min < 0 || tm.tm_min > 59 || !expect(&p, end, ':'))
        return -EINVAL;
    tm.tm_sec = digits(&p, end, 2);
    if (tm.tm_sec < 0 || tm.tm_sec > 59)
        return -EINVAL;
    if (p < end && *p == '.')
        frac = fraction(&p, end);
    offset = zone(&p, end);
    if (frac < 0 || offset == INT32_MIN || p != end)
        return -EINVAL;
    if (year == 1 && month == 1 && tm.tm_mday == 1) { /* Go's zero time */
        *ret_ns = 0;
        return 0;
    }
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    sec = (int64_t)timegm(&tm) - offset;
    if (__builtin_mul_overflow(sec, NS_PER_SEC, &ns) || __builtin_add_overflow(ns, frac, &ns))
        return -ERANGE;
    *ret_ns = ns;
    return 0;
}
