"""power.py: the states of a directory that a cut of the power may leave, built from what a run wrote and synced.

The shim records each write, sync, file and name of a real run, and what was answered. For a moment in it a
state is drawn: sectors of 512 bytes that were not synced are there or not, in any order, files and folders
whose name was not synced may be gone, files that were removed may be back, sizes may fall back, a failed sync
keeps any half. Each must hold what was answered until then: once and unchanged for the driver of the journal;
for a whole runner, each event reaches both ends of its flow after a restart. tests/unit/journal_crash.c does
the same to the journal alone, on a disk in memory."""
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

from shim import DRIVER, IS_SANITIZED, KINDS, Shim, is_long, whole_lines
from harness import Case, main, wait_for, weir

SECTOR = 512
HEAD = struct.Struct("<IIQQ")
CREATE, WRITE, SYNC, ALLOCATE, TRUNCATE, RENAME, UNLINK, MAKE_DIR, NOTE, SYNC_FAILED = range(10)
LOSSES = ("none", "all", "any", "prefix", "most")


def entries(path):
    with open(path, "rb") as f:
        data = f.read()
    at, found = 0, []
    while at + HEAD.size <= len(data):
        kind, path_len, offset, n = HEAD.unpack_from(data, at)
        at += HEAD.size
        name = data[at:at + path_len].decode()
        at += path_len
        found.append((kind, name, offset, data[at:at + n]))
        at += n
    return found


class File:
    def __init__(self):
        self.now, self.durable, self.pending = bytearray(), bytearray(), []  # (order, sector, bytes)
        self.durable_size, self.is_named, self.was = 0, False, None  # the name that is synced, if it is another

    def resize(self, size):
        if size > len(self.now):
            self.now.extend(bytes(size - len(self.now)))
        else:
            del self.now[size:]

    def write(self, offset, data, order):
        if offset + len(data) > len(self.now):
            self.resize(offset + len(data))
        self.now[offset:offset + len(data)] = data
        for sector in range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1):
            at = sector * SECTOR
            self.pending.append((order, sector, bytes(self.now[at:at + SECTOR])))

    def keep(self, to, chosen):
        for _, sector, data in chosen:
            at = sector * SECTOR
            if len(to) < at + len(data):
                to.extend(bytes(at + len(data) - len(to)))
            to[at:at + len(data)] = data

    def sync(self, dice=None):
        """`dice`: it failed; any half is there, and the system holds all for clean."""
        self.keep(self.durable, self.pending if dice is None else [p for p in self.pending if dice.randrange(2)])
        self.pending = []
        self.durable_size = len(self.now)

    def left(self, how, until, dice):
        """Its bytes after the power came back."""
        odds = dice.randrange(4)
        pick = {"none": lambda p: False, "all": lambda p: True, "any": lambda p: dice.randrange(4) > odds,
                "prefix": lambda p: p[0] < until, "most": lambda p: dice.randrange(10) > 0}[how]
        data = bytearray(self.durable)
        self.keep(data, [p for p in self.pending if pick(p)])
        size = len(self.now)
        if self.durable_size < size and how != "all" and (how == "none" or dice.randrange(2)):
            size = self.durable_size
        del data[size:]
        data.extend(bytes(size - len(data)))
        return data


