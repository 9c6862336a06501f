/* SPDX-License-Identifier: MPL-2.0 */
/* The keyring: keys, its file, orders of the pool; and the questions that we ask the pool. */
#include <errno.h>

#include "bcast.h"
#include "check_run.h"
#include "sim_pool.h"
#include "test_serfd_rig.h"

/* ---- keys ---- */

static struct seal_key key_of(uint8_t fill, uint8_t len)
{
    struct seal_key k = {.len = len};

    memset(k.bytes, fill, len);
    return k;
}

static const struct {
    const char *text, *hex; /* what it decodes to */
    const char *error;      /* Go's */
} base64[] = {
    {"", "", NULL},
    {"AAECAwQFBgcICQoLDA0ODw==", "000102030405060708090a0b0c0d0e0f", NULL},
    {"AAEC\nAwQ=\r\n", "0001020304", NULL},
    {"AA==", "00", NULL},
    {"+/+/", "fbffbf", NULL},
    {"!", NULL, "illegal base64 data at input byte 0"},
    {"AAAA!AAA", NULL, "illegal base64 data at input byte 4"},
    {"AAAAAAA", NULL, "illegal base64 data at input byte 4"},
    {"AAAAA", NULL, "illegal base64 data at input byte 4"},
    {"A===", NULL, "illegal base64 data at input byte 1"},
    {"AA=", NULL, "illegal base64 data at input byte 3"},
    {"AA=A", NULL, "illegal base64 data at input byte 2"},
    {"AA==A", NULL, "illegal base64 data at input byte 4"},
    {"AAA=AAAA", NULL, "illegal base64 data at input byte 4"},
    {"AA-_", NULL, "illegal base64 data at input byte 2"},
};

START_TEST(test_base64)
{
    struct strbuf want = STRBUF_INIT;
    struct errtext e = {""};
    uint8_t buf[64];
    size_t n;
    int r = seal_base64_decode(SPAN_STR(base64[_i].text), buf, sizeof(buf), &n, &e);

    if (base64[_i].error) {
        ck_assert_int_eq(r, -EINVAL);
        ck_assert_str_eq(e.text, base64[_i].error);
    } else {
        ck_assert_int_eq(r, 0);
        hex_put(&want, base64[_i].hex);
        ck_assert_span_eq(((struct span){buf, n}), span_of(&want));
    }
    strbuf_fini(&want);
}
END_TEST

START_TEST(test_base64_bound)
{
    struct errtext e;
    uint8_t buf[4];
    size_t n;

    ck_assert_int_eq(seal_base64_decode(SPAN_STR("AAAAAA=="), buf, sizeof(buf), &n, &e), 0);
    ck_assert_int_eq(seal_base64_decode(SPAN_STR("AAAAAAA="), buf, sizeof(buf), &n, &e), -EINVAL);
}
END_TEST

START_TEST(test_keyring)
{
    struct seal_key a = key_of(1, 16), b = key_of(1, 24), c = key_of(3, 32), bad;
    struct seal_keyring ring = {.n = 0};
    struct errtext e;

    ck_assert_int_eq(seal_install(&ring, &a, &e), 0);
    ck_assert_int_eq(seal_install(&ring, &b, &e), 0);
    ck_assert_int_eq(seal_install(&ring, &a, &e), 0);
    ck_assert_uint_eq(ring.n, 2);
    ck_assert_int_eq(seal_use(&ring, &c, &e), -ENOENT);
    ck_assert_str_eq(e.text, "Requested key is not in the keyring");
    ck_assert_int_eq(seal_install(&ring, &c, &e), 0);
    ck_assert_int_eq(seal_use(&ring, &c, &e), 0);
    ck_assert_uint_eq(ring.keys[0].len, 32);
    ck_assert_uint_eq(ring.keys[1].len, 16); /* the others keep their order */
    ck_assert_uint_eq(ring.keys[2].len, 24);
    ck_assert_int_eq(seal_remove(&ring, &c, &e), -EPERM);
    ck_assert_str_eq(e.text, "Removing the primary key is not allowed");
    ck_assert_int_eq(seal_remove(&ring, &a, &e), 0);
    ck_assert_int_eq(seal_remove(&ring, &a, &e), 0); /* not there: nothing to do */
    ck_assert_uint_eq(ring.n, 2);
    ck_assert_uint_eq(ring.keys[1].len, 24);
    ck_assert_int_eq(seal_key_from(&bad, (struct span){a.bytes, 17}, &e), -EINVAL);
    ck_assert_str_eq(e.text, "key size must be 16, 24 or 32 bytes");
    for (uint8_t i = 10; ring.n < SEAL_KEYS_MAX; i++) {
        a = key_of(i, 16);
        ck_assert_int_eq(seal_install(&ring, &a, &e), 0);
    }
    a = key_of(99, 16);
    ck_assert_int_eq(seal_install(&ring, &a, &e), -ENOSPC);
}
END_TEST

