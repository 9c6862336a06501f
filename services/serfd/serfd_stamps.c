/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What the server's data_dir says about whose it is: "federation-id" (ours: written at the first
 * start with an id), "group-id" (raftd's).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "serfd_shell.h"

#define FEDERATION_FILE "federation-id"
#define GROUP_FILE      "group-id"

int serfd_stamp_read(const char *path, char *buf, size_t size, struct errtext *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    buf[0] = 0;
    if (fd < 0)
        return errno == ENOENT ? 0
                               : err_set(e, -errno, "cannot read %s: %s", path, strerror(errno));
    n = read(fd, buf, size - 1);
    close(fd);
    if (n < 0)
        return err_set(e, -EIO, "cannot read %s", path);
    buf[n] = 0;
    buf[strcspn(buf, "\n")] = 0;
    return 0;
}

int serfd_stamp_write(const char *path, const char *text, struct errtext *e)
{
    _cleanup_(freep) char *line = xasprintf("%s\n", text);

    return serfd_file_replace(path, line, strlen(line), true, e);
}

static bool is_group(const char *text)
{
    return strlen(text) == GUARD_GROUP_LEN && strspn(text, "0123456789abcdef") == GUARD_GROUP_LEN;
}

int serfd_stamps_load(struct serfd *sd, struct errtext *e)
{
    const struct conf_server *c = &sd->ctx->conf->server;
    _cleanup_(freep) char *federation = xasprintf("%s/" FEDERATION_FILE, c->data_dir);
    _cleanup_(freep) char *group = xasprintf("%s/" GROUP_FILE, c->data_dir);
    char stamp[GUARD_ID_MAX + 2], id[GUARD_GROUP_LEN + 2];
    bool write = false;
    int r = serfd_stamp_read(federation, stamp, sizeof(stamp), e);

    if (r == 0 && strlen(stamp) > GUARD_ID_MAX)
        r = err_set(e, -EBADMSG, "%s: not the id of a federation", federation);
    sd->guard.accept = (const char *const *)c->federation_accept.items;
    sd->guard.accept_n = c->federation_accept.n;
    if (r == 0)
        r = err_prefix(e,
                       guard_stamp(c->federation_id, stamp, sd->guard.accept, sd->guard.accept_n,
                                   sd->guard.federation, &write, e),
                       "%s", federation);
    if (r == 0 && write) {
        r = serfd_stamp_write(federation, sd->guard.federation, e);
        log_info("data are of federation \"%s\" now before=\"%s\"", sd->guard.federation, stamp);
    }
    if (r == 0)
        r = serfd_stamp_read(group, id, sizeof(id), e);
    if (r == 0 && is_group(id))
        (void)snprintf(sd->raft_group, sizeof(sd->raft_group), "%s", id);
    return r;
}

int serfd_set_group(struct serfd *sd, const char *group)
{
    struct serf_event ev = {.type = SERF_EV_TAGS};
    struct strbuf meta = STRBUF_INIT;
    struct errtext e;
    int r = -EINVAL;

    if (!is_group(group))
        return -EINVAL;
    (void)snprintf(sd->raft_group, sizeof(sd->raft_group), "%s", group);
    r = serfd_conf_tags(sd, &meta, &e);
    if (r == 0) {
        ev.data = span_of(&meta);
        r = serfd_step(sd, &ev);
        serfd_settle(sd);
    }
    strbuf_fini(&meta);
    return r;
}
