"""A program under test that serves: what it says and holds, and its end by SIGTERM; and whether the
machine stood still meanwhile."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import re
import shutil
import signal
import subprocess
import threading
import time


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
    """Counts, while entered, how often no thread was let run for a while: one that sleeps for 10 ms
    again and again woke 50 ms late, or more."""

    TICK, STALL = 0.01, 0.05

    def __init__(self):
        self.count = 0
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.end.is_set():
            begin = time.monotonic()
            time.sleep(self.TICK)
            self.count += time.monotonic() - begin > self.TICK + self.STALL

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()