START_TEST(test_file)
{
    struct seal_key a = key_of(0, 16), b = key_of(255, 32);
    struct seal_keyring ring = {.n = 0}, got = {.n = 0};
    struct strbuf text = STRBUF_INIT;
    struct errtext e;

    ck_assert_int_eq(seal_install(&ring, &a, &e), 0);
    ck_assert_int_eq(seal_install(&ring, &b, &e), 0);
    seal_file_format(&ring, &text);
    ck_assert_str_eq(text.data, "[\n  \"AAAAAAAAAAAAAAAAAAAAAA==\",\n"
                                "  \"//////////////////////////////////////////8=\"\n]");
    ck_assert_int_eq(seal_file_parse(text.data, text.len, &got, &e), 0);
    ck_assert_mem_eq(&got, &ring, sizeof(ring));
    for (size_t n = 0; n < text.len; n++) /* cut off anywhere it is refused, and nothing happens */
        ck_assert_int_lt(seal_file_parse(text.data, n, &got, &e), 0);
    ck_assert_mem_eq(&got, &ring, sizeof(ring));
    while (ring.n < SEAL_KEYS_MAX) {
        b = key_of((uint8_t)(ring.n + 1), 32);
        ck_assert_int_eq(seal_install(&ring, &b, &e), 0);
    }
    strbuf_reset(&text);
    seal_file_format(&ring, &text);
    ck_assert_uint_lt(text.len, SEAL_FILE_MAX);
    strbuf_fini(&text);
}
END_TEST

static const struct {
    const char *text, *error;
} files[] = {
    {"", "it is not a list of keys"},
    {"{}", "it is not a list of keys"},
    {"[]", "a key in quotes is missing at byte 1"},
    {"[1]", "a key in quotes is missing at byte 1"},
    {"[\"AAAA\"]", "key 1: key size must be 16, 24 or 32 bytes"},
    {"[\"AAAAAAAAAAAAAAAAAAAAAA==\", \"!\"]", "key 2: illegal base64 data at input byte 0"},
    {"[\"AAAAAAAAAAAAAAAAAAAAAA==\",]", "a key in quotes is missing at byte 28"},
    {"[\"AAAAAAAAAAAAAAAAAAAAAA==\"] x", "something stands behind the list at byte 29"},
    {"[\"AAAAAAAAAAAAAAAAAAAAAA==\"", "the end of the list is missing at byte 27"},
};

START_TEST(test_bad_files)
{
    struct seal_keyring ring = {.n = 0};
    struct errtext e;

    ck_assert_int_lt(seal_file_parse(files[_i].text, strlen(files[_i].text), &ring, &e), 0);
    ck_assert_str_eq(e.text, files[_i].error);
    ck_assert_uint_eq(ring.n, 0);
}
END_TEST

/* ---- orders of the pool ---- */

static struct seal_keyring the_ring;

static void with_keys(struct serf_options *o)
{
    struct seal_key a = key_of(1, 16);

    the_ring = (struct seal_keyring){.n = 0};
    ck_assert_int_eq(seal_install(&the_ring, &a, NULL), 0);
    o->keyring = &the_ring;
}

