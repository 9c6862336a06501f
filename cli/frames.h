/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What fs/stream and fs/logs send: JSON objects one behind the other, {"Data":base64,"File":...,
 * "Offset":n}, {"FileEvent":...} or {} as a heartbeat. Fed with pieces of any size. Pure.
 *
 * And the last lines of what a stream has before it follows on, as `tail -n` shows them.
 */
#pragma once

#include "base/base.h"
#include "base/strbuf.h"

#define FRAME_MAX (1u << 20) /* bytes of one frame; servers send 64 KiB of data at most */

struct frames {
    struct strbuf pending; /* the beginning of a frame */
    unsigned depth;
    bool in_string, escaped;
};
#define FRAMES_INIT                                                                                \
    {                                                                                              \
        .pending = STRBUF_BOUND(FRAME_MAX)                                                         \
    }

typedef void frames_data_fn(void *user, const char *data, size_t len);

/* fn gets the data of each frame that is whole now. -EPROTO for what are no frames. */
int frames_feed(struct frames *f, const char *bytes, size_t len, frames_data_fn *fn, void *user);
/* Was the end in the middle of a frame? */
bool frames_cut(const struct frames *f);
void frames_fini(struct frames *f);

/* Where the last n lines of a text begin; an unended line counts. */
size_t tail_start(const char *text, size_t len, size_t n);
