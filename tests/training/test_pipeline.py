"""The same batches in the same order on every backend, in every run, whether or not it was interrupted."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from other_backends import each_backend

from lungkeras.augmentation import TRANSFORMS, Augmentation
from lungkeras.preparation.folder import load_prepared
from lungkeras.system.errors import RunError
from lungkeras.system.provenance import file_digest
from lungkeras.training.pipeline import (
    Batches,
    evaluation_batches,
    scan_chances,
    scan_order,
    steps,
    tensorflow_dataset,
    training_batches,
)

CLASSES = ["normal", "pneumonia"]


@pytest.fixture
def folder(tmp_path):
    """A prepared dataset of 23 training, 5 validation and 4 test scans of 8 x 8, each flat, of its row's level."""
    records = []
    for split, scans in (("train", 23), ("val", 5), ("test", 4)):
        levels = np.arange(scans, dtype=np.uint8)
        np.save(tmp_path / f"{split}.npy", np.broadcast_to(levels[:, None, None], (scans, 8, 8)))
        records += [{"scan": f"{split}{i}.png", "patient": str(i), "split": split, "normal": i % 2} for i in levels]
    frame = pd.DataFrame(records)
    frame["pneumonia"] = 1 - frame["normal"]
    frame.to_parquet(tmp_path / "records.parquet")
    statistics = {"dataset": "toy", "task": "multiclass", "classes": CLASSES, "size": 8, "mean": 11.0, "std": 6.6}
    (tmp_path / "statistics.json").write_text(json.dumps(statistics))
    return tmp_path


@pytest.fixture
def prepared(folder):
    return load_prepared(folder)


def seen(batches) -> list[tuple[int, ...]]:
    """The rows that each batch shows, read off the images' grey levels; checks shapes, types and labels on the way."""
    rows = []
    for images, labels in batches:
        images, labels = np.asarray(images), np.asarray(labels)
        levels = images[:, 0, 0, 0]
        assert images.shape == (len(levels), 8, 8, 1)
        assert images.dtype == np.uint8
        assert labels.dtype == np.float32
        assert np.array_equal(labels, np.stack([levels % 2, 1 - levels % 2], 1)), "labels are not those of the images"
        assert (images == levels[:, None, None, None]).all()
        rows.append(tuple(int(level) for level in levels))
    return rows


def batches_of(prepared, **options):
    options = {"batch_size": 5, "seed": 1, "epochs": 3, **options}
    return training_batches(prepared.images["train"], prepared.labels("train"), **options)


def test_a_prepared_dataset_opens_with_its_labels_in_the_order_of_its_images(prepared):
    assert (prepared.name, prepared.task, prepared.size) == ("toy", "multiclass", 8)
    assert prepared.classes == tuple(CLASSES)
    assert isinstance(prepared.images["train"], np.memmap)
    for split, scans in (("train", 23), ("val", 5), ("test", 4)):
        assert prepared.images[split].shape == (scans, 8, 8)
        assert np.array_equal(prepared.labels(split)[:, 0], prepared.images[split][:, 0, 0] % 2)
    assert prepared.labels("val").dtype == np.float32


@pytest.mark.parametrize("name", ["statistics.json", "records.parquet", "val.npy"])
def test_a_missing_or_broken_part_is_one_sentence_with_the_command_to_type(name, folder):
    (folder / name).write_bytes(b"{}")
    with pytest.raises(RunError, match="lungkeras prepare"):
        load_prepared(folder)
    (folder / name).unlink()
    with pytest.raises(RunError, match="lungkeras prepare"):
        load_prepared(folder)
    with pytest.raises(RunError, match="no such folder"):
        load_prepared(folder / "absent")


def test_arrays_that_do_not_fit_their_records_are_refused(folder):
    np.save(folder / "val.npy", np.zeros((6, 8, 8), np.uint8))
    with pytest.raises(RunError, match=r"val\.npy has the shape \(6, 8, 8\)"):
        load_prepared(folder)


