"""A study's folder -> one HTML file that opens anywhere, offline, and needs no other file.

    reports/<study>/tables/<name>.csv  figures/figure_<NN>.png|svg|csv  runs/<run>/...  ->  reports/<study>/report.html

What lies there is shown; what does not is reported as absent. The words are in templates/captions.yaml, to be read and
mended in one place. The page may load nothing but its own style and script, which it names by their hashes.
"""

import base64
import datetime
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import yaml

from lungkeras.datasets.datasheets import datasheets
from lungkeras.datasets.registry import dataset_names, known_dataset
from lungkeras.datasets.registry import title as title_of
from lungkeras.evaluation.paper.published import has_published
from lungkeras.prediction.export import write_devices
from lungkeras.preparation.audit.dataset import TABLES as AUDIT_TABLES
from lungkeras.report import checklists, evidence, explanations, model_card, tables  # noqa: F401 (they mark tables)
from lungkeras.report.audit import audit_section, read_audit
from lungkeras.report.caveats import caveats, of_table
from lungkeras.report.extra import entries
from lungkeras.report.figures.files import DPI
from lungkeras.report.grid import TABLES, anchor, count
from lungkeras.report.summary import headlines, lead
from lungkeras.study.words import decimal, heading, run_name_title
from lungkeras.system.files import write_csv, write_text
from lungkeras.system.provenance import changed_files
from lungkeras.system.untrusted import json_files, table_files, yaml_files

TEMPLATES = Path(__file__).with_name("templates")
CSS_DPI = 96
BESIDE = {
    "table_3": {"trivial": "trivial_baselines", "pairs": "model_pairs", "transfer": "transfer"}
}  # {table: {argument: further table}}
LARGE_PNG = 400_000  # bytes; beyond, photographs are embedded as WebP
# Tables and figures that a report does without.
OPTIONAL = ("devices", "parity")
RUN_FILES = {
    "history.csv": "history (CSV)",
    "predictions.parquet": "predictions (Parquet)",
    "metrics.json": "metrics (JSON)",
    "params.yaml": "params (YAML)",
    "best.keras": "model (Keras)",
    "model_card.md": "model card (Markdown)",
}


def dataset_facts(prepared: Path | str, *, drawn: bool) -> dict:
    """What the report shows of a prepared dataset, from its folder.

    Returns dataset, drawn, scans (a split), quarantine ([{scan, reason, classes}]), quarantined ({class: scans}),
    absent (scans that the source lists but does not hold), missing ({split: classes without a scan}), unknown
    ({uncertain, blank: {class: scans}}), votes (None where no reader is known), flow ([[step, scans]]), changed (the
    files that are not as they were prepared), size, mean, std, and hashes (made_from, fingerprint).
    """
    folder = Path(prepared)
    statistics = json_files.read(folder / "statistics.json")
    keys = ("dataset", "task", "classes", "size", "mean", "std", "scans", "absent", "missing")
    keys += ("unknown", "votes", "made_from", "fingerprint")
    known = {key: statistics.get(key) for key in keys}
    quarantine = table_files.read_csv(folder / "quarantine.csv", dtype=str).fillna("").to_dict("records")
    for entry in quarantine:  # a reason names the file in full; the scan is named already
        entry["reason"] = entry["reason"].rpartition(f"{entry['scan']}: ")[2]
    quarantined = Counter(name for entry in quarantine for name in entry.get("classes", "").split())
    flow = table_files.read_csv(folder / "flow.csv")[["step", "scans"]].to_numpy().tolist()
    changed = sorted(changed_files(folder, statistics.get("files", {})))
    return known | {
        "drawn": drawn,
        "quarantine": quarantine,
        "quarantined": dict(quarantined),
        "flow": flow,
        "changed": changed,
    }


