/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Any job that the JSON decoder takes: canonicalizing it twice is canonicalizing it once, to the
 * byte, and validation and warnings survive whatever is in it.
 */
#include <string.h>

#include "job.json.h"
#include "job/job.h"
#include "json/json.h"
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
