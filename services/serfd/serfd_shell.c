/* SPDX-License-Identifier: MPL-2.0 */
/* The core on the libuv loop: datagrams, the timer, effects, start and stop. */
#include "serfd_shell.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "packet.h"

#define UDP_BUFFER        (2 << 20) /* wished for in the kernel; halved until it agrees */
#define UDP_BURST_MAX     512       /* datagrams read before anything else gets its turn */
#define LOG_BURST         100       /* warnings about peers at once ... */
#define LOG_PER_SEC       5         /* ... and in the long run */
#define SNAPSHOT_DELAY_MS 500
#define SNAPSHOT_RETRY_MS 10000 /* after a write that failed */

/* ---- addresses ---- */

socklen_t serfd_sockaddr(const struct gossip_addr *a, struct sockaddr_storage *ss)
{
    struct sockaddr_in *in = (struct sockaddr_in *)ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

    memset(ss, 0, sizeof(*ss));
    if (a->ip_len == 4) {
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->ip, 4);
        return sizeof(*in);
    }
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(a->port);
    memcpy(&in6->sin6_addr, a->ip, 16);
    return sizeof(*in6);
}

bool serfd_from_sockaddr(const struct sockaddr *sa, struct gossip_addr *ret)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

    if (sa->sa_family == AF_INET)
        return gossip_addr_from(ret, (struct span){(const uint8_t *)&in->sin_addr, 4},
                                ntohs(in->sin_port));
    if (sa->sa_family == AF_INET6)
        return gossip_addr_from(ret, (struct span){(const uint8_t *)&in6->sin6_addr, 16},
                                ntohs(in6->sin6_port));
    return false;
}

/* ---- log ---- */

void serfd_log_peer(struct serfd *sd, enum log_level level, const char *text)
{
    int64_t now = clock_mono().ns, steps;

    if (level < LOG_WARN) {
        log_at(level, "%s", text);
        return;
    }
    steps = (now - sd->log_filled_at) * LOG_PER_SEC / NS_PER_SEC;
    if (steps > 0) {
        sd->log_allowance = MIN((int64_t)LOG_BURST, sd->log_allowance + steps);
        sd->log_filled_at = now;
    }
    if (sd->log_allowance == 0) {
        sd->log_suppressed++;
        return;
    }
    sd->log_allowance--;
    if (sd->log_suppressed > 0) {
        log_warn("warnings left out: there were too many number=%llu",
                 (unsigned long long)sd->log_suppressed);
        sd->log_suppressed = 0;
    }
    log_at(level, "%s", text);
}

/* ---- effects ---- */

/* A socket of IPv6 takes IPv4 addresses in the form ::ffff:1.2.3.4 only. */
static socklen_t sockaddr_for_udp(const struct serfd *sd, const struct gossip_addr *to,
                                  struct sockaddr_storage *ss)
{
    struct gossip_addr mapped = {.ip = {[10] = 0xff, [11] = 0xff}, .ip_len = 16, .port = to->port};

    if (sd->listen_addr.ip_len != 16 || to->ip_len != 4)
        return serfd_sockaddr(to, ss);
    memcpy(mapped.ip + 12, to->ip, 4);
    return serfd_sockaddr(&mapped, ss);
}

static void send_datagram(struct serfd *sd, const struct gossip_addr *to, struct span data)
{
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_for_udp(sd, to, &ss);
    struct strbuf sealed = STRBUF_INIT;

    if (sd->keyring.n > 0) {
        seal_close(&sd->keyring, 1, (struct span){NULL, 0}, NULL, data, &sealed);
        data = span_of(&sealed);
    }
    /* A datagram that cannot go is a lost one: the protocol knows how to live with it. */
    if (sendto(sd->udp_fd, data.p, data.len, 0, (struct sockaddr *)&ss, len) < 0)
        log_trace("datagram not sent error=%s", strerror(errno));
    strbuf_fini(&sealed);
}

static void finish_stop(struct serfd *sd);

