"""Every interval of every table of a small study whose models make no error, always one answer, or guess."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from interval_columns import zero_width

from lungkeras.evaluation import (
    baselines,
    calibration,
    comparison,
    decision_thresholds,
    external,
    operating_points,
    run_tables,
    subgroups,
    transfer,
)
from lungkeras.evaluation.paper import tables
from lungkeras.explanation import localisation, randomisation
from lungkeras.preparation.audit import labels as audit_labels
from lungkeras.preparation.audit import shortcuts
from lungkeras.preparation.audit.summary import tables as audit_tables
from lungkeras.report import comparison_tables
from lungkeras.scores import intervals
from lungkeras.study.runs import Run, split_of
from lungkeras.system.files import write_csv

CLASSES = {
    "covid": ("covid", "viral_pneumonia", "normal"),
    "xray8": ("atelectasis", "effusion", "mass", "nodule", "pneumothorax", "consolidation", "no_finding"),
}
SCANS = 90  # of a split


def truth_of(dataset: str, scans: int = SCANS) -> np.ndarray:
    """Classes of unequal size, one a scan."""
    share = np.arange(1, len(CLASSES[dataset]) + 1)
    ends = np.cumsum(share) / share.sum() * scans
    return np.eye(len(share), dtype=int)[np.searchsorted(ends, np.arange(scans), side="right")]


def answer(kind: str, labels: np.ndarray) -> np.ndarray:
    if kind == "perfect":
        return labels.astype(float)
    if kind == "constant":
        return np.tile(labels.mean(axis=0), (len(labels), 1))
    given = np.random.default_rng(0).random(labels.shape)
    return given / given.sum(axis=1, keepdims=True)


def run_of(dataset: str, kind: str, backbone: str) -> Run:
    labels, frames = truth_of(dataset), []
    for split in ("train", "val", "test"):
        frame = pd.DataFrame({"split": split, "scan": [f"{split}{n}" for n in range(SCANS)]})
        frame["patient"] = [f"{split}{n // 2}" for n in range(SCANS)]
        given = answer(kind, labels).astype(np.float32)
        for place, name in enumerate(CLASSES[dataset]):
            frame[f"label_{name}"], frame[f"probability_{name}"] = labels[:, place], given[:, place]
        frames.append(frame)
    params = {"dataset": dataset, "backbone": backbone, "weights": "random", "learning_rate": 0.01}
    history = pd.DataFrame({"epoch": [1, 2], "seconds": [2.0, 1.0]})
    task = "multilabel" if dataset == "xray8" else "multiclass"
    about = {"best_epoch": 1}
    return Run(f"{dataset}-{backbone}-random", params, history, pd.concat(frames), about, CLASSES[dataset], task)


def runs_of() -> dict[str, Run]:
    kinds = {"perfect": "resnet34", "constant": "mobilenet_v3_large", "guess": "efficientnet_b1"}
    runs = [run_of(dataset, kind, backbone) for dataset in CLASSES for kind, backbone in kinds.items()]
    return {run.name: run for run in runs}


def prepared_of(run: Run) -> SimpleNamespace:
    """What tables ask of a prepared dataset, of the scans that a run was tested on."""
    records = run.predictions[["split", "scan", "patient"]].assign(view="PA", age=40)
    labels = {split: split_of(run, split)[0] for split in ("train", "val", "test")}
    return SimpleNamespace(
        name=run.dataset, task=run.task, classes=run.classes, labels=labels.get, records=records,
        split=lambda name: records[records["split"] == name].reset_index(drop=True),
    )  # fmt: skip


def located_of(name: str, hit: float, prior: float) -> pd.DataFrame:
    """Every map of a run points alike, and so does the fixed point."""
    rows = [
        {"run": run, "method": method, "class": "mass", "scan": f"test{n}", "patient": f"test{n}", "hit": value}
        for run, method, value in ((name, "grad_cam", hit), ("", "prior", prior), ("", "ceiling", 1.0))
        for n in range(12)
    ]
    return pd.DataFrame(rows).assign(dataset="xray8", cells="8 × 8", prior_hit=prior).reindex(
        columns=localisation.SCORED, fill_value=0.0
    )  # fmt: skip


def explanations_of(run: Run) -> dict[str, pd.DataFrame]:
    boxes = pd.DataFrame([(f"test{n}", "mass", 0, 0, 1, 1) for n in range(12)],
                         columns=["scan", "class", "left", "top", "right", "bottom"])  # fmt: skip
    summaries = [
        localisation.summary(located_of(f"{run.name}{case}", *case), prepared_of(run), boxes)
        for case in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0))
    ]
    scans = pd.DataFrame({"scan": [f"test{n}" for n in range(12)], "patient": [f"test{n}" for n in range(12)],
                          "class": "mass"})  # fmt: skip
    maps = {"grad_cam": np.zeros((3, 12, 16, 16)), "grad_cam_plus_plus": np.ones((3, 12, 16, 16))}
    alike = randomisation.similarities(["trained", "head", "8 × 8"], maps, scans, "xray8", run.name)
    return {"localisation": pd.concat(summaries), "randomisation": randomisation.summary(alike)}


def audits_of() -> dict[str, pd.DataFrame]:
    """A probe that tells a class without an error, one that tells nothing, and labels that no scan contradicts."""
    random, groups = np.random.default_rng(0), np.arange(300) // 2
    labels = np.eye(3, dtype=bool)[np.arange(300) % 3]
    features = 4.0 * labels + random.normal(size=labels.shape)
    noise, *_ = audit_labels.label_noise(features, features, labels, groups, CLASSES["covid"])
    found = []
    for name, scores in (("border", labels[:, 0].astype(float)), ("dimensions", np.zeros(300))):
        auroc = shortcuts.auroc_interval(labels[:, 0], scores, groups)
        found.append({"name": name, "class": "covid", **dict(zip(("auroc", "low", "high"), auroc, strict=True))})
    rest = {"duplicate_pairs": [], "suspects": [], "flow": [], "notes": []}
    leaks = {"patients": {}, "shared_patients": {}, "shared_duplicates": 0, "patients_known": True, "random_split": {}}
    return audit_tables({"covid": {"leakage": leaks, "shortcuts": found, "label_noise": noise} | rest})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, runs = tmp_path_factory.mktemp("tables"), runs_of()
    perfect = {run.dataset: run for run in runs.values() if run.backbone == "resnet34"}
    data = {dataset: prepared_of(run) for dataset, run in perfect.items()}
    given = {
        (name, kind): answer(kind, own.labels("test")) for name, own in data.items() for kind in ("perfect", "constant")
    }
    results, classes = run_tables.results(runs), comparison.class_scores(runs)
    labels, names = truth_of("covid"), CLASSES["covid"]
    recalls = external._measures(labels, labels, np.arange(SCANS), names, list(names))
    from_imagenet = perfect["covid"].params | {"weights": "imagenet"}
    made = {
        "table_3": tables.table_3(results),
        "trivial_baselines": baselines.scores_of(data.values(), given),
        "against_baselines": comparison.against(runs, given),
        "model_pairs": comparison.pairs(runs),
        "class_scores": classes,
        "prevalence": comparison.natural_prevalence(runs, {"covid": 30, "xray8": 30}, {"covid": 20, "xray8": 20}),
        "published_auroc": comparison.auroc_beside_published(classes),
        "calibration": calibration.calibration(runs),
        "thresholds": decision_thresholds.thresholds(runs),
        "operating_points": operating_points.operating_points(runs, list(perfect)),
        "subgroups": subgroups.subgroups(runs, data),
        "external": pd.DataFrame(recalls),
        "transfer": transfer.transferred({"imagenet": replace(perfect["covid"], params=from_imagenet)}, {}),
    } | explanations_of(perfect["xray8"]) | audits_of()  # fmt: skip
    for name, table in made.items():
        write_csv(folder / f"{name}.csv", table)
    return folder


def test_no_interval_of_a_small_study_is_of_zero_width(folder):
    assert not zero_width(folder)


def test_a_class_of_few_patients_has_no_interval_and_says_so(folder):
    scores = pd.read_csv(folder / "class_scores.csv").set_index(["run", "class"])
    run = run_of("xray8", "guess", "efficientnet_b1")
    test = run.predictions[run.predictions["split"] == "test"]
    patients = {name: test.loc[test[f"label_{name}"] == 1, "patient"].nunique() for name in run.classes}
    assert min(patients.values()) < intervals.FEWEST_PATIENTS <= max(patients.values())
    for name, count in patients.items():
        row = scores.loc[(run.name, name)]
        few = count < intervals.FEWEST_PATIENTS
        assert pd.isna(row[["f1_low", "auroc_high", "average_precision_low"]]).all() == few
        assert (row["note"] == "too few") == few
    shown = comparison_tables.class_scores(scores.reset_index())["bodies"][1]["rows"]
    words = {cells[0]["text"]: cells[-1]["text"] for cells in shown}
    assert words["Atelectasis"].endswith("(too few)") and "–" in words["No finding"]
