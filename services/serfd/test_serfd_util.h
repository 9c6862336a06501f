/* SPDX-License-Identifier: MPL-2.0 */
/* Small helpers of serfd's tests. */
#pragma once

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "messages.h"

static inline int hex_digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* Hex to bytes; "*512c0 " means 512 bytes c0. */
static inline void hex_put(struct strbuf *out, const char *hex)
{
    while (*hex) {
        unsigned long times = 1;

        if (*hex == '*') {
            times = 0;
            for (hex++; hex[2] != ' '; hex++)
                times = times * 10 + (unsigned long)(*hex - '0');
        }
        while (times-- > 0)
            strbuf_addc(out, (char)(hex_digit(hex[0]) << 4 | hex_digit(hex[1])));
        hex += 2;
        if (*hex == ' ')
            hex++;
    }
}

#define ck_assert_span_eq(a, b)                                                                    \
    do {                                                                                           \
        struct span _a = (a), _b = (b);                                                            \
        ck_assert_uint_eq(_a.len, _b.len);                                                         \
        ck_assert(_a.len == 0 || memcmp(_a.p, _b.p, _a.len) == 0);                                 \
    } while (0)
