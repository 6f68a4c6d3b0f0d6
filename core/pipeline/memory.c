/* pipeline/memory.c: how a pipeline keeps within its memory.
 *
 * What is charged is not all that the process has: the allocator keeps pages of what was freed, and what
 * lies between. Ten times a second that is measured. What was in use a moment ago will be again, so only
 * what goes beyond the last second's peak is a loss: the allocator is told to give back what it can, and
 * what it still holds counts against the budget. */
#include "pipeline/memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "pipeline/inlet.h"

#define MS        INT64_C(1000000)
#define LOOK_NS   (100 * MS)
#define TRIM_NS   (1000 * MS)
#define FUTILE_NS (10000 * MS) /* after a trim that gave nothing */
#define IDLE_NS   (5000 * MS)

enum {
    BUFFERS_PART = 4, /* of the budget, of all buffers in memory, */
    DISK_PART = 16,   /* and of all stages whose events are on disk as well */
    SHARE_MAX = 16 << 20,
    USUAL_BYTES = 8 << 20, /* that are not charged, and so many a worker */
    USUAL_WORKER_BYTES = 1 << 20,
    WORTH_BYTES = 1 << 20, /* of a trim */
};

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define IS_SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0 /* their own memory would be taken for ours */
#endif

void memory_init(struct pipeline *p)
{
    uint64_t limit = p->plan->settings.memory.bytes;
    p->budget.limit_bytes = limit;
    p->inflow = (struct budget){.limit_bytes = limit / 2, .whole = &p->budget};
    p->backlog = (struct budget){.limit_bytes = limit - limit / 4, .whole = &p->budget};
    p->memory.statm = IS_SANITIZED ? -1 : open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    atomic_store(&p->memory.share_bytes, limit / DISK_PART / 2);
    atomic_store(&p->memory.buffer_bytes, limit / BUFFERS_PART);
}

void memory_fini(struct pipeline *p)
{
    if (p->memory.statm >= 0)
        (void)close(p->memory.statm);
    p->memory.statm = -1;
}

void memory_share_out(struct pipeline *p)
{
    uint64_t readers = 0, buffers = 0, limit = p->budget.limit_bytes;
    for (size_t i = 0; i < p->stage_count; i++) {
        const struct stage *s = p->stages[i];
        readers += s->inlet != NULL;
        buffers += s->inlet && s->role == ROLE_SINK && !inlet_is_durable(s->inlet);
    }
    uint64_t share = limit / (DISK_PART * (readers > 2 ? readers : 2));
    atomic_store(&p->memory.share_bytes, share < SHARE_MAX ? share : SHARE_MAX);
    atomic_store(&p->memory.buffer_bytes, limit / (BUFFERS_PART * (buffers ? buffers : 1)));
}

/* proc(5): pages of the process, resident, and of these with a file behind them. */
static uint64_t anonymous_bytes(const struct memory *m)
{
    char text[128];
    ssize_t n = m->statm < 0 ? -1 : pread(m->statm, text, sizeof text - 1, 0);
    if (n <= 0)
        return 0;
    text[n] = 0;
    char *at = strchr(text, ' ');
    uint64_t resident = at ? strtoull(at, &at, 10) : 0, files = at ? strtoull(at, &at, 10) : 0;
    return resident > files ? (resident - files) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void memory_start(struct pipeline *p)
{
    uint64_t used = budget_used(&p->budget), now = anonymous_bytes(&p->memory);
    p->memory.base_bytes = now > used ? now - used : 0;
    p->memory.base_bytes += USUAL_BYTES + (uint64_t)p->worker_total * USUAL_WORKER_BYTES;
    memory_share_out(p);
}

static uint64_t take_peak(struct pipeline *p)
{
    uint64_t peak = atomic_exchange_explicit(&p->budget.peak_bytes, budget_used(&p->budget),
                                             memory_order_relaxed);
    if (peak > atomic_load_explicit(&p->memory.peak_bytes, memory_order_relaxed))
        atomic_store_explicit(&p->memory.peak_bytes, peak, memory_order_relaxed);
    return peak;
}

static uint64_t beyond(struct pipeline *p)
{
    const struct memory *m = &p->memory;
    uint64_t known = m->base_bytes, now = anonymous_bytes(m), peak = budget_used(&p->budget);
    for (size_t i = 0; i < MEMORY_LOOKS; i++)
        if (m->peaks[i] > peak)
            peak = m->peaks[i];
    known += peak;
    return now > known ? now - known : 0;
}

static void look_at_allocator(struct pipeline *p, int64_t now)
{
    struct memory *m = &p->memory;
    m->peaks[m->look++ % MEMORY_LOOKS] = take_peak(p);
    uint64_t lost = beyond(p), most = p->budget.limit_bytes / 4;
    if (lost && now >= m->trim_after_ns) {
        (void)malloc_trim(0);
        uint64_t left = beyond(p);
        m->trim_after_ns = now + (left + WORTH_BYTES < lost ? TRIM_NS : FUTILE_NS);
        lost = left;
    }
    atomic_store_explicit(&p->budget.lost_bytes, lost < most ? lost : most, memory_order_relaxed);
}

static void on_trim(struct loop_task *t)
{
    struct worker *w = t->user;
    const struct pipeline *p = w->pipeline;
    atomic_store(&w->is_trim_posted, false);
    worker_trim(w);
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i]->inlet && inlet_worker(p->stages[i]->inlet) == w)
            inlet_give_back(p->stages[i]->inlet);
}

