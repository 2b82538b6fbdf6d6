import json
import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import synthetic
import yaml
from parsed_page import Page
from PIL import Image

from lungkeras.evaluation.paper import tables
from lungkeras.evaluation.run_tables import INTERVALS
from lungkeras.report import grid, setting_tables
from lungkeras.report import page as report
from lungkeras.report import tables as report_tables
from lungkeras.report.facts import dataset_facts
from lungkeras.report.figures import paper
from lungkeras.report.figures.files import save_figure
from lungkeras.report.page import write_report
from lungkeras.report.summary import headlines, lead
from lungkeras.study.words import run_name_title
from lungkeras.system.files import write_csv, write_json

CAPTIONS = yaml.safe_load((report.TEMPLATES / "captions.yaml").read_text(encoding="utf-8"))
FIGURES = len(set(CAPTIONS["figures"]) - set(report.OPTIONAL))
ITEMS = FIGURES + len(set(CAPTIONS["tables"]) - set(report.OPTIONAL))
EVIL = "<script>alert('\"x\"')</script>&amp;"


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("reports") / "tiny"
    return folder, synthetic.study(folder, rename=lambda name: name + EVIL)


@pytest.fixture(scope="module")
def html(study) -> str:
    folder, words = study
    return write_report(folder, **words | {"title": f"Study {EVIL}"}).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_every_element_is_closed_in_its_turn(page):
    assert not page.unclosed and not page.open


def test_a_score_may_stand_above_its_interval_where_a_table_is_too_wide_for_the_page(html):
    assert re.search(r"<span>0\.\d\d</span> <span>\(0\.\d\d–[01]\.\d\d\)</span>", html)
    assert ".number span { display: inline-block; white-space: nowrap; }" in html


def test_the_first_words_say_that_the_scans_are_drawn(page):
    main = page.text[page.text.index("Dark") :]
    assert main.startswith("Dark These are drawings, not patients. All 900 chest films were drawn by lungkeras")
    assert "they say nothing about disease" in main


def test_names_from_data_are_words_and_never_elements(page, html):
    assert EVIL in page.text
    assert html.count("<script") == 1
    assert "alert(" not in "".join(html.partition("<script>")[2:]).partition("</script>")[0]
    assert all("onerror" not in attributes and "onclick" not in attributes for _, attributes in page.elements)


def test_drawings_are_well_formed_and_hold_no_script(study):
    for path in sorted((study[0] / "figures").glob("*.svg")):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}
        assert "svg" in tags and "script" not in tags, path.name


def test_the_page_has_no_address_but_its_own_and_relative_ones(page, html):
    assert "http:" not in html and "https:" not in html and "//cdn" not in html
    foreign = {"iframe", "object", "embed", "link", "base", "form", "video", "audio", "source"}
    assert not foreign & {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        source = attributes.get("src")
        assert source is None or source.startswith("data:image/")
        assert ":" not in (attributes.get("href") or "")
        assert "style" not in attributes


def test_the_policy_allows_the_two_inlined_texts_by_their_hashes_and_images_in_the_page(page, html):
    import base64
    import hashlib

    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        text = html.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        assert f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy


def test_every_link_leads_somewhere(study, page):
    folder, words = study
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in page.all("a")]
    for link in links:
        if link.startswith("#"):
            assert link[1:] in ids, link
        elif not link.startswith("notebooks/"):
            assert (folder / unquote(link)).is_file(), link
    assert set(words["notebooks"].values()) <= set(links)
    assert {"tables/table_3.csv", "figures/figure_03.csv", "figures/figure_10.svg"} <= set(links)
    assert "runs/covid-resnet34-random/history.csv" in links


def test_all_figures_and_tables_are_there_with_their_words(page):
    images = page.all("img")
    assert len([image for image in images if image.get("src")]) == FIGURES
    assert all(len(image["alt"]) > 30 for image in images if image.get("src"))
    assert page.text.count("Reading it") == ITEMS
    for number in range(1, 11):
        assert f"Figure {number}" in page.text
    assert "Not made in this study" not in page.text


