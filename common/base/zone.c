/* SPDX-License-Identifier: MPL-2.0 */
#include "base/zone.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ZONE_DIR   "/usr/share/zoneinfo/"
#define ZONE_MAGIC "TZif"

/* The system's text as Go has it: without the capital. */
static int system_error(int err, struct errtext *e)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "%s", strerrordesc_np(err));
    text[0] = (char)tolower((unsigned char)text[0]);
    return err_set(e, -err, "%s", text);
}

int zone_check(const char *name, struct errtext *e)
{
    char path[sizeof(ZONE_DIR) + 4096], magic[sizeof(ZONE_MAGIC) - 1];
    ssize_t n;
    int fd, err;

    if (!*name || strcmp(name, "UTC") == 0 || strcmp(name, "Local") == 0)
        return 0;
    if (name[0] == '/' || name[0] == '\\' || strstr(name, ".."))
        return err_set(e, -EINVAL, "time: invalid location name");
    if ((size_t)snprintf(path, sizeof(path), "%s%s", ZONE_DIR, name) >= sizeof(path))
        return system_error(ENAMETOOLONG, e);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return err_set(e, -ENOENT, "unknown time zone %s", name);
    if (fd < 0)
        return system_error(errno, e);
    n = read(fd, magic, sizeof(magic));
    err = errno;
    (void)close(fd);
    if (n < 0)
        return system_error(err, e);
    if (n < (ssize_t)sizeof(magic) || memcmp(magic, ZONE_MAGIC, sizeof(magic)) != 0)
        return err_set(e, -EINVAL, "malformed time zone information");
    return 0;
}
