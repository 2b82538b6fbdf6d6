"""Machines as they go wrong: no home, another user, no locks, few open files, a poor terminal, a wrong clock.

Each ends in a result, or in one sentence, and the same command then goes on.
"""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from folder_contents import contents
from small_study import small_study

from lungkeras import cli
from lungkeras.datasets.registry import read_records
from lungkeras.preparation.folder import load_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.study import failed_notebooks, status
from lungkeras.system import installation, locks
from lungkeras.system.errors import FolderError, SourceError
from lungkeras.system.files import write_text
from lungkeras.system.locks import alone
from lungkeras.system.processes import ROOT, variables

# Another user, who may read whatever is on this machine and write nothing of ours.
ANOTHER = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--inh-caps=+dac_read_search",
           "--ambient-caps=+dac_read_search"]  # fmt: skip
POOR = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii:strict"}


def lungkeras(*arguments: object, before=(), cwd: Path | None = None, without=(), **changed: str):
    """The command in a process of its own: what it said, and its status."""
    environment = {name: value for name, value in variables(**changed).items() if name not in without}
    command = [*before, sys.executable, "-P", "-m", "lungkeras", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, env=environment, cwd=cwd)


def sentence(done: subprocess.CompletedProcess) -> str:
    lines = done.stderr.decode().splitlines(keepends=True)
    said = "".join(line for line in lines if " of " not in line or line.startswith("lungkeras: "))  # but progress
    assert done.returncode == 1 and said.startswith("lungkeras: ") and said.count("\n") == 1, said
    return said


