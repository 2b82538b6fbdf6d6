"""VinDr-CXR: votes of three readers, both layouts, and the traps that the drawn twin has."""

import csv
import io
import shutil
from collections import defaultdict

import numpy as np
import pydicom
import pytest
from published_lists import published_list

from lungkeras.datasets.boxes import read_boxes
from lungkeras.datasets.collections.vindr import CLASSES, IN_KAGGLE, LOCAL, PUBLISHED, voted
from lungkeras.datasets.listed import plain
from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.datasets.registry import read_records
from lungkeras.preparation.audit import audit_source
from lungkeras.preparation.made_from import is_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system.errors import SourceError

FINDINGS = list(CLASSES[:-1])
# Of the scans in which one reader saw it, the share in which all three did; counted in the published list.
AGREEMENT = {
    "pneumothorax": 0.47,
    "pleural_effusion": 0.43,
    "cardiomegaly": 0.56,
    "aortic_enlargement": 0.57,
    "pulmonary_fibrosis": 0.39,
    "nodule_mass": 0.22,
    "pleural_thickening": 0.18,
    "ild": 0.18,
    "infiltration": 0.15,
    "lung_opacity": 0.13,
    "calcification": 0.13,
    "other_lesion": 0.11,
    "atelectasis": 0.10,
    "consolidation": 0.09,
}


@pytest.fixture(scope="module")
def source(phantom_source):
    return phantom_source("vindr")


def rows(file) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_the_twin_has_the_published_layout_and_its_traps(source):
    train, test = (rows(source / "annotations" / f"image_labels_{split}.csv") for split in ("train", "test"))
    assert list(train[0]) == ["image_id", "rad_id", *PUBLISHED]
    assert list(test[0]) == ["image_id", *PUBLISHED[:-2], "Other disease", "No finding"]
    readers = defaultdict(set)
    for row in train:
        readers[row["image_id"]].add(row["rad_id"])
    assert {len(own) for own in readers.values()} == {3}
    names = {file.stem for file in (source / "train").glob("*.dicom")}
    assert names == set(readers) and {len(name) for name in names} == {32}
    assert {file.stem for file in (source / "test").glob("*.dicom")} == {row["image_id"] for row in test}
    kinds = {str(pydicom.dcmread(file).PhotometricInterpretation) for file in source.glob("t*/*.dicom")}
    assert kinds == {"MONOCHROME1", "MONOCHROME2"}
    boxes = rows(source / "annotations" / "annotations_train.csv")
    assert list(boxes[0]) == ["image_id", "rad_id", "class_name", "x_min", "y_min", "x_max", "y_max"]
    assert any(row["class_name"] == "No finding" and row["x_min"] == "" for row in boxes)


def test_three_readers_read_most_of_the_sick_and_few_others(phantom_records):
    records = phantom_records("vindr")
    records = records[records["reader"] != "consensus"]
    trio = records["reader"] == "R8 R9 R10"
    assert records.loc[trio, "no_finding"].mean() < 0.2 < 0.5 < records.loc[~trio, "no_finding"].mean()


def test_the_audit_finds_that_the_readers_tell_of_disease(source):
    found = audit_source("vindr", source)
    alarms = {entry["class"] for entry in found["shortcuts"] if entry["alarm"] and entry["name"] == "metadata"}
    assert "no_finding" in alarms


@pytest.mark.parametrize("votes", ["majority", "any", "all"])
def test_votes_make_labels_as_counted_by_hand(votes, source):
    needed = {"majority": 2, "any": 1, "all": 3}[votes]
    seen = defaultdict(lambda: np.zeros(len(CLASSES), int))
    for row in rows(source / "annotations" / "image_labels_train.csv"):
        seen[row["image_id"]] += [int(row[name]) for name in PUBLISHED]
    records = read_records("vindr", source, votes=votes).set_index("scan")
    labels = records.loc[list(seen), list(CLASSES)].to_numpy()
    counted = np.stack(list(seen.values()))
    assert np.array_equal(labels[:, :-1], counted[:, :-1] >= needed)
    assert np.array_equal(labels[:, -1], counted[:, -1] >= 4 - needed)
    assert (labels.sum(axis=1) > 0).all()


