/* SPDX-License-Identifier: MPL-2.0 */
#include "serfd_snapshot.h"

#include <stdio.h>
#include <string.h>

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

/* No clock gets that far by counting: a number that large is of a broken file. */
static uint64_t parse_clock(const char *text)
{
    uint64_t n = strtoull(text, NULL, 10);

    return n <= INT64_MAX ? n : 0;
}

static void parse_line(struct snapshot *snap, const char *line, size_t len)
{
    static const char *const clocks[] = {"clock: ", "event-clock: ", "query-clock: "};

    for (size_t i = 0; i < ARRAY_LEN(clocks); i++) {
        if (len > strlen(clocks[i]) && strncmp(line, clocks[i], strlen(clocks[i])) == 0)
            snap->clocks[i] = parse_clock(line + strlen(clocks[i]));
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

static bool printable(const char *name)
{
    for (; *name; name++) {
        if ((unsigned char)*name < 0x20)
            return false;
    }
    return true;
}

static void put_alive_line(void *user, const struct serf_member_info *m)
{
    char addr[GOSSIP_ADDR_TEXT_MAX];

    if (!m->self && m->status == SERF_ALIVE && printable(m->name))
        strbuf_addf(user, "alive: %s %s\n", gossip_addr_text(&m->addr, addr), m->name);
}

void snapshot_format(const struct serf *serf, bool left, struct strbuf *out)
{
    uint64_t clocks[3];

    serf_clocks(serf, clocks);
    strbuf_addf(out, HEADER "clock: %llu\nevent-clock: %llu\nquery-clock: %llu\n",
                (unsigned long long)clocks[0], (unsigned long long)clocks[1],
                (unsigned long long)clocks[2]);
    if (left)
        strbuf_adds(out, "left\n");
    serf_members_each(serf, put_alive_line, out);
}
