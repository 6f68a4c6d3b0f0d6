"""audit.py: the ledger balances with the records, at any moment, after kill -9, and a difference is told."""
import json
import os
import threading

from harness import Case, main, request, wait_for, weir

PIPELINE = """
sources:
  api: { plugin: http, listen: 127.0.0.1:0, routes: { "POST /o": { type: Order, source: shop } } }
  again: { plugin: sqs, queue: work }
transforms:
  bus:
    plugin: eventbridge
    inputs: [api]
    rules: { odd: { pattern: { detail: { kind: [odd] } } }, all: { pattern: { source: [shop] } } }
sinks:
  out: { plugin: http, inputs: [bus.all], url: "%s", retry: { backoff: 5ms } }
  work: { plugin: sqs, inputs: [bus.odd], queue: work }
  last: { plugin: file, inputs: [again], path: %s }
"""
LEFT, RIGHT = ("accepted", "copied", "redriven", "replayed", "repeated"), \
    ("delivered", "filtered", "dead_lettered", "dropped", "returned", "lost", "on_disk", "in_memory")


class Audit(Case):
    def run_it(self, *answers):
        self.receiver = self.stub(*(answers or (200,)))
        return self.start(PIPELINE % (self.receiver.url, self.path("last.ndjson")))

    def audit(self, r, code=0):
        done = r.weir("audit", "--json")
        self.assertEqual(done.returncode, code, done)
        found = json.loads(done.stdout)
        owed, there = sum(found[k] for k in LEFT), sum(found[k] for k in RIGHT)
        self.assertEqual(owed - there, found["difference"])
        self.assertEqual(found["balanced"], code == 0)
        return found

    def post(self, r, count):
        for n in range(count):
            self.assertEqual(r.post("api", "/o", {"n": n, "kind": ["odd", "even"][n % 2]}).status, 200)

    def test_live_and_stopped(self):
        r = self.run_it()
        self.post(r, 10)
        r.wait_settled(accepted=15)
        wait_for(lambda: self.audit(r)["in_flight"] == 0, lambda: str(self.audit(r)))
        live = self.audit(r)
        self.assertEqual((live["accepted"], live["delivered"], live["in_memory"]), (15, 20, 0))
        r.stop()
        self.assertEqual(self.audit(r), live)
        done = weir("audit", self.path("data"))
        self.assertEqual(done.returncode, 0, done)
        self.assertRegex(done.stdout, r"= delivered +20 ")
        self.assertRegex(done.stdout, r"(?m)^out +10 +10 +0$")
        self.assertIn("it balances", done.stdout)

    def test_at_any_moment(self):
        """While events flow, each look at the journal balances: not nearly, and without waiting."""
        r = self.run_it()
        threads = [threading.Thread(target=self.post, args=(r, 40)) for _ in range(4)]
        for thread in threads:
            thread.start()
        looks = 0
        while any(thread.is_alive() for thread in threads):
            self.assertTrue(r.get("/audit").json["balanced"], r.get("/audit").text)
            looks += 1
        self.assertGreater(looks, 3)
        r.wait_settled(accepted=240)
        r.stop()
        self.audit(r)

    def test_after_kill(self):
        """kill -9 in full flow: what was in memory is named, on disk all is accounted for; again and again."""
        for _ in range(3):
            r = self.run_it(200, 500, 500, 200)
            threads = [threading.Thread(target=self.flood, args=(r,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            wait_for(lambda: r.ledger()["delivered"] > 30, "some deliveries")
            r.kill()
            for thread in threads:
                thread.join()
            dead = self.audit(r)
            r = self.start(r.pipeline)
            r.wait_settled()
            after = self.audit(r)
            self.assertEqual(after["returned"] - after["repeated"],
                             dead["returned"] - dead["repeated"] + dead["in_memory"])
            self.assertNotIn("does not balance", r.log)
            r.stop()
            self.assertEqual(self.audit(r)["in_memory"], 0)

    def flood(self, r):
        try:
            for n in range(1000):
                r.post("api", "/o", {"n": n, "kind": ["odd", "even"][n % 2]})
        except OSError:
            pass

    def test_a_difference_is_told(self):
        """A record that is lost from the middle of a buffer: the stage and the number."""
        r = self.five_waiting()
        self.assertEqual(self.audit(r)["on_disk"], 5)
        self.damage(1)
        self.damaged(r)

    def five_waiting(self):
        """A runner that was killed, with five records for a sink that took none."""
        r = self.run_it(503)
        self.post(r, 5)
        wait_for(lambda: self.audit(r)["on_disk"] == 5, lambda: str(self.audit(r)))
        r.kill()
        return r

    def damage(self, *numbers):
        folder = self.path("data", "journal")
        for name in os.listdir(folder):
            for n in numbers:
                with open(os.path.join(folder, name), "r+b") as f:
                    at = f.read().find(b'{"n": %d,' % n)
                    if at >= 0:
                        f.seek(at)
                        f.write(b"XXXX")

    def damaged(self, r):
        done = r.weir("audit")
        self.assertEqual(done.returncode, 1, done)
        self.assertRegex(done.stdout, r"does not balance: [0-9]+ ")
        r = self.start(r.pipeline)
        self.assertIn("the ledger does not balance", r.log)
        self.assertEqual(r.weir("audit").returncode, 1)

    def lose(self, *numbers):
        """The same, and some are gone: 1 and 3 are in no queue as well."""
        r = self.five_waiting()
        self.damage(*numbers)
        missing = self.audit(r, code=1)
        self.assertEqual((missing["lost"], missing["difference"]), (0, len(numbers)))
        return r

    def test_write_off_stopped(self):
        r = self.lose(1, 3)
        done = r.weir("audit", "--write-off")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("written off: 2 that are missing, as lost", done.stdout)
        self.assertRegex(done.stdout, r"(?m)^\+ lost +2 ")
        found = self.audit(r)
        self.assertEqual((found["lost"], found["on_disk"], found["written_off"]), (2, 3, 0))
        self.assertTrue(all(s["difference"] == 0 for s in found["stages"]))
        r = self.start(r.pipeline)
        self.assertNotIn("does not balance", r.log)

    def test_from_damage_to_balance(self):
        """A record that rots while it waits: skipped and counted by the run, named by check, set aside by repair."""
        r = self.start(self.five_waiting().pipeline)  # its checkpoint covers them: the next start does not read them
        r.stop()
        self.damage(3)
        r = self.start(r.pipeline)
        r.wait_log(r"stream in/out: record 3 is damaged and was skipped")
        self.assertIn("weir_journal_lost_records 1", r.get("/metrics").text)
        r.stop()
        self.assertEqual(weir("journal", "check", self.path("data")).returncode, 1)
        self.assertEqual(weir("journal", "repair", self.path("data")).returncode, 0)
        self.assertEqual(self.audit(r, code=1)["difference"], 1)
        self.assertEqual(r.weir("audit", "--write-off").returncode, 0)
        self.assertEqual((self.audit(r)["lost"], self.audit(r)["on_disk"]), (1, 4))

    def test_write_off_live(self):
        r = self.start(self.lose(3).pipeline)
        self.assertEqual(r.get("/audit").json["difference"], 1)
        self.assertEqual(request(r.admin, "POST", "/audit/write-off").status, 403)
        done = json.loads(r.weir("audit", "--write-off", "--json").stdout)
        self.assertEqual((done["balanced"], done["written_off"], done["lost"]), (True, 1, 1))
        self.assertEqual(r.ledger()["lost"], 1)
        self.assertTrue(r.ledger()["balanced"])
        self.assertIn("weir_ledger_lost_total 1", r.get("/metrics").text)
        again = json.loads(r.weir("audit", "--write-off", "--json").stdout)
        self.assertEqual((again["written_off"], again["lost"]), (0, 1))
        r.stop()
        self.assertEqual(self.audit(r)["lost"], 1)


if __name__ == "__main__":
    main()
