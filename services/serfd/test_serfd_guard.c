/* SPDX-License-Identifier: MPL-2.0 */
/* Who may be in the pool: rules alone, then a core that meets strangers. */
#include <errno.h>

#include "check_run.h"
#include "serfd_guard.h"
#include "test_serfd_rig.h"

#define GROUP_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define GROUP_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const char *const accept_old[] = {"old"}, *const accept_none[] = {"none"};

/* The tags of a server; "" leaves a tag out. Memory of its own for each of two at a time. */
static struct span meta_of(const char *region, const char *federation, const char *group)
{
    static struct strbuf bufs[2];
    static unsigned turn;
    struct strbuf *b = &bufs[turn++ % 2];
    struct tag tags[8] = {
        {"role", "nomad"}, {"region", region}, {"vsn", "1"}, {"build", "0.1.0"}, {"port", "4647"}};
    size_t n = 5;

    if (*federation)
        tags[n++] = (struct tag){GUARD_TAG_FEDERATION, federation};
    if (*group)
        tags[n++] = (struct tag){GUARD_TAG_GROUP, group};
    strbuf_reset(b);
    ck_assert_int_eq(tags_put(b, tags, n), 0);
    return span_of(b);
}

static struct gossip_addr addr_of(const char *text)
{
    struct guard_cidr c;
    struct gossip_addr a;

    ck_assert_int_eq(guard_cidr_parse(text, &c), 0);
    ck_assert(gossip_addr_from(&a, (struct span){c.ip, c.ip_len}, 4648));
    return a;
}

/* ---- addresses ---- */

