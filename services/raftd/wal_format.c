/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "wal_format.h"

static uint32_t record_crc(const uint8_t *rec, uint32_t len)
{
    return (uint32_t)crc32(0, rec + 4, (uInt)(WAL_REC_HEADER - 4 + len));
}

void wal_record_seal(uint8_t *rec, enum wal_record_type type, uint32_t len)
{
    le32_write(rec + 4, len);
    rec[8] = (uint8_t)type;
    le32_write(rec, record_crc(rec, len));
}

static bool record_shape_ok(uint8_t type, uint32_t len, uint32_t body_max)
{
    switch (type) {
    case WAL_REC_SEGMENT:
        return len == WAL_SEGMENT_BODY;
    case WAL_REC_BATCH:
        return len == WAL_BATCH_BODY;
    case WAL_REC_HARD:
        return len == WAL_HARD_BODY;
    case WAL_REC_ENTRY:
        return len >= WAL_ENTRY_HEADER && len <= body_max;
    default:
        return false;
    }
}

ssize_t wal_record_parse(const uint8_t *p, size_t n, uint32_t body_max, struct wal_record *ret,
                         size_t *ret_need)
{
    uint32_t len;

    *ret_need = WAL_REC_HEADER;
    if (n < WAL_REC_HEADER)
        return 0;
    len = le32_read(p + 4);
    if (!record_shape_ok(p[8], len, body_max))
        return -EBADMSG;
    *ret_need = WAL_REC_HEADER + (size_t)len;
    if (n < *ret_need)
        return 0;
    if (le32_read(p) != record_crc(p, len))
        return -EBADMSG;
    ret->type = p[8];
    ret->body = p + WAL_REC_HEADER;
    ret->len = len;
    return (ssize_t)*ret_need;
}
