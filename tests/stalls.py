"""Tells when the machine stood still, until its input ends: sleeps for 10 ms again and again, and
prints begin and length, in seconds of the monotonic clock, of each time that it was let run 50 ms late
or more. In a process of its own, so that nothing but the machine keeps it from running."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import select
import sys
import time

TICK, STALL = 0.01, 0.05

print("watching", flush=True)
before = time.monotonic()
while not select.select([sys.stdin], [], [], TICK)[0]:
    now = time.monotonic()
    if now - before > TICK + STALL:
        print(before, now - before - TICK, flush=True)
    before = now
