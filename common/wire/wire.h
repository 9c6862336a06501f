/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Envelopes and bodies to bytes and back. The only code that sees raw bytes of the message plane.
 */
#pragma once

#include <pb.h>

#include "base/base.h"
#include "base/err.h"
#include "base/strbuf.h"
#include "envelope.pb.h"

#define WIRE_VERSION      1u
#define WIRE_ENVELOPE_MAX 1536u /* bytes of an encoded Request or Reply */

/* Encodes into buf[WIRE_ENVELOPE_MAX]; returns the length (it always fits). version is set. */
size_t wire_request_encode(const steppe_Request *env, uint8_t *buf);
size_t wire_reply_encode(const steppe_Reply *rep, uint8_t *buf);

/* -EBADMSG for what is no envelope of a version we know; text in e. */
int wire_request_decode(const void *data, size_t len, steppe_Request *ret, struct errtext *e);
int wire_reply_decode(const void *data, size_t len, steppe_Reply *ret, struct errtext *e);

/*
 * Any nanopb message. Encoding appends to out; -EMSGSIZE when out's bound is hit, -EINVAL when a
 * field breaks a limit. Decoding fills *msg (zeroed before); on failure it is released already,
 * -EBADMSG. On success the caller does pb_release(fields, msg).
 */
int wire_encode(const pb_msgdesc_t *fields, const void *msg, struct strbuf *out);
int wire_decode(const pb_msgdesc_t *fields, const void *data, size_t len, void *msg,
                size_t msg_size, struct errtext *e);

/*
 * Walks the field-1, length-delimited items of a list body without decoding the rest:
 *     struct wire_items it = {body, len}; while (wire_items_next(&it, &p, &n)) ...
 * it.bad is set when the bytes are not such a list.
 */
struct wire_items {
    const uint8_t *p;
    size_t left;
    bool bad;
};
bool wire_items_next(struct wire_items *it, const uint8_t **ret_item, size_t *ret_len);
