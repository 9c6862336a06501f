/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The status page: one page of 64-bit words. magic, version, sequence, beat and `left` are read
 * alone; the rest is copied under the sequence lock (odd = being written).
 */
#include "state/state_status.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATUS_MAGIC     UINT64_C(0x5354505354415431) /* "STPSTAT1" */
#define STATUS_VERSION   2u
#define STATUS_PAGE_SIZE 4096
#define STATUS_TRIES_MAX 10000 /* a writer that died in the middle leaves the sequence odd */
#define STATUS_CHECK_NS  (100 * NS_PER_MS)

/* What the lock covers; a multiple of 8 bytes, no padding. */
struct status_body {
    uint64_t generation, role, term, leader_known;
    int64_t last_contact;
    uint64_t applied, commit;
    char leader_addr[STATE_STATUS_ADDR_MAX];
    uint64_t counts[STATE_STATUS_COUNTS_N];
};
#define STATUS_WORDS (sizeof(struct status_body) / 8)
_Static_assert(sizeof(struct status_body) % 8 == 0, "whole words");

struct status_page {
    _Atomic uint64_t magic, version, sequence, left;
    _Atomic int64_t beat;
    _Atomic uint64_t words[STATUS_WORDS];
};
_Static_assert(sizeof(struct status_page) <= STATUS_PAGE_SIZE, "one page");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock would not be shared between processes");

static struct status_page *status_map(int fd, bool write)
{
    void *p =
        mmap(NULL, STATUS_PAGE_SIZE, write ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);

    return p == MAP_FAILED ? NULL : p;
}

static struct status_page *status_unmap(struct status_page *p)
{
    if (p)
        munmap(p, STATUS_PAGE_SIZE);
    return NULL;
}

/* ---- writer ---- */

struct state_status_writer {
    char *path;
    struct status_page *page;
};

