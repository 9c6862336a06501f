/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A directory of files in memory that behaves like a disk in a crash: writes that were not synced
 * are lost, kept or torn (at any byte, or with sectors missing in the middle), names that were not
 * synced are lost from some point on. The operations fail on demand.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "base/prng.h"

struct sim_disk;
struct sim_file;

struct sim_disk *sim_disk_new(struct prng *prng);
struct sim_disk *sim_disk_free(struct sim_disk *d); /* after its files were closed */

/* The power fails: what is not durable is lost or torn. Open files stay valid only to be closed. */
void sim_disk_crash(struct sim_disk *d);
/* Each changing operation after the next `ops` ones fails with `err` (< 0), until called with 0. */
void sim_disk_fail_after(struct sim_disk *d, uint64_t ops, int err);
uint64_t sim_disk_syncs(const struct sim_disk *d);
/* Flips a bit of what is stored; -ENOENT. */
int sim_disk_damage(struct sim_disk *d, const char *name, uint64_t offset);

int sim_disk_open(struct sim_disk *d, const char *name, bool create, struct sim_file **ret);
void sim_disk_close(struct sim_disk *d, struct sim_file *f);
ssize_t sim_disk_pread(struct sim_disk *d, struct sim_file *f, void *buf, size_t n, uint64_t off);
int sim_disk_pwrite(struct sim_disk *d, struct sim_file *f, const void *buf, size_t n,
                    uint64_t off);
int sim_disk_size(struct sim_disk *d, struct sim_file *f, uint64_t *ret);
int sim_disk_truncate(struct sim_disk *d, struct sim_file *f, uint64_t size);
int sim_disk_sync(struct sim_disk *d, struct sim_file *f);
int sim_disk_sync_dir(struct sim_disk *d);
int sim_disk_unlink(struct sim_disk *d, const char *name);
int sim_disk_rename(struct sim_disk *d, const char *from, const char *to);
int sim_disk_list(struct sim_disk *d, int (*fn)(void *arg, const char *name), void *arg);
