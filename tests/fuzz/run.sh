#!/bin/bash
# tests/fuzz/run.sh SECONDS TARGET...: runs each fuzz target for so long, from its seeds in
# tests/fuzz/corpus. Ends with 1 if one found something; the input that did it is kept and named.
set -u
cd "$(dirname "$0")/../.."
build=${BUILD:-build/fuzz}
seconds=$1
shift
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
work=$(mktemp -d "${TMPDIR:-/tmp}/weir-fuzz.XXXXXX")
trap 'rm -rf "$work"' EXIT
found=$build/found
mkdir -p "$found"
failed=0
for target in "$@"; do
    seeds=tests/fuzz/corpus/$target
    mkdir -p "$work/corpus/$target" # what it finds on its way does not go to the seeds
    [ -d "$seeds" ] || seeds=
    # shellcheck disable=SC2086
    if "$build/bin/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1500 \
        -artifact_prefix="$found/$target-" -print_final_stats=1 \
        "$work/corpus/$target" $seeds >"$work/log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
        echo "ok   $target ($runs inputs, $(find "$work/corpus/$target" -type f | wc -l) kept)"
    else
        failed=$((failed + 1))
        echo "FAIL $target"
        tail -n 60 "$work/log"
        input=$(sed -n 's/.*Test unit written to //p' "$work/log" | tail -n 1)
        [ -n "$input" ] && echo "try it again: $build/bin/$target $input"
    fi
    rm -rf "$work/corpus/$target"
done
echo "$# targets, $failed failed"
[ "$failed" -eq 0 ]
