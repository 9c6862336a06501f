/* SPDX-License-Identifier: MPL-2.0 */
/* Both stores against the same scenarios and a plain model; what only a file can do. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/prng.h"
#include "check_run.h"
#include "state/state_test.h"

static void put(struct store_txn *t, const char *key, const char *value)
{
    ck_assert_int_eq(store_put(t, STATE_CONFIGS, bytes_text(key), bytes_text(value)), 0);
}

static const char *get(struct store_txn *t, const char *key)
{
    static char buf[64];
    struct bytes v;
    int r = store_get(t, STATE_CONFIGS, bytes_text(key), &v);

    if (r == STORE_E_NOT_FOUND)
        return "(none)";
    ck_assert_int_eq(r, 0);
    snprintf(buf, sizeof(buf), "%.*s", (int)v.len, (const char *)v.data);
    return buf;
}

/* All keys with a prefix, with commas. */
static const char *keys(struct store_txn *t, const char *prefix)
{
    static char buf[256];
    struct bytes key, value;
    struct store_cursor c;
    size_t n = 0;
    int r = store_scan(t, STATE_CONFIGS, bytes_text(prefix), &c);

    buf[0] = 0;
    while (r == 0 && (r = store_next(&c, &key, &value)) == 0)
        n += (size_t)snprintf(buf + n, sizeof(buf) - n, "%.*s,", (int)key.len,
                              (const char *)key.data);
    store_scan_end(&c);
    ck_assert_int_eq(r, STORE_E_NOT_FOUND);
    return buf;
}

START_TEST(test_rows)
{
    struct test_state ts;
    struct store_txn *t, *before;

    test_state_init(&ts, _i);
    ck_assert_int_eq(store_begin(ts.store, true, &t), 0);
    put(t, "b", "2");
    put(t, "a", "1");
    put(t, "ab", "3");
    put(t, "c", "");
    put(t, "b", "two");
    ck_assert_str_eq(get(t, "b"), "two");
    ck_assert_str_eq(get(t, "c"), "");
    ck_assert_int_eq(store_commit(t), 0);

    ck_assert_int_eq(store_begin(ts.store, false, &before), 0);
    ck_assert_str_eq(keys(before, ""), "a,ab,b,c,");
    ck_assert_str_eq(keys(before, "a"), "a,ab,");
    ck_assert_str_eq(keys(before, "x"), "");

    ck_assert_int_eq(store_begin(ts.store, true, &t), 0);
    ck_assert_int_eq(store_del(t, STATE_CONFIGS, bytes_text("b")), 0);
    ck_assert_int_eq(store_del(t, STATE_CONFIGS, bytes_text("b")), STORE_E_NOT_FOUND);
    put(t, "a", "changed");
    ck_assert_str_eq(keys(t, ""), "a,ab,c,");
    ck_assert_str_eq(get(before, "a"), "1");
    ck_assert_int_eq(store_commit(t), 0);

    /* The reader still sees what it saw. */
    ck_assert_str_eq(get(before, "a"), "1");
    ck_assert_str_eq(keys(before, ""), "a,ab,b,c,");
    store_abort(before);

    ck_assert_int_eq(store_begin(ts.store, true, &t), 0);
    ck_assert_int_eq(store_del_prefix(t, STATE_CONFIGS, bytes_text("a")), 0);
    ck_assert_str_eq(keys(t, ""), "c,");
    store_abort(t);
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_str_eq(keys(t, ""), "a,ab,c,");
    store_abort(t);
    test_state_fini(&ts);
}
END_TEST

