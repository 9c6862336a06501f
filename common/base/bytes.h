/* SPDX-License-Identifier: MPL-2.0 */
/* Borrowed bytes: who gives them says how long they stay. */
#pragma once

#include "base/base.h"

struct bytes {
    const uint8_t *data;
    size_t len;
};

static inline struct bytes bytes_of(const void *data, size_t len)
{
    return (struct bytes){data, len};
}
/* Borrows, without the NUL. */
struct bytes bytes_text(const char *text);
/* Lexicographic, a shorter one first: the order of every table. */
int bytes_cmp(struct bytes a, struct bytes b);
bool bytes_eq(struct bytes a, struct bytes b);
bool bytes_starts_with(struct bytes b, struct bytes prefix);
