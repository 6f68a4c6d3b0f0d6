/* pipeline/service_window.c: weir.window/1: keys that came within a window of time. */
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "pipeline/claim.h"
#include "pipeline/commit.h"
#include "pipeline/services.h"

struct weir_window {
    struct weir_window *next;
    struct keys *keys;
    struct claim_table *table;
};

void service_window_free(struct pipeline *p)
{
    while (p->windows) {
        struct weir_window *w = p->windows;
        p->windows = w->next;
        claim_table_free(w->table);
        mem_free(w);
    }
}

/* Of stages before and after a reload it is the same. */
static struct weir_window *window_of(struct pipeline *p, struct keys *keys)
{
    (void)pthread_mutex_lock(&p->lock);
    struct weir_window *w = p->windows;
    while (w && w->keys != keys)
        w = w->next;
    if (!w) {
        w = MEM_NEW(struct weir_window);
        *w = (struct weir_window){p->windows, keys, claim_table_new(keys, &p->budget)};
        p->windows = w;
    }
    (void)pthread_mutex_unlock(&p->lock);
    return w;
}

static weir_status open_window(const weir_windows *s, const char *name,
                               const weir_window_settings *settings, weir_window **window)
{
    struct lane *l = service_lane("weir.window/1");
    struct error e = {0};
    char *path = mem_format("%s/%s", l->stage->name, name);
    uint64_t max = settings->keys_max < KEYS_MAX ? settings->keys_max : KEYS_MAX;
    struct keys *keys =
        keys_open(l->stage->pipeline->journal, path, settings->keep.ns, (uint32_t)max, &e);
    mem_free(path);
    if (!keys)
        return l->host.fail(&l->host, WEIR_E_CONFIG, 0, "%s", e.text);
    *window = window_of(l->stage->pipeline, keys);
    return WEIR_OK;
}

static weir_status claim(const weir_windows *s, weir_window *w, weir_str key, weir_str content,
                         weir_window_found *found)
{
    struct keys_entry wanted = {.content = hash_bytes(content.ptr, content.len, 13)}, other = {0};
    struct lane *l = service_lane("weir.window/1");
    keys_hash(key, wanted.hash);
    wanted.time_ns = l->host.now(&l->host);
    weir_status status = claim_new(w->table, &wanted, &found->claim, &other);
    if (status == WEIR_PENDING && l->ev && l->ev->slot &&
        claim_is_own(l->ev->slot, w->table, &wanted))
        status = WEIR_DROP;
    if (status == WEIR_PENDING && l->stage->role == ROLE_TRANSFORM) {
        l->is_waiting = true;
        (void)snprintf(l->why, sizeof l->why, "another event with this key is still under way");
    }
    memcpy(found->id.bytes, other.id, sizeof found->id.bytes);
    found->is_same = status != WEIR_OK && other.content == wanted.content;
    return status;
}

/* What has no slot is nobody's to bring again: its key rides along with this round's unit. */
static void attach(const weir_windows *s, weir_claim *take, const weir_event *pub)
{
    struct lane *l = service_lane("weir.window/1");
    struct event *ev = event_of(pub);
    claim_set_id(take, &pub->id);
    if (l->stage->role == ROLE_SOURCE) {
        take->next = ev->claims;
        ev->claims = take;
    } else if (ev->slot) {
        claim_attach(take, ev->slot);
    } else {
        claim_keep_with(take, commit_unit(l->worker));
    }
}

static void release(const weir_windows *s, weir_claim *take)
{
    claim_release(take);
}

static uint64_t count(const weir_windows *s, const weir_window *w)
{
    return keys_count(w->keys);
}

void service_window_init(struct service_tables *t)
{
    t->window = (weir_windows){WEIR_OFFER(WEIR_WINDOW), open_window, claim, attach, release, count};
}
