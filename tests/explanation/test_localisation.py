"""Maps against boxes: closed forms, baselines that are known, and models that point where they must or nowhere."""

import functools

import keras
import numpy as np
import pandas as pd
import pytest
from boxed_study import boxed_study, learn, small_network
from prepared_data import boxes_of, prepared_of

from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.datasets.phantoms.truth import read_truth
from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.evaluation.comparison import macro_scores
from lungkeras.explanation import localisation, pointing, randomisation
from lungkeras.explanation.boxed_findings import boxed_findings, load_boxes
from lungkeras.explanation.gradcam import heat_maps
from lungkeras.preparation.folder import load_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.scores import metrics
from lungkeras.training.outputs import predict_logits


def test_the_prior_is_learned_on_other_splits_and_points_to_most_of_their_boxes():
    prepared = prepared_of({"train": ["effusion"] * 3, "val": ["mass"], "test": ["effusion mass", "effusion"]})
    boxes = boxes_of(
        ("train-0.png", "effusion", 0.0, 0.0, 0.5, 0.5),
        ("train-1.png", "effusion", 0.3, 0.3, 0.6, 0.6),
        ("train-2.png", "effusion", 0.8, 0.8, 0.9, 0.9),
        ("val-0.png", "mass", 0.5, 0.0, 1.0, 0.5),
        ("test-0.png", "effusion", 0.0, 0.6, 0.2, 0.8),
        ("test-0.png", "mass", 0.0, 0.0, 1.0, 1.0),
        ("test-1.png", "effusion", 0.3, 0.3, 0.5, 0.5),
    )
    findings = boxed_findings(prepared, boxes)
    maps = localisation.prior_maps(prepared, boxes, findings, (20, 20))
    assert maps[0, 2, 2] == pytest.approx(1 / 3) and maps[0, 7, 7] == pytest.approx(2 / 3) and maps[0, 19, 0] == 0
    np.testing.assert_array_equal(maps[0], maps[2])
    assert pointing.pointing_game(maps, findings["edges"]).tolist() == [False, True, True]


def test_without_boxes_in_other_splits_each_half_of_the_patients_is_the_prior_of_the_other():
    prepared = prepared_of({"train": ["mass"], "val": [], "test": ["effusion"] * 10 + ["mass"]})
    rows = [(f"test-{place}.png", "effusion", 0.2, 0.2, 0.4, 0.4) for place in range(10)]
    findings = boxed_findings(prepared, boxes_of(*rows, ("test-10.png", "mass", 0, 0, 1, 1)))
    rows[3] = ("test-3.png", "effusion", 0.7, 0.7, 0.9, 0.9)
    moved = boxed_findings(prepared, boxes_of(*rows, ("test-10.png", "mass", 0, 0, 1, 1)))
    before, after = (localisation.prior_maps(prepared, boxes_of(*rows[:0]), one, (20, 20)) for one in (findings, moved))
    changed = (before != after)[:10].any(axis=(1, 2))
    assert 3 <= changed.sum() <= 7 and not changed[3], "a scan's own box moves the map of the other half alone"
    assert np.isnan(before[10]).all(), "a class with one patient has no other half"


def test_baselines_can_name_no_more_points_than_the_map():
    """Boxes around the middle of the scan, which no cell of 8 x 8 has as its centre, but each of 1 x 1 has."""
    prepared = prepared_of({"train": ["mass"] * 4, "val": [], "test": ["mass"] * 8})
    middle, low = (0.45, 0.45, 0.55, 0.55), (0.5, 0.5, 0.75, 0.625)
    rows = [(f"train-{place}.png", "mass", *(middle if place else low)) for place in range(4)]
    rows += [(f"test-{place}.png", "mass", *(low if place < 2 else middle)) for place in range(8)]
    boxes = boxes_of(*rows)
    findings = boxed_findings(prepared, boxes)
    for grid, expected in {(8, 8): (2 / 8, 2 * 2 / 64 / 8, 2 / 8), (1, 1): (6 / 8 + 2 / 8, 1, 1)}.items():
        found = localisation._baselines(prepared, boxes, findings, grid, 0)
        assert tuple(found[name]["hit"].mean() for name in localisation.BASELINES) == pytest.approx(expected)


