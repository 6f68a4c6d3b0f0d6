"""reload.py: another pipeline file for a pipeline that runs, under load: nothing lost, nothing refused."""
import http.client
import json
import os
import signal
import socket
import threading
import time

from harness import Case, IS_SANITIZED, lines_of, main, request, wait_for, weir

PIPELINE = """
drain: 10s
sources:
  api:
    plugin: http
    listen: 127.0.0.1:0
    routes:
      POST /users: {{ source: {source}, type: U, schema: user.schema.json }}
  back: {{ plugin: sqs, queue: work, max_in_flight: {in_flight} }}
transforms:
  bus:
    plugin: eventbridge
    inputs: [api]
    rules:
      all: {{ pattern: {{ source: {pattern} }} }}
  work: {{ plugin: lambda, inputs: [bus.all], handler: functions/process_user.so, memory_size: {memory} }}
sinks:
  direct: {{ plugin: file, inputs: [bus.all], path: direct-{file}.ndjson, buffer: {{ max_events: {limit} }} }}
  queue: {{ plugin: sqs, inputs: [work], queue: work }}
  consumer: {{ plugin: file, inputs: [back], path: consumed.ndjson, sync: {sync}, buffer: {{ type: {buffer} }} }}
{more}
"""
SCHEMA = {"type": "object", "required": ["name", "email"]}
PRESETS = {"source": "u", "in_flight": 100, "pattern": "[{ exists: true }]", "memory": "128MiB",
           "file": 0, "limit": 100000, "sync": "false", "buffer": "auto", "more": ""}
EXTRA = "  extra: { plugin: file, inputs: [bus.all], path: extra.ndjson }\n"


FUNCTION = """
#include <weir/function.h>
static weir_status answer(weir_call *c)
{
    c->write(c, "{\\"version\\":%s}");
    return WEIR_OK;
}
WEIR_FUNCTION(answer);
"""


