/* SPDX-License-Identifier: MPL-2.0 */
#include "client_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/strbuf.h"
#include "wire/wire.h"

#define MAGIC    "STEPPE1\n"
#define FILE_MAX (16u << 20)

struct header {
    char magic[8];
    uint64_t hash; /* of what follows */
};

static int write_all(int fd, const void *data, size_t n)
{
    const char *p = data;

    while (n > 0) {
        ssize_t w = write(fd, p, n);

        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return -errno;
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

static int make_parents(char *path)
{
    for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
            return -errno;
        *p = '/';
    }
    return 0;
}

static int put(const char *path, const struct header *h, const struct strbuf *body, bool sync)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), r;

    if (fd < 0)
        return -errno;
    r = write_all(fd, h, sizeof(*h));
    if (r == 0)
        r = write_all(fd, body->data, body->len);
    if (r == 0 && sync && fdatasync(fd) < 0)
        r = -errno;
    close(fd);
    return r;
}

int client_store_write(const char *dir, const char *name, const pb_msgdesc_t *fields,
                       const void *msg, bool sync, struct errtext *e)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_BOUND(FILE_MAX);
    _cleanup_(freep) char *path = xasprintf("%s/%s", dir, name);
    _cleanup_(freep) char *tmp = xasprintf("%s/%s.tmp", dir, name);
    struct header h = {.magic = MAGIC};
    int r = wire_encode(fields, msg, &body);

    if (r < 0)
        return err_set(e, r, "cannot encode %s", path);
    h.hash = XXH3_64bits(body.data ? body.data : "", body.len);
    r = put(tmp, &h, &body, sync);
    if (r == -ENOENT) {
        r = make_parents(tmp);
        if (r == 0)
            r = put(tmp, &h, &body, sync);
    }
    if (r == 0 && rename(tmp, path) < 0)
        r = -errno;
    if (r < 0)
        (void)unlink(tmp); /* on a full disk others need the room */
    return r < 0 ? err_set(e, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

int client_store_read(const char *dir, const char *name, const pb_msgdesc_t *fields, void *msg,
                      size_t msg_size, struct errtext *e)
{
    _cleanup_(strbuf_fini) struct strbuf b = STRBUF_BOUND(FILE_MAX + sizeof(struct header));
    _cleanup_(freep) char *path = xasprintf("%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct header h;
    ssize_t n = 1;

    if (fd < 0)
        return err_set(e, -errno, "cannot open %s: %s", path, strerror(errno));
    while (n > 0) {
        char *p = strbuf_reserve(&b, 16384);

        n = p ? read(fd, p, 16384) : -1;
        b.len += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    if (n < 0 || b.len < sizeof(h))
        return err_set(e, -EBADMSG, "%s is damaged", path);
    memcpy(&h, b.data, sizeof(h));
    if (memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0 ||
        h.hash != XXH3_64bits(b.data + sizeof(h), b.len - sizeof(h)))
        return err_set(e, -EBADMSG, "%s is damaged", path);
    return wire_decode(fields, b.data + sizeof(h), b.len - sizeof(h), msg, msg_size, e);
}

const char *client_boot_id(char out[static 40])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, 39);

    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = 0;
    out[strcspn(out, "\n")] = 0;
    return out;
}
