/* SPDX-License-Identifier: MPL-2.0 */
#include "fingerprint.h"

#include <errno.h>
#include <mntent.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/strbuf.h"
#include "clientd_stats.h"

#define MIB (UINT64_C(1) << 20)

/* The value behind "key<blanks>:<blanks>" at the start of a line, or NULL. */
static const char *field_at(const char *line, const char *key)
{
    size_t n = strlen(key);

    if (strncmp(line, key, n) != 0)
        return NULL;
    line += n;
    line += strspn(line, " \t");
    if (*line != ':')
        return NULL;
    return line + 1 + strspn(line + 1, " \t");
}

static const char *next_line(const char *p)
{
    p += strcspn(p, "\n");
    return *p ? p + 1 : p;
}

void fingerprint_parse_cpuinfo(const char *text, struct fingerprint_cpu *ret)
{
    *ret = (struct fingerprint_cpu){0};
    for (const char *p = text; *p; p = next_line(p)) {
        const char *v;

        if (field_at(p, "processor"))
            ret->cores++;
        else if ((v = field_at(p, "cpu MHz")))
            ret->mhz = MAX(ret->mhz, strtod(v, NULL));
        else if ((v = field_at(p, "model name")))
            (void)snprintf(ret->model, sizeof(ret->model), "%.*s", (int)strcspn(v, "\n"), v);
    }
}

uint64_t fingerprint_parse_meminfo(const char *text)
{
    for (const char *p = text; *p; p = next_line(p)) {
        const char *v = field_at(p, "MemTotal");

        if (v)
            return strtoull(v, NULL, 10) * 1024;
    }
    return 0;
}

char *fingerprint_parse_os_release(const char *text, const char *key)
{
    size_t n = strlen(key);

    for (const char *p = text; *p; p = next_line(p)) {
        const char *v = p + n + 1;
        size_t len;

        if (strncmp(p, key, n) != 0 || p[n] != '=')
            continue;
        len = strcspn(v, "\n");
        if (len >= 2 && (*v == '"' || *v == '\'') && v[len - 1] == *v)
            return xstrndup(v + 1, len - 2);
        return xstrndup(v, len);
    }
    return NULL;
}

/* ---- the node ---- */

