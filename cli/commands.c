/* SPDX-License-Identifier: MPL-2.0 */
/* The table of commands: words, help, flags, handler. */
#include "commands.h"

#define FLAG_JSON_HELP     "Print the data as JSON."
#define FLAG_TEMPLATE_HELP "Print the data with a Go template, for example '{{.ID}}'."
#define FLAG_VERBOSE                                                                               \
    {                                                                                              \
        "verbose", FLAG_BOOL, NULL, "Print full identifiers and all details."                      \
    }
#define FLAG_JSON                                                                                  \
    {                                                                                              \
        "json", FLAG_BOOL, NULL, FLAG_JSON_HELP                                                    \
    }
#define FLAG_TEMPLATE                                                                              \
    {                                                                                              \
        "t", FLAG_STRING, "template", FLAG_TEMPLATE_HELP                                           \
    }

static const struct flag_def flags_data[] = {FLAG_JSON, FLAG_TEMPLATE};

static const struct flag_def flags_server_join[] = {
    {"check", FLAG_BOOL, NULL,
     "Only say whether a join could work, a line for each finding: UDP, TCP,\n"
     "key, clock, version, regions, names, federation, raft group. Status 1\n"
     "when something stands in the way."},
    FLAG_JSON,
    FLAG_TEMPLATE};

static const struct flag_def flags_agent[] = {
    {"config", FLAG_LIST, "path",
     "A configuration file (.hcl, .json) or a directory of them. May be given\n"
     "several times; later ones win, and flags win over files."},
    {"dev", FLAG_BOOL, NULL,
     "A throw-away node that is server and client, on 127.0.0.1, with its data\n"
     "in a temporary folder."},
    {"server", FLAG_BOOL, NULL, "Be a server."},
    {"client", FLAG_BOOL, NULL, "Be a client: run jobs."},
    {"region", FLAG_STRING, "name", "The node's region. Default = global"},
    {"dc", FLAG_STRING, "name", "The node's datacenter. Default = dc1"},
    {"node", FLAG_STRING, "name", "The node's name. Default = the host's name"},
    {"bind", FLAG_STRING, "ip", "Address to listen on. Default = 0.0.0.0"},
    {"data-dir", FLAG_STRING, "path", "Where the node keeps its state."},
    {"run-dir", FLAG_STRING, "path", "Sockets and pid files. Default = DATA-DIR/run"},
    {"log-level", FLAG_STRING, "level", "TRACE, DEBUG, INFO, WARN or ERR. Default = INFO"},
    {"bootstrap-expect", FLAG_STRING, "n", "Servers to wait for before the first election."},
    {"encrypt", FLAG_STRING, "key", "Key of the gossip, from `steppe operator keygen`."},
    {"join", FLAG_LIST, "address", "Server to join at the start; fails when none answers."},
    {"retry-join", FLAG_LIST, "address", "The same, tried again until it works."},
    {"retry-interval", FLAG_STRING, "time", "Time between these tries. Default = 30s"},
    {"retry-max", FLAG_STRING, "n", "Give up after so many. Default = 0: never"},
    {"rejoin", FLAG_BOOL, NULL, "Rejoin the cluster even after having left it."},
    {"servers", FLAG_STRING, "list", "Addresses of servers for a client, with commas."},
    {"node-class", FLAG_STRING, "name", "Class of a client for constraints."},
    {"meta", FLAG_LIST, "k=v", "Metadata of a client for constraints."},
};

static const struct flag_def flags_alloc_status[] = {
    {"short", FLAG_BOOL, NULL, "Only the allocation and the last event of each task."},
    {"stats", FLAG_BOOL, NULL, "All that is measured of what the tasks use."},
    FLAG_VERBOSE,
    FLAG_JSON,
    FLAG_TEMPLATE,
};

static const struct flag_def flags_alloc_stop[] = {
    {"detach", FLAG_BOOL, NULL, "Return at once and print the evaluation's ID."},
    FLAG_VERBOSE,
};

static const struct flag_def flags_alloc_restart[] = {FLAG_VERBOSE};

static const struct flag_def flags_alloc_signal[] = {
    {"s", FLAG_STRING, "signal", "The signal to send. Default = SIGKILL"},
    FLAG_VERBOSE,
};

static const struct flag_def flags_alloc_logs[] = {
    {"stderr", FLAG_BOOL, NULL, "What the task wrote to stderr."},
    {"f", FLAG_BOOL, NULL, "Go on with what the task will write."},
    {"tail", FLAG_BOOL, NULL, "Only the end of it; without -n and -c ten lines."},
    {"n", FLAG_STRING, "lines", "With -tail: about so many lines."},
    {"c", FLAG_STRING, "bytes", "With -tail: so many bytes."},
    {"job", FLAG_BOOL, NULL, "The argument is a job: take one of its allocations."},
    {"task", FLAG_STRING, "name", "The task, where there are several."},
    FLAG_VERBOSE,
};

static const struct flag_def flags_alloc_fs[] = {
    {"H", FLAG_BOOL, NULL, "Sizes in bytes."},
    {"stat", FLAG_BOOL, NULL, "About the file itself, not what is in it."},
    {"json", FLAG_BOOL, NULL, "Print a folder's list, or what -stat shows, as JSON."},
    FLAG_TEMPLATE,
    {"f", FLAG_BOOL, NULL, "Go on with what will be written."},
    {"tail", FLAG_BOOL, NULL, "Only the end of it; without -n and -c ten lines."},
    {"n", FLAG_STRING, "lines", "With -tail: about so many lines."},
    {"c", FLAG_STRING, "bytes", "With -tail: so many bytes."},
    {"job", FLAG_BOOL, NULL, "The argument is a job: take one of its allocations."},
    FLAG_VERBOSE,
};

