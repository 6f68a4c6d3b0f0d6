/* cli/dlq_pages.c: dead letters asked for page by page, of a runner or of the journal that it left. */
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/dlq.h"
#include "pipeline/letters.h"
#include "json/json.h"

enum { STUCK_NS = 100 * 1000 * 1000 };

/* ---- asking ---- */

weir_str dlq_plain(weir_str value, struct arena *a)
{
    if (!value.ptr)
        return weir_text("");
    return json_kind(value) == WEIR_JSON_TEXT ? json_unquote(value, a) : value;
}

weir_str dlq_text(weir_str object, const char *name, struct arena *a)
{
    return dlq_plain(json_find(object, name), a);
}

static uint64_t number_of(weir_str object, const char *name)
{
    uint64_t n = 0;
    weir_str v = json_find(object, name);
    return v.ptr && text_to_u64(v, &n) ? n : 0;
}

/* To look is no reason to keep a runner from starting, or to write. */
static int open_stopped(struct dlq *d, bool is_to_change)
{
    struct error e = {0};
    if (d->journal && (d->is_writer || !is_to_change))
        return 0;
    journal_close(d->journal);
    d->journal = is_to_change ? store_open(d->data_dir, &e) : store_read(d->data_dir, &e);
    d->is_writer = is_to_change;
    return d->journal ? 0 : cli_fail(&e);
}

static int page_stopped(struct dlq *d, weir_str request, bool is_to_change, struct buf *out)
{
    struct letters_query q;
    struct letters_page page = {0};
    struct error e = {0};
    struct arena a;
    int code = open_stopped(d, is_to_change);
    if (code)
        return code;
    arena_init(&a);
    if (letters_query_read(request, &q, &a, &e) == 0) {
        q.journal = d->journal;
        q.stages = d->stages;
        (void)letters_page(&q, &page, NULL, NULL, &e);
        if (page.is_failed)
            (void)error_set(&e, EXIT_IO, "%s: the journal cannot be written", d->data_dir);
    }
    letters_page_print(&page, out);
    letters_page_fini(&page);
    arena_fini(&a);
    return e.code ? cli_fail(&e) : 0;
}

void dlq_add_member(struct buf *out, const char *key, const char *text)
{
    if (!text || !*text)
        return;
    buf_print(out, ",\"%s\":", key);
    json_quote(out, weir_text(text));
}

static uint64_t page_size(const struct dlq *d)
{
    uint64_t size = LETTERS_PAGE, limit = (uint64_t)d->o->limit;
    if (d->rate > 0 && d->rate / 10 < (double)size)
        size = d->rate < 10 ? 1 : (uint64_t)(d->rate / 10);
    bool is_listing = strcmp(d->act, "list") == 0;
    if (!is_listing && limit && limit - d->matched < size)
        size = limit - d->matched;
    return size;
}

static int ask_page(struct dlq *d, const char *queue, uint64_t from, uint64_t until, bool is_dry,
                    struct buf *out)
{
    struct buf request = {0};
    buf_print(&request,
              "{\"act\":\"%s\",\"from\":%" PRIu64 ",\"until\":%" PRIu64 ",\"max\":%" PRIu64
              ",\"older_than_ns\":%" PRId64 ",\"dry_run\":%s",
              d->act, from, until, page_size(d), d->older_than_ns, is_dry ? "true" : "false");
    dlq_add_member(&request, "queue", queue);
    dlq_add_member(&request, "stage", d->o->stage);
    dlq_add_member(&request, "class", d->o->class);
    dlq_add_member(&request, "id", d->id);
    if (d->o->where)
        buf_print(&request, ",\"where\":%s", d->o->where);
    buf_add_char(&request, '}');
    int code = d->journal ? 1 : store_post(d->data_dir, "/dead-letters", buf_str(&request), out);
    if (code == 1) {
        out->len = 0;
        bool is_looking = is_dry || strcmp(d->act, "list") == 0 || strcmp(d->act, "show") == 0;
        code = page_stopped(d, buf_str(&request), !is_looking, out);
    }
    buf_fini(&request);
    return code;
}

int dlq_find_queues(struct dlq *d)
{
    struct buf out = {0};
    struct arena a;
    int code = store_ask(d->data_dir, "GET", "/dead-letters", &out);
    if (code == 1) {
        out.len = 0;
        code = open_stopped(d, false);
        if (!code)
            letters_queues(d->journal, &out);
    }
    arena_init(&a);
    weir_str list = json_trim(buf_str(&out));
    for (weir_json_each e = {0}; !code && json_next(list, &e);) {
        weir_str name = dlq_text(e.value, "name", &a);
        if (d->o->queue && !weir_same(name, d->o->queue))
            continue;
        MEM_PUSH(d->queues, d->queue_count, d->queue_cap) = mem_copy(name.ptr, name.len);
        d->total += number_of(e.value, "letters");
    }
    if (!code && d->o->queue && !d->queue_count) /* it holds none, or is none: that is told then */
        MEM_PUSH(d->queues, d->queue_count, d->queue_cap) = mem_text(d->o->queue);
    arena_fini(&a);
    buf_fini(&out);
    return code;
}

