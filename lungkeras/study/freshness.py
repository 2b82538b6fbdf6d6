"""Which parts of a study must be computed again, by hashes of their inputs: the graph uses these, not dates.

A changed dataset affects its runs, a changed run those that start from its weights, and any of them the notebooks that
read the runs. Missing files are left to the graph of notebooks: it makes whatever another step needs.
"""

from collections.abc import Mapping
from pathlib import Path

from lungkeras.preparation.made_from import is_prepared, of_prepared
from lungkeras.study.made_from import PLACES, POLICIES, is_trained
from lungkeras.study.params import Params
from lungkeras.system.errors import SourceError
from lungkeras.system.files import as_json, write_json
from lungkeras.system.places import from_project, project_folder
from lungkeras.system.provenance import PACKAGE, code_digest, digest, file_digest, read
from lungkeras.system.untrusted import json_files

READING = ("03_evaluation", "04_visualization", "05_report")


def outdated_datasets(shared: Params, runs: Mapping[str, Params], sources: Mapping[str, str]) -> list[str]:
    """The prepared datasets that are outdated with respect to this code, these sources and params.

    They include a missing one with finished runs: prepared again, it may be what they were made from.
    `sources` are the folders that the user named, as seen from the project, by dataset.
    """
    outdated = []
    for dataset, params in sorted({run.dataset: run for run in reversed(runs.values())}.items()):
        known = dataset in sources or params.acquire != "given" or params.names_source
        source = (from_project(sources[dataset]) if dataset in sources else params.source_folder) if known else None
        folder = params.prepared_folder
        try:
            same = is_prepared(folder, dataset, source, seed=shared.seed, **params.prepared_with)
        except SourceError:
            same = False  # the preparation reports what is wrong with the source
        finished = any((run.run_folder / "metrics.json").is_file() for run in runs.values() if run.dataset == dataset)
        if (folder.is_dir() or finished) and not same:
            outdated.append(dataset)
    return outdated


def prepared_data(runs: Mapping[str, Params]) -> dict[Path, str | None]:
    """The hash of each prepared dataset of the runs, by its folder; None if missing."""
    return {folder: of_prepared(folder) for folder in {run.prepared_folder for run in runs.values()}}


def changed_datasets(data: Mapping[Path, str | None]) -> list[Path]:
    """The prepared datasets that someone has changed since they were prepared."""
    made = {folder: read(folder / "statistics.json").get("fingerprint") for folder in data}
    return sorted(folder for folder, now in data.items() if made[folder] and made[folder] != now)


def outdated_runs(runs: Mapping[str, Params], data: Mapping[Path, str | None], outdated: list[str]) -> list[str]:
    """The runs to train: missing, incomplete, changed, or made from other params, data, weights or code.

    `data` comes from `prepared_data`; the runs of `outdated`, datasets about to be prepared, are outdated too.
    """
    again = {
        name
        for name, run in runs.items()
        if run.dataset in outdated or not is_trained(run.run_folder, run, data[run.prepared_folder])
    }
    while dependents := {name for name, run in runs.items() if name not in again and origin(run) in again}:
        again |= dependents
    return [name for name in runs if name in again]


def origin(run: Params) -> str | None:
    """The run whose best model this one starts from, None if there is none."""
    return Path(run.weights).parent.name if run.weights.endswith("/best.keras") else None


def reading_notebooks(shared: Params, runs: Mapping[str, Params]) -> dict[str, str]:
    """SHA-256 of the inputs of each notebook that reads the runs: the runs, the study, the code, its cells.

    They read everything in the folders of runs and of prepared datasets, whether the params name it or not. The report
    also depends on the tables, whoever wrote them.
    """
    folders = {file.parent for file in from_project(shared.runs).glob("*/metrics.json")}
    folders |= {run.run_folder for run in runs.values()}
    made = {folder.name: read(folder / "fingerprint.json") for folder in sorted(folders)}
    prepared = sorted(file.parent.name for file in from_project(shared.prepared).glob("*/statistics.json"))
    study = shared.model_dump(exclude=PLACES - {"title", *POLICIES})
    modules = sorted(file.relative_to(PACKAGE).with_suffix("").as_posix() for file in PACKAGE.rglob("*.py"))
    templates = [file_digest(file) for file in sorted([*PACKAGE.rglob("*.j2"), *PACKAGE.rglob("*.yaml")])]
    common = digest(as_json(made), as_json(prepared), as_json(study), code_digest(modules), *templates)
    tables = [file_digest(file) for file in sorted((shared.study_folder / "tables").glob("[!.]*.csv"))]
    hashes = {}
    for name in READING:
        content = cells(project_folder() / "notebooks" / f"{name}.ipynb")
        hashes[name] = digest(common, content, *(tables if name == "05_report" else []))
    return hashes


def cells(notebook: Path) -> str:
    """The cells of a notebook as text, without their outputs."""
    held = json_files.read(notebook)["cells"]
    return as_json([[cell["cell_type"], "".join(cell["source"])] for cell in held])


def outdated_notebooks(shared: Params, runs: Mapping[str, Params], again: list[str]) -> list[str]:
    """The notebooks to execute again among those that read the runs. `again` are the runs about to be trained."""
    if again:
        return list(READING)
    recorded, now = read(shared.study_folder / "fingerprint.json"), reading_notebooks(shared, runs)
    first = [name for name in READING[:2] if recorded.get(name) != now[name]]
    return [*first, READING[2]] if first or recorded.get(READING[2]) != now[READING[2]] else []


def remember(shared: Params, runs: Mapping[str, Params]) -> None:
    """Records the inputs of the existing report."""
    write_json(shared.study_folder / "fingerprint.json", reading_notebooks(shared, runs))
