/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The table of options. Names, types and defaults are Nomad's (0.10 to 1.1) unless marked "own".
 * A new option is one row here, one field in struct conf, one line in deploy/sample.hcl.
 */
#include "conf/conf_internal.h"

#include <string.h>

/* clang-format off */
#define AT(field) offsetof(struct conf, field)
#define RL CONF_F_RELOAD
#define ST CONF_F_STICKY
#define AL CONF_F_ALIAS
#define SEC CONF_F_SECRET
#define DER CONF_F_DERIVED
#define MS(sec) ((sec) * INT64_C(1000))
#define DAY MS(86400)
#define YEAR (366 * DAY)
#define BLOCK(path)                    {path, CONF_BLOCK, NULL, 0, 0, 0, CONF_NO_EFFECT}
#define ROW(path, type, def, fl, f)    {path, type, def, 0, 0, fl, AT(f)}
#define NUM(path, type, def, lo, hi, fl, f) {path, type, def, lo, hi, fl, AT(f)}
/* Accepted and type-checked, without effect yet. */
#define NOP(path, type)                {path, type, NULL, 0, INT32_MAX, 0, CONF_NO_EFFECT}
#define NOPDUR(path)                   {path, CONF_DUR, NULL, 0, 100 * YEAR, 0, CONF_NO_EFFECT}

