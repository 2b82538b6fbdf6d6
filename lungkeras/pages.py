"""Executed notebooks -> HTML pages beside the report, which a browser opens without Jupyter and without a network."""

from pathlib import Path

from lungkeras.files import write_text


def notebook_pages(study_folder: Path | str) -> dict[str, str]:
    """Writes a page for each executed notebook of a study; returns {run or notebook: link from the study's folder}.

    A page newer than its notebook is left as it is. Failed and running notebooks have none.
    """
    from nbconvert import HTMLExporter

    folder = Path(study_folder)
    # Without addresses of scripts the page stays whole when there is no network: our notebooks hold no formulas.
    exporter = HTMLExporter(template_name="lab", mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="")
    links = {}
    for notebook in sorted((folder / "notebooks").glob("*.ipynb")):
        if notebook.name.startswith(".") or notebook.name.endswith(".failed.ipynb"):
            continue
        page = notebook.with_suffix(".html")
        if not page.is_file() or page.stat().st_mtime < notebook.stat().st_mtime:
            write_text(page, exporter.from_filename(str(notebook))[0])
        links[notebook.stem.removeprefix("02_training-")] = page.relative_to(folder).as_posix()
    return links
