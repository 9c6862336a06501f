/* SPDX-License-Identifier: MPL-2.0 */
/* Nodes, jobs and allocations of the image, and tentative changes. */
#include <pb_decode.h>
#include <pb_encode.h>
#include <stdio.h>
#include <string.h>

#include "image/image_internal.h"

struct image *image_new(unsigned flags)
{
    struct image *im = xcalloc(1, sizeof(*im));

    im->flags = flags;
    return im;
}

static void node_fini(struct image_node *n)
{
    image_set_fini(&n->ports_used);
    image_set_fini(&n->ports_kept);
    image_set_fini(&n->cores_used);
    image_set_fini(&n->cores);
    if (n->node) {
        pb_release(steppe_Node_fields, n->node);
        free(n->node);
    }
}

static void job_fini(struct image_job *j)
{
    free(j->namespace);
    free(j->id);
}

static void contents_free(struct image *im)
{
    for (uint32_t i = 0; i < im->node_slots.n; i++)
        node_fini(&im->nodes[i]);
    for (uint32_t i = 0; i < im->job_slots.n; i++)
        job_fini(&im->jobs[i]);
    for (uint32_t i = 0; i < im->alloc_slots.n; i++)
        free(im->allocs[i].extra);
    for (uint32_t i = 0; i < im->texts_n; i++)
        free(im->texts[i]);
    free(im->nodes);
    free(im->jobs);
    free(im->allocs);
    free(im->texts);
    free(im->node_slots.free);
    free(im->job_slots.free);
    free(im->alloc_slots.free);
    slot_table_fini(&im->node_table);
    slot_table_fini(&im->job_table);
    slot_table_fini(&im->alloc_table);
    slot_table_fini(&im->text_table);
    free(im->undo);
}

struct image *image_free(struct image *im)
{
    if (im) {
        contents_free(im);
        free(im);
    }
    return NULL;
}

void image_reset(struct image *im)
{
    unsigned flags = im->flags;
    uint64_t version = im->nodes_version;

    contents_free(im);
    *im = (struct image){.flags = flags, .nodes_version = version + 1};
}

/* ---- slots ---- */

static uint32_t slot_take(struct slots *s, void **array, size_t size)
{
    if (s->free_n)
        return s->free[--s->free_n];
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap + s->cap / 2 : 64;
        *array = xrealloc(*array, s->cap * size);
    }
    return s->n++;
}

static void slot_give(struct slots *s, uint32_t slot)
{
    if (s->free_n == s->free_cap) {
        s->free_cap = s->free_cap ? s->free_cap * 2 : 64;
        s->free = xrealloc(s->free, s->free_cap * sizeof(*s->free));
    }
    s->free[s->free_n++] = slot;
}

/* ---- nodes ---- */

static uint32_t id_hash(const struct image_id *id)
{
    uint64_t a, b;

    memcpy(&a, id->b, 8);
    memcpy(&b, id->b + 8, 8);
    a = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(a >> 32);
}

static uint32_t node_walk(const struct image *im, const struct image_id *id)
{
    uint32_t pos = 0, slot;

    while ((slot = slot_table_walk(&im->node_table, id_hash(id), &pos)) != IMAGE_NONE) {
        if (memcmp(&im->nodes[slot].key, id, sizeof(*id)) == 0)
            return slot;
    }
    return IMAGE_NONE;
}

uint32_t image_node_slot(struct image *im, const char *id)
{
    struct image_id key;
    struct image_node *n;
    uint32_t slot;

    if (!image_id_parse(id, &key))
        return IMAGE_NONE;
    slot = node_walk(im, &key);
    if (slot != IMAGE_NONE)
        return slot;
    slot = slot_take(&im->node_slots, (void **)&im->nodes, sizeof(*im->nodes));
    n = &im->nodes[slot];
    *n = (struct image_node){.slot = slot,
                             .first_alloc = IMAGE_NONE,
                             .key = key,
                             .datacenter = "",
                             .node_class = "",
                             .computed_class = "",
                             .name = ""};
    image_id_text(&key, n->id);
    slot_table_put(&im->node_table, id_hash(&key), slot);
    return slot;
}

/* A slot that nobody needs any more. */
static void node_let_go(struct image *im, struct image_node *n)
{
    uint32_t slot = n->slot;

    if (n->present || n->refs)
        return;
    slot_table_remove(&im->node_table, id_hash(&n->key), slot);
    node_fini(n);
    *n = (struct image_node){.slot = slot, .first_alloc = IMAGE_NONE};
    slot_give(&im->node_slots, slot);
}

