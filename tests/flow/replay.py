"""replay.py: archived events brought to their bus again: all, a part, to one rule; after a crash; cancelled."""
import http.client
import json
import os
import pty
import signal
import subprocess

from harness import WEIR, Case, IS_SANITIZED, lines_of, main, request, wait_for, weir

API = """
sources:
  api:
    plugin: http
    listen: 127.0.0.1:0
    routes: { "POST /o": { type: Order, source: shop } }
"""

BUS = API + """
transforms:
  bus:
    plugin: eventbridge
    inputs: [api]
    archive: { name: orders }
    rules:
      large: { pattern: { detail: { n: [ { numeric: [">=", 5] } ] } } }
      live: { pattern: { source: [shop], replay-name: [ { exists: false } ] } }
      again: { pattern: { replay-name: [ { exists: true } ] } }
      name: { pattern: { replay-name: [ { prefix: my- } ] }, input_path: $.replay-name }
sinks:
  all: { plugin: file, inputs: [bus], path: "%(folder)s/all", format: envelope }
  large: { plugin: file, inputs: [bus.large], path: "%(folder)s/large", format: envelope }
  live: { plugin: file, inputs: [bus.live], path: "%(folder)s/live", format: envelope }
  again: { plugin: file, inputs: [bus.again], path: "%(folder)s/again", format: envelope }
  name: { plugin: file, inputs: [bus.name], path: "%(folder)s/name" }
  rest: { plugin: file, inputs: [bus.unmatched], path: "%(folder)s/rest" }
"""

SENT = API + """
transforms:
  bus:
    plugin: eventbridge
    inputs: [api]
    archive: { name: orders, pattern: { detail: { kept: [true] } } }
    rules:
      kept: { pattern: { replay-name: [ { exists: true } ] } }
sinks:
  out: { plugin: http, inputs: [bus.kept], url: "%(url)s", concurrency: 4, batch: { max_events: 1 }, retry: { backoff: 5ms, backoff_max: 5ms } }
"""


