"""Independent clients play one shared video: GStreamer and FFmpeg, over TCP and UDP."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import re
import subprocess
import time
import unittest

from rig import Client, Server, SMALL_MODEL

FRAMES = 40
WIDTH, HEIGHT = 256, 160
RATE = 16


def ffmpeg(server, transport):
    return subprocess.Popen(
        ["ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", transport, "-i", server.url,
         "-fps_mode", "passthrough", "-enc_time_base", "-1", "-frames:v", str(FRAMES), "-f", "framecrc", "-"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def gstreamer(server, transport):
    return subprocess.Popen(
        ["gst-launch-1.0", "-v", "rtspsrc", "location=" + server.url, "protocols=" + transport,
         "latency=200", "!", "rtph264depay", "!", "avdec_h264", "!", "identity", "name=seen",
         "silent=false", "eos-after=%d" % (FRAMES + 1), "!", "fakesink", "sync=false"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Play(unittest.TestCase):
    def check_steps(self, times, unit):
        """One frame apart, give or take what rounding does, and never back."""
        self.assertGreaterEqual(len(times), FRAMES - 1)
        for before, after in zip(times, times[1:]):
            self.assertGreater(after, before)
        self.assertAlmostEqual((times[-1] - times[0]) / (len(times) - 1) * unit, 1 / RATE,
                               delta=0.25 / RATE)

    def check_ffmpeg(self, client):
        text = client.communicate(timeout=90)[0]
        self.assertEqual(client.returncode, 0, text)
        self.assertIn("#dimensions 0: %dx%d" % (WIDTH, HEIGHT), text)
        base = re.search(r"#tb 0: (\d+)/(\d+)", text)
        rows = [line.split(",") for line in text.splitlines() if re.match(r"\d", line)]
        self.assertEqual(len(rows), FRAMES)
        self.assertEqual({int(row[4]) for row in rows}, {WIDTH * HEIGHT * 3 // 2})
        # FFmpeg gives the first picture the time of the second one
        self.check_steps([int(row[2]) for row in rows[1:]], int(base[1]) / int(base[2]))

    def check_gstreamer(self, client):
        text = client.communicate(timeout=90)[0]
        self.assertEqual(client.returncode, 0, text)
        caps = re.search(r"seen.*caps = video/x-raw.*", text)[0]
        self.assertIn("width=(int)%d, height=(int)%d" % (WIDTH, HEIGHT), caps)
        self.assertIn("framerate=(fraction)%d/1" % RATE, caps)
        stamps = re.findall(r"seen: last-message = chain .*?pts: (\d+):(\d+):([\d.]+)", text)
        self.check_steps([int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in stamps], 1)

    def test_clients(self):
        with Server("--model", SMALL_MODEL, "-m", "width=%d" % WIDTH, "-m",
                    "height=%d" % HEIGHT) as server:
            clients = [(self.check_ffmpeg, ffmpeg(server, "tcp")),
                       (self.check_ffmpeg, ffmpeg(server, "udp")),
                       (self.check_gstreamer, gstreamer(server, "tcp")),
                       (self.check_gstreamer, gstreamer(server, "udp"))]
            for check, client in clients:
                with self.subTest(client=client.args[0] + " " + client.args[5]):
                    check(client)

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
