"""overload.py: ten times and more than a sink takes: memory stays bounded, what is too much is refused at once.

Short: some seconds; long: a minute. Then the sink catches up and all that was accepted has arrived."""
import http.client
import threading
import time

from shim import IS_SANITIZED, is_long
from harness import Case, main, request, wait_for

CLIENTS = 6
RATE = 400 if is_long() else 100
SECONDS = 60 if is_long() else 2
PIPELINE = """
trace: {{ enabled: false }}
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
BODY = b'{"n":%d,"fill":"' + b"x" * 2000 + b'"}'
HEADERS = {"Content-Type": "application/json"}


class Client(threading.Thread):
    def __init__(self, address, number):
        super().__init__(daemon=True)
        self.address, self.number = address, number * 10**8
        self.accepted, self.refused, self.wrong, self.slowest, self.is_over = set(), 0, [], 0, False
        self.start()

    def run(self):
        c = http.client.HTTPConnection(*self.address, timeout=60)
        while not self.is_over:
            self.number += 1
            begun = time.monotonic()
            try:
                c.request("POST", "/o", BODY % self.number, HEADERS)
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
    def memory_kb(self, r):
        with open(f"/proc/{r.pid}/status", encoding="utf-8") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))

    def run_it(self, kind):
        receiver = self.stub(200)
        r = self.start(PIPELINE.format(url=receiver.url, rate=RATE, type=kind))
        clients = [Client(r.address("api"), n) for n in range(CLIENTS)]
        time.sleep(SECONDS / 3)
        early = self.memory_kb(r)
        time.sleep(SECONDS * 2 / 3)
        late = self.memory_kb(r)
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
        wait_for(lambda: request(r.address("api"), "POST", "/o", BODY % 1, HEADERS).status == 200, "one more is accepted")
        again = time.monotonic() - begun

        def arrived():
            lines = b"\n".join(receiver.bodies).split(b"\n")
            return {int(line[5:line.index(b",")]) for line in lines if line}
        wait_for(lambda: accepted <= arrived(), lambda: f"{len(accepted - arrived())} of {len(accepted)}: {r.log}")
        r.wait_settled(dead_lettered=0)
        self.assertEqual(r.weir("audit").returncode, 0)
        r.stop()
        if not IS_SANITIZED:
            self.assertLess(late, 200 << 10, "memory stays bounded")
            self.assertLess(late - early, 40 << 10, "and does not grow")
        print(f"overload ({kind}): {len(accepted) + refused} requests in {SECONDS} s for a sink that takes {RATE} "
              f"a second: {len(accepted)} accepted and delivered, {refused} refused, slowest answer "
              f"{max(c.slowest for c in clients):.1f} s, memory {early >> 10} to {late >> 10} MiB at most, "
              f"accepted again after {again:.1f} s, nothing lost")

    def test_on_disk(self):
        self.run_it("durable")

    def test_in_memory(self):
        self.run_it("memory")


if __name__ == "__main__":
    main()
