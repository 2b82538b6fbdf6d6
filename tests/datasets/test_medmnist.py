"""MedMNIST: scans in arrays, not in files; both collections, several sizes, and files that are not as published."""

import shutil

import numpy as np
import pandas as pd
import pytest

from lungkeras.datasets.collections.medmnist import CLASSES, FINDINGS
from lungkeras.datasets.registry import DATASETS, read_records
from lungkeras.datasets.scans import arrays
from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.preparation.made_from import is_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system.errors import ScanError, SourceError

FILES = {"medmnist": "chestmnist.npz", "pneumoniamnist": "pneumoniamnist.npz"}


@pytest.fixture(params=FILES)
def dataset(request):
    return request.param


def published(file, *, labels: int, side: int = 28, counts=(7, 2, 3), seed: int = 0, **changes):
    """A file as MedMNIST's, with random pixels; `changes` replace arrays, or leave out those that are None."""
    rng, content = np.random.default_rng(seed), {}
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        content[f"{split}_images"] = rng.integers(0, 256, (count, side, side), np.uint8)
        content[f"{split}_labels"] = rng.integers(0, 2, (count, labels)).astype(np.uint8)
    content = {name: array for name, array in (content | changes).items() if array is not None}
    np.savez_compressed(file, **content)
    return content


def test_the_twin_has_the_published_layout(dataset, phantom_source):
    source = phantom_source(dataset)
    assert [file.name for file in source.iterdir() if file.suffix != ".txt" and file.name != "BOXES.csv"] == [
        FILES[dataset]
    ]
    with np.load(source / FILES[dataset]) as content:
        shapes = {name: (content[name].shape, content[name].dtype) for name in content}
    labels = 14 if dataset == "medmnist" else 1
    expected = {}
    for split, count in (("train", 42), ("val", 6), ("test", 12)):
        expected |= {f"{split}_images": ((count, 28, 28), np.uint8), f"{split}_labels": ((count, labels), np.uint8)}
    assert shapes == expected


def test_rows_decode_to_their_pixels_and_labels_stay_with_them(dataset, phantom_source):
    source = phantom_source(dataset)
    records = read_records(dataset, source)
    with np.load(source / FILES[dataset]) as content:
        for row in records.iloc[::7].itertuples():
            split, _, number = row.scan.partition("_")
            assert np.array_equal(decode_grey(source / row.path), content[f"{split}_images"][int(number)])
            known = content[f"{split}_labels"][int(number)]
            own = records.loc[row.Index, list(FINDINGS) if dataset == "medmnist" else ["pneumonia"]]
            assert own.tolist() == known.tolist()
    assert not DATASETS[dataset].patients and records["patient"].is_unique


def test_no_finding_is_a_scan_without_a_label(phantom_records):
    records = phantom_records("medmnist")
    assert ((records[list(FINDINGS)].sum(axis=1) == 0) == (records["no_finding"] == 1)).all()
    assert list(CLASSES) == [*FINDINGS, "no_finding"] and records["no_finding"].sum() == 15


def test_a_source_is_prepared_in_row_order_and_a_changed_array_is_noticed(dataset, phantom_source, tmp_path):
    source = shutil.copytree(phantom_source(dataset), tmp_path / "source")
    summary = prepare_dataset(dataset, source, tmp_path / "prepared", size=32)
    assert sum(summary["scans"].values()) == 60 and not summary["quarantined"]
    records = pd.read_parquet(tmp_path / "prepared" / "records.parquet")
    one = np.load(tmp_path / "prepared" / "test.npy")[0]
    from lungkeras.preparation.scan import prepare_scan

    path = records.loc[records["split"] == "test", "path"].iloc[0]
    assert np.array_equal(one, prepare_scan(source / path, 32))
    assert is_prepared(tmp_path / "prepared", dataset, source, size=32, seed=0)
    with np.load(source / FILES[dataset]) as content:
        changed = dict(content)
    changed["train_images"] = 255 - changed["train_images"]
    np.savez_compressed(source / FILES[dataset], **changed)
    assert not is_prepared(tmp_path / "prepared", dataset, source, size=32, seed=0)


