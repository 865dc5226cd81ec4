"""Clients that lie, flood and vanish at every stage; behind them, nothing is left of it.

Tolerances: file descriptors and threads are back to what they were, within 2 (a pipeline that is
paused may have had a thread more or less of GLib's pool); resident memory grows by less than 8 MiB
from the second round of all attacks to the third, the first two being for what is allocated once.
A normal client misses less than a second of its video, where the machine did not stand still."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import random
import socket
import struct
import time
import unittest

from rig import Client, Server, SMALL_MODEL, excused
from served import Stalls

ROUNDS = 3
CONNECTIONS = 200
RATE = 16
FRAME = 90000 // RATE  # of RTP time


def hard_close(client):
    """With a reset in place of an orderly end."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


class Attack:
    def __init__(self, server):
        self.server = server
        self.random = random.Random(1)

    def send(self, data, answers=True):
        """Sends and takes what comes; an end by the server is as good."""
        with Client(self.server) as client:
            client.socket.settimeout(3)
            try:
                client.socket.sendall(data)
                client.socket.shutdown(socket.SHUT_WR)
                while answers and client.socket.recv(65536):
                    pass
            except OSError:
                pass

    def garbage(self):
        for size in (1, 4, 100, 5000, 200000):
            self.send(self.random.randbytes(size))
        self.send(b"\0" * 5000)
        self.send(b"\r\n" * 5000)
        self.send(b"$" * 70000)
        self.send(b"$\0\xff\xff" + b"x" * 10)
        self.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 600)  # TLS

    def lies(self):
        url = self.server.url.encode()
        for text in (
                b"PLAY %s RTSP/9.9\r\nCSeq: 1\r\n\r\n" % url,
                b"PLAY %s HTTP/1.1\r\nCSeq: 1\r\n\r\n" % url,
                b"FLY %s RTSP/1.0\r\nCSeq: 1\r\n\r\n" % url,
                b"REDIRECT %s RTSP/1.0\r\nCSeq: 1\r\n\r\n" % url,
                b"DESCRIBE %s RTSP/1.0\r\n\r\n" % url,
                b"DESCRIBE  RTSP/1.0\r\nCSeq: 1\r\n\r\n",
                b"DESCRIBE rtsp:// RTSP/1.0\r\nCSeq: 1\r\n\r\n",
                b"DESCRIBE rtsp://[::: RTSP/1.0\r\nCSeq: 1\r\n\r\n",
                b"DESCRIBE http://127.0.0.1/live RTSP/1.0\r\nCSeq: 1\r\n\r\n",
                b"DESCRIBE %s/%%00%%2e%%2e/../../etc/passwd RTSP/1.0\r\nCSeq: 1\r\n\r\n" % url,
                b"DESCRIBE %s?%s RTSP/1.0\r\nCSeq: 1\r\n\r\n" % (url, b"q" * 3000),
                b"DESCRIBE * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
                b"SETUP * RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP\r\n\r\n",
                b"SETUP %s RTSP/1.0\r\nCSeq: 1\r\n\r\n" % url,
                b"SETUP %s/stream=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: x;y;;=;\r\n\r\n" % url,
                b"SETUP %s/stream=99999999999 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP\r\n\r\n"
                % url,
                b"SETUP %s/stream=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP;unicast;"
                b"interleaved=-1-999\r\n\r\n" % url,
                b"SETUP %s/stream=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;unicast;"
                b"client_port=0-0\r\n\r\n" % url,
                b"SETUP %s/stream=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;multicast\r\n\r\n"
                % url,
                b"PLAY %s RTSP/1.0\r\nCSeq: 1\r\nSession: 0123\r\n\r\n" % url,
                b"ANNOUNCE %s RTSP/1.0\r\nCSeq: 1\r\nContent-Type: application/sdp\r\n"
                b"Content-Length: 5\r\n\r\nv=0\r\n" % url,
                b"RECORD %s RTSP/1.0\r\nCSeq: 1\r\n\r\n" % url,
                b"SET_PARAMETER %s RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -5\r\n\r\nhello" % url,
                b"SET_PARAMETER %s RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999999999999999999"
                b"\r\n\r\nhello" % url,
                b"SET_PARAMETER %s RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 2147483647\r\n\r\nhello"
                % url,
                b"SET_PARAMETER %s RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 100\r\n\r\nprompt: a"
                % url,
                b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n",
                b"OPTIONS %s RTSP/1.0\r\nCSeq: 1\r\nRequire: %s\r\n\r\n" % (url, b"a," * 1000),
                b"GET %s HTTP/1.0\r\nx-sessioncookie: abc\r\n\r\n" % self.server.path.encode(),
                b"POST %s HTTP/1.0\r\nx-sessioncookie: abc\r\n\r\nxxxx" % self.server.path.encode(),
        ):
            self.send(text)

    def huge(self):
        url = self.server.url.encode()
        head = b"OPTIONS %s RTSP/1.0\r\nCSeq: 1\r\n" % url
        self.send(b"OPTIONS rtsp://127.0.0.1/%s RTSP/1.0\r\nCSeq: 1\r\n\r\n" % (b"x" * 1000000))
        self.send(head + b"X: " + b"x" * 1000000 + b"\r\n\r\n")
        self.send(head + b"".join(b"X-%d: y\r\n" % i for i in range(20000)) + b"\r\n")
        self.send(b"SET_PARAMETER %s RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 1000000\r\n\r\n" % url
                  + b"x" * 1000000)
        self.send((head + b"\r\n") * 2000)

    def vanish(self):
        """After each step of a normal client's way, by an end and by a reset."""
        steps = [Client.describe, Client.setup, lambda c: c.ask("PLAY"),
                 lambda c: c.play_on(frames=2), lambda c: c.ask("PAUSE"),
                 lambda c: c.ask("PLAY"), lambda c: c.send("TEARDOWN"), Client.read_answer]
        for close in Client.close, hard_close:
            for length in range(len(steps) + 1):
                client = Client(self.server)
                for step in steps[:length]:
                    step(client)
                close(client)
            # requests that are cut off
            for name in "OPTIONS", "DESCRIBE", "SETUP", "PLAY":
                client = Client(self.server)
                client.socket.sendall(("%s %s RTS" % (name, self.server.url)).encode())
                close(client)
            # over UDP the session outlives its connection, until its timeout
            client = Client(self.server)
            client.describe()
            client.setup("RTP/AVP;unicast;client_port=5000-5001")
            client.ask("PLAY")
            close(client)
            # one that goes while it is answered
            for _ in range(5):
                client = Client(self.server)
                client.send("DESCRIBE")
                close(client)

    def out_of_order(self):
        with Client(self.server) as client:
            for ask in (lambda: client.ask("PLAY"), lambda: client.ask("PAUSE"),
                        lambda: client.ask("TEARDOWN"), client.setup, client.setup,
                        lambda: client.ask("PAUSE"), lambda: client.ask("PLAY"),
                        lambda: client.ask("PLAY"), client.describe, client.setup,
                        lambda: client.ask("TEARDOWN"), lambda: client.ask("PLAY")):
                ask()

    def stolen_session(self):
        """A second connection ends the first one's session in the middle."""
        with Client(self.server) as first, Client(self.server) as second:
            first.play()
            second.session = first.session
            second.ask("TEARDOWN")
            try:
                first.play_on(seconds=0.3)
                first.ask("PLAY")
            except ConnectionError:
                pass

    def interleaved_garbage(self):
        """What a receiver may send back: reports, and worse."""
        with Client(self.server) as client:
            client.play()
            for channel in 0, 1, 2, 255:
                for size in 0, 1, 8, 1000, 60000:
                    client.socket.sendall(struct.pack(">BBH", 0x24, channel, size)
                                          + self.random.randbytes(size))
            client.play_on(frames=3)

    def stops_reading(self):
        """Asks for the video and does not take it; the others must get theirs."""
        with Client(self.server) as stuck, Client(self.server) as client:
            stuck.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.play()
            client.play()
            client.play_on(frames=24)

    def flood(self):
        clients = []
        for _ in range(CONNECTIONS):
            try:
                clients.append(Client(self.server))
            except OSError:
                pass
        for client in clients[::2]:
            try:
                client.send("DESCRIBE")
            except OSError:
                pass
        for client in clients:
            client.close()
        for _ in range(CONNECTIONS):
            Client(self.server).close()

    def all(self):
        for attack in (self.garbage, self.lies, self.huge, self.vanish, self.out_of_order,
                       self.stolen_session, self.interleaved_garbage, self.stops_reading,
                       self.flood):
            begin = time.monotonic()
            attack()
            print("%s: %.1f s" % (attack.__name__, time.monotonic() - begin), flush=True)
            assert self.server.process.poll() is None, self.server.log()


