"""The top of the report: what its scans are, and the key results at a glance."""

from collections.abc import Mapping

import pandas as pd

from lungkeras.evaluation.comparison import not_significantly_different
from lungkeras.evaluation.paper.published import published_best, published_scans
from lungkeras.report.figures.style import run_colour
from lungkeras.report.grid import anchor
from lungkeras.study.runs import ABLATION, REPEAT
from lungkeras.study.words import decimal, heading, run_name_title, run_title

FEW = 0.5  # of the published scans
FEW_TESTED = 100  # scans, of a collection that the paper does not have
AXIS_START, AXIS_LENGTH = 20, 600  # of the axis from 0 to 1 in the drawing of the key results


def lead(datasets: list[Mapping]) -> dict:
    """The first words of a report: what its scans are, and so what its numbers can say. {drawn, strong, text}."""
    scans = {facts["dataset"]: sum(facts["scans"].values()) for facts in datasets}
    drawn = [facts["dataset"] for facts in datasets if facts["drawn"]]
    real = [name for name in scans if name not in drawn]
    if not real:
        text = (
            f"All {sum(scans.values()):,} chest films were drawn by lungkeras, with known findings. "
            "Numbers and verdicts are about the machinery; they say nothing about disease."
        )
        return {"drawn": True, "strong": "These are drawings, not patients.", "text": text}
    total, published = sum(scans[name] for name in real), sum(published_scans(name) for name in real)
    smallest = max(min(facts["scans"]["test"] for facts in datasets if facts["dataset"] in real), 1)
    few = total < FEW * published if published > 0 else smallest < FEW_TESTED
    strong = f"{total:,} real scans" + (
        f", where the published study had {published:,.0f}." if few and published > 0 else "."
    )
    text = "; ".join(f"{heading(name)} {scans[name]:,}{_published_scans(name)}" for name in real) + ". "
    text += f"The smallest test split has {smallest:,} scans, so that one scan is worth {1 / smallest:.1%}"
    text += ": the scores say little about the models, and less about disease." if few else "."
    if drawn:
        strong = f"Not all of these are patients: the scans of {' and '.join(map(heading, drawn))} are drawings."
        text = f"Their numbers say nothing about disease. Real are {text}"
    return {"drawn": bool(drawn), "strong": strong, "text": text}


def _published_scans(dataset: str) -> str:
    published = published_scans(dataset)
    return "" if pd.isna(published) else f" (the paper {published:,.0f})"


def headlines(
    baselines: pd.DataFrame | None,
    results: pd.DataFrame | None,
    pairs: pd.DataFrame | None = None,
    transfer: pd.DataFrame | None = None,
) -> list[dict]:
    """The key results: of each dataset the model that validation chose with its interval and those not distinguished
    from it (`pairs`), how many copies of its test scans its weights know (`transfer`), the paper's and the linear one,
    and a dot a run.
    """
    if baselines is None or results is None:
        return []
    competing = results[~results["run"].str.contains(ABLATION) & ~results["run"].str.contains(REPEAT)]
    found = []
    for row in baselines.to_dict("records"):
        own = competing[competing["dataset"] == row["dataset"]]
        run, published = published_best(row["dataset"])
        found.append(
            {
                "title": heading(row["dataset"]),
                "model": run_title(row["backbone"], row["weights"]),
                "anchor": anchor(row["run"]),
                "macro_f1": decimal(row["macro_f1"], 3),
                "interval": _interval(own[own["run"] == row["run"]]),
                "alike": _alike(row["run"], pairs, own["run"]) + _copied(row["run"], transfer),
                "linear": decimal(row["linear_macro_f1"], 3),
                "linear_at": _position(row["linear_macro_f1"]),
                "published": decimal(published, 3),
                "published_model": run_name_title(run),
                "dots": [_dot(entry) for entry in own.to_dict("records")],
            }
        )
    return found


def _interval(result: pd.DataFrame) -> str:
    """0.812 to 0.901; empty where there is none."""
    known = result.reindex(columns=["macro_f1_low", "macro_f1_high"]).dropna()
    return " to ".join(decimal(value, 3) for value in known.iloc[0]) if len(known) else ""


def _alike(run: str, pairs: pd.DataFrame | None, others: pd.Series) -> str:
    """Which models the test scans do not tell apart from the one with the highest score; empty where none was asked."""
    if pairs is None or len(others) < 2:
        return ""
    alike = [run_name_title(name) for name in not_significantly_different(run, pairs)]
    if not alike:
        return "These trained models differ significantly from it."
    return f"Not significantly different from {', '.join(alike)}."


def _copied(run: str, transfer: pd.DataFrame | None) -> str:
    """What a score owes to copies of test scans; empty where none is known."""
    if transfer is None or not (copies := transfer.set_index("run")["copies"].fillna(0).get(run, 0)):
        return ""
    return f" Its weights were learned from copies of {copies:.0f} of its test scans."


def _dot(row: Mapping) -> dict:
    name = run_title(row["backbone"], row["weights"])
    return {
        "name": name,
        "at": _position(row["macro_f1"]),
        "published_at": _position(row["published_macro_f1"]),
        "text": f"{name}: {decimal(row['macro_f1'], 3)}"
        + ("" if pd.isna(row["published_macro_f1"]) else f", paper {decimal(row['published_macro_f1'], 3)}"),
        "colour": run_colour(row["backbone"]),
        "pretrained": row["weights"] != "random",
    }


def _position(score: float) -> float | None:
    """A score in [0, 1] as a place on the axis of the key results, in its units."""
    return None if pd.isna(score) else round(AXIS_START + AXIS_LENGTH * float(score), 1)
