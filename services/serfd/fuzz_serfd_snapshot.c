/* SPDX-License-Identifier: MPL-2.0 */
/* The snapshot file's reader. */
#include "serfd_snapshot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = xstrndup((const char *)data, size);
    struct snapshot snap;

    snapshot_parse(text, &snap);
    if (snap.n > SERF_MEMBERS_MAX)
        abort();
    snapshot_fini(&snap);
    free(text);
    return 0;
}
