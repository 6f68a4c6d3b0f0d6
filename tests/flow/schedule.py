"""schedule.py: schedules in a running pipeline: runs, kill -9, what was missed, reloads, and the commands."""
import json
import os
import random
import re
import shutil
import signal
import time
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from harness import IS_SANITIZED, ROOT, Case, environment, lines_of, main, wait_for, weir

KILLS = 3 if IS_SANITIZED else 6


def clock(seconds=0):
    """A time from now, as at() has it."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


class Schedule(Case):
    def pipeline(self, stage, sinks="out"):
        os.makedirs(self.folder, exist_ok=True)
        rows = "".join(f"  {name}: {{ plugin: file, inputs: [clock{'.' + name if name != 'out' else ''}], "
                       f"path: {self.path(name + '.ndjson')}, format: envelope }}\n" for name in sinks.split())
        return self.write("pipeline.yaml", f"data_dir: {self.path('data')}\nsources:\n  clock:\n    plugin: schedule\n" +
                          "".join(f"    {line}\n" for line in stage.strip().splitlines()) + "sinks:\n" + rows)

    def lines(self, name="out"):
        return lines_of(self.path(name + ".ndjson"))

    def position(self):
        return self.path("data", "schedules", "clock")

    def saved(self):
        with open(self.position(), encoding="ascii") as f:
            return f.read().splitlines()[1:]

    def set_back(self, seconds):
        """As if the last run was so long ago."""
        with open(self.position(), encoding="ascii") as f:
            title, *lines = f.read().splitlines()
        rows = [line.split(" ", 3) for line in lines]
        with open(self.position(), "w", encoding="ascii") as f:
            f.write(title + "\n" + "".join(f"{h} {a} {int(time.time()) - seconds} {n}\n" for h, a, _, n in rows))

    def test_envelope_and_ports(self):
        path = self.pipeline(f"""
timezone: UTC
schedules:
  soon: {{ expression: at({clock(2)}), input: {{ hello: [1, "two"] }} }}
  first: {{ expression: rate(1 day), source: shop, type: Beat }}
  later: {{ expression: at({clock(3600)}) }}
