"""One function per table of the paper, ours and the published numbers side by side: data in, DataFrame out."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from lungkeras.datasets.policies import DEFAULTS, labels_under, policy_text, unknown_labels
from lungkeras.datasets.registry import class_columns
from lungkeras.evaluation.paper.published import (
    published_best,
    published_complexity,
    published_counts,
    published_run,
    published_scans,
    published_weights,
)
from lungkeras.splits import SPLITS
from lungkeras.study.runs import ABLATION, REPEAT, repeated_as

ALL_SCANS = "all scans"
BATCH = 32  # the paper counts operations per batch
SIDE = 256  # pixels of its scans
GIGA, MEGA = 1e9, 1e6

TABLE_3_COLUMNS = [
    "dataset",
    "backbone",
    "weights",
    "macro_f1",
    "seconds_per_epoch",
    "best_epoch",
    "published_macro_f1",
    "run",
    "learning_rate",
    "macro_f1_low",
    "macro_f1_high",
    "diverged",
    "difference",
    "interval_holds_published",
    "macro_auroc",
    "macro_auroc_low",
    "macro_auroc_high",
    "macro_average_precision",
    "macro_average_precision_low",
    "macro_average_precision_high",
    "test_scans",
    "test_patients",
    "published_seconds_per_epoch",
    "published_best_epoch",
    "published_weights",
]


def table_1(
    records_of: Mapping[str, pd.DataFrame], uncertain: str = DEFAULTS["uncertain"], blank: str = DEFAULTS["blank"]
) -> pd.DataFrame:
    """Scans per dataset, class and split, next to the published ones.

    `records_of` is {dataset: records with the column split and one column of labels per class}; the policies
    `uncertain` and `blank` turn labels into 0 and 1. The last row of a dataset counts its scans: in a multilabel
    dataset fewer than its labels. Columns: dataset, class, train, val, test, total, published (NaN if the paper has
    none); for a collection with unknown labels also uncertain and blank (counts per class), and policy.
    """
    rows = []
    for dataset, records in records_of.items():
        counts, classes = published_counts(dataset), class_columns(records)
        unknown = unknown_labels(records, classes)
        policy = {"policy": policy_text(uncertain, blank)} if unknown else {}
        labels = labels_under(records, classes, uncertain, blank)
        for column, name in enumerate(classes):
            found = records.loc[labels[:, column] == 1, "split"]
            lacking = {kind: unknown.get(kind, {}).get(name, 0) for kind in DEFAULTS} if unknown else {}
            rows.append(_counted(dataset, name, found, counts.get(name)) | lacking | policy)
        rows.append(_counted(dataset, ALL_SCANS, records["split"], published_scans(dataset)) | policy)
    columns = ["dataset", "class", *SPLITS, "total", "published"]
    table = pd.DataFrame(
        rows, columns=[*columns, *(name for name in (*DEFAULTS, "policy") if name in set().union(*rows))]
    )
    return table.astype({name: "Int64" for name in DEFAULTS if name in table})


def _counted(dataset: str, name: str, splits: pd.Series, published: float | None) -> dict:
    counts = {split: int((splits == split).sum()) for split in SPLITS}
    return {"dataset": dataset, "class": name, **counts, "total": len(splits), "published": published}


def as_counted_in_the_paper(backbones: Iterable[str]) -> dict[str, dict[str, float]]:
    """{backbone: its counts for `table_2`}: built with the 1,000 classes of ImageNet, at 256 x 256 pixels."""
    from lungkeras.models import build_model, complexity

    counted = {}
    for backbone in dict.fromkeys(backbones):
        model = build_model(backbone, range(1000), "multiclass", image_size=SIDE)
        counted[backbone] = {
            "parameters": complexity.count_parameters(model),
            "layers": complexity.count_layers(model),
            "multiply_accumulates": complexity.count_multiply_accumulates(model),
            "image_size": SIDE,
        }
    return counted


def table_2(complexity: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Size of each backbone, next to the published one.

    `complexity` is {backbone: {parameters, layers, multiply_accumulates (of one image), image_size (pixels per side)}},
    counted from models. The FLOPs that the paper prints are multiply-accumulates of a batch of 32 at 256 x 256: count
    at that size to compare. Parameters are in millions, operations in thousand millions (giga).
    """
    rows = []
    for backbone, counted in complexity.items():
        published = published_complexity(backbone)
        giga = counted["multiply_accumulates"] / GIGA
        rows.append(
            {
                "backbone": backbone,
                "parameters_millions": counted["parameters"] / MEGA,
                "published_parameters_millions": published["parameters_millions"],
                "layers": counted["layers"],
                "published_layers": published["layers"],
                "image_size": counted["image_size"],
                "giga_operations_per_image": giga,
                "giga_operations": BATCH * giga,
                "published_giga_operations": published["giga_operations"],
                "published_imagenet_top5": published["imagenet_top5"],
            }
        )
    return pd.DataFrame(rows)


