/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Services, their checks, and Consul Connect.
 */
#include "hcl/hcl_job.h"

#include <errno.h>
#include <string.h>

static const struct hcl_field check_restart_fields[] = {
    HCL_T("limit", "Limit", INT),
    HCL_T("grace", "Grace", DURATION),
    HCL_T("ignore_warnings", "IgnoreWarnings", BOOL),
    HCL_END,
};

static const struct hcl_block check_restart_block = {
    .fields = check_restart_fields,
    .key_prefix = "check_restart ->",
};

/* A header's values must be lists of strings: here nothing is converted. */
static int header_values(struct hcl_ctx *c, const struct hcl_member *m, struct hcl_value *header)
{
    const char *key = hcl_quote(c, m->key, strlen(m->key));
    struct hcl_value *list;

    if (m->val->kind != HCL_V_LIST)
        return hcl_ctx_fail(c, m->val->line, m->val->column,
                            "check -> header -> %s expected a []string but found %s", key,
                            hcl_kind_name(m->val->kind));
    list = hcl_member_list(c, header, m->key);
    for (size_t i = 0; i < m->val->list.n; i++) {
        struct hcl_value *v = m->val->list.v[i];

        if (v->kind != HCL_V_STRING)
            return hcl_ctx_fail(c, v->line, v->column,
                                "check -> header -> %s expected a string but found %s", key,
                                hcl_kind_name(v->kind));
        hcl_value_append(c, list, v);
    }
    return 0;
}

static int check_prepare(struct hcl_ctx *c, struct hcl_frame *f)
{
    struct hcl_value *v = hcl_value_get(f->map, "header"), *header;
    int r = 0;

    if (!v)
        return 0;
    if (v->kind != HCL_V_MAPS)
        return hcl_ctx_fail(c, v->line, v->column,
                            "check -> header -> expected a []map[string][]string but found %s",
                            hcl_kind_name(v->kind));
    header = hcl_member_map(c, f->out, "Header");
    for (size_t i = 0; i < v->list.n; i++)
        for (size_t k = 0; r == 0 && k < v->list.v[i]->map.n; k++)
            r = header_values(c, &v->list.v[i]->map.v[k], header);
    return r;
}

static const struct hcl_field check_fields[] = {
    HCL_T("id", "Id", STRING),
    HCL_U("name", "Name", STRING),
    HCL_U("type", "Type", STRING),
    HCL_U("command", "Command", STRING),
    HCL_U("args", "Args", STRINGS),
    HCL_U("path", "Path", STRING),
    HCL_U("protocol", "Protocol", STRING),
    HCL_T("port", "PortLabel", STRING),
    HCL_U("expose", "Expose", BOOL),
    HCL_T("address_mode", "AddressMode", STRING),
    HCL_U("interval", "Interval", DURATION),
    HCL_U("timeout", "Timeout", DURATION),
    HCL_T("initial_status", "InitialStatus", STRING),
    HCL_T("tls_skip_verify", "TLSSkipVerify", BOOL),
    HCL_U("header", NULL, CHECKED),
    HCL_U("method", "Method", STRING),
    HCL_T("grpc_service", "GRPCService", STRING),
    HCL_T("grpc_use_tls", "GRPCUseTLS", BOOL),
    HCL_T("task", "TaskName", STRING),
    HCL_T("success_before_passing", "SuccessBeforePassing", INT),
    HCL_T("failures_before_critical", "FailuresBeforeCritical", INT),
    HCL_U("body", "Body", STRING),
    HCL_T("on_update", "OnUpdate", STRING),
    HCL_END,
};

static const struct hcl_child check_children[] = {
    {"check_restart", "CheckRestart", hcl_child_one_any, &check_restart_block,
     .item_prefix = "check: '%s',",
     .too_many = "check_restart '%s': cannot have more than 1 check_restart"},
    {0},
};

static const struct hcl_block check_block = {
    .fields = check_fields,
    .children = check_children,
    .key_prefix = "check ->",
    .named = true,
    .prepare = check_prepare,
};

static const struct hcl_field upstream_fields[] = {
    HCL_T("destination_name", "DestinationName", STRING),
    HCL_T("local_bind_port", "LocalBindPort", INT),
    HCL_T("datacenter", "Datacenter", STRING),
    HCL_T("local_bind_address", "LocalBindAddress", STRING),
    HCL_END,
};

static const struct hcl_block upstream_block = {
    .fields = upstream_fields,
    .key_prefix = "upstream ->",
};

static const struct hcl_field expose_path_fields[] = {
    HCL_U("path", "Path", STRING),
    HCL_U("protocol", "Protocol", STRING),
    HCL_T("local_path_port", "LocalPathPort", INT),
    HCL_T("listener_port", "ListenerPort", STRING),
    HCL_END,
};

static const struct hcl_block expose_path_block = {
    .fields = expose_path_fields,
    .key_prefix = "path ->",
    .strict = true,
};

static const struct hcl_child expose_children[] = {
    {"path", "Path", hcl_child_many_any, &expose_path_block},
    {0},
};

static const struct hcl_block expose_block = {
    .children = expose_children,
    .key_prefix = "expose ->",
};

