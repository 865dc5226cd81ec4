"""Whatever clients do, and wherever they vanish, the studio goes on and holds no more than before."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import json
import os
import random
import socket
import time
import unittest

import offers
from rig import Client, Closed, Refused, Studio

ROUNDS = 3


class Attack:
    def __init__(self, studio):
        self.studio = studio
        self.random = random.Random(1)

    def send(self, data):
        """Sends and takes what comes; an end by the server is as good."""
        with socket.create_connection(("127.0.0.1", self.studio.port), 10) as connection:
            connection.settimeout(1)
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except OSError:
                pass

    def http(self):
        host = b"Host: 127.0.0.1:%d\r\n" % self.studio.port
        for size in 1, 100, 5000, 200000:
            self.send(self.random.randbytes(size))
        for data in (b"GET / HTTP/9.9\r\n" + host + b"\r\n", b"GET\r\n\r\n", b"\r\n" * 5000,
                     b"\0" * 5000, b"GET / HTTP/1.1\r\n\r\n",
                     b"GET / HTTP/1.1\r\n" + host + host + b"\r\n",
                     b"GET http://[::: HTTP/1.1\r\n" + host + b"\r\n",
                     b"GET /api?token=%00%ff HTTP/1.1\r\n" + host + b"\r\n",
                     b"GET /%zz?%zz=%zz HTTP/1.1\r\n" + host + b"\r\n",
                     b"GET / HTTP/1.1\r\n" + host + b"X: " + b"x" * 1000000 + b"\r\n\r\n",
                     b"GET / HTTP/1.1\r\n" + host
                     + b"".join(b"X-%d: y\r\n" % i for i in range(20000)) + b"\r\n",
                     b"GET /" + b"x" * 1000000 + b" HTTP/1.1\r\n" + host + b"\r\n",
                     b"POST / HTTP/1.1\r\n" + host + b"Content-Length: -1\r\n\r\nx",
                     b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 99999999999999999999\r\n\r\nx",
                     b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                     b"GET /api HTTP/1.1\r\n" + host + b"Upgrade: websocket\r\n\r\n",
                     b"GET /api HTTP/1.1\r\n" + host + b"Upgrade: websocket\r\nConnection: Upgrade"
                     b"\r\nSec-WebSocket-Version: 99\r\nSec-WebSocket-Key: x\r\n\r\n",
                     b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 600):
            self.send(data)

    def frames(self):
        """Bytes after the handshake, and messages that are almost right."""
        for _ in range(20):
            client = Client(self.studio)
            try:
                client.socket.sendall(self.random.randbytes(self.random.randrange(1, 3000)))
            except OSError:
                pass
            client.close()
        good = [json.dumps({"type": "set", "prompt": "a hill", "sparsity": 0.5}),
                json.dumps({"type": "watch", "sdp": offers.GOOD}), json.dumps({"type": "state"})]
        with Client(self.studio) as client:
            for i in range(45):
                text = bytearray(good[i % 3].encode())
                for _ in range(self.random.randrange(1, 8)):
                    text[self.random.randrange(len(text))] = self.random.randrange(32, 127)
                client.send_text(bytes(text))
            client.request(type="state")
        # a message in a thousand pieces
        with Client(self.studio) as client:
            client.send_frame(1, b'{"type":"state","id":77', final=False)
            for _ in range(1000):
                client.send_frame(0, b" ", final=False)
            client.send_frame(0, b"}")
            client.wait("state", until=lambda state: state.get("id") == 77)
            # one that never ends must not be kept
            memory = self.studio.memory()
            client.socket.settimeout(3)
            try:
                client.send_frame(1, b"{", final=False)
                for _ in range(20000):
                    client.send_frame(0, b" " * 10000, final=False)
                raise AssertionError("200 MB were taken")
            except OSError:
                pass
            assert self.studio.memory() - memory < 100, (memory, self.studio.memory())

    def vanish(self):
        """After each step of a normal client's way, by an end and by a reset."""
        steps = [lambda c: c.read(), lambda c: c.request(type="set", prompt="x"),
                 lambda c: c.send(type="watch", sdp=offers.GOOD),
                 lambda c: c.wait("answer"), lambda c: c.request(type="watch", sdp=offers.VP8_ONLY),
                 lambda c: c.send(type="unwatch"), lambda c: c.send(type="watch", sdp=offers.GOOD)]
        for end in Client.close, Client.reset:
            for length in range(len(steps) + 1):
                client = Client(self.studio)
                for step in steps[:length]:
                    step(client)
                end(client)
            # in the middle of the handshake
            with socket.create_connection(("127.0.0.1", self.studio.port)) as connection:
                connection.sendall(b"GET /api HTTP/1.1\r\nHost: 127.0")

    def flood(self):
        """One that floods is dropped; the other's requests are answered meanwhile."""
        with Client(self.studio) as flooder, Client(self.studio) as client:
            frame = json.dumps({"type": "set", "prompt": "x"}).encode()
            data = bytes([0x81, 0x80 | len(frame)]) + b"\0\0\0\0" + frame
            begin = time.monotonic()
            try:
                for _ in range(100):
                    flooder.socket.sendall(data * 100)
            except OSError:
                pass
            answer = client.request(type="state")
            assert answer["type"] == "state"
            assert time.monotonic() - begin < 10
            try:
                while True:
                    flooder.read(10)
            except Closed as closed:
                assert closed.code in (1008, None), closed.code
            except ConnectionError:
                pass

    def crowd(self):
        clients = []
        for _ in range(200):
            try:
                clients.append(Client(self.studio))
            except (Refused, OSError):
                pass
        assert len(clients) <= 16
        for client in clients:
            client.send(type="watch", sdp=offers.GOOD)
        for client in clients[::2]:
            client.close()
        for client in clients[1::2]:
            client.reset()

    def all(self):
        for attack in self.http, self.frames, self.vanish, self.flood, self.crowd:
            begin = time.monotonic()
            attack()
            print("%s: %.1f s" % (attack.__name__, time.monotonic() - begin), flush=True)
            assert self.studio.process.poll() is None, self.studio.log()


