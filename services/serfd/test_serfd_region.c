/* SPDX-License-Identifier: MPL-2.0 */
/* A region leaves the federation, stays out, comes back: pools of cores on the virtual network. */
#include <errno.h>

#include "check_run.h"
#include "serfd_core_int.h"
#include "sim_pool.h"
#include "test_serfd_util.h"

#define MS    NS_PER_MS
#define SEC   NS_PER_SEC
#define WEST  3 /* nodes 0 to 2 are of west ... */
#define NODES 6 /* ... 3 to 5 of east */

static void by_region(struct serf_options *o)
{
    static struct strbuf meta;
    struct tag tags[] = {{"role", "nomad"}, {"region", o->name[1] < '0' + WEST ? "west" : "east"},
                         {"vsn", "1"},      {"build", "0.1.0"},
                         {"port", "4647"},  {"tags", "0"}}; /* sim_converged() looks at it */

    strbuf_reset(&meta);
    ck_assert_int_eq(tags_put(&meta, tags, ARRAY_LEN(tags)), 0);
    o->meta = span_of(&meta);
}

static void pool(struct sim *sim, uint64_t seed)
{
    sim_init(sim, seed, NODES);
    sim->options = by_region;
    for (unsigned i = 0; i < NODES; i++)
        sim_start(sim, i);
    for (unsigned i = 1; i < NODES; i++)
        sim_join(sim, i, 0);
    for (int i = 0; i < 40 && !sim_converged(sim); i++)
        sim_run(sim, SEC);
    ck_assert(sim_converged(sim));
}

static int order(struct sim *sim, unsigned node, enum serf_event_type type)
{
    struct serf_event ev = {.type = type};

    return sim_order(sim, node, &ev);
}

static void attach(struct sim *sim, unsigned node, unsigned to)
{
    struct serf_event ev = {
        .type = SERF_EV_JOIN, .addr = sim->nodes[to].addr, .id = to, .attach = true};

    ck_assert_int_eq(sim_order(sim, node, &ev), 0);
}

static bool is_west(unsigned node)
{
    return node < WEST;
}

/* Each running node shows the running ones of its region as alive and nobody of the other. */
static bool apart(const struct sim *sim)
{
    for (unsigned i = 0; i < NODES; i++) {
        for (unsigned k = 0; sim->nodes[i].serf && k < NODES; k++) {
            enum serf_status want =
                is_west(i) == is_west(k) && sim->nodes[k].serf ? SERF_ALIVE : SERF_NONE;

            if ((want == SERF_ALIVE || sim->nodes[k].serf) && sim_status(sim, i, k) != want)
                return false;
        }
    }
    return true;
}

/* Nobody of the region ever takes another of it for gone. */
static void run_and_watch(struct sim *sim, int64_t ns)
{
    for (int64_t end = sim->now + ns; sim->now < end;) {
        sim_run(sim, 10 * MS);
        for (unsigned i = 0; i < WEST; i++) {
            for (unsigned k = 0; k < WEST; k++)
                ck_assert_msg(sim_status(sim, i, k) == SERF_ALIVE, "n%u shows n%u as %s", i, k,
                              serf_status_name(sim_status(sim, i, k)));
        }
    }
}

START_TEST(test_leaves_in_order)
{
    struct sim sim;

    pool(&sim, (uint64_t)_i + 1);
    if (_i % 2)
        sim.loss = 0.1;
    ck_assert_int_eq(order(&sim, (unsigned)_i % WEST, SERF_EV_REGION_LEAVE), 0);
    run_and_watch(&sim, 6 * SEC);
    ck_assert_msg(apart(&sim), "seed %d", _i + 1);
    ck_assert_uint_eq(sim.failed_notes, 0);
    ck_assert_int_eq(order(&sim, 1, SERF_EV_REGION_LEAVE), -EALREADY);
    run_and_watch(&sim, 120 * SEC); /* and it stays so */
    ck_assert(apart(&sim));
    ck_assert_uint_eq(sim.failed_notes, 0);
    sim_fini(&sim);
}
END_TEST

