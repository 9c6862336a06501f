/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The job block, the group block, and the way from a file to JSON.
 */
#include "hcl/hcl_job.h"

#include <errno.h>
#include <string.h>

static int periodic_prepare(struct hcl_ctx *c, struct hcl_frame *f)
{
    struct hcl_value *v = hcl_value_get(f->map, "enabled");
    const char *why;
    bool on;

    if (v) {
        if (hcl_bool_parse(c, v, &on, &why) < 0)
            return hcl_ctx_fail(c, v->line, v->column,
                                "periodic.enabled should be set to true or false; %s", why);
        hcl_value_set(c, f->out, "Enabled", hcl_value_bool(c, on));
    }
    if (hcl_value_get(f->map, "cron"))
        hcl_value_set(c, f->out, "SpecType", hcl_value_string(c, "cron"));
    return 0;
}

static const struct hcl_field periodic_fields[] = {
    HCL_U("cron", "Spec", STRING),
    HCL_T("prohibit_overlap", "ProhibitOverlap", BOOL),
    HCL_T("time_zone", "TimeZone", STRING),
    HCL_U("enabled", NULL, CHECKED),
    HCL_END,
};

static const struct hcl_block periodic_block = {
    .fields = periodic_fields,
    .prepare = periodic_prepare,
};

static const struct hcl_field parameterized_fields[] = {
    HCL_U("payload", "Payload", STRING),
    HCL_T("meta_required", "MetaRequired", STRINGS),
    HCL_T("meta_optional", "MetaOptional", STRINGS),
    HCL_END,
};

static const struct hcl_block parameterized_block = {.fields = parameterized_fields};

static const struct hcl_field strategy_fields[] = {
    HCL_T("max_parallel", "MaxParallel", INT),
    HCL_T("on_failure", "OnFailure", STRING),
    HCL_END,
};

static const struct hcl_block strategy_block = {.fields = strategy_fields};

static const struct hcl_field region_fields[] = {
    HCL_U("count", "Count", INT),
    HCL_U("datacenters", "Datacenters", STRINGS),
    HCL_U("meta", "Meta", STRING_MAP),
    HCL_END,
};

static const struct hcl_block region_block = {
    .name = "region",
    .fields = region_fields,
    .not_object = "region '%s': should be an object",
    .key_prefix = "'%s' ->",
};

static const struct hcl_child multiregion_children[] = {
    {"strategy", "Strategy", hcl_child_one, &strategy_block, .prefix = "strategy ->",
     .too_many = "only one 'strategy' block allowed"},
    {"region", "Regions", hcl_child_labelled, &region_block, .prefix = "regions ->"},
    {0},
};

static int multiregion_finish(struct hcl_ctx *c, struct hcl_frame *f)
{
    if (!hcl_value_get(f->out, "Regions"))
        return hcl_ctx_fail(c, f->node->line, f->node->column,
                            "'multiregion' requires one or more 'region' blocks");
    return 0;
}

static const struct hcl_block multiregion_block = {
    .children = multiregion_children,
    .not_object = "multiregion should be an object",
    .finish = multiregion_finish,
};

static const struct hcl_field ephemeral_disk_fields[] = {
    HCL_U("sticky", "Sticky", BOOL),
    HCL_U("migrate", "Migrate", BOOL),
    HCL_T("size", "SizeMB", INT),
    HCL_END,
};

static const struct hcl_block ephemeral_disk_block = {.fields = ephemeral_disk_fields};

static const struct hcl_field consul_fields[] = {HCL_T("namespace", "Namespace", STRING), HCL_END};

static const struct hcl_block consul_block = {.fields = consul_fields, .key_prefix = "consul ->"};

static const struct hcl_field mount_options_fields[] = {
    HCL_T("fs_type", "FSType", STRING),
    HCL_T("mount_flags", "MountFlags", STRINGS),
    HCL_END,
};

static const struct hcl_block mount_options_block = {
    .fields = mount_options_fields,
    .key_prefix = "mount_options ->",
};

static const struct hcl_field volume_fields[] = {
    HCL_T("type", "Type", STRING),
    HCL_T("source", "Source", STRING),
    HCL_T("read_only", "ReadOnly", BOOL),
    HCL_T("access_mode", "AccessMode", STRING),
    HCL_T("attachment_mode", "AttachmentMode", STRING),
    HCL_T("per_alloc", "PerAlloc", BOOL),
    HCL_END,
};