def test_no_baseline_beats_the_ceiling_of_its_grid_nor_does_a_model(study):
    models, _, prepared, boxes = study
    (name, model), *_ = models.items()
    wide = small_network(blocks=((16, 1), (16, 2)))
    scored = localisation.localise({name: model, "wide": wide}, prepared, boxes)
    assert set(scored["cells"]) == {"8 × 8", "16 × 16"}
    keys = ["cells", "scan", "class"]
    ceiling = scored[scored["method"] == "ceiling"].set_index(keys)["hit"]
    prior = scored[scored["method"] == "prior"].set_index(keys)["hit"]
    for _, own in scored[scored["method"] != "ceiling"].groupby(["run", "method"]):
        own = own.set_index(keys)
        assert (own["hit"] <= ceiling[own.index]).all()
        pd.testing.assert_series_equal(own["prior_hit"], prior[own.index], check_names=False)


def test_noise_hits_as_often_as_a_box_is_large():
    box = np.array([[0.125, 0.25, 0.625, 0.75]])
    maps = np.random.default_rng(0).random((4000, 8, 8))
    rate = pointing.pointing_game(maps, [box] * len(maps)).mean()
    assert rate == pytest.approx(0.25, abs=0.035)  # five standard errors


@pytest.fixture(scope="module")
def study():
    return boxed_study()


def rates(located: pd.DataFrame, name: str = "all") -> pd.Series:
    own = located[located["class"] == name]
    return own.set_index(["run", "method"])["hit"]


def test_a_model_that_learned_the_findings_points_at_them_and_a_randomised_one_by_chance(study):
    models, _, prepared, boxes = study
    (name, model), *_ = models.items()
    chances = {f"random {seed}": randomisation.renewed(model, seed) for seed in range(12)}
    asked = {name: model} | chances
    scored = localisation.localise(asked, prepared, boxes)
    located = localisation.summary(scored, prepared, boxes, name)
    found = rates(located)
    chance = found["", "random"]
    for method in localisation.METHODS:
        assert found[name, method] >= 0.8, method
        drawn = found[[(other, method) for other in chances]].to_numpy()
        error = drawn.std(ddof=1) / np.sqrt(len(drawn))
        assert abs(drawn.mean() - chance) < 3 * error + 0.02, (method, drawn, chance)
        assert drawn.mean() < 0.3, (method, drawn)
    row = located[(located["run"] == name) & (located["method"] == "grad_cam") & (located["class"] == "all")].iloc[0]
    assert row["above_prior_low"] > 0.3, "lesions lie anywhere, so no fixed point finds them"
    assert row["iou_01"] > 0.5 and row["cells"] == "8 × 8" and row["chosen"]


def test_every_number_of_the_summary_follows_from_the_rows_of_the_scans(study):
    models, runs, prepared, boxes = study
    clones = {name: randomisation.renewed(model) for name, model in models.items()}
    scored, located, shown = localisation.localise_study(
        models, runs, {"pneumonia": prepared}, {"pneumonia": boxes}, clones
    )
    assert list(scored.columns) == localisation.SCORED and list(located.columns) == localisation.SUMMARY
    for row in located.to_dict("records"):
        own = scored[(scored["run"] == row["run"]) & (scored["method"] == row["method"])]
        own = own if row["class"] == "all" else own[own["class"] == row["class"]]
        assert row["findings"] == len(own) and row["hit"] == pytest.approx(own["hit"].mean())
        assert row["iou_03"] == pytest.approx(own["iou_03"].mean(), nan_ok=True)
        assert row["above_prior"] == pytest.approx((own["hit"] - own["prior_hit"]).mean())
    assert {*located["run"]} == {"", *models, localisation.RANDOMISED}
    assert len(shown["pneumonia"]) == 4 and {example["title"] for example in shown["pneumonia"]} == {
        "Bacterial pneumonia",
        "Viral pneumonia",
    }


def test_too_many_scans_are_sampled_at_random_and_counted(study):
    models, _, prepared, boxes = study
    few = localisation.localise(models, prepared, boxes, most=7, seed=1)
    assert few["scan"].nunique() == 7
    located = localisation.summary(few, prepared, boxes)
    whole = located[located["class"] == "all"].iloc[0]
    assert (whole["findings"], whole["boxed"]) == (7, len(boxes[boxes["scan"].str.startswith("test")]))


