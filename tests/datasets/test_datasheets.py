"""Datasheets: no question without an answer, and drawings are never passed off as a hospital's scans."""

from lungkeras.datasets.datasheets import COLUMNS, DRAWN, datasheets
from lungkeras.datasets.registry import DATASETS


def test_every_question_is_answered_for_every_collection_and_for_drawings():
    for name, sheet in {"drawn": DRAWN, **{name: known.datasheet for name, known in DATASETS.items()}}.items():
        assert list(sheet) == list(DRAWN), name
        assert all(answer.strip().endswith(".") for answer in sheet.values()), name


def test_a_drawn_dataset_has_the_sheet_of_drawings():
    table = datasheets({"covid": True, "pneumonia": False})
    assert list(table) == COLUMNS and len(table) == 2 * len(DRAWN)
    drawn, read = (" ".join(table.loc[table["dataset"] == name, "answer"]) for name in ("covid", "pneumonia"))
    assert "PadChest" not in drawn and "Drawings" in drawn
    assert "Guangzhou" in read and "Drawings" not in read
