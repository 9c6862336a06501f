/* SPDX-License-Identifier: MPL-2.0 */
/* node status of one node: its header, resources, statistics, events and allocations. */
#include "node_detail.h"

#include <math.h>
#include <string.h>

#include "base/strbuf.h"
#include "commands.h"
#include "text.h"

struct node_detail {
    struct cli *cli;
    const json_t *node;
    json_t *allocs;  /* owned */
    json_t *running; /* owned: those of them that run */
    json_t *stats;   /* owned; NULL when the node could not be asked */
    bool is_short, verbose;
    size_t id_len;
};

/* Sorted names of a map, joined by commas. */
static char *detail_names(const json_t *map)
{
    _cleanup_(freep) const char **keys = js_keys(map);
    struct strbuf b = STRBUF_INIT;

    for (size_t i = 0; keys[i]; i++)
        strbuf_addf(&b, "%s%s", i ? "," : "", keys[i]);
    return strbuf_take(&b);
}

/* Names of the attributes "driver.X" that are "1". */
static char *detail_usable_drivers(const json_t *node)
{
    const json_t *attributes = js_get(node, "Attributes");
    _cleanup_(freep) const char **keys = js_keys(attributes);
    struct strbuf b = STRBUF_INIT;

    for (size_t i = 0; keys[i]; i++) {
        if (strncmp(keys[i], "driver.", 7) == 0 && !strchr(keys[i] + 7, '.') &&
            strcmp(js_str(attributes, keys[i]), "1") == 0)
            strbuf_addf(&b, "%s%s", b.len ? "," : "", keys[i] + 7);
    }
    return strbuf_take(&b);
}

/* Names of the detected drivers, unhealthy ones marked. */
static char *detail_drivers(const json_t *node)
{
    const json_t *drivers = js_get(node, "Drivers");
    _cleanup_(freep) const char **keys = js_keys(drivers);
    struct strbuf b = STRBUF_INIT;

    for (size_t i = 0; keys[i]; i++) {
        const json_t *d = js_get(drivers, keys[i]);

        if (js_bool(d, "Detected"))
            strbuf_addf(&b, "%s%s%s", b.len ? "," : "", keys[i],
                        js_bool(d, "Healthy") ? "" : " (unhealthy)");
    }
    return strbuf_take(&b);
}

static char *detail_drain(const json_t *node)
{
    const json_t *strategy = js_some(node, "DrainStrategy");
    _cleanup_(freep) char *deadline = text_time_rfc3339(js_str(strategy, "ForceDeadline"));

    if (!strategy)
        return xstrdup(js_bool(node, "Drain") ? "true" : "false");
    return xasprintf("true; %s%s%s",
                     js_int(strategy, "Deadline") < 0 ? "force drain"
                     : *deadline                      ? deadline
                                                      : "no deadline",
                     js_int(strategy, "Deadline") >= 0 && *deadline ? " deadline" : "",
                     js_bool(strategy, "IgnoreSystemJobs") ? "; ignoring system jobs" : "");
}

static void detail_header(const struct node_detail *d)
{
    const json_t *n = d->node;
    _cleanup_(freep) char *drain = detail_drain(n);
    _cleanup_(freep) char *controllers = detail_names(js_get(n, "CSIControllerPlugins"));
    _cleanup_(freep) char *plugins = detail_names(js_get(n, "CSINodePlugins"));
    _cleanup_(freep) char *volumes = detail_names(js_get(n, "HostVolumes"));
    _cleanup_(freep) char *drivers = d->is_short ? detail_usable_drivers(n) : detail_drivers(n);
    _cleanup_(table_fini) struct table t = {0};

    table_row(&t, "ID|%s", js_str(n, "ID"));
    table_row(&t, "Name|%s", js_str(n, "Name"));
    table_row(&t, "Class|%s", js_str(n, "NodeClass"));
    table_row(&t, "DC|%s", js_str(n, "Datacenter"));
    table_row(&t, "Drain|%s", drain);
    table_row(&t, "Eligibility|%s", js_str(n, "SchedulingEligibility"));
    table_row(&t, "Status|%s", js_str(n, "Status"));
    table_row(&t, "CSI Controllers|%s", controllers);
    table_row(&t, "CSI Drivers|%s", plugins);
    if (d->stats) {
        char uptime[DURATION_TEXT_MAX];

        table_row(&t, "Uptime|%s",
                  duration_format(js_int(d->stats, "Uptime") * NS_PER_SEC, uptime));
    }
    if (d->is_short || !d->verbose) {
        table_row(&t, "Host Volumes|%s", volumes);
        table_row(&t, "CSI Volumes|");
        table_row(&t, "%s|%s", d->is_short ? "Drivers" : "Driver Status", drivers);
    }
    ui_table(d->cli, &t, TABLE_KV);
}

