/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The keyring and its file. The file is written on a thread of libuv's pool, as the sync may take
 * its time and gossip must not stand still; the core waits for it before a key counts.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "serfd_shell.h"

struct serfd_keys_save {
    uv_work_t work;
    struct serfd *sd;
    char *text;
    size_t len;
    int err;
    struct errtext e;
};

int serfd_keyring_load(struct serfd *sd, struct errtext *e)
{
    const char *encrypt = sd->ctx->conf->server.encrypt;
    struct seal_keyring conf = {.n = 0};
    struct strbuf text = STRBUF_INIT;
    int r = encrypt[0] ? seal_add_base64(&conf, encrypt, e) : 0;

    if (r)
        return err_prefix(e, r, "server.encrypt");
    r = keyring_read(sd->keyring_path, &sd->keyring, e);
    if (r == 0 && conf.n > 0 && memcmp(&conf.keys[0], &sd->keyring.keys[0], sizeof(conf.keys[0])))
        log_warn("server.encrypt is not the key in use: the keyring's file wins path=%s",
                 sd->keyring_path);
    if (r != -ENOENT || conf.n == 0)
        return r == -ENOENT ? 0 : r;
    sd->keyring = conf;
    seal_file_format(&conf, &text);
    r = keyring_write(sd->keyring_path, text.data, text.len, e);
    strbuf_fini(&text);
    return r;
}

static void on_work(uv_work_t *w)
{
    struct serfd_keys_save *save = w->data;

    save->err = keyring_write(save->sd->keyring_path, save->text, save->len, &save->e);
}

static void on_saved(uv_work_t *w, int status)
{
    struct serfd_keys_save *save = w->data;
    struct serf_event ev = {.type = SERF_EV_KEYS_SAVED, .err = status ? status : save->err};
    struct serfd *sd = save->sd;

    if (save->err)
        log_error("gossip keys not saved error=\"%s\"", save->e.text);
    sd->keys_save = NULL;
    free(save->text);
    free(save);
    (void)serfd_step(sd, &ev);
    serfd_settle(sd);
}

void serfd_keyring_save(struct serfd *sd, struct span text)
{
    struct serfd_keys_save *save = xcalloc(1, sizeof(*save));

    assert(!sd->keys_save);
    save->sd = sd;
    save->text = xstrndup((const char *)text.p, text.len);
    save->len = text.len;
    save->work.data = save;
    sd->keys_save = save;
    uv_queue_work(sd->ctx->loop, &save->work, on_work, on_saved);
}

void serfd_keyring_fini(struct serfd *sd)
{
    while (sd->keys_save)
        uv_run(sd->ctx->loop, UV_RUN_ONCE);
}
