"""bus.py: the event bus: what targets get, rules switched on and off, dead letters of targets."""
import json

from harness import Case, lines_of, main, request, wait_for, weir

API = """
sources:
  api:
    plugin: http
    listen: 127.0.0.1:0
    routes: { "POST /o": { type: Order, source: shop } }
"""

SHAPES = API + """
transforms:
  bus:
    plugin: eventbridge
    inputs: [api]
    rules:
      constant: { pattern: { source: [shop] }, input: '{"job": "nightly"}' }
      list: { pattern: { source: [shop] }, input_path: "$.detail.items[*].id" }
      made:
        pattern: { source: [shop] }
        input_transformer:
          input_paths: { who: $.detail.who }
          input_template: '{"to": <who>, "text": "hello <who>", "rule": <aws.events.rule-name>}'
sinks:
  constant: { plugin: file, inputs: [bus.constant], path: %s }
  list: { plugin: file, inputs: [bus.list], path: %s }
  made: { plugin: file, inputs: [bus.made], path: %s }
"""

TARGETS = API + """
transforms:
  bus:
    plugin: eventbridge
    inputs: [api]
    rules: { large: { pattern: { source: [shop] } }, small: { pattern: { source: [shop] } } }
sinks:
  target: { plugin: http, inputs: [bus.large], url: "%s", retry: { max_attempts: 3, backoff: 1ms } }
  two: { plugin: http, inputs: [bus.large, bus.small], url: "%s", retry: { max_attempts: 1 } }
"""

SWITCHED = API + """
transforms:
  bus:
    plugin: eventbridge
    inputs: [api]
    rules:
      a: { pattern: { source: [shop] }, enabled: true }
      b: { pattern: { source: [shop] }, enabled: false }
sinks:
  a: { plugin: file, inputs: [bus.a], path: %s }
  b: { plugin: file, inputs: [bus.b], path: %s }
  rest: { plugin: file, inputs: [bus.unmatched], path: %s }
"""


class Shapes(Case):
    def test_what_targets_get(self):
        names = ("constant", "list", "made")
        r = self.start(SHAPES % tuple(self.path(n) for n in names))
        r.post("api", "/o", {"who": "Ada", "items": [{"id": 1}, {"id": "b"}]})
        r.wait_settled(delivered=3)
        got = {n: lines_of(self.path(n)) for n in names}
        self.assertEqual(got, {"constant": [{"job": "nightly"}], "list": [[1, "b"]],
                               "made": [{"to": "Ada", "text": "hello Ada", "rule": "made"}]})

    def test_errors_have_a_place(self):
        text = SHAPES.replace("hello <who>", "hello <whom>").replace("list: { pattern: { source: [shop] }, ",
                                                                     "list: { pattern: { source: [shop] }, input: 5, ")
        with open(self.path("p.yaml"), "w", encoding="utf-8") as f:
            f.write(text % ("a", "b", "c"))
        done = weir("validate", self.path("p.yaml"))
        self.assertEqual(done.returncode, 78, done)
        line = text.split("\n").index(next(l for l in text.split("\n") if "<whom>" in l)) + 1
        column = text.split("\n")[line - 1].index("<whom>") + 1
        self.assertIn(f":{line}:{column}: error: InputTemplate contains invalid placeholder whom", done.stderr)
        self.assertIn("Only one of Input, InputPath, or InputTransformer must be provided for target list", done.stderr)


class Targets(Case):
    def letter(self, *answers):
        receiver = self.stub(*answers)
        r = self.start(TARGETS % (receiver.url, self.stub(400).url))
        r.post("api", "/o", {"n": 1})
        r.wait_settled(dead_lettered=3)
        letters = {}
        for l in r.dead_letters():
            letters.setdefault(l["attributes"]["dead.stage"], l["attributes"])
        return r, letters

    def test_exhausted(self):
        r, letters = self.letter(503)
        a = letters["target"]
        self.assertEqual(a["RULE_ARN"], "arn:aws:events:us-east-1:000000000000:rule/bus/large")
        self.assertEqual(a["TARGET_ARN"], "arn:weir:pipeline:us-east-1:000000000000:stage/target")
        self.assertEqual((a["RETRY_ATTEMPTS"], a["EXHAUSTED_RETRY_CONDITION"], a["ERROR_CODE"]),
                         ("2", "MaximumRetryAttempts", "INTERNAL_ERROR"))
        self.assertEqual(a["ERROR_MESSAGE"], a["dead.reason"])
        self.assertNotIn("RULE_ARN", letters["two"])

    def test_not_retried(self):
        r, letters = self.letter(400, 200)
        a = letters["target"]
        self.assertEqual((a["RETRY_ATTEMPTS"], a["ERROR_CODE"]), ("0", "INVALID_PARAMETER"))
        self.assertNotIn("EXHAUSTED_RETRY_CONDITION", a)
        self.assertEqual(r.weir("dlq", "redrive", "--stage", "target").returncode, 0)
        r.wait_settled(redriven=1, dead_lettered=3)


