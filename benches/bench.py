"""Plimsoll against nginx's WebDAV PUT: CPU seconds of the server, wall time, their ratio.

Every server of a comparison runs during the whole of it; requests alternate between them, so that whatever else the
machine does hits all of them alike. Medians are printed as Markdown tables.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from servers import Nginx, Plimsoll

MIB = 1 << 20
GIB = 1 << 30
SMALL = 4096
CONNECTIONS = 32
# The most that Plimsoll may cost, as a multiple of nginx.
TARGET = 1.2


def answer_of(conn):
    """The status of one answer, whose body is not read."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = conn.recv(65536)
        if not piece:
            raise SystemExit("the server closed the connection")
        data += piece
    return int(data.split(b" ", 2)[1])


def put_large(server, source, name, size):
    """One PUT of `size` bytes, sent by sendfile from `source` again and again. Seconds of wall time and of CPU."""
    length = os.fstat(source).st_size
    cpu, began = server.cpu(), time.perf_counter()
    with socket.create_connection(("127.0.0.1", server.port)) as conn:
        head = f"PUT {server.target(name, size)} HTTP/1.1\r\nHost: bench\r\nContent-Length: {size}\r\n\r\n"
        conn.sendall(head.encode())
        sent = 0
        while sent < size:
            at = sent % length
            sent += os.sendfile(conn.fileno(), source, at, min(length - at, size - sent))
        status = answer_of(conn)
        wall = time.perf_counter() - began
    if status != 201:
        raise SystemExit(f"{server.label}: {status}")
    # Work that the server does behind its answer counts too.
    time.sleep(0.1)
    return wall, server.cpu() - cpu


def large(folder, label, args):
    print(f"\n### One PUT of {args.gib:g} GiB, {label}, median of {args.runs}\n", flush=True)
    size = int(args.gib * GIB)
    here = folder / "plimsoll-bench"
    with ExitStack() as stack:
        source = stack.enter_context(open("/dev/shm/plimsoll-bench-source", "w+b"))
        os.unlink(source.name)
        source.write(os.urandom(64 * MIB))
        source.flush()
        servers = [
            Plimsoll(args.binary, "relaxed", here / "relaxed"),
            Nginx(args.nginx, None, here / "nginx-16k"),
            Plimsoll(args.binary, "full", here / "full"),
            Nginx(args.nginx, "1m", here / "nginx-1m"),
        ]
        for server in servers:
            stack.enter_context(server)
        walls = {server.label: [] for server in servers}
        cpus = {server.label: [] for server in servers}
        for run in range(args.runs + 1):
            order = servers[run % 4 :] + servers[: run % 4]
            for server in order:
                os.sync()
                wall, cpu = put_large(server, source.fileno(), f"large/{run}", size)
                free_space(server)
                # The first of each is for warming up.
                if run > 0:
                    walls[server.label].append(wall)
                    cpus[server.label].append(cpu)
    shutil.rmtree(here)
    gib = size / GIB
    baseline = min(statistics.median(cpus[s.label]) for s in servers if isinstance(s, Nginx))
    print("| server | CPU-s/GiB (min - max) | GiB/s | CPU, multiple of the cheaper nginx |")
    print("|---|---|---|---|")
    ratios = {}
    for server in servers:
        cpu, wall = sorted(cpus[server.label]), statistics.median(walls[server.label])
        middle = statistics.median(cpu)
        ratios[server.label] = middle / baseline
        spread = f"{cpu[0] / gib:.3f} - {cpu[-1] / gib:.3f}"
        print(f"| {server.label} | {middle / gib:.3f} ({spread}) | {gib / wall:.2f} | {middle / baseline:.2f} |")
    return ratios["plimsoll relaxed"]


def free_space(server):
    """Cut what was just stored to nothing, without the server: it need not know, its next file is another one."""
    for path in server.folder.rglob("*"):
        if path.is_file() and path.stat().st_size > 256 * MIB:
            os.truncate(path, 0)


