/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Time as types, so that a monotonic instant is not mixed up with a wall clock one. Cores never
 * read a clock: they get `now` as an argument.
 */
#pragma once

#include "base/base.h"

#define NS_PER_SEC INT64_C(1000000000)
#define NS_PER_MS  INT64_C(1000000)
#define NS_PER_US  INT64_C(1000)

struct mono_ns {
    int64_t ns; /* CLOCK_MONOTONIC: comparable between the processes of one machine */
};
struct wall_ns {
    int64_t ns; /* since the epoch, UTC */
};

/* What it is now. For shells only. */
struct mono_ns clock_mono(void);
struct wall_ns clock_wall(void);

/*
 * Go's duration text ("1h2m3.5s", "300ms", "0"; units ns us µs ms s m h, a leading '-' or '+') to
 * nanoseconds. -EINVAL when it is none, -ERANGE when it does not fit; then *ret_ns is untouched.
 */
int duration_parse(const char *text, int64_t *ret_ns);

#define DURATION_TEXT_MAX 32
/* The same way back, as Go prints it ("1h0m0s", "1.5s", "200ms", "0s"). Returns buf. */
const char *duration_format(int64_t ns, char buf[static DURATION_TEXT_MAX]);
