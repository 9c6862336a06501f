/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Messages and configurations as bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check_run.h"
#include "raft_wire.h"

static const struct raft_group group = {"wire test group"};
static const struct raft_group other = {"another group"};

static struct raft_config config_of(unsigned n)
{
    struct raft_config c = {0};

    for (unsigned i = n; i > 0; i--) { /* any order goes in, the order of ids comes out */
        struct raft_server s = {.id = i * 1000, .voter = i % 2, .uuid = "some-uuid"};

        snprintf(s.address, sizeof(s.address), "127.0.0.%u:4647", i);
        ck_assert_int_eq(raft_config_add(&c, &s), 0);
    }
    return c;
}

START_TEST(test_config_round_trip)
{
    for (unsigned n = 0; n <= RAFT_SERVERS_MAX; n++) {
        uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
        struct raft_config c = config_of(n), d;
        size_t len = raft_config_encode(&c, bytes);

        memset(&d, 0, sizeof(d));
        ck_assert_int_eq(raft_config_decode(bytes, len, &d), 0);
        ck_assert_int_eq(memcmp(&c, &d, sizeof(c)), 0);
        ck_assert_uint_eq(raft_config_voters(&d), (n + 1) / 2);
        for (size_t cut = 0; cut < len; cut++)
            ck_assert_int_eq(raft_config_decode(bytes, cut, &d), -EBADMSG);
        bytes[0] = 9;
        ck_assert_int_eq(raft_config_decode(bytes, len, &d), -EBADMSG);
    }
}
END_TEST

START_TEST(test_config_limits)
{
    struct raft_config c = config_of(RAFT_SERVERS_MAX);
    struct raft_server s = {.id = 5};

    ck_assert_int_eq(raft_config_add(&c, &s), -ENOSPC);
    ck_assert_int_eq(raft_config_remove(&c, 5), -ENOENT);
    ck_assert_int_eq(raft_config_remove(&c, 3000), 0);
    s.id = 2000;
    ck_assert_int_eq(raft_config_add(&c, &s), -EEXIST);
    s.id = 0;
    ck_assert_int_eq(raft_config_add(&c, &s), -EINVAL);
    s.id = 3000;
    memset(s.address, 'x', sizeof(s.address));
    ck_assert_int_eq(raft_config_add(&c, &s), -EINVAL);
    ck_assert_uint_ne(raft_id_from_uuid("a"), raft_id_from_uuid("b"));
    ck_assert_uint_ne(raft_id_from_uuid(""), 0);
}
END_TEST

static struct raft_snapshot_meta meta;
static struct raft_entry entries[3];

/* One of each type, with every field set. */
static struct raft_msg sample(enum raft_msg_type type)
{
    struct raft_msg m = {.type = (uint8_t)type, .from = 11, .to = 12, .term = 13};

    meta = (struct raft_snapshot_meta){.index = 1, .term = 2, .config_index = 3};
    meta.config = config_of(3);
    for (unsigned i = 0; i < 3; i++)
        entries[i] = (struct raft_entry){.index = 22 + i,
                                         .term = 5 + i,
                                         .type = (uint8_t)i,
                                         .data = (const uint8_t *)"hello world",
                                         .len = i * 5};
    switch (type) {
    case RAFT_MSG_VOTE:
        m.vote.vote_term = 14;
        m.vote.last_index = 15;
        m.vote.last_term = 16;
        m.vote.pre = true;
        break;
    case RAFT_MSG_VOTE_REPLY:
        m.vote_reply.vote_term = 14;
        m.vote_reply.granted = true;
        break;
    case RAFT_MSG_APPEND:
        m.append.prev_index = 21;
        m.append.prev_term = 4;
        m.append.commit = 20;
        m.append.entries = entries;
        m.append.n = 3;
        break;
    case RAFT_MSG_APPEND_REPLY:
        m.append_reply.match = 1;
        m.append_reply.reject_prev = 2;
        m.append_reply.hint_index = 3;
        m.append_reply.hint_term = 4;
        m.append_reply.rejected = true;
        break;
    case RAFT_MSG_HEARTBEAT:
        m.heartbeat.round = 77;
        m.heartbeat.commit = 78;
        break;
    case RAFT_MSG_HEARTBEAT_REPLY:
        m.heartbeat_reply.round = 77;
        m.heartbeat_reply.matched = 78;
        m.heartbeat_reply.match = 79;
        break;
    case RAFT_MSG_SNAPSHOT:
        m.snapshot.meta = &meta;
        m.snapshot.data = (const uint8_t *)"some state";
        m.snapshot.len = 10;
        m.snapshot.done = true;
        break;
    case RAFT_MSG_SNAPSHOT_REPLY:
        m.snapshot_reply.index = 5;
        m.snapshot_reply.offset = 6;
        m.snapshot_reply.done = true;
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        break;
    }
    return m;
}

static struct raft_buf *encode(const struct raft_msg *m)
{
    struct strbuf b = STRBUF_INIT;
    struct raft_buf *frame;

    ck_assert_int_eq(raft_wire_encode(m, &group, &b), 0);
    frame = raft_buf_copy(b.data, (uint32_t)b.len);
    strbuf_fini(&b);
    return frame;
}

