"""Pages of executed notebooks: which get one, and that it needs no network."""

import re

import nbformat

from lungkeras.pages import notebook_pages


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
