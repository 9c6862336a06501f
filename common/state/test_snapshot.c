/* SPDX-License-Identifier: MPL-2.0 */
/* Snapshots: the same bytes whatever the store and the batches, and back; damage is found. */
#include <stdio.h>
#include <string.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/prng.h"
#include "check_run.h"
#include "state/rows.h"
#include "state/state_test.h"

/* ---- a random history ---- */

static unsigned big_every = 50; /* one spec of so many is longer than a block */

static void random_job(struct prng *rng, int64_t now, struct strbuf *out)
{
    char id[16], eval[UUID_TEXT_LEN + 1], region[16], groups[3] = "g";
    struct test_job j = {.id = id, .eval_id = eval, .extra = region, .groups = groups};

    snprintf(id, sizeof(id), "job-%u", (unsigned)prng_below(rng, 12));
    snprintf(region, sizeof(region), "r%u", (unsigned)prng_below(rng, 3));
    uuid_from_prng(rng, eval);
    if (prng_below(rng, 4) == 0)
        groups[1] = (char)('a' + prng_below(rng, 3));
    if (prng_below(rng, big_every) == 0)
        j.spec_len = 300000;
    j.periodic = prng_below(rng, 10) == 0;
    j.enforce_index = prng_below(rng, 5) == 0;
    test_job_command(out, &j, now);
}

static void random_command(struct prng *rng, int64_t now, struct strbuf *out)
{
    struct wall_ns at = {now};

    if (prng_below(rng, 3)) {
        random_job(rng, now, out);
    } else if (prng_below(rng, 2)) {
        steppe_JobDeregisterCommand m = {.namespace = "default"};

        snprintf(m.job_id, sizeof(m.job_id), "job-%u", (unsigned)prng_below(rng, 12));
        uuid_from_prng(rng, m.eval_id);
        m.purge = prng_below(rng, 2);
        ck_assert_int_eq(command_encode(out, COMMAND_JOB_DEREGISTER, at, NULL, &m, NULL, 0), 0);
    } else if (prng_below(rng, 2)) {
        steppe_NodeRegisterCommand m = {.secret_id = "s"};
        struct bytes blobs[2] = {{0}, {0}};

        snprintf(m.node_id, sizeof(m.node_id), "%s", test_uuid((unsigned)prng_below(rng, 5)));
        ck_assert_int_eq(command_encode(out, COMMAND_NODE_REGISTER, at, "key", &m, blobs, 2), 0);
    } else {
        steppe_NodeStatusCommand m = {.status = "down", .event = "Node heartbeat missed"};

        snprintf(m.node_id, sizeof(m.node_id), "%s", test_uuid((unsigned)prng_below(rng, 5)));
        ck_assert_int_eq(command_encode(out, COMMAND_NODE_STATUS, at, NULL, &m, NULL, 0), 0);
    }
}

/* The next n entries, as one batch. */
static void history_go_on(struct test_state *ts, struct prng *rng, size_t n)
{
    struct fsm_entry *entries = xcalloc(n, sizeof(*entries));
    struct strbuf *text = xcalloc(n, sizeof(*text));

    for (size_t i = 0; i < n; i++) {
        uint64_t at = ts->index++;

        random_command(rng, (int64_t)(TEST_NOW_S + at) * NS_PER_SEC, &text[i]);
        entries[i] =
            (struct fsm_entry){at + 1, 1 + at / 100, FSM_ENTRY_COMMAND, strbuf_bytes(&text[i])};
        if (at % 97 == 0) {
            entries[i].kind = FSM_ENTRY_CONFIGURATION;
            entries[i].data = bytes_of("west-1,west-2,west-3", 20);
        }
    }
    ck_assert_int_eq(fsm_apply_batch(ts->fsm, entries, n, NULL), 0);
    for (size_t i = 0; i < n; i++)
        strbuf_fini(&text[i]);
    free(text);
    free(entries);
}

/* The same n entries for the same seed, in batches of at most `batch`. */
static void history(struct test_state *ts, uint64_t seed, size_t n, size_t batch)
{
    struct prng rng;

    prng_seed(&rng, seed);
    for (size_t done = 0; done < n; done += MIN(batch, n - done))
        history_go_on(ts, &rng, MIN(batch, n - done));
}

static void require_same(const struct strbuf *a, const struct strbuf *b)
{
    ck_assert_uint_eq(a->len, b->len);
    ck_assert_int_eq(memcmp(a->data, b->data, a->len), 0);
}

