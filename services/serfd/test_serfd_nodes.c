/* SPDX-License-Identifier: MPL-2.0 */
/* memberlist's rules: alive, suspect, dead, probes, queues. Named scenarios on one core. */
#include <errno.h>

#include "bcast.h"
#include "check_run.h"
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

/* ---- alive ---- */

START_TEST(test_alive_known_and_newer)
{
    struct rig rig;
    uint64_t version;

    rig_init(&rig, NULL);
    version = serf_version(rig.s);
    rig_alive(&rig, "p.west", 5, 10);
    ck_assert_int_eq(rig_status(&rig, "p.west"), SERF_ALIVE);
    ck_assert_uint_gt(serf_version(rig.s), version);
    rig_alive(&rig, "p.west", 4, 10);
    ck_assert_uint_eq(rig_inc(&rig, "p.west"), 5);
    rig_alive(&rig, "p.west", 7, 10);
    ck_assert_uint_eq(rig_inc(&rig, "p.west"), 7);
    rig_run_for(&rig, 3 * NS_PER_SEC);
    ck_assert_ptr_nonnull(rig_last(&rig, ML_ALIVE, "p.west")); /* passed on */
    ck_assert_uint_eq(rig_last(&rig, ML_ALIVE, "p.west")->inc, 7);
    rig_fini(&rig);
}
END_TEST

static const struct {
    const char *key, *value, *note;
} strangers[] = {
    {"role", "web", "member refused: 'p.west' is not a server: tag role is not \"nomad\""},
    {"port", "99999", "member refused: 'p.west' is not a server: tag port is no port number"},
    {"build", "x", "member refused: 'p.west' is not a server: tag build is no version"},
    {"vsn", "", "member refused: 'p.west' is not a server: tag vsn is no number"},
};

START_TEST(test_alive_refused_by_filter)
{
    static const uint8_t vsn[6] = {1, 5, 2, 2, 5, 4};
    struct gossip_addr a = rig_addr(10);
    struct msg_alive m = {1, SPAN_STR("p.west"), {a.ip, 4}, {NULL, 0}, {vsn, 6}, a.port};
    struct rig rig;

    rig_init(&rig, NULL);
    m.meta = rig_meta(strangers[_i].key, strangers[_i].value);
    rig_message(&rig, ML_ALIVE, &msg_alive_schema, &m);
    ck_assert_int_eq(rig_status(&rig, "p.west"), SERF_NONE);
    ck_assert_str_eq(rig.last_note, strangers[_i].note);
    m.meta = rig_meta(NULL, NULL);
    m.vsn.len = 5;
    rig_message(&rig, ML_ALIVE, &msg_alive_schema, &m);
    ck_assert_int_eq(rig_status(&rig, "p.west"), SERF_NONE);
    rig_fini(&rig);
}
END_TEST

static void no_filter(struct serf_options *o)
{
    o->nomad_filter = false;
}

START_TEST(test_alive_bounds)
{
    static const uint8_t vsn[6] = {1, 5, 2, 2, 5, 4}, zero[6] = {0}, turned[6] = {5, 1, 2, 2, 5, 4};
    static char big[600];
    struct gossip_addr a = rig_addr(10);
    struct msg_alive good = {1, SPAN_STR("p"), {a.ip, 4}, {NULL, 0}, {vsn, 6}, a.port}, m;
    struct serf_member_info info;
    struct rig rig;

    rig_init(&rig, no_filter);
    memset(big, 'x', sizeof(big));
#define REFUSED(field, ...)                                                                        \
    m = good;                                                                                      \
    m.field = (struct span){__VA_ARGS__};                                                          \
    rig_message(&rig, ML_ALIVE, &msg_alive_schema, &m);                                            \
    ck_assert_uint_eq(rig_stats(&rig).members, 1)

    REFUSED(node, (const uint8_t *)"", 0);
    REFUSED(node, (const uint8_t *)"a\0b", 3);
    REFUSED(node, (const uint8_t *)big, 256);
    REFUSED(meta, (const uint8_t *)big, 513);
    REFUSED(addr, a.ip, 5);
    REFUSED(vsn, zero, 6);
    REFUSED(vsn, turned, 6);
    m = good;
    m.inc = 0;
    rig_message(&rig, ML_ALIVE, &msg_alive_schema, &m);
    ck_assert_uint_eq(rig_stats(&rig).members, 1);
    /* A short version list is taken without the filter, but never passed on short (see()). */
    m = good;
    m.vsn.len = 3;
    m.port = 0; /* means: the receiver's own */
    rig_message(&rig, ML_ALIVE, &msg_alive_schema, &m);
    ck_assert_int_eq(serf_member_find(rig.s, "p", &info), 0);
    ck_assert_uint_eq(info.addr.port, 4648);
    rig_run_for(&rig, 3 * NS_PER_SEC);
    ck_assert_ptr_nonnull(rig_last(&rig, ML_ALIVE, "p"));
    rig_fini(&rig);
}
END_TEST