int state_status_writer_new(const char *path, struct state_status_writer **ret, struct errtext *e)
{
    char *tmp = xasprintf("%s.new", path);
    int fd = open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    static const uint8_t zeros[STATUS_PAGE_SIZE];
    struct state_status_writer *w;
    struct status_page *page = NULL;
    ssize_t n = 0;
    int r = 0;

    /* Written, not only made as long: a page that a full disk has no room for is a SIGBUS later. */
    if (fd >= 0)
        n = write(fd, zeros, sizeof(zeros));
    if (n == (ssize_t)sizeof(zeros))
        page = status_map(fd, true);
    else if (n > 0)
        errno = ENOSPC;
    if (page) {
        atomic_store(&page->version, STATUS_VERSION);
        atomic_store(&page->magic, STATUS_MAGIC);
    }
    if (!page || rename(tmp, path) < 0)
        r = err_set(e, -errno, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(tmp);
    if (r) {
        status_unmap(page);
        return r;
    }
    w = xcalloc(1, sizeof(*w));
    w->path = xstrdup(path);
    w->page = page;
    *ret = w;
    return 0;
}

void state_status_put(struct state_status_writer *w, const struct state_status *st)
{
    struct status_body body = {
        .generation = st->generation,
        .role = st->role,
        .term = st->term,
        .leader_known = st->leader_known,
        .last_contact = st->last_contact.ns,
        .applied = st->applied,
        .commit = st->commit,
    };
    uint64_t words[STATUS_WORDS], seq;

    snprintf(body.leader_addr, sizeof(body.leader_addr), "%s", st->leader_addr);
    memcpy(body.counts, st->counts, sizeof(body.counts));
    memcpy(words, &body, sizeof(body));
    seq = atomic_load_explicit(&w->page->sequence, memory_order_relaxed);
    assert(seq % 2 == 0);
    atomic_store_explicit(&w->page->sequence, seq + 1, memory_order_relaxed);
    /* Release and acquire on each word, not a fence: a reader that sees one new word sees the odd
     * sequence as well. */
    for (size_t i = 0; i < STATUS_WORDS; i++)
        atomic_store_explicit(&w->page->words[i], words[i], memory_order_release);
    atomic_store_explicit(&w->page->sequence, seq + 2, memory_order_release);
    state_status_beat(w, st->beat);
}

void state_status_beat(struct state_status_writer *w, struct mono_ns now)
{
    atomic_store_explicit(&w->page->beat, now.ns, memory_order_release);
}

struct state_status_writer *state_status_writer_free(struct state_status_writer *w)
{
    if (!w)
        return NULL;
    atomic_store(&w->page->left, 1);
    (void)unlink(w->path); /* if it stays, it says that we left */
    status_unmap(w->page);
    free(w->path);
    free(w);
    return NULL;
}

/* ---- reader ---- */

struct state_status_reader {
    char *path;
    pthread_rwlock_t lock; /* of page, dev and ino: written when the file was replaced */
    struct status_page *page;
    dev_t dev;
    ino_t ino;
    _Atomic int64_t checked; /* when the path was last looked at */
};

struct state_status_reader *state_status_reader_new(const char *path)
{
    struct state_status_reader *r = xcalloc(1, sizeof(*r));

    r->path = xstrdup(path);
    pthread_rwlock_init(&r->lock, NULL);
    atomic_store(&r->checked, INT64_MIN);
    return r;
}

struct state_status_reader *state_status_reader_free(struct state_status_reader *r)
{
    if (!r)
        return NULL;
    status_unmap(r->page);
    pthread_rwlock_destroy(&r->lock);
    free(r->path);
    free(r);
    return NULL;
}

/* Maps what is at the path now. Under the write lock. A short file is one being made. */
static int status_open(struct state_status_reader *r)
{
    int fd = open(r->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    int rc = 0;

    r->page = status_unmap(r->page);
    if (fd < 0)
        return errno == ENOENT ? STATE_STATUS_E_ABSENT : err_trace(-errno);
    if (fstat(fd, &st) < 0)
        rc = -errno;
    else if (st.st_size < STATUS_PAGE_SIZE)
        rc = STATE_STATUS_E_ABSENT;
    else if (!(r->page = status_map(fd, false)))
        rc = -errno;
    close(fd);
    if (rc)
        return rc < 0 ? err_trace(rc) : rc;
    r->dev = st.st_dev;
    r->ino = st.st_ino;
    if (atomic_load(&r->page->magic) != STATUS_MAGIC ||
        atomic_load(&r->page->version) != STATUS_VERSION) {
        r->page = status_unmap(r->page);
        return STATE_STATUS_E_ABSENT;
    }
    return 0;
}

/* Every 100 ms one of the readers looks whether raftd made a new file. */
static int status_check(struct state_status_reader *r, struct mono_ns now)
{
    int64_t last = atomic_load(&r->checked);
    struct stat st;
    int rc = 0;

    if (last != INT64_MIN && now.ns - last < STATUS_CHECK_NS)
        return 0;
    if (!atomic_compare_exchange_strong(&r->checked, &last, now.ns))
        return 0;
    pthread_rwlock_wrlock(&r->lock);
    if (!r->page || stat(r->path, &st) < 0 || st.st_dev != r->dev || st.st_ino != r->ino)
        rc = status_open(r);
    pthread_rwlock_unlock(&r->lock);
    return rc;
}

static int status_copy(const struct status_page *p, struct status_body *ret)
{
    uint64_t words[STATUS_WORDS];

    for (int i = 0; i < STATUS_TRIES_MAX; i++) {
        uint64_t seq = atomic_load_explicit(&p->sequence, memory_order_acquire);

        if (seq % 2)
            continue;
        for (size_t w = 0; w < STATUS_WORDS; w++)
            words[w] = atomic_load_explicit(&p->words[w], memory_order_acquire);
        if (atomic_load_explicit(&p->sequence, memory_order_relaxed) != seq)
            continue;
        memcpy(ret, words, sizeof(*ret));
        return 0;
    }
    return STATE_STATUS_E_DEAD;
}

static int status_read_page(const struct status_page *p, struct mono_ns now,
                            struct state_status *ret)
{
    struct status_body body;
    struct mono_ns beat;
    int rc;

    if (!p)
        return STATE_STATUS_E_ABSENT;
    beat.ns = atomic_load_explicit(&p->beat, memory_order_acquire);
    /* A beat from the future is one of before a reboot. */
    if (atomic_load(&p->left) || beat.ns == 0 ||
        now.ns - beat.ns > STATE_STATUS_DEAD_MS * NS_PER_MS || beat.ns - now.ns > NS_PER_SEC)
        return STATE_STATUS_E_DEAD;
    rc = status_copy(p, &body);
    if (rc)
        return rc;
    *ret = (struct state_status){
        .generation = body.generation,
        .role = body.role <= STATE_STATUS_LEADER ? (enum state_status_role)body.role
                                                 : STATE_STATUS_FOLLOWER,
        .term = body.term,
        .leader_known = body.leader_known,
        .last_contact.ns = body.last_contact,
        .applied = body.applied,
        .commit = body.commit,
        .beat = beat,
    };
    memcpy(ret->counts, body.counts, sizeof(ret->counts));
    memcpy(ret->leader_addr, body.leader_addr, sizeof(ret->leader_addr));
    ret->leader_addr[sizeof(ret->leader_addr) - 1] = 0;
    return 0;
}

int state_status_read(struct state_status_reader *r, struct mono_ns now, struct state_status *ret)
{
    int rc = status_check(r, now);

    if (rc)
        return rc;
    pthread_rwlock_rdlock(&r->lock);
    rc = status_read_page(r->page, now, ret);
    pthread_rwlock_unlock(&r->lock);
    return rc;
}

uint64_t state_status_last_contact_ms(const struct state_status *st, struct mono_ns now)
{
    if (st->role == STATE_STATUS_LEADER)
        return 0;
    if (st->last_contact.ns == 0)
        return UINT64_C(9223372036854);
    return now.ns > st->last_contact.ns ? (uint64_t)(now.ns - st->last_contact.ns) / NS_PER_MS : 0;
}
