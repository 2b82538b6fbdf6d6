"""Anybody's tables: columns are found by many names, wrong cells are named, unknown labels count for nothing."""

import numpy as np
import pandas as pd
import pytest

from lungkeras.evaluation.foreign import predictor_names, read_foreign
from lungkeras.evaluation.foreign_cells import read_table
from lungkeras.evaluation.foreign_columns import understand
from lungkeras.system.errors import TableError


@pytest.fixture
def table() -> pd.DataFrame:
    """Twelve scans of six patients with two findings, as predictions.parquet has them."""
    random = np.random.default_rng(0)
    columns = {"scan": [f"{place}.png" for place in range(12)], "patient": np.repeat([f"p{i}" for i in range(6)], 2)}
    for name in ("mass", "nodule"):
        columns |= {f"label_{name}": random.integers(2, size=12), f"probability_{name}": random.random(12).round(3)}
    return pd.DataFrame(columns)


def read(tmp_path, *tables, labels=None, records=None):
    files = []
    for place, frame in enumerate([*tables, labels, records]):
        if frame is not None:
            files.append(tmp_path / f"{place}.csv")
            frame.to_csv(files[-1], index=False)
        else:
            files.append(None)
    opened = [read_table(file) if file else None for file in files]
    return read_foreign(dict(zip("abcd", opened[: len(tables)], strict=False)), *opened[len(tables) :])


def test_the_columns_of_a_run_are_read_as_they_are(table, tmp_path):
    found = read(tmp_path, table)
    assert (found.classes, found.task, found.patients_known) == (("mass", "nodule"), "multilabel", True)
    np.testing.assert_array_equal(found.test.labels, table[["label_mass", "label_nodule"]])
    np.testing.assert_allclose(found.test.probabilities["a"], table[["probability_mass", "probability_nodule"]])
    assert found.test.known.all() and found.val is None and not found.notes
    table.to_parquet(tmp_path / "a.parquet")
    again = read_foreign({"a": read_table(tmp_path / "a.parquet")})
    np.testing.assert_array_equal(again.test.probabilities["a"], found.test.probabilities["a"])


@pytest.mark.parametrize(
    ("scan", "patient", "label", "probability"),
    [
        ("Path", "PatientID", "{}_label", "{}_prob"),
        ("image_id", "subject_id", "y_true_{}", "prob_{}"),
        ("Image Index", "Patient ID", "gt_{}", "{}_pred"),
        ("filename", "patient_id", "{}", "p_{}"),
        ("file", "Subject-ID", "target {}", "score({})"),
    ],
)
def test_columns_are_found_by_other_names(table, tmp_path, scan, patient, label, probability):
    names = {"scan": scan, "patient": patient}
    for name in ("mass", "nodule"):
        names |= {f"label_{name}": label.format(name), f"probability_{name}": probability.format(name)}
    found, expected = read(tmp_path, table.rename(columns=names)), read(tmp_path, table)
    assert found.classes == expected.classes
    np.testing.assert_array_equal(found.test.labels, expected.test.labels)
    np.testing.assert_array_equal(found.test.probabilities["a"], expected.test.probabilities["a"])
    assert (found.test.patients == expected.test.patients).all()
    assert set(found.understood["column"]) == set(table.rename(columns=names).columns)


def test_one_class_without_a_name_and_classes_in_the_cells_of_one_column(table, tmp_path):
    plain = pd.DataFrame({"id": table["scan"], "y_true": table["label_mass"], "y_score": table["probability_mass"]})
    found = read(tmp_path, plain)
    assert found.classes == ("positive",) and not found.patients_known
    assert any("Patients are not known" in note for note in found.notes)
    exclusive = pd.DataFrame({"image": table["scan"], "label": np.where(table["label_mass"], "sick", "well")})
    exclusive = exclusive.assign(prob_sick=table["probability_mass"], prob_well=1 - table["probability_mass"])
    found = read(tmp_path, exclusive)
    assert (found.task, found.classes) == ("multiclass", ("sick", "well"))
    np.testing.assert_array_equal(found.test.labels[:, 0], table["label_mass"])


