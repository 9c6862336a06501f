/* SPDX-License-Identifier: MPL-2.0 */
/* Serf's rules: statuses, intents, leaving, push/pull, events, queries. Named scenarios. */
#include <errno.h>

#include "check_run.h"
#include "sim_pool.h"
#include "test_serfd_rig.h"
#include "test_serfd_vectors.h"

#define MS NS_PER_MS

/* ---- statuses ---- */

START_TEST(test_left_versus_failed)
{
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "a.west", 1, 10);
    rig_alive(&rig, "b.west", 1, 11);
    rig_alive(&rig, "c.west", 1, 12);
    rig_leave(&rig, "a.west", 5, false);
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_LEAVING);
    rig_dead(&rig, "a.west", 1, "a.west");
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_LEFT);
    rig_dead(&rig, "b.west", 1, "b.west"); /* a goodbye, its intent was lost */
    ck_assert_int_eq(rig_status(&rig, "b.west"), SERF_LEFT);
    rig_dead(&rig, "c.west", 1, "x.west");
    ck_assert_int_eq(rig_status(&rig, "c.west"), SERF_FAILED);
    rig_leave(&rig, "c.west", 6, false); /* force-leave by somebody */
    ck_assert_int_eq(rig_status(&rig, "c.west"), SERF_LEFT);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_old_peer_goodbye)
{
    struct strbuf b = STRBUF_INIT;
    struct rig rig;
    struct serf_event ev = {.type = SERF_EV_PACKET, .addr = rig_addr(99)};

    /* Nomad 0.10.1: leave intent without Prune, then a dead with an empty From. */
    rig_init(&rig, NULL);
    rig_alive(&rig, "srv21.global", 1, 10);
    hex_put(&b, vec_leave_intent_old);
    ev.data = span_of(&b);
    (void)rig_event(&rig, &ev);
    strbuf_reset(&b);
    hex_put(&b, vec_left_empty_from);
    ev.data = span_of(&b);
    (void)rig_event(&rig, &ev);
    ck_assert_int_eq(rig_status(&rig, "srv21.global"), SERF_LEFT);
    strbuf_fini(&b);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_intents_before_members)
{
    struct rig rig;

    rig_init(&rig, NULL);
    rig_leave(&rig, "a.west", 7, false);
    rig_alive(&rig, "a.west", 1, 10);
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_LEAVING);
    rig_join_intent(&rig, "a.west", 8);
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_ALIVE);
    rig_leave(&rig, "b.west", 7, false);
    rig_join_intent(&rig, "b.west", 9); /* the newer word wins */
    rig_leave(&rig, "b.west", 8, false);
    rig_alive(&rig, "b.west", 1, 11);
    ck_assert_int_eq(rig_status(&rig, "b.west"), SERF_ALIVE);
    rig_leave(&rig, "b.west", 9, false); /* not newer than 9 */
    ck_assert_int_eq(rig_status(&rig, "b.west"), SERF_ALIVE);
    rig_leave(&rig, "c.west", 10, false);
    rig_run_for(&rig, 320 * NS_PER_SEC); /* forgotten after 5 minutes */
    rig_alive(&rig, "c.west", 1, 12);
    ck_assert_int_eq(rig_status(&rig, "c.west"), SERF_ALIVE);
    ck_assert_uint_eq(rig_stats(&rig).member_time, 11);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_intent_is_passed_on_unchanged)
{
    const struct rig_seen *m;
    struct strbuf b = STRBUF_INIT;
    struct serf_event ev = {.type = SERF_EV_PACKET, .addr = rig_addr(99)};
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "a.west", 1, 10);
    rig_run_for(&rig, 5 * NS_PER_SEC);
    rig_forget(&rig);
    /* A leave intent with a key that we do not know. */
    hex_put(&b, "080084a54c54696d6505a44e6f6465a6612e77657374a55072756e65c2a35a5a5a07");
    ev.data = span_of(&b);
    (void)rig_event(&rig, &ev);
    (void)rig_event(&rig, &ev); /* a second time: known */
    rig_run_for(&rig, 5 * NS_PER_SEC);
    ck_assert_uint_eq(rig_count(&rig, ML_USER, "a.west"), 4);
    m = rig_last(&rig, ML_USER, "a.west");
    ck_assert_uint_eq(m->raw_len, b.len - 1);
    ck_assert_mem_eq(m->raw, b.data + 1, m->raw_len);
    strbuf_fini(&b);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_leave_intent_about_us_is_refuted)
{
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "a.west", 1, 10);
    rig_leave(&rig, "me.west", 5, false);
    ck_assert_int_eq(rig_status(&rig, "me.west"), SERF_ALIVE);
    rig_run_for(&rig, NS_PER_SEC);
    ck_assert_uint_eq(rig_last(&rig, ML_USER, "me.west")->serf, SERF_MSG_JOIN);
    ck_assert_uint_eq(rig_last(&rig, ML_USER, "me.west")->ltime, 6);
    rig_forget(&rig);
    /* Somebody holds a higher word about us than we ever said: it may be an old leave intent. */
    rig_join_intent(&rig, "me.west", 20);
    rig_run_for(&rig, NS_PER_SEC);
    ck_assert_uint_eq(rig_last(&rig, ML_USER, "me.west")->ltime, 21);
    rig_forget(&rig);
    rig_join_intent(&rig, "me.west", 21); /* our own one comes back: nothing */
    rig_run_for(&rig, 3 * NS_PER_SEC);
    ck_assert_uint_le(rig_count(&rig, ML_USER, "me.west"), 4);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_leaving_but_alive_heals)
{
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "a.west", 1, 10);
    rig_leave(&rig, "a.west", 5, false); /* an old one, and its refutation was lost */
    rig_run_for(&rig, 14 * NS_PER_SEC);
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_LEAVING);
    rig_run_for(&rig, 20 * NS_PER_SEC);
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_ALIVE);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_force_leave)
{
    struct serf_event ev = {.type = SERF_EV_FORCE_LEAVE, .name = "a.west"};
    struct rig rig;

    rig_init(&rig, NULL);
    ck_assert_int_eq(rig_event(&rig, &ev), -ENOENT);
    rig_alive(&rig, "a.west", 1, 10);
    rig_alive(&rig, "b.west", 1, 11);
    rig_dead(&rig, "a.west", 1, "b.west");
    ck_assert_int_eq(rig_event(&rig, &ev), 0);
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_LEFT);
    rig_run_for(&rig, NS_PER_SEC);
    ck_assert_uint_eq(rig_last(&rig, ML_USER, "a.west")->serf, SERF_MSG_LEAVE);
    ck_assert_uint_eq(rig_stats(&rig).left, 1);
    ev.prune = true;
    ck_assert_int_eq(rig_event(&rig, &ev), 0);
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_NONE);
    /* Of one that is alive: it is only erased once it has really gone. */
    ev.name = "b.west";
    ck_assert_int_eq(rig_event(&rig, &ev), 0);
    ck_assert_int_eq(rig_status(&rig, "b.west"), SERF_LEAVING);
    rig_dead(&rig, "b.west", 1, "b.west");
    ck_assert_int_eq(rig_status(&rig, "b.west"), SERF_NONE);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_prune_by_intent)
{
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "a.west", 1, 10);
    rig_dead(&rig, "a.west", 1, "b.west");
    rig_leave(&rig, "a.west", 5, true);
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_NONE);
    ck_assert_uint_eq(rig_stats(&rig).members, 1);
    rig_alive(&rig, "b.west", 1, 11);
    rig_leave(&rig, "b.west", 6, true);
    rig_join_intent(&rig, "b.west", 7); /* it is alive and says so */
    ck_assert_int_eq(rig_status(&rig, "b.west"), SERF_ALIVE);
    rig_dead(&rig, "b.west", 1, "x.west");
    ck_assert_int_eq(rig_status(&rig, "b.west"), SERF_FAILED); /* the old prune is void */
    rig_fini(&rig);
}
END_TEST

