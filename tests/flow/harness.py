"""harness.py: starts the runner as its users do, talks to it, and looks at what it leaves behind."""
import contextlib
import http.client
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD") or "build")
WEIR = os.path.join(BUILD, "weir")
INCLUDE = os.path.join(ROOT, "include")
IS_SANITIZED = bool(os.environ.get("SAN"))
PATIENCE = 90 if IS_SANITIZED else 20  # seconds until something that should happen has not
REPORT = re.compile(r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:)")


def environment(**more):
    """What the tests' processes see: nothing of the caller's own settings for weir."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
    env.update({"WEIR_FUNCTIONS": os.path.join(BUILD, "functions"), "NO_COLOR": "1",
                "PYTHONDONTWRITEBYTECODE": "1"})
    env.update(more)
    return {k: v for k, v in env.items() if v is not None}


def wait_for(condition, what, seconds=None):
    """Polls until `condition()` is true and returns what it gave."""
    end = time.monotonic() + (seconds or PATIENCE)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited in vain for " + (what() if callable(what) else what))
        time.sleep(0.003)


def no_report(text):
    """A sanitizer's report fails the test, whatever else went well."""
    if REPORT.search(text):
        raise AssertionError("the runner's memory or threads are at fault:\n" + text[-20000:])
    return text


def weir(*args, env=None, cwd=None, before=(), given=""):
    """Runs one command to its end. `before`: a command that runs it, such as setpriv; `given`: its input."""
    done = subprocess.run([*before, WEIR, *args], cwd=cwd or ROOT, env=env or environment(),
                          input=given, capture_output=True, text=True, errors="replace",
                          timeout=PATIENCE * 2, check=False)
    no_report(done.stderr)
    return done


def on_terminal(*args, env=None, **more):
    """What a command prints on a terminal. `more`: variables."""
    main_fd, its_fd = pty.openpty()
    with subprocess.Popen([WEIR, *args], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=its_fd, stderr=its_fd,
                          env=env or environment(TERM="xterm", **more)):
        os.close(its_fd)
        text = b""
        while True:
            try:
                part = os.read(main_fd, 65536)
            except OSError:
                break
            if not part:
                break
            text += part
        os.close(main_fd)
    return no_report(text.decode(errors="replace"))


def lines_of(path):
    """The JSON values of a file of lines; none if there is no file. A line in the making is left out."""
    try:
        with open(path, encoding="utf-8") as f:
            return [json.loads(line) for line in f if line.endswith("\n")]
    except (FileNotFoundError, IsADirectoryError):
        return []


def raise_major(path):
    """Raises the ABI major of a plugin by one: the upper half of the first word of its manifest."""
    symbols = subprocess.run(["readelf", "-W", "--dyn-syms", path], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in symbols.splitlines() if line.endswith(" weir_plugin")]
    address = int(rows[0][1], 16)
    sections = subprocess.run(["readelf", "-WS", path], capture_output=True, text=True, check=True).stdout
    for name, start, offset, size in re.findall(r"\] (\S+) +PROGBITS +(\w+) (\w+) (\w+)", sections):
        if int(start, 16) <= address < int(start, 16) + int(size, 16):
            with open(path, "r+b") as f:
                f.seek(int(offset, 16) + address - int(start, 16) + 2)
                major = f.read(1)[0]
                f.seek(-1, os.SEEK_CUR)
                f.write(bytes([major + 1]))
            return
    raise AssertionError("no manifest in " + path)


