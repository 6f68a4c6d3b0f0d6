"""journal.py: weir journal: check, dump and repair, on stopped and running data directories."""
import glob
import json
import os
import stat

from harness import Case, main, wait_for, weir

COUNT = 300
TEXT = """
admin: { listen: "off" }
sources: { gen: { plugin: generator, count: %d, body: { password: hunter2 } } }
sinks: { kept: { plugin: sqs, inputs: [gen], queue: kept } }
"""


class Journal(Case):
    def setUp(self):
        super().setUp()
        self.data = self.path("data")
        self.pipeline = self.write("p.yaml", f"data_dir: {self.data}\n" + TEXT % COUNT)

    def fill(self):
        self.assertEqual(weir("run", "-q", self.pipeline).returncode, 0)

    def journal(self, verb, *args, code=0):
        done = weir("journal", verb, self.data, *args)
        self.assertEqual(done.returncode, code, done)
        return done.stdout

    def live(self):
        report = json.loads(self.journal("check", "--json"))
        return {s["name"]: s["live"] for s in report["streams"]}.get("queue/kept", 0)

    def records(self, *args):
        return [json.loads(line) for line in self.journal("dump", "--json", *args).splitlines()]

    def snapshot(self):
        return {f: (os.path.getmtime(f), os.path.getsize(f)) for f in glob.glob(self.data + "/journal/*")}

    def damage(self, record):
        path = f"{self.data}/journal/slot-{record['slot']:04}"
        with open(path, "r+b") as f:
            f.seek(record["offset"] + 60)
            byte = f.read(1)[0]
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte ^ 0xFF]))

    def test_a_whole_one(self):
        self.fill()
        before = self.snapshot()
        self.assertIn("\nok\n", self.journal("check"))
        self.assertEqual(self.live(), COUNT)
        self.assertEqual(weir("journal", "check", self.pipeline).returncode, 0)
        self.assertEqual(weir("journal", "check", self.data + "/journal").returncode, 0)
        live = self.records("--stream", "queue/kept", "--live")
        self.assertEqual([r["sequence"] for r in live], list(range(COUNT)))
        self.assertTrue(all(r["live"] and r["type"] == "put" for r in live))
        self.assertEqual(len(self.records("--stream", "queue/kept", "--from", "290", "--live")), 10)
        self.assertEqual(len(self.records("--limit", "7")), 7)
        for secret in ("hunter2", b"hunter2".hex()):
            self.assertNotIn(secret, self.journal("dump") + self.journal("dump", "--json"))
        self.assertIn("hunter2", self.journal("dump", "--payload", "--stream", "queue/kept", "--live", "-n", "1"))
        self.assertEqual(self.snapshot(), before, "looking changes nothing")

    def test_damage_is_found_and_set_aside(self):
        self.fill()
        victim = self.records("--stream", "queue/kept", "--from", "100", "--live")[0]
        self.damage(victim)
        place = f"slot-{victim['slot']:04}:{victim['offset']}"
        found = self.journal("check", code=1)
        self.assertIn(place, found)
        self.assertIn("queue/kept: record 100 cannot be read", found)
        before = self.snapshot()
        self.assertIn("nothing was changed", self.journal("repair", "--dry-run"))
        self.assertEqual(self.snapshot(), before)
        done = self.journal("repair")
        self.assertIn(place, done)
        self.assertIn("could not be read: 1", done)
        kept = glob.glob(self.data + "/journal/quarantine/*")
        self.assertEqual(len(kept), 1)
        self.assertEqual(stat.S_IMODE(os.stat(kept[0]).st_mode), 0o600)
        self.assertIn("\nok\n", self.journal("check"))
        self.assertEqual(self.live(), COUNT - 1)

    def test_checkpoints_and_headers_are_written_anew(self):
        self.fill()
        slot = f"{self.data}/journal/slot-{self.records('--limit', '1')[0]['slot']:04}"
        for path in (slot, self.data + "/journal/check-a", self.data + "/journal/check-b"):
            if os.path.getsize(path):
                with open(path, "r+b") as f:
                    f.write(b"\xee" * 64)
        found = self.journal("check", code=1)
        self.assertIn("check-", found)
        self.assertIn("header", found)
        self.journal("repair")
        self.assertIn("\nok\n", self.journal("check"))
        self.assertEqual(self.live(), COUNT)

    def test_beside_a_runner(self):
        text = f"data_dir: {self.data}\n" + (TEXT % COUNT).replace("inputs: [gen]", "inputs: [gen, idle]")
        text = text.replace("sources: {", "sources: { idle: { plugin: http, listen: 127.0.0.1:0, "
                            "routes: { POST /: { type: A } } },")
        r = self.start(self.write("live.yaml", text))
        wait_for(lambda: self.live() == COUNT, "all are in the queue")
        self.assertIn("in use by pid", self.journal("check"))
        self.assertEqual(len(self.records("--live", "--stream", "queue/kept")), COUNT)
        for args in ((), ("--dry-run",)):
            done = weir("journal", "repair", self.data, *args)
            self.assertEqual(done.returncode, 69, done)
            self.assertIn("in use by pid", done.stderr)
        r.stop()

    def test_a_file_that_cannot_be_opened(self):
        """It may hold accepted events: nothing is begun without it, and nothing is lost once it can be opened."""
        self.fill()
        slot = f"{self.data}/journal/slot-{self.records('--limit', '1')[0]['slot']:04}"
        check = next(p for p in (self.data + "/journal/check-a", self.data + "/journal/check-b") if os.path.exists(p))
        for path in (slot, check):
            os.rename(path, self.path("aside"))
            os.symlink(self.path("aside"), path)  # stands for what root may open all the same
            for command in (("run", "-q", self.pipeline), ("audit", self.pipeline),
                            ("queue", "ls", "-c", self.pipeline), ("queue", "purge", "kept", "-c", self.pipeline)):
                done = weir(*command)
                self.assertEqual(done.returncode, 74, done)
                self.assertIn("open " + os.path.basename(path), done.stderr)
            os.remove(path)
            os.rename(self.path("aside"), path)
        self.assertEqual(self.live(), COUNT)
        for count in range(5, 30):  # descriptors
            done = weir("run", "-q", self.pipeline, before=["prlimit", f"--nofile={count}"])
            self.assertNotIn("lost", done.stderr)
            self.assertIn(done.returncode, (0, 74, 78), done)
            self.assertEqual(done.returncode != 0, "weir: error: " in done.stderr, done)
        self.assertEqual(weir("audit", self.pipeline).returncode, 0)

    def test_the_last_segment_is_gone(self):
        """What it had is lost and named; the run goes on, over a kill as well."""
        text = (f"data_dir: {self.data}\nadmin: {{ listen: '127.0.0.1:0' }}\n"
                "sources: { api: { plugin: http, listen: '127.0.0.1:0', routes: { POST /: { type: A } } } }\n"
                "sinks: { kept: { plugin: sqs, inputs: [api], queue: kept } }\n")
        r = self.start(self.write("live.yaml", text))
        r.post("api", "/", {"n": 0})
        r.stop()
        os.remove(f"{self.data}/journal/slot-{self.records('--limit', '1')[0]['slot']:04}")
        for n in (1, 2, 3):
            r = self.start(r.pipeline)
            self.assertEqual(r.post("api", "/", {"n": n}).status, 200)
            if n == 1:
                self.assertIn("1 records from number 0 on are lost", r.log)
            r.kill()
        bodies = [json.loads(line)["body"]["n"] for line in weir("queue", "peek", "kept", "-c", r.pipeline).stdout.splitlines()]
        self.assertEqual(bodies, [1, 2, 3])

    def test_a_limit_of_file_sizes(self):
        """An error like a full disk, not the end by a signal."""
        done = weir("run", "-q", self.pipeline, before=["prlimit", "--fsize=100000"])
        self.assertEqual(done.returncode, 74, done)
        self.assertIn("File too large", done.stderr)

    def test_misuse(self):
        for args in (("mend",), ()):
            self.assertEqual(weir("journal", *args).returncode, 64)
        self.assertEqual(weir("journal", "check", self.path("nothing")).returncode,
                         weir("validate", self.path("nothing")).returncode)
        os.mkdir(self.path("empty"))
        done = weir("journal", "check", self.path("empty"))
        self.assertEqual(done.returncode, 65)
        self.assertIn("no journal", done.stderr)


if __name__ == "__main__":
    main()
