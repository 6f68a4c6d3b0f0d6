/* cli/rules_match.c: weir rules match: a pattern and an event a line, a verdict a line. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/rules.h"
#include "match/match.h"
#include "json/json.h"

enum {
    LINE_MAX_BYTES = 16 << 20,
    READ_BYTES = 64 << 10,
    STRICT_PATTERN_CHARS = 4096,
    STRICT_EVENT_BYTES = 1 << 20,
};

struct filter {
    const struct rules_options *options;
    struct arena arena; /* of the line in hand */
    struct buf answer;
};

__attribute__((format(printf, 2, 3))) static void refuse(struct filter *f, const char *fmt, ...)
{
    struct buf text = {0};
    va_list args;
    va_start(args, fmt);
    buf_vprint(&text, fmt, args);
    va_end(args);
    f->answer.len = 0;
    buf_add_text(&f->answer, "{\"error\": ");
    json_quote(&f->answer, buf_str(&text));
    buf_add_text(&f->answer, "}\n");
    buf_fini(&text);
}

struct place {
    size_t line, column;
};

/* Columns count code points. */
static struct place place_of(weir_str text, size_t at)
{
    struct place p = {1, 1};
    for (size_t i = 0; i < at && i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c == '\n')
            p.line++, p.column = 1;
        else if ((c & 0xC0) != 0x80)
            p.column++;
    }
    return p;
}

/* The last member of that name, as JSON text: a string is what it holds. ptr NULL: none. */
static weir_str member(struct filter *f, weir_str object, const char *name)
{
    weir_str found = {NULL, 0};
    for (weir_json_each each = {0}; json_next(object, &each);) {
        weir_str quoted = {each.key.ptr - 1, each.key.len + 2};
        if (weir_same(json_unquote(quoted, &f->arena), name))
            found = json_trim(each.value);
    }
    if (found.ptr && json_kind(found) == WEIR_JSON_TEXT)
        found = json_unquote(found, &f->arena);
    return found;
}

static size_t code_points(weir_str text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += ((unsigned char)text.ptr[i] & 0xC0) != 0x80;
    return n;
}

static bool event_is_whole(struct filter *f, weir_str event)
{
    static const char *const names[] = {"id",     "account",   "source",      "time",
                                        "region", "resources", "detail-type", NULL};
    for (size_t i = 0; names[i]; i++)
        if (!member(f, event, names[i]).ptr) {
            refuse(f, "Parameter Event is not valid. Reason: \"%s\" is missing", names[i]);
            return false;
        }
    return true;
}

static bool event_is_good(struct filter *f, weir_str event)
{
    const char *why = NULL;
    size_t at = 0;
    if (json_check(event, &at, &why) != WEIR_OK) {
        struct place p = place_of(event, at);
        refuse(f, "Parameter Event is not valid. Reason: %s (line %zu, column %zu)",
               why ? why : "not JSON", p.line, p.column);
        return false;
    }
    if (json_kind(event) != WEIR_JSON_OBJECT) {
        refuse(f, "Parameter Event is not valid. Reason: the event is not an object");
        return false;
    }
    if (!f->options->strict)
        return true;
    if (event.len > STRICT_EVENT_BYTES) {
        refuse(f, "Parameter Event is not valid. Reason: %zu bytes, at most %d are allowed",
               event.len, STRICT_EVENT_BYTES);
        return false;
    }
    return event_is_whole(f, event);
}

static void try_pattern(struct filter *f, weir_str pattern, weir_str event)
{
    struct match_error e;
    struct match_set *set = match_set_new(NULL);
    if (match_add(set, pattern, &e) != WEIR_OK) {
        struct place p = place_of(pattern, e.at);
        refuse(f, "Event pattern is not valid. Reason: %s (line %zu, column %zu)", e.reason, p.line,
               p.column);
    } else if (f->options->strict && code_points(pattern) > STRICT_PATTERN_CHARS) {
        refuse(f, "Event pattern is not valid. Reason: %zu characters, at most %d are allowed",
               code_points(pattern), STRICT_PATTERN_CHARS);
    } else if (event_is_good(f, event)) {
        const uint32_t *hits;
        match_seal(set);
        struct match_ctx *c = match_ctx_new(set);
        size_t n = match_json(c, event, MATCH_KNOWN_GOOD, &hits);
        f->answer.len = 0;
        buf_print(&f->answer, "{\"match\": %s}\n", n == 1 ? "true" : "false");
        match_ctx_free(c);
    }
    match_set_free(set);
}

static void answer_line(struct filter *f, weir_str line)
{
    const char *why = NULL;
    size_t at = 0;
    if (line.len && line.ptr[line.len - 1] == '\r')
        line.len--;
    if (!json_trim(line).len) {
        refuse(f, "the line is empty: a JSON object with \"pattern\" and \"event\" is expected");
    } else if (json_check(line, &at, &why) != WEIR_OK) {
        refuse(f, "the line is not JSON: %s (column %zu)", why ? why : "bad syntax",
               place_of(line, at).column);
    } else if (json_kind(line) != WEIR_JSON_OBJECT) {
        refuse(f, "the line is no JSON object with \"pattern\" and \"event\"");
    } else {
        weir_str pattern = member(f, line, "pattern"), event = member(f, line, "event");
        if (!pattern.ptr || !event.ptr)
            refuse(f, "the line has no \"%s\"", pattern.ptr ? "event" : "pattern");
        else
            try_pattern(f, pattern, event);
    }
    (void)fwrite(f->answer.ptr, 1, f->answer.len, stdout);
    arena_fini(&f->arena);
    arena_init(&f->arena);
}

/* Answers the whole lines of b and keeps the rest. A line that is too long is answered where it begins to be,
 * and passed over. */
static void answer_lines(struct filter *f, struct buf *b, size_t from, bool *is_skipping)
{
    size_t begin = 0;
    const char *newline;
    while (b->len > from && (newline = memchr(b->ptr + from, '\n', b->len - from))) {
        size_t end = (size_t)(newline - b->ptr);
        if (!*is_skipping)
            answer_line(f, (weir_str){b->ptr + begin, end - begin});
        *is_skipping = false;
        begin = from = end + 1;
    }
    b->len -= begin;
    memmove(b->ptr, b->ptr + begin, b->len);
    if (*is_skipping || b->len <= LINE_MAX_BYTES) {
        b->len = *is_skipping ? 0 : b->len;
        return;
    }
    refuse(f, "the line is longer than %d bytes", LINE_MAX_BYTES);
    (void)fwrite(f->answer.ptr, 1, f->answer.len, stdout);
    *is_skipping = true;
    b->len = 0;
}

int rules_match(const struct rules_options *o, int fd)
{
    struct filter f = {.options = o};
    struct buf lines = {0};
    struct error e = {0};
    bool is_skipping = false;
    ssize_t n;
    int code = EXIT_OK;
    arena_init(&f.arena);
    while ((n = read(fd, buf_room(&lines, READ_BYTES), READ_BYTES)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            (void)error_sys(&e, errno, "read standard input");
            e.code = EXIT_IO;
            code = cli_fail(&e);
            break;
        }
        size_t before = lines.len;
        lines.len += (size_t)n;
        answer_lines(&f, &lines, before, &is_skipping);
        if (fflush(stdout) != 0)
            break; /* nobody reads: what comes next is not asked for */
    }
    if (lines.len && !is_skipping)
        answer_line(&f, buf_str(&lines));
    arena_fini(&f.arena);
    buf_fini(&f.answer);
    buf_fini(&lines);
    return code;
}
