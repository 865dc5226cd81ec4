#!/usr/bin/env python3
"""Each pipeline with a real peer on the other side, and the default model on the processor."""
import os
import pathlib
import re
import socket
import subprocess
import threading
import time

import rig
import transport
from rig import PIPELINES, RATE, Process, Stalls, check, check_audio, check_video, free_port, probe, run, script, until

SCRIPTS = ['record.sh', 'play.sh', 'srt.sh', 'udp-ts.sh', 'rtmp.sh', 'hls.sh']


def test_shellcheck(folder):
    scripts = [PIPELINES / name for name in SCRIPTS + ['common.sh']]
    for path in [rig.SOURCE / name for name in ('tools', 'tests', '.ci', 'bench', 'docs')]:
        scripts += [p for p in path.iterdir() if p.is_file() and p.read_bytes().startswith(b'#!/bin/sh')]
    run('shellcheck', '-x', *scripts)


def test_options(folder):
    """--help, and one clear line for whatever is wrong."""
    mp4, taken = folder / 'a.mp4', folder / 'taken.mp4'
    taken.touch()
    short = folder / 'short'
    short.write_text('tooshort\n')
    site, library = folder / 'site', folder / 'library'
    for path in [site / 'index.html', site / 'video.m3u8', library / 'hls.js']:
        path.parent.mkdir(exist_ok=True)
        path.write_text('of somebody')
    for name in SCRIPTS:
        text = run(PIPELINES / name, '--help')
        own = re.findall(r'^ {4}(--[a-z-]+)\)', (PIPELINES / name).read_text(), re.M)
        for option in own + ['--prompt', '--seed', '--model', '--seconds', '--bitrate', '--size']:
            check(option in text, f'{name} --help does not tell of {option}')
    for status, want, command in [
            (2, 'no option --promt', ['record.sh', '--promt', 'x']),
            (2, '"ball.mp4" is no option', ['record.sh', 'ball.mp4']),
            (2, '--seed is no option, or wants a value', ['record.sh', '--seed']),
            (2, '--output', ['record.sh']),
            (2, '.mp4, .mov or .mkv', ['record.sh', '--output', folder / 'a.avi']),
            (2, '--seconds wants a number from 1', ['record.sh', '--output', mp4, '--seconds', '1.5']),
            (2, '--bitrate wants a number from 10', ['record.sh', '--output', mp4, '--bitrate', '3']),
            (2, '--size wants even numbers', ['record.sh', '--output', mp4, '--size', '321x240']),
            (2, '--size wants WIDTHxHEIGHT', ['record.sh', '--output', mp4, '--size', 'big']),
            (2, '--seed wants a whole number', ['record.sh', '--output', mp4, '--seed', '-1']),
            # (the shell takes such numbers for octal ones, and GStreamer the seed)
            (2, '--seconds wants a number without zeros in front, not "010"',
             ['record.sh', '--output', mp4, '--seconds', '010']),
            (2, '--rate wants a number without zeros', ['record.sh', '--output', mp4, '--rate', '025']),
            (2, '--rate wants a number without zeros', ['record.sh', '--output', mp4, '--rate', '25/01']),
            (2, '--size wants a number without zeros', ['record.sh', '--output', mp4, '--size', '0320x240']),
            (2, '--seed wants a whole number without zeros', ['record.sh', '--output', mp4, '--seed', '010']),
            (2, '--segment wants a number without zeros', ['hls.sh', '--output', folder / 'hls', '--segment', '08']),
            (2, '--mux-rate wants a number without zeros', ['udp-ts.sh', '--mux-rate', '03000']),
            (2, '--set wants NAME=VALUE', ['record.sh', '--output', mp4, '--set', 'backend']),
            (1, 'no model /no/such', ['record.sh', '--output', mp4, '--model', '/no/such']),
            (1, 'no file /no/such', ['record.sh', '--output', mp4, '--prompt-file=/no/such']),
            (1, '--force', ['record.sh', '--output', taken]),
            (1, 'no directory', ['record.sh', '--output', folder / 'no' / 'a.mp4']),
            (2, '--force takes no value', ['record.sh', '--output', mp4, '--force=1']),
            (2, 'caller or listener', ['srt.sh', '--mode', 'both']),
            (2, '--port wants a number from 1 to 65535', ['srt.sh', '--port', '70000']),
            (1, 'has 8 characters', ['srt.sh', '--passphrase-file', short]),
            (2, 'leaves no room', ['udp-ts.sh', '--mux-rate', '2000', '--bitrate', '2000']),
            (1, 'no network interface nosuch0: one of', ['udp-ts.sh', '--interface', 'nosuch0']),
            (2, 'rtmp://HOST', ['rtmp.sh', '--url', 'http://127.0.0.1/live/x']),
            (2, '--url', ['rtmp.sh']),
            (2, '--output', ['hls.sh']),
            (1, 'index.html is not of this script', ['hls.sh', '--output', site]),
            (1, f'hls.js is not the same as {short}', ['hls.sh', '--output', library, '--hls-js', short])]:
        text = run(PIPELINES / command[0], *command[1:], status=status)
        check(want in text and text.count('\n') == 1 and text.startswith(command[0] + ': '),
              f'{command} says:\n{text}')
    check(taken.stat().st_size == 0 and not mp4.exists(), 'a command line that is wrong wrote a file')
    files = {path.name: path.read_text() for path in [*site.iterdir(), *library.iterdir()]}
    check(files == dict.fromkeys(['index.html', 'video.m3u8', 'hls.js'], 'of somebody'), f'hls.sh left {files}')


