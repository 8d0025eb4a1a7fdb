#!/usr/bin/env bash
# Measures the release build against nginx's WebDAV PUT. Arguments go to bench.py; --help lists them.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/bench"
rustc -O --edition 2024 -o "$target/bench/load" benches/load/client.rs
exec python3 -B benches/bench.py --binary "$target/release/plimsoll" --load "$target/bench/load" "$@"
