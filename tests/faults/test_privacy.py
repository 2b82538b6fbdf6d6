"""What leaves this machine in a result tells nothing of it: no path, no user, no name of a folder above a source."""

import getpass
import json
import os
from pathlib import Path

import pytest

import lungkeras
from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.explanation import gallery
from lungkeras.preparation.folder import load_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system import places


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of its own in a folder whose names are private."""
    folder = tmp_path / "private-home" / "project"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "Snakefile").touch()
    monkeypatch.chdir(folder)
    return folder


def holders(folder: Path, words: list[str]) -> dict[str, list[str]]:
    """The files below a folder that hold one of the words, and which."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    found = {str(file): [word for word in words if word.encode() in file.read_bytes()] for file in files}
    return {file: words for file, words in found.items() if words}


def test_a_prepared_dataset_hides_the_path_of_its_source_and_finds_it_here(project, tmp_path):
    source = draw_source("pneumonia", tmp_path / "private-disk" / "scans", scans=40)
    to = project / "prepared" / "pneumonia"
    prepare_dataset("pneumonia", source, to, size=16)
    words = ["private-home", "private-disk", str(tmp_path), os.path.expanduser("~"), os.getcwd()]
    assert holders(to, words) == {}
    assert json.loads((to / "statistics.json").read_text())["source"].startswith("scans~")
    prepared = load_prepared(to)
    assert places.find(prepared.source) == source
    assert gallery.steps(prepared)["original"].shape != (16, 16)
    (project / places.NOTE).unlink()
    assert places.find(prepared.source) is None and list(gallery.steps(prepared)) == ["resized"]


def test_a_source_within_the_project_is_named_from_there(project):
    assert places.recorded_name(project / "sources" / "demo" / "covid") == "sources/demo/covid"
    places.remember(project / "sources")
    assert not (project / places.NOTE).exists()


@pytest.mark.parametrize("source", ["/", "../..", "sources/../../..", "", "\0"])
def test_a_strangers_result_names_no_place_outside(source, project):
    assert places.find(source) is None


def test_results_of_a_stranger_within_the_checkout_bring_no_snakefile(monkeypatch):
    checkout = Path(lungkeras.__file__).resolve().parent.parent
    theirs = checkout / "reports" / "theirs"
    monkeypatch.setattr(places.Path, "cwd", lambda: theirs)
    monkeypatch.setattr(places.Path, "is_file", lambda path: True)
    monkeypatch.setattr(places.Path, "is_dir", lambda path: True)
    assert places.project_folder() == checkout


def test_the_name_of_the_user_is_not_in_a_recorded_path():
    assert (
        getpass.getuser() not in places.recorded_name(Path.home() / "elsewhere" / "scans")
        or Path.home().name == "scans"
    )
