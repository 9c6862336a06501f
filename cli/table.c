/* SPDX-License-Identifier: MPL-2.0 */
/* Columns of text. */
#include "table.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"

struct table_cell {
    const char *text;
    size_t len;   /* bytes */
    size_t width; /* characters */
};

void table_fini(struct table *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->rows[i]);
    free(t->rows);
    *t = (struct table){0};
}

void table_row(struct table *t, const char *fmt, ...)
{
    va_list ap;
    char *row;

    va_start(ap, fmt);
    if (vasprintf(&row, fmt, ap) < 0)
        abort();
    va_end(ap);
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 16;
        t->rows = xrealloc(t->rows, t->cap * sizeof(*t->rows));
    }
    t->rows[t->n++] = row;
}

static size_t table_width(const char *s, size_t len)
{
    size_t width = 0;

    for (size_t i = 0; i < len; i++)
        width += ((unsigned char)s[i] & 0xc0) != 0x80 ? 1 : 0;
    return width;
}

/* What is beyond the last column stays in it: texts of a raw value may hold a '|'. */
static size_t table_cells(const char *row, enum table_style style,
                          struct table_cell cells[static TABLE_COLUMNS_MAX])
{
    size_t n = 0, n_max = style == TABLE_KV_RAW ? 2 : TABLE_COLUMNS_MAX;

    for (;;) {
        size_t len = n + 1 < n_max ? strcspn(row, "|") : strlen(row);
        const char *next = row[len] == '|' ? row + len + 1 : NULL;

        if (style != TABLE_KV_RAW) {
            for (; len > 0 && isspace((unsigned char)*row); len--)
                row++;
            while (len > 0 && isspace((unsigned char)row[len - 1]))
                len--;
        }
        if (len == 0 && (style == TABLE_LIST || style == TABLE_KV)) {
            row = "<none>";
            len = strlen(row);
        }
        cells[n++] = (struct table_cell){row, len, table_width(row, len)};
        if (!next)
            return n;
        row = next;
    }
}

char *table_text(const struct table *t, enum table_style style)
{
    const char *glue = style == TABLE_KV || style == TABLE_KV_RAW ? " = " : "  ";
    struct table_cell cells[TABLE_COLUMNS_MAX];
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    struct strbuf b = STRBUF_INIT;

    for (size_t r = 0; r < t->n; r++) {
        size_t n = table_cells(t->rows[r], style, cells);

        for (size_t i = 0; i < n; i++)
            widths[i] = MAX(widths[i], cells[i].width);
    }
    for (size_t r = 0; r < t->n; r++) {
        size_t n = table_cells(t->rows[r], style, cells);

        for (size_t i = 0; i < n; i++) {
            strbuf_add(&b, cells[i].text, cells[i].len);
            if (i + 1 < n)
                strbuf_addf(&b, "%*s%s", (int)(widths[i] - cells[i].width), "", glue);
        }
        if (r + 1 < t->n)
            strbuf_addc(&b, '\n');
    }
    return strbuf_take(&b);
}
