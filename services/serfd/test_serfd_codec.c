/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <openssl/evp.h>

#include "check_run.h"
#include "coord.h"
#include "lzw.h"
#include "packet.h"
#include "seal.h"
#include "tags.h"
#include "test_serfd_util.h"
#include "test_serfd_vectors.h"

/* ---- messages: decode, and encode again to the same bytes ---- */

static const struct mp_schema *schema_of(uint8_t type, struct span body)
{
    static const struct mp_schema *const ml[] = {
        [ML_PING] = &msg_ping_schema,   [ML_INDIRECT_PING] = &msg_indirect_ping_schema,
        [ML_ACK] = &msg_ack_schema,     [ML_SUSPECT] = &msg_accuse_schema,
        [ML_ALIVE] = &msg_alive_schema, [ML_DEAD] = &msg_accuse_schema,
        [ML_NACK] = &msg_nack_schema,   [ML_ERR] = &msg_err_schema,
    };
    static const struct mp_schema *const serf[] = {
        [SERF_MSG_LEAVE] = &msg_leave_schema,
        [SERF_MSG_JOIN] = &msg_join_schema,
        [SERF_MSG_USER_EVENT] = &msg_user_event_schema,
        [SERF_MSG_QUERY] = &msg_query_schema,
        [SERF_MSG_QUERY_RESPONSE] = &msg_query_response_schema,
        [SERF_MSG_RELAY] = &msg_relay_schema,
    };

    return type == ML_USER ? serf[body.p[0]] : ml[type];
}

/* Large enough for any message struct. */
union any_msg {
    uint8_t bytes[512];
    uint64_t align;
};

struct walk {
    unsigned n;
    uint8_t types[16];
    bool again; /* must the encoding be the same? */
};

static void walk_message(void *user, uint8_t type, struct span body)
{
    struct walk *w = user;
    const struct mp_schema *schema = schema_of(type, body);
    struct mp_scratch scratch = {.used = 0};
    struct strbuf out = STRBUF_INIT;
    struct mp_reader r;
    union any_msg obj;

    ck_assert_ptr_nonnull(schema);
    ck_assert_uint_lt(w->n, ARRAY_LEN(w->types));
    w->types[w->n++] = type;
    if (type == ML_USER) {
        body.p++;
        body.len--;
    }
    r = (struct mp_reader){body.p, body.p + body.len};
    ck_assert_int_eq(mp_get_struct(&r, schema, &obj, &scratch), 0);
    if (w->again) {
        mp_put_struct(&out, schema, &obj);
        ck_assert_span_eq(span_of(&out), ((struct span){body.p, (size_t)(r.p - body.p)}));
    }
    strbuf_fini(&out);
}

static const struct {
    const char *hex;
    bool again; /* written by serf 0.9.4 with all fields: we write the same */
    unsigned n;
    uint8_t types[3];
} packets[] = {
    {vec_ping, true, 1, {ML_PING}},
    {vec_ping_no_source, true, 1, {ML_PING}},
    {vec_ack_coord, true, 1, {ML_ACK}},
    {vec_ack_compressed, true, 1, {ML_ACK}},
    {vec_indirect_ping, true, 1, {ML_INDIRECT_PING}},
    {vec_nack, true, 1, {ML_NACK}},
    {vec_ack_relayed, true, 1, {ML_ACK}},
    {vec_suspect_crc, true, 1, {ML_SUSPECT}},
    {vec_ping_suspect_compound, true, 2, {ML_PING, ML_SUSPECT}},
    {vec_alive_crc, true, 1, {ML_ALIVE}},
    {vec_alive_join_compound, true, 2, {ML_ALIVE, ML_USER}},
    {vec_dead, true, 1, {ML_DEAD}},
    {vec_left, true, 1, {ML_DEAD}},
    {vec_left_empty_from, true, 1, {ML_DEAD}},
    {vec_join_intent, true, 1, {ML_USER}},
    {vec_leave_intent, true, 1, {ML_USER}},
    {vec_leave_intent_prune, true, 1, {ML_USER}},
    {vec_leave_intent_old, false, 1, {ML_USER}},
    {vec_user_event, true, 1, {ML_USER}},
    {vec_user_event_compressed, true, 1, {ML_USER}},
    {vec_query, true, 1, {ML_USER}},
    {vec_query_filters, true, 1, {ML_USER}},
    {vec_join_query_event, false, 3, {ML_USER, ML_USER, ML_USER}},
    {vec_query_ack, true, 1, {ML_USER}},
    {vec_query_response, true, 1, {ML_USER}},
    {vec_relay, true, 1, {ML_USER}},
    {vec_conflict_response, true, 1, {ML_USER}},
    {vec_key_response, true, 1, {ML_USER}},
    {vec_list_keys, true, 1, {ML_USER}},
    {vec_install_key, true, 1, {ML_USER}},
    {vec_sealed_ping_plain, true, 1, {ML_PING}},
    {vec_crc_only, true, 1, {ML_PING}},
    {vec_label_ping_plain, true, 1, {ML_PING}},
};