START_TEST(test_seek)
{
    struct test_state ts;
    struct store_txn *t;
    struct store_cursor c;
    struct bytes key, value;

    test_state_init(&ts, _i);
    ck_assert_int_eq(store_begin(ts.store, true, &t), 0);
    put(t, "p1", "1");
    put(t, "p3", "3");
    put(t, "p5", "5");
    put(t, "q", "6");
    ck_assert_int_eq(store_scan(t, STATE_CONFIGS, bytes_text("p"), &c), 0);
    ck_assert_int_eq(store_seek(&c, bytes_text("p2"), &key, &value), 0);
    ck_assert(bytes_eq(key, bytes_text("p3")));
    ck_assert_int_eq(store_next(&c, &key, &value), 0);
    ck_assert(bytes_eq(value, bytes_text("5")));
    ck_assert_int_eq(store_next(&c, &key, &value), STORE_E_NOT_FOUND);
    ck_assert_int_eq(store_seek(&c, bytes_text("a"), &key, &value), 0);
    ck_assert(bytes_eq(key, bytes_text("p1")));
    ck_assert_int_eq(store_seek(&c, bytes_text("p6"), &key, &value), STORE_E_NOT_FOUND);
    store_scan_end(&c);
    store_abort(t);
    test_state_fini(&ts);
}
END_TEST

START_TEST(test_bounds)
{
    size_t big = 3u << 20;
    uint8_t key[STATE_KEY_MAX + 1];
    uint8_t *value = xmalloc(big);
    struct test_state ts;
    struct store_txn *t;
    struct bytes got;

    test_state_init(&ts, _i);
    memset(key, 'k', sizeof(key));
    memset(value, 'v', big);
    value[big - 1] = 'w';
    ck_assert_int_eq(store_begin(ts.store, true, &t), 0);
    ck_assert_int_lt(store_put(t, STATE_CONFIGS, bytes_of(key, sizeof(key)), bytes_text("x")), 0);
    ck_assert_int_lt(store_put(t, STATE_CONFIGS, bytes_of(key, 0), bytes_text("x")), 0);
    ck_assert_int_eq(
        store_put(t, STATE_CONFIGS, bytes_of(key, STATE_KEY_MAX), bytes_of(value, big)), 0);
    ck_assert_int_eq(store_commit(t), 0);
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(store_get(t, STATE_CONFIGS, bytes_of(key, STATE_KEY_MAX), &got), 0);
    ck_assert(bytes_eq(got, bytes_of(value, big)));
    ck_assert_int_eq(store_get(t, STATE_CONFIGS, bytes_of(key, sizeof(key)), &got),
                     STORE_E_NOT_FOUND);
    store_abort(t);
    free(value);
    test_state_fini(&ts);
}
END_TEST

/* ---- a model: the 8-bit keys that are there, and their value ---- */

struct model {
    int value[256]; /* -1 = not there */
};

static void model_compare(struct store_txn *t, const struct model *m)
{
    struct bytes key, value;
    struct store_cursor c;
    int at = 0;

    ck_assert_int_eq(store_scan(t, STATE_JOBS, (struct bytes){0}, &c), 0);
    for (;;) {
        int r = store_next(&c, &key, &value);

        while (at < 256 && m->value[at] < 0)
            at++;
        if (r == STORE_E_NOT_FOUND)
            break;
        ck_assert_int_eq(r, 0);
        ck_assert_int_lt(at, 256);
        ck_assert_int_eq(key.len, 1);
        ck_assert_int_eq(key.data[0], at);
        ck_assert_int_eq(value.len, sizeof(int));
        ck_assert_mem_eq(value.data, &m->value[at], sizeof(int));
        at++;
    }
    ck_assert_int_eq(at, 256);
    store_scan_end(&c);
}

static void model_change(struct prng *rng, struct store_txn *t, struct model *m)
{
    uint8_t k = (uint8_t)prng_below(rng, 256);
    struct bytes key = bytes_of(&k, 1);
    int v = (int)prng_below(rng, 1000);

    if (prng_below(rng, 3)) {
        m->value[k] = v;
        ck_assert_int_eq(store_put(t, STATE_JOBS, key, bytes_of(&v, sizeof(v))), 0);
        return;
    }
    ck_assert_int_eq(store_del(t, STATE_JOBS, key), m->value[k] < 0 ? STORE_E_NOT_FOUND : 0);
    m->value[k] = -1;
}