static uint64_t order_at = 2; /* Lamport time of the orders */

static void order_named(struct rig *rig, uint32_t id, const char *name, const struct seal_key *key,
                        const char *source)
{
    struct gossip_addr src = rig_addr(60);
    struct msg_key_request req = {{key ? key->bytes : NULL, key ? key->len : 0}};
    struct msg_query q = {.ltime = order_at,
                          .id = id,
                          .addr = {src.ip, 4},
                          .port = 4648,
                          .name = SPAN_STR(name),
                          .source_node = SPAN_STR(source),
                          .timeout_ns = NS_PER_SEC};
    struct strbuf b = STRBUF_INIT;

    msg_put(&b, SERF_MSG_KEY_REQUEST, &msg_key_request_schema, &req);
    q.payload = span_of(&b);
    rig_forget(rig);
    rig_serf_message(rig, SERF_MSG_QUERY, &msg_query_schema, &q);
    strbuf_fini(&b);
}

static void order(struct rig *rig, uint32_t id, const char *name, const struct seal_key *key)
{
    order_named(rig, id, name, key, "x.west");
}

/* Answers to the order since the last one; the newest in *ret. */
static unsigned answers(const struct rig *rig, struct msg_key_response *ret)
{
    static struct mp_scratch scratch[2];
    struct msg_query_response resp;
    unsigned n = 0;

    for (size_t i = 0; i < rig->n_seen; i++) {
        const struct rig_seen *m = &rig->seen[i];

        if (m->type != ML_USER || m->serf != SERF_MSG_QUERY_RESPONSE)
            continue;
        n++;
        ck_assert_uint_le(m->raw_len, 1024);
        ck_assert(msg_get((struct span){m->raw + 1, m->raw_len - 1}, &msg_query_response_schema,
                          &resp, &scratch[0]));
        ck_assert_uint_eq(resp.payload.p[0], SERF_MSG_KEY_RESPONSE);
        ck_assert(msg_get((struct span){resp.payload.p + 1, resp.payload.len - 1},
                          &msg_key_response_schema, ret, &scratch[1]));
    }
    return n;
}

START_TEST(test_orders)
{
    struct seal_key a = key_of(1, 16), b = key_of(2, 32);
    struct msg_key_response resp;
    struct mp_reader r;
    uint32_t n;
    struct rig rig;

    rig_init(&rig, with_keys);
    order(&rig, 1, "_serf_use-key", &b);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(!resp.result);
    ck_assert(span_is(resp.message, "Requested key is not in the keyring"));
    order(&rig, 2, "_serf_install-key", &b);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(resp.result);
    ck_assert_uint_eq(resp.message.len, 0);
    ck_assert_span_eq(resp.keys, SPAN_STR("\xc0"));
    ck_assert_uint_eq(the_ring.n, 2);
    ck_assert_uint_eq(rig.saves, 1);
    order(&rig, 3, "_serf_install-key", &b); /* there already: nothing to write */
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(resp.result);
    ck_assert_uint_eq(rig.saves, 1);
    order(&rig, 4, "_serf_use-key", &b);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(resp.result);
    ck_assert_uint_eq(the_ring.keys[0].len, 32);
    order(&rig, 5, "_serf_list-keys", NULL);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(resp.result);
    r = mp_reader_of(resp.keys);
    ck_assert_int_eq(mp_get_list(&r, &n), 0);
    ck_assert_uint_eq(n, 2);
    ck_assert(span_is(resp.primary, "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="));
    order(&rig, 6, "_serf_remove-key", &b);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(!resp.result);
    ck_assert(span_is(resp.message, "Removing the primary key is not allowed"));
    order(&rig, 7, "_serf_remove-key", &a);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(resp.result);
    ck_assert_uint_eq(the_ring.n, 1);
    ck_assert_str_eq(rig.saved.data, "[\n  \"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\"\n]");
    order(&rig, 8, "_serf_install-key", NULL);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(span_is(resp.message, "key size must be 16, 24 or 32 bytes"));
    rig_fini(&rig);
}
END_TEST

