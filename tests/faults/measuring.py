"""A piece of Python in a process of its own: what it said, and the most memory that it held."""

import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from lungkeras.system.processes import variables

MEGABYTE = 1_000_000
MOST = 5 * 2**30  # bytes of address space: the machine survives what a test finds
AROUND = """
import sys
try:
CODE
except Exception as error:
    print(f"{type(error).__name__}: {error}")
finally:
    held = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(f"held {held}")
"""


class Measured(NamedTuple):
    said: str  # its output, or the class and the words of what it raised
    megabytes: float  # the most that it held
    seconds: float


def measured(code: str, *arguments: object, cwd: Path | None = None, **changed: str) -> Measured:
    """Runs the code, of whose errors the words are said, with `sys.argv[1:]` as given."""
    code = AROUND.replace("CODE", "\n".join(f"    {line}" for line in code.strip().splitlines()))
    command = [sys.executable, "-P", "-c", code, *map(str, arguments)]
    started = time.monotonic()
    done = subprocess.run(
        ["sh", "-c", f'ulimit -v {MOST // 1024}; exec "$@"', "sh", *command],
        env=variables(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", **changed),
        cwd=cwd,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    seconds = time.monotonic() - started
    said, _, held = done.stdout.rpartition("held ")
    assert held, (done.returncode, done.stdout, done.stderr[-2000:])
    return Measured((said + done.stderr).strip(), int(held) * 1024 / MEGABYTE, seconds)
