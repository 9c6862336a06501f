/* SPDX-License-Identifier: MPL-2.0 */
/* Addresses from commands, waits between tries, addresses of the own region. */
#include <errno.h>

#include "check_run.h"
#include "serfd_sources.h"
#include "test_serfd_rig.h"

/* ---- what a command printed ---- */

static size_t parse(const char *text, char **addrs, size_t max, int want)
{
    struct errtext e = {""};
    size_t n = 0;
    int r = sources_parse(text, strlen(text), addrs, max, &n, &e);

    ck_assert_msg(r == want, "%s: %d %s", text, r, e.text);
    return n;
}

static void free_all(char **addrs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(addrs[i]);
}

START_TEST(test_parse)
{
    char *a[4];
    size_t n = parse("# ours\n10.0.0.1\n 10.0.0.2:4648 \r\n\n[::1]:5#6\nx.example # y\n", a, 4, 0);

    ck_assert_uint_eq(n, 4);
    ck_assert_str_eq(a[0], "10.0.0.1");
    ck_assert_str_eq(a[1], "10.0.0.2:4648");
    ck_assert_str_eq(a[2], "[::1]:5#6");
    ck_assert_str_eq(a[3], "x.example");
    free_all(a, n);
    n = parse("a b,c", a, 4, 0);
    ck_assert_uint_eq(n, 3);
    free_all(a, n);
    ck_assert_uint_eq(parse("", a, 4, 0), 0);
    ck_assert_uint_eq(parse("\n# nothing", a, 4, 0), 0);
    n = parse("a b c d e", a, 4, -E2BIG);
    ck_assert_uint_eq(n, 4);
    free_all(a, n);
    n = parse("good \001bad", a, 4, -EINVAL);
    free_all(a, n);
}
END_TEST

START_TEST(test_parse_long)
{
    char text[SOURCES_ADDR_MAX + 2], *a[1];

    memset(text, 'a', sizeof(text));
    text[SOURCES_ADDR_MAX + 1] = 0;
    ck_assert_uint_eq(parse(text, a, 1, -EINVAL), 0);
    text[SOURCES_ADDR_MAX] = 0;
    ck_assert_uint_eq(parse(text, a, 1, 0), 1);
    free_all(a, 1);
}
END_TEST

START_TEST(test_command)
{
    ck_assert_str_eq(source_command("exec=ls -l"), "ls -l");
    ck_assert_ptr_null(source_command("exec"));
    ck_assert_ptr_null(source_command("127.0.0.1"));
}
END_TEST

/* ---- waits ---- */

START_TEST(test_retry_slows_down)
{
    struct retry_plan p = {.interval_ns = 30 * NS_PER_SEC};
    static const int64_t want_ms[] = {500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000};

    for (size_t i = 0; i < ARRAY_LEN(want_ms); i++)
        ck_assert_int_eq(retry_failed(&p, 0) / NS_PER_MS, want_ms[i]);
    for (int i = 0; i < 10000; i++) /* for ever */
        ck_assert_int_eq(retry_failed(&p, 0), 30 * NS_PER_SEC);
}
END_TEST

START_TEST(test_retry_jitter)
{
    for (uint64_t random = 0; random < 1000; random++) {
        struct retry_plan p = {.interval_ns = NS_PER_SEC, .tries = 5};
        int64_t wait = retry_failed(&p, random * UINT64_C(0x9e3779b97f4a7c15));

        ck_assert_int_le(wait, NS_PER_SEC);
        ck_assert_int_ge(wait, NS_PER_SEC * 3 / 4);
    }
}
END_TEST

/* retry_max counts tries that are an interval apart: it means the time that it means in Nomad. */
START_TEST(test_retry_ends)
{
    struct retry_plan p = {.interval_ns = 2 * NS_PER_SEC, .max = 2};
    struct retry_plan quick = {.interval_ns = 100 * NS_PER_MS, .max = 3};
    int64_t sum = 0, wait;

    while ((wait = retry_failed(&p, 0)) >= 0)
        sum += wait;
    ck_assert_int_eq(sum / NS_PER_MS, 500 + 1000 + 2000);
    ck_assert_uint_eq(p.tries, 4);
    ck_assert_int_eq(retry_failed(&quick, 0), 100 * NS_PER_MS);
    ck_assert_int_eq(retry_failed(&quick, 0), 100 * NS_PER_MS);
    ck_assert_int_eq(retry_failed(&quick, 0), -1);
}
END_TEST

/* ---- two addresses ---- */

