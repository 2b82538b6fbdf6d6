"""The examples in docstrings run: those of what a user calls first on a phantom, the others as they stand."""

import doctest
import importlib
from pathlib import Path

import pytest
from small_training import small_model

import lungkeras
from lungkeras.datasets.phantoms.phantom import draw_source

FIRST = (
    *("read_records", "split_records", "class_counts", "flow", "audit_source"),
    *("prepare_scan", "prepare_dataset", "load_prepared"),
    *("adjust_sharpness", "autocontrast", "flip_horizontal", "Augmentation"),
    *("build_model", "save_model", "load_model", "grad_cam"),
    *("Params", "load_params", "read_run", "read_runs", "per_class"),
    *("load_predictor", "predict_images", "predict_scan"),
)
PACKAGE = Path(lungkeras.__file__).parent
WITH_EXAMPLES = sorted(
    path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if "    >>> " in path.read_text(encoding="utf-8")
)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with the source, the prepared dataset, the run and the params that the examples name."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        draw_source("pneumonia", "sources/demo/pneumonia", scans=60, seed=0)
        lungkeras.prepare_dataset("pneumonia", "sources/demo/pneumonia", "prepared/demo/pneumonia", size=32)
        shared = {"prepared": str(folder / "prepared/demo"), "runs": str(folder / "reports/demo/runs")}
        params = lungkeras.Params(**shared, image_size=32, backbone="resnet34", epochs=2, batch_size=8)
        lungkeras.train(params, small_model())
        (folder / "lr0.01.yaml").write_text("dataset: covid\nbackbone: resnet34\nlearning_rate: 0.01\n")
        yield folder


@pytest.mark.parametrize("name", FIRST)
def test_the_example_of_a_docstring_runs_and_gives_what_it_says(name, project):
    (test,) = doctest.DocTestFinder(recurse=False).find(getattr(lungkeras, name), name, globs={"lungkeras": lungkeras})
    assert test.examples, f"{name} has no example"
    printed: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=printed.append)
    assert not printed, "".join(printed)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_other_examples_of_a_module_are_true(module):
    loaded = importlib.import_module(module)
    runner, printed = doctest.DocTestRunner(optionflags=OPTIONS), []
    for test in doctest.DocTestFinder().find(loaded):
        if test.name.rpartition(".")[2] not in FIRST:
            runner.run(test, out=printed.append)
    assert not printed, "".join(printed)
