/* SPDX-License-Identifier: MPL-2.0 */
/* The snapshot file on disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "serfd_snapshot.h"

int snapshot_read(const char *path, struct snapshot *ret, struct errtext *e)
{
    struct strbuf text = STRBUF_BOUND(SNAPSHOT_BYTES_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;
    char buf[4096];

    *ret = (struct snapshot){.n = 0};
    if (fd < 0)
        return errno == ENOENT ? 0
                               : err_set(e, -errno, "cannot open %s: %s", path, strerror(errno));
    while (n > 0 && !strbuf_failed(&text)) {
        n = read(fd, buf, sizeof(buf));
        if (n > 0)
            strbuf_add(&text, buf, (size_t)n);
    }
    close(fd);
    if (n == 0 && text.len > 0)
        snapshot_parse(text.data, ret);
    strbuf_fini(&text);
    return n < 0 ? err_set(e, -EIO, "cannot read %s", path) : 0;
}

/*
 * By a new file and a rename, so that there is a whole one at any time. Not synced: after a power
 * failure an old or empty file only costs the way back by retry_join, and a sync would hold up the
 * gossip of this thread.
 */
int snapshot_write(const char *path, const struct strbuf *text, struct errtext *e)
{
    _cleanup_(freep) char *fresh = xasprintf("%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t done = 0;

    if (fd < 0)
        return err_set(e, -errno, "cannot make %s: %s", fresh, strerror(errno));
    while (done < text->len) {
        ssize_t n = write(fd, text->data + done, text->len - done);

        if (n <= 0) {
            int r = err_set(e, -errno, "cannot write %s: %s", fresh, strerror(errno));

            close(fd);
            return r;
        }
        done += (size_t)n;
    }
    close(fd);
    if (rename(fresh, path) < 0)
        return err_set(e, -errno, "cannot rename %s: %s", fresh, strerror(errno));
    return 0;
}
