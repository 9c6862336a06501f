/* SPDX-License-Identifier: MPL-2.0 */
#include <pb_decode.h>
#include <string.h>

#include "check_run.h"
#include "task_env.h"

static char *S(const char *s)
{
    return (char *)s;
}

static struct task_env build(void)
{
    static steppe_Node_AttributesEntry attrs[] = {{(char *)"cpu.arch", (char *)"amd64"},
                                                  {(char *)"unique.hostname", (char *)"h1"}};
    static steppe_Node_MetaEntry node_meta[] = {{(char *)"rack", (char *)"r7"}};
    static steppe_Job_MetaEntry job_meta[] = {{(char *)"own er", (char *)"me"},
                                              {(char *)"level", (char *)"job"}};
    static steppe_Task_MetaEntry task_meta[] = {{(char *)"level", (char *)"task ${meta.rack}"}};
    static steppe_Task_EnvEntry env[] = {
        {(char *)"ARCH", (char *)"${attr.cpu.arch}/${NOMAD_TASK_NAME}/${nothing}/${"},
        {(char *)"a-b", (char *)"${node.unique.name} ${env.HOME} ${NOMAD_META_LEVEL}"}};
    static steppe_AllocatedPortMapping ports[] = {{(char *)"web-ui", 21000, 0, (char *)"127.0.0.9"},
                                                  {(char *)"db", 22000, 5432, (char *)"127.0.0.9"}};
    static steppe_AllocatedResources_TasksEntry res[] = {
        {(char *)"t",
         true,
         {.has_cpu = true, .has_memory = true, .cpu = {.cpu_shares = 500}, .memory = {256, 0}}}};
    steppe_Node node = {.id = S("n-1"),
                        .name = S("node1"),
                        .datacenter = S("dc1"),
                        .node_class = S("big"),
                        .attributes = attrs,
                        .attributes_count = 2,
                        .meta = node_meta,
                        .meta_count = 1};
    steppe_Task task = {
        .name = S("t"), .env = env, .env_count = 2, .meta = task_meta, .meta_count = 1};
    steppe_TaskGroup group = {.name = S("g")};
    steppe_Allocation a = {.id = S("a-1"),
                           .name = S("j.g[12]"),
                           .namespace = S("default"),
                           .job_id = S("j"),
                           .task_group = S("g"),
                           .has_job = true,
                           .has_allocated_resources = true};
    char *host[] = {S("HOME=/root"), S("VAULT_TOKEN=x"), S("STEPPE_READY_FD=3"), S("NOMAD_ADDR=y"),
                    NULL};
    struct task_env_input in = {&a,       &group,     &task, &node, "/alloc",
                                "/local", "/secrets", NULL,  host};
    struct task_env e;

    a.job = (steppe_Job){.region = S("west"), .name = S("jj"), .meta = job_meta, .meta_count = 2};
    a.allocated_resources =
        (steppe_AllocatedResources){.tasks = res,
                                    .tasks_count = 1,
                                    .has_shared = true,
                                    .shared = {.ports = ports, .ports_count = 2}};
    task_env_build(&e, &in);
    return e;
}

START_TEST(test_variables)
{
    static const char *const want[][2] = {{"NOMAD_ALLOC_INDEX", "12"},
                                          {"NOMAD_ALLOC_DIR", "/alloc"},
                                          {"NOMAD_CPU_LIMIT", "500"},
                                          {"NOMAD_MEMORY_LIMIT", "256"},
                                          {"NOMAD_PORT_web_ui", "21000"},
                                          {"NOMAD_ADDR_web_ui", "127.0.0.9:21000"},
                                          {"NOMAD_PORT_db", "5432"},
                                          {"NOMAD_HOST_PORT_db", "22000"},
                                          {"NOMAD_IP_db", "127.0.0.9"},
                                          {"NOMAD_META_own_er", "me"},
                                          {"NOMAD_META_OWN_ER", "me"},
                                          {"NOMAD_META_LEVEL", "task r7"},
                                          {"NOMAD_JOB_NAME", "jj"},
                                          {"NOMAD_REGION", "west"},
                                          {"NOMAD_DC", "dc1"},
                                          {"HOME", "/root"},
                                          {"ARCH", "amd64/t/${nothing}/${"},
                                          {"a_b", "node1 /root task r7"}};
    static const char *const absent[] = {"VAULT_TOKEN", "STEPPE_READY_FD", "NOMAD_ADDR",
                                         "NOMAD_MEMORY_MAX_LIMIT", "NOMAD_JOB_PARENT_ID"};
    struct task_env e = build();

    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const char *v = task_env_get(&e, want[i][0]);

        ck_assert_msg(v && strcmp(v, want[i][1]) == 0, "%s is %s", want[i][0], v ? v : "absent");
    }
    for (size_t i = 0; i < ARRAY_LEN(absent); i++)
        ck_assert_ptr_null(task_env_get(&e, absent[i]));
    for (size_t i = 1; i < e.vars.n; i++)
        ck_assert_int_lt(strcmp(e.vars.pairs[i - 1].key, e.vars.pairs[i].key), 0);
    task_env_fini(&e);
}
END_TEST

START_TEST(test_replace)
{
    static const char *const cases[][2] = {{"${node.class}-${node.region}", "big-west"},
                                           {"${attr.unique.hostname}${meta.rack}", "h1r7"},
                                           {"$${NOMAD_DC}", "$dc1"},
                                           {"${}${ x}${a b}", "${}${ x}${a b}"},
                                           {"", ""}};
    struct task_env e = build();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *got = task_env_replace(&e, cases[i][0]);

        ck_assert_str_eq(got, cases[i][1]);
        free(got);
    }
    task_env_fini(&e);
}
END_TEST

START_TEST(test_own_denylist)
{
    char *host[] = {S("SECRET=1"), S("OTHER=2"), S("VAULT_TOKEN=3"), NULL};
    steppe_Allocation a = {.id = S("a"), .has_job = true};
    steppe_TaskGroup group = {.name = S("g")};
    steppe_Task task = {.name = S("t")};
    steppe_Node node = {.id = S("n")};
    struct task_env_input in = {&a, &group, &task, &node, "", "", "", "SECRET, MORE", host};
    struct task_env e;

    task_env_build(&e, &in);
    ck_assert_ptr_null(task_env_get(&e, "SECRET"));
    ck_assert_str_eq(task_env_get(&e, "OTHER"), "2");
    ck_assert_str_eq(task_env_get(&e, "VAULT_TOKEN"), "3");
    task_env_fini(&e);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("task_env");

    tcase_add_test(t, test_variables);
    tcase_add_test(t, test_replace);
    tcase_add_test(t, test_own_denylist);
    return check_run("task_env", t, NULL);
}
