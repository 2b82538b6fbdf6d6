"""A collection as published, from Kaggle or a local archive, to a folder that read_records takes as its source.

The folder appears whole or not at all. An archive is somebody else's: only plain files are written, at the places
below the target that their names give, and an archive that asks for more is refused whole.
"""

import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from stat import S_IFMT, S_ISDIR, S_ISREG
from typing import IO

from lungkeras.datasets import Dataset, known_dataset
from lungkeras.errors import LungkerasError, SourceError
from lungkeras.files import glance
from lungkeras.progress import progress

BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
)


def fetch(dataset: str, to: Path | str, *, archive: Path | str | None = None) -> Path:
    """Unpacks `archive` (zip, tar, tar.gz), or downloads from Kaggle, to the folder `to`; returns `to`.

    Where `to` already holds the collection, nothing is done. An interrupted call leaves nothing behind and starts anew
    (Kaggle's client resumes no download to a chosen folder).

    Raises LungkerasError, in one sentence that says what to do instead, where the archive is broken or unsafe, the
    download fails, or `to` holds something else; SourceError where what arrived is not the collection.
    """
    wanted, to = known_dataset(dataset), Path(to)
    if to.exists() and wanted.find(to):
        return to
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise LungkerasError(f"{dataset}: expected {to} to be a new or empty folder, found {glance(to)}: name another")
    with _whole_folder(to) as folder:
        if archive is None:
            _download(wanted, folder)
        else:
            unpack(Path(archive), folder)
        if not wanted.find(folder):
            raise SourceError(
                f"{dataset}: expected {wanted.layout} in {archive or wanted.handle}, found {glance(folder)}: "
                f"get kaggle.com/datasets/{wanted.handle}, or draw a source: lungkeras phantom {dataset} --to {to}"
            )
    return to


@contextmanager
def _whole_folder(to: Path) -> Iterator[Path]:
    """A temporary folder beside `to`, renamed to it when the block succeeds, and removed otherwise."""
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        private = Path(tempfile.mkdtemp(dir=to.parent, prefix=".writing-"))
    except OSError as error:
        raise LungkerasError(
            f"expected a place to write in {to.parent}, found: {error.strerror}: name another folder"
        ) from None
    try:
        # mkdtemp's folder is for its owner alone; the one inside is as open as the user's other folders.
        folder = private / to.name
        folder.mkdir()
        yield folder
        folder.replace(to)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _download(dataset: Dataset, folder: Path) -> None:
    # Before Python 3.14, a tar archive may write outside its folder unless a filter is named, and not all versions of
    # kagglehub name one.
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        import kagglehub

        kagglehub.dataset_download(dataset.handle, output_dir=str(folder))
    except Exception as error:
        # The client fails in a dozen ways, and its texts may quote signed addresses: only the kind is passed on.
        raise LungkerasError(
            f"{dataset.name}: the download of {dataset.handle} from Kaggle failed ({type(error).__name__}): get it by "
            f"hand from kaggle.com/datasets/{dataset.handle} and give it with --archive FILE, or draw a source: "
            f"lungkeras phantom {dataset.name} --to DIR"
        ) from None


def unpack(archive: Path, folder: Path) -> None:
    """Writes the files of a zip or tar archive below `folder`.

    Raises LungkerasError where it is no such archive or broken, or where a member is a link or a device, or its name is
    absolute or climbs by `..`.
    """
    try:
        for name, content in progress(_members(archive), description=f"unpacking {archive.name}"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
    except BROKEN as error:
        reason = getattr(error, "strerror", None) or str(error) or "it ends early"
        raise LungkerasError(
            f"expected {archive} to be a whole zip or tar archive and room to unpack it, found: {reason}; "
            f"get the archive anew, or free some room"
        ) from None


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """The safe name and the content of each file in the archive."""
    if archive.is_file() and zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                # Archives made outside Unix store no kind of file.
                kind = S_IFMT(member.external_attr >> 16)
                is_plain = not kind or S_ISREG(kind) or S_ISDIR(kind)
                name = _safe_name(archive, member.filename, is_plain)
                if not member.is_dir():
                    with opened.open(member) as content:
                        yield name, content
        return
    with tarfile.open(archive) as opened:
        for member in opened:
            name = _safe_name(archive, member.name, member.isfile() or member.isdir())
            if member.isfile():
                yield name, opened.extractfile(member)


def _safe_name(archive: Path, name: str, is_plain: bool) -> PurePosixPath:
    path, elsewhere = PurePosixPath(name), PureWindowsPath(name)
    if not is_plain or path.is_absolute() or elsewhere.anchor or ".." in elsewhere.parts or "\0" in name:
        what = "a name outside its folder" if is_plain else "a link or device"
        raise LungkerasError(
            f"expected only plain files in {archive}, found {what} ({name!r}): get it anew from its source"
        )
    return path
