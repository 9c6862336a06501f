/* SPDX-License-Identifier: MPL-2.0 */
/* Statistics of the machine and of allocations; restart, signal and collection for cstreams. */
#include <mntent.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>

#include "clientd_conn.h"
#include "clientd_stats.h"

/* ---- the machine ---- */

static void disk_stats(const char *device, const char *mount, steppe_HostDiskStats *ret)
{
    struct statvfs st;
    uint64_t unit;

    ret->device = xstrdup(device);
    ret->mountpoint = xstrdup(mount);
    if (statvfs(mount, &st) < 0)
        return;
    unit = st.f_frsize;
    ret->size = st.f_blocks * unit;
    ret->available = st.f_bavail * unit;
    ret->used = (st.f_blocks - st.f_bfree) * unit;
    if (ret->used + ret->available > 0)
        ret->used_percent = 100.0 * (double)ret->used / (double)(ret->used + ret->available);
    if (st.f_files > 0)
        ret->inodes_used_percent = 100.0 * (double)(st.f_files - st.f_ffree) / (double)st.f_files;
}

#define DISKS_MAX   64
#define CPU_SPAN_NS NS_PER_SEC

/* Devices only, each once: what is bound to a second place is the same disk. */
static void add_disks(steppe_HostStats *m)
{
    FILE *f = setmntent("/proc/self/mounts", "re");
    struct mntent ent;
    char buf[4096];

    m->disk_stats = xcalloc(DISKS_MAX, sizeof(*m->disk_stats));
    while (f && m->disk_stats_count < DISKS_MAX && getmntent_r(f, &ent, buf, sizeof(buf))) {
        bool seen = strncmp(ent.mnt_fsname, "/dev/", 5) != 0;

        for (pb_size_t i = 0; i < m->disk_stats_count && !seen; i++)
            seen = strcmp(m->disk_stats[i].device, ent.mnt_fsname) == 0;
        if (!seen)
            disk_stats(ent.mnt_fsname, ent.mnt_dir, &m->disk_stats[m->disk_stats_count++]);
    }
    if (f)
        (void)endmntent(f);
}

/* Two samples of the processors that lie CPU_SPAN_NS apart at least: who asks twice in a moment
 * gets the same percentages again. The loop's thread only. */
static struct host_cpus cpus_before, cpus_now;
static int64_t cpus_ns;

static void sample_cpus(void)
{
    _cleanup_(freep) char *text = NULL;
    int64_t now = clock_mono().ns;

    if (cpus_now.n > 0 && now - cpus_ns < CPU_SPAN_NS)
        return;
    text = host_read_file("/proc/stat");
    cpus_before = cpus_now;
    host_cpus_parse(text, &cpus_now);
    cpus_ns = now;
}

static void add_cpus(steppe_HostStats *m, double mhz)
{
    double busy = 0;

    sample_cpus();
    m->cpu = xcalloc(cpus_now.n + 1, sizeof(*m->cpu));
    for (size_t i = 0; i < cpus_now.n; i++) {
        steppe_HostCpuStats *c = &m->cpu[m->cpu_count++];

        host_cpu_percent(i < cpus_before.n ? &cpus_before.cpus[i] : NULL, &cpus_now.cpus[i], c);
        c->cpu = xasprintf("cpu%zu", i);
        busy += c->total;
    }
    m->cpu_ticks_consumed = busy / 100 * mhz;
}

static double cpu_mhz(void)
{
    _cleanup_(freep) char *text = host_read_file("/proc/cpuinfo");
    const char *p = strstr(text, "cpu MHz");
    double mhz = 0;

    if (p && (p = strchr(p, ':')))
        mhz = strtod(p + 1, NULL);
    return mhz > 0 ? mhz : 1000;
}

void clientd_host_stats(struct cstream *s)
{
    _cleanup_(freep) char *meminfo = host_read_file("/proc/meminfo");
    steppe_HostStats m = {.has_memory = true, .has_alloc_dir_stats = true};
    struct sysinfo info = {0};

    host_memory_parse(meminfo, &m.memory);
    add_cpus(&m, cpu_mhz());
    add_disks(&m);
    disk_stats("", cstream_ctx(s)->conf->client.alloc_dir, &m.alloc_dir_stats);
    m.alloc_dir_stats.mountpoint[0] = 0; /* as Nomad: it is no mount of its own */
    (void)sysinfo(&info);
    m.uptime = (uint64_t)info.uptime;
    m.timestamp = clock_wall().ns;
    cstream_end_msg(s, steppe_HostStats_fields, &m);
    pb_release(steppe_HostStats_fields, &m);
}

/* ---- allocations ---- */

static void set_measured(char ***list, pb_size_t *n, const char *const *names, size_t names_n)
{
    *list = xcalloc(names_n + 1, sizeof(**list));
    for (size_t i = 0; i < names_n; i++)
        (*list)[(*n)++] = xstrdup(names[i]);
}

