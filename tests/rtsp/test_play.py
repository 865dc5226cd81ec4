"""Independent clients play one shared video: GStreamer and FFmpeg, over TCP and UDP."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import contextlib
import re
import subprocess
import threading
import time
import unittest

from rig import Client, Server, SMALL_MODEL, excused
from served import Stalls

FRAMES = 40
WIDTH, HEIGHT = 256, 160
RATE = 16


def ffmpeg(server, transport):
    return subprocess.Popen(
        ["ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", transport, "-i", server.url,
         "-fps_mode", "passthrough", "-enc_time_base", "-1", "-frames:v", str(FRAMES), "-f", "framecrc", "-"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def gstreamer(server, transport):
    # its other buffer modes move times to make up for what they think of the two clocks
    return subprocess.Popen(
        ["gst-launch-1.0", "-v", "rtspsrc", "location=" + server.url, "protocols=" + transport,
         "latency=200", "buffer-mode=none", "!", "rtph264depay", "!", "avdec_h264", "!", "identity", "name=seen",
         "silent=false", "eos-after=%d" % (FRAMES + 1), "!", "fakesink", "sync=false"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@contextlib.contextmanager
def watched(server):
    """Somebody plays the video, so that others find it on its way."""
    with Client(server) as client:
        client.play()
        client.play_on(frames=RATE)
        end = threading.Event()

        def watch():
            while not end.is_set():
                client.play_on(seconds=0.2)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()


class Play(unittest.TestCase):
    def check_steps(self, times, unit):
        """Each one frame behind the one before, or a few; returns how many are left out."""
        self.assertGreaterEqual(len(times), FRAMES - 1)
        steps = [(after - before) * unit * RATE for before, after in zip(times, times[1:])]
        for step in steps:
            self.assertGreaterEqual(round(step), 1, steps)
            self.assertAlmostEqual(step, round(step), delta=max(unit, 1e-6) * RATE, msg=steps)
        return sum(round(step) for step in steps) - len(steps)

    def check_ffmpeg(self, client):
        text = client.communicate(timeout=90)[0]
        self.assertEqual(client.returncode, 0, text)
        self.assertIn("#dimensions 0: %dx%d" % (WIDTH, HEIGHT), text)
        base = re.search(r"#tb 0: (\d+)/(\d+)", text)
        rows = [line.split(",") for line in text.splitlines() if re.match(r"\d", line)]
        self.assertEqual(len(rows), FRAMES)
        self.assertEqual({int(row[4]) for row in rows}, {WIDTH * HEIGHT * 3 // 2})
        # FFmpeg gives the first picture the time of the second one
        return self.check_steps([int(row[2]) for row in rows[1:]], int(base[1]) / int(base[2]))

    def check_gstreamer(self, client):
        text = client.communicate(timeout=90)[0]
        self.assertEqual(client.returncode, 0, text)
        caps = re.search(r"seen.*caps = video/x-raw.*", text)[0]
        self.assertIn("width=(int)%d, height=(int)%d" % (WIDTH, HEIGHT), caps)
        self.assertIn("framerate=(fraction)%d/1" % RATE, caps)
        stamps = re.findall(r"seen: last-message = chain .*?pts: (\d+):(\d+):([\d.]+)", text)
        # nanoseconds
        return self.check_steps([int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in stamps], 1)

    def test_clients(self):
        left_out = {}
        with Server("--model", SMALL_MODEL, "-m", "width=%d" % WIDTH, "-m",
                    "height=%d" % HEIGHT) as server, watched(server), Stalls() as stalls:
            begin, waited = time.monotonic(), server.held_up()
            clients = [(ffmpeg, self.check_ffmpeg), (gstreamer, self.check_gstreamer)]
            clients = [(start.__name__ + " " + transport, check, start(server, transport))
                       for start, check in clients for transport in ("tcp", "udp")]
            for name, check, client in clients:
                with self.subTest(client=name):
                    left_out[name] = check(client)
            took, waited = time.monotonic() - begin, server.held_up() - waited
        print("left out: %s; %s, the server's threads waited for %.1f of %.1f s" % (
            left_out, stalls, waited, took), flush=True)
        self.assertLessEqual(max(left_out.values()), excused(RATE, took, stalls, waited), left_out)

    def test_probe(self):
        """What ffprobe says of the default model's video."""
        with Server() as server:
            text = subprocess.run(
                ["ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-show_streams", server.url],
                capture_output=True, text=True, timeout=60, check=True).stdout
        for line in ("codec_name=h264", "profile=Main", "width=256", "height=160",
                     "r_frame_rate=16/1", "pix_fmt=yuv420p", "has_b_frames=0"):
            self.assertIn(line + "\n", text)

    def test_warm(self):
        """Comes, goes, pauses: the video waits, and goes on where it was."""
        with Server("--model", SMALL_MODEL, "-m", "warm=true") as server:
            with Client(server) as client:
                client.play()
                client.play_on(frames=10)
                self.assertEqual(client.ask("PAUSE").status, 200)
                client.play_on(seconds=0.5)
                frames = client.frames
                client.play_on(seconds=1)
                self.assertEqual(client.frames, frames)
                self.assertEqual(client.ask("PLAY").status, 200)
                client.play_on(frames=10)
                self.assertEqual(client.ask("TEARDOWN").status, 200)
            with Client(server) as client:
                self.wait_paused(client)
                client.play()
                client.play_on(frames=10)
            self.assertEqual(server.log().count("from frame 0 on"), 1)

    def test_come_and_go(self):
        """One comes while the other goes, whatever the moment."""
        with Server("--model", SMALL_MODEL) as server:
            for pause in (0, 0, 0, 0.001, 0.01, 0.1, 0.5, 1, 1.1):
                with Client(server) as client:
                    client.play()
                    client.play_on(frames=3)
                time.sleep(pause)

    def check_end(self, *arguments):
        """A video that ends, ends the sessions; the next client gets a new one."""
        with Server("--model", SMALL_MODEL, *arguments) as server:
            for _ in range(2):
                with Client(server) as client:
                    client.play()
                    with self.assertRaises(ConnectionError):
                        client.play_on(seconds=20)
                    self.assertGreaterEqual(client.frames, 15)
                    self.assertLessEqual(client.frames, 20)
            self.assertEqual(server.log().count("from frame 0 on"), 2)
            return server.log()

    def test_end(self):
        self.assertIn("the video has ended", self.check_end("-m", "num-buffers=20"))

    def test_failure(self):
        self.assertIn("/live: error: ", self.check_end("-m", "filter=identity error-after=20"))

    def wait_paused(self, client):
        """After a while, no more is made that nobody sees."""
        end = time.monotonic() + 30
        before, after = None, client.get("stats").values()
        while before != after:
            self.assertLess(time.monotonic(), end, (before, after))
            time.sleep(1.5)
            before, after = after, client.get("stats").values()


if __name__ == "__main__":
    unittest.main(verbosity=2)
