/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Who was alive, and the clocks, so that a restarted server finds its pool again. Lines of text:
 * "clock: N", "event-clock: N", "query-clock: N", "left", "alive: IP:PORT NAME".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serfd_shell.h"

#define HEADER "# steppe serf snapshot 1\n"

void snapshot_fini(struct snapshot *snap)
{
    for (size_t i = 0; i < snap->n; i++)
        free(snap->addrs[i]);
    free(snap->addrs);
    *snap = (struct snapshot){.n = 0};
}

static void parse_alive(struct snapshot *snap, const char *at, size_t len)
{
    const char *space = memchr(at, ' ', len);
    size_t n = space ? (size_t)(space - at) : len;

    if (n == 0 || n >= GOSSIP_ADDR_TEXT_MAX || snap->n == SERF_MEMBERS_MAX)
        return;
    if (snap->n % 64 == 0)
        snap->addrs = xrealloc(snap->addrs, (snap->n + 64) * sizeof(char *));
    snap->addrs[snap->n++] = xstrndup(at, n);
}

static void parse_line(struct snapshot *snap, const char *line, size_t len)
{
    static const char *const clocks[] = {"clock: ", "event-clock: ", "query-clock: "};

    for (size_t i = 0; i < ARRAY_LEN(clocks); i++) {
        if (len > strlen(clocks[i]) && strncmp(line, clocks[i], strlen(clocks[i])) == 0)
            snap->clocks[i] = strtoull(line + strlen(clocks[i]), NULL, 10);
    }
    if (len == 4 && strncmp(line, "left", 4) == 0)
        snap->left = true;
    if (len > 7 && strncmp(line, "alive: ", 7) == 0)
        parse_alive(snap, line + 7, len - 7);
}

void snapshot_parse(const char *text, struct snapshot *ret)
{
    *ret = (struct snapshot){.n = 0};
    while (*text) {
        size_t len = strcspn(text, "\n");

        parse_line(ret, text, len);
        text += len + (text[len] == '\n');
    }
}

int snapshot_read(const char *path, struct snapshot *ret, struct errtext *e)
{
    struct strbuf text = STRBUF_BOUND(SNAPSHOT_BYTES_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;
    char buf[4096];

    *ret = (struct snapshot){.n = 0};
    if (fd < 0)
        return errno == ENOENT ? 0 : err_set(e, -errno, "cannot open %s: %s", path, strerror(errno));
    while (n > 0 && !strbuf_failed(&text)) {
        n = read(fd, buf, sizeof(buf));
        if (n > 0)
            strbuf_add(&text, buf, (size_t)n);
    }
    close(fd);
    if (n == 0 && text.len > 0)
        snapshot_parse(text.data, ret);
    strbuf_fini(&text);
    return n < 0 ? err_set(e, -EIO, "cannot read %s", path) : 0;
}

static bool printable(const char *name)
{
    for (; *name; name++) {
        if ((unsigned char)*name < 0x20)
            return false;
    }
    return true;
}

void snapshot_format(const struct serf *serf, bool left, struct strbuf *out)
{
    char addr[GOSSIP_ADDR_TEXT_MAX];
    struct serf_member_info m;
    struct serf_stats st;

    serf_stats_get(serf, &st);
    strbuf_addf(out, HEADER "clock: %llu\nevent-clock: %llu\nquery-clock: %llu\n",
                (unsigned long long)st.member_time, (unsigned long long)st.event_time,
                (unsigned long long)st.query_time);
    if (left)
        strbuf_adds(out, "left\n");
    for (size_t i = 0; serf_member_at(serf, i, &m); i++) {
        if (!m.self && m.status == SERF_ALIVE && printable(m.name))
            strbuf_addf(out, "alive: %s %s\n", gossip_addr_text(&m.addr, addr), m.name);
    }
}

/*
 * By a new file and a rename, so that there is a whole one at any time. Not synced: after a power
 * failure an old or empty file only costs the way back by retry_join, and a sync would hold up the
 * gossip of this thread.
 */
int snapshot_write(const char *path, const struct strbuf *text, struct errtext *e)
{
    _cleanup_(freep) char *fresh = xasprintf("%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t done = 0;

    if (fd < 0)
        return err_set(e, -errno, "cannot make %s: %s", fresh, strerror(errno));
    while (done < text->len) {
        ssize_t n = write(fd, text->data + done, text->len - done);

        if (n <= 0) {
            int r = err_set(e, -errno, "cannot write %s: %s", fresh, strerror(errno));

            close(fd);
            return r;
        }
        done += (size_t)n;
    }
    close(fd);
    if (rename(fresh, path) < 0)
        return err_set(e, -errno, "cannot rename %s: %s", fresh, strerror(errno));
    return 0;
}
