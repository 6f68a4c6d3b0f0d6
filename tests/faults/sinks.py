"""sinks.py: receivers that refuse, hang, reset, crawl and complain; the other sinks get everything meanwhile.

Long: also how fast two sinks are beside a dead one, against the same two without it."""
import os
import shutil
import socket
import statistics
import struct
import threading
import time

from shim import IS_SANITIZED, is_long
from harness import Case, Stub, main, request, wait_for, weir

BAD = ("refuses", "hangs", "resets", "429", "500", "401", "half of them", "cut off", "crawls")
SINK = """
  {name}:
    plugin: http
    inputs: [api]
    url: "{url}"
    timeout: 500ms
    retry: {{ backoff: 5ms, backoff_max: 50ms, max_age: 1d }}
    breaker: {{ probe_after: 20ms, probe_max: 200ms }}
"""
SOURCE = """
sources:
  api: { plugin: http, listen: 127.0.0.1:0, routes: { POST /o: { type: Order, timeout: 500ms } } }
sinks:
"""
FAST = """
trace: {{ enabled: false }}
sources: {{ {sources} }}
sinks:
  one: {{ plugin: file, inputs: [{names}], path: {folder}/one, buffer: {{ type: durable }} }}
  two: {{ plugin: file, inputs: [{names}], path: {folder}/two, buffer: {{ type: durable }} }}
"""
THIRD = {"none": "",
         "healthy": "  third: {{ plugin: \"null\", inputs: [{names}], buffer: {{ type: durable }} }}\n",
         "dead": "  third: {{ plugin: http, inputs: [{names}], url: \"http://127.0.0.1:{port}\", "
                 "buffer: {{ type: durable }} }}\n"}
GENERATORS = [f"g{n}" for n in range(8)]
RATE = 6250  # of each generator
COUNT = {0: 250000, RATE: 60000}  # of each, by its rate


class Bad(Stub):
    """A receiver of one of these kinds, until it is mended."""

    def __init__(self, kind):
        self.kind, self.is_good, self.count, self.peers = kind, False, 0, {}
        super().__init__(200)
        if kind == "refuses":
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = socket.socket()  # bound and not listening: nobody else gets the port meanwhile
            self.listener.bind(("127.0.0.1", self.port))

    def mend(self):
        self.is_good = True
        if self.kind == "refuses":
            self.listener.listen(64)
            threading.Thread(target=self._accept, daemon=True).start()

    def _serve(self, peer):
        """A peer that is reset closes with SO_LINGER 0."""
        try:
            with peer, peer.makefile("rwb") as f:
                self.peers[f] = peer
                try:
                    while self._one(f):
                        pass
                finally:
                    self.peers.pop(f, None)
        except (OSError, ValueError):
            pass

    def _one(self, f):
        if self.is_good:
            return super()._one(f)
        line = f.readline().split()
        if len(line) < 3:
            return False
        length = 0
        while True:
            header = f.readline().strip().lower()
            if header.startswith(b"content-length:"):
                length = int(header.split(b":")[1])
            if not header:
                break
        body = f.read(length)
        self.count += 1
        return self._misbehave(f, line[1].decode(), body)

    def _say(self, f, status, more=""):
        f.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n%s\r\nok" % (status, more.encode()))
        f.flush()
        return True

    def _misbehave(self, f, path, body):
        kind = self.kind
        if kind == "hangs":
            self.released.wait(5)
        elif kind == "resets":
            self.peers.pop(f).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif kind == "429":
            return self._say(f, 429, "Retry-After: 1\r\n")
        elif kind in ("500", "401"):
            return self._say(f, int(kind))
        elif kind == "half of them":
            if self.count % 2:
                with self.lock:
                    self.requests.append((path, {}, body))
                return self._say(f, 200)
            return self._say(f, 500)
        elif kind == "cut off":
            f.write(b"HTTP/1.1 200 OK\r\nContent-Len")
            f.flush()
        elif kind == "crawls":
            for byte in b"HTTP/1.1 200 OK":
                f.write(bytes([byte]))
                f.flush()
                if self.released.wait(1):
                    break
        return False


