/* journal/inspect.c: reads all that a journal has on disk and compares it with what is live. */
#include "journal/inspect.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "journal/inspect_walk.h"

enum { PROGRESS_STEP = 1 << 20, NAMED_MAX = 16 };

bool inspect_holder(const struct disk *disk, const char *path, char *holder, size_t size)
{
    const struct disk *d = disk ? disk : &disk_real;
    char *file = mem_format("%s/lock", path);
    int fd = d->open(d, file, O_RDONLY);
    mem_free(file);
    holder[0] = 0;
    if (fd < 0)
        return false;
    bool is_held = d->is_locked && d->is_locked(d, fd);
    int64_t n = d->pread(d, fd, holder, size - 1, 0);
    d->close(d, fd);
    holder[n > 0 ? n : 0] = 0;
    holder[strcspn(holder, "\n")] = 0;
    return is_held;
}

void inspect_tell(struct inspection *in, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    in->report.findings++;
    if (in->as->finding)
        in->as->finding(in->as->user, text);
}

/* ---- the walk over one segment ---- */

static void add_bad(struct inspect_bad **list, uint32_t *count, uint32_t *cap, uint32_t at)
{
    struct inspect_bad *last = *count ? &(*list)[*count - 1] : NULL;
    if (last && last->to == at)
        last->to = at + 8;
    else
        MEM_PUSH(*list, *count, *cap) = (struct inspect_bad){at, at + 8};
}

static void pass_progress(struct inspection *in, uint64_t bytes)
{
    in->done_bytes += bytes;
    if (in->as->progress && in->done_bytes - in->told_bytes >= PROGRESS_STEP) {
        in->told_bytes = in->done_bytes;
        in->as->progress(in->as->user, in->done_bytes, in->total_bytes);
    }
}

struct inspect_bad *inspect_walk(struct inspection *in, struct segment *g, uint32_t *count)
{
    struct window w = {.disk = in->j->disk, .fd = g->slot->fd, .limit = g->end};
    struct inspect_bad *bad = NULL;
    uint32_t cap = 0, at = FORMAT_HEADER_BYTES, told = at;
    *count = 0;
    while (at < g->end && !in->is_stopped) {
        const struct record *r = window_record(&w, g->place, at);
        if (r)
            in->visit(in, g, at, r);
        else
            add_bad(&bad, count, &cap, at);
        at += r ? r->length : 8;
        pass_progress(in, at - told);
        told = at;
    }
    window_fini(&w);
    return bad;
}

bool inspect_is_same(struct inspection *in, const struct segment *g)
{
    struct segment_header h;
    const struct disk *d = in->j->disk;
    if (disk_read_all(d, g->slot->fd, &h, sizeof h, 0) < 0 || !segment_header_check(&h))
        return true;
    return h.nonce == g->nonce;
}

/* ---- check ---- */

static void count_record(struct inspection *in, struct segment *g, uint32_t at,
                         const struct record *r)
{
    in->report.records++;
    in->report.groups += r->type == RECORD_GROUP;
    if (r->type == RECORD_PUT)
        in->report.puts += r->refs;
}

static uint64_t missing_of_run(struct inspection *in, struct stream *s, const struct run *r,
                               inspect_missing_fn *fn)
{
    uint64_t missing = 0;
    for (uint32_t n = 0; n < r->count; n++) {
        if (r->offsets[n] || !run_is_live(r, n))
            continue;
        missing++;
        fn(in, s, r->first + n, r->segment);
    }
    return missing;
}

uint64_t inspect_missing(struct inspection *in, struct segment *g, inspect_missing_fn *fn)
{
    uint64_t missing = 0;
    journal_lock(in->j);
    for (uint32_t k = 0; k < in->j->stream_count; k++) {
        struct stream *s = in->j->streams[k];
        for (uint32_t i = 0; s && i < s->run_count; i++)
            if (s->runs[i]->segment == g && s->runs[i]->offsets)
                missing += missing_of_run(in, s, s->runs[i], fn);
    }
    journal_unlock(in->j);
    return missing;
}

