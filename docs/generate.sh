#!/bin/bash
# docs/generate.sh FOLDER: writes the reference pages and the editor's schema from the option tables.
set -eu
cd "$(dirname "$0")/.."
weir=${BUILD:-build}/weir
out=$1
mkdir -p "$out"
export LC_ALL=C NO_COLOR=1 WEIR_PLUGIN_PATH=
note='<!-- made by docs/generate.sh from the option tables: edit those, then `make docs` -->'

{
    printf '%s\n\n# Keys of the pipeline file\n\n' "$note"
    printf 'What the file means is told in [the guide](../guide/pipeline-file.md); the options of each\n'
    printf 'plugin are in [plugins](plugins.md). Durations and sizes carry their unit.\n\n'
    "$weir" schema --markdown
} >"$out/pipeline.md"

# The list is "name role summary", sorted by name, then source, transform, sink, service.
list=$("$weir" plugins)
{
    printf '%s\n\n# Plugins\n\n' "$note"
    printf 'Options of all transforms and sinks alike are in [the keys of the pipeline file](pipeline.md).\n\n'
    printf '| component | role | what it does |\n| --- | --- | --- |\n'
    while read -r name role summary; do
        printf '| [%s](#%s-%s) | %s | %s |\n' "$name" "$name" "$role" "$role" "$summary"
    done <<<"$list"
    while read -r name; do
        printf '\n'
        "$weir" plugins show "$name" --markdown | sed '/^## /{1!s/^/\n/}'
    done < <(awk '!seen[$1]++ { print $1 }' <<<"$list")
} >"$out/plugins.md"

"$weir" schema >"$out/weir.schema.json"
