"""delivery.py: sinks that stand beside one another: a dead one, one whose capacity changes, one with a
fallback; and order by key, whatever fails."""
import http.client
import json
import os
import time

from harness import Case, Stub, lines_of, main, wait_for

TWO = """
  one: { plugin: file, inputs: [in], path: one.ndjson }
  two: { plugin: file, inputs: [in], path: two.ndjson }
"""
DEAD = '  dead: { plugin: http, inputs: [in], url: "http://127.0.0.1:1", format: ndjson }\n'


class Beside(Case):
    """A source that waits until its events are safe is not held up by a sink that is dead."""

    def count(self, name):
        try:
            with open(self.path(name), "rb") as f:
                return f.read().count(b"\n")
        except FileNotFoundError:
            return 0

    def both(self, r, count):
        wait_for(lambda: min(self.count("one.ndjson"), self.count("two.ndjson")) >= count,
                 lambda: f"{count} lines: {self.count('one.ndjson')}, {self.count('two.ndjson')}\n{r.log}")
        self.assertEqual(self.count("one.ndjson"), count)

    def position(self):
        try:
            with open(self.path("in.ndjson.position"), encoding="utf-8") as f:
                return int(f.read().split()[0])
        except FileNotFoundError:
            return -1

    def wait_ledger(self, r, **columns):
        last = {}

        def look():
            last.update(r.ledger())
            return last["balanced"] and all(last[k] == v for k, v in columns.items())
        wait_for(look, lambda: f"{columns}: {last}")

    def audit(self, r):
        r.stop()
        done = r.weir("audit")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_a_generator(self):
        """More than may be open at once."""
        count = 80000
        r = self.start("trace: { enabled: false }\n"
                       f"sources: {{ in: {{ plugin: generator, count: {count}, numbered: true }} }}\nsinks:" + TWO + DEAD)
        self.both(r, count)
        self.wait_ledger(r, delivered=2 * count, in_flight=count)
        self.audit(r)

    def test_a_file(self):
        """Its position moves on, and after a kill nothing is lost and no line is read again."""
        count = 9000
        self.write("in.ndjson", "".join(f'{{"n":{n}}}\n' for n in range(count)))
        stub = self.stub(200)
        text = "trace: { enabled: false }\nsources: { in: { plugin: file, path: in.ndjson, follow: true } }\nsinks:" + TWO
        dead = self.start(text + DEAD)
        self.both(dead, count)
        wait_for(lambda: self.position() == os.path.getsize(self.path("in.ndjson")), "the position behind all lines")
        self.wait_ledger(dead, delivered=2 * count, in_flight=count)
        dead.kill()
        r = self.start(text + DEAD.replace("http://127.0.0.1:1", stub.url))

        def there():
            return {json.loads(line)["n"] for body in stub.bodies for line in body.splitlines()}
        wait_for(lambda: len(there()) == count, lambda: f"{len(there())} at the sink that was dead")
        r.wait_settled(accepted=count, dead_lettered=0)
        self.assertEqual({e["n"] for e in lines_of(self.path("one.ndjson"))}, set(range(count)))
        self.audit(r)

    def test_a_queue(self):
        """More than max_in_flight messages: each is removed when it is safe."""
        count = 3000
        r = self.start("trace: { enabled: false }\nsources:\n"
                       f"  made: {{ plugin: generator, count: {count}, numbered: true }}\n"
                       "  in: { plugin: sqs, queue: jobs }\n"
                       "sinks:\n  queue: { plugin: sqs, inputs: [made], queue: jobs }" + TWO + DEAD)
        self.both(r, count)
        wait_for(lambda: (r.queues()["jobs"]["visible"], r.queues()["jobs"]["hidden"]) == (0, 0), "an empty queue")
        self.audit(r)


