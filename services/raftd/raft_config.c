/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Layout: version 1 (u8), number of servers (u8), then per server in the order of ids: id (u64),
 * flags (u8, 1 = voter), uuid and address, each a length (u8) and its bytes. Little endian.
 */
#include <errno.h>
#include <string.h>

#include "raft_config.h"

#define CONFIG_VERSION 1
#define CONFIG_VOTER   1

uint64_t raft_id_from_uuid(const char *uuid)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a, 64 bits */

    for (const char *p = uuid; *p; p++)
        h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    return h ? h : 1;
}

const struct raft_server *raft_config_find(const struct raft_config *c, uint64_t id)
{
    for (unsigned i = 0; i < c->n; i++)
        if (c->servers[i].id == id)
            return &c->servers[i];
    return NULL;
}

bool raft_config_is_voter(const struct raft_config *c, uint64_t id)
{
    const struct raft_server *s = raft_config_find(c, id);

    return s && s->voter;
}

unsigned raft_config_voters(const struct raft_config *c)
{
    unsigned n = 0;

    for (unsigned i = 0; i < c->n; i++)
        n += c->servers[i].voter;
    return n;
}

int raft_config_add(struct raft_config *c, const struct raft_server *s)
{
    unsigned at = 0;

    if (s->id == 0 || strnlen(s->uuid, RAFT_UUID_MAX) == RAFT_UUID_MAX ||
        strnlen(s->address, RAFT_ADDRESS_MAX) == RAFT_ADDRESS_MAX)
        return -EINVAL;
    if (raft_config_find(c, s->id))
        return -EEXIST;
    if (c->n == RAFT_SERVERS_MAX)
        return -ENOSPC;
    while (at < c->n && c->servers[at].id < s->id)
        at++;
    memmove(&c->servers[at + 1], &c->servers[at], (c->n - at) * sizeof(*s));
    c->servers[at] = *s;
    c->n++;
    return 0;
}

int raft_config_remove(struct raft_config *c, uint64_t id)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].id != id)
            continue;
        memmove(&c->servers[i], &c->servers[i + 1], (c->n - i - 1) * sizeof(c->servers[0]));
        c->n--;
        return 0;
    }
    return -ENOENT;
}

static size_t config_put_text(uint8_t *buf, const char *text, size_t max)
{
    size_t len = strnlen(text, max - 1);

    buf[0] = (uint8_t)len;
    memcpy(buf + 1, text, len);
    return 1 + len;
}

size_t raft_config_encode(const struct raft_config *c, uint8_t buf[static RAFT_CONFIG_BYTES_MAX])
{
    size_t at = 0;

    assert(c->n <= RAFT_SERVERS_MAX);
    buf[at++] = CONFIG_VERSION;
    buf[at++] = (uint8_t)c->n;
    for (unsigned i = 0; i < c->n; i++) {
        const struct raft_server *s = &c->servers[i];

        for (int b = 0; b < 8; b++)
            buf[at++] = (uint8_t)(s->id >> (8 * b));
        buf[at++] = s->voter ? CONFIG_VOTER : 0;
        at += config_put_text(buf + at, s->uuid, RAFT_UUID_MAX);
        at += config_put_text(buf + at, s->address, RAFT_ADDRESS_MAX);
    }
    assert(at <= RAFT_CONFIG_BYTES_MAX);
    return at;
}

/* Reads a text with its length in front; 0 when it does not fit, else the bytes read. */
static size_t config_get_text(const uint8_t *data, size_t len, char *text, size_t max)
{
    size_t n;

    if (len < 1)
        return 0;
    n = data[0];
    if (n >= max || n > len - 1 || memchr(data + 1, 0, n))
        return 0;
    memcpy(text, data + 1, n);
    text[n] = '\0';
    return 1 + n;
}

static size_t config_get_server(const uint8_t *data, size_t len, struct raft_server *s)
{
    size_t at = 9, n;

    if (len < at || data[8] > CONFIG_VOTER)
        return 0;
    s->id = 0;
    for (int b = 0; b < 8; b++)
        s->id |= (uint64_t)data[b] << (8 * b);
    s->voter = data[8] == CONFIG_VOTER;
    n = config_get_text(data + at, len - at, s->uuid, RAFT_UUID_MAX);
    if (n == 0)
        return 0;
    at += n;
    n = config_get_text(data + at, len - at, s->address, RAFT_ADDRESS_MAX);
    return n == 0 ? 0 : at + n;
}

int raft_config_decode(const uint8_t *data, size_t len, struct raft_config *c)
{
    uint64_t before = 0;
    size_t at = 2;

    if (len < at || data[0] != CONFIG_VERSION || data[1] > RAFT_SERVERS_MAX)
        return -EBADMSG;
    c->n = data[1];
    for (unsigned i = 0; i < c->n; i++) {
        size_t n = config_get_server(data + at, len - at, &c->servers[i]);

        if (n == 0 || c->servers[i].id <= before)
            return -EBADMSG;
        before = c->servers[i].id;
        at += n;
    }
    return at == len ? 0 : -EBADMSG;
}