static void short_lives(struct serf_options *o)
{
    o->reconnect_timeout = 100 * NS_PER_SEC;
    o->tombstone_timeout = 50 * NS_PER_SEC;
}

START_TEST(test_reap)
{
    struct rig rig;

    rig_init(&rig, short_lives);
    rig_alive(&rig, "a.west", 1, 10);
    rig_alive(&rig, "b.west", 1, 11);
    rig_dead(&rig, "a.west", 1, "x.west");
    rig_leave(&rig, "b.west", 5, false);
    rig_dead(&rig, "b.west", 1, "b.west");
    rig_run_for(&rig, 45 * NS_PER_SEC);
    ck_assert_uint_eq(rig_stats(&rig).members, 3);
    rig_run_for(&rig, 25 * NS_PER_SEC);
    ck_assert_int_eq(rig_status(&rig, "b.west"), SERF_NONE);
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_FAILED);
    ck_assert_uint_ge(rig.dials, 1); /* tried to reach the failed one again */
    ck_assert_uint_eq(rig.last_dial_addr.ip[2], 10);
    rig_run_for(&rig, 60 * NS_PER_SEC);
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_NONE);
    rig_fini(&rig);
}
END_TEST

/* ---- leaving ---- */

START_TEST(test_leave_sequence)
{
    struct serf_event ev = {.type = SERF_EV_LEAVE};
    const struct rig_seen *intent, *dead;
    struct msg_ping ping = {.seq = 5, .node = SPAN_STR("me.west")};
    struct rig rig;
    int64_t t0;

    rig_init(&rig, NULL);
    rig_alive(&rig, "a.west", 1, 10);
    rig_run_for(&rig, 5 * NS_PER_SEC);
    rig_forget(&rig);
    t0 = rig.now;
    ck_assert_int_eq(rig_event(&rig, &ev), 0);
    ck_assert_int_eq(rig_event(&rig, &ev), -EALREADY);
    while (!rig.left) {
        rig_run_for(&rig, 10 * MS);
        ck_assert_int_lt(rig.now - t0, 4 * NS_PER_SEC);
    }
    intent = rig_last(&rig, ML_USER, "me.west");
    dead = rig_last(&rig, ML_DEAD, "me.west");
    ck_assert_uint_eq(intent->serf, SERF_MSG_LEAVE);
    ck_assert_str_eq(dead->from, "me.west");
    /* All four intents went out before the first goodbye, which went out four times. */
    ck_assert_uint_eq(rig_count(&rig, ML_USER, "me.west"), 4);
    ck_assert_uint_eq(rig_count(&rig, ML_DEAD, "me.west"), 4);
    for (size_t i = 0, dead_seen = 0; i < rig.n_seen; i++) {
        dead_seen |= rig.seen[i].type == ML_DEAD;
        ck_assert(!(dead_seen && rig.seen[i].type == ML_USER));
    }
    ck_assert_int_eq(rig_status(&rig, "me.west"), SERF_LEFT);
    rig_alive(&rig, "me.west", 9, 1); /* no refutation any more, but pings are answered */
    ck_assert_uint_eq(rig_inc(&rig, "me.west"), 1);
    rig_message(&rig, ML_PING, &msg_ping_schema, &ping);
    ck_assert_uint_eq(rig_last(&rig, ML_ACK, NULL)->seq, 5);
    rig_fini(&rig);
}
END_TEST

