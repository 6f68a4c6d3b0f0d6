"""reload.py: another pipeline file for a pipeline that runs, under load: nothing lost, nothing refused."""
import http.client
import json
import os
import signal
import socket
import threading
import time

from harness import Case, IS_SANITIZED, lines_of, main, request, wait_for

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
  consumer: {{ plugin: file, inputs: [back], path: consumed.ndjson, buffer: {{ type: {buffer} }} }}
{more}
"""
SCHEMA = {"type": "object", "required": ["name", "email"]}
PRESETS = {"source": "u", "in_flight": 100, "pattern": "[{ exists: true }]", "memory": "128MiB",
           "file": 0, "limit": 100000, "buffer": "auto", "more": ""}
EXTRA = "  extra: { plugin: file, inputs: [bus.all], path: extra.ndjson }\n"


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
                 {"source": "v"}, {"schema": 1}, {"limit": 90000}, {"in_flight": 50}, {"bad": 1}, {"buffer": "memory"},
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


if __name__ == "__main__":
    main()
