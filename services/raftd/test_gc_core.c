/* SPDX-License-Identifier: MPL-2.0 */

#include "check_run.h"
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

#define HOUR (3600 * NS_PER_SEC)
#define DAY  (24 * HOUR)

/* Some minutes of noting each second, the wall clock being `ahead` of the other one. */
static struct gc_time run(struct gc_times *t, int64_t *mono, int64_t ahead, int minutes)
{
    struct gc_time now = {0};

    for (int i = 0; i < minutes * 60; i++) {
        *mono += NS_PER_SEC;
        now = (struct gc_time){*mono, *mono + ahead, (uint64_t)(*mono / NS_PER_SEC)};
        gc_times_note(t, &now);
    }
    return now;
}

/* The wall clock jumps: what was written before the jump has the age that it really has. */
START_TEST(jump_forward)
{
    struct gc_times *t = xcalloc(1, sizeof(*t));
    int64_t mono = 5 * HOUR, young;
    struct gc_time now = run(t, &mono, DAY, 30);

    ck_assert_int_eq(gc_times_cutoff(t, &now, 4 * HOUR), now.wall - 4 * HOUR);
    ck_assert_int_eq(gc_times_cutoff(t, &now, HOUR / 6), now.wall - HOUR / 6);
    young = now.wall;
    now = run(t, &mono, 2 * DAY, 50);
    ck_assert_int_lt(gc_times_cutoff(t, &now, HOUR), young);
    now = run(t, &mono, 2 * DAY, 11); /* over an hour old now */
    ck_assert_int_ge(gc_times_cutoff(t, &now, HOUR), young);
    ck_assert_int_eq(gc_times_cutoff(t, &now, HOUR), now.wall - HOUR);
    ck_assert_uint_lt(gc_times_index(t, &now, HOUR), (uint64_t)(mono - HOUR) / NS_PER_SEC + 1);
    ck_assert_uint_gt(gc_times_index(t, &now, HOUR), (uint64_t)(mono - 2 * HOUR) / NS_PER_SEC);
    free(t);
}
END_TEST

/* Back: what is written afterwards looks older than what was before, and is not deleted for it. */
START_TEST(jump_back)
{
    struct gc_times *t = xcalloc(1, sizeof(*t));
    int64_t mono = 5 * HOUR, before, after;
    struct gc_time now = run(t, &mono, DAY, 30);

    before = now.wall;
    now = run(t, &mono, DAY - 2 * HOUR, 1);
    after = now.wall;
    now = run(t, &mono, DAY - 2 * HOUR, 49);
    ck_assert_int_lt(gc_times_cutoff(t, &now, HOUR), after);
    now = run(t, &mono, DAY - 2 * HOUR, 15);
    ck_assert_int_ge(gc_times_cutoff(t, &now, HOUR), after);
    now = run(t, &mono, DAY - 2 * HOUR, 180);
    ck_assert_int_ge(gc_times_cutoff(t, &now, HOUR), before);
    free(t);
}
END_TEST

/* A clock that jumps all the time: bounded, and nothing young goes. */
START_TEST(jumping)
{
    struct gc_times *t = xcalloc(1, sizeof(*t));
    int64_t mono = DAY;
    struct gc_time now = {0}, none = {.mono = HOUR, .wall = DAY};

    ck_assert_int_eq(gc_times_cutoff(t, &none, HOUR), DAY - HOUR);
    ck_assert_uint_eq(gc_times_index(t, &none, HOUR), 0);
    for (int i = 0; i < 2 * GC_TIMES_MAX; i++) {
        mono += NS_PER_SEC;
        now = (struct gc_time){mono, mono + (i % 2 ? DAY : 0), 1};
        gc_times_note(t, &now);
    }
    ck_assert_uint_eq(t->n, GC_TIMES_MAX);
    ck_assert_int_le(gc_times_cutoff(t, &now, 60 * NS_PER_SEC), mono - 59 * NS_PER_SEC);
    free(t);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("all");

    tcase_add_test(t, jobs);
    tcase_add_test(t, allocs);
    tcase_add_test(t, evals);
    tcase_add_test(t, jump_forward);
    tcase_add_test(t, jump_back);
    tcase_add_test(t, jumping);
    return check_run("gc_core", t, NULL);
}
