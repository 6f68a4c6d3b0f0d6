/* journal/inspect_repair.c: sets aside what is damaged, so that the rest is whole again. */
#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "journal/inspect_walk.h"

enum { MISSING_MAX = 1 << 16 };

struct missing {
    struct stream *stream;
    uint64_t sequence;
};

/* One repair at a time: the owner's lock is held. */
struct repair {
    struct inspection in;
    struct missing *missing;
    uint32_t count, cap;
};

static void note_missing(struct inspection *in, struct stream *s, uint64_t sequence,
                         struct segment *g)
{
    struct repair *p = (struct repair *)in; /* its first member */
    MEM_PUSH(p->missing, p->count, p->cap) = (struct missing){s, sequence};
}

static void visit_nothing(struct inspection *in, struct segment *g, uint32_t at,
                          const struct record *r)
{
}

/* A record without effect in the place of what was there. Nothing is smaller than a record. */
static int fill(struct inspection *in, struct segment *g, const struct inspect_bad *bad)
{
    uint32_t n = bad->to - bad->from;
    if (n < sizeof(struct record) || n > FORMAT_RECORD_MAX)
        return 0;
    char *bytes = mem_new(n);
    struct record *r = (struct record *)(void *)bytes;
    r->length = n;
    r->type = RECORD_VOID;
    r->body_crc = hash_crc32c(0, record_body(r), record_body_bytes(r));
    record_stamp(g->place, r, bad->from);
    int result = disk_write_all(in->j->disk, g->slot->fd, bytes, n, bad->from);
    mem_free(bytes);
    return result;
}

static int set_aside(struct inspection *in, struct segment *g, const struct inspect_bad *bad)
{
    uint32_t n = bad->to - bad->from;
    char *bytes = mem_new(n);
    int result = disk_read_all(in->j->disk, g->slot->fd, bytes, n, bad->from);
    if (result == 0) /* what cannot be read cannot be kept */
        result = quarantine_keep(in->j, g->number, bad->from, bytes, n);
    mem_free(bytes);
    if (result < 0 && result != -EIO)
        return result;
    in->repaired->places++;
    in->repaired->bytes += n;
    return fill(in, g, bad);
}

static void take_out(struct repair *p)
{
    for (uint32_t i = 0; i < p->count && p->in.error == 0;) {
        struct journal_unit *u = journal_begin(p->in.j);
        for (uint32_t n = 0; n < MISSING_MAX && i < p->count; n++, i++)
            unit_ack(u, p->missing[i].stream, p->missing[i].sequence, 1);
        if (journal_submit_wait(u) != WEIR_OK)
            p->in.error = -EIO;
    }
    p->in.repaired->records += p->count;
}

static void repair_segment(struct inspection *in, struct segment *g)
{
    uint32_t count = 0;
    struct inspect_bad *bad = inspect_walk(in, g, &count);
    bool is_whole = inspect_header_is_good(in, g, false) && inspect_header_is_good(in, g, true);
    if (segment_load(in->j, g) == 0)
        (void)inspect_missing(in, g, note_missing);
    for (uint32_t i = 0; i < count && in->error == 0; i++) {
        inspect_tell(in, "slot-%04u:%u: %u bytes of segment %llu go to quarantine/", g->slot->index,
                     bad[i].from, bad[i].to - bad[i].from, (unsigned long long)g->number);
        in->error = set_aside(in, g, &bad[i]);
    }
    if (!is_whole && in->error == 0) {
        inspect_tell(in, "slot-%04u: the header of segment %llu is written anew", g->slot->index,
                     (unsigned long long)g->number);
        in->repaired->headers++;
        in->error = segment_header_write(in->j, g);
    }
    if ((count || !is_whole) && in->error == 0)
        in->error = in->j->disk->sync(in->j->disk, g->slot->fd);
    g->is_bad = false;
    mem_free(bad);
}

int inspect_repair(struct journal *j, const struct inspect *as, struct inspect_repaired *done,
                   struct error *e)
{
    struct repair p = {.in = {.j = j, .as = as, .visit = visit_nothing, .repaired = done}};
    memset(done, 0, sizeof *done);
    commit_enter(j);
    inspect_each_segment(&p.in, repair_segment);
    commit_leave(j);
    if (p.in.error == 0)
        take_out(&p);
    commit_enter(j);
    for (int i = 0; i < 2 && p.in.error == 0; i++) {
        p.in.error = checkpoint_write(j, false);
        done->checks += p.in.error == 0;
    }
    commit_leave(j);
    mem_free(p.missing);
    return p.in.error < 0 ? error_sys(e, -p.in.error, "journal %s: write", j->path) : 0;
}
