/* SPDX-License-Identifier: MPL-2.0 */
/* Reading stored allocations; when a failed one may be tried again, and what it remembers. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check_run.h"
#include "sched_alloc.h"
#include "wire/wire.h"

#define SEC INT64_C(1000000000)
#define NOW (INT64_C(1800000000) * SEC)

static struct sched_arena arena;

static void teardown(void)
{
    sched_arena_fini(&arena);
}

static void encode(const steppe_Allocation *a, struct strbuf *out)
{
    strbuf_reset(out);
    ck_assert_int_eq(wire_encode(steppe_Allocation_fields, a, out), 0);
}

START_TEST(test_read)
{
    steppe_RescheduleEvent ev[] = {{1, (char *)"a", (char *)"n1", 5},
                                   {2, (char *)"b", (char *)"n2", 10}};
    steppe_Allocation_TaskStatesEntry st[] = {
        {(char *)"x", true, {.state = (char *)"dead", .finished_at = 7}},
        {(char *)"y", true, {.state = (char *)"dead", .finished_at = 9}},
    };
    steppe_Allocation placed = {.id = (char *)"id1",
                                .name = (char *)"my.job.g[12]",
                                .node_id = (char *)"node",
                                .task_group = (char *)"g",
                                .client_status = (char *)"pending",
                                .desired_status = (char *)"run",
                                .job_version = 4,
                                .job_create_index = 8,
                                .create_index = 50,
                                .has_reschedule_tracker = true,
                                .reschedule_tracker = {2, ev}};
    steppe_Allocation changed = {.client_status = (char *)"complete",
                                 .modify_index = 60,
                                 .has_desired_transition = true,
                                 .desired_transition = {.has_migrate = true, .migrate = true},
                                 .task_states = st,
                                 .task_states_count = 2,
                                 .next_allocation = (char *)"next"};
    _cleanup_(strbuf_fini) struct strbuf x = STRBUF_INIT, y = STRBUF_INIT;
    struct sched_alloc a;

    encode(&placed, &x);
    encode(&changed, &y);
    ck_assert_int_eq(sched_alloc_read(&arena, bytes_of(x.data, x.len), (struct bytes){0}, &a), 0);
    ck_assert_str_eq(a.id, "id1");
    ck_assert_int_eq(a.index, 12);
    ck_assert_int_eq(a.client, SCHED_PENDING);
    ck_assert(!a.succeeded); /* no task has ended */
    ck_assert_uint_eq(a.events_n, 2);
    ck_assert_int_eq(a.events[1].delay, 10);
    ck_assert_str_eq(a.events[0].prev_node_id, "n1");
    ck_assert_str_eq(a.next_allocation, "");
    ck_assert(!sched_alloc_terminal(&a));
    ck_assert_int_eq(sched_alloc_read(&arena, bytes_of(x.data, x.len), bytes_of(y.data, y.len), &a),
                     0);
    ck_assert_int_eq(a.client, SCHED_COMPLETE);
    ck_assert(a.succeeded);
    ck_assert_int_eq(a.finished, 9);
    ck_assert(a.migrate && !a.reschedule);
    ck_assert_str_eq(a.next_allocation, "next");
    ck_assert_uint_eq(a.job_version, 4);
    ck_assert_uint_eq(a.modify_index, 60);
    ck_assert(sched_alloc_terminal(&a));
    st[1].value.failed = true;
    encode(&changed, &y);
    ck_assert_int_eq(sched_alloc_read(&arena, bytes_of(x.data, x.len), bytes_of(y.data, y.len), &a),
                     0);
    ck_assert(!a.succeeded);
    /* Damage: at every length. */
    for (size_t n = 0; n < x.len; n++) {
        int r = sched_alloc_read(&arena, bytes_of(x.data, n), (struct bytes){0}, &a);

        ck_assert(r == 0 || r == -EBADMSG);
    }
}
END_TEST

/* ---- rescheduling ---- */

static steppe_TaskGroup tg;

