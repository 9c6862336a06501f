/* SPDX-License-Identifier: MPL-2.0 */
/* Paths, log names and the texts of /proc: whatever comes, a path stays below its root. */
#include <string.h>

#include "clientd_fs_path.h"
#include "clientd_stats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = xstrndup((const char *)data, size), again[FS_PATH_MAX], clean[FS_PATH_MAX];
    steppe_HostMemoryStats memory = {0};
    steppe_HostCpuStats cpu = {0};
    static struct host_cpus cpus;
    uint64_t number;

    if (fs_path_clean(text, clean)) {
        assert(clean[0] != '/' && !strstr(clean, "//"));
        assert(strcmp(clean, "..") != 0 && strncmp(clean, "../", 3) != 0 && !strstr(clean, "/../"));
        assert(fs_path_clean(clean, again) && strcmp(clean, again) == 0);
    }
    if (fs_log_number(text, "t", "stdout", &number))
        assert(number < UINT64_C(1000000000000000000));
    (void)fs_content_type(text, data, size);
    host_cpus_parse(text, &cpus);
    for (size_t i = 0; i < cpus.n; i++) {
        host_cpu_percent(i ? &cpus.cpus[i - 1] : NULL, &cpus.cpus[i], &cpu);
        assert(cpu.total >= 0 && cpu.total <= 100);
    }
    host_memory_parse(text, &memory);
    free(text);
    return 0;
}
