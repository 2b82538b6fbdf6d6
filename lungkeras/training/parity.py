"""Whether the backends agree: the same model, scans and batches on each of them.

    python -m lungkeras.training.parity [PREPARED] [--to parity.csv] [--python jax=.venv-jax/bin/python]

Each backend runs in a process, of this Python if the backend is installed here, else of .venv-<backend>. The first
trains a model and saves it before and after; the others train the former and predict with the latter. The table has one
row per backbone and backend, with the largest differences from the first; beyond BOUNDS the exit status is 1.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.models.architectures import STUDY as BACKBONES
from lungkeras.study.params import Params
from lungkeras.system.backends import BACKENDS, is_installed, require_backend
from lungkeras.system.errors import LungkerasError, ParamsError, RunError
from lungkeras.system.files import write_csv
from lungkeras.system.places import project_folder
from lungkeras.system.processes import variables
from lungkeras.system.text import printable, say
from lungkeras.system.untrusted import array_files

STEPS = 20
BATCH_SIZE = 8
SCANS = 32
# At the demo's 0.001 Adam amplifies the rounding of small gradients: between two backends, ResNet-34's losses were
# 2e-6 apart at the first step and 1.3 at the fourth. At a smaller rate rounding stays rounding.
LEARNING_RATE = 1e-7
# Of logits; of grey levels behind the layer Augmentation; of the losses of the first training steps.
BOUNDS = {"logits": 1e-4, "grey_levels": 1, "losses": 1e-3}


def backend_pythons(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """{backend: the Python that has it}, in the order of BACKENDS; a backend that is not installed is left out."""
    pythons = {}
    for backend in BACKENDS:
        folders = [f".venv-{backend}", ".venv"] if backend == "tensorflow" else [f".venv-{backend}"]
        beside = [project_folder() / folder / "bin" / "python" for folder in folders]
        places = [(given or {}).get(backend), sys.executable if is_installed(backend) else None]
        places += [str(path) for path in beside if path.exists()]
        if place := next(filter(None, places), None):
            pythons[backend] = place
    return pythons


def parity(
    prepared: Path | str,
    pythons: Mapping[str, str],
    *,
    backbones: Sequence[str] = BACKBONES,
    steps: int = STEPS,
) -> pd.DataFrame:
    """Compares backends on a prepared dataset, {backend: Python}; the first is the reference of the others.

    Columns: backbone, backend, reference, scans, steps, and the largest absolute differences: logits (of the test
    split, or its first SCANS), grey_levels (of training batches behind the layer Augmentation), losses (of the
    first `steps` training steps from equal weights, on equal batches, at LEARNING_RATE, without dropout, whose draws
    are each backend's own).
    Raises RunError if a backend fails.
    """
    reference, *others = pythons
    with tempfile.TemporaryDirectory() as name:
        found = {
            backend: _in_process(python, backend, Path(prepared).resolve(), Path(name), backbones, steps)
            for backend, python in pythons.items()
        }
    rows = []
    for backbone in backbones:
        for backend in others:
            pairs = {what: [found[name][f"{what}-{backbone}"] for name in (reference, backend)] for what in BOUNDS}
            about = {"backbone": backbone, "backend": backend, "reference": reference}
            about |= {"scans": len(pairs["logits"][0]), "steps": steps}
            rows.append(
                about | {what: float(np.abs(np.subtract(*pair, dtype=float)).max()) for what, pair in pairs.items()}
            )
    return pd.DataFrame(rows)


def _in_process(
    python: str, backend: str, prepared: Path, folder: Path, backbones: Sequence[str], steps: int
) -> dict[str, np.ndarray]:
    code = "from lungkeras.training.parity import measure; "
    code += f"measure({str(prepared)!r}, {str(folder)!r}, {list(backbones)}, {steps})"
    done = subprocess.run(
        [python, "-P", "-c", code],
        env=variables(KERAS_BACKEND=backend),
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip() or "without output").splitlines()[-1]
        raise RunError(f"{backend} could not be measured with {python} ({printable(last)})")
    with array_files.load(folder / f"{backend}.npz") as arrays:
        return dict(arrays)


def measure(prepared: str, folder: str, backbones: Sequence[str], steps: int) -> None:
    """What one backend computes, as `parity` compares it: <backend>.npz in `folder`.

    Where the folder holds no models yet, they are built here, trained, and saved as <backbone>-before.keras and
    <backbone>-after.keras.
    """
    import keras

    from lungkeras import augmentation, models, training
    from lungkeras.preparation.folder import load_prepared
    from lungkeras.training import outputs, pipeline

    data = load_prepared(prepared)
    arrays = {}
    for backbone in backbones:
        before, after = (Path(folder) / f"{backbone}-{when}.keras" for when in ("before", "after"))
        params = Params(
            dataset=data.name,
            backbone=backbone,
            image_size=data.size,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            final_learning_rate=LEARNING_RATE,
        )
        first = not before.exists()
        model = training.initial_model(params, data) if first else models.load_model(before)
        if first:
            models.save_model(model, before)
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        batches = pipeline.Batches(data.images["train"], data.labels("train"), BATCH_SIZE, 0, epochs=steps)
        augment = augmentation.Augmentation()
        levels = [augment(batches[step][0], chances(len(batches[step][0])), training=True) for step in range(steps)]
        arrays[f"grey_levels-{backbone}"] = np.concatenate([keras.ops.convert_to_numpy(each) for each in levels])
        trainer, batches = training.compiled(model, params, data), replace(batches, augmented=True)
        losses = [trainer.train_on_batch(*batches[step])[0] for step in range(steps)]
        arrays[f"losses-{backbone}"] = np.array(losses, float)
        if first:
            models.save_model(model, after)
        arrays[f"logits-{backbone}"] = outputs.outputs(models.load_model(after), data.images["test"][:SCANS])
    np.savez(Path(folder) / f"{keras.backend.backend()}.npz", **arrays)


def chances(scans: int) -> np.ndarray:
    """float32 (scans, 3): each way to choose among the three transforms, in turn."""
    return ((np.arange(scans)[:, None] >> np.arange(3)) & 1).astype(np.float32)


def beyond_bounds(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a parity table with a difference beyond BOUNDS, or none at all (not a number)."""
    return table[~(table[list(BOUNDS)] <= pd.Series(BOUNDS)).all(axis=1)]


def draw_prepared(folder: Path) -> Path:
    """A prepared dataset of drawn pneumonia scans, if none is given."""
    from lungkeras.datasets.phantoms.phantom import draw_source
    from lungkeras.preparation.prepare import prepare_dataset

    prepare_dataset("pneumonia", draw_source("pneumonia", folder / "source", scans=120), folder / "prepared", size=64)
    return folder / "prepared"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lungkeras.training.parity", description=__doc__.partition("\n")[0])
    parser.add_argument("prepared", nargs="?", help="a prepared dataset (default: drawn for the purpose)")
    parser.add_argument("--to", type=Path, metavar="FILE", help="the CSV to write, as tables/parity.csv of a study")
    parser.add_argument(
        "--python", action="append", default=[], metavar="BACKEND=PYTHON", help="the Python of a backend"
    )
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, choices=BACKBONES)
    options = parser.parse_args(arguments)
    try:
        given = dict(text.partition("=")[::2] for text in options.python)
        pythons = backend_pythons(given)
        if unknown := sorted(set(given) - set(pythons)):
            require_backend(unknown[0])
        if len(pythons) < 2:
            raise ParamsError(
                f"Parity compares two backends or more; found only {', '.join(pythons)}, here and in .venv-<backend>"
            )
        with tempfile.TemporaryDirectory() as name:
            table = parity(options.prepared or draw_prepared(Path(name)), pythons, backbones=options.backbones)
    except LungkerasError as error:
        say(f"lungkeras: {error}", file=sys.stderr)
        return 1
    say(*table.to_string(index=False, float_format="{:.2g}".format).split("\n"))
    if options.to:
        write_csv(options.to, table)
    wrong = beyond_bounds(table)
    for row in wrong.itertuples():
        say(f"lungkeras: {row.backbone} on {row.backend} is beyond {BOUNDS}", file=sys.stderr)
    return 1 if len(wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