def test_missing(folder):
    """What is not installed is named with the package that has it."""
    empty = folder / 'empty'
    empty.mkdir()
    env = dict(os.environ, GST_PLUGIN_SYSTEM_PATH=str(empty), GST_REGISTRY=str(folder / 'registry'))
    for command, packages in [
            (['record.sh', '--output', folder / 'a.mp4'],
             {'gstreamer1.0-plugins-base', 'gstreamer1.0-plugins-good', 'gstreamer1.0-plugins-bad',
              'gstreamer1.0-plugins-ugly'}),
            (['play.sh', '--sink', 'ximagesink'],
             {'gstreamer1.0-plugins-base', 'gstreamer1.0-plugins-bad', 'gstreamer1.0-x'}),
            (['play.sh', '--sink', 'fpsdisplaysink text-overlay=false'],
             {'gstreamer1.0-plugins-base', 'gstreamer1.0-plugins-bad'})]:
        text = run(PIPELINES / command[0], *command[1:], status=1, env=env)
        check(packages == set(re.findall(r'(?:lib)?gstreamer1\.0-[a-z0-9-]+', text)), f'{command} says:\n{text}')
    text = run(PIPELINES / 'play.sh', '--sink', 'nosuchsink', status=1)
    check(text.startswith('play.sh: GStreamer lacks nosuchsink. No package with nosuchsink is known') and
          'apt install' not in text and text.count('\n') == 1, text)
    text = run(PIPELINES / 'play.sh', status=1, env=dict(env, LIGHTFORCE_BUILD=str(empty)))
    check('meson compile' in text, text)


def test_packages(folder):
    """The packages that errors name are the ones that have the elements."""
    names = re.findall(r'^ {4}(.*)\) echo (gstreamer1\.0-\S+)', (PIPELINES / 'common.sh').read_text()
                       .replace('\\\n      ', ''), re.M)
    check(len(names) >= 5, f'{names}')
    for elements, package in names:
        if package == 'gstreamer1.0-lightforce':
            continue
        for element in elements.split(' | '):
            text = run('gst-inspect-1.0', element)
            file = re.search(r'Filename +(\S+)', text).group(1)
            owner = run('dpkg-query', '-S', '*/' + pathlib.Path(file).name).split(':')[0]
            check(owner == package, f'{element} is of {owner}, not {package}')


def test_record(folder):
    """Progress, tags, sizes; and the same seed makes the same video."""
    mp4, mkv = folder / 'a "b" c.mp4', folder / 'a.mkv'
    title = 'It\'s a "test"; x=1, \\ ! queue'
    text = run(PIPELINES / 'record.sh', '--output', mp4, '--seconds', 3, '--title', title, '--seed', 7)
    for want in ['Loading the model', 'recorded (', '3 / 3 seconds (100.0 %)']:
        check(want in text, f'record.sh does not say "{want}":\n{text}')
    check_video(mp4, 48, 48, live=False)
    tags = probe(mp4, '-show_entries', 'format_tags')['format']['tags']
    check(tags['title'] == title, f'the title is {tags["title"]}')
    check('lightforce-seed=7; lightforce-prompt-sha256=' in tags['comment'], f'the comment is {tags["comment"]}')
    prompt = 'a "red" ball; it\\s blue ! fakesink'
    check(script('record.sh', '--output', mkv, '--seconds', 2, '--size', '640x480', '--rate', '25',
                 '--prompt', prompt, '--prompt-in-tags', '--set', 'threads=1').wait() == '', '--quiet is not')
    check_video(mkv, 49, 50, width=640, height=480, rate=25, live=False)
    with script('record.sh', '--output', mp4, '--seconds', 1, '--force', '--prompt', prompt, '--prompt-in-tags') as r:
        r.wait()
    tags = probe(mp4, '-show_entries', 'format_tags')['format']['tags']
    check(tags['title'] == prompt, f'the title is {tags["title"]}')


