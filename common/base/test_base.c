/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/idmap.h"
#include "base/prng.h"
#include "base/strbuf.h"
#include "check_run.h"

static const struct {
    const char *text;
    int64_t ns;
    const char *printed;
} durations[] = {
    {"0", 0, "0s"},
    {"300ms", 300 * NS_PER_MS, "300ms"},
    {"1.5h", 5400 * NS_PER_SEC, "1h30m0s"},
    {"2h45m", 9900 * NS_PER_SEC, "2h45m0s"},
    {"1h2m3.5s", 3723500 * NS_PER_MS, "1h2m3.5s"},
    {"-10s", -10 * NS_PER_SEC, "-10s"},
    {"5ns", 5, "5ns"},
    {"1.5us", 1500, "1.5\xc2\xb5s"},
    {".5s", 500 * NS_PER_MS, "500ms"},
};

START_TEST(test_duration)
{
    char buf[DURATION_TEXT_MAX];
    int64_t ns;

    for (size_t i = 0; i < ARRAY_LEN(durations); i++) {
        ck_assert_int_eq(duration_parse(durations[i].text, &ns), 0);
        ck_assert_int_eq(ns, durations[i].ns);
        ck_assert_str_eq(duration_format(ns, buf), durations[i].printed);
    }
    ck_assert_int_eq(duration_parse("", &ns), -EINVAL);
    ck_assert_int_eq(duration_parse("5", &ns), -EINVAL);
    ck_assert_int_eq(duration_parse("10x", &ns), -EINVAL);
    ck_assert_int_eq(duration_parse("s", &ns), -EINVAL);
    ck_assert_int_eq(duration_parse("9999999999h", &ns), -ERANGE);
}
END_TEST

START_TEST(test_strbuf_bound)
{
    struct strbuf b = STRBUF_BOUND(8);

    strbuf_adds(&b, "12345678");
    ck_assert(!strbuf_failed(&b));
    strbuf_addc(&b, '9');
    ck_assert(strbuf_failed(&b));
    ck_assert_str_eq(b.data, "12345678");
    strbuf_reset(&b);
    strbuf_addf(&b, "%d", 42);
    ck_assert_str_eq(b.data, "42");
    strbuf_fini(&b);
}
END_TEST

START_TEST(test_uuid)
{
    char a[UUID_TEXT_LEN + 1], b[UUID_TEXT_LEN + 1];
    struct prng p;

    uuid_make(a);
    prng_seed(&p, 1);
    uuid_from_prng(&p, b);
    ck_assert(uuid_valid(a) && uuid_valid(b) && strcmp(a, b) != 0);
    a[8] = 'x';
    ck_assert(!uuid_valid(a));
    ck_assert(!uuid_valid("abc"));
}
END_TEST

START_TEST(test_idmap)
{
    enum { IDS = 2000 };
    bool in[IDS + 1] = {false};
    struct idmap m = {0};
    struct prng p;
    size_t live = 0, seen = 0, at = 0;

    prng_seed(&p, 7);
    for (int step = 0; step < 50000; step++) {
        uint64_t id = prng_below(&p, IDS) + 1;

        ck_assert_ptr_eq(idmap_get(&m, id), in[id] ? &in[id] : NULL);
        if (in[id])
            ck_assert_ptr_eq(idmap_remove(&m, id), &in[id]);
        else
            idmap_put(&m, id, &in[id]);
        in[id] = !in[id];
        live += in[id] ? 1 : (size_t)-1;
    }
    while (idmap_next(&m, &at))
        seen++;
    ck_assert_uint_eq(seen, live);
    ck_assert_uint_eq(m.n, live);
    ck_assert_ptr_null(idmap_remove(&m, IDS + 5));
    idmap_fini(&m);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("base");

    tcase_add_test(t, test_duration);
    tcase_add_test(t, test_strbuf_bound);
    tcase_add_test(t, test_uuid);
    tcase_add_test(t, test_idmap);
    return check_run("base", t, NULL);
}