START_TEST(test_determinism)
{
    struct strbuf first = STRBUF_INIT;
    static const size_t batches[] = {1, 7, 64, 1000};

    for (size_t i = 0; i < ARRAY_LEN(batches); i++) {
        for (int kind = 0; kind < TEST_KINDS; kind++) {
            struct strbuf dump = STRBUF_INIT;
            struct test_state ts;

            test_state_init(&ts, (enum test_kind)kind);
            history(&ts, (uint64_t)_i, 600, batches[i]);
            test_dump(ts.store, &dump);
            if (!first.data)
                strbuf_add(&first, dump.data, dump.len);
            require_same(&first, &dump);
            strbuf_fini(&dump);
            test_state_fini(&ts);
        }
    }
    ck_assert_uint_gt(first.len, 10000);
    strbuf_fini(&first);
}
END_TEST

/* Feeds the stream in pieces of n bytes. */
static int restore(struct store *store, const char *data, size_t len, size_t n, struct errtext *e)
{
    struct state_restore *r;
    struct snapshot_info info;
    int rc;

    ck_assert_int_eq(state_restore_begin(store, &r), 0);
    for (size_t at = 0; at < len; at += n) {
        rc = state_restore_chunk(r, data + at, MIN(n, len - at), e);
        if (rc) {
            state_restore_abort(r);
            return rc;
        }
    }
    if (len > 100000) {
        ck_assert(state_restore_info(r, &info));
        ck_assert_uint_eq(info.index, 600);
        ck_assert_uint_eq(info.term, 6);
        ck_assert(bytes_eq(info.configuration, bytes_of("west-1,west-2,west-3", 20)));
    }
    return state_restore_commit(r, e);
}

START_TEST(test_round_trip)
{
    static const size_t pieces[] = {1000, 65536, SIZE_MAX / 2};
    struct strbuf dump = STRBUF_INIT, again = STRBUF_INIT, before_dump = STRBUF_INIT;
    struct test_state from, to;
    struct store_txn *before;
    uint64_t index, term;
    struct errtext e;

    big_every = 2;
    test_state_init(&from, (enum test_kind)(_i % 2));
    history(&from, 5, 600, 50);
    test_dump(from.store, &dump);
    ck_assert_uint_gt(dump.len, 2500000); /* more than one piece */
    test_state_init(&to, (enum test_kind)(_i / 2));
    history(&to, 6, 100, 10);
    test_dump(to.store, &before_dump);
    /* Cut off one byte before the end: nothing has changed. */
    ck_assert_int_eq(restore(to.store, dump.data, dump.len - 1, 65536, &e), SNAPSHOT_E_BAD);
    test_dump(to.store, &again);
    require_same(&before_dump, &again);
    strbuf_fini(&before_dump);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        ck_assert_int_eq(store_begin(to.store, false, &before), 0);
        ck_assert_int_eq(restore(to.store, dump.data, dump.len, pieces[i], &e), 0);
        /* Who was reading still sees the old state. */
        ck_assert_int_eq(state_applied(before, &index, &term), 0);
        ck_assert_uint_eq(index, i == 0 ? 100 : 600);
        store_abort(before);
        strbuf_reset(&again);
        test_dump(to.store, &again);
        require_same(&dump, &again);
    }
    ck_assert_int_eq(fsm_reload(to.fsm), 0);
    ck_assert_uint_eq(fsm_applied_index(to.fsm), 600);

    /* And both go on alike. */
    to.index = from.index;
    history(&from, 9, 100, 10);
    history(&to, 9, 100, 10);
    strbuf_reset(&dump);
    strbuf_reset(&again);
    test_dump(from.store, &dump);
    test_dump(to.store, &again);
    require_same(&dump, &again);
    strbuf_fini(&dump);
    strbuf_fini(&again);
    test_state_fini(&from);
    test_state_fini(&to);
}
END_TEST

/* The snapshot is of the moment when it began, whatever is written meanwhile. */
START_TEST(test_moment)
{
    struct strbuf before = STRBUF_INIT, slow = STRBUF_INIT;
    struct state_snapshot *sn;
    struct snapshot_info info;
    struct test_state ts;
    struct bytes block;

    test_state_init(&ts, (enum test_kind)_i);
    history(&ts, 3, 600, 50);
    test_dump(ts.store, &before);
    ck_assert_int_eq(state_snapshot_begin(ts.store, &sn, &info), 0);
    ck_assert_uint_eq(info.index, 600);
    for (;;) {
        ck_assert_int_eq(state_snapshot_next(sn, &block), 0);
        if (!block.len)
            break;
        strbuf_add(&slow, block.data, block.len);
        history(&ts, slow.len, 20, 5);
    }
    state_snapshot_end(sn);
    require_same(&before, &slow);
    strbuf_fini(&before);
    strbuf_fini(&slow);
    test_state_fini(&ts);
}
END_TEST