static void carry_out(struct serfd *sd, const struct serf_effect *fx)
{
    struct span data = serf_out_data(&sd->out, fx);

    switch (fx->type) {
    case SERF_FX_SEND:
        send_datagram(sd, &fx->addr, data);
        break;
    case SERF_FX_DIAL:
        serfd_streams_dial(sd, fx, data);
        break;
    case SERF_FX_ANSWER:
        serfd_streams_answer(sd, fx->id, data);
        break;
    case SERF_FX_NOTE:
        serfd_log_peer(sd, fx->level, (const char *)data.p);
        break;
    case SERF_FX_JOINED:
        serfd_joined(sd, fx, (const char *)data.p);
        break;
    case SERF_FX_REPLY:
    case SERF_FX_REPLIED:
        serfd_ask_heard(sd, fx, data);
        break;
    case SERF_FX_SAVE_KEYS:
        serfd_keyring_save(sd, data);
        break;
    case SERF_FX_CHECKED:
        serfd_checked(sd, fx, (const char *)data.p);
        break;
    case SERF_FX_LEFT:
        sd->has_left = true;
        sd->snapshot_dirty = true;
        serfd_rpc_left(sd);
        if (sd->stopping)
            finish_stop(sd);
        break;
    }
}

/* Effects are only carried out here: none of them steps the core again within the call. */
int serfd_step(struct serfd *sd, struct serf_event *ev)
{
    int r;

    assert(!sd->stepping);
    sd->stepping = true;
    ev->now = clock_mono();
    ev->wall = clock_wall().ns;
    serf_out_reset(&sd->out);
    r = serf_step(sd->serf, ev, &sd->out);
    for (size_t i = 0; i < sd->out.n; i++)
        carry_out(sd, &sd->out.effects[i]);
    sd->stepping = false;
    return r;
}

uint64_t serfd_version(const struct serfd *sd)
{
    return sd->version_base + serf_version(sd->serf);
}

static bool snapshot_is_old(const struct serfd *sd)
{
    uint64_t clocks[3];

    serf_clocks(sd->serf, clocks);
    return sd->snapshot_dirty || memcmp(clocks, sd->snapshot_clocks, sizeof(clocks)) != 0;
}

static void write_snapshot(struct serfd *sd)
{
    struct strbuf text = STRBUF_INIT;
    struct errtext e;
    int r;

    if (!snapshot_is_old(sd))
        return;
    serf_clocks(sd->serf, sd->snapshot_clocks);
    snapshot_format(sd->serf, sd->has_left, &text);
    r = snapshot_write(sd->snapshot_path, &text, &e);
    if (r && !sd->snapshot_failing)
        log_warn("membership snapshot not written, trying again error=\"%s\"", e.text);
    else if (r == 0 && sd->snapshot_failing)
        log_info("membership snapshot written again");
    sd->snapshot_dirty = sd->snapshot_failing = r != 0;
    strbuf_fini(&text);
}

static void on_snapshot_timer(uv_timer_t *t)
{
    struct serfd *sd = t->data;

    write_snapshot(sd);
    if (sd->snapshot_failing)
        uv_timer_start(t, on_snapshot_timer, SNAPSHOT_RETRY_MS, 0);
}

static void on_tick(uv_timer_t *t);

void serfd_settle(struct serfd *sd)
{
    int64_t wait = serf_deadline(sd->serf).ns - clock_mono().ns;

    serfd_regions_settle(sd);
    if (serfd_version(sd) != sd->version_told) {
        sd->version_told = serfd_version(sd);
        sd->snapshot_dirty = true;
        if (sd->pub)
            bus_pub_version(sd->pub, sd->version_told);
    }
    if (!uv_is_active((uv_handle_t *)&sd->snapshot_timer) && snapshot_is_old(sd))
        uv_timer_start(&sd->snapshot_timer, on_snapshot_timer, SNAPSHOT_DELAY_MS, 0);
    uv_update_time(sd->ctx->loop);
    uv_timer_start(&sd->tick, on_tick,
                   wait <= 0 ? 0 : (uint64_t)((wait + NS_PER_MS - 1) / NS_PER_MS), 0);
}

