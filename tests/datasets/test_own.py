"""A collection of one's own: what is recognised of a folder, read by its description, and refused in a sentence."""

import io
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from layouts import write_scans
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from lungkeras.datasets.ages import integer_years
from lungkeras.datasets.class_names import slugs
from lungkeras.datasets.label_tables import holds_labels, label_values, list_separator, read_table
from lungkeras.datasets.listed_files import FileIndex, places
from lungkeras.datasets.own_description import Columns, Description
from lungkeras.datasets.recognised_folders import read_by
from lungkeras.datasets.recognised_tables import Named
from lungkeras.datasets.recognition import understand
from lungkeras.system.errors import SourceError


def classes_of(records: pd.DataFrame, classes) -> list[str]:
    return records[list(classes)].idxmax(axis=1).tolist()


def understood(source: Path, **named):
    return understand("mine", source, title="Mine", named=Named(**named))


def description_of(image: str, labels: str) -> Description:
    columns = Columns(image=image, labels=[labels])
    return Description(title="Mine", task="multiclass", classes={"a": "a", "b": "b"}, labels="t.csv",
                       labels_are="list", columns=columns)  # fmt: skip


def write_table(file: Path, rows: list[dict], kind: str = "csv") -> Path:
    table = pd.DataFrame(rows)
    file = file.with_suffix(f".{kind}")
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        table.to_parquet(file, compression="snappy")
    elif kind == "xlsx":
        table.to_excel(file, index=False)
    else:
        table.to_csv(file, index=False, sep="\t" if kind == "tsv" else ",")
    return file


# Folders


def test_a_folder_a_class_with_any_name_and_patients_in_folders(tmp_path):
    for name in ("Lung/Scar".replace("/", "∕"), "COVID 19", "Ödem", "0"):
        write_scans(tmp_path / "root" / name, *(f"P{name}{n // 2}/{n}.png" for n in range(8)))
    found = understood(tmp_path)
    assert found.description.task == "multiclass" and found.description.patients == "folder"
    assert list(found.description.classes.items()) == [
        ("class_0", "0"), ("covid_19", "COVID 19"), ("lung_scar", "Lung∕Scar"), ("odem", "Ödem"),
    ]  # fmt: skip
    assert len(found.records) == 32 and found.records["patient"].nunique() == 16
    assert (found.records[list(found.description.classes)].sum(axis=1) == 1).all()


@pytest.mark.parametrize("order", ["{split}/{name}", "{name}/{split}"])
def test_folders_of_splits_are_the_split_that_is_given(tmp_path, order):
    for split, scans in (("train", 6), ("valid", 3), ("Test", 3)):
        for name in ("sick", "well"):
            place = order.format(split=split, name=name)
            write_scans(tmp_path / place, *(f"{split}{name}{n}.png" for n in range(scans)))
    found = understood(tmp_path)
    assert found.records["given_split"].value_counts().to_dict() == {"train": 12, "val": 6, "test": 6}
    assert all(row.scan.startswith(("train", "valid", "Test")) for row in found.records.itertuples())
    assert set(classes_of(found.records, found.description.classes)) == {"sick", "well"}


def test_patients_in_file_names_masks_and_files_that_are_no_scans(tmp_path):
    for name in ("sick", "well"):
        write_scans(tmp_path / name, *(f"person{n // 2}{name}_{n}.png" for n in range(6)))
        write_scans(tmp_path / name / "masks", "m.png")
        (tmp_path / name / "notes.txt").write_text("a note")
    for file in tmp_path.rglob("person*.png"):  # person0sick_0.png has no number that ends
        file.rename(file.with_name(file.name.replace("sick", "").replace("well", "9")))
    found = understood(tmp_path)
    assert found.description.patients == "path" and found.records["patient"].nunique() == 6
    said = " ".join(found.not_understood)
    assert "2 left out: no image (text)" in said and "not read (sick/masks 1, well/masks 1)" in said


def test_masks_beside_the_scans_and_a_table_that_is_not_read_are_reported(tmp_path):
    for name in ("sick", "well"):
        write_scans(tmp_path / name, *(f"{n}{end}.png" for n in range(4) for end in ("", "_mask")), "lone_mask.png")
    write_scans(tmp_path, *(f"lung masks/{n}.png" for n in range(4)), *(f"Ground_Truth/{n}.png" for n in range(4)))
    (tmp_path / "labels.csv").write_text("image,label\n")
    found = understood(tmp_path)
    assert list(found.description.classes) == ["sick", "well"] and len(found.records) == 10
    said = " ".join(found.not_understood)
    assert "8 left out: masks of other scans" in said and "the table labels.csv, which is not read" in said