const struct conf_row conf_rows[] = {
    ROW("region", CONF_NAME, "global", 0, region),
    ROW("datacenter", CONF_NAME, "dc1", 0, datacenter),
    ROW("name", CONF_NAME, NULL, 0, name),
    ROW("data_dir", CONF_PATH, NULL, 0, data_dir),
    ROW("run_dir", CONF_PATH, NULL, 0, run_dir), /* own */
    NOP("plugin_dir", CONF_PATH),
    ROW("bind_addr", CONF_IP, "0.0.0.0", DER, bind_addr),
    ROW("log_level", CONF_LEVEL, "INFO", RL, log_level),
    NOP("log_json", CONF_BOOL),
    NOP("log_file", CONF_STR),
    NOPDUR("log_rotate_duration"),
    NOP("log_rotate_bytes", CONF_INT),
    NOP("log_rotate_max_files", CONF_INT),
    NOP("enable_syslog", CONF_BOOL),
    NOP("syslog_facility", CONF_STR),
    ROW("enable_debug", CONF_BOOL, "false", ST, enable_debug),
    ROW("leave_on_interrupt", CONF_BOOL, "false", RL | ST, leave_on_interrupt),
    ROW("leave_on_terminate", CONF_BOOL, "false", RL | ST, leave_on_terminate),
    ROW("disable_update_check", CONF_BOOL, "false", RL, disable_update_check),
    NOP("disable_anonymous_signature", CONF_BOOL),
    ROW("http_api_response_headers", CONF_MAP, NULL, 0, http_api_response_headers),

    BLOCK("ports"),
    NUM("ports.http", CONF_INT, "4646", 1, 65535, 0, ports.http),
    NUM("ports.rpc", CONF_INT, "4647", 1, 65535, 0, ports.rpc),
    NUM("ports.serf", CONF_INT, "4648", 1, 65535, 0, ports.serf),

    BLOCK("addresses"),
    ROW("addresses.http", CONF_IP, NULL, DER, addresses.http),
    ROW("addresses.rpc", CONF_IP, NULL, DER, addresses.rpc),
    ROW("addresses.serf", CONF_IP, NULL, DER, addresses.serf),

    BLOCK("advertise"),
    ROW("advertise.http", CONF_ADVERTISE, NULL, DER, advertise.http),
    ROW("advertise.rpc", CONF_ADVERTISE, NULL, DER, advertise.rpc),
    ROW("advertise.serf", CONF_ADVERTISE, NULL, DER, advertise.serf),
    ROW("advertise.rpc_wan", CONF_ADVERTISE, NULL, DER, advertise_wan.rpc),   /* own */
    ROW("advertise.serf_wan", CONF_ADVERTISE, NULL, DER, advertise_wan.serf), /* own */

    BLOCK("server"),
    ROW("server.enabled", CONF_BOOL, "false", ST, server.enabled),
    NUM("server.bootstrap_expect", CONF_INT, "0", 0, 1000, 0, server.bootstrap_expect),
    ROW("server.data_dir", CONF_PATH, NULL, 0, server.data_dir),
    NOP("server.authoritative_region", CONF_NAME),
    NOP("server.protocol_version", CONF_INT),
    {"server.raft_protocol", CONF_INT, NULL, 2, 3, 0, CONF_NO_EFFECT},
    NUM("server.raft_multiplier", CONF_INT, "1", 1, 10, 0, server.raft_multiplier),
    NUM("server.raft_election_timeout", CONF_DUR, "150ms", 20, MS(60), 0, /* own */
        server.raft_election_timeout),
    NUM("server.raft_heartbeat_interval", CONF_DUR, "30ms", 5, MS(20), 0, /* own */
        server.raft_heartbeat_interval),
    NUM("server.raft_snapshot_threshold", CONF_U64, "8192", 16, INT64_C(1) << 40, 0,
        server.raft_snapshot_threshold),
    NUM("server.raft_trailing_logs", CONF_U64, "10240", 1, INT64_C(1) << 40, 0,
        server.raft_trailing_logs),
    NUM("server.num_schedulers", CONF_INT, "4", 0, 1024, 0, server.num_schedulers),
    ROW("server.enabled_schedulers", CONF_LIST, NULL, 0, server.enabled_schedulers),
    ROW("server.encrypt", CONF_KEY, NULL, SEC, server.encrypt),
    ROW("server.federation_id", CONF_ID, NULL, 0, server.federation_id),               /* own */
    ROW("server.federation_accept", CONF_LIST, NULL, 0, server.federation_accept),     /* own */
    ROW("server.join_allow", CONF_CIDRS, NULL, 0, server.join_allow),                  /* own */
    NUM("server.node_gc_threshold", CONF_DUR, "24h", 0, 100 * YEAR, 0, server.node_gc_threshold),
    NUM("server.job_gc_interval", CONF_DUR, "5m", 100, YEAR, 0, server.job_gc_interval),
    NUM("server.job_gc_threshold", CONF_DUR, "4h", 0, 100 * YEAR, 0, server.job_gc_threshold),
    NUM("server.eval_gc_threshold", CONF_DUR, "1h", 0, 100 * YEAR, 0, server.eval_gc_threshold),
    NUM("server.deployment_gc_threshold", CONF_DUR, "1h", 0, 100 * YEAR, 0, server.deployment_gc_threshold),
    NOPDUR("server.csi_volume_claim_gc_threshold"),
    NOPDUR("server.csi_plugin_gc_threshold"),
    NUM("server.heartbeat_grace", CONF_DUR, "10s", 0, DAY, 0, server.heartbeat_grace),
    NUM("server.min_heartbeat_ttl", CONF_DUR, "10s", 100, DAY, 0, server.min_heartbeat_ttl),
    NUM("server.max_heartbeats_per_second", CONF_FLOAT, "50", 0, 1000000, 0,
        server.max_heartbeats_per_second),
    NUM("server.failover_heartbeat_ttl", CONF_DUR, "5m", 100, DAY, 0,
        server.failover_heartbeat_ttl),
    ROW("server.start_join", CONF_SOURCES, NULL, AL, server.join.start_join),
    ROW("server.retry_join", CONF_SOURCES, NULL, AL, server.join.retry_join),
    NUM("server.retry_interval", CONF_DUR, NULL, 1, DAY, AL, server.join.retry_interval),
    NUM("server.retry_max", CONF_INT, NULL, 0, INT32_MAX, AL, server.join.retry_max),
    ROW("server.rejoin_after_leave", CONF_BOOL, "false", ST, server.rejoin_after_leave),
    ROW("server.non_voting_server", CONF_BOOL, "false", ST, server.non_voting_server),
    NOP("server.redundancy_zone", CONF_STR),
    NOP("server.upgrade_version", CONF_STR),
    NOP("server.enable_event_broker", CONF_BOOL),
    NOP("server.event_buffer_size", CONF_INT),
    NOP("server.license_path", CONF_STR),
    BLOCK("server.server_join"),
    ROW("server.server_join.start_join", CONF_SOURCES, NULL, 0, server.join.start_join),
    ROW("server.server_join.retry_join", CONF_SOURCES, NULL, 0, server.join.retry_join),
    NUM("server.server_join.retry_interval", CONF_DUR, "30s", 1, DAY, 0,
        server.join.retry_interval),
    NUM("server.server_join.retry_max", CONF_INT, "0", 0, INT32_MAX, 0, server.join.retry_max),
    BLOCK("server.default_scheduler_config"),
    ROW("server.default_scheduler_config.scheduler_algorithm", CONF_STR, "binpack", 0,
        server.sched.algorithm),
    ROW("server.default_scheduler_config.memory_oversubscription_enabled", CONF_BOOL, "false", 0,
        server.sched.memory_oversubscription),
    BLOCK("server.default_scheduler_config.preemption_config"),
    ROW("server.default_scheduler_config.preemption_config.system_scheduler_enabled", CONF_BOOL,
        "true", 0, server.sched.preempt_system),
    ROW("server.default_scheduler_config.preemption_config.batch_scheduler_enabled", CONF_BOOL,
        "false", 0, server.sched.preempt_batch),
    ROW("server.default_scheduler_config.preemption_config.service_scheduler_enabled", CONF_BOOL,
        "false", 0, server.sched.preempt_service),
    BLOCK("server.search"),
    NOP("server.search.fuzzy_enabled", CONF_BOOL),
    NOP("server.search.limit_query", CONF_INT),
    NOP("server.search.limit_results", CONF_INT),
    NOP("server.search.min_term_length", CONF_INT),

    BLOCK("client"),
    ROW("client.enabled", CONF_BOOL, "false", ST, client.enabled),
    ROW("client.state_dir", CONF_PATH, NULL, 0, client.state_dir),
    ROW("client.alloc_dir", CONF_PATH, NULL, 0, client.alloc_dir),
    ROW("client.servers", CONF_HOSTS, NULL, 0, client.servers),
    ROW("client.node_class", CONF_STR, NULL, 0, client.node_class),
    ROW("client.options", CONF_MAP, NULL, 0, client.options),
    ROW("client.meta", CONF_MAP, NULL, RL, client.meta),
    ROW("client.chroot_env", CONF_MAP, NULL, 0, client.chroot_env),
    ROW("client.network_interface", CONF_STR, NULL, 0, client.network_interface),
    NOP("client.network_speed", CONF_INT),
    NUM("client.cpu_total_compute", CONF_INT, "0", 0, INT32_MAX, 0, client.cpu_total_compute),
    NUM("client.memory_total_mb", CONF_INT, "0", 0, INT32_MAX, 0, client.memory_total_mb),
    NOP("client.reservable_cores", CONF_STR),
    NUM("client.max_kill_timeout", CONF_DUR, "30s", 1, DAY, 0, client.max_kill_timeout),
    {"client.client_min_port", CONF_INT, NULL, 0, 65535, 0, CONF_NO_EFFECT},
    {"client.client_max_port", CONF_INT, NULL, 0, 65535, 0, CONF_NO_EFFECT},
    NUM("client.gc_interval", CONF_DUR, "1m", 1000, DAY, 0, client.gc_interval),
    NOP("client.gc_parallel_destroys", CONF_INT),
    NUM("client.gc_disk_usage_threshold", CONF_FLOAT, "80", 0, 100, 0,
        client.gc_disk_usage_threshold),
    NUM("client.gc_inode_usage_threshold", CONF_FLOAT, "70", 0, 100, 0,
        client.gc_inode_usage_threshold),
    NUM("client.gc_max_allocs", CONF_INT, "50", 0, 1000000, 0, client.gc_max_allocs),
    NOP("client.no_host_uuid", CONF_BOOL),
    NOP("client.disable_remote_exec", CONF_BOOL),
    NOP("client.cni_path", CONF_STR),
    NOP("client.cni_config_dir", CONF_STR),
    NOP("client.bridge_network_name", CONF_STR),
    NOP("client.bridge_network_subnet", CONF_STR),
    NOP("client.bind_wildcard_default_host_network", CONF_BOOL),
    ROW("client.cgroup_parent", CONF_PATH, "/nomad", 0, client.cgroup_parent),
    BLOCK("client.reserved"),
    NUM("client.reserved.cpu", CONF_INT, "0", 0, INT32_MAX, 0, client.reserved.cpu),
    NUM("client.reserved.memory", CONF_INT, "0", 0, INT32_MAX, 0, client.reserved.memory),
    NUM("client.reserved.disk", CONF_INT, "0", 0, INT32_MAX, 0, client.reserved.disk),
    ROW("client.reserved.reserved_ports", CONF_STR, NULL, 0, client.reserved.reserved_ports),
    NOP("client.reserved.cores", CONF_STR),
    NOP("client.reserved.iops", CONF_INT),
    BLOCK("client.template"),
    NOP("client.template.function_denylist", CONF_LIST),
    NOP("client.template.function_blacklist", CONF_LIST),
    NOP("client.template.disable_file_sandbox", CONF_BOOL),
    BLOCK("client.server_join"),
    ROW("client.server_join.start_join", CONF_HOSTS, NULL, 0, client.server_join.start_join),
    ROW("client.server_join.retry_join", CONF_HOSTS, NULL, 0, client.server_join.retry_join),
    NUM("client.server_join.retry_interval", CONF_DUR, "30s", 1, DAY, 0,
        client.server_join.retry_interval),
    NUM("client.server_join.retry_max", CONF_INT, "0", 0, INT32_MAX, 0,
        client.server_join.retry_max),
    {"client.host_volume", CONF_TITLED, NULL, 0, 0, 0, CONF_NO_EFFECT},
    NOP("client.host_volume.path", CONF_STR),
    NOP("client.host_volume.read_only", CONF_BOOL),
    {"client.host_network", CONF_TITLED, NULL, 0, 0, 0, CONF_NO_EFFECT},
    NOP("client.host_network.cidr", CONF_STR),
    NOP("client.host_network.interface", CONF_STR),
    NOP("client.host_network.reserved_ports", CONF_STR),

    BLOCK("acl"),
    NOP("acl.enabled", CONF_BOOL),
    NOPDUR("acl.token_ttl"),
    NOPDUR("acl.policy_ttl"),
    NOP("acl.replication_token", CONF_STR),

    BLOCK("tls"),
    NOP("tls.http", CONF_BOOL),
    NOP("tls.rpc", CONF_BOOL),
    NOP("tls.verify_server_hostname", CONF_BOOL),
    NOP("tls.ca_file", CONF_STR),
    NOP("tls.cert_file", CONF_STR),
    NOP("tls.key_file", CONF_STR),
    NOP("tls.rpc_upgrade_mode", CONF_BOOL),
    NOP("tls.verify_https_client", CONF_BOOL),
    NOP("tls.tls_cipher_suites", CONF_STR),
    NOP("tls.tls_min_version", CONF_STR),
    NOP("tls.tls_prefer_server_cipher_suites", CONF_BOOL),

    BLOCK("telemetry"),
    NOPDUR("telemetry.collection_interval"),
    NOP("telemetry.disable_hostname", CONF_BOOL),
    NOP("telemetry.use_node_name", CONF_BOOL),
    NOP("telemetry.publish_allocation_metrics", CONF_BOOL),
    NOP("telemetry.publish_node_metrics", CONF_BOOL),
    NOP("telemetry.prometheus_metrics", CONF_BOOL),
    NOP("telemetry.filter_default", CONF_BOOL),
    NOP("telemetry.prefix_filter", CONF_LIST),
    NOP("telemetry.disable_dispatched_job_summary_metrics", CONF_BOOL),
    NOP("telemetry.disable_tagged_metrics", CONF_BOOL),
    NOP("telemetry.backwards_compatible_metrics", CONF_BOOL),
    NOP("telemetry.statsite_address", CONF_STR),
    NOP("telemetry.statsd_address", CONF_STR),
    NOP("telemetry.datadog_address", CONF_STR),
    NOP("telemetry.datadog_tags", CONF_LIST),
    NOP("telemetry.circonus_api_token", CONF_STR),
    NOP("telemetry.circonus_api_app", CONF_STR),
    NOP("telemetry.circonus_api_url", CONF_STR),
    NOP("telemetry.circonus_submission_interval", CONF_STR),
    NOP("telemetry.circonus_submission_url", CONF_STR),
    NOP("telemetry.circonus_check_id", CONF_STR),
    NOP("telemetry.circonus_check_force_metric_activation", CONF_STR),
    NOP("telemetry.circonus_check_instance_id", CONF_STR),
    NOP("telemetry.circonus_check_search_tag", CONF_STR),
    NOP("telemetry.circonus_check_tags", CONF_STR),
    NOP("telemetry.circonus_check_display_name", CONF_STR),
    NOP("telemetry.circonus_broker_id", CONF_STR),
    NOP("telemetry.circonus_broker_select_tag", CONF_STR),

    BLOCK("autopilot"),
    ROW("autopilot.cleanup_dead_servers", CONF_BOOL, "true", 0, autopilot.cleanup_dead_servers),
    NUM("autopilot.last_contact_threshold", CONF_DUR, "200ms", 1, DAY, 0,
        autopilot.last_contact_threshold),
    NUM("autopilot.max_trailing_logs", CONF_U64, "250", 0, INT64_C(1) << 40, 0,
        autopilot.max_trailing_logs),
    NUM("autopilot.min_quorum", CONF_INT, "0", 0, 1000, 0, autopilot.min_quorum),
    NUM("autopilot.server_stabilization_time", CONF_DUR, "10s", 0, DAY, 0,
        autopilot.server_stabilization_time),
    NOP("autopilot.enable_redundancy_zones", CONF_BOOL),
    NOP("autopilot.disable_upgrade_migration", CONF_BOOL),
    NOP("autopilot.enable_custom_upgrades", CONF_BOOL),

    BLOCK("limits"),
    NUM("limits.http_max_conns_per_client", CONF_INT, "100", 0, 1000000, 0,
        limits.http_max_conns_per_client),
    NUM("limits.http_body_max", CONF_I64, "16777216", 1024, INT64_C(16) << 20, 0, /* own */
        limits.http_body_max),
    NUM("limits.http_threads", CONF_INT, "192", 4, 4096, 0, limits.http_threads), /* own */
    NOPDUR("limits.https_handshake_timeout"),
    NOPDUR("limits.rpc_handshake_timeout"),
    NOP("limits.rpc_max_conns_per_client", CONF_INT),

    BLOCK("gossip"), /* own: 0 keeps the built-in timers */
    NUM("gossip.probe_interval", CONF_DUR, "0s", 0, MS(600), 0, gossip.probe_interval),
    NUM("gossip.probe_timeout", CONF_DUR, "0s", 0, MS(600), 0, gossip.probe_timeout),
    NUM("gossip.gossip_interval", CONF_DUR, "0s", 0, MS(600), 0, gossip.gossip_interval),
    NUM("gossip.push_pull_interval", CONF_DUR, "0s", 0, DAY, 0, gossip.push_pull_interval),
    NUM("gossip.suspicion_mult", CONF_INT, "0", 0, 100, 0, gossip.suspicion_mult),
    NUM("gossip.reconnect_interval", CONF_DUR, "0s", 0, DAY, 0, gossip.reconnect_interval),
    NUM("gossip.reconnect_timeout", CONF_DUR, "0s", 0, YEAR, 0, gossip.reconnect_timeout),
    NUM("gossip.tombstone_timeout", CONF_DUR, "0s", 0, YEAR, 0, gossip.tombstone_timeout),
    NUM("gossip.reap_interval", CONF_DUR, "0s", 0, DAY, 0, gossip.reap_interval),
    ROW("gossip.compression", CONF_BOOL, "true", 0, gossip.compression),

    BLOCK("consul"),
    NOP("consul.server_service_name", CONF_STR),
    NOP("consul.server_http_check_name", CONF_STR),
    NOP("consul.server_serf_check_name", CONF_STR),
    NOP("consul.server_rpc_check_name", CONF_STR),
    NOP("consul.client_service_name", CONF_STR),
    NOP("consul.client_http_check_name", CONF_STR),
    NOP("consul.tags", CONF_LIST),
    NOP("consul.auto_advertise", CONF_BOOL),
    NOP("consul.checks_use_advertise", CONF_BOOL),
    NOP("consul.address", CONF_STR),
    NOP("consul.grpc_address", CONF_STR),
    NOPDUR("consul.timeout"),
    NOP("consul.token", CONF_STR),
    NOP("consul.allow_unauthenticated", CONF_BOOL),
    NOP("consul.auth", CONF_STR),
    NOP("consul.ssl", CONF_BOOL),
    NOP("consul.share_ssl", CONF_BOOL),
    NOP("consul.verify_ssl", CONF_BOOL),
    NOP("consul.ca_file", CONF_STR),
    NOP("consul.cert_file", CONF_STR),
    NOP("consul.key_file", CONF_STR),
    NOP("consul.server_auto_join", CONF_BOOL),
    NOP("consul.client_auto_join", CONF_BOOL),
    NOP("consul.namespace", CONF_STR),

    BLOCK("vault"),
    NOP("vault.enabled", CONF_BOOL),
    NOP("vault.token", CONF_STR),
    NOP("vault.create_from_role", CONF_STR),
    NOP("vault.allow_unauthenticated", CONF_BOOL),
    NOP("vault.task_token_ttl", CONF_STR),
    NOP("vault.address", CONF_STR),
    NOP("vault.namespace", CONF_STR),
    NOP("vault.ca_file", CONF_STR),
    NOP("vault.ca_path", CONF_STR),
    NOP("vault.cert_file", CONF_STR),
    NOP("vault.key_file", CONF_STR),
    NOP("vault.tls_skip_verify", CONF_BOOL),
    NOP("vault.tls_server_name", CONF_STR),

    NOP("sentinel", CONF_OPAQUE),
    NOP("audit", CONF_OPAQUE),
    ROW("plugin", CONF_PLUGINS, NULL, 0, plugins),
};
/* clang-format on */

const size_t conf_rows_n = ARRAY_LEN(conf_rows);
_Static_assert(ARRAY_LEN(conf_rows) <= CONF_ROWS_MAX, "loader arrays hold every row");

const struct conf_row *conf_row_find(const char *path)
{
    for (size_t i = 0; i < conf_rows_n; i++) {
        if (strcmp(conf_rows[i].path, path) == 0)
            return &conf_rows[i];
    }
    return NULL;
}

const char *conf_row_name(const struct conf_row *row)
{
    const char *dot = strrchr(row->path, '.');

    return dot ? dot + 1 : row->path;
}
