/* SPDX-License-Identifier: MPL-2.0 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "wal_format.h"

uint64_t wal_get_u64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

void wal_put_u64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

uint32_t wal_get_u32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

void wal_put_u32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
}

static uint32_t record_crc(const uint8_t *rec, uint32_t len)
{
    return (uint32_t)crc32(0, rec + 4, (uInt)(WAL_REC_HEADER - 4 + len));
}

void wal_record_seal(uint8_t *rec, enum wal_record_type type, uint32_t len)
{
    wal_put_u32(rec + 4, len);
    rec[8] = (uint8_t)type;
    wal_put_u32(rec, record_crc(rec, len));
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
    len = wal_get_u32(p + 4);
    if (!record_shape_ok(p[8], len, body_max))
        return -EBADMSG;
    *ret_need = WAL_REC_HEADER + (size_t)len;
    if (n < *ret_need)
        return 0;
    if (wal_get_u32(p) != record_crc(p, len))
        return -EBADMSG;
    ret->type = p[8];
    ret->body = p + WAL_REC_HEADER;
    ret->len = len;
    return (ssize_t)*ret_need;
}
