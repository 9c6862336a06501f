/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A growing byte string with an upper bound. Running out of the bound is sticky: later appends do
 * nothing and strbuf_failed() says so, so that a writer checks once at the end.
 */
#pragma once

#include "base/base.h"

struct strbuf {
    char *data; /* NUL terminated once anything was appended; NULL before */
    size_t len; /* without the NUL */
    size_t cap;
    size_t len_max; /* 0: no bound */
    bool failed;
};

#define STRBUF_INIT     ((struct strbuf){0})
#define STRBUF_BOUND(n) ((struct strbuf){.len_max = (n)})

void strbuf_fini(struct strbuf *b);  /* frees; b can be used again */
void strbuf_reset(struct strbuf *b); /* empties, keeps the memory */
char *strbuf_reserve(struct strbuf *b,
                     size_t n); /* room for n bytes at the end, NULL over the bound */
/* Append; nothing of what does not fit the bound. Memory that runs out ends the process. */
void strbuf_add(struct strbuf *b, const void *data, size_t n);
void strbuf_addc(struct strbuf *b, char c);
void strbuf_adds(struct strbuf *b, const char *s);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline bool strbuf_failed(const struct strbuf *b)
{
    return b->failed;
}
/* Hands the bytes (malloc'ed, NUL terminated, never NULL) to the caller; b is empty after. */
char *strbuf_take(struct strbuf *b);
