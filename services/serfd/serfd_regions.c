/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The region's epoch on disk ("REGION EPOCH" in SERVER_DATA_DIR/serf/region, see serfd_region.c),
 * and the methods by which regions leave or are removed.
 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "member.pb.h"
#include "serfd_shell.h"
#include "tags.h"
#include "wire/wire.h"

static char *file_path(const struct serfd *sd)
{
    return xasprintf("%s/serf/region", sd->ctx->conf->server.data_dir);
}

bool serfd_regions_out(const struct serfd *sd)
{
    return serf_epoch(sd->serf) % 2 == 1;
}

/* A region that was renamed begins anew: the epoch is of the old name. */
int serfd_regions_load(struct serfd *sd, struct errtext *e)
{
    struct serf_event ev = {.type = SERF_EV_REGION_EPOCH};
    _cleanup_(freep) char *path = file_path(sd);
    char text[512], *space, *end;
    int r = serfd_stamp_read(path, text, sizeof(text), e);
    unsigned long epoch;

    if (r || !text[0])
        return r;
    space = strrchr(text, ' ');
    epoch = space ? strtoul(space + 1, &end, 10) : 0;
    if (!space || *end || epoch > UINT32_MAX / 8)
        return err_set(e, -EBADMSG, "%s: not a region's epoch", path);
    *space = 0;
    if (strcmp(text, sd->ctx->conf->region) != 0)
        return 0;
    ev.id = sd->epoch = (uint32_t)epoch;
    if (epoch % 2)
        log_warn("this region has left the federation, `server join` brings it back");
    return serfd_step(sd, &ev);
}

static void reply_leave(struct serfd *sd);

void serfd_regions_settle(struct serfd *sd)
{
    _cleanup_(freep) char *path = NULL, *line = NULL;
    struct serf_stats st;
    struct errtext e;

    if (serf_epoch(sd->serf) != sd->epoch) {
        sd->epoch = serf_epoch(sd->serf);
        sd->snapshot_dirty = true;
        path = file_path(sd);
        line = xasprintf("%s %u", sd->ctx->conf->region, sd->epoch);
        if (serfd_stamp_write(path, line, &e))
            log_error("the region's place in the federation is not written, a restart may take it "
                      "back error=\"%s\"",
                      e.text);
    }
    if (!sd->region_req)
        return;
    serf_stats_get(sd->serf, &st);
    if (st.region_out || st.epoch % 2 == 0)
        reply_leave(sd);
}

/* ---- methods ---- */

static void reply(struct bus_req *req, steppe_SerfRegionResponse *resp)
{
    serfd_reply(req, steppe_SerfRegionResponse_fields, resp);
    pb_release(steppe_SerfRegionResponse_fields, resp);
}

static bool of_region(const struct serf_member_info *m, const char *region)
{
    struct span v;

    return tags_find(m->meta, "region", &v) && span_is(v, region);
}

static void reply_leave(struct serfd *sd)
{
    struct bus_req *req = TAKE_PTR(sd->region_req);
    steppe_SerfRegionResponse resp = {.region = xstrdup(sd->ctx->conf->region)};
    struct serf_member_info m;
    struct serf_stats st;
    char epoch[16];

    serf_stats_get(sd->serf, &st);
    (void)snprintf(epoch, sizeof(epoch), "%u", st.epoch);
    resp.servers = xcalloc(st.members + 1, sizeof(char *));
    resp.missing = xcalloc(st.members + 1, sizeof(char *));
    for (size_t i = 0; serf_member_at(sd->serf, i, &m); i++) {
        struct span v = {NULL, 0};

        if (m.status != SERF_ALIVE || !of_region(&m, sd->ctx->conf->region))
            continue;
        if (tags_find(m.meta, TAG_EPOCH, &v) && span_is(v, epoch))
            resp.servers[resp.servers_count++] = xstrdup(m.name);
        else
            resp.missing[resp.missing_count++] = xstrdup(m.name);
    }
    reply(req, &resp);
}

static void on_abort(struct bus_req *req)
{
    struct serfd *sd = req->user;

    sd->region_req = NULL;
}

void serfd_regions_leave(struct serfd *sd, struct bus_req *req)
{
    struct serf_event ev = {.type = SERF_EV_REGION_LEAVE};
    int r;

    if (sd->region_req) {
        bus_req_error(req, 409, true, "this region is leaving already");
        return;
    }
    r = serfd_step(sd, &ev);
    if (r == -ESHUTDOWN) {
        bus_req_error(req, 409, false, "this server is leaving");
        return;
    }
    req->user = sd;
    req->on_abort = on_abort;
    sd->region_req = req;
    serfd_settle(sd); /* answers at once when it has left before */
}

void serfd_regions_remove(struct serfd *sd, struct bus_req *req)
{
    struct serf_event ev = {.type = SERF_EV_FORCE_LEAVE, .prune = true};
    steppe_SerfRegionResponse resp = {0};
    steppe_SerfRegionRequest msg;
    struct serf_member_info m;
    struct serf_stats st;
    struct errtext e = {""};

    if (!bus_req_decode(req, steppe_SerfRegionRequest_fields, &msg, sizeof(msg)))
        return;
    serf_stats_get(sd->serf, &st);
    resp.region = xstrdup(msg.region ? msg.region : "");
    resp.servers = xcalloc(st.members + 1, sizeof(char *));
    for (size_t i = 0; serf_member_at(sd->serf, i, &m); i++) {
        if (!of_region(&m, resp.region))
            continue;
        if (m.status == SERF_ALIVE || m.status == SERF_LEAVING)
            (void)err_set(&e, -EBUSY, "server %s is %s", m.name, serf_status_name(m.status));
        resp.servers[resp.servers_count++] = xstrdup(m.name);
    }
    if (!e.text[0] && resp.servers_count == 0)
        (void)err_set(&e, -ENOENT, "no server of region \"%s\" is known", resp.region);
    for (pb_size_t i = 0; !e.text[0] && i < resp.servers_count; i++) {
        ev.name = resp.servers[i];
        (void)serfd_step(sd, &ev);
    }
    serfd_settle(sd);
    pb_release(steppe_SerfRegionRequest_fields, &msg);
    if (e.text[0]) {
        bus_req_error(req, 400, false, "%s", e.text);
        pb_release(steppe_SerfRegionResponse_fields, &resp);
    } else {
        log_info("region removed region=%s servers=%u", resp.region, (unsigned)resp.servers_count);
        reply(req, &resp);
    }
}
