"""New images: what is asked, what is answered, what is listed as unreadable."""

import json

import cv2
import keras
import numpy as np
import pytest

from lungkeras import cli
from lungkeras.prediction.images import find_images, images_and_others, names_of, other_files
from lungkeras.prediction.predict import load_predictor, predict_images, write_heatmaps
from lungkeras.preparation.scan import prepare_scan
from lungkeras.scores import metrics
from lungkeras.system import files
from lungkeras.system.errors import RunError, ScanError

SIZE = 32
CLASSES = ["covid", "viral_pneumonia", "normal"]


def small_model(classes: int = 3) -> keras.Model:
    scans = keras.Input((SIZE, SIZE, 1), dtype="uint8", name="scan")
    x = keras.layers.Rescaling(1 / 64, -2.0)(scans)
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(scans, keras.layers.Dense(classes, name="logits")(x))


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "covid-resnet34-random"
    folder.mkdir()
    keras.utils.set_random_seed(0)
    small_model().save(folder / "best.keras")
    files.write_json(folder / "metrics.json", {"classes": CLASSES, "task": "multiclass", "best_epoch": 1})
    return folder


@pytest.fixture
def images(tmp_path):
    """Two scans that share a name, one broken scan, and what else lies in folders."""
    folder = tmp_path / "scans"
    random = np.random.default_rng(0)
    for place in ("a/scan.png", "b/scan.jpeg"):
        (folder / place).parent.mkdir(parents=True)
        cv2.imwrite(str(folder / place), random.integers(0, 256, (60, 50), dtype=np.uint8))
    whole = (folder / "a/scan.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("not a scan")
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return folder


def test_folders_are_searched_for_images_and_stated_files_are_tried(images):
    below = [images / "a/scan.png", images / "b/scan.jpeg", images / "broken.png"]
    assert find_images([images]) == below
    assert find_images([images / "notes.txt", images, images / "a"]) == [images / "notes.txt", *below]
    assert find_images([str(images / "absent.png")]) == [images / "absent.png"]


def test_of_a_folder_every_image_by_name_or_content_is_asked_about_and_the_rest_is_counted(images):
    scan = (images / "a/scan.png").read_bytes()
    for name, content in {"scan": scan, "x.tif": b"", "y": b"GIF89a", "z.jpeg": b"<html>", "m.zip": b"PK\3\4"}.items():
        (images / name).write_bytes(content)
    for name in ("._scan.png", "@eaDir/scan.png", "__MACOSX/scan.png", ".ipynb_checkpoints/scan.png"):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_bytes(scan)
    (images / "linked").symlink_to(images / "b")
    (images / "round").symlink_to(images)
    (images / "alias.png").symlink_to(images / "scan")
    (images / "gone.png").symlink_to(images / "absent")
    found, others = images_and_others([images])
    names = ["a/scan.png", "b/scan.jpeg", "broken.png", "gone.png", "scan", "x.tif", "y", "z.jpeg"]
    assert found == find_images([images]) == [images / name for name in names]
    assert others == {"text": 1, "zip": 1}
    assert other_files(others) == " (no image: 1 text, 1 zip)"
    assert find_images([images / "alias.png", images])[0] == images / "alias.png"


def test_predict_ends_in_1_and_a_line_for_each_image_that_failed(run, images, capsys):
    assert cli.main(["predict", str(run), str(images / "a"), str(images / "b")]) == 0
    assert capsys.readouterr().err.startswith("computed by")
    (images / "page.jpeg").write_text("<html>")
    assert cli.main(["predict", str(run), str(images), "--json"]) == 1
    printed = capsys.readouterr()
    answers = json.loads(printed.out)
    assert len(answers["predictions"]) == 2 and answers["no_image"] == {"text": 1}
    for name, reason in (("broken.png", "PNG cut short"), ("page.jpeg", "neither PNG, JPEG nor DICOM (html)")):
        assert {"file": name, "reason": reason} in answers["failed"]
        assert f"lungkeras: {name}: {reason}" in printed.err
    assert str(images.parent) not in printed.out + printed.err
    assert "skipped (no image: 1 text)" in printed.err


def test_a_result_names_files_by_their_path_in_the_folder_given_or_by_their_name(tmp_path):
    home = tmp_path / "private" / "scans"
    files = [home / "a" / "1.png", home / "b" / "1.png", home / "2.png", tmp_path / "private" / "b" / "1.png"]
    assert names_of(files[:3], [home]) == ["a/1.png", "b/1.png", "2.png"]  # a folder that is not there is no folder
    for folder in ("a", "b"):
        (home / folder).mkdir(parents=True)
    assert names_of(files[:3], [home]) == ["a/1.png", "b/1.png", "2.png"]
    assert names_of(files[:3], [home / "a", home / "b", files[2]]) == ["a/1.png", "b/1.png", "2.png"]
    assert names_of(files, [home / "a", *files[1:]]) == ["a/1.png", "scans/b/1.png", "2.png", "private/b/1.png"]
    assert names_of(files[:1], files[:1]) == ["1.png"]


def test_folders_without_an_image_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("a note")
    with pytest.raises(ScanError, match=r"No PNG, JPEG or DICOM file in .* \(no image: 1 text\)"):
        find_images([tmp_path])


def test_answers_are_those_of_the_model_on_prepared_scans(run, images):
    predictor = load_predictor(run)
    answers, failed = predict_images(predictor, find_images([images]))
    assert list(answers.columns) == ["file", *(f"probability_{name}" for name in CLASSES), "predicted"]
    assert answers["file"].tolist() == [str(images / "a/scan.png"), str(images / "b/scan.jpeg")]
    prepared = np.stack([prepare_scan(file, SIZE) for file in answers["file"]])[..., None]
    expected = metrics.probabilities(predictor.model.predict(prepared, verbose=0), "multiclass")
    found = answers[[f"probability_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert answers["predicted"].tolist() == [CLASSES[place] for place in expected.argmax(axis=1)]
    assert failed["file"].tolist() == [str(images / "broken.png")]
    assert "cut short" in failed["reason"][0]
    assert str(images) not in failed["reason"][0]


def test_answers_are_calibrated_with_the_runs_temperature_unless_asked_not_to(run, images):
    raw, _ = predict_images(load_predictor(run), [images / "a/scan.png"])
    about = {"classes": CLASSES, "task": "multiclass", "temperature": 2.5}
    files.write_json(run / "metrics.json", about)
    calibrated, _ = predict_images(load_predictor(run), [images / "a/scan.png"])
    columns = [f"probability_{name}" for name in CLASSES]
    logits = np.log(raw[columns].to_numpy(float))
    expected = metrics.probabilities(logits / 2.5, "multiclass")
    np.testing.assert_allclose(calibrated[columns].to_numpy(), expected, atol=1e-6)
    assert calibrated["predicted"].tolist() == raw["predicted"].tolist()
    uncalibrated, _ = predict_images(load_predictor(run, calibrated=False), [images / "a/scan.png"])
    np.testing.assert_array_equal(uncalibrated[columns], raw[columns])


def test_findings_are_decided_by_the_weighted_logits_and_their_probabilities_are_corrected(run, images):
    about = {"classes": CLASSES, "task": "multilabel"}
    files.write_json(run / "metrics.json", about)
    raw, _ = predict_images(load_predictor(run), [images / "a/scan.png"])
    shift, temperatures = [0.5 + place for place in range(len(CLASSES))], [1.5] * len(CLASSES)
    files.write_json(run / "metrics.json", about | {"prior_shift": shift, "temperatures": temperatures})
    found, _ = predict_images(load_predictor(run), [images / "a/scan.png"])
    columns = [f"probability_{name}" for name in CLASSES]
    given = raw[columns].to_numpy(float)
    expected = metrics.probabilities((np.log(given / (1 - given)) - shift) / 1.5, "multilabel")
    np.testing.assert_allclose(found[columns].to_numpy(), expected, atol=1e-6)
    assert found["predicted"].tolist() == raw["predicted"].tolist()


@pytest.mark.parametrize("temperature", [0, -1, "hot", None, float("inf")])
def test_a_temperature_that_is_not_a_number_is_refused(run, temperature):
    (run / "metrics.json").write_text(
        json.dumps({"classes": CLASSES, "task": "multiclass", "temperature": temperature})
    )
    with pytest.raises(RunError, match=r"metrics\.json can't be read"):
        load_predictor(run)


def test_where_no_file_can_be_read_the_answers_are_empty(run, images):
    answers, failed = predict_images(load_predictor(run), [images / "notes.txt", images / "absent.png"])
    assert answers.empty
    assert "predicted" in answers
    assert len(failed) == 2


def test_multilabel_answers_name_every_class_from_one_half_up(run, images):
    files.write_json(run / "metrics.json", {"classes": CLASSES, "task": "multilabel"})
    predictor = load_predictor(run)
    predictor.model.get_layer("logits").set_weights([np.zeros((4, 3)), np.array([0.0, -5.0, 5.0])])
    answers, _ = predict_images(predictor, [images / "a/scan.png"])
    assert answers["predicted"].tolist() == ["covid|normal"]
    predictor.model.get_layer("logits").set_weights([np.zeros((4, 3)), np.full(3, -5.0)])
    answers, _ = predict_images(predictor, [images / "a/scan.png"])
    assert answers["predicted"].tolist() == [""]


def test_a_model_file_finds_its_classes_beside_it_or_numbers_them(run, tmp_path):
    assert load_predictor(run / "best.keras").classes == tuple(CLASSES)
    assert load_predictor(run).name == "covid-resnet34-random"
    alone = tmp_path / "alone.keras"
    alone.write_bytes((run / "best.keras").read_bytes())
    found = load_predictor(alone)
    assert found.classes == ("class_1", "class_2", "class_3")
    assert (found.name, found.size, found.task) == ("alone", SIZE, "multiclass")


def test_a_file_that_is_not_a_model_is_refused(run, tmp_path):
    with pytest.raises(RunError, match=r"best\.keras"):
        load_predictor(tmp_path / "absent")
    files.write_json(run / "metrics.json", {"classes": CLASSES[:2], "task": "multiclass"})
    with pytest.raises(RunError, match="names 2"):
        load_predictor(run)
    scans = keras.Input((3,))
    keras.Model(scans, keras.layers.Dense(2)(scans)).save(tmp_path / "other.keras")
    with pytest.raises(RunError, match="not a model of lungkeras"):
        load_predictor(tmp_path / "other.keras")


def test_heatmaps_are_named_after_their_files_and_none_is_overwritten(run, images, tmp_path):
    readable = [images / "a/scan.png", images / "b/scan.jpeg"]
    drawn = write_heatmaps(load_predictor(run), [*readable, images / "broken.png"], tmp_path / "heatmaps")
    assert list(drawn) == [str(file) for file in readable]
    assert sorted(path.name for path in (tmp_path / "heatmaps").iterdir()) == ["scan-2.png", "scan.png"]
    assert all(cv2.imread(str(path)).shape == (SIZE, SIZE, 3) for path in drawn.values())


def test_real_scans_are_answered(run, real_scans):
    some = find_images([real_scans])[:20]
    answers, failed = predict_images(load_predictor(run), some)
    assert len(answers) + len(failed) == 20
    assert len(answers) > 0
