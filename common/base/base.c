/* SPDX-License-Identifier: MPL-2.0 */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void *or_die(void *p)
{
    static const char text[] = "out of memory\n";

    if (p)
        return p;
    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
        abort();
    abort();
}

void *xmalloc(size_t size)
{
    return or_die(malloc(size ? size : 1));
}

void *xcalloc(size_t n, size_t size)
{
    return or_die(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t size)
{
    return or_die(realloc(p, size ? size : 1));
}

char *xstrdup(const char *s)
{
    return or_die(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
    return or_die(strndup(s, n));
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    char *s = NULL;

    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0)
        s = NULL;
    va_end(ap);
    return or_die(s);
}