class Sinks(Case):
    def post(self, r, n):
        a = request(r.address("api"), "POST", "/o", b'{"n":%d}' % n, {"Content-Type": "application/json"})
        self.assertEqual(a.status, 200, a.text)

    def test_bad_ones_beside_good_ones(self):
        count = 500 if is_long() else 40
        good = [self.stub(200), self.stub(200)]
        bad = [Bad(kind) for kind in BAD]
        for b in bad:
            self.addCleanup(b.close)
        text = SOURCE + "".join(SINK.format(name=f"good{n}", url=g.url) for n, g in enumerate(good)) + \
            "".join(SINK.format(name=f"bad{n}", url=b.url) for n, b in enumerate(bad))
        r = self.start(text)
        for n in range(count):
            self.post(r, n)
        want = {b'{"n":%d}' % n for n in range(count)}
        for g in good:
            wait_for(lambda g=g: want <= set(g.bodies), lambda g=g: f"{len(want - set(g.bodies))} events at a good "
                     f"sink\n{r.log[-2000:]}")
        not_ready = r.get("/readyz").text
        self.assertNotIn("good", not_ready)
        for kind, b in zip(BAD, bad):
            if kind not in ("half of them",):
                self.assertFalse(want <= set(b.bodies), kind)
            b.mend()
            b.released.set()
        for kind, b in zip(BAD, bad):
            wait_for(lambda b=b: want <= set(b.bodies), lambda b=b, k=kind: f"{len(want - set(b.bodies))} events at the "
                     f"sink that {k}\n{r.log[-2000:]}")
        r.wait_settled(dead_lettered=0)
        wait_for(lambda: r.get("/readyz").status == 200, "all are ready")
        self.assertEqual(r.weir("audit").returncode, 0)
        r.stop()
        extra = sum(len(s.bodies) - count for s in good + bad)
        print(f"{len(BAD)} kinds of bad sinks ({', '.join(BAD)}): {count} events at each and at 2 good ones, "
              f"nothing lost, {extra} duplicates")

    def test_a_request_does_not_wait_for_ever(self):
        """A buffer in memory before a sink that is dead: 504 after the route's time."""
        bad = Bad("refuses")
        self.addCleanup(bad.close)
        r = self.start(SOURCE + SINK.format(name="bad", url=bad.url) + "    buffer: { type: memory }\n")
        a = request(r.address("api"), "POST", "/o", b'{"n":1}', {"Content-Type": "application/json"})
        self.assertEqual(a.status, 504, a.text)
        bad.mend()
        wait_for(lambda: bad.bodies == [b'{"n":1}'], "the event came nevertheless")
        r.wait_settled(delivered=1)
        r.stop()

    def pace(self, name, third, rate):
        """Events a second from the first tenth until both files are whole."""
        folder = self.path(name)
        os.mkdir(folder)
        with socket.socket() as s:  # bound and not listening: refuses
            s.bind(("127.0.0.1", 0))
            text = (FAST + THIRD[third]).format(
                sources=", ".join(f"{g}: {{ plugin: generator, count: {COUNT[rate]}, rate: {rate} }}"
                                  for g in GENERATORS),
                names=", ".join(GENERATORS), folder=folder, port=s.getsockname()[1])
            r = self.start(self.write(f"{name}.yaml", f"data_dir: {folder}/data\n" + text))
            total = COUNT[rate] * len(GENERATORS)

            def least():
                return min(self.lines(f"{folder}/{n}") for n in ("one", "two"))
            begun = wait_for(lambda: least() > total / 10 and (time.monotonic(), least()), "a tenth")
            wait_for(lambda: least() >= total, lambda: "both files\n" + r.log, 120)
            took = time.monotonic() - begun[0]
            r.kill()
        done = weir("audit", folder + "/data")
        self.assertEqual(done.returncode, 0, done.stdout)
        shutil.rmtree(folder)
        return (total - begun[1]) / took

    @staticmethod
    def lines(path):
        """All are alike. To count them would cost the runner a processor."""
        try:
            with open(path, "rb") as f:
                return os.fstat(f.fileno()).st_size // max(len(f.readline()), 1)
        except FileNotFoundError:
            return 0

    def test_pace_beside_a_dead_one(self):
        """Measured, not asserted, as the machine may be busy: as fast as they can, and at a set pace."""
        if not is_long() or IS_SANITIZED:
            self.skipTest("measured by make faults")
        for rate, turns in ((0, 5), (RATE, 1)):
            paces = {third: [] for third in THIRD}
            for turn in range(turns):
                for third in sorted(THIRD, reverse=bool(turn % 2)):
                    paces[third].append(self.pace(f"{rate}-{turn}-{third}", third, rate))
            none, healthy, dead = (statistics.median(paces[k]) for k in ("none", "healthy", "dead"))
            what = f"{rate * len(GENERATORS)} events/s wanted" if rate else "as fast as they can"
            print(f"two sinks, {what}: alone {none:.0f} events/s; beside a healthy third one {healthy:.0f}; beside a "
                  f"dead one {dead:.0f}, {100 * dead / none:.0f} % and {100 * dead / healthy:.0f} % "
                  f"({turns} runs of each, in turns)")


if __name__ == "__main__":
    main()
