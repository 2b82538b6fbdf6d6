"""The table "on a device" of a study: its exports, each beside the Keras model."""

from pathlib import Path

import pandas as pd

from lungkeras.prediction import runtimes
from lungkeras.study.runs import read_run
from lungkeras.system.files import write_csv
from lungkeras.system.provenance import file_digest
from lungkeras.system.untrusted import json_files

COLUMNS = ["run", "dataset", "backbone", "weights", "format", "int8", "megabytes", "milliseconds", "labels_agree",
           "largest_difference", "test_scans", "threads", "processor", "file"]  # fmt: skip


def write_devices(study: Path | str) -> None:
    """Writes tables/devices.csv of a study, or removes it if there is no export any more."""
    file, table = Path(study) / "tables" / "devices.csv", devices(study)
    if len(table):
        write_csv(file, table)
    else:
        file.unlink(missing_ok=True)


def devices(study: Path | str) -> pd.DataFrame:
    """The table "on a device": one row per export of the study's runs, and before these one for the run's Keras model.

    Exports of a model that was retrained since are left out. Sizes are in megabytes (10^6 bytes); times in
    milliseconds are the median of single scans on one thread of this machine (Keras and SavedModel: TensorFlow's).
    """
    rows = []
    for folder in sorted(Path(study).glob("runs/*/export/")):
        if not (folder.parent / "metrics.json").is_file():
            continue
        run, digest = read_run(folder.parent), file_digest(folder.parent / "best.keras")
        found = [json_files.read(file) for file in sorted(folder.glob("*.json"))]
        found = [about for about in found if about["model_sha256"] == digest]
        if not found:
            continue
        words = {"run": run.name, "dataset": run.dataset, "backbone": run.backbone, "weights": run.weights}
        order = list(runtimes.SUFFIXES)
        found.sort(key=lambda about: (order.index(about["format"]), about["int8"]))
        last = found[-1]
        rows.append(
            words
            | {"format": "keras", "int8": False, "file": "best.keras", "labels_agree": 1.0, "largest_difference": 0.0}
            | {key: last[f"keras_{key}"] for key in ("megabytes", "milliseconds")}
            | {key: last[key] for key in ("test_scans", "processor")}
        )
        rows += [words | about for about in found]
    return pd.DataFrame(rows).reindex(columns=COLUMNS)
