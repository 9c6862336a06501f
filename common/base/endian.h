/* SPDX-License-Identifier: MPL-2.0 */
/* Numbers in files, keys and messages: big or little endian, at any address. */
#pragma once

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void be64_write(uint8_t *out, uint64_t v)
{
    v = htobe64(v);
    memcpy(out, &v, sizeof(v));
}

static inline uint64_t be64_read(const uint8_t *in)
{
    uint64_t v;

    memcpy(&v, in, sizeof(v));
    return be64toh(v);
}

static inline void le64_write(uint8_t *out, uint64_t v)
{
    v = htole64(v);
    memcpy(out, &v, sizeof(v));
}

static inline uint64_t le64_read(const uint8_t *in)
{
    uint64_t v;

    memcpy(&v, in, sizeof(v));
    return le64toh(v);
}

static inline void le32_write(uint8_t *out, uint32_t v)
{
    v = htole32(v);
    memcpy(out, &v, sizeof(v));
}

static inline uint32_t le32_read(const uint8_t *in)
{
    uint32_t v;

    memcpy(&v, in, sizeof(v));
    return le32toh(v);
}
