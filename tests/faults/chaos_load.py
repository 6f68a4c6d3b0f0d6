"""chaos_load.py: what is around a pipeline that chaos.py draws: clients that send, and receivers with moods."""
import http.client
import json
import re
import socket
import struct
import threading
import time

from chaos_plan import RESIDUES
import shim  # noqa: F401  it knows where harness.py is
from harness import PATIENCE, Stub

KEYS = 8
FATES = [""] * 30 + ["refuse", "null", "poison"]
MOODS = ("500", "429", "401", "400 to poison", "reset", "took it and hung up", "took a part", "slow", "hang", "some of them")
ID = re.compile(r'"id":"([^"]+)"')


class Event:
    """One event, and what its source was told of it. fate: what functions and receivers do with it for good."""

    def __init__(self, source, key, n, chance):
        self.source, self.key, self.n, self.m = source, key, n, n % RESIDUES
        self.id, self.fate = f"{key}-{n}", chance.choice(FATES)
        self.text = json.dumps({"id": self.id, "k": key, "n": n, "m": self.m, "fate": self.fate,
                                "pad": "x" * chance.choice([0, 30, 30, 30, 3000, 3000, 60000 if n % 40 == 0 else 0])},
                               separators=(",", ":"))
        self.status, self.is_clear = None, True  # is_clear: each attempt was answered
        self.sent_s = time.monotonic()
        self.answered_s = None


class Client(threading.Thread):
    """Sends events to an http source; those of a key one after the other."""

    def __init__(self, plan, source, number, seed):
        super().__init__(daemon=True)
        self.plan, self.source = plan, source
        self.prefix = f"{source}-{number}"
        self.chance = plan.chance.__class__(f"{seed} {self.prefix}")
        self.events, self.wrong, self.is_over, self.pause_s = {}, [], False, 0.001
        self.connection = None

    def run(self):
        counts = {}
        while not self.is_over:
            key = f"{self.prefix}-{self.chance.randrange(KEYS)}"
            counts[key] = counts.get(key, -1) + 1
            event = Event(self.source, key, counts[key], self.chance)
            self.events[event.id] = event
            route = "/d" if self.chance.random() < 0.05 else "/a"
            while not self._send(event, route) and self.plan.is_idempotent and not self.is_over:
                time.sleep(0.005)
            time.sleep(self.pause_s if event.status else 0.005)
        self._close()

    def _send(self, event, route):
        """Whether the matter is settled for the client: it was taken."""
        headers = {"Content-Type": "application/json"}
        if self.plan.is_idempotent:
            headers["Idempotency-Key"] = event.id
        try:
            self._open()
            self.connection.request("POST", route, event.text, headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self._close()
            event.is_clear, event.status = False, None
            return False
        event.answered_s = time.monotonic()
        event.status = answer.status
        if answer.status in (409, 504, 202):
            event.is_clear = False
        elif answer.status not in (200, 422, 502, 503):
            self.wrong.append((answer.status, text, event.id))
        return answer.status in (200, 422, 502)

    def _open(self):
        if not self.connection:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(PATIENCE)
            try:
                s.connect(f"{self.plan.folder}/{self.source}")
            except OSError:
                s.close()
                raise
            self.connection = http.client.HTTPConnection("runner")
            self.connection.sock = s

    def _close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class Writer(threading.Thread):
    """Appends lines to the file of a file source: each is taken sooner or later."""

    def __init__(self, plan, source, seed):
        super().__init__(daemon=True)
        self.source, self.path = source, f"{plan.folder}/{source}.in"
        self.chance = plan.chance.__class__(f"{seed} {source}")
        self.events, self.wrong, self.is_over, self.pause_s = {}, [], False, 0.002
        with open(self.path, "wb"):
            pass

    def run(self):
        counts = {}
        with open(self.path, "ab", buffering=0) as f:
            while not self.is_over:
                key = f"{self.source}-{self.chance.randrange(KEYS)}"
                counts[key] = counts.get(key, -1) + 1
                event = Event(self.source, key, counts[key], self.chance)
                event.status = 200
                self.events[event.id] = event
                f.write(event.text.encode() + b"\n")
                time.sleep(self.pause_s)


class Receiver(Stub):
    """An HTTP server with a mood. `got`: (text of an event, whether the sink was told that it is taken)."""

    def __init__(self, chance, is_patient):
        self.mood, self.chance, self.is_patient, self.got = None, chance, is_patient, []
        super().__init__(200)

    def _serve(self, peer):
        try:
            with peer, peer.makefile("rwb") as f:
                while self._take(f, peer):
                    pass
        except (OSError, ValueError):
            pass

    def _take(self, f, peer):
        line = f.readline().split()
        if len(line) < 3:
            return False
        events = split(f.read(int(http.client.parse_headers(f).get("content-length") or 0)).decode())
        mood = self.mood
        if mood == "some of them":
            mood = self.chance.choice((None,) + MOODS)
        if mood == "slow":
            time.sleep(self.chance.uniform(0, 0.02))
        if mood == "reset":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if mood == "hang":
            return self._hang()
        return self._answer(f, events, mood)

    def _hang(self):
        """Answers never; so long that an impatient sink's time is over."""
        self.released.wait(0.05 if self.is_patient else 0.4)
        return False

    def _answer(self, f, events, mood):
        status = int(mood) if mood in ("500", "429", "401") else 200
        if mood == "took a part":
            status, part = 500, self.chance.randrange(len(events) + 1)
        if mood == "400 to poison" and any('"fate":"poison"' in e for e in events):
            status = 400
        if status == 200 or mood == "took a part":
            taken = events if status == 200 else events[:part]
            is_told = status == 200 and mood != "took it and hung up"
            with self.lock:
                self.got += [(e, is_told) for e in taken]
        if mood == "took it and hung up":
            return False
        f.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n%s\r\nok" %
                (status, b"Retry-After: 0\r\n" if status == 429 else b""))
        f.flush()
        return True


def split(body):
    """The events' texts in a body: one, lines, or an array."""
    if not body.startswith("["):
        return body.split("\n")[:-1] if body.endswith("\n") else [body]
    found, at, decoder = [], 1, json.JSONDecoder()
    while body[at] != "]":
        _, end = decoder.raw_decode(body, at)
        found.append(body[at:end])
        at = end + (body[end] == ",")
    return found


def file_lines(path):
    """The lines of a file sink, whole ones; where a kill or a disk cut one the rest of it stays."""
    try:
        with open(path, "rb") as f:
            text = f.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in text.split("\n")[:-1] if line.startswith("{") and line.endswith('"}')]