class Disk:
    """`removed`: names that are gone, but for a sync of their folder, and what they were."""

    def __init__(self, root, dice):
        self.root, self.dice, self.files, self.notes, self.order = root, dice, {}, bytearray(), 0
        self.folders, self.removed = {root: True}, {}

    def apply(self, kind, path, offset, data):
        self.order += 1
        if kind == NOTE:
            self.notes += data
        elif kind == CREATE:
            self.files[path] = File()
        elif kind == MAKE_DIR:
            self.folders[path] = path == self.root
        elif kind == UNLINK:
            self.remove(path)
        elif kind == RENAME:
            self.rename(path, data.decode())
        elif kind in (SYNC, SYNC_FAILED) and path not in self.files:
            if kind == SYNC:
                self.sync_folder(path)
        elif kind in (SYNC, SYNC_FAILED):
            self.files[path].sync(None if kind == SYNC else self.dice)
        elif kind == WRITE:
            self.files[path].write(offset, data, self.order)
        elif kind == ALLOCATE and offset > len(self.files[path].now) or kind == TRUNCATE:
            self.files[path].resize(offset)

    def remove(self, path):
        f = self.files.pop(path, None)
        if f and f.is_named:
            self.removed[f.was or path] = f
        if self.folders.pop(path, False):
            self.removed[path] = None

    def rename(self, old, new):
        f = self.files.pop(old)
        self.remove(new)
        f.was = f.was or (old if f.is_named else None)
        self.files[new] = f

    def sync_folder(self, path):
        for name, f in self.files.items():
            if os.path.dirname(name) == path:
                f.is_named, f.was = True, None
        for name in self.folders:
            self.folders[name] |= os.path.dirname(name) == path
        for name in [n for n in self.removed if os.path.dirname(n) == path]:
            del self.removed[name]

    def is_kept(self, how):
        """Of what was done to a name and not synced."""
        return how == "all" or how != "none" and self.dice.randrange(2)

    def build(self, folder):
        """A state after a cut of the power now. Names: lost or not, each for itself."""
        how = self.dice.choice(LOSSES)
        until = self.dice.randrange(self.order + 1)
        os.makedirs(folder)
        lost = {name for name, is_named in self.folders.items() if not is_named and not self.is_kept(how)}
        there = {}
        for path, f in self.removed.items():
            if f and not self.is_kept(how):
                there[path] = f
        for path, f in self.files.items():
            if f.is_named and not f.was or self.is_kept(how):
                there[path] = f
            elif f.was:
                there[f.was] = f
        for path, f in there.items():
            above = os.path.dirname(path)
            while above.startswith(self.root) and above not in lost:
                above = os.path.dirname(above)
            if above in lost:
                continue
            to = folder + path[len(self.root):]
            os.makedirs(os.path.dirname(to), exist_ok=True)
            with open(to, "wb") as out:
                out.write(f.left(how, until, self.dice))
        return how

    def write_notes(self, path):
        with open(path, "wb") as out:
            out.write(self.notes)


class Power(Case):
    def record(self, seed, failing):
        folder = tempfile.mkdtemp(prefix="run-", dir=self.folder)
        with Shim(folder + "/journal", trace=folder + "/trace", notes=folder + "/notes") as shim:
            if failing:
                shim.fail("EIO", first=failing, kinds=["sync"])
            done = subprocess.run([DRIVER, "run", folder + "/journal", folder + "/notes", str(seed), "60"],
                                  env=shim.environment(), capture_output=True, text=True, timeout=120, check=False)
            self.assertEqual(done.returncode, 0, done)
        return folder, entries(folder + "/trace")

    def check(self, folder, what, is_cut):
        """`is_cut`: the recovery is killed once, and done again."""
        with Shim(folder + "/journal") as shim:
            if is_cut:
                shim.fail("killed", first=self.dice.randrange(1, 10), kinds=KINDS)
                subprocess.run([DRIVER, "check", folder + "/journal", folder + "/notes"], env=shim.environment(),
                               capture_output=True, timeout=120, check=False)
                shim.heal()
            done = subprocess.run([DRIVER, "check", folder + "/journal", folder + "/notes"], env=shim.environment(),
                                  capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, f"{what}:\n{done.stderr}{done.stdout}")

    def states(self, seed, failing, count):
        self.dice = random.Random(seed)
        root, trace = self.record(seed, failing)
        moments = sorted(self.dice.randrange(len(trace) + 1) for _ in range(count))
        disk = Disk(root + "/journal", self.dice)
        at = 0
        for n, moment in enumerate(moments):
            while at < moment:
                disk.apply(*trace[at])
                at += 1
            folder = self.path("state")
            how = disk.build(folder + "/journal")
            disk.write_notes(folder + "/notes")
            self.check(folder, f"seed {seed}, sync {failing} fails, state {n}: after {moment} of {len(trace)} "
                       f"entries, keeping {how}", self.dice.randrange(4) == 0)
            shutil.rmtree(folder)
        shutil.rmtree(root)
        return len(trace)

    def test_cuts_of_the_power(self):
        runs, each = (20, 150) if is_long() else (1, 10 if IS_SANITIZED else 50)
        base = int(os.environ.get("WEIR_TEST_SEED") or random.randrange(1 << 32))
        total = 0
        for n in range(runs):
            with self.subTest(seed=base + n):
                total += self.states(base + n, 20 + n if n % 2 or runs == 1 else 0, each)
        print(f"cuts of the power: {runs * each} states of {runs} runs with {total} writes, syncs and names, "
              f"nothing lost (seeds from {base})")


