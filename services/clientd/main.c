/* SPDX-License-Identifier: MPL-2.0 */
#include "clientd_shell.h"

static const struct svc clientd = {
    .name = "clientd",
    .purpose = "A client node: registers with its region's servers and keeps alive there.",
    .init = clientd_init,
    .reload = clientd_reload,
    .fini = clientd_fini,
};

int main(int argc, char **argv)
{
    return svc_main(argc, argv, &clientd);
}
