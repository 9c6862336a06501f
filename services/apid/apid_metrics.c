/* SPDX-License-Identifier: MPL-2.0 */
/* /v1/metrics in the shape of Nomad's in-memory sink: gauges and counters since the start. */
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "apid.h"

struct metric {
    const char *name;
    double value;
};

/* Lists sorted by name, as Nomad's are. */
static void add_list(struct apid_req *r, const char *what, const struct metric *m, size_t n,
                     bool counters)
{
    const char *host = r->a->ctx->conf->name;

    strbuf_addf(&r->out, "\"%s\":[", what);
    for (size_t i = 0; i < n; i++) {
        strbuf_addf(&r->out, "%s{\"Labels\":{\"host\":", i ? "," : "");
        json_string_encode(host, strlen(host), 0, &r->out);
        strbuf_addf(&r->out, "},\"Name\":\"nomad.%s\",", m[i].name);
        if (counters)
            strbuf_addf(&r->out,
                        "\"Count\":%.0f,\"Sum\":%.0f,\"Min\":1,\"Max\":1,\"Mean\":1,\"Rate\":0,"
                        "\"Stddev\":0}",
                        m[i].value, m[i].value);
        else
            strbuf_addf(&r->out, "\"Value\":%.17g}", m[i].value);
    }
    strbuf_adds(&r->out, "],");
}

static long resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long pages = 0, resident = 0;

    if (!f)
        return 0;
    if (fscanf(f, "%ld %ld", &pages, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}

/* The leader's, before those that every server has. */
static void add_counts(const struct state_status *st, struct metric *m, size_t *n)
{
    static const char *const names[] = {
#define X(id, text) text,
        STATE_STATUS_COUNTS(X)
#undef X
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        m[(*n)++] = (struct metric){names[i], (double)st->counts[i]};
}

void apid_metrics(struct apid_req *r)
{
    struct apid *a = r->a;
    const char *format = apid_param(r, "format");
    struct mallinfo2 heap = mallinfo2();
    struct state_status st = {0};
    bool server = a->status && state_status_read(a->status, clock_mono(), &st) == 0;
    struct metric gauges[STATE_STATUS_COUNTS_N + 7];
    struct metric own[] = {
        {"raft.appliedIndex", (double)st.applied},
        {"raft.commitIndex", (double)st.commit},
        {"raft.isLeader", st.role == STATE_STATUS_LEADER},
        {"raft.leader.known", st.leader_known},
        {"raft.term", (double)st.term},
        {"runtime.alloc_bytes", (double)heap.uordblks},
        {"runtime.sys_bytes", (double)resident_bytes()},
    };
    struct metric counters[] = {
        {"http.cache_hits", (double)atomic_load(&a->cache_hits)},
        {"http.errors", (double)atomic_load(&a->errors)},
        {"http.local_reads", (double)atomic_load(&a->local_reads)},
        {"http.request_seconds", (double)atomic_load(&a->request_ns) / 1e9},
        {"http.requests", (double)atomic_load(&a->requests)},
    };
    size_t skip = server ? 0 : 5, n = 0; /* a pure client node has no raft */
    time_t now = time(NULL);
    struct tm tm;
    char text[64];

    if (format && strcmp(format, "prometheus") == 0) {
        apid_error(r, 415, "Prometheus is not enabled");
        return;
    }
    gmtime_r(&now, &tm);
    (void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S +0000 UTC", &tm);
    strbuf_addc(&r->out, '{');
    add_list(r, "Counters", counters, ARRAY_LEN(counters), true);
    if (server && st.role == STATE_STATUS_LEADER)
        add_counts(&st, gauges, &n);
    memcpy(gauges + n, own + skip, sizeof(own) - skip * sizeof(own[0]));
    add_list(r, "Gauges", gauges, n + ARRAY_LEN(own) - skip, false);
    strbuf_addf(&r->out, "\"Points\":[],\"Samples\":[],\"Timestamp\":\"%s\"}", text);
}
