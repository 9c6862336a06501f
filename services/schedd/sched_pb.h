/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Protobuf by hand, for the two places where nanopb is too slow for thousands of allocations a
 * second: reading a few fields of each stored allocation, and writing placements, whose fields are
 * mostly the same bytes.
 */
#pragma once

#include "base/base.h"
#include "base/strbuf.h"
#include "wire/field.h"

/* ---- writing; as proto3 does, zero numbers and empty texts are left out ---- */

void sched_pb_u64(struct strbuf *b, uint32_t tag, uint64_t v);
void sched_pb_u64_always(struct strbuf *b, uint32_t tag, uint64_t v);
void sched_pb_double(struct strbuf *b, uint32_t tag, double v);
void sched_pb_text(struct strbuf *b, uint32_t tag, const char *text); /* NULL: none */
void sched_pb_bytes(struct strbuf *b, uint32_t tag, struct bytes v);  /* always written */
/* Tag and length of a submessage of which len bytes follow. */
void sched_pb_head(struct strbuf *b, uint32_t tag, size_t len);
/*
 * A submessage whose length is not known yet: begin, write its fields, end; they nest. It may take
 * up to 2^28 - 1 bytes.
 */
size_t sched_pb_begin(struct strbuf *b, uint32_t tag);
void sched_pb_end(struct strbuf *b, size_t begun);

/* ---- reading ---- */

/* The next field of *in, which is shortened by it. False at the end and on damage (*bad is set). */
bool sched_pb_next(struct bytes *in, struct wire_field *ret, bool *bad);
