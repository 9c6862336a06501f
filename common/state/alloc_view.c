/* SPDX-License-Identifier: MPL-2.0 */
#include "state/alloc_view.h"

#include "state/rows.h"

/* Which fields are numbers; all others are texts, messages or lists of those. */
#define ALLOC_NUMBERS                                                                              \
    (ROW_TAG(steppe_Allocation_create_index_tag) | ROW_TAG(steppe_Allocation_modify_index_tag) |   \
     ROW_TAG(steppe_Allocation_alloc_modify_index_tag) |                                           \
     ROW_TAG(steppe_Allocation_create_time_tag) | ROW_TAG(steppe_Allocation_modify_time_tag) |     \
     ROW_TAG(steppe_Allocation_job_version_tag) | ROW_TAG(steppe_Allocation_job_create_index_tag))

bool alloc_view_add(struct alloc_view *v, struct bytes allocation)
{
    struct wire_field f;

    while (wire_field_next(&allocation, &f)) {
        if (f.tag >= ALLOC_VIEW_TAGS)
            continue;
        if (f.wire != (ALLOC_NUMBERS & ROW_TAG(f.tag) ? WIRE_VARINT : WIRE_BYTES))
            return false;
        if (f.wire == WIRE_VARINT)
            v->num[f.tag] = f.num;
        else
            v->text[f.tag] = f.data;
    }
    return allocation.len == 0;
}

bool alloc_client_parse(struct bytes word, enum alloc_client_status *ret)
{
    static const char *const names[ALLOC_CLIENT_STATUS_COUNT] = {
#define X(id, text) [ALLOC_CLIENT_##id] = text,
        ALLOC_CLIENT_STATUSES(X)
#undef X
    };

    *ret = ALLOC_CLIENT_PENDING;
    if (word.len == 0)
        return true;
    for (unsigned i = 0; i < ALLOC_CLIENT_STATUS_COUNT; i++) {
        if (bytes_eq(word, bytes_text(names[i]))) {
            *ret = (enum alloc_client_status)i;
            return true;
        }
    }
    return false;
}

enum alloc_client_status alloc_view_client(const struct alloc_view *v)
{
    enum alloc_client_status s;

    (void)alloc_client_parse(v->text[steppe_Allocation_client_status_tag], &s);
    return s;
}

bool alloc_view_stopped(const struct alloc_view *v)
{
    struct bytes word = v->text[steppe_Allocation_desired_status_tag];

    return bytes_eq(word, bytes_text("stop")) || bytes_eq(word, bytes_text("evict"));
}

bool alloc_view_live(const struct alloc_view *v)
{
    return !alloc_view_stopped(v) && !alloc_client_terminal(alloc_view_client(v));
}
