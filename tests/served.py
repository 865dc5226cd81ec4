"""A program under test that serves: what it says and holds, and its end by SIGTERM; and whether the
machine stood still meanwhile."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest


class Served:
    """What inherits it starts `process`, with a pipe for its output and `log_path` in `folder`."""

    STOP_SECONDS = 20
    # must not be in the log
    BAD_WORDS = "CRITICAL", "Sanitizer"

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def stop(self):
        """How long it took to end, in seconds; it has to end with 0."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(self.STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("SIGTERM does not end it: " + self.log()) from None
        finally:
            self.process.stdout.close()
        log = self.log()
        shutil.rmtree(self.folder)
        assert status == 0, "exit status %d: %s" % (status, log)
        for word in self.BAD_WORDS:
            assert word not in log, log
        return time.monotonic() - begin

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None or self.process.poll() is None:
            self.stop()

    # what it holds

    def memory(self):
        """Resident memory, MiB."""
        with open("/proc/%d/status" % self.process.pid, encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024

    def files(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def threads(self):
        return len(os.listdir("/proc/%d/task" % self.process.pid))


class Stalls:
    """When the machine stood still while this was entered: begin and length of each time, in seconds."""

    WATCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stalls.py")

    def __enter__(self):
        self.found = []
        self.process = subprocess.Popen([sys.executable, "-I", self.WATCH], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
        return self

    def __exit__(self, *_):
        said = self.process.communicate(timeout=30)[0]
        self.found = [tuple(map(float, line.split())) for line in said.splitlines()]

    def frames(self, rate, shortest=0):
        """How many frames can have been due in these times, of `shortest` seconds or more."""
        return sum(int(length * rate) + 1 for _, length in self.found if length >= shortest)

    def __str__(self):
        return "the machine stood still %d times, %.0f ms in all" % (
            len(self.found), sum(length for _, length in self.found) * 1000)


def main():
    """Runs the tests of the program. A test that is skipped is told to meson, unless one fails."""
    result = unittest.main(verbosity=2, exit=False).result
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