/* Leave while a join is under way: the peer hears of us and must hear the intent too. */
START_TEST(test_leave_during_join)
{
    struct serf_event join, leave = {.type = SERF_EV_LEAVE};
    struct sim sim;

    sim_init(&sim, 11, 2);
    sim_start(&sim, 0);
    sim_start(&sim, 1);
    sim.delay_min = sim.delay_max = 100 * MS;
    join = (struct serf_event){.type = SERF_EV_JOIN, .addr = sim.nodes[0].addr};
    ck_assert_int_eq(sim_order(&sim, 1, &join), 0);
    ck_assert_int_eq(sim_order(&sim, 1, &leave), 0);
    sim_run(&sim, 5 * NS_PER_SEC);
    ck_assert(sim.nodes[1].left);
    ck_assert_int_eq(sim_status(&sim, 0, 1), SERF_LEFT);
    sim_fini(&sim);
}
END_TEST

START_TEST(test_leave_alone_is_quick)
{
    struct serf_event ev = {.type = SERF_EV_LEAVE};
    struct rig rig;

    rig_init(&rig, NULL);
    ck_assert_int_eq(rig_event(&rig, &ev), 0);
    rig_run_for(&rig, 2500 * MS);
    ck_assert_uint_eq(rig.left, 1);
    rig_fini(&rig);
}
END_TEST

/* ---- push/pull ---- */

struct state_node {
    const char *name;
    unsigned host;
    uint32_t inc;
    int64_t state;
    uint8_t vsn[6];
    size_t vsn_len;
    struct span meta;
};

static void put_state(struct strbuf *b, bool join, const struct state_node *nodes, int64_t n,
                      struct span user)
{
    struct msg_state_head head = {n, (int64_t)user.len, join};

