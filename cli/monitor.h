/* SPDX-License-Identifier: MPL-2.0 */
/* Watches an evaluation until it ends and prints what happens, as Nomad's monitor does. */
#pragma once

#include "cli.h"

enum {
    MONITOR_DONE = 0,
    MONITOR_ERROR = 1,
    MONITOR_UNPLACED = 2, /* some allocations could not be placed */
};

/*
 * Follows the evaluation and the ones that come after it, asking once a second. Identifiers are
 * cut to id_len. Does not return while an evaluation is pending. Returns MONITOR_*, an exit code.
 */
int monitor_eval(struct cli *cli, const char *eval_id, size_t id_len);
