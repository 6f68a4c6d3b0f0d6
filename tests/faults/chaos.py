"""chaos.py: pipelines drawn at random, and to each whatever can happen: kills, reloads, a disk that fails, receivers
that misbehave, all at once. What was accepted is at each sink where the file sends it, unchanged, or is a dead letter,
or was dropped where the file says so; in its order where it has a key; and once where nothing was uncertain.

    python3 -B tests/faults/chaos.py --seed N [--steps N]     one pipeline again"""
import collections
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

from chaos_load import ID, MOODS, Client, Receiver, Writer, file_lines
from chaos_plan import Plan
from shim import IS_SANITIZED, Shim, is_long
from harness import INCLUDE, PATIENCE, Case, main, wait_for, weir

STEP = r"""
#include <stdatomic.h>
#include <weir/function.h>
static _Atomic unsigned calls;
static weir_status step(weir_call *c)
{
    weir_str fate = c->text(c, c->find(c, c->event, "fate"));
    if (fate.len == 6 && fate.ptr[0] == 'r')
        return c->fail(c, WEIR_E_REJECT, "Refused", "by its fate");
    if (fate.len == 4)
        return WEIR_DROP;
    if (atomic_fetch_add(&calls, 1) % 9 == 4)
        return c->fail(c, WEIR_E_RETRY, "Busy", "this time");
    c->write(c, "{\"%s\":1,%.*s", c->function, (int)c->event.len - 1, c->event.ptr + 1);
    return WEIR_OK;
}
WEIR_FUNCTION(step);
"""
ACTS = ["kill", "kill_in_a_reload", "stop", "reload", "reload", "hang_up", "leave", "fail", "fail", "fail_and_kill",
        "fill", "moods", "moods", "moods", "redrive", "look"]
UNCERTAIN = {"kill", "kill_in_a_reload", "stop", "fail", "fail_and_kill", "fill"}