void memory_give_back(struct pipeline *p)
{
    for (size_t i = 0; i < p->worker_total; i++) {
        struct worker *w = p->workers[i];
        if (atomic_exchange(&w->is_trim_posted, true))
            continue;
        w->trim = (struct loop_task){.fn = on_trim, .user = w};
        loop_post(w->loop, &w->trim);
    }
}

/* Nothing has come or gone for a while: what workers keep for reuse is given back, once. */
static void look_at_workers(struct pipeline *p, int64_t now)
{
    struct memory *m = &p->memory;
    uint64_t seen =
        (uint64_t)atomic_load_explicit(&p->ledger[LEDGER_ACCEPTED], memory_order_relaxed);
    seen += (uint64_t)atomic_load_explicit(&p->ledger[LEDGER_DELIVERED], memory_order_relaxed);
    if (seen != m->seen || !m->busy_ns) {
        m->seen = seen;
        m->busy_ns = now;
        m->is_trimmed = false;
        return;
    }
    if (m->is_trimmed || now - m->busy_ns < IDLE_NS)
        return;
    m->is_trimmed = true;
    m->trim_after_ns = now + TRIM_NS; /* when they have */
    memory_give_back(p);
}

void memory_tick(struct pipeline *p)
{
    int64_t now = clock_mono(p->clock);
    if (now - p->memory.looked_ns < LOOK_NS)
        return;
    p->memory.looked_ns = now;
    look_at_allocator(p, now);
    look_at_workers(p, now);
}

static uint64_t status_bytes(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? 1024 * strtoull(at + strlen(name), NULL, 10) : 0;
}

/* proc(5): VmRSS and VmHWM, in kB. */
static void read_status(struct memory_figures *f)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        (void)close(fd);
    if (n <= 0)
        return;
    text[n] = 0;
    f->resident = status_bytes(text, "VmRSS:");
    f->resident_peak = status_bytes(text, "VmHWM:");
}

void memory_figures(struct pipeline *p, struct memory_figures *f)
{
    *f = (struct memory_figures){
        .budget = p->budget.limit_bytes,
        .used = budget_used(&p->budget),
        .lost = atomic_load_explicit(&p->budget.lost_bytes, memory_order_relaxed),
        .refused = atomic_load_explicit(&p->budget.refused, memory_order_relaxed),
    };
    uint64_t before = atomic_load_explicit(&p->memory.peak_bytes, memory_order_relaxed);
    f->peak = atomic_load_explicit(&p->budget.peak_bytes, memory_order_relaxed);
    f->peak = f->peak > before ? f->peak : before;
    read_status(f);
}

void memory_log(struct pipeline *p)
{
    char budget[32], peak[32], resident[32];
    struct memory_figures f;
    memory_figures(p, &f);
    unit_format_size(f.budget, budget, sizeof budget);
    (void)snprintf(peak, sizeof peak, "%.1fMiB", (double)f.peak / (1 << 20));
    (void)snprintf(resident, sizeof resident, "%.1fMiB", (double)f.resident_peak / (1 << 20));
    log_write(WEIR_INFO, NULL, "memory: events took %s of %s at most, the whole process %s", peak,
              budget, resident);
}
