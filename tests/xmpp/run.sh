#!/bin/sh
# Runs the XMPP tests against $PLIMSOLL_BIN (default: target/release/plimsoll). Arguments go to pytest.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${PLIMSOLL_VENV:-$here/../../.venv}
[ -x "$venv/bin/python" ] || { echo "run.sh: no venv at $venv: run tests/xmpp/install.sh first" >&2; exit 1; }
PLIMSOLL_BIN=$(realpath -m "${PLIMSOLL_BIN:-$here/../../target/release/plimsoll}")
export PLIMSOLL_BIN
cd "$here"
exec "$venv/bin/python" -B -m pytest "$@"