/* ---- datagrams ---- */

static void drop_datagram(struct serfd *sd, const struct gossip_addr *from, const char *why)
{
    char text[GOSSIP_ADDR_TEXT_MAX], line[160];

    (void)snprintf(line, sizeof(line), "packet dropped: gossip keys do not match: %s from=%s", why,
                   gossip_addr_text(from, text));
    serfd_log_peer(sd, LOG_WARN, line);
}

/* Most encrypted packets cannot be a ping, whose first byte they share (gossip-wire.md 4.4). */
static bool looks_sealed(struct span data)
{
    return data.len > SEAL_OVERHEAD && data.p[0] <= 1 && (data.p[1] < 0x80 || data.p[1] > 0x9f) &&
           data.p[1] != 0xde && data.p[1] != 0xdc;
}

static void take_datagram(struct serfd *sd, const struct gossip_addr *from, struct span data)
{
    struct serf_event ev = {.type = SERF_EV_PACKET, .addr = *from, .data = data};
    struct strbuf plain = STRBUF_INIT;

    if (sd->keyring.n > 0) {
        if (seal_open(&sd->keyring, (struct span){NULL, 0}, data, &plain)) {
            drop_datagram(sd, from, "no installed key fits");
            strbuf_fini(&plain);
            return;
        }
        ev.data = span_of(&plain);
    } else if (looks_sealed(data)) {
        drop_datagram(sd, from, "it is encrypted and encryption is not configured");
        return;
    }
    if (ev.data.len > 0)
        (void)serfd_step(sd, &ev);
    strbuf_fini(&plain);
}

static void drain_datagrams(struct serfd *sd)
{
    static uint8_t buf[PACKET_MAX]; /* pages are only touched as far as datagrams are long */

    for (int i = 0; i < UDP_BURST_MAX; i++) {
        struct sockaddr_storage ss;
        socklen_t len = sizeof(ss);
        struct gossip_addr from;
        ssize_t n = recvfrom(sd->udp_fd, buf, sizeof(buf), 0, (struct sockaddr *)&ss, &len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return;
        if (n > 0 && serfd_from_sockaddr((struct sockaddr *)&ss, &from))
            take_datagram(sd, &from, (struct span){buf, (size_t)n});
    }
}

static void on_udp(uv_poll_t *p, int status, int events)
{
    struct serfd *sd = p->data;

    (void)status;
    (void)events;
    drain_datagrams(sd);
    serfd_settle(sd);
}

/*
 * What has come is read before the clock is looked at: after a stall the answers of others wait in
 * the socket, and nobody may be accused for our own sleep.
 */
static void on_tick(uv_timer_t *t)
{
    struct serfd *sd = t->data;
    struct serf_event ev = {.type = SERF_EV_TICK};

    drain_datagrams(sd);
    (void)serfd_step(sd, &ev);
    serfd_settle(sd);
}

static int open_udp(struct serfd *sd, struct errtext *e)
{
    char text[GOSSIP_ADDR_TEXT_MAX];
    struct sockaddr_storage ss;
    socklen_t len = serfd_sockaddr(&sd->listen_addr, &ss);
    int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return err_set(e, -errno, "cannot make a UDP socket: %s", strerror(errno));
    if (bind(fd, (struct sockaddr *)&ss, len) < 0) {
        int r = err_set(e, -errno, "cannot listen on UDP %s: %s",
                        gossip_addr_text(&sd->listen_addr, text), strerror(errno));

        close(fd);
        return r;
    }
    for (int size = UDP_BUFFER; size > 65536; size /= 2) {
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) == 0 ||
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) == 0)
            break;
    }
    sd->udp_fd = fd;
    uv_poll_init(sd->ctx->loop, &sd->udp_poll, fd);
    sd->udp_poll.data = sd;
    uv_poll_start(&sd->udp_poll, UV_READABLE, on_udp);
    return 0;
}

/* ---- life ---- */

