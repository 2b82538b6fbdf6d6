"""A published split: planted patients, scans and copies on two sides are found, and no other; and it is repaired."""

import json
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from lungkeras import cli
from lungkeras.datasets.split_lists import read_sides, side_names
from lungkeras.preparation.audit.published_split import EXCLUDED, audit_split, repaired, write_repaired
from lungkeras.system.errors import FolderError, SourceError


def write_lists(folder, **sides: list[str]):
    """A text file for each side; the paths."""
    for side, names in sides.items():
        (folder / f"{side}.txt").write_text("\n".join(names) + "\n")
    return [folder / f"{side}.txt" for side in sides]


def nih(patients, scans: int = 2) -> list[str]:
    return [f"{patient:08}_{number:03}.png" for patient in patients for number in range(scans)]


def test_a_patient_on_two_sides_is_found_from_names_alone(tmp_path):
    lists = write_lists(
        tmp_path, train_val_list=[*nih(range(1, 40)), "00000099_004.png"], test_list=nih(range(90, 100))
    )
    found, table = audit_split("xray8", lists)
    assert found["leak"] and found["patients_from"] == "names" and found["notes"] == []
    assert found["sides"] == {"train_val": {"scans": 79, "patients": 40}, "test": {"scans": 20, "patients": 10}}
    assert found["shared_patients"] == {"train_val and test": 1} and found["shared_scans"] == {"train_val and test": 0}
    scans = {"train_val": ["00000099_004.png"], "test": ["00000099_000.png", "00000099_001.png"]}
    assert found["leaks"] == [{"patient": "00000099", "scans": scans}]
    assert found["shared_copies"] is None and found["copies"] == []
    clean, _ = audit_split("xray8", write_lists(tmp_path, train=nih(range(9)), test=nih(range(10, 12))))
    assert not clean["leak"] and clean["leaks"] == []
    assert (table["group"] == "00000099").sum() == 3


def test_test_stays_as_it_was_and_the_repaired_split_has_no_leak(tmp_path):
    random = np.random.default_rng(0)
    names = nih(range(60), 3)
    sides = random.choice(["train", "val", "test"], len(names), p=[0.7, 0.15, 0.15])
    table = pd.DataFrame({"Image Index": names, "split": sides, "more": 1})
    table.to_csv(tmp_path / "split.csv", index=False)
    found, listed = audit_split("xray8", [tmp_path / "split.csv"])
    assert found["leak"]
    repaired = write_repaired(tmp_path / "new.csv", listed)
    new = pd.read_csv(tmp_path / "new.csv")
    assert new["scan"].tolist() == names
    held = {side: {name[:8] for name in new.loc[new["split"] == side, "scan"]} for side in ("train", "val", "test")}
    assert not held["train"] & held["val"] and not held["val"] & held["test"] and not held["train"] & held["test"]
    assert new.loc[sides == "test", "split"].eq("test").all()
    # Of each patient the scans of one side stay, of the first there is of test, val and train.
    for patient, rows in new.assign(before=sides).groupby(new["scan"].str[:8]):
        first = next(side for side in ("test", "val", "train") if side in set(rows["before"]))
        assert rows["split"].tolist() == [first if side == first else EXCLUDED for side in rows["before"]], patient
    gone = pd.Series(sides)[new["split"] == EXCLUDED].value_counts().to_dict()
    assert repaired["excluded"] == gone and set(gone) == {"train", "val"}
    again, _ = audit_split("xray8", [tmp_path / "new.csv"])
    assert not again["leak"] and again["notes"] == [f"{sum(gone.values())} listed scans lie on no side."]
    with pytest.raises(FolderError, match="exists already, and a split is never overwritten"):
        write_repaired(tmp_path / "new.csv", listed)


@pytest.mark.parametrize(
    ("sides", "kept"),
    [
        (["train", "test"], "test"),
        (["test_list", "train_val_list"], "test_list"),
        (["valid", "train"], "valid"),
        (["fold_0", "fold_1"], "fold_0"),
        (["training", "internal"], "internal"),
        (["dev", "holdout"], "holdout"),
        (["latest", "test"], "test"),
    ],
)
def test_the_side_that_keeps_a_patient_on_two_sides(sides, kept):
    table = pd.DataFrame({"scan": ["a", "b"], "side": sides, "group": "one"})
    assert repaired(table).tolist() == [side if side == kept else EXCLUDED for side in sides]


