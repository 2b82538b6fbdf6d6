"""Makes missing or outdated parts of a study: Snakemake runs the graph of notebooks described in the Snakefile."""

import getpass
import json
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from urllib.parse import quote

from lungkeras.study import freshness, status
from lungkeras.study.failed_notebooks import failed_notebooks, failure
from lungkeras.study.params import Params
from lungkeras.system import processes, stopping
from lungkeras.system.errors import ParamsError, RunError
from lungkeras.system.files import refuse_links
from lungkeras.system.places import from_project, project_folder
from lungkeras.system.text import few_letters, is_spelt_here, printable, say

SECONDS_TO_CANCEL = 15.0  # the jobs of a cluster


def make_study(
    study: Path,
    shared: Params,
    runs: Mapping[str, Params],
    sources: Mapping[str, str],
    *,
    backend: str | None = None,
    cores: int | None = None,
    profiles: list[str] = (),
    lock: int | None = None,
    dry_run: bool = False,
) -> None:
    """Makes a study up to its report; if everything is up to date, it only prints a few lines.

    Args:
        study: the folder of its params.
        shared, runs: the result of load_study there.
        sources: {dataset: folder, as seen from the project's folder}; drawn or prepared earlier if missing.
        backend: tensorflow, torch or jax, instead of the params.
        cores: of this machine, or with profiles the most at a time; by default all.
        profiles: folders with a config.yaml of Snakemake, for a cluster.
        lock: the handle of a lock that Snakemake holds while it lives, even where this process is killed.
        dry_run: print what would run, and run nothing.

    Raises RunError, with the error of the first failed notebook, if the report can't be completed.
    """
    report = shared.study_folder / "report.html"
    for folder in {shared.study_folder, from_project(shared.prepared), from_project(shared.runs)}:
        refuse_links(folder)
    cores_here = cores or os.cpu_count()
    if not dry_run:
        where = f"by {' and '.join(profiles)}" if profiles else f"on {cores_here} cores"
        say(f"Study {study.name}: {len(runs)} runs {where}, to {report}")
        status.begin(shared.study_folder, cores_here)
    start = partial(
        _snakemake, study, shared, runs, sources, backend=backend, cores=cores, profiles=profiles, lock=lock,
        dry_run=dry_run,
    )  # fmt: skip
    data = freshness.prepared_data(runs)
    for changed in freshness.changed_datasets(data):
        say(
            f"{changed} was changed after preparation; the changed data are used. Delete the folder to prepare it again"
        )
    outdated = freshness.outdated_datasets(shared, runs, sources)
    if outdated and not dry_run:
        # The data first: if they come out unchanged, their runs need no training.
        start(again=outdated, targets=outdated)
        outdated, data = [], freshness.prepared_data(runs)
    trained = freshness.outdated_runs(runs, data, outdated)
    notebooks = freshness.outdated_notebooks(shared, runs, trained)
    start(again=[*outdated, *trained, *notebooks])
    if not dry_run:
        status.end(shared.study_folder)
        freshness.remember(shared, runs)
        say(f"{report} is complete")


def require_plain_paths(study: Path, shared: Params, sources: dict[str, str]) -> None:
    """Raises ParamsError for a path with braces, which the graph would fill in, or that this locale can't spell."""
    folders = {"study": study, "runs": from_project(shared.runs), "prepared": from_project(shared.prepared)}
    named = {name: os.path.relpath(folder, project_folder()) for name, folder in folders.items()}
    for name, path in (named | sources).items():
        if not is_spelt_here(path):
            raise ParamsError(f"{name}: {few_letters(path)}")
        if printable(path) != path or {"{", "}"} & set("" if name in sources else path):
            raise ParamsError(
                f"{name}: expected a path without control characters and braces, found {printable(path)}: rename the "
                "folder, or link to it from another name"
            )