static void tell_missing(struct inspection *in, struct stream *s, uint64_t sequence,
                         struct segment *g)
{
    if (in->named++ < NAMED_MAX)
        inspect_tell(in, "stream %s: record %llu cannot be read: slot-%04u has no such record",
                     s->name, (unsigned long long)sequence, g->slot->index);
}

bool inspect_header_is_good(struct inspection *in, const struct segment *g, bool is_second)
{
    struct segment_header h;
    const struct disk *d = in->j->disk;
    uint64_t at = is_second ? g->slot->bytes - FORMAT_HEADER_BYTES : 0;
    return disk_read_all(d, g->slot->fd, &h, sizeof h, at) == 0 && segment_header_check(&h) &&
           h.nonce == g->nonce;
}

static void check_headers(struct inspection *in, const struct segment *g)
{
    static const char *const names[2] = {"header", "copy of the header"};
    for (int i = 0; i < 2; i++)
        if (!inspect_header_is_good(in, g, i))
            inspect_tell(in, "slot-%04u: the %s of segment %llu is damaged; the other one serves",
                         g->slot->index, names[i], (unsigned long long)g->number);
}

/* Whether a recovery would read there: it starts at the older checkpoint at the earliest. */
static bool is_replayed(const struct journal *j, const struct segment *g)
{
    uint64_t start = UINT64_MAX;
    for (int i = 0; i < 2; i++)
        if (j->checks[i].start && j->checks[i].start < start)
            start = j->checks[i].start;
    return g->kind == SEGMENT_LOG && (start == UINT64_MAX || g->number >= start);
}

static void tell_bad(struct inspection *in, const struct segment *g, const struct inspect_bad *bad,
                     uint32_t count, uint64_t missing)
{
    bool is_harmless = missing == 0 && !is_replayed(in->j, g);
    for (uint32_t i = 0; i < count; i++) {
        in->report.damaged_places++;
        in->report.damaged_bytes += bad[i].to - bad[i].from;
        in->report.harmless_places += is_harmless;
        if (!is_harmless)
            inspect_tell(in, "slot-%04u:%u: %u bytes of segment %llu are damaged", g->slot->index,
                         bad[i].from, bad[i].to - bad[i].from, (unsigned long long)g->number);
    }
}

static void check_segment(struct inspection *in, struct segment *g)
{
    struct inspect_report before = in->report;
    struct inspect_bad *bad = NULL;
    uint32_t count = 0;
    if (segment_load(in->j, g) < 0)
        inspect_tell(in, "slot-%04u: cannot be read", g->slot->index);
    else
        bad = inspect_walk(in, g, &count);
    bool is_same = inspect_is_same(in, g);
    if (!is_same) { /* a runner wrote another segment there while this was read */
        in->report = before;
        mem_free(bad);
        return;
    }
    in->named = 0;
    uint64_t missing = inspect_missing(in, g, tell_missing);
    if (in->named > NAMED_MAX)
        inspect_tell(in, "slot-%04u: %u more records cannot be read", g->slot->index,
                     in->named - NAMED_MAX);
    in->report.unreadable += missing;
    check_headers(in, g);
    tell_bad(in, g, bad, count, missing);
    in->report.segments++;
    in->report.cold += g->kind == SEGMENT_COLD;
    mem_free(bad);
}

static bool is_blank(const struct disk *d, int fd)
{
    struct check_header h, none;
    memset(&none, 0, sizeof none);
    return disk_read_all(d, fd, &h, sizeof h, 0) < 0 || memcmp(&h, &none, sizeof h) == 0;
}

