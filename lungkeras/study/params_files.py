"""The YAML files of params: merged in order, inherited from other studies, and read as a whole study."""

import itertools
from collections.abc import Iterable
from pathlib import Path

from lungkeras.datasets.own import SUFFIX
from lungkeras.study.params import Params, check, shortened
from lungkeras.system.errors import ParamsError, nearest
from lungkeras.system.places import project_folder
from lungkeras.system.untrusted import yaml_files


def load_params(files: Iterable[Path | str], *, backend: str | None = None) -> Params:
    """Merges params files in order and checks them; `backend`, if given, overrides theirs.

    Raises ParamsError, naming file and key, for an error.

    >>> params = lungkeras.load_params(["lr0.01.yaml"])
    >>> params.run, params.learning_rate
    ('covid-resnet34-random', 0.01)
    """
    merged: dict[str, object] = {}
    places: dict[str, str] = {}
    files = [Path(file) for file in files]
    for file in itertools.chain.from_iterable(map(_lineage, files)):
        values, lines = _read(file)
        values.pop("extends", None)
        merged |= values
        places |= {key: f"{file}, line {line}" for key, line in lines.items()}
    if backend is not None:
        merged["backend"] = backend
        places.pop("backend", None)
    return check(merged, " + ".join(str(file) for file in files), places)


def _lineage(file: Path) -> list[Path]:
    """The file, after the study.yaml of the study that it extends, and so on. Raises ParamsError."""
    files, named = [file], project_folder() / "params"
    while file.name == "study.yaml" and (name := _read(files[0])[0].get("extends")) is not None:
        studies = sorted(study.parent.name for study in named.glob("*/study.yaml"))
        if name not in studies:
            known = f"expected a study in {named}, one of {', '.join(studies)}"
            raise ParamsError(
                f"{files[0]}: extends: {known}, found {shortened(name)}{nearest(str(name)[:80], studies)}"
            )
        parent = named / name / "study.yaml"
        if parent.resolve() in [each.resolve() for each in files]:
            others = "expected another study than those that extend this one"
            raise ParamsError(f"{files[0]}: extends: {others}, found {name}")
        files.insert(0, parent)
    return files


def read_yaml(file: Path) -> dict[str, object]:
    """One file of flat params, its keys known. Raises ParamsError."""
    return _read(Path(file))[0]


def _read(file: Path) -> tuple[dict[str, object], dict[str, int]]:
    """The values of a file by their keys, and the line of each key."""
    data, lines = yaml_files.read_own_yaml(file, "a readable YAML file of params")
    if data is None:
        return {}, {}
    if not isinstance(data, dict):
        raise ParamsError(f"{file}: expected lines of `key: value`, found a {type(data).__name__}")
    for key in data:
        if key not in Params.model_fields and (key != "extends" or file.name != "study.yaml"):
            line = f", line {lines[str(key)]}" if str(key) in lines else ""
            raise ParamsError(
                f"{file}{line}: unknown key {shortened(key)}{nearest(str(key)[:80], Params.model_fields)}. "
                f"Known keys: {', '.join(Params.model_fields)}"
            )
    return data, lines


def study_folder(study: str) -> Path:
    """The folder of a study's params: a name in params/, or a folder that holds a study.yaml. Raises ParamsError."""
    named = project_folder() / "params"
    for folder in (named / study, Path(study)):
        if (folder / "study.yaml").is_file():
            return folder
    studies = sorted(file.parent.name for file in named.glob("*/study.yaml"))
    known = ", ".join(studies) or "those that `lungkeras report demo` lays out"
    raise ParamsError(
        f"No study {study!r}{nearest(study, studies)}: expected one of {known} in {named}, "
        "or a folder with a study.yaml"
    )


def load_study(folder: Path, *, backend: str | None = None) -> tuple[Params, dict[str, Params]]:
    """The study's shared params, and the params of each run by its name; `backend` overrides all. Raises ParamsError.

    It inherits all runs of a study that it extends, except those with a file of the same name. A run's file must be
    named after the run that it describes, so a copied file can't train the wrong model. If the study has `seeds`, each
    run exists once per seed.
    """
    shared = load_params([folder / "study.yaml"], backend=backend)
    runs = {}
    folders = [file.parent for file in _lineage(folder / "study.yaml")]
    files = {
        file.name: file
        for each in folders
        for file in each.glob("*.yaml")
        if file.name != "study.yaml" and not file.name.endswith(SUFFIX)
    }
    for _, file in sorted(files.items()):
        params = load_params([folder / "study.yaml", file], backend=backend)
        if params.run != file.stem:
            raise ParamsError(f"{file}: describes the run {params.run}: rename it to {params.run}.yaml")
        runs |= {run.run: run for run in with_seeds(params)}
    if not runs:
        raise ParamsError(f"{folder}: holds no run next to study.yaml; add a file such as covid-resnet34-random.yaml")
    return shared, runs


def with_seeds(params: Params) -> list[Params]:
    """The run itself, with the first of its `seeds`, and its repeats with the others, named <run>-seed<N>."""
    if params.seeds is None:
        return [params]
    first, *others = dict.fromkeys(params.seeds)
    repeats = [{"seed": seed, "suffix": f"{params.suffix}-seed{seed}"} for seed in others]
    return [params.model_copy(update=change) for change in ({"seed": first}, *repeats)]