def test_alternative_texts_hold_the_numbers_of_the_figure(page):
    alternative = next(image["alt"] for image in page.all("img") if image.get("alt", "").startswith("Figure 10."))
    best = synthetic.results(synthetic.run_table()).iloc[12:]["macro_f1"].max()
    assert f"{best:.3f}" in alternative


def test_published_numbers_stand_beside_ours(page):
    results = synthetic.results(synthetic.run_table())
    for score in results["macro_f1"]:
        assert f"{score:.3f}" in page.text
    for published in ("0.784", "0.979", "0.457", "13,820", "153.9", "29,067"):
        assert published in page.text


def test_verdicts_stand_beside_those_of_the_paper(page):
    assert "Holds here: 1 Mobilenet-fastest-epoch holds 0.99 Because." in page.text
    assert "Cannot tell here: 1 Covid-transfer-best fails 0.40 Because." in page.text
    assert "Not run here: 1 Lr-0001-best not checkable – Because." in page.text
    assert "claims : of 3, 1 holds, 1 can’t be decided by these runs and 1 was not run." in page.text


def test_claims_stand_under_their_verdicts_each_with_its_own_figures():
    verdicts = ["not run", "fails", "holds", "fails"]
    ledger = pd.DataFrame({"claim": [f"claim {n}" for n in range(4)], "verdict": verdicts, "share_true": 0.5})
    ledger = ledger.assign(
        holds_in_paper=[False, True, False, True], reason=None, figures=[f"f1: {n}" for n in range(4)]
    )
    told = report_tables.claims(ledger)
    assert [body["title"] for body in told["bodies"]] == ["Holds here: 1", "Fails here: 2", "Not run here: 1"]
    rows = [[cell["text"] for cell in row] for body in told["bodies"] for row in body["rows"]]
    assert [[row[0], row[1], row[-1]] for row in rows] == [
        [f"Claim {n}", "holds" if n % 2 else "fails", f"F1: {n}."] for n in (2, 1, 3, 0)
    ]


def test_a_column_of_long_texts_has_a_least_width_and_many_intervals_stand_under_their_scores():
    frame = pd.DataFrame(
        {"name": ["a", "b" * 30], "said": ["c" * 70, ""], **{f"s{n}": "0.5 (0.4–0.6)" for n in range(5)}}
    )
    columns = [
        grid.Column(name, name, grid.NUMBER if name.startswith("s") and name != "said" else None) for name in frame
    ]
    wide = grid.grid(frame, columns)
    assert [cell["width"] for cell in wide["head"][0]] == ["phrase", "prose", *5 * [""]]
    assert wide["stacked"] and not grid.grid(frame, columns[:-1])["stacked"]


def test_groups_errors_and_other_collections_stand_as_their_tables_say(page, study):
    groups = pd.read_csv(study[0] / "tables" / "subgroups.csv").query("group == 'PA'").iloc[0]
    span = f"{groups['macro_auroc']:.2f} ({groups['macro_auroc_low']:.2f}–{groups['macro_auroc_high']:.2f})"
    assert f"PA 50 9 5 {span}" in page.text
    assert "under 18 3 9 5 too few" in page.text
    assert "view, sex, age: not recorded by the collection" in page.text
    assert "Pneumonia models on COVID-19 Normal 30 30 9 21 why" in page.text
    assert (
        "Pneumonia models on COVID-19 ResNet-34 recall of normal 21 0.700 0.600–0.800 20 0.800 0.700–0.900" in page.text
    )
    assert "Atelectasis 20 3 / 2 3 / 2" in page.text
    for name in ("class_scores", "failure_counts"):
        table = grid.TABLES[name](pd.read_csv(study[0] / "tables" / f"{name}.csv"))
        assert [row[0]["text"] for row in table["bodies"][1]["rows"]] == ["COVID-19", "Viral pneumonia", "Normal"]


def test_every_run_has_its_card_folded(page):
    assert page.text.count("Model card Model covid-resnet34-random, trained on the dataset COVID-19.") == 1
    assert page.text.count("Research and teaching: how such models are trained") == len(synthetic.run_table())


