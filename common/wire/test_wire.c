/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "check_run.h"
#include "member.pb.h"
#include "wire/field.h"
#include "wire/wire.h"

START_TEST(test_envelopes)
{
    steppe_Request req = {.version = WIRE_VERSION, .method = 23, .stale = true, .hops = 2}, back;
    steppe_Reply rep = {.version = WIRE_VERSION, .code = 404, .index = UINT64_MAX}, rback;
    uint8_t buf[WIRE_ENVELOPE_MAX];
    struct errtext e;
    size_t n;

    (void)snprintf(req.region, sizeof(req.region), "east");
    memset(req.prefix, 'x', sizeof(req.prefix) - 1); /* the longest of each text fits */
    memset(req.namespace, 'n', sizeof(req.namespace) - 1);
    memset(req.token, 't', sizeof(req.token) - 1);
    n = wire_request_encode(&req, buf);
    ck_assert_int_eq(wire_request_decode(buf, n, &back, &e), 0);
    ck_assert_str_eq(back.region, "east");
    ck_assert_str_eq(back.prefix, req.prefix);
    ck_assert_uint_eq(back.hops, 2);
    memset(rep.error, 'e', sizeof(rep.error) - 1);
    n = wire_reply_encode(&rep, buf);
    ck_assert_int_eq(wire_reply_decode(buf, n, &rback, &e), 0);
    ck_assert_uint_eq(rback.index, UINT64_MAX);
    ck_assert_str_eq(rback.error, rep.error);
    /* Damage, another version, nothing at all. */
    ck_assert_int_eq(wire_reply_decode(buf, n - 1, &rback, &e), -EBADMSG);
    ck_assert_int_eq(wire_request_decode("", 0, &back, &e), -EBADMSG);
    req.version = WIRE_VERSION + 1;
    n = wire_request_encode(&req, buf);
    ck_assert_int_eq(wire_request_decode(buf, n, &back, &e), -EBADMSG);
    ck_assert_ptr_nonnull(strstr(e.text, "version 2"));
}
END_TEST

/* A list of n regions named r0, r1, ... as encoded bytes. */
static void encode_regions(size_t n, struct strbuf *out)
{
    char **names = xcalloc(n, sizeof(*names));
    steppe_RegionListResponse list = {.regions = names, .regions_count = (pb_size_t)n};

    for (size_t i = 0; i < n; i++)
        names[i] = xasprintf("r%zu", i);
    ck_assert_int_eq(wire_encode(steppe_RegionListResponse_fields, &list, out), 0);
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

START_TEST(test_encode_any_size)
{
    static const size_t sizes[] = {0, 1, 100, 1000, 10000};

    for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
        struct strbuf b = STRBUF_INIT;
        steppe_RegionListResponse back;
        struct errtext e;

        strbuf_adds(&b, "before"); /* it appends */
        encode_regions(sizes[k], &b);
        ck_assert_int_eq(memcmp(b.data, "before", 6), 0);
        ck_assert_int_eq(wire_decode(steppe_RegionListResponse_fields, b.data + 6, b.len - 6, &back,
                                     sizeof(back), &e),
                         0);
        ck_assert_uint_eq(back.regions_count, sizes[k]);
        pb_release(steppe_RegionListResponse_fields, &back);
        strbuf_fini(&b);
    }
}
END_TEST

START_TEST(test_encode_bound)
{
    char *names[] = {(char *)"abcdefgh", (char *)"ijklmnop"};
    steppe_RegionListResponse list = {.regions = names, .regions_count = 2};
    struct strbuf exact = STRBUF_BOUND(20), tight = STRBUF_BOUND(19);

    ck_assert_int_eq(wire_encode(steppe_RegionListResponse_fields, &list, &exact), 0);
    ck_assert_uint_eq(exact.len, 20);
    ck_assert_int_eq(wire_encode(steppe_RegionListResponse_fields, &list, &tight), -EMSGSIZE);
    ck_assert_uint_eq(tight.len, 0);
    strbuf_fini(&exact);
    strbuf_fini(&tight);
}
END_TEST

START_TEST(test_items)
{
    struct strbuf b = STRBUF_INIT;
    struct wire_items it;
    const uint8_t *p;
    size_t n, seen = 0;
    char want[16];

    encode_regions(3, &b);
    it = (struct wire_items){(const uint8_t *)b.data, b.len, false};
    while (wire_items_next(&it, &p, &n)) {
        (void)snprintf(want, sizeof(want), "r%zu", seen++);
        ck_assert_uint_eq(n, strlen(want));
        ck_assert_int_eq(memcmp(p, want, n), 0);
    }
    ck_assert_uint_eq(seen, 3);
    ck_assert(!it.bad);
    it = (struct wire_items){(const uint8_t *)b.data, b.len - 1, false}; /* cut */
    while (wire_items_next(&it, &p, &n))
        ;
    ck_assert(it.bad);
    strbuf_fini(&b);
}
END_TEST

START_TEST(test_fields)
{
    /* 1: varint 300, 2: bytes "hi", 3: fixed32, 4: fixed64, 5: bytes "" */
    static const uint8_t msg[] = {0x08, 0xac, 0x02, 0x12, 2, 'h', 'i', 0x1d, 1, 2,    3, 4,
                                  0x21, 1,    2,    3,    4, 5,   6,   7,    8, 0x2a, 0};
    /* Cut length, length beyond the end, tag 0, a group, a varint of 11 bytes, a cut number. */
    static const struct bytes bad[] = {
        {(const uint8_t *)"\x12", 1},
        {(const uint8_t *)"\x12\x02h", 3},
        {(const uint8_t *)"\x00\x01", 2},
        {(const uint8_t *)"\x0b\x0c", 2},
        {(const uint8_t *)"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},
        {(const uint8_t *)"\x1d\x01\x02", 3},
        {(const uint8_t *)"\x12\xff\xff\xff\xff\x0f", 6},
    };
    struct bytes rest = bytes_of(msg, sizeof(msg));
    struct wire_field f;

    ck_assert(wire_field_next(&rest, &f) && f.tag == 1 && f.wire == WIRE_VARINT && f.num == 300);
    ck_assert(wire_field_next(&rest, &f) && f.tag == 2 && bytes_eq(f.data, bytes_text("hi")));
    ck_assert_uint_eq(f.raw.len, 4);
    ck_assert(wire_field_next(&rest, &f) && f.wire == WIRE_FIXED32 && f.data.len == 0);
    ck_assert(wire_field_next(&rest, &f) && f.wire == WIRE_FIXED64 && f.raw.len == 9);
    ck_assert(wire_field_next(&rest, &f) && f.tag == 5 && f.data.data && f.data.len == 0);
    ck_assert(!wire_field_next(&rest, &f) && rest.len == 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        rest = bad[i];
        ck_assert_msg(!wire_field_next(&rest, &f) && rest.len == bad[i].len, "%zu", i);
    }
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("wire");

    tcase_add_test(t, test_envelopes);
    tcase_add_test(t, test_encode_any_size);
    tcase_add_test(t, test_encode_bound);
    tcase_add_test(t, test_items);
    tcase_add_test(t, test_fields);
    return check_run("wire", t, NULL);
}
