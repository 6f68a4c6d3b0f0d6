/* pipeline/letters.c: dead letters: found, listed, sent back to the stages that failed, removed. */
#include "pipeline/letters.h"

#include <string.h>

#include "base/id.h"
#include "base/mem.h"
#include "base/text.h"
#include "config/config.h"
#include "match/match.h"
#include "pipeline/codec.h"
#include "pipeline/control.h"
#include "pipeline/dead.h"
#include "pipeline/inlet.h"
#include "pipeline/where.h"
#include "json/json.h"

enum { SCAN_MAX = 4096, UNIT_BYTES = 1 << 20, SHOW_BYTES = 16 << 20, GONE_NAMES = 1 << 10 };

void letters_page_fini(struct letters_page *page)
{
    buf_fini(&page->out);
    buf_fini(&page->gone_names);
}

/* One page under way. Its events live until the unit is on disk: their stages get them then. */
struct walk {
    struct journal *journal;
    struct pipeline *pipeline;
    struct queue *queue;
    const struct letters_query *query;
    struct letters_page *page;
    struct match_set *set;
    struct match_ctx *ctx;
    int64_t now_ns;
    size_t scanned;
    struct worker nobody; /* owns the blocks of a stopped pipeline */
    struct budget budget;
    struct journal_unit *unit;
    uint64_t *claimed;
    size_t claimed_count, claimed_cap;
    struct back { /* to its stage */
        struct inlet *inlet;
        struct event *ev;
    } * back;
    size_t back_count, back_cap;
    void (*done)(void *user, weir_status s);
    void *user;
};

static weir_str attr_of(const weir_event *ev, const char *name)
{
    for (size_t i = 0; i < ev->attrs.count; i++)
        if (weir_same(ev->attrs.items[i].key, name))
            return ev->attrs.items[i].value;
    return (weir_str){0};
}

/* ---- which ---- */

static bool is_named(const char *wanted, weir_str found)
{
    return !wanted || !*wanted || weir_same(found, wanted);
}

static bool is_meant(const struct letters_query *q, uint64_t number, const weir_event *ev)
{
    char text[ID_TEXT_BYTES];
    uint64_t n = 0;
    if (!q->id || !*q->id)
        return true;
    id_format(&ev->id, text);
    return strcmp(text, q->id) == 0 || (text_to_u64(weir_text(q->id), &n) && n == number);
}

static bool is_wanted(const struct walk *w, const struct queue_message *m, const weir_event *ev)
{
    const struct letters_query *q = w->query;
    const uint32_t *hits;
    if (!is_named(q->stage, attr_of(ev, "dead.stage")) ||
        !is_named(q->class, attr_of(ev, "dead.class")) || !is_meant(q, m->sequence, ev) ||
        (q->older_than_ns && w->now_ns - m->sent_ns < q->older_than_ns))
        return false;
    if (!w->ctx)
        return true;
    size_t n = match_event(w->ctx, ev, 0, &hits);
    return n && n != SIZE_MAX;
}

/* ---- list and show ---- */

static void add_text(struct buf *out, const char *key, weir_str text)
{
    buf_print(out, ",\"%s\":", key);
    json_quote(out, text);
}

static void add_attr(struct buf *out, const char *key, const weir_event *ev, const char *name)
{
    weir_str value = attr_of(ev, name);
    if (value.ptr)
        add_text(out, key, value);
}

static void add_whole(struct buf *out, const weir_event *ev)
{
    add_text(out, "key", ev->key);
    buf_add_text(out, ",\"attributes\":{");
    for (size_t i = 0; i < ev->attrs.count; i++) {
        buf_add_text(out, i ? "," : "");
        json_quote(out, ev->attrs.items[i].key);
        buf_add_char(out, ':');
        json_quote(out, ev->attrs.items[i].value);
    }
    buf_add_text(out, "},\"body\":");
    weir_str body = {ev->body->ptr, ev->body->len};
    if (json_check(body, NULL, NULL) == WEIR_OK)
        buf_add_str(out, json_trim(body));
    else
        json_quote(out, body);
}

