/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Errors. A function that can fail returns int: 0 is success; below 0 is -errno, passed up with
 * err_trace() and never matched by callers; above 0 is the module's own FOO_E_*, handled by the
 * direct caller. A text for people goes into a struct errtext that the caller owns.
 */
#pragma once

#include "base/base.h"

#define ERRTEXT_MAX 512

/* One message for a person. Filled by the callee on failure only. */
struct errtext {
    char text[ERRTEXT_MAX];
};

/* Formats into e (which may be NULL) and returns r, so that `return err_set(e, -EINVAL, ...)`. */
int err_set(struct errtext *e, int r, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "PREFIX: " before the text that is already there. Returns r. */
int err_prefix(struct errtext *e, int r, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Passes a negative error up; at debug level it leaves a line with file and line behind. */
#define err_trace(r) err_trace_at((r), __FILE__, __LINE__)
int err_trace_at(int r, const char *file, int line);
