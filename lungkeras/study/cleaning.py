"""Finds files in the folders of a study that no result, no report and no unfinished run needs.

    temporaries           of a process that was killed while it wrote; one whose writer still runs is locked, and kept
    failed notebooks      of steps that have succeeded since
    checkpoints           of finished runs
    Snakemake's records   its older logs, and its records of deleted files
    unnamed               runs, prepared datasets and drawn sources that the params no longer name, with their
                          notebooks and logs; the report shows them as long as they exist, so they are removed only
                          on request

Everything else is kept, and so is anything that another study in params/ names. Links are neither followed nor removed.
"""

from __future__ import annotations

import os
import shutil
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.registry import DATASETS, dataset_names
from lungkeras.preparation.made_from import is_prepared
from lungkeras.study import freshness
from lungkeras.study.made_from import RESULTS, is_trained
from lungkeras.study.params import Params
from lungkeras.study.params_files import load_study
from lungkeras.system.files import TEMPORARY as TEMPORARY_NAME
from lungkeras.system.locks import alone, is_being_made, is_held
from lungkeras.system.places import from_project, project_folder
from lungkeras.system.untrusted import yaml_files

if TYPE_CHECKING:
    import pandas as pd

TEMPORARY, FAILED, CHECKPOINT, RECORD = "temporary", "failed notebook", "checkpoint", "Snakemake's record"
UNNAMED_RUN, UNNAMED_DATA, UNNAMED_PAGE = "unnamed run", "unnamed prepared dataset", "of an unnamed run or dataset"
UNNAMED_SOURCE = "unnamed drawn source"
UNNAMED = (UNNAMED_RUN, UNNAMED_DATA, UNNAMED_PAGE, UNNAMED_SOURCE)
LOGS_KEPT = 10
RUN_FILES = {*RESULTS, "fingerprint.json", "checkpoint.npz", "checkpoint-before.npz", "best.checked.json",
             "model_card.md", "export", ".lock"}  # fmt: skip
EXPORT_NAMES = ("model.", "model-int8.", "saved_model", TEMPORARY_NAME)
DEEPEST = 3  # reports/<study>/runs/<run>/export


def leftovers(study: Path, *, backend: str | None = None) -> pd.DataFrame:
    """Files that could be removed from the study whose params are in a folder.

    Returns one row each: path (Path), kind (one of the words above), bytes. Raises ParamsError if the params, or those
    of another study in params/, can't be read: the files they name would be unknown.
    """
    import pandas as pd

    shared, runs = load_study(study, backend=backend)
    data = freshness.prepared_data(runs)
    trained = [name for name, run in runs.items() if is_trained(run.run_folder, run, data[run.prepared_folder])]
    notebooks = shared.study_folder / "notebooks"
    found = [
        *((path, TEMPORARY) for path in _temporaries(shared)),
        *((notebooks / f"{name}.failed.ipynb", FAILED) for name in _finished_notebooks(shared, runs, trained)),
        *((path, CHECKPOINT) for name in trained for path in sorted(runs[name].run_folder.glob("checkpoint*.npz"))),
        *((path, RECORD) for path in _records(shared)),
        *_unnamed(shared, runs),
    ]
    rows = [(path, kind, size(path)) for path, kind in found if path.exists() and not _passes_a_link(path, shared)]
    return pd.DataFrame(rows, columns=["path", "kind", "bytes"]).drop_duplicates("path", ignore_index=True)


def remove(study: Path, paths: Iterable[Path]) -> None:
    """Removes the result of `leftovers` for a study. Raises FolderError if a `lungkeras report` of it is running."""
    folder = load_study(study)[0].study_folder
    with alone(folder / ".lock", f"{folder} is being made", patience=0):
        for path in paths:
            if path.is_symlink() or not path.exists():
                continue
            if path.is_dir():
                for name in ("metrics.json", "statistics.json"):  # what makes a folder a result goes first
                    (path / name).unlink(missing_ok=True)
                shutil.rmtree(path)
            else:
                path.unlink()


def _passes_a_link(path: Path, shared: Params) -> bool:
    """Whether a path is a link, or leads through one below the folders that the params name."""
    roots = {shared.study_folder, from_project(shared.prepared), from_project(shared.source), project_folder()}
    for place in (path, *path.parents):
        if place in roots:
            return False
        if place.is_symlink():
            return True
    return False


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; a link counts as itself."""
    if not path.is_dir():
        return path.lstat().st_size
    files = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(os.lstat(file).st_size for file in files)


def _temporaries(shared: Params) -> Iterator[Path]:
    """Temporary files of files.py and the graph of notebooks that no process holds."""
    prepared = from_project(shared.prepared)
    for folder in [*_real_folders(shared.study_folder), *_real_folders(prepared), *_own_sources(shared)]:
        for path in sorted([*folder.glob(f"{TEMPORARY_NAME}*"), *folder.glob(".running-*.ipynb")]):
            if not is_held(path.with_name(path.name.removesuffix(".folder"))):
                yield path


def _own_sources(shared: Params) -> list[Path]:
    """The folder in which sources are drawn or fetched; a source that was given is its owner's."""
    folder = from_project(shared.source)
    return [folder] if shared.acquire != "given" and folder.is_dir() else []


