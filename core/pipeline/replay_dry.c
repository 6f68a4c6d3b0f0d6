/* pipeline/replay_dry.c: what a replay would send, by rules: a page of the archive at a time. */
#include <string.h>

#include "base/mem.h"
#include "pipeline/codec.h"
#include "pipeline/replay_priv.h"
#include "pipeline/where.h"
#include "json/json.h"

/* And a record, and 1 KiB, for each rule: they are compiled anew for each page. */
enum { PAGE_RECORDS = 500, PAGE_BYTES = 1 << 20 };

struct counted { /* a rule */
    char *name;  /* "bus.large" */
    uint64_t events;
};

struct dry {
    struct replays *all;
    struct replay *replay;             /* never run: what was asked for */
    struct match_set *rules_set, *set; /* a pattern for each of rules; that of the replay */
    struct match_ctx *rules_ctx, *ctx;
    struct counted *rules;
    size_t rule_count, rule_cap;
    uint64_t looked, events, bytes, unmatched, next;
};

/* A pattern that stands in a block of its own, as an archive's, is no rule: rules stand in a map. */
static bool is_rule(const struct service_rule *rule)
{
    const struct node *block = rule->node ? rule->node->parent : NULL;
    return rule->name.len && !(block && block->parent == rule->stage->node);
}

static bool is_named(const struct replay *r, const char *full, const char *plain)
{
    bool is_named = !r->rule_count;
    for (size_t i = 0; i < r->rule_count; i++)
        is_named |= strcmp(r->rules[i], full) == 0 || strcmp(r->rules[i], plain) == 0;
    return is_named;
}

static bool is_on(const struct dry *d, const char *full, const char *plain)
{
    if (d->all->pipeline)
        return bus_rule_is_on(d->all->pipeline, d->replay->bus, plain);
    return bus_is_switched_on(d->all->journal, full);
}

static void add_rule(struct dry *d, const struct service_rule *rule)
{
    char *full = mem_format("%s.%.*s", rule->stage->name, (int)rule->name.len, rule->name.ptr);
    const char *plain = full + strlen(rule->stage->name) + 1;
    const char *bus = d->replay->bus;
    bool is_meant = (!bus || strcmp(bus, rule->stage->name) == 0) && is_rule(rule) &&
                    is_named(d->replay, full, plain) && is_on(d, full, plain) &&
                    match_add(d->rules_set, rule->pattern, NULL) == WEIR_OK;
    if (is_meant)
        MEM_PUSH(d->rules, d->rule_count, d->rule_cap) = (struct counted){full, 0};
    else
        mem_free(full);
}

static int open_dry(struct dry *d, const struct replay_rules *rules, struct error *e)
{
    struct replay *r = d->replay;
    if (d->all->pipeline && replay_resolve(r, e) < 0)
        return -1;
    d->rules_set = match_set_new(rules->env);
    for (size_t i = 0; i < rules->count; i++)
        add_rule(d, &rules->items[i]);
    match_seal(d->rules_set);
    d->rules_ctx = match_ctx_new(d->rules_set);
    if (r->where && where_compile(weir_text(r->where), rules->env, &d->set, e) < 0)
        return -1;
    d->ctx = d->set ? match_ctx_new(d->set) : NULL;
    return 0;
}

static void close_dry(struct dry *d)
{
    for (size_t i = 0; i < d->rule_count; i++)
        mem_free(d->rules[i].name);
    mem_free(d->rules);
    match_ctx_free(d->rules_ctx);
    match_set_free(d->rules_set);
    match_ctx_free(d->ctx);
    match_set_free(d->set);
    if (d->replay)
        replay_free(d->replay);
}

static size_t hits_of(struct match_ctx *ctx, const struct event *ev, const uint32_t **hits)
{
    size_t n = match_event(ctx, &ev->pub, 0, hits);
    return n == SIZE_MAX ? 0 : n;
}

static void look_at(struct dry *d, struct event *ev, size_t bytes)
{
    const uint32_t *hits;
    if (d->ctx && !hits_of(d->ctx, ev, &hits))
        return;
    replay_set_name(ev, d->replay->name ? d->replay->name : "");
    d->events++;
    d->bytes += bytes;
    size_t n = d->rules ? hits_of(d->rules_ctx, ev, &hits) : 0;
    for (size_t i = 0; i < n; i++)
        d->rules[hits[i]].events++;
    d->unmatched += !n;
}

static void look_at_page(struct dry *d, struct archive *a, uint64_t from)
{
    const struct replay *r = d->replay;
    struct archive_range range;
    struct worker nobody = {0};
    struct budget budget = {.limit_bytes = UINT64_MAX / 2};
    uint64_t sequence = 0;
    size_t read = 0;
    weir_str record;
    replay_find_range(a, r->from_ns, r->to_ns, &range);
    struct reader *reader = reader_new(archive_stream(a), from > range.first ? from : range.first);
    while (reader_next(reader, &record, &sequence) == WEIR_OK && sequence < range.end) {
        int64_t came_ns;
        weir_status s;
        if (d->looked == PAGE_RECORDS + d->rule_count ||
            read > PAGE_BYTES + (d->rule_count << 10)) {
            d->next = sequence;
            break;
        }
        weir_str bytes = archive_payload(record, &came_ns);
        d->looked++;
        read += bytes.len;
        if (came_ns < r->from_ns || came_ns >= r->to_ns)
            continue;
        struct block *block = block_new(&nobody);
        struct event *ev = codec_read(bytes, block, &budget, &s);
        if (ev)
            look_at(d, ev, bytes.len);
        block_unref(block);
    }
    block_pool_trim(&nobody.blocks);
    reader_free(reader);
}

static void print_page(const struct dry *d, struct buf *out)
{
    buf_print(out, "{\"next\":%llu,\"looked\":%llu,\"events\":%llu,\"bytes\":%llu",
              (unsigned long long)d->next, (unsigned long long)d->looked,
              (unsigned long long)d->events, (unsigned long long)d->bytes);
    buf_add_text(out, ",\"rules\":[");
    for (size_t i = 0; i < d->rule_count; i++) {
        buf_add_text(out, i ? ",{\"rule\":" : "{\"rule\":");
        json_quote(out, weir_text(d->rules[i].name));
        buf_print(out, ",\"events\":%llu}", (unsigned long long)d->rules[i].events);
    }
    buf_print(out, "],\"unmatched\":%llu}\n", (unsigned long long)d->unmatched);
}

int replays_dry(struct replays *rs, const struct replay_spec *s, const struct replay_rules *rules,
                uint64_t from, struct buf *out, struct error *e)
{
    if (replay_check(s, e) < 0)
        return -1;
    struct archive *a = replay_archive(rs, s->archive, e);
    if (!a)
        return -1;
    struct dry d = {.all = rs, .replay = replay_new(s)};
    d.replay->all = rs;
    mem_free(d.replay->archive);
    d.replay->archive = mem_text(archive_name(a));
    int failed = open_dry(&d, rules, e);
    if (!failed) {
        look_at_page(&d, a, from);
        print_page(&d, out);
    }
    close_dry(&d);
    return failed;
}