START_TEST(test_orders_without_keys)
{
    struct seal_key b = key_of(2, 32);
    struct msg_key_response resp;
    struct rig rig;

    rig_init(&rig, NULL);
    order(&rig, 1, "_serf_install-key", &b);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(!resp.result);
    ck_assert(span_is(resp.message, "No keyring to modify (encryption not enabled)"));
    order(&rig, 2, "_serf_list-keys", NULL);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(span_is(resp.message, "Keyring is empty (encryption not enabled)"));
    rig_fini(&rig);
}
END_TEST

/* A key counts once the disk has it, not before; and never when it has not. */
START_TEST(test_disk_first)
{
    struct serf_event saved = {.type = SERF_EV_KEYS_SAVED};
    struct seal_key b = key_of(2, 32);
    struct msg_key_response resp;
    struct rig rig;

    rig_init(&rig, with_keys);
    rig.save_err = 1; /* the disk takes its time */
    order(&rig, 1, "_serf_install-key", &b);
    ck_assert_uint_eq(answers(&rig, &resp), 0);
    ck_assert_uint_eq(the_ring.n, 1);
    order(&rig, 2, "_serf_use-key", &b); /* waits behind it, and sees what it did */
    ck_assert_uint_eq(answers(&rig, &resp), 0);
    ck_assert_uint_eq(rig.saves, 1);
    (void)rig_event(&rig, &saved);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(resp.result);
    ck_assert_uint_eq(the_ring.n, 2);
    ck_assert_uint_eq(rig.saves, 2);
    ck_assert_uint_eq(the_ring.keys[0].len, 16);
    rig_forget(&rig);
    saved.err = -ENOSPC;
    (void)rig_event(&rig, &saved);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(!resp.result);
    ck_assert(
        span_is(resp.message, "the keyring's file cannot be written: No space left on device"));
    ck_assert_uint_eq(the_ring.keys[0].len, 16);
    (void)rig_event(&rig, &saved); /* nothing was under way */
    rig_fini(&rig);
}
END_TEST

/* A copy of an order that comes after the next one must not undo that. */
START_TEST(test_late_orders)
{
    struct seal_key b = key_of(2, 32), c = key_of(3, 32);
    struct msg_key_response resp;
    struct rig rig;

    rig_init(&rig, with_keys);
    order_at = 5;
    order(&rig, 1, "_serf_install-key", &b);
    order(&rig, 2, "_serf_install-key", &c); /* of another asker at the same time */
    ck_assert_uint_eq(the_ring.n, 3);
    order_at = 6;
    order(&rig, 3, "_serf_remove-key", &b);
    ck_assert_uint_eq(the_ring.n, 2);
    order_at = 5;
    order(&rig, 4, "_serf_install-key", &b);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(!resp.result);
    ck_assert(span_is(resp.message, "a later order about keys came before"));
    ck_assert_uint_eq(the_ring.n, 2);
    order(&rig, 5, "_serf_list-keys", NULL); /* changes nothing: at any time */
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(resp.result);
    order_at = 2;
    rig_fini(&rig);
}
END_TEST

START_TEST(test_orders_bounded)
{
    struct serf_event saved = {.type = SERF_EV_KEYS_SAVED};
    struct msg_key_response resp;
    struct rig rig;
    unsigned refused = 0;

    rig_init(&rig, with_keys);
    rig.save_err = 1;
    for (uint8_t i = 0; i < 40; i++) {
        struct seal_key k = key_of((uint8_t)(i + 2), 16);

        order(&rig, i, "_serf_install-key", &k);
        if (answers(&rig, &resp) == 1) {
            ck_assert(span_is(resp.message, "too many key changes at a time"));
            refused++;
        }
    }
    ck_assert_uint_eq(refused, 40 - 16);
    for (int i = 0; i < 16; i++)
        (void)rig_event(&rig, &saved);
    ck_assert_uint_eq(the_ring.n, SEAL_KEYS_MAX); /* 1 + 15; the last one found no room */
    rig_fini(&rig);
}
END_TEST

