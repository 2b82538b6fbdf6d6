"""Training: losses against PyTorch, a run's files, and a run that was interrupted."""

import io
import json
import os
import shutil
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from prepared_data import CLASSES, COUNTS, write_prepared
from sklearn.metrics import f1_score
from small_training import interrupted, params_of, small_model

from lungkeras.datasets import policies
from lungkeras.preparation.folder import load_prepared
from lungkeras.preparation.made_from import of_prepared
from lungkeras.scores import metrics, temperature
from lungkeras.study import made_from
from lungkeras.study.params_files import load_params
from lungkeras.study.runs import read_run, split_of
from lungkeras.system.errors import RunError
from lungkeras.training import losses, one_run, outputs
from lungkeras.training.progress import Progress


@pytest.fixture(scope="module")
def prepared_folder(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("prepared") / "pneumonia")


@pytest.fixture(scope="module")
def finished(prepared_folder, tmp_path_factory):
    params = params_of(prepared_folder, tmp_path_factory.mktemp("runs"))
    return params, one_run.train(params, small_model())


class Closed(dict):
    """Arrays whose test split can't be read."""

    def __getitem__(self, split):
        if split == "test":
            raise AssertionError("the test split was read")
        return super().__getitem__(split)


def test_training_and_the_choice_of_its_epoch_never_see_the_test_split(finished, prepared_folder, tmp_path):
    _, folder = finished
    prepared = load_prepared(prepared_folder)
    seen = prepared.records[prepared.records["split"] != "test"]
    model = small_model()
    history = one_run.fit(
        model, params_of(prepared_folder, tmp_path), replace(prepared, images=Closed(prepared.images), records=seen)
    )
    expected = pd.read_csv(folder / "history.csv")
    pd.testing.assert_frame_equal(history.drop(columns="seconds"), expected.drop(columns="seconds"), rtol=1e-5)
    for found, whole in zip(
        model.get_weights(), keras.models.load_model(folder / "best.keras").get_weights(), strict=True
    ):
        np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-6)


def test_the_temperature_is_that_of_the_validation_split(finished):
    run = read_run(finished[1])
    expected = temperature.fit_temperature(*split_of(run, "val"), run.task)
    assert run.metrics["temperature"] == pytest.approx(expected, rel=1e-6)
    assert run.metrics["temperatures"] == pytest.approx([expected] * len(run.classes), rel=1e-6)
    assert run.metrics["prior_shift"] == [0.0] * len(run.classes)


def test_a_run_leaves_every_file_with_its_columns(finished):
    params, folder = finished
    assert {file.name for file in folder.iterdir()} == {*made_from.RESULTS, "fingerprint.json"}
    history = pd.read_csv(folder / "history.csv")
    columns = ["epoch", "loss", "macro_f1", "val_loss", "val_macro_f1", "learning_rate", "seconds"]
    assert list(history.columns) == columns
    assert list(history["epoch"]) == [1, 2]
    assert load_params([folder / "params.yaml"]) == params
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert predictions["split"].value_counts().to_dict() == COUNTS
    assert np.allclose(predictions[[f"probability_{name}" for name in CLASSES]].sum(axis=1), 1, atol=1e-5)


