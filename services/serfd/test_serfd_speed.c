/* SPDX-License-Identifier: MPL-2.0 */
/* What makes detection and joins quick: timers that follow round trips, the ring, words told again.
 */
#include <errno.h>
#include <stdio.h>

#include "check_run.h"
#include "coord.h"
#include "sim_pool.h"
#include "test_serfd_rig.h"

#define MS NS_PER_MS

static void add_peers(struct rig *rig, unsigned n)
{
    char name[16];

    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(name, sizeof(name), "p%u.west", i);
        rig_alive(rig, name, 1, 10 + i);
    }
}

/* One tick; all but p0 answer their pings at once. */
static void tick(struct rig *rig)
{
    struct serf_event ev = {.type = SERF_EV_TICK};
    size_t before = rig->n_seen;

    rig->now = MAX(rig->now, serf_deadline(rig->s).ns);
    (void)rig_event(rig, &ev);
    for (size_t i = before; !rig->auto_ack && i < rig->n_seen; i++) {
        if (rig->seen[i].type == ML_PING && strcmp(rig->seen[i].node, "p0.west") != 0)
            rig_ack(rig, rig->seen[i].seq);
    }
}

static void run_for(struct rig *rig, int64_t ns)
{
    int64_t until = rig->now + ns;

    while (serf_deadline(rig->s).ns <= until)
        tick(rig);
    rig->now = until;
}

/* Runs until such a message about that name goes out. */
static const struct rig_seen *await(struct rig *rig, uint8_t type, const char *name)
{
    const struct rig_seen *m;

    rig_forget(rig);
    while (!(m = rig_last(rig, type, name))) {
        tick(rig);
        ck_assert_int_lt(rig->now, RIG_T0 + 1000 * NS_PER_SEC);
    }
    return m;
}

/* An ack with a coordinate: so it came straight from the member. */
static void direct_ack(struct rig *rig, uint32_t seq)
{
    struct strbuf payload = STRBUF_INIT;
    struct msg_ack m = {.seq = seq};
    struct coord c;

    coord_init(&c);
    coord_put(&payload, &c);
    m.payload = span_of(&payload);
    rig_message(rig, ML_ACK, &msg_ack_schema, &m);
    strbuf_fini(&payload);
}

/* One probe that is answered straight after so long. */
static void answer_after(struct rig *rig, int64_t ns)
{
    uint32_t seq = await(rig, ML_PING, "p0.west")->seq;

    run_for(rig, ns);
    direct_ack(rig, seq);
}

/* How long the next probe waits for its ack before others are asked. */
static int64_t timeout_seen(struct rig *rig)
{
    const struct rig_seen *ping = await(rig, ML_PING, "p0.west");
    uint32_t seq = ping->seq;
    int64_t t0 = rig->now, t;

    t = await(rig, ML_INDIRECT_PING, "p0.west")->at - t0;
    rig_ack(rig, seq); /* through the other: says nothing of the round trip */
    return t;
}

/* p0, which is probed, and p1, which is there to be asked. */
static void rig_of_two(struct rig *rig)
{
    rig_init(rig, NULL);
    add_peers(rig, 2);
    rig_run_for(rig, 3 * NS_PER_SEC);
    rig->auto_ack = false;
}

