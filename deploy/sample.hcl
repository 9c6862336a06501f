# SPDX-License-Identifier: MPL-2.0
#
# Every key that has an effect, with its default unless said otherwise. Copy what you need: an empty
# file and a few flags are enough (`steppe agent -server -data-dir=/var/lib/steppe
# -bootstrap-expect=1`). Keys, defaults and merging are Nomad's; "own" marks what only Steppe has.
# `steppe agent -check -config=FILE` checks a file and shows what is in effect.
# "(reload)": takes effect on SIGHUP; everything else needs a restart of the agent.

# ---- who this node is ----
region     = "global" # regions federate; jobs and API calls name one
datacenter = "dc1"    # a label inside the region
name       = "sample" # default: the host name. Unique in the region; gossip calls it NAME.REGION

# ---- where it keeps things ----
data_dir = "/var/lib/steppe" # no default; absolute; made 0700, on clients 0711
run_dir  = "/run/steppe"     # own; default DATA_DIR/run; sockets and pid files, 74 bytes at most

# ---- the network ----
# An IP address, or {{ GetPrivateIP }}, {{ GetPublicIP }}, {{ GetInterfaceIP "eth0" }}.
bind_addr = "0.0.0.0"

ports {
  http = 4646 # API and web page
  rpc  = 4647 # between nodes
  serf = 4648 # gossip between servers, TCP and UDP
}

# Where to listen; empty: bind_addr.
addresses {
  http = ""
  rpc  = ""
  serf = ""
}

# What other nodes are told, HOST[:PORT]; empty: the address listened on, or with 0.0.0.0 the first
# private address of this machine.
advertise {
  http = ""
  rpc  = ""
  serf = ""

  # Own: what servers of other regions are told where that differs (NAT, a private network).
  rpc_wan  = ""
  serf_wan = ""
}

# ---- the agent ----
log_level            = "INFO" # (reload) TRACE DEBUG INFO WARN ERROR
enable_debug         = false  # (reload)
leave_on_interrupt   = false  # (reload) SIGINT: leave the cluster in order, not just stop
leave_on_terminate   = false  # (reload) the same for SIGTERM
disable_update_check = false  # (reload) accepted for Nomad's sake: nothing is ever looked up

# (reload) Added to every HTTP answer.
http_api_response_headers {
  # Access-Control-Allow-Origin = "*"
}

# ---- a server ----
server {
  enabled          = true # default false
  bootstrap_expect = 1    # default 0: wait to be added. 1, 3 or 5: start when so many have met
  data_dir         = "/var/lib/steppe/server" # default DATA_DIR/server
  encrypt          = "" # gossip key: base64 of 16, 24 or 32 bytes; later data_dir/serf/keyring counts

  # Own: who else may be in the pool. Written into data_dir at the first start; servers of another
  # federation (or of none) are refused, and both sides log both ids. Empty: anybody.
  federation_id     = ""
  federation_accept = [] # while an id changes: other ids that are taken, "none" for who has none
  join_allow        = [] # own: addresses that members may have, for example ["10.0.0.0/8"]

  rejoin_after_leave = false # true: meet the old members again after having left
  non_voting_server  = false # true: a copy of the state without a vote

  # Timing of consensus. raft_multiplier scales the two times below it, for servers far apart.
  raft_multiplier         = 1       # 1 to 10
  raft_election_timeout   = "150ms" # own
  raft_heartbeat_interval = "30ms"  # own; at most half of the timeout
  raft_snapshot_threshold = 8192    # log entries between snapshots
  raft_trailing_logs      = 10240   # entries kept behind one, for those who lag

  num_schedulers     = 4  # times 16 evaluations that this server's scheduler works on at a time; 0: none
  enabled_schedulers = [] # of these types: "service", "batch", "system"; empty: all

  # (reload) Heartbeats of clients.
  heartbeat_grace           = "10s"
  min_heartbeat_ttl         = "10s"
  max_heartbeats_per_second = 50
  failover_heartbeat_ttl    = "5m" # what every client gets after a change of leader

  # What ended is deleted after so long.
  job_gc_interval         = "5m"  # between two looks
  job_gc_threshold        = "4h"  # jobs that are dead
  eval_gc_threshold       = "1h"  # evaluations and allocations
  node_gc_threshold       = "24h" # nodes that are down
  deployment_gc_threshold = "1h"

  # What the region's schedulers do until somebody sets it by the API.
  default_scheduler_config {
    scheduler_algorithm             = "binpack" # or "spread"
    memory_oversubscription_enabled = false     # true: tasks may use up to their memory_max
    preemption_config {
      system_scheduler_enabled  = true # system jobs push out what has a lower priority
      batch_scheduler_enabled   = false
      service_scheduler_enabled = false
    }
  }

  # Whom to meet. Any server of any region: regions federate by joining one another.
  # (start_join, retry_join, retry_interval, retry_max right in the server block work, too.)
  server_join {
    # A DNS name stands for all of its addresses; "exec=COMMAND" (own) for those that it prints.
    start_join     = [] # once, at the start
    retry_join     = [] # until it works, for example ["10.0.0.1", "[fd00::2]:4648"]
    retry_interval = "30s" # at most: the first tries follow each other sooner
    retry_max      = 0     # 0: for ever; else tries that are retry_interval apart, then it ends
  }
}

