/* SPDX-License-Identifier: MPL-2.0 */
/* What is compared, in the order in which Nomad shows it. */
#include "job_diff_rules.h"

#include "job.json.h"

#define RULE(type_name, ...)                                                                       \
    {                                                                                              \
        .type = &steppe_##type_name##_json, __VA_ARGS__                                            \
    }

/* ---- Services and Connect ---- */

static const struct diff_rule check_restart = RULE(CheckRestart);

static const struct diff_child check_children[] = {
    {"Header", "Header", diff_headers},
    {"CheckRestart", "CheckRestart", diff_one, &check_restart},
    {0},
};
static const struct diff_rule check =
    RULE(ServiceCheck, .children = check_children, .key = {"Name"});

static const struct diff_rule upstream = RULE(ConsulUpstream, .key = {"DestinationName"});

static const struct diff_child proxy_children[] = {
    {"Upstreams", "ConsulUpstreams", diff_list_keyed, &upstream},
    {"Config", "Config", diff_raw},
    {0},
};
static const struct diff_rule proxy = RULE(ConsulProxy, .children = proxy_children);

static const struct diff_child sidecar_children[] = {
    {"Proxy", "ConsulProxy", diff_one, &proxy},
    {0},
};
static const struct diff_rule sidecar = RULE(ConsulSidecarService, .children = sidecar_children);

static const struct diff_rule linked = RULE(ConsulLinkedService, .key = {"Name"});

static const struct diff_child terminating_children[] = {
    {"Services", "Service", diff_list_keyed, &linked},
    {0},
};
static const struct diff_rule terminating =
    RULE(ConsulTerminatingConfigEntry, .children = terminating_children);

static const struct diff_child ingress_service_children[] = {
    {"Hosts", "Hosts", diff_strings},
    {0},
};
static const struct diff_rule ingress_service =
    RULE(ConsulIngressService, .children = ingress_service_children, .key = {"Name"});

static const struct diff_child listener_children[] = {
    {"Services", "ConsulIngressService", diff_list_keyed, &ingress_service},
    {0},
};
static const struct diff_rule listener =
    RULE(ConsulIngressListener, .children = listener_children, .key = {"Protocol", "Port"});

static const struct diff_rule tls = RULE(ConsulGatewayTLSConfig);

static const struct diff_child ingress_children[] = {
    {"TLS", "TLS", diff_one, &tls},
    {"Listeners", "Listener", diff_list_keyed, &listener},
    {0},
};
static const struct diff_rule ingress =
    RULE(ConsulIngressConfigEntry, .children = ingress_children);

static const struct diff_child gateway_proxy_children[] = {
    {"EnvoyGatewayBindAddresses", "EnvoyGatewayBindAddresses", diff_bindings},
    {"Config", "Config", diff_raw},
    {0},
};
static const struct diff_rule gateway_proxy = RULE(
    ConsulGatewayProxy, .children = gateway_proxy_children, .nullable = DIFF_NULLABLE_DURATION);

static const struct diff_child gateway_children[] = {
    {"Proxy", "Proxy", diff_one, &gateway_proxy},
    {"Ingress", "Ingress", diff_one, &ingress},
    {"Terminating", "Terminating", diff_one, &terminating},
    {0},
};
static const struct diff_rule gateway = RULE(ConsulGateway, .children = gateway_children);

/* ---- Resources ---- */

static const char *const dynamic_skip[] = {"Value", NULL};
static const struct diff_rule static_port = RULE(Port, .key = {"Label"});
static const struct diff_rule dynamic_port = RULE(Port, .key = {"Label"}, .skip = dynamic_skip);
static const struct diff_rule dns = RULE(DNSConfig);

static const struct diff_child network_children[] = {
    {"ReservedPorts", "Static Port", diff_list_keyed_flat, &static_port},
    {"DynamicPorts", "Dynamic Port", diff_list_keyed_flat, &dynamic_port},
    {"DNS", "DNS", diff_joined, &dns},
    {0},
};
static const char *const network_skip[] = {"Device", "CIDR", "IP", NULL};
static const struct diff_rule network =
    RULE(NetworkResource, .skip = network_skip, .children = network_children);

static const struct diff_rule device = RULE(RequestedDevice, .key = {"Name"});

static const struct diff_child resources_children[] = {
    {"Networks", "Network", diff_list_set, &network},
    {"Devices", "Device", diff_list_keyed, &device},
    {0},
};
static const struct diff_rule resources = RULE(Resources, .children = resources_children);

static const struct diff_rule log_config = RULE(LogConfig);

static const struct diff_child sidecar_task_children[] = {
    {"Config", "Config", diff_raw},
    {"Resources", "Resources", diff_one, &resources},
    {"LogConfig", "LogConfig", diff_flat, &log_config},
    {0},
};
static const struct diff_rule sidecar_task =
    RULE(SidecarTask, .children = sidecar_task_children, .brief = true);

static const struct diff_child connect_children[] = {
    {"SidecarService", "SidecarService", diff_one, &sidecar},
    {"SidecarTask", "SidecarTask", diff_one, &sidecar_task},
    {"Gateway", "Gateway", diff_one, &gateway},
    {0},
};
static const struct diff_rule connect = RULE(ConsulConnect, .children = connect_children);

