"""What is written is as readable as any file of the user, so that another user of the project can go on."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from lungkeras.system import places
from lungkeras.system.files import (
    atomic_folder,
    together,
    write_arrays,
    write_csv,
    write_json,
    write_parquet,
    write_text,
)

FRAME = pd.DataFrame({"a": [1]})


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def allowed(request):
    """The rights that a new file may have under this umask."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def mode(file) -> int:
    return file.stat().st_mode & 0o777


def test_every_file_has_the_mode_that_the_umask_leaves(allowed, tmp_path):
    write_text(tmp_path / "a.txt", "a")
    write_json(tmp_path / "a.json", {})
    write_csv(tmp_path / "a.csv", FRAME)
    write_parquet(tmp_path / "a.parquet", FRAME)
    write_arrays(tmp_path / "a.npz", {"a": np.zeros(1)})
    with atomic_folder(tmp_path / "folder") as new:
        write_text(new / "a.txt", "a")
    with together(tmp_path / "together", "page.html") as new:
        write_csv(new / "tables" / "a.csv", FRAME)
        write_text(new / "page.html", "a")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) == 8 and {mode(file) for file in files} == {allowed}
    assert mode(tmp_path / "folder") == mode(tmp_path / "together" / "tables") == allowed | (allowed >> 2 & 0o111)


def test_the_umask_of_the_process_is_not_touched(tmp_path):
    """Another thread would write with it in the meantime."""
    code = """
import os, sys
from lungkeras.system.files import write_text
os.umask = lambda *_: sys.exit("the umask was changed")
write_text(sys.argv[1], "a")
"""
    subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path / "a.txt")], check=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project's folder, and a source outside of it."""
    folder, source = tmp_path / "project", tmp_path / "chests"
    folder.mkdir()
    source.mkdir()
    monkeypatch.setattr(places, "project_folder", lambda: folder)
    return folder, source


def test_the_note_of_sources_is_read_by_all_users_of_the_project(allowed, project):
    folder, source = project
    places.remember(source)
    assert mode(folder / places.NOTE) == allowed
    assert places.find(places.recorded_name(source)) == source


def test_a_note_that_another_user_keeps_private_stays(project, monkeypatch):
    folder, source = project
    write_json(folder / places.NOTE, ["/somewhere"])
    before = (folder / places.NOTE).read_bytes()
    monkeypatch.setattr(os, "access", lambda file, _: file != folder / places.NOTE)
    places.remember(source)
    assert (folder / places.NOTE).read_bytes() == before
