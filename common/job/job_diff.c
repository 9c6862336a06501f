/* SPDX-License-Identifier: MPL-2.0 */
/* The engine: walks two objects by the tables of job_diff_rules.c and makes the difference. */
#include "job_diff.h"

#include <errno.h>
#include <pb_decode.h>
#include <string.h>

#include "job.json.h"
#include "job_diff_flat.h"
#include "job_diff_rules.h"
#include "json/json.h"

enum diff_kind { DIFF_NONE, DIFF_ADDED, DIFF_DELETED, DIFF_EDITED };

static const char *const kind_names[] = {"None", "Added", "Deleted", "Edited"};

struct diff {
    bool contextual;
    bool failed; /* too large: nothing is added any more */
    size_t left; /* bytes that the result may still take */
};

/* What differences of jobs, groups and tasks have of other objects. */
#define DIFF_TAKE_MEMBERS(to, from)                                                                \
    do {                                                                                           \
        (to)->fields = (from)->fields;                                                             \
        (to)->fields_count = (from)->fields_count;                                                 \
        (to)->objects = (from)->objects;                                                           \
        (to)->objects_count = (from)->objects_count;                                               \
    } while (0)

static bool charge(struct diff *d, size_t n)
{
    if (d->failed || n > d->left)
        d->failed = true;
    else
        d->left -= n;
    return !d->failed;
}

/* Room for one more in a list that grows by doubling; NULL when there is none. */
static void *list_grow(struct diff *d, void *list, pb_size_t n, size_t size)
{
    if (n == JSON_LIST_MAX)
        d->failed = true;
    if (!charge(d, size))
        return NULL;
    return (n & (n - 1)) == 0 ? xrealloc(list, size * (n ? 2u * n : 1u)) : list;
}

static char *text_copy(const char *s)
{
    return s && *s ? xstrdup(s) : NULL;
}

/* ---- Fields ---- */

static const char *text(const char *s)
{
    return s ? s : "";
}

static enum diff_kind field_kind(const char *old, const char *new)
{
    if (strcmp(old, new) == 0)
        return DIFF_NONE;
    return !*old ? DIFF_ADDED : !*new ? DIFF_DELETED : DIFF_EDITED;
}

/* Adds one field; of those that are the same only in context. */
static void field_add(struct diff *d, steppe_ObjectDiff *owner, const char *name, const char *old,
                      const char *new, bool context)
{
    enum diff_kind kind = field_kind(old, new);
    steppe_FieldDiff *f;

    if ((kind == DIFF_NONE && !context) ||
        !charge(d, strlen(name) + strlen(old) + strlen(new) + sizeof("Deleted")))
        return;
    f = list_grow(d, owner->fields, owner->fields_count, sizeof(*f));
    if (!f)
        return;
    owner->fields = f;
    f[owner->fields_count++] = (steppe_FieldDiff){
        .type = xstrdup(kind_names[kind]),
        .name = xstrdup(name),
        .old = text_copy(old),
        .new = text_copy(new),
    };
}

static int field_cmp(const void *a, const void *b)
{
    const steppe_FieldDiff *x = a, *y = b;
    int r = strcmp(x->name, y->name);

    if (r == 0)
        r = strcmp(text(x->old), text(y->old));
    return r ? r : strcmp(text(x->new), text(y->new));
}

static void fields_sort(steppe_ObjectDiff *o)
{
    if (o->fields_count)
        qsort(o->fields, o->fields_count, sizeof(*o->fields), field_cmp);
}

/* Both sides sorted by name: what is on one side only is "" on the other. */
static void fields_merge(struct diff *d, const struct flat *old, const struct flat *new,
                         bool context, steppe_ObjectDiff *owner)
{
    size_t i = 0, j = 0;

    while ((i < old->n || j < new->n) && !d->failed) {
        int r = i == old->n ? 1 : j == new->n ? -1 : strcmp(old->v[i].name, new->v[j].name);

        field_add(d, owner, r <= 0 ? old->v[i].name : new->v[j].name, r <= 0 ? old->v[i].text : "",
                  r >= 0 ? new->v[j].text : "", context);
        i += r <= 0;
        j += r >= 0;
    }
}

