/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A job file, or any text, to JSON: nothing may crash, an error has a text, and what comes out
 * parses again as the same kind of document.
 */
#include <errno.h>
#include <string.h>

#include "hcl/hcl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strbuf out = STRBUF_BOUND((size_t)16 << 20);
    struct hcl_node *root = NULL;
    struct hcl_error err = {0};

    if (hcl_job_to_json((const char *)data, size, size % 2 ? HCL_2 : HCL_1, &out, &err) < 0) {
        assert(err.text[0]);
        assert(memchr(err.text, 0, sizeof(err.text)));
    } else {
        /* JSON is HCL; the tree's own bounds are the only thing that it may run into. */
        int r = hcl_parse_max(out.data, out.len, out.len, &root, &err);

        assert(r == 0 || r == -E2BIG);
        (void)hcl_free(root);
    }
    strbuf_fini(&out);
    return 0;
}
