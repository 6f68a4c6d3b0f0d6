"""reference.py: config/pipeline.yaml as its users meet it: what goes in, what comes out, what is seen."""
import http.client
import json
import os
import re
import shutil
import tempfile
import uuid

from harness import (PATIENCE, ROOT, Case, Runner, lines_of, main, request, talk, wait_for)

PIPELINE = os.path.join(ROOT, "config/pipeline.yaml")
FREE = "sources.users_api.listen=127.0.0.1:0"
JSON = {"Content-Type": "application/json"}
TRACE = "0af7651916cd43dd8448eb211c80319c"


def user(n=0):
    return {"name": "Jane Smith", "email": f"Jane.{n}@Enterprise.com"}


class Flow(Case):
    def start_flow(self, *sets):
        return self.start(PIPELINE, FREE, *sets)

    def consumed(self, count):
        return self.wait_lines(self.path("data/users.ndjson"), count)

    def test_user_reaches_consumer(self):
        r = self.start_flow()
        answer = r.post("users_api", "/users", user())
        self.assertEqual(answer.status, 200, answer.text)
        event = answer.json["event_id"]
        self.assertEqual(answer.json, {"event_id": event, "status": "accepted"})
        self.assertEqual(uuid.UUID(event).version, 7)
        self.assertEqual(self.consumed(1), [{"id": event, "name": "Jane Smith",
                                             "email": "jane.0@enterprise.com", "tier": "enterprise"}])
        r.wait_settled(dead_lettered=0)
        r.stop()
        self.assertEqual(len(self.consumed(1)), 1, "delivered once")

    def test_tiers(self):
        r = self.start_flow()
        emails = {" a@ACME.com": None, "x@mail.acme.com": "enterprise", "n@notacme.com": "standard",
                  "b@mit.edu": "education", "c@ox.ac.uk": "education", "d@example.org": "standard"}
        emails.pop(" a@ACME.com")
        for email in emails:
            self.assertEqual(r.post("users_api", "/users", {"name": "N", "email": email}).status, 200)
        self.assertEqual({u["email"]: u["tier"] for u in self.consumed(len(emails))}, emails)
        r.stop()

    def test_what_is_seen(self):
        r = self.start_flow()
        headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "x-request-id": "req-1"}
        answer = r.post("users_api", "/users", user(), headers)
        event = answer.json["event_id"]
        self.assertEqual(answer.headers["x-request-id"], "req-1")
        self.assertRegex(answer.headers["traceparent"], rf"^00-{TRACE}-(?!b7ad6b7169203331)[0-9a-f]{{16}}-01$")
        self.consumed(1)
        r.wait_settled(accepted=2, delivered=5)
        self.check_trace(r, event)
        self.check_logs(r, event)
        self.check_queues(r)
        self.check_metrics(r)
        for path in ("/livez", "/readyz", "/health"):
            self.assertEqual(r.get(path).status, 200, path)
        r.stop()
        self.check_trace(r, event)  # of a stopped pipeline too
        self.check_logs(r, event)
        self.check_queues(r)

    def check_trace(self, r, event):
        def look():
            hops = [json.loads(line) for line in r.weir("trace", event, "--json").stdout.splitlines()]
            return hops if len(hops) == 9 else None
        hops = wait_for(look, lambda: "nine hops:\n" + r.weir("trace", event).stdout)
        seen = [(h["stage"], h["verdict"]) for h in hops]
        self.assertEqual(seen[:3], [("users_api", "accepted"), ("bus", "passed"), ("process_user", "passed")])
        self.assertEqual(sorted(seen[3:]), [("consumer", "delivered"), ("logs", "delivered"),
                                            ("logs", "delivered"), ("logs", "delivered"),
                                            ("queue", "delivered"), ("user_events", "accepted")])
        times = [h["time"] for h in hops]
        self.assertEqual(times, sorted(times))

    def check_logs(self, r, event):
        done = r.weir("logs", "tail", "/weir/users", "--stream", "logs", "--json")
        found = [json.loads(json.loads(line)["message"]) for line in done.stdout.splitlines()]
        self.assertEqual(len(found), 3, done)
        for line in found:
            self.assertEqual((line["id"], line["source"], line["type"]), (event, "user-service", "UserCreated"))
            self.assertIn(TRACE, line["traceparent"])
        emails = [line["detail"]["email"] for line in found]
        self.assertEqual(sorted(emails), ["Jane.0@Enterprise.com"] + ["jane.0@enterprise.com"] * 2)

    def check_queues(self, r):
        listed = {q["name"]: q for q in json.loads(r.weir("queue", "ls", "--json").stdout)}
        self.assertEqual(listed["user-events"]["kind"], "queue")
        for name in ("user-events", "dead-letters"):
            self.assertEqual((listed[name]["visible"], listed[name]["hidden"]), (0, 0))
        self.assertIn("user-events", r.weir("queue", "ls").stdout)

    def check_metrics(self, r):
        text = r.get("/metrics").text
        sample = re.compile(r'^[a-zA-Z_:][\w:]*(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [-+0-9.eInfNa]+$')
        for line in text.splitlines():
            if not line.startswith("#"):
                self.assertRegex(line, sample)
        named = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)
        self.assertEqual(len(named), len(set(name for name, _ in named)), "each family once")
        found = r.metrics()
        self.assertEqual(found["weir_ledger_accepted_total"], 2)
        self.assertEqual(found["weir_ledger_delivered_total"], 5)
        self.assertEqual(found['weir_lambda_invocations_total{stage="process_user"}'], 1)

    def test_restart_goes_on(self):
        """What waits in the queue when the runner stops is there when it comes back."""
        r = self.start_flow("sinks.queue.delay=2s")
        sent = [r.post("users_api", "/users", user(n)).json["event_id"] for n in range(5)]
        r.stop()
        self.assertEqual(lines_of(self.path("data/users.ndjson")), [])
        queues = {q["name"]: q for q in json.loads(r.weir("queue", "ls", "--json").stdout)}
        self.assertEqual(queues["user-events"]["delayed"], 5)
        r = self.start_flow()
        self.assertEqual(sorted(u["id"] for u in self.consumed(5)), sorted(sent))
        before = r.wait_settled()
        r.stop()
        r = self.start_flow()
        self.assertEqual(r.wait_settled(), before, "the ledger is true across restarts")
        r.stop()

    def test_consumer_that_cannot_write(self):
        """Events wait while the consumer's file cannot be written, and nothing else waits with them."""
        r = self.start_flow("sinks.consumer.retry.backoff=10ms", "sinks.consumer.retry.backoff_max=50ms")
        r.post("users_api", "/users", user(0))
        self.consumed(1)
        os.rename(self.path("data/users.ndjson"), self.path("before"))
        os.mkdir(self.path("data/users.ndjson"))
        self.assertEqual(r.post("users_api", "/users", user(1)).status, 200)
        wait_for(lambda: len(r.weir("logs", "show", "/weir/users", "--stream", "logs").stdout.splitlines()) == 6,
                 "the log lines of both")
        r.wait_log("consumer: .*Is a directory")
        self.assertEqual(r.dead_letters(), [])
        wait_for(lambda: r.ledger()["in_flight"] == 1 and r.ledger()["balanced"], "one event in flight")
        os.rmdir(self.path("data/users.ndjson"))
        self.assertEqual([u["email"] for u in self.consumed(1)], ["jane.1@enterprise.com"])
        r.wait_settled(dead_lettered=0)
        r.stop()