static const struct flag_def flags_job_eval[] = {
    {"force-reschedule", FLAG_BOOL, NULL, "Also what failed and may not be rescheduled yet."},
    {"detach", FLAG_BOOL, NULL, "Return at once and print the evaluation's ID."},
    FLAG_VERBOSE,
};

static const struct flag_def flags_deployment[] = {FLAG_VERBOSE, FLAG_JSON, FLAG_TEMPLATE};

static const struct flag_def flags_job_deployments[] = {
    {"latest", FLAG_BOOL, NULL, "Only the newest deployment, with its groups."},
    {"all", FLAG_BOOL, NULL, "Deployments of earlier jobs of this ID, too."},
    FLAG_VERBOSE,
    FLAG_JSON,
    FLAG_TEMPLATE,
};

static const struct flag_def flags_eval_status[] = {
    {"monitor", FLAG_BOOL, NULL, "Watch the evaluation until it ends."},
    FLAG_VERBOSE,
    FLAG_JSON,
    FLAG_TEMPLATE,
};

static const struct flag_def flags_job_history[] = {
    {"p", FLAG_BOOL, NULL, "Print what each version changed."},
    {"full", FLAG_BOOL, NULL, "Print the whole job of each version."},
    {"version", FLAG_STRING, "n", "Only this version."},
    FLAG_JSON,
    FLAG_TEMPLATE,
};

static const struct flag_def flags_job_init[] = {
    {"short", FLAG_BOOL, NULL, "A minimal file without comments."},
};

static const struct flag_def flags_job_inspect[] = {
    {"version", FLAG_STRING, "n", "The job as it was at this version."},
    FLAG_JSON,
    FLAG_TEMPLATE,
};

static const struct flag_def flags_job_run[] = {
    {"check-index", FLAG_STRING, "index",
     "Register only if the server's job has this modify index; 0: only if the\n"
     "job does not exist."},
    {"detach", FLAG_BOOL, NULL, "Return at once and print the evaluation's ID."},
    {"hcl1", FLAG_BOOL, NULL, "Literals as in HCL 1: true is the text \"1\", not \"true\"."},
    {"output", FLAG_BOOL, NULL, "Print the JSON that would be sent, and send nothing."},
    {"policy-override", FLAG_BOOL, NULL, "Override soft mandatory policies."},
    {"preserve-counts", FLAG_BOOL, NULL, "Keep the counts of the groups that run."},
    {"consul-token", FLAG_STRING, "token", "Token to put into the job."},
    {"consul-namespace", FLAG_STRING, "name", "Namespace to put into the job."},
    {"vault-token", FLAG_STRING, "token", "Token to put into the job."},
    {"vault-namespace", FLAG_STRING, "name", "Namespace to put into the job."},
    FLAG_VERBOSE,
};

static const struct flag_def flags_job_status[] = {
    {"short", FLAG_BOOL, NULL, "Only the header of one job."},
    {"evals", FLAG_BOOL, NULL, "Print the job's evaluations, too."},
    {"all-allocs", FLAG_BOOL, NULL, "Allocations of earlier jobs of this ID, too."},
    FLAG_VERBOSE,
    FLAG_JSON,
    FLAG_TEMPLATE,
};

static const struct flag_def flags_job_stop[] = {
    {"detach", FLAG_BOOL, NULL, "Return at once and print the evaluation's ID."},
    {"purge", FLAG_BOOL, NULL, "Remove the job, do not just stop it."},
    {"global", FLAG_BOOL, NULL, "Stop a multi-region job in all its regions."},
    {"yes", FLAG_BOOL, NULL, "Answer yes to all questions."},
    FLAG_VERBOSE,
};

static const struct flag_def flags_job_validate[] = {
    {"hcl1", FLAG_BOOL, NULL, "Literals as in HCL 1: true is the text \"1\", not \"true\"."},
};

static const struct flag_def flags_members[] = {
    {"detailed", FLAG_BOOL, NULL, "Print the tags of each server."},
    FLAG_JSON,
    FLAG_TEMPLATE,
};

static const struct flag_def flags_force_leave[] = {
    {"prune", FLAG_BOOL, NULL, "Forget the server altogether."},
};

static const struct flag_def flags_node_config[] = {
    {"servers", FLAG_BOOL, NULL, "List the servers that the client knows."},
    {"update-servers", FLAG_BOOL, NULL,
     "Replace them by the addresses given, all at once. For clients of Nomad:\n"
     "ours find their servers by themselves and refuse it."},
    FLAG_JSON,
    FLAG_TEMPLATE,
};

static const struct flag_def flags_node_eligibility[] = {
    {"disable", FLAG_BOOL, NULL, "No new allocations for the node."},
    {"enable", FLAG_BOOL, NULL, "New allocations may come to the node."},
    {"self", FLAG_BOOL, NULL, "The node of the agent that is asked."},
};

static const struct flag_def flags_node_status[] = {
    {"self", FLAG_BOOL, NULL, "The node of the agent that is asked."},
    {"stats", FLAG_BOOL, NULL, "Print detailed statistics of the host."},
    {"allocs", FLAG_BOOL, NULL, "Count the running allocations of each node."},
    {"short", FLAG_BOOL, NULL, "Only header and allocations of one node."},
    FLAG_VERBOSE,
    FLAG_JSON,
    FLAG_TEMPLATE,
};

