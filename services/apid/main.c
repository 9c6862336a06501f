/* SPDX-License-Identifier: MPL-2.0 */
#include "apid_shell.h"

static const struct svc apid = {
    .name = "apid",
    .purpose = "The HTTP gateway: Nomad's /v1 API.",
    .malloc_arenas = 8, /* many busy threads: with two they queue for the allocator */
    .batch = true,
    .init = apid_init,
    .fini = apid_fini,
};

int main(int argc, char **argv)
{
    return svc_main(argc, argv, &apid);
}
