"""What a wheel lays out where the user is: once, whole, and over nothing that lies there."""

import pytest

from lungkeras.study import layout
from lungkeras.system.errors import FolderError

FILES = {"Snakefile": "# lungkeras\n", "notebooks/01.ipynb": "{}\n", "params/demo/study.yaml": "epochs: 3\n"}


@pytest.fixture
def shipped(tmp_path):
    """What a wheel ships, with a script and what Python leaves beside it."""
    folder = tmp_path / "lungkeras_project"
    for name, text in (FILES | {"params/profiles/k/submit": "#!/bin/sh\n", "notebooks/__pycache__/01.pyc": ""}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "params/profiles/k/submit").chmod(0o755)
    return folder


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def test_an_empty_folder_gets_the_project_once(shipped, project, capsys):
    assert layout.lay_out(shipped, project) == sorted([*FILES, "params/profiles/k/submit"])
    assert {name: (project / name).read_text() for name in FILES} == FILES
    assert (project / "params/profiles/k/submit").stat().st_mode & 0o100
    assert not (project / "params/demo/study.yaml").stat().st_mode & 0o100
    assert not (project / "notebooks" / "__pycache__").exists()
    assert "Snakefile, notebooks, params (4 files)" in capsys.readouterr().err
    assert layout.lay_out(shipped, project) == [] and capsys.readouterr().err == ""


def test_what_the_user_changed_stays_and_what_they_removed_stays_away(shipped, project, capsys):
    layout.lay_out(shipped, project)
    (project / "params/demo/study.yaml").write_text("epochs: 9\n")
    (project / "notebooks/01.ipynb").unlink()
    capsys.readouterr()
    assert layout.lay_out(shipped, project) == [] and capsys.readouterr().err == ""
    assert (project / "params/demo/study.yaml").read_text() == "epochs: 9\n"
    assert not (project / "notebooks/01.ipynb").exists()


def test_a_newer_version_is_announced_once_and_its_new_files_are_copied(shipped, project, capsys):
    layout.lay_out(shipped, project)
    (shipped / "params/demo/study.yaml").write_text("epochs: 4\n")
    (shipped / "params/demo/covid-resnet34-random.yaml").write_text("dataset: covid\n")
    capsys.readouterr()
    assert layout.lay_out(shipped, project) == ["params/demo/covid-resnet34-random.yaml"]
    assert "others now: params/demo/study.yaml" in capsys.readouterr().err
    assert (project / "params/demo/study.yaml").read_text() == "epochs: 3\n"
    assert layout.lay_out(shipped, project) == [] and capsys.readouterr().err == ""


def test_existing_files_stay_at_the_first_start_and_are_named(shipped, project, capsys):
    (project / "params/demo").mkdir(parents=True)
    (project / "params/demo/study.yaml").write_text("epochs: 1\n")
    assert "params/demo/study.yaml" not in layout.lay_out(shipped, project)
    assert (project / "params/demo/study.yaml").read_text() == "epochs: 1\n"
    assert "others now: params/demo/study.yaml" in capsys.readouterr().err


def test_nothing_is_copied_in_a_checkout_or_without_a_wheel(shipped, project):
    assert layout.lay_out(project / "absent", project) == []
    (project / "lungkeras").mkdir()
    (project / "lungkeras" / "__init__.py").touch()
    assert layout.lay_out(shipped, project) == [] and not (project / "Snakefile").exists()


def test_anothers_snakefile_and_a_link_out_of_the_project_are_refused(shipped, project, tmp_path):
    (project / "Snakefile").write_text("rule all:\n")
    with pytest.raises(FolderError, match="Snakefile belongs to another project: run the command in a new folder"):
        layout.lay_out(shipped, project)
    (project / "Snakefile").unlink()
    (tmp_path / "elsewhere").mkdir()
    (project / "params").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match="params is a link"):
        layout.lay_out(shipped, project)
    assert not list((tmp_path / "elsewhere").iterdir())
