/* SPDX-License-Identifier: MPL-2.0 */
#include "plan_core.h"

#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "state/alloc_view.h"
#include "wire/field.h"

#define T(field) steppe_Allocation_##field##_tag

/* One thing that the plan wants. */
struct item {
    uint32_t node; /* slot; IMAGE_NONE: there is no such node */
    uint32_t order;
    enum { ITEM_STOP, ITEM_PREEMPT, ITEM_PLACE } kind;
    struct bytes bytes;
    struct image_id id;
    char node_id[37]; /* of placements */
};

struct check {
    struct image *im;
    struct plan_verdict *v;
    struct item *items;
    size_t n, cap;
    int priority;            /* of the plan's job */
    bool all_at_once, other; /* other: evaluations or a deployment */
    struct errtext *e;
};

/* ---- fields of a message ---- */

/* A text of 36 characters. */
static bool uuid_text(struct bytes b, char out[static 37])
{
    if (b.len != 36)
        return false;
    memcpy(out, b.data, 36);
    out[36] = 0;
    return true;
}

static bool read_uuid(struct bytes b, struct image_id *ret)
{
    char text[37];

    return uuid_text(b, text) && image_id_parse(text, ret);
}

bool plan_head_read(struct bytes plan, struct plan_head *ret)
{
    struct wire_field f;

    *ret = (struct plan_head){0};
    while (wire_field_next(&plan, &f)) {
        if (f.tag == steppe_Plan_eval_id_tag && f.wire == WIRE_BYTES)
            (void)uuid_text(f.data, ret->eval_id);
        else if (f.tag == steppe_Plan_eval_token_tag && f.wire == WIRE_BYTES)
            (void)snprintf(ret->token, sizeof(ret->token), "%.*s", (int)MIN(f.data.len, 39u),
                           f.data.len ? (const char *)f.data.data : "");
        else if (f.tag == steppe_Plan_all_at_once_tag)
            ret->all_at_once = f.num != 0;
        else if (f.tag == steppe_Plan_priority_tag)
            ret->priority = (int)f.num;
    }
    return plan.len == 0;
}

/* The id, and a placement's node, of an item's bytes. */
static bool item_ids(struct bytes b, bool place, struct bytes *id, struct bytes *node)
{
    uint32_t id_tag = place ? T(id) : steppe_PlanStop_alloc_id_tag;
    uint32_t node_tag = place ? T(node_id) : steppe_PlanStop_node_id_tag;
    struct wire_field f;

    *id = *node = (struct bytes){0};
    while (wire_field_next(&b, &f)) {
        if (f.wire == WIRE_BYTES && f.tag == id_tag)
            *id = f.data;
        else if (f.wire == WIRE_BYTES && f.tag == node_tag)
            *node = f.data;
    }
    return b.len == 0;
}

void plan_each_id(struct bytes plan, void (*fn)(void *user, const char *id), void *user)
{
    struct wire_field f;

    while (wire_field_next(&plan, &f)) {
        struct bytes id, node;
        char text[37];

        if (f.wire == WIRE_BYTES &&
            (f.tag == steppe_Plan_place_tag || f.tag == steppe_Plan_stop_tag ||
             f.tag == steppe_Plan_preempt_tag) &&
            item_ids(f.data, f.tag == steppe_Plan_place_tag, &id, &node) && uuid_text(id, text))
            fn(user, text);
    }
}

/* ---- what the plan wants, by nodes ---- */

static int broken(struct check *c, const char *what)
{
    return err_set(c->e, -EBADMSG, "broken %s in a plan", what);
}

static uint32_t slot_of(const struct image *im, const char *id)
{
    const struct image_node *n = image_node_find(im, id);

    return n ? n->slot : IMAGE_NONE;
}

