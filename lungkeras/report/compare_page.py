"""Two studies side by side as one page: what `lungkeras compare` prints and writes."""

from pathlib import Path

import pandas as pd

from lungkeras.evaluation.comparison import SIGNIFICANT
from lungkeras.evaluation.studies import ALL_RUNS
from lungkeras.report.grid import NUMBER, Column, grid, span, spanned
from lungkeras.report.page import environment
from lungkeras.study.words import decimal, heading, run_name_title
from lungkeras.system.files import write_text


def summary(names: tuple[str, str], table: pd.DataFrame, params: pd.DataFrame) -> list[str]:
    """The comparison in lines for a terminal."""
    first, second = names
    lines = [f"{first} less {second}, test macro F1"]
    for row in table.to_dict("records"):
        run = row["first_run"] or row["second_run"]
        if row["second_run"] and row["second_run"] != run:
            run += f" beside {row['second_run']}"
        scores = f"{decimal(row['first_macro_f1'], 3)} {decimal(row['second_macro_f1'], 3)}"
        if pd.isna(row["difference"]):
            lines.append(f"  {run}: {scores}; {row['note']}")
            continue
        between = span(row["low"], row["high"], 3, " to ")
        note = f"; {row['note']}" if row["note"] else ""
        lines.append(f"  {run}: {scores}, difference {row['difference']:+.3f} ({between}), p {_p(row['p_holm'])}{note}")
    lines.append("p is adjusted over all pairs (Holm).")
    lines += ["params that differ:"] if len(params) else ["No param differs."]
    return lines + [f"  {row.run}: {row.param} {row.first} | {row.second}" for row in params.itertuples()]


def write_comparison(file: Path | str, names: tuple[str, str], table: pd.DataFrame, params: pd.DataFrame) -> Path:
    """Writes the page, which needs no other file; `table` and `params` are those of lungkeras.evaluation.studies."""
    paired = table["difference"].notna()
    html = environment().get_template("compare.html.j2").render(
        names=names,
        counts={"pairs": int((table["first_run"].astype(bool) & table["second_run"].astype(bool)).sum()),
                "paired": int(paired.sum()), "significant": int((table["p_holm"] < SIGNIFICANT).sum())},
        scores=_scores(names, table) if len(table) else None,
        params=_params(names, params) if len(params) else None,
    )  # fmt: skip
    write_text(file, html)
    return Path(file)


def _scores(names: tuple[str, str], table: pd.DataFrame) -> dict:
    first, second = names
    frame = table.rename(columns={"low": "difference_low", "high": "difference_high"})
    frame = spanned(frame, "first_macro_f1", "second_macro_f1", "difference", "auroc")
    frame = frame.assign(
        name=[_title(row) for row in table.to_dict("records")],
        p_text=[_p(p) for p in table["p_holm"]], auroc_p_text=[_p(p) for p in table["auroc_p_holm"]],
    )  # fmt: skip
    columns = [
        Column("name", "model"),
        Column("first_macro_f1", "macro F1", 3, first),
        Column("first_macro_f1_span", "95 % interval", NUMBER, first),
        Column("second_macro_f1", "macro F1", 3, second),
        Column("second_macro_f1_span", "95 % interval", NUMBER, second),
        Column("difference", "macro F1", 3, "difference"),
        Column("difference_span", "95 % interval", NUMBER, "difference"),
        Column("p_text", "p", NUMBER, "difference"),
        Column("auroc_difference", "macro AUROC", 3, "difference"),
        Column("auroc_p_text", "p", NUMBER, "difference"),
    ]
    if table["note"].astype(bool).any():
        columns.append(Column("note", "note"))
    return grid(
        frame,
        columns,
        group=lambda row: heading(row["dataset"]),
        strong=lambda row: row["p_holm"] < SIGNIFICANT,
    )


def _title(row: dict) -> str:
    one, other = row["first_run"], row["second_run"]
    title = run_name_title(one or other)
    return title if one == other or not (one and other) else f"chosen: {title} | {run_name_title(other)}"


def _params(names: tuple[str, str], params: pd.DataFrame) -> dict:
    titles = [
        run if run == ALL_RUNS else f"{heading(run.split('-')[0])}: {run_name_title(run)}" for run in params["run"]
    ]
    columns = [Column("name", "model"), Column("param", "param"), Column("first", names[0]), Column("second", names[1])]
    return grid(params.assign(name=titles), columns)


def _p(p: float) -> str:
    return "–" if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