static void with_long_name(struct serf_options *o)
{
    static char name[SERF_NAME_MAX + 1];

    with_keys(o);
    for (uint8_t i = 2; the_ring.n < SEAL_KEYS_MAX; i++) {
        struct seal_key k = key_of(i, 32);

        ck_assert_int_eq(seal_install(&the_ring, &k, NULL), 0);
    }
    memset(name, 'n', SERF_NAME_MAX);
    o->name = name;
}

START_TEST(test_list_is_cut)
{
    struct msg_key_response resp;
    struct mp_reader r;
    char text[96];
    uint32_t n;
    struct rig rig;

    rig_init(&rig, with_long_name);
    order(&rig, 1, "_serf_list-keys", NULL);
    ck_assert_uint_eq(answers(&rig, &resp), 1);
    ck_assert(resp.result);
    r = mp_reader_of(resp.keys);
    ck_assert_int_eq(mp_get_list(&r, &n), 0);
    ck_assert_uint_ge(n, 12);
    (void)snprintf(text, sizeof(text), "truncated key list response, showing first %u of 16 keys",
                   n);
    ck_assert(span_is(resp.message, text));
    ck_assert_uint_gt(rig_last(&rig, ML_USER, NULL)->raw_len, 1024 - 46); /* no more would fit */
    rig_fini(&rig);
}
END_TEST

/* ---- our own questions ---- */

static int ask(struct rig *rig, uint64_t id, const struct serf_query *q)
{
    struct serf_event ev = {.type = SERF_EV_QUERY, .id = id, .query = q};

    return rig_event(rig, &ev);
}

/* The newest question that it gossiped; a static copy. */
static struct msg_query asked(struct rig *rig)
{
    static struct mp_scratch scratch;
    static uint8_t raw[2048];
    struct msg_query q = {.ltime = 0};

    for (size_t i = rig->n_seen; i-- > 0;) {
        const struct rig_seen *m = &rig->seen[i];

        if (m->type != ML_USER || m->serf != SERF_MSG_QUERY)
            continue;
        memcpy(raw, m->raw, m->raw_len);
        ck_assert(msg_get((struct span){raw + 1, m->raw_len - 1}, &msg_query_schema, &q, &scratch));
        return q;
    }
    ck_abort_msg("no question");
    return q;
}

static void reply(struct rig *rig, const struct msg_query *q, const char *from, uint32_t flags,
                  const char *payload)
{
    struct msg_query_response resp = {q->ltime, q->id, flags, SPAN_STR(from),
                                      payload ? SPAN_STR(payload) : (struct span){NULL, 0}};

    rig_serf_message(rig, SERF_MSG_QUERY_RESPONSE, &msg_query_response_schema, &resp);
}