START_TEST(test_address_change)
{
    struct serf_member_info info;
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "p.west", 3, 10);
    rig_alive(&rig, "p.west", 9, 11); /* alive: the known address stays */
    ck_assert_int_eq(serf_member_find(rig.s, "p.west", &info), 0);
    ck_assert_uint_eq(info.addr.ip[2], 10);
    ck_assert_ptr_nonnull(strstr(rig.last_note, "two nodes use one name"));
    rig_dead(&rig, "p.west", 3, "x.west"); /* dead: it still stays */
    rig_alive(&rig, "p.west", 9, 11);
    ck_assert_int_eq(rig_status(&rig, "p.west"), SERF_FAILED);
    rig_run_for(&rig, 60 * NS_PER_SEC); /* ... until the dead is forgotten */
    rig_alive(&rig, "p.west", 1, 11);
    ck_assert_int_eq(serf_member_find(rig.s, "p.west", &info), 0);
    ck_assert_uint_eq(info.addr.ip[2], 11);
    ck_assert_int_eq(info.status, SERF_ALIVE);
    rig_dead(&rig, "p.west", 1, "p.west"); /* left: it may move at once, with any incarnation */
    rig_alive(&rig, "p.west", 1, 12);
    ck_assert_int_eq(serf_member_find(rig.s, "p.west", &info), 0);
    ck_assert_uint_eq(info.addr.ip[2], 12);
    rig_alive(&rig, "me.west", 9, 66); /* our name elsewhere: no answer but the log's */
    ck_assert_ptr_nonnull(strstr(rig.last_note, "another node uses the name of this one"));
    ck_assert_uint_eq(rig_inc(&rig, "me.west"), 1);
    rig_fini(&rig);
}
END_TEST

/* ---- refutation ---- */

START_TEST(test_refute)
{
    struct rig rig;

    rig_init(&rig, NULL);
    add_peers(&rig, 1);
    rig_suspect(&rig, "me.west", 50, "p0.west");
    ck_assert_uint_eq(rig_inc(&rig, "me.west"), 51);
    ck_assert_uint_eq(rig_stats(&rig).health_score, 1);
    rig_dead(&rig, "me.west", 51, "p0.west");
    ck_assert_uint_eq(rig_inc(&rig, "me.west"), 52);
    rig_forget(&rig);
    rig_suspect(&rig, "me.west", 40, "p0.west"); /* old: he has missed the refutation */
    ck_assert_uint_eq(rig_inc(&rig, "me.west"), 52);
    ck_assert_uint_eq(rig_last(&rig, ML_ALIVE, "me.west")->inc, 52);
    ck_assert_uint_eq(rig_last(&rig, ML_ALIVE, "me.west")->to.ip[2], 10);
    rig_alive(&rig, "me.west", 52, 1); /* our own word */
    ck_assert_uint_eq(rig_inc(&rig, "me.west"), 52);
    rig_alive(&rig, "me.west", 60, 1); /* of an earlier life */
    ck_assert_uint_eq(rig_inc(&rig, "me.west"), 61);
    rig_suspect(&rig, "me.west", UINT32_MAX, "p0.west"); /* does not wrap */
    ck_assert_uint_eq(rig_inc(&rig, "me.west"), UINT32_MAX);
    ck_assert_int_eq(rig_status(&rig, "me.west"), SERF_ALIVE);
    rig_run_for(&rig, 1 * NS_PER_SEC);
    ck_assert_uint_eq(rig_last(&rig, ML_ALIVE, "me.west")->inc, UINT32_MAX);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_new_tags_are_news)
{
    struct gossip_addr addr = rig_addr(10);
    static const uint8_t vsn[] = {1, 5, 2, 2, 5, 4};
    struct msg_alive m = {.inc = 2,
                          .node = SPAN_STR("p0.west"),
                          .addr = {addr.ip, addr.ip_len},
                          .vsn = {vsn, sizeof(vsn)},
                          .port = addr.port};
    struct rig rig;
    uint64_t version;

    rig_init(&rig, NULL);
    add_peers(&rig, 1);
    version = serf_version(rig.s);
    m.meta = rig_meta(NULL, NULL);
    rig_message(&rig, ML_ALIVE, &msg_alive_schema, &m);
    ck_assert_uint_eq(serf_version(rig.s), version); /* the same tags */
    m.inc = 3;
    m.meta = rig_meta("dc", "dc2");
    rig_message(&rig, ML_ALIVE, &msg_alive_schema, &m);
    ck_assert_uint_gt(serf_version(rig.s), version);
    rig_fini(&rig);
}
END_TEST

