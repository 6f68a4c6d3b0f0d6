"""examples.py: every example runs as its README says, and its whole output is as expected."""
import os
import shutil
import subprocess
import unittest

from harness import BUILD, INCLUDE, IS_SANITIZED, PATIENCE, ROOT, Case, environment, main, no_report, raise_major, weir


def text_of(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return f.read()


class Examples(Case):
    def copy(self, *name):
        """The example in a folder of its own, as a checkout has it."""
        there = self.path(name[-1])
        shutil.copytree(os.path.join(ROOT, "examples", *name), there,
                        ignore=shutil.ignore_patterns("data", "__pycache__", "*.so", "mask-test"))
        return there

    def run_example(self, folder):
        done = weir("run", "pipeline.yaml", cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def run_all(self, *command, cwd, **env):
        done = subprocess.run(command, cwd=cwd, env=environment(**env), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE * 6, check=False)
        no_report(done.stdout + done.stderr)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def test_orders(self):
        folder = self.copy("orders")
        self.run_example(folder)
        for name, expected in (("big-orders", "expected-big-orders"), ("refunds", "expected-refunds"),
                               ("archive", "input")):
            self.assertEqual(text_of(folder, "data", name + ".ndjson"), text_of(folder, expected + ".ndjson"), name)
        with open(os.path.join(folder, "input.ndjson"), "a", encoding="utf-8") as f:
            f.write('{"kind":"refund","order":"A-1","reason":"late"}\n')
        self.run_example(folder)
        self.assertEqual(text_of(folder, "data", "archive.ndjson"), text_of(folder, "input.ndjson"))
        self.assertEqual(text_of(folder, "data", "refunds.ndjson"), text_of(folder, "expected-refunds.ndjson") +
                         '{"kind":"refund","order":"A-1","reason":"late"}\n')

    def check_function(self, language, prepare=None):
        folder = self.copy("functions", language)
        if prepare:
            prepare(folder)
        self.run_example(folder)
        self.assertEqual(text_of(folder, "data", "output.ndjson"), text_of(folder, "expected.ndjson"))
        self.assertEqual(text_of(folder, "expected.ndjson"),
                         text_of(ROOT, "examples/functions/c/expected.ndjson"), "the same in every language")
        logged = weir("logs", "show", "/aws/lambda/classify", cwd=folder).stdout
        self.assertIn("ada@enterprise.com is enterprise", logged)
        letters = weir("queue", "peek", "dead-letters", cwd=folder).stdout.splitlines()
        self.assertEqual(len(letters), 1)
        self.assertIn("InvalidUser", letters[0])
        self.assertIn("u-5", letters[0])

    def test_function_in_c(self):
        def build(folder):
            os.mkdir(os.path.join(folder, "functions"))
            self.run_all("cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-fPIC",
                         "-shared", "-I" + INCLUDE, "-o", "functions/classify_user.so", "classify_user.c", cwd=folder)
        self.check_function("c", build)

    def test_function_in_python(self):
        self.check_function("python")

    @unittest.skipUnless(shutil.which("node"), "no node")
    def test_function_in_node(self):
        self.check_function("node")

    def test_installed(self):
        """An installed prefix is all that a plugin, and a pipeline, need."""
        prefix = self.path("prefix")
        build = os.path.relpath(BUILD, ROOT)
        self.run_all("make", "--no-print-directory", "install", "PREFIX=" + prefix, "BUILD=" + build,
                     "SAN=" + os.environ.get("SAN", ""), cwd=ROOT)
        runner = os.path.join(prefix, "bin/weir")
        for name in ("share/weir/weir.mk", "lib/pkgconfig/weir.pc", "include/weir/plugin.h", "share/man/man1/weir.1"):
            self.assertTrue(os.path.getsize(os.path.join(prefix, name)), name)
        self.check_plugin(prefix, runner)
        self.check_make_file(prefix, runner)

    def check_plugin(self, prefix, runner):
        folder = self.copy("custom-plugin")
        paths = {"PKG_CONFIG_PATH": os.path.join(prefix, "lib/pkgconfig")}
        flags = self.run_all("pkg-config", "--cflags", "weir", cwd=folder, **paths).stdout.strip()
        self.assertEqual(flags, f"-I{prefix}/include")
        self.run_all("make", "test", "WEIR=" + runner, cwd=folder, CFLAGS="-Werror", **paths)
        self.assertEqual(text_of(folder, "data/masked.ndjson"), text_of(folder, "expected.ndjson"))
        shown = self.run_all(runner, "plugins", "show", "mask", cwd=folder, WEIR_PLUGIN_PATH=folder).stdout
        self.assertIn("What to hide", shown)
        raise_major(os.path.join(folder, "mask.so"))
        for command in ("run", "validate"):
            done = subprocess.run([runner, command, "pipeline.yaml"], cwd=folder, capture_output=True, text=True,
                                  env=environment(WEIR_PLUGIN_PATH=folder), timeout=PATIENCE, check=False)
            self.assertEqual(done.returncode, 78, done.stderr)
            for part in ("mask.so", "ABI 2.0", "this runner has 1.0", "rebuild", "pipeline.yaml:"):
                self.assertIn(part, done.stderr)

    def check_make_file(self, prefix, runner):
        """A Makefile of two lines builds a function by weir.mk."""
        folder = self.copy("functions", "c")
        self.write("c/Makefile", f"include {prefix}/share/weir/weir.mk\nfunctions/classify_user.so: classify_user.c\n"
                   "\t@mkdir -p functions\n\t$(CC) $(WEIR_CFLAGS_ALL) -shared -o $@ $<\n")
        shutil.copy(os.path.join(folder, "classify_user.c"), os.path.join(folder, "plain.c"))
        self.run_all("make", "plain.so", cwd=folder)
        self.run_all("make", "functions/classify_user.so", cwd=folder)
        self.run_all(runner, "run", "pipeline.yaml", cwd=folder)
        self.assertEqual(text_of(folder, "data/output.ndjson"), text_of(folder, "expected.ndjson"))

    def test_nothing_is_left_over(self):
        """Each example has a README, and a test here; that of schedule is in schedule.py."""
        listed = sorted(os.listdir(os.path.join(ROOT, "examples")))
        self.assertEqual(listed, ["custom-plugin", "functions", "orders", "schedule"])
        for folder in ("custom-plugin", "orders", "schedule", "functions/c", "functions/node", "functions/python"):
            self.assertIn("weir", text_of(ROOT, "examples", folder, "README.md"))


if __name__ == "__main__":
    main()
