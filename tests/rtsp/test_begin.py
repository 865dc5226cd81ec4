"""How a video begins: its model is there, and nobody is refused because its first pictures take long."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import re
import select
import signal
import subprocess
import threading
import time
import unittest

from rig import Client, SERVER, Server, SMALL_MODEL

# The library gives up a pipeline that has not begun after 20 s, the server a silent client after 15.
LONG = 21
# 16 chunks of the default model are some seconds of work for two processor cores.
SLOW = "queue-chunks=16"
MODEL_BYTES = os.path.getsize(os.environ["LIGHTFORCE_DEFAULT_MODEL"])
LOADED = re.compile(r"\.safetensors: \d+ parameters, .*, loaded in ")


def is_answered(client):
    return bool(select.select([client.socket], [], [], 0)[0])


def stand_still(process, seconds):
    """What it does takes so much longer, while the clock goes on."""
    process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        process.send_signal(signal.SIGCONT)


class Begin(unittest.TestCase):
    def wait_thread(self, server, there, seconds=60):
        """For a generator to be there or not."""
        end = time.monotonic() + seconds
        while server.has_thread("lightforce") != there:
            self.assertLess(time.monotonic(), end, server.log())
            time.sleep(0.02)

    def test_long(self):
        """A client waits as long as it takes; meanwhile another mount is as quick as ever."""
        config = "[mount /slow]\n%s\n[mount /quick]\nmodel=%s\n" % (SLOW, SMALL_MODEL)
        with Server(config=config) as server, Client(server) as waiting:
            waiting.socket.settimeout(120)
            waiting.send("DESCRIBE", headers="Accept: application/sdp\r\n")
            self.wait_thread(server, True)
            stand_still(server.process, LONG)
            with Client(server) as other:
                other.url = server.url.replace("/slow", "/quick")
                other.play()
                other.play_on(frames=4)
            self.assertFalse(is_answered(waiting), "it was not slow")
            answer = waiting.read_answer()
            self.assertEqual(answer.status, 200, server.log())
            self.assertEqual(waiting.setup().status, 200)
            self.assertEqual(waiting.ask("PLAY").status, 200)
            waiting.play_on(frames=20)

    def test_long_warm(self):
        """A server waits for what is to be warm, too."""
        process = subprocess.Popen([SERVER, "--port", "0", "-m", "warm=true", "-m", SLOW], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   env=dict(os.environ, G_MESSAGES_DEBUG="all"))
        self.addCleanup(process.kill)
        patience = threading.Timer(120, process.kill)
        patience.start()
        self.addCleanup(patience.cancel)
        line = process.stdout.readline()
        while line and not LOADED.search(line):
            line = process.stdout.readline()
        time.sleep(0.3)
        stand_still(process, LONG)
        said = ""
        while line and not line.startswith("listening on "):
            line = process.stdout.readline()
            said += line
        self.assertIn("listening on ", said, process.poll())
        process.terminate()
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0)

    def test_stop(self):
        """SIGTERM ends a server whose client waits."""
        server = Server("-m", SLOW)
        self.addCleanup(server.process.kill)
        with Client(server) as client:
            client.send("DESCRIBE", headers="Accept: application/sdp\r\n")
            self.wait_thread(server, True)
            self.assertLess(server.stop(), 3)

    def test_failure(self):
        """One that cannot begin is refused, and can be tried again: a file that is missing, which
        fails before anything is made, and one that is no picture."""
        for path in "/no/such.png", SMALL_MODEL:
            with self.subTest(path=path), \
                    Server("--model", SMALL_MODEL, "-m", "start-image=" + path) as server, \
                    Client(server) as client:
                for tries in 1, 2:
                    self.assertEqual(client.describe().status, 503)
                    self.assertGreaterEqual(server.log().count("/live: error: "), tries)
                    self.assertEqual(server.log().count("/live: the video did not begin"), tries)

    def test_again(self):
        """A warm video that failed is made again, while the server listens and can be ended."""
        server = Server("-m", "warm=true", "-m", SLOW, "-m", "filter=identity error-after=20")
        self.addCleanup(server.process.kill)
        with Client(server) as client:
            client.play()
            with self.assertRaises(ConnectionError):
                client.play_on(seconds=30)
        self.wait_thread(server, False)
        self.wait_thread(server, True)
        begin = time.monotonic()
        with Client(server) as client:
            self.assertEqual(client.ask("OPTIONS").status, 200)
        self.assertLess(time.monotonic() - begin, 2)
        self.assertLess(server.stop(), 3)


class Loaded(unittest.TestCase):
    def serve(self, mounts):
        """How often the model was loaded before a server of so many mounts listened, and later, while
        clients played each; and its memory at these times, in MiB."""
        config = "".join("[mount /%d]\nprompt=%d red balls\n" % (n, n) for n in range(mounts))
        with Server(config=config, environment={"G_MESSAGES_DEBUG": "all"}) as server:
            memory = [server.memory()]
            for n in range(mounts):
                with Client(server) as client:
                    client.url = server.url.replace("/0", "/%d" % n)
                    client.play()
                    client.play_on(frames=20)
            memory.append(server.memory())
            server.process.terminate()
            later = server.process.stdout.read()
        return len(LOADED.findall(server.said)), len(LOADED.findall(later)), memory

    def test_once(self):
        """However many mounts have it, and before the first client comes."""
        alone, several = self.serve(1), self.serve(3)
        print("MiB with one mount and with three, before and behind clients:", alone[2], several[2])
        for before, later, _ in alone, several:
            self.assertEqual((before, later), (1, 0))
        self.assertLess(several[2][0] - alone[2][0], MODEL_BYTES / 2 ** 20)


if __name__ == "__main__":
    unittest.main(verbosity=2)
