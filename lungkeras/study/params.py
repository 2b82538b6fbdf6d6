"""The parameters of a study and its runs: flat YAML files, merged in order, checked once.

    params/<study>/study.yaml     what all runs of a study share
    params/<study>/<run>.yaml     the few differences of one run

Later files win, key by key, as papermill merges several `-f` files. With `extends: demo` a study.yaml takes the shared
params and the runs of another study in params/, and its own entries win. Relative folders are relative to the project's
folder, wherever a notebook or command was started.
"""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from lungkeras.datasets import policies
from lungkeras.datasets.own import SUFFIX, own_titles
from lungkeras.datasets.registry import DATASETS, dataset_names
from lungkeras.models import architectures
from lungkeras.system.backends import BACKENDS, choose_backend, default_backend
from lungkeras.system.errors import ParamsError, nearest
from lungkeras.system.places import find, from_project, project_folder
from lungkeras.system.text import printable
from lungkeras.system.untrusted import yaml_files


class Params(BaseModel):
    """Every parameter, with its default; a file that names none trains MobileNetV3-Large on the demo's pneumonia.

    weights   random | imagenet | best.keras of another run (`<run>/best.keras` in `runs`, or any path): its features
              are copied, its classes are not | a file of ImageNet weights as keras.applications writes them
    source    given: the dataset's folder as published | else a folder in which each dataset has one
    acquire   draw (phantoms, `scans` of them, where absent) | fetch (by kagglehub, where absent) | given (by the user)
    suffix    distinguishes a run from others of the same dataset, backbone and weights, as in -lr0.05
    class_weights   whether a multilabel loss weighs positives by negatives over positives, as the study's does
    beta_2    of Adam, 0.999 in the study; 0.99 follows the gradients of a short training sooner
    warmup    share of the steps in which the learning rate rises from 0 to `learning_rate`; none in the study
    clip_norm gradients with a larger norm over all weights are scaled down to it; null: never, as in the study
    dropout   whether the backbone's dropout and drop-connect act; a training of a few hundred steps fits sooner without
    zero_init_residual   whether each residual block starts as the identity: a deep network then leaves its first
              plateau within a few hundred steps
    seeds     of a study: every run is trained once with each; the first keeps its name, others end in -seed<N>
    split     patients: 70:15:15 | official: the published test list, if a dataset has one (xray8, vindr, MedMNIST) |
              given: the split of a collection of your own
    votes     majority | any | all: how many readers of a scan must see a finding, if a dataset has several (vindr)
    uncertain zeros | ones | ignore: how uncertain labels are used; a class may have its own policy: "zeros, edema=ones"
    blank     zeros | ignore: how labels that are not mentioned are used, in the same way
    backend   tensorflow | torch | jax; null: `backends.default_backend`
    devices   how many devices share each batch, or all that the backend finds
    precision float32 | mixed_float16 | mixed_bfloat16: the precision of layers; weights, logits and loss stay float32
    tracker   none | tensorboard | mlflow: where a run can be watched, beside its folder; it changes nothing of the run

    >>> lungkeras.Params(dataset="covid", backbone="resnet34").run
    'covid-resnet34-random'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    title: str = Field("A study", max_length=200)
    dataset: str = "pneumonia"
    source: str = "sources/demo"
    acquire: Literal["draw", "fetch", "given"] = "draw"
    scans: int | None = Field(
        None, ge=20, le=1_000_000, description="scans drawn for each dataset; its default where null"
    )
    prepared: str = "prepared/demo"
    runs: str = "reports/demo/runs"
    image_size: int = Field(64, ge=32, le=1024)
    backbone: str = "mobilenet_v3_large"
    weights: str = "random"
    suffix: str = Field("", pattern=r"^(-[A-Za-z0-9._-]+)?$")
    seed: int = Field(0, ge=0, lt=2**32)
    seeds: list[int] | None = Field(None, min_length=1, max_length=100)
    split: Literal["patients", "official", "given"] = "patients"
    votes: Literal["majority", "any", "all"] = "majority"
    uncertain: str = Field(policies.DEFAULTS["uncertain"], max_length=2000)
    blank: str = Field(policies.DEFAULTS["blank"], max_length=2000)
    epochs: int = Field(10, ge=1, le=100_000)
    batch_size: int = Field(16, ge=1, le=65_536)
    learning_rate: float = Field(0.01, gt=0)
    final_learning_rate: float = Field(0.001, gt=0)
    class_weights: bool = True
    batch_norm_momentum: float | None = Field(None, ge=0, lt=1)
    beta_2: float = Field(0.999, ge=0, lt=1)
    clip_norm: float | None = Field(None, gt=0)
    warmup: float = Field(0.0, ge=0, lt=1)
    dropout: bool = True
    zero_init_residual: bool = False
    backend: str = Field(None, validate_default=True)
    devices: int | str = 1
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    tracker: Literal["none", "tensorboard", "mlflow"] = "none"

    @field_validator("dataset")
    @classmethod
    def known_dataset(cls, name: str) -> str:
        if name not in DATASETS and name not in (known := dataset_names()):
            *first, last = map(repr, known)
            raise ValueError(f"Input should be {', '.join(first)} or {last}{nearest(name, known)}")
        return name

    @field_validator("backend", mode="before")
    @classmethod
    def known_backend(cls, name: object) -> object:
        if name is not None and name not in BACKENDS:
            raise ValueError(f"expected one of {', '.join(BACKENDS)}{nearest(str(name), BACKENDS)}")
        return name or default_backend()

    @field_validator("*")
    @classmethod
    def shown_as_it_is(cls, value: object) -> object:
        if isinstance(value, str) and printable(value) != value:
            raise ValueError("expected text without control characters")
        return value

    @field_validator("backbone")
    @classmethod
    def known_backbone(cls, name: str) -> str:
        if fault := architectures.fault(name):
            raise ValueError(fault)
        return name

    @field_validator("uncertain", "blank")
    @classmethod
    def known_policy(cls, policy: str, about: ValidationInfo) -> str:
        named = policies.words(about.field_name, policy)
        classes = {name for dataset in DATASETS.values() for name in dataset.classes}
        if set(named) - classes - {""}:
            classes |= set(own_titles())
        for name in named:
            if name and name not in classes:
                raise ValueError(f"expected classes of a dataset{nearest(name, classes)}")
        return policy

    @field_validator("devices", mode="before")
    @classmethod
    def known_devices(cls, devices: object) -> object:
        if devices != "all" and (type(devices) is not int or devices < 1):
            raise ValueError("expected a whole number above 0, or all")
        return devices

    @field_validator("weights")
    @classmethod
    def known_weights(cls, weights: str) -> str:
        if weights not in ("random", "imagenet") and Path(weights).suffix not in (".keras", ".h5"):
            meant = nearest(weights[:80], ("random", "imagenet"))
            raise ValueError(
                f"expected random, imagenet, a run's best.keras, or a file of ImageNet weights (.h5){meant}"
            )
        return weights

    @model_validator(mode="after")
    def falling_rate(self) -> "Params":
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate {self.final_learning_rate} is above learning_rate {self.learning_rate}"
            )
        return self

    @property
    def prepared_with(self) -> dict:
        """The params that determine a dataset's preparation, besides the study's seed."""
        return {"size": self.image_size, "split": self.split, "votes": self.votes}

    @property
    def weights_word(self) -> str:
        """random, imagenet or transfer: the word used in names and tables."""
        if self.weights in ("random", "imagenet"):
            return self.weights
        return "imagenet" if self.weights.endswith(".h5") else "transfer"

    @property
    def run(self) -> str:
        """The run's name, as in covid-efficientnet_b1-random-lr0.05."""
        return f"{self.dataset}-{self.backbone}-{self.weights_word}{self.suffix}"

    @property
    def names_source(self) -> bool:
        """Whether the params name the folder of a given source, so it need not be named again."""
        return self.acquire == "given" and "source" in self.model_fields_set

    @property
    def source_folder(self) -> Path:
        """The folder of the dataset, as published. A given one may be named as in results (`places.find`)."""
        if self.acquire == "given":
            return find(self.source) or from_project(self.source)
        return from_project(self.source) / self.dataset

    @property
    def prepared_folder(self) -> Path:
        return from_project(self.prepared) / self.dataset

    @property
    def study_folder(self) -> Path:
        """reports/<study>: the folder of tables, figures, notebooks and the report, with the runs in a subfolder."""
        return from_project(self.runs).parent

    @property
    def run_folder(self) -> Path:
        return from_project(self.runs) / self.run

    @property
    def transfer_file(self) -> Path:
        """The file named by `weights`: in the folder of runs, else relative to the project's folder."""
        in_runs = from_project(self.runs) / self.weights
        return in_runs if in_runs.exists() or self.weights.endswith("/best.keras") else from_project(self.weights)

    @classmethod
    def collect(cls, names: Mapping[str, object]) -> "Params":
        """The parameters among a notebook's variables: `Params.collect(globals())` after its cell of parameters.

        Sets their backend for Keras, so call it before anything imports Keras. Raises ParamsError.
        """
        params = check({key: names[key] for key in cls.model_fields if key in names}, "the notebook's parameters")
        choose_backend(params.backend)
        return params


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
            raise ParamsError(f"{files[0]}: extends: {known}, found {_cut(name)}{nearest(str(name)[:80], studies)}")
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
    try:
        data, lines = yaml_files.read_yaml(file)
    except OSError as error:
        raise ParamsError(f"{file}: expected a readable YAML file of params; {error.strerror}") from error
    except yaml_files.YamlError as error:
        raise ParamsError(f"{file}: expected a readable YAML file of params; {error}") from error
    if data is None:
        return {}, {}
    if not isinstance(data, dict):
        raise ParamsError(f"{file}: expected lines of `key: value`, found a {type(data).__name__}")
    for key in data:
        if key not in Params.model_fields and (key != "extends" or file.name != "study.yaml"):
            line = f", line {lines[str(key)]}" if str(key) in lines else ""
            raise ParamsError(
                f"{file}{line}: unknown key {_cut(key)}{nearest(str(key)[:80], Params.model_fields)}. "
                f"Known keys: {', '.join(Params.model_fields)}"
            )
    return data, lines


