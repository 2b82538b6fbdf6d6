"""Model cards: every number is that of a table, what is missing is reported, and names from data stay words."""

from html.parser import HTMLParser

import mistune
import numpy as np
import pandas as pd
import pytest
import synthetic
import yaml

from lungkeras.report import model_card
from lungkeras.system.files import write_csv, write_json, write_text
from lungkeras.system.text import markdown_text

EVIL = "<img src=x onerror=alert(1)>|[a](http://x.example)`b`\n# c **d** &lt; www.x.example"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study's tables as synthetic numbers, and the folder of a run; returns (folder, facts of its datasets)."""
    folder = tmp_path_factory.mktemp("study")
    runs = synthetic.run_table()
    scored = synthetic.results(runs).assign(test_patients=33)
    for name, table in {**synthetic.evidence(runs.iloc[:12]), "table_3": scored}.items():
        write_csv(folder / "tables" / f"{name}.csv", table)
    counts = {"dataset": "xray8", "class": ["mass", "all scans"], "train": [70, 1210], "val": 15, "test": 15}
    write_csv(folder / "tables" / "table_1.csv", pd.DataFrame(counts).assign(total=[100, 1240]))
    for name in runs["run"]:
        _run(folder / "runs" / name, runs.set_index("run").loc[name])
    facts = [
        {"dataset": name, "drawn": True, "size": 64, "made_from": {"sources": "f00d"}} for name in synthetic.CLASSES
    ]
    return folder, facts


def _run(folder, row) -> None:
    params = {
        "dataset": row["dataset"],
        "backbone": row["backbone"],
        "weights": row["weights"],
        "runs": "reports/a b/runs",
    }
    write_text(folder / "params.yaml", yaml.safe_dump(params))
    write_json(folder / "metrics.json", {"task": "multiclass", "best_epoch": 4, "classes": ["a", EVIL]})
    made_from = {"params": "a1", "prepared": "b2", "weights": "random", "code": "c3"}
    write_json(folder / "fingerprint.json", {"made_from": made_from, "results": {"best.keras": "d4"}})


def part(parts: list[model_card.Part], title: str) -> model_card.Part:
    return next(part for part in parts if part.title == title)


def test_every_run_has_a_card_with_every_part(study):
    folder, facts = study
    paths = model_card.write_cards(folder, facts)
    assert set(paths) == set(synthetic.run_table()["run"])
    for run, parts in model_card.cards(folder, facts).items():
        text = paths[run].read_text(encoding="utf-8")
        assert all(f"## {part.title}\n" in text for part in parts)
        assert all(part.text or part.table is not None for part in parts)
    assert {"Intended use", "Out of scope", "Training data", "Hashes", "Scores", "Scores by group", "Calibration"} <= {
        part.title for part in parts
    }


def test_numbers_are_those_of_the_tables(study):
    folder, facts = study
    run = "xray8-resnet34-random"
    parts = model_card.cards(folder, facts)[run]
    row = pd.read_csv(folder / "tables" / "table_3.csv").set_index("run").loc[run]
    scores = part(parts, "Scores")
    span = f"{row['macro_f1']:.3f} ({row['macro_f1_low']:.3f}–{row['macro_f1_high']:.3f})"
    assert f"macro F1 {span}" in scores.text[0] and "60 scans of 33 patients" in scores.text[0]
    classes = pd.read_csv(folder / "tables" / "class_scores.csv").query("run == @run")
    assert scores.table["Class"].str.lower().tolist() == [name.replace("_", " ") for name in classes["class"]]
    for shown, low in zip(scores.table["AUROC"], classes["auroc_low"], strict=True):
        assert f"({low:.3f}–" in shown
    calibrated = pd.read_csv(folder / "tables" / "calibration.csv").set_index("run").loc[run]
    assert f"{calibrated['ece_scaled']:.3f}" in part(parts, "Calibration").text[0]
    groups = part(parts, "Scores by group")
    own = pd.read_csv(folder / "tables" / "subgroups.csv").query("run == @run")
    assert groups.table["Scans"].tolist() == [str(scans) for scans in own["scans"].astype(int)]
    assert f"{own['macro_auroc'].iloc[0]:.3f} (" in groups.table["Macro AUROC"][0]
    assert groups.table["Macro F1"].iloc[-1] == "too few"
    errors = part(parts, "Errors").table
    assert errors["Missed"].tolist() == ["3"] * 7
    assert part(parts, "Training data").table["Train"].tolist() == ["70", "1,210"]


def test_another_collection_is_scored_or_the_reason_given(study):
    folder, facts = study
    cards = model_card.cards(folder, facts)
    asked = part(cards["pneumonia-resnet34-random"], "On another collection")
    assert "21 of 30 scans can be used" in asked.text[0]
    assert asked.table["Measure"].tolist() == ["recall of normal"] and "0.700 (0.600–0.800)" in asked.table["There"][0]
    assert part(cards["xray8-resnet34-random"], "On another collection").text == ("Not tested: no class is shared.",)
    unrecorded = part(cards["covid-resnet34-random"], "Scores by group")
    assert unrecorded.text[0].startswith("The collection does not record view, sex, age") and unrecorded.table.empty


def test_hashes_the_drawings_and_the_command_are_there(study):
    folder, facts = study
    parts = model_card.cards(folder, facts)["covid-resnet34-random"]
    assert set(part(parts, "Hashes").table["SHA-256"]) == {"f00d", "b2", "a1", "c3", "d4"}
    assert model_card.DRAWN in part(parts, "Caveats").text and model_card.DRAWN in part(parts, "Training data").text
    code = part(parts, "How to reproduce it").code
    assert code[0] == "lungkeras train --params 'reports/a b/runs/covid-resnet34-random/params.yaml'"
    real = [entry | {"drawn": False} for entry in facts]
    assert model_card.DRAWN not in part(model_card.cards(folder, real)["covid-resnet34-random"], "Caveats").text


def test_a_run_of_the_ablation_says_what_was_not_worked_out(study):
    folder, facts = study
    parts = model_card.cards(folder, facts)["covid-efficientnet_b1-random-lr0.1"]
    assert part(parts, "Calibration").text == (model_card.NOT_THERE,)
    assert part(parts, "Errors").text == (model_card.NOT_THERE,)


class Elements(HTMLParser):
    def __init__(self, html: str):
        super().__init__()
        self.names, self.words, self.cells = set(), "", 0
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.names.add(tag)

    def handle_data(self, data):
        self.words += data


def test_names_from_data_are_words_in_a_markdown_viewer(study):
    folder, facts = study
    render = mistune.create_markdown(escape=False, plugins=["table", "url", "strikethrough"])
    text = model_card.write_cards(folder, facts)["covid-resnet34-random"].read_text(encoding="utf-8")
    page = Elements(render(text))
    assert page.names <= {"h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "pre", "code"}
    assert "<img src=x onerror=alert(1)>|[a](http://x.example)`b`\\n# c **d** &lt; www.x.example" in page.words
    alone = Elements(render(markdown_text(EVIL)))
    assert alone.names == {"p"}


def test_without_any_table_a_card_still_says_what_it_is_for(tmp_path):
    write_json(tmp_path / "runs" / "covid-resnet34-random" / "metrics.json", {"classes": [], "best_epoch": np.nan})
    parts = model_card.cards(tmp_path)["covid-resnet34-random"]
    assert part(parts, "Intended use").text == (model_card.INTENDED,)
    assert part(parts, "Scores").text == part(parts, "Hashes").text == (model_card.NOT_THERE,)
