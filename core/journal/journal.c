/* journal/journal.c: opening and closing, the lock file, health and counters. */
#include "journal/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "journal/internal.h"

static const uint64_t bytes_max_usual = 10ULL << 30;

static void init_locks(struct journal *j)
{
    pthread_mutexattr_t again;
    (void)pthread_mutexattr_init(&again);
    (void)pthread_mutexattr_settype(&again, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(&j->lock, &again); /* kinds may ask their stream while it is held */
    (void)pthread_mutex_init(&j->listen_lock, &again);
    (void)pthread_mutex_init(&j->pool_lock, NULL);
    (void)pthread_mutex_init(&j->load_lock, NULL);
    (void)pthread_mutex_init(&j->commit_lock, NULL);
    (void)pthread_mutexattr_destroy(&again);
    pthread_condattr_t steady;
    (void)pthread_condattr_init(&steady);
    (void)pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&j->wanted, &steady);
    (void)pthread_condattr_destroy(&steady);
}

static struct journal *journal_new(const struct journal_options *o)
{
    struct journal *j = MEM_NEW(struct journal);
    j->path = mem_text(o->path);
    j->clock = o->clock ? o->clock : &clock_real;
    j->disk = o->disk ? o->disk : &disk_real;
    j->kinds = o->kinds;
    j->durability = o->durability;
    j->sync_every_ns = o->sync_every_ns;
    j->pending_end = &j->pending;
    j->bytes_max = o->bytes_max ? o->bytes_max : bytes_max_usual;
    j->slot_bytes = (uint32_t)(o->slot_bytes > 1U << 30 ? 1U << 30 : o->slot_bytes);
    j->slot_bytes = (j->slot_bytes + FORMAT_HEADER_BYTES - 1) & ~(FORMAT_HEADER_BYTES - 1U);
    if (j->slot_bytes && j->slot_bytes < 4 * FORMAT_HEADER_BYTES)
        j->slot_bytes = 4 * FORMAT_HEADER_BYTES;
    j->is_reader = o->is_reader;
    j->is_dir_dirty = true; /* names may be left by a process that died before it synced them */
    j->lock_fd = j->checks[0].fd = j->checks[1].fd = -1;
    unit_list_init(&j->queue);
    unit_list_init(&j->taken);
    unit_list_init(&j->kept);
    unit_list_init(&j->group.units);
    init_locks(j);
    return j;
}

static void free_slots(struct journal *j)
{
    while (j->slots) {
        struct slot *slot = j->slots;
        j->slots = slot->next;
        j->disk->close(j->disk, slot->fd);
        mem_free(slot);
    }
}

static void free_state(struct journal *j)
{
    for (uint32_t i = 0; i < j->stream_count; i++)
        stream_free(j->streams[i]);
    for (uint32_t i = 0; i < j->segment_count; i++) {
        struct slot *slot = j->segments[i]->slot;
        if (slot)
            j->disk->close(j->disk, slot->fd);
        mem_free(slot);
        mem_free(j->segments[i]);
    }
    for (uint32_t i = 0; i < j->counter_count; i++) {
        if (j->counters[i])
            mem_free(j->counters[i]->name);
        mem_free(j->counters[i]);
    }
    mem_free(j->streams);
    mem_free(j->segments);
    mem_free(j->counters);
}

static void free_units(struct journal *j)
{
    while (j->group_pool) {
        struct group *g = j->group_pool;
        j->group_pool = g->next;
        mem_free(g->parts);
        buf_fini(&g->head);
        mem_free(g);
    }
    j->pool_bytes = SIZE_MAX / 2; /* nothing more is kept */
    while (j->pending) {          /* never found a place */
        struct group *g = j->pending;
        j->pending = g->next;
        unit_release(j, g->units.first);
        mem_free(g->parts);
        buf_fini(&g->head);
        mem_free(g);
    }
    unit_release(j, j->kept.first);
    struct journal_unit *pool = j->pool;
    j->pool = NULL;
    unit_release(j, pool);
    mem_free(j->group.parts);
    buf_fini(&j->group.head);
}

