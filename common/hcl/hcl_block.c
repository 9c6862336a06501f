/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The engine that walks the tables of the job grammar.
 */
#include "hcl/hcl_job.h"

#include <errno.h>
#include <string.h>

const char *hcl_subst(struct hcl_ctx *c, const char *fmt, const char *label, size_t n)
{
    const char *p = strstr(fmt, "%s");

    if (p)
        fmt = hcl_printf(&c->arena, "%.*s%s%s", (int)(p - fmt), fmt, label, p + 2);
    else if ((p = strstr(fmt, "%d")))
        fmt = hcl_printf(&c->arena, "%.*s%zu%s", (int)(p - fmt), fmt, n, p + 2);
    return fmt;
}

/* Puts a prefix before the error that `r` stands for, if any. */
static int prefixed(struct hcl_ctx *c, int r, const char *prefix, bool flat)
{
    if (r >= 0 || !prefix)
        return r;
    if (flat) {
        c->errs[0] = hcl_ctx_text(c);
        c->n_errs = 1;
        c->many = false;
    }
    return hcl_ctx_prefix(c, prefix);
}

struct hcl_value *hcl_member_list(struct hcl_ctx *c, struct hcl_value *out, const char *json)
{
    struct hcl_value *v = hcl_value_get(out, json);

    if (!v) {
        v = hcl_value_new(c, HCL_V_LIST);
        hcl_value_set(c, out, json, v);
    }
    return v;
}

struct hcl_value *hcl_member_map(struct hcl_ctx *c, struct hcl_value *out, const char *json)
{
    struct hcl_value *v = hcl_value_get(out, json);

    if (!v) {
        v = hcl_value_new(c, HCL_V_MAP);
        hcl_value_set(c, out, json, v);
    }
    return v;
}

static bool is_field(const struct hcl_block *b, const char *key)
{
    for (const struct hcl_field *fd = b->fields; fd && fd->key; fd++)
        if (fd->key[0] >= 'a' && strcmp(fd->key, key) == 0)
            return true;
    return false;
}

static bool key_valid(const struct hcl_block *b, const char *key)
{
    if (is_field(b, key))
        return true;
    for (const struct hcl_child *ch = b->children; ch && ch->key; ch++)
        if (strcmp(ch->key, key) == 0)
            return true;
    return false;
}

/* Blocks of Nomad's newer language, which are worth a word more. */
static const char *key_hint(const char *key)
{
    static const char *const hcl2[] = {"variable", "variables", "locals", "dynamic"};

    for (size_t i = 0; i < ARRAY_LEN(hcl2); i++)
        if (strcmp(key, hcl2[i]) == 0)
            return " (HCL2 expressions are not supported)";
    return "";
}

static int keys_check(struct hcl_ctx *c, const struct hcl_block *b, const struct hcl_node *n)
{
    if (n->type != HCL_OBJECT)
        return hcl_ctx_fail(c, n->line, n->column, "cannot check HCL keys of type %s",
                            hcl_node_name(n->type));
    for (size_t i = 0; i < n->items.n; i++) {
        const struct hcl_key *k = &n->items.v[i].keys[0];

        if (!key_valid(b, k->text))
            hcl_ctx_append(c, k->line, k->column, "invalid key: %s%s", k->text, key_hint(k->text));
    }
    return c->n_errs ? -EINVAL : 0;
}

static int child_decode(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_frame *f)
{
    struct hcl_items items = hcl_filter(&c->arena, &f->node->items, ch->key);
    int r = 0;

    if (items.n > 0)
        r = ch->decode(c, ch, &items, f);
    if (r < 0 && ch->prefix)
        r = prefixed(c, r, hcl_subst(c, ch->prefix, f->label, 0), ch->flat);
    return r;
}

/*
 * Decodes what the block's fields want. What is wrong further inside has been found when the job
 * was decoded as a whole, which Nomad does at every level again.
 */
static int map_decode(struct hcl_ctx *c, const struct hcl_block *b, struct hcl_frame *f)
{
    const struct hcl_items *all = &f->node->items;
    struct hcl_items own = {0};

    if (b->whole || f->node->type != HCL_OBJECT)
        return hcl_value_decode_node(c, f->node, &f->map);
    own.v = hcl_alloc(&c->arena, all->n * sizeof(*own.v));
    for (size_t i = 0; i < all->n; i++)
        if (is_field(b, all->v[i].keys[0].text))
            own.v[own.n++] = all->v[i];
    return hcl_value_decode(c, &own, &f->map);
}

