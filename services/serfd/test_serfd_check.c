/* SPDX-License-Identifier: MPL-2.0 */
/* "Could we join there?": what a check sends, what it makes of the answers, and that it joins
 * nobody. */
#include <errno.h>

#include "check_run.h"
#include "serfd_guard.h"
#include "test_serfd_rig.h"

#define WALL (1700000000 * NS_PER_SEC)

static struct guard_rules rules;

static void guarded(struct serf_options *o)
{
    o->guard = &rules;
}

static void begin(struct rig *rig)
{
    struct serf_event ev = {.type = SERF_EV_CHECK, .addr = rig_addr(10), .id = 5, .wall = WALL};

    ck_assert_int_eq(rig_event(rig, &ev), 0);
}

static uint8_t their_vsn[6] = {1, 5, 2, 2, 5, 4};

/* A push/pull with one member, as a joined server answers. */
static void answer(struct rig *rig, const char *name, unsigned host, struct span meta,
                   uint64_t their_wall)
{
    struct serf_event ev = {.type = SERF_EV_DIALED, .id = rig->last_dial, .wall = WALL};
    struct msg_serf_state user = {.ltime = 1, .event_ltime = 1, .query_ltime = 1};
    struct gossip_addr a = rig_addr(host);
    struct msg_state_node node = {SPAN_STR(name), {a.ip, 4}, meta, {their_vsn, 6}, 1, 0, a.port};
    struct msg_state_head head = {.nodes = 1, .join = true};
    struct strbuf b = STRBUF_INIT, u = STRBUF_INIT;

    user.wall = their_wall;
    msg_put(&u, SERF_MSG_STATE, &msg_serf_state_schema, &user);
    head.user_len = (int64_t)u.len;
    msg_put(&b, ML_PUSH_PULL, &msg_state_head_schema, &head);
    mp_put_struct(&b, &msg_state_node_schema, &node);
    strbuf_add(&b, u.data, u.len);
    ev.data = span_of(&b);
    (void)rig_event(rig, &ev);
    strbuf_fini(&b);
    strbuf_fini(&u);
}

static void fail_dial(struct rig *rig, int err, const char *text)
{
    struct serf_event ev = {
        .type = SERF_EV_DIALED, .id = rig->last_dial, .err = err, .data = SPAN_STR(text)};

    (void)rig_event(rig, &ev);
}

static void want(const struct rig *rig, const char *line)
{
    ck_assert_msg(strstr(rig->report, line) != NULL, "no \"%s\" in\n%s", line, rig->report);
}

START_TEST(test_all_is_well)
{
    struct rig rig;

    rules = (struct guard_rules){.federation = ""};
    rig_init(&rig, guarded);
    begin(&rig); /* the rig acks pings at once */
    ck_assert_uint_eq(rig.last_dial_type, ML_PUSH_PULL);
    ck_assert_uint_eq(rig.checked, 0); /* TCP is still out */
    answer(&rig, "p.east", 10, rig_meta("region", "east"), WALL + 3 * NS_PER_MS);
    ck_assert_uint_eq(rig.checked, 1);
    want(&rig, "udp\tok\tanswers in");
    want(&rig, "tcp\tok\tanswers in");
    want(&rig, "key\tok\tnot encrypted on either side");
    want(&rig, "clock\tok\t3 ms ahead of ours");
    want(&rig, "version\tok\tbuild 1.1.0, protocols fit");
    want(&rig, "region\tok\teast (1)");
    want(&rig, "name\tok\t'me.west' is free or ours");
    want(&rig, "federation\tok\topen on this side");
    ck_assert_ptr_null(strstr(rig.report, "fail"));
    /* Nobody was taken in, and nothing was said of us. */
    ck_assert_int_eq(rig_status(&rig, "p.east"), SERF_NONE);
    ck_assert_uint_eq(rig.joined + rig.join_errors, 0);
    rig_run_for(&rig, 10 * NS_PER_SEC);
    ck_assert_uint_eq(rig.checked, 1);
    ck_assert_uint_eq(rig_count(&rig, ML_ALIVE, NULL), 0);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_findings)
{
    struct rig rig;

    rules = (struct guard_rules){.federation = "blue"};
    rig_init(&rig, guarded);
    begin(&rig);
    answer(&rig, "me.west", 77, rig_meta(NULL, NULL), WALL - 60 * NS_PER_SEC);
    want(&rig, "clock\tfail\t60000 ms behind ours");
    want(&rig, "name\tfail\t'me.west' is in use there by 127.0.77.1:4648");
    begin(&rig);
    answer(&rig, "p.east", 10, rig_meta(NULL, NULL), 0);
    want(&rig, "clock\tskip\t");
    want(&rig, "federation\tfail\tmember 'p.east' is of no federation, 'me.west' is of \"blue\"");
    begin(&rig);
    answer(&rig, "p.east", 10, rig_meta("role", "web"), 0);
    want(&rig, "version\tfail\tmember 'p.east': is not a server");
    rig_fini(&rig);
}
END_TEST

/* Each of these makes a join fail at the merge. */
START_TEST(test_protocols_that_do_not_fit)
{
    static const uint8_t odd[][6] = {
        {1, 1, 1, 2, 5,
         4}, /* knows only the first protocol of memberlist, and we speak the second */
        {1, 5, 9, 2, 5, 4}, /* speaks what it says that it does not know */
        {1, 5, 2, 5, 5, 5}, /* Serf's protocol: none in common */
    };
    struct rig rig;

    rules = (struct guard_rules){.federation = ""};
    rig_init(&rig, guarded);
    memcpy(their_vsn, odd[_i], 6); /* this process is the test's own */
    begin(&rig);
    answer(&rig, "p.east", 10, rig_meta("region", "east"), WALL);
    want(&rig, "version\tfail\tmember '");
    want(&rig, "speaks no common protocol version");
    want(&rig, "region\tok\t");
    rig_fini(&rig);
}
END_TEST

