/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Addresses: what may stand in a file, and what a node listens on and tells others in the end.
 */
#include "conf/conf_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#define ADDR_TEXT_MAX 128

/* ---- syntax ---- */

static bool is_ip(const char *text)
{
    unsigned char buf[16];

    return inet_pton(AF_INET, text, buf) == 1 || inet_pton(AF_INET6, text, buf) == 1;
}

static bool is_host_name(const char *text)
{
    size_t n = strlen(text);

    if (!n || n > 253)
        return false;
    /* Digits and dots alone are an IP address gone wrong. */
    if (strspn(text, "0123456789.") == n)
        return false;
    return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == n;
}

static bool port_ok(const char *text)
{
    size_t n = strlen(text);
    long v;

    if (!n || n > 5 || strspn(text, "0123456789") != n)
        return false;
    v = strtol(text, NULL, 10);
    return v >= 1 && v <= 65535;
}

/*
 * "a", "a:1", "[::1]", "[::1]:1" or "::1" into host and port ("" when there is none). What is
 * wrong, or NULL.
 */
static const char *split_host_port(const char *text, char host[static ADDR_TEXT_MAX * 2],
                                   char port[static 16])
{
    const char *colon, *end;
    size_t n = strlen(text);

    port[0] = host[0] = 0;
    if (n >= ADDR_TEXT_MAX * 2)
        return "is too long for an address";
    if (*text == '[') {
        end = strchr(text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return "is not an address";
        (void)snprintf(host, ADDR_TEXT_MAX * 2, "%.*s", (int)(end - text - 1), text + 1);
        colon = end[1] ? end + 1 : NULL;
    } else {
        colon = strchr(text, ':');
        if (colon && strchr(colon + 1, ':'))
            colon = NULL; /* a bare IPv6 address */
        (void)snprintf(host, ADDR_TEXT_MAX * 2, "%.*s", (int)(colon ? (size_t)(colon - text) : n),
                       text);
    }
    if (colon) {
        if (!port_ok(colon + 1))
            return "has a port that is not 1 to 65535";
        (void)snprintf(port, 16, "%.5s", colon + 1);
    }
    return NULL;
}

/* The inside of "{{ ... }}" without blanks around it; false when text is no template. */
static bool template_inside(const char *text, char out[static ADDR_TEXT_MAX])
{
    size_t n = strlen(text);
    const char *from = text + 2, *to;

    if (n < 4 || n >= ADDR_TEXT_MAX || strncmp(text, "{{", 2) != 0 ||
        strcmp(text + n - 2, "}}") != 0)
        return false;
    to = text + n - 2;
    while (from < to && *from == ' ')
        from++;
    while (to > from && to[-1] == ' ')
        to--;
    (void)snprintf(out, ADDR_TEXT_MAX, "%.*s", (int)(to - from), from);
    return true;
}

static bool template_known(const char *inside)
{
    return strcmp(inside, "GetPrivateIP") == 0 || strcmp(inside, "GetPublicIP") == 0 ||
           strncmp(inside, "GetInterfaceIP \"", 16) == 0;
}

const char *conf_addr_problem(const char *text, bool advertise)
{
    char host[ADDR_TEXT_MAX * 2], port[16], inside[ADDR_TEXT_MAX];
    const char *problem;

    if (template_inside(text, inside))
        return template_known(inside) ? NULL
                                      : "is a template that is not known here (GetPrivateIP, "
                                        "GetPublicIP, GetInterfaceIP \"NAME\" are)";
    if (!advertise)
        return is_ip(text) ? NULL : "is not an IP address";
    problem = split_host_port(text, host, port);
    if (problem)
        return problem;
    if (is_ip(host) || is_host_name(host))
        return NULL;
    return "is not an address";
}

const char *conf_host_problem(const char *text)
{
    char host[ADDR_TEXT_MAX * 2], port[16];
    const char *problem;

    if (strncmp(text, "provider=", 9) == 0)
        return "asks for cloud auto-join, which is not supported";
    problem = split_host_port(text, host, port);
    if (problem)
        return problem;
    return is_ip(host) || is_host_name(host) ? NULL : "is not an address";
}

/* A command can only come from the node's own files and flags: the API never takes one. */
const char *conf_source_problem(const char *text)
{
    if (strncmp(text, "exec=", 5) != 0)
        return conf_host_problem(text);
    return text[5 + strspn(text + 5, " ")] ? NULL : "names no command";
}

const char *conf_cidr_problem(const char *text)
{
    const char *slash = strchr(text, '/');
    char ip[ADDR_TEXT_MAX], *end;
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    long bits;

    if (n >= sizeof(ip))
        return "is not an address or ADDRESS/BITS";
    (void)snprintf(ip, sizeof(ip), "%.*s", (int)n, text);
    if (!is_ip(ip))
        return "is not an address or ADDRESS/BITS";
    if (!slash)
        return NULL;
    bits = strtol(slash + 1, &end, 10);
    if (slash[1] < '0' || slash[1] > '9' || *end || bits > (strchr(ip, ':') ? 128 : 32))
        return "has a prefix that is no number of bits of such an address";
    return NULL;
}

/* ---- resolution ---- */

static bool is_private4(uint32_t ip)
{
    return ip >> 24 == 10 || ip >> 20 == (172u << 4 | 1) || ip >> 16 == (192u << 8 | 168) ||
           ip >> 22 == (100u << 2 | 1);
}

enum pick { PICK_PRIVATE, PICK_PUBLIC, PICK_ANY };

/* The first IPv4 address of the kind on an interface that is up (or on the one named). */
static bool pick_ip(enum pick kind, const char *interface, char out[static ADDR_TEXT_MAX])
{
    struct ifaddrs *all, *i;
    bool found = false;

    if (getifaddrs(&all) != 0)
        return false;
    for (i = all; i && !found; i = i->ifa_next) {
        struct sockaddr_in sin;
        uint32_t ip;

        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_UP))
            continue;
        if (interface ? strcmp(i->ifa_name, interface) != 0 : (i->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        memcpy(&sin, i->ifa_addr, sizeof(sin));
        ip = ntohl(sin.sin_addr.s_addr);
        if (kind != PICK_ANY && is_private4(ip) != (kind == PICK_PRIVATE))
            continue;
        found = inet_ntop(AF_INET, &sin.sin_addr, out, ADDR_TEXT_MAX) != NULL;
    }
    freeifaddrs(all);
    return found;
}

/* Replaces a template in *addr by the address that it means now. */
static int resolve_template(char **addr, struct errtext *e)
{
    char inside[ADDR_TEXT_MAX], ip[ADDR_TEXT_MAX];
    bool found;

    if (!template_inside(*addr, inside))
        return 0;
    if (strcmp(inside, "GetPrivateIP") == 0) {
        found = pick_ip(PICK_PRIVATE, NULL, ip);
    } else if (strcmp(inside, "GetPublicIP") == 0) {
        found = pick_ip(PICK_PUBLIC, NULL, ip);
    } else {
        char *name = inside + strlen("GetInterfaceIP \"");

        name[strcspn(name, "\"")] = 0;
        found = pick_ip(PICK_ANY, name, ip);
    }
    if (!found)
        return err_set(e, -EADDRNOTAVAIL, "no address found for %s", *addr);
    free(*addr);
    *addr = xstrdup(ip);
    return 0;
}

static char *join_port(const char *host, int port)
{
    return strchr(host, ':') ? xasprintf("[%s]:%d", host, port) : xasprintf("%s:%d", host, port);
}

/* A host name -> its first address. *host is replaced. */
static int resolve_name(char host[static ADDR_TEXT_MAX * 2], struct errtext *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
    int r;

    if (is_ip(host))
        return 0;
    r = getaddrinfo(host, NULL, &hints, &ai);
    if (r)
        return err_set(e, -EADDRNOTAVAIL, "lookup %s: %s", host, gai_strerror(r));
    r = getnameinfo(ai->ai_addr, ai->ai_addrlen, host, ADDR_TEXT_MAX * 2, NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(ai);
    return r ? err_set(e, -EADDRNOTAVAIL, "lookup: %s", gai_strerror(r)) : 0;
}

/* *adv: "" or what the file said -> "IP:PORT". */
static int resolve_advertise(char **adv, const char *listen, int port, struct errtext *e)
{
    char host[ADDR_TEXT_MAX * 2], own_port[16] = "", ip[ADDR_TEXT_MAX];
    int r;

    r = resolve_template(adv, e);
    if (r)
        return r;
    if (**adv) {
        if (split_host_port(*adv, host, own_port))
            return err_set(e, -EINVAL, "\"%s\" is not an address", *adv);
        r = resolve_name(host, e);
        if (r)
            return r;
    } else if (strcmp(listen, "0.0.0.0") != 0 && strcmp(listen, "::") != 0) {
        (void)snprintf(host, sizeof(host), "%s", listen);
    } else if (pick_ip(PICK_PRIVATE, NULL, ip) || pick_ip(PICK_ANY, NULL, ip)) {
        (void)snprintf(host, sizeof(host), "%s", ip);
    } else {
        return err_set(e, -EADDRNOTAVAIL,
                       "Defaulting advertise to localhost is unsafe, please set advertise "
                       "manually");
    }
    free(*adv);
    *adv = join_port(host, own_port[0] ? (int)strtol(own_port, NULL, 10) : port);
    return 0;
}

static int resolve_wan(struct conf *c, struct errtext *e)
{
    int r = 0;

    if (*c->advertise_wan.rpc)
        r = err_prefix(e, resolve_advertise(&c->advertise_wan.rpc, "", c->ports.rpc, e),
                       "advertise.rpc_wan");
    if (r == 0 && *c->advertise_wan.serf && c->server.enabled)
        r = err_prefix(e, resolve_advertise(&c->advertise_wan.serf, "", c->ports.serf, e),
                       "advertise.serf_wan");
    return r;
}

int conf_addr_resolve(struct conf *c, struct errtext *e)
{
    struct {
        const char *name;
        char **listen, **adv;
        int port;
    } all[] = {
        {"HTTP", &c->addresses.http, &c->advertise.http, c->ports.http},
        {"RPC", &c->addresses.rpc, &c->advertise.rpc, c->ports.rpc},
        {"Serf", &c->addresses.serf, &c->advertise.serf, c->ports.serf},
    };
    int r;

    r = resolve_template(&c->bind_addr, e);
    if (r)
        return err_prefix(e, r, "Bind address resolution failed");
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        char *given;

        if (!**all[i].listen) {
            free(*all[i].listen);
            *all[i].listen = xstrdup(c->bind_addr);
        }
        r = resolve_template(all[i].listen, e);
        if (r)
            return err_prefix(e, r, "Failed to parse %s address", all[i].name);
        if (i == 2 && !c->server.enabled)
            continue; /* a pure client has no gossip */
        given = xstrdup(*all[i].adv);
        r = resolve_advertise(all[i].adv, *all[i].listen, all[i].port, e);
        if (r)
            r = err_prefix(e, r, "Failed to parse %s advertise address (%s, %s, %d, %s)",
                           all[i].name, given, *all[i].listen, all[i].port,
                           c->dev ? "true" : "false");
        free(given);
        if (r)
            return r;
    }
    return resolve_wan(c, e);
}