def test_labels_and_records_in_files_of_their_own_are_put_together_by_the_name_of_the_file(table, tmp_path):
    given = table[["scan"]].assign(Mass=table["probability_mass"], Nodule=table["probability_nodule"])
    given["scan"] = "somewhere/else/" + given["scan"]
    labels = table[["scan"]].assign(
        **{"Finding Labels": [
            "|".join(name for name in ("Mass", "Nodule") if row[f"label_{name.lower()}"]) or "No Finding"
            for _, row in table.iterrows()
        ]}
    ).iloc[::-1]  # fmt: skip
    records = table[["scan", "patient"]].assign(age=["034Y", "030M", "44.9", "414", "7yrs", *["50"] * 7], sex="F")
    records.loc[:3, "sex"] = "male"
    found = read(tmp_path, given, labels=labels, records=records)
    np.testing.assert_array_equal(found.test.labels, table[["label_mass", "label_nodule"]])
    np.testing.assert_allclose(found.test.metadata["age"][:5], [34, 2, 44, np.nan, 7])
    assert found.test.metadata["sex"].tolist() == ["M"] * 4 + ["F"] * 8
    assert any("by file name" in note for note in found.notes)


def test_uncertain_and_blank_labels_count_for_nothing(table, tmp_path):
    table["label_mass"] = table["label_mass"].astype(object)
    table.loc[[0, 1, 2], "label_mass"] = [-1, None, -1]
    found = read(tmp_path, table)
    assert found.test.known[:, 0].sum() == 9 and found.test.known[:, 1].all()
    assert found.label_counts.set_index("class").loc["mass", ["uncertain", "blank"]].tolist() == [2, 1]


@pytest.mark.parametrize("blank", ["NA", "nan", "None", "n/a"])
def test_a_word_for_a_missing_label_is_a_blank(table, tmp_path, blank):
    table["label_mass"] = [blank, *("pos", "neg", "present", "absent", "Y", "n"), 1, 0, 1, 0, blank]
    found = read(tmp_path, table)
    assert found.test.known[:, 0].tolist() == [False, *[True] * 10, False]
    assert found.test.labels[1:11, 0].tolist() == [1, 0] * 5


@pytest.mark.parametrize("val", ["valid", "validate", "Validation", "dev", "tune"])
def test_val_is_kept_apart_and_train_left_out(table, tmp_path, val):
    found = read(tmp_path, table.assign(split=["train"] * 4 + [val] * 3 + ["test"] * 5))
    assert (len(found.test), len(found.val)) == (5, 3)
    assert any("1 patients have scans in val and in test" in note for note in found.notes)


def test_several_predictors_are_joined_scan_by_scan(table, tmp_path):
    other = table.drop(columns=["label_mass", "label_nodule"]).iloc[::-1].iloc[:10]
    found = read(tmp_path, table, other, labels=table.drop(columns=["probability_mass", "probability_nodule"]))
    assert len(found.test) == 10
    np.testing.assert_array_equal(*found.test.probabilities.values())
    with pytest.raises(TableError, match=r"1\.csv: row 3 .*'mass' of '2.png' differs from 0\.csv"):
        read(
            tmp_path,
            table,
            table.assign(label_mass=np.where(table.index == 2, 1 - table["label_mass"], table["label_mass"])),
        )


