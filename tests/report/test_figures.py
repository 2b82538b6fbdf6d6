import matplotlib
import numpy as np
import pytest
import synthetic
from matplotlib.figure import Figure

from lungkeras.report.figures import paper
from lungkeras.report.figures.files import description
from lungkeras.report.figures.reliability import reliability_diagrams
from lungkeras.report.figures.style import BACKBONE_COLOURS, CLASS_STYLES, run_colour
from lungkeras.study.words import run_name_title

RUNS = synthetic.run_table()
MAIN, ABLATION = RUNS.iloc[:12], RUNS.iloc[12:]
PNEUMONIA = synthetic.CLASSES["pneumonia"]


def texts(figure: Figure) -> list[str]:
    """Every word that stands in a figure."""
    return [text.get_text().replace("\n", " ") for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def curves(axes) -> list:
    return [line for line in axes.lines if len(line.get_xdata()) and line.get_marker() != "o"]


def test_sample_scans_show_every_class_of_every_dataset():
    scans = {dataset: {name: synthetic.scan() for name in names} for dataset, names in synthetic.CLASSES.items()}
    figure = paper.sample_scans(scans)
    assert len(figure.axes) == 13
    assert {"no finding", "viral pneumonia", "ChestX-ray8", "COVID-19"} <= set(texts(figure))
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), synthetic.scan())


def test_a_strip_shows_every_scan_as_it_is():
    scans = np.stack([synthetic.scan(32, seed) for seed in range(3)])
    figure = paper.strip(scans)
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), scans[2])


def test_preprocessing_shows_each_step_above_its_histogram():
    steps = {"original": synthetic.scan(80), "equalised": synthetic.scan(80, 1), "resized": synthetic.scan(32, 2)}
    figure = paper.preprocessing_effect({"covid": steps, "xray8": steps})
    assert len(figure.axes) == 12
    assert "resized, 32 × 32" in texts(figure)
    shares = figure.axes[3].patches[0].get_data().values
    assert shares.sum() == pytest.approx(100)
    assert figure.axes[-1].get_xlabel() == "grey level (0 to 255)"


def test_learning_curves_draw_train_dashed_and_validation_solid_in_the_backbones_colour():
    histories = synthetic.histories(MAIN[MAIN["weights"] == "random"])
    figure = paper.learning_curves(histories)
    assert len(figure.axes) == 6
    left = curves(figure.axes[0])
    assert [line.get_linestyle() for line in left] == ["--", "-"] * 3
    assert left[0].get_color() == BACKBONE_COLOURS["resnet34"]["random"]
    first = histories[histories["run"] == "pneumonia-resnet34-random"]
    np.testing.assert_array_equal(left[0].get_ydata(), first["macro_f1"])
    np.testing.assert_array_equal(left[1].get_ydata(), first["val_macro_f1"])
    assert {"ResNet-34", "train", "validation", "loss (nats)", "epoch"} <= set(texts(figure))


def test_the_best_epoch_is_marked_at_the_lowest_validation_loss():
    histories = synthetic.histories(MAIN.iloc[:1])
    figure = paper.learning_curves(histories)
    best = histories.loc[histories["val_loss"].idxmin()]
    (mark,) = [line for line in figure.axes[1].lines if line.get_marker() == "o"]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (best["epoch"], best["val_loss"])
    assert f"(epoch {best['epoch']:.0f})" in description(figure)


@pytest.mark.parametrize("epochs", [1, 2, 100])
def test_curves_of_any_length_are_visible(epochs):
    figure = paper.learning_curves(synthetic.histories(MAIN.iloc[:1], epochs))
    line = curves(figure.axes[0])[0]
    assert len(line.get_xdata()) == epochs
    assert (line.get_marker() == ".") == (epochs == 1)
    assert all(tick == int(tick) for tick in figure.axes[0].get_xticks())


def test_losses_that_are_not_numbers_leave_a_gap_and_no_error():
    histories = synthetic.histories(MAIN.iloc[:2])
    lost = histories["run"] == MAIN["run"].iloc[0]
    histories.loc[lost, ["loss", "val_loss"]] = np.nan
    figure = paper.learning_curves(histories)
    assert "ResNet-34 without a validation loss that is a number" in description(figure)
    assert np.isnan(curves(figure.axes[1])[0].get_ydata()).all()


def test_a_stray_loss_gets_a_logarithmic_axis_that_says_so():
    histories = synthetic.histories(MAIN.iloc[:1])
    assert paper.learning_curves(histories).axes[1].get_yscale() == "linear"
    histories.loc[3, "val_loss"] = 400.0
    axes = paper.learning_curves(histories).axes[1]
    assert (axes.get_yscale(), axes.get_ylabel()) == ("log", "loss (nats, logarithmic)")


def test_transfer_curves_tell_the_weights_apart():
    chosen = MAIN[MAIN["backbone"] == "efficientnet_b1"]
    figure = paper.transfer_curves(synthetic.histories(chosen))
    colours = [line.get_color() for line in curves(figure.axes[0])][::2]
    assert colours == [run_colour("efficientnet_b1", "random"), run_colour("efficientnet_b1", "transfer")]
    assert {"EfficientNet-B1, from scratch", "EfficientNet-B1, transferred features"} <= set(texts(figure))


