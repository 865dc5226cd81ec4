"""A server to test, and an RTSP client that can misbehave."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import hashlib
import os
import re
import select
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from served import Served  # noqa: E402

SERVER = os.environ["LF_RTSP_SERVER"]
SMALL_MODEL = os.path.join(os.environ["LF_TEST_DATA"], "small-model.safetensors")
START_SECONDS = 60


class Server(Served):
    """lightforce-rtsp-server, from its line to SIGTERM."""

    def __init__(self, *arguments, config=None, scheme="rtsp", environment=None):
        self.folder = tempfile.mkdtemp(prefix="lightforce-rtsp-")
        command = [SERVER, "--port", "0", *arguments]
        if config is not None:
            command += ["--config", self.write("server.conf", config)]
        self.log_path = os.path.join(self.folder, "log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True,
                                            env=dict(os.environ, **(environment or {})))
        line = self.process.stdout.readline() if self.wait_output() else ""
        self.said = ""  # before that line, where the environment asks for more
        while environment and line and not line.startswith("listening on "):
            self.said += line
            line = self.process.stdout.readline()
        found = re.match(r"listening on (%s://127\.0\.0\.1:(\d+)(/\S+))" % scheme, line)
        if not found:
            self.process.kill()
            raise AssertionError("no address: %r %s" % (line, self.log()))
        self.url, self.port, self.path = found[1], int(found[2]), found[3]

    def wait_output(self):
        return select.select([self.process.stdout], [], [], START_SECONDS)[0]

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def wait_log(self, text, seconds=30):
        end = time.monotonic() + seconds
        while text not in self.log():
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError("the log has no %r: %s" % (text, self.log()))
            time.sleep(0.05)

    def has_thread(self, name):
        """Whether one of its threads has this name."""
        for task in os.listdir("/proc/%d/task" % self.process.pid):
            try:
                with open("/proc/%d/task/%s/comm" % (self.process.pid, task)) as comm:
                    if comm.read() == name + "\n":
                        return True
            except OSError:
                pass
        return False

    def held_up(self):
        """Seconds that its threads were ready to run, and others ran."""
        total = 0
        for task in os.listdir("/proc/%d/task" % self.process.pid):
            try:
                with open("/proc/%d/task/%s/schedstat" % (self.process.pid, task)) as stat:
                    total += int(stat.read().split()[1])
            except OSError:
                pass
        return total / 1e9


def excused(rate, seconds, stalls, waited):
    """How many frames of a test of `seconds` a server cannot be blamed for: those that were due
    while the machine stood still, and, where its threads had to wait for the processor for more
    than a tenth of the time (`waited`, in seconds), while they did."""
    busy = waited > 0.1 * seconds
    return stalls.frames(rate) + (int(waited * rate) if busy else 0)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def values(self):
        return dict(line.split(": ", 1) if ": " in line else (line.rstrip(":"), "")
                    for line in self.body.decode().splitlines())


class Client:
    """Speaks RTSP over TCP. Counts the frames that come interleaved."""

    def __init__(self, server, user=None, password=None, tls=False):
        self.server = server
        self.url = server.url
        self.socket = socket.create_connection(("127.0.0.1", server.port), 30)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self.user, self.password = user, password
        self.data = b""
        self.cseq = 0
        self.session = None
        self.challenge = None
        self.frames = 0        # whole pictures, by the RTP marker
        self.stamps = []       # RTP time of each
        self.times = []        # and when it came
        self.lost = 0          # packets, by sequence number
        self.sequence = None

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def receive(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise ConnectionError("closed by the server")
        self.data += piece

    def take_packet(self):
        """The interleaved packet that is first in what came; FALSE: it is not whole."""
        if len(self.data) < 4:
            return False
        channel, size = self.data[1], struct.unpack(">H", self.data[2:4])[0]
        if len(self.data) < 4 + size:
            return False
        packet, self.data = self.data[4:4 + size], self.data[4 + size:]
        if channel == 0:
            marker, sequence, stamp = struct.unpack(">xBHI", packet[:8])
            if self.sequence is not None:
                self.lost += (sequence - self.sequence - 1) & 0xffff
            self.sequence = sequence
            if marker & 0x80:
                self.frames += 1
                self.stamps.append(stamp)
                self.times.append(time.monotonic())
        return True

    def take_packets(self):
        while self.data[:1] == b"$" and self.take_packet():
            pass

    def steps(self, first=0):
        """From each picture to the next, from number `first` on, in RTP time, which wraps around."""
        return [(after - before) & 0xffffffff
                for before, after in zip(self.stamps[first:], self.stamps[first + 1:])]

    def play_on(self, seconds=None, frames=None):
        """Receives packets for a time, or so many frames."""
        end = time.monotonic() + (seconds or 30)
        goal = None if frames is None else self.frames + frames
        while time.monotonic() < end and (goal is None or self.frames < goal):
            if select.select([self.socket], [], [], 0.1)[0]:
                self.receive()
                self.take_packets()
        assert goal is None or self.frames >= goal, "%d frames of %d came" % (
            frames - goal + self.frames, frames)

    def read_answer(self):
        while True:
            self.take_packets()
            if self.data[:1] not in (b"$", b"") and b"\r\n\r\n" in self.data:
                break
            self.receive()
        head, rest = self.data.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        size = int(headers.get("content-length", 0))
        self.data = rest
        while len(self.data) < size:
            self.receive()
        body, self.data = self.data[:size], self.data[size:]
        return Answer(int(lines[0].split()[1]), headers, body)

    def authorization(self, method, url):
        if self.challenge is None or self.user is None:
            return ""
        if self.challenge.startswith("Basic"):
            import base64
            text = base64.b64encode(("%s:%s" % (self.user, self.password)).encode()).decode()
            return "Authorization: Basic %s\r\n" % text
        realm = re.search('realm="([^"]*)"', self.challenge)[1]
        nonce = re.search('nonce="([^"]*)"', self.challenge)[1]
        md5 = lambda text: hashlib.md5(text.encode()).hexdigest()
        response = md5("%s:%s:%s" % (md5("%s:%s:%s" % (self.user, realm, self.password)), nonce,
                                     md5("%s:%s" % (method, url))))
        return ('Authorization: Digest username="%s", realm="%s", nonce="%s", uri="%s", '
                'response="%s"\r\n' % (self.user, realm, nonce, url, response))

    def send(self, method, url=None, headers="", body=b""):
        self.cseq += 1
        url = url or self.url
        if body:
            headers += "Content-Length: %d\r\n" % len(body)
        if self.session:
            headers += "Session: %s\r\n" % self.session
        headers += self.authorization(method, url)
        self.socket.sendall(("%s %s RTSP/1.0\r\nCSeq: %d\r\n%s\r\n" % (
            method, url, self.cseq, headers)).encode() + body)

    def ask(self, method, url=None, headers="", body=b""):
        self.send(method, url, headers, body)
        answer = self.read_answer()
        if answer.status == 401 and self.user and self.challenge is None:
            self.challenge = answer.headers["www-authenticate"]
            self.send(method, url, headers, body)
            answer = self.read_answer()
        if "session" in answer.headers and answer.status == 200:
            self.session = answer.headers["session"].split(";")[0]
        return answer

    def describe(self):
        return self.ask("DESCRIBE", headers="Accept: application/sdp\r\n")

    def setup(self, transport="RTP/AVP/TCP;unicast;interleaved=0-1"):
        return self.ask("SETUP", self.url + "/stream=0", "Transport: %s\r\n" % transport)

    def play(self):
        for answer in self.describe(), self.setup(), self.ask("PLAY"):
            assert answer.status == 200, answer.status

    def set(self, text):
        body = text if isinstance(text, bytes) else text.encode()
        return self.ask("SET_PARAMETER", headers="Content-Type: text/parameters\r\n", body=body)

    def get(self, *names):
        return self.ask("GET_PARAMETER", headers="Content-Type: text/parameters\r\n",
                        body="\r\n".join(names).encode())

    def number(self, name):
        return int(self.get(name).values()[name])