    msg_put(b, ML_PUSH_PULL, &msg_state_head_schema, &head);
    for (int64_t i = 0; i < n; i++) {
        struct gossip_addr a = rig_addr(nodes[i].host);
        struct msg_state_node m = {
            .name = SPAN_STR(nodes[i].name),
            .addr = {a.ip, 4},
            .meta = nodes[i].meta.p ? nodes[i].meta : rig_meta(NULL, NULL),
            .vsn = {nodes[i].vsn, nodes[i].vsn_len},
            .inc = nodes[i].inc,
            .state = nodes[i].state,
            .port = a.port,
        };

        mp_put_struct(b, &msg_state_node_schema, &m);
    }
    if (user.len)
        strbuf_add(b, user.p, user.len);
}

#define VSN {1, 5, 2, 2, 5, 4}, 6

static void exchange(struct rig *rig, bool join, const struct state_node *nodes, int64_t n,
                     struct span user)
{
    struct strbuf b = STRBUF_INIT;
    struct serf_event ev = {.type = SERF_EV_STREAM, .id = 1, .addr = rig_addr(99)};

    put_state(&b, join, nodes, n, user);
    ev.data = span_of(&b);
    (void)rig_event(rig, &ev);
    strbuf_fini(&b);
}

START_TEST(test_exchange_merges)
{
    static const struct state_node nodes[] = {
        {"a.west", 10, 3, 0, VSN, {0}},
        {"b.west", 11, 1, 0, VSN, {0}},
        {"me.west", 1, 7, 2, VSN, {0}}, /* dead in their eyes: a restart (6.5) */
    };
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "b.west", 1, 11);
    exchange(&rig, true, nodes, 3, (struct span){NULL, 0});
    ck_assert_uint_gt(rig.answer.len, 0);
    ck_assert_uint_eq((uint8_t)rig.answer.data[0], ML_PUSH_PULL);
    ck_assert_uint_eq(rig_inc(&rig, "a.west"), 3);
    ck_assert_int_eq(rig_status(&rig, "b.west"), SERF_ALIVE);
    ck_assert_uint_eq(rig_inc(&rig, "me.west"), 8); /* refuted */
    rig_fini(&rig);
}
END_TEST

START_TEST(test_exchange_dead_is_not_believed)
{
    static const struct state_node dead[] = {{"a.west", 10, 1, 2, VSN, {0}}};
    static const struct state_node left[] = {{"a.west", 10, 1, 3, VSN, {0}}};
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "a.west", 1, 10);
    exchange(&rig, false, dead, 1, (struct span){NULL, 0});
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_ALIVE);
    rig_run_for(&rig, NS_PER_SEC);
    ck_assert_str_eq(rig_last(&rig, ML_SUSPECT, "a.west")->from, "me.west");
    exchange(&rig, false, left, 1, (struct span){NULL, 0});
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_LEFT); /* its own word */
    rig_fini(&rig);
}
END_TEST

static const struct state_node misfits[] = {
    {"b.west", 11, 1, 0, {1, 5, 9, 2, 5, 4}, 6, {0}}, /* protocol 9 */
    {"b.west", 11, 1, 0, {1, 5, 2, 6, 6, 6}, 6, {0}}, /* a delegate that nobody else speaks */
    {"b.west", 11, 1, 0, {1, 5, 2, 0, 0, 0}, 6, {0}}, {"b.west", 11, 1, 0, {1, 5, 2}, 3, {0}},
    {"b.west", 11, 1, 2, {1, 5, 9, 2, 5, 4}, 6, {0}}, /* the dead count too */
};

START_TEST(test_exchange_versions_refused)
{
    struct state_node nodes[] = {{"a.west", 10, 1, 0, VSN, {0}}, misfits[_i]};
    struct rig rig;

    rig_init(&rig, NULL);
    exchange(&rig, true, nodes, 2, (struct span){NULL, 0});
    ck_assert_uint_gt(rig.answer.len, 0); /* answered before it was checked */
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_NONE);
    ck_assert_ptr_nonnull(strstr(rig.last_note, "speaks no common protocol version"));
    rig_fini(&rig);
}
END_TEST

