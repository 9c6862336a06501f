/* SPDX-License-Identifier: MPL-2.0 */
#include "task_left.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/types.h>

#include "base/file.h"

#define ENVIRON_MAX (4u << 20)

/* Is `pair` one of the NUL terminated strings? */
static bool has_string(const struct strbuf *b, const char *pair)
{
    for (const char *p = b->data; p < b->data + b->len; p += strlen(p) + 1)
        if (strcmp(p, pair) == 0)
            return true;
    return false;
}

static int kill_by_environment(const char *alloc_id, const char *task)
{
    _cleanup_(freep) char *id = xasprintf("NOMAD_ALLOC_ID=%s", alloc_id);
    _cleanup_(freep) char *name = xasprintf("NOMAD_TASK_NAME=%s", task);
    _cleanup_(strbuf_fini) struct strbuf b = STRBUF_BOUND(ENVIRON_MAX);
    DIR *d = opendir("/proc");
    struct dirent *ent;
    int seen = 0;

    while (d && (ent = readdir(d))) {
        _cleanup_(freep) char *path = xasprintf("/proc/%s/environ", ent->d_name);

        if (ent->d_name[0] < '0' || ent->d_name[0] > '9')
            continue;
        strbuf_reset(&b);
        /* A zombie has none left, and counts as gone. */
        if (file_read(path, &b) < 0 || !has_string(&b, id) || !has_string(&b, name))
            continue;
        (void)kill((pid_t)strtol(ent->d_name, NULL, 10), SIGKILL);
        seen++;
    }
    if (d)
        closedir(d);
    return seen;
}

int task_left_kill(const struct cgroup_host *h, const char *group, const char *alloc_id,
                   const char *task)
{
    return group[0] ? MAX(cgroup_kill(h, group), 0) : kill_by_environment(alloc_id, task);
}
