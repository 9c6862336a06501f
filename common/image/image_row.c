/* SPDX-License-Identifier: MPL-2.0 */
/* Allocations as the store has them (or anybody else) -> the image's. */
#include <errno.h>
#include <pb_decode.h>
#include <string.h>

#include "image/image_internal.h"
#include "state/state_alloc.h"

/* Neither stopped nor ended; NULL counts as run and pending. */
static bool image_live(const char *desired, const char *client)
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

/* ---- the store ---- */

#define NODE_COST                                                                                  \
    20 /* a node's spec is large: decoding it takes as long as so many allocations                 \
        */
#define T(field) steppe_Allocation_##field##_tag

struct refresh {
    struct image *im;
    struct store_txn *t;
    size_t rows, rows_max;
    uint64_t last;  /* index of the row before */
    char *ns, *job; /* whose priority it is */
    int priority;
};

static char *text_of(struct bytes b)
{
    return xstrndup(b.data ? (const char *)b.data : "", b.len);
}

/* Rows of one index belong together: what is left begins with a new one. */
static bool enough(struct refresh *f, uint64_t index, size_t cost)
{
    if (f->rows_max && f->rows >= f->rows_max && index != f->last)
        return true;
    f->rows += cost;
    f->last = index;
    return false;
}

static int priority_of(struct refresh *f, const char *ns, const char *job)
{
    struct state_meta m = {0};
    struct state_job row;

    if (f->ns && strcmp(f->ns, ns) == 0 && strcmp(f->job, job) == 0)
        return f->priority;
    free(f->ns);
    free(f->job);
    f->ns = xstrdup(ns);
    f->job = xstrdup(job);
    f->priority = 50; /* of a purged job */
    if (state_job_row(f->t, ns, job, &row, &m) == 0 && m.found)
        f->priority = row.priority;
    return f->priority;
}

static int take_row(struct refresh *f, const struct state_alloc *a, struct image_who *who)
{
    _cleanup_(freep) char *ns = text_of(a->view.text[T(namespace)]);
    _cleanup_(freep) char *job = text_of(a->view.text[T(job_id)]);
    _cleanup_(freep) char *group = text_of(a->view.text[T(task_group)]);
    _cleanup_(freep) char *name = text_of(a->view.text[T(name)]);
    _cleanup_(freep) char *node_id = text_of(a->view.text[T(node_id)]);
    steppe_AllocatedResources r = steppe_AllocatedResources_init_zero;
    struct bytes resources = a->view.text[T(allocated_resources)];
    pb_istream_t in = pb_istream_from_buffer(resources.data, resources.len);

    if (resources.len && !pb_decode(&in, steppe_AllocatedResources_fields, &r))
        return -EBADMSG;
    who->namespace = ns;
    who->job_id = job;
    who->group = group;
    who->name = name;
    who->priority = priority_of(f, ns, job);
    who->job_version = a->view.num[T(job_version)];
    who->job_create_index = a->view.num[T(job_create_index)];
    take(f->im, node_id, who, &r, a->view.num[T(alloc_modify_index)]);
    pb_release(steppe_AllocatedResources_fields, &r);
    return 0;
}

/* Mostly the log says enough: it is gone, or what the image has is still so. */
static int on_alloc(void *user, const struct state_alloc_change *c)
{
    struct refresh *f = user;
    struct image_who who = {0};
    struct state_alloc row;
    int r;

    if (enough(f, c->modify_index, 1))
        return 1;
    memcpy(who.id.b, c->id, sizeof(who.id.b));
    if (settled(f->im, &who.id, c->live, c->alloc_modify_index))
        return 0;
    r = state_alloc_read16(f->t, c->id, &row);
    return r ? (r > 0 ? -EBADMSG : r) : take_row(f, &row, &who);
}

static int on_node(void *user, const struct state_node *n, struct bytes spec)
{
    struct refresh *f = user;
    steppe_Node node = steppe_Node_init_zero;
    pb_istream_t in = pb_istream_from_buffer(spec.data, spec.len);
    char *status, *eligibility;

    if (enough(f, n->modify_index, NODE_COST))
        return 1;
    if (!pb_decode(&in, steppe_Node_fields, &node))
        return -EBADMSG;
    status = node.status;
    eligibility = node.scheduling_eligibility;
    node.status = (char *)n->status;
    node.scheduling_eligibility = (char *)n->eligibility;
    node.create_index = n->create_index;
    node.modify_index = n->modify_index;
    image_apply_node(f->im, &node);
    node.status = status;
    node.scheduling_eligibility = eligibility;
    pb_release(steppe_Node_fields, &node);
    return 0;
}

static int mark_node(void *user, const struct state_node *n)
{
    struct image *im = user;
    struct image_node *node = image_node_find(im, n->id);

    if (node)
        node->seen = true;
    return 0;
}

/* Nodes were deleted: those that the state does not have any more go. */
static int drop_deleted(struct image *im, struct store_txn *t)
{
    uint64_t deleted = 0;
    int r = state_deleted_index(t, STATE_NODES, &deleted);

    if (r || deleted <= im->node_deleted)
        return r;
    for (uint32_t i = 0; i < im->node_slots.n; i++)
        im->nodes[i].seen = false;
    r = state_nodes_each(t, mark_node, im);
    for (uint32_t i = 0; r == 0 && i < im->node_slots.n; i++) {
        if (im->nodes[i].present && !im->nodes[i].seen)
            image_remove_node(im, im->nodes[i].id);
    }
    if (r == 0)
        im->node_deleted = deleted;
    return r;
}

int image_refresh(struct image *im, struct store_txn *t, size_t rows_max)
{
    struct refresh f = {.im = im, .t = t, .rows_max = rows_max};
    uint64_t index, term;
    int r = state_applied(t, &index, &term);

    assert(im->undo_n == 0);
    if (r || index == im->index)
        return r;
    f.last = im->node_seen;
    r = state_nodes_changed(t, im->node_seen, on_node, &f);
    if (r >= 0)
        im->node_seen = r == 0 ? index : f.last;
    if (r == 0)
        r = drop_deleted(im, t);
    if (r == 0) {
        f.last = im->alloc_seen;
        r = state_alloc_changes(t, im->alloc_seen, on_alloc, &f);
        if (r >= 0)
            im->alloc_seen = r == 0 ? index : f.last;
    }
    if (r == 0)
        im->index = index;
    free(f.ns);
    free(f.job);
    return r;
}

int image_reread(struct image *im, struct store_txn *t, const char *id)
{
    struct refresh f = {.im = im, .t = t};
    struct image_who who = {0};
    struct image_alloc *a;
    struct state_alloc row;
    int r;

    assert(im->undo_n == 0);
    if (!image_id_parse(id, &who.id))
        return 0;
    a = image_alloc_find(im, &who.id);
    if (a)
        image_alloc_remove(im, a);
    r = state_alloc_read(t, id, &row);
    if (r)
        return r < 0 ? r : 0;
    r = alloc_view_live(&row.view) ? take_row(&f, &row, &who) : 0;
    free(f.ns);
    free(f.job);
    return r;
}
