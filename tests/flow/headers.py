#!/usr/bin/env python3
"""Each public header compiles alone, without a warning, as C11, C17 and C++17, with both compilers."""
import concurrent.futures
import pathlib
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
COMMON = ["-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{TOP}/include"]
C_ONLY = ["-Wstrict-prototypes", "-Wmissing-prototypes", "-Wshadow", "-Wconversion"]


def compilers():
    for c, cpp in (("gcc", "g++"), ("clang-14", "clang++-14")):
        if shutil.which(c):
            yield c, "c", ["-std=c11", *C_ONLY]
            yield c, "c", ["-std=c17", *C_ONLY]
        if shutil.which(cpp):
            yield cpp, "c++", ["-std=c++17"]


def compile_alone(header, compiler, language, flags):
    text = f"#include <weir/{header}>\n#include <weir/{header}>\n" + (
        "" if language == "c++" else "int unit_is_not_empty;\n")
    done = subprocess.run([compiler, "-x", language, *flags, *COMMON, "-"], input=text, text=True,
                          capture_output=True)
    if done.returncode:
        print(f"{header}: {compiler} {flags[0]}\n{done.stderr}")
    return done.returncode == 0


def main():
    headers = sorted(p.name for p in (TOP / "include/weir").glob("*.h") if p.name != "testing.h")
    work = [(h, *c) for h in headers for c in compilers()]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda w: compile_alone(*w), work))
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
