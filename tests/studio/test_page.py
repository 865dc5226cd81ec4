"""The page in a browser: a picture that moves, prompts in time, recordings, phones, keys."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import sys
import time
import unittest

from rig import SMALL_MODEL, Browser, Client, Studio, probe
from served import Stalls

if Browser.PATH is None:
    print("SKIP: chromium is not installed (Debian package chromium)")
    sys.exit(77)

# the video's picture, small, as a list of grey values
GREY = """(() => {
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  canvas.width = 24; canvas.height = 16;
  context.drawImage(document.getElementById("video"), 0, 0, 24, 16);
  const data = context.getImageData(0, 0, 24, 16).data, grey = [];
  for (let i = 0; i < data.length; i += 4)
    grey.push((data[i] + data[i + 1] + data[i + 2]) / 3);
  return grey;
})()"""
# what is presented for so many milliseconds, and the decoder's figures before and after
PLAYBACK = """(async () => {
  const video = document.getElementById("video"), frames = [];
  const count = async () => [...(await peer.getStats()).values()]
    .find((entry) => entry.type === "inbound-rtp");
  const take = (now, frame) => {
    frames.push(frame);
    handle = video.requestVideoFrameCallback(take);
  };
  const before = await count();
  let handle = video.requestVideoFrameCallback(take);
  await new Promise((done) => setTimeout(done, %d));
  video.cancelVideoFrameCallback(handle);
  return {frames, before, after: await count()};
})()"""
# each picture of a second and a half, once what is on its way has been shown
PICTURES = """(async () => {
  const video = document.getElementById("video"), pictures = [];
  const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
  const take = () => {
    pictures.push(%s);
    handle = video.requestVideoFrameCallback(take);
  };
  await wait(1000);
  let handle = video.requestVideoFrameCallback(take);
  await wait(1500);
  video.cancelVideoFrameCallback(handle);
  return pictures;
})()""" % GREY
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
TEXT = "document.getElementById('%s').textContent"
HELP = "document.getElementById('help').open"
VALUE = "document.getElementById('%s').value"


def difference(a, b):
    return sum(abs(x - y) for x, y in zip(a, b)) / len(a)


class Open(unittest.TestCase):
    """A studio, and its page in a browser."""

    MODEL, SIZE = SMALL_MODEL, (96, 64)
    RATE = 16

    @classmethod
    def setUpClass(cls):
        cls.studio = Studio(model=cls.MODEL)
        cls.browser = Browser()
        cls.browser.open(cls.studio.url)
        cls.live()

    @classmethod
    def tearDownClass(cls):
        console = cls.browser.console
        cls.browser.close()
        cls.studio.stop()
        assert not console, console

    @classmethod
    def live(cls):
        cls.browser.wait("document.readyState === 'complete' && typeof peer !== 'undefined' && "
                         "document.getElementById('status').textContent === 'live' && "
                         "document.getElementById('video').videoWidth > 0")

    def leave_fields(self):
        self.browser.evaluate("document.activeElement.blur()")

    def enter(self, field, text):
        """As somebody does who selects what is in the field, and types."""
        self.browser.evaluate("{ const field = document.getElementById('%s'); field.focus(); "
                              "field.select(); }" % field)
        self.browser.type(text)

    def check_moves(self):
        pictures = [self.browser.evaluate(GREY)]
        self.assertGreater(max(pictures[0]) - min(pictures[0]), 20)
        # a busy machine may hold it up, but not for long
        end = time.monotonic() + 20
        while len(pictures) < 8:
            self.assertLess(time.monotonic(), end, "the picture stands still")
            time.sleep(0.1)
            picture = self.browser.evaluate(GREY)
            if difference(picture, pictures[-1]) > 0.5:
                pictures.append(picture)

    def check_playback(self, seconds):
        """What is presented and decoded: all of it, at its size, forwards and at its rate."""
        with Stalls() as stalls:
            seen = self.browser.evaluate(PLAYBACK % (1000 * seconds))
        frames, before, after = seen["frames"], seen["before"], seen["after"]
        self.assertGreater(len(frames), 1, "the picture stands still")
        # a machine that stands still holds pictures up, and has some left out
        late = stalls.frames(self.RATE)
        took = (after["timestamp"] - before["timestamp"]) / 1000
        decoded = after["framesDecoded"] - before["framesDecoded"]
        presented = frames[-1]["presentedFrames"] - frames[0]["presentedFrames"]
        steps = [(b["rtpTimestamp"] - a["rtpTimestamp"]) % (1 << 32) * self.RATE / 90000
                 for a, b in zip(frames, frames[1:])]
        print("%d frames decoded and %d presented in %.2f s, %.1f periods apart at most; %s" % (
            decoded, presented, took, max(steps), stalls), flush=True)
        self.assertEqual({(frame["width"], frame["height"]) for frame in frames}, {self.SIZE})
        self.assertEqual((after["frameWidth"], after["frameHeight"]), self.SIZE)
        for a, b in zip(frames, frames[1:]):
            self.assertGreater(b["mediaTime"], a["mediaTime"])
            self.assertGreater(b["presentedFrames"], a["presentedFrames"])
        for step in steps:
            self.assertGreater(step, 0.9)
            self.assertAlmostEqual(step, round(step), delta=0.1)
        due = took * self.RATE
        self.assertAlmostEqual(decoded, due, delta=0.1 * due + late)
        # (a busy page leaves one out now and then)
        due = (frames[-1]["mediaTime"] - frames[0]["mediaTime"]) * self.RATE
        self.assertAlmostEqual(presented, due, delta=0.2 * due + late)

    def apply(self, prompt):
        """Typed, applied by Enter, told of by the page within the promised chunks, and shown."""
        browser = self.browser
        self.leave_fields()
        browser.press("/")
        self.assertEqual(browser.evaluate("document.activeElement.id"), "prompt")
        browser.type(prompt)
        # Counted from the latest that is told of before the studio has the prompt, early in it: a
        # chunk is taken a little before its time, and one more is begun then.
        browser.wait("chunks.at(-1).frame > %d" % browser.evaluate("chunks.at(-1).frame"))
        browser.evaluate("window.begin = new Promise((done) => { const id = nextId; handlers.ok = "
                         "(message) => message.id === id && done(chunks.at(-1)); }), 0")
        browser.press("Enter")
        begin = browser.evaluate("begin")
        browser.evaluate("delete handlers.ok")
        browser.wait(TEXT % "shown" + " === 'shows: %s'" % prompt)
        found = "chunks.find(chunk => chunk.serial > %d)" % begin["serial"]
        browser.wait(found + " !== undefined")
        self.assertLessEqual(browser.evaluate(found)["chunk"] - begin["chunk"],
                             browser.evaluate("state['prompt-chunks']"))


class Page(Open):
    def test_moves(self):
        self.check_moves()

    def test_playback(self):
        self.check_playback(6)

    def test_prompt(self):
        browser = self.browser
        self.apply("a purple whale")
        # history: a click uses it again
        browser.type(" swims")
        browser.press("Enter")
        browser.wait(TEXT % "shown" + " === 'shows: a purple whale swims'")
        browser.evaluate("[...document.querySelectorAll('#history button')]"
                         ".find(b => b.textContent === 'a purple whale').click()")
        browser.wait(TEXT % "shown" + " === 'shows: a purple whale'")
        # and arrows go through it
        browser.evaluate("document.getElementById('prompt').value = ''")
        browser.press("/")
        browser.press("ArrowUp")
        browser.press("ArrowUp")
        self.assertEqual(browser.evaluate(VALUE % "prompt"),
                         "a purple whale swims")
        browser.press("ArrowDown")
        self.assertEqual(browser.evaluate(VALUE % "prompt"),
                         "a purple whale")
        browser.press("Escape")
        self.assertNotEqual(browser.evaluate("document.activeElement.id"), "prompt")

    def test_prompt_changes_picture(self):
        """The same seed and place with another prompt is another picture."""
        with Client(self.studio) as client:
            shown = []
            for prompt in "one hill", "two seas", "one hill":
                client.request(type="set", prompt=prompt, seed="3", restart=True)
                client.wait("prompt", until=lambda p: p["prompt"] == prompt)
                serial = client.wait("chunk", until=lambda c: c["chunk"] == 0)["serial"]
                self.browser.wait("chunks.some(c => c.serial === %d && c.chunk === 0)" % serial)
                shown.append(self.browser.evaluate(PICTURES))
            near = min(difference(a, b) for a in shown[0] for b in shown[2])
            far = min(difference(a, b) for a in shown[0] for b in shown[1])
            print("%.1f to the same one, %.1f to the other one" % (near, far), flush=True)
            self.assertGreater(far, near)

    def test_record(self):
        browser = self.browser
        self.leave_fields()
        browser.press("r")
        browser.wait("!document.getElementById('badge').hidden")
        self.assertIn(self.studio.output, browser.evaluate(TEXT % "recording"))
        frame = browser.evaluate("chunks.at(-1).frame")
        browser.wait("chunks.at(-1).frame >= %d" % (frame + 24))
        browser.evaluate("document.getElementById('record').click()")
        browser.wait("recorded !== ''")
        path = browser.evaluate(TEXT % "recording").split(" (")[0]
        stream, duration, times = probe(path)
        self.assertEqual(stream["codec_name"], "h264")
        self.assertGreater(len(times), 10)
        self.assertGreater(duration, 0.6)

    def test_controls(self):
        browser = self.browser
        self.leave_fields()
        browser.press("l")
        browser.wait("state['probe-layer'] === 0")
        browser.wait("chunks.at(-1).selection !== null")
        self.assertIn("layer 0, head 0", browser.evaluate(TEXT % "choice"))
        # both pictures have something in them
        for name in "timeline", "map":
            self.assertGreater(browser.evaluate(
                "new Set(new Uint32Array(document.getElementById('%s').getContext('2d')"
                ".getImageData(0, 0, 300, 100).data.buffer)).size" % name), 3)
        browser.press("+")
        browser.wait("state.sparsity === 0.55")
        browser.press("-")
        browser.wait("state.sparsity === 0.5")
        browser.evaluate("document.getElementById('sparsity-model').click()")
        browser.wait("state.sparsity === null")
        browser.evaluate("document.getElementById('dense').click()")
        browser.wait("state.attention === 'dense'")
        browser.wait("chunks.at(-1).sparsity === 0")
        browser.evaluate("document.getElementById('dense').click()")
        browser.wait("state.attention === 'auto'")
        browser.press("d")
        browser.wait("state.seed !== '0' && chunks.at(-1).seed === state.seed")
        self.enter("seed", "41")
        browser.press("Escape")
        browser.press("n")
        browser.wait("state.seed === '41' && chunks.some(c => c.seed === '41' && c.chunk === 0)")
        browser.press("f")
        browser.wait("document.fullscreenElement === document.getElementById('video')")
        browser.press("f")
        browser.wait("document.fullscreenElement === null")
        browser.press("?")
        browser.wait(HELP)
        self.assertEqual(browser.evaluate("document.activeElement.textContent"), "Close")
        browser.press("Escape")
        browser.wait("!" + HELP)

    def switch_keys(self):
        self.browser.evaluate("document.getElementById('help-button').click()")
        self.browser.evaluate("document.getElementById('keys-on').click()")
        self.browser.press("Escape")
        self.browser.wait("!" + HELP)
        self.leave_fields()

    def test_keys_off(self):
        """Single keys can be turned off, and the browser remembers it; those of parts stay."""
        browser = self.browser
        self.leave_fields()
        self.switch_keys()
        try:
            for _ in range(2):
                sent = browser.evaluate("nextId")
                for key in "?", "/", "n", "d", "r", "+", "-", "l", "h", "f":
                    browser.press(key)
                self.assertFalse(browser.evaluate(HELP))
                self.assertEqual(browser.evaluate("document.activeElement.tagName"), "BODY")
                self.assertIsNone(browser.evaluate("document.fullscreenElement"))
                self.assertEqual(browser.evaluate("nextId"), sent)
                browser.evaluate("document.getElementById('timeline').focus()")
                browser.wait("chunks.length > 1")
                browser.press("ArrowLeft")
                self.assertIsNotNone(browser.evaluate("pointed"))
                browser.press("End")
                self.leave_fields()
                browser.open("about:blank")
                browser.open(self.studio.url)
                self.live()
        finally:
            self.switch_keys()
        browser.press("?")
        browser.wait(HELP)
        browser.press("Escape")

    def test_chosen_chunk(self):
        """Arrow keys choose a chunk, and screen readers are told of that one only."""
        browser = self.browser
        told = "document.getElementById('timeline').getAttribute('aria-valuetext')"
        index = "chunks.findIndex(chunk => chunk.frame === %d)"
        browser.wait("chunks.length > 3")
        browser.evaluate("document.getElementById('timeline').focus()")
        chosen = []
        for key in "ArrowLeft", "ArrowLeft", "ArrowDown", "ArrowRight", "ArrowUp":
            browser.press(key)
            chosen.append(browser.evaluate("pointed"))
            self.assertTrue(browser.evaluate(
                told + ".startsWith(`chunk ${current().chunk}: `) && current().frame === pointed"))
            self.assertTrue(browser.evaluate((TEXT % "chunk") + ".startsWith(%s)" % told))
        self.assertEqual(chosen[3:], [chosen[1], chosen[0]])
        for before, after in zip(chosen[:2], chosen[1:3]):
            self.assertEqual(browser.evaluate((index % before) + " - " + (index % after)), 1)
        self.assertEqual(browser.evaluate("document.getElementById('timeline').dispatchEvent("
                                          "new KeyboardEvent('keydown', {key: 'Home'})), "
                                          "pointed - chunks[0].frame"), 0)
        # the latest one: it moves on, without a word
        browser.press("End")
        self.assertIsNone(browser.evaluate("pointed"))
        text, frame = browser.evaluate("[%s, chunks.at(-1).frame]" % told)
        browser.wait("chunks.at(-1).frame > %d" % frame)
        self.assertEqual(browser.evaluate(told), text)
        self.assertFalse(browser.evaluate((TEXT % "chunk") + ".startsWith(%s)" % told))
        self.leave_fields()
        browser.wait(told + ".startsWith(`chunk ${chunks.at(-1).chunk}: `)")

    def test_drafts(self):
        """What is typed and not applied stays, whatever changes, until its very member is set."""
        browser = self.browser

        def values():
            return [browser.evaluate(VALUE % name) for name in ("prompt", "seed")]

        self.enter("prompt", "half a tho")
        self.enter("seed", "1234")
        self.leave_fields()
        with Client(self.studio) as client:
            client.request(type="set", prompt_switch="blend")
            browser.wait(VALUE % "switch" + " === 'blend'")
            self.assertEqual(values(), ["half a tho", "1234"])
            client.request(type="set", seed="77")
            browser.wait(VALUE % "seed" + " === '77'")
            self.assertEqual(values(), ["half a tho", "77"])
            client.request(type="set", prompt="of another page")
            browser.wait(VALUE % "prompt" + " === 'of another page'")
            # one that is entered, and left as it was, follows later
            browser.press("/")
            client.request(type="set", prompt="meanwhile")
            browser.wait("state.prompt === 'meanwhile'")
            self.assertEqual(values(), ["of another page", "77"])
            self.leave_fields()
            client.request(type="set", prompt_switch="cut")
            browser.wait(VALUE % "switch" + " === 'cut'")
            self.assertEqual(values(), ["meanwhile", "77"])
        # what comes of an own prompt is no news
        self.enter("prompt", "of this page")
        browser.press("Enter")
        browser.wait("state.prompt === 'of this page'")
        browser.type(" and mo")
        self.leave_fields()
        browser.evaluate("set({sparsity: 0.25})")
        browser.wait("state.sparsity === 0.25")
        self.assertEqual(values(), ["of this page and mo", "77"])
        browser.evaluate("document.getElementById('sparsity-model').click()")
        browser.wait("state.sparsity === null")

    def test_widths(self):
        """Nothing is wider than the screen, all that can be used has a name and can be reached."""
        browser = self.browser
        try:
            for width in 320, 390, 768, 1280:
                browser.resize(width, 800, mobile=width < 700)
                for scheme in "light", "dark":
                    browser.call("Emulation.setEmulatedMedia", features=[
                        {"name": "prefers-color-scheme", "value": scheme}])
                    self.assertLessEqual(browser.evaluate(OVERFLOW), 0, width)
                    back, text = browser.evaluate(
                        "(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
                    grey = [sum(map(int, c[4:-1].split(","))) / 3 for c in (back, text)]
                    self.assertGreater(abs(grey[0] - grey[1]), 128, (scheme, back, text))
                    self.assertEqual(grey[0] < grey[1], scheme == "dark")
            self.assertEqual(browser.evaluate(
                "[...document.querySelectorAll('input, select')].filter(e => !e.labels.length)"
                ".map(e => e.id)"), [])
            # Tab goes through all of it, and it can be seen where it is
            self.leave_fields()
            reached = set()
            for _ in range(40):
                browser.press("Tab")
                reached.add(browser.evaluate("document.activeElement.id"))
                if browser.evaluate("document.activeElement !== document.body"):
                    self.assertNotEqual(browser.evaluate(
                        "getComputedStyle(document.activeElement).outlineStyle"), "none")
            for name in "prompt", "seed", "dice", "switch", "sparsity", "record", "layer", "head":
                self.assertIn(name, reached)
        finally:
            browser.resize(1280, 900)
            browser.call("Emulation.setEmulatedMedia", features=[])

    def test_viewers_come_and_go(self):
        """Pages that are opened and closed leave nothing behind."""
        studio, browser = self.studio, self.browser
        sizes = []
        for i in range(12):
            browser.open("about:blank")
            browser.open(studio.url)
            self.live()
            if i in (3, 11):
                time.sleep(0.5)
                sizes.append((studio.files(), studio.threads(), studio.memory()))
        with Client(studio) as client:
            client.wait("stats", until=lambda s: s["viewers"] == 1)
        self.assertLessEqual(sizes[1][0], sizes[0][0] + 2, sizes)
        self.assertLessEqual(sizes[1][1], sizes[0][1] + 2, sizes)
        self.assertLess(sizes[1][2], sizes[0][2] + 12, sizes)
        print("files, threads, MiB: %s, eight pages later %s" % tuple(sizes), flush=True)

    def test_two_pages(self):
        """The other one sees it, too, and follows what the first one sets."""
        with Browser(500, 700) as other:
            other.open(self.studio.url)
            other.wait("typeof peer !== 'undefined' && "
                       "document.getElementById('status').textContent === 'live'")
            self.browser.evaluate("set({prompt: 'from the first page'})")
            other.wait(TEXT % "shown" + " === 'shows: from the first page'")
            other.wait("document.getElementById('video').currentTime > 0.5")
            self.assertEqual(other.evaluate("document.getElementById('prompt').value"),
                             "from the first page")
            self.assertFalse(other.console)


class DefaultModel(Open):
    """What comes with lightforce, which has more than one head."""

    MODEL, SIZE = None, (256, 160)

    def test_moves(self):
        self.check_moves()

    def test_playback(self):
        self.check_playback(4)

    def test_prompt(self):
        self.apply("a red ball bouncing on green hills")
        self.apply("a white bird over the sea")

    def test_head(self):
        browser = self.browser
        self.leave_fields()
        browser.press("l")
        browser.wait("state['probe-layer'] === 0")
        browser.press("h")
        browser.wait("state['probe-head'] === 1")
        self.assertEqual(browser.evaluate(VALUE % "head"), "1")
        browser.wait("chunks.at(-1).selection?.head === 1")
        self.assertIn("layer 0, head 1,", browser.evaluate(TEXT % "choice"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
