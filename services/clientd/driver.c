/* SPDX-License-Identifier: MPL-2.0 */
#include "driver.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strbuf.h"

static const struct driver *const drivers[] = {&driver_exec, &driver_mock, &driver_raw_exec};

const struct driver *driver_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(drivers); i++)
        if (strcmp(drivers[i]->name, name) == 0)
            return drivers[i];
    return NULL;
}

bool driver_option(const struct conf *conf, const char *name)
{
    const struct conf_map *maps[] = {&conf->client.options, &conf->plugins};

    for (size_t m = 0; m < ARRAY_LEN(maps); m++)
        for (size_t i = 0; i < maps[m]->n; i++)
            if (strcmp(maps[m]->keys[i], name) == 0)
                return strcmp(maps[m]->values[i], "1") == 0 ||
                       strcasecmp(maps[m]->values[i], "true") == 0;
    return false;
}

static void add_attribute(steppe_Node *n, const char *key)
{
    n->attributes = xrealloc(n->attributes, (n->attributes_count + 1u) * sizeof(*n->attributes));
    n->attributes[n->attributes_count++] =
        (steppe_Node_AttributesEntry){xstrdup(key), xstrdup("1")};
}

void driver_fingerprint(const struct driver_ctx *ctx, steppe_Node *node)
{
    node->drivers = xcalloc(ARRAY_LEN(drivers), sizeof(*node->drivers));
    for (size_t i = 0; i < ARRAY_LEN(drivers); i++) {
        steppe_Node_DriversEntry *d = &node->drivers[node->drivers_count];
        _cleanup_(freep) char *key = xasprintf("driver.%s", drivers[i]->name);
        const char *health = "Healthy";
        bool there = drivers[i]->fingerprint(ctx, node, &health);

        if (!there && drivers[i] == &driver_mock)
            continue; /* nobody is to see it who has not asked for it */
        node->drivers_count++;
        d->key = xstrdup(drivers[i]->name);
        d->has_value = true;
        d->value.detected = d->value.healthy = there;
        d->value.health_description = xstrdup(health);
        d->value.update_time = clock_wall().ns;
        if (!there)
            continue;
        add_attribute(node, key);
        d->value.attributes = xcalloc(1, sizeof(*d->value.attributes));
        d->value.attributes_count = 1;
        d->value.attributes[0].key = xstrdup(key);
        d->value.attributes[0].value = xstrdup("true");
    }
}

char *driver_group_name(const char *alloc_id, const char *task, uint32_t run)
{
    struct strbuf name = STRBUF_INIT;

    strbuf_addf(&name, "%s.", alloc_id);
    for (const char *p = task; *p; p++) { /* the kernel takes no newline there */
        if (*p == '\n' || *p == '%')
            strbuf_addf(&name, "%%%02X", (unsigned)*p);
        else
            strbuf_addc(&name, *p);
    }
    strbuf_addf(&name, ".%u", run);
    return strbuf_take(&name);
}

char *driver_group(const struct driver *d, const struct driver_request *rq)
{
    _cleanup_(freep) char *name = driver_group_name(rq->alloc->id, rq->task->name, rq->run);

    if (rq->ctx->cgroups->version == CGROUP_NONE ||
        (d == &driver_raw_exec && driver_option(rq->ctx->conf, "raw_exec.no_cgroups")))
        return xstrdup("");
    /* Node and run are in the name: nodes may share a machine, and a new run never meets an old
     * one. */
    return xasprintf("%s/%s/%s", rq->ctx->conf->client.cgroup_parent, rq->ctx->node_id, name);
}

/* ---- strays ---- */

/* The folder of a taskd of ours ("taskd\0STATE_DIR/allocs/..."), or false. */
static bool taskd_folder(const char *pid, const char *prefix, char *out, size_t size)
{
    char path[64], text[4096];
    const char *arg;
    int fd;
    ssize_t n;

    (void)snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = 0;
    arg = text + strlen(text) + 1;
    if (arg >= text + n || strncmp(arg, prefix, strlen(prefix)) != 0)
        return false;
    n = (ssize_t)strlen(text);
    if (n < 5 || strcmp(text + n - 5, "taskd") != 0)
        return false;
    (void)snprintf(out, size, "%s", arg);
    return true;
}

/* Groups below our node's whose taskd is gone: nobody else would end what is in them. */
static void kill_groups(const struct driver_ctx *ctx, const char *node_group,
                        bool (*keep)(void *user, const char *folder), void *user)
{
    _cleanup_(freep) char *path =
        xasprintf("%s%s", ctx->cgroups->mount[CGROUP_FREEZER], node_group);
    DIR *d = opendir(path);
    struct dirent *ent;

    while (d && (ent = readdir(d))) {
        _cleanup_(freep) char *group = xasprintf("%s/%s", node_group, ent->d_name);
        _cleanup_(freep) char *name = xasprintf("group:%s", ent->d_name);

        if (ent->d_type != DT_DIR || ent->d_name[0] == '.' || keep(user, name))
            continue;
        if (cgroup_kill(ctx->cgroups, group) > 0)
            log_warn("killed what was left of a task that nobody knows group=%s", group);
        (void)cgroup_remove_tree(ctx->cgroups, group);
    }
    if (d)
        closedir(d);
}

void driver_kill_strays(const struct driver_ctx *ctx, const char *state_dir,
                        bool (*keep)(void *user, const char *folder), void *user)
{
    _cleanup_(freep) char *prefix = xasprintf("%s/allocs/", state_dir);
    _cleanup_(freep) char *group =
        xasprintf("%s/%s", ctx->conf->client.cgroup_parent, ctx->node_id);
    DIR *d = opendir("/proc");
    char folder[4096];
    struct dirent *ent;

    while (d && (ent = readdir(d))) {
        if (ent->d_name[0] < '0' || ent->d_name[0] > '9' ||
            !taskd_folder(ent->d_name, prefix, folder, sizeof(folder)) || keep(user, folder))
            continue;
        log_warn("ending a task that nobody knows taskd=%s folder=%s", ent->d_name, folder);
        (void)kill((pid_t)strtol(ent->d_name, NULL, 10), SIGTERM); /* takes its task along */
    }
    if (d)
        closedir(d);
    if (ctx->cgroups->version != CGROUP_NONE)
        kill_groups(ctx, group, keep, user);
}