START_TEST(test_ask)
{
    struct serf_query query = {.name = "ver", .payload = SPAN_STR("hi"), .acks = true, .relay = 2};
    struct msg_query q, other;
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "a.west", 1, 10);
    rig_alive(&rig, "b.west", 1, 11);
    rig_forget(&rig);
    ck_assert_int_eq(ask(&rig, 7, &query), 0);
    ck_assert_uint_eq(rig.acks, 1); /* our own */
    ck_assert_str_eq(rig.reply_from, "me.west");
    rig_run_for(&rig, NS_PER_SEC);
    q = asked(&rig);
    ck_assert(span_is(q.name, "ver"));
    ck_assert(span_is(q.payload, "hi"));
    ck_assert(span_is(q.source_node, "me.west"));
    ck_assert_uint_eq(q.flags, QUERY_FLAG_ACK);
    ck_assert_uint_eq(q.relay_factor, 2);
    ck_assert_int_eq(q.timeout_ns, 16 * 200 * NS_PER_MS);
    reply(&rig, &q, "a.west", QUERY_FLAG_ACK, NULL);
    reply(&rig, &q, "a.west", QUERY_FLAG_ACK, NULL); /* by a relay, too */
    ck_assert_uint_eq(rig.acks, 2);
    reply(&rig, &q, "a.west", 0, "1.0");
    reply(&rig, &q, "a.west", 0, "2.0");
    ck_assert_uint_eq(rig.replies, 1);
    ck_assert_span_eq(span_of(&rig.reply), SPAN_STR("1.0"));
    reply(&rig, &q, "stranger", 0, "x");
    other = q;
    other.id++;
    reply(&rig, &other, "b.west", 0, "x");
    other = q;
    other.ltime++;
    reply(&rig, &other, "b.west", 0, "x");
    ck_assert_uint_eq(rig.replies, 1);
    reply(&rig, &q, "b.west", 0, "");
    reply(&rig, &q, "me.west", 0, "");
    ck_assert_uint_eq(rig.replies, 3);
    ck_assert_uint_eq(rig.replied, 0); /* all have answered, but it does not insist */
    rig_run_for(&rig, 3 * NS_PER_SEC);
    ck_assert_uint_eq(rig.replied, 1);
    ck_assert_uint_eq(rig.replied_number, 3);
    reply(&rig, &q, "b.west", QUERY_FLAG_ACK, NULL); /* too late */
    ck_assert_uint_eq(rig.acks, 2);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_ask_insists)
{
    struct serf_query query = {.name = "_serf_x", .insist = true, .timeout_ns = 9 * NS_PER_SEC};
    struct msg_query q, again;
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "a.west", 1, 10);
    rig_alive(&rig, "b.west", 1, 11);
    ck_assert_int_eq(ask(&rig, 7, &query), 0);
    rig_run_for(&rig, NS_PER_SEC);
    q = asked(&rig);
    reply(&rig, &q, "me.west", 0, "");
    reply(&rig, &q, "a.west", 0, "");
    rig_forget(&rig);
    rig_run_for(&rig, 3 * NS_PER_SEC);
    again = asked(&rig); /* only b, straight and not to be passed on */
    ck_assert_uint_gt(again.ltime, q.ltime);
    ck_assert_uint_eq(again.flags, QUERY_FLAG_NO_BROADCAST);
    ck_assert_uint_eq(again.relay_factor, 2);
    for (size_t i = 0; i < rig.n_seen; i++) {
        if (rig.seen[i].type == ML_USER && rig.seen[i].serf == SERF_MSG_QUERY)
            ck_assert_uint_eq(rig.seen[i].to.ip[2], 11);
    }
    ck_assert_uint_eq(rig.replied, 0);
    reply(&rig, &again, "b.west", 0, "");
    reply(&rig, &q, "b.west", 0, ""); /* the first one was only late */
    ck_assert_uint_eq(rig.replies, 3);
    rig_run_for(&rig, 10 * NS_PER_MS);
    ck_assert_uint_eq(rig.replied, 1); /* at once, not at the end of its time */
    ck_assert_uint_eq(rig.replied_number, 3);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_ask_bounds)
{
    static char big[1100];
    struct serf_query query = {.name = "q"};
    struct rig rig;
    int r = 0;

    memset(big, 'x', sizeof(big));
    rig_init(&rig, NULL);
    query.payload = (struct span){(const uint8_t *)big, sizeof(big)};
    ck_assert_int_eq(ask(&rig, 1, &query), -EMSGSIZE);
    query.payload.len = 1010; /* fits, but not with the rest of the message */
    ck_assert_int_eq(ask(&rig, 1, &query), -EMSGSIZE);
    query.payload.len = 800;
    ck_assert_int_eq(ask(&rig, 1, &query), 0);
    query.name = "";
    ck_assert_int_eq(ask(&rig, 1, &query), -EINVAL);
    query.name = "q";
    for (uint64_t i = 0; i < 100 && r == 0; i++)
        r = ask(&rig, i, &query);
    ck_assert_int_eq(r, -EBUSY);
    rig_run_for(&rig, 10 * NS_PER_SEC);
    ck_assert_uint_eq(rig.replied, 32);
    ck_assert_int_eq(ask(&rig, 1, &query), 0);
    rig_fini(&rig);
}
END_TEST

