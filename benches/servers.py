"""The servers under measurement: started on a free port, their CPU time read from /proc."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

SECRET = "a secret that only the benchmark knows"
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids):
    """User and system time of these processes with all their threads, those that have ended included."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


class Server:
    """A process that listens on 127.0.0.1 and keeps its files below `folder`."""

    def __init__(self, label, folder):
        self.label = label
        self.folder = Path(folder)
        self.process = None
        self.port = None

    def __enter__(self):
        self.folder.mkdir(parents=True)
        self.start()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder)

    def pids(self):
        return [self.process.pid]

    def cpu(self):
        return cpu_seconds(self.pids())

    def target(self, name, size):
        raise NotImplementedError

    def start(self):
        raise NotImplementedError

    def wait_until_it_listens(self):
        for _ in range(500):
            if self.process.poll() is not None:
                raise SystemExit(f"{self.label} ended with status {self.process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.01)
        raise SystemExit(f"{self.label} does not listen")


class Plimsoll(Server):
    # More of the environment, for those that need it.
    settings = {}

    def __init__(self, binary, durability, folder, label=None):
        super().__init__(label or f"plimsoll {durability}", folder)
        self.binary = binary
        self.durability = durability

    def start(self):
        env = {name: value for name, value in os.environ.items() if not name.startswith("PLIMSOLL_")}
        env |= {
            "PLIMSOLL_SERVER__LISTEN": "127.0.0.1:0",
            "PLIMSOLL_METRICS__ENABLED": "false",
            "PLIMSOLL_SLOTS__SECRET": SECRET,
            "PLIMSOLL_STORE__PATH": str(self.folder / "store"),
            "PLIMSOLL_STORE__MAX_SIZE": "16 GiB",
            "PLIMSOLL_STORE__DURABILITY": self.durability,
            "PLIMSOLL_LOG__LEVEL": "warn",
            **self.settings,
        }
        self.process = subprocess.Popen([self.binary], env=env, stdout=subprocess.PIPE, text=True, cwd=self.folder)
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.port = int(line.rpartition(":")[2])
                return
        raise SystemExit(f"{self.label} did not start")

    def target(self, name, size):
        import hmac

        token = hmac.digest(SECRET.encode(), f"{name} {size}".encode(), "sha256").hex()
        return f"/upload/{name}?v={token}"


class Nginx(Server):
    """WebDAV PUT. `buffer` is client_body_buffer_size; None leaves nginx's default."""

    def __init__(self, program, buffer, folder):
        super().__init__(f"nginx {buffer or '16k'} buffer", folder)
        self.program = program
        self.buffer = buffer

    def start(self):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        (self.folder / "files").mkdir()
        buffer = f"client_body_buffer_size {self.buffer};" if self.buffer else ""
        user = "user root;" if os.geteuid() == 0 else ""
        config = self.folder / "nginx.conf"
        config.write_text(
            f"""
            {user}
            daemon off;
            pid {self.folder}/nginx.pid;
            error_log {self.folder}/error.log warn;
            worker_processes {os.cpu_count()};
            events {{ worker_connections 4096; }}
            http {{
                access_log off;
                client_max_body_size 0;
                client_body_temp_path {self.folder}/body;
                keepalive_requests 100000000;
                {buffer}
                server {{
                    listen 127.0.0.1:{self.port};
                    location / {{
                        root {self.folder}/files;
                        dav_methods PUT;
                        create_full_put_path on;
                    }}
                }}
            }}
            """
        )
        error_log = self.folder / "start.log"
        command = [self.program, "-p", str(self.folder), "-e", str(error_log), "-c", str(config)]
        self.process = subprocess.Popen(command)
        self.wait_until_it_listens()

    def pids(self):
        master = self.process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return [master, *map(int, children)]

    def target(self, name, size):
        return f"/{name}"