START_TEST(test_packets)
{
    struct strbuf b = STRBUF_INIT;
    struct walk w = {.again = packets[_i].again};

    hex_put(&b, packets[_i].hex);
    ck_assert_int_eq(packet_read(span_of(&b), walk_message, &w), PACKET_OK);
    ck_assert_uint_eq(w.n, packets[_i].n);
    ck_assert_mem_eq(w.types, packets[_i].types, w.n);
    /* A wrong bit under a checksum is noticed. */
    if (b.data[0] == ML_CRC) {
        b.data[b.len - 1] ^= 1;
        ck_assert_int_eq(packet_read(span_of(&b), walk_message, &w), PACKET_BAD_CRC);
    }
    strbuf_fini(&b);
}
END_TEST

static void count_message(void *user, uint8_t type, struct span body)
{
    unsigned *n = user;

    (void)type;
    (void)body;
    ++*n;
}

/* Every truncation of every vector is fewer messages or an error; a reader past the end is caught
 * by the sanitizer. */
START_TEST(test_packets_truncated)
{
    struct strbuf b = STRBUF_INIT;
    size_t skip;

    hex_put(&b, packets[_i].hex);
    skip = b.data[0] == ML_CRC ? 5 : 0; /* look behind the checksum */
    for (size_t len = 0; len < b.len - skip; len++) {
        _cleanup_(freep) uint8_t *copy = xmalloc(len + 1);
        unsigned n = 0;

        memcpy(copy, b.data + skip, len);
        (void)packet_read((struct span){copy, len}, count_message, &n);
        ck_assert_uint_le(n, packets[_i].n);
    }
    strbuf_fini(&b);
}
END_TEST

START_TEST(test_fields)
{
    struct mp_scratch scratch = {.used = 0};
    struct strbuf b = STRBUF_INIT;
    struct msg_alive alive;
    struct msg_indirect_ping ind;
    struct msg_query q;

    hex_put(&b, vec_alive_crc);
    ck_assert(msg_get((struct span){(uint8_t *)b.data + 6, b.len - 6}, &msg_alive_schema, &alive,
                      &scratch));
    ck_assert(span_is(alive.node, "probe"));
    ck_assert_uint_eq(alive.inc, 2);
    ck_assert_uint_eq(alive.port, 7950);
    ck_assert_uint_eq(alive.addr.len, 4);
    ck_assert_uint_eq(alive.vsn.len, 6);
    strbuf_reset(&b);
    hex_put(&b, vec_indirect_ping);
    ck_assert(msg_get((struct span){(uint8_t *)b.data + 1, b.len - 1}, &msg_indirect_ping_schema,
                      &ind, &scratch));
    ck_assert_uint_eq(ind.seq, 198);
    ck_assert(ind.nack);
    ck_assert(span_is(ind.node, "gamma"));
    strbuf_reset(&b);
    hex_put(&b, vec_query);
    ck_assert(
        msg_get((struct span){(uint8_t *)b.data + 7, b.len - 7}, &msg_query_schema, &q, &scratch));
    ck_assert_int_eq(q.timeout_ns, INT64_C(3000000000));
    ck_assert_uint_eq(q.flags, QUERY_FLAG_ACK);
    strbuf_fini(&b);
}
END_TEST

/* ---- the forms that peers may choose (section 2) ---- */