static const struct hcl_child volume_children[] = {
    {"mount_options", "MountOptions", hcl_child_one, &mount_options_block,
     .too_many = "only one 'mount_options' block allowed per volume"},
    {0},
};

/* Nomad's HCL1 parser drops keys that it does not know here; its HCL2 parser does not. */
static const struct hcl_block volume_block = {
    .name = "volume",
    .fields = volume_fields,
    .children = volume_children,
    .not_object = "volume '%s': should be an object",
    .key_prefix = "'%s' ->",
};

/* Volumes are a map by name. */
static int child_volumes(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                         struct hcl_frame *parent)
{
    struct hcl_frame f = {.label = "", .out = hcl_value_new(c, HCL_V_MAP)};
    struct hcl_value *out = hcl_member_map(c, parent->out, ch->json), *list;
    int r = hcl_child_labelled(c, ch, items, &f);

    if (r < 0)
        return r;
    list = hcl_value_get(f.out, ch->json);
    for (size_t i = 0; i < list->list.n; i++)
        hcl_value_set(c, out, hcl_value_get(list->list.v[i], "Name")->str.s, list->list.v[i]);
    return 0;
}

static int child_group_scaling(struct hcl_ctx *c, const struct hcl_child *ch,
                               struct hcl_items *items, struct hcl_frame *parent)
{
    const struct hcl_item *it = &items->v[items->n > 1 ? 1 : 0];
    struct hcl_value *sc, *type;
    int r;

    if (items->n == 1 && it->n_keys)
        return hcl_ctx_fail(c, it->line, it->column,
                            "task group scaling policy should not have a name");
    r = hcl_child_one_any(c, ch, items, parent);
    if (r < 0)
        return r;
    sc = hcl_value_get(parent->out, ch->json);
    if (!hcl_value_get(sc, "Max"))
        return hcl_ctx_fail(c, it->line, it->column, "missing 'max'");
    type = hcl_value_get(sc, "Type");
    if (!type || type->str.len == 0)
        hcl_value_set(c, sc, "Type", hcl_value_string(c, "horizontal"));
    else if (strcmp(type->str.s, "horizontal") != 0)
        return hcl_ctx_fail(c, it->line, it->column,
                            "task group scaling policy had invalid type: %s",
                            hcl_quote(c, type->str.s, type->str.len));
    return 0;
}

/* The tasks of a group that have no vault block of their own get this one. */
static void vault_inherit(struct hcl_ctx *c, const struct hcl_value *group, struct hcl_value *vault)
{
    struct hcl_value *tasks = hcl_value_get(group, "Tasks");

    for (size_t i = 0; tasks && i < tasks->list.n; i++)
        if (!hcl_value_get(tasks->list.v[i], "Vault"))
            hcl_value_set(c, tasks->list.v[i], "Vault", vault);
}

static int child_vault(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                       struct hcl_frame *parent)
{
    struct hcl_frame f = {.label = "", .out = hcl_value_new(c, HCL_V_MAP)};
    struct hcl_value *groups = hcl_value_get(parent->out, "TaskGroups"), *vault;
    int r = hcl_child_one(c, ch, items, &f);

    if (r < 0)
        return r;
    vault = hcl_value_get(f.out, ch->json);
    vault_inherit(c, parent->out, vault);
    for (size_t i = 0; groups && i < groups->list.n; i++)
        vault_inherit(c, groups->list.v[i], vault);
    return 0;
}

static const struct hcl_field group_fields[] = {
    HCL_U("count", "Count", INT),
    HCL_T("shutdown_delay", "ShutdownDelay", DURATION),
    HCL_T("stop_after_client_disconnect", "StopAfterClientDisconnect", DURATION),
    HCL_END,
};

