/* net/retry_after.h: how long an answer asks to wait. */
#pragma once
#include <weir/plugin.h>

/* Of the header Retry-After, seconds or a date in any of HTTP's three forms (RFC 9110, 10.2.3); names are
 * in lower case. 0: there is none, it says nothing sensible, or it is over. */
int64_t retry_after_ns(weir_pairs headers, int64_t wall_now_ns);
