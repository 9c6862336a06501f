/* SPDX-License-Identifier: MPL-2.0 */
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

struct mono_ns clock_mono(void)
{
    return (struct mono_ns){read_clock(CLOCK_MONOTONIC)};
}

struct wall_ns clock_wall(void)
{
    return (struct wall_ns){read_clock(CLOCK_REALTIME)};
}

static const struct {
    const char *name;
    int64_t ns;
} units[] = {
    {"ns", 1},         {"us", NS_PER_US}, {"\xc2\xb5s", NS_PER_US}, {"\xce\xbcs", NS_PER_US},
    {"ms", NS_PER_MS}, {"s", NS_PER_SEC}, {"m", 60 * NS_PER_SEC},   {"h", 3600 * NS_PER_SEC},
};

/* Length of the unit at s and its size, or 0. The longest name wins ("ms" before "m"). */
static size_t unit_at(const char *s, int64_t *ret_ns)
{
    size_t best = 0;

    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        size_t n = strlen(units[i].name);

        if (n > best && strncmp(s, units[i].name, n) == 0) {
            best = n;
            *ret_ns = units[i].ns;
        }
    }
    return best;
}

int duration_parse(const char *text, int64_t *ret_ns)
{
    bool negative = false;
    __int128 total = 0;

    if (*text == '-' || *text == '+')
        negative = *text++ == '-';
    if (strcmp(text, "0") == 0) {
        *ret_ns = 0;
        return 0;
    }
    if (!*text)
        return -EINVAL;
    while (*text) {
        __int128 whole = 0, frac = 0, scale = 1;
        bool digits = false;
        int64_t unit = 0;
        size_t n;

        for (; *text >= '0' && *text <= '9'; text++, digits = true) {
            whole = whole * 10 + (*text - '0');
            if (whole > INT64_MAX)
                return -ERANGE;
        }
        if (*text == '.') {
            for (text++; *text >= '0' && *text <= '9'; text++, digits = true) {
                if (scale < INT64_C(1000000000000000)) {
                    frac = frac * 10 + (*text - '0');
                    scale *= 10;
                }
            }
        }
        n = unit_at(text, &unit);
        if (!digits || n == 0)
            return -EINVAL;
        text += n;
        total += whole * unit + frac * unit / scale;
        if (total > INT64_MAX)
            return -ERANGE;
    }
    *ret_ns = (int64_t)(negative ? -total : total);
    return 0;
}

/* Prints v/unit with up to `digits` decimals and no trailing zeros. */
static int print_decimal(char *out, size_t cap, uint64_t v, uint64_t unit, int digits)
{
    char frac[16];
    int n;

    (void)snprintf(frac, sizeof(frac), "%0*llu", digits, (unsigned long long)(v % unit));
    for (n = digits; n > 0 && frac[n - 1] == '0'; n--)
        ;
    if (n == 0)
        return snprintf(out, cap, "%llu", (unsigned long long)(v / unit));
    return snprintf(out, cap, "%llu.%.*s", (unsigned long long)(v / unit), n, frac);
}

const char *duration_format(int64_t ns, char buf[static DURATION_TEXT_MAX])
{
    uint64_t v = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;
    size_t cap = DURATION_TEXT_MAX;
    char *p = buf;

    if (v == 0) {
        (void)snprintf(buf, cap, "0s");
        return buf;
    }
    if (ns < 0)
        *p++ = '-', cap--;
    if (v < (uint64_t)NS_PER_SEC) {
        uint64_t unit = v < 1000 ? 1 : v < 1000000 ? 1000 : 1000000;
        int digits = v < 1000 ? 0 : v < 1000000 ? 3 : 6;
        int n = unit == 1 ? snprintf(p, cap, "%llu", (unsigned long long)v)
                          : print_decimal(p, cap, v, unit, digits);

        (void)snprintf(p + n, cap - (size_t)n, "%s",
                       unit == 1      ? "ns"
                       : unit == 1000 ? "\xc2\xb5s"
                                      : "ms");
        return buf;
    }
    uint64_t hours = v / (3600 * (uint64_t)NS_PER_SEC);
    uint64_t minutes = v / (60 * (uint64_t)NS_PER_SEC) % 60;
    int n = 0;

    if (hours)
        n += snprintf(p + n, cap - (size_t)n, "%lluh", (unsigned long long)hours);
    if (hours || minutes)
        n += snprintf(p + n, cap - (size_t)n, "%llum", (unsigned long long)minutes);
    n += print_decimal(p + n, cap - (size_t)n, v % (60 * (uint64_t)NS_PER_SEC), NS_PER_SEC, 9);
    (void)snprintf(p + n, cap - (size_t)n, "s");
    return buf;
}