static void print_letter(struct walk *w, const struct queue_message *m, const weir_event *ev,
                         const char *state)
{
    struct buf *out = &w->page->out;
    char text[ID_TEXT_BYTES], sent[CLOCK_TEXT_BYTES];
    uint64_t attempts = 0;
    id_format(&ev->id, text);
    (void)clock_format(m->sent_ns, 3, sent);
    (void)text_to_u64(attr_of(ev, "dead.attempts"), &attempts);
    buf_print(out, "{\"letter\":%llu,\"id\":\"%s\",\"time\":\"%s\"",
              (unsigned long long)m->sequence, text, sent);
    add_text(out, "queue", weir_text(queue_name(w->queue)));
    add_attr(out, "stage", ev, "dead.stage");
    add_attr(out, "class", ev, "dead.class");
    add_attr(out, "code", ev, "dead.code");
    buf_print(out, ",\"attempts\":%llu", (unsigned long long)attempts);
    add_attr(out, "first_time", ev, "dead.first_time");
    add_attr(out, "last_time", ev, "dead.last_time");
    add_attr(out, "reason", ev, "dead.reason");
    add_text(out, "source", ev->source);
    add_text(out, "type", ev->type);
    buf_print(out, ",\"state\":\"%s\",\"bytes\":%zu", state, ev->body->len);
    if (w->query->act == LETTERS_SHOW)
        add_whole(out, ev);
    buf_add_text(out, "}\n");
}

/* ---- redrive and purge ---- */

static struct journal_unit *unit_of(struct walk *w)
{
    if (!w->unit)
        w->unit = journal_begin(w->journal);
    return w->unit;
}

static struct inlet *inlet_of(const struct pipeline *p, const char *stage)
{
    for (size_t i = 0; i < p->stage_count; i++)
        if (strcmp(p->stages[i]->name, stage) == 0)
            return p->stages[i]->inlet;
    return NULL;
}

/* Where the events of a stage wait; NULL: there is no such stage. */
static struct stream *stream_of(struct walk *w, weir_str stage, struct inlet **inlet)
{
    char name[160], *plain = name + 3;
    char *const *known = w->query->stages;
    if (!stage.len || stage.len > 128)
        return NULL;
    (void)snprintf(name, sizeof name, "in/%.*s", (int)stage.len, stage.ptr);
    if (w->pipeline) {
        *inlet = inlet_of(w->pipeline, plain);
        return *inlet ? inlet_stream(*inlet) : NULL;
    }
    while (known && *known && strcmp(*known, plain) != 0)
        known++;
    return known && !*known ? NULL : stream_find(w->journal, name);
}

static void note_gone(struct letters_page *page, weir_str stage)
{
    struct buf one = {0};
    page->gone++;
    json_quote(&one, stage);
    bool is_told = page->gone_names.len &&
                   memmem(page->gone_names.ptr, page->gone_names.len, one.ptr, one.len);
    if (!is_told && page->gone_names.len + one.len < GONE_NAMES) {
        buf_add_text(&page->gone_names, page->gone_names.len ? "," : "");
        buf_add_str(&page->gone_names, buf_str(&one));
    }
    buf_fini(&one);
}

/* As it came to the stage: without what the dead letter added. */
static void strip(struct block *b, weir_event *ev)
{
    weir_attr *items = block_take(b, (ev->attrs.count + 1) * sizeof *items);
    size_t n = 0;
    for (size_t i = 0; i < ev->attrs.count; i++)
        if (!dead_is_own(ev->attrs.items[i].key))
            items[n++] = ev->attrs.items[i];
    ev->attrs = (weir_pairs){n, items};
}

static void send_back(struct walk *w, struct event *ev, struct inlet *inlet, struct stream *s)
{
    struct buf head = {0};
    strip(ev->block, &ev->pub);
    codec_write(&ev->pub, &head);
    struct iovec parts[2] = {{head.ptr, head.len}, codec_body(&ev->pub)};
    unit_put(unit_of(w), &s, 1, parts, 2);
    buf_fini(&head);
    block_ref(ev->block);
    MEM_PUSH(w->back, w->back_count, w->back_cap) = (struct back){inlet, ev};
}

static void act_on(struct walk *w, struct event *ev, uint64_t sequence)
{
    struct inlet *inlet = NULL;
    struct stream *s = NULL;
    if (w->query->act == LETTERS_REDRIVE) {
        weir_str stage = attr_of(&ev->pub, "dead.stage");
        s = stream_of(w, stage, &inlet);
        if (!s) {
            note_gone(w->page, stage);
            return;
        }
    }
    if (w->query->is_dry) {
        w->page->done++;
        return;
    }
    if (!queue_claim(w->queue, sequence)) {
        w->page->busy++;
        return;
    }
    MEM_PUSH(w->claimed, w->claimed_count, w->claimed_cap) = sequence;
    if (s)
        send_back(w, ev, inlet, s);
    queue_take(w->queue, sequence, unit_of(w));
    w->page->done++;
}

/* ---- the walk ---- */

static bool has_room(const struct walk *w)
{
    uint64_t max = w->query->max && w->query->max < LETTERS_PAGE ? w->query->max : LETTERS_PAGE;
    return w->page->matched < max && w->scanned < SCAN_MAX && w->page->out.len < SHOW_BYTES &&
           (!w->unit || unit_bytes(w->unit) < UNIT_BYTES);
}

