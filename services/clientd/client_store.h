/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What clientd keeps on disk of its allocations: STATE_DIR/allocs/ID/alloc (as the servers gave it)
 * and .../state (ClientAllocRecord). Each is replaced by rename; a damaged file reads as an error.
 */
#pragma once

#include <pb.h>

#include "base/base.h"
#include "base/err.h"

/* With `sync` it is on the disk when this returns. The folder is made. -errno with a text. */
int client_store_write(const char *dir, const char *name, const pb_msgdesc_t *fields,
                       const void *msg, bool sync, struct errtext *e);
/* On success the caller does pb_release(). -ENOENT without the file, -EBADMSG for a damaged one. */
int client_store_read(const char *dir, const char *name, const pb_msgdesc_t *fields, void *msg,
                      size_t msg_size, struct errtext *e);
/* This boot of the machine. */
const char *client_boot_id(char out[static 40]);