/* ---- suspicion (section 7.3: measured 24.00, 11.38 and 4.00 s) ---- */

static const struct {
    unsigned confirmations;
    int64_t after_ms;
} suspicions[] = {{0, 24000}, {1, 11381}, {2, 4000}};

/* memberlist's LAN interval, with which the figures were measured. */
static void lan_interval(struct serf_options *o)
{
    o->probe_interval = NS_PER_SEC;
}

START_TEST(test_suspicion_timing)
{
    static const char *const others[] = {"p2.west", "p3.west"};
    struct rig rig;
    int64_t t0;

    rig_init(&rig, lan_interval);
    add_peers(&rig, 4);
    rig_run_for(&rig, NS_PER_SEC);
    t0 = rig.now;
    rig_suspect(&rig, "p0.west", 1, "p1.west");
    rig_suspect(&rig, "p0.west", 1, "p1.west"); /* the same voice twice does not count */
    rig_run_for(&rig, 100 * MS);
    for (unsigned i = 0; i < suspicions[_i].confirmations; i++)
        rig_suspect(&rig, "p0.west", 1, others[i]);
    rig_run(&rig, t0 + (suspicions[_i].after_ms - 2) * MS);
    ck_assert_int_eq(rig_status(&rig, "p0.west"), SERF_ALIVE);
    rig_run(&rig, t0 + (suspicions[_i].after_ms + 2) * MS);
    ck_assert_int_eq(rig_status(&rig, "p0.west"), SERF_FAILED);
    rig_run_for(&rig, NS_PER_SEC);
    ck_assert_str_eq(rig_last(&rig, ML_DEAD, "p0.west")->from, "me.west");
    rig_fini(&rig);
}
END_TEST

START_TEST(test_suspicion_refuted)
{
    struct rig rig;

    rig_init(&rig, NULL);
    add_peers(&rig, 4);
    rig_suspect(&rig, "p0.west", 1, "p1.west");
    rig_run_for(&rig, 3 * NS_PER_SEC);
    rig_alive(&rig, "p0.west", 1, 10); /* not newer: no refutation */
    rig_alive(&rig, "p0.west", 2, 10);
    rig_suspect(&rig, "p0.west", 1, "p2.west"); /* old accusation */
    rig_run_for(&rig, 40 * NS_PER_SEC);
    ck_assert_int_eq(rig_status(&rig, "p0.west"), SERF_ALIVE);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_suspicion_small_pool)
{
    struct rig rig;
    int64_t t0;

    rig_init(&rig, lan_interval);
    add_peers(&rig, 2); /* three in all: nobody could confirm twice, k is 0 */
    t0 = rig.now;
    rig_suspect(&rig, "p0.west", 1, "p1.west");
    rig_run(&rig, t0 + 3998 * MS);
    ck_assert_int_eq(rig_status(&rig, "p0.west"), SERF_ALIVE);
    rig_run(&rig, t0 + 4002 * MS);
    ck_assert_int_eq(rig_status(&rig, "p0.west"), SERF_FAILED);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_stall_is_forgiven)
{
    struct serf_event tick = {.type = SERF_EV_TICK};
    struct rig rig;

    rig_init(&rig, NULL);
    add_peers(&rig, 2);
    rig_suspect(&rig, "p0.west", 1, "p1.west");
    rig_run_for(&rig, NS_PER_SEC);
    rig.now += 20 * NS_PER_SEC; /* this process was stopped for 20 s */
    (void)rig_event(&rig, &tick);
    ck_assert_int_eq(rig_status(&rig, "p0.west"), SERF_ALIVE);
    rig_alive(&rig, "p0.west", 2, 10); /* the refutation was waiting in the socket */
    rig_run_for(&rig, 30 * NS_PER_SEC);
    ck_assert_int_eq(rig_status(&rig, "p0.west"), SERF_ALIVE);
    rig_fini(&rig);
}
END_TEST