START_TEST(test_exchange_filter)
{
    struct state_node nodes[] = {{"a.west", 10, 1, 0, VSN, {0}},
                                 {"web1", 11, 1, 0, VSN, {(const uint8_t *)"web", 3}}};
    struct rig rig;

    rig_init(&rig, NULL);
    exchange(&rig, true, nodes, 2, (struct span){NULL, 0});
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_NONE); /* all or nothing on a join */
    ck_assert_ptr_nonnull(strstr(rig.last_note, "member 'web1' is not a server"));
    exchange(&rig, false, nodes, 2, (struct span){NULL, 0});
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_ALIVE);
    ck_assert_int_eq(rig_status(&rig, "web1"), SERF_NONE);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_exchange_user_state)
{
    static const struct state_node nodes[] = {{"a.west", 10, 1, 0, VSN, {0}}};
    struct msg_serf_state st = {.ltime = 30, .event_ltime = 20, .query_ltime = 10};
    struct strbuf user = STRBUF_INIT, map = STRBUF_INIT, left = STRBUF_INIT;
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "b.west", 1, 11);
    rig_dead(&rig, "b.west", 1, "x.west");
    mp_put_map(&map, 2);
    mp_put_str(&map, "a.west");
    mp_put_uint(&map, 4);
    mp_put_str(&map, "b.west");
    mp_put_uint(&map, 5);
    mp_put_list(&left, 1);
    mp_put_str(&left, "b.west");
    st.status_ltimes = span_of(&map);
    st.left_members = span_of(&left);
    msg_put(&user, SERF_MSG_STATE, &msg_serf_state_schema, &st);
    exchange(&rig, true, nodes, 1, span_of(&user));
    ck_assert_uint_eq(rig_stats(&rig).event_time, 20);
    ck_assert_uint_eq(rig_stats(&rig).query_time, 10);
    ck_assert_int_eq(rig_status(&rig, "b.west"), SERF_LEFT);
    /* The 4 held about a.west may be that of a leave intent still on its way to us. */
    rig_leave(&rig, "a.west", 3, false);
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_ALIVE);
    rig_leave(&rig, "a.west", 4, false);
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_LEAVING);
    /* Who answers a join to a pool with a higher clock says again that he is here (pitfall 15). */
    ck_assert_uint_eq(rig_stats(&rig).member_time, 31);
    rig_run_for(&rig, NS_PER_SEC);
    ck_assert_uint_eq(rig_last(&rig, ML_USER, "me.west")->ltime, 30);
    strbuf_fini(&user);
    strbuf_fini(&map);
    strbuf_fini(&left);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_exchange_broken)
{
    static const char *const hex[] = {
        "06", "0683", "0600",
        "09", "0901", "0683a44a6f696ec3a54e6f64657305ac5573657253746174654c656e00"};
    struct rig rig;

    rig_init(&rig, NULL);
    for (size_t i = 0; i < ARRAY_LEN(hex); i++) {
        struct strbuf b = STRBUF_INIT;
        struct serf_event ev = {.type = SERF_EV_STREAM, .id = i, .addr = rig_addr(99)};

        hex_put(&b, hex[i]);
        ev.data = span_of(&b);
        (void)rig_event(&rig, &ev);
        ck_assert_uint_eq(rig.answer.len, 0);
        strbuf_fini(&b);
    }
    rig_fini(&rig);
}
END_TEST

START_TEST(test_stream_ping)
{
    struct msg_ping ping = {.seq = 80, .node = SPAN_STR("me.west")};
    struct serf_event ev = {.type = SERF_EV_STREAM, .id = 1, .addr = rig_addr(99)};
    struct strbuf b = STRBUF_INIT, want = STRBUF_INIT;
    struct rig rig;

    rig_init(&rig, NULL);
    msg_put(&b, ML_PING, &msg_ping_schema, &ping);
    ev.data = span_of(&b);
    (void)rig_event(&rig, &ev);
    hex_put(&want, "0282a75061796c6f6164c0a55365714e6f50"); /* as a real peer accepted it */
    ck_assert_span_eq(span_of(&rig.answer), span_of(&want));
    strbuf_reset(&b);
    ping.node = SPAN_STR("other.west");
    msg_put(&b, ML_PING, &msg_ping_schema, &ping);
    ev.data = span_of(&b);
    (void)rig_event(&rig, &ev);
    ck_assert_uint_eq(rig.answer.len, 0);
    strbuf_fini(&b);
    strbuf_fini(&want);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_join_order)
{
    static const struct state_node nodes[] = {{"a.west", 10, 1, 0, VSN, {0}}};
    struct serf_event join = {.type = SERF_EV_JOIN, .addr = rig_addr(10), .id = 4};
    struct serf_event done = {.type = SERF_EV_DIALED};
    struct strbuf b = STRBUF_INIT;
    struct rig rig;

    rig_init(&rig, NULL);
    ck_assert_int_eq(rig_event(&rig, &join), 0);
    ck_assert_uint_eq(rig.last_dial_type, ML_PUSH_PULL);
    put_state(&b, true, nodes, 1, (struct span){NULL, 0});
    done.id = rig.last_dial;
    done.data = span_of(&b);
    (void)rig_event(&rig, &done);
    ck_assert_uint_eq(rig.joined, 1);
    ck_assert_int_eq(rig_status(&rig, "a.west"), SERF_ALIVE);
    rig_run_for(&rig, NS_PER_SEC);
    ck_assert_uint_eq(rig_last(&rig, ML_USER, "me.west")->serf, SERF_MSG_JOIN);
    ck_assert_int_eq(rig_event(&rig, &join), 0);
    done.id = rig.last_dial;
    done.data = (struct span){NULL, 0};
    done.err = -ECONNREFUSED;
    (void)rig_event(&rig, &done);
    ck_assert_uint_eq(rig.join_errors, 1);
    (void)rig_event(&rig, &done); /* told twice: no harm */
    ck_assert_uint_eq(rig.join_errors, 1);
    strbuf_fini(&b);
    rig_fini(&rig);
}
END_TEST

