/* SPDX-License-Identifier: MPL-2.0 */
#include "wire/field.h"

static bool take_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
    const uint8_t *p = *at;
    uint64_t v = 0;

    for (unsigned shift = 0; p < end && shift < 64; shift += 7) {
        v |= (uint64_t)(*p & 0x7f) << shift;
        if (!(*p++ & 0x80)) {
            *at = p;
            *ret = v;
            return true;
        }
    }
    return false;
}

bool wire_field_next(struct bytes *rest, struct wire_field *ret)
{
    const uint8_t *p = rest->data, *end = p + rest->len;
    uint64_t head, len = 0;

    if (rest->len == 0 || !take_varint(&p, end, &head) || head >> 3 == 0 || head >> 3 > UINT32_MAX)
        return false;
    ret->tag = (uint32_t)(head >> 3);
    ret->wire = head & 7;
    ret->num = 0;
    ret->data = (struct bytes){0};
    switch (ret->wire) {
    case WIRE_VARINT:
        if (!take_varint(&p, end, &ret->num))
            return false;
        break;
    case WIRE_FIXED64:
        len = 8;
        break;
    case WIRE_BYTES:
        if (!take_varint(&p, end, &len))
            return false;
        break;
    case WIRE_FIXED32:
        len = 4;
        break;
    default:
        return false;
    }
    if (len > (uint64_t)(end - p))
        return false;
    if (ret->wire == WIRE_BYTES)
        ret->data = bytes_of(p, (size_t)len);
    p += len;
    ret->raw = bytes_of(rest->data, (size_t)(p - rest->data));
    *rest = bytes_of(p, (size_t)(end - p));
    return true;
}
