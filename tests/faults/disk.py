"""disk.py: full, failing and read-only disks, a clock that jumps, no file descriptors left.

While it lasts a runner answers 429, 503 or 504 and tells /readyz why; afterwards it goes on by itself, or
after a restart where its disk failed for good. What was answered 200 arrives, and the ledger balances."""
import os
import random
import resource
import socket
import subprocess
import threading
import time
import unittest

from shim import FOR_EVER, Shim, is_long
from harness import PATIENCE, Case, main, request, wait_for, weir

PIPELINE = """
sources:
  api: { plugin: http, listen: 127.0.0.1:0, routes: { POST /o: { type: Order, timeout: 2s } } }
sinks:
  out:
    plugin: http
    inputs: [api]
    url: "%s"
    retry: { backoff: 5ms, backoff_max: 50ms, max_age: 30d }
    breaker: { probe_after: 20ms, probe_max: 100ms }
"""
BUSY = (429, 503, 504)


class Load(threading.Thread):
    """Posts events with numbers, and keeps those that were accepted."""

    def __init__(self, address, begin, size=100, count=None):
        super().__init__(daemon=True)
        self.address, self.number, self.size, self.count = address, begin, size, count
        self.accepted, self.busy, self.wrong, self.is_over = set(), [], [], False
        self.start()

    def run(self):
        while not self.is_over and self.count != 0:
            self.number += 1
            self.count = self.count and self.count - 1
            body = b'{"n":%d,"fill":"%s"}' % (self.number, b"x" * self.size)
            try:
                a = request(self.address, "POST", "/o", body, {"Content-Type": "application/json"}, timeout=30)
            except OSError as e:
                self.wrong.append(repr(e))
                continue
            if a.status == 200:
                self.accepted.add(self.number)
            elif a.status in BUSY and (a.status == 504 or "retry-after" in a.headers):
                self.busy.append(a.status)
                time.sleep(0.005)
            else:
                self.wrong.append((a.status, a.text))

    def stop(self):
        self.is_over = True
        self.join(60)


