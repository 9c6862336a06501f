/* SPDX-License-Identifier: MPL-2.0 */
/*
 * nanopb structs <-> JSON as Go's encoding/json and Nomad's server write and read it. One generic
 * codec over the tables of proto/json_names.py, no document tree in between.
 *
 * A message's table is `steppe_X_json` in X's "<proto>.json.h".
 */
#pragma once

#include "base/base.h"
#include "base/err.h"
#include "base/strbuf.h"
#include "json/json_type.h"

#define JSON_DEPTH_MAX 64u
#define JSON_TEXT_MAX  (16u << 20) /* bytes of text that json_decode() takes */
#define JSON_LIST_MAX  UINT16_MAX  /* entries of one list or map: nanopb's pb_size_t */

enum json_flags {
    JSON_VIEW_SERVER = 0,      /* as a server answers: unset scalars are zero values */
    JSON_VIEW_API = 1 << 0,    /* as `job run -output` prints: unset scalars are null */
    JSON_PRETTY = 1 << 1,      /* four spaces, as MarshalIndent(v, "", "    ") */
    JSON_ESCAPE_HTML = 1 << 2, /* < > & as \u003c \u003e \u0026, as encoding/json does */
    JSON_DEFAULTS = 1 << 3,    /* in the API view: lists are empty where a server has them so */
    JSON_KEEP_EMPTY = 1 << 4,  /* also what messages that leave out their empty fields do not say */
};

/*
 * Appends msg as one JSON value. Strings that are not UTF-8 get U+FFFD for the bad bytes. 0, or
 * -EMSGSIZE when out's bound was hit.
 */
int json_encode(const struct json_type *t, const void *msg, unsigned flags, struct strbuf *out);

/*
 * Fills *msg, a zeroed nanopb struct of type t, from one JSON value. Names match without regard
 * to case, unknown ones are skipped, null leaves a field unset, of duplicates the last wins, maps
 * come out sorted by key, raw fields compact with sorted keys. An empty string in a field without
 * `optional` stays NULL; keys and values of maps are never NULL.
 *
 * On success the caller does json_release(t, msg), or the slower pb_release(t->desc, msg); both
 * may be called on a struct that nanopb decoded, too. On failure *msg is released and zeroed:
 * -EBADMSG with Go's text plus the offset in e ("unexpected EOF" for truncated text), -EMSGSIZE for
 * text that is longer, deeper or hungrier than allowed.
 */
int json_decode(const struct json_type *t, const char *text, size_t len, void *msg,
                struct errtext *e);

/* Frees what *msg points to and zeroes it. */
void json_release(const struct json_type *t, void *msg);

/* From protobuf bytes straight to JSON: decode, encode, release. -EBADMSG for bad bytes. */
int json_encode_pb(const struct json_type *t, const void *pb, size_t len, unsigned flags,
                   struct strbuf *out);

/*
 * A list reply's body (a sequence of field-1 items of type `item`) to a JSON array, [] when empty,
 * holding one decoded item at a time.
 */
int json_encode_list(const struct json_type *item, const void *body, size_t len, unsigned flags,
                     struct strbuf *out);

/* Appends s as a JSON string (quotes included). Of flags only JSON_ESCAPE_HTML counts. */
void json_string_encode(const char *s, size_t len, unsigned flags, struct strbuf *out);

/*
 * Checks any JSON value (depth, grammar, nothing behind it) and appends it in canonical form: no
 * spaces, object keys sorted, the last of duplicates kept, shortest escapes, numbers as written.
 * JSON_PRETTY and JSON_ESCAPE_HTML apply. out may be NULL to check only. Errors as json_decode().
 */
int json_raw_compact(const char *text, size_t len, unsigned flags, struct strbuf *out,
                     struct errtext *e);

#define JSON_TIME_MAX 40
/* RFC 3339 with as many digits of the second as are needed, UTC ("2026-11-22T17:08:51.149Z"). */
const char *json_time_format(int64_t ns, char buf[static JSON_TIME_MAX]);
/* -EINVAL when text is no such time, -ERANGE when it does not fit; Go's zero time gives 0. */
int json_time_parse(const char *text, size_t len, int64_t *ret_ns);
