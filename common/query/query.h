/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Read methods over the replicated state: RPC method -> query, in one table. raftd answers requests
 * with it; apid, on the same node, answers stale reads with it without a message.
 */
#pragma once

#include "base/base.h"
#include "base/err.h"
#include "base/strbuf.h"
#include "envelope.pb.h"
#include "state/state.h"
#include "state/watch.h"

/* What to watch until the answer may change; keys point into buf. */
struct query_watch {
    struct watch_key keys[WATCH_KEYS_MAX];
    size_t n;
    uint8_t buf[STATE_KEY_MAX];
};

/* True when query_run() knows the method. */
bool query_known(unsigned method);

/*
 * Runs the read that env and its body ask for in t. Appends the reply's body to out and fills rep
 * (index; code and error when there is no such object or the request is bad). w may be NULL.
 * -errno only when the store fails.
 */
int query_run(struct store_txn *t, const steppe_Request *env, const void *body, size_t len,
              struct strbuf *out, steppe_Reply *rep, struct query_watch *w);

/*
 * The same in parts, for those who must not be away for long: a list stops after about
 * page->bytes_max bytes, and when page->more is set afterwards, the next call with the same
 * transaction, out and page appends what follows. Begin with a page of {.bytes_max = n}.
 */
int query_run_part(struct store_txn *t, const steppe_Request *env, const void *body, size_t len,
                   struct strbuf *out, steppe_Reply *rep, struct query_watch *w,
                   struct state_page *page);
