/* pipeline/control.c: what a person does to queues. */
#include "pipeline/control.h"

#include <string.h>

#include "base/id.h"
#include "base/mem.h"
#include "journal/archive.h"
#include "pipeline/codec.h"
#include "pipeline/reload.h"
#include "json/json.h"

static void add_text(struct buf *out, const char *key, const char *text)
{
    buf_print(out, "\"%s\":", key);
    json_quote(out, weir_text(text));
}

struct listing {
    struct buf *out;
    const char *comma;
};

static void list_queue(void *user, struct queue *q)
{
    struct listing *l = user;
    struct queue_count n;
    struct queue_settings s;
    queue_count(q, &n);
    queue_settings_get(q, &s);
    buf_print(l->out, "%s{", l->comma);
    add_text(l->out, "name", queue_name(q));
    buf_print(l->out,
              ",\"kind\":\"%s\",\"visible\":%llu,\"hidden\":%llu,\"delayed\":%llu,\"bytes\":%llu,"
              "\"oldest_seconds\":%.3f",
              s.is_fifo ? "fifo" : "queue", (unsigned long long)n.visible,
              (unsigned long long)n.hidden, (unsigned long long)n.delayed,
              (unsigned long long)n.bytes, (double)n.oldest_ns / 1e9);
    if (s.dead_letters) {
        buf_add_char(l->out, ',');
        add_text(l->out, "dead_letters", s.dead_letters);
        buf_print(l->out, ",\"receives_max\":%u", s.receives_max);
    }
    buf_add_char(l->out, '}');
    l->comma = ",";
}

static void list_buffer(void *user, struct stream *s)
{
    struct listing *l = user;
    const char *name = stream_name(s);
    if (strncmp(name, "in/", 3) != 0)
        return;
    buf_print(l->out, "%s{", l->comma);
    add_text(l->out, "name", name + 3);
    buf_print(l->out, ",\"kind\":\"buffer\",\"visible\":%llu}", (unsigned long long)stream_live(s));
    l->comma = ",";
}

void control_list(struct journal *j, struct buf *out)
{
    struct listing l = {out, ""};
    buf_add_char(out, '[');
    queue_each(j, list_queue, &l);
    stream_each(j, list_buffer, &l);
    buf_add_text(out, "]\n");
}

int control_no_queue(struct journal *j, const char *name, struct error *e)
{
    char *buffer = mem_format("in/%s", name);
    bool is_buffer = stream_find(j, buffer) != NULL;
    mem_free(buffer);
    if (is_buffer)
        return error_set(e, EXIT_BAD_DATA,
                         "%s is the buffer of a stage and no queue: `weir journal dump --stream "
                         "in/%s --live --payload` shows what waits there",
                         name, name);
    return error_set(e, EXIT_BAD_DATA, "no queue %s: `weir queue ls` lists them", name);
}

static struct queue *find(struct journal *j, const char *name, struct error *e)
{
    struct queue *q = queue_find(j, name);
    if (!q)
        (void)control_no_queue(j, name, e);
    return q;
}

struct peeking {
    struct buf *out;
    struct block *block;
    struct budget budget;
};

static void print_attrs(struct buf *out, const weir_pairs *attrs)
{
    buf_add_text(out, ",\"attributes\":{");
    for (size_t i = 0; i < attrs->count; i++) {
        buf_add_text(out, i ? "," : "");
        json_quote(out, attrs->items[i].key);
        buf_add_char(out, ':');
        json_quote(out, attrs->items[i].value);
    }
    buf_add_char(out, '}');
}

static void print_event(struct buf *out, const weir_event *ev)
{
    char text[ID_TEXT_BYTES];
    id_format(&ev->id, text);
    buf_print(out, ",\"id\":\"%s\",\"source\":", text);
    json_quote(out, ev->source);
    buf_add_text(out, ",\"type\":");
    json_quote(out, ev->type);
    print_attrs(out, &ev->attrs);
    buf_add_text(out, ",\"body\":");
    weir_str body = {ev->body->ptr, ev->body->len};
    if (json_check(body, NULL, NULL) == WEIR_OK)
        buf_add_str(out, json_trim(body));
    else
        json_quote(out, body);
}

static void peek_one(void *user, const struct queue_message *m, const char *state)
{
    struct peeking *p = user;
    weir_status s;
    char sent[CLOCK_TEXT_BYTES];
    (void)clock_format(m->sent_ns, 3, sent);
    buf_print(p->out, "{\"sequence\":%llu,\"state\":\"%s\",\"receives\":%u,\"sent\":\"%s\"",
              (unsigned long long)m->sequence, state, m->receives, sent);
    struct event *ev = codec_read(m->body, p->block, &p->budget, &s);
    if (ev) {
        print_event(p->out, &ev->pub);
    } else {
        buf_add_text(p->out, ",\"body\":");
        json_quote(p->out, m->body);
    }
    buf_add_text(p->out, "}\n");
}

int control_peek(struct journal *j, const char *name, size_t max, struct buf *out, struct error *e)
{
    struct queue *q = find(j, name, e);
    struct worker nobody = {0};
    struct peeking p = {.out = out, .budget = {.limit_bytes = UINT64_MAX / 2}};
    if (!q)
        return -1;
    p.block = block_new(&nobody);
    queue_peek(q, max, peek_one, &p);
    block_unref(p.block);
    return 0;
}

