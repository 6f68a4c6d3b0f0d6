/* tests/plugins/sqs.c: sending, receiving, and what becomes of a message, by a queue service of its own. */
#include "support.h"

#include <weir/queue.h>

enum { MESSAGES = 32 };
struct weir_queue {
    char name[96], dead_letters[96];
    weir_queue_settings settings;
    size_t waiting; /* to be received */
    weir_receipt next;
    weir_receipt removed[MESSAGES], given_back[MESSAGES], extended[MESSAGES];
    size_t removed_count, given_back_count, extended_count;
    weir_queue_send sent;
    const weir_batch *batch; /* that was sent and is not yet settled */
    bool has_lost_receipts;
    int64_t delay_ns;
};
static weir_queue queues_there[4];
static size_t queue_count;
static weir_status open_answer;

static weir_status queue_open_fake(const weir_queues *q, const char *name,
                                   const weir_queue_settings *settings, weir_queue **queue)
{
    size_t at = 0; /* the check names it, the start opens it */
    while (at < queue_count && strcmp(queues_there[at].name, name) != 0)
        at++;
    ck_assert_uint_lt(at, 4);
    queue_count = at == queue_count ? at + 1 : queue_count;
    weir_queue *made = &queues_there[at];
    memset(made, 0, sizeof *made);
    (void)snprintf(made->name, sizeof made->name, "%s", name);
    (void)snprintf(made->dead_letters, sizeof made->dead_letters, "%s",
                   settings->dead_letters ? settings->dead_letters : "");
    made->settings = *settings;
    *queue = made;
    return open_answer;
}

static weir_status queue_send_fake(const weir_queues *q, weir_queue *queue, const weir_batch *take,
                                   const weir_queue_send *how)
{
    queue->sent = *how;
    queue->batch = take;
    return WEIR_PENDING;
}

static weir_status queue_receive_fake(const weir_queues *q, weir_queue *queue,
                                      const weir_queue_receive *how, weir_batch *out,
                                      weir_receipt *receipts)
{
    const weir_host *h = q->base.owner;
    for (; queue->waiting && out->count < how->max; queue->waiting--) {
        char *data = NULL;
        weir_payload *p = h->alloc(h, 2, &data);
        if (!p)
            return WEIR_E_RETRY;
        memset(data, '1', 2);
        receipts[out->count] = ++queue->next;
        h->add(h, out, p);
    }
    return out->count ? WEIR_OK : WEIR_IDLE;
}

static bool queue_extend_fake(const weir_queues *q, weir_queue *queue, weir_receipt r,
                              weir_duration d)
{
    queue->extended[queue->extended_count++ % MESSAGES] = r;
    return true;
}

static bool queue_remove_fake(const weir_queues *q, weir_queue *queue, weir_receipt r)
{
    queue->removed[queue->removed_count++ % MESSAGES] = r;
    return !queue->has_lost_receipts;
}

static bool queue_give_back_fake(const weir_queues *q, weir_queue *queue, weir_receipt r,
                                 weir_duration delay)
{
    queue->given_back[queue->given_back_count++ % MESSAGES] = r;
    queue->delay_ns = delay.ns;
    return !queue->has_lost_receipts;
}

static const weir_queue_count *queue_count_fake(const weir_queues *q, weir_queue *queue)
{
    return NULL;
}

static const weir_queues service = {
    .base = WEIR_OFFER(WEIR_QUEUE),
    .open = queue_open_fake,
    .send = queue_send_fake,
    .receive = queue_receive_fake,
    .extend = queue_extend_fake,
    .remove = queue_remove_fake,
    .give_back = queue_give_back_fake,
    .count = queue_count_fake,
};

static weir_test *stage(enum weir_test_role role, const char *queue, const char *a, const char *b)
{
    weir_test *t = weir_test_new(role, "sqs", queue, a, a ? b : NULL, NULL);
    weir_test_give(t, &service.base);
    queue_count = 0;
    open_answer = WEIR_OK;
    return t;
}

