/* SPDX-License-Identifier: MPL-2.0 */
/* Whom to join, and when to try again: rules only. Pure. */
#pragma once

#include "base/clock.h"
#include "base/err.h"

#define SOURCES_ADDR_MAX 260 /* bytes of one address in a command's output */

/* Is it "exec=COMMAND"? The command, or NULL. */
const char *source_command(const char *text);

/*
 * Addresses in what a command printed: parted by blanks or line ends, '#' begins a comment. At most
 * `max` into addrs[], each owned by the caller, also after an error. -E2BIG, -EINVAL with a text.
 */
int sources_parse(const char *text, size_t len, char **addrs, size_t max, size_t *ret_n,
                  struct errtext *e);

/*
 * Tries of retry_join. The first follow each other soon, ever more slowly until they are
 * interval_ns apart; only from then on they count for `max` (0: for ever), so that it means the
 * time that it means in Nomad: max * interval.
 */
struct retry_plan {
    int64_t interval_ns;
    int max;
    unsigned tries, counted; /* made so far */
};
#define RETRY_FIRST_NS (500 * NS_PER_MS)

/*
 * A try has failed. The wait until the next one, of which up to a quarter is cut by chance
 * (`random`) so that not all nodes come at once; -1 when it was the last.
 */
int64_t retry_failed(struct retry_plan *p, uint64_t random);
