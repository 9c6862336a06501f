/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The configuration of one node: files and command line flags -> one plain, checked struct. Every
 * service of the node loads the same arguments and gets the same struct, so that each can be
 * started alone. Key names, defaults and merging are Nomad's (files in order, later ones win, lists
 * and scalars replaced, maps merged, flags over files). An unknown key, a wrong type or a value out
 * of range is an error that names file, line and key.
 *
 * Strings are never NULL ("" when unset) unless said. Durations are nanoseconds. The struct owns
 * everything; it is immutable after conf_load(): a reload loads a second one.
 */
#pragma once

#include "base/base.h"
#include "base/err.h"

#define CONF_LIST_MAX 256 /* entries of any list in the configuration */

/* A unix socket's path has at most 107 bytes: RUN_DIR, a slash, a name. */
#define CONF_RUN_DIR_MAX  74
#define CONF_RUN_NAME_MAX 32

struct conf_list {
    char **items; /* n strings, owned */
    size_t n;
};

struct conf_map {
    char **keys, **values; /* n pairs, owned, sorted by key */
    size_t n;
};

struct conf_ports {
    int http, rpc, serf; /* 4646 4647 4648 */
};

/* Listen addresses (IP only) or advertised ones ("IP:PORT" after conf_load() resolved them). */
struct conf_addrs {
    char *http, *rpc, *serf;
};

/* What servers of other regions are told instead; "" = the same as the own region. */
struct conf_wan {
    char *rpc, *serf; /* "IP:PORT", resolved */
};

struct conf_join {
    struct conf_list start_join, retry_join; /* HOST[:PORT]; a server's also "exec=COMMAND" */
    int64_t retry_interval;                  /* 30s */
    int retry_max;                           /* 0 = for ever */
};

/* What the region's schedulers do until somebody sets it by the API. */
struct conf_sched {
    char *algorithm; /* binpack, spread */
    bool memory_oversubscription, preempt_system, preempt_batch, preempt_service;
};

struct conf_server {
    bool enabled;
    int bootstrap_expect; /* 0 = do not bootstrap */
    char *data_dir;       /* default DATA_DIR/server */
    bool rejoin_after_leave;
    bool non_voting_server;
    char *encrypt;                      /* base64 key, "" = off */
    char *federation_id;                /* who else may be in the pool, "" = anybody */
    struct conf_list federation_accept; /* further ids that may; "none": who has no id */
    struct conf_list join_allow;        /* IP or IP/BITS of members; empty = all */
    int raft_multiplier;                /* 1..10: scales the raft timeouts */
    int64_t raft_election_timeout;      /* 150ms: elections start after [t, t*4/3] of silence */
    int64_t raft_heartbeat_interval;    /* 30ms */
    uint64_t raft_snapshot_threshold;   /* 8192 entries since the last snapshot */
    uint64_t raft_trailing_logs;        /* 10240 entries kept behind a snapshot */
    int64_t heartbeat_grace;            /* 10s */
    int64_t min_heartbeat_ttl;          /* 10s */
    double max_heartbeats_per_second;   /* 50 */
    int64_t failover_heartbeat_ttl;     /* 5m: what every node gets after a leader change */
    int64_t job_gc_interval;            /* 5m: between two looks at what can be deleted */
    int64_t job_gc_threshold, eval_gc_threshold, node_gc_threshold, deployment_gc_threshold;
    struct conf_sched sched;
    struct conf_join join;
    int num_schedulers;                  /* 4: schedd works on 16 evaluations for each */
    struct conf_list enabled_schedulers; /* service batch system; empty = all */
};

/* What is not for tasks. */
struct conf_reserved {
    int cpu, memory, disk; /* MHz, MiB, MiB */
    char *reserved_ports;  /* "22,80,8500-8600" */
};

struct conf_client {
    bool enabled;
    char *state_dir, *alloc_dir; /* defaults DATA_DIR/client, DATA_DIR/alloc */
    struct conf_list servers;    /* "host[:rpcport]" */
    struct conf_join server_join;
    char *node_class;
    struct conf_map meta, options;
    char *network_interface;
    int cpu_total_compute, memory_total_mb; /* 0 = detected */
    struct conf_map chroot_env;             /* exec: folder of this machine -> in the task's root */
    int64_t max_kill_timeout;               /* 30s: longest a task may have to end */
    char *cgroup_parent;                    /* "/nomad" */
    int64_t gc_interval;                    /* 1m: between two looks at what may be removed */
    int gc_max_allocs;                      /* 50: more folders than that: the oldest ended go */
    double gc_disk_usage_threshold;         /* 80: percent of the alloc_dir's disk */
    double gc_inode_usage_threshold;        /* 70 */
    struct conf_reserved reserved;
};

