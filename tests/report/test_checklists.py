"""The checklists: whole, in order, without an empty item, and every link leads to a section of the report."""

import re

import pytest
from parsed_page import Page

from lungkeras.report import checklists
from lungkeras.report.page import write_report

ROWS = {"CLAIM, update of 2024": (44, 44), "TRIPOD+AI, 2024": (27, 52), "STARD-AI, 2025": (40, 48)}


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    """The report of a study without results: its sections are all there."""
    folder = tmp_path_factory.mktemp("study")
    path = write_report(folder, title="T", settings={}, datasets=[], versions={})
    return Page(path.read_text(encoding="utf-8"))


def test_each_list_has_its_published_number_of_items_in_order():
    table = checklists.table()
    assert table["checklist"].unique().tolist() == list(ROWS)
    for name, (items, rows) in ROWS.items():
        numbers = table.loc[table["checklist"] == name, "item"]
        assert len(numbers) == rows and numbers.is_unique
        whole = [int(re.match(r"\d+", number)[0]) for number in numbers]
        assert list(dict.fromkeys(whole)) == list(range(1, items + 1)) and whole == sorted(whole)


def test_no_item_is_empty_and_what_is_not_answered_by_a_section_is_marked():
    table = checklists.table()
    assert table[["item", "topic", "answer"]].map(lambda text: bool(text.strip())).all(axis=None)
    nowhere = table["section"] == ""
    assert set(table.loc[nowhere, "answer"]) == {checklists.NOT_DONE, checklists.DOES_NOT_APPLY}
    assert (table.loc[table["answer"] == checklists.DOES_NOT_APPLY, "note"] != "").all()


def test_every_link_of_the_table_resolves_in_the_report(page):
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    sections = set(checklists.checklists()["sections"])
    assert sections <= ids
    links = [attributes["href"][1:] for attributes in page.all("a")]
    asked = checklists.table().query("section != ''")["section"]
    assert set(asked) == sections
    assert all(links.count(section) >= (asked == section).sum() for section in sections)


def test_the_report_ends_with_the_table(page):
    assert page.text.index("CLAIM, TRIPOD+AI and STARD-AI") > page.text.index("What made this report")
    assert "39 failure analysis Errors" in page.text
    assert "44 funding not done The report names no people and no funds." in page.text