/* A list of all servers of a region names the asking one, too. */
START_TEST(test_itself)
{
    struct serf_event ev = {.type = SERF_EV_CHECK, .addr = rig_addr(1), .id = 5, .wall = WALL};
    struct serf_member_info self;
    struct rig rig;

    rules = (struct guard_rules){.federation = ""};
    rig_init(&rig, guarded);
    ck_assert_int_ge(serf_member_find(rig.s, "me.west", &self), 0);
    ev.addr = self.addr;
    ck_assert_int_eq(rig_event(&rig, &ev), 0);
    answer(&rig, "p.east", 10, rig_meta("region", "east"), WALL);
    want(&rig, "address\tskip\tthis is the server that asks");
    ck_assert_ptr_null(strstr(rig.report, "fail"));
    rig_fini(&rig);
}
END_TEST

START_TEST(test_no_udp)
{
    struct rig rig;

    rules = (struct guard_rules){.federation = ""};
    rig_init(&rig, guarded);
    rig.auto_ack = false;
    begin(&rig);
    answer(&rig, "p.east", 10, rig_meta("region", "east"), WALL);
    ck_assert_uint_eq(rig.checked, 0);
    rig_run_for(&rig, 2 * NS_PER_SEC);
    ck_assert_uint_eq(rig.checked, 0);
    ck_assert_uint_ge(rig_count(&rig, ML_PING, ""), 3); /* one lost packet is no finding */
    rig_run_for(&rig, 2 * NS_PER_SEC);
    ck_assert_uint_eq(rig.checked, 1);
    want(&rig, "udp\tfail\tno answer");
    want(&rig, "tcp\tok\t");
    rig_fini(&rig);
}
END_TEST

static const struct {
    int err;
    const char *text, *want[2];
} dials[] = {
    {-ECONNREFUSED, "", {"tcp\tfail\tConnection refused", "key\tskip\t"}},
    {-EKEYREJECTED,
     "No installed keys could decrypt the message",
     {"tcp\tok\t", "key\tfail\tNo installed keys could decrypt the message"}},
    {-ECONNRESET, "", {"tcp\tfail\t", "key\tskip\tit hung up without an answer"}},
};

/* A report has all lines, also of what could not be looked at. */
static const char *const unseen[] = {"clock\tskip\tit did not show its pool\n",
                                     "version\tskip\t",
                                     "region\tskip\t",
                                     "name\tskip\t",
                                     "federation\tskip\t",
                                     "raft group\tskip\t"};

START_TEST(test_bad_dials)
{
    struct rig rig;

    rules = (struct guard_rules){.federation = ""};
    rig_init(&rig, guarded);
    begin(&rig);
    fail_dial(&rig, dials[_i].err, dials[_i].text);
    ck_assert_uint_eq(rig.checked, 1);
    want(&rig, dials[_i].want[0]);
    want(&rig, dials[_i].want[1]);
    for (size_t i = 0; i < ARRAY_LEN(unseen); i++)
        want(&rig, unseen[i]);
    rig_fini(&rig);
}
END_TEST

/* What is answered to whoever looks: the members and our clock. */
START_TEST(test_looked_at)
{
    struct serf_event ev = {.type = SERF_EV_STREAM, .id = 1, .addr = rig_addr(9), .wall = WALL};
    struct msg_state_head head = {.join = true};
    struct strbuf b = STRBUF_INIT;
    struct rig rig;

    rig_init(&rig, NULL);
    msg_put(&b, ML_PUSH_PULL, &msg_state_head_schema, &head);
    ev.data = span_of(&b);
    ck_assert_int_eq(rig_event(&rig, &ev), 0);
    ck_assert_uint_eq((uint8_t)rig.answer.data[0], ML_PUSH_PULL);
    ck_assert_ptr_nonnull(memmem(rig.answer.data, rig.answer.len, "SteppeClock", 11));
    ck_assert_uint_eq(rig_stats(&rig).members, 1);
    strbuf_fini(&b);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_many_at_a_time)
{
    struct serf_event ev = {.type = SERF_EV_CHECK, .addr = rig_addr(10), .wall = WALL};
    struct rig rig;
    int r = 0;

    rig_init(&rig, NULL);
    rig.auto_ack = false;
    for (ev.id = 1; r == 0 && ev.id < 1000; ev.id++)
        r = rig_event(&rig, &ev);
    ck_assert_int_eq(r, -EBUSY);
    ck_assert_uint_ge(ev.id, 16);
    rig_fini(&rig); /* with all of them open */
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("serfd_check");

    tcase_add_test(t, test_all_is_well);
    tcase_add_test(t, test_findings);
    tcase_add_loop_test(t, test_protocols_that_do_not_fit, 0, 3);
    tcase_add_test(t, test_itself);
    tcase_add_test(t, test_no_udp);
    tcase_add_loop_test(t, test_bad_dials, 0, ARRAY_LEN(dials));
    tcase_add_test(t, test_looked_at);
    tcase_add_test(t, test_many_at_a_time);
    return check_run("serfd_check", t, NULL);
}