class Answer:
    """An HTTP answer: status, headers with lower-case names, text, and its JSON."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {k.lower(): v for k, v in headers}
        self.text = body.decode()

    @property
    def json(self):
        return json.loads(self.text)


def request(address, method, path, body=None, headers=None, timeout=None):
    """One request on a connection of its own."""
    c = http.client.HTTPConnection(*address, timeout=timeout or PATIENCE)
    try:
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        return Answer(r.status, r.getheaders(), r.read())
    finally:
        c.close()


def talk(address, data, until_closed=True):
    """Sends raw bytes and returns all that comes back until the other side closes."""
    with socket.create_connection(address, timeout=PATIENCE) as s:
        s.sendall(data)
        if until_closed:
            s.shutdown(socket.SHUT_WR)
        text = b""
        while True:
            part = s.recv(65536)
            if not part:
                return text
            text += part


def is_listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Runner:
    """A running `weir run`. Ports are free ones; its log is what it wrote to standard error."""

    def __init__(self, folder, pipeline, sets=(), env=None, cwd=None, args=(), wait=True):
        self.folder, self.pipeline = folder, pipeline
        self.env = env or environment(WEIR_DATA_DIR=os.path.join(folder, "data"))
        self.log_path = tempfile.mktemp(prefix="log-", dir=folder)
        command = [WEIR, "run"]
        for item in ("admin.listen=127.0.0.1:0", *sets):
            command += ["--set", item]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([*command, *args, pipeline], cwd=cwd or ROOT, env=self.env,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        self.output = None
        if wait:
            self.wait_log("is running")

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait_log(self, pattern, seconds=None):
        """Waits for a line of the log; the match. Fails at once when the runner has ended without it."""
        def look():
            has_ended = self.process.poll() is not None
            found = re.search(pattern, self.log)
            if not found and has_ended:
                raise AssertionError(f"the runner ended with {self.process.returncode} and without "
                                     f"{pattern!r}:\n{self.log}")
            return found
        return wait_for(look, lambda: f"{pattern!r} in the log:\n{self.log}", seconds)

    def address(self, stage):
        found = self.wait_log(rf"{stage}: listening on http://([0-9.]+):(\d+)")
        return found.group(1), int(found.group(2))

    @property
    def admin(self):
        found = self.wait_log(r"admin on http://([0-9.]+):(\d+)")
        return found.group(1), int(found.group(2))

    def post(self, stage, path, value, headers=None):
        """Posts a JSON value (or bytes as they are)."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return request(self.address(stage), "POST", path, body,
                       {"Content-Type": "application/json", **(headers or {})})

    def get(self, path):
        return request(self.admin, "GET", path)

    def ledger(self):
        return self.get("/ledger").json

    def wait_settled(self, **columns):
        """Waits until nothing is in flight, the ledger balances and it has these columns."""
        last = {}

        def look():
            last.update(self.ledger())
            return last["in_flight"] == 0 and last["balanced"] and \
                all(last[k] == v for k, v in columns.items())
        wait_for(look, lambda: f"a settled ledger with {columns}: {last}\n{self.log}")
        return last

    def metrics(self):
        """{"name{labels}": value} of /metrics."""
        text = self.get("/metrics").text
        return {key: float(value) for key, value in
                (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))}

    def weir(self, *args):
        """A command about this pipeline."""
        return weir(*args, "-c", self.pipeline, env=self.env)

    def queues(self):
        return {q["name"]: q for q in self.get("/queues").json}

    def dead_letters(self, name="dead-letters"):
        answer = self.get(f"/queues/{name}/messages?max=1000")
        return [json.loads(line) for line in answer.text.splitlines()]

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=None):
        """Its exit code, once it ends. Checks for reports of sanitizers."""
        try:
            self.output = self.process.communicate(timeout=seconds or PATIENCE)[0].decode()
        except subprocess.TimeoutExpired:
            raise AssertionError("the runner does not end:\n" + self.log) from None
        no_report(self.log)
        return self.process.returncode

    def stop(self):
        """SIGTERM: drains. Fails unless it ends well."""
        self.signal(signal.SIGTERM)
        code = self.wait()
        if code != 0:
            raise AssertionError(f"SIGTERM ended with {code}:\n{self.log}")
        return self.log

    def kill(self):
        if self.output is None:
            self.process.kill()
            self.wait()


class Stub:
    """An HTTP server to deliver to. `answers` holds statuses in turn (the last stays), or (status, header
    lines); "hang" never answers, "wait" does when it is released, "close" hangs up. `requests` is what
    came: (path, headers, body)."""

    def __init__(self, *answers):
        self.answers, self.requests = list(answers) or [200], []
        self.lock, self.released = threading.Lock(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        with peer, peer.makefile("rwb") as f:
            try:
                while self._one(f):
                    pass
            except (OSError, ValueError):
                pass

    def _one(self, f):
        line = f.readline().split()
        if len(line) < 3:
            return False
        headers = http.client.parse_headers(f)
        body = f.read(int(headers.get("content-length") or 0))
        with self.lock:
            self.requests.append((line[1].decode(), {k.lower(): v for k, v in headers.items()}, body))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer in ("hang", "wait"):
            self.released.wait(PATIENCE * 4)
            if answer == "hang":
                return False
            answer = 200
        if answer == "close":
            return False
        status, more = answer if isinstance(answer, tuple) else (answer, "")
        f.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n%s\r\nok" % (status, more.encode()))
        f.flush()
        return True

    @property
    def bodies(self):
        with self.lock:
            return [body for _, _, body in self.requests]

    def close(self):
        if not self.released.is_set():
            self.released.set()
            with contextlib.suppress(OSError):  # it may not be listening
                self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()


class Case(unittest.TestCase):
    """A test with a folder of its own, gone afterwards, as is every process it started."""
    maxDiff = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="weir-flow.")
        self.addCleanup(shutil.rmtree, self.folder, True)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        return self.path(name)

    def start(self, pipeline, *sets, **more):
        """Starts a runner of a pipeline file, or of a pipeline's text."""
        if "\n" in pipeline:
            pipeline = self.write("pipeline.yaml", "data_dir: ${WEIR_DATA_DIR}\n" + pipeline)
        runner = Runner(self.folder, pipeline, sets, **more)
        self.addCleanup(runner.kill)
        return runner

    def stub(self, *answers):
        stub = Stub(*answers)
        self.addCleanup(stub.close)
        return stub

    def wait_lines(self, path, count):
        """The values of a file once it has so many lines."""
        found = []

        def look():
            found[:] = lines_of(path)
            return len(found) >= count
        wait_for(look, lambda: f"{count} lines in {path}, {len(found)} are there")
        return found

    def compile(self, name, source, *flags):
        """A shared object of C source; its path."""
        where = self.path(name)
        os.makedirs(os.path.dirname(where), exist_ok=True)
        subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-fPIC", "-shared", "-I" + INCLUDE,
                        "-o", where, "-xc", "-", *flags], input=source.encode(), check=True)
        return where


def main():
    """Runs the tests of the calling file; the last line is for tests/run.sh."""
    program = unittest.main(module="__main__", exit=False, argv=[sys.argv[0], *sys.argv[1:]])
    result = program.result
    failed = len({test.id() for test, _ in result.failures + result.errors}) + \
        len(result.unexpectedSuccesses)
    print(f"{max(result.testsRun - failed - len(result.skipped), 0)} passed, {failed} failed", flush=True)
    sys.exit(1 if failed or not result.testsRun else 0)
