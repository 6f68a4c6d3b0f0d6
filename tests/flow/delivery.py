"""delivery.py: sinks that stand beside one another: a dead one, one whose capacity changes, one with a
fallback; and order by key, whatever fails."""
import json
import os

from harness import Case, lines_of, main, wait_for

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


if __name__ == "__main__":
    main()
