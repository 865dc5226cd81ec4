"""Parameters: what can be asked, what can be set, and that it takes effect."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import re
import unittest

from rig import Client, Server, SMALL_MODEL


class Control(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--model", SMALL_MODEL, "--prompt", "a red ball", "--seed", "7")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        self.client = Client(self.server)
        self.addCleanup(self.client.close)

    def test_restart_and_seed(self):
        client = self.client
        client.play()
        client.play_on(frames=40)
        self.assertGreater(client.number("chunk"), 0)
        self.assertEqual(client.set("restart: true\nseed: 18446744073709551615\n").status, 200)
        self.assertEqual(client.number("seed"), 18446744073709551615)
        client.play_on(frames=4)
        self.assertLess(client.number("chunk"), 2)

    def test_figures(self):
        client = self.client
        client.play()
        client.play_on(frames=16)
        answer = client.get("stats", "late", "clients", "model", "backend", "prompt-switch")
        values = answer.values()
        self.assertEqual(answer.headers["content-type"], "text/parameters")
        self.assertGreaterEqual(int(re.search(r"frames=\(guint64\)(\d+)", values["stats"])[1]), 16)
        self.assertGreaterEqual(int(values["clients"]), 1)
        self.assertEqual(values["model"], SMALL_MODEL)
        self.assertEqual(values["backend"], "auto")
        self.assertGreaterEqual(int(values["late"]), 0)

    def test_refused(self):
        """Status, and who is to blame; nothing is set then."""
        self.client.set("prompt: before\r\nseed: 3")
        cases = [
            ("volume: 11", 451, "volume"),
            ("prompt: after\r\nvolume: 11\r\nbrightness: 3", 451, "volume\r\nbrightness"),
            ("model: /etc/passwd", 458, "model"),
            ("stats: 3", 458, "stats"),
            ("prompt", 400, "prompt: it has no value"),
            ("seed: -1", 400, "seed"),
            ("seed: 18446744073709551616", 400, "seed"),
            ("seed: 12 monkeys", 400, "seed"),
            ("prompt: after\r\nseed: x", 400, "seed"),
            ("prompt-switch: fade", 400, "prompt-switch"),
            ("restart: maybe", 400, "restart"),
            ("prompt: " + "x" * 4097, 400, "prompt: it is longer"),
            ("prompt: a\tb\x07c", 400, "prompt: it has control characters"),
            (b"prompt: \xff\xfe", 400, "UTF-8"),
            (b"prompt: a\0seed: 9", 400, "UTF-8"),
            ("\r\n".join("seed: %d" % i for i in range(65)), 400, "too many"),
            (": x", 451, "(no name)"),
            ("y" * 3000 + ": x", 451, "y" * 64),
        ]
        for text, status, blame in cases:
            with self.subTest(text=text[:40]):
                answer = self.client.set(text)
                self.assertEqual(answer.status, status)
                self.assertIn(blame, answer.body.decode())
                self.assertLess(len(answer.body), 8192)
        self.assertEqual(self.client.get("prompt", "seed").values(),
                         {"prompt": "before", "seed": "3"})

    def test_refused_questions(self):
        answer = self.client.get("prompt", "volume", "restart")
        self.assertEqual(answer.status, 451)
        self.assertEqual(answer.body, b"volume\r\nrestart\r\n")
        for url, status in (("/nothing", 404), ("*", 404), (self.server.path, 200)):
            self.client.url = url if url == "*" else self.server.url.replace(
                self.server.path, url)
            self.assertEqual(self.client.get("prompt").status, status)
        self.assertEqual(self.client.ask("GET_PARAMETER").status, 200)  # a sign of life
        answer = self.client.ask("SET_PARAMETER", headers="Content-Type: text/html\r\n",
                                 body=b"prompt: x")
        self.assertEqual(answer.status, 415)

    def test_too_large(self):
        """A body that is larger than the server reads."""
        self.assertEqual(self.client.set("prompt: " + "x" * 9000).status, 413)
        with Client(self.server) as client:
            self.assertEqual(client.get("prompt").status, 200)


class Alone(unittest.TestCase):
    def test_prompt_takes_effect(self):
        with Server("--model", SMALL_MODEL, "--prompt", "a red ball") as server, \
                Client(server) as client:
            self.check_prompts(server, client)

    def check_prompts(self, server, client):
        # before there is a video, and kept for when there is
        self.assertEqual(client.set("prompt: a green boat\r\n").status, 200)
        self.assertEqual(client.get("prompt").values(), {"prompt": "a green boat"})
        client.play()
        server.wait_log("from frame 0 on: a green boat")
        self.assertEqual(client.set("prompt: ein blaues Schiff, größer\r\n").status, 200)
        self.assertEqual(client.get("prompt").values()["prompt"], "ein blaues Schiff, größer")
        client.play_on(frames=50)
        found = re.search(r"from frame (\d+) on: ein blaues Schiff, größer\n", server.log())
        self.assertTrue(found, server.log())
        self.assertGreater(int(found[1]), 0)
        self.assertIn("prompt-serial=(uint)1", client.get("stats").values()["stats"])

    def test_control_false(self):
        with Server("--model", SMALL_MODEL, "-m", "control=false") as server, \
                Client(server) as client:
            self.assertEqual(client.set("prompt: x").status, 403)
            self.assertEqual(client.get("prompt").status, 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