START_TEST(test_timeout_of_the_near)
{
    struct rig rig;
    int64_t t;

    rig_of_two(&rig); /* both answered at once for 3 s */
    t = timeout_seen(&rig);
    ck_assert_int_ge(t, 124 * MS);
    ck_assert_int_le(t, 126 * MS);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_timeout_of_the_far)
{
    struct rig rig;
    int64_t t;

    rig_init(&rig, NULL);
    rig.auto_ack = false;
    add_peers(&rig, 1);
    for (int i = 0; i < 40; i++)
        answer_after(&rig, 300 * MS);
    rig_alive(&rig, "p1.west", 1, 11);
    t = timeout_seen(&rig);
    ck_assert_int_ge(t, 390 * MS); /* the round trip and 100 ms */
    ck_assert_int_le(t, 460 * MS);
    ck_assert_uint_eq(rig_count(&rig, ML_SUSPECT, NULL), 0);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_timeout_grows_with_the_way)
{
    struct rig rig;
    int64_t t;

    rig_init(&rig, NULL);
    add_peers(&rig, 1);
    rig_run_for(&rig, 10 * NS_PER_SEC);
    rig.auto_ack = false;
    /* The way is 280 ms longer all at once: later than the timeout, but the acks are direct. */
    for (int i = 0; i < 30; i++)
        answer_after(&rig, 280 * MS);
    rig_alive(&rig, "p1.west", 1, 11);
    t = timeout_seen(&rig);
    ck_assert_int_ge(t, 370 * MS);
    ck_assert_int_le(t, 800 * MS);
    ck_assert_int_eq(rig_status(&rig, "p0.west"), SERF_ALIVE);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_a_stop_is_no_long_way)
{
    struct rig rig;
    uint32_t seq;

    rig_of_two(&rig);
    seq = await(&rig, ML_PING, "p0.west")->seq;
    (void)await(&rig, ML_SUSPECT, "p0.west");
    run_for(&rig, 3 * NS_PER_SEC - 400 * MS);
    direct_ack(&rig, seq); /* it was stopped for 3 s, and now answers all that has waited */
    direct_ack(&rig, rig_last(&rig, ML_PING, "p0.west")->seq);
    rig_alive(&rig, "p0.west", 2, 10);
    rig.auto_ack = true;
    rig_run_for(&rig, 10 * NS_PER_SEC);
    rig.auto_ack = false;
    ck_assert_int_eq(rig_status(&rig, "p0.west"), SERF_ALIVE);
    ck_assert_int_le(timeout_seen(&rig), 160 * MS);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_failed_probes_wait_longer)
{
    struct rig rig;
    int64_t first, second;

    rig_of_two(&rig);
    first = timeout_seen(&rig);
    (void)await(&rig, ML_SUSPECT, "p0.west"); /* the second one fails */
    rig_alive(&rig, "p0.west", 2, 10);
    second = timeout_seen(&rig);
    ck_assert_int_ge(second, 2 * first - 2 * MS);
    ck_assert_int_le(second, 8 * first);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_suspicion_of_the_far)
{
    struct rig rig;
    int64_t t0;

    rig_init(&rig, NULL);
    rig.auto_ack = false;
    add_peers(&rig, 1);
    for (int i = 0; i < 40; i++)
        answer_after(&rig, 300 * MS);
    t0 = rig.now;
    rig_suspect(&rig, "p0.west", 1, "p9.west");
    rig_run(&rig, t0 + 4400 * MS); /* 3.4 s, and the word has to get there and back */
    ck_assert_int_eq(rig_status(&rig, "p0.west"), SERF_ALIVE);
    rig_run(&rig, t0 + 4800 * MS);
    ck_assert_int_eq(rig_status(&rig, "p0.west"), SERF_FAILED);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_ring)
{
    struct rig rig;

    /* "me.west" is followed by "p0.west"; when that has gone by "p1.west"; at the end by the first.
     */
    rig_init(&rig, NULL);
    add_peers(&rig, 30);
    rig_alive(&rig, "a.west", 1, 90);
    rig_forget(&rig);
    rig_run_for(&rig, 20 * NS_PER_SEC);
    ck_assert_uint_ge(rig_count(&rig, ML_PING, "p0.west"), 24);
    ck_assert_uint_le(rig_count(&rig, ML_PING, "p1.west"), 4);
    rig_leave(&rig, "p0.west", 50, false);
    rig_dead(&rig, "p0.west", 1, "p0.west");
    rig_forget(&rig);
    rig_run_for(&rig, 20 * NS_PER_SEC);
    ck_assert_uint_ge(rig_count(&rig, ML_PING, "p1.west"), 24);
    ck_assert_uint_eq(rig_count(&rig, ML_PING, "p0.west"), 0);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_who_still_suspects_the_dead_is_told)
{
    const struct rig_seen *dead;
    struct rig rig;

    rig_init(&rig, NULL);
    add_peers(&rig, 4);
    rig_dead(&rig, "p0.west", 1, "p1.west");
    rig_run_for(&rig, 10 * NS_PER_SEC);
    rig_forget(&rig);
    rig_suspect(&rig, "p0.west", 1, "p2.west");
    dead = rig_last(&rig, ML_DEAD, "p0.west");
    ck_assert_ptr_nonnull(dead);
    ck_assert_uint_eq(dead->to.ip[2], 12);
    rig_forget(&rig);
    rig_suspect(&rig, "p0.west", 1, "p0.west"); /* itself, a stranger, an old word: no answer */
    rig_suspect(&rig, "p0.west", 1, "nobody");
    rig_suspect(&rig, "p0.west", 0, "p2.west");
    ck_assert_ptr_null(rig_last(&rig, ML_DEAD, "p0.west"));
    rig_fini(&rig);
}
END_TEST