# ---- a client ----
client {
  enabled   = false
  state_dir = "/var/lib/steppe/client" # default DATA_DIR/client
  alloc_dir = "/var/lib/steppe/alloc"  # default DATA_DIR/alloc
  servers   = [] # (reload) HOST[:RPCPORT] of servers of this region

  node_class        = ""
  network_interface = ""
  cpu_total_compute = 0 # MHz; 0: detected
  memory_total_mb   = 0 # 0: detected

  max_kill_timeout = "30s" # longest time that a task may have to end

  # When folders of ended allocations are removed: looked at each gc_interval, at more of them than
  # gc_max_allocs, at a fuller disk.
  gc_interval              = "1m"
  gc_max_allocs            = 50
  gc_disk_usage_threshold  = 80
  gc_inode_usage_threshold = 70

  cgroup_parent = "/nomad" # control groups of tasks are made below it

  # What is not for tasks.
  reserved {
    cpu            = 0 # MHz
    memory         = 0 # MiB
    disk           = 0 # MiB
    reserved_ports = "" # for example "22,80,8500-8600"
  }

  # What tasks of the exec driver see of this machine (read-only), and where. Empty: /bin /etc /lib
  # /lib32 /lib64 /run/resolvconf /sbin /usr.
  chroot_env {
    # "/usr/bin" = "/bin"
  }

  # (reload) Facts about this node, for constraints of jobs.
  meta {
    # rack = "r1"
  }

  # Nomad's client options.
  options {
    # driver.raw_exec.enable = "true"
  }

  server_join {
    start_join     = []
    retry_join     = []
    retry_interval = "30s"
    retry_max      = 0
  }
}

# Settings of a driver. raw_exec runs tasks as they are, without any fence: off unless enabled.
plugin "raw_exec" {
  config {
    enabled = false
  }
}

# ---- how a region takes care of its servers ----
autopilot {
  cleanup_dead_servers      = true
  last_contact_threshold    = "200ms"
  max_trailing_logs         = 250
  min_quorum                = 0
  server_stabilization_time = "10s"
}

# ---- limits ----
limits {
  http_max_conns_per_client = 100      # (reload) 0: no limit
  http_body_max             = 16777216 # own; bytes of a request body
  http_threads              = 192      # own; requests and waiting queries at a time
}

# ---- gossip, own; "0s" and 0 keep the built-in timers, which are memberlist's LAN profile ----
gossip {
  probe_interval     = "0s"
  probe_timeout      = "0s"
  gossip_interval    = "0s"
  push_pull_interval = "0s"
  suspicion_mult     = 0
  reconnect_interval = "0s"
  reconnect_timeout  = "0s"
  tombstone_timeout  = "0s"
  reap_interval      = "0s"
  compression        = true # of what is sent; received is both
}
