/* SPDX-License-Identifier: MPL-2.0 */
#include "job_errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void job_errors_fini(struct job_errors *e)
{
    strbuf_fini(&e->points);
}

static void add_text(struct job_errors *e, const char *prefix, const char *text)
{
    strbuf_adds(&e->points, e->bullet);
    strbuf_adds(&e->points, prefix);
    strbuf_adds(&e->points, text);
    if (e->items) {
        strbuf_adds(e->items, prefix);
        strbuf_add(e->items, text, strlen(text) + 1);
    }
    e->n++;
}

void job_errors_add(struct job_errors *e, const char *fmt, ...)
{
    char text[2048];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    add_text(e, "", text);
}

void job_errors_nest(struct job_errors *e, const struct job_errors *child, const char *fmt, ...)
{
    _cleanup_(strbuf_fini) struct strbuf text = STRBUF_BOUND(JOB_ERRORS_TEXT_MAX);
    char prefix[1024];
    va_list ap;

    if (child->n == 0)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(prefix, sizeof(prefix), fmt, ap);
    va_end(ap);
    job_errors_text(child, &text);
    if (text.data)
        add_text(e, prefix, text.data);
}

void job_errors_text(const struct job_errors *e, struct strbuf *out)
{
    if (e->n == 1)
        strbuf_adds(out, "1 error occurred:");
    else
        strbuf_addf(out, "%u errors occurred:", e->n);
    if (e->points.data)
        strbuf_add(out, e->points.data, e->points.len);
    strbuf_adds(out, "\n\n");
}

void job_errors_warnings(const struct job_errors *e, struct strbuf *out)
{
    strbuf_addf(out, "%u warning(s):\n", e->n);
    if (e->points.data)
        strbuf_add(out, e->points.data, e->points.len);
}

const char *job_quote_into(const char *s, char buf[static JOB_QUOTE_MAX])
{
    char *p = buf, *end = buf + JOB_QUOTE_MAX - 6;

    *p++ = '"';
    for (; s && *s && p < end; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\') {
            *p++ = '\\';
            *p++ = (char)c;
        } else if (c == '\n' || c == '\t' || c == '\r') {
            *p++ = '\\';
            *p++ = c == '\n' ? 'n' : c == '\t' ? 't' : 'r';
        } else if (c < 0x20 || c == 0x7f) {
            p += snprintf(p, 5, "\\x%02x", c);
        } else {
            *p++ = (char)c;
        }
    }
    *p++ = '"';
    *p = 0;
    return buf;
}
