/* SPDX-License-Identifier: MPL-2.0 */
#include <string.h>

#include "check_run.h"
#include "routerd_core.h"

static steppe_Member member(const char *name, const char *addr, const char *region,
                            const char *status, double rtt_ms)
{
    static steppe_Member_TagsEntry tags[32][3];
    static unsigned used;
    steppe_Member_TagsEntry *t = tags[used++ % 32];

    t[0] = (steppe_Member_TagsEntry){.key = (char *)"role", .value = (char *)"nomad"};
    t[1] = (steppe_Member_TagsEntry){.key = (char *)"region", .value = (char *)region};
    t[2] = (steppe_Member_TagsEntry){.key = (char *)"port", .value = (char *)"4647"};
    return (steppe_Member){.name = (char *)name,
                           .addr = (char *)addr,
                           .status = (char *)status,
                           .tags = t,
                           .tags_count = 3,
                           .rtt_ms = rtt_ms};
}

static struct route_table *table_of(steppe_Member *m, pb_size_t n)
{
    struct route_table *t = route_table_new("west", 1);
    steppe_MemberList list = {.members = m, .members_count = n, .self = (char *)"w1.west"};

    route_table_update(t, &list, (struct mono_ns){1});
    return t;
}

/* Other regions take rpc_wan where there is one, the own region takes rpc_addr. */
START_TEST(test_lan_and_wan)
{
    steppe_Member_TagsEntry tags[2][5] = {
        {{(char *)"role", (char *)"nomad"},
         {(char *)"region", (char *)"west"},
         {(char *)"port", (char *)"4647"},
         {(char *)"rpc_addr", (char *)"10.0.0.2"},
         {(char *)"rpc_wan", (char *)"198.51.100.2:14647"}},
        {{(char *)"role", (char *)"nomad"},
         {(char *)"region", (char *)"east"},
         {(char *)"port", (char *)"4647"},
         {(char *)"rpc_addr", (char *)"10.0.0.2"},
         {(char *)"rpc_wan", (char *)"[2001:db8::2]:14647"}},
    };
    steppe_Member m[] = {member("w2.west", "127.0.1.2", "west", "alive", 0),
                         member("e1.east", "127.0.2.1", "east", "alive", 0)};
    struct route_server *order[ROUTE_TRIES_MAX];
    struct route_table *t;

    for (size_t i = 0; i < ARRAY_LEN(m); i++) {
        m[i].tags = tags[i];
        m[i].tags_count = 5;
    }
    t = table_of(m, ARRAY_LEN(m));
    ck_assert_uint_eq(route_table_order(t, "west", (struct mono_ns){0}, order), 1);
    ck_assert_str_eq(order[0]->endpoint, "tcp://10.0.0.2:4647");
    ck_assert_uint_eq(route_table_order(t, "east", (struct mono_ns){0}, order), 1);
    ck_assert_str_eq(order[0]->endpoint, "tcp://[2001:db8::2]:14647");
    route_table_free(t);
}
END_TEST

START_TEST(test_no_path)
{
    steppe_Member m[] = {
        member("w1.west", "127.0.1.1", "west", "alive", 0),
        member("e1.east", "127.0.2.1", "east", "failed", 0),
    };
    struct route_table *t = table_of(m, ARRAY_LEN(m));
    struct route_server *order[ROUTE_TRIES_MAX];
    struct mono_ns now = {0};
    size_t n;
    const char **regions = route_table_regions(t, (struct mono_ns){1}, &n);

    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(regions[0], "west");
    free(regions);
    ck_assert_uint_eq(route_table_order(t, "east", now, order), 0);  /* known, but failed */
    ck_assert_uint_eq(route_table_order(t, "north", now, order), 0); /* never heard of */
    ck_assert_uint_eq(route_table_order(t, "west", now, order), 0);  /* only self */
    route_table_free(t);
}
END_TEST

START_TEST(test_nearest_first_failed_last)
{
    steppe_Member m[] = {
        member("a.east", "127.0.2.1", "east", "alive", 80),
        member("b.east", "127.0.2.2", "east", "alive", 10),
        member("c.east", "127.0.2.3", "east", "alive", 40),
    };
    struct route_server *order[ROUTE_TRIES_MAX];

    /* In every insertion order the result is the same. */
    for (int shift = 0; shift < 3; shift++) {
        steppe_Member r[] = {m[shift], m[(shift + 1) % 3], m[(shift + 2) % 3]};
        struct route_table *t = table_of(r, ARRAY_LEN(r));
        struct mono_ns now = {NS_PER_SEC};

        ck_assert_uint_eq(route_table_order(t, "east", now, order), 3);
        ck_assert_str_eq(order[0]->name, "b.east");
        ck_assert_str_eq(order[1]->name, "c.east");
        ck_assert_str_eq(order[2]->name, "a.east");
        route_server_result(order[0], false, now);
        ck_assert_uint_eq(route_table_order(t, "east", now, order), 3);
        ck_assert_str_eq(order[0]->name, "c.east");
        ck_assert_str_eq(order[2]->name, "b.east");
        now.ns += NS_PER_SEC; /* the avoidance of one failure is over */
        ck_assert_uint_eq(route_table_order(t, "east", now, order), 3);
        ck_assert_str_eq(order[0]->name, "b.east");
        route_table_free(t);
    }
}
END_TEST

