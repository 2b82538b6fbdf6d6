"""Why a study stopped, in one sentence."""

import json
import os

import pytest

from lungkeras.study.failed_notebooks import failed_notebooks, failure


def failed_notebook(study, name: str, content: str, at: int):
    file = study / "notebooks" / f"{name}.failed.ipynb"
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    os.utime(file, (at, at))
    return file


def test_a_failed_notebook_is_named_with_its_error(tmp_path):
    output = {"output_type": "error", "ename": "RunError", "evalue": "prepared is gone.\nPrepare it", "traceback": []}
    notebook = {"cells": [{"cell_type": "code", "outputs": [output]}]}
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "02_training-covid-resnet34-random.failed.ipynb").write_text(json.dumps(notebook))
    sentence = failure(tmp_path, tmp_path)
    assert sentence.startswith("02_training-covid-resnet34-random failed: prepared is gone. Prepare it.")
    assert sentence.endswith(".failed.ipynb")


def test_the_last_of_several_failures_is_told_and_the_others_are_counted(tmp_path):
    error = {"output_type": "error", "ename": "KeyError", "evalue": "'scan'", "traceback": []}
    content = json.dumps({"cells": [{"outputs": [error]}]})
    failed_notebook(tmp_path, "02_training-a", content, at=1_000)
    last = failed_notebook(tmp_path, "02_training-b", content, at=2_000)
    assert failure(tmp_path, tmp_path) == (
        f"02_training-b failed (1 more failed): 'scan'. The notebook is kept: {last}"
    )


def test_failures_from_before_the_start_do_not_count(tmp_path):
    failed_notebook(tmp_path, "02_training-a", json.dumps({"cells": []}), at=1_000)
    earlier = failed_notebooks(tmp_path)
    assert "before a notebook failed" in failure(tmp_path, tmp_path, earlier)
    failed_notebook(tmp_path, "02_training-a", json.dumps({"cells": []}), at=2_000)
    assert failure(tmp_path, tmp_path, earlier).startswith("02_training-a failed: ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (json.dumps({"cells": [{"cell_type": "code", "outputs": []}]}), "its kernel died, as when memory runs out"),
        ('{"cells": [', "it could not be written"),
        (
            json.dumps({"cells": [{"outputs": [{"output_type": "error", "ename": "MemoryError", "evalue": ""}]}]}),
            "not enough memory",
        ),
        (
            json.dumps({"cells": [{"outputs": [{"output_type": "error", "ename": "Oops", "evalue": "no"}]}]}),
            "Oops no",
        ),
    ],
)
def test_the_reason_is_read_from_what_the_notebook_holds(tmp_path, content, reason):
    failed_notebook(tmp_path, "02_training-a", content, at=1_000)
    assert failure(tmp_path, tmp_path).startswith(f"02_training-a failed: {reason}")