def write_report(
    study_folder: Path | str,
    *,
    title: str,
    settings: Mapping[str, object],
    datasets: Iterable[Mapping[str, object]],
    versions: Mapping[str, str],
    notebooks: Mapping[str, str] | None = None,
    notes: Iterable[str] = (),
    date: str | None = None,
) -> Path:
    """Writes report.html in a study's folder and returns its path.

    Args:
        title: the study's, as its heading.
        settings: the study's params, set beside the paper's.
        datasets: of each its facts, as `dataset_facts` gives them.
        versions: {package: version}.
        notebooks: {run or notebook: link relative to the study's folder}; a run's is linked from its section.
        notes: further paragraphs, set at the end.
        date: when the study was made; today by default.
    """
    folder, datasets, notebooks = Path(study_folder), list(datasets), dict(notebooks or {})
    names_of_data = [facts["dataset"] for facts in datasets]
    of_the_paper = has_published(names_of_data) or not names_of_data
    captions = read_captions(folder, names_of_data, of_the_paper=of_the_paper)
    if (folder / "tables" / "devices.csv").is_file():
        write_devices(folder)  # without models that were trained anew since
    write_csv(
        folder / "tables" / "datasheets.csv", datasheets({facts["dataset"]: facts["drawn"] for facts in datasets})
    )
    names = [*captions["tables"], *(file for files in BESIDE.values() for file in files.values())]
    frames = {
        name: table_files.read_csv(file) for name in names if (file := folder / "tables" / f"{name}.csv").is_file()
    }
    sections = [section | {"items": _shown(section["items"], folder)} for section in captions["sections"]]
    if not of_the_paper:
        sections = [section | {"items": _made(section["items"], folder, frames)} for section in sections]
        sections = [section for section in sections if section["items"]]
    own = any(known_dataset(name).described for name in names_of_data if name in dataset_names())
    frames["checklists"] = checklists.table(own=own, without=_absent(sections, of_the_paper))
    write_csv(folder / "tables" / "checklists.csv", frames["checklists"])
    shown = frames if of_the_paper else {name: tables.without_published(frame) for name, frame in frames.items()}
    items = dict(_items(folder, captions, shown))
    audit_png = folder / "figures" / "audit_scans.png"
    audit_files = [("PNG", audit_png), *((name, folder / "tables" / f"audit_{name}.csv") for name in AUDIT_TABLES)]
    key_results = headlines(
        frames.get("baselines"), frames.get("table_3"), frames.get("model_pairs"), frames.get("transfer")
    )
    cards = model_card.cards(folder, datasets)
    unknown = [facts["dataset"] for facts in datasets if facts.get("unknown")]
    runs = list(read_runs(folder, frames.get("table_3"), notebooks, cards, unknown))
    for name, words in captions["tables"].items():
        words["reading"] = f"{words['reading']} {of_table(frames.get(name), unknown, settings)}".strip()
    html = _environment().get_template("report.html.j2").render(
        title=title,
        study=folder.resolve().name,
        date=date or datetime.date.today().isoformat(),
        lead=lead(datasets),
        headlines=key_results,
        legend={dot["name"]: dot for row in key_results for dot in row["dots"]}.values(),
        audit=audit_section(read_audit(folder)),
        audit_picture=embedded(audit_png) if audit_png.is_file() else None,
        audit_files=_links(folder, audit_files),
        sections=sections,
        of_the_paper=of_the_paper,
        gaps=yaml.safe_load((TEMPLATES / "gaps.yaml").read_text(encoding="utf-8")) if of_the_paper else [],
        items=items,
        settings=tables.settings(settings, names_of_data),
        datasets=datasets,
        runs=runs,
        versions=tables.pairs(versions, ("package", "version")),
        notebooks={name: link(path) for name, path in notebooks.items() if name not in {run["name"] for run in runs}},
        notes=list(notes),
    )  # fmt: skip
    write_text(folder / "report.html", html)
    return folder / "report.html"


