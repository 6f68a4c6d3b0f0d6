#!/bin/bash
# tests/faults/run.sh [NAME...]: the long form of every test of faults, or of those named, one after the
# other; each prints what it tried. FUZZ_SECONDS=60 for each parser. Ends with 1 if one failed.
set -u
cd "$(dirname "$0")/../.."
export BUILD=${BUILD:-build} WEIR_FAULTS_LONG=1 WEIR_KILLS=${WEIR_KILLS:-200}
export WEIR_MODEL_OPERATIONS=${WEIR_MODEL_OPERATIONS:-2000000} WEIR_FUZZ_ROUNDS=${WEIR_FUZZ_ROUNDS:-1500}
failed=()
fuzz() {
    make --no-print-directory fuzz FUZZ_SECONDS="${FUZZ_SECONDS:-60}" \
        FUZZERS="journal_recover config_yaml pipeline_codec"
}
step() { # name, command
    [ ${#wanted[@]} -eq 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]] || return 0
    echo "== $1"
    local begun=$SECONDS
    "${@:2}" </dev/null || failed+=("$1")
    echo "   $((SECONDS - begun)) s"
}
wanted=("$@")
for t in tests/faults/*.py; do
    name=$(basename "$t" .py)
    case $name in shim | chaos_*) continue ;; esac
    step "$name" python3 -B "$t"
done
step kill9 python3 -B tests/flow/kill9.py
step queue_model "$BUILD/tests/journal_queue_model"
step power_model "$BUILD/tests/journal_crash"
step fuzz fuzz
[ ${#failed[@]} -eq 0 ] && echo "faults: nothing was lost" || echo "faults: FAILED: ${failed[*]}"
[ ${#failed[@]} -eq 0 ]
