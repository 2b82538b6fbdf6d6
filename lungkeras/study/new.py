"""Writes a study for a collection of your own: params/<study>/, with settings for the number of scans.

params/<study>/study.yaml                         the params that its runs share
              /<dataset>.collection.yaml          what was recognised in the folder
              /<dataset>-<backbone>-random.yaml   one file per run
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import yaml

from lungkeras.datasets.class_names import slugs
from lungkeras.datasets.datasheets import DRAWN
from lungkeras.datasets.own import SUFFIX, described
from lungkeras.datasets.own_description import Description
from lungkeras.datasets.recognised_tables import Named
from lungkeras.datasets.recognition import Understood, understand
from lungkeras.datasets.registry import DATASETS
from lungkeras.models import architectures
from lungkeras.study.params_files import load_study
from lungkeras.study.runs import BACKBONES
from lungkeras.system.errors import ParamsError
from lungkeras.system.files import atomic_folder, write_text
from lungkeras.system.places import project_folder
from lungkeras.system.text import printable

LONGEST_NAME = 80
# (upper limit of scans, purpose, settings)
SHORT = {
    "learning_rate": 0.003,
    "final_learning_rate": 0.0001,
    "batch_norm_momentum": 0.9,
    "dropout": False,
    "clip_norm": 1.0,
    "warmup": 0.2,
    "zero_init_residual": True,
}
SETTINGS = (
    (500, "few scans: small ones, in small batches, so that a model takes its steps in a minute or two on two cores",
     {"image_size": 64, "epochs": 40, "batch_size": 8, **SHORT}),
    (5000, "some thousand scans: minutes to hours on a few cores",
     {"image_size": 128, "epochs": 20, "batch_size": 16, **SHORT}),
    (float("inf"), "many scans: the settings of the published study, for a GPU",
     {"image_size": 224, "epochs": 100, "batch_size": 32, "learning_rate": 0.01, "final_learning_rate": 0.001}),
)  # fmt: skip
WHY_SHORT = """\
# A few hundred steps instead of tens of thousands. Batch-norm statistics averaged over a thousand steps would still be
# near their initial values, and networks learn sooner without dropout. The first gradients are far larger than the
# later ones: they are clipped, the rate rises slowly, and residual blocks start as the identity.
"""


def new_study(
    study: str,
    source: Path,
    *,
    title: str | None = None,
    backbones: Sequence[str] = BACKBONES,
    named: Named | None = None,
) -> tuple[Path, str, Understood]:
    """Looks at a folder of scans and writes a study of it; returns its folder, the dataset, and what it recognised.

    Raises ParamsError if the study exists already, or its name or a backbone is invalid; SourceError if the folder is
    not recognised.
    """
    folder = _new_folder(study)
    for backbone in backbones:
        if fault := architectures.fault(backbone):
            raise ParamsError(f"--backbone {printable(backbone)}: {fault}")
    (dataset,) = slugs([study], taken={*DATASETS, *described()})
    dataset = dataset.replace("class_", "scans_", 1) if dataset.startswith("class_") else dataset
    understood = understand(dataset, source, title=title or study.replace("_", " "), named=named)
    with atomic_folder(folder) as new:
        write_text(new / f"{dataset}{SUFFIX}", collection_text(study, understood.description))
        write_text(new / "study.yaml", study_text(study, source, understood))
        for backbone in dict.fromkeys(backbones):
            write_text(
                new / f"{dataset}-{backbone}-random.yaml",
                f"# {architectures.title(backbone)} from scratch.\ndataset: {dataset}\nbackbone: {backbone}\n",
            )
    load_study(folder)
    return folder, dataset, understood


def _new_folder(study: str) -> Path:
    """params/<study>, which must not exist yet. Raises ParamsError."""
    strange = (
        printable(study) != study or set(study) & set("/\\{}") or study.strip(". ") != study or study == "profiles"
    )
    if strange or not study or len(study) > LONGEST_NAME:
        raise ParamsError(
            f"expected a name for the study such as my_hospital, without slashes and braces, found "
            f"{printable(study)[:LONGEST_NAME]!r}: name another"
        )
    folder = project_folder() / "params" / study
    if folder.exists() or folder.is_symlink():
        raise ParamsError(f"{folder} exists already and is not changed: name another study, or remove the folder")
    return folder


def collection_text(study: str, description: Description) -> str:
    """The description as YAML, with the fields that you may change."""
    fields = description.model_dump(exclude_defaults=True)
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=110)
    return (
        f"# What `lungkeras new {study}` understood of the folder. Correct what it got wrong.\n"
        "# The names before the colons of `classes` are those of columns; what follows is the owner's name.\n"
        f"{text}"
        "# For the report, if you like:\n"
        "# citation: whom to cite, under which terms\n"
        "# datasheet:\n" + "".join(f"#   {json.dumps(question)}: answer\n" for question in DRAWN)
    )


def settings_for(scans: int) -> tuple[str, dict[str, object]]:
    """(reason, settings) for this number of scans."""
    return next((why, settings) for below, why, settings in SETTINGS if scans < below)


def study_text(study: str, source: Path, understood: Understood) -> str:
    """study.yaml."""
    scans = len(understood.records)
    why, settings = settings_for(scans)
    shared = {
        "title": understood.description.title,
        "source": _as_seen(source),
        "acquire": "given",
        "prepared": f"prepared/{study}",
        "runs": f"reports/{study}/runs",
    }
    lines = [f"# {scans:,} scans of {understood.records['patient'].nunique():,} patients.",
             f"#     lungkeras report {study}", *_written(shared)]  # fmt: skip
    if "given_split" in understood.records:
        lines += [
            "# The split that the collection gives; `patients` splits 70:15:15 by patient instead.",
            "split: given",
        ]
    lines += [f"# For {why}."]
    lines += _written({name: value for name, value in settings.items() if name not in SHORT or not _is_short(settings)})
    if _is_short(settings):
        lines += [WHY_SHORT.rstrip("\n"), *_written({name: settings[name] for name in SHORT})]
    return "\n".join(lines) + "\n"


def _is_short(settings: dict[str, object]) -> bool:
    return settings.items() >= SHORT.items()


def _written(values: dict[str, object]) -> list[str]:
    """Lines of YAML; JSON's texts are YAML's."""
    return [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]


def _as_seen(source: Path) -> str:
    """The folder relative to the project's folder if it is inside, else the full path."""
    path, project = source.resolve(), project_folder().resolve()
    return os.path.relpath(path, project) if path.is_relative_to(project) else str(path)
