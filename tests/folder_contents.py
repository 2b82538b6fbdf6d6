"""What lies in a folder, to compare two of them byte by byte."""

from pathlib import Path

from lungkeras.system.files import TEMPORARY


def contents(folder: Path, *, without: str = "") -> dict[str, bytes]:
    """{path within the folder: bytes} of all files, but those whose name ends in `without`."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    files = [file for file in files if not without or not file.name.endswith(without)]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def strays(folder: Path) -> list[Path]:
    """The temporary files that somebody has left."""
    return list(folder.rglob(f"{TEMPORARY}*"))
