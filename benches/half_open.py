"""How soon an upload goes on after its connection died without a word: Plimsoll and @tus/server side by side.

A PATCH of 10 MB sends 3 MB and falls silent, its socket stays open. Then a second connection asks by HEAD for the
offset, again and again until it is 3 MB and a PATCH of the rest is accepted, as a stock client does. Measured is the time
from the first HEAD to its answer, and to the answer of that PATCH.
"""

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from servers import Plimsoll, Server

SIZE = 10_000_000
SENT = 3_000_000
PEER = Path(__file__).resolve().parent.parent / "conformance" / "peers" / "tus-node"


class OpenPlimsoll(Plimsoll):
    """Where everybody may create."""

    settings = {"PLIMSOLL_TUS__CREATE": "open"}


class TusNode(Server):
    """@tus/server with its file store, in Node; installed by npm into `cache`."""

    def __init__(self, cache, folder):
        super().__init__("@tus/server", folder)
        self.cache = cache

    def start(self):
        self.cache.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "serve.mjs"):
            shutil.copy(PEER / name, self.cache)
        if not (self.cache / "node_modules" / "@tus" / "server").exists():
            subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=self.cache, check=True)
        command = ["node", "serve.mjs", str(self.folder), "0", "300"]
        self.process = subprocess.Popen(command, cwd=self.cache, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                return
        raise SystemExit(f"{self.label} did not start")


def ask(port, method, path, headers, body=b"", limit=30):
    """One request on a connection of its own; status and headers of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=limit) as conn:
        fields = {"Host": "bench", "Tus-Resumable": "1.0.0", "Content-Length": len(body)} | headers
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n"
        conn.sendall(head.encode() + body)
        data = b""
        while b"\r\n\r\n" not in data:
            piece = conn.recv(65536)
            if not piece:
                raise SystemExit(f"{method} {path}: the connection was closed")
            data += piece
    first, *lines = data.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    found = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    return int(first.split(" ")[1]), found


PATCH = {"Content-Type": "application/offset+octet-stream"}


def once(server):
    """Seconds until HEAD is answered with all that was sent, and until the rest is accepted."""
    status, headers = ask(server.port, "POST", "/files", {"Upload-Length": SIZE})
    assert status == 201, (server.label, status)
    path = re.sub(r"^https?://[^/]+", "", headers["location"])
    data = os.urandom(SIZE)
    with socket.create_connection(("127.0.0.1", server.port)) as stuck:
        head = f"PATCH {path} HTTP/1.1\r\nHost: bench\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        head += f"Content-Type: {PATCH['Content-Type']}\r\nContent-Length: {SIZE}\r\n\r\n"
        stuck.sendall(head.encode() + data[:SENT])
        time.sleep(0.5)
        began = time.perf_counter()
        while True:
            status, headers = ask(server.port, "HEAD", path, {})
            known = time.perf_counter() - began
            if status not in (200, 204):
                time.sleep(0.1)
                continue
            offset = int(headers["upload-offset"])
            patch = PATCH | {"Upload-Offset": offset}
            status, _ = ask(server.port, "PATCH", path, patch, data[offset:])
            if status == 204:
                return known, time.perf_counter() - began, offset
            time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--cache", required=True, type=Path, help="where the peer is installed")
    parser.add_argument("--folder", required=True, type=Path, help="a folder to make and remove")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    folder = args.folder.resolve()
    with ExitStack() as stack:
        folder.mkdir(parents=True)
        stack.callback(shutil.rmtree, folder)
        servers = [
            stack.enter_context(OpenPlimsoll(args.binary.resolve(), "full", folder / "plimsoll")),
            stack.enter_context(TusNode(args.cache.resolve(), folder / "tus-node")),
        ]
        taken = {server.label: [] for server in servers}
        for _ in range(args.runs):
            for server in servers:
                taken[server.label].append(once(server))
        print(f"\n### Half-open PATCH, 3 of 10 MB sent, median of {args.runs}\n")
        print("| server | HEAD answered | offset told | rest accepted |\n|---|---|---|---|")
        for label, runs in taken.items():
            known, accepted, offset = (statistics.median(column) for column in zip(*runs))
            print(f"| {label} | {known * 1000:.1f} ms | {offset:.0f} | {accepted * 1000:.1f} ms |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
