/* SPDX-License-Identifier: MPL-2.0 */
/* What the queries share: paging, and Nomad's rules for UUIDs and their prefixes. Internal. */
#pragma once

#include <string.h>

#include "base/prng.h"
#include "state/state.h"

/* A UUID or the beginning of one, in canonical text (lower case, dashes in their places). */
struct uuid_prefix {
    char text[UUID_TEXT_LEN + 1];
};

/*
 * As go-memdb reads a UUID: dashes anywhere, hex digits, an even number of them; whole: 36
 * characters. STATE_E_INVALID with its text in *e.
 */
int uuid_prefix_parse(const char *text, bool whole, struct uuid_prefix *ret, struct errtext *e);

/* The bytes that all 16-byte keys with this prefix begin with. */
struct bytes uuid_prefix_bytes(const struct uuid_prefix *p, uint8_t buf[static 16]);

/* First row of a list or of its next part. */
int state_list_start(struct store_cursor *c, const struct state_page *page, struct bytes *key,
                     struct bytes *value);
/* Is the part full? Then the row at key is left to the next one. */
bool state_list_full(struct state_page *page, size_t len_before, const struct strbuf *body,
                     struct bytes key);
/* The end of the table is success; a body over its bound is -EMSGSIZE. */
int state_list_end(int r, const struct strbuf *body);

/* The namespace that a list is of: data NULL when of all ("*"); "" is the default one. */
static inline struct bytes state_list_ns(const char *ns)
{
    return strcmp(ns, "*") == 0 ? (struct bytes){0} : bytes_text(*ns ? ns : "default");
}

/*
 * Part of a list: the rows of a table with UUIDs (16 bytes) as keys, of those that begin with the
 * prefix. fn appends what it wants of a row to body, or returns -errno, which ends the list.
 * STATE_E_INVALID with its text in *e for a bad prefix.
 */
struct state_uuid_list {
    enum state_table table;
    const char *prefix;
    struct state_page *page; /* may be NULL */
    const struct strbuf *body;
    int (*fn)(void *user, struct bytes key, struct bytes value);
    void *user;
};
int state_uuid_list(struct store_txn *t, const struct state_uuid_list *l, struct state_meta *m,
                    struct errtext *e);