static int add_item(struct check *c, int kind, struct bytes bytes)
{
    struct item it = {.node = IMAGE_NONE, .order = (uint32_t)c->n, .bytes = bytes};
    const struct image_alloc *a;
    struct bytes id, node;

    it.kind = kind;
    if (!item_ids(bytes, kind == ITEM_PLACE, &id, &node) || !read_uuid(id, &it.id))
        return broken(c, kind == ITEM_PLACE ? "placement" : "stop");
    if (kind == ITEM_PLACE) {
        if (!uuid_text(node, it.node_id))
            return broken(c, "placement");
        it.node = slot_of(c->im, it.node_id);
    } else {
        a = image_alloc_find(c->im, &it.id); /* not there: it is not live any more */
        it.node = a ? a->node : IMAGE_NONE;
        if (a)
            memcpy(it.node_id, image_node_at(c->im, a->node)->id, sizeof(it.node_id));
        else
            (void)uuid_text(node, it.node_id);
    }
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 256;
        c->items = xrealloc(c->items, c->cap * sizeof(*c->items));
    }
    c->items[c->n++] = it;
    return 0;
}

static int collect(struct check *c, struct bytes plan)
{
    struct wire_field f;
    int r = 0;

    while (r == 0 && wire_field_next(&plan, &f)) {
        switch (f.tag) {
        case steppe_Plan_all_at_once_tag:
            c->all_at_once = f.num != 0;
            break;
        case steppe_Plan_priority_tag:
            c->priority = (int)f.num;
            break;
        case steppe_Plan_place_tag:
            r = add_item(c, ITEM_PLACE, f.data);
            break;
        case steppe_Plan_stop_tag:
            r = add_item(c, ITEM_STOP, f.data);
            break;
        case steppe_Plan_preempt_tag:
            r = add_item(c, ITEM_PREEMPT, f.data);
            break;
        case steppe_Plan_evals_tag:
        case steppe_Plan_deployment_tag:
            c->other = true;
            break;
        default:
            break;
        }
    }
    return r == 0 && plan.len ? broken(c, "field") : r;
}

/* By node; on one node, stops come before placements. */
static int cmp_item(const void *x, const void *y)
{
    const struct item *a = x, *b = y;
    int cmp;

    if (a->node != b->node)
        return a->node < b->node ? -1 : 1;
    if (a->node == IMAGE_NONE && (cmp = strcmp(a->node_id, b->node_id)) != 0)
        return cmp;
    if ((a->kind == ITEM_PLACE) != (b->kind == ITEM_PLACE))
        return a->kind == ITEM_PLACE ? 1 : -1;
    return a->order < b->order ? -1 : a->order > b->order;
}

/* ---- one node ---- */

static char *text_of(struct bytes b)
{
    return xstrndup(b.data ? (const char *)b.data : "", b.len);
}

/* One placement onto its node, into the image. False: it does not go. */
static bool place_view(struct check *c, const struct item *it, const struct alloc_view *view,
                       const struct image_use *use)
{
    const struct image_node *n = image_node_at(c->im, it->node);
    struct image_alloc *old = image_alloc_find(c->im, &it->id);
    _cleanup_(freep) char *ns = text_of(view->text[T(namespace)]);
    _cleanup_(freep) char *job = text_of(view->text[T(job_id)]);
    _cleanup_(freep) char *group = text_of(view->text[T(task_group)]);
    _cleanup_(freep) char *name = text_of(view->text[T(name)]);
    struct image_who who = {.id = it->id,
                            .namespace = ns,
                            .job_id = job,
                            .group = group,
                            .name = name,
                            .priority = c->priority,
                            .job_version = view->num[T(job_version)],
                            .job_create_index = view->num[T(job_create_index)]};

    if (old && old->node != it->node)
        return false;
    if (!old && !image_node_ready(n))
        return false;
    if (!old || !image_use_within(c->im, old, use)) {
        if (old)
            image_stop(c->im, old);
        if (!image_fits(c->im, n, use, NULL))
            return false;
    }
    image_place(c->im, it->node, &who, use);
    return true;
}