static void journal_free(struct journal *j)
{
    free_slots(j);
    free_state(j);
    free_units(j);
    for (int i = 0; i < 2; i++)
        if (j->checks[i].fd >= 0)
            j->disk->close(j->disk, j->checks[i].fd);
    if (j->lock_fd >= 0)
        j->disk->close(j->disk, j->lock_fd);
    (void)pthread_cond_destroy(&j->wanted);
    (void)pthread_mutex_destroy(&j->lock);
    (void)pthread_mutex_destroy(&j->listen_lock);
    (void)pthread_mutex_destroy(&j->pool_lock);
    (void)pthread_mutex_destroy(&j->load_lock);
    (void)pthread_mutex_destroy(&j->commit_lock);
    mem_free(j->path);
    mem_free(j);
}

/* Its name is synced at every open: who made it may have died before. */
static int make_dir(struct journal *j, struct error *e)
{
    int result = j->disk->make_dir(j->disk, j->path);
    if (result < 0 && result != -EEXIST)
        return error_sys(e, -result, "journal %s: make the directory", j->path);
    const char *slash = strrchr(j->path, '/');
    char *parent = slash && slash != j->path ? mem_copy(j->path, (size_t)(slash - j->path))
                                             : mem_text(slash ? "/" : ".");
    result = j->disk->sync_dir(j->disk, parent);
    mem_free(parent);
    return result < 0 ? error_sys(e, -result, "journal %s: sync the directory above", j->path) : 0;
}

static int refuse_locked(struct journal *j, struct error *e)
{
    char holder[200] = "";
    int64_t n = j->disk->pread(j->disk, j->lock_fd, holder, sizeof holder - 1, 0);
    holder[n > 0 ? n : 0] = 0;
    holder[strcspn(holder, "\n")] = 0;
    return error_set(e, EXIT_NOT_AVAILABLE,
                     "journal %s: it is in use by %s: stop that process first, or choose another "
                     "data_dir",
                     j->path, holder[0] ? holder : "another process");
}

/* The kernel frees the lock when the process dies; the text is only for the message. */
static int take_lock(struct journal *j, const char *note, struct error *e)
{
    char *path = mem_format("%s/lock", j->path);
    j->lock_fd = j->disk->open(j->disk, path, O_RDWR | O_CREAT);
    mem_free(path);
    if (j->lock_fd < 0)
        return error_sys(e, -j->lock_fd, "journal %s: open the lock file", j->path);
    int result = j->disk->lock(j->disk, j->lock_fd);
    if (result == -EAGAIN)
        return refuse_locked(j, e);
    if (result < 0)
        return error_sys(e, -result, "journal %s: lock", j->path);
    char *text = mem_format("pid %ld%s%s\n", (long)getpid(), note ? ", " : "", note ? note : "");
    (void)j->disk->truncate(j->disk, j->lock_fd, 0);
    (void)disk_write_all(j->disk, j->lock_fd, text, strlen(text), 0);
    mem_free(text);
    return 0;
}

static const char *remedy_of(int sys_errno)
{
    switch (sys_errno) {
    case EMFILE:
    case ENFILE:
        return "allow more open files (ulimit -n, LimitNOFILE=): each file of the journal takes "
               "one";
    case EACCES:
    case EPERM:
        return "give all files of the directory to the user that runs weir (chown -R)";
    default:
        return "it may hold accepted events, so nothing is begun without it";
    }
}

int journal_cannot_open(const struct journal *j, int sys_errno, const char *name, struct error *e)
{
    char reason[128];
    if (e->code)
        return -1;
    (void)error_sys(e, sys_errno, "%s", name); /* for its code */
    (void)snprintf(e->text, sizeof e->text, "journal %s: open %s: %s: %s", j->path, name,
                   error_sys_text(sys_errno, reason, sizeof reason), remedy_of(sys_errno));
    return -1;
}

static int prepare(struct journal *j, const struct journal_options *o, struct error *e)
{
    if (!j->is_reader && (make_dir(j, e) < 0 || take_lock(j, o->lock_note, e) < 0))
        return -1;
    if (recover_run(j, e) < 0)
        return -1;
    if (j->is_reader) {
        j->health.is_failed = true; /* nothing is accepted */
        return 0;
    }
    if (j->slot_count || j->segment_count)
        return 0;
    int result = slot_make(j, slot_default_bytes(j));
    if (result < 0)
        return error_sys(e, -result, "journal %s: make the first slot of %u bytes", j->path,
                         slot_default_bytes(j));
    return 0;
}

