/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "broker_core.h"
#include "check_run.h"

#define SECOND INT64_C(1000000000)
#define ALL    7u

static struct broker *b;
static unsigned tokens;
static struct broker_delivery d;

static void setup(void)
{
    b = broker_new();
    tokens = 0;
}

static void teardown(void)
{
    b = broker_free(b);
}

static struct broker_eval eval_of(unsigned n, const char *job)
{
    struct broker_eval e = {.namespace = "default",
                            .job_id = job,
                            .type = BROKER_SERVICE,
                            .priority = 50,
                            .create_index = n,
                            .modify_index = n};

    (void)snprintf(e.id, sizeof(e.id), "%08x-0000-4000-8000-000000000000", n);
    return e;
}

static void put(unsigned n, const char *job)
{
    struct broker_eval e = eval_of(n, job);

    ck_assert_int_eq(broker_enqueue(b, &e, false, 0), 0);
}

/* Number of the evaluation that comes, 0 = none. The delivery is in d. */
static unsigned take_by(unsigned types, const char *worker, int64_t now)
{
    char token[BROKER_TOKEN_LEN + 1];

    (void)snprintf(token, sizeof(token), "token-%u", ++tokens);
    if (!broker_dequeue(b, types, worker, token, now, &d))
        return 0;
    return (unsigned)strtoul(d.id, NULL, 16);
}

static unsigned take(void)
{
    return take_by(ALL, "w", 0);
}

static void done(void)
{
    ck_assert_int_eq(broker_ack(b, d.id, d.token, 100, 0), 0);
}

START_TEST(order)
{
    struct broker_eval e = eval_of(5, "e");

    put(3, "a");
    put(1, "b");
    put(2, "c");
    e.priority = 80;
    broker_enqueue(b, &e, false, 0);
    ck_assert_uint_eq(take(), 5);
    ck_assert_uint_eq(take(), 1);
    ck_assert_uint_eq(take(), 2);
    ck_assert_uint_eq(take(), 3);
    ck_assert_uint_eq(take(), 0);
}
END_TEST

START_TEST(types)
{
    struct broker_eval e = eval_of(1, "a");
    enum broker_type t;

    ck_assert(broker_type_parse("system", &t));
    ck_assert_int_eq(t, BROKER_SYSTEM);
    ck_assert(!broker_type_parse("_core", &t));
    ck_assert(!broker_type_parse(NULL, &t));
    e.type = BROKER_BATCH;
    broker_enqueue(b, &e, false, 0);
    ck_assert(!broker_any_ready(b, 1u << BROKER_SERVICE | 1u << BROKER_SYSTEM));
    ck_assert_uint_eq(take_by(1u << BROKER_SERVICE, "w", 0), 0);
    ck_assert_uint_eq(take_by(1u << BROKER_BATCH, "w", 0), 1);
}
END_TEST

START_TEST(one_of_a_job)
{
    struct broker_stats st;

    put(1, "a");
    put(2, "a");
    put(3, "a");
    put(4, "b");
    put(1, "a"); /* again: no effect */
    ck_assert_uint_eq(take(), 1);
    ck_assert_uint_eq(d.wait_index, 1);
    done();
    ck_assert_uint_eq(take(), 2);
    ck_assert_uint_eq(d.wait_index, 100); /* it must see what the first one did */
    ck_assert_uint_eq(take(), 4);
    ck_assert_uint_eq(take(), 0);
    broker_stats(b, &st);
    ck_assert_uint_eq(st.out, 2);
    ck_assert_uint_eq(st.pending, 1);
    ck_assert_uint_eq(st.ready_all, 0);
}
END_TEST

START_TEST(tokens_count)
{
    char token[BROKER_TOKEN_LEN + 1];

    put(1, "a");
    ck_assert_uint_eq(take(), 1);
    memcpy(token, d.token, sizeof(token));
    ck_assert(broker_holds(b, d.id, token));
    ck_assert(!broker_holds(b, d.id, "other"));
    ck_assert(!broker_holds(b, d.id, NULL));
    ck_assert_int_eq(broker_ack(b, d.id, "other", 0, 0), -ENOENT);
    ck_assert_int_eq(broker_nack(b, d.id, token, 0), 0);
    ck_assert(!broker_holds(b, d.id, token));
    ck_assert_int_eq(broker_ack(b, d.id, token, 0, 0), -ENOENT);
}
END_TEST