/* Neither a join from the others nor one of the configuration brings it back. */
START_TEST(test_stays_out)
{
    struct sim sim;

    pool(&sim, 7);
    ck_assert_int_eq(order(&sim, 0, SERF_EV_REGION_LEAVE), 0);
    sim_run(&sim, 5 * SEC);
    for (unsigned i = 0; i < NODES; i++)
        sim.nodes[i].joins_ok = sim.nodes[i].joins_failed = 0;
    sim_join(&sim, 4, 1);
    sim_join(&sim, 2, 5);
    sim_run(&sim, 5 * SEC);
    ck_assert_uint_eq(sim.nodes[4].joins_failed, 1);
    ck_assert_uint_eq(sim.nodes[2].joins_failed, 1);
    ck_assert(apart(&sim));
    sim_join(&sim, 2, 0); /* its own pool is open */
    sim_run(&sim, 2 * SEC);
    ck_assert_uint_eq(sim.nodes[2].joins_ok, 1);
    sim_fini(&sim);
}
END_TEST

START_TEST(test_comes_back)
{
    struct serf_stats st;
    struct sim sim;

    pool(&sim, (uint64_t)_i + 20);
    ck_assert_int_eq(order(&sim, 0, SERF_EV_REGION_LEAVE), 0);
    sim_run(&sim, 10 * SEC);
    ck_assert(apart(&sim));
    attach(&sim, 1, 4);
    sim_run(&sim, 40 * SEC); /* what gossip loses comes by the next exchange of states */
    ck_assert(sim_converged(&sim));
    serf_stats_get(sim.nodes[2].serf, &st);
    ck_assert_uint_eq(st.epoch, 2);
    ck_assert(!st.region_out);
    ck_assert_uint_eq(sim.failed_notes, 0);
    ck_assert_int_eq(order(&sim, 2, SERF_EV_REGION_LEAVE), 0); /* and once more */
    sim_run(&sim, 10 * SEC);
    ck_assert(apart(&sim));
    sim_fini(&sim);
}
END_TEST

/* A server that was down meanwhile comes back among the others, and leaves them by itself. */
START_TEST(test_one_that_slept)
{
    struct sim sim;

    pool(&sim, (uint64_t)_i + 40);
    sim_crash(&sim, 2);
    sim_run(&sim, 15 * SEC);
    ck_assert_int_eq(order(&sim, 0, SERF_EV_REGION_LEAVE), 0);
    sim_run(&sim, 10 * SEC);
    sim_start(&sim, 2);
    sim_join(&sim, 2, 3); /* those that it knows from before */
    sim_run(&sim, 5 * SEC);
    sim_join(&sim, 2, 0);
    sim_run(&sim, 10 * SEC);
    if (!apart(&sim)) { /* the first try may only have woken it */
        sim_join(&sim, 2, 0);
        sim_run(&sim, 10 * SEC);
    }
    ck_assert_msg(apart(&sim), "seed %d", _i + 40);
    sim_fini(&sim);
}
END_TEST

START_TEST(test_restart_with_the_epoch)
{
    struct serf_event restore = {.type = SERF_EV_REGION_EPOCH, .id = 1};
    struct sim sim;

    pool(&sim, 60);
    ck_assert_int_eq(order(&sim, 0, SERF_EV_REGION_LEAVE), 0);
    sim_run(&sim, 5 * SEC);
    sim_crash(&sim, 1);
    sim_start(&sim, 1);
    ck_assert_int_eq(sim_order(&sim, 1, &restore), 0);
    sim_join(&sim, 1, 5);
    sim_join(&sim, 1, 0);
    sim_run(&sim, 10 * SEC);
    ck_assert_uint_eq(sim.nodes[1].joins_ok, 1);
    ck_assert_uint_eq(sim.nodes[1].joins_failed, 1);
    ck_assert(apart(&sim));
    sim_fini(&sim);
}
END_TEST

