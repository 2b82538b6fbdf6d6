"""Where sources are on this machine.

This is private: results that are shared contain no path of it. A result, an executed notebook too, names a source by
its path in the project's folder, or by its folder name if it is elsewhere. Its full path is in .sources.json in the
project's folder, for those who may read that folder, and not part of a study.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from lungkeras.system.errors import FolderError
from lungkeras.system.files import write_json
from lungkeras.system.untrusted import json_files

NOTE = ".sources.json"
GIVEN = "LUNGKERAS_SOURCE"  # environment variable: the source that the graph of notebooks prepares
MOST_NOTED = 100


def recorded_name(source: Path | str) -> str:
    """The name of a source in a result: sources/demo/covid, or covid-scans~3fa9c1 if it is elsewhere.

    The suffix separates it from others of the same name; it does not reveal the path.
    """
    path, project = Path(source).resolve(), project_folder().resolve()
    if path.is_relative_to(project):
        return path.relative_to(project).as_posix()
    return f"{path.name}~{hashlib.sha256(os.fsencode(path)).hexdigest()[:6]}"


def remember(source: Path | str) -> None:
    """Records the path of a source outside the project's folder, if that folder is writable."""
    path = str(Path(source).resolve())
    if Path(path).is_relative_to(project_folder().resolve()):
        return
    note = project_folder() / NOTE
    if note.exists() and not os.access(note, os.R_OK):  # another user's: keep what it holds
        return
    others = [place for place in _noted() if place != path and Path(place).is_dir()]
    with suppress(OSError, FolderError):
        write_json(note, [*others, path][-MOST_NOTED:])


def find(source: str) -> Path | None:
    """The folder that a result names; None if it is not on this machine.

    A result of somebody else can name only folders in the project, or those recorded here.
    """
    path = Path(source)
    if not source or path.is_absolute() or ".." in path.parts:
        return None
    if (place := from_project(path)).is_dir():
        return place
    known = [from_project(os.environ[GIVEN])] if os.environ.get(GIVEN) else []
    return next(
        (place for place in (*known, *map(Path, _noted())) if recorded_name(place) == source and place.is_dir()), None
    )


def _noted() -> list[str]:
    try:
        held = json_files.read(project_folder() / NOTE)
    except (OSError, ValueError):
        return []
    return [place for place in held if isinstance(place, str)] if isinstance(held, list) else []


def project_folder() -> Path:
    """The folder that holds the Snakefile: the working directory or one above it, else the package's checkout.

    Within the checkout it is the checkout: a stranger's results stored there may bring their own Snakefile.
    """
    here, checkout = Path.cwd(), Path(__file__).resolve().parents[2]
    above = (here, *here.parents)
    for folder in (checkout,) if checkout in above else (*above, checkout):
        if (folder / "Snakefile").is_file() and (folder / "notebooks").is_dir():
            return folder
    return here


def from_project(path: Path | str) -> Path:
    """A path of the params as it is on disk: relative ones start at the project's folder."""
    return project_folder() / Path(path).expanduser()
