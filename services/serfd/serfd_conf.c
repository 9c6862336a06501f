/* SPDX-License-Identifier: MPL-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "serfd_shell.h"
#include "tags.h"

#define OWN_TAGS_MAX   20
#define EPOCH_TAG_ROOM 16 /* bytes of the tag that the core adds */

int serfd_conf_split(const char *text, int default_port, char **ret_host, uint16_t *ret_port)
{
    const char *host = text, *end = text + strlen(text), *port = NULL;
    char *stop;
    long n = default_port;

    if (text[0] == '[') {
        host = text + 1;
        end = strchr(host, ']');
        if (!end || (end[1] && end[1] != ':'))
            return -EINVAL;
        port = end[1] ? end + 2 : NULL;
    } else if (strchr(text, ':') && strchr(text, ':') == strrchr(text, ':')) {
        end = strchr(text, ':');
        port = end + 1;
    }
    if (port) {
        n = strtol(port, &stop, 10);
        if (stop == port || *stop)
            return -EINVAL;
    }
    if (n < 1 || n > UINT16_MAX || end == host || end - host > 255)
        return -EINVAL;
    *ret_port = (uint16_t)n;
    *ret_host = xstrndup(host, (size_t)(end - host));
    return 0;
}

bool serfd_conf_ip(const char *host, uint16_t port, struct gossip_addr *ret)
{
    uint8_t ip[16];

    if (inet_pton(AF_INET, host, ip) == 1)
        return gossip_addr_from(ret, (struct span){ip, 4}, port);
    if (inet_pton(AF_INET6, host, ip) == 1)
        return gossip_addr_from(ret, (struct span){ip, 16}, port);
    return false;
}

static int split_ip(const char *text, int default_port, const char *what, struct gossip_addr *ret,
                    struct errtext *e)
{
    _cleanup_(freep) char *host = NULL;
    uint16_t port = 0;

    if (serfd_conf_split(text, default_port, &host, &port) || !serfd_conf_ip(host, port, ret))
        return err_set(e, -EINVAL, "%s: \"%s\" is no IP address", what, text);
    return 0;
}

/* Nomad's tags of a server (gossip-wire.md section 12), and ours: federation, raft_group. */
int serfd_conf_tags(const struct serfd *sd, struct strbuf *out, struct errtext *e)
{
    const struct conf *c = sd->ctx->conf;
    _cleanup_(freep) char *rpc_host = NULL;
    char port_text[8], expect_text[16];
    struct tag tags[OWN_TAGS_MAX];
    uint16_t port = 0;
    size_t n = 0;

    if (serfd_conf_split(c->advertise.rpc, c->ports.rpc, &rpc_host, &port))
        return err_set(e, -EINVAL, "advertise.rpc: \"%s\" is no address", c->advertise.rpc);
    (void)snprintf(port_text, sizeof(port_text), "%u", port);
    (void)snprintf(expect_text, sizeof(expect_text), "%d", c->server.bootstrap_expect);
    tags[n++] = (struct tag){"role", "nomad"};
    tags[n++] = (struct tag){"region", c->region};
    tags[n++] = (struct tag){"dc", c->datacenter};
    tags[n++] = (struct tag){"vsn", "1"};
    tags[n++] = (struct tag){"mvn", "1"};
    tags[n++] = (struct tag){"build", STEPPE_VERSION};
    tags[n++] = (struct tag){"raft_vsn", "3"};
    tags[n++] = (struct tag){"id", sd->ctx->node_id};
    tags[n++] = (struct tag){"rpc_addr", rpc_host};
    tags[n++] = (struct tag){"port", port_text};
    if (c->server.bootstrap_expect == 1)
        tags[n++] = (struct tag){"bootstrap", "1"};
    if (c->server.bootstrap_expect > 0)
        tags[n++] = (struct tag){"expect", expect_text};
    if (c->server.non_voting_server)
        tags[n++] = (struct tag){"nonvoter", "1"};
    if (c->advertise_wan.serf[0])
        tags[n++] = (struct tag){TAG_SERF_LAN, c->advertise.serf};
    if (c->advertise_wan.rpc[0])
        tags[n++] = (struct tag){TAG_RPC_WAN, c->advertise_wan.rpc};
    if (sd->guard.federation[0])
        tags[n++] = (struct tag){GUARD_TAG_FEDERATION, sd->guard.federation};
    if (sd->raft_group[0])
        tags[n++] = (struct tag){GUARD_TAG_GROUP, sd->raft_group};
    assert(n <= OWN_TAGS_MAX);
    if (tags_put(out, tags, n))
        return err_set(e, -E2BIG, "region, datacenter and address make tags of more than %d bytes",
                       TAGS_META_MAX);
    return 0;
}

