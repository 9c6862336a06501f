/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The blocks that stand in jobs, groups and tasks alike: where to place, how often to try, how to
 * roll out.
 */
#include "hcl/hcl_job.h"

#include <string.h>

/*
 * `version = "> 1"` is short for `operator = "version"  value = "> 1"`. Where several are given
 * the last row wins.
 */
static void shorthands_apply(struct hcl_ctx *c, struct hcl_frame *f, const char *const *names)
{
    static const char *const plain[][2] = {
        {"attribute", "LTarget"}, {"value", "RTarget"}, {"operator", "Operand"}};
    struct hcl_value *v;

    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if ((v = hcl_value_get(f->map, plain[i][0])))
            hcl_value_set(c, f->map, plain[i][1], v);
    for (; *names; names++) {
        v = hcl_value_get(f->map, *names);
        if (!v)
            continue;
        hcl_value_set(c, f->map, "Operand", hcl_value_string(c, *names));
        hcl_value_set(c, f->map, "RTarget", v);
    }
}

static int operand_default(struct hcl_ctx *c, struct hcl_frame *f)
{
    const struct hcl_value *op = hcl_value_get(f->out, "Operand");

    if (!op || op->str.len == 0)
        hcl_value_set(c, f->out, "Operand", hcl_value_string(c, "="));
    return 0;
}

static int constraint_prepare(struct hcl_ctx *c, struct hcl_frame *f)
{
    static const char *const names[] = {"version", "semver", "regexp", "set_contains", NULL};
    struct hcl_value *v;
    const char *why;
    bool on;

    shorthands_apply(c, f, names);
    v = hcl_value_get(f->map, "distinct_hosts");
    if (v) {
        if (hcl_bool_parse(c, v, &on, &why) < 0)
            return hcl_ctx_fail(c, v->line, v->column,
                                "distinct_hosts should be set to true or false; %s", why);
        f->skip = !on;
        hcl_value_set(c, f->map, "Operand", hcl_value_string(c, "distinct_hosts"));
    }
    v = hcl_value_get(f->map, "distinct_property");
    if (v) {
        hcl_value_set(c, f->map, "Operand", hcl_value_string(c, "distinct_property"));
        hcl_value_set(c, f->map, "LTarget", v);
    }
    return 0;
}

static int affinity_prepare(struct hcl_ctx *c, struct hcl_frame *f)
{
    static const char *const names[] = {
        "version",          "semver",       "regexp", "set_contains_any",
        "set_contains_all", "set_contains", NULL};

    shorthands_apply(c, f, names);
    return 0;
}

/* The capitalised keys are what the hooks above make; in a file they are invalid. */
static const struct hcl_field constraint_fields[] = {
    HCL_U("LTarget", "LTarget", STRING),
    HCL_U("RTarget", "RTarget", STRING),
    HCL_U("Operand", "Operand", STRING),
    HCL_U("attribute", NULL, CHECKED),
    HCL_U("value", NULL, CHECKED),
    HCL_U("operator", NULL, CHECKED),
    HCL_U("version", NULL, CHECKED),
    HCL_U("semver", NULL, CHECKED),
    HCL_U("regexp", NULL, CHECKED),
    HCL_U("set_contains", NULL, CHECKED),
    HCL_U("distinct_hosts", NULL, CHECKED),
    HCL_U("distinct_property", NULL, CHECKED),
    HCL_END,
};

const struct hcl_block hcl_constraint_block = {
    .fields = constraint_fields,
    .prepare = constraint_prepare,
    .finish = operand_default,
};

static const struct hcl_field affinity_fields[] = {
    HCL_U("LTarget", "LTarget", STRING),      HCL_U("RTarget", "RTarget", STRING),
    HCL_U("Operand", "Operand", STRING),      HCL_U("weight", "Weight", INT8),
    HCL_U("attribute", NULL, CHECKED),        HCL_U("value", NULL, CHECKED),
    HCL_U("operator", NULL, CHECKED),         HCL_U("version", NULL, CHECKED),
    HCL_U("semver", NULL, CHECKED),           HCL_U("regexp", NULL, CHECKED),
    HCL_U("set_contains", NULL, CHECKED),     HCL_U("set_contains_any", NULL, CHECKED),
    HCL_U("set_contains_all", NULL, CHECKED), HCL_END,
};

const struct hcl_block hcl_affinity_block = {
    .fields = affinity_fields,
    .prepare = affinity_prepare,
    .finish = operand_default,
};

static const struct hcl_field target_fields[] = {
    HCL_U("value", "Value", STRING),
    HCL_U("percent", "Percent", UINT8),
    HCL_END,
};

static const struct hcl_block target_block = {
    .fields = target_fields,
    .not_object = "target should be an object",
    .key_prefix = "'%s' ->",
};

