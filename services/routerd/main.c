/* SPDX-License-Identifier: MPL-2.0 */
#include "routerd_shell.h"

static const struct svc routerd = {
    .name = "routerd",
    .purpose = "Finds the server that answers a request: this node's, or one of another region.",
    .init = routerd_init,
    .fini = routerd_fini,
};

int main(int argc, char **argv)
{
    return svc_main(argc, argv, &routerd);
}