@pytest.fixture
def open_folder():
    """A folder that every user may enter and write to."""
    folder = Path(tempfile.mkdtemp(prefix="lungkeras-unlucky-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def another_user() -> list[str]:
    """What a command begins with to be another user's."""
    done = subprocess.run([*ANOTHER, sys.executable, "-c", ""], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no right to become another user here: {done.stderr.strip() or done.returncode}")
    return ANOTHER


@pytest.fixture
def read_only():
    """What a command begins with to see a folder as read-only, even as root: a function of the folder."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("no right to mount a folder anew here")
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    return lambda folder: ["unshare", "-m", "sh", "-c", mount, str(folder)]


def limited(limit: str) -> list[str]:
    return ["sh", "-c", f'ulimit {limit}; exec "$@"', "sh"]


@pytest.fixture
def prepare(phantom_source):
    """A function that prepares a small dataset with a command, and returns how it ended."""
    return lambda to, *more, source=None, **options: lungkeras(
        "prepare", "covid", "--source", source or phantom_source("covid"), "--to", to, "--size", "16", *more, **options
    )


def test_a_poor_terminal_and_a_folder_of_any_letters(prepare, tmp_path, injected):
    to = tmp_path / "größe 胸部 100% #1" / "covid"
    done = prepare(to, **POOR)
    assert done.returncode == 0 and done.stdout.isascii(), done.stderr
    assert len(load_prepared(to).records) == 60
    injected("poor terminals and locales", 1)


LETTERS = "größe 胸部"


@pytest.mark.faults
def test_a_study_in_the_c_locale_and_a_folder_of_any_letters(tmp_path, injected):
    """Python itself reads names as UTF-8 there; where it is set not to, the sentence says so."""
    (tmp_path / LETTERS).mkdir()
    study, _ = small_study(tmp_path / LETTERS, "pneumonia-mobilenet_v3_large-random")
    assert "no folder" in reached(study, tmp_path, LC_ALL="C", LANG="C")
    said = sentence(lungkeras("report", study, "--cores", "1", **POOR))
    assert said.startswith("lungkeras: study: ") and "encoding of this locale, ascii, can't spell it: set" in said
    injected("poor terminals and locales", 1)


SPELT = """
import sys
from lungkeras.system.text import is_spelt_here
print([is_spelt_here(name) for name in sys.argv[1:]])
"""


def test_a_path_that_the_locale_can_not_spell_is_reported(monkeypatch, capsys):
    command = [sys.executable, "-P", "-c", SPELT, LETTERS, "plain", b"no utf-8: \xff"]
    for changed, expected in ((POOR, "[False, True, True]"), ({"PYTHONUTF8": "1"}, "[True, True, True]")):
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=variables(**changed))
        assert done.stdout.strip() == expected

    def unspelt(*_):
        raise UnicodeEncodeError("ascii", LETTERS, 2, 3, "ordinal not in range(128)")

    monkeypatch.setattr(installation, "installation", unspelt)
    assert cli.main(["info"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        f"lungkeras: {LETTERS}: the encoding of this locale, ascii, can't spell it: set PYTHONUTF8=1"
    )


@pytest.mark.faults
def test_a_locale_that_writes_commas(prepare, phantom_source, tmp_path, injected):
    locale = tmp_path / "locales" / "de_DE.UTF-8"
    locale.parent.mkdir()
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", str(locale)], check=False, capture_output=True
    )
    if not made or not locale.is_dir():
        pytest.skip("no localedef here, or no description of German")
    prepare_dataset("covid", phantom_source("covid"), tmp_path / "plain", size=16)
    done = prepare(tmp_path / "commas", LOCPATH=str(locale.parent), LC_ALL="de_DE.UTF-8")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "commas") == contents(tmp_path / "plain")
    injected("poor terminals and locales", 1)


@pytest.mark.faults
def test_no_home(prepare, tmp_path, injected):
    done = prepare(tmp_path / "covid", without=("HOME", "USER", "LOGNAME"))
    assert done.returncode == 0, done.stderr
    injected("homes that are not there or can't be written", 1)


@pytest.mark.faults
def test_a_home_and_a_source_that_can_not_be_written(prepare, read_only, phantom_source, tmp_path, injected):
    home, source = tmp_path / "home", tmp_path / "source"
    home.mkdir()
    shutil.copytree(phantom_source("covid"), source)
    done = prepare(tmp_path / "covid", source=source, before=[*read_only(home), *read_only(source)], HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert contents(source) == contents(phantom_source("covid")) and not list(home.iterdir())
    injected("homes that are not there or can't be written", 1)


def reached(study: Path, home: Path, **options) -> str:
    """Starts a study whose source is missing: what it says has come through the graph, a notebook and its kernel."""
    file = study / "study.yaml"
    shared = yaml.safe_load(file.read_text()) | {"acquire": "given", "source": str(home / "no-such-source")}
    file.write_text(yaml.safe_dump(shared))
    return sentence(lungkeras("report", study, "--cores", "1", **options))


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["no home", "a read-only home", "few open files"])
def test_the_graph_and_its_notebooks_run_on_an_unlucky_machine(fault, read_only, tmp_path, injected):
    home, other = tmp_path / "home größe 100% #1", tmp_path / "other"
    home.mkdir()
    other.mkdir()
    study, _ = small_study(home, "pneumonia-mobilenet_v3_large-random")
    options = {
        "no home": {"without": ("HOME", "USER", "LOGNAME")},
        "a read-only home": {"before": read_only(other), "HOME": str(other)},
        "few open files": {"before": limited("-n 1024")},
    }[fault]
    assert "01_data_preparation-pneumonia failed: pneumonia: no folder" in reached(study, home, **options)
    injected("studies begun on unlucky machines", 1)


@pytest.fixture
def project(tmp_path) -> Path:
    """A project of its own."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


@pytest.mark.faults
def test_a_kernel_that_is_missing_is_named(project, injected):
    study, _ = small_study(project, "pneumonia-mobilenet_v3_large-random")
    notebook = project / "notebooks" / "01_data_preparation.ipynb"
    whole = notebook.read_text()
    notebook.write_text(whole.replace('"name": "python3"', '"name": "no-such-kernel"'))
    said = sentence(lungkeras("report", study, "--cores", "1", cwd=project))
    assert "there is no Jupyter kernel python3 here: install ipykernel" in said
    notebook.write_text(whole)
    assert "no folder" in reached(study, project, cwd=project)
    injected("kernels that are missing", 1)


def test_a_missing_kernel_is_known_by_the_words_of_papermill(tmp_path):
    failed = tmp_path / "notebooks" / "05_report.failed.ipynb"
    write_text(failed, '{"cells": []}')
    assert "its kernel died" in failed_notebooks.failure(tmp_path, tmp_path)
    write_text(tmp_path / "logs" / "05_report.log", "jupyter_client.kernelspec.NoSuchKernel: No such kernel named x\n")
    assert "no Jupyter kernel python3" in failed_notebooks.failure(tmp_path, tmp_path)


@pytest.mark.faults
def test_few_open_files_are_a_sentence(prepare, tmp_path, injected):
    to = tmp_path / "covid"
    said = sentence(prepare(to, "--workers", "20", before=limited("-n 30")))
    assert "too many open files: raise the limit (ulimit -n), or do less at once (--workers)" in said
    assert not list(tmp_path.iterdir())
    assert prepare(to, "--workers", "2", before=limited("-n 64")).returncode == 0
    injected("limits of open files and of sizes", 1)


@pytest.mark.faults
def test_files_that_may_not_be_so_large_are_a_sentence(prepare, tmp_path, injected):
    to = tmp_path / "covid"
    said = sentence(prepare(to, before=limited("-f 8")))
    assert "it would be larger than a file may be here" in said and "raise the limit (ulimit -f)" in said
    assert not list(tmp_path.iterdir())
    assert prepare(to).returncode == 0
    injected("limits of open files and of sizes", 1)


def test_a_quota_that_is_used_up_is_a_sentence_wherever_a_file_is_written(
    phantom_source, tmp_path, monkeypatch, capsys, injected
):
    """Quota is no part of this kernel's file systems as a rule: the system's error is given in its place."""

    def used_up(_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    words = "your quota of its disk is used up"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", used_up)
        with pytest.raises(FolderError, match=f"{words} .* remove files of yours there, then run the same command"):
            write_text(tmp_path / "table.csv", "a")
        command = ["prepare", "covid", "--source", str(phantom_source("covid")), "--to", str(tmp_path / "covid")]
        assert cli.main(command) == 1
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:  # what is written by none of our functions
        patch.setattr(installation, "installation", used_up)
        assert cli.main(["info"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("lungkeras: a file can't be written: your quota") and said.count("\n") == 1
    assert cli.main(command) == 0
    injected("quotas that are used up", 2)


@pytest.mark.faults
def test_another_users_result_stays_as_it_is(prepare, another_user, open_folder, phantom_source, injected):
    ours = open_folder / "ours"
    prepare_dataset("covid", phantom_source("covid"), ours / "covid", size=32)
    before = contents(ours)
    said = sentence(prepare(ours / "covid", before=another_user))
    assert "can't be written (permission denied): make its folder writable or name another one" in said
    assert contents(ours) == before
    assert prepare(open_folder / "theirs", before=another_user, HOME="/nonexistent").returncode == 0
    injected("files of another user", 1)


def test_a_folder_that_nobody_may_read_is_named(tmp_path, monkeypatch):
    closed, listed = tmp_path / "closed", os.scandir

    def refuse(folder="."):
        if Path(folder) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    closed.mkdir()
    with pytest.raises(SourceError, match=r"closed can't be read \(Permission denied\): give yourself the right"):
        read_records("pneumonia", tmp_path)


TAKE = """
import sys
from lungkeras.system.locks import alone
with alone(sys.argv[1], "it is being made", patience=0):
    pass
"""


def test_two_users_do_not_make_one_result_at_once(another_user, open_folder, injected):
    lock = open_folder / ".lock"
    take = [*another_user, sys.executable, "-P", "-c", TAKE, str(lock)]
    with alone(lock, "it is being made"):
        done = subprocess.run(take, check=False, capture_output=True, text=True, env=variables())
        assert f"it is being made by process {os.getpid()} on " in done.stderr, done.stderr
    write_text(lock, "left by a process that was killed")
    assert subprocess.run(take, check=False, env=variables()).returncode == 0
    assert not lock.exists()
    injected("files of another user", 1)


@pytest.mark.faults
def test_two_users_report_one_study_at_once(another_user, open_folder, project, tmp_path, injected):
    """In a folder that both may write to: one makes it whole, the other gets a sentence, then finds it made."""
    home = open_folder / "project"
    shutil.copytree(project, home)
    study, results = small_study(open_folder, "pneumonia-mobilenet_v3_large-random")
    for place in (open_folder, *open_folder.rglob("*")):
        place.chmod(0o777)
    shared = ["sh", "-c", 'umask 0; exec "$@"', "sh"]
    command = [sys.executable, "-P", "-m", "lungkeras", "report", str(study), "--cores", "1"]
    with (tmp_path / "said").open("wb") as said:
        first = subprocess.Popen(
            [*another_user, *shared, *command], env=variables(HOME="/nonexistent"), cwd=home, stdout=said, stderr=said
        )
    while not (results / ".lock").exists() and first.poll() is None:
        time.sleep(0.05)
    second = lungkeras("report", study, "--cores", "1", before=shared, cwd=home)
    if first.poll() is None:
        assert f"is being made by process {first.pid} on " in sentence(second)
    assert first.wait() == 0, (tmp_path / "said").read_text()
    before = contents(results / "runs")
    assert before and (results / "report.html").is_file()
    third = lungkeras("report", study, "--cores", "1", before=shared, cwd=home)
    assert third.returncode == 0 and contents(results / "runs") == before, third.stderr
    injected("files of another user", 1)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named_once_and_used(number, tmp_path, monkeypatch, capsys, injected):
    def none(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setenv(locks.WARNED, "")
    for _ in range(2):
        with alone(tmp_path / ".lock", "it is being made"):
            write_text(tmp_path / "table.csv", "a")
    said = capsys.readouterr().err
    assert said == f"{tmp_path} is on a file system without locks: don't run a second command that writes there\n"
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]
    injected("file systems without locks", 1)


def test_names_that_differ_in_case_alone_are_different_scans(phantom_source, tmp_path, injected):
    source = tmp_path / "source"
    shutil.copytree(phantom_source("covid"), source)
    scans = sorted(next(source.glob("*/COVID/images")).iterdir())
    for scan, name in zip(scans, ("COVID-a.png", "COVID-A.png"), strict=False):
        scan.rename(scan.with_name(name))
    summary = prepare_dataset("covid", source, tmp_path / "prepared", size=16)
    assert summary["quarantined"] == 0 and len(set(load_prepared(tmp_path / "prepared").records["scan"])) == 60
    injected("folders and scans of odd names", 1)


CHANGES = {
    "written anew": lambda _, read: read[3].write_bytes(read[4].read_bytes()),
    "longer": lambda _, read: read[3].open("ab").write(b"\0"),
    "another in its place": lambda _, read: shutil.copy(read[4], read[3]),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_scan_that_changes_while_it_is_read_gives_no_mixed_dataset(how, prepared_while, injected):
    words = r"1 of 60 scans changed while they were read, such as .*\.jpeg"
    source, to = prepared_while(CHANGES[how], words)
    assert prepare_dataset("pneumonia", source, to, size=16)["quarantined"] == 0
    injected("sources that vanish or change while they are read", 1)


@pytest.mark.parametrize("now", [10.0, 5e9])
def test_a_clock_that_jumps_changes_no_result_and_no_words(now, phantom_source, tmp_path, monkeypatch, injected):
    """At 1970, as on a board without a battery, and far ahead; dates of files decide nothing."""
    source = tmp_path / "source"
    shutil.copytree(phantom_source("covid"), source)
    prepare_dataset("covid", source, tmp_path / "whole", size=16)
    for file in source.rglob("*"):
        os.utime(file, (now, now))
    status.begin(tmp_path, 2)
    status.plan(tmp_path, {"a": ("prepare", "prepare", 10.0), "b": ("train", "resnet34", 10.0)})
    monkeypatch.setattr(time, "time", lambda: now)
    prepare_dataset("covid", source, tmp_path / "jumped", size=16)
    assert contents(tmp_path / "jumped") == contents(tmp_path / "whole")
    assert status.done(tmp_path / status.NAME, "a", -5.0).startswith("1 of 2")
    with alone(tmp_path / ".lock", "it is being made"):
        assert status.sentence(tmp_path, "demo").startswith("demo: running for ")
    injected("clocks that jump", 1)
