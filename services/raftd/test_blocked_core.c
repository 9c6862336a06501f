/* SPDX-License-Identifier: MPL-2.0 */
#include <stdio.h>
#include <string.h>

#include "blocked_core.h"
#include "check_run.h"

#define SECOND INT64_C(1000000000)

static struct blocked *b;
static char woken[256];
static char twin[37];

static void on_wake(void *user, const char *id)
{
    (void)user;
    (void)snprintf(woken + strlen(woken), sizeof(woken) - strlen(woken), "%c", id[0]);
}

static void setup(void)
{
    b = blocked_new(on_wake, NULL);
    woken[0] = 0;
}

static void teardown(void)
{
    b = blocked_free(b);
}

static steppe_Evaluation_ClassEligibilityEntry classes[2] = {{(char *)"good", true},
                                                             {(char *)"bad", false}};

/* The first letter of the id names it. */
static enum blocked_result add(const char *id, const char *job, uint64_t snapshot)
{
    steppe_Evaluation ev = {.id = (char *)id,
                            .namespace = (char *)"default",
                            .job_id = (char *)job,
                            .type = (char *)"service",
                            .class_eligibility = classes,
                            .class_eligibility_count = 2,
                            .snapshot_index = snapshot};

    return blocked_add(b, &ev, twin);
}

START_TEST(by_class)
{
    steppe_Evaluation escaped = {.id = (char *)"e",
                                 .job_id = (char *)"je",
                                 .snapshot_index = 10,
                                 .escaped_computed_class = true};

    ck_assert_int_eq(add("a", "ja", 10), BLOCKED_KEPT);
    ck_assert_int_eq(add("a", "ja", 10), BLOCKED_KEPT);
    ck_assert_str_eq(twin, "");
    ck_assert_int_eq(blocked_add(b, &escaped, twin), BLOCKED_KEPT);
    ck_assert_uint_eq(blocked_count(b), 2);
    ck_assert_uint_eq(blocked_escaped_count(b), 1);
    blocked_unblock(b, "bad", 11, 0);
    ck_assert_str_eq(woken, "e");
    blocked_unblock(b, "good", 12, 0);
    ck_assert_str_eq(woken, "ea");
    ck_assert_uint_eq(blocked_count(b), 0);
    add("n", "jn", 12);
    blocked_unblock(b, "a new one", 13, 0);
    ck_assert_str_eq(woken, "ean");
}
END_TEST

START_TEST(one_per_job)
{
    ck_assert_int_eq(add("a", "j", 10), BLOCKED_KEPT);
    ck_assert_int_eq(add("b", "j", 12), BLOCKED_KEPT);
    ck_assert_str_eq(twin, "a");
    ck_assert_int_eq(add("c", "j", 11), BLOCKED_DUPLICATE);
    ck_assert_str_eq(twin, "c");
    ck_assert_int_eq(add("d", "other", 11), BLOCKED_KEPT);
    ck_assert_str_eq(twin, "");
    ck_assert_uint_eq(blocked_count(b), 2);
    blocked_untrack(b, "default", "j");
    ck_assert_uint_eq(blocked_count(b), 1);
    blocked_untrack(b, "default", "j"); /* no more */
    blocked_remove(b, "d");
    blocked_remove(b, "d");
    ck_assert_uint_eq(blocked_count(b), 0);
}
END_TEST

/* Room came while a scheduler still decided from an older state. */
START_TEST(missed_unblock)
{
    blocked_unblock(b, "good", 20, 0);
    ck_assert_int_eq(add("a", "ja", 19), BLOCKED_WOKEN);
    ck_assert_str_eq(woken, "a");
    ck_assert_int_eq(add("b", "jb", 20), BLOCKED_KEPT);
    blocked_unblock(b, "bad", 30, 0);
    ck_assert_int_eq(add("c", "jc", 25), BLOCKED_KEPT);
    blocked_unblock(b, "unknown", 40, 0);
    ck_assert_str_eq(woken, "acb");
    ck_assert_int_eq(add("d", "jd", 35), BLOCKED_WOKEN);
}
END_TEST

/* It was written after that, but its scheduler had not seen it. */
START_TEST(missed_before_it_was_written)
{
    steppe_Evaluation ev = {
        .id = (char *)"a", .job_id = (char *)"j", .snapshot_index = 19, .create_index = 25};

    blocked_unblock(b, "good", 20, 0);
    ck_assert_int_eq(blocked_add(b, &ev, twin), BLOCKED_WOKEN);
}
END_TEST

START_TEST(pruned)
{
    blocked_unblock(b, "good", 20, SECOND);
    blocked_prune(b, 2 * BLOCKED_FORGET_NS);
    ck_assert_int_eq(add("a", "ja", 19), BLOCKED_WOKEN); /* rather once too often */
    ck_assert_int_eq(add("b", "jb", 20), BLOCKED_KEPT);
}
END_TEST

START_TEST(new_leader)
{
    blocked_start(b, 50);
    ck_assert_int_eq(add("a", "ja", 49), BLOCKED_WOKEN);
    ck_assert_int_eq(add("b", "jb", 50), BLOCKED_KEPT);
    blocked_flush(b);
    ck_assert_uint_eq(blocked_count(b), 0);
    ck_assert_int_eq(add("a", "ja", 1), BLOCKED_KEPT);
}
END_TEST

START_TEST(failed_plans)
{
    steppe_Evaluation ev = {
        .id = (char *)"a", .job_id = (char *)"j", .triggered_by = (char *)"max-plan-attempts"};

    blocked_add(b, &ev, twin);
    add("b", "jb", 1);
    blocked_unblock_failed(b);
    ck_assert_str_eq(woken, "a");
    ck_assert_uint_eq(blocked_count(b), 1);
}
END_TEST

START_TEST(many)
{
    char id[37], job[16];

    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(id, sizeof(id), "x%u", i);
        (void)snprintf(job, sizeof(job), "j%u", i);
        ck_assert_int_eq(add(id, job, 1), BLOCKED_KEPT);
    }
    for (unsigned i = 0; i < 5000; i += 2) {
        (void)snprintf(id, sizeof(id), "x%u", i);
        blocked_remove(b, id);
    }
    ck_assert_uint_eq(blocked_count(b), 2500);
    blocked_unblock(b, "good", 2, 0);
    ck_assert_uint_eq(blocked_count(b), 0);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, by_class);
    tcase_add_test(t, one_per_job);
    tcase_add_test(t, missed_unblock);
    tcase_add_test(t, missed_before_it_was_written);
    tcase_add_test(t, pruned);
    tcase_add_test(t, new_leader);
    tcase_add_test(t, failed_plans);
    tcase_add_test(t, many);
    return check_run("blocked_core", t, NULL);
}