static const struct hcl_child group_children[] = {
    {"constraint", "Constraints", hcl_child_many, &hcl_constraint_block,
     .prefix = "'%s', constraint ->"},
    {"affinity", "Affinities", hcl_child_many, &hcl_affinity_block, .prefix = "'%s', affinity ->"},
    {"restart", "RestartPolicy", hcl_child_one, &hcl_restart_block, .prefix = "'%s', restart ->",
     .too_many = "only one 'restart' block allowed"},
    {"spread", "Spreads", hcl_child_many, &hcl_spread_block, .prefix = "spread ->"},
    {"network", "Networks", hcl_child_network, &hcl_network_block,
     .too_many = "only one 'network' resource allowed"},
    {"reschedule", "ReschedulePolicy", hcl_child_one, &hcl_reschedule_block,
     .prefix = "'%s', reschedule ->", .too_many = "only one 'reschedule' block allowed"},
    {"ephemeral_disk", "EphemeralDisk", hcl_child_one, &ephemeral_disk_block,
     .prefix = "'%s', ephemeral_disk ->", .too_many = "only one 'ephemeral_disk' block allowed"},
    {"update", "Update", hcl_child_one, &hcl_update_block, .prefix = "update ->",
     .too_many = "only one 'update' block allowed"},
    {"migrate", "Migrate", hcl_child_one, &hcl_migrate_block, .prefix = "migrate ->",
     .too_many = "only one 'migrate' block allowed"},
    {"meta", "Meta", hcl_child_strings},
    {"volume", "Volumes", child_volumes, &volume_block, .prefix = "volume ->"},
    {"scaling", "Scaling", child_group_scaling, &hcl_scaling_block, .prefix = "scaling ->",
     .too_many = "only one 'scaling' block allowed"},
    {"task", "Tasks", hcl_child_labelled, &hcl_task_block,
     .prefix = "'%s', task:", .item_prefix = "'%s',"},
    {"vault", "Vault", child_vault, &hcl_vault_block, .prefix = "'%s', vault ->",
     .too_many = "only one 'vault' block allowed per task"},
    {"service", "Services", hcl_child_many_any, &hcl_service_block, .prefix = "'%s',",
     .item_prefix = "service (%d):"},
    {"consul", "Consul", hcl_child_one, &consul_block, .prefix = "'%s',",
     .too_many = "only one 'consul' block allowed"},
    {0},
};

static const struct hcl_block group_block = {
    .name = "group",
    .fields = group_fields,
    .children = group_children,
    .not_object = "group '%s': should be an object",
    .key_prefix = "'%s' ->",
};

/* A task directly in a job is a group of its own, of the same name. */
static int child_job_tasks(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                           struct hcl_frame *parent)
{
    struct hcl_frame f = {.label = "", .out = hcl_value_new(c, HCL_V_MAP)};
    struct hcl_value *tasks;
    int r = hcl_child_labelled(c, ch, items, &f);

    if (r < 0)
        return r;
    tasks = hcl_value_get(f.out, ch->json);
    for (size_t i = 0; i < tasks->list.n; i++) {
        struct hcl_value *group = hcl_value_new(c, HCL_V_MAP);

        hcl_value_set(c, group, "Name", hcl_value_get(tasks->list.v[i], "Name"));
        hcl_value_append(c, hcl_member_list(c, group, "Tasks"), tasks->list.v[i]);
        hcl_value_append(c, hcl_member_list(c, parent->out, "TaskGroups"), group);
    }
    return 0;
}

static const struct hcl_field job_fields[] = {
    HCL_U("region", "Region", STRING),
    HCL_U("namespace", "Namespace", STRING),
    HCL_U("id", "ID", STRING),
    HCL_U("name", "Name", STRING),
    HCL_U("type", "Type", STRING),
    HCL_U("priority", "Priority", INT),
    HCL_T("all_at_once", "AllAtOnce", BOOL),
    HCL_U("datacenters", "Datacenters", STRINGS),
    HCL_T("consul_token", "ConsulToken", STRING),
    HCL_T("vault_token", "VaultToken", STRING),
    HCL_END,
};

