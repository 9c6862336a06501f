/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The folders of an allocation on disk, as Nomad lays them out:
 *     ALLOC_DIR/ID/alloc/{data,logs,tmp}, ALLOC_DIR/ID/TASK/{local,secrets,tmp}
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "base/err.h"

/* Makes what is missing of DIR and its shared part. -errno with a text. */
int alloc_dir_make(const char *dir, struct errtext *e);

struct alloc_dir_task {
    const char *name;
    bool root;     /* the folder becomes the task's root: its user must not change it */
    bool set_user; /* secrets belong to uid, gid */
    uid_t uid;
    gid_t gid;
};
int alloc_dir_make_task(const char *dir, const struct alloc_dir_task *t, struct errtext *e);

/* Moves FROM's data and the tasks' local folders to TO (sticky ephemeral disk). -errno. */
int alloc_dir_move(const char *from, const char *to, const char *const *tasks, size_t n,
                   struct errtext *e);

/* Removes a folder with all that is in it, never following a link. Slow: for a worker thread. */
int alloc_dir_remove(const char *dir);

/* Percent of the disk's bytes and inodes in use. */
int alloc_dir_usage(const char *dir, double *ret_bytes, double *ret_inodes);