static const struct {
    const char *hex; /* of a suspect {From: a, Incarnation: 5, Node: b} */
    bool ok;
} forms[] = {
    {"83a446726f6da161ab496e6361726e6174696f6e05a44e6f6465a162", true},
    {"83a44e6f6465a162a446726f6da161ab496e6361726e6174696f6e05", true},      /* other order */
    {"de0003a446726f6da161ab496e6361726e6174696f6e05a44e6f6465a162", true},  /* map16 */
    {"83a446726f6dd90161ab496e6361726e6174696f6ed105a44e6f6465a162", false}, /* cut integer */
    {"83a446726f6dd90161ab496e6361726e6174696f6ed10005a44e6f6465da000162", true},
    {"83a446726f6dc40161ab496e6361726e6174696f6ed300000000000000"
     "05a44e6f6465a162",
     true},
    {"84a158830102c0a446726f6da161ab496e6361726e6174696f6e05a44e6f6465a162ff", false},
    {"84a1589301c2c0a446726f6da161ab496e6361726e6174696f6e05a44e6f6465a162ff", true},
    {"9305a162a161", true}, /* as a list */
    {"83a446726f6da161ab496e6361726e6174696f6eff"
     "a44e6f6465a162",
     false}, /* negative */
    {"83a446726f6da161ab496e6361726e6174696f6ecf0000000100000005a44e6f6465a162", false},
};

START_TEST(test_forms)
{
    struct mp_scratch scratch = {.used = 0};
    struct strbuf b = STRBUF_INIT;
    struct msg_accuse m;

    hex_put(&b, forms[_i].hex);
    ck_assert_int_eq(msg_get(span_of(&b), &msg_accuse_schema, &m, &scratch), forms[_i].ok);
    if (forms[_i].ok) {
        ck_assert_uint_eq(m.inc, 5);
        ck_assert(span_is(m.node, "b"));
        ck_assert(span_is(m.from, "a"));
    }
    strbuf_fini(&b);
}
END_TEST

START_TEST(test_nesting)
{
    struct strbuf b = STRBUF_INIT;
    struct walk w = {.again = false};
    struct mp_reader r;

    for (int i = 0; i < 100; i++)
        strbuf_addc(&b, (char)0x91);
    strbuf_addc(&b, 0);
    r = (struct mp_reader){(uint8_t *)b.data, (uint8_t *)b.data + b.len};
    ck_assert_int_eq(mp_skip(&r), MP_E_BAD);
    strbuf_reset(&b);
    /* A compound within a compound within ... */
    for (int i = 0; i < 50; i++) {
        struct strbuf outer = STRBUF_INIT;

        hex_put(&outer, "0701");
        strbuf_addc(&outer, (char)(b.len >> 8));
        strbuf_addc(&outer, (char)b.len);
        strbuf_add(&outer, b.data, b.len);
        strbuf_fini(&b);
        b = outer;
    }
    ck_assert_int_eq(packet_read(span_of(&b), walk_message, &w), PACKET_BROKEN);
    strbuf_fini(&b);
}
END_TEST

/* ---- LZW ---- */

static const struct {
    const char *hex, *plain;
} lzw_texts[] = {
    {vec_lzw_empty, ""},
    {vec_lzw_a, "A"},
    {vec_lzw_a8, "AAAAAAAA"},
    {vec_lzw_ab, "abababababab"},
    {vec_lzw_tobe, "TOBEORNOTTOBEORTOBEORNOT"},
};

START_TEST(test_lzw)
{
    struct strbuf in = STRBUF_INIT, out = STRBUF_INIT;

    hex_put(&in, lzw_texts[_i].hex);
    ck_assert_int_eq(lzw_decode((uint8_t *)in.data, in.len, 100, &out), 0);
    ck_assert_span_eq(span_of(&out), SPAN_STR(lzw_texts[_i].plain));
    strbuf_reset(&out);
    ck_assert_int_eq(lzw_decode((uint8_t *)in.data, in.len - 1, 100, &out), -EBADMSG);
    if (strlen(lzw_texts[_i].plain) > 4) {
        strbuf_reset(&out);
        ck_assert_int_eq(lzw_decode((uint8_t *)in.data, in.len, 4, &out), -E2BIG);
    }
    strbuf_fini(&in);
    strbuf_fini(&out);
}
END_TEST

static struct span encoded(struct strbuf *out, const void *in, size_t len)
{
    strbuf_reset(out);
    lzw_encode(in, len, out);
    return span_of(out);
}

START_TEST(test_lzw_encode)
{
    struct strbuf want = STRBUF_INIT, out = STRBUF_INIT;

    hex_put(&want, lzw_texts[_i].hex);
    ck_assert_span_eq(encoded(&out, lzw_texts[_i].plain, strlen(lzw_texts[_i].plain)),
                      span_of(&want));
    strbuf_fini(&want);
    strbuf_fini(&out);
}
END_TEST

