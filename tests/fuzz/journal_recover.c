/* tests/fuzz/journal_recover.c: any bytes as the files of a journal: it opens, and what it reads is
 * what was written.
 *
 * A journal of known records is damaged as the input says: 8 bytes each of file, offset, length and
 * what to write there; checksums are made good again where the input asks for it. */
#include <stdint.h>

#include "../unit/journal_disk.h"
#include "base/hash.h"
#include "base/log.h"
#include "journal/internal.h"
#include "journal/journal.h"

/* NOLINTBEGIN(readability-identifier-naming): the name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECORDS = 200, SLOT = 16384 };

static struct sim original;

static struct journal *open_at(struct sim *sim)
{
    struct error e = {0};
    struct journal_options o = {.path = "/j", .slot_bytes = SLOT, .disk = &sim->disk};
    return journal_open(&o, &e);
}

static void make_original(void)
{
    log_setup((struct log_settings){.level = (weir_level)(WEIR_ERROR + 1)});
    sim_init(&original, 1);
    struct journal *j = open_at(&original);
    if (!j)
        abort();
    struct stream *s = stream_open(j, "a", 0, NULL);
    for (uint32_t i = 0; i < RECORDS; i++) {
        struct journal_unit *u = journal_begin(j);
        uint64_t words[12] = {i, i * 3ULL};
        struct iovec part = {words, sizeof words};
        unit_put(u, &s, 1, &part, 1);
        unit_count(u, journal_counter(j, "sum"), 1);
        if (i > 20)
            unit_ack(u, s, i - 20, i % 3);
        (void)journal_submit_wait(u);
        journal_tick(j);
    }
    original.is_dead = true;
    journal_close(j);
    sim_process_death(&original);
}

/* With good checksums: so the bounds behind them are tried as well. */
static void seal_file(struct sim_file *f)
{
    struct check_header *h = (struct check_header *)(void *)f->now;
    if (f->size >= sizeof *h && strstr(f->name, "check") && h->bytes <= f->size - sizeof *h) {
        h->body_crc = hash_crc32c(0, f->now + sizeof *h, h->bytes);
        check_header_seal(h);
    }
    if (f->size >= sizeof(struct segment_header) && strstr(f->name, "slot"))
        segment_header_seal((struct segment_header *)(void *)f->now);
}

static bool damage(struct sim *sim, const uint8_t *data, size_t size)
{
    bool is_forged = false;
    for (; size >= 8; data += 8, size -= 8) {
        struct sim_file *f = &sim->files[data[0] % 16];
        uint32_t at = (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
        if (!f->name || f->size < 64)
            continue;
        for (uint32_t i = 0; i < 1U + data[4] % 64; i++)
            f->now[(at + i) % f->size] = (char)(data[5] + i * data[6]);
        if (data[7] & 1)
            seal_file(f);
        is_forged |= data[7] & 1;
    }
    return is_forged;
}

static void read_all(struct journal *j, bool is_forged)
{
    struct stream *s = stream_find(j, "a");
    struct reader *r = s ? reader_new(s, 0) : NULL;
    weir_str got;
    uint64_t sequence;
    for (uint32_t i = 0; r && i < 4 * RECORDS && reader_next(r, &got, &sequence) == WEIR_OK; i++) {
        uint64_t words[2] = {0, 0};
        memcpy(words, got.ptr, got.len < sizeof words ? got.len : sizeof words);
        bool is_right = words[0] == sequence && words[1] == 3 * sequence;
        if (!is_right && !is_forged)
            abort();
    }
    reader_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sim sim;
    if (!original.disk.open)
        make_original();
    sim_copy(&sim, &original);
    bool is_forged = damage(&sim, data, size < 512 ? size : 512);
    struct journal *j = open_at(&sim);
    if (!j && !is_forged) /* a header of another version, well sealed, may be refused */
        abort();
    if (j) {
        read_all(j, is_forged);
        journal_close(j);
        j = open_at(&sim); /* what it wrote is sound */
        if (!j)
            abort();
        read_all(j, is_forged);
        journal_close(j);
    }
    sim_fini(&sim);
    return 0;
}
/* NOLINTEND(readability-identifier-naming) */
