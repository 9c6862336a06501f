/* SPDX-License-Identifier: MPL-2.0 */
#include "raftd_shell.h"

static const struct svc raftd = {
    .name = "raftd",
    .purpose = "Consensus and the replicated state of a region; answers its RPC methods.",
    .many_files = true,
    .init = raftd_init,
    .stop = raftd_stop,
    .fini = raftd_fini,
};

int main(int argc, char **argv)
{
    return svc_main(argc, argv, &raftd);
}