def record_files(folder):
    """Writes down the hash of each file, as the preparation does."""
    statistics = json.loads((folder / "statistics.json").read_text())
    files = {name: file_digest(folder / name) for name in ("train.npy", "val.npy", "test.npy", "records.parquet")}
    (folder / "statistics.json").write_text(json.dumps(statistics | {"files": files, "source": "my scans"}))


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: cut(folder / "val.npy"), r"val\.npy can't be opened"),
        (lambda folder: cut(folder / "records.parquet"), r"records\.parquet can't be opened"),
        (lambda folder: (folder / "test.npy").write_bytes(b""), r"test\.npy can't be opened"),
        (lambda folder: (folder / "test.npy").open("ab").write(b"1"), r"test\.npy is 1 bytes longer than its array"),
        (lambda folder: np.save(folder / "val.npy", np.zeros((5, 8, 8))), r"val\.npy has the shape .* of float64"),
        (lambda folder: np.save(folder / "val.npy", np.array([[{}]]), allow_pickle=True), "Python objects"),
        (lambda folder: shutil.copy(folder / "val.npy", folder / "test.npy"), r"test\.npy has the shape \(5, 8, 8\)"),
    ],
)
def test_what_is_cut_or_of_another_type_is_refused_by_its_name_with_the_command_that_rebuilds_it(damage, said, folder):
    record_files(folder)
    damage(folder)
    again = f"lungkeras prepare toy --source DIR --to {folder} --size 8"
    with pytest.raises(RunError, match=rf"{said}.*{again}"):
        load_prepared(folder)


def test_swapped_arrays_of_one_shape_are_refused_and_a_changed_pixel_is_reported(folder, capsys):
    records = pd.read_parquet(folder / "records.parquet")
    records[records["scan"] != "val4.png"].to_parquet(folder / "records.parquet")
    np.save(folder / "val.npy", np.load(folder / "val.npy")[:4] + 100)
    record_files(folder)
    load_prepared(folder)
    assert capsys.readouterr().err == ""

    images = np.load(folder / "val.npy", mmap_mode="r+")
    images[3, 5, 7] ^= 1
    images.flush()
    load_prepared(folder)
    assert capsys.readouterr().err == f"{folder}: val.npy changed after preparation; the changed data are used\n"
    images[3, 5, 7] ^= 1
    images.flush()

    for name, other in (("val", "spare"), ("test", "val"), ("spare", "test")):
        (folder / f"{name}.npy").rename(folder / f"{other}.npy")
    with pytest.raises(RunError, match=r"val\.npy holds what test\.npy held when it was prepared\. Prepare it again"):
        load_prepared(folder)


def test_every_epoch_shows_every_scan_once_in_an_order_of_its_own(prepared):
    rows = seen(batches_of(prepared))
    epoch = steps(prepared.images["train"], 5)
    assert len(rows) == 3 * epoch
    orders = [sum(rows[start : start + epoch], ()) for start in range(0, len(rows), epoch)]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert len({tuple(range(23)), *orders}) == 4
    assert [len(batch) for batch in rows[:epoch]] == [5, 5, 5, 5, 3]


def test_the_order_depends_on_the_seed_and_the_epoch_alone(prepared):
    whole = seen(batches_of(prepared))
    assert seen(batches_of(prepared)) == whole
    assert seen(batches_of(prepared, first_epoch=1)) == whole[5:]
    assert seen(batches_of(prepared, seed=2)) != whole


