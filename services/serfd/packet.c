/* SPDX-License-Identifier: MPL-2.0 */
#include "packet.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "lzw.h"

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

struct unwrap {
    packet_msg_fn *fn;
    void *user;
    size_t plain_left; /* what decompression may still yield, a bound for the whole packet */
};

static enum packet_result unwrap_any(struct unwrap *u, struct span in, unsigned depth);

static enum packet_result unwrap_compound(struct unwrap *u, struct span in, unsigned depth)
{
    enum packet_result r = PACKET_OK;
    size_t n, at;

    if (in.len < 1 || in.len < 1 + 2 * (size_t)in.p[0])
        return PACKET_BROKEN;
    n = in.p[0];
    at = 1 + 2 * n;
    for (size_t i = 0; i < n; i++) {
        size_t len = (size_t)in.p[1 + 2 * i] << 8 | in.p[2 + 2 * i];

        if (len > in.len - at)
            return PACKET_BROKEN;
        if (unwrap_any(u, (struct span){in.p + at, len}, depth + 1) != PACKET_OK)
            r = PACKET_BROKEN;
        at += len;
    }
    return r;
}

static enum packet_result unwrap_compressed(struct unwrap *u, struct span in, unsigned depth)
{
    struct mp_scratch scratch = {.used = 0};
    struct strbuf plain = STRBUF_INIT;
    struct msg_compress c;
    enum packet_result r = PACKET_BROKEN;

    if (!msg_get(in, &msg_compress_schema, &c, &scratch) || c.algo != 0)
        return PACKET_BROKEN;
    if (lzw_decode(c.buf.p, c.buf.len, u->plain_left, &plain) == 0 && plain.len > 0) {
        u->plain_left -= MIN(u->plain_left, plain.len);
        r = unwrap_any(u, span_of(&plain), depth + 1);
    }
    strbuf_fini(&plain);
    return r;
}

static enum packet_result unwrap_any(struct unwrap *u, struct span in, unsigned depth)
{
    struct span body;

    if (in.len == 0 || depth > PACKET_NEST_MAX)
        return PACKET_BROKEN;
    body = (struct span){in.p + 1, in.len - 1};
    switch (in.p[0]) {
    case ML_COMPOUND:
        return unwrap_compound(u, body, depth);
    case ML_COMPRESS:
        return unwrap_compressed(u, body, depth);
    default:
        u->fn(u->user, in.p[0], body);
        return PACKET_OK;
    }
}

enum packet_result packet_read(struct span packet, packet_msg_fn *fn, void *user)
{
    struct unwrap u = {fn, user, PACKET_PLAIN_MAX};

    if (packet.len >= 5 && packet.p[0] == ML_CRC) {
        if (crc32(0, packet.p + 5, (uInt)(packet.len - 5)) != be32(packet.p + 1))
            return PACKET_BAD_CRC;
        packet.p += 5;
        packet.len -= 5;
    }
    return unwrap_any(&u, packet, 0);
}

void packet_put_compound(struct strbuf *out, const struct span *msgs, size_t n)
{
    assert(n >= 1 && n <= PACKET_PARTS_MAX);
    if (n > 1) {
        strbuf_addc(out, ML_COMPOUND);
        strbuf_addc(out, (char)n);
        for (size_t i = 0; i < n; i++) {
            assert(msgs[i].len <= UINT16_MAX);
            strbuf_addc(out, (char)(msgs[i].len >> 8));
            strbuf_addc(out, (char)msgs[i].len);
        }
    }
    for (size_t i = 0; i < n; i++)
        strbuf_add(out, msgs[i].p, msgs[i].len);
}

bool packet_put_compressed(struct strbuf *out, struct span msg)
{
    struct strbuf packed = STRBUF_INIT;
    struct msg_compress c = {.algo = 0};
    size_t start = out->len;

    if (msg.len < COMPRESS_MIN)
        return false;
    lzw_encode(msg.p, msg.len, &packed);
    if (packed.len < msg.len) {
        c.buf = span_of(&packed);
        msg_put(out, ML_COMPRESS, &msg_compress_schema, &c);
    }
    strbuf_fini(&packed);
    if (out->len - start < msg.len && out->len > start)
        return true;
    out->len = start;
    return false;
}

