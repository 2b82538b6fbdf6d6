"""Scans decoded in separate processes: if a decoder crashes, one file is lost and the work goes on.

Decoders are C code that runs on untrusted bytes. Known faults of a file are found before (decoding.py); unknown ones
may end a process, but not the one that holds the prepared scans. Each file has a limit of CPU time, as a machine may be
busy, and of memory; one that exceeds them counts as unreadable.

The pools of concurrent.futures, loky and pebble do not do this: the first two end all work when one process dies, none
limits the CPU time and memory of one file, and each would pickle the pixels, which shared memory holds here.
"""

import mmap
import os
import queue
import select
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.datasets.scans.opencv import MOST_PIXELS, cv2
from lungkeras.system.errors import RunError, ScanError
from lungkeras.system.processes import ending, limit_memory, limit_seconds, variables

SERVE = "from lungkeras.datasets.scans.workers import serve; serve()"
READY = b"ready"
LENGTH = struct.Struct("<q")  # of the bytes that follow
ANSWER = struct.Struct("<qq")  # height and width of the pixels, in memory that is shared; or one of these, and a length
REFUSED, NO_MEMORY, TOO_LARGE = -1, -2, -3
MOST_SECONDS = 10  # of the processor, for one file
MOST_SECONDS_WAITED = 120  # for an answer, where it computes nothing
MOST_MEMORY = 900 * 2**20  # bytes, on top of what the process holds before it has seen a file


@contextmanager
def decoders(workers: int) -> Iterator[Callable[[Path | str], np.ndarray]]:
    """Yields a `decode_grey` backed by this many processes, for as many threads to call. They start on demand."""
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
    """A process that decodes one file after another, replaced if it dies."""

    def __init__(self):
        self.process = self.pixels = None

    def decode(self, path: Path | str) -> np.ndarray:
        """`decode_grey` of a file. Raises the same errors, and ScanError if the process dies on it twice.

        Also raises ScanError if the file takes longer or needs more memory than any scan, and RunError if no process
        can be started.
        """
        try:
            return self._asked(path)
        except EOFError:  # perhaps killed from outside
            try:
                return self._asked(path)
            except EOFError as ending:
                raise ScanError(f"{path}: the decoder died ({ending})") from None
        except TimeoutError as seconds:
            raise ScanError(f"{path}: took longer than {seconds} s") from None

    def _asked(self, path: Path | str) -> np.ndarray:
        """What the process answers.

        Raises EOFError, with its exit status in words, if it dies, and TimeoutError, with the seconds, if it is
        ended.
        """
        if self.process is None:
            self._start()
        name = os.fsencode(path)
        try:
            self.process.stdin.write(LENGTH.pack(len(name)) + name)
            height, width = ANSWER.unpack(self._read(ANSWER.size))
            if height * width > MOST_PIXELS:
                raise EOFError
            reason = self._read(width) if height == REFUSED else None
        except TimeoutError:
            self.process.kill()
            self.close()
            raise
        except (EOFError, OSError) as error:
            status = self.close()
            if status == -signal.SIGXCPU:
                raise TimeoutError(MOST_SECONDS) from None
            raise EOFError(ending(status)) from error
        if height == NO_MEMORY:
            raise MemoryError
        if height == TOO_LARGE:
            self.close()  # its state may be broken
            raise ScanError(f"{path}: needed more than {MOST_MEMORY // 2**20} MB of memory")
        if reason is not None:
            raise ScanError(reason.decode(errors="surrogatepass"))
        return np.frombuffer(self.pixels, np.uint8, height * width).reshape(height, width).copy()

    def _start(self) -> None:
        with shared_memory() as memory:
            self.pixels = mmap.mmap(memory, MOST_PIXELS)
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", SERVE, str(memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=[memory],
                env=variables(OPENBLAS_NUM_THREADS="1"),
            )
        try:
            self._read(len(READY))
        except EOFError:
            status = self.close()
            raise RunError(
                f"No process to decode scans could be started ({ending(status)}); its own message is printed above"
            ) from None

    def _read(self, length: int) -> bytes:
        """So many bytes of its answer. Raises EOFError if there are fewer, TimeoutError where none come."""
        content = b""
        while len(content) < length:
            self._wait()
            more = self.process.stdout.read(length - len(content))
            if not more:
                raise EOFError
            content += more
        return content

    def _wait(self) -> None:
        """Returns when there is something to read. Each second counts by itself: this process may be stopped too."""
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        for _ in range(MOST_SECONDS_WAITED):
            if poll.poll(1000):
                return
        raise TimeoutError(MOST_SECONDS_WAITED)

    def close(self) -> int | None:
        """Ends the process, and returns its exit status; None if there is none."""
        if self.process is None:
            return None
        for opened in (self.process.stdin, self.process.stdout, self.pixels):
            opened.close()
        process, self.process = self.process, None
        return process.wait()


@contextmanager
def shared_memory() -> Iterator[int]:
    """The number of an open sparse file as large as the largest scan."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("scan")
    else:
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    try:
        os.truncate(memory, MOST_PIXELS)
        yield memory
    finally:
        os.close(memory)


def serve(decode: Callable[[Path], np.ndarray] = decode_grey) -> None:
    """Decodes the files that standard input names, and answers on standard output, until the input ends."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller handles it
    pixels = np.frombuffer(mmap.mmap(int(sys.argv[1]), MOST_PIXELS), np.uint8)
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # Output printed by a library is not an answer, and warnings about bytes that no pixel needs would be misleading.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with open(os.devnull, "rb+", buffering=0) as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    cv2.setNumThreads(1)
    limit_memory(MOST_MEMORY)
    answers.write(READY)
    answers.flush()
    while len(length := asked.read(LENGTH.size)) == LENGTH.size:
        path = Path(os.fsdecode(asked.read(*LENGTH.unpack(length))))
        limit_seconds(MOST_SECONDS)
        try:
            image = decode(path)
            pixels[: image.size].reshape(image.shape)[:] = image
            answers.write(ANSWER.pack(*image.shape))
        except ScanError as error:
            reason = str(error).encode(errors="surrogatepass")
            answers.write(ANSWER.pack(REFUSED, len(reason)) + reason)
        except MemoryError:
            answers.write(ANSWER.pack(TOO_LARGE if _has_room() else NO_MEMORY, 0))
        try:
            answers.flush()
        except BrokenPipeError:
            os._exit(0)  # the caller is gone


def _has_room() -> bool:
    """Whether memory is available again after the file: if so, the file needed too much."""
    try:
        mmap.mmap(-1, MOST_MEMORY // 2, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return False
    return True


def decode_alone(path: Path | str) -> np.ndarray:
    """`decode_grey` of one file in a process of its own."""
    with decoders(1) as decode:
        return decode(path)
