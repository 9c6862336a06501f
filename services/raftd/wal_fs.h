/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The file operations that the log and the snapshots need, as a table, so that the simulator can
 * lose, tear and fail them. Names are relative to one directory that must exist. All return 0 (or
 * a length, or a handle) or -errno.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

#define WAL_NAME_MAX 64

struct wal_file; /* an open file; what is inside is the table's business */

struct wal_fs {
    const struct wal_fs_ops *ops;
    void *user;
};

struct wal_fs_ops {
    int (*open)(void *user, const char *name, bool create, struct wal_file **ret);
    void (*close)(void *user, struct wal_file *f);
    ssize_t (*pread)(void *user, struct wal_file *f, void *buf, size_t n, uint64_t off);
    int (*pwrite)(void *user, struct wal_file *f, const void *buf, size_t n,
                  uint64_t off); /* all */
    int (*size)(void *user, struct wal_file *f, uint64_t *ret);
    int (*truncate)(void *user, struct wal_file *f, uint64_t size);
    int (*sync)(void *user, struct wal_file *f); /* data and size: fdatasync */
    int (*sync_dir)(void *user);                 /* names */
    int (*unlink)(void *user, const char *name);
    int (*rename)(void *user, const char *from, const char *to);
    /* Calls fn for each regular file, in any order; stops when it returns non-zero. */
    int (*list)(void *user, int (*fn)(void *arg, const char *name), void *arg);
};

/* Real files below `path` (created with mode 0700 when missing; its parent must exist). */
int wal_fs_posix_open(const char *path, struct wal_fs *ret);
void wal_fs_posix_close(struct wal_fs *fs);
