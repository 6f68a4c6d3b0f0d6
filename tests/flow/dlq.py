"""dlq.py: weir dlq on live and stopped pipelines: nothing lost, nothing doubled, the ledger true."""
import json
import os
import pty
import signal
import subprocess

from harness import ROOT, WEIR, Case, main, request, wait_for

PIPELINE = """
sources:
  api:
    plugin: http
    listen: 127.0.0.1:0
    routes: { "POST /o": { type: Order, source: shop } }
sinks:
  good: { plugin: file, inputs: [api], path: %s }
  bad: { plugin: http, inputs: [api], url: "%s", retry: { max_attempts: 2, backoff: 1ms } }
"""


class Dlq(Case):
    def make(self, count, *answers):
        """A pipeline with `count` orders dead at the sink `bad`."""
        self.receiver = self.stub(*(answers or (400,)))
        r = self.start(PIPELINE % (self.path("good.ndjson"), self.receiver.url))
        self.ids = [r.post("api", "/o", {"n": n, "country": ["CH", "DE"][n % 2]}).json["event_id"]
                    for n in range(count)]
        r.wait_settled(dead_lettered=count)
        return r

    def dlq(self, r, *args, code=0):
        done = r.weir("dlq", *args)
        self.assertEqual(done.returncode, code, done)
        return done.stdout

    def lines(self, r, *args):
        return [json.loads(line) for line in self.dlq(r, "ls", "--json", *args).splitlines()]

    def test_list_and_show(self):
        r = self.make(6)
        for _ in range(2):
            found = self.lines(r)
            self.assertEqual({l["id"] for l in found}, set(self.ids))
            self.ids = [l["id"] for l in found]
            first = found[0]
            self.assertEqual((first["stage"], first["class"], first["attempts"], first["queue"], first["state"]),
                             ("bad", "rejected", 1, "dead-letters", "visible"))
            self.assertRegex(first["reason"], "400")
            self.assertLessEqual(first["first_time"], first["last_time"])
            self.assertEqual([l["id"] for l in self.lines(r, "--newest", "-n", "2")], self.ids[:3:-1])
            self.assertEqual(len(self.lines(r, "--where", '{"detail":{"country":["DE"]}}')), 3)
            self.assertEqual(self.lines(r, "--stage", "good"), [])
            self.assertEqual(len(self.lines(r, "--class", "rejected", "--stage", "bad")), 6)
            self.assertEqual(self.lines(r, "--older-than", "1h"), [])
            self.assertEqual(self.lines(r, "--summary"), [{"letters": 6, "stage": "bad", "class": "rejected"}])
            table = self.dlq(r, "ls", "-n", "2")
            self.assertIn(self.ids[1], table)
            self.assertNotIn(self.ids[2], table)
            self.assertIn("... 4 more", table)
            self.assertIn("       6  bad: rejected", table)
            shown = self.dlq(r, "show", self.ids[3])
            self.assertIn("\nreason ", shown)
            self.assertRegex(shown, r'\n\n\{"n": [0-5], "country": "(CH|DE)"\}\n')
            whole = json.loads(self.dlq(r, "show", "3", "--json"))
            self.assertEqual(whole["id"], self.ids[3])
            self.assertIn(str(whole["body"]["n"]), shown)
            self.assertEqual(whole["attributes"]["dead.stage"], "bad")
            self.dlq(r, "show", "01a20572-54ab-7197-8d2b-723362056c58", code=65)
            if r.process.poll() is None:
                r.stop()

    def test_what_is_typed_wrong(self):
        r = self.make(1)
        self.assertIn("event pattern", r.weir("dlq", "ls", "--where", '{"a":1}').stderr)
        for args in (("list",), ("show",), ("ls", "--where", "x"), ("redrive", "--rate", "fast"),
                     ("ls", "--older-than", "2"), ("purge",)):
            self.assertEqual(r.weir("dlq", *args).returncode, 64, args)
        for _ in range(2):
            for act in (("redrive",), ("purge", "--yes")):
                self.assertEqual(r.weir("dlq", *act, "--limit", "0").returncode, 64, "0 is not: all")
                for args in (("77",), ("01a20572-54ab-7197-8d2b-723362056c58",), ("--queue", "nope")):
                    done = r.weir("dlq", *act, *args)
                    self.assertEqual((done.returncode, done.stdout), (65, ""), done)
                    self.assertIn("no queue nope" if args[0] == "--queue" else "no dead letter", done.stderr)
            self.assertEqual(r.weir("dlq", "ls", "--queue", "nope").returncode, 65)
            self.assertEqual(len(self.lines(r, "--queue", "dead-letters")), 1)
            if r.process.poll() is None:
                r.stop()

    def test_odd_names_are_no_paths(self):
        r = self.make(1)
        for name in ("x/../dead-letters", "dead-letters?", "dead-letters#", "dead letters", "%64ead-letters"):
            done = r.weir("queue", "purge", name)
            self.assertEqual(done.returncode, 65, done)
            self.assertIn(f"no queue {name}:", done.stderr)
        self.assertEqual(len(self.lines(r)), 1)

    def test_a_number_of_several_queues(self):
        """Each queue numbers its letters from 0: a number alone removes and sends nothing."""
        receiver = self.stub(400)
        sink = "  %s: { plugin: http, inputs: [api], url: '%s', dead_letter: %s }\n"
        r = self.start("sources:\n  api: { plugin: http, listen: 127.0.0.1:0, routes: { POST /o: { type: O } } }\n"
                       "sinks:\n" + "".join(sink % (n, receiver.url, n + "-dead") for n in "ab"))
        r.post("api", "/o", {"n": 1})
        r.wait_settled(dead_lettered=2)
        self.assertRegex(self.dlq(r, "ls"), r"QUEUE +LETTER[^\n]*\n(?s:.*)a-dead +0 ")
        for act in (("redrive", "0"), ("purge", "0", "--yes")):
            done = r.weir("dlq", *act)
            self.assertEqual(done.returncode, 64)
            self.assertIn("--queue", done.stderr)
        self.assertEqual(self.dlq(r, "purge", "0", "--yes", "--queue", "a-dead"), "1 dead letters purged\n")
        self.assertEqual([l["queue"] for l in self.lines(r)], ["b-dead"])

    def test_an_address_that_a_killed_runner_left(self):
        """Another pipeline's runner has it by now: it is not asked, and its letters stay."""
        a = self.make(2)
        port = a.admin[1]
        a.kill()
        other = self.write("other/pipeline.yaml", "data_dir: " + self.path("other/data") + PIPELINE %
                           (self.path("other/good"), self.receiver.url))
        b = self.start(other, f"admin.listen=127.0.0.1:{port}")
        b.post("api", "/o", {"n": 7})
        b.wait_settled(dead_lettered=1)
        self.assertEqual(len(self.lines(a)), 2)
        self.assertEqual(self.dlq(a, "purge", "--yes"), "2 dead letters purged\n")
        self.assertEqual(len(self.lines(b)), 1)

    def test_looking_keeps_nobody_out(self):
        """What only looks at a stopped pipeline writes nothing and takes no lock."""
        r = self.make(3)
        r.stop()
        path = self.path("data", "journal")
        before = {n: os.stat(os.path.join(path, n)).st_mtime_ns for n in os.listdir(path)}
        for args in (("dlq", "ls"), ("dlq", "show", "0"), ("dlq", "redrive", "--dry-run"),
                     ("dlq", "purge", "--dry-run"), ("queue", "ls"), ("queue", "peek", "dead-letters")):
            done = r.weir(*args)
            self.assertEqual(done.returncode, 0, done)
        after = {n: os.stat(os.path.join(path, n)).st_mtime_ns for n in os.listdir(path)}
        self.assertEqual(before, after)

    def redriven(self, is_live):
        r = self.make(20, *[400] * 20, 200)
        if not is_live:
            r.stop()
        self.assertEqual(self.dlq(r, "redrive", "--dry-run"), "dry run: 20 dead letters would be redriven\n")
        self.assertEqual(len(self.lines(r)), 20)
        chosen = self.dlq(r, "redrive", "--where", '{"detail":{"country":["CH"]}}', "--limit", "4")
        self.assertEqual(chosen, "4 dead letters redriven\n")
        self.assertEqual(self.dlq(r, "redrive", self.ids[1]), "1 dead letters redriven\n")
        self.assertEqual(json.loads(self.dlq(r, "redrive", "--json"))["redriven"], 15)
        if not is_live:
            r = self.start(r.pipeline)
        r.wait_settled(accepted=20, copied=20, redriven=20, dead_lettered=20, delivered=40)
        self.assertEqual(self.lines(r), [])
        ids = [json.loads(body)["n"] for body in self.receiver.bodies]
        self.assertEqual(sorted(ids), sorted(list(range(20)) * 2), "each twice: once before, once after")
        keys = [headers["idempotency-key"] for _, headers, _ in self.receiver.requests]
        self.assertEqual(sorted(keys), sorted(self.ids * 2), "the same id each time")
        self.assertFalse([h for _, h, _ in self.receiver.requests if any("dead" in k for k in h)])
        self.wait_lines(self.path("good.ndjson"), 20)
        r.stop()

    def test_redrive_live(self):
        self.redriven(True)

    def test_redrive_stopped(self):
        self.redriven(False)

    def test_those_that_fail_again_are_not_redriven_in_circles(self):
        r = self.make(5)
        self.assertEqual(self.dlq(r, "redrive"), "5 dead letters redriven\n")
        r.wait_settled(redriven=5, dead_lettered=10)
        self.assertEqual({l["id"] for l in self.lines(r)}, set(self.ids))

    def purged(self, is_live):
        r = self.make(10)
        if not is_live:
            r.stop()
        self.assertEqual(self.dlq(r, "purge", "--dry-run", "--stage", "bad"),
                         "dry run: 10 dead letters would be purged\n")
        done = self.dlq(r, "purge", "--yes", "--where", '{"detail":{"country":["CH"]}}')
        self.assertEqual(done, "5 dead letters purged\n")
        self.assertEqual({l["id"] for l in self.lines(r)}, set(self.ids[1::2]))
        if not is_live:
            r = self.start(r.pipeline)
        r.wait_settled(dead_lettered=10, accepted=10)

    def test_purge_live(self):
        self.purged(True)

    def test_purge_stopped(self):
        self.purged(False)

    def on_terminal(self, r, answer):
        ours, its = pty.openpty()
        process = subprocess.Popen([WEIR, "dlq", "purge", "-c", r.pipeline], cwd=ROOT, env=r.env, stdin=its,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.write(ours, answer)
        text = process.communicate()[0].decode()
        os.close(ours)
        os.close(its)
        return text

    def test_purge_asks(self):
        r = self.make(2)
        self.assertIn("remove 2 dead letters for good? [y/N] nothing was removed", self.on_terminal(r, b"n\n"))
        self.assertEqual(len(self.lines(r)), 2)
        self.assertIn("2 dead letters purged", self.on_terminal(r, b"y\n"))
        self.assertEqual(self.lines(r), [])

    def test_a_stage_that_is_gone(self):
        r = self.make(3)
        r.stop()
        with open(r.pipeline, encoding="utf-8") as f:
            text = f.read()
        self.write("pipeline.yaml", text.replace("  bad:", "  other:"))
        for is_live in (False, True):
            if is_live:
                r = self.start(r.pipeline)
            done = r.weir("dlq", "redrive")
            self.assertEqual(done.stdout, "0 dead letters redriven\n", done)
            self.assertIn('3 are kept: the pipeline file has no stage "bad" any more', done.stderr)
            self.assertEqual(len(self.lines(r)), 3)

    def test_interrupted(self):
        """Ctrl-C in the middle of a slow redrive: what was done is done, the same command does the rest."""
        r = self.make(12, *[400] * 12, 200)
        process = subprocess.Popen([WEIR, "dlq", "redrive", "--rate", "5/s", "-c", r.pipeline], cwd=ROOT, env=r.env,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: len(self.receiver.requests) >= 14, "the first two")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("interrupted", err)
        done = int(out.split()[0])
        self.assertTrue(2 <= done < 12, out)
        self.assertEqual(self.dlq(r, "redrive"), f"{12 - done} dead letters redriven\n")
        r.wait_settled(redriven=12, delivered=24)
        self.assertEqual(len(self.receiver.requests), 24)

    def test_killed_while_redriving(self):
        """kill -9 of the runner at any moment of a redrive: no letter is lost, none is there twice."""
        r = self.make(60, *[400] * 60, 200)
        process = subprocess.Popen([WEIR, "dlq", "redrive", "--rate", "400/s", "-c", r.pipeline], cwd=ROOT,
                                   env=r.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: len(self.receiver.requests) >= 70, "some that came back")
        r.kill()
        process.communicate()  # goes on with the stopped pipeline
        r = self.start(r.pipeline)
        self.dlq(r, "redrive")
        r.wait_settled(accepted=60, redriven=60)
        self.assertEqual(self.lines(r), [])
        after = [json.loads(body)["n"] for body in self.receiver.bodies[60:]]
        self.assertEqual(set(after), set(range(60)))

    def test_control_asks_for_the_header(self):
        r = self.make(1)
        body = b'{"act":"purge","queue":"dead-letters"}'
        address = r.admin
        self.assertEqual(request(address, "POST", "/dead-letters", body).status, 403)
        self.assertEqual(request(address, "POST", "/dead-letters", b"{").status, 400)
        self.assertEqual(request(address, "POST", "/dead-letters", b'{"act":"list","queue":"x"}').status, 404)
        self.assertEqual(request(address, "GET", "/dead-letters").json, [{"name": "dead-letters", "letters": 1}])
        self.assertEqual(request(address, "POST", "/dead-letters", body, {"X-Weir-Control": "1"}).json["done"], 1)


if __name__ == "__main__":
    main()