/* The plain fields of two objects, either of which may be NULL. */
static void object_fields(struct diff *d, const struct diff_rule *rule, const void *old,
                          const void *new, steppe_ObjectDiff *owner)
{
    enum diff_nullable nullable = old && new ? rule->nullable : DIFF_NULLABLE_NOT;
    _cleanup_(flat_fini) struct flat a = {0}, b = {0};

    flat_object(&a, rule, nullable, old);
    flat_object(&b, rule, nullable, new);
    fields_merge(d, &a, &b, d->contextual && !rule->brief, owner);
}

static enum diff_kind kind_of(bool added, bool deleted)
{
    return added && deleted ? DIFF_EDITED : added ? DIFF_ADDED : deleted ? DIFF_DELETED : DIFF_NONE;
}

/* What the fields say of their object. */
static enum diff_kind fields_kind(const steppe_ObjectDiff *o)
{
    bool added = false, deleted = false;

    for (size_t i = 0; i < o->fields_count; i++) {
        switch (o->fields[i].type[0]) {
        case 'E':
            return DIFF_EDITED;
        case 'A':
            added = true;
            break;
        case 'D':
            deleted = true;
            break;
        default:
            break;
        }
    }
    return kind_of(added, deleted);
}

/* ---- Objects ---- */

static void object_free(steppe_ObjectDiff *o)
{
    pb_release(steppe_ObjectDiff_fields, o);
}

/* Takes over what o points to. */
static void object_add(struct diff *d, const char *name, enum diff_kind kind, steppe_ObjectDiff *o,
                       steppe_ObjectDiff *owner)
{
    steppe_ObjectDiff *list = NULL;

    if (charge(d, strlen(name) + sizeof("Deleted")))
        list = list_grow(d, owner->objects, owner->objects_count, sizeof(*list));
    if (!list) {
        object_free(o);
        return;
    }
    o->name = xstrdup(name);
    o->type = xstrdup(kind_names[kind]);
    owner->objects = list;
    list[owner->objects_count++] = *o;
}

/* Nomad's order of kinds: Edited, Added, Deleted, None. */
static int kind_rank(const char *type)
{
    static const char order[] = "EADN";

    return (int)(strchr(order, type[0]) - order);
}

static int object_cmp(const void *a, const void *b)
{
    const steppe_ObjectDiff *x = a, *y = b;
    int r = strcmp(x->name, y->name);

    if (r == 0)
        r = kind_rank(x->type) - kind_rank(y->type);
    if (r == 0)
        r = (int)x->fields_count - (int)y->fields_count;
    if (r == 0)
        r = (int)x->objects_count - (int)y->objects_count;
    for (size_t i = 0; r == 0 && i < x->fields_count; i++)
        r = field_cmp(&x->fields[i], &y->fields[i]);
    for (size_t i = 0; r == 0 && i < x->objects_count; i++)
        r = object_cmp(&x->objects[i], &y->objects[i]);
    return r;
}

/* Sorts what was added since `from`. */
static void objects_sort(struct diff *d, steppe_ObjectDiff *owner, pb_size_t from)
{
    if (!d->failed && owner->objects_count > from)
        qsort(owner->objects + from, owner->objects_count - from, sizeof(*owner->objects),
              object_cmp);
}

/* Fields and children of two objects, either of which may be NULL. */
static void object_members(struct diff *d, const struct diff_rule *rule, const void *old,
                           const void *new, steppe_ObjectDiff *ret)
{
    const struct diff_pair of = {rule->type, old, new};
    const struct diff_child *c;

    object_fields(d, rule, old, new, ret);
    for (c = rule->children; c && c->field && !d->failed; c++)
        c->compare(d, c, &of, ret);
}

typedef void compare_fn(struct diff *d, const struct diff_child *c, const void *old,
                        const void *new, steppe_ObjectDiff *ret);

/* A whole object: by its presence, and nothing when it is the same. */
static void compare_whole(struct diff *d, const struct diff_child *c, const void *old,
                          const void *new, steppe_ObjectDiff *ret)
{
    steppe_ObjectDiff o = {0};

    if ((!old && !new) || (old && new &&flat_cmp(c->rule->type, old, new) == 0))
        return;
    object_members(d, c->rule, old, new, &o);
    object_add(d, c->name, !old ? DIFF_ADDED : !new ? DIFF_DELETED : DIFF_EDITED, &o, ret);
}

