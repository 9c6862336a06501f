/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The task block and what is only found in it.
 */
#include "hcl/hcl_job.h"

#include <string.h>
#include <strings.h>

#define DEFAULT_SPLAY_NS INT64_C(5000000000)

static const struct hcl_field csi_plugin_fields[] = {
    HCL_T("id", "ID", STRING),
    HCL_T("type", "Type", STRING),
    HCL_T("mount_dir", "MountDir", STRING),
    HCL_END,
};

/* Nomad's HCL1 parser drops keys that it does not know here; its HCL2 parser does not. */
static const struct hcl_block csi_plugin_block = {
    .fields = csi_plugin_fields,
    .key_prefix = "csi_plugin ->",
};

static const struct hcl_field volume_mount_fields[] = {
    HCL_U("volume", "Volume", STRING),
    HCL_U("destination", "Destination", STRING),
    HCL_T("read_only", "ReadOnly", BOOL),
    HCL_T("propagation_mode", "PropagationMode", STRING),
    HCL_END,
};

static const struct hcl_block volume_mount_block = {.fields = volume_mount_fields};

static const struct hcl_field logs_fields[] = {
    HCL_T("max_files", "MaxFiles", INT),
    HCL_T("max_file_size", "MaxFileSizeMB", INT),
    HCL_END,
};

const struct hcl_block hcl_logs_block = {.fields = logs_fields, .key_prefix = "logs ->"};

static const struct hcl_field dispatch_payload_fields[] = {HCL_U("file", "File", STRING), HCL_END};

static const struct hcl_block dispatch_payload_block = {
    .fields = dispatch_payload_fields,
    .key_prefix = "dispatch_payload ->",
};

static const struct hcl_field lifecycle_fields[] = {
    HCL_T("hook", "Hook", STRING),
    HCL_T("sidecar", "Sidecar", BOOL),
    HCL_END,
};

static const struct hcl_block lifecycle_block = {
    .fields = lifecycle_fields,
    .key_prefix = "lifecycle ->",
};

static const struct hcl_field artifact_fields[] = {
    HCL_T("source", "GetterSource", STRING),
    HCL_T("mode", "GetterMode", STRING),
    HCL_T("destination", "RelativeDest", STRING),
    HCL_END,
};

static const struct hcl_child artifact_children[] = {
    {"options", "GetterOptions", hcl_child_one_strings,
     .prefix = "options: ", .too_many = "only one 'options' block allowed per artifact"},
    {"headers", "GetterHeaders", hcl_child_one_strings,
     .prefix = "headers: ", .too_many = "only one 'headers' block allowed per artifact"},
    {0},
};

static const struct hcl_block artifact_block = {
    .fields = artifact_fields,
    .children = artifact_children,
};

static int template_prepare(struct hcl_ctx *c, struct hcl_frame *f)
{
    hcl_value_set(c, f->out, "ChangeMode", hcl_value_string(c, "restart"));
    hcl_value_set(c, f->out, "Splay", hcl_value_int(c, DEFAULT_SPLAY_NS));
    hcl_value_set(c, f->out, "Perms", hcl_value_string(c, "0644"));
    return 0;
}

static const struct hcl_field template_fields[] = {
    HCL_T("source", "SourcePath", STRING),
    HCL_T("destination", "DestPath", STRING),
    HCL_T("data", "EmbeddedTmpl", STRING),
    HCL_T("change_mode", "ChangeMode", STRING),
    HCL_T("change_signal", "ChangeSignal", STRING),
    HCL_T("splay", "Splay", DURATION),
    HCL_T("perms", "Perms", STRING),
    HCL_T("left_delimiter", "LeftDelim", STRING),
    HCL_T("right_delimiter", "RightDelim", STRING),
    HCL_T("env", "Envvars", BOOL),
    HCL_T("vault_grace", "VaultGrace", DURATION),
    HCL_END,
};

static const struct hcl_block template_block = {
    .fields = template_fields,
    .prepare = template_prepare,
};

static int scaling_fail(struct hcl_ctx *c, const struct hcl_item *it, const char *prefix,
                        const char *text)
{
    return hcl_ctx_fail(c, it->line, it->column, "%s %s", prefix, text);
}

