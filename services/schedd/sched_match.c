/* SPDX-License-Identifier: MPL-2.0 */
#include "sched_match.h"

#include <ctype.h>
#include <string.h>

#include "sched_version.h"

/* ---- targets ---- */

/* Attributes and meta are lists of the same shape, sorted by key or not. */
static const char *attribute(const steppe_Node *n, const char *key, size_t len)
{
    for (pb_size_t i = 0; i < n->attributes_count; i++) {
        const char *k = sched_text(n->attributes[i].key);

        if (strncmp(k, key, len) == 0 && k[len] == 0)
            return sched_text(n->attributes[i].value);
    }
    return NULL;
}

static const char *meta(const steppe_Node *n, const char *key, size_t len)
{
    for (pb_size_t i = 0; i < n->meta_count; i++) {
        const char *k = sched_text(n->meta[i].key);

        if (strncmp(k, key, len) == 0 && k[len] == 0)
            return sched_text(n->meta[i].value);
    }
    return NULL;
}

const char *sched_target(const char *target, const steppe_Node *n)
{
    size_t len;

    target = sched_text(target);
    len = strlen(target);
    if (strncmp(target, "${", 2) != 0)
        return target;
    if (strcmp(target, "${node.unique.id}") == 0)
        return sched_text(n->id);
    if (strcmp(target, "${node.datacenter}") == 0)
        return sched_text(n->datacenter);
    if (strcmp(target, "${node.unique.name}") == 0)
        return sched_text(n->name);
    if (strcmp(target, "${node.class}") == 0)
        return sched_text(n->node_class);
    if (target[len - 1] == '}')
        len--;
    if (strncmp(target, "${attr.", 7) == 0)
        return attribute(n, target + 7, len - 7);
    if (strncmp(target, "${meta.", 7) == 0)
        return meta(n, target + 7, len - 7);
    return NULL;
}

/* ---- operands ---- */

struct item {
    const char *p;
    size_t len;
};

/* The next item of a list with commas, without the blanks around it. */
static bool next_item(const char **list, struct item *ret)
{
    const char *p = *list;

    if (!p)
        return false;
    ret->len = strcspn(p, ",");
    *list = p[ret->len] ? p + ret->len + 1 : NULL;
    ret->p = p;
    while (ret->len > 0 && isspace((unsigned char)*ret->p))
        ret->p++, ret->len--;
    while (ret->len > 0 && isspace((unsigned char)ret->p[ret->len - 1]))
        ret->len--;
    return true;
}

static bool in_list(const char *list, const struct item *x)
{
    struct item i;

    while (next_item(&list, &i))
        if (i.len == x->len && memcmp(i.p, x->p, x->len) == 0)
            return true;
    return false;
}

static bool op_set_all(struct sched_regexps *re, const char *l, const char *r)
{
    struct item i;

    while (next_item(&r, &i))
        if (!in_list(l, &i))
            return false;
    return true;
}

static bool op_set_any(struct sched_regexps *re, const char *l, const char *r)
{
    struct item i;

    while (next_item(&r, &i))
        if (in_list(l, &i))
            return true;
    return false;
}

static bool op_equal(struct sched_regexps *re, const char *l, const char *r)
{
    return strcmp(l, r) == 0;
}

/* Texts, not numbers, as Nomad 1.1 compares them: "10" < "9". */
static bool op_lt(struct sched_regexps *re, const char *l, const char *r)
{
    return strcmp(l, r) < 0;
}
static bool op_le(struct sched_regexps *re, const char *l, const char *r)
{
    return strcmp(l, r) <= 0;
}
static bool op_gt(struct sched_regexps *re, const char *l, const char *r)
{
    return strcmp(l, r) > 0;
}
static bool op_ge(struct sched_regexps *re, const char *l, const char *r)
{
    return strcmp(l, r) >= 0;
}

static bool op_regexp(struct sched_regexps *re, const char *l, const char *r)
{
    return sched_regexp_matches(re, r, l);
}

static bool op_version(struct sched_regexps *re, const char *l, const char *r)
{
    return sched_version_matches(SCHED_VERSION_LENIENT, l, r);
}

static bool op_semver(struct sched_regexps *re, const char *l, const char *r)
{
    return sched_version_matches(SCHED_VERSION_SEMVER, l, r);
}

/* Those that need both values. */
static const struct {
    const char *name;
    bool (*fn)(struct sched_regexps *re, const char *l, const char *r);
} operands[] = {
    {"=", op_equal},
    {"==", op_equal},
    {"is", op_equal},
    {"<", op_lt},
    {"<=", op_le},
    {">", op_gt},
    {">=", op_ge},
    {"regexp", op_regexp},
    {"version", op_version},
    {"semver", op_semver},
    {"set_contains", op_set_all},
    {"set_contains_all", op_set_all},
    {"set_contains_any", op_set_any},
};

bool sched_operand(struct sched_regexps *re, const char *operand, const char *l, const char *r)
{
    operand = sched_text(operand);
    if (strcmp(operand, "!=") == 0 || strcmp(operand, "not") == 0)
        return strcmp(sched_text(l), sched_text(r)) != 0; /* what is missing is empty here */
    if (strcmp(operand, "is_set") == 0)
        return l;
    if (strcmp(operand, "is_not_set") == 0)
        return !l;
    if (strcmp(operand, "distinct_hosts") == 0 || strcmp(operand, "distinct_property") == 0)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(operands); i++)
        if (strcmp(operand, operands[i].name) == 0)
            return l && r && operands[i].fn(re, l, r);
    return false;
}

bool sched_constraint_met(struct sched_regexps *re, const steppe_Constraint *c,
                          const steppe_Node *n)
{
    return sched_operand(re, c->operand, sched_target(c->l_target, n),
                         sched_target(c->r_target, n));
}

bool sched_affinity_met(struct sched_regexps *re, const steppe_Affinity *a, const steppe_Node *n)
{
    return sched_operand(re, a->operand, sched_target(a->l_target, n),
                         sched_target(a->r_target, n));
}

static bool target_escapes(const char *target)
{
    static const char *const prefixes[] = {"${node.unique.", "${attr.unique.", "${meta.unique."};

    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (strncmp(sched_text(target), prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

bool sched_constraint_escapes(const steppe_Constraint *c)
{
    return target_escapes(c->l_target) || target_escapes(c->r_target);
}

/* As Go's strconv.ParseBool. */
static bool is_true(const char *s)
{
    static const char *const words[] = {"1", "t", "T", "true", "TRUE", "True"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(s, words[i]) == 0)
            return true;
    return false;
}

bool sched_driver_there(const steppe_Node *n, const char *driver)
{
    char key[160] = "driver.";
    const char *value;
    size_t len = strlen(driver);

    for (pb_size_t i = 0; i < n->drivers_count; i++)
        if (strcmp(sched_text(n->drivers[i].key), driver) == 0)
            return n->drivers[i].has_value && n->drivers[i].value.detected &&
                   n->drivers[i].value.healthy;
    if (len + sizeof("driver.") > sizeof(key))
        return false;
    memcpy(key + strlen("driver."), driver, len + 1);
    value = attribute(n, key, strlen("driver.") + len);
    return value && is_true(value);
}