@pytest.mark.parametrize(
    ("row", "column", "value", "said"),
    [
        (16, "probability_mass", 1.2, r"column 'probability_mass', row 17 \(line 18 of the file\).*found 1\.2"),
        (3, "probability_nodule", np.nan, r"column 'probability_nodule', row 4 .*found a blank"),
        (3, "probability_nodule", "high", r"column 'probability_nodule', row 4 .*found 'high'"),
        (4, "label_mass", "maybe", r"column 'label_mass', row 5 .*1, 0, -1 \(uncertain\) or blank, found 'maybe'"),
        (4, "label_mass", 2, r"column 'label_mass', row 5 .*found 2"),
        (5, "scan", "0.png", r"the scan '0\.png' is in row 1 .* and in row 6"),
        (5, "scan", np.nan, r"column 'scan', row 6 .*found a blank"),
        (5, "split", "holiday", r"column 'split', row 6 .*found 'holiday' in 1 rows"),
        (5, "split", np.nan, r"column 'split', row 6 .*found 'a blank' in 1 rows"),
        (5, "probability_mass", "71,3%", r"column 'probability_mass', row 6 .*found '71,3%'"),
    ],
)
def test_a_wrong_cell_is_named_by_column_and_row(table, tmp_path, row, column, value, said):
    long = pd.concat([table.assign(split="test"), table.assign(split="test", scan="second-" + table["scan"])])
    long = long.reset_index(drop=True).astype(object)
    long.loc[row, column] = value
    with pytest.raises(TableError, match=said):
        read(tmp_path, long)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["scan", "label_mass", "probability_mass", "label_nodule"], "labels of 'nodule' but no probability"),
        (["scan", "label_mass"], "no column of probabilities"),
        (["scan", "probability_mass"], "no column of labels"),
    ],
)
def test_a_missing_column_is_named(table, tmp_path, columns, said):
    with pytest.raises(TableError, match=said):
        read(tmp_path, table[columns])


def test_a_table_with_a_row_for_each_class_is_told_what_is_expected(table, tmp_path):
    names = ["probability_mass", "probability_nodule"]
    long = table.melt("scan", names, "class", "probability")
    with pytest.raises(TableError, match="each scan once: if it has a row for each class, make a column of each"):
        read(tmp_path, long)


def test_a_name_that_is_no_class_is_counted(tmp_path):
    given = pd.DataFrame({"scan": range(6), "prob_sick": [0.2] * 6, "prob_well": [0.8] * 6})
    found = read(tmp_path, given.assign(label=["sick", "well", "sik", "sik", "No finding", "well"]))
    assert found.test.labels.tolist() == [[1, 0], [0, 1], [0, 0], [0, 0], [0, 0], [0, 1]]
    assert any(note.endswith("count as none of them: sik 2, No finding 1.") for note in found.notes)


def test_scans_are_put_together_by_their_numbers_where_leading_zeros_are_lost(table, tmp_path):
    given = table.assign(scan=[f"{place:04d}.png" for place in range(12)])
    labels = table[["scan", "label_mass", "label_nodule"]].assign(scan=range(12)).iloc[::-1]
    found = read(tmp_path, given.drop(columns=["label_mass", "label_nodule"]), labels=labels)
    np.testing.assert_array_equal(found.test.labels, table[["label_mass", "label_nodule"]])
    assert any("leading zeros" in note for note in found.notes)


def test_a_uid_has_no_ending_to_lose(table, tmp_path):
    uids = [f"1.2.840.{place}" for place in range(12)]
    labels = table[["scan", "label_mass", "label_nodule"]].assign(scan=uids).iloc[::-1]
    given = table[["probability_mass", "probability_nodule"]].assign(scan=[f"{uid}.dcm" for uid in uids])
    found = read(tmp_path, given, labels=labels)
    np.testing.assert_array_equal(found.test.labels, table[["label_mass", "label_nodule"]])


def test_scans_without_a_patient_in_a_parquet_file_are_not_of_one_patient(table, tmp_path):
    table.assign(patient=["p1"] * 10 + [""] * 2).to_parquet(tmp_path / "a.parquet")
    assert len(set(read_foreign({"a": read_table(tmp_path / "a.parquet")}).test.patients)) == 3


