/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The image: a region's nodes and its live allocations in flat arrays, and what the allocations use
 * of each node. The plan applier and the schedulers decide from it, so that a placement costs the
 * same whether a node's region runs ten allocations or a million.
 *
 * Fed by changes: image_refresh() reads what the store's NODE_LOG and ALLOC_LOG show behind the
 * last index seen; the image_apply_*() below it are pure and may be fed by anybody (tests). An
 * allocation is live while its desired status is run and its client status neither complete,
 * failed nor lost; only live ones are kept (about 120 bytes each, more with ports or cores).
 *
 * Tentative changes: image_place() and image_stop() go into an undo log; image_undo() takes them
 * back, image_keep() lets them stand until the store says otherwise.
 *
 * One thread. Pointers to nodes, jobs and allocations are good until the next change of the image;
 * slots (uint32_t) keep their meaning until the thing is removed. Out of memory ends the process.
 */
#pragma once

#include "alloc.pb.h"
#include "base/base.h"
#include "base/err.h"
#include "node.pb.h"
#include "state/store.h"

#define IMAGE_NONE UINT32_MAX

/* A UUID's 16 bytes. */
struct image_id {
    uint8_t b[16];
};
/* False when text is no UUID (or NULL). */
bool image_id_parse(const char *text, struct image_id *ret);
void image_id_text(const struct image_id *id, char out[static 37]);

/* A sorted list of numbers, the same one may be in it twice. Ports: address << 16 | port, with the
 * address a number of image_text(), 0 for the unnamed one. */
struct image_set {
    uint64_t *v;
    uint32_t n, cap;
};
bool image_set_has(const struct image_set *s, uint64_t value);

enum image_node_status { IMAGE_NODE_INIT, IMAGE_NODE_READY, IMAGE_NODE_DOWN };

struct image_node {
    /* What is there without what the node keeps for itself, and what live allocations use. MHz, MB.
     */
    int64_t cpu, memory, disk;
    int64_t cpu_used, memory_used, disk_used;
    bool present; /* false: a free slot, or a node that is gone but whose allocations live on */
    bool eligible, drain;
    bool seen; /* internal */
    enum image_node_status status;
    uint32_t first_alloc, allocs; /* slot of the first live one (image_alloc.next_on_node), count */
    uint32_t slot;
    char id[37];
    struct image_id key;
    uint32_t refs; /* allocations that name it, taken out tentatively or not */
    const char *datacenter, *node_class, *computed_class, *name; /* borrowed from the image */
    uint64_t create_index, modify_index;
    uint64_t version;            /* grows with each change of the node itself */
    struct image_set ports_used; /* by allocations */
    struct image_set ports_kept; /* by the node itself: address << 32 | first << 16 | last; address
                                    0 is every address */
    struct image_set cores_used, cores; /* cores: those that can be reserved, reserved ones out */
    steppe_Node *node; /* with IMAGE_NODES: as it registered, no secret; owned by the image */
};

struct image_alloc {
    struct image_id id;
    uint32_t slot, node, job; /* slots */
    uint32_t group;           /* image_text() */
    int32_t index;            /* of JOB.GROUP[INDEX]; -1 when its name is another one */
    int32_t cpu, memory, disk;
    int16_t priority;                                              /* of its job */
    bool tentative;                                                /* placed by image_place() */
    uint32_t next_on_node, prev_on_node, next_of_job, prev_of_job; /* IMAGE_NONE at the ends */
    uint64_t job_version, job_create_index;
    uint64_t alloc_modify_index;
    uint64_t kept_at; /* image_keep(): older rows of the store do not count; 0 = from the store */
    uint64_t *extra;  /* ports_n ports, then cores_n cores; NULL when there are none */
    uint16_t ports_n, cores_n;
};

struct image_job {
    uint32_t slot;
    uint32_t first_alloc, allocs; /* live ones; a job without any is not kept */
    uint32_t refs;
    int priority;
    char *namespace, *id;
};

/* What one allocation asks for. The arrays are borrowed by the functions that take it. */
struct image_port {
    const char *address, *label; /* "" or NULL: none */
    int32_t port;
};
#define IMAGE_USE_PORTS_MAX 256 /* more are not looked at: a job has no use for them */
#define IMAGE_USE_CORES_MAX 1024
struct image_use {
    int64_t cpu, memory, disk;
    const struct image_port *ports;
    const uint16_t *cores;
    uint32_t ports_n, cores_n;
};

/* Who a placement is: the texts are copied where they are new. */
struct image_who {
    struct image_id id;
    const char *namespace, *job_id, *group, *name; /* name: JOB.GROUP[INDEX] */
    int priority;
    uint64_t job_version, job_create_index;
};

struct image;
enum image_flags {
    IMAGE_NODES = 1, /* keep image_node.node, some 10 KiB a node: who looks at attributes */
};

/* Empty; flags of enum image_flags. */
struct image *image_new(unsigned flags);
struct image *image_free(struct image *im);
DEFINE_CLEANUP(struct image, image_free)
/* As after image_new(). */
void image_reset(struct image *im);