/* Free-form, but blocks within blocks become maps and not lists of maps. */
static int child_flat_config(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                             struct hcl_frame *parent)
{
    int r = hcl_child_any(c, ch, items, parent);

    if (r == 0)
        hcl_value_set(c, parent->out, ch->json,
                      hcl_value_flatten(c, hcl_value_get(parent->out, ch->json)));
    return r;
}

static const struct hcl_field proxy_fields[] = {
    HCL_T("local_service_address", "LocalServiceAddress", STRING),
    HCL_T("local_service_port", "LocalServicePort", INT),
    HCL_END,
};

static const struct hcl_child proxy_children[] = {
    {"upstreams", "Upstreams", hcl_child_many_any, &upstream_block},
    {"expose", "ExposeConfig", hcl_child_one_any, &expose_block,
     .too_many = "only 1 expose object supported"},
    {"config", "Config", child_flat_config, .too_many = "only 1 meta object supported"},
    {0},
};

static const struct hcl_block proxy_block = {
    .fields = proxy_fields,
    .children = proxy_children,
    .key_prefix = "proxy ->",
    .type_prefix = "proxy:",
    .strict = true,
};

static const struct hcl_field sidecar_service_fields[] = {
    HCL_U("tags", "Tags", STRINGS),
    HCL_U("port", "Port", STRING),
    HCL_T("disable_default_tcp_check", "DisableDefaultTCPCheck", BOOL),
    HCL_END,
};

static const struct hcl_child sidecar_service_children[] = {
    {"proxy", "Proxy", hcl_child_one_any, &proxy_block, .item_prefix = "proxy,",
     .too_many = "only one 'proxy' block allowed per task", .flat = true},
    {0},
};

static const struct hcl_block sidecar_service_block = {
    .fields = sidecar_service_fields,
    .children = sidecar_service_children,
    .key_prefix = "sidecar_service ->",
    .type_prefix = "sidecar_service:",
};

static const struct hcl_field sidecar_task_fields[] = {
    HCL_U("name", "Name", STRING),
    HCL_U("driver", "Driver", STRING),
    HCL_U("user", "User", STRING),
    HCL_T("kill_timeout", "KillTimeout", DURATION),
    HCL_T("shutdown_delay", "ShutdownDelay", DURATION),
    HCL_T("kill_signal", "KillSignal", STRING),
    HCL_END,
};

static const struct hcl_child sidecar_task_children[] = {
    {"env", "Env", hcl_child_strings},
    {"config", "Config", hcl_child_any},
    {"meta", "Meta", hcl_child_strings},
    {"resources", "Resources", hcl_child_one, &hcl_resources_block, .prefix = "resources ->",
     .too_many = "only one 'resource' block allowed per task"},
    {"logs", "LogConfig", hcl_child_one_any, &hcl_logs_block,
     .too_many = "only one logs block is allowed in a Task. Number of logs block found: %d"},
    {0},
};

static const struct hcl_block sidecar_task_block = {
    .fields = sidecar_task_fields,
    .children = sidecar_task_children,
    .not_object = "should be an object",
};

static const struct hcl_field bind_address_fields[] = {
    HCL_T("address", "Address", STRING),
    HCL_T("port", "Port", INT),
    HCL_END,
};

static const struct hcl_block bind_address_block = {
    .name = "envoy_gateway_bind_addresses",
    .fields = bind_address_fields,
    .not_object = "listener: should be an object",
};

/* A map by the label; each has its name inside as well. */
static int child_bind_addresses(struct hcl_ctx *c, const struct hcl_child *ch,
                                struct hcl_items *items, struct hcl_frame *parent)
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

static const struct hcl_field gateway_proxy_fields[] = {
    HCL_T("connect_timeout", "ConnectTimeout", DURATION),
    HCL_T("envoy_gateway_bind_tagged_addresses", "EnvoyGatewayBindTaggedAddresses", BOOL),
    HCL_T("envoy_gateway_no_default_bind", "EnvoyGatewayNoDefaultBind", BOOL),
    HCL_T("envoy_dns_discovery_type", "EnvoyDNSDiscoveryType", STRING),
    HCL_END,
};

static const struct hcl_child gateway_proxy_children[] = {
    {"envoy_gateway_bind_addresses", "EnvoyGatewayBindAddresses", child_bind_addresses,
     &bind_address_block},
    {"config", "Config", child_flat_config, .too_many = "only 1 meta object supported"},
    {0},
};

static const struct hcl_block gateway_proxy_block = {
    .fields = gateway_proxy_fields,
    .children = gateway_proxy_children,
    .key_prefix = "proxy ->",
    .type_prefix = "proxy:",
};

static const struct hcl_field ingress_service_fields[] = {
    HCL_U("name", "Name", STRING),
    HCL_U("hosts", "Hosts", STRINGS),
    HCL_END,
};

static const struct hcl_block ingress_service_block = {
    .fields = ingress_service_fields,
    .key_prefix = "service ->",
    .strict = true,
};

static const struct hcl_field listener_fields[] = {
    HCL_U("port", "Port", INT),
    HCL_U("protocol", "Protocol", STRING),
    HCL_END,
};