static const struct hcl_child job_children[] = {
    {"constraint", "Constraints", hcl_child_many, &hcl_constraint_block, .prefix = "constraint ->"},
    {"affinity", "Affinities", hcl_child_many, &hcl_affinity_block, .prefix = "affinity ->"},
    {"update", "Update", hcl_child_one, &hcl_update_block, .prefix = "update ->",
     .too_many = "only one 'update' block allowed"},
    {"periodic", "Periodic", hcl_child_one, &periodic_block, .prefix = "periodic ->",
     .too_many = "only one 'periodic' block allowed per job"},
    {"spread", "Spreads", hcl_child_many, &hcl_spread_block, .prefix = "spread ->"},
    {"parameterized", "ParameterizedJob", hcl_child_one, &parameterized_block,
     .prefix = "parameterized ->", .too_many = "only one 'parameterized' block allowed per job"},
    {"reschedule", "Reschedule", hcl_child_one, &hcl_reschedule_block, .prefix = "reschedule ->",
     .too_many = "only one 'reschedule' block allowed"},
    {"migrate", "Migrate", hcl_child_one, &hcl_migrate_block, .prefix = "migrate ->",
     .too_many = "only one 'migrate' block allowed"},
    {"multiregion", "Multiregion", hcl_child_one, &multiregion_block, .prefix = "multiregion ->",
     .too_many = "only one 'multiregion' block allowed"},
    {"meta", "Meta", hcl_child_strings},
    {"task", "Tasks", child_job_tasks, &hcl_task_block, .prefix = "task:", .item_prefix = "'%s',"},
    {"group", "TaskGroups", hcl_child_labelled, &group_block, .prefix = "group:"},
    {"vault", "Vault", child_vault, &hcl_vault_block, .prefix = "vault ->",
     .too_many = "only one 'vault' block allowed per task"},
    {0},
};

static int job_prepare(struct hcl_ctx *c, struct hcl_frame *f)
{
    hcl_value_set(c, f->out, "ID", hcl_value_string(c, f->label));
    return 0;
}

static const struct hcl_block job_block = {
    .name = "job",
    .fields = job_fields,
    .children = job_children,
    .not_object = "job '%s' value: should be an object",
    .key_prefix = "job:",
    .whole = true,
    .prepare = job_prepare,
};

static int child_job(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                     struct hcl_frame *parent)
{
    const char *label = items->v[0].n_keys ? items->v[0].keys[0].text : "";
    size_t more = 0;

    for (size_t i = 1; i < items->n; i++)
        more += items->v[i].n_keys < 2 || strcmp(items->v[i].keys[0].text, label) != 0;
    if (more || (items->n > 1 && items->v[0].n_keys < 2))
        return hcl_ctx_fail(c, items->v[1].line, items->v[1].column,
                            "only one 'job' block allowed");
    if (items->v[0].n_keys == 0)
        return hcl_ctx_fail(c, items->v[0].line, items->v[0].column, "'job' block missing name");
    return hcl_child_labelled(c, ch, items, parent);
}

static const struct hcl_child root_children[] = {
    {"job", "Job", child_job, &job_block, .prefix = "error parsing 'job':", .flat = true},
    {0},
};

static const struct hcl_block root_block = {.children = root_children, .raw = true};

static int root_decode(struct hcl_ctx *c, const struct hcl_node *root, struct hcl_value **ret)
{
    struct hcl_frame f = {.label = "", .out = hcl_value_new(c, HCL_V_MAP)};
    struct hcl_value *jobs;
    int r = hcl_block_decode(c, &root_block, root, &f);

    if (r < 0)
        return r;
    jobs = hcl_value_get(f.out, "Job");
    if (!jobs)
        return hcl_ctx_fail(c, 0, 0, "'job' stanza not found");
    assert(jobs->list.n == 1);
    *ret = jobs->list.v[0];
    return 0;
}

int hcl_job_to_json(const char *src, size_t len, enum hcl_version version, struct strbuf *out,
                    struct hcl_error *err)
{
    struct hcl_node *root = NULL;
    struct hcl_value *job = NULL;
    struct hcl_ctx c = {.hcl2 = version == HCL_2};
    int r = hcl_parse(src, len, &root, err);

    if (r < 0) {
        char text[HCL_ERROR_MAX];

        memcpy(text, err->text, sizeof(text));
        return hcl_fail(err, r, err->line, err->column, "error parsing: %s", text);
    }
    r = root_decode(&c, root, &job);
    if (r < 0) {
        (void)hcl_fail(err, r, c.line, c.column, "%s", hcl_ctx_text(&c));
    } else {
        hcl_value_json(out, job);
        if (strbuf_failed(out))
            r = hcl_fail(err, -E2BIG, 0, 0, "the job's JSON is too large");
    }
    hcl_arena_fini(&c.arena);
    (void)hcl_free(root);
    return r;
}
