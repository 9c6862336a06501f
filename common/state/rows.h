/* SPDX-License-Identifier: MPL-2.0 */
/*
 * How rows are made: pieces of protobuf appended to a strbuf, list rows with their ready-made item,
 * keys. Internal to common/state.
 */
#pragma once

#include <pb_encode.h>

#include "base/endian.h"
#include "base/strbuf.h"
#include "command.pb.h"
#include "state/state.h"
#include "state/store.h"
#include "wire/field.h"

/* ---- protobuf fields; zero numbers and empty texts are left out, as proto3 does ---- */

void row_u64(struct strbuf *b, uint32_t tag, uint64_t v);
void row_text(struct strbuf *b, uint32_t tag, const char *text);
void row_bytes(struct strbuf *b, uint32_t tag, struct bytes v); /* always written */
/* Only tag and length; len bytes follow. */
void row_bytes_head(struct strbuf *b, uint32_t tag, size_t len);

static inline struct bytes strbuf_bytes(const struct strbuf *b)
{
    return bytes_of(b->data, b->len);
}

/*
 * A message as bytes and back. Decoding is for rows that we wrote and commands that passed a check:
 * it fails (-EBADMSG) on damage only. Afterwards row_release() for messages with pointers.
 */
int row_encode(const pb_msgdesc_t *fields, const void *msg, struct strbuf *out);
int row_decode(const pb_msgdesc_t *fields, struct bytes in, void *msg, size_t msg_size);
void row_release(const pb_msgdesc_t *fields, void *msg);
/* Are these whole protobuf fields? Their types are not looked at, nor what is inside. */
bool row_is_fields(struct bytes in);

/* Appends the fields of `in` whose tags (1..63) are in the mask; damage ends it. */
void row_copy_fields(struct strbuf *out, struct bytes in, uint64_t mask);
#define ROW_TAG(tag) (UINT64_C(1) << (tag))

/* ---- UUIDs as 16 bytes ---- */

/* Canonical text (lower case) only. */
bool row_uuid_read(struct bytes text, uint8_t out[static 16]);
void row_uuid_text(const uint8_t id[static 16], char out[static 37]);

/* ---- list rows: head, tag 1, length, content; the content's first n bytes are fixed ---- */

/* out is emptied first. */
void row_list_write(struct strbuf *out, struct bytes head, struct bytes fixed, struct bytes rest);
/* Of a row with a head of head_len bytes: the content of its item. -EBADMSG. */
int row_list_content(struct bytes row, size_t head_len, struct bytes *ret);
/* Of a stub row (head: le32 n): the fixed part. -EBADMSG. */
int row_stub_fixed(struct bytes row, struct bytes *ret);
/* Of an evaluation row (head: length of the namespace, namespace). -EBADMSG. */
int row_eval_head(struct bytes row, struct bytes *ret_ns, size_t *ret_head_len);

/* ---- version rows: le32 n, flags, spec (n), Job with the server-set fields ---- */

#define ROW_VERSION_HEAD   5
#define ROW_VERSION_STABLE 1u
struct row_version {
    unsigned flags;
    struct bytes spec, server;
};
int row_version_read(struct bytes row, struct row_version *ret);

/* ---- jobs and nodes ---- */

#define STATE_JOB_STATUSES(X)                                                                      \
    X(PENDING, "pending")                                                                          \
    X(RUNNING, "running")                                                                          \
    X(DEAD, "dead")
enum state_job_status {
#define X(id, text) STATE_JOB_##id,
    STATE_JOB_STATUSES(X)
#undef X
        STATE_JOB_STATUS_COUNT
};

/* The server-set fields of Job (appended). */
void row_job_server(struct strbuf *b, const steppe_JobRow *row);
/* The fields of JobListStub that the state sets. */
void row_job_stub(struct strbuf *b, const steppe_JobRow *row, struct bytes summary);
/* The server-set fields of Node, without the secret. */
void row_node_server(struct strbuf *b, const steppe_NodeRow *row);
void row_node_stub(struct strbuf *b, const steppe_NodeRow *row);

/* ---- keys ---- */

/* A key under construction; over the bound it stays `failed`. */
struct row_key {
    uint8_t data[STATE_KEY_MAX];
    size_t len;
    bool failed;
};
void row_key_add(struct row_key *k, const void *data, size_t len);
/* "NS NUL ID", failed when one is empty or over its bound. */
void row_key_job(struct row_key *k, const char *ns, const char *id);
void row_key_version(struct row_key *k, struct bytes nsid, uint64_t version);
void row_key_job_eval(struct row_key *k, struct bytes nsid, uint64_t create_index, const char *id);
static inline struct bytes row_key_bytes(const struct row_key *k)
{
    return bytes_of(k->data, k->len);
}
/* The prefix "NSID NUL" of the rows that belong to a job. */
void row_key_of_job(struct row_key *k, struct bytes nsid);

/* What a row of NODE_ALLOCS has of an allocation's changes. -EBADMSG. */
#define ROW_NODE_ALLOC_HEAD 8
int row_node_alloc(struct bytes row, struct bytes *ret);

/* JOB_ALLOCS; JOB_SPECS; NODE_ALLOCS and EVAL_ALLOCS; ALLOC_LOG and NODE_LOG. */
void row_key_job_alloc(struct row_key *k, struct bytes nsid, const uint8_t id[static 16]);
void row_key_spec(struct row_key *k, struct bytes nsid, uint64_t create_index, uint64_t version);
void row_key_pair(struct row_key *k, const uint8_t a[static 16], const uint8_t b[static 16]);
void row_key_log(struct row_key *k, uint64_t index, const uint8_t id[static 16]);

#define ROW_JOB_EVAL_TAIL 8 /* bytes between the prefix and the evaluation's id */