struct journal *journal_open(const struct journal_options *o, struct error *e)
{
    struct journal *j = journal_new(o);
    if (prepare(j, o, e) == 0)
        return j;
    journal_free(j);
    return NULL;
}

int journal_start_thread(struct journal *j, struct error *e)
{
    j->has_thread = true;
    int result = pthread_create(&j->thread, NULL, commit_thread, j);
    if (result == 0)
        return 0;
    j->has_thread = false;
    return error_sys(e, result, "journal %s: start its thread", j->path);
}

/* After the last group, so that the next open knows that nothing follows and goes on there. */
static void write_end(struct journal *j)
{
    if (!j->active || segment_room(j->active, j->active->end) == 0)
        return;
    struct buf b = {0};
    struct record *r = (struct record *)(void *)unit_record(&b, RECORD_END, 0, 0);
    record_stamp(j->active->place, r, j->active->end);
    int fd = j->active->slot->fd;
    if (disk_write_all(j->disk, fd, r, sizeof *r, j->active->end) == 0)
        (void)j->disk->sync(j->disk, fd);
    buf_fini(&b);
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    if (j->has_thread) {
        journal_lock(j);
        j->is_stopping = true;
        (void)pthread_cond_signal(&j->wanted);
        journal_unlock(j);
        (void)pthread_join(j->thread, NULL);
    }
    commit_enter(j);
    while (commit_run(j)) {
    }
    (void)pending_settle(j);
    compact_drop(j);
    if (j->pending) /* the log stays as it is: their first place may still have them */
        log_write(WEIR_ERROR, NULL,
                  "journal %s: closed before %llu bytes that were answered were synced", j->path,
                  (unsigned long long)j->unsynced_bytes);
    if (!j->pending && !j->health.is_failed && (j->bytes_since_check || j->undeclared)) {
        write_end(j);
        (void)checkpoint_write(j, true);
    }
    commit_leave(j);
    journal_free(j);
}

void journal_health(const struct journal *j, struct journal_health *h)
{
    journal_lock(j);
    *h = j->health;
    h->bytes_max = j->bytes_max;
    h->segments = j->segment_count;
    h->unsynced_bytes = j->unsynced_bytes;
    h->bytes_used = 0;
    for (uint32_t i = 0; i < j->segment_count; i++)
        h->bytes_used += j->segments[i]->slot ? j->segments[i]->slot->bytes : 0;
    journal_unlock(j);
}

const struct clock *journal_clock(const struct journal *j)
{
    return j->clock;
}

bool journal_has_room(const struct journal *j, size_t bytes)
{
    journal_lock(j);
    bool has_room = !j->health.is_full && !j->health.is_failed && bytes <= FORMAT_RECORD_MAX;
    journal_unlock(j);
    return has_room;
}

uint32_t journal_counter(struct journal *j, const char *name)
{
    journal_lock(j);
    uint32_t id = 0;
    while (id < j->counter_count && (!j->counters[id] || strcmp(j->counters[id]->name, name) != 0))
        id++;
    if (id == j->counter_count) {
        (void)counter_by_id(j, id, weir_text(name));
        j->undeclared++;
    }
    journal_unlock(j);
    return id;
}

int64_t journal_counter_value(struct journal *j, uint32_t counter)
{
    journal_lock(j);
    int64_t value =
        counter < j->counter_count && j->counters[counter] ? j->counters[counter]->value : 0;
    journal_unlock(j);
    return value;
}

void journal_snapshot(struct journal *j, const struct journal_figures *fn, void *user)
{
    journal_lock(j);
    for (uint32_t i = 0; i < j->counter_count; i++)
        if (j->counters[i])
            fn->counter(user, j->counters[i]->name, j->counters[i]->value);
    for (uint32_t i = 0; i < j->stream_count; i++)
        if (j->streams[i])
            fn->stream(user, j->streams[i]->name, j->streams[i]->next, j->streams[i]->live);
    journal_unlock(j);
}

void journal_counter_each(struct journal *j,
                          void (*fn)(void *user, const char *name, int64_t value), void *user)
{
    for (uint32_t i = 0;; i++) {
        journal_lock(j);
        const struct counter *c = i < j->counter_count ? j->counters[i] : NULL;
        bool is_end = i >= j->counter_count;
        int64_t value = c ? c->value : 0;
        journal_unlock(j);
        if (is_end)
            return;
        if (c)
            fn(user, c->name, value);
    }
}