def test_record_interrupted(folder):
    path = folder / 'a.mp4'
    with Process(PIPELINES / 'record.sh', '--output', path) as record:
        until(lambda: 'recorded (' in record.text(), 'progress', record)
        record.interrupt()
        record.wait()
    check_video(path, 1, 100000, live=False)


def test_play(folder):
    """On a screen without a monitor, whose pictures another program takes."""
    screens = [n for n in range(90, 400) if not pathlib.Path(f'/tmp/.X{n}-lock').exists()]
    display = f':{screens[os.getpid() % len(screens)]}'
    with Process('Xvfb', display, '-screen', '0', '320x240x24', '-nolisten', 'tcp') as x, \
            script('play.sh', '--sink', 'ximagesink', '--prompt', 'hills', env=dict(os.environ, DISPLAY=display)) as play:
        picture = folder / 'screen.rgb'

        def colourful():
            grabbed = rig.succeeds('ffmpeg', '-v', 'error', '-y', '-f', 'x11grab', '-video_size', '320x240',
                                   '-i', display, '-frames:v', '1', '-pix_fmt', 'rgb24', picture)
            return grabbed and len(set(picture.read_bytes())) > 100

        if not pathlib.Path(f'/tmp/.X11-unix/X{display[1:]}').exists():
            until(lambda: pathlib.Path(f'/tmp/.X11-unix/X{display[1:]}').exists(), 'a screen', x)
        until(colourful, 'a picture on the screen', x, play)
        play.interrupt()
        play.wait()


def test_srt_caller(folder):
    """ffmpeg listens; the whole is encrypted and has sound."""
    port, path, secret = free_port(socket.SOCK_DGRAM), folder / 'a.ts', folder / 'secret'
    secret.write_text('correct-horse\n')
    with Stalls() as stalls, \
            Process('ffmpeg', '-v', 'error', '-i',
                    f'srt://127.0.0.1:{port}?mode=listener&passphrase=correct-horse', '-c', 'copy', path) as receiver:
        until(lambda: rig.listening(port, 'udp'), 'a receiver', receiver)
        with script('srt.sh', '--mode', 'caller', '--port', port, '--seconds', 4, '--rate', '25', '--size', '320x180',
                    '--passphrase-file', secret, '--silence') as sender:
            sender.wait()
        receiver.wait()
    # The end of the connection may lose what waited for SRT's latency of 0.125 s and a bit. A busy
    # machine that holds up the source makes the video longer.
    check_video(path, 75, 140 + stalls.frames(25, rig.STILL), width=320, height=180, rate=25)
    check_audio(path)


def test_srt_listener(folder):
    """GStreamer's own receiver calls."""
    port, path = free_port(socket.SOCK_DGRAM), folder / 'a.ts'
    with Stalls() as stalls, script('srt.sh', '--port', port, '--seconds', 4, '--wait') as sender:
        until(lambda: rig.listening(port, 'udp'), 'a sender', sender)
        with Process('gst-launch-1.0', '-q', 'srtsrc', f'uri=srt://127.0.0.1:{port}?mode=caller', 'auto-reconnect=false',
                     '!', 'filesink', f'location={path}') as receiver:
            sender.wait()
            receiver.wait(None)
    # (as above)
    check_video(path, 48, 64 + stalls.frames(RATE, rig.STILL))


def test_no_peer(folder):
    """Who is not there is named last, with what to do, and other errors are not put down to it."""
    udp, tcp = free_port(socket.SOCK_DGRAM), free_port()
    for port, command in [(udp, ['srt.sh', '--mode', 'caller', '--port', udp]),
                          (tcp, ['rtmp.sh', '--url', f'rtmp://user:word@127.0.0.1:{tcp}/live/key'])]:
        text = run(PIPELINES / command[0], '--quiet', *command[1:], status=1)
        last = text.splitlines()[-1]
        check(last.startswith(f'{command[0]}: no ') and f' answered at 127.0.0.1:{port}, ' in last and
              'start it first' in last, f'{command} says:\n{text}')
        text = run(PIPELINES / command[0], '--quiet', *command[1:], '--set', 'nosuch=1', status=1)
        check('nosuch' in text and 'answered' not in text, f'{command} says:\n{text}')