/* A server that really goes is believed, also while the region is out. */
START_TEST(test_a_server_leaves_the_region)
{
    struct sim sim;

    pool(&sim, 80);
    ck_assert_int_eq(order(&sim, 0, SERF_EV_REGION_LEAVE), 0);
    sim_run(&sim, 5 * SEC);
    ck_assert_int_eq(order(&sim, 2, SERF_EV_LEAVE), 0);
    sim_run(&sim, 10 * SEC);
    ck_assert_int_eq(sim_status(&sim, 0, 2), SERF_LEFT);
    ck_assert_int_eq(sim_status(&sim, 1, 2), SERF_LEFT);
    sim_crash(&sim, 1);
    sim_run(&sim, 15 * SEC);
    ck_assert_int_eq(sim_status(&sim, 0, 1), SERF_FAILED);
    sim_fini(&sim);
}
END_TEST

/* One that stands still while the others leave is not waited for, and finds out. */
START_TEST(test_one_stands_still)
{
    struct sim sim;

    pool(&sim, (uint64_t)_i + 100);
    sim_stall(&sim, 2, _i % 2 ? 9 * SEC : 3 * SEC);
    ck_assert_int_eq(order(&sim, 0, SERF_EV_REGION_LEAVE), 0);
    sim_run(&sim, 60 * SEC);
    ck_assert_msg(apart(&sim), "seed %d", _i + 100);
    sim_fini(&sim);
}
END_TEST

/* A server that is down is forgotten by the others with its region, and not by the region. */
START_TEST(test_one_is_down)
{
    struct sim sim;

    pool(&sim, (uint64_t)_i + 110);
    sim_crash(&sim, 2);
    sim_run(&sim, 15 * SEC);
    ck_assert_int_eq(order(&sim, 0, SERF_EV_REGION_LEAVE), 0);
    sim_run(&sim, 15 * SEC);
    ck_assert(apart(&sim));
    for (unsigned i = 0; i < NODES; i++) {
        if (i != 2)
            ck_assert_int_eq(sim_status(&sim, i, 2), is_west(i) ? SERF_FAILED : SERF_NONE);
    }
    sim_fini(&sim);
}
END_TEST

/*
 * East is cut off while west leaves: it calls west failed, and hears the goodbye once the link is
 * mended.
 */
START_TEST(test_behind_a_cut_link)
{
    struct sim sim;

    pool(&sim, (uint64_t)_i + 120);
    if (_i % 2)
        sim_crash(&sim, 2);
    for (unsigned i = WEST; i < NODES; i++)
        sim.side[i] = 1;
    sim_run(&sim, 15 * SEC);
    ck_assert_int_eq(sim_status(&sim, 4, 0), SERF_FAILED);
    ck_assert_int_eq(order(&sim, 0, SERF_EV_REGION_LEAVE), 0);
    sim_run(&sim, 15 * SEC);
    ck_assert_int_eq(sim_status(&sim, 0, 4), SERF_NONE);
    sim_heal(&sim);
    for (int i = 0; i < 40 && !apart(&sim); i++)
        sim_run(&sim, 10 * SEC); /* one failed member is dialled every 30 s */
    ck_assert_msg(apart(&sim), "seed %d", _i + 120);
    sim_run(&sim, 60 * SEC);
    ck_assert(apart(&sim));
    if (_i % 2)
        ck_assert_int_eq(sim_status(&sim, 4, 2), SERF_NONE);
    sim_fini(&sim);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("serfd_region");

    tcase_add_loop_test(t, test_leaves_in_order, 0, 12);
    tcase_add_test(t, test_stays_out);
    tcase_add_loop_test(t, test_comes_back, 0, 8);
    tcase_add_loop_test(t, test_one_that_slept, 0, 8);
    tcase_add_test(t, test_restart_with_the_epoch);
    tcase_add_test(t, test_a_server_leaves_the_region);
    tcase_add_loop_test(t, test_one_stands_still, 0, 6);
    tcase_add_loop_test(t, test_one_is_down, 0, 6);
    tcase_add_loop_test(t, test_behind_a_cut_link, 0, 6);
    return check_run("serfd_region", t, NULL);
}
