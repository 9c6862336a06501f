/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "raft_wire.h"

#define WIRE_HEADER 44
#define FLAG_1      1u
#define FLAG_2      2u

/* ---- writing ---- */

static void put_u8(struct strbuf *b, uint8_t v)
{
    strbuf_add(b, &v, sizeof(v));
}

static void put_u32(struct strbuf *b, uint32_t v)
{
    uint8_t out[sizeof(v)];

    le32_write(out, v);
    strbuf_add(b, out, sizeof(out));
}

static void put_u64(struct strbuf *b, uint64_t v)
{
    uint8_t out[sizeof(v)];

    le64_write(out, v);
    strbuf_add(b, out, sizeof(out));
}

static void put_bytes(struct strbuf *b, const void *data, uint32_t len)
{
    put_u32(b, len);
    if (len > 0)
        strbuf_add(b, data, len);
}

static void put_append(struct strbuf *b, const struct raft_msg *m)
{
    put_u64(b, m->append.prev_index);
    put_u64(b, m->append.prev_term);
    put_u64(b, m->append.commit);
    put_u32(b, m->append.n);
    for (unsigned i = 0; i < m->append.n; i++) {
        const struct raft_entry *e = &m->append.entries[i];

        put_u64(b, e->term);
        put_u8(b, e->type);
        put_bytes(b, e->data, e->len);
    }
}

static void put_snapshot(struct strbuf *b, const struct raft_msg *m)
{
    const struct raft_snapshot_meta *meta = m->snapshot.meta;

    put_u64(b, meta->index);
    put_u64(b, meta->term);
    put_u64(b, meta->config_index);
    put_u64(b, m->snapshot.offset);
    put_u8(b, m->snapshot.done ? FLAG_1 : 0);
    if (m->snapshot.offset == 0) {
        uint8_t bytes[RAFT_CONFIG_BYTES_MAX];

        put_bytes(b, bytes, (uint32_t)raft_config_encode(&meta->config, bytes));
    } else {
        put_u32(b, 0);
    }
    put_bytes(b, m->snapshot.data, m->snapshot.len);
}

static void put_body(struct strbuf *b, const struct raft_msg *m)
{
    switch ((enum raft_msg_type)m->type) {
    case RAFT_MSG_VOTE:
        put_u64(b, m->vote.vote_term);
        put_u64(b, m->vote.last_index);
        put_u64(b, m->vote.last_term);
        put_u8(b, (m->vote.pre ? FLAG_1 : 0) | (m->vote.transfer ? FLAG_2 : 0));
        break;
    case RAFT_MSG_VOTE_REPLY:
        put_u64(b, m->vote_reply.vote_term);
        put_u8(b, (m->vote_reply.pre ? FLAG_1 : 0) | (m->vote_reply.granted ? FLAG_2 : 0));
        break;
    case RAFT_MSG_APPEND:
        put_append(b, m);
        break;
    case RAFT_MSG_APPEND_REPLY:
        put_u64(b, m->append_reply.match);
        put_u64(b, m->append_reply.reject_prev);
        put_u64(b, m->append_reply.hint_index);
        put_u64(b, m->append_reply.hint_term);
        put_u8(b, m->append_reply.rejected ? FLAG_1 : 0);
        break;
    case RAFT_MSG_HEARTBEAT:
        put_u64(b, m->heartbeat.round);
        put_u64(b, m->heartbeat.commit);
        break;
    case RAFT_MSG_HEARTBEAT_REPLY:
        put_u64(b, m->heartbeat_reply.round);
        put_u64(b, m->heartbeat_reply.matched);
        put_u64(b, m->heartbeat_reply.match);
        break;
    case RAFT_MSG_SNAPSHOT:
        put_snapshot(b, m);
        break;
    case RAFT_MSG_SNAPSHOT_REPLY:
        put_u64(b, m->snapshot_reply.index);
        put_u64(b, m->snapshot_reply.offset);
        put_u8(b, m->snapshot_reply.done ? FLAG_1 : 0);
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        break;
    }
}

