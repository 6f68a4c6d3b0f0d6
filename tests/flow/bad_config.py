"""bad_config.py: what is wrong with a pipeline is said before anything starts: place, cause, remedy, exit code."""
import os
import socket

from harness import Case, environment, is_listening, main, raise_major, weir

USAGE, NOT_AVAILABLE, IO, PERMISSION, CONFIG = 64, 69, 74, 77, 78
GOOD = """data_dir: data
admin: { listen: "off" }
sources:
  numbers: { plugin: generator, count: 1 }
sinks:
  out: { plugin: "null", inputs: [numbers] }
"""


class Bad(Case):
    def setUp(self):
        super().setUp()
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]

    def pipeline(self, text):
        return self.write("pipeline.yaml", text.replace("PORT", str(self.port)))

    def refused(self, text, *expected, code=CONFIG, at=None, env=None, both=True):
        """`weir run` and `weir validate` refuse the pipeline with the code and all the texts; nothing starts."""
        path = self.pipeline(text)
        before = sorted(os.listdir(self.folder))
        for command in ("run", "validate") if both else ("run",):
            done = weir(command, path, env=env)
            self.assertEqual(done.returncode, code, (command, done))
            for part in expected:
                self.assertIn(part, done.stderr, command)
            if at:
                self.assertIn(f"pipeline.yaml:{at}", done.stderr, command)
                self.assertIn("^", done.stderr)
            self.assertNotIn("is running", done.stderr)
            self.assertFalse(is_listening(self.port))
        if both:
            self.assertEqual(sorted(os.listdir(self.folder)), before, "nothing was made")
        return done.stderr

    def test_result_that_nobody_gives(self):
        text = """data_dir: data
admin: { listen: "off" }
sources:
  api:
    plugin: http
    listen: 127.0.0.1:PORT
    routes: { POST /events: { type: Happened, respond: result } }
sinks:
  out: { plugin: "null", inputs: [api] }
"""
        self.refused(text, "no stage gives a result", "result: STAGE", at="7:56")

    def test_all_in_one_pass(self):
        """Errors of the file, of components and of patterns at once, in the order of their places."""
        text = """data_dir: data
admin: { listen: "9600" }
sources:
  api:
    plugin: http
    listen: here
    routes:
      POST /a: { type: A, tyep: B, schema: nowhere.json }
      FETCH /b: { type: B }
  other: { plugin: http, listen: "127.0.0.1:65536", routes: { POST /c: { type: "${NOT_SET}" } } }
transforms:
  bus: { plugin: eventbridge, inputs: [api], rules: { a: { pattern: { source: [{ prefix: 3 }] } } } }
sinks:
  out: { plugin: "null", inputs: [aip, { from: bus.a, where: { a: [] } }] }
  gone: { plugin: nul, inputs: [other] }
"""
        told = self.refused(text, "11 errors in")
        places = [tuple(map(int, line.split("pipeline.yaml:")[1].split(":")[:2]))
                  for line in told.splitlines() if ": error: " in line and "pipeline.yaml:" in line]
        self.assertEqual([line for line, _ in places], [2, 6, 8, 8, 9, 10, 10, 12, 14, 14, 15])
        for part in ("9600", "here", "nowhere.json", "tyep", "expected POST", "65536", "NOT_SET",
                     "prefix match pattern must be a string", "aip", "Empty arrays", "'nul'"):
            self.assertIn(part, told)
        self.assertEqual(told.count("did you mean 'null'"), 1, told)
        self.assertNotIn('did you mean "null"', told)

    def test_address_in_use_is_told_at_its_place(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.port = 0
            text = """data_dir: data
admin: { listen: "off" }
sources:
  api: { plugin: http, listen: "127.0.0.1:%d", routes: { POST /a: { type: A } } }
sinks:
  out: { plugin: "null", inputs: [api] }
""" % taken.getsockname()[1]
            done = weir("run", self.write("pipeline.yaml", text))
        self.assertEqual(done.returncode, NOT_AVAILABLE, done)
        self.assertIn("pipeline.yaml:4:32: error: listen", done.stderr)
        self.assertEqual(done.stderr.count("Address already in use"), 1, done.stderr)
    def test_one_pass(self):
        """What a plugin finds in its stage is told beside the errors of other stages and of the settings."""
        text = """data_dir: data
worker: 3
admin: { listen: "off" }
sources:
  api:
    plugin: http
    listen: 127.0.0.1:PORT
    routes: { POST /events: { type: Happened, respond: result } }
sinks:
  lost: { plugin: kafkaesque, inputs: [api] }
  out: { plugin: "null", inputs: [{ from: api, where: { source: user-service } }], more: 1 }
  in: { plugin: "null", inputs: [{ from: api, where: { source: user-service } }] }
"""
        said = self.refused(text, "worker", "no stage gives a result", "kafkaesque", "more", "the pattern is not valid")
        places = [int(line.split(":")[1]) for line in said.splitlines() if ": error:" in line]
        self.assertEqual(places, [2, 8, 10, 11, 11, 12], said)

    def test_queues(self):
        text = """data_dir: data
admin: { listen: "off" }
sources:
  gen: { plugin: generator, count: 1 }
  back: { plugin: sqs, queue: a, dead_letters: lost, receives_max: 3 }
sinks:
  one: { plugin: sqs, inputs: [gen], queue: a, dead_letters: lost, receives_max: 4 }
  out: { plugin: "null", inputs: [back] }
"""
        self.refused(text, "another receives_max at back, line 5", at="7:45")
        path = self.pipeline(text.replace("4 }", "3 }").replace("queue: a, dead_letters: lost, receives_max: 3 }\nsinks",
                                                                "queue: b }\nsinks"))
        done = weir("validate", path)
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("5:31: warning: nobody writes to the queue b", done.stderr)
        self.assertIn("7:45: warning: nobody reads the queue a", done.stderr)
        self.assertEqual(done.stderr.count("warning:"), 2, done.stderr)
        self.assertEqual(weir("validate", "--strict", path).returncode, CONFIG)

    def test_near_plugin_is_named_once(self):
        said = self.refused(GOOD.replace("generator", "generatr"), "did you mean", at="4:22")
        self.assertEqual(said.count("did you mean"), 1, said)
        said = self.refused(GOOD.replace('"null"', "generator"), "move the stage to sources", at="6:18")
        self.assertEqual(said.count("error:"), 1, said)

    def test_several_files(self):
        good, bad = self.write("good.yaml", GOOD), self.write("bad.yaml", GOOD.replace("count", "cuont"))
        done = weir("validate", bad, good)
        self.assertEqual(done.returncode, CONFIG, done)
        self.assertIn("bad.yaml:4:", done.stderr)
        self.assertIn("good.yaml is valid", done.stdout)
        self.assertEqual(weir("validate", good, good).returncode, 0)

    # ---- the file ----

    def test_good_one(self):
        self.assertEqual(weir("validate", self.pipeline(GOOD)).returncode, 0)
        self.assertEqual(weir("run", self.pipeline(GOOD)).returncode, 0)

    def test_missing_file(self):
        for command in ("run", "validate", "graph"):
            done = weir(command, self.path("nothing.yaml"))
            self.assertIn(done.returncode, (66, CONFIG), done)
            self.assertIn("nothing.yaml", done.stderr)
            self.assertIn("No such file", done.stderr)

    def test_no_yaml(self):
        self.refused(GOOD + "  bad: [1, 2\n", "from line 7")
        self.refused("", "no sources", "no sinks")
        self.refused("- a\n- b\n", "pipeline.yaml:1:1")
        self.refused(GOOD + "\tx: 1\n", "pipeline.yaml:7:")

    def test_typo_in_a_key(self):
        self.refused(GOOD.replace("count: 1", "cuont: 1"), "cuont", "count", at="4:33")
        self.refused(GOOD.replace("sinks:", "sink:"), "sink", "sinks", at="5:1")
        self.refused(GOOD.replace("inputs:", "input:"), "inputs", at="6:")

    def test_all_errors_at_once(self):
        text = self.refused(GOOD.replace("count: 1", "count: many, rat: 2").replace("[numbers]", "[nubmers]"))
        for part in ("pipeline.yaml:4:40", "many", "rat", "rate", "pipeline.yaml:6:", "nubmers", "numbers"):
            self.assertIn(part, text)

    def test_doubled_key(self):
        self.refused(GOOD.replace("count: 1", "count: 1, count: 2"), "count", at="4:43")

    # ---- values ----

    def test_bad_values(self):
        for option, expected in (("interval: 30", "30s"), ("interval: 5 parsecs", "parsecs"), ("count: -1", "-1"),
                                 ("count: 1.5", "1.5"), ("batch_size: 100000", "1024"),
                                 ("numbered: perhaps", "true"), ("count: [1]", "count")):
            with self.subTest(option):
                self.refused(GOOD.replace("count: 1", option), expected, at="4:")

    def test_bad_delivery(self):
        for option, expected in (("on_failure: explode", "dead_letter"), ("buffer: { max_bytes: 5 }", "5"),
                                 ("retry: { backof: 1s }", "backoff"), ("buffer: { when_full: burst }", "drop_oldest")):
            with self.subTest(option):
                self.refused(GOOD.replace("inputs: [numbers]", f"inputs: [numbers], {option}"), expected, at="6:")

    def test_variables(self):
        text = GOOD.replace("count: 1", 'count: "${HOW_MANY}"')
        self.refused(text, "HOW_MANY", at="4:40")
        path = self.pipeline(text)
        self.assertEqual(weir("run", path, env=environment(HOW_MANY="2")).returncode, 0)
        self.refused(text, "HOW_MANY", "several", at="4:40", env=environment(HOW_MANY="several"))
        self.refused(GOOD.replace("count: 1", 'count: "${file:nothing}"'), "nothing", "No such file", at="4:40")

    def test_secret_is_not_printed(self):
        text = GOOD.replace('"null"', 'http, url: ftp://x, token: { env: TOKEN }')
        said = self.refused(text, "http://", at="6:", env=environment(TOKEN="hunter2secret"))
        self.assertNotIn("hunter2secret", said)

    # ---- the graph ----

    def test_inputs(self):
        self.refused(GOOD.replace("[numbers]", "[nubmers]"), "nubmers", "numbers", at="6:35")
        self.refused(GOOD.replace("[numbers]", "[numbers.odd]"), "numbers", "odd", "failed", at="6:43")
        self.refused(GOOD.replace(", inputs: [numbers]", ""), "inputs", at="6:")

    def test_ring(self):
        bus = "transforms:\n  a: { plugin: eventbridge, inputs: [b], rules: { r: { pattern: { source: [x] } } } }\n" \
              "  b: { plugin: eventbridge, inputs: [a.r, numbers], rules: { r: { pattern: { source: [x] } } } }\n"
        self.refused(GOOD + bus, "a", "b", at="")

    def test_no_stages(self):
        self.refused("data_dir: data\n", "no sources", "no sinks", "add some")

    # ---- what the file names ----

    def http(self, route):
        return "data_dir: data\nadmin: { listen: \"off\" }\nsources:\n  api:\n    plugin: http\n" \
               "    listen: 127.0.0.1:PORT\n    routes:\n      POST /users: { " + route + " }\n" \
               "sinks:\n  out: { plugin: \"null\", inputs: [api] }\n"

    def test_schema(self):
        self.refused(self.http("type: T, schema: nothing.json"), "nothing.json", "No such file", at="8:")
        for content, expected in (("{", "bad.json"), ('{"type":"strin"}', "strin"),
                                  ('{"properties":{"a":{"minLenght":1}}}', "minLength"),
                                  ('{"pattern":"("}', "pattern"), ('{"format":"emial"}', "emial"), ("7", "bad.json")):
            with self.subTest(content):
                self.write("bad.json", content)
                self.refused(self.http("type: T, schema: bad.json"), "bad.json", expected, at="8:")

    def test_route(self):
        self.refused(self.http("type: T").replace("POST /users", "POST users"), "POST", at="8:")
        self.refused(self.http("type: T").replace("POST /users", "FETCH /users"), "POST, PUT or PATCH", at="8:")
        self.refused(self.http("source: s"), "type", at="8:")

    def test_pattern(self):
        for pattern, expected in (("{ source: user }", "source"), ("{ source: [{ prefx: a }] }", "prefx"), ("[]", ""),
                                  ("{ detail: { n: [{ numeric: ['>'] }] } }", "numeric"), ("{ a: [] }", "")):
            bus = "transforms:\n  bus:\n    plugin: eventbridge\n    inputs: [numbers]\n    rules:\n" \
                  f"      r: {{ pattern: {pattern} }}\n"
            with self.subTest(pattern):
                self.refused(GOOD + bus, expected, at="12:")

    def test_where(self):
        where = GOOD.replace("[numbers]", "[{ from: numbers, where: { detail: { n: [{ numerik: ['>', 1] }] } } }]")
        self.refused(where, "numerik", at="6:")

    def test_function(self):
        stage = "transforms:\n  f: { plugin: lambda, inputs: [numbers], handler: HANDLER }\n"
        self.refused(GOOD + stage.replace("HANDLER", "nothing.so"), "nothing.so", "not there", "cc -shared", at="8:")
        self.write("text.so", "no machine code")
        self.refused(GOOD + stage.replace("HANDLER", "text.so"), "text.so", at="8:")
        self.compile("plain.so", "int x;")
        self.refused(GOOD + stage.replace("HANDLER", "plain.so"), "plain.so", "WEIR_FUNCTION", at="8:")

    def test_aws(self):
        self.refused("aws: { endpoint: elsewhere }\n" + GOOD, "embedded, aws or a URL", at="1:18")
        queue = GOOD.replace('"null"', "sqs, queue: q")
        self.refused(queue.replace("queue: q", "queue: q, endpoint: aws"), "not available in this version", at="6:")
        self.refused("aws: { endpoint: aws }\n" + queue, "not available in this version", at="7:")
        self.refused("aws: { endpoint: 'http://127.0.0.1:4566' }\n" + queue, "cannot go where", "write endpoint: embedded", at="7:")

    # ---- plugins ----

    def test_missing_plugin(self):
        self.refused(GOOD.replace("generator", "genrator"), "genrator", "generator", at="4:22")
        self.refused(GOOD.replace("generator", "stdout"), "stdout", "sink", at="4:22")
        self.refused(GOOD.replace("generator", "kafka"), "kafka", at="4:22")

    def refused_plugin(self, *expected):
        text = GOOD.replace("sources:", "plugins: [mine]\nsources:").replace("generator", "mine")
        self.refused(text, "mine.so", *expected, at="5:")
        done = weir("plugins", "--plugin-dir", self.path("mine"))
        self.assertEqual(done.returncode, CONFIG, done)
        self.assertIn("mine.so", done.stdout + done.stderr)

    def plugin(self, name="mine"):
        return self.compile(f"mine/{name}.so", f"""
            #include <weir/plugin.h>
            static weir_status pull(void *self, const weir_host *h, weir_batch *out) {{ return WEIR_END; }}
            static const weir_component mine = {{.name = "mine", .version = "1.0", .pull = pull}};
            WEIR_PLUGIN(&mine);""")

    def test_plugin_of_another_major(self):
        raise_major(self.plugin())
        self.refused_plugin("ABI 2.0", "this runner has 1.0", "rebuild")

    def test_good_plugin(self):
        self.plugin()
        text = GOOD.replace("sources:", "plugins: [mine]\nsources:").replace("generator, count: 1", "mine")
        self.assertEqual(weir("run", self.pipeline(text)).returncode, 0)

    def test_no_plugin_at_all(self):
        self.write("mine/mine.so", "no machine code")
        self.refused_plugin("ELF")
        self.compile("mine/mine.so", "int x;")
        self.refused_plugin("weir_plugin")

    def test_plugin_that_all_may_write(self):
        os.chmod(self.plugin(), 0o777)
        self.refused_plugin("writ")

    def test_name_taken_twice(self):
        self.plugin()
        self.plugin("other")
        text = GOOD.replace("sources:", "plugins: [mine]\nsources:").replace("generator, count: 1", "mine")
        self.refused(text, "mine.so", "other.so", at="5:")

    # ---- the machine ----

    def test_port_in_use(self):
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        api = self.http("type: T")
        self.refused(api.replace("PORT", str(port)), str(port), "Address already in use", code=NOT_AVAILABLE, both=False)
        text = GOOD.replace('"off"', f"127.0.0.1:{port}")
        self.refused(text, str(port), "Address already in use", code=NOT_AVAILABLE, both=False)

    def test_bad_address(self):
        self.refused(self.http("type: T").replace("127.0.0.1:PORT", "127.0.0.1:99999"), "99999", both=False)
        self.refused(self.http("type: T").replace("127.0.0.1:PORT", "nowhere"), "nowhere", both=False)

    def test_data_dir(self):
        self.write("file", "")
        said = self.refused(GOOD.replace("data_dir: data", "data_dir: file/data"), "file", "Not a directory",
                            code=IO, both=False)
        self.assertNotIn("listening", said)
        if not os.path.exists("/usr/bin/setpriv"):
            self.skipTest("no setpriv")
        os.mkdir(self.path("locked"), 0o500)
        path = self.pipeline(GOOD.replace("data_dir: data", "data_dir: locked/data"))
        before = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        done = weir("run", path, before=before)
        self.assertEqual(done.returncode, PERMISSION, done)
        self.assertIn("locked", done.stderr)
        self.assertIn("Permission denied", done.stderr)

    def test_damaged_journal_of_another_kind(self):
        self.write("data/journal", "a file where a folder should be")
        self.refused(GOOD, "journal", code=IO, both=False)

    def test_sink_that_cannot_open(self):
        os.mkdir(self.path("there"))
        text = GOOD.replace('plugin: "null"', f"plugin: file, path: {self.path('there')}")
        self.refused(text, "there", "Is a directory", "out", both=False)


if __name__ == "__main__":
    main()