def test_more_readers_have_to_see_less_under_any_than_majority_than_all(source):
    any_, most, all_ = (read_records("vindr", source, votes=votes)[FINDINGS] for votes in ("any", "majority", "all"))
    assert any_.sum().sum() > most.sum().sum() > all_.sum().sum()
    assert read_records("vindr", source)[FINDINGS].equals(most)
    with pytest.raises(SourceError, match="expected votes majority, any, all; found 'most'"):
        read_records("vindr", source, votes="most")


def test_of_two_readers_a_majority_is_both():
    seen = np.tile([[0], [1], [2]], len(CLASSES))
    assert voted(seen, np.array([2, 2, 2]), "majority")[:, 0].tolist() == [0, 0, 1]
    assert voted(seen, np.array([2, 2, 2]), "any")[:, [0, -1]].tolist() == [[0, 0], [1, 0], [1, 1]]


def test_boxes_are_shares_of_the_original_scan_of_every_reader(source, phantom_records):
    records = phantom_records("vindr")
    boxes = read_boxes("vindr", source, records)
    listed = [
        (row["image_id"], plain(row["class_name"]), int(row["x_min"]) / 256, int(row["y_max"]) / 256)
        for name in ("annotations_train.csv", "annotations_test.csv")
        for row in rows(source / "annotations" / name)
        if row["x_min"]
    ]
    shown = records.set_index("scan")
    expected = sorted(row for row in listed if shown.at[row[0], row[1]] == 1)
    found = sorted(boxes[["scan", "class", "left", "bottom"]].itertuples(index=False, name=None))
    assert [row[:2] for row in found] == [row[:2] for row in expected] and len(found) > 20
    np.testing.assert_allclose([row[2:] for row in found], [row[2:] for row in expected], atol=1e-9)
    assert set(boxes["class"]) <= {plain(name) for name in LOCAL}


def test_a_scan_that_was_converted_has_no_boxes_but_is_read(source, tmp_path):
    import cv2

    from lungkeras.datasets.scans.decoding import decode_grey

    copy = shutil.copytree(source, tmp_path / "copy")
    for file in copy.glob("t*/*.dicom"):
        cv2.imwrite(str(file.with_suffix(".png")), decode_grey(file)[::2, ::2])
        file.unlink()
    records = read_records("vindr", copy)
    assert len(records) == 60 and records["path"].str.endswith(".png").all()
    assert read_boxes("vindr", copy, records).empty


def test_a_partial_download_says_what_is_missing(source, tmp_path, capsys):
    copy = shutil.copytree(source, tmp_path / "copy")
    gone = sorted((copy / "train").iterdir())[:7]
    for file in gone:
        file.unlink()
    records = read_records("vindr", copy)
    assert len(records) == 53 and records.attrs["absent"] == 7
    shutil.rmtree(copy / "train"), shutil.rmtree(copy / "test")
    with pytest.raises(SourceError, match=r"image_labels_train\.csv and .* list 60 scans, .* holds no image"):
        read_records("vindr", copy)
    assert len(read_records("vindr", copy, require_files=False)) == 60
    for name in ("image_labels_train.csv", "image_labels_test.csv"):
        (copy / "annotations" / name).unlink()
    with pytest.raises(SourceError, match=r"image_labels_train\.csv and image_labels_test\.csv are missing in .*annot"):
        read_records("vindr", copy)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Lung cyst", "Lung zyst", r"no column lung_cyst in .*did you mean lung_zyst"),
        ("Other diseases", "Others", "no column other_diseases"),
        (",1,", ",2,", "expected 0 or 1 in the column"),
        (",1,", ",yes,", "'yes' as .* in row .*, which is not a number"),
    ],
)
def test_a_list_that_is_not_as_published_is_one_sentence(old, new, said, source, tmp_path):
    copy = shutil.copytree(source, tmp_path / "copy")
    file = copy / "annotations" / "image_labels_train.csv"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(SourceError, match=said):
        read_records("vindr", copy)


def write_kaggle(to, text: str):
    (to / "train.csv").write_text("image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n" + text)
    return to


