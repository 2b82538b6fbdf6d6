"""How time and memory grow with the number of scans: preparation, the audit, the evaluation.

    python benchmarks/scale.py [--scans 1000 3000 10000 30000] [--size 64] [--dataset pneumonia]

Writes benchmarks/results/scale.csv, one row per step and number of scans N: seconds, seconds of processor time, and
`peak_mb`, the most memory that the step's process has held by then. Scans are drawn, with files of 200 to 256 pixels a
side.

- prepare: N scans of one collection read, equalised, resized and stored, with the search for copies.
- copies: that search alone, all pairs of N scans.
- audit: labels, shortcuts and leakage of the same scans (of more than 6,000, as many are drawn).
- predict, scores, features, grad_cam: the evaluation of a study of 12 models on three collections of N / 3 scans each:
  predictions of the validation and the test split; all scores, intervals and pairs, by 2,000 draws; t-SNE and
  neighbours of the test split's features; Grad-CAM of the test split. The models have the study's backbones and its
  number of parameters, and are not trained: this changes what they answer, not what an answer takes.

Each step is a process of its own. `growth` is the exponent of time between this N and the one before it: 1 is linear.
"""

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from measuring import arguments, write  # isort: skip

import numpy as np
import pandas as pd

from lungkeras.study.runs import BACKBONES, CURVES, DATASETS, Run

LEARNING_RATE = 0.01
MODELS = [*((backbone, "random") for backbone in BACKBONES), (BACKBONES[-1], "imagenet")]


def draw(folder: str, dataset: str, scans: int) -> Iterator[str]:
    from lungkeras.datasets.phantoms.phantom import draw_source

    draw_source(dataset, Path(folder) / "sources" / dataset, scans=scans)
    yield "draw"


def prepare(folder: str, dataset: str, size: int) -> Iterator[str]:
    from lungkeras.preparation.prepare import prepare_dataset

    prepare_dataset(dataset, Path(folder) / "sources" / dataset, Path(folder) / "prepared" / dataset, size=size)
    yield "prepare"


def audit(folder: str, dataset: str) -> Iterator[str]:
    from lungkeras.preparation.audit.dataset import audit_prepared
    from lungkeras.preparation.duplicates import find_duplicates
    from lungkeras.preparation.prints import load_fingerprints

    prepared = Path(folder) / "prepared" / dataset
    records = pd.read_parquet(prepared / "records.parquet")
    yield ""
    find_duplicates(load_fingerprints(prepared / "fingerprints.npz"), records["scan"], records["patient"])
    yield "copies"
    audit_prepared(prepared)
    yield "audit"


def evaluate(folder: str) -> Iterator[str]:
    import lungkeras
    from lungkeras import evaluation
    from lungkeras.evaluation import calibration, comparison, decision_thresholds
    from lungkeras.explanation import gallery, measures
    from lungkeras.explanation.embedding import features

    data = {dataset: lungkeras.load_prepared(Path(folder) / "prepared" / dataset) for dataset in DATASETS}
    models = {
        (dataset, backbone, weights): lungkeras.build_model(
            backbone, prepared.classes, prepared.task, image_size=prepared.size, seed=seed
        )
        for dataset, prepared in data.items()
        for seed, (backbone, weights) in enumerate(MODELS)
    }
    yield ""
    runs = {"-".join(key): untrained(*key, model, data[key[0]]) for key, model in models.items()}
    yield "predict"
    evaluation.results(runs)
    for table in (comparison.pairs, comparison.class_scores, calibration.calibration, decision_thresholds.thresholds):
        table(runs)
    yield "scores"
    for dataset in ("pneumonia", "covid"):  # those of which the study shows t-SNE and maps
        own = {"-".join(key): model for key, model in models.items() if key[0] == dataset}
        vectors = {name: features(model, data[dataset].images["test"]) for name, model in own.items()}
        gallery.embeddings(vectors, data[dataset])
        measures.feature_measures(vectors, data[dataset])
    yield "features"
    for dataset in ("pneumonia", "covid"):
        own = {"-".join(key): model for key, model in models.items() if key[0] == dataset}
        measures.heatmap_measures(own, {name: runs[name] for name in own}, data[dataset])
    yield "grad_cam"


def untrained(dataset: str, backbone: str, weights: str, model, prepared) -> Run:
    """A run whose training ended before the first step."""
    from lungkeras.scores import metrics
    from lungkeras.training.outputs import outputs

    frames = []
    for split in ("val", "test"):
        records = prepared.split(split)
        probabilities = metrics.probabilities(outputs(model, prepared.images[split]), prepared.task)
        frame = records[["scan", "patient"]].assign(split=split)
        for column, name in enumerate(prepared.classes):
            frame[f"label_{name}"] = records[name].astype(int)
            frame[f"probability_{name}"] = probabilities[:, column]
        frames.append(frame)
    params = {"dataset": dataset, "backbone": backbone, "weights": weights, "learning_rate": LEARNING_RATE}
    history = pd.DataFrame({name: [1.0] for name in [*CURVES, "seconds"]})
    predictions = pd.concat(frames, ignore_index=True)
    return Run(
        f"{dataset}-{backbone}-{weights}",
        params,
        history,
        predictions,
        {"best_epoch": 1},
        prepared.classes,
        prepared.task,
    )


def measured(step, given: tuple) -> list[dict]:
    """Runs a step; one row for each of its parts, named as it yields them, with its time and memory."""
    rows, started, worked = [], time.perf_counter(), time.process_time()
    for part in step(*given):
        took = {"seconds": time.perf_counter() - started, "processor_s": time.process_time() - worked}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        rows += [{"step": part} | {name: round(value, 2) for name, value in took.items()} | {"peak_mb": peak}]
        started, worked = time.perf_counter(), time.process_time()
    return [row for row in rows if row["step"]]


def in_a_process(step, *given) -> list[dict]:
    # No daemon, which may not start the decoders' processes.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, step, given).result()


def of_scans(scans: int, size: int, dataset: str) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        rows += in_a_process(draw, folder, dataset, scans)
        rows += in_a_process(prepare, folder, dataset, size)
        rows += in_a_process(audit, folder, dataset)
    with tempfile.TemporaryDirectory() as folder:
        for each in DATASETS:
            in_a_process(draw, folder, each, scans // len(DATASETS))
            in_a_process(prepare, folder, each, size)
        rows += in_a_process(evaluate, folder)
    return [{"scans": scans, "size": size, "dataset": dataset} | row for row in rows]


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """With the exponent of time between two numbers of scans; NaN for the smallest one."""
    logs = np.log(table[["scans", "seconds"]].clip(lower=0.01)).groupby(table["step"]).diff()
    return table.assign(growth=(logs["seconds"] / logs["scans"]).round(2))


def main() -> None:
    parser = arguments(__doc__, "scale.csv")
    parser.add_argument("--scans", type=int, nargs="+", default=[1000, 3000, 10_000, 30_000])
    parser.add_argument("--size", type=int, default=64, help="pixels a side (default 64)")
    parser.add_argument("--dataset", default="pneumonia", choices=DATASETS, help="of preparation and audit")
    options = parser.parse_args()
    if options.quick:
        options.scans, options.size = [150, 300], 32
    rows = []
    for scans in sorted(options.scans):
        rows += of_scans(scans, options.size, options.dataset)
        write(growth(pd.DataFrame(rows)), options)


if __name__ == "__main__":
    main()
