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


if __name__ == "__main__":
    main()