class Hostile(unittest.TestCase):
    def normal(self, server):
        """A normal client plays; returns once the server is at rest, paused."""
        end = time.monotonic() + 30
        while True:
            with Client(server) as client:
                if client.ask("OPTIONS").status == 200:
                    break
            self.assertLess(time.monotonic(), end, "the server has room for nobody")
            time.sleep(0.2)
        with Stalls() as stalls, Client(server) as client:
            begin, waited = time.monotonic(), server.held_up()
            client.play()
            client.play_on(frames=RATE)
            took, waited = time.monotonic() - begin, server.held_up() - waited
            self.assertEqual(client.ask("TEARDOWN").status, 200)
        steps = client.steps()
        seen = "%s, %s, %s; the server's threads waited for %.1f of %.1f s: %s" % (
            steps, [round(t - begin, 3) for t in client.times], stalls, waited, took, server.log())
        self.assertEqual(client.lost, 0, seen)
        self.assertEqual({step % FRAME for step in steps}, {0}, seen)
        self.assertGreater(min(steps), 0, seen)
        left_out = sum(steps) // FRAME - len(steps)
        self.assertLess(left_out, RATE - 1 + excused(RATE, took, stalls, waited), seen)

    def settle(self, server, files, threads):
        """Sessions of those who vanished are given up after the timeout."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            now = server.files(), server.threads()
            if now[0] <= files + 2 and now[1] <= threads + 2:
                return
            time.sleep(0.5)
        self.fail("%d files and %d threads, where %d and %d were before" % (
            *now, files, threads))

    def test_all(self):
        with Server("--model", SMALL_MODEL, "--max-clients", "30", "-s", "timeout=5", "-s",
                    "idle-timeout=2", "-m", "warm=true") as server:
            # the pipeline keeps sockets and threads for UDP from its first client over UDP on
            with Client(server) as client:
                client.describe()
                client.setup("RTP/AVP;unicast;client_port=5000-5001")
                client.ask("PLAY")
                client.ask("TEARDOWN")
            self.normal(server)
            time.sleep(2)
            files, threads = server.files(), server.threads()
            memory = []
            for _ in range(int(os.environ.get("LF_RTSP_ROUNDS", ROUNDS))):
                Attack(server).all()
                self.normal(server)
                self.settle(server, files, threads)
                memory.append(server.memory())
                print("files %d (%d before), threads %d (%d), memory %.1f MiB" % (
                    server.files(), files, server.threads(), threads, memory[-1]), flush=True)
            self.assertLess(memory[-1] - memory[-2], 8, memory)
            self.assertLess(len(server.log()), 200000)

    def test_nowhere(self):
        """A warning with each packet, of one that cannot be sent, does not fill the log."""
        with Server("--model", SMALL_MODEL) as server, Client(server) as nowhere, \
                Client(server) as client:
            nowhere.describe()
            self.assertEqual(nowhere.setup("RTP/AVP;unicast;client_port=0-0").status, 200)
            self.assertEqual(nowhere.ask("PLAY").status, 200)
            client.play()
            client.play_on(frames=48)
            self.assertEqual(server.log().count(": warning: "), 1, server.log()[-1000:])


if __name__ == "__main__":
    unittest.main(verbosity=2)
