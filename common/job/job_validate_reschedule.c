/* SPDX-License-Identifier: MPL-2.0 */
/* Validation of reschedule policies: does the interval have room for the attempts? */
#include "job_validate.h"

#include "base/clock.h"

#define DUR(ns)      duration_format((ns), (char[DURATION_TEXT_MAX]){0})
#define MIN_DELAY    (5 * NS_PER_SEC)
#define MIN_INTERVAL (15 * NS_PER_SEC)
/* No policy that means anything tries more often; beyond it the sum is not walked. */
#define ATTEMPTS_WALK_MAX 10000

struct room {
    bool enough;
    int64_t attempts; /* that fit */
    int64_t interval; /* that would do */
};

static int64_t add(int64_t a, int64_t b)
{
    int64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static struct room room_constant(const steppe_ReschedulePolicy *r)
{
    struct room ret = {.enough = true};

    if (__builtin_mul_overflow((int64_t)r->attempts, r->delay, &ret.interval))
        ret.interval = INT64_MAX;
    if (r->interval < ret.interval) {
        ret.attempts = r->interval / r->delay;
        ret.enough = false;
    }
    return ret;
}

static struct room room_exponential(const steppe_ReschedulePolicy *r)
{
    struct room ret = {0};
    int64_t next = r->delay;
    int32_t i, n = MIN(r->attempts, ATTEMPTS_WALK_MAX);

    for (i = 0; i < n; i++, next = add(next, next)) {
        ret.interval = next > r->max_delay ? add(ret.interval, r->max_delay) : next;
        if (ret.interval < r->interval)
            ret.attempts++;
    }
    ret.enough = ret.attempts >= r->attempts;
    return ret;
}

static struct room room_fibonacci(const steppe_ReschedulePolicy *r)
{
    int64_t before = r->delay, last = r->delay, next;
    int32_t i, n = MIN(r->attempts, ATTEMPTS_WALK_MAX);
    bool ceiling = false;
    struct room ret = {.attempts = -1};

    if (before > r->interval)
        ret.attempts = 0;
    for (i = 2; i < n; i++, before = last, last = next) {
        next = ceiling ? add(last, r->max_delay) : add(last, before);
        if (!ceiling && next > r->max_delay) {
            next = r->max_delay;
            ceiling = true;
        }
        if (next > r->interval && ret.attempts < 0)
            ret.attempts = i;
    }
    ret.interval = last;
    ret.enough = r->interval >= last;
    if (ret.attempts < 0)
        ret.attempts = 0;
    return ret;
}

static void room_validate(const steppe_ReschedulePolicy *r, struct job_errors *e)
{
    bool constant = job_text_is(r->delay_function, "constant");
    struct room room = constant                                        ? room_constant(r)
                       : job_text_is(r->delay_function, "exponential") ? room_exponential(r)
                                                                       : room_fibonacci(r);
    int64_t rounded;

    if (room.enough)
        return;
    if (constant)
        job_errors_add(e,
                       "Nomad can only make %lld attempts in %s with initial delay %s and delay "
                       "function %s",
                       (long long)room.attempts, DUR(r->interval), DUR(r->delay),
                       JOB_QUOTE(r->delay_function));
    else
        job_errors_add(e,
                       "Nomad can only make %lld attempts in %s with initial delay %s, delay "
                       "function %s, and delay ceiling %s",
                       (long long)room.attempts, DUR(r->interval), DUR(r->delay),
                       JOB_QUOTE(r->delay_function), DUR(r->max_delay));
    rounded = add(room.interval, NS_PER_SEC / 2) / NS_PER_SEC * NS_PER_SEC;
    job_errors_add(e, "Set the interval to at least %s to accommodate %d attempts", DUR(rounded),
                   r->attempts);
}

void job_reschedule_validate(const steppe_ReschedulePolicy *r, struct job_errors *e)
{
    bool function = job_text_is(r->delay_function, "constant") ||
                    job_text_is(r->delay_function, "exponential") ||
                    job_text_is(r->delay_function, "fibonacci");
    bool delays = function;

    if (r->attempts <= 0 && !r->unlimited)
        return; /* off */
    if (r->attempts > 0 && r->interval <= 0)
        job_errors_add(e, "Interval must be a non zero value if Attempts > 0");
    if (r->attempts > 0 && r->unlimited) {
        job_errors_add(
            e,
            "Reschedule Policy with Attempts = %d, Interval = %s, and Unlimited = true is "
            "ambiguous",
            r->attempts, DUR(r->interval));
        job_errors_add(e, "If Attempts >0, Unlimited cannot also be set to true");
    }
    if (r->delay < MIN_DELAY) {
        job_errors_add(e, "Delay cannot be less than 5s (got %s)", DUR(r->delay));
        delays = false;
    }
    if (!function)
        job_errors_add(e,
                       "Invalid delay function %s, must be one of [\"constant\" \"exponential\" "
                       "\"fibonacci\"]",
                       JOB_QUOTE(r->delay_function));
    if (!job_text_is(r->delay_function, "constant")) {
        if (r->max_delay < MIN_DELAY) {
            job_errors_add(e, "Max Delay cannot be less than 5s (got %s)", DUR(r->delay));
            delays = false;
        }
        if (r->max_delay < r->delay) {
            job_errors_add(e, "Max Delay cannot be less than Delay %s (got %s)", DUR(r->delay),
                           DUR(r->max_delay));
            delays = false;
        }
    }
    if (r->unlimited)
        return;
    if (r->interval < MIN_INTERVAL)
        job_errors_add(e, "Interval cannot be less than 15s (got %s)", DUR(r->interval));
    if (delays)
        room_validate(r, e);
}