/* All sizes, of what packs well and of what does not, come back. */
START_TEST(test_lzw_round_trip)
{
    struct strbuf plain = STRBUF_INIT, packed = STRBUF_INIT, out = STRBUF_INIT;
    struct prng prng;

    prng_seed(&prng, 7 + (uint64_t)_i);
    for (size_t len = 1; len < 40000; len = len * 5 / 4 + 1) {
        strbuf_reset(&plain);
        strbuf_reset(&out);
        for (size_t i = 0; i < len; i++)
            strbuf_addc(&plain, (char)prng_below(&prng, 1 + (uint64_t)_i * 51));
        (void)encoded(&packed, plain.data, plain.len);
        ck_assert_int_eq(lzw_decode((uint8_t *)packed.data, packed.len, len, &out), 0);
        ck_assert_span_eq(span_of(&out), span_of(&plain));
    }
    strbuf_fini(&plain);
    strbuf_fini(&packed);
    strbuf_fini(&out);
}
END_TEST

/* What real peers have compressed we compress to the same bytes. */
static const struct {
    const char *plain, *packed;
} compressed[] = {
    {vec_push_pull_reply, vec_push_pull_reply_compressed},
    {vec_push_pull_reply2, vec_push_pull_reply2_compressed},
    {vec_nomad_reply, vec_nomad_reply_compressed},
};

