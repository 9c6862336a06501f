/* SPDX-License-Identifier: MPL-2.0 */
#include "sup_lines.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define PREFIX_MAX 96

bool sup_line_is_log(const char *line, size_t len)
{
    static const char pattern[] = "0000-00-00T00:00:00.000Z "; /* 0: a digit */
    static const char *const levels[] = {"TRACE ", "DEBUG ", "INFO  ", "WARN  ", "ERROR "};

    if (len < sizeof(pattern) - 1 + 6)
        return false;
    for (size_t i = 0; i < sizeof(pattern) - 1; i++) {
        if (pattern[i] == '0' ? !isdigit((unsigned char)line[i]) : line[i] != pattern[i])
            return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        if (memcmp(line + sizeof(pattern) - 1, levels[i], 6) == 0)
            return true;
    }
    return false;
}

size_t sup_line_prefix(char *buf, size_t cap, const char *level, const char *service)
{
    struct timespec now;
    struct tm tm;
    size_t n;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    n = strftime(buf, cap, "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(buf + n, cap - n, ".%03ldZ %-5s %s: ", now.tv_nsec / 1000000, level,
                          service);
    return MIN(n, cap - 1);
}

static void drop_oldest(struct sup_lines *l)
{
    char **slot = &l->kept[l->first];

    assert(l->n > 0);
    l->bytes -= strlen(*slot);
    free(*slot);
    *slot = NULL;
    l->first = (l->first + 1) % SUP_LINES_KEPT;
    l->n--;
}

void sup_lines_keep(struct sup_lines *l, const char *line, size_t len)
{
    while (l->n && (l->n >= SUP_LINES_KEPT || l->bytes + len > SUP_BYTES_KEPT))
        drop_oldest(l);
    l->kept[(l->first + l->n) % SUP_LINES_KEPT] = xstrndup(line, len);
    l->n++;
    l->bytes += len;
    assert(l->bytes <= SUP_BYTES_KEPT);
}

/* The line in l->part is complete. */
static void complete(struct sup_lines *l, sup_line_fn *fn, void *user)
{
    char line[PREFIX_MAX + SUP_LINE_MAX + 8];
    size_t n = 0;

    if (!sup_line_is_log(l->part, l->part_len))
        n = sup_line_prefix(line, PREFIX_MAX, "INFO", l->service);
    for (size_t i = 0; i < l->part_len; i++) {
        unsigned char c = (unsigned char)l->part[i];

        line[n++] = (c < 0x20 && c != '\t') || c == 0x7f ? '?' : (char)c;
    }
    if (l->cutting)
        n += (size_t)snprintf(line + n, 6, " ...");
    n = MIN(n, (size_t)SUP_LINE_MAX);
    line[n++] = '\n';
    line[n] = 0;
    l->part_len = 0;
    l->cutting = false;
    sup_lines_keep(l, line, n);
    fn(user, line, n);
}

void sup_lines_feed(struct sup_lines *l, const char *data, size_t len, sup_line_fn *fn, void *user)
{
    /* Leaves room for a prefix and the mark of a cut. */
    const size_t part_max = SUP_LINE_MAX - PREFIX_MAX - 8;

    if (!l->part)
        l->part = xmalloc(SUP_LINE_MAX);
    while (len > 0) {
        const char *nl = memchr(data, '\n', len);
        size_t n = nl ? (size_t)(nl - data) : len;
        size_t room = part_max - l->part_len, take = MIN(n, room);

        memcpy(l->part + l->part_len, data, take);
        l->part_len += take;
        l->cutting = l->cutting || n > take;
        data += n + (nl != NULL);
        len -= n + (nl != NULL);
        if (nl && l->part_len)
            complete(l, fn, user);
    }
}

void sup_lines_end(struct sup_lines *l, sup_line_fn *fn, void *user)
{
    if (l->part_len)
        complete(l, fn, user);
}

void sup_lines_fini(struct sup_lines *l)
{
    while (l->n)
        drop_oldest(l);
    free(l->part);
    l->part = NULL;
    l->part_len = 0;
}
