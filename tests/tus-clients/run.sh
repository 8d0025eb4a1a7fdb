#!/bin/sh
# Runs stock tus clients against $PLIMSOLL_BIN (default: target/release/plimsoll). Arguments name files of test/ by a
# part of their name. The last line is `N passed, N failed`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PLIMSOLL_BIN=$(realpath -m "${PLIMSOLL_BIN:-$here/../../target/release/plimsoll}")
export PLIMSOLL_BIN
[ -d "$here/node_modules" ] || { echo "run.sh: run tests/tus-clients/install.sh first" >&2; exit 1; }
cd "$here"
exec node run.mjs "$@"
