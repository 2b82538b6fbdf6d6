"""`lungkeras new`: examine a folder of your own scans, and write a study of it."""

import argparse
from pathlib import Path

from lungkeras.cli.entry import Command
from lungkeras.system.errors import ParamsError
from lungkeras.system.text import printable, say

ROWS = 10  # that are shown


def options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("study", metavar="STUDY", help="the study's name: params/STUDY is written")
    sub.add_argument("--source", type=Path, required=True, metavar="DIR",
                     help="the folder of scans: a folder for each class, or scans that a table names")  # fmt: skip
    sub.add_argument("--labels", type=Path, nargs="+", action="extend", metavar="FILE",
                     help="the table of labels: CSV, TSV, xlsx or parquet")  # fmt: skip
    for name, what in (
        ("image", "that names the scans"),
        ("patient", "of the patient"),
        ("view", "of the view"),
        ("age", "of the age"),
        ("sex", "of the sex"),
        ("split", "that says train, val or test"),
    ):
        sub.add_argument(f"--{name}", metavar="COLUMN", help=f"its column {what} (default: found by its heading)")
    sub.add_argument("--label", action="append", default=[], metavar="COLUMN",
                     help="its column of labels; may be repeated, once per class")  # fmt: skip
    sub.add_argument("--labels-are", choices=("columns", "list"), metavar="HOW",
                     help="columns: 1, 0, -1 (uncertain) or blank for each class; list: names of classes in one column "
                     "(default: as the table looks)")  # fmt: skip
    sub.add_argument("--backbone", action="append", default=[], metavar="NAME",
                     help="a network to train; may be repeated (default: the published study's three)")  # fmt: skip
    sub.add_argument(
        "--title", metavar="TEXT", help="the collection's title in the report (default: STUDY, with spaces)"
    )


def run(options) -> None:
    from lungkeras.datasets.recognised_tables import Named
    from lungkeras.study.new import new_study
    from lungkeras.study.runs import BACKBONES

    labels = options.labels or [None]
    if len(labels) > 1:
        raise ParamsError(
            f"--labels: expected one table, found {', '.join(map(printable, labels))}: join them to one; a column "
            "`split` may say train, val or test"
        )
    columns = ("image", "patient", "labels_are", "view", "age", "sex", "split")
    folder, dataset, understood = new_study(
        options.study,
        options.source.expanduser(),
        title=options.title,
        backbones=options.backbone or BACKBONES,
        named=Named(labels=labels[0], label=tuple(options.label), **{name: getattr(options, name) for name in columns}),
    )
    say(*summary(dataset, understood))
    say(f"Wrote {folder}: {', '.join(sorted(file.name for file in folder.iterdir()))}", "",
        f"Next: lungkeras report {options.study}")  # fmt: skip


def summary(dataset: str, understood) -> list[str]:
    """What was recognised in a folder, in lines: classes, counts, patients, rows, and what was not understood."""
    description, records = understood.description, understood.records
    kind = {"multiclass": "one class per scan", "multilabel": "any number of findings per scan"}[description.task]
    lines = [f"{dataset}: {len(records):,} scans of {records['patient'].nunique():,} patients; {kind}", ""]
    width = max(map(len, (*description.classes.values(), "class")))
    is_sure = all(records[slug].isin([0, 1]).all() for slug in description.classes)
    signs = {"scans": 1} if is_sure else {"1": 1, "0": 0, "-1": -1, "blank": None}
    lines.append(f"  {'class':<{width}}  {'column':<20}" + "".join(f"{name:>9}" for name in (*signs, "patients")))
    for slug, title in description.classes.items():
        column = records[slug]
        counts = [int(column.isna().sum() if sign is None else (column == sign).sum()) for sign in signs.values()]
        counts.append(records.loc[column == 1, "patient"].nunique())
        lines.append(f"  {title:<{width}}  {slug:<20}" + "".join(f"{number:>9,}" for number in counts))
    lines += ["", *(f"  {what}: {how}" for what, how in understood.how.items())]
    if "given_split" in records:
        counted = records["given_split"].value_counts(sort=False)
        lines.append("  given split: " + ", ".join(f"{name} {scans:,}" for name, scans in counted.items()))
    lines += ["", f"{min(ROWS, len(records))} of the rows:", *_rows(records, description)]
    lines += ["", "Not understood:" if understood.not_understood else "Everything was understood."]
    return [*lines, *(f"  {sentence}" for sentence in understood.not_understood), ""]


def _rows(records, description) -> list[str]:
    """Rows from all over the table: its classes in one column, by their titles."""
    shown = records.iloc[:: max(1, len(records) // ROWS)][:ROWS]
    marks = {1: "", -1: "?"}  # uncertain
    labels = [
        ", ".join(title + marks[row[slug]] for slug, title in description.classes.items() if row[slug] in marks) or "–"
        for _, row in shown.iterrows()
    ]
    extras = [name for name in ("age", "sex", "view", "given_split") if name in shown]
    table = shown[["scan", "patient"]].assign(labels=labels, **{name: shown[name] for name in extras})
    table = table.astype("str").apply(lambda column: column.str.slice(0, 44))
    return ["  " + line for line in table.to_string(index=False).splitlines()]


COMMAND = Command(
    group="a study",
    about="examine a folder of your own scans, and write a study of it",
    example="new my_hospital --source scans/ --labels labels.csv",
    details="Examines a folder for each class, or a table of labels, and describes the collection that it finds: "
    "classes, patients, splits. It asks no questions and never changes an existing folder. `lungkeras report "
    "STUDY` then makes the study.",
    outputs="params/STUDY/: study.yaml, one file per run, and the description of the collection; on stdout what was "
    "understood, and what was not.",
    page="your-scans.md",
    in_project=True,
    options=options,
    run=run,
)