int raft_wire_encode(const struct raft_msg *m, const struct raft_group *group, struct strbuf *out)
{
    put_u8(out, 'R');
    put_u8(out, 'f');
    put_u8(out, RAFT_WIRE_VERSION);
    put_u8(out, m->type);
    strbuf_add(out, group->bytes, sizeof(group->bytes));
    put_u64(out, m->from);
    put_u64(out, m->to);
    put_u64(out, m->term);
    put_body(out, m);
    return strbuf_failed(out) ? -ENOBUFS : 0;
}

/* ---- reading: `bad` is sticky, reads beyond the end give 0 ---- */

struct reader {
    const uint8_t *at, *end;
    bool bad;
};

static const uint8_t *get_raw(struct reader *rd, size_t n)
{
    const uint8_t *p = rd->at;

    if (rd->bad || (size_t)(rd->end - rd->at) < n) {
        rd->bad = true;
        return NULL;
    }
    rd->at += n;
    return p;
}

static uint8_t get_u8(struct reader *rd)
{
    const uint8_t *p = get_raw(rd, 1);

    return p ? *p : 0;
}

static uint32_t get_u32(struct reader *rd)
{
    const uint8_t *p = get_raw(rd, sizeof(uint32_t));

    return p ? le32_read(p) : 0;
}

static uint64_t get_u64(struct reader *rd)
{
    const uint8_t *p = get_raw(rd, sizeof(uint64_t));

    return p ? le64_read(p) : 0;
}

/* A flag byte; bits that nobody defined are an error, so that a later version can use them. */
static uint8_t get_flags(struct reader *rd, uint8_t allowed)
{
    uint8_t v = get_u8(rd);

    if (v & ~allowed)
        rd->bad = true;
    return v;
}

static void get_append(struct reader *rd, struct raft_buf *frame, struct raft_wire_in *in)
{
    struct raft_msg *m = &in->msg;
    uint32_t n;

    m->append.prev_index = get_u64(rd);
    m->append.prev_term = get_u64(rd);
    m->append.commit = get_u64(rd);
    n = get_u32(rd);
    /* Each entry takes 13 bytes at least: a count that cannot be is not allocated for. */
    if (n > RAFT_WIRE_ENTRIES_MAX || n > (size_t)(rd->end - rd->at) / 13)
        rd->bad = true;
    if (rd->bad)
        return;
    if (n > in->entries_cap) {
        in->entries = xrealloc(in->entries, n * sizeof(*in->entries));
        in->entries_cap = n;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct raft_entry *e = &in->entries[i];

        e->index = m->append.prev_index + 1 + i;
        e->term = get_u64(rd);
        e->type = get_u8(rd);
        e->len = get_u32(rd);
        e->data = get_raw(rd, e->len);
        e->buf = frame;
    }
    m->append.n = n;
    m->append.entries = in->entries;
}

static void get_snapshot(struct reader *rd, struct raft_wire_in *in)
{
    struct raft_msg *m = &in->msg;
    const uint8_t *config;
    uint32_t len;

    in->meta.index = get_u64(rd);
    in->meta.term = get_u64(rd);
    in->meta.config_index = get_u64(rd);
    in->meta.config.n = 0;
    m->snapshot.meta = &in->meta;
    m->snapshot.offset = get_u64(rd);
    m->snapshot.done = get_flags(rd, FLAG_1) & FLAG_1;
    len = get_u32(rd);
    config = get_raw(rd, len);
    if (m->snapshot.offset == 0) {
        if (!config || raft_config_decode(config, len, &in->meta.config) != 0)
            rd->bad = true;
    } else if (len != 0) {
        rd->bad = true;
    }
    m->snapshot.len = get_u32(rd);
    m->snapshot.data = get_raw(rd, m->snapshot.len);
}