static const struct flag_def flags_metrics[] = {
    {"pretty", FLAG_BOOL, NULL, "Ask for indented JSON."},
    {"format", FLAG_STRING, "format", "Ask for another format: prometheus."},
    FLAG_JSON,
    FLAG_TEMPLATE,
};

static const struct flag_def flags_raft_list[] = {
    {"stale", FLAG_BOOL, NULL, "Ask any server, also when there is no leader."},
    FLAG_JSON,
    FLAG_TEMPLATE,
};

static const struct flag_def flags_raft_remove[] = {
    {"peer-address", FLAG_STRING, "ip:port", "The server with this RPC address."},
    {"peer-id", FLAG_STRING, "id", "The server with this ID."},
};

static const struct flag_def flags_keyring[] = {
    {"install", FLAG_STRING, "key", "Install a new key on all servers of the federation."},
    {"list", FLAG_BOOL, NULL, "List all keys in use."},
    {"remove", FLAG_STRING, "key", "Remove a key that is not the primary one."},
    {"use", FLAG_STRING, "key", "Encrypt with this key, which must be installed, from now on."},
};

#define FLAGS_SERVICE                                                                              \
    {"run-dir", FLAG_STRING, "path", "The node's run directory. Overrides STEPPE_RUN_DIR."},       \
    {                                                                                              \
        "data-dir", FLAG_STRING, "path", "The node's data directory, whose run/ is meant."         \
    }

static const struct flag_def flags_service[] = {FLAGS_SERVICE};

static const struct flag_def flags_service_list[] = {FLAGS_SERVICE, FLAG_JSON, FLAG_TEMPLATE};

static const struct flag_def flags_service_logs[] = {
    FLAGS_SERVICE,
    {"f", FLAG_BOOL, NULL, "Go on with the lines that come."},
};

static const struct flag_def flags_status[] = {FLAG_VERBOSE, FLAG_JSON, FLAG_TEMPLATE};

#define HELP_GROUP(words, what)                                                                    \
    .name = words, .usage = words " <subcommand> [options] [args]", .synopsis = what,              \
    .run = cmd_group

#define SERVER_MEMBERS(words, more)                                                                \
    {                                                                                              \
        .name = words, .help_name = "server members", .usage = "server members [options]",         \
        .synopsis = "Display a list of known servers and their status",                            \
        .help =                                                                                    \
            "  Lists the servers of all regions that the agent knows, and which of them leads\n"   \
            "  its region.",                                                                       \
        .examples = "steppe server members\nsteppe server members -detailed",                      \
        .flags_title = "Server Members Options", CLI_FLAGS(flags_members),                         \
        .options = CLI_CLIENT | CLI_NO_NAMESPACE | (more), .run = cmd_server_members               \
    }

#define SERVER_JOIN(words, more)                                                                   \
    {                                                                                              \
        .name = words, .help_name = "server join",                                                 \
        .usage = "server join [options] <addr> [<addr>...]",                                       \
        .synopsis = "Join server nodes together",                                                  \
        .help = "  Makes the server that is asked join the gossip of the servers given, in any\n"  \
                "  region: that is how regions federate. One that answers is enough; the others\n" \
                "  are found by gossip.",                                                          \
        .examples = "steppe server join 127.0.2.1:4648\nsteppe server join -check 127.0.2.1",      \
        .flags_title = "Server Join Options", CLI_FLAGS(flags_server_join),                        \
        .options = CLI_CLIENT | CLI_NO_NAMESPACE | (more), .run = cmd_server_join                  \
    }

#define SERVER_FORCE_LEAVE(words, more)                                                            \
    {                                                                                              \
        .name = words, .help_name = "server force-leave",                                          \
        .usage = "server force-leave [options] <node>",                                            \
        .synopsis = "Force a server into the 'left' state",                                        \
        .help = "  Says that a failed server (NAME.REGION) has left and will not come back. A\n"   \
                "  server that is alive joins again by itself.",                                   \
        .examples = "steppe server force-leave server-1.east",                                     \
        .flags_title = "Force Leave Options", CLI_FLAGS(flags_force_leave),                        \
        .options = CLI_CLIENT | CLI_NO_NAMESPACE | (more), .run = cmd_server_force_leave           \
    }

#define JOB_RUN(words, more)                                                                       \
    {                                                                                              \
        .name = words, .help_name = "job run", .usage = "job run [options] <path>",                \
        .synopsis = "Run a new job or update an existing job",                                     \
        .help =                                                                                    \
            "  Registers the job of a job file (\"-\": from stdin; HCL, or JSON when the name\n"   \
            "  ends in .json or the text begins with a brace). The job's own region and\n"         \
            "  namespace win over flags and environment. Exit code 0: registered, 1: not.",        \
        .examples = "steppe job run example.nomad\nsteppe job run -output example.nomad",          \
        .flags_title = "Run Options", CLI_FLAGS(flags_job_run), .options = CLI_CLIENT | (more),    \
        .run = cmd_job_run                                                                         \
    }

#define JOB_STOP(words, more)                                                                      \
    {                                                                                              \
        .name = words, .help_name = "job stop", .usage = "job stop [options] <job>",               \
        .synopsis = "Stop a running job",                                                          \
        .help = "  Stops a job, named by its ID or an unambiguous beginning of it.",               \
        .examples = "steppe job stop example\nsteppe job stop -purge -region=east example",        \
        .flags_title = "Stop Options", CLI_FLAGS(flags_job_stop), .options = CLI_CLIENT | (more),  \
        .run = cmd_job_stop                                                                        \
    }

