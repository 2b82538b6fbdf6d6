"""`lungkeras predict`: one probability per class for each scan."""

import argparse
import sys
from pathlib import Path

from lungkeras.cli.arguments import require_there
from lungkeras.cli.entry import Command
from lungkeras.system.backends import use_backend
from lungkeras.system.files import as_json
from lungkeras.system.text import printable, say


def options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "model", type=Path, metavar="RUN_OR_MODEL", help="a run's folder, a .keras file, or what `export` wrote"
    )
    sub.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER", help="PNG, JPEG or DICOM, or folders of them"
    )
    output = sub.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON instead of a table")
    output.add_argument("--csv", type=Path, metavar="FILE", help="write a CSV file instead")
    sub.add_argument(
        "--uncalibrated",
        action="store_true",
        help="uncorrected probabilities: with the weights of the loss, and without a temperature",
    )
    sub.add_argument(
        "--heatmaps", type=Path, metavar="DIR", help="write a Grad-CAM overlay of each scan to this folder"
    )


def run(options) -> int:
    if options.backend:
        use_backend(options.backend)
    from lungkeras.prediction.images import images_and_others, names_of, other_files
    from lungkeras.prediction.predict import load_predictor, predict_images, write_heatmaps

    files, others = images_and_others(options.images)
    predictor = load_predictor(
        require_there(options.model), calibrated=not options.uncalibrated, with_keras=bool(options.backend)
    )
    table, failed = predict_images(predictor, files)
    names = dict(zip(map(printable, files), map(printable, names_of(files, options.images)), strict=True))
    table, failed = (rows.assign(file=rows["file"].map(names)) for rows in (table, failed))
    if options.json:
        import json

        rows = json.loads(table.to_json(orient="records"))
        about = {"computed_by": predictor.computed_by, "failed": failed.to_dict("records"), "no_image": others}
        about |= predictor.correction.as_dict() if predictor.correction else {}
        say(*as_json({"predictions": rows} | about).splitlines())
    elif options.csv:
        from lungkeras.system.files import write_csv

        write_csv(options.csv, table)
        say(options.csv)
    elif len(table):
        say(*table.to_string(index=False, float_format="{:.3f}".format).split("\n"))
    if options.heatmaps:
        write_heatmaps(predictor, files, options.heatmaps)
        say(f"heat maps: {options.heatmaps}", file=sys.stderr)
    say(f"computed by {predictor.computed_by}", file=sys.stderr)
    for row in failed.itertuples():
        say(f"lungkeras: {row.file}: {row.reason}", file=sys.stderr)
    if others:
        say(f"skipped{other_files(others)}", file=sys.stderr)
    return 1 if len(failed) else 0


COMMAND = Command(
    group="a trained model",
    about="one probability per class for each scan",
    example="predict reports/demo/runs/covid-resnet34-random scans/ --heatmaps heatmaps/\n"
    "predict reports/demo/runs/covid-resnet34-random scan.png --json",
    details="Prepares each scan like the training scans, applies the model, and corrects the probabilities: it "
    "removes the weights of the loss and applies the temperatures from the run's validation split. "
    "--uncalibrated skips this. Folders are searched for images, whatever their suffix.",
    outputs="A table on stdout: file, the probability of each class, and the predicted class; or JSON, or a CSV file."
    " With --heatmaps one PNG per scan in DIR. Files that could not be read are listed on stderr, and the "
    "exit status is then 1.",
    page="commands.md",
    options=options,
    run=run,
)
