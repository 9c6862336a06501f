/* SPDX-License-Identifier: MPL-2.0 */
#include "client_store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "wire/wire.h"

#define MAGIC    "STEPPE1\n"
#define FILE_MAX (16u << 20)

struct header {
    char magic[8];
    uint64_t hash; /* of what follows */
};

int client_store_write(const char *dir, const char *name, const pb_msgdesc_t *fields,
                       const void *msg, bool sync, struct errtext *e)
{
    _cleanup_(strbuf_fini) struct strbuf text = STRBUF_BOUND(sizeof(struct header) + FILE_MAX);
    _cleanup_(freep) char *path = xasprintf("%s/%s", dir, name);
    struct header h = {.magic = MAGIC};
    int r;

    strbuf_add(&text, &h, sizeof(h));
    r = wire_encode(fields, msg, &text);
    if (r < 0)
        return err_set(e, r, "cannot encode %s", path);
    h.hash = XXH3_64bits(text.data + sizeof(h), text.len - sizeof(h));
    memcpy(text.data, &h, sizeof(h));
    r = file_replace(path, text.data, text.len, 0600, sync);
    if (r == -ENOENT) {
        r = file_make_folders(dir, 0700, 0700);
        if (r == 0)
            r = file_replace(path, text.data, text.len, 0600, sync);
        if (r == 0 && sync)
            r = file_sync_folder(dir);
    }
    return r < 0 ? err_set(e, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

int client_store_read(const char *dir, const char *name, const pb_msgdesc_t *fields, void *msg,
                      size_t msg_size, struct errtext *e)
{
    _cleanup_(strbuf_fini) struct strbuf b = STRBUF_BOUND(FILE_MAX + sizeof(struct header));
    _cleanup_(freep) char *path = xasprintf("%s/%s", dir, name);
    struct header h;
    int r = file_read(path, &b);

    if (r < 0 && r != -EFBIG)
        return err_set(e, r, "cannot read %s: %s", path, strerror(-r));
    if (r < 0 || b.len < sizeof(h))
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
