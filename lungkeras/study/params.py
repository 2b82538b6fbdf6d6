"""The parameters of a study and its runs: flat YAML files, merged in order, checked once.

    params/<study>/study.yaml     what all runs of a study share
    params/<study>/<run>.yaml     the few differences of one run

Later files win, key by key, as papermill merges several `-f` files. With `extends: demo` a study.yaml takes the shared
params and the runs of another study in params/, and its own entries win. Relative folders are relative to the project's
folder, wherever a notebook or command was started.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from lungkeras.datasets import policies
from lungkeras.datasets.own import own_titles
from lungkeras.datasets.registry import DATASETS, dataset_names
from lungkeras.models import architectures
from lungkeras.system.backends import BACKENDS, choose_backend, default_backend
from lungkeras.system.errors import ParamsError, nearest
from lungkeras.system.places import find, from_project
from lungkeras.system.text import printable


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


def shortened(value: object) -> str:
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
        found = f", found {shortened(first['input'])}" if first["loc"] else ""
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


def dump(params: Params) -> str:
    """The params of a run as YAML text, in the order of the model: all that make the run what it is.

    Without `seeds`, which is its study's, and `tracker`, which a run may be given or lose at any time.
    """
    return yaml.safe_dump(params.model_dump(exclude={"seeds", "tracker"}), sort_keys=False)
