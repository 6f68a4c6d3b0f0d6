/* pipeline/adaptive.c: how many batches a sink is given at once, learnt from how it answers. */
#include "pipeline/adaptive.h"

#define TRIAL_EVERY_NS INT64_C(30000000000)
#define BASE_MIN_NS    INT64_C(5000000)  /* who answers faster is not waited for */
#define ROUND_NS       INT64_C(20000000) /* a round lasts no shorter */
enum { ROUND_MIN = 10 };                 /* batches: fewer say nothing */
static const double at_ease = 1.25;      /* of the unloaded sink's time: there is room for more */
static const double too_slow = 1.5;
static const double cut_to = 0.7, fall_most = 0.5, fall_least = 0.9;

static double bounded(const struct adaptive *a, double limit)
{
    double min = (double)a->min, max = (double)a->max;
    return limit < min ? min : limit > max ? max : limit;
}

void adaptive_init(struct adaptive *a, size_t min, size_t max)
{
    *a = (struct adaptive){.min = min, .max = max < min ? min : max};
    a->limit = (double)min;
    a->is_rising = true;
}

void adaptive_set_bounds(struct adaptive *a, size_t min, size_t max)
{
    a->min = min;
    a->max = max < min ? min : max;
    a->limit = bounded(a, a->limit);
    a->untried = bounded(a, a->untried);
}

size_t adaptive_limit(const struct adaptive *a)
{
    return (size_t)a->limit;
}

void adaptive_want(struct adaptive *a)
{
    a->is_wanted = true;
}

static void begin_round(struct adaptive *a, int64_t now_ns)
{
    a->round_ns = now_ns;
    a->count = 0;
    a->sum_ns = 0;
    a->is_wanted = false;
}

static bool is_at_min(const struct adaptive *a)
{
    return adaptive_limit(a) <= a->min;
}

/* All batches that were under way together fail together: they are one sign. */
static void cut(struct adaptive *a, int64_t begun_ns, int64_t now_ns)
{
    if (begun_ns <= a->cut_ns)
        return;
    a->limit = bounded(a, (a->is_trial ? a->untried : a->limit) * cut_to);
    a->is_rising = a->is_trial = false;
    a->cut_ns = now_ns;
    begin_round(a, now_ns);
}

static void end_trial(struct adaptive *a, int64_t took_ns, bool is_wanted)
{
    if (is_wanted)
        a->base_ns = took_ns < BASE_MIN_NS ? BASE_MIN_NS : took_ns;
    a->limit = bounded(a, a->untried);
    a->is_trial = false;
}

/* At the minimum nothing waits inside of the sink that could be helped by less. */
static void learn_base(struct adaptive *a, int64_t took_ns)
{
    bool is_new = !a->base_ns || (is_at_min(a) && (double)took_ns > too_slow * (double)a->base_ns);
    if (is_new)
        a->base_ns = took_ns;
    else if (is_at_min(a) || took_ns < a->base_ns)
        a->base_ns += (took_ns - a->base_ns) / 4;
    if (a->base_ns < BASE_MIN_NS)
        a->base_ns = BASE_MIN_NS;
}

static void adapt(struct adaptive *a, int64_t took_ns)
{
    double slow = (double)took_ns / (double)a->base_ns;
    if (slow > too_slow && ++a->slow_rounds > 1) {
        double fall = at_ease / slow;
        fall = fall < fall_most ? fall_most : fall > fall_least ? fall_least : fall;
        a->limit = bounded(a, a->limit * fall);
        a->is_rising = is_at_min(a); /* what it can do may be all new */
    }
    if (slow > too_slow)
        return;
    a->slow_rounds = 0;
    if (slow <= at_ease)
        a->limit = bounded(a, a->is_rising ? 2 * a->limit : a->limit + 1);
    else
        a->is_rising = false;
}

static void end_round(struct adaptive *a, int64_t now_ns)
{
    int64_t took_ns = a->sum_ns / (int64_t)a->count;
    bool is_wanted = a->is_wanted;
    begin_round(a, now_ns);
    if (a->is_trial) {
        end_trial(a, took_ns, is_wanted);
        return;
    }
    if (!is_wanted) /* what travels alone says nothing about many */
        return;
    learn_base(a, took_ns);
    adapt(a, took_ns);
    if (!a->trial_due_ns)
        a->trial_due_ns = now_ns + TRIAL_EVERY_NS;
    if (now_ns < a->trial_due_ns || a->limit < 2 * (double)a->min)
        return;
    a->trial_due_ns = now_ns + TRIAL_EVERY_NS;
    a->untried = a->limit;
    a->limit /= 2;
    a->is_trial = true;
}

bool adaptive_note(struct adaptive *a, int64_t begun_ns, int64_t now_ns, bool is_overloaded)
{
    size_t before = adaptive_limit(a);
    if (is_overloaded) {
        cut(a, begun_ns, now_ns);
    } else if (begun_ns >= a->round_ns) { /* sent under this limit */
        a->count++;
        a->sum_ns += now_ns - begun_ns;
        if (a->count >= before && a->count >= ROUND_MIN && now_ns - a->round_ns >= ROUND_NS)
            end_round(a, now_ns);
    }
    return adaptive_limit(a) != before;
}
