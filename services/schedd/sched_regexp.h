/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Regular expressions of constraints: the language of Go's regexp (RE2) over PCRE2. What RE2 does
 * not know (references back, looking around, atomic groups, possessive repetitions, recursion) is
 * refused, and a match that takes too many steps counts as none: input can cost neither time
 * without end nor a stack.
 */
#pragma once

#include "base/base.h"

#define SCHED_REGEXP_LEN_MAX   4096
#define SCHED_REGEXP_STEPS_MAX 100000u

/* Is this an expression that we take? */
bool sched_regexp_valid(const char *pattern);

/* Compiled expressions, kept for the next evaluation; the oldest goes when there are too many. */
struct sched_regexps;
struct sched_regexps *sched_regexps_new(void);
struct sched_regexps *sched_regexps_free(struct sched_regexps *c);
/* Is the expression found somewhere in text? False also when it is none. */
bool sched_regexp_matches(struct sched_regexps *c, const char *pattern, const char *text);
