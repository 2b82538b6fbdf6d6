"""The command line: exit status, one sentence for what a user can mend, and each command on small data."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import lungkeras
from lungkeras import cli
from lungkeras.cli import program
from lungkeras.cli.commands import completion
from lungkeras.cli.entry import GROUPS


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
        (["predict", "run", "scan.png", "--hetmaps", "x"], "did you mean --heatmaps?"),
        (["prepare", "covid", "--suorce=x"], "--source"),
        (["export", "run", "--format", "lite"], "did you mean litert?"),
        (["completion", "bsh"], "did you mean bash?"),
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
        (
            ["predict", "no-such-run", "scan.png"],
            "No run or model at no-such-run: expected a folder or a file, found no such",
        ),
        (["prepare", "pneumonia", "--source", "/no/such/folder", "--to", "x"], "no such folder"),
    ],
)
def test_an_error_that_a_user_can_fix_is_status_1_and_one_sentence(arguments, words, capsys):
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("lungkeras: ")
    assert "Traceback" not in error


def test_a_misspelt_run_gets_the_nearest_as_a_suggestion(tmp_path, monkeypatch, capsys):
    run_folder = tmp_path / "reports" / "demo" / "runs" / "covid-resnet34-random"
    for file in (run_folder / "metrics.json", tmp_path / "Snakefile", tmp_path / "notebooks" / "01.ipynb"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.chdir(tmp_path)
    asked = ("evaluate", "covid-resnet34", "--on", "x"), ("export", "covid-resnet34", "--format", "onnx")
    for arguments in (("predict", "covid-resnet34", "scan.png"), *asked):
        assert run(*arguments) == 1
        assert f"did you mean {run_folder}?" in capsys.readouterr().err
    assert run("predict", "reports/dmeo/runs/covid-resnet34-random", "scan.png") == 1
    assert "(did you mean demo?)" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(program.COMMANDS))
def test_each_help_is_a_page_of_80_columns_with_outputs_status_and_examples_that_parse(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(name, "--help")
    assert stopped.value.code == 0
    said, command = capsys.readouterr().out, program.COMMANDS[name]
    for part in ("usage:", "options:", "outputs:", "exit status:", "example", "more:"):
        assert part in said, part
    assert len(command.details) > 40 and command.details.endswith(".") and command.outputs.endswith(".")
    examples = command.example.splitlines()
    assert all(len(line) <= 80 for line in said.splitlines() if line.strip().removeprefix("lungkeras ") not in examples)
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])
        assert words[0] == name and program.parser().parse_args(words).command is command
    docs = Path(lungkeras.__file__).parents[1] / "docs"
    assert not docs.is_dir() or (docs / command.page).is_file()


def test_the_help_lists_the_commands_by_groups_in_80_columns(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    said = capsys.readouterr().out
    places = [said.index(f"\n{group}:\n") for group in GROUPS]
    assert places == sorted(places)
    for name, command in program.COMMANDS.items():
        assert f" {name} {command.about} " in f"{' '.join(said.split())} "
    assert all(len(line) <= 80 for line in said.partition("examples:")[0].splitlines())


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_completion_of_a_shell_is_one_that_it_can_read(shell, tmp_path):
    script = completion.script(shell, program.parser())
    assert all(word in script for word in (*program.COMMANDS, "heatmaps"))
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)


def test_bash_completes_commands_options_datasets_studies_and_runs(tmp_path):
    for name in ("reports/demo/runs/covid-resnet34-random/metrics.json", "params/demo/study.yaml"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "ask").write_text(
        completion.script("bash", program.parser())
        + 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_lungkeras; echo "${COMPREPLY[*]}"'
    )

    def offered(*words):
        command = ["bash", "ask", "lungkeras", *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
        return set(done.stdout.split())

    assert offered("pre") == {"prepare", "predict"}
    assert offered("report", "de") == {"demo"}
    assert offered("predict", "--heat") == {"--heatmaps"}
    assert offered("prepare", "x") == {"xray8"}
    assert offered("export", "run", "--format", "o") == {"onnx", "openvino"}
    assert offered("evaluate", "reports/demo/runs/c") == {"reports/demo/runs/covid-resnet34-random"}


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
    assert re.search(r"^train +17$", listed, re.MULTILINE), "seventeen jobs train, in Snakemake's table of jobs"
    assert "pneumonia-efficientnet_b1-imagenet" in listed