/* Transactions that commit or not, with a reader that stays behind for a while. */
START_TEST(test_model)
{
    struct model now, old, trial;
    struct test_state ts;
    struct store_txn *reader = NULL;
    struct prng rng;

    prng_seed(&rng, 7);
    test_state_init(&ts, _i);
    memset(&now, 0xff, sizeof(now));
    for (int round = 0; round < 400; round++) {
        struct store_txn *t;

        if (round % 7 == 0) {
            if (reader)
                model_compare(reader, &old);
            store_abort(reader);
            ck_assert_int_eq(store_begin(ts.store, false, &reader), 0);
            old = now;
        }
        trial = now;
        ck_assert_int_eq(store_begin(ts.store, true, &t), 0);
        for (uint64_t i = prng_below(&rng, 20); i > 0; i--)
            model_change(&rng, t, &trial);
        model_compare(t, &trial);
        if (prng_below(&rng, 4)) {
            ck_assert_int_eq(store_commit(t), 0);
            now = trial;
        } else {
            store_abort(t);
        }
    }
    model_compare(reader, &old);
    store_abort(reader);
    ck_assert_int_eq(store_begin(ts.store, false, &reader), 0);
    model_compare(reader, &now);
    store_abort(reader);
    test_state_fini(&ts);
}
END_TEST

/* ---- files ---- */