/* ---- user events and queries ---- */

START_TEST(test_user_events)
{
    struct msg_user_event ev = {3, SPAN_STR("deploy"), SPAN_STR("rev"), false};
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "a.west", 1, 10);
    rig_run_for(&rig, 5 * NS_PER_SEC);
    rig_forget(&rig);
    for (int i = 0; i < 3; i++)
        rig_serf_message(&rig, SERF_MSG_USER_EVENT, &msg_user_event_schema, &ev);
    rig_run_for(&rig, 5 * NS_PER_SEC);
    ck_assert_uint_eq(rig_count(&rig, ML_USER, NULL), 4); /* once into the queue */
    ck_assert_uint_eq(rig_stats(&rig).event_time, 4);
    rig_forget(&rig);
    ev.ltime = 5000;
    rig_serf_message(&rig, SERF_MSG_USER_EVENT, &msg_user_event_schema, &ev);
    ev.ltime = 4000; /* older than the buffer reaches */
    rig_serf_message(&rig, SERF_MSG_USER_EVENT, &msg_user_event_schema, &ev);
    rig_run_for(&rig, 5 * NS_PER_SEC);
    ck_assert_uint_eq(rig_count(&rig, ML_USER, NULL), 4);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_events_bounded)
{
    static char payload[400];
    struct msg_user_event ev = {.payload = {(uint8_t *)payload, sizeof(payload)}};
    struct rig rig;
    char name[16];

    rig_init(&rig, NULL);
    for (uint64_t i = 0; i < 20000; i++) {
        (void)snprintf(name, sizeof(name), "e%llu", (unsigned long long)i);
        ev.name = SPAN_STR(name);
        ev.ltime = 1 + i / 30;
        rig_serf_message(&rig, SERF_MSG_USER_EVENT, &msg_user_event_schema, &ev);
    }
    ck_assert_uint_le(rig_stats(&rig).event_queue, 4096);
    rig_fini(&rig);
}
END_TEST

static void ask(struct rig *rig, uint32_t id, const char *name, uint32_t flags, struct span payload,
                const char *filters_hex)
{
    struct gossip_addr src = rig_addr(60);
    struct strbuf filters = STRBUF_INIT;
    struct msg_query q = {.ltime = 2,
                          .id = id,
                          .flags = flags,
                          .addr = {src.ip, 4},
                          .port = 4648,
                          .name = SPAN_STR(name),
                          .source_node = SPAN_STR("x.west"),
                          .payload = payload,
                          .timeout_ns = NS_PER_SEC};

    if (filters_hex) {
        hex_put(&filters, filters_hex);
        q.filters = span_of(&filters);
    }
    rig_forget(rig);
    rig_serf_message(rig, SERF_MSG_QUERY, &msg_query_schema, &q);
    strbuf_fini(&filters);
}

static unsigned answers(const struct rig *rig, struct msg_query_response *ret)
{
    static struct mp_scratch scratch;
    unsigned n = 0;

    for (size_t i = 0; i < rig->n_seen; i++) {
        const struct rig_seen *m = &rig->seen[i];

        if (m->type != ML_USER || m->serf != SERF_MSG_QUERY_RESPONSE)
            continue;
        n++;
        ck_assert_uint_eq(m->to.ip[2], 60);
        ck_assert(msg_get((struct span){m->raw + 1, m->raw_len - 1}, &msg_query_response_schema,
                          ret, &scratch));
    }
    return n;
}

