/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Texts for people, written as Nomad's CLI writes them: columns, times, sizes, quotes. Pure: the
 * clock is an argument. Every `char *` result is malloc'ed.
 */
#pragma once

#include "base/base.h"
#include "base/clock.h"

#define TEXT_ID_SHORT 8
#define TEXT_ID_FULL  36

/* Go's %q. */
char *text_quote(const char *s);

/* The first n bytes of s (identifiers are cut like this). */
char *text_limit(const char *s, size_t n);

/* "2006-01-02T15:04:05+01:00" in the local zone; "" at or before the epoch. */
char *text_time(struct wall_ns t);

/* RFC 3339 text to nanoseconds; false when it is none. */
bool text_time_parse(const char *s, struct wall_ns *ret);

/* RFC 3339 text without its fraction, in its own zone; "" when it is none or before the epoch. */
char *text_time_rfc3339(const char *s);

/* The two largest units of the distance: "5m6s ago", "2h from now"; "" when t is 0. */
char *text_ago(struct wall_ns t, struct wall_ns now);

/* "7.5 GiB", "79 MiB", "5 B". */
char *text_bytes(uint64_t n);

/* "1,234.50". */
char *text_float2(double v);

/* The part of an identifier that a prefix query takes: an even number of hex digits. */
char *text_uuid_prefix(const char *id);