/* ---- probes ---- */

/* Runs until a ping goes to that member. */
static const struct rig_seen *await_ping(struct rig *rig, const char *name)
{
    const struct rig_seen *ping;

    rig_forget(rig);
    while (!(ping = rig_last(rig, ML_PING, name))) {
        struct serf_event ev = {.type = SERF_EV_TICK};

        rig->now = MAX(rig->now, serf_deadline(rig->s).ns);
        (void)rig_event(rig, &ev);
        ck_assert_int_lt(rig->now, RIG_T0 + 100 * NS_PER_SEC);
    }
    return ping;
}

START_TEST(test_probe_direct)
{
    struct rig rig;

    rig_init(&rig, NULL);
    add_peers(&rig, 3);
    rig_run_for(&rig, 20 * NS_PER_SEC);
    /* 2.5 probes a second that all succeed, every second one of the neighbour (round the end). */
    ck_assert_uint_ge(rig_count(&rig, ML_PING, NULL), 48);
    ck_assert_uint_ge(rig_count(&rig, ML_PING, "p0.west"), 31);
    ck_assert_uint_ge(rig_count(&rig, ML_PING, "p1.west"), 7);
    ck_assert_uint_ge(rig_count(&rig, ML_PING, "p2.west"), 7);
    ck_assert_uint_eq(rig_count(&rig, ML_SUSPECT, NULL), 0);
    ck_assert_uint_eq(rig_stats(&rig).alive, 4);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_probe_indirect_succeeds)
{
    const struct rig_seen *ping, *ind;
    struct rig rig;
    uint32_t seq;
    int64_t t0;

    rig_init(&rig, NULL);
    add_peers(&rig, 5);
    rig.auto_ack = false;
    ping = await_ping(&rig, "p0.west");
    seq = ping->seq;
    t0 = rig.now;
    rig_run(&rig, t0 + 499 * MS);
    ck_assert_ptr_null(rig_last(&rig, ML_INDIRECT_PING, NULL));
    rig_run(&rig, t0 + 501 * MS);
    ck_assert_uint_eq(rig_count(&rig, ML_INDIRECT_PING, "p0.west"), 3);
    ind = rig_last(&rig, ML_INDIRECT_PING, "p0.west");
    ck_assert_uint_eq(ind->seq, seq);
    ck_assert(ind->nack);
    ck_assert_uint_eq(rig.dials, 1); /* the same by TCP */
    ck_assert_uint_eq(rig.last_dial_type, ML_PING);
    rig_ack(&rig, seq);
    rig.auto_ack = true;
    rig_run_for(&rig, 3 * NS_PER_SEC);
    ck_assert_uint_eq(rig_count(&rig, ML_SUSPECT, NULL), 0);
    rig_fini(&rig);
}
END_TEST

static void answer_dial(struct rig *rig, int err, uint32_t seq)
{
    struct serf_event ev = {.type = SERF_EV_DIALED, .id = rig->last_dial, .err = err};
    struct msg_ack ack = {seq, {NULL, 0}};
    struct strbuf b = STRBUF_INIT;

    msg_put(&b, ML_ACK, &msg_ack_schema, &ack);
    if (!err)
        ev.data = span_of(&b);
    (void)rig_event(rig, &ev);
    strbuf_fini(&b);
}

