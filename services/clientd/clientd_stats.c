/* SPDX-License-Identifier: MPL-2.0 */
#include "clientd_stats.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"

#define FILE_MAX (1u << 20)

char *host_read_file(const char *path)
{
    struct strbuf b = STRBUF_BOUND(FILE_MAX);

    (void)file_read(path, &b); /* what does not fit is not needed */
    return strbuf_take(&b);
}

void host_cpus_parse(const char *text, struct host_cpus *ret)
{
    ret->n = 0;
    for (const char *p = text; p && *p && ret->n < HOST_CPUS_MAX;
         p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
        unsigned long long v[8] = {0};
        unsigned number;
        struct host_cpu *c = &ret->cpus[ret->n];

        /* user nice system idle iowait irq softirq steal; "cpu " is the sum of all */
        if (strncmp(p, "cpu", 3) != 0 || p[3] < '0' || p[3] > '9' ||
            sscanf(p, "cpu%u %llu %llu %llu %llu %llu %llu %llu %llu", &number, &v[0], &v[1], &v[2],
                   &v[3], &v[4], &v[5], &v[6], &v[7]) < 5)
            continue;
        c->user = v[0] + v[1];
        c->system = v[2] + v[5] + v[6];
        c->idle = v[3] + v[4];
        c->total = c->user + c->system + c->idle + v[7];
        ret->n++;
    }
}

static double percent(uint64_t now, uint64_t before, uint64_t total)
{
    return total > 0 && now > before ? 100.0 * (double)(now - before) / (double)total : 0;
}

void host_cpu_percent(const struct host_cpu *before, const struct host_cpu *now,
                      steppe_HostCpuStats *ret)
{
    static const struct host_cpu zero;
    uint64_t total;

    if (!before)
        before = &zero;
    total = now->total > before->total ? now->total - before->total : 0;
    ret->user = percent(now->user, before->user, total);
    ret->system = percent(now->system, before->system, total);
    ret->idle = percent(now->idle, before->idle, total);
    ret->total = total > 0 ? MAX(100.0 - ret->idle, 0.0) : 0;
}

static uint64_t field(const char *text, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
        if (strncmp(p, name, n) == 0 && p[n] == ':')
            return strtoull(p + n + 1, NULL, 10) * 1024;
    }
    return 0;
}

void host_memory_parse(const char *text, steppe_HostMemoryStats *ret)
{
    ret->total = field(text, "MemTotal");
    ret->free = field(text, "MemFree");
    ret->available = field(text, "MemAvailable");
    ret->used = field(text, "Buffers") + field(text, "Cached") + ret->free;
    ret->used = ret->total > ret->used ? ret->total - ret->used : 0;
}