static struct sched_alloc failed_alloc(struct sched_event *events, size_t n)
{
    return (struct sched_alloc){.id = "id",
                                .node_id = "node",
                                .followup_eval_id = "",
                                .client = SCHED_FAILED,
                                .finished = NOW,
                                .modify_time = NOW + SEC,
                                .events = events,
                                .events_n = n,
                                .tg = &tg};
}

static void policy(const char *function, int64_t delay, int64_t max, int attempts, int64_t interval)
{
    tg = (steppe_TaskGroup){.has_reschedule_policy = true,
                            .reschedule_policy = {.delay_function = (char *)function,
                                                  .delay = delay * SEC,
                                                  .max_delay = max * SEC,
                                                  .attempts = attempts,
                                                  .interval = interval * SEC,
                                                  .unlimited = attempts == 0}};
}

/* The series of delays that a policy gives, each failing at once. */
START_TEST(test_delays)
{
    static const struct {
        const char *function;
        int64_t delay, max;
        int64_t want[9];
    } cases[] = {
        {"constant", 5, 0, {5, 5, 5, 5, 5, 5, 5, 5, 5}},
        {"exponential", 30, 3600, {30, 60, 120, 240, 480, 960, 1920, 3600, 3600}},
        {"fibonacci", 30, 500, {30, 30, 60, 90, 150, 240, 390, 500, 500}},
        {"exponential", 5, 0, {5, 10, 20, 40, 80, 160, 320, 640, 1280}},
        {"", 7, 0, {7, 7, 7, 7, 7, 7, 7, 7, 7}},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sched_event ev[9];
        int64_t now = NOW;

        policy(cases[i].function, cases[i].delay, cases[i].max, 0, 0);
        for (size_t n = 0; n < 9; n++) {
            struct sched_alloc a = failed_alloc(ev, n);
            struct sched_reschedule r;

            a.finished = now;
            r = sched_alloc_reschedule(&a);
            ck_assert(r.eligible);
            ck_assert_msg(r.delay == cases[i].want[n] * SEC, "%s, %zu: %lld s", cases[i].function,
                          n, (long long)(r.delay / SEC));
            ck_assert_int_eq(r.at, now + r.delay);
            ev[n] = (struct sched_event){.time = r.at, .delay = r.delay};
            now = r.at + SEC;
        }
    }
}
END_TEST

/* At its ceiling, then it ran for longer than that: the series begins anew. */
START_TEST(test_delay_resets)
{
    struct sched_event ev[] = {{.time = NOW - 4000 * SEC, .delay = 3600 * SEC}};
    struct sched_alloc a = failed_alloc(ev, 1);

    policy("exponential", 30, 3600, 0, 0);
    ck_assert_int_eq(sched_alloc_reschedule(&a).delay, 30 * SEC);
    ev[0].time = NOW - 3000 * SEC;
    ck_assert_int_eq(sched_alloc_reschedule(&a).delay, 3600 * SEC);
    /* Fibonacci after a reset: 30, then 60, not 3630. */
    {
        struct sched_event two[] = {{.time = NOW - 9000 * SEC, .delay = 3600 * SEC},
                                    {.time = NOW - 100 * SEC, .delay = 30 * SEC}};

        a = failed_alloc(two, 2);
        policy("fibonacci", 30, 3600, 0, 0);
        ck_assert_int_eq(sched_alloc_reschedule(&a).delay, 30 * SEC);
    }
}
END_TEST

START_TEST(test_attempts)
{
    struct sched_event ev[] = {{.time = NOW - 100 * SEC, .delay = SEC},
                               {.time = NOW - 50 * SEC, .delay = SEC}};
    static const struct {
        int attempts;
        int64_t interval;
        size_t events;
        bool eligible;
    } cases[] = {
        {1, 86400, 0, true}, {1, 86400, 1, false}, {2, 86400, 1, true}, {2, 86400, 2, false},
        {1, 70, 2, false},   {2, 70, 2, true}, /* only one of them within the interval */
        {3, 4, 1, false},                      /* the delay is longer than the interval */
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sched_alloc a = failed_alloc(ev, cases[i].events);

        policy("constant", 5, 0, cases[i].attempts, cases[i].interval);
        ck_assert_msg(sched_alloc_reschedule(&a).eligible == cases[i].eligible, "case %zu", i);
    }
}
END_TEST

