#!/bin/bash
# tests/deps.sh: installs the Debian packages that are missing. Argument: build or check.
set -eu
build="gcc g++ libc6-dev make pkg-config libyaml-dev libcurl4-openssl-dev libpcre2-dev libssl-dev check \
libsubunit-dev json-schema-test-suite python3 python3-botocore nodejs curl tzdata"
check="clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev"
wanted=$build
[ "${1:-build}" = check ] && wanted="$build $check"
missing=
for p in $wanted; do
    # a tool that stands in the path serves as well as Debian's package of it
    case $p in
        nodejs) command -v node >/dev/null && continue ;;
        python3 | curl | gcc | g++ | make) command -v "$p" >/dev/null && continue ;;
    esac
    dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null | grep -q '^installed$' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
sudo=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "deps: run this as root, or install:$missing" >&2; exit 77; }
    sudo=sudo
fi
echo "deps: installing$missing"
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
echo "deps: done"
