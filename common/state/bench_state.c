/* SPDX-License-Identifier: MPL-2.0 */
/*
 * How fast the state machine applies registrations and answers lists, per second of this thread's
 * processor time (so that a busy machine does not matter):
 *     bench_state [mem|lmdb] [jobs] [batch] [spec bytes]
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/prng.h"
#include "state/rows.h"
#include "state/state_test.h"

/* n registrations of `names` different jobs, each with a spec of its own. */
static double bench_apply(struct test_state *ts, size_t n, size_t batch, size_t spec_len,
                          size_t names)
{
    struct fsm_entry *entries = xcalloc(batch, sizeof(*entries));
    struct fsm_result *results = xcalloc(batch, sizeof(*results));
    struct strbuf *text = xcalloc(batch, sizeof(*text));
    double spent = 0;
    struct prng rng;

    prng_seed(&rng, 1 + ts->index);
    for (size_t done = 0; done < n;) {
        struct mono_ns from;
        size_t k = 0;

        for (; k < batch && done < n; k++, done++) {
            char id[32], region[32], eval[UUID_TEXT_LEN + 1];
            struct test_job j = {.id = id, .extra = region, .eval_id = eval, .spec_len = spec_len};

            snprintf(id, sizeof(id), "bench-%zu", done % names);
            snprintf(region, sizeof(region), "region-%llu", (unsigned long long)ts->index);
            uuid_from_prng(&rng, eval);
            strbuf_reset(&text[k]);
            test_job_command(&text[k], &j, TEST_NOW_S * NS_PER_SEC + (int64_t)done);
            entries[k] =
                (struct fsm_entry){++ts->index, 1, FSM_ENTRY_COMMAND, strbuf_bytes(&text[k])};
        }
        from = test_cpu_now();
        if (fsm_apply_batch(ts->fsm, entries, k, results) || results[0].code)
            abort();
        spent += test_cpu_since(from);
    }
    for (size_t i = 0; i < batch; i++)
        strbuf_fini(&text[i]);
    free(text);
    free(results);
    free(entries);
    return (double)n / spent;
}

static void bench_list(struct test_state *ts, const char *prefix)
{
    struct strbuf body = STRBUF_INIT;
    struct mono_ns from = test_cpu_now();
    struct state_meta m;
    size_t n = 0;

    while (test_cpu_since(from) < 1.0) {
        struct store_txn *t;

        strbuf_reset(&body);
        if (store_begin(ts->store, false, &t) ||
            state_job_list(t, "default", prefix, NULL, &body, &m))
            abort();
        store_abort(t);
        n++;
    }
    printf("list prefix=%-8s %10.0f /s  %zu bytes, %.0f MB/s\n", prefix,
           (double)n / test_cpu_since(from), body.len,
           (double)n * (double)body.len / test_cpu_since(from) / 1e6);
    strbuf_fini(&body);
}

static void bench_get(struct test_state *ts, size_t names)
{
    struct strbuf body = STRBUF_INIT;
    struct mono_ns from = test_cpu_now();
    struct state_meta m;
    size_t n = 0;

    while (test_cpu_since(from) < 1.0) {
        struct store_txn *t;
        char id[32];

        snprintf(id, sizeof(id), "bench-%zu", n * 7919 % names);
        strbuf_reset(&body);
        if (store_begin(ts->store, false, &t) || state_job_get(t, "", id, &body, &m) || !m.found)
            abort();
        store_abort(t);
        n++;
    }
    printf("get                  %10.0f /s\n", (double)n / test_cpu_since(from));
    strbuf_fini(&body);
}

static void bench_snapshot(struct test_state *ts)
{
    struct mono_ns from = test_cpu_now();
    struct state_snapshot *sn;
    struct bytes block;
    size_t bytes = 0;

    if (state_snapshot_begin(ts->store, &sn, NULL))
        abort();
    while (state_snapshot_next(sn, &block) == 0 && block.len)
        bytes += block.len;
    state_snapshot_end(sn);
    printf("snapshot             %10.0f MB/s  %zu bytes\n",
           (double)bytes / test_cpu_since(from) / 1e6, bytes);
}

/* What this process has for itself, in KiB: anonymous, and with the pages of the file it looked at.
 */
static void bench_memory(const char *when)
{
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    unsigned long anonymous = 0, rss = 0, n;
    char line[256];

    if (!f)
        return;
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "Anonymous: %lu", &n) == 1)
            anonymous = n;
        if (sscanf(line, "Rss: %lu", &n) == 1)
            rss = n;
    }
    fclose(f);
    printf("memory %-13s %10lu KiB anonymous, %lu KiB resident\n", when, anonymous, rss);
}

/* The state into another store of the same kind, as a server that was away gets it. */
static void bench_restore(struct test_state *from)
{
    struct strbuf dump = STRBUF_INIT;
    struct state_restore *r;
    struct test_state to;
    struct mono_ns start;
    struct errtext e;

    test_dump(from->store, &dump);
    test_state_init(&to, from->kind);
    start = test_cpu_now();
    if (state_restore_begin(to.store, &r) || state_restore_chunk(r, dump.data, dump.len, &e) ||
        state_restore_commit(r, &e))
        abort();
    printf("restore              %10.0f MB/s\n", (double)dump.len / test_cpu_since(start) / 1e6);
    strbuf_fini(&dump);
    bench_memory("restored");
    test_state_fini(&to);
}

int main(int argc, char **argv)
{
    enum test_kind kind = argc > 1 && strcmp(argv[1], "mem") == 0 ? TEST_MEM : TEST_LMDB;
    size_t jobs = argc > 2 ? strtoul(argv[2], NULL, 10) : 10000;
    size_t batch = argc > 3 ? strtoul(argv[3], NULL, 10) : 64;
    size_t spec_len = argc > 4 ? strtoul(argv[4], NULL, 10) : 700;
    struct test_state ts;

    if (!jobs || !batch)
        return EXIT_FAILURE;
    test_state_init(&ts, kind);
    printf("%s, %zu jobs, batches of %zu, specs of %zu bytes\n", kind == TEST_MEM ? "mem" : "lmdb",
           jobs, batch, spec_len);
    bench_memory("empty");
    printf("register, new        %10.0f /s\n", bench_apply(&ts, jobs, batch, spec_len, jobs));
    bench_memory("registered");
    printf("register, changed    %10.0f /s\n", bench_apply(&ts, jobs, batch, spec_len, jobs));
    printf("register, 10 jobs    %10.0f /s\n", bench_apply(&ts, jobs, batch, spec_len, 10));
    bench_list(&ts, "bench-1234");
    bench_list(&ts, "");
    bench_get(&ts, jobs);
    bench_snapshot(&ts);
    bench_restore(&ts);
    test_state_fini(&ts);
    return EXIT_SUCCESS;
}
