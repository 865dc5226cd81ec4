"""Twenty clients play one shared video for a minute (LF_RTSP_SECONDS): each gets every frame, in time.

LF_RTSP_MODEL=default has the default model make it, which asks for about two free cores; else it is
a small one, so that the test is of the server.

Frames may be late only where the machine cannot keep up with the test: as many as were due while it
stood still, or while the server's threads waited for the processor where that was more than a tenth
of the time. The test is then skipped, and says so."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import select
import time
import unittest

from rig import Client, Server, SMALL_MODEL, excused
from served import Stalls, main

CLIENTS = 20
SECONDS = float(os.environ.get("LF_RTSP_SECONDS", 60))
RATE = 16
SETTLE = 2  # seconds until all have begun, and the first frame's wait for the first client is past


class Crowd(unittest.TestCase):
    def play(self, clients, seconds):
        sockets = {client.socket: client for client in clients}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for ready in select.select(list(sockets), [], [], 0.1)[0]:
                sockets[ready].receive()
                sockets[ready].take_packets()

    def test_crowd(self):
        model = [] if os.environ.get("LF_RTSP_MODEL") == "default" else [
            "--model", SMALL_MODEL, "-m", "width=256", "-m", "height=160"]
        with Server(*model, "--prompt", "a red ball") as server:
            clients = [Client(server) for _ in range(CLIENTS)]
            for client in clients:
                client.play()
            self.play(clients, SETTLE)
            with Stalls() as stalls:
                late, begin = clients[0].number("late"), time.monotonic()
                waited, first = server.held_up(), [client.frames for client in clients]
                self.play(clients, SECONDS)
                took = time.monotonic() - begin
                frames = [client.frames - before for client, before in zip(clients, first)]
                late = clients[0].number("late") - late
                waited = server.held_up() - waited
            stats = clients[0].get("stats").values()["stats"]
            self.assertEqual(clients[0].number("clients"), CLIENTS)
            gap = max(after - before for client, n in zip(clients, first)
                      for before, after in zip(client.times[n:], client.times[n + 1:]))
            lost = sum(client.lost for client in clients)
            steps = [step for client, n in zip(clients, first) for step in client.steps(n)]
            for client in clients:
                client.close()
        machine = "the server's threads waited %.1f %% of the time, %s" % (waited / took * 100, stalls)
        print("%d clients, %.1f s: %d to %d frames each, %d packets lost, %d late; longest wait "
              "for a frame %.0f ms; %s\n%s" % (
                  CLIENTS, took, min(frames), max(frames), lost, late, gap * 1000, machine, stats),
              flush=True)
        # whatever else the machine does: TCP loses nothing, and all get the same
        self.assertEqual(lost, 0)
        self.assertLessEqual(max(frames) - min(frames), 2)
        self.assertEqual({step % (90000 // RATE) for step in steps}, {0})
        self.assertTrue(all(step > 0 for step in steps))
        self.assertLessEqual(late, excused(RATE, took, stalls, waited), stats)
        if late:
            self.skipTest("%d late frames, but %s" % (late, machine))
        self.assertEqual(set(steps), {90000 // RATE})
        self.assertGreaterEqual(min(frames), int((took - 0.5) * RATE) - stalls.frames(RATE))


if __name__ == "__main__":
    main()
