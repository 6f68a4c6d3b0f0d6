/* cli/rules.c: weir rules: event patterns without a running pipeline. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "match/match.h"
#include "json/json.h"

/* An event and a pattern at their largest, every byte of both escaped. */
enum { LINE_BYTES_MAX = 16 << 20 };

/* Of a pattern's text: people read lines and columns. */
static void add_place(struct buf *out, weir_str text, size_t at)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at && i < text.len; i++) {
        bool is_end = text.ptr[i] == '\n';
        line += is_end;
        column = is_end ? 1 : column + 1;
    }
    buf_print(out, " (pattern line %zu, column %zu)", line, column);
}

static void answer_error(const char *what, weir_str pattern, const struct match_error *e)
{
    struct buf text = {0}, out = {0};
    buf_add_text(&text, what);
    if (e) {
        buf_add_text(&text, e->reason);
        add_place(&text, pattern, e->at);
    }
    buf_add_text(&out, "{\"error\": ");
    json_quote(&out, buf_str(&text));
    buf_add_text(&out, "}\n");
    (void)fwrite(out.ptr, 1, out.len, stdout);
    buf_fini(&text);
    buf_fini(&out);
}

/* A JSON value, or a string that holds one. */
static weir_str text_of(weir_str value, struct arena *a)
{
    return json_kind(value) == WEIR_JSON_TEXT ? json_unquote(value, a) : value;
}

static void match_pair(weir_str pattern, weir_str event)
{
    struct match_error e = {0};
    struct match_set *set = match_set_new(NULL);
    if (match_add(set, pattern, &e) != WEIR_OK) {
        answer_error("Event pattern is not valid. Reason: ", pattern, &e);
        match_set_free(set);
        return;
    }
    match_seal(set);
    struct match_ctx *ctx = match_ctx_new(set);
    const uint32_t *hits = NULL;
    size_t count = match_json(ctx, event, 0, &hits);
    if (count == SIZE_MAX)
        answer_error("Parameter Event is not valid. Reason: it is not JSON", pattern, NULL);
    else if (json_kind(json_trim(event)) != WEIR_JSON_OBJECT)
        answer_error("Parameter Event is not valid. Reason: it is not an object", pattern, NULL);
    else
        (void)printf("{\"match\": %s}\n", count ? "true" : "false");
    match_ctx_free(ctx);
    match_set_free(set);
}

static void match_line(weir_str line, struct arena *a)
{
    size_t at = 0;
    const char *why = NULL;
    if (json_check(line, &at, &why) != WEIR_OK) {
        struct buf text = {0};
        buf_print(&text, "the line is not JSON: %s, at byte %zu", why, at);
        answer_error(buf_text(&text), line, NULL);
        buf_fini(&text);
        return;
    }
    line = json_trim(line);
    weir_str pattern = {0}, event = {0};
    if (json_kind(line) == WEIR_JSON_OBJECT)
        pattern = json_find(line, "pattern"), event = json_find(line, "event");
    if (!pattern.ptr || !event.ptr) {
        answer_error("expected an object with \"pattern\" and \"event\"", line, NULL);
        return;
    }
    match_pair(text_of(pattern, a), text_of(event, a));
}

enum line { LINE_END, LINE_READ, LINE_TOO_LONG };

static enum line read_line(struct buf *out)
{
    int c;
    bool is_long = false;
    out->len = 0;
    while ((c = getc_unlocked(stdin)) != EOF && c != '\n') { /* NOLINT(concurrency-mt-unsafe) */
        is_long |= out->len >= LINE_BYTES_MAX;
        if (!is_long)
            buf_add_char(out, (char)c);
    }
    if (c == EOF && !out->len)
        return LINE_END;
    return is_long ? LINE_TOO_LONG : LINE_READ;
}

/* Whoever writes one line and waits for its answer gets it: what is read ahead is nobody's business. */
static int run_match(void)
{
    struct buf line = {0};
    struct arena arena;
    enum line got;
    arena_init(&arena);
    while ((got = read_line(&line)) != LINE_END) {
        if (got == LINE_TOO_LONG)
            answer_error("the line is longer than 16 MiB", (weir_str){0}, NULL);
        else
            match_line(buf_str(&line), &arena);
        arena_reset(&arena);
        if (fflush(stdout) != 0)
            break;
    }
    arena_fini(&arena);
    buf_fini(&line);
    return ferror(stdout) || ferror(stdin) ? EXIT_IO : EXIT_OK;
}

static int run(void *options, int argc, char **argv)
{
    if (strcmp(argv[0], "match") == 0 && argc == 1)
        return run_match();
    return cli_usage_error(&command_rules, "%s: expected match", argv[0]);
}

const struct cli_command command_rules = {
    .name = "rules",
    .usage = "match",
    .summary = "try event patterns",
    .details = "match   reads one JSON object a line from standard input, {\"pattern\": ..., "
               "\"event\": ...},\n"
               "        both JSON or strings that hold JSON, and answers each with a line:\n"
               "        {\"match\": true}, {\"match\": false} or {\"error\": \"...\"}\n"
               "\n"
               "  echo '{\"pattern\": {\"a\": [{\"prefix\": \"x\"}]}, \"event\": {\"a\": "
               "\"xyz\"}}' | weir rules match",
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
