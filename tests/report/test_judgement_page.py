"""The page of a judgement: it stands alone, says what was asked, and shows names from tables letter by letter."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungkeras import cli
from lungkeras.evaluation.foreign import read_foreign
from lungkeras.evaluation.foreign_cells import read_table
from lungkeras.evaluation.judgement import Judgement
from lungkeras.report.judgement import write_judgement
from lungkeras.system.errors import FolderError
from lungkeras.system.files import together, write_text

HOSTILE = '<img src=x onerror="alert(1)">&=1+1'


class Page(HTMLParser):
    """The elements of a page, with their attributes, its words, and what is left open."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.words, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words += data


def table(hostile: str = "") -> pd.DataFrame:
    """Ninety scans of forty-five patients, of a multilabel task."""
    random = np.random.default_rng(0)
    columns = {"scan": [f"/data/of/mine/{place}.png" for place in range(90)], "patient": np.repeat(np.arange(45), 2)}
    for name in (f"mass{hostile}", "nodule"):
        labels = random.integers(2, size=90)
        columns |= {f"label_{name}": labels, f"probability_{name}": (labels + 2 * random.random(90)) / 3.1}
    return pd.DataFrame(columns).assign(
        age=random.integers(20, 90, 90), sex=random.choice(["M", "F", hostile or "O"], 90)
    )


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """(the folder of a judgement of two predictors with hostile names and claims, the page)."""
    folder = tmp_path_factory.mktemp("secret-folder")
    first = table(HOSTILE)
    first.to_csv(folder / "a<b>.csv", index=False)
    noisy = first.assign(probability_nodule=np.random.default_rng(1).random(90))
    noisy.to_csv(folder / "noisy.csv", index=False)
    (folder / "claims.yaml").write_text(
        f"- id: x\n  claim: '{HOSTILE}'\n  predicate: macro_auroc of a<b> > noisy\n"
        "- id: y\n  claim: noise is as good\n  predicate: auroc(nodule) of noisy > 0.9\n"
    )
    files = [str(folder / name) for name in ("a<b>.csv", "noisy.csv")]
    assert cli.main(["judge", *files, "--claims", str(folder / "claims.yaml"), "--to", str(folder / "out")]) == 0
    return folder, (folder / "out" / "report.html").read_text(encoding="utf-8")


def test_the_page_stands_alone_and_runs_its_own_script_only(judged):
    page = Page(judged[1])
    assert page.open == []
    tags = [tag for tag, _ in page.elements]
    assert not {*tags} & {"link", "iframe", "object", "form"} and tags.count("script") == 1
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        source = attributes.get("src", "data:")
        assert source.startswith("data:")
        assert not re.match(r"\w+:|/", attributes.get("href", "#"))
    for tag, policy in (("style", "style-src"), ("script", "script-src")):
        text = re.search(f"<{tag}>(.*?)</{tag}>", judged[1], flags=re.S)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{policy} 'sha256-{digest}'" in judged[1]
        assert "a<b>" not in text and HOSTILE not in text


def test_names_are_shown_letter_by_letter_and_no_folder_is_named(judged):
    folder, text = judged
    page = Page(text)
    assert HOSTILE in page.words and "a<b>" in page.words
    assert sum(tag == "img" for tag, _ in page.elements) == 2  # the diagram, and the box in which it is enlarged
    for file in [folder / "out" / "report.html", *(folder / "out").rglob("*.csv"), *(folder / "out").rglob("*.svg")]:
        content = file.read_text(encoding="utf-8")
        assert "secret-folder" not in content and "/data/of/mine" not in content, file.name
    for file in (folder / "out" / "tables").glob("*.csv"):
        assert not re.search(r"(^|,)\"?[=+@]", file.read_text(encoding="utf-8"), flags=re.M), file.name


def test_it_says_what_was_asked_the_answer_with_its_interval_and_what_not_to_conclude(judged):
    folder, text = judged
    words = " ".join(Page(text).words.split())
    scores = pd.read_csv(folder / "out" / "tables" / "scores.csv")
    for place, row in scores.iterrows():
        phrase = "95 % interval " * (place == 0)
        assert f"{row.macro_auroc:.3f} ({phrase}{row.macro_auroc_low:.3f}–{row.macro_auroc_high:.3f})" in words
    first = ("How well do", "(95 % interval", "Nothing here shows", "All classes together")
    order = [words.index(phrase) for phrase in first]
    assert order == sorted(order)
    for phrase in ("Copies can’t be seen in a table", "No scans are marked as val", "holds 1 and fails 1"):
        assert phrase in words
    gain = pd.read_csv(folder / "out" / "tables" / "image_gain.csv").iloc[0]
    assert f"{gain.gain:.3f} ({gain.gain_low:.3f} to {gain.gain_high:.3f})" in words
    links = {attributes["href"] for tag, attributes in Page(text).elements if tag == "a"}
    for link in links - {link for link in links if link.startswith("#")}:
        assert (folder / "out" / link).is_file(), link
    assert {link[1:] for link in links if link.startswith("#")} <= {a.get("id") for _, a in Page(text).elements}


