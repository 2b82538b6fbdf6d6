"""A finished study of three runs that hold no model: what they were made from is written down as training does."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from lungkeras.preparation.audit.dataset import TABLES as AUDIT_TABLES
from lungkeras.preparation.made_from import of_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.study import freshness, made_from, table_names
from lungkeras.study.params import dump
from lungkeras.study.params_files import load_study
from lungkeras.system.files import write_json

SCRATCH, TRANSFERRED = "pneumonia-efficientnet_b1-random", "covid-efficientnet_b1-transfer"
OTHER = "covid-resnet34-random"
RUNS = {
    SCRATCH: {"dataset": "pneumonia", "backbone": "efficientnet_b1"},
    TRANSFERRED: {"dataset": "covid", "backbone": "efficientnet_b1", "weights": f"{SCRATCH}/best.keras"},
    OTHER: {"dataset": "covid", "backbone": "resnet34"},
}
TABLES = [*table_names.EVALUATION, *table_names.FEATURES, *table_names.EXPLANATIONS, "claims"]
TABLES += [f"audit_{name}" for name in AUDIT_TABLES]
NAMED = ("reliability", "pointing", "cascade")
PICTURES = ("01", "02", "03", "04", "05", "06", "07", "08")


def write_params(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    shared = {"title": "A small study", "image_size": 32, "source": str(folder.parent / "sources")}
    shared |= {"prepared": str(folder.parent / "prepared"), "runs": str(folder.parent / "report" / "runs")}
    (folder / "study.yaml").write_text(yaml.safe_dump(shared))
    for name, params in RUNS.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(params))


def finished_study(root: Path, phantom_source) -> Path:
    """A finished study: two prepared datasets, three runs, and a file for each output of the graph."""
    write_params(root / "params")
    shared, runs = load_study(root / "params")
    for dataset in ("pneumonia", "covid"):
        shutil.copytree(phantom_source(dataset), root / "sources" / dataset)
        prepare_dataset(dataset, root / "sources" / dataset, root / "prepared" / dataset, size=32)
        (root / "prepared" / dataset / "audit.json").touch()
    for name in (SCRATCH, TRANSFERRED, OTHER):  # the transferred run after the run whose weights it starts from
        folder = runs[name].run_folder
        folder.mkdir(parents=True)
        for file in made_from.RESULTS:
            (folder / file).write_text(f"{file} of {name}")
        (folder / "params.yaml").write_text(dump(runs[name]))
        data = of_prepared(runs[name].prepared_folder)
        hashes = made_from.training_made_from(runs[name], data)
        write_json(folder / "fingerprint.json", {"made_from": hashes, "results": made_from.of_results(folder)})
    report = root / "report"
    outputs = [f"tables/{name}.csv" for name in TABLES]
    outputs += [f"figures/{name}.png" for name in [*NAMED, *(f"figure_{number}" for number in PICTURES)]]
    outputs += [f"notebooks/{name}.ipynb" for name in freshness.READING] + ["report.html"]
    for name in outputs:
        (report / name).parent.mkdir(exist_ok=True)
        (report / name).touch()
    freshness.remember(shared, runs)
    return root


def copy_of(original: Path, to: Path) -> Path:
    """The study as a colleague has it: in other folders, without the sources, the later steps of an earlier date."""
    write_params(to / "params")
    for folder in ("prepared", "report"):
        shutil.copytree(original / folder, to / folder)
    files = sorted(to.rglob("*"), key=lambda file: ("report" in file.parts, file.suffix == ".html"))
    for age, file in enumerate(files):
        os.utime(file, (0, 1_000_000_000 - age))
    return to


def planned(study: Path) -> tuple[list[str], list[str]]:
    """The runs to train and the notebooks to execute."""
    shared, runs = load_study(study / "params")
    trained = freshness.outdated_runs(runs, freshness.prepared_data(runs), [])
    return trained, freshness.outdated_notebooks(shared, runs, trained)


def listed(study: Path) -> dict[str, int]:
    """What the graph of notebooks would run, {rule: jobs}."""
    command = [sys.executable, "-m", "lungkeras", "report", str(study / "params"), "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = re.findall(r"^(prepare|train|evaluate|visualize|report|total)\s+(\d+)$", done.stdout + done.stderr, re.M)
    return {rule: int(jobs) for rule, jobs in rules}
