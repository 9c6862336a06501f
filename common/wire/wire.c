/* SPDX-License-Identifier: MPL-2.0 */
#include "wire/wire.h"

#include <errno.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <string.h>

#define ENCODE_ROOM 4096 /* of most messages */

static size_t encode_fixed(const pb_msgdesc_t *fields, const void *msg, uint8_t *buf)
{
    pb_ostream_t s = pb_ostream_from_buffer(buf, WIRE_ENVELOPE_MAX);
    bool ok = pb_encode(&s, fields, msg);

    assert(ok);
    return s.bytes_written;
}

size_t wire_request_encode(const steppe_Request *env, uint8_t *buf)
{
    return encode_fixed(steppe_Request_fields, env, buf);
}

size_t wire_reply_encode(const steppe_Reply *rep, uint8_t *buf)
{
    return encode_fixed(steppe_Reply_fields, rep, buf);
}

static int check_envelope(bool decoded, uint32_t version, const char *what, struct errtext *e)
{
    if (!decoded)
        return err_set(e, -EBADMSG, "%s envelope cannot be decoded", what);
    if (version != WIRE_VERSION)
        return err_set(e, -EBADMSG, "%s envelope has version %u, known is %u", what, version,
                       WIRE_VERSION);
    return 0;
}

int wire_request_decode(const void *data, size_t len, steppe_Request *ret, struct errtext *e)
{
    pb_istream_t s = pb_istream_from_buffer(data, len);
    bool ok = len <= WIRE_ENVELOPE_MAX && pb_decode(&s, steppe_Request_fields, ret);

    return check_envelope(ok, ok ? ret->version : 0, "request", e);
}

int wire_reply_decode(const void *data, size_t len, steppe_Reply *ret, struct errtext *e)
{
    pb_istream_t s = pb_istream_from_buffer(data, len);
    bool ok = len <= WIRE_ENVELOPE_MAX && pb_decode(&s, steppe_Reply_fields, ret);

    return check_envelope(ok, ok ? ret->version : 0, "reply", e);
}

int wire_encode(const pb_msgdesc_t *fields, const void *msg, struct strbuf *out)
{
    size_t room = MAX(out->cap - out->len, (size_t)ENCODE_ROOM + 1) - 1;

    /* Into what is there, larger each time: nanopb's own way to learn the size is to encode once
     * more, and once more again for each level of messages within messages. */
    for (;; room *= 4) {
        size_t left = out->len_max ? out->len_max - out->len : SIZE_MAX;
        char *p = strbuf_reserve(out, MIN(room, left));
        pb_ostream_t s = pb_ostream_from_buffer((pb_byte_t *)p, MIN(room, left));

        if (!p)
            return -EMSGSIZE;
        if (pb_encode(&s, fields, msg)) {
            out->len += s.bytes_written;
            out->data[out->len] = 0;
            return 0;
        }
        out->data[out->len] = 0;
        if (strcmp(PB_GET_ERROR(&s), "stream full") != 0)
            return -EINVAL;
        if (room >= left)
            return -EMSGSIZE;
    }
}

int wire_decode(const pb_msgdesc_t *fields, const void *data, size_t len, void *msg,
                size_t msg_size, struct errtext *e)
{
    pb_istream_t s = pb_istream_from_buffer(data, len);

    memset(msg, 0, msg_size);
    if (!pb_decode(&s, fields, msg)) /* nanopb has released it */
        return err_set(e, -EBADMSG, "message body cannot be decoded: %s", PB_GET_ERROR(&s));
    return 0;
}

bool wire_items_next(struct wire_items *it, const uint8_t **ret_item, size_t *ret_len)
{
    pb_istream_t s = pb_istream_from_buffer(it->p, it->left);
    uint32_t tag, len;
    pb_wire_type_t type;
    bool eof;

    while (pb_decode_tag(&s, &type, &tag, &eof)) {
        if (tag != 1 || type != PB_WT_STRING) {
            if (!pb_skip_field(&s, type))
                break;
            continue;
        }
        if (!pb_decode_varint32(&s, &len) || len > s.bytes_left) {
            it->bad = true;
            return false;
        }
        *ret_item = it->p + (it->left - s.bytes_left);
        *ret_len = len;
        it->p = *ret_item + len;
        it->left = s.bytes_left - len;
        return true;
    }
    it->bad = !eof;
    return false;
}
