/* SPDX-License-Identifier: MPL-2.0 */
/* Making and taking apart rows; see rows.h and state_schema.h. */
#include "state/rows.h"

#include <errno.h>
#include <string.h>

#include <pb_decode.h>

#include "job.pb.h"
#include "node.pb.h"
#include "base/clock.h"

/* ---- protobuf ---- */

static bool row_stream_write(pb_ostream_t *stream, const pb_byte_t *buf, size_t count)
{
    strbuf_add(stream->state, buf, count);
    return !strbuf_failed(stream->state);
}

static pb_ostream_t row_stream(struct strbuf *b)
{
    return (pb_ostream_t){.callback = row_stream_write, .state = b, .max_size = SIZE_MAX};
}

void row_bytes_head(struct strbuf *b, uint32_t tag, size_t len)
{
    pb_ostream_t s = row_stream(b);

    /* a failure is sticky in b */
    (void)(pb_encode_tag(&s, PB_WT_STRING, tag) && pb_encode_varint(&s, len));
}

void row_u64(struct strbuf *b, uint32_t tag, uint64_t v)
{
    pb_ostream_t s = row_stream(b);

    if (v)
        (void)(pb_encode_tag(&s, PB_WT_VARINT, tag) && pb_encode_varint(&s, v));
}

void row_bytes(struct strbuf *b, uint32_t tag, struct bytes v)
{
    row_bytes_head(b, tag, v.len);
    strbuf_add(b, v.data, v.len);
}

void row_text(struct strbuf *b, uint32_t tag, const char *text)
{
    if (text && *text)
        row_bytes(b, tag, bytes_text(text));
}

int row_encode(const pb_msgdesc_t *fields, const void *msg, struct strbuf *out)
{
    pb_ostream_t s = row_stream(out);

    return pb_encode(&s, fields, msg) ? 0 : err_trace(-EMSGSIZE);
}

int row_decode(const pb_msgdesc_t *fields, struct bytes in, void *msg, size_t msg_size)
{
    pb_istream_t s = pb_istream_from_buffer(in.data, in.len);

    memset(msg, 0, msg_size);
    return pb_decode(&s, fields, msg) ? 0 : err_trace(-EBADMSG);
}

void row_release(const pb_msgdesc_t *fields, void *msg)
{
    pb_release(fields, msg);
}

bool row_is_fields(struct bytes in)
{
    pb_istream_t s = pb_istream_from_buffer(in.data, in.len);
    pb_wire_type_t wt;
    uint32_t tag;
    bool eof;

    while (pb_decode_tag(&s, &wt, &tag, &eof)) {
        if (!pb_skip_field(&s, wt))
            return false;
    }
    return eof;
}

/* ---- shallow reading ---- */

void row_copy_fields(struct strbuf *out, struct bytes in, uint64_t mask)
{
    struct wire_field f;

    while (wire_field_next(&in, &f)) {
        if (f.tag < 64 && (mask & ROW_TAG(f.tag)))
            strbuf_add(out, f.raw.data, f.raw.len);
    }
}

