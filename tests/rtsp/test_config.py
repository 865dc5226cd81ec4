"""What is wrong in a file or on the command line is told with its place; what is right holds."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from rig import Client, SERVER, Server, SMALL_MODEL

MOUNT = "[mount /live]\nmodel=%s\n" % SMALL_MODEL


def run(*arguments):
    return subprocess.run([SERVER, *arguments], capture_output=True, text=True, timeout=60)


class Config(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "server.conf")

    def refused(self, text):
        with open(self.path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        done = run("--config", self.path, "--port", "0")
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertGreater(done.returncode, 0, "a signal ended it")
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        return done.stderr

    def test_refused(self):
        cases = [
            ("[server]\nprot=1\n", ": [server] prot: there is no such setting"),
            ("[server]\nmax-clients=none\n", ": [server] max-clients: \"none\" is not a whole"),
            ("[server]\nmax-clients=0\n", ": [server] max-clients: \"0\" is not a whole"),
            ("[server]\naddress=localhost\n", ": [server] address: \"localhost\" is no numeric"),
            ("[server]\ntransports=carrier pigeon\n", ": [server] transports: \"carrier\""),
            ("[server]\nudp-ports=50000\n", ": [server] udp-ports: \"50000\" is no range"),
            ("[server]\nudp-ports=50001-50002\n", ": [server] udp-ports: "),
            ("[server]\nudp-ports=80-90000\n", ": [server] udp-ports: "),
            ("[server]\ntransports=\n", ": [server] transports: it names none"),
            ("[server]\nauth=kerberos\n", ": [server] auth: \"kerberos\""),
            ("[server]\nkey=/x\n", ": [server] certificate: it is missing"),
            ("[server]\ncertificate=/no/such.pem\n", ": [server] certificate: there is no file"),
            ("[server]\ncertificate=%s\n" % SMALL_MODEL, SMALL_MODEL + ": "),
            ("[server]\ncertificate=/etc/passwd\ntransports=udp\n", "would not be encrypted"),
            ("[sever]\n", ": [sever]: there is no such group"),
            ("port=3\n", "server.conf: "),
            ("[server\n", "server.conf: "),
            ("[mount live]\n", ": [mount live]: a mount has a path"),
            ("[mount /]\n", ": [mount /]: a mount has a path"),
            ("[mount /a b]\n", ": [mount /a b]: a mount has a path"),
            ("[mount /a]\n[mount  /a]\n", "there are two mounts"),
            ("[mount /a]\nsead=3\n", ": [mount /a] sead: there is no such setting"),
            ("[mount /a]\nname=3\n", ": [mount /a] name: there is no such setting"),
            ("[mount /a]\nstats=3\n", ": [mount /a] stats: there is no such setting"),
            ("[mount /a]\nis-live=false\n", ": [mount /a] is-live: a video of this server"),
            ("[mount /a]\nseed=red\n", ": [mount /a] seed: \"red\" is not a value"),
            ("[mount /a]\nwidth=100000\n", ": [mount /a] width: \"100000\" is not a value"),
            ("[mount /a]\nbackend=abacus\n", ": [mount /a] backend: \"abacus\" is not a value"),
            ("[mount /a]\nwarm=maybe\n", ": [mount /a] warm: \"maybe\" is neither"),
            ("[mount /a]\nprofile=low\n", ": [mount /a] profile: \"low\" is none of"),
            ("[mount /a]\nspeed=fast ! fakesink\n", ": [mount /a] speed:"),
            ("[mount /a]\nencoder=x264enc\nbitrate=3\n", ": [mount /a] bitrate: this is for"),
            ("[mount /a]\nencoder=nosuchenc\n", "[mount /a] filter or encoder: no element"),
            ("[mount /a]\nencoder=theoraenc\n", "[mount /a] filter or encoder: "),
            ("[mount /a]\nspeed=rapid\n", "[mount /a] filter or encoder: "),
            ("[mount /a]\nmodel=/no/such\n", "[mount /a] "),
            ("[mount /a]\nmodel=%s\n" % __file__, __file__),
            ("[user ]\npassword=x\n", ": [user ]: a user has a name"),
            ("[user a:b]\npassword=x\n", ": [user a:b]: a user has a name"),
            ("[user a]\n", ": [user a] password: it is missing or empty"),
            ("[user a]\npassword=x\nroot=true\n", ": [user a] root: there is no such setting"),
            (b"[mount /a]\nprompt=\xff\xfe\n", "server.conf: "),
        ]
        for text, message in cases:
            with self.subTest(text=text):
                self.assertIn(message, self.refused(text))

    def test_arguments(self):
        for arguments, status, message in (
                (["--config", "/no/such.conf"], 2, "/no/such.conf: "),
                (["--no-such-option"], 2, "no-such-option"),
                (["left-over"], 2, "left-over"),
                (["-m", "seed"], 2, "NAME=VALUE"), (["-m", " =1"], 2, "NAME=VALUE"),
                (["-m", "seed[de]=1"], 2, "NAME=VALUE"),
                (["-s", " port = 70000"], 2, "command line: [server] port: \"70000\""),
                (["-m", "control = maybe"], 2, "[mount /live] control: \"maybe\" is neither"),
                (["--port", "70000"], 2, "command line: [server] port:"),
                (["--model", "/no/such"], 1, "/no/such")):
            with self.subTest(arguments=arguments):
                done = run(*arguments)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(message, done.stderr)
        self.assertEqual(run("--version").returncode, 0)
        text = run("--help").stdout
        for name in ("[server]", "[mount /PATH]", "[user NAME]", "max-clients", "idle-timeout",
                     "transports", "certificate", "realm", "keyframe-interval", "config-interval",
                     "warm", "filter", "SET_PARAMETER", "--config", "--mount", "--server"):
            self.assertIn(name, text)

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            done = run("--port", str(port), "--model", SMALL_MODEL)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot listen on 127.0.0.1, port %d: " % port, done.stderr)

    def test_example(self):
        """The example is right, but for its paths."""
        example = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "pipelines",
                               "rtsp-server.conf.example")
        with open(example, encoding="utf-8") as file:
            text = file.read()
        self.assertIn("[mount /", text)
        with Server("--model", SMALL_MODEL, config=text) as server, Client(server) as client:
            self.assertEqual(client.ask("OPTIONS").status, 200)

    def test_settings_hold(self):
        """Several mounts, each with its own; what comes out has size and profile that were set."""
        config = MOUNT + """prompt=a "quoted" prompt; with = signs
