/* SPDX-License-Identifier: MPL-2.0 */
/* Lists of errors, printed as go-multierror 1.1 does. Inside common/job only. */
#pragma once

#include "base/strbuf.h"

#define JOB_ERRORS_TEXT_MAX (256u << 10)
#define JOB_QUOTE_MAX       256

struct job_errors {
    struct strbuf points; /* bullet and text of each */
    unsigned n;
    const char *bullet;
    struct strbuf *items; /* may be NULL: each text once more, ended by NUL */
};

#define JOB_ERRORS_INIT                                                                            \
    ((struct job_errors){.points = STRBUF_BOUND(JOB_ERRORS_TEXT_MAX), .bullet = "\n\t* "})
#define JOB_WARNINGS_INIT                                                                          \
    ((struct job_errors){.points = STRBUF_BOUND(JOB_ERRORS_TEXT_MAX), .bullet = "\n* "})

void job_errors_fini(struct job_errors *e);
void job_errors_add(struct job_errors *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Adds child as one error behind a prefix, unless it is empty. */
void job_errors_nest(struct job_errors *e, const struct job_errors *child, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* "2 errors occurred:\n\t* a\n\t* b\n\n" */
void job_errors_text(const struct job_errors *e, struct strbuf *out);
/* "2 warning(s):\n\n* a\n* b"; e was made by JOB_WARNINGS_INIT. */
void job_errors_warnings(const struct job_errors *e, struct strbuf *out);

/* s as Go's %q; NULL is "". Cut at the buffer's end. Returns buf. */
const char *job_quote_into(const char *s, char buf[static JOB_QUOTE_MAX]);
#define JOB_QUOTE(s) job_quote_into((s), (char[JOB_QUOTE_MAX]){0})
