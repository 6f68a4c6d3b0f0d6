/* base/id.h: UUIDs: version 7 (RFC 9562) for events, made without a system call each. */
#pragma once
#include <stdbool.h>
#include <weir/plugin.h>

/* Any thread; ids of one thread rise. */
void id_make(weir_id *id, int64_t wall_ns);
enum { ID_TEXT_BYTES = 37 };
void id_format(const weir_id *id, char text[ID_TEXT_BYTES]); /* lower case, NUL at the end */
bool id_parse(weir_str text, weir_id *id);
uint64_t id_random(void); /* 64 random bits, any thread; not for keys */
