"""Who may connect, what each message does, and what is refused."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import hashlib
import os
import re
import resource
import select
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import offers
from rig import Client, Closed, Refused, STUDIO, Studio, probe


class Access(unittest.TestCase):
    def refused(self, studio, status, **arguments):
        with self.assertRaises(Refused) as caught:
            Client(studio, **arguments)
        self.assertEqual(caught.exception.status, status, arguments)

    def test_hosts_and_origins(self):
        with Studio("--name", "Studio.example") as studio:
            port = studio.port
            for host, status in (
                    ("127.0.0.1:%d", 200), ("localhost:%d", 200), ("[::1]:%d", 200),
                    ("studio.example:%d", 200), ("STUDIO.example:%d", 200),
                    ("evil.example:%d", 403), ("127.0.0.1", 403),
                    ("127.0.0.1:1", 403), ("127.0.0.1.evil.example:%d", 403), ("10.0.0.1:%d", 403),
                    ("evil.example@127.0.0.1:%d", 403), ("127.0.0.1:%d/", 400), ("", 403)):
                host = host.replace("%d", str(port))
                with self.subTest(host=host):
                    if host:
                        self.assertEqual(studio.ask(host=host)[0], status)
                    if status == 200:
                        Client(studio, host=host, headers="Origin: http://%s\r\n" % host).close()
                    elif host:
                        self.refused(studio, status, host=host)
            for origin in ("http://evil.example", "null", "http://localhost:%d" % port,
                           "https://127.0.0.1:%d" % port, "http://127.0.0.1:%d.evil.example" % port,
                           "http://127.0.0.1:1", "", "file://"):
                with self.subTest(origin=origin):
                    self.refused(studio, 403, headers="Origin: %s\r\n" % origin)

    def test_pages(self):
        with Studio() as studio:
            status, headers, body = studio.ask()
            self.assertEqual(status, 200)
            self.assertIn(b"lightforce studio", body)
            self.assertIn("default-src 'none'", headers["content-security-policy"])
            # nothing comes from elsewhere
            for path in "/", "/studio.js", "/studio.css", "/icon.svg":
                status, headers, body = studio.ask(path)
                self.assertEqual(status, 200, path)
                self.assertEqual(headers["x-content-type-options"], "nosniff")
                for address in re.findall(rb"https?://[^\s\"']+", body):
                    self.assertEqual(address, b"http://www.w3.org/2000/svg")
            self.assertEqual(studio.ask(method="HEAD")[2], b"")
            for path in ("/x", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/studio.js/x",
                         "/api/x", "/" + "x" * 5000):
                self.assertIn(studio.ask(path)[0], (400, 404, 414, 426), path)
            self.assertEqual(studio.ask("/api")[0], 426)
            before = studio.memory()
            for method in "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "FLY":
                try:
                    body = b"x" * 20000000 if method == "POST" else b""
                    head = "Content-Length: %d\r\n" % len(body) if body else ""
                    self.assertGreaterEqual(
                        studio.ask(method=method, headers=head, body=body)[0], 400)
                except ConnectionError:
                    pass
            self.assertLess(studio.memory() - before, 10)

    def test_token(self):
        with Studio("--address", "0.0.0.0", "--media-address", "127.0.0.1") as studio:
            self.assertRegex(studio.token, "^[0-9a-f]{32}$")
            token = studio.token
            self.assertEqual(studio.ask()[0], 200)
            for query in ("?", "?token=", "?token=x", "?token=" + token[:-1],
                          "?token=" + token + "0", "?token=" + "0" * 32, "?token", "?x=" + token):
                self.refused(studio, 401, query=query)
            self.refused(studio, 401, query="?", headers="Authorization: Bearer x\r\n")
            Client(studio, query="?",
                   headers="Authorization: Bearer %s\r\n" % token).close()
            with Client(studio) as client:
                self.assertEqual(client.read()["type"], "state")
            # a name could be pointed here by anyone, an address cannot
            self.assertEqual(studio.ask(host="evil.example:%d" % studio.port)[0], 403)
            self.assertEqual(studio.ask(host="10.1.2.3:%d" % studio.port)[0], 200)

    def test_own_token_and_tls(self):
        import ssl
        with tempfile.TemporaryDirectory() as folder:
            both = os.path.join(folder, "both.pem")
            done = subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                 "/CN=localhost", "-keyout", "-", "-out", "-"], check=True, capture_output=True)
            with open(both, "wb") as file:
                file.write(done.stdout)
            with Studio("--certificate", both,
                        environment={"LIGHTFORCE_STUDIO_TOKEN": "a word & more"}) as studio:
                self.assertEqual(studio.url, "https://127.0.0.1:%d/#token=a%%20word%%20%%26%%20more"
                                 % studio.port)
                context = ssl.create_default_context()
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                for query, status in ("", b"401"), ("?token=a+word+%26+more", b"101"):
                    with socket.create_connection(("127.0.0.1", studio.port)) as plain, \
                            context.wrap_socket(plain) as secure:
                        secure.sendall(("GET /api%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nOrigin: "
                                        "https://127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                                        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                        "Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n\r\n"
                                        % (query, studio.port, studio.port)).encode())
                        self.assertEqual(secure.recv(4096).split()[1], status)

    def test_limit(self):
        with Studio("--max-clients", "2") as studio:
            with Client(studio), Client(studio) as second:
                self.refused(studio, 503)
                second.close()
                end = time.monotonic() + 10
                while True:
                    try:
                        Client(studio).close()
                        break
                    except Refused as refused:
                        self.assertEqual(refused.status, 503)
                        self.assertLess(time.monotonic(), end)
                        time.sleep(0.05)


class Connections(unittest.TestCase):
    """Those that are none of WebSocket's."""

    LIMIT = 256

    def setUp(self):
        self.studio = Studio()
        self.addCleanup(self.studio.stop)

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.studio.port), 30)
        self.addCleanup(connection.close)
        return connection

    def ask(self, connection):
        """A request that leaves the connection open; False: the connection has ended."""
        data = b""
        try:
            connection.sendall(
                b"HEAD / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % self.studio.port)
            while b"\r\n\r\n" not in data:
                piece = connection.recv(4096)
                if not piece:
                    return False
                data += piece
        except ConnectionError:
            return False
        self.assertEqual(data.split()[1], b"200")
        return True

    def ended(self, connection):
        try:
            return connection.recv(4096) == b""
        except ConnectionError:
            return True

    def test_idle(self):
        """Those that ask nothing, half of it, or no more are closed; those that ask are not."""
        with Client(self.studio) as client:
            begin = time.monotonic()
            silent, half, asked, busy = (self.connect() for _ in range(4))
            half.sendall(b"GET / HTTP/1.1\r\nHo")
            self.assertTrue(self.ask(asked))
            waiting = {silent, half, asked}
            while waiting and time.monotonic() < begin + 30:
                self.assertTrue(self.ask(busy))
                self.assertEqual(client.request(type="state")["type"], "state")
                for connection in select.select(list(waiting), [], [], 0.5)[0]:
                    self.assertTrue(self.ended(connection))
                    self.assertGreater(time.monotonic() - begin, 9.9)
                    waiting.remove(connection)
            self.assertFalse(waiting)
            self.assertTrue(self.ask(busy))

    def test_limit(self):
        """So many at most; clients are none of them, and go on."""
        with Client(self.studio) as client:
            begin = time.monotonic()
            connections, answered = [], []
            # (one by one: many at once would not be taken at once)
            for _ in range(self.LIMIT + 1):
                connections.append(self.connect())
                answered.append(self.ask(connections[-1]))
            again = self.ask(connections[0])
            if time.monotonic() - begin > 9:
                self.skipTest("the machine is too busy: the first may have been closed by now")
            self.assertEqual(answered, [True] * self.LIMIT + [False])
            self.assertTrue(again)
            self.assertEqual(client.request(type="state")["type"], "state")
            # those that ask no more make room
            while not self.ask(self.connect()):
                self.assertLess(time.monotonic(), begin + 30, "there is no room for another one")
                time.sleep(0.5)


class CommandLine(unittest.TestCase):
    def test_refused(self):
        for arguments, text in (
                (["--address", "localhost"], "--address: \"localhost\" is no numeric address"),
                (["--media-address", "0.0.0.0"], "--media-address: \"0.0.0.0\""),
                (["--port", "70000"], "--port: 70000"), (["--bitrate", "0"], "--bitrate: 0"),
                (["--max-clients", "0"], "--max-clients: 0"),
                (["--key", "/x"], "--key: there is no --certificate"),
                (["--set", "prompt"], "--set: \"prompt\" has no ="),
                (["--set", "sead=3"], "--set: sead: there is no such setting"),
                (["--set", "seed=red"], "--set: seed: \"red\" is not a value"),
                (["--set", "is-live=false"], "--set: is-live: a video of this server is live"),
                (["stray"], "\"stray\" is no option"), (["--fly"], "Unknown option --fly"),
                (["--set", "model=/no/such/file"], "/no/such/file"),
                (["--certificate", "/no/such.pem"], "/no/such.pem")):
            with self.subTest(arguments=arguments):
                done = subprocess.run([STUDIO, "--port", "0", *arguments], capture_output=True,
                                      text=True, timeout=60)
                self.assertGreater(done.returncode, 0, "a signal ended it")
                self.assertIn(text, done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertEqual(done.stdout, "")


class Messages(unittest.TestCase):
    def test_settings(self):
        with Studio("--set", "prompt=a hill", "--set", "seed=7") as studio, \
                Client(studio) as client, Client(studio) as other:
            state = client.wait("state")
            self.assertEqual((state["prompt"], state["seed"], state["sparsity"]),
                             ("a hill", "7", None))
            self.assertEqual(state["history"], ["a hill"])
            self.assertEqual(state["model"]["name"], "small-model")
            for name, value, kept in (
                    ("prompt", "ein Hügel", None), ("prompt-switch", "blend", None),
                    ("seed", "18446744073709551615", None), ("seed", 12, "12"),
                    ("sparsity", 0.75, None), ("sparsity", 0, None), ("sparsity", None, None),
                    ("attention", "dense", None), ("attention", "auto", None),
                    ("probe-layer", 1, None), ("probe-head", 0, None)):
                self.assertEqual(client.request(type="set", **{name: value})["type"], "ok")
                state = client.request(type="state")
                self.assertEqual(state[name], value if kept is None else kept)
            # all who are there are told
            other.wait("state", until=lambda s: s["probe-layer"] == 1)
            self.assertEqual(client.request(type="state")["history"], ["ein Hügel", "a hill"])

    def test_refused(self):
        with Studio() as studio, Client(studio) as client:
            for members, text in (
                    ({"prompt": 3}, "prompt: it is a string"),
                    ({"prompt": "x" * 4097}, "prompt: it is longer than 4096 bytes"),
                    ({"prompt": "a\nb"}, "prompt: it has control characters"),
                    ({"prompt": None}, "prompt: it is a string"),
                    ({"prompt-switch": "hop"}, "prompt-switch: it is one of"),
                    ({"prompt-switch": 1}, "prompt-switch: it is one of"),
                    ({"seed": -1}, "seed: it is a whole"), ({"seed": 1.5}, "seed: it is a whole"),
                    ({"seed": "18446744073709551616"}, "seed: it is a whole"),
                    ({"seed": "0x1"}, "seed: it is a whole"), ({"seed": []}, "seed: it is a whole"),
                    ({"sparsity": 1}, "sparsity: it is a number"),
                    ({"sparsity": -0.1}, "sparsity: it is a number"),
                    ({"sparsity": "0.5"}, "sparsity: it is a number"),
                    ({"sparsity": {}}, "sparsity: it is a number"),
                    ({"probe-layer": 2}, "probe-layer: it is the number"),
                    ({"probe-layer": -2}, "probe-layer: it is the number"),
                    ({"probe-head": 1}, "probe-head: it is the number"),
                    ({"restart": False}, "restart: it is true"),
                    ({"model": "/etc/passwd"}, "model: there is no such setting"),
                    ({"x" * 1000: 1}, "x" * 64 + ": there is no such setting"),
                    ({"prompt": "taken", "seed": -1}, "seed: it is a whole")):
                answer = client.request(type="set", **members)
                self.assertEqual(answer["type"], "error", members)
                self.assertEqual(answer["code"], "bad-value")
                self.assertTrue(answer["message"].startswith(text), answer)
            # none of it was set
            state = client.request(type="state")
            self.assertEqual((state["prompt"], state["seed"], state["history"]), ("", "0", []))
            for message, text in (({"type": "record"}, "on: it is"),
                                  ({"type": "record", "on": 1}, "on: it is"),
                                  ({"type": "record", "on": True, "format": "avi"}, "format: it is"),
                                  ({"type": "watch"}, "sdp: it is a string"),
                                  ({"type": "watch", "sdp": 3}, "sdp: it is a string")):
                answer = client.request(**message)
                self.assertEqual(answer["code"], "bad-value")
                self.assertTrue(answer["message"].startswith(text), answer)

    def test_garbage(self):
        with Studio() as studio, Client(studio) as client:
            for text, code in (
                    ("", "bad-json"), ("x", "bad-json"), ("{", "bad-json"), ("[]", "bad-json"),
                    ("null", "bad-json"), ("{}", "bad-type"), ("{}{}", "bad-type"),
                    ('{"type":"set","type":"set"}', "bad-json"), ('{"type":1}', "bad-type"),
                    ('{"type":null}', "bad-type"), ('{"type":["set"]}', "bad-type"),
                    ('{"type":"fly"}', "bad-type"), ("[" * 30000, "bad-json"),
                    ('{"a":' * 6000, "bad-json"), ('{"type":"set"', "bad-json"),
                    ('{"type":"state","id":{}}', "bad-value"),
                    ('{"type":"state","id":"%s"}' % ("x" * 65), "bad-value"),
                    ('{"type":"set","seed":%s}' % ("9" * 40), "bad-json"),
                    ('{"type":"set","sparsity":1e999}', "bad-value"),
                    ('{"type":"set","prompt":"\\u0000"}', None),
                    ('{"type":"set","prompt":"a\\ud800b"}', "bad-json"),
                    ('{"type":"state","id":"\\ud800"}', "bad-json"), ("'" * 100, "bad-json"),
                    ("/* */{}", "bad-json"), ('{"type":"set","prompt":"a\u0007b"}', None)):
                client.send_text(text)
                answer = client.wait("error", "ok")
                if code:
                    self.assertEqual(answer.get("code"), code, (text[:60], answer))
                self.assertLess(len(answer.get("message", "")), 1000)
                time.sleep(0.05)  # below the limit of messages
            client.send_frame(2, b"\xff\xfe{}")
            self.assertEqual(client.wait("error")["code"], "bad-json")
            self.assertEqual(client.request(type="state")["type"], "state")
            # what breaks WebSocket's own rules closes the connection
            for opcode, payload, options in (
                    (1, b"\xff\xff", {}), (1, b"{}", {"masked": False}), (3, b"", {}),
                    (11, b"x", {}), (9, b"x" * 200, {}), (0, b"{}", {}), (8, b"\x03", {}),
                    (1, b"x" * 40000, {}), (1, b"x", {"length": 1 << 62}),
                    (1, b"x", {"length": (1 << 64) - 1})):
                with self.subTest(opcode=opcode, size=len(payload)), Client(studio) as bad:
                    bad.send_frame(opcode, payload, **options)
                    with self.assertRaises((Closed, ConnectionError)):
                        while True:
                            bad.read(10)
            self.assertEqual(client.request(type="state")["type"], "state")

    def test_prompt_in_time(self):
        """The promise: a prompt shows within state's prompt-chunks chunks."""
        with Studio() as studio, Client(studio) as client:
            promised = client.wait("state")["prompt-chunks"]
            self.assertEqual(promised, 4)
            for i in range(2):
                # (the latest that is told of before the studio has the prompt)
                chunk = client.wait("chunk", until=lambda c: c["chunk"] >= 3)
                client.send(type="set", prompt="number %d" % i)
                while (told := client.wait("chunk", "ok"))["type"] == "chunk":
                    chunk = told
                told = client.wait("prompt")
                self.assertEqual(told["prompt"], "number %d" % i)
                shown = client.wait("chunk", until=lambda c: c["serial"] == told["serial"])
                self.assertEqual(shown["frame"], told["frame"])
                self.assertLessEqual(shown["chunk"] - chunk["chunk"], promised)

    def test_chunks(self):
        """Each is told of, with what the probe finds; a restart begins again."""
        with Studio() as studio, Client(studio) as client:
            client.request(type="set", probe_layer=1, probe_head=0, sparsity=0.75)
            chunk = client.wait("chunk", until=lambda c: c["selection"])
            following = client.wait("chunk")
            self.assertEqual(following["chunk"], chunk["chunk"] + 1)
            # (more where a busy machine held up the source, which then leaves frames out)
            self.assertGreaterEqual(following["frame"], chunk["frame"] + chunk["pictures"])
            self.assertGreater(following["made-us"], 0)
            selection = following["selection"]
            self.assertEqual((selection["layer"], selection["head"]), (1, 0))
            self.assertEqual(len(selection["frames"]), len(selection["shares"]))
            self.assertEqual(selection["frames"], sorted(set(selection["frames"])))
            self.assertTrue(all(0 <= share <= 1 for share in selection["shares"]))
            self.assertEqual(len(selection["frames"]) - selection["past"], 3)
            client.request(type="set", seed="5", restart=True)
            again = client.wait("chunk", until=lambda c: c["seed"] == "5")
            self.assertEqual(again["chunk"], 0)
            self.assertIsNone(again["selection"])
            stats = client.wait("stats")
            self.assertGreater(stats["shown"], 0)


class Watching(unittest.TestCase):
    def test_offers(self):
        with Studio() as studio, Client(studio) as client:
            for sdp, text in offers.BAD:
                answer = client.request(type="watch", sdp=sdp)
                self.assertEqual(answer["type"], "error", sdp)
                self.assertEqual(answer["code"], "bad-offer")
                self.assertIn(text, answer["message"], sdp)
                time.sleep(0.05)
            for sdp, codec in (offers.GOOD, "H264"), (offers.VP8_ONLY, "VP8"):
                answer = client.request(type="watch", sdp=sdp)
                self.assertEqual(answer["type"], "answer", answer)
                self.assertEqual(answer["codec"], codec)
                self.assertIn("a=sendonly", answer["sdp"])
                self.assertIn("%s/90000" % codec, answer["sdp"])
                # of this machine only, as the page is
                candidates = re.findall(r"a=candidate:\S+ \d \S+ \d+ (\S+) ", answer["sdp"])
                self.assertTrue(candidates)
                self.assertEqual(set(candidates), {"127.0.0.1"})
            self.assertEqual(client.request(type="state")["viewers"], 1)
            self.assertEqual(client.request(type="unwatch")["type"], "ok")
            self.assertEqual(client.request(type="state")["viewers"], 0)

    def test_candidates(self):
        """Nothing is sent to an address because an offer names it."""
        with Studio() as studio, Client(studio) as client, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as named:
            named.bind(("127.0.0.1", 0))
            named.settimeout(3)
            sdp = offers.with_candidates(named.getsockname()[1])
            answer = client.request(type="watch", sdp=sdp)
            self.assertEqual(answer["type"], "answer", answer)
            with self.assertRaises(TimeoutError):
                named.recv(2000)


class Recording(unittest.TestCase):
    def check(self, path, frames):
        stream, duration, times = probe(path)
        self.assertEqual((stream["codec_name"], stream["width"]), ("h264", 96))
        self.assertGreaterEqual(len(times), frames)
        self.assertAlmostEqual(duration, times[-1] + 1 / 16, delta=0.2)
        self.assertLess(times[0], 0.1)
        # every 1/16 s, but where a busy machine held it up
        for step in (16 * (b - a) for a, b in zip(times, times[1:])):
            self.assertGreater(step, 0.9)
            self.assertAlmostEqual(step, round(step), delta=0.1)

    def test_formats(self):
        with Studio() as studio, Client(studio) as client:
            for form in "mp4", "mkv", "mp4":
                chunk = client.wait("chunk")
                answer = client.request(type="record", on=True, format=form)
                self.assertEqual(answer["type"], "ok", answer)
                state = client.request(type="state")
                self.assertTrue(state["recording"].startswith(studio.output))
                self.assertTrue(state["recording"].endswith("." + form))
                answer = client.request(type="record", on=True)
                self.assertEqual(answer["code"], "recording")
                client.wait("chunk", until=lambda c: c["frame"] >= chunk["frame"] + 24)
                client.request(type="record", on=False)
                done = client.wait("recorded")
                self.assertIsNone(done["error"])
                self.assertEqual(done["path"], state["recording"])
                self.assertEqual(done["bytes"], os.path.getsize(done["path"]))
                self.check(done["path"], 10)
            self.assertIsNone(client.request(type="state")["recording"])
            self.assertEqual(len(os.listdir(studio.output)), 3)
            # an end before the first picture is told of, too
            client.request(type="record", on=True)
            client.request(type="record", on=False)
            client.wait("recorded")
            self.assertEqual(client.request(type="record", on=False)["type"], "ok")

    def test_comment(self):
        """Files of both kinds have the hash of each prompt that was set while they were made."""
        with Studio("--set", "prompt=one") as studio, Client(studio) as client:
            prompts = ["one"]
            for form, prompt in ("mp4", "two"), ("mkv", "three"):
                prompts.append(prompt)
                frame = client.wait("chunk")["frame"]
                client.request(type="record", on=True, format=form)
                client.wait("chunk", until=lambda c: c["frame"] >= frame + 24)
                client.request(type="set", prompt=prompt)
                frame = client.wait("prompt", until=lambda p: p["prompt"] == prompt)["frame"]
                client.wait("chunk", until=lambda c: c["frame"] >= frame + 24)
                client.request(type="record", on=False)
                tags = subprocess.run(
                    ["ffprobe", "-v", "error", "-show_entries", "format_tags:stream_tags",
                     client.wait("recorded")["path"]], capture_output=True, text=True, check=True)
                self.assertEqual(  # Matroska's are quoted
                    re.findall(r"lightforce-prompt-sha256\\?=(\w+)", tags.stdout),
                    [hashlib.sha256(text.encode()).hexdigest() for text in prompts], tags.stdout)

    def test_signal(self):
        """A recording is complete when a signal ends the studio."""
        # the test may have been begun by nohup, which the studio would take for a wish
        self.addCleanup(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_DFL))
        for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP:
            with self.subTest(number.name), tempfile.TemporaryDirectory() as folder:
                with Studio("--output", folder) as studio, Client(studio) as client:
                    client.request(type="record", on=True)
                    path = client.request(type="state")["recording"]
                    frame = client.wait("chunk")["frame"]
                    client.wait("chunk", until=lambda c: c["frame"] >= frame + 24)
                    studio.process.send_signal(number)
                    studio.process.wait(Studio.STOP_SECONDS)
                self.check(path, 16)

    def test_full_disk(self):
        """A recording that fails is told of, and ends nothing but itself."""
        with Studio("--bitrate", "8000") as studio, Client(studio) as client:
            limit = resource.prlimit(studio.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(studio.process.pid, resource.RLIMIT_FSIZE, (30000, limit[1]))
            for form in "mp4", "mkv", "mp4", "mkv":
                self.assertEqual(client.request(type="record", on=True, format=form)["type"], "ok")
                self.assertTrue(client.wait("recorded", "ended", seconds=60)["error"])
                frame = client.wait("chunk")["frame"]
                client.wait("chunk", until=lambda c: c["frame"] >= frame + 24)
            # the encoder, too, goes on
            self.assertEqual(client.request(type="watch", sdp=offers.GOOD)["type"], "answer")
            resource.prlimit(studio.process.pid, resource.RLIMIT_FSIZE, limit)
            client.request(type="record", on=True)
            frame = client.wait("chunk")["frame"]
            client.wait("chunk", until=lambda c: c["frame"] >= frame + 24)
            client.request(type="record", on=False)
            done = client.wait("recorded")
            self.assertIsNone(done["error"])
            self.check(done["path"], 10)

    def test_name(self):
        """A folder whose name is not UTF-8 keeps nobody from getting messages."""
        with tempfile.TemporaryDirectory() as folder, \
                Studio("--output", os.fsdecode(os.fsencode(folder) + b"/caf\xe9")) as studio, \
                Client(studio) as client:
            client.request(type="record", on=True)
            self.assertIn("/caf\ufffd/", client.request(type="state")["recording"])
            frame = client.wait("chunk")["frame"]
            client.wait("chunk", until=lambda c: c["frame"] >= frame + 24)
            client.request(type="record", on=False)
            done = client.wait("recorded")
            self.assertIsNone(done["error"])
            (name,) = os.listdir(os.fsencode(folder) + b"/caf\xe9")
            self.assertTrue(done["path"].endswith("/caf\ufffd/" + name.decode()))

    def test_impossible(self):
        with tempfile.NamedTemporaryFile() as file, \
                Studio("--output", file.name + "/x") as studio, Client(studio) as client:
            answer = client.request(type="record", on=True)
            self.assertEqual(answer["code"], "recording")
            self.assertIn(file.name, answer["message"])
            client.wait("chunk")


if __name__ == "__main__":
    unittest.main(verbosity=2)
