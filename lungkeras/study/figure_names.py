"""The figures of a dataset's models: those in the paper by its numbers, the others by the dataset's name."""

from collections.abc import Iterable

from lungkeras.datasets.registry import known_dataset

KINDS = ("embeddings", "heatmaps")
PAPER = {
    ("embeddings", "pneumonia"): "figure_05",
    ("embeddings", "covid"): "figure_06",
    ("heatmaps", "pneumonia"): "figure_07",
    ("heatmaps", "covid"): "figure_08",
}


def figure_name(kind: str, dataset: str) -> str:
    """The name of a figure's files.

    >>> figure_name("heatmaps", "covid"), figure_name("heatmaps", "mine")
    ('figure_08', 'heatmaps_mine')
    """
    return PAPER.get((kind, dataset), f"{kind}_{dataset}")


def pictured(datasets: Iterable[str]) -> list[str]:
    """The datasets with these figures: those with one class per scan."""
    return [dataset for dataset in datasets if known_dataset(dataset).task == "multiclass"]
