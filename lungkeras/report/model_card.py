"""A card for each model: its purpose, training data, performance overall and by group, and how to reproduce it.

Model cards follow Mitchell et al. 2019 (arXiv:1810.03993). Every number is read from a table of the study, so no number
appears with two values. A card is a list of parts, written as Markdown (runs/<run>/model_card.md) and shown in the
report.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lungkeras.datasets.registry import dataset_names, known_dataset, title
from lungkeras.report.audit import probe_title
from lungkeras.report.error_tables import measure_title
from lungkeras.report.grid import count, span
from lungkeras.report.tables import diverged
from lungkeras.scores.intervals import TOO_FEW
from lungkeras.study.runs import WEIGHTS, weights_word
from lungkeras.study.words import WEIGHTS_TITLES, backbone_title, decimal, heading
from lungkeras.system import provenance
from lungkeras.system.files import write_text
from lungkeras.system.text import markdown_text, printable
from lungkeras.system.untrusted import table_files, yaml_files

FILE = "model_card.md"
TABLES = (
    *("table_1", "table_3", "class_scores", "calibration", "subgroups", "external", "external_scans"),
    *("failure_counts", "audit_leakage", "audit_shortcuts", "audit_notes"),
)
INTENDED = "Research and teaching: how such models are trained, compared and examined."
OUT_OF_SCOPE = (
    "Diagnosis, triage, screening and any other clinical use. It is no medical device, no reader has checked its "
    "answers, and nothing here was tested for a clinic."
)
DRAWN = "The scans are drawings by lungkeras, not of patients: every number is about the software, none about disease."
CAVEATS = (
    "Intervals say how far a score may move with other patients of the same collection, not with another hospital.",
    "One training was done with one seed; another seed gives another model. Repeats, if any, are "
    "in the report's table of seeds.",
    "Labels are those of the collection; no reader of this project has seen a scan.",
)
NOT_THERE = "Not computed for this run."
HASHES = {
    "prepared": "prepared dataset (arrays, records, statistics)",
    "params": "params",
    "code": "training code",
    "weights": "initial weights",
}


@dataclass(frozen=True)
class Part:
    """A section of a card: paragraphs, then a table of texts, then lines of code."""

    title: str
    text: tuple[str, ...] = ()
    table: pd.DataFrame | None = None
    code: tuple[str, ...] = ()


def cards(study_folder: Path | str, datasets: Iterable[Mapping] = ()) -> dict[str, list[Part]]:
    """{run: the parts of its card} of all finished runs of a study's folder.

    `datasets` are the facts of each (lungkeras.report.dataset_facts). Items without a table in the study are reported
    as not computed.
    """
    folder = Path(study_folder)
    files = {name: folder / "tables" / f"{name}.csv" for name in TABLES}
    tables = {name: table_files.read_csv(file) for name, file in files.items() if file.is_file()}
    facts = {entry["dataset"]: entry for entry in datasets}
    finished = sorted(file.parent for file in folder.glob("runs/*/metrics.json"))
    return {run.name: card(run, tables, facts) for run in finished}


def write_cards(study_folder: Path | str, datasets: Iterable[Mapping] = ()) -> dict[str, Path]:
    """Writes runs/<run>/model_card.md of each finished run; returns {run: its card}."""
    paths = {}
    for run, parts in cards(study_folder, datasets).items():
        paths[run] = Path(study_folder) / "runs" / run / FILE
        write_text(paths[run], as_markdown(run, parts))
    return paths


def card(run: Path, tables: Mapping[str, pd.DataFrame], facts: Mapping[str, Mapping]) -> list[Part]:
    """The parts of the card of a run's folder."""
    about, params = provenance.read(run / "metrics.json"), yaml_files.read_if_there(run / "params.yaml")
    dataset = params.get("dataset") or about.get("dataset") or run.name.split("-")[0]
    known = facts.get(dataset, {})
    own = {name: _of(table, run.name, dataset) for name, table in tables.items()}
    return [
        _model(run, dataset, params, about, known),
        Part("Intended use", (INTENDED,)),
        Part("Out of scope", (OUT_OF_SCOPE,)),
        _training_data(dataset, own, known),
        _hashes(run, known),
        _scores(own),
        _groups(own),
        _elsewhere(own),
        _calibration(own),
        _errors(own),
        _caveats(own, known),
        _again(run, params),
    ]