/* The group and the region's epoch come to be after the start: their tags must fit then, too. */
static int put_first_tags(struct serfd *sd, struct strbuf *out, struct errtext *e)
{
    struct serfd whole = {.ctx = sd->ctx, .guard = sd->guard};
    struct strbuf room = STRBUF_INIT;
    int r;

    memset(whole.raft_group, '0', GUARD_GROUP_LEN);
    r = serfd_conf_tags(&whole, &room, e);
    if (r == 0 && room.len + EPOCH_TAG_ROOM > TAGS_META_MAX)
        r = err_set(e, -E2BIG, "region, datacenter and address make tags of more than %d bytes",
                    TAGS_META_MAX - EPOCH_TAG_ROOM);
    strbuf_fini(&room);
    return r ? r : serfd_conf_tags(sd, out, e);
}

static int read_allow(struct serfd *sd, struct errtext *e)
{
    const struct conf_list *l = &sd->ctx->conf->server.join_allow;

    for (size_t i = 0; i < l->n; i++) {
        if (sd->guard.allow_n == GUARD_ALLOW_MAX)
            return err_set(e, -E2BIG, "server.join_allow: more than %d entries", GUARD_ALLOW_MAX);
        if (guard_cidr_parse(l->items[i], &sd->guard.allow[sd->guard.allow_n++]))
            return err_set(e, -EINVAL, "server.join_allow: \"%s\" is no address", l->items[i]);
    }
    return 0;
}

static void override(int64_t *value, int64_t conf)
{
    if (conf > 0)
        *value = conf;
}

int serfd_conf_options(struct serfd *sd, struct serf_options *o, struct strbuf *name,
                       struct strbuf *meta, struct errtext *e)
{
    const struct conf *c = sd->ctx->conf;
    const struct conf_gossip *g = &c->gossip;
    int r;

    serf_options_default(o);
    r = split_ip(c->addresses.serf, c->ports.serf, "addresses.serf", &sd->listen_addr, e);
    sd->listen_addr.port = (uint16_t)c->ports.serf;
    if (r == 0)
        r = split_ip(c->advertise_wan.serf[0] ? c->advertise_wan.serf : c->advertise.serf,
                     c->ports.serf, "advertise.serf", &sd->advertise_addr, e);
    if (r == 0)
        r = read_allow(sd, e);
    if (r == 0)
        r = serfd_stamps_load(sd, e);
    if (r == 0)
        r = put_first_tags(sd, meta, e);
    if (r)
        return r;
    strbuf_addf(name, "%s.%s", c->name, c->region);
    if (name->len > SERF_NAME_MAX)
        return err_set(e, -EINVAL, "name and region make a name of more than %d bytes",
                       SERF_NAME_MAX);
    o->name = name->data;
    o->meta = span_of(meta);
    o->addr = sd->advertise_addr;
    o->keyring = &sd->keyring;
    o->guard = &sd->guard;
    o->compress = g->compression;
    override(&o->probe_interval, g->probe_interval);
    override(&o->probe_pace, g->probe_interval / 2);
    override(&o->probe_timeout, g->probe_timeout);
    override(&o->gossip_interval, g->gossip_interval);
    override(&o->push_pull_interval, g->push_pull_interval);
    override(&o->reconnect_interval, g->reconnect_interval);
    override(&o->reconnect_timeout, g->reconnect_timeout);
    override(&o->tombstone_timeout, g->tombstone_timeout);
    override(&o->reap_interval, g->reap_interval);
    if (g->suspicion_mult > 0)
        o->suspicion_mult = (unsigned)g->suspicion_mult;
    o->probe_timeout = MIN(o->probe_timeout, o->probe_interval);
    return 0;
}
