"""The report's tables of settings: those of the study beside the paper's, the params of a run, versions."""

from collections.abc import Mapping

import pandas as pd

from lungkeras.evaluation.paper.published import has_published, published
from lungkeras.report.grid import Column, grid
from lungkeras.study.params import Params

# Why a study that trains for minutes has other settings than the paper.
REASONS = {
    "image_size": "small scans train on a CPU in minutes",
    "epochs": "enough to learn from these scans; a run may have others",
    "batch_size": "more steps from few scans",
    "learning_rate": "of those tried, the one that learns in a few hundred steps",
    "final_learning_rate": "a short training ends at a lower rate",
    "batch_norm_momentum": "statistics must follow within a few hundred steps",
    "beta_2": "Adam forgets the large first gradients sooner",
    "warmup": "the first steps of a network that knows nothing are small",
    "zero_init_residual": "a deep network leaves its first plateau within a few hundred steps",
    "clip_norm": "the first gradients are far larger than the later ones",
    "dropout": "a short training fits sooner without",
}


def settings(ours: Mapping[str, object], datasets: list[str]) -> dict:
    """One row per setting, with the paper's value if there is one and the reason if they differ; no file paths.

    If no dataset is a collection of the paper, only the settings.
    """
    paper = {key: value for key, value in published()["training"].items() if not isinstance(value, dict)}
    paper |= {"beta_2": published()["training"]["optimizer"]["beta_2"]}
    sizes = [published()["datasets"][name]["image_size"] for name in datasets if name in published()["datasets"]]
    paper["image_size"] = ", ".join(map(str, dict.fromkeys(sizes)))
    rows = [
        {
            "name": key.replace("_", " "),
            "here": _plain(value),
            "paper": _plain(paper.get(key)),
            "why": _reason(key, value, paper.get(key)),
        }
        for key, value in ours.items()
        if key not in ("source", "acquire", "prepared", "runs")
    ]
    columns = [("name", "setting"), ("here", "here")]
    columns += [("paper", "paper"), ("why", "why it differs")] if has_published(datasets) else []
    return grid(pd.DataFrame(rows), [Column(*column) for column in columns])


def _reason(key: str, here: object, paper: object) -> str:
    """Why a setting is not the paper's, or not the default if the paper has none; empty if it is."""
    field = Params.model_fields.get(key)
    usual = paper if paper is not None or field is None else field.default
    return "" if _plain(here) == _plain(usual) else REASONS.get(key, "")


def pairs(values: Mapping[str, object], names: tuple[str, str]) -> dict:
    """One row per key and its value."""
    rows = pd.DataFrame([{"name": str(key), "value": _plain(value)} for key, value in values.items()])
    return grid(rows, [Column("name", names[0]), Column("value", names[1])])


def _plain(value: object) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(entry)}" for key, entry in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
