/* SPDX-License-Identifier: MPL-2.0 */
/* steppe: the command line of a Steppe node or federation. */
#include <curl/curl.h>
#include <signal.h>
#include <unistd.h>

#include "cli.h"

int main(int argc, char **argv)
{
    struct cli cli = {
        .in = stdin,
        .out = stdout,
        .err = stderr,
        .color = isatty(STDOUT_FILENO) == 1 && !*client_env("CLI_NO_COLOR"),
    };
    int code;

    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    code = cli_main(&cli, argc, argv);
    if (cli.has_client)
        client_fini(&cli.client);
    curl_global_cleanup();
    /* A full disk or a closed pipe under stdout is a failure of the command, too. */
    if (fflush(stdout) != 0 && code == 0)
        code = 1;
    return code;
}
