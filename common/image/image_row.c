/* SPDX-License-Identifier: MPL-2.0 */
/* Allocations as the store has them (or anybody else) -> the image's. */
#include <errno.h>
#include <pb_decode.h>
#include <string.h>

#include "image/image_internal.h"

bool image_live(const char *desired, const char *client)
{
    static const char *const dead_desired[] = {"stop", "evict"};
    static const char *const dead_client[] = {"complete", "failed", "lost"};

    for (size_t i = 0; desired && i < ARRAY_LEN(dead_desired); i++) {
        if (strcmp(desired, dead_desired[i]) == 0)
            return false;
    }
    for (size_t i = 0; client && i < ARRAY_LEN(dead_client); i++) {
        if (strcmp(client, dead_client[i]) == 0)
            return false;
    }
    return true;
}

/* Does the image have it already, or is it gone now? False: take over all of it. */
static bool settled(struct image *im, const struct image_id *id, bool live, uint64_t index)
{
    struct image_alloc *a = image_alloc_find(im, id);

    if (!live) {
        if (a)
            image_alloc_remove(im, a);
        return true;
    }
    if (!a)
        return false;
    if (a->kept_at) { /* ours is what the state gets, or has got */
        if (index > a->kept_at) {
            a->kept_at = 0;
            a->alloc_modify_index = index;
        }
        return true;
    }
    if (a->alloc_modify_index == index) /* the client's word: changes nothing here */
        return true;
    image_alloc_remove(im, a);
    return false;
}

static void take(struct image *im, const char *node_id, const struct image_who *who,
                 const steppe_AllocatedResources *r, uint64_t index)
{
    static struct image_use_buf buf; /* too large for a stack; one thread has the image */
    uint32_t slot = image_node_slot(im, node_id);
    struct image_use use;

    if (slot == IMAGE_NONE)
        return;
    image_use_of(r, &buf, &use);
    image_alloc_add(im, slot, who, &use)->alloc_modify_index = index;
}

void image_apply_alloc(struct image *im, const steppe_Allocation *a, int priority)
{
    struct image_who who = {.namespace = a->namespace,
                            .job_id = a->job_id,
                            .group = a->task_group,
                            .name = a->name,
                            .priority = priority,
                            .job_version = a->job_version,
                            .job_create_index = a->job_create_index};

    if (!image_id_parse(a->id, &who.id) ||
        settled(im, &who.id, image_live(a->desired_status, a->client_status),
                a->alloc_modify_index))
        return;
    take(im, a->node_id, &who, a->has_allocated_resources ? &a->allocated_resources : NULL,
         a->alloc_modify_index);
}

/* ---- rows ---- */

static struct bytes *text_field(struct image_row *row, uint32_t tag)
{
    switch (tag) {
    case steppe_Allocation_id_tag:
        return &row->id;
    case steppe_Allocation_namespace_tag:
        return &row->namespace;
    case steppe_Allocation_name_tag:
        return &row->name;
    case steppe_Allocation_node_id_tag:
        return &row->node_id;
    case steppe_Allocation_job_id_tag:
        return &row->job_id;
    case steppe_Allocation_task_group_tag:
        return &row->group;
    case steppe_Allocation_allocated_resources_tag:
        return &row->resources;
    case steppe_Allocation_desired_status_tag:
        return &row->desired;
    case steppe_Allocation_client_status_tag:
        return &row->client;
    default:
        return NULL;
    }
}

static uint64_t *number_field(struct image_row *row, uint32_t tag)
{
    switch (tag) {
    case steppe_Allocation_alloc_modify_index_tag:
        return &row->alloc_modify_index;
    case steppe_Allocation_job_version_tag:
        return &row->job_version;
    case steppe_Allocation_job_create_index_tag:
        return &row->job_create_index;
    default:
        return NULL;
    }
}

int image_row_read(struct bytes b, struct image_row *row)
{
    pb_istream_t in = pb_istream_from_buffer(b.data, b.len);
    pb_wire_type_t type;
    uint32_t tag;
    bool eof;

    while (pb_decode_tag(&in, &type, &tag, &eof)) {
        uint64_t *number = type == PB_WT_VARINT ? number_field(row, tag) : NULL;
        struct bytes *text = type == PB_WT_STRING ? text_field(row, tag) : NULL;
        uint32_t len;

        if (number) {
            if (!pb_decode_varint(&in, number))
                return -EBADMSG;
        } else if (text) {
            if (!pb_decode_varint32(&in, &len) || len > in.bytes_left)
                return -EBADMSG;
            *text = bytes_of(b.data + (b.len - in.bytes_left), len);
            if (!pb_read(&in, NULL, len))
                return -EBADMSG;
        } else if (!pb_skip_field(&in, type)) {
            return -EBADMSG;
        }
    }
    return eof ? 0 : -EBADMSG;
}

static char *text_of(struct bytes b)
{
    return xstrndup(b.data ? (const char *)b.data : "", b.len);
}

static bool short_text(struct bytes b, char out[static 40])
{
    if (b.len >= 40)
        return false;
    if (b.len)
        memcpy(out, b.data, b.len);
    out[b.len] = 0;
    return true;
}

int image_row_apply(struct image *im, const struct image_row *row,
                    int (*priority)(void *user, const struct image_row *row), void *user)
{
    _cleanup_(freep) char *ns = NULL, *job = NULL, *group = NULL, *name = NULL;
    steppe_AllocatedResources r = steppe_AllocatedResources_init_zero;
    struct image_who who = {.job_version = row->job_version,
                            .job_create_index = row->job_create_index};
    char id[40], node_id[40], desired[40], client[40];
    pb_istream_t in;

    if (!short_text(row->id, id) || !short_text(row->node_id, node_id) ||
        !short_text(row->desired, desired) || !short_text(row->client, client) ||
        !image_id_parse(id, &who.id))
        return -EBADMSG;
    if (settled(im, &who.id, image_live(desired, client), row->alloc_modify_index))
        return 0;
    who.namespace = ns = text_of(row->namespace);
    who.job_id = job = text_of(row->job_id);
    who.group = group = text_of(row->group);
    who.name = name = text_of(row->name);
    who.priority = priority(user, row);
    in = pb_istream_from_buffer(row->resources.data, row->resources.len);
    if (row->resources.len && !pb_decode(&in, steppe_AllocatedResources_fields, &r))
        return -EBADMSG;
    take(im, node_id, &who, &r, row->alloc_modify_index);
    pb_release(steppe_AllocatedResources_fields, &r);
    return 0;
}
