"""Names that come from outside do nothing: not in the report, the notebooks' pages, a spreadsheet or a terminal."""

import csv
import http.server
import json
import os
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pandas as pd
import pytest
import synthetic
from layouts import write_covid

from lungkeras.datasets.registry import read_records
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.report.facts import dataset_facts
from lungkeras.report.figures import files, paper
from lungkeras.report.notebook_pages import notebook_pages
from lungkeras.report.page import write_report
from lungkeras.system.errors import RunError
from lungkeras.system.files import write_csv, write_json
from lungkeras.system.text import csv_cell, printable

DRAWINGS = ["sample_scans", "preprocessing_effect", "learning_curves", "transfer_curves", "ablation_curves"]
DRAWINGS += ["ablation_bars", "embeddings_and_confusions", "grad_cams"]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
browser_needed = pytest.mark.skipif(BROWSER is None, reason="no chromium to open the pages in")


def payloads(address: str) -> str:
    """Words that try to become elements of class foreign, to run, or to fetch `address`."""
    act = f"document.title='pwned';new Image().src='{address}/ran'"
    return (
        f'"><img class=foreign src={address}/img onerror="{act}">'
        f"</script><script class=foreign>{act}</script></style><style class=foreign>@import '{address}/css';</style>"
        f'</title><svg class=foreign onload="{act}"><iframe class=foreign src={address}/frame></iframe>'
        f'<a class=foreign href="javascript:{act}">x</a><link class=foreign rel=stylesheet href={address}/link>'
        f'<base class=foreign href={address}/><meta class=foreign http-equiv=refresh content="0;url={address}/meta">'
        "' onmouseover='x' {{7*7}} {% raw %} ${7*7} &lt;b&gt; \u202eevil"
    )


@pytest.fixture(scope="module")
def listening():
    """The address of a server that others might be made to ask, and the list of what was asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}", asked
        listening.shutdown()


@pytest.fixture
def server(listening):
    listening[1].clear()
    return listening


class Page(HTMLParser):
    """What a browser made of a page: its elements, and what of it is not the template's."""

    def __init__(self, html: str):
        super().__init__()
        self.elements = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def count(self, is_so) -> int:
        return sum(bool(is_so(tag, attributes)) for tag, attributes in self.elements)

    @property
    def foreign(self) -> int:
        return self.count(lambda tag, attributes: attributes.get("class") == "foreign")

    @property
    def handlers(self) -> int:
        return self.count(lambda tag, attributes: any(name.startswith("on") for name in attributes))

    @property
    def outside(self) -> int:
        addresses = ("src", "href", "action", "data", "poster", "srcset")
        return self.count(
            lambda tag, attributes: any(
                (attributes.get(name) or "").strip().lower().startswith(("http:", "https:", "//", "javascript:"))
                for name in addresses
            )
        )


def opened(path: Path, folder: Path) -> str:
    """The page as it stands once a browser has opened it and waited."""
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'browser'}"]
    command += ["--virtual-time-budget=2000", "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(scope="module")
def hostile_report(listening, tmp_path_factory) -> Path:
    evil, folder = payloads(listening[0]), tmp_path_factory.mktemp("hostile") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "save_figure", lambda *_, **__: None)
        for draw in DRAWINGS:
            patch.setattr(paper, draw, lambda *_, **__: None)
        words = synthetic.study(folder, rename=lambda name: name + evil)
    for params in folder.glob("runs/*/params.yaml"):
        params.write_text(params.read_text() + json.dumps(evil)[1:-1].join(['note: "', '"\n']))
    return write_report(
        folder,
        **words
        | {
            "title": evil,
            "notes": [evil],
            "settings": {evil: evil},
            "versions": {evil: evil},
            "notebooks": {evil: f"notebooks/{evil}", "x": f"javascript:{evil}", "y": "http://outside"},
        },
    )


def test_the_report_holds_hostile_names_as_words_alone(hostile_report):
    html = hostile_report.read_text(encoding="utf-8")
    page = Page(html)
    assert "class=foreign" in html, "the names are there"
    assert "{{7*7}}" in html.partition("<title>")[2].partition("</title>")[0]
    assert (page.foreign, page.handlers, page.outside) == (0, 0, 0)