class Replay(Case):
    def begin(self, text=BUS, **more):
        return self.start(text % {"folder": self.folder, **more})

    def fill(self, r, numbers):
        return [r.post("api", "/o", {"n": n, "kept": True}).json["event_id"] for n in numbers]

    def fill_fast(self, r, count):
        c = http.client.HTTPConnection(*r.address("api"))
        for n in range(count):
            c.request("POST", "/o", b'{"kept":true,"n":%d}' % n, {"Content-Type": "application/json"})
            self.assertEqual(c.getresponse().read()[:2], b'{"')
        c.close()

    def replay(self, r, *args, code=0):
        done = r.weir("replay", *args)
        self.assertEqual(done.returncode, code, done)
        return done.stdout if code == 0 else done.stderr

    def of(self, r, name):
        return json.loads(self.replay(r, "show", name, "--json"))

    def state(self, r, name):
        return self.of(r, name)["state"]

    def numbers(self, sink):
        return [e["detail"]["n"] for e in lines_of(self.path(sink))]

    def settled(self, r):
        """Nothing is under way, the file's sums agree with the journal's."""
        r.wait_settled()
        self.assertEqual(r.weir("audit").returncode, 0)

    def archived(self, r):
        return json.loads(r.weir("archive", "ls", "--json").stdout)[0]["events"]

    def test_all_of_it(self):
        r = self.begin()
        ids = self.fill(r, range(10))
        r.wait_settled()
        out = self.replay(r, "--archive", "orders", "--from", "1h", "--name", "my-1", "--wait")
        self.assertIn("replay my-1: COMPLETED: 10 events were sent", out)
        self.settled(r)
        self.assertEqual(self.numbers("all"), [*range(10)] * 2)
        self.assertEqual(self.numbers("large"), [*range(5, 10)] * 2)
        self.assertEqual(self.numbers("live"), [*range(10)])
        again = lines_of(self.path("again"))
        self.assertEqual([e["id"] for e in again], ids)
        first = lines_of(self.path("live"))
        for old, new in zip(first, again):
            self.assertEqual(list(new), ["version", "id", "detail-type", "source", "account", "time", "region",
                                         "replay-name", "resources", "detail"])
            self.assertEqual(new, {**old, "replay-name": "my-1"})
        self.assertEqual(lines_of(self.path("name")), ["my-1"] * 10)
        self.assertEqual(lines_of(self.path("rest")), [])
        self.assertEqual(self.archived(r), 10)  # not once more
        self.assertEqual(r.ledger()["replayed"], 10)
        told = self.of(r, "my-1")
        self.assertEqual((told["state"], told["events"], told["done"], told["sent"], told["bus"]),
                         ("COMPLETED", 10, 10, 10, "bus"))
        figures = r.metrics()
        self.assertEqual((figures["weir_replay_events_total"], figures["weir_replays_running"],
                          figures['weir_replays_ended_total{state="completed"}']), (10, 0, 1))
        self.assertIn("replay my-1: completed", r.log)
        hops = [json.loads(line) for line in r.weir("trace", ids[0], "--json").stdout.splitlines()]
        self.assertEqual([(h["stage"], h["detail"]) for h in hops if h["verdict"] == "replayed"], [("bus", "my-1")])
        r.stop()
        self.assertEqual(self.of(r, "my-1"), told)
        self.assertIn("my-1", self.replay(r, "ls"))
        self.assertEqual(weir("audit", "-c", r.pipeline, env=r.env).returncode, 0)

    def test_a_part_of_it(self):
        r = self.begin()
        self.fill(r, range(6))
        r.wait_settled()
        shown = [json.loads(line) for line in r.weir("archive", "show", "orders").stdout.splitlines()]
        times = [e["archived"] for e in shown]
        inside = [e["body"]["n"] for e in shown if times[2] <= e["archived"] < times[4]]
        self.replay(r, "--from", times[2], "--to", times[4], "--wait")
        self.settled(r)
        self.assertEqual(self.numbers("again"), inside)
        self.replay(r, "--from", "-1h", "--where", '{"detail":{"n":[1,5]}}', "--name", "w", "--wait")
        self.settled(r)
        self.assertEqual(self.numbers("again"), inside + [1, 5])
        self.assertEqual(self.of(r, "w")["sent"], 2)
        out = self.replay(r, "--from", "2h", "--to", "1h", "--wait")  # nothing came then
        self.assertIn("COMPLETED: 0 events", out)
        self.assertEqual(len(json.loads(self.replay(r, "ls", "--json"))), 3)

    def test_to_one_rule(self):
        r = self.begin()
        self.fill(r, range(8))
        r.wait_settled()
        for rule in ("large", "bus.large"):
            self.replay(r, "--from", "oldest", "--rule", rule, "--wait")
        self.settled(r)
        self.assertEqual(self.numbers("large"), [5, 6, 7] * 3)
        for sink in ("all", "live"):
            self.assertEqual(self.numbers(sink), [*range(8)])
        for sink in ("again", "rest"):
            self.assertEqual(lines_of(self.path(sink)), [])
        self.replay(r, "--from", "oldest", "-r", "large", "-r", "name", "--name", "my-2", "--wait")
        self.settled(r)
        self.assertEqual(self.numbers("large"), [5, 6, 7] * 4)
        self.assertEqual(lines_of(self.path("name")), ["my-2"] * 8)
        self.assertEqual(self.archived(r), 8)

    def test_dry_run(self):
        r = self.begin()
        self.fill(r, range(8))
        r.wait_settled()
        self.assertEqual(weir("rules", "disable", "bus.again", r.pipeline, env=r.env).returncode, 0)
        for _ in range(2):
            told = json.loads(self.replay(r, "--from", "1h", "--dry-run", "--name", "my-x", "--json"))
            self.assertEqual((told["events"], told["rules"], told["unmatched"]),
                             (8, {"bus.large": 3, "bus.live": 0, "bus.name": 8}, 0))
            told = json.loads(self.replay(r, "--from", "1h", "--dry-run", "--rule", "large", "--json"))
            self.assertEqual((told["rules"], told["unmatched"]), ({"bus.large": 3}, 5))
            self.assertIn("dry run: 8 events", self.replay(r, "--from", "1h", "--dry-run"))
            self.assertEqual(json.loads(self.replay(r, "ls", "--json")), [])
            if r.process.poll() is None:
                self.assertEqual(r.ledger()["replayed"], 0)
                r.stop()
        alone = weir("replay", "--from", "1h", "--dry-run", "-d", self.path("data"))  # without the file
        self.assertRegex(alone.stdout, r"^dry run: 8 events \(\d+ bytes\) would be sent\n$")

    def test_dry_run_pages(self):
        r = self.begin(SENT, url=self.stub().url)
        self.fill_fast(r, 600)
        told = json.loads(self.replay(r, "--from", "1h", "--dry-run", "--json"))
        self.assertEqual((told["events"], told["rules"]), (600, {"bus.kept": 600}))

    def test_in_order(self):
        stub = self.stub(503, 200, 503, 503, 200)  # a batch that fails is tried again while others are under way
        r = self.begin(SENT, url=stub.url)
        self.fill(r, range(30))
        self.replay(r, "--from", "1h", "--ordered", "--wait")
        self.settled(r)
        came = [json.loads(body)["n"] for body in stub.bodies]
        self.assertEqual([n for i, n in enumerate(came) if not i or came[i - 1] != n], [*range(30)])
        self.assertEqual(len(came), 33)

    def test_speed(self):
        r = self.begin()
        self.fill(r, [0])
        wait_for(lambda: request(r.admin, "GET", "/livez").status == 200, "a moment")
        subprocess.run(["sleep", "0.3"], check=True)
        self.fill(r, [1])
        r.wait_settled()
        for speed, least in (("1x", 0.3), ("2x", 0.15), ("10/s", 0.0), ("max", 0.0)):
            self.replay(r, "--from", "1h", "--speed", speed, "--name", speed.replace("/", "_"), "--wait")
            told = self.of(r, speed.replace("/", "_"))
            self.assertGreaterEqual((told["ended_ns"] - told["started_ns"]) / 1e9, least - 0.01, speed)
        self.settled(r)
        self.assertEqual(self.numbers("again"), [0, 1] * 4)

    def test_goes_on_after_a_crash(self):
        count = 200 if IS_SANITIZED else 500
        stub = self.stub()
        r = self.begin(SENT, url=stub.url)
        ids = set(self.fill(r, range(count)))
        self.replay(r, "--from", "1h", "--speed", "500/s", "--name", "long")
        for part in (5, 3, 2):
            wait_for(lambda part=part: self.of(r, "long")["sent"] > count // part // 2, "a part")
            r.kill()
            before = self.of(r, "long")
            self.assertIn(before["state"], ("RUNNING", "COMPLETED"))  # as it lies on disk
            self.assertEqual(before["state"] == "COMPLETED", before["done"] == count)
            r = self.begin(SENT, url=stub.url)
            self.assertTrue(before["state"] == "COMPLETED" or r.wait_log("replay long: goes on"))
        wait_for(lambda: self.state(r, "long") == "COMPLETED", "the end")
        self.settled(r)
        self.assertEqual({json.loads(body)["n"] for body in stub.bodies}, set(range(count)))
        self.assertEqual(self.of(r, "long")["sent"], count)
        self.assertEqual(self.archived(r), len(ids))
        r.stop()
        self.assertEqual(self.of(r, "long")["state"], "COMPLETED")

    def test_goes_on_after_a_stop(self):
        stub = self.stub()
        r = self.begin(SENT, url=stub.url)
        self.fill(r, range(60))
        self.replay(r, "--from", "1h", "--speed", "50/s", "--name", "slow")
        wait_for(lambda: self.of(r, "slow")["sent"] > 5, "a part")
        r.stop()
        left = self.of(r, "slow")
        self.assertEqual((left["state"], left["done"] < 60), ("RUNNING", True))
        self.assertEqual(len(stub.bodies), left["done"])  # what was sent is told
        r = self.begin(SENT, url=stub.url)
        self.assertIn("COMPLETED", self.replay(r, "show", "slow", "--wait"))
        self.settled(r)
        self.assertEqual(sorted(json.loads(body)["n"] for body in stub.bodies), [*range(60)])

    def test_noted_for_the_next_start(self):
        r = self.begin()
        self.fill(r, range(4))
        self.settled(r)
        r.stop()
        done = r.weir("replay", "--from", "1h", "--rule", "bus.large", "--rule", "again", "--name", "later", "--wait")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("begins when it starts", done.stderr)
        self.replay(r, "--from", "1h", "--name", "never")
        self.replay(r, "cancel", "never")
        self.assertIn("no rule", self.replay(r, "--from", "1h", "--rule", "nobody", code=64))
        self.assertEqual(self.state(r, "later"), "STARTING")
        r = self.begin()
        wait_for(lambda: self.state(r, "later") == "COMPLETED", "the end")
        self.settled(r)
        self.assertEqual(self.numbers("again"), [0, 1, 2, 3])
        self.assertEqual(self.state(r, "never"), "CANCELLED")

    def test_cancel_and_wait(self):
        stub = self.stub("hang")
        r = self.begin(SENT, url=stub.url)
        self.fill(r, range(20))
        self.replay(r, "--from", "1h", "--ordered", "--name", "stuck")
        wait_for(lambda: stub.requests, "the first event")
        with subprocess.Popen([WEIR, "replay", "show", "stuck", "--wait", "-c", r.pipeline], env=r.env,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
            line = follower.stderr.readline()  # a line of progress
            self.assertRegex(line, r"stuck: 0 of 20 events \(0%\)")
            follower.send_signal(signal.SIGINT)
            told = follower.communicate()
        self.assertEqual(follower.returncode, 130)
        self.assertIn("the replay goes on", told[1])
        self.assertEqual(self.state(r, "stuck"), "RUNNING")
        self.assertIn("CANCELLED", self.replay(r, "cancel", "stuck"))
        self.assertIn("is over already", self.replay(r, "cancel", "stuck", code=69))
        self.replay(r, "show", "stuck", "--wait", code=1)
        stub.close()
        self.assertEqual(len(stub.requests), 1)

    def test_waits_for_a_sink_that_is_behind(self):
        stub = self.stub("hang")
        r = self.begin(SENT, url=stub.url)
        self.fill_fast(r, 1100)
        for name in ("first", "second", "back"):
            self.replay(r, "--from", "1h", "--name", name)
        told = wait_for(lambda: (t := self.of(r, "back")).get("waits_for") and t, "that it waits")
        self.assertIn("out, which has many events", told["waits_for"])
        self.assertLess(told["sent"], 1100)
        self.assertLess(r.ledger()["in_flight"], 3300)
        self.assertEqual(r.post("api", "/o", {"n": 1}).status, 200)  # what is live goes on
        self.replay(r, "cancel", "back")

    def test_on_a_terminal(self):
        r = self.begin()
        self.fill(r, range(3))
        main_fd, its_fd = pty.openpty()
        with subprocess.Popen([WEIR, "replay", "--from", "1h", "--speed", "10/s", "-c", r.pipeline], env=r.env,
                              stdin=subprocess.DEVNULL, stdout=its_fd, stderr=its_fd):
            os.close(its_fd)
            text = b""
            try:
                while part := os.read(main_fd, 65536):
                    text += part
            except OSError:
                pass
        os.close(main_fd)
        self.assertIn(b"COMPLETED: 3 events were sent", text)

    def test_what_is_wrong(self):
        r = self.begin()
        self.fill(r, range(3))
        r.wait_settled()
        self.replay(r, "--from", "1h", "--name", "one", "--wait")
        for code, words, args in (
                (64, "say from when", ()),
                (64, "--from and --to are times", ("--from", "yesterday")),
                (64, "--from and --to are times", ("--from", "1h", "--to", "2026-99-01T00:00:00Z")),
                (64, "is not before the end", ("--from", "1h", "--to", "2h")),
                (64, "--speed is", ("--from", "1h", "--speed", "fast")),
                (64, "--speed is", ("--from", "1h", "--speed", "0x")),
                (64, "where is no event pattern", ("--from", "1h", "--where", '{"a":1}')),
                (64, "it is not JSON", ("--from", "1h", "--where", "a")),
                (64, "has no rule larg: did you mean large?", ("--from", "1h", "--rule", "larg")),
                (64, "name has 1 to 64", ("--from", "1h", "--name", "a b")),
                (64, "does not keep the archive", ("--from", "1h", "--bus", "other")),
                (64, "unknown action", ("stop",)),
                (64, "needs the name", ("cancel",)),
                (65, "no archive nobody", ("--archive", "nobody", "--from", "1h")),
                (65, "no replay nobody", ("show", "nobody")),
                (65, "no replay nobody", ("cancel", "nobody")),
                (69, "a replay one exists already (COMPLETED)", ("--from", "1h", "--name", "one"))):
            self.assertIn(words, self.replay(r, *args, code=code))
        r.stop()
        for code, words, args in (
                (65, "no archive nobody", ("--archive", "nobody", "--from", "1h")),
                (64, "is not before the end", ("--from", "1h", "--to", "2h")),
                (69, "exists already", ("--from", "1h", "--name", "one")),
                (65, "no replay nobody", ("show", "nobody"))):
            self.assertIn(words, self.replay(r, *args, code=code))

    def test_only_with_the_header(self):
        r = self.begin()
        body = json.dumps({"from_ns": 1, "to_ns": 2})
        self.assertEqual(request(r.admin, "POST", "/replays", body).status, 403)
        self.assertEqual(request(r.admin, "POST", "/replays/x/cancel").status, 403)
        for wrong in ("", "[]", '{"rules":1,"to_ns":1}', '{"to_ns":1,"rules":[1]}', "{}",
                      json.dumps({"to_ns": 1, "rules": ["a"] * 101})):
            self.assertEqual(request(r.admin, "POST", "/replays", wrong, {"X-Weir-Control": "1"}).status, 400, wrong)

    def test_its_bus_has_gone(self):
        text = BUS % {"folder": self.folder}
        r = self.start(text)
        self.fill(r, range(3))
        self.settled(r)
        r.stop()
        self.replay(r, "--from", "1h", "--name", "late")
        r = self.start(text.replace("archive: { name: orders }", ""))
        wait_for(lambda: self.state(r, "late") == "FAILED", "the end")
        self.assertIn("no bus of the pipeline file keeps the archive orders", self.of(r, "late")["reason"])
        self.replay(r, "--from", "1h", code=65)
        r.stop()

    def test_its_archive_is_purged(self):
        r = self.begin()
        self.fill(r, range(30))
        r.wait_settled()
        self.replay(r, "--from", "1h", "--speed", "30/s", "--name", "half")
        wait_for(lambda: self.of(r, "half")["sent"] > 2, "a part")
        self.assertEqual(r.weir("archive", "purge", "orders", "--yes").returncode, 0)
        self.assertIn("some events had left the archive", self.replay(r, "show", "half", "--wait"))
        told = self.of(r, "half")
        self.assertEqual((told["sent"] + told["missed"], told["done"]), (30, 30))
        self.assertGreater(told["missed"], 0)
        self.settled(r)
        self.assertEqual(self.numbers("again"), [*range(told["sent"])])

    def test_while_the_file_changes(self):
        text = SENT % {"url": self.stub().url}
        r = self.start(text)
        self.fill(r, range(40))
        self.replay(r, "--from", "1h", "--speed", "100/s", "--name", "through")
        wait_for(lambda: self.of(r, "through")["sent"] > 2, "a part")
        new = text.replace("kept: {", "more: { pattern: { source: [none] } }\n      kept: {")
        self.write("pipeline.yaml", "data_dir: ${WEIR_DATA_DIR}\n" + new)
        self.assertEqual(r.weir("reload").returncode, 0)
        wait_for(lambda: self.state(r, "through") == "COMPLETED", "the end")
        self.settled(r)
        self.assertEqual(self.of(r, "through")["sent"], 40)


if __name__ == "__main__":
    main()
