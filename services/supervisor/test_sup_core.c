/* SPDX-License-Identifier: MPL-2.0 */
#include <string.h>

#include "base/prng.h"
#include "check_run.h"
#include "sup_core.h"
#include "sup_lines.h"

/* ---- the core, driven by hand ---- */

static struct sup_core core;
static struct mono_ns now;
static struct sup_out out;

static void setup(void)
{
    now.ns = NS_PER_SEC;
    out.n = 0;
    sup_core_init(&core, SUP_ROLE_SERVER);
}

static void step(enum sup_service_id id, enum sup_event ev)
{
    out.n = 0;
    sup_core_step(&core, id, ev, now, &out);
}

static void pass(int64_t ns)
{
    now.ns += ns;
    out.n = 0;
    sup_core_tick(&core, now, &out);
}

static unsigned effects(enum sup_effect_kind kind, enum sup_service_id id)
{
    unsigned n = 0;

    for (size_t i = 0; i < out.n; i++)
        n += out.effects[i].kind == kind && out.effects[i].id == id;
    return n;
}

static void start_all(void)
{
    out.n = 0;
    sup_core_start(&core, now, &out);
    for (int i = 0; i < SUP_SERVICES_N; i++)
        step((enum sup_service_id)i, SUP_EV_READY);
    for (int i = 0; i < SUP_SERVICES_N; i++)
        step((enum sup_service_id)i, SUP_EV_READY);
    ck_assert(sup_core_all_up(&core));
}

START_TEST(test_start_order)
{
    sup_core_start(&core, now, &out);
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_SERFD), 1);
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_RAFTD), 1);
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_ROUTERD), 1);
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_APID), 0);
    ck_assert_int_eq(core.units[SUP_APID].state, SUP_WAIT);
    ck_assert_int_eq(core.units[SUP_CLIENTD].state, SUP_IDLE); /* not on this node */
    step(SUP_SERFD, SUP_EV_READY);
    ck_assert_uint_eq(out.n, 0);
    step(SUP_ROUTERD, SUP_EV_READY);
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_APID), 1);
    ck_assert(!sup_core_all_up(&core));
    step(SUP_APID, SUP_EV_READY);
    step(SUP_SCHEDD, SUP_EV_READY);
    ck_assert(!sup_core_all_up(&core));
    step(SUP_RAFTD, SUP_EV_READY);
    ck_assert(sup_core_all_up(&core));
    ck_assert_int_eq(sup_core_deadline(&core), -1);
}
END_TEST

START_TEST(test_client_roles)
{
    sup_core_init(&core, SUP_ROLE_CLIENT);
    sup_core_start(&core, now, &out);
    ck_assert_uint_eq(out.n, 1);
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_ROUTERD), 1);
    step(SUP_ROUTERD, SUP_EV_READY);
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_APID), 1);
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_CLIENTD), 1);
    step(SUP_RAFTD, SUP_EV_START); /* not of this node */
    ck_assert_uint_eq(out.n, 0);
}
END_TEST

START_TEST(test_a_missing_need_delays_only)
{
    sup_core_start(&core, now, &out);
    step(SUP_ROUTERD, SUP_EV_EXIT);
    ck_assert_int_eq(core.units[SUP_APID].state, SUP_WAIT);
    pass(SUP_WAIT_MAX);
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_APID), 1);
}
END_TEST

START_TEST(test_backoff_doubles)
{
    int64_t want = SUP_BACKOFF_MIN;

    sup_core_start(&core, now, &out);
    for (unsigned i = 1; i < 15; i++) {
        step(SUP_SERFD, SUP_EV_EXIT);
        ck_assert_int_eq(core.units[SUP_SERFD].state, SUP_BACKOFF);
        ck_assert_uint_eq(core.units[SUP_SERFD].failures, i);
        ck_assert_uint_eq(core.units[SUP_SERFD].restarts, i);
        ck_assert_uint_eq(effects(SUP_DO_REPORT, SUP_SERFD), 1);
        ck_assert_int_eq(core.units[SUP_SERFD].delay, want);
        pass(want - 1);
        ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_SERFD), 0);
        pass(1);
        ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_SERFD), 1);
        want = MIN(want * 2, SUP_BACKOFF_MAX);
    }
    ck_assert_int_eq(want, SUP_BACKOFF_MAX);
    /* Ready alone does not wipe it out, steadiness does. */
    step(SUP_SERFD, SUP_EV_READY);
    pass(SUP_STEADY - 1);
    step(SUP_SERFD, SUP_EV_EXIT);
    ck_assert_int_eq(core.units[SUP_SERFD].delay, SUP_BACKOFF_MAX);
    pass(SUP_BACKOFF_MAX);
    step(SUP_SERFD, SUP_EV_READY);
    pass(SUP_STEADY);
    step(SUP_SERFD, SUP_EV_EXIT);
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_SERFD), 1); /* at once */
    ck_assert_uint_eq(core.units[SUP_SERFD].failures, 0);
}
END_TEST