START_TEST(sends_and_waits_for_the_disk)
{
    weir_test *t = stage(WEIR_TEST_SINK, "queue=orders", "delay=5s", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    ck_assert(t->component->flags & WEIR_KEEPS);
    weir_test_event(t, "1");
    weir_test_event(t, "2");
    ck_assert_int_eq(weir_test_push(t), WEIR_PENDING);
    ck_assert(!weir_test_fate_of(t, 1)->is_settled);
    ck_assert_int_eq(queues_there[0].sent.delay.ns, 5000000000);
    t->host.mark(&t->host, queues_there[0].batch, 0, WEIR_E_RETRY, "disk");
    t->host.done(&t->host, queues_there[0].batch, WEIR_OK);
    ck_assert_int_eq(weir_test_fate_of(t, 0)->status, WEIR_E_RETRY);
    ck_assert_int_eq(weir_test_fate_of(t, 1)->status, WEIR_OK);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(makes_the_dead_letter_queue_first)
{
    weir_test *t =
        stage(WEIR_TEST_SINK, "queue=a.fifo", "dead_letters=dead.fifo", "receives_max=3");
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    ck_assert_str_eq(queues_there[0].name, "dead.fifo");
    ck_assert_str_eq(queues_there[1].name, "a.fifo");
    ck_assert_str_eq(queues_there[1].dead_letters, "dead.fifo");
    ck_assert_uint_eq(queues_there[1].settings.receives_max, 3);
    ck_assert(queues_there[0].settings.is_fifo && queues_there[1].settings.is_fifo);
    ck_assert_int_eq(weir_test_free(t), 0);
    t = stage(WEIR_TEST_SINK, "queue=a", NULL, NULL);
    open_answer = WEIR_E_CONFIG;
    ck_assert_int_eq(weir_test_start(t), WEIR_E_CONFIG);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(settles_each_message_as_it_went)
{
    weir_test *t = stage(WEIR_TEST_SOURCE, "queue=orders", "retry_after=2s", NULL);
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    ck_assert(t->component->flags & WEIR_REPLAYS);
    queues_there[0].waiting = 4;
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_flight(t, 0)->count, 4);
    ck_assert_uint_eq(weir_test_flight(t, 0)->when, WEIR_WHEN_SAFE);
    const weir_verdict verdicts[] = {
        {.outcome = WEIR_DELIVERED},
        {.outcome = WEIR_FAILED, .error = WEIR_E_RETRY},
        {.outcome = WEIR_FILTERED},
        {.outcome = WEIR_FAILED, .error = WEIR_E_REJECT, .is_dead_lettered = true},
    };
    weir_test_settle_as(t, 0, verdicts);
    const weir_queue *q = &queues_there[0];
    ck_assert_uint_eq(q->removed_count, 3);
    ck_assert_uint_eq(q->removed[0], 1);
    ck_assert_uint_eq(q->removed[1], 3);
    ck_assert_uint_eq(q->removed[2], 4);
    ck_assert_uint_eq(q->given_back_count, 1);
    ck_assert_uint_eq(q->given_back[0], 2);
    ck_assert_int_eq(q->delay_ns, 2000000000);
    ck_assert_int_eq(weir_test_pull(t), WEIR_IDLE);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(is_bounded_and_wakes)
{
    weir_test *t = stage(WEIR_TEST_SOURCE, "queue=orders", "max_in_flight=4", "batch_size=2");
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    queues_there[0].waiting = 5;
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert_int_eq(weir_test_pull(t), WEIR_IDLE);
    ck_assert_uint_eq(queues_there[0].waiting, 1);
    weir_test_settle(t, 1, WEIR_DELIVERED, WEIR_OK);
    ck_assert_uint_eq(weir_test_run(t), 1); /* the wake pulls */
    ck_assert_uint_eq(weir_test_flight_count(t), 3);
    ck_assert_int_eq(weir_test_free(t), 0);
    ck_assert_uint_eq(queues_there[0].removed_count, 5); /* at shutdown all were on disk */
}
END_TEST

START_TEST(prolongs_what_is_under_way)
{
    weir_test *t = stage(WEIR_TEST_SOURCE, "queue=orders", "visibility=30s", "acknowledge=durable");
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    ck_assert_int_eq(queues_there[0].settings.visibility.ns, 30000000000);
    weir_test_move(t, 5000000000);
    queues_there[0].waiting = 2;
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert_uint_eq(weir_test_flight(t, 0)->when, WEIR_WHEN_DURABLE);
    weir_test_move(t, 6000000000); /* 6 s under way: not yet */
    ck_assert_uint_eq(queues_there[0].extended_count, 0);
    weir_test_move(t, 10000000000);
    ck_assert_uint_eq(queues_there[0].extended_count, 2);
    weir_test_move(t, 10000000000);
    ck_assert_uint_eq(queues_there[0].extended_count, 4);
    queues_there[0].has_lost_receipts = true;
    weir_test_settle(t, 0, WEIR_DELIVERED, WEIR_OK);
    ck_assert(weir_test_said(t, "2 messages of orders were settled after their visibility"));
    ck_assert_double_eq(weir_test_metric(t, "late"), 2);
    weir_test_move(t, 20000000000);
    ck_assert_uint_eq(queues_there[0].extended_count, 4);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(keeps_nothing_of_a_receive_without_memory)
{
    weir_test *t = stage(WEIR_TEST_SOURCE, "queue=orders", "max_in_flight=1", "batch_size=1");
    ck_assert_int_eq(weir_test_start(t), WEIR_OK);
    queues_there[0].waiting = 2;
    weir_test_memory(t, 0);
    ck_assert_int_eq(weir_test_pull(t), WEIR_E_RETRY);
    weir_test_memory(t, -1);
    ck_assert_int_eq(weir_test_pull(t), WEIR_OK);
    ck_assert_int_eq(weir_test_free(t), 0);
}
END_TEST

START_TEST(refuses_wrong_options)
{
    static const char *const cases[][4] = {
        {"queue=a b", NULL, NULL, "queue+1: a queue's name has letters"},
        {"queue=", NULL, NULL, "queue: a queue's name has 1 to 80"},
        {"queue=a.fif", NULL, NULL, "queue+1: a queue's name has letters"},
        {"queue=a", "fifo=true", NULL, "queue: the name of a FIFO queue ends with .fifo"},
        {"queue=a", "endpoint=aws", NULL,
         "endpoint: endpoint aws is not available in this version: queues are embedded, write "
         "endpoint: embedded here"},
        {"queue=a", "dead_letters=b", NULL, "dead_letters: dead_letters needs receives_max"},
        {"queue=a", "receives_max=2", NULL, "receives_max: receives_max needs dead_letters"},
        {"queue=a", "dead_letters=a", "receives_max=2", "dead_letters: a queue is not its own"},
        {"queue=a", "dead_letters=b.fifo", "receives_max=2", "go to a FIFO queue"},
        {"queue=a.fifo", "delay=3s", NULL, "delay: a FIFO queue has no delay"},
        {"queue=a", "group=user.id", NULL, "group: group is for FIFO queues"},
        {"queue=a", "delay=16m", NULL, "delay: expected 0 to 9e+11"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weir_test *t = stage(WEIR_TEST_SINK, cases[i][0], cases[i][1], cases[i][2]);
        ck_assert_int_eq(weir_test_check(t), WEIR_E_CONFIG);
        ck_assert_msg(weir_test_said(t, cases[i][3]), "%s: %s", cases[i][0], weir_test_text(t));
        ck_assert_int_eq(weir_test_free(t), 0);
    }
}
END_TEST

int main(void)
{
    return run_tests("sqs", (const TTest *const[]){
                                sends_and_waits_for_the_disk,
                                makes_the_dead_letter_queue_first,
                                settles_each_message_as_it_went,
                                is_bounded_and_wakes,
                                prolongs_what_is_under_way,
                                keeps_nothing_of_a_receive_without_memory,
                                refuses_wrong_options,
                                NULL,
                            });
}
