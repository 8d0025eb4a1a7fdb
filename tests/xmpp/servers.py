"""Starts the programs under test on loopback, each with its data in a folder that the caller hands in.

Nothing here is written outside that folder, nothing listens beyond 127.0.0.1, and every process dies with the test
run: `setpriv --pdeathsig` ends it even when pytest itself is killed.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Self, TypeVar

HOST = "127.0.0.1"
XMPP_DOMAIN = "localhost"
UPLOAD_JID = "upload.localhost"
SECRET = "s3cret of the slots"
BASE_PATH = "/upload"

T = TypeVar("T")

START_TIMEOUT = 60.0
"""Seconds until a server must accept connections; ejabberd creates its whole Mnesia schema first."""

STOP_TIMEOUT = 20.0
"""Seconds between SIGTERM and SIGKILL."""


class MissingPart(Exception):
    """A program that these tests stand on is not installed. Never a reason to skip."""


def required_program(name: str, hint: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingPart(f"{name} not found: {hint}")
    return found


def free_port() -> int:
    """A TCP port on loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """One server process, its output in `log`, ended on leaving the `with` block."""

    def __init__(self, argv: list[str], log: pathlib.Path, env: dict[str, str] | None = None):
        self.argv = argv
        self.log = log
        self.env = env
        self.popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        setpriv = required_program("setpriv", "it is part of util-linux")
        with self.log.open("wb") as sink:
            self.popen = subprocess.Popen(
                [setpriv, "--pdeathsig", "TERM", "--", *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=self.log.parent,
                env={**os.environ, **(self.env or {})},
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.popen is not None
        self.popen.terminate()
        try:
            self.popen.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until(self, probe: Callable[[], T | None], what: str) -> T:
        """The first result of `probe` that is not None; raises with the process's output when it ends or is late."""
        assert self.popen is not None
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self.popen.poll() is not None:
                break
            found = probe()
            if found is not None:
                return found
            time.sleep(0.05)
        state = "ended early" if self.popen.poll() is not None else f"not ready after {START_TIMEOUT:.0f} s"
        raise RuntimeError(f"{what}: {state}: {self.argv}\n{self.output()}")

    def wait_for_port(self, port: int) -> None:
        def accepts() -> bool | None:
            with socket.socket() as probe:
                return True if probe.connect_ex((HOST, port)) == 0 else None

        self.wait_until(accepts, f"port {port}")


@dataclasses.dataclass(frozen=True)
class Plimsoll:
    """A running upload server; `store` is the only folder it may write to."""

    port: int
    store: pathlib.Path
    process: Process

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}{BASE_PATH}"


def plimsoll_binary() -> pathlib.Path:
    root = pathlib.Path(__file__).resolve().parents[2]
    path = pathlib.Path(os.environ.get("PLIMSOLL_BIN") or root / "target/release/plimsoll").resolve()
    if not os.access(path, os.X_OK):
        raise MissingPart(f"{path} is not there: build it, or name another one in PLIMSOLL_BIN")
    return path


def plimsoll_process(folder: pathlib.Path) -> Process:
    """Listens on a port of the kernel's choice, which it prints; all keys through the environment."""
    return Process(
        [str(plimsoll_binary())],
        folder / "plimsoll.out",
        {
            "PLIMSOLL_SERVER__LISTEN": f"{HOST}:0",
            "PLIMSOLL_METRICS__LISTEN": f"{HOST}:0",
            "PLIMSOLL_STORE__PATH": str(folder / "store"),
            "PLIMSOLL_SLOTS__BASE_PATH": BASE_PATH,
            "PLIMSOLL_SLOTS__SECRET": SECRET,
            # Talkative, so that the test which looks for secrets in the log has something to look through.
            "PLIMSOLL_LOG__LEVEL": "debug",
        },
    )


def await_plimsoll(process: Process, folder: pathlib.Path) -> Plimsoll:
    def address() -> int | None:
        line = re.search(rf"^listening on http://{re.escape(HOST)}:(\d+)\s*$", process.output(), re.MULTILINE)
        return int(line[1]) if line else None

    port = process.wait_until(address, "plimsoll's ready line")
    return Plimsoll(port, folder / "store", process)


# Clients may register themselves and speak without TLS in all the configurations below: the streams never leave
# loopback, the accounts live as long as the test run, and SASL still goes by SCRAM. Nothing here is fit for a public
# server.

PROSODY_CONFIG = """
{run_as_root}
daemonize = false
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
data_path = "{folder}/data"
log = {{ info = "*stdout" }}
modules_enabled = {{ "disco"; "roster"; "saslauth"; "ping"; "register_ibr" }}
modules_disabled = {{ "s2s" }}
authentication = "internal_hashed"
allow_registration = true
c2s_require_encryption = false

VirtualHost "localhost"

Component "upload.localhost" "{module}"
    {options}
"""


def prosody_process(folder: pathlib.Path, port: int, module: str, options: list[str]) -> Process:
    (folder / "data").mkdir()
    config = folder / "prosody.cfg.lua"
    config.write_text(
        PROSODY_CONFIG.format(
            run_as_root="run_as_root = true" if os.geteuid() == 0 else "",
            port=port,
            folder=folder,
            module=module,
            options="\n    ".join(options),
        )
    )
    prosody = required_program("prosody", "run tests/xmpp/install.sh")
    return Process([prosody, "-F", "--config", str(config)], folder / "prosody.out")


def prosody_file_share(folder: pathlib.Path, port: int, upload_url: str) -> Process:
    """Prosody's own mod_http_file_share: a JWT in the slot's Authorization header."""
    return prosody_process(
        folder,
        port,
        "http_file_share",
        [
            f'http_file_share_base_url = "{upload_url}/"',
            f'http_file_share_secret = "{SECRET}"',
            "http_file_share_size_limit = 128 * 1024 * 1024",
        ],
    )


def prosody_external_v1(folder: pathlib.Path, port: int, upload_url: str) -> Process:
    """mod_http_upload_external as it comes: `?v=`."""
    return prosody_process(
        folder,
        port,
        "http_upload_external",
        [
            f'http_upload_external_base_url = "{upload_url}/"',
            f'http_upload_external_secret = "{SECRET}"',
            "http_upload_external_file_size_limit = 128 * 1024 * 1024",
        ],
    )


def prosody_external_v2(folder: pathlib.Path, port: int, upload_url: str) -> Process:
    """mod_http_upload_external with `protocol = "v2"`: `?v2=`, which signs the content type too."""
    return prosody_process(
        folder,
        port,
        "http_upload_external",
        [
            f'http_upload_external_base_url = "{upload_url}/"',
            f'http_upload_external_secret = "{SECRET}"',
            'http_upload_external_protocol = "v2"',
            "http_upload_external_file_size_limit = 128 * 1024 * 1024",
        ],
    )


EJABBERD_CONFIG = """
hosts: [localhost]
loglevel: info
acme: {{auto: false}}
registration_timeout: infinity
listen:
  - {{port: {port}, ip: "127.0.0.1", module: ejabberd_c2s}}
acl:
  local: {{user_regexp: ""}}
access_rules:
  local: {{allow: local}}
modules:
  mod_disco: {{}}
  mod_roster: {{}}
  mod_register: {{}}
  mod_http_upload:
    put_url: "{upload_url}"
    external_secret: "{secret}"
    access: local
    max_size: 134217728
"""


def ejabberd(folder: pathlib.Path, port: int, upload_url: str) -> Process:
    """ejabberd's mod_http_upload with `external_secret`: `?v=`.

    Started by `erl` as ejabberdctl would, less the node name: without one there is no Erlang distribution, hence no
    epmd, no cookie and no second port.
    """
    erl = required_program("erl", "run tests/xmpp/install.sh")
    applications = sorted(pathlib.Path("/usr/lib").glob("*/ejabberd-*/ebin/ejabberd.app"))
    if not applications:
        raise MissingPart("ejabberd.app not found: run tests/xmpp/install.sh")
    config = folder / "ejabberd.yml"
    config.write_text(EJABBERD_CONFIG.format(port=port, upload_url=upload_url, secret=SECRET))
    return Process(
        [erl, "-noinput", "+S", "2:2", "-mnesia", "dir", f'"{folder}/mnesia"', "-s", "ejabberd"],
        folder / "ejabberd.out",
        {
            "HOME": str(folder),
            "ERL_LIBS": str(applications[-1].parents[2]),
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),
            "EJABBERD_CONFIG_PATH": str(config),
            "EJABBERD_LOG_PATH": str(folder / "ejabberd.log"),
        },
    )


FLAVOURS: dict[str, Callable[[pathlib.Path, int, str], Process]] = {
    "prosody-file-share": prosody_file_share,
    "prosody-external-v1": prosody_external_v1,
    "prosody-external-v2": prosody_external_v2,
    "ejabberd": ejabberd,
}