/* By its fields alone. */
static void compare_fields(struct diff *d, const struct diff_child *c, const void *old,
                           const void *new, steppe_ObjectDiff *ret)
{
    steppe_ObjectDiff o = {0};
    enum diff_kind kind;

    object_fields(d, c->rule, old, new, &o);
    kind = fields_kind(&o);
    if (kind == DIFF_NONE)
        object_free(&o);
    else
        object_add(d, c->name, kind, &o, ret);
}

void diff_one(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
              steppe_ObjectDiff *ret)
{
    const struct json_field *f = flat_field(of->type, c->field);

    compare_whole(d, c, flat_message(f, of->old), flat_message(f, of->new), ret);
}

void diff_flat(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
               steppe_ObjectDiff *ret)
{
    const struct json_field *f = flat_field(of->type, c->field);

    compare_fields(d, c, flat_message(f, of->old), flat_message(f, of->new), ret);
}

/* ---- Lists and maps of objects ---- */

/* Both lists sorted and without duplicates: compares what belongs together. */
static void lists_compare(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
                          bool keyed, compare_fn *compare, steppe_ObjectDiff *ret)
{
    pb_size_t from = ret->objects_count;
    const void *old, *new;
    _cleanup_(flat_pairs_fini) struct flat_pairs p;

    flat_pairs_init(&p, of, c->field, keyed ? c->rule->key : NULL);
    while (!d->failed && flat_pairs_next(&p, &old, &new))
        compare(d, c, old, new, ret);
    objects_sort(d, ret, from);
}

void diff_list_set(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
                   steppe_ObjectDiff *ret)
{
    lists_compare(d, c, of, false, compare_whole, ret);
}

void diff_list_set_flat(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
                        steppe_ObjectDiff *ret)
{
    lists_compare(d, c, of, false, compare_fields, ret);
}

void diff_list_keyed(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
                     steppe_ObjectDiff *ret)
{
    lists_compare(d, c, of, true, compare_whole, ret);
}

void diff_list_keyed_flat(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
                          steppe_ObjectDiff *ret)
{
    lists_compare(d, c, of, true, compare_fields, ret);
}

/* A set of strings: each field has the set's name. */
void diff_strings(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
                  steppe_ObjectDiff *ret)
{
    bool added = false, deleted = false;
    const void *old, *new;
    steppe_ObjectDiff o = {0};
    enum diff_kind kind;
    _cleanup_(flat_pairs_fini) struct flat_pairs p;

    flat_pairs_init(&p, of, c->field, NULL);
    while (!d->failed && flat_pairs_next(&p, &old, &new)) {
        added |= !old;
        deleted |= !new;
        field_add(d, &o, c->name, flat_string(old), flat_string(new), d->contextual);
    }
    fields_sort(&o);
    kind = kind_of(added, deleted);
    if (o.fields_count == 0 || (kind == DIFF_NONE && c->changed_only))
        object_free(&o);
    else
        object_add(d, c->name, kind, &o, ret);
}

/* ---- Members that become an object with fields of its own making ---- */

static void made_compare(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
                         flat_make_fn *make, steppe_ObjectDiff *ret)
{
    const struct json_field *f = flat_field(of->type, c->field);
    _cleanup_(flat_fini) struct flat a = {0}, b = {0};
    bool was = of->old && make(&a, f, of->old), is = of->new &&make(&b, f, of->new);
    steppe_ObjectDiff o = {0};

    if (was == is && flat_same(&a, &b))
        return;
    fields_merge(d, &a, &b, d->contextual, &o);
    object_add(d, c->name, !was ? DIFF_ADDED : !is ? DIFF_DELETED : DIFF_EDITED, &o, ret);
}

void diff_raw(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
              steppe_ObjectDiff *ret)
{
    made_compare(d, c, of, flat_raw, ret);
}

void diff_joined(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
                 steppe_ObjectDiff *ret)
{
    made_compare(d, c, of, flat_joined, ret);
}

void diff_headers(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
                  steppe_ObjectDiff *ret)
{
    made_compare(d, c, of, flat_headers, ret);
}

void diff_bindings(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
                   steppe_ObjectDiff *ret)
{
    made_compare(d, c, of, flat_bindings, ret);
}

/* ---- Tasks, groups, the job ---- */

