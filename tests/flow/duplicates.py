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


if __name__ == "__main__":
    main()
