/* admin/dead_letters.c: dead letters, page by page on a worker, so that the stages hear of them. */
#include "admin/calls.h"
#include "base/mem.h"
#include "pipeline/control.h"
#include "pipeline/letters.h"

struct lettering {
    struct loop_task task; /* first: there, then home */
    struct admin *admin;
    struct http_request *request;
    struct arena arena;
    struct letters_query query;
    struct letters_page page;
    weir_status status;
    struct error error;
    uint64_t left, moved, stuck; /* all pages of POST /queues/{name}/redrive */
    bool is_whole;
};

static void lettering_free(struct lettering *l)
{
    letters_page_fini(&l->page);
    arena_fini(&l->arena);
    mem_free(l);
}

static void letters_go(struct lettering *l);

/* The whole queue, page after page. */
static bool letters_go_on(struct lettering *l)
{
    l->moved += l->page.done;
    l->stuck += l->page.gone + l->page.busy;
    bool is_short = l->page.next <= l->query.from; /* of memory: the rest stays where it is */
    l->query.from = l->page.next;
    l->query.until = l->page.until;
    if (l->query.max)
        l->query.max -= l->page.matched;
    if (l->page.is_over || is_short || (l->left && !l->query.max))
        return false;
    letters_page_fini(&l->page);
    l->page = (struct letters_page){0};
    letters_go(l);
    return true;
}

static void letters_home(struct loop_task *t)
{
    struct lettering *l = t->user;
    struct buf text = {0};
    if (l->error.code == EXIT_USAGE_ERROR) {
        http_problem(l->request, 400, l->error.text, 0);
    } else if (l->error.code) {
        reply_failed(l->request, &l->error);
    } else if (l->status != WEIR_OK) {
        http_problem(l->request, 503, "the journal cannot be written", 1);
    } else if (l->is_whole) {
        if (letters_go_on(l))
            return;
        buf_print(&text, "{\"moved\":%llu,\"left\":%llu}\n", (unsigned long long)l->moved,
                  (unsigned long long)l->stuck);
        reply(l->request, 200, NULL, &text);
    } else {
        letters_page_print(&l->page, &text);
        reply(l->request, 200, NULL, &text);
    }
    lettering_free(l);
}

static void letters_done(void *user, weir_status s)
{
    struct lettering *l = user;
    l->status = s;
    l->task = (struct loop_task){.fn = letters_home, .user = l};
    loop_post(l->admin->loop, &l->task);
}

static void letters_there(struct loop_task *t)
{
    struct lettering *l = t->user;
    l->query.pipeline = l->admin->pipeline;
    l->query.journal = l->query.pipeline->journal;
    if (letters_page(&l->query, &l->page, letters_done, l, &l->error) < 0)
        letters_done(l, WEIR_OK);
}

static void letters_go(struct lettering *l)
{
    l->task = (struct loop_task){.fn = letters_there, .user = l};
    loop_post(l->admin->pipeline->workers[0]->loop, &l->task);
}

static struct lettering *lettering_new(struct admin *a, struct http_request *r)
{
    struct lettering *l = MEM_NEW(struct lettering);
    arena_init(&l->arena);
    l->admin = a;
    l->request = r;
    return l;
}

/* A page of them: listed, shown, sent back or removed, as the body says. */
void dead_letters_page(struct admin *a, struct http_request *r)
{
    struct lettering *l = lettering_new(a, r);
    struct error e = {0};
    weir_str body = {r->call.body->ptr, r->call.body->len};
    if (letters_query_read(body, &l->query, &l->arena, &e) < 0) {
        http_problem(r, 400, e.text, 0);
        lettering_free(l);
        return;
    }
    bool is_change = l->query.act == LETTERS_REDRIVE || l->query.act == LETTERS_PURGE;
    if (is_change && !l->query.is_dry && !reply_is_allowed(r)) {
        lettering_free(l);
        return;
    }
    letters_go(l);
}

void dead_letters_queues(struct admin *a, struct http_request *r)
{
    struct buf text = {0};
    letters_queues(a->pipeline->journal, &text);
    reply(r, 200, NULL, &text);
}

static void move(struct admin *a, struct http_request *r, const char *from, const char *to)
{
    struct redrive d = {.from = from, .to = to, .max = reply_query_number(r, "max", 0)};
    struct error e = {0};
    struct buf text = {0};
    if (control_redrive(a->pipeline->journal, &d, &e) < 0) {
        reply_failed(r, &e);
        return;
    }
    buf_print(&text, "{\"moved\":%llu,\"left\":0}\n", (unsigned long long)d.moved);
    reply(r, 200, NULL, &text);
}

void dead_letters_redrive(struct admin *a, struct http_request *r)
{
    char from[128], to[128];
    if (!reply_is_allowed(r))
        return;
    reply_name(r, from, sizeof from);
    reply_query(r, "to", to, sizeof to);
    if (*to) {
        move(a, r, from, to);
        return;
    }
    struct lettering *l = lettering_new(a, r);
    l->is_whole = true;
    l->query.act = LETTERS_REDRIVE;
    l->query.queue = arena_text(&l->arena, from);
    l->query.max = l->left = reply_query_number(r, "max", 0);
    letters_go(l);
}
