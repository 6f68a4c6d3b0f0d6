"""duplicates.py: Idempotency-Key, the dedupe transform, FIFO ids: what comes twice, also over kill -9."""
import json
import random
import threading
import time

from harness import IS_SANITIZED, Case, lines_of, main, wait_for

KILLS = 3 if IS_SANITIZED else 8


class IdempotencyKey(Case):
    PIPELINE = """
sources:
  api:
    plugin: http
    listen: 127.0.0.1:0
    routes:
      POST /o/{shop}: { type: Order }
      POST /strict: { type: Order, idempotency: { header: X-Key, required: true, window: 1s, max_keys: 3 } }
      POST /off: { type: Order, idempotency: { enabled: false } }
      POST /slow: { type: Slow, respond: delivered, timeout: 1m }
sinks:
  out: { plugin: file, inputs: [{ from: api, where: { detail-type: [Order] } }], path: %s }
  two: { plugin: file, inputs: [{ from: api, where: { detail-type: [Order] } }], path: %s }
  slow: { plugin: http, inputs: [{ from: api, where: { detail-type: [Slow] } }], url: "%s", retry: { backoff: 1ms } }
"""

    def go(self, *answers, workers=2):
        self.receiver = self.stub(*(answers or (200,)))
        self.out = self.path("out.ndjson")
        return self.start(self.PIPELINE % (self.out, self.path("two.ndjson"), self.receiver.url),
                          f"workers={workers}")

    def post(self, r, key, body, path="/o/1", header="Idempotency-Key"):
        return r.post("api", path, body, {header: key} if key else {})

    def test_same_key_same_answer(self):
        r = self.go()
        first = self.post(r, "a-1", {"n": 1})
        self.assertEqual((first.status, first.headers.get("idempotency-replayed")), (200, None))
        for key in ("a-1", '"a-1"'):
            again = self.post(r, key, {"n": 1})
            self.assertEqual((again.status, again.text, again.headers["idempotency-replayed"]),
                             (200, first.text, "true"))
        self.assertNotEqual(self.post(r, "a-2", {"n": 1}).text, first.text)
        self.assertNotEqual(self.post(r, "a-1", {"n": 1}, "/o/2").text, first.text, "of another resource")
        self.assertNotEqual(self.post(r, None, {"n": 1}).text, first.text)
        self.assertNotEqual(self.post(r, "a-1", {"n": 1}, "/off").text, self.post(r, "a-1", {"n": 1}, "/off").text)
        other = self.post(r, "a-1", {"n": 2})
        self.assertEqual((other.status, other.headers["content-type"]), (422, "application/problem+json"))
        self.assertIn("another body", other.json["detail"])
        r.wait_settled(accepted=6)
        r.kill()
        r = self.start(r.pipeline)
        again = self.post(r, "a-1", {"n": 1})
        self.assertEqual((again.text, again.headers["idempotency-replayed"]), (first.text, "true"))
        r.stop()
        r = self.start(r.pipeline)
        self.assertEqual(self.post(r, "a-1", {"n": 1}).text, first.text)
        r.wait_settled(accepted=6)

    def test_bounds(self):
        r = self.go()
        self.assertEqual(self.post(r, "k" * 256, {}).status, 400)
        self.assertEqual(self.post(r, "", {}).status, 200)
        self.assertEqual(self.post(r, '""', {}).status, 400)
        self.assertEqual(self.post(r, "k" * 255, {}).status, 200)
        missing = self.post(r, None, {}, "/strict")
        self.assertEqual((missing.status, missing.json["detail"][:16]), (400, "X-Key is missing"))
        first = self.post(r, "0", {}, "/strict", "x-key")
        self.assertEqual(self.post(r, "0", {}, "/strict", "x-key").text, first.text)
        for n in range(1, 4):
            self.post(r, str(n), {}, "/strict", "x-key")
        self.assertNotEqual(self.post(r, "0", {}, "/strict", "x-key").text, first.text, "the oldest of more than three")
        third = self.post(r, "3", {}, "/strict", "x-key")
        self.assertIn("idempotency-replayed", third.headers)
        wait_for(lambda: self.post(r, "3", {}, "/strict", "x-key").text != third.text, "the window's end")

    def test_while_the_first_is_under_way(self):
        """409 until it is settled, and the key is free again if it could not be accepted."""
        r = self.go(*[503] * 20, 200)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(self.post(r, "s", {"n": 1}, "/slow")))
        self.receiver.answers = ["hang"]
        thread.start()
        wait_for(lambda: self.receiver.requests, "the first at the receiver")
        self.assertEqual(self.post(r, "s", {"n": 1}, "/slow").status, 409)
        self.assertEqual(self.post(r, "s", {"n": 2}, "/slow").status, 422)
        self.receiver.answers = [200]
        self.receiver.released.set()
        thread.join()
        self.assertEqual(answers[0].status, 200)
        again = self.post(r, "s", {"n": 1}, "/slow")
        self.assertEqual((again.status, again.json["event_id"]), (200, answers[0].json["event_id"]))

    def test_many_at_once(self):
        r = self.go()
        found = []

        def one():
            for n in range(20):
                answer = self.post(r, f"same-{n}", {"n": n})
                while answer.status == 409:
                    answer = self.post(r, f"same-{n}", {"n": n})
                found.append((n, answer.status, answer.json["event_id"]))
        threads = [threading.Thread(target=one) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(set(found)), 20, "one event a key")
        r.wait_settled(accepted=20)

    def test_over_kill(self):
        """Each request is sent again until it is answered, over kill -9: each makes one event, also where an
        answer got lost. One unit of the journal holds the event and its key."""
        r = self.go(workers=1)
        state = {"runner": r, "over": False}
        answered, lock = {}, threading.Lock()

        def client(number):
            n = 0
            while not state["over"]:
                n += 1
                key = f"{number}-{n}"
                while True:
                    try:
                        answer = self.post(state["runner"], key, {"key": key})
                        if answer.status == 200:
                            break
                    except (OSError, AssertionError, ValueError):
                        time.sleep(0.002)
                    except Exception:  # the runner died in the middle of an answer
                        time.sleep(0.002)
                with lock:
                    answered[key] = answer.json["event_id"]
        threads = [threading.Thread(target=client, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(KILLS):
                before = len(answered)
                wait_for(lambda: len(answered) > before + 5, "some answers")
                time.sleep(random.uniform(0, 0.03))
                state["runner"].kill()
                state["runner"] = self.start(r.pipeline, "workers=1")
        finally:
            state["over"] = True
            for thread in threads:
                thread.join()
        state["runner"].wait_settled(accepted=len(answered) + state["runner"].ledger()["returned"])
        for name in ("out.ndjson", "two.ndjson"):
            keys = {line["key"] for line in lines_of(self.path(name))}
            self.assertEqual(keys, set(answered))


class Dedupe(Case):
    PIPELINE = """
sources:
  api: { plugin: http, listen: 127.0.0.1:0, routes: { POST /o: { type: Order } } }
transforms:
  once: { plugin: dedupe, inputs: [api], key: order.id, window: %s, max_keys: %d, retry: { backoff: 5ms } }
sinks:
  out: { plugin: file, inputs: [once], path: %s }
  other: { plugin: file, inputs: [once.duplicates], path: %s }
"""

    def go(self, window="10m", max_keys=1000):
        self.out, self.other = self.path("out.ndjson"), self.path("other.ndjson")
        return self.start(self.PIPELINE % (window, max_keys, self.out, self.other))

    def post(self, r, key, n=0):
        answer = r.post("api", "/o", {"order": {"id": key}, "n": n})
        self.assertEqual(answer.status, 200)
        return answer.json["event_id"]

    def keys(self, path):
        return [line["order"]["id"] for line in lines_of(path)]

    def test_first_passes(self):
        r = self.go()
        for n in range(3):
            for key in ("a", 7, "b"):
                self.post(r, key, n)
        self.assertEqual(r.post("api", "/o", {"no": "key"}).status, 200)
        self.assertEqual(r.post("api", "/o", {"no": "key"}).status, 200)
        r.wait_settled(accepted=11, delivered=11)
        passed = [line.get("order", {}).get("id") for line in lines_of(self.out)]
        self.assertEqual(sorted(map(str, passed)), ["7", "None", "None", "a", "b"])
        self.assertEqual({line["n"] for line in lines_of(self.out) if "n" in line}, {0})
        self.assertEqual(len(self.keys(self.other)), 6)
        for stop in (r.kill, None):
            if stop:
                stop()
            else:
                r.stop()
            r = self.start(r.pipeline)
            self.post(r, "a")
            r.wait_settled()
        self.assertEqual(self.keys(self.other).count("a"), 4)

    def test_bounds(self):
        r = self.go("1s", 2)
        for key in ("a", "b", "c", "a"):  # the third pushes out the first
            self.post(r, key)
            r.wait_settled()
        self.assertEqual(self.keys(self.out), ["a", "b", "c", "a"])
        self.post(r, "a")
        r.wait_settled()
        self.assertEqual(self.keys(self.other), ["a"])

        def again():
            self.post(r, "a")
            r.wait_settled()
            return self.keys(self.out).count("a") > 2
        wait_for(again, "the end of the window")

    def test_over_kill(self):
        """Orders come several times, over kill -9: each is put into the sink's buffer exactly once."""
        r = self.go()
        state, lock, count = {"runner": r, "over": False}, threading.Lock(), [0]

        def client(seed):
            mine = random.Random(seed)
            while not state["over"]:
                with lock:
                    count[0] += 1
                    key = f"k{max(count[0] - mine.randrange(12), 1)}"
                for _ in range(2):
                    try:
                        self.post(state["runner"], key)
                    except Exception:  # killed: nobody knows whether it was accepted
                        time.sleep(0.002)
        threads = [threading.Thread(target=client, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(KILLS):
                before = count[0]
                wait_for(lambda: count[0] > before + 20, "some posts")
                state["runner"].kill()
                state["runner"] = self.start(r.pipeline)
        finally:
            state["over"] = True
            for thread in threads:
                thread.join()
        r = state["runner"]
        r.wait_settled(dead_lettered=0)
        passed = {key for key in self.keys(self.out) if key}
        stored = {stage["name"]: stage["stored"] for stage in r.get("/audit").json["stages"]}
        self.assertEqual(stored["out"], len(passed), "each order got through once")
        self.assertGreater(stored["other"], 10)

    def test_a_first_that_fails_is_none(self):
        """The key is given back with the event: the next one with it passes."""
        pipeline = """
sources:
  api: { plugin: http, listen: 127.0.0.1:0, routes: { POST /o: { type: Order, respond: delivered } } }
transforms:
  once: { plugin: dedupe, inputs: [api], key: id }
sinks:
  out: { plugin: http, inputs: [once], url: "%s", buffer: { type: memory } }
"""
        stub = self.stub(400, 200)
        r = self.start(pipeline % stub.url)
        self.assertEqual(r.post("api", "/o", {"id": 1}).status, 422)
        self.assertEqual(r.post("api", "/o", {"id": 1}).json["status"], "delivered")
        self.assertEqual(r.post("api", "/o", {"id": 1}).json["status"], "filtered")
        r.wait_settled(dead_lettered=1, delivered=1, filtered=1)

    WAITING = """
sources:
  api: { plugin: http, listen: 127.0.0.1:0, routes: { POST /o: { type: Order, respond: delivered, timeout: 1m } } }
transforms:
  once: { plugin: dedupe, inputs: [api], key: id, retry: { max_attempts: 2, max_age: 50ms, backoff: 2ms } }
sinks:
  out: { plugin: http, inputs: [once], url: "%s", buffer: { type: memory }, retry: { max_attempts: 1 }, timeout: %s }
"""

    def wait_behind(self, r, stub):
        """Two requests of one key: the second is asked about many times while the first is under way."""
        answers = []

        def post():
            answers.append(r.post("api", "/o", {"id": 1}).json)
        threads = [threading.Thread(target=post) for _ in range(2)]
        threads[0].start()
        wait_for(lambda: stub.requests, "the first at the receiver")
        threads[1].start()
        wait_for(lambda: r.metrics()['weir_stage_in_events_total{stage="once"}'] > 20, "the second to be asked about")
        self.assertEqual((r.dead_letters(), answers), ([], []))
        return threads, answers

    def test_behind_one_under_way(self):
        """A duplicate of an event that is under way waits as long as that takes: it is no attempt."""
        stub = self.stub("hang")
        r = self.start(self.WAITING % (stub.url, "1m"))
        threads, answers = self.wait_behind(r, stub)
        stub.answers = [200]
        stub.released.set()  # hangs up on the first: given up after its attempt
        for thread in threads:
            thread.join()
        r.wait_settled(accepted=2, dead_lettered=1, delivered=1)
        first, second = sorted(answers, key=lambda a: a.get("status") == "delivered")
        self.assertEqual((first["status"], second["status"]), (502, "delivered"))
        self.assertEqual(r.metrics()['weir_stage_retries_total{stage="once"}'], 0)
        trace = r.weir("trace", second["event_id"]).stdout
        self.assertEqual(trace.count("still under way"), 1, trace)

    def test_behind_one_that_is_delivered(self):
        stub = self.stub("wait")
        r = self.start(self.WAITING % (stub.url, "1m"))
        threads, answers = self.wait_behind(r, stub)
        stub.answers = [200]
        stub.released.set()
        for thread in threads:
            thread.join()
        r.wait_settled(accepted=2, dead_lettered=0, delivered=1, filtered=1)
        self.assertEqual(sorted(a["status"] for a in answers), ["delivered", "filtered"])

    def test_twice_by_two_ways(self):
        """The same event comes by two rules: the second is a duplicate, and does not wait for itself."""
        out = self.path("out.ndjson")
        r = self.start("""
sources:
  api: { plugin: http, listen: 127.0.0.1:0, routes: { POST /o: { type: Order, respond: delivered, timeout: 1m } } }
transforms:
  bus:
    plugin: eventbridge
    inputs: [api]
    rules: { a: { pattern: { detail-type: [Order] } }, b: { pattern: { detail-type: [Order] } } }
  once: { plugin: dedupe, inputs: [bus.a, bus.b] }
sinks:
  out: { plugin: file, inputs: [once], path: %s, buffer: { type: memory } }
""" % out)
        for n in range(3):
            self.assertEqual(r.post("api", "/o", {"id": n}).json["status"], "delivered")
        r.wait_settled(accepted=3, copied=3, delivered=3, filtered=3)


class Ids(Case):
    def test_fifo(self):
        """Into a FIFO queue: the event's key is the group, its id the deduplication id; in order again."""
        r = self.start("""
sources:
  api: { plugin: http, listen: 127.0.0.1:0, routes: { POST /o: { type: Order, key: user } } }
  work: { plugin: sqs, queue: work.fifo }
sinks:
  first: { plugin: sqs, inputs: [api], queue: work.fifo }
  again: { plugin: sqs, inputs: [api], queue: work.fifo }
  out: { plugin: file, inputs: [work], path: %s }
""" % self.path("out.ndjson"))
        ids = [r.post("api", "/o", {"user": ["u", "v"][n % 2], "n": n}).json["event_id"] for n in range(10)]
        self.assertEqual(len(set(ids)), 10)
        found = self.wait_lines(self.path("out.ndjson"), 10)
        r.wait_settled(accepted=20)
        found = lines_of(self.path("out.ndjson"))
        self.assertEqual(len(found), 10, "the second copy of each has the id of the first")
        for user in "uv":
            numbers = [line["n"] for line in found if line["user"] == user]
            self.assertEqual(numbers, sorted(numbers))

    def test_the_same_id_over_kill_and_retry(self):
        """An event that comes again, by a retry or after kill -9, has the id that its client was told."""
        stub = self.stub(503)
        r = self.start("""
sources:
  api: { plugin: http, listen: 127.0.0.1:0, routes: { POST /o: { type: Order } } }
sinks:
  out: { plugin: http, inputs: [api], url: "%s", retry: { backoff: 5ms } }
""" % stub.url)
        ids = {r.post("api", "/o", {"n": n}).json["event_id"]: n for n in range(5)}
        wait_for(lambda: len(stub.requests) > 12, "retries")
        r.kill()
        before = len(stub.requests)
        r = self.start(r.pipeline)
        wait_for(lambda: len(stub.requests) > before + 8, "retries of the next run")
        stub.answers = [200]
        r.wait_settled(delivered=5)
        for _, headers, body in stub.requests:
            self.assertEqual(ids[headers["idempotency-key"]], json.loads(body)["n"])


if __name__ == "__main__":
    main()
