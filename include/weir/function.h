/* weir/function.h: a function in C, called for each event (function ABI 1.0).
 *
 * A function is a shared object with one handler:
 *
 *     static weir_status greet(weir_call *c)
 *     {
 *         weir_str name = c->text(c, c->find(c, c->event, "detail.name"));
 *         if (!name.len)
 *             return c->fail(c, WEIR_E_REJECT, "InvalidUser", "detail.name is missing");
 *         c->write(c, "{");
 *         c->put_text(c, "greeting", name);
 *         c->write(c, "}");
 *         return WEIR_OK;
 *     }
 *     WEIR_FUNCTION(greet);
 *
 *     cc -std=c11 -O2 -fPIC -shared -o greet.so greet.c        (it links nothing of Weir)
 *
 * Threads    A handler is called from several threads at once, so what it keeps in globals is
 *            read-only or guarded. A call belongs to the thread that it was given to.
 * Ownership  All that a call hands out lives until the handler returns. The event is borrowed and
 *            not yours to write.
 * Growth     weir_call only gains members at its end; WEIR_HAS(c, member) asks for a newer one.
 * Isolation  None: a function runs inside the runner, so a crash is the runner's crash and a
 *            handler that never returns is never stopped. With `isolate: thread` nobody waits for it
 *            past its deadline; should it call the host after the runner has gone, that call does
 *            not return. Code that is not trusted belongs in a process of its own (runtime: python,
 *            node or provided). */
#pragma once
#include <weir/json.h>
#include <weir/plugin.h>

#define WEIR_FUNCTION_ABI_MAJOR 1u
#define WEIR_FUNCTION_ABI_MINOR 0u
#ifndef WEIR_FUNCTION_WANT_MINOR /* define it to require a newer host */
#define WEIR_FUNCTION_WANT_MINOR 0u
#endif

typedef struct weir_call weir_call;
struct weir_call { /* host-made: one event to work on */
    size_t size;
    uint32_t abi;
    weir_str event;       /* JSON text: the envelope as EventBridge delivers it, or the body alone,
                             * or an array of them, as the stage's `payload` and `batch` say */
    const char *function; /* the function's name */
    const char *request_id; /* of this call; the event's id, the same when it is tried again */
    int64_t deadline_ns;    /* since 1970; past it the call counts as too late, but goes on */

    int64_t (*remaining_ns)(const weir_call *c); /* until the deadline; negative when past it */
    void (*log)(weir_call *c, const char *fmt, ...)
        WEIR_PRINTF(2, 3);                    /* a line of the function's log */
    void *(*scratch)(weir_call *c, size_t n); /* zeroed, aligned for anything; never fails */
    const char *(*variable)(const weir_call *c,
                            const char *name); /* of `environment`; NULL: not set */

    /* Reading: a value is a span of the event's text, ptr NULL where there is none, and all of them
     * take that NULL. find: "detail.items[0].name". text: without quotes and escapes; of a value that
     * is no string its JSON text; of none, and of null, empty. kind: WEIR_JSON_*. next: the next
     * member or element; `each` starts zeroed. */
    weir_str (*find)(const weir_call *c, weir_str value, const char *path);
    weir_str (*text)(const weir_call *c, weir_str value);
    int (*kind)(const weir_call *c, weir_str value);
    bool (*next)(const weir_call *c, weir_str value, weir_json_each *each);

    /* Writing: the answer grows by these, and is what was written when the handler returns OK. The
     * put functions and quote set a comma first where one is due; a key of NULL is an array's
     * element. Nothing written is null. */
    void (*write)(weir_call *c, const char *fmt, ...) WEIR_PRINTF(2, 3); /* as it stands */
    void (*quote)(weir_call *c, weir_str text);                          /* as a JSON string */
    void (*put_text)(weir_call *c, const char *key, weir_str text);
    void (*put_json)(weir_call *c, const char *key, weir_str value); /* ptr NULL: null */
    void (*put_each)(weir_call *c,
                     const weir_json_each *each); /* a member that next gave, as it is */
    void (*reply)(weir_call *c,
                  weir_str json); /* the whole answer at once; what was written is gone */

    /* Instead of an answer: returns `s`. RETRY is tried again as the pipeline file says, REJECT will
     * never work and goes to the dead letters. The text reads "type: message". */
    weir_status (*fail)(weir_call *c, weir_status s, const char *type, const char *fmt, ...)
        WEIR_PRINTF(4, 5);
};

/* OK: the answer is the event's new body. DROP: the event ends here on purpose. RETRY, REJECT: failed,
 * by fail() or without words; anything else counts as RETRY. */
typedef weir_status (*weir_handler)(weir_call *c);

typedef struct weir_function_manifest { /* a function's one symbol; its numbers are read without
                                         * running code, before the file is loaded */
    uint32_t abi;                       /* major << 16 | wanted minor */
    uint32_t manifest_size;             /* of this struct */
    uint32_t call_size; /* of weir_call as the function knows it: a hint for messages */
    uint32_t reserved;  /* 0 */
    weir_handler handler;
} weir_function_manifest;

#define WEIR_FUNCTION(handler_name) \
    extern const weir_function_manifest weir_function; \
    __attribute__((visibility("default"))) \
    const weir_function_manifest weir_function = {WEIR_FUNCTION_ABI_MAJOR << 16 | \
                                                      WEIR_FUNCTION_WANT_MINOR, \
                                                  sizeof(weir_function_manifest), \
                                                  sizeof(weir_call), 0, (handler_name)}