static void check_checkpoints(struct inspection *in)
{
    struct journal *j = in->j;
    for (int i = 0; i < 2; i++) {
        const struct check_slot *c = &j->checks[i];
        if (c->fd >= 0 && c->bytes && c->start == 0 && !is_blank(j->disk, c->fd))
            inspect_tell(in, "check-%c: the checkpoint is damaged%s", 'a' + i,
                         j->checks[1 - i].start ? "; the other one serves"
                                                : ": all segments are read in place of it");
    }
    const struct journal_health *h = &j->health;
    if (h->damaged_bytes)
        inspect_tell(in, "the log behind the checkpoint is damaged: %llu bytes",
                     (unsigned long long)h->damaged_bytes);
    if (h->lost_records)
        inspect_tell(in, "%llu records are lost: what they were in cannot be read",
                     (unsigned long long)h->lost_records);
}

void inspect_each_segment(struct inspection *in, void (*fn)(struct inspection *, struct segment *))
{
    struct journal *j = in->j;
    for (uint32_t i = 0; i < j->segment_count; i++)
        in->total_bytes += j->segments[i]->end;
    for (uint32_t i = 0; i < j->segment_count && !in->is_stopped; i++)
        if (j->segments[i]->slot)
            fn(in, j->segments[i]);
    if (in->as->progress)
        in->as->progress(in->as->user, in->total_bytes, in->total_bytes);
}

void inspect_check(struct journal *j, const struct inspect *as, struct inspect_report *report)
{
    struct inspection in = {.j = j, .as = as, .visit = count_record};
    check_checkpoints(&in);
    inspect_each_segment(&in, check_segment);
    for (uint32_t i = 0; i < j->stream_count; i++)
        in.report.live += j->streams[i] ? j->streams[i]->live : 0;
    in.report.free_slots = j->slot_count;
    in.report.bytes = j->slot_bytes_total;
    *report = in.report;
}

/* ---- dump ---- */

static bool is_live_here(struct inspection *in, const struct segment *g, struct stream *s,
                         uint64_t sequence)
{
    journal_lock(in->j);
    const struct run *r = s ? stream_find_live(s, sequence) : NULL;
    bool is_here = r && r->segment == g;
    journal_unlock(in->j);
    return is_here;
}

static void pass(struct inspection *in, const struct inspect_record *r)
{
    if (!in->is_stopped)
        in->is_stopped = !in->as->record(in->as->user, r);
}

static void dump_record(struct inspection *in, struct segment *g, uint32_t at,
                        const struct record *r)
{
    struct inspect_record out = {
        .segment = g->number,
        .slot = g->slot->index,
        .offset = at,
        .type = r->type,
        .is_cold = g->kind == SEGMENT_COLD,
        .body = {record_body(r), record_body_bytes(r)},
    };
    uint64_t words[2] = {0, 0};
    if (r->type == RECORD_ACK || r->type == RECORD_TRIM || r->type == RECORD_GROUP)
        memcpy(words, out.body.ptr, out.body.len < sizeof words ? out.body.len : sizeof words);
    if (r->refs == 0) {
        out.sequence = words[0];
        pass(in, &out);
    }
    for (uint32_t i = 0; i < r->refs; i++) {
        const struct record_ref *ref = &record_refs(r)[i];
        struct stream *s = stream_by_id(in->j, ref->stream);
        out.stream = s ? s->name : NULL;
        out.sequence = r->type == RECORD_ACK || r->type == RECORD_TRIM ? words[0] : ref->sequence;
        out.count = r->type == RECORD_ACK ? words[1] : 0;
        out.is_live = r->type == RECORD_PUT && is_live_here(in, g, s, ref->sequence);
        pass(in, &out);
    }
}

static void dump_segment(struct inspection *in, struct segment *g)
{
    uint32_t count;
    mem_free(inspect_walk(in, g, &count));
}

void inspect_each(struct journal *j, const struct inspect *as)
{
    struct inspection in = {.j = j, .as = as, .visit = dump_record};
    inspect_each_segment(&in, dump_segment);
}