RUNNER = """
sources:
  api: { plugin: http, listen: 127.0.0.1:0, routes: { POST /o: { type: Order } } }
  back: { plugin: sqs, queue: work }
transforms:
  bus: { plugin: eventbridge, inputs: [api], rules: { all: { pattern: { id: [{ exists: true }] } } }, archive: { retention: 1d } }
sinks:
  queue: { plugin: sqs, inputs: [bus.all], queue: work }
  direct: { plugin: file, inputs: [bus.all], path: data/direct.ndjson, sync: true }
  consumer: { plugin: file, inputs: [back], path: data/consumed.ndjson, sync: true }
"""


class Whole(Case):
    """A runner with all of its files. An event counts as accepted where its answer came before the cut."""

    def record(self, posts):
        data = self.path("data")
        accepted = []
        with Shim(data, trace=self.path("trace")) as shim:
            r = self.start(RUNNER, env=shim.environment(WEIR_DATA_DIR=data))
            for n in range(posts):
                answer = r.post("api", "/o", {"n": n, "fill": "x" * self.dice.randrange(4000)})
                self.assertEqual(answer.status, 200, r.log)
                accepted.append((shim.get("traced"), n))
                if n == posts // 2:
                    self.assertEqual(r.weir("reload", "--wait", "--data-dir", data).returncode, 0, r.log)
            r.kill() if self.dice.randrange(2) else r.stop()
        trace = entries(self.path("trace"))
        os.unlink(self.path("trace"))
        os.rename(data, self.path("was"))
        return accepted, trace

    def numbers(self, name):
        return {line["n"] for line in whole_lines(self.path("data", name))}

    def check(self, accepted, what):
        if os.path.exists(self.path("data/journal")):
            self.audit(what)
        r = self.start(RUNNER)
        for name in ("direct.ndjson", "consumed.ndjson"):
            wait_for(lambda: not accepted or os.path.exists(self.path("data", name)) and accepted <= self.numbers(name),
                     lambda: f"{what}: {sorted(accepted - self.numbers(name))} of {name}\n{r.log}")
        r.wait_settled(dead_lettered=0)
        r.stop()
        self.audit(what)

    def audit(self, what):
        done = weir("audit", self.path("data"))
        self.assertEqual(done.returncode, 0, f"{what}: {done.stdout}{done.stderr}")

    def test_cuts_under_a_runner(self):
        runs, each = (10, 60) if is_long() else (1, 6 if IS_SANITIZED else 12)
        base = int(os.environ.get("WEIR_TEST_SEED") or random.randrange(1 << 32))
        total = 0
        for seed in range(base, base + runs):
            self.dice = random.Random(seed)
            accepted, trace = self.record(60)
            disk, at = Disk(self.path("data"), self.dice), 0
            for moment in sorted(self.dice.randrange(len(trace) + 1) for _ in range(each)):
                while at < moment:
                    disk.apply(*trace[at])
                    at += 1
                how = disk.build(self.path("data"))
                total += 1
                self.check({n for when, n in accepted if when <= moment},
                           f"seed {seed}: after {moment} of {len(trace)} entries, keeping {how}")
                shutil.rmtree(self.path("data"))
            shutil.rmtree(self.path("was"))
        print(f"cuts of the power under a runner: {total} states of {runs} runs, nothing lost (seeds from {base})")


if __name__ == "__main__":
    if os.environ.get("SAN") == "thread":
        print("skipped: the thread sanitizer takes the place of the shim\n0 passed, 0 failed")
        sys.exit(0)
    main()
