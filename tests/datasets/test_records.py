"""Folders as published become one table: every scan once, its class, its patient, and a count of what was left out."""

import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
from layouts import STUDY, write_covid, write_first_covid, write_pneumonia, write_scans, write_xray8

from lungkeras.datasets.collections.xray8 import CLASSES as XRAY8_CLASSES
from lungkeras.datasets.collections.xray8 import LABELS, balanced_findings, read_entries
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


@pytest.fixture
def xray8_source(tmp_path):
    findings = {
        "00000001_000.png": "Cardiomegaly",
        "00000001_001.png": "Cardiomegaly|Effusion",
        "00000002_000.png": "Effusion|Mass",
        "00000003_000.png": "No Finding",
        "00000003_001.png": "No Finding",
        "00000003_002.png": "Nodule",
        "00000004_000.png": "Mass",
    }
    return write_xray8(tmp_path / "nih", findings, absent=("00000003_000.png", "00000004_000.png"))


# What holds for every dataset


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


def test_stray_files_are_no_scans_but_broken_scans_are(tmp_path):
    folder = write_pneumonia(tmp_path) / "chest_xray" / "train" / "NORMAL"
    for name in (".DS_Store", "._IM-0001-0001.jpeg", "Thumbs.db", "notes.txt"):
        (folder / name).write_bytes(b"stray")
    (folder / "IM-0117-0001.jpeg").write_bytes(b"")
    (folder / "my favourite.jpeg").write_bytes(b"")
    records = read_records("pneumonia", tmp_path)
    assert len(records) == 8
    assert "IM-0117-0001.jpeg" in set(records["scan"])
    assert ["left out: file name gives no patient and class", 1] in records.attrs["flow"]


def test_the_seed_alone_decides_which_normals_are_drawn(tmp_path):
    write_covid(tmp_path, normals=40)
    first, again, other = (set(read_records("covid", tmp_path, seed=seed)["scan"]) for seed in (0, 0, 1))
    assert first == again != other


def test_titles_are_for_reading():
    assert title("viral_pneumonia") == "viral pneumonia"
    assert title("covid") == "COVID-19"


def test_knowing_the_datasets_costs_no_heavy_import():
    code = "import sys, lungkeras.datasets; print({'pandas', 'keras', 'tensorflow', 'cv2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


# pneumonia


def test_pneumonia_pools_the_published_folders_and_groups_by_number(tmp_path):
    records = read_records("pneumonia", write_pneumonia(tmp_path)).set_index("scan")
    assert records[["bacterial_pneumonia", "viral_pneumonia", "normal"]].sum().tolist() == [3, 1, 3]
    assert records.loc["person14_bacteria_51.jpeg", "patient"] == records.loc["person14_virus_44.jpeg", "patient"]
    assert set(records["patient"]) == {"person1", "person14", "IM-0115", "NORMAL2-IM-1350"}


def test_pneumonia_reads_the_names_of_the_later_release(tmp_path):
    write_scans(
        tmp_path / "chest_xray",
        "train/PNEUMONIA/BACTERIA-1008087-0001.jpeg",
        "test/PNEUMONIA/VIRUS-1008087-0002.jpeg",
        "train/NORMAL/NORMAL-1003233-0001.jpeg",
    )
    records = read_records("pneumonia", tmp_path).set_index("scan")
    assert records["patient"].to_dict() == {
        "BACTERIA-1008087-0001.jpeg": "1008087",
        "VIRUS-1008087-0002.jpeg": "1008087",
        "NORMAL-1003233-0001.jpeg": "1003233",
    }
    assert records[["bacterial_pneumonia", "viral_pneumonia", "normal"]].sum().tolist() == [1, 1, 1]


def test_pneumonia_reads_a_nested_copy_once(tmp_path):
    write_pneumonia(tmp_path)
    shutil.copytree(tmp_path / "chest_xray", tmp_path / "copy" / "chest_xray")
    shutil.move(tmp_path / "copy" / "chest_xray", tmp_path / "chest_xray" / "chest_xray")
    assert len(read_records("pneumonia", tmp_path)) == 7
    assert len(read_records("pneumonia", tmp_path / "chest_xray" / "chest_xray")) == 7