struct conf_autopilot {
    bool cleanup_dead_servers;         /* true */
    int64_t last_contact_threshold;    /* 200ms */
    uint64_t max_trailing_logs;        /* 250 */
    int min_quorum;                    /* 0 */
    int64_t server_stabilization_time; /* 10s */
};

struct conf_limits {
    int http_max_conns_per_client; /* 100 */
    int64_t http_body_max;         /* bytes of a request body, 16 MiB */
    int http_threads;              /* workers of the HTTP gateway, 192 */
};

/* Settings of the gossip; 0 keeps the built-in timer. */
struct conf_gossip {
    bool compression; /* of what is sent */
    int64_t probe_interval, probe_timeout, gossip_interval, push_pull_interval;
    int suspicion_mult;
    int64_t reconnect_interval, reconnect_timeout, tombstone_timeout, reap_interval;
};

struct conf {
    char *region;     /* "global" */
    char *datacenter; /* "dc1" */
    char *name;       /* host name */
    char *data_dir;   /* absolute; a new temporary folder with -dev */
    char *run_dir;    /* sockets and pid files; default DATA_DIR/run, CONF_RUN_DIR_MAX bytes */
    char *bind_addr;  /* "0.0.0.0"; -dev: 127.0.0.1 */
    char *log_level;  /* "INFO" */
    bool leave_on_interrupt, leave_on_terminate;
    bool enable_debug;
    bool dev;
    bool disable_update_check; /* accepted, without effect */
    struct conf_ports ports;
    struct conf_addrs addresses; /* listen: default bind_addr */
    struct conf_addrs advertise; /* "ip:port", resolved */
    struct conf_wan advertise_wan;
    struct conf_server server;
    struct conf_client client;
    struct conf_autopilot autopilot;
    struct conf_limits limits;
    struct conf_gossip gossip;
    struct conf_map
        plugins; /* "raw_exec.enabled" -> "true": scalars of plugin "raw_exec" { config {} } */
    struct conf_map http_api_response_headers;
    struct conf_list files;     /* configuration files that were read, in order */
    struct conf_list no_effect; /* keys that were accepted but have no effect yet */
    bool check;                 /* -check: show the configuration and end */
};

/*
 * Parses `argv[1..]` (agent flags: -config=FILE|DIR (repeatable), -dev, -server, -client, -region,
 * -dc, -node, -bind, -data-dir, -log-level, -bootstrap-expect, -join, -retry-join, -retry-interval,
 * -retry-max, -rejoin, -encrypt, -servers, -node-class, -meta, -run-dir, -check, and those of Nomad
 * that have no effect yet; "-x v", "-x=v", "--x" are equal) and the files they name, applies
 * defaults and checks the whole. -EINVAL (or another -errno) with a text in e.
 * With -h/-help returns CONF_E_HELP.
 */
enum { CONF_E_HELP = 1 };
int conf_load(int argc, char **argv, struct conf **ret_conf, struct errtext *e);

/*
 * The same for the supervisor, which makes the data_dir of a -dev node and hands it to the services
 * as a flag: with -dev and none given, data_dir, run_dir and what hangs below them stay "".
 */
int conf_load_agent(int argc, char **argv, struct conf **ret_conf, struct errtext *e);

/* Only the syntax of the flags: lets the caller show the usage with such an error. */
int conf_flags_check(int argc, char **argv, struct errtext *e);

/*
 * For a reload: keys whose value differs, those that take effect at once and those that need a
 * restart. The lists are the caller's: conf_list_free().
 */
void conf_compare(const struct conf *from, const struct conf *to, struct conf_list *ret_applied,
                  struct conf_list *ret_fixed);
void conf_list_free(struct conf_list *l);
struct conf *conf_free(struct conf *conf);
DEFINE_CLEANUP(struct conf, conf_free)

/* The help text of the flags that conf_load() takes. */
const char *conf_flags_help(void);

/* Text that shows each effective value; for -check and the log. malloc'ed. */
char *conf_dump(const struct conf *conf);

/*
 * The node's UUID, kept in FILE (made there, atomically and fsynced, when it is not there yet).
 * Several services may ask at the same time: all get the same.
 */
int conf_node_id(const char *file, char out[static 37], struct errtext *e);

/*
 * Makes what the node's roles need: data_dir, run_dir, the server's and the client's folders (0700;
 * alloc_dir, and data_dir of a client, 0711; parents 0755). The error says which one cannot be made
 * or written.
 */
int conf_make_dirs(const struct conf *conf, struct errtext *e);

/* Path of a socket or file in run_dir: "RUN_DIR/NAME" or, with ipc, "ipc://RUN_DIR/NAME".
 * malloc'ed. */
char *conf_run_path(const struct conf *conf, const char *name);
char *conf_run_ipc(const struct conf *conf, const char *name);