class World:
    """One plan at work."""

    def __init__(self, case, seed):
        self.case, self.seed = case, seed
        self.folder = case.path(str(seed))
        os.mkdir(self.folder)
        self.plan, self.chance = Plan(seed, self.folder), random.Random(f"{seed} acts")
        for end in self.plan.ends:
            if end.has_mood:
                end.receiver = Receiver(random.Random(f"{seed} {end.name}"), end.is_patient)
                case.addCleanup(end.receiver.close)
        self.receivers = [e.receiver for e in self.plan.ends if e.has_mood]
        os.symlink(case.step, self.folder + "/step.so")
        self.is_wide = self.chance.random() < 0.3  # the disk fails the sinks' files too
        self.shim = Shim(self.folder if self.is_wide else self.folder + "/data")
        case.addCleanup(self.shim.close)
        self.done, self.runner, self.absent = [], None, None
        self.head = self.running = self.kept = None

    # ---- the runner ----

    def write(self, is_new=True, is_last=False):
        """Another file; is_last: one in which nothing holds events back for long."""
        if is_new:
            without = () if is_last or not self.absent else (self.absent.name,)
            text = self.plan.text(self.chance, self.head, without)
            self.kept, self.running = self.running, text.replace("rate: 500/s, ", "") if is_last else text
        with open(self.folder + "/new", "w", encoding="utf-8") as f:
            f.write(self.running)
        os.rename(self.folder + "/new", self.folder + "/pipeline.yaml")

    def start(self):
        self.head = self.plan.head(self.chance)
        self.write()
        self.runner = self.case.start(self.folder + "/pipeline.yaml", env=self.shim.environment())

    def weir(self, *args):
        return self.runner.weir(*args, "--data-dir", self.folder + "/data")

    def told(self, text=""):
        return f"seed {self.seed}: {' '.join(self.done)}\n{self.running}\n{text}\n{self.runner.log[-5000:]}"

    def run(self, steps):
        clients = [Client(self.plan, s, i, self.seed) for s in self.plan.http for i in range(2)] + \
            [Writer(self.plan, s, self.seed) for s in self.plan.files]
        self.start()
        for c in clients:
            c.start()
        for _ in range(steps):
            time.sleep(self.chance.uniform(0.02, 0.2))
            act = self.chance.choice(ACTS)
            self.done.append(act)
            getattr(self, act)()
            self.case.assertIsNone(self.runner.process.poll(), self.told("the runner has ended"))
        for c in clients:
            c.is_over = True
        for c in clients:
            c.join(PATIENCE * 2)
        self.heal()
        self.finish(clients)
        return clients

    # ---- what happens ----

    def kill(self):
        self.runner.kill()
        self.shim.heal()
        self.start()

    def kill_in_a_reload(self):
        self.write()
        self.runner.signal(signal.SIGHUP)
        time.sleep(self.chance.uniform(0, 0.03))
        self.kill()

    def stop(self):
        self.shim.heal()
        self.runner.signal(signal.SIGTERM)
        code = self.runner.wait(PATIENCE * 2)
        self.case.assertEqual(code, 0, self.told("SIGTERM"))
        audit = weir("audit", self.folder + "/data")
        self.case.assertEqual(audit.returncode, 0, self.told(audit.stdout))
        self.start()

    def reload(self, is_last=False):
        """Whether it was done. Refused only where a sink holds up a source that is changed."""
        self.write(is_last=is_last)
        done = self.weir("reload", "--wait")
        if done.returncode == 78 and "under way" in done.stderr + done.stdout:
            self.running = self.kept
            self.write(False)
        else:
            self.case.assertEqual(done.returncode, 0, self.told(done.stderr))
        return done.returncode == 0

    def hang_up(self):
        """SIGHUP, and nobody waits for what comes of it."""
        self.write()
        self.runner.signal(signal.SIGHUP)

    def leave(self):
        """A sink is taken out of the file, or is there again."""
        before, at = self.absent, time.monotonic()
        ends = [e for e in self.plan.ends if e.can_leave]
        self.absent = None if before or not ends else self.chance.choice(ends)
        if not self.reload():
            self.absent = before
        elif before:
            before.absences[-1][1] = time.monotonic()
        elif self.absent:
            self.absent.absences.append([at, float("inf")])

    def fail(self):
        first = self.chance.randrange(1, 30)
        self.shim.fail(self.chance.choice(["EIO", "ENOSPC", "short write"]), first, first + self.chance.choice([0, 1, 30]))
        time.sleep(self.chance.uniform(0.02, 0.2))
        self.shim.heal()

    def fail_and_kill(self):
        self.shim.fail(self.chance.choice(["EIO", "ENOSPC", "killed", "killed in the write"]),
                       self.chance.randrange(1, 60), 1 << 40)
        time.sleep(self.chance.uniform(0.02, 0.2))
        self.kill()

    def fill(self):
        self.shim.set(space=self.chance.choice([0, 100000]))
        time.sleep(self.chance.uniform(0.02, 0.3))
        self.shim.heal()

    def moods(self):
        for r in self.receivers:
            r.mood = self.chance.choice([None, *MOODS])

    def redrive(self):
        done = self.weir("dlq", "redrive")
        self.case.assertIn(done.returncode, (0, 1), self.told(done.stderr))

    def look(self):
        for command in (["audit"], ["journal", "check"]):
            done = self.weir(*command)
            self.case.assertEqual(done.returncode, 0, self.told(done.stdout + done.stderr))

    def heal(self):
        self.shim.heal()
        for r in self.receivers:
            r.mood = None

    # ---- the end ----

    def finish(self, clients):
        if self.absent:
            self.absent.absences[-1][1] = time.monotonic()
            self.absent = None
        self.restore()
        self.case.assertEqual([w for c in clients for w in c.wrong], [], self.told())
        self.wait_read(clients)
        ledger = self.wait_settled()
        audit = self.runner.weir("audit")
        self.case.assertEqual(audit.returncode, 0, self.told(audit.stdout))
        self.runner.stop()
        for command in (["audit"], ["journal", "check"]):
            done = weir(*command, self.folder + "/data")
            self.case.assertEqual(done.returncode, 0, self.told(done.stdout + done.stderr))
        Check(self, clients, ledger).run()

    def restore(self):
        """All stages again, and their receivers work: by a reload, or a restart where the journal has failed."""
        try:
            wait_for(lambda: "journal" not in self.runner.get("/readyz").text, "a journal that works", 3)
            self.last_reload()
        except AssertionError:
            if "has failed" not in self.runner.get("/readyz").text:
                raise
            self.done.append("restart")
            self.kill()
            self.last_reload()

    def last_reload(self):
        wait_for(lambda: self.reload(True), lambda: self.told("a reload that is not refused"))

    def wait_read(self, clients):
        """File sources are at their ends."""
        for c in clients:
            if isinstance(c, Writer):
                size = os.path.getsize(c.path)
                wait_for(lambda: self.position(c.path) >= size, lambda: self.told(
                    f"{self.position(c.path)} of {size} of {c.path}\n{self.state()}"), PATIENCE * 3)

    @staticmethod
    def position(path):
        try:
            with open(path + ".position", encoding="utf-8") as f:
                return int(f.read().split()[0])
        except (FileNotFoundError, IndexError):
            return 0

    def wait_settled(self):
        last = {}

        def look():
            last.update(self.runner.ledger())
            queues = self.runner.queues()
            return last["in_flight"] == 0 and last["balanced"] and \
                all(queues[q][k] == 0 for q in self.plan.passing for k in ("visible", "hidden", "delayed"))
        wait_for(look, lambda: self.told(f"a settled ledger: {last}\n{self.state()}"), PATIENCE * 3)
        return last

    def state(self):
        """What tells why a runner does not go on."""
        return self.runner.get("/readyz").text + "".join(
            self.weir(*c).stdout for c in (["queue", "ls"], ["audit"], ["journal", "check"]))