@pytest.mark.parametrize("kind", ["decimal comma", "bar", "title", "xlsx", "index", "rounding"])
def test_other_forms_of_a_table_are_read_to_the_same_numbers(table, tmp_path, kind):
    file = tmp_path / {"xlsx": "a.xlsx", "index": "a.parquet"}.get(kind, "a.csv")
    if kind == "xlsx":
        table.to_excel(file, index=False, startrow=2)
    elif kind == "index":
        table.set_index("scan").to_parquet(file)
    elif kind == "rounding":
        rounded = table["probability_mass"].where(table.index > 0, 1 + 2**-23).where(table.index > 1, -1e-9)
        table["probability_mass"] = rounded.clip(0, 1)
        table.assign(probability_mass=rounded).to_csv(file, index=False)
    else:
        options = {"decimal comma": {"sep": ";", "decimal": ","}, "bar": {"sep": "|"}}.get(kind, {})
        text = table.to_csv(index=False, **options)
        file.write_text(f"Answers of our model\n\n{text}" if kind == "title" else text)
    found = read_foreign({"a": read_table(file)})
    assert found.test.scans.tolist() == table["scan"].tolist()
    np.testing.assert_allclose(found.test.probabilities["a"], table[["probability_mass", "probability_nodule"]])
    np.testing.assert_array_equal(found.test.labels, table[["label_mass", "label_nodule"]])


def test_probabilities_that_do_not_sum_to_one_are_noted(table, tmp_path):
    first = table["probability_mass"]
    exclusive = table.assign(label_nodule=1 - table["label_mass"], probability_nodule=1 - first)
    assert read(tmp_path, exclusive).task == "multiclass"
    exclusive["probability_nodule"] = first
    found = read(tmp_path, exclusive)
    assert found.task == "multilabel"
    assert any("do not sum to 1 in 12 of 12 rows" in note for note in found.notes)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "empty.csv").write_text("scan,y_true,y_score\n")
    for name, said in (("a.parquet", "can't be read"), ("empty.csv", "no row"), ("absent.csv", "No such file")):
        with pytest.raises(TableError, match=said):
            read_table(tmp_path / name)


def test_predictors_are_called_by_their_files():
    assert predictor_names(["/x/runs/covid-resnet34-random/predictions.parquet", "b/a.csv", "c/a.csv"]) == [
        "covid-resnet34-random", "a", "a (2)",
    ]  # fmt: skip


def test_of_two_columns_of_one_meaning_the_more_usual_is_used_or_both_are_named(table, tmp_path):
    decided = table.assign(mass_pred=(table["probability_mass"] > 0.5).astype(int))
    found = read(tmp_path, decided)
    np.testing.assert_array_equal(found.test.probabilities["a"][:, 0], table["probability_mass"])
    assert found.understood.set_index("column").loc["mass_pred", "meaning"] == "not used: probability_mass is"
    with pytest.raises(TableError, match="the columns 'label_mass' and 'Mass-Label' mean the same"):
        read(tmp_path, table.assign(**{"Mass-Label": 1}))


def test_names_of_columns_that_look_alike_are_kept_apart():
    found = understand(["Image Index", "Finding Labels", "Patient ID", "Patient Age", "predicted_class", "No Finding"])
    assert found.listed == "Finding Labels" and not found.labels and not found.probabilities
    assert set(found.roles) == {"scan", "patient", "age"} and set(found.plain) >= {"no_finding"}


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_a_table_in_the_encoding_of_a_spreadsheet_is_read(table, tmp_path, encoding):
    table = table.rename(columns=lambda name: name.replace("mass", "größe"))
    expected = read(tmp_path, table)
    file = tmp_path / "a.csv"
    table.to_csv(file, index=False, sep=";", encoding=encoding)
    found = read_foreign({"a": read_table(file)})
    assert found.classes == expected.classes
    np.testing.assert_array_equal(found.test.labels, expected.test.labels)
    np.testing.assert_array_equal(found.test.probabilities["a"], expected.test.probabilities["a"])


def test_a_table_that_no_encoding_fits_is_refused_by_its_row(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b"scan,label_mass,probability_mass\n\x81.png,1,0.5\n")
    with pytest.raises(TableError, match=r"neither UTF-8 nor cp1252 \(row 2\)"):
        read_table(file)