START_TEST(test_event_of_our_own)
{
    static char big[600];
    struct serf_event ev = {.type = SERF_EV_USER_EVENT, .name = "deploy", .coalesce = true};
    struct rig rig;

    memset(big, 'x', sizeof(big));
    rig_init(&rig, NULL);
    rig_alive(&rig, "a.west", 1, 10);
    ev.data = (struct span){(const uint8_t *)big, 400};
    ck_assert_int_eq(rig_event(&rig, &ev), 0);
    ev.data.len = sizeof(big);
    ck_assert_int_eq(rig_event(&rig, &ev), -EMSGSIZE);
    ev.name = "";
    ck_assert_int_eq(rig_event(&rig, &ev), -EINVAL);
    ck_assert_uint_eq(rig_stats(&rig).event_time, 2);
    ck_assert_uint_eq(rig_stats(&rig).event_queue, 1);
    rig_fini(&rig);
}
END_TEST

/* A push/pull answer of a.west (host 10) whose event clock is 20. */
static void put_answer(struct strbuf *b)
{
    static const uint8_t vsn[6] = {1, 5, 2, 2, 5, 4};
    struct gossip_addr a = rig_addr(10);
    struct msg_serf_state st = {.ltime = 3, .event_ltime = 20, .query_ltime = 2};
    struct msg_state_node m = {
        SPAN_STR("a.west"), {a.ip, 4}, rig_meta(NULL, NULL), {vsn, 6}, 1, 0, 4648};
    struct strbuf user = STRBUF_INIT;
    struct msg_state_head head = {1, 0, true};

    msg_put(&user, SERF_MSG_STATE, &msg_serf_state_schema, &st);
    head.user_len = (int64_t)user.len;
    msg_put(b, ML_PUSH_PULL, &msg_state_head_schema, &head);
    mp_put_struct(b, &msg_state_node_schema, &m);
    strbuf_add(b, user.data, user.len);
    strbuf_fini(&user);
}

/* Old events of a pool that is joined are not for us, but those of our own are on their way. */
START_TEST(test_join_and_events_under_way)
{
    struct serf_event join = {.type = SERF_EV_JOIN, .addr = rig_addr(10), .id = 4};
    struct serf_event done = {.type = SERF_EV_DIALED};
    struct msg_user_event ev = {15, SPAN_STR("deploy"), SPAN_STR("rev"), false};
    struct strbuf b = STRBUF_INIT;
    struct rig rig;

    rig_init(&rig, NULL);
    if (_i == 1)
        rig_alive(&rig, "a.west", 1, 10);
    ck_assert_int_eq(rig_event(&rig, &join), 0);
    put_answer(&b);
    done.id = rig.last_dial;
    done.data = span_of(&b);
    (void)rig_event(&rig, &done);
    ck_assert_uint_eq(rig.joined, 1);
    ck_assert_uint_eq(rig_stats(&rig).event_queue, 0);
    rig_serf_message(&rig, SERF_MSG_USER_EVENT, &msg_user_event_schema, &ev);
    ck_assert_uint_eq(rig_stats(&rig).event_queue, _i == 1);
    strbuf_fini(&b);
    rig_fini(&rig);
}
END_TEST

static void count_pick(void *user, struct span msg)
{
    unsigned *n = user;

    *n += (unsigned)msg.len;
}

static unsigned pick_for(struct bcast_queue *q, uint32_t id, unsigned receivers)
{
    size_t room = 1000;
    unsigned n = 0;

    bcast_aim(q, id, receivers);
    (void)bcast_pick(q, 2, &room, 4, 64, count_pick, &n);
    return n;
}

START_TEST(test_aimed_queue)
{
    struct bcast_queue q;

    bcast_init(&q, 10);
    (void)bcast_put(&q, NULL, SPAN_STR("a"));
    ck_assert_uint_eq(pick_for(&q, 1, 3), 1);
    ck_assert_uint_eq(pick_for(&q, 1, 3), 0); /* others have not got it */
    (void)bcast_put(&q, NULL, SPAN_STR("bb"));
    ck_assert_uint_eq(pick_for(&q, 1, 3), 2); /* but it does not stand in the way */
    ck_assert_uint_eq(pick_for(&q, 2, 3), 3);
    ck_assert_uint_eq(pick_for(&q, 0, 3), 3); /* nobody in particular: a third time */
    ck_assert_uint_eq(pick_for(&q, 2, 2), 3); /* all of the two have it: a fourth and last time */
    ck_assert_uint_eq(q.n, 0);
    bcast_fini(&q);
}
END_TEST

