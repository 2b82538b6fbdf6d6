"""`lungkeras compare`: the lines and the page, from two folders of runs."""

import numpy as np
import pandas as pd
import pytest
import yaml
from parsed_page import Page

from lungkeras.cli.program import main
from lungkeras.system.files import write_csv, write_json, write_parquet, write_text

RUN = "covid-resnet34-random"
CLASSES = ("covid", "viral_pneumonia", "normal")


def write_study(folder, wrong: int, rate: float) -> None:
    """A study of one run, with so many wrong answers of 40 in each split."""
    run, labels = folder / "runs" / RUN, np.arange(40) % 3
    decided = np.where(np.arange(40) < wrong, (labels + 1) % 3, labels)
    table = pd.DataFrame({"scan": [f"<{place}>.png" for place in range(40)], "patient": np.arange(40)})
    for column, name in enumerate(CLASSES):
        table[f"label_{name}"] = (labels == column).astype(int)
        table[f"probability_{name}"] = np.where(decided == column, 0.8, 0.1)
    write_parquet(run / "predictions.parquet", pd.concat([table.assign(split="val"), table.assign(split="test")]))
    params = {"dataset": "covid", "backbone": "resnet34", "weights": "random", "learning_rate": rate}
    write_text(run / "params.yaml", yaml.safe_dump(params))
    history = {
        "epoch": [1],
        "loss": [1.0],
        "macro_f1": [0.5],
        "val_loss": [1.0],
        "val_macro_f1": [0.5],
        "seconds": [1.0],
    }
    write_csv(run / "history.csv", pd.DataFrame(history))
    write_json(run / "metrics.json", {"classes": [*CLASSES], "task": "multiclass", "best_epoch": 1})


def test_two_studies_are_printed_and_written(tmp_path, capsys):
    write_study(tmp_path / "good", 0, 0.01)
    write_study(tmp_path / "poor", 12, 0.1)
    file = tmp_path / "compare.html"
    assert main(["compare", str(tmp_path / "good"), str(tmp_path / "poor"), "--to", str(file)]) == 0
    said = capsys.readouterr().out
    assert "good less poor" in said and f"{RUN}: 1.000 0." in said and "learning_rate 0.01 | 0.1" in said
    page = Page(file.read_text(encoding="utf-8"))
    assert not page.unclosed and not page.open
    assert "1 of 1 pairs predict the same test scans; 1 of them differ significantly" in page.text
    assert "learning_rate 0.01 0.1" in page.text and page.text.count("ResNet-34") == 2


@pytest.mark.parametrize("study", ["nowhere", "demos"])
def test_what_is_no_study_is_one_sentence(study, capsys):
    assert main(["compare", study, study]) == 1
    assert "No study" in capsys.readouterr().err
