"""The range test of learning rates: rates, losses, and where the curve falls fastest."""

import keras
import numpy as np
import pandas as pd
import pytest
from prepared_data import write_prepared
from small_training import params_of, small_model

from lungkeras.preparation.folder import load_prepared
from lungkeras.report import figures
from lungkeras.report.figures.files import description
from lungkeras.scores import metrics
from lungkeras.system.errors import ParamsError
from lungkeras.training.learning_rates import range_test, steepest
from lungkeras.training.pipeline import Batches


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "pneumonia"
    return params_of(write_prepared(folder), tmp_path_factory.mktemp("runs"))


def still_model() -> keras.Model:
    """A model whose loss does not depend on batch statistics or dropout, so that its first loss can be computed."""
    keras.utils.set_random_seed(0)
    images = keras.Input((32, 32, 1), dtype="uint8")
    features = keras.layers.Rescaling(1 / 75.0, -119.5 / 75.0)(images)
    return keras.Model(images, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(features)))


def test_rates_grow_by_one_factor_and_nothing_is_written(params):
    tested = range_test(params, lowest=1e-5, highest=1e-1, steps=9, model=small_model())
    assert tested["step"].tolist() == list(range(1, 10))
    np.testing.assert_allclose(tested["learning_rate"], np.geomspace(1e-5, 1e-1, 9))
    assert not params.run_folder.exists()


def test_the_loss_of_a_step_is_that_of_its_batch_and_the_optimizer_takes_the_rate(params):
    model, prepared = still_model(), load_prepared(params.prepared_folder)
    images, labels = Batches(prepared.images["train"], prepared.labels("train"), 8, params.seed, 2, augmented=True)[0]
    before, weights = keras.ops.convert_to_numpy(model(images)), model.get_weights()
    first = range_test(params, lowest=1e-3, highest=1e-2, steps=2, model=model).iloc[0]
    assert first["loss"] == pytest.approx(metrics.cross_entropy(labels, before, "multiclass"), rel=1e-4)
    assert first["smoothed"] == pytest.approx(first["loss"])
    # Adam's steps are as long as the learning rate where gradients keep their sign: 0.001 + 0.01.
    moved = np.abs(model.get_weights()[0] - weights[0]).max()
    assert 0.009 < moved < 0.0115


def test_it_ends_where_the_loss_explodes(params):
    tested = range_test(params, lowest=1e-2, highest=1e6, steps=40, model=still_model())
    assert 4 < len(tested) < 40 and np.isfinite(tested["loss"]).all()


@pytest.mark.parametrize("wrong", [{"lowest": 0.0}, {"lowest": 1.0, "highest": 0.1}, {"steps": 1}])
def test_an_invalid_range_is_refused(params, wrong):
    with pytest.raises(ParamsError, match="expected"):
        range_test(params, **wrong)


def valley() -> pd.DataFrame:
    """A loss that falls as a logistic curve, fastest at 0.001, and rises behind 0.1."""
    rates = np.geomspace(1e-6, 1, 121)
    loss = 2 - 1 / (1 + np.exp(-3 * np.log10(rates / 1e-3))) + 5 * np.maximum(np.log10(rates / 1e-1), 0)
    return pd.DataFrame({"step": range(1, 122), "learning_rate": rates, "loss": loss, "smoothed": loss})


def test_the_steepest_rate_is_that_of_a_known_curve():
    assert steepest(valley()) == pytest.approx(1e-3)
    rising = valley().assign(loss=np.arange(121.0), smoothed=np.arange(121.0))
    assert np.isnan(steepest(rising)) and np.isnan(steepest(rising.iloc[:0]))


def test_noise_around_a_level_is_seldom_a_fall_and_noise_around_a_fall_is_one():
    rng = np.random.default_rng(0)

    def scattered(level):
        loss = pd.Series(level + rng.normal(0, 0.05, 121))
        return valley().assign(loss=loss, smoothed=loss.ewm(alpha=0.1).mean())

    level = [scattered(1.1) for _ in range(100)]
    still = [tested for tested in level if np.isnan(steepest(tested))]
    assert len(still) >= 88
    assert "no more than the noise" in description(figures.range_test(still[0]))
    found = [steepest(scattered(valley()["loss"].to_numpy())) for _ in range(20)]
    assert all(1e-4 < rate < 1e-2 for rate in found)


def test_the_figure_shows_each_step_and_names_the_steepest():
    figure = figures.range_test(valley())
    each, smoothed, marked = figure.axes[0].lines
    assert len(each.get_xdata()) == len(smoothed.get_xdata()) == 121
    assert marked.get_xdata()[0] == pytest.approx(1e-3) and "falls fastest at 0.001" in description(figure)
    assert "NaN or infinite from the first step" in description(figures.range_test(valley().iloc[:0]))
