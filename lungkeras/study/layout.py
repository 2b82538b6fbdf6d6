"""The project where the user is: params, notebooks and Snakefile of an installed wheel, laid out on first use.

A wheel holds them in lungkeras_project, next to the package; a checkout already has them in place. Files in the user's
folder are never overwritten. A record holds the version of each file that was laid out or seen last, so a file that
changed in a newer lungkeras is announced once.
"""

import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from lungkeras.system.errors import FolderError
from lungkeras.system.files import write_json, write_text
from lungkeras.system.places import project_folder
from lungkeras.system.provenance import PACKAGE, file_digest, read
from lungkeras.system.text import say

SHIPPED = PACKAGE.parent / "lungkeras_project"
NOTE = ".laid_out.json"  # {file: SHA-256 of the shipped file when it was laid out, or seen last}
NO_COPY = ("__pycache__",)


def lay_out(shipped: Path = SHIPPED, to: Path | None = None) -> list[str]:
    """Copies files of a wheel that the project's folder lacks, and returns the names of the files written.

    A file that the user changed is kept, and is named if the shipped one changed since it was laid out; one that the
    user removed is not restored. Does nothing in a checkout. Raises FolderError if a file can't be written, a folder on
    its path is a link, or the folder holds the Snakefile of another project.
    """
    if not shipped.is_dir():
        return []
    to = to or project_folder()
    if (to / "lungkeras" / "__init__.py").is_file():
        return []
    _refuse_anothers(to / "Snakefile")
    noted = read(to / NOTE) if (to / "Snakefile").is_file() else {}
    written, newer, seen = [], [], {}
    for file in _files(shipped):
        name = file.relative_to(shipped).as_posix()
        seen[name] = file_digest(file)
        target = to / name
        if target.is_file():
            if seen[name] not in (noted.get(name), file_digest(target)):
                newer.append(name)
        elif name not in noted:
            _copy(file, target, to)
            written.append(name)
    if seen != noted:
        write_json(to / NOTE, seen)
    if written:
        folders = sorted({name.partition("/")[0] for name in written})
        say(f"Copied to {to}: {', '.join(folders)} ({len(written)} files)", file=sys.stderr)
    if newer:
        others = f"though lungkeras has others now: {', '.join(newer)}; see {shipped}"
        say(f"Not changed in {to}: {others}", file=sys.stderr)
    return written


def _refuse_anothers(snakefile: Path) -> None:
    """Raises FolderError if a Snakefile is not one of lungkeras."""
    if snakefile.is_file() and "lungkeras" not in snakefile.read_text(encoding="utf-8", errors="replace"):
        raise FolderError(
            f"{snakefile} belongs to another project: run the command in a new folder, as lungkeras writes a "
            "Snakefile too"
        )


def _files(shipped: Path) -> Iterator[Path]:
    return (file for file in sorted(shipped.rglob("*")) if file.is_file() and not {*file.parts} & {*NO_COPY})


def _copy(file: Path, target: Path, to: Path) -> None:
    """Writes a text file, executable if the shipped one is."""
    for folder in (target, *target.parents):
        if folder == to:
            break
        if folder.is_symlink():
            raise FolderError(f"{folder} is a link: expected a folder of the project; remove the link, then try again")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(
            f"{target.parent} can't be made ({error.strerror}): go to a folder that you may write to, and run the "
            "same command there"
        ) from error
    write_text(target, file.read_text(encoding="utf-8"))
    if file.stat().st_mode & stat.S_IXUSR:
        target.chmod(target.stat().st_mode | (target.stat().st_mode & 0o444) >> 2)