def test_pneumonia_scans_that_share_a_name_keep_both_rows_and_one_patient(tmp_path):
    write_pneumonia(tmp_path)
    write_scans(tmp_path / "chest_xray", "test/PNEUMONIA/person1_bacteria_1.jpeg")
    records = read_records("pneumonia", tmp_path)
    clash = records[records["path"].str.endswith("person1_bacteria_1.jpeg")]
    assert list(clash["scan"]) == list(clash["path"])
    assert set(clash["patient"]) == {"person1"}


def test_every_real_pneumonia_name_is_understood(real_scans):
    records = read_records("pneumonia", real_scans / "kermany")
    assert records.attrs["flow"][1] == ["left out: file name gives no patient and class", 0]
    assert records["patient"].str.fullmatch(r"person\d+|(NORMAL2-)?IM-\d+").all()
    person14 = records[records["patient"] == "person14"]
    assert person14[["bacterial_pneumonia", "viral_pneumonia"]].sum().min() >= 1


# covid


def test_covid_leaves_out_lung_opacity_masks_and_surplus_normals(tmp_path):
    records = read_records("covid", write_covid(tmp_path))
    assert records[["covid", "viral_pneumonia", "normal"]].sum().tolist() == [3, 2, 3]
    assert (records["patient"] == records["scan"]).all()
    assert [scans for _, scans in records.attrs["flow"]] == [11, 1, 2, 8]


def test_covid_reads_both_releases_side_by_side(tmp_path):
    write_covid(tmp_path)
    write_first_covid(tmp_path)
    records = read_records("covid", tmp_path)
    assert records[["covid", "viral_pneumonia", "normal"]].sum().tolist() == [4, 3, 4]
    assert read_records("covid", tmp_path / "COVID-19 Radiography Database")["covid"].sum() == 1


def test_covid_takes_scans_directly_in_a_class_folder(tmp_path):
    write_scans(tmp_path, "COVID/COVID-1.png", "Normal/Normal-1.png", "Viral Pneumonia/Viral Pneumonia-1.png")
    assert len(read_records("covid", tmp_path)) == 3


# xray8


def test_xray8_keeps_scans_of_the_six_findings_and_counts_the_absent(xray8_source):
    records = read_records("xray8", xray8_source)
    assert set(records["scan"]) == {"00000002_000.png", "00000003_001.png", "00000003_002.png"}
    assert records.attrs["absent"] == 2
    both = records.set_index("scan").loc["00000002_000.png"]
    assert both[list(XRAY8_CLASSES)].tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert (both["patient"], both["age"], both["sex"], both["view"], both["follow_up"]) == (
        "00000002",
        58,
        "F",
        "PA",
        0,
    )


def test_xray8_draws_a_present_normal_of_a_patient_whose_other_is_absent(xray8_source):
    assert read_records("xray8", xray8_source)["no_finding"].sum() == 1
    for seed in range(5):
        assert "00000003_001.png" in set(read_records("xray8", xray8_source, seed=seed)["scan"])


def test_xray8_without_files_reads_the_whole_list(xray8_source):
    records = read_records("xray8", xray8_source, require_files=False)
    assert len(records) == 4
    assert records.attrs["absent"] == 0
    assert records.set_index("scan").loc["00000004_000.png", "path"] == "images/00000004_000.png"


def test_xray8_reads_ages_of_the_early_release_and_the_revised_list(xray8_source):
    file = xray8_source / "Data_Entry_2017.csv"
    revised = file.with_name("Data_Entry_2017_v2020.csv")
    revised.write_text(file.read_text().replace(",058,", ",058Y,").replace("Gender", "Sex"))
    file.unlink()
    records = read_records("xray8", xray8_source)
    assert set(records["age"]) == {58}
    assert set(records["sex"]) == {"F"}


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", '"Image Index\n', "\x00\x01"])
def test_xray8_says_what_is_wrong_with_its_list(content, xray8_source):
    (xray8_source / "Data_Entry_2017.csv").write_text(content)
    with pytest.raises(SourceError, match=r"Data_Entry_2017.csv is not as published\. Expected .*; found .*Fetch"):
        read_records("xray8", xray8_source)


def test_xray8_refuses_a_list_that_names_a_scan_twice(xray8_source):
    file = xray8_source / "Data_Entry_2017.csv"
    file.write_text(file.read_text() + file.read_text().splitlines()[3] + "\n")
    with pytest.raises(SourceError, match=re.escape("00000002_000.png")):
        read_records("xray8", xray8_source)