def _cut(value: object) -> str:
    """A value for an error message, at most one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check(values: Mapping[str, object], origin: str, places: Mapping[str, str] | None = None) -> Params:
    """Params from values; an integer is accepted for a float. Raises ParamsError for the first error.

    It names the place of the wrong key, or the origin of all.
    """
    values = {
        key: float(value) if key.endswith("learning_rate") and type(value) is int and abs(value) < 2**53 else value
        for key, value in values.items()
    }
    try:
        return Params(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "params"
        found = f", found {_cut(first['input'])}" if first["loc"] else ""
        hint = " (write 0.001, not 1e-3: YAML reads the latter as text)" if _is_exponent(first["input"]) else ""
        if first["type"] == "literal_error":
            hint = nearest(
                str(first["input"])[:80], first["ctx"]["expected"].replace(" or ", ", ").strip("'").split("', '")
            )
        place = (places or {}).get(key, origin)
        raise ParamsError(f"{place}: {key}: {first['msg'].removeprefix('Value error, ')}{found}{hint}") from error


def _is_exponent(value: object) -> bool:
    if not isinstance(value, str) or "e" not in value.lower():
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True


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


def dump(params: Params) -> str:
    """The params of a run as YAML text, in the order of the model: all that make the run what it is.

    Without `seeds`, which is its study's, and `tracker`, which a run may be given or lose at any time.
    """
    return yaml.safe_dump(params.model_dump(exclude={"seeds", "tracker"}), sort_keys=False)


__all__ = ["Params", "check", "dump", "load_params", "load_study", "study_folder"]
