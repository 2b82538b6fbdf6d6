"""The section of each run: its scores by class, its params, its machine, its files and its card."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from lungkeras.report import model_card, setting_tables, tables
from lungkeras.report.caveats import caveats
from lungkeras.report.grid import anchor
from lungkeras.study.words import decimal, heading, run_name_title
from lungkeras.system.untrusted import json_files, yaml_files

FILES = {
    "history.csv": "history (CSV)",
    "predictions.parquet": "predictions (Parquet)",
    "metrics.json": "metrics (JSON)",
    "params.yaml": "params (YAML)",
    "best.keras": "model (Keras)",
    "model_card.md": "model card (Markdown)",
}


def links(folder: Path, files: list[tuple[str, Path]]) -> list[dict]:
    """{text, link} of the existing files, relative to the study's folder."""
    return [{"text": kind, "link": link(file.relative_to(folder).as_posix())} for kind, file in files if file.is_file()]


def link(path: str) -> str:
    """A relative path as an address: never one with a scheme, as a colon is escaped too."""
    return quote(path, safe="/#")


def read_runs(
    folder: Path,
    results: pd.DataFrame | None,
    notebooks: Mapping[str, str],
    cards: Mapping[str, list],
    unknown: Iterable[str] = (),
):
    """A section per finished run: in the order of Table 3, then any others by name. `unknown` as `caveats` takes it."""
    named = [] if results is None else results["run"].tolist()
    finished = {path.parent.name: path.parent for path in sorted(folder.glob("runs/*/metrics.json"))}
    for name in dict.fromkeys([*named, *finished]):
        if name in finished:
            yield _run(folder, finished[name], notebooks.get(name), cards[name], unknown)


def _run(folder: Path, run: Path, notebook: str | None, card: list[model_card.Part], unknown: Iterable[str]) -> dict:
    metrics = json_files.read(run / "metrics.json")
    test = metrics.get("test", {})
    params, environment = (yaml_files.read_if_there(run / name) for name in ("params.yaml", "environment.json"))
    environment |= environment.pop("versions", {})
    files = links(folder, [(text, run / file) for file, text in FILES.items()])
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
        "params": setting_tables.pairs(_of_a_run(params), ("param", "value")) if params else None,
        "environment": setting_tables.pairs(environment, ("environment", "value")) if environment else None,
        "files": files,
        "card": [{"part": part, "grid": tables.texts(part.table)} for part in card],
    }


def _of_a_run(params: Mapping) -> dict:
    """Without the params that only a study has: a run needs no title and no origin of scans."""
    return {key: value for key, value in params.items() if key not in ("title", "source", "acquire", "scans")}


def _number(value: float | None) -> str:
    return decimal(value, 3)
