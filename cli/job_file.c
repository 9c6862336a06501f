/* SPDX-License-Identifier: MPL-2.0 */
/* Job files: HCL or JSON text to the job of the HTTP API. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "commands.h"
#include "hcl/hcl.h"
#include "text.h"

#define JOB_FILE_MAX HCL_SIZE_MAX

/* An errno in Go's words, which begin in lower case. malloc'ed. */
static char *job_file_errno(int err)
{
    char *text = xstrdup(strerror(err));

    text[0] = (char)tolower((unsigned char)text[0]);
    return text;
}

/* Reads all of fd; 0, -EFBIG, or what read() says. */
static int job_file_read(int fd, struct strbuf *b)
{
    for (;;) {
        char chunk[16384];
        ssize_t n = read(fd, chunk, sizeof(chunk));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        strbuf_add(b, chunk, (size_t)n);
        if (strbuf_failed(b))
            return -EFBIG;
    }
}

static int job_file_refuse(struct cli *cli, const char *path, const char *why)
{
    _cleanup_(freep) char *quoted = text_quote(path);

    ui_error(cli, "Error getting job struct: Error getting jobfile from %s: %s", quoted, why);
    return -EIO;
}

/* The same with an errno and what was tried. */
static int job_file_failed(struct cli *cli, const char *path, const char *what, int err)
{
    _cleanup_(freep) char *text = job_file_errno(err);
    _cleanup_(freep) char *why = xasprintf("%s %s: %s", what, path, text);

    return job_file_refuse(cli, path, err == EFBIG ? "larger than a job file may be" : why);
}

static int job_file_download(struct cli *cli, const char *url, struct strbuf *b)
{
    _cleanup_(freep) char *why = NULL;
    int r = client_download(url, b, &why);

    if (r == -EFBIG)
        return job_file_failed(cli, url, "read", EFBIG);
    return r < 0 ? job_file_refuse(cli, url, why) : 0;
}

static int job_file_text(struct cli *cli, const char *path, struct strbuf *b)
{
    bool is_stdin = strcmp(path, "-") == 0;
    struct stat st;
    int fd, r;

    if (strncmp(path, "http://", 7) == 0 || strncmp(path, "https://", 8) == 0)
        return job_file_download(cli, path, b);
    fd = is_stdin ? fileno(cli->in) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return job_file_failed(cli, path, "source path error: stat", errno);
    if (!is_stdin && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        r = job_file_refuse(cli, path, "source path must be a file");
    else {
        r = job_file_read(fd, b);
        if (r < 0)
            (void)job_file_failed(cli, path, "read", -r);
    }
    if (!is_stdin)
        close(fd);
    return r;
}

/* The document is the API's own JSON: {"Job": {...}} or a job with an ID; NULL when it is not. */
static json_t *job_file_api_json(const struct strbuf *text)
{
    _cleanup_(json_decrefp) json_t *json = NULL;
    const char *p = text->data;
    json_t *job;

    if (p[strspn(p, " \t\r\n")] != '{')
        return NULL;
    json = json_loadb(text->data, text->len, 0, NULL);
    job = json_is_object(js_get(json, "Job")) ? js_get(json, "Job") : json;
    return json_is_object(job) && js_some(job, "ID") ? json_incref(job) : NULL;
}

/* The text of a job in the API's JSON, only with what was set. */
static int job_file_to_json(const struct strbuf *text, enum hcl_version version, struct strbuf *out,
                            struct hcl_error *e)
{
    _cleanup_(json_decrefp) json_t *job = job_file_api_json(text);
    _cleanup_(freep) char *json = NULL;

    if (!job)
        return hcl_job_to_json(text->data, text->len, version, out, e);
    json = js_text(job, JS_COMPACT);
    strbuf_adds(out, json);
    return 0;
}

json_t *job_file_load(struct cli *cli, const char *path)
{
    _cleanup_(strbuf_fini) struct strbuf text = STRBUF_BOUND(JOB_FILE_MAX), json = STRBUF_INIT;
    struct hcl_error hcl_error;
    _cleanup_(freep) char *full = NULL;
    enum hcl_version version;
    struct errtext e;
    json_t *job = NULL;

    if (!*path) {
        ui_error(cli, "Error getting job struct: Error jobfile path has to be specified.");
        return NULL;
    }
    strbuf_adds(&text, "");
    if (job_file_text(cli, path, &text) < 0)
        return NULL;
    version = flags_bool(&cli->flags, "hcl1") ? HCL_1 : HCL_2;
    if (job_file_to_json(&text, version, &json, &hcl_error) < 0) {
        ui_error(cli, "Error getting job struct: Error parsing job file from %s:\n%s", path,
                 hcl_error.text);
        return NULL;
    }
    if (job_codec_complete(json.data, json.len, &full, &e) == 0)
        job = json_loads(full, 0, NULL);
    else
        ui_error(cli, "Error getting job struct: Error parsing job file from %s:\n%s", path,
                 e.text);
    return job;
}

void api_view(json_t **object, enum api_object what)
{
    _cleanup_(freep) char *text = js_text(*object, JS_COMPACT), *full = NULL;
    json_t *view = NULL;
    struct errtext e;

    if (api_codec_view(what, text, strlen(text), &full, &e) == 0)
        view = json_loads(full, 0, NULL);
    if (!view)
        return;
    json_decref(*object);
    *object = view;
}

void api_views(json_t *list, enum api_object what)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *object = json_incref(json_array_get(list, i));

        api_view(&object, what);
        json_array_set_new(list, i, object);
    }
}

json_t *job_check_local(const json_t *job)
{
    _cleanup_(freep) char *text = js_text(job, JS_COMPACT), *error = NULL, *warnings = NULL;
    struct errtext e;
    bool ok = job_codec_check(text, strlen(text), &error, &warnings, &e) == 0;

    return json_pack("{s:b, s:s, s:s}", "DriverConfigValidated", 0, "Error", ok ? error : e.text,
                     "Warnings", ok ? warnings : "");
}