class Room(Stub):
    """A receiver that works on `room` requests at once and answers 503 to what is more."""

    def __init__(self, room):
        self.room, self.inside, self.most = room, 0, 0
        super().__init__(200)

    def _one(self, f):
        line = f.readline().split()
        if len(line) < 3:
            return False
        headers = http.client.parse_headers(f)
        f.read(int(headers.get("content-length") or 0))
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            is_taken = self.inside <= self.room
        if is_taken:
            time.sleep(0.02)
        with self.lock:
            self.inside -= 1
        f.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % (200 if is_taken else 503))
        f.flush()
        return True


class Concurrency(Case):
    def test_follows_the_receiver(self):
        """It grows as far as the receiver has room, and falls when that gets less."""
        room = Room(8)
        self.addCleanup(room.close)
        r = self.start("trace: { enabled: false }\n"
                       "sources: { in: { plugin: generator, count: 50000 } }\n"
                       f"sinks: {{ out: {{ plugin: http, inputs: [in], url: '{room.url}', concurrency: {{ max: 30 }},\n"
                       "  retry: { backoff: 5ms, backoff_max: 20ms } } }\n")

        def limit():
            return r.metrics()['weir_stage_concurrency{stage="out"}']

        def used():
            return r.metrics()['weir_stage_concurrency_in_use{stage="out"}']
        wait_for(lambda: room.most > 6, lambda: f"all of the room: {limit()}, {room.most}\n{r.log}")
        self.assertLessEqual(room.most, 16)  # what doubled once too often
        room.room = 2
        wait_for(lambda: limit() <= 3, lambda: f"a limit near 2: {limit()}")
        room.room, room.most = 100, 0
        wait_for(lambda: room.most >= 12 and limit() >= 12 and used() >= 12, lambda: f"a limit above 12: {limit()}")
        self.assertLessEqual(limit(), 30)
        self.assertEqual(r.get("/readyz").status, 200)
        r.kill()
        self.assertEqual(r.weir("audit").returncode, 0)


class Fallback(Case):
    def test_while_the_breaker_is_open(self):
        """What waits for a dead receiver goes to the fallback, through a kill; later events come to it again."""
        stub = self.stub(503)
        text = ("admin: { listen: 127.0.0.1:0 }\n"
                "sources: { api: { plugin: http, listen: 127.0.0.1:0, routes: { POST /o: { type: O } } } }\n"
                f"sinks:\n  hook: {{ plugin: http, inputs: [api], url: '{stub.url}', fallback: {{ to: rest, after: 50ms }},\n"
                "    retry: { backoff: 5ms, backoff_max: 20ms }, breaker: { probe_after: 20ms, probe_max: 100ms } }\n"
                "  rest: { plugin: file, path: rest.ndjson, format: envelope }\n")
        r = self.start(text)
        for n in range(150):
            self.assertEqual(r.post("api", "/o", {"n": n}).status, 200)
            if n == 100:
                r.kill()
                r = self.start(text)
        wait_for(lambda: {e["detail"]["n"] for e in lines_of(self.path("rest.ndjson"))} == set(range(150)),
                 lambda: f"all of them in the fallback: {len(lines_of(self.path('rest.ndjson')))}\n{r.log}")
        wait_for(lambda: r.ledger()["in_flight"] == 0 and r.ledger()["balanced"], "nothing in flight")
        self.assertGreater(r.metrics()['weir_stage_diverted_events_total{stage="hook"}'], 40)
        self.assertIn("goes to rest until the breaker closes", r.log)
        self.assertEqual(r.get("/readyz").status, 503)
        stub.answers[:] = [200]
        for n in range(150, 200):
            r.post("api", "/o", {"n": n})
        wait_for(lambda: r.get("/readyz").status == 200, "the breaker closes")
        r.wait_settled(dead_lettered=0)
        r.post("api", "/o", {"n": 200})
        wait_for(lambda: b'{"n": 200}' in stub.bodies, "the last one at the receiver")
        r.wait_settled(dead_lettered=0)
        r.stop()
        self.assertEqual(r.weir("audit").returncode, 0)


if __name__ == "__main__":
    main()
