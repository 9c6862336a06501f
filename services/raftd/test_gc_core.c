/* SPDX-License-Identifier: MPL-2.0 */
#include <check.h>

#include "gc_core.h"

#define NOW    1000
#define CUTOFF 900

static const struct gc_job gone = {0}, living = {.there = true, .submit_time = 1},
                           dead = {.there = true, .dead = true, .submit_time = 1},
                           stopped = {.there = true, .dead = true, .stop = true, .submit_time = 1},
                           batch = {.there = true, .batch = true, .submit_time = 1},
                           dead_batch = {
                               .there = true, .dead = true, .batch = true, .submit_time = 1};

START_TEST(jobs)
{
    struct gc_job j = stopped;

    ck_assert(gc_job_eligible(&stopped, CUTOFF));
    ck_assert(!gc_job_eligible(&gone, CUTOFF));
    ck_assert(!gc_job_eligible(&living, CUTOFF));
    ck_assert(!gc_job_eligible(&dead, CUTOFF)); /* a service that nobody stopped */
    ck_assert(gc_job_eligible(&dead_batch, CUTOFF));
    j.submit_time = CUTOFF + 1;
    ck_assert(!gc_job_eligible(&j, CUTOFF));
    j = dead_batch;
    j.periodic = true;
    ck_assert(!gc_job_eligible(&j, CUTOFF));
    j.stop = true;
    ck_assert(gc_job_eligible(&j, CUTOFF));
}
END_TEST

START_TEST(allocs)
{
    struct gc_policy none = {0}, unlimited = {.there = true, .unlimited = true},
                     twice = {.there = true, .attempts = 2, .interval = 50};
    struct gc_alloc a = {.terminal = true, .modify_time = 500};

    ck_assert(gc_alloc_eligible(&a, &living, &unlimited, NOW, CUTOFF)); /* complete */
    ck_assert(!gc_alloc_eligible(&a, &batch, &none, NOW, CUTOFF));
    ck_assert(!gc_alloc_eligible(&a, &dead_batch, &none, NOW, CUTOFF));
    ck_assert(gc_alloc_eligible(&a, &gone, &none, NOW, CUTOFF));
    a.modify_time = CUTOFF + 1;
    ck_assert(!gc_alloc_eligible(&a, &gone, &none, NOW, CUTOFF));
    a = (struct gc_alloc){.terminal = true, .client_running = true};
    ck_assert(!gc_alloc_eligible(&a, &gone, &none, NOW, CUTOFF));
    a = (struct gc_alloc){.terminal = false};
    ck_assert(!gc_alloc_eligible(&a, &gone, &none, NOW, CUTOFF));

    a = (struct gc_alloc){.terminal = true, .client_failed = true};
    ck_assert(gc_alloc_eligible(&a, &living, &none, NOW, CUTOFF));
    ck_assert(!gc_alloc_eligible(&a, &living, &unlimited, NOW, CUTOFF));
    ck_assert(!gc_alloc_eligible(&a, &living, &twice, NOW, CUTOFF));
    ck_assert(gc_alloc_eligible(&a, &stopped, &unlimited, NOW, CUTOFF));
    a.last_reschedule = NOW - 50;
    ck_assert(!gc_alloc_eligible(&a, &living, &twice, NOW, CUTOFF));
    a.last_reschedule = NOW - 51;
    ck_assert(gc_alloc_eligible(&a, &living, &twice, NOW, CUTOFF));
    a.replaced = true;
    ck_assert(gc_alloc_eligible(&a, &living, &unlimited, NOW, CUTOFF));
    a = (struct gc_alloc){.terminal = true, .client_failed = true, .desired_stop = true};
    ck_assert(gc_alloc_eligible(&a, &living, &unlimited, NOW, CUTOFF));
}
END_TEST

START_TEST(evals)
{
    ck_assert(gc_eval_eligible(false, CUTOFF, &living, CUTOFF));
    ck_assert(!gc_eval_eligible(false, CUTOFF + 1, &living, CUTOFF));
    ck_assert(!gc_eval_eligible(true, 1, &batch, CUTOFF));
    ck_assert(!gc_eval_eligible(true, 1, &dead_batch, CUTOFF));
    ck_assert(gc_eval_eligible(true, 1, &gone, CUTOFF));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gc_core");
    TCase *t = tcase_create("all");
    SRunner *sr;
    int failed;

    tcase_add_test(t, jobs);
    tcase_add_test(t, allocs);
    tcase_add_test(t, evals);
    suite_add_tcase(s, t);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
