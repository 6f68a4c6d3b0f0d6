#!/bin/bash
# config/demo.sh: the reference flow end to end: one good user, one refused request, the ledger; then it stops.
set -eu
cd "$(dirname "$0")/.."
weir=${BUILD:-build}/weir
folder=$(mktemp -d "${TMPDIR:-/tmp}/weir-demo.XXXXXX")
export WEIR_DATA_DIR=$folder/data
export WEIR_FUNCTIONS=$PWD/${BUILD:-build}/functions
pid=
finish() {
    [ -n "$pid" ] && kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    rm -rf "$folder"
}
trap finish EXIT
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -n "${NO_COLOR:-}" ] || [ ! -t 1 ] && say() { printf '\n%s\n' "$*"; }

say "1. weir run config/pipeline.yaml (on free ports)"
"$weir" run --set sources.users_api.listen=127.0.0.1:0 --set admin.listen=127.0.0.1:0 \
    config/pipeline.yaml 2>"$folder/log" &
pid=$!
for _ in $(seq 200); do
    grep -q 'is running' "$folder/log" && break
    kill -0 "$pid" 2>/dev/null || { cat "$folder/log"; pid=; exit 1; }
    sleep 0.02
done
cat "$folder/log"
api=$(sed -n 's|.*users_api: listening on \(http://.*\)|\1|p' "$folder/log")
admin=$(sed -n 's|.*admin on \(http://[0-9.]*:[0-9]*\).*|\1|p' "$folder/log")
"$weir" graph config/pipeline.yaml

say "2. POST /users: accepted means on disk"
answer=$(curl -sS -X POST "$api/users" -H 'Content-Type: application/json' \
    -d '{"name":"Jane Smith","email":"Jane@Enterprise.com"}')
echo "$answer"
id=$(echo "$answer" | sed -n 's/.*"event_id":"\([^"]*\)".*/\1/p')
[ -n "$id" ] || exit 1

say "3. what the consumer got"
for _ in $(seq 200); do
    [ -s "$WEIR_DATA_DIR/users.ndjson" ] && break
    sleep 0.02
done
cat "$WEIR_DATA_DIR/users.ndjson"
grep -q "$id" "$WEIR_DATA_DIR/users.ndjson"
for _ in $(seq 200); do
    curl -sS "$admin/ledger" | grep -q '"in_flight":0' && break
    sleep 0.02
done
sleep 0.1

say "4. weir trace $id"
"$weir" trace "$id" -c config/pipeline.yaml

say "5. weir logs tail /weir/users"
"$weir" logs tail /weir/users -c config/pipeline.yaml

say "6. a request that is refused, with its reasons (RFC 9457)"
curl -sS -i -X POST "$api/users" -H 'Content-Type: application/json' \
    -d '{"name":"","email":"invalid-email"}'
echo

say "7. the ledger: accepted + copied + redriven + replayed + repeated = delivered + filtered + dead-lettered + dropped + returned + lost + in flight"
ledger=$(curl -sS "$admin/ledger")
echo "$ledger"
case $ledger in *'"balanced":true'*) ;; *) echo "the ledger does not balance"; exit 1 ;; esac

say "8. SIGTERM: drain and stop"
kill -TERM "$pid"
wait "$pid"
pid=
tail -n 2 "$folder/log"
