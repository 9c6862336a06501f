/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Tables that describe nanopb structs to the JSON codec. proto/json_names.py writes them; nobody
 * else makes one. Meaning of the flags: proto/json.proto.
 */
#pragma once

#include <pb.h>

#include "base/base.h"

enum json_kind {
    JSON_BOOL,
    JSON_INT,
    JSON_UINT,
    JSON_DOUBLE,
    JSON_STRING,
    JSON_BYTES,
    JSON_MESSAGE,
    JSON_RAW,      /* char * with JSON text */
    JSON_DURATION, /* int64 ns, as text */
    JSON_TIME,     /* int64 ns since 1970, as RFC 3339 text; 0 is null */
};

enum json_field_flags {
    JSON_F_OPTIONAL = 1 << 0, /* has a state of its own: `has_x`, or a NULL pointer */
    JSON_F_REPEATED = 1 << 1,
    JSON_F_MAP = 1 << 2, /* repeated entries {key, value} */
    JSON_F_EMPTY = 1 << 3,
    JSON_F_SERVER_EMPTY = 1 << 4,
    JSON_F_OMIT_EMPTY = 1 << 5,
    JSON_F_OMIT_EMPTY_API = 1 << 6,
    JSON_F_API_ONLY = 1 << 7,
    JSON_F_SERVER_ONLY = 1 << 8,
    JSON_F_NULLABLE = 1 << 9,
    JSON_F_SECRET = 1 << 10,
};

enum json_type_flags {
    JSON_T_OMIT_EMPTY = 1 << 0,
    JSON_T_INLINE = 1 << 1,
};

#define JSON_NO_STATE UINT16_MAX

struct json_field {
    const char *key; /* "Name": with its quotes and colon */
    uint8_t key_len;
    const char *server_key; /* the same for the server view */
    uint8_t server_key_len;
    uint8_t kind;  /* enum json_kind */
    uint8_t bits;  /* of the C type: 32 or 64 for numbers */
    uint8_t limit; /* bits that a value may have */
    uint16_t flags;
    uint16_t offset; /* of the value or the pointer in the struct */
    uint16_t state;  /* of has_x or x_count; JSON_NO_STATE */
    const struct json_type *sub;
    const char *go; /* the type's name in messages for people */
};

struct json_type {
    const char *name;
    const struct json_field *fields; /* in the order of the numbers = the struct's order */
    uint16_t fields_len;
    uint16_t flags;
    uint16_t size; /* of the struct */
    const pb_msgdesc_t *desc;
};