#define JOB_INSPECT(words, more)                                                                   \
    {                                                                                              \
        .name = words, .help_name = "job inspect", .usage = "job inspect [options] <job>",         \
        .synopsis = "Inspect a submitted job",                                                     \
        .help = "  Prints a job as the servers hold it, in JSON.",                                 \
        .examples = "steppe job inspect example\nsteppe job inspect -t '{{.Status}}' example",     \
        .flags_title = "Inspect Options", CLI_FLAGS(flags_job_inspect),                            \
        .options = CLI_CLIENT | (more), .run = cmd_job_inspect                                     \
    }

#define JOB_VALIDATE(words, more)                                                                  \
    {                                                                                              \
        .name = words, .help_name = "job validate", .usage = "job validate [options] <path>",      \
        .synopsis = "Checks if a given job specification is valid",                                \
        .help = "  Reads a job file and has a server check the job, without registering it.",      \
        .examples = "steppe job validate example.nomad", .flags_title = "Validate Options",        \
        CLI_FLAGS(flags_job_validate), .options = CLI_CLIENT | (more), .run = cmd_job_validate     \
    }

#define JOB_INIT(words, more)                                                                      \
    {                                                                                              \
        .name = words, .help_name = "job init", .usage = "job init [options] <filename>",          \
        .synopsis = "Create an example job file",                                                  \
        .help =                                                                                    \
            "  Writes a job file to begin with, \"example.nomad\" unless another name is given.",  \
        .examples = "steppe job init\nsteppe job init -short web.nomad",                           \
        .flags_title = "Init Options", CLI_FLAGS(flags_job_init), .options = (more),               \
        .run = cmd_job_init                                                                        \
    }

#define NODE_STATUS(words, more)                                                                   \
    {                                                                                              \
        .name = words, .help_name = "node-status", .usage = "node status [options] <node>",        \
        .synopsis = "Display status information about nodes",                                      \
        .help = "  Lists the nodes that run jobs, or prints all about one of them.",               \
        .examples = "steppe node status\nsteppe node status -self -stats",                         \
        .flags_title = "Node Status Options", CLI_FLAGS(flags_node_status),                        \
        .options = CLI_CLIENT | CLI_NO_NAMESPACE | (more), .run = cmd_node_status                  \
    }

#define OPERATOR_KEYGEN(words, more)                                                               \
    {                                                                                              \
        .name = words, .help_name = "operator keygen", .usage = "operator keygen",                 \
        .synopsis = "Generates a new encryption key",                                              \
        .help = "  Prints 32 random bytes in base64, as the agent's encrypt option takes them.",   \
        .examples = "steppe operator keygen", .options = (more), .run = cmd_operator_keygen        \
    }

#define KEYRING_ALL                                                                                \
    "  The servers of all regions are asked. The command fails unless each of them\n"              \
    "  answers that it has been done; then it can be given again."

#define GOSSIP_KEYRING(word, args, what, text)                                                     \
    {                                                                                              \
        .name = "operator gossip keyring " #word,                                                  \
        .usage = "operator gossip keyring " #word " [options]" args, .synopsis = (what),           \
        .help = text KEYRING_ALL, .examples = "steppe operator gossip keyring " #word args,        \
        .options = CLI_CLIENT | CLI_NO_NAMESPACE, .run = cmd_keyring_##word                        \
    }

#define OPERATOR_KEYRING(words, more)                                                              \
    {                                                                                              \
        .name = words, .help_name = "operator keyring", .usage = "operator keyring [options]",     \
        .synopsis = "Manages gossip layer encryption keys",                                        \
        .help = "  Does with flags what `steppe operator gossip keyring` does.\n" KEYRING_ALL,     \
        .examples = "steppe operator keyring -list", .flags_title = "Keyring Options",             \
        CLI_FLAGS(flags_keyring), .options = CLI_CLIENT | CLI_NO_NAMESPACE | (more),               \
        .run = cmd_operator_keyring                                                                \
    }

#define ALLOC_STATUS(words, more)                                                                  \
    {                                                                                              \
        .name = words, .help_name = "alloc status",                                                \
        .usage = "alloc status [options] <allocation>",                                            \
        .synopsis = "Display allocation status information and metadata",                          \
        .help = "  Prints all about one allocation, named by its ID or an unambiguous beginning\n" \
                "  of it: its tasks, their last events and what they use.",                        \
        .examples = "steppe alloc status 8cf2b9b1\nsteppe alloc status -region=east 8cf2b9b1",     \
        .flags_title = "Alloc Status Options", CLI_FLAGS(flags_alloc_status),                      \
        .options = CLI_CLIENT | (more), .run = cmd_alloc_status                                    \
    }

#define ALLOC_LOGS(words, more)                                                                    \
    {                                                                                              \
        .name = words, .help_name = "alloc logs",                                                  \
        .usage = "alloc logs [options] <allocation> <task>",                                       \
        .synopsis = "Streams the logs of a task.",                                                 \
        .help = "  Prints what a task wrote, from wherever it runs.",                              \
        .examples = "steppe alloc logs -f 8cf2b9b1\nsteppe alloc logs -tail -n 20 8cf2b9b1 web\n"  \
                    "steppe alloc logs -job -stderr -region=east example",                         \
        .flags_title = "Logs Specific Options", CLI_FLAGS(flags_alloc_logs),                       \
        .options = CLI_CLIENT | (more), .run = cmd_alloc_logs                                      \
    }

