"""Ends all child processes with a command: after ctrl-C, a signal, or its own death by any cause.

Run as a program, this module supervises a command. It starts the command. When its own standard input ends, because
the process at the other end has ended, it ends the command and all its children.
"""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """The process was asked to end by a signal other than ctrl-C; `status` is its exit status."""

    def __init__(self, number: int):
        super().__init__(f"signal {number}")
        self.status = 128 + number


@contextmanager
def by_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise Terminated in the main thread, so unfinished results are removed.

    Python drops exceptions raised while it frees an object; a signal lost that way, ctrl-C included, is sent again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    report = sys.unraisablehook

    def stop(number, frame):
        raise Terminated(number)

    def send_again(dropped):
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            report(dropped)
            return
        status = getattr(dropped.exc_value, "status", 128 + signal.SIGINT)
        # Python drops exceptions in this hook as well.
        threading.Timer(0.01, os.kill, (os.getpid(), status - 128)).start()

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as nohup asks for
            signal.signal(number, stop)
    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = report
        for number, handler in before.items():
            signal.signal(number, handler)


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: str | os.PathLike | None = None,
    keep: Iterable[int] = (),
    patience: float = 0,
) -> int:
    """Runs a command to its end, in `folder` if given, and returns its exit status; it gets no input.

    It holds the file handles of `keep` as long as it lives. If this call is interrupted, or its process dies, the
    command ends with all its children, at once or after `patience` seconds to shut down.
    """
    keeper = subprocess.Popen(
        [sys.executable, "-P", __file__, str(patience), *command],
        stdin=subprocess.PIPE,
        env=dict(environment),
        cwd=folder,
        pass_fds=tuple(keep),
        start_new_session=True,  # ctrl-C reaches this process alone, which ends the others in order
    )
    try:
        return keeper.wait()
    finally:
        keeper.stdin.close()
        keeper.wait()


def end_tree(number: int, patience: float) -> None:
    """Ends a process and all its children; first politely, if it is given seconds to shut down."""
    import psutil

    try:
        root = psutil.Process(number)
    except psutil.NoSuchProcess:
        return
    if patience:
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            _send(root, signal_number)
        psutil.wait_procs([root], timeout=patience)
    # Each is stopped before it is inspected, so it can't start another that is missed.
    tree, new = [], [root]
    while new:
        for process in new:
            _send(process, signal.SIGSTOP)
        tree += new
        new = [process for process in _started(root) if process not in tree]
    for process in tree:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(tree, timeout=1)


def _started(root) -> list:
    import psutil

    try:
        return root.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _send(process, number: int) -> None:
    import psutil

    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def keep(patience: float, command: Sequence[str]) -> int:
    """Runs a command to its end, or until the standard input ends, and returns its exit status."""
    for number in (*SIGNALS, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # it ends with its command; what it starts does not inherit this
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
    while child.poll() is None:
        if select.select([sys.stdin], [], [], 0.1)[0]:
            end_tree(child.pid, patience)
    return child.returncode


if __name__ == "__main__":
    sys.exit(keep(float(sys.argv[1]), sys.argv[2:]))
