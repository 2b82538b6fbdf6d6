"""What a notebook shows of runs, records, prepared datasets and predictions."""

import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from drawn_runs import findings_run
from prepared_data import CLASSES, COUNTS, write_prepared

from lungkeras.explanation import grad_cam
from lungkeras.prediction.one_scan import predict_scan, similar_answers
from lungkeras.prediction.predict import Predictor, predict_images
from lungkeras.preparation.folder import load_prepared
from lungkeras.preparation.scan import prepare_scan
from lungkeras.report.shown import show
from lungkeras.scores import metrics
from lungkeras.scores.temperature import Correction
from lungkeras.system.errors import ParamsError, ScanError

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The text of a page, its tags, and what they fetch."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.fetched, self.words = set(), [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.fetched += [value for name, value in attributes if name in ("src", "href", "srcset")]
        if tag == "img":
            assert dict(attributes)["alt"]

    def handle_data(self, data):
        self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(word for word in self.words if word)


def read(shown) -> Page:
    """What is shown, which fetches nothing and runs nothing."""
    html = shown._repr_html_()
    page = Page(html)
    assert all(source.startswith("data:image/") for source in page.fetched)
    assert not page.tags & {"script", "link", "iframe", "style", "object"} and not re.search(r"\son\w+=|url\(", html)
    return page


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = write_prepared(tmp_path_factory.mktemp("prepared") / "pneumonia")
    flow = pd.DataFrame({"step": ["found", f"left out: {EVIL}", "prepared"], "scans": [50, 8, 42], "kind": ""})
    flow.to_csv(folder / "flow.csv", index=False)
    return load_prepared(folder)


def test_a_run_shows_its_scores_and_curves_and_names_as_text():
    labels = np.eye(3)[[0, 1, 2, 0]]
    classes = ("normal", "covid", EVIL)
    given = np.full((4, 3), 1 / 3)
    scored = metrics.scores(labels, given, classes, "multiclass") | {"loss": 1.0986, "scans": 4}
    history = pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5], "val_loss": [1.1, 0.7]})
    history = history.assign(macro_f1=[0.1, 0.2], val_macro_f1=[0.1, 0.25])
    run = findings_run(labels, given, classes, "multiclass", history=history, name=f"a-b{EVIL}",
                       test=scored, best_epoch=2)  # fmt: skip
    page = read(show(run))
    assert {"img", "table"} <= page.tags and "best epoch 2 of 2" in page.text
    assert "1.099" in page.text and f"{scored['macro_f1']:.3f}" in page.text and EVIL in page.text
    assert "loss 0.700, macro F1 0.250" in show(run).pictures[0].alt


def test_a_prepared_dataset_shows_its_counts_its_flow_and_scans_of_each_class(prepared):
    shown = show(prepared)
    page = read(shown)
    counts, flow = shown.tables
    assert counts.columns == ("class", "train", "val", "test", "all")
    rows = {row[0]: row[1:] for row in counts.rows}
    assert rows["scans"] == ["24", "9", "9", "42"] and rows["normal"] == ["8", "3", "3", "14"]
    assert flow.rows[1] == [f"left out: {EVIL}", "8"] and EVIL in page.text
    assert len(shown.pictures) == 12 and "32 × 32 pixels" in page.text
    moved = dataclasses.replace(prepared, images={split: np.array(own) for split, own in prepared.images.items()})
    assert len(show(moved).tables) == 1


def test_records_show_their_counts_and_thumbnails_of_what_can_be_read(prepared, tmp_path):
    records = prepared.split("val").drop(columns="split").assign(path=[f"{place}.png" for place in range(9)])
    for place in range(8):  # the last is missing
        cv2.imwrite(str(tmp_path / f"{place}.png"), prepared.images["val"][place])
    records.loc[0, "path"] = "../outside.png"
    cv2.imwrite(str(tmp_path.parent / "outside.png"), prepared.images["val"][0])
    shown = show(records, source=tmp_path)
    read(shown)
    assert [row for row in shown.tables[0].rows if row[0] == "scans"] == [["scans", "9"]]
    assert "9 scans, 3 classes, 9 patients" in shown.lines[0] and len(shown.pictures) == 7
    assert not show(records).pictures


