"""Passwords, TLS, transports, and the limit on clients."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import re
import subprocess
import tempfile
import time
import unittest

from rig import Client, Server, SMALL_MODEL

USERS = """
[mount /live]
model=%s
[user alice]
password=wonder land
[user bob]
password=builder
control=true
""" % SMALL_MODEL


def play_with_ffmpeg(url, *options):
    return subprocess.run(
        ["ffmpeg", "-v", "error", "-nostdin", *options, "-rtsp_transport", "tcp", "-i", url,
         "-frames:v", "10", "-f", "framecrc", "-"], capture_output=True, text=True, timeout=60)


def play_with_gstreamer(url, *properties):
    return subprocess.run(
        ["gst-launch-1.0", "rtspsrc", "location=" + url, *properties, "!", "rtph264depay", "!",
         "avdec_h264", "!", "identity", "eos-after=10", "!", "fakesink", "sync=false"],
        capture_output=True, text=True, timeout=60)


class Passwords(unittest.TestCase):
    def check(self, scheme, config):
        with Server(config=config) as server:
            for name, password, control, status in (
                    (None, None, 401, 401), ("alice", "builder", 401, 401),
                    ("eve", "wonder land", 401, 401), ("alice", "wonder land", 403, 200),
                    ("bob", "builder", 200, 200)):
                with self.subTest(user=name), Client(server, name, password) as client:
                    self.assertEqual(client.set("prompt: x").status, control)
                    # and again, with what was learned
                    self.assertEqual(client.set("prompt: x").status, control)
                    self.assertEqual(client.get("stats").status, status)
                    self.assertEqual(client.describe().status, status)
                    self.assertEqual(client.setup().status, status)
            with Client(server) as client:
                challenge = client.describe().headers["www-authenticate"]
                self.assertTrue(challenge.startswith(scheme + ' realm="lightforce"'), challenge)
            self.assertNotEqual(play_with_ffmpeg(server.url).returncode, 0)
            for name, good in (("bob:builder", True), ("bob:bilder", False)):
                done = play_with_ffmpeg(server.url.replace("//", "//" + name + "@"))
                self.assertEqual(done.returncode == 0, good, done.stderr)
                done = play_with_gstreamer(server.url, "user-id=bob", "user-pw=" + name[4:])
                self.assertEqual(done.returncode == 0, good, done.stderr)

    def test_digest(self):
        self.check("Digest", USERS)

    def test_basic(self):
        self.check("Basic", "[server]\nauth=basic\n" + USERS)


class Tls(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.key, self.certificate, self.both = (
            os.path.join(folder.name, name) for name in ("key.pem", "cert.pem", "both.pem"))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", self.key, "-out", self.certificate], check=True, capture_output=True)
        with open(self.both, "w", encoding="ascii") as both:
            for path in self.key, self.certificate:
                with open(path, encoding="ascii") as part:
                    both.write(part.read())

    def test_clients(self):
        with Server("--certificate", self.certificate, "--key", self.key, "--model", SMALL_MODEL,
                    scheme="rtsps") as server:
            done = play_with_gstreamer(server.url, "tls-validation-flags=0")
            self.assertEqual(done.returncode, 0, done.stderr)
            # nobody vouches for it
            done = play_with_gstreamer(server.url)
            self.assertNotEqual(done.returncode, 0)
            done = play_with_ffmpeg(server.url)
            self.assertEqual(done.returncode, 0, done.stderr)
            with Client(server, tls=True) as client:
                self.assertEqual(client.describe().status, 200)
                # the video would be in the clear
                self.assertEqual(client.setup("RTP/AVP;unicast;client_port=5000-5001").status, 461)
            with Client(server) as client:
                with self.assertRaises((ConnectionError, ValueError, IndexError)):
                    client.describe()

    def test_one_file_and_password(self):
        config = "[server]\ncertificate=%s\nauth=basic\n%s" % (self.both, USERS)
        with Server(config=config, scheme="rtsps") as server, \
                Client(server, "bob", "builder", tls=True) as client:
            self.assertEqual(client.set("prompt: x").status, 200)
            client.play()
            client.play_on(frames=10)


class Limits(unittest.TestCase):
    def test_clients(self):
        with Server("--max-clients", "2", "--model", SMALL_MODEL) as server:
            with Client(server) as first, Client(server) as second:
                first.play()
                second.play()
                with Client(server) as third:
                    self.assertEqual(third.ask("OPTIONS").status, 503)
                    self.assertEqual(third.describe().status, 503)
                    self.assertEqual(third.set("prompt: x").status, 503)
                    server.wait_log("refused 127.0.0.1:")
                    # and is closed soon
                    with self.assertRaises(ConnectionError):
                        for _ in range(10):
                            time.sleep(1.2)
                            third.ask("OPTIONS")
                            time.sleep(2.5)
                self.assertEqual(first.number("clients"), 2)
                first.play_on(frames=5)
            end = time.monotonic() + 10
            while True:
                with Client(server) as later:
                    if later.ask("OPTIONS").status == 200:
                        later.play()
                        later.play_on(frames=5)
                        break
                self.assertLess(time.monotonic(), end)
                time.sleep(0.1)

    def test_sessions(self):
        """One connection cannot take all sessions."""
        with Server("--model", SMALL_MODEL) as server, Client(server) as client:
            client.describe()
            statuses = []
            for _ in range(6):
                client.session = None
                statuses.append(client.setup().status)
            self.assertEqual(statuses, [200] * 4 + [503] * 2)

    def test_idle(self):
        """Connections that say nothing, or half of it, are closed; sessions that play are not."""
        with Server("-s", "idle-timeout=1", "--model", SMALL_MODEL) as server:
            with Client(server) as player, Client(server) as silent, Client(server) as half:
                player.play()
                half.socket.sendall(b"OPTIONS rtsp://127.0.0.1/live RTSP/1.0\r\nCSeq")
                player.play_on(seconds=4)
                for client in silent, half:
                    with self.assertRaises(ConnectionError):
                        client.receive()
                self.assertGreater(player.frames, 16)

    def test_transports(self):
        with Server("-s", "transports=udp", "--model", SMALL_MODEL) as server, \
                Client(server) as client:
            client.describe()
            self.assertEqual(client.setup().status, 461)
            answer = client.setup("RTP/AVP;unicast;client_port=5000-5001")
            self.assertEqual(answer.status, 200)
            port = int(re.search(r"server_port=(\d+)-", answer.headers["transport"])[1])
            self.assertIn(port, range(50000, 51000, 2))
            # and only on the address that was asked for
            with open("/proc/net/udp", encoding="ascii") as table:
                bound = [line.split()[1] for line in table if ":%04X" % port in line.split()[1]]
            self.assertEqual(bound, ["0100007F:%04X" % port])


if __name__ == "__main__":
    unittest.main(verbosity=2)