def test_without_boxes_the_answer_is_that_there_is_none(study):
    models, runs, prepared, boxes = study
    scored, located, shown = localisation.localise_study(
        models, runs, {"pneumonia": prepared}, {"pneumonia": boxes[:0]}, models
    )  # fmt: skip
    assert scored.empty and not shown
    assert located[["dataset", "findings", "class"]].to_numpy().tolist() == [["pneumonia", 0, "all"]]
    assert len(localisation.by_class(located)) == 1


def test_a_model_without_numbers_points_nowhere(study):
    models, _, prepared, boxes = study
    (name, model), *_ = models.items()
    broken = keras.models.clone_model(model)
    broken.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    scored = localisation.localise({name: broken}, prepared, boxes)
    own = scored[scored["run"] == name]
    assert (own["hit"] == 0).all() and (own["empty"] == 1).all()


DEEPER = ((16, 1), (32, 2), (32, 2), (64, 1))


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A function: what is planted in drawn pneumonia -> (a network that learned it, the prepared dataset, source)."""

    @functools.cache
    def learn_from(plant: str):
        folder = tmp_path_factory.mktemp("drawn")
        source = draw_source("pneumonia", folder / "source", plants=[plant])
        prepare_dataset("pneumonia", source, folder / "prepared", size=64)
        prepared = load_prepared(folder / "prepared")
        images, classes = np.asarray(prepared.images["train"]), prepared.labels("train").argmax(axis=1)
        model = small_network(size=64, blocks=DEEPER)
        learn(model, images, classes, epochs=20)
        return model, prepared, source

    return learn_from


@pytest.mark.probes
def test_on_drawn_chests_a_network_that_learned_points_at_the_lesions_and_a_randomised_one_does_not(learned):
    """A map of random weights still depends on the scan, and may avoid the bright lesions: no better than chance."""
    model, prepared, source = learned("clean")
    boxes = load_boxes(source.parent / "prepared")
    asked = {"model": model} | {f"random {seed}": randomisation.renewed(model, seed) for seed in range(10)}
    found = rates(localisation.summary(localisation.localise(asked, prepared, boxes), prepared, boxes))
    for method in localisation.METHODS:
        drawn = found[[(name, method) for name in asked if name != "model"]].to_numpy()
        assert found["model", method] >= 0.8, (method, found["model", method])
        assert drawn.mean() - found["", "random"] < 3 * drawn.std(ddof=1) / np.sqrt(len(drawn)), (method, drawn)
        assert drawn.max() < found["model", method] / 2, (method, drawn)


@pytest.mark.probes
def test_a_network_that_learned_labels_without_a_meaning_is_at_chance(learned):
    model, prepared, _ = learned("null")
    probabilities = metrics.probabilities(predict_logits(model, prepared.images["test"], 32), "multiclass")
    scores = macro_scores(prepared.labels("test"), probabilities, prepared.split("test")["patient"], "multiclass")
    assert scores["macro_auroc_low"] < 0.5 < scores["macro_auroc_high"] and abs(scores["macro_auroc"] - 0.5) < 0.1


@pytest.mark.probes
def test_maps_point_at_a_planted_marker_and_not_at_its_place_where_there_is_none(learned):
    """Within a cell of the marker, as a maximum may lie on either side of an edge between two cells."""
    rates, cell = {}, 1 / 16
    for plant in ("marker=1.0", "clean"):
        model, prepared, source = learned(plant)
        truth = read_truth(source).set_index("path")
        test = prepared.split("test")
        marked = test[test["bacterial_pneumonia"] == 1]
        edges = []
        for path in marked["path"]:
            height, width = decode_grey(source / path).shape
            x, y, w, h = map(int, (truth.loc[path, "marker"] or "13 13 17 17").split())
            box = np.array([[x / width, y / height, (x + w) / width, (y + h) / height]])
            edges.append(box + np.array([-cell, -cell, cell, cell]))
        images = np.asarray(prepared.images["test"][marked.index])
        maps = heat_maps(model, images, prepared.classes.index("bacterial_pneumonia"), enlarge=False)
        rates[plant] = {method: pointing.pointing_game(found, edges).mean() for method, found in maps.items()}
    for method in localisation.METHODS:
        assert rates["marker=1.0"][method] >= 0.8 and rates["clean"][method] < 0.1, rates