def _real_folders(folder: Path, deepest: int = DEEPEST) -> Iterator[Path]:
    """A folder and its subfolders, without links and hidden ones."""
    if folder.is_dir():
        yield folder
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if deepest and entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _real_folders(Path(entry.path), deepest - 1)


def _finished_notebooks(shared: Params, runs: Mapping[str, Params], trained: list[str]) -> list[str]:
    """The names of the notebooks whose results are up to date with params and code. `trained` are the finished runs."""
    of_dataset = {run.dataset: run for run in runs.values()}
    prepared = [
        dataset
        for dataset, run in of_dataset.items()
        if is_prepared(run.prepared_folder, dataset, None, seed=shared.seed, **run.prepared_with)
    ]
    outdated = freshness.outdated_notebooks(shared, runs, [name for name in runs if name not in trained])
    return [
        *(f"01_data_preparation-{dataset}" for dataset in prepared),
        *(f"02_training-{name}" for name in trained),
        *(name for name in freshness.READING if name not in outdated),
    ]


def _records(shared: Params) -> list[Path]:
    """Logs of Snakemake except the last ones, and its records of files of this study that no longer exist."""
    own = project_folder() / ".snakemake"
    logs = sorted((own / "log").glob("*.log"), key=lambda file: file.stat().st_mtime)[:-LOGS_KEPT]
    homes = [shared.study_folder.resolve(), from_project(shared.prepared).resolve()]
    noted = []
    for note in _real_files(own / "metadata"):
        place = Path(os.path.realpath(project_folder() / _noted_path(note.relative_to(own / "metadata"))))
        is_ours = any(home in place.parents for home in homes)
        started = own / "incomplete" / note.relative_to(own / "metadata")
        if is_ours and not place.exists() and not started.exists():
            noted.append(note)
    return [*logs, *noted]


def _real_files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in sorted(names))


def _noted_path(name: Path) -> str:
    """The path that a record of Snakemake is about: its name in base 64, in folders marked by @ if it is long."""
    try:
        return urlsafe_b64decode("".join(part.removeprefix("@") for part in name.parts)).decode()
    except ValueError:
        return "."  # not one of its records: an existing path


def _is_a_run(folder: Path) -> bool:
    """Whether a folder holds the params and files of a run and nothing else: any other file belongs to somebody."""
    try:
        params = yaml_files.read_yaml(folder / "params.yaml")[0]
    except (OSError, ValueError):
        return False
    is_ours = isinstance(params, dict) and {"dataset", "backbone"} <= params.keys()
    exports = (folder / "export").iterdir() if (folder / "export").is_dir() else ()
    return (
        is_ours
        and all(entry.name in RUN_FILES or entry.name.startswith(TEMPORARY_NAME) for entry in folder.iterdir())
        and all(entry.name.startswith(EXPORT_NAMES) for entry in exports)
    )


def _unnamed(shared: Params, runs: Mapping[str, Params]) -> Iterator[tuple[Path, str]]:
    """(path, kind) of runs, prepared datasets and drawn sources that no study names, and of the notebooks about them.

    A run whose best model a named one starts from counts as named.
    """
    from lungkeras.datasets.drawn import is_drawn
    from lungkeras.preparation.prepare import FILES

    everyone = [*runs.values()]
    for file in sorted((project_folder() / "params").glob("*/study.yaml")):
        everyone += load_study(file.parent)[1].values()
    named = {run.run_folder.resolve() for run in everyone}
    named |= {run.transfer_file.resolve().parent for run in everyone if run.weights_word == "transfer"}
    prepared = {run.prepared_folder.resolve() for run in everyone}
    sources = {run.source_folder.resolve() for run in everyone}
    for folder in _real_folders(from_project(shared.runs), 1):
        if _is_a_run(folder) and folder.resolve() not in named and not is_being_made(folder):
            yield folder, UNNAMED_RUN
    for folder in _real_folders(from_project(shared.prepared), 1):
        is_one = folder.name in dataset_names() and (folder / "statistics.json").is_file()
        is_ours = is_one and {entry.name for entry in folder.iterdir()} <= FILES
        if is_ours and folder.resolve() not in prepared and not is_being_made(folder):
            yield folder, UNNAMED_DATA
    for folder in (folder for own in _own_sources(shared) for folder in _real_folders(own, 1)):
        is_ours = folder.name in DATASETS and is_drawn(folder)
        if is_ours and folder.resolve() not in sources and not is_being_made(folder):
            yield folder, UNNAMED_SOURCE
    names = {f"02_training-{folder.name}" for folder in named}
    names |= {f"01_data_preparation-{folder.name}" for folder in prepared}
    for kind in ("notebooks", "logs"):
        for file in sorted((shared.study_folder / kind).glob("0[12]_*-*")):
            stem = file.name.removesuffix(file.suffix).removesuffix(".failed")
            if stem not in names and file.suffix in (".ipynb", ".html", ".log"):
                yield file, UNNAMED_PAGE