/* ---- fed by the store ---- */

/*
 * Takes over what changed since the last call, at most about rows_max changes (0 = all; a node
 * counts for 20). Tentative changes must have been undone or kept. 0, 1 when there is more to read,
 * or -errno. image_index() is the state that the image shows once 0 was returned.
 */
int image_refresh(struct image *im, struct store_txn *t, size_t rows_max);
uint64_t image_index(const struct image *im);
/* One allocation as the store has it, whatever the image shows or keeps: a plan was refused. id:
 * canonical text. -errno. */
int image_reread(struct image *im, struct store_txn *t, const char *id);

/* ---- fed by anybody ---- */

/* A node as the API shows it: with status, eligibility, indexes. Without a valid id: no effect. */
void image_apply_node(struct image *im, const steppe_Node *node);
void image_remove_node(struct image *im, const char *id);
/* An allocation as it is now; one that is not live is removed. priority: of its job. */
void image_apply_alloc(struct image *im, const steppe_Allocation *a, int priority);

/* ---- looking ---- */

/* Slots in use are below it; those with !present are free or gone. */
uint32_t image_node_slots(const struct image *im);
struct image_node *image_node_at(const struct image *im, uint32_t slot);
struct image_node *image_node_find(const struct image *im, const char *id); /* NULL: not present */
uint32_t image_nodes_n(const struct image *im);                             /* present ones */

/* Live and tentative ones; NULL: not there. Pointers are good until the next change of the image.
 */
struct image_alloc *image_alloc_at(const struct image *im, uint32_t slot);
struct image_alloc *image_alloc_find(const struct image *im, const struct image_id *id);
uint32_t image_allocs_n(const struct image *im);
struct image_job *image_job_find(const struct image *im, const char *ns, const char *id);
struct image_job *image_job_at(const struct image *im, uint32_t slot);

/* for (a = image_first_on_node(im, node); a; a = image_next_on_node(im, a)) ... */
static inline struct image_alloc *image_first_on_node(const struct image *im,
                                                      const struct image_node *n)
{
    return image_alloc_at(im, n->first_alloc);
}
static inline struct image_alloc *image_next_on_node(const struct image *im,
                                                     const struct image_alloc *a)
{
    return image_alloc_at(im, a->next_on_node);
}
static inline struct image_alloc *image_first_of_job(const struct image *im,
                                                     const struct image_job *j)
{
    return j ? image_alloc_at(im, j->first_alloc) : NULL;
}
static inline struct image_alloc *image_next_of_job(const struct image *im,
                                                    const struct image_alloc *a)
{
    return image_alloc_at(im, a->next_of_job);
}

/* Texts of groups, addresses and classes have a number each, as long as the image lives; 0 is "".
 */
uint32_t image_text(struct image *im, const char *text);
/* IMAGE_NONE when the image does not know it: nothing has it. */
uint32_t image_text_find(const struct image *im, const char *text);
const char *image_text_of(const struct image *im, uint32_t number);

/* Where a client node can take a placement that is new on it. */
static inline bool image_node_ready(const struct image_node *n)
{
    return n->present && n->status == IMAGE_NODE_READY && n->eligible && !n->drain;
}

/* ---- fit ---- */

/*
 * Does one more allocation fit beside the live and tentative ones? If not, e has Nomad's word:
 * "cpu", "cores", "memory", "disk" or "network: reserved port collision LABEL=PORT".
 */
bool image_fits(const struct image *im, const struct image_node *n, const struct image_use *use,
                struct errtext *e);
/* Does `use` want nothing that this allocation does not have already? Then an update in place needs
 * no check. */
bool image_use_within(const struct image *im, const struct image_alloc *a,
                      const struct image_use *use);
/* Is the port of this address free on the node? "" and NULL: the unnamed address. */
bool image_port_free(const struct image *im, const struct image_node *n, const char *address,
                     int port);

/* What an allocation asks for: Nomad's sum over tasks with their lifecycles. The buffers hold what
 * *ret points to; label and address are borrowed from r. */
struct image_use_buf {
    struct image_port ports[IMAGE_USE_PORTS_MAX];
    uint16_t cores[IMAGE_USE_CORES_MAX];
};
void image_use_of(const steppe_AllocatedResources *r, struct image_use_buf *buf,
                  struct image_use *ret);

/* ---- tentative changes ---- */

/* A point to go back to. */
size_t image_mark(const struct image *im);
/* Adds an allocation (of the same id: in place of the one that is there). It is not checked. */
struct image_alloc *image_place(struct image *im, uint32_t node_slot, const struct image_who *who,
                                const struct image_use *use);
/* Takes a live one out, as if it had been stopped. */
void image_stop(struct image *im, struct image_alloc *a);
/* Takes back all since the mark, newest first. Stopped allocations have their slots again. */
void image_undo(struct image *im, size_t mark);
/* Lets all tentative changes stand: they were sent to the state. Rows that the store changed at or
 * before `index` (applied when it was decided) do not undo them. Marks are void. */
void image_keep(struct image *im, uint64_t index);