def model_of_brightness() -> keras.Model:
    keras.utils.set_random_seed(0)
    scans = keras.Input((32, 32, 1), dtype="uint8")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(keras.layers.Rescaling(1 / 75)(scans))
    return keras.Model(scans, keras.layers.Dense(3, name="logits")(keras.layers.GlobalAveragePooling2D()(x)))


def test_a_prediction_is_the_calibrated_answer_with_its_heat_map(tmp_path):
    file = tmp_path / f"{EVIL.replace('/', '')}.png"
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 255, (48, 40), np.uint8))
    correction = Correction((0.0,) * 3, (2.0,) * 3)
    predictor = Predictor("a-run", model_of_brightness(), CLASSES, "multiclass", 32, correction=correction)
    found = predict_scan(predictor, file)
    expected = predict_images(predictor, [file])[0]
    np.testing.assert_allclose(found.probabilities, expected.iloc[0, 1:4].astype(float), atol=1e-6)
    assert not np.allclose(found.given, found.probabilities) and found.predicted == (expected["predicted"][0],)
    np.testing.assert_array_equal(found.scan, prepare_scan(file, 32))
    np.testing.assert_array_equal(
        found.heat_map, grad_cam(predictor.model, found.scan[None], CLASSES.index(found.explained))[0]
    )
    page = read(show(found))
    assert len(show(found).pictures) == 2 and file.name in page.text and f"{found.probabilities[0]:.3f}" in page.text
    (tmp_path / "no.png").write_bytes(b"none")
    with pytest.raises(ScanError, match=r"no\.png"):
        predict_scan(predictor, tmp_path / "no.png")


def test_answers_of_similar_confidence_are_counted():
    from scipy.stats import binomtest

    rng = np.random.default_rng(0)
    given = rng.uniform(0, 1, (2000, 2))
    labels = (rng.random((2000, 2)) < given).astype(float)  # calibrated by construction
    labels[:50, 0] = np.nan
    found = similar_answers(findings_run(labels, given), 0.7, 0)
    alike = (np.abs(given[:, 0] - 0.7) <= 0.05) & ~np.isnan(labels[:, 0])
    assert found.scans == alike.sum() and found.fraction_correct == pytest.approx(labels[alike, 0].mean())
    wilson = binomtest(int(labels[alike, 0].sum()), int(alike.sum())).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=0.005)
    assert found.low < 0.7 < found.high and 0.65 <= found.least < found.most <= 0.75
    only_low = findings_run(labels, given / 10)
    assert similar_answers(only_low, 0.9, 0) is None


def test_the_answer_of_exclusive_classes_counts_whichever_class_it_is():
    labels, given = (
        np.eye(3)[[0, 1, 2, 0]],
        np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.4, 0.3, 0.3]]),
    )
    found = similar_answers(findings_run(labels, given, CLASSES, "multiclass"), 0.79, 1)
    assert (found.scans, found.fraction_correct) == (3, pytest.approx(2 / 3))


def test_what_can_not_be_shown_is_named():
    with pytest.raises(ParamsError, match="received a int"):
        show(3)


SHOWN = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.display_formatter.active_types = shell.display_formatter.format_types  # as in Jupyter
from lungkeras.preparation.folder import load_prepared
prepared = load_prepared(sys.argv[1])
assert "lungkeras.report" not in sys.modules
print(shell.display_formatter.format(prepared)[0]["text/html"])
"""


def test_ipython_shows_a_thing_by_itself_and_loads_what_draws_it_only_then(prepared):
    folder = str(Path(prepared.images["train"].filename).parent)
    done = subprocess.run([sys.executable, "-c", SHOWN, folder], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(sum(COUNTS.values())) in Page(done.stdout).text and EVIL in Page(done.stdout).text