def test_unknown_patients_are_reported_and_each_scan_is_its_own(tmp_path):
    write_scans(tmp_path, *(f"{name}/{name}{n}.png" for name in "ab" for n in range(3)))
    found = understood(tmp_path)
    assert (found.records["patient"] == found.records["scan"]).all()
    assert any("one patient" in sentence for sentence in found.not_understood)


def test_a_class_of_too_few_patients_is_left_out_and_named(tmp_path):
    write_scans(tmp_path, *(f"{name}/{name}{n}.png" for name in "ab" for n in range(3)), "rare/r.png")
    found = understood(tmp_path)
    assert list(found.description.classes) == ["a", "b"] and len(found.records) == 6
    assert any("rare (1)" in sentence for sentence in found.not_understood)


# Tables


@pytest.mark.parametrize("kind", ["csv", "tsv", "xlsx", "parquet"])
def test_one_list_of_classes_in_any_kind_of_table(tmp_path, kind):
    said = [("Mass|Nodule", "P1"), (" mass", "P1"), ("No Finding", "P2"), ("Nodule", "P3")] * 3
    rows = [
        {"Image Index": f"{n}.png", "Finding Labels": words, "Patient ID": f"{patient}-{n // 4}",
         "Patient Age": f"{50 + n:03d}Y", "Patient Sex": "F", "View Position": "PA", "Follow-up #": n}
        for n, (words, patient) in enumerate(said)
    ]  # fmt: skip
    write_scans(tmp_path / "images", *(row["Image Index"] for row in rows))
    found = understood(tmp_path, labels=write_table(tmp_path / "labels", rows, kind))
    assert found.description.task == "multilabel" and found.description.separator == "|"
    assert list(found.description.classes) == ["mass", "no_finding", "nodule"]
    assert found.description.clear == "no_finding" and found.description.labels == f"labels.{kind}"
    records = found.records.sort_values("age")
    assert records["mass"].tolist() == [1, 1, 0, 0] * 3 and records["nodule"].tolist() == [1, 0, 0, 1] * 3
    assert records["age"].tolist() == list(range(50, 62)) and set(records["view"]) == {"PA"}
    assert records["patient"].nunique() == 9
    assert any("Follow-up #" in sentence for sentence in found.not_understood)


@pytest.mark.parametrize("kind", ["csv", "xlsx", "parquet"])
def test_a_column_a_class_with_uncertain_and_blank_labels_and_paths_of_another_root(tmp_path, kind):
    values = [(1.0, 0.0), (None, -1.0), (0.0, 1.0), (1.0, None)]
    rows = [
        {"Path": f"Release-v1/train/patient{n:05d}/study1/view1.png", "Sex": "Male", "Edema": values[n % 4][0],
         "Pleural Effusion": values[n % 4][1]}
        for n in range(12)
    ]  # fmt: skip
    write_scans(tmp_path, *(row["Path"].removeprefix("Release-v1/") for row in rows))
    found = understood(tmp_path, labels=write_table(tmp_path / "away" / "labels", rows, kind))
    assert found.description.task == "multilabel" and found.description.patients == "path"
    assert list(found.description.classes) == ["edema", "pleural_effusion"]
    assert found.records["edema"].iloc[:4].tolist()[::2] == [1, 0] and found.records["edema"].isna().sum() == 3
    assert (found.records["pleural_effusion"] == -1).sum() == 3
    assert found.records["patient"].iloc[0] == "patient00000" and len(found.records) == 12


def test_one_column_of_1_and_0_is_two_exclusive_classes(tmp_path):
    rows = [{"file": f"{n}", "TB": n % 2} for n in range(10)]
    write_scans(tmp_path, *(f"{n}.png" for n in range(10)))
    found = understood(tmp_path, labels=write_table(tmp_path / "t", rows))
    assert found.description.task == "multiclass"
    assert dict(found.description.classes) == {"tb": "TB", "no_tb": "no TB"}
    assert found.records["tb"].sum() == found.records["no_tb"].sum() == 5
    named = understood(
        tmp_path, labels=write_table(tmp_path / "t", [{"file": r["file"], "label": r["TB"]} for r in rows])
    )
    assert dict(named.description.classes) == {"class_0": "0", "class_1": "1"}