@pytest.mark.parametrize("count", [1, 4])
def test_embeddings_stand_above_confusions_with_every_point_and_count(count):
    runs = list(MAIN["run"])[:count]
    points = synthetic.points(runs, PNEUMONIA)
    confusions = {run: synthetic.confusion(PNEUMONIA, seed=place) for place, run in enumerate(runs)}
    figure = paper.embeddings_and_confusions(points, confusions)
    assert len(figure.axes) == 2 * count
    assert [len(cloud.get_offsets()) for cloud in figure.axes[0].collections] == [20, 20, 20]
    written = [int(text.get_text()) for text in figure.axes[count].texts]
    assert written == confusions[runs[0]].to_numpy().ravel().tolist()
    assert figure.axes[count].get_ylabel() == "true class"
    right = np.trace(confusions[runs[0]])
    assert f"ResNet-34 {right} of 60" in description(figure)


def test_shades_of_a_confusion_are_shares_of_the_true_class():
    counts = synthetic.confusion(PNEUMONIA) * 0
    counts.iloc[0] = [1, 3, 0]
    figure = paper.embeddings_and_confusions(synthetic.points(["a"], PNEUMONIA), {"a": counts})
    np.testing.assert_allclose(figure.axes[1].collections[0].get_array().ravel()[:3], [0.25, 0.75, 0])


def test_grad_cams_overlay_each_run_on_each_class_with_its_probability():
    runs = list(MAIN["run"])[:4]
    scans = {name: synthetic.scan(48, place) for place, name in enumerate(PNEUMONIA)}
    maps = {run: {name: np.zeros((48, 48)) for name in PNEUMONIA} for run in runs}
    probabilities = {run: dict.fromkeys(PNEUMONIA, 0.125 * place) for place, run in enumerate(runs)}
    figure = paper.grad_cams(scans, maps, probabilities, {runs[0]: "the first"})
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 3 * 5
    assert {"scan", "the first", "probability 0.38", "bacterial pneumonia"} <= set(texts(figure))
    # Without evidence the scan shows as it is.
    np.testing.assert_array_equal(panels[1].images[0].get_array()[..., 0], scans[PNEUMONIA[0]])


def test_a_class_without_map_or_probability_leaves_an_empty_panel_or_a_dash():
    scans = {name: synthetic.scan(48) for name in PNEUMONIA}
    figure = paper.grad_cams(scans, {"a": {"normal": synthetic.heatmap(48)}}, {"a": {}})
    assert "probability –" in texts(figure)


def test_ablation_curves_are_distinguished_by_rate_in_rising_order():
    figure = paper.ablation_curves(synthetic.histories(ABLATION.iloc[::-1]))
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named[:5] == [f"learning rate {rate:g}" for rate in synthetic.RATES]


def test_ablation_bars_have_the_height_of_their_score():
    results = synthetic.results(ABLATION).rename(columns={"learning_rate": "rate"})
    results.loc[results.index[-1], "macro_f1"] = np.nan
    figure = paper.ablation_bars(results)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(heights, np.nan_to_num(results["macro_f1"]))
    assert figure.axes[0].texts[-1].get_text() == "–"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [f"{rate:g}" for rate in synthetic.RATES]


def test_bars_carry_their_intervals_and_words_follow_from_them():
    results = synthetic.results(ABLATION).rename(columns={"learning_rate": "rate"})
    results = results.assign(macro_f1=[0.9, 0.88, 0.5, 0.4, 0.3])
    results = results.assign(macro_f1_low=results["macro_f1"] - 0.05, macro_f1_high=results["macro_f1"] + 0.05)
    figure = paper.ablation_bars(results)
    reach = figure.axes[0].collections[0].get_segments()
    np.testing.assert_allclose(reach[0][:, 1], [0.85, 0.95])
    assert description(figure).endswith("The highest is that of 0.001; the intervals of 0.005 reach its own.")


def test_reliability_has_a_panel_a_run_with_dots_before_and_after_the_temperature():
    scores = synthetic.evidence(MAIN)["calibration"]
    figure = reliability_diagrams(synthetic.reliability(MAIN), scores)
    assert len(figure.axes) == 12 and len(figure.axes[0].collections) == 2
    np.testing.assert_allclose(figure.axes[0].collections[1].get_offsets(), [[0.4, 0.3], [0.8, 0.7]])
    assert f"Pneumonia ResNet-34 {scores['ece'][0]:.3f}, {scores['ece_scaled'][0]:.3f};" in description(figure)
    assert reliability_diagrams(synthetic.reliability(MAIN).iloc[:0], scores).axes == []


def test_names_from_data_are_drawn_as_they_are():
    figure = paper.sample_scans({"mine": {"$\\x <b>$": synthetic.scan(16)}})
    assert "$\\x <b>$" in texts(figure)


def test_figures_leave_the_theme_of_others_alone():
    before = dict(matplotlib.rcParams)
    paper.ablation_bars(synthetic.results(ABLATION).rename(columns={"learning_rate": "rate"}))
    assert dict(matplotlib.rcParams) == before


def test_a_run_is_titled_by_its_name():
    assert run_name_title("covid-efficientnet_b1-random-lr0.05") == "EfficientNet-B1, learning rate 0.05"
    assert run_name_title("xray8-resnet34-imagenet") == "ResNet-34, ImageNet weights"
    assert run_name_title("mine") == "mine"


def test_every_class_has_its_own_colour_or_marker_within_a_dataset():
    for names in synthetic.CLASSES.values():
        assert len({CLASS_STYLES[name] for name in names}) == len(names)
        assert len({CLASS_STYLES[name][0] for name in names}) == len(names)