START_TEST(test_not_eligible)
{
    struct sched_alloc a = failed_alloc(NULL, 0);

    policy("constant", 5, 0, 0, 0);
    ck_assert(sched_alloc_reschedule(&a).eligible);
    a.client = SCHED_COMPLETE;
    ck_assert(!sched_alloc_reschedule(&a).eligible);
    a.client = SCHED_FAILED;
    a.desired = SCHED_STOP;
    ck_assert(!sched_alloc_reschedule(&a).eligible);
    a.desired = SCHED_RUN;
    a.finished = 0; /* then its last change counts */
    ck_assert_int_eq(sched_alloc_reschedule(&a).at, NOW + SEC + 5 * SEC);
    a.tg = NULL;
    ck_assert(!sched_alloc_reschedule(&a).eligible);
    policy("constant", 5, 0, 1, 60);
    tg.reschedule_policy.attempts = 0; /* neither attempts nor unlimited: off */
    a.tg = &tg;
    ck_assert(!sched_alloc_reschedule(&a).eligible);
}
END_TEST

START_TEST(test_tracker)
{
    struct sched_event ev[7], *out;
    struct sched_alloc a = failed_alloc(ev, 7);
    size_t n;

    for (int i = 0; i < 7; i++)
        ev[i] = (struct sched_event){
            .time = NOW - (700 - i * 100) * SEC, .delay = (i + 1) * SEC, .prev_alloc_id = "p"};
    policy("exponential", 30, 3600, 0, 0);
    out = sched_alloc_tracker(&arena, &a, NOW + 5, &n);
    ck_assert_uint_eq(n, SCHED_EVENTS_PAST + 1); /* the last five and this one */
    ck_assert_int_eq(out[0].delay, 3 * SEC);
    ck_assert_int_eq(out[5].delay, 14 * SEC);
    ck_assert_int_eq(out[5].time, NOW + 5);
    ck_assert_str_eq(out[5].prev_alloc_id, "id");
    ck_assert_str_eq(out[5].prev_node_id, "node");
    policy("constant", 30, 0, 3, 250); /* those within the interval */
    out = sched_alloc_tracker(&arena, &a, NOW, &n);
    ck_assert_uint_eq(n, 3);
    ck_assert_int_eq(out[0].delay, 6 * SEC);
}
END_TEST

/* A client's clock that is a day ahead or behind neither delays nor speeds up the next one. */
START_TEST(test_other_clocks)
{
    static const struct {
        int64_t finished, modify, want_finished, want_modify;
    } cases[] = {
        {NOW, NOW, NOW, NOW},
        {NOW - SEC, NOW, NOW - SEC, NOW},
        {NOW + 86400 * SEC, NOW - SEC, NOW - SEC, NOW - SEC},
        {NOW - 5 * SEC, NOW - SEC, NOW - SEC, NOW - SEC},
        {NOW + 3600 * SEC, NOW + 3600 * SEC, NOW, NOW}, /* it was ours that was set back */
        {0, NOW - SEC, 0, NOW - SEC},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sched_alloc a = {.finished = cases[i].finished,
                                .modify_time = cases[i].modify,
                                .create_time = NOW - 4 * SEC};

        sched_alloc_mend_times(&a, NOW);
        ck_assert_int_eq(a.finished, cases[i].want_finished);
        ck_assert_int_eq(a.modify_time, cases[i].want_modify);
    }
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("alloc");

    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, test_read);
    tcase_add_test(t, test_delays);
    tcase_add_test(t, test_delay_resets);
    tcase_add_test(t, test_attempts);
    tcase_add_test(t, test_not_eligible);
    tcase_add_test(t, test_tracker);
    tcase_add_test(t, test_other_clocks);
    return check_run("sched_alloc", t, NULL);
}