/* Closes in order if `orderly`, else as kill -9 does: the process is gone, the file is there. */
static void lmdb_write_in_child(const char *path, const char *boot, const char *group,
                                const char *value, bool orderly)
{
    pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct store_lmdb_options o = {.path = path, .boot_id = boot, .group = group};
        struct store *s;
        struct store_txn *t;

        if (store_lmdb_open(&o, &s, NULL, NULL) || store_begin(s, true, &t) ||
            store_put(t, STATE_CONFIGS, bytes_text("k"), bytes_text(value)) || store_commit(t))
            _exit(1);
        /* and one that is not committed */
        if (store_begin(s, true, &t) ||
            store_put(t, STATE_CONFIGS, bytes_text("k"), bytes_text("half")))
            _exit(1);
        if (orderly) {
            store_abort(t);
            store_free(s);
        }
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

static void lmdb_expect(const char *path, const char *boot, const char *group, bool fresh,
                        const char *value)
{
    struct store_lmdb_options o = {.path = path, .boot_id = boot, .group = group};
    struct store *s;
    struct store_txn *t;
    struct errtext e;
    bool is_fresh;

    ck_assert_int_eq(store_lmdb_open(&o, &s, &is_fresh, &e), 0);
    ck_assert_int_eq(is_fresh, fresh);
    ck_assert_int_eq(store_begin(s, false, &t), 0);
    ck_assert_str_eq(get(t, "k"), value);
    store_abort(t);
    store_free(s);
}

#define OTHER_BOOT "0b6f3a52-0000-4000-8000-000000000002"

START_TEST(test_lmdb_reopen)
{
    struct test_state ts;

    test_state_init(&ts, TEST_LMDB);
    ts.fsm = fsm_free(ts.fsm);
    ts.store = store_free(ts.store);

    /* Killed: what was committed is there. */
    lmdb_write_in_child(ts.path, TEST_BOOT, "west", "one", false);
    lmdb_expect(ts.path, TEST_BOOT, "west", false, "one");
    /* Closed in order: also after a reboot. */
    lmdb_write_in_child(ts.path, TEST_BOOT, "west", "two", true);
    lmdb_expect(ts.path, OTHER_BOOT, "west", false, "two");
    /* Killed, then rebooted: nothing to trust. */
    lmdb_write_in_child(ts.path, TEST_BOOT, "west", "three", false);
    lmdb_expect(ts.path, OTHER_BOOT, "west", true, "(none)");
    /* Another group's. */
    lmdb_write_in_child(ts.path, OTHER_BOOT, "west", "four", true);
    lmdb_expect(ts.path, OTHER_BOOT, "east", true, "(none)");
    test_state_fini(&ts);
}
END_TEST

START_TEST(test_lmdb_garbage)
{
    static const char junk[] = "this is not a database, whatever its name says";
    struct test_state ts;
    char *file;
    FILE *f;

    test_state_init(&ts, TEST_LMDB);
    ts.fsm = fsm_free(ts.fsm);
    ts.store = store_free(ts.store);
    file = xasprintf("%s/data.mdb", ts.path);
    f = fopen(file, "w");
    ck_assert_ptr_nonnull(f);
    for (int i = 0; i < 400; i++)
        fputs(junk, f);
    fclose(f);
    free(file);
    lmdb_expect(ts.path, TEST_BOOT, "", true, "(none)");
    test_state_fini(&ts);
}
END_TEST

START_TEST(test_lmdb_reader)
{
    struct test_state ts;
    struct store_lmdb_options o = {.read_only = true};
    struct store *reader;
    struct store_txn *t;
    uint64_t a, b;
    int status;
    pid_t pid;

    test_state_init(&ts, TEST_LMDB);
    o.path = "/tmp/steppe-state-that-is-not-there";
    ck_assert_int_lt(store_lmdb_open(&o, &reader, NULL, NULL), 0);
    ck_assert_int_eq(store_begin(ts.store, true, &t), 0);
    put(t, "k", "seen");
    ck_assert_int_eq(store_commit(t), 0);
    ck_assert_int_eq(store_generation(ts.store, &a), 0);
    ck_assert_uint_ne(a, 0);

    /* Another process, which dies with a transaction open. */
    o.path = ts.path;
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        if (store_lmdb_open(&o, &reader, NULL, NULL) || store_generation(reader, &b) || a != b ||
            store_begin(reader, true, &t) == 0 || store_begin(reader, false, &t) ||
            strcmp(get(t, "k"), "seen") != 0)
            _exit(1);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(store_maintain(ts.store), 0);
    test_state_fini(&ts);
}
END_TEST

/* A reader's process stays while the writer dies in the middle of a transaction and comes back. */
START_TEST(test_lmdb_survivor)
{
    struct store_lmdb_options o = {.read_only = true};
    int to_reader[2], from_reader[2], status;
    struct test_state ts;
    struct store *s;
    struct store_txn *t;
    char byte = 0;
    pid_t pid;

    test_state_init(&ts, TEST_LMDB);
    ts.fsm = fsm_free(ts.fsm);
    ts.store = store_free(ts.store);
    o.path = ts.path;
    ck_assert_int_eq(pipe(to_reader), 0);
    ck_assert_int_eq(pipe(from_reader), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        if (store_lmdb_open(&o, &s, NULL, NULL) || store_begin(s, false, &t) ||
            strcmp(get(t, "k"), "(none)") != 0)
            _exit(1);
        store_abort(t);
        if (write(from_reader[1], "r", 1) != 1 || read(to_reader[0], &byte, 1) != 1 ||
            store_begin(s, false, &t) || strcmp(get(t, "k"), "two") != 0)
            _exit(1);
        _exit(0);
    }
    ck_assert_int_eq(read(from_reader[0], &byte, 1), 1);
    lmdb_write_in_child(ts.path, TEST_BOOT, "", "one", false);
    lmdb_write_in_child(ts.path, TEST_BOOT, "", "two", false);
    ck_assert_int_eq(write(to_reader[1], "g", 1), 1);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    lmdb_expect(ts.path, TEST_BOOT, "", false, "two");
    test_state_fini(&ts);
}
END_TEST

int main(void)
{
    TCase *both = tcase_create("both"), *lmdb = tcase_create("lmdb");

    tcase_add_loop_test(both, test_rows, 0, TEST_KINDS);
    tcase_add_loop_test(both, test_seek, 0, TEST_KINDS);
    tcase_add_loop_test(both, test_bounds, 0, TEST_KINDS);
    tcase_add_loop_test(both, test_model, 0, TEST_KINDS);
    tcase_add_test(lmdb, test_lmdb_reopen);
    tcase_add_test(lmdb, test_lmdb_garbage);
    tcase_add_test(lmdb, test_lmdb_reader);
    tcase_add_test(lmdb, test_lmdb_survivor);
    return check_run("store", both, lmdb, NULL);
}