class Switch(Case):
    def switch(self, r, verb, rule, code=0):
        done = weir("rules", verb, rule, r.pipeline, env=r.env)
        self.assertEqual(done.returncode, code, done)
        return done

    def post(self, r, n):
        before = r.ledger()["accepted"]
        r.post("api", "/o", {"n": n})
        r.wait_settled(accepted=before + 1)

    def got(self):
        return {n: [e["n"] for e in lines_of(self.path(n))] for n in ("a", "b", "rest")}

    def test_live_stopped_and_by_the_file(self):
        text = SWITCHED % tuple(self.path(n) for n in ("a", "b", "rest"))
        r = self.start(text)
        self.post(r, 1)
        self.assertIn("bus.a is disabled", self.switch(r, "disable", "bus.a").stdout)
        self.post(r, 2)
        self.switch(r, "enable", "bus.b")
        self.post(r, 3)
        self.assertEqual({s["rule"]: s["enabled"] for s in r.get("/rules").json}, {"bus.a": False, "bus.b": True})
        self.assertEqual(self.got(), {"a": [1], "b": [3], "rest": [2]})
        self.assertIn("no rule bus.c", self.switch(r, "enable", "bus.c", 65).stderr)
        self.switch(r, "enable", "bus", 65)
        r.kill()
        r = self.start(text)  # what was switched holds
        self.post(r, 4)
        self.assertEqual(self.got(), {"a": [1], "b": [3, 4], "rest": [2]})
        r.stop()
        self.switch(r, "disable", "bus.b")
        r = self.start(text)
        self.post(r, 5)
        self.assertEqual(self.got(), {"a": [1], "b": [3, 4], "rest": [2, 5]})
        r.stop()
        r = self.start(text.replace("enabled: true", "enabled: false"))  # the file says the same, and has the word again
        r.wait_settled()
        r.stop()
        r = self.start(text)
        self.post(r, 6)
        self.assertEqual(self.got()["a"], [1, 6])
        r.stop()

    def test_only_with_the_header(self):
        r = self.start(SWITCHED % tuple(self.path(n) for n in ("a", "b", "rest")))
        self.assertEqual(request(r.admin, "POST", "/rules/bus.a/disable").status, 403)
        self.assertEqual(request(r.admin, "POST", "/rules/bus.x/disable", headers={"X-Weir-Control": "1"}).status, 404)


KEPT = API + """
transforms:
  bus:
    plugin: eventbridge
    inputs: [api]
    rules: { a: { pattern: { detail: { n: [1] } } } }
    archive: { name: orders, %s }
sinks:
  a: { plugin: file, inputs: [bus.a], path: %s }
"""


class Archive(Case):
    def archive(self, r, *args, code=0):
        done = r.weir("archive", *args)
        self.assertEqual(done.returncode, code, done)
        return done.stdout

    def shown(self, r, *args):
        return [json.loads(line) for line in self.archive(r, "show", "orders", *args).splitlines()]

    def listed(self, r):
        return {a["name"]: a for a in json.loads(self.archive(r, "ls", "--json"))}["orders"]

    def test_what_was_accepted_is_kept(self):
        r = self.start(KEPT % ("retention: 720h", self.path("a.ndjson")))
        ids = [r.post("api", "/o", {"n": n}).json["event_id"] for n in range(5)]
        r.kill()  # answered: so they are there
        r = self.start(KEPT % ("retention: 720h", self.path("a.ndjson")))
        for _ in range(2):
            events = self.shown(r)
            self.assertEqual([e["id"] for e in events], ids)
            self.assertEqual([(e["source"], e["type"], e["body"]) for e in events],
                             [("shop", "Order", {"n": n}) for n in range(5)])
            self.assertEqual(self.listed(r)["events"], 5)
            self.assertEqual([e["id"] for e in self.shown(r, "-n", "2")], ids[:2])
            self.assertEqual([e["id"] for e in self.shown(r, "--from", events[3]["archived"])][-1:], ids[4:])
            self.assertEqual(self.shown(r, "--until", "1h"), [])
            self.assertEqual(len(self.shown(r, "--from", "1h")), 5)
            self.assertIn("orders", self.archive(r, "ls"))
            self.archive(r, "show", "nobody", code=65)
            for wrong in (("show",), ("list",), ("show", "orders", "--from", "x"), ("purge", "orders")):
                self.archive(r, *wrong, code=64)
            if r.process.poll() is None:
                r.wait_settled()
                r.stop()
        self.assertEqual(json.loads(self.archive(r, "purge", "orders", "--yes")), {"purged": 5})
        self.assertEqual(self.shown(r), [])

    def test_by_pattern_and_pages(self):
        r = self.start(KEPT % ("pattern: { detail: { kept: [true] } }", self.path("a.ndjson")))
        for n in range(1200):
            r.post("api", "/o", {"n": n, "kept": n >= 100})
        r.wait_settled(accepted=1200)
        self.assertEqual([e["body"]["n"] for e in self.shown(r)], list(range(100, 1200)))
        self.assertEqual([e["body"]["n"] for e in self.shown(r, "-n", "601")], list(range(100, 701)))
        self.assertEqual(self.archive(r, "purge", "orders", "--yes"), '{"purged":1100}\n')
        self.assertEqual(self.listed(r)["events"], 0)
        r.post("api", "/o", {"n": 7, "kept": True})
        self.assertEqual([e["body"]["n"] for e in self.shown(r)], [7])
        self.assertEqual(weir("audit", "-c", r.pipeline, env=r.env).returncode, 0)

    def test_age(self):
        r = self.start(KEPT % ("retention: 1s", self.path("a.ndjson")))
        r.post("api", "/o", {"n": 2})
        wait_for(lambda: self.listed(r)["events"] == 0, "an empty archive")


if __name__ == "__main__":
    main()