def small(folder, label, requests, args):
    print(f"\n### PUTs of 4 KiB, {CONNECTIONS} kept-alive connections, {label}, median of {args.runs}", flush=True)
    print(f"\n{requests} files a run.\n")
    here = folder / "plimsoll-bench"
    with ExitStack() as stack:
        servers = [
            Plimsoll(args.binary, "relaxed", here / "relaxed"),
            Plimsoll(args.binary, "full", here / "full"),
            Nginx(args.nginx, None, here / "nginx"),
        ]
        for server in servers:
            stack.enter_context(server)
        rates = {server.label: [] for server in servers}
        cpus = {server.label: [] for server in servers}
        for run in range(args.runs + 1):
            order = servers[run % 3 :] + servers[: run % 3]
            for server in order:
                names = (f"{run}-{at % 256:02x}/{at}.bin" for at in range(requests))
                targets = here / "targets"
                targets.write_text("".join(f"{server.target(name, SMALL)}\n" for name in names))
                os.sync()
                cpu = server.cpu()
                command = [args.load, f"127.0.0.1:{server.port}", str(targets), str(CONNECTIONS), str(SMALL)]
                done = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
                time.sleep(0.1)
                if run > 0:
                    rates[server.label].append(int(done[1]) / float(done[0]))
                    cpus[server.label].append((server.cpu() - cpu) / requests * 1e6)
    shutil.rmtree(here)
    nginx = statistics.median(cpus[servers[-1].label])
    print("| server | requests/s | CPU us/request (min - max) | CPU, multiple of nginx |")
    print("|---|---|---|---|")
    for server in servers:
        cpu, rate = sorted(cpus[server.label]), statistics.median(rates[server.label])
        middle = statistics.median(cpu)
        print(f"| {server.label} | {rate:,.0f} | {middle:.1f} ({cpu[0]:.1f} - {cpu[-1]:.1f}) | {middle / nginx:.2f} |")


def takeover(folder, label, args):
    """A writer holds an upload and is silent; a newer PUT asks for `100 Continue`. How long does that take?"""
    runs = 200
    print(f"\n### Takeover: from the newer request to `100 Continue`, {label}, {runs} runs\n", flush=True)
    size, sent = 2 * MIB, MIB
    here = folder / "plimsoll-bench"
    print("| durability | newcomer | median | 99 % | max |")
    print("|---|---|---|---|---|")
    for durability in ("relaxed", "full"):
        with Plimsoll(args.binary, durability, here / durability) as server:
            times = {"plain PUT": [], "ranged PUT": []}
            for run in range(runs):
                kind = list(times)[run % 2]
                target = server.target(f"takeover/{run}", size)
                with connect(server) as old, connect(server) as probe, connect(server) as new:
                    old.sendall(head(target, size) + bytes(sent))
                    while committed(probe, target) != sent:
                        time.sleep(0.001)
                    if kind == "plain PUT":
                        request = head(target, size, "Expect: 100-continue")
                    else:
                        place = f"Content-Range: bytes {sent}-{size - 1}/{size}"
                        request = head(target, size - sent, "Expect: 100-continue", place)
                    began = time.perf_counter()
                    new.sendall(request)
                    status = answer_of(new)
                    times[kind].append(time.perf_counter() - began)
                    if status != 100:
                        raise SystemExit(f"takeover was answered {status}")
            for kind, measured in times.items():
                measured = sorted(1000 * seconds for seconds in measured)
                middle, most = statistics.median(measured), measured[int(len(measured) * 0.99) - 1]
                print(f"| {durability} | {kind} | {middle:.2f} ms | {most:.2f} ms | {measured[-1]:.2f} ms |")
    shutil.rmtree(here)


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port))


def head(target, length, *more):
    lines = [f"PUT {target} HTTP/1.1", "Host: bench", f"Content-Length: {length}", *more, "", ""]
    return "\r\n".join(lines).encode()


def committed(conn, target):
    """The offset by HEAD without the credential, which ends no writer; None while there is none."""
    conn.sendall(f"HEAD {target.partition('?')[0]} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    answer = conn.recv(65536).decode().lower()
    return int(answer.partition("upload-offset:")[2].split()[0]) if "upload-offset:" in answer else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True, help="the release build of plimsoll")
    parser.add_argument("--load", required=True, help="the built load/client.rs")
    parser.add_argument("--nginx", default=shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"))
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a folder on tmpfs")
    parser.add_argument("--disk", type=Path, default=Path("target/bench"), help="a folder on a disk")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--gib", type=float, default=2.0, help="size of the large PUT")
    parser.add_argument("--only", choices=["large", "small", "takeover"], action="append")
    args = parser.parse_args()
    if not args.nginx:
        parser.error("nginx is not installed (Debian: nginx-core)")
    args.binary, args.load = Path(args.binary).resolve(), Path(args.load).resolve()
    args.disk = args.disk.resolve()
    wanted = args.only or ["large", "small", "takeover"]
    places = [(args.memory, "tmpfs"), (args.disk, "disk")]
    for folder, _ in places:
        shutil.rmtree(folder / "plimsoll-bench", ignore_errors=True)
    ratios = {}
    if "large" in wanted:
        ratios = {label: large(folder, label, args) for folder, label in places}
    if "small" in wanted:
        small(args.memory, "tmpfs", 40_000, args)
        small(args.disk, "disk", 10_000, args)
    if "takeover" in wanted:
        takeover(args.disk, "disk", args)
    for label, ratio in ratios.items():
        verdict = "reached" if ratio <= TARGET else "MISSED"
        print(f"\n{label}: plimsoll relaxed costs {ratio:.2f} x nginx; at most {TARGET}: {verdict}", flush=True)
    return 0 if all(ratio <= TARGET for ratio in ratios.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
