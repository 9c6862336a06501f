/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What comes from jobs and from the state: stored allocations, operands with versions and regular
 * expressions, whole jobs. First byte: what ('J': a Job follows, as protobuf); texts are split at
 * NULs.
 */
#include <pb_decode.h>
#include <string.h>

#include "sched_core.h"
#include "sched_match.h"

#define TEXT(s) ((char *)(s))
#define NOW     (INT64_C(1) << 60)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void allocation(const uint8_t *data, size_t size)
{
    struct sched_arena arena = {0};
    struct sched_alloc a;
    size_t half = size / 2, n;

    if (sched_alloc_read(&arena, bytes_of(data, half), bytes_of(data + half, size - half), &a) ==
        0) {
        (void)sched_alloc_terminal(&a);
        (void)sched_alloc_tracker(&arena, &a, INT64_C(1) << 60, &n);
        assert(n >= 1 && n <= a.events_n + 1);
    }
    sched_arena_fini(&arena);
}

/* operand NUL left NUL right */
static void operand(const uint8_t *data, size_t size)
{
    char *copy = xmalloc(size + 1);
    struct sched_regexps *re = sched_regexps_new();
    const char *parts[3] = {"", "", ""};
    size_t n = 1;

    if (size > 0)
        memcpy(copy, data, size);
    copy[size] = 0;
    parts[0] = copy;
    for (size_t i = 0; i < size && n < 3; i++)
        if (copy[i] == 0)
            parts[n++] = copy + i + 1;
    (void)sched_operand(re, parts[0], parts[1], parts[2]);
    sched_regexps_free(re);
    free(copy);
}

/* ---- a job over three nodes, with an allocation of its first group on each ---- */

static const char *const ids[] = {"00000000-0000-4000-8000-000000000001",
                                  "00000000-0000-4000-8000-000000000002",
                                  "00000000-0000-4000-8000-000000000003"};

static struct image *three_nodes(void)
{
    struct image *im = image_new(IMAGE_NODES);

    for (unsigned i = 0; i < ARRAY_LEN(ids); i++) {
        steppe_Node_AttributesEntry attr[] = {
            {TEXT("driver.raw_exec"), TEXT("1")},
            {TEXT("unique.network.ip-address"), TEXT("10.0.0.1")}};
        steppe_Node_MetaEntry meta = {TEXT("rack"), TEXT(i ? "r1" : "r2")};
        uint32_t cores[] = {0, 1, 2, 3};
        steppe_Node n = {.id = TEXT(ids[i]),
                         .name = TEXT("n"),
                         .datacenter = TEXT("dc1"),
                         .computed_class = TEXT(i ? "v1:1" : "v1:2"),
                         .status = TEXT(i == 2 ? "down" : "ready"),
                         .attributes = attr,
                         .attributes_count = ARRAY_LEN(attr),
                         .meta = &meta,
                         .meta_count = 1,
                         .has_node_resources = true};

        n.node_resources.cpu.cpu_shares = n.node_resources.memory.memory_mb = 4000;
        n.node_resources.disk.disk_mb = 4000;
        n.node_resources.has_cpu = n.node_resources.has_memory = n.node_resources.has_disk = true;
        n.node_resources.cpu.reservable_cpu_cores = cores;
        n.node_resources.cpu.reservable_cpu_cores_count = ARRAY_LEN(cores);
        n.node_resources.cpu.total_cpu_cores = ARRAY_LEN(cores);
        image_apply_node(im, &n);
    }
    return im;
}

static void attempt(const steppe_Job *job, const char *type, bool purged)
{
    steppe_Evaluation eval = {
        .id = TEXT(ids[0]), .type = TEXT(type), .job_id = TEXT("j"), .status = TEXT("pending")};
    const char *group = job->task_groups_count ? sched_text(job->task_groups[0].name) : "g";
    struct strbuf plan = STRBUF_INIT, end = STRBUF_INIT;
    struct sched_alloc allocs[ARRAY_LEN(ids)];
    struct sched_arena arena = {0};
    struct sched_out out;
    struct prng prng;
    struct sched_in in = {.eval = &eval,
                          .job = purged ? NULL : job,
                          .allocs = allocs,
                          .allocs_n = ARRAY_LEN(allocs),
                          .image = three_nodes(),
                          .config = {true, true, true, false, true},
                          .regexps = sched_regexps_new(),
                          .prng = &prng,
                          .now = NOW,
                          .token = "t",
                          .region = "global"};

    prng_seed(&prng, 1);
    for (unsigned i = 0; i < ARRAY_LEN(allocs); i++)
        allocs[i] = (struct sched_alloc){.id = ids[i],
                                         .name = "j.g[0]",
                                         .node_id = ids[i],
                                         .group = group,
                                         .deployment_id = "",
                                         .next_allocation = "",
                                         .followup_eval_id = "",
                                         .index = (int32_t)i,
                                         .client = i ? SCHED_RUNNING : SCHED_FAILED,
                                         .modify_time = NOW / 2,
                                         .job = job,
                                         .tg = sched_job_group(job, group)};
    sched_run(&in, &arena, &plan, &out);
    sched_finish(&in, &arena, &out, false, &end);
    strbuf_fini(&plan);
    strbuf_fini(&end);
    sched_arena_fini(&arena);
    sched_regexps_free(in.regexps);
    image_free(in.image);
}

static void job(const uint8_t *data, size_t size)
{
    static const char *const types[] = {"service", "batch", "system"};
    pb_istream_t in = pb_istream_from_buffer(data, size);
    steppe_Job j = steppe_Job_init_zero;
    char *dc1 = TEXT("dc1"), **dcs;
    pb_size_t n;

    if (!pb_decode(&in, steppe_Job_fields, &j))
        return;
    dcs = j.datacenters;
    n = j.datacenters_count;
    j.datacenters = &dc1;
    j.datacenters_count = 1;
    for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
        attempt(&j, types[i], false);
        attempt(&j, types[i], true);
    }
    j.datacenters = dcs;
    j.datacenters_count = n;
    pb_release(steppe_Job_fields, &j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == 'J')
        job(data + 1, size - 1);
    else if (data[0] & 1)
        operand(data + 1, size - 1);
    else
        allocation(data + 1, size - 1);
    return 0;
}