START_TEST(test_queries)
{
    struct msg_query_response resp;
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "a.west", 1, 10);
    ask(&rig, 1, "_serf_ping", QUERY_FLAG_ACK, (struct span){NULL, 0}, NULL);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert_uint_eq(resp.flags, QUERY_FLAG_ACK);
    ck_assert(span_is(resp.from, "me.west"));
    ask(&rig, 1, "_serf_ping", QUERY_FLAG_ACK, (struct span){NULL, 0}, NULL); /* known */
    ck_assert_uint_eq(answers(&rig, &resp), 0);
    ask(&rig, 2, "_serf_conflict", 0, SPAN_STR("a.west"), NULL);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert_uint_eq(resp.payload.p[0], SERF_MSG_CONFLICT);
    ask(&rig, 3, "_serf_conflict", 0, SPAN_STR("nobody"), NULL);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert_mem_eq(resp.payload.p, "\x06\xc0", 2);
    ask(&rig, 4, "_serf_conflict", 0, SPAN_STR("me.west"), NULL);
    ck_assert_uint_eq(answers(&rig, &resp), 0);
    ask(&rig, 5, "_serf_list-keys", 0, (struct span){NULL, 0}, NULL);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert_uint_eq(resp.payload.p[0], SERF_MSG_KEY_RESPONSE);
    rig_fini(&rig);
}
END_TEST

static const struct {
    const char *hex; /* the list of filters */
    unsigned answers;
} filters[] = {
    {"c0", 1},
    {"90", 1},
    {"91aa0091a76d652e77657374", 1},                       /* names: me.west */
    {"91a90091a66f746865722e", 0},                         /* names: another */
    {"91b50182a445787072a46e6f2e2aa3546167a4726f6c65", 1}, /* role ~ no.* */
    {"91b50182a445787072a46e7a2e2aa3546167a4726f6c65", 0},
    {"91a20700", 0},                                         /* an unknown kind */
    {"91b60182a445787072a5287b39397da3546167a4726f6c65", 0}, /* refused expression */
};

/* What was new at the end of the earlier life is new now; what was heard then is not. */
START_TEST(test_clocks_of_an_earlier_life)
{
    struct serf_event ev = {.type = SERF_EV_CLOCKS, .clocks = {9, 5, 2}};
    struct msg_user_event event = {4, SPAN_STR("deploy"), SPAN_STR("rev"), false};
    struct msg_query_response resp;
    struct rig rig;

    rig_init(&rig, NULL);
    ck_assert_int_eq(rig_event(&rig, &ev), 0);
    ck_assert_uint_eq(rig_stats(&rig).member_time, 9);
    ck_assert_uint_eq(rig_stats(&rig).event_time, 5);
    ck_assert_uint_eq(rig_stats(&rig).query_time, 2);
    rig_alive(&rig, "x.west", 1, 60);
    rig_run_for(&rig, 5 * NS_PER_SEC);
    rig_forget(&rig);
    rig_serf_message(&rig, SERF_MSG_USER_EVENT, &msg_user_event_schema, &event);
    rig_run_for(&rig, 5 * NS_PER_SEC);
    ck_assert_uint_eq(rig_count(&rig, ML_USER, NULL), 0);
    event.ltime = 5;
    rig_serf_message(&rig, SERF_MSG_USER_EVENT, &msg_user_event_schema, &event);
    rig_run_for(&rig, 5 * NS_PER_SEC);
    ck_assert_uint_eq(rig_count(&rig, ML_USER, NULL), 4);
    ask(&rig, 77, "load", QUERY_FLAG_ACK, SPAN_STR(""), NULL); /* with clock value 2 */
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_query_filters)
{
    struct msg_query_response resp;
    struct rig rig;

    rig_init(&rig, NULL);
    ask(&rig, 1, "q", QUERY_FLAG_ACK, (struct span){NULL, 0}, filters[_i].hex);
    ck_assert_uint_eq(answers(&rig, &resp), filters[_i].answers);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_relay_passes_on)
{
    struct strbuf b = STRBUF_INIT;
    struct serf_event ev = {.type = SERF_EV_PACKET, .addr = rig_addr(99)};
    const struct rig_seen *m;
    struct rig rig;

    rig_init(&rig, NULL);
    hex_put(&b, vec_relay);
    ev.data = span_of(&b);
    (void)rig_event(&rig, &ev);
    m = rig_last(&rig, ML_USER, NULL);
    ck_assert_ptr_nonnull(m);
    ck_assert_uint_eq(m->serf, SERF_MSG_QUERY_RESPONSE);
    ck_assert_uint_eq(m->to.ip[2], 77);
    ck_assert_uint_eq(m->to.port, 7946);
    strbuf_fini(&b);
    rig_fini(&rig);
}
END_TEST