/* Nobody reads the stream, so that what is there now is all of it. */
static int purge_buffer(struct journal *j, struct pipeline *p, struct stream *s, const char *name,
                        uint64_t *purged, struct error *e)
{
    if (p && reload_has_stage(p, name))
        return error_set(e, EXIT_NOT_AVAILABLE,
                         "purge %s: it is the buffer of a stage of the pipeline file: take the "
                         "stage out first",
                         name);
    char *counter = mem_format("ended/%s", name);
    struct journal_unit *u = journal_begin(j);
    *purged = stream_live(s);
    unit_trim(u, s, stream_next(s));
    unit_count(u, journal_counter(j, counter), (int64_t)*purged);
    unit_count(u, journal_counter(j, "ledger/dropped"), (int64_t)*purged);
    mem_free(counter);
    if (journal_submit_wait(u) != WEIR_OK)
        return error_set(e, EXIT_IO, "purge %s: the journal cannot be written", name);
    if (p)
        atomic_fetch_add(&p->ledger[LEDGER_DROPPED], (int64_t)*purged);
    return 0;
}

int control_purge(struct journal *j, struct pipeline *p, const char *name, uint64_t *purged,
                  struct error *e)
{
    char *buffer = mem_format("in/%s", name);
    struct stream *s = queue_find(j, name) ? NULL : stream_find(j, buffer);
    mem_free(buffer);
    if (s)
        return purge_buffer(j, p, s, name, purged, e);
    struct queue *q = find(j, name, e);
    if (!q)
        return -1;
    if (queue_purge(q, purged) != WEIR_OK)
        return error_set(e, EXIT_IO, "purge %s: the journal cannot be written", name);
    return 0;
}

int control_redrive(struct journal *j, struct redrive *r, struct error *e)
{
    struct queue *q = find(j, r->from, e), *to = q ? find(j, r->to, e) : NULL;
    if (!to)
        return -1;
    if (queue_redrive(q, to, r->max, &r->moved) != WEIR_OK)
        return error_set(e, EXIT_IO, "redrive %s: the journal cannot be written", r->from);
    return 0;
}

/* ---- archives ---- */

static void add_time(struct buf *out, const char *key, int64_t ns)
{
    char text[CLOCK_TEXT_BYTES];
    if (!ns)
        return;
    (void)clock_format(ns, 3, text);
    buf_print(out, ",\"%s\":\"%s\"", key, text);
}

static void list_archive(void *user, struct archive *a)
{
    struct listing *l = user;
    struct archive_count n;
    archive_count(a, &n);
    buf_print(l->out, "%s{", l->comma);
    add_text(l->out, "name", archive_name(a));
    buf_print(l->out, ",\"events\":%llu,\"bytes\":%llu", (unsigned long long)n.events,
              (unsigned long long)n.bytes);
    add_time(l->out, "oldest", n.oldest_ns);
    add_time(l->out, "newest", n.newest_ns);
    if (n.settings.retention_ns)
        buf_print(l->out, ",\"retention_seconds\":%lld",
                  (long long)(n.settings.retention_ns / 1000000000));
    if (n.settings.bytes_max)
        buf_print(l->out, ",\"max_bytes\":%llu", (unsigned long long)n.settings.bytes_max);
    buf_add_char(l->out, '}');
    l->comma = ",";
}

void control_archives(struct journal *j, struct buf *out)
{
    struct listing l = {out, ""};
    buf_add_char(out, '[');
    archive_each(j, list_archive, &l);
    buf_add_text(out, "]\n");
}

static struct archive *find_archive(struct journal *j, const char *name, struct error *e)
{
    struct archive *a = archive_find(j, name);
    if (!a)
        (void)error_set(e, EXIT_BAD_DATA, "no archive %s: `weir archive ls` lists them", name);
    return a;
}

static void print_archived(struct peeking *p, uint64_t sequence, weir_str record, int64_t came_ns)
{
    char id[ID_TEXT_BYTES];
    weir_status s;
    struct event *ev = codec_read(record, p->block, &p->budget, &s);
    if (!ev)
        return;
    id_format(&ev->pub.id, id);
    buf_print(p->out, "{\"sequence\":%llu", (unsigned long long)sequence);
    add_time(p->out, "archived", came_ns);
    add_time(p->out, "time", ev->pub.time_ns);
    print_event(p->out, &ev->pub);
    buf_add_text(p->out, "}\n");
}

int control_archived(struct journal *j, const char *name, const struct archive_page *page,
                     struct buf *out, struct error *e)
{
    enum { PAGE_BYTES = 1 << 20 };
    struct worker nobody = {0};
    struct peeking p = {.out = out, .budget = {.limit_bytes = UINT64_MAX / 2}};
    struct archive *a = find_archive(j, name, e);
    uint64_t next = 0, sequence = 0;
    weir_str record;
    int64_t came_ns;
    if (!a)
        return -1;
    uint64_t from = archive_seek(a, page->from_ns);
    struct reader *r = reader_new(archive_stream(a), page->from > from ? page->from : from);
    p.block = block_new(&nobody);
    for (size_t n = 0; reader_next(r, &record, &sequence) == WEIR_OK;) {
        weir_str event = archive_payload(record, &came_ns);
        if (page->until_ns && came_ns >= page->until_ns)
            break;
        if (came_ns < page->from_ns)
            continue;
        print_archived(&p, sequence, event, came_ns);
        if (++n < page->max && out->len < PAGE_BYTES)
            continue;
        next = sequence + 1;
        break;
    }
    block_unref(p.block);
    reader_free(r);
    buf_print(out, "{\"next\":%llu}\n", (unsigned long long)next);
    return 0;
}

int control_archive_clear(struct journal *j, const char *name, uint64_t *removed, struct error *e)
{
    struct archive *a = find_archive(j, name, e);
    if (!a)
        return -1;
    if (archive_clear(a, removed) != WEIR_OK)
        return error_set(e, EXIT_IO, "purge %s: the journal cannot be written", name);
    return 0;
}
