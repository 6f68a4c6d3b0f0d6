"""schedule.py: ten years of a schedule in a real runner: the wall clock jumps ahead and back between kills,
and each run is accepted once.

The runner is killed as soon as it brought something, and started again at another time. What has to come is
told by Python's own time zones.
"""
import os
import random
import signal
import time
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from shim import Shim, is_long  # sets the path for harness
from harness import Case, lines_of, main, wait_for

DAY = 86400
YEARS = 10
STEPS = 150 if is_long() else 25


def expected(begun, until, zone):
    """When 02:30 comes on the zone's clock, once a day that has it."""
    day, found = datetime.fromtimestamp(begun, zone).replace(hour=2, minute=30, second=0, microsecond=0, tzinfo=None), set()
    while True:
        moment = day.replace(tzinfo=zone).astimezone(timezone.utc)
        if moment.timestamp() > until:
            return found
        exists = moment.astimezone(zone).replace(tzinfo=None) == day
        if exists and moment.timestamp() > begun:
            found.add(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
        day += timedelta(days=1)


class Years(Case):
    def test_years(self):
        seed = int(os.environ.get("WEIR_SEED") or random.randrange(1 << 30))
        dice, zone = random.Random(seed), ZoneInfo("Europe/Berlin")
        out, position = self.path("out.ndjson"), self.path("data/schedules/clock")
        path = self.write("pipeline.yaml", f"""
data_dir: {self.path("data")}
sources:
  clock:
    plugin: schedule
    expression: cron(30 2 * * ? *)
    timezone: Europe/Berlin
    missed: all
    max_missed: 10000
    max_missed_age: 366d
sinks:
  out: {{ plugin: file, inputs: [clock], path: {out}, format: envelope }}
""")
        shim = Shim(self.folder)
        self.addCleanup(shim.close)
        env = shim.environment()
        r = self.start(path, env=env)
        wait_for(lambda: os.path.exists(position), "the position")
        with open(position, encoding="ascii") as f:
            begun = int(f.read().split("\n")[1].split()[2])
        r.kill()
        ahead, furthest, kills = 0, 0, 0
        step = YEARS * 365 * DAY // STEPS
        while furthest < YEARS * 365 * DAY:
            is_back = kills % 4 == 3
            ahead = ahead - dice.randrange(20 * DAY) if is_back else furthest + dice.randrange(step // 2, step * 3 // 2)
            furthest = max(furthest, ahead)
            shim.set(clock_ns=ahead * 10**9)
            r = self.start(path, env=env)
            # Older runs than max_missed_age are left out: so it gets on, and is killed among the newest.
            due = expected(begun, begun + furthest - 60 * DAY, zone)
            wait_for(lambda: due <= {e["time"] for e in lines_of(out)}, lambda: f"runs, seed {seed}\n{r.log}")
            time.sleep(dice.random() * 0.05)
            r.signal(signal.SIGKILL)
            r.wait()
            kills += 1
        r = self.start(path, env=env)
        wanted = expected(begun, int(time.time()) + furthest, zone)
        wait_for(lambda: wanted <= {e["time"] for e in lines_of(out)},
                 lambda: f"{wanted - {e['time'] for e in lines_of(out)}}, seed {seed}\n{r.log}")
        r.wait_settled()
        found = {(e["time"], e["id"]) for e in lines_of(out)}
        self.assertEqual({t for t, _ in found}, wanted, f"seed {seed}")
        self.assertEqual(r.ledger()["accepted"], len(found), f"each is accepted once, seed {seed}")
        self.assertEqual(len(found), len(wanted), f"one id for each, seed {seed}")
        r.stop()
        print(f"{kills} kills over {furthest // DAY} days: {len(found)} runs, each accepted once")


if __name__ == "__main__":
    main()