START_TEST(test_avoidance_doubles_and_ends)
{
    struct route_server s = {0};
    struct mono_ns now = {0};
    int64_t last = 0;

    for (int i = 0; i < 20; i++) {
        route_server_result(&s, false, now);
        ck_assert_int_ge(s.avoid_until.ns, last);
        last = s.avoid_until.ns;
    }
    ck_assert_int_eq(last, 10 * NS_PER_SEC);
    route_server_result(&s, true, now);
    ck_assert_int_eq(s.avoid_until.ns, 0);
    route_server_result(&s, false, now);
    ck_assert_int_eq(s.avoid_until.ns, 200 * NS_PER_MS);
}
END_TEST

START_TEST(test_update_keeps_and_removes)
{
    steppe_Member m[] = {
        member("a.east", "127.0.2.1", "east", "alive", 0),
        member("b.east", "127.0.2.2", "east", "alive", 0),
        member("b.east", "127.0.2.2", "east", "failed", 0),
    };
    struct route_table *t = table_of(m, 2);
    steppe_MemberList only_a = {.members = m, .members_count = 1};
    steppe_MemberList failed = {.members = m + 2, .members_count = 1};
    struct route_server *order[ROUTE_TRIES_MAX];
    struct mono_ns now = {1};

    ck_assert_uint_eq(route_table_order(t, "east", now, order), 2);
    route_server_result(route_table_find(t, "tcp://127.0.2.1:4647"), false, now);
    route_table_update(t, &only_a, now); /* b is not named: a serfd that knows it not yet? */
    now.ns += ROUTE_MISSING_NS - 1;
    ck_assert_uint_eq(route_table_order(t, "east", now, order), 2);
    route_table_update(t, &only_a, now); /* still not: the time goes on */
    now.ns += 1;
    ck_assert_uint_eq(route_table_order(t, "east", now, order), 1);
    ck_assert_uint_eq(order[0]->failures, 1);
    route_table_update(t, &failed, now); /* said to be dead: at once; a is missing now */
    ck_assert_uint_eq(route_table_order(t, "east", now, order), 1);
    ck_assert_str_eq(order[0]->name, "a.east");
    route_table_free(t);
}
END_TEST

/* A serfd that starts again knows only its own node: the ways stay. A new address is taken at once.
 */
START_TEST(test_serfd_starts_again)
{
    steppe_Member m[] = {
        member("w1.west", "127.0.1.1", "west", "alive", 0),
        member("a.east", "127.0.2.1", "east", "alive", 0),
        member("a.east", "127.0.2.7", "east", "alive", 0),
    };
    struct route_table *t = table_of(m, 2);
    steppe_MemberList alone = {.members = m, .members_count = 1, .self = (char *)"w1.west"};
    steppe_MemberList moved = {.members = m + 2, .members_count = 1, .self = (char *)"w1.west"};
    struct route_server *order[ROUTE_TRIES_MAX];
    struct mono_ns now = {NS_PER_SEC};
    _cleanup_(freep) const char **regions = NULL;
    size_t n;

    route_table_update(t, &alone, now);
    ck_assert_uint_eq(route_table_order(t, "east", now, order), 1);
    regions = route_table_regions(t, now, &n);
    ck_assert_uint_eq(n, 2);
    route_table_update(t, &moved, now);
    ck_assert_uint_eq(route_table_order(t, "east", now, order), 1);
    ck_assert_str_eq(order[0]->endpoint, "tcp://127.0.2.7:4647");
    ck_assert_ptr_eq(route_table_named(t, "a.east"), order[0]);
    route_table_free(t);
}
END_TEST

START_TEST(test_garbage_tags_are_no_server)
{
    steppe_Member m[] = {member("a.east", "127.0.2.1", "east", "alive", 0),
                         member("b.east", NULL, "east", "alive", 0)};
    struct route_server *order[ROUTE_TRIES_MAX];
    struct mono_ns now = {0};
    struct route_table *t;

    m[0].tags[2].value = (char *)"46;47";
    t = table_of(m, 2);
    ck_assert_uint_eq(route_table_order(t, "east", now, order), 0);
    route_table_add_static(t, "127.0.1.9:4647");
    ck_assert_uint_eq(route_table_order(t, "west", now, order), 1);
    route_table_free(t);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("core");

    tcase_add_test(t, test_lan_and_wan);
    tcase_add_test(t, test_no_path);
    tcase_add_test(t, test_nearest_first_failed_last);
    tcase_add_test(t, test_avoidance_doubles_and_ends);
    tcase_add_test(t, test_update_keeps_and_removes);
    tcase_add_test(t, test_serfd_starts_again);
    tcase_add_test(t, test_garbage_tags_are_no_server);
    return check_run("routerd_core", t, NULL);
}