START_TEST(test_wire_round_trip)
{
    for (int type = RAFT_MSG_VOTE; type <= RAFT_MSG_TIMEOUT_NOW; type++) {
        struct raft_msg m = sample(type);
        struct raft_buf *frame = encode(&m), *again;
        struct raft_wire_in in = {0};

        ck_assert_int_eq(raft_wire_decode(frame, &group, &in), 0);
        ck_assert_uint_eq(in.msg.type, type);
        ck_assert_uint_eq(in.msg.from, 11);
        ck_assert_uint_eq(in.msg.to, 12);
        ck_assert_uint_eq(in.msg.term, 13);
        again = encode(&in.msg);
        ck_assert_uint_eq(again->len, frame->len);
        ck_assert_int_eq(memcmp(again->data, frame->data, frame->len), 0);
        raft_buf_unref(again);
        raft_buf_unref(frame);
        raft_wire_in_fini(&in);
    }
}
END_TEST

START_TEST(test_wire_fields)
{
    struct raft_msg m = sample(RAFT_MSG_APPEND);
    struct raft_buf *frame = encode(&m);
    struct raft_wire_in in = {0};

    ck_assert_int_eq(raft_wire_decode(frame, &group, &in), 0);
    ck_assert_uint_eq(in.msg.append.prev_index, 21);
    ck_assert_uint_eq(in.msg.append.prev_term, 4);
    ck_assert_uint_eq(in.msg.append.commit, 20);
    ck_assert_uint_eq(in.msg.append.n, 3);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(in.msg.append.entries[i].index, 22 + i);
        ck_assert_uint_eq(in.msg.append.entries[i].term, 5 + i);
        ck_assert_uint_eq(in.msg.append.entries[i].type, i);
        ck_assert_uint_eq(in.msg.append.entries[i].len, i * 5);
        ck_assert_int_eq(memcmp(in.msg.append.entries[i].data, "hello world", i * 5), 0);
        ck_assert_ptr_eq(in.msg.append.entries[i].buf, frame);
    }
    raft_buf_unref(frame);
    m = sample(RAFT_MSG_SNAPSHOT);
    frame = encode(&m);
    ck_assert_int_eq(raft_wire_decode(frame, &group, &in), 0);
    ck_assert_int_eq(memcmp(in.msg.snapshot.meta, &meta, sizeof(meta)), 0);
    ck_assert_int_eq(memcmp(in.msg.snapshot.data, "some state", 10), 0);
    ck_assert(in.msg.snapshot.done);
    raft_buf_unref(frame);
    raft_wire_in_fini(&in);
}
END_TEST

START_TEST(test_wire_refuses)
{
    for (int type = RAFT_MSG_VOTE; type <= RAFT_MSG_TIMEOUT_NOW; type++) {
        struct raft_msg m = sample(type);
        struct raft_buf *frame = encode(&m), *cut;
        struct raft_wire_in in = {0};

        ck_assert_int_eq(raft_wire_decode(frame, &other, &in), -EPERM);
        for (uint32_t len = 0; len < frame->len; len++) {
            cut = raft_buf_copy(frame->data, len);
            ck_assert_int_eq(raft_wire_decode(cut, &group, &in), -EBADMSG);
            raft_buf_unref(cut);
        }
        cut = raft_buf_new(frame->len + 1); /* something behind it */
        memcpy(cut->data, frame->data, frame->len);
        cut->data[frame->len] = 0;
        ck_assert_int_eq(raft_wire_decode(cut, &group, &in), -EBADMSG);
        raft_buf_unref(cut);
        frame->data[2]++;
        ck_assert_int_eq(raft_wire_decode(frame, &group, &in), -EPROTONOSUPPORT);
        frame->data[2]--;
        frame->data[3] = 99;
        ck_assert_int_eq(raft_wire_decode(frame, &group, &in), -EBADMSG);
        raft_buf_unref(frame);
        raft_wire_in_fini(&in);
    }
}
END_TEST

START_TEST(test_wire_count_that_cannot_be)
{
    struct raft_msg m = sample(RAFT_MSG_APPEND);
    struct raft_buf *frame;
    struct raft_wire_in in = {0};

    m.append.n = 0;
    frame = encode(&m);
    memset(frame->data + frame->len - 4, 0xff, 4);
    ck_assert_int_eq(raft_wire_decode(frame, &group, &in), -EBADMSG);
    ck_assert_uint_eq(in.entries_cap, 0);
    raft_buf_unref(frame);
}
END_TEST

START_TEST(test_wire_bounded)
{
    struct strbuf b = STRBUF_BOUND(20);
    struct raft_msg m = sample(RAFT_MSG_VOTE);

    ck_assert_int_eq(raft_wire_encode(&m, &group, &b), -ENOBUFS);
    strbuf_fini(&b);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("codec");

    tcase_add_test(t, test_config_round_trip);
    tcase_add_test(t, test_config_limits);
    tcase_add_test(t, test_wire_round_trip);
    tcase_add_test(t, test_wire_fields);
    tcase_add_test(t, test_wire_refuses);
    tcase_add_test(t, test_wire_count_that_cannot_be);
    tcase_add_test(t, test_wire_bounded);
    return check_run("raft wire", t, NULL);
}
