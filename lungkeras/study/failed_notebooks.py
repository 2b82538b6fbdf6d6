"""Why a study stopped, in one sentence: the notebook that failed, and the error that it holds."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lungkeras.system.errors import LESS_MEMORY
from lungkeras.system.files import free_bytes, megabytes
from lungkeras.system.untrusted import json_files


def failure(study: Path, root: Path, earlier: Mapping[Path, int] = MappingProxyType({})) -> str:
    """One sentence on why a study stopped: the failed notebook and its last error, else Snakemake's log.

    `earlier` are the failed notebooks (`failed_notebooks`) from before it started; `root` is the project's folder.
    """
    found = failed_notebooks(study)
    failed = sorted((file for file in found if found[file] != earlier.get(file)), key=found.get)
    if not failed:
        return f"The study stopped before a notebook failed; Snakemake's output is in {root / '.snakemake' / 'log'}"
    last = failed[-1]
    more = f" ({len(failed) - 1} more failed)" if len(failed) > 1 else ""
    return f"{last.name.removesuffix('.failed.ipynb')} failed{more}: {_last_error(last)}. The notebook is kept: {last}"


def failed_notebooks(study: Path) -> dict[Path, int]:
    """The failed notebooks of a study, with their modification times."""
    return {file: file.stat().st_mtime_ns for file in (study / "notebooks").glob("*.failed.ipynb")}


def _last_error(notebook: Path) -> str:
    """Name and message of the error that a failed notebook holds."""
    try:
        cells = json_files.read(notebook)["cells"]
        errors = [o for cell in cells for o in cell.get("outputs", []) if o["output_type"] == "error"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"it could not be written ({megabytes(free_bytes(notebook))} left on its disk)"
    if not errors and b"NoSuchKernel" in _end_of_log(notebook):
        return "there is no Jupyter kernel python3 here: install ipykernel in this environment (pip install ipykernel)"
    if not errors:
        return f"its kernel died, as when memory runs out: {LESS_MEMORY}"
    message = " ".join(errors[-1]["evalue"].split()).rstrip(".")
    if errors[-1]["ename"] == "MemoryError":
        return f"not enough memory: {LESS_MEMORY}"
    return message if errors[-1]["ename"].endswith("Error") and message else f"{errors[-1]['ename']} {message}"


def _end_of_log(notebook: Path) -> bytes:
    """The last lines that papermill printed about a failed notebook; empty if there are none."""
    log = notebook.parent.parent / "logs" / f"{notebook.name.removesuffix('.failed.ipynb')}.log"
    return log.read_bytes()[-10_000:] if log.is_file() else b""
