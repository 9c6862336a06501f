/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Any job that the JSON decoder takes: canonicalizing it twice is canonicalizing it once, to the
 * byte, validation and warnings survive whatever is in it, and it does not differ from itself.
 */
#include <errno.h>
#include <pb_decode.h>
#include <string.h>

#include "job.json.h"
#include "job/job.h"
#include "job/job_diff.h"
#include "json/json.h"
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void differ(const steppe_Job *old, const steppe_Job *new, const char *type)
{
    steppe_JobDiff diff;
    int err = job_diff(old, new, true, &diff);

    assert(err == 0 || err == -EMSGSIZE);
    if (err)
        return;
    assert(strcmp(diff.type, type) == 0);
    pb_release(steppe_JobDiff_fields, &diff);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strbuf once = STRBUF_INIT, twice = STRBUF_INIT, text = STRBUF_INIT;
    steppe_JobSummary summary;
    steppe_Job job = {0};
    struct errtext e;
    int err = json_decode(&steppe_Job_json, (const char *)data, size, &job, &e);

    if (err)
        return 0;
    job_canonicalize(&job);
    job_implied_constraints(&job);
    err = wire_encode(steppe_Job_fields, &job, &once);
    assert(err == 0);
    job_canonicalize(&job);
    job_implied_constraints(&job);
    err = wire_encode(steppe_Job_fields, &job, &twice);
    assert(err == 0);
    assert(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    differ(&job, &job, "None");
    differ(NULL, &job, "Added");
    (void)job_validate(&job, NULL, &text);
    job_warnings(&job, false, &text);
    (void)job_update_check(&job, &job, &e);
    job_summary_init(&job, &summary);
    json_release(&steppe_JobSummary_json, &summary);
    json_release(&steppe_Job_json, &job);
    strbuf_fini(&once);
    strbuf_fini(&twice);
    strbuf_fini(&text);
    return 0;
}