def test_rtmp_publish(folder):
    port, path = free_port(), folder / 'a.mkv'
    url = f'rtmp://127.0.0.1:{port}/live/x'
    with Process('ffmpeg', '-v', 'error', '-listen', '1', '-f', 'flv', '-i', url, '-map', 'v', '-map', 'a', '-c', 'copy',
                 path) as server:
        until(lambda: rig.listening(port), 'a server', server)
        with script('rtmp.sh', '--url', url, '--seconds', 3, '--silence') as sender:
            sender.wait()
        server.wait()
    check_video(path, 48, 48)
    check_audio(path)


def test_rtmp_listen(folder):
    """The video begins with its player, however late that comes."""
    port, path = free_port(), folder / 'a.flv'
    url = f'rtmp://127.0.0.1:{port}/live/x'
    with script('rtmp.sh', '--listen', '--url', url, '--seconds', 3) as sender:
        until(lambda: rig.listening(port), 'a server', sender)
        time.sleep(5)
        run('ffmpeg', '-v', 'error', '-copyts', '-i', url, '-c', 'copy', path, status=None)
        sender.wait()
    times = [float(frame['pts_time']) for frame in check_video(path, 48, 48)]
    check(times[0] < 0.5, f'the first picture is at {times[0]} s')
    hole = max(b - a for a, b in zip(times, times[1:]))
    check(hole < 1, f'a picture comes {hole} s after the one before')


class Group:
    """A member of a multicast group, on the loopback interface."""

    def __init__(self, address, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind((address, port))
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                               socket.inet_aton(address) + socket.inet_aton('127.0.0.1'))
        self.socket.settimeout(0.5)
        self.datagrams = []
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.receive)
        self.thread.start()

    def receive(self):
        while True:
            try:
                self.datagrams.append(self.socket.recv(65536))
            except TimeoutError:
                if self.end.is_set():
                    return

    def close(self):
        self.end.set()
        self.thread.join()
        self.socket.close()
        return self.datagrams


def multicast(*options):
    port = free_port(socket.SOCK_DGRAM)
    address = f'239.255.{port >> 8}.{port & 255}'  # a group of this test alone
    group = Group(address, port)
    try:
        with script('udp-ts.sh', '--address', address, '--port', port, '--interface', 'lo', *options) as sender:
            sender.wait()
    finally:
        datagrams = group.close()
    return datagrams


