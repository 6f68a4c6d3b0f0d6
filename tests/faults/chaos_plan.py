"""chaos_plan.py: a pipeline that a seed draws, its file's text, and a model of where each event has to come."""
import dataclasses
import random

RESIDUES = 4
RETRY = "retry: {{ backoff: 2ms, backoff_max: 40ms{} }}"
BREAKER = "breaker: { probe_after: 5ms, probe_max: 40ms }"
LONG = "10s"  # a receiver that answers at all does so in this time, whatever else the machine does


@dataclasses.dataclass(frozen=True)
class Way:
    """One way that events take from a source to a place."""
    source: str
    wants: frozenset      # residues of the events that take it
    made: str = ""        # what functions wrote into the body, the last one first
    stages: tuple = ()    # where events can end before they are at the place
    is_ordered: bool = True
    is_inline: bool = True  # nothing on it keeps events for later

    def takes(self, event):
        return event.source == self.source and event.m in self.wants and not (self.made and event.fate == "null")

    def body(self, event):
        return "{" + self.made + event.text[1:]


class Node:
    """A port: a stage's output under a name. The same event may come by several ways."""

    def __init__(self, name, ways):
        self.name, self.ways = name, [w for w in ways if w.wants]

    @property
    def is_single(self):
        """Whether no event comes twice."""
        seen = set()
        for way in self.ways:
            mine = {(way.source, m) for m in way.wants}
            if seen & mine:
                return False
            seen |= mine
        return True

    def via(self, name, stage=None, part=None, **changes):
        """The node behind a stage that reads this one, or a `part` of it."""
        ways = [dataclasses.replace(w, wants=w.wants & part if part is not None else w.wants,
                                    stages=w.stages + ((stage,) if stage else ()),
                                    **{k: f(w) for k, f in changes.items()}) for w in self.ways]
        return Node(name, ways)


class End:
    """A sink. `others` get what it gives up; it may_drop, or may_bury in the dead letters, what comes to it."""

    def __init__(self, name, kind, ways=(), options=None):
        self.name, self.kind, self.ways, self.options = name, kind, list(ways), options
        self.others, self.may_drop, self.may_bury = [], False, False
        self.has_mood = self.is_patient = False
        self.reads = ()       # the port .failed of this stage alone
        self.can_leave = False  # a reload may take it out for a while
        self.absences = []    # [from, until) when it was not in the file

    def is_certain(self, way, event):
        """Whether it was there for the event all the time that the event could have come."""
        return all(event.sent_s > until or (way.is_inline and event.answered_s and event.answered_s < begin)
                   for begin, until in self.absences)