def test_the_first_page_has_a_card_per_predictor_and_five_lights(judged):
    folder, text = judged
    first = text[text.index('id="key"') : text.index('id="scores"')]
    scores = pd.read_csv(folder / "out" / "tables" / "scores.csv")
    values = re.findall(r'<p class="score"><b>(.*?)</b> <span>95 % interval (.*?) to (.*?)</span>', first)
    expected = scores[["macro_auroc", "macro_auroc_low", "macro_auroc_high"]].map("{:.3f}".format)
    assert values == [tuple(row) for row in expected.to_numpy()]
    lights = re.findall(r'<li class="(\w+)">.*?<a href="#(\w+)">(.*?)</a> <b>(.*?)</b>', first)
    assert [name for *_, name, _ in lights] == ["Patients", "Labels", "Calibration", "Image or metadata", "Thresholds"]
    phrase = {name: (level, word) for level, _, name, word in lights}
    errors = pd.read_csv(folder / "out" / "tables" / "calibration.csv").query("`class`.isna()")
    assert phrase["Patients"] == ("good", "known") and phrase["Thresholds"] == ("care", "cross-fitted")
    assert phrase["Calibration"][0] == {0: "bad", 1: "care", 2: "good"}[int((errors["ece_low"] <= 0).sum())]


def test_tables_that_a_later_judgement_does_not_have_are_removed(judged, capsys):
    folder, _ = judged
    out = folder / "again"
    table().to_csv(folder / "one.csv", index=False)
    two = [str(folder / name) for name in ("one.csv", "noisy.csv")]
    labels = table().drop(columns=["probability_mass", "probability_nodule"])
    labels.to_csv(folder / "labels.csv", index=False)
    assert cli.main(["judge", two[0], two[0], "--to", str(out)]) == 0
    assert (out / "tables" / "pairs.csv").is_file()
    assert cli.main(["judge", two[0], "--labels", str(folder / "labels.csv"), "--to", str(out)]) == 0
    assert not (out / "tables" / "pairs.csv").exists()
    assert "macro AUROC 0." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"probability_mass": 1.2}, "column 'probability_mass', row 1 (line 2 of the file)"),
        ({"label_nodule": "maybe"}, "column 'label_nodule', row 1 (line 2 of the file)"),
    ],
)
def test_a_wrong_table_is_one_sentence_and_writes_nothing(tmp_path, capsys, change, phrase):
    table().astype(object).assign(**change).to_csv(tmp_path / "a.csv", index=False)
    assert cli.main(["judge", str(tmp_path / "a.csv"), "--to", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("lungkeras: a.csv: ") and phrase in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_model_file_wants_a_source(tmp_path, capsys):
    assert cli.main(["judge", str(tmp_path / "model.onnx"), "--to", str(tmp_path / "out")]) == 1
    assert "--source DIR" in capsys.readouterr().err


def test_few_scans_of_exclusive_classes_without_patients_or_one_class_are_judged(tmp_path):
    random = np.random.default_rng(2)
    given = random.dirichlet([1, 1, 1], 12)
    few = pd.DataFrame(given, columns=["p_a", "p_b", "p_c"]).assign(image=range(12), label=list("aaabbb") * 2)
    few.to_csv(tmp_path / "few.csv", index=False)
    table()[["scan", "label_nodule", "probability_nodule"]].to_csv(tmp_path / "one.csv", index=False)
    for name in ("few", "one"):
        assert cli.main(["judge", str(tmp_path / f"{name}.csv"), "--to", str(tmp_path / name)]) == 0
        words = Page((tmp_path / name / "report.html").read_text(encoding="utf-8")).words
        assert "patients not known" in words
    rows = pd.read_csv(tmp_path / "few" / "tables" / "class_scores.csv").set_index("class")
    assert rows.loc["c", "note"] == "too few" and np.isnan(rows.loc["c", "auroc"])


def test_a_judgement_that_fails_midway_leaves_the_earlier_one_as_it_was(tmp_path, monkeypatch):
    table().to_csv(tmp_path / "mine.csv", index=False)
    judgement = Judgement(read_foreign({"mine": read_table(tmp_path / "mine.csv")}))
    folder = tmp_path / "out"

    def contents():
        return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    write_text(folder / "report.html", "an earlier page")
    write_text(folder / "tables" / "scores.csv", "earlier scores")
    write_text(folder / "tables" / "claims.csv", "earlier claims")
    before = contents()

    def fail(*_):
        raise RuntimeError("midway")

    with monkeypatch.context() as patch:
        patch.setattr("lungkeras.report.judgement.live", fail)
        with pytest.raises(RuntimeError, match="midway"):
            write_judgement(judgement, folder)
    assert contents() == before
    with monkeypatch.context() as patch:  # killed while the files move: no page stands beside other tables
        move = Path.replace
        patch.setattr(
            Path, "replace", lambda file, to: fail() if to == folder / "tables" / "scores.csv" else move(file, to)
        )
        with pytest.raises(RuntimeError, match="midway"):
            write_judgement(judgement, folder)
    assert not (folder / "report.html").exists() and not list(folder.glob(".writing-*"))
    write_judgement(judgement, folder)
    assert (folder / "report.html").is_file() and not (folder / "tables" / "claims.csv").exists()


def test_a_judgement_is_not_written_through_a_link(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    folder.mkdir()
    (folder / "tables").symlink_to(outside)
    with pytest.raises(FolderError, match="tables is a link"), together(folder, "report.html") as new:
        write_text(new / "tables" / "a.csv", "a")
    assert not list(outside.iterdir())
