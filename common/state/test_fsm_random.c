/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Random commands: one by one into a store in memory, in batches into LMDB, through a snapshot in
 * between. All must end with the same bytes, and every index must tell the truth.
 */
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "check_run.h"
#include "state/rows.h"
#include "state/state_test.h"

#define COMMANDS_N 1500
#define SEEDS_N    6

static struct prng rng;

static unsigned pick(unsigned n)
{
    return (unsigned)prng_below(&rng, n);
}

static const char *node_id(void)
{
    return test_uuid(0x100 + pick(4));
}

static const char *alloc_id(void)
{
    return test_uuid(0xa00 + pick(40));
}

static const char *eval_id(void)
{
    return test_uuid(1 + pick(60));
}

static const char *deployment_id(void)
{
    return test_uuid(0xd00 + pick(4));
}

static const char *job_id(void)
{
    static const char *const names[] = {"web", "batch", "sys", "other"};

    return names[pick(ARRAY_LEN(names))];
}

static const char *client_status(void)
{
    static const char *const names[] = {"pending", "running", "complete", "failed", "lost"};

    return names[pick(ARRAY_LEN(names))];
}

static void random_job(struct test_state *ts)
{
    const char *id = job_id();
    char extra[16];

    snprintf(extra, sizeof(extra), "x%u", pick(1000));
    test_job_register(ts, &(struct test_job){
                              .id = id,
                              .type = strcmp(id, "sys") == 0     ? "system"
                                      : strcmp(id, "batch") == 0 ? "batch"
                                                                 : "service",
                              .groups = pick(2) ? "g" : "gh",
                              .extra = extra,
                              .eval_id = eval_id(),
                          });
}

static struct test_placement random_placement(void)
{
    return (struct test_placement){
        .id = alloc_id(),
        .node = node_id(),
        .eval = eval_id(),
        .job = job_id(),
        .group = pick(4) ? "g" : "h",
        .client = pick(10) ? NULL : client_status(),
        .desired = pick(10) ? NULL : "stop",
        .previous = pick(3) ? NULL : alloc_id(),
        .deployment = pick(2) ? NULL : deployment_id(),
        .create_index = pick(2) ? 0 : pick(30),
        .version = pick(4),
        .cpu = (int)pick(2) * 100,
        .canary = pick(2),
    };
}

static void random_plan(struct test_state *ts)
{
    struct test_plan p = {0};

    for (unsigned i = 0, n = pick(5); i < n; i++)
        p.place[i] = random_placement();
    for (unsigned i = 0, n = pick(4); i < n; i++)
        p.stop[i] = (struct test_stop){
            .id = alloc_id(),
            .node = node_id(),
            .desired = pick(4) ? "stop" : NULL,
            .description = "not needed",
            .client = pick(4) ? NULL : "lost",
        };
    if (pick(4) == 0)
        p.rejected[0] = node_id();
    if (pick(4) == 0) {
        p.eval_id = eval_id();
        p.eval_job = job_id();
    }
    if (pick(4) == 0) {
        p.deployment = deployment_id();
        p.deployment_job = job_id();
        p.deployment_status = pick(2) ? "running" : "failed";
    }
    test_plan(ts, &p);
}

static void random_node(struct test_state *ts)
{
    static const char *const statuses[] = {"initializing", "ready", "down"};
    const char *status = statuses[pick(3)];

    switch (pick(4)) {
    case 0:
        test_node_register(ts, &(struct test_node){.id = node_id(),
                                                   .status = status,
                                                   .eval_seed = pick(2) ? prng_u64(&rng) : 0});
        break;
    case 1: {
        steppe_NodeDeregisterCommand m = {.eval_seed = prng_u64(&rng)};

        snprintf(m.node_id, sizeof(m.node_id), "%s", node_id());
        if (pick(3) == 0)
            test_apply(ts, COMMAND_NODE_DEREGISTER, &m, NULL, 0);
        break;
    }
    default:
        test_node_turn(ts, node_id(), status, prng_u64(&rng));
    }
}