START_TEST(test_only_the_dead_one_restarts)
{
    start_all();
    step(SUP_ROUTERD, SUP_EV_EXIT); /* apid needs it, and stays */
    pass(SUP_BACKOFF_MIN);
    ck_assert_uint_eq(out.n, 1);
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_ROUTERD), 1);
    ck_assert_int_eq(core.units[SUP_APID].state, SUP_UP);
    ck_assert_uint_eq(core.units[SUP_APID].restarts, 0);
}
END_TEST

START_TEST(test_not_ready_in_time)
{
    sup_core_start(&core, now, &out);
    step(SUP_RAFTD, SUP_EV_READY);
    pass(sup_services[SUP_SERFD].ready_max_s * NS_PER_SEC);
    ck_assert_uint_eq(effects(SUP_DO_KILL, SUP_SERFD), 1);
    ck_assert_uint_eq(effects(SUP_DO_KILL, SUP_RAFTD), 0);
    step(SUP_SERFD, SUP_EV_EXIT);
    ck_assert_int_eq(core.units[SUP_SERFD].state, SUP_BACKOFF);
    ck_assert_uint_eq(core.units[SUP_SERFD].failures, 1);
}
END_TEST

START_TEST(test_stop_start_restart)
{
    start_all();
    step(SUP_APID, SUP_EV_STOP);
    ck_assert_uint_eq(effects(SUP_DO_TERM, SUP_APID), 1);
    pass(SUP_STOP_MAX);
    ck_assert_uint_eq(effects(SUP_DO_KILL, SUP_APID), 1);
    step(SUP_APID, SUP_EV_EXIT);
    ck_assert_int_eq(core.units[SUP_APID].state, SUP_IDLE);
    ck_assert_uint_eq(core.units[SUP_APID].restarts, 0);
    pass(SUP_BACKOFF_MAX);
    ck_assert_uint_eq(out.n, 0); /* stays down */
    step(SUP_APID, SUP_EV_START);
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_APID), 1);
    step(SUP_APID, SUP_EV_READY);
    step(SUP_APID, SUP_EV_RESTART);
    ck_assert_uint_eq(effects(SUP_DO_TERM, SUP_APID), 1);
    step(SUP_APID, SUP_EV_STOP); /* on second thoughts */
    step(SUP_APID, SUP_EV_START);
    step(SUP_APID, SUP_EV_EXIT);
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_APID), 1);
    ck_assert_uint_eq(core.units[SUP_APID].restarts, 1);
    ck_assert_uint_eq(core.units[SUP_APID].failures, 0);
}
END_TEST

START_TEST(test_node_stops_backwards)
{
    static const enum sup_service_id order[] = {SUP_SCHEDD, SUP_APID, SUP_ROUTERD, SUP_RAFTD,
                                                SUP_SERFD};

    start_all();
    out.n = 0;
    sup_core_stop(&core, now, &out);
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        ck_assert_uint_eq(out.n, 1);
        ck_assert_uint_eq(effects(SUP_DO_TERM, order[i]), 1);
        ck_assert(!sup_core_done(&core));
        if (i == 1)
            pass(SUP_STOP_MAX); /* this one needs the hammer */
        if (i == 1)
            ck_assert_uint_eq(effects(SUP_DO_KILL, order[i]), 1);
        step(order[i], SUP_EV_EXIT);
    }
    ck_assert_uint_eq(out.n, 0);
    ck_assert(sup_core_done(&core));
    step(SUP_SERFD, SUP_EV_START);
    ck_assert_uint_eq(out.n, 0);
}
END_TEST

START_TEST(test_death_while_stopping)
{
    start_all();
    now.ns += SUP_STEADY;
    sup_core_stop(&core, now, &out);
    step(SUP_SERFD, SUP_EV_EXIT); /* not its turn yet */
    ck_assert_uint_eq(effects(SUP_DO_SPAWN, SUP_SERFD), 0);
    step(SUP_SCHEDD, SUP_EV_EXIT);
    step(SUP_APID, SUP_EV_EXIT);
    step(SUP_ROUTERD, SUP_EV_EXIT);
    step(SUP_RAFTD, SUP_EV_EXIT);
    ck_assert(sup_core_done(&core));
}
END_TEST