/* ---- what comes back ---- */

static void add_count(struct dlq *d, weir_str stage, weir_str class)
{
    for (size_t i = 0; i < d->count_count; i++)
        if (weir_same(stage, d->counts[i].stage) && weir_same(class, d->counts[i].class)) {
            d->counts[i].n++;
            return;
        }
    MEM_PUSH(d->counts, d->count_count, d->count_cap) =
        (struct dlq_count){mem_copy(stage.ptr, stage.len), mem_copy(class.ptr, class.len), 1};
}

static void keep_line(struct dlq *d, weir_str line)
{
    uint64_t limit = d->o->limit ? (uint64_t)d->o->limit : 50;
    if (d->line_count == limit) {
        d->is_cut = true;
        if (!d->o->newest)
            return;
        mem_free(d->lines[0]);
        memmove(d->lines, d->lines + 1, --d->line_count * sizeof(char *));
    }
    MEM_PUSH(d->lines, d->line_count, d->line_cap) = mem_copy(line.ptr, line.len);
}

static void take_page(struct dlq *d, weir_str page, struct arena *a)
{
    d->matched += number_of(page, "matched");
    d->done += number_of(page, "done");
    d->busy += number_of(page, "busy");
    d->gone += number_of(page, "gone");
    for (weir_json_each e = {0}; json_next(json_find(page, "gone_stages"), &e);)
        if (!d->gone_names.len ||
            !memmem(d->gone_names.ptr, d->gone_names.len, e.value.ptr, e.value.len)) {
            buf_add_text(&d->gone_names, d->gone_names.len ? ", " : "");
            buf_add_str(&d->gone_names, e.value);
        }
    for (weir_json_each e = {0}; json_next(json_find(page, "letters"), &e);) {
        add_count(d, dlq_text(e.value, "stage", a), dlq_text(e.value, "class", a));
        keep_line(d, e.value);
    }
}

static void show_progress(const struct dlq *d)
{
    if (isatty(STDERR_FILENO))
        (void)fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " letters seen, %" PRIu64 " done ",
                      d->seen < d->total ? d->seen : d->total, d->total, d->done);
}

static void end_progress(const struct dlq *d)
{
    if (isatty(STDERR_FILENO))
        (void)fputs("\r\033[K", stderr);
}

static void wait_ns(int64_t ns)
{
    const struct timespec wait = {0, (long)ns};
    (void)nanosleep(&wait, NULL);
}

/* No faster than --rate: what was done until now tells when the next page is due. */
static void keep_pace(const struct dlq *d)
{
    if (d->rate <= 0)
        return;
    int64_t due = d->begun_ns + (int64_t)((double)d->matched / d->rate * 1e9);
    for (int64_t left; !*d->is_interrupted && (left = due - clock_mono(&clock_real)) > 0;)
        wait_ns(left < STUCK_NS ? left : STUCK_NS);
}

static bool is_enough(const struct dlq *d)
{
    return *d->is_interrupted ||
           (d->o->limit && strcmp(d->act, "list") != 0 && d->matched >= (uint64_t)d->o->limit);
}

static int work_off(struct dlq *d, const char *queue, bool is_dry)
{
    uint64_t from = 0, until = 0;
    bool is_over = false, is_stuck = false;
    int code = 0;
    while (!code && !is_over && !is_enough(d)) {
        struct buf out = {0};
        struct arena a;
        arena_init(&a);
        code = ask_page(d, queue, from, until, is_dry, &out);
        weir_str page = json_trim(buf_str(&out));
        if (!code) {
            uint64_t next = number_of(page, "next");
            is_stuck = next <= from;
            take_page(d, page, &a);
            d->seen += next > from ? next - from : 0;
            from = next;
            until = number_of(page, "until");
            is_over = weir_same(json_find(page, "is_over"), "true");
        }
        arena_fini(&a);
        buf_fini(&out);
        if (!code && !is_over && is_stuck) /* the runner is short of memory */
            wait_ns(STUCK_NS);
        if (!code && !is_over && strcmp(d->act, "list") != 0) {
            show_progress(d);
            keep_pace(d);
        }
    }
    return code;
}

int dlq_work_off(struct dlq *d, bool is_dry)
{
    int code = 0;
    d->begun_ns = clock_mono(&clock_real);
    d->matched = d->done = d->busy = d->gone = d->seen = 0;
    for (size_t i = 0; i < d->queue_count && !code; i++)
        code = work_off(d, d->queues[i], is_dry);
    if (strcmp(d->act, "list") != 0)
        end_progress(d);
    return code;
}
