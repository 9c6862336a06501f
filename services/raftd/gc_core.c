/* SPDX-License-Identifier: MPL-2.0 */
#include "gc_core.h"

bool gc_job_eligible(const struct gc_job *job, int64_t cutoff)
{
    if (!job->there || !job->dead || job->submit_time > cutoff)
        return false;
    if (job->stop)
        return true;
    return job->batch && !job->periodic && !job->parameterized;
}

/* The work of a batch job that may still be evaluated must be remembered, or it would be done anew.
 */
static bool must_remember(bool batch, const struct gc_job *job)
{
    return batch && job->there && !(job->dead && job->stop);
}

/* Would a scheduler look at this failed one, to place it again or to know how often it was? */
static bool reschedules(const struct gc_alloc *a, const struct gc_policy *policy, int64_t now)
{
    if (!policy->there || (!policy->unlimited && policy->attempts == 0) || a->replaced)
        return false;
    if (policy->unlimited || a->last_reschedule == 0)
        return true;
    return now - a->last_reschedule <= policy->interval;
}

bool gc_alloc_eligible(const struct gc_alloc *a, const struct gc_job *job,
                       const struct gc_policy *policy, int64_t now, int64_t cutoff)
{
    if (!a->terminal || a->client_running || a->modify_time > cutoff)
        return false;
    if (must_remember(job->batch, job))
        return false;
    if (!job->there || job->stop || job->dead || a->desired_stop || !a->client_failed)
        return true;
    return !reschedules(a, policy, now);
}

bool gc_eval_eligible(bool batch, int64_t time, const struct gc_job *job, int64_t cutoff)
{
    return time <= cutoff && !must_remember(batch, job);
}
