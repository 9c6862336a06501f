/* SPDX-License-Identifier: MPL-2.0 */
#include "gc_core.h"

#include <string.h>

void gc_times_note(struct gc_times *t, const struct gc_time *now)
{
    if (t->n) {
        const struct gc_time *last = &t->v[t->n - 1];
        int64_t passed = now->mono - last->mono, off = now->wall - last->wall - passed;

        if (passed < GC_TIMES_STEP_NS && off > -GC_JUMP_NS && off < GC_JUMP_NS)
            return;
    }
    if (t->n == GC_TIMES_MAX)
        memmove(t->v, t->v + 1, --t->n * sizeof(t->v[0]));
    t->v[t->n++] = *now;
}

int64_t gc_times_cutoff(const struct gc_times *t, const struct gc_time *now, int64_t threshold)
{
    int64_t start = now->mono - threshold, least = now->wall;
    unsigned i = t->n;

    for (; i > 0 && t->v[i - 1].mono > start; i--)
        least = MIN(least, t->v[i - 1].wall);
    /* Its note says what the clock showed at the start; before the first one it ran evenly. */
    if (i > 0)
        return MIN(least, t->v[i - 1].wall + (start - t->v[i - 1].mono));
    if (t->n > 0)
        return MIN(least, t->v[0].wall - (t->v[0].mono - start));
    return MIN(least, now->wall - threshold);
}

uint64_t gc_times_index(const struct gc_times *t, const struct gc_time *now, int64_t threshold)
{
    for (unsigned i = t->n; i > 0; i--)
        if (t->v[i - 1].mono <= now->mono - threshold)
            return t->v[i - 1].index;
    return 0;
}

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