void packet_put_crc(struct strbuf *out, struct span packet)
{
    uint32_t crc = (uint32_t)crc32(0, packet.p, (uInt)packet.len);
    uint8_t head[5] = {ML_CRC, (uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8),
                       (uint8_t)crc};

    strbuf_add(out, head, sizeof(head));
    strbuf_add(out, packet.p, packet.len);
}

/* ---- streams ---- */

/* A value that is not whole in `len` bytes: wait, unless it could be no honest one any more. */
static enum stream_scan from_mp(int e, size_t len)
{
    return e == MP_E_MORE && len <= STREAM_VALUE_MAX ? STREAM_NEED_MORE : STREAM_BROKEN;
}

/* Head read, now `nodes_left` maps and user_len bytes. */
static enum stream_scan scan_state(struct stream_scanner *sc, const uint8_t *buf, size_t len)
{
    while (sc->nodes_left > 0) {
        struct mp_reader r = {buf + sc->offset, buf + len};
        int e = mp_skip(&r);

        if (e)
            return from_mp(e, len - sc->offset);
        sc->offset = (size_t)(r.p - buf);
        sc->nodes_left--;
    }
    if ((int64_t)(len - sc->offset) < sc->user_len)
        return STREAM_NEED_MORE;
    sc->offset += (size_t)sc->user_len;
    sc->user_len = 0;
    return STREAM_COMPLETE;
}

static enum stream_scan scan_head(struct stream_scanner *sc, const uint8_t *buf, size_t len)
{
    struct mp_reader r = {buf + 1, buf + len};
    struct mp_scratch scratch = {.used = 0};
    struct msg_state_head head;
    struct msg_user_head user;
    int e;

    if (buf[0] == ML_PUSH_PULL) {
        e = mp_get_struct(&r, &msg_state_head_schema, &head, &scratch);
        if (e)
            return from_mp(e, len);
        if (head.nodes < 0 || head.nodes > STREAM_NODES_MAX)
            return STREAM_BROKEN;
        sc->nodes_left = head.nodes;
        sc->user_len = head.user_len;
    } else {
        e = mp_get_struct(&r, &msg_user_head_schema, &user, &scratch);
        if (e)
            return from_mp(e, len);
        sc->user_len = user.len;
    }
    if (sc->user_len < 0 || sc->user_len > STREAM_MAX)
        return STREAM_BROKEN;
    sc->offset = (size_t)(r.p - buf);
    sc->head_seen = true;
    return scan_state(sc, buf, len);
}

enum stream_scan stream_scan(struct stream_scanner *sc, const uint8_t *buf, size_t len)
{
    struct mp_reader r;
    int e;

    if (len == 0)
        return STREAM_NEED_MORE;
    switch (buf[0]) {
    case ML_PUSH_PULL:
    case ML_USER:
        return sc->head_seen ? scan_state(sc, buf, len) : scan_head(sc, buf, len);
    case ML_ENCRYPT:
        if (len < 5)
            return STREAM_NEED_MORE;
        if (be32(buf + 1) > STREAM_MAX)
            return STREAM_BROKEN;
        if (len - 5 < be32(buf + 1))
            return STREAM_NEED_MORE;
        sc->offset = 5 + (size_t)be32(buf + 1);
        return STREAM_COMPLETE;
    case ML_PING:
    case ML_ACK:
    case ML_COMPRESS:
    case ML_ERR:
        r = (struct mp_reader){buf + 1, buf + len};
        e = mp_skip(&r);
        if (e)
            return from_mp(e, buf[0] == ML_COMPRESS ? 0 : len);
        sc->offset = (size_t)(r.p - buf);
        return STREAM_COMPLETE;
    default:
        return STREAM_BROKEN;
    }
}

int stream_unwrap(struct span in, struct strbuf *room, struct span *ret_msg)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_compress c;
    size_t start = room->len;
    int r;

    if (in.len == 0)
        return -EBADMSG;
    if (in.p[0] != ML_COMPRESS) {
        *ret_msg = in;
        return 0;
    }
    in = (struct span){in.p + 1, in.len - 1};
    if (!msg_get(in, &msg_compress_schema, &c, &scratch))
        return -EBADMSG;
    if (c.algo != 0)
        return -EPROTONOSUPPORT;
    r = lzw_decode(c.buf.p, c.buf.len, STREAM_MAX, room);
    if (r)
        return r;
    if (room->len == start)
        return -EBADMSG;
    *ret_msg = (struct span){(const uint8_t *)room->data + start, room->len - start};
    return 0;
}