class Check:
    """What arrived, against what the plan says of what was sent."""

    def __init__(self, world, clients, ledger):
        self.world, self.plan, self.case, self.ledger = world, world.plan, world.case, ledger
        self.events = {k: e for c in clients for k, e in c.events.items()}
        self.is_calm = not UNCERTAIN & set(world.done)
        self.letters = self._letters()
        self.came = {e.name: self._came(e) for e in self.plan.ends if e.kind in ("file", "http")}
        self.missing = 0

    def run(self):
        for end in self.plan.ends:
            if end.kind in ("file", "http"):
                self._all_known(end)
                if not end.reads:
                    self._all_there(end)
                    self._in_order(end)
        if self.is_calm:
            self.case.assertLessEqual(self.missing, self.ledger["dropped"], self.world.told("more is missing than was dropped"))

    def _letters(self):
        """{stage: Counter of the names of its dead letters}"""
        found = collections.defaultdict(collections.Counter)
        for queue in self.plan.queues:
            done = weir("queue", "peek", queue, "-n", "1000000", "--json", "-d", self.world.folder + "/data")
            for line in done.stdout.splitlines():
                letter = json.loads(line)
                found[letter["attributes"]["dead.stage"]][letter["body"]["id"]] += 1
        return found

    def _came(self, end):
        """[(text, whether the sink was told)]"""
        if end.kind == "http":
            return end.receiver.got
        return [(line, True) for line in file_lines(f"{self.world.folder}/{end.name}.ndjson")]

    def _all_known(self, end):
        """Nothing came that was not sent, or not by a way that leads there, or other bytes of it."""
        bodies = collections.defaultdict(set)
        for text, _ in self.came[end.name]:
            bodies[ID.search(text).group(1)].add(text)
        for name, texts in bodies.items():
            event = self.events.get(name)
            self.case.assertIsNotNone(event, self.world.told(f"{name} came to {end.name} and was never sent"))
            known = {w.body(event) for w in end.ways or end.reads if w.takes(event)}
            self.case.assertLessEqual(texts, known, self.world.told(f"came to {end.name}"))
            if event.status == 503 and event.is_clear and self.is_calm:
                self.case.fail(self.world.told(f"{name} came to {end.name} and was refused"))

    def _all_there(self, end):
        counts = collections.Counter(text for text, _ in self.came[end.name])
        told = collections.Counter(text for text, is_told in self.came[end.name] if is_told)
        lost, twice = [], []
        for event in self.events.values():
            ways = collections.defaultdict(list)
            for w in end.ways:
                if w.takes(event):
                    ways[w.body(event)].append(w)
            for body, group in ways.items():
                if event.status in (200, 422, 502) and all(end.is_certain(w, event) for w in group):
                    there = counts[body] + sum(self._elsewhere(end, w, event) for w in group)
                    lost += [event.id] * max(len(group) - there, 0)
                if self.is_calm and (end.kind == "file" or end.is_patient) and told[body] > len(group):
                    twice.append(event.id)
        self.missing += len(lost)
        may_drop = any(self._may_drop(end, w) for w in end.ways)
        if lost and not may_drop:
            self.case.fail(self.world.told(f"{len(lost)} did not come to {end.name}: {lost[:5]}, "
                                           f"{[(self.events[x].status, self.events[x].fate) for x in lost[:5]]}"))
        if twice:
            self.case.fail(self.world.told(f"{len(twice)} came twice to {end.name}: {twice[:5]}"))

    def _may_drop(self, end, way):
        """Whether the file lets an event go on this way, at the sink, or where it goes instead."""
        droppers = self.plan.dropping | {e.name for e in self.plan.ends if e.may_drop}
        return bool(droppers & {*way.stages, *(e.name for e in self._others(end, way)), end.name})

    def _others(self, end, way):
        """Those that read what stages on the way, or the sink, give up."""
        return [o for s in way.stages for o in self.plan.failing.get(s, ())] + end.others

    def _elsewhere(self, end, way, event):
        """How often the event ended on its way, or at the sink: as a dead letter, or with who reads such."""
        others = self._others(end, way)
        stages = [*way.stages, end.name, *(o.name for o in others)]
        return sum(self.letters[s][event.id] for s in stages) + \
            sum(ID.search(t).group(1) == event.id for o in others for t, _ in self.came[o.name])

    def _given_up(self, end, way, event):
        """It may have been once, and its source brought it again after a crash."""
        return self._elsewhere(end, way, event) or (not self.is_calm and self._may_drop(end, way))

    def _in_order(self, end):
        """First arrivals of each key by each way; what was sent back from the dead letters comes when it comes."""
        if "redrive" in self.world.done:
            return
        seen, last = set(), {}
        for text, _ in self.came[end.name]:
            event = self.events[ID.search(text).group(1)]
            ways = [w for w in end.ways if w.takes(event) and w.body(event) == text]
            if text in seen or not event.is_clear or len(ways) != 1 or not ways[0].is_ordered:
                continue
            seen.add(text)
            at = (ways[0].made, ways[0].stages, event.key)
            if event.n < last.get(at, -1) and not self._given_up(end, ways[0], event):
                self.case.fail(self.world.told(f"{event.id} came to {end.name} behind {last[at]}"))
            last[at] = event.n


