"""Cleaning shows, then removes, what no result needs; nothing of a finished study is made again for it."""

import fcntl
import shutil
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
import yaml
from finished_study import OTHER, SCRATCH, TRANSFERRED, listed, planned

from lungkeras import cli
from lungkeras.study import cleaning, freshness

UNNAMED = "covid-mobilenet_v3_large-random"


@pytest.fixture
def study(copied, monkeypatch):
    """The folder of a finished study of three runs, in a project of its own."""
    monkeypatch.setattr(cleaning, "project_folder", lambda: copied / "project")
    return copied


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def written(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("left over")
    return list(names)


def clean(study: Path, *more: str) -> int:
    return cli.main(["clean", str(study / "params"), *more])


def found(study: Path) -> dict[str, str]:
    """{path from the study's folder: kind}"""
    table = cleaning.leftovers(study / "params")
    return {path.relative_to(study).as_posix(): kind for path, kind in zip(table["path"], table["kind"], strict=True)}


def test_what_no_result_needs_is_shown_then_removed_and_nothing_is_made_again(study, capsys):
    before = files(study)
    temporaries = written(
        study,
        "report/.writing-a.html",
        "report/tables/.writing-b.csv",
        f"report/runs/{OTHER}/.writing-c.npz",
        f"report/runs/{SCRATCH}/export/.writing-d.folder/model.onnx",
        "report/notebooks/.running-05_report.ipynb",
        "prepared/.writing-f",
        "prepared/.writing-f.folder/new/images.npy",
        "sources/.writing-e.folder/new/scan.png",
    )
    failed = [f"02_training-{OTHER}", "01_data_preparation-covid", "03_evaluation", "05_report"]
    failed = written(study, *(f"report/notebooks/{name}.failed.ipynb" for name in failed))
    checkpoints = written(
        study, f"report/runs/{OTHER}/checkpoint.npz", f"report/runs/{TRANSFERRED}/checkpoint-before.npz"
    )
    planted = files(study)

    assert clean(study) == 0
    shown = capsys.readouterr().out
    for name in [*failed, *checkpoints]:
        assert name in shown
    assert "14 leftovers, 0.0 MB; --yes removes them" in shown
    assert files(study) == planted
    kinds = found(study)
    assert sorted(kinds.values()) == sorted(["temporary"] * 8 + ["failed notebook"] * 4 + ["checkpoint"] * 2)
    assert {kinds[name] for name in failed} == {"failed notebook"}
    assert all(any(name.startswith(path) for path in kinds) for name in temporaries)

    assert clean(study, "--yes") == 0
    folders = {f"report/runs/{SCRATCH}/export", "sources"}
    assert files(study) - before == folders and before <= files(study)
    assert planned(study) == ([], [])
    assert listed(study) == {}
    assert clean(study) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_checkpoints_of_unfinished_runs_and_files_of_the_user_stay(study):
    (study / "report" / "runs" / OTHER / "metrics.json").unlink()
    written(
        study,
        f"report/runs/{OTHER}/checkpoint.npz",
        f"report/notebooks/02_training-{OTHER}.failed.ipynb",
        "report/notebooks/03_evaluation.failed.ipynb",
        "report/notebooks/mine.ipynb",
        "report/runs/notes/text.txt",
        "report/.mine",
        "prepared/mine/statistics.json",
        "prepared/xray8/statistics.json",
        "prepared/xray8/thesis.tex",
    )
    (held,) = written(study, f"report/runs/{OTHER}/.writing-held.csv")
    with (study / held).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert found(study) == {}
    assert found(study) == {held: "temporary"}


def test_runs_and_datasets_that_no_params_name_are_removed_on_request(study, capsys):
    unnamed = [f"report/runs/{UNNAMED}/{name}" for name in ("params.yaml", "metrics.json", "best.keras")]
    unnamed += [f"report/notebooks/02_training-{UNNAMED}{end}" for end in (".ipynb", ".html", ".failed.ipynb")]
    unnamed += [f"report/logs/02_training-{UNNAMED}.log", "prepared/xray8/statistics.json", "prepared/xray8/train.npy"]
    unnamed += ["sources/xray8/PHANTOM.txt"]
    written(study, "sources/xray9/PHANTOM.txt", "sources/covid/PHANTOM.txt")
    before = files(study)
    written(study, *unnamed)
    (study / unnamed[0]).write_text("dataset: covid\nbackbone: mobilenet_v3_large\n")
    assert planned(study) == ([], list(freshness.READING))  # they show what lies there
    assert clean(study, "--yes") == 0
    assert "7 more, 0.0 MB, that the params do not name: --unnamed adds them" in capsys.readouterr().out
    assert set(unnamed) <= files(study)
    with (study / "report" / "runs" / f".{UNNAMED}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as one that trains it by hand does
        assert f"report/runs/{UNNAMED}" not in found(study)
        Path(lock.name).unlink()
    assert clean(study, "--yes", "--unnamed") == 0
    assert files(study) - before == {"report/logs"}
    assert planned(study) == ([], [])


def test_a_run_that_another_starts_from_and_what_another_study_names_stays(study):
    (study / "params" / f"{SCRATCH}.yaml").unlink()
    (study / "params" / f"{OTHER}.yaml").unlink()
    named = {f"report/runs/{OTHER}": cleaning.UNNAMED_RUN, "prepared/pneumonia": cleaning.UNNAMED_DATA}
    assert found(study) == named
    other = study / "project" / "params" / "other"
    shutil.copytree(study / "params", other)
    (other / f"{OTHER}.yaml").write_text(yaml.safe_dump({"dataset": "covid", "backbone": "resnet34"}))
    assert found(study) == {"prepared/pneumonia": cleaning.UNNAMED_DATA}


def test_a_folder_of_runs_that_is_somebody_elses_stays(study):
    """`runs:` may name any folder, and a params.yaml is no rare file."""
    theirs = [
        f"report/runs/{name}"
        for name in (
            "app/params.yaml",
            "app/main.py",
            "b/params.yaml",
            "b/.env",
            "c/params.yaml",
            "d/export/letter.txt",
        )
    ]
    written(study, *theirs)
    (study / "report" / "runs" / "d" / "params.yaml").write_text("dataset: covid\nbackbone: resnet34\n")
    assert clean(study, "--yes", "--unnamed") == 0
    assert set(theirs) <= files(study)


def test_no_link_is_followed_or_removed(study, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    written(
        outside, "run/params.yaml", "run/checkpoint.npz", ".writing-a", "tables/.writing-b", "covid/statistics.json"
    )
    run = study / "report" / "runs" / OTHER
    shutil.move(run, outside / OTHER)
    written(outside / OTHER, "checkpoint.npz", ".writing-c")
    run.symlink_to(outside / OTHER)
    (study / "report" / "runs" / UNNAMED).symlink_to(outside / "run")
    (study / "report" / ".writing-link").symlink_to(outside / ".writing-a")
    (study / "report" / "more").symlink_to(outside / "tables")
    (study / "prepared" / "xray8").symlink_to(outside / "covid")
    before = files(study), files(outside)
    assert found(study) == {}
    assert clean(study, "--yes", "--unnamed") == 0
    cleaning.remove(study / "params", [study / "report" / "more", study / "report" / ".writing-link"])
    assert (files(study), files(outside)) == before


def test_a_study_that_is_being_made_is_left_alone(study, capsys):
    (left,) = written(study, "report/.writing-a.html")
    with (study / "report" / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert clean(study, "--yes") == 1
    assert "is being made by another process: wait until it ends" in capsys.readouterr().err
    assert (study / left).exists()


def test_old_logs_and_records_of_deleted_files_of_snakemake_are_removed(study):
    own = study / "project" / ".snakemake"
    logs = written(own, *(f"log/2026-01-{day:02d}.snakemake.log" for day in range(1, 14)))
    for age, name in enumerate(reversed(logs)):
        (own / name).touch()
        cleaning.os.utime(own / name, (0, 1_000_000_000 - age))

    def note(path: str, kind: str = "metadata") -> str:
        name = urlsafe_b64encode(path.encode()).decode()
        parts = [name[start : start + 100] for start in range(0, len(name), 100)]
        return written(own, "/".join([kind, *("@" + part for part in parts[:-1]), parts[-1]]))[0]

    gone = [note(f"../report/runs/{name}/metrics.json") for name in ("gone", "gone" * 60)]
    note(f"../report/runs/{OTHER}/metrics.json")
    note("../elsewhere/report/runs/gone/metrics.json")
    note("../report/runs/begun/metrics.json")
    note("../report/runs/begun/metrics.json", "incomplete")
    assert set(found(study)) == {f"project/.snakemake/{name}" for name in [*logs[:3], *gone]}