def test_what_the_copy_on_kaggle_does_not_name_is_blank_and_several_boxes_are_one_vote(tmp_path, capsys):
    box = "10,20,30,40"
    lines = [f"a,Nodule/Mass,8,R1,{box}", f"a,Nodule/Mass,8,R1,{box}", f"a,Cardiomegaly,3,R2,{box}"]
    lines += [f"a,Cardiomegaly,3,R9,{box}", *(f"b,No finding,14,R{reader},,,," for reader in (3, 10, 9))]
    records = read_records("vindr", write_kaggle(tmp_path, "\n".join(lines)), require_files=False).set_index("scan")
    assert "names 14 findings; 13 are blank" in capsys.readouterr().err
    assert records.loc["a", ["nodule_mass", "cardiomegaly", "no_finding"]].tolist() == [0, 1, 0]
    assert records.loc["b", list(IN_KAGGLE)].tolist() == [0] * 14 + [1]
    assert records.loc["b", "reader"] == "R3 R9 R10" and records.loc["b", "path"] == "train/b.dicom"
    blank = [name for name in CLASSES if name not in IN_KAGGLE]
    assert len(blank) == 13 and records[blank].isna().all(axis=None)
    with pytest.raises(SourceError, match=r"expected the 28 classes of VinDr-CXR, found Masses 1"):
        read_records("vindr", write_kaggle(tmp_path, f"a,Masses,8,R1,{box}"), require_files=False)


def test_the_published_list_is_read_to_its_counts(tmp_path):
    text = published_list("vinbigdata-train.csv.gz").decode()
    (tmp_path / "train.csv").write_text(text)
    records = read_records("vindr", tmp_path, require_files=False)
    listed = list(csv.DictReader(io.StringIO(text)))
    assert len(listed) == 67_914 and len(records) == 15_000
    assert records["no_finding"].sum() == 10_606
    assert set(" ".join(records["reader"]).split()) == {f"R{number}" for number in range(1, 18)}
    assert (records["reader"].str.count(" ") == 2).all()
    trio = records["reader"] == "R8 R9 R10"
    assert trio.sum() == 5_501
    assert 1 - records.loc[trio, "no_finding"].mean() == pytest.approx(0.754, abs=5e-4)
    assert 1 - records.loc[~trio, "no_finding"].mean() == pytest.approx(0.026, abs=5e-4)
    any_, all_ = (read_records("vindr", tmp_path, require_files=False, votes=votes) for votes in ("any", "all"))
    seen = defaultdict(set)
    for row in listed:
        seen[plain(row["class_name"])].add(row["image_id"])
    assert {name: int(any_[name].sum()) for name in IN_KAGGLE} == {name: len(seen[name]) for name in IN_KAGGLE}
    assert {name: round(all_[name].sum() / any_[name].sum(), 2) for name in AGREEMENT} == AGREEMENT
    assert (all_["no_finding"] == any_["no_finding"]).all()


def test_the_twin_is_prepared_and_the_vote_is_part_of_what_it_is_made_from(source, tmp_path):
    summary = prepare_dataset("vindr", source, tmp_path / "prepared", size=32, votes="any")
    assert sum(summary["scans"].values()) == 60 and not summary["quarantined"] and summary["votes"] == "any"
    same = {"size": 32, "seed": 0}
    assert is_prepared(tmp_path / "prepared", "vindr", source, **same, votes="any")
    assert not is_prepared(tmp_path / "prepared", "vindr", source, **same)
    assert not is_prepared(tmp_path / "prepared", "vindr", None, **same)


def test_the_published_test_scans_are_a_split(source, tmp_path):
    summary = prepare_dataset("vindr", source, tmp_path / "prepared", size=32, split="official")
    assert summary["split"] == "official" and summary["scans"]["test"] == 10 and summary["votes"] == "majority"


def test_the_seed_alone_decides_the_names(tmp_path):
    names = [{file.name for file in draw_source("vindr", tmp_path / str(place), scans=20, seed=seed).glob("t*/*")}
             for place, seed in enumerate((1, 1, 2))]  # fmt: skip
    assert names[0] == names[1] and not names[0] & names[2]