/* Any order of events keeps: a process is spawned only where none is, and a stopped node ends. */
START_TEST(test_random_events)
{
    bool alive[SUP_SERVICES_N] = {false};
    struct prng p;

    prng_seed(&p, (uint64_t)_i + 1);
    sup_core_init(&core, SUP_ROLE_SERVER | SUP_ROLE_CLIENT);
    out.n = 0;
    sup_core_start(&core, now, &out);
    for (unsigned n = 0; n < 5000 && !sup_core_done(&core); n++) {
        for (size_t i = 0; i < out.n; i++) {
            if (out.effects[i].kind == SUP_DO_SPAWN) {
                ck_assert(!alive[out.effects[i].id]);
                alive[out.effects[i].id] = true;
            }
        }
        for (size_t i = 0; i < SUP_SERVICES_N; i++)
            ck_assert_int_eq(alive[i], sup_unit_has_process(&core.units[i]));
        enum sup_service_id id = (enum sup_service_id)prng_below(&p, SUP_SERVICES_N);

        out.n = 0;
        switch (prng_below(&p, 8)) {
        case 0:
            pass((int64_t)prng_below(&p, 10 * NS_PER_SEC));
            break;
        case 1:
            step(id, SUP_EV_STOP);
            break;
        case 2:
            step(id, SUP_EV_RESTART);
            break;
        case 3:
            step(id, SUP_EV_START);
            break;
        case 4:
            if (n > 4000)
                sup_core_stop(&core, now, &out);
            break;
        case 5:
            if (alive[id])
                step(id, SUP_EV_READY);
            break;
        default:
            if (alive[id]) {
                alive[id] = false;
                step(id, SUP_EV_EXIT);
            }
        }
    }
    ck_assert(sup_core_done(&core));
}
END_TEST

/* ---- lines ---- */

static char got[65536];
static unsigned got_n;

static void on_line(void *user, const char *line, size_t len)
{
    (void)user;
    ck_assert_uint_le(len, SUP_LINE_MAX + 1);
    ck_assert_int_eq(line[len - 1], '\n');
    memcpy(got, line, len);
    got[len] = 0;
    got_n++;
}

START_TEST(test_lines)
{
    static const char log[] = "2026-11-23T06:51:03.123Z WARN  serfd: a b=1\n";
    struct sup_lines l = {.service = "serfd"};
    char big[10000];

    sup_lines_feed(&l, log, 10, on_line, NULL);
    ck_assert_uint_eq(got_n, 0);
    sup_lines_feed(&l, log + 10, sizeof(log) - 11, on_line, NULL);
    ck_assert_str_eq(got, log); /* kept as it is */
    sup_lines_feed(&l, "raw\x01\n\n", 6, on_line, NULL);
    ck_assert_uint_eq(got_n, 2);
    ck_assert_str_eq(got + 25, "INFO  serfd: raw?\n");
    memset(big, 'x', sizeof(big));
    sup_lines_feed(&l, big, sizeof(big), on_line, NULL);
    ck_assert_uint_eq(got_n, 2);
    sup_lines_feed(&l, "\nend", 4, on_line, NULL);
    ck_assert_uint_eq(got_n, 3);
    ck_assert_ptr_nonnull(strstr(got, "xxx ...\n"));
    sup_lines_end(&l, on_line, NULL);
    ck_assert_str_eq(got + 25, "INFO  serfd: end\n");
    for (unsigned i = 0; i < 1000; i++)
        sup_lines_feed(&l, "0123456789\n", 11, on_line, NULL);
    ck_assert_uint_eq(l.n, SUP_LINES_KEPT);
    big[1000] = '\n';
    for (unsigned i = 0; i < 200; i++)
        sup_lines_feed(&l, big, 1001, on_line, NULL);
    ck_assert_uint_le(l.bytes, SUP_BYTES_KEPT);
    ck_assert_uint_lt(l.n, SUP_LINES_KEPT);
    sup_lines_fini(&l);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("core");

    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, test_start_order);
    tcase_add_test(t, test_client_roles);
    tcase_add_test(t, test_a_missing_need_delays_only);
    tcase_add_test(t, test_backoff_doubles);
    tcase_add_test(t, test_only_the_dead_one_restarts);
    tcase_add_test(t, test_not_ready_in_time);
    tcase_add_test(t, test_stop_start_restart);
    tcase_add_test(t, test_node_stops_backwards);
    tcase_add_test(t, test_death_while_stopping);
    tcase_add_loop_test(t, test_random_events, 0, 50);
    tcase_add_test(t, test_lines);
    return check_run("supervisor", t, NULL);
}
