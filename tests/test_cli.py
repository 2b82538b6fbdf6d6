"""The command line: exit status, one sentence for what a user can mend, and each command on small data."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from lungkeras import cli


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def test_help_opens_without_keras():
    code = (
        "import sys, lungkeras.cli\n"
        "try: lungkeras.cli.main(['--help'])\n"
        "finally: sys.exit(' '.join({'keras', 'tensorflow', 'numpy', 'pandas', 'pydantic', 'yaml', 'sklearn', "
        "'importlib.metadata'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "For research only" in done.stdout


def test_python_m_is_the_same_program():
    done = subprocess.run([sys.executable, "-m", "lungkeras", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("lungkeras ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["phantom", "pneumnia", "--to", "x"], "did you mean pneumonia?"),
        (["reprot", "demo"], "did you mean report?"),
        (["phantom", "covid", "--to", "x", "--scans", "-3"], "whole number above 0"),
        (["prepare", "covid"], "--source"),
    ],
)
def test_wrong_usage_is_status_2_and_one_line(arguments, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "dmeo"], "did you mean demo"),
        (["report", "sample"], "give --source covid=DIR and --source pneumonia=DIR and --source xray8=DIR"),
        (["report", "demo", "--source", "mnist=."], "expected DATASET=DIR"),
        (["report", "demo", "--source", "covid=/no/such/folder"], "there is no folder"),
        (["train", "--params", "absent.yaml"], "absent.yaml"),
        (["predict", "no-such-run", "scan.png"], ""),
        (["prepare", "pneumonia", "--source", "/no/such/folder", "--to", "x"], "no such folder"),
    ],
)
def test_what_a_user_can_mend_is_status_1_and_one_sentence(arguments, words, capsys, tmp_path, monkeypatch):
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("lungkeras: ")
    assert "Traceback" not in error


def test_a_source_is_drawn_and_prepared(tmp_path, capsys):
    assert run("phantom", "pneumonia", "--to", tmp_path / "source", "--scans", 40) == 0
    arguments = ["prepare", "pneumonia", "--source", tmp_path / "source", "--to", tmp_path / "prepared", "--size", 32]
    capsys.readouterr()
    assert run(*arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert sum(summary["scans"].values()) == 40
    records = pd.read_parquet(tmp_path / "prepared" / "records.parquet")
    assert {"scan", "patient", "split", "bacterial_pneumonia", "viral_pneumonia", "normal"} <= set(records.columns)


def test_a_dry_run_of_the_paper_lists_what_would_run():
    done = subprocess.run(
        [sys.executable, "-m", "lungkeras", "report", "paper", "--dry-run"], check=True, capture_output=True, text=True
    )
    listed = done.stdout + done.stderr
    assert "train" in listed
    assert "17" in listed
    assert "pneumonia-efficientnet_b1-imagenet" in listed