/* Each event is said to each member of a small pool: all hear it, by whatever way it went before.
 */
START_TEST(test_pool_hears_all_events)
{
    struct serf_event ev = {.type = SERF_EV_USER_EVENT};
    static struct sim sim;

    sim_init(&sim, 2000 + (uint64_t)_i, 9);
    for (unsigned i = 0; i < 9; i++)
        sim_start(&sim, i);
    for (unsigned i = 1; i < 9; i++)
        sim_join(&sim, i, 0);
    sim_run(&sim, 5 * NS_PER_SEC);
    for (unsigned k = 0; k < 100; k++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "event-%u", k);
        ev.name = name;
        ck_assert_int_eq(sim_order(&sim, k % 9, &ev), 0);
        sim_run(&sim, 50 * NS_PER_MS);
    }
    sim_run(&sim, 3 * NS_PER_SEC); /* long before the next exchange of states */
    for (unsigned i = 0; i < 9; i++)
        ck_assert_uint_eq(sim.nodes[i].events, 100);
    sim_fini(&sim);
}
END_TEST

/* In a pool that loses each fifth datagram all answer, if need be when asked again. */
START_TEST(test_pool_answers_all)
{
    struct serf_query query = {
        .name = "_serf_list-keys", .insist = true, .timeout_ns = 10 * NS_PER_SEC};
    struct serf_event ev = {.type = SERF_EV_QUERY, .query = &query};
    struct msg_key_request req = {{NULL, 0}};
    struct strbuf b = STRBUF_INIT;
    static struct sim sim;

    msg_put(&b, SERF_MSG_KEY_REQUEST, &msg_key_request_schema, &req);
    query.payload = span_of(&b);
    sim_init(&sim, 1000 + (uint64_t)_i, 9);
    for (unsigned i = 0; i < 9; i++)
        sim_start(&sim, i);
    for (unsigned i = 1; i < 9; i++)
        sim_join(&sim, i, 0);
    sim_run(&sim, 5 * NS_PER_SEC);
    ck_assert(sim_converged(&sim));
    sim.loss = 0.2;
    ck_assert_int_eq(sim_order(&sim, 3, &ev), 0);
    sim_run(&sim, 11 * NS_PER_SEC);
    ck_assert_uint_eq(sim.nodes[3].asked, 1);
    ck_assert_uint_eq(sim.nodes[3].replies, 9);
    sim_fini(&sim);
    strbuf_fini(&b);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("keys");

    tcase_add_loop_test(t, test_base64, 0, ARRAY_LEN(base64));
    tcase_add_test(t, test_base64_bound);
    tcase_add_test(t, test_keyring);
    tcase_add_test(t, test_file);
    tcase_add_loop_test(t, test_bad_files, 0, ARRAY_LEN(files));
    tcase_add_test(t, test_orders);
    tcase_add_test(t, test_orders_without_keys);
    tcase_add_test(t, test_disk_first);
    tcase_add_test(t, test_late_orders);
    tcase_add_test(t, test_orders_bounded);
    tcase_add_test(t, test_list_is_cut);
    tcase_add_test(t, test_ask);
    tcase_add_test(t, test_ask_insists);
    tcase_add_test(t, test_ask_bounds);
    tcase_add_test(t, test_event_of_our_own);
    tcase_add_loop_test(t, test_join_and_events_under_way, 0, 2);
    tcase_add_test(t, test_aimed_queue);
    tcase_add_loop_test(t, test_pool_hears_all_events, 0, 5);
    tcase_add_loop_test(t, test_pool_answers_all, 0, 20);
    return check_run("serfd_keys", t, NULL);
}
