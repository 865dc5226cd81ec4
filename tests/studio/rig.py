"""A studio to test, a WebSocket client that can misbehave, and a browser."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import base64
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from served import Served  # noqa: E402

STUDIO = os.environ["LF_STUDIO"]
SMALL_MODEL = os.path.join(os.environ["LF_TEST_DATA"], "small-model.safetensors")
START_SECONDS = 60


class Studio(Served):
    """lightforce-studio, from its line to SIGTERM."""

    STOP_SECONDS = 30
    BAD_WORDS = *Served.BAD_WORDS, "assertion"

    def __init__(self, *arguments, model=SMALL_MODEL, environment=None):
        self.folder = tempfile.mkdtemp(prefix="lightforce-studio-")
        self.output = os.path.join(self.folder, "recordings")
        self.log_path = os.path.join(self.folder, "log")
        command = [STUDIO, "--port", "0", "--output", self.output, *arguments]
        if model:
            command += ["--set", "model=" + model]
        with open(self.log_path, "wb") as log:
            # SIGXFSZ stays ignored: a file that may not grow is like a disk that is full
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True,
                                            restore_signals=False,
                                            env=dict(os.environ, **(environment or {})))
        ready = select.select([self.process.stdout], [], [], START_SECONDS)[0]
        line = self.process.stdout.readline() if ready else ""
        found = re.match(r"listening on (https?://(\S+):(\d+)/(?:#token=(\S+))?)$", line)
        if not found:
            self.process.kill()
            raise AssertionError("no address: %r %s" % (line, self.log()))
        self.url, self.port, self.token = found[1], int(found[3]), found[4]

    def ask(self, path="/", host=None, headers="", method="GET", body=b""):
        """Status, headers and body of one HTTP request."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall((
                "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n" % (
                    method, path, host or "127.0.0.1:%d" % self.port, headers)).encode() + body)
            data = b""
            while piece := connection.recv(65536):
                data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        found = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        return int(lines[0].split()[1]), found, rest


def probe(path):
    """Stream, duration and times of the pictures of a file that FFmpeg reads without a complaint."""
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-show_frames", "-show_streams", "-show_format", "-of", "json", path],
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, (path, done.stderr)
    found = json.loads(done.stdout)
    return (found["streams"][0], float(found["format"]["duration"]),
            [float(frame["pts_time"]) for frame in found["frames"]])


class Refused(Exception):
    """The server answered the handshake with another status."""

    def __init__(self, status):
        super().__init__("status %d" % status)
        self.status = status


class Closed(Exception):
    """The server closed the connection, with this code (None: without one)."""

    def __init__(self, code):
        super().__init__("closed: %s" % code)
        self.code = code


