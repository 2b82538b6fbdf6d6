"""`lungkeras report`: run a whole study and write its report."""

import argparse
import os
from pathlib import Path

from lungkeras.cli.arguments import Datasets, count
from lungkeras.cli.entry import Command
from lungkeras.system.backends import require_backend
from lungkeras.system.errors import FolderError, ParamsError, nearest
from lungkeras.system.locks import alone

SECONDS_TO_SHUT_DOWN = 20.0  # after a report was killed, until its child processes have ended


def options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "study",
        metavar="STUDY",
        help="a name in params/ (ablations, demo, extended, sample, paper) or a folder of params",
    )
    sub.add_argument(
        "--source", action="append", default=[], metavar="DATASET=DIR", help="read a dataset from a folder"
    )
    sub.add_argument(
        "--cores", type=count, metavar="N", help="parallel runs (default: all cores; with a profile, its setting)"
    )
    sub.add_argument("--profile", action="append", default=[], metavar="SNAKEMAKE_PROFILE",
                        help="a Snakemake profile, for a cluster; may be repeated, the last wins")  # fmt: skip
    sub.add_argument("--dry-run", action="store_true", help="list what would run")


def run(options) -> None:
    """Makes all missing or outdated parts of a study, by one graph of notebooks; nothing if all is up to date."""
    from functools import partial

    from lungkeras.study import graph
    from lungkeras.study.params_files import load_study, study_folder
    from lungkeras.system.places import from_project, project_folder

    folder = study_folder(options.study)
    shared, runs = load_study(folder, backend=options.backend)
    for backend in sorted({shared.backend, *(params.backend for params in runs.values())}):
        require_backend(backend)
    sources = dict(given_source(text) for text in options.source)
    wanted = {params.dataset for params in runs.values()}
    if strange := sorted(set(sources) - wanted):
        raise ParamsError(
            f"--source {strange[0]}: the study {folder.name} has no run of it, only {', '.join(sorted(wanted))}"
        )
    unknown = {params.dataset for params in runs.values() if not params.prepared_folder.is_dir()} - set(sources)
    if shared.acquire == "given" and not shared.names_source and (missing := sorted(unknown)):
        raise ParamsError(
            f"The study {folder.name} reads real scans: give --source {missing[0]}=DIR"
            + "".join(f" and --source {dataset}=DIR" for dataset in missing[1:])
        )
    graph.require_plain_paths(folder, shared, sources)
    make = partial(
        graph.make_study, folder, shared, runs, sources, backend=options.backend, cores=options.cores,
        profiles=options.profile,
    )  # fmt: skip
    if options.dry_run:
        make(dry_run=True)
        return
    for place in (project_folder(), shared.study_folder, from_project(shared.prepared)):
        require_writable(place)
    lock = shared.study_folder / ".lock"
    with alone(lock, f"{shared.study_folder} is being made", patience=SECONDS_TO_SHUT_DOWN) as held:
        make(lock=held.handle)


def given_source(text: str) -> tuple[str, str]:
    """pneumonia=DIR -> its dataset and its folder, as seen from the project. Raises ParamsError."""
    from lungkeras.system.places import project_folder

    dataset, _, folder = text.partition("=")
    if not folder or dataset not in Datasets():
        known = list(Datasets())
        raise ParamsError(
            f"--source {text}: expected DATASET=DIR with one of {', '.join(known)}{nearest(dataset, known)}"
        )
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ParamsError(f"--source {text}: there is no folder {folder}")
    return dataset, os.path.relpath(path.resolve(), project_folder())


def require_writable(folder: Path) -> None:
    """Raises FolderError if a folder, which need not exist yet, is not writable."""
    nearest_there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest_there.is_dir() or not os.access(nearest_there, os.W_OK | os.X_OK):
        raise FolderError(
            f"{nearest_there} can't be written to: make it a writable folder or name another one, then run the same "
            "command again"
        )


COMMAND = Command(
    group="a study",
    about="run a whole study and write its report",
    example="report demo\n"
    "report sample --source pneumonia=DIR --source covid=DIR --source xray8=DIR\n"
    "report paper --dry-run",
    details="Prepares the datasets, trains the runs, evaluates them, and draws figures, each step as an executed "
    "notebook. Results that are up to date are not made again. After an interruption, the same command "
    "continues.\n\n"
    "If lungkeras was installed from a wheel, the first start copies params/, notebooks/ and Snakefile into "
    "the current folder.",
    outputs="reports/STUDY/report.html, and next to it tables/, figures/, notebooks/ and runs/; prepared datasets in "
    "prepared/STUDY; progress on stdout.",
    page="the-report.md",
    in_project=True,
    options=options,
    run=run,
)