class Answers(Case):
    """What the HTTP source says, on one runner."""

    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp(prefix="weir-flow.")
        cls.addClassCleanup(shutil.rmtree, cls.shared, True)
        cls.runner = Runner(cls.shared, PIPELINE, [FREE, "sources.users_api.timeout=500ms"])
        cls.addClassCleanup(cls.runner.kill)
        cls.api = cls.runner.address("users_api")

    @classmethod
    def tearDownClass(cls):
        cls.runner.stop()

    def problem(self, answer, status):
        self.assertEqual(answer.status, status, answer.text)
        self.assertEqual(answer.headers["content-type"], "application/problem+json")
        self.assertEqual(answer.json["status"], status)
        self.assertTrue(answer.json["title"] and answer.json["detail"])
        self.assertTrue(answer.headers["x-request-id"])
        return answer.json

    def refused(self, status, body, headers=None, method="POST", path="/users"):
        before = self.runner.ledger()["accepted"]
        answer = request(self.api, method, path, body, JSON if headers is None else headers)
        found = self.problem(answer, status)
        self.runner.wait_settled()
        after = self.runner.ledger()["accepted"]
        self.assertEqual(before, after, "nothing was enqueued")
        return found

    def test_schema(self):
        found = self.refused(400, b'{"name":"","email":"invalid-email"}')
        self.assertEqual({v["pointer"] for v in found["errors"]}, {"/name", "/email"}, found)
        for v in found["errors"]:
            self.assertTrue(v["detail"], found)
        found = self.refused(400, b'{"nmae":"x"}')
        self.assertIn("nmae", json.dumps(found))
        self.refused(400, b"[]")

    def test_no_json(self):
        self.assertIn("byte 5", self.refused(400, b'{"a":')["detail"])
        self.refused(400, b"")
        self.refused(400, b"name=x")
        self.refused(400, b'{"name":"a","email":"a@b.c"} x')
        self.assertIn("byte 9", self.refused(400, b'{"name":"\xff\xfe","email":"a@b.com"}')["detail"])
        self.refused(400, b'{"name":"\xed\xa0\x80","email":"a@b.com"}')

    def test_too_deep(self):
        self.refused(400, b"[" * 100000 + b"]" * 100000)
        self.refused(400, b'{"a":' * 5000 + b"1" + b"}" * 5000)

    def test_too_large(self):
        self.refused(413, b'{"name":"' + b"x" * (1 << 20) + b'"}')

    def test_media_type(self):
        self.assertIn("text/plain", self.refused(415, b"{}", {"Content-Type": "text/plain"})["detail"])
        for good in ("application/json; charset=utf-8", "application/vnd.api+json", "Application/JSON"):
            answer = request(self.api, "POST", "/users", json.dumps(user()).encode(), {"Content-Type": good})
            self.assertEqual(answer.status, 200, good)

    def test_routes(self):
        self.problem(request(self.api, "GET", "/nothing"), 404)
        answer = request(self.api, "DELETE", "/users")
        self.problem(answer, 405)
        self.assertIn("POST", answer.headers["allow"])
        answer = request(self.api, "OPTIONS", "/users")
        self.assertEqual((answer.status, "POST" in answer.headers["allow"]), (204, True))
        answer = request(self.api, "GET", "/health")
        self.assertEqual((answer.status, answer.json), (200, {"status": "ok"}))
        head = request(self.api, "HEAD", "/health")
        self.assertEqual((head.status, head.text), (200, ""))
        self.assertEqual(head.headers["content-length"], answer.headers["content-length"])

    def raw(self, data):
        """The status of the answer to raw bytes, after which the server closes."""
        text = talk(self.api, data, until_closed=False).decode()
        self.assertRegex(text, r"^HTTP/1\.1 \d{3} ")
        return int(text.split()[1])

    def test_bad_requests(self):
        post = b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        self.assertEqual(self.raw(post + b"Connection: close\r\n\r\n"), 411)
        self.assertEqual(self.raw(post + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 400)
        self.assertEqual(self.raw(post + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400)
        self.assertEqual(self.raw(b"NONSENSE\r\n\r\n"), 400)
        self.assertEqual(self.raw(post + b"X: " + b"y" * 20000 + b"\r\n\r\n"), 431)
        self.assertEqual(self.raw(b"GET /" + b"u" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"), 414)
        self.assertEqual(self.raw(post + b"Content-Length: 90\r\n\r\n{"), 408, "a request that never ends")

    def test_chunked(self):
        body = json.dumps(user()).encode()
        c = http.client.HTTPConnection(*self.api, timeout=PATIENCE)
        self.addCleanup(c.close)
        c.request("POST", "/users", iter([body[:7], body[7:]]), JSON, encode_chunked=True)
        answer = c.getresponse()
        self.assertEqual((answer.status, json.loads(answer.read())["status"]), (200, "accepted"))

    def test_keep_alive(self):
        c = http.client.HTTPConnection(*self.api, timeout=PATIENCE)
        self.addCleanup(c.close)
        c.connect()
        first = c.sock
        for body, status in ((b"{", 400), (json.dumps(user()).encode(), 200), (b"{}", 400)):
            c.request("POST", "/users", body, JSON)
            answer = c.getresponse()
            answer.read()
            self.assertEqual(answer.status, status)
        self.assertIs(c.sock, first, "one connection for all")

    def test_pipelining(self):
        data = b""
        for n in range(20):
            body = json.dumps(user(n)).encode()
            data += (b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nx-request-id: p-%d\r\n"
                     b"Content-Length: %d\r\n%s\r\n" % (n, len(body), b"Connection: close\r\n" * (n == 19))) + body
        text = talk(self.api, data, until_closed=False).decode()
        self.assertEqual(text.count("HTTP/1.1 200 OK"), 20, text[:400])
        self.assertEqual(re.findall(r"(?i)x-request-id: p-(\d+)", text), [str(n) for n in range(20)])


if __name__ == "__main__":
    main()