/* `target "dc1" { percent = 70 }`: exactly one label, which is its value. */
static int child_targets(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                         struct hcl_frame *parent)
{
    for (size_t i = 0; i < items->n; i++) {
        const struct hcl_item *it = &items->v[i];
        struct hcl_frame f = {.out = hcl_value_new(c, HCL_V_MAP)};
        int r;

        if (it->n_keys != 1)
            return hcl_ctx_fail(c, it->line, it->column, "missing spread target");
        f.label = it->keys[0].text;
        for (size_t k = 0; k < i; k++)
            if (strcmp(items->v[k].keys[0].text, f.label) == 0)
                return hcl_ctx_fail(c, it->line, it->column, "target '%s' defined more than once",
                                    f.label);
        hcl_value_set(c, f.out, "Value", hcl_value_string(c, f.label));
        r = hcl_block_decode(c, ch->block, it->val, &f);
        if (r < 0)
            return r;
        hcl_value_append(c, hcl_member_list(c, parent->out, ch->json), f.out);
    }
    return 0;
}

static const struct hcl_field spread_fields[] = {
    HCL_U("attribute", "Attribute", STRING),
    HCL_U("weight", "Weight", INT8),
    HCL_END,
};

static const struct hcl_child spread_children[] = {
    {"target", "SpreadTarget", child_targets, &target_block, .prefix = "target ->"},
    {0},
};

const struct hcl_block hcl_spread_block = {
    .fields = spread_fields,
    .children = spread_children,
};

static const struct hcl_field update_fields[] = {
    HCL_T("stagger", "Stagger", DURATION),
    HCL_T("max_parallel", "MaxParallel", INT),
    HCL_T("health_check", "HealthCheck", STRING),
    HCL_T("min_healthy_time", "MinHealthyTime", DURATION),
    HCL_T("healthy_deadline", "HealthyDeadline", DURATION),
    HCL_T("progress_deadline", "ProgressDeadline", DURATION),
    HCL_T("auto_revert", "AutoRevert", BOOL),
    HCL_T("auto_promote", "AutoPromote", BOOL),
    HCL_T("canary", "Canary", INT),
    HCL_END,
};

const struct hcl_block hcl_update_block = {.fields = update_fields};

static const struct hcl_field migrate_fields[] = {
    HCL_T("max_parallel", "MaxParallel", INT),
    HCL_T("health_check", "HealthCheck", STRING),
    HCL_T("min_healthy_time", "MinHealthyTime", DURATION),
    HCL_T("healthy_deadline", "HealthyDeadline", DURATION),
    HCL_END,
};

const struct hcl_block hcl_migrate_block = {.fields = migrate_fields};

static const struct hcl_field restart_fields[] = {
    HCL_U("attempts", "Attempts", INT),
    HCL_U("interval", "Interval", DURATION),
    HCL_U("delay", "Delay", DURATION),
    HCL_U("mode", "Mode", STRING),
    HCL_END,
};

const struct hcl_block hcl_restart_block = {.fields = restart_fields};

static const struct hcl_field reschedule_fields[] = {
    HCL_T("attempts", "Attempts", INT),
    HCL_T("interval", "Interval", DURATION),
    HCL_T("unlimited", "Unlimited", BOOL),
    HCL_T("delay", "Delay", DURATION),
    HCL_T("max_delay", "MaxDelay", DURATION),
    HCL_T("delay_function", "DelayFunction", STRING),
    HCL_END,
};

const struct hcl_block hcl_reschedule_block = {.fields = reschedule_fields};

static const struct hcl_field scaling_fields[] = {
    HCL_U("min", "Min", INT64),
    HCL_U("max", "Max", INT64),
    HCL_U("enabled", "Enabled", BOOL),
    HCL_U("type", "Type", STRING),
    HCL_END,
};

static const struct hcl_child scaling_children[] = {
    {"policy", "Policy", hcl_child_any,
     .too_many = "only one 'policy' block allowed per 'scaling' block"},
    {0},
};

const struct hcl_block hcl_scaling_block = {
    .fields = scaling_fields,
    .children = scaling_children,
    .not_object = "should be an object",
};

static int vault_prepare(struct hcl_ctx *c, struct hcl_frame *f)
{
    hcl_value_set(c, f->out, "Env", hcl_value_bool(c, true));
    hcl_value_set(c, f->out, "ChangeMode", hcl_value_string(c, "restart"));
    return 0;
}

static const struct hcl_field vault_fields[] = {
    HCL_T("namespace", "Namespace", STRING),
    HCL_U("policies", "Policies", STRINGS),
    HCL_U("env", "Env", BOOL),
    HCL_T("change_mode", "ChangeMode", STRING),
    HCL_T("change_signal", "ChangeSignal", STRING),
    HCL_END,
};

const struct hcl_block hcl_vault_block = {
    .fields = vault_fields,
    .not_object = "vault: should be an object",
    .key_prefix = "vault ->",
    .prepare = vault_prepare,
};
