/* SPDX-License-Identifier: MPL-2.0 */
/* The files on disk: snapshot and keyring. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "serfd_shell.h"

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
    if (n > 0)
        return err_set(e, -EFBIG, "%s: more than %u bytes", path, SNAPSHOT_BYTES_MAX);
    return n < 0 ? err_set(e, -EIO, "cannot read %s", path) : 0;
}

static int write_all(int fd, const char *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, data + done, len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return 0;
}

/* The name of a renamed file is only safe when its folder is. */
static int sync_folder_of(const char *path)
{
    _cleanup_(freep) char *dir = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

    if (fd < 0)
        return -errno;
    r = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return r;
}

int serfd_file_replace(const char *path, const char *data, size_t len, bool sync, struct errtext *e)
{
    _cleanup_(freep) char *fresh = xasprintf("%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), r;

    if (fd < 0)
        return err_set(e, -errno, "cannot make %s: %s", fresh, strerror(errno));
    r = write_all(fd, data, len);
    if (r == 0 && sync && fsync(fd) < 0)
        r = -errno;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    if (r)
        return err_set(e, r, "cannot write %s: %s", fresh, strerror(-r));
    if (rename(fresh, path) < 0)
        return err_set(e, -errno, "cannot rename %s: %s", fresh, strerror(errno));
    r = sync ? sync_folder_of(path) : 0;
    return r ? err_set(e, r, "cannot sync the folder of %s: %s", path, strerror(-r)) : 0;
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
