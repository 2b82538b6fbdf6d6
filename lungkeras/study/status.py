"""The progress of a study: steps done, steps left, and about how long they take on this machine.

reports/<study>/status.json is written by the graph of notebooks: the steps that will run, and the duration of each that
has ended. A step is expected to take as long as earlier steps of its kind here. Before the first of its kind has ended,
the estimate is the time in NOMINAL, measured on two cores of another machine, scaled by the speed of this one so far.

    python -m lungkeras.study.status FILE NAME SECONDS    records the end of a step, and prints its line
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lungkeras.system.files import write_json
from lungkeras.system.locks import alone, is_held
from lungkeras.system.text import say
from lungkeras.system.untrusted import json_files

NAME = "status.json"
SECONDS_TO_WRITE = 60.0
# Seconds per step, plus seconds per scan of 64 pixels: once for a preparation, in each epoch for a training, which uses
# seven in ten scans.
NOMINAL = {"prepare": 10.0, "train": 30.0, "evaluate": 60.0, "visualize": 90.0, "report": 20.0}
SECONDS_PER_SCAN = {"prepare": 0.01, "mobilenet_v3_large": 0.0035, "efficientnet_b1": 0.008, "resnet34": 0.0175}
OTHER_BACKBONE = 0.0175
TITLES = {"prepare": "preparations", "train": "trainings", "evaluate": "evaluation", "visualize": "drawing of figures",
          "report": "report"}  # fmt: skip


def begin(folder: Path, cores: int) -> None:
    """A study starts: records of an earlier start are deleted."""
    write_json(folder / NAME, {"begun": time.time(), "ended": None, "pid": os.getpid(), "cores": cores, "steps": {}})


def plan(folder: Path, steps: Mapping[str, tuple[str, str, float]]) -> None:
    """Adds steps that will run, {name: (rule, kind, nominal seconds)}, and prints their numbers by kind."""
    with _held(folder / NAME) as state:
        for name, (rule, kind, seconds) in steps.items():
            state["steps"][name] = {"rule": rule, "kind": kind, "nominal": seconds, "seconds": None, "ended": None}
    counted = {rule: sum(step[0] == rule for step in steps.values()) for rule in TITLES}
    words = [f"{count} {_title(rule, count)}" for rule, count in counted.items() if count]
    if words:
        say(f"  {len(steps)} steps: {', '.join(words)}")


def _title(rule: str, count: int) -> str:
    return TITLES[rule].removesuffix("s") if count == 1 and rule in ("prepare", "train") else TITLES[rule]


def done(file: Path, name: str, seconds: float) -> str:
    """Records the end of a step, and returns the line to print: 12 of 24, about 7 min left."""
    with _held(file) as state:
        step = state["steps"].setdefault(name, {"rule": "", "kind": "", "nominal": seconds})
        step |= {"seconds": seconds, "ended": time.time()}
        return far(state)


def end(folder: Path) -> None:
    """A study has ended: completed or not, depending on its steps."""
    with _held(folder / NAME) as state:
        state["ended"] = time.time()


def nominal_seconds(rule: str, *, backbone: str = "", scans: int = 0, epochs: int = 1, size: int = 64) -> float:
    """The time of a step on the reference machine, before anything is known about this one."""
    of_scans = SECONDS_PER_SCAN.get(backbone or rule, OTHER_BACKBONE) * scans * epochs * (size / 64) ** 2
    return NOMINAL.get(rule, 30.0) + of_scans


def seconds_left(state: Mapping, now: float) -> float | None:
    """The expected time of the remaining steps; None before the first has ended."""
    steps = state["steps"].values()
    ended = [step for step in steps if step["seconds"] is not None]
    waiting = [step for step in steps if step["seconds"] is None]
    if not ended or not waiting:
        return None if waiting else 0.0

    def pace(steps: list) -> float:
        return sum(step["seconds"] for step in steps) / sum(step["nominal"] for step in steps)

    def expected(step: Mapping) -> float:
        alike = [other for key in ("kind", "rule") for other in ended if other[key] == step[key]]
        same_kind = [other for other in alike if other["kind"] == step["kind"]]
        return step["nominal"] * pace(same_kind or alike or ended)

    # All but the report run side by side; a step begins when the one before it in its slot has ended.
    broad = [step for step in waiting if step["rule"] != "report"]
    narrow = sum(expected(step) for step in waiting if step not in broad)
    side_by_side = max(1, min(state["cores"], len(broad)))
    begun = sorted([state["begun"], *(step["ended"] for step in ended)])[-(side_by_side if broad else 1) :]
    total = sum(expected(step) for step in broad)
    spent = min(sum(now - moment for moment in begun), total if broad else narrow)
    return max(0.0, (total - spent * bool(broad)) / side_by_side + narrow - spent * (not broad))


def far(state: Mapping, now: float | None = None) -> str:
    """The progress of a study, in a few words: 12 of 24, about 7 min left."""
    steps = state["steps"].values()
    count = sum(step["seconds"] is not None for step in steps)
    left = seconds_left(state, time.time() if now is None else now)
    return f"{count} of {len(steps)}" + (f", about {_duration(left)} left" if left and count < len(steps) else "")


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 120 else f"{round(minutes / 60)} h"


def sentence(folder: Path, name: str) -> str:
    """The state of the study in a folder of results: running, ended, killed, or never started."""
    state = _read(folder / NAME)
    if state is None:
        is_there = (folder / "report.html").is_file()
        return f"{name}: {'complete' if is_there else 'nothing was made yet'}; nothing is running"
    missing = sum(step["seconds"] is None for step in state["steps"].values())
    if is_held(folder / ".lock"):
        minutes = _duration(time.time() - state["begun"])
        return f"{name}: running for {minutes}, {far(state)}" if state["steps"] else f"{name}: starting"
    if missing or state["ended"] is None:
        how = "stopped" if state["ended"] else "was killed"
        return f"{name}: {how} after {far(state).partition(',')[0]} steps; run lungkeras report again to continue"
    return f"{name}: complete, {len(state['steps'])} steps made at the last start; nothing is running"


def _read(file: Path) -> dict | None:
    """The content of a status file; None if it is missing or can't be read."""
    try:
        state = json_files.read(file)
        state["begun"], state["ended"], state["cores"]
        steps = state["steps"].values()
        return state if all({"rule", "kind", "nominal", "seconds", "ended"} <= set(step) for step in steps) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@contextmanager
def _held(file: Path) -> Iterator[dict]:
    """The status in a file, changed within the block by one process at a time, and written whole after it."""
    with alone(file.parent / ".status.lock", f"{file} is being written", patience=SECONDS_TO_WRITE):
        state = _read(file) or {"begun": time.time(), "ended": None, "cores": 1, "steps": {}}
        yield state
        write_json(file, state)


if __name__ == "__main__":
    say(f"  {sys.argv[2]} ({sys.argv[3]} s): {done(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))}")
