"""A study's folder -> one HTML file that opens anywhere, offline, and needs no other file.

    reports/<study>/tables/<name>.csv  figures/figure_<NN>.png|svg|csv  runs/<run>/...  ->  reports/<study>/report.html

Existing files are shown; missing ones are reported as missing. The words are in templates/captions.yaml, so they can be
read and edited in one place. The page may load nothing but its own style and script, which it names by their hashes.
"""

import base64
import datetime
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import yaml

from lungkeras.datasets.datasheets import datasheets
from lungkeras.datasets.registry import dataset_names, known_dataset
from lungkeras.datasets.registry import title as title_of
from lungkeras.evaluation.paper.published import has_published
from lungkeras.prediction.devices import write_devices
from lungkeras.preparation.audit.dataset import TABLES as AUDIT_TABLES
from lungkeras.report import (  # noqa: F401 (they mark tables)
    calibration_tables,
    checklists,
    comparison_tables,
    error_tables,
    explanations,
    model_card,
    setting_tables,
    tables,
)
from lungkeras.report.audit import audit_section, read_audit
from lungkeras.report.caveats import of_table
from lungkeras.report.further import entries
from lungkeras.report.grid import TABLES, count
from lungkeras.report.live import live
from lungkeras.report.pictures import embedded
from lungkeras.report.run_sections import link, links, read_runs
from lungkeras.report.summary import asked, forest, headlines, lead, verdicts
from lungkeras.report.trust import cautions, lights
from lungkeras.study.words import heading
from lungkeras.system.files import write_csv, write_text
from lungkeras.system.untrusted import table_files