def test_augmentation_depends_on_the_seed_the_epoch_and_the_scan_alone(tmp_path):
    drawn = np.random.default_rng(0).integers(60, 160, (22, 9, 9), dtype=np.uint8)
    np.save(tmp_path / "train.npy", drawn)
    images, labels = np.load(tmp_path / "train.npy", mmap_mode="r"), np.zeros((22, 2), np.float32)
    whole = Batches(images, labels, 4, seed=1, epochs=3, augmented=True)
    again = training_batches(images, labels, batch_size=4, seed=1, epochs=3, first_epoch=1, augmented=True)
    assert all(np.array_equal(whole[6 + step][0], batch) for step, (batch, _) in enumerate(again))
    shares = [replace(whole, devices=2, share=share)[7][0] for share in (0, 1)]
    assert np.array_equal(np.concatenate(shares), whole[7][0])
    for epoch in range(3):
        order, chances = scan_order(22, 1, epoch), scan_chances(22, TRANSFORMS, 1, epoch)
        layer = np.asarray(Augmentation()(drawn[order][..., None], chances[order], training=True))
        found = np.concatenate([whole[6 * epoch + step][0] for step in range(6)])
        assert np.abs(found.astype(int) - layer).max() <= 1
        assert not np.array_equal(found[..., 0], drawn[order])
    assert np.array_equal(np.load(tmp_path / "train.npy"), drawn)


def test_a_stream_reuses_memory_and_changes_no_batch_that_is_held(prepared):
    images = prepared.images["train"]
    batches = Batches(images, None, 4, seed=0, epochs=2)
    held = list(batches)
    expected = [images[scan_order(23, 0, epoch)][first : first + 4] for epoch in range(2) for first in range(0, 23, 4)]
    assert all(np.array_equal(batch[..., 0], wanted) for batch, wanted in zip(held, expected, strict=True))
    addresses = {batch.ctypes.data for batch in batches}
    assert len({batch.ctypes.data for batch in held}) == len(held) and len(addresses) < len(held)


def test_the_end_of_a_stream_waits_for_no_autotuning(prepared):
    pytest.importorskip("tensorflow")
    dataset = tensorflow_dataset(Batches(prepared.images["train"], None, 4))
    assert dataset.options().autotune.enabled is False


def test_evaluation_keeps_the_order_and_the_last_short_batch(prepared):
    batches = [np.asarray(images) for images in evaluation_batches(prepared.images["train"], batch_size=10)]
    assert [len(images) for images in batches] == [10, 10, 3]
    assert np.array_equal(np.concatenate(batches)[..., 0], prepared.images["train"])


TRAINED = """
import sys, numpy as np, keras
from lungkeras.preparation.folder import load_prepared
from lungkeras.training.pipeline import evaluation_batches, steps, training_batches
prepared = load_prepared(sys.argv[1])
images, labels = prepared.images["train"], prepared.labels("train")
seen = []

class Look(keras.layers.Layer):
    def call(self, images):
        return keras.ops.cast(images, "float32")[:, 0, 0]

class Model(keras.Sequential):
    def train_step(self, *arguments):
        data = arguments[-1]
        seen.append([int(level) for level in np.asarray(data[0])[:, 0, 0, 0]])
        return super().train_step(*arguments)

model = Model([keras.Input((8, 8, 1), dtype="uint8"), Look(), keras.layers.Dense(2)])
model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), run_eagerly=True)
for first, last in ((0, 2), (2, 3)):
    batches = training_batches(images, labels, batch_size=5, seed=1, epochs=last, first_epoch=first)
    history = model.fit(batches, initial_epoch=first, epochs=last, steps_per_epoch=steps(images, 5), verbose=0)
    assert len(history.history["loss"]) == last - first
assert model.predict(evaluation_batches(images, batch_size=10), verbose=0).shape == (23, 2)
print(keras.backend.backend(), seen)
"""


@each_backend
def test_fit_gets_the_same_stream_on_every_backend_and_after_a_resume(backend, folder, prepared):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:keras", "-c", TRAINED, str(folder)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    batches = Batches(prepared.images["train"], prepared.labels("train"), 5, seed=1, epochs=3)
    expected = [[int(level) for level in images[:, 0, 0, 0]] for images, _ in batches]
    assert done.stdout.split("\n")[-2] == f"{backend} {expected}"
    assert "ran out of data" not in done.stderr
