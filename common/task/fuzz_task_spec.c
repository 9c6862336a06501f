/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What taskd and clientd read of each other, and of the kernel's list of mounts. The first byte
 * chooses. A description that was understood must survive another round.
 */
#include <string.h>

#include "task/cgroup.h"
#include "task/task_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const char *text, size_t len)
{
    struct task_spec a = {0}, b = {0};
    struct strbuf one = STRBUF_INIT, two = STRBUF_INIT;
    struct errtext e = {{0}};

    if (task_spec_decode(text, len, &a, &e) < 0)
        return;
    assert(task_spec_encode(&a, &one) == 0);
    assert(task_spec_decode(one.data, one.len, &b, &e) == 0);
    assert(task_spec_encode(&b, &two) == 0);
    assert(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    task_spec_fini(&a);
    task_spec_fini(&b);
    strbuf_fini(&one);
    strbuf_fini(&two);
}

static void read_status(const char *text)
{
    struct task_status a, b;
    char line[TASK_MESSAGE_MAX];

    if (task_status_decode(text, &a) < 0)
        return;
    task_status_encode(&a, line);
    assert(task_status_decode(line, &b) == 0);
    assert(a.phase == b.phase && a.pid == b.pid && a.code == b.code && a.oom == b.oom);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = xstrndup(size ? (const char *)data + 1 : "", size ? size - 1 : 0);
    struct cgroup_host h;

    if (size && data[0] == 's')
        round_trip((const char *)data + 1, size - 1);
    else if (size && data[0] == 't')
        read_status(text);
    else if (size && data[0] == 'm')
        cgroup_parse(text, &h);
    else if (size)
        (void)cgroup_field(text, "oom_kill");
    free(text);
    return 0;
}
