"""reloads.py: another pipeline file while something breaks: the process is killed in the middle of it, its disk
fails, a sink is dead. The old pipeline goes on or the new one does; what was answered 200 arrives."""
import json
import os
import random
import signal
import time

from shim import Shim, is_long
from harness import IS_SANITIZED, Case, lines_of, main, wait_for
from reload import EXTRA, PIPELINE, PRESETS, SCHEMA, Producer

CHANGES = [{"memory": "256MiB"}, {"more": EXTRA}, {"file": 1}, {"pattern": "[u]"}, {"limit": 90000},
           {"in_flight": 50, "sync": "true"}, {"buffer": "memory"}, {"file": 2, "more": EXTRA}, {}]
FILES = ["direct-0.ndjson", "direct-1.ndjson", "direct-2.ndjson"]


class Reloads(Case):
    def setUp(self):
        super().setUp()
        self.write("user.schema.json", json.dumps(SCHEMA))
        self.seed = random.randrange(1 << 32)
        self.chance = random.Random(self.seed)
        self.taken = []

    def put(self, text):
        path = self.write("pipeline.new", "data_dir: ${WEIR_DATA_DIR}\n" + text)
        os.rename(path, self.path("pipeline.yaml"))

    def change(self):
        self.put(PIPELINE.format(**{**PRESETS, **self.chance.choice(CHANGES)}))

    def producers(self, r, count=3):
        made = [Producer(r.address("api"), f"{len(self.taken)}-{i}") for i in range(count)]
        for p in made:
            p.start()
        return made

    def take(self, producers):
        for p in producers:
            p.is_over = True
        for p in producers:
            p.join(60)
            self.taken += p.taken
        return [w for p in producers for w in p.wrong]

    def all_is_there(self, r):
        """With the stages of the first file again, and of those that came: each event at both ends."""
        self.put(PIPELINE.format(**{**PRESETS, "more": EXTRA}))
        done = r.weir("reload", "--wait", "--data-dir", self.path("data"))
        self.assertEqual(done.returncode, 0, done.stderr + r.log)
        r.wait_settled(dead_lettered=0)
        audit = r.weir("audit")
        self.assertEqual(audit.returncode, 0, audit.stdout + r.log)
        for files in (FILES, ["consumed.ndjson"]):
            names = [e["name"] for f in files if os.path.exists(self.path(f)) for e in lines_of(self.path(f))]
            self.assertLessEqual(set(self.taken), set(names), f"seed {self.seed}\n{r.log[-3000:]}")
        return len(names) - len(set(names))

    def test_killed_in_a_reload(self):
        kills = 100 if is_long() else 3 if IS_SANITIZED else 8
        self.put(PIPELINE.format(**PRESETS))
        for _ in range(kills):
            r = self.restart()
            load = self.producers(r)
            time.sleep(self.chance.uniform(0.0, 0.05))
            self.change()
            r.signal(signal.SIGHUP)
            time.sleep(self.chance.uniform(0.0, 0.04))
            r.kill()
            self.take(load)
        r = self.restart()
        twice = self.all_is_there(r)
        r.stop()
        print(f"killed in a reload: {kills} kills, {len(self.taken)} accepted, nothing lost, {twice} came twice")

    def restart(self, **more):
        with open(self.path("pipeline.yaml"), encoding="utf-8") as f:
            return self.start(f.read().split("\n", 1)[1], **more)

    def test_the_disk_fails_in_a_reload(self):
        rounds = 60 if is_long() else 3 if IS_SANITIZED else 6
        self.put(PIPELINE.format(**PRESETS))
        fired, refused = 0, 0
        with Shim(self.path("data")) as shim:
            r = self.restart(env=shim.environment(WEIR_DATA_DIR=self.path("data")))
            for _ in range(rounds):
                load = self.producers(r)
                self.change()
                first = self.chance.randrange(1, 40)
                shim.fail(self.chance.choice(["EIO", "ENOSPC", "short write"]), first, first + self.chance.randrange(3))
                done = r.weir("reload", "--wait", "--data-dir", self.path("data"))
                refused += done.returncode != 0
                time.sleep(0.02)
                fired += min(shim.get("fired"), 1)
                shim.heal()
                wrong = self.take(load)
                self.assertFalse([w for w in wrong if w[0] not in (503, 504)], f"seed {self.seed}\n{r.log[-3000:]}")
                wait_for(lambda: r.get("/readyz").status == 200, lambda: f"ready again\n{r.log[-3000:]}")
            self.all_is_there(r)
            r.stop()
        self.assertGreater(fired, 0)
        print(f"disk fails in a reload: {fired} faults, {refused} rolled back, {len(self.taken)} accepted, "
              "nothing lost")

    def test_a_sink_is_dead_in_a_reload(self):
        """Its retries are under way while its neighbours, its settings and its source are exchanged."""
        receiver = self.stub(500)
        more = """  dead:
    plugin: http
    inputs: [bus.all]
    url: %s
    concurrency: {0}
    retry: {{ backoff: 1ms, backoff_max: 20ms, max_age: 30d }}
    breaker: {{ probe_after: 5ms, probe_max: 20ms }}
""" % receiver.url

        def text(n, **changes):
            return PIPELINE.format(**{**PRESETS, **changes, "more": more.format(n)})

        def names():
            return {json.loads(b)["name"] for b in receiver.bodies}
        self.put(text(1))
        r = self.restart()
        load = self.producers(r)
        for i in range(40 if is_long() else 8):
            changes = dict(self.chance.choice(CHANGES))
            changes.pop("more", None)
            self.put(text(1 + i % 3, **changes))
            done = r.weir("reload", "--wait", "--data-dir", self.path("data"))
            self.assertEqual(done.returncode, 0, done.stderr + r.log)
        self.assertEqual(self.take(load), [], r.log)
        with receiver.lock:
            receiver.answers[:] = [200]
        count = len(self.taken)
        wait_for(lambda: set(self.taken) <= names(), lambda: f"{count - len(names())} of {count}\n{r.log[-3000:]}", 120)
        self.put(text(1))
        self.assertEqual(r.weir("reload", "--wait", "--data-dir", self.path("data")).returncode, 0, r.log)
        r.wait_settled(dead_lettered=0)
        self.assertEqual(r.weir("audit").returncode, 0, r.log)
        r.stop()
        print(f"a dead sink in reloads: {count} accepted, nothing lost")


if __name__ == "__main__":
    main()
