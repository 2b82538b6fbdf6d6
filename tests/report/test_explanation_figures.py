"""The figures of how explanations were tested: what is drawn where, and what the sentences state."""

import matplotlib
import numpy as np
import pytest
import synthetic
from matplotlib.patches import Rectangle

from lungkeras.report.figures import explanations
from lungkeras.report.figures.files import description

TESTED = synthetic.explanations(synthetic.run_table().iloc[:12])
EXAMPLE = {
    "title": "Mass",
    "scan": synthetic.scan(64),
    "map": synthetic.heatmap(64),
    "point": (0.25, 0.75),
    "edges": np.array([[0.25, 0.5, 0.75, 1.0]]),
}


def words(figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(matplotlib.text.Text)}


def test_boxes_and_the_point_of_the_map_stand_where_they_lie_in_the_scan():
    figure = explanations.pointing(TESTED["localisation"], {"xray8": [EXAMPLE]})
    (ax,) = [ax for ax in figure.axes if ax.get_title() == "Mass"]
    (box,) = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (15.5, 31.5, 32, 32)
    (cross,) = ax.lines
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (15.5, 47.5)


def test_a_map_without_evidence_has_no_point():
    empty = EXAMPLE | {"map": np.zeros((64, 64), np.float32)}
    figure = explanations.pointing(TESTED["localisation"], {"xray8": [empty]})
    (ax,) = [ax for ax in figure.axes if ax.get_title() == "Mass (empty map)"]
    assert not ax.lines


def test_hit_rates_of_models_and_baselines_are_drawn_by_class_and_given_in_words():
    located = TESTED["localisation"]
    figure = explanations.pointing(located, {})
    axes = [ax for ax in figure.axes if ax.get_xlabel()]
    assert len(axes) == 2, "covid has no boxes"
    drawn = {
        round(float(x), 6) for ax in axes for line in ax.lines if line.get_marker() != "None" for x in line.get_xdata()
    }
    assert drawn == {round(hit, 6) for hit in located.loc[located["findings"] > 0, "hit"]}
    assert {"all findings (12)", "Atelectasis (12)", "best fixed point", "weights randomised, Grad-CAM"} <= words(
        figure
    )
    whole = located[(located["class"] == "all") & (located["method"] == "prior")]
    for hit in whole["hit"]:
        assert f"best fixed point {hit:.2f}" in description(figure)


def test_without_any_box_the_figure_says_so():
    located = TESTED["localisation"]
    figure = explanations.pointing(located[located["dataset"] == "covid"], {})
    assert "can’t be estimated" in description(figure) and "No test scan has a known box." in words(figure)


def test_a_cascade_shows_a_map_and_a_similarity_for_each_step():
    fallen = TESTED["randomisation"]
    shown = {name: {"scan": synthetic.scan(64), "maps": [synthetic.heatmap(64)] * 4} for name in synthetic.CLASSES}
    figure = explanations.cascade(fallen, shown)
    assert sum(len(ax.images) for ax in figure.axes) == 12
    curves = [ax for ax in figure.axes if ax.get_ylabel() == "SSIM"]
    assert len(curves) == 3
    line = curves[0].lines[0]
    assert line.get_ydata() == pytest.approx([1, 0.7, 0.4, 0.1]) and line.get_xdata().tolist() == [0, 1, 2, 3]
    assert [label.get_text() for label in curves[0].get_xticklabels()] == ["trained", "head", "2 × 2", "4 × 4"]
    assert "Pneumonia: Grad-CAM 0.10 (maps of other scans 0.20)" in description(figure)


def test_the_absence_of_a_randomised_model_is_reported():
    figure = explanations.cascade(TESTED["randomisation"][:0], {})
    assert description(figure) == "No model was randomised."
