"""The results of the published study, from published.yaml: the numbers shown next to ours in tables and report."""

import functools
from collections.abc import Iterable
from pathlib import Path

import yaml

NOT_PUBLISHED = float("nan")


@functools.cache
def published() -> dict:
    """The whole file; treat it as read-only."""
    return yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))


def has_published(datasets: Iterable[str]) -> bool:
    """Whether one of the datasets is a collection of the paper, so its numbers and claims apply to the study."""
    return not published()["datasets"].keys().isdisjoint(datasets)


def published_weights(weights: str) -> str:
    """The weights of the paper's run compared with one of ours: transferred features are compared with ImageNet's."""
    return "imagenet" if weights == "transfer" else weights


def published_run(dataset: str, backbone: str, weights: str) -> dict[str, float]:
    """macro_f1, seconds_per_epoch and best_epoch of one of the twelve published runs; NaN for other runs."""
    run = f"{dataset}-{backbone}-{published_weights(weights)}"
    none = dict.fromkeys(("macro_f1", "seconds_per_epoch", "best_epoch"), NOT_PUBLISHED)
    return none | published()["runs"].get(run, {})


def published_f1(dataset: str, backbone: str, weights: str) -> float:
    """Test macro F1 in [0, 1]; NaN if the paper has no such run."""
    return published_run(dataset, backbone, weights)["macro_f1"]


def published_counts(dataset: str) -> dict[str, int]:
    """Scans per class; for xray8, whose sizes are printed without names, derived from the public label list."""
    facts = published()["datasets"].get(dataset, {})
    return facts.get("classes") or facts.get("derived", {}).get("classes", {})


def published_scans(dataset: str) -> float:
    """Total scans; for xray8, given in the paper as "over 29,000", as derived. NaN for a dataset of one's own."""
    facts = published()["datasets"].get(dataset, {})
    return facts.get("derived", facts).get("scans", NOT_PUBLISHED)


def published_complexity(backbone: str) -> dict[str, float]:
    """parameters_millions, layers, giga_operations (a batch of 32 at 256 x 256), imagenet_top5 (percent)."""
    none = dict.fromkeys(("parameters_millions", "layers", "giga_operations", "imagenet_top5"), NOT_PUBLISHED)
    return none | published()["complexity"].get(backbone, {})


def published_best(dataset: str) -> tuple[str, float]:
    """The best published run of a dataset and its test macro F1; ("", NaN) for a dataset of one's own."""
    runs = {run: facts["macro_f1"] for run, facts in published()["runs"].items() if run.startswith(f"{dataset}-")}
    return max(runs.items(), key=lambda item: item[1], default=("", NOT_PUBLISHED))


def published_auroc() -> dict[str, dict[str, float]]:
    """{class of xray8: {publication: AUROC}}, of the findings that others report."""
    return published()["auroc"]["classes"]


def published_boxes() -> dict[str, list[float]]:
    """{class of xray8: shares of its boxes found at an IoU above 0.1, 0.3 and 0.5}, of the classes that have boxes."""
    return published()["boxes"]
