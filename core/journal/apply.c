/* journal/apply.c: from records to state: the one way, when running and at recovery. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "journal/internal.h"

struct counter *counter_by_id(struct journal *j, uint32_t id, weir_str name)
{
    while (j->counter_count <= id)
        MEM_PUSH(j->counters, j->counter_count, j->counter_cap) = NULL;
    if (!j->counters[id]) {
        j->counters[id] = MEM_NEW(struct counter);
        j->counters[id]->name = mem_copy(name.ptr, name.len);
    }
    return j->counters[id];
}

/* A stream whose making was lost to damage still has its records. */
static struct stream *need_stream(struct journal *j, uint32_t id)
{
    enum { ID_MAX = 1 << 22 }; /* more is no id, whatever the checksum says */
    struct stream *s = stream_by_id(j, id);
    if (s || id == 0 || id > ID_MAX)
        return s;
    char *name = mem_format("lost/%u", id);
    s = stream_make(j, id, weir_text(name), 0);
    s->is_nameless = true;
    mem_free(name);
    return s;
}

/* Numbers that nobody has: their records were in what was damaged. A full scan skips as many. */
static void count_gap(struct journal *j, struct stream *s, uint64_t next)
{
    enum { SKIP = 1 << 20 };
    uint64_t lost = next - s->next;
    if (!j->is_lossy || j->is_full_scan || next <= s->next)
        return;
    lost = lost >= SKIP ? lost - SKIP : lost;
    if (!lost)
        return;
    j->health.lost_records += lost;
    log_write(WEIR_ERROR, NULL,
              "journal %s: stream %s: %llu records from number %llu on are lost in damaged bytes",
              j->path, s->name, (unsigned long long)lost, (unsigned long long)s->next);
}

static weir_str body_str(const struct record *r)
{
    weir_str s = {record_body(r), record_body_bytes(r)};
    return s;
}

static void apply_put(struct journal *j, struct segment *g, uint32_t offset, const struct record *r)
{
    const struct record_ref *ref = record_refs(r);
    for (uint32_t i = 0; i < r->refs; i++) {
        struct stream *s = need_stream(j, ref[i].stream);
        if (!s)
            continue;
        count_gap(j, s, ref[i].sequence);
        if (!stream_add(s, g, ref[i].sequence, offset))
            continue;
        if (s->kind && s->kind->put)
            s->kind->put(s->state, ref[i].sequence, body_str(r));
        if (!s->is_touched) {
            s->is_touched = true;
            s->next_touched = j->touched;
            j->touched = s;
        }
    }
}

static void apply_ack(struct journal *j, const struct record *r)
{
    struct stream *s = r->refs ? need_stream(j, record_refs(r)->stream) : NULL;
    uint64_t words[2] = {0, 0};
    uint32_t n = record_body_bytes(r);
    if (!s || n < 8)
        return;
    memcpy(words, record_body(r), n < sizeof words ? n : sizeof words);
    if (r->type == RECORD_TRIM) {
        uint64_t below = words[0], first = 0;
        if (!stream_seek_live(s, &first) || first >= below)
            return;
        words[0] = first;
        words[1] = below - first;
    }
    if (words[0] >= s->next)
        return;
    if (words[1] > s->next - words[0])
        words[1] = s->next - words[0];
    stream_kill(s, words[0], words[1]);
    if (s->kind && s->kind->ack)
        s->kind->ack(s->state, words[0], words[1]);
}

static void apply_note(struct journal *j, const struct record *r)
{
    struct stream *s = r->refs ? need_stream(j, record_refs(r)->stream) : NULL;
    if (s && s->kind && s->kind->note)
        s->kind->note(s->state, body_str(r));
}

static bool take_name(const struct record *r, struct name_body *body, weir_str *name)
{
    uint32_t n = record_body_bytes(r);
    if (n < sizeof *body)
        return false;
    memcpy(body, record_body(r), sizeof *body);
    *name = (weir_str){record_body(r) + sizeof *body, n - sizeof *body};
    return true;
}

