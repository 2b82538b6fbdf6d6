"""docs/adding.md: what its blocks add is found in params, the graph, the drawings, the audit and the report."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lungkeras

PACKAGE = Path(lungkeras.__file__).parent
CHECKOUT = PACKAGE.parent
BLOCK = re.compile(r"^(New file|At the end of) `([^`]+)`:\n\n```\w+\n(.*?)^```$", flags=re.S | re.M)


@pytest.fixture(scope="module")
def page() -> str:
    file = CHECKOUT / "docs" / "adding.md"
    if not file.is_file():
        pytest.skip("no docs beside the package: it runs from an installed copy")
    return file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def copy(page, tmp_path_factory) -> Path:
    """A copy of the project with the blocks of the page."""
    folder = tmp_path_factory.mktemp("adding")
    for name in ("lungkeras", "notebooks"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "Snakefile", folder)
    for how, name, text in BLOCK.findall(page):
        file = folder / name
        assert file.is_file() == (how != "New file"), name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((file.read_text(encoding="utf-8") if file.is_file() else "") + text, encoding="utf-8")
    return folder


def run(folder: Path, *arguments: str) -> str:
    """What Python says, in the copy."""
    paths = os.pathsep.join([str(folder), str(Path(__file__).parent)])
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def test_every_block_of_the_page_is_put_somewhere(page):
    assert len(BLOCK.findall(page)) == page.count("```") / 2
    for what in ("dataset", "backbone", "metric", "figure", "probe"):
        assert f"\n## Add a {what}\n" in page


def test_the_command_line_and_params_offer_the_dataset_and_the_backbone(copy):
    assert "montgomery" in run(copy, "-m", "lungkeras", "phantom", "--help")
    code = "from lungkeras.study.params import Params; print(Params(dataset='montgomery', backbone='small_cnn').run)"
    code += "\ntry: Params(dataset='mnist')\nexcept ValueError as error: print(error)"
    said = run(copy, "-c", code)
    assert "montgomery-small_cnn-random" in said and re.search(
        r"'covid', .*'montgomery', .*'pneumonia', .*or 'xray8'", said
    )


def test_the_graph_prepares_trains_and_pictures_them(copy):
    said = run(copy, "-m", "lungkeras", "report", "mine", "--dry-run")
    for file in ("prepared/mine/montgomery/train.npy", "runs/montgomery-small_cnn-random/best.keras",
                 "tables/balanced_accuracy.csv", "figures/best_epochs.png",
                 "figures/embeddings_montgomery.png", "figures/heatmaps_montgomery.png"):  # fmt: skip
        assert file in said, file
    assert "figure_05" not in said


def test_the_drawings_of_the_others_are_the_same(copy):
    """A dataset more draws from a random stream of its own."""
    draw = "from lungkeras.datasets.phantoms.phantom import draw_source as d; d('pneumonia', 'more', scans=20, seed=3)"
    run(copy, "-c", draw)
    from lungkeras.datasets.phantoms.phantom import draw_source

    ours = draw_source("pneumonia", copy / "ours", scans=20, seed=3)
    files = sorted(file.relative_to(ours) for file in ours.rglob("*.jpeg"))
    assert files and all((ours / file).read_bytes() == (copy / "more" / file).read_bytes() for file in files)


def test_the_source_is_drawn_read_audited_by_the_probe_and_called_prepared_by_its_own_code(copy):
    code = """
        from pathlib import Path
        from lungkeras.datasets.datasheets import datasheets
        from lungkeras.datasets.phantoms.phantom import draw_source
        from lungkeras.preparation.audit import audit_source
        from lungkeras.preparation.audit.summary import as_text
        from lungkeras.preparation.made_from import is_prepared
        from lungkeras.preparation.prepare import prepare_dataset

        source = draw_source("montgomery", "drawn", scans=60)
        print(as_text(audit_source("montgomery", source)))
        prepare_dataset("montgomery", source, "prepared", size=32)
        assert is_prepared(Path("prepared"), "montgomery", source, size=32, seed=0)
        answers = datasheets({"montgomery": False})["answer"].tolist()
        assert "Not stated." in answers and any("Montgomery" in answer for answer in answers)
        print(open("drawn/BOXES.csv").read())
    """
    said = run(copy, "-c", "\n".join(line[8:] for line in code.splitlines()))
    assert re.search(r"brightness +tuberculosis", said)
    assert re.search(r"^MontgomerySet/CXR_png/MCUCXR_0001_1.png,tuberculosis,", said, flags=re.M)


def test_the_report_shows_the_further_table_figure_and_probe(copy):
    code = """
        import numpy as np, pandas as pd, synthetic
        from pathlib import Path
        from lungkeras.report.audit import PROBES
        from lungkeras.report.further import write_further
        from lungkeras.report.page import write_report
        from lungkeras.study.runs import Run
        from lungkeras.study.words import backbone_title

        def trained():
            one_hot = np.eye(3, dtype=int)[[0, 1, 2, 2]]
            columns = {f"label_{name}": one_hot[:, place] for place, name in enumerate("abc")}
            columns |= {f"probability_{name}": one_hot[[0, 1, 2, 1]][:, place] for place, name in enumerate("abc")}
            answers = pd.DataFrame({"split": "test"} | columns)
            params = {"dataset": "covid", "backbone": "resnet34", "weights": "random"}
            metrics = {"best_epoch": 3}
            return Run("covid-resnet34-random", params, None, answers, metrics, tuple("abc"), "multiclass")

        folder = Path("reports/tiny")
        words = synthetic.study(folder)
        list(write_further({"covid-resnet34-random": trained()}, {}, folder))
        html = write_report(folder, **words).read_text()
        assert 'id="balanced_accuracy"' in html and 'id="best_epochs"' in html and "Further tables and figures" in html
        scores = pd.read_csv(folder / "tables" / "balanced_accuracy.csv")["balanced_accuracy"]
        assert scores.round(3).tolist() == [0.833]
        assert PROBES["brightness"].title == "mean grey level" and backbone_title("small_cnn") == "Small CNN"
    """
    run(copy, "-c", "\n".join(line[8:] for line in code.splitlines()))


@pytest.mark.backend
def test_the_backbone_is_built_and_its_code_affects_only_its_own_runs(copy):
    code = """
        import lungkeras
        from lungkeras.study.made_from import training_made_from
        from pathlib import Path

        model = lungkeras.build_model("small_cnn", ("sick", "well"), "multiclass", image_size=32)
        assert model.output_shape == (None, 2)
        def hashes():
            return [training_made_from(lungkeras.Params(backbone=b), None)["code"] for b in ("resnet34", "small_cnn")]
        before, file = hashes(), Path("lungkeras/models/own/small_cnn.py")
        file.write_text(file.read_text().replace("(16, 32", "(8, 32"))
        after = hashes()
        assert before[0] == after[0] and before[1] != after[1]
    """
    run(copy, "-c", "\n".join(line[8:] for line in code.splitlines()))