/* Everything but the children. */
static int fields_decode(struct hcl_ctx *c, const struct hcl_block *b, struct hcl_frame *f)
{
    const struct hcl_value *name;
    int r = map_decode(c, b, f);

    if (r == 0 && b->prepare)
        r = b->prepare(c, f);
    if (r < 0 || f->skip)
        return r;
    r = hcl_fields_decode(c, b, f);
    if (r < 0)
        return prefixed(c, r, b->type_prefix, true);
    name = b->named ? hcl_value_get(f->out, "Name") : NULL;
    if (name)
        f->label = name->str.s;
    return 0;
}

int hcl_block_decode(struct hcl_ctx *c, const struct hcl_block *b, const struct hcl_node *n,
                     struct hcl_frame *f)
{
    int r = 0;

    assert(f->label && f->out);
    f->node = n;
    if (n->type != HCL_OBJECT && b->not_object)
        return hcl_ctx_fail(c, n->line, n->column, "%s", hcl_subst(c, b->not_object, f->label, 0));
    if (b->whole)
        r = fields_decode(c, b, f);
    if (r < 0)
        return r;
    r = keys_check(c, b, n);
    if (r < 0)
        return b->key_prefix ? prefixed(c, r, hcl_subst(c, b->key_prefix, f->label, 0), false) : r;
    if (!b->whole && !b->raw)
        r = fields_decode(c, b, f);
    if (r < 0 || f->skip)
        return r;
    for (const struct hcl_child *ch = b->children; ch && ch->key; ch++) {
        r = child_decode(c, ch, f);
        if (r < 0)
            return r;
    }
    return b->finish ? b->finish(c, f) : 0;
}

static int fail_too_many(struct hcl_ctx *c, const struct hcl_child *ch,
                         const struct hcl_items *items, const struct hcl_frame *parent)
{
    const struct hcl_item *it = &items->v[items->n > 1 ? 1 : 0];

    return hcl_ctx_fail(c, it->line, it->column, "%s",
                        hcl_subst(c, ch->too_many, parent->label, items->n));
}

/*
 * An object put together from items that have more labels than their block takes. JSON brings them
 * about, where objects that hold only objects become labels: {"network": {"port": {"a": {}}}}. In a
 * job file the superfluous label turns up as an invalid key. Without `label`: all items that have a
 * label; else those with this and one more.
 */
static struct hcl_node *gather(struct hcl_ctx *c, const struct hcl_items *items, const char *label)
{
    struct hcl_node *n = NULL;

    for (size_t i = 0; i < items->n; i++) {
        const struct hcl_item *it = &items->v[i];
        struct hcl_item *to;

        if (it->n_keys <= (label ? 1 : 0) || (label && strcmp(it->keys[0].text, label) != 0))
            continue;
        if (!n) {
            n = hcl_alloc(&c->arena, sizeof(*n));
            *n = (struct hcl_node){.type = HCL_OBJECT, .line = it->line, .column = it->column};
            n->items.v = hcl_alloc(&c->arena, (items->n - i) * sizeof(*to));
        }
        to = &n->items.v[n->items.n++];
        *to = *it;
        if (label)
            hcl_item_strip(to);
    }
    return n;
}

/* The items of a block that takes no label. */
static struct hcl_items unlabelled(struct hcl_ctx *c, const struct hcl_items *items)
{
    struct hcl_items elems = hcl_elems(&c->arena, items);
    struct hcl_node *rest = gather(c, items, NULL);

    if (rest) {
        elems.v = hcl_grow(&c->arena, elems.v, elems.n * sizeof(*elems.v),
                           (elems.n + 1) * sizeof(*elems.v));
        elems.v[elems.n++] =
            (struct hcl_item){.line = rest->line, .column = rest->column, .val = rest};
    }
    return elems;
}

int hcl_child_one(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                  struct hcl_frame *parent)
{
    struct hcl_items elems = unlabelled(c, items);

    return hcl_child_one_any(c, ch, &elems, parent);
}