#define ALLOC_FS(words, more)                                                                      \
    {                                                                                              \
        .name = words, .help_name = "alloc fs", .usage = "alloc fs [options] <allocation> <path>", \
        .synopsis = "Inspect the contents of an allocation directory",                             \
        .help = "  Lists a folder of an allocation, or prints a file of it.",                      \
        .examples = "steppe alloc fs 8cf2b9b1\nsteppe alloc fs 8cf2b9b1 web/local/config.json\n"   \
                    "steppe alloc fs -f -tail 8cf2b9b1 alloc/logs/web.stdout.0",                   \
        .flags_title = "FS Specific Options", CLI_FLAGS(flags_alloc_fs),                           \
        .options = CLI_CLIENT | (more), .run = cmd_alloc_fs                                        \
    }

#define EVAL_STATUS(words, more)                                                                   \
    {                                                                                              \
        .name = words, .help_name = "eval status", .usage = "eval status [options] <evaluation>",  \
        .synopsis = "Display evaluation status and placement failure reasons",                     \
        .help = "  Prints one evaluation, named by its ID or an unambiguous beginning of it.",     \
        .examples = "steppe eval status 8cf2b9b1", .flags_title = "Eval Status Options",           \
        CLI_FLAGS(flags_eval_status), .options = CLI_CLIENT | (more), .run = cmd_eval_status       \
    }

#define NODE_CONFIG(words, more)                                                                   \
    {                                                                                              \
        .name = words, .help_name = "node config", .usage = "node config [options] [<addr>...]",   \
        .synopsis = "View or modify client configuration details",                                 \
        .help = "  Lists or replaces the servers of the client agent that is asked.",              \
        .examples = "steppe node config -servers -address=http://127.0.1.11:4646",                 \
        .flags_title = "Node Config Options", CLI_FLAGS(flags_node_config),                        \
        .options = CLI_CLIENT | CLI_NO_NAMESPACE | (more), .run = cmd_node_config                  \
    }

/* Nomad's, and not there yet; `instead` is a sentence about what does (part of) the work now. */
#define NOT_YET(words, instead)                                                                    \
    {                                                                                              \
        .name = words, .usage = words, .synopsis = "Not part of this release",                     \
        .help = "  Not part of this release yet. " instead, .options = CLI_RAW | CLI_HIDDEN,       \
        .run = cmd_not_yet                                                                         \
    }

#define JOB_PLAN "`steppe job validate` checks a job file."
#define NODE_DRAIN                                                                                 \
    "`steppe node eligibility -disable` keeps new allocations away, `alloc stop` moves one."

#define SERVICE_ACTION(word, what, text)                                                           \
    {                                                                                              \
        .name = "service " word, .usage = "service " word " [options] <name>", .synopsis = what,   \
        .help = text, .examples = "steppe service " word " -data-dir=/var/lib/steppe routerd",     \
        .flags_title = "Service Options", CLI_FLAGS(flags_service), .run = cmd_service_action      \
    }

