/* SPDX-License-Identifier: MPL-2.0 */
#include "sim_raft_disk.h"

static int fs_open(void *d, const char *name, bool create, struct wal_file **ret)
{
    return sim_disk_open(d, name, create, (struct sim_file **)ret);
}
static void fs_close(void *d, struct wal_file *f)
{
    sim_disk_close(d, (struct sim_file *)f);
}
static ssize_t fs_pread(void *d, struct wal_file *f, void *buf, size_t n, uint64_t off)
{
    return sim_disk_pread(d, (struct sim_file *)f, buf, n, off);
}
static int fs_pwrite(void *d, struct wal_file *f, const void *buf, size_t n, uint64_t off)
{
    return sim_disk_pwrite(d, (struct sim_file *)f, buf, n, off);
}
static int fs_size(void *d, struct wal_file *f, uint64_t *ret)
{
    return sim_disk_size(d, (struct sim_file *)f, ret);
}
static int fs_truncate(void *d, struct wal_file *f, uint64_t size)
{
    return sim_disk_truncate(d, (struct sim_file *)f, size);
}
static int fs_sync(void *d, struct wal_file *f)
{
    return sim_disk_sync(d, (struct sim_file *)f);
}
static int fs_sync_dir(void *d)
{
    return sim_disk_sync_dir(d);
}
static int fs_unlink(void *d, const char *name)
{
    return sim_disk_unlink(d, name);
}
static int fs_rename(void *d, const char *from, const char *to)
{
    return sim_disk_rename(d, from, to);
}
static int fs_list(void *d, int (*fn)(void *arg, const char *name), void *arg)
{
    return sim_disk_list(d, fn, arg);
}

static const struct wal_fs_ops sim_fs_ops = {fs_open,   fs_close,    fs_pread, fs_pwrite,
                                             fs_size,   fs_truncate, fs_sync,  fs_sync_dir,
                                             fs_unlink, fs_rename,   fs_list};

struct wal_fs sim_wal_fs(struct sim_disk *d)
{
    return (struct wal_fs){&sim_fs_ops, d};
}