class Chaos(Case):
    seed = steps = None

    def setUp(self):
        super().setUp()
        self.step = self.path("step.so")
        subprocess.run(["gcc", "-std=c11", "-fPIC", "-shared", "-I" + INCLUDE, "-o", self.step, "-xc", "-"],
                       input=STEP.encode(), check=True)

    def test_pipelines_drawn_at_random(self):
        count = 1 if self.seed is not None else 60 if is_long() else 2 if IS_SANITIZED else 4
        first = self.seed if self.seed is not None else random.randrange(1 << 31) if is_long() else 1
        steps = self.steps or (8 if is_long() else 4)
        acts, statuses = collections.Counter(), collections.Counter()
        for seed in range(first, first + count):
            world = World(self, seed)
            clients = world.run(steps)
            acts.update(world.done)
            statuses.update(e.status for c in clients for e in c.events.values())
        told = ", ".join(f"{n} {a}" for a, n in sorted(acts.items()))
        print(f"{count} pipelines from seed {first}: {told}; {statuses[200]} accepted, "
              f"{sum(statuses.values()) - statuses[200]} refused or unanswered, nothing lost")


if __name__ == "__main__":
    for option in ("seed", "steps"):
        if "--" + option in sys.argv:
            at = sys.argv.index("--" + option)
            setattr(Chaos, option, int(sys.argv[at + 1]))
            del sys.argv[at:at + 2]
    main()