seed=18446744073709551615
width=64
height=48
profile=constrained-baseline
bitrate=300
keyframe-interval=8
config-interval=1
[mount /other/one]
model=%s
filter=videoscale ! video/x-raw,width=320,height=240
encoder=x264enc tune=zerolatency threads=1 speed-preset=ultrafast
profile=any
""" % SMALL_MODEL
        with Server(config=config) as server, Client(server) as client:
            self.assertEqual(client.get("prompt", "seed").values(), {
                "prompt": 'a "quoted" prompt; with = signs', "seed": "18446744073709551615"})
            for path, lines in (("/live", ("width=64", "height=48", "profile=Constrained Baseline")),
                                ("/other/one", ("width=320", "height=240"))):
                text = subprocess.run(
                    ["ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-show_streams",
                     server.url.replace("/live", path)], capture_output=True, text=True,
                    timeout=60, check=True).stdout
                for line in lines:
                    self.assertIn(line + "\n", text)

    def test_signals(self):
        """At any moment: while it loads, too."""
        for delay in (0, 0.02, 0.1, 0.3, 1):
            for number in (signal.SIGINT, signal.SIGTERM):
                process = subprocess.Popen([SERVER, "--port", "0"], stdout=subprocess.PIPE,
                                           stderr=subprocess.PIPE)
                time.sleep(delay)
                process.send_signal(number)
                process.communicate(timeout=20)
                # before the handlers are there, the signal itself ends it
                self.assertIn(process.returncode, (0, -number))
                if delay == 1:
                    self.assertEqual(process.returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
