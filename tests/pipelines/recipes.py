#!/usr/bin/env python3
"""Runs the commands of docs/RECIPES.md as they stand there, but for ports."""
import os
import re
import socket
import subprocess

import rig
from rig import RATE, Process, Stalls, check, check_video, free_port, until

PAGE = rig.SOURCE / 'docs' / 'RECIPES.md'
# programs, as they are found where they are installed
ENVIRONMENT = dict(os.environ, PATH=f"{os.environ['LIGHTFORCE_BUILD']}/pipelines:{os.environ['PATH']}")
NOTE = re.compile(r'<!-- run ([a-z-]+) -->|(\*Not run by the tests\b.*)')


def read_page():
    """The blocks that are to be run, by name. Every other one has to say that it is not."""
    recipes, note, block = {}, '', None
    for line in PAGE.read_text().splitlines():
        if block is None and line.startswith('```'):
            found = NOTE.fullmatch(note)
            check(line == '```sh' and found, f'{PAGE}: a block behind "{note}" says neither what it is nor whether it is run')
            block = []
        elif line == '```':
            if found.group(1):
                check(found.group(1) not in recipes, f'{PAGE}: {found.group(1)} is there twice')
                recipes[found.group(1)] = '\n'.join(block)
            block = None
        elif block is not None:
            block.append(line)
        note = line
    check(block is None, f'{PAGE}: a block does not end')
    return recipes


class Kitchen:
    """A folder to run recipes in."""
    recipes = read_page()

    def __init__(self, folder):
        self.folder = folder
        (folder / 'pipelines').symlink_to(rig.PIPELINES)
        self.ports = {}

    def port(self, number, kind=socket.SOCK_STREAM):
        """What the page's port is here."""
        if number not in self.ports:
            self.ports[number] = free_port(kind)
        return self.ports[number]

    def start(self, name):
        text = self.recipes[name]
        for number, port in self.ports.items():
            text, count = re.subn(rf'\b{number}\b', str(port), text)
            check(count, f'{name} does not have port {number}')
        # what is not of this machine alone is of this test alone
        text = text.replace('239.255.42.1', f'239.254.{os.getpid() >> 8 & 255}.{os.getpid() & 255}')
        return Process('sh', '-eu', '-c', text, cwd=self.folder, env=ENVIRONMENT)

    def run(self, name):
        with self.start(name) as process:
            return process.wait()


def rectangle(path, n, x, y, width, height):
    """The mean red, green and blue of a part of a picture; n counts from the end if it is negative."""
    data = subprocess.run(['ffmpeg', '-v', 'error', '-i', path, '-vf', f'crop={width}:{height}:{x}:{y}',
                           '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-'], stdout=subprocess.PIPE, check=True,
                          timeout=rig.PATIENCE).stdout
    size = width * height * 3
    pictures = [data[i:i + size] for i in range(0, len(data), size)]
    return [sum(pictures[n][c::3]) / (width * height) for c in range(3)]


def blue(colour):
    return colour[2] > 150 and colour[0] < 90 and colour[1] < 90


def check_three_seconds(path, stalls, jitter=0.0015):
    """Of which up to 2 s may lie before the first key frame; returns the pictures."""
    still = stalls.frames(RATE, rig.STILL)
    return check_video(path, max(1, 14 - still), 50 + still, jitter=jitter)


def read_from(sender, reader, output, kitchen, ready, jitter=0.0015):
    """A sender that goes on until its reader has had enough; returns the pictures."""
    with Stalls() as stalls, kitchen.start(sender) as process:
        until(ready, f'{sender} does not begin', process)
        kitchen.run(reader)
        process.interrupt()
        process.wait(None)
    return check_three_seconds(kitchen.folder / output, stalls, jitter)


def test_srt(folder):
    k = Kitchen(folder)
    port = k.port(9000, socket.SOCK_DGRAM)
    read_from('srt', 'srt-read', 'from-srt.mkv', k, lambda: rig.listening(port, 'udp'))


def test_udp(folder):
    k = Kitchen(folder)
    k.port(5000, socket.SOCK_DGRAM)
    read_from('udp', 'udp-read', 'from-udp.ts', k, lambda: True)


def test_hls(folder):
    k = Kitchen(folder)
    k.port(8080)
    read_from('hls', 'hls-read', 'from-hls.mkv', k, lambda: (folder / 'hls/video.m3u8').exists())


def test_rtmp(folder):
    k = Kitchen(folder)
    port = k.port(1935)
    with Stalls() as stalls, k.start('rtmp-read') as reader:
        until(lambda: rig.listening(port), 'a server', reader)
        with k.start('rtmp') as sender:
            reader.wait()
            sender.interrupt()
            sender.wait(None)
    check_three_seconds(folder / 'from-rtmp.mkv', stalls)


def test_rtsp(folder):
    k = Kitchen(folder)
    port = k.port(8554)
    frames = read_from('rtsp', 'rtsp-read', 'from-rtsp.mkv', k, lambda: rig.listening(port), jitter=1)
    # FFmpeg gives the first picture the time of the second one
    times = [float(f['pts_time']) for f in frames[1:]]
    for a, b in zip(times, times[1:]):
        steps = max(1, round((b - a) * RATE))
        check(abs(b - a - steps / RATE) <= 0.0015, f'a picture is at {b}, the one before at {a}')


def test_sdi_format(folder):
    Kitchen(folder).run('sdi-format')
    size = (folder / 'uyvy.raw').stat().st_size
    check(24 <= size / (1920 * 1080 * 2) <= 25 and size % (1920 * 1080 * 2) == 0, f'{size} bytes of UYVY')


def test_subtitles(folder):
    text = Kitchen(folder).run('subtitles')
    for prompt in ['a red ball bouncing on green hills', 'snow falls on a city at night']:
        escaped = prompt.replace(' ', r'\\? ')
        check(re.search(rf'lightforce-prompt.*{escaped}', text), f'nothing tells of "{prompt}":\n{text}')
    check_video(folder / 'story.mkv', 64, 64)


def test_prompt_file(folder):
    Kitchen(folder).run('prompt-file')
    check_video(folder / 'scripted.mp4', 64, 64, live=False)


def test_lower_third(folder):
    Kitchen(folder).run('lower-third')
    path = folder / 'third.mkv'
    check_video(path, 33, 33, width=640, height=360, live=False)
    bar, above = rectangle(path, -1, 500, 280, 100, 70), rectangle(path, -1, 500, 180, 100, 70)
    text = rectangle(path, -1, 20, 290, 250, 60)
    check(blue(bar), f'the bar is {bar}')
    check(not blue(above), f'above the bar it is {above}')
    check(text[0] > bar[0] + 10, f'there is no text on the bar: {text} beside {bar}')


def test_slate(folder):
    Kitchen(folder).run('slate')
    path = folder / 'slate.mkv'
    frames = check_video(path, 48, 160, jitter=1)
    check(blue(rectangle(path, 0, 0, 0, 256, 160)), 'the slate is not there at first')
    check(any(not blue(rectangle(path, n, 0, 0, 256, 160)) for n in range(0, len(frames), 16)),
          'the slate never goes')


def test_all(folder):
    """No recipe is left out."""
    tested = set(re.findall(r"'([a-z-]+)'", open(__file__, encoding='utf-8').read()))
    check(set(Kitchen.recipes) <= tested, f'not tested: {set(Kitchen.recipes) - tested}')


rig.main({name[5:]: test for name, test in list(globals().items()) if name.startswith('test_')})
