"""Runs an exported file in a separate process with limits on memory and time: if it dies, nothing else does.

Known faults of such a file are found before its runtime opens it (system.untrusted); the memory that its operations
take can't be seen from their few bytes.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.system.errors import RunError
from lungkeras.system.processes import ending, limit_memory, variables
from lungkeras.system.text import printable

if TYPE_CHECKING:
    import numpy as np

MOST_MEMORY_TO_OPEN = 6 * 2**30  # bytes, including those of its runtime
MOST_MEMORY_TO_ANSWER = 1536 * 2**20
MOST_SECONDS = 600
MOST_ANSWER = 2**28  # bytes
ANSWERED, REFUSED = b"0", b"1"


class Isolated:
    """A function from scans, uint8 (N, size, size), to logits, float32 (N, classes), computed by another process."""

    def __init__(self, path: Path, threads: int | None, code: str):
        """`code` is the line of Python that the process runs, which calls `serve`.

        Raises RunError as `runtimes.open_exported` does, and where the process ends before it has answered."""
        self.path = path
        self.pipe, theirs = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", code, str(theirs.fileno()), os.fspath(path), str(threads or 0)],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=variables(**({"KERAS_BACKEND": "tensorflow"} if path.is_dir() else {})),
        )
        theirs.close()
        weakref.finalize(self, _end, self.pipe, self.process)
        self._answer()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        import numpy as np

        with suppress(OSError):  # the reason is reported below
            self.pipe.send_bytes(_packed(images))
        return np.load(io.BytesIO(self._answer()), allow_pickle=False)

    def _answer(self) -> bytes:
        try:
            if not self.pipe.poll(MOST_SECONDS):
                raise RunError(f"{self.path} took longer than {MOST_SECONDS} s to answer. Export the run again.")
            answer = self.pipe.recv_bytes(MOST_ANSWER)
        except (EOFError, OSError):
            status = _end(self.pipe, self.process)
            raise RunError(
                f"{self.path}: the process that ran it ended ({ending(status)}), as where it needs more than "
                f"{MOST_MEMORY_TO_ANSWER // 2**20:,} MB of memory. Export the run again."
            ) from None
        if answer[:1] == REFUSED:
            raise RunError(printable(answer[1:].decode(errors="replace")))
        return answer[1:]


def _end(pipe: Connection, process: subprocess.Popen) -> int:
    """Ends the process, and returns its exit status."""
    pipe.close()  # it waits for this
    try:
        return process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _packed(array: np.ndarray) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def serve(open_exported: Callable) -> None:
    """Opens the file named on the command line, and answers requests until they end."""
    import resource

    import numpy as np

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller handles it
    pipe, path, threads = Connection(int(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]) or None
    try:
        limit_memory(MOST_MEMORY_TO_OPEN)
        run = open_exported(path, threads=threads, here=True)
        limit_memory(MOST_MEMORY_TO_ANSWER)
        pipe.send_bytes(ANSWERED)
        while True:
            try:
                answer = ANSWERED + _packed(run(np.load(io.BytesIO(pipe.recv_bytes()), allow_pickle=False)))
            except RunError as error:
                answer = REFUSED + str(error).encode(errors="replace")
            pipe.send_bytes(answer)
    except RunError as error:
        pipe.send_bytes(REFUSED + str(error).encode(errors="replace"))
    except (EOFError, BrokenPipeError):
        pass  # the caller is gone