def test_the_best_epoch_is_that_of_the_lowest_validation_loss_and_its_model_is_the_one_saved(finished, prepared_folder):
    _, folder = finished
    history = pd.read_csv(folder / "history.csv")
    scores = json.loads((folder / "metrics.json").read_text())
    assert scores["best_epoch"] == history.loc[history["val_loss"].idxmin(), "epoch"]
    assert scores["val"]["loss"] == pytest.approx(history["val_loss"].min(), rel=1e-4)
    model = keras.models.load_model(folder / "best.keras")
    prepared = load_prepared(prepared_folder)
    logits = outputs.predict_logits(model, prepared.images["test"], 4)
    predictions = pd.read_parquet(folder / "predictions.parquet").query("split == 'test'")
    probabilities = predictions[[f"probability_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(metrics.probabilities(logits, "multiclass"), probabilities, atol=1e-4)


def test_the_macro_f1_of_a_run_is_that_of_scikit_learn_on_its_predictions(finished):
    _, folder = finished
    predictions = pd.read_parquet(folder / "predictions.parquet").query("split == 'test'")
    labels = predictions[[f"label_{name}" for name in CLASSES]].to_numpy().argmax(axis=1)
    decided = predictions[[f"probability_{name}" for name in CLASSES]].to_numpy().argmax(axis=1)
    expected = f1_score(labels, decided, average="macro", labels=[0, 1, 2], zero_division=0)
    assert json.loads((folder / "metrics.json").read_text())["test"]["macro_f1"] == pytest.approx(expected, abs=1e-12)


def is_finished(params) -> bool:
    return made_from.is_trained(params.run_folder, params, of_prepared(params.prepared_folder))


@pytest.fixture
def copied(finished, tmp_path):
    """The finished run and its data as a colleague has them: in other folders, every file of another date."""
    params, folder = finished
    shutil.copytree(params.prepared_folder, tmp_path / "prepared" / "pneumonia")
    shutil.copytree(folder, tmp_path / "runs" / folder.name)
    for file in tmp_path.rglob("*"):
        os.utime(file, (0, 1_000_000_000))
    return params.model_copy(update={"prepared": str(tmp_path / "prepared"), "runs": str(tmp_path / "runs")})


def test_a_finished_run_is_not_trained_again_wherever_it_was_copied_to(finished, copied, monkeypatch):
    monkeypatch.setattr(one_run, "fit", lambda *_: pytest.fail("trained again"))
    for params in (finished[0], copied):
        assert one_run.train(params, small_model()) == params.run_folder


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 3},
        {"seed": 1},
        {"learning_rate": 0.02},
        {"batch_norm_momentum": 0.6},
        {"beta_2": 0.9},
        {"clip_norm": 1.0},
        {"warmup": 0.5},
        {"zero_init_residual": True},
    ],
)
def test_a_run_of_other_params_is_not_finished(copied, change):
    assert is_finished(copied.model_copy(update={"title": "another title", "source": "elsewhere"}))
    assert not is_finished(copied.model_copy(update=change))


def test_a_policy_makes_no_other_run_if_all_labels_are_known(copied):
    assert is_finished(copied.model_copy(update={"uncertain": "ones, normal=zeros", "blank": "ignore"}))


@pytest.fixture(scope="module")
def partly_known(tmp_path_factory):
    """A finished run of a multilabel dataset with uncertain and blank labels."""
    folder = write_prepared(tmp_path_factory.mktemp("partly") / "pneumonia")
    records = pd.read_parquet(folder / "records.parquet").astype(dict.fromkeys(CLASSES[:2], float))
    records.loc[records.index % 5 == 0, CLASSES[0]] = -1.0
    records.loc[records.index % 7 == 0, CLASSES[1]] = np.nan
    records.to_parquet(folder / "records.parquet")
    statistics = json.loads((folder / "statistics.json").read_text())
    statistics |= {"task": "multilabel", "unknown": policies.unknown_labels(records, CLASSES)}
    (folder / "statistics.json").write_text(json.dumps(statistics))
    params = params_of(folder, folder.parent / "runs", blank="ignore")
    one_run.train(params, small_model())
    return params


@pytest.mark.backend
def test_a_run_keeps_its_labels_as_its_policies_have_them(partly_known):
    predictions = pd.read_parquet(partly_known.run_folder / "predictions.parquet")
    assert [predictions[f"label_{name}"].dtype.kind for name in CLASSES] == ["f", "f", "i"]
    assert predictions[f"label_{CLASSES[0]}"].isna().tolist() == [row % 5 == 0 for row in range(len(predictions))]
    assert predictions[f"label_{CLASSES[1]}"].isna().tolist() == [row % 7 == 0 for row in range(len(predictions))]
    run = read_run(partly_known.run_folder)
    labels, given = split_of(run, "test")
    test = run.metrics["test"]
    assert [row["known"] for row in test["per_class"].values()] == (~np.isnan(labels)).sum(axis=0).tolist()
    assert test["macro_f1"] == pytest.approx(metrics.macro_f1(labels, given, "multilabel"))
    assert np.isfinite(run.history[["loss", "val_loss", "macro_f1", "val_macro_f1"]]).all(axis=None)


