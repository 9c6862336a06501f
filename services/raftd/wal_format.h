/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What the log looks like on disk. Files "wal-NUMBER" (16 hex digits), numbers without a gap. Each
 * is a sequence of records, little endian:
 *
 *     crc32 of all that follows (4), length of the body (4), type (1), body
 *
 *     SEGMENT  magic (8), number (8), base index (8), base term (8), term (8), vote (8)
 *              The first record of each file. The log continues behind the base: a base below the
 *              end so far removes the entries after it, any other restarts the log there.
 *     BATCH    magic (8), offset (8)
 *              Begins each write. All bytes of the file before `offset` were durable by then: a
 *              damaged record in front of it was not torn by a crash.
 *     HARD     term (8), vote (8)
 *     ENTRY    index (8), term (8), entry type (1), content
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "base/endian.h"

#define WAL_SEGMENT_MAGIC UINT64_C(0x31304c4157505453) /* "STPWAL01" */
#define WAL_BATCH_MAGIC   UINT64_C(0x48435441426c6177) /* "walBATCH" */

enum wal_record_type {
    WAL_REC_SEGMENT = 1,
    WAL_REC_BATCH = 2,
    WAL_REC_HARD = 3,
    WAL_REC_ENTRY = 4,
};

#define WAL_REC_HEADER   9
#define WAL_SEGMENT_BODY 48
#define WAL_BATCH_BODY   16
#define WAL_HARD_BODY    16
#define WAL_ENTRY_HEADER 17 /* of the body */

struct wal_record {
    enum wal_record_type type;
    const uint8_t *body;
    uint32_t len;
};

/* Writes the header in front of a body of `len` bytes that already stands at rec + WAL_REC_HEADER.
 */
void wal_record_seal(uint8_t *rec, enum wal_record_type type, uint32_t len);

/*
 * Looks at the record that begins at p, n bytes of the file being there. Returns its whole length;
 * 0 when more bytes are needed to tell (*ret_need says how many in all); -EBADMSG when it is none.
 */
ssize_t wal_record_parse(const uint8_t *p, size_t n, uint32_t body_max, struct wal_record *ret,
                         size_t *ret_need);
