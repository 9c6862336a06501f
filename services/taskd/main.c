/* SPDX-License-Identifier: MPL-2.0 */
#include <stdio.h>
#include <string.h>

#include "taskd_shell.h"

int main(int argc, char **argv)
{
    if (argc == 2 && argv[1][0] != '-')
        return taskd_main(argv[1]);
    (void)fprintf(stderr,
                  "Usage: taskd FOLDER\n\nHolds one task, described in FOLDER/spec; started by "
                  "clientd.\n");
    return 2;
}
