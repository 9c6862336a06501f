/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Files of allocations for cstreams. Everything that touches a disk runs in a worker thread of
 * libuv, one piece at a time for each stream; what it read is sent when the reader has room.
 *
 *     pump -> worker reads -> sent -> pump           to the end of the file, then:
 *                          -> end                    nobody follows
 *                          -> next log file          its successor exists
 *                          -> waits                  for inotify, a look each second, or room
 */
#include <errno.h>
#include <fcntl.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clientd_conn.h"

#define GATHER_MS    50   /* after a change: more may follow */
#define HEARTBEAT_MS 1000 /* as Nomad's, while following; also a look at the file */

enum fs_kind { FS_LIST, FS_STAT, FS_READ, FS_STREAM, FS_LOGS };

/* What one turn of the worker did. */
enum fs_result { FS_DATA, FS_EOF, FS_TRUNCATED, FS_DELETED, FS_NEXT, FS_DONE, FS_FAILED };

struct fs_job {
    struct cstream *s; /* NULL: nobody wants the rest */
    enum fs_kind kind;
    char *root; /* the allocation's directory */
    char *path, *task, *log_type;
    char shown[FS_PATH_MAX]; /* the file's name in frames */
    bool follow, from_end;
    int64_t offset, limit; /* limit: bytes left, -1 = none */
    int64_t resume_offset;
    int64_t size; /* of the file, as last seen: one that shrinks was truncated */
    int fd;
    uint64_t log, log_last; /* the file that is read; not followed: the last one to read */
    char *resume_file;      /* "": from the start of what was asked */
    bool begun;
    unsigned code; /* of an error */
    struct errtext e;

    uv_work_t work;
    bool busy;
    enum fs_result result;
    uint8_t *data;
    size_t len;
    steppe_FileInfo info;
    steppe_FileInfoList list;

    uv_timer_t timer; /* gathering, or the heartbeat */
    uv_fs_event_t watch;
    bool watching, gathering;
    unsigned handles; /* open ones */
};

static void pump(struct fs_job *j);

/* ---- life ---- */

static void job_free(struct fs_job *j)
{
    if (j->busy || j->handles)
        return;
    if (j->fd >= 0)
        (void)close(j->fd);
    pb_release(steppe_FileInfo_fields, &j->info);
    pb_release(steppe_FileInfoList_fields, &j->list);
    free(j->data);
    free(j->root);
    free(j->path);
    free(j->task);
    free(j->log_type);
    free(j->resume_file);
    free(j);
}

static void on_closed(uv_handle_t *h)
{
    struct fs_job *j = h->data;

    j->handles--;
    job_free(j);
}

/* The stream has ended; the rest goes when its worker and handles are done. */
static void job_release(struct fs_job *j)
{
    j->s = NULL;
    if (j->busy)
        (void)uv_cancel((uv_req_t *)&j->work); /* else its callback comes when it is done */
    if (!j->handles) {
        job_free(j);
        return;
    }
    uv_close((uv_handle_t *)&j->timer, on_closed);
    uv_close((uv_handle_t *)&j->watch, on_closed);
}

static void job_end(struct fs_job *j, unsigned code, const char *text)
{
    struct cstream *s = j->s;

    j->s = NULL;
    cstream_end(s, code, "%s", text);
    job_release(j);
}

/* ---- in the worker ---- */

static enum fs_result fail(struct fs_job *j, unsigned code)
{
    j->code = code;
    return FS_FAILED;
}