TEMPLATES = Path(__file__).with_name("templates")
BESIDE = {
    "table_3": {"trivial": "trivial_baselines", "pairs": "model_pairs", "transfer": "transfer"}
}  # {table: {argument: the other table it needs}}
# Optional tables and figures.
OPTIONAL = ("devices", "parity")
SCRIPTS = ("report", "tables", "live", "curves", "bars", "scans", "wall")


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
        settings: the study's params, next to the paper's.
        datasets: the facts of each, as `facts.dataset_facts` returns them.
        versions: {package: version}.
        notebooks: {run or notebook: link relative to the study's folder}; a run's is linked from its section.
        notes: further paragraphs for the end of the page.
        date: the date of the study; today by default.
    """
    folder, datasets, notebooks = Path(study_folder), list(datasets), dict(notebooks or {})
    names = [facts["dataset"] for facts in datasets]
    of_the_paper = has_published(names) or not names
    captions = read_captions(folder, names, of_the_paper=of_the_paper)
    _write_descriptions(folder, datasets)
    frames = _read_tables(folder, captions)
    sections = _sections(folder, captions, frames, of_the_paper=of_the_paper)
    frames["checklists"] = _write_checklists(folder, names, without=_absent(sections, of_the_paper))
    unknown = [facts["dataset"] for facts in datasets if facts.get("unknown")]
    for name, words in captions["tables"].items():
        words["reading"] = f"{words['reading']} {of_table(frames.get(name), unknown, settings)}".strip()
    shown = frames if of_the_paper else {name: tables.without_published(frame) for name, frame in frames.items()}
    cards = model_card.cards(folder, datasets)
    runs = list(read_runs(folder, frames.get("table_3"), notebooks, cards, unknown))
    drawn, sheets = live(folder, {facts["dataset"]: facts for facts in datasets})
    html = environment().get_template("report.html.j2").render(
        title=title,
        study=folder.resolve().name,
        date=date or datetime.date.today().isoformat(),
        **_first_page(folder, datasets, frames, of_the_paper=of_the_paper),
        **_audit(folder),
        settings=setting_tables.settings(settings, names),
        of_the_paper=of_the_paper,
        layers={
            name: words | {"sections": [part for part in sections if part["layer"] == name and part["items"]]}
            for name, words in captions["layers"].items()
        },
        items=dict(_items(folder, captions, shown)),
        live=drawn,
        sheets=sheets,
        gaps=yaml.safe_load((TEMPLATES / "gaps.yaml").read_text(encoding="utf-8")) if of_the_paper else [],
        datasets=datasets,
        runs=runs,
        versions=setting_tables.pairs(versions, ("package", "version")),
        notebooks={name: link(path) for name, path in notebooks.items() if name not in {run["name"] for run in runs}},
        notes=list(notes),
    )  # fmt: skip
    write_text(folder / "report.html", html)
    return folder / "report.html"


def _write_descriptions(folder: Path, datasets: Iterable[Mapping]) -> None:
    """Writes the tables that the report alone makes: datasheets, and devices without models that were retrained."""
    if (folder / "tables" / "devices.csv").is_file():
        write_devices(folder)
    drawn = {facts["dataset"]: facts["drawn"] for facts in datasets}
    write_csv(folder / "tables" / "datasheets.csv", datasheets(drawn))


def _write_checklists(folder: Path, datasets: Iterable[str], *, without: set[str]) -> pd.DataFrame:
    """Writes tables/checklists.csv, and returns it; `without` are the ids of sections that the report lacks."""
    own = any(known_dataset(name).described for name in datasets if name in dataset_names())
    table = checklists.table(own=own, without=without)
    write_csv(folder / "tables" / "checklists.csv", table)
    return table


def _read_tables(folder: Path, captions: Mapping) -> dict[str, pd.DataFrame]:
    """The tables of a study that the report shows, or needs for those; a missing one is left out."""
    names = [*captions["tables"], *(file for files in BESIDE.values() for file in files.values())]
    return {name: table_files.read_csv(file) for name in names if (file := folder / "tables" / f"{name}.csv").is_file()}


def _sections(folder: Path, captions: Mapping, frames: Mapping, *, of_the_paper: bool) -> list[dict]:
    """The sections, each with the items that it shows; without the paper, only those that the study has."""
    sections = [section | {"items": _shown(section["items"], folder)} for section in captions["sections"]]
    if of_the_paper:
        return sections
    sections = [section | {"items": _made(section["items"], folder, frames)} for section in sections]
    return [section for section in sections if section["items"]]


def _first_page(folder: Path, datasets: list[Mapping], frames: Mapping, *, of_the_paper: bool) -> dict:
    """What the first page shows: the question, the scores, and how far to trust them."""
    results, repeated = frames.get("table_3"), frames.get("seeds")
    key_results = headlines(frames.get("baselines"), results, frames.get("model_pairs"), frames.get("transfer"))
    return {
        "lead": lead(datasets),
        "asked": asked(datasets, results, of_the_paper=of_the_paper),
        "headlines": key_results,
        "forest": forest(key_results),
        "verdicts": verdicts(frames.get("claims")) if of_the_paper else "",
        "cautions": cautions(datasets, frames, seeds=repeated is not None and len(repeated) > 0),
        "lights": lights(folder, frames, read_audit(folder)),
    }


def _audit(folder: Path) -> dict:
    """The section of the audit, its picture and its files."""
    picture = folder / "figures" / "audit_scans.png"
    files = [("PNG", picture), *((name, folder / "tables" / f"audit_{name}.csv") for name in AUDIT_TABLES)]
    return {
        "audit": audit_section(read_audit(folder)),
        "audit_picture": embedded(picture) if picture.is_file() else None,
        "audit_files": links(folder, files),
    }


def read_captions(folder: Path, datasets: Iterable[str], *, of_the_paper: bool = True) -> dict:
    """captions.yaml, with the figures that each dataset has and the entries of lungkeras.report.further.

    If no dataset is a collection of the paper, its words are replaced by those for others (`elsewhere`).
    """
    captions = yaml.safe_load((TEMPLATES / "captions.yaml").read_text(encoding="utf-8"))
    datasets = list(datasets)
    for group in (
        *(captions[kind] for kind in ("tables", "figures", "of_each_dataset", "layers")),
        captions["sections"],
    ):
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
            "layer": "evidence",
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
    """The tables and figures with content in a study; those of maps and boxes only if a box is known."""
    made = {name for name, frame in frames.items() if len(frame)} | {"checklists"}
    made |= {name for name in names if (folder / "figures" / f"{name}.png").is_file()}
    located, asked = frames.get("localisation"), frames.get("external_scans")
    if located is None or not located["findings"].any():
        made -= {"localisation", "localisation_classes", "pointing"}
    if asked is None or asked["class"].isna().all():
        made -= {"external_scans"}
    return [name for name in names if name in made]


def _absent(sections: Iterable[Mapping], of_the_paper: bool) -> set[str]:
    """The ids that checklists refer to and that a report without the paper lacks."""
    there = {name for section in sections for name in (section["id"], *section["items"])}
    page = {"main", "key", "audit", "settings", "quarantine", "runs", "versions"}
    return set() if of_the_paper else set(checklists.checklists()["sections"]) - there - page


def _items(folder: Path, captions: Mapping, frames: Mapping[str, pd.DataFrame]):
    """(name, template data) of each figure and table in the captions."""
    for name, words in captions["tables"].items():
        beside = BESIDE.get(name, {})
        files = [("CSV", folder / "tables" / f"{name}.csv")]
        files += [(f"{file} (CSV)".replace("_", " "), folder / "tables" / f"{file}.csv") for file in beside.values()]
        found = {argument: frames[file] for argument, file in beside.items() if file in frames}
        is_there = name in frames and len(frames[name])
        grid = TABLES.get(name, tables.plain_table)(frames[name], **found) if is_there else None
        label = words.get("label") or f"Table {name[-1]}"
        yield name, words | {"label": label, "grid": grid, "image": None, "files": links(folder, files)}
    for name, words in captions["figures"].items():
        files = [(kind.upper(), folder / "figures" / f"{name}.{kind}") for kind in ("png", "svg", "csv")]
        image = embedded(files[0][1]) if files[0][1].is_file() else None
        label = words.get("label") or f"Figure {int(name[-2:])}"
        yield name, words | {"label": label, "grid": None, "image": image, "files": links(folder, files)}


def environment():
    """Jinja's environment with the templates, and the style and script that every page inlines, with hashes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    inlined = {"css": ["report.css", "live.css", "print.css"], "js": [f"{name}.js" for name in SCRIPTS]}
    for kind, files in inlined.items():
        text = "".join((TEMPLATES / file).read_text(encoding="utf-8") for file in files)
        environment.globals |= {kind: Markup(text), f"{kind}_hash": policy_hash(text)}
    environment.filters |= {"heading": heading, "count_text": count}
    return environment


def policy_hash(text: str) -> str:
    """The hash by which a page's policy allows a style or a script that is inlined."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