""", "out soon first")
        self.assertEqual((weir("validate", path).stderr), "", "no warning about the port that nobody reads")
        r = self.start(path)
        self.wait_lines(self.path("out.ndjson"), 2)
        soon, first = self.wait_lines(self.path("soon.ndjson"), 1)[0], self.wait_lines(self.path("first.ndjson"), 1)[0]
        self.assertEqual((soon["source"], soon["detail-type"], soon["detail"]),
                         ("aws.events", "Scheduled Event", {"hello": [1, "two"]}))
        self.assertEqual(soon["resources"], ["arn:aws:events:us-east-1:000000000000:rule/soon"])
        self.assertRegex(soon["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual((first["source"], first["detail-type"], first["detail"]), ("shop", "Beat", {}))
        self.assertEqual({e["id"] for e in self.lines()}, {soon["id"], first["id"]})
        r.wait_settled(accepted=2)
        metrics = r.metrics()
        self.assertEqual([v for k, v in metrics.items() if "_runs" in k and 'clock' in k], [2.0], metrics)
        r.stop()
        self.assertEqual(os.stat(self.position()).st_mode & 0o777, 0o600)

    def test_ends_by_itself(self):
        r = self.start(self.pipeline(f"expression: at({clock(1)})"))
        self.assertEqual(r.wait(), 0)
        self.assertEqual(len(self.lines()), 1)
        r = self.start(r.pipeline)
        self.assertEqual(r.wait(), 0)
        self.assertIn("is past: it does not run (again)", r.log)
        self.assertEqual(len(self.lines()), 1)

    def test_missed(self):
        for n, (policy, least, most) in enumerate((("once", 1, 2), ("all", 60, 62), ("skip", 0, 2),
                                                   ("all\nmax_missed: 7", 7, 8), ("all\nmax_missed_age: 10m", 10, 12))):
            with self.subTest(policy):
                self.folder = self.path(str(n))
                path = self.pipeline(f"expression: cron(* * * * ? *)\nmissed: {policy}")
                r = self.start(path)
                wait_for(lambda: os.path.exists(self.position()), "the position")
                r.stop()
                before = len(self.lines())
                self.set_back(3600)
                r = self.start(path)
                if least:
                    self.wait_lines(self.path("out.ndjson"), before + least)
                else:
                    r.wait_log("60 runs|59 runs")
                r.stop()
                times = [e["time"] for e in self.lines()]
                self.assertTrue(before + least <= len(times) <= before + most, f"{policy}: {before} and {len(times)}")
                self.assertEqual(times, sorted(set(times)))

    def test_kill(self):
        """A thousand runs were missed; while they are made up for the runner is killed again and again, and its
        position is lost on the way: each is accepted once, by its key in the journal."""
        path = self.pipeline("expression: cron(* * * * ? *)\nmissed: all\nmax_missed: 10000\nmax_missed_age: 7d")
        r = self.start(path)
        wait_for(lambda: os.path.exists(self.position()), "the position")
        r.stop()
        self.set_back(1000 * 60)
        with open(self.position(), encoding="ascii") as f:
            old = f.read()
        began = int(time.time())
        for kill in range(KILLS):
            before = len(self.lines())
            r = self.start(path)
            wait_for(lambda: len(self.lines()) > before or before >= 1000, "runs")
            time.sleep(random.random() * 0.1)
            r.signal(signal.SIGKILL)
            r.wait()
            if kill % 2:
                self.write("data/schedules/clock", old)
        r = self.start(path)
        expected = {datetime.fromtimestamp(t, timezone.utc).strftime("%Y-%m-%dT%H:%M:00Z")
                    for t in range(began - 1000 * 60 + 60, began + 1, 60)}
        wait_for(lambda: expected - {e["time"] for e in self.lines()} <= set(), "all runs")
        r.wait_settled()
        found = {(e["time"], e["id"]) for e in self.lines()}
        times = [t for t, _ in found]
        self.assertEqual(len(times), len(set(times)), "one id for each time")
        self.assertTrue(expected <= set(times))
        accepted = r.ledger()["accepted"]
        self.assertEqual(accepted, len(found), "each was accepted once")
        r.stop()

    def test_rate_keeps_its_beat(self):
        path = self.pipeline("expression: rate(1 hour)")
        r = self.start(path)
        first = self.wait_lines(self.path("out.ndjson"), 1)[0]["time"]
        r.wait_settled(accepted=1)
        wait_for(lambda: len({*self.saved()[0].split()[1:3]}) == 1, "the position")
        r.signal(signal.SIGKILL)
        r.wait()
        listed = weir("schedule", "list", "--json", path, env=r.env)
        nexts = [json.loads(line) for line in listed.stdout.splitlines()]
        begun = datetime.strptime(first, "%Y-%m-%dT%H:%M:%SZ")
        self.assertEqual([n["time"] for n in nexts],
                         [(begun + timedelta(hours=h)).strftime("%Y-%m-%dT%H:%M:%SZ") for h in range(1, 6)])
        r = self.start(path)
        self.assertEqual([e["time"] for e in self.lines()], [first])
        r.stop()

    def test_reload(self):
        """A stage that changes goes on from its position; a file that is wrong changes nothing."""
        path = self.pipeline("schedules:\n  a: { expression: rate(1 day) }")
        r = self.start(path)
        self.wait_lines(self.path("out.ndjson"), 1)
        self.pipeline("schedules:\n  a: { expression: rate(2 days }")
        self.assertNotEqual(r.weir("reload", "--wait").returncode, 0)
        self.pipeline(f"schedules:\n  a: {{ expression: rate(1 day) }}\n  b: {{ expression: at({clock(2)}), input: 7 }}")
        done = weir("reload", "--wait", "-c", path, env=r.env)
        self.assertEqual(done.returncode, 0, done.stderr + r.log)
        found = self.wait_lines(self.path("out.ndjson"), 2)
        self.assertEqual([e["detail"] for e in found], [{}, 7], "the rate did not begin anew")
        r.stop()

    def test_zone_that_was_updated(self):
        """A reload after an update of the time zone database begins with the zone's new rules."""
        zones = self.path("zones")
        os.makedirs(os.path.join(zones, "Europe"))
        for zone in ("Asia/Kathmandu", "Europe/Berlin"):
            shutil.copy(os.path.join("/usr/share/zoneinfo", zone), os.path.join(zones, "Europe", "Berlin"))
        path = self.pipeline("expression: cron(0 12 * * ? *)\ntimezone: Europe/Berlin")
        env = environment(TZDIR=zones)
        r = self.start(path, env=env)
        self.assertEqual(json.loads(weir("reload", "--wait", "--json", "-c", path, env=env).stdout)["changed"], [])
        shutil.copy("/usr/share/zoneinfo/Asia/Kathmandu", os.path.join(zones, "Europe", "Berlin"))
        self.assertEqual(json.loads(weir("reload", "--wait", "--json", "-c", path, env=env).stdout)["changed"], ["clock"])
        listed = weir("schedule", "list", "--count=1", "--from=2030-07-01T00:00:00Z", path, env=env).stdout
        self.assertIn("Mon 2030-07-01T12:00:00+05:45  2030-07-01T06:15:00Z", listed)
        r.stop()
        shutil.rmtree(zones)
        text = weir("validate", path, env=env).stderr
        self.assertIn("unknown time zone: the system has no time zone database: install tzdata", text)

    def test_position_that_cannot_be_written(self):
        """It is told, and changes nothing while the runner lives; the keys keep runs from coming twice."""
        path = self.pipeline("expression: rate(1 minute)\nposition: no/such/folder/position")
        r = self.start(path)
        self.wait_lines(self.path("out.ndjson"), 1)
        r.wait_log("no/such/folder/position.new: after a restart it is not known which runs were missed: No such file")
        r.stop()

    def test_errors_have_a_place(self):
        path = self.pipeline("timezone: Europe/Berlim\nschedules:\n  a: { expression: cron(0 12 * * * *) }\n"
                             "  b: { expression: rate(1 minutes) }")
        text = weir("validate", path).stderr
        for part in ("unknown time zone", "day-of-month and day-of-week are both given: write ? in one of them",
                     "rate: with 1 the unit is minute", "pipeline.yaml:7:"):
            self.assertIn(part, text)
        self.assertEqual(weir("validate", path).returncode, 78)


