/* SPDX-License-Identifier: MPL-2.0 */
#include "wire/member.h"

#include <string.h>

const char *member_tag(const steppe_Member *m, const char *key)
{
    for (pb_size_t i = 0; i < m->tags_count; i++) {
        if (m->tags[i].key && strcmp(m->tags[i].key, key) == 0)
            return m->tags[i].value ? m->tags[i].value : "";
    }
    return "";
}

bool member_has_status(const steppe_Member *m, const char *status)
{
    return m->status && strcmp(m->status, status) == 0;
}