static bool open_log(struct fs_job *j)
{
    (void)snprintf(j->shown, sizeof(j->shown), "alloc/logs/%s.%s.%llu", j->task, j->log_type,
                   (unsigned long long)j->log);
    return fs_open_file(j->root, j->shown, &j->fd, &j->e) == 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static enum fs_result begin_logs(struct fs_job *j)
{
    _cleanup_(freep) struct fs_log *logs = NULL;
    uint64_t resume;
    size_t n = 0, i;

    if (fs_logs(j->root, j->task, j->log_type, &logs, &n, &j->e) < 0) {
        (void)err_prefix(&j->e, 0, "failed to list entries");
        return fail(j, 500);
    }
    if (n == 0) {
        (void)err_set(&j->e, 0, "log entry for task \"%s\" and log type \"%s\" not found", j->task,
                      j->log_type);
        return fail(j, 404);
    }
    i = fs_log_begin(logs, n, j->from_end, j->offset, &j->offset);
    if (fs_log_number(base_name(j->resume_file), j->task, j->log_type, &resume)) {
        for (i = 0; i + 1 < n && logs[i].number < resume; i++)
            ;
        j->offset = logs[i].number == resume ? j->resume_offset : 0; /* it is rotated away */
    }
    j->log = logs[i].number;
    j->log_last = logs[n - 1].number;
    return open_log(j) ? FS_DATA : fail(j, 500);
}

static enum fs_result begin_file(struct fs_job *j)
{
    struct stat st;
    int r;

    (void)snprintf(j->shown, sizeof(j->shown), "%s", j->path);
    r = fs_open_file(j->root, j->path, &j->fd, &j->e);
    if (r < 0)
        return fail(j, j->kind == FS_STREAM && r != -EACCES ? 400 : 500);
    if (fstat(j->fd, &st) == 0)
        j->size = st.st_size;
    if (*j->resume_file)
        j->offset = j->resume_offset;
    else if (j->from_end)
        j->offset = MAX(j->size - j->offset, (int64_t)0);
    return FS_DATA;
}

/* The next log file, if there is one: a rotation never goes back, but may drop old ones. */
static bool next_log(struct fs_job *j)
{
    _cleanup_(freep) struct fs_log *logs = NULL;
    struct stat st;
    size_t n = 0;

    if ((!j->follow && j->log >= j->log_last) ||
        fs_logs(j->root, j->task, j->log_type, &logs, &n, NULL) < 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        int old = j->fd;

        if (logs[i].number <= j->log)
            continue;
        if (fstat(old, &st) == 0 && st.st_size > j->offset)
            return true; /* written between our read and the rotation: first the rest of this one */
        j->log = logs[i].number;
        if (!open_log(j)) {
            j->fd = old;
            continue;
        }
        (void)close(old);
        j->offset = j->size = 0;
        return true;
    }
    return false;
}

/* Nothing behind the offset: why? */
static enum fs_result at_end(struct fs_job *j)
{
    struct stat st;

    if (j->kind == FS_READ || fstat(j->fd, &st) < 0)
        return FS_DONE;
    if (st.st_size < j->size && st.st_size < j->offset) {
        j->size = j->offset = 0;
        return FS_TRUNCATED;
    }
    j->size = st.st_size;
    if (j->kind == FS_LOGS && next_log(j))
        return FS_NEXT;
    if (!j->follow)
        return FS_DONE;
    return st.st_nlink == 0 && j->kind == FS_STREAM ? FS_DELETED : FS_EOF;
}

static enum fs_result read_some(struct fs_job *j)
{
    size_t want = CPART_MAX;
    ssize_t n;

    if (j->limit >= 0)
        want = (size_t)MIN(j->limit, (int64_t)CPART_MAX);
    if (want == 0)
        return FS_DONE;
    j->data = xmalloc(want);
    n = pread(j->fd, j->data, want, j->offset);
    if (n < 0) {
        (void)err_set(&j->e, 0, "read %s: %s", j->shown, strerror(errno));
        return fail(j, 500);
    }
    if (n == 0)
        return at_end(j);
    j->len = (size_t)n;
    j->offset += n;
    j->size = MAX(j->size, j->offset);
    if (j->limit >= 0)
        j->limit -= n;
    return FS_DATA;
}

static enum fs_result work_on(struct fs_job *j)
{
    enum fs_result r = FS_DATA;

    switch (j->kind) {
    case FS_LIST:
        return fs_list(j->root, j->path, &j->list, &j->e) < 0 ? fail(j, 500) : FS_DONE;
    case FS_STAT:
        return fs_stat(j->root, j->path, &j->info, &j->e) < 0 ? fail(j, 500) : FS_DONE;
    case FS_READ:
    case FS_STREAM:
        if (!j->begun)
            r = begin_file(j);
        break;
    case FS_LOGS:
        if (!j->begun)
            r = begin_logs(j);
        break;
    }
    j->begun = true;
    return r == FS_DATA ? read_some(j) : r;
}

static void do_work(uv_work_t *w)
{
    struct fs_job *j = CONTAINER_OF(w, struct fs_job, work);

    j->result = work_on(j);
}

/* ---- on the loop ---- */

static void on_timer(uv_timer_t *t)
{
    struct fs_job *j = t->data;

    if (!j->s)
        return;
    if (!j->gathering && cstream_room(j->s))
        cstream_send(j->s, NULL, 0, NULL, 0, NULL);
    j->gathering = false;
    uv_timer_start(&j->timer, on_timer, HEARTBEAT_MS, HEARTBEAT_MS);
    pump(j);
}

static void on_change(uv_fs_event_t *h, const char *name, int events, int status)
{
    struct fs_job *j = h->data;

    (void)name;
    (void)events;
    (void)status;
    if (!j->s || j->gathering)
        return;
    j->gathering = true;
    uv_timer_start(&j->timer, on_timer, GATHER_MS, 0);
}

/* Waits for the file to grow. The heartbeat looks, too: a watch may not be had, or miss a file that
 * is replaced. */
static void watch(struct fs_job *j)
{
    char clean[FS_PATH_MAX], *slash;
    _cleanup_(freep) char *path = NULL;

    if (j->watching || !fs_path_clean(j->shown, clean))
        return;
    j->watching = true;
    path = xasprintf("%s/%s", j->root, clean);
    slash = strrchr(path, '/');
    if (j->kind == FS_LOGS) /* the folder: rotation makes new files */
        *slash = 0;
    (void)uv_fs_event_start(&j->watch, on_change, path, 0);
}

static void after_work(uv_work_t *w, int status)
{
    struct fs_job *j = CONTAINER_OF(w, struct fs_job, work);

    (void)status;
    j->busy = false;
    if (!j->s) {
        job_free(j);
        return;
    }
    if (j->len > 0)
        cstream_send(j->s, j->data, j->len, j->kind == FS_READ ? NULL : j->shown, j->offset, NULL);
    free(j->data);
    j->data = NULL;
    j->len = 0;
    switch (j->result) {
    case FS_DATA:
    case FS_NEXT:
        pump(j);
        break;
    case FS_TRUNCATED:
        cstream_send(j->s, NULL, 0, j->shown, 0, "file truncated");
        pump(j);
        break;
    case FS_DELETED:
        cstream_send(j->s, NULL, 0, j->shown, j->offset, "file deleted");
        job_end(j, 0, "");
        break;
    case FS_EOF:
        watch(j);
        break;
    case FS_DONE: {
        struct cstream *s = j->s;

        if (j->kind == FS_LIST || j->kind == FS_STAT) {
            j->s = NULL;
            cstream_end_msg(
                s, j->kind == FS_LIST ? steppe_FileInfoList_fields : steppe_FileInfo_fields,
                j->kind == FS_LIST ? (const void *)&j->list : (const void *)&j->info);
            job_release(j);
        } else {
            job_end(j, 0, "");
        }
        break;
    }
    case FS_FAILED:
        job_end(j, j->code, j->e.text);
        break;
    }
}

/* Reads the next piece unless it is read already, or the reader has no room. */
static void pump(struct fs_job *j)
{
    if (j->busy || !cstream_room(j->s))
        return;
    j->busy = true;
    if (uv_queue_work(cstream_ctx(j->s)->loop, &j->work, do_work, after_work) < 0) {
        j->busy = false;
        job_end(j, 500, "this node has no worker");
    }
}

static void on_wake(struct cstream *s)
{
    struct fs_job *j = s->user;

    if (s->canceled)
        job_end(j, 499, "canceled");
    else
        pump(j);
}

static char *dup_text(const char *s)
{
    return xstrdup(s ? s : "");
}

static void start(struct cstream *s, enum fs_kind kind)
{
    struct alloc *al = cstream_alloc(s);
    const steppe_ClientCall *call = &s->call;
    struct fs_job *j;
    bool from_end;

    if (!al)
        return;
    from_end = call->origin && strcmp(call->origin, "end") == 0;
    if (call->resume_offset < 0 || (call->offset < 0 && !from_end)) {
        cstream_end(s, 500, "can't seek to offset '%lld': seek %s: invalid argument",
                    (long long)call->offset, call->path ? call->path : "");
        return;
    }
    j = xcalloc(1, sizeof(*j));
    j->s = s;
    j->kind = kind;
    j->fd = -1;
    j->root = xstrdup(alloc_dir(al));
    j->path = dup_text(call->path);
    j->task = dup_text(call->task);
    j->log_type = dup_text(call->log_type);
    j->resume_file = dup_text(call->resume_file);
    j->offset = MAX(call->offset, -INT64_MAX / 2); /* nothing is that large */
    j->resume_offset = call->resume_offset;
    j->limit = call->limit > 0 ? call->limit : -1;
    j->follow = call->follow;
    j->from_end = from_end;
    s->user = j;
    s->wake = on_wake;
    if (j->follow) {
        uv_timer_init(cstream_ctx(s)->loop, &j->timer);
        uv_fs_event_init(cstream_ctx(s)->loop, &j->watch);
        j->timer.data = j->watch.data = j;
        j->handles = 2;
        uv_timer_start(&j->timer, on_timer, HEARTBEAT_MS, HEARTBEAT_MS);
    }
    pump(j);
}

void clientd_fs_list(struct cstream *s)
{
    start(s, FS_LIST);
}

void clientd_fs_stat(struct cstream *s)
{
    start(s, FS_STAT);
}

void clientd_fs_read(struct cstream *s)
{
    start(s, FS_READ);
}

void clientd_fs_stream(struct cstream *s)
{
    start(s, FS_STREAM);
}

/* True when the task's log may be there: it was started once. */
static bool was_started(struct alloc *al, int task)
{
    return alloc_task_state(al, (size_t)task)->started_at != 0;
}

void clientd_fs_logs(struct cstream *s)
{
    struct alloc *al = cstream_alloc(s);
    const char *task = s->call.task ? s->call.task : "";
    int i;

    if (!al)
        return;
    i = alloc_task_find(al, task);
    if (i < 0)
        cstream_end(s, 400, "unknown task name \"%s\"", task);
    else if (!was_started(al, i))
        cstream_end(s, 404, "task \"%s\" not started yet. No logs available", task);
    else
        start(s, FS_LOGS);
}
