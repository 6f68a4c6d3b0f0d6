"""kill9.py: the runner is killed at random moments under load; what it answered 200 reaches the consumer.

After each kill the ledger balances with what is on disk. WEIR_KILLS says how often (50). Duplicates are allowed, as everywhere behind a queue, and are counted."""
import http.client
import json
import os
import random
import signal
import threading
import time

from harness import IS_SANITIZED, ROOT, Case, lines_of, main, wait_for, weir

KILLS = int(os.environ.get("WEIR_KILLS") or (10 if IS_SANITIZED else 50))
CLIENTS = 4
PIPELINE = os.path.join(ROOT, "config/pipeline.yaml")


class Client(threading.Thread):
    """Posts users, each with an e-mail address of its own, and remembers those that were accepted."""

    def __init__(self, load, number):
        super().__init__(daemon=True)
        self.load, self.number, self.accepted, self.unknown, self.wrong = load, number, {}, 0, []

    def run(self):
        n, c, at = 0, None, None
        while not self.load.is_over:
            if at != self.load.address:
                if c:
                    c.close()
                at = self.load.address
                c = at and http.client.HTTPConnection(*at, timeout=10)
            if not c:
                time.sleep(0.001)
                continue
            n += 1
            email = f"c{self.number}-{n}@example.com"
            try:
                c.request("POST", "/users", json.dumps({"name": "N", "email": email}),
                          {"Content-Type": "application/json"})
                answer = c.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                self.unknown += 1  # it may have been accepted or not
                c.close()
                time.sleep(0.001)
                continue
            if answer.status == 200:
                self.accepted[json.loads(text)["event_id"]] = email
            else:
                self.wrong.append((answer.status, text))
        if c:
            c.close()


class Load:
    def __init__(self):
        self.address, self.is_over = None, False
        self.clients = [Client(self, n) for n in range(CLIENTS)]
        for c in self.clients:
            c.start()

    def stop(self):
        self.is_over = True
        for c in self.clients:
            c.join(20)


class Kill(Case):
    def test_nothing_accepted_is_lost(self):
        load = Load()
        self.addCleanup(load.stop)
        seed = random.randrange(1 << 32)
        moments = random.Random(seed)
        for _ in range(KILLS):
            r = self.start(PIPELINE, "sources.users_api.listen=127.0.0.1:0")
            load.address = r.address("users_api")
            time.sleep(moments.uniform(0.0, 0.25))
            r.signal(signal.SIGKILL)
            self.assertEqual(r.wait(), -signal.SIGKILL, r.log)
            load.address = None
            done = weir("audit", self.path("data"))
            self.assertEqual(done.returncode, 0, f"seed {seed}: {done.stdout}{done.stderr}")
        load.stop()
        accepted = {}
        for c in load.clients:
            self.assertEqual(c.wrong, [], f"seed {seed}")
            accepted.update(c.accepted)
        self.assertGreater(len(accepted), KILLS * 3, "there was load")
        self.check_all_arrive(accepted, seed)
        unknown = sum(c.unknown for c in load.clients)
        print(f"{KILLS} kills, {len(accepted)} accepted, {unknown} without an answer, "
              f"{self.duplicates} duplicates")

    def check_all_arrive(self, accepted, seed):
        out = self.path("data/users.ndjson")
        r = self.start(PIPELINE, "sources.users_api.listen=127.0.0.1:0")

        def missing():
            return set(accepted) - {u["id"] for u in lines_of(out)}
        wait_for(lambda: not missing(), lambda: f"{len(missing())} accepted events, such as "
                 f"{sorted(missing())[:3]}; seed {seed}\n{r.log}")
        r.wait_settled(dead_lettered=0)
        queues = r.queues()
        self.assertEqual((queues["user-events"]["visible"], queues["dead-letters"]["visible"]), (0, 0))
        r.stop()
        self.assertEqual(weir("audit", self.path("data")).returncode, 0)
        users = lines_of(out)
        with open(out, encoding="utf-8") as f:
            self.assertEqual(len(f.readlines()), len(users), "the last line is whole")
        for u in users:
            if u["id"] in accepted:
                self.assertEqual(u["email"], accepted[u["id"]])
        self.duplicates = len(users) - len({u["id"] for u in users})


if __name__ == "__main__":
    main()