@browser_needed
def test_a_browser_finds_nothing_foreign_in_the_report(hostile_report, server, tmp_path):
    page = Page(opened(hostile_report, tmp_path))
    assert (page.foreign, page.handlers, page.outside) == (0, 0, 0)
    assert page.count(lambda tag, _: tag == "script") == 1
    assert server[1] == []


@browser_needed
def test_the_same_words_do_harm_where_they_are_not_escaped(server, tmp_path):
    path, evil = tmp_path / "naive.html", payloads(server[0]).replace("refresh", "x")  # else the page would be gone
    path.write_text(f'<!DOCTYPE html><html><head><title>x</title></head><body><p title="{evil}">')
    page = Page(opened(path, tmp_path))
    assert page.foreign > 0 and page.handlers > 0 and page.outside > 0
    assert "/ran" in server[1] and "/img" in server[1]


@browser_needed
def test_a_browser_runs_and_fetches_nothing_from_the_page_of_a_notebook(server, tmp_path):
    evil = payloads(server[0])
    table = pd.DataFrame({evil: [evil]})
    outputs = [
        nbformat.v4.new_output("stream", text=evil),
        nbformat.v4.new_output("execute_result", {"text/html": table.to_html(), "text/plain": evil}),
        nbformat.v4.new_output("execute_result", {"text/html": evil}),  # what no cell of ours gives
        nbformat.v4.new_output("execute_result", {"application/javascript": f"new Image().src='{server[0]}/ran'"}),
        nbformat.v4.new_output("error", ename="E", evalue=evil, traceback=[evil]),
    ]
    cells = [nbformat.v4.new_code_cell(f"title = {evil!r}", outputs=outputs)]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / "03_evaluation.ipynb")
    page = tmp_path / notebook_pages(tmp_path)["03_evaluation"]
    dom = opened(page, tmp_path)
    found = Page(dom)
    assert "<title>Notebook" in dom and 'class="dataframe"' in dom
    assert (found.foreign, found.handlers, found.count(lambda tag, _: tag == "script")) == (0, 0, 0)
    assert server[1] == []


HOSTILE_NAMES = [
    b"=HYPERLINK(1).png", b"+1.png", b"-1.png", b"@SUM(1).png", b"a\x1b[2Jb.png", b"a\nb.png", b"a\rb.png",
    "\u202egnp.png".encode(), b"\xff\xfe.png", b'"><img src=x onerror=alert(1)>.png', b"'; DROP TABLE scans;.png",
    b"{{7*7}}.png", b"$(touch canary).png", b"a,b.png", "漢é.png".encode(), b"x" * 251 + b".png", b"%s%n.png",
]  # fmt: skip


@pytest.fixture
def hostile_source(tmp_path) -> Path:
    """A covid source whose files of hostile names are half whole and half cut short."""
    source = write_covid(tmp_path / "source", normals=3)
    folder = next(source.rglob("*/COVID/images"))
    whole = cv2.imencode(".png", np.arange(400, dtype=np.uint8).reshape(20, 20))[1].tobytes()
    for place, name in enumerate(HOSTILE_NAMES):
        for content, prefix in ((whole, b""), (whole[:-9], b"")):
            target = os.path.join(os.fsencode(folder), prefix + name)
            if place % 2 == (content is whole):
                with open(target, "wb") as file:
                    file.write(content)
    return source


def acts(text: str) -> bool:
    return printable(text) != text


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"cells": 1}', '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"id": "<b>"}]}'],
)
def test_a_file_that_is_no_notebook_is_a_sentence(content, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "02_training-a.ipynb").write_text(content)
    with pytest.raises(
        RunError, match=r"02_training-a\.ipynb is not a notebook as Jupyter writes it \(.*\): remove it"
    ):
        notebook_pages(tmp_path)