/* `scaling "cpu" { }`: what is scaled decides the policy's type. */
static int scaling_one(struct hcl_ctx *c, const struct hcl_child *ch, const struct hcl_item *it,
                       const char *prefix, struct hcl_value *list)
{
    const char *name = it->keys[0].text, *want;
    struct hcl_frame f = {.label = "", .out = hcl_value_new(c, HCL_V_MAP)};
    struct hcl_value *type;
    int r;

    if (strcasecmp(name, "cpu") == 0)
        want = "vertical_cpu";
    else if (strcasecmp(name, "mem") == 0)
        want = "vertical_mem";
    else
        return scaling_fail(c, it, prefix, "scaling policy name must be \"cpu\" or \"mem\"");
    r = hcl_block_decode(c, ch->block, it->val, &f);
    if (r < 0)
        return hcl_ctx_prefix(c, prefix);
    type = hcl_value_get(f.out, "Type");
    if (!type || type->str.len == 0)
        hcl_value_set(c, f.out, "Type", hcl_value_string(c, want));
    else if (strcmp(type->str.s, want) != 0)
        return scaling_fail(c, it, prefix,
                            hcl_printf(&c->arena, "policy had invalid 'type': %s",
                                       hcl_quote(c, type->str.s, type->str.len)));
    hcl_value_append(c, list, f.out);
    return 0;
}

static int child_task_scaling(struct hcl_ctx *c, const struct hcl_child *ch,
                              struct hcl_items *items, struct hcl_frame *parent)
{
    struct hcl_value *list = hcl_member_list(c, parent->out, ch->json);
    const char *prefix = "scaling ->";

    for (size_t i = 0; i < items->n; i++) {
        const struct hcl_item *it = &items->v[i];
        int r;

        if (it->n_keys == 0)
            return scaling_fail(c, it, prefix, "task scaling policy missing name");
        if (it->n_keys > 1)
            return scaling_fail(c, it, prefix, "task scaling policy should only have one name");
        prefix = hcl_printf(&c->arena, "scaling[%s] ->", it->keys[0].text);
        for (size_t k = 0; k < i; k++)
            if (strcmp(items->v[k].keys[0].text, it->keys[0].text) == 0)
                return scaling_fail(c, it, prefix,
                                    "scaling policy cannot be defined more than once");
        r = scaling_one(c, ch, it, prefix, list);
        if (r < 0)
            return r;
    }
    return 0;
}

static const struct hcl_field task_fields[] = {
    HCL_U("driver", "Driver", STRING),
    HCL_U("user", "User", STRING),
    HCL_T("kill_timeout", "KillTimeout", DURATION),
    HCL_U("leader", "Leader", BOOL),
    HCL_T("shutdown_delay", "ShutdownDelay", DURATION),
    HCL_T("kill_signal", "KillSignal", STRING),
    HCL_U("kind", "Kind", STRING),
    HCL_END,
};

static const struct hcl_child task_children[] = {
    {"env", "Env", hcl_child_strings},
    {"service", "Services", hcl_child_many_any, &hcl_service_block, .item_prefix = "service (%d):"},
    {"csi_plugin", "CSIPluginConfig", hcl_child_one_any, &csi_plugin_block,
     .too_many = "csi_plugin -> Expected single stanza, got %d"},
    {"config", "Config", hcl_child_any},
    {"constraint", "Constraints", hcl_child_many, &hcl_constraint_block, .prefix = "constraint ->"},
    {"affinity", "Affinities", hcl_child_many, &hcl_affinity_block, .prefix = "affinity ->"},
    {"meta", "Meta", hcl_child_strings},
    {"volume_mount", "VolumeMounts", hcl_child_many_any, &volume_mount_block,
     .prefix = "volume_mount ->"},
    {"resources", "Resources", hcl_child_one, &hcl_resources_block, .prefix = "resources ->",
     .too_many = "only one 'resource' block allowed per task"},
    {"restart", "RestartPolicy", hcl_child_one, &hcl_restart_block, .prefix = "restart ->",
     .too_many = "only one 'restart' block allowed"},
    {"logs", "LogConfig", hcl_child_one_any, &hcl_logs_block,
     .too_many = "only one logs block is allowed in a Task. Number of logs block found: %d"},
    {"artifact", "Artifacts", hcl_child_many, &artifact_block, .prefix = "artifact ->"},
    {"template", "Templates", hcl_child_many, &template_block, .prefix = "template ->"},
    {"scaling", "ScalingPolicies", child_task_scaling, &hcl_scaling_block},
    {"vault", "Vault", hcl_child_one, &hcl_vault_block, .prefix = "vault ->",
     .too_many = "only one 'vault' block allowed per task"},
    {"dispatch_payload", "DispatchPayload", hcl_child_one_any, &dispatch_payload_block,
     .too_many = "only one dispatch_payload block is allowed in a task. Number of "
                 "dispatch_payload blocks found: %d"},
    {"lifecycle", "Lifecycle", hcl_child_one_any, &lifecycle_block,
     .too_many = "only one lifecycle block is allowed in a task. Number of lifecycle blocks "
                 "found: %d"},
    {0},
};

const struct hcl_block hcl_task_block = {
    .name = "task",
    .fields = task_fields,
    .children = task_children,
    .not_object = "should be an object",
};
