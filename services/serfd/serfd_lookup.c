/* SPDX-License-Identifier: MPL-2.0 */
/* "host[:port]" to addresses; names by the resolver, on another thread. */
#include <errno.h>
#include <netdb.h>

#include "serfd_shell.h"

#define LOOKUPS_MAX 256 /* a name server that is silent takes each one's 10 s or more */

static unsigned under_way;

struct lookup {
    uv_getaddrinfo_t req;
    serfd_lookup_fn *fn;
    void *user;
    char *host;
    uint16_t port;
};

static void lookup_free(struct lookup *lk)
{
    free(lk->host);
    free(lk);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *res)
{
    struct lookup *lk = CONTAINER_OF(req, struct lookup, req);
    struct gossip_addr addrs[LOOKUP_ADDRS_MAX];
    size_t n = 0;

    for (struct addrinfo *ai = res; status == 0 && ai && n < ARRAY_LEN(addrs); ai = ai->ai_next) {
        if (!serfd_from_sockaddr(ai->ai_addr, &addrs[n]))
            continue;
        addrs[n++].port = lk->port;
    }
    uv_freeaddrinfo(res);
    under_way--;
    lk->fn(lk->user, lk->host, status ? uv_strerror(status) : n ? NULL : "no address", addrs, n);
    lookup_free(lk);
}

void serfd_lookup(struct serfd *sd, const char *text, serfd_lookup_fn *fn, void *user)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct lookup *lk = xcalloc(1, sizeof(*lk));
    struct gossip_addr addr;
    bool asked = false;
    int r = 0;

    *lk = (struct lookup){.fn = fn, .user = user};
    if (serfd_conf_split(text, sd->ctx->conf->ports.serf, &lk->host, &lk->port))
        fn(user, text, "not a host or host:port", NULL, 0);
    else if (serfd_conf_ip(lk->host, lk->port, &addr))
        fn(user, lk->host, NULL, &addr, 1);
    else if (under_way == LOOKUPS_MAX)
        fn(user, text, "too many names are being looked up", NULL, 0);
    else if ((r = uv_getaddrinfo(sd->ctx->loop, &lk->req, on_resolved, lk->host, NULL, &hints)))
        fn(user, text, uv_strerror(r), NULL, 0);
    else
        asked = true;
    if (asked)
        under_way++;
    else
        lookup_free(lk);
}