def as_markdown(run: str, parts: Iterable[Part]) -> str:
    """The card as Markdown. Text from data is shown letter by letter (lungkeras.system.text)."""
    lines = [f"# Model card: {markdown_text(run)}", ""]
    for part in parts:
        lines += [f"## {part.title}", ""]
        for paragraph in part.text:
            lines += [markdown_text(paragraph), ""]
        if part.table is not None and len(part.table):
            rows = [list(part.table), ["---"] * part.table.shape[1], *part.table.to_numpy(object).tolist()]
            cells = [[cell if cell == "---" else markdown_text(cell) for cell in row] for row in rows]
            lines += [*(f"| {' | '.join(row)} |" for row in cells), ""]
        if part.code:
            lines += ["```sh", *part.code, "```", ""]
    return "\n".join(lines)


def _of(table: pd.DataFrame, run: str, dataset: str) -> pd.DataFrame:
    """The rows of a table about a run, or about its dataset if the table or the row names no run."""
    rows = table[table["dataset"] == dataset] if "dataset" in table else table
    return rows[(rows["run"] == run) | rows["run"].isna()] if "run" in rows else rows


def _model(run: Path, dataset: str, params: Mapping, about: Mapping, facts: Mapping) -> Part:
    weights = weights_word(params.get("weights", "random"))
    start = WEIGHTS_TITLES.get(weights, weights)
    start += f" ({params['weights']})" if weights == "transfer" else ""
    rows = {
        "Backbone": backbone_title(str(params.get("backbone", about.get("backbone", "–")))),
        "Start": start,
        "Task": {"multilabel": "any number of findings per scan", "multiclass": "one class per scan"}.get(
            str(about.get("task")), "–"
        ),
        "Classes": ", ".join(title(str(name)) for name in about.get("classes", [])),
        "Input": f"a grey scan of {facts['size']} × {facts['size']} pixels, prepared by lungkeras"
        if facts.get("size")
        else "a grey scan, prepared by lungkeras",
        "Output": "one probability per class",
        "Kept epoch": _kept(about),
    }
    table = pd.DataFrame({"Of the model": list(rows), "What it is": list(rows.values())})
    return Part("Model", (f"{run.name}, trained on the dataset {heading(dataset)}.",), table)


def _training_data(dataset: str, own: Mapping[str, pd.DataFrame], facts: Mapping) -> Part:
    collection = known_dataset(dataset) if dataset in dataset_names() else None
    text = [DRAWN] if facts.get("drawn") else []
    if collection:
        layout = "Drawn in the layout of the collection" if facts.get("drawn") else "The collection is the"
        layout = "The collection is one of its owner’s own:" if collection.described else layout
        cited = f" ({collection.citation})" if collection.citation else ""
        text.append(f"{layout} {collection.title}{cited}.")
    leakage = own.get("audit_leakage")
    if leakage is not None and len(leakage):
        row = leakage.iloc[0]
        patients = ", ".join(f"{split} {row[f'patients_{split}']:,.0f}" for split in ("train", "val", "test"))
        shared = sum(row[f"shared_{pair}"] for pair in ("train_val", "train_test", "val_test"))
        text.append(f"Patients: {patients}; in two splits: {shared:.0f}.")
        if not row["patients_known"]:
            text.append("The collection names no patients: each scan counts as one.")
    counts = own.get("table_1")
    table = None
    if counts is not None and len(counts):
        table = pd.DataFrame({"Class": [heading(name) for name in counts["class"]]})
        for split in ("train", "val", "test", "total"):
            table[split.capitalize()] = [f"{scans:,.0f}" for scans in counts[split]]
    return Part("Training data", tuple(text or [NOT_THERE]), table)


