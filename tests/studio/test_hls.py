"""The page of hls.sh in a browser, with a playlist that comes late."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import functools
import http.server
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

from rig import Browser

if Browser.PATH is None:
    print("SKIP: chromium is not installed (Debian package chromium)")
    sys.exit(77)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NOTE = "document.getElementById('note')?.textContent"
VIDEO = "document.getElementById('video')"
HLS = "'application/vnd.apple.mpegurl'"
# in place of hls.js: tells what it was asked for
SCRIPT = """window.Hls = class {
  static Events = {ERROR: "hlsError"};
  static isSupported() { return true; }
  constructor() { window.player = this; }
  on(name, handler) { this.name = name; this.handler = handler; }
  loadSource(source) { this.source = source; }
  attachMedia(media) { this.media = media; }
};
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Page(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="lightforce-hls-")
        self.addCleanup(shutil.rmtree, self.folder)
        shutil.copy(os.path.join(ROOT, "pipelines", "hls.html"),
                    os.path.join(self.folder, "index.html"))
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=self.folder))
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = "http://127.0.0.1:%d/" % server.server_port
        self.browser = Browser()
        self.addCleanup(self.browser.close)

    def write(self, name, text):
        # (as a whole: the page may ask at any time)
        path = os.path.join(self.folder, name)
        with open(path + ".part", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(path + ".part", path)

    def open_and_wait(self, answer=None):
        """The page, and the playlist once the page says that it waits; `answer` is what the browser
        is to say of HLS."""
        if answer is not None:
            self.browser.call("Page.addScriptToEvaluateOnNewDocument",
                              source="HTMLMediaElement.prototype.canPlayType = () => '%s'" % answer)
        self.browser.open(self.url)
        self.browser.wait(NOTE + " === 'Waiting for the first pictures.'")
        self.assertEqual(self.browser.evaluate(VIDEO + ".src"), "")
        self.write("video.m3u8", "#EXTM3U\n")

    def check_console(self):
        self.browser.evaluate("0")
        self.assertFalse(self.browser.console)

    def test_script(self):
        """hls.js beside the page plays, and the page tells of its end."""
        browser = self.browser
        self.write("hls.js", SCRIPT)
        self.open_and_wait()
        browser.wait("window.player?.media !== undefined")
        self.assertEqual(browser.evaluate(NOTE), "")
        self.assertTrue(browser.evaluate("player.media === " + VIDEO))
        self.assertEqual(browser.evaluate("[player.source, player.name]"),
                         ["video.m3u8", "hlsError"])
        for fatal, text in ("false", ""), ("true", "The video stopped: networkError"):
            browser.evaluate(
                "player.handler(player.name, {fatal: %s, details: 'networkError'})" % fatal)
            self.assertEqual(browser.evaluate(NOTE), text)
        self.check_console()

    def test_browser(self):
        """A browser that plays HLS is given the playlist."""
        self.open_and_wait("maybe")
        self.browser.wait(VIDEO + ".src === '%svideo.m3u8'" % self.url)
        self.assertEqual(self.browser.evaluate(NOTE), "")
        self.check_console()

    def test_neither(self):
        """Else the page says what to do."""
        self.open_and_wait("")
        self.browser.wait(NOTE + ".startsWith('This browser does not play HLS by itself. Put hls.js')")
        self.assertEqual(self.browser.evaluate("document.querySelector('#note a').href"),
                         self.url + "video.m3u8")
        self.assertEqual(self.browser.evaluate(VIDEO + ".src"), "")
        self.check_console()

    def test_plays(self):
        """What the browser plays by itself moves, at its size."""
        subprocess.run(
            ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=256x160:rate=16", "-t", "8",
             "-pix_fmt", "yuv420p", "-g", "16", "-f", "hls", "-hls_time", "1", "-hls_list_size", "0",
             "video.m3u8"], cwd=self.folder, check=True, timeout=60, stdin=subprocess.DEVNULL)
        self.browser.open(self.url)
        self.browser.wait("document.readyState === 'complete'")
        if not self.browser.evaluate(VIDEO + ".canPlayType(%s)" % HLS):
            self.skipTest("this browser does not play HLS by itself")
        self.browser.wait(VIDEO + ".currentTime > 1")
        self.assertEqual(self.browser.evaluate("[%s.videoWidth, %s.videoHeight]" % (VIDEO, VIDEO)),
                         [256, 160])
        self.assertEqual(self.browser.evaluate(NOTE), "")
        self.check_console()


if __name__ == "__main__":
    unittest.main(verbosity=2)