static int make_dirs(struct serfd *sd, struct errtext *e)
{
    const char *base = sd->ctx->conf->server.data_dir;
    _cleanup_(freep) char *dir = xasprintf("%s/serf", base);

    if ((mkdir(base, 0700) < 0 && errno != EEXIST) || (mkdir(dir, 0700) < 0 && errno != EEXIST))
        return err_set(e, -errno, "cannot make %s: %s", dir, strerror(errno));
    sd->snapshot_path = xasprintf("%s/snapshot", dir);
    sd->keyring_path = xasprintf("%s/keyring", dir);
    return 0;
}

int serfd_init(struct svc_ctx *ctx, struct errtext *e)
{
    struct serfd *sd = xcalloc(1, sizeof(*sd));
    struct strbuf name = STRBUF_INIT, meta = STRBUF_INIT;
    struct serf_options o = {.seed = random_u64()};
    char text[GOSSIP_ADDR_TEXT_MAX];
    int r;

    ctx->user = sd;
    sd->ctx = ctx;
    sd->udp_fd = -1;
    sd->log_allowance = LOG_BURST;
    sd->version_base = (uint64_t)clock_wall().ns;
    uv_timer_init(ctx->loop, &sd->tick);
    uv_timer_init(ctx->loop, &sd->snapshot_timer);
    sd->tick.data = sd;
    sd->snapshot_timer.data = sd;
    if (!ctx->conf->server.enabled)
        return err_set(e, -EINVAL, "server.enabled is not set: only servers gossip");
    r = make_dirs(sd, e);
    if (r == 0)
        r = serfd_conf_options(sd, &o, &name, &meta, e);
    if (r == 0)
        r = serfd_keyring_load(sd, e);
    if (r == 0) {
        sd->serf = serf_new(&o, clock_mono());
        r = serfd_regions_load(sd, e);
    }
    if (r == 0) {
        r = open_udp(sd, e);
    }
    if (r == 0)
        r = serfd_streams_listen(sd, e);
    strbuf_fini(&name);
    strbuf_fini(&meta);
    if (r)
        return r;
    log_info("gossip is up name=%s.%s addr=%s encrypted=%s federation=\"%s\"", ctx->conf->name,
             ctx->conf->region, gossip_addr_text(&sd->advertise_addr, text),
             sd->keyring.n ? "yes" : "no", sd->guard.federation);
    serfd_joiner_init(sd);
    serfd_settle(sd);
    serfd_joiner_start(sd);
    return 0;
}

static void finish_stop(struct serfd *sd)
{
    write_snapshot(sd);
    svc_stopped(sd->ctx);
}

void serfd_stop(struct svc_ctx *ctx)
{
    struct serfd *sd = ctx->user;
    struct serf_event ev = {.type = SERF_EV_LEAVE};

    sd->stopping = true;
    if (!ctx->leaving || sd->has_left) {
        finish_stop(sd);
        return;
    }
    (void)serfd_step(sd, &ev); /* -EALREADY: somebody asked before, the end comes all the same */
    serfd_settle(sd);
}

void serfd_fini(struct svc_ctx *ctx)
{
    struct serfd *sd = ctx->user;

    if (!sd)
        return;
    serfd_keyring_fini(sd);
    serfd_joiner_fini(sd);
    serfd_rpc_fini(sd);
    serfd_ask_fini(sd);
    serfd_report_fini(sd); /* after the requests, which point to it */
    serfd_streams_fini(sd);
    uv_close((uv_handle_t *)&sd->tick, NULL);
    uv_close((uv_handle_t *)&sd->snapshot_timer, NULL);
    if (sd->udp_fd >= 0) {
        uv_close((uv_handle_t *)&sd->udp_poll, NULL);
        uv_run(ctx->loop, UV_RUN_NOWAIT);
        close(sd->udp_fd);
    }
    uv_run(ctx->loop, UV_RUN_NOWAIT); /* closed handles are in sd: let them go first */
    sd->serf = serf_free(sd->serf);
    serf_out_fini(&sd->out);
    free(sd->snapshot_path);
    free(sd->keyring_path);
    free(sd);
    ctx->user = NULL;
}
