"""power.py: the states of a directory that a cut of the power may leave, built from what a run wrote and synced.

The shim records each write, sync, file and name of a real run of the driver, and what it was told. For a
moment in it a state is drawn: sectors of 512 bytes that were not synced are there or not, in any order, files
whose name was not synced may be gone, sizes may fall back, a failed sync keeps any half. Each must hold what
was answered until then, once and unchanged. tests/unit/journal_crash.c does the same to the journal alone,
on a disk in memory."""
import os
import random
import shutil
import struct
import subprocess
import tempfile
import unittest

from shim import DRIVER, IS_SANITIZED, KINDS, Shim, is_long
from harness import Case, main

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
        self.durable_size, self.is_named = 0, False

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
    def __init__(self, root, dice):
        self.root, self.dice, self.files, self.notes, self.order = root, dice, {}, bytearray(), 0

    def apply(self, kind, path, offset, data):
        self.order += 1
        if kind == NOTE:
            self.notes += data
        elif kind == CREATE:
            self.files[path] = File()
        elif kind == UNLINK:
            self.files.pop(path, None)
        elif kind in (SYNC, SYNC_FAILED) and path not in self.files:
            for name, f in self.files.items():  # of a directory
                f.is_named |= kind == SYNC and os.path.dirname(name) == path
        elif kind in (SYNC, SYNC_FAILED):
            self.files[path].sync(None if kind == SYNC else self.dice)
        elif kind == WRITE:
            self.files[path].write(offset, data, self.order)
        elif kind == ALLOCATE and offset > len(self.files[path].now) or kind == TRUNCATE:
            self.files[path].resize(offset)
        elif kind == RENAME:
            raise AssertionError("a rename, which is not modelled")

    def build(self, folder):
        """A state after a cut of the power now. Names: lost or not, each for itself."""
        how = self.dice.choice(LOSSES)
        until = self.dice.randrange(self.order + 1)
        os.makedirs(folder + "/journal")
        for path, f in self.files.items():
            is_lost = not f.is_named and how != "all" and (how == "none" or self.dice.randrange(2))
            if not is_lost:
                with open(folder + path[len(self.root):], "wb") as out:
                    out.write(f.left(how, until, self.dice))
        with open(folder + "/notes", "wb") as out:
            out.write(self.notes)
        return how


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
        disk = Disk(root, self.dice)
        at = 0
        for n, moment in enumerate(moments):
            while at < moment:
                disk.apply(*trace[at])
                at += 1
            folder = self.path("state")
            how = disk.build(folder)
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


if __name__ == "__main__":
    if os.environ.get("SAN") == "thread":
        Power = unittest.skip("the thread sanitizer takes the place of the shim")(Power)
    main()