START_TEST(test_probe_tcp_fallback)
{
    struct rig rig;
    uint32_t seq;

    rig_init(&rig, NULL);
    add_peers(&rig, 5);
    rig.auto_ack = false;
    seq = await_ping(&rig, "p0.west")->seq;
    rig_run_for(&rig, 501 * MS);
    answer_dial(&rig, 0, seq);
    ck_assert_ptr_nonnull(strstr(rig.last_note, "answers by TCP only"));
    rig.auto_ack = true;
    rig_run_for(&rig, 3 * NS_PER_SEC);
    ck_assert_uint_eq(rig_count(&rig, ML_SUSPECT, NULL), 0);
    rig_fini(&rig);
}
END_TEST

static void nack(struct rig *rig, uint32_t seq)
{
    struct msg_nack m = {seq};

    rig_message(rig, ML_NACK, &msg_nack_schema, &m);
}

/* Fails the probe of p0 with so many of three nacks; returns the health score. */
static unsigned fail_probe(unsigned nacks, int dial_err, struct rig *rig)
{
    uint32_t seq;

    rig_init(rig, NULL);
    add_peers(rig, 5);
    rig->auto_ack = false;
    seq = await_ping(rig, "p0.west")->seq;
    rig_run_for(rig, 501 * MS);
    for (unsigned i = 0; i < nacks; i++)
        nack(rig, seq);
    answer_dial(rig, dial_err, 0);
    rig_run_for(rig, 499 * MS);
    rig->auto_ack = true;
    return rig_stats(rig).health_score;
}

START_TEST(test_probe_fails)
{
    struct rig rig;

    /* All helpers say no: the target is to blame. */
    ck_assert_uint_eq(fail_probe(3, -ETIMEDOUT, &rig), 0);
    ck_assert_ptr_nonnull(rig_last(&rig, ML_SUSPECT, "p0.west"));
    ck_assert_str_eq(rig_last(&rig, ML_SUSPECT, "p0.west")->from, "me.west");
    rig_fini(&rig);
    /* None of them answers: it may be our own fault (Lifeguard). */
    ck_assert_uint_eq(fail_probe(0, -ETIMEDOUT, &rig), 3);
    rig_fini(&rig);
    ck_assert_uint_eq(fail_probe(2, -ETIMEDOUT, &rig), 1);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_probe_refused_is_quick)
{
    struct rig rig;

    /* The host refuses TCP and no helper reaches it: nobody is there to refute. */
    (void)fail_probe(3, -ECONNREFUSED, &rig);
    rig_run_for(&rig, 1600 * MS);
    ck_assert_int_eq(rig_status(&rig, "p0.west"), SERF_FAILED);
    rig_fini(&rig);
    /* Silence instead: the full time, less with confirmations. */
    (void)fail_probe(3, -ETIMEDOUT, &rig);
    rig_run_for(&rig, 1600 * MS);
    ck_assert_int_eq(rig_status(&rig, "p0.west"), SERF_ALIVE);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_probe_suspect_is_told)
{
    const struct rig_seen *ping;
    struct rig rig;

    rig_init(&rig, NULL);
    add_peers(&rig, 5);
    rig_run_for(&rig, 5 * NS_PER_SEC); /* all queues are empty */
    rig_suspect(&rig, "p0.west", 1, "p1.west");
    ping = await_ping(&rig, "p0.west"); /* out of turn */
    ck_assert_uint_eq(ping[1].type, ML_SUSPECT);
    ck_assert_str_eq(ping[1].node, "p0.west");
    rig_fini(&rig);
}
END_TEST

/* ---- answering for others ---- */