static void get_body(struct reader *rd, struct raft_buf *frame, struct raft_wire_in *in)
{
    struct raft_msg *m = &in->msg;
    uint8_t flags;

    switch ((enum raft_msg_type)m->type) {
    case RAFT_MSG_VOTE:
        m->vote.vote_term = get_u64(rd);
        m->vote.last_index = get_u64(rd);
        m->vote.last_term = get_u64(rd);
        flags = get_flags(rd, FLAG_1 | FLAG_2);
        m->vote.pre = flags & FLAG_1;
        m->vote.transfer = flags & FLAG_2;
        return;
    case RAFT_MSG_VOTE_REPLY:
        m->vote_reply.vote_term = get_u64(rd);
        flags = get_flags(rd, FLAG_1 | FLAG_2);
        m->vote_reply.pre = flags & FLAG_1;
        m->vote_reply.granted = flags & FLAG_2;
        return;
    case RAFT_MSG_APPEND:
        get_append(rd, frame, in);
        return;
    case RAFT_MSG_APPEND_REPLY:
        m->append_reply.match = get_u64(rd);
        m->append_reply.reject_prev = get_u64(rd);
        m->append_reply.hint_index = get_u64(rd);
        m->append_reply.hint_term = get_u64(rd);
        m->append_reply.rejected = get_flags(rd, FLAG_1) & FLAG_1;
        return;
    case RAFT_MSG_HEARTBEAT:
        m->heartbeat.round = get_u64(rd);
        m->heartbeat.commit = get_u64(rd);
        return;
    case RAFT_MSG_HEARTBEAT_REPLY:
        m->heartbeat_reply.round = get_u64(rd);
        m->heartbeat_reply.matched = get_u64(rd);
        m->heartbeat_reply.match = get_u64(rd);
        return;
    case RAFT_MSG_SNAPSHOT:
        get_snapshot(rd, in);
        return;
    case RAFT_MSG_SNAPSHOT_REPLY:
        m->snapshot_reply.index = get_u64(rd);
        m->snapshot_reply.offset = get_u64(rd);
        m->snapshot_reply.done = get_flags(rd, FLAG_1) & FLAG_1;
        return;
    case RAFT_MSG_TIMEOUT_NOW:
        return;
    }
    rd->bad = true;
}

void raft_wire_in_fini(struct raft_wire_in *in)
{
    free(in->entries);
    *in = (struct raft_wire_in){0};
}

int raft_wire_decode(struct raft_buf *frame, const struct raft_group *group,
                     struct raft_wire_in *in)
{
    struct reader rd = {frame->data, frame->data + frame->len, false};
    const uint8_t *head = get_raw(&rd, 4), *id = get_raw(&rd, sizeof(group->bytes));

    in->msg = (struct raft_msg){0};
    if (!head || head[0] != 'R' || head[1] != 'f')
        return -EBADMSG;
    if (head[2] != RAFT_WIRE_VERSION)
        return -EPROTONOSUPPORT;
    if (frame->len < WIRE_HEADER)
        return -EBADMSG;
    if (memcmp(id, group->bytes, sizeof(group->bytes)) != 0)
        return -EPERM;
    in->msg.type = head[3];
    in->msg.from = get_u64(&rd);
    in->msg.to = get_u64(&rd);
    in->msg.term = get_u64(&rd);
    get_body(&rd, frame, in);
    return rd.bad || rd.at != rd.end ? -EBADMSG : 0;
}

int raft_wire_group(const struct raft_buf *frame, struct raft_group *ret)
{
    if (frame->len < WIRE_HEADER || frame->data[0] != 'R' || frame->data[1] != 'f' ||
        frame->data[2] != RAFT_WIRE_VERSION)
        return -EBADMSG;
    memcpy(ret->bytes, frame->data + 4, sizeof(ret->bytes));
    return 0;
}
