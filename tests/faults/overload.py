"""overload.py: ten times and more than a sink takes: memory stays bounded, what is too much is refused at once.

Short: some seconds; long: a minute. Then the sink catches up and all that was accepted has arrived."""
import http.client
import threading
import time
import unittest

from shim import IS_SANITIZED, is_long
from harness import Case, main, request, wait_for

CLIENTS = 6
RATE = 400 if is_long() else 100
SECONDS = 60 if is_long() else 2
WORKERS = 2
CONSTANT = (32 + 2 * WORKERS) << 20  # docs/guide/operating.md
PIPELINE = """
trace: {{ enabled: false }}
workers: {workers}
memory: {memory}MiB
sources:
  api: {{ plugin: http, listen: 127.0.0.1:0, routes: {{ POST /o: {{ type: Order }} }} }}
sinks:
  out:
    plugin: http
    inputs: [api]
    url: "{url}"
    format: ndjson
    rate: {rate}
    buffer: {{ type: {type}, max_events: {rate} }}
"""


def body_of(number, size):
    return b'{"n":%d,"fill":"%s"}' % (number, b"x" * size)


HEADERS = {"Content-Type": "application/json"}


class Client(threading.Thread):
    def __init__(self, address, number, size):
        super().__init__(daemon=True)
        self.address, self.number, self.size = address, number * 10**8, size
        self.accepted, self.refused, self.wrong, self.slowest, self.is_over = set(), 0, [], 0, False
        self.start()

    def run(self):
        c = http.client.HTTPConnection(*self.address, timeout=60)
        while not self.is_over:
            self.number += 1
            begun = time.monotonic()
            try:
                c.request("POST", "/o", body_of(self.number, self.size), HEADERS)
                a = c.getresponse()
                text = a.read()
            except (OSError, http.client.HTTPException) as e:
                self.wrong.append(repr(e))
                c.close()
                continue
            self.slowest = max(self.slowest, time.monotonic() - begun)
            if a.status == 200:
                self.accepted.add(self.number)
            elif a.status in (429, 503) and a.getheader("Retry-After"):
                self.refused += 1
            else:
                self.wrong.append((a.status, text))
        c.close()


class Overload(Case):
    def peak(self, r):
        with open(f"/proc/{r.pid}/status", encoding="utf-8") as f:
            return next(int(line.split()[1]) << 10 for line in f if line.startswith("VmHWM"))

    def run_it(self, kind, memory=32, size=2000, rate=RATE, seconds=SECONDS):
        receiver = self.stub(200)
        r = self.start(PIPELINE.format(url=receiver.url, rate=rate, type=kind, memory=memory, workers=WORKERS))
        clients = [Client(r.address("api"), n, size) for n in range(CLIENTS)]
        time.sleep(seconds)
        late = self.peak(r)
        for c in clients:
            c.is_over = True
        for c in clients:
            c.join(60)
            self.assertEqual(c.wrong, [])
        accepted = set().union(*(c.accepted for c in clients))
        refused = sum(c.refused for c in clients)
        if kind == "durable":  # before a buffer in memory clients wait for the sink
            self.assertGreater(refused, 0, "it was too much")
        begun = time.monotonic()
        wait_for(lambda: request(r.address("api"), "POST", "/o", body_of(1, size), HEADERS).status == 200, "one more is accepted")
        again = time.monotonic() - begun

        def arrived():
            lines = b"\n".join(receiver.bodies).split(b"\n")
            return {int(line[5:line.index(b",")]) for line in lines if line}
        wait_for(lambda: accepted <= arrived(), lambda: f"{len(accepted - arrived())} of {len(accepted)}: {r.log}")
        r.wait_settled(dead_lettered=0)
        self.assertEqual(r.weir("audit").returncode, 0)
        r.stop()
        if not IS_SANITIZED:
            self.assertLess(late, (memory << 20) + CONSTANT, "the budget and a constant")
        print(f"overload ({kind}, {size} bytes): {len(accepted) + refused} requests in {seconds} s for a sink that takes {rate} "
              f"a second: {len(accepted)} accepted and delivered, {refused} refused, slowest answer "
              f"{max(c.slowest for c in clients):.1f} s, {late >> 20} MiB at most with a budget of {memory}, "
              f"accepted again after {again:.1f} s, nothing lost")

    def test_on_disk(self):
        self.run_it("durable")

    def test_in_memory(self):
        self.run_it("memory")

    @unittest.skipUnless(is_long(), "in make faults")
    def test_budgets(self):
        for memory in (16, 64):
            for size, rate in ((100, 1000), (10000, 200), (200000, 20)):
                for kind in ("durable", "memory"):
                    with self.subTest(memory=memory, size=size, kind=kind):
                        self.run_it(kind, memory, size, rate, 10)


if __name__ == "__main__":
    main()
