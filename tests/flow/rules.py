"""rules.py: weir rules: patterns tried on events through the command."""
import glob
import json
import os
import subprocess

from harness import PATIENCE, ROOT, WEIR, Case, environment, main, no_report, weir


class Match(Case):
    def filter(self, text, *args):
        done = subprocess.run([WEIR, "rules", "match", *args], input=text, env=environment(), capture_output=True,
                              timeout=PATIENCE, check=False)
        no_report(done.stderr.decode(errors="replace"))
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def one(self, pattern, event, *args):
        answers = self.filter(json.dumps({"pattern": pattern, "event": event}).encode() + b"\n", *args)
        self.assertEqual(len(answers), 1, answers)
        return answers[0]

    def test_cases(self):
        """Those of the unit test, through the command."""
        lines = []
        for path in sorted(glob.glob(os.path.join(ROOT, "tests/aws/patterns/*.jsonl"))):
            with open(path, "rb") as f:
                lines += f.read().splitlines()
        self.assertGreater(len(lines), 5000)
        for line, answer in zip(lines, self.filter(b"\n".join(lines)), strict=True):
            case = json.loads(line)
            if "match" in case:
                self.assertEqual(answer, {"match": case["match"]}, line)
            else:
                self.assertIn(case["error"], answer["error"], line)

    def test_cases_are_as_derived(self):
        folder = os.path.join(ROOT, "tests/aws/patterns")
        made = subprocess.run(["python3", "-B", "make.py"], cwd=folder, capture_output=True, check=True).stdout
        with open(os.path.join(folder, "operators.jsonl"), "rb") as f:
            self.assertEqual(f.read(), made)

    def test_verdicts(self):
        self.assertEqual(self.one({"a": [1]}, {"a": 1.0}), {"match": True})
        self.assertEqual(self.one({"a": [1]}, {"a": "1"}), {"match": False})
        self.assertEqual(self.one('{"a": ["x"]}', '{"a": "x"}'), {"match": True})
        self.assertEqual(self.one('{"a": ["x"]}', {"a": ["y", "x"]}), {"match": True})

    def test_errors_name_the_place(self):
        self.assertEqual(self.one('{\n  "a": []}', {}),
                         {"error": "Event pattern is not valid. Reason: Empty arrays are not allowed (line 2, column 8)"})
        for pattern in ("", "{", "[]", "3", 3, None, {}, {"a": 1}, '{"a": [1]} x'):
            self.assertRegex(self.one(pattern, {})["error"], r"^Event pattern is not valid. Reason: .*line 1, column \d+")
        for event in ("", "{", "[]", 3, None, '{"a": 1} x', '{"a": 01}'):
            self.assertRegex(self.one({"a": [1]}, event)["error"], "^Parameter Event is not valid")

    def test_bad_lines_do_not_stop_it(self):
        good = b'{"pattern": {"a": [1]}, "event": {"a": 1}}'
        bad = [b"", b"x", b"{", b"[]", b"3", b'{"pattern": {"a": [1]}}', b'{"event": {}}', b"\xff\xfe", b"\0",
               b'{"pattern": "\xff", "event": {}}', b"[" * 5000, b'{"pattern": {"a": [1]}, "event": {}} {}']
        answers = self.filter(b"\n".join(line for each in bad for line in (each, good)) + b"\n")
        self.assertEqual(len(answers), 2 * len(bad))
        for i, line in enumerate(bad):
            self.assertEqual(list(answers[2 * i]), ["error"], line)
            self.assertEqual(answers[2 * i + 1], {"match": True})

    def test_line_ends(self):
        line = b'{"pattern": {"a": [1]}, "event": {"a": 1}}'
        self.assertEqual(self.filter(b""), [])
        self.assertEqual(self.filter(line), [{"match": True}])
        self.assertEqual(self.filter(line + b"\r\n" + line), [{"match": True}] * 2)

    def test_long_lines(self):
        body = b'{"pattern": {"a": [1]}, "event": {"b": "%s", "a": 1}}\n'
        long = body % (b"x" * (3 << 20))
        too_long = body % (b"x" * (17 << 20))
        answers = self.filter(long + too_long + long)
        self.assertEqual([answers[0], answers[2]], [{"match": True}] * 2)
        self.assertIn("longer than", answers[1]["error"])

    def test_it_answers_at_once(self):
        with subprocess.Popen([WEIR, "rules", "match"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as p:
            for i in range(20):
                p.stdin.write(b'{"pattern": {"a": [%d]}, "event": {"a": 1}}\n' % (i % 2))
                p.stdin.flush()
                self.assertEqual(json.loads(p.stdout.readline()), {"match": i % 2 == 1})
            p.stdin.close()
            self.assertEqual(p.wait(PATIENCE), 0)

    def test_strict(self):
        whole = {"id": "1", "account": "1", "source": "s", "time": "t", "region": "r", "resources": [], "detail-type": "d"}
        self.assertEqual(self.one({"source": ["s"]}, whole, "--strict"), {"match": True})
        for name in whole:
            event = {k: v for k, v in whole.items() if k != name}
            self.assertIn(f'"{name}" is missing', self.one({"source": ["s"]}, event, "--strict")["error"])
        self.assertIn("4096", self.one({"source": ["s" * 5000]}, whole, "--strict")["error"])
        self.assertIn("bytes", self.one({"source": ["s"]}, {**whole, "detail": "x" * (1 << 20)}, "--strict")["error"])


PIPELINE = """
sources: { gen: { plugin: generator, count: 1 } }
transforms:
  bus:
    plugin: eventbridge
    inputs: [gen]
    rules:
      large: { pattern: { source: [shop], detail: { total: [ { numeric: [">=", 100] } ] } } }
      abroad: { pattern: { $or: [ { detail: { country: [ { anything-but: [DE, AT] } ] } }, { detail: { vip: [true] } } ] } }
sinks: { out: { plugin: "null", inputs: [bus.large, bus.abroad] } }
"""
SMALL = {"source": "shop", "detail": {"total": 50, "country": "FR"}}


class Pipeline(Case):
    def setUp(self):
        super().setUp()
        self.pipeline = self.write("p.yaml", PIPELINE)
        self.event = self.write("e.json", json.dumps(SMALL))

    def rules(self, *args, code=0):
        done = weir("rules", *args)
        self.assertEqual(done.returncode, code, done)
        return done.stdout if code in (0, 1) else done.stderr

    def test_list(self):
        self.assertEqual([line.split()[0] for line in self.rules("list", self.pipeline).splitlines()],
                         ["bus.large", "bus.abroad"])
        first = json.loads(self.rules("list", "--json", self.pipeline).splitlines()[0])
        self.assertEqual(first, {"rule": "bus.large", "pattern": {"source": ["shop"], "detail": {"total": [{"numeric": [">=", 100]}]}}})

    def test_explain(self):
        text = self.rules("explain", "--event", self.event, self.pipeline)
        self.assertIn("bus.large: no match: first at /detail/total\n"
                      "  fail /detail/total: expected [{\"numeric\":[\">=\",100]}], found 50\n", text)
        self.assertIn("bus.abroad: match: 2 alternatives by $or\nalternative 1: match\n", text)
        self.assertNotIn("bus.abroad", self.rules("explain", "-e", self.event, "-r", "large", self.pipeline))
        lines = [json.loads(line) for line in self.rules("explain", "--json", "-e", self.event, self.pipeline).splitlines()]
        self.assertEqual([(line["rule"], line["why"]["match"]) for line in lines], [("bus.large", False), ("bus.abroad", True)])
        self.assertEqual(lines[0]["why"]["alternatives"][0]["first"], "/detail/total")
        self.assertEqual(lines[0]["why"]["alternatives"][0]["fields"][0],
                         {"field": "/detail/total", "holds": False, "expected": [{"numeric": [">=", 100]}], "found": [50]})

    def test_explain_where(self):
        some = 'some: { plugin: "null", inputs: [ bus, { from: bus.large, where: { detail: { total: [50] } } } ] }'
        path = self.write("w.yaml", PIPELINE.replace("sinks: { ", f"sinks: {{ {some}, "))
        out = self.rules("explain", "-e", self.event, path)
        self.assertIn("bus.abroad: match", out)
        self.assertTrue(out.endswith("some, where of bus.large: match\n  ok   /detail/total: expected [50], found 50\n"), out)
        out = self.rules("explain", "-e", self.event, "--stage", "some", "--json", path)
        self.assertEqual([(line["stage"], line["input"], line["why"]["match"]) for line in map(json.loads, out.splitlines())],
                         [("some", "bus.large", True)])
        out = self.rules("explain", "-e", self.event, "--stage", "bus", path)
        self.assertIn("bus.large: no match", out)
        self.assertNotIn("where of", out)
        self.assertIn("did you mean some?", self.rules("explain", "-e", self.event, "--stage", "soma", path, code=64))
        self.assertIn("stage out has no rules", self.rules("explain", "-e", self.event, "--stage", "out", path, code=64))

    def test_explain_is_bounded(self):
        """Arrays of which every choice of elements would be tried, names that come again, many alternatives."""
        ones = [{"p": 1}] * 300
        pattern = {"a": {**{name: {"p": [1]} for name in "bcdef"}, "g": {"x": [1], "y": [1]}}}
        path = self.write("b.yaml", PIPELINE.replace("rules:\n", f"rules:\n      many: {{ pattern: {json.dumps(pattern)} }}\n")
                          .replace("bus.large,", "bus.large, bus.many,"))
        event = self.write("b.json", json.dumps({"a": [{**{name: ones for name in "bcdef"}, "g": [{"x": 1}, {"y": 1}]}]}))
        out = self.rules("explain", "-e", event, "-r", "many", path)
        self.assertIn("bus.many: no match: too complex to say why", out)
        why = json.loads(self.rules("explain", "--json", "-e", event, "-r", "many", path))["why"]
        self.assertEqual((why["match"], why["too_complex"], why["alternatives"][0]["match"]), (False, True, None))
        event = self.write("c.json", '{"a":{' + ",".join(f'"b":{i}' for i in range(200000)) + "}}")
        self.assertIn("no match: first at /a/b/p", self.rules("explain", "-e", event, "-r", "many", path))

    def test_explain_says_what_is_wrong(self):
        self.assertIn("did you mean bus.large?", self.rules("explain", "-e", self.event, "-r", "bus.larg", self.pipeline, code=64))
        self.assertIn("--event", self.rules("explain", self.pipeline, code=64))
        self.assertIn("JSON object", self.rules("explain", "-e", self.write("x.json", "[]"), self.pipeline, code=65))
        self.assertIn("JSON object", self.rules("explain", "-e", self.write("y.json", "{"), self.pipeline, code=65))
        self.assertIn("No such file", self.rules("explain", "-e", self.path("none"), self.pipeline, code=74))
        self.assertIn("match, explain, test, list, enable or disable", self.rules("mtach", code=64))

    def test_cases(self):
        good = {"name": "small", "event": SMALL, "rules": ["bus.abroad"]}
        bad = {"name": "wrong", "event": {"source": "shop", "detail": {"total": 500, "country": "DE"}}, "rules": ["bus.abroad"]}
        self.assertEqual(self.rules("test", self.write("a.json", json.dumps({"cases": [good]})), self.pipeline),
                         "1 passed, 0 failed\n")
        out = self.rules("test", self.write("b.json", json.dumps({"cases": [good, bad]})), self.pipeline, code=1)
        self.assertIn("FAIL wrong\n  + bus.large: match\n", out)
        self.assertIn("  - bus.abroad: no match", out)
        self.assertIn("1 passed, 1 failed\n", out)
        text = "cases:\n  - event: { source: x }\n    rules: [bus.larg]\n"
        self.assertRegex(self.rules("test", self.write("c.yaml", text), self.pipeline, code=65),
                         r"c.yaml:3:13: error: there is no such rule")
        self.assertIn("`event`, a map", self.rules("test", self.write("d.yaml", "cases: [{}]"), self.pipeline, code=65))


TRACED = """
data_dir: ./data
%s
sources: { in: { plugin: file, path: in.ndjson, source: shop, type: order } }
transforms:
  bus:
    plugin: eventbridge
    inputs: [in]
    rules:
      large: { pattern: { source: [shop], detail: { total: [ { numeric: [">=", 100] } ] } } }
      abroad: { pattern: { $or: [ { detail: { country: [ { anything-but: [DE, AT] } ] } }, { detail: { vip: [true] } } ] } }
      off: { enabled: false, pattern: { source: [shop] } }
      elements: { pattern: { detail: { l: { a: [1], b: [2] } } } }
sinks:
  out: { plugin: "null", inputs: [bus.large, bus.abroad, bus.off, bus.elements] }
  some: { plugin: "null", inputs: [ { from: bus, where: { detail: { total: [ { prefix: "\\u0001\\"\\u00e9" } ] } } } ] }
  all: { plugin: file, inputs: [bus], path: out.ndjson, format: envelope }
"""


class Trace(Case):
    def run_events(self, *events, settings="", rules=None):
        text = TRACED % settings
        if rules:
            text = text.replace("    rules:\n", "    rules:\n" + rules)
        path = self.write("p.yaml", text)
        self.write("in.ndjson", "".join(event + "\n" for event in events))
        done = weir("run", path)
        self.assertEqual(done.returncode, 0, done)
        with open(self.path("out.ndjson"), encoding="utf-8") as f:
            return [json.loads(line)["id"] for line in f]

    def hops(self, event):
        lines = weir("trace", event, "-d", self.path("data"), "--json").stdout.splitlines()
        return {(hop["stage"], hop["verdict"]): hop for hop in map(json.loads, lines)}

    def test_rules(self):
        event, = self.run_events('{"total":50,"country":"FR","l":[{"a":1},{"b":2}]}')
        hops = self.hops(event)
        self.assertEqual(len(hops), 5, hops)
        self.assertEqual(hops["bus", "passed"]["rules"], [
            {"rule": "abroad", "match": True}, {"rule": "off", "match": True, "enabled": False},
            {"rule": "large", "match": False, "field": "/detail/total", "expected": '[{"numeric":[">=",100]}]', "found": "50"},
            {"rule": "elements", "match": False, "field": "/detail/l/b", "expected": "[2]", "found": "2",
             "why": "only in another element of an array than the fields before it"}])
        self.assertEqual(hops["some", "filtered"]["rules"], [
            {"rule": "where", "match": False, "field": "/detail/total", "expected": '[{"prefix":"\\u0001\\"\u00e9"}]', "found": "50"}])
        self.assertNotIn("rules", hops["all", "delivered"])
        text = weir("trace", event, "-d", self.path("data")).stdout
        self.assertIn(' large: no match: /detail/total: expected [{"numeric":[">=",100]}], found 50\n', text)
        self.assertIn(" abroad: match\n", text)
        self.assertIn(" off: match, but not enabled\n", text)
        self.assertIn("filtered      where\n", text)
        self.assertIn(" where: no match: /detail/total: expected ", text)

    def test_long_values(self):
        event, = self.run_events(json.dumps({"total": "\\\"\u0001" * 5000, "l": list(range(500))}))
        large, = (rule for rule in self.hops(event)["bus", "passed"]["rules"] if rule["rule"] == "large")
        self.assertTrue(large["found"].endswith("..."), large)
        self.assertLessEqual(len(json.dumps(large)), 600)

    def test_many_rules(self):
        event, = self.run_events("{}", rules="".join(f"      r{i}: {{ pattern: {{ detail: {{ n: [{i}] }} }} }}\n" for i in range(50)))
        rules = self.hops(event)["bus", "passed"]["rules"]
        self.assertEqual((len(rules), rules[-1]), (21, {"more": 34}))
        self.assertIn("and 34 more rules\n", weir("trace", event, "-d", self.path("data")).stdout)

    def test_so_many_a_second(self):
        events = self.run_events(*["{}"] * 200, settings="workers: 1\ntrace: { explain: 3 }")
        explained = sum("rules" in self.hops(event).get(("bus", "passed"), {}) for event in events[:30])
        self.assertLessEqual(explained, 3)
        self.assertGreater(explained, 0)

    def test_none(self):
        event, = self.run_events("{}", settings="trace: { explain: 0 }")
        self.assertNotIn("rules", self.hops(event)["bus", "passed"])


if __name__ == "__main__":
    main()
