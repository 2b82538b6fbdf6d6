"""What a stranger leaves in the folder in which a command is typed, or in a study, is not run and not followed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_study import small_study

from lungkeras import cli
from lungkeras.system.errors import FolderError
from lungkeras.system.files import refuse_links, write_text

CHECKOUT = Path(cli.__file__).resolve().parents[2]
MODULES = ("snakemake", "yaml", "lungkeras", "numpy", "keras", "sitecustomize")


def typed_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """As the console script starts it, whose own folder comes first."""
    command = [sys.executable, "-P", "-m", "lungkeras", *arguments]
    variables = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def foreign(tmp_path) -> Path:
    """A folder with modules and a profile that leave a mark where they are taken."""
    folder = tmp_path / "foreign"
    (folder / "profiles" / "default").mkdir(parents=True)
    mark = f"open({str(tmp_path / 'mark')!r}, 'a').write(__name__)\n"
    for name in MODULES:
        (folder / f"{name}.py").write_text(mark)
    (folder / "profiles" / "default" / "config.yaml").write_text("cores: 1\nreport: /tmp/foreign.html\nlint: true\n")
    return folder


def test_no_module_and_no_profile_is_taken_from_where_a_command_is_typed(foreign, tmp_path):
    study, results = small_study(tmp_path, "pneumonia-mobilenet_v3_large-random")
    done = typed_in(foreign, "report", str(study), "--dry-run")
    assert not (tmp_path / "mark").exists()
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout and not (results / "report.html").exists()


@pytest.mark.parametrize("place", ["tables", "notebooks/.running-03_evaluation.ipynb", "runs/a/best.keras"])
def test_a_link_in_a_study_is_refused_before_anything_is_written(place, tmp_path, capsys):
    study, results = small_study(tmp_path, "pneumonia-mobilenet_v3_large-random")
    outside = tmp_path / "outside"
    outside.write_text("somebody's")
    (results / place).parent.mkdir(parents=True, exist_ok=True)
    (results / place).symlink_to(outside)
    assert cli.main(["report", str(study)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"lungkeras: {results / place} is a link, and results are written next to it")
    assert said.count("\n") == 1 and outside.read_text() == "somebody's"


def test_a_folder_of_results_may_be_a_link(tmp_path):
    (tmp_path / "disk" / "tables").mkdir(parents=True)
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    refuse_links(tmp_path / "results")
    write_text(tmp_path / "results" / "tables" / "a.csv", "a")
    (tmp_path / "disk" / "tables" / "b.csv").symlink_to("a.csv")
    with pytest.raises(FolderError, match=r"b\.csv is a link"):
        refuse_links(tmp_path / "results")


def test_a_file_is_written_in_place_of_a_link(tmp_path):
    outside, file = tmp_path / "outside", tmp_path / "a.csv"
    outside.write_text("somebody's")
    file.symlink_to(outside)
    write_text(file, "ours")
    assert outside.read_text() == "somebody's" and file.read_text() == "ours" and not file.is_symlink()
