"""cli.py: the command line: help, typing errors, completion, colours, and output for machines."""
import json
import os
import re
import resource
import signal
import struct
import subprocess

from harness import ROOT, WEIR, Case, environment, main, on_terminal, wait_for, weir

PIPELINE = "config/pipeline.yaml"
COMMANDS = ("run", "validate", "graph", "plugins", "logs", "queue", "dlq", "audit", "trace", "rules", "journal",
            "reload", "archive", "replay", "schema", "completion", "version")


class CommandLine(Case):
    def good(self, *args, **more):
        done = weir(*args, **more)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return done.stdout

    def usage_error(self, *args):
        done = weir(*args)
        self.assertEqual((done.returncode, done.stdout), (64, ""), done)
        return done.stderr

    def test_help(self):
        shown = self.good("--help")
        self.assertEqual(shown, self.good("help"))
        self.assertEqual(shown, self.good("-h"))
        for command in COMMANDS:
            self.assertIn(f"\n  {command} ", shown)
            own = self.good(command, "--help")
            self.assertIn(f"usage: weir {command}", own)
            self.assertIn("--no-color", own)
            self.assertEqual(own, self.good("help", command))
            self.assertEqual(own, self.good(command, "-h"))
            for line in own.splitlines():
                self.assertLessEqual(len(line), 110, line)
        self.assertEqual(set(re.findall(r"^  ([a-z]+)  ", shown, re.M)), set(COMMANDS))

    def test_typing_errors(self):
        self.assertIn("usage: weir", self.usage_error())
        self.assertIn("did you mean validate?", self.usage_error("valdate"))
        self.assertIn("did you mean --log-level?", self.usage_error("run", "--log-levle", "info"))
        self.assertIn("--log-level", self.usage_error("run", "--log-level"))
        self.assertIn("debug, info, warn or error", self.usage_error("run", "--log-level", "loud"))
        self.assertIn("too many", self.usage_error("graph", "a", "b"))
        self.assertIn("too few", self.usage_error("trace"))
        self.assertIn("takes no value", self.usage_error("run", "--quiet=yes"))
        self.assertIn("UUID", self.usage_error("trace", "x", "-c", PIPELINE))
        self.assertIn("redrive", self.usage_error("queue", "list", "-c", PIPELINE))
        self.assertIn("name of a queue", self.usage_error("queue", "peek", "-c", PIPELINE))
        self.assertIn("whole number", self.usage_error("queue", "peek", "q", "-n", "few"))
        self.assertIn("bash, zsh or fish", self.usage_error("completion", "tcsh"))
        self.assertIn("mermaid", self.usage_error("graph", "-f", "picture", PIPELINE))
        self.assertIn("show", self.usage_error("plugins", "list"))

    def test_options_of_other_actions(self):
        """One that would be passed over is refused: a purge that is not limited, a dry run that is none."""
        for line, said in (("queue purge q -n 5", "--max is not for purge, only for peek, redrive"),
                           ("dlq purge --newest -n 1 --yes", "--newest is not for purge, only for ls"),
                           ("dlq ls --dry-run", "--dry-run is not for ls, only for redrive, purge"),
                           ("archive purge a --from 2h --yes", "--from is not for purge"),
                           ("replay cancel r --dry-run", "--dry-run is not for cancel, only for start"),
                           ("journal check --dry-run", "--dry-run is not for check, only for repair"),
                           ("queue ls q", "too many arguments: q"), ("dlq ls q", "too many arguments: q"),
                           ("archive ls a", "too many arguments: a")):
            self.assertIn(said, self.usage_error(*line.split(), "-c", PIPELINE))
        self.assertIn("say from when", self.usage_error("replay", "--dry-run", "-c", PIPELINE))

    def test_signals_of_others(self):
        """What logrotate or an orchestrator may send for another program ends nothing."""
        r = self.start("sources: { api: { plugin: http, listen: '127.0.0.1:0', routes: { POST /o: { type: A } } } }\n"
                       "sinks: { out: { plugin: null, inputs: [api] } }\n")
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            r.signal(number)
            r.wait_log(number.name + " does nothing here: SIGHUP reloads")
        self.assertEqual(r.post("api", "/o", {}).status, 200)
        r.wait_settled(delivered=1)
        r.stop()

    def test_null_is_a_plugin(self):
        """The sink's name without quotes is YAML's word for no value, and is understood; ~ is not."""
        text = "admin: { listen: off }\nsources: { n: { plugin: generator, count: 2 } }\nsinks: { out: { plugin: %s, inputs: [n] } }\n"
        for name in ("null", "'null'"):
            self.assertEqual(weir("run", "-q", self.write("p.yaml", text % name)).returncode, 0)
        self.assertIn("the name of a plugin", weir("validate", self.write("p.yaml", text % "~")).stderr)
        self.assertIn('{"enum":["null",null]}', self.good("schema"))

    def test_nothing_to_look_into(self):
        path = self.write("p.yaml", "data_dir: data\nadmin: { listen: off }\nsources: { n: { plugin: generator, count: 2 } }\n"
                          "sinks: { out: { plugin: null, inputs: [n] } }\n")
        self.assertEqual(weir("run", "-q", path).returncode, 0)
        for command in (("logs", "tail", "g"), ("queue", "peek", "q"), ("dlq", "ls", "-q", "q"), ("dlq", "show", "0")):
            self.assertEqual(weir(*command, "-c", path).returncode, 65, command)
        self.assertIn("out is the buffer of a stage", weir("queue", "peek", "out", "-c", path).stderr)
        if os.path.exists("/usr/bin/setpriv"):
            before = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
            os.chmod(self.path("data"), 0)
            for command in (("logs", "ls"), ("journal", "check")):
                done = weir(*command, "-d", self.path("data"), before=before)
                self.assertEqual(done.returncode, 77, done)
                self.assertIn("Permission denied", done.stderr)
            os.chmod(self.path("data"), 0o700)
        os.rename(self.path("data/journal"), self.path("data/away"))
        for command in (("audit",), ("dlq", "ls"), ("queue", "ls"), ("journal", "check")):
            done = weir(*command, "-d", self.path("data"))
            self.assertEqual(done.returncode, 65, done)
            self.assertIn("has the pipeline run?", done.stderr)

    def test_version(self):
        self.assertRegex(self.good("version"), r"^weir \d+\.\d+\.\d+ \(plugin ABI 1\.\d+\)\n$")
        self.assertEqual(self.good("--version"), self.good("version"))

    def test_completion(self):
        for shell in ("bash", "zsh", "fish"):
            text = self.good("completion", shell)
            for word in COMMANDS:
                self.assertIn(word, text)
        checked = subprocess.run(["bash", "-n"], input=self.good("completion", "bash"), text=True, capture_output=True,
                                 check=False)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        script = self.good("completion", "bash") + \
            'COMP_WORDS=(weir queue --js); COMP_CWORD=2; _weir; echo "${COMPREPLY[@]}"\n' \
            'COMP_WORDS=(weir va); COMP_CWORD=1; _weir; echo "${COMPREPLY[@]}"\n' \
            'COMP_WORDS=(weir queue p); COMP_CWORD=2; _weir; echo "${COMPREPLY[@]}"\n' \
            'COMP_WORDS=(weir queue --json re); COMP_CWORD=3; _weir; echo "${COMPREPLY[@]}"\n' \
            'COMP_WORDS=(weir queue ls --js); COMP_CWORD=3; _weir; echo "${COMPREPLY[@]}"\n' \
            'COMP_WORDS=(weir queue ls pee); COMP_CWORD=3; _weir; echo "${COMPREPLY[@]}"\n' \
            'COMP_WORDS=(weir logs t); COMP_CWORD=2; _weir; echo "${COMPREPLY[@]}"\n' \
            'COMP_WORDS=(weir plugins s); COMP_CWORD=2; _weir; echo "${COMPREPLY[@]}"\n' \
            'COMP_WORDS=(weir dlq re); COMP_CWORD=2; _weir; echo "${COMPREPLY[@]}"\n' \
            'COMP_WORDS=(weir journal d); COMP_CWORD=2; _weir; echo "${COMPREPLY[@]}"\n'
        done = subprocess.run(["bash"], input=script, text=True, capture_output=True, check=True)
        self.assertEqual(done.stdout, "--json\nvalidate\npeek purge\nredrive\n--json\n\ntail\nshow\nredrive\ndump\n")
        self.assertRegex(self.good("completion", "zsh"), r"queue\) .* ls peek purge redrive;")
        self.assertIn("-a 'ls peek purge redrive'", self.good("completion", "fish"))

    def test_colour(self):
        bad = self.write("bad.yaml", "nonsense: 1\n")
        self.assertIn("\033[", on_terminal("validate", bad, NO_COLOR=None))
        self.assertNotIn("\033[", on_terminal("validate", bad, NO_COLOR="1"))
        self.assertNotIn("\033[", on_terminal("validate", "--no-color", bad, NO_COLOR=None))
        self.assertNotIn("\033[", weir("validate", bad, env=environment(NO_COLOR=None)).stderr)

    def test_validate_json(self):
        bad = self.write("bad.yaml", "nonsense: 1\nsources: { a: { plugin: genrator } }\n")
        done = weir("validate", "--json", bad)
        self.assertEqual(done.returncode, 78)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        text = json.dumps(found)
        for part in ("nonsense", "genrator", "generator", "bad.yaml", '"line": 2', '"column": 25'):
            self.assertIn(part, text)
        self.assertEqual(done.stderr, "")
        self.assertEqual(weir("validate", "--json", PIPELINE).stdout, "")
        self.assertEqual(weir("validate", PIPELINE).returncode, 0)

    def test_graph(self):
        text = self.good("graph", PIPELINE)
        for stage in ("users_api", "bus", ".user-created", "process_user", "queue", "user_events", "consumer", "logs"):
            self.assertIn(stage, text)
        dot = self.good("graph", "-f", "dot", PIPELINE)
        self.assertRegex(dot, r"^digraph .*\{")
        self.assertEqual(dot.count("{"), dot.count("}"))
        self.assertGreaterEqual(dot.count("->"), 7)
        mermaid = self.good("graph", "--format", "mermaid", PIPELINE)
        self.assertRegex(mermaid, r"^(flowchart|graph) ")
        self.assertGreaterEqual(mermaid.count("-->") + mermaid.count("--"), 7)

    def test_plugins(self):
        listed = json.loads(self.good("plugins", "--json"))
        roles = {(p["name"], p["role"]) for p in listed}
        for wanted in (("http", "source"), ("http", "sink"), ("eventbridge", "transform"), ("lambda", "transform"),
                       ("sqs", "source"), ("sqs", "sink"), ("cloudwatch_logs", "sink"), ("file", "source"),
                       ("file", "sink"), ("stdout", "sink"), ("generator", "source"), ("null", "sink")):
            self.assertIn(wanted, roles)
            self.assertIn(wanted[0], self.good("plugins"))
        for p in listed:
            self.assertTrue(p["summary"])
        shown = self.good("plugins", "show", "http")
        self.assertIn("http (source)", shown)
        self.assertIn("http (sink)", shown)
        self.assertIn("body_max", shown)
        json.loads(self.good("plugins", "show", "http", "--json"))
        self.assertEqual(weir("plugins", "show", "nothing").returncode, 65)

    def test_schema(self):
        schema = json.loads(self.good("schema"))
        self.assertIn("2020-12", schema["$schema"])
        self.assertIn("sources", schema["properties"])

    def test_stores_that_are_not_there(self):
        for args in (("queue", "ls"), ("logs", "ls"), ("trace", "01890a5d-ac96-774b-bcce-b302099a8057")):
            done = weir(*args, "--data-dir", self.path("nothing"))
            self.assertEqual(done.returncode, 65, done)
            self.assertIn("nothing", done.stderr)

    def test_trace_reads_again(self):
        """What the runner has not written yet is waited for: the second look finds it."""
        event = "01890a5d-ac96-774b-bcce-b302099a8057"
        os.makedirs(self.path("data/trace"))
        fifo = self.path("data/trace/00000001.trace")
        os.mkfifo(fifo)
        hop = struct.pack("=HBBHHq", 32 + 2, 1, 2, 0, 0, 1_700_000_000_000_000_000) + bytes.fromhex(event.replace("-", ""))
        process = subprocess.Popen([WEIR, "trace", event, "--data-dir", self.path("data"), "--json"], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())

        def look(text):
            """One look reads this, and the next one another pipe."""
            def opened():
                if process.poll() is not None:
                    raise AssertionError(f"it did not look again: {process.communicate()}")
                try:
                    return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
                except OSError:
                    return None
            fd = wait_for(opened, "a look")
            os.unlink(fifo)
            os.mkfifo(fifo)
            os.write(fd, text)
            os.close(fd)
        try:
            look(b"weirtrc1")
            look(b"weirtrc1" + hop + b"in")
            out, err = process.communicate()
        finally:
            process.kill()
            process.communicate()
        self.assertEqual((process.returncode, err), (0, ""))
        self.assertEqual(json.loads(out)["stage"], "in")

    def test_trace_of_nothing(self):
        os.makedirs(self.path("data/trace"))
        done = weir("trace", "01890a5d-ac96-774b-bcce-b302099a8057", "--data-dir", self.path("data"))
        self.assertEqual((done.returncode, done.stdout), (65, ""))
        self.assertIn("not written yet", done.stderr)

    def test_file_is_found(self):
        text = 'admin: { listen: "off" }\nsources: { n: { plugin: generator, count: 2 } }\n' \
               'sinks: { out: { plugin: stdout, inputs: [n] } }\n'
        where = self.write("there/pipeline.yaml", text)
        self.assertEqual(len(weir("run", "-q", cwd=self.path("there")).stdout.splitlines()), 2)
        self.assertEqual(weir("validate", env=environment(WEIR_CONFIG=where), cwd=self.folder).returncode, 0)
        done = weir("run", cwd=self.folder)
        self.assertEqual(done.returncode, 64)
        self.assertIn("pipeline.yaml", done.stderr)

    def test_open_files(self):
        """The usual soft limit holds back no runner; the hard one does."""
        text = "sources: { api: { plugin: http, listen: '127.0.0.1:0', routes: { POST /: { type: A } } } }\n" \
               "sinks: { out: { plugin: 'null', inputs: [api] } }\n"
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, before[1]), before[1]))
        try:
            r = self.start(text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        most = min(1 << 16, before[1]) if before[1] >= 0 else 1 << 16
        self.assertEqual(resource.prlimit(r.pid, resource.RLIMIT_NOFILE)[0], most)

    def test_log_as_json(self):
        path = self.write("p.yaml", 'admin: { listen: "off" }\nsources: { n: { plugin: generator, count: 1 } }\n'
                          'sinks: { out: { plugin: "null", inputs: [n] } }\n')
        lines = weir("run", "--log-format", "json", path).stderr.splitlines()
        self.assertTrue(lines)
        for line in lines:
            self.assertIn("level", json.loads(line))
        self.assertEqual(weir("run", "--quiet", path).stderr, "")
        self.assertGreaterEqual(len(weir("run", "-v", path).stderr.splitlines()), len(lines))


class PluginCommands(Case):
    """Commands of a plugin: of stages, with an argument, with values, and of one that was built before those."""
    SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <weir/plugin.h>
struct tick { const char *word; int64_t code; };
static weir_status pull(void *self, const weir_host *h, weir_batch *out) { return WEIR_END; }
static int show(void *self, const weir_host *h, uint32_t given)
{
    struct tick *t = self;
    printf("%s %s%s\n", h->instance, t->word, given & 2 ? "!" : "");
    return (int)t->code;
}
static int say(void *self, const weir_host *h, const weir_given *given)
{
    struct tick *t = self;
    for (int i = given->values[0] ? atoi(given->values[0]) : 1; i > 0; i--)
        printf("%s %s%s\n", given->argument, t->word, given->flags & 1 ? given->values[1] : "");
    return 0;
}
static const weir_option options[] = {
    WEIR_OPTION(struct tick, word, .preset = "tock", .help = "."),
    WEIR_OPTION(struct tick, code, .max = 100, .help = "."), {0}};
static const char *const flags[] = {"quiet=no effect", "loud=with a mark", NULL};
static const char *const ended[] = {"end=with an end", NULL};
static const char *const values[] = {"times=N=how often", "mark=TEXT=the end", NULL};
static const weir_command command_show = {
    .size = WEIR_UPTO(weir_command, run), .name = "tick", .action = "show", .summary = "Shows", .flags = flags,
    .run = show, .argument = "IGNORED"};
static const weir_command command_say = {
    .size = sizeof(weir_command), .name = "tick", .action = "say", .summary = "Says", .flags = ended,
    .argument = "WORD", .values = values, .run_given = say};
static const weir_command *const commands[] = {&command_show, &command_say, NULL};
static const weir_component tick = {.name = "tick", .version = "1.0", .summary = "Ticks.",
    .state_size = sizeof(struct tick), .options = options, .pull = pull, .commands = commands};
WEIR_PLUGIN(&tick);
"""

    def tick(self, *args, code=0):
        done = weir("tick", *args, cwd=self.folder, env=environment(WEIR_PLUGIN_PATH=self.path("plugins")))
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code in (0, 7) else done.stderr

    def test_commands_of_a_stage(self):
        self.compile("plugins/tick.so", self.SOURCE)
        path = self.write("pipeline.yaml", "sources:\n  a: { plugin: tick, word: one }\n  b: { plugin: tick, code: 7 }\n"
                                           "  c: { plugin: generator, count: 1 }\n"
                                           "sinks: { n: { plugin: 'null', inputs: [a, b, c] } }\n")
        self.assertEqual(sorted(self.tick("show", path, code=7).splitlines()), ["a one", "b tock"])
        self.assertEqual(sorted(self.tick("show", "--loud", code=7).splitlines()), ["a one!", "b tock!"])
        self.assertIn("a eins", self.tick("show", "-s", "sources.a.word=eins", "-s", "sources.b.code=0"))
        self.assertIn("genrator", self.tick("show", self.write("bad.yaml", "sources: { a: { plugin: genrator } }\n"), code=78))
        self.assertIn("no stage of the pipeline file has plugin: tick",
                      self.tick("show", self.write("other.yaml", "sources: { g: { plugin: generator } }\n"
                                                                   "sinks: { n: { plugin: 'null', inputs: [g] } }\n"), code=78))
        os.unlink(path)
        self.assertIn("no pipeline file", self.tick("show", code=64))

    def test_arguments_and_values(self):
        self.compile("plugins/tick.so", self.SOURCE)
        self.assertEqual(self.tick("say", "hello"), "hello tock\n")
        self.assertEqual(self.tick("say", "--times=2", "hello", "--mark", "?", "--end"), "hello tock?\n" * 2)
        self.assertIn("too few arguments", self.tick("say", code=64))
        self.assertIn("usage: weir tick say [OPTIONS] WORD", self.tick("say", "a", "b", code=64))
        self.assertIn("--times needs a value: N", self.tick("say", "a", "--times", code=64))
        self.assertIn("did you mean --times?", self.tick("say", "a", "--tims", "2", code=64))
        self.assertNotIn("--set", self.tick("say", "--help"))
        self.assertIn("--set", self.tick("show", "--help"))
        self.assertIn("unknown action sya", self.tick("sya", code=64))


if __name__ == "__main__":
    main()
