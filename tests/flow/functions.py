"""functions.py: functions that fail, hang, die or answer garbage, in Python, Node and C: tried again, then
dead letters with the reason, and the flow goes on."""
import os
import re
import shutil
import signal
import socket
import unittest

from harness import IS_SANITIZED, Case, main, on_terminal, wait_for

PIPELINE = """admin: {{ listen: 127.0.0.1:0 }}
sources:
  api:
    plugin: http
    listen: 127.0.0.1:0
    routes:
      POST /events: {{ type: Happened, source: test }}
transforms:
  f:
    plugin: lambda
    inputs: [api]
    payload: body
    timeout: {timeout}
    retry: {{ max_attempts: 3, backoff: 5ms, backoff_max: 10ms }}
    {function}
sinks:
  out: {{ plugin: file, inputs: [f], path: "{out}" }}
"""

PYTHON = '''
import os, signal, sys, time
if os.path.exists("broken-start"):
    raise RuntimeError("cannot start")

def handler(event, context):
    mode = event["mode"]
    print("mode", mode, "of", context.function_name, flush=True)
    if mode == "error" or mode == "broken" and os.path.exists("broken"):
        raise ValueError("no use for " + mode)
    if mode == "hang":
        time.sleep(600)
    if mode == "exit":
        sys.stdout.flush()
        os._exit(3)
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "garbage":
        return {"a", "set"}
    if mode == "noise":
        sys.stdout.write("\\x00\\xff{{{ garbage" * 100 + "\\n")
        sys.stderr.write("more of it\\n")
    return {"did": mode, "n": event["n"]}
'''

NODE = '''
const fs = require('fs');
if (fs.existsSync('broken-start')) throw new Error('cannot start');
exports.handler = async (event, context) => {
  const mode = event.mode;
  console.log('mode', mode, 'of', context.functionName);
  if (mode === 'error' || (mode === 'broken' && fs.existsSync('broken'))) throw new RangeError('no use for ' + mode);
  if (mode === 'hang') await new Promise((done) => setTimeout(done, 600000));
  if (mode === 'exit') process.exit(3);
  if (mode === 'crash') process.kill(process.pid, 'SIGKILL');
  if (mode === 'garbage') { const ring = {}; ring.ring = ring; return ring; }
  if (mode === 'noise') { process.stdout.write('\\x00{{{ garbage'.repeat(100) + '\\n'); console.error('more'); }
  return { did: mode, n: event.n };
};
'''

# Speaks the Runtime API by itself, and badly.
RAW = '''
import http.client, json, os
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
while True:
    c = http.client.HTTPConnection(api)
    c.request("GET", "/2018-06-01/runtime/invocation/next")
    r = c.getresponse()
    event = json.loads(r.read())
    path = "/2018-06-01/runtime/invocation/" + r.getheader("Lambda-Runtime-Aws-Request-Id")
    answer = json.dumps({"did": event["mode"], "n": event["n"]})
    if event["mode"] == "garbage":
        answer = "<html>no JSON</html>"
    if event["mode"] == "nobody":
        path = "/2018-06-01/runtime/invocation/00000000-0000-0000-0000-000000000000"
    c.request("POST", path + "/response", answer)
    print(c.getresponse().status, flush=True)
    if event["mode"] == "nobody":
        os._exit(0)
'''

NATIVE = """
#include <unistd.h>
#include <weir/function.h>
static weir_status work(weir_call *c)
{
    weir_str mode = c->text(c, c->find(c, c->event, "mode"));
    c->log(c, "mode %.*s of %s", (int)mode.len, mode.ptr, c->function);
    if (weir_same(mode, "error") || (weir_same(mode, "broken") && access("BROKEN", F_OK) == 0))
        return c->fail(c, WEIR_E_RETRY, "ValueError", "no use for %.*s", (int)mode.len, mode.ptr);
    if (weir_same(mode, "reject"))
        return c->fail(c, WEIR_E_REJECT, "BadEvent", "never");
    if (weir_same(mode, "drop"))
        return WEIR_DROP;
    if (weir_same(mode, "garbage")) {
        c->write(c, "<html>");
        return WEIR_OK;
    }
    if (weir_same(mode, "other"))
        return (weir_status)99;
    c->write(c, "{");
    c->put_text(c, "did", mode);
    c->put_json(c, "n", c->find(c, c->event, "n"));
    c->write(c, "}");
    return WEIR_OK;
}
WEIR_FUNCTION(work);
"""


