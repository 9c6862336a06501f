/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Replays a corpus through LLVMFuzzerTestOneInput(): each argument is a file or a folder of files.
 * Exits 1 when nothing was replayed, so that an empty corpus cannot pass.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replayed;

static void replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t len = 0, n;

    if (!f) {
        perror(path);
        exit(1);
    }
    do {
        data = realloc(data, len + 65536);
        if (!data)
            abort();
        n = fread(data + len, 1, 65536, f);
        len += n;
    } while (n > 0);
    fclose(f);
    (void)LLVMFuzzerTestOneInput(data, len);
    free(data);
    replayed++;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct stat st;
        struct dirent *e;
        char path[4096];
        DIR *d;

        if (stat(argv[i], &st) == 0 && !S_ISDIR(st.st_mode)) {
            replay_file(argv[i]);
            continue;
        }
        d = opendir(argv[i]);
        while (d && (e = readdir(d))) {
            if (e->d_name[0] == '.')
                continue;
            (void)snprintf(path, sizeof(path), "%s/%s", argv[i], e->d_name);
            replay_file(path);
        }
        if (d)
            closedir(d);
    }
    printf("replayed %u inputs\n", replayed);
    return replayed ? 0 : 1;
}