/* By its presence, or by whether anything of it differs, shown or not. */
static const char *whole_type(const struct json_type *t, const void *old, const void *new)
{
    bool differs = !old || !new || flat_cmp(t, old, new) != 0;

    return kind_names[!differs ? DIFF_NONE : !old ? DIFF_ADDED : !new ? DIFF_DELETED : DIFF_EDITED];
}

static void task_add(struct diff *d, const steppe_Task *old, const steppe_Task *new,
                     steppe_TaskGroupDiff *group)
{
    steppe_TaskDiff *list = list_grow(d, group->tasks, group->tasks_count, sizeof(*list));
    steppe_ObjectDiff o = {0};

    if (!list)
        return;
    group->tasks = list;
    object_members(d, &diff_task_rule, old, new, &o);
    list[group->tasks_count] = (steppe_TaskDiff){
        .type = xstrdup(whole_type(&steppe_Task_json, old, new)),
        .name = text_copy((new ? new : old)->name),
    };
    DIFF_TAKE_MEMBERS(&list[group->tasks_count], &o);
    group->tasks_count++;
}

static void group_add(struct diff *d, const steppe_TaskGroup *old, const steppe_TaskGroup *new,
                      steppe_JobDiff *job)
{
    steppe_TaskGroupDiff *list =
        list_grow(d, job->task_groups, job->task_groups_count, sizeof(*list));
    const struct diff_pair of = {&steppe_TaskGroup_json, old, new};
    steppe_ObjectDiff o = {0};
    steppe_TaskGroupDiff *g;
    const void *a, *b;
    _cleanup_(flat_pairs_fini) struct flat_pairs tasks;

    flat_pairs_init(&tasks, &of, "Tasks", diff_task_rule.key);
    if (!list)
        return;
    job->task_groups = list;
    object_members(d, &diff_group_rule, old, new, &o);
    g = &list[job->task_groups_count++];
    *g = (steppe_TaskGroupDiff){
        .type = xstrdup(whole_type(&steppe_TaskGroup_json, old, new)),
        .name = text_copy((new ? new : old)->name),
    };
    DIFF_TAKE_MEMBERS(g, &o);
    while (!d->failed && flat_pairs_next(&tasks, &a, &b))
        task_add(d, a, b, g);
}

/* A job differs when something of it is shown: much of it changes with each registration. */
static const char *job_type(const steppe_JobDiff *j, const void *old, const void *new)
{
    bool differs = false;
    size_t i;

    for (i = 0; i < j->fields_count; i++)
        differs |= strcmp(j->fields[i].type, kind_names[DIFF_NONE]) != 0;
    for (i = 0; i < j->objects_count; i++)
        differs |= strcmp(j->objects[i].type, kind_names[DIFF_NONE]) != 0;
    for (i = 0; i < j->task_groups_count; i++)
        differs |= strcmp(j->task_groups[i].type, kind_names[DIFF_NONE]) != 0;
    if (!old || !new)
        return kind_names[new ? DIFF_ADDED : old ? DIFF_DELETED : DIFF_NONE];
    return kind_names[differs ? DIFF_EDITED : DIFF_NONE];
}

int job_diff(const steppe_Job *old, const steppe_Job *new, bool contextual, steppe_JobDiff *ret)
{
    struct diff d = {.contextual = contextual, .left = JOB_DIFF_MAX};
    const struct diff_pair of = {&steppe_Job_json, old, new};
    steppe_ObjectDiff o = {0};
    const void *a, *b;
    _cleanup_(flat_pairs_fini) struct flat_pairs groups;

    *ret = (steppe_JobDiff){0};
    flat_pairs_init(&groups, &of, "TaskGroups", diff_group_rule.key);
    if (old && new &&strcmp(text(old->id), text(new->id)) != 0)
        return -EINVAL;
    object_members(&d, &diff_job_rule, old, new, &o);
    DIFF_TAKE_MEMBERS(ret, &o);
    while (!d.failed && flat_pairs_next(&groups, &a, &b))
        group_add(&d, a, b, ret);
    if (d.failed) {
        pb_release(steppe_JobDiff_fields, ret);
        *ret = (steppe_JobDiff){0};
        return -EMSGSIZE;
    }
    ret->id = new || old ? text_copy((new ? new : old)->id) : NULL;
    ret->type = xstrdup(job_type(ret, old, new));
    return 0;
}
