"""sinks.py: delivery: retries, dead letters, full buffers, fan-out, conditions, answers that wait, queues,
runs that end by themselves, and how a runner is stopped."""
import json
import os
import signal
import socket
import time

from harness import PATIENCE, Case, environment, lines_of, main, request, wait_for, weir

HEAD = """admin: { listen: 127.0.0.1:0 }
sources:
  api:
    plugin: http
    listen: 127.0.0.1:0
    routes:
      POST /events: { type: Happened, source: test }
"""
QUICK = "backoff: 5ms, backoff_max: 20ms"


class Sinks(Case):
    def post(self, r, value, status=200, path="/events"):
        answer = r.post("api", path, value)
        self.assertEqual(answer.status, status, answer.text)
        return answer

    def bodies(self, stub, count):
        wait_for(lambda: len(stub.bodies) >= count, lambda: f"{count} requests, {stub.bodies}")
        return [json.loads(b) for b in stub.bodies]

    # ---- the HTTP sink ----

    def hook(self, stub, more="", path="/hook"):
        return HEAD + "sinks:\n  hook: { plugin: http, inputs: [api], url: '" + stub.url + path + "'" + more + " }\n"

    def test_webhook(self):
        stub = self.stub(503, 500, 200)
        os.environ["HOOK_TOKEN"] = "hunter2secret"
        self.addCleanup(os.environ.pop, "HOOK_TOKEN")
        r = self.start(self.hook(stub, ", headers: { x-kind: test }, token: { env: HOOK_TOKEN }, retry: { " + QUICK + " }"),
                       env=environment(WEIR_DATA_DIR=self.path("data")))
        event = self.post(r, {"n": 1}).json["event_id"]
        self.assertEqual(self.bodies(stub, 3), [{"n": 1}] * 3)
        r.wait_settled(delivered=1, dead_lettered=0)
        for path, headers, _ in stub.requests:
            self.assertEqual(path, "/hook")
            self.assertEqual((headers["idempotency-key"], headers["x-kind"], headers["authorization"]),
                             (event, "test", "Bearer hunter2secret"))
        self.assertEqual(r.metrics()['weir_stage_retries_total{stage="hook"}'], 2)
        self.assertNotIn("hunter2secret", r.stop() + r.weir("trace", event).stdout)

    def test_refused_by_the_receiver(self):
        stub = self.stub(400, 200)
        r = self.start(self.hook(stub))
        self.post(r, {"n": 1})
        wait_for(r.dead_letters, "the dead letter")
        self.post(r, {"n": 2})
        self.bodies(stub, 2)
        r.wait_settled(delivered=1, dead_lettered=1)
        letter = r.dead_letters()[0]
        self.assertEqual(letter["body"], {"n": 1})
        attributes = letter["attributes"]
        self.assertEqual((attributes["dead.stage"], attributes["dead.class"], attributes["dead.attempts"]),
                         ("hook", "rejected", "1"))
        self.assertIn("answered 400: ok", attributes["dead.reason"])
        r.stop()

    def test_receiver_that_hangs_or_is_away(self):
        for answer, expected in (("hang", "(?i)time"), ("close", ".")):
            with self.subTest(answer):
                stub = self.stub(answer)
                r = self.start(self.hook(stub, ", timeout: 100ms, retry: { max_attempts: 2, " + QUICK + " }"))
                self.post(r, {"n": 1})
                wait_for(r.dead_letters, "the dead letter")
                self.assertRegex(r.dead_letters()[0]["attributes"]["dead.reason"], expected)
                self.assertEqual(r.dead_letters()[0]["attributes"]["dead.attempts"], "2")
                r.stop()
                os.rename(self.path("data"), self.path("data-" + answer))

    def test_receiver_that_comes_back(self):
        stub = self.stub()
        port = stub.port
        stub.close()
        r = self.start(self.hook(stub, ", retry: { " + QUICK + " }"))
        self.post(r, {"n": 1})
        wait_for(lambda: r.metrics()['weir_stage_retries_total{stage="hook"}'] > 1, "retries")
        listener = socket.create_server(("127.0.0.1", port))
        listener.settimeout(PATIENCE)
        self.addCleanup(listener.close)
        peer, _ = listener.accept()
        self.addCleanup(peer.close)
        peer.recv(65536)
        peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        r.wait_settled(delivered=1)
        r.stop()

    def test_receiver_that_lets_nobody_in(self):
        """401 pauses the sink and keeps the data; it goes on by itself."""
        stub = self.stub(401)
        r = self.start(self.hook(stub, ", retry: { max_attempts: 1, max_age: 1ms }, breaker: { probe_after: 5ms, probe_max: 10ms }"))
        for n in range(20):
            self.post(r, {"n": n})
        wait_for(lambda: r.get("/readyz").status == 503, "not ready")
        self.assertIn("answered 401", r.get("/readyz").text)
        health = r.get("/health")
        self.assertEqual((health.status, health.json["status"]), (200, "degraded"))
        self.assertEqual(r.metrics()['weir_stage_breaker_opened_total{stage="hook"}'], 1)
        stub.answers[:] = [200]
        r.wait_settled(delivered=20, dead_lettered=0)
        wait_for(lambda: r.get("/readyz").status == 200, "ready again")
        self.assertEqual(r.stop().count("does not work"), 1)

    def test_receiver_that_asks_for_time(self):
        """Retry-After holds all of the sink back, not the one event."""
        stub = self.stub((503, "Retry-After: 1\r\n"), 200)
        r = self.start(self.hook(stub, ", retry: { " + QUICK + " }"))
        begun = time.monotonic()
        self.post(r, {"n": 1})
        self.bodies(stub, 1)
        for n in range(2, 5):
            self.post(r, {"n": n})
        self.bodies(stub, 5)
        self.assertGreaterEqual(time.monotonic() - begun, 0.95)
        r.wait_settled(delivered=4)
        r.stop()

    def test_fallback(self):
        """What a sink refuses goes to the other, with the reason, and to no queue."""
        stub, out = self.stub(400), self.path("rest.ndjson")
        r = self.start(self.hook(stub, ", fallback: rest") + f"  rest: {{ plugin: file, path: {out} }}\n")
        self.post(r, {"n": 1})
        self.assertEqual(self.wait_lines(out, 1), [{"n": 1}])
        r.wait_settled(delivered=1, dead_lettered=0)
        r.stop()
        text = self.hook(stub, ", fallback: rest")
        for rest, expected in ((f"rest: {{ plugin: file, inputs: [api], path: {out}, fallback: hook }}", "ring"),
                               ("rust: { plugin: \"null\", inputs: [api] }", "no stage is named")):
            bad = weir("validate", self.write("bad.yaml", text + "  " + rest + "\n"))
            self.assertEqual(bad.returncode, 78, bad)
            self.assertIn(expected, bad.stderr + bad.stdout)

    def test_order_of_keys(self):
        """Every third request fails; what the receiver took of a key, it took in order."""
        answers = [503 if n % 3 == 0 else 200 for n in range(400)]
        stub = self.stub(*answers)
        text = self.hook(stub, ", breaker: { enabled: false }, retry: { " + QUICK + " }").replace(
            "source: test }", "source: test, key: who }")
        r = self.start(text)
        for n in range(120):
            self.post(r, {"n": n, "who": f"user-{n % 4}"})
        r.wait_settled(delivered=120)
        taken = [json.loads(body) for body, status in zip(stub.bodies, answers) if status == 200]
        for who in range(4):
            mine = [b["n"] for b in taken if b["who"] == f"user-{who}"]
            self.assertEqual(mine, list(range(who, 120, 4)))
        r.stop()

    # ---- isolation ----

    def test_dead_sink_stops_nobody(self):
        stub = self.stub("hang")
        out = self.path("out.ndjson")
        r = self.start(self.hook(stub, ", timeout: 60s") + f"  out: {{ plugin: file, inputs: [api], path: {out} }}\n"
                       "drain: 100ms\n")
        for n in range(200):
            self.post(r, {"n": n})
        self.assertEqual([v["n"] for v in self.wait_lines(out, 200)], list(range(200)))
        wait_for(lambda: r.ledger()["delivered"] == 200 and r.ledger()["in_flight"] == 200, "the other's lag")
        self.assertIn("the rest stays on disk", r.stop())
        stub.close()
        again = self.stub()
        r = self.start(self.hook(again) + f"  out: {{ plugin: file, inputs: [api], path: {out} }}\n")
        self.assertEqual(sorted(b["n"] for b in self.bodies(again, 200)), list(range(200)))
        r.wait_settled(delivered=400, accepted=200, copied=200)
        self.assertEqual(len(lines_of(out)), 200)
        r.stop()

    def full(self, stub, when_full, kind):
        return f"  hook: {{ plugin: http, inputs: [SOURCE], url: {stub.url}, timeout: 60s, concurrency: 1, " \
               f"batch: {{ max_events: 1 }}, buffer: {{ type: {kind}, max_events: 20, when_full: {when_full} }} }}\n" \
               "drain: 100ms\n"

    def test_full_blocks(self):
        """The source is held back with 503 and Retry-After; nothing that was answered 200 is lost."""
        stub = self.stub("hang")
        r = self.start(HEAD + "sinks:\n" + self.full(stub, "block", "durable").replace("SOURCE", "api"))
        statuses = []
        for n in range(60):
            answer = r.post("api", "/events", {"n": n})
            statuses.append(answer.status)
            if answer.status != 200:
                self.assertEqual(answer.status, 503)
                self.assertGreaterEqual(int(answer.headers["retry-after"]), 1)
        taken = statuses.count(200)
        self.assertTrue(20 <= taken < 60, statuses)
        self.assertEqual(statuses[-1], 503)
        r.stop()
        stub.close()
        again = self.stub()
        r = self.start(self.hook(again))
        self.assertEqual(sorted(b["n"] for b in self.bodies(again, taken)), list(range(taken)))
        r.wait_settled(accepted=taken, delivered=taken)
        r.stop()

    def overflow(self, when_full, column):
        """A buffer of twenty that gets five hundred: what becomes of the rest. The ledger, both buffers."""
        text = "admin: { listen: 127.0.0.1:0 }\nsources:\n" \
               "  numbers: { plugin: generator, count: 500, numbered: true, batch_size: 10 }\nsinks:\n"
        for kind in ("memory", "durable"):
            with self.subTest(kind):
                stub = self.stub("hang")
                r = self.start(text + self.full(stub, when_full, kind).replace("SOURCE", "numbers"))
                wait_for(lambda: r.ledger()[column] >= 400 and r.ledger()["balanced"], lambda: f"{column}: {r.ledger()}")
                self.assertGreaterEqual(r.ledger()["in_flight"], 20)
                letters = r.dead_letters()
                r.stop()
                os.rename(self.path("data"), self.path(kind))
        return letters

    def test_full_drops(self):
        self.assertEqual(self.overflow("drop_oldest", "dropped"), [])

    def test_full_dead_letters(self):
        for letter in self.overflow("dead_letter", "dead_lettered"):
            self.assertIn("full", letter["attributes"]["dead.reason"])

    # ---- routing ----

    def test_conditions_and_fan_out(self):
        text = HEAD + f"""sinks:
  all: {{ plugin: file, inputs: [api], path: {self.path("all")} }}
  big:
    plugin: file
    inputs: [{{ from: api, where: {{ detail: {{ n: [{{ numeric: [">", 7] }}] }} }} }}]
    path: {self.path("big")}
  none: {{ plugin: file, inputs: [{{ from: api, where: {{ source: [nobody] }} }}], path: {self.path("none")} }}
"""
        r = self.start(text)
        for n in range(10):
            self.post(r, {"n": n})
        self.assertEqual([v["n"] for v in self.wait_lines(self.path("all"), 10)], list(range(10)))
        self.assertEqual([v["n"] for v in self.wait_lines(self.path("big"), 2)], [8, 9])
        r.wait_settled(delivered=12)
        self.assertEqual(lines_of(self.path("none")), [])
        r.stop()

    def test_unmatched(self):
        text = HEAD + f"""transforms:
  bus:
    plugin: eventbridge
    inputs: [api]
    rules:
      paid:
        pattern: {{ detail: {{ state: [paid] }} }}
        input_transformer:
          input_paths: {{ order: $.detail.order, type: $.detail-type }}
          input_template: '{{"text":"<order> is paid","type":<type>}}'
sinks:
  paid: {{ plugin: file, inputs: [bus.paid], path: {self.path("paid")} }}
  rest: {{ plugin: file, inputs: [bus.unmatched], path: {self.path("rest")} }}
"""
        r = self.start(text)
        self.post(r, {"order": "A-1", "state": "paid"})
        self.post(r, {"order": "A-2", "state": "open"})
        self.assertEqual(self.wait_lines(self.path("paid"), 1), [{"text": "A-1 is paid", "type": "Happened"}])
        self.assertEqual(self.wait_lines(self.path("rest"), 1), [{"order": "A-2", "state": "open"}])
        r.wait_settled(delivered=2)
        r.stop()

    # ---- answers that wait ----

    def responding(self, respond, stub, more=""):
        return self.hook(stub, f", retry: {{ max_attempts: 2, {QUICK} }}").replace(
            "source: test", f"source: test, respond: {respond}, timeout: 300ms" + more)

    def test_respond_delivered(self):
        stub = self.stub(500, 200, 400, 500, 500, "hang")
        r = self.start(self.responding("delivered", stub) + "drain: 100ms\n")
        self.assertEqual(self.post(r, {"n": 1}).json["status"], "delivered")
        self.assertEqual(len(stub.bodies), 2)
        answer = self.post(r, {"n": 2}, 422)
        self.assertIn("answered 400", answer.json["detail"])
        answer = self.post(r, {"n": 3}, 502)
        self.assertIn("answered 500", answer.json["detail"])
        self.assertTrue(answer.json["event_id"])
        answer = self.post(r, {"n": 4}, 504)
        self.assertTrue(answer.json["event_id"])
        r.stop()

    def test_respond_result(self):
        self.write("greet.py", "def handler(event, context):\n    return {'hello': event['detail']['name']}\n")
        text = HEAD.replace("source: test", "source: test, respond: result").replace("    routes", "    result: greet\n    routes") + f"""transforms:
  greet: {{ plugin: lambda, inputs: [api], runtime: python, handler: greet.handler }}
sinks:
  out: {{ plugin: file, inputs: [greet], path: {self.path("out")} }}
"""
        r = self.start(text)
        answer = self.post(r, {"name": "Jane"})
        self.assertEqual(answer.json, {"hello": "Jane"})
        self.assertTrue(answer.headers["x-event-id"])
        self.assertEqual(self.wait_lines(self.path("out"), 1), [{"hello": "Jane"}])
        r.stop()

    # ---- standard output ----

    def test_output_that_nobody_reads(self):
        """As of other programs: the runner ends soon and says why; what is durable waits for the next run."""
        r = self.start(HEAD + "sinks:\n  print: { plugin: stdout, inputs: [api] }\n"
                       "  out: { plugin: file, inputs: [api], path: '" + self.path("out") + "' }\n")
        self.post(r, {"n": 1})
        self.assertEqual(json.loads(r.process.stdout.readline()), {"n": 1})
        r.process.stdout.close()
        self.post(r, {"n": 2})
        self.assertEqual(r.process.wait(PATIENCE), 74, r.log)
        r.output = ""
        self.assertRegex(r.log, "weir: error: print: write to standard output: Broken pipe: nobody reads it")
        self.assertEqual(self.wait_lines(self.path("out"), 2), [{"n": 1}, {"n": 2}])
        r = self.start(HEAD + "sinks:\n  print: { plugin: stdout, inputs: [api] }\n"
                       "  out: { plugin: file, inputs: [api], path: '" + self.path("out") + "' }\n")
        self.assertEqual(json.loads(r.process.stdout.readline()), {"n": 2})
        r.wait_settled(delivered=4)
        r.stop()

    # ---- queues ----

    def test_queue_that_delays(self):
        text = HEAD + f"""  later: {{ plugin: sqs, queue: later }}
sinks:
  queue: {{ plugin: sqs, inputs: [api], queue: later, delay: 400ms }}
  out: {{ plugin: file, inputs: [later], path: {self.path("out")} }}
"""
        r = self.start(text)
        begun = time.monotonic()
        self.post(r, {"n": 1})
        wait_for(lambda: r.queues()["later"]["delayed"] == 1, "the message in the queue")
        self.wait_lines(self.path("out"), 1)
        self.assertGreaterEqual(time.monotonic() - begun, 0.4)
        r.stop()

    def test_queue_with_dead_letters(self):
        """What is received too often moves to the queue's own dead letters, and can be moved back."""
        stub = self.stub(400)
        text = HEAD + f"""  work: {{ plugin: sqs, queue: work, dead_letters: failed-work, receives_max: 3, retry_after: 10ms }}
sinks:
  queue: {{ plugin: sqs, inputs: [api], queue: work }}
  hook:
    plugin: http
    inputs: [work]
    url: {stub.url}
    buffer: {{ type: memory }}
    retry: {{ max_attempts: 1, backoff: 5ms }}
"""
        r = self.start(text)
        self.post(r, {"n": 1})
        letters = wait_for(lambda: r.dead_letters("dead-letters"), "the stage's dead letter")
        self.assertEqual(letters[0]["body"], {"n": 1})
        self.assertEqual(r.queues()["work"]["dead_letters"], "failed-work")
        wait_for(lambda: r.queues()["work"]["visible"] + r.queues()["work"]["hidden"] == 0, lambda: f"{r.queues()}")
        moved = r.weir("queue", "redrive", "dead-letters", "--to", "work")
        self.assertEqual((moved.returncode, moved.stdout), (0, '{"moved":1,"left":0}\n'), moved)
        stub.answers[:] = [200]
        wait_for(lambda: len(stub.bodies) >= 2, "the message again")
        r.stop()

    # ---- runs that end ----

    def test_file_to_file(self):
        self.write("in.ndjson", "".join(json.dumps({"n": n}) + "\n" for n in range(5000)))
        text = f"""admin: {{ listen: "off" }}
sources:
  lines: {{ plugin: file, path: {self.path("in.ndjson")} }}
sinks:
  out: {{ plugin: file, inputs: [lines], path: {self.path("out.ndjson")} }}
  shown: {{ plugin: stdout, inputs: [{{ from: lines, where: {{ detail: {{ n: [{{ numeric: ["<", 3] }}] }} }} }}] }}
"""
        r = self.start(text)
        self.assertEqual(r.wait(), 0, r.log)
        self.assertEqual([v["n"] for v in lines_of(self.path("out.ndjson"))], list(range(5000)))
        self.assertEqual(r.output, '{"n": 0}\n{"n": 1}\n{"n": 2}\n')
        with open(self.path("in.ndjson"), "a", encoding="utf-8") as f:
            f.write('{"n": 5000}\n')
        self.assertEqual(self.start(text).wait(), 0)
        self.assertEqual([v["n"] for v in lines_of(self.path("out.ndjson"))], list(range(5001)), "goes on where it was")

    def test_generator(self):
        text = f"""admin: {{ listen: "off" }}
sources:
  numbers: {{ plugin: generator, count: 100000, numbered: true, body: {{}} }}
sinks:
  nothing: {{ plugin: "null", inputs: [numbers] }}
  some:
    plugin: file
    inputs: [{{ from: numbers, where: {{ detail: {{ n: [{{ numeric: [">", 99990] }}] }} }} }}]
    path: {self.path("some")}
"""
        r = self.start(text)
        self.assertEqual(r.wait(), 0, r.log)
        self.assertEqual([v["n"] for v in lines_of(self.path("some"))], list(range(99991, 100001)))

    # ---- starting and stopping ----

    def test_second_runner(self):
        r = self.start(self.hook(self.stub()))
        other = self.start(r.pipeline, wait=False)
        self.assertNotIn(other.wait(), (0, -6, -11))
        self.assertIn(str(r.pid), other.log)
        self.assertNotIn("is running", other.log)
        self.assertEqual(self.post(r, {"n": 1}).status, 200)
        self.assertIn("hook", r.weir("queue", "ls").stdout)
        r.stop()

    def test_second_signal(self):
        stub = self.stub("hang")
        r = self.start(self.hook(stub, ", timeout: 60s"))
        self.post(r, {"n": 1})
        self.bodies(stub, 1)
        r.signal(signal.SIGTERM)
        r.wait_log("SIGTERM: draining for at most 30s")
        time.sleep(0.1)
        self.assertIsNone(r.process.poll(), "it waits for what is under way")
        r.signal(signal.SIGINT)
        self.assertEqual(r.wait(5 if PATIENCE < 30 else None), 0)
        self.assertIn("stopping at once", r.log)
        again = self.stub()
        r = self.start(self.hook(again))
        self.assertEqual(self.bodies(again, 1), [{"n": 1}])
        r.wait_settled(accepted=1, delivered=1)
        r.stop()

    def test_drain_refuses_new_requests(self):
        stub = self.stub("hang")
        r = self.start(self.hook(stub, ", timeout: 60s") + "drain: 1s\n")
        address = r.address("api")
        self.post(r, {"n": 1})
        self.bodies(stub, 1)
        r.signal(signal.SIGTERM)
        r.wait_log("draining")
        wait_for(lambda: refuses(address), "a refusal")
        self.assertEqual(r.wait(), 0, r.log)

    def test_settings(self):
        """--set wins over the file, and the file over a variable's preset."""
        text = """admin: { listen: "off" }
sources:
  one: { plugin: generator, count: "${HOW_MANY:-3}", body: { a: 1 } }
sinks:
  shown: { plugin: stdout, inputs: [one] }
"""
        path = self.write("p.yaml", "data_dir: " + self.path("data") + "\n" + text)
        for args, env, lines in (((), {}, 3), ((), {"HOW_MANY": "2"}, 2),
                                 (("--set", "sources.one.count=1"), {"HOW_MANY": "2"}, 1)):
            done = weir("run", *args, path, env=environment(**env))
            self.assertEqual((done.returncode, len(done.stdout.splitlines())), (0, lines), done)
        done = weir("run", "--set", "sources.one.cuont=1", path)
        self.assertEqual(done.returncode, 78)
        self.assertIn("count", done.stderr)
        done = weir("run", "--set", "nonsense", path)
        self.assertIn(done.returncode, (64, 78))
        done = weir("run", path, env=environment(WEIR_CONFIG="/nowhere"))
        self.assertEqual(done.returncode, 0)


def refuses(address):
    try:
        return request(address, "POST", "/events", b"{}", {"Content-Type": "application/json"}).status == 503
    except OSError:
        return True


if __name__ == "__main__":
    main()