class Client:
    """Speaks the studio's API over a WebSocket connection."""

    def __init__(self, studio, headers=None, query="", host=None, port=None, pongs=True):
        self.pongs = pongs
        self.next_id = 1
        self.data = b""
        self.socket = socket.create_connection(("127.0.0.1", port or studio.port), 30)
        token = studio.token if studio and not query else None
        self.socket.sendall((
            "GET /api%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%s\r\n" % (
                query or ("?token=" + token if token else ""),
                host or "127.0.0.1:%d" % studio.port,
                base64.b64encode(os.urandom(16)).decode(), headers or "")).encode())
        while b"\r\n\r\n" not in self.data:
            self.receive()
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        status = int(head.split()[1])
        if status != 101:
            self.socket.close()
            raise Refused(status)

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends it without an orderly end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def receive(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise Closed(None)
        self.data += piece

    def send_frame(self, opcode, payload, final=True, masked=True, length=None):
        size = len(payload) if length is None else length
        head = bytes([(0x80 if final else 0) | opcode])
        mask = os.urandom(4) if masked else b""
        bit = 0x80 if masked else 0
        if size < 126:
            head += bytes([bit | size])
        elif size < 65536:
            head += bytes([bit | 126]) + struct.pack(">H", size)
        else:
            head += bytes([bit | 127]) + struct.pack(">Q", size)
        if masked:
            whole = (mask * (len(payload) // 4 + 1))[:len(payload)]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(
                len(payload), "big")
        self.socket.sendall(head + mask + payload)

    def send_text(self, text):
        self.send_frame(1, text if isinstance(text, bytes) else text.encode())

    def need(self, count):
        while len(self.data) < count:
            self.receive()
        piece, self.data = self.data[:count], self.data[count:]
        return piece

    def read_frame(self):
        first, second = self.need(2)
        size = second & 0x7f
        if size == 126:
            size = struct.unpack(">H", self.need(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.need(8))[0]
        return first & 0xf, self.need(size)

    def read(self, seconds=30):
        """The next message; pings are answered."""
        self.socket.settimeout(seconds)
        while True:
            opcode, payload = self.read_frame()
            if opcode == 1:
                return json.loads(payload)
            if opcode == 8:
                raise Closed(struct.unpack(">H", payload[:2])[0] if len(payload) > 1 else None)
            if opcode == 9 and self.pongs:
                self.send_frame(10, payload)

    def wait(self, *types, seconds=30, until=None):
        """The next message of one of these types for which `until` holds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            message = self.read(max(0.1, end - time.monotonic()))
            if message["type"] in types and (until is None or until(message)):
                return message
        raise AssertionError("no %s in %g s" % (types, seconds))

    def send(self, **message):
        message = {name.replace("_", "-"): value for name, value in message.items()}
        message["id"] = self.next_id
        self.next_id += 1
        self.send_text(json.dumps(message))
        return message["id"]

    def request(self, **message):
        """The answer to a request."""
        number = self.send(**message)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            answer = self.read()
            if answer.get("id") == number:
                return answer
        raise AssertionError("no answer to %s" % str(message)[:200])


class Browser:
    """Headless Chromium, driven by the DevTools protocol over its pipe."""

    PATH = shutil.which("chromium")

    def __init__(self, width=1280, height=900):
        self.folder = tempfile.mkdtemp(prefix="lightforce-browser-")
        to_browser, from_browser = os.pipe(), os.pipe()
        self.next_id = 1
        self.data = b""
        self.console = []
        self.input, self.output = from_browser[0], to_browser[1]

        def place():
            # both may be 3 or 4 already
            copies = os.dup(to_browser[0]), os.dup(from_browser[1])
            os.dup2(copies[0], 3)
            os.dup2(copies[1], 4)

        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(
                [self.PATH, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-dev-shm-usage", "--disable-extensions", "--mute-audio",
                 "--disable-background-networking", "--disable-component-update",
                 "--remote-debugging-pipe", "--user-data-dir=" + self.folder,
                 "--window-size=%d,%d" % (width, height)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=False,
                preexec_fn=place, start_new_session=True)
        os.close(to_browser[0])
        os.close(from_browser[1])
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call(
            "Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Runtime.enable")
        self.resize(width, height)

    def close(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(30)
        os.close(self.input)
        os.close(self.output)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read(self, seconds):
        end = time.monotonic() + seconds
        while b"\0" not in self.data:
            if not select.select([self.input], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError("the browser does not answer")
            piece = os.read(self.input, 1 << 16)
            if not piece:
                raise AssertionError("the browser has gone")
            self.data += piece
        text, self.data = self.data.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, seconds=60, **parameters):
        number, self.next_id = self.next_id, self.next_id + 1
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.output, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read(seconds)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            if answer.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
                self.console.append(answer["params"])

    def resize(self, width, height, mobile=False, scale=1):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=scale, mobile=mobile)

    def open(self, url):
        self.call("Page.navigate", url=url)

    def evaluate(self, script):
        """The value of an expression, or of the promise that it is."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True,
                           returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script, seconds=30):
        """Until the expression is true."""
        end = time.monotonic() + seconds
        while True:
            value = self.evaluate(script)
            if value:
                return value
            assert time.monotonic() < end, "not in %g s: %s" % (seconds, script)
            time.sleep(0.1)

    def press(self, key, text=None):
        codes = {"Enter": 13, "Escape": 27, "ArrowUp": 38, "ArrowDown": 40, "Tab": 9,
                 "ArrowLeft": 37, "ArrowRight": 39}
        text = "\r" if key == "Enter" else text if text is not None else (
            key if len(key) == 1 else "")
        extra = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key,
                  windowsVirtualKeyCode=codes.get(key, 0), **extra)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key,
                  windowsVirtualKeyCode=codes.get(key, 0))

    def type(self, text):
        self.call("Input.insertText", text=text)