START_TEST(test_answer_ping)
{
    struct gossip_addr src = rig_addr(77);
    struct msg_ping m = {7, SPAN_STR("me.west"), {src.ip, 4}, SPAN_STR("x"), 7946};
    struct rig rig;

    rig_init(&rig, NULL);
    rig_message(&rig, ML_PING, &msg_ping_schema, &m);
    ck_assert_uint_eq(rig_last(&rig, ML_ACK, NULL)->seq, 7);
    ck_assert_uint_eq(rig_last(&rig, ML_ACK, NULL)->to.ip[2], 77);
    ck_assert_uint_eq(rig_last(&rig, ML_ACK, NULL)->to.port, 7946);
    m = (struct msg_ping){.seq = 8}; /* an old peer: no source, no name */
    rig_message(&rig, ML_PING, &msg_ping_schema, &m);
    ck_assert_uint_eq(rig_last(&rig, ML_ACK, NULL)->seq, 8);
    ck_assert_uint_eq(rig_last(&rig, ML_ACK, NULL)->to.ip[2], 99);
    rig_forget(&rig);
    m = (struct msg_ping){.seq = 9, .node = SPAN_STR("other")};
    rig_message(&rig, ML_PING, &msg_ping_schema, &m);
    ck_assert_ptr_null(rig_last(&rig, ML_ACK, NULL));
    rig_fini(&rig);
}
END_TEST

static void ask_indirect(struct rig *rig, uint32_t seq, bool want_nack)
{
    struct gossip_addr target = rig_addr(50), src = rig_addr(51);
    struct msg_indirect_ping m = {.seq = seq,
                                  .target = {target.ip, 4},
                                  .port = 4648,
                                  .node = SPAN_STR("t.west"),
                                  .nack = want_nack,
                                  .source_addr = {src.ip, 4},
                                  .source_port = 4648};

    rig_message(rig, ML_INDIRECT_PING, &msg_indirect_ping_schema, &m);
}

START_TEST(test_help_indirect)
{
    const struct rig_seen *ping;
    struct rig rig;

    rig_init(&rig, NULL);
    rig.auto_ack = false;
    ask_indirect(&rig, 9001, true);
    ping = rig_last(&rig, ML_PING, "t.west");
    ck_assert_ptr_nonnull(ping);
    ck_assert_uint_ne(ping->seq, 9001);
    ck_assert_uint_eq(ping->to.ip[2], 50);
    rig_ack(&rig, ping->seq);
    ck_assert_uint_eq(rig_last(&rig, ML_ACK, NULL)->seq, 9001);
    ck_assert_uint_eq(rig_last(&rig, ML_ACK, NULL)->to.ip[2], 51);
    rig_run_for(&rig, 3 * NS_PER_SEC);
    ck_assert_ptr_null(rig_last(&rig, ML_NACK, NULL));
    ask_indirect(&rig, 9002, true);
    rig_run_for(&rig, 99 * MS);
    ck_assert_ptr_null(rig_last(&rig, ML_NACK, NULL));
    rig_run_for(&rig, 2 * MS);
    ck_assert_uint_eq(rig_last(&rig, ML_NACK, NULL)->seq, 9002);
    rig_forget(&rig);
    ask_indirect(&rig, 9003, false);
    rig_run_for(&rig, 3 * NS_PER_SEC);
    ck_assert_ptr_null(rig_last(&rig, ML_NACK, NULL));
    for (uint32_t i = 0; i < 1000; i++) /* bounded */
        ask_indirect(&rig, 10000 + i, true);
    ck_assert_uint_le(rig_count(&rig, ML_PING, "t.west"), 257);
    rig_fini(&rig);
}
END_TEST

/* ---- bounds and queues ---- */

START_TEST(test_members_bound)
{
    struct rig rig;
    char name[16];

    rig_init(&rig, NULL);
    rig.auto_ack = false;
    for (unsigned i = 0; i < SERF_MEMBERS_MAX + 50; i++) {
        (void)snprintf(name, sizeof(name), "n%u", i);
        rig_alive(&rig, name, 1, 10);
    }
    ck_assert_uint_eq(rig_stats(&rig).members, SERF_MEMBERS_MAX);
    ck_assert_ptr_nonnull(strstr(rig.last_note, "more than 10000 members"));
    ck_assert_uint_le(rig_stats(&rig).member_queue, SERF_MEMBERS_MAX);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_garbage_is_survived)
{
    struct rig rig;
    struct prng prng;
    uint8_t junk[256];

    rig_init(&rig, NULL);
    add_peers(&rig, 3);
    prng_seed(&prng, 1);
    for (int i = 0; i < 20000; i++) {
        struct serf_event ev = {.type = SERF_EV_PACKET, .addr = rig_addr(99)};

        for (size_t k = 0; k < sizeof(junk); k++)
            junk[k] = (uint8_t)prng_u64(&prng);
        junk[0] = (uint8_t)prng_below(&prng, 14);
        ev.data = (struct span){junk, 1 + prng_below(&prng, sizeof(junk) - 1)};
        (void)rig_event(&rig, &ev);
        rig_forget(&rig);
    }
    ck_assert_uint_eq(rig_stats(&rig).members, 4);
    rig_fini(&rig);
}
END_TEST

