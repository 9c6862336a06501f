/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The fields of an encoded message without decoding what is in them: for thousands of rows a
 * second, of which a few fields matter. Nothing is allocated; what it gives lies in the message.
 */
#pragma once

#include "base/bytes.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct wire_field {
    uint32_t tag;
    enum wire_type wire;
    uint64_t num;      /* of WIRE_VARINT, otherwise 0 */
    struct bytes data; /* of WIRE_BYTES, otherwise none */
    struct bytes raw;  /* all of it, tag included */
};

/* Takes the next field off *rest: true; false at the end (rest is empty) or at damage (it is not).
 */
bool wire_field_next(struct bytes *rest, struct wire_field *ret);
