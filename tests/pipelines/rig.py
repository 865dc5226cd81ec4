"""What the tests of pipelines share: processes that never outlive a test, free ports, and what an
independent decoder (ffmpeg) says of a stream.

Nothing here asks for real time: a slow machine repeats pictures, and its streams are as long.
"""
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PIPELINES = SOURCE / 'pipelines'
WIDTH, HEIGHT, RATE = 256, 160, 16  # the default model's
PATIENCE = 90  # seconds for anything: many times what a busy machine needs
STILL = 0.5  # seconds that a machine stands still before a length is excused by it

sys.path.insert(0, str(SOURCE / 'tests'))

from served import Stalls  # noqa: E402, F401


class Failed(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failed(text)


def free_port(kind=socket.SOCK_STREAM):
    """A port of the loopback interface that nothing uses."""
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Process:
    """A program in a process group of its own, which ends with the test."""

    def __init__(self, *command, **options):
        self.command = [str(word) for word in command]
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.output,
                                        stderr=self.output, start_new_session=True, **options)

    def text(self):
        self.output.seek(0)
        return self.output.read().decode(errors='replace')

    def wait(self, status=0):
        try:
            got = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f'{self.command} does not end:\n{self.text()}') from None
        check(status is None or got == status, f'{self.command} ends with {got}:\n{self.text()}')
        return self.text()

    def running(self):
        return self.process.poll() is None

    def interrupt(self, number=signal.SIGINT):
        """As Ctrl-C does: all processes of the group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.interrupt(signal.SIGKILL)
        self.process.wait()
        self.output.close()


def script(name, *options, **more):
    return Process(PIPELINES / name, '--quiet', *options, **more)


def run(*command, status=0, **options):
    with Process(*command, **options) as process:
        return process.wait(status)


def until(attempt, what, *processes):
    """Calls attempt until it is true, as long as the given processes run."""
    end = time.monotonic() + PATIENCE
    while not attempt():
        for process in processes:
            check(process.running(), f'{what}: {process.command} has ended:\n{process.text()}')
        check(time.monotonic() < end, f'{what} does not happen')
        time.sleep(0.2)


def succeeds(*command):
    """Whether a program ends well, for until()."""
    with Process(*command) as process:
        try:
            process.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f'{command} does not end:\n{process.text()}') from None
        return process.process.returncode == 0


def listening(port, kind='tcp'):
    """Whether a socket of this machine waits at a port, without a connection that would count."""
    state = '0A' if kind == 'tcp' else '07'
    for line in pathlib.Path('/proc/net', kind).read_text().splitlines()[1:]:
        words = line.split()
        if words[1].endswith(f':{port:04X}') and words[3] == state:
            return True
    return False


def probe(path, *arguments):
    out = subprocess.run(['ffprobe', '-v', 'error', '-of', 'json', *arguments, str(path)], timeout=PATIENCE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    check(out.returncode == 0, f'ffprobe {path}: {out.stderr.decode()}')
    return json.loads(out.stdout)


def check_video(path, at_least, at_most, width=WIDTH, height=HEIGHT, rate=RATE, jitter=0.0015, live=True):
    """Decodes a file: size, number of pictures, one picture each 1/rate s. Live, some may be left
    out where a busy machine held up what comes behind the source, but those that come are on time.
    jitter is what the container rounds to (1 ms in Matroska and FLV)."""
    frames = probe(path, '-select_streams', 'v:0', '-show_frames', '-show_entries',
                   'frame=pts_time,width,height')['frames']
    check(at_least <= len(frames) <= at_most,
          f'{path}: {len(frames)} pictures, not {at_least} to {at_most}')
    sizes = {(f['width'], f['height']) for f in frames}
    check(sizes == {(width, height)}, f'{path}: pictures of {sizes}')
    times = [float(f['pts_time']) for f in frames]
    for i, (a, b) in enumerate(zip(times, times[1:])):
        steps = max(1, round((b - a) * rate)) if live else 1
        check(abs(b - a - steps / rate) <= jitter, f'{path}: picture {i + 1} is at {b}, the one before at {a}')
    return frames


def check_audio(path):
    streams = probe(path, '-select_streams', 'a', '-show_streams')['streams']
    check([s['codec_name'] for s in streams] == ['aac'], f'{path}: {streams}')


def main(tests):
    """Runs the tests that the command line names, all without one."""
    names = sys.argv[1:] or list(tests)
    failed = False
    for name in names:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix='lightforce-') as folder:
            try:
                tests[name](pathlib.Path(folder))
                print(f'ok {name} ({time.monotonic() - began:.1f} s)', flush=True)
            except Failed as error:
                failed = True
                print(f'FAILED {name}: {error}', flush=True)
            except Exception:  # pylint: disable=broad-except
                failed = True
                print(f'FAILED {name}: {traceback.format_exc()}', flush=True)
    sys.exit(1 if failed else 0)