START_TEST(nack_and_limit)
{
    put(1, "a");
    put(2, "a");
    ck_assert_uint_eq(take(), 1);
    broker_nack(b, d.id, d.token, 0);
    ck_assert_uint_eq(take(), 0);
    broker_tick(b, SECOND - 1);
    ck_assert_uint_eq(take_by(ALL, "w", SECOND - 1), 0);
    broker_tick(b, SECOND);
    ck_assert_uint_eq(take_by(ALL, "w", SECOND), 1);
    broker_nack(b, d.id, d.token, SECOND);
    broker_tick(b, 2 * SECOND);
    ck_assert_uint_eq(take(), 0);
    broker_tick(b, 21 * SECOND);
    ck_assert_uint_eq(take_by(ALL, "w", 21 * SECOND), 1);
    ck_assert_ptr_null(broker_failed(b));
    broker_nack(b, d.id, d.token, 21 * SECOND);
    broker_tick(b, 1000 * SECOND);
    ck_assert_uint_eq(take(), 0); /* the job waits until it is written as failed */
    ck_assert_str_eq(broker_failed(b), d.id);
    ck_assert_ptr_null(broker_failed(b));
    broker_forget(b, d.id);
    ck_assert_uint_eq(take(), 2);
}
END_TEST

START_TEST(lease)
{
    put(1, "a");
    ck_assert_uint_eq(take(), 1);
    broker_tick(b, 59 * SECOND);
    ck_assert(broker_holds(b, d.id, d.token));
    broker_renew(b, d.id, 59 * SECOND);
    broker_tick(b, 118 * SECOND);
    ck_assert(broker_holds(b, d.id, d.token));
    broker_tick(b, 119 * SECOND);
    ck_assert(!broker_holds(b, d.id, d.token));
    broker_tick(b, 120 * SECOND);
    ck_assert_uint_eq(take_by(ALL, "w", 120 * SECOND), 1);
}
END_TEST

START_TEST(delays)
{
    struct broker_eval e = eval_of(1, "a");
    struct broker_stats st;

    e.delay_ns = 30 * SECOND;
    broker_enqueue(b, &e, false, 0);
    put(2, "a"); /* does not wait behind one that is delayed */
    ck_assert_uint_eq(take(), 2);
    broker_tick(b, 30 * SECOND);
    ck_assert_uint_eq(take(), 0);
    done();
    ck_assert_uint_eq(take(), 1);
    e = eval_of(3, "c");
    e.delay_ns = INT64_MAX;
    broker_enqueue(b, &e, false, SECOND);
    broker_forget(b, e.id);
    broker_stats(b, &st);
    ck_assert_uint_eq(st.delayed, 0);
}
END_TEST

/* What a worker that comes back does not hold was lost on the way. */
START_TEST(given_back)
{
    const char *holding[1];
    char first[37];

    put(1, "a");
    put(2, "b");
    put(3, "c");
    ck_assert_uint_eq(take_by(ALL, "node1/0", 0), 1);
    memcpy(first, d.id, sizeof(first));
    ck_assert_uint_eq(take_by(ALL, "node1/0", 0), 2);
    ck_assert_uint_eq(take_by(ALL, "node1/1", 0), 3);
    holding[0] = first;
    ck_assert_uint_eq(broker_give_back(b, "node1/0", holding, 1, 0), 1);
    ck_assert_uint_eq(broker_give_back(b, "", NULL, 0, 0), 0);
    ck_assert_uint_eq(take_by(ALL, "node2/0", 0), 2);
    ck_assert_uint_eq(broker_give_back_all(b, "node1/", 0), 2);
    ck_assert_uint_eq(take_by(ALL, "node2/0", 0), 1);
    ck_assert_uint_eq(take_by(ALL, "node2/0", 0), 3);
}
END_TEST

/* One that kills its scheduler each time fails at last. */
START_TEST(poison)
{
    int64_t now = 0;
    unsigned n = 0;

    put(1, "a");
    while (!broker_failed(b)) {
        if (take_by(ALL, "w", now))
            broker_give_back(b, "w", NULL, 0, now);
        now += SECOND;
        broker_tick(b, now);
        ck_assert_uint_lt(++n, 100);
    }
    ck_assert_uint_gt(n, BROKER_RETURNS_MAX);
}
END_TEST