class Example(Case):
    def test_example(self):
        """What the README says `weir schedule list` prints, it prints; and it runs."""
        folder = self.path("schedule")
        shutil.copytree(os.path.join(ROOT, "examples/schedule"), folder, ignore=shutil.ignore_patterns("data"))
        with open(os.path.join(folder, "README.md"), encoding="utf-8") as f:
            text = f.read()
        command = re.search(r"    weir (schedule list .*)\n", text).group(1).split()
        printed = weir(*command, cwd=folder).stdout
        self.assertIn("jobs.nightly-report", printed)
        self.assertIn("\n\n" + "".join(f"    {line}\n" for line in printed.splitlines()) + "\n", text)
        berlin = datetime.now(ZoneInfo("Europe/Berlin")) + timedelta(seconds=1)
        r = self.start(os.path.join(folder, "pipeline.yaml"),
                       f"sources.jobs.schedules.heartbeat.expression=at({berlin.strftime('%Y-%m-%dT%H:%M:%S')})")
        beat = self.wait_lines(os.path.join(folder, "data/heartbeats.ndjson"), 1)[0]
        self.assertEqual((beat["detail-type"], beat["detail"]), ("Heartbeat", {}))
        r.stop()


class Commands(Case):
    def next(self, *args, code=0):
        done = weir("schedule", "next", *args, cwd=self.folder)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def test_next(self):
        berlin = ("--timezone", "Europe/Berlin", "--from", "2030-03-29T12:00:00")
        self.assertEqual(self.next("cron(30 2 * * ? *)", "--count", "2", *berlin),
                         "  Sat 2030-03-30T02:30:00+01:00  2030-03-30T01:30:00Z\n"
                         "  Mon 2030-04-01T02:30:00+02:00  2030-04-01T00:30:00Z\n")
        rows = self.next("cron(0 0 L * ? 2030)", "--json", "--count=1000", "--from", "2030-01-01T00:00:00Z")
        found = [json.loads(line) for line in rows.splitlines()]
        self.assertEqual(len(found), 12)
        self.assertEqual(found[1], {"expression": "cron(0 0 L * ? 2030)", "timezone": "UTC",
                                    "local": "2030-02-28T00:00:00Z", "time": "2030-02-28T00:00:00Z"})
        self.assertEqual(self.next("at(2030-01-31T12:00:00)", "--from=2030-01-31T12:00:00"),
                         "  Thu 2030-01-31T12:00:00Z       2030-01-31T12:00:00Z\n  no more\n")
        self.assertEqual(self.next("at(2020-01-31T12:00:00)"), "  never\n")
        self.assertEqual(len(self.next("rate(5 minutes)").splitlines()), 5)

    def test_next_errors(self):
        self.assertEqual(self.next("cron(0 12 * * * *)", code=64),
                         "weir schedule next: day-of-month and day-of-week are both given: write ? in one of them\n"
                         "  cron(0 12 * * * *)\n                ^\n")
        self.assertIn("--count 0: expected 1 to 1000", self.next("rate(1 day)", "--count", "0", code=64))
        self.assertIn("--count 5x: expected", self.next("rate(1 day)", "--count", "5x", code=64))
        self.assertIn("--timezone Mars: expected a name of the time zone", self.next("rate(1 day)", "--timezone", "Mars", code=64))
        self.assertIn("  --from 2030-02-30T00:00:00\n                 ^", self.next("rate(1 day)", "--from", "2030-02-30T00:00:00", code=64))
        self.assertIn("too few arguments", self.next(code=64))
        self.assertIn("did you mean --timezone?", self.next("rate(1 day)", "--time-zone", "UTC", code=64))
        self.assertIn("--count N", weir("schedule", "next", "--help").stdout)

    def test_list(self):
        path = self.write("pipeline.yaml", f"""
data_dir: {self.path("data")}
sources:
  nightly: {{ plugin: schedule, expression: cron(0 3 * * ? *), timezone: Europe/Berlin, flexible_window: 10m }}
  jobs:
    plugin: schedule
    schedules:
      weekly: {{ expression: cron(0 8 ? * MON *) }}
      off: {{ expression: rate(1 day), enabled: false }}
sinks:
  out: {{ plugin: 'null', inputs: [nightly, jobs] }}
""")
        text = weir("schedule", "list", "--count", "1", "--from", "2030-07-01T00:00:00Z", path).stdout
        self.assertRegex(text, r"^nightly  cron\(0 3 \* \* \? \*\)  Europe/Berlin\n"
                               r"  Mon 2030-07-01T03:00:00\+02:00  2030-07-01T01:00:00Z  due 2030-07-01T01:0\d:\d\dZ\n"
                               r"jobs.weekly  cron\(0 8 \? \* MON \*\)  UTC\n"
                               r"  Mon 2030-07-01T08:00:00Z       2030-07-01T08:00:00Z\n$")
        found = [json.loads(line) for line in weir("schedule", "list", "--json", path).stdout.splitlines()]
        self.assertEqual({(n["stage"], n["schedule"]) for n in found}, {("nightly", "nightly"), ("jobs", "weekly")})
        self.assertFalse(os.path.exists(self.path("data")), "it starts nothing")
        other = self.write("other.yaml", "sources: { g: { plugin: generator, count: 1 } }\n"
                                         "sinks: { n: { plugin: 'null', inputs: [g] } }\n")
        done = weir("schedule", "list", other)
        self.assertEqual(done.returncode, 78)
        self.assertIn("no stage of the pipeline file has plugin: schedule", done.stderr)
        self.assertEqual(weir("schedule", "list", self.path("none.yaml")).returncode, 78)

    def test_help_and_completion(self):
        self.assertIn("weir schedule ACTION", weir("schedule").stderr)
        self.assertIn("schedule next", weir("--help").stdout)
        self.assertRegex(weir("completion", "bash").stdout, r"schedule\) words='[^']*--timezone[^']*'; actions='next list'")
        self.assertIn("-a 'next list'", weir("completion", "fish").stdout)
        self.assertRegex(weir("completion", "zsh").stdout, r"schedule\) .* next list;")


if __name__ == "__main__":
    main()
