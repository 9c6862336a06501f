/* SPDX-License-Identifier: MPL-2.0 */
/* Watches: who fires, when, and that callbacks may do what they like. */
#include <string.h>

#include "check_run.h"
#include "state/state_test.h"

struct waiter {
    struct watch w;
    int fired;
    struct waiter *disarms; /* from its callback */
};

static void fired(struct watch *w)
{
    struct waiter *me = CONTAINER_OF(w, struct waiter, w);

    me->fired++;
    if (me->disarms)
        watch_disarm(&me->disarms->w);
}

static int arm(struct watch_set *s, struct waiter *w, enum state_table table, const char *key,
               uint64_t seen)
{
    struct watch_key k = {.table = table};

    if (key)
        k.key = bytes_text(key);
    return watch_arm(s, &w->w, &k, 1, seen, fired);
}

START_TEST(test_fire)
{
    struct watch_set *s = watch_set_new(10);
    struct waiter table = {0}, row = {0}, other = {0};

    ck_assert_int_eq(arm(s, &table, STATE_JOBS, NULL, 0), 0);
    ck_assert_int_eq(arm(s, &row, STATE_JOBS, "a", 0), 0);
    ck_assert_int_eq(arm(s, &other, STATE_NODES, "a", 0), 0);
    watch_note(s, STATE_JOBS, bytes_text("b"));
    ck_assert_int_eq(table.fired, 0);
    watch_fire(s, 1);
    ck_assert_int_eq(table.fired, 1);
    ck_assert_int_eq(row.fired + other.fired, 0);
    ck_assert_uint_eq(watch_set_count(s), 2);
    watch_note(s, STATE_JOBS, bytes_text("a"));
    watch_note(s, STATE_JOBS, bytes_text("a"));
    watch_fire(s, 2);
    ck_assert_int_eq(row.fired, 1);
    ck_assert_int_eq(table.fired, 1);
    watch_note(s, STATE_NODES, bytes_text("a"));
    watch_forget(s);
    watch_fire(s, 3);
    ck_assert_int_eq(other.fired, 0);
    watch_fire_all(s, 1);
    ck_assert_int_eq(other.fired, 1);
    ck_assert_uint_eq(watch_set_count(s), 0);
    watch_set_free(s);
}
END_TEST

START_TEST(test_stale_and_full)
{
    struct watch_set *s = watch_set_new(2);
    struct waiter w[3] = {0};

    ck_assert_int_eq(arm(s, &w[0], STATE_JOBS, "a", 0), 0);
    watch_fire(s, 5);
    ck_assert_int_eq(arm(s, &w[1], STATE_JOBS, "a", 4), WATCH_E_STALE);
    ck_assert_int_eq(arm(s, &w[1], STATE_JOBS, "a", 5), 0);
    ck_assert_int_eq(arm(s, &w[2], STATE_JOBS, "a", 5), WATCH_E_FULL);
    watch_disarm(&w[0].w);
    watch_disarm(&w[0].w);
    ck_assert_int_eq(arm(s, &w[2], STATE_JOBS, "a", 5), 0);
    watch_note(s, STATE_JOBS, bytes_text("a"));
    watch_fire(s, 6);
    ck_assert_int_eq(w[0].fired, 0);
    ck_assert_int_eq(w[1].fired + w[2].fired, 2);
    watch_set_free(s);
}
END_TEST

/* Several keys, one call; a callback takes the next one off the list. */
START_TEST(test_callbacks)
{
    struct watch_set *s = watch_set_new(10);
    struct waiter a = {0}, b = {0}, c = {0};
    struct watch_key keys[] = {
        {STATE_JOBS, {0}}, {STATE_JOB_SUMMARIES, {0}}, {STATE_JOBS, bytes_text("x")}};

    a.disarms = &b;
    b.disarms = &a;
    ck_assert_int_eq(watch_arm(s, &a.w, keys, 3, 0, fired), 0);
    ck_assert_int_eq(watch_arm(s, &b.w, keys, 3, 0, fired), 0);
    ck_assert_int_eq(watch_arm(s, &c.w, keys, 1, 0, fired), 0);
    watch_note(s, STATE_JOBS, bytes_text("x"));
    watch_note(s, STATE_JOB_SUMMARIES, bytes_text("x"));
    watch_fire(s, 1);
    ck_assert_int_eq(a.fired + b.fired, 1);
    ck_assert_int_eq(c.fired, 1);
    ck_assert_uint_eq(watch_set_count(s), 0);
    watch_set_free(s);
}
END_TEST

