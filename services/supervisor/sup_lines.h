/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What a service writes: bytes -> lines of bounded length with service and level, and a memory of
 * the last ones. No I/O.
 */
#pragma once

#include "base/base.h"

#define SUP_LINE_MAX   4000 /* bytes of one line without its newline: one pipe write holds it */
#define SUP_LINES_KEPT 256
#define SUP_BYTES_KEPT 65536

/* Called with a complete line, newline included. */
typedef void sup_line_fn(void *user, const char *line, size_t len);

struct sup_lines {
    const char *service; /* borrowed */
    char *part;          /* the line begun, SUP_LINE_MAX bytes once anything came */
    size_t part_len;
    bool cutting;               /* the line begun was too long: its rest is thrown away */
    char *kept[SUP_LINES_KEPT]; /* ring, owned; oldest at `first` */
    unsigned first, n;
    size_t bytes;
};

/* Feeds bytes; fn gets each line that is complete now, which is kept as well. */
void sup_lines_feed(struct sup_lines *l, const char *data, size_t len, sup_line_fn *fn, void *user);
/* The writer is gone: what it began becomes a line. */
void sup_lines_end(struct sup_lines *l, sup_line_fn *fn, void *user);
/* Keeps a line that is complete already. */
void sup_lines_keep(struct sup_lines *l, const char *line, size_t len);
void sup_lines_fini(struct sup_lines *l);
/* Does it look like a line of common/base/log ("2026-...Z LEVEL service: ...")? */
bool sup_line_is_log(const char *line, size_t len);
/* "TIME LEVEL NAME: " of now. Returns its length. */
size_t sup_line_prefix(char *buf, size_t cap, const char *level, const char *service);
