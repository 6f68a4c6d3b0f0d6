"""memory.py: the budget holds whatever the sinks do: what the kernel counts stays within `memory` and a constant."""
import http.client
import json
import re
import threading

from harness import IS_SANITIZED, PATIENCE, Case, environment, main, request, wait_for, weir

CONSTANT = 36 << 20  # docs/guide/operating.md: 32 MiB, and 2 MiB for each of two workers
GENERATOR = """
trace: {{ enabled: false }}
workers: 2
memory: {memory}
sources:
  gen: {{ plugin: generator, numbered: true, count: {count}, body: {{ fill: "{fill}" }}, batch_size: {batch} }}
sinks:
{sinks}"""
DEAD = '  {name}: {{ plugin: http, inputs: [gen], url: "{url}", format: ndjson, buffer: {{ type: {type} }}, ' \
       'retry: {{ backoff: 10ms, backoff_max: 50ms }}, breaker: {{ enabled: false }} }}\n'
FUNCTIONS = """
trace: {{ enabled: false }}
workers: 2
memory: 4MiB
sources:
  gen:
    plugin: generator
    numbered: true
    count: {count}
    batch_size: 2
    type: UserCreated
    body: {{ name: Ann, email: ann@acme.com, fill: "{fill}" }}
transforms:
  one: {{ plugin: lambda, inputs: [gen], handler: "${{WEIR_FUNCTIONS}}/process_user.so", payload: envelope }}
  two: {{ plugin: lambda, inputs: [one], handler: "${{WEIR_FUNCTIONS}}/process_user.so", payload: envelope }}
  three: {{ plugin: lambda, inputs: [two], handler: "${{WEIR_FUNCTIONS}}/process_user.so", payload: envelope }}
sinks:
  disk: {{ plugin: http, inputs: [three], url: "{url}/disk", format: ndjson, buffer: {{ type: durable }} }}
  memory: {{ plugin: http, inputs: [three], url: "{url}/memory", format: ndjson, buffer: {{ type: memory }} }}
"""
REQUESTS = """
trace: {{ enabled: false }}
workers: 2
memory: 4MiB
sources:
  api: {{ plugin: http, listen: 127.0.0.1:0, body_max: 600KiB, routes: {{ POST /o: {{ type: Order }} }} }}
sinks:
  out:
    plugin: http
    inputs: [api]
    url: "{url}"
    format: ndjson
    buffer: {{ type: durable, max_events: 20 }}
    retry: {{ backoff: 10ms, backoff_max: 50ms }}
    breaker: {{ enabled: false }}
"""
POST = {"Content-Type": "application/json"}


def numbers(stub, path=None):
    """Of the events that it took."""
    with stub.lock:
        bodies = [body for at, _, body in stub.requests if path in (None, at)]
    return {json.loads(line)["n"] for body in bodies for line in body.splitlines()}