def read_captions(folder: Path, datasets: Iterable[str], *, of_the_paper: bool = True) -> dict:
    """captions.yaml, with the figures that each dataset has and the entries of lungkeras.report.further.

    Where no dataset is a collection of the paper, without its words, and with those for others (`elsewhere`).
    """
    captions = yaml.safe_load((TEMPLATES / "captions.yaml").read_text(encoding="utf-8"))
    datasets = list(datasets)
    for group in (*(captions[kind] for kind in ("tables", "figures", "of_each_dataset")), captions["sections"]):
        for words in group.values() if isinstance(group, dict) else group:
            elsewhere = words.pop("elsewhere", {})
            if not of_the_paper:
                words |= {"paper": ""} | elsewhere
    for kind, words in captions["of_each_dataset"].items():
        named = {f"{kind}_{dataset}": title_of(dataset) for dataset in datasets}
        named = {name: text for name, text in named.items() if (folder / "figures" / f"{name}.png").is_file()}
        for name, text in named.items():
            captions["figures"][name] = {key: value.format(dataset=text) for key, value in words.items()}
        for section in captions["sections"]:
            section["items"] = [name for item in section["items"] for name in (named if item == kind else [item])]
    further = {name: entry for name, entry in entries().items() if _holds_something(entry.file(folder, name))}
    for name, entry in further.items():
        words = {"label": "Further", "title": entry.title, "shows": entry.shows, "reading": entry.reading}
        captions[f"{entry.kind}s"][name] = words | {"paper": "Not part of the paper." if of_the_paper else ""}
    if further:
        about = {
            "id": "further",
            "title": "Further tables and figures",
            "text": "Added to the study.",
            "items": [*further],
        }
        captions["sections"].append(about)
    return captions


def _holds_something(file: Path) -> bool:
    """Whether there is a figure, or a table with a row."""
    return file.is_file() and (file.suffix != ".csv" or len(table_files.read_csv(file)) > 0)


def _shown(names: Iterable[str], folder: Path) -> list[str]:
    """All but the optional tables and figures that the study does not have."""
    files = {name: (folder / "tables" / f"{name}.csv", folder / "figures" / f"{name}.png") for name in names}
    return [name for name in names if name not in OPTIONAL or any(file.is_file() for file in files[name])]


def _made(names: Iterable[str], folder: Path, frames: Mapping[str, pd.DataFrame]) -> list[str]:
    """The tables and figures that a study has something in; of maps and boxes, where a box is known."""
    made = {name for name, frame in frames.items() if len(frame)} | {"checklists"}
    made |= {name for name in names if (folder / "figures" / f"{name}.png").is_file()}
    located, asked = frames.get("localisation"), frames.get("external_scans")
    if located is None or not located["findings"].any():
        made -= {"localisation", "localisation_classes", "pointing"}
    if asked is None or asked["class"].isna().all():
        made -= {"external_scans"}
    return [name for name in names if name in made]


def _absent(sections: Iterable[Mapping], of_the_paper: bool) -> set[str]:
    """The ids that checklists speak of and that a report without the paper does not have."""
    there = {name for section in sections for name in (section["id"], *section["items"])}
    page = {"main", "key", "audit", "settings", "quarantine", "runs", "versions"}
    return set() if of_the_paper else set(checklists.checklists()["sections"]) - there - page


def _items(folder: Path, captions: Mapping, frames: Mapping[str, pd.DataFrame]):
    """(name, what the template needs) of each figure and table that the captions name."""
    for name, words in captions["tables"].items():
        beside = BESIDE.get(name, {})
        files = [("CSV", folder / "tables" / f"{name}.csv")]
        files += [(f"{file} (CSV)".replace("_", " "), folder / "tables" / f"{file}.csv") for file in beside.values()]
        found = {argument: frames[file] for argument, file in beside.items() if file in frames}
        is_there = name in frames and len(frames[name])
        grid = TABLES.get(name, tables.further)(frames[name], **found) if is_there else None
        label = words.get("label") or f"Table {name[-1]}"
        yield name, words | {"label": label, "grid": grid, "image": None, "files": _links(folder, files)}
    for name, words in captions["figures"].items():
        files = [(kind.upper(), folder / "figures" / f"{name}.{kind}") for kind in ("png", "svg", "csv")]
        image = embedded(files[0][1]) if files[0][1].is_file() else None
        label = words.get("label") or f"Figure {int(name[-2:])}"
        yield name, words | {"label": label, "grid": None, "image": image, "files": _links(folder, files)}


