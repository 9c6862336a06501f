/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The file that remembers who was alive, and the clocks, so that a restarted server finds its pool
 * again. Lines of text: "clock: N", "event-clock: N", "query-clock: N", "left",
 * "alive: IP:PORT NAME".
 */
#pragma once

#include "base/err.h"
#include "base/strbuf.h"
#include "serfd_core.h"

#define SNAPSHOT_BYTES_MAX (8u << 20)
struct snapshot {
    uint64_t clocks[3]; /* member, event, query */
    bool left;
    char **addrs; /* "ip:port" of members that were alive; owned */
    size_t n;
};
/* 0 with *ret filled (empty when there is no file), or -errno. */
int snapshot_read(const char *path, struct snapshot *ret, struct errtext *e);
/* Parses the text of a file; what cannot be understood is left out. */
void snapshot_parse(const char *text, struct snapshot *ret);
void snapshot_fini(struct snapshot *snap);
/* The text for the machine's present state. */
void snapshot_format(const struct serf *serf, bool left, struct strbuf *out);
int snapshot_write(const char *path, const struct strbuf *text, struct errtext *e);
