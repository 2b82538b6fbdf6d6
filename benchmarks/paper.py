"""What the published study takes at its own sizes on this machine, and how long all of it would.

    python benchmarks/paper.py [--prepared 200] [--evaluated 64]

Writes benchmarks/results/paper.csv, one row per dataset and backbone of params/paper: pixels a side; `prepare_s`,
seconds to prepare so many drawn scans of the median size that the pneumonia collection publishes; `first_step_s` and
`step_s`, of training steps of the study's batch, the first of which traces; `evaluate_s` and `maps_s`, seconds to
predict and to explain so many scans by Grad-CAM; `peak_mb`, the most memory of the two processes, of preparation and of
the model.

`run_days` projects one run: the published number of scans, 70 % of them in steps of every epoch and 15 % predicted
after it, times the epochs; `study_days` is the sum over all runs of params/paper, ablation included. It leaves out what
takes minutes of days: the report, and reading from a slow disk.
"""

import tempfile
from pathlib import Path

from scale import in_a_process  # isort: skip
import numpy as np
import pandas as pd
from measuring import arguments, write

from lungkeras.evaluation.paper.published import published
from lungkeras.study.params_files import load_study
from lungkeras.system.places import project_folder

TRAIN, VAL = 0.70, 0.15
DAY = 86_400
CLASSES = {"multiclass": ("one", "two", "three"), "multilabel": tuple("abcdefg")}
STEPS = 3


def prepare(folder: str, dataset: str, scans: int, size: int):
    from input_pipeline import source_scans

    from lungkeras.preparation.reading import fill

    paths = source_scans(Path(folder) / "source", scans)
    yield ""
    fill(np.zeros((len(paths), size, size), np.uint8), paths)
    yield "prepare"


def model_steps(backbone: str, task: str, size: int, batch: int, scans: int):
    import keras

    import lungkeras
    from lungkeras.explanation.gradcam import grad_cam
    from lungkeras.training.optimizers import adam
    from lungkeras.training.outputs import outputs

    losses = {
        "multiclass": keras.losses.CategoricalCrossentropy(from_logits=True),
        "multilabel": keras.losses.BinaryCrossentropy(from_logits=True),
    }
    model = lungkeras.build_model(backbone, CLASSES[task], task, image_size=size, seed=0)
    model.compile(adam(0.01), losses[task])
    random, classes = np.random.default_rng(0), len(CLASSES[task])
    images = random.integers(0, 256, (max(batch, scans), size, size), np.uint8)
    labels = np.eye(classes, dtype=np.float32)[np.arange(batch) % classes]
    yield ""
    model.train_on_batch(images[:batch, ..., None], labels)
    yield "first_step"
    for _ in range(STEPS):
        model.train_on_batch(images[:batch, ..., None], labels)
        yield "step"
    outputs(model, images[:scans])
    yield "evaluate"
    grad_cam(model, images[:scans], 0)
    yield "maps"


def projected_days(scans: int, epochs: int, batch: int, step: float, scan: float) -> float:
    """Days of one run, from the seconds of a training step and of one predicted scan."""
    return epochs * (TRAIN * scans / batch * step + VAL * scans * scan) / DAY


def main() -> None:
    parser = arguments(__doc__, "paper.csv")
    parser.add_argument("--prepared", type=int, default=200, help="scans that are prepared (default 200)")
    parser.add_argument("--evaluated", type=int, default=64, help="scans that are evaluated (default 64)")
    options = parser.parse_args()
    runs = list(load_study(project_folder() / "params" / "paper")[1].values())
    if options.quick:
        options.prepared, options.evaluated, runs = 20, 4, [run for run in runs if "mobilenet" in run.backbone][:1]
    counted = pd.Series([(run.dataset, run.backbone) for run in runs]).value_counts(sort=False)
    rows = []
    for (dataset, backbone), number in counted.items():
        run = next(run for run in runs if (run.dataset, run.backbone) == (dataset, backbone))
        about, size = published()["datasets"][dataset], run.image_size
        with tempfile.TemporaryDirectory() as folder:
            (prepared,) = in_a_process(prepare, folder, dataset, options.prepared, size)
        took = in_a_process(model_steps, backbone, about["task"], size, run.batch_size, options.evaluated)
        seconds = pd.DataFrame(took).groupby("step")["seconds"].median()
        scan = seconds["evaluate"] / options.evaluated
        days = projected_days(about["scans"], run.epochs, run.batch_size, seconds["step"], scan)
        row = {"dataset": dataset, "backbone": backbone, "size": size, "batch": run.batch_size, "runs": number}
        row |= {"prepared": options.prepared, "prepare_s": prepared["seconds"], "evaluated": options.evaluated}
        row |= {f"{part}_s": seconds[part] for part in ("first_step", "step", "evaluate", "maps")}
        row |= {"peak_mb": max(prepared["peak_mb"], took[-1]["peak_mb"]), "run_days": round(days, 2)}
        rows.append(row)
        table = pd.DataFrame(rows)
        write(table.assign(study_days=round((table["run_days"] * table["runs"]).sum(), 1)), options)


if __name__ == "__main__":
    main()