static void fill_usage(const struct alloc_usage *u, steppe_ResourceUsage *ret)
{
    /* The first ones by looking at processes, all where there is a control group. */
    static const char *const memory[] = {"RSS", "Swap", "Cache", "Usage", "Max Usage"};
    static const char *const cpu[] = {"System Mode", "User Mode", "Percent", "Throttled Periods",
                                      "Throttled Time"};
    bool group = u->usage > 0, any = u->timestamp != 0;
    size_t memory_n = group ? ARRAY_LEN(memory) : 2, cpu_n = group ? ARRAY_LEN(cpu) : 3;

    ret->has_memory_stats = ret->has_cpu_stats = true;
    ret->memory_stats.rss = u->rss;
    ret->memory_stats.cache = u->cache;
    ret->memory_stats.swap = u->swap;
    ret->memory_stats.usage = u->usage;
    ret->memory_stats.max_usage = u->max_usage;
    ret->memory_stats.kernel_usage = u->kernel_usage;
    ret->memory_stats.kernel_max_usage = u->kernel_max_usage;
    set_measured(&ret->memory_stats.measured, &ret->memory_stats.measured_count, memory,
                 any ? memory_n : 0);
    ret->cpu_stats.percent = u->cpu_percent;
    ret->cpu_stats.system_mode = u->cpu_system_percent;
    ret->cpu_stats.user_mode = u->cpu_user_percent;
    ret->cpu_stats.total_ticks = u->cpu_ticks;
    ret->cpu_stats.throttled_periods = u->throttled_periods;
    ret->cpu_stats.throttled_time = u->throttled_ns;
    set_measured(&ret->cpu_stats.measured, &ret->cpu_stats.measured_count, cpu, any ? cpu_n : 0);
}

static void add_usage(struct alloc_usage *sum, const struct alloc_usage *u)
{
    sum->timestamp = MAX(sum->timestamp, u->timestamp);
    sum->cpu_percent += u->cpu_percent;
    sum->cpu_user_percent += u->cpu_user_percent;
    sum->cpu_system_percent += u->cpu_system_percent;
    sum->cpu_ticks += u->cpu_ticks;
    sum->throttled_periods += u->throttled_periods;
    sum->throttled_ns += u->throttled_ns;
    sum->rss += u->rss;
    sum->cache += u->cache;
    sum->swap += u->swap;
    sum->usage += u->usage;
    sum->max_usage += u->max_usage;
    sum->kernel_usage += u->kernel_usage;
    sum->kernel_max_usage += u->kernel_max_usage;
}

void clientd_alloc_stats(struct cstream *s)
{
    struct alloc *al = cstream_alloc(s);
    const char *only = s->call.task ? s->call.task : "";
    struct alloc_usage sum = {0};
    steppe_AllocResourceUsage m = {.has_resource_usage = true};
    size_t n;

    if (!al)
        return;
    n = alloc_task_count(al);
    m.tasks = xcalloc(n + 1, sizeof(*m.tasks));
    for (size_t i = 0; i < n; i++) {
        steppe_AllocResourceUsage_TasksEntry *t = &m.tasks[m.tasks_count];
        struct alloc_usage u = {0};

        if ((*only && strcmp(only, alloc_task_name(al, i)) != 0) ||
            alloc_task_usage(al, i, &u) != 0)
            continue;
        t->key = xstrdup(alloc_task_name(al, i));
        t->has_value = t->value.has_resource_usage = true;
        t->value.timestamp = u.timestamp;
        fill_usage(&u, &t->value.resource_usage);
        add_usage(&sum, &u);
        m.tasks_count++;
    }
    m.timestamp = sum.timestamp ? sum.timestamp : clock_wall().ns;
    fill_usage(&sum, &m.resource_usage);
    cstream_end_msg(s, steppe_AllocResourceUsage_fields, &m);
    pb_release(steppe_AllocResourceUsage_fields, &m);
}

/* Ends the stream with what became of it. */
static void end_result(struct cstream *s, int r, const struct errtext *e)
{
    if (r == 0)
        cstream_end(s, 0, "%s", "");
    else
        cstream_end(s, r == ALLOC_E_UNKNOWN ? 404 : 500, "%s", e->text);
}

void clientd_alloc_restart(struct cstream *s)
{
    struct errtext e = {{0}};

    if (cstream_alloc(s))
        end_result(s,
                   allocs_restart(cstream_allocs(s), s->call.alloc_id,
                                  s->call.task ? s->call.task : "", &e),
                   &e);
}

void clientd_alloc_signal(struct cstream *s)
{
    struct errtext e = {{0}};
    int r;

    if (!cstream_alloc(s))
        return;
    r = allocs_signal(cstream_allocs(s), s->call.alloc_id, s->call.task ? s->call.task : "",
                      s->call.signal ? s->call.signal : "", &e);
    if (r == ALLOC_E_TASK)
        (void)err_set(&e, r, "Task not found");
    end_result(s, r, &e);
}

void clientd_alloc_gc(struct cstream *s)
{
    struct errtext e = {{0}};
    int r;

    if (!cstream_alloc(s))
        return;
    r = allocs_collect(cstream_allocs(s), s->call.alloc_id, &e);
    if (r == ALLOC_E_NOT_TERMINAL)
        (void)err_set(&e, r, "No such allocation on client, or allocation not eligible for GC");
    end_result(s, r, &e);
}

void clientd_gc_all(struct cstream *s)
{
    allocs_collect_all(cstream_allocs(s));
    cstream_end(s, 0, "%s", "");
}
