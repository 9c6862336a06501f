/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What the leader's collector may delete: Nomad's rules. Pure: no I/O, no clock. Times are ns since
 * 1970; `cutoff` is now less the threshold: what is newer stays.
 *
 * Nomad deletes a dead job together with its evaluations and allocations in one transaction. Here
 * the job goes first (a dead batch job whose allocations are gone would run again if something
 * evaluated it), and what belonged to it, now to nobody, follows in small pieces.
 */
#pragma once

#include "base/base.h"

struct gc_job {
    bool there; /* and the same incarnation that the question is about */
    bool dead, stop, batch, periodic, parameterized;
    int64_t submit_time;
};

/* Does the job itself go? Of its allocations none may be live, running on its client or newer; its
 * evaluations must have ended (the caller looks). */
bool gc_job_eligible(const struct gc_job *job, int64_t cutoff);

struct gc_policy {
    bool there, unlimited;
    int attempts;
    int64_t interval;
};

struct gc_alloc {
    bool terminal; /* stopped by a server, or ended on its client */
    bool client_running, client_failed, desired_stop;
    bool replaced; /* it has a next allocation */
    int64_t modify_time;
    int64_t last_reschedule; /* of its tracker, 0 = none */
};

/* policy: of its group, asked only of failed ones of a living job. */
bool gc_alloc_eligible(const struct gc_alloc *a, const struct gc_job *job,
                       const struct gc_policy *policy, int64_t now, int64_t cutoff);

/* An evaluation that ended at `time` and has no allocations (any more). */
bool gc_eval_eligible(bool batch, int64_t time, const struct gc_job *job, int64_t cutoff);