static int place(struct check *c, const struct item *it, bool *ret_fits)
{
    static struct image_use_buf buf; /* too large for a stack; one thread */
    steppe_AllocatedResources r = steppe_AllocatedResources_init_zero;
    struct alloc_view view = {0};
    struct image_alloc *old;
    struct image_use use;
    struct bytes res;
    pb_istream_t in;

    if (!alloc_view_add(&view, it->bytes))
        return broken(c, "placement");
    if (!alloc_view_live(&view)) { /* lost, or stopped: takes nothing */
        old = image_alloc_find(c->im, &it->id);
        if (old)
            image_stop(c->im, old);
        *ret_fits = true;
        return 0;
    }
    *ret_fits = false;
    if (it->node == IMAGE_NONE)
        return 0;
    res = view.text[T(allocated_resources)];
    in = pb_istream_from_buffer(res.data, res.len);
    if (res.len && !pb_decode(&in, steppe_AllocatedResources_fields, &r))
        return broken(c, "placement's resources");
    image_use_of(&r, &buf, &use);
    *ret_fits = place_view(c, it, &view, &use);
    pb_release(steppe_AllocatedResources_fields, &r);
    return 0;
}

static int check_node(struct check *c, const struct item *items, size_t n, bool *ret_fits)
{
    int r = 0;

    *ret_fits = true;
    for (size_t i = 0; r == 0 && *ret_fits && i < n; i++) {
        struct image_alloc *a;

        if (items[i].kind == ITEM_PLACE) {
            r = place(c, &items[i], ret_fits);
            continue;
        }
        a = image_alloc_find(c->im, &items[i].id);
        if (a)
            image_stop(c->im, a);
    }
    return r;
}

static void reject(struct check *c, const struct item *it)
{
    struct strbuf *b = &c->v->rejected_nodes;

    c->v->rejected++;
    strbuf_addc(b, (char)(steppe_PlanResult_rejected_nodes_tag << 3 | PB_WT_STRING));
    strbuf_addc(b, 36);
    strbuf_add(b, it->node_id, 36);
}

/* ---- preempted jobs ---- */

/* Whose allocation is it? Asked before it is stopped. False: there is no room for one more job. */
static bool note_preempted(struct check *c, const struct item *it, struct plan_job *jobs, size_t *n)
{
    const struct image_alloc *a = image_alloc_find(c->im, &it->id);
    const struct image_job *j = a ? image_job_at(c->im, a->job) : NULL;

    if (!j)
        return true;
    for (size_t i = 0; i < *n; i++) {
        if (strcmp(jobs[i].id, j->id) == 0 && strcmp(jobs[i].namespace, j->namespace) == 0)
            return true;
    }
    if (*n == PLAN_PREEMPTED_MAX)
        return false;
    jobs[(*n)++] = (struct plan_job){xstrdup(j->namespace), xstrdup(j->id)};
    return true;
}

static void jobs_cut(struct plan_verdict *v, size_t n)
{
    while (v->preempted_n > n) {
        v->preempted_n--;
        free(v->preempted[v->preempted_n].namespace);
        free(v->preempted[v->preempted_n].id);
    }
}

/* ---- the whole ---- */

/* Length of the run of items for the node of items[0]. */
static size_t run_of(const struct item *items, size_t n)
{
    size_t i = 1;

    while (i < n && items[i].node == items[0].node &&
           (items[0].node != IMAGE_NONE || strcmp(items[i].node_id, items[0].node_id) == 0))
        i++;
    return i;
}

static int check_run(struct check *c, const struct item *items, size_t n)
{
    size_t mark = image_mark(c->im), jobs = c->v->preempted_n;
    bool fits, known = true;
    int r;

    for (size_t i = 0; i < n; i++) {
        if (items[i].kind == ITEM_PREEMPT)
            known &= note_preempted(c, &items[i], c->v->preempted, &c->v->preempted_n);
    }
    r = check_node(c, items, n, &fits);
    if (r < 0)
        return r;
    /* The next plan has room for this node's jobs, unless it alone has too many. */
    if (!fits || (!known && jobs > 0)) {
        image_undo(c->im, mark);
        jobs_cut(c->v, jobs);
        reject(c, &items[0]);
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        c->v->placed += items[i].kind == ITEM_PLACE;
        c->v->stopped += items[i].kind != ITEM_PLACE;
    }
    return 0;
}

static int check_all(struct check *c)
{
    size_t at = 0, n;

    qsort(c->items, c->n, sizeof(*c->items), cmp_item);
    for (int r; at < c->n; at += n) {
        n = run_of(&c->items[at], c->n - at);
        r = check_run(c, &c->items[at], n);
        if (r < 0)
            return r;
    }
    return 0;
}