START_TEST(test_cidr_parse)
{
    static const char *const good[] = {"10.0.0.0/8", "1.2.3.4", "0.0.0.0/0", "::1", "fd00::/8"};
    static const char *const bad[] = {"",         "x",      "10.0.0.0/33", "10.0.0.0/-1", "1.2.3",
                                      "1.2.3.4/", "::/129", "10.0.0.0/8x", "localhost"};
    struct guard_cidr c;

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        ck_assert_msg(guard_cidr_parse(good[i], &c) == 0, "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(guard_cidr_parse(bad[i], &c) == -EINVAL, "%s", bad[i]);
}
END_TEST

START_TEST(test_allows)
{
    static const struct {
        const char *cidr, *addr;
        bool want;
    } cases[] = {
        {"10.0.0.0/8", "10.255.1.2", true},
        {"10.0.0.0/8", "11.0.0.1", false},
        {"10.4.0.0/14", "10.7.255.1", true},
        {"10.4.0.0/14", "10.8.0.1", false},
        {"1.2.3.4", "1.2.3.4", true},
        {"1.2.3.4", "1.2.3.5", false},
        {"0.0.0.0/0", "9.9.9.9", true},
        {"0.0.0.0/0", "::1", false},
        {"fd00::/8", "fd12::1", true},
        {"fd00::/8", "fe80::1", false},
        {"10.0.0.0/8", "::ffff:10.1.1.1", true},
        {"::ffff:10.0.0.0/104", "10.1.1.1", true},
        {"::ffff:10.0.0.0/104", "11.1.1.1", false},
        {"::ffff:1.2.3.4", "1.2.3.4", true},
        {"::ffff:0:0/96", "9.9.9.9", true},
        {"::ffff:0:0/96", "fd00::1", false},
        {"::/0", "9.9.9.9", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct guard_rules g = {.allow_n = 1};
        struct gossip_addr a = addr_of(cases[i].addr);

        ck_assert_int_eq(guard_cidr_parse(cases[i].cidr, &g.allow[0]), 0);
        ck_assert_msg(guard_allows(&g, &a) == cases[i].want, "%s %s", cases[i].cidr, cases[i].addr);
        g.allow_n = 0;
        ck_assert(guard_allows(&g, &a));
    }
    ck_assert(guard_allows(NULL, &(struct gossip_addr){.ip_len = 4}));
}
END_TEST

/* ---- federation and group ---- */

START_TEST(test_check)
{
    static const struct {
        const char *own, *federation, *region, *group;
        const char *const *accept;
        size_t accept_n;
        int want;
        const char *text;
    } cases[] = {
        {"", "", "west", "", NULL, 0, 0, ""},
        {"", "blue", "west", "", NULL, 0, 0, ""},
        {"blue", "blue", "east", "", NULL, 0, 0, ""},
        {"blue", "green", "east", "", NULL, 0, -EPERM,
         "member 'm.x' is of federation \"green\", 'me.west' is of \"blue\""},
        {"blue", "", "east", "", NULL, 0, -EPERM,
         "member 'm.x' is of no federation, 'me.west' is of \"blue\""},
        {"blue", "", "east", "", accept_none, 1, 0, ""},
        {"blue", "old", "east", "", accept_old, 1, 0, ""},
        {"blue", "", "east", "", accept_old, 1, -EPERM,
         "member 'm.x' is of no federation, 'me.west' is of \"blue\""},
        {"blue", "none", "east", "", accept_none, 1, 0, ""},
        {"", "", "west", GROUP_A, NULL, 0, 0, ""},
        {"", "", "east", GROUP_B, NULL, 0, 0, ""},
        {"", "", "west", GROUP_B, NULL, 0, -EXDEV,
         "two raft groups under one region's name: member 'm.x' has data of group " GROUP_B
         ", 'me.west' of group " GROUP_A},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct guard_rules g = {.accept = cases[i].accept, .accept_n = cases[i].accept_n};
        struct guard_subject self = {SPAN_STR("me.west"), meta_of("west", cases[i].own, GROUP_A),
                                     rig_addr(1)};
        struct guard_subject m = {SPAN_STR("m.x"),
                                  meta_of(cases[i].region, cases[i].federation, cases[i].group),
                                  rig_addr(2)};
        struct errtext e = {""};

        (void)snprintf(g.federation, sizeof(g.federation), "%s", cases[i].own);
        ck_assert_int_eq(guard_check(&g, &self, &m, &e), cases[i].want);
        if (cases[i].want)
            ck_assert_str_eq(e.text, cases[i].text);
    }
}
END_TEST

START_TEST(test_groups_of_third_parties)
{
    struct guard_groups gs = {.n = 0};
    struct guard_subject known = {SPAN_STR("a.east"), meta_of("east", "", GROUP_A), rig_addr(1)};
    struct guard_subject m = {SPAN_STR("b.east"), {NULL, 0}, rig_addr(2)};
    struct errtext e;

    guard_groups_add(&gs, &known);
    m.meta = meta_of("east", "", GROUP_A);
    ck_assert_int_eq(guard_groups_check(&gs, &m, &e), 0);
    m.meta = meta_of("north", "", GROUP_B);
    ck_assert_int_eq(guard_groups_check(&gs, &m, &e), 0);
    m.meta = meta_of("east", "", "");
    ck_assert_int_eq(guard_groups_check(&gs, &m, &e), 0);
    known.meta = meta_of("east", "", GROUP_A);
    m.meta = meta_of("east", "", GROUP_B);
    gs.n = 0;
    guard_groups_add(&gs, &known);
    ck_assert_int_eq(guard_groups_check(&gs, &m, &e), -EXDEV);
    ck_assert_ptr_nonnull(strstr(e.text, "'b.east' has data of group " GROUP_B));
    ck_assert_ptr_nonnull(strstr(e.text, "'a.east' of group " GROUP_A));
    m.name = SPAN_STR("a.east"); /* the very server, with a new disk */
    ck_assert_int_eq(guard_groups_check(&gs, &m, &e), 0);
}
END_TEST

START_TEST(test_stamp)
{
    char id[GUARD_ID_MAX + 1];
    struct errtext e;
    bool write;

    ck_assert_int_eq(guard_stamp("", "", NULL, 0, id, &write, &e), 0);
    ck_assert_str_eq(id, "");
    ck_assert(!write);
    ck_assert_int_eq(guard_stamp("blue", "", NULL, 0, id, &write, &e), 0);
    ck_assert_str_eq(id, "blue");
    ck_assert(write);
    ck_assert_int_eq(guard_stamp("", "blue", NULL, 0, id, &write, &e), 0);
    ck_assert_str_eq(id, "blue"); /* once stamped it counts, whatever the file forgets */
    ck_assert(!write);
    ck_assert_int_eq(guard_stamp("blue", "blue", NULL, 0, id, &write, &e), 0);
    ck_assert(!write);
    ck_assert_int_eq(guard_stamp("new", "old", NULL, 0, id, &write, &e), -EPERM);
    ck_assert_ptr_nonnull(strstr(e.text, "\"new\""));
    ck_assert_ptr_nonnull(strstr(e.text, "\"old\""));
    ck_assert_int_eq(guard_stamp("new", "old", accept_old, 1, id, &write, &e), 0);
    ck_assert_str_eq(id, "new");
    ck_assert(write);
}
END_TEST

/* ---- a core that meets strangers ---- */

static struct guard_rules rules; /* of the core under test */

static void guarded(struct serf_options *o)
{
    o->guard = &rules;
    o->meta = meta_of("west", rules.federation, GROUP_A);
}

static void say_alive(struct rig *rig, const char *name, unsigned host, struct span meta)
{
    static const uint8_t vsn[6] = {1, 5, 2, 2, 5, 4};
    struct gossip_addr a = rig_addr(host);
    struct msg_alive m = {1, SPAN_STR(name), {a.ip, 4}, meta, {vsn, 6}, a.port};

    rig_message(rig, ML_ALIVE, &msg_alive_schema, &m);
}

/* Another core's push/pull for a join. */
static void put_join_state(struct strbuf *out, const char *name, unsigned host, struct span meta)
{
    static const uint8_t vsn[6] = {1, 5, 2, 2, 5, 4};
    struct msg_state_head head = {.nodes = 1, .join = true};
    struct gossip_addr a = rig_addr(host);
    struct msg_state_node node = {SPAN_STR(name), {a.ip, 4}, meta, {vsn, 6}, 1, 0, a.port};

    msg_put(out, ML_PUSH_PULL, &msg_state_head_schema, &head);
    mp_put_struct(out, &msg_state_node_schema, &node);
}

static void take_join(struct rig *rig, unsigned source, const char *name, struct span meta)
{
    struct serf_event ev = {.type = SERF_EV_STREAM, .id = 1, .addr = rig_addr(source)};
    struct strbuf b = STRBUF_INIT;

    put_join_state(&b, name, 10, meta);
    ev.data = span_of(&b);
    (void)rig_event(rig, &ev);
    strbuf_fini(&b);
}

/* The text of an error that was answered, "" when it was no error. */
static const char *answered_error(const struct rig *rig)
{
    static char text[512];
    struct mp_scratch scratch = {.used = 0};
    struct msg_err err;

    text[0] = 0;
    if (rig->answer.len > 0 && (uint8_t)rig->answer.data[0] == ML_ERR &&
        msg_get((struct span){(const uint8_t *)rig->answer.data + 1, rig->answer.len - 1},
                &msg_err_schema, &err, &scratch))
        (void)snprintf(text, sizeof(text), "%.*s", (int)err.error.len, (const char *)err.error.p);
    return text;
}

START_TEST(test_federation_refused_by_gossip_and_at_join)
{
    static const char want[] =
        "member 'p.east' is of federation \"green\", 'me.west' is of \"blue\"";
    struct rig rig;

    rules = (struct guard_rules){.federation = "blue"};
    rig_init(&rig, guarded);
    say_alive(&rig, "p.east", 10, meta_of("east", "green", ""));
    ck_assert_int_eq(rig_status(&rig, "p.east"), SERF_NONE);
    ck_assert_ptr_nonnull(strstr(rig.last_note, want));
    take_join(&rig, 10, "p.east", meta_of("east", "green", ""));
    ck_assert_int_eq(rig_status(&rig, "p.east"), SERF_NONE);
    ck_assert_str_eq(answered_error(&rig), want); /* so that the joiner does not take us in */
    take_join(&rig, 10, "p.east", meta_of("east", "blue", ""));
    ck_assert_int_eq(rig_status(&rig, "p.east"), SERF_ALIVE);
    ck_assert_str_eq(answered_error(&rig), "");
    rig_fini(&rig);
}
END_TEST

START_TEST(test_open_takes_everybody)
{
    struct rig rig;

    rules = (struct guard_rules){.federation = ""};
    rig_init(&rig, guarded);
    say_alive(&rig, "p.east", 10, meta_of("east", "green", ""));
    say_alive(&rig, "q.north", 11, meta_of("north", "", ""));
    ck_assert_int_eq(rig_status(&rig, "p.east"), SERF_ALIVE);
    ck_assert_int_eq(rig_status(&rig, "q.north"), SERF_ALIVE);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_allow_list)
{
    struct serf_event join = {.type = SERF_EV_JOIN, .addr = rig_addr(200), .id = 7};
    struct rig rig;

    rules = (struct guard_rules){.allow_n = 2};
    ck_assert_int_eq(guard_cidr_parse("127.0.0.0/18", &rules.allow[0]), 0);  /* hosts 0 to 63 */
    ck_assert_int_eq(guard_cidr_parse("127.0.99.0/24", &rules.allow[1]), 0); /* who talks to us */
    rig_init(&rig, guarded);
    say_alive(&rig, "p.east", 70, meta_of("east", "", ""));
    ck_assert_int_eq(rig_status(&rig, "p.east"), SERF_NONE);
    ck_assert_ptr_nonnull(strstr(rig.last_note, "join_allow"));
    ck_assert_ptr_nonnull(strstr(rig.last_note, "127.0.70.1:4648"));
    say_alive(&rig, "p.east", 60, meta_of("east", "", ""));
    ck_assert_int_eq(rig_status(&rig, "p.east"), SERF_ALIVE);
    take_join(&rig, 80, "q.east", meta_of("east", "", "")); /* a source that is not allowed */
    ck_assert_int_eq(rig_status(&rig, "q.east"), SERF_NONE);
    ck_assert_str_eq(answered_error(&rig), "join_allow of 'me.west' leaves 127.0.80.1:4648 out");
    ck_assert_int_eq(rig_event(&rig, &join), -EACCES);
    rig_fini(&rig);
}
END_TEST

static void answer_dial(struct rig *rig, const char *name, struct span meta)
{
    struct serf_event ev = {.type = SERF_EV_DIALED, .id = rig->last_dial};
    struct strbuf b = STRBUF_INIT;

    put_join_state(&b, name, 10, meta);
    ev.data = span_of(&b);
    (void)rig_event(rig, &ev);
    strbuf_fini(&b);
}

START_TEST(test_group_conflict_is_remembered_by_who_joins)
{
    struct serf_event join = {.type = SERF_EV_JOIN, .addr = rig_addr(10), .id = 7};
    struct rig rig;

    rules = (struct guard_rules){.federation = ""};
    rig_init(&rig, guarded);
    take_join(&rig, 10, "p.west", meta_of("west", "", GROUP_B));
    ck_assert_int_eq(rig_status(&rig, "p.west"), SERF_NONE);
    ck_assert_ptr_null(rig_stats(&rig).group_conflict);           /* somebody else's trouble */
    ck_assert_uint_eq((uint8_t)rig.answer.data[0], ML_PUSH_PULL); /* he is to see it himself */

    ck_assert_int_eq(rig_event(&rig, &join), 0);
    answer_dial(&rig, "p.west", meta_of("west", "", GROUP_B));
    ck_assert_uint_eq(rig.join_errors, 1);
    ck_assert_ptr_nonnull(rig_stats(&rig).group_conflict);
    ck_assert_ptr_nonnull(strstr(rig_stats(&rig).group_conflict, GROUP_A));
    ck_assert_ptr_nonnull(strstr(rig_stats(&rig).group_conflict, GROUP_B));
    ck_assert_int_eq(rig_status(&rig, "p.west"), SERF_NONE);

    ck_assert_int_eq(rig_event(&rig, &join), 0); /* mended there */
    answer_dial(&rig, "p.west", meta_of("west", "", GROUP_A));
    ck_assert_uint_eq(rig.joined, 1);
    ck_assert_ptr_null(rig_stats(&rig).group_conflict);
    rig_fini(&rig);
}
END_TEST

/* With an id of its own a core asks who is there before it says who it is. */
START_TEST(test_looks_before_it_joins)
{
    struct serf_event join = {.type = SERF_EV_JOIN, .addr = rig_addr(10), .id = 7};
    struct rig rig;

    rules = (struct guard_rules){.federation = "blue"};
    rig_init(&rig, guarded);
    ck_assert_int_eq(rig_event(&rig, &join), 0);
    ck_assert_uint_eq(rig.dials, 1);
    answer_dial(&rig, "p.east", meta_of("east", "", "")); /* an open pool */
    ck_assert_uint_eq(rig.join_errors, 1);
    ck_assert_int_eq(rig_status(&rig, "p.east"), SERF_NONE);
    ck_assert_uint_eq(rig.dials, 2); /* it is told why */
    ck_assert_uint_eq(rig.last_dial_type, ML_ERR);

    ck_assert_int_eq(rig_event(&rig, &join), 0);
    answer_dial(&rig, "p.east", meta_of("east", "blue", ""));
    ck_assert_uint_eq(rig.joined, 0);
    ck_assert_int_eq(rig_status(&rig, "p.east"), SERF_NONE);
    ck_assert_uint_eq(rig.last_dial_type, ML_PUSH_PULL);
    answer_dial(&rig, "p.east", meta_of("east", "blue", ""));
    ck_assert_uint_eq(rig.joined, 1);
    ck_assert_int_eq(rig_status(&rig, "p.east"), SERF_ALIVE);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_new_tags_are_announced)
{
    struct serf_event ev = {.type = SERF_EV_TAGS};
    struct rig rig;

    rules = (struct guard_rules){.federation = ""};
    rig_init(&rig, guarded);
    rig_alive(&rig, "p.west", 1, 10);
    rig_run_for(&rig, NS_PER_SEC);
    rig_forget(&rig);
    ev.data = meta_of("west", "", GROUP_B);
    ck_assert_int_eq(rig_event(&rig, &ev), 0);
    ck_assert_uint_eq(rig_inc(&rig, "me.west"), 2);
    rig_run_for(&rig, NS_PER_SEC);
    ck_assert_ptr_nonnull(rig_last(&rig, ML_ALIVE, "me.west"));
    ev.data = meta_of("west", "", GROUP_B); /* nothing new */
    ck_assert_int_eq(rig_event(&rig, &ev), 0);
    ck_assert_uint_eq(rig_inc(&rig, "me.west"), 2);
    rig_fini(&rig);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("serfd_guard");

    tcase_add_test(t, test_cidr_parse);
    tcase_add_test(t, test_allows);
    tcase_add_test(t, test_check);
    tcase_add_test(t, test_groups_of_third_parties);
    tcase_add_test(t, test_stamp);
    tcase_add_test(t, test_federation_refused_by_gossip_and_at_join);
    tcase_add_test(t, test_open_takes_everybody);
    tcase_add_test(t, test_allow_list);
    tcase_add_test(t, test_group_conflict_is_remembered_by_who_joins);
    tcase_add_test(t, test_looks_before_it_joins);
    tcase_add_test(t, test_new_tags_are_announced);
    return check_run("serfd_guard", t, NULL);
}