START_TEST(test_addr_parse)
{
    static const char *const good[] = {"1.2.3.4:5", "[::1]:65535", "[fd00::1]:4648"};
    static const char *const bad[] = {"",           "1.2.3.4",    "1.2.3.4:0", "1.2.3.4:65536",
                                      "1.2.3.4:x",  "::1:5",      "[::1:5",    "[::1]",
                                      "host:4648",  ":5",         "[]:5",      "1.2.3.4:+5",
                                      "1.2.3.4: 5", "[1.2.3.4]:5"};
    char text[GOSSIP_ADDR_TEXT_MAX];
    struct gossip_addr a;

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        ck_assert_msg(gossip_addr_parse(&a, SPAN_STR(good[i])), "%s", good[i]);
        ck_assert_str_eq(gossip_addr_text(&a, text), good[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!gossip_addr_parse(&a, SPAN_STR(bad[i])), "%s", bad[i]);
}
END_TEST

static struct span lan_meta(const char *region, const char *lan)
{
    static struct strbuf meta;
    struct tag tags[] = {{"role", "nomad"},  {"region", region}, {"vsn", "1"},
                         {"build", "0.1.0"}, {"port", "4647"},   {TAG_SERF_LAN, lan}};

    strbuf_reset(&meta);
    ck_assert_int_eq(tags_put(&meta, tags, ARRAY_LEN(tags)), 0);
    return span_of(&meta);
}

static void say_alive(struct rig *rig, const char *name, unsigned host, struct span meta)
{
    static const uint8_t vsn[6] = {1, 5, 2, 2, 5, 4};
    struct gossip_addr a = rig_addr(host);
    struct msg_alive m = {1, SPAN_STR(name), {a.ip, 4}, meta, {vsn, 6}, a.port};

    rig_message(rig, ML_ALIVE, &msg_alive_schema, &m);
}

static void own_lan(struct serf_options *o)
{
    o->meta = lan_meta("west", "10.0.0.1:4648");
}

/* Answers come back to where a ping came from: an address in it would only cost bytes. */
static void ask_pings(const struct rig *rig, const char *node, const char *to)
{
    const struct rig_seen *ping = rig_last(rig, ML_PING, node);
    struct mp_scratch scratch = {.used = 0};
    char text[GOSSIP_ADDR_TEXT_MAX];
    struct msg_ping msg;

    ck_assert_ptr_nonnull(ping);
    ck_assert_str_eq(gossip_addr_text(&ping->to, text), to);
    ck_assert(msg_get((struct span){ping->raw, ping->raw_len}, &msg_ping_schema, &msg, &scratch));
    ck_assert_uint_eq(msg.source_addr.len + msg.source_port, 0);
    ck_assert(span_is(msg.source_node, "me.west"));
}

/* Members of the own region are reached in the region's network, and answer there. */
START_TEST(test_lan_and_wan)
{
    char text[GOSSIP_ADDR_TEXT_MAX];
    struct serf_member_info info;
    struct rig rig;

    rig_init(&rig, own_lan);
    say_alive(&rig, "near.west", 10, lan_meta("west", "10.0.0.10:4648"));
    say_alive(&rig, "far.east", 11, lan_meta("east", "10.0.0.11:4648"));
    say_alive(&rig, "plain.west", 12, rig_meta(NULL, NULL));
    rig_run_for(&rig, 10 * NS_PER_SEC);
    ask_pings(&rig, "near.west", "10.0.0.10:4648");
    ask_pings(&rig, "far.east", "127.0.11.1:4648");
    ask_pings(&rig, "plain.west", "127.0.12.1:4648");
    ck_assert_int_eq(serf_member_find(rig.s, "near.west", &info), 0);
    ck_assert_str_eq(gossip_addr_text(&info.addr, text), "10.0.0.10:4648");
    ck_assert_int_eq(serf_member_find(rig.s, "far.east", &info), 0);
    ck_assert_str_eq(gossip_addr_text(&info.addr, text), "127.0.11.1:4648");
    rig_fini(&rig);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("serfd_sources");

    tcase_add_test(t, test_parse);
    tcase_add_test(t, test_parse_long);
    tcase_add_test(t, test_command);
    tcase_add_test(t, test_retry_slows_down);
    tcase_add_test(t, test_retry_jitter);
    tcase_add_test(t, test_retry_ends);
    tcase_add_test(t, test_addr_parse);
    tcase_add_test(t, test_lan_and_wan);
    return check_run("serfd_sources", t, NULL);
}