def _hashes(run: Path, facts: Mapping) -> Part:
    recorded = provenance.read(run / "fingerprint.json")
    made_from, results = recorded.get("made_from") or {}, recorded.get("results") or {}
    found = {"source, as read": (facts.get("made_from") or {}).get("sources")}
    found |= {words: made_from.get(key) for key, words in HASHES.items()}
    found |= {name: results.get(name) for name in ("best.keras", "predictions.parquet")}
    rows = [(words, value) for words, value in found.items() if value and value not in WEIGHTS]
    text = "Equal hashes mean equal files. A run made from equal inputs is not trained again."
    return Part("Hashes", (text,) if rows else (NOT_THERE,), pd.DataFrame(rows, columns=["Of", "SHA-256"]))


def _scores(own: Mapping[str, pd.DataFrame]) -> Part:
    results, classes = own.get("table_3"), own.get("class_scores")
    text, table = NOT_THERE, None
    if results is not None and len(results):
        row = results.iloc[0]
        text = (
            f"On the test split, {count(row.get('test_scans'))} scans of {count(row.get('test_patients'))} patients, "
            f"with 95 % intervals by bootstrap over patients: macro F1 {_span(row, 'macro_f1')}, macro AUROC "
            f"{_span(row, 'macro_auroc')}, macro average precision {_span(row, 'macro_average_precision')}."
        )
    if classes is not None and len(classes):
        rows = classes.to_dict("records")
        table = pd.DataFrame({"Class": [heading(row["class"]) for row in rows]})
        table["Test scans"] = [count(row["support"]) for row in rows]
        for key, words in (("f1", "F1"), ("auroc", "AUROC"), ("average_precision", "Average precision")):
            table[words] = [
                f"{_span(row, key)} ({TOO_FEW})"
                if row.get("note") == TOO_FEW and not pd.isna(row[key])
                else _span(row, key)
                for row in rows
            ]
    return Part("Scores", (text,), table)


def _groups(own: Mapping[str, pd.DataFrame]) -> Part:
    rows = own.get("subgroups", pd.DataFrame())
    if rows.empty:
        return Part("Scores by group", (NOT_THERE,))
    unrecorded, recorded = rows[rows["run"].isna()], rows[rows["run"].notna()]
    text = []
    if len(unrecorded):
        text.append(
            f"The collection does not record {', '.join(unrecorded['attribute'])}, so these groups have no score."
        )
    text.append("No collection records ancestry, hospital or scanner.")
    table = pd.DataFrame({"Group": [f"{row.attribute}: {row.group}" for row in recorded.itertuples()]})
    table["Scans"] = [count(scans) for scans in recorded["scans"]]
    table["Patients"] = [count(patients) for patients in recorded["patients"]]
    for key, words in (("macro_f1", "Macro F1"), ("macro_auroc", "Macro AUROC")):
        table[words] = [
            row["note"] if isinstance(row["note"], str) and row["note"] else _span(row, key)
            for row in recorded.to_dict("records")
        ]
    return Part("Scores by group", tuple(text), table)


def _elsewhere(own: Mapping[str, pd.DataFrame]) -> Part:
    scored, scans = own.get("external", pd.DataFrame()), own.get("external_scans", pd.DataFrame())
    text = []
    for row in scans.to_dict("records"):
        other = f"{heading(row['other'])}, " if isinstance(row["other"], str) else ""
        if isinstance(row["class"], str):
            asked = f"{count(row['left'])} of {count(row['scans'])} scans"
            counted = f"{asked} can be used, as they have no known copy in the model's own collection"
            note = f" ({row['note']})" if isinstance(row["note"], str) else ""
            text.append(f"{other}{title(row['class'])}: {counted}{note}.")
        else:
            text.append(f"{other}not tested: {row['note']}." if other else f"Not tested: {row['note']}.")
    table = None
    if len(scored):
        rows = scored.to_dict("records")
        table = pd.DataFrame({"Measure": [measure_title(row["measure"], row["class"]) for row in rows]})
        table["On"] = [heading(row["other"]) for row in rows]
        table["Scans"] = [count(row["scans"]) for row in rows]
        table["There"] = [_span(row, "", ("value", "low", "high")) for row in rows]
        table["Own test split"] = [_span(row, "", ("own_value", "own_low", "own_high")) for row in rows]
    return Part("On another collection", tuple(text or [NOT_THERE]), table)