START_TEST(test_compressed_as_others_do)
{
    struct strbuf plain = STRBUF_INIT, want = STRBUF_INIT, out = STRBUF_INIT, small = STRBUF_INIT;

    hex_put(&plain, compressed[_i].plain);
    hex_put(&want, compressed[_i].packed);
    ck_assert(packet_put_compressed(&out, span_of(&plain)));
    ck_assert_span_eq(span_of(&out), span_of(&want));
    /* Random bytes do not get shorter, short ones are not worth it. */
    strbuf_reset(&out);
    ck_assert(!packet_put_compressed(&out, span_of(&want)));
    strbuf_adds(&small, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    ck_assert(!packet_put_compressed(&out, span_of(&small)));
    ck_assert_uint_eq(out.len, 0);
    strbuf_fini(&plain);
    strbuf_fini(&want);
    strbuf_fini(&out);
    strbuf_fini(&small);
}
END_TEST

START_TEST(test_lzw_long)
{
    static const char want[] = "a677cf7e03d64677dc89807adb058dcc1d05fa273a94c7c2bab40e0f438f6c66";
    struct strbuf plain = STRBUF_INIT, packed = STRBUF_INIT, out = STRBUF_INIT, sum = STRBUF_INIT;
    uint8_t digest[32];
    unsigned n = 0;

    for (uint64_t i = 0; i < 20000; i++)
        strbuf_addc(&plain, (char)((i * i * 7 + i / 3) & 0xff));
    (void)encoded(&packed, plain.data, plain.len);
    ck_assert_uint_eq(packed.len, 9909);
    ck_assert_int_eq(EVP_Digest(packed.data, packed.len, digest, &n, EVP_sha256(), NULL), 1);
    hex_put(&sum, want);
    ck_assert_mem_eq(digest, sum.data, sizeof(digest));
    ck_assert_int_eq(lzw_decode((uint8_t *)packed.data, packed.len, 20000, &out), 0);
    ck_assert_span_eq(span_of(&out), span_of(&plain));
    strbuf_fini(&plain);
    strbuf_fini(&packed);
    strbuf_fini(&out);
    strbuf_fini(&sum);
}
END_TEST

/* ---- streams ---- */

static const struct {
    const char *hex;
    bool again;
    int nodes;
} states[] = {
    {vec_push_pull_request, true, 1},
    {vec_push_pull_minimal, true, 0},
    {vec_push_pull_reply, true, 1},
    {vec_push_pull_reply2, true, 2},
    {vec_push_pull_events, true, 1},
    {vec_push_pull_left, true, 2},
    {vec_nomad_reply, false, 1},
    {vec_push_pull_reply_compressed, false, 1},
    {vec_nomad_reply_compressed, false, 1},
    {vec_push_pull_reply2_compressed, false, 2},
    {vec_sealed_push_pull_plain, true, 3},
};

static void check_state(struct span msg, bool again, int nodes)
{
    struct mp_reader r = {msg.p + 1, msg.p + msg.len};
    struct mp_scratch scratch = {.used = 0};
    struct strbuf out = STRBUF_INIT;
    struct msg_state_head head;
    struct msg_state_node node;
    struct msg_serf_state user;

    ck_assert_uint_eq(msg.p[0], ML_PUSH_PULL);
    ck_assert_int_eq(mp_get_struct(&r, &msg_state_head_schema, &head, &scratch), 0);
    ck_assert_int_eq(head.nodes, nodes);
    msg_put(&out, ML_PUSH_PULL, &msg_state_head_schema, &head);
    for (int i = 0; i < nodes; i++) {
        ck_assert_int_eq(mp_get_struct(&r, &msg_state_node_schema, &node, &scratch), 0);
        ck_assert_uint_gt(node.name.len, 0);
        ck_assert_uint_eq(node.vsn.len, 6);
        mp_put_struct(&out, &msg_state_node_schema, &node);
    }
    ck_assert_int_eq(head.user_len, r.end - r.p);
    ck_assert_uint_eq(*r.p++, SERF_MSG_STATE);
    ck_assert_int_eq(mp_get_struct(&r, &msg_serf_state_schema, &user, &scratch), 0);
    ck_assert_ptr_eq(r.p, r.end);
    msg_put(&out, SERF_MSG_STATE, &msg_serf_state_schema, &user);
    if (again)
        ck_assert_span_eq(span_of(&out), msg);
    strbuf_fini(&out);
}

START_TEST(test_states)
{
    struct strbuf b = STRBUF_INIT, room = STRBUF_INIT;
    struct stream_scanner sc = {0};
    struct span msg;

    hex_put(&b, states[_i].hex);
    /* Byte by byte: whole exactly at the end. */
    for (size_t len = 0; len < b.len; len++)
        ck_assert_int_eq(stream_scan(&sc, (uint8_t *)b.data, len), STREAM_NEED_MORE);
    ck_assert_int_eq(stream_scan(&sc, (uint8_t *)b.data, b.len), STREAM_COMPLETE);
    ck_assert_uint_eq(sc.offset, b.len);
    ck_assert_int_eq(stream_unwrap(span_of(&b), &room, &msg), 0);
    check_state(msg, states[_i].again, states[_i].nodes);
    strbuf_fini(&b);
    strbuf_fini(&room);
}
END_TEST

static const char *const broken_streams[] = {
    "05",         /* dead never comes by stream */
    "16030100",   /* TLS */
    "474554202f", /* GET / */
    "0a7fffffff", /* far too long */
    "0683a44a6f696ec3a54e6f646573ceffffffffac5573657253746174654c656e00", /* far too many nodes */
    "0683a44a6f696ec3a54e6f646573ffac5573657253746174654c656e00",         /* -1 nodes */
    "0683a44a6f696ec3a54e6f64657300ac5573657253746174654c656ece7fffffff",
    "0881aa557365724d73674c656ece7fffffff",
    "f406706f6f6c2d61", /* label */
    "00c1",
};

START_TEST(test_streams_broken)
{
    struct strbuf b = STRBUF_INIT;
    struct stream_scanner sc = {0};

    hex_put(&b, broken_streams[_i]);
    ck_assert_int_eq(stream_scan(&sc, (uint8_t *)b.data, b.len), STREAM_BROKEN);
    strbuf_fini(&b);
}
END_TEST

START_TEST(test_stream_err)
{
    struct mp_scratch scratch = {.used = 0};
    struct strbuf b = STRBUF_INIT, room = STRBUF_INIT;
    struct msg_err err;
    struct span msg;

    hex_put(&b, vec_err_compressed);
    ck_assert_int_eq(stream_unwrap(span_of(&b), &room, &msg), 0);
    ck_assert_uint_eq(msg.p[0], ML_ERR);
    ck_assert(msg_get((struct span){msg.p + 1, msg.len - 1}, &msg_err_schema, &err, &scratch));
    ck_assert(span_is(err.error, "Remote state is encrypted and encryption is not configured"));
    strbuf_fini(&b);
    strbuf_fini(&room);
}
END_TEST

/* ---- encryption ---- */

#define KEY_A "AAECAwQFBgcICQoLDA0ODw=="
static const struct span no_aad = {NULL, 0};
static const uint8_t fixed_nonce[12] = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5,
                                        0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab};

