/* SPDX-License-Identifier: MPL-2.0 */
/* Times, sizes and quotes as Go and Nomad's CLI print them. */
#include "text.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/strbuf.h"

/* Length of the valid UTF-8 sequence at s (n bytes left), 0 when it is none. */
static size_t text_utf8_len(const unsigned char *s, size_t n)
{
    uint32_t cp;
    size_t len = s[0] < 0x80   ? 1
                 : s[0] < 0xc2 ? 0
                 : s[0] < 0xe0 ? 2
                 : s[0] < 0xf0 ? 3
                 : s[0] < 0xf5 ? 4
                               : 0;

    if (len == 0 || len > n)
        return 0;
    cp = len == 1 ? s[0] : s[0] & (0x7fU >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        cp = cp << 6 | (s[i] & 0x3fU);
    }
    if ((len == 3 && (cp < 0x800 || (cp >= 0xd800 && cp < 0xe000))) ||
        (len == 4 && (cp < 0x10000 || cp > 0x10ffff)))
        return 0;
    return len;
}

char *text_quote(const char *s)
{
    static const char named[] = "\a\b\f\n\r\t\v";
    static const char letter[] = "abfnrtv";
    struct strbuf b = STRBUF_INIT;
    size_t n = strlen(s);

    strbuf_addc(&b, '"');
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        const char *name = c ? strchr(named, c) : NULL;
        size_t len = text_utf8_len((const unsigned char *)s + i, n - i);

        if (c == '"' || c == '\\')
            strbuf_addf(&b, "\\%c", c);
        else if (name)
            strbuf_addf(&b, "\\%c", letter[name - named]);
        else if (len == 0 || c < 0x20 || c == 0x7f)
            strbuf_addf(&b, "\\x%02x", c);
        else
            strbuf_add(&b, s + i, len);
        i += MAX(len, 1U);
    }
    strbuf_addc(&b, '"');
    return strbuf_take(&b);
}

char *text_limit(const char *s, size_t n)
{
    return xstrndup(s, strnlen(s, n));
}

static char *text_time_zone(time_t sec, bool local, long offset_s)
{
    struct tm tm;
    char day[32];
    long minutes;

    if (local) {
        localtime_r(&sec, &tm);
        offset_s = tm.tm_gmtoff;
    } else {
        time_t shifted = sec + offset_s;

        gmtime_r(&shifted, &tm);
    }
    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
    if (offset_s == 0)
        return xasprintf("%sZ", day);
    minutes = labs(offset_s) / 60;
    return xasprintf("%s%c%02ld:%02ld", day, offset_s < 0 ? '-' : '+', minutes / 60, minutes % 60);
}

/* Seconds since the epoch, rounded down. */
static int64_t text_floor_s(struct wall_ns t)
{
    return t.ns / NS_PER_SEC - (t.ns % NS_PER_SEC < 0 ? 1 : 0);
}

char *text_time(struct wall_ns t)
{
    int64_t sec = text_floor_s(t);

    return sec < 1 ? xstrdup("") : text_time_zone((time_t)sec, true, 0);
}

static bool text_rfc3339(const char *s, int64_t *ret_sec, int64_t *ret_frac_ns, long *ret_offset_s)
{
    struct tm tm = {0};
    const char *p = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t frac = 0, unit = NS_PER_SEC;
    int hours, minutes;

    if (!p)
        return false;
    if (*p == '.') {
        for (p++; isdigit((unsigned char)*p); p++) {
            unit /= 10;
            frac += (*p - '0') * unit;
        }
    }
    *ret_offset_s = 0;
    if ((*p == '+' || *p == '-') && sscanf(p + 1, "%2d:%2d", &hours, &minutes) == 2)
        *ret_offset_s = (hours * 3600L + minutes * 60L) * (*p == '-' ? -1 : 1);
    else if (strcmp(p, "Z") != 0)
        return false;
    *ret_sec = (int64_t)timegm(&tm) - *ret_offset_s;
    *ret_frac_ns = frac;
    return true;
}

bool text_time_parse(const char *s, struct wall_ns *ret)
{
    int64_t sec, frac;
    long offset;

    if (!text_rfc3339(s, &sec, &frac, &offset) || sec > INT64_MAX / NS_PER_SEC - 1 ||
        sec < INT64_MIN / NS_PER_SEC + 1)
        return false;
    ret->ns = sec * NS_PER_SEC + frac;
    return true;
}

char *text_time_rfc3339(const char *s)
{
    int64_t sec, frac;
    long offset;

    if (!text_rfc3339(s, &sec, &frac, &offset) || sec < 1)
        return xstrdup("");
    return text_time_zone((time_t)sec, false, offset);
}

/* To the nearest second, halves away from the past as Go's Time.Round does. */
static int64_t text_round_s(struct wall_ns t)
{
    int64_t sec = text_floor_s(t);

    return t.ns - sec * NS_PER_SEC >= NS_PER_SEC / 2 ? sec + 1 : sec;
}

char *text_ago(struct wall_ns t, struct wall_ns now)
{
    static const struct {
        const char *name;
        int64_t count; /* how many make one of the next unit */
    } units[] = {{"s", 60}, {"m", 60}, {"h", 24}, {"d", 30}, {"mo", 12}, {"y", INT64_MAX}};
    struct strbuf b = STRBUF_INIT;
    int64_t values[ARRAY_LEN(units)], diff;
    const char *suffix = "ago";
    size_t shown = 0;

    if (t.ns == 0)
        return xstrdup("");
    diff = text_round_s(now) - text_round_s(t);
    if (diff < 0) {
        diff = -diff;
        suffix = "from now";
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        values[i] = diff % units[i].count;
        diff /= units[i].count;
    }
    for (size_t i = ARRAY_LEN(units); i > 0 && shown < 2; i--) {
        if (values[i - 1] == 0)
            continue;
        strbuf_addf(&b, "%lld%s", (long long)values[i - 1], units[i - 1].name);
        shown++;
    }
    strbuf_addf(&b, "%s %s", shown ? "" : "0s", suffix);
    return strbuf_take(&b);
}

char *text_bytes(uint64_t n)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)n;
    size_t e = 0;

    if (n < 10)
        return xasprintf("%u B", (unsigned)n);
    while (value >= 1024 && e + 1 < ARRAY_LEN(names)) {
        value /= 1024;
        e++;
    }
    value = floor(value * 10 + 0.5) / 10;
    return value < 10 ? xasprintf("%.1f %s", value, names[e])
                      : xasprintf("%.0f %s", value, names[e]);
}

char *text_float2(double v)
{
    _cleanup_(freep) char *plain = xasprintf("%.2f", v);
    struct strbuf b = STRBUF_INIT;
    const char *digits = plain + (plain[0] == '-' ? 1 : 0);
    size_t whole = strcspn(digits, ".");

    strbuf_add(&b, plain, (size_t)(digits - plain));
    for (size_t i = 0; i < whole; i++) {
        if (i > 0 && (whole - i) % 3 == 0 && isdigit((unsigned char)digits[i]))
            strbuf_addc(&b, ',');
        strbuf_addc(&b, digits[i]);
    }
    strbuf_adds(&b, digits + whole);
    return strbuf_take(&b);
}

char *text_uuid_prefix(const char *id)
{
    size_t len = strlen(id), digits = len;

    for (const char *p = id; *p; p++)
        digits -= *p == '-' ? 1 : 0;
    return xstrndup(id, len - digits % 2);
}
