"""Datasheets: no question without an answer, and drawings are never passed off as a hospital's scans."""

from lungkeras.datasets.datasheets import COLUMNS, datasheets, questions
from lungkeras.datasets.registry import DATASETS


def test_every_question_is_answered_for_every_collection_and_for_drawings():
    for question, answers in questions().items():
        assert set(answers) == {*DATASETS, "drawn"}, question
        assert all(answer.strip().endswith(".") for answer in answers.values()), question


def test_a_drawn_dataset_has_the_sheet_of_drawings():
    table = datasheets({"covid": True, "pneumonia": False})
    assert list(table) == COLUMNS and len(table) == 2 * len(questions())
    drawn, read = (" ".join(table.loc[table["dataset"] == name, "answer"]) for name in ("covid", "pneumonia"))
    assert "PadChest" not in drawn and "Drawings" in drawn
    assert "Guangzhou" in read and "Drawings" not in read
