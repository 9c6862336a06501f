/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Text in columns: rows are lines whose cells are separated by '|', cells are trimmed and padded to
 * the widest one of their column (in characters, not bytes), the last cell of a row is not padded.
 */
#pragma once

#include "base/base.h"

#define TABLE_COLUMNS_MAX 32

struct table {
    char **rows; /* owned */
    size_t n, cap;
};

enum table_style {
    TABLE_PLAIN, /* columns apart by two spaces */
    TABLE_LIST,  /* the same; an empty cell becomes "<none>" */
    TABLE_KV,    /* "key = value"; an empty cell becomes "<none>" */
    TABLE_KV_RAW /* "key = value"; cells as they are, untrimmed */
};

void table_fini(struct table *t);
void table_row(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* malloc'ed, lines separated by '\n', none after the last. */
char *table_text(const struct table *t, enum table_style style);