def test_xray8_selection_of_the_full_list_has_the_counts_of_the_study(real_scans):
    started = time.process_time()
    records = read_records("xray8", real_scans / "nih", require_files=False)
    assert time.process_time() - started < 3
    assert len(records) == 29_067
    findings = [name for name in XRAY8_CLASSES if name != "no_finding"]
    assert sorted(records[findings].sum(), reverse=True) == [7269, 7038, 4133, 3900, 3474, 2891]
    assert (records[findings].sum(axis=1) > 0).sum() == 22_067
    normals = records[records["no_finding"] == 1]
    assert len(normals) == 7000
    assert normals["patient"].is_unique


def test_normals_are_drawn_evenly_from_patients_and_visits(real_scans):
    entries = read_entries(real_scans / "nih" / "Data_Entry_2017.csv")
    normals = entries[entries["label"] == "No Finding"]
    expected = (normals["follow_up"] > 0).groupby(normals["patient"]).mean().mean()
    records = read_records("xray8", real_scans / "nih", require_files=False)
    drawn = (records.loc[records["no_finding"] == 1, "follow_up"] > 0).mean()
    assert abs(drawn - expected) < 0.02


def test_balanced_findings_end_in_the_six_of_the_study(real_scans):
    labels = read_entries(real_scans / "nih" / "Data_Entry_2017.csv")["label"].str.get_dummies("|")
    counts = labels.drop(columns="No Finding").sum()
    assert {*balanced_findings(counts.to_dict()), "No Finding"} == set(LABELS)


def test_balanced_findings_leave_a_balanced_list_alone():
    assert balanced_findings({"Mass": 4, "Nodule": 9, "Effusion": 12}) == ["Mass", "Nodule", "Effusion"]
    assert balanced_findings({"Mass": 0, "Nodule": 9}) == ["Nodule"]
    assert balanced_findings({}) == []


# Lists that were changed on their way, and folders of mixed files


def edited(source, change):
    file = source / "Data_Entry_2017.csv"
    file.write_bytes(change(file.read_bytes()))
    return source


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b",", b";"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"Image Index,Finding Labels", b"image index, FINDING LABELS"),
        lambda text: text.replace(b"Effusion|Mass,", b"Effusion | Mass ,"),
    ],
    ids=["semicolons", "byte order mark", "case and blanks", "blanks around labels"],
)
def test_xray8_reads_a_list_that_a_spreadsheet_wrote(change, xray8_source):
    expected = read_records("xray8", xray8_source)
    assert read_records("xray8", edited(xray8_source, change)).equals(expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:-30], "its last row cut short"),
        (lambda text: text.replace(b"Nodule", b"\0" * 50), "NUL bytes in row 7"),
        (lambda text: text.decode().encode("utf-16"), "UTF-16"),
        (lambda text: text.replace(b"Nodule", b"N\xe9"), "cp1252"),
    ],
    ids=["cut", "NUL", "UTF-16", "cp1252"],
)
def test_xray8_names_what_broke_its_list(change, words, xray8_source):
    with pytest.raises(SourceError, match=words):
        read_records("xray8", edited(xray8_source, change))


@pytest.mark.parametrize("lost", [b"1.23E+05", b"#####", b"", b"NaN", b"-"])
def test_xray8_rows_without_a_whole_patient_id_stand_alone_and_are_counted(lost, xray8_source, capsys):
    edited(
        xray8_source,
        lambda text: text.replace(b",2,058", b"," + lost + b",058").replace(b",3,058", b"," + lost + b",058"),
    )
    records = read_records("xray8", xray8_source)
    assert set(records["patient"]) >= {"00000002_000.png", "00000003_002.png"}
    assert re.search(r"xray8: 4 (rows|patient ids)", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("age", "years"),
    [
        *[("013M", 1), ("411Y", pd.NA), ("021D", 0), ("58", 58), ("", pd.NA), ("110W", 2), ("45yrs", 45)],
        *[("45 years", 45), ("18 months", 1), ("58.5", 58), ("-1", pd.NA), ("9" * 30, pd.NA), ("7F", pd.NA)],
    ],
)
def test_xray8_ages_are_years(age, years, xray8_source):
    entries = read_entries(
        edited(xray8_source, lambda text: text.replace(b",058,", f",{age},".encode())) / "Data_Entry_2017.csv"
    )
    assert entries["age"].isna().all() if years is pd.NA else set(entries["age"]) == {years}