def children(pid):
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == str(pid) and fields[0] != "Z":
            found.append(int(name))
    return found


def are_gone(pids):
    return not any(os.path.exists(f"/proc/{pid}/cwd") and os.access(f"/proc/{pid}/exe", os.F_OK) for pid in pids)


class Functions(Case):
    def start_with(self, function, timeout="1s"):
        self.out = self.path("out.ndjson")
        return self.start(PIPELINE.format(function=function, timeout=timeout, out=self.out))

    def post_all(self, r, *modes):
        for n, mode in enumerate(modes):
            answer = r.post("api", "/events", {"mode": mode, "n": n})
            self.assertIn(answer.status, (200, 422), answer.text)  # 422: refused for good, and kept

    def did(self, count):
        return [v["did"] for v in sorted(self.wait_lines(self.out, count), key=lambda v: v["n"])]

    def dead(self, r, count):
        wait_for(lambda: len(r.dead_letters()) >= count, lambda: f"{count} dead letters: {r.dead_letters()}\n{r.log}")
        found = {}
        for letter in r.dead_letters():
            a = letter["attributes"]
            self.assertEqual(a["dead.stage"], "f")
            self.assertLessEqual(a["dead.first_time"], a["dead.last_time"])
            self.assertEqual((letter["source"], letter["type"]), ("test", "Happened"))
            found[letter["body"]["mode"]] = (a["dead.class"], a["dead.attempts"], a["dead.reason"])
        self.assertEqual(len(r.dead_letters()), count)
        return found

    def check_dead(self, found, **reasons):
        self.assertEqual(set(found), set(reasons))
        for mode, pattern in reasons.items():
            kind, attempts, reason = found[mode]
            self.assertEqual((kind, attempts), ("retries exhausted", "3"), mode)
            self.assertRegex(reason, pattern, mode)

    def logged(self, r):
        return r.weir("logs", "show", "/aws/lambda/f").stdout

    def check_all(self, function, timeout, **reasons):
        r = self.start_with(function, timeout)
        self.post_all(r, "good", *reasons, "noise", "good")
        self.assertEqual(self.did(3), ["good", "noise", "good"])
        self.check_dead(self.dead(r, len(reasons)), **reasons)
        r.wait_settled(dead_lettered=len(reasons), delivered=3)
        self.assertEqual(r.get("/readyz").status, 200)
        parts = [f"mode {mode} of f" for mode in ("good", *reasons, "noise")]
        parts += ["START RequestId", "END RequestId", r"REPORT RequestId: \S+\s+Duration", "{{{ garbage.*{{{ garbage"]

        def missing():
            text = self.logged(r)
            return [part for part in parts if not re.search(part, text)] or \
                (len(re.findall("mode error of f", text)) != 3 and "three attempts")
        wait_for(lambda: not missing(), lambda: f"{missing()} in the log\n" + self.logged(r)[-5000:])
        found = r.weir("queue", "peek", "dead-letters").stdout
        self.assertEqual(len(found.splitlines()), len(reasons))
        self.post_all(r, "good")
        self.did(4)
        running = children(r.pid)  # the one that was just called is kept warm
        self.assertTrue(running)
        r.stop()
        wait_for(lambda: are_gone(running), "the functions' processes to end")

    def test_python(self):
        self.write("f.py", PYTHON)
        self.check_all("handler: f.handler\n    runtime: python", "3s" if IS_SANITIZED else "1s",
                       error="ValueError: no use for error", hang="(?i)tim", exit="3", crash="(?i)kill|signal",
                       garbage="(?i)json|serializ")

    @unittest.skipUnless(shutil.which("node"), "no node")
    def test_node(self):
        self.write("f.js", NODE)
        self.check_all("handler: f.handler\n    runtime: node", "3s" if IS_SANITIZED else "1500ms",
                       error="RangeError: no use for error", hang="(?i)tim", exit="3", crash="(?i)kill|signal",
                       garbage="(?i)json|circular")

    def test_raw(self):
        """A program that speaks the Runtime API by itself."""
        self.write("raw.py", RAW)
        r = self.start_with("command: [python3, raw.py]", "3s")
        self.post_all(r, "good", "garbage", "nobody", "good")
        self.assertEqual(self.did(2), ["good", "good"])
        self.check_dead(self.dead(r, 2), garbage="(?i)json", nobody=".")
        r.wait_settled(dead_lettered=2, delivered=2)
        self.assertIn("202", self.logged(r))
        r.stop()

    def test_native(self):
        self.compile("f.so", NATIVE)
        r = self.start_with("handler: f.so")
        self.post_all(r, "good", "error", "garbage", "other", "reject", "drop", "good")
        self.assertEqual(self.did(2), ["good", "good"])
        found = self.dead(r, 4)
        self.assertEqual(found["reject"][:2], ("rejected", "1"))
        self.assertIn("BadEvent: never", found.pop("reject")[2])
        self.check_dead(found, error="ValueError: no use for error", garbage="(?i)json", other="did not say why")
        r.wait_settled(dead_lettered=4, delivered=2, filtered=1)
        self.assertIn("mode good of f", self.logged(r))
        r.stop()

    def test_log_lines_do_not_steer_the_terminal(self):
        self.compile("f.so", NATIVE)
        r = self.start_with("handler: f.so")
        evil = "\x1b[2J\x07\u009b1m\t\u00e9"
        self.post_all(r, evil)
        self.did(1)
        show = ("logs", "show", "/aws/lambda/f", "-c", r.pipeline)
        raw = "mode " + evil + " of f"
        wait_for(lambda: raw in self.logged(r), "the line")
        shown = on_terminal(*show, env=r.env)
        self.assertIn("mode \\x1b[2J\\x07\\xc2\\x9b1m\t\u00e9 of f", shown)
        self.assertIn(raw, on_terminal(*show, "--raw", env=r.env))
        r.stop()

    def test_native_that_hangs(self):
        """It cannot be stopped, so the runner stops without it."""
        self.compile("f.so", """#include <fcntl.h>
#include <unistd.h>
#include <weir/function.h>
static weir_status hang(weir_call *c) { for (close(creat("%s", 0600));;) sleep(100); }
WEIR_FUNCTION(hang);
""" % self.path("called"))
        r = self.start_with("handler: f.so")
        with socket.create_connection(r.address("api")) as client:
            client.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                           b"Content-Length: 2\r\n\r\n{}")
            wait_for(lambda: os.path.exists(self.path("called")), "a call")
        r.signal(signal.SIGTERM)
        r.wait_log("SIGTERM: draining")
        r.signal(signal.SIGTERM)
        r.wait_log("stopping at once")
        r.signal(signal.SIGTERM)
        self.assertEqual(r.wait(), 70)
        self.assertIn("a stage does not come back", r.log)

    def start_isolated(self, timeout):
        self.compile("f.so", NATIVE.replace("    if (weir_same(mode, \"reject\"))", """
    if (weir_same(mode, "hang"))
        while (access("%s", F_OK) != 0)
            usleep(1000);
    if (weir_same(mode, "reject"))""" % self.path("released"), 1))
        return self.start_with("handler: f.so\n    isolate: thread", timeout)

    def test_native_on_threads(self):
        """What a function does on threads of its own is what it does in line."""
        r = self.start_isolated("20s")
        self.post_all(r, "good", "error", "garbage", "other", "reject", "drop", "good")
        self.assertEqual(self.did(2), ["good", "good"])
        found = self.dead(r, 4)
        self.assertIn("BadEvent: never", found.pop("reject")[2])
        self.check_dead(found, error="ValueError: no use for error", garbage="(?i)json", other="did not say why")
        r.wait_settled(dead_lettered=4, delivered=2, filtered=1)
        self.assertIn("mode good of f", self.logged(r))
        r.stop()

    def test_native_on_threads_that_hangs(self):
        """A call that hangs fails by its time-out, the others go on, and the runner stops as always."""
        r = self.start_isolated("300ms")
        self.post_all(r, "hang", "good", "good")
        self.assertEqual(self.did(2), ["good", "good"])
        self.check_dead(self.dead(r, 1), hang="Sandbox.Timedout: Task timed out after 0.30 seconds")
        self.post_all(r, "good")
        self.assertEqual(self.did(3), ["good"] * 3)
        r.wait_settled(dead_lettered=1, delivered=3)
        self.assertEqual(r.get("/readyz").status, 200)
        r.stop()

    def test_native_that_hangs_too_often(self):
        """After sixteen threads that are gone no more are made: the stage is not ready and keeps its events."""
        r = self.start_isolated("100ms")
        self.post_all(r, *["hang"] * 8)
        wait_for(lambda: "have not come back" in r.get("/readyz").text, lambda: "a stage that is not ready\n" + r.log)
        self.assertEqual(r.get("/readyz").status, 503)
        self.assertGreaterEqual(r.metrics()['weir_lambda_hung_threads{stage="f"}'], 16)
        self.post_all(r, "good")
        self.write("released", "")
        wait_for(lambda: "good" in [v["did"] for v in self.wait_lines(self.out, 1)], lambda: "the rest\n" + r.log)
        wait_for(lambda: r.get("/readyz").status == 200, lambda: "a stage that works again\n" + r.log)
        wait_for(lambda: r.ledger()["in_flight"] == 0, "the rest")
        wait_for(lambda: r.metrics()['weir_lambda_hung_threads{stage="f"}'] == 0, "the threads to come back")
        r.stop()

    def test_start_that_fails(self):
        """An init error is every event's error, until it is mended."""
        self.write("f.py", PYTHON)
        self.write("broken-start", "")
        r = self.start_with("handler: f.handler\n    runtime: python", "5s")
        self.post_all(r, "good")
        self.check_dead(self.dead(r, 1), good="cannot start")
        self.assertIn("cannot start", self.logged(r))
        os.unlink(self.path("broken-start"))
        self.post_all(r, "good")
        self.assertEqual(self.did(1), ["good"])
        r.stop()

    def check_redrive(self, function, broken):
        self.write(broken, "")
        r = self.start_with(function, "5s")
        self.post_all(r, "broken", "good", "broken")
        wait_for(lambda: len(r.dead_letters()) == 2, lambda: "dead letters\n" + r.log)
        self.assertEqual(self.did(1), ["good"])
        os.unlink(self.path(broken))
        done = r.weir("queue", "redrive", "dead-letters")
        self.assertEqual((done.returncode, done.stdout), (0, '{"moved":2,"left":0}\n'), done)
        self.assertEqual(sorted(self.did(3)), ["broken", "broken", "good"])
        r.wait_settled(dead_lettered=2, redriven=2, delivered=3)
        self.assertEqual(r.dead_letters(), [])
        r.stop()

    def test_redrive_python(self):
        self.write("f.py", PYTHON)
        self.check_redrive("handler: f.handler\n    runtime: python", "broken")

    def test_redrive_native(self):
        self.compile("f.so", NATIVE.replace("BROKEN", self.path("broken")))
        self.check_redrive("handler: f.so", "broken")

    def test_redrive_when_stopped(self):
        self.compile("f.so", NATIVE.replace("BROKEN", self.path("broken")))
        self.write("broken", "")
        r = self.start_with("handler: f.so")
        self.post_all(r, "broken")
        wait_for(lambda: len(r.dead_letters()) == 1, lambda: "a dead letter\n" + r.log)
        r.stop()
        done = r.weir("queue", "peek", "dead-letters")
        self.assertIn("no use for broken", done.stdout, done)
        os.unlink(self.path("broken"))
        done = r.weir("queue", "redrive", "dead-letters")
        self.assertEqual((done.returncode, done.stdout), (0, '{"moved":1,"left":0}\n'), done)
        r = self.start_with("handler: f.so")
        self.assertEqual(self.did(1), ["broken"])
        r.wait_settled(dead_lettered=1, redriven=1, delivered=1, accepted=1)
        r.stop()

    def test_killed_runner_leaves_no_process(self):
        self.write("f.py", PYTHON)
        r = self.start_with("handler: f.handler\n    runtime: python", "60s")
        self.post_all(r, "good")
        self.did(1)
        self.post_all(r, "hang")
        wait_for(lambda: "mode hang of f" in self.logged(r), "the hanging call")
        running = children(r.pid)
        self.assertTrue(running)
        r.kill()
        wait_for(lambda: are_gone(running), "the functions' processes to end")


if __name__ == "__main__":
    main()
