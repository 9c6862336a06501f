/* SPDX-License-Identifier: MPL-2.0 */
/*
 * An allocation's bytes, looked at without decoding: where its texts and messages lie, and its
 * numbers. Reading one costs a fraction of a microsecond and allocates nothing, so that applying a
 * plan, following changes and making lists touch no metrics.
 *
 * Numbers of fields are those of steppe_Allocation (alloc.pb.h): view.text[steppe_Allocation_
 * node_id_tag], view.num[steppe_Allocation_modify_index_tag].
 */
#pragma once

#include "alloc.pb.h"
#include "base/base.h"
#include "state/store.h"

#define ALLOC_VIEW_TAGS 36

struct alloc_view {
    struct bytes text[ALLOC_VIEW_TAGS]; /* texts, messages (their content); data NULL: not there */
    uint64_t num[ALLOC_VIEW_TAGS];      /* numbers, 0: not there */
};

/*
 * Reads the fields of an Allocation over what the view has: later ones win, as when protobuf
 * merges. Start from {0}. Of a map or list the last item shows. False: damage.
 */
bool alloc_view_add(struct alloc_view *v, struct bytes allocation);

#define ALLOC_CLIENT_STATUSES(X)                                                                   \
    X(PENDING, "pending")                                                                          \
    X(RUNNING, "running")                                                                          \
    X(COMPLETE, "complete")                                                                        \
    X(FAILED, "failed")                                                                            \
    X(LOST, "lost")
enum alloc_client_status {
#define X(id, text) ALLOC_CLIENT_##id,
    ALLOC_CLIENT_STATUSES(X)
#undef X
        ALLOC_CLIENT_STATUS_COUNT
};
/* Empty is pending. False when the word is none of them. */
bool alloc_client_parse(struct bytes word, enum alloc_client_status *ret);
/* ALLOC_CLIENT_PENDING for an unknown word. */
enum alloc_client_status alloc_view_client(const struct alloc_view *v);
static inline bool alloc_client_terminal(enum alloc_client_status s)
{
    return s >= ALLOC_CLIENT_COMPLETE;
}

/* "stop" or "evict": a server wants it gone. */
bool alloc_view_stopped(const struct alloc_view *v);
/* Neither stopped by a server nor finished on its client: it takes its node's resources. */
bool alloc_view_live(const struct alloc_view *v);
