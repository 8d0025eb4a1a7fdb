"""Runs one stage of the tests as a process, passes its output on as it comes, and counts its tests.

A stage fails when a test failed, when its process failed, when it ran no test, or when it took too long: a runner
that is green because nothing ran would hide everything else.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass


@dataclass
class Count:
    """Tests of a stage."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other):
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;")
PLAIN = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")
PYTEST = re.compile(r"^=*\s*((?:\d+ \w+(?:, )?)+) in \d+(?:\.\d+)?s")
PYTEST_PART = re.compile(r"(\d+) (\w+)")
PYTEST_KINDS = {
    "passed": "passed",
    "xfailed": "passed",
    "failed": "failed",
    "error": "failed",
    "errors": "failed",
    "xpassed": "failed",
    "skipped": "skipped",
}


def count(line):
    """The tests that a runner's closing line tells of; None for any other line."""
    line = COLOUR.sub("", line).rstrip()
    for pattern in (CARGO, PLAIN):
        if found := pattern.match(line):
            return Count(*(int(number or 0) for number in found.groups()))
    if found := PYTEST.match(line):
        total, known = Count(), False
        for number, word in PYTEST_PART.findall(found[1]):
            if kind := PYTEST_KINDS.get(word):
                known = True
                setattr(total, kind, getattr(total, kind) + int(number))
        return total if known else None
    return None


@dataclass
class Outcome:
    """What became of a stage. `trouble` is empty when all is well."""

    name: str
    count: Count
    seconds: float
    trouble: str = ""


class UnittestLines:
    """Counts Python's unittest, whose end is spread over two lines."""

    def __init__(self):
        self.ran = 0

    def count(self, line):
        if found := re.match(r"^Ran (\d+) tests? in ", line):
            self.ran = int(found[1])
        elif found := re.match(r"^(OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$", line.rstrip()):
            told = dict(re.findall(r"(\w+)=(\d+)", found[2] or ""))
            failed = sum(int(told.get(kind, 0)) for kind in ("failures", "errors"))
            skipped = int(told.get("skipped", 0))
            return Count(self.ran - failed - skipped, failed, skipped)
        return None


def judge(name, total, status, is_check, seconds, timed_out=False):
    """The outcome of a process that ended with `status` after its lines told of `total`."""
    trouble = ""
    if timed_out:
        trouble = "took too long and was stopped"
    elif status != 0 and total.failed == 0:
        trouble = f"ended with status {status}"
    elif not is_check and total.passed + total.failed == 0:
        trouble = "ran no test"
    elif total.failed:
        return Outcome(name, total, seconds, f"{total.failed} failed")
    if trouble:
        total = total + Count(failed=1)
    return Outcome(name, total, seconds, trouble)


def run(name, command, *, env=None, cwd=None, limit=3600, is_check=False, lines=None, out=None):
    """Runs `command` and answers its Outcome.

    `limit` is in seconds. A check (a formatter, a linter) has no tests to count: it only passes or fails. `lines`
    counts in place of `count` where a runner's end takes several lines.
    """
    out = out or sys.stdout
    counting = lines.count if lines else count
    print(f"\n==> {name}: {' '.join(map(str, command))}", file=out, flush=True)
    start, total = time.monotonic(), Count()
    try:
        process = subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            bufsize=1,
            start_new_session=True,
        )
    except OSError as why:
        print(f"cannot be started: {why}", file=out, flush=True)
        return Outcome(name, Count(failed=1), 0.0, "could not be started")
    timed_out = threading.Event()

    def stop():
        timed_out.set()
        kill_group(process)

    timer = threading.Timer(limit, stop)
    timer.start()
    try:
        for line in process.stdout:
            out.write(line)
            out.flush()
            if counted := counting(line):
                total = total + counted
        status = process.wait()
    except BaseException:
        kill_group(process)
        raise
    finally:
        timer.cancel()
        process.stdout.close()
    return judge(name, total, status, is_check, time.monotonic() - start, timed_out.is_set())


def kill_group(process):
    """Ends the process and what it started; it leads a group of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def summary(outcomes, out=None):
    """Prints a line a stage and, last, `N passed, N failed`. True when nothing failed and something ran."""
    out = out or sys.stdout
    total = sum((outcome.count for outcome in outcomes), Count())
    print(file=out)
    for outcome in outcomes:
        skipped = f", {outcome.count.skipped} not run" if outcome.count.skipped else ""
        verdict = f"FAILED: {outcome.trouble}" if outcome.trouble else "ok"
        counts = f"{outcome.count.passed} passed, {outcome.count.failed} failed{skipped}"
        print(f"    {outcome.name:<28} {outcome.seconds:7.1f} s   {counts:<32} {verdict}", file=out)
    print(f"{total.passed} passed, {total.failed} failed", file=out, flush=True)
    return total.failed == 0 and total.passed > 0