def test_columns_are_taken_as_named(tmp_path):
    rows = [{"a": f"{n}.png", "b": f"P{n // 2}", "c": ("x", "y")[n % 2], "d": n % 2, "e": 1 - n % 2, "when": "train"}
            for n in range(12)]  # fmt: skip
    rows = [row | {"when": ("train", "train", "test")[n % 3]} for n, row in enumerate(rows)]
    write_scans(tmp_path, *(row["a"] for row in rows))
    table = write_table(tmp_path / "t", rows)
    found = understood(tmp_path, labels=table, image="a", patient="b", label=("c",), split="when")
    assert dict(found.description.classes) == {"x": "x", "y": "y"} and found.records["patient"].nunique() == 6
    assert found.records["given_split"].value_counts().to_dict() == {"train": 8, "test": 4}
    columns = understood(tmp_path, labels=table, label=("d", "e"), labels_are="columns")
    assert dict(columns.description.classes) == {"d": "d", "e": "e"} and columns.description.task == "multiclass"
    with pytest.raises(SourceError, match=r"expected a column 'bb'.*did you mean b\?.*name one of these"):
        understood(tmp_path, labels=table, patient="bb")


def test_rows_that_can_not_be_used_are_counted_by_reason(tmp_path):
    rows = [{"image": f"{n}.png", "label": ("a", "b")[n % 2]} for n in range(12)]
    rows += [{"image": "0.png", "label": "a"}, {"image": "1.png", "label": "a"}, {"image": "absent.png", "label": "a"},
             {"image": "", "label": "a"}, {"image": "11b.png", "label": ""}]  # fmt: skip
    write_scans(tmp_path, *(f"{n}.png" for n in range(12)), "unlisted.png", "11b.png")
    found = understood(tmp_path, labels=write_table(tmp_path / "t", rows))
    flow = dict(found.records.attrs["flow"])
    assert found.description.task == "multilabel"  # of scan 1, two classes in two rows
    assert len(found.records) == flow["kept"] == 12 and found.records.set_index("scan").loc["1.png", "a"] == 1
    assert flow["found"] == sum(number for step, number in flow.items() if step != "found")
    said = " ".join(found.not_understood)
    for words in ("1 left out: no label", "file absent", "name no scan", "no row of their own", "further rows"):
        assert words in said, words


