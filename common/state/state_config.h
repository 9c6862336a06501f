/* SPDX-License-Identifier: MPL-2.0 */
/* Settings of the region, decoded. */
#pragma once

#include "rpc.pb.h"
#include "state/state.h"

#define STATE_CONFIG_SCHEDULER "scheduler" /* its name in STATE_CONFIGS */

/*
 * The schedulers' settings, Nomad's defaults when nobody has set any (then with indexes of 0).
 * Release with pb_release(steppe_SchedulerConfiguration_fields). m->index: when they were set last;
 * m->found: always. Watch STATE_CONFIGS, STATE_CONFIG_SCHEDULER. -errno.
 */
int state_scheduler_config(struct store_txn *t, steppe_SchedulerConfiguration *ret,
                           struct state_meta *m);
/* Nomad's defaults; the same release. */
void state_scheduler_defaults(steppe_SchedulerConfiguration *ret);
/* As they are kept: without indexes. -errno. */
int state_scheduler_encode(const steppe_SchedulerConfiguration *config, struct strbuf *out);
