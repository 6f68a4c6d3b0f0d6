#!/bin/bash
# tests/run.sh: runs every test that was built and tells the sum. Ends with 1 if one failed.
set -u
cd "$(dirname "$0")/.."
build=${BUILD:-build}
export BUILD=$build
# Threads that are not joined: a runner that stops without a stage that hangs leaves one on purpose.
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=0:exitcode=66:report_thread_leaks=0
# The limits of tests find what hangs: under a sanitizer on a busy machine all is slower.
[ -n "${SAN:-}" ] && export CK_TIMEOUT_MULTIPLIER=4
folder=$(mktemp -d "${TMPDIR:-/tmp}/weir-test.XXXXXX")
export TMPDIR=$folder
trap 'rm -rf "$folder"' EXIT
passed=0 failed=0
count() { # name, exit code, output file: adds the counts of Check's or our own closing line
    local p=0 f=0 line
    line=$(grep -aE '^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+' "$3" | tail -n 1)
    if [ -n "$line" ]; then
        read -r c x e <<<"$(echo "$line" | sed -E 's/.*Checks: ([0-9]+), Failures: ([0-9]+), Errors: ([0-9]+).*/\1 \2 \3/')"
        f=$((x + e)) p=$((c - x - e))
    else
        line=$(grep -aE '^[0-9]+ passed, [0-9]+ failed' "$3" | tail -n 1)
        [ -n "$line" ] && read -r p f <<<"$(echo "$line" | sed -E 's/^([0-9]+) passed, ([0-9]+) failed.*/\1 \2/')"
    fi
    [ "$2" -ne 0 ] && [ "$f" -eq 0 ] && f=1
    [ "$2" -eq 0 ] && [ "$p" -eq 0 ] && [ "$f" -eq 0 ] && p=1
    passed=$((passed + p)) failed=$((failed + f))
    if [ "$f" -ne 0 ]; then
        echo "FAIL $1 ($p passed, $f failed, exit $2)"
        tail -n 60 "$3"
    else
        echo "ok   $1 ($p)"
    fi
}
# Most tests wait for disks and timers rather than compute: JOBS of them run side by side.
jobs=${JOBS:-3}
started=0
run() { # name, command: its output and exit code are kept under a number, to be told in order
    local n=$started
    started=$((started + 1))
    names[n]=$1
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
    (
        begun=$SECONDS
        "${@:2}" >"$folder/$n.out" 2>&1 </dev/null
        echo "$? $((SECONDS - begun))" >"$folder/$n.code"
    ) &
}
names=()
# ONLY=units leaves the whole pipelines out.
for t in tests/plugins/*.py tests/flow/*.py tests/faults/*.py; do
    [ "${ONLY:-}" = units ] && break
    case $t in */harness.py | */shim.py | */chaos_*.py | *'*'*) continue ;; esac
    run "${t#tests/}" python3 "$t"
done
for t in "$build"/tests/* "$build"/tests/plugins/*; do
    [ -f "$t" ] && [ -x "$t" ] && run "${t#"$build"/tests/}" "$t"
done
wait
for n in "${!names[@]}"; do
    read -r code seconds <"$folder/$n.code"
    count "${names[n]}" "$code" "$folder/$n.out"
    [ "$seconds" -gt 30 ] && echo "     $seconds s"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