/* clang-format off */
const struct cli_command cli_commands[] = {
    {.name = "agent", .usage = "agent [options]", .synopsis = "Runs a Steppe agent",
     .help = "  Runs a node: checks the configuration and starts the services of its roles. It\n"
             "  stays in the foreground until SIGTERM or SIGINT; SIGHUP reloads.",
     .examples = "steppe agent -dev\nsteppe agent -config=/etc/steppe",
     .flags_title = "Agent Options", CLI_FLAGS(flags_agent), .options = CLI_RAW | CLI_COMMON,
     .run = cmd_agent},
    {.name = "agent-info", .usage = "agent-info [options]",
     .synopsis = "Display status information about the local agent",
     .help = "  Prints what the agent knows about itself.",
     .examples = "steppe agent-info\nsteppe agent-info -t '{{.stats.raft.state}}'",
     .flags_title = "Agent Info Options", CLI_FLAGS(flags_data),
     .flag_error = "Error parsing flags: ", .data_error = "Error formatting output: ",
     .options = CLI_CLIENT | CLI_NO_NAMESPACE, .run = cmd_agent_info},
    {HELP_GROUP("alloc", "Interact with allocations"), .options = CLI_GROUP | CLI_COMMON,
     .help = "  This command groups subcommands for interacting with allocations: the instances\n"
             "  of a job's groups, each on a node.",
     .examples = "steppe alloc status <alloc-id>\nsteppe alloc logs -f <alloc-id>\n"
                 "steppe alloc stop <alloc-id>"},
    ALLOC_FS("alloc fs", 0),
    ALLOC_LOGS("alloc logs", 0),
    {.name = "alloc restart", .usage = "alloc restart [options] <allocation> <task>",
     .synopsis = "Restart a running allocation",
     .help = "  Restarts one task of an allocation or all, in place.",
     .examples = "steppe alloc restart 8cf2b9b1\nsteppe alloc restart 8cf2b9b1 web",
     .flags_title = "Restart Specific Options", CLI_FLAGS(flags_alloc_restart),
     .options = CLI_CLIENT, .run = cmd_alloc_restart},
    {.name = "alloc signal", .usage = "alloc signal [options] <signal> <allocation> <task>",
     .synopsis = "Signal a running allocation",
     .help = "  Sends a signal to one task of an allocation or to all.",
     .examples = "steppe alloc signal -s SIGHUP 8cf2b9b1 web",
     .flags_title = "Signal Specific Options", CLI_FLAGS(flags_alloc_signal),
     .options = CLI_CLIENT, .run = cmd_alloc_signal},
    ALLOC_STATUS("alloc status", 0),
    ALLOC_STATUS("alloc-status", CLI_HIDDEN),
    {.name = "alloc stop", .usage = "alloc stop [options] <allocation>",
     .synopsis = "Stop and reschedule a running allocation",
     .help = "  Stops an allocation; its job gets another one for it.",
     .examples = "steppe alloc stop 8cf2b9b1", .flags_title = "Stop Specific Options",
     CLI_FLAGS(flags_alloc_stop), .options = CLI_CLIENT, .run = cmd_alloc_stop},
    {.name = "completion", .usage = "completion bash",
     .synopsis = "Print a shell completion script",
     .help = "  Prints the completion of all commands and flags for a shell.",
     .examples = "steppe completion bash > /etc/bash_completion.d/steppe", .run = cmd_completion},
    {HELP_GROUP("deployment", "Interact with deployments"), .options = CLI_GROUP,
     .help = "  This command groups subcommands for deployments: how an update of a job goes on.",
     .examples = "steppe deployment list\nsteppe deployment status <deployment-id>"},
    {.name = "deployment list", .usage = "deployment list [options]",
     .synopsis = "List all deployments", .help = "  Lists the deployments of all jobs.",
     .examples = "steppe deployment list -region=east", .flags_title = "List Options",
     CLI_FLAGS(flags_deployment), .options = CLI_CLIENT, .run = cmd_deployment_list},
    {.name = "deployment status", .usage = "deployment status [options] <deployment>",
     .synopsis = "Display the status of a deployment",
     .help = "  Prints one deployment, named by its ID or an unambiguous beginning of it.",
     .examples = "steppe deployment status 149d16aa", .flags_title = "Status Options",
     CLI_FLAGS(flags_deployment), .options = CLI_CLIENT, .run = cmd_deployment_status},
    {HELP_GROUP("eval", "Interact with evaluations"), .options = CLI_GROUP,
     .help = "  This command groups subcommands for interacting with evaluations.",
     .examples = "steppe eval status <eval-id>"},
    EVAL_STATUS("eval status", 0),
    EVAL_STATUS("eval-status", CLI_HIDDEN),
    {HELP_GROUP("job", "Interact with jobs"), .options = CLI_GROUP | CLI_COMMON,
     .help = "  This command groups subcommands for interacting with jobs.",
     .examples = "steppe job run <path>\nsteppe job status <name>\nsteppe job stop <name>"},
    {.name = "job deployments", .usage = "job deployments [options] <job>",
     .synopsis = "List deployments for a job",
     .help = "  Lists the deployments of a job, or prints the newest one.",
     .examples = "steppe job deployments example\nsteppe job deployments -latest example",
     .flags_title = "Deployments Options", CLI_FLAGS(flags_job_deployments), .options = CLI_CLIENT,
     .run = cmd_job_deployments},
    {.name = "job eval", .usage = "job eval [options] <job>",
     .synopsis = "Force an evaluation for the job",
     .help = "  Has the scheduler look at a job again, though nothing about it changed.",
     .examples = "steppe job eval example\nsteppe job eval -force-reschedule example",
     .flags_title = "Eval Options", CLI_FLAGS(flags_job_eval), .options = CLI_CLIENT,
     .run = cmd_job_eval},
    {.name = "job history", .usage = "job history [options] <job>",
     .synopsis = "Display all tracked versions of a job",
     .help = "  Lists the versions of a job, newest first.",
     .examples = "steppe job history -p example", .flags_title = "History Options",
     CLI_FLAGS(flags_job_history), .options = CLI_CLIENT, .run = cmd_job_history},
    JOB_INIT("job init", 0),
    JOB_INSPECT("job inspect", 0),
    JOB_RUN("job run", 0),
    {.name = "job status", .help_name = "status", .usage = "job status [options] <job>",
     .synopsis = "Display status information about a job",
     .help = "  Lists all jobs, or prints all about one of them.",
     .examples = "steppe job status\nsteppe job status -region=east example",
     .flags_title = "Status Options", CLI_FLAGS(flags_job_status), .options = CLI_CLIENT,
     .run = cmd_job_status},
    JOB_STOP("job stop", 0),
    JOB_VALIDATE("job validate", 0),
    {HELP_GROUP("node", "Interact with nodes"), .options = CLI_GROUP | CLI_COMMON,
     .help = "  This command groups subcommands for interacting with nodes: the machines that\n"
             "  run jobs.",
     .examples = "steppe node status <node-id>\nsteppe node eligibility -disable <node-id>"},
    NODE_CONFIG("node config", 0),
    {.name = "node eligibility", .usage = "node eligibility [options] <node>",
     .synopsis = "Toggle scheduling eligibility for a given node",
     .help = "  Says whether new allocations may come to a node; what runs there stays.",
     .examples = "steppe node eligibility -disable 8cf2b9b1",
     .flags_title = "Node Eligibility Options", CLI_FLAGS(flags_node_eligibility),
     .options = CLI_CLIENT | CLI_NO_NAMESPACE, .run = cmd_node_eligibility},
    NODE_STATUS("node status", 0),
    {HELP_GROUP("operator", "Provides cluster-level tools for operators"), .options = CLI_GROUP,
     .help = "  Tools for the operator of a cluster. Use them with care: some can harm it.",
     .examples = "steppe operator raft list-peers\nsteppe operator metrics"},
    {.name = "operator api", .usage = "operator api [options] <path>",
     .synopsis = "Query the HTTP API",
     .help = "  GETs a path of the HTTP API and prints the answer as it comes.",
     .examples = "steppe operator api /v1/regions\nsteppe operator api 'jobs?prefix=web'",
     .options = CLI_CLIENT, .run = cmd_operator_api},
    {HELP_GROUP("operator gossip", "Provides access to the gossip protocol"), .options = CLI_GROUP,
     .help = "  This command groups subcommands for the gossip between servers.",
     .examples = "steppe operator gossip keyring list"},
    {HELP_GROUP("operator gossip keyring", "Manages gossip layer encryption keys"),
     .options = CLI_GROUP,
     .help = "  This command groups subcommands for the keys of the gossip. To change the key of a\n"
             "  federation: make one with `steppe operator keygen`, then install, use, and remove\n"
             "  the old one. No server needs a restart.",
     .examples = "steppe operator gossip keyring install <key>\n"
                 "steppe operator gossip keyring use <key>\n"
                 "steppe operator gossip keyring remove <old-key>"},
    GOSSIP_KEYRING(install, " <key>", "Install a gossip encryption key",
                   "  Gives all servers a new key, which they then understand but do not use.\n"),
    GOSSIP_KEYRING(list, "", "List gossip encryption keys", "  Lists the keys in use.\n"),
    GOSSIP_KEYRING(remove, " <key>", "Remove a gossip encryption key",
                   "  Removes a key that is not the primary one.\n"),
    GOSSIP_KEYRING(use, " <key>", "Use a gossip encryption key",
                   "  Makes a key that is installed the one that servers encrypt with.\n"),
    OPERATOR_KEYGEN("operator keygen", 0),
    OPERATOR_KEYRING("operator keyring", 0),
    {.name = "operator metrics", .help_name = "metrics", .usage = "operator metrics [options]",
     .synopsis = "Retrieve metrics", .help = "  Prints the metrics of the agent that is asked.",
     .examples = "steppe operator metrics -format=prometheus",
     .flags_title = "Metrics Specific Options", CLI_FLAGS(flags_metrics),
     .flag_error = "Error parsing flags: ", .options = CLI_CLIENT | CLI_NO_NAMESPACE,
     .run = cmd_operator_metrics},
    {HELP_GROUP("operator raft", "Provides access to the Raft subsystem"), .options = CLI_GROUP,
     .help = "  This command groups subcommands for the Raft servers of a region.",
     .examples = "steppe operator raft list-peers"},
    {.name = "operator raft list-peers", .usage = "operator raft list-peers [options]",
     .synopsis = "Display the current Raft peer configuration",
     .help = "  Lists the servers that hold the state of a region.",
     .examples = "steppe operator raft list-peers -region=east",
     .flags_title = "List Peers Options", CLI_FLAGS(flags_raft_list),
     .flag_error = "Failed to parse args: ", .options = CLI_CLIENT | CLI_NO_NAMESPACE,
     .run = cmd_raft_list_peers},
    {.name = "operator raft remove-peer", .usage = "operator raft remove-peer [options]",
     .synopsis = "Remove a server from the Raft configuration",
     .help = "  Takes a server that will not come back out of the majority that is needed. Where\n"
             "  the server still shows in `steppe server members`, force-leave is the better way.",
     .examples = "steppe operator raft remove-peer -peer-address=127.0.1.2:4647",
     .flags_title = "Remove Peer Options", CLI_FLAGS(flags_raft_remove),
     .flag_error = "Failed to parse args: ", .options = CLI_CLIENT | CLI_NO_NAMESPACE,
     .run = cmd_raft_remove_peer},
    {HELP_GROUP("server", "Interact with servers"), .options = CLI_GROUP,
     .help = "  This command groups subcommands for interacting with servers.",
     .examples = "steppe server members\nsteppe server join \"IP:Port\"\n"
                 "steppe server force-leave <name>"},
    SERVER_FORCE_LEAVE("server force-leave", 0),
    SERVER_JOIN("server join", 0),
    SERVER_MEMBERS("server members", 0),
    {HELP_GROUP("server region", "Take regions out of the federation"), .options = CLI_GROUP,
     .help = "  This command groups subcommands for regions that leave the federation.",
     .examples = "steppe server region leave\nsteppe server region remove east"},
    {.name = "server region leave", .usage = "server region leave [options]",
     .synopsis = "Take this region out of the federation, in order",
     .help = "  All servers of the region that is asked say goodbye to those of other regions, who\n"
             "  forget them, and keep to themselves: jobs and state stay. Restarts do not bring\n"
             "  the region back; `steppe server join` at one of its servers does.",
     .examples = "steppe server region leave", .options = CLI_CLIENT | CLI_NO_NAMESPACE,
     .run = cmd_server_region_leave},
    {.name = "server region remove", .usage = "server region remove [options] <region>",
     .synopsis = "Forget a region that is gone",
     .help = "  Prunes the failed and left servers of a region that will not come back, on all\n"
             "  servers of the federation. A region with a server that is alive is left alone.",
     .examples = "steppe server region remove east", .options = CLI_CLIENT | CLI_NO_NAMESPACE,
     .run = cmd_server_region_remove},
    {HELP_GROUP("service", "Interact with the services of this node"), .options = CLI_GROUP,
     .help = "  This command groups subcommands for the processes that make up the node on this\n"
             "  machine. They ask its supervisor, over a socket in the node's run directory.",
     .examples = "steppe service list -data-dir=/var/lib/steppe"},
    {.name = "service list", .usage = "service list [options]",
     .synopsis = "List the services of this node",
     .help = "  Lists the services of the node with their state.",
     .examples = "steppe service list -data-dir=/var/lib/steppe",
     .flags_title = "Service Options", CLI_FLAGS(flags_service_list), .run = cmd_service_list},
    {.name = "service logs", .usage = "service logs [options] <name>",
     .synopsis = "Print the last lines that a service logged",
     .help = "  Prints the lines of a service (or of the supervisor) that are still held.",
     .examples = "steppe service logs -f -data-dir=/var/lib/steppe raftd",
     .flags_title = "Service Options", CLI_FLAGS(flags_service_logs), .run = cmd_service_logs},
    SERVICE_ACTION("restart", "Restart a service of this node",
                   "  Stops and starts one service; the others keep serving."),
    SERVICE_ACTION("start", "Start a service of this node",
                   "  Starts a service that was stopped."),
    SERVICE_ACTION("stop", "Stop a service of this node",
                   "  Stops a service until `steppe service start` or the node's next start."),
    {.name = "status", .usage = "status [options] <identifier>",
     .synopsis = "Display the status output for a resource",
     .help = "  Finds out what an identifier means (a job, a node, an evaluation, an allocation,\n"
             "  a deployment) and prints its status. Without one it lists the jobs.",
     .examples = "steppe status\nsteppe status -region=east\nsteppe status example",
     .flags_title = "Status Options", CLI_FLAGS(flags_status),
     .flag_error = "Error parsing arguments: ",
     .options = CLI_CLIENT | CLI_COMMON | CLI_QUOTES,
     .run = cmd_status},
    {HELP_GROUP("system", "Interact with the system API"), .options = CLI_GROUP,
     .help = "  This command groups subcommands for maintenance of a region.",
     .examples = "steppe system gc"},
    {.name = "system gc", .usage = "system gc [options]",
     .synopsis = "Run the system garbage collection process",
     .help = "  Forgets jobs, evaluations, allocations and nodes that have ended, now.",
     .examples = "steppe system gc -region=east", .options = CLI_CLIENT | CLI_NO_NAMESPACE,
     .run = cmd_system_gc},
    {HELP_GROUP("system reconcile", "Perform system reconciliation tasks"), .options = CLI_GROUP,
     .help = "  This command groups subcommands that mend what the servers count.",
     .examples = "steppe system reconcile summaries"},
    {.name = "system reconcile summaries", .usage = "system reconcile summaries [options]",
     .synopsis = "Reconciles the summaries of all registered jobs",
     .help = "  Counts the allocations of all jobs anew.",
     .examples = "steppe system reconcile summaries -region=east",
     .options = CLI_CLIENT | CLI_NO_NAMESPACE, .run = cmd_system_reconcile},
    {.name = "version", .usage = "version", .synopsis = "Prints the Steppe version",
     .help = "  Prints the version.", .run = cmd_version},

    /* Names of old. */
    ALLOC_FS("fs", CLI_ALIAS),
    JOB_INIT("init", CLI_ALIAS),
    JOB_INSPECT("inspect", CLI_ALIAS),
    ALLOC_LOGS("logs", CLI_ALIAS),
    JOB_RUN("run", CLI_COMMON),
    JOB_STOP("stop", CLI_COMMON),
    JOB_VALIDATE("validate", CLI_ALIAS),
    NODE_STATUS("node-status", CLI_HIDDEN),
    OPERATOR_KEYGEN("keygen", CLI_HIDDEN),
    OPERATOR_KEYRING("keyring", CLI_HIDDEN),
    SERVER_FORCE_LEAVE("server-force-leave", CLI_HIDDEN),
    SERVER_JOIN("server-join", CLI_HIDDEN),
    SERVER_MEMBERS("server-members", CLI_HIDDEN),
    NODE_CONFIG("client-config", CLI_HIDDEN),

    /* Not there yet. */
    NOT_YET("acl", "Nobody checks tokens yet."),
    NOT_YET("alloc exec", "`steppe alloc fs` and `alloc logs` show what a task left."),
    NOT_YET("deployment fail", ""),
    NOT_YET("deployment pause", ""),
    NOT_YET("deployment promote", ""),
    NOT_YET("deployment resume", ""),
    NOT_YET("deployment unblock", ""),
    NOT_YET("exec", "`steppe alloc fs` and `alloc logs` show what a task left."),
    NOT_YET("job dispatch", ""),
    NOT_YET("job periodic", ""),
    NOT_YET("job plan", JOB_PLAN),
    NOT_YET("job promote", ""),
    NOT_YET("job revert", "`steppe job inspect -version=N` prints an earlier job, for `job run`."),
    NOT_YET("job scale", "Change the count in the job file and `steppe job run` it."),
    NOT_YET("job scaling-events", "`steppe job history` lists the versions of a job."),
    NOT_YET("license", ""),
    NOT_YET("monitor", "`steppe service logs` prints what the services of a node log."),
    NOT_YET("namespace", "The only namespace is \"default\"."),
    NOT_YET("node drain", NODE_DRAIN),
    NOT_YET("node-drain", NODE_DRAIN),
    NOT_YET("operator autopilot", ""),
    NOT_YET("operator debug", ""),
    NOT_YET("operator snapshot", ""),
    NOT_YET("plan", JOB_PLAN),
    NOT_YET("plugin", ""),
    NOT_YET("quota", ""),
    NOT_YET("scaling", ""),
    NOT_YET("sentinel", ""),
    NOT_YET("ui", "There is no web page yet."),
    NOT_YET("volume", ""),
};
/* clang-format on */
const size_t cli_commands_len = ARRAY_LEN(cli_commands);