def check_transport(data):
    """No packet is missing, clocks go on evenly, and pictures are there before their time."""
    ts = transport.Transport(data)
    check(not ts.errors, '\n'.join(ts.errors[:10]))
    check(len(ts.pts) == 1, f'PTS on {list(ts.pts)}')
    pts = next(iter(ts.pts.values()))
    steps = {b[1] - a[1] for a, b in zip(pts, pts[1:])}
    # (more than one where a busy machine held up what comes behind the source)
    check(all(s > 0 and s % (90000 // RATE) == 0 for s in steps), f'PTS go on by {steps}')
    gaps = [b[1] - a[1] for a, b in zip(ts.pcrs, ts.pcrs[1:])]
    check(len(gaps) > 10 and min(gaps) > 0, f'the PCR goes back: {min(gaps)}')
    for n, ticks in pts:
        before = [pcr for at, pcr in ts.pcrs if at <= n]
        check(before, 'the first picture is before the first PCR')
        ahead = ticks / 90000 - before[-1] / 27e6
        check(0 < ahead < 1, f'a picture comes {ahead} s before its time')
    return ts, pts, gaps


def test_udp(folder):
    datagrams = multicast('--seconds', 3)
    check({len(d) for d in datagrams} == {7 * 188}, f'datagrams of {({len(d) for d in datagrams})} bytes')
    data = b''.join(datagrams)
    _, pts, gaps = check_transport(data)
    longest = max(b[1] - a[1] for a, b in zip(pts, pts[1:]))
    check(max(gaps) <= (longest + 90) * 300, f'the PCR comes after {max(gaps) / 27e3:.1f} ms: not with each picture')
    path = folder / 'a.ts'
    path.write_bytes(data)
    check_video(path, 48, 48)


def test_udp_constant(folder):
    """Null packets make the rate constant: the PCR says at each of its packets how many came."""
    rate = 1000
    data = b''.join(multicast('--seconds', 3, '--bitrate', 500, '--mux-rate', rate))
    ts, _, gaps = check_transport(data)
    check(max(gaps) <= 0.04 * 27e6, f'the PCR comes after {max(gaps) / 27e3:.1f} ms')
    (n0, t0), (n1, t1) = ts.pcrs[0], ts.pcrs[-1]
    for n, ticks in ts.pcrs:
        expected = t0 + (n - n0) * 188 * 8 / (rate * 1000) * 27e6
        check(abs(ticks - expected) < 27e6 * 0.0015, f'the PCR of packet {n} is {(ticks - expected) / 27e3:.2f} ms off')


def test_udp_rtp(folder):
    datagrams = multicast('--seconds', 2, '--rtp')
    for n, d in enumerate(datagrams):
        check(d[0] == 0x80 and d[1] & 127 == 33, f'datagram {n} is no RTP of type 33')
        check(len(d) == 12 + 7 * 188, f'datagram {n} has {len(d)} bytes')
    numbers = [d[2] << 8 | d[3] for d in datagrams]
    check(all((b - a) & 0xFFFF == 1 for a, b in zip(numbers, numbers[1:])), 'a datagram is missing')
    check_transport(b''.join(d[12:] for d in datagrams))
    path = folder / 'a.ts'
    path.write_bytes(b''.join(d[12:] for d in datagrams))
    check_video(path, 32, 32)


def curl(url):
    out = subprocess.run(['curl', '-sS', '--fail', url], timeout=rig.PATIENCE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, check=False)
    return out.stdout if out.returncode == 0 else None


def test_hls(folder):
    """The page, the playlist while it grows, and each segment, by HTTP."""
    port, output = free_port(), folder / 'hls 50%d & page'
    address = f'http://127.0.0.1:{port}'
    output.mkdir()
    (output / 'video-00099.ts').write_text('of an earlier run')
    (output / 'video-20240101 party.ts').write_text('of somebody')
    (output / 'index.html').write_text('of somebody')
    with script('hls.sh', '--output', output, '--force', '--port', port, '--segment', 1, '--keep', '--seconds', 8,
                '--silence') as hls:
        until(lambda: curl(f'{address}/'), 'a page', hls)
        check(b"const playlist = 'video.m3u8'" in curl(f'{address}/'), 'the page does not name the playlist')
        # (a playlist of two segments and more, while a third is being made)
        until(lambda: (curl(f'{address}/video.m3u8') or b'').count(b'.ts') >= 2, 'two segments', hls)
        text = curl(f'{address}/video.m3u8').decode()
        # segments are longer than they should be where pictures were left out
        longest = max(float(n) for n in re.findall(r'#EXTINF:([0-9.]+),', text))
        target = re.search(r'^#EXT-X-TARGETDURATION:(\d+)$', text, re.M)
        check(text.startswith('#EXTM3U') and target and longest < int(target.group(1)) + 0.5, text)
        names = re.findall(r'^video-\d+\.ts$', text, re.M)
        data = [curl(f'{address}/{name}') for name in names]
        check(all(data), f'{names} are listed, and not all of them there')
        (folder / 'got.ts').write_bytes(b''.join(data))
        hls.wait()
    check_video(folder / 'got.ts', 8 * len(names), 16 * len(names))
    check_audio(folder / 'got.ts')
    check('#EXT-X-ENDLIST' in (output / 'video.m3u8').read_text(), 'the playlist has no end')
    check(not (output / 'video-00099.ts').exists(), 'a segment of an earlier run is left')
    check((output / 'video-20240101 party.ts').exists(), 'what is no segment is gone')
    check_video(output / 'video.m3u8', 128, 128)


def test_hls_interrupted(folder):
    """The server ends with the video, and a port that is taken is an error."""
    port = free_port()
    with script('hls.sh', '--output', folder, '--port', port, '--segment', 1) as hls:
        until(lambda: curl(f'http://127.0.0.1:{port}/'), 'a page', hls)
        text = run(PIPELINES / 'hls.sh', '--quiet', '--output', folder / 'b', '--port', port, status=1)
        check(f'no server on 127.0.0.1:{port}' in text, text)
        until(lambda: curl(f'http://127.0.0.1:{port}/video.m3u8'), 'a playlist', hls)
        hls.interrupt()
        check(hls.wait() == '', '--quiet is not')
        until(lambda: not rig.listening(port), 'the end of the server')
    check('#EXT-X-ENDLIST' in (folder / 'video.m3u8').read_text(), 'the playlist has no end')
    with script('hls.sh', '--output', folder, '--port', port, '--segment', 1) as hls:
        # (hlssink2 calls it an error where nothing has come yet)
        until(lambda: curl(f'http://127.0.0.1:{port}/video.m3u8'), 'a playlist', hls)
        hls.process.terminate()
        hls.wait()
        until(lambda: not rig.listening(port), 'the end of the server')


rig.main({name[5:]: test for name, test in list(globals().items()) if name.startswith('test_')})
