"""Pages of executed notebooks: which get one, and that it needs no network."""

import os
import re

import nbformat
import pytest

from lungkeras.report import notebook_pages as pages
from lungkeras.report.notebook_pages import notebook_pages


def test_every_finished_notebook_has_a_page_without_foreign_addresses(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A run")])
    for name in ("02_training-covid-resnet34-random", "03_evaluation", "02_training-x.failed", ".running-y"):
        nbformat.write(notebook, folder / f"{name}.ipynb")
    links = notebook_pages(tmp_path)
    assert links == {
        "covid-resnet34-random": "notebooks/02_training-covid-resnet34-random.html",
        "03_evaluation": "notebooks/03_evaluation.html",
    }
    page = (tmp_path / links["03_evaluation"]).read_text(encoding="utf-8")
    assert "A run" in page
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', page)


def test_a_page_follows_its_notebook_whatever_the_clock_said(tmp_path, monkeypatch):
    file = tmp_path / "notebooks" / "03_evaluation.ipynb"
    file.parent.mkdir()

    def execute(words: str, at: int) -> None:
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(words, id="words")]), file)
        os.utime(file, (at, at))

    execute("The first time", at=2_000_000_000)
    notebook_pages(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(pages, "write_text", lambda *_: pytest.fail("written again"))
        execute("The first time", at=2_100_000_000)
        notebook_pages(tmp_path)
    execute("The second time", at=1_000_000_000)
    notebook_pages(tmp_path)
    assert "The second time" in file.with_suffix(".html").read_text(encoding="utf-8")
