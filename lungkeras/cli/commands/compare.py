"""`lungkeras compare`: compare two studies."""

import argparse
from pathlib import Path

from lungkeras.cli.entry import Command
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    words = "a name in params/, a folder of params, or a folder of results such as reports/demo"
    sub.add_argument("first", metavar="STUDY", help=words)
    sub.add_argument("second", metavar="STUDY", help="the other study, named in the same way")
    sub.add_argument("--to", type=Path, metavar="FILE", help="also write a page (HTML), such as reports/compare.html")


def run(options) -> None:
    from lungkeras.evaluation.studies import compare_studies, params_that_differ
    from lungkeras.report.compare_page import summary, write_comparison
    from lungkeras.study.runs import read_runs
    from lungkeras.system import provenance

    folders = [runs_of(options.first), runs_of(options.second)]
    first, second = (read_runs(folder) for folder in folders)
    hashes = {
        name: tuple(
            (provenance.read(folder / name / "fingerprint.json").get("made_from") or {}).get("prepared")
            for folder in folders
        )
        for name in first
    }
    table, params = compare_studies(first, second, hashes), params_that_differ(first, second)
    names = titles(*folders)
    say(*summary(names, table, params))
    if options.to:
        say(write_comparison(options.to, names, table, params))


def runs_of(study: str) -> Path:
    """The folder of a study's runs. Raises ParamsError if it is not a study."""
    from lungkeras.study.params_files import load_study, study_folder
    from lungkeras.system.places import from_project

    if (Path(study) / "runs").is_dir():
        return Path(study) / "runs"
    shared, _ = load_study(study_folder(study))
    return from_project(shared.runs)


def titles(*folders: Path) -> tuple[str, str]:
    """The studies' names, or their folders if the names are equal."""
    one, other = (folder.resolve().parent for folder in folders)
    return (one.name, other.name) if one.name != other.name else (str(folders[0].parent), str(folders[1].parent))


COMMAND = Command(
    group="a study",
    about="compare two studies: paired tests, and the params that differ",
    example="compare reports/demo reports/mine --to reports/compare.html",
    details="Compares the runs of two studies that share a dataset and a name: paired tests over patients if both "
    "were tested on the same scans, and the params that differ.",
    outputs="A summary on stdout; with --to one HTML file.",
    page="the-report.md",
    options=options,
    run=run,
)
