"""The five lights of the first page: each level from tables that call for it, with the numbers of these tables."""

import pandas as pd
import pytest

from lungkeras.report.trust import BAD, CARE, GOOD, UNKNOWN, cautions, lights
from lungkeras.system.files import write_json, write_text
from lungkeras.system.provenance import file_digest

NAMES = ("Splits and labels", "Calibration", "Shortcuts", "Copies", "Reproducibility")


def audit(**changes) -> dict[str, pd.DataFrame]:
    """Tables of an audit that found nothing, with changes of its first row."""
    leakage = {"dataset": "covid", "shared_train_val": 0, "shared_train_test": 0, "shared_val_test": 0}
    leakage |= {"shared_duplicates": 0, "patients_known": True}
    labels = {"dataset": "covid", "class": "all", "rate": 0.004, "low": 0.0, "high": 0.01}
    shortcuts = {"dataset": "covid", "name": "border", "class": "normal", "auroc": 0.52, "alarm": False}
    tables = {"leakage": leakage, "labels": labels, "shortcuts": shortcuts}
    tables = {
        name: pd.DataFrame([row | {k: v for k, v in changes.items() if k in row}]) for name, row in tables.items()
    }
    return tables | {"duplicates": pd.DataFrame(columns=["dataset", "other_dataset"])}


def light(name, tmp_path, frames=None, found=None):
    return next(light for light in lights(tmp_path, frames or {}, found or {}) if light.name == name)


def test_without_tables_nothing_is_known(tmp_path):
    assert [(light.name, light.level) for light in lights(tmp_path, {}, {})] == [(name, UNKNOWN) for name in NAMES]


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, GOOD, "at most 0.4% of a dataset’s labels"),
        ({"patients_known": False}, CARE, "COVID-19 names no patients"),
        ({"rate": 0.2, "low": 0.1}, CARE, "COVID-19 20%"),
        ({"shared_train_test": 3}, BAD, "3 patients are in two splits"),
    ],
)
def test_splits_and_labels(tmp_path, changes, level, words):
    found = light("Splits and labels", tmp_path, found=audit(**changes))
    assert found.level == level and words in found.text


def test_shortcuts_name_the_class_and_what_predicts_it(tmp_path):
    clean = light("Shortcuts", tmp_path, found=audit())
    assert clean.level == GOOD and clean.text.startswith("None of 1 probes without the lungs (border and corners)")
    seeing = audit()
    seeing["shortcuts"] = pd.concat([seeing["shortcuts"], seeing["shortcuts"].assign(name="thumbnail", auroc=0.97)])
    assert light("Shortcuts", tmp_path, found=seeing).text == clean.text
    found = light("Shortcuts", tmp_path, found=audit(alarm=True, auroc=0.9))
    assert found.level == BAD and found.text.startswith("1 of 1 probes") and "normal of COVID-19 from" in found.text


@pytest.mark.parametrize(("separated", "known", "level"), [(0, 0, GOOD), (0, 4, CARE), (2, 4, BAD)])
def test_copies(tmp_path, separated, known, level):
    frames = {"transfer": pd.DataFrame({"run": ["a"], "copies": [known]})}
    found = light("Copies", tmp_path, frames, audit(shared_duplicates=separated))
    assert found.level == level and ("no test scans" if not known else "4 test scans") in found.text


@pytest.mark.parametrize(("errors", "level"), [([0.01, 0.02], GOOD), ([0.01, 0.09], CARE), ([0.08, 0.09], BAD)])
def test_calibration_is_held_against_chance(tmp_path, errors, level):
    table = pd.DataFrame({"ece": 0.2, "ece_null": 0.05, "ece_scaled": errors, "ece_scaled_null": 0.05})
    found = light("Calibration", tmp_path, {"calibration": table})
    assert found.level == level and f"{max(errors):.3f}" in found.text


def test_a_run_that_was_changed_since_is_reported(tmp_path):
    for name in ("covid-resnet34-random", "covid-resnet34-random-seed1"):
        run = tmp_path / "runs" / name
        write_json(run / "metrics.json", {})
        write_json(run / "fingerprint.json", {"results": {"metrics.json": file_digest(run / "metrics.json")}})
    assert light("Reproducibility", tmp_path).word == "repeated"
    write_text(run / "metrics.json", '{"test": 1}')
    found = light("Reproducibility", tmp_path)
    assert found.level == BAD and found.text == f"1 of 2 runs were changed after training: {run.name}."


def test_what_is_not_to_be_concluded_depends_on_the_study():
    drawn = {"dataset": "covid", "drawn": True, "task": "multiclass"}
    pairs = pd.DataFrame({"p_holm": [0.01, 0.4, 0.6]})
    said = " ".join(cautions([drawn], {"model_pairs": pairs}, seeds=False))
    assert "every scan here is a drawing" in said and "1 of 3 pairs differ" in said and "trained once" in said
    alone = pd.DataFrame({"backbone": ["resnet34"]})
    said = " ".join(cautions([drawn | {"task": "multilabel"}], {"table_3": alone}, seeds=False))
    assert "That the architecture always has this score" in said and "harder" not in said and "better" not in said
    said = " ".join(cautions([drawn | {"drawn": False}], {}, seeds=True))
    assert "drawing" not in said and "trained once" not in said and "clinical use" in said
