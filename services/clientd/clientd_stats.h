/* SPDX-License-Identifier: MPL-2.0 */
/* What /proc says of the machine's load. The parsers take text, so that they can be tested. */
#pragma once

#include "base/base.h"
#include "client.pb.h"

#define HOST_CPUS_MAX 512

struct host_cpu {
    uint64_t user, system, idle, total; /* ticks since the start */
};

struct host_cpus {
    size_t n;
    struct host_cpu cpus[HOST_CPUS_MAX];
};

/* A file of /proc as text, malloc'ed; "" when it cannot be read. At most 1 MiB. */
char *host_read_file(const char *path);
/* The cpuN lines of /proc/stat. */
void host_cpus_parse(const char *text, struct host_cpus *ret);
/* Percentages between two samples; before NULL: since the start. The name is left alone. */
void host_cpu_percent(const struct host_cpu *before, const struct host_cpu *now,
                      steppe_HostCpuStats *ret);
/* /proc/meminfo in bytes. */
void host_memory_parse(const char *text, steppe_HostMemoryStats *ret);