class Memory(Case):
    def check_peak(self, r, budget):
        figures = r.get("/memory").json
        self.assertEqual(figures["budget"], budget)
        self.assertLessEqual(figures["used"], figures["peak"])
        self.assertLessEqual(figures["peak"], budget, "the budget holds by its own account")
        if not IS_SANITIZED:  # their own memory is counted too
            self.assertLessEqual(figures["resident_peak"], budget + CONSTANT, figures)

    def check_end(self, r, budget):
        """It ends by itself, and its last words tell the same."""
        self.assertEqual(r.wait(), 0, r.log)
        told = re.search(r"memory: events took ([\d.]+)MiB of (\d+)MiB at most, the whole process ([\d.]+)MiB", r.log)
        self.assertTrue(told, r.log)
        self.assertLessEqual(float(told[1]), budget >> 20)
        self.assertEqual(int(told[2]), budget >> 20)
        if not IS_SANITIZED:
            self.assertLessEqual(float(told[3]), (budget + CONSTANT) >> 20)
        audit = r.weir("audit", "--json")
        self.assertEqual(audit.returncode, 0, audit.stdout + audit.stderr)
        self.assertEqual(r.weir("queue", "peek", "dead-letters").stdout, "", "nothing was given up")

    def flood(self, size, count, types, budget=16 << 20):
        """More than the budget, for sinks that are down; then they work, and get all that was accepted."""
        stubs = [self.stub(503) for _ in types]
        sinks = "".join(DEAD.format(name=f"s{i}", url=stubs[i].url, type=t) for i, t in enumerate(types))
        r = self.start(GENERATOR.format(memory=f"{budget >> 20}MiB", count=count, fill="x" * size, sinks=sinks,
                                        batch=max(1, min(1024, (512 << 10) // size))))
        enough = min(count, 4 * budget // size) if "memory" not in types else 1
        wait_for(lambda: r.ledger()["accepted"] >= enough, lambda: f"{enough} of {r.ledger()}: {r.log}")
        wait_for(lambda: all(len(s.requests) > 3 for s in stubs), "attempts")
        self.check_peak(r, budget)
        for s in stubs:
            s.answers[:] = [200]
        self.check_end(r, budget)
        for s in stubs:
            self.assertEqual(numbers(s), set(range(1, count + 1)))

    def test_dead_sinks_on_disk(self):
        self.flood(10000, 8000, ["durable", "durable"])

    def test_small_events(self):
        self.flood(100, 40000, ["durable"], 8 << 20)

    def test_dead_sink_in_memory(self):
        self.flood(10000, 2000, ["memory"])

    def test_large_events(self):
        self.flood(400000, 60, ["memory", "durable"], 8 << 20)

    def test_functions_in_a_row(self):
        """Each makes a copy of an event that takes a twentieth of it all; what waits for room is no failure."""
        stub = self.stub(200)
        r = self.start(FUNCTIONS.format(count=60, fill="x" * 200000, url=stub.url))
        self.check_end(r, 4 << 20)
        for path in ("/disk", "/memory"):
            self.assertEqual(numbers(stub, path), set(range(1, 61)))

    def test_requests(self):
        """Clients are told to come again; what is larger than the budget can ever have, that it is too large."""
        stub, answers, lock = self.stub(503), [], threading.Lock()
        r = self.start(REQUESTS.format(url=stub.url))

        def client(n):
            for i in range(100 * n, 100 * n + 12):
                body = json.dumps({"n": i, "fill": "x" * 200000}).encode()
                a = request(r.address("api"), "POST", "/o", body, POST)
                with lock:
                    answers.append((a.status, a.headers.get("retry-after"), i))
        threads = [threading.Thread(target=client, args=(n,)) for n in range(24)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.check_peak(r, 4 << 20)
        accepted = {n for status, _, n in answers if status == 200}
        self.assertTrue(accepted)
        self.assertEqual({(s, after) for s, after, _ in answers if s != 200}, {(503, "1")})
        stub.answers[:] = [200]

        def again():
            return request(r.address("api"), "POST", "/o", b'{"n":1}', POST).status == 200
        wait_for(again, "it accepts again")
        wait_for(lambda: numbers(stub) >= accepted, lambda: f"all that was accepted: {r.log}")
        r.wait_settled(dead_lettered=0)
        large = json.dumps({"fill": "x" * 560000}).encode()
        self.assertEqual(request(r.address("api"), "POST", "/o", large, POST).status, 413)
        self.assertEqual(self.post_chunks(r, large), 413)
        self.check_peak(r, 4 << 20)
        r.stop()

    def post_chunks(self, r, body):
        """Its length is not told before."""
        c = http.client.HTTPConnection(*r.address("api"), timeout=PATIENCE)
        try:
            c.request("POST", "/o", iter([body[:1000], body[1000:]]), POST, encode_chunked=True)
            return c.getresponse().status
        finally:
            c.close()

    def test_too_little_is_said_before(self):
        path = self.write("little.yaml", "data_dir: data\n" +
                          REQUESTS.format(url="http://127.0.0.1:1").replace("4MiB", "1MiB"))
        done = weir("validate", path, env=environment())
        self.assertEqual(done.returncode, 78)
        self.assertIn("error: memory: 1MiB is too little for events of 600KiB, which api may bring (its body_max)",
                      done.stderr)
        self.assertIn("help: write memory: 4800KiB or more, or body_max: 128KiB or less", done.stderr)


if __name__ == "__main__":
    main()
