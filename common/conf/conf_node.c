/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What a node keeps about itself: its id, and the names of its sockets.
 */
#include "conf/conf_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
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

static int make_id(const char *file, struct errtext *e)
{
    char id[UUID_TEXT_LEN + 2];
    int r;

    uuid_make(id);
    id[UUID_TEXT_LEN] = '\n';
    r = file_create(file, id, UUID_TEXT_LEN + 1, 0600);
    if (r == -EEXIST) /* somebody was quicker: his counts */
        return 0;
    return r ? err_set(e, r, "create %s: %s", file, strerror(-r)) : 0;
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
    int r = file_make_folders(dir, 0755, mode);

    if (!r && access(dir, W_OK | X_OK) != 0)
        r = -errno;
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