static void detail_volumes_and_drivers(const struct node_detail *d)
{
    const json_t *volumes = js_get(d->node, "HostVolumes"), *drivers = js_get(d->node, "Drivers");
    _cleanup_(freep) const char **volume_names = js_keys(volumes);
    _cleanup_(freep) const char **driver_names = js_keys(drivers);
    _cleanup_(table_fini) struct table v = {0}, t = {0};

    table_row(&v, "Name|ReadOnly|Source");
    for (size_t i = 0; volume_names[i]; i++) {
        const json_t *info = js_get(volumes, volume_names[i]);

        table_row(&v, "%s|%s|%s", volume_names[i], js_bool(info, "ReadOnly") ? "true" : "false",
                  js_str(info, "Path"));
    }
    if (v.n > 1) {
        ui_heading(d->cli, "Host Volumes");
        ui_table(d->cli, &v, TABLE_LIST);
    }
    table_row(&t, "Driver|Detected|Healthy|Message|Time");
    for (size_t i = 0; driver_names[i]; i++) {
        const json_t *info = js_get(drivers, driver_names[i]);
        _cleanup_(freep) char *when = text_time_rfc3339(js_str(info, "UpdateTime"));

        table_row(
            &t, "%s|%s|%s|%s|%s", driver_names[i], js_bool(info, "Detected") ? "true" : "false",
            js_bool(info, "Healthy") ? "true" : "false", js_str(info, "HealthDescription"), when);
    }
    ui_heading(d->cli, "Drivers");
    ui_table(d->cli, &t, TABLE_LIST);
}

static char *detail_event_details(const json_t *details)
{
    _cleanup_(freep) const char **keys = js_keys(details);
    struct strbuf b = STRBUF_INIT;

    for (size_t i = 0; keys[i]; i++)
        strbuf_addf(&b, "%s%s: %s", i ? ", " : "", keys[i], js_str(details, keys[i]));
    return strbuf_take(&b);
}

/* Newest first: the server keeps them oldest first. */
static void detail_events(const struct node_detail *d)
{
    const json_t *events = js_get(d->node, "Events");
    _cleanup_(table_fini) struct table t = {0};

    table_row(&t, "Time|Subsystem|Message%s", d->verbose ? "|Details" : "");
    for (size_t i = json_array_size(events); i > 0; i--) {
        const json_t *e = json_array_get(events, i - 1), *details = js_get(e, "Details");
        _cleanup_(freep) char *when = text_time_rfc3339(js_str(e, "Timestamp"));
        _cleanup_(freep) char *driver = xasprintf("Driver: %s", js_str(details, "driver"));
        _cleanup_(freep) char *more = detail_event_details(details);

        table_row(&t, "%s|%s|%s%s%s", when,
                  *js_str(details, "driver") ? driver : js_str(e, "Subsystem"),
                  js_str(e, "Message"), d->verbose ? "|" : "", d->verbose ? more : "");
    }
    ui_heading(d->cli, "Node Events");
    ui_table(d->cli, &t, TABLE_LIST);
}

struct detail_resources {
    json_int_t cpu, memory_mb, disk_mb;
};

static struct detail_resources detail_total(const json_t *node)
{
    const json_t *r = js_get(node, "Resources"), *reserved = js_get(node, "Reserved");

    return (struct detail_resources){
        js_int(r, "CPU") - js_int(reserved, "CPU"),
        js_int(r, "MemoryMB") - js_int(reserved, "MemoryMB"),
        js_int(r, "DiskMB") - js_int(reserved, "DiskMB"),
    };
}

static char *detail_mb(json_int_t mb)
{
    return text_bytes((uint64_t)mb << 20);
}

static void detail_allocated(const struct node_detail *d)
{
    struct detail_resources total = detail_total(d->node), used = {0};
    _cleanup_(table_fini) struct table t = {0};
    size_t i;
    json_t *a;

    json_array_foreach(d->running, i, a)
    {
        const json_t *r = js_get(a, "Resources");

        used.cpu += js_int(r, "CPU");
        used.memory_mb += js_int(r, "MemoryMB");
        used.disk_mb += js_int(r, "DiskMB");
    }
    _cleanup_(freep) char *memory = detail_mb(used.memory_mb);
    _cleanup_(freep) char *memory_total = detail_mb(total.memory_mb);
    _cleanup_(freep) char *disk = detail_mb(used.disk_mb);
    _cleanup_(freep) char *disk_total = detail_mb(total.disk_mb);

    table_row(&t, "CPU|Memory|Disk");
    table_row(&t, "%lld/%lld MHz|%s/%s|%s/%s", (long long)used.cpu, (long long)total.cpu, memory,
              memory_total, disk, disk_total);
    ui_heading(d->cli, "Allocated Resources");
    ui_table(d->cli, &t, TABLE_LIST);
}

