/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The configuration of a group: who is in it, where, and who votes. It is the content of a CONFIG
 * entry and part of each snapshot. The core looks at ids and votes only.
 */
#pragma once

#include "base/base.h"

#define RAFT_SERVERS_MAX 16
#define RAFT_UUID_MAX    64  /* bytes with the NUL: the server's id as people see it */
#define RAFT_ADDRESS_MAX 128 /* "host:port" with the NUL */
#define RAFT_CONFIG_BYTES_MAX                                                                      \
    (8 + RAFT_SERVERS_MAX * (8 + 1 + 2 + RAFT_UUID_MAX + 2 + RAFT_ADDRESS_MAX))

struct raft_server {
    uint64_t id; /* > 0, unique: raft_id_from_uuid() */
    bool voter;
    char uuid[RAFT_UUID_MAX];
    char address[RAFT_ADDRESS_MAX];
};

struct raft_config {
    unsigned n;
    struct raft_server servers[RAFT_SERVERS_MAX]; /* in the order of ids */
};

/* Folds a UUID's text into an id > 0. */
uint64_t raft_id_from_uuid(const char *uuid);

const struct raft_server *raft_config_find(const struct raft_config *c, uint64_t id); /* or NULL */
bool raft_config_is_voter(const struct raft_config *c, uint64_t id);
unsigned raft_config_voters(const struct raft_config *c);

/* Keeps the order. -EEXIST, -ENOSPC, -EINVAL (id 0, text too long). */
int raft_config_add(struct raft_config *c, const struct raft_server *s);
/* -ENOENT. */
int raft_config_remove(struct raft_config *c, uint64_t id);

/* Returns the length (at most RAFT_CONFIG_BYTES_MAX). */
size_t raft_config_encode(const struct raft_config *c, uint8_t buf[static RAFT_CONFIG_BYTES_MAX]);
/* -EBADMSG for anything that encode would not have written; *c is undefined then. */
int raft_config_decode(const uint8_t *data, size_t len, struct raft_config *c);
