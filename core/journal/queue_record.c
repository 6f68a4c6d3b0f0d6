/* journal/queue_record.c: how messages, notes and figures of a queue lie on disk. */
#include <string.h>

#include "base/mem.h"
#include "journal/queue_state.h"

enum { FORMAT = 1 };

static char *put_figure(char *at, uint64_t n, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (char)(unsigned char)(n >> (8 * i));
    return at + bytes;
}

static uint64_t get_figure(const char *at, size_t bytes)
{
    uint64_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n |= (uint64_t)(unsigned char)at[i] << (8 * i);
    return n;
}

static weir_str cut(weir_str s)
{
    return (weir_str){s.ptr, s.len < 255 ? s.len : 255};
}

/* format u8, flags u8, lengths 3 u8, receives u24, sent i64, due i64, then the three texts. */
size_t queue_record_encode(const struct message_header *h, char out[MESSAGE_HEADER_MAX])
{
    const weir_str texts[] = {cut(h->group), cut(h->dedup), cut(h->from_queue)};
    char *at = put_figure(put_figure(out, FORMAT, 1), h->flags, 1);
    for (size_t i = 0; i < 3; i++)
        at = put_figure(at, texts[i].len, 1);
    at = put_figure(at, h->receives < 0xffffff ? h->receives : 0xffffff, 3);
    at = put_figure(at, (uint64_t)h->sent_ns, 8);
    at = put_figure(at, (uint64_t)h->due_ns, 8);
    for (size_t i = 0; i < 3; i++) {
        if (texts[i].len)
            memcpy(at, texts[i].ptr, texts[i].len);
        at += texts[i].len;
    }
    return (size_t)(at - out);
}

bool queue_record_decode(weir_str record, struct message_header *h, weir_str *body)
{
    *h = (struct message_header){0};
    *body = record;
    if (record.len < MESSAGE_HEADER_BYTES || record.ptr[0] != FORMAT)
        return false;
    const char *at = record.ptr + MESSAGE_HEADER_BYTES;
    size_t lengths[3], total = MESSAGE_HEADER_BYTES;
    for (size_t i = 0; i < 3; i++)
        total += lengths[i] = (unsigned char)record.ptr[2 + i];
    if (record.len < total)
        return false;
    h->flags = (uint32_t)get_figure(record.ptr + 1, 1);
    h->receives = (uint32_t)get_figure(record.ptr + 5, 3);
    h->sent_ns = (int64_t)get_figure(record.ptr + 8, 8);
    h->due_ns = (int64_t)get_figure(record.ptr + 16, 8);
    h->group = (weir_str){at, lengths[0]};
    h->dedup = (weir_str){at + lengths[0], lengths[1]};
    h->from_queue = (weir_str){at + lengths[0] + lengths[1], lengths[2]};
    *body = (weir_str){record.ptr + total, record.len - total};
    return true;
}

void queue_record_add(struct buf *b, uint64_t n, size_t bytes)
{
    b->len = (size_t)(put_figure(buf_room(b, bytes), n, bytes) - b->ptr);
}

void queue_record_add_str(struct buf *b, weir_str s)
{
    queue_record_add(b, cut(s).len, 1);
    if (s.len)
        buf_add_str(b, cut(s));
}

uint64_t queue_record_take(struct note_reader *r, size_t bytes)
{
    if ((size_t)(r->end - r->at) < bytes) {
        r->at = r->end;
        r->is_short = true;
        return 0;
    }
    r->at += bytes;
    return get_figure(r->at - bytes, bytes);
}

weir_str queue_record_take_str(struct note_reader *r)
{
    size_t n = queue_record_take(r, 1);
    if ((size_t)(r->end - r->at) < n) {
        r->is_short = true;
        n = 0;
    }
    r->at += n;
    return (weir_str){r->at - n, n};
}