int hcl_child_one_any(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                      struct hcl_frame *parent)
{
    struct hcl_frame f = {.label = "", .out = hcl_value_new(c, HCL_V_MAP)};
    int r;

    if (items->n > 1)
        return fail_too_many(c, ch, items, parent);
    r = hcl_block_decode(c, ch->block, items->v[0].val, &f);
    if (r == 0 && !f.skip)
        hcl_value_set(c, parent->out, ch->json, f.out);
    if (r < 0 && ch->item_prefix)
        return prefixed(c, r, hcl_subst(c, ch->item_prefix, parent->label, 0), ch->flat);
    return r;
}

int hcl_child_many_any(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                       struct hcl_frame *parent)
{
    for (size_t i = 0; i < items->n; i++) {
        struct hcl_frame f = {.label = "", .out = hcl_value_new(c, HCL_V_MAP)};
        int r = hcl_block_decode(c, ch->block, items->v[i].val, &f);

        if (r < 0)
            return ch->item_prefix ? prefixed(c, r, hcl_subst(c, ch->item_prefix, "", i), false)
                                   : r;
        if (!f.skip)
            hcl_value_append(c, hcl_member_list(c, parent->out, ch->json), f.out);
    }
    return 0;
}

int hcl_child_many(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                   struct hcl_frame *parent)
{
    struct hcl_items elems = unlabelled(c, items);

    return hcl_child_many_any(c, ch, &elems, parent);
}

/* Of the items before i: the first with the same label. NULL when there is none. */
static const struct hcl_item *label_seen(const struct hcl_items *items, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(items->v[k].keys[0].text, items->v[i].keys[0].text) == 0)
            return &items->v[k];
    return NULL;
}

int hcl_child_labelled(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                       struct hcl_frame *parent)
{
    for (size_t i = 0; i < items->n; i++) {
        const struct hcl_item *it = &items->v[i], *before;
        struct hcl_frame f = {.out = hcl_value_new(c, HCL_V_MAP)};
        int r;

        if (it->n_keys == 0)
            return hcl_ctx_fail(c, it->line, it->column, "'%s' block missing name", ch->key);
        f.label = it->keys[0].text;
        before = label_seen(items, i);
        if (before && before->n_keys > 1 && it->n_keys > 1)
            continue; /* gathered with the first */
        if (before)
            return hcl_ctx_fail(c, it->line, it->column, "%s '%s' defined more than once",
                                ch->block->name, f.label);
        hcl_value_set(c, f.out, "Name", hcl_value_string(c, f.label));
        r = hcl_block_decode(c, ch->block, it->n_keys > 1 ? gather(c, items, f.label) : it->val,
                             &f);
        if (r < 0)
            return ch->item_prefix
                       ? prefixed(c, r, hcl_subst(c, ch->item_prefix, f.label, i), false)
                       : r;
        hcl_value_append(c, hcl_member_list(c, parent->out, ch->json), f.out);
    }
    return 0;
}

int hcl_child_strings(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                      struct hcl_frame *parent)
{
    struct hcl_items elems = unlabelled(c, items);

    for (size_t i = 0; i < elems.n; i++) {
        struct hcl_value *map, *out = hcl_member_map(c, parent->out, ch->json);
        int r = hcl_value_decode_node(c, elems.v[i].val, &map);

        if (r == 0)
            r = hcl_strings_merge(c, map, out);
        if (r < 0)
            return r;
    }
    return 0;
}

int hcl_child_one_strings(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                          struct hcl_frame *parent)
{
    struct hcl_items elems = unlabelled(c, items);

    if (elems.n > 1)
        return fail_too_many(c, ch, &elems, parent);
    return hcl_child_strings(c, ch, items, parent);
}

int hcl_child_any(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                  struct hcl_frame *parent)
{
    struct hcl_items elems = unlabelled(c, items);

    if (ch->too_many && elems.n > 1)
        return fail_too_many(c, ch, &elems, parent);
    for (size_t i = 0; i < elems.n; i++) {
        struct hcl_value *map, *out = hcl_member_map(c, parent->out, ch->json);
        int r = hcl_value_decode_node(c, elems.v[i].val, &map);

        if (r < 0)
            return r;
        for (size_t k = 0; k < map->map.n; k++)
            hcl_value_set(c, out, map->map.v[k].key, map->map.v[k].val);
    }
    return 0;
}
