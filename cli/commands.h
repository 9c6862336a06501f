/* SPDX-License-Identifier: MPL-2.0 */
/* The handlers that commands.c puts into its table, and what they share. */
#pragma once

#include "cli.h"
#include "job_codec.h"

int cmd_agent(struct cli *cli);
int cmd_agent_info(struct cli *cli);
int cmd_alloc_fs(struct cli *cli);
int cmd_alloc_logs(struct cli *cli);
int cmd_alloc_restart(struct cli *cli);
int cmd_alloc_signal(struct cli *cli);
int cmd_alloc_status(struct cli *cli);
int cmd_alloc_stop(struct cli *cli);
int cmd_completion(struct cli *cli);
int cmd_deployment_list(struct cli *cli);
int cmd_deployment_status(struct cli *cli);
int cmd_eval_status(struct cli *cli);
int cmd_job_deployments(struct cli *cli);
int cmd_job_eval(struct cli *cli);
int cmd_job_history(struct cli *cli);
int cmd_job_init(struct cli *cli);
int cmd_job_inspect(struct cli *cli);
int cmd_job_run(struct cli *cli);
int cmd_job_status(struct cli *cli);
int cmd_job_stop(struct cli *cli);
int cmd_job_validate(struct cli *cli);
int cmd_keyring_install(struct cli *cli);
int cmd_keyring_list(struct cli *cli);
int cmd_keyring_remove(struct cli *cli);
int cmd_keyring_use(struct cli *cli);
int cmd_node_config(struct cli *cli);
int cmd_node_eligibility(struct cli *cli);
int cmd_node_status(struct cli *cli);
int cmd_not_yet(struct cli *cli);
int cmd_operator_api(struct cli *cli);
int cmd_operator_keygen(struct cli *cli);
int cmd_operator_keyring(struct cli *cli);
int cmd_operator_metrics(struct cli *cli);
int cmd_raft_list_peers(struct cli *cli);
int cmd_raft_remove_peer(struct cli *cli);
int cmd_server_force_leave(struct cli *cli);
int cmd_server_join(struct cli *cli);
int cmd_server_members(struct cli *cli);
int cmd_server_region_leave(struct cli *cli);
int cmd_server_region_remove(struct cli *cli);
int cmd_service_list(struct cli *cli);
int cmd_service_action(struct cli *cli);
int cmd_service_logs(struct cli *cli);
int cmd_status(struct cli *cli);
int cmd_system_gc(struct cli *cli);
int cmd_system_reconcile(struct cli *cli);
int cmd_version(struct cli *cli);

/* job_lookup.c: jobs by prefix. */

/* "/v1/job/ID" and the suffix, escaped. malloc'ed. */
char *job_path(const char *id, const char *suffix);
/*
 * The one job that id means: GET /v1/jobs?prefix=. A failure is said ("<what>: ..." when the call
 * failed) and gives NULL. The stub is a new reference.
 */
json_t *job_lookup(struct cli *cli, const char *id, const char *what);
/* The namespace of a stub, NULL when it has none. Borrowed. */
const char *job_stub_namespace(const json_t *stub);
/* The table of stubs, as `job status` without argument prints it. malloc'ed. */
char *job_list_text(const json_t *stubs, bool with_namespace);
/* By ID. */
void job_stubs_sort(json_t *stubs);
/* "dead (stopped)". malloc'ed. */
char *job_status_text(const json_t *job);
bool jobdoc_is_periodic(const json_t *job);
bool jobdoc_is_parameterized(const json_t *job);
bool jobdoc_is_multiregion(const json_t *job);

/* job_file.c: job files. */

/* Reads PATH ("-": stdin), HCL or JSON. The job (new reference), or NULL after saying why not. */
json_t *job_file_load(struct cli *cli, const char *path);

/*
 * The reply of PUT /v1/validate/job to this job, made without a server: a new reference.
 */
json_t *job_check_local(const json_t *job);

/*
 * What a server answered, as Nomad's client prints it as JSON; left alone when it is no such
 * object. Replaces *object.
 */
void api_view(json_t **object, enum api_object what);
/* The same for each of a list. */
void api_views(json_t *list, enum api_object what);

/* alloc_text.c: tables of allocations, evaluations and deployments. */
bool alloc_newer(const json_t *a, const json_t *b); /* by CreateIndex, for js_sort() */
char *alloc_list_text(const json_t *allocs, bool verbose, size_t id_len, bool stubs);
/* "true", "false" or "N/A - In Progress". */
const char *eval_failures(const json_t *eval);
/* Lines "* ..." with the prefix, about why allocations were not placed. malloc'ed. */
char *alloc_metrics_text(const json_t *metrics, const char *prefix);
char *deployment_groups_text(const json_t *deployment);

/* diff_text.c: a JobDiff with the marks of colours, as `job plan` prints it. malloc'ed. */
char *job_diff_text(const json_t *diff, bool verbose);
