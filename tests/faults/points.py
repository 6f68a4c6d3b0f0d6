"""points.py: every write, sync, allocation and file that a journal asks of its disk fails once, or is its last.

The driver sends, receives, removes, rotates and compacts over small segments. At its n-th operation the
disk answers with an error, or the process is killed; what is then on disk must hold all that was accepted,
once and unchanged, and sums that fit. Long: every n; else some. Then the same for the whole runner."""
import os
import random
import shutil
import signal
import subprocess
import sys
import threading

from shim import DRIVER, FOR_EVER, IS_SANITIZED, KINDS, Shim, environment, is_long, whole_lines
from harness import ROOT, Case, main, request, wait_for, weir

PIPELINE = os.path.join(ROOT, "config/pipeline.yaml")
ROUNDS = 60
SEED = "1"
# An error once, an error from then on, a process that dies before or within the operation.
WAYS = (("EIO", False), ("EIO", True), ("ENOSPC", False), ("ENOSPC", True), ("EROFS", True),
        ("short write", False), ("killed", False), ("killed in the write", False))


def name_of(way):
    return way[0] + (" from then on" if way[1] else "")


class Driver(Case):
    def drive(self, shim, folder):
        done = subprocess.run([DRIVER, "run", folder + "/journal", folder + "/notes", SEED, str(ROUNDS)],
                              env=shim.environment(), capture_output=True, text=True, timeout=120, check=False)
        self.assertNotIn("Sanitizer", done.stderr)
        return done

    def check(self, folder, what, env=None, has_doubt=False, may_die=False):
        done = subprocess.run([DRIVER, "check", folder + "/journal", folder + "/notes", *["doubt"][:has_doubt]],
                              env=env or environment(), capture_output=True, text=True, timeout=120,
                              check=False)
        if not may_die:
            self.assertEqual(done.returncode, 0, f"{what}:\n{done.stderr}{done.stdout}")
        return done

    def count(self):
        """How many operations a run has, which of them are of which kind, and what it did."""
        folder = self.path("whole")
        os.mkdir(folder)
        counts = {}
        for kind in KINDS:
            with Shim(folder + "/journal") as shim:
                shim.fail("EIO", first=FOR_EVER, kinds=[kind])
                done = self.drive(shim, folder)
                counts[kind] = shim.get("ops")
            self.assertEqual(done.returncode, 0, done)
            self.check(folder, "no fault")
            shutil.rmtree(folder)
            os.mkdir(folder)
        shutil.rmtree(folder)
        self.assertNotIn(" 0 compactions", done.stdout)
        return counts, done.stdout.strip()

    def one(self, n, way, kinds, dice):
        folder = self.path("one")
        shutil.rmtree(folder, True)
        os.mkdir(folder)
        what = f"{name_of(way)} at operation {n} of {','.join(kinds)}"
        with Shim(folder + "/journal") as shim:
            shim.fail(way[0], first=n, until=FOR_EVER if way[1] else n, kinds=kinds)
            done = self.drive(shim, folder)
            fired = shim.get("fired")
            is_open = done.returncode == 2
            if is_open:
                self.assertTrue(os.path.getsize(folder + "/notes") == 0, f"{what}: {done}")
            elif way[0].startswith("killed") and fired:
                self.assertEqual(done.returncode, -signal.SIGKILL, f"{what}: {done}")
            else:
                self.assertEqual(done.returncode, 0, f"{what}: {done}")
            if fired and dice.randrange(2):  # and the recovery is cut short too
                shim.fail("killed", first=dice.randrange(1, 12))
                self.check(folder, what, shim.environment(), may_die=True)
            shim.heal()
            self.check(folder, what, has_doubt=way[1], env=shim.environment())
        return fired > 0

    def test_every_operation_of_a_journal(self):
        counts, did = self.count()
        total = sum(counts.values())
        print(f"{total} operations: {', '.join(f'{v} {k}' for k, v in counts.items() if v)}; {did}")
        seed = random.randrange(1 << 32)
        dice = random.Random(seed)
        for way in WAYS:
            kinds = ["write"] if "write" in way[0] else KINDS
            points = range(1, sum(counts[k] for k in kinds) + 1)
            if not is_long():
                points = dice.sample(points, 3 if IS_SANITIZED else 8)
            with self.subTest(way=name_of(way), seed=seed):
                fired = sum(self.one(n, way, kinds, dice) for n in points)
                print(f"{name_of(way)}: {len(points)} places tried, {fired} struck, nothing lost")
                self.assertGreater(fired, 0)


class Whole(Case):
    """The runner with the reference flow."""
    def load(self, r, accepted):
        n = 0
        while r.process.poll() is None and n < 150 and not self.is_over:
            n += 1
            try:
                a = request(self.api, "POST", "/users", b'{"name":"N","email":"%d-%d@example.com"}' %
                            (threading.get_ident(), n), {"Content-Type": "application/json"}, timeout=2)
            except OSError:  # it died, or waits for the disk
                return
            if a.status == 200:
                accepted.append(a.json["event_id"])
            else:
                self.answers.add(a.status)
                if a.status not in (429, 503):
                    self.wrong.append((a.status, a.text))

    def one(self, n, way, seed):
        self.is_over, self.wrong, self.answers = False, [], set()
        what = f"{name_of(way)} at operation {n}, seed {seed}"
        data = self.path("data")
        accepted = []
        with Shim(data) as shim:
            r = self.start(PIPELINE, "sources.users_api.listen=127.0.0.1:0",
                           env=shim.environment(WEIR_DATA_DIR=data), wait=False)
            self.api = r.address("users_api")
            r.wait_log("is running")
            shim.fail(way[0], first=n, until=FOR_EVER if way[1] else n)
            threads = [threading.Thread(target=self.load, args=(r, accepted)) for _ in range(2)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            fired = shim.get("fired")
            r.kill()
        self.assertEqual(self.wrong, [], f"{what}\n{r.log}")
        done = weir("audit", data)
        self.assertEqual(done.returncode, 0, f"{what}: {done.stdout}{done.stderr}")
        r = self.start(PIPELINE, "sources.users_api.listen=127.0.0.1:0")
        out = self.path("data/users.ndjson")

        def missing():
            return set(accepted) - {line["id"] for line in whole_lines(out)}
        wait_for(lambda: not missing(), lambda: f"{what}: {missing()}\n{r.log}")
        r.wait_settled(dead_lettered=0)
        r.stop()
        self.assertEqual(weir("audit", data).returncode, 0, what)
        shutil.rmtree(data)
        return fired > 0, len(accepted)

    def test_some_operations_of_a_runner(self):
        seed = random.randrange(1 << 32)
        dice = random.Random(seed)
        tried = fired = accepted = 0
        for _ in range(6 if is_long() else 1):
            for way in WAYS:
                if way[0] == "killed" or is_long() or dice.randrange(3) == 0:
                    did, count = self.one(dice.randrange(1, 250), way, seed)
                    tried, fired, accepted = tried + 1, fired + did, accepted + count
        print(f"the runner: {tried} faults tried, {fired} struck, {accepted} accepted, nothing lost")


if __name__ == "__main__":
    if os.environ.get("SAN") == "thread":
        print("skipped: the thread sanitizer takes the place of the shim\n0 passed, 0 failed")
        sys.exit(0)
    main()
