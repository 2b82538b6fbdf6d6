"""Notebooks: paired, without outputs, with known parameters, in short cells; the first runs from end to end."""

import re
from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest

from lungkeras.study.params import Params
from lungkeras.study.params_files import load_study
from lungkeras.system.places import project_folder

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))
NAMES = [script.stem for script in SCRIPTS]
MOST_LINES = 16
LINK = re.compile(r"\]\((\w+)\.ipynb\)")


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


STUDY = ["01_data_preparation", "02_training", "03_evaluation", "04_visualization", "05_report"]
BY_HAND = ["06_explanation"]  # on a finished run; no step of the graph
RUNS = {"02_training": "pneumonia-mobilenet_v3_large-random", "06_explanation": "covid-efficientnet_b1-transfer"}


def test_five_notebooks_are_in_order_and_one_is_opened_by_hand():
    assert NAMES == STUDY + BY_HAND


@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_script_and_notebook_hold_the_same_cells_and_no_output(script):
    text, notebook = jupytext.read(script), nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    assert [(c.cell_type, c.source) for c in text.cells] == [(c.cell_type, c.source) for c in notebook.cells], (
        "run: make notebooks"
    )
    assert all(not cell.outputs and cell.execution_count is None for cell in code_cells(notebook))


@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_every_parameter_is_one_of_params(script):
    tagged = [cell for cell in code_cells(jupytext.read(script)) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    names = [line.partition("=")[0].strip() for line in tagged[0].source.splitlines()]
    assert set(names) <= set(Params.model_fields)


@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_opened_by_hand_it_works_on_the_demo_as_the_demo_is(script):
    shared, runs = load_study(project_folder() / "params" / "demo")
    demo = runs[RUNS[script.stem]] if script.stem in RUNS else shared
    (cell,) = [cell for cell in code_cells(jupytext.read(script)) if "parameters" in cell.metadata.get("tags", [])]
    defaults = {}
    exec(cell.source, defaults)
    del defaults["__builtins__"]
    opened = Params(**defaults)
    assert {name: getattr(opened, name) for name in defaults} == {name: getattr(demo, name) for name in defaults}


@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_it_reads_as_an_article(script):
    cells = jupytext.read(script).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    too_long = [
        cell.source
        for cell in cells
        if cell.cell_type == "code"
        and "parameters" not in cell.metadata.get("tags", [])  # a list, which holds no logic
        and len(cell.source.splitlines()) > MOST_LINES
    ]
    assert not too_long
    kinds = "".join(cell.cell_type[0] for cell in cells)
    assert "cccc" not in kinds, "more than three cells of code without a word between them"
    assert "?" in cells[0].source, "it opens with a question"
    assert "Lung Disease" in cells[0].source, "the paper is cited"
    assert cells[-1].cell_type == "markdown" and set(LINK.findall(cells[-1].source)) & set(NAMES)
    assert [cell for cell in cells if cell.source.startswith("## What was learned")]
    assert set(LINK.findall("".join(cell.source for cell in cells))) <= set(NAMES), "a link leads to no notebook"


def test_the_preparation_runs_from_end_to_end_on_drawn_scans(tmp_path):
    parameters = {
        "source": str(tmp_path / "source"),
        "prepared": str(tmp_path / "prepared"),
        "scans": 40,
        "image_size": 32,
    }
    papermill.execute_notebook(
        FOLDER / "01_data_preparation.ipynb", tmp_path / "out.ipynb", parameters, progress_bar=False, cwd=tmp_path
    )
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    pictures = [o for cell in code_cells(executed) for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3
    assert (tmp_path / "prepared" / "pneumonia" / "train.npy").is_file()