static enum image_node_status status_of(const char *text)
{
    if (text && strcmp(text, "ready") == 0)
        return IMAGE_NODE_READY;
    return text && strcmp(text, "down") == 0 ? IMAGE_NODE_DOWN : IMAGE_NODE_INIT;
}

static const char *text_copy(struct image *im, const char *text)
{
    return image_text_of(im, image_text(im, text));
}

static void keep_node(struct image_node *n, const steppe_Node *from)
{
    uint8_t *buf;
    size_t len;
    pb_ostream_t out;
    pb_istream_t in;

    if (!n->node)
        n->node = xcalloc(1, sizeof(*n->node));
    else
        pb_release(steppe_Node_fields, n->node);
    *n->node = (steppe_Node)steppe_Node_init_zero;
    if (!pb_get_encoded_size(&len, steppe_Node_fields, from))
        return;
    buf = xmalloc(len + 1);
    out = pb_ostream_from_buffer(buf, len);
    if (pb_encode(&out, steppe_Node_fields, from)) {
        in = pb_istream_from_buffer(buf, len);
        (void)pb_decode(&in, steppe_Node_fields, n->node);
    }
    free(buf);
}

void image_apply_node(struct image *im, const steppe_Node *node)
{
    uint32_t slot = image_node_slot(im, node->id);
    struct image_node *n;

    if (slot == IMAGE_NONE)
        return;
    n = &im->nodes[slot];
    im->nodes_n += !n->present;
    n->present = true;
    n->status = status_of(node->status);
    n->eligible =
        !node->scheduling_eligibility || strcmp(node->scheduling_eligibility, "ineligible") != 0;
    n->drain = node->drain;
    n->datacenter = text_copy(im, node->datacenter);
    n->node_class = text_copy(im, node->node_class);
    n->computed_class = text_copy(im, node->computed_class);
    n->name = text_copy(im, node->name);
    n->create_index = node->create_index;
    n->modify_index = node->modify_index;
    n->version = ++im->nodes_version;
    image_node_totals(im, n, node);
    if (im->flags & IMAGE_NODES)
        keep_node(n, node);
}

void image_remove_node(struct image *im, const char *id)
{
    struct image_node *n = image_node_find(im, id);

    if (!n)
        return;
    n->present = false;
    im->nodes_n--;
    n->version = ++im->nodes_version;
    node_let_go(im, n);
}

uint32_t image_node_slots(const struct image *im)
{
    return im->node_slots.n;
}

struct image_node *image_node_at(const struct image *im, uint32_t slot)
{
    return slot < im->node_slots.n ? &im->nodes[slot] : NULL;
}

struct image_node *image_node_find(const struct image *im, const char *id)
{
    struct image_id key;
    uint32_t slot = image_id_parse(id, &key) ? node_walk(im, &key) : IMAGE_NONE;

    return slot != IMAGE_NONE && im->nodes[slot].present ? &im->nodes[slot] : NULL;
}

uint32_t image_nodes_n(const struct image *im)
{
    return im->nodes_n;
}

uint64_t image_index(const struct image *im)
{
    return im->index;
}

/* ---- jobs ---- */

static uint32_t job_hash(const char *ns, const char *id)
{
    return image_hash(image_hash(0, ns, strlen(ns)), id, strlen(id));
}

static uint32_t job_walk(const struct image *im, const char *ns, const char *id)
{
    uint32_t pos = 0, slot, hash = job_hash(ns, id);

    while ((slot = slot_table_walk(&im->job_table, hash, &pos)) != IMAGE_NONE) {
        if (strcmp(im->jobs[slot].id, id) == 0 && strcmp(im->jobs[slot].namespace, ns) == 0)
            return slot;
    }
    return IMAGE_NONE;
}

static uint32_t job_slot(struct image *im, const char *ns, const char *id)
{
    uint32_t slot = job_walk(im, ns, id);

    if (slot != IMAGE_NONE)
        return slot;
    slot = slot_take(&im->job_slots, (void **)&im->jobs, sizeof(*im->jobs));
    im->jobs[slot] = (struct image_job){
        .slot = slot, .first_alloc = IMAGE_NONE, .namespace = xstrdup(ns), .id = xstrdup(id)};
    slot_table_put(&im->job_table, job_hash(ns, id), slot);
    return slot;
}

static void job_unref(struct image *im, uint32_t slot)
{
    struct image_job *j = &im->jobs[slot];

    if (--j->refs)
        return;
    slot_table_remove(&im->job_table, job_hash(j->namespace, j->id), slot);
    job_fini(j);
    *j = (struct image_job){.slot = slot, .first_alloc = IMAGE_NONE};
    slot_give(&im->job_slots, slot);
}