def test_explanations_stand_beside_their_baselines_and_what_cannot_be_answered_is_reported(page, study):
    assert "COVID-19 no box is known of its test scans: can’t be answered" in page.text
    located = pd.read_csv(study[0] / "tables" / "localisation.csv").fillna({"run": ""})
    for row in located[(located["class"] == "all") & (located["findings"] > 0)].itertuples():
        assert f"12 of 40 {row.hit:.2f} {row.hit_low:.2f}" in page.text
    for title in (
        "best fixed point",
        "point at random",
        "best of all maps",
        "weights randomised, Grad-CAM",
        "EfficientNet-B1, LayerCAM",
    ):
        assert title in page.text
    assert "Pneumonia: ResNet-34, 12 scans trained 1.00 0.95–1.05 0.50 1.00" in page.text
    assert f"4 × 4 {' '.join(['0.10 0.05–0.15 0.50'] * 3)} maps of other scans 0.20 – 0.30 0.20" in page.text


def test_in_bold_are_the_highest_score_and_what_does_not_differ_from_it():
    results = synthetic.run_table(("covid",), ablation=False)
    results = tables.table_3(synthetic.results(results).assign(macro_f1=[0.7, 0.9, 0.8, 0.6]))
    names = results["run"].tolist()
    pairs = pd.DataFrame({"first": [names[1], names[0], names[1]], "second": [names[0], names[2], names[2]]})
    trivial = pd.DataFrame([{"dataset": "covid", "baseline": "linear", "macro_f1": 0.95}])
    table = report_tables.table_3(
        results, trivial.reindex(columns=[*trivial, *INTERVALS[1:]]), pairs.assign(p_holm=[0.01, 0.9, 0.3])
    )
    strong = [row[0]["text"] for row in table["bodies"][0]["rows"] if row[0]["strong"]]
    assert strong == ["MobileNetV3-Large", "EfficientNet-B1"]
    assert [row[0]["text"] for row in table["bodies"][0]["rows"]][-1] == "linear model on the pixels"


def test_the_highest_score_is_named_with_what_does_not_differ_from_it():
    results = tables.table_3(synthetic.results(synthetic.run_table(("covid",), ablation=False)))
    beside = tables.baselines(results, {"covid": 0.5}, synthetic.best_of(results))
    top, *others = results.sort_values("macro_f1", ascending=False)["run"]
    pairs = pd.DataFrame({"first": top, "second": others, "p_holm": [0.5, 0.01, 0.01]})
    row = headlines(beside, results, pairs)[0]
    assert row["alike"] == f"Not significantly different from {run_name_title(others[0])}."
    low, high = results.set_index("run").loc[top, ["macro_f1_low", "macro_f1_high"]]
    assert row["interval"] == f"{low:.3f} to {high:.3f}"
    assert (
        headlines(beside, results, pairs.assign(p_holm=0.01))[0]["alike"]
        == "All other models differ significantly from it."
    )
    assert headlines(beside, results)[0]["alike"] == ""


def test_the_backends_are_compared_where_they_were_measured_and_not_a_word_where_not(page, tmp_path):
    assert "How much the backends differ" not in page.text
    frame = pd.DataFrame(
        [["resnet34", "torch", "tensorflow", 45, 20, 2.1e-6, 1.0, 3.4e-4]],
        columns=["backbone", "backend", "reference", "scans", "steps", "logits", "grey_levels", "losses"],
    )
    write_csv(tmp_path / "tables" / "parity.csv", frame)
    path = write_report(tmp_path, title="t", settings={}, datasets=[], versions={"keras": "3"})
    text = Page(path.read_text(encoding="utf-8")).text
    assert "How much the backends differ" in text
    assert "ResNet-34" in text
    assert "torch tensorflow 45 2e-06 1 0.0003 20" in text


def test_headings_of_tables_have_a_scope_and_every_row_has_a_head(page):
    assert all("scope" in heading for heading in page.all("th"))
    assert {heading["scope"] for heading in page.all("th")} == {"col", "colgroup", "row", "rowgroup"}
    assert len(page.all("caption")) == len(page.all("table"))