def _calibration(own: Mapping[str, pd.DataFrame]) -> Part:
    rows = own.get("calibration", pd.DataFrame())
    if rows.empty:
        return Part("Calibration", (NOT_THERE,))
    row = rows.iloc[0]
    text = (
        f"`lungkeras predict` corrects probabilities for the weights of the loss, if any, and divides the logits by a "
        f"temperature from the validation split, {decimal(row['temperature'], 2)}. "
        f"Expected calibration error on the test split {_span(row, 'ece')} as trained, "
        f"{_span(row, 'ece_scaled')} corrected; a perfectly calibrated model stays below "
        f"{decimal(row['ece_scaled_null'], 3)} in 95 % of such test sets. Brier score {_span(row, 'brier')} and "
        f"{_span(row, 'brier_scaled')}."
    )
    return Part("Calibration", (text,))


def _errors(own: Mapping[str, pd.DataFrame]) -> Part:
    rows = own.get("failure_counts", pd.DataFrame())
    if rows.empty:
        return Part("Errors", (NOT_THERE,))
    table = pd.DataFrame({"Class": [heading(name) for name in rows["class"]]})
    table["Test scans"] = [count(scans) for scans in rows["scans"]]
    table["Missed"] = [count(scans) for scans in rows["missed"]]
    table["Called wrongly"] = [count(scans) for scans in rows["called"]]
    return Part("Errors", ("The most confident of them are listed in tables/failures.csv of the study.",), table)


def _caveats(own: Mapping[str, pd.DataFrame], facts: Mapping) -> Part:
    sentences = [DRAWN] if facts.get("drawn") else []
    alarms = own.get("audit_shortcuts", pd.DataFrame())
    if len(alarms) and alarms["alarm"].any():
        rows = alarms[alarms["alarm"]].to_dict("records")
        found = [f"{probe_title(row['name'])} ({title(row['class'])})" for row in rows]
        sentences.append(f"The audit found shortcuts that predict a class without the lungs: {', '.join(found)}.")
    notes = own.get("audit_notes", pd.DataFrame())
    sentences += notes["note"].tolist() if len(notes) else []
    return Part("Caveats", (*sentences, *CAVEATS))


def _again(run: Path, params: Mapping) -> Part:
    folder = Path(str(params.get("runs", run.parent))) / run.name
    code = (
        f"lungkeras train --params {_quoted(folder / 'params.yaml')}",
        f"lungkeras predict {_quoted(folder)} SCAN_OR_FOLDER",
    )
    text = (
        "Run these in the project's folder. A run with equal hashes is not trained again: to train it again, name "
        "another folder under runs in params.yaml. Versions are in environment.json."
    )
    return Part("How to reproduce it", (text,), code=code)


def _quoted(path: Path) -> str:
    return shlex.quote(printable(path))


def _kept(about: Mapping) -> str:
    epoch = about.get("best_epoch", "–")
    return ("none" if epoch is None else f"{epoch}, with the lowest validation loss") + diverged(about)


def _span(row: Mapping, key: str, names: tuple[str, str, str] | None = None) -> str:
    """0.851 (0.803–0.897); only the value if it has no interval."""
    value, low, high = (row.get(name) for name in names or (key, f"{key}_low", f"{key}_high"))
    value, low, high = (None if number is None or pd.isna(number) else float(number) for number in (value, low, high))
    return decimal(value, 3) + ("" if low is None or high is None else f" ({span(low, high, 3)})")