static int row_hex(uint8_t ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static bool row_uuid_dash(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

bool row_uuid_read(struct bytes text, uint8_t out[static 16])
{
    size_t n = 0;

    if (text.len != 36)
        return false;
    for (size_t i = 0; i < 36; i++) {
        int hi, lo;

        if (row_uuid_dash(i)) {
            if (text.data[i] != '-')
                return false;
            continue;
        }
        hi = row_hex(text.data[i]);
        lo = row_hex(text.data[++i]);
        if (hi < 0 || lo < 0)
            return false;
        out[n++] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

void row_uuid_text(const uint8_t id[static 16], char out[static 37])
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;

    for (size_t i = 0; i < 16; i++) {
        if (row_uuid_dash(n))
            out[n++] = '-';
        out[n++] = hex[id[i] >> 4];
        out[n++] = hex[id[i] & 15];
    }
    out[n] = 0;
}

/* ---- list rows ---- */

void row_list_write(struct strbuf *out, struct bytes head, struct bytes fixed, struct bytes rest)
{
    strbuf_reset(out);
    strbuf_add(out, head.data, head.len);
    row_bytes_head(out, 1, fixed.len + rest.len);
    strbuf_add(out, fixed.data, fixed.len);
    strbuf_add(out, rest.data, rest.len);
}

int row_list_content(struct bytes row, size_t head_len, struct bytes *ret)
{
    pb_istream_t s;
    pb_wire_type_t wt;
    uint32_t tag, len;
    bool eof;

    if (row.len < head_len)
        return err_trace(-EBADMSG);
    s = pb_istream_from_buffer(row.data + head_len, row.len - head_len);
    if (!pb_decode_tag(&s, &wt, &tag, &eof) || tag != 1 || wt != PB_WT_STRING ||
        !pb_decode_varint32(&s, &len) || s.bytes_left != len)
        return err_trace(-EBADMSG);
    *ret = bytes_of(row.data + row.len - len, len);
    return 0;
}

int row_stub_fixed(struct bytes row, struct bytes *ret)
{
    int r = row_list_content(row, 4, ret);

    if (r)
        return r;
    if (le32_read(row.data) > ret->len)
        return err_trace(-EBADMSG);
    ret->len = le32_read(row.data);
    return 0;
}

int row_eval_head(struct bytes row, struct bytes *ret_ns, size_t *ret_head_len)
{
    if (row.len == 0 || row.len < 1u + row.data[0])
        return err_trace(-EBADMSG);
    *ret_ns = bytes_of(row.data + 1, row.data[0]);
    *ret_head_len = 1u + row.data[0];
    return 0;
}

int row_version_read(struct bytes row, struct row_version *ret)
{
    uint32_t n;

    if (row.len < ROW_VERSION_HEAD)
        return err_trace(-EBADMSG);
    n = le32_read(row.data);
    if (n > row.len - ROW_VERSION_HEAD)
        return err_trace(-EBADMSG);
    ret->flags = row.data[4];
    ret->spec = bytes_of(row.data + ROW_VERSION_HEAD, n);
    ret->server = bytes_of(ret->spec.data + n, row.len - ROW_VERSION_HEAD - n);
    return 0;
}

/* ---- jobs and nodes ---- */

/* "pending" for an unknown number. */
static const char *state_job_status_name(unsigned status)
{
    static const char *const names[STATE_JOB_STATUS_COUNT] = {
#define X(id, text) [STATE_JOB_##id] = text,
        STATE_JOB_STATUSES(X)
#undef X
    };

    return names[status < STATE_JOB_STATUS_COUNT ? status : STATE_JOB_PENDING];
}

void row_job_server(struct strbuf *b, const steppe_JobRow *row)
{
    row_u64(b, steppe_Job_stop_tag, row->stop);
    row_text(b, steppe_Job_status_tag, state_job_status_name(row->status));
    row_u64(b, steppe_Job_stable_tag, row->stable);
    row_u64(b, steppe_Job_version_tag, row->version);
    row_u64(b, steppe_Job_submit_time_tag, (uint64_t)row->submit_time);
    row_u64(b, steppe_Job_create_index_tag, row->create_index);
    row_u64(b, steppe_Job_modify_index_tag, row->modify_index);
    row_u64(b, steppe_Job_job_modify_index_tag, row->job_modify_index);
}

void row_job_stub(struct strbuf *b, const steppe_JobRow *row, struct bytes summary)
{
    row_u64(b, steppe_JobListStub_stop_tag, row->stop);
    row_text(b, steppe_JobListStub_status_tag, state_job_status_name(row->status));
    row_bytes(b, steppe_JobListStub_job_summary_tag, summary);
    row_u64(b, steppe_JobListStub_create_index_tag, row->create_index);
    row_u64(b, steppe_JobListStub_modify_index_tag, row->modify_index);
    row_u64(b, steppe_JobListStub_job_modify_index_tag, row->job_modify_index);
    row_u64(b, steppe_JobListStub_submit_time_tag, (uint64_t)row->submit_time);
}

static void row_node_event(struct strbuf *b, const steppe_NodeRowEvent *ev)
{
    struct strbuf one = STRBUF_INIT;

    row_text(&one, steppe_NodeEvent_message_tag, ev->message);
    row_text(&one, steppe_NodeEvent_subsystem_tag, ev->subsystem);
    row_u64(&one, steppe_NodeEvent_timestamp_tag, (uint64_t)ev->timestamp * NS_PER_SEC);
    row_u64(&one, steppe_NodeEvent_create_index_tag, ev->create_index);
    row_bytes(b, steppe_Node_events_tag, strbuf_bytes(&one));
    strbuf_fini(&one);
}

void row_node_server(struct strbuf *b, const steppe_NodeRow *row)
{
    row_text(b, steppe_Node_scheduling_eligibility_tag, row->eligibility);
    row_text(b, steppe_Node_status_tag, row->status);
    row_text(b, steppe_Node_status_description_tag, row->status_description);
    row_u64(b, steppe_Node_status_updated_at_tag, (uint64_t)row->status_updated_at);
    for (size_t i = 0; i < row->events_count; i++)
        row_node_event(b, &row->events[i]);
    row_u64(b, steppe_Node_create_index_tag, row->create_index);
    row_u64(b, steppe_Node_modify_index_tag, row->modify_index);
}

void row_node_stub(struct strbuf *b, const steppe_NodeRow *row)
{
    row_text(b, steppe_NodeListStub_scheduling_eligibility_tag, row->eligibility);
    row_text(b, steppe_NodeListStub_status_tag, row->status);
    row_text(b, steppe_NodeListStub_status_description_tag, row->status_description);
    row_u64(b, steppe_NodeListStub_create_index_tag, row->create_index);
    row_u64(b, steppe_NodeListStub_modify_index_tag, row->modify_index);
}

/* ---- keys ---- */

void row_key_add(struct row_key *k, const void *data, size_t len)
{
    if (k->failed || len > sizeof(k->data) - k->len) {
        k->failed = true;
        return;
    }
    memcpy(k->data + k->len, data, len);
    k->len += len;
}

void row_key_job(struct row_key *k, const char *ns, const char *id)
{
    size_t ns_len = strlen(ns), id_len = strlen(id);

    k->len = 0;
    k->failed = ns_len == 0 || ns_len > STATE_NAMESPACE_LEN_MAX || id_len == 0 ||
                id_len > STATE_JOB_ID_LEN_MAX;
    row_key_add(k, ns, ns_len + 1); /* with its NUL */
    row_key_add(k, id, id_len);
}

void row_key_of_job(struct row_key *k, struct bytes nsid)
{
    k->len = 0;
    k->failed = false;
    row_key_add(k, nsid.data, nsid.len);
    row_key_add(k, "", 1);
}

void row_key_version(struct row_key *k, struct bytes nsid, uint64_t version)
{
    uint8_t be[8];

    be64_write(be, ~version);
    row_key_of_job(k, nsid);
    row_key_add(k, be, sizeof(be));
}

int row_node_alloc(struct bytes row, struct bytes *ret)
{
    if (row.len < ROW_NODE_ALLOC_HEAD)
        return err_trace(-EBADMSG);
    *ret = bytes_of(row.data + ROW_NODE_ALLOC_HEAD, row.len - ROW_NODE_ALLOC_HEAD);
    return 0;
}

void row_key_job_alloc(struct row_key *k, struct bytes nsid, const uint8_t id[static 16])
{
    row_key_of_job(k, nsid);
    row_key_add(k, id, 16);
}

void row_key_spec(struct row_key *k, struct bytes nsid, uint64_t create_index, uint64_t version)
{
    uint8_t be[16];

    be64_write(be, create_index);
    be64_write(be + 8, version);
    row_key_of_job(k, nsid);
    row_key_add(k, be, sizeof(be));
}

void row_key_pair(struct row_key *k, const uint8_t a[static 16], const uint8_t b[static 16])
{
    k->len = 0;
    k->failed = false;
    row_key_add(k, a, 16);
    row_key_add(k, b, 16);
}

void row_key_log(struct row_key *k, uint64_t index, const uint8_t id[static 16])
{
    uint8_t be[8];

    be64_write(be, index);
    k->len = 0;
    k->failed = false;
    row_key_add(k, be, sizeof(be));
    row_key_add(k, id, 16);
}

void row_key_job_eval(struct row_key *k, struct bytes nsid, uint64_t create_index, const char *id)
{
    uint8_t be[8];

    be64_write(be, create_index);
    row_key_of_job(k, nsid);
    row_key_add(k, be, sizeof(be));
    row_key_add(k, id, strlen(id));
}
