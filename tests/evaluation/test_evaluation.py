"""Run folders written by hand, and what is read from them."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import f1_score

from lungkeras.datasets import policies
from lungkeras.evaluation.elsewhere import evaluate_on, evaluate_policies, shared_classes
from lungkeras.evaluation.run_tables import histories, linear_probabilities, results
from lungkeras.preparation.folder import Prepared
from lungkeras.scores import metrics
from lungkeras.scores.metrics import probabilities, scores
from lungkeras.study.runs import ablation_runs, main_runs, read_run, read_runs, split_of, weights_word
from lungkeras.system import files
from lungkeras.system.errors import RunError
from lungkeras.training import outputs as one_model
from lungkeras.training.outputs import outputs

COVID = ("covid", "viral_pneumonia", "normal")
PNEUMONIA = ("bacterial_pneumonia", "viral_pneumonia", "normal")
XRAY8 = ("atelectasis", "effusion", "no_finding")
CLASSES = {"covid": COVID, "pneumonia": PNEUMONIA, "xray8": XRAY8}
SIZE = 16


def task_of(dataset: str) -> str:
    return "multilabel" if dataset == "xray8" else "multiclass"


def drawn_labels(classes: tuple, task: str, scans: int, random: np.random.Generator) -> np.ndarray:
    if task == "multiclass":
        return np.eye(len(classes), dtype=int)[np.arange(scans) % len(classes)]
    return (random.random((scans, len(classes))) < 0.4).astype(int)


def write_run(folder, name: str, weights: str = "random", rate: float = 0.01, epochs: int = 3):
    """A finished run's folder, without a model."""
    dataset, backbone = name.split("-")[:2]
    classes, task = CLASSES[dataset], task_of(dataset)
    random = np.random.default_rng(len(name))
    frames = []
    for split, scans in (("train", 30), ("val", 12), ("test", 15)):
        labels = drawn_labels(classes, task, scans, random)
        given = probabilities(labels + random.normal(size=labels.shape), task)
        frame = pd.DataFrame({"split": split, "scan": [f"{split}{row}.png" for row in range(scans)], "patient": "p"})
        for place, word in enumerate(classes):
            frame[f"label_{word}"], frame[f"probability_{word}"] = labels[:, place], given[:, place]
        frames.append(frame)
    run = folder / name
    run.mkdir(parents=True)
    pd.concat(frames).to_parquet(run / "predictions.parquet", index=False)
    curve = np.linspace(1, 0.5, epochs)
    columns = ["loss", "macro_f1", "val_loss", "val_macro_f1", "learning_rate"]
    history = pd.DataFrame({"epoch": range(1, epochs + 1)} | dict.fromkeys(columns, curve))
    files.write_csv(run / "history.csv", history.assign(seconds=[50.0, 3.0, 5.0, 4.0][:epochs]))
    params = {"dataset": dataset, "backbone": backbone, "weights": weights, "learning_rate": rate}
    (run / "params.yaml").write_text(yaml.safe_dump(params))
    files.write_json(run / "metrics.json", {"best_epoch": 2, "classes": list(classes), "task": task})
    return run


def drawn_dataset(name: str, scans: int = 12, size: int = SIZE, draw=None) -> Prepared:
    """A prepared dataset whose images are noise, or what `draw(labels, random)` makes of their labels."""
    classes, random = CLASSES[name], np.random.default_rng(0)
    draw = draw or (lambda labels, random: random.integers(0, 256, (len(labels), size, size)))
    frames, images = [], {}
    for split in ("train", "val", "test"):
        labels = drawn_labels(classes, task_of(name), scans, random)
        frames.append(pd.DataFrame(labels, columns=list(classes)).assign(split=split))
        images[split] = draw(labels, random).astype(np.uint8)
    return Prepared(name, task_of(name), classes, size, 127.5, 64.0, pd.concat(frames, ignore_index=True), images)