struct picks {
    char text[64];
};

static void pick(void *user, struct span msg)
{
    struct picks *p = user;

    (void)strncat(p->text, (const char *)msg.p, msg.len);
}

START_TEST(test_queue_order)
{
    struct bcast_queue q;
    struct picks p = {""};
    size_t room = 100;

    bcast_init(&q, 3);
    (void)bcast_put(&q, "k", SPAN_STR("old"));
    (void)bcast_put(&q, NULL, SPAN_STR("aa"));
    (void)bcast_put(&q, "k", SPAN_STR("bbb")); /* replaces "old" */
    (void)bcast_put(&q, NULL, SPAN_STR("cc"));
    ck_assert_uint_eq(q.n, 3);
    ck_assert_uint_eq(bcast_pick(&q, 2, &room, 2, 64, pick, &p), 3);
    ck_assert_str_eq(p.text, "bbbccaa"); /* longest, then newest */
    ck_assert_uint_eq(room, 100 - 3 * 2 - 7);
    (void)bcast_put(&q, NULL, SPAN_STR("d")); /* full: one that was sent already goes */
    ck_assert_uint_eq(q.n, 3);
    ck_assert_uint_eq(q.dropped, 1);
    p.text[0] = 0;
    room = 4; /* only the short one fits, though others are first */
    ck_assert_uint_eq(bcast_pick(&q, 2, &room, 2, 64, pick, &p), 1);
    ck_assert_str_eq(p.text, "d");
    room = 100;
    p.text[0] = 0;
    ck_assert_uint_eq(bcast_pick(&q, 2, &room, 2, 64, pick, &p), 3);
    ck_assert_uint_eq(q.n, 0); /* each sent twice */
    bcast_fini(&q);
}
END_TEST

START_TEST(test_retransmits)
{
    struct rig rig;

    rig_init(&rig, NULL);
    add_peers(&rig, 1);
    rig_run_for(&rig, 10 * NS_PER_SEC);
    rig_forget(&rig);
    rig_alive(&rig, "p0.west", 2, 10);
    rig_run_for(&rig, 10 * NS_PER_SEC);
    /* 4 * ceil(log10(2 + 1)) transmissions, gossip and piggyback together. */
    ck_assert_uint_eq(rig_count(&rig, ML_ALIVE, "p0.west"), 4);
    rig_fini(&rig);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("nodes");

    tcase_add_test(t, test_alive_known_and_newer);
    tcase_add_loop_test(t, test_alive_refused_by_filter, 0, ARRAY_LEN(strangers));
    tcase_add_test(t, test_alive_bounds);
    tcase_add_test(t, test_address_change);
    tcase_add_test(t, test_refute);
    tcase_add_test(t, test_new_tags_are_news);
    tcase_add_loop_test(t, test_suspicion_timing, 0, ARRAY_LEN(suspicions));
    tcase_add_test(t, test_suspicion_refuted);
    tcase_add_test(t, test_suspicion_small_pool);
    tcase_add_test(t, test_stall_is_forgiven);
    tcase_add_test(t, test_probe_direct);
    tcase_add_test(t, test_probe_indirect_succeeds);
    tcase_add_test(t, test_probe_tcp_fallback);
    tcase_add_test(t, test_probe_fails);
    tcase_add_test(t, test_probe_refused_is_quick);
    tcase_add_test(t, test_probe_suspect_is_told);
    tcase_add_test(t, test_answer_ping);
    tcase_add_test(t, test_help_indirect);
    tcase_add_test(t, test_members_bound);
    tcase_add_test(t, test_garbage_is_survived);
    tcase_add_test(t, test_queue_order);
    tcase_add_test(t, test_retransmits);
    return check_run("serfd nodes", t, NULL);
}
