"""What the runner counts, and that it cannot be green without reason."""

import io
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import counting  # noqa: E402
import served  # noqa: E402
from counting import Count  # noqa: E402


def run(script, **options):
    """Runs a Python script as a stage; answers the outcome and what was printed."""
    out = io.StringIO()
    return counting.run("stage", [sys.executable, "-c", script], out=out, **options), out.getvalue()


class Lines(unittest.TestCase):
    def test_closing_lines_of_each_runner_are_counted(self):
        for line, expected in {
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s": Count(
                12, 0, 1
            ),
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out": Count(3, 2),
            "\x1b[32mtest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\x1b[0m": Count(1),
            "12 passed, 3 failed": Count(12, 3),
            "12 passed, 3 failed, 4 skipped\n": Count(12, 3, 4),
            "12 passed in 3.21s": Count(12),
            "===== 1 failed, 12 passed, 2 skipped, 3 errors in 61.20s (0:01:01) =====": Count(12, 4, 2),
            "=== 1 error in 0.12s ===": Count(0, 1),
            "2 passed, 1 warning in 0.5s": Count(2),
            "1 xpassed, 2 xfailed in 0.5s": Count(2, 1),
        }.items():
            self.assertEqual(counting.count(line), expected, line)

    def test_other_lines_count_nothing(self):
        for line in [
            "",
            "test foo ... ok",
            "12 passed",
            "we had 12 passed, 3 failed",
            "12 passed, 3 failed of them",
            "running 12 tests",
            "no tests ran in 0.01s",
            "finished 3 uploads in 2.0s",
        ]:
            self.assertIsNone(counting.count(line), line)

    def test_unittest_is_counted_over_its_two_lines(self):
        def total(*lines):
            counter = counting.UnittestLines()
            return next(found for line in lines if (found := counter.count(line)))

        self.assertEqual(total("Ran 8 tests in 0.1s\n", "\n", "OK\n"), Count(8))
        self.assertEqual(
            total("Ran 8 tests in 0.1s\n", "FAILED (failures=1, errors=2, skipped=1)\n"), Count(4, 3, 1)
        )


class Stages(unittest.TestCase):
    def test_counts_are_summed_over_lines_and_output_is_passed_on(self):
        outcome, printed = run("print('2 passed, 0 failed'); print('hello'); print('3 passed, 0 failed')")
        self.assertEqual((outcome.count, outcome.trouble), (Count(5), ""))
        self.assertIn("hello\n", printed)

    def test_a_failed_test_is_not_counted_twice_for_the_status_of_its_runner(self):
        outcome, _ = run("print('2 passed, 1 failed'); exit(1)")
        self.assertEqual((outcome.count, outcome.trouble), (Count(2, 1), "1 failed"))

    def test_a_failed_test_fails_the_stage_although_its_runner_was_content(self):
        self.assertEqual(run("print('2 passed, 1 failed')")[0].trouble, "1 failed")

    def test_a_runner_that_broke_after_its_tests_fails_the_stage(self):
        outcome, _ = run("print('2 passed, 0 failed'); exit(101)")
        self.assertEqual((outcome.count, outcome.trouble), (Count(2, 1), "ended with status 101"))

    def test_a_stage_without_tests_fails(self):
        for script in ["print('all well')", "print('0 passed, 0 failed')"]:
            outcome, _ = run(script)
            self.assertEqual((outcome.count, outcome.trouble), (Count(0, 1), "ran no test"))

    def test_a_check_needs_no_tests_but_a_good_status(self):
        self.assertEqual(run("pass", is_check=True)[0].count, Count())
        self.assertEqual(run("exit(1)", is_check=True)[0].count, Count(0, 1))

    def test_a_stage_that_takes_too_long_is_stopped_with_what_it_started(self):
        script = "import subprocess; print('1 passed, 0 failed', flush=True); subprocess.run(['sleep', '60'])"
        outcome, _ = run(script, limit=1)
        self.assertEqual(outcome.count, Count(1, 1))
        self.assertIn("too long", outcome.trouble)
        self.assertLess(outcome.seconds, 30)

    def test_a_program_that_does_not_exist_fails_the_stage(self):
        outcome = counting.run("stage", ["/nowhere/at/all"], out=io.StringIO())
        self.assertEqual((outcome.count, outcome.trouble), (Count(0, 1), "could not be started"))

    def test_output_that_is_not_utf8_is_no_trouble(self):
        script = "import sys; sys.stdout.buffer.write(b'\\xff\\n1 passed, 0 failed\\n')"
        self.assertEqual(run(script)[0].count, Count(1))


class Summary(unittest.TestCase):
    def test_the_last_line_is_the_sum_and_one_trouble_spoils_it(self):
        good, bad = counting.Outcome("a", Count(3), 1.0), counting.Outcome("b", Count(1, 1), 1.0, "1 failed")
        out = io.StringIO()
        self.assertTrue(counting.summary([good, good], out))
        self.assertTrue(out.getvalue().endswith("\n6 passed, 0 failed\n"))
        self.assertFalse(counting.summary([good, bad], out))
        self.assertTrue(out.getvalue().endswith("\n4 passed, 1 failed\n"))
        self.assertFalse(counting.summary([], out))


def fake_server(body):
    """A program that stands in for the server."""
    import tempfile

    file = tempfile.NamedTemporaryFile("w", suffix=".py", delete=False)
    file.write(f"#!{sys.executable}\nimport os, signal, sys, time\n{body}\n")
    file.close()
    path = Path(file.name)
    path.chmod(0o755)
    return path


class Served(unittest.TestCase):
    def serve(self, body, **settings):
        program = fake_server(body)
        self.addCleanup(program.unlink)
        with served.server(program, settings) as url:
            return url

    GRACEFUL = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
    READY = "print('listening on http://127.0.0.1:' + os.environ['PLIMSOLL_LIMITS__BODY_GAP'], flush=True)\n"

    def test_the_url_is_read_and_the_server_is_stopped(self):
        url = self.serve(self.GRACEFUL + self.READY + "time.sleep(60)", LIMITS__BODY_GAP="7")
        self.assertEqual(url, "http://127.0.0.1:7")

    def test_a_server_that_dies_at_once_is_a_failure_that_shows_its_log(self):
        with self.assertRaisesRegex(served.ServerFailed, "no configuration"):
            self.serve("sys.exit('no configuration')")

    def test_a_server_that_stops_with_a_bad_status_is_a_failure(self):
        with self.assertRaisesRegex(served.ServerFailed, "status -15"):
            self.serve(self.READY + "time.sleep(60)", LIMITS__BODY_GAP="7")


if __name__ == "__main__":
    unittest.main()