static struct watch_set *the_set;

static void rearm(struct watch *w)
{
    struct waiter *me = CONTAINER_OF(w, struct waiter, w);
    struct watch_key key = {STATE_JOBS, {0}};

    me->fired++;
    ck_assert_int_eq(watch_arm(the_set, w, &key, 1, 99, rearm), 0);
}

START_TEST(test_rearm)
{
    struct watch_key key = {STATE_JOBS, {0}};
    struct waiter w = {0};

    the_set = watch_set_new(10);
    ck_assert_int_eq(watch_arm(the_set, &w.w, &key, 1, 0, rearm), 0);
    for (int i = 1; i <= 3; i++) {
        watch_note(the_set, STATE_JOBS, bytes_text("x"));
        watch_fire(the_set, (uint64_t)i);
        ck_assert_int_eq(w.fired, i);
        ck_assert_uint_eq(watch_set_count(the_set), 1);
    }
    the_set = watch_set_free(the_set);
    ck_assert_ptr_null(w.w.set);
}
END_TEST

/* Many, so that the table grows; each fires once. */
START_TEST(test_many)
{
    enum { N = 5000 };
    struct watch_set *s = watch_set_new(N);
    struct waiter *w = xcalloc(N, sizeof(*w));
    int total = 0;

    for (unsigned i = 0; i < N; i++)
        ck_assert_int_eq(arm(s, &w[i], STATE_NODES, test_uuid(i), 0), 0);
    for (unsigned i = 0; i < N; i += 2)
        watch_note(s, STATE_NODES, bytes_text(test_uuid(i)));
    watch_fire(s, 1);
    for (unsigned i = 0; i < N; i++) {
        ck_assert_int_eq(w[i].fired, i % 2 == 0);
        total += w[i].fired;
    }
    ck_assert_uint_eq(watch_set_count(s), (size_t)(N - total));
    watch_set_free(s);
    free(w);
}
END_TEST

/* What the state machine tells. */
START_TEST(test_fsm)
{
    struct test_job j = {.id = "web", .eval_id = test_uuid(1)};
    struct waiter list = {0}, job = {0}, ghost = {0}, evals = {0};
    uint8_t a[STATE_KEY_MAX], b[STATE_KEY_MAX];
    struct watch_key key;
    struct test_state ts;

    test_state_init(&ts, TEST_MEM);
    key = (struct watch_key){STATE_JOBS, state_key_job("", "web", a)};
    ck_assert_int_eq(watch_arm(ts.watches, &job.w, &key, 1, 0, fired), 0);
    key = (struct watch_key){STATE_JOB_EVALS, state_key_job("default", "web", b)};
    ck_assert_int_eq(watch_arm(ts.watches, &evals.w, &key, 1, 0, fired), 0);
    key = (struct watch_key){STATE_JOBS, state_key_job("default", "ghost", b)};
    ck_assert_int_eq(watch_arm(ts.watches, &ghost.w, &key, 1, 0, fired), 0);
    ck_assert_int_eq(arm(ts.watches, &list, STATE_JOBS, NULL, 0), 0);
    test_job_register(&ts, &j);
    ck_assert_int_eq(job.fired, 1);
    ck_assert_int_eq(list.fired, 1);
    ck_assert_int_eq(evals.fired, 1);
    ck_assert_int_eq(ghost.fired, 0);

    /* Refused: nobody hears of it. */
    ck_assert_int_eq(arm(ts.watches, &list, STATE_JOBS, NULL, 1), 0);
    j.enforce_index = true;
    ck_assert_uint_eq(test_job_register(&ts, &j), 500);
    ck_assert_int_eq(list.fired, 1);
    ck_assert_int_eq(fsm_reload(ts.fsm), 0);
    ck_assert_int_eq(list.fired, 2);
    ck_assert_int_eq(ghost.fired, 1);
    test_state_fini(&ts);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("watch");

    tcase_add_test(tc, test_fire);
    tcase_add_test(tc, test_stale_and_full);
    tcase_add_test(tc, test_callbacks);
    tcase_add_test(tc, test_rearm);
    tcase_add_test(tc, test_many);
    tcase_add_test(tc, test_fsm);
    return check_run("watch", tc, NULL);
}
