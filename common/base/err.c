/* SPDX-License-Identifier: MPL-2.0 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

int err_set(struct errtext *e, int r, const char *fmt, ...)
{
    va_list ap;

    if (!e)
        return r;
    va_start(ap, fmt);
    (void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    return r;
}

int err_prefix(struct errtext *e, int r, const char *fmt, ...)
{
    char tail[ERRTEXT_MAX];
    va_list ap;
    size_t n;

    if (!e)
        return r;
    memcpy(tail, e->text, sizeof(tail));
    va_start(ap, fmt);
    (void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    n = strlen(e->text);
    (void)snprintf(e->text + n, sizeof(e->text) - n, ": %s", tail);
    return r;
}

int err_trace_at(int r, const char *file, int line)
{
    if (r < 0)
        log_trace("error passed up at=%s:%d error=%s", file, line, strerror(-r));
    return r;
}