static void set(steppe_Node *n, const char *key, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void set(steppe_Node *n, const char *key, const char *fmt, ...)
{
    char value[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(value, sizeof(value), fmt, ap);
    va_end(ap);
    n->attributes = xrealloc(n->attributes, (n->attributes_count + 1u) * sizeof(*n->attributes));
    n->attributes[n->attributes_count++] =
        (steppe_Node_AttributesEntry){xstrdup(key), xstrdup(value)};
}

static const char *arch_name(const char *machine)
{
    if (strcmp(machine, "x86_64") == 0)
        return "amd64";
    return strcmp(machine, "aarch64") == 0 ? "arm64" : machine;
}

static void add_system(steppe_Node *n)
{
    _cleanup_(freep) char *text = host_read_file("/etc/os-release");
    _cleanup_(freep) char *id = fingerprint_parse_os_release(text, "ID");
    _cleanup_(freep) char *version = fingerprint_parse_os_release(text, "VERSION_ID");
    _cleanup_(freep) char *point = host_read_file("/etc/debian_version");
    _cleanup_(strbuf_fini) struct strbuf signals = STRBUF_INIT;
    struct utsname u = {0};

    (void)uname(&u);
    set(n, "cpu.arch", "%s", arch_name(u.machine));
    set(n, "kernel.name", "linux");
    set(n, "kernel.version", "%s", u.release);
    set(n, "unique.hostname", "%s", u.nodename);
    set(n, "os.name", "%s", id ? id : "linux");
    /* Debian's point releases are only told there; elsewhere that file has a name in it. */
    if (id && strcmp(id, "debian") == 0 && *point >= '0' && *point <= '9')
        set(n, "os.version", "%.*s", (int)strcspn(point, "\n"), point);
    else if (version)
        set(n, "os.version", "%s", version);
    strbuf_adds(&signals, "SIGIO,SIGIOT"); /* second names that Nomad lists */
    for (int s = 1; s < 32; s++) {
        const char *name = sigabbrev_np(s);

        if (name)
            strbuf_addf(&signals, ",SIG%s", name);
    }
    set(n, "os.signals", "%s", signals.data);
}

static int64_t add_cpu(const struct conf *conf, steppe_Node *n, unsigned *ret_cores)
{
    _cleanup_(freep) char *text = host_read_file("/proc/cpuinfo");
    struct fingerprint_cpu cpu;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    int64_t total;

    fingerprint_parse_cpuinfo(text, &cpu);
    if (cpu.cores == 0)
        cpu.cores = online > 0 ? (unsigned)online : 1;
    if (cpu.mhz <= 0)
        cpu.mhz = 1000; /* not told by this kernel: a round figure, as cpu_total_compute can mend */
    total = (int64_t)(cpu.mhz * cpu.cores);
    if (conf->client.cpu_total_compute > 0)
        total = conf->client.cpu_total_compute;
    set(n, "cpu.numcores", "%u", cpu.cores);
    set(n, "cpu.frequency", "%.0f", cpu.mhz);
    if (cpu.model[0])
        set(n, "cpu.modelname", "%s", cpu.model);
    set(n, "cpu.totalcompute", "%lld", (long long)total);
    *ret_cores = cpu.cores;
    return total;
}

static int64_t add_memory(const struct conf *conf, steppe_Node *n)
{
    _cleanup_(freep) char *text = host_read_file("/proc/meminfo");
    uint64_t bytes = fingerprint_parse_meminfo(text);

    if (conf->client.memory_total_mb > 0)
        bytes = (uint64_t)conf->client.memory_total_mb * MIB;
    set(n, "memory.totalbytes", "%llu", (unsigned long long)bytes);
    return (int64_t)(bytes / MIB);
}

/* A path is below a folder (an absolute one) or is it. */
static bool is_below(const char *path, const char *folder)
{
    size_t n = strlen(folder);

    if (strncmp(path, folder, n) != 0)
        return false;
    return path[n] == '/' || path[n] == '\0' || (n > 0 && folder[n - 1] == '/');
}

char *fingerprint_parse_mounts(const char *text, const char *path)
{
    size_t len = strlen(text), best = 0;
    FILE *f = len > 0 ? fmemopen((void *)text, len, "r") : NULL;
    char buf[4096], *device = NULL;
    struct mntent ent;

    /* The deepest mount holds the path; of several at one place, the last. */
    while (f && getmntent_r(f, &ent, buf, sizeof(buf))) {
        if (ent.mnt_dir[0] != '/' || !is_below(path, ent.mnt_dir) || strlen(ent.mnt_dir) < best)
            continue;
        best = strlen(ent.mnt_dir);
        free(device);
        device = xstrdup(ent.mnt_fsname);
    }
    if (f)
        (void)fclose(f);
    return device;
}

int64_t fingerprint_disk_free(const struct conf *conf)
{
    struct statvfs st;

    if (statvfs(conf->data_dir, &st) < 0)
        return 0;
    return (int64_t)((uint64_t)st.f_bavail * st.f_frsize / MIB);
}

static int64_t add_disk(const struct conf *conf, steppe_Node *n)
{
    const char *dir = conf->client.alloc_dir;
    _cleanup_(freep) char *mounts = host_read_file("/proc/self/mounts");
    _cleanup_(freep) char *path = NULL, *volume = NULL;
    struct statvfs st;

    if (statvfs(dir, &st) < 0) { /* not made yet */
        dir = conf->data_dir;
        if (statvfs(dir, &st) < 0)
            return 0;
    }
    path = realpath(dir, NULL);
    if (path)
        volume = fingerprint_parse_mounts(mounts, path);
    if (volume)
        set(n, "unique.storage.volume", "%s", volume);
    set(n, "unique.storage.bytestotal", "%llu",
        (unsigned long long)st.f_blocks * (unsigned long long)st.f_frsize);
    set(n, "unique.storage.bytesfree", "%llu",
        (unsigned long long)st.f_bavail * (unsigned long long)st.f_frsize);
    return (int64_t)((uint64_t)st.f_bavail * st.f_frsize / MIB);
}

static void copy_meta(const struct conf_map *from, steppe_Node *n)
{
    n->meta = xcalloc(from->n + 1, sizeof(*n->meta));
    for (size_t i = 0; i < from->n; i++)
        n->meta[n->meta_count++] =
            (steppe_Node_MetaEntry){xstrdup(from->keys[i]), xstrdup(from->values[i])};
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const steppe_Node_AttributesEntry *)a)->key,
                  ((const steppe_Node_AttributesEntry *)b)->key);
}