/* Every cut and every flipped bit is noticed, and the state is as before. */
START_TEST(test_damage)
{
    struct strbuf dump = STRBUF_INIT, mine = STRBUF_INIT, after = STRBUF_INIT;
    struct test_state from, to;
    struct errtext e;
    struct prng rng;

    prng_seed(&rng, 99);
    test_state_init(&from, TEST_MEM);
    history(&from, 8, 60, 10);
    test_dump(from.store, &dump);
    test_state_init(&to, (enum test_kind)_i);
    history(&to, 2, 30, 10);
    test_dump(to.store, &mine);
    for (int i = 0; i < 300; i++) {
        size_t len = i % 2 ? dump.len : (size_t)prng_below(&rng, dump.len);
        char *copy = xmalloc(dump.len);

        memcpy(copy, dump.data, dump.len);
        if (i % 2)
            copy[prng_below(&rng, len)] ^= (char)(1u << prng_below(&rng, 8));
        ck_assert_int_eq(restore(to.store, copy, len, 4096, &e), SNAPSHOT_E_BAD);
        ck_assert(bytes_starts_with(bytes_text(e.text), bytes_text("snapshot: ")));
        free(copy);
    }
    strbuf_addc(&dump, 'x');
    ck_assert_int_eq(restore(to.store, dump.data, dump.len, 4096, &e), SNAPSHOT_E_BAD);
    ck_assert_int_eq(restore(NULL, dump.data, dump.len - 1, 4096, &e), 0);
    test_dump(to.store, &after);
    require_same(&mine, &after);
    strbuf_fini(&dump);
    strbuf_fini(&mine);
    strbuf_fini(&after);
    test_state_fini(&from);
    test_state_fini(&to);
}
END_TEST

/*
 * kill -9 at any moment: what the file says it has applied is there, whole, and nothing else: the
 * same bytes as in a machine that stopped in order at that index.
 */
START_TEST(test_kill)
{
    struct store_lmdb_options o = {.boot_id = TEST_BOOT};
    struct strbuf dump = STRBUF_INIT, want = STRBUF_INIT;
    struct test_state ts, model;
    bool fresh;
    int pipes[2];
    char byte;
    pid_t pid;

    test_state_init(&ts, TEST_LMDB);
    ts.fsm = fsm_free(ts.fsm);
    ts.store = store_free(ts.store);
    o.path = ts.path;
    ck_assert_int_eq(pipe(pipes), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct prng rng;

        if (store_lmdb_open(&o, &ts.store, NULL, NULL) || fsm_new(ts.store, NULL, &ts.fsm))
            _exit(1);
        prng_seed(&rng, 1);
        for (;;) {
            history_go_on(&ts, &rng, 5);
            if (write(pipes[1], "x", 1) != 1)
                _exit(1);
        }
    }
    for (int i = 0; i < 10 + 13 * _i; i++)
        ck_assert_int_eq(read(pipes[0], &byte, 1), 1);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    close(pipes[0]);
    close(pipes[1]);

    ck_assert_int_eq(store_lmdb_open(&o, &ts.store, &fresh, NULL), 0);
    ck_assert(!fresh);
    ck_assert_int_eq(fsm_new(ts.store, NULL, &ts.fsm), 0);
    ck_assert_uint_ge(fsm_applied_index(ts.fsm), 5 * (10 + 13 * (unsigned)_i));
    test_dump(ts.store, &dump);
    test_state_init(&model, TEST_MEM);
    {
        struct prng rng;

        prng_seed(&rng, 1);
        while (model.index < fsm_applied_index(ts.fsm))
            history_go_on(&model, &rng, 5);
    }
    ck_assert_uint_eq(model.index, fsm_applied_index(ts.fsm));
    test_dump(model.store, &want);
    require_same(&want, &dump);
    strbuf_fini(&dump);
    strbuf_fini(&want);
    test_state_fini(&model);
    test_state_fini(&ts);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("snapshot");

    tcase_add_loop_test(tc, test_determinism, 1, 4);
    tcase_add_loop_test(tc, test_round_trip, 0, 4);
    tcase_add_loop_test(tc, test_moment, 0, TEST_KINDS);
    tcase_add_loop_test(tc, test_damage, 0, TEST_KINDS);
    tcase_add_loop_test(tc, test_kill, 0, 5);
    return check_run("snapshot", tc, NULL);
}