START_TEST(test_unconfirmed_suspicion_is_repeated)
{
    struct rig rig;
    int64_t t0;

    rig_of_two(&rig);
    add_peers(&rig, 5);
    (void)await(&rig, ML_SUSPECT, "p0.west");
    t0 = rig.now;
    rig.auto_ack = true;
    rig_run(&rig, t0 + 3000 * MS);
    rig_forget(&rig);
    rig_run(&rig, t0 + 3300 * MS);
    ck_assert_uint_eq(rig_count(&rig, ML_SUSPECT, "p0.west"), 0);
    rig_run(&rig, t0 + 4000 * MS); /* 3.4 s are over and nobody has confirmed */
    ck_assert_uint_ge(rig_count(&rig, ML_SUSPECT, "p0.west"), 1);
    ck_assert_str_eq(rig_last(&rig, ML_SUSPECT, "p0.west")->from, "me.west");
    rig_fini(&rig);
}
END_TEST

static void sync_on(struct serf_options *o)
{
    o->sync_on_join = true;
}

START_TEST(test_first_comparison_is_with_the_neighbour)
{
    struct rig rig;

    for (int i = 0; i < 20; i++) {
        rig_init(&rig, sync_on);
        add_peers(&rig, 12);
        rig_run_for(&rig, 10 * MS);
        ck_assert_uint_eq(rig.dials, 0);
        while (rig.dials == 0)
            rig_run_for(&rig, 5 * MS);
        ck_assert_uint_eq(rig.last_dial_type, ML_PUSH_PULL);
        ck_assert_uint_eq(rig.last_dial_addr.ip[2], 10);
        ck_assert_int_le(rig.now, RIG_T0 + 400 * MS);
        rig_run_for(&rig, 2 * NS_PER_SEC);
        ck_assert_uint_eq(rig.dials, 3);
        rig_fini(&rig);
    }
}
END_TEST

static size_t ack_size(struct rig *rig, const char *source)
{
    struct msg_ping ping = {.seq = 7, .node = SPAN_STR("me.west"), .source_node = SPAN_STR(source)};

    rig_forget(rig);
    rig_message(rig, ML_PING, &msg_ping_schema, &ping);
    ck_assert_uint_eq(rig_last(rig, ML_ACK, NULL)->seq, 7);
    return rig_last(rig, ML_ACK, NULL)->raw_len;
}