static const struct hcl_child listener_children[] = {
    {"service", "Services", hcl_child_many_any, &ingress_service_block},
    {0},
};

static const struct hcl_block listener_block = {
    .fields = listener_fields,
    .children = listener_children,
    .key_prefix = "listener ->",
    .strict = true,
};

static const struct hcl_field gateway_tls_fields[] = {HCL_U("enabled", "Enabled", BOOL), HCL_END};

static const struct hcl_block gateway_tls_block = {
    .fields = gateway_tls_fields,
    .key_prefix = "tls ->",
    .strict = true,
};

static const struct hcl_child ingress_children[] = {
    {"tls", "TLS", hcl_child_one_any, &gateway_tls_block,
     .too_many = "only 1 tls object supported"},
    {"listener", "Listeners", hcl_child_many_any, &listener_block},
    {0},
};

static const struct hcl_block ingress_block = {
    .children = ingress_children,
    .key_prefix = "ingress ->",
};

static const struct hcl_field linked_service_fields[] = {
    HCL_U("name", "Name", STRING),
    HCL_T("ca_file", "CAFile", STRING),
    HCL_T("cert_file", "CertFile", STRING),
    HCL_T("key_file", "KeyFile", STRING),
    HCL_T("sni", "SNI", STRING),
    HCL_END,
};

static const struct hcl_block linked_service_block = {
    .fields = linked_service_fields,
    .key_prefix = "service ->",
};

static const struct hcl_child terminating_children[] = {
    {"service", "Services", hcl_child_many_any, &linked_service_block},
    {0},
};

static const struct hcl_block terminating_block = {
    .children = terminating_children,
    .key_prefix = "terminating ->",
};

static const struct hcl_child gateway_children[] = {
    {"proxy", "Proxy", hcl_child_one_any, &gateway_proxy_block, .item_prefix = "proxy,",
     .too_many = "must have one 'proxy' block", .flat = true},
    {"ingress", "Ingress", hcl_child_one_any, &ingress_block, .item_prefix = "ingress,",
     .too_many = "must have one 'ingress' block", .flat = true},
    {"terminating", "Terminating", hcl_child_one_any, &terminating_block,
     .item_prefix = "terminating,", .too_many = "must have one 'terminating' block", .flat = true},
    {0},
};

static int gateway_finish(struct hcl_ctx *c, struct hcl_frame *f)
{
    if (!hcl_value_get(f->out, "Ingress") && !hcl_value_get(f->out, "Terminating"))
        return hcl_ctx_fail(c, f->node->line, f->node->column, "must have one 'ingress' block");
    return 0;
}

static const struct hcl_block gateway_block = {
    .children = gateway_children,
    .key_prefix = "gateway ->",
    .finish = gateway_finish,
};

static const struct hcl_field connect_fields[] = {HCL_U("native", "Native", BOOL), HCL_END};

static const struct hcl_child connect_children[] = {
    {"gateway", "Gateway", hcl_child_one_any, &gateway_block, .item_prefix = "gateway,",
     .too_many = "only one 'gateway' block allowed per task", .flat = true},
    {"sidecar_service", "SidecarService", hcl_child_one_any, &sidecar_service_block,
     .item_prefix = "sidecar_service,",
     .too_many = "only one 'sidecar_service' block allowed per task", .flat = true},
    {"sidecar_task", "SidecarTask", hcl_child_one_any, &sidecar_task_block,
     .item_prefix = "sidecar_task,", .too_many = "only one 'sidecar_task' block allowed per task",
     .flat = true},
    {0},
};

static const struct hcl_block connect_block = {
    .fields = connect_fields,
    .children = connect_children,
    .key_prefix = "connect ->",
};

static const struct hcl_field service_fields[] = {
    HCL_T("id", "Id", STRING),
    HCL_U("name", "Name", STRING),
    HCL_U("tags", "Tags", STRINGS),
    HCL_T("canary_tags", "CanaryTags", STRINGS),
    HCL_T("enable_tag_override", "EnableTagOverride", BOOL),
    HCL_T("port", "PortLabel", STRING),
    HCL_T("address_mode", "AddressMode", STRING),
    HCL_T("task", "TaskName", STRING),
    HCL_T("on_update", "OnUpdate", STRING),
    HCL_END,
};

static const struct hcl_child service_children[] = {
    {"check", "Checks", hcl_child_many_any, &check_block, .prefix = "'%s',"},
    {"check_restart", "CheckRestart", hcl_child_one_any, &check_restart_block,
     .item_prefix = "'%s',",
     .too_many = "check_restart '%s': cannot have more than 1 check_restart"},
    {"connect", "Connect", hcl_child_one_any, &connect_block, .item_prefix = "'%s',",
     .too_many = "connect '%s': cannot have more than 1 connect stanza"},
    {"meta", "Meta", hcl_child_strings},
    {"canary_meta", "CanaryMeta", hcl_child_strings},
    {0},
};

const struct hcl_block hcl_service_block = {
    .fields = service_fields,
    .children = service_children,
    .named = true,
};