def test_a_policy_that_makes_other_labels_makes_another_run(partly_known):
    assert is_finished(partly_known)
    assert is_finished(partly_known.model_copy(update={"uncertain": f"zeros, {CLASSES[0]}=ignore"}))
    for change in ({"uncertain": "ones"}, {"uncertain": f"{CLASSES[0]}=zeros"}, {"blank": "zeros"}):
        assert not is_finished(partly_known.model_copy(update=change)), change


def test_a_class_of_which_no_label_is_known_in_train_is_refused(partly_known, tmp_path):
    folder = shutil.copytree(partly_known.prepared_folder, tmp_path / "pneumonia")
    records = pd.read_parquet(folder / "records.parquet")
    records.loc[records["split"] == "train", CLASSES[1]] = np.nan
    records.to_parquet(folder / "records.parquet")
    params = params_of(folder, tmp_path / "runs", blank="ignore")
    with pytest.raises(RunError, match=f"no label of {CLASSES[1]} is known in the training split.*blank: ignore"):
        one_run.train(params, small_model())
    assert not (params.run_folder / "metrics.json").exists()


def test_one_changed_pixel_label_or_result_is_noticed(copied):
    assert is_finished(copied)
    records = copied.prepared_folder / "records.parquet"
    for file in (copied.prepared_folder / "train.npy", copied.run_folder / "best.keras"):
        kept = file.read_bytes()
        file.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        assert not is_finished(copied), file
        file.write_bytes(kept)
        assert is_finished(copied)
    frame = pd.read_parquet(records)
    frame.loc[0, list(CLASSES)] = [0, 1, 0]
    frame.to_parquet(records)
    assert not is_finished(copied)


@pytest.mark.parametrize("name", ["params.yaml", "history.csv", "predictions.parquet", "metrics.json"])
def test_a_result_that_was_changed_by_hand_is_not_read(copied, name):
    file = copied.run_folder / name
    assert read_run(copied.run_folder).name == copied.run
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(RunError, match=rf"{name} is not as training left it.*Train it again: lungkeras train --params"):
        read_run(copied.run_folder)


def test_missing_sources_are_no_reason_to_train_again(copied):
    shutil.rmtree(copied.prepared_folder)
    assert is_finished(copied)


def test_an_interrupted_run_ends_as_an_undisturbed_one(finished, prepared_folder, tmp_path, monkeypatch):
    _, undisturbed = finished
    params = params_of(prepared_folder, tmp_path)
    with interrupted(monkeypatch, before=1):
        one_run.train(params, small_model())
    assert (params.run_folder / "checkpoint.npz").is_file()
    folder = one_run.train(params, small_model())
    resumed, expected = (pd.read_csv(run / "history.csv").drop(columns="seconds") for run in (folder, undisturbed))
    pd.testing.assert_frame_equal(resumed, expected, rtol=1e-5)
    assert not (folder / "checkpoint.npz").exists()


@pytest.fixture
def checkpointed(prepared_folder, tmp_path):
    """A function: -> what a run resumes from, of a run with two checkpoints, after one epoch and after two."""
    params = params_of(prepared_folder, tmp_path)
    prepared = load_prepared(prepared_folder)

    def progress():
        model = small_model()
        made = Progress(model, params, prepared)
        made.set_model(one_run.compiled(model, params, prepared))
        return made

    first = progress()
    for epoch in (1, 2):
        first.rows.append({"epoch": epoch})
        first.model.set_weights([weight + 1 for weight in first.model.get_weights()])
        first.save()
    return progress