/* What is not for tasks: the scheduler subtracts it. */
static void add_reserved(const struct conf_reserved *r, steppe_Node *n)
{
    n->has_reserved_resources = n->reserved_resources.has_cpu = true;
    n->reserved_resources.has_memory = n->reserved_resources.has_disk = true;
    n->reserved_resources.has_networks = true;
    n->reserved_resources.cpu.cpu_shares = (uint64_t)r->cpu;
    n->reserved_resources.memory.memory_mb = (uint64_t)r->memory;
    n->reserved_resources.disk.disk_mb = (uint64_t)r->disk;
    n->reserved_resources.networks.reserved_host_ports = xstrdup(r->reserved_ports);
    n->has_reserved = true;
    n->reserved.has_cpu = n->reserved.has_memory_mb = n->reserved.has_disk_mb = true;
    n->reserved.cpu = r->cpu;
    n->reserved.memory_mb = r->memory;
    n->reserved.disk_mb = r->disk;
}

void fingerprint_cgroups(const struct cgroup_host *h, steppe_Node *n)
{
    if (h->version == CGROUP_NONE)
        return;
    set(n, "unique.cgroup.mountpoint", "%s",
        h->mount[CGROUP_CPU][0] ? h->mount[CGROUP_CPU] : h->mount[CGROUP_FREEZER]);
    set(n, "unique.cgroup.version", "v%d", h->version == CGROUP_V2 ? 2 : 1);
    set(n, "os.cgroups.version", "%d", h->version == CGROUP_V2 ? 2 : 1);
}

void fingerprint_sort(steppe_Node *n)
{
    qsort(n->attributes, n->attributes_count, sizeof(*n->attributes), by_key);
}

void fingerprint_node(const struct conf *conf, steppe_Node *n)
{
    char ip[256];
    unsigned cores;

    n->datacenter = xstrdup(conf->datacenter);
    n->name = xstrdup(conf->name);
    n->http_addr = xstrdup(conf->advertise.http);
    n->node_class = xstrdup(conf->client.node_class);
    copy_meta(&conf->client.meta, n);
    n->has_node_resources = n->node_resources.has_cpu = n->node_resources.has_memory = true;
    n->node_resources.has_disk = true;
    n->node_resources.cpu.cpu_shares = add_cpu(conf, n, &cores);
    n->node_resources.cpu.total_cpu_cores = cores;
    n->node_resources.memory.memory_mb = add_memory(conf, n);
    n->node_resources.disk.disk_mb = add_disk(conf, n);
    add_reserved(&conf->client.reserved, n);
    n->has_resources = true;
    n->resources.has_cpu = n->resources.has_memory_mb = n->resources.has_disk_mb = true;
    n->resources.cpu = (int32_t)MIN(n->node_resources.cpu.cpu_shares, (int64_t)INT32_MAX);
    n->resources.memory_mb = (int32_t)n->node_resources.memory.memory_mb;
    n->resources.disk_mb = (int32_t)MIN(n->node_resources.disk.disk_mb, (int64_t)INT32_MAX);
    add_system(n);
    (void)snprintf(ip, sizeof(ip), "%s", conf->advertise.http);
    if (strrchr(ip, ':'))
        *strrchr(ip, ':') = 0;
    set(n, "unique.network.ip-address", "%s", ip);
    set(n, "nomad.advertise.address", "%s", conf->advertise.http);
    set(n, "nomad.version", "%s", STEPPE_VERSION);
    fingerprint_sort(n);
}

static void hash_pair(XXH3_state_t *h, const char *key, const char *value)
{
    if (strncmp(key, "unique.", strlen("unique.")) == 0)
        return;
    XXH3_64bits_update(h, key, strlen(key) + 1);
    XXH3_64bits_update(h, value, strlen(value) + 1);
}

char *fingerprint_class(const steppe_Node *n)
{
    XXH3_state_t *h = XXH3_createState();
    char *text;

    if (!h)
        abort();
    XXH3_64bits_reset(h);
    XXH3_64bits_update(h, n->datacenter, strlen(n->datacenter) + 1);
    XXH3_64bits_update(h, n->node_class, strlen(n->node_class) + 1);
    for (pb_size_t i = 0; i < n->attributes_count; i++)
        hash_pair(h, n->attributes[i].key, n->attributes[i].value);
    for (pb_size_t i = 0; i < n->meta_count; i++)
        hash_pair(h, n->meta[i].key, n->meta[i].value);
    text = xasprintf("v1:%llu", (unsigned long long)XXH3_64bits_digest(h));
    XXH3_freeState(h);
    return text;
}
