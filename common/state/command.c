/* SPDX-License-Identifier: MPL-2.0 */
/* The frame of a Raft command: le16 length of the header, header, body, blobs. */
#include "state/command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "state/rows.h"

#define COMMAND_VERSION 1u

struct command_info {
    const char *name;
    const pb_msgdesc_t *fields;
    unsigned blobs_min, blobs_max;
};

#define COMMAND_MESSAGES(X)                                                                        \
    X(NOOP, NULL)                                                                                  \
    X(JOB_REGISTER, steppe_JobRegisterCommand_fields)                                              \
    X(JOB_DEREGISTER, steppe_JobDeregisterCommand_fields)                                          \
    X(NODE_REGISTER, steppe_NodeRegisterCommand_fields)                                            \
    X(NODE_STATUS, steppe_NodeStatusCommand_fields)                                                \
    X(NODE_ELIGIBILITY, steppe_NodeEligibilityCommand_fields)                                      \
    X(NODE_DEREGISTER, steppe_NodeDeregisterCommand_fields)                                        \
    X(EVAL_UPDATE, steppe_EvalUpdateCommand_fields)                                                \
    X(CONFIG_PUT, steppe_ConfigPutCommand_fields)                                                  \
    X(PLAN_APPLY, steppe_PlanApplyCommand_fields)                                                  \
    X(ALLOC_CLIENT_UPDATE, steppe_AllocClientUpdateCommand_fields)                                 \
    X(ALLOC_TRANSITION, steppe_AllocTransitionCommand_fields)                                      \
    X(NODE_EVALUATE, steppe_NodeEvaluateCommand_fields)                                            \
    X(REAP, steppe_ReapCommand_fields)

/* false for a number that this release does not know. */
static bool command_info(unsigned type, struct command_info *ret)
{
    *ret = (struct command_info){0};
    switch (type) {
#define X(id, number, min, max)                                                                    \
    case number:                                                                                   \
        *ret = (struct command_info){#id, NULL, min, max};                                         \
        break;
        COMMANDS(X)
#undef X
    }
    switch (type) {
#define X(id, message)                                                                             \
    case COMMAND_##id:                                                                             \
        ret->fields = message;                                                                     \
        break;
        COMMAND_MESSAGES(X)
#undef X
    }
    return ret->name;
}

const char *command_name(unsigned type)
{
    struct command_info info;

    return command_info(type, &info) ? info.name : NULL;
}

bool command_blobs_fit(unsigned type, size_t blobs_n)
{
    struct command_info info;

    return command_info(type, &info) && blobs_n >= info.blobs_min && blobs_n <= info.blobs_max;
}

static int command_encode_header(struct strbuf *out, const steppe_CommandHeader *h)
{
    uint8_t buf[steppe_CommandHeader_size], le[2];
    pb_ostream_t s = pb_ostream_from_buffer(buf, sizeof(buf));

    if (!pb_encode(&s, steppe_CommandHeader_fields, h))
        return err_trace(-EMSGSIZE);
    le[0] = s.bytes_written & 0xff;
    le[1] = (uint8_t)(s.bytes_written >> 8);
    strbuf_add(out, le, 2);
    strbuf_add(out, buf, s.bytes_written);
    return 0;
}

int command_encode(struct strbuf *out, enum command_type type, struct wall_ns now, const char *key,
                   const void *body, const struct bytes *blobs, size_t blobs_n)
{
    steppe_CommandHeader h = {.version = COMMAND_VERSION, .type = type, .now = now.ns};
    struct strbuf text = STRBUF_INIT;
    struct command_info info;
    size_t len_before = out->len, total = 0;
    int r;

    if (!command_info(type, &info) || !command_blobs_fit(type, blobs_n))
        return err_trace(-EINVAL);
    assert((body == NULL) == (info.fields == NULL));
    if (key && strlen(key) >= sizeof(h.idempotency_key))
        return err_trace(-EMSGSIZE);
    snprintf(h.idempotency_key, sizeof(h.idempotency_key), "%s", key ? key : "");
    r = body ? row_encode(info.fields, body, &text) : 0;
    for (size_t i = 0; i < blobs_n; i++) {
        if (blobs[i].len > COMMAND_LEN_MAX - total)
            r = -EMSGSIZE;
        else
            total += blobs[i].len;
        h.blob_lens[i] = (uint32_t)blobs[i].len;
    }
    h.blob_lens_count = (pb_size_t)blobs_n;
    h.body_len = (uint32_t)text.len;
    if (r == 0)
        r = command_encode_header(out, &h);
    if (r == 0) {
        strbuf_add(out, text.data, text.len);
        for (size_t i = 0; i < blobs_n; i++)
            strbuf_add(out, blobs[i].data, blobs[i].len);
        r = strbuf_failed(out) ? -EMSGSIZE : 0;
    }
    strbuf_fini(&text);
    if (r && out->data) {
        out->len = len_before;
        out->data[len_before] = 0;
    }
    return r ? err_trace(r) : 0;
}

int command_decode(struct bytes data, struct command *ret)
{
    steppe_CommandHeader h;
    struct bytes rest;
    size_t header_len;

    if (data.len < 2)
        return err_trace(-EPROTO);
    header_len = data.data[0] | (size_t)data.data[1] << 8;
    if (header_len > data.len - 2 ||
        row_decode(steppe_CommandHeader_fields, bytes_of(data.data + 2, header_len), &h,
                   sizeof(h)) ||
        h.version != COMMAND_VERSION)
        return err_trace(-EPROTO);
    rest = bytes_of(data.data + 2 + header_len, data.len - 2 - header_len);
    if (h.body_len > rest.len)
        return err_trace(-EPROTO);
    ret->type = h.type;
    ret->now.ns = h.now;
    memcpy(ret->key, h.idempotency_key, sizeof(ret->key));
    ret->body = bytes_of(rest.data, h.body_len);
    rest = bytes_of(rest.data + h.body_len, rest.len - h.body_len);
    ret->blobs_n = h.blob_lens_count;
    for (size_t i = 0; i < ret->blobs_n; i++) {
        if (h.blob_lens[i] > rest.len)
            return err_trace(-EPROTO);
        ret->blobs[i] = bytes_of(rest.data, h.blob_lens[i]);
        rest = bytes_of(rest.data + h.blob_lens[i], rest.len - h.blob_lens[i]);
    }
    return rest.len ? err_trace(-EPROTO) : 0;
}
