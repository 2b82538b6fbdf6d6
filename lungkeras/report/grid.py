"""The layout of a table in the report: rows in groups, headers over columns, formatted numbers.

A table is a dictionary for the template: `head`, two rows of {text, columns, rows, place, link, width}; `bodies`,
groups of {title, rows}, where a row is a list of {text, number (aligned right), link, strong}; `stacked`, whether
intervals stand under their scores. `place` is the column of a header, None if it spans several; `width` names its least
width. Nothing here is HTML: the template escapes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from lungkeras.scores.intervals import TOO_FEW
from lungkeras.study.words import decimal

NUMBER = -1
UNDEFINED = "undefined"
# {table: function that turns its frame into a grid}, from the functions marked with `table` in all modules.
TABLES: dict[str, Callable[..., dict]] = {}
MOST_PLACES = 6
# A column whose longest text has so many characters gets the least width of this name: none is one word wide.
WIDTHS = {60: "prose", 24: "phrase"}
MANY_SPANS = 5  # columns of a score and its interval: from this number on, intervals stand under their scores


@dataclass(frozen=True)
class Column:
    """A column of a CSV as the report shows it: `over` groups its headers.

    `places` after the point; None for text; NUMBER for text that is set as a number. `none` is shown for a missing
    value. `run` is the column of the frame that names the run to which a cell links, `link` the target of its header.
    """

    key: str
    title: str
    places: int | None = None
    over: str = ""
    none: str = "–"
    run: str = ""
    link: str = ""


def table(function: Callable[..., dict]) -> Callable[..., dict]:
    """Marks the function that lays out tables/<its name>.csv in the report."""
    TABLES[function.__name__] = function
    return function


def count(value: float) -> str:
    """12345 -> "12,345"; a dash if missing."""
    return "–" if pd.isna(value) else f"{value:,.0f}"


def anchor(run: str) -> str:
    """The id of a run's section: its name, without characters that are invalid in an id or address."""
    return "run-" + re.sub(r"[^\w.-]", "-", run)


def _card(run: object) -> str:
    """The address of a run's card; empty for no run."""
    return "#" + anchor(run) if isinstance(run, str) and run else ""


def grid(
    frame: pd.DataFrame,
    columns: list[Column],
    *,
    group: Callable[[pd.Series], str] = lambda row: "",
    link: Callable[[pd.Series], str] = lambda row: "",
    strong: Callable[[pd.Series], bool] = lambda row: False,
) -> dict:
    """A table for the template. The first column names the row, and may link; rows of one `group` are kept together."""
    columns = [column for column in columns if column.key in frame]
    bodies: dict[str, list] = {}
    for _, row in frame.iterrows():
        cells = [
            {
                "text": _text(row[column.key], column.places, column.none),
                "number": column.places is not None,
                "link": _card(row.get(column.run)),
            }
            for column in columns
        ]
        cells[0]["link"] = cells[0]["link"] or link(row)
        cells[0]["strong"] = bool(strong(row))
        bodies.setdefault(group(row), []).append(cells)
    every = [cells for rows in bodies.values() for cells in rows]
    head = _head(columns, [_width(every, place) for place in range(len(columns))])
    spans = sum(
        any(cells[place]["number"] and " (" in cells[place]["text"] for cells in every) for place in range(len(columns))
    )
    groups = [{"title": title, "rows": rows} for title, rows in bodies.items()]
    return {"head": head, "bodies": groups, "stacked": spans >= MANY_SPANS}


def _width(rows: list[list[dict]], place: int) -> str:
    """The name of the least width of a column; empty for numbers and short texts."""
    longest = max((len(row[place]["text"]) for row in rows if not row[place]["number"]), default=0)
    return next((name for characters, name in WIDTHS.items() if longest >= characters), "")


def _head(columns: list[Column], widths: list[str]) -> list[list[dict]]:
    """Two rows of headers: columns of one group are under its title, others span both rows."""
    above, below = [], []
    for place, column in enumerate(columns):
        own = {"text": column.title, "columns": 1, "place": place, "link": column.link, "width": widths[place]}
        if not column.over:
            above.append(own | {"rows": 2, "number": column.places is not None})
            continue
        if place == 0 or columns[place - 1].over != column.over:
            over = {
                "text": column.over,
                "columns": 0,
                "rows": 1,
                "number": True,
                "place": None,
                "link": "",
                "width": "",
            }
            above.append(over)
        above[-1]["columns"] += 1
        below.append(own | {"rows": 1, "number": True})
    if not below:
        above = [cell | {"rows": 1} for cell in above]
    return [row for row in (above, below) if row]


def _text(value: object, places: int | None, none: str) -> str:
    if pd.isna(value):
        return none
    if places is None or places == NUMBER:
        return str(value)
    return count(value) if places == 0 else decimal(value, places)


def spanned(frame: pd.DataFrame, *scores: str, places: int = 3, few: bool = False) -> pd.DataFrame:
    """With a column <score>_span, the interval of each score: 0.812–0.901, or -0.02 to 0.04 if some are below 0.

    `few`: a score without an interval says "too few".
    """
    spans = {}
    for score in scores:
        low, high = frame[f"{score}_low"], frame[f"{score}_high"]
        between = " to " if (low < 0).any() else "–"
        spans[f"{score}_span"] = [span(*ends, places, between) for ends in zip(low, high, strict=True)]
        if few and score in frame:
            spans[f"{score}_span"] = [
                TOO_FEW if pd.isna(end) and not pd.isna(value) else text
                for text, end, value in zip(spans[f"{score}_span"], low, frame[score], strict=True)
            ]
    return frame.assign(**spans)


def span(low: float | None, high: float | None, places: int, between: str = "") -> str:
    """0.812–0.901, or -0.02 to 0.04; a dash if there is no interval.

    With more places if both ends would look equal.
    """
    if low is None or pd.isna(low) or high is None or pd.isna(high):
        return "–"
    while decimal(low, places) == decimal(high, places) and low != high and places < MOST_PLACES:
        places += 1
    return f"{decimal(low, places)}{between or (' to ' if low < 0 else '–')}{decimal(high, places)}"


def with_span(score: float, text: str, places: int = 2) -> str:
    return UNDEFINED if pd.isna(score) else f"{decimal(score, places)} ({text})"


def with_spans(frame: pd.DataFrame, *scores: str, places: int = 3, few: bool = False) -> pd.DataFrame:
    """With a column <score>_text: each score and its interval, as in "0.85 (0.81–0.90)"; fewer columns fit a page."""
    frame = spanned(frame, *scores, places=places, few=few)
    texts = {
        f"{score}_text": [
            with_span(value, text, places) for value, text in zip(frame[score], frame[f"{score}_span"], strict=True)
        ]
        for score in scores
    }
    return frame.assign(**texts)


def by_model(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A column of texts for each model, and next to it "<model> run", the run of that row's dataset."""
    texts, runs = (frame.pivot_table(name, keys, "model", "first") for name in ("text", "run"))
    return texts.join(runs.add_suffix(" run"))