/* What the running allocations really use; left out when one of them cannot be asked. */
static void detail_utilization(const struct node_detail *d)
{
    struct detail_resources total = detail_total(d->node);
    _cleanup_(table_fini) struct table t = {0};
    double cpu = 0;
    uint64_t rss = 0;
    size_t i;
    json_t *a;

    json_array_foreach(d->running, i, a)
    {
        _cleanup_(freep) char *path = xasprintf("/v1/client/allocation/%s/stats", js_str(a, "ID"));
        _cleanup_(json_decrefp) json_t *stats = NULL;
        const json_t *usage;

        if (client_call(&d->cli->client, "GET", path, NULL, &stats, NULL) < 0)
            return;
        usage = js_get(stats, "ResourceUsage");
        cpu += js_num(js_get(usage, "CpuStats"), "TotalTicks");
        rss += js_uint(js_get(usage, "MemoryStats"), "RSS");
    }
    _cleanup_(freep) char *memory = text_bytes(rss);
    _cleanup_(freep) char *memory_total = detail_mb(total.memory_mb);

    table_row(&t, "CPU|Memory");
    table_row(&t, "%.0f/%lld MHz|%s/%s", floor(cpu), (long long)total.cpu, memory, memory_total);
    ui_heading(d->cli, "Allocation Resource Utilization");
    ui_table(d->cli, &t, TABLE_LIST);
}

static char *detail_bytes(const json_t *obj, const char *key)
{
    return text_bytes(js_uint(obj, key));
}

static void detail_host_utilization(const struct node_detail *d)
{
    const char *device = js_str(js_get(d->node, "Attributes"), "unique.storage.volume");
    const json_t *memory = js_get(d->stats, "Memory"), *disk = NULL;
    _cleanup_(table_fini) struct table t = {0};
    size_t i;
    json_t *v;

    if (!d->stats) {
        ui_out(d->cli, "%s", "");
        ui_error(d->cli, "error fetching node stats: actual resource usage not present");
        return;
    }
    json_array_foreach(js_get(d->stats, "DiskStats"), i, v)
    {
        if (strcmp(js_str(v, "Device"), device) == 0)
            disk = v;
    }
    _cleanup_(freep) char *used = detail_bytes(memory, "Used");
    _cleanup_(freep) char *total = detail_bytes(memory, "Total");
    _cleanup_(freep) char *disk_used = detail_bytes(disk, "Used");
    _cleanup_(freep) char *disk_size = detail_bytes(disk, "Size");
    _cleanup_(freep) char *disk_text =
        disk ? xasprintf("%s/%s", disk_used, disk_size) : xasprintf("(%s)", device);

    table_row(&t, "CPU|Memory|Disk");
    table_row(&t, "%.0f/%lld MHz|%s/%s|%s", floor(js_num(d->stats, "CPUTicksConsumed")),
              (long long)js_int(js_get(d->node, "Resources"), "CPU"), used, total, disk_text);
    ui_heading(d->cli, "Host Resource Utilization");
    ui_table(d->cli, &t, TABLE_LIST);
}

static void detail_kv(struct cli *cli, const json_t *obj, const char *const (*rows)[2], size_t n,
                      char *(*text)(const json_t *obj, const char *key))
{
    _cleanup_(table_fini) struct table t = {0};

    for (size_t i = 0; i < n; i++) {
        _cleanup_(freep) char *value = text(obj, rows[i][1]);

        table_row(&t, "%s|%s", rows[i][0], value);
    }
    ui_table(cli, &t, TABLE_KV);
}

static char *detail_percent(const json_t *obj, const char *key)
{
    _cleanup_(freep) char *number = NULL;

    if (json_is_string(js_get(obj, key)))
        return xstrdup(js_str(obj, key));
    number = text_float2(js_num(obj, key));
    return xasprintf("%s%%", number);
}

static char *detail_disk_value(const json_t *obj, const char *key)
{
    return strstr(key, "Percent") || json_is_string(js_get(obj, key)) ? detail_percent(obj, key)
                                                                      : detail_bytes(obj, key);
}

