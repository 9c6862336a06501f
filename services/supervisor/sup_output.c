/* SPDX-License-Identifier: MPL-2.0 */
/*
 * stdout has the banner, stderr the log. Nothing here may block: a reader of our stderr that stands
 * still must not stop the supervision.
 */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sup.h"

_Static_assert(SUP_LINE_MAX < 4096, "a pipe that polls writable takes a line whole");

void sup_say(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)fputs("==> ", stdout);
    (void)vfprintf(stdout, fmt, ap);
    (void)fputc('\n', stdout);
    va_end(ap);
    (void)fflush(stdout);
}

static bool write_line(const char *line, size_t len)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
        return false;
    return write(STDERR_FILENO, line, len) == (ssize_t)len;
}

static void emit(struct sup *s, const char *line, size_t len)
{
    if (s->dropped) {
        char text[160];
        size_t n = sup_line_prefix(text, sizeof(text), "WARN", "supervisor");

        n += (size_t)snprintf(text + n, sizeof(text) - n,
                              "log lines lost because stderr was not read lines=%lu\n", s->dropped);
        if (!write_line(text, MIN(n, sizeof(text) - 1))) {
            s->dropped++;
            return;
        }
        s->dropped = 0;
    }
    if (!write_line(line, len))
        s->dropped++;
}

void sup_output_line(struct sup *s, const char *line, size_t len)
{
    if (!s->gate_open) {
        strbuf_add(&s->gate, line, len);
        if (!strbuf_failed(&s->gate))
            return;
        s->gate.failed = false;
        sup_gate_open(s);
    }
    emit(s, line, len);
}

void sup_gate_open(struct sup *s)
{
    const char *p = s->gate.data, *end = p ? p + s->gate.len : p;

    if (s->gate_open)
        return;
    s->gate_open = true;
    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t n = nl ? (size_t)(nl - p) + 1 : (size_t)(end - p);

        emit(s, p, n);
        p += n;
    }
    strbuf_fini(&s->gate);
}

void sup_log(struct sup *s, enum log_level level, const char *fmt, ...)
{
    char line[SUP_LINE_MAX + 2];
    va_list ap;
    size_t n, from;
    int len;

    if (level < s->level)
        return;
    from = n = sup_line_prefix(line, sizeof(line), log_level_name(level), "supervisor");
    va_start(ap, fmt);
    len = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
    va_end(ap);
    n += (size_t)MAX(len, 0);
    n = MIN(n, (size_t)SUP_LINE_MAX - 1);
    for (size_t i = from; i < n; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    }
    line[n++] = '\n';
    line[n] = 0;
    sup_lines_keep(&s->own, line, n);
    sup_output_line(s, line, n);
}
