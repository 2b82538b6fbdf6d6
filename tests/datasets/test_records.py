"""What holds for the records of every dataset: every scan once, its classes, its patient, and a flow that adds up."""

import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
from layouts import STUDY, write_covid, write_pneumonia, write_scans

from lungkeras.datasets.records import finish
from lungkeras.datasets.registry import DATASETS, class_columns, read_records, title
from lungkeras.system.errors import SourceError

REAL_FOLDERS = {"covid": "covid", "pneumonia": "kermany", "xray8": "nih"}
REAL_COUNTS = {
    "covid": {"covid": 31, "viral_pneumonia": 22, "normal": 31},
    "pneumonia": {"bacterial_pneumonia": 105, "viral_pneumonia": 95, "normal": 102},
}


def assert_is_records(records: pd.DataFrame, dataset: str, source) -> None:
    classes = list(DATASETS[dataset].classes)
    assert list(records.columns[: 3 + len(classes)]) == ["scan", "path", "patient", *classes]
    assert records["scan"].is_unique
    assert records["path"].is_unique
    assert records.index.equals(pd.RangeIndex(len(records)))
    assert all((source / path).is_file() for path in records["path"])
    assert (records["patient"].str.len() > 0).all()
    assert (records[classes].dtypes == "int64").all()
    assert records[classes].isin([0, 1]).all(axis=None)
    assert (records[classes].sum(axis=1) >= 1).all()
    if DATASETS[dataset].task == "multiclass":
        assert (records[classes].sum(axis=1) == 1).all()
    flow = records.attrs["flow"]
    assert flow[0][0] == "found"
    assert flow[-1] == ["kept", len(records)]
    assert flow[0][1] - sum(scans for _, scans in flow[1:-1]) == len(records)
    assert class_columns(records) == classes


@pytest.mark.parametrize("dataset", STUDY)
def test_real_scans_become_records(dataset, real_scans):
    source = real_scans / REAL_FOLDERS[dataset]
    records = read_records(dataset, source)
    assert_is_records(records, dataset, source)
    if dataset in REAL_COUNTS:
        assert records[class_columns(records)].sum().to_dict() == REAL_COUNTS[dataset]
    if dataset == "xray8":
        assert records.attrs["absent"] == 112_120 - 260


@pytest.mark.parametrize("dataset", STUDY)
def test_a_drawn_source_becomes_records(dataset, phantom_source, phantom_records):
    records = phantom_records(dataset)
    assert_is_records(records, dataset, phantom_source(dataset))
    assert (records[class_columns(records)].sum() > 0).all()


@pytest.mark.parametrize("dataset", STUDY)
def test_the_source_may_be_a_folder_above_or_the_collection_itself(dataset, tmp_path, xray8_source):
    write_pneumonia(tmp_path / "children")
    write_covid(tmp_path / "covid")
    own = {
        "pneumonia": tmp_path / "children" / "chest_xray",
        "covid": tmp_path / "covid" / "COVID-19_Radiography_Dataset",
        "xray8": xray8_source,
    }[dataset]
    scans = [list(read_records(dataset, source)["scan"]) for source in (own, own.parent, tmp_path)]
    assert scans[0] == scans[1] == scans[2]
    assert_is_records(read_records(dataset, tmp_path), dataset, tmp_path)


@pytest.mark.parametrize("dataset", DATASETS)
def test_an_empty_or_absent_source_is_one_sentence_with_the_way_out(dataset, tmp_path):
    with pytest.raises(SourceError, match=rf"found an empty folder.*lungkeras phantom {dataset} --to"):
        read_records(dataset, tmp_path)
    with pytest.raises(SourceError, match="found no such folder"):
        read_records(dataset, tmp_path / "absent")


def test_the_folder_of_another_dataset_is_recognised(tmp_path):
    write_pneumonia(tmp_path)
    with pytest.raises(SourceError, match=r"covid: no scan in .*which is a source of pneumonia"):
        read_records("covid", tmp_path)


def test_an_unknown_dataset_names_the_known():
    with pytest.raises(SourceError, match=r"covid, .*pneumonia, .*xray8.*'mnist'"):
        read_records("mnist", ".")


def test_titles_are_for_reading():
    assert title("viral_pneumonia") == "viral pneumonia"
    assert title("covid") == "COVID-19"


def test_knowing_the_datasets_costs_no_heavy_import():
    code = "import sys, lungkeras.datasets; print({'pandas', 'keras', 'tensorflow', 'cv2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_advice_for_scans_of_ones_own_goes_in_no_circle(tmp_path):
    classes = ("Normal", "Pneumonia", "TB")
    write_scans(tmp_path / "hospital", *(f"{name}/{name}_{number}.png" for name in classes for number in range(4)))
    with pytest.raises(SourceError) as of_pneumonia:
        read_records("pneumonia", tmp_path)
    said = str(of_pneumonia.value)
    for words in (
        "named as IM-0115-0001.jpeg",
        "class: 8, such as Normal_0.png",
        "(hospital/TB 4): 4",
        "name your own scans in this way",
    ):
        assert words in said
    for dataset in DATASETS:
        with pytest.raises(SourceError, match=f"^{dataset}: no scan in ") as error:
            read_records(dataset, tmp_path)
        assert "is a source of" not in str(error.value)


# Labels that a collection does not know


def table(**labels) -> pd.DataFrame:
    names = [f"{row}.png" for row in range(len(next(iter(labels.values()))))]
    records = pd.DataFrame({"scan": names, "path": names, "patient": names, **labels})
    records.attrs["flow"] = [["found", len(records)]]
    return records


def test_a_class_is_0_or_1_where_all_is_known_else_uncertain_or_blank():
    blank = float("nan")
    records = table(edema=[1.0, 0.0, 1.0, 0.0], mass=[1, -1, 0, blank], study=list("aabb"))
    finished = finish(records.assign(strange=0), "chexpert", ("edema", "mass"))
    assert list(finished) == ["scan", "path", "patient", "edema", "mass", "study"]
    assert finished["edema"].dtype == "int64" and finished["mass"].dtype == "float64"
    assert finished["mass"].fillna(9).tolist() == [1, -1, 0, 9]
    with pytest.raises(SourceError, match=r"chexpert: mass: expected labels 1, 0, -1 .*, found '0\.5' of 1\.png"):
        finish(table(mass=[1, 0.5]), "chexpert", ("mass",))
    with pytest.raises(SourceError, match=r"found 'yes' of 0\.png"):
        finish(table(mass=["yes", "no"]), "chexpert", ("mass",))


def test_a_multiclass_scan_has_one_class(tmp_path, monkeypatch):
    write_covid(tmp_path)
    for labels in ({"normal": [1, 0]}, {"normal": [1, float("nan")]}, {"normal": [1, 1], "covid": [0, 1]}):
        given = table(**{name: [0, 0] for name in DATASETS["covid"].classes} | labels)
        monkeypatch.setitem(DATASETS, "covid", replace(DATASETS["covid"], read=lambda *_, given=given, **__: given))
        with pytest.raises(SourceError, match=r"covid: expected one class of every scan, found 1 of 2 .* 1\.png"):
            read_records("covid", tmp_path)