NAMES = (
    "pneumonia-resnet34-random",
    "pneumonia-efficientnet_b1-random",
    "pneumonia-efficientnet_b1-imagenet",
    "covid-mobilenet_v3_large-random",
    "xray8-efficientnet_b1-transfer",
    "covid-efficientnet_b1-random-lr0.01",
    "covid-efficientnet_b1-random-lr0.1",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name in sorted(NAMES):
        words = name.split("-")
        weights = "covid-efficientnet_b1-random/best.keras" if words[2] == "transfer" else words[2]
        write_run(folder, name, weights, float(words[-1][2:]) if words[-1].startswith("lr") else 0.01)
    (folder / "covid-resnet34-random").mkdir()  # still at work
    (folder / "covid-resnet34-random" / "params.yaml").write_text("dataset: covid")
    return folder


def test_finished_runs_come_in_the_order_of_table_3_and_the_ablation_last(folder):
    runs = read_runs(folder)
    assert tuple(runs) == NAMES
    assert tuple(main_runs(runs)) == NAMES[:5]
    assert tuple(ablation_runs(runs)) == NAMES[5:]


def test_where_no_run_is_finished_the_error_says_what_is_there(tmp_path, folder):
    with pytest.raises(RunError, match="an empty folder"):
        read_runs(tmp_path)
    with pytest.raises(RunError, match="is not a finished run"):
        read_run(folder / "covid-resnet34-random")


@pytest.mark.parametrize("broken", ["params.yaml", "history.csv", "predictions.parquet", "metrics.json"])
@pytest.mark.parametrize("contents", [b"", b"\0[", b"{}"])
def test_a_broken_run_is_named(tmp_path, broken, contents):
    run = write_run(tmp_path, "covid-resnet34-random")
    (run / broken).write_bytes(contents)
    with pytest.raises(RunError, match="covid-resnet34-random"):
        read_run(run)


def test_the_word_for_weights_says_where_a_run_starts():
    assert [weights_word(word) for word in ("random", "imagenet")] == ["random", "imagenet"]
    assert weights_word("covid-resnet34-random/best.keras") == "transfer"
    assert weights_word("efficientnetb1_notop.h5") == "imagenet"


def test_labels_and_probabilities_of_a_split_come_in_class_order(folder):
    run = read_run(folder / NAMES[0])
    labels, given = split_of(run, "val")
    assert labels.shape == given.shape == (12, 3)
    assert labels.dtype.kind == "i"
    assert given.dtype == np.float32
    rows = run.predictions[run.predictions["split"] == "val"]
    np.testing.assert_array_equal(labels[:, 1], rows["label_viral_pneumonia"])
    np.testing.assert_array_equal(given[:, 2], rows["probability_normal"])
    with pytest.raises(RunError, match="no predictions of the split holdout"):
        split_of(run, "holdout")


def test_results_are_scored_by_scikit_learn_and_timed_without_the_first_epoch(folder):
    table = results(read_runs(folder)).set_index("run")
    assert len(table) == len(NAMES)
    row = table.loc[NAMES[0]]
    labels, given = split_of(read_run(folder / NAMES[0]), "test")
    assert row["macro_f1"] == pytest.approx(f1_score(labels.argmax(axis=1), given.argmax(axis=1), average="macro"))
    assert (row["seconds_per_epoch"], row["best_epoch"], row["test_scans"]) == (4.0, 2, 15)
    assert table.loc["xray8-efficientnet_b1-transfer", "weights"] == "transfer"
    assert table.loc[NAMES[-1], "learning_rate"] == 0.1
    assert table["macro_auroc"].between(0.5, 1).all()


def test_a_run_of_one_epoch_is_timed_by_it(tmp_path):
    run = read_run(write_run(tmp_path, "covid-resnet34-random", epochs=1))
    assert results({run.name: run})["seconds_per_epoch"].tolist() == [50.0]


def test_histories_have_a_row_an_epoch(folder):
    table = histories(read_runs(folder))
    columns = ["run", "dataset", "backbone", "weights", "rate", "diverged", "epoch"]
    columns += ["loss", "macro_f1", "val_loss", "val_macro_f1"]
    assert list(table.columns) == columns
    assert (table["run"].value_counts() == 3).all()
    assert tuple(table["run"].unique()) == NAMES
    assert table.loc[table["run"] == NAMES[-1], "rate"].unique() == [0.1]


def test_no_run_gives_empty_tables_with_their_columns():
    assert "val_macro_f1" in histories({})
    assert "macro_f1" in results({})


@pytest.mark.parametrize("name", ["covid", "xray8"])
def test_the_linear_baseline_learns_what_is_linear(name):
    def corners(labels, random):
        images = random.integers(0, 100, (len(labels), SIZE, SIZE))
        images[:, :4, :12] += 100 * np.repeat(labels, 4, axis=1)[:, None]
        return images

    assert linear_baseline(drawn_dataset(name, scans=90, draw=corners)) > 0.95


def linear_baseline(prepared) -> float:
    return metrics.macro_f1(prepared.labels("test"), linear_probabilities(prepared), prepared.task)


def test_the_linear_baseline_can_not_read_noise():
    prepared = drawn_dataset("covid", scans=90, size=96)
    found = linear_baseline(prepared)
    assert found < 0.5
    assert found == linear_baseline(prepared)


@pytest.fixture
def covid_run(tmp_path):
    """A run whose model answers with three means of thirds of the image."""
    keras.utils.set_random_seed(0)
    run = write_run(tmp_path, "covid-resnet34-random")
    scans = keras.Input((SIZE, SIZE, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 64, -2.0)(scans)
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(x))
    keras.Model(scans, keras.layers.Dense(3, name="logits")(x)).save(run / "best.keras")
    return run


def test_a_run_on_its_own_dataset_is_scored_as_in_its_study(covid_run):
    from lungkeras.models.files import load_model

    prepared = drawn_dataset("covid")
    found = evaluate_on(covid_run, prepared)
    logits = load_model(covid_run / "best.keras").predict(prepared.images["test"][..., None], verbose=0)
    given = probabilities(logits, "multiclass")
    assert (found["run"], found["dataset"], found["split"]) == ("covid-resnet34-random", "covid", "test")
    assert (found["scans"], found["left_out"], found["classes"]) == (12, 0, list(COVID))
    expected = scores(prepared.labels("test"), given, COVID, "multiclass")
    assert found["macro_f1"] == pytest.approx(expected["macro_f1"])
    assert found["macro_auroc"] == pytest.approx(expected["macro_auroc"])


def test_patients_that_a_run_was_trained_on_are_never_scored(covid_run):
    prepared = drawn_dataset("covid")
    prepared.records["patient"] = [f"p{row % 4}" for row in range(len(prepared.records))]
    predictions = pd.read_parquet(covid_run / "predictions.parquet")
    predictions["patient"] = np.where(predictions["split"] == "val", "p1", "someone else")
    predictions.to_parquet(covid_run / "predictions.parquet", index=False)
    found = evaluate_on(covid_run, prepared)
    assert (found["scans"], found["left_out"]) == (9, 3)
    predictions.assign(patient=[f"p{row % 4}" for row in range(len(predictions))]).to_parquet(
        covid_run / "predictions.parquet", index=False
    )
    with pytest.raises(RunError, match="a patient that the run was not trained on"):
        evaluate_on(covid_run, prepared)


def test_a_run_on_another_dataset_chooses_among_the_classes_both_know(covid_run):
    from lungkeras.models.files import load_model

    prepared = replace(drawn_dataset("pneumonia", size=2 * SIZE), name="my_own")
    found = evaluate_on(covid_run, prepared, split="val")
    assert found["classes"] == ["viral_pneumonia", "normal"]
    assert (found["scans"], found["left_out"]) == (8, 4)
    assert found["left_out_as"] == {"with other labels": 4}
    assert "not known to hold scans of each other; copies were not searched for" in found["kinship"]
    assert list(found["per_class"]) == found["classes"]
    labels = prepared.labels("val")[:, 1:]
    kept = labels.sum(axis=1) > 0
    halved = prepared.images["val"].reshape(12, SIZE, 2, SIZE, 2).mean(axis=(2, 4)).round().astype(np.uint8)
    logits = load_model(covid_run / "best.keras").predict(halved[kept][..., None], verbose=0)
    given = probabilities(logits, "multiclass")[:, 1:]
    given /= given.sum(axis=1, keepdims=True)
    expected = scores(labels[kept], given, found["classes"], "multiclass")
    assert found["macro_f1"] == pytest.approx(expected["macro_f1"])
    assert found["macro_auroc"] == pytest.approx(expected["macro_auroc"], abs=0.1)


def test_a_multiclass_run_is_not_scored_on_several_labels(covid_run):
    with pytest.raises(RunError, match="is multiclass and xray8 is multilabel"):
        evaluate_on(covid_run, drawn_dataset("xray8"))


@pytest.fixture
def partly_known(tmp_path) -> tuple:
    """A run of findings, and its dataset with uncertain and blank labels in its test split."""
    run = write_run(tmp_path, "xray8-resnet34-random")
    scans = keras.Input((SIZE, SIZE, 1), dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(keras.layers.Rescaling(1 / 64, -2.0)(scans)))
    keras.Model(scans, keras.layers.Dense(3, name="logits")(x)).save(run / "best.keras")
    prepared = drawn_dataset("xray8", scans=40)
    records = prepared.records.astype(dict.fromkeys(XRAY8, float))
    records.loc[records.index % 3 == 0, XRAY8[0]] = -1
    records.loc[records.index % 4 == 0, XRAY8[1]] = np.nan
    return run, replace(prepared, records=records)


def test_a_run_is_scored_under_each_policy_that_makes_other_labels(partly_known):
    run, prepared = partly_known
    found = {row["policy"]: row for row in evaluate_policies(run, prepared)}
    assert len(found) == len(policies.POLICIES)
    for policy in policies.POLICIES:
        row, under = found[policies.policy_text(**policy)], replace(prepared, **policy)
        assert row == evaluate_on(run, under)
        known = (~np.isnan(under.labels("test"))).sum(axis=0)
        assert [each["known"] for each in row["per_class"].values()] == known.tolist()
        assert (row["scans"], row["left_out"]) == (40, 0)
    certain = replace(prepared, records=prepared.records.replace(-1, 0))
    assert [row["policy"] for row in evaluate_policies(run, certain)] == [
        "uncertain: zeros; blank: zeros", "uncertain: zeros; blank: ignore"]  # fmt: skip
    assert "policy" not in evaluate_on(run, drawn_dataset("xray8"))


def test_two_classes_have_to_be_shared(folder):
    run = replace(read_run(folder / "covid-mobilenet_v3_large-random"), classes=("covid", "measles", "normal"))
    with pytest.raises(RunError, match="share normal; two classes are needed"):
        shared_classes(run, drawn_dataset("pneumonia"))
    assert list(shared_classes(run, drawn_dataset("covid"))) == ["covid", "normal"]


def test_few_and_many_scans_are_answered_alike(covid_run, monkeypatch):
    from lungkeras.models.files import load_model

    model, images = load_model(covid_run / "best.keras"), drawn_dataset("covid").images["test"]
    few = outputs(model, images, batch_size=5)
    monkeypatch.setattr(one_model, "FEW_SCANS", 0)
    np.testing.assert_allclose(outputs(model, images, batch_size=5), few, rtol=1e-5, atol=1e-6)