static void look_into(struct walk *w, const struct queue_message *m, struct event *ev,
                      const char *state)
{
    if (!attr_of(&ev->pub, "dead.stage").len || !is_wanted(w, m, &ev->pub))
        return;
    w->page->matched++;
    if (w->query->act == LETTERS_LIST || w->query->act == LETTERS_SHOW)
        print_letter(w, m, &ev->pub, state);
    else
        act_on(w, ev, m->sequence);
}

static bool look_at(void *user, const struct queue_message *m, const char *state)
{
    struct walk *w = user;
    weir_status status;
    if (m->sequence >= w->page->until)
        return false;
    if (!has_room(w)) {
        w->page->is_over = false;
        return false;
    }
    struct block *b = block_new(w->pipeline && worker_current() ? worker_current() : &w->nobody);
    struct budget *budget = w->pipeline ? &w->pipeline->budget : &w->budget;
    struct event *ev = codec_read(m->body, b, budget, &status);
    bool is_short = !ev && status == WEIR_E_RETRY; /* the next page goes on from here */
    if (ev)
        look_into(w, m, ev, state);
    block_unref(b);
    if (is_short) {
        w->page->is_over = false;
        return false;
    }
    w->scanned++;
    w->page->next = m->sequence + 1;
    return true;
}

static void walk_free(struct walk *w)
{
    match_ctx_free(w->ctx);
    match_set_free(w->set);
    for (size_t i = 0; i < w->back_count; i++)
        block_unref(w->back[i].ev->block);
    block_pool_trim(&w->nobody.blocks);
    mem_free(w->claimed);
    mem_free(w->back);
    mem_free(w);
}

/* On the journal's driver: in the order of the log, so that each stage gets its events in order. */
static void page_done(void *user, weir_status status, const struct journal_unit *u)
{
    struct walk *w = user;
    if (status != WEIR_OK) {
        queue_unclaim(w->queue, w->claimed, w->claimed_count);
        w->page->done = 0;
        w->page->is_failed = true;
    }
    for (size_t i = 0; i < w->back_count && status == WEIR_OK; i++)
        if (w->back[i].inlet)
            inlet_arrive(w->back[i].inlet,
                         &(struct arrival){w->back[i].ev, NULL, unit_sequence(u, i, 0)}, 1);
    if (status == WEIR_OK && w->pipeline)
        atomic_fetch_add(&w->pipeline->ledger[LEDGER_REDRIVEN], (int64_t)w->back_count);
    void (*done)(void *, weir_status) = w->done;
    void *arg = w->user;
    walk_free(w);
    if (done)
        done(arg, status);
}

static void submit(struct walk *w)
{
    struct journal *j = w->journal;
    const char *name = w->query->act == LETTERS_REDRIVE ? "ledger/redriven" : "ledger/purged";
    unit_count(w->unit, journal_counter(j, name), (int64_t)w->claimed_count);
    w->query = NULL;
    struct journal_unit *u = w->unit;
    bool is_stopped = !w->pipeline;
    journal_submit(u, JOURNAL_SYNCED, page_done, w);
    if (is_stopped)
        (void)journal_submit_wait(journal_begin(j)); /* commits what was submitted before it */
}

static int compile(struct walk *w, struct error *e)
{
    if (!w->query->where.len)
        return 0;
    if (where_compile(w->query->where, w->pipeline ? &w->pipeline->env : NULL, &w->set, e) < 0)
        return -1;
    w->ctx = match_ctx_new(w->set);
    return 0;
}

static void walk_all(struct walk *w)
{
    struct letters_page *page = w->page;
    page->until = w->query->until ? w->query->until : queue_next(w->queue);
    page->next = w->query->from;
    page->is_over = true;
    queue_walk(w->queue, w->query->from, look_at, w);
    if (page->is_over)
        page->next = page->until;
}

int letters_page(const struct letters_query *q, struct letters_page *page,
                 void (*done)(void *user, weir_status s), void *user, struct error *e)
{
    struct queue *queue = q->queue ? queue_find(q->journal, q->queue) : NULL;
    if (!queue)
        return control_no_queue(q->journal, q->queue ? q->queue : "", e);
    struct walk *w = MEM_NEW(struct walk);
    *w = (struct walk){.journal = q->journal,
                       .pipeline = q->pipeline,
                       .queue = queue,
                       .query = q,
                       .page = page,
                       .now_ns = clock_wall(journal_clock(q->journal)),
                       .budget = {.limit_bytes = UINT64_MAX / 2},
                       .done = done,
                       .user = user};
    if (compile(w, e) < 0) {
        walk_free(w);
        return -1;
    }
    walk_all(w);
    if (w->unit) {
        submit(w);
        return 0;
    }
    walk_free(w);
    if (done)
        done(user, WEIR_OK);
    return 0;
}

