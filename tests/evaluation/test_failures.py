"""The most confident errors: planted ones come first, counts are those of the confusion matrix, the scans are the right
ones."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lungkeras.evaluation import failures
from lungkeras.preparation.folder import Prepared
from lungkeras.report.figures import failures as failure_figures
from lungkeras.scores import metrics
from lungkeras.scores.temperature import scaled
from lungkeras.study.runs import Run, split_of

CLASSES = {"covid": ("covid", "viral_pneumonia", "normal"), "xray8": ("atelectasis", "effusion", "no_finding")}
SCANS = 90


def run_of(name: str, labels: np.ndarray, given: np.ndarray, temperature: float = 1.0) -> Run:
    """A run of these test labels and probabilities, and the same for validation."""
    dataset, backbone, weights = name.split("-")[:3]
    parts = []
    for split in ("val", "test"):
        frame = pd.DataFrame({"split": split, "scan": [f"{split}-{n}.png" for n in range(len(labels))]})
        frame["patient"] = [f"p{n // 2}" for n in range(len(labels))]
        for place, word in enumerate(CLASSES[dataset]):
            frame[f"label_{word}"], frame[f"probability_{word}"] = labels[:, place], given[:, place]
        parts.append(frame)
    params = {"dataset": dataset, "backbone": backbone, "weights": weights, "learning_rate": 0.01}
    task = "multilabel" if dataset == "xray8" else "multiclass"
    stored = {"temperature": temperature, "best_epoch": 1}
    return Run(name, params, pd.DataFrame(), pd.concat(parts, ignore_index=True), stored, CLASSES[dataset], task)


@pytest.fixture(scope="module")
def multiclass() -> Run:
    """Some errors by chance, and three scans of known places that are wrong beyond all others."""
    random = np.random.default_rng(0)
    labels = np.eye(3, dtype=int)[np.arange(SCANS) % 3]
    logits = 2 * labels + 1.5 * random.normal(size=labels.shape)
    for place, (scan, size) in enumerate(((0, 30.0), (3, 20.0), (6, 25.0))):
        logits[scan] = np.eye(3)[1 + place % 2] * size
    return run_of("covid-resnet34-random", labels, metrics.probabilities(logits, "multiclass"), temperature=2.0)


@pytest.fixture(scope="module")
def multilabel() -> Run:
    random = np.random.default_rng(1)
    labels = (random.random((SCANS, 3)) < 0.4).astype(int)
    given = metrics.probabilities(3 * (labels - 0.5) + 1.5 * random.normal(size=labels.shape), "multilabel")
    given[0, 0], given[1, 0] = 0.999, 0.0001
    labels[0, 0], labels[1, 0] = 0, 1
    return run_of("xray8-resnet34-random", labels, given)


def test_planted_errors_come_first_in_the_order_of_their_sureness(multiclass):
    table = failures.confident_errors({multiclass.name: multiclass})
    assert list(table.columns) == failures.COLUMNS
    worst = table[table["class"] == "covid"].head(3)
    assert worst["scan"].tolist() == ["test-0.png", "test-6.png", "test-3.png"]
    assert worst["predicted"].tolist() == ["viral_pneumonia", "viral_pneumonia", "normal"]
    assert worst["rank"].tolist() == [1, 2, 3] and (worst["true"] == "covid").all()


def test_probabilities_are_calibrated_and_every_row_is_an_error(multiclass):
    table = failures.confident_errors({multiclass.name: multiclass}, most=10**6)
    labels, raw = split_of(multiclass, "test")
    given = scaled(raw, "multiclass", 2.0)
    assert len(table) == (labels.argmax(axis=1) != raw.argmax(axis=1)).sum()
    for row in table.itertuples():
        scan = int(row.scan.removeprefix("test-").removesuffix(".png"))
        assert row.probability == row.confidence == pytest.approx(given[scan].max())
        assert row.true == CLASSES["covid"][labels[scan].argmax()] != row.predicted
    for _, own in table.groupby("class"):
        assert own["confidence"].is_monotonic_decreasing
    assert (failures.confident_errors({multiclass.name: multiclass}, most=2)["class"].value_counts() == 2).all()


def test_a_finding_is_wrong_both_ways(multilabel):
    table = failures.confident_errors({multilabel.name: multilabel}, most=100)
    assert table.groupby("class").size().max() > failures.MOST
    first, second = (table.set_index("scan").query("`class` == 'atelectasis'").loc[f"test-{n}.png"] for n in (1, 0))
    assert (first["error"], second["error"]) == (failures.MISSED, failures.CALLED)
    assert (first["rank"], second["rank"]) == (1, 2)
    assert first["confidence"] == pytest.approx(0.9999) and first["probability"] == pytest.approx(0.0001)
    assert second["confidence"] == second["probability"] == pytest.approx(0.999)
    assert "atelectasis" in first["true"].split("|") and "atelectasis" in second["predicted"].split("|")


def test_counts_are_those_of_the_confusion_matrix(multiclass, multilabel):
    counts = failures.error_counts({run.name: run for run in (multiclass, multilabel)})
    confusion = metrics.confusion(*split_of(multiclass, "test"), multiclass.classes)
    for row in counts[counts["dataset"] == "covid"].to_dict("records"):
        name, others = row["class"], [word for word in multiclass.classes if word != row["class"]]
        assert row["scans"] == confusion.loc[name].sum()
        assert row["missed"] == confusion.loc[name, others].sum()
        assert row["called"] == confusion.loc[others, name].sum()
        assert row["mostly_called"] == confusion.loc[name, others].idxmax()
    labels, given = split_of(multilabel, "test")
    row = counts[counts["class"] == "effusion"].iloc[0]
    assert row["missed"] == ((labels[:, 1] == 1) & (given[:, 1] < 0.5)).sum()
    assert row["called"] == ((labels[:, 1] == 0) & (given[:, 1] >= 0.5)).sum()


def test_a_diverged_run_has_no_confident_error_and_none_at_all_gives_an_empty_table(multiclass):
    diverged = replace(multiclass, predictions=multiclass.predictions.assign(probability_normal=np.nan))
    assert failures.confident_errors({"a": diverged}).empty and failures.confident_errors({}).empty


def test_the_model_that_is_shown_is_the_best_on_validation_and_never_chosen_on_test(multiclass):
    worse = multiclass.predictions.copy()
    val = worse["split"] == "val"
    worse.loc[val, "probability_normal"] = 2.0
    better_on_test = worse.copy()
    for name in CLASSES["covid"]:
        better_on_test.loc[~val, f"probability_{name}"] = better_on_test.loc[~val, f"label_{name}"].astype(float)
    other = replace(multiclass, name="covid-efficientnet_b1-random", predictions=better_on_test)
    ablation = replace(multiclass, name="covid-efficientnet_b1-random-lr0.1")
    runs = {run.name: run for run in (other, ablation, multiclass)}
    assert failures.best_on_validation(runs) == {"covid": multiclass.name}


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_the_gallery_shows_the_scans_with_their_labels_and_predictions(kind, request, tmp_path):
    run = request.getfixturevalue(kind)
    order = np.random.default_rng(2).permutation(SCANS)
    records = pd.DataFrame({"scan": [f"test-{n}.png" for n in order], "split": "test"})
    images = np.broadcast_to(order[:, None, None], (SCANS, 8, 8)).astype(np.uint8)
    prepared = Prepared(run.dataset, run.task, run.classes, 8, 0.0, 1.0, records, {"test": images})
    shown = failure_figures.scans_of(failures.confident_errors({run.name: run}), prepared)
    table = failures.confident_errors({run.name: run})
    for name, scans in shown.items():
        own = table[table["class"] == name]
        assert [f"test-{image[0, 0]}.png" for image, _ in scans] == own["scan"].tolist()
        assert all(f"{row.probability:.2f}" in words for row, (_, words) in zip(own.itertuples(), scans, strict=True))
    figures = failure_figures.write_galleries({run.name: run}, {run.dataset: prepared}, tmp_path)
    assert sum(len(ax.images) for ax in figures[run.dataset].axes) == len(table)
    assert pd.read_csv(tmp_path / "figures" / f"failures_{run.dataset}.csv")["scan"].tolist() == table["scan"].tolist()


def test_a_run_without_an_error_has_no_gallery_and_an_old_one_goes(multiclass, tmp_path):
    right = multiclass.predictions.copy()
    for name in CLASSES["covid"]:
        right[f"probability_{name}"] = right[f"label_{name}"].astype(float)
    old = tmp_path / "figures" / "failures_covid.png"
    old.parent.mkdir()
    old.write_bytes(b"old")
    records = pd.DataFrame({"scan": [], "split": []})
    prepared = Prepared("covid", "multiclass", CLASSES["covid"], 8, 0.0, 1.0, records, {"test": np.zeros((0, 8, 8))})
    run = replace(multiclass, predictions=right)
    assert failure_figures.write_galleries({run.name: run}, {"covid": prepared}, tmp_path) == {} and not old.exists()
