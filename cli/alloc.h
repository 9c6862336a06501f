/* SPDX-License-Identifier: MPL-2.0 */
/* One allocation: how it is found and what is read out of it. Nothing is owned unless said. */
#pragma once

#include "cli.h"

/*
 * The one allocation that the prefix means, whole (new reference), or NULL after saying why not.
 * `short_text` is what a prefix of one character is called. Several that match are an error, or
 * with ret_many a list on stdout and *ret_many = true.
 */
json_t *alloc_lookup(struct cli *cli, const char *id, const char *short_text, bool *ret_many);

/* Its group in its job; NULL when the job has none of that name. */
const json_t *alloc_group(const json_t *alloc);

/* NULL when the group has this task, else what to say. malloc'ed. */
char *alloc_task_missing(const json_t *alloc, const char *task);

/* The group's task if it has one only; else NULL and *ret_error (malloc'ed) lists them. */
const char *alloc_only_task(const json_t *alloc, char **ret_error);
