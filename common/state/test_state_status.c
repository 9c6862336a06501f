/* SPDX-License-Identifier: MPL-2.0 */
/* The status page: never torn, never from a dead or replaced writer. Times are given, not taken. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check_run.h"
#include "state/state_status.h"

static char path[] = "/tmp/steppe-status-XXXXXX";

static void setup(void)
{
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    close(fd);
    unlink(path);
}

static void teardown(void)
{
    unlink(path);
}

static struct mono_ns at_ms(int64_t ms)
{
    return (struct mono_ns){(1000000 + ms) * NS_PER_MS};
}

START_TEST(test_life)
{
    struct state_status st = {
        .generation = 42,
        .role = STATE_STATUS_FOLLOWER,
        .term = 7,
        .leader_known = true,
        .leader_addr = "127.0.1.1:4647",
        .last_contact = at_ms(-5),
        .applied = 100,
        .commit = 101,
        .beat = at_ms(0),
    };
    struct state_status_reader *r = state_status_reader_new(path);
    struct state_status_writer *w, *next;
    struct state_status got;
    struct errtext e;

    ck_assert_int_eq(state_status_read(r, at_ms(0), &got), STATE_STATUS_E_ABSENT);
    ck_assert_int_eq(state_status_writer_new(path, &w, &e), 0);
    /* Made, but nothing said yet. */
    ck_assert_int_eq(state_status_read(r, at_ms(100), &got), STATE_STATUS_E_DEAD);
    st.beat = at_ms(110);
    state_status_put(w, &st);
    ck_assert_int_eq(state_status_read(r, at_ms(120), &got), 0);
    ck_assert_uint_eq(got.generation, 42);
    ck_assert_int_eq(got.role, STATE_STATUS_FOLLOWER);
    ck_assert_uint_eq(got.term, 7);
    ck_assert(got.leader_known);
    ck_assert_str_eq(got.leader_addr, "127.0.1.1:4647");
    ck_assert_uint_eq(got.applied, 100);
    ck_assert_uint_eq(got.commit, 101);
    ck_assert_uint_eq(state_status_last_contact_ms(&got, at_ms(120)), 125);
    got.last_contact.ns = 0;
    ck_assert_uint_eq(state_status_last_contact_ms(&got, at_ms(120)), UINT64_C(9223372036854));
    got.role = STATE_STATUS_LEADER;
    ck_assert_uint_eq(state_status_last_contact_ms(&got, at_ms(120)), 0);

    /* Silent for too long, and back. */
    ck_assert_int_eq(state_status_read(r, at_ms(610), &got), 0);
    ck_assert_int_eq(state_status_read(r, at_ms(611), &got), STATE_STATUS_E_DEAD);
    state_status_beat(w, at_ms(620));
    ck_assert_int_eq(state_status_read(r, at_ms(630), &got), 0);
    /* A beat from before a reboot. */
    ck_assert_int_eq(state_status_read(r, at_ms(-3000), &got), STATE_STATUS_E_DEAD);

    /* A new writer in its place: seen within 100 ms. */
    ck_assert_int_eq(state_status_writer_new(path, &next, &e), 0);
    st.generation = 43;
    st.beat = at_ms(650);
    state_status_put(next, &st);
    ck_assert_int_eq(state_status_read(r, at_ms(750), &got), 0);
    ck_assert_uint_eq(got.generation, 43);
    state_status_writer_free(next);
    ck_assert_int_eq(state_status_read(r, at_ms(751), &got), STATE_STATUS_E_DEAD);
    ck_assert_int_eq(state_status_read(r, at_ms(900), &got), STATE_STATUS_E_ABSENT);
    state_status_writer_free(w);
    state_status_reader_free(r);
}
END_TEST

START_TEST(test_junk)
{
    struct state_status_reader *r = state_status_reader_new(path);
    struct state_status got;
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    fputs("short", f);
    fflush(f);
    ck_assert_int_eq(state_status_read(r, at_ms(0), &got), STATE_STATUS_E_ABSENT);
    for (int i = 0; i < 5000; i++)
        fputc('x', f);
    fclose(f);
    ck_assert_int_eq(state_status_read(r, at_ms(200), &got), STATE_STATUS_E_ABSENT);
    state_status_reader_free(r);
}
END_TEST

/* Two threads read while one writes pages whose fields must agree. */
static struct state_status_reader *shared;
static _Atomic bool done;
static _Atomic unsigned reads, torn;

static void *read_loop(void *arg)
{
    (void)arg;
    while (!atomic_load(&done)) {
        struct state_status st;
        char want[32];

        if (state_status_read(shared, at_ms(0), &st))
            continue;
        snprintf(want, sizeof(want), "%llu", (unsigned long long)st.term);
        if (st.applied != st.term || st.commit != st.term || strcmp(want, st.leader_addr) != 0)
            atomic_fetch_add(&torn, 1);
        atomic_fetch_add(&reads, 1);
    }
    return NULL;
}

START_TEST(test_torn)
{
    struct state_status_writer *w;
    struct errtext e;
    pthread_t threads[2];

    shared = state_status_reader_new(path);
    ck_assert_int_eq(state_status_writer_new(path, &w, &e), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_loop, NULL), 0);
    for (uint64_t n = 1; n < 200000 || atomic_load(&reads) < 1000; n++) {
        struct state_status st = {.term = n, .applied = n, .commit = n, .beat = at_ms(0)};

        snprintf(st.leader_addr, sizeof(st.leader_addr), "%llu", (unsigned long long)n);
        state_status_put(w, &st);
    }
    atomic_store(&done, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(torn, 0);
    state_status_writer_free(w);
    state_status_reader_free(shared);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("page");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_life);
    tcase_add_test(tc, test_junk);
    tcase_add_test(tc, test_torn);
    return check_run("state_status", tc, NULL);
}
