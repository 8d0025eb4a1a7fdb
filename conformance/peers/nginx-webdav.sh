#!/usr/bin/env bash
# Runs the suite against nginx's WebDAV PUT: a server that takes files but knows none of these rules. Its failures are
# the proof that the cases can fail.
#
#   peers/nginx-webdav.sh [SUITE] [OPTIONS OF THE SUITE...]
#
# SUITE is the plimsoll-conformance executable (default: built by cargo). Exits 0 when at least ten requirements fail,
# 1 when fewer do, 2 when nginx or the suite could not be run.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=${1:-}
[ $# -gt 0 ] && shift
wanted=10

command -v nginx >/dev/null || { echo "nginx is missing: apt-get install --no-install-recommends nginx" >&2; exit 2; }
if [ -z "$suite" ]; then
    cargo build --quiet --manifest-path "$here/../Cargo.toml"
    folder=$(cargo metadata --format-version 1 --no-deps --manifest-path "$here/../Cargo.toml" |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    suite=$folder/debug/plimsoll-conformance
fi

work=$(mktemp -d)
pid=
clean() {
    if [ -n "$pid" ]; then
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap clean EXIT
mkdir -p "$work/root/upload" "$work/body"
# nginx's worker drops to another user when its master is root.
chmod 755 "$work"
chmod 777 "$work/root" "$work/root/upload" "$work/body"

# nginx cannot be asked for a free port: try some until one is ours.
for _ in 1 2 3 4 5 6 7 8; do
    port=$((20000 + RANDOM % 20000))
    cat >"$work/nginx.conf" <<CONF
daemon off;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/error.log warn;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $work/body;
    client_max_body_size 64m;
    client_header_timeout 3s;
    client_body_timeout 2s;
    server {
        listen 127.0.0.1:$port;
        root $work/root;
        location / {
            dav_methods PUT DELETE MKCOL;
            create_full_put_path on;
            dav_access user:rw group:r all:r;
        }
    }
}
CONF
    nginx -c "$work/nginx.conf" -e "$work/error.log" &
    pid=$!
    for _ in $(seq 50); do
        if [ -s "$work/nginx.pid" ] && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            break 2
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    pid=
done
[ -n "$pid" ] || { cat "$work/error.log" >&2; exit 2; }

status=0
"$suite" --target "http://127.0.0.1:$port" --secret irrelevant-to-nginx --body-gap 2 --header-timeout 3 "$@" |
    tee "$work/report" || status=$?
if [ "$status" -gt 1 ]; then
    exit 2
fi
failed=$(sed -n -e 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p' -e 's/^  "failed": \([0-9]*\),$/\1/p' "$work/report")
echo "nginx WebDAV fails ${failed:-no} requirements; at least $wanted must fail" >&2
[ "${failed:-0}" -ge "$wanted" ]