def test_quarantine_is_counted_and_listed(page):
    assert "1 in quarantine (1 Normal)" in page.text
    assert "broken.png" in page.text and "an empty file" in page.text


def test_the_page_is_readable_by_machines_for_people(page):
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("main") and page.all("nav")[0]["aria-label"] == "Contents"
    levels = [int(tag[1]) for tag, _ in page.elements if tag in {"h1", "h2", "h3", "h4"}]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_writing_the_report_again_gives_the_same_bytes(study, html):
    folder, words = study
    assert write_report(folder, **words | {"title": f"Study {EVIL}"}).read_text(encoding="utf-8") == html


def test_an_empty_study_says_what_is_absent(tmp_path):
    path = write_report(tmp_path, title="Nothing yet", settings={}, datasets=[], versions={})
    page = Page(path.read_text(encoding="utf-8"))
    assert page.text.count("Not made in this study.") == ITEMS - 1  # the checklists are there in any study
    assert "No run of this study has finished yet." in page.text


def test_a_study_of_real_scans_says_how_few_there_are():
    facts = {"dataset": "covid", "drawn": False, "scans": {"train": 58, "val": 12, "test": 13}}
    words = lead([facts])
    assert words["strong"] == "83 real scans, where the published study had 8,500." and not words["drawn"]
    assert "COVID-19 83 (the paper 8,500)" in words["text"]
    assert "13 scans, so that one scan is worth 7.7%: the scores say little" in words["text"]


def test_a_whole_collection_is_not_called_few():
    facts = {"dataset": "covid", "drawn": False, "scans": {"train": 5900, "val": 1270, "test": 1270}}
    words = lead([facts])
    assert words["strong"] == "8,440 real scans." and "say little" not in words["text"]


def test_a_mixed_study_names_what_is_drawn():
    split = {"train": 70, "val": 15, "test": 15}
    words = lead(
        [{"dataset": "covid", "drawn": False, "scans": split}, {"dataset": "xray8", "drawn": True, "scans": split}]
    )
    assert words["drawn"] and "ChestX-ray8 are drawings" in words["strong"]
    assert "Real are COVID-19 100" in words["text"]


def test_a_link_never_has_a_scheme_or_leaves_its_attribute():
    assert report.link("javascript:alert(1)") == "javascript%3Aalert%281%29"
    assert report.link('a "b" <c>.ipynb') == "a%20%22b%22%20%3Cc%3E.ipynb"


def test_an_anchor_holds_no_mark_that_ends_an_attribute():
    assert grid.anchor('a b"<c>-lr0.05') == "run-a-b--c--lr0.05"


def test_saved_figures_are_whole_equal_files_that_carry_their_description(tmp_path):
    results = synthetic.results(synthetic.run_table()).iloc[12:].rename(columns={"learning_rate": "rate"})
    for folder in ("one", "two"):
        save_figure(paper.ablation_bars(results), tmp_path / folder, 10, results)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "figure_10.csv",
        "figure_10.png",
        "figure_10.svg",
    ]
    for kind in ("png", "svg"):
        one, two = ((tmp_path / folder / f"figure_10.{kind}").read_bytes() for folder in ("one", "two"))
        assert one == two
    with Image.open(tmp_path / "one" / "figure_10.png") as image:
        assert image.info["Description"].startswith("Test macro F1 by initial learning rate: 0.001: ")
    assert "Test macro F1 by initial" in (tmp_path / "one" / "figure_10.svg").read_text(encoding="utf-8")


def test_large_photographs_are_embedded_smaller_than_their_png(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (600, 600), dtype=np.uint8)
    path = save_figure(paper.sample_scans({"covid": {"covid": noise, "normal": noise}}), tmp_path, 1, dpi=300)
    found = report.embedded(path)
    assert found["uri"].startswith("data:image/webp;base64,")
    assert len(found["uri"]) < path.stat().st_size
    assert found["description"].startswith("One scan of each class")