START_TEST(test_seal_packets)
{
    struct seal_keyring ring = {.n = 0};
    struct strbuf b = STRBUF_INIT, out = STRBUF_INIT, want = STRBUF_INIT;

    ck_assert_int_eq(seal_add_base64(&ring, KEY_A, NULL), 0);
    hex_put(&b, vec_sealed_ping);
    hex_put(&want, vec_sealed_ping_plain);
    ck_assert_int_eq(seal_open(&ring, no_aad, span_of(&b), &out), 0);
    ck_assert_span_eq(span_of(&out), span_of(&want));
    b.data[20] ^= 1;
    ck_assert_int_eq(seal_open(&ring, no_aad, span_of(&b), &out), -EBADMSG);

    for (unsigned version = 0; version <= 1; version++) {
        strbuf_reset(&b);
        strbuf_reset(&out);
        strbuf_reset(&want);
        hex_put(&b, vec_crc_only); /* the plaintext behind 5 bytes of checksum */
        hex_put(&want, version ? vec_udp_v1 : vec_udp_v0);
        seal_close(&ring, version, no_aad, fixed_nonce,
                   (struct span){(uint8_t *)b.data + 5, b.len - 5}, &out);
        ck_assert_span_eq(span_of(&out), span_of(&want));
        strbuf_reset(&out);
        ck_assert_int_eq(seal_open(&ring, no_aad, span_of(&want), &out), 0);
        ck_assert_span_eq(span_of(&out), ((struct span){(uint8_t *)b.data + 5, b.len - 5}));
        strbuf_reset(&out);
        strbuf_reset(&want);
        hex_put(&want, version ? vec_tcp_v1 : vec_tcp_v0);
        seal_close_frame(&ring, version, fixed_nonce,
                         (struct span){(uint8_t *)b.data + 5, b.len - 5}, &out);
        ck_assert_span_eq(span_of(&out), span_of(&want));
        strbuf_reset(&out);
        ck_assert_int_eq(seal_open_frame(&ring, span_of(&want), &out), 0);
        ck_assert_span_eq(span_of(&out), ((struct span){(uint8_t *)b.data + 5, b.len - 5}));
    }
    strbuf_fini(&b);
    strbuf_fini(&out);
    strbuf_fini(&want);
}
END_TEST

START_TEST(test_seal_stream)
{
    struct seal_keyring ring = {.n = 0};
    struct strbuf b = STRBUF_INIT, out = STRBUF_INIT, room = STRBUF_INIT, want = STRBUF_INIT;
    struct stream_scanner sc = {0};
    struct span msg;

    /* The key that fits is the second. */
    ck_assert_int_eq(seal_add_base64(&ring, "HBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw=", NULL),
                     0);
    ck_assert_int_eq(seal_add_base64(&ring, KEY_A, NULL), 0);
    hex_put(&b, vec_sealed_push_pull);
    hex_put(&want, vec_sealed_push_pull_plain);
    ck_assert_int_eq(stream_scan(&sc, (uint8_t *)b.data, b.len - 1), STREAM_NEED_MORE);
    ck_assert_int_eq(stream_scan(&sc, (uint8_t *)b.data, b.len), STREAM_COMPLETE);
    ck_assert_int_eq(seal_open_frame(&ring, span_of(&b), &out), 0);
    ck_assert_int_eq(stream_unwrap(span_of(&out), &room, &msg), 0);
    ck_assert_span_eq(msg, span_of(&want));
    ring.n = 1;
    ck_assert_int_eq(seal_open_frame(&ring, span_of(&b), &out), -EBADMSG);
    strbuf_fini(&b);
    strbuf_fini(&out);
    strbuf_fini(&room);
    strbuf_fini(&want);
}
END_TEST

START_TEST(test_seal_keys)
{
    struct seal_keyring ring = {.n = 0};
    struct errtext e;

    ck_assert_int_eq(seal_add_base64(&ring, "", &e), -EINVAL);
    ck_assert_int_eq(seal_add_base64(&ring, "not base64!", &e), -EINVAL);
    ck_assert_int_eq(seal_add_base64(&ring, "AAEC", &e), -EINVAL);
    ck_assert_str_eq(e.text, "key size must be 16, 24 or 32 bytes");
    ck_assert_uint_eq(ring.n, 0);
}
END_TEST

/* ---- tags and coordinates ---- */

