/* SPDX-License-Identifier: MPL-2.0 */
#include "base/strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void strbuf_fini(struct strbuf *b)
{
    free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
    b->failed = false;
}

void strbuf_reset(struct strbuf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = 0;
}

char *strbuf_reserve(struct strbuf *b, size_t n)
{
    if (b->failed || n > SIZE_MAX - b->len - 1 || (b->len_max && b->len + n > b->len_max)) {
        b->failed = true;
        return NULL;
    }
    if (b->len + n + 1 > b->cap) {
        size_t cap = MAX(b->cap * 2, b->len + n + 1);

        cap = MAX(cap, (size_t)64);
        b->data = xrealloc(b->data, cap);
        b->cap = cap;
    }
    return b->data + b->len;
}

void strbuf_add(struct strbuf *b, const void *data, size_t n)
{
    char *p = strbuf_reserve(b, n);

    if (!p)
        return;
    if (n)
        memcpy(p, data, n);
    b->len += n;
    b->data[b->len] = 0;
}

void strbuf_addc(struct strbuf *b, char c)
{
    strbuf_add(b, &c, 1);
}

void strbuf_adds(struct strbuf *b, const char *s)
{
    strbuf_add(b, s, strlen(s));
}

void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !strbuf_reserve(b, (size_t)n))
        return;
    va_start(ap, fmt);
    (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

char *strbuf_take(struct strbuf *b)
{
    char *p;

    if (!b->data)
        strbuf_add(b, "", 0);
    p = b->data ? b->data : xstrdup("");
    *b = (struct strbuf){.len_max = b->len_max};
    return p;
}