def test_dataset_facts_are_read_from_a_prepared_folder(tmp_path):
    known = {
        "dataset": "covid",
        "task": "multiclass",
        "classes": ["a"],
        "size": 64,
        "mean": 1.0,
        "std": 2.0,
        "absent": 3,
    }
    write_json(tmp_path / "statistics.json", known | {"scans": {"train": 7, "val": 2, "test": 1}, "quarantined": 1})
    write_csv(
        tmp_path / "quarantine.csv",
        pd.DataFrame({"scan": ["a.png"], "reason": ["/somewhere/covid/a.png: empty"], "classes": ["mass nodule"]}),
    )
    write_csv(tmp_path / "flow.csv", pd.DataFrame({"step": ["found"], "scans": [11]}))
    facts = dataset_facts(tmp_path, drawn=True)
    assert facts["quarantine"] == [{"scan": "a.png", "reason": "empty", "classes": "mass nodule"}]
    assert facts["quarantined"] == {"mass": 1, "nodule": 1}
    assert facts["flow"] == [["found", 11]] and facts["absent"] == 3 and facts["drawn"]


def test_a_run_with_undefined_scores_shows_dashes(tmp_path):
    test = {"macro_f1": 0.5, "macro_auroc": None, "loss": None, "per_class": {"covid": {"f1": 0.5, "auroc": None}}}
    write_json(tmp_path / "runs" / "covid-resnet34-random" / "metrics.json", {"test": test, "best_epoch": 1})
    path = write_report(tmp_path, title="One run", settings={}, datasets=[], versions={})
    text = Page(path.read_text(encoding="utf-8")).text
    assert "test macro F1 0.500, macro AUROC –, loss –; best epoch 1" in text
    assert "COVID-19: ResNet-34" in text


def test_captions_name_every_item_once():
    words = CAPTIONS
    listed = [item for section in words["sections"] for item in section["items"]]
    assert sorted(listed) == sorted([*words["tables"], *words["figures"], *words["of_each_dataset"]])
    entries = words["tables"] | words["figures"]
    assert all(
        set(entry) - {"label", "elsewhere"} == {"title", "shows", "reading", "paper"} for entry in entries.values()
    )
    assert all("label" in entry or name[-1].isdigit() for name, entry in entries.items())
    assert json.dumps(words, ensure_ascii=False).count("'") == 0


def test_words_for_other_collections_do_not_speak_of_the_paper(tmp_path):
    words = report.read_captions(tmp_path, ["mine"], of_the_paper=False)
    absent = {"transfer", "prevalence", "published_auroc", "claims", "figure_04", "figure_05", "figure_06"}
    absent |= {"figure_07", "figure_08", "parity", "devices"}  # not made, or of the paper's collections alone
    shown = {name: entry for kind in ("tables", "figures", "of_each_dataset") for name, entry in words[kind].items()}
    shown |= {section["id"]: {"text": section["text"]} for section in words["sections"] if section["id"] != "ledger"}
    for name, entry in shown.items():
        text = " ".join(entry.values())
        found = [word for word in ("aper’s", " paper", "ChestX", "COVID", "Wang") if word in text]
        assert name in absent or not found, name
    assert '"elsewhere":' not in json.dumps(words)


def test_a_report_without_a_collection_of_the_paper_has_no_published_columns():
    frame = pd.DataFrame(
        {"dataset": ["mine"], "difference": [0.1], "published_macro_f1": [None], "published_weights": [""]}
    )
    assert list(report_tables.without_published(frame)) == ["dataset"]
    assert list(report_tables.without_published(frame.drop(columns="published_weights"))) == ["dataset", "difference"]
    (body,) = setting_tables.settings({"batch_size": 32}, ["mine"])["bodies"]
    assert [cell["text"] for cell in body["rows"][0]] == ["batch size", "32"]


def test_a_setting_that_differs_from_the_papers_says_why():
    ours = {"batch_size": 32, "learning_rate": 0.003, "beta_2": 0.99, "clip_norm": None, "dropout": False, "seed": 1}
    (body,) = setting_tables.settings(ours, ["covid"])["bodies"]
    assert [row[0]["text"] for row in body["rows"] if row[-1]["text"]] == ["learning rate", "beta 2", "dropout"]