static void apply_stream(struct journal *j, const struct record *r)
{
    struct name_body body;
    weir_str name;
    if (r->refs == 0 || !take_name(r, &body, &name))
        return;
    struct stream *s = stream_by_id(j, record_refs(r)->stream);
    if (s && !s->is_declared && s->is_nameless && body.kind == 0) {
        mem_free(s->name);
        s->name = mem_copy(name.ptr, name.len);
        s->is_nameless = false;
    }
    if (!s && record_refs(r)->stream)
        s = stream_make(j, record_refs(r)->stream, name, body.kind);
    if (s)
        count_gap(j, s, record_refs(r)->sequence);
    if (s && s->next < record_refs(r)->sequence)
        s->next = record_refs(r)->sequence;
    if (s)
        s->is_declared = true;
}

static void apply_counter(struct journal *j, const struct record *r)
{
    enum { ID_MAX = 1 << 20 };
    struct name_body body;
    weir_str name;
    if (!take_name(r, &body, &name) || body.id > ID_MAX)
        return;
    struct counter *c = counter_by_id(j, body.id, name);
    c->value = body.value;
    c->is_declared = true;
}

static void apply_count(struct journal *j, const struct record *r)
{
    struct count_body body;
    for (uint32_t at = 0; at + sizeof body <= record_body_bytes(r); at += (uint32_t)sizeof body) {
        memcpy(&body, record_body(r) + at, sizeof body);
        if (body.counter < j->counter_count && j->counters[body.counter])
            j->counters[body.counter]->value += body.delta;
    }
}

static void relocate(struct journal *j, struct segment *from, struct segment *to)
{
    for (uint32_t k = 0; k < j->stream_count; k++) {
        struct stream *s = j->streams[k];
        for (uint32_t i = 0; s && i < s->run_count; i++) {
            struct run *r = s->runs[i];
            if (r->segment != from)
                continue;
            mem_free(r->offsets);
            mem_free(r->loading);
            r->offsets = r->loading = NULL;
            r->segment = to;
            to->live += r->live;
            from->live -= r->live;
        }
    }
    to->is_loaded = false;
    from->is_loaded = false;
}

/* What is live in the victims now lies in the cold segment. What was acknowledged since the copy
 * was made stays dead: live bits belong to the run, not to the copy. */
static void apply_moved(struct journal *j, const struct record *r)
{
    uint64_t words[3], number; /* number, end and refs of the cold segment */
    uint32_t n = record_body_bytes(r);
    if (n < sizeof words || j->is_full_scan) /* there the copies were read before the log */
        return;
    memcpy(words, record_body(r), sizeof words);
    struct segment *to = segment_find(j, words[0]);
    if (!to) { /* recycled since: what it had is dead, which the log after this tells */
        struct segment_header h = {.number = words[0], .kind = SEGMENT_COLD};
        to = segment_add(j, &h, NULL);
        to->is_sealed = true;
    }
    if (to->slot && words[1] <= to->slot->bytes)
        to->end = (uint32_t)words[1];
    to->refs = words[2];
    for (uint32_t at = sizeof words; at + sizeof number <= n; at += (uint32_t)sizeof number) {
        memcpy(&number, record_body(r) + at, sizeof number);
        struct segment *from = segment_find(j, number);
        if (from && from != to)
            relocate(j, from, to);
    }
    to->is_picked = false;
}

void apply_record(struct journal *j, struct segment *g, uint32_t offset, const struct record *r)
{
    switch (r->type) {
    case RECORD_PUT:
        apply_put(j, g, offset, r);
        break;
    case RECORD_ACK:
    case RECORD_TRIM:
        apply_ack(j, r);
        break;
    case RECORD_NOTE:
        apply_note(j, r);
        break;
    case RECORD_STREAM:
        apply_stream(j, r);
        break;
    case RECORD_COUNTER:
        apply_counter(j, r);
        break;
    case RECORD_COUNT:
        apply_count(j, r);
        break;
    case RECORD_MOVED:
        apply_moved(j, r);
        break;
    default: /* GROUP and END have no effect; a later minor version's are skipped */
        break;
    }
}