def table_3(results: pd.DataFrame) -> pd.DataFrame:
    """One row per run, in the order of `results`, next to the paper's run with the same dataset, backbone and weights.

    `results` has the columns run, dataset, backbone, weights, learning_rate, macro_f1, macro_auroc, seconds_per_epoch,
    best_epoch (evaluation.results). Runs from transferred features are compared with the paper's ImageNet runs
    (`published_weights`). The ablation, for which the paper prints no numbers, and other variants have no published
    values. `difference` is our macro F1 minus the paper's; `interval_holds_published` is yes or no, empty without an
    interval or a published value.
    """
    rows = []
    for row in results.to_dict("records"):
        plain = "-".join((row["dataset"], row["backbone"], row["weights"]))
        key = (row["dataset"], row["backbone"], row["weights"] if repeated_as(row["run"]) == plain else "")
        published = published_run(*key)
        weights = published_weights(row["weights"]) if np.isfinite(published["macro_f1"]) else ""
        rows.append(
            row | {f"published_{name}": value for name, value in published.items()} | {"published_weights": weights}
        )
    table = pd.DataFrame(rows).reindex(columns=TABLE_3_COLUMNS)
    published, low, high = (table[key] for key in ("published_macro_f1", "macro_f1_low", "macro_f1_high"))
    holds = np.where((low <= published) & (published <= high), "yes", "no")
    table["interval_holds_published"] = np.where(published.notna() & low.notna(), holds, "")
    whole = {name: table[name].astype("Int64") for name in ("best_epoch", "diverged")}
    return table.assign(difference=table["macro_f1"] - published, **whole)


def baselines(results: pd.DataFrame, linear: Mapping[str, float], chosen: Mapping[str, str]) -> pd.DataFrame:
    """The run of each dataset chosen on validation, a linear classifier on the same pixels, and the paper's best run.

    `chosen` is {dataset: run} (evaluation.failures.best_on_validation): chosen on test, a score would be optimistic.
    `linear` is {dataset: test macro F1 of the linear classifier}; a missing dataset gets NaN. The ablation, which is
    not among the paper's runs, and repeats with other seeds are excluded. Columns: dataset, run, backbone, weights,
    macro_f1, macro_auroc, linear_macro_f1, difference, published_run, published_macro_f1.
    """
    apart = results["run"].str.contains(ABLATION) | results["run"].str.contains(REPEAT)
    competing = results[~apart & results["macro_f1"].notna()]
    rows = []
    for dataset, group in competing.groupby("dataset", sort=False):
        if dataset not in chosen or not (group["run"] == chosen[dataset]).any():
            continue
        best = group[group["run"] == chosen[dataset]].iloc[0]
        run, published = published_best(dataset)
        straight = linear.get(dataset, np.nan)
        rows.append(
            {
                **best[["dataset", "run", "backbone", "weights", "macro_f1", "macro_auroc"]],
                "linear_macro_f1": straight,
                "difference": best["macro_f1"] - straight,
                "published_run": run,
                "published_macro_f1": published,
            }
        )
    columns = ["dataset", "run", "backbone", "weights", "macro_f1", "macro_auroc", "linear_macro_f1", "difference"]
    return pd.DataFrame(rows, columns=[*columns, "published_run", "published_macro_f1"])
