/* admin/admin.h: what the runner tells of itself and lets others do, over HTTP, on loopback by default:
 * /livez, /readyz, /metrics, /ledger, and the control calls of the command line. */
#pragma once
#include "base/error.h"
#include "net/loop.h"
#include "pipeline/pipeline.h"

struct admin;

/* Listens where the file's `admin` says, on the main thread's loop. NULL without an error: it is off. */
struct admin *admin_start(struct pipeline *p, struct loop *l, struct error *e);
/* Who reads the pipeline file again when POST /reload comes: start(user, done, arg), then done(arg,
 * JSON) once, on this thread. done NULL: nobody waits. */
typedef void admin_reload(void *user, void (*done)(void *arg, weir_str json), void *arg);
void admin_set_reload(struct admin *a, admin_reload *start, void *user);
void admin_stop(struct admin *a);