/* ---- whole pools ---- */

START_TEST(test_pool_restart_with_lower_incarnation)
{
    struct sim sim;

    sim_init(&sim, 3, 5);
    for (unsigned i = 0; i < 5; i++) {
        sim_start(&sim, i);
        if (i)
            sim_join(&sim, i, 0);
    }
    sim_run(&sim, 5 * NS_PER_SEC);
    sim_crash(&sim, 2);
    sim_run(&sim, 15 * NS_PER_SEC);
    ck_assert_int_eq(sim_status(&sim, 4, 2), SERF_FAILED);
    sim_start(&sim, 2);
    sim_join(&sim, 2, 3);
    sim_run(&sim, 3 * NS_PER_SEC);
    ck_assert(sim_converged(&sim));
    ck_assert_uint_ge(sim.nodes[2].inc, 2);
    sim_fini(&sim);
}
END_TEST

START_TEST(test_pool_force_leave_of_live_is_refuted)
{
    struct serf_event ev = {.type = SERF_EV_FORCE_LEAVE, .prune = true};
    struct sim sim;

    sim_init(&sim, 3, 5);
    for (unsigned i = 0; i < 5; i++) {
        sim_start(&sim, i);
        if (i)
            sim_join(&sim, i, 0);
    }
    sim_run(&sim, 5 * NS_PER_SEC);
    ev.name = sim.nodes[4].name;
    (void)sim_order(&sim, 1, &ev);
    sim_run(&sim, 5 * NS_PER_SEC);
    ck_assert(sim_converged(&sim));
    sim_fini(&sim);
}
END_TEST

START_TEST(test_pool_reconnects_after_partition)
{
    struct sim sim;

    sim_init(&sim, 9, 6);
    for (unsigned i = 0; i < 6; i++) {
        sim_start(&sim, i);
        if (i)
            sim_join(&sim, i, 0);
    }
    sim_run(&sim, 5 * NS_PER_SEC);
    for (unsigned i = 3; i < 6; i++)
        sim.side[i] = 1;
    sim_run(&sim, 120 * NS_PER_SEC);
    ck_assert_int_eq(sim_status(&sim, 0, 5), SERF_FAILED);
    ck_assert_int_eq(sim_status(&sim, 5, 0), SERF_FAILED);
    memset(sim.side, 0, sizeof(sim.side));
    sim_run(&sim, 120 * NS_PER_SEC);
    ck_assert(sim_converged(&sim));
    sim_fini(&sim);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("serf");

    tcase_add_test(t, test_left_versus_failed);
    tcase_add_test(t, test_old_peer_goodbye);
    tcase_add_test(t, test_intents_before_members);
    tcase_add_test(t, test_intent_is_passed_on_unchanged);
    tcase_add_test(t, test_leave_intent_about_us_is_refuted);
    tcase_add_test(t, test_leaving_but_alive_heals);
    tcase_add_test(t, test_force_leave);
    tcase_add_test(t, test_prune_by_intent);
    tcase_add_test(t, test_reap);
    tcase_add_test(t, test_leave_sequence);
    tcase_add_test(t, test_leave_during_join);
    tcase_add_test(t, test_leave_alone_is_quick);
    tcase_add_test(t, test_exchange_merges);
    tcase_add_test(t, test_exchange_dead_is_not_believed);
    tcase_add_loop_test(t, test_exchange_versions_refused, 0, ARRAY_LEN(misfits));
    tcase_add_test(t, test_exchange_filter);
    tcase_add_test(t, test_exchange_user_state);
    tcase_add_test(t, test_exchange_broken);
    tcase_add_test(t, test_stream_ping);
    tcase_add_test(t, test_join_order);
    tcase_add_test(t, test_user_events);
    tcase_add_test(t, test_events_bounded);
    tcase_add_test(t, test_queries);
    tcase_add_test(t, test_clocks_of_an_earlier_life);
    tcase_add_loop_test(t, test_query_filters, 0, ARRAY_LEN(filters));
    tcase_add_test(t, test_relay_passes_on);
    tcase_add_test(t, test_pool_restart_with_lower_incarnation);
    tcase_add_test(t, test_pool_force_leave_of_live_is_refuted);
    tcase_add_test(t, test_pool_reconnects_after_partition);
    return check_run("serfd serf", t, NULL);
}
