"""`lungkeras judge`: scores for any table of probabilities or a model file, on one page."""

import argparse
from pathlib import Path

from lungkeras.cli.entry import Command
from lungkeras.system.backends import use_backend
from lungkeras.system.errors import TableError
from lungkeras.system.text import printable, say

MODELS = (".onnx", ".keras")
SHOWN = {"macro_auroc": "macro AUROC", "macro_f1": "macro F1"}


def options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "predictions",
        type=Path,
        nargs="+",
        metavar="PREDICTIONS",
        help="CSV, xlsx or Parquet: scan, patient, label_<class>, probability_<class>, also named otherwise; several "
        "tables are several predictors on the same scans; or an ONNX or .keras file with --source",
    )
    sub.add_argument("--to", type=Path, required=True, metavar="DIR", help="where report.html and tables/ are written")
    sub.add_argument("--labels", type=Path, metavar="FILE", help="a table of labels: 1, 0, -1 (uncertain) or blank")
    sub.add_argument("--records", type=Path, metavar="FILE", help="a table of patient, age, sex, view, scanner")
    sub.add_argument("--claims", type=Path, metavar="FILE", help="YAML of claims to test (docs/judge.md)")
    sub.add_argument("--source", type=Path, metavar="DIR", help="the folder of scans for a model file")


def run(options) -> None:
    if options.backend:
        use_backend(options.backend)
    from lungkeras.evaluation.foreign import predictor_names, read_foreign
    from lungkeras.evaluation.foreign_cells import read_table
    from lungkeras.evaluation.judged_claims import read_claims
    from lungkeras.evaluation.judgement import Judgement
    from lungkeras.report.judged_words import with_interval
    from lungkeras.report.judgement import write_judgement

    claims = read_claims(options.claims) if options.claims else []
    labels, records = (read_table(file) if file else None for file in (options.labels, options.records))
    names = predictor_names(options.predictions)
    tables = {
        name: answered(file, options.source, with_keras=bool(options.backend))
        if file.suffix.lower() in MODELS
        else read_table(file)
        for name, file in zip(names, options.predictions, strict=True)
    }
    read = read_foreign(tables, labels, records)
    say(f"{len(read.test):,} scans, {len(read.classes)} classes ({read.task}): {', '.join(read.classes)}")
    for row in read.understood.itertuples():
        say(f"  {row.file}: {row.column} is {row.meaning}")
    for note in read.notes:
        say(f"  note: {note}")
    judgement = Judgement(read)
    page = write_judgement(judgement, options.to, claims=claims)
    for row in judgement.table("scores").to_dict("records"):
        scores = (f"{name} {with_interval(row, key)}" for key, name in SHOWN.items())
        say(f"{row['predictor']}: {', '.join(scores)}")
    say(page)


def answered(model: Path, source: Path | None, *, with_keras: bool):
    """The predictions of a model file for the scans of a folder, as a table."""
    from lungkeras.evaluation.foreign_cells import read_table
    from lungkeras.prediction.images import images_and_others, names_of
    from lungkeras.prediction.predict import load_predictor, predict_images

    if source is None:
        raise TableError(f"{model} is a model file: name the folder of scans to predict, with --source DIR")
    if not source.is_dir():
        raise TableError(f"{source}: expected a folder of scans as --source, found no such folder")
    predictor = load_predictor(model, with_keras=with_keras)
    files = images_and_others([source])[0]
    table, failed = predict_images(predictor, files)
    names = dict(zip(map(printable, files), map(printable, names_of(files, [source])), strict=True))
    for row in failed.itertuples():
        say(f"lungkeras: {names[row.file]}: {row.reason}: left out")
    if table.empty:
        raise TableError(f"{source}: not one of its scans can be read")
    table["scan"] = table.pop("file").map(names)
    return read_table(model.name, table.drop(columns="predicted"))


COMMAND = Command(
    group="a trained model",
    about="score any table of probabilities: intervals, calibration, groups, baselines, on one page",
    example="judge mine.csv theirs.csv --labels labels.csv --records patients.csv --to judged",
    details="Reads probabilities from lungkeras or any other source, finds out what each column means, and scores "
    "them: intervals by patient, calibration, operating points, groups, what the image adds to the metadata, "
    "and paired comparisons of several predictors.",
    outputs="DIR/report.html and DIR/tables/*.csv; on stdout the meaning of each column, and the macro scores.",
    page="judge.md",
    options=options,
    run=run,
)