struct image_job *image_job_find(const struct image *im, const char *ns, const char *id)
{
    uint32_t slot = ns && id ? job_walk(im, ns, id) : IMAGE_NONE;

    return slot == IMAGE_NONE ? NULL : &im->jobs[slot];
}

struct image_job *image_job_at(const struct image *im, uint32_t slot)
{
    return slot < im->job_slots.n && im->jobs[slot].refs ? &im->jobs[slot] : NULL;
}

/* ---- allocations ---- */

struct image_alloc *image_alloc_at(const struct image *im, uint32_t slot)
{
    return slot < im->alloc_slots.n ? &im->allocs[slot] : NULL;
}

struct image_alloc *image_alloc_find(const struct image *im, const struct image_id *id)
{
    uint32_t pos = 0, slot, hash = id_hash(id);

    while ((slot = slot_table_walk(&im->alloc_table, hash, &pos)) != IMAGE_NONE) {
        if (memcmp(&im->allocs[slot].id, id, sizeof(*id)) == 0)
            return &im->allocs[slot];
    }
    return NULL;
}

uint32_t image_allocs_n(const struct image *im)
{
    return im->allocs_n;
}

/* Adds to (or takes from) the node what the allocation uses. */
static void count_use(struct image_node *n, const struct image_alloc *a, int sign)
{
    void (*change)(struct image_set *, uint64_t) = sign > 0 ? image_set_add : image_set_remove;

    n->cpu_used += sign * (int64_t)a->cpu;
    n->memory_used += sign * (int64_t)a->memory;
    n->disk_used += sign * (int64_t)a->disk;
    for (unsigned i = 0; i < a->ports_n; i++)
        change(&n->ports_used, a->extra[i]);
    for (unsigned i = 0; i < a->cores_n; i++)
        change(&n->cores_used, a->extra[a->ports_n + i]);
}

static void link_alloc(struct image *im, struct image_alloc *a)
{
    struct image_node *n = &im->nodes[a->node];
    struct image_job *j = &im->jobs[a->job];

    a->prev_on_node = a->prev_of_job = IMAGE_NONE;
    a->next_on_node = n->first_alloc;
    if (n->first_alloc != IMAGE_NONE)
        im->allocs[n->first_alloc].prev_on_node = a->slot;
    n->first_alloc = a->slot;
    n->allocs++;
    a->next_of_job = j->first_alloc;
    if (j->first_alloc != IMAGE_NONE)
        im->allocs[j->first_alloc].prev_of_job = a->slot;
    j->first_alloc = a->slot;
    j->allocs++;
    slot_table_put(&im->alloc_table, id_hash(&a->id), a->slot);
    im->allocs_n++;
    count_use(n, a, 1);
}

static void unlink_alloc(struct image *im, struct image_alloc *a)
{
    struct image_node *n = &im->nodes[a->node];
    struct image_job *j = &im->jobs[a->job];

    if (a->prev_on_node == IMAGE_NONE)
        n->first_alloc = a->next_on_node;
    else
        im->allocs[a->prev_on_node].next_on_node = a->next_on_node;
    if (a->next_on_node != IMAGE_NONE)
        im->allocs[a->next_on_node].prev_on_node = a->prev_on_node;
    n->allocs--;
    if (a->prev_of_job == IMAGE_NONE)
        j->first_alloc = a->next_of_job;
    else
        im->allocs[a->prev_of_job].next_of_job = a->next_of_job;
    if (a->next_of_job != IMAGE_NONE)
        im->allocs[a->next_of_job].prev_of_job = a->prev_of_job;
    j->allocs--;
    slot_table_remove(&im->alloc_table, id_hash(&a->id), a->slot);
    im->allocs_n--;
    count_use(n, a, -1);
}

/* Of one that is not linked. */
static void alloc_release(struct image *im, uint32_t slot)
{
    struct image_alloc *a = &im->allocs[slot];
    struct image_node *n = &im->nodes[a->node];

    free(a->extra);
    job_unref(im, a->job);
    n->refs--;
    node_let_go(im, n);
    *a = (struct image_alloc){.slot = slot, .next_on_node = IMAGE_NONE, .next_of_job = IMAGE_NONE};
    slot_give(&im->alloc_slots, slot);
}

static int32_t clamp32(int64_t v)
{
    return v < 0 ? 0 : v > INT32_MAX ? INT32_MAX : (int32_t)v;
}

