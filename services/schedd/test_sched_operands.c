/* SPDX-License-Identifier: MPL-2.0 */
/* Operands of constraints, versions, regular expressions. */
#include <string.h>

#include "check_run.h"
#include "sched_match.h"
#include "sched_version.h"

static struct sched_regexps *re;

static void setup(void)
{
    re = sched_regexps_new();
}

static void teardown(void)
{
    re = sched_regexps_free(re);
}

START_TEST(test_operands)
{
    static const struct {
        const char *op, *l, *r;
        bool want;
    } cases[] = {
        {"=", "a", "a", true},
        {"==", "a", "b", false},
        {"is", "", "", true},
        {"=", NULL, "a", false},
        {"=", NULL, NULL, false},
        {"!=", "a", "b", true},
        {"not", "a", "a", false},
        {"!=", NULL, "a", true},
        {"!=", NULL, NULL, false},
        {"!=", NULL, "", false}, /* a Go map's zero value */
        {"not", "", NULL, false},
        {"<", "10", "9", true}, /* texts, as Nomad 1.1 */
        {"<", "a", "a", false},
        {"<=", "a", "a", true},
        {">", "b", "a", true},
        {">=", "a", "b", false},
        {">=", NULL, "b", false},
        {"is_set", "", NULL, true},
        {"is_set", NULL, NULL, false},
        {"is_not_set", NULL, NULL, true},
        {"is_not_set", "x", NULL, false},
        {"set_contains", "a,b,c", "c, a", true},
        {"set_contains", "a,b", "a,c", false},
        {"set_contains_all", " a ,b", "b,a", true},
        {"set_contains_any", "a,b", "x, b", true},
        {"set_contains_any", "a,b", "x", false},
        {"set_contains", NULL, "x", false},
        {"regexp", "linux", "^lin", true},
        {"regexp", "linux", "win", false},
        {"regexp", "linux", "(", false},
        {"version", "1.2.3", ">= 1.2, < 2", true},
        {"semver", "1.2.3", ">= 1.2.0", true},
        {"distinct_hosts", NULL, NULL, true},
        {"distinct_property", "a", "b", true},
        {"nonsense", "a", "a", false},
        {NULL, "a", "a", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ck_assert_msg(sched_operand(re, cases[i].op, cases[i].l, cases[i].r) == cases[i].want,
                      "case %zu: %s", i, cases[i].op ? cases[i].op : "-");
}
END_TEST

START_TEST(test_targets)
{
    steppe_Node_AttributesEntry attr[] = {{(char *)"kernel.name", (char *)"linux"},
                                          {(char *)"empty", NULL}};
    steppe_Node_MetaEntry m[] = {{(char *)"rack", (char *)"r1"}};
    steppe_Node n = {.id = (char *)"id1",
                     .datacenter = (char *)"dc1",
                     .name = (char *)"n1",
                     .node_class = (char *)"c1",
                     .attributes = attr,
                     .attributes_count = 2,
                     .meta = m,
                     .meta_count = 1};
    static const char *const cases[][2] = {
        {"literal", "literal"},
        {"", ""},
        {"${node.unique.id}", "id1"},
        {"${node.datacenter}", "dc1"},
        {"${node.unique.name}", "n1"},
        {"${node.class}", "c1"},
        {"${attr.kernel.name}", "linux"},
        {"${attr.empty}", ""},
        {"${attr.kernel}", NULL},
        {"${meta.rack}", "r1"},
        {"${meta.shelf}", NULL},
        {"${node.pool}", NULL},
        {"${", NULL},
        {"${attr.", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *got = sched_target(cases[i][0], &n);

        ck_assert_msg((!got && !cases[i][1]) || (got && cases[i][1] && !strcmp(got, cases[i][1])),
                      "%s gives %s", cases[i][0], got ? got : "nothing");
    }
}
END_TEST

START_TEST(test_versions)
{
    static const struct {
        const char *v, *c;
        bool lenient, semver;
    } cases[] = {
        {"1.2.3", "1.2.3", true, true},
        {"1.2.3", "= 1.2.3", true, true},
        {"1.2", "1.2.0", true, true},
        {"v1.2", "1.2", true, true},
        {"1.2.3", "!= 1.2.3", false, false},
        {"1.2.3", "> 1.2", true, true},
        {"1.2.3", ">= 1.2, < 1.2.3", false, false},
        {"1.2.3", " >=1.2 ,<2 ", true, true},
        {"1.10", "> 1.9", true, true},
        {"1.2.3", "~> 1.2", true, false}, /* ~> is for `version` only */
        {"1.3.0", "~> 1.2", true, false},
        {"1.3.0", "~> 1.2.3", false, false},
        {"1.2.4", "~> 1.2.3", true, false},
        {"2.0", "~> 1.2", false, false},
        {"1.2.0", "~> 1.2.3", false, false},
        {"1.7.0-rc1", "> 1.6", false, true}, /* pre-releases */
        {"1.7.0-rc1", "< 1.7.0", false, true},
        {"1.7.0-rc1", ">= 1.7.0-beta", true, true},
        {"1.7.1-rc1", ">= 1.7.0-beta", false, true},
        {"1.7.0", "> 1.7.0-rc1", true, true},
        {"1.0.0-alpha", "< 1.0.0-alpha.1", true, true},
        {"1.0.0-alpha.1", "< 1.0.0-alpha.beta", true, true},
        {"1.0.0-2", "< 1.0.0-11", true, true},
        {"1.0.0-rc.1", "< 1.0.0", false, true},
        {"1.2.3+build", "= 1.2.3", true, true},
        {"6.1.0-18-amd64", ">= 6.0", false, true},
        {"1.2.3beta", "= 1.2.3-beta", true, true}, /* the left side is always read leniently */
        {"x", "> 1", false, false},
        {"1", "", false, false},
        {"1", "> x", false, false},
        {"1", "> 1,", false, false},
        {"", "> 1", false, false},
        {"1.2.3-", "< 2", false, true}, /* a pre-release called "-" */
        {"1.2.3", "!= 1.2.3-", true, false},
        {"1.2.3-.a", "> 1", false, true},
        {"99999999999999999999", "> 1", false, false},
        {"1.2.", "> 1", false, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ck_assert_msg(sched_version_matches(SCHED_VERSION_LENIENT, cases[i].v, cases[i].c) ==
                          cases[i].lenient,
                      "version %s %s", cases[i].v, cases[i].c);
        ck_assert_msg(sched_version_matches(SCHED_VERSION_SEMVER, cases[i].v, cases[i].c) ==
                          cases[i].semver,
                      "semver %s %s", cases[i].v, cases[i].c);
    }
}
END_TEST

START_TEST(test_regexp_language)
{
    static const char *const good[] = {
        "",           "abc",         "a|b",        "^a.*z$",   "[a-z]+",     "[^]a]",
        "\\d+\\.\\d", "(a)(?:b)",    "(?i)abc",    "(?P<x>a)", "a{2,3}",     "a{2,}?",
        "a{,3}",      "[[:alpha:]]", "\\pL",       "\\x41",    "\\x{1F600}", "\\Qa.b\\E",
        "(?i:a)b",    "a*?",         "\\bword\\B", "\\A\\z",   "x\\-y",      "{",
    };
    static const char *const bad[] = {
        "(",       "a**",    "a++",   "(?=a)", "(?!a)", "(?<=a)", "(?<!a)",  "(a)\\1", "(?>a)",
        "(?R)",    "(?P=x)", "(*F)",  "\\Ka",  "a?+",   "\\Z",    "(?<x>a)", "[a",     "a{1001}",
        "a{2}{3}", "\\G",    "(?|a)", "\\",    "[\\",   "(?#x)",  "\\E",     "a\\Eb",
    };

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        ck_assert_msg(sched_regexp_valid(good[i]), "refused: %s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!sched_regexp_valid(bad[i]), "taken: %s", bad[i]);
}
END_TEST

START_TEST(test_regexp_matches)
{
    char hard[64], long_pattern[SCHED_REGEXP_LEN_MAX + 2];

    ck_assert(sched_regexp_matches(re, "b", "abc")); /* anywhere */
    ck_assert(!sched_regexp_matches(re, "^b", "abc"));
    ck_assert(!sched_regexp_matches(re, "a$", "a\n")); /* $ is the very end */
    ck_assert(!sched_regexp_matches(re, "a.b", "a\nb"));
    ck_assert(sched_regexp_matches(re, "a.b",
                                   "a\xc3\xa4"
                                   "b")); /* one character, two bytes */
    ck_assert(sched_regexp_matches(re, "b",
                                   "\xff"
                                   "b")); /* not UTF-8 */
    /* Takes for ever by backtracking: no match instead. */
    memset(hard, 'a', sizeof(hard) - 1);
    hard[sizeof(hard) - 1] = 0;
    ck_assert(!sched_regexp_matches(re, "^(a|aa)+(a|aa)+(a|aa)+b$", hard));
    memset(long_pattern, 'a', sizeof(long_pattern) - 1);
    long_pattern[sizeof(long_pattern) - 1] = 0;
    ck_assert(!sched_regexp_valid(long_pattern));
    /* More expressions than are kept. */
    for (int round = 0; round < 3; round++) {
        for (char ch = '!'; ch < '~'; ch++) {
            char pattern[8] = "\\x41", text[2] = {ch, 0};

            pattern[2] = "0123456789abcdef"[ch >> 4];
            pattern[3] = "0123456789abcdef"[ch & 15];
            ck_assert_msg(sched_regexp_matches(re, pattern, text), "%s", pattern);
        }
    }
}
END_TEST

START_TEST(test_drivers)
{
    steppe_Node_AttributesEntry attr[] = {{(char *)"driver.a", (char *)"1"},
                                          {(char *)"driver.b", (char *)"false"},
                                          {(char *)"driver.c", (char *)"true"},
                                          {(char *)"driver.d", (char *)"yes"},
                                          {(char *)"driver.e.version", (char *)"1"}};
    steppe_Node_DriversEntry info[] = {
        {(char *)"c", true, {.detected = true, .healthy = false}},
        {(char *)"f", true, {.detected = true, .healthy = true}},
    };
    steppe_Node n = {
        .attributes = attr, .attributes_count = 5, .drivers = info, .drivers_count = 2};
    static const struct {
        const char *driver;
        bool want;
    } cases[] = {{"a", true},  {"b", false}, {"c", false}, {"d", false},
                 {"e", false}, {"f", true},  {"g", false}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ck_assert_msg(sched_driver_there(&n, cases[i].driver) == cases[i].want, "driver %s",
                      cases[i].driver);
}
END_TEST

START_TEST(test_escapes)
{
    static const struct {
        const char *l, *r;
        bool want;
    } cases[] = {{"${attr.kernel.name}", "linux", false}, {"${node.unique.id}", "x", true},
                 {"x", "${meta.unique.a}", true},         {"${attr.unique.hostname}", "", true},
                 {"${node.class}", NULL, false},          {NULL, NULL, false}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        steppe_Constraint c = {.l_target = (char *)cases[i].l, .r_target = (char *)cases[i].r};

        ck_assert_msg(sched_constraint_escapes(&c) == cases[i].want, "case %zu", i);
    }
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("operands");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_operands);
    tcase_add_test(t, test_targets);
    tcase_add_test(t, test_versions);
    tcase_add_test(t, test_regexp_language);
    tcase_add_test(t, test_regexp_matches);
    tcase_add_test(t, test_drivers);
    tcase_add_test(t, test_escapes);
    return check_run("sched_operands", t, NULL);
}
