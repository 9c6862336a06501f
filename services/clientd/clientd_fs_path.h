/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Files below an allocation's directory, as requests name them. Nothing outside of it can be
 * reached: not by "..", not by links that a task made. What tasks keep secret cannot be read.
 */
#pragma once

#include <dirent.h>
#include <sys/stat.h>

#include "base/base.h"
#include "base/err.h"
#include "client.pb.h"

#define FS_PATH_MAX    4096
#define FS_ENTRIES_MAX 16384 /* of a directory that is listed */

/* Text of all attempts to get out. */
#define FS_ESCAPES "Path escapes the alloc directory"

/*
 * Go's path.Clean of a path below the root: no "." and "..", no double or leading slash; "" is the
 * root itself. False when it leads out of the root, or is too long.
 */
bool fs_path_clean(const char *path, char out[static FS_PATH_MAX]);

/*
 * Opens below root, an absolute directory: what = "open" or "stat" for the error text; flags of
 * open(2), O_CLOEXEC and O_NONBLOCK are added. -errno with Go's text ("open /root/x: no such file
 * or directory"); -EXDEV with FS_ESCAPES.
 */
int fs_open(const char *root, const char *path, const char *what, int flags, int *ret_fd,
            struct errtext *e);
/* A regular file that may be read: -EISDIR, -EACCES (secrets) with Nomad's texts. */
int fs_open_file(const char *root, const char *path, int *ret_fd, struct errtext *e);

/* "-rw-r--r--" as Go prints it. */
void fs_mode_text(mode_t mode, char out[static 32]);
/* By the name's ending, else by the first bytes; a constant. */
const char *fs_content_type(const char *name, const void *head, size_t len);
/* Fills *ret; the caller releases. */
int fs_stat(const char *root, const char *path, steppe_FileInfo *ret, struct errtext *e);
/* Entries of a directory by name. */
int fs_list(const char *root, const char *path, steppe_FileInfoList *ret, struct errtext *e);

/* ---- a task's output: TASK.TYPE.N in alloc/logs ---- */

struct fs_log {
    uint64_t number;
    int64_t size;
};

/* N of "TASK.TYPE.N"; false for other names. */
bool fs_log_number(const char *name, const char *task, const char *type, uint64_t *ret);
/*
 * Where to begin: in logs, sorted by number, n > 0. from_end: offset bytes before the end of all
 * (a negative one, as in Nomad, behind the start of the newest); else behind the start of the
 * oldest. Returns the index; *ret_offset is within that file.
 */
size_t fs_log_begin(const struct fs_log *logs, size_t n, bool from_end, int64_t offset,
                    int64_t *ret_offset);
/* All of them, sorted, malloc'ed. 0 or -errno (no such directory) with a text. */
int fs_logs(const char *root, const char *task, const char *type, struct fs_log **ret,
            size_t *ret_n, struct errtext *e);
