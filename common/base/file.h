/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Files as wholes: read up to a bound, and written so that whoever looks, also after a crash, finds
 * the old content or the new one, never a part.
 *
 *     PATH.tmp -- written, synced --> renamed to PATH -- folder synced
 *
 * All functions return 0 or -errno. A file that could not be written is removed again: on a full
 * disk others need the room.
 */
#pragma once

#include <sys/types.h>

#include "base/strbuf.h"

/* Writes all of it, over interrupts and short writes. */
int file_write_all(int fd, const void *data, size_t len);

/*
 * Replaces the content of `path`, or makes it, with exactly this mode. Two writers of one path must
 * not meet. sync: it survives a power cut once this returns; without, only a crash of the process.
 * -ENOENT when there is no such folder.
 */
int file_replace(const char *path, const void *data, size_t len, mode_t mode, bool sync);
/* The same for a file that must not be there, always synced: -EEXIST. Makers may meet: one wins. */
int file_create(const char *path, const void *data, size_t len, mode_t mode);
/* Makes a new or renamed name in the folder of `path` survive a power cut. */
int file_sync_folder(const char *path);

/* Appends what is in the file to `out`; -EFBIG when that has a bound and is hit. */
int file_read(const char *path, struct strbuf *out);

/* Makes the folder `path` with this mode and those above it, each with `parents`, where missing. */
int file_make_folders(const char *path, mode_t parents, mode_t mode);
