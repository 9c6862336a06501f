/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Resources, devices, networks and their ports.
 */
#include "hcl/hcl_job.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static const struct hcl_field port_fields[] = {
    HCL_T("static", "Value", INT),
    HCL_T("to", "To", INT),
    HCL_T("host_network", "HostNetwork", STRING),
    HCL_END,
};

static const struct hcl_block port_block = {.fields = port_fields};

static bool port_label_valid(const char *s)
{
    static const char ok[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

    return *s && s[strspn(s, ok)] == 0;
}

/* A port with a number is reserved; one without is chosen when the group is placed. */
static int port_one(struct hcl_ctx *c, const struct hcl_child *ch, const struct hcl_items *items,
                    size_t i, struct hcl_value *network)
{
    const struct hcl_item *it = &items->v[i];
    struct hcl_frame f = {.label = "", .out = hcl_value_new(c, HCL_V_MAP)};
    struct hcl_value *number;
    const char *label;
    int r;

    if (it->n_keys == 0)
        return hcl_ctx_fail(c, it->line, it->column, "ports must be named");
    label = it->keys[0].text;
    r = hcl_block_decode(c, ch->block, it->val, &f);
    if (r < 0)
        return r;
    if (!port_label_valid(label))
        return hcl_ctx_fail(c, it->line, it->column,
                            "Port label does not conform to naming requirements "
                            "^[a-zA-Z0-9_]+$");
    for (size_t k = 0; k < i; k++)
        if (strcasecmp(items->v[k].keys[0].text, label) == 0)
            return hcl_ctx_fail(c, it->line, it->column, "found a port label collision: %s", label);
    hcl_value_set(c, f.out, "Label", hcl_value_string(c, label));
    number = hcl_value_get(f.out, "Value");
    hcl_value_append(
        c, hcl_member_list(c, network, number && number->i > 0 ? "ReservedPorts" : "DynamicPorts"),
        f.out);
    return 0;
}

static int child_ports(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                       struct hcl_frame *parent)
{
    for (size_t i = 0; i < items->n; i++) {
        int r = port_one(c, ch, items, i, parent->out);

        if (r < 0)
            return r;
    }
    return 0;
}

static const struct hcl_field dns_fields[] = {
    HCL_T("servers", "Servers", STRINGS),
    HCL_T("searches", "Searches", STRINGS),
    HCL_T("options", "Options", STRINGS),
    HCL_END,
};

static const struct hcl_block dns_block = {.fields = dns_fields, .key_prefix = "dns ->"};

static const struct hcl_field network_fields[] = {
    HCL_U("mode", "Mode", STRING),
    HCL_U("mbits", "MBits", INT),
    HCL_END,
};

static const struct hcl_child network_children[] = {
    {"port", NULL, child_ports, &port_block, .prefix = "network, ports ->"},
    {"dns", "DNS", hcl_child_one_any, &dns_block, .prefix = "network ->",
     .too_many = "cannot have more than 1 dns stanza"},
    {0},
};

const struct hcl_block hcl_network_block = {
    .fields = network_fields,
    .children = network_children,
    .key_prefix = "network ->",
};

int hcl_child_network(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                      struct hcl_frame *parent)
{
    struct hcl_frame f = {.label = "", .out = hcl_value_new(c, HCL_V_MAP)};
    int r = hcl_child_one(c, ch, items, &f);

    if (r == 0)
        hcl_value_append(c, hcl_member_list(c, parent->out, ch->json),
                         hcl_value_get(f.out, ch->json));
    return r;
}

static const struct hcl_field device_fields[] = {
    HCL_U("name", "Name", STRING),
    HCL_U("count", "Count", UINT64),
    HCL_END,
};

static const struct hcl_child device_children[] = {
    {"constraint", "Constraints", hcl_child_many, &hcl_constraint_block, .prefix = "constraint ->"},
    {"affinity", "Affinities", hcl_child_many, &hcl_affinity_block, .prefix = "affinity ->"},
    {0},
};

static const struct hcl_block device_block = {
    .fields = device_fields,
    .children = device_children,
    .not_object = "device should be an object",
    .key_prefix = "%s",
};

static int child_devices(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                         struct hcl_frame *parent)
{
    for (size_t i = 0; i < items->n; i++) {
        const struct hcl_item *it = &items->v[i];
        struct hcl_frame f = {.out = hcl_value_new(c, HCL_V_MAP)};
        int r;

        f.label = hcl_printf(&c->arena, "resources, device[%zu]->", i);
        if (it->n_keys != 1)
            return hcl_ctx_fail(c, it->line, it->column, "%s %s", f.label,
                                it->n_keys ? "only one name may be specified"
                                           : "missing device name");
        hcl_value_set(c, f.out, "Name", hcl_value_string(c, it->keys[0].text));
        r = hcl_block_decode(c, ch->block, it->val, &f);
        if (r < 0)
            return r;
        hcl_value_append(c, hcl_member_list(c, parent->out, ch->json), f.out);
    }
    return 0;
}

static const struct hcl_field resources_fields[] = {
    HCL_U("cpu", "CPU", INT),
    HCL_U("cores", "Cores", INT),
    HCL_T("memory", "MemoryMB", INT),
    HCL_T("memory_max", "MemoryMaxMB", INT),
    HCL_T("disk", "DiskMB", INT),
    HCL_U("iops", "IOPS", INT),
    HCL_END,
};

static const struct hcl_child resources_children[] = {
    {"network", "Networks", hcl_child_network, &hcl_network_block, .prefix = "resource,",
     .too_many = "only one 'network' resource allowed", .flat = true},
    {"device", "Devices", child_devices, &device_block},
    {0},
};

const struct hcl_block hcl_resources_block = {
    .fields = resources_fields,
    .children = resources_children,
    .not_object = "resource: should be an object",
    .key_prefix = "resources ->",
};