class Hostile(unittest.TestCase):
    def normal(self, studio):
        """A normal client is served."""
        end = time.monotonic() + 20
        while True:
            try:
                client = Client(studio)
                break
            except Refused:
                self.assertLess(time.monotonic(), end, "the studio has room for nobody")
                time.sleep(0.1)
        with client:
            self.assertEqual(client.request(type="watch", sdp=offers.GOOD)["type"], "answer")
            chunk = client.wait("chunk")
            client.wait("chunk", until=lambda c: c["frame"] > chunk["frame"])

    def settle(self, studio, files, threads):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            now = studio.files(), studio.threads()
            if now[0] <= files + 2 and now[1] <= threads + 2:
                return
            time.sleep(0.2)
        self.fail("%d files and %d threads, where %d and %d were before" % (*now, files, threads))

    def test_all(self):
        with Studio() as studio:
            self.normal(studio)
            time.sleep(1)
            files, threads = studio.files(), studio.threads()
            memory = []
            for _ in range(int(os.environ.get("LF_STUDIO_ROUNDS", ROUNDS))):
                Attack(studio).all()
                self.normal(studio)
                self.settle(studio, files, threads)
                memory.append(studio.memory())
                print("files %d (%d before), threads %d (%d), memory %.1f MiB" % (
                    studio.files(), files, studio.threads(), threads, memory[-1]), flush=True)
            self.assertLess(memory[-1] - memory[-2], 8, memory)
            self.assertLess(len(studio.log()), 100000)

    def test_silent(self):
        """One that answers no ping is dropped, one that does is not; and who takes nothing."""
        with Studio() as studio:
            with Client(studio) as polite, Client(studio, pongs=False) as silent, \
                    Client(studio) as stuck:
                stuck.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                stuck.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                begin = time.monotonic()
                end = begin + 40
                while time.monotonic() < end:
                    polite.wait("stats")
                    if polite.request(type="state")["clients"] == 1:
                        break
                self.assertLess(time.monotonic(), end, "they are not dropped")
                self.assertGreater(time.monotonic() - begin, 15)
                with self.assertRaises((Closed, ConnectionError)):
                    while True:
                        silent.read(5)

    def test_unread(self):
        """One that asks and asks, and reads no answer, is dropped before it fills the memory."""
        with Studio() as studio:
            with Client(studio) as client:
                for i in range(50):
                    client.request(type="set", prompt="%d " % i + "x" * 4000)
            # what could make sent and received bytes differ is declined
            with Client(studio, "Sec-WebSocket-Extensions: permessage-deflate\r\n") as greedy:
                self.assertEqual(len(greedy.request(type="state")["history"]), 50)
                greedy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                memory = studio.memory()
                end = time.monotonic() + 60
                with self.assertRaises(ConnectionError):
                    while time.monotonic() < end:
                        greedy.send(type="state")
                        time.sleep(0.04)
                self.assertLess(studio.memory() - memory, 80)
            self.normal(studio)



if __name__ == "__main__":
    unittest.main(verbosity=2)