def test_the_size_of_a_picture_brings_no_html(tmp_path):
    size = {
        "image/png": {"width": '1"><meta http-equiv=refresh content="0;url=http://evil">', "height": '1" onload="x'}
    }
    picture = {"output_type": "display_data", "data": {"image/png": "QUJD"}, "metadata": size}
    cell = {"cell_type": "code", "execution_count": 1, "source": "", "metadata": {}, "outputs": [picture]}
    (tmp_path / "notebooks").mkdir()
    write_json(
        tmp_path / "notebooks" / "02_training-a.ipynb",
        {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [cell]},
    )
    notebook_pages(tmp_path)
    page = (tmp_path / "notebooks" / "02_training-a.html").read_text()
    assert "QUJD" in page and "http://evil" not in page and 'onload="x' not in page


def test_scans_of_hostile_names_are_prepared_or_listed_and_shown_harmless(hostile_source, tmp_path, injected):
    records = read_records("covid", hostile_source)
    assert len(records) == 3 + len(HOSTILE_NAMES) + 2 + 3
    prepare_dataset("covid", hostile_source, tmp_path / "prepared", size=32)
    prepared = pd.read_parquet(tmp_path / "prepared" / "records.parquet")
    text = (tmp_path / "prepared" / "quarantine.csv").read_text(encoding="utf-8")
    with (tmp_path / "prepared" / "quarantine.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert len(prepared) + len(rows) == len(records)
    assert len(rows) >= len(HOSTILE_NAMES) // 2
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@")) or acts(cell)]
    assert "\x1b" not in text and not prepared["scan"].map(acts).any()
    facts = dataset_facts(tmp_path / "prepared", drawn=False)
    assert len(facts["quarantine"]) == len(rows)
    assert not (tmp_path / "canary").exists() and not Path("canary").exists()
    injected("scans of hostile names", len(HOSTILE_NAMES))


def test_predict_answers_for_scans_of_hostile_names_and_lists_the_failed(hostile_source, tmp_path, capfd, monkeypatch):
    import keras

    from lungkeras import cli
    from lungkeras.models.files import save_model

    scans = keras.Input((32, 32, 1), dtype="uint8")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(scans))
    save_model(keras.Model(scans, keras.layers.Dense(3, name="logits")(x)), tmp_path / "model.keras")
    folder = next(hostile_source.rglob("*/COVID/images"))
    monkeypatch.chdir(folder)
    stated = sorted(os.listdir("."), key=os.fsencode)
    for output in ([], ["--json"], ["--csv", str(tmp_path / "answers.csv")]):
        assert cli.main(["predict", str(tmp_path / "model.keras"), *(f"./{name}" for name in stated), *output]) == 1
        shown = capfd.readouterr()
        failed = [line for line in shown.err.splitlines() if "cut short" in line]
        assert len(failed) == (len(HOSTILE_NAMES) + 1) // 2
        assert "\x1b" not in shown.out + shown.err and "\u202e" not in shown.out + shown.err
        if output == ["--json"]:
            assert len(json.loads(shown.out)["predictions"]) == len(stated) - len(failed)
    answers = pd.read_csv(tmp_path / "answers.csv")
    assert len(answers) == len(stated) - len(failed)


def test_csv_cells_are_not_formulas_and_numbers_stay(tmp_path):
    texts = ["=1+1", "+1", "-1", "@x", "a\tb", "\rx", "plain", "", "-", None]
    frame = pd.DataFrame({"=name": texts, "number": np.linspace(-1, 1, 10), "whole": range(-5, 5), "yes": [True] * 10})
    write_csv(tmp_path / "table.csv", frame)
    found = pd.read_csv(tmp_path / "table.csv", keep_default_na=False)
    assert found["'=name"].tolist() == ["'=1+1", "'+1", "'-1", "'@x", "a\\tb", "\\rx", "plain", "", "'-", ""]
    np.testing.assert_allclose(found["number"], frame["number"])
    assert found["whole"].tolist() == list(range(-5, 5)) and found["yes"].all()
    assert csv_cell(-1.5) == -1.5


def test_ordinary_text_is_not_changed():
    for text in ("scan 1.png", "漢字é.png", "person1_bacteria_2.jpeg", "œuvre–2", "a/b\\c", "😀"):
        assert printable(text) == text
    assert printable("a\nb\x1b\x07\u2028\udcff\u200d") == "a\\nb\\x1b\\x07\\u2028\\udcff\\u200d"