def test_names_of_other_collections(tmp_path):
    lists = write_lists(
        tmp_path,
        train=["PNEUMONIA/person14_bacteria_51.jpeg", "NORMAL/NORMAL2-IM-1350-0001.jpeg", "NORMAL/IM-0115-0001.jpeg"],
        test=["PNEUMONIA/person14_virus_44.jpeg", "NORMAL/IM-1350-0001.jpeg", "NORMAL/holiday.jpeg"],
    )
    found, _ = audit_split("pneumonia", lists)
    assert [leak["patient"] for leak in found["leaks"]] == ["person14"]
    assert "1 names give no patient, such as NORMAL/holiday.jpeg" in found["notes"][0]
    assert "may be two children" in found["notes"][1]
    lists = write_lists(tmp_path, train=["COVID-1.png", "COVID-2.png"], test=["covid/COVID-2.png", "Normal-1.png"])
    found, _ = audit_split("covid", lists)
    assert found["patients_from"] is found["shared_patients"] is None and found["sides"]["test"]["patients"] is None
    assert found["leaks"] == [{"scan": "COVID-2", "scans": {"train": ["COVID-2.png"], "test": ["covid/COVID-2.png"]}}]
    assert "Patients of covid can't be read from the names" in found["notes"][0]


def test_patients_are_read_from_a_column_and_labels_after_names_are_skipped(tmp_path):
    (tmp_path / "train.csv").write_text("dicom_id;subject_id\na1;7\na2;8\n")
    (tmp_path / "validate.csv").write_text("dicom_id;subject_id\nb1;9\nb2;8\n")
    found, _ = audit_split("covid", [tmp_path / "train.csv", tmp_path / "validate.csv"])
    assert found["patients_from"] == "lists" and [leak["patient"] for leak in found["leaks"]] == ["8"]
    for side, scans in {"train": ["a1", "a2"], "test": ["b1", "a2"]}.items():
        frame = pd.DataFrame({"patientId": scans, "Target": 1})
        frame.assign(group=[1, None]).to_parquet(tmp_path / f"{side}.parquet")
    found, _ = audit_split("covid", [tmp_path / "train.parquet", tmp_path / "test.parquet"])
    assert found["patients_from"] is None and [leak["scan"] for leak in found["leaks"]] == ["a2"]
    lists = write_lists(tmp_path, train=["00000001_000.png 0 1 0", "", "00000002_000.png 1 0 0"], test=["00000003_000"])
    assert read_sides(lists)["scan"].tolist() == ["00000001_000.png", "00000002_000.png", "00000003_000"]


def test_where_names_repeat_in_other_folders_the_path_is_the_scan(tmp_path):
    lists = write_lists(
        tmp_path, train=["p1/s1/view1.jpg", "p2/s1/view1.jpg"], valid=["./p3/s1/view1.jpg", "p2\\s1\\view1.jpg"]
    )
    found, _ = audit_split("covid", lists)
    assert [leak["scan"] for leak in found["leaks"]] == ["p2/s1/view1.jpg"]


def test_an_unreadable_list_is_one_sentence(tmp_path):
    (one,) = write_lists(tmp_path, train=["a.png"])
    with pytest.raises(SourceError, match=r"expected two sides of a split or more, found train in .*train\.txt"):
        read_sides([one])
    with pytest.raises(SourceError, match=r"none\.txt can't be read: No such file"):
        read_sides([one, tmp_path / "none.txt"])
    (tmp_path / "table.csv").write_text("split,label\ntrain,1\ntest,0\n")
    with pytest.raises(SourceError, match=r"expected a column of scans .*found split, label"):
        read_sides([tmp_path / "table.csv"])
    (tmp_path / "other.csv").write_bytes("scan,split\na,train\n".encode("utf-16")[:-1])
    with pytest.raises(SourceError, match="UTF-16"):
        read_sides([tmp_path / "other.csv"])
    assert side_names(["a/list.txt", "b/list.txt"]) == ["a/list", "b/list"]
    with pytest.raises(SourceError, match="two called a/list"):
        side_names(["a/list.txt", "a/list.csv"])


@pytest.mark.parametrize("kind", ["utf-16", "title", "xlsx"])
def test_a_split_in_the_forms_of_a_spreadsheet_is_read(tmp_path, kind):
    table = pd.DataFrame({"image": list("abcd"), "split": ["train", "Train", "test", "TEST"], "age": "50"})
    file = tmp_path / ("split.xlsx" if kind == "xlsx" else "split.csv")
    if kind == "xlsx":
        table.to_excel(file, index=False, startrow=2)
    else:
        text = table.to_csv(index=False)
        file.write_text(
            f"Our split\n{text}" if kind == "title" else text, encoding="utf-8" if kind == "title" else kind
        )
    assert read_sides([file])[["scan", "side"]].to_numpy().tolist() == [
        ["a", "train"], ["b", "train"], ["c", "test"], ["d", "test"],
    ]  # fmt: skip


def test_a_patient_is_one_however_its_number_is_written_and_lost_digits_are_no_patient(tmp_path):
    (tmp_path / "train.csv").write_text("scan,patient\na,7\nb,1.23E+05\nc,12\n")
    (tmp_path / "test.csv").write_text("scan,patient\nd,007\ne,1.23E+05\nf,12.0\n")
    patients = read_sides([tmp_path / "train.csv", tmp_path / "test.csv"])["patient"]
    assert patients.fillna("").tolist() == ["7", "", "12", "7", "", "12"]


