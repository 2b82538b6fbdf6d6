"""The widget without a browser: its controls are set, and what it then shows is read."""

import dataclasses

import boxed_study as study
import numpy as np
import pytest
from drawn_runs import findings_run

from lungkeras.explanation.embedding import features
from lungkeras.explanation.gradcam import cuts, grad_cam, layer_cam, overlay
from lungkeras.report import explored_scans, exploring
from lungkeras.report.display import scan_picture
from lungkeras.scores import metrics
from lungkeras.study.runs import split_of
from lungkeras.system.errors import ParamsError, RunError

pytest.importorskip("ipywidgets", reason="needs lungkeras[jupyter]")
ACROSS, DOWN, NONE = study.CLASSES


@pytest.fixture(scope="module")
def parts():
    models, runs, prepared, _ = study.boxed_study()
    model, run = models[study.NAME], runs[study.NAME]
    # One answer is made wrong, and surer than any other: class 0, answered as class 1.
    predictions = run.predictions.reset_index(drop=True)
    place = predictions.index[predictions["scan"] == "test-0.png"][0]
    predictions.loc[place, [f"probability_{name}" for name in study.CLASSES]] = 1e-9, 1 - 2e-9, 1e-9
    return dataclasses.replace(run, predictions=predictions), model, prepared


@pytest.fixture
def explorer(parts):
    run, model, prepared = parts
    return exploring.explore(run, model=model, prepared=prepared)


def listed(explorer) -> list[tuple[str, int]]:
    return [value for _, value in explorer.controls["scan"].options]


def test_it_opens_on_the_first_test_scan_and_shows_it_whole(explorer, parts):
    _, model, prepared = parts
    assert explorer.controls["scan"].value == ("test", 0) and len(listed(explorer)) == study.COUNTS["test"]
    shown = explorer.shown
    assert shown.title == "test-0.png" and "wrong" in shown.lines[0]
    (step, heat), neighbours = shown.pictures, shown.small
    assert step == scan_picture(prepared.images["test"][0], "The scan, resized", "resized, 32 × 32")
    expected = grad_cam(model, prepared.images["test"][:1], 1)[0]
    assert heat.uri == scan_picture(overlay(prepared.images["test"][0], expected), "").uri
    assert len(neighbours) == explored_scans.NEIGHBOURS
    assert [row[1] for row in shown.tables[0].rows] == ["yes", "no", "no"]
    assert [row[3] for row in shown.tables[0].rows] == ["0.000", "1.000", "0.000"]
    assert explorer.page.value == shown.html and "http" not in shown.html
    assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_()


def test_a_class_chooses_its_scans(explorer):
    explorer.controls["true"].value = DOWN
    assert listed(explorer) == [("test", place) for place in range(1, 90, 3)]
    assert explorer.controls["scan"].value == ("test", 1) and explorer.shown.title == "test-1.png"
    explorer.controls["true"].value = ACROSS
    explorer.controls["predicted"].value = DOWN
    assert ("test", 0) in listed(explorer)
    explorer.controls["split"].value = "val"
    assert all(split == "val" for split, _ in listed(explorer))


def test_errors_come_most_confident_first_and_all_of_them(explorer, parts):
    explorer.controls["which"].value = "errors, most confident first"
    labels, given = split_of(parts[0], "test")
    wrong = np.flatnonzero((metrics.decide(given, "multiclass") != labels).any(axis=1))
    assert listed(explorer)[0] == ("test", 0)
    assert sorted(place for _, place in listed(explorer)) == wrong.tolist()
    explorer.controls["which"].value = "right answers, least confident first"
    assert len(listed(explorer)) == len(labels) - len(wrong)


def test_a_file_is_found_by_part_of_its_name_and_no_match_is_reported(explorer):
    explorer.controls["file"].value = "TEST-77"
    assert listed(explorer) == [("test", 77)] and explorer.shown.title == "test-77.png"
    assert explorer.found.value == "1 of 90 scans"
    explorer.controls["file"].value = "(no such"
    assert listed(explorer) == [] and "No scan" in explorer.page.value
    explorer.controls["file"].value = ""
    assert explorer.shown.title == "test-0.png"


def test_method_layer_and_class_change_the_heat_map(explorer, parts):
    _, model, prepared = parts
    before, scan = explorer.shown.pictures[1], prepared.images["test"][:1]
    explorer.controls["method"].value = "layer_cam"
    first = cuts(model)[0].name
    explorer.controls["layer"].value = first
    explorer.controls["explained"].value = ACROSS
    expected = overlay(scan[0], layer_cam(model, scan, 0, layer=first)[0])
    assert explorer.shown.pictures[1].uri == scan_picture(expected, "").uri != before.uri
    assert "LayerCAM" in explorer.shown.pictures[1].caption


def test_neighbours_are_those_of_all_training_scans_and_never_the_scan_itself(parts):
    run, model, prepared = parts
    exploration = explored_scans.Exploration(run, model, prepared)
    vectors = features(model, prepared.images["train"])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors[5]
    cosines[5] = -2
    found = exploration.neighbours("train", 5)
    np.testing.assert_allclose([cosine for _, cosine in found], np.sort(cosines)[::-1][:6], atol=1e-5)
    assert 5 not in [place for place, _ in found]


def test_answers_to_findings_are_wrong_by_known_labels_alone():
    run = findings_run(labels=[[1, 0], [1, np.nan], [0, 1]], given=[[0.9, 0.8], [0.7, 0.6], [0.2, 0.9]])
    found = explored_scans.answered(run, "test")
    assert found["wrong"].tolist() == [True, False, False]
    np.testing.assert_allclose(found["confidence"], [0.8, 0.6, 0.8], atol=1e-6)


def test_what_does_not_fit_is_refused_in_a_sentence(parts, tmp_path):
    run, model, prepared = parts
    exploration = explored_scans.Exploration(run, model, prepared)
    with pytest.raises(ParamsError, match="method: expected one of grad_cam"):
        exploration.look("test", 0, method="magic")
    with pytest.raises(ParamsError, match="explained: expected one of"):
        exploration.look("test", 0, explained="fracture")
    other = dataclasses.replace(prepared, records=prepared.records.assign(scan="another"))
    with pytest.raises(RunError, match="other scans"):
        exploring.explore(run, model=model, prepared=other)
    with pytest.raises(RunError, match="not a finished run"):
        exploring.explore(tmp_path)


def test_a_name_is_text_and_no_html(parts):
    run, model, prepared = parts
    name = "<script>alert(1)</script>.png"
    predictions = run.predictions.assign(scan=run.predictions["scan"].replace("test-0.png", name))
    records = prepared.records.assign(scan=prepared.records["scan"].replace("test-0.png", name))
    explorer = exploring.explore(
        dataclasses.replace(run, predictions=predictions),
        model=model,
        prepared=dataclasses.replace(prepared, records=records),
    )
    assert "<script" not in explorer.page.value and "&lt;script&gt;" in explorer.page.value
