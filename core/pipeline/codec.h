/* pipeline/codec.h: an event as bytes: what streams and queues hold. Version 1, little endian:
 * u8 version, u8 flags (1: the body was checked as JSON), u16 attributes, u32 source, type, key lengths,
 * i64 time, 16 bytes id, 25 bytes trace, then the texts, per attribute u32 key and value lengths and
 * the texts, then the body. */
#pragma once
#include <sys/uio.h>

#include "base/buf.h"
#include "pipeline/event.h"

void codec_write(const weir_event *ev, struct buf *out); /* all but the body, appended */
struct iovec codec_body(const weir_event *ev);
/* The body is copied into the budget. NULL: REJECT (not an event) or RETRY (no memory) in *s. */
struct event *codec_read(weir_str bytes, struct block *b, struct budget *budget, weir_status *s);