def _links(folder: Path, files: list[tuple[str, Path]]) -> list[dict]:
    return [{"text": kind, "link": link(file.relative_to(folder).as_posix())} for kind, file in files if file.is_file()]


def link(path: str) -> str:
    """A relative path as an address: never one with a scheme, as a colon is escaped too."""
    return quote(path, safe="/#")


def embedded(png: Path) -> dict:
    """A figure inside the page: its data URI, width and height in CSS pixels, and its description.

    A large PNG is embedded as WebP where that is smaller; the PNG itself stays one link away.
    """
    from PIL import Image

    data, kind = png.read_bytes(), "png"
    with Image.open(io.BytesIO(data)) as image:
        about = image.info.get("Description", "")
        scale = CSS_DPI / (image.info.get("dpi") or (DPI, DPI))[0]
        width, height = (round(pixels * scale) for pixels in image.size)
        if len(data) > LARGE_PNG:
            smaller = io.BytesIO()
            image.convert("RGB").save(smaller, "WEBP", quality=85)
            if smaller.tell() < len(data):
                data, kind = smaller.getvalue(), "webp"
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return {"uri": uri, "width": width, "height": height, "description": about}


def read_runs(
    folder: Path,
    results: pd.DataFrame | None,
    notebooks: Mapping[str, str],
    cards: Mapping[str, list],
    unknown: Iterable[str] = (),
):
    """A section a finished run: in the order of Table 3, then any others by name. `unknown` as `caveats` takes it."""
    named = [] if results is None else results["run"].tolist()
    finished = {path.parent.name: path.parent for path in sorted(folder.glob("runs/*/metrics.json"))}
    for name in dict.fromkeys([*named, *finished]):
        if name in finished:
            yield _run(folder, finished[name], notebooks.get(name), cards[name], unknown)


def _run(folder: Path, run: Path, notebook: str | None, card: list[model_card.Part], unknown: Iterable[str]) -> dict:
    metrics = json_files.read(run / "metrics.json")
    test = metrics.get("test", {})
    params, environment = _yaml(run / "params.yaml"), _yaml(run / "environment.json")
    environment |= environment.pop("versions", {})
    files = _links(folder, [(text, run / file) for file, text in RUN_FILES.items()])
    if notebook:
        files.insert(0, {"text": "executed notebook", "link": link(notebook)})
    dataset = params.get("dataset") or metrics.get("dataset") or run.name.split("-")[0]
    return {
        "name": run.name,
        "anchor": anchor(run.name),
        "title": f"{heading(dataset)}: {run_name_title(run.name)}",
        "macro_f1": _number(test.get("macro_f1")),
        "macro_auroc": _number(test.get("macro_auroc")),
        "loss": _number(test.get("loss")),
        "best_epoch": metrics.get("best_epoch"),
        "diverged": tables.diverged(metrics),
        "per_class": tables.scores_of_classes(test["per_class"]) if test.get("per_class") else None,
        "caveats": caveats([dataset], unknown, params),
        "params": tables.pairs(_of_a_run(params), ("param", "value")) if params else None,
        "environment": tables.pairs(environment, ("environment", "value")) if environment else None,
        "files": files,
        "card": [{"part": part, "grid": tables.texts(part.table)} for part in card],
    }


def _of_a_run(params: Mapping) -> dict:
    """Without what only a study says: no run asks for a title, or whence its scans come."""
    return {key: value for key, value in params.items() if key not in ("title", "source", "acquire", "scans")}


def _number(value: float | None) -> str:
    return decimal(value, 3)


def _yaml(file: Path) -> dict:
    """YAML or JSON, which is YAML; empty where there is no such file."""
    return (yaml_files.read_yaml(file)[0] or {}) if file.is_file() else {}


def _environment():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("report.css", "report.js"):
        text = (TEMPLATES / name).read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        environment.globals |= {name[7:]: Markup(text), f"{name[7:]}_hash": f"sha256-{digest}"}
    environment.filters |= {"heading": heading, "count_text": count}
    return environment