def test_xray8_finds_scans_by_their_names_without_suffix_and_counts_those_without_a_row(xray8_source, capsys):
    expected = list(read_records("xray8", xray8_source)["scan"])
    for file, suffix in zip(sorted(xray8_source.rglob("*.png")), (".jpg", ".PNG", "", ".dicom", ".x"), strict=True):
        file.rename(file.with_suffix(suffix))
    write_scans(xray8_source, "images/stranger.png")
    assert list(read_records("xray8", xray8_source)["scan"]) == expected
    assert "1 images" in capsys.readouterr().err


def test_xray8_list_of_other_names_says_both(xray8_source):
    for place, file in enumerate(sorted(xray8_source.rglob("*.png"))):
        file.rename(file.with_name(f"scan{place}.png"))
    with pytest.raises(SourceError, match=r"lists 7 scans such as 00000001_000.png, and 5 images lie"):
        read_records("xray8", xray8_source)


def left_out(records) -> dict[str, int]:
    """What was left out and why, steps of no scan aside."""
    steps = dict(map(tuple, records.attrs["flow"]))
    assert steps["found"] == len(records) + sum(scans for step, scans in steps.items() if step.startswith("left out"))
    return {step.removeprefix("left out: "): n for step, n in steps.items() if step.startswith("left out") and n}


@pytest.mark.parametrize(
    ("was", "label", "reason"),
    [
        ("Nodule", "Nodul", "labels that are none of the collection's (Nodul 1)"),
        ("Effusion|Mass", "Effusion;Mass", "labels that are none of the collection's (Effusion;Mass 1)"),
        ("Nodule", "", "no label"),
        ("Nodule", "Hernia", "findings outside the study's six"),
        ("Nodule", " NODULE |", None),
        ("No Finding", "no_finding", None),
        ("Cardiomegaly|Effusion", "Pleural Thickening|Effusion", "findings outside the study's six"),
    ],
)
def test_xray8_labels_are_found_without_case_and_unknown_ones_are_named_and_counted(
    was, label, reason, xray8_source, capsys
):
    expected = read_records("xray8", xray8_source)
    edited(xray8_source, lambda text: text.replace(was.encode() + b",", label.encode() + b","))
    records = read_records("xray8", xray8_source)
    found, known = left_out(records), left_out(expected)
    if reason is None or reason in known:
        assert found == known | ({"findings outside the study's six": 3} if label == "Hernia" else {})
        assert reason or records.equals(expected)
    else:
        assert found == known | {reason: 1}
        assert records.attrs["kinds"][f"left out: {reason}"] == "unknown"
        assert f"xray8: 1 scans left out: {reason}" in capsys.readouterr().err


def test_pneumonia_of_an_unknown_cause_is_named_and_counted(tmp_path, capsys):
    write_scans(
        write_pneumonia(tmp_path) / "chest_xray",
        *(f"train/PNEUMONIA/person{number}_fungus_1.jpeg" for number in (20, 21)),
        "test/PNEUMONIA/PARASITE-1001-0001.jpeg",
    )
    records = read_records("pneumonia", tmp_path)
    assert left_out(records) == {"unknown cause of pneumonia (fungus 2, PARASITE 1)": 3}
    assert "(fungus 2, PARASITE 1)" in capsys.readouterr().err
    assert len(records) == 7


def test_images_where_no_collection_reads_are_counted_with_their_folders(tmp_path, capsys):
    write_pneumonia(tmp_path / "children")
    write_scans(tmp_path / "children" / "chest_xray", "holdout/NORMAL/IM-0900-0001.jpeg", "train/NORMAL/more/a.jpeg")
    (tmp_path / "children" / "chest_xray" / "README").write_text("a note")
    (tmp_path / "children" / "chest_xray" / "train" / "NORMAL" / "list.txt").write_text("a list")
    assert left_out(read_records("pneumonia", tmp_path / "children")) == {
        "in folders that are not read (NORMAL/more 1, holdout/NORMAL 1)": 2,
        "no image (text)": 2,
    }
    release = write_covid(tmp_path / "adults") / "COVID-19_Radiography_Dataset"
    write_scans(release, "Tuberculosis/images/Tuberculosis-1.png")
    (release / "Normal.metadata.xlsx").write_bytes(b"PK\3\4")
    others = left_out(read_records("covid", tmp_path / "adults"))
    assert others["in folders that are not read (Tuberculosis/images 1)"] == others["no image (zip)"] == 1
    assert "pneumonia: 2 images left out: in folders that are not read (NORMAL/more 1" in capsys.readouterr().err


