/* SPDX-License-Identifier: MPL-2.0 */
/* job init: a job file to begin with. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"

#define INIT_DEFAULT_NAME "example.nomad"

static const char init_short[] = "job \"example\" {\n"
                                 "  datacenters = [\"dc1\"]\n"
                                 "\n"
                                 "  group \"app\" {\n"
                                 "    task \"hello\" {\n"
                                 "      driver = \"raw_exec\"\n"
                                 "\n"
                                 "      config {\n"
                                 "        command = \"/bin/sleep\"\n"
                                 "        args    = [\"3600\"]\n"
                                 "      }\n"
                                 "\n"
                                 "      resources {\n"
                                 "        cpu    = 100\n"
                                 "        memory = 64\n"
                                 "      }\n"
                                 "    }\n"
                                 "  }\n"
                                 "}\n";

static const char init_long[] =
    "# A job is the unit that you submit: `steppe job run example.nomad`. Its name is its ID.\n"
    "job \"example\" {\n"
    "  # The region that runs the job. Any server of any region accepts it and passes it on. Left\n"
    "  # out, it is the region of the agent that you talk to.\n"
    "  # region = \"global\"\n"
    "\n"
    "  # Datacenters of the region whose nodes may run it.\n"
    "  datacenters = [\"dc1\"]\n"
    "\n"
    "  # \"service\" runs until it is stopped, \"batch\" until it succeeds, \"system\" on every "
    "node.\n"
    "  type = \"service\"\n"
    "\n"
    "  # 1 to 100; a higher one is placed first when there is not room for all.\n"
    "  priority = 50\n"
    "\n"
    "  # How a new version replaces the old one.\n"
    "  update {\n"
    "    max_parallel     = 1\n"
    "    min_healthy_time = \"10s\"\n"
    "    healthy_deadline = \"3m\"\n"
    "    auto_revert      = false\n"
    "    canary           = 0\n"
    "  }\n"
    "\n"
    "  # A group is placed as a whole: its tasks share one node.\n"
    "  group \"app\" {\n"
    "    count = 1\n"
    "\n"
    "    # What happens on the node when a task ends with an error.\n"
    "    restart {\n"
    "      attempts = 2\n"
    "      interval = \"30m\"\n"
    "      delay    = \"15s\"\n"
    "      mode     = \"fail\"\n"
    "    }\n"
    "\n"
    "    # Disk space that the tasks of the group share, in MB.\n"
    "    ephemeral_disk {\n"
    "      size = 300\n"
    "    }\n"
    "\n"
    "    # A port that the node gives out: ${NOMAD_PORT_http} in the task.\n"
    "    # network {\n"
    "    #   port \"http\" {}\n"
    "    # }\n"
    "\n"
    "    task \"hello\" {\n"
    "      # What runs the task: \"raw_exec\" and \"exec\" for programs, \"docker\" for "
    "containers.\n"
    "      driver = \"raw_exec\"\n"
    "\n"
    "      config {\n"
    "        command = \"/bin/sh\"\n"
    "        args    = [\"-c\", \"while :; do date; sleep 10; done\"]\n"
    "      }\n"
    "\n"
    "      env {\n"
    "        GREETING = \"hello\"\n"
    "      }\n"
    "\n"
    "      # Reserved for the task: cpu in MHz, memory in MB.\n"
    "      resources {\n"
    "        cpu    = 100\n"
    "        memory = 64\n"
    "      }\n"
    "\n"
    "      # Output files are rotated: this many of this size in MB.\n"
    "      logs {\n"
    "        max_files     = 10\n"
    "        max_file_size = 10\n"
    "      }\n"
    "\n"
    "      # Time between the signal to end and the kill.\n"
    "      kill_timeout = \"20s\"\n"
    "    }\n"
    "  }\n"
    "}\n";

int cmd_job_init(struct cli *cli)
{
    const char *name = cli->argc == 1 ? cli->argv[0] : INIT_DEFAULT_NAME;
    const char *text = flags_bool(&cli->flags, "short") ? init_short : init_long;
    size_t len = strlen(text);
    ssize_t written;
    int fd;

    if (cli->argc > 1)
        return ui_usage(cli, "This command takes either no arguments or one: <filename>");
    fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0660);
    if (fd < 0 && errno == EEXIST) {
        ui_error(cli, "Job '%s' already exists", name);
        return 1;
    }
    if (fd < 0) {
        ui_error(cli, "Failed to write '%s': %s", name, strerror(errno));
        return 1;
    }
    written = write(fd, text, len);
    if (close(fd) < 0 || written != (ssize_t)len) {
        ui_error(cli, "Failed to write '%s': %s", name,
                 written < 0 ? strerror(errno) : "disk full");
        unlink(name);
        return 1;
    }
    ui_out(cli, "Example job file written to %s", name);
    return 0;
}
