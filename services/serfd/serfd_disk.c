/* SPDX-License-Identifier: MPL-2.0 */
/* The files on disk: snapshot and keyring. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "serfd_shell.h"

int snapshot_read(const char *path, struct snapshot *ret, struct errtext *e)
{
    _cleanup_(strbuf_fini) struct strbuf text = STRBUF_BOUND(SNAPSHOT_BYTES_MAX);
    int r = file_read(path, &text);

    *ret = (struct snapshot){.n = 0};
    if (r == -EFBIG)
        return err_set(e, r, "%s: more than %u bytes", path, SNAPSHOT_BYTES_MAX);
    if (r < 0 && r != -ENOENT)
        return err_set(e, r, "cannot read %s: %s", path, strerror(-r));
    if (r == 0 && text.len > 0)
        snapshot_parse(text.data, ret);
    return 0;
}

int serfd_file_replace(const char *path, const char *data, size_t len, bool sync, struct errtext *e)
{
    int r = file_replace(path, data, len, 0600, sync);

    return r < 0 ? err_set(e, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

/*
 * Not synced: after a power failure an old or empty file only costs the way back by retry_join, and
 * a sync would hold up the gossip of this thread.
 */
int snapshot_write(const char *path, const struct strbuf *text, struct errtext *e)
{
    return serfd_file_replace(path, text->data, text->len, false, e);
}

int keyring_write(const char *path, const char *text, size_t len, struct errtext *e)
{
    return serfd_file_replace(path, text, len, true, e);
}

int keyring_read(const char *path, struct seal_keyring *ring, struct errtext *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char buf[SEAL_FILE_MAX];
    struct stat st;
    ssize_t n;
    int r;

    if (fd < 0)
        return err_set(e, -errno, "cannot open %s: %s", path, strerror(errno));
    if (fstat(fd, &st) == 0 && (st.st_mode & 077))
        log_warn("others may read the gossip keys path=%s mode=%04o", path,
                 (unsigned)st.st_mode & 07777);
    n = read(fd, buf, sizeof(buf));
    r = n < 0 ? -errno : 0;
    close(fd);
    if (r)
        return err_set(e, r, "cannot read %s: %s", path, strerror(-r));
    if ((size_t)n == sizeof(buf))
        r = err_set(e, -EFBIG, "it is too long");
    else
        r = seal_file_parse(buf, (size_t)n, ring, e);
    explicit_bzero(buf, sizeof(buf));
    return r ? err_prefix(e, r, "%s", path) : 0;
}
