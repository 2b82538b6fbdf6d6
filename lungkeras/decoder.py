"""Scans decoded in processes of their own: a decoder that dies takes one file with it, and the work goes on.

Decoders are C code over somebody else's bytes. What is known to be wrong with a file is found before (decoding.py);
what is not known may end a process, and then it is not the one that holds the prepared scans.
"""

import os
import queue
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from lungkeras.decoding import MOST_PIXELS, decode_grey
from lungkeras.errors import RunError, ScanError

SERVE = "from lungkeras.decoder import serve; serve()"
READY = b"ready"
LENGTH = struct.Struct("<q")  # of the bytes that follow
ANSWER = struct.Struct("<qq")  # height and width of the pixels that follow; or -1, and the length of a reason
PIPE_BYTES = 1 << 20


@contextmanager
def decoders(workers: int) -> Iterator[Callable[[Path | str], np.ndarray]]:
    """Yields `decode_grey` as so many processes do it, for as many threads to call. They start when they are needed."""
    idle: queue.LifoQueue[Decoder] = queue.LifoQueue()
    all_of_them = [Decoder() for _ in range(workers)]
    for one in all_of_them:
        idle.put(one)

    def decode(path: Path | str) -> np.ndarray:
        one = idle.get()
        try:
            return one.decode(path)
        finally:
            idle.put(one)

    try:
        yield decode
    finally:
        for one in all_of_them:
            one.close()


class Decoder:
    """A process that decodes one file after another, and its successor where it dies."""

    def __init__(self):
        self.process = None

    def decode(self, path: Path | str) -> np.ndarray:
        """`decode_grey` of a file. Raises ScanError as that does, and where the process dies of it.

        Raises RunError where no process can be started.
        """
        if self.process is None:
            self._start()
        name = os.fsencode(path)
        try:
            self.process.stdin.write(LENGTH.pack(len(name)) + name)
            height, width = ANSWER.unpack(self._read(ANSWER.size))
            if height >= 0 and height * width > MOST_PIXELS:
                raise EOFError
            content = self._read(height * width if height >= 0 else width)
        except (EOFError, OSError) as error:
            raise ScanError(f"{path}: the decoder died ({_ending(self.close())})") from error
        if height < 0:
            raise ScanError(content.decode(errors="surrogatepass"))
        return np.frombuffer(content, np.uint8).reshape(height, width)

    def _start(self) -> None:
        package = str(Path(__file__).resolve().parent.parent)
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"},
        )
        with suppress(AttributeError, OSError):  # not every system has larger pipes
            import fcntl

            fcntl.fcntl(self.process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            self._read(len(READY))
        except EOFError:
            ending = _ending(self.close())
            raise RunError(
                f"No process to decode scans could be started ({ending}); its own words stand above"
            ) from None

    def _read(self, length: int) -> bytearray:
        """So many bytes of its answer. Raises EOFError where there are fewer."""
        content = bytearray(length)
        left = memoryview(content)
        while left:
            count = self.process.stdout.readinto(left)
            if not count:
                raise EOFError
            left = left[count:]
        return content

    def close(self) -> int | None:
        """Ends the process, and returns its exit status; None where there is none."""
        if self.process is None:
            return None
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()
        process, self.process = self.process, None
        return process.wait()


def _ending(status: int | None) -> str:
    """An exit status in words: SIGABRT, status 1.

    >>> _ending(-6), _ending(1)
    ('SIGABRT', 'status 1')
    """
    return signal.Signals(-status).name if status and status < 0 else f"status {status}"


def serve(decode: Callable[[Path], np.ndarray] = decode_grey) -> None:
    """Decodes the files that standard input names, and answers on standard output, until the input ends."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the one who asks
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    answers.write(READY)
    answers.flush()
    while len(length := asked.read(LENGTH.size)) == LENGTH.size:
        path = Path(os.fsdecode(asked.read(*LENGTH.unpack(length))))
        try:
            image = np.ascontiguousarray(decode(path), np.uint8)
            answers.write(ANSWER.pack(*image.shape))
            answers.write(image)
        except ScanError as error:
            reason = str(error).encode(errors="surrogatepass")
            answers.write(ANSWER.pack(-1, len(reason)) + reason)
        with suppress(BrokenPipeError):
            answers.flush()
