"""replays.py: a replay while the process is killed and its disk fails or is full: each archived event comes
again, no live one is lost, the sums fit, and nothing is archived twice."""
import contextlib
import http.client
import json
import random
import threading
import time

from shim import Shim, is_long
from harness import IS_SANITIZED, Case, lines_of, main, wait_for

PIPELINE = """
sources:
  api: { plugin: http, listen: 127.0.0.1:0, routes: { POST /o: { type: Order, source: shop } } }
transforms:
  bus:
    plugin: eventbridge
    inputs: [api]
    archive: { name: orders, pattern: { detail: { kept: [true] } } }
    rules:
      again: { pattern: { replay-name: [ { exists: true } ] } }
      live: { pattern: { replay-name: [ { exists: false } ] } }
sinks:
  again: { plugin: file, inputs: [bus.again], path: "%(folder)s/again", retry: { backoff: 5ms, backoff_max: 50ms } }
  live: { plugin: file, inputs: [bus.live], path: "%(folder)s/live", retry: { backoff: 5ms, backoff_max: 50ms } }
"""


class Replays(Case):
    def setUp(self):
        super().setUp()
        self.seed = random.randrange(1 << 32)
        self.dice = random.Random(self.seed)
        self.number, self.accepted = 0, set()

    def begin(self, **more):
        return self.start(PIPELINE % {"folder": self.folder}, "trace.enabled=false", **more)

    def post(self, r, count, is_kept=False):
        """Posts so many events, unless the runner goes; a number is used once."""
        try:
            with contextlib.closing(http.client.HTTPConnection(*r.address("api"), timeout=10)) as c:
                while count > 0 and r.process.poll() is None:
                    n, self.number = self.number, self.number + 1
                    body = json.dumps({"n": n, "kept": is_kept, "fill": "x" * 200})
                    c.request("POST", "/o", body, {"Content-Type": "application/json"})
                    answer = c.getresponse()
                    answer.read()
                    if answer.status == 200:
                        self.accepted.add(n)
                        count -= 1
        except (OSError, http.client.HTTPException):
            pass

    def fill(self, count):
        r = self.begin()
        self.post(r, count, is_kept=True)
        r.wait_settled()
        r.stop()

    def told(self, r, name):
        done = r.weir("replay", "show", name, "--json")
        self.assertEqual(done.returncode, 0, done)
        return json.loads(done.stdout)

    def ask(self, r, name, *more):
        done = r.weir("replay", "--from", "oldest", "--name", name, *more)
        self.assertEqual(done.returncode, 0, done)

    def all_came(self, r, name, count):
        wait_for(lambda: self.told(r, name)["state"] == "COMPLETED", lambda: f"the end: {self.told(r, name)}")
        r.wait_settled()
        self.assertEqual(r.weir("audit").returncode, 0, r.log)
        told = self.told(r, name)
        self.assertEqual((told["sent"], told["done"], told["missed"]), (count, count, 0), f"seed {self.seed}")
        came = [e["n"] for e in lines_of(self.path("again"))]
        self.assertEqual(set(came), set(range(count)), f"seed {self.seed}")
        self.assertLessEqual(self.accepted, {e["n"] for e in lines_of(self.path("live"))})
        self.assertEqual(json.loads(r.weir("archive", "ls", "--json").stdout)[0]["events"], count)
        return len(came) - count

    def test_killed(self):
        kills, count = (60, 6000) if is_long() else (3, 300) if IS_SANITIZED else (6, 800)
        self.fill(count)
        r = self.begin()
        self.ask(r, "killed", "--speed", f"{count}/s")
        for _ in range(kills):
            load = threading.Thread(target=self.post, args=(r, 50))
            load.start()
            time.sleep(self.dice.uniform(0.0, 1.5 / kills))
            r.kill()
            load.join()
            r = self.begin()
        twice = self.all_came(r, "killed", count)
        print(f"killed: {kills} kills, {count} events again, {twice} more than once")

    def test_killed_at_an_operation(self):
        rounds, count = (60, 600) if is_long() else (3, 200) if IS_SANITIZED else (6, 300)
        self.fill(count)
        with Shim(self.path("data")) as shim:
            env = shim.environment(WEIR_DATA_DIR=self.path("data"))
            r = self.begin(env=env)
            self.ask(r, "struck", "--ordered" if self.dice.randrange(2) else "--speed=1000/s")
            for _ in range(rounds):
                shim.fail("killed in the write" if self.dice.randrange(2) else "killed",
                          first=self.dice.randrange(1, 40), kinds=["write"])
                try:
                    wait_for(lambda r=r: r.process.poll() is not None, "its end", 0.3)
                except AssertionError:
                    r.process.kill()  # the replay was over before
                r.kill()
                shim.heal()
                r = self.begin(env=env)
            twice = self.all_came(r, "struck", count)
            print(f"killed at an operation: {rounds} kills, {count} events again, {twice} more than once")

    def test_no_space(self):
        count = 300 if IS_SANITIZED else 800
        self.fill(count)
        with Shim(self.path("data")) as shim:
            r = self.begin(env=shim.environment(WEIR_DATA_DIR=self.path("data")))
            self.ask(r, "full", "--speed", f"{count}/s")
            wait_for(lambda: self.told(r, "full")["sent"] > 50, "a part")
            shim.fail("ENOSPC", until=3, kinds=["write"])
            wait_for(lambda: shim.get("fired") >= 3 or self.told(r, "full")["state"] == "COMPLETED", "some faults")
            shim.heal()
            twice = self.all_came(r, "full", count)
            tries = "sent again" in r.log
            print(f"no space for a while (tried again: {tries}): {count} events again, {twice} more than once")

    def test_a_sync_that_fails(self):
        count = 300 if IS_SANITIZED else 800
        self.fill(count)
        with Shim(self.path("data")) as shim:
            env = shim.environment(has_sync=True, WEIR_DATA_DIR=self.path("data"))
            r = self.begin(env=env)
            self.ask(r, "sync", "--speed", f"{count}/s")
            wait_for(lambda: self.told(r, "sync")["sent"] > 50, "a part")
            shim.fail("EIO", first=3, until=6, kinds=["sync"])
            try:
                wait_for(lambda: self.told(r, "sync")["state"] == "COMPLETED", "the end", 4)
            except AssertionError:  # its disk failed for good: a restart helps
                r.kill()
                shim.heal()
                r = self.begin(env=env)
            twice = self.all_came(r, "sync", count)
            print(f"syncs that fail: {count} events again, {twice} more than once")


if __name__ == "__main__":
    main()