/* -stats. */
static void detail_stats(const struct node_detail *d)
{
    static const char *const cpu[][2] = {
        {"CPU", "CPU"}, {"User", "User"}, {"System", "System"}, {"Idle", "Idle"}};
    static const char *const memory[][2] = {
        {"Total", "Total"}, {"Available", "Available"}, {"Used", "Used"}, {"Free", "Free"}};
    static const char *const disk[][2] = {
        {"Device", "Device"},
        {"MountPoint", "Mountpoint"},
        {"Size", "Size"},
        {"Used", "Used"},
        {"Available", "Available"},
        {"Used Percent", "UsedPercent"},
        {"Inodes Percent", "InodesUsedPercent"},
    };
    const json_t *cpus = js_get(d->stats, "CPU"), *disks = js_get(d->stats, "DiskStats");
    size_t i;
    json_t *v;

    ui_heading(d->cli, "CPU Stats");
    json_array_foreach(cpus, i, v)
    {
        detail_kv(d->cli, v, cpu, ARRAY_LEN(cpu), detail_percent);
        if (i + 1 < json_array_size(cpus))
            ui_out(d->cli, "%s", "");
    }
    ui_heading(d->cli, "Memory Stats");
    detail_kv(d->cli, js_get(d->stats, "Memory"), memory, ARRAY_LEN(memory), detail_bytes);
    ui_heading(d->cli, "Disk Stats");
    json_array_foreach(disks, i, v)
    {
        detail_kv(d->cli, v, disk, ARRAY_LEN(disk), detail_disk_value);
        if (i + 1 < json_array_size(disks))
            ui_out(d->cli, "%s", "");
    }
}

static void detail_map(const struct node_detail *d, const char *title, const char *field)
{
    const json_t *map = js_get(d->node, field);
    _cleanup_(freep) const char **keys = js_keys(map);
    _cleanup_(table_fini) struct table t = {0};

    for (size_t i = 0; keys[i]; i++)
        table_row(&t, "%s|%s", keys[i], js_str(map, keys[i]));
    ui_heading(d->cli, title);
    ui_table(d->cli, &t, TABLE_KV);
}

static void detail_allocs(const struct node_detail *d)
{
    _cleanup_(freep) char *list = alloc_list_text(d->allocs, d->verbose, d->id_len, false);

    ui_heading(d->cli, "Allocations");
    ui_out(d->cli, "%s", list);
    if (d->verbose) {
        detail_map(d, "Attributes", "Attributes");
        detail_map(d, "Meta", "Meta");
    }
}

static int detail_fetch_allocs(struct node_detail *d)
{
    _cleanup_(freep) char *path = xasprintf("/v1/node/%s/allocations", js_str(d->node, "ID"));
    size_t i;
    json_t *a;

    if (client_call(&d->cli->client, "GET", path, NULL, &d->allocs, NULL) < 0) {
        ui_error(d->cli, "Error querying node allocations: %s", cli_error(d->cli));
        return -1;
    }
    js_sort(d->allocs, alloc_newer);
    d->running = json_array();
    json_array_foreach(d->allocs, i, a)
    {
        if (strcmp(js_str(a, "ClientStatus"), "running") == 0)
            json_array_append(d->running, a);
    }
    return 0;
}

static void detail_full(struct node_detail *d)
{
    if (client_call(&d->cli->client, "GET", "/v1/client/stats", NULL, &d->stats, "node_id",
                    js_str(d->node, "ID"), NULL) < 0) {
        ui_out(d->cli, "%s", "");
        ui_error(d->cli, "error fetching node stats: %s", cli_error(d->cli));
    }
    detail_header(d);
    if (d->verbose)
        detail_volumes_and_drivers(d);
    detail_events(d);
    detail_allocated(d);
    detail_utilization(d);
    detail_host_utilization(d);
    if (d->stats && flags_bool(&d->cli->flags, "stats"))
        detail_stats(d);
    detail_allocs(d);
}

int node_detail_print(struct cli *cli, const json_t *node)
{
    struct node_detail d = {
        .cli = cli,
        .node = node,
        .is_short = flags_bool(&cli->flags, "short"),
        .verbose = flags_bool(&cli->flags, "verbose"),
    };
    int r;

    d.id_len = d.verbose ? TEXT_ID_FULL : TEXT_ID_SHORT;
    r = detail_fetch_allocs(&d);
    if (r == 0 && d.is_short) {
        detail_header(&d);
        detail_allocs(&d);
    } else if (r == 0)
        detail_full(&d);
    json_decref(d.allocs);
    json_decref(d.running);
    json_decref(d.stats);
    return r == 0 ? 0 : 1;
}