class Plan:
    """All that a seed decides about a pipeline. `text` draws what a reload may change."""

    def __init__(self, seed, folder):
        self.chance, self.folder = random.Random(seed), folder
        self.sources, self.transforms, self.ends = {}, {}, []
        self.http, self.files = [], []   # names of sources with clients
        self.failing = {}                # stage: ends that read its port .failed
        self.dropping = set()            # transforms that drop what they give up
        self.queues = ["dead-letters"]   # where dead letters are
        self.passing = []                # queues that events come through
        self.is_idempotent = self._is(0.4)
        self.nodes, self.used = [], set()
        for i in range(self._pick([1, 1, 1, 2, 2, 3])):
            self._pick([self._http, self._http, self._file] if i else [self._http])(f"in{i}")
        for i in range(self._pick([0, 1, 1, 2, 2, 3])):
            self._pick([self._function, self._function, self._bus, self._dedupe, self._queue, self._queue])(f"t{i}")
        for i in range(self._pick([1, 2, 2, 3, 4])):
            self._sink(f"s{i}")
        for node in [n for n in self.nodes if n.name not in self.used and self._is(0.8)]:
            self._sink("of_" + node.name.replace(".", "_"), node)

    def _is(self, share):
        return self.chance.random() < share

    def _pick(self, values):
        return self.chance.choice(values)

    def _add(self, node):
        self.nodes.append(node)

    def _read(self, can_part=True, node=None):
        """A node and what stands in `inputs` for it."""
        node = node or self._pick(self.nodes)
        self.used.add(node.name)
        if not can_part or self._is(0.7):
            return node.via(node.name), f"[{node.name}]"
        part = frozenset(self.chance.sample(range(RESIDUES), self._pick([1, 2, 3])))
        return node.via(node.name, part=part), \
            f"[{{ from: {node.name}, where: {{ detail: {{ m: {sorted(part)} }} }} }}]"

    # ---- sources ----

    def _http(self, name):
        has_key = self._is(0.8)
        more = ", key: k" * has_key + ", idempotency: { window: 1h }" * self.is_idempotent
        self.sources[name] = lambda c: (
            f'plugin: http, listen: "unix:{self.folder}/{name}", routes: {{ '
            f"POST /a: {{ type: A, timeout: 2s{more} }}, "
            f"POST /d: {{ type: D, respond: delivered, timeout: 300ms{more} }} }}")
        self.http.append(name)
        self._add(Node(name, [Way(name, frozenset(range(RESIDUES)), is_ordered=has_key)]))

    def _file(self, name):
        has_key = self._is(0.8)
        self.sources[name] = lambda c: (f"plugin: file, path: {name}.in, follow: true, "
                                        f"poll: {c.choice(['2ms', '30ms'])}" + ", key: k" * has_key)
        self.files.append(name)
        self._add(Node(name, [Way(name, frozenset(range(RESIDUES)), is_ordered=has_key)]))

    # ---- transforms ----

    def _function(self, name):
        node, inputs = self._read()
        failure = self._pick(["dead_letter", "dead_letter", "drop"])
        self.dropping |= {name} if failure == "drop" else set()
        self.transforms[name] = lambda c: (
            f"plugin: lambda, inputs: {inputs}, handler: step.so, payload: body, isolate: "
            f"{c.choice(['none', 'thread'])}, timeout: 30s, environments: {c.choice([1, 3])}, "
            + RETRY.format(c.choice([", max_attempts: 0", ", max_attempts: 3", ""])) + f", on_failure: {failure}")
        self._add(node.via(name, name, made=lambda w: f'"{name}":1,' + w.made, is_inline=lambda w: False))
        if self._is(0.3):
            self._failed(name, node)

    def _bus(self, name):
        node, inputs = self._read()
        rules = [frozenset(self.chance.sample(range(RESIDUES), self._pick([1, 3]))) for _ in range(self._pick([1, 2, 3]))]
        archive = ", archive: { max_size: 4MiB }" * self._is(0.3)
        self.transforms[name] = lambda c: f"plugin: eventbridge, inputs: {inputs}, rules: {{ " + ", ".join(
            f"r{i}: {{ pattern: {{ detail: {{ m: {sorted(r)} }} }} }}" for i, r in enumerate(rules)) + f" }}{archive}"
        for i, rule in enumerate(rules):
            self._add(node.via(f"{name}.r{i}", part=rule))
        left = frozenset(range(RESIDUES)).difference(*rules)
        self._add(node.via(f"{name}.unmatched", part=left) if left and self._is(0.5) else node.via(name))

    def _dedupe(self, name):
        node, inputs = self._read()
        if not node.is_single:
            return self._bus(name)
        self.transforms[name] = lambda c: f"plugin: dedupe, inputs: {inputs}, key: id, window: 1h, " + \
            RETRY.format(c.choice(["", ", max_attempts: 0"]))
        return self._add(node.via(name, name, is_inline=lambda w: False))

    def _queue(self, name):
        node, inputs = self._read()
        is_fifo = node.is_single and all(w.is_ordered for w in node.ways) and self._is(0.6)
        queue = name + ".fifo" * is_fifo
        end = End(f"{name}_put", "queue", node.ways,
                  lambda c: f"plugin: sqs, inputs: {inputs}, queue: {queue}, " + RETRY.format(""))
        self.ends.append(end)
        self.passing.append(queue)
        self.sources[name] = lambda c: (
            f"plugin: sqs, queue: {queue}, retry_after: {c.choice(['0s', '10ms'])}, visibility: 2s, "
            f"acknowledge: {c.choice(['safe', 'delivered', 'durable'])}, max_in_flight: {c.choice([1, 10, 1000])}")
        self._add(node.via(name, end.name, is_ordered=lambda w: w.is_ordered and is_fifo, is_inline=lambda w: False))

    # ---- sinks ----

    def _failed(self, stage, node):
        """A file that gets what a stage gives up."""
        end = End(f"{stage}_failed", "file", (), lambda c: f"plugin: file, path: {stage}_failed.ndjson, "
                  f"inputs: [{stage}.failed]")
        end.reads = node.ways
        self.ends.append(end)
        self.failing[stage] = [end]

    def _sink(self, name, node=None):
        node, inputs = self._read(node=node)
        if self._is(0.2):
            more, other = self._read(False)
            if more.name != node.name:
                inputs = inputs[:-1] + ", " + other[1:]
                node = Node(name, node.ways + more.ways)
        end = End(name, self._pick(["file", "http", "http", "http", "null"]), node.ways)
        failure = self._pick(["dead_letter"] * 3 + ["block", "drop"])
        self.ends.append(end)
        how = self._pick(["", "", "", "failed", "fallback"]) if end.kind == "http" else ""
        if how:
            failure = "dead_letter"
        policy = self._policy(end, failure)
        own = self._own(end)
        after = self._fallback(end, node) if how == "fallback" else ""
        if how == "failed":
            self._failed(name, node)
            end.others = self.failing.pop(name)
        end.can_leave = not end.others
        end.options = lambda c: f"{own(c)}, inputs: {inputs}, {policy(c)}{after}"

    def _policy(self, end, failure):
        """What the core does with a sink's events."""
        full = self._pick(["block"] * 5 + ["drop_oldest", "dead_letter"])
        attempts = self._pick(["", "", ", max_attempts: 4"])
        letters = self._pick(["dead-letters", "dead-letters", "others"])
        self.queues += [letters] if letters not in self.queues else []
        end.may_drop = failure == "drop" or full == "drop_oldest"
        end.may_bury = full == "dead_letter" or (end.kind == "http" and failure == "dead_letter")
        end.full = full
        return lambda c: (
            f"on_failure: {failure}, dead_letter: {letters}, "
            f"buffer: {{ type: {c.choice(['auto', 'durable', 'durable', 'memory'])}, "
            f"max_events: {c.choice([0, 30, 300])}, when_full: {full} }}, "
            f"batch: {{ max_events: {c.choice([1, 7, 500])}, max_wait: {c.choice(['0s', '5ms'])} }}, "
            + (c.choice(["", "concurrency: 1, ", "concurrency: 4, ", "concurrency: { min: 2, max: 9 }, "])
               if end.kind == "http" else "")
            + c.choice(["", "", "rate: 500/s, "]) + RETRY.format(attempts) + ", " + BREAKER)

    def _own(self, end):
        if end.kind == "null":
            return lambda c: 'plugin: "null"'
        if end.kind == "file":
            return lambda c: f"plugin: file, path: {end.name}.ndjson, sync: {c.choice(['true', 'false'])}"
        end.has_mood = True
        end.is_patient = self._is(0.5)
        timeout = LONG if end.is_patient else "200ms"
        form = self._pick(["json", "json", "ndjson", "array"])
        return lambda c: f'plugin: http, format: {form}, timeout: {timeout}, url: "{end.receiver.url}"'

    def _fallback(self, end, node):
        """Another sink for what this one cannot take, which may be no better."""
        after = self._pick(["0s", "30ms"])
        other = End(f"{end.name}_instead", self._pick(["file", "http"]))
        other.reads = node.ways
        own, policy = self._own(other), self._policy(other, "dead_letter")
        other.options = lambda c: f"{own(c)}, {policy(c)}"
        self.ends.append(other)
        end.others.append(other)
        return f", fallback: {{ to: {other.name}, after: {after} }}"

    # ---- its text ----

    def text(self, chance, head, without=()):
        """The stages, with settings drawn by `chance`."""
        def block(title, stages):
            return [title + ":", *(f"  {name}: {{ {options(chance)} }}" for name, options in stages.items())] * bool(stages)
        sinks = {e.name: e.options for e in self.ends if e.name not in without}
        return "\n".join([*head, *block("sources", self.sources), *block("transforms", self.transforms),
                          *block("sinks", sinks)]) + "\n"

    @staticmethod
    def head(chance):
        """What only a restart changes."""
        return ["data_dir: data", f"workers: {chance.choice([1, 2, 3, 4])}",
                f"memory: {chance.choice(['24MiB', '256MiB'])}", f"drain: {chance.choice(['300ms', '20s'])}",
                f"journal: {{ max_size: {chance.choice(['16MiB', '64MiB', '1GiB'])}, "
                f"durability: {chance.choice(['fsync', 'fsync', 'interval(5ms)', 'os'])} }}"]
