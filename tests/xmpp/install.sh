#!/bin/sh
# Installs what the XMPP tests stand on: Prosody, its community modules and ejabberd from Debian, and a Python venv in
# $PLIMSOLL_VENV (default: .venv at the top of the checkout). Installs only what is missing, so it may run again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${PLIMSOLL_VENV:-$here/../../.venv}

missing=
for package in prosody prosody-modules ejabberd python3-venv; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done

if [ -n "$missing" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "install.sh: run as root to install:$missing" >&2; exit 1; }
    # The tests start the servers themselves. This answer keeps the packages from doing so while they are unpacked;
    # an answer that the machine already has is left as it is.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # shellcheck disable=SC2086 # a list of package names
    apt-get install -qy --no-install-recommends $missing
fi

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$here/requirements.txt"