int plan_verify(struct image *im, struct bytes plan, struct plan_verdict *ret, struct errtext *e)
{
    struct check c = {.im = im, .v = ret, .e = e};
    size_t mark = image_mark(im);
    int r;

    *ret = (struct plan_verdict){.preempted = xcalloc(PLAN_PREEMPTED_MAX, sizeof(struct plan_job))};
    r = collect(&c, plan);
    if (r == 0 && c.n)
        r = check_all(&c);
    if (r == 0 && ret->rejected && c.all_at_once)
        ret->placed = ret->stopped = 0;
    ret->nothing = ret->placed + ret->stopped == 0 && (ret->rejected || !c.other);
    if (r < 0 || ret->nothing) {
        image_undo(im, mark);
        jobs_cut(ret, 0);
    }
    free(c.items);
    return r;
}

void plan_verdict_fini(struct plan_verdict *v)
{
    jobs_cut(v, 0);
    free(v->preempted);
    strbuf_fini(&v->rejected_nodes);
    *v = (struct plan_verdict){0};
}

/* ---- load ---- */

bool plan_load_take(struct plan_load *l, size_t bytes)
{
    if (l->plans >= PLAN_LOAD_MAX || (l->plans > 0 && l->bytes + bytes > PLAN_LOAD_BYTES_MAX))
        return false;
    l->plans++;
    l->bytes += bytes;
    return true;
}

void plan_load_give(struct plan_load *l, size_t bytes)
{
    assert(l->plans > 0 && l->bytes >= bytes);
    l->plans--;
    l->bytes -= bytes;
}

/* ---- pieces ---- */

struct split {
    struct strbuf head, piece; /* fields of every piece; the piece that grows */
    size_t items, items_max;
    void (*fn)(void *user, struct bytes piece);
    void *user;
};

static void emit(struct split *s)
{
    s->fn(s->user, bytes_of(s->piece.data, s->piece.len));
    strbuf_reset(&s->piece);
    strbuf_add(&s->piece, s->head.data, s->head.len);
    s->items = 0;
}

/* Which fields go into which part of the first walk, the second... */
static bool of_pass(uint32_t tag, unsigned pass)
{
    switch (tag) {
    case steppe_Plan_stop_tag:
    case steppe_Plan_preempt_tag:
        return pass == 1;
    case steppe_Plan_place_tag:
        return pass == 2;
    case steppe_Plan_evals_tag:
        return pass == 3;
    default:
        return false;
    }
}

static bool goes_whole(struct bytes plan, size_t items_max, struct split *s)
{
    struct bytes rest = plan, before = plan;
    size_t items = 0;
    struct wire_field f;

    for (; wire_field_next(&rest, &f); before = rest) {
        if (f.tag == steppe_Plan_preempt_tag || (f.tag == steppe_Plan_all_at_once_tag && f.num))
            return true;
        if (of_pass(f.tag, 1) || of_pass(f.tag, 2))
            items++;
        else if (!of_pass(f.tag, 3) && f.tag != steppe_Plan_deployment_tag)
            strbuf_add(&s->head, before.data, before.len - rest.len);
    }
    return items <= items_max;
}

void plan_split(struct bytes plan, size_t items_max, void (*fn)(void *user, struct bytes piece),
                void *user)
{
    struct split s = {.items_max = items_max, .fn = fn, .user = user};
    struct wire_field f;

    if (goes_whole(plan, items_max, &s)) {
        fn(user, plan);
        strbuf_fini(&s.head);
        return;
    }
    strbuf_add(&s.piece, s.head.data, s.head.len);
    for (unsigned pass = 0; pass < 4; pass++) {
        struct bytes rest = plan, before = plan;

        for (; wire_field_next(&rest, &f); before = rest) {
            if (pass == 0 ? f.tag != steppe_Plan_deployment_tag : !of_pass(f.tag, pass))
                continue;
            if (s.items == items_max && pass < 3)
                emit(&s);
            strbuf_add(&s.piece, before.data, before.len - rest.len);
            s.items += pass == 1 || pass == 2;
        }
    }
    emit(&s);
    strbuf_fini(&s.head);
    strbuf_fini(&s.piece);
}
