/* SPDX-License-Identifier: MPL-2.0 */
/* Serf.JoinCheck: names to addresses, a check of each, all findings in one answer. */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "member.pb.h"
#include "serfd_shell.h"
#include "wire/wire.h"

#define TARGETS_MAX  16
#define FINDINGS_MAX 256

/* One request. */
struct serfd_report {
    struct serfd *sd; /* NULL: the daemon stops */
    struct serfd_report *next;
    struct bus_req *req; /* NULL: nobody waits any more */
    uint64_t ids[TARGETS_MAX];
    size_t n_ids;
    size_t checks, lookups; /* under way */
    steppe_SerfJoinCheckResponse resp;
};

static void add(struct serfd_report *rep, const char *address, const char *check,
                const char *status, const char *text)
{
    steppe_SerfJoinCheckResponse *r = &rep->resp;

    r->ok = r->ok && strcmp(status, "fail") != 0;
    if (r->findings_count == FINDINGS_MAX)
        return;
    r->findings[r->findings_count++] =
        (steppe_SerfJoinFinding){xstrdup(address), xstrdup(check), xstrdup(status), xstrdup(text)};
}

static void report_free(struct serfd_report *rep)
{
    pb_release(steppe_SerfJoinCheckResponse_fields, &rep->resp);
    free(rep);
}

static void report_done(struct serfd_report *rep)
{
    struct serfd_report **at = &rep->sd->reports;

    if (rep->checks + rep->lookups > 0)
        return;
    while (*at != rep)
        at = &(*at)->next;
    *at = rep->next;
    if (rep->req)
        serfd_reply(rep->req, steppe_SerfJoinCheckResponse_fields, &rep->resp);
    report_free(rep);
}

static void check(struct serfd_report *rep, const struct gossip_addr *addr)
{
    struct serf_event ev = {.type = SERF_EV_CHECK, .addr = *addr};
    char text[GOSSIP_ADDR_TEXT_MAX];

    if (rep->n_ids == TARGETS_MAX) {
        add(rep, gossip_addr_text(addr, text), "address", "fail", "too many addresses");
        return;
    }
    ev.id = rep->ids[rep->n_ids++] = ++rep->sd->next_check;
    rep->checks++;
    if (serfd_step(rep->sd, &ev)) {
        rep->checks--;
        add(rep, gossip_addr_text(addr, text), "address", "fail", "too many checks at a time");
    }
}

/* "check TAB status TAB text NL" each. */
static void add_lines(struct serfd_report *rep, const char *address, const char *report)
{
    _cleanup_(freep) char *copy = xstrdup(report);
    char *save = NULL;

    for (char *l = strtok_r(copy, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        char *status = strchr(l, '\t'), *text = status ? strchr(status + 1, '\t') : NULL;

        if (!text)
            continue;
        *status++ = 0;
        *text++ = 0;
        add(rep, address, l, status, text);
    }
}

void serfd_checked(struct serfd *sd, const struct serf_effect *fx, const char *report)
{
    char text[GOSSIP_ADDR_TEXT_MAX];

    for (struct serfd_report *rep = sd->reports; rep; rep = rep->next) {
        for (size_t i = 0; i < rep->n_ids; i++) {
            if (rep->ids[i] != fx->id)
                continue;
            add_lines(rep, gossip_addr_text(&fx->addr, text), report);
            rep->checks--;
            report_done(rep);
            return;
        }
    }
}

static void on_found(void *user, const char *host, const char *error,
                     const struct gossip_addr *addrs, size_t n)
{
    struct serfd_report *rep = user;

    for (size_t i = 0; i < n && rep->sd; i++)
        check(rep, &addrs[i]);
    rep->lookups--;
    if (error)
        add(rep, host, "address", "fail", error);
    if (rep->sd) {
        serfd_settle(rep->sd);
        report_done(rep);
    } else if (rep->lookups == 0) {
        report_free(rep);
    }
}

static void on_abort(struct bus_req *req)
{
    struct serfd_report *rep = req->user;

    rep->req = NULL;
}

void serfd_report_request(struct serfd *sd, struct bus_req *req)
{
    struct serfd_report *rep;
    steppe_SerfJoinRequest msg;

    if (!bus_req_decode(req, steppe_SerfJoinRequest_fields, &msg, sizeof(msg)))
        return;
    rep = xcalloc(1, sizeof(*rep));
    rep->sd = sd;
    rep->req = req;
    rep->resp.ok = true;
    rep->resp.findings = xcalloc(FINDINGS_MAX, sizeof(*rep->resp.findings));
    rep->next = sd->reports;
    sd->reports = rep;
    req->user = rep;
    req->on_abort = on_abort;
    rep->lookups = 1; /* holds it while addresses are added */
    for (pb_size_t i = 0; i < msg.addresses_count && i < TARGETS_MAX; i++) {
        rep->lookups++;
        serfd_lookup(sd, msg.addresses[i], on_found, rep);
    }
    pb_release(steppe_SerfJoinRequest_fields, &msg);
    rep->lookups--;
    if (rep->resp.findings_count + rep->checks + rep->lookups == 0)
        add(rep, "", "address", "fail", "missing address to join");
    serfd_settle(sd);
    report_done(rep);
}

void serfd_report_fini(struct serfd *sd)
{
    struct serfd_report *rep;

    while ((rep = sd->reports)) {
        sd->reports = rep->next;
        rep->sd = NULL;
        if (rep->lookups == 0) /* else the last of them takes it along */
            report_free(rep);
    }
}