def test_what_lies_beside_the_listed_scans_of_xray8_is_counted(xray8_source, capsys):
    expected = read_records("xray8", xray8_source)
    folder = xray8_source / "images_001" / "images"
    (folder / "notes").write_text("a note")
    (folder / "00000099_000.png").write_bytes(b"")
    write_scans(xray8_source, "older/than/this/00000002_000.png")
    records = read_records("xray8", xray8_source)
    assert left_out(records) == left_out(expected) | {
        "no image (text)": 1,
        "no row of their own in the list (such as images_001/images/00000099_000.png)": 2,
    }
    assert records.equals(expected)
    assert "xray8: 2 images left out: no row of their own" in capsys.readouterr().err


@pytest.mark.parametrize("dataset", STUDY)
def test_a_collection_lies_as_deep_as_it_likes(dataset, tmp_path):
    write = {"pneumonia": write_pneumonia, "covid": write_covid}.get(
        dataset, lambda source: write_xray8(source, {"00000001_000.png": "Mass"})
    )
    deep = tmp_path / "deep" / "/".join("abcdefgh")
    write(deep)
    write(tmp_path / "flat")
    found, expected = (read_records(dataset, tmp_path / name) for name in ("deep", "flat"))
    assert list(found["scan"]) == list(expected["scan"])


def test_of_links_in_xray8_each_real_file_counts_once_and_a_broken_one_is_absent(xray8_source):
    expected = read_records("xray8", xray8_source)
    folder = xray8_source / "images_001" / "images"
    (folder / "00000003_000.png").symlink_to("nowhere.png")
    (folder / "00000004_000.png").symlink_to(next(xray8_source.rglob("00000003_002.png")))
    (folder / "loop").symlink_to("loop")
    (folder / "again").symlink_to(xray8_source)
    records = read_records("xray8", xray8_source)
    assert records.equals(expected)
    assert records.attrs["absent"] == 1
    assert left_out(records)["a second name of another scan's file"] == 1


def test_scans_linked_into_a_store_beside_them_are_read_by_their_names(xray8_source):
    expected = read_records("xray8", xray8_source)
    (xray8_source / "a store").mkdir()
    for number, file in enumerate(sorted(xray8_source.rglob("*.png"))):
        file.rename(xray8_source / "a store" / f"{number}")
        file.symlink_to(xray8_source / "a store" / f"{number}")
    records = read_records("xray8", xray8_source)
    assert records.equals(expected) and left_out(records) == left_out(expected)


def test_a_class_that_is_linked_from_within_the_source_is_read_once(tmp_path):
    expected = read_records("covid", write_covid(tmp_path))
    release = tmp_path / "COVID-19_Radiography_Dataset"
    (release / "COVID").rename(tmp_path / "A")
    (release / "COVID").symlink_to(tmp_path / "A")
    records = read_records("covid", tmp_path)
    assert records.equals(expected) and left_out(records) == left_out(expected)


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


def test_links_count_each_real_file_once_and_end(tmp_path):
    release = write_covid(tmp_path) / "COVID-19_Radiography_Dataset"
    expected = read_records("covid", tmp_path)
    (tmp_path / "latest").symlink_to(release)
    (release / "COVID" / "images" / "loop").symlink_to(".")
    (release / "COVID" / "images" / "COVID-8.png").symlink_to("nowhere.png")
    (release / "lost").symlink_to("nowhere")
    records = read_records("covid", tmp_path)
    assert left_out(records)["no image (broken link)"] == 1
    assert list(records["path"]) == list(expected["path"])
    assert records.attrs["absent"] == 1


def test_what_a_file_holds_decides_and_what_is_no_image_is_counted_by_kind(tmp_path):
    folder = write_covid(tmp_path) / "COVID-19_Radiography_Dataset" / "COVID" / "images"
    (folder / "COVID-1.png").rename(folder / "COVID-1")
    (folder / "notes.txt").write_text("a note")
    records = read_records("covid", tmp_path)
    assert "COVID-1" in set(records["scan"])
    assert ["left out: no image (text)", 1] in records.attrs["flow"]


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