class Producer(threading.Thread):
    """Posts on one connection, as fast as it is answered, and remembers each event that was taken."""

    def __init__(self, address, number):
        super().__init__(daemon=True)
        self.address, self.number = address, number
        self.taken, self.wrong, self.is_over = [], [], False

    def run(self):
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        n = 0
        while not self.is_over:
            body = {"name": f"user {self.number}-{n}", "email": f"u{n}@enterprise.com"}
            n += 1
            try:
                connection.request("POST", "/users", json.dumps(body), {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                if answer.status == 200:
                    self.taken.append(body["name"])
                else:
                    self.wrong.append((answer.status, text))
            except (OSError, http.client.HTTPException) as e:
                self.wrong.append(repr(e))
                connection.close()
                time.sleep(0.001)
        connection.close()


class Reload(Case):
    def setUp(self):
        super().setUp()
        self.write("user.schema.json", json.dumps(SCHEMA))

    def text(self, **changes):
        return PIPELINE.format(**{**PRESETS, **changes})

    def begin(self, *args, text=None, **changes):
        return self.start(text or self.text(**changes), args=args)

    def put(self, text):
        """Replaces the file as an editor does: at once."""
        path = self.write("pipeline.new", "data_dir: ${WEIR_DATA_DIR}\n" + text)
        os.rename(path, self.path("pipeline.yaml"))

    def reload(self, runner, text=None, expect=0, **changes):
        if text is not None or changes:
            self.put(text if text is not None else self.text(**changes))
        done = runner.weir("reload", "--wait", "--json", "--data-dir", self.path("data"))
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr + runner.log)
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stderr

    def test_fifty_reloads_under_load(self):
        count = int(os.environ.get("RELOADS") or (12 if IS_SANITIZED else 50))
        r = self.begin()
        producers = [Producer(r.address("api"), i) for i in range(4)]
        newcomers, ready = [], []
        for p in producers:
            p.start()
        steps = [{"memory": "256MiB"}, {"memory": "256MiB", "more": EXTRA}, {"file": 1}, {"pattern": "[u]"},
                 {"source": "v"}, {"schema": 1}, {"limit": 90000}, {"in_flight": 50, "sync": "true"}, {"bad": 1}, {"buffer": "memory"},
                 {}, {"in_flight": 70, "memory": "64MiB", "file": 2, "more": EXTRA}]
        for i in range(count):
            step = dict(steps[i % len(steps)])
            if step.pop("bad", 0):
                self.reload(r, self.text() + "  broken: { plugin: file }\n", 78)
            elif step.pop("schema", 0):
                self.write("user.schema.json", json.dumps({**SCHEMA, "title": str(i)}))
                self.assertIn("api", self.reload(r, **PRESETS)["changed"])
            else:
                self.reload(r, **{**PRESETS, **step})
            newcomers.append(r.post("api", "/users", {"name": f"new {i}", "email": "n@enterprise.com"}).status)
            ready.append(r.get("/readyz").status)
        for p in producers:
            p.is_over = True
        for p in producers:
            p.join()
        self.assertEqual([p.wrong for p in producers], [[]] * 4, r.log)
        self.assertEqual(set(newcomers), {200})
        self.assertEqual(set(ready), {200})
        taken = sorted([name for p in producers for name in p.taken] + [f"new {i}" for i in range(count)])
        self.reload(r, more=EXTRA)  # what was left in the stream of the removed sink goes on
        last = r.wait_settled(dead_lettered=0)
        self.assertEqual(last["accepted"], 2 * len(taken))
        files = [self.path(f"direct-{i}.ndjson") for i in range(3)]
        self.assertEqual(sorted(e["name"] for f in files for e in lines_of(f)), taken)
        self.assertEqual(sorted(e["name"] for e in lines_of(self.path("consumed.ndjson"))), taken)
        figures = r.metrics()
        self.assertEqual(figures['weir_reloads_total{result="ok"}'] +
                         figures['weir_reloads_total{result="refused"}'], count + 1)
        r.stop()

    def test_few_rules_of_many_change(self):
        """What stays of a bus is not compiled again; its rules have other numbers then."""
        def text(rules):
            lines = "".join(f"      {name}: {{ pattern: {{ detail: {{ n: [{n}] }} }} }}\n"
                            for name, n in rules.items())
            return ("""
sources:
  api: { plugin: http, listen: "127.0.0.1:0", routes: { POST /n: { source: s, type: T } } }
transforms:
  bus:
    plugin: eventbridge
    inputs: [api]
    rules:
""" + lines + """
sinks:
  a: { plugin: file, inputs: [bus.r3], path: a.ndjson }
  b: { plugin: file, inputs: [bus.extra], path: b.ndjson }
""")

        rules = {f"r{i}": i for i in range(200)}
        r = self.begin(text=text({**rules, "extra": 1000}))
        sent = {"a": [], "b": []}

        def post(n, *sinks):
            self.assertEqual(r.post("api", "/n", {"n": n}).status, 200)
            for sink in sinks:
                sent[sink].append(n)

        post(3, "a")
        self.reload(r, text({"extra": 3, **rules}))
        post(3, "a", "b")
        post(1000)
        del rules["r5"]
        self.reload(r, text({**rules, "r3": 4, "extra": 5}))
        post(3)
        post(4, "a")
        post(5, "b")
        self.reload(r, text({"extra": 4, "r3": 4, "r4": 3}))
        post(4, "a", "b")
        post(3)
        r.wait_settled()
        for sink, numbers in sent.items():
            self.assertEqual(sorted(e["n"] for e in lines_of(self.path(sink + ".ndjson"))), sorted(numbers))

    def test_connection_lives_on(self):
        r = self.begin()
        c = http.client.HTTPConnection(*r.address("api"), timeout=60)
        sock = None
        for i, source in enumerate(["u", "v", "w"]):
            if i:
                self.put(self.text(source=source))
                r.signal(signal.SIGHUP)
                r.wait_log(rf"(?s)(reloaded in.*1 changed \(api\).*){{{i}}}")
            c.request("POST", "/users", json.dumps({"name": source, "email": "a@b.c"}),
                      {"Content-Type": "application/json"})
            self.assertEqual(c.getresponse().read()[:11], b'{"event_id"')
            sock = sock or c.sock
            self.assertIs(c.sock, sock)
        c.close()
        r.wait_settled(accepted=6)
        r.stop()

    def test_request_in_hand_is_answered(self):
        """A body that comes while the route goes is matched with the new routes; one that was taken ends well."""
        r = self.begin()
        body = b'{"name": "slow", "email": "a@b.c"}'
        head = b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        with socket.create_connection(r.address("api"), timeout=60) as kept, \
                socket.create_connection(r.address("api"), timeout=60) as lost:
            for s in kept, lost:
                s.sendall(head % len(body) + body[:9])
            self.reload(r, source="other")
            kept.sendall(body[9:])
            self.assertIn(b"200 OK", kept.recv(4096))
            self.reload(r, text=self.text().replace("POST /users", "POST /people"))
            lost.sendall(body[9:])
            self.assertIn(b"404 Not Found", lost.recv(4096))
        r.stop()

    def test_listener_moves_and_comes_back(self):
        """Nobody is left waiting at an address that was given up, whatever its last request was; it can be had again."""
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            ports = [s.getsockname()[1] for s in (one, two)]
        def at(port):
            return self.text().replace("127.0.0.1:0", f"127.0.0.1:{port}")
        r = self.begin(text=at(ports[0]))
        user = {"name": "n", "email": "a@b.c"}
        for here, there in (ports, ports[::-1], ports):
            address = ("127.0.0.1", here)
            kept = http.client.HTTPConnection(*address, timeout=60)
            kept.request("GET", "/health")  # brings no event, and leaves a connection
            self.assertEqual(kept.getresponse().read(), b'{"status":"ok"}')
            self.reload(r, at(there))
            with self.assertRaises(ConnectionRefusedError):
                request(address, "GET", "/health")
            answer = request(("127.0.0.1", there), "POST", "/users", json.dumps(user), {"Content-Type": "application/json"})
            self.assertEqual(answer.status, 200)
            kept.close()
        r.wait_settled(accepted=6, delivered=9)
        r.stop()

    def test_refused_changes_nothing(self):
        r = self.begin()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            second = f"  second: {{ plugin: file, inputs: [other], path: second.ndjson }}\n"
            other = f"sources:\n  other: {{ plugin: http, listen: '127.0.0.1:{port}', routes: {{ POST /x: {{ type: X }} }} }}\n"
            text = self.text(more=second, memory="200MiB", source="w").replace("sources:\n", other)
            answer = self.reload(r, text, 78)
            self.assertEqual(answer["result"], "refused")
            self.assertIn(f"127.0.0.1:{port}", json.dumps(answer))
        folder = "  second: { plugin: file, inputs: [bus.all], path: no/folder/x, make_folders: false }\n"
        self.assertIn("no/folder", json.dumps(self.reload(r, self.text(more=folder, in_flight=3), 78)))
        self.assertIn("pipeline.yaml:", self.reload(r, self.text() + "x: 1\n", 78)["diagnostics"])
        self.write("user.schema.json", "{")
        self.reload(r, self.text(), 78)
        self.write("user.schema.json", json.dumps(SCHEMA))
        self.assertEqual(r.get("/readyz").status, 200)
        self.assertEqual(r.post("api", "/users", {"name": "n", "email": "a@b.c"}).status, 200)
        r.wait_settled(accepted=2, delivered=3)
        figures = r.metrics()
        self.assertEqual(figures['weir_reloads_total{result="refused"}'], 4)
        self.assertEqual(figures["weir_config_last_reload_successful"], 0)
        self.assertEqual(self.reload(r)["unchanged"], 7)
        self.assertIn("nothing changed", r.log)
        self.assertEqual(r.metrics()["weir_config_last_reload_successful"], 1)
        self.assertNotIn('weir_stage_ready{stage="second"}', r.metrics())
        r.stop()

    def test_what_needs_a_restart(self):
        r = self.begin()
        for key, value in (("workers", "3"), ("memory", "64MiB"), ("trace", "{ enabled: false }"),
                           ("aws", "{ region: eu-west-1 }"), ("journal", "{ max_size: 1GiB }")):
            answer = self.reload(r, self.text() + f"{key}: {value}\n", 78)
            self.assertRegex(answer["diagnostics"], rf"pipeline.yaml:\d+:\d+: error: {key}[.\w]* needs a restart")
        answer = self.reload(r, self.text().replace("  queue: {{", "").replace("direct:", "bus2:")
                             .replace("  bus:\n", "  direct:\n").replace("bus.all", "direct.all"), 78)
        self.assertIn("direct was something else than a transform", answer["diagnostics"])
        r.stop()

    def test_watch(self):
        self.write("name.txt", "one\n")
        self.compile("functions/up.so", FUNCTION % "1")
        text = self.text(more="").replace("source: u,", "source: '${file:name.txt}',") \
            .replace("functions/process_user.so", "functions/up.so")
        r = self.begin("--watch", text=text)
        self.put(text.replace("100000", "90000"))
        r.wait_log(r"1 changed \(direct\)")
        self.write("name.txt", "two\n")
        r.wait_log(r"1 changed \(api\)")
        self.write("user.schema.json", json.dumps({**SCHEMA, "title": "x"}))
        r.wait_log(r"(?s)(1 changed \(api\).*){2}")
        self.compile("up.so", FUNCTION % "2")
        os.rename(self.path("up.so"), self.path("functions/up.so"))
        r.wait_log(r"1 changed \(work\)")
        self.put(text + "x: 1\n")
        r.wait_log("unknown key")
        self.put(text)
        r.wait_log(r"(?s)unknown key.*reloaded in.*1 changed \(direct\)")
        r.stop()

    def test_removed_stage_keeps_its_events(self):
        down, up = self.stub(503), self.stub(200)
        def hook(stub):
            return "  hook: {{ plugin: http, inputs: [bus.all], url: '{}', retry: {{ backoff: 10ms }} }}\n".format(stub.url)
        r = self.begin(more=hook(down))
        for i in range(20):
            r.post("api", "/users", {"name": str(i), "email": "a@b.c"})
        wait_for(lambda: down.requests, "a first try")
        self.reload(r, self.text())
        r.wait_log(r"hook: 20 events of the removed stage stay on disk")
        ledger = r.ledger()
        self.assertEqual((ledger["in_flight"], ledger["balanced"]), (20, True))
        self.assertEqual(r.queues()["hook"]["visible"], 20)
        self.assertNotEqual(r.weir("queue", "purge", "direct").returncode, 0)
        self.reload(r, self.text(more=hook(up)))
        r.wait_settled()
        self.assertEqual(sorted(int(json.loads(b)["name"]) for b in up.bodies), list(range(20)))
        self.reload(r, self.text(more=hook(down)))
        r.post("api", "/users", {"name": "last", "email": "a@b.c"})
        self.reload(r, self.text())
        r.wait_log(r"hook: 1 events of the removed")
        self.assertEqual(r.weir("queue", "purge", "hook").stdout, '{"purged":1}\n')
        r.wait_settled(dropped=1)
        r.stop()
        self.assertEqual(r.weir("audit").returncode, 0)

    def test_removed_transform_keeps_its_events(self):
        """What it had on disk to try again stays there, at once and without being counted as anything else."""
        text = """
sources: {{ api: {{ plugin: http, listen: "127.0.0.1:0", routes: {{ POST /o: {{ type: O }} }} }} }}
transforms: {{ fn: {{ plugin: lambda, inputs: [api], handler: {}, retry: {{ backoff: 5ms, max_attempts: 100000 }} }} }}
sinks: {{ out: {{ plugin: file, inputs: [fn], path: out.ndjson }} }}
"""
        source = """#include <weir/function.h>
static weir_status one(weir_call *c) { %s; return WEIR_OK; }
WEIR_FUNCTION(one);
"""
        bad = self.compile("bad.so", source % 'return c->fail(c, WEIR_E_RETRY, "No", "not now")')
        good = self.compile("good.so", source % 'c->write(c, "{}")')
        r = self.start(text.format(bad))
        for n in range(10):
            r.post("api", "/o", {"n": n})
        wait_for(lambda: r.metrics()['weir_stage_retries_total{stage="fn"}'] > 30, "attempts")
        without = [line.replace("[fn]", "[api]") for line in text.format(bad).splitlines() if "fn:" not in line]
        self.reload(r, "\n".join(without) + "\n")
        r.wait_log(r"fn: 10 events of the removed stage stay on disk", 10)
        ledger = r.ledger()
        self.assertEqual([ledger[k] for k in ("in_flight", "balanced", "returned", "repeated")], [10, True, 0, 0])
        self.reload(r, text.format(good))
        r.wait_settled(accepted=10, delivered=10, returned=0, repeated=0)
        r.stop()
        self.assertEqual(r.weir("audit").returncode, 0)

    def test_a_file_is_read_once(self):
        """A source with a position: the old one has settled all before the new one begins."""
        text = """
sources: {{ lines: {{ plugin: file, path: in.ndjson, follow: true, poll: {}ms }} }}
sinks: {{ out: {{ plugin: file, inputs: [lines], path: out.ndjson }} }}
"""
        self.write("in.ndjson", "")
        r = self.start(text.format(1))
        with open(self.path("in.ndjson"), "a", encoding="utf-8") as f:
            for i in range(20):
                for n in range(100):
                    f.write(json.dumps({"n": i * 100 + n}) + "\n")
                f.flush()
                self.assertEqual(self.reload(r, text.format(2 + i))["changed"], ["lines"])
        self.wait_lines(self.path("out.ndjson"), 2000)
        r.wait_settled(accepted=2000)
        self.assertEqual([e["n"] for e in lines_of(self.path("out.ndjson"))], list(range(2000)))
        r.stop()

    def test_a_sink_moves_between_threads(self):
        """file has a thread of its own, http has not: what waits for the sink goes along."""
        stub = self.stub(200)
        kinds = [f"plugin: http, url: '{stub.url}'", "plugin: file, path: direct-0.ndjson"]
        r = self.begin()
        producers = [Producer(r.address("api"), i) for i in range(2)]
        for p in producers:
            p.start()
        for i in range(10):
            self.reload(r, self.text().replace(kinds[1], kinds[i % 2]))
            time.sleep(0.02)
        for p in producers:
            p.is_over = True
            p.join()
        self.assertEqual([p.wrong for p in producers], [[], []], r.log)
        r.wait_settled(dead_lettered=0)
        names = [json.loads(b)["name"] for b in stub.bodies] + \
            [e["name"] for e in lines_of(self.path("direct-0.ndjson"))]
        self.assertEqual(sorted(names), sorted(n for p in producers for n in p.taken))
        r.stop()

    def test_what_is_under_way_ends_where_it_began(self):
        """A changed sink: requests of the old instance end with it; it is stopped after them."""
        slow, fast = self.stub("hang"), self.stub(200)
        text = self.text(more="  hook: { plugin: http, inputs: [bus.all], url: 'URL', concurrency: 4 }\n")
        r = self.begin(text=text.replace("URL", slow.url))
        r.post("api", "/users", {"name": "first", "email": "a@b.c"})
        wait_for(lambda: slow.requests, "the first request")
        self.reload(r, text.replace("URL", fast.url))
        r.post("api", "/users", {"name": "second", "email": "a@b.c"})
        wait_for(lambda: fast.requests, "the second request")
        wait_for(lambda: r.ledger()["in_flight"] == 1, "the second event to be settled")
        slow.close()  # the connection breaks: it is tried again, by the new one
        r.wait_settled()
        self.assertEqual(sorted(json.loads(b)["name"] for b in fast.bodies), ["first", "second"])
        r.stop()

    def test_stop_in_the_middle(self):
        slow = self.stub("hang")
        text = self.text(more="  hook: { plugin: http, inputs: [bus.all], url: 'URL', timeout: 60s }\n") \
            .replace("drain: 10s", "drain: 0s")
        r = self.begin(text=text.replace("URL", slow.url))
        r.post("api", "/users", {"name": "first", "email": "a@b.c"})
        wait_for(lambda: slow.requests, "the first request")
        self.reload(r, text.replace("URL", slow.url + "/x"))
        self.reload(r, self.text().replace("drain: 10s", "drain: 0s"))
        r.stop()
        self.assertEqual(r.weir("audit").returncode, 0)

    def test_nobody_to_ask(self):
        self.write("pipeline.yaml", "data_dir: data\n" + self.text())
        os.mkdir(self.path("data"))
        done = weir("reload", "-c", self.path("pipeline.yaml"))
        self.assertEqual(done.returncode, 69, done.stderr)
        r = self.begin()
        self.assertEqual(request(r.admin, "POST", "/reload").status, 403)
        self.assertEqual(request(r.admin, "POST", "/reload?wait=0", headers={"X-Weir-Control": "1"}).status, 202)
        r.wait_log("nothing changed")
        r.stop()


if __name__ == "__main__":
    main()