START_TEST(test_tags)
{
    static const struct tag good[] = {
        {"role", "nomad"}, {"region", "west"}, {"port", "4647"}, {"build", "1.1.0"}, {"vsn", "1"}};
    static const struct {
        const char *key, *value;
    } bad[] = {{"role", "web"}, {"port", "70000"}, {"port", "x"}, {"build", "new"}, {"vsn", ""}};
    struct strbuf b = STRBUF_INIT;
    struct errtext e;
    struct span v;

    ck_assert_int_eq(tags_put(&b, good, ARRAY_LEN(good)), 0);
    ck_assert_int_eq(tags_check_nomad(span_of(&b), &e), 0);
    ck_assert(tags_find(span_of(&b), "region", &v) && span_is(v, "west"));
    ck_assert(!tags_find(span_of(&b), "dc", &v));
    ck_assert(tags_find(SPAN_STR("web"), "role", &v) && span_is(v, "web"));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct tag t[ARRAY_LEN(good)];

        memcpy(t, good, sizeof(t));
        for (size_t k = 0; k < ARRAY_LEN(t); k++) {
            if (strcmp(t[k].key, bad[i].key) == 0)
                t[k].value = bad[i].value;
        }
        strbuf_reset(&b);
        ck_assert_int_eq(tags_put(&b, t, ARRAY_LEN(t)), 0);
        ck_assert_int_eq(tags_check_nomad(span_of(&b), &e), -EINVAL);
    }
    strbuf_fini(&b);
}
END_TEST

START_TEST(test_coordinate)
{
    struct mp_scratch scratch = {.used = 0};
    struct strbuf b = STRBUF_INIT, again = STRBUF_INIT;
    struct msg_ack ack;
    struct coord c;

    hex_put(&b, vec_ack_coord);
    ck_assert(
        msg_get((struct span){(uint8_t *)b.data + 1, b.len - 1}, &msg_ack_schema, &ack, &scratch));
    ck_assert(coord_get(ack.payload, &c));
    ck_assert(c.error > 1.35 && c.error < 1.37);
    coord_put(&again, &c);
    ck_assert_span_eq(span_of(&again), ack.payload);
    ck_assert_uint_eq(again.len, 130);
    strbuf_fini(&b);
    strbuf_fini(&again);
}
END_TEST

/* Four nodes on a line of 10 ms steps find their distances. */
START_TEST(test_coordinate_converges)
{
    struct coord_self node[4];
    struct coord_peer peer[4][4];
    struct prng prng;

    prng_seed(&prng, 7);
    memset(peer, 0, sizeof(peer));
    for (int i = 0; i < 4; i++)
        coord_self_init(&node[i]);
    for (int n = 0; n < 4000; n++) {
        size_t a = prng_below(&prng, 4), b = prng_below(&prng, 4);

        if (a != b)
            (void)coord_update(&node[a], &peer[a][b], &node[b].at,
                               0.010 * (double)(a > b ? a - b : b - a), &prng);
    }
    for (int i = 1; i < 4; i++) {
        double d = coord_distance(&node[0].at, &node[i].at);

        ck_assert_msg(d > 0.008 * i && d < 0.012 * i, "0 to %d: %g", i, d);
    }
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("codec");

    tcase_add_loop_test(t, test_packets, 0, ARRAY_LEN(packets));
    tcase_add_loop_test(t, test_packets_truncated, 0, ARRAY_LEN(packets));
    tcase_add_test(t, test_fields);
    tcase_add_loop_test(t, test_forms, 0, ARRAY_LEN(forms));
    tcase_add_test(t, test_nesting);
    tcase_add_loop_test(t, test_lzw, 0, ARRAY_LEN(lzw_texts));
    tcase_add_loop_test(t, test_lzw_encode, 0, ARRAY_LEN(lzw_texts));
    tcase_add_loop_test(t, test_lzw_round_trip, 0, 6);
    tcase_add_loop_test(t, test_compressed_as_others_do, 0, ARRAY_LEN(compressed));
    tcase_add_test(t, test_lzw_long);
    tcase_add_loop_test(t, test_states, 0, ARRAY_LEN(states));
    tcase_add_loop_test(t, test_streams_broken, 0, ARRAY_LEN(broken_streams));
    tcase_add_test(t, test_stream_err);
    tcase_add_test(t, test_seal_packets);
    tcase_add_test(t, test_seal_stream);
    tcase_add_test(t, test_seal_keys);
    tcase_add_test(t, test_tags);
    tcase_add_test(t, test_coordinate);
    tcase_add_test(t, test_coordinate_converges);
    return check_run("serfd codec", t, NULL);
}
