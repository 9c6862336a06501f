/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What this machine is, in Nomad's attribute names (reference: golden v1_node_ID): kernel, system,
 * processors, memory, disk, network. The parsers take text, so that they can be tested.
 */
#pragma once

#include "base/base.h"
#include "conf/conf.h"
#include "node.pb.h"
#include "task/cgroup.h"

struct fingerprint_cpu {
    unsigned cores;
    double mhz; /* of one core; 0 = not known */
    char model[128];
};

/* From the text of /proc/cpuinfo. */
void fingerprint_parse_cpuinfo(const char *text, struct fingerprint_cpu *ret);
/* MemTotal of /proc/meminfo in bytes, 0 when it is not there. */
uint64_t fingerprint_parse_meminfo(const char *text);
/* The value of KEY in the text of /etc/os-release without its quotes; malloc'ed, NULL when absent.
 */
char *fingerprint_parse_os_release(const char *text, const char *key);

/* The device below a path, from the text of /proc/self/mounts; malloc'ed, NULL when unknown. */
char *fingerprint_parse_mounts(const char *text, const char *path);

/* Fills a zeroed node from configuration and machine: everything but ids, status and secret. */
void fingerprint_node(const struct conf *conf, steppe_Node *node);
/* Free MiB of the disk under data_dir, which fingerprint_node() made the node's disk; 0: unknown.
 */
int64_t fingerprint_disk_free(const struct conf *conf);
/* Where control groups are, and of which version; nothing without them. */
void fingerprint_cgroups(const struct cgroup_host *h, steppe_Node *node);
/* Attributes by name: after some were added. */
void fingerprint_sort(steppe_Node *node);
/* "v1:<number>": equal for nodes that a scheduler may treat alike (no unique.* attributes). */
char *fingerprint_class(const steppe_Node *node);