START_TEST(again_after_ack)
{
    struct broker_eval e = eval_of(1, "a");

    put(1, "a");
    ck_assert_uint_eq(take(), 1);
    e.modify_index = 300;
    broker_enqueue(b, &e, true, 0); /* reblocked, and unblocked at once */
    ck_assert_uint_eq(take(), 0);
    done();
    ck_assert_uint_eq(take(), 1);
    ck_assert_uint_eq(d.wait_index, 300);
    broker_forget(b, d.id); /* canceled while it is out */
    ck_assert(broker_holds(b, d.id, d.token));
    broker_nack(b, d.id, d.token, 0);
    broker_tick(b, 1000 * SECOND);
    ck_assert_uint_eq(take(), 0);
}
END_TEST

START_TEST(flushed)
{
    put(1, "a");
    put(2, "a");
    put(3, "b");
    ck_assert_uint_eq(take(), 1);
    broker_flush(b);
    ck_assert_int_eq(broker_ack(b, d.id, d.token, 0, 0), -ENOENT);
    ck_assert_uint_eq(take(), 0);
    put(1, "a");
    ck_assert_uint_eq(take(), 1);
}
END_TEST

/* Whatever happens: never two of a job at once, and each one is done in the end. */
START_TEST(nothing_is_lost)
{
    struct out {
        struct broker_delivery d;
        unsigned job;
    } out[8];
    unsigned n_out = 0, put_n = 0, done_n = 0;
    unsigned job_of[2001];
    int64_t now = 0;
    struct prng p;
    char job[8];

    prng_seed(&p, (uint64_t)_i + 1);
    while (done_n < 2000) {
        unsigned k;

        now += (int64_t)prng_below(&p, SECOND);
        broker_tick(b, now);
        for (const char *id; (id = broker_failed(b));) { /* as the leader does */
            char copy[37];

            memcpy(copy, id, sizeof(copy));
            broker_forget(b, copy);
            done_n++;
        }
        if (put_n < 2000) {
            job_of[++put_n] = (unsigned)prng_below(&p, 20);
            (void)snprintf(job, sizeof(job), "j%u", job_of[put_n]);
            put(put_n, job);
        }
        if (n_out < 8 && (k = take_by(ALL, "w", now))) {
            for (unsigned i = 0; i < n_out; i++)
                ck_assert(out[i].job != job_of[k] || !broker_holds(b, out[i].d.id, out[i].d.token));
            out[n_out++] = (struct out){d, job_of[k]};
        }
        if (n_out && prng_below(&p, 2)) {
            unsigned i = (unsigned)prng_below(&p, n_out);
            struct out o = out[i];
            int r;

            out[i] = out[--n_out];
            if (prng_below(&p, 10) == 0) {
                r = broker_nack(b, o.d.id, o.d.token, now);
            } else {
                r = broker_ack(b, o.d.id, o.d.token, 0, now);
                done_n += r == 0;
            }
            ck_assert(r == 0 || r == -ENOENT); /* its lease was over */
        }
    }
    ck_assert_uint_eq(take_by(ALL, "w", now + 10000 * SECOND), 0);
}
END_TEST

/* Wall clocks that jump or differ make nobody wait longer than was meant. */
START_TEST(delay)
{
    static const struct {
        int64_t wait, until, create, now, want;
    } cases[] = {
        {0, 0, 100, 100, 0},
        {5, 0, 100, 100, 5},
        {5, 0, 100, 102, 3},
        {5, 0, 100, 106, 0},
        {5, 0, 100, 10, 5},
        {5, 0, 0, 100, 5},
        {0, 130, 100, 110, 20},
        {0, 130, 100, 130, 0},
        {0, 130, 100, 500, 0},
        {0, 130, 100, 10, 30},
        {0, 130, 0, 100, 30},
        {0, 130, 0, 200, 0},
        {0, 90, 100, 80, 0},
        {0, -1, 100, 80, 0},
        {0, INT64_MAX, 1, -5, INT64_MAX - 1},
        {INT64_MAX, 0, 9, 9, INT64_MAX},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ck_assert_int_eq(broker_delay(cases[i].wait, cases[i].until, cases[i].create, cases[i].now),
                         cases[i].want);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, order);
    tcase_add_test(t, types);
    tcase_add_test(t, one_of_a_job);
    tcase_add_test(t, tokens_count);
    tcase_add_test(t, nack_and_limit);
    tcase_add_test(t, lease);
    tcase_add_test(t, delays);
    tcase_add_test(t, given_back);
    tcase_add_test(t, poison);
    tcase_add_test(t, again_after_ack);
    tcase_add_test(t, flushed);
    tcase_add_test(t, delay);
    tcase_add_loop_test(t, nothing_is_lost, 0, 4);
    return check_run("broker_core", t, NULL);
}