class Disk(Case):
    def begin(self, shim, *answers, data=None, **more):
        self.receiver = self.stub(*(answers or (200,)))
        self.data = data or self.path("data")
        env = shim.environment(WEIR_DATA_DIR=self.data)
        return self.start(PIPELINE % self.receiver.url, "trace.enabled=false", env=env, **more)

    def arrived(self):
        return {int(b[b.index(b":") + 1:b.index(b",")]) for b in self.receiver.bodies}

    def all_arrive(self, r, accepted, dead=0):
        wait_for(lambda: accepted <= self.arrived(), lambda: f"{len(accepted - self.arrived())} of "
                 f"{len(accepted)} accepted events\n{r.log[-3000:]}")
        r.wait_settled(dead_lettered=dead)
        done = r.weir("audit")
        self.assertEqual(done.returncode, 0, done.stdout)

    def is_ready(self, r):
        return r.get("/readyz").status == 200

    # ---- no space ----

    def fill_up(self, r, fill, heal, what):
        """Posts until there is no room, then until there is again. The receiver is down meanwhile, so that
        all that was accepted lies on the disk."""
        first = Load(r.address("api"), 0, 1000, count=20)
        first.join(60)
        fill()
        load = Load(r.address("api"), 1000, 100000)
        wait_for(lambda: 503 in load.busy, "an answer that the disk is full", PATIENCE * 3)
        wait_for(lambda: "disk is full" in r.get("/readyz").text, lambda: f"/readyz says so: {r.log[-2000:]}")
        count = len(load.accepted)
        wait_for(lambda: len(load.busy) > 20, "more such answers")
        heal()
        wait_for(lambda: len(load.accepted) > count + 5, "events are accepted again, by itself")
        load.stop()
        self.assertEqual((first.wrong, load.wrong), ([], []), r.log)
        with self.receiver.lock:
            self.receiver.answers[:] = [200]
        wait_for(lambda: self.is_ready(r), "the runner is ready again")
        accepted = first.accepted | load.accepted
        self.all_arrive(r, accepted)
        r.stop()
        print(f"{what}: {len(accepted)} accepted, {len(load.busy)} refused, nothing lost")

    def test_no_space_by_quota(self):
        with Shim(self.path("data")) as shim:
            r = self.begin(shim, 500)
            self.fill_up(r, lambda: shim.set(space=0), lambda: shim.set(space=1 << 30), "full disk (quota)")

    def test_no_space_on_a_small_disk(self):
        disk = self.path("disk")
        os.mkdir(disk)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", disk], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            self.skipTest("a tmpfs cannot be mounted here: " + done.stderr.strip())
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=False)
        ballast = disk + "/ballast"

        def fill():
            with open(ballast, "wb", buffering=0) as f:
                try:
                    while True:
                        f.write(b"\0" * 65536)
                except OSError:
                    pass
        with Shim(self.path("none")) as shim:
            r = self.begin(shim, 500, data=disk + "/data")
            self.fill_up(r, fill, lambda: os.unlink(ballast), "full disk (tmpfs)")

    def test_deliveries_make_room(self):
        """Nobody gives space back: that the receiver works again is enough."""
        with Shim(self.path("data")) as shim:
            r = self.begin(shim, 500)

            def deliver():
                with self.receiver.lock:
                    self.receiver.answers[:] = [200]
            self.fill_up(r, lambda: shim.set(space=0), deliver, "full disk, room by deliveries")

    # ---- errors ----

    def test_errors_that_pass(self):
        """One operation fails, or twenty do: the runner goes on and is ready again."""
        with Shim(self.path("data")) as shim:
            r = self.begin(shim)
            loads = [Load(r.address("api"), n * 1000000) for n in range(2)]
            tried = 0
            for _ in range(20 if is_long() else 2):
                for kind, fault in (("write", "EIO"), ("sync", "EIO"), ("write", "ENOSPC"),
                                    ("write", "short write")):
                    before = shim.get("fired")
                    shim.fail(fault, first=2, kinds=[kind])
                    wait_for(lambda: shim.get("fired"), f"{fault} in a {kind}, after {before}: {r.log[-2000:]}")
                    tried += 1
                    shim.heal()
                    counts = [len(x.accepted) for x in loads]
                    wait_for(lambda: all(len(x.accepted) > n for x, n in zip(loads, counts)),
                             lambda: f"more is accepted after {fault} in a {kind}:\n{r.log[-2000:]}")
            for x in loads:
                x.stop()
                self.assertEqual(x.wrong, [])
            wait_for(lambda: self.is_ready(r), "the runner is ready")
            accepted = loads[0].accepted | loads[1].accepted
            self.all_arrive(r, accepted)
            r.stop()
        print(f"errors that pass: {tried}, {len(accepted)} accepted, nothing lost")

    def broken(self, fault, kinds, is_restarted):
        """From now on every operation fails; then the disk works again, for the same process or the next."""
        with Shim(self.path("data")) as shim:
            r = self.begin(shim, 500)
            first = Load(r.address("api"), 0, count=20)
            first.join(60)
            shim.fail(fault, until=FOR_EVER, kinds=kinds)
            load = Load(r.address("api"), 1000)
            wait_for(lambda: load.busy, "an answer that it is not accepted")
            wait_for(lambda: not self.is_ready(r), "/readyz says so")
            wait_for(lambda: len(load.busy) > 3, "all are answered")
            if is_restarted:
                r.kill()
                load.stop()
                load.wrong.clear()  # connections to a process that is gone
                done = weir("audit", self.data)
                self.assertEqual(done.returncode, 0, done.stdout)
                r = self.start(r.pipeline)
            else:
                count = len(load.accepted)
                shim.heal()
                wait_for(lambda: len(load.accepted) > count + 5, lambda: "events are accepted again, by itself\n" +
                         r.log[-2000:])
                load.stop()
            self.assertEqual((first.wrong, load.wrong), ([], []))
            with self.receiver.lock:
                self.receiver.answers[:] = [200]
            self.all_arrive(r, first.accepted | load.accepted)
            r.stop()

    def test_errors_that_last(self):
        for fault, kinds in (("EIO", ["write"]), ("EIO", ["sync"]), ("EROFS", ["write", "create", "allocate"])):
            for is_restarted in (False, True):
                with self.subTest(fault=fault, kinds=kinds, is_restarted=is_restarted):
                    self.broken(fault, kinds, is_restarted)
                    print(f"{fault} from then on in {', '.join(kinds)}, then {'a restart' * is_restarted or 'healed'}"
                          ": nothing lost")

    # ---- the clock ----

    def test_the_clock_jumps(self):
        """Hours back and forth while events are posted, retried and settled."""
        dice = random.Random(7)
        hour = 3600 * 10**9
        with Shim(self.path("data")) as shim:
            r = self.begin(shim, 500, *[200, 500, 500] * (200 if is_long() else 20), 200)
            load = Load(r.address("api"), 0)
            jumps = 200 if is_long() else 20
            for _ in range(jumps):
                shim.set(clock_ns=dice.randrange(-6 * hour, 6 * hour))
                count = len(load.accepted)
                wait_for(lambda: len(load.accepted) > count, lambda: f"more is accepted\n{r.log[-2000:]}")
                time.sleep(0.02)
            load.stop()
            self.assertEqual((load.wrong, load.busy), ([], []))
            shim.set(clock_ns=-6 * hour)
            self.all_arrive(r, load.accepted)
            shim.set(clock_ns=0)
            r.stop()
        print(f"{jumps} jumps of the clock: {len(load.accepted)} accepted, nothing lost")

    # ---- descriptors ----

    def test_no_descriptors_left(self):
        """More connections than descriptors: those that are open are served, the rest once there is room."""
        with Shim(self.path("none")) as shim:
            r = self.begin(shim)
            first = Load(r.address("api"), 0, count=20)
            first.join(60)
            used = len(os.listdir(f"/proc/{r.pid}/fd"))
            resource.prlimit(r.pid, resource.RLIMIT_NOFILE, (used + 10, used + 10))
            crowd = [socket.create_connection(r.address("api"), timeout=30) for _ in range(100)]
            r.wait_log("[Tt]oo many open files")
            load = Load(r.address("api"), 1000, count=50)
            time.sleep(0.2)
            for c in crowd:
                c.close()
            load.join(60)
            self.assertEqual((first.wrong, load.wrong), ([], []))
            self.assertEqual(len(load.accepted), 50, load.busy)
            self.all_arrive(r, first.accepted | load.accepted)
            r.stop()
        print("no descriptors left: 100 connections for 10, 70 accepted, nothing lost")


if __name__ == "__main__":
    if os.environ.get("SAN") == "thread":
        Disk = unittest.skip("the thread sanitizer takes the place of the shim")(Disk)
    main()
