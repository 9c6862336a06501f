/* SPDX-License-Identifier: MPL-2.0 */
/*
 * JSON documents: lookups that forgive what is missing or of another type, and text as Go's encoder
 * writes it (shortest floats, order of the keys kept).
 */
#pragma once

#include <jansson.h> /* json_decrefp() for _cleanup_ is there */

#include "base/base.h"

/* Borrowed; "" / 0 / false / NULL when obj is no object, or the member absent or of another type.
 */
const char *js_str(const json_t *obj, const char *key);
json_int_t js_int(const json_t *obj, const char *key);
/* For counters without sign; 0 below zero. */
uint64_t js_uint(const json_t *obj, const char *key);
double js_num(const json_t *obj, const char *key);
bool js_bool(const json_t *obj, const char *key);
json_t *js_get(const json_t *obj, const char *key);
/* As js_get, but NULL for null, too. */
json_t *js_some(const json_t *obj, const char *key);

#define JS_COMPACT 0
#define JS_INDENT  4

/* malloc'ed; indent spaces a level, or everything on one line with JS_COMPACT. */
char *js_text(const json_t *json, int indent);
/* As Go's encoding/json does it: <, > and & written as \u003c, \u003e, \u0026. */
char *js_text_html(const json_t *json, int indent);
/* With the members of every object by name, as Nomad's CLI prints data. */
char *js_text_sorted(const json_t *json, int indent);
/* The text of a number as Go prints a float64. */
char *js_float(double v);

/* Sorted member names of an object, borrowed; the array is malloc'ed, NULL terminated. */
const char **js_keys(const json_t *obj);

/* Orders the elements of an array by `less` (stable). */
void js_sort(json_t *array, bool (*less)(const json_t *a, const json_t *b));