def test_a_row_left_out_for_its_labels_is_counted_once_and_strange_words_are_named(tmp_path):
    write_scans(tmp_path, *(f"{n}.png" for n in range(12)))
    rows = [{"image": f"{n}.png", "set": ("train", "test")[n % 2], "a": n // 2 % 2, "b": 1 - n // 2 % 2}
            for n in range(12)]  # fmt: skip
    rows[3]["a"], rows[4]["set"] = "maybe", "holiday"
    found = understood(tmp_path, labels=write_table(tmp_path / "t", rows), label=("a", "b"))
    assert found.not_understood[:2] == [
        "1 left out: labels that are none of 1, 0, -1 and blank (maybe 1), such as 3.png",
        "1 left out: rows of no known split (holiday 1), such as 4.png",
    ]
    assert len(found.records) == 10 and dict(found.records.attrs["flow"])["found"] == 12


@pytest.mark.parametrize("title", ["Our hospital, 2024", "# exported\n", "\n;;;\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_title_above_the_heading_is_skipped(tmp_path, title, separator):
    text = separator.join(("image", "label", "age", "sex", "view")) + "\n"
    text += "\n".join(separator.join((f"{n}.png", "ab"[n % 2], "50", "F", "PA")) for n in range(6))
    (tmp_path / "t.csv").write_text(f"{title}\n{text}")
    expected = pd.read_csv(io.StringIO(text), sep=separator, dtype="str")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), expected, check_dtype=False)


def test_a_spreadsheet_may_have_a_title_empty_columns_and_a_sheet_without_a_table(tmp_path):
    table = pd.DataFrame({"image": [f"{n}.png" for n in range(6)], "label": list("ababab"), "age": range(40, 46)})
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        pd.DataFrame({"About": ["Our hospital", "2024"]}).to_excel(book, sheet_name="Read me", index=False)
        table.to_excel(book, sheet_name="Scans", index=False, startrow=2, startcol=1)
        book.sheets["Scans"].cell(1, 1, "Scans of 2024")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.xlsx"), table.astype("str"), check_dtype=False)


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_numbers_that_lost_their_leading_zeros_name_the_scan(tmp_path, kind):
    write_scans(tmp_path, *(f"{n:05d}.png" for n in range(12)))
    rows = [{"id": n, "subject": n // 2 if n else None, "label": float(n % 2)} for n in range(12)]
    found = understood(tmp_path, labels=write_table(tmp_path / "t", rows, kind))
    assert found.records["scan"].tolist() == [f"{n:05d}.png" for n in range(12)]
    assert dict(found.description.classes) == {"class_0": "0", "class_1": "1"}
    assert found.records["patient"].tolist() == ["00000.png", "0"] + [str(n // 2) for n in range(2, 12)]


def test_patients_of_lost_digits_stand_alone_and_one_number_is_one_patient(tmp_path):
    ids = ["1.23E+05"] * 4 + ["007", "7", "8", "8", "9", "9", "10", "10"]
    write_scans(tmp_path, *(f"{n}.png" for n in range(12)))
    rows = [{"image": f"{n}.png", "patient": own, "label": "ab"[n % 2]} for n, own in enumerate(ids)]
    found = understood(tmp_path, labels=write_table(tmp_path / "t", rows))
    assert found.records["patient"].tolist() == [*(f"{n}.png" for n in range(4)), *"778899", "10", "10"]
    assert "4 patients whose numbers have lost digits" in found.not_understood[0]


def test_a_name_of_two_files_is_called_so(tmp_path):
    write_scans(tmp_path, *(f"{n}.{kind}" for n in range(8) for kind in ("png", "jpg")))
    rows = [{"image": str(n), "label": "ab"[n % 2]} for n in range(8)]
    with pytest.raises(SourceError, match="each name is that of several files"):
        understood(tmp_path, labels=write_table(tmp_path / "t", rows))
    (tmp_path / "7.png").unlink(), (tmp_path / "6.png").unlink()
    flow = dict(read_by("mine", tmp_path, description_of("image", "label")).attrs["flow"])
    assert flow["left out: a name that several files have"] == 6 and flow["kept"] == 2


def test_a_table_is_read_whatever_its_name_and_an_index_of_parquet_is_a_column(tmp_path):
    write_scans(tmp_path, *(f"{n}.png" for n in range(8)))
    table = pd.DataFrame({"image": [f"{n}.png" for n in range(8)], "label": list("ab") * 4})
    table.to_csv(tmp_path / "labels.csv.gz", index=False)
    table.to_csv(tmp_path / "labels.dat", index=False)
    table.set_index("image").to_parquet(tmp_path / "labels.parquet")
    for name in ("labels.csv.gz", "labels.dat", "labels.parquet"):
        assert len(understood(tmp_path, labels=tmp_path / name).records) == 8, name


def test_a_name_of_a_class_that_can_not_be_shown_is_one_sentence(tmp_path):
    write_scans(tmp_path, *(f"{n}.png" for n in range(8)))
    rows = [{"image": f"{n}.png", "label": ("a", "b\x07")[n % 2]} for n in range(8)]
    with pytest.raises(SourceError, match="without control characters"):
        understood(tmp_path, labels=write_table(tmp_path / "t", rows))


def test_names_are_found_by_path_name_or_stem_and_never_by_an_ambiguous_one():
    files = {"train/p1/view1.png": "a", "train/p2/view1.png": "b", "x/only.dcm": "c", "gone.png": None}
    named = ["Release/train/p1/view1.png", "p2\\view1.png", "view1.png", "only", "./x/only.dcm", "gone.png"]
    found = places(pd.Series(named, dtype="str"), FileIndex(files))
    expected = ["train/p1/view1.png", "train/p2/view1.png", None, "x/only.dcm", "x/only.dcm", None]
    assert [None if pd.isna(path) else path for path in found] == expected


def test_words_of_labels():
    values, strange = label_values(pd.Series(["1", "0.0", "-1", "", "Yes", "uncertain", "maybe"]))
    assert values.fillna(9).tolist() == [1, 0, -1, 9, 1, -1, 9] and strange.tolist() == [False] * 6 + [True]
    assert holds_labels(pd.Series(["1", ""])) and not holds_labels(pd.Series(["1", "1"]))
    assert not holds_labels(pd.Series(["1", "2"])) and not holds_labels(pd.Series(["0", ""]))
    assert list_separator(pd.Series(["Mass|Nodule", "Mass"])) == "|"
    assert list_separator(pd.Series(["Mass, right", "Nodule"])) == ""
    assert list_separator(pd.Series(["['Mass', 'Nodule']", "['Mass']", "['Nodule']"])) == ","
    assert list_separator(pd.Series(["Mass\nNodule", "Mass"])) == "\n"
    assert list_separator(pd.Series(["Mass+Nodule", "Mass", "Nodule"])) == "+"
    assert list_separator(pd.Series(["Nodule/Mass", "Mass", "Effusion"])) == ""
    ages = integer_years(pd.Series(["58", "058Y", "45yrs", "18M", "400", "", "?"]))
    assert ages.isna().tolist() == [False] * 4 + [True] * 3 and ages[:4].tolist() == [58, 58, 45, 1]


# Property: whatever the names, slugs are distinct, plain, and no column of the records.
@pytest.mark.parametrize("seed", range(5))
def test_slugs_are_plain_and_distinct(seed):
    rng = np.random.default_rng(seed)
    letters = list("aB9 _/-+.éß漢$\"'{}")
    names = list({"".join(rng.choice(letters, rng.integers(1, 9))) for _ in range(60)})
    found = slugs([*names, "scan", "View", "nan", "all"])
    assert list(found.values()) == [*names, "scan", "View", "nan", "all"]
    assert all(slug.isascii() and slug[0].isalpha() and slug.replace("_", "a").isalnum() for slug in found)
    assert not {"scan", "view", "nan", "all"} & set(found)


# DICOM


def write_dicom(file: Path, number: int, **elements) -> str:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
    scan = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    scan.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    for name, value in elements.items():
        setattr(scan, name, value)
    scan.Rows = scan.Columns = 16
    scan.SamplesPerPixel, scan.PhotometricInterpretation = 1, "MONOCHROME2"
    scan.BitsAllocated = scan.BitsStored = 8
    scan.HighBit, scan.PixelRepresentation = 7, 0
    scan.PixelData = (
        np.random.default_rng(zlib.crc32(file.name.encode())).integers(0, 256, 256, dtype=np.uint8).tobytes()
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    scan.save_as(file, enforce_file_format=True)
    return scan.SOPInstanceUID


def test_a_word_for_nobody_in_a_header_is_no_patient(tmp_path):
    for n in range(8):
        write_dicom(tmp_path / "ab"[n % 2] / f"{n}.dcm", n, PatientID="Anonymous")
    assert understood(tmp_path).records["patient"].nunique() == 8


@pytest.mark.parametrize("heading", ["sop", "SOPInstanceUID"])
@pytest.mark.parametrize("by", ["name", "header"])
def test_a_dicom_folder_tells_patient_age_sex_and_view_and_no_number_of_a_patient(tmp_path, by, heading):
    rows = []
    for n in range(12):
        file = tmp_path / "study" / f"IM{n:04d}"
        uid = write_dicom(file, n, PatientID=f"MRN-{n // 2}", PatientName="Doe^Jane", PatientAge=f"{40 + n:03d}Y",
                          PatientSex="F", ViewPosition="PA")  # fmt: skip
        rows.append({heading: uid if by == "header" else file.name, "diagnosis": ("sick", "well")[n % 2]})
    found = understood(tmp_path, labels=write_table(tmp_path / "labels", rows))
    assert (found.description.patients, found.description.scans) == ("header", by)
    assert found.records["patient"].nunique() == 6 and len(found.records) == 12
    assert sorted(found.records["age"]) == list(range(40, 52)) and set(found.records["sex"]) == {"F"}
    assert not [word for word in ("MRN", "Doe") if word in found.records.to_csv() + json.dumps(found.not_understood)]


def test_a_list_in_quotes_is_several_classes_though_none_of_them_occurs_alone(tmp_path):
    rows = [{"image": f"{n}.png", "labels": "['Mass', 'Edema']" if n % 2 else "['Clear']"} for n in range(6)]
    write_scans(tmp_path, *(row["image"] for row in rows))
    write_table(tmp_path / "t", rows)
    records = understood(tmp_path).records
    assert records[["mass", "edema", "clear"]].to_numpy(int).tolist() == [[0, 0, 1], [1, 1, 0]] * 3


def test_ages_that_are_dates_are_counted_and_folders_without_an_image_are_named(tmp_path):
    rows = [{"image": f"{n}.png", "age": "1950-03-02" if n else "58", "label": "ab"[n % 2]} for n in range(6)]
    write_scans(tmp_path / "table", *(row["image"] for row in rows))
    write_table(tmp_path / "table" / "t", rows)
    assert "5 ages that are not in years, such as 1950-03-02" in understood(tmp_path / "table").not_understood
    write_scans(tmp_path / "folders", *(f"{name}/{name}{n}.png" for name in "ab" for n in range(3)))
    (tmp_path / "folders" / "tb").mkdir()
    assert "folders without an image, which are no class: tb" in understood(tmp_path / "folders").not_understood


def test_why_too_few_are_left_is_said(tmp_path):
    """Three readers who differ on every scan: its rows are left out, and that is the reason."""
    rows = [{"image": f"{n}.png", "reader": f"R{r}", "mass": int(r > 0), "edema": int(r < 2)}
            for n in range(6) for r in range(3)]  # fmt: skip
    write_scans(tmp_path, *(f"{n}.png" for n in range(6)))
    write_table(tmp_path / "t", rows)
    with pytest.raises(SourceError, match="mass 0, edema 0; left out were 18 rows of one scan with different labels"):
        understood(tmp_path)


# Refused


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "expected a folder for each of two classes"),
        (lambda folder: write_scans(folder, "only/a.png"), "expected a folder for each of two classes"),
        (lambda folder: write_scans(folder, "a/a.png", "b/b.png"), "that three patients or more have"),
        (lambda folder: (folder / "t.csv").write_text("image,label\n"), "no row below its heading"),
        (lambda folder: (folder / "t.csv").write_bytes("image,label\nä.png,1\n".encode("utf-16")[:-1]), "UTF-16"),
        (lambda folder: (folder / "t.csv").write_bytes(b"image,label\n\x81.png,1\n"), r"nor cp1252 \(row 2\)"),
        (lambda folder: (folder / "t.csv").write_text("image,label\na.png,sick\n"), "no file|names the scans"),
        (lambda folder: (folder / "t.csv").write_text('[{"image": "a.png"}]\n'), "found JSON: save it as CSV"),
        (lambda folder: (folder / "t.csv").write_text('{"image": "a.png"}\n{"image": "b.png"}\n'), "found JSON"),
        (lambda folder: (folder / "t.csv").write_text("image,label,label\na.png,x,y\n"), "two columns called 'label'"),
        (lambda folder: [(folder / f"{name}.csv").write_text("image,label\na.png,x\n") for name in ("test", "train")],
         "test.csv and train.csv: join them to one table with a column `split`"),
        (lambda folder: (write_scans(folder, "a.png", "b.png"),
                         (folder / "t.csv").write_text('image,label\na.png,"[1, 0]"\nb.png,"[0, 1]"\n')),
         "found '\\[1, 0\\]', which names none"),
        (lambda folder: (folder / "t.xlsx").write_bytes(b"PK\3\4 no zip"), "found"),
        (lambda folder: (folder / "t.parquet").write_bytes(b"PAR1 none"), "found"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_one_sentence(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(SourceError, match=words) as error:
        understood(tmp_path)
    assert "\n" not in str(error.value)


def test_a_spreadsheet_that_claims_too_much_is_refused(tmp_path, monkeypatch):
    from lungkeras.system.untrusted import table_files

    file = write_table(tmp_path / "t", [{"image": f"{n}.png", "label": "a"} for n in range(50)], "xlsx")
    assert len(read_table(file)) == 50
    monkeypatch.setattr(table_files, "MOST_CELLS", 60)
    with pytest.raises(SourceError, match="it holds more than"):
        read_table(file)
    monkeypatch.setattr(table_files, "MOST_TEXT", 100)
    with pytest.raises(SourceError, match="it unpacks to"):
        read_table(file)


def test_links_count_once(tmp_path):
    write_scans(tmp_path, *(f"{name}/{name}{n}.png" for name in "ab" for n in range(3)))
    os.symlink(tmp_path / "a" / "a0.png", tmp_path / "a" / "z.png")
    os.symlink(tmp_path / "nowhere", tmp_path / "b" / "gone.png")
    found = understood(tmp_path)
    assert len(found.records) == 6 and any("file absent" in sentence for sentence in found.not_understood)
