/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A part of Go's text/template over JSON documents, for the -t flag: fields and chains (.A.B),
 * variables ($x := ...), pipelines, parentheses, if/else if/else, range/else (with one or two
 * variables), with/else, end, comments and trim markers; the functions and, or, not, eq, ne, lt,
 * le, gt, ge, index, len, print, printf, println. define, template, block, break and
 * continue are refused with a clear error. A member that is absent prints "<no value>", null
 * "<nil>".
 */
#pragma once

#include <jansson.h>

#include "base/base.h"
#include "base/err.h"

#define TEMPLATE_TEXT_MAX   ((size_t)1 << 16)
#define TEMPLATE_OUTPUT_MAX ((size_t)64 << 20)
#define TEMPLATE_DEPTH_MAX  64
#define TEMPLATE_VARS_MAX   64

/* Renders text over data into *ret (malloc'ed). -EINVAL with "template: ..." in e. */
int template_render(const char *text, const json_t *data, char **ret, struct errtext *e);