/* ---- the queues ---- */

struct queues {
    struct buf *out;
    const char *comma;
    bool is_letter;
};

static bool look_for_stage(void *user, const struct queue_message *m, const char *state)
{
    struct queues *l = user;
    struct worker nobody = {0};
    struct budget budget = {.limit_bytes = UINT64_MAX / 2};
    struct block *b = block_new(&nobody);
    weir_status status;
    struct event *ev = codec_read(m->body, b, &budget, &status);
    l->is_letter = ev && attr_of(&ev->pub, "dead.stage").len;
    block_unref(b);
    block_pool_trim(&nobody.blocks);
    return false;
}

static void add_queue(void *user, struct queue *q)
{
    struct queues *l = user;
    struct queue_count n;
    l->is_letter = false;
    queue_walk(q, 0, look_for_stage, l);
    if (!l->is_letter)
        return;
    queue_count(q, &n);
    buf_print(l->out, "%s{\"name\":", l->comma);
    json_quote(l->out, weir_text(queue_name(q)));
    uint64_t letters = n.visible + n.hidden + n.delayed;
    buf_print(l->out, ",\"letters\":%llu}", (unsigned long long)letters);
    l->comma = ",";
}

void letters_queues(struct journal *j, struct buf *out)
{
    struct queues l = {.out = out, .comma = ""};
    buf_add_char(out, '[');
    queue_each(j, add_queue, &l);
    buf_add_text(out, "]\n");
}

/* ---- as JSON ---- */

static const char *text_at(weir_str json, const char *key, struct arena *a)
{
    weir_str v = json_find(json, key);
    if (!v.ptr || json_kind(v) != WEIR_JSON_TEXT)
        return NULL;
    weir_str text = json_unquote(v, a);
    return arena_copy(a, text.ptr, text.len);
}

static uint64_t number_at(weir_str json, const char *key)
{
    uint64_t n = 0;
    weir_str v = json_find(json, key);
    return v.ptr && text_to_u64(v, &n) ? n : 0;
}

int letters_query_read(weir_str json, struct letters_query *q, struct arena *a, struct error *e)
{
    static const char *const acts[] = {"list", "show", "redrive", "purge"};
    size_t act = 0;
    if (json_check(json, NULL, NULL) != WEIR_OK)
        return error_set(e, EXIT_USAGE_ERROR, "the body is not JSON");
    const char *name = text_at(json, "act", a);
    while (act < 4 && name && strcmp(acts[act], name) != 0)
        act++;
    if (act == 4 || !name)
        return error_set(e, EXIT_USAGE_ERROR, "act is none of list, show, redrive, purge");
    weir_str where = json_find(json, "where"), dry = json_find(json, "dry_run");
    *q = (struct letters_query){
        .act = (enum letters_act)act,
        .queue = text_at(json, "queue", a),
        .stage = text_at(json, "stage", a),
        .class = text_at(json, "class", a),
        .id = text_at(json, "id", a),
        .where = where,
        .older_than_ns = (int64_t)(number_at(json, "older_than_ns") & INT64_MAX),
        .from = number_at(json, "from"),
        .until = number_at(json, "until"),
        .max = number_at(json, "max"),
        .is_dry = dry.ptr && weir_same(dry, "true"),
    };
    return 0;
}

void letters_page_print(const struct letters_page *page, struct buf *out)
{
    weir_str lines = buf_str(&page->out);
    buf_print(out,
              "{\"next\":%llu,\"until\":%llu,\"is_over\":%s,\"matched\":%llu,\"done\":%llu,"
              "\"busy\":%llu,\"gone\":%llu,\"gone_stages\":[",
              (unsigned long long)page->next, (unsigned long long)page->until,
              page->is_over ? "true" : "false", (unsigned long long)page->matched,
              (unsigned long long)page->done, (unsigned long long)page->busy,
              (unsigned long long)page->gone);
    buf_add_str(out, buf_str(&page->gone_names));
    buf_add_text(out, "],\"letters\":[");
    for (const char *comma = ""; lines.len; comma = ",") {
        const char *end = memchr(lines.ptr, '\n', lines.len);
        size_t n = end ? (size_t)(end - lines.ptr) : lines.len;
        buf_add_text(out, comma);
        buf_add(out, lines.ptr, n);
        lines.ptr += n + (end != NULL);
        lines.len -= n + (end != NULL);
    }
    buf_add_text(out, "]}\n");
}
