/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The yardstick of bench_http.py: civetweb with a handler that does nothing but send the bytes of a
 * file. Usage: bare_civetweb ADDRESS:PORT FILE. Runs until it is killed.
 */
#include <civetweb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct answer {
    char *bytes;
    size_t len;
};

static int send_answer(struct mg_connection *conn, void *user)
{
    const struct answer *a = user;

    mg_printf(conn,
              "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
              "Connection: keep-alive\r\n\r\n",
              a->len);
    mg_write(conn, a->bytes, a->len);
    return 200;
}

static int read_file(const char *path, struct answer *a)
{
    FILE *f = fopen(path, "rb");
    long len;

    if (!f || fseek(f, 0, SEEK_END) || (len = ftell(f)) < 0 || fseek(f, 0, SEEK_SET))
        return -1;
    a->len = (size_t)len;
    a->bytes = malloc(a->len + 1);
    if (!a->bytes || fread(a->bytes, 1, a->len, f) != a->len)
        return -1;
    fclose(f);
    return 0;
}

int main(int argc, char **argv)
{
    const char *options[] = {"listening_ports", argc == 3 ? argv[1] : "", "num_threads", "64",
                             "enable_keep_alive", "yes", "keep_alive_timeout_ms", "5000",
                             "tcp_nodelay", "1", NULL};
    struct mg_callbacks callbacks = {0};
    struct mg_context *ctx;
    struct answer a;

    if (argc != 3 || read_file(argv[2], &a)) {
        fprintf(stderr, "usage: bare_civetweb ADDRESS:PORT FILE\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    ctx = mg_start(&callbacks, NULL, options);
    if (!ctx) {
        fprintf(stderr, "bare_civetweb: cannot listen on %s\n", argv[1]);
        return 1;
    }
    mg_set_request_handler(ctx, "/", send_answer, &a);
    for (;;)
        pause();
}
