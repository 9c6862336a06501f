/* SPDX-License-Identifier: MPL-2.0 */
/* The grammar of cron lines, that of the library which Nomad uses. Inside common/job only. */
#pragma once

#include "base/err.h"

/*
 * Five to seven fields: [second] minute hour day-of-month month day-of-week [year]; what is behind
 * them is ignored. 0, or -EINVAL with the library's text.
 */
int job_cron_check(const char *spec, struct errtext *e);
