/* SPDX-License-Identifier: MPL-2.0 */
#include "base/bytes.h"

#include <string.h>

struct bytes bytes_text(const char *text)
{
    return bytes_of(text, strlen(text));
}

int bytes_cmp(struct bytes a, struct bytes b)
{
    size_t n = MIN(a.len, b.len);
    int r = n ? memcmp(a.data, b.data, n) : 0;

    if (r)
        return r;
    return (a.len > b.len) - (a.len < b.len);
}

bool bytes_eq(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool bytes_starts_with(struct bytes b, struct bytes prefix)
{
    return b.len >= prefix.len && (prefix.len == 0 || memcmp(b.data, prefix.data, prefix.len) == 0);
}
