#!/usr/bin/env bash
# Measures the release build against nginx's WebDAV PUT (arguments go to bench.py; --help lists them), and how soon an
# upload goes on after a half-open connection against @tus/server.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/bench"
rustc -O --edition 2024 -o "$target/bench/load" benches/load/client.rs
python3 -B benches/bench.py --binary "$target/release/plimsoll" --load "$target/bench/load" "$@"
python3 -B benches/half_open.py --binary "$target/release/plimsoll" --cache "$target/bench/tus-node" \
    --folder "$target/bench/half-open"