def kept(checkpoint) -> list[int]:
    """A checkpoint cut to nothing, to a byte, to its half, by its last byte."""
    size = checkpoint.stat().st_size
    return [0, 1, size // 2, size - 1]


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so_once(checkpointed, capsys):
    whole = checkpointed()
    assert whole.restore() == 2 and capsys.readouterr().err == ""
    last, before = whole.checkpoints
    data = last.read_bytes()
    for size in kept(last):
        last.write_bytes(data[:size])
        progress = checkpointed()
        assert progress.restore() == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"{last} is damaged" in said and "Traceback" not in said
        assert [row["epoch"] for row in progress.rows] == [1]
        assert checkpointed().restore() == 1 and capsys.readouterr().err == ""
    flipped = bytearray(data)
    with zipfile.ZipFile(io.BytesIO(data)) as members:
        largest = max(members.infolist(), key=lambda member: member.file_size)
    flipped[largest.header_offset + largest.file_size // 2] ^= 1  # within its data
    last.write_bytes(flipped)
    before.write_bytes(b"")
    assert checkpointed().restore() == 0
    assert capsys.readouterr().err.count("is damaged") == 2


def test_a_kill_between_two_checkpoints_leaves_the_earlier_one(checkpointed):
    last, _ = checkpointed().checkpoints
    last.unlink()
    progress = checkpointed()
    assert progress.restore() == 1
    assert np.array_equal(progress.best_weights[0], checkpointed().best_weights[0])


def test_prepared_scans_of_another_size_are_refused_with_what_to_do(prepared_folder, tmp_path):
    params = params_of(prepared_folder, tmp_path, image_size=64)
    with pytest.raises(RunError, match="32 pixels, image_size is 64: prepare it again"):
        one_run.train(params)


def test_the_weighted_loss_is_that_of_pytorch_and_of_metrics():
    torch = pytest.importorskip("torch", reason="torch, of the extra [test], is the judge of the loss")
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (12, 7)).astype(np.float32)
    logits = rng.normal(0, 3, (12, 7)).astype(np.float32)
    weights = metrics.positive_weights(labels)
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weights))(torch.tensor(logits), torch.tensor(labels))
    tensors = [keras.ops.convert_to_tensor(values) for values in (labels, logits)]
    ours = keras.ops.mean(losses.loss_function("multilabel", weights)(*tensors))
    assert float(ours) == pytest.approx(float(expected), rel=1e-5)
    assert metrics.cross_entropy(labels, logits, "multilabel", weights) == pytest.approx(float(expected), rel=1e-5)
    plain = keras.ops.mean(losses.loss_function("multilabel", None)(*tensors))
    assert float(plain) == pytest.approx(metrics.cross_entropy(labels, logits, "multilabel"), rel=1e-5)


@pytest.mark.backend
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_partly_known_labels_is_the_reference_in_every_batch(weighted):
    rng = np.random.default_rng(1)
    labels, logits = rng.integers(0, 2, (40, 7)).astype(np.float32), rng.normal(0, 3, (40, 7)).astype(np.float32)
    whole = labels.copy()
    labels[rng.random(labels.shape) < 0.4] = np.nan
    labels[3] = np.nan
    weights = metrics.positive_weights(labels) if weighted else None
    loss = losses.loss_function("multilabel", weights, 1 - np.isnan(labels).mean())
    batches = [
        loss(*map(keras.ops.convert_to_tensor, (labels[rows], logits[rows]))) for rows in np.split(np.arange(40), 4)
    ]
    found = np.concatenate([keras.ops.convert_to_numpy(each) for each in batches])
    assert found.shape == (40,) and found[3] == 0
    assert float(found.mean()) == pytest.approx(metrics.cross_entropy(labels, logits, "multilabel", weights), abs=1e-6)
    tensors = [keras.ops.convert_to_tensor(values) for values in (whole, logits)]
    masked, plain = (losses.loss_function("multilabel", weights, known)(*tensors) for known in (1 - 1e-12, 1.0))
    np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (masked, plain)), rtol=1e-6)


@pytest.mark.backend
def test_an_unknown_label_moves_no_weight_and_is_in_no_score():
    """One step on labels with NaN is that on the known ones alone, each with its own class."""
    images, logits = keras.Input((2,)), keras.layers.Dense(2, use_bias=False, kernel_initializer="zeros", name="logits")
    model = keras.Model(images, logits(images))
    model.compile(
        optimizer=keras.optimizers.SGD(1.0),
        loss=losses.loss_function("multilabel", None, 0.5),
        metrics=[losses.MacroF1("multilabel")],
    )
    seen, labels = np.eye(2, dtype=np.float32), np.array([[1, np.nan], [np.nan, 0]], np.float32)
    scores = model.train_on_batch(seen, labels, return_dict=True)
    assert float(scores["loss"]) == pytest.approx(np.log(2), abs=1e-6)
    # The gradient of a known logit is (0.5 - label) / 2, as two labels are known; that of the others 0.
    np.testing.assert_allclose(model.get_weights()[0], [[0.25, 0], [0, -0.25]], atol=1e-6)


