"""The audit in the report: a study's tables and picture from its prepared datasets, and the section that shows them."""

import pandas as pd
import pytest
from parsed_page import Page

from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.preparation.audit import dataset as audit
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.report.page import write_report
from lungkeras.report.study_audit import write_study_audit


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of one audited dataset, with a marker, copies and wrong labels."""
    folder = tmp_path_factory.mktemp("study")
    for dataset, plants in {"covid": ["duplicates=5", "noise=0.15", "marker=1"]}.items():
        source = draw_source(dataset, folder / "sources" / dataset, scans=80, plants=plants)
        prepare_dataset(dataset, source, folder / "prepared" / dataset, size=32)
        audit.audit_prepared(folder / "prepared" / dataset)
    made = write_study_audit(sorted((folder / "prepared").iterdir()), folder / "reports")
    return folder / "reports", made


def test_each_table_is_written_and_the_picture_shows_what_is_to_be_looked_at(study):
    folder, made = study
    for name in audit.TABLES:
        table = pd.read_csv(folder / "tables" / f"audit_{name}.csv")
        assert len(table) == len(made[f"audit_{name}"]) and "dataset" in table
    assert len(made["audit_duplicates"]) == 5
    assert (folder / "figures" / "audit_scans.png").is_file()


def test_the_section_holds_the_tables_numbers_and_names_what_the_data_cannot_answer(study):
    folder, made = study
    page = Page(write_report(folder, title="T", settings={}, datasets=[], versions={}).read_text(encoding="utf-8"))
    assert "Before training: an audit" in page.text
    marked = made["audit_shortcuts"].query("alarm").iloc[0]
    assert f"{marked['auroc']:.2f} ({marked['low']:.2f}–{marked['high']:.2f}) alarm" in page.text
    assert "does not say which scans are of one patient" in page.text
    assert any("the most suspected labels" in image.get("alt", "") for image in page.all("img"))
    assert not page.unclosed and not page.open


def test_a_study_without_an_audit_says_so(tmp_path):
    path = write_report(tmp_path, title="T", settings={}, datasets=[], versions={})
    assert "No dataset of this study has been audited yet." in Page(path.read_text(encoding="utf-8")).text
