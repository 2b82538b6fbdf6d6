"""Caveats beside scores: collections without patients, labels that are not known, what policies make of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import synthetic
from prepared_data import CLASSES, write_prepared

from lungkeras.datasets.policies import POLICIES
from lungkeras.datasets.registry import DATASETS
from lungkeras.preparation.folder import load_prepared
from lungkeras.report import comparison_tables, page
from lungkeras.report.caveats import caveats, of_table
from lungkeras.report.further import labels
from lungkeras.system.files import write_csv

NO_PATIENTS = "does not say which scans belong to one patient"


def test_collections_without_patients_and_labels_are_named_with_the_policy():
    without = {name for name, dataset in DATASETS.items() if not dataset.patients}
    assert without & {"covid", "pneumonia", "xray8"} == {"covid"}
    assert caveats(["pneumonia", "xray8"], [], {}) == ""
    assert caveats(["xray8", "covid", "covid"], [], {}).startswith("COVID-19: the collection " + NO_PATIENTS)
    assert "mappings_2018.json, published separately, says which scans" in caveats(["rsna"], [], {})
    said = caveats(["xray8"], ["xray8", "covid"], {"uncertain": "ones, mass=zeros"})
    assert "some labels are uncertain or blank (uncertain: ones, mass=zeros; blank: zeros)" in said
    assert "COVID-19" not in said


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> tuple:
    """A study's folder with counts of labels, and its report."""
    folder = tmp_path_factory.mktemp("reports") / "tiny"
    words = synthetic.study(folder)
    write_csv(folder / "tables" / "labels.csv", labels.make({}, {"pneumonia": partly_known(folder.parent)}))
    return folder, page.write_report(folder, **words).read_text(encoding="utf-8")


def test_labels_of_studies_are_reported_as_such(monkeypatch):
    monkeypatch.setitem(DATASETS, "pneumonia", replace(DATASETS["pneumonia"], label_unit="study"))
    said = caveats(["pneumonia", "xray8"], [], {})
    assert said == "Pneumonia: a label is that of a study, and all its images share it."


def test_they_stand_beside_every_table_of_scores_and_every_run(report):
    folder, html = report
    tables = {file.stem: pd.read_csv(file) for file in (folder / "tables").glob("*.csv")}
    captions = page.read_captions(folder, [])["tables"]
    scored = [name for name in captions if name in tables and of_table(tables[name], [], {})]
    assert {"table_3", "model_pairs", "class_scores", "baselines", "calibration", "operating_points"} <= set(scored)
    assert not {"table_1", "table_2", "datasheets", "failure_counts", "external_scans"} & set(scored)
    for name in scored:
        article = html.partition(f'<article class="item" id="{name}">')[2].partition("</article>")[0]
        assert NO_PATIENTS in article, name
    runs = html.partition('<section id="runs">')[2].split('<details class="run"')[1:]
    assert [NO_PATIENTS in run for run in runs] == ['id="run-covid' in run for run in runs]


def partly_known(folder) -> object:
    """A prepared dataset in whose test split 9 scans are of 3 classes, with uncertain and blank labels."""
    prepared = replace(load_prepared(write_prepared(folder / "pneumonia")), task="multilabel")
    records = prepared.records.astype(dict.fromkeys(CLASSES[:2], float))
    test = np.flatnonzero(records["split"] == "test")
    records.loc[test[0], CLASSES[0]] = -1  # it was 1
    records.loc[test[1:3], CLASSES[0]] = np.nan  # they were 0
    return replace(prepared, records=records, uncertain="ones")


def test_labels_are_counted_as_published_and_under_each_policy(tmp_path):
    prepared = partly_known(tmp_path)
    assert labels.make({}, {"known": load_prepared(tmp_path / "pneumonia")}).empty
    table = labels.make({}, {"pneumonia": prepared})
    assert list(table) == labels.COLUMNS and len(table) == 9
    row = table[(table["split"] == "test") & (table["class"] == CLASSES[0])].iloc[0]
    assert row[["positive", "negative", "uncertain", "blank"]].tolist() == [2, 4, 1, 2]
    assert row["policy"] == "uncertain: ones; blank: zeros"
    found = {tuple(each.values()): "_".join(each.values()) for each in POLICIES}
    counts = {policy: (row[f"{key}_positive"], row[f"{key}_known"]) for policy, key in found.items()}
    assert counts == {
        ("zeros", "zeros"): (2, 9), ("zeros", "ignore"): (2, 7), ("ones", "zeros"): (3, 9),
        ("ones", "ignore"): (3, 7), ("ignore", "zeros"): (2, 8), ("ignore", "ignore"): (2, 6),
    }  # fmt: skip


def test_the_report_shows_the_counts_where_there_are_any(report, tmp_path):
    _, html = report
    write_csv(tmp_path / "tables" / "labels.csv", labels.make({}, {}))
    assert "labels" not in page.read_captions(tmp_path, [])["tables"]
    assert "Labels that are uncertain or blank" in html and "3 of 7" in html
    assert "Pneumonia, test (this study: uncertain: ones; blank: zeros)" in html


def test_a_class_without_a_score_says_why():
    frame = synthetic.evidence(synthetic.run_table(ablation=False))["class_scores"].query("dataset == 'xray8'")
    frame = frame.assign(known=60, note="")
    frame.loc[frame["class"] == "mass", ["auroc", "auroc_low", "auroc_high", "known", "note"]] = [
        np.nan, np.nan, np.nan, 7, comparison_tables.NO_LABELS]  # fmt: skip
    grid = comparison_tables.class_scores(frame)
    rows = {row[0]["text"]: [cell["text"] for cell in row] for row in grid["bodies"][0]["rows"]}
    assert rows["Mass"][2] == "7" and set(rows["Mass"][4:]) == {comparison_tables.NO_LABELS}
    assert "labels known" in [cell["text"] for cell in grid["head"][0]]
