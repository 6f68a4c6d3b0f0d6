/* http/headers.h: what a request's headers say: its type, its trace, its id. */
#pragma once
#include <weir/http_server.h>

enum { TRACEPARENT_LEN = 55 };

struct headers { /* those that matter here */
    weir_str content_type, traceparent, request_id, encoding;
};

struct headers headers_read(const weir_http_call *call);
bool headers_is_json(weir_str type);
bool headers_is_traceparent(weir_str text);
bool headers_is_request_id(weir_str text);
void headers_continue_trace(char to[TRACEPARENT_LEN], const char from[TRACEPARENT_LEN],
                            const weir_id *id);
