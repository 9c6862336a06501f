/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What a node keeps about itself: its id, and the names of its sockets.
 */
#include "conf/conf_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/prng.h"

_Static_assert(UUID_TEXT_LEN == 36, "conf_node_id() gives out 36 characters");

/* 0 and the id; -ENOENT; -EINVAL when the file holds something else. */
static int read_id(const char *file, char out[static 37], struct errtext *e)
{
    char text[64];
    ssize_t n;
    int fd = open(file, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_set(e, -errno, "open %s: %s", file, strerror(errno));
    n = read(fd, text, sizeof(text) - 1);
    if (n < 0) {
        n = -errno;
        close(fd);
        return err_set(e, (int)n, "read %s: %s", file, strerror((int)-n));
    }
    close(fd);
    text[n] = 0;
    text[strcspn(text, " \r\n")] = 0;
    if (!uuid_valid(text))
        return err_set(e, -EINVAL, "%s does not hold a UUID: remove it to get a new node id", file);
    memcpy(out, text, 37);
    return 0;
}

static int write_all(int fd, const char *text, size_t len)
{
    ssize_t n = write(fd, text, len);

    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EIO;
}

static int sync_dir_of(const char *file)
{
    char *dir = xstrdup(file), *slash = strrchr(dir, '/');
    int fd, r = 0;

    if (slash)
        slash[slash == dir] = 0;
    fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        r = -errno;
    if (fd >= 0)
        close(fd);
    free(dir);
    return r;
}

/* link(2) is the atom: of several makers one wins, and the others read what it wrote. */
static int make_id(const char *file, struct errtext *e)
{
    char id[UUID_TEXT_LEN + 2], *tmp;
    int fd, r;

    uuid_make(id);
    id[UUID_TEXT_LEN] = '\n';
    tmp = xasprintf("%s.%ld.tmp", file, (long)getpid());
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        r = err_set(e, -errno, "create %s: %s", tmp, strerror(errno));
        free(tmp);
        return r;
    }
    r = write_all(fd, id, UUID_TEXT_LEN + 1);
    if (!r && fsync(fd) != 0)
        r = -errno;
    close(fd);
    if (!r && link(tmp, file) != 0 && errno != EEXIST)
        r = -errno;
    (void)unlink(tmp);
    if (!r)
        r = sync_dir_of(file);
    if (r)
        err_set(e, r, "create %s: %s", file, strerror(-r));
    free(tmp);
    return r;
}

int conf_node_id(const char *file, char out[static 37], struct errtext *e)
{
    int r = read_id(file, out, e);

    if (r != -ENOENT)
        return r;
    r = make_id(file, e);
    return r ? r : read_id(file, out, e);
}

static int make_dir(const char *key, const char *dir, mode_t mode, struct errtext *e)
{
    char *path = xstrdup(dir);
    int r = 0;

    for (char *p = path + 1; !r && *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            r = -errno;
        *p = '/';
    }
    if (!r && mkdir(path, mode) != 0 && errno != EEXIST)
        r = -errno;
    if (!r && access(path, W_OK | X_OK) != 0)
        r = -errno;
    free(path);
    return r ? err_set(e, r, "%s %s is not writable: %s", key, dir, strerror(-r)) : 0;
}

int conf_make_dirs(const struct conf *c, struct errtext *e)
{
    /* Tasks of other users find their way through these; all else is the agent's own. */
    const mode_t passable = 0711, own = 0700;
    int r = make_dir("data_dir", c->data_dir, c->client.enabled ? passable : own, e);

    if (!r)
        r = make_dir("run_dir", c->run_dir, own, e);
    if (!r && c->server.enabled)
        r = make_dir("server.data_dir", c->server.data_dir, own, e);
    if (!r && c->client.enabled)
        r = make_dir("client.state_dir", c->client.state_dir, own, e);
    if (!r && c->client.enabled)
        r = make_dir("client.alloc_dir", c->client.alloc_dir, passable, e);
    return r;
}

char *conf_run_path(const struct conf *conf, const char *name)
{
    assert(strlen(name) <= CONF_RUN_NAME_MAX);
    return xasprintf("%s/%s", conf->run_dir, name);
}

char *conf_run_ipc(const struct conf *conf, const char *name)
{
    assert(strlen(name) <= CONF_RUN_NAME_MAX);
    return xasprintf("ipc://%s/%s", conf->run_dir, name);
}