@pytest.fixture(scope="module")
def two_sides(phantom_source, tmp_path_factory):
    """Drawn scans in folders train and test; one in test is a scan of train at another size."""
    folder = tmp_path_factory.mktemp("split")
    files = sorted(phantom_source("covid").rglob("*.png"))[:12]
    for side, own in {"train": files[:8], "test": files[8:]}.items():
        (folder / side).mkdir()
        for file in own:
            (folder / side / file.name).write_bytes(file.read_bytes())
    scan = cv2.imread(str(files[2]), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / "test" / "copy.png"), cv2.resize(scan, (280, 280), interpolation=cv2.INTER_AREA))
    return folder, files


def test_copies_on_two_sides_are_found_where_the_scans_are(two_sides, tmp_path):
    folder, files = two_sides
    train, test = [file.name for file in files[:8]], [file.name for file in files[8:]]
    found, table = audit_split("covid", [folder / "train", folder / "test"], folder)
    (pair,) = found["copies"]
    assert {pair["scan"], pair["other"]} == {files[2].name, "copy.png"} and pair["kind"] == "look alike"
    assert found["shared_copies"] == {"train and test": 1} and found["leaks"] == [] and found["leak"]
    assert table.loc[repaired(table) == EXCLUDED, "scan"].tolist() == [files[2].name]
    lists = write_lists(tmp_path, train=train, test=[*test, "absent.png"])
    clean, _ = audit_split("covid", lists, folder)
    assert not clean["leak"] and clean["notes"][-1] == f"1 listed scans are not in {folder}."
    with pytest.raises(SourceError, match=r"holds none of 2 listed scans, such as x\.png"):
        audit_split("covid", write_lists(tmp_path, train=["x.png"], test=["y.png"]), folder)


def test_patients_that_names_do_not_give_come_from_the_records(phantom_source, tmp_path, monkeypatch):
    from dataclasses import replace

    from lungkeras.datasets.registry import DATASETS, read_records

    source = phantom_source("pneumonia")
    records = read_records("pneumonia", source)
    monkeypatch.setitem(DATASETS, "pneumonia", replace(DATASETS["pneumonia"], names=None))
    patient = records["patient"].value_counts().index[0]
    first, *_, last = records.loc[records["patient"] == patient, "scan"]
    others = records.loc[records["patient"] != patient].drop_duplicates("patient")["scan"].tolist()
    found, _ = audit_split("pneumonia", write_lists(tmp_path, train=[first, *others[:3]], test=[last]), source)
    assert found["patients_from"] == "records" and [leak["patient"] for leak in found["leaks"]] == [patient]


def test_the_command_exits_1_on_a_leak_and_0_without(tmp_path, capsys):
    lists = [str(path) for path in write_lists(tmp_path, train=nih(range(1, 9)), test=[*nih([20]), "00000003_009.png"])]
    assert cli.main(["audit", "xray8", "--splits", *lists, "--repair", str(tmp_path / "new.csv"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["leak"] and found["repaired"]["excluded"] == {"train": 2}
    assert cli.main(["audit", "xray8", "--splits", *lists]) == 1
    text = capsys.readouterr().out
    assert "00000003 (train: 2, such as 00000003_000.png; test: 00000003_009.png)" in text
    assert "Copies on two sides: not looked for" in text and text.endswith("\nleak\n")
    assert cli.main(["audit", "xray8", "--splits", str(tmp_path / "new.csv")]) == 0
    assert capsys.readouterr().out.endswith("\nno leak found\n")
    assert cli.main(["audit", "xray8"]) == 2 and "--source DIR, --splits FILE" in capsys.readouterr().err
    assert cli.main(["audit", "xray8", "--source", str(tmp_path), "--repair", "x.csv"]) == 2
    assert not Path("x.csv").exists()


@pytest.mark.faults
def test_one_patient_in_a_split_as_large_as_the_nihs_is_found_in_ten_seconds(tmp_path):
    """112,120 rows of 30,805 patients; the seconds are those of a processor, whatever else runs beside."""
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(1, 30806), random.multinomial(112_120 - 30_805, [1 / 30_805] * 30_805) + 1)
    number = pd.Series(patients).groupby(patients).cumcount().to_numpy()
    names = np.array([f"{patient:08}_{scan:03}.png" for patient, scan in zip(patients, number, strict=True)])
    tested = np.isin(patients, random.permutation(30_805)[:2_800] + 1)
    alone = pd.Series(patients[~tested]).value_counts().index[0]
    tested[np.flatnonzero(patients == alone)[0]] = True
    lists = write_lists(tmp_path, train_val=[*names[~tested]], test=[*names[tested]])
    start = time.process_time()
    found, table = audit_split("xray8", lists)
    assert time.process_time() - start < 10
    assert found["scans"] == 112_120 and [leak["patient"] for leak in found["leaks"]] == [f"{alone:08}"]
    assert (repaired(table) == EXCLUDED).sum() == (patients == alone).sum() - 1