static void random_command(struct test_state *ts)
{
    static const char *const evals[] = {"pending", "blocked", "complete", "failed"};

    switch (pick(12)) {
    case 0:
        random_job(ts);
        break;
    case 1:
        if (pick(4) == 0)
            test_job_deregister(ts, "default", job_id(), pick(2), eval_id());
        break;
    case 2:
    case 3:
        random_node(ts);
        break;
    case 4:
        test_eval_status(ts, eval_id(), job_id(), evals[pick(4)], "g", (int)pick(5));
        break;
    case 5:
        test_reap(ts, &(struct test_reap){eval_id(), alloc_id(), pick(4) ? NULL : job_id(),
                                          pick(4) ? NULL : node_id(), deployment_id()});
        break;
    case 6:
        test_transition(ts, alloc_id(), job_id(), pick(2) ? eval_id() : NULL);
        break;
    case 7:
        test_client_health(ts, node_id(), alloc_id(), pick(2));
        break;
    case 8:
    case 9:
        test_client_update(ts, node_id(), alloc_id(), client_status(), pick(2) ? "said" : "");
        break;
    default:
        random_plan(ts);
    }
}

static bool at_times(void *user)
{
    (void)user;
    return pick(8) == 0;
}

/* The recorded commands once more, in batches that end anywhere. */
static void replay(struct test_state *ts, const struct strbuf *record, size_t until, size_t *at)
{
    while (*at < until) {
        struct fsm_entry entries[32];
        size_t n = 0, want = 1 + pick(ARRAY_LEN(entries)), begun, done;

        while (n < want && *at < until) {
            uint32_t len = le32_read((const uint8_t *)record->data + *at);

            entries[n++] = (struct fsm_entry){++ts->index, 1, FSM_ENTRY_COMMAND,
                                              bytes_of(record->data + *at + 4, len)};
            *at += 4 + len;
        }
        for (begun = 0; begun < n; begun += done)
            ck_assert_int_eq(
                fsm_apply_until(ts->fsm, entries + begun, n - begun, NULL, at_times, NULL, &done),
                0);
    }
}

static void restore(struct test_state *to, const struct strbuf *dump)
{
    struct state_restore *r;
    struct errtext e;

    ck_assert_int_eq(state_restore_begin(to->store, &r), 0);
    ck_assert_int_eq(state_restore_chunk(r, dump->data, dump->len, &e), 0);
    ck_assert_int_eq(state_restore_commit(r, &e), 0);
    ck_assert_int_eq(fsm_reload(to->fsm), 0);
}

START_TEST(test_random)
{
    struct strbuf record = STRBUF_INIT, half = STRBUF_INIT, one = STRBUF_INIT, two = STRBUF_INIT;
    struct test_state mem, lmdb, restored;
    size_t half_at = 0, at = 0, refused = 0;
    uint64_t half_index = 0;

    prng_seed(&rng, (uint64_t)_i + 1);
    test_state_init(&mem, TEST_MEM);
    test_state_init(&lmdb, TEST_LMDB);
    test_state_init(&restored, TEST_LMDB);
    mem.record = &record;
    for (int i = 0; i < COMMANDS_N; i++) {
        random_command(&mem);
        refused += mem.result.code != 0;
        if (i % 100 == 0)
            test_allocs_check(&mem);
        if (i == COMMANDS_N / 2) {
            test_dump(mem.store, &half);
            half_at = record.len;
            half_index = mem.index;
        }
    }
    ck_assert_uint_lt(refused, COMMANDS_N / 2); /* they do something */
    test_allocs_check(&mem);
    test_dump(mem.store, &one);
    replay(&lmdb, &record, record.len, &at);
    test_allocs_check(&lmdb);
    test_dump(lmdb.store, &two);
    ck_assert_uint_eq(one.len, two.len);
    ck_assert_mem_eq(one.data, two.data, one.len);
    /* a server that was away: a snapshot of half of it, the rest from the log */
    restore(&restored, &half);
    restored.index = half_index;
    replay(&restored, &record, record.len, &half_at);
    strbuf_reset(&two);
    test_dump(restored.store, &two);
    ck_assert_uint_eq(one.len, two.len);
    ck_assert_mem_eq(one.data, two.data, one.len);
    test_state_fini(&mem);
    test_state_fini(&lmdb);
    test_state_fini(&restored);
    strbuf_fini(&record);
    strbuf_fini(&half);
    strbuf_fini(&one);
    strbuf_fini(&two);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("random");

    tcase_add_loop_test(tc, test_random, 0, SEEDS_N);
    return check_run("fsm_random", tc, NULL);
}