static const struct diff_child service_children[] = {
    {"CanaryTags", "CanaryTags", diff_strings},
    {"Tags", "Tags", diff_strings},
    {"Checks", "Check", diff_list_keyed, &check},
    {"Connect", "ConsulConnect", diff_one, &connect},
    {0},
};
static const struct diff_rule service =
    RULE(Service, .children = service_children, .key = {"Name"});

/* ---- Tasks ---- */

static const struct diff_rule constraint = RULE(Constraint);
static const struct diff_rule affinity = RULE(Affinity);
static const struct diff_rule payload = RULE(DispatchPayloadConfig);
static const struct diff_rule artifact = RULE(TaskArtifact);
static const struct diff_rule template_ = RULE(Template);

static const struct diff_child vault_children[] = {
    {"Policies", "Policies", diff_strings},
    {0},
};
static const struct diff_rule vault = RULE(Vault, .children = vault_children);

static const struct diff_child task_children[] = {
    {"Constraints", "Constraint", diff_list_set_flat, &constraint},
    {"Affinities", "Affinity", diff_list_set_flat, &affinity},
    {"Config", "Config", diff_raw},
    {"Resources", "Resources", diff_one, &resources},
    {"LogConfig", "LogConfig", diff_flat, &log_config},
    {"DispatchPayload", "DispatchPayload", diff_flat, &payload},
    {"Artifacts", "Artifact", diff_list_set_flat, &artifact},
    {"Services", "Service", diff_list_keyed, &service},
    {"Vault", "Vault", diff_one, &vault},
    {"Templates", "Template", diff_list_set_flat, &template_},
    {0},
};
static const char *const task_skip[] = {"Name", "Config", NULL};
const struct diff_rule diff_task_rule =
    RULE(Task, .skip = task_skip, .children = task_children, .key = {"Name"}, .brief = true);

/* ---- Groups ---- */

static const struct diff_rule restart = RULE(RestartPolicy);
static const struct diff_rule reschedule = RULE(ReschedulePolicy);
static const struct diff_rule disk = RULE(EphemeralDisk);
static const struct diff_rule consul = RULE(Consul);
static const char *const update_skip[] = {"Stagger", NULL};
static const struct diff_rule update = RULE(UpdateStrategy, .skip = update_skip);

static const struct diff_child mount_options_children[] = {
    {"MountFlags", "MountFlags", diff_strings},
    {0},
};
static const struct diff_rule mount_options =
    RULE(CSIMountOptions, .children = mount_options_children);

static const struct diff_child volume_children[] = {
    {"MountOptions", "MountOptions", diff_one, &mount_options},
    {0},
};
static const struct diff_rule volume = RULE(VolumeRequest, .children = volume_children);

static const struct diff_child group_children[] = {
    {"Constraints", "Constraint", diff_list_set_flat, &constraint},
    {"Affinities", "Affinity", diff_list_set_flat, &affinity},
    {"RestartPolicy", "RestartPolicy", diff_flat, &restart},
    {"ReschedulePolicy", "ReschedulePolicy", diff_flat, &reschedule},
    {"EphemeralDisk", "EphemeralDisk", diff_flat, &disk},
    {"Consul", "Consul", diff_flat, &consul},
    {"Update", "Update", diff_flat, &update},
    {"Networks", "Network", diff_list_set, &network},
    {"Services", "Service", diff_list_keyed, &service},
    {"Volumes", "Volume", diff_list_keyed, &volume},
    {0},
};
static const char *const group_skip[] = {"Name", NULL};
const struct diff_rule diff_group_rule =
    RULE(TaskGroup, .skip = group_skip, .children = group_children, .key = {"Name"},
         .nullable = DIFF_NULLABLE_NUMBER, .brief = true);

/* ---- Jobs ---- */

static const struct diff_rule periodic = RULE(PeriodicConfig);

static const struct diff_child parameterized_children[] = {
    {"MetaOptional", "MetaOptional", diff_strings},
    {"MetaRequired", "MetaRequired", diff_strings},
    {0},
};
static const struct diff_rule parameterized =
    RULE(ParameterizedJobConfig, .children = parameterized_children);

static const struct diff_child job_children[] = {
    {"Datacenters", "Datacenters", diff_strings, .changed_only = true},
    {"Constraints", "Constraint", diff_list_set_flat, &constraint},
    {"Affinities", "Affinity", diff_list_set_flat, &affinity},
    {"Periodic", "Periodic", diff_flat, &periodic},
    {"ParameterizedJob", "ParameterizedJob", diff_one, &parameterized},
    {0},
};
static const char *const job_skip[] = {
    "ID",          "Status",         "StatusDescription", "Version",      "Stable", "CreateIndex",
    "ModifyIndex", "JobModifyIndex", "SubmitTime",        "NomadTokenID", NULL,
};
const struct diff_rule diff_job_rule =
    RULE(Job, .skip = job_skip, .children = job_children, .brief = true);
