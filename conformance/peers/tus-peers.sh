#!/usr/bin/env bash
# Runs the tus profile the same way against the tus servers that others wrote, and says which requirements each breaks.
#
#   peers/tus-peers.sh [SUITE] [OPTIONS OF THE SUITE...]
#
# SUITE is the plimsoll-conformance executable (default: built by cargo). PEERS names the servers (default: tusd
# tus-node rustus), CACHE where they are kept between runs (default: $XDG_CACHE_HOME/plimsoll-peers), REPORTS a folder
# for the whole reports.
#
# Each server listens on a free port of the loopback, with an empty folder. Requirements are asked one by one, and a server
# that ends is started again, so that one's damage is not counted against the next. Exits 0 when every server ran, 1 when
# one could not be had (and says so), 2 when the suite itself could not be run.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=${1:-}
[ $# -gt 0 ] && shift
cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/plimsoll-peers}
# Seconds after which a server should cut a silent body: told to those that can be told. rustus knows no such limit.
gap=${BODY_GAP:-5}
mkdir -p "$cache"

if [ -z "$suite" ]; then
    cargo build --quiet --manifest-path "$here/../Cargo.toml"
    folder=$(cargo metadata --format-version 1 --no-deps --manifest-path "$here/../Cargo.toml" |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    suite=$folder/debug/plimsoll-conformance
fi
ids=$("$suite" --list --profile tus | awk '{ print $2 }' | tr ',' '\n' | sort -t- -k2n -u) || exit 2

work=$(mktemp -d)
reports=${REPORTS:-$work/reports}
mkdir -p "$reports"
keeper=
clean() {
    if [ -n "$keeper" ]; then
        # The keeper ends its server before itself.
        kill "$keeper" 2>/dev/null || true
        wait "$keeper" 2>/dev/null || true
        keeper=
    fi
}
trap 'clean; rm -rf "$work"' EXIT

# have NAME: installs a server, unless it is there.
have_tusd() {
    [ -x "$cache/bin/tusd" ] || GOBIN=$cache/bin go install github.com/tus/tusd/v2/cmd/tusd@latest
}
have_tus-node() {
    mkdir -p "$cache/tus-node"
    cp "$here/tus-node/package.json" "$here/tus-node/serve.mjs" "$cache/tus-node/"
    [ -d "$cache/tus-node/node_modules/@tus/server" ] ||
        (cd "$cache/tus-node" && npm install --no-audit --no-fund --silent)
}
have_rustus() {
    [ -x "$cache/bin/rustus" ] ||
        CARGO_TARGET_DIR=$cache/rustus-target cargo install --quiet --locked --root "$cache" rustus
}

# run NAME FOLDER PORT: becomes the server.
run_tusd() { exec "$cache/bin/tusd" -host 127.0.0.1 -port "$2" -upload-dir "$1" -base-path /files/ \
    -network-timeout "${gap}s"; }
run_tus-node() { exec node "$cache/tus-node/serve.mjs" "$1" "$2" "$gap"; }
# Its default of 256 KiB for a body would hide what it does with larger ones.
run_rustus() {
    exec "$cache/bin/rustus" --host 127.0.0.1 --port "$2" --data-dir "$1" --info-dir "$1" --max-body-size 1073741824
}

path_of() { if [ "$1" = tusd ]; then echo /files/; else echo /files; fi; }

# Keeps the server running: what it did to its own process is the case's finding, not the run's end.
keep() {
    local name=$1 folder=$2 port=$3 server=
    trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; exit 0' TERM
    while :; do
        "run_$name" "$folder" "$port" >>"$work/$name.log" 2>&1 &
        server=$!
        local status=0
        wait "$server" || status=$?
        echo "ended with status $status" >>"$work/$name.ends"
        sleep 0.2
    done
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start() {
    local name=$1 folder=$work/$1
    mkdir -p "$folder"
    for _ in 1 2 3 4 5 6 7 8; do
        port=$((20000 + RANDOM % 12000))
        if listens "$port"; then continue; fi
        keep "$name" "$folder" "$port" &
        keeper=$!
        for _ in $(seq 50); do
            listens "$port" && return 0
            sleep 0.1
        done
        clean
        rm -f "$work/$name.ends"
    done
    return 1
}

missing=0
for name in ${PEERS:-tusd tus-node rustus}; do
    echo "== $name"
    if ! "have_$name" >"$work/$name.install" 2>&1; then
        echo "not to be had here:"
        tail -3 "$work/$name.install" | sed 's/^/    /'
        missing=1
        continue
    fi
    if ! start "$name"; then
        echo "does not start:"
        tail -3 "$work/$name.log" | sed 's/^/    /'
        missing=1
        continue
    fi
    report=$reports/$name.txt
    : >"$report"
    ended=
    for id in $ids; do
        for _ in $(seq 50); do
            listens "$port" && break
            sleep 0.1
        done
        rm -f "$work/$name.ends"
        status=0
        "$suite" --target "http://127.0.0.1:$port" --profile tus --tus-path "$(path_of "$name")" --only "$id" \
            --jobs 1 --body-gap "$gap" "$@" >"$work/one" 2>"$work/one.err" || status=$?
        if [ "$status" -gt 1 ]; then
            cat "$work/one.err" >&2
            exit 2
        fi
        grep -E '^(pass|FAIL|not announced) +[A-Z]+-[0-9]+' "$work/one" >>"$report"
        # A process may outlive its answer by a moment.
        sleep 0.1
        [ ! -f "$work/$name.ends" ] || ended="$ended $id"
    done
    clean
    ids_with() { sed -n "s/^$1 *\([A-Z]*-[0-9]*\).*/\1/p" "$report" | tr '\n' ' '; }
    echo "fails: $(ids_with FAIL)"
    echo "not announced: $(ids_with 'not announced')"
    [ -z "$ended" ] || echo "its process ended at:$ended"
    uncaught=$(grep -c '^uncaught ' "$work/$name.log" || true)
    [ "$uncaught" -eq 0 ] || echo "errors that nothing caught: $uncaught"
    echo "$name: $(grep -c '^pass' "$report") passed, $(grep -c '^FAIL' "$report") failed"
done
exit "$missing"
