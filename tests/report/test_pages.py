"""Pages of executed notebooks: which get one, and that it needs no network."""

import hashlib
import re

import nbformat

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


def write_notebook(file, *words: str) -> None:
    file.parent.mkdir(exist_ok=True)
    cells = [nbformat.v4.new_markdown_cell(text, id=f"words-{place}") for place, text in enumerate(words)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), file)


def test_a_link_to_a_notebook_leads_to_its_page_where_there_is_one(tmp_path):
    folder = tmp_path / "notebooks"
    write_notebook(
        folder / "03_evaluation.ipynb", "On: [04 Look](04_look.ipynb), by hand: [06 Worked](06_worked.ipynb)."
    )
    write_notebook(folder / "04_look.ipynb", "The end.")
    page = (tmp_path / notebook_pages(tmp_path)["03_evaluation"]).read_text(encoding="utf-8")
    assert '<a href="04_look.html">04 Look</a>, by hand: 06 Worked.' in page


def test_a_page_is_its_notebook_whatever_stands_there(tmp_path):
    """A page of a copied study may say of itself what it will."""
    file = tmp_path / "notebooks" / "03_evaluation.ipynb"
    write_notebook(file, "What it says")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    page = file.with_suffix(".html")
    page.write_text(
        f'<html><head><meta name="notebook-sha256" content="{digest}"><script>harm()</script></head></html>'
    )
    notebook_pages(tmp_path)
    shown = page.read_text(encoding="utf-8")
    assert "What it says" in shown and "harm" not in shown and "<script" not in shown


def test_html_of_a_markdown_cell_is_shown_as_text(tmp_path):
    file = tmp_path / "notebooks" / "03_evaluation.ipynb"
    html = [
        '<meta http-equiv="refresh" content="0;url=http://elsewhere">',
        "<form action=x>",
        "a <b onclick=x()>bold</b>",
    ]
    write_notebook(
        file, *html, "**bold** and `a < b`, [a link](http://elsewhere)", "[x](javascript:harm())", "<!-- a -->"
    )
    notebook_pages(tmp_path)
    shown = file.with_suffix(".html").read_text(encoding="utf-8")
    assert "&lt;meta http-equiv" in shown and "<form" not in shown and "<b onclick" not in shown
    assert "<strong>bold</strong>" in shown and "<code>a &lt; b</code>" in shown
    assert "javascript:" not in shown and len(re.findall("<meta", shown)) < 5


def test_a_page_tells_no_place_of_a_source(tmp_path):
    file = tmp_path / "notebooks" / "01_data_preparation-covid.ipynb"
    file.parent.mkdir()
    words = '# Parameters\ndataset = "covid"\nsource = "../../of-nobody/disk/scans"\nscans = 30\n'
    cell = nbformat.v4.new_code_cell(words, metadata={"tags": ["injected-parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), file)
    notebook_pages(tmp_path)
    shown = file.with_suffix(".html").read_text(encoding="utf-8")
    assert "of-nobody" not in shown and "scans" in shown and "covid" in shown