/* The coordinate is most of an ack: each member is told the first time and each fourth. */
START_TEST(test_acks_are_short)
{
    struct rig rig;

    rig_init(&rig, NULL);
    add_peers(&rig, 2);
    rig_run_for(&rig, 3 * NS_PER_SEC);
    for (int i = 0; i < 12; i++) {
        ck_assert_int_eq(ack_size(&rig, "p0.west") > 100, i % 4 == 0);
        if (i < 6)
            ck_assert_int_eq(ack_size(&rig, "p1.west") > 100, i % 4 == 0);
    }
    for (int i = 0; i < 3; i++)
        ck_assert_uint_gt(ack_size(&rig, "stranger.west"), 100);
    rig_fini(&rig);
}
END_TEST

/* So that an ack that comes late is known as direct, it may come without a coordinate. */
START_TEST(test_late_acks_count_by_where_they_come_from)
{
    struct serf_event ev = {.type = SERF_EV_PACKET};
    struct strbuf b = STRBUF_INIT;
    struct rig rig;

    rig_of_two(&rig);
    for (int i = 0; i < 30; i++) {
        struct msg_ack ack = {.seq = await(&rig, ML_PING, "p0.west")->seq};

        run_for(&rig, 280 * MS);
        strbuf_reset(&b);
        msg_put(&b, ML_ACK, &msg_ack_schema, &ack);
        ev.addr = rig_addr(10);
        ev.data = span_of(&b);
        (void)rig_event(&rig, &ev);
    }
    ck_assert_int_ge(timeout_seen(&rig), 370 * MS);
    strbuf_fini(&b);
    rig_fini(&rig);
}
END_TEST

static void count_heard(struct sim *sim, unsigned node, const char *text)
{
    unsigned *heard = sim->user;

    heard[node] += strncmp(text, "user event name=while-away ", 27) == 0;
}

START_TEST(test_events_come_by_exchange)
{
    struct serf_event ev = {.type = SERF_EV_USER_EVENT, .name = "while-away"};
    static struct sim sim;
    unsigned heard[5] = {0};

    sim_init(&sim, 9, ARRAY_LEN(heard));
    sim.on_note = count_heard;
    sim.user = heard;
    for (unsigned i = 0; i < sim.n_nodes; i++) {
        sim_start(&sim, i);
        if (i > 0)
            sim_join(&sim, i, 0);
    }
    sim_run(&sim, 5 * NS_PER_SEC);
    sim.side[4] = 1;
    sim_run(&sim, 30 * NS_PER_SEC); /* failed: no gossip goes there any more */
    ck_assert_int_eq(sim_order(&sim, 0, &ev), 0);
    sim_run(&sim, 60 * NS_PER_SEC); /* and the others are through with telling it */
    ck_assert_uint_eq(heard[1] + heard[2] + heard[3], 3);
    ck_assert_uint_eq(heard[4], 0);
    sim_heal(&sim);
    sim_run(&sim, 120 * NS_PER_SEC);
    ck_assert(sim_converged(&sim));
    for (unsigned i = 0; i < sim.n_nodes; i++)
        ck_assert_uint_eq(heard[i], 1);
    sim_fini(&sim);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("speed");

    tcase_add_test(t, test_timeout_of_the_near);
    tcase_add_test(t, test_timeout_of_the_far);
    tcase_add_test(t, test_timeout_grows_with_the_way);
    tcase_add_test(t, test_a_stop_is_no_long_way);
    tcase_add_test(t, test_failed_probes_wait_longer);
    tcase_add_test(t, test_suspicion_of_the_far);
    tcase_add_test(t, test_ring);
    tcase_add_test(t, test_who_still_suspects_the_dead_is_told);
    tcase_add_test(t, test_unconfirmed_suspicion_is_repeated);
    tcase_add_test(t, test_first_comparison_is_with_the_neighbour);
    tcase_add_test(t, test_acks_are_short);
    tcase_add_test(t, test_late_acks_count_by_where_they_come_from);
    tcase_add_test(t, test_events_come_by_exchange);
    return check_run("serfd speed", t, NULL);
}
