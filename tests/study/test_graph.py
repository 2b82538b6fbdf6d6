"""The graph of notebooks: why a study stopped, in one sentence. Its runs are tested in test_study.py."""

import json

from lungkeras.study import graph


def test_a_failed_notebook_is_named_with_its_error(tmp_path):
    output = {"output_type": "error", "ename": "RunError", "evalue": "prepared is gone.\nPrepare it", "traceback": []}
    notebook = {"cells": [{"cell_type": "code", "outputs": [output]}]}
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "02_training-covid-resnet34-random.failed.ipynb").write_text(json.dumps(notebook))
    sentence = graph.failure(tmp_path, tmp_path)
    assert sentence.startswith("02_training-covid-resnet34-random failed: prepared is gone. Prepare it.")
    assert sentence.endswith(".failed.ipynb")