def test_the_published_test_split_is_a_split(dataset, phantom_source, tmp_path):
    summary = prepare_dataset(dataset, phantom_source(dataset), tmp_path / "prepared", size=32, split="official")
    records = pd.read_parquet(tmp_path / "prepared" / "records.parquet")
    assert summary["split"] == "official"
    assert (records["scan"].str.startswith("test_") == (records["split"] == "test")).all()


def test_of_several_sizes_the_largest_is_read(tmp_path):
    for side, name in ((28, "chestmnist.npz"), (64, "chestmnist_64.npz")):
        published(tmp_path / name, labels=14, side=side)
    records = read_records("medmnist", tmp_path)
    assert len(records) == 12 and records["path"].str.startswith("chestmnist_64.npz::").all()
    assert decode_grey(tmp_path / records["path"][0]).shape == (64, 64)
    assert ["left out: no image (zip)", 1] in records.attrs["flow"]


def test_the_other_collection_is_recognised(tmp_path):
    published(tmp_path / "pneumoniamnist.npz", labels=1)
    with pytest.raises(SourceError, match=r"medmnist: no scan in .*which is a source of pneumoniamnist"):
        read_records("medmnist", tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"val_images": None, "test_labels": None}, "found no val_images, test_labels"),
        ({"val_labels": np.zeros((9, 1), np.uint8)}, r"val_labels of uint8 \(9, 1\)"),
        ({"val_labels": np.full((2, 1), 2, np.uint8)}, "labels other than 0 and 1 in val_labels"),
        ({"val_images": np.zeros((2, 28, 28))}, r"val_images of float64 \(2, 28, 28\)"),
        ({"val_images": np.zeros((2, 28, 28, 3), np.uint8)}, r"val_images of uint8 \(2, 28, 28, 3\)"),
        ({"val_images": np.array([None, None])}, "can't be read"),
    ],
)
def test_a_file_that_is_not_as_published_is_one_sentence(changes, said, tmp_path):
    published(tmp_path / "pneumoniamnist.npz", labels=1, **changes)
    with pytest.raises(SourceError, match=rf"pneumoniamnist: .*is not as published.*{said}"):
        read_records("pneumoniamnist", tmp_path)


@pytest.mark.parametrize("kept", [0, 100, 3000])
def test_a_file_that_is_cut_short_is_one_sentence(kept, tmp_path):
    file = tmp_path / "pneumoniamnist.npz"
    published(file, labels=1)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(SourceError, match=r"is not as published.*Fetch it again"):
        read_records("pneumoniamnist", tmp_path)


# Rows of arrays


def test_rows_are_read_in_any_order_and_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK", 3 * 28 * 28)
    content = published(tmp_path / "a.npz", labels=1, counts=(50, 20, 1))
    for row in (0, 49, 1, 13, 12, 30, 2):
        assert np.array_equal(decode_grey(f"{tmp_path}/a.npz::train_images/{row:06}"), content["train_images"][row])
    assert np.array_equal(decode_grey(f"{tmp_path}/a.npz::val_images/7"), content["val_images"][7])
    changed = published(tmp_path / "a.npz", labels=1, counts=(50, 20, 2), seed=1)
    assert np.array_equal(decode_grey(f"{tmp_path}/a.npz::val_images/7"), changed["val_images"][7])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("train_images/7", "train_images has 7 rows"),
        ("valid_images/0", "no array valid_images of scans"),
        ("train_labels/0", r"an array of uint8 \(7, 1\), expected uint8"),
    ],
)
def test_a_row_that_is_not_there_is_a_scan_that_cannot_be_read(name, said, tmp_path):
    published(tmp_path / "a.npz", labels=1)
    with pytest.raises(ScanError, match=rf"a\.npz::{name}: {said}"):
        decode_grey(f"{tmp_path}/a.npz::{name}")
    with pytest.raises(ScanError, match="can't be read"):
        decode_grey(f"{tmp_path}/b.npz::{name}")


def test_a_row_that_is_damaged_is_a_scan_that_cannot_be_read(tmp_path):
    file = tmp_path / "a.npz"
    published(file, labels=1, counts=(200, 2, 3))
    data = bytearray(file.read_bytes())
    data[5000:5200] = bytes(200)
    file.write_bytes(data)
    with pytest.raises(ScanError, match="no array train_images of scans can be read"):
        for row in range(200):
            decode_grey(f"{file}::train_images/{row}")
