"""Executed notebooks -> HTML pages next to the report, which open in a browser without Jupyter or a network.

The content of a notebook comes from data, so a page has no script, and its policy lets a browser run and fetch nothing.
"""

import re
from html.parser import HTMLParser
from pathlib import Path

from lungkeras.system.errors import RunError
from lungkeras.system.files import as_json, write_text
from lungkeras.system.text import printable
from lungkeras.system.untrusted import json_files

POLICY = (
    "default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
SHOWN = {"text/plain", "image/png", "image/jpeg"}
TABLE_ELEMENTS = {"div", "style", "table", "thead", "tbody", "tfoot", "tr", "th", "td", "p"}
TABLE_ATTRIBUTES = {"border", "class", "scoped", "style", "colspan", "rowspan", "halign", "valign"}
SOURCE = re.compile(r"^(source = .)(?:.*/)?([^/\n]*)$", re.MULTILINE)  # a page shows only the name of its folder
LINK = re.compile(r"\[([^][]*)\]\((\d\d_\w+)\.ipynb\)")  # between notebooks of one folder
SCRIPT = re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE)


def notebook_pages(study_folder: Path | str) -> dict[str, str]:
    """Writes a page for each executed notebook of a study; returns {run or notebook: link from the study's folder}.

    An existing page is overwritten, because it may come from somebody else. Failed and running notebooks have no
    page. Raises RunError for a file that is no notebook.
    """
    import nbformat

    folder = Path(study_folder)
    # Without addresses of scripts the page needs no network. Our notebooks have no formulas.
    exporter = _exporter(template_name="lab", mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="")
    links = {}
    for notebook in sorted((folder / "notebooks").glob("*.ipynb")):
        if notebook.name.startswith(".") or notebook.name.endswith(".failed.ipynb"):
            continue
        page = notebook.with_suffix(".html")
        try:
            held = with_links_between_pages(nbformat.reads(as_json(json_files.read(notebook)), 4), page.parent)
            html = exporter.from_notebook_node(with_plain_outputs(held))[0]
        except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError) as error:
            reason = printable(" ".join(str(error).split())[:120])
            raise RunError(
                f"{notebook} is not a notebook as Jupyter writes it ({reason}): remove it, then run the same "
                "command again"
            ) from error
        write_text(page, inert_page(html))
        links[notebook.stem.removeprefix("02_training-")] = page.relative_to(folder).as_posix()
    return links


def _exporter(**options):
    """nbconvert's exporter, which shows HTML of a Markdown cell as text: no policy stops a page that leads away."""
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    exporter = HTMLExporter(**options)
    renderer = IPythonRenderer(escape=True, allow_harmful_protocols=False, anchor_link_text=exporter.anchor_link_text)
    exporter.register_filter("markdown2html", lambda source: MarkdownWithMath(renderer=renderer).render(source))
    return exporter


def inert_page(html: str) -> str:
    """A page without scripts. Its first element is a policy that forbids every address outside the page."""
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    return SCRIPT.sub("", html).replace("<head>", f"<head>{policy}", 1)


def with_links_between_pages(notebook, folder: Path):
    """The notebook with links to other notebooks turned into links to their pages, or into text if there is no page."""

    def lead(link: re.Match) -> str:
        words, name = link.groups()
        return f"[{words}]({name}.html)" if (folder / f"{name}.ipynb").is_file() else words

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(lead, cell.source)
    return notebook


def with_plain_outputs(notebook):
    """The notebook with only text, pictures and plain tables as outputs: other HTML may lead a browser elsewhere.

    The path of its source is removed.
    """
    for cell in notebook.cells:
        if "injected-parameters" in cell.get("metadata", {}).get("tags", []):
            cell.source = SOURCE.sub(r"\1\2", cell.source)
        for output in cell.get("outputs", []):
            if "data" in output:
                output.metadata = {}  # nbconvert writes a picture's width from there as it stands, HTML included
                output.data = {kind: shown for kind, shown in output.data.items() if _is_plain(kind, shown)}
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("data", True)]
    return notebook


def _is_plain(kind: str, shown: str) -> bool:
    return _is_plain_table(shown) if kind == "text/html" else kind in SHOWN


def _is_plain_table(html: str) -> bool:
    elements = _Elements()
    elements.feed(html)
    elements.close()
    return elements.names <= TABLE_ELEMENTS and elements.attributes <= TABLE_ATTRIBUTES


class _Elements(HTMLParser):
    """The names of all elements and attributes of a text."""

    def __init__(self):
        super().__init__()
        self.names, self.attributes = set(), set()

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_decl(self, decl):
        self.names.add(decl)

    handle_pi = unknown_decl = handle_comment = handle_decl
