"""How long a run of the demo takes on each backend, side by side.

    python benchmarks/backends.py [--epochs 3] [--rounds 2] [--backbones resnet34 ...] [--backends torch ...]

Writes benchmarks/results/backends.csv, one row per backbone and backend: seconds to the first epoch (`start_s`:
Python, the backend, Keras, the model), of the first epoch, which compiles, of a later one, and of a whole run of the
demo's epochs (`run_s`: what was measured and, for the epochs left out, the median of the later ones); and the seconds
that processors worked for what was measured (`processor_s`), which other work on the machine changes least. All are
medians over the rounds; `ratio` and `processor_ratio` are those of run_s and processor_s to the first backend's in the
same round.

Each is `lungkeras train` with the params of the demo, cut to a few epochs, in a process of the Python that has the
backend (as lungkeras.training.parity finds it). A round lets each backend train one run, in turn, as timings on a
shared machine swing by a factor of two. A run has the one thread that the demo, of more runs than cores, gives it too.
"""

import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from measuring import arguments, write  # isort: skip

import pandas as pd
import yaml

from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.models.architectures import STUDY as BACKBONES
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system.backends import BACKENDS
from lungkeras.system.files import write_text
from lungkeras.system.places import project_folder
from lungkeras.training.parity import backend_pythons

DEMO = project_folder() / "params" / "demo" / "study.yaml"
DATASET = "pneumonia"
VERSION = "import sys, importlib.metadata; print(importlib.metadata.version(sys.argv[1]), end='')"


def processor_seconds() -> float:
    """Seconds that processors worked for the processes that this one has started and that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def train(python: str, backend: str, params: Path, history: Path) -> dict[str, float]:
    """Seconds of one run of `lungkeras train`, and of its parts. Ends the program where the run fails."""
    environment = os.environ | {"PYTHONPATH": str(project_folder())}
    environment |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "2", "OMP_NUM_THREADS": "1", "NPROC": "1"}
    command = [python, "-m", "lungkeras", "train", "--params", str(params), "--backend", backend]
    started, first_line, worked, said = time.perf_counter(), 0.0, processor_seconds(), []
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, **options) as run:
        for line in run.stdout:
            said.append(line)
            if line.startswith("epoch 1/"):
                first_line = time.perf_counter() - started
    measured = time.perf_counter() - started
    if run.returncode:
        sys.exit(f"{shlex.join(command)} failed: {''.join(said[-20:])}")
    first, *later = pd.read_csv(history)["seconds"]
    return {
        "start_s": first_line - first,
        "first_epoch_s": first,
        "epoch_s": median(later),
        "measured_s": measured,
        "processor_s": processor_seconds() - worked,
    }


def measure(pythons: Mapping[str, str], backbones: list[str], epochs: int, rounds: int, folder: Path) -> pd.DataFrame:
    """One row per backbone, backend and round: backbone, backend, round and seconds."""
    demo = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    source = draw_source(DATASET, folder / "source")
    prepare_dataset(DATASET, source, folder / "prepared" / DATASET, size=demo["image_size"])
    rows = []
    for turn in range(rounds):
        for backbone in backbones:
            for backend, python in pythons.items():
                runs = folder / f"{turn}-{backend}"
                changes = {"dataset": DATASET, "backbone": backbone, "epochs": epochs}
                changes |= {"source": str(source), "prepared": str(folder / "prepared"), "runs": str(runs)}
                params = folder / "params.yaml"
                write_text(params, yaml.safe_dump(demo | changes))
                history = runs / f"{DATASET}-{backbone}-random" / "history.csv"
                seconds = train(python, backend, params, history)
                run = seconds["measured_s"] + (demo["epochs"] - epochs) * seconds["epoch_s"]
                rows.append({"backbone": backbone, "backend": backend, "round": turn, **seconds, "run_s": run})
                print(
                    {name: round(value, 1) if isinstance(value, float) else value for name, value in rows[-1].items()}
                )
    return pd.DataFrame(rows)


def summarise(seconds: pd.DataFrame) -> pd.DataFrame:
    """Medians over the rounds, with the ratios to the first backend's in the same round."""
    peers = seconds.groupby(["backbone", "round"])[["run_s", "processor_s"]].transform("first")
    seconds = seconds.assign(
        ratio=seconds["run_s"] / peers["run_s"], processor_ratio=seconds["processor_s"] / peers["processor_s"]
    )
    found = seconds.groupby(["backbone", "backend"], sort=False).median(numeric_only=True).reset_index()
    return found.drop(columns=["round", "measured_s"]).round({name: 2 if "ratio" in name else 1 for name in found})


def main() -> None:
    parser = arguments(__doc__, "backends.csv")
    parser.add_argument("--epochs", type=int, default=3, help="epochs that are trained (default 3)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, choices=BACKBONES)
    parser.add_argument("--backends", nargs="+", default=BACKENDS, choices=BACKENDS)
    parser.add_argument("--python", action="append", default=[], metavar="BACKEND=PYTHON")
    options = parser.parse_args()
    if options.quick:
        options.epochs, options.rounds, options.backbones = 2, 1, ["mobilenet_v3_large"]
    if options.epochs < 2:
        parser.error("--epochs: the first compiles, so that 2 or more are needed")
    found = backend_pythons(dict(text.partition("=")[::2] for text in options.python))
    pythons = {backend: python for backend, python in found.items() if backend in options.backends}
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(pythons, options.backbones, options.epochs, options.rounds, Path(folder))
    table = summarise(seconds)
    asked = {
        backend: subprocess.check_output([python, "-c", VERSION, backend], text=True)
        for backend, python in pythons.items()
    }
    table["version"] = table["backend"].map(asked)
    write(table.assign(epochs=options.epochs, rounds=options.rounds), options)


if __name__ == "__main__":
    main()
