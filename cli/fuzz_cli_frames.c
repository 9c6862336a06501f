/* SPDX-License-Identifier: MPL-2.0 */
/* What a server streams as frames of a file: any bytes, cut in two at a place that they choose. */
#include "frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore(void *user, const char *data, size_t len)
{
    *(size_t *)user += len + (len ? (size_t)data[0] : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frames f = FRAMES_INIT;
    size_t cut = size ? data[0] % size : 0, sum = 0;

    if (size > 0 && frames_feed(&f, (const char *)data + 1, cut, ignore, &sum) == 0)
        (void)frames_feed(&f, (const char *)data + 1 + cut, size - 1 - cut, ignore, &sum);
    frames_fini(&f);
    return 0;
}
