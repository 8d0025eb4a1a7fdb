#!/bin/sh
# Installs what the tests with stock tus clients need: Chromium and curl from Debian, the npm packages of
# package-lock.json, tuspy in a Python venv at $PLIMSOLL_VENV (default: .venv at the top of the checkout), and the Rust
# client, built under target/. Only what is missing, so it may run again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=${PLIMSOLL_VENV:-$root/.venv}

missing=
for package in chromium curl python3-venv; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
# A Node of another origin than Debian's is as good.
command -v npm >/dev/null || missing="$missing nodejs npm"
if [ -n "$missing" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "install.sh: run as root to install:$missing" >&2; exit 1; }
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # shellcheck disable=SC2086 # a list of package names
    apt-get install -qy --no-install-recommends $missing
fi

# `npm ci` always begins anew: it is run when the lock file is another than the one that was installed.
stamp=$here/node_modules/.installed
if ! cmp -s "$here/package-lock.json" "$stamp"; then
    (cd "$here" && npm ci)
    cp "$here/package-lock.json" "$stamp"
fi

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$here/requirements.txt"

cargo build --quiet --locked --manifest-path "$here/rust/Cargo.toml" \
    --target-dir "${CARGO_TARGET_DIR:-$root/target}/tus-clients/rust"
