"""The first page of the report: its scans, its question, and the scores at a glance."""

import math
from collections.abc import Mapping

import pandas as pd

from lungkeras.evaluation.comparison import not_significantly_different
from lungkeras.evaluation.paper.published import published_best, published_scans
from lungkeras.evaluation.paper.truth import VERDICTS
from lungkeras.report.figures.style import run_colour, themed
from lungkeras.report.grid import anchor, span
from lungkeras.study.runs import ABLATION, REPEAT
from lungkeras.study.words import decimal, heading, listed, run_name_title, run_title

FEW = 0.5  # of the published scans
AXIS_STEP = 0.2  # the axis of scores starts at a multiple of it
FEW_TESTED = 100  # scans, for a collection that is not in the paper


def lead(datasets: list[Mapping]) -> dict:
    """The first words of a report: the kind of its scans, and so the meaning of its numbers. {drawn, strong, text}."""
    scans = {facts["dataset"]: sum(facts["scans"].values()) for facts in datasets}
    drawn = [facts["dataset"] for facts in datasets if facts["drawn"]]
    real = [name for name in scans if name not in drawn]
    if not real:
        text = (
            f"All {sum(scans.values()):,} chest films were drawn by lungkeras, with known findings. "
            "Numbers and verdicts are about the software; they say nothing about disease."
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
    """The key results: for each dataset the model chosen on validation with its interval and those not significantly
    different from it (`pairs`), how many copies of its test scans its weights have seen (`transfer`), the score of the
    paper, of the linear model, and of every model.
    """
    if baselines is None or results is None:
        return []
    found = []
    for row in baselines.to_dict("records"):
        own = competing(results).query("dataset == @row['dataset']")
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
                "linear_score": row["linear_macro_f1"],
                "published": decimal(published, 3),
                "published_model": run_name_title(run),
                "models": [_model(entry, row["run"]) for entry in own.to_dict("records")],
            }
        )
    return found


def asked(datasets: list[Mapping], results: pd.DataFrame | None, *, of_the_paper: bool = True) -> str:
    """The study's question, in a sentence with its own models and datasets, and the amount of test data."""
    runs = pd.DataFrame(columns=["dataset"]) if results is None else competing(results)
    known = {facts["dataset"] for facts in datasets}
    names = [heading(name) for name in dict.fromkeys(runs["dataset"]) if name in known]
    certain = "how certain is that"
    certain = f"{certain}, and do the claims of the paper hold here" if of_the_paper else f"and {certain}"
    if runs.empty or not names:
        return f"Which network classifies chest X-rays best, {certain}?"
    models = runs.drop_duplicates(["backbone", "weights"])
    titles = [run_title(row.backbone, row.weights) for row in models.itertuples()]
    tested = sum(facts["scans"]["test"] for facts in datasets)
    which = f"Which of {len(titles)} networks ({'; '.join(titles)}) classifies the chest X-rays of {listed(names)} best"
    if len(titles) == 1:
        which = f"How well does {titles[0]} classify the chest X-rays of {listed(names)}"
    trained, unseen = f"{len(results)} models were", "none of them was"
    if len(results) == 1:
        trained, unseen = "One model was", "it was not"
    return f"{which}, {certain}? {trained} trained, then tested on {tested:,} scans that {unseen} trained or chosen on."


def verdicts(claims: pd.DataFrame | None) -> str:
    """How many of the paper's claims hold; empty where none was checked."""
    if claims is None or claims.empty:
        return ""
    undecided = "can’t be decided by these runs"
    one = dict(zip(VERDICTS, ("holds", "fails", undecided, "was not run"), strict=True))
    several = dict(zip(VERDICTS, ("hold", "fail", undecided, "were not run"), strict=True))
    counts = claims["verdict"].value_counts()
    found = [(counts[verdict], verdict) for verdict in VERDICTS if verdict in counts]
    return f"of {len(claims)}, {listed(f'{n} {(one if n == 1 else several)[verdict]}' for n, verdict in found)}."


def competing(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of Table 3 without the ablation and repeats with other seeds."""
    return results[~results["run"].str.contains(ABLATION) & ~results["run"].str.contains(REPEAT)]


def forest(rows: list[dict]) -> dict | None:
    """The scores of `headlines` on one axis: {start, ticks, groups}; positions are texts of percents of the axis.

    Each group has a title and lines {name, anchor, text, interval, low, high, at, published, colour, filled, chosen}.
    """
    scores = [score for row in rows for model in row["models"] for score in model["scores"]]
    scores = [score for score in [*scores, *(row["linear_score"] for row in rows)] if not pd.isna(score)]
    if not scores:
        return None
    start = min(math.floor(min(scores) / AXIS_STEP) * AXIS_STEP, 1 - AXIS_STEP)

    def at(score: float) -> str | None:
        return None if pd.isna(score) else f"{100 * (score - start) / (1 - start):.2f}%"

    def line(model: Mapping) -> dict:
        low, high, score, published = map(at, model["scores"])
        return model | {"low": low, "high": high, "at": score, "published_at": published}

    ticks = [{"at": at(tick / 10), "text": f"{tick / 10:.1f}"} for tick in range(round(10 * start), 11, 2)]
    groups = [
        {"title": row["title"], "lines": [line(model) for model in row["models"]], "linear": row["linear"],
         "linear_at": at(row["linear_score"])}
        for row in rows
    ]  # fmt: skip
    return {"ticks": ticks, "groups": groups}


def _interval(result: pd.DataFrame) -> str:
    """0.812 to 0.901; empty if there is none."""
    known = result.reindex(columns=["macro_f1_low", "macro_f1_high"]).dropna()
    return " to ".join(decimal(value, 3) for value in known.iloc[0]) if len(known) else ""


def _alike(run: str, pairs: pd.DataFrame | None, others: pd.Series) -> str:
    """The models not significantly different from the one with the highest score; empty if none was compared."""
    if pairs is None or len(others) < 2:
        return ""
    alike = [run_name_title(name) for name in not_significantly_different(run, pairs)]
    if not alike:
        return "All other models differ significantly from it."
    return f"Not significantly different from {', '.join(alike)}."


def _copied(run: str, transfer: pd.DataFrame | None) -> str:
    """The effect of copies of test scans on a score; empty if unknown."""
    if transfer is None or not (copies := transfer.set_index("run")["copies"].fillna(0).get(run, 0)):
        return ""
    return f" Its weights were learned from copies of {copies:.0f} of its test scans."


def _model(row: Mapping, chosen: str) -> dict:
    """A line of the forest; `scores` are low, high, the score and the paper's."""
    scores = [row.get("macro_f1_low", math.nan), row.get("macro_f1_high", math.nan), row["macro_f1"]]
    return {
        "name": run_title(row["backbone"], row["weights"]),
        "anchor": anchor(row["run"]),
        "text": decimal(row["macro_f1"], 3),
        "interval": span(*scores[:2], 3),
        "published": decimal(row["published_macro_f1"], 3),
        "scores": [*scores, row["published_macro_f1"]],
        "colour": themed(run_colour(row["backbone"])),
        "pretrained": row["weights"] != "random",
        "chosen": row["run"] == chosen,
    }