def test_class_weights_are_used_only_by_a_multilabel_loss_with_the_setting(prepared_folder, tmp_path):
    params, prepared = params_of(prepared_folder, tmp_path), load_prepared(prepared_folder)
    assert losses.class_weights(prepared, params) is None
    several = replace(prepared, task="multilabel")
    np.testing.assert_allclose(losses.class_weights(several, params), [2, 2, 2])
    assert losses.class_weights(several, params.model_copy(update={"class_weights": False})) is None


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_the_streamed_macro_f1_is_that_of_scikit_learn(task):
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (60, 4)).astype(np.float32)
    labels = (
        np.eye(4, dtype=np.float32)[rng.integers(0, 4, 60)] if task == "multiclass" else rng.integers(0, 2, (60, 4))
    )
    metric = losses.MacroF1(task)
    for start in range(0, 60, 16):
        metric.update_state(labels[start : start + 16].astype(np.float32), logits[start : start + 16])
    expected = metrics.macro_f1(labels, metrics.probabilities(logits, task), task)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.backend
def test_the_streamed_macro_f1_leaves_out_labels_that_are_not_known():
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(0, 2, (60, 4)).astype(np.float32), rng.integers(0, 2, (60, 4)).astype(np.float32)
    labels[rng.random(labels.shape) < 0.3] = np.nan
    metric = losses.MacroF1("multilabel")
    for start in range(0, 60, 16):
        metric.update_state(labels[start : start + 16], logits[start : start + 16])
    expected = metrics.macro_f1(labels, metrics.probabilities(logits, "multilabel"), "multilabel")
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_the_learning_rate_rises_linearly_in_the_warm_up_then_falls_along_a_cosine(prepared_folder, tmp_path, warmup):
    params = params_of(prepared_folder, tmp_path, learning_rate=0.02, final_learning_rate=0.001, warmup=warmup)
    rates = one_run.schedule(params, 40)
    rising = int(40 * warmup)
    falls = (1 + np.cos(np.pi * np.arange(41 - rising) / (40 - rising))) / 2
    expected = [*(0.02 * np.arange(rising) / max(rising, 1)), *(0.001 + (0.02 - 0.001) * falls)]
    np.testing.assert_allclose([float(rates(step)) for step in range(41)], expected, rtol=1e-5)


def test_a_run_made_before_a_param_existed_counts_as_one_with_its_default(prepared_folder, tmp_path):
    params = params_of(prepared_folder, tmp_path)
    now = made_from.training_made_from(params, "data")["params"]
    before = {name: getattr(params, name) for name in type(params).model_fields if name not in made_from.LATER}
    assert all(type(params).model_fields[name].default == value for name, value in made_from.LATER.items())
    assert now == made_from.digest(made_from.as_json({k: v for k, v in before.items() if k not in made_from.PLACES}))


def test_the_learning_rate_falls_from_the_first_to_the_final_one_along_a_cosine(finished):
    params, folder = finished
    rates = pd.read_csv(folder / "history.csv")["learning_rate"]
    first, final = params.learning_rate, params.final_learning_rate
    assert rates[0] == pytest.approx((first + final) / 2, rel=1e-4)  # half of the steps: the middle of the cosine
    assert rates[1] == pytest.approx(final, rel=1e-4)


def test_optimizer_and_loss_are_those_of_the_paper(prepared_folder, tmp_path):
    params = params_of(prepared_folder, tmp_path)
    prepared = load_prepared(prepared_folder)
    trainer = one_run.compiled(small_model(), params, prepared)
    adam = trainer.optimizer
    assert isinstance(adam, keras.optimizers.Adam)
    assert trainer.optimizer.variables, "created before the first step, or TensorFlow traces it twice"
    assert (adam.beta_1, adam.beta_2, adam.epsilon) == (0.9, 0.999, 1e-8)
