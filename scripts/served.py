"""A Plimsoll of its own for a stage: fresh store, free ports, stopped at the end."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

SECRET = "a secret for tests alone"
READY = re.compile(r"^listening on (http://\S+)")


class ServerFailed(Exception):
    """The server did not start, or did not stop as it should; the text ends with its log."""


@contextlib.contextmanager
def server(binary, settings):
    """Serves from an empty store with `settings` (`SECTION__KEY` to value) and yields the URL.

    At the end the server gets SIGTERM and has to end with status 0.
    """
    with tempfile.TemporaryDirectory(prefix="plimsoll-test-") as directory:
        # Settings of whoever runs the tests must not reach the server under test.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PLIMSOLL_")}
        defaults = {
            "SERVER__LISTEN": "127.0.0.1:0",
            "METRICS__LISTEN": "127.0.0.1:0",
            "STORE__PATH": str(Path(directory, "data")),
            "SLOTS__SECRET": SECRET,
        }
        env |= {f"PLIMSOLL_{key}": value for key, value in (defaults | settings).items()}
        log = Path(directory, "log")
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [binary, "serve"],
                env=env,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        try:
            yield wait_until_ready(process, log)
            stop(process, log)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()


def wait_until_ready(process, log, limit=30):
    """The URL that the server prints; afterwards its output goes on being read, so that it never blocks."""
    ready, url = threading.Event(), []

    def read():
        with contextlib.suppress(ValueError):  # the pipe is closed at the end
            for line in process.stdout:
                if not url and (found := READY.match(line)):
                    url.append(found[1])
                    ready.set()
        ready.set()

    threading.Thread(target=read, daemon=True).start()
    ready.wait(limit)
    if not url:
        raise ServerFailed(f"no `listening on` line within {limit} s\n{tail(log)}")
    return url[0]


def stop(process, log, limit=30):
    """SIGTERM, and status 0 in time."""
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(limit)
    except subprocess.TimeoutExpired:
        raise ServerFailed(f"it did not stop within {limit} s of SIGTERM\n{tail(log)}") from None
    if status != 0:
        raise ServerFailed(f"it ended with status {status}\n{tail(log)}")


def tail(log, lines=30):
    """The end of the server's log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
