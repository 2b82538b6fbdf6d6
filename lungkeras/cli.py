"""The command line: one verb per step, `report` for the whole study.

Exit status: 0 done; 1 failed, with one sentence on stderr; 2 wrong usage; 130 interrupted, 143 terminated, after which
the same command goes on where it stopped.
"""

import argparse
import os
import sys
from pathlib import Path

from lungkeras.datasets.registry import DATASETS
from lungkeras.prediction.runtimes import SUFFIXES as FORMATS
from lungkeras.system import stopping
from lungkeras.system.backends import BACKENDS, require_backend, use_backend
from lungkeras.system.errors import LESS_MEMORY, FolderError, LungkerasError, ParamsError, memory_ran_out, nearest
from lungkeras.system.files import as_json
from lungkeras.system.locks import alone, making
from lungkeras.system.text import printable, say

SECONDS_TO_WIND_UP = 20.0  # of a report that was killed, until what it had started has ended


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, which offer the nearest word."""

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str):
        if "invalid choice: " in message:
            wrong, _, known = message.partition("invalid choice: ")[2].partition(" (choose from ")
            message += nearest(wrong.strip("'"), [word.strip(" ')") for word in known.split(",")])
        self.exit(2, f"{self.prog}: {printable(message)}. See {self.prog} --help\n")


class Version(argparse.Action):
    """Prints the version; it is looked up only then."""

    def __call__(self, parser, *_):
        from importlib.metadata import version

        say(f"lungkeras {version('lungkeras')}")
        parser.exit()


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        with stopping.by_signals():
            return options.command(options) or 0
    except LungkerasError as error:
        say(f"lungkeras: {error}", file=sys.stderr)
        return 1
    except (MemoryError, OSError, ImportError, RuntimeError) as error:
        if memory_ran_out(error):
            say(f"lungkeras: not enough memory: {LESS_MEMORY}", file=sys.stderr)
        elif isinstance(error, OSError):
            say(f"lungkeras: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        else:
            raise
        return 1
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, stopping.Terminated)
        words = "terminated" if terminated else "interrupted"
        say(f"lungkeras: {words}; the same command goes on where it stopped", file=sys.stderr)
        return stop.status if terminated else 130


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(
        prog="lungkeras",
        description="Regenerates a published comparison of CNNs on chest X-rays, step by step or whole.",
        epilog="examples:\n  lungkeras report demo\n"
        "  lungkeras predict reports/demo/runs/covid-resnet34-random scan.png\n\n"
        "For research only, not for diagnosis.",
    )
    top.add_argument("--version", action=Version, nargs=0, help="show program's version number and exit")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command, about: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=about, description=about, epilog=f"example:\n  lungkeras {example}")
        sub.set_defaults(command=command)
        backends = ", ".join(BACKENDS)
        sub.add_argument("--backend", choices=BACKENDS, metavar="BACKEND",
                         help=f"{backends} (default: params, KERAS_BACKEND, the first installed)")  # fmt: skip
        return sub

    phantom = add("phantom", draw, "draw a source of chest phantoms in the published layout",
                  "phantom pneumonia --to sources/pneumonia --scans 200")  # fmt: skip
    add_dataset(phantom)
    phantom.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder to write")
    phantom.add_argument(
        "--scans", type=count, metavar="N", help="scans that the study will keep (default: the demo's)"
    )
    phantom.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, other chests (default: 0)")
    phantom.add_argument("--plant", action="append", default=[], metavar="NAME[=VALUE]",
                         help="a known fault to plant, with its truth in TRUTH.csv; may be repeated: marker=0.8, "
                         "duplicates=40 (duplicates:cropped=40 of one kind), noise=0.05 (noise:covid=0.05 of one "
                         "class), leaky, sources=2, strata=0.7, multilabel=0.5, null, clean")  # fmt: skip

    download = add("fetch", fetch, "download a collection by kagglehub, or unpack a local archive of it",
                   "fetch covid --to sources/covid --archive covid19-radiography-database.zip")  # fmt: skip
    add_dataset(download)
    download.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder to write")
    download.add_argument(
        "--archive", type=Path, metavar="FILE", help="a zip or tar of the collection, instead of a download"
    )

    audit = add("audit", audit_dataset, "look for leaks, duplicates, shortcuts and wrong labels before training",
                "audit pneumonia --source sources/pneumonia")  # fmt: skip
    add_dataset(audit)
    audit.add_argument("--source", type=Path, required=True, metavar="DIR", help="the folder as published")
    audit.add_argument("--json", action="store_true", help="print JSON instead of a summary")
    audit.add_argument("--seed", type=int, default=0, metavar="N", help="seed of selection and folds (default: 0)")
    audit.add_argument("--workers", type=count, metavar="N", help="threads that read scans (default: one a core)")

    prepare = add("prepare", prepare_source, "equalise, blur, resize, split and store the scans of a source",
                  "prepare pneumonia --source sources/pneumonia --to prepared/mine/pneumonia --size 224")  # fmt: skip
    add_dataset(prepare)
    prepare.add_argument("--source", type=Path, required=True, metavar="DIR", help="the folder as published")
    prepare.add_argument("--to", type=Path, required=True, metavar="DIR", help="the prepared dataset to write")
    prepare.add_argument("--size", type=count, metavar="N", help="pixels a side (default: the published size)")
    prepare.add_argument("--workers", type=count, metavar="N", help="threads (default: one a core)")
    prepare.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of undersampling and split (default: 0)"
    )
    prepare.add_argument(
        "--split",
        choices=("patients", "official"),
        default="patients",
        help="the published test list, where a dataset has one (xray8)",
    )

    train = add("train", train_run, "train one run, outside any notebook",
                "train --params params/demo/study.yaml --params params/demo/covid-resnet34-random.yaml")  # fmt: skip
    train.add_argument("--params", type=Path, required=True, action="append", metavar="FILE",
                       help="a file of params; may be repeated, the last wins key by key")  # fmt: skip

    report = add("report", report_study, "run a whole study and write its report",
                 "report sample --source pneumonia=DIR --source covid=DIR --source xray8=DIR")  # fmt: skip
    report.add_argument(
        "study",
        metavar="STUDY",
        help="a name in params/ (ablations, demo, extended, sample, paper) or a folder of params",
    )
    report.add_argument(
        "--source", action="append", default=[], metavar="DATASET=DIR", help="read a dataset from a folder"
    )
    report.add_argument(
        "--cores", type=count, metavar="N", help="runs side by side (default: all cores; with a profile, what it says)"
    )
    report.add_argument("--profile", action="append", default=[], metavar="SNAKEMAKE_PROFILE",
                        help="a Snakemake profile, for a cluster; may be repeated, the last wins")  # fmt: skip
    report.add_argument("--dry-run", action="store_true", help="list what would run")

    progress = add("status", tell_status, "say how far a study is, and about how long it still takes", "status demo")
    progress.add_argument("study", metavar="STUDY", help="a name in params/, or a folder of params")

    clean = add("clean", clean_study, "show what no result of a study needs, and remove it", "clean demo --yes")
    clean.add_argument("study", metavar="STUDY", help="a name in params/, or a folder of params")
    clean.add_argument("--yes", action="store_true", help="remove what is shown")
    clean.add_argument("--unnamed", action="store_true", help="and the runs, prepared datasets and drawn sources "
                       "that the params no longer name; the report shows them as long as they are there")  # fmt: skip

    predict = add("predict", predict_scans, "one probability per class for each scan",
                  "predict reports/demo/runs/covid-resnet34-random scans/ --heatmaps heatmaps/")  # fmt: skip
    predict.add_argument(
        "model", type=Path, metavar="RUN_OR_MODEL", help="a run's folder, a .keras file, or what `export` wrote"
    )
    predict.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER", help="PNG, JPEG or DICOM, or folders of them"
    )
    output = predict.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON instead of a table")
    output.add_argument("--csv", type=Path, metavar="FILE", help="write a CSV file instead")
    predict.add_argument(
        "--uncalibrated",
        action="store_true",
        help="probabilities as the model gives them, with the weights of its loss and no temperature",
    )
    predict.add_argument("--heatmaps", type=Path, metavar="DIR", help="write a Grad-CAM overlay of each scan there")

    export = add("export", export_run, "write a run's model for a small device, checked against Keras",
                 "export reports/demo/runs/covid-mobilenet_v3_large-random --format litert --int8")  # fmt: skip
    export.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    export.add_argument("--format", required=True, choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    export.add_argument("--int8", action="store_true", help="8-bit weights and activations, calibrated on train scans")
    export.add_argument("--to", type=Path, metavar="FILE", help="the file to write (default: RUN/export/model.*)")

    evaluate = add("evaluate", evaluate_run, "score a run on another prepared dataset, over the classes both know",
                   "evaluate reports/demo/runs/covid-resnet34-random --on prepared/demo/pneumonia")  # fmt: skip
    evaluate.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    evaluate.add_argument("--on", type=Path, required=True, metavar="PREPARED", help="a prepared dataset's folder")
    return top


def add_dataset(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("dataset", choices=DATASETS, metavar="DATASET", help=", ".join(DATASETS))


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return int(text)


def draw(options) -> None:
    from lungkeras.datasets.phantoms.phantom import draw_source

    with making(options.to):
        say(draw_source(options.dataset, options.to, scans=options.scans, seed=options.seed, plants=options.plant))


def fetch(options) -> None:
    from lungkeras.datasets import download

    with making(options.to):
        say(download.fetch(options.dataset, options.to, archive=options.archive))


def audit_dataset(options) -> None:
    from lungkeras.preparation.audit.dataset import audit_source
    from lungkeras.preparation.audit.summary import as_text

    found = audit_source(options.dataset, options.source, seed=options.seed, workers=options.workers)
    say(*(as_json(found) if options.json else as_text(found)).splitlines())


def prepare_source(options) -> None:
    from lungkeras.preparation.prepare import prepare_dataset

    size = options.size or DATASETS[options.dataset].image_size
    summary = prepare_dataset(
        options.dataset,
        options.source,
        options.to,
        size=size,
        workers=options.workers,
        seed=options.seed,
        split=options.split,
    )
    say(*as_json(summary).splitlines())


def train_run(options) -> None:
    from lungkeras.study.params import load_params

    params = load_params(options.params, backend=options.backend)
    use_backend(params.backend)
    from lungkeras.training.one_run import train

    say(train(params))


def report_study(options) -> None:
    """Makes what of a study is missing or outdated, by one graph of notebooks; nothing where all is as it would be."""
    from functools import partial

    from lungkeras.study import graph
    from lungkeras.study.params import load_study, study_folder
    from lungkeras.system.places import from_project, project_folder

    folder = study_folder(options.study)
    shared, runs = load_study(folder, backend=options.backend)
    for backend in sorted({shared.backend, *(params.backend for params in runs.values())}):
        require_backend(backend)
    sources = dict(given_source(text) for text in options.source)
    wanted = {params.dataset for params in runs.values()}
    if strange := sorted(set(sources) - wanted):
        raise ParamsError(
            f"--source {strange[0]}: the study {folder.name} has no run of it, only {', '.join(sorted(wanted))}"
        )
    unknown = {params.dataset for params in runs.values() if not params.prepared_folder.is_dir()} - set(sources)
    if shared.acquire == "given" and (missing := sorted(unknown)):
        raise ParamsError(
            f"The study {folder.name} reads real scans: give --source {missing[0]}=DIR"
            + "".join(f" and --source {dataset}=DIR" for dataset in missing[1:])
        )
    graph.require_plain_paths(folder, shared, sources)
    make = partial(
        graph.make_study, folder, shared, runs, sources, backend=options.backend, cores=options.cores,
        profiles=options.profile,
    )  # fmt: skip
    if options.dry_run:
        make(dry_run=True)
        return
    for place in (project_folder(), shared.study_folder, from_project(shared.prepared)):
        require_writable(place)
    lock = shared.study_folder / ".lock"
    with alone(lock, f"{shared.study_folder} is being made", patience=SECONDS_TO_WIND_UP) as held:
        make(lock=held.handle)


def tell_status(options) -> None:
    from lungkeras.study import status
    from lungkeras.study.params import load_params, study_folder

    folder = study_folder(options.study)
    params = load_params([folder / "study.yaml"], backend=options.backend)
    say(status.sentence(params.study_folder, folder.name))


def require_writable(folder: Path) -> None:
    """Raises FolderError where nothing can be written to a folder, which need not be there yet."""
    nearest_there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest_there.is_dir() or not os.access(nearest_there, os.W_OK | os.X_OK):
        raise FolderError(
            f"{nearest_there} can't be written to: make it a writable folder or name another one, then give the same "
            "command again"
        )


def clean_study(options) -> None:
    from lungkeras.study import cleaning
    from lungkeras.study.params import study_folder

    folder = study_folder(options.study)
    found = cleaning.leftovers(folder, backend=options.backend)
    is_kept = found["kind"].isin(cleaning.UNNAMED) & (not options.unnamed)
    chosen, kept = found[~is_kept], found[is_kept]
    for row in chosen.itertuples():
        say(f"{row.bytes / 1e6:9.1f} MB  {row.kind}: {os.path.relpath(row.path)}")
    told = f"{len(chosen)} leftovers, {chosen['bytes'].sum() / 1e6:.1f} MB"
    if options.yes:
        cleaning.remove(folder, chosen["path"])
        say(f"removed {told}")
    else:
        say(f"{told}; --yes removes them" if len(chosen) else "nothing to remove")
    if len(kept):
        say(f"{len(kept)} more, {kept['bytes'].sum() / 1e6:.1f} MB, that the params do not name: --unnamed adds them")


def given_source(text: str) -> tuple[str, str]:
    """pneumonia=DIR -> its dataset and its folder, as seen from the project. Raises ParamsError."""
    from lungkeras.system.places import project_folder

    dataset, _, folder = text.partition("=")
    if dataset not in DATASETS or not folder:
        raise ParamsError(
            f"--source {text}: expected DATASET=DIR with one of {', '.join(DATASETS)}{nearest(dataset, DATASETS)}"
        )
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ParamsError(f"--source {text}: there is no folder {folder}")
    return dataset, os.path.relpath(path.resolve(), project_folder())


def predict_scans(options) -> int:
    if options.backend:
        use_backend(options.backend)
    from lungkeras.prediction.predict import (
        images_and_others,
        load_predictor,
        passed_over,
        predict_images,
        write_heatmaps,
    )

    files, others = images_and_others(options.images)
    predictor = load_predictor(options.model, calibrated=not options.uncalibrated, with_keras=bool(options.backend))
    table, failed = predict_images(predictor, files)
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
        say(f"passed over{passed_over(others)}", file=sys.stderr)
    return 1 if len(failed) else 0


def export_run(options) -> None:
    use_backend("tensorflow")  # whatever the run was trained on, its file is the same
    from lungkeras.prediction import export

    done = export.export_run(options.run, options.format, int8=options.int8, to=options.to)
    say(
        f"{done['path']}: {done['megabytes']:.1f} MB, {done['milliseconds']:.1f} ms a scan; "
        f"{done['labels_agree']:.1%} of labels as Keras, probabilities within {done['largest_difference']:.2g}"
    )


def evaluate_run(options) -> None:
    use_backend(options.backend)
    from lungkeras.evaluation.run_tables import evaluate_on
    from lungkeras.preparation.folder import load_prepared

    say(*as_json(evaluate_on(options.run, load_prepared(options.on))).splitlines())


if __name__ == "__main__":
    sys.exit(main())