def _snakemake(
    study: Path,
    shared: Params,
    runs: Mapping[str, Params],
    sources: Mapping[str, str],
    *,
    backend: str | None,
    cores: int | None,
    profiles: list[str],
    lock: int | None,
    dry_run: bool,
    again: list[str],
    targets: list[str] = (),
) -> None:
    """Starts Snakemake on the graph of notebooks: what is missing, and the datasets, runs and notebooks of `again`.

    Only these count: no dates, and no trigger that compares with Snakemake's memory of an earlier start on this
    machine. It holds the handle `lock` while it lives, and ends with this process. Raises RunError.
    """
    root = project_folder()
    files = _results(root, shared, runs)
    limit = cores if profiles else cores or os.cpu_count()
    # In parallel, a run needs one core; with more cores than runs, each takes its share.
    threads = None if profiles else max(1, limit // len(runs))
    config = _config(root, study, sources, again, backend=backend, threads=threads)
    # A step prints its own line; on a cluster that goes to the job's log, and Snakemake reports the progress.
    quiet = ["host"] if dry_run else ["rules", "host"] if profiles else ["all"]
    command = [
        # Neither modules nor profiles are taken from the current folder.
        *(sys.executable, "-P", "-m", "snakemake", "--workflow-profile", "none"),
        *("--snakefile", str(root / "Snakefile"), "--directory", str(root)),
        *(["--cores", str(limit)] if limit else []),
        *("--rerun-incomplete", "--keep-going", "--rerun-triggers", "mtime", "--nolock"),
        *(word for profile in profiles for word in ("--profile", _profile_folder(profile))),
        *(["--dry-run"] if dry_run else []),
        *("--quiet", *quiet),
        *(["--forcerun", *(files[name] for name in again)] if again else []),
        *("--config", *(f"{key}={value}" for key, value in config.items())),
        *("--", *(files[name] for name in targets)),
    ]
    earlier = failed_notebooks(shared.study_folder)
    environment = processes.variables(PYTHONUNBUFFERED="1", **_cache(root), **_user())
    # Without Snakemake's own lock, which outlives a killed process.
    held = () if lock is None else (lock,)
    patience = SECONDS_TO_CANCEL if profiles else 0
    if stopping.run(command, environment=environment, folder=root, keep=held, patience=patience):
        if not dry_run:
            status.end(shared.study_folder)
        raise RunError(failure(shared.study_folder, root, earlier))


def _results(root: Path, shared: Params, runs: Mapping[str, Params]) -> dict[str, str]:
    """{dataset, run or notebook: the file that the graph makes of it, as seen from the project's folder}."""
    made = {name: shared.study_folder / "notebooks" / f"{name}.ipynb" for name in freshness.READING}
    made |= {run.dataset: run.prepared_folder / "statistics.json" for run in runs.values()}
    made |= {name: run.run_folder / "metrics.json" for name, run in runs.items()}
    return {name: os.path.relpath(file, root) for name, file in made.items()}


def _config(
    root: Path, study: Path, sources: Mapping[str, str], again: list[str], *, backend: str | None, threads: int | None
) -> dict[str, object]:
    """The config of the Snakefile for a study; values that are None are left out."""
    # Paths as in an address, as Snakemake strips quotes and reads what is left as YAML; ./2024 is not a number.
    values = {
        "study": "./" + quote(os.path.relpath(study, root)),
        "again": json.dumps(again),
        "sources": json.dumps({dataset: quote(path) for dataset, path in sources.items()}),
        "backend": backend,
        "threads": threads,
    }
    return {key: value for key, value in values.items() if value is not None}


def _cache(root: Path) -> dict[str, str]:
    """Where caches go if the home can't hold them: Snakemake stops without one."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    nearest = next(folder for folder in (usual, *usual.parents) if folder.is_dir())
    return {} if os.access(nearest, os.W_OK) else {"XDG_CACHE_HOME": str(root / ".snakemake" / "cache")}


def _user() -> dict[str, str]:
    """A name for a user that the system knows by number alone, as in a container: Snakemake stops without one."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        return {"USER": f"user-{os.getuid()}"}
    return {}


def _profile_folder(profile: str) -> str:
    """A profile's folder, relative to here or to the project's folder; else the name of a user's profile."""
    places = (Path(profile).absolute(), project_folder() / profile)
    return next((str(path) for path in places if path.is_dir()), profile)