/* JOB.GROUP[INDEX]; ids may have dots and brackets in them, so the end decides. */
static int32_t name_index(const char *name)
{
    const char *open = name ? strrchr(name, '[') : NULL;
    char *end;
    long v;

    if (!open || open[1] < '0' || open[1] > '9')
        return -1;
    v = strtol(open + 1, &end, 10);
    return end[0] == ']' && !end[1] && v >= 0 && v < INT32_MAX ? (int32_t)v : -1;
}

static void copy_extra(struct image *im, struct image_alloc *a, const struct image_use *use)
{
    a->ports_n = (uint16_t)MIN(use->ports_n, (uint32_t)IMAGE_USE_PORTS_MAX);
    a->cores_n = (uint16_t)MIN(use->cores_n, (uint32_t)IMAGE_USE_CORES_MAX);
    if (a->ports_n + a->cores_n == 0)
        return;
    a->extra = xmalloc(((size_t)a->ports_n + a->cores_n) * sizeof(*a->extra));
    for (unsigned i = 0; i < a->ports_n; i++)
        a->extra[i] = (uint64_t)image_text(im, use->ports[i].address) << 16 |
                      ((uint32_t)use->ports[i].port & 0xffff);
    for (unsigned i = 0; i < a->cores_n; i++)
        a->extra[a->ports_n + i] = use->cores[i];
}

struct image_alloc *image_alloc_add(struct image *im, uint32_t node, const struct image_who *who,
                                    const struct image_use *use)
{
    uint32_t slot = slot_take(&im->alloc_slots, (void **)&im->allocs, sizeof(*im->allocs));
    struct image_alloc *a = &im->allocs[slot];
    uint32_t job =
        job_slot(im, who->namespace ? who->namespace : "", who->job_id ? who->job_id : "");

    *a = (struct image_alloc){
        .id = who->id,
        .slot = slot,
        .node = node,
        .job = job,
        .group = image_text(im, who->group),
        .index = name_index(who->name),
        .cpu = clamp32(use->cpu),
        .memory = clamp32(use->memory),
        .disk = clamp32(use->disk),
        .priority = (int16_t)MAX(MIN(who->priority, INT16_MAX), INT16_MIN),
        .job_version = who->job_version,
        .job_create_index = who->job_create_index,
    };
    copy_extra(im, a, use);
    im->jobs[job].refs++;
    im->jobs[job].priority = who->priority;
    im->nodes[node].refs++;
    link_alloc(im, a);
    return a;
}

void image_alloc_remove(struct image *im, struct image_alloc *a)
{
    unlink_alloc(im, a);
    alloc_release(im, a->slot);
}

/* ---- tentative changes ---- */

static void note(struct image *im, enum undo_op op, uint32_t slot)
{
    if (im->undo_n == im->undo_cap) {
        im->undo_cap = im->undo_cap ? im->undo_cap * 2 : 256;
        im->undo = xrealloc(im->undo, im->undo_cap * sizeof(*im->undo));
    }
    im->undo[im->undo_n++] = (struct undo){op, slot};
}

size_t image_mark(const struct image *im)
{
    return im->undo_n;
}

void image_stop(struct image *im, struct image_alloc *a)
{
    unlink_alloc(im, a);
    note(im, UNDO_STOP, a->slot);
}

struct image_alloc *image_place(struct image *im, uint32_t node_slot, const struct image_who *who,
                                const struct image_use *use)
{
    struct image_alloc *a = image_alloc_find(im, &who->id);

    assert(node_slot < im->node_slots.n);
    if (a)
        image_stop(im, a);
    a = image_alloc_add(im, node_slot, who, use);
    a->tentative = true;
    note(im, UNDO_PLACE, a->slot);
    return a;
}

void image_undo(struct image *im, size_t mark)
{
    while (im->undo_n > mark) {
        struct undo u = im->undo[--im->undo_n];

        if (u.op == UNDO_PLACE)
            image_alloc_remove(im, &im->allocs[u.slot]);
        else
            link_alloc(im, &im->allocs[u.slot]);
    }
}

void image_keep(struct image *im, uint64_t index)
{
    /* Newest first: what was placed and stopped again is gone when its placement's turn comes. */
    while (im->undo_n) {
        struct undo u = im->undo[--im->undo_n];
        struct image_alloc *a = &im->allocs[u.slot];

        if (u.op == UNDO_STOP) {
            a->tentative = false;
            alloc_release(im, u.slot);
        } else if (a->tentative) {
            a->tentative = false;
            a->kept_at = index ? index : 1;
        }
    }
}
